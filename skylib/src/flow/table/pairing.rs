//! Pairing of one-way identifiers (A10 of `docs/flows.md`): a flow inside MPLS, GTP-U, or L2TP has
//! at most one identifier around it for each direction.
//!
//! Flows with equal inner keys and equal tunnel ends have the same [`FlowKey`] (`key_extras.rs`),
//! so that the index may hold several of them. A lookup reads all such flows: O(n) in the number of
//! paths between two ends that carry the same connection, at most [`MAX_PATHS`].
//!
//! [`FlowKey`]: crate::flow::key::FlowKey

use super::FlowTable;
use super::control::Control;
use super::entry::{END_IDENTIFIED, Entry, IS_ATTEMPT, NONE};
use super::pending::Pending;
use super::spans::{Choice, SameKey};
use crate::decode::{Marks, TcpFlags};

/// One-way identifiers around a flow, by direction: from A to B, and from B to A.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairing {
    /// Hash of the identifier; 0 if no packet of the direction was seen.
    identifiers: [u64; 2],
    /// Sequence number that acknowledges the latest TCP segment of the direction; valid if the
    /// identifier is not 0.
    next: [u32; 2],
    /// UUID of the enclosing flow; 0 if no packet of the direction was seen.
    pub(super) parents: [u64; 2],
    /// Identifiers of the enclosing flow.
    pub(super) marks: [Marks; 2],
}

/// Flows that a packet inside a one-way path may belong to.
#[derive(Clone, Copy, Debug)]
struct Candidates {
    /// Number of entries with the key of the packet that were read, at most [`MAX_PATHS`].
    count: usize,
    /// Flow with the identifier of the packet in its direction that is nearest in time; of several,
    /// the flow that began last. Preceded by its distance and its negative start.
    exact: Option<(i64, i128, u32)>,
    /// Flows without an identifier in the direction of the packet.
    free: [u32; 2],
    /// Flows of `free` whose latest TCP segment the packet acknowledges, or whose echo request the
    /// packet answers.
    answered: [u32; 2],
    /// Entry read last.
    last: Option<u32>,
}

impl Default for Candidates {
    fn default() -> Self {
        Self {
            count: 0,
            exact: None,
            free: [NONE; 2],
            answered: [NONE; 2],
            last: None,
        }
    }
}

impl Candidates {
    /// Returns whether the key has as many entries as one lookup reads.
    const fn is_full(&self) -> bool {
        self.count == MAX_PATHS
    }

    /// Returns the flow of the packet: the flow with its identifier in its direction, or else the
    /// only flow without an identifier in this direction. If several flows have no identifier,
    /// returns the only flow that the packet answers.
    fn record(&self) -> Option<u32> {
        let found = self.exact.map(|(_, _, record)| record);
        if self.is_full() {
            return found.or(self.last);
        }
        found
            .or_else(|| only(self.free))
            .or_else(|| only(self.answered))
    }
}

impl FlowTable {
    /// Chooses the flow of a packet inside a one-way path. The rules of [`choose`](Self::choose)
    /// apply to the flows of its path (C11 to C13, D1 to D3, E1, and E2).
    #[cold]
    #[inline(never)]
    pub(super) fn choose_paired(&mut self, part: &Pending, control: &Control, now: i64) -> Choice {
        let candidates = self.candidates(part, control, true);
        let found = candidates.record();
        // Only SYN and RST open, answer, or reject a connection.
        let is_ordinary = part.tcp.0 & (TcpFlags::SYN.0 | TcpFlags::RST.0) == 0;
        if let Some(found) = found.filter(|_| is_ordinary || candidates.is_full()) {
            self.extend_start(found, now);
            return Choice::Record(found);
        }
        let path = self.same_path(found, part);
        let choice = match found {
            Some(found) => self.connection(found, path.attempt, part, control),
            None => Choice::New,
        };
        self.make_room(choice, path, now);
        // Flows of other paths may have the same key.
        self.begins_paired = !matches!(choice, Choice::Record(_));
        choice
    }

    /// Returns the flow of a packet inside a one-way path, even if the packet is beyond its hold.
    pub(super) fn nearest_paired(&self, part: &Pending) -> Option<u32> {
        self.candidates(part, &Control::default(), false).record()
    }

    /// Returns the flows that a packet inside a one-way path may belong to; with `holds`, only
    /// those whose hold includes the packet.
    fn candidates(&self, part: &Pending, control: &Control, holds: bool) -> Candidates {
        let (mode, now) = (self.options.layer_key_mode, part.timestamp.as_ms());
        let mut found = Candidates::default();
        self.index.find(part.hash, |record| {
            let entry = self.arena.get(record);
            if !entry.key.is_same(&part.key, mode) {
                return false;
            }
            found.count += 1;
            found.last = Some(record);
            let distance = if holds {
                self.distance(record, now)
            } else {
                Some(entry.distance(now))
            };
            let Some(distance) = distance.filter(|_| entry.cold.layers & IS_ATTEMPT == 0) else {
                return found.is_full();
            };
            let way = usize::from(!entry.is_a_to_b(part.flags));
            let [same, other] = [way, 1 - way].map(|way| self.identifier(entry, way));
            if same == part.one_way {
                let nearer = (distance, -i128::from(entry.cold.start), record);
                found.exact = Some(found.exact.map_or(nearer, |known| known.min(nearer)));
            } else if same == 0 {
                note(&mut found.free, record);
                let acknowledges = part.tcp.contains(TcpFlags::ACK)
                    && other != 0
                    && self.next_sequence(entry, 1 - way) == control.acknowledgment;
                let replies = part.is_reply() && self.has_request(entry, 1 - way, control.number());
                if acknowledges || replies {
                    note(&mut found.answered, record);
                }
            }
            found.is_full()
        });
        found
    }

    /// Returns the flows with the identifier of a packet in its direction, and the attempt to open
    /// a connection in addition to the flow `found`: its identifiers do not differ from those of
    /// the flow and the packet.
    fn same_path(&self, found: Option<u32>, part: &Pending) -> SameKey {
        let mode = self.options.layer_key_mode;
        let way_of = |record: u32| usize::from(!self.arena.get(record).is_a_to_b(part.flags));
        // Identifier in the direction of the packet, and in the other direction.
        let ends = |record: u32| {
            let (entry, way) = (self.arena.get(record), way_of(record));
            [way, 1 - way].map(|way| self.identifier(entry, way))
        };
        let back = found.map_or(0, |record| ends(record)[1]);
        let mut path = SameKey::default();
        self.index.find(part.hash, |record| {
            let entry = self.arena.get(record);
            if !entry.key.is_same(&part.key, mode) {
                return false;
            }
            let [same, other] = ends(record);
            if entry.cold.layers & IS_ATTEMPT == 0 {
                if same == part.one_way {
                    path.flows.add(record);
                }
            } else if (same == 0 || same == part.one_way)
                && (other == 0 || back == 0 || other == back)
            {
                path.attempt = Some(record);
            }
            false
        });
        path
    }

    /// Returns the identifier around a flow in a direction: 0 from A to B, 1 from B to A. Returns
    /// 0 if no packet of the direction was seen.
    fn identifier(&self, entry: &Entry, way: usize) -> u64 {
        self.pairing(entry)
            .map_or(0, |pairing| pairing.identifiers[way])
    }

    /// Returns the sequence number that acknowledges the latest TCP segment of a direction.
    fn next_sequence(&self, entry: &Entry, way: usize) -> u32 {
        self.pairing(entry).map_or(0, |pairing| pairing.next[way])
    }

    fn pairing(&self, entry: &Entry) -> Option<&Pairing> {
        self.rare.get(entry.cold.rare)?.pairing.as_deref()
    }

    /// Stores the identifier around a packet with its flow.
    #[cold]
    pub(super) fn pair(
        &mut self,
        record: u32,
        part: &Pending,
        control: &Control,
        parent: Option<u32>,
    ) {
        let entry = self.arena.get(record);
        let way = usize::from(!entry.is_a_to_b(part.flags));
        let rare = self.rare.get_mut(entry.cold.rare);
        if let Some(pairing) = rare.and_then(|rare| rare.pairing.as_deref_mut())
            && pairing.identifiers[way] != 0
        {
            pairing.next[way] = control.next_sequence;
            return;
        }
        let parent = parent.filter(|parent| *parent != NONE);
        let (parent_uuid, marks) = parent.map_or_else(Default::default, |parent| {
            self.arena.get_mut(parent).hot.ends |= END_IDENTIFIED;
            let rare = self.rare.get(self.arena.get(parent).cold.rare);
            let marks = rare.and_then(|rare| rare.marks.as_deref().copied());
            (self.identifiers(parent).uuid, marks.unwrap_or_default())
        });
        let Some(rare) = self.make_rare(record) else {
            return;
        };
        let is_new = rare.pairing.is_none();
        let pairing = rare.pairing.get_or_insert_default();
        pairing.identifiers[way] = part.one_way;
        pairing.parents[way] = parent_uuid;
        pairing.marks[way] = marks;
        pairing.next[way] = control.next_sequence;
        self.side_bytes += if is_new { size_of::<Pairing>() } else { 0 };
    }
}

/// Adds a record to a set that only distinguishes zero, one, and several records.
fn note(set: &mut [u32; 2], record: u32) {
    set[usize::from(set[0] != NONE)] = record;
}

/// Returns the only record of a set; `None` if the set has no record or several.
fn only(set: [u32; 2]) -> Option<u32> {
    (set[0] != NONE && set[1] == NONE).then_some(set[0])
}

/// Maximum number of entries that one lookup reads; if there are more, the packet is assigned to the
/// last one read.
const MAX_PATHS: usize = 64;
