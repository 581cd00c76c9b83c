//! The query language: questions about the graph and the flows in it, in one line.
//!
//! A query is `G` and steps joined by dots, each working on what the one before found: nodes,
//! edges, paths, values, flows. [`Query::parse`] reads it and makes a plan, once; [`Query::run`]
//! answers it, as often as needed, from a view of a graph and a source of flows.
//!
//! ```
//! use skylib::flow::{FlowQuery, FlowQueryError, FlowSet, FlowSource};
//! use skylib::gremlin::{Answer, Context, Query};
//! use skylib::graph::{Edge, Graph, GraphView, Metadata, Node};
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
//! struct NoFlows;
//! impl FlowSource for NoFlows {
//!     fn query(&self, _: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
//!         Ok(FlowSet::default())
//!     }
//! }
//!
//! let query = Query::parse("G.V().Has('Type', 'bridge').Out().Values('Name')")?;
//! let view = GraphView::open(&graph);
//! let answer = query.run(&Context::new(&view, &NoFlows, now))?;
//! let mut json = Vec::new();
//! answer.write_json(&mut json)?;
//! assert_eq!(json, br#"["eth0"]"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Traversal`] is the same in Rust instead of text, [`Query::explain`] tells how a query is
//! answered, [`live`] how its answer is followed; `docs/gremlin.md` is the guide for users.
//!
//! The text goes through a lexer and a parser to [`Step`]s (which print as query text again), the
//! steps to a plan: which of them fit together, what is absorbed by what, filters compiled. Hostile
//! queries are bounded in length, steps, nesting and patterns when parsed, and by [`Limits`] and an
//! interrupt when they run.

mod answer;
mod ast;
mod budget;
mod error;
mod explain;
mod go_format;
mod intermediate;
mod lexer;
pub mod live;
mod number_set;
mod parser;
mod plan;
mod point_lookup;
mod predicate;
mod result_kind;
mod run;
mod scope;
mod source;
mod step_params;
mod steps;
#[cfg(test)]
mod tests;
pub mod traversal;

use std::fmt;
use std::str::FromStr;

pub use answer::Answer;
pub use ast::{FlowNodes, Hierarchy, Param, Predicate, Step, Walk};
pub use budget::Limits;
pub use error::{QueryError, QueryErrorKind};
pub use explain::{Access, ExplainedAnswer, ExplainedOperation, ExplainedStep, Explanation};
pub use steps::metrics::{InterfaceMetric, Metric, Metrics};
pub(crate) use steps::next_hop::next_hop;
pub use traversal::{Conditions, Only, Traversal};

use self::plan::Plan;
use self::run::Run;
use crate::flow::{FlowSource, PacketFilterCompiler};
use crate::graph::GraphView;
use crate::graph::history::History;
use crate::time::Timestamp;

/// A parsed query: immutable, shared among threads, run as often as needed.
///
/// ```
/// use skylib::gremlin::Query;
/// let query: Query = "g.v().hAs('Type' 'bridge')".parse()?;
/// assert_eq!(query.to_string(), "G.V().Has('Type', 'bridge')");
/// # Ok::<(), skylib::gremlin::QueryError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Query {
    text: String,
    /// Each with the byte of the text it begins at.
    steps: Vec<(Step, usize)>,
    plan: Plan,
}

impl Query {
    /// Parses a query.
    ///
    /// # Errors
    /// A text that is no query; some wrong parameters only show when the query runs.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let steps = parser::parse(text)?;
        let plan = Plan::new(text, &steps);
        Ok(Self {
            text: text.to_owned(),
            steps,
            plan,
        })
    }

    /// Plans steps that were not made of text; their text stands for them in errors.
    fn from_steps(steps: Vec<Step>) -> Result<Self, QueryError> {
        let mut text = String::from("G");
        let place = |step: Step| {
            let offset = text.len() + 1;
            text = format!("{text}.{step}");
            (step, offset)
        };
        let steps: Vec<(Step, usize)> = steps.into_iter().map(place).collect();
        for (step, offset) in &steps {
            step_params::again(step).map_err(|message| {
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

    /// The steps after the leading `G`.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = &Step> {
        self.steps.iter().map(|(step, _)| step)
    }

    /// Answers the query.
    ///
    /// # Errors
    /// See [`QueryErrorKind`].
    pub fn run(&self, context: &Context<'_>) -> Result<Answer, QueryError> {
        Run::new(self, context, None).answer().0
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

/// What a query runs on.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The graph.
    pub view: &'a GraphView<'a>,
    /// The graph's past; without one a query cannot ask for it.
    pub history: Option<&'a dyn History>,
    /// The flows.
    pub flows: &'a dyn FlowSource,
    /// Makes the packet filters of `BPF`; without it a query cannot ask for them.
    pub packet_filters: Option<&'a dyn PacketFilterCompiler>,
    /// The time that `NOW` and durations mean.
    pub now: Timestamp,
    /// What the query may take.
    pub limits: Limits,
    /// Asked every now and then; the query gives up when it answers true.
    pub interrupt: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Context<'a> {
    /// A context with the default limits and nobody who interrupts.
    #[must_use]
    pub fn new(view: &'a GraphView<'a>, flows: &'a dyn FlowSource, now: Timestamp) -> Self {
        Self {
            view,
            history: None,
            packet_filters: None,
            flows,
            now,
            limits: Limits::default(),
            interrupt: &|| false,
        }
    }

    /// With a past, for `At` and `Context`.
    ///
    /// ```
    /// use skylib::flow::FlowSet;
    /// use skylib::graph::history::{History, HistoryLimits, MemoryHistory};
    /// use skylib::graph::{Graph, GraphView, Metadata, Node, NodeId};
    /// use skylib::gremlin::{Answer, Context, Query};
    /// use skylib::time::Timestamp;
    /// # use skylib::flow::{FlowQuery, FlowQueryError, FlowSource};
    /// # struct NoFlows;
    /// # impl FlowSource for NoFlows {
    /// #     fn query(&self, _: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
    /// #         Ok(FlowSet::default())
    /// #     }
    /// # }
    /// let history = MemoryHistory::new(HistoryLimits::default());
    /// let mut graph = Graph::new().with_journal();
    /// let at = |s: i64| Timestamp::from_ms(s * 1000);
    /// graph.add_node(Node::new("eth0", Metadata::new(), at(100)))?;
    /// graph.delete_node(&NodeId::from("eth0"), at(200))?;
    /// history.record(&graph.take_events(), at(200));
    ///
    /// let view = GraphView::open(&graph);
    /// let context = Context::new(&view, &NoFlows, at(300)).with_history(&history);
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

    /// With somebody who makes packet filters, for `BPF`.
    #[must_use]
    pub const fn with_packet_filters(self, filters: &'a dyn PacketFilterCompiler) -> Self {
        Self {
            packet_filters: Some(filters),
            ..self
        }
    }

    /// With these limits.
    #[must_use]
    pub const fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// With somebody who may interrupt.
    #[must_use]
    pub const fn with_interrupt(self, interrupt: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self { interrupt, ..self }
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({:?}, now {:?})", self.view, self.now)
    }
}
