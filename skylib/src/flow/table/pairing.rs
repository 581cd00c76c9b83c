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
use super::entry::{END_IDENTIFIED, NONE};
use super::pending::Pending;
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

impl FlowTable {
    /// Returns the flow of a packet inside a one-way path: the flow with this identifier in this
    /// direction, or else the only flow without an identifier in this direction. If several flows
    /// have no identifier, returns the flow whose latest TCP segment the packet acknowledges, or
    /// whose echo request it answers.
    #[cold]
    pub(super) fn find_paired(&self, part: &Pending, control: &Control) -> Option<u32> {
        let mode = self.options.layer_key_mode;
        let mut paths = 0;
        let mut free = [NONE; 2];
        let mut answered = [NONE; 2];
        let mut last = None;
        let found = self.index.find(part.hash, |record| {
            let entry = self.arena.get(record);
            if !entry.key.is_same(&part.key, mode) {
                return false;
            }
            paths += 1;
            last = Some(record);
            let way = usize::from(!entry.is_a_to_b(part.flags));
            let pairing = self
                .rare
                .get(entry.cold.rare)
                .and_then(|rare| rare.pairing.as_ref());
            let identifier = pairing.map_or(0, |pairing| pairing.identifiers[way]);
            if identifier == 0 {
                note(&mut free, record);
                let other =
                    pairing.map(|pairing| (pairing.identifiers[1 - way], pairing.next[1 - way]));
                let acknowledges = part.tcp.contains(TcpFlags::ACK)
                    && other
                        .is_some_and(|(known, next)| known != 0 && next == control.acknowledgment);
                let replies = part.is_reply() && self.has_request(entry, 1 - way, control.number());
                if acknowledges || replies {
                    note(&mut answered, record);
                }
            }
            identifier == part.one_way || paths == MAX_PATHS
        });
        if paths == MAX_PATHS {
            return found.or(last);
        }
        found.or_else(|| only(free)).or_else(|| only(answered))
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

/// Maximum number of flows that one lookup reads; if there are more, the packet is assigned to the
/// last one read.
const MAX_PATHS: usize = 64;
