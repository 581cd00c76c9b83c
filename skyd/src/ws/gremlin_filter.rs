//! Gremlin filter of a subscriber: selects the part of the graph whose changes it receives.

use std::sync::Arc;

use skylib::engine::{Engine, QueryOptions};
use skylib::graph::{Direction, Edge, GraphAccess, NodeId};
use skylib::gremlin::{Answer, Query, QueryError, QueryErrorKind, Step};
use skylib::memory::{MemoryCharge, MemoryUse};
use skylib::proto::{BroadcastMessage, FilteredView, NodeFilter};

use super::graph_reply::UNAVAILABLE;
use crate::app::App;
use crate::graph_dump::{DumpError, GraphDump};
use crate::queries::{Interrupt, QueryFailure};

/// Filter with the state of the view that the subscriber has received.
pub(crate) struct GremlinFilter {
    /// The filter as the client wrote it.
    text: String,
    query: Arc<Query>,
    /// Filter on single nodes, if the query is one: events can then be decided without running it.
    local: Option<NodeFilter>,
    /// Nodes and edges that the subscriber knows.
    view: FilteredView,
    /// Charge for `view`.
    memory: MemoryCharge,
}

/// Result of evaluating a filter.
pub(crate) struct EvaluatedFilter {
    /// The filter for later events; `None` if it selects everything.
    pub(crate) filter: Option<GremlinFilter>,
    /// The selected part of the graph.
    pub(crate) graph: GraphDump,
}

/// Evaluates a filter at a time in Unix milliseconds, 0 for the present. An empty filter selects all.
///
/// # Errors
/// [`FilterError`] if the filter is invalid, fails, or selects no graph.
pub(crate) async fn evaluate(
    app: &App,
    filter: &str,
    time_ms: i64,
) -> Result<EvaluatedFilter, FilterError> {
    match evaluate_at(app, filter, time_ms).await {
        Err(error) if time_ms != 0 && !matches!(error, FilterError::Stopped(_)) => {
            // Skydive reports a missing history before any error in the filter.
            let past = evaluate_at(app, "", time_ms).await;
            Err(if past.is_err() {
                FilterError::NoHistory
            } else {
                error
            })
        }
        result => result,
    }
}

/// Evaluates a filter without the precedence of errors.
async fn evaluate_at(
    app: &App,
    filter: &str,
    time_ms: i64,
) -> Result<EvaluatedFilter, FilterError> {
    let text = at_time(filter, time_ms);
    let query = Arc::new(Query::parse(&text).map_err(FilterError::Parse)?);
    if query.steps().all(|step| matches!(step, Step::G)) {
        let graph = app
            .run_query(|engine, _| GraphDump::collect(engine))
            .await??;
        return Ok(EvaluatedFilter {
            filter: None,
            graph,
        });
    }
    let running = Arc::clone(&query);
    let work = move |engine: &Engine, interrupt: &Interrupt| run(engine, &running, interrupt);
    let graph = app.run_query(work).await??;
    let memory = app.memory.charge(MemoryUse::Filters);
    let elements = graph.nodes.len() + graph.edges.len();
    memory
        .grow_to(elements * FilteredView::BYTES_PER_ELEMENT)
        .map_err(DumpError::Memory)?;
    let filter = GremlinFilter {
        memory,
        text: filter.to_owned(),
        local: NodeFilter::from_query(&query),
        query,
        view: FilteredView::new(&graph.nodes, &graph.edges),
    };
    Ok(EvaluatedFilter {
        filter: Some(filter),
        graph,
    })
}

/// Returns the query of a filter at a time: `G.V()` becomes `G.At(5).V()`.
fn at_time(filter: &str, time_ms: i64) -> String {
    let filter = filter.trim_ascii();
    match (filter, time_ms) {
        ("", 0) => "G".to_owned(),
        ("", _) => format!("G.At({time_ms})"),
        (_, 0) => filter.to_owned(),
        _ => match filter.strip_prefix(['G', 'g']) {
            Some(rest) => format!("G.At({time_ms}){rest}"),
            None => filter.to_owned(),
        },
    }
}

/// Runs a query that must return a graph.
fn run(engine: &Engine, query: &Query, interrupt: &Interrupt) -> Result<GraphDump, FilterError> {
    let view = engine.graph().view();
    let sequence = view.sequence();
    let pin = view.pin(engine.memory());
    let interrupt = || interrupt.is_set();
    let memory = engine.memory().charge(MemoryUse::Queries);
    let options = QueryOptions::default()
        .with_interrupt(&interrupt)
        .with_memory(&memory);
    match engine
        .run_on(&view, query, options)
        .map_err(FilterError::Failed)?
    {
        Answer::Graph { nodes, edges } => Ok(GraphDump {
            nodes,
            edges,
            sequence,
            memory: Some(memory.into_use(MemoryUse::Responses)),
            pin: Some(pin),
        }),
        _ => Err(FilterError::NoGraph),
    }
}

impl GremlinFilter {
    /// Returns the filter as the client wrote it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns whether [`GremlinFilter::follow`] can decide each event without running the query.
    pub(crate) const fn is_local(&self) -> bool {
        self.local.is_some()
    }

    /// Applies an event to the view; returns the messages for the subscriber.
    pub(crate) fn follow(
        &mut self,
        app: &App,
        event: &Arc<BroadcastMessage>,
    ) -> Vec<Arc<BroadcastMessage>> {
        let Some(filter) = &self.local else {
            return Vec::new();
        };
        let messages = self
            .view
            .follow(event, |node| filter.selects(node), |id| edges_of(app, id));
        // The view follows the graph, whose size has its own limits.
        self.memory
            .count(self.view.len() * FilteredView::BYTES_PER_ELEMENT);
        messages
    }

    /// Runs the filter again; `None` if it times out or there is no memory. A filter that fails selects nothing.
    pub(crate) async fn run_again(&self, app: &App) -> Option<GraphDump> {
        let query = Arc::clone(&self.query);
        let work = move |engine: &Engine, interrupt: &Interrupt| run(engine, &query, interrupt);
        match app.run_query(work).await.ok()? {
            Err(error) if error.status() == UNAVAILABLE => None,
            graph => Some(graph.unwrap_or_default()),
        }
    }

    /// Replaces the view by a new result after some events; returns the messages for the subscriber.
    /// `own` is the connection whose own changes are left out.
    pub(crate) fn replace(
        &mut self,
        graph: &GraphDump,
        events: &[Arc<BroadcastMessage>],
        own: u64,
    ) -> Vec<Arc<BroadcastMessage>> {
        let messages = self
            .view
            .replace(&graph.nodes, &graph.edges, events, Some(own));
        self.memory
            .count(self.view.len() * FilteredView::BYTES_PER_ELEMENT);
        messages
    }
}

/// Returns the current edges of a node.
fn edges_of(app: &App, id: &NodeId) -> Vec<Arc<Edge>> {
    let mut edges = Vec::new();
    app.engine.graph().read(&mut |graph| {
        let found = graph.edges_of(id, Direction::Both);
        edges.extend(found.map(|(edge, _)| Arc::clone(edge)));
    });
    edges
}

/// Reason why a filter selects no graph.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    /// The filter is not a valid query.
    #[error("{0}")]
    Parse(QueryError),
    /// The query failed.
    #[error("{0}")]
    Failed(QueryError),
    /// The result is not a graph.
    #[error("the query did not return a graph")]
    NoGraph,
    /// There is no history.
    #[error("no history")]
    NoHistory,
    /// The graph changes faster than it can be read, or there is no memory.
    #[error("{0}")]
    Dump(#[from] DumpError),
    /// The query timed out or was stopped.
    #[error("{0}")]
    Stopped(#[from] QueryFailure),
    /// Error with a text of Skydive.
    #[error("{0}")]
    Compatible(String),
}

impl FilterError {
    /// Returns the status of the reply: 503 if the same filter may succeed later.
    pub(crate) fn status(&self) -> i64 {
        match self {
            Self::Failed(error) if error.kind() == QueryErrorKind::Memory => UNAVAILABLE,
            Self::Dump(DumpError::Memory(_)) => UNAVAILABLE,
            _ => 400,
        }
    }

    /// Returns the error with the text that clients of Skydive expect.
    pub(crate) fn for_client(self, filter: &str, client: &str) -> Self {
        match self {
            Self::Parse(_) => Self::Compatible(format!(
                "Invalid Gremlin filter '{filter}' for client {client}"
            )),
            Self::NoGraph => {
                Self::Compatible(format!("Gremlin query '{filter}' did not return a graph"))
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_inserted_after_the_graph() {
        assert_eq!(at_time("", 0), "G");
        assert_eq!(at_time(" ", 5), "G.At(5)");
        assert_eq!(at_time("G", 5), "G.At(5)");
        assert_eq!(at_time(" g.V().SubGraph()", 5), "G.At(5).V().SubGraph()");
        assert_eq!(at_time("G.V().SubGraph()", 0), "G.V().SubGraph()");
        assert_eq!(at_time("nonsense", 5), "nonsense");
    }
}
