//! Gremlin filter of a subscriber: selects the part of the graph whose changes it receives.

use std::sync::Arc;

use skylib::engine::Engine;
use skylib::graph::{Direction, Edge, GraphAccess, NodeId};
use skylib::gremlin::{Query, QueryError, QueryErrorKind, Step};
use skylib::memory::{MemoryCharge, MemoryUse};
use skylib::proto::{BroadcastMessage, FilteredView, NodeFilter, Selection};
use skylib::time::Timestamp;

use super::graph_reply::UNAVAILABLE;
use crate::app::App;
use crate::graph_dump::{DumpError, GraphDump};
use crate::queries::{Interrupt, QueryFailure};
use crate::selections::{self, Selected, SelectionError, SharedFilter};

/// Filter together with the view that the subscriber has received.
pub(crate) struct GremlinFilter {
    /// Filter as the client wrote it.
    text: String,
    kind: FilterKind,
    /// Nodes and edges that the subscriber has received.
    view: FilteredView,
}

/// Kind of a filter, which determines how later events are handled.
enum FilterKind {
    /// Filter that can be tested on each node alone, so that events are handled without running the
    /// query again. The view is not shared and has its own memory charge.
    Local(NodeFilter, MemoryCharge),
    /// Filter whose query is run again, and the result from which the view was created.
    Shared(Arc<SharedFilter>, Arc<Selected>),
}

/// Result of evaluating a filter.
pub(crate) struct EvaluatedFilter {
    /// Filter for later events; `None` if it selects everything.
    pub(crate) filter: Option<GremlinFilter>,
    /// Selected part of the graph.
    pub(crate) graph: GraphDump,
}

/// Evaluates a filter at a time, in Unix milliseconds; 0 means the present. An empty filter selects
/// the whole graph.
///
/// # Errors
/// Returns [`FilterError`] if the filter is invalid, fails, or selects no graph.
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

/// Evaluates a filter without enforcing the order in which errors take precedence.
async fn evaluate_at(
    app: &App,
    filter: &str,
    time_ms: i64,
) -> Result<EvaluatedFilter, FilterError> {
    let text = at_time(filter, time_ms);
    let query = Query::parse(&text).map_err(FilterError::Parse)?;
    if query.steps().all(|step| matches!(step, Step::G)) {
        let graph = app
            .run_query(|engine, stop| GraphDump::collect(engine, &|| stop.is_set()))
            .await??;
        return Ok(EvaluatedFilter {
            filter: None,
            graph,
        });
    }
    if time_ms != 0 {
        let work = move |engine: &Engine, stop: &Interrupt| selections::run(engine, &query, stop);
        let graph = app.run_query(work).await?.map_err(FilterError::from)?;
        return Ok(EvaluatedFilter {
            filter: None,
            graph,
        });
    }
    let filter = |kind, selection| GremlinFilter {
        text: filter.to_owned(),
        kind,
        view: FilteredView::new(selection),
    };
    if let Some(local) = NodeFilter::from_query(&query) {
        let work = move |engine: &Engine, stop: &Interrupt| selections::run(engine, &query, stop);
        let graph = app.run_query(work).await?.map_err(FilterError::from)?;
        let memory = app.memory.charge(MemoryUse::Filters);
        let elements = graph.nodes.len() + graph.edges.len();
        memory
            .grow_to(elements * Selection::BYTES_PER_ELEMENT)
            .map_err(DumpError::Memory)?;
        let selection = Arc::new(Selection::new(&graph.nodes, &graph.edges));
        return Ok(EvaluatedFilter {
            filter: Some(filter(FilterKind::Local(local, memory), selection)),
            graph,
        });
    }
    let shared = app.selections.filter(&query);
    let sequence = app.engine.graph().view().sequence();
    let selected = shared.at_least(sequence, &app.engine, &app.queries).await?;
    let graph = selected.dump(&app.engine)?;
    let selection = Arc::clone(&selected.selection);
    Ok(EvaluatedFilter {
        filter: Some(filter(FilterKind::Shared(shared, selected), selection)),
        graph,
    })
}

/// Returns the query of a filter at a time: `G.V()` becomes `G.At('1970-01-01T00:00:05Z').V()`.
///
/// The time is a date, because a query takes small integers for seconds.
fn at_time(filter: &str, time_ms: i64) -> String {
    let filter = filter.trim_ascii();
    let at = || format!("G.At('{}')", Timestamp::from_ms(time_ms).to_rfc3339());
    match (filter, time_ms) {
        ("", 0) => "G".to_owned(),
        ("", _) => at(),
        (_, 0) => filter.to_owned(),
        _ => match filter.strip_prefix(['G', 'g']) {
            Some(rest) => at() + rest,
            None => filter.to_owned(),
        },
    }
}

impl GremlinFilter {
    /// Returns the filter as the client wrote it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns whether [`GremlinFilter::follow`] can decide each event without running the query.
    pub(crate) const fn is_local(&self) -> bool {
        matches!(self.kind, FilterKind::Local(..))
    }

    /// Applies an event to the view and returns the messages for the subscriber.
    pub(crate) fn follow(
        &mut self,
        app: &App,
        event: &Arc<BroadcastMessage>,
    ) -> Vec<Arc<BroadcastMessage>> {
        let FilterKind::Local(filter, memory) = &self.kind else {
            return Vec::new();
        };
        let messages = self
            .view
            .follow(event, |node| filter.selects(node), |id| edges_of(app, id));
        // The view grows with the graph, whose size has its own limits.
        memory.count(self.view.len() * Selection::BYTES_PER_ELEMENT);
        messages
    }

    /// Returns a result that is not older than a sequence number; `None` if the filter times out or
    /// memory is exhausted. A filter that fails selects nothing.
    pub(crate) async fn run_again(&self, app: &App, sequence: u64) -> Option<Arc<Selected>> {
        let FilterKind::Shared(filter, _) = &self.kind else {
            return None;
        };
        match filter.at_least(sequence, &app.engine, &app.queries).await {
            Ok(selected) => Some(selected),
            Err(error) if error.is_passing() => None,
            Err(_) => Some(Arc::new(Selected::nothing(sequence, &app.engine))),
        }
    }

    /// Replaces the view with a new result after a batch of events and returns the messages for the
    /// subscriber. `own` is the connection of the subscriber; its own changes are left out.
    pub(crate) fn replace(
        &mut self,
        result: Arc<Selected>,
        events: &[Arc<BroadcastMessage>],
        own: u64,
    ) -> Vec<Arc<BroadcastMessage>> {
        let GraphDump { nodes, edges, .. } = &result.graph;
        let selection = Arc::clone(&result.selection);
        let messages = self
            .view
            .replace(selection, nodes, edges, events, Some(own));
        if let FilterKind::Shared(_, held) = &mut self.kind {
            *held = result;
        }
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
    /// The process does not record a topology history.
    #[error(
        "this process has no topology history: it is an agent, or analyzer.topology.backend is memory"
    )]
    NoHistory,
    /// The graph changes faster than it can be read, or the memory budget is exhausted.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The query timed out or was stopped.
    #[error(transparent)]
    Stopped(#[from] QueryFailure),
    /// Error with a message of Skydive.
    #[error("{0}")]
    Compatible(String),
}

impl From<SelectionError> for FilterError {
    fn from(error: SelectionError) -> Self {
        match error {
            SelectionError::Query(error) => Self::Failed(error),
            SelectionError::NoGraph => Self::NoGraph,
            SelectionError::Dump(error) => Self::Dump(error),
            SelectionError::Stopped(error) => Self::Stopped(error),
        }
    }
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

    /// Returns the error with the message that clients of Skydive expect.
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
        assert_eq!(at_time(" ", 5000), "G.At('1970-01-01T00:00:05Z')");
        assert_eq!(at_time("G", 5), "G.At('1970-01-01T00:00:00.005Z')");
        let at = at_time(" g.V().SubGraph()", 1_738_573_811_500);
        assert_eq!(at, "G.At('2025-02-03T09:10:11.5Z').V().SubGraph()");
        for time_ms in [i64::MIN, -5, 1, i64::from(i32::MAX), i64::MAX] {
            let query = at_time("G.V()", time_ms);
            assert!(Query::parse(&query).is_ok(), "{query}");
        }
        assert_eq!(at_time("G.V().SubGraph()", 0), "G.V().SubGraph()");
        assert_eq!(at_time("nonsense", 5), "nonsense");
    }
}
