//! `Traversal`: a query written in Rust instead of text, with the same steps and the same plan.
//!
//! The type says what a traversal has found so far ([`on`]), so that only steps that can follow
//! compile. Each method is the step of its name; where a step takes a filter, `…_where` does.
//!
//! ```
//! use skylib::graph::{Edge, Graph, Metadata, Node};
//! use skylib::gremlin::{Answer, Predicate};
//! use skylib::time::Timestamp;
//!
//! let now = Timestamp::from_ms(1_700_000_000_000);
//! let mut graph = Graph::new();
//! for (id, kind, mtu) in [("br0", "bridge", 1500), ("eth0", "device", 9000)] {
//!     let mut metadata = Metadata::from_iter([("Name", id), ("Type", kind)]);
//!     metadata.set("MTU", mtu);
//!     graph.add_node(Node::new(id, metadata, now))?;
//! }
//! graph.add_edge(Edge::between("br0", "eth0", Metadata::new(), now))?;
//!
//! let ports = graph.traversal().v().has("Type", "bridge").out();
//! let large = ports.has("MTU", Predicate::gt(1500)).count();
//! assert_eq!(
//!     large.to_string(),
//!     "G.V().Has('Type', 'bridge').Out().Has('MTU', Gt(1500)).Count()"
//! );
//! assert_eq!(large.run(now)?, Answer::Number(1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Without a graph, [`Traversal::new`] writes queries to run later, or to send elsewhere:
//!
//! ```
//! use skylib::Traversal;
//! use skylib::gremlin::Query;
//! let built = Traversal::new().v().has("Type", "bridge").out().limit(3).query()?;
//! let parsed = Query::parse("G.V().Has('Type', 'bridge').Out().Limit(3)")?;
//! assert_eq!(built.to_string(), parsed.to_string());
//! # Ok::<(), skylib::gremlin::QueryError>(())
//! ```
//!
//! A step that cannot follow does not compile:
//!
//! ```compile_fail,E0599
//! skylib::Traversal::new().e().values("Name"); // edges have no `Values`
//! ```

mod conditions;
mod elements;
mod flows;
pub mod markers;
mod nodes;

use std::fmt;
use std::marker::PhantomData;

pub use conditions::{Conditions, Only};

use super::ast::{Param, Step};
use super::{Answer, Context, Query, QueryError};
use crate::flow::{FlowSet, FlowSource};
use crate::graph::{Graph, GraphAccess, GraphView};
use crate::time::Timestamp;
use crate::value::Text;

/// A query in the making: `K` is what it has found so far, `S` the graph it is about (`()`: none).
///
/// See the [module](self) for examples.
#[derive(Clone)]
#[must_use = "a traversal does nothing until it runs"]
pub struct Traversal<K = markers::Graph, S = ()> {
    steps: Vec<Step>,
    source: S,
    kind: PhantomData<fn() -> K>,
}

/// The graph that a traversal is about.
pub type Source<'g> = &'g dyn GraphAccess;

impl Traversal {
    /// A traversal that is about no graph yet: the text `G`.
    pub const fn new() -> Self {
        Self {
            steps: Vec::new(),
            source: (),
            kind: PhantomData,
        }
    }
}

impl Default for Traversal {
    fn default() -> Self {
        Self::new()
    }
}

impl<'g> Traversal<markers::Graph, Source<'g>> {
    /// A traversal of a graph, shared or not.
    pub fn of(graph: Source<'g>) -> Self {
        Self {
            steps: Vec::new(),
            source: graph,
            kind: PhantomData,
        }
    }
}

impl Graph {
    /// A query about this graph, written in Rust.
    ///
    /// ```
    /// use skylib::Graph;
    /// use skylib::gremlin::Answer;
    /// use skylib::time::Timestamp;
    /// let answer = Graph::new().traversal().v().count().run(Timestamp::ZERO)?;
    /// assert_eq!(answer, Answer::Number(0));
    /// # Ok::<(), skylib::gremlin::QueryError>(())
    /// ```
    pub fn traversal(&self) -> Traversal<markers::Graph, Source<'_>> {
        Traversal::of(self)
    }
}

impl<K, S> Traversal<K, S> {
    /// The query, planned.
    ///
    /// # Errors
    /// Filters of flow and hierarchy steps that no value can satisfy (`Predicate::lt("x")`), which
    /// the text form refuses as well; other wrong parameters only show when the query runs.
    pub fn query(&self) -> Result<Query, QueryError> {
        Query::from_steps(self.steps.clone())
    }

    /// The same steps with one more, which finds something else.
    fn then<T>(mut self, step: Step) -> Traversal<T, S> {
        self.steps.push(step);
        Traversal {
            steps: self.steps,
            source: self.source,
            kind: PhantomData,
        }
    }
}

impl<K> Traversal<K, Source<'_>> {
    /// Answers from the graph alone, as if no flow were known; `now` is what `NOW` and durations
    /// mean.
    ///
    /// # Errors
    /// See [`QueryErrorKind`](super::QueryErrorKind).
    pub fn run(&self, now: Timestamp) -> Result<Answer, QueryError> {
        self.run_with(&FlowSet::default(), now)
    }

    /// Answers from the graph and a source of flows.
    ///
    /// ```
    /// use skylib::Graph;
    /// use skylib::flow::{Flow, FlowSet};
    /// use skylib::gremlin::Answer;
    /// use skylib::time::Timestamp;
    /// let flows = FlowSet::from_flows(vec![Flow::default()]);
    /// let graph = Graph::new();
    /// let answer = graph.traversal().flows().count().run_with(&flows, Timestamp::ZERO)?;
    /// assert_eq!(answer, Answer::Number(1));
    /// # Ok::<(), skylib::gremlin::QueryError>(())
    /// ```
    ///
    /// # Errors
    /// See [`QueryErrorKind`](super::QueryErrorKind).
    pub fn run_with(&self, flows: &dyn FlowSource, now: Timestamp) -> Result<Answer, QueryError> {
        let view = GraphView::open(self.source);
        self.query()?.run(&Context::new(&view, flows, now))
    }
}

/// The query as text. A string that holds a quote or a NUL has no form in the language, though the
/// traversal itself can look for it.
impl<K, S> fmt::Display for Traversal<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("G")?;
        self.steps.iter().try_for_each(|step| write!(f, ".{step}"))
    }
}

impl<K, S> fmt::Debug for Traversal<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Traversal({self})")
    }
}

/// From the graph.
///
/// ```
/// use skylib::Traversal;
/// use skylib::gremlin::Param;
/// let g = Traversal::new;
/// for (traversal, text) in [
///     (g().v().to_string(), "G.V()"),
///     (g().v_id("br0").to_string(), "G.V('br0')"),
///     (g().e().to_string(), "G.E()"),
///     (g().e_id("e1").to_string(), "G.E('e1')"),
///     (g().at("-1h").v().to_string(), "G.At('-1h').V()"),
///     (g().at_for(Param::Now, 60).flows().to_string(), "G.At(NOW, 60).Flows()"),
///     (g().flows_where(("Application", "DNS")).to_string(), "G.Flows('Application', 'DNS')"),
///     (g().workflow("check", ["a"]).to_string(), "G.Workflow('check', 'a')"),
/// ] {
///     assert_eq!(traversal, text);
/// }
/// ```
impl<S> Traversal<markers::Graph, S> {
    /// `V()`: all nodes.
    pub fn v(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::V(None))
    }

    /// `V(id)`: one node; running fails where there is none.
    pub fn v_id(self, id: impl Into<Text>) -> Traversal<markers::Nodes, S> {
        self.then(Step::V(Some(id.into())))
    }

    /// `E()`: all edges.
    pub fn e(self) -> Traversal<markers::Edges, S> {
        self.then(Step::E(None))
    }

    /// `E(id)`: one edge; running fails where there is none.
    pub fn e_id(self, id: impl Into<Text>) -> Traversal<markers::Edges, S> {
        self.then(Step::E(Some(id.into())))
    }

    /// `At(instant)`: the graph at an instant: seconds since 1970 (above 2147483647:
    /// milliseconds), a date in RFC 1123 form, a duration from now (`"-1h"`), or [`Param::Now`].
    pub fn at(self, instant: impl Into<Param>) -> Self {
        self.then(Step::At(vec![instant.into()]))
    }

    /// `At(instant, duration)`: every state in the time up to an instant; the duration in seconds,
    /// as text (`"5m"`), or [`Param::Forever`].
    pub fn at_for(self, instant: impl Into<Param>, duration: impl Into<Param>) -> Self {
        self.then(Step::At(vec![instant.into(), duration.into()]))
    }

    /// `Flows()`: all flows.
    pub fn flows(self) -> Traversal<markers::Flows, S> {
        self.then(Step::Flows(Vec::new()))
    }

    /// `Flows(key, value, …)`: the flows that satisfy conditions.
    pub fn flows_where(self, conditions: impl Into<Conditions>) -> Traversal<markers::Flows, S> {
        self.then(Step::Flows(conditions.into().into_params()))
    }

    /// `Workflow(name, argument, …)`: what a stored workflow answers.
    pub fn workflow<P: Into<Param>>(
        self,
        name: impl Into<Text>,
        arguments: impl IntoIterator<Item = P>,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        self.then(Step::Workflow(name.into(), arguments))
    }
}

#[cfg(test)]
mod tests;
