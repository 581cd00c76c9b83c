//! Engine, which connects all parts: the graph and its probes, captures and their flows, resources,
//! and queries.
//!
//! The daemon, the Python module, and tests drive an [`Engine`]. It owns these threads (see
//! `docs/ARCHITECTURE.md` for the queues between them):
//!
//! | Thread | Task |
//! |---|---|
//! | `dispatch` | sends graph events to captures, live queries, and subscribers |
//! | `live` | updates live queries |
//! | `flow-batch` | groups flows for subscribers and stores them |
//! | `reconciler` | starts and stops captures |
//! | `rules` | applies node and edge rules |
//! | `injections` | starts and stops packet injections |
//! | `collector` (one per socket) | receives flow exports |
//! | `alerts`, `alert-live` | evaluate the expressions of alerts |
//! | `alert-actions`, `alert-script` | call webhooks and run scripts of alerts |
//! | `workflow`, `alert-script-js` | run JavaScript |
//! | `housekeeping` | deletes expired resources, enforces retention, saves the activity log |
//! | `graph-persister` | writes nodes and edges of clients to the store |
//!
//! In addition, each capture and each interface that sends packets of an injection has one thread,
//! and probes have their own threads. No thread waits for a subscriber longer than
//! [`READ_TIMEOUT`], and no thread sends while it locks the graph.
//!
//! ```
//! use skylib::engine::{Engine, EngineOptions};
//!
//! let engine = Engine::start(EngineOptions::new("edge-01"))?;
//! let answer = engine.query("G.V().Count()")?;
//! let mut json = Vec::new();
//! answer.write_json(&mut json)?;
//! assert_eq!(json, b"0");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod agent;
mod alert;
mod bus;
mod capture;
mod collector;
mod fleet;
mod flow;
mod graph;
mod housekeeping;
mod injection;
mod inner;
mod live;
mod monotonic;
mod options;
mod privileges;
mod probe_options;
mod query;
mod replication;
mod resource;
mod rule;
#[cfg(feature = "scripting")]
mod script;
mod startup;
mod status;

pub use agent::{AgentService, Mastership};
pub use alert::{AlertStatus, WebhookClient, WebhookDone};
pub use bus::{Bus, BusMessage, READ_TIMEOUT, SubscribeOptions, Subscription};
pub use capture::CaptureTotals;
pub use collector::{AllowedNetwork, CollectorOptions, CollectorStatus};
pub use fleet::{AgentConnection, AgentLinkStatus, AgentLinks};
pub use flow::{
    FlowHub, FlowOptions, FlowUplink, ImportOptions, ImportSummary, IngestionStatus, QueryWarnings,
    TableId, UplinkStatus,
};
pub use graph::{LOG_BYTES, LOG_LIMIT, LoggedEvent, SharedGraph};
pub use live::{LiveClient, LiveError, LiveEvent, LiveOptions, LiveReservation, LiveStatus};
pub use options::{EngineOptions, Role};
pub use privileges::Privileges;
pub use probe_options::{AnalyzerProbeOptions, OptionalProbe, ProbeOptions, UnknownProbe};
pub use query::QueryOptions;
pub use replication::{Applied, PeerConnection, Replication, ReplicationStatus};
pub use resource::{Collection, GraphElements, ResourceLimits, Resources};
pub use rule::RuleStatus;
#[cfg(feature = "scripting")]
pub use script::{Interpreter, ScriptError, ScriptHost, ScriptOptions, ScriptStatus, WorkflowCall};
pub use status::Status;

pub use crate::sys::receive_drops::udp_receive_drops;

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use self::inner::Inner;
use crate::api::{AlertSpec, CaptureSpec, EdgeRule, Injection, NodeRule, ResourceError, Workflow};
use crate::capture::CaptureError;
use crate::graph::history::History;
use crate::graph::{Edge, GraphAccess, GraphView, Node};
use crate::gremlin::{Answer, Explanation, Query, QueryError};
#[cfg(feature = "scripting")]
use crate::gremlin::{WorkflowCaller, WorkflowError};
use crate::memory::MemoryBudget;
use crate::proto::BroadcastMessage;
use crate::store::{FlowStore, StoreError};
use crate::time::Timestamp;
use crate::topology::ProbeSet;

/// Running engine; clones are handles of the same engine.
///
/// [`Engine::stop`] stops the engine, as does dropping the last handle; both block until all
/// threads have ended.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

/// Error returned if an engine cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The stored resources or elements cannot be read.
    #[error("cannot read the stored resources and elements (storage.local.path)")]
    Store(#[from] StoreError),
    /// A thread cannot be started.
    #[error("cannot start a thread of the engine")]
    Thread(#[from] std::io::Error),
}

impl Engine {
    /// Starts an engine: loads the stored resources and starts the threads and the probes of its
    /// role: those of a host, of an analyzer, or both.
    ///
    /// A probe that cannot start does not prevent the start; its status shows the reason.
    ///
    /// # Errors
    /// Returns an error if the stored resources or elements cannot be read, or a thread cannot be
    /// started.
    pub fn start(options: EngineOptions) -> Result<Self, EngineError> {
        let engine = Self(Arc::new(Inner::new(&options)?));
        engine.start_threads(&options)?;
        engine.start_probes(&options);
        if let Some(spec) = options.startup_capture {
            match engine.captures().add(spec, None) {
                Ok(_) | Err(ResourceError::Duplicate { .. }) => {}
                Err(error) => tracing::error!(%error, "cannot create the startup capture"),
            }
        }
        Ok(engine)
    }

    /// Returns the identity of this host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// Returns the origin of the elements that the probes of this host create, in this process or
    /// in an agent: `agent.<host>`.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    /// Returns the role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// Returns the limit on the memory used on behalf of clients.
    #[must_use]
    pub fn memory(&self) -> &MemoryBudget {
        &self.0.memory
    }

    /// Parses and runs a query on a snapshot of the graph. Blocks until the answer is complete.
    ///
    /// ```
    /// use skylib::engine::{Engine, EngineOptions};
    /// use skylib::gremlin::Answer;
    ///
    /// let engine = Engine::start(EngineOptions::new("edge-01"))?;
    /// assert_eq!(engine.query("G.V().Count()")?, Answer::Number(0));
    /// # Ok::<(), skylib::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the query is invalid, fails, or exceeds a limit.
    pub fn query(&self, text: &str) -> Result<Answer, QueryError> {
        self.query_with(text, QueryOptions::default())
    }

    /// Parses and runs a query like [`Engine::query`], with options for cancellation and limits.
    ///
    /// # Errors
    /// Returns an error if the query is invalid, fails, exceeds a limit, or is canceled.
    pub fn query_with(&self, text: &str, options: QueryOptions<'_>) -> Result<Answer, QueryError> {
        self.run(&Query::parse(text)?, options)
    }

    /// Runs a parsed query on a snapshot of the graph.
    ///
    /// # Errors
    /// Returns an error if the query fails, exceeds a limit, or is canceled.
    pub fn run(&self, query: &Query, options: QueryOptions<'_>) -> Result<Answer, QueryError> {
        self.run_on(&self.0.graph.view(), query, options)
    }

    /// Runs a parsed query on a view of the graph, so that several queries can share a snapshot.
    ///
    /// ```
    /// use skylib::engine::{Engine, EngineOptions, QueryOptions};
    /// use skylib::gremlin::Query;
    ///
    /// let engine = Engine::start(EngineOptions::new("edge-01"))?;
    /// let view = engine.graph().view();
    /// let nodes = engine.run_on(&view, &Query::parse("G.V().Count()")?, QueryOptions::default())?;
    /// let edges = engine.run_on(&view, &Query::parse("G.E().Count()")?, QueryOptions::default())?;
    /// assert_eq!(nodes, edges, "an empty graph");
    /// # Ok::<(), skylib::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the query fails, exceeds a limit, or is canceled.
    pub fn run_on(
        &self,
        view: &GraphView<'_>,
        query: &Query,
        options: QueryOptions<'_>,
    ) -> Result<Answer, QueryError> {
        self.0.queries.run(view, query, options)
    }

    /// Returns the time since which the past that a query reads is complete, if the query reads an
    /// earlier time, for which the answer is incomplete.
    #[must_use]
    pub fn history_begins(&self, query: &Query) -> Option<Timestamp> {
        self.0.queries.history_begins(query)
    }

    /// Parses and runs a query, and returns how it was executed; see [`Query::explain_timed`].
    ///
    /// ```
    /// use skylib::engine::{Engine, EngineOptions, QueryOptions};
    ///
    /// let engine = Engine::start(EngineOptions::new("edge-01"))?;
    /// let explanation = engine.explain("G.V().Has('Type', 'bridge')", QueryOptions::default())?;
    /// assert_eq!(explanation.error, None);
    /// # Ok::<(), skylib::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the query is invalid. A query that fails later is explained up to the
    /// failure.
    pub fn explain(
        &self,
        text: &str,
        options: QueryOptions<'_>,
    ) -> Result<Explanation, QueryError> {
        let view = self.0.graph.view();
        Ok(self.0.queries.explain(&view, &Query::parse(text)?, options))
    }

    /// Returns a client for up to `max_queries` live queries.
    ///
    /// ```
    /// use std::time::Duration;
    /// use skylib::engine::{Engine, EngineOptions, LiveEvent};
    ///
    /// let engine = Engine::start(EngineOptions::new("edge-01"))?;
    /// let client = engine.live_client(1);
    /// client.open("bridges", "G.V().Has('Type', 'bridge')")?;
    /// let (name, event) = client.recv_timeout(Duration::from_secs(5)).ok_or("no answer")?;
    /// assert_eq!(name, "bridges");
    /// assert!(matches!(event, LiveEvent::Update(_)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn live_client(&self, max_queries: usize) -> LiveClient {
        LiveClient::new(&self.0.live, max_queries)
    }

    /// Reads a capture file of any supported format and stores its flows. Queries for the time of
    /// the packets return them; without a flow store, they are live as long as flows received from
    /// agents. Subscribers do not receive them.
    ///
    /// Blocks until the end of the file. Memory use is bounded by one flow table, regardless of the
    /// size of the file. `name` identifies the file in errors. If the file ends within a record,
    /// the complete records are used; see [`ImportSummary::truncated`].
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
    /// let summary = engine.import("trace.pcap", file)?;
    /// assert_eq!((summary.packets, summary.flows, summary.truncated), (1, 1, None));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the file is not a capture file or is damaged. The flows before the damage
    /// are stored.
    pub fn import(
        &self,
        name: &str,
        file: impl Read + Send + 'static,
    ) -> Result<ImportSummary, CaptureError> {
        self.import_with(name, file, ImportOptions::default())
    }

    /// Imports a capture file as [`Engine::import`] does, with options to interrupt the import and
    /// to charge its memory. An interrupted import stores the flows of the packets read before.
    ///
    /// # Errors
    /// Returns the errors of [`Engine::import`], and an error if the memory budget is exhausted.
    pub fn import_with(
        &self,
        name: &str,
        file: impl Read + Send + 'static,
        options: ImportOptions<'_>,
    ) -> Result<ImportSummary, CaptureError> {
        self.0.importer.import(name, file, options)
    }

    /// Returns the graph.
    #[must_use]
    pub fn graph(&self) -> &Arc<SharedGraph> {
        &self.0.graph
    }

    /// Returns the flows of all captures.
    #[must_use]
    pub fn flows(&self) -> &Arc<FlowHub> {
        &self.0.flows
    }

    /// Returns the connected agents.
    #[must_use]
    pub fn agents(&self) -> &Arc<AgentLinks> {
        &self.0.agents
    }

    /// Returns the replication between this analyzer and others.
    #[must_use]
    pub fn replication(&self) -> &Arc<Replication> {
        &self.0.replication
    }

    /// Returns the service that this engine provides to its analyzers in the role of an agent.
    #[must_use]
    pub fn agent_service(&self) -> AgentService {
        AgentService {
            captures: Arc::clone(&self.0.mailbox),
            flows: Arc::clone(&self.0.flows),
            tasks: Arc::clone(&self.0.tasks),
        }
    }

    /// Returns a consumer that converts the packets of SPP recordings to flows of this engine.
    #[cfg(feature = "spp")]
    #[must_use]
    pub fn flow_tap(&self) -> Arc<dyn crate::spp::FlowTap> {
        let inner = &self.0;
        Arc::new(capture::SppTap {
            graph: Arc::clone(&inner.graph),
            flows: Arc::clone(&inner.flows),
            table: inner.table.clone(),
            clock: Arc::clone(&inner.queries.clock),
            origin: inner.origin.clone(),
        })
    }

    /// Returns the captures.
    ///
    /// ```
    /// use skylib::api::CaptureSpec;
    /// use skylib::engine::{Collection, Engine, EngineOptions};
    ///
    /// let engine = Engine::start(EngineOptions::new("edge-01"))?;
    /// let capture = engine.captures().add(CaptureSpec::new("G.V().Has('Name', 'eth0')"), None)?;
    /// assert!(engine.captures().get(&capture.uuid).is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn captures(&self) -> &Resources<CaptureSpec> {
        &self.0.registry.captures
    }

    /// Returns the packet injections.
    #[must_use]
    pub fn injections(&self) -> &Resources<Injection> {
        &self.0.registry.injections
    }

    /// Returns the alerts.
    #[must_use]
    pub fn alerts(&self) -> &Resources<AlertSpec> {
        &self.0.registry.alerts
    }

    /// Returns the workflows.
    #[must_use]
    pub fn workflows(&self) -> &Resources<Workflow> {
        &self.0.registry.workflows
    }

    /// Returns the node rules.
    #[must_use]
    pub fn node_rules(&self) -> &Resources<NodeRule> {
        &self.0.registry.node_rules
    }

    /// Returns the edge rules.
    #[must_use]
    pub fn edge_rules(&self) -> &Resources<EdgeRule> {
        &self.0.registry.edge_rules
    }

    /// Returns the nodes of the graph as resources.
    #[must_use]
    pub fn nodes(&self) -> &GraphElements<Node> {
        &self.0.registry.nodes
    }

    /// Returns the edges of the graph as resources.
    #[must_use]
    pub fn edges(&self) -> &GraphElements<Edge> {
        &self.0.registry.edges
    }

    /// Subscribes to changes to the graph and to notifications about resources.
    #[must_use]
    pub fn subscribe_graph(&self, options: SubscribeOptions) -> Subscription<BroadcastMessage> {
        self.0.graph_bus.subscribe(options)
    }

    /// Subscribes to updated and ended flows, in the namespaces `flow`, `flow/<capture>`, and
    /// `stats`.
    #[must_use]
    pub fn subscribe_flows(&self, options: SubscribeOptions) -> Subscription<BroadcastMessage> {
        self.0.flows.bus().subscribe(options)
    }

    /// Returns a snapshot of the engine's counters and of the state of its parts.
    ///
    /// ```
    /// use skylib::engine::{Engine, EngineOptions};
    ///
    /// let engine = Engine::start(EngineOptions::new("edge-01"))?;
    /// let status = engine.status();
    /// assert_eq!((status.nodes, status.flows_dropped), (0, 0));
    /// # Ok::<(), skylib::Error>(())
    /// ```
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
            edges_waiting: inner.persister.as_ref().map_or(0, |p| p.waiting()),
            store_problem: inner.store_problem(),
            recorded: inner.table.recorded,
            key_ignore: inner.table.key_ignore,
            capture_totals: inner.mailbox.totals(),
            import_totals: inner.importer.totals(),
            events_waiting: inner.graph.log_len(),
            graph_subscribers_cut_off: inner.graph_bus.cut_off_count(),
            flow_subscribers_cut_off: inner.flows.bus().cut_off_count(),
            flows_dropped: inner.flows.dropped(),
            flow_store: inner.flows.store().map(FlowStore::status),
            history: inner.graph.history().map(History::status),
            flow_table_timeouts: inner.flows.table_timeouts(),
            live: inner.live.status(),
            rules: inner.rules.status(),
            alerts: inner.alerts.status(),
            #[cfg(feature = "scripting")]
            scripts: inner.scripts.status(),
            ingestion: inner.flows.ingestion_status(),
            collectors: inner
                .collectors
                .iter()
                .map(|collector| collector.status())
                .collect(),
            agents: inner.agents.status(),
            replication: inner.replication.status(),
            uplink: inner.flows.uplink().map(|uplink| uplink.status()),
            ..Status::default()
        };
        inner.graph.read(&mut |graph| {
            (status.nodes, status.edges) = (graph.node_count(), graph.edge_count());
        });
        status
    }

    /// Calls a workflow with arguments on another thread, which passes the result as JSON to
    /// `done`. Dropping the returned value cancels the call.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use skylib::api::Workflow;
    /// use skylib::engine::{Engine, EngineOptions};
    ///
    /// let engine = Engine::start(EngineOptions::new("edge-01"))?;
    /// let sum = Workflow::new("Sum", "function (a, b) { return a + b }");
    /// let sum = engine.workflows().add(sum, None)?;
    /// let (send, result) = mpsc::channel();
    /// let done = move |result| drop(send.send(result));
    /// let call = engine.call_workflow(&sum.uuid, &[2.into(), 3.into()], done)?;
    /// assert_eq!(result.recv()??, "5");
    /// drop(call);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if no workflow has this ID, or if too many calls wait for a thread.
    #[cfg(feature = "scripting")]
    pub fn call_workflow(
        &self,
        id: &str,
        arguments: &[serde_json::Value],
        done: impl FnOnce(Result<String, ScriptError>) + Send + 'static,
    ) -> Result<WorkflowCall, ScriptError> {
        let unknown = || ScriptError::UnknownWorkflow(id.to_owned());
        let workflow = self.workflows().get(id).ok_or_else(unknown)?;
        self.0.scripts.call(&workflow, arguments, done)
    }

    /// Stops probes, captures, and threads, and waits until they have ended. The last flows of the
    /// captures reach the subscribers. A second call does nothing.
    pub fn stop(&self) {
        self.0.stop();
    }
}

#[cfg(feature = "scripting")]
impl WorkflowCaller for Engine {
    fn call(
        &self,
        workflow: &str,
        arguments: &[serde_json::Value],
        interrupt: &dyn Fn() -> bool,
    ) -> Result<String, WorkflowError> {
        let stored = self.workflows();
        let found = match stored.get(workflow) {
            Some(found) => found,
            None => {
                let all = stored.all();
                let all = all.map_err(|error| WorkflowError::Failed(error.to_string()))?;
                let mut named = all.into_iter().filter(|stored| stored.name == workflow);
                named.next().ok_or(WorkflowError::Unknown)?
            }
        };
        self.0.scripts.call_and_wait(&found, arguments, interrupt)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("role", &self.0.role)
            .field("host", &self.0.host)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
