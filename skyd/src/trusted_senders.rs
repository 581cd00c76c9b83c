//! `TrustedSenders`: owners of the sockets on this machine that send flow datagrams, from
//! `/proc/net/udp` (`proc(5)`).
//!
//! A datagram carries no credentials. If agents need the key file, which only its owner can read,
//! datagrams are therefore accepted only from sockets of the same owner and of root.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::geteuid;
use tokio::time::Instant;

/// Cache of senders that have been looked up.
#[derive(Debug)]
pub(crate) struct TrustedSenders {
    /// Whether each sender is trusted, and the time at which the entry expires; at most
    /// [`MAX_SENDERS`] entries.
    known: HashMap<SocketAddr, (bool, Instant)>,
    /// Start of the second in which `lookups` are counted.
    second: Instant,
    lookups: u32,
}

impl TrustedSenders {
    /// Creates an empty cache.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            known: HashMap::new(),
            second: now,
            lookups: 0,
        }
    }

    /// Returns whether a datagram comes from a socket on this machine that belongs to root or to
    /// the user of the daemon.
    pub(crate) fn trusts(&mut self, sender: SocketAddr, now: Instant) -> bool {
        if !sender.ip().to_canonical().is_loopback() {
            return false;
        }
        let known = self.known.get(&sender).copied();
        if let Some((trusted, until)) = known
            && (now < until || !self.may_look_up(now))
        {
            return trusted;
        }
        if known.is_none() && !self.may_look_up(now) {
            return false;
        }
        self.lookups += 1;
        if self.known.len() >= MAX_SENDERS {
            self.known.clear();
        }
        let trusted = is_ours(sender.port());
        self.known.insert(sender, (trusted, now + LIFETIME));
        trusted
    }

    /// Returns whether another lookup is allowed in the current second.
    fn may_look_up(&mut self, now: Instant) -> bool {
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.lookups) = (now, 0);
        }
        self.lookups < LOOKUPS_PER_SECOND
    }
}

/// Returns whether a UDP port has sockets, all of which belong to root or to the user of the
/// daemon.
fn is_ours(port: u16) -> bool {
    let user = geteuid().as_raw();
    let mut owners = ["/proc/self/net/udp", "/proc/self/net/udp6"]
        .into_iter()
        .filter_map(|path| File::open(path).ok())
        .flat_map(|table| BufReader::new(table).lines().map_while(Result::ok))
        .filter_map(|line| owner_at(&line, port))
        .peekable();
    owners.peek().is_some() && owners.all(|owner| owner == 0 || owner == user)
}

/// Returns the owner of the socket in a line of the table if the socket has this port.
fn owner_at(line: &str, port: u16) -> Option<u32> {
    let mut columns = line.split_ascii_whitespace();
    let (_, found) = columns.nth(1)?.rsplit_once(':')?;
    if u16::from_str_radix(found, 16) != Ok(port) {
        return None;
    }
    columns.nth(5)?.parse().ok()
}

/// Maximum number of senders in the cache.
const MAX_SENDERS: usize = 1024;
/// Time after which the owner of a sender is looked up again.
const LIFETIME: Duration = Duration::from_secs(10);
/// Maximum number of reads of the table per second; the cost of a read grows with the number of
/// sockets.
const LOOKUPS_PER_SECOND: u32 = 50;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn the_owner_of_a_port_is_read() {
        let line = "  482: 0100007F:1F92 00000000:0000 07 00000000:00000000 00:00000000 00000000  \
                    1000        0 123456 2 0000000000000000 17";
        assert_eq!(owner_at(line, 0x1f92), Some(1000));
        assert_eq!(owner_at(line, 0x1f93), None);
        let line = "  9: 00000000000000000000000001000000:0277 00000000000000000000000000000000:0000 07 \
                    00000000:00000000 00:00000000 00000000     0        0 5 2 0000000000000000 0";
        assert_eq!(owner_at(line, 0x277), Some(0));
        assert_eq!(owner_at("  sl  local_address rem_address   st", 1), None);
        assert_eq!(owner_at("", 1), None);
    }

    #[test]
    fn only_own_sockets_on_this_machine_are_trusted() {
        let now = Instant::now();
        let mut senders = TrustedSenders::new(now);
        let own = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(senders.trusts(own.local_addr().unwrap(), now));
        assert!(!senders.trusts("192.0.2.1:53".parse().unwrap(), now));
        let unused = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        assert!(!senders.trusts(unused, now));
    }

    #[test]
    fn lookups_are_limited_and_do_not_affect_known_senders() {
        let now = Instant::now();
        let mut senders = TrustedSenders::new(now);
        let own = UdpSocket::bind("127.0.0.1:0").unwrap();
        let own = own.local_addr().unwrap();
        assert!(senders.trusts(own, now));
        for port in 1..200 {
            senders.trusts(SocketAddr::new(own.ip(), port), now);
        }
        assert_eq!(senders.lookups, LOOKUPS_PER_SECOND);
        assert!(senders.known.len() <= LOOKUPS_PER_SECOND as usize);
        let later = now + LIFETIME + Duration::from_millis(1);
        assert!(senders.trusts(own, now) && senders.trusts(own, later));
        assert_eq!(senders.lookups, 1, "it was looked up again");
    }
}
