//! Flows of all captures: asked as one source, gathered into batches for the subscribers, and kept
//! in a store, which answers for the past.
//!
//! Capture threads and agents hand updates over without ever waiting: when more than
//! [`FlowOptions::max_buffered`] flows wait for the batcher, the rest is dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use super::batch_queue::{Parcel, Parcels};
use super::remote_flows::Ingestion;
use crate::capture::{CaptureHandle, PendingFlows};
use crate::engine::bus::Bus;
use crate::engine::monotonic;
use crate::flow::{
    Flow, FlowMetric, FlowQuery, FlowQueryError, FlowSet, FlowSource, FlowStats, MergeOptions,
};
use crate::proto::{BroadcastMessage, FLOW, STATS};
use crate::store::FlowStore;
use crate::time::{Clock, TimeSlice, Timestamp};
use crate::value::Text;

/// How flows are gathered.
#[derive(Clone, Copy, Debug)]
pub struct FlowOptions {
    /// Longest time a flow waits for its batch to fill.
    pub bulk_delay: Duration,
    /// Flows that may wait for the batcher.
    pub max_buffered: usize,
    /// Bytes that they may take.
    pub max_buffered_bytes: usize,
    /// How long a flow that an agent sent answers live queries without another update.
    pub live_age: Duration,
    /// Bytes that such flows may take; those longest without an update go first.
    pub live_bytes: usize,
    /// How long a query waits for the tables, all of them together.
    pub table_patience: Duration,
}

impl Default for FlowOptions {
    /// 5 s, 100 000 flows, 256 MiB, 11 minutes, 64 MiB, 5 s.
    fn default() -> Self {
        Self {
            bulk_delay: Duration::from_secs(5),
            max_buffered: 100_000,
            max_buffered_bytes: 256 << 20,
            live_age: Duration::from_secs(660),
            live_bytes: 64 << 20,
            table_patience: Duration::from_secs(5),
        }
    }
}

/// Flows in one message to subscribers.
const BULK_FLOWS: usize = 100;

/// All flow tables of this process, and what has left them, behind one [`FlowSource`].
pub struct FlowHub {
    tables: RwLock<Vec<(TableId, CaptureHandle)>>,
    next_table: AtomicUsize,
    pub(crate) parcels: Parcels,
    pub(crate) ingestion: Ingestion,
    silent: AtomicU64,
    options: FlowOptions,
    store: Option<Arc<dyn FlowStore>>,
    /// Who listens to the flows.
    pub(crate) bus: Bus<BroadcastMessage>,
}

/// Names a table among those of a [`FlowHub`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableId(usize);

impl FlowHub {
    pub(crate) fn new(options: FlowOptions) -> Self {
        Self {
            tables: RwLock::new(Vec::new()),
            next_table: AtomicUsize::new(0),
            parcels: Parcels::new(options.max_buffered, options.max_buffered_bytes),
            ingestion: Ingestion::new(options.live_age, options.live_bytes),
            silent: AtomicU64::new(0),
            options,
            store: None,
            bus: Bus::default(),
        }
    }

    /// Keeps what the captures send, and asks there for the past.
    pub(crate) fn with_store(self, store: Option<Arc<dyn FlowStore>>) -> Self {
        Self { store, ..self }
    }

    /// Keeps flows of a file; where there is no store, among those that agents sent.
    pub(crate) fn keep_imported(&self, flows: Vec<Flow>, now: Timestamp) {
        match &self.store {
            Some(store) => store.put(flows, now),
            None => self.ingestion.put(flows, now),
        }
    }

    /// Where flows of the past are kept.
    pub fn store(&self) -> Option<&dyn FlowStore> {
        self.store.as_deref()
    }

    /// Adds a table to those that queries ask.
    pub fn add_table(&self, table: CaptureHandle) -> TableId {
        let id = TableId(self.next_table.fetch_add(1, Ordering::Relaxed));
        self.tables.write().push((id, table));
        id
    }

    /// Leaves a table out from now on.
    pub fn remove_table(&self, id: TableId) {
        self.tables.write().retain(|(known, _)| *known != id);
    }

    /// Flows dropped because the batcher could not keep up.
    pub fn dropped(&self) -> u64 {
        self.parcels.dropped()
    }

    /// How often a query went without a table's answer.
    pub fn silent(&self) -> u64 {
        self.silent.load(Ordering::Relaxed)
    }

    /// Takes flows of a capture for the subscribers and the store; never waits.
    pub fn push(&self, flows: Vec<Flow>) {
        if self.bus.is_empty() && self.store.is_none() {
            return;
        }
        self.parcels.push(Parcel {
            flows,
            stats: None,
            is_foreign: false,
        });
    }

    /// Sends statistics of a capture at once.
    pub(crate) fn send_stats(&self, stats: &FlowStats) {
        if self.bus.is_wanted(STATS) {
            let json = serde_json::to_vec(stats).unwrap_or_default();
            self.bus
                .send(&Arc::new(BroadcastMessage::object(STATS, "stats", json)));
        }
    }

    /// Gathers flows into messages until told to stop; the body of the batcher thread.
    ///
    /// What is buffered when `stopped` turns true still goes out.
    pub(crate) fn run_batcher(&self, clock: &dyn Clock, stopped: &dyn Fn() -> bool) {
        let mut pending: Vec<Flow> = Vec::new();
        let mut due: Option<Timestamp> = None;
        loop {
            let received = self.parcels.receive(STEP);
            let now = clock.now();
            self.ingestion.expire(now);
            if let Some(parcel) = received {
                if let Some(stats) = &parcel.stats {
                    self.send_stats(stats);
                }
                let flows = self.keep(parcel, now);
                if !flows.is_empty() {
                    pending.extend(flows);
                    due.get_or_insert(now.saturating_add(self.options.bulk_delay));
                }
            }
            let mut stop = stopped();
            if stop {
                self.parcels.close();
                stop = self.parcels.is_empty();
            }
            let whole = pending.len() - pending.len() % BULK_FLOWS;
            pending[..whole]
                .chunks(BULK_FLOWS)
                .for_each(|flows| self.send(flows));
            pending.drain(..whole);
            if stop || due.is_some_and(|due| due <= now) {
                self.send(&pending);
                pending.clear();
                due = None;
            }
            if stop {
                return;
            }
        }
    }

    /// Puts flows where queries find them; gives back what subscribers are to get.
    fn keep(&self, parcel: Parcel, now: Timestamp) -> Vec<Flow> {
        let Parcel {
            flows, is_foreign, ..
        } = parcel;
        if is_foreign && !flows.is_empty() {
            self.ingestion.put(flows.clone(), now);
        }
        match &self.store {
            Some(store) if self.bus.is_empty() => {
                store.put(flows, now);
                Vec::new()
            }
            Some(store) => {
                store.put(flows.clone(), now);
                flows
            }
            None => flows,
        }
    }

    /// One message with all flows, then one for each capture that somebody asked for.
    fn send(&self, flows: &[Flow]) {
        if flows.is_empty() {
            return;
        }
        let message = |namespace: String, flows: &[&Flow]| {
            let json = serde_json::to_vec(flows).unwrap_or_default();
            self.bus.send(&Arc::new(BroadcastMessage::object(
                namespace, "store", json,
            )));
        };
        if self.bus.is_wanted(FLOW) {
            message(FLOW.to_owned(), &flows.iter().collect::<Vec<_>>());
        }
        let mut captures: Vec<&str> = flows.iter().map(|flow| flow.capture_id.as_str()).collect();
        captures.sort_unstable();
        captures.dedup();
        for capture in captures {
            let namespace = format!("{FLOW}/{capture}");
            if self.bus.is_wanted(&namespace) {
                let of_capture = |flow: &&Flow| flow.capture_id.as_str() == capture;
                message(
                    namespace,
                    &flows.iter().filter(of_capture).collect::<Vec<_>>(),
                );
            }
        }
    }
}

impl FlowSource for FlowHub {
    /// Asks every table at once and merges what they answer in the query's order. A table that
    /// does not answer in time counts as empty.
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        if query.time.is_some() {
            return self.past()?.query(query);
        }
        // A table may leave out what comes after the range, but what comes before it is known only
        // once all are merged.
        let part = FlowQuery {
            range: query.range.map(|(_, to)| (0, to)),
            ..query.clone()
        };
        let order = MergeOptions {
            sort: part.sort,
            dedup: part.dedup,
        };
        let mut merged = FlowSet::default();
        for set in self.ask_all(
            |table, patience| table.start_query(&part, patience),
            PendingFlows::wait,
        )? {
            merged.merge(set, &order)?;
        }
        if !self.ingestion.is_empty() {
            merged.merge(self.ingestion.query(&part)?, &order)?;
        }
        if let Some((from, to)) = query.range {
            merged.slice(from, to);
        }
        Ok(merged)
    }

    /// Without order, duplicates and bounds every table counts for itself.
    fn count(&self, query: &FlowQuery) -> Result<u64, FlowQueryError> {
        if query.time.is_some() {
            return self.past()?.count(query);
        }
        if query.sort.is_some() || query.dedup.is_some() || query.range.is_some() {
            return Ok(self.query(query)?.flows.len() as u64);
        }
        let counts = self.ask_all(
            |table, patience| table.start_count(query, patience),
            PendingFlows::wait_count,
        )?;
        Ok(counts.into_iter().sum::<u64>() + self.ingestion.count(query)?)
    }

    fn metrics(
        &self,
        uuids: &[Text],
        time: TimeSlice,
    ) -> Result<Vec<(Text, Vec<FlowMetric>)>, FlowQueryError> {
        Ok(self.past()?.metrics(uuids, time))
    }
}

impl FlowHub {
    fn past(&self) -> Result<&dyn FlowStore, FlowQueryError> {
        self.store().ok_or(FlowQueryError::NoStorage)
    }

    /// Asks all tables, then waits for them up to one common end. One that has not answered by
    /// then is counted and left out.
    fn ask_all<T>(
        &self,
        ask: impl Fn(&CaptureHandle, Duration) -> Result<PendingFlows, FlowQueryError>,
        wait: impl Fn(PendingFlows, Duration) -> Result<T, FlowQueryError>,
    ) -> Result<Vec<T>, FlowQueryError> {
        let end = monotonic::now() + self.options.table_patience;
        let left = || end.saturating_duration_since(monotonic::now());
        let tables: Vec<CaptureHandle> =
            self.tables.read().iter().map(|(_, t)| t.clone()).collect();
        let asked: Vec<_> = tables.iter().map(|table| ask(table, left())).collect();
        let mut answers = Vec::with_capacity(asked.len());
        for pending in asked {
            match pending.and_then(|pending| wait(pending, left())) {
                Ok(answer) => answers.push(answer),
                Err(FlowQueryError::Source { reason }) => {
                    self.silent.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(reason, "a flow table did not answer");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(answers)
    }
}

/// How often the batcher looks at the clock.
const STEP: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Receiver, Sender};

    use super::*;
    use crate::capture::{Batch, Capture, CaptureError, CaptureStats, PacketSource};
    use crate::flow::{FlowSink, FlowTable, FlowTableOptions};
    use crate::packet::LinkType;
    use crate::time::SystemClock;

    /// Says that it hangs and does so until its other end is dropped.
    struct Hanging(Sender<()>, Receiver<()>);

    impl PacketSource for Hanging {
        fn link_type(&self) -> LinkType {
            LinkType::ETHERNET
        }

        fn next_batch(&mut self, _: Duration) -> Result<Batch<'_>, CaptureError> {
            self.0.send(()).ok();
            self.1.recv().ok();
            Ok(Batch::End)
        }

        fn stats(&mut self) -> CaptureStats {
            CaptureStats::default()
        }
    }

    struct Nowhere;

    impl FlowSink for Nowhere {
        fn flows(&mut self, _: Vec<Flow>) {}
    }

    #[test]
    fn tables_that_do_not_answer_are_waited_for_together() {
        let patience = Duration::from_millis(200);
        let hub = FlowHub::new(FlowOptions {
            table_patience: patience,
            ..FlowOptions::default()
        });
        // Dropped last: a capture ends when its source does.
        let captures: Vec<Capture>;
        let (_hold, held) = crossbeam_channel::bounded(0);
        let (hangs, hanging) = crossbeam_channel::bounded(10);
        captures = (0..10)
            .map(|_| {
                let table = FlowTable::new(FlowTableOptions::default());
                let source = Hanging(hangs.clone(), held.clone());
                let capture =
                    Capture::start("x", source, table, Nowhere, Arc::new(SystemClock)).unwrap();
                hub.add_table(capture.handle().clone());
                capture
            })
            .collect();
        assert_eq!(hanging.iter().take(captures.len()).count(), 10);
        let began = monotonic::now();
        assert_eq!(hub.count(&FlowQuery::default()).unwrap(), 0);
        let took = began.elapsed();
        assert!(took >= patience && took < 5 * patience, "{took:?}");
        assert_eq!(hub.silent(), 10);
    }
}
