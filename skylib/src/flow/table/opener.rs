//! Opener of a flow (F1 to F5 of `docs/flows.md`): determination of the end that is A, and its
//! evidence.

use std::collections::VecDeque;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Slot;

use super::FlowTable;
use super::entry::{Entry, HAS_TRANSPORT, HOT_PAIRED, HOT_SWAPPED, IS_RETIRED};
use super::pending::{IS_SWAPPED, Pending};
use crate::decode::{Encapsulation, IcmpEcho, TcpFlags};
use crate::flow::record::{FinishType, Initiator};

/// Evidence of the opener of a flow, which is always A.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Evidence {
    /// None: A is the end that was seen first.
    #[default]
    None,
    /// SYN of A.
    Syn,
    /// SYN of A that opened a new connection on the ports of an earlier one (C11, C13). Its
    /// sequence number is in [`SideNumbers`](super::entry::SideNumbers).
    NewSyn,
    /// SYN-ACK of B.
    SynAck,
    /// ICMP request of A.
    Request,
    /// ICMP reply of B.
    Reply,
    /// Ends of an earlier flow with the same key.
    Former,
}

/// Ends of flows that were removed because they were idle, by the hash of their key. Of the flows
/// with one key, only the flow that began last is stored.
#[derive(Debug, Default)]
pub(super) struct FormerEnds {
    ends: HashMap<u64, Former>,
    /// Keys of `ends`, oldest first.
    order: VecDeque<u64>,
}

/// Start and [`Ends`] of a removed flow, packed into 8 bytes.
#[derive(Clone, Copy, Debug)]
struct Former(i64);

/// Which end of the key was A in a removed flow, if that determines the ends of later flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// A is the lower end of the key.
    Lower,
    /// A is the upper end of the key.
    Upper,
    /// The flow had finished, so that its ends do not determine those of later flows.
    Finished,
}

impl Former {
    /// Packs the start, in Unix milliseconds, and the ends of a flow.
    const fn new(start: i64, ends: Ends) -> Self {
        Self(start.saturating_mul(4) & !3 | ends as i64)
    }

    /// Returns the start, in Unix milliseconds.
    const fn start(self) -> i64 {
        self.0 >> 2
    }

    const fn ends(self) -> Ends {
        match self.0 & 3 {
            0 => Ends::Lower,
            1 => Ends::Upper,
            _ => Ends::Finished,
        }
    }
}

impl Ends {
    /// Returns the ends of a flow of the table.
    const fn of(entry: &Entry) -> Self {
        match entry.hot.finish {
            FinishType::NotFinished | FinishType::Timeout => {
                if entry.hot.flags & HOT_SWAPPED != 0 {
                    Self::Upper
                } else {
                    Self::Lower
                }
            }
            _ => Self::Finished,
        }
    }
}

impl FormerEnds {
    /// Stores a flow, unless a later flow with its key is stored; removes the oldest stored flow if
    /// there are too many.
    fn store(&mut self, hash: u64, flow: Former) {
        match self.ends.entry(hash) {
            Slot::Occupied(mut former) => {
                if former.get().start() <= flow.start() {
                    former.insert(flow);
                }
                return;
            }
            Slot::Vacant(slot) => {
                slot.insert(flow);
            }
        }
        self.order.push_back(hash);
        if self.order.len() > MAX_FORMER
            && let Some(oldest) = self.order.pop_front()
        {
            self.ends.remove(&oldest);
        }
    }

    /// Removes the flow of a key.
    fn forget(&mut self, hash: u64) {
        if !self.ends.is_empty() {
            self.ends.remove(&hash);
        }
    }

    /// Returns the allocated size, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.ends.capacity() * (size_of::<(u64, Former)>() + 1)
            + self.order.capacity() * size_of::<u64>()
    }
}

impl FlowTable {
    /// Returns whether A is the upper end of the key of a new flow, and the evidence.
    pub(super) fn opener(&self, pending: &Pending, part: &Encapsulation) -> (bool, Evidence) {
        let is_swapped = pending.flags & IS_SWAPPED != 0;
        if self.options.recorded {
            return (is_swapped, Evidence::None);
        }
        let has = |flag| pending.tcp.contains(flag);
        let (is_from_b, evidence) = if has(TcpFlags::SYN) && has(TcpFlags::ACK) {
            (true, Evidence::SynAck)
        } else if has(TcpFlags::SYN) {
            (false, Evidence::Syn)
        } else if let Some(query) = part.icmp.and_then(|icmp| icmp.query) {
            match query {
                IcmpEcho::Request => (false, Evidence::Request),
                IcmpEcho::Reply => (true, Evidence::Reply),
            }
        } else if let Some(is_upper) = self.known_ends(pending) {
            return (is_upper, Evidence::Former);
        } else {
            (false, Evidence::None)
        };
        (is_swapped != (is_from_b && !has_equal_ends(part)), evidence)
    }

    /// Returns whether A was the upper end of the flow with this key that began last. Considers
    /// only unfinished flows: those in the table, and those removed because they were idle. `None`
    /// if there is no such flow.
    fn known_ends(&self, pending: &Pending) -> Option<bool> {
        let mode = self.options.layer_key_mode;
        let mut latest = self.former_ends.ends.get(&pending.hash).copied();
        self.index.find(pending.hash, |record| {
            let entry = self.arena.get(record);
            let is_flow =
                entry.key.is_same(&pending.key, mode) && entry.cold.layers & HAS_TRANSPORT != 0;
            if is_flow && latest.is_none_or(|other| other.start() < entry.cold.start) {
                latest = Some(Former::new(entry.cold.start, Ends::of(entry)));
            }
            false
        });
        match latest?.ends() {
            Ends::Lower => Some(false),
            Ends::Upper => Some(true),
            Ends::Finished => None,
        }
    }

    /// Stores the ends of a flow with ports that is removed from the index. Of a finished flow,
    /// stores only that it has finished, and only if an earlier flow with its key may still be
    /// removed.
    pub(super) fn store_ends(&mut self, record: u32) {
        let entry = self.arena.get(record);
        let layers = entry.cold.layers;
        // The ends of a retired flow were stored before, or a later flow has its key.
        let has_none = layers & HAS_TRANSPORT == 0 || layers & IS_RETIRED != 0;
        if self.options.recorded || has_none {
            return;
        }
        let hash = entry.key.hash(self.seed, self.options.layer_key_mode);
        let ends = Ends::of(entry);
        if ends == Ends::Finished && entry.hot.flags & HOT_PAIRED == 0 {
            self.former_ends.forget(hash);
        } else {
            let flow = Former::new(entry.cold.start, ends);
            self.former_ends.store(hash, flow);
        }
    }

    /// Returns the opener of a flow for its record.
    pub(super) fn initiator(&self, entry: &Entry) -> Option<Initiator> {
        let by = match entry.hot.opener {
            Evidence::None => return self.initiator_by_port(entry),
            Evidence::Syn | Evidence::NewSyn => "SYN",
            Evidence::SynAck => "SYNACK",
            Evidence::Request => "REQUEST",
            Evidence::Reply => "REPLY",
            Evidence::Former => "KEPT",
        };
        Some(Initiator {
            side: "A".into(),
            by: by.into(),
        })
    }

    /// Returns the likely opener: the end whose port is not a service port, if the port of the
    /// other end is one.
    fn initiator_by_port(&self, entry: &Entry) -> Option<Initiator> {
        if self.options.recorded || entry.key.is_tunnel() {
            return None;
        }
        let protocol = entry.transport()?;
        let is_service = |port: u16| {
            (1..1024).contains(&port)
                || self
                    .options
                    .application_ports
                    .text(protocol, port, port)
                    .is_some()
        };
        let side = match entry.cold.ports.map(is_service) {
            [true, false] => "B",
            [false, true] => "A",
            _ => return None,
        };
        Some(Initiator {
            side: side.into(),
            by: "PORT".into(),
        })
    }
}

/// Returns whether both ends are equal in all known fields.
fn has_equal_ends(part: &Encapsulation) -> bool {
    let link = part.link.is_none_or(|link| link.source == link.destination);
    let network = part
        .network
        .is_none_or(|network| network.source.octets() == network.destination.octets());
    let ports = part
        .transport
        .is_none_or(|ports| ports.source == ports.destination);
    link && network && ports
}

/// Maximum number of flows whose ends are stored.
const MAX_FORMER: usize = 1 << 16;
