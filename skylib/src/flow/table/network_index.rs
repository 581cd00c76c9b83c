//! Index of flows by their key without MAC addresses, for ICMP errors: the packet in an error has
//! no link header, and its flow may have other MAC addresses than the error.
//!
//! The index is built, in O(flows), at the first error that needs it, and is maintained from then
//! on. It contains only the latest record for each key, so that a sender cannot make lookups long.
//! It stops growing when the byte budget for details is exhausted.

use super::FlowTable;
use super::hash_index::HashIndex;
use crate::flow::key::FlowKey;
use crate::flow::options::LayerKeyMode;

impl FlowTable {
    /// Returns the record with one of `keys`, which are results of [`FlowKey::of_network`]; `None`
    /// if there is none.
    pub(super) fn find_by_network(&mut self, keys: &[FlowKey]) -> Option<u32> {
        if self.network_index.is_none() {
            let index = HashIndex::new();
            if !self.takes_details_bytes(index.bytes()) {
                return None;
            }
            self.network_index = Some(Box::new(index));
            for record in 0..self.arena.end() {
                self.index_network(record);
            }
        }
        keys.iter().find_map(|key| self.record_of_network(key))
    }

    /// Adds a record, if the index exists; replaces an earlier record with an equal key.
    pub(super) fn index_network(&mut self, record: u32) {
        if self.network_index.is_none() {
            return;
        }
        let entry = self.arena.get(record);
        if !entry.is_alive() || entry.key.has_no_network() || !entry.key.counts_link() {
            return;
        }
        let key = entry.key.of_network();
        let hash = key.hash(self.seed, LayerKeyMode::L2);
        let former = self.record_of_network(&key);
        if let (Some(index), Some(former)) = (&mut self.network_index, former) {
            index.remove(hash, former);
        }
        let grows = self.network_index.as_ref().filter(|index| index.grows());
        if let Some(bytes) = grows.map(|index| index.bytes())
            && !self.takes_details_bytes(bytes)
        {
            return;
        }
        if let Some(index) = &mut self.network_index {
            index.insert(hash, record);
        }
    }

    /// Removes a record, if it is in the index.
    pub(super) fn unindex_network(&mut self, record: u32) {
        if let Some(index) = &mut self.network_index {
            let key = self.arena.get(record).key.of_network();
            index.remove(key.hash(self.seed, LayerKeyMode::L2), record);
        }
    }

    fn record_of_network(&self, key: &FlowKey) -> Option<u32> {
        let index = self.network_index.as_ref()?;
        index.find(key.hash(self.seed, LayerKeyMode::L2), |record| {
            let other = self.arena.get(record).key.of_network();
            key.is_same(&other, LayerKeyMode::L2)
        })
    }
}
