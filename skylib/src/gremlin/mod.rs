//! Skydive's dialect of Gremlin: queries over the graph and its flows.
//!
//! A query is `G` followed by steps joined by dots. Each step works on the results of the previous
//! one: nodes, edges, paths, values, or flows. [`Query::parse`] parses and plans a query once;
//! [`Query::run_on`] then runs it any number of times on a graph and a source of flows.
//!
//! ```
//! use skylib::flow::FlowSet;
//! use skylib::graph::{Edge, Graph, Metadata, Node};
//! use skylib::gremlin::Query;
//! use skylib::time::Timestamp;
//!
//! let now = Timestamp::from_ms(1_700_000_000_000);
//! let mut graph = Graph::new();
//! for (id, kind) in [("br0", "bridge"), ("eth0", "device")] {
//!     let metadata = Metadata::from_iter([("Name", id), ("Type", kind)]);
//!     graph.add_node(Node::new(id, metadata, now))?;
//! }
//! let metadata = Metadata::from_iter([("RelationType", "layer2")]);
//! graph.add_edge(Edge::between("br0", "eth0", metadata, now))?;
//!
//! let query = Query::parse("G.V().Has('Type', 'bridge').Out().Values('Name')")?;
//! let answer = query.run_on(&graph, &FlowSet::default(), now)?;
//! assert_eq!(answer.to_string(), r#"["eth0"]"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | To | Call |
//! |---|---|
//! | run a query once or many times | [`Query::run_on`] |
//! | write a query in Rust, checked by the compiler | [`Graph::traversal`](crate::Graph::traversal), [`Traversal::run`] |
//! | set limits, history, packet filters, or an interrupt | [`Query::run`] with a [`Context`] |
//! | receive changes to an answer | [`LiveQuery::advance`](live::LiveQuery::advance) |
//! | see how a query was run | [`Query::explain`] |
//! | query a running engine (feature `engine`) | `Engine::query`, `Engine::live_client` |
//!
//! `docs/gremlin.md` is the user's guide to the language.
//!
//! A lexer and a parser convert the query to [`Step`]s (whose `Display` output is query syntax
//! again). The planner checks which steps fit together, merges filters and pages into the steps
//! that they narrow, and compiles filters. Untrusted queries are safe: length, number of steps,
//! nesting, and number of regular expressions are bounded when parsing; [`Limits`] and an interrupt
//! bound the run.

mod answer;
mod ast;
mod bitmap;
mod budget;
mod error;
mod explain;
mod go_format;
mod intermediate;
mod lexer;
pub mod live;
mod parser;
mod plan;
mod point_lookup;
mod predicate;
mod result_kind;
mod run;
mod scope;
mod step_params;
mod steps;
#[cfg(test)]
mod tests;
mod traversal;
mod warnings;
mod workflow;

use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;

#[cfg(feature = "history")]
pub use answer::ColumnFormat;
pub use answer::{Answer, DotStream, PcapStream};
pub use ast::{FlowNodes, Hierarchy, Param, Predicate, Step, Walk};
pub use budget::Limits;
pub use error::{QueryError, QueryErrorKind};
pub use explain::{Access, ExplainedAnswer, ExplainedOperation, ExplainedStep, Explanation};
pub use steps::metrics::{InterfaceMetric, Metric, Metrics};
pub(crate) use steps::next_hop::next_hop;
pub use steps::time::parse_time;
pub use traversal::{Conditions, GraphSource, Only, Traversal, markers};
pub use workflow::{WorkflowCaller, WorkflowError};

use self::budget::Budget;
use self::plan::{Operation, Plan};
use self::run::Run;
use crate::flow::{FlowSource, PacketFilterCompiler};
use crate::graph::history::{ActivitySource, History};
use crate::graph::{GraphAccess, GraphView};
use crate::memory::MemoryCharge;
use crate::time::{TimeSlice, Timestamp};

/// A parsed and planned query: immutable, and can run any number of times, also concurrently.
///
/// ```
/// use skylib::flow::FlowSet;
/// use skylib::graph::{Graph, GraphView};
/// use skylib::gremlin::{Answer, Context, Query};
/// use skylib::time::Timestamp;
///
/// let query: Query = "g.v().hAs('Type' 'bridge').count()".parse()?;
/// assert_eq!(query.to_string(), "G.V().Has('Type', 'bridge').Count()");
///
/// let (graph, flows) = (Graph::new(), FlowSet::default());
/// let view = GraphView::open(&graph);
/// let answer = query.run(&Context::new(&view, &flows, Timestamp::ZERO))?;
/// assert_eq!(answer, Answer::Number(0));
/// # Ok::<(), skylib::gremlin::QueryError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Query {
    text: String,
    /// Steps after the leading `G`, each with the byte offset in `text` at which it begins.
    steps: Vec<(Step, usize)>,
    plan: Plan,
}

impl Query {
    /// Parses and plans a query.
    ///
    /// ```
    /// use skylib::gremlin::Query;
    ///
    /// assert_eq!(Query::parse("G.V().Has('Name', 'eth0').Out()")?.steps().len(), 3);
    /// let error = Query::parse("G.V().Hass('Name')").unwrap_err();
    /// assert!(error.to_string().contains("Hass"), "{error}");
    /// # Ok::<(), skylib::gremlin::QueryError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the string is not a query. Some wrong parameters are reported only when
    /// the query runs.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let steps = parser::parse(text)?;
        let plan = Plan::new(text, &steps);
        Ok(Self {
            text: text.to_owned(),
            steps,
            plan,
        })
    }

    /// Plans steps that a [`Traversal`] built. Errors refer to their query syntax.
    fn from_steps(steps: Vec<Step>) -> Result<Self, QueryError> {
        let mut text = String::from("G");
        let with_offset = |step: Step| {
            let offset = text.len() + 1;
            text = format!("{text}.{step}");
            (step, offset)
        };
        let steps: Vec<(Step, usize)> = steps.into_iter().map(with_offset).collect();
        for (step, offset) in &steps {
            step_params::check(step).map_err(|message| {
                let error = QueryError::parse(message).at(&text, *offset);
                match step_params::usage(step.name()) {
                    Some(usage) => error.help(format!("expected `{usage}`")),
                    None => error,
                }
            })?;
        }
        let plan = Plan::new(&text, &steps);
        Ok(Self { text, steps, plan })
    }

    /// Returns the steps after the leading `G`.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = &Step> {
        self.steps.iter().map(|(step, _)| step)
    }

    /// Returns the names of the steps that can follow the query; empty if the query fails on every
    /// graph.
    ///
    /// ```
    /// use skylib::gremlin::Query;
    ///
    /// assert!(Query::parse("G.V()")?.next_steps().contains(&"Out"));
    /// assert_eq!(Query::parse("G.Flows().RawPackets()")?.next_steps(), ["BPF"]);
    /// assert!(Query::parse("G.V().BPF('')")?.next_steps().is_empty());
    /// # Ok::<(), skylib::gremlin::QueryError>(())
    /// ```
    #[must_use]
    pub const fn next_steps(&self) -> &'static [&'static str] {
        self.plan.followers
    }

    /// Returns whether the query reads stored packets, which contain data sent by hosts.
    ///
    /// ```
    /// use skylib::gremlin::Query;
    ///
    /// assert!(Query::parse("G.Flows().RawPackets().BPF('port 53')")?.reads_packets());
    /// assert!(!Query::parse("G.Flows().Has('Application', 'DNS')")?.reads_packets());
    /// # Ok::<(), skylib::gremlin::QueryError>(())
    /// ```
    #[must_use]
    pub fn reads_packets(&self) -> bool {
        self.steps()
            .any(|step| matches!(step, Step::RawPackets(_) | Step::Bpf(_)))
    }

    /// Returns whether the query calls a stored workflow, which may change resources.
    ///
    /// ```
    /// use skylib::gremlin::Query;
    ///
    /// assert!(Query::parse("G.Workflow('CheckMTU').V()")?.calls_workflows());
    /// assert!(!Query::parse("G.V()")?.calls_workflows());
    /// # Ok::<(), skylib::gremlin::QueryError>(())
    /// ```
    #[must_use]
    pub fn calls_workflows(&self) -> bool {
        self.steps().any(|step| matches!(step, Step::Workflow(..)))
    }

    /// Returns the earliest time in the past that the query reads; `None` if it reads only the
    /// present. The arguments have the same meaning as the fields `now` and `time_zone` of
    /// [`Context`].
    ///
    /// ```
    /// use skylib::gremlin::Query;
    /// use skylib::time::Timestamp;
    ///
    /// let (now, zone) = (Timestamp::from_ms(100_000), jiff::tz::TimeZone::UTC);
    /// let past = Query::parse("G.At('-30s').V()")?;
    /// assert_eq!(past.earliest_time(now, &zone), Some(Timestamp::from_ms(70_000)));
    /// assert_eq!(Query::parse("G.V()")?.earliest_time(now, &zone), None);
    /// # Ok::<(), skylib::gremlin::QueryError>(())
    /// ```
    #[must_use]
    pub fn earliest_time(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let times = self.past_times(now, zone);
        times.iter().map(|time| time.start).min()
    }

    /// Returns the times in the past that the query reads, with the arguments of
    /// [`Query::earliest_time`].
    pub(crate) fn past_times(&self, now: Timestamp, zone: &TimeZone) -> Vec<TimeSlice> {
        let operations = self.plan.operations.iter();
        let times = operations.filter_map(|(operation, _)| match operation {
            Operation::Time(time) => Some(time.resolve(now, zone).slice()),
            _ => None,
        });
        times.collect()
    }

    /// Returns whether the query reads flows.
    #[must_use]
    pub fn reads_flows(&self) -> bool {
        self.steps().any(|step| matches!(step, Step::Flows(_)))
    }

    /// Runs the query on a graph and a source of flows, with default limits and without history.
    /// `NOW` and durations in the query are relative to `now`.
    ///
    /// ```
    /// use skylib::Graph;
    /// use skylib::flow::FlowSet;
    /// use skylib::gremlin::{Answer, Query};
    /// use skylib::time::Timestamp;
    ///
    /// let query = Query::parse("G.V().Count()")?;
    /// let answer = query.run_on(&Graph::new(), &FlowSet::default(), Timestamp::ZERO)?;
    /// assert_eq!(answer, Answer::Number(0));
    /// # Ok::<(), skylib::gremlin::QueryError>(())
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`Query::run`].
    pub fn run_on(
        &self,
        graph: &dyn GraphAccess,
        flows: &dyn FlowSource,
        now: Timestamp,
    ) -> Result<Answer, QueryError> {
        self.run(&Context::new(&GraphView::open(graph), flows, now))
    }

    /// Runs the query on the data and with the limits of a context.
    ///
    /// # Errors
    /// Returns an error if the query is invalid on this graph, exceeds a limit, or is interrupted;
    /// see [`QueryErrorKind`].
    pub fn run(&self, context: &Context<'_>) -> Result<Answer, QueryError> {
        let budget = context.budget();
        self.on_its_graph(context, &budget, |context, first| {
            Run::new(self, first, context, &budget, None).answer().0
        })
        .flatten()
    }

    /// Adds the position of a step to an error.
    fn located(&self, error: QueryError, step: usize) -> QueryError {
        match self.steps.get(step) {
            Some((step, offset)) => error
                .at(&self.text, *offset)
                .help(format!("in `{}`", step.name())),
            None => error,
        }
    }
}

impl FromStr for Query {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        Self::parse(text)
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("G")?;
        self.steps().try_for_each(|step| write!(f, ".{step}"))
    }
}

/// The data that a query runs on, and the limits of the run.
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// use skylib::flow::FlowSet;
/// use skylib::graph::{Graph, GraphView};
/// use skylib::gremlin::{Context, Limits, Query, QueryErrorKind};
/// use skylib::time::Timestamp;
///
/// let (graph, flows) = (Graph::new(), FlowSet::default());
/// let view = GraphView::open(&graph);
/// let is_canceled = AtomicBool::new(true);
/// let interrupt = || is_canceled.load(Ordering::Relaxed);
/// let context = Context::new(&view, &flows, Timestamp::ZERO)
///     .with_limits(Limits::default().with_max_elements(1000))
///     .with_interrupt(&interrupt);
/// let error = Query::parse("G.V()")?.run(&context).unwrap_err();
/// assert_eq!(error.kind(), QueryErrorKind::Interrupted);
/// # Ok::<(), skylib::gremlin::QueryError>(())
/// ```
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Context<'a> {
    /// Snapshot of the graph.
    pub view: &'a GraphView<'a>,
    /// History of the graph; `None` makes `At` and `Context` fail.
    pub history: Option<&'a dyn History>,
    /// Events of captures, alerts, and rules, which `Changes` lists; `None` for none.
    pub activities: Option<&'a dyn ActivitySource>,
    /// Source of flows.
    pub flows: &'a dyn FlowSource,
    /// Compiler of BPF filters; `None` makes `BPF` fail.
    pub packet_filters: Option<&'a dyn PacketFilterCompiler>,
    /// Caller of stored workflows; `None` makes `Workflow` fail.
    pub workflows: Option<&'a dyn WorkflowCaller>,
    /// Time that `NOW` and durations refer to.
    pub now: Timestamp,
    /// Time zone of dates and times of day that name none; `None` for UTC.
    pub time_zone: Option<&'a TimeZone>,
    /// Limits of one run.
    pub limits: Limits,
    /// Charge that grows with the memory of the run, and then shrinks to that of the answer. The
    /// query ends with [`QueryErrorKind::Memory`] when the charge's budget is exhausted; `None`
    /// charges nothing.
    pub memory: Option<&'a MemoryCharge>,
    /// Function polled about every 256 elements; the query ends with
    /// [`QueryErrorKind::Interrupted`] once it returns `true`.
    pub interrupt: Option<&'a (dyn Fn() -> bool + Sync)>,
}

impl<'a> Context<'a> {
    /// Creates a context with default limits, without history, BPF filters, and interrupt.
    #[must_use]
    pub fn new(view: &'a GraphView<'a>, flows: &'a dyn FlowSource, now: Timestamp) -> Self {
        Self {
            view,
            history: None,
            activities: None,
            packet_filters: None,
            workflows: None,
            flows,
            now,
            time_zone: None,
            limits: Limits::default(),
            memory: None,
            interrupt: None,
        }
    }

    /// Sets the history that `At` and `Context` read.
    ///
    /// ```
    /// use skylib::flow::FlowSet;
    /// use skylib::graph::history::{History, HistoryLimits, MemoryHistory};
    /// use skylib::graph::{Graph, GraphView, Metadata, Node, NodeId};
    /// use skylib::gremlin::{Answer, Context, Query};
    /// use skylib::time::Timestamp;
    /// let history = MemoryHistory::new(HistoryLimits::default());
    /// let mut graph = Graph::new().with_journal();
    /// let at = |s: i64| Timestamp::from_ms(s * 1000);
    /// graph.add_node(Node::new("eth0", Metadata::new(), at(100)))?;
    /// graph.delete_node(&NodeId::from("eth0"), at(200))?;
    /// history.record(&graph.take_events(), at(200));
    ///
    /// let view = GraphView::open(&graph);
    /// let flows = FlowSet::default();
    /// let context = Context::new(&view, &flows, at(300)).with_history(&history);
    /// let count = |text: &str| Query::parse(text)?.run(&context);
    /// assert_eq!(count("G.V().Count()")?, Answer::Number(0));
    /// assert_eq!(count("G.At(150).V().Count()")?, Answer::Number(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn with_history(self, history: &'a dyn History) -> Self {
        Self {
            history: Some(history),
            ..self
        }
    }

    /// Sets the compiler of packet filters for `BPF`.
    #[must_use]
    pub const fn with_packet_filters(self, filters: &'a dyn PacketFilterCompiler) -> Self {
        Self {
            packet_filters: Some(filters),
            ..self
        }
    }

    /// Sets the time zone of dates and times of day that name none, as in `At('14:05')`.
    #[must_use]
    pub const fn with_time_zone(self, zone: &'a TimeZone) -> Self {
        Self {
            time_zone: Some(zone),
            ..self
        }
    }

    /// Sets the limits of one run.
    ///
    /// ```
    /// use skylib::flow::FlowSet;
    /// use skylib::graph::{Graph, GraphView, Metadata, Node};
    /// use skylib::gremlin::{Context, Limits, Query};
    /// use skylib::time::Timestamp;
    ///
    /// let mut graph = Graph::new();
    /// graph.add_node(Node::new("eth0", Metadata::new(), Timestamp::ZERO))?;
    /// let (view, flows) = (GraphView::open(&graph), FlowSet::default());
    /// let mut limits = Limits::default();
    /// limits.max_bytes = 1;
    /// let context = Context::new(&view, &flows, Timestamp::ZERO).with_limits(limits);
    /// assert!(Query::parse("G.V()")?.run(&context).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Sets the charge for the memory of one run and its answer.
    #[must_use]
    pub const fn with_memory(self, memory: &'a MemoryCharge) -> Self {
        Self {
            memory: Some(memory),
            ..self
        }
    }

    /// Sets the function that interrupts the query by returning `true`.
    #[must_use]
    pub const fn with_interrupt(self, interrupt: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self {
            interrupt: Some(interrupt),
            ..self
        }
    }

    /// Returns the time zone of dates and times of day that name none.
    fn time_zone(&self) -> &'a TimeZone {
        static UTC: TimeZone = TimeZone::UTC;
        self.time_zone.unwrap_or(&UTC)
    }

    /// Sets the events of captures, alerts, and rules.
    #[must_use]
    pub const fn with_activities(self, activities: &'a dyn ActivitySource) -> Self {
        Self {
            activities: Some(activities),
            ..self
        }
    }

    /// Returns the budget of one run.
    fn budget(&self) -> Budget<'a> {
        let interrupt = self.interrupt.unwrap_or(&|| false);
        Budget::new(self.limits, interrupt, self.memory)
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({:?}, now {:?})", self.view, self.now)
    }
}
