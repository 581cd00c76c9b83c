//! `MemoryFlowStore`: the newest updates of flows in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashMap;
use prost::Message as _;

use super::{FlowStore, FlowStoreLimits, FlowStoreStatus};
use crate::flow::{Flow, FlowField, FlowMetric, FlowQuery, FlowQueryError, FlowSet, RawPacket};
use crate::time::{TimeSlice, Timestamp};
use crate::value::Text;

/// Flows in memory, bounded by age and by bytes.
///
/// Records are kept in their wire form, a fraction of what they take otherwise. A query takes the
/// lock only to pick the flows of its time and decodes them one by one outside it.
///
/// ```
/// use skylib::flow::{Flow, FlowQuery};
/// use skylib::store::{FlowStore, FlowStoreLimits, MemoryFlowStore};
/// use skylib::time::{TimeSlice, Timestamp};
///
/// let store = MemoryFlowStore::new(FlowStoreLimits::default());
/// let flow = Flow { uuid: "f1".into(), start: 1000, last: 2000, ..Flow::default() };
/// store.put(vec![flow], Timestamp::from_ms(60_000));
/// let then = Timestamp::from_ms(1500);
/// let time = Some(TimeSlice { start: then, last: then });
/// let found = store.query(&FlowQuery { time, ..FlowQuery::default() })?;
/// assert_eq!(found.flows.len(), 1);
/// # Ok::<(), skylib::flow::FlowQueryError>(())
/// ```
pub struct MemoryFlowStore {
    limits: FlowStoreLimits,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    /// By the number of their last update: those longest without one come first.
    flows: BTreeMap<u64, Arc<Kept>>,
    by_uuid: HashMap<Text, u64>,
    updates: u64,
    status: FlowStoreStatus,
}

/// A flow.
#[derive(Clone)]
struct Kept {
    uuid: Text,
    /// First and last packet, Unix ms.
    start: i64,
    last: i64,
    /// When the last update came.
    updated: Timestamp,
    /// The newest record without its packets.
    record: Box<[u8]>,
    /// What each update counted, oldest first.
    metrics: Vec<FlowMetric>,
    packets: Vec<RawPacket>,
}

impl MemoryFlowStore {
    /// An empty store.
    #[must_use]
    pub fn new(limits: FlowStoreLimits) -> Self {
        Self {
            limits,
            state: RwLock::default(),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The flows of a time, longest without an update first.
    fn of_time(&self, time: Option<TimeSlice>) -> Vec<Arc<Kept>> {
        let state = self.read();
        let is_asked = |kept: &&Arc<Kept>| {
            time.is_none_or(|time| {
                kept.start <= time.last.as_ms()
                    && kept.last >= time.start.saturating_sub(self.limits.grace).as_ms()
            })
        };
        state.flows.values().filter(is_asked).cloned().collect()
    }

    /// Calls `visit` with each flow that a query asks for, order and bounds apart.
    fn visit(&self, query: &FlowQuery, mut visit: impl FnMut(&Kept, Flow)) {
        let filter = query.filter.map_keys(&mut |name| FlowField::parse(name));
        for kept in self.of_time(query.time) {
            // Encoded here, so it can be decoded.
            let Ok(flow) = Flow::decode(&*kept.record) else {
                continue;
            };
            if query.wants_node(&flow.node_tid) && filter.matches(&flow) {
                visit(&kept, flow);
            }
        }
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
        self.visit(query, |kept, mut flow| {
            let packets = kept.packets.iter();
            flow.last_raw_packets = packets
                .filter(|packet| query.time.is_none_or(|time| has(time, packet.timestamp)))
                .cloned()
                .collect();
            flows.push(flow);
        });
        let mut set = FlowSet::from_flows(flows);
        query.arrange(&mut set)?;
        Ok(set)
    }

    fn count(&self, query: &FlowQuery) -> Result<u64, FlowQueryError> {
        if query.sort.is_some() || query.dedup.is_some() || query.range.is_some() {
            return Ok(self.query(query)?.flows.len() as u64);
        }
        let mut count = 0;
        self.visit(query, |_, _| count += 1);
        Ok(count)
    }

    fn metrics(&self, uuids: &[Text], time: TimeSlice) -> Vec<(Text, Vec<FlowMetric>)> {
        let state = self.read();
        let metrics = |uuid: &Text| {
            let kept = state.flows.get(state.by_uuid.get(uuid)?)?;
            let metrics = kept.metrics.iter().copied();
            let of_time: Vec<FlowMetric> = metrics
                .filter(|metric| has(time, metric.start) && has(time, metric.last))
                .collect();
            (!of_time.is_empty()).then(|| (uuid.clone(), of_time))
        };
        uuids.iter().filter_map(metrics).collect()
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
    fn put(&mut self, mut flow: Flow, now: Timestamp, limits: &FlowStoreLimits) {
        self.status.oldest.get_or_insert(now);
        self.updates += 1;
        let packets = std::mem::take(&mut flow.last_raw_packets);
        let former = self.by_uuid.insert(flow.uuid.clone(), self.updates);
        let former = former.and_then(|update| self.flows.remove(&update));
        let mut kept = match former {
            Some(former) => {
                self.status.bytes -= former.bytes();
                Arc::unwrap_or_clone(former)
            }
            None => Kept::new(flow.uuid.clone()),
        };
        kept.take(&flow, packets, now);
        // Flows of a file may be years old: what counts is how long before their end it was.
        let seen = now.as_ms().min(kept.last);
        let seen = Timestamp::from_ms(seen).saturating_sub(limits.max_age);
        kept.forget_before(seen.as_ms());
        self.status.bytes += kept.bytes();
        self.flows.insert(self.updates, Arc::new(kept));
    }

    /// Drops the flow longest without an update where it must go; whether there may be more.
    fn evict(&mut self, limits: &FlowStoreLimits, now: Timestamp) -> bool {
        let Some(oldest) = self.flows.first_entry() else {
            return false;
        };
        let is_too_old = oldest.get().updated < now.saturating_sub(limits.max_age);
        if !is_too_old && self.status.bytes <= limits.max_bytes {
            return false;
        }
        let kept = oldest.remove();
        self.by_uuid.remove(&kept.uuid);
        self.status.bytes -= kept.bytes();
        self.status.evicted += 1;
        self.status.oldest = self.status.oldest.max(Some(kept.updated));
        true
    }
}

impl Kept {
    fn new(uuid: Text) -> Self {
        Self {
            uuid,
            start: 0,
            last: 0,
            updated: Timestamp::ZERO,
            record: Box::default(),
            metrics: Vec::new(),
            packets: Vec::new(),
        }
    }

    fn take(&mut self, flow: &Flow, packets: Vec<RawPacket>, now: Timestamp) {
        (self.start, self.last, self.updated) = (flow.start, flow.last, now);
        self.record = flow.encode_to_vec().into();
        // A flow that ends before its first update has its totals only.
        let counted = flow.last_update_metric.or(match self.metrics.is_empty() {
            true => flow.metric,
            false => None,
        });
        let newest = self.metrics.last().map(|metric| metric.last);
        self.metrics
            .extend(counted.filter(|metric| newest.is_none_or(|newest| metric.last > newest)));
        let newest = self.packets.last().map_or(0, |packet| packet.index);
        self.packets
            .extend(packets.into_iter().filter(|packet| packet.index > newest));
    }

    /// Drops metrics and packets that ended before a time, Unix ms.
    fn forget_before(&mut self, ms: i64) {
        let old = self.metrics.partition_point(|metric| metric.last < ms);
        self.metrics.drain(..old);
        let old = self.packets.partition_point(|packet| packet.timestamp < ms);
        self.packets.drain(..old);
    }

    fn bytes(&self) -> usize {
        /// The entries in the two tables.
        const INDEX: usize = size_of::<(u64, Arc<Kept>)>() + size_of::<(Text, u64)>();
        let packets: usize = self.packets.iter().map(|packet| packet.data.len()).sum();
        INDEX
            + size_of::<Self>()
            + 2 * self.uuid.heap_bytes()
            + self.record.len()
            + self.metrics.capacity() * size_of::<FlowMetric>()
            + self.packets.capacity() * size_of::<RawPacket>()
            + packets
    }
}

/// Whether a time, Unix ms, is in a slice; up to it where the slice is one instant.
fn has(slice: TimeSlice, ms: i64) -> bool {
    let is_instant = slice.start == slice.last;
    (is_instant || ms >= slice.start.as_ms()) && ms <= slice.last.as_ms()
}

#[cfg(test)]
mod tests;
