//! Removal and eviction of flows.
//!
//! Eviction is the second-chance (CLOCK) approximation of LRU over the fronts of the age queues. It
//! costs O(queues) for each skipped flow; at most [`MAX_CHANCES`] flows are skipped.

use super::FlowTable;
use super::entry::{HOT_FINISHING, HOT_LISTED, HOT_USED, IS_RETIRED, SideNumbers};
use crate::flow::key::FlowKey;

impl FlowTable {
    /// Evicts a flow that approximates the least recently used one: of the flows at the fronts of
    /// the age queues that had no packet since they were appended, the oldest.
    ///
    /// At most [`MAX_CHANCES`] flows with packets are appended again; after that, the flow at the
    /// next front is evicted.
    #[cold]
    pub(super) fn evict(&mut self) {
        for chance in 0.. {
            let arena = &self.arena;
            let fronts = self.queues.iter().enumerate();
            let oldest = fronts
                .filter_map(|(class, queue)| queue.front().map(|record| (class, record)))
                .min_by_key(|(_, record)| arena.get(*record).hot.last);
            let Some((class, record)) = oldest else {
                return;
            };
            let entry = self.arena.get_mut(record);
            if entry.hot.flags & HOT_USED != 0 && chance < MAX_CHANCES {
                entry.hot.flags &= !HOT_USED;
                let queue = &mut self.queues[class];
                queue.unlink(&mut self.arena, record);
                queue.push(&mut self.arena, record);
                continue;
            }
            let flow = self.leaving_flow(record);
            self.remove(record);
            self.stats.evicted += 1;
            if self.evicted.len() < MAX_EVICTED {
                self.evicted.push(flow);
            } else {
                self.stats.evicted_unsent += 1;
            }
            return;
        }
    }

    /// Records that a flow was created by evicting another one (A18).
    #[cold]
    pub(super) fn note_evictions(&mut self, record: u32) {
        let evictions = self.stats.evicted as u32;
        self.side_numbers_mut(record).evictions = evictions;
    }

    /// Records the sequence number of the SYN of a flow that reuses the ports of another one (A18).
    #[cold]
    pub(super) fn note_new_syn(&mut self, record: u32, sequence: u32) {
        self.side_numbers_mut(record).new_syn = sequence;
    }

    /// Returns the side numbers of a flow; all 0 if none were stored.
    pub(super) fn side_numbers(&self, record: u32) -> SideNumbers {
        let numbers = self.side_numbers.get(record as usize);
        numbers.copied().unwrap_or_default()
    }

    pub(super) fn side_numbers_mut(&mut self, record: u32) -> &mut SideNumbers {
        let at = record as usize;
        if self.side_numbers.len() <= at {
            self.side_numbers.resize(at + 1, SideNumbers::default());
        }
        &mut self.side_numbers[at]
    }

    /// Removes a flow from the index, its queue, the slabs, and the arena.
    pub(super) fn remove(&mut self, record: u32) {
        self.unindex_network(record);
        let entry = self.arena.get_mut(record);
        let (hash, cold) = (
            entry.key.hash(self.seed, self.options.layer_key_mode),
            entry.cold,
        );
        entry.key = FlowKey::NONE;
        // The record number remains in the lists `touched` and `finishing`; the flags prevent a
        // reused number from being added to a list twice.
        entry.hot.flags &= HOT_LISTED | HOT_FINISHING;
        if cold.layers & IS_RETIRED == 0 {
            self.index.remove(hash, record);
        } else {
            self.retired -= 1;
        }
        self.queues[usize::from(cold.class)].unlink(&mut self.arena, record);
        self.intervals.remove(cold.interval);
        let rare = self.rare.remove(cold.rare);
        if let Some(rare) = rare {
            self.side_bytes -= rare.side_bytes();
            self.request_bytes -= rare.request_bytes();
            self.segment_bytes -= rare.stream_counters.map_or(0, |streams| streams.bytes());
            self.extra_message_bytes -= rare.extra_message.map_or(0, |message| message.bytes());
            self.details_bytes -= rare.details.map_or(0, |details| details.bytes());
            self.segment_bytes -= rare.recorded_streams.map_or(0, |streams| streams.bytes());
        }
        if let Some(numbers) = self.side_numbers.get_mut(record as usize) {
            *numbers = SideNumbers::default();
        }
        self.arena.release(record);
    }
}

/// Maximum number of recently used flows that one eviction skips; bounds the cost of an eviction.
const MAX_CHANCES: u32 = 64;
/// Maximum number of evicted flows that wait for the next call that passes a sink.
pub(super) const MAX_EVICTED: usize = 1 << 14;
