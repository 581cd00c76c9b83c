//! Everything wired together: the graph and its probes, captures and their flows, queries.
//!
//! An [`Engine`] is what the daemon, the Python module and the tests drive. It owns the threads
//! (see the table in `docs/ARCHITECTURE.md`): one that hands graph events on, one that gathers
//! flows, one that starts and stops captures, one a capture, and those of the probes. No thread
//! waits for a subscriber longer than a second, none holds the graph while it sends.
//!
//! ```
//! use skylib::engine::{Engine, EngineOptions};
//! let engine = Engine::start(EngineOptions::new("edge-01"))?;
//! let answer = engine.query("G.V().Count()", &|| false)?;
//! let mut json = Vec::new();
//! answer.write_json(&mut json)?;
//! assert_eq!(json, b"0");
//! engine.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bus;
mod capture;
mod expiry;
mod flow;
mod graph;
mod live;
mod monotonic;
mod query;
mod resource;

pub use bus::{Bus, BusMessage, PATIENCE, SubscribeOptions, Subscription};
pub use capture::totals::CaptureTotals;
pub use flow::hub::{FlowHub, FlowOptions, TableId};
pub use flow::import::Imported;
pub use flow::remote_flows::IngestionStatus;
pub use graph::shared_graph::{LOG_BYTES, LOG_LIMIT, LoggedEvent, SharedGraph};
pub use live::{LiveClient, LiveNews, LiveOptions, LiveRefusal, LiveStatus, LiveTicket};
pub use resource::collection::Collection;
pub use resource::graph_elements::Elements;
pub use resource::registry::ResourceLimits;
pub use resource::resources::Resources;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use self::capture::mailbox::Controller;
use self::capture::opener::Opener;
use self::capture::reconciler::{OnDemand, OnDemandOptions};
use self::flow::import::Importer;
use self::graph::persistence::{Keeper, ReturningEdges};
use self::graph::probes::HostOptions;
use self::live::LiveHub;
use self::query::QueryRunner;
use self::resource::registry::Kinds;
use self::resource::resources::Surroundings;
use crate::api::{AlertSpec, CaptureSpec, EdgeRule, Injection, NodeRule, ResourceError, Workflow};
use crate::capture::CaptureError;
use crate::flow::{FlowTableOptions, LayerKeyMode};
use crate::graph::history::{History, HistoryStatus};
use crate::graph::{Edge, Graph, GraphAccess, GraphView, Node, Origin, Processor};
use crate::gremlin::{Answer, Explanation, Limits, Query, QueryError};
use crate::proto::BroadcastMessage;
use crate::store::{DocStore, FlowStore, FlowStoreStatus, MemoryStore, StoreError};
use crate::sys::capability::Capability;
use crate::time::{Clock, SystemClock};
use crate::topology::tid::TidProcessor;
use crate::topology::{ProbeSet, ProbeStatus};

/// What an engine does. Complete by definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Serves a graph that others fill: no probes, no captures of its own.
    Analyzer,
    /// An analyzer that also watches its own host.
    AllInOne,
}

/// How an engine is made.
#[derive(Clone)]
#[non_exhaustive]
pub struct EngineOptions {
    /// What it does.
    pub role: Role,
    /// Identity of this host in the graph.
    pub host: String,
    /// Where resources are kept.
    pub documents: Arc<dyn DocStore>,
    /// Where nodes and edges are kept that clients bring; none is not, and they end with the
    /// process.
    pub elements: Option<Arc<dyn DocStore>>,
    /// Where the graph's past is kept; none is not, and queries that ask for it are refused.
    pub history: Option<Arc<dyn History>>,
    /// Where flows are kept; nowhere means that queries for flows of the past are refused.
    pub flow_store: Option<Arc<dyn FlowStore>>,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Settings of every capture's flow table.
    pub table: FlowTableOptions,
    /// How flows are gathered for subscribers.
    pub flows: FlowOptions,
    /// How often the counters of captures in the graph are refreshed.
    pub stats_period: Duration,
    /// How often the counters of interfaces in the graph are refreshed.
    pub metrics_period: Duration,
    /// Folder of the named network namespaces; none is not watched.
    pub netns_path: Option<PathBuf>,
    /// What the host node shows besides what is found out.
    pub host_metadata: crate::value::Map,
    /// Bounds of one query.
    pub limits: Limits,
    /// How often live queries tell, and what they may take.
    pub live: LiveOptions,
    /// What a capture has whose client does not say how flows are told apart.
    pub layer_key_mode: LayerKeyMode,
    /// How many resources of each kind there may be.
    pub resources: ResourceLimits,
    /// How many captures may be active on nodes, each with its own packet ring and flow table.
    pub max_active_captures: usize,
    /// Whether captures are opened on this host's nodes; else whoever writes these captures.
    pub captures_here: bool,
    /// A capture to create at start; one like it that is there already is fine.
    pub startup_capture: Option<CaptureSpec>,
}

impl EngineOptions {
    /// An analyzer in memory with the defaults of the original.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            role: Role::Analyzer,
            host: host.into(),
            documents: Arc::new(MemoryStore::default()),
            elements: None,
            history: None,
            flow_store: None,
            clock: Arc::new(SystemClock),
            table: FlowTableOptions::default(),
            flows: FlowOptions::default(),
            stats_period: Duration::from_secs(1),
            metrics_period: Duration::from_secs(30),
            netns_path: Some(PathBuf::from("/var/run/netns")),
            host_metadata: crate::value::Map::new(),
            limits: Limits::default(),
            live: LiveOptions::default(),
            layer_key_mode: LayerKeyMode::default(),
            resources: ResourceLimits::default(),
            max_active_captures: 256,
            captures_here: true,
            startup_capture: None,
        }
    }
}

/// A running engine; clones are handles of the same one.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    role: Role,
    host: String,
    origin: String,
    graph: Arc<SharedGraph>,
    flows: Arc<FlowHub>,
    graph_bus: Arc<Bus<BroadcastMessage>>,
    kinds: Kinds,
    keeper: Option<Arc<Keeper>>,
    controller: Arc<Controller>,
    queries: QueryRunner,
    live: Arc<LiveHub>,
    /// Settings of every flow table.
    #[cfg(feature = "spp")]
    table: FlowTableOptions,
    importer: Importer,
    probes: Mutex<Option<ProbeSet>>,
    stopping: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The kept resources cannot be read.
    #[error("cannot read the kept resources")]
    Store(#[from] StoreError),
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[from] std::io::Error),
}

/// What an engine tells of itself.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Status {
    /// How each probe is; none in an analyzer.
    pub probes: Vec<ProbeStatus>,
    /// How many resources are kept, by their kind.
    pub resources: BTreeMap<&'static str, usize>,
    /// What all captures have seen.
    pub capture_totals: CaptureTotals,
    /// Why the last change of a resource could not be kept, if it could not.
    pub store_problem: Option<String>,
    /// Nodes in the graph.
    pub nodes: usize,
    /// Edges in the graph.
    pub edges: usize,
    /// Graph events that wait for the dispatcher.
    pub events_waiting: usize,
    /// Subscribers of the graph that were cut off because they stopped reading.
    pub graph_subscribers_cut_off: u64,
    /// Subscribers of flows that were cut off because they stopped reading.
    pub flow_subscribers_cut_off: u64,
    /// How much of the graph's past is kept; `None` where it is not.
    pub history: Option<HistoryStatus>,
    /// How many flows are kept; `None` where none are.
    pub flow_store: Option<FlowStoreStatus>,
    /// Flows that neither subscribers nor the store got because the batcher could not keep up.
    pub flows_dropped: u64,
    /// How often a query went without the answer of a capture's flow table.
    pub flow_tables_silent: u64,
    /// How live queries do.
    pub live: LiveStatus,
    /// What agents have sent of their flows.
    pub ingestion: IngestionStatus,
}

impl Engine {
    /// Starts the threads and, in the role that has them, the probes.
    ///
    /// A probe that cannot start never stops the engine: its status says why.
    ///
    /// # Errors
    /// When kept resources cannot be read or a thread cannot be started.
    pub fn start(options: EngineOptions) -> Result<Self, EngineError> {
        let origin = format!("agent.{}", options.host);
        let keeper = options.elements.map(|store| Arc::new(Keeper::new(store)));
        let mut processors: Vec<Box<dyn Processor>> =
            vec![Box::new(TidProcessor::new(origin.as_str()))];
        if let Some(keeper) = &keeper {
            processors.push(Box::new(ReturningEdges(Arc::clone(keeper))));
        }
        let clock = Arc::clone(&options.clock);
        let graph = SharedGraph::new(Graph::new(), Arc::clone(&clock), processors);
        let graph = graph
            .with_history(options.history)
            .with_keeper(keeper.clone());
        let graph = Arc::new(graph);
        let flows = Arc::new(FlowHub::new(options.flows).with_store(options.flow_store));
        let graph_bus = Arc::new(Bus::default());
        let controller = Arc::new(Controller::default());
        let queries = QueryRunner {
            graph: Arc::clone(&graph),
            flows: Arc::clone(&flows),
            clock: Arc::clone(&clock),
            limits: options.limits,
        };
        let surroundings = Surroundings {
            queries: queries.clone(),
            bus: Arc::clone(&graph_bus),
            layer_key_mode: options.layer_key_mode,
        };
        let (documents, limits) = (&options.documents, options.resources);
        let (kinds, captures) =
            Kinds::open(documents, limits, &options.host, surroundings, &controller)?;
        let expiries = kinds.expiries();
        let engine = Self(Arc::new(Inner {
            role: options.role,
            host: options.host.clone(),
            origin: origin.clone(),
            graph: Arc::clone(&graph),
            flows: Arc::clone(&flows),
            graph_bus: Arc::clone(&graph_bus),
            kinds,
            keeper: keeper.clone(),
            controller: Arc::clone(&controller),
            queries: queries.clone(),
            live: Arc::new(LiveHub::new(options.live.clone(), queries.clone())),
            #[cfg(feature = "spp")]
            table: options.table.clone(),
            importer: Importer::new(
                options.table.clone(),
                Arc::clone(&flows),
                Arc::clone(&clock),
            ),
            probes: Mutex::new(None),
            stopping: Arc::default(),
            threads: Mutex::default(),
        }));
        let opener = Opener {
            graph: Arc::clone(&graph),
            flows,
            table: options.table.clone(),
            clock,
            origin: origin.clone(),
        };
        engine.start_threads(OnDemand::new(
            controller,
            captures,
            queries,
            graph_bus,
            opener,
            expiries,
            OnDemandOptions {
                stats_period: options.stats_period,
                max_active: options.max_active_captures,
                is_here: options.captures_here,
            },
        ))?;
        if let Some(keeper) = keeper {
            let load = |graph: &mut Graph, _| keeper.load(graph, &origin);
            engine.0.graph.update_as(None, load)?;
            let clock = Arc::clone(&options.clock);
            engine.spawn("keeper", move || keeper.run(&*clock))?;
        }
        if options.role == Role::AllInOne {
            if let Some(missing) = Capability::missing() {
                tracing::warn!("{missing}; everything else works");
            }
            let host = HostOptions {
                origin: Origin::new("agent", options.host.as_str()),
                metadata: &options.host_metadata,
                netns_path: options.netns_path.as_deref(),
                metrics_period: options.metrics_period,
            };
            *engine.0.probes.lock() = Some(graph::probes::start(&graph, &host));
        }
        if let Some(spec) = options.startup_capture {
            match engine.captures().add(spec, None) {
                Ok(_) | Err(ResourceError::Duplicate) => {}
                Err(error) => tracing::error!(%error, "no start-up capture"),
            }
        }
        Ok(engine)
    }

    fn start_threads(&self, on_demand: OnDemand) -> Result<(), EngineError> {
        let inner = &self.0;
        let (graph, bus) = (Arc::clone(&inner.graph), Arc::clone(&inner.graph_bus));
        let (controller, live) = (Arc::clone(&inner.controller), Arc::clone(&inner.live));
        self.spawn("dispatch", move || {
            dispatch(&graph, &bus, &controller, &live);
        })?;
        let live = Arc::clone(&inner.live);
        self.spawn("live", move || live.run())?;
        let (flows, stopping) = (Arc::clone(&inner.flows), Arc::clone(&inner.stopping));
        let clock = Arc::clone(&inner.queries.clock);
        self.spawn("flow-batch", move || {
            flows.run_batcher(&*clock, &|| stopping.load(Ordering::Relaxed));
        })?;
        self.spawn("on-demand", move || on_demand.run())
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), EngineError> {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)?;
        self.0.threads.lock().push(thread);
        Ok(())
    }

    /// Identity of this host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// Origin of what the probes of this host write, here or in an agent: `agent.<host>`.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    /// What this engine does.
    #[must_use]
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// Parses and runs a query on the graph as of now; blocks until it is answered.
    ///
    /// `interrupt` is asked now and then and ends the query by answering `true`.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn query(
        &self,
        text: &str,
        interrupt: &(dyn Fn() -> bool + Sync),
    ) -> Result<Answer, QueryError> {
        self.run(&Query::parse(text)?, interrupt)
    }

    /// Runs a parsed query, see [`Engine::query`].
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn run(
        &self,
        query: &Query,
        interrupt: &(dyn Fn() -> bool + Sync),
    ) -> Result<Answer, QueryError> {
        self.run_on(&self.0.graph.view(), query, interrupt)
    }

    /// Runs a parsed query on a view of the graph that the caller keeps.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn run_on(
        &self,
        view: &GraphView<'_>,
        query: &Query,
        interrupt: &(dyn Fn() -> bool + Sync),
    ) -> Result<Answer, QueryError> {
        self.0.queries.run(view, query, interrupt)
    }

    /// Parses and runs a query and tells how it was answered, see [`Query::explain_timed`].
    ///
    /// # Errors
    /// A text that is no query; a query that fails later is explained as far as it came.
    pub fn explain(
        &self,
        text: &str,
        interrupt: &(dyn Fn() -> bool + Sync),
    ) -> Result<Explanation, QueryError> {
        let view = self.0.graph.view();
        Ok(self
            .0
            .queries
            .explain(&view, &Query::parse(text)?, interrupt))
    }

    /// Live queries for one client, so many at a time; see [`LiveClient`].
    #[must_use]
    pub fn live_client(&self, max_queries: usize) -> LiveClient {
        LiveClient::new(&self.0.live, max_queries)
    }

    /// Counts a capture file of any kind that is read here into flows, which are kept where those
    /// of captures are and asked for by the time of their packets; without a store they are among
    /// the present ones for as long as those that agents sent. Subscribers do not get them.
    ///
    /// Blocks until the file has come to its end, however large it is, and takes no more memory
    /// than its flow table. `name` is what errors call it. `interrupt` is asked now and then and
    /// ends the work by answering `true`: what was read until then is kept. A file that ends within
    /// a record counts up to there, see [`Imported::cut`].
    ///
    /// ```
    /// use skylib::engine::{Engine, EngineOptions};
    /// # use skylib::packet::{LinkType, PacketRef};
    /// # use skylib::pcap_file::{PcapWriter, Resolution};
    /// # use skylib::time::Timestamp;
    /// # let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET, Resolution::Nanoseconds)?;
    /// # let (timestamp, data) = (Timestamp::from_ms(1), &[0xff; 60]);
    /// # writer.write(&PacketRef { link_type: LinkType::ETHERNET, timestamp, data, wire_len: 60 })?;
    /// # let file = std::io::Cursor::new(writer.into_inner());
    /// let engine = Engine::start(EngineOptions::new("edge-01"))?;
    /// let imported = engine.import("trace.pcap", file, &|| false)?;
    /// assert_eq!((imported.packets, imported.flows, imported.cut), (1, 1, None));
    /// # engine.stop();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When it is no capture file, or damaged: the flows of what came before the damage are kept.
    pub fn import(
        &self,
        name: &str,
        file: impl Read + Send + 'static,
        interrupt: &dyn Fn() -> bool,
    ) -> Result<Imported, CaptureError> {
        self.0.importer.import(name, file, interrupt)
    }

    /// The graph.
    #[must_use]
    pub fn graph(&self) -> &Arc<SharedGraph> {
        &self.0.graph
    }

    /// The flows of all captures.
    #[must_use]
    pub fn flows(&self) -> &Arc<FlowHub> {
        &self.0.flows
    }

    /// The captures.
    #[must_use]
    pub fn captures(&self) -> &Resources<CaptureSpec> {
        &self.0.kinds.captures
    }

    /// The packet injections.
    #[must_use]
    pub fn injections(&self) -> &Resources<Injection> {
        &self.0.kinds.injections
    }

    /// The alerts.
    #[must_use]
    pub fn alerts(&self) -> &Resources<AlertSpec> {
        &self.0.kinds.alerts
    }

    /// The workflows.
    #[must_use]
    pub fn workflows(&self) -> &Resources<Workflow> {
        &self.0.kinds.workflows
    }

    /// The node rules.
    #[must_use]
    pub fn node_rules(&self) -> &Resources<NodeRule> {
        &self.0.kinds.node_rules
    }

    /// The edge rules.
    #[must_use]
    pub fn edge_rules(&self) -> &Resources<EdgeRule> {
        &self.0.kinds.edge_rules
    }

    /// The nodes of the graph, as clients manage them.
    #[must_use]
    pub fn nodes(&self) -> &Elements<Node> {
        &self.0.kinds.nodes
    }

    /// The edges of the graph, as clients manage them.
    #[must_use]
    pub fn edges(&self) -> &Elements<Edge> {
        &self.0.kinds.edges
    }

    /// What happens to the graph from now on, and notifications about resources.
    #[must_use]
    pub fn subscribe_graph(&self, options: SubscribeOptions) -> Subscription<BroadcastMessage> {
        self.0.graph_bus.subscribe(options)
    }

    /// Flows as they are updated and end, in the namespaces `flow`, `flow/<capture>`, `stats`.
    #[must_use]
    pub fn subscribe_flows(&self, options: SubscribeOptions) -> Subscription<BroadcastMessage> {
        self.0.flows.bus.subscribe(options)
    }

    /// How it goes.
    #[must_use]
    pub fn status(&self) -> Status {
        let inner = &self.0;
        let mut status = Status {
            probes: inner
                .probes
                .lock()
                .as_ref()
                .map(ProbeSet::status)
                .unwrap_or_default(),
            resources: inner.resources(),
            store_problem: inner.store_problem(),
            capture_totals: inner.controller.totals(),
            events_waiting: inner.graph.log_len(),
            graph_subscribers_cut_off: inner.graph_bus.cut_off(),
            flow_subscribers_cut_off: inner.flows.bus.cut_off(),
            flows_dropped: inner.flows.dropped(),
            flow_store: inner.flows.store().map(FlowStore::status),
            history: inner.graph.history().map(History::status),
            flow_tables_silent: inner.flows.silent(),
            live: inner.live.status(),
            ingestion: inner.flows.ingestion_status(),
            ..Status::default()
        };
        inner.graph.read(&mut |graph| {
            (status.nodes, status.edges) = (graph.node_count(), graph.edge_count());
        });
        status
    }

    /// Stops captures (their last flows reach the subscribers), probes and threads, in this order.
    ///
    /// A second call does nothing.
    pub fn stop(&self) {
        let inner = &self.0;
        let threads = std::mem::take(&mut *inner.threads.lock());
        inner.controller.stop();
        if let Some(mut probes) = inner.probes.lock().take() {
            probes.stop();
        }
        // The batcher must outlive the captures: it takes their last flows.
        let (on_demand, others): (Vec<_>, Vec<_>) = threads
            .into_iter()
            .partition(|thread| thread.thread().name() == Some("on-demand"));
        join(on_demand);
        inner.stopping.store(true, Ordering::Relaxed);
        if let Some(keeper) = &inner.keeper {
            keeper.stop();
        }
        inner.graph.close_log();
        inner.live.stop();
        join(others);
        inner.graph_bus.close();
        inner.flows.bus.close();
    }
}

impl Inner {
    /// How many resources are kept, by their kind.
    fn resources(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = self.kinds.counts();
        if let Some(keeper) = &self.keeper {
            let (nodes, edges) = keeper.counts();
            counts.extend([("node", nodes), ("edge", edges)]);
        }
        counts
    }

    fn store_problem(&self) -> Option<String> {
        let keeper = self.keeper.as_ref();
        let unwritten = || keeper.and_then(|keeper| keeper.problem());
        self.kinds.store_problem().or_else(unwritten)
    }
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        let name = thread.thread().name().unwrap_or_default().to_owned();
        if thread.join().is_err() {
            tracing::error!(thread = name, "the thread had panicked");
        }
    }
}

/// Hands the graph's events to the capture controller and the subscribers.
fn dispatch(
    graph: &SharedGraph,
    bus: &Bus<BroadcastMessage>,
    controller: &Controller,
    live: &LiveHub,
) {
    while let Some(events) = graph.take_log() {
        for logged in events {
            controller.graph_event(&logged.event);
            live.graph_event(&logged);
            if bus.is_wanted(crate::proto::GRAPH) {
                let message = BroadcastMessage::graph_event(logged.event)
                    .with_sequence(logged.sequence)
                    .with_author(logged.author);
                bus.send(&Arc::new(message));
            }
        }
    }
}

#[cfg(test)]
mod tests;
