//! `Traversal`: a typed builder of queries, with the same steps and the same plan as a parsed
//! query.

mod conditions;
mod elements;
mod flows;
mod generic;
pub mod markers;
mod nodes;

use std::fmt;
use std::marker::PhantomData;

pub use conditions::{Conditions, Only};

use super::ast::{Param, Step};
use super::{Answer, Query, QueryError};
use crate::flow::{FlowSet, FlowSource};
use crate::graph::{Graph, GraphAccess};
use crate::time::Timestamp;
use crate::value::Text;

/// A query under construction, written in Rust instead of a string.
///
/// `K` is the kind of result that the steps so far produce (see [`markers`]): a step that cannot
/// follow does not compile. `S` is the graph on which the query runs; `()` means none. Each method
/// appends the step with its name; the `…_where` form of a method takes a filter.
///
/// ```
/// use skylib::graph::{Edge, Graph, Metadata, Node};
/// use skylib::gremlin::{Answer, Predicate};
/// use skylib::time::Timestamp;
///
/// let now = Timestamp::from_ms(1_700_000_000_000);
/// let mut graph = Graph::new();
/// for (id, kind, mtu) in [("br0", "bridge", 1500), ("eth0", "device", 9000)] {
///     let mut metadata = Metadata::from_iter([("Name", id), ("Type", kind)]);
///     metadata.set("MTU", mtu);
///     graph.add_node(Node::new(id, metadata, now))?;
/// }
/// graph.add_edge(Edge::between("br0", "eth0", Metadata::new(), now))?;
///
/// let ports = graph.traversal().v().has("Type", "bridge").out();
/// let large = ports.has("MTU", Predicate::gt(1500)).count();
/// assert_eq!(
///     large.to_string(),
///     "G.V().Has('Type', 'bridge').Out().Has('MTU', Gt(1500)).Count()"
/// );
/// assert_eq!(large.run(now)?, Answer::Number(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Without a graph, [`Traversal::new`] builds queries that run later or are sent to a server:
///
/// ```
/// use skylib::Traversal;
/// use skylib::gremlin::Query;
/// let built = Traversal::new().v().has("Type", "bridge").out().limit(3).query()?;
/// let parsed = Query::parse("G.V().Has('Type', 'bridge').Out().Limit(3)")?;
/// assert_eq!(built.to_string(), parsed.to_string());
/// # Ok::<(), skylib::gremlin::QueryError>(())
/// ```
///
/// A step that cannot follow does not compile:
///
/// ```compile_fail,E0599
/// skylib::Traversal::new().e().values("Name"); // edges have no `Values`
/// ```
#[derive(Clone)]
#[must_use = "a traversal does nothing until it runs"]
pub struct Traversal<K = markers::Graph, S = ()> {
    steps: Vec<Step>,
    source: S,
    kind: PhantomData<fn() -> K>,
}

/// Graph on which a traversal runs.
pub type GraphSource<'g> = &'g dyn GraphAccess;

impl Traversal {
    /// Creates a traversal without a graph (`G`).
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

impl<'g> Traversal<markers::Graph, GraphSource<'g>> {
    /// Creates a traversal of a graph, which may be shared with other threads.
    pub fn of(graph: GraphSource<'g>) -> Self {
        Self {
            steps: Vec::new(),
            source: graph,
            kind: PhantomData,
        }
    }
}

impl Graph {
    /// Starts a query on this graph that is written in Rust.
    ///
    /// ```
    /// use skylib::Graph;
    /// use skylib::gremlin::Answer;
    /// use skylib::time::Timestamp;
    /// let answer = Graph::new().traversal().v().count().run(Timestamp::ZERO)?;
    /// assert_eq!(answer, Answer::Number(0));
    /// # Ok::<(), skylib::gremlin::QueryError>(())
    /// ```
    pub fn traversal(&self) -> Traversal<markers::Graph, GraphSource<'_>> {
        Traversal::of(self)
    }
}

impl<K, S> Traversal<K, S> {
    /// Returns the planned query.
    ///
    /// # Errors
    /// Returns an error if a flow or hierarchy step has a filter that no value can satisfy
    /// (`Predicate::lt("x")`), as parsing the same query does. Other wrong parameters are reported
    /// when the query runs.
    pub fn query(&self) -> Result<Query, QueryError> {
        Query::from_steps(self.steps.clone())
    }

    /// Appends a step that produces results of kind `T`.
    fn then<T>(mut self, step: Step) -> Traversal<T, S> {
        self.steps.push(step);
        Traversal {
            steps: self.steps,
            source: self.source,
            kind: PhantomData,
        }
    }
}

impl<K> Traversal<K, GraphSource<'_>> {
    /// Runs the query on the graph, without flows. `NOW` and durations in the query are relative to
    /// `now`.
    ///
    /// # Errors
    /// Returns an error if the query is invalid, exceeds a limit, or is interrupted; see
    /// [`QueryErrorKind`](super::QueryErrorKind).
    pub fn run(&self, now: Timestamp) -> Result<Answer, QueryError> {
        self.run_with(&FlowSet::default(), now)
    }

    /// Runs the query on the graph and a source of flows.
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
    /// Returns an error if the query is invalid, exceeds a limit, or is interrupted; see
    /// [`QueryErrorKind`](super::QueryErrorKind).
    pub fn run_with(&self, flows: &dyn FlowSource, now: Timestamp) -> Result<Answer, QueryError> {
        self.query()?.run_on(self.source, flows, now)
    }
}

/// Formats the query in query syntax. A string that contains a quote or NUL cannot be written in
/// the language, although the traversal itself can search for it.
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

/// Query steps that can be applied to the graph (`G`).
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
///     (g().at_for("-1h", 60).changes().to_string(), "G.At('-1h', 60).Changes()"),
///     (g().workflow("check", ["a"]).to_string(), "G.Workflow('check', 'a')"),
/// ] {
///     assert_eq!(traversal, text);
/// }
/// ```
impl<S> Traversal<markers::Graph, S> {
    /// Moves to all nodes (`V()`).
    pub fn v(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::V(None))
    }

    /// Moves to the node with this id (`V(id)`). Running the query fails if there is none.
    pub fn v_id(self, id: impl Into<Text>) -> Traversal<markers::Nodes, S> {
        self.then(Step::V(Some(id.into())))
    }

    /// Moves to all edges (`E()`).
    pub fn e(self) -> Traversal<markers::Edges, S> {
        self.then(Step::E(None))
    }

    /// Moves to the edge with this id (`E(id)`). Running the query fails if there is none.
    pub fn e_id(self, id: impl Into<Text>) -> Traversal<markers::Edges, S> {
        self.then(Step::E(Some(id.into())))
    }

    /// Moves to the graph as it was at an instant (`At(instant)`).
    ///
    /// The instant is in Unix seconds (above 2147483647: milliseconds), an RFC 1123 date, a
    /// duration from now (`"-1h"`), or [`Param::Now`].
    pub fn at(self, instant: impl Into<Param>) -> Self {
        self.then(Step::At(vec![instant.into()]))
    }

    /// Moves to every revision of the graph during a time slice (`At(instant, duration)`).
    ///
    /// The slice ends at the instant. The duration is in seconds, a string (`"5m"`), or
    /// [`Param::Forever`].
    pub fn at_for(self, instant: impl Into<Param>, duration: impl Into<Param>) -> Self {
        self.then(Step::At(vec![instant.into(), duration.into()]))
    }

    /// Moves to the changes in the selected time slice ([`Self::at_for`]), as objects
    /// (`Changes()`).
    pub fn changes(self) -> Traversal<markers::Values, S> {
        self.then(Step::Changes(Vec::new()))
    }

    /// Runs a stored workflow (`Workflow(name, argument, …)`).
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
