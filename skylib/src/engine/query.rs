//! `QueryRunner`: runs queries on the shared graph and the flows of all captures.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::flow::{FlowHub, QueryWarnings};
use super::graph::SharedGraph;
use crate::api::NodeFinder;
use crate::capture::BpfCompiler;
use crate::graph::{GraphView, Node};
use crate::gremlin::live::{LiveQuery, Update};
use crate::gremlin::{
    Answer, Context, Explanation, Limits, Query, QueryError, QueryErrorKind, Traversal,
    WorkflowCaller,
};
use crate::memory::MemoryCharge;
use crate::store::ActivityLog;
use crate::time::{Clock, TimeSlice, Timestamp};

/// Options of one query: cancellation and limits.
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use skylib::engine::{Engine, EngineOptions, QueryOptions};
///
/// let engine = Engine::start(EngineOptions::new("edge-01"))?;
/// let is_canceled = AtomicBool::new(true);
/// let interrupt = || is_canceled.load(Ordering::Relaxed);
/// let options = QueryOptions::default().with_interrupt(&interrupt);
/// assert!(engine.query_with("G.V().Count()", options).is_err());
/// # Ok::<(), skylib::Error>(())
/// ```
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub struct QueryOptions<'a> {
    interrupt: Option<&'a (dyn Fn() -> bool + Sync)>,
    limits: Option<Limits>,
    memory: Option<&'a MemoryCharge>,
    client: Option<&'a str>,
    warnings: Option<&'a QueryWarnings>,
    workflows: Option<&'a dyn WorkflowCaller>,
}

impl<'a> QueryOptions<'a> {
    /// Sets a function that is called regularly and cancels the query by returning `true`.
    #[must_use]
    pub fn with_interrupt(mut self, interrupt: &'a (dyn Fn() -> bool + Sync)) -> Self {
        self.interrupt = Some(interrupt);
        self
    }

    /// Sets the limits, replacing the engine's limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Sets the charge for the memory of the query; after the query, it covers the memory of the
    /// answer.
    #[must_use]
    pub fn with_memory(mut self, memory: &'a MemoryCharge) -> Self {
        self.memory = Some(memory);
        self
    }

    /// Sets the name of the client for which the query runs; at any time, only one packet filter of
    /// each client is compiled.
    #[must_use]
    pub fn with_client(mut self, client: &'a str) -> Self {
        self.client = Some(client);
        self
    }

    /// Sets the receiver of warnings about data that is missing in the answer: flows of agents that
    /// did not answer in time, and times of the past whose files were found damaged.
    #[must_use]
    pub fn with_warnings(mut self, warnings: &'a QueryWarnings) -> Self {
        self.warnings = Some(warnings);
        self
    }

    /// Sets the caller of stored workflows, usually the engine; without one, the step `Workflow` fails.
    ///
    /// A workflow may change resources: set it only for a client who may call workflows. Queries of
    /// workflows have none, so that a workflow cannot call itself.
    #[must_use]
    pub fn with_workflows(mut self, workflows: &'a dyn WorkflowCaller) -> Self {
        self.workflows = Some(workflows);
        self
    }

    /// Returns the name of the client.
    pub(super) const fn client(&self) -> Option<&'a str> {
        self.client
    }

    /// Returns whether the query must be canceled.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupt.is_some_and(|interrupt| interrupt())
    }
}

impl fmt::Debug for QueryOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryOptions")
            .field("interrupt", &self.interrupt.is_some())
            .field("limits", &self.limits)
            .field("memory", &self.memory)
            .field("client", &self.client)
            .field("workflows", &self.workflows.is_some())
            .finish()
    }
}

/// Parts of an engine that are needed to run a query; cheap to clone.
#[derive(Clone)]
pub(crate) struct QueryRunner {
    pub(crate) graph: Arc<SharedGraph>,
    pub(crate) flows: Arc<FlowHub>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Time zone of dates and times of day that name none.
    pub(crate) time_zone: TimeZone,
    pub(crate) limits: Limits,
    pub(crate) filters: BpfCompiler,
    /// Events of resources, and of alerts that have fired.
    pub(crate) activities: Arc<ActivityLog>,
}

impl QueryRunner {
    /// Runs a query on a view of the graph. Steps that read the past use the history, regardless of
    /// the view.
    pub(super) fn run(
        &self,
        view: &GraphView<'_>,
        query: &Query,
        options: QueryOptions<'_>,
    ) -> Result<Answer, QueryError> {
        let warnings = options.warnings;
        // Read before the query, to which relative times refer.
        let now = self.clock.now();
        let answer = self.with_context(view, options, |context| query.run(context));
        if let Some(warnings) = warnings {
            warnings.add(self.damage_warnings(query, now));
        }
        answer
    }

    /// Returns a warning for each time that is missing in the answer to a query of the past, because
    /// its file was found damaged.
    fn damage_warnings(&self, query: &Query, now: Timestamp) -> Vec<String> {
        let history = self.graph.history();
        let flows = self.flows.store().filter(|_| query.reads_flows());
        let times = query.past_times(now, &self.time_zone);
        let damaged = times.into_iter().flat_map(|time| {
            let of_graph = history.map_or_else(Vec::new, |history| history.damaged(time));
            let of_flows = flows.map_or_else(Vec::new, |flows| flows.damaged(time));
            of_graph.into_iter().chain(of_flows)
        });
        let warning = |damaged: TimeSlice| {
            let (start, last) = (damaged.start.to_rfc3339(), damaged.last.to_rfc3339());
            format!("history: {start} to {last} is damaged; the answer lacks records of this time")
        };
        damaged.map(warning).collect()
    }

    /// Runs a query, and returns how it was executed.
    pub(super) fn explain(
        &self,
        view: &GraphView<'_>,
        query: &Query,
        options: QueryOptions<'_>,
    ) -> Explanation {
        let mut explanation = self.with_context(view, options, |context| {
            query.explain_timed(context, &*self.clock)
        });
        explanation.history_begins = self.history_begins(query);
        explanation
    }

    /// Returns the time since which the past that a query reads is complete, if the query reads an
    /// earlier time.
    pub(super) fn history_begins(&self, query: &Query) -> Option<Timestamp> {
        let now = self.clock.now();
        let earliest = query.earliest_time(now, &self.time_zone)?;
        // Without any record, nothing is known about the past.
        let of_graph = || Some(self.graph.history()?.status().oldest.unwrap_or(now));
        let begins = if query.reads_flows() {
            // A store without flows is complete since the daemon began to record the graph.
            self.flows.store()?.status().oldest.or_else(of_graph)
        } else {
            of_graph()
        };
        let begins = begins.map(|begins| Timestamp::from_ms(begins.as_ms()));
        begins.filter(|begins| earliest < *begins)
    }

    /// Runs a live query again; its answer may have at most `max_items` items.
    pub(super) fn refresh(
        &self,
        view: &GraphView<'_>,
        query: &mut LiveQuery,
        max_items: usize,
        options: QueryOptions<'_>,
    ) -> Result<Option<Update>, QueryError> {
        let max = self.limits.max_elements.min(max_items);
        let options = options.with_limits(self.limits.with_max_elements(max));
        self.with_context(view, options, |context| query.refresh(context))
    }

    /// Calls a function with the context of a query.
    fn with_context<T>(
        &self,
        view: &GraphView<'_>,
        options: QueryOptions<'_>,
        run: impl FnOnce(&Context<'_>) -> T,
    ) -> T {
        let interrupt = options.interrupt.unwrap_or(&|| false);
        let flows = self.flows.reader(interrupt);
        let flows = flows.with_warnings(options.warnings);
        let filters = options.client.map_or_else(
            || self.filters.clone(),
            |client| self.filters.for_client(client),
        );
        run(&Context {
            view,
            history: self.graph.history(),
            activities: Some(&*self.activities),
            packet_filters: Some(&filters),
            workflows: options.workflows,
            flows: &flows,
            now: self.clock.now(),
            time_zone: Some(&self.time_zone),
            limits: options.limits.unwrap_or(self.limits),
            memory: options.memory,
            interrupt: options.interrupt,
        })
    }
}

impl QueryRunner {
    /// Returns the nodes that a query finds, for a thread or a client that waits for them; none if it
    /// returns something else.
    ///
    /// # Errors
    /// Returns an error if the query fails or takes longer than [`NODES_TIMEOUT`].
    pub(super) fn nodes(&self, query: &Query) -> Result<Vec<Arc<Node>>, QueryError> {
        match self.answer(query)? {
            Answer::Nodes(nodes) => Ok(nodes),
            _ => Ok(Vec::new()),
        }
    }

    fn answer(&self, query: &Query) -> Result<Answer, QueryError> {
        let started = self.clock.now();
        let is_late = || self.clock.now().duration_since(started) >= NODES_TIMEOUT;
        let options = QueryOptions::default().with_interrupt(&is_late);
        self.run(&self.graph.view(), query, options)
    }
}

/// Returns the reason why [`QueryRunner::nodes`] has failed.
pub(super) fn reason_of(error: &QueryError) -> String {
    match error.kind() {
        QueryErrorKind::Interrupted => format!("the query takes longer than {NODES_TIMEOUT:?}"),
        _ => error.to_string(),
    }
}

/// Returns whether a query can never succeed on this graph, regardless of time and memory.
fn is_permanent(error: &QueryError) -> bool {
    matches!(
        error.kind(),
        QueryErrorKind::Parse | QueryErrorKind::Execute
    )
}

impl NodeFinder for QueryRunner {
    fn first_node(&self, query: &str) -> Result<Option<Arc<Node>>, String> {
        let found = Query::parse(query).and_then(|query| self.nodes(&query));
        match found {
            Ok(nodes) => Ok(nodes.into_iter().next()),
            // COMPAT: Python client, JavaScript; the API reports an invalid query, and a node that
            // does not exist, like an empty result.
            Err(error) if is_permanent(&error) => Ok(None),
            Err(error) => Err(reason_of(&error)),
        }
    }

    /// Applies the routing rules of the namespace, as the step `NextHop` does.
    fn next_hop_mac(&self, node: &Node, destination: IpAddr) -> Option<String> {
        let traversal = Traversal::new().v_id(node.id.to_string().as_str());
        let query = traversal.next_hop(destination).query().ok()?;
        let Answer::NextHops(hops) = self.answer(&query).ok()? else {
            return None;
        };
        let (_, hop) = hops.into_iter().next()?;
        Some(hop.as_map()?.get("MAC")?.as_text()?.to_owned())
    }
}

/// Maximum duration of a query on which the creation of a resource waits.
const NODES_TIMEOUT: Duration = Duration::from_secs(5);
