//! Results of WebSocket filters, shared by all subscribers with the same filter.
//!
//! A filter that cannot be decided node by node is run again after changes to the graph. Of the
//! subscribers that need a newer result, the first runs the query and the others wait for its
//! result.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use skylib::engine::{Engine, QueryOptions};
use skylib::gremlin::{Answer, Query, QueryError, QueryErrorKind};
use skylib::memory::{MemoryCharge, MemoryUse};
use skylib::proto::Selection;

use crate::graph_dump::{DumpError, GraphDump};
use crate::queries::{Interrupt, QueryFailure, QuerySlots, SUBSCRIPTIONS};

/// Filters in use, by their query strings.
#[derive(Debug, Default)]
pub(crate) struct Selections(Mutex<HashMap<String, Weak<SharedFilter>>>);

/// Filter and its newest result.
pub(crate) struct SharedFilter {
    query: Query,
    /// Newest result, available as long as any subscriber holds it. Locked while the query runs.
    newest: tokio::sync::Mutex<Weak<Selected>>,
}

/// Result of a filter at one sequence number.
#[derive(Debug)]
pub(crate) struct Selected {
    /// Selected elements in the order of the result.
    pub(crate) graph: GraphDump,
    /// Same elements by id.
    pub(crate) selection: Arc<Selection>,
    _memory: MemoryCharge,
}

/// Reason why a filter has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SelectionError {
    /// The query failed.
    #[error("{0}")]
    Query(QueryError),
    /// The result is not a graph.
    #[error("the query did not return a graph")]
    NoGraph,
    /// The graph changes too fast, or the memory budget is currently too small for the result.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The query timed out or was stopped.
    #[error(transparent)]
    Stopped(#[from] QueryFailure),
}

impl SelectionError {
    /// Returns whether the same filter may succeed later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Query(error) => matches!(
                error.kind(),
                QueryErrorKind::Memory | QueryErrorKind::Interrupted | QueryErrorKind::Unavailable
            ),
            Self::NoGraph => false,
            Self::Dump(_) | Self::Stopped(_) => true,
        }
    }
}

impl Selections {
    /// Returns the shared filter of a query; all subscribers with the same query use the same
    /// filter.
    pub(crate) fn filter(&self, query: &Query) -> Arc<SharedFilter> {
        let mut filters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        filters.retain(|_, filter| filter.strong_count() > 0);
        let text = query.to_string();
        if let Some(known) = filters.get(&text).and_then(Weak::upgrade) {
            return known;
        }
        let filter = Arc::new(SharedFilter {
            query: query.clone(),
            newest: tokio::sync::Mutex::default(),
        });
        filters.insert(text, Arc::downgrade(&filter));
        filter
    }
}

impl SharedFilter {
    /// Returns a result that is not older than a sequence number.
    ///
    /// # Errors
    /// Returns [`SelectionError`] if the query fails, or no memory or query slot is available.
    pub(crate) async fn at_least(
        &self,
        sequence: u64,
        engine: &Engine,
        slots: &QuerySlots,
    ) -> Result<Arc<Selected>, SelectionError> {
        let mut newest = self.newest.lock().await;
        if let Some(known) = newest.upgrade()
            && known.graph.sequence >= sequence
        {
            return Ok(known);
        }
        let query = self.query.clone();
        let work = move |engine: &Engine, interrupt: &Interrupt| {
            Selected::of(run(engine, &query, interrupt)?, engine)
        };
        let selected = Arc::new(slots.run(&SUBSCRIPTIONS.into(), engine, work).await??);
        *newest = Arc::downgrade(&selected);
        Ok(selected)
    }
}

impl fmt::Debug for SharedFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedFilter({})", self.query)
    }
}

impl Selected {
    fn of(mut graph: GraphDump, engine: &Engine) -> Result<Self, SelectionError> {
        let handles = graph.memory.take();
        graph.memory = handles.map(|charge| charge.into_use(MemoryUse::Filters));
        let memory = engine.memory().charge(MemoryUse::Filters);
        let elements = graph.nodes.len() + graph.edges.len();
        memory
            .grow_to(elements * Selection::BYTES_PER_ELEMENT)
            .map_err(DumpError::Memory)?;
        let selection = Arc::new(Selection::new(&graph.nodes, &graph.edges));
        Ok(Self {
            graph,
            selection,
            _memory: memory,
        })
    }

    /// Returns an empty result, used if a filter fails.
    pub(crate) fn nothing(sequence: u64, engine: &Engine) -> Self {
        Self {
            graph: GraphDump {
                sequence,
                ..GraphDump::default()
            },
            selection: Arc::default(),
            _memory: engine.memory().charge(MemoryUse::Filters),
        }
    }

    /// Returns the elements for a reply, with their own memory charge and registration.
    ///
    /// # Errors
    /// Returns [`DumpError`] if the memory budget does not allow for the handles.
    pub(crate) fn dump(&self, engine: &Engine) -> Result<GraphDump, DumpError> {
        let GraphDump { nodes, edges, .. } = &self.graph;
        let memory = engine.memory().charge(MemoryUse::Responses);
        memory.grow_to((nodes.len() + edges.len()) * size_of::<usize>())?;
        Ok(GraphDump {
            nodes: nodes.clone(),
            edges: edges.clone(),
            sequence: self.graph.sequence,
            memory: Some(memory),
            pin: None,
        })
    }
}

/// Runs a query that must return a graph.
pub(crate) fn run(
    engine: &Engine,
    query: &Query,
    interrupt: &Interrupt,
) -> Result<GraphDump, SelectionError> {
    let view = engine.graph().view();
    let sequence = view.sequence();
    let pin = view.pin(engine.memory());
    let interrupt = || interrupt.is_set();
    let memory = engine.memory().charge(MemoryUse::Queries);
    let options = QueryOptions::default()
        .with_interrupt(&interrupt)
        .with_memory(&memory);
    let answer = engine.run_on(&view, query, options);
    match answer.map_err(SelectionError::Query)? {
        Answer::Graph { nodes, edges } => Ok(GraphDump {
            nodes,
            edges,
            sequence,
            memory: Some(memory.into_use(MemoryUse::Responses)),
            pin: Some(pin),
        }),
        _ => Err(SelectionError::NoGraph),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use skylib::engine::EngineOptions;
    use skylib::graph::{Metadata, Node};

    use super::*;

    /// A client without the permission to call workflows can have a filter.
    #[test]
    fn a_filter_calls_no_workflow() {
        let engine = Engine::start(EngineOptions::new("test")).unwrap();
        let query = Query::parse("G.Workflow('FlowMatrix')").unwrap();
        let (interrupt, _guard) = Interrupt::new();
        match run(&engine, &query, &interrupt) {
            Err(SelectionError::Query(error)) => {
                assert_eq!(error.message(), "Workflow is not available here");
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn subscribers_with_the_same_filter_share_one_result() {
        let engine = Engine::start(EngineOptions::new("test")).unwrap();
        let slots = QuerySlots::new(4, Duration::from_secs(20));
        let selections = Selections::default();
        let filter = |text: &str| selections.filter(&Query::parse(text).unwrap());
        let first = filter("G.V().Out().SubGraph()");
        let second = filter("g.v().out().subgraph()");
        assert!(
            Arc::ptr_eq(&first, &second),
            "the same query in other words"
        );
        let now = engine.graph().view().sequence();
        let one = first.at_least(now, &engine, &slots).await.unwrap();
        let two = second.at_least(now, &engine, &slots).await.unwrap();
        assert!(Arc::ptr_eq(&one, &two));
        engine.graph().update_as(None, |graph, now| {
            graph
                .add_node(Node::new("a", Metadata::new(), now))
                .unwrap();
        });
        let newer = first.at_least(now + 1, &engine, &slots).await.unwrap();
        assert!(newer.graph.sequence > now && !Arc::ptr_eq(&one, &newer));
        let other = filter("G.V().In().SubGraph()");
        assert!(!Arc::ptr_eq(&first, &other));
        drop((first, second));
        let wrong = filter("G.V()").at_least(0, &engine, &slots).await;
        assert!(matches!(wrong, Err(SelectionError::NoGraph)));
        let count = selections.0.lock().unwrap().len();
        assert!(count <= 2, "filters without subscribers are forgotten");
        engine.stop();
    }
}
