//! `MemoryFlowStore`: flows in memory, evicted in the order of their last update (LRU).
//!
//! A B-tree orders the flows by the number of their last update, and a hash index finds them by
//! UUID: `put` and eviction cost O(log n) per flow. A query scans all flows of its time.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashMap;
use prost::Message as _;

use super::stored_flow::{FlowUpdate, StoredFlow, has};
use super::{FlowStore, FlowStoreLimits, FlowStoreStatus};
use crate::flow::{Flow, FlowMetric, FlowQuery, FlowQueryError, FlowSet, PacketsByFlow};
use crate::time::{TimeSlice, Timestamp};
use crate::value::Text;

/// Flows in memory, limited by age and by bytes.
///
/// Records are stored in their protobuf form, which takes a fraction of the memory. A query holds
/// the lock only while it collects the flows of its time; it decodes them one by one after that.
///
/// ```
/// use skylib::flow::{Flow, FlowQuery};
/// use skylib::store::{FlowStore, FlowStoreLimits, MemoryFlowStore};
/// use skylib::time::{TimeSlice, Timestamp};
///
/// let store = MemoryFlowStore::new(FlowStoreLimits::default());
/// let flow = Flow::default().with_uuid("f1").with_times(1000, 2000);
/// store.put(vec![flow], Timestamp::from_ms(60_000));
/// let then = Timestamp::from_ms(1500);
/// let time = TimeSlice { start: then, last: then };
/// let found = store.query(&FlowQuery::default().with_time(time))?;
/// assert_eq!(found.flows.len(), 1);
/// # Ok::<(), skylib::flow::FlowQueryError>(())
/// ```
pub struct MemoryFlowStore {
    limits: FlowStoreLimits,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    /// Flows by the number of their last update, the least recently updated first.
    flows: BTreeMap<u64, Arc<StoredFlow>>,
    /// Key of each flow in `flows`, by UUID; both maps have the same length.
    by_uuid: HashMap<Text, u64>,
    /// Number of the latest update; the largest key of `flows`.
    updates: u64,
    /// Sizes and counters, except the number of flows.
    status: FlowStoreStatus,
}

impl MemoryFlowStore {
    /// Returns an empty store.
    #[must_use]
    pub fn new(limits: FlowStoreLimits) -> Self {
        Self {
            limits,
            state: RwLock::default(),
        }
    }

    /// Drops the flows with these UUIDs.
    #[cfg(feature = "engine")]
    pub(crate) fn remove<'a>(&self, uuids: impl IntoIterator<Item = &'a Text>) {
        let mut state = self.write();
        for uuid in uuids {
            state.remove(uuid);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the flows that were active in a time slice, the least recently updated first.
    fn of_time(&self, time: Option<TimeSlice>) -> Vec<Arc<StoredFlow>> {
        let state = self.read();
        let is_active = |stored: &&Arc<StoredFlow>| {
            time.is_none_or(|time| {
                stored.start <= time.last.as_ms()
                    && stored.last >= time.start.saturating_sub(self.limits.grace).as_ms()
            })
        };
        state.flows.values().filter(is_active).cloned().collect()
    }

    /// Calls `visit` with each flow that a query selects, before sorting, deduplication, and range,
    /// until it breaks.
    fn select(
        &self,
        query: &FlowQuery,
        mut visit: impl FnMut(&StoredFlow, Flow) -> ControlFlow<()>,
    ) {
        let filter = query.compiled_filter();
        for stored in self.of_time(query.time) {
            // Cannot fail: the record was encoded by this store.
            let Ok(flow) = Flow::decode(&*stored.record) else {
                continue;
            };
            if query.selects(&flow, &filter) && visit(&stored, flow).is_break() {
                return;
            }
        }
    }
}

impl fmt::Debug for MemoryFlowStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryFlowStore")
            .field("limits", &self.limits)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl FlowStore for MemoryFlowStore {
    fn put(&self, flows: Vec<Flow>, now: Timestamp) {
        let mut state = self.write();
        for flow in flows {
            state.put(flow, now, &self.limits);
        }
        while state.evict(&self.limits, now) {}
    }

    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        let mut flows = Vec::new();
        self.select(query, |stored, mut flow| {
            let packets = stored.packets.iter();
            flow.last_raw_packets = packets
                .filter(|packet| query.time.is_none_or(|time| has(time, packet.timestamp)))
                .cloned()
                .collect();
            flows.push(flow);
            ControlFlow::Continue(())
        });
        let mut set = FlowSet::from_flows(flows);
        query.arrange(&mut set)?;
        Ok(set)
    }

    fn count_while(
        &self,
        query: &FlowQuery,
        _keep_going: &dyn Fn() -> bool,
    ) -> Result<u64, FlowQueryError> {
        if query.sort.is_some() || query.dedup.is_some() || query.range.is_some() {
            return Ok(self.query(query)?.flows.len() as u64);
        }
        let mut count = 0;
        self.select(query, |_, _| {
            count += 1;
            ControlFlow::Continue(())
        });
        Ok(count)
    }

    fn visit(
        &self,
        query: &FlowQuery,
        _keep_going: &dyn Fn() -> bool,
        visit: &mut dyn FnMut(&Flow) -> ControlFlow<()>,
    ) -> Result<(), FlowQueryError> {
        match query.is_unordered() {
            true => self.select(query, |_, flow| visit(&flow)),
            false => _ = self.query(query)?.flows.iter().try_for_each(visit),
        }
        Ok(())
    }

    fn metrics_while(
        &self,
        uuids: &[Text],
        time: TimeSlice,
        _keep_going: &dyn Fn() -> bool,
    ) -> Result<Vec<(Text, Vec<FlowMetric>)>, FlowQueryError> {
        let state = self.read();
        let metrics = |uuid: &Text| {
            let stored = state.flows.get(state.by_uuid.get(uuid)?)?;
            let metrics = stored.metrics.iter().copied();
            let of_time: Vec<FlowMetric> = metrics
                .filter(|metric| has(time, metric.start) && has(time, metric.last))
                .collect();
            (!of_time.is_empty()).then(|| (uuid.clone(), of_time))
        };
        Ok(uuids.iter().filter_map(metrics).collect())
    }

    fn raw_packets(&self, uuids: &[Text]) -> PacketsByFlow {
        let state = self.read();
        let packets = |uuid: &Text| {
            let stored = state.flows.get(state.by_uuid.get(uuid)?)?;
            (!stored.packets.is_empty()).then(|| (uuid.clone(), stored.packets.clone()))
        };
        uuids.iter().filter_map(packets).collect()
    }

    fn expire(&self, now: Timestamp) {
        let mut state = self.write();
        while state.evict(&self.limits, now) {}
    }

    fn status(&self) -> FlowStoreStatus {
        let state = self.read();
        FlowStoreStatus {
            flows: state.flows.len(),
            ..state.status
        }
    }
}

impl State {
    fn put(&mut self, flow: Flow, now: Timestamp, limits: &FlowStoreLimits) {
        self.status.oldest.get_or_insert(now);
        self.updates += 1;
        let former = self.by_uuid.insert(flow.uuid.clone(), self.updates);
        let former = former.and_then(|update| self.flows.remove(&update));
        let mut stored = match former {
            Some(former) => {
                self.status.bytes -= former.bytes();
                Arc::unwrap_or_clone(former)
            }
            None => StoredFlow::new(flow.uuid.clone()),
        };
        stored.update(FlowUpdate::new(flow), now);
        // Flows of a file may be years old: their packets age relative to the end of the flow.
        let seen = now.as_ms().min(stored.last);
        let seen = Timestamp::from_ms(seen).saturating_sub(limits.max_age);
        stored.drop_before(seen.as_ms());
        self.status.bytes += stored.bytes();
        self.flows.insert(self.updates, Arc::new(stored));
    }

    #[cfg(feature = "engine")]
    fn remove(&mut self, uuid: &Text) {
        let update = self.by_uuid.remove(uuid);
        if let Some(stored) = update.and_then(|update| self.flows.remove(&update)) {
            self.status.bytes -= stored.bytes();
        }
    }

    /// Evicts the least recently updated flow if it exceeds a limit. Returns whether a flow was
    /// evicted; the next one may exceed a limit, too.
    fn evict(&mut self, limits: &FlowStoreLimits, now: Timestamp) -> bool {
        let Some(oldest) = self.flows.first_entry() else {
            return false;
        };
        let is_too_old = oldest.get().updated < now.saturating_sub(limits.max_age);
        if !is_too_old && self.status.bytes <= limits.max_bytes {
            return false;
        }
        let stored = oldest.remove();
        self.by_uuid.remove(&stored.uuid);
        self.status.bytes -= stored.bytes();
        self.status.evicted += 1;
        self.status.oldest = self.status.oldest.max(Some(stored.updated));
        true
    }
}

#[cfg(test)]
mod tests;
