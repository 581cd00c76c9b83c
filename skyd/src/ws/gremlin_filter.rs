//! The part of the graph a subscriber asked for by a Gremlin filter.

use std::sync::Arc;

use skylib::engine::{Engine, QueryOptions};
use skylib::graph::{Direction, Edge, GraphAccess, GraphError, NodeId};
use skylib::gremlin::{Answer, Query, QueryError, Step};
use skylib::proto::{BroadcastMessage, FilteredView, NodeFilter};

use crate::app::App;
use crate::graph_dump::GraphDump;
use crate::queries::{Interrupt, QueryFailure};

/// A filter and what the subscriber has been told of what it selects.
pub(crate) struct GremlinFilter {
    text: String,
    query: Arc<Query>,
    /// How to decide on each event alone, where the filter allows it.
    local: Option<NodeFilter>,
    view: FilteredView,
}

/// A filter evaluated.
pub(crate) struct EvaluatedFilter {
    /// `None` where the filter selects everything.
    pub(crate) selection: Option<GremlinFilter>,
    /// What it selects.
    pub(crate) graph: GraphDump,
}

/// Evaluates a filter, now or in the past (Unix milliseconds, 0 for now); empty selects all.
pub(crate) async fn evaluate(
    app: &App,
    filter: &str,
    time_ms: i64,
) -> Result<EvaluatedFilter, FilterError> {
    match evaluate_at(app, filter, time_ms).await {
        Err(error) if time_ms != 0 && !matches!(error, FilterError::Stopped(_)) => {
            // Whether there is a past at all is asked before anything else.
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
            selection: None,
            graph,
        });
    }
    let running = Arc::clone(&query);
    let work = move |engine: &Engine, interrupt: &Interrupt| run(engine, &running, interrupt);
    let graph = app.run_query(work).await??;
    let selection = GremlinFilter {
        text: filter.to_owned(),
        local: NodeFilter::from_query(&query),
        query,
        view: FilteredView::new(&graph.nodes, &graph.edges),
    };
    Ok(EvaluatedFilter {
        selection: Some(selection),
        graph,
    })
}

/// The filter as of a time: `G.V()` becomes `G.At(5).V()`.
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

fn run(engine: &Engine, query: &Query, interrupt: &Interrupt) -> Result<GraphDump, FilterError> {
    let view = engine.graph().view();
    let sequence = view.sequence();
    let interrupt = || interrupt.is_set();
    let options = QueryOptions::default().with_interrupt(&interrupt);
    match engine
        .run_on(&view, query, options)
        .map_err(FilterError::Failed)?
    {
        Answer::Graph { nodes, edges } => Ok(GraphDump {
            nodes,
            edges,
            sequence,
        }),
        _ => Err(FilterError::NoGraph),
    }
}

impl GremlinFilter {
    /// The filter as the client wrote it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether [`GremlinFilter::follow`] can decide on each event alone.
    pub(crate) const fn is_local(&self) -> bool {
        self.local.is_some()
    }

    /// Moves on by one event; what to tell.
    pub(crate) fn follow(
        &mut self,
        app: &App,
        event: &Arc<BroadcastMessage>,
    ) -> Vec<Arc<BroadcastMessage>> {
        let Some(filter) = &self.local else {
            return Vec::new();
        };
        self.view
            .follow(event, |node| filter.selects(node), |id| edges_of(app, id))
    }

    /// Runs the filter again; `None` where that takes too long. A filter that fails selects
    /// nothing.
    pub(crate) async fn run_again(&self, app: &App) -> Option<GraphDump> {
        let query = Arc::clone(&self.query);
        let work = move |engine: &Engine, interrupt: &Interrupt| run(engine, &query, interrupt);
        let graph = app.run_query(work).await.ok()?;
        Some(graph.unwrap_or_default())
    }

    /// Moves on to what the filter selects after some events; what to tell.
    pub(crate) fn replace(
        &mut self,
        graph: &GraphDump,
        events: &[Arc<BroadcastMessage>],
        own: u64,
    ) -> Vec<Arc<BroadcastMessage>> {
        self.view
            .replace(&graph.nodes, &graph.edges, events, Some(own))
    }
}

/// The edges a node has now.
fn edges_of(app: &App, id: &NodeId) -> Vec<Arc<Edge>> {
    let mut edges = Vec::new();
    app.engine.graph().read(&mut |graph| {
        let found = graph.edges_of(id, Direction::Both);
        edges.extend(found.map(|(edge, _)| Arc::clone(edge)));
    });
    edges
}

/// Why a filter selects no graph.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    /// It is no query.
    #[error("{0}")]
    Parse(QueryError),
    /// It cannot be run.
    #[error("{0}")]
    Failed(QueryError),
    /// It gives something else.
    #[error("the query did not return a graph")]
    NoGraph,
    /// The past is not kept.
    #[error("no history")]
    NoHistory,
    /// The graph changes too fast to be read.
    #[error("{0}")]
    Graph(#[from] GraphError),
    /// It took too long.
    #[error("{0}")]
    Stopped(#[from] QueryFailure),
    /// In the words that the client of the original knows.
    #[error("{0}")]
    Told(String),
}

impl FilterError {
    /// The same in the words that clients of the original know.
    pub(crate) fn for_client(self, filter: &str, client: &str) -> Self {
        match self {
            Self::Parse(_) => Self::Told(format!(
                "Invalid Gremlin filter '{filter}' for client {client}"
            )),
            Self::NoGraph => Self::Told(format!("Gremlin query '{filter}' did not return a graph")),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_put_behind_the_graph() {
        assert_eq!(at_time("", 0), "G");
        assert_eq!(at_time(" ", 5), "G.At(5)");
        assert_eq!(at_time("G", 5), "G.At(5)");
        assert_eq!(at_time(" g.V().SubGraph()", 5), "G.At(5).V().SubGraph()");
        assert_eq!(at_time("G.V().SubGraph()", 0), "G.V().SubGraph()");
        assert_eq!(at_time("nonsense", 5), "nonsense");
    }
}
