//! `FlowHub`: all flows of the engine as one source, and their way to the subscribers and the store.
//!
//! Live queries are sent to all flow tables at once and their answers merged; queries about the past
//! are answered by the flow store. Capture threads and agents push updates into a bounded queue
//! without blocking; when more than [`FlowOptions::max_buffered`] flows wait for the batcher thread,
//! further flows are dropped and counted.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use prost::Message as _;

use super::batch_queue::{BatchQueue, FlowBatch};
use super::remote_flows::{IngestionStatus, RemoteFlows};
use crate::capture::{CaptureHandle, PendingFlows};
use crate::engine::bus::Bus;
use crate::engine::monotonic;
use crate::flow::{
    Flow, FlowMetric, FlowQuery, FlowQueryError, FlowSet, FlowSink, FlowSource, FlowStats,
    MergeOptions, PacketsByFlow,
};
use crate::proto::{BroadcastMessage, FLOW, ProtoError, STATS};
use crate::store::FlowStore;
use crate::time::{Clock, TimeSlice, Timestamp};
use crate::value::Text;

/// Settings of a [`FlowHub`].
///
/// ```
/// use std::time::Duration;
/// use skylib::engine::FlowOptions;
/// let options = FlowOptions::default().with_batch_delay(Duration::from_secs(1));
/// assert_eq!(options.max_buffered, 100_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowOptions {
    /// Maximum time a flow waits until its batch for the subscribers is full.
    pub batch_delay: Duration,
    /// Maximum number of flows that wait for the batcher.
    pub max_buffered: usize,
    /// Maximum size of the flows that wait for the batcher, in bytes.
    pub max_buffered_bytes: usize,
    /// Time after its last update until a flow sent by an agent is no longer live.
    pub remote_max_age: Duration,
    /// Maximum size of the live flows sent by agents, in bytes; the flows updated least recently are
    /// evicted first.
    pub remote_max_bytes: usize,
    /// Time limit for all flow tables together to answer a query.
    pub table_timeout: Duration,
}

impl Default for FlowOptions {
    /// Returns a batch delay of 5 s, buffers for 100 000 flows and 256 MiB, 11 minutes and 64 MiB
    /// for remote flows, and a timeout of 5 s.
    fn default() -> Self {
        Self {
            batch_delay: Duration::from_secs(5),
            max_buffered: 100_000,
            max_buffered_bytes: 256 << 20,
            remote_max_age: Duration::from_secs(660),
            remote_max_bytes: 64 << 20,
            table_timeout: Duration::from_secs(5),
        }
    }
}

impl FlowOptions {
    /// Sets the maximum time a flow waits until its batch for the subscribers is full.
    #[must_use]
    pub const fn with_batch_delay(mut self, delay: Duration) -> Self {
        self.batch_delay = delay;
        self
    }

    /// Sets the maximum number of flows that wait for the batcher, and their size in bytes.
    #[must_use]
    pub const fn with_max_buffered(mut self, flows: usize, bytes: usize) -> Self {
        self.max_buffered = flows;
        self.max_buffered_bytes = bytes;
        self
    }

    /// Sets the time after its last update until a flow sent by an agent is no longer live.
    #[must_use]
    pub const fn with_remote_max_age(mut self, age: Duration) -> Self {
        self.remote_max_age = age;
        self
    }

    /// Sets the maximum size of the live flows sent by agents, in bytes.
    #[must_use]
    pub const fn with_remote_max_bytes(mut self, bytes: usize) -> Self {
        self.remote_max_bytes = bytes;
        self
    }

    /// Sets the time limit for all flow tables together to answer a query.
    #[must_use]
    pub const fn with_table_timeout(mut self, timeout: Duration) -> Self {
        self.table_timeout = timeout;
        self
    }
}

/// Number of flows in one message to subscribers.
const BATCH_FLOWS: usize = 100;

/// All flow tables of an engine, flows received from agents, and the flow store, as one
/// [`FlowSource`].
pub struct FlowHub {
    tables: RwLock<Vec<(TableId, CaptureHandle)>>,
    next_table: AtomicUsize,
    queue: BatchQueue,
    remote: RemoteFlows,
    table_timeouts: AtomicU64,
    options: FlowOptions,
    store: Option<Arc<dyn FlowStore>>,
    fetches: Fetches,
    /// Subscribers of flows and statistics.
    bus: Bus<BroadcastMessage>,
}

/// Flow queries that copy flows now. Their size is known, and charged to their clients, only
/// afterwards, so few run at a time.
#[derive(Default)]
struct Fetches {
    running: Mutex<usize>,
    ended: Condvar,
}

/// Slot of a query that copies flows.
struct Fetch<'a>(&'a Fetches);

impl Fetches {
    /// Waits until fewer than [`MAX_FETCHES`] queries copy flows.
    fn begin(&self) -> Fetch<'_> {
        let mut running = self.running.lock();
        while *running >= MAX_FETCHES {
            self.ended.wait(&mut running);
        }
        *running += 1;
        Fetch(self)
    }
}

impl Drop for Fetch<'_> {
    fn drop(&mut self) {
        *self.0.running.lock() -= 1;
        self.0.ended.notify_one();
    }
}

/// Flow queries that copy flows at a time.
const MAX_FETCHES: usize = 4;

/// Identifies a flow table of a [`FlowHub`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableId(usize);

impl FlowHub {
    /// Returns a hub without tables and store.
    pub(crate) fn new(options: FlowOptions) -> Self {
        Self {
            tables: RwLock::new(Vec::new()),
            next_table: AtomicUsize::new(0),
            queue: BatchQueue::new(options.max_buffered, options.max_buffered_bytes),
            remote: RemoteFlows::new(options.remote_max_age, options.remote_max_bytes),
            table_timeouts: AtomicU64::new(0),
            options,
            store: None,
            fetches: Fetches::default(),
            bus: Bus::default(),
        }
    }

    /// Sets the store for flows, which answers queries about the past.
    pub(crate) fn with_store(self, store: Option<Arc<dyn FlowStore>>) -> Self {
        Self { store, ..self }
    }

    /// Stores flows of a capture file; without a store, they are live for as long as remote flows.
    pub(super) fn store_imported(&self, flows: Vec<Flow>, now: Timestamp) {
        match &self.store {
            Some(store) => store.put(flows, now),
            None => self.remote.put(flows, now),
        }
    }

    /// Returns the store for flows, if there is one.
    pub fn store(&self) -> Option<&dyn FlowStore> {
        self.store.as_deref()
    }

    /// Returns the subscribers of flows and statistics.
    pub(crate) fn bus(&self) -> &Bus<BroadcastMessage> {
        &self.bus
    }

    /// Adds a flow table, which live queries read from now on.
    pub fn add_table(&self, table: CaptureHandle) -> TableId {
        let id = TableId(self.next_table.fetch_add(1, Ordering::Relaxed));
        self.tables.write().push((id, table));
        id
    }

    /// Removes a flow table.
    pub fn remove_table(&self, id: TableId) {
        self.tables.write().retain(|(known, _)| *known != id);
    }

    /// Returns the number of flows dropped because the batcher was too slow.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// Returns how often a flow table did not answer a query before the timeout.
    pub fn table_timeouts(&self) -> u64 {
        self.table_timeouts.load(Ordering::Relaxed)
    }

    /// Queues flows of a capture for the subscribers and the store. Never blocks.
    pub fn push(&self, flows: Vec<Flow>) {
        if self.bus.is_empty() && self.store.is_none() {
            return;
        }
        self.queue.push(FlowBatch {
            flows,
            stats: None,
            is_remote: false,
        });
    }

    /// Decodes a `flow.Message` of an agent and queues its flows for subscribers, store, and live
    /// queries, and its statistics for subscribers. Never blocks; flows that exceed the limits of
    /// the queue are dropped and counted.
    ///
    /// ```
    /// use prost::Message;
    /// use skylib::engine::{Engine, EngineOptions};
    /// use skylib::flow::{Flow, FlowMessage};
    ///
    /// let engine = Engine::start(EngineOptions::new("edge-01"))?;
    /// let flow = Flow::default().with_uuid("f1");
    /// let message = FlowMessage { flows: vec![flow], stats: None };
    /// engine.flows().ingest(&message.encode_to_vec())?;
    /// assert!(engine.flows().ingest(b"no message").is_err());
    /// # Ok::<(), skylib::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the message is malformed or too large; nothing of it is used then.
    pub fn ingest(&self, message: &[u8]) -> Result<(), ProtoError> {
        let message = self.remote.decode(message)?;
        self.queue.push(FlowBatch {
            flows: message.flows,
            stats: message.stats,
            is_remote: true,
        });
        Ok(())
    }

    /// Returns counters of the flows received from agents.
    pub fn ingestion_status(&self) -> IngestionStatus {
        self.remote.status()
    }

    /// Sends statistics of a capture to the subscribers.
    pub(crate) fn send_stats(&self, stats: &FlowStats) {
        if self.bus.is_wanted(STATS) {
            let json = serde_json::to_vec(stats).unwrap_or_default();
            let message = BroadcastMessage::object(STATS, "stats", json);
            // COMPAT: releases of the original decode statistics as protobuf from protobuf peers.
            let message = message.with_protobuf(stats.encode_to_vec());
            self.bus.send(&Arc::new(message));
        }
    }

    /// Groups queued flows into messages and sends them; the body of the batcher thread.
    ///
    /// Returns once `stopped` returns `true`, after the queued flows were sent.
    pub(crate) fn run_batcher(&self, clock: &dyn Clock, stopped: &dyn Fn() -> bool) {
        let mut pending: Vec<Flow> = Vec::new();
        let mut due: Option<Timestamp> = None;
        loop {
            let received = self.queue.receive(POLL_INTERVAL);
            let now = clock.now();
            self.remote.expire(now);
            if let Some(batch) = received {
                if let Some(stats) = &batch.stats {
                    self.send_stats(stats);
                }
                let flows = self.store_batch(batch, now);
                if !flows.is_empty() {
                    pending.extend(flows);
                    due.get_or_insert(now.saturating_add(self.options.batch_delay));
                }
            }
            let mut stop = stopped();
            if stop {
                self.queue.close();
                stop = self.queue.is_empty();
            }
            let whole = pending.len() - pending.len() % BATCH_FLOWS;
            pending[..whole]
                .chunks(BATCH_FLOWS)
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

    /// Puts the flows of a batch where queries find them. Returns the flows for the subscribers,
    /// which are cloned only if there are subscribers.
    fn store_batch(&self, batch: FlowBatch, now: Timestamp) -> Vec<Flow> {
        let FlowBatch {
            flows, is_remote, ..
        } = batch;
        if is_remote && !flows.is_empty() {
            self.remote.put(flows.clone(), now);
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

    /// Sends one message with all flows, and one for each capture that a subscriber selects.
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
                let is_selected = |flow: &&Flow| flow.capture_id.as_str() == capture;
                message(
                    namespace,
                    &flows.iter().filter(is_selected).collect::<Vec<_>>(),
                );
            }
        }
    }

    /// Returns the store for flows.
    fn past(&self) -> Result<&dyn FlowStore, FlowQueryError> {
        self.store().ok_or(FlowQueryError::NoStorage)
    }

    /// Sends a request to all tables and waits for the answers until one common deadline. A table
    /// that does not answer in time is counted and skipped.
    fn fan_out<T>(
        &self,
        start: impl Fn(&CaptureHandle, Duration) -> Result<PendingFlows, FlowQueryError>,
        wait: impl Fn(PendingFlows, Duration) -> Result<T, FlowQueryError>,
    ) -> Result<Vec<T>, FlowQueryError> {
        let deadline = monotonic::now() + self.options.table_timeout;
        let time_left = || deadline.saturating_duration_since(monotonic::now());
        // Copied, so that captures can start and stop during the query.
        let tables: Vec<CaptureHandle> =
            self.tables.read().iter().map(|(_, t)| t.clone()).collect();
        let started: Vec<_> = tables
            .iter()
            .map(|table| start(table, time_left()))
            .collect();
        let mut answers = Vec::with_capacity(started.len());
        for pending in started {
            match pending.and_then(|pending| wait(pending, time_left())) {
                Ok(answer) => answers.push(answer),
                Err(FlowQueryError::Source { reason }) => {
                    self.table_timeouts.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(reason, "skipped a flow table that did not answer a query");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(answers)
    }
}

impl FlowSource for FlowHub {
    /// Queries all tables at once and merges their answers in the query's order. A table that does
    /// not answer before the timeout counts as empty.
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        let _turn = self.fetches.begin();
        if query.time.is_some() {
            return self.past()?.query(query);
        }
        // A table may omit flows after the range, but which flows are before the range is known only
        // after the merge.
        let part = FlowQuery {
            range: query.range.map(|(_, to)| (0, to)),
            ..query.clone()
        };
        let order = MergeOptions {
            sort: part.sort,
            dedup: part.dedup,
        };
        let mut merged = FlowSet::default();
        for set in self.fan_out(
            |table, timeout| table.start_query(&part, timeout),
            PendingFlows::wait,
        )? {
            merged.merge(set, &order)?;
        }
        if !self.remote.is_empty() {
            merged.merge(self.remote.query(&part)?, &order)?;
        }
        if let Some((from, to)) = query.range {
            merged.slice(from, to);
        }
        Ok(merged)
    }

    /// Sums the counts of the tables, unless the query's order, deduplication, or range requires
    /// the flows themselves.
    fn count(&self, query: &FlowQuery) -> Result<u64, FlowQueryError> {
        if query.time.is_some() {
            return self.past()?.count(query);
        }
        if query.sort.is_some() || query.dedup.is_some() || query.range.is_some() {
            return Ok(self.query(query)?.flows.len() as u64);
        }
        let counts = self.fan_out(
            |table, timeout| table.start_count(query, timeout),
            PendingFlows::wait_count,
        )?;
        Ok(counts.into_iter().sum::<u64>() + self.remote.count(query)?)
    }

    fn metrics(
        &self,
        uuids: &[Text],
        time: TimeSlice,
    ) -> Result<Vec<(Text, Vec<FlowMetric>)>, FlowQueryError> {
        Ok(self.past()?.metrics(uuids, time))
    }

    fn stored_packets(&self, uuids: &[Text]) -> PacketsByFlow {
        self.store()
            .map_or_else(Vec::new, |store| store.raw_packets(uuids))
    }
}

impl fmt::Debug for FlowHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowHub")
            .field("tables", &self.tables.read().len())
            .field("options", &self.options)
            .field("has_store", &self.store.is_some())
            .finish_non_exhaustive()
    }
}

/// Pushes the flows of a capture into a hub, as long as the hub exists.
pub(crate) struct HubSink(Weak<FlowHub>);

impl HubSink {
    /// Returns a sink that does not keep the hub alive.
    pub(crate) fn new(hub: &Arc<FlowHub>) -> Self {
        Self(Arc::downgrade(hub))
    }
}

impl FlowSink for HubSink {
    fn flows(&mut self, flows: Vec<Flow>) {
        if let Some(hub) = self.0.upgrade() {
            hub.push(flows);
        }
    }
}

/// Maximum time until the batcher notices that a batch is due or that it has to stop.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Receiver, Sender};

    use super::*;
    use crate::capture::{Batch, Capture, CaptureError, CaptureStats, PacketSource};
    use crate::flow::{FlowTable, FlowTableOptions};
    use crate::packet::LinkType;
    use crate::time::SystemClock;

    /// A source that reports that it hangs, and hangs until its other end is dropped.
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
    fn tables_that_do_not_answer_share_one_timeout() {
        let timeout = Duration::from_millis(200);
        let hub = FlowHub::new(FlowOptions {
            table_timeout: timeout,
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
        assert!(took >= timeout && took < 5 * timeout, "{took:?}");
        assert_eq!(hub.table_timeouts(), 10);
    }
}
