//! Opener of a flow (F1 to F5 of `docs/flows.md`): which end is A, and how it is known.

use std::collections::{HashMap, VecDeque};

use super::FlowTable;
use super::entry::{Entry, HAS_TRANSPORT, HOT_SWAPPED, IS_RETIRED};
use super::pending::{IS_SWAPPED, Pending};
use crate::decode::{Encapsulation, IcmpEcho, TcpFlags};
use crate::flow::record::{FinishType, Initiator};

/// How the opener of a flow is known. A opened it in every case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Evidence {
    /// Only the end that was seen first is known.
    #[default]
    None,
    /// SYN of A.
    Syn,
    /// SYN of A, which began a new connection on the ports of another one (C11, C13). Its sequence
    /// number is in [`FlowTable::uuid_numbers`].
    NewSyn,
    /// SYN and ACK of B.
    SynAck,
    /// ICMP request of A.
    Request,
    /// ICMP reply of B.
    Reply,
    /// An earlier record with the same key.
    Former,
}

/// Ends of flows that left by silence, by the hash of their key.
#[derive(Debug, Default)]
pub(super) struct FormerEnds {
    /// Whether A is the upper end of the key.
    ends: HashMap<u64, bool>,
    /// Keys of `ends`, oldest first.
    order: VecDeque<u64>,
}

impl FormerEnds {
    /// Stores the ends of a flow; forgets the oldest if there are too many.
    fn store(&mut self, hash: u64, is_swapped: bool) {
        if self.ends.insert(hash, is_swapped).is_some() {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > MAX_FORMER
            && let Some(oldest) = self.order.pop_front()
        {
            self.ends.remove(&oldest);
        }
    }

    /// Forgets the ends of a flow, because a later one of its key has finished.
    fn forget(&mut self, hash: u64) {
        if !self.ends.is_empty() {
            self.ends.remove(&hash);
        }
    }

    /// Returns the size in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.ends.capacity() * (size_of::<(u64, bool)>() + 1)
            + self.order.capacity() * size_of::<u64>()
    }
}

impl FlowTable {
    /// Returns whether A is the upper end of the key of a new flow, and how that is known.
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

    /// Returns whether A was the upper end of the latest earlier record with this key, if that has not
    /// finished: one that is still in the table, or one that left by silence.
    fn known_ends(&self, pending: &Pending) -> Option<bool> {
        if pending.one_way != 0 {
            return None;
        }
        let mode = self.options.layer_key_mode;
        let mut latest: Option<&Entry> = None;
        self.index.find(pending.hash, |record| {
            let entry = self.arena.get(record);
            let is_flow =
                entry.key.is_same(&pending.key, mode) && entry.cold.layers & HAS_TRANSPORT != 0;
            if is_flow && latest.is_none_or(|other| other.cold.start < entry.cold.start) {
                latest = Some(entry);
            }
            false
        });
        match latest {
            Some(entry) if is_open(entry) => Some(entry.hot.flags & HOT_SWAPPED != 0),
            Some(_) => None,
            None => self.former_ends.ends.get(&pending.hash).copied(),
        }
    }

    /// Remembers the ends of a flow with ports that leaves by silence, or forgets those of earlier ones
    /// if it has finished.
    pub(super) fn store_ends(&mut self, record: u32) {
        let entry = self.arena.get(record);
        let layers = entry.cold.layers;
        // The ends of a retired flow were stored before.
        let has_none = layers & HAS_TRANSPORT == 0 || layers & IS_RETIRED != 0;
        if self.options.recorded || has_none {
            return;
        }
        let hash = entry.key.hash(self.seed, self.options.layer_key_mode);
        if is_open(entry) {
            let is_swapped = entry.hot.flags & HOT_SWAPPED != 0;
            self.former_ends.store(hash, is_swapped);
        } else {
            self.former_ends.forget(hash);
        }
    }

    /// Returns the opener of a flow as its record shows it.
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

    /// Returns the end whose port is not a service, if the other one's is: a guess.
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

/// Returns whether a flow has not finished, or only by silence.
const fn is_open(entry: &Entry) -> bool {
    matches!(
        entry.hot.finish,
        FinishType::NotFinished | FinishType::Timeout
    )
}

/// Returns whether both ends are equal in all that is known of them.
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

/// Largest number of flows whose ends are remembered.
const MAX_FORMER: usize = 1 << 16;
