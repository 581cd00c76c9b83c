//! The netlink sockets of a namespace: one receives events, the other sends requests.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "engine")]
use netlink_packet_core::NLM_F_ACK;
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN,
    NetlinkBuffer, NetlinkMessage,
};
use netlink_packet_route::address::AddressMessage;
#[cfg(feature = "engine")]
use netlink_packet_route::link::LinkFlags;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::stats::{StatsFilterMask, StatsMessage};
use netlink_packet_route::tc::TcMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt::{
    Timeout, set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, set_socket_timeout,
};

use super::buffer_pool::BufferPool;
use super::queue::Queue;
use super::rule::Rule;
use super::stats::{self, Counters};
use super::wire::{NetlinkEvent, attributes};
#[cfg(feature = "engine")]
use crate::sys::monotonic;

/// A socket that receives the events of links, addresses, routes, rules, and neighbors of a
/// namespace.
#[derive(Debug)]
pub(super) struct EventSocket {
    socket: Socket,
    buffers: Arc<BufferPool>,
}

/// Result of a read of an [`EventSocket`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Events were appended; there may be more.
    Events,
    /// The queue of the socket is empty.
    Empty,
    /// The kernel has dropped events because the queue was full, so the known state may be wrong.
    Overrun,
}

impl EventSocket {
    /// Opens a socket in the namespace of the calling thread and subscribes to its events.
    pub(super) fn open(buffers: &Arc<BufferPool>) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        // Exceeding the system limit requires CAP_NET_ADMIN; a smaller buffer works as well.
        if set_socket_recv_buffer_size_force(&socket, EVENT_BUFFER).is_err() {
            let _smaller = set_socket_recv_buffer_size(&socket, EVENT_BUFFER);
        }
        socket.bind_auto()?;
        for group in GROUPS {
            // Kernels without IPv6 or nexthop objects lack their groups.
            let added = socket.add_membership(group);
            if group == libc::RTNLGRP_LINK {
                added?;
            }
        }
        socket.set_non_blocking(true)?;
        Ok(Self {
            socket,
            buffers: Arc::clone(buffers),
        })
    }

    /// Appends the events of one queued datagram; does not block.
    pub(super) fn receive(&mut self, events: &mut Vec<NetlinkEvent>) -> io::Result<Received> {
        let mut buffer = self.buffers.take();
        match self.socket.recv_from(&mut *buffer, libc::MSG_TRUNC) {
            Ok((length, _)) if length > buffer.len() => {
                buffer.reserve(length);
                Ok(Received::Overrun)
            }
            // Only messages from port 0 are from the kernel; those of other processes are ignored.
            Ok((_, from)) if from.port_number() != 0 => Ok(Received::Events),
            Ok(_) => {
                for message in messages(&buffer) {
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

/// Completeness of the reply to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DumpState {
    Complete,
    /// The table changed during the read, or a part of the reply was truncated.
    Interrupted,
}

/// Events from reading a table.
#[derive(Debug, Default)]
struct Dump {
    events: Vec<NetlinkEvent>,
    is_interrupted: bool,
}

impl Dump {
    /// Returns the events if none is missing: a missing link would be deleted, and no later message
    /// would restore it.
    fn complete(self) -> io::Result<Vec<NetlinkEvent>> {
        if self.is_interrupted {
            return Err(io::Error::other(
                "interfaces change faster than they can be listed; retrying",
            ));
        }
        Ok(self.events)
    }
}

/// A socket for requests about one namespace.
#[derive(Debug)]
pub(super) struct RequestSocket {
    socket: Socket,
    buffers: Arc<BufferPool>,
    /// Number of the last request, which its replies repeat.
    sequence: u32,
}

impl RequestSocket {
    /// Opens a socket in the namespace of the calling thread.
    pub(super) fn open(buffers: &Arc<BufferPool>) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // The kernel replies immediately; the timeout prevents a blocked thread in any other case.
        set_socket_timeout(&socket, Timeout::Recv, Some(REPLY_TIMEOUT))?;
        Ok(Self {
            socket,
            buffers: Arc::clone(buffers),
            sequence: 0,
        })
    }

    /// Returns all links, as events.
    pub(super) fn links(&mut self) -> io::Result<Vec<NetlinkEvent>> {
        let mut request = LinkMessage::default();
        request.attributes.push(virtual_functions());
        let request = RouteNetlinkMessage::GetLink(request);
        self.dump_events(&request)?.complete()
    }

    /// Returns one link; `None` if no link has this index.
    pub(super) fn link(&mut self, index: u32) -> io::Result<Option<NetlinkEvent>> {
        let mut request = LinkMessage::default();
        request.header.index = index;
        request.attributes.push(virtual_functions());
        let mut found = None;
        let message = RouteNetlinkMessage::GetLink(request);
        let answer = self.request(&message, 0, |kind, payload| {
            found = NetlinkEvent::parse(kind, payload);
        });
        match answer {
            Ok(_) => Ok(found),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets the link with a name up; returns `false` if no link has this name.
    #[cfg(feature = "engine")]
    fn set_up(&mut self, name: &str) -> io::Result<bool> {
        let mut request = LinkMessage::default();
        request.header.flags = LinkFlags::Up;
        request.header.change_mask = LinkFlags::Up;
        request
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        let message = RouteNetlinkMessage::SetLink(request);
        match self.request(&message, NLM_F_ACK, |_, _| {}) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns all addresses, as events.
    pub(super) fn addresses(&mut self) -> io::Result<Vec<NetlinkEvent>> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        self.dump_events(&request)?.complete()
    }

    /// Returns all IPv4 and IPv6 neighbors, as events.
    pub(super) fn neighbors(&mut self) -> io::Result<Vec<NetlinkEvent>> {
        let request = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        Ok(self.dump_events(&request)?.events)
    }

    /// Returns all forwarding entries, as events.
    pub(super) fn forwarding(&mut self) -> io::Result<Vec<NetlinkEvent>> {
        let mut request = NeighbourMessage::default();
        request.header.family = AddressFamily::Bridge;
        Ok(self
            .dump_events(&RouteNetlinkMessage::GetNeighbour(request))?
            .events)
    }

    /// Passes the message payload of each route to `each`.
    ///
    /// The list may be inconsistent if routes change during the read; such a change causes an event,
    /// and the event causes another read.
    pub(super) fn routes(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            let message = RouteNetlinkMessage::GetRoute(request);
            self.request(&message, NLM_F_DUMP, |kind, payload| {
                if kind == libc::RTM_NEWROUTE {
                    each(payload);
                }
            })?;
        }
        Ok(())
    }

    /// Returns the routing rules for IPv4 and IPv6; the default rules if the kernel has no policy
    /// routing.
    pub(super) fn rules(&mut self) -> Vec<Rule> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RuleMessage::default();
            request.header.family = family;
            let message = RouteNetlinkMessage::GetRule(request);
            // Fails if the kernel lacks the address family or policy routing.
            let _answered = self.request(&message, NLM_F_DUMP, |kind, payload| {
                if kind == libc::RTM_NEWRULE {
                    found.extend(Rule::parse(payload));
                }
            });
        }
        match found.is_empty() {
            true => Rule::defaults(),
            false => found,
        }
    }

    /// Returns the counters of all links.
    pub(super) fn stats(&mut self) -> io::Result<Vec<(u32, Counters)>> {
        let mut request = StatsMessage::default();
        request.header.filter_mask = StatsFilterMask::Link64;
        let mut found = Vec::new();
        let message = RouteNetlinkMessage::GetStats(request);
        self.request(&message, NLM_F_DUMP, |_, payload| {
            found.extend(stats::parse(payload));
        })?;
        Ok(found)
    }

    /// Returns the queueing disciplines of all links; none if the kernel lacks traffic control.
    pub(super) fn queues(&mut self) -> Vec<Queue> {
        let message = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
        let mut found = Vec::new();
        let _answered = self.request(&message, NLM_F_DUMP, |_, payload| {
            found.extend(Queue::parse(payload));
        });
        found
    }

    /// Returns the nsid of another namespace in this one; `None` if it has none.
    pub(super) fn nsid(&mut self, other: BorrowedFd<'_>) -> io::Result<Option<i32>> {
        let mut request = NsidMessage::default();
        let fd = u32::try_from(other.as_raw_fd()).unwrap_or(u32::MAX);
        request.attributes.push(NsidAttribute::Fd(fd));
        let mut found = None;
        let message = RouteNetlinkMessage::GetNsId(request);
        self.request(&message, 0, |_, payload| {
            // struct rtgenmsg, padded; NETNSA_NSID is attribute 1.
            let attribute = attributes(payload, 4).find(|a| a.kind() == 1);
            found = attribute.and_then(|a| a.i32()).filter(|id| *id >= 0);
        })?;
        Ok(found)
    }

    /// Reads a table; repeats the read if it is interrupted, up to [`DUMP_ATTEMPTS`] times.
    fn dump_events(&mut self, message: &RouteNetlinkMessage) -> io::Result<Dump> {
        let mut dump = Dump::default();
        for _ in 0..DUMP_ATTEMPTS {
            dump.events.clear();
            let each =
                |kind, payload: &[u8]| dump.events.extend(NetlinkEvent::parse(kind, payload));
            dump.is_interrupted =
                self.request(message, NLM_F_DUMP, each)? == DumpState::Interrupted;
            if !dump.is_interrupted {
                break;
            }
        }
        Ok(dump)
    }

    /// Sends a request, and passes the type and the payload of each reply to `each`.
    fn request(
        &mut self,
        request: &RouteNetlinkMessage,
        flags: u16,
        mut each: impl FnMut(u16, &[u8]),
    ) -> io::Result<DumpState> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(request.clone());
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut state = DumpState::Complete;
        let mut buffer = self.buffers.take();
        loop {
            buffer.clear();
            let length = match self.socket.recv(&mut *buffer, libc::MSG_TRUNC) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if length > buffer.len() {
                // The rest of the reply must be read before the next request.
                buffer.reserve(length);
                state = DumpState::Interrupted;
            }
            for message in messages(&buffer) {
                if message.sequence_number() != self.sequence {
                    continue;
                }
                if message.flags() & NLM_F_DUMP_INTR != 0 {
                    state = DumpState::Interrupted;
                }
                match message.message_type() {
                    NLMSG_ERROR | NLMSG_DONE => {
                        return result_of(message.payload()).map(|()| state);
                    }
                    kind => {
                        each(kind, message.payload());
                        if flags & NLM_F_DUMP == 0 {
                            return Ok(state);
                        }
                    }
                }
            }
        }
    }
}

/// Sets a link of the namespace of the calling thread up. If it does not exist yet, waits for it.
///
/// # Errors
/// Returns `NotFound` if the link does not exist after `timeout`.
#[cfg(feature = "engine")]
pub(crate) fn set_link_up(name: &str, timeout: Duration) -> io::Result<()> {
    let mut requests = RequestSocket::open(&Arc::default())?;
    let start = monotonic::now();
    while !requests.set_up(name)? {
        if monotonic::now() - start > timeout {
            let text = format!("interface {name} does not exist after {timeout:?}");
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        std::thread::sleep(LINK_WAIT);
    }
    Ok(())
}

/// Returns the attribute that requests the settings of virtual functions (SR-IOV).
fn virtual_functions() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::Vf])
}

/// Returns the messages of a datagram, up to the first malformed one.
fn messages(datagram: &[u8]) -> impl Iterator<Item = NetlinkBuffer<&[u8]>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(rest).ok()?;
        let length = usize::try_from(message.length()).ok()?.next_multiple_of(4);
        rest = rest.get(length..).unwrap_or_default();
        Some(message)
    })
}

/// Returns the result of a request from `NLMSG_ERROR` or `NLMSG_DONE`, whose payload begins with a
/// negative error number, or 0 for success.
fn result_of(payload: &[u8]) -> io::Result<()> {
    match payload.first_chunk().copied().map(i32::from_ne_bytes) {
        None | Some(0..) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
    }
}

/// `RTNLGRP_` numbers of `linux/rtnetlink.h`.
const GROUPS: [u32; 9] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_RULE,
    libc::RTNLGRP_NEXTHOP,
];

/// Size of the kernel's event queue, in bytes: about 2000 links that are created at once.
const EVENT_BUFFER: usize = 4 << 20;

/// Timeout of a request.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// Time between two searches for a link that does not exist yet.
#[cfg(feature = "engine")]
const LINK_WAIT: Duration = Duration::from_millis(10);

/// Maximum number of attempts to read a table that changes during the read.
const DUMP_ATTEMPTS: usize = 8;
