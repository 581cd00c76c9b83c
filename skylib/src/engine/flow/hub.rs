//! `FlowHub`: all flows of the engine as one source, and their delivery to subscribers and the
//! store.
//!
//! [`HubReader`] answers queries. Capture threads and agents push updates into a bounded queue
//! without blocking; when more than [`FlowOptions::max_buffered`] flows wait for the batcher
//! thread, further flows are dropped and counted.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::RwLock;
use prost::Message as _;

use super::agent_tables::AgentTables;
use super::batch_queue::{BatchQueue, FlowBatch};
use super::hub_reader::{Fetches, HubReader};
use super::remote_flows::{IngestionStatus, RemoteFlows};
use super::uplink::FlowUplink;
use crate::capture::CaptureHandle;
use crate::engine::bus::Bus;
use crate::flow::{
    Flow, FlowMetric, FlowQuery, FlowQueryError, FlowSet, FlowSink, FlowSource, FlowStats,
    PacketsByFlow,
};
use crate::memory::MemoryBudget;
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
    /// Maximum time for which a flow waits until its batch for the subscribers is full.
    pub batch_delay: Duration,
    /// Maximum number of flows that wait for the batcher.
    pub max_buffered: usize,
    /// Maximum size of the flows that wait for the batcher, in bytes.
    pub max_buffered_bytes: usize,
    /// Time after its last update for which a flow sent by an agent counts as live.
    pub remote_max_age: Duration,
    /// Maximum size of the live flows sent by agents, in bytes; the flows updated least recently are
    /// evicted first.
    pub remote_max_bytes: usize,
    /// Maximum time that all flow tables together may take to answer a query.
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
    /// Sets the maximum time for which a flow waits until its batch for the subscribers is full.
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

    /// Sets the time after its last update for which a flow sent by an agent counts as live.
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

    /// Sets the maximum time that all flow tables together may take to answer a query.
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
    /// Flow tables of connected agents; `None` in an engine that accepts no agents.
    agents: Option<AgentTables>,
    /// Queue of flows for the analyzers of this agent; `None` in an engine without analyzers.
    uplink: Option<Arc<FlowUplink>>,
    table_timeouts: AtomicU64,
    options: FlowOptions,
    store: Option<Arc<dyn FlowStore>>,
    fetches: Fetches,
    /// Subscribers of flows and statistics.
    bus: Bus<BroadcastMessage>,
    /// Budget for the messages in the queues of the subscribers.
    memory: MemoryBudget,
}

/// Identifier of a flow table of a [`FlowHub`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableId(usize);

impl FlowHub {
    /// Returns a hub without tables or a store.
    pub(crate) fn new(options: FlowOptions) -> Self {
        Self {
            tables: RwLock::new(Vec::new()),
            next_table: AtomicUsize::new(0),
            queue: BatchQueue::new(options.max_buffered, options.max_buffered_bytes),
            remote: RemoteFlows::new(options.remote_max_age, options.remote_max_bytes),
            agents: None,
            uplink: None,
            table_timeouts: AtomicU64::new(0),
            options,
            store: None,
            fetches: Fetches::default(),
            bus: Bus::default(),
            memory: MemoryBudget::unlimited(),
        }
    }

    /// Sets the memory budget for the messages in the queues of subscribers.
    pub(crate) fn with_memory(self, memory: MemoryBudget) -> Self {
        Self { memory, ..self }
    }

    /// Adds the flow tables of connected agents.
    pub(crate) fn with_agents(self, agents: AgentTables) -> Self {
        Self {
            agents: Some(agents),
            ..self
        }
    }

    /// Sets the queue of flows for the analyzers of this agent.
    pub(crate) fn with_uplink(self, uplink: Option<Arc<FlowUplink>>) -> Self {
        Self { uplink, ..self }
    }

    /// Returns the flow tables of connected agents.
    pub(super) const fn agents(&self) -> Option<&AgentTables> {
        self.agents.as_ref()
    }

    /// Returns the queue of flows for the analyzers of this agent.
    #[must_use]
    pub fn uplink(&self) -> Option<&Arc<FlowUplink>> {
        self.uplink.as_ref()
    }

    /// Returns a source of the flows of this hub whose queries end when `is_interrupted` returns
    /// `true`.
    pub(crate) fn reader<'a>(
        &'a self,
        is_interrupted: &'a (dyn Fn() -> bool + Sync),
    ) -> HubReader<'a> {
        HubReader::new(self, is_interrupted)
    }

    /// Sets the flow store, which answers queries about the past.
    pub(crate) fn with_store(self, store: Option<Arc<dyn FlowStore>>) -> Self {
        Self { store, ..self }
    }

    /// Stores flows of a capture file; without a store, they are live as long as flows of agents.
    pub(super) fn store_imported(&self, flows: Vec<Flow>, now: Timestamp) {
        match &self.store {
            Some(store) => {
                store.make_room();
                store.put(flows, now);
            }
            None => self.remote.put(flows, now),
        }
    }

    /// Returns the flow store, if there is one.
    pub fn store(&self) -> Option<&dyn FlowStore> {
        self.store.as_deref()
    }

    /// Returns the bus that delivers flows and statistics to subscribers.
    pub(crate) fn bus(&self) -> &Bus<BroadcastMessage> {
        &self.bus
    }

    /// Adds a flow table to the tables that live queries read.
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

    /// Returns the number of times a flow table did not answer a query before the timeout.
    pub fn table_timeouts(&self) -> u64 {
        self.table_timeouts.load(Ordering::Relaxed)
    }

    /// Queues flows of a capture for the subscribers and the store. Never blocks.
    pub fn push(&self, flows: Vec<Flow>) {
        if self.bus.is_empty() && self.store.is_none() && self.uplink.is_none() {
            return;
        }
        self.queue.push(FlowBatch {
            flows,
            stats: None,
            is_remote: false,
        });
    }

    /// Queues flows that no table of this process contains, such as flows of exporters, for
    /// subscribers, store, and live queries. Never blocks; flows that exceed the limits of the queue
    /// are dropped and counted.
    pub(crate) fn push_remote(&self, flows: Vec<Flow>) {
        self.queue.push(FlowBatch {
            flows,
            stats: None,
            is_remote: true,
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
    /// Returns an error if the message is malformed or too large; then no part of it is used.
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
        if let Some(uplink) = &self.uplink {
            uplink.push_stats(stats);
        }
        if self.bus.is_wanted(STATS) {
            let json = serde_json::to_vec(stats).unwrap_or_default();
            let message = BroadcastMessage::object(STATS, "stats", json);
            // COMPAT: Skydive releases decode statistics as protobuf if the peer uses protobuf.
            let message = message.with_protobuf(stats.encode_to_vec());
            self.bus.send(&Arc::new(message.with_memory(&self.memory)));
        }
    }

    /// Groups queued flows into messages and sends them; the body of the batcher thread.
    ///
    /// Returns after `stopped` returns `true` and the queued flows have been sent.
    pub(crate) fn run_batcher(&self, clock: &dyn Clock, stopped: &dyn Fn() -> bool) {
        let mut pending: Vec<Flow> = Vec::new();
        let mut due: Option<Timestamp> = None;
        loop {
            let received = self.queue.receive(POLL_INTERVAL);
            let now = clock.now();
            self.remote.expire(now);
            let mut stored = Vec::new();
            if let Some(batch) = received {
                if let Some(stats) = &batch.stats {
                    self.send_stats(stats);
                }
                stored = self.accept(batch, now, &mut pending);
            }
            if !pending.is_empty() {
                due.get_or_insert(now.saturating_add(self.options.batch_delay));
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
            // After the subscribers: the store may wait for its disk.
            if let Some(store) = &self.store
                && !stored.is_empty()
            {
                store.put(stored, now);
            }
            if stop {
                return;
            }
        }
    }

    /// Passes the flows of a batch to other analyzers and to live queries, and adds those for the
    /// subscribers to `pending`. Returns the flows for the store.
    fn accept(&self, batch: FlowBatch, now: Timestamp, pending: &mut Vec<Flow>) -> Vec<Flow> {
        let FlowBatch {
            flows, is_remote, ..
        } = batch;
        if let Some(uplink) = &self.uplink {
            uplink.push(&flows);
        }
        if is_remote && !flows.is_empty() {
            self.cache(flows.clone(), now);
        }
        if self.store.is_none() {
            pending.extend(flows);
            return Vec::new();
        }
        if !self.bus.is_empty() {
            pending.extend_from_slice(&flows);
        }
        flows
    }

    /// Caches flows that no flow table returns, for live queries.
    fn cache(&self, flows: Vec<Flow>, now: Timestamp) {
        let (answered, others) = match &self.agents {
            Some(agents) => agents.partition(flows),
            None => (Vec::new(), flows),
        };
        self.remote.put(others, now);
        self.remote.remove(&answered);
    }

    /// Sends one message with all flows, and one message for each capture that a subscriber
    /// selects.
    fn send(&self, flows: &[Flow]) {
        if flows.is_empty() {
            return;
        }
        let message = |namespace: String, flows: &[&Flow]| {
            let json = serde_json::to_vec(flows).unwrap_or_default();
            let message = BroadcastMessage::object(namespace, "store", json);
            self.bus.send(&Arc::new(message.with_memory(&self.memory)));
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

    /// Returns a copy of the list of flow tables, so that captures can start and stop during a
    /// query.
    pub(super) fn tables(&self) -> Vec<CaptureHandle> {
        let tables = self.tables.read();
        tables.iter().map(|(_, table)| table.clone()).collect()
    }

    /// Returns the flows received from agents and exporters, or read from files.
    pub(super) const fn remote(&self) -> &RemoteFlows {
        &self.remote
    }

    /// Returns the slots for queries that copy flows.
    pub(super) const fn fetches(&self) -> &Fetches {
        &self.fetches
    }

    /// Returns the settings.
    pub(super) const fn options(&self) -> &FlowOptions {
        &self.options
    }

    /// Counts a flow table that did not answer a query.
    pub(super) fn count_table_timeout(&self) {
        self.table_timeouts.fetch_add(1, Ordering::Relaxed);
    }
}

/// These queries cannot be interrupted; `FlowHub::reader` returns a source whose queries can.
impl FlowSource for FlowHub {
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        self.reader(&|| false).query(query)
    }

    fn visit(
        &self,
        query: &FlowQuery,
        visit: &mut dyn FnMut(&Flow) -> ControlFlow<()>,
    ) -> Result<(), FlowQueryError> {
        self.reader(&|| false).visit(query, visit)
    }

    fn count(&self, query: &FlowQuery) -> Result<u64, FlowQueryError> {
        self.reader(&|| false).count(query)
    }

    fn metrics(
        &self,
        uuids: &[Text],
        time: TimeSlice,
    ) -> Result<Vec<(Text, Vec<FlowMetric>)>, FlowQueryError> {
        self.reader(&|| false).metrics(uuids, time)
    }

    fn stored_packets(&self, uuids: &[Text]) -> PacketsByFlow {
        self.reader(&|| false).stored_packets(uuids)
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

/// Sink that pushes the flows of a capture into a hub while the hub exists.
pub(crate) struct HubSink(Weak<FlowHub>);

impl HubSink {
    /// Returns a sink that holds only a weak reference to the hub.
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

/// Maximum time until the batcher detects that a batch is due or that it must stop.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc;

    use parking_lot::Mutex;

    use super::*;
    use crate::engine::SubscribeOptions;
    use crate::memory::MemoryUse;
    use crate::store::FlowStoreStatus;
    use crate::time::ManualClock;

    #[test]
    fn messages_in_the_queues_of_subscribers_count_until_they_are_sent() {
        let memory = MemoryBudget::new(1 << 20);
        let hub = FlowHub::new(FlowOptions::default()).with_memory(memory.clone());
        let mut subscribers = [(); 2].map(|()| hub.bus().subscribe(SubscribeOptions::default()));
        hub.send(&[Flow::default().with_uuid("f")]);
        hub.send_stats(&FlowStats::default());
        let used = memory.used_for(MemoryUse::Queues);
        assert!(used > 0);
        let [first, second] = &mut subscribers;
        while first.try_next().is_some() {}
        assert_eq!(
            memory.used_for(MemoryUse::Queues),
            used,
            "the other queue has them"
        );
        while second.try_next().is_some() {}
        assert_eq!(memory.used_for(MemoryUse::Queues), 0);
    }

    /// Store whose disk blocks until it is released.
    struct SlowStore {
        began: Mutex<mpsc::Sender<usize>>,
        released: Mutex<mpsc::Receiver<()>>,
    }

    impl FlowStore for SlowStore {
        fn put(&self, flows: Vec<Flow>, _: Timestamp) {
            self.began.lock().send(flows.len()).unwrap();
            self.released.lock().recv().unwrap();
        }

        fn query(&self, _: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
            Ok(FlowSet::default())
        }

        fn metrics_while(
            &self,
            _: &[Text],
            _: TimeSlice,
            _: &dyn Fn() -> bool,
        ) -> Result<Vec<(Text, Vec<FlowMetric>)>, FlowQueryError> {
            Ok(Vec::new())
        }

        fn raw_packets(&self, _: &[Text]) -> PacketsByFlow {
            Vec::new()
        }

        fn expire(&self, _: Timestamp) {}

        fn status(&self) -> FlowStoreStatus {
            FlowStoreStatus::default()
        }
    }

    #[test]
    fn subscribers_receive_flows_before_the_store_waits_for_its_disk() {
        let (began, begins) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let store: Arc<dyn FlowStore> = Arc::new(SlowStore {
            began: Mutex::new(began),
            released: Mutex::new(released),
        });
        let options = FlowOptions::default().with_batch_delay(Duration::ZERO);
        let hub = Arc::new(FlowHub::new(options).with_store(Some(store)));
        let mut subscriber = hub.bus().subscribe(SubscribeOptions::default());
        let stop = Arc::new(AtomicBool::new(false));
        let batcher = {
            let (hub, stop) = (Arc::clone(&hub), Arc::clone(&stop));
            let clock = ManualClock::new(Timestamp::from_ms(1));
            std::thread::spawn(move || {
                hub.run_batcher(&clock, &|| stop.load(Ordering::Relaxed));
            })
        };
        hub.push(vec![Flow::default().with_uuid("f")]);
        assert_eq!(begins.recv(), Ok(1));
        assert!(subscriber.try_next().is_some());
        stop.store(true, Ordering::Relaxed);
        release.send(()).unwrap();
        batcher.join().unwrap();
    }
}
