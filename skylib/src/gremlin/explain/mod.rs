//! Explanations: the plan of a query with measurements of its run: merged steps, index usage, and
//! estimated and actual element counts.

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
use crate::file_use::FileUse;
use crate::time::{Clock, Timestamp};
use crate::value::Text;

pub(super) use trace::Trace;

/// Description of how a query was run, step by step.
///
/// Serializes as the JSON that `POST /api/topology` returns for `"Explain": true`. `Display` formats
/// a table for people.
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
    /// The query as parsed.
    #[serde(rename = "Query")]
    pub query: String,
    /// Number of nodes in the graph.
    #[serde(rename = "Nodes")]
    pub nodes: usize,
    /// Number of edges in the graph.
    #[serde(rename = "Edges")]
    pub edges: usize,
    /// The steps, each with the steps that it absorbs.
    #[serde(rename = "Steps")]
    pub steps: Vec<ExplainedStep>,
    /// Summary of the answer; `None` if the query failed.
    #[serde(rename = "Answer", skip_serializing_if = "Option::is_none")]
    pub answer: Option<ExplainedAnswer>,
    /// Time since which the past that the query reads is complete, if it reads an earlier time.
    /// Serializes as text in the format of RFC 3339. `None` without an engine, which knows the age of
    /// its history.
    #[serde(
        rename = "HistoryBegins",
        serialize_with = "as_rfc3339",
        skip_serializing_if = "Option::is_none"
    )]
    pub history_begins: Option<Timestamp>,
    /// Error of the query; `None` if it succeeded.
    #[serde(
        rename = "Error",
        serialize_with = "as_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub error: Option<QueryError>,
}

/// A step of the query together with the steps that it absorbs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ExplainedStep {
    /// The step, in query syntax.
    #[serde(rename = "Step")]
    pub step: String,
    /// Absorbed steps, in query syntax, in the order written.
    #[serde(rename = "Absorbed")]
    pub absorbed: Vec<String>,
    /// Estimated number of elements in its output; `None` if unknown.
    #[serde(rename = "Estimated")]
    pub estimated: Option<u64>,
    /// Number of elements in its input; `None` at the start of a query and if the step did not run.
    #[serde(rename = "In")]
    pub elements_in: Option<u64>,
    /// Number of elements in its output; `None` for a graph and if the step did not run.
    #[serde(rename = "Out")]
    pub elements_out: Option<u64>,
    /// Duration, including the steps that ran inside it; `None` for steps that ran inside another
    /// one, and without a clock.
    #[serde(
        rename = "Microseconds",
        serialize_with = "as_microseconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub took: Option<Duration>,
    /// Operations that the step consists of, in order.
    #[serde(rename = "Operations")]
    pub operations: Vec<ExplainedOperation>,
}

/// One operation of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ExplainedOperation {
    /// Description in words.
    #[serde(rename = "Operation")]
    pub operation: String,
    /// Method by which the operation finds elements; `None` if it only processes its input.
    #[serde(rename = "Access", skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Files of the history that the operation read, or skipped, and why; empty for an operation that
    /// reads no files.
    #[serde(rename = "Files", skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileUse>,
    /// Whether the operation ran inside the previous one, element by element, without an
    /// intermediate result.
    #[serde(rename = "PushedDown")]
    pub is_pushed_down: bool,
    /// Estimated number of elements in its output; `None` if unknown.
    #[serde(rename = "Estimated")]
    pub estimated: Option<u64>,
    /// Number of elements in its input; `None` at the start of a query, if it did not run, and for a
    /// filter that is part of the preceding search.
    #[serde(rename = "In")]
    pub elements_in: Option<u64>,
    /// Number of elements in its output; `None` for a graph and if it did not run. For a search with
    /// filters, the elements that match all of them.
    #[serde(rename = "Out")]
    pub elements_out: Option<u64>,
}

/// Method by which elements are found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "Kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Access {
    /// One element by its id.
    Id,
    /// The entries of an index.
    Index {
        /// The indexed key.
        #[serde(rename = "Key")]
        key: Text,
        /// Number of nodes in the index entries.
        #[serde(rename = "Estimated")]
        estimate: usize,
    },
    /// All elements, one by one.
    Scan,
    /// The edges of each input element.
    Adjacency,
    /// The flow tables, which filter, sort, and page.
    Flows,
    /// No elements: only their known total.
    Totals,
}

/// Summary of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExplainedAnswer {
    /// Kind of the answer ([`Answer::kind`]).
    #[serde(rename = "Kind")]
    pub kind: &'static str,
    /// Number of elements; 1 for a number.
    #[serde(rename = "Elements")]
    pub elements: u64,
}

impl Query {
    /// Runs the query and returns how it was run, instead of the answer.
    ///
    /// The costs are those of [`Query::run`]. A query that fails is explained up to the failure.
    #[must_use]
    pub fn explain(&self, context: &Context<'_>) -> Explanation {
        self.explained(context, None)
    }

    /// Runs the query as [`Query::explain`] does, and measures the duration of each step.
    #[must_use]
    pub fn explain_timed(&self, context: &Context<'_>, clock: &dyn Clock) -> Explanation {
        self.explained(context, Some(clock))
    }

    fn explained(&self, context: &Context<'_>, clock: Option<&dyn Clock>) -> Explanation {
        let steps = self.plan.operations.len();
        let budget = context.budget();
        let ran = self.on_its_graph(context, &budget, |context, first| {
            let (ran, trace) = Run::new(
                self,
                first,
                context,
                &budget,
                Some(Trace::new(steps, clock)),
            )
            .answer();
            let trace = trace.unwrap_or_else(|| Trace::new(steps, clock));
            self.explanation(context, ran, &trace)
        });
        ran.unwrap_or_else(|error| self.explanation(context, Err(error), &Trace::new(steps, clock)))
    }

    fn explanation(
        &self,
        context: &Context<'_>,
        ran: Result<Answer, QueryError>,
        trace: &Trace<'_>,
    ) -> Explanation {
        let totals = (context.view.node_count(), context.view.edge_count());
        let estimates = estimate::all(&self.plan, trace, totals);
        let (answer, error) = match ran {
            Ok(answer) => (Some(ExplainedAnswer::new(&answer)), None),
            Err(error) => (None, Some(error)),
        };
        Explanation {
            query: self.to_string(),
            nodes: totals.0,
            edges: totals.1,
            steps: self.explained_steps(trace, &estimates),
            answer,
            history_begins: None,
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
                    operation: describe::operation(operation),
                    access: measured.access.clone(),
                    files: measured.files.clone(),
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
            for file in &operation.files {
                writeln!(f, "{:>34}{file}", "")?;
            }
        }
        if let Some(begins) = self.history_begins {
            writeln!(f, "the history begins at {}", begins.to_rfc3339())?;
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
            Self::Adjacency => f.write_str("adjacency"),
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

fn as_rfc3339<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(Timestamp::to_rfc3339).serialize(serializer)
}

fn as_microseconds<S: Serializer>(
    took: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    took.map(|took| took.as_micros()).serialize(serializer)
}

#[cfg(test)]
mod tests;
