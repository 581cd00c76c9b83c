//! The two netlink sockets of a namespace: one that hears of changes, one to ask with.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN,
    NetlinkBuffer, NetlinkMessage,
};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::stats::{StatsFilterMask, StatsMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt::{
    Timeout, set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, set_socket_timeout,
};

use super::stats::{self, Counters};
use super::wire::{NetlinkEvent, attributes};

/// Hears of everything that happens to links, addresses, routes and neighbours of one namespace.
#[derive(Debug)]
pub(super) struct EventSocket {
    socket: Socket,
    buffer: Vec<u8>,
}

/// What a read of the [`EventSocket`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Events were handed out; there may be more.
    Events,
    /// Nothing is waiting.
    Empty,
    /// The kernel dropped events because we were too slow: what is known may be wrong.
    Overrun,
}

impl EventSocket {
    /// A subscription in the namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        // Beyond the administrator's limit only with CAP_NET_ADMIN; either way it is a wish.
        if set_socket_recv_buffer_size_force(&socket, EVENT_BUFFER).is_err() {
            let _smaller = set_socket_recv_buffer_size(&socket, EVENT_BUFFER);
        }
        socket.bind_auto()?;
        for group in GROUPS {
            // A kernel without IPv6 has no such group.
            let added = socket.add_membership(group);
            if group == libc::RTNLGRP_LINK {
                added?;
            }
        }
        socket.set_non_blocking(true)?;
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(READ_BUFFER),
        })
    }

    /// Reads what is waiting, one datagram, without blocking.
    pub(super) fn receive(&mut self, events: &mut Vec<NetlinkEvent>) -> io::Result<Received> {
        self.buffer.clear();
        match self.socket.recv_from(&mut self.buffer, libc::MSG_TRUNC) {
            Ok((length, _)) if length > self.buffer.len() => {
                self.buffer.reserve(length);
                Ok(Received::Overrun)
            }
            // Only the kernel has port 0; others may write to us, but not be believed.
            Ok((_, from)) if from.port_number() != 0 => Ok(Received::Events),
            Ok(_) => {
                for message in messages(&self.buffer) {
                    if message.message_type() == NLMSG_OVERRUN {
                        return Ok(Received::Overrun);
                    }
                    events.extend(NetlinkEvent::parse(
                        message.message_type(),
                        message.payload(),
                    ));
                }
                Ok(Received::Events)
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOBUFS) => Ok(Received::Overrun),
                Some(libc::EAGAIN) => Ok(Received::Empty),
                Some(libc::EINTR) => Ok(Received::Events),
                _ => Err(error),
            },
        }
    }
}

impl AsFd for EventSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How an answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DumpState {
    Complete,
    /// Something changed while a table was read, or a part of it was cut off.
    Interrupted,
}

/// A table as events.
#[derive(Debug, Default)]
struct Dump {
    events: Vec<NetlinkEvent>,
    is_interrupted: bool,
}

impl Dump {
    /// The events, if none is missing: what is missing would be taken for gone, and no message
    /// would bring it back.
    fn complete(self) -> io::Result<Vec<NetlinkEvent>> {
        if self.is_interrupted {
            return Err(io::Error::other(
                "interfaces change faster than they can be listed",
            ));
        }
        Ok(self.events)
    }
}

/// Asks the kernel about one namespace.
#[derive(Debug)]
pub(super) struct RequestSocket {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl RequestSocket {
    /// A socket in the namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // The kernel answers at once; if ever it does not, an error is better than a stuck thread.
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(READ_BUFFER),
            sequence: 0,
        })
    }

    /// All links, as events.
    pub(super) fn links(&mut self) -> io::Result<Vec<NetlinkEvent>> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.dump_events(&request)?.complete()
    }

    /// One link; `None` where there is none of that index.
    pub(super) fn link(&mut self, index: u32) -> io::Result<Option<NetlinkEvent>> {
        let mut request = LinkMessage::default();
        request.header.index = index;
        let mut found = None;
        let message = RouteNetlinkMessage::GetLink(request);
        let answer = self.request(&message, 0, &mut |kind, payload| {
            found = NetlinkEvent::parse(kind, payload);
        });
        match answer {
            Ok(_) => Ok(found),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All addresses, as events.
    pub(super) fn addresses(&mut self) -> io::Result<Vec<NetlinkEvent>> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        self.dump_events(&request)?.complete()
    }

    /// All IPv4 and IPv6 neighbours, as events.
    pub(super) fn neighbors(&mut self) -> io::Result<Vec<NetlinkEvent>> {
        let request = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        Ok(self.dump_events(&request)?.events)
    }

    /// All forwarding entries, as events.
    pub(super) fn forwarding(&mut self) -> io::Result<Vec<NetlinkEvent>> {
        let mut request = NeighbourMessage::default();
        request.header.family = AddressFamily::Bridge;
        Ok(self
            .dump_events(&RouteNetlinkMessage::GetNeighbour(request))?
            .events)
    }

    /// All routes, each handed to `each` as the payload of its message. They may be torn: what
    /// changes them meanwhile is announced as an event, which leads to the next look.
    pub(super) fn routes(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            let message = RouteNetlinkMessage::GetRoute(request);
            self.request(&message, NLM_F_DUMP, &mut |kind, payload| {
                if kind == libc::RTM_NEWROUTE {
                    each(payload);
                }
            })?;
        }
        Ok(())
    }

    /// The counters of all links.
    pub(super) fn stats(&mut self) -> io::Result<Vec<(u32, Counters)>> {
        let mut request = StatsMessage::default();
        request.header.filter_mask = StatsFilterMask::Link64;
        let mut found = Vec::new();
        let message = RouteNetlinkMessage::GetStats(request);
        self.request(&message, NLM_F_DUMP, &mut |_, payload| {
            found.extend(stats::parse(payload));
        })?;
        Ok(found)
    }

    /// The number that this namespace has given to another one; `None` where it gave none.
    pub(super) fn nsid(&mut self, other: BorrowedFd<'_>) -> io::Result<Option<i32>> {
        let mut request = NsidMessage::default();
        let fd = u32::try_from(other.as_raw_fd()).unwrap_or(u32::MAX);
        request.attributes.push(NsidAttribute::Fd(fd));
        let mut found = None;
        let message = RouteNetlinkMessage::GetNsId(request);
        self.request(&message, 0, &mut |_, payload| {
            // struct rtgenmsg, padded; NETNSA_NSID is attribute 1.
            let attribute = attributes(payload, 4).find(|a| a.kind() == 1);
            found = attribute.and_then(|a| a.i32()).filter(|id| *id >= 0);
        })?;
        Ok(found)
    }

    fn dump_events(&mut self, message: &RouteNetlinkMessage) -> io::Result<Dump> {
        let mut dump = Dump::default();
        for _ in 0..DUMP_TRIES {
            dump.events.clear();
            let mut each =
                |kind, payload: &[u8]| dump.events.extend(NetlinkEvent::parse(kind, payload));
            dump.is_interrupted =
                self.request(message, NLM_F_DUMP, &mut each)? == DumpState::Interrupted;
            if !dump.is_interrupted {
                break;
            }
        }
        Ok(dump)
    }

    /// One request and its answers, each handed to `each` by kind and payload.
    fn request(
        &mut self,
        request: &RouteNetlinkMessage,
        flags: u16,
        each: &mut dyn FnMut(u16, &[u8]),
    ) -> io::Result<DumpState> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(request.clone());
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answer = DumpState::Complete;
        loop {
            self.buffer.clear();
            let length = match self.socket.recv(&mut self.buffer, libc::MSG_TRUNC) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if length > self.buffer.len() {
                // The rest of the dump has to be read before the next one may begin.
                self.buffer.reserve(length);
                answer = DumpState::Interrupted;
            }
            for message in messages(&self.buffer) {
                if message.sequence_number() != self.sequence {
                    continue;
                }
                if message.flags() & NLM_F_DUMP_INTR != 0 {
                    answer = DumpState::Interrupted;
                }
                match message.message_type() {
                    NLMSG_ERROR | NLMSG_DONE => {
                        return result_of(message.payload()).map(|()| answer);
                    }
                    kind => {
                        each(kind, message.payload());
                        if flags & NLM_F_DUMP == 0 {
                            return Ok(answer);
                        }
                    }
                }
            }
        }
    }
}

/// The messages in a datagram, up to the first damaged one.
fn messages(datagram: &[u8]) -> impl Iterator<Item = NetlinkBuffer<&[u8]>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(rest).ok()?;
        let length = usize::try_from(message.length()).ok()?.next_multiple_of(4);
        rest = rest.get(length..).unwrap_or_default();
        Some(message)
    })
}

/// The error number at the start of an `NLMSG_ERROR` or `NLMSG_DONE`, negative; 0 is success.
fn result_of(payload: &[u8]) -> io::Result<()> {
    match payload.first_chunk().copied().map(i32::from_ne_bytes) {
        None | Some(0..) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
    }
}

/// `RTNLGRP_` numbers of `linux/rtnetlink.h`.
const GROUPS: [u32; 6] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV6_ROUTE,
];

/// Room for events that wait for us, some 2000 links made at once.
const EVENT_BUFFER: usize = 4 << 20;

/// Larger than the kernel's largest datagram of a dump, 32 KiB.
const READ_BUFFER: usize = 64 << 10;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Times a table is read that changes while it is read.
const DUMP_TRIES: usize = 8;
