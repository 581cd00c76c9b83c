//! The sockets of a namespace, from the kernel's `sock_diag` interface (`man 7 sock_diag`).

#![expect(
    clippy::host_endian_bytes,
    reason = "netlink headers are in host order"
)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

/// A TCP or UDP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SocketEntry {
    pub(super) protocol: Protocol,
    pub(super) local: (IpAddr, u16),
    pub(super) remote: (IpAddr, u16),
    /// Number of the state (`TCP_` constants of `netinet/tcp.h`).
    pub(super) state: u8,
    /// Inode, by which processes refer to the socket; 0 if no process has it.
    pub(super) inode: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

impl SocketEntry {
    /// Parses a `struct inet_diag_msg` (`linux/inet_diag.h`); ports and addresses are in network
    /// order.
    fn parse(protocol: Protocol, payload: &[u8]) -> Option<Self> {
        let message = payload.first_chunk::<MESSAGE_LENGTH>()?;
        let address = |at: usize| -> Option<IpAddr> {
            let octets: &[u8; 16] = message[at..].first_chunk()?;
            let v6 = Ipv6Addr::from(*octets);
            match i32::from(message[0]) {
                libc::AF_INET => Some(Ipv4Addr::from(*octets.first_chunk::<4>()?).into()),
                // An IPv6 socket that talks to an IPv4 host uses mapped addresses.
                libc::AF_INET6 => Some(v6.to_ipv4_mapped().map_or(v6.into(), IpAddr::from)),
                _ => None,
            }
        };
        let port = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
        Some(Self {
            protocol,
            local: (address(8)?, port(4)),
            remote: (address(24)?, port(6)),
            state: message[1],
            inode: u32::from_ne_bytes(*message[68..].first_chunk()?),
        })
    }

    /// Returns the name of the state.
    pub(super) fn state_name(&self) -> &'static str {
        STATES
            .get(usize::from(self.state))
            .copied()
            .unwrap_or("UNKNOWN")
    }
}

/// Appends the TCP and UDP sockets of the namespace of the calling thread, up to a total number of
/// `limit`; returns the number of sockets that were omitted.
///
/// # Errors
/// Returns the error of the system; a kernel without `sock_diag` for UDP has no UDP sockets.
pub(super) fn read_sockets(sockets: &mut Vec<SocketEntry>, limit: usize) -> io::Result<usize> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    set_socket_timeout(&socket, Timeout::Recv, Some(REPLY_TIMEOUT))?;
    let mut omitted = 0;
    for (protocol, number) in [
        (Protocol::Tcp, libc::IPPROTO_TCP),
        (Protocol::Udp, libc::IPPROTO_UDP),
    ] {
        for family in [libc::AF_INET, libc::AF_INET6] {
            socket.send(&request(family as u8, number as u8), 0)?;
            let each = |payload: &[u8]| {
                let entry = SocketEntry::parse(protocol, payload);
                match entry.filter(|entry| entry.inode != 0) {
                    Some(entry) if sockets.len() < limit => sockets.push(entry),
                    Some(_) => omitted += 1,
                    None => {}
                }
            };
            match read_replies(&socket, each) {
                // A kernel without IPv6 or without this kind of sockets.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                result => result?,
            }
        }
    }
    Ok(omitted)
}

/// Returns a request for all sockets of a family and a protocol: `struct nlmsghdr` and
/// `struct inet_diag_req_v2`.
fn request(family: u8, protocol: u8) -> [u8; REQUEST_LENGTH] {
    let mut request = [0; REQUEST_LENGTH];
    request[..4].copy_from_slice(&(REQUEST_LENGTH as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    request[6..8].copy_from_slice(&flags.to_ne_bytes());
    request[16] = family;
    request[17] = protocol;
    // All states.
    request[20..24].fill(0xff);
    request
}

/// Passes the payload of each message of a reply to `each`.
fn read_replies(socket: &Socket, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(READ_BUFFER);
    loop {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        let mut rest = buffer.as_slice();
        while let Some((kind, payload, next)) = split_message(rest) {
            match i32::from(kind) {
                libc::NLMSG_DONE => return Ok(()),
                libc::NLMSG_ERROR => {
                    let code = payload.first_chunk().copied().map_or(0, i32::from_ne_bytes);
                    return Err(io::Error::from_raw_os_error(code.saturating_neg()));
                }
                _ => each(payload),
            }
            rest = next;
        }
    }
}

/// Returns the type and the payload of the first message, and the messages that follow.
fn split_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?);
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let length = usize::try_from(length).ok()?;
    let payload = bytes.get(16..length)?;
    Some((
        kind,
        payload,
        bytes.get(length.next_multiple_of(4)..).unwrap_or_default(),
    ))
}

/// Names of the states by number. The state of unconnected UDP sockets is `CLOSE`.
const STATES: [&str; 13] = [
    "UNKNOWN",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "SYN_RECV",
];

/// Number of the request (`linux/sock_diag.h`).
const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// Length of a request, in bytes.
const REQUEST_LENGTH: usize = 16 + 56;

/// Length of `struct inet_diag_msg`, in bytes.
const MESSAGE_LENGTH: usize = 72;

/// Size of the read buffer, in bytes; exceeds the maximum size of a datagram of the kernel, 32 KiB.
const READ_BUFFER: usize = 64 << 10;

/// Timeout of a request.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_both_families_are_decoded() {
        let mut message = [0; MESSAGE_LENGTH];
        message[0] = libc::AF_INET as u8;
        message[1] = 10;
        message[4..8].copy_from_slice(&[0x01, 0xbb, 0xc3, 0xc0]);
        message[8..12].copy_from_slice(&[192, 0, 2, 7]);
        message[24..28].copy_from_slice(&[203, 0, 113, 9]);
        message[68..72].copy_from_slice(&77_u32.to_ne_bytes());
        let entry = SocketEntry::parse(Protocol::Tcp, &message).unwrap();
        assert_eq!(entry.local, (Ipv4Addr::new(192, 0, 2, 7).into(), 443));
        assert_eq!(entry.remote, (Ipv4Addr::new(203, 0, 113, 9).into(), 50112));
        assert_eq!((entry.state_name(), entry.inode), ("LISTEN", 77));
        message[0] = libc::AF_INET6 as u8;
        let mapped = Ipv4Addr::new(192, 0, 2, 8).to_ipv6_mapped();
        message[8..24].copy_from_slice(&mapped.octets());
        message[24..40].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
        let entry = SocketEntry::parse(Protocol::Udp, &message).unwrap();
        assert_eq!(entry.local.0, IpAddr::from(Ipv4Addr::new(192, 0, 2, 8)));
        assert_eq!(entry.remote.0, IpAddr::from(Ipv6Addr::LOCALHOST));
        message[0] = 9;
        assert_eq!(SocketEntry::parse(Protocol::Tcp, &message), None);
        assert_eq!(SocketEntry::parse(Protocol::Tcp, &message[..71]), None);
    }

    #[test]
    fn own_sockets_are_found_and_the_number_is_bounded() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut sockets = Vec::new();
        assert_eq!(read_sockets(&mut sockets, 100_000).unwrap(), 0);
        let find = |protocol, port| {
            let is_it = |entry: &&SocketEntry| entry.protocol == protocol && entry.local.1 == port;
            sockets.iter().find(is_it).map(SocketEntry::state_name)
        };
        let port = listener.local_addr().unwrap().port();
        assert_eq!(find(Protocol::Tcp, port), Some("LISTEN"));
        let port = udp.local_addr().unwrap().port();
        assert_eq!(find(Protocol::Udp, port), Some("CLOSE"));
        let mut none = Vec::new();
        assert!(read_sockets(&mut none, 0).unwrap() >= 2);
        assert!(none.is_empty());
    }

    #[test]
    fn truncated_messages_end_the_list() {
        assert_eq!(split_message(&[]), None);
        let mut message = [0; 20];
        message[..4].copy_from_slice(&20_u32.to_ne_bytes());
        assert_eq!(split_message(&message[..19]), None);
        let (kind, payload, rest) = split_message(&message).unwrap();
        assert_eq!((kind, payload.len(), rest.len()), (0, 4, 0));
        message[..4].copy_from_slice(&3_u32.to_ne_bytes());
        assert_eq!(split_message(&message), None);
    }
}
