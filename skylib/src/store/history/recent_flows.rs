//! `RecentFlows`: flows updated since the last seal, in memory.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::store::stored_flow::{FlowUpdate, StoredFlow};
use crate::time::Timestamp;
use crate::value::Text;

/// The newest record of each flow that was updated since the last seal, with the metrics and the
/// packets of all its updates since then.
#[derive(Default)]
pub(super) struct RecentFlows {
    flows: HashMap<Text, RecentFlow>,
    /// Approximate memory of `flows` and `counted` in bytes.
    bytes: usize,
    /// Time of the first record; `None` while empty.
    since: Option<Timestamp>,
    /// Time of the last record; `None` while empty.
    newest: Option<Timestamp>,
    /// End of the newest metric of each flow in the table before this one. A flow that ends repeats
    /// its last metric, which must not be counted again.
    counted: HashMap<Text, i64>,
}

/// A flow of [`RecentFlows`].
#[derive(Clone)]
pub(super) struct RecentFlow {
    pub(super) stored: Arc<StoredFlow>,
    /// Number of its newest record in the store.
    pub(super) number: i64,
    /// Number of its records in the table.
    pub(super) updates: i32,
}

impl RecentFlows {
    /// Returns an empty table that follows this one.
    pub(super) fn next(&self) -> Self {
        let ends = self.flows.iter().filter_map(|(uuid, recent)| {
            let newest = recent.stored.metrics.last()?;
            Some((uuid.clone(), newest.last))
        });
        let counted: HashMap<Text, i64> = ends.collect();
        let texts: usize = counted.keys().map(Text::heap_bytes).sum();
        Self {
            bytes: counted.capacity() * size_of::<(Text, i64)>() + texts,
            counted,
            ..Self::default()
        }
    }

    /// Applies a record with its number in the store.
    pub(super) fn put(&mut self, update: FlowUpdate, number: i64, now: Timestamp) {
        self.since.get_or_insert(now);
        self.newest = self.newest.max(Some(now));
        let uuid = update.flow.uuid.clone();
        let has_interval = update.flow.last_update_metric.is_some();
        let entry = self.flows.entry(uuid.clone());
        let recent = entry.or_insert_with(|| RecentFlow {
            stored: Arc::new(StoredFlow::new(uuid.clone())),
            number,
            updates: 0,
        });
        if recent.updates > 0 {
            self.bytes -= recent.stored.bytes();
        }
        recent.number = number;
        recent.updates = recent.updates.saturating_add(1);
        let stored = Arc::make_mut(&mut recent.stored);
        let had_metrics = !stored.metrics.is_empty();
        stored.update(update, now);
        if let Some(counted) = self.counted.get(&uuid)
            && !had_metrics
        {
            // Totals of the flow contain what the table before has counted.
            stored
                .metrics
                .retain(|metric| has_interval && metric.last > *counted);
        }
        self.bytes += recent.stored.bytes();
    }

    /// Returns the flow with a UUID.
    pub(super) fn get(&self, uuid: &str) -> Option<&RecentFlow> {
        self.flows.get(uuid)
    }

    /// Iterates over the flows, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &RecentFlow> {
        self.flows.values()
    }

    /// Returns the number of flows.
    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    /// Returns whether there are no flows.
    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Returns the approximate memory in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the time of the last record.
    pub(super) const fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    /// Returns the time of the first record.
    pub(super) const fn since(&self) -> Option<Timestamp> {
        self.since
    }
}
