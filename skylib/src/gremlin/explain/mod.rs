//! The plan of a query and what became of it: which steps run as one, what an index finds, how many
//! elements were expected and how many came.

mod describe;
mod estimate;
mod trace;

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::answer::Answer;
use super::error::QueryError;
use super::run::Run;
use super::{Context, Query};
use crate::time::Clock;
use crate::value::Text;

pub(super) use trace::Trace;

/// How a query was answered, step by step. Serialises as the JSON that `POST /api/topology` gives
/// for `"Explain": true`; prints as a table for people.
///
/// ```
/// use skylib::flow::FlowSet;
/// use skylib::gremlin::{Access, Context, Query};
/// use skylib::graph::{Graph, GraphView, Metadata, Node};
/// use skylib::time::Timestamp;
///
/// let mut graph = Graph::new();
/// for (id, kind) in [("br0", "bridge"), ("eth0", "device"), ("eth1", "device")] {
///     let metadata = Metadata::from_iter([("Type", kind)]);
///     graph.add_node(Node::new(id, metadata, Timestamp::ZERO))?;
/// }
/// let query = Query::parse("G.V().Has('Type', 'bridge').Count()")?;
/// let view = GraphView::open(&graph);
/// let flows = FlowSet::default();
/// let explained = query.explain(&Context::new(&view, &flows, Timestamp::ZERO));
/// let source = &explained.steps[0];
/// assert_eq!(source.absorbed, ["Has('Type', 'bridge')"]);
/// assert!(matches!(source.operations[0].access, Some(Access::Index { estimate: 1, .. })));
/// assert_eq!(source.elements_out, Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The query as it was understood.
    #[serde(rename = "Query")]
    pub query: String,
    /// Nodes in the graph.
    #[serde(rename = "Nodes")]
    pub nodes: usize,
    /// Edges in the graph.
    #[serde(rename = "Edges")]
    pub edges: usize,
    /// The steps that do something, each with those it absorbs.
    #[serde(rename = "Steps")]
    pub steps: Vec<ExplainedStep>,
    /// The answer in short; none where the query failed.
    #[serde(rename = "Answer", skip_serializing_if = "Option::is_none")]
    pub answer: Option<ExplainedAnswer>,
    /// Why the query failed.
    #[serde(
        rename = "Error",
        serialize_with = "as_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub error: Option<QueryError>,
}

/// A step of the query and the steps behind it that it does as well.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ExplainedStep {
    /// The step, as query text.
    #[serde(rename = "Step")]
    pub step: String,
    /// Steps behind it that are part of it, in whichever order they were written.
    #[serde(rename = "Absorbed")]
    pub absorbed: Vec<String>,
    /// Elements it was expected to find; none where nobody can tell beforehand.
    #[serde(rename = "Estimated")]
    pub estimated: Option<u64>,
    /// Elements it got; none at the start of a query, and where it did not run.
    #[serde(rename = "In")]
    pub elements_in: Option<u64>,
    /// Elements it passed on; none for a graph, and where it did not run.
    #[serde(rename = "Out")]
    pub elements_out: Option<u64>,
    /// How long it took, together with the steps behind it that ran with it; none for those, and
    /// where nobody looked at a clock.
    #[serde(
        rename = "Microseconds",
        serialize_with = "as_microseconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub took: Option<Duration>,
    /// What it does, one thing after the other.
    #[serde(rename = "Operations")]
    pub operations: Vec<ExplainedOperation>,
}

/// One thing that a step does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ExplainedOperation {
    /// In words.
    #[serde(rename = "Operation")]
    pub operation: String,
    /// How it finds elements, where it has to look for them.
    #[serde(rename = "Access", skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Whether it runs with the operation before, element by element, nothing gathered in between.
    #[serde(rename = "PushedDown")]
    pub is_pushed_down: bool,
    /// As in [`ExplainedStep`].
    #[serde(rename = "Estimated")]
    pub estimated: Option<u64>,
    /// As in [`ExplainedStep`]; none also for a filter that is one with the search before it.
    #[serde(rename = "In")]
    pub elements_in: Option<u64>,
    /// As in [`ExplainedStep`]; of a search and the filters that are one with it, what passes all.
    #[serde(rename = "Out")]
    pub elements_out: Option<u64>,
}

/// How elements are found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "Kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Access {
    /// One element by its id.
    Id,
    /// Those that an index names.
    Index {
        /// The indexed key.
        #[serde(rename = "Key")]
        key: Text,
        /// Nodes that the index named when it was asked.
        #[serde(rename = "Estimated")]
        estimate: usize,
    },
    /// All of them, one by one.
    Scan,
    /// The edges of each element.
    Adjacency,
    /// The flow tables, which filter, sort and page themselves.
    Flows,
    /// None at all: how many there are is known.
    Totals,
}

/// An answer in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExplainedAnswer {
    /// Of what kind: `nodes`, `flows`, `number` and so on.
    #[serde(rename = "Kind")]
    pub kind: &'static str,
    /// How many; 1 for a number.
    #[serde(rename = "Elements")]
    pub elements: u64,
}

impl Query {
    /// Answers the query and tells how, instead of the answer.
    ///
    /// It costs what the answer would. A query that fails is explained as far as it came.
    #[must_use]
    pub fn explain(&self, context: &Context<'_>) -> Explanation {
        self.explained(context, None)
    }

    /// As [`Query::explain`], with the time that each step took by a clock.
    #[must_use]
    pub fn explain_timed(&self, context: &Context<'_>, clock: &dyn Clock) -> Explanation {
        self.explained(context, Some(clock))
    }

    fn explained(&self, context: &Context<'_>, clock: Option<&dyn Clock>) -> Explanation {
        let new_trace = || Trace::new(self.plan.operations.len(), clock);
        let (ran, trace) = Run::new(self, context, Some(new_trace())).answer();
        let trace = trace.unwrap_or_else(new_trace);
        let totals = (context.view.node_count(), context.view.edge_count());
        let estimates = estimate::all(&self.plan, &trace, totals);
        let (answer, error) = match ran {
            Ok(answer) => (Some(ExplainedAnswer::new(&answer)), None),
            Err(error) => (None, Some(error)),
        };
        Explanation {
            query: self.to_string(),
            nodes: totals.0,
            edges: totals.1,
            steps: self.explained_steps(&trace, &estimates),
            answer,
            error,
        }
    }

    fn explained_steps(&self, trace: &Trace<'_>, estimates: &[Option<u64>]) -> Vec<ExplainedStep> {
        let mut steps: Vec<ExplainedStep> = Vec::new();
        let operations = &self.plan.operations;
        let mut last = None;
        for (position, (operation, step)) in operations.iter().enumerate() {
            let measured = trace.of(position);
            let estimated = estimates.get(position).copied().flatten();
            if last != Some(*step) {
                last = Some(*step);
                let mut after = operations[position..].iter().map(|(_, other)| *other);
                let end = after.find(|other| other != step);
                let end = end.unwrap_or(self.plan.planned);
                let mut texts = self.steps.iter().take(end).skip(*step);
                steps.push(ExplainedStep {
                    step: texts.next().map(|(s, _)| s.to_string()).unwrap_or_default(),
                    absorbed: texts.map(|(step, _)| step.to_string()).collect(),
                    estimated: None,
                    elements_in: measured.elements_in,
                    elements_out: None,
                    took: None,
                    operations: Vec::new(),
                });
            }
            if let Some(step) = steps.last_mut() {
                step.estimated = estimated;
                step.elements_out = measured.elements_out;
                step.took = step
                    .took
                    .into_iter()
                    .chain(measured.took)
                    .reduce(|a, b| a + b);
                step.operations.push(ExplainedOperation {
                    operation: describe::of(operation),
                    access: measured.access.clone(),
                    is_pushed_down: measured.is_pushed_down,
                    estimated,
                    elements_in: measured.elements_in,
                    elements_out: measured.elements_out,
                });
            }
        }
        steps
    }
}

impl ExplainedAnswer {
    fn new(answer: &Answer) -> Self {
        let elements = match answer {
            Answer::Graph { nodes, edges } => nodes.len() + edges.len(),
            Answer::Nodes(nodes) => nodes.len(),
            Answer::Edges(edges) => edges.len(),
            Answer::Paths(paths) => paths.len(),
            Answer::Flows(set) => set.flows.len(),
            Answer::Groups(groups) => groups.len(),
            Answer::Metrics(metrics) => metrics.len(),
            Answer::RawPackets(packets) => packets.len(),
            Answer::Sockets(sockets) => sockets.len(),
            Answer::NextHops(hops) => hops.len(),
            Answer::Value(value) => value.as_list().map_or(0, <[_]>::len),
            Answer::Number(_) => 1,
        };
        Self {
            kind: answer.kind(),
            elements: elements as u64,
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.query)?;
        writeln!(f, "{:>10} {:>10} {:>10}", "estimated", "in", "out")?;
        let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        for operation in self.steps.iter().flat_map(|step| &step.operations) {
            write!(
                f,
                "{:>10} {:>10} {:>10}  {}{}",
                number(operation.estimated),
                number(operation.elements_in),
                number(operation.elements_out),
                if operation.is_pushed_down { "+ " } else { "" },
                operation.operation,
            )?;
            match &operation.access {
                Some(access) => writeln!(f, " ({access})")?,
                None => writeln!(f)?,
            }
        }
        match (&self.answer, &self.error) {
            (Some(ExplainedAnswer { kind, elements }), _) => writeln!(f, "{kind}: {elements}"),
            (None, Some(error)) => writeln!(f, "{error}"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id => f.write_str("by id"),
            Self::Index { key, estimate } => write!(f, "index {key}, about {estimate}"),
            Self::Scan => f.write_str("scan"),
            Self::Adjacency => f.write_str("edges of each"),
            Self::Flows => f.write_str("flow tables"),
            Self::Totals => f.write_str("known total"),
        }
    }
}

fn as_text<S: Serializer>(error: &Option<QueryError>, serializer: S) -> Result<S::Ok, S::Error> {
    match error {
        Some(error) => serializer.collect_str(error),
        None => serializer.serialize_none(),
    }
}

fn as_microseconds<S: Serializer>(
    took: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    took.map(|took| took.as_micros()).serialize(serializer)
}

#[cfg(test)]
mod tests;
