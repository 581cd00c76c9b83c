//! Switches and their ports that announce themselves by LLDP (IEEE 802.1AB), as nodes linked to the
//! interfaces that receive their frames.
//!
//! One packet socket receives the frames of all interfaces of the host's namespace. It is bound to
//! the Ethernet type of LLDP, so the kernel looks at no other frame, and it joins the three multicast
//! addresses of LLDP instead of enabling promiscuous mode. A neighbor disappears when its time to
//! live has elapsed, when it announces a time to live of zero, or with the interface.

mod frame;
mod neighbors;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

pub use frame::{LldpError, LldpFrame, LldpId};

use self::frame::ETHER_TYPE;
use self::neighbors::Neighbors;
use super::netlink::{LinkSummary, Namespaces};
use super::{Probe, ProbeContext, ProbeError, SubgraphWriter};
use crate::sys::capability::Capability;
use crate::sys::eventfd::wait_readable;
use crate::sys::socket::PacketSocket;
use crate::sys::timerfd::TimerFd;

/// A probe of LLDP neighbors.
#[derive(Debug)]
pub struct LldpProbe {
    namespaces: Arc<Namespaces>,
    /// Names of the interfaces to listen on; all if empty.
    interfaces: BTreeSet<String>,
    writer: SubgraphWriter,
}

impl LldpProbe {
    /// Returns a probe of the neighbors on some interfaces, or on all interfaces if the list is
    /// empty.
    #[must_use]
    pub fn new(namespaces: &Arc<Namespaces>, interfaces: impl IntoIterator<Item = String>) -> Self {
        Self {
            namespaces: Arc::clone(namespaces),
            interfaces: interfaces.into_iter().collect(),
            writer: SubgraphWriter::new(namespaces.target().clone()),
        }
    }

    /// Returns whether the probe listens on an interface.
    fn wants(&self, link: &LinkSummary) -> bool {
        let is_ethernet = link.hardware == ARPHRD_ETHER && !link.mac.is_empty();
        let is_named = self.interfaces.is_empty() || self.interfaces.contains(&*link.name);
        link.is_in_host && link.is_up && is_ethernet && is_named
    }
}

impl Probe for LldpProbe {
    fn name(&self) -> &'static str {
        "lldp"
    }

    fn run(&mut self, context: &ProbeContext) -> Result<(), ProbeError> {
        let action = "cannot listen to LLDP frames";
        let result = Listener::open(self).and_then(|mut listener| listener.run(context));
        result.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => ProbeError::Failed(Capability::NetRaw.help()),
            _ => ProbeError::system(action, error),
        })
    }
}

/// The socket of a running probe, and the neighbors whose frames it has received.
struct Listener<'a> {
    probe: &'a mut LldpProbe,
    socket: PacketSocket,
    /// Expires every second while there are neighbors.
    timer: TimerFd,
    /// Interfaces the probe listens on, by index.
    links: BTreeMap<u32, LinkSummary>,
    /// Interfaces whose multicast addresses have been joined.
    joined: BTreeSet<u32>,
    neighbors: Neighbors,
    malformed: u64,
}

impl<'a> Listener<'a> {
    fn open(probe: &'a mut LldpProbe) -> io::Result<Self> {
        let socket = PacketSocket::open()?;
        socket.bind_protocol(ETHER_TYPE, 0)?;
        Ok(Self {
            probe,
            socket,
            timer: TimerFd::new()?,
            links: BTreeMap::new(),
            joined: BTreeSet::new(),
            neighbors: Neighbors::default(),
            malformed: 0,
        })
    }

    fn run(&mut self, context: &ProbeContext) -> io::Result<()> {
        let changes = self.probe.namespaces.watch_links()?;
        self.update_links();
        // The neighbors of an earlier run may have expired.
        self.probe
            .writer
            .apply(self.neighbors.subgraph(&self.links));
        context.running();
        loop {
            let [stopped, received, changed, elapsed] = wait_readable([
                context.stop(),
                self.socket.as_fd(),
                changes.as_fd(),
                self.timer.as_fd(),
            ])?;
            if stopped {
                return Ok(());
            }
            let mut differs = false;
            if changed {
                // A burst of changes costs one update.
                if context.wait(LINKS_DELAY) {
                    return Ok(());
                }
                changes.clear();
                self.update_links();
                // The node of an interface may have been added again.
                differs = !self.probe.writer.is_empty();
            }
            if received {
                differs |= self.receive(context);
            }
            if elapsed {
                self.timer.clear();
                differs |= self.neighbors.second_elapsed();
            }
            if differs {
                let period = match self.neighbors.is_empty() {
                    true => Duration::ZERO,
                    false => Duration::from_secs(1),
                };
                self.timer.every(period)?;
                self.probe
                    .writer
                    .apply(self.neighbors.subgraph(&self.links));
            }
        }
    }

    /// Updates the interfaces, and forgets the neighbors on others.
    fn update_links(&mut self) {
        let all = self.probe.namespaces.links();
        let existing: BTreeSet<u32> = all
            .iter()
            .filter(|link| link.is_in_host)
            .map(|link| link.index)
            .collect();
        self.joined.retain(|index| existing.contains(index));
        let wanted = all.into_iter().filter(|link| self.probe.wants(link));
        let links: BTreeMap<u32, LinkSummary> = wanted.map(|link| (link.index, link)).collect();
        for index in links.keys() {
            if self.joined.insert(*index) {
                for mac in MULTICAST {
                    // Fails if the interface has just disappeared, or has no multicast filter.
                    let _joined = self.socket.join_multicast(*index, mac);
                }
            }
        }
        self.links = links;
        self.neighbors
            .retain_links(|index| self.links.contains_key(&index));
    }

    /// Reads the queued frames; returns whether what the graph shows differs.
    fn receive(&mut self, context: &ProbeContext) -> bool {
        let mut buffer = [0; MAX_FRAME];
        let mut differs = false;
        for _ in 0..FRAMES_AT_ONCE {
            let Ok((length, index)) = self.socket.receive(&mut buffer) else {
                break;
            };
            let Some(link) = self.links.get(&index) else {
                continue;
            };
            let frame = &buffer[..length.min(MAX_FRAME)];
            match LldpFrame::parse(frame) {
                Ok(frame) if is_own(&frame, link) => {}
                Ok(frame) => differs |= self.neighbors.receive(index, frame),
                Err(error) => {
                    self.malformed += 1;
                    let (count, name) = (self.malformed, &link.name);
                    let text =
                        format!("{count} malformed LLDP frames, the last on {name}: {error}");
                    context.problem("frames", Some(text));
                }
            }
        }
        differs
    }
}

/// Returns whether a frame is from an LLDP daemon of this host, which other interfaces can receive
/// through a bridge.
fn is_own(frame: &LldpFrame, link: &LinkSummary) -> bool {
    let source: Vec<String> = frame
        .source
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    source.join(":") == *link.mac || *frame.port_description == *link.name
}

/// Multicast addresses of LLDP: nearest customer bridge, nearest non-TPMR bridge, nearest bridge.
const MULTICAST: [[u8; 6]; 3] = [
    [0x01, 0x80, 0xc2, 0x00, 0x00, 0x00],
    [0x01, 0x80, 0xc2, 0x00, 0x00, 0x03],
    [0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e],
];

/// Maximum size of a frame, in bytes.
const MAX_FRAME: usize = 8192;

/// Maximum number of frames between two updates of the graph.
const FRAMES_AT_ONCE: usize = 256;

/// Time from a change of an interface to the update of the list.
const LINKS_DELAY: Duration = Duration::from_millis(50);

/// Hardware type of Ethernet (`linux/if_arp.h`).
const ARPHRD_ETHER: u16 = 1;
