//! `Workflow`: the graph that a stored workflow returns, on which the steps after `Workflow` run.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use super::budget::Budget;
use super::error::QueryError;
use super::plan::Operation;
use super::{Context, Query};
use crate::graph::{Edge, Graph, GraphView, Node};

/// Caller of stored workflows, for the step `Workflow`.
pub trait WorkflowCaller: Sync {
    /// Calls a workflow with arguments, and returns its result as JSON text. `workflow` is its id or
    /// its name. Cancels the call if `interrupt` returns `true`, which is called regularly.
    ///
    /// # Errors
    /// Returns an error if no workflow has this id or name, or if the call fails.
    fn call(
        &self,
        workflow: &str,
        arguments: &[Json],
        interrupt: &dyn Fn() -> bool,
    ) -> Result<String, WorkflowError>;
}

/// Reason why a workflow has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkflowError {
    /// No workflow has this id or name.
    #[error("there is no such workflow")]
    Unknown,
    /// The workflow failed for this reason.
    #[error("{0}")]
    Failed(String),
    /// The call was canceled.
    #[error("the call was canceled")]
    Interrupted,
}

/// Graph in the result of a workflow. COMPAT: Skydive's names are case-insensitive.
#[derive(Deserialize)]
struct Elements {
    #[serde(default, alias = "Nodes")]
    nodes: Option<List<Node>>,
    #[serde(default, alias = "Edges")]
    edges: Option<List<Edge>>,
}

/// Elements as an array, or as an object whose keys are identifiers, as of the workflow
/// `FlowMatrix`.
struct List<T>(Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of elements, or an object with elements by their identifier")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<List<T>, A::Error> {
                let mut list = List::default();
                while let Some(item) = items.next_element()? {
                    list.0.push(item);
                }
                Ok(list)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<List<T>, A::Error> {
                let mut list = List::default();
                while let Some((_, item)) = items.next_entry::<IgnoredAny, T>()? {
                    list.0.push(item);
                }
                Ok(list)
            }
        }
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

impl Query {
    /// Calls `run` with the context in which the query runs, and the index of its first operation: the
    /// given context or, if the query has the step `Workflow`, a context with the graph that the
    /// workflow returned, without a past, and the index of the operation after it.
    ///
    /// # Errors
    /// Returns an error if a workflow fails, or its result is not a graph.
    pub(super) fn on_its_graph<T>(
        &self,
        context: &Context<'_>,
        budget: &Budget<'_>,
        run: impl FnOnce(&Context<'_>, usize) -> T,
    ) -> Result<T, QueryError> {
        let mut made = None;
        for (at, (operation, step)) in self.plan.operations.iter().enumerate() {
            if let Operation::Workflow(name, arguments) = operation {
                let graph = graph_of(name, arguments, context, budget);
                made = Some((at + 1, graph.map_err(|error| self.located(error, *step))?));
            }
        }
        let Some((first, graph)) = made else {
            return Ok(run(context, 0));
        };
        let view = GraphView::open(&graph);
        let context = Context {
            view: &view,
            history: None,
            ..*context
        };
        Ok(run(&context, first))
    }
}

/// Calls a workflow and returns its graph.
fn graph_of(
    name: &str,
    arguments: &[Json],
    context: &Context<'_>,
    budget: &Budget<'_>,
) -> Result<Graph, QueryError> {
    let workflows = context.workflows.ok_or_else(|| {
        QueryError::execute("Workflow is not available here").help(
            "queries by POST can call workflows; filters, live queries, alerts, captures, workflows, \
             and queries of files cannot",
        )
    })?;
    let interrupt = || budget.check().is_err();
    let text = match workflows.call(name, arguments, &interrupt) {
        Ok(text) => text,
        Err(WorkflowError::Interrupted) => {
            budget.check()?;
            return Err(QueryError::interrupted());
        }
        // COMPAT: Skydive omits the closing quotation mark.
        Err(WorkflowError::Unknown) => {
            return Err(QueryError::execute(format!("Unknown workflow '{name}")));
        }
        Err(WorkflowError::Failed(reason)) => return Err(failed(&reason)),
    };
    budget.retain(text.len().saturating_mul(MEMORY_OF_TEXT))?;
    let elements: Option<Elements> = serde_json::from_str(&text)
        .map_err(|error| failed(&format!("its result is not a graph: {error}")))?;
    let mut graph = Graph::new();
    let Some(Elements { nodes, edges }) = elements else {
        return Ok(graph);
    };
    for node in nodes.unwrap_or_default().0 {
        budget.tick()?;
        graph
            .add_node(node)
            .map_err(|error| failed(&error.to_string()))?;
    }
    for edge in edges.unwrap_or_default().0 {
        budget.tick()?;
        graph
            .add_edge(edge)
            .map_err(|error| failed(&error.to_string()))?;
    }
    Ok(graph)
}

fn failed(reason: &str) -> QueryError {
    QueryError::execute(format!("error while executing workflow: {reason}"))
        .help("a workflow returns an object with `nodes` and `edges`, as a query of elements does")
}

/// Upper bound of the memory of a graph per byte of its JSON text.
const MEMORY_OF_TEXT: usize = 4;
