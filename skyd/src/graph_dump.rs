//! Snapshot of the whole graph: handles are collected quickly, and the elements are sent at the
//! pace of the client.

use std::sync::Arc;

use skylib::engine::Engine;
use skylib::filter::Filter;
use skylib::graph::{Edge, GraphError, GraphReader as _, Node, RevisionPin};
use skylib::memory::{MemoryCharge, MemoryExhausted, MemoryUse};

/// Handles of all nodes and edges at one sequence number.
#[derive(Debug, Default)]
pub(crate) struct GraphDump {
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) edges: Vec<Arc<Edge>>,
    /// Sequence number of the last change that the dump contains.
    pub(crate) sequence: u64,
    /// Charge for the memory of the handles.
    pub(crate) memory: Option<MemoryCharge>,
    /// Registration of the revisions that the handles hold.
    pub(crate) pin: Option<RevisionPin>,
}

/// Reason why there is no dump.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum DumpError {
    /// The graph changes so fast that several snapshots in a row expired.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The memory budget is currently too small for the handles.
    #[error(transparent)]
    Memory(#[from] MemoryExhausted),
    /// The client no longer waits for the dump.
    #[error("the query was interrupted")]
    Interrupted,
}

impl GraphDump {
    /// Collects the handles. Blocks for several milliseconds if the graph is large.
    ///
    /// # Errors
    /// Returns [`DumpError`] if the graph changes too fast, the memory budget is exhausted, or
    /// `is_interrupted` returns `true`.
    pub(crate) fn collect(
        engine: &Engine,
        is_interrupted: &dyn Fn() -> bool,
    ) -> Result<Self, DumpError> {
        let mut result = Self::try_collect(engine, is_interrupted);
        for _ in 1..ATTEMPTS {
            if !matches!(result, Err(DumpError::Graph(_))) {
                break;
            }
            result = Self::try_collect(engine, is_interrupted);
        }
        result
    }

    fn try_collect(engine: &Engine, is_interrupted: &dyn Fn() -> bool) -> Result<Self, DumpError> {
        let view = engine.graph().view();
        let pin = view.pin(engine.memory());
        let memory = engine.memory().charge(MemoryUse::Responses);
        memory.grow_to((view.node_count() + view.edge_count()) * size_of::<Arc<Node>>())?;
        let mut nodes = Vec::with_capacity(view.node_count());
        let mut edges = Vec::with_capacity(view.edge_count());
        let check = |count: usize| match count.is_multiple_of(CHECK_INTERVAL) && is_interrupted() {
            true => Err(DumpError::Interrupted),
            false => Ok(()),
        };
        for node in view.nodes(&Filter::everything()) {
            nodes.push(node?.into_element());
            check(nodes.len())?;
        }
        for edge in view.edges(&Filter::everything()) {
            edges.push(edge?.into_element());
            check(edges.len())?;
        }
        Ok(Self {
            nodes,
            edges,
            sequence: view.sequence(),
            memory: Some(memory),
            pin: Some(pin),
        })
    }
}

/// Number of elements between two polls of the interrupt.
const CHECK_INTERVAL: usize = 4096;
/// Maximum number of snapshots that are tried.
const ATTEMPTS: u32 = 3;
