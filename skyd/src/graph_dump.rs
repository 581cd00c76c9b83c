//! Snapshot of the whole graph: handles are collected quickly and sent at the pace of the client.

use std::sync::Arc;

use skylib::engine::Engine;
use skylib::filter::Filter;
use skylib::graph::{Edge, GraphError, GraphReader as _, Node};

/// Handles of all nodes and edges at one sequence number.
#[derive(Debug, Default)]
pub(crate) struct GraphDump {
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) edges: Vec<Arc<Edge>>,
    /// Sequence number of the last change that the dump contains.
    pub(crate) sequence: u64,
}

impl GraphDump {
    /// Collects the handles. Blocks for some milliseconds if the graph is large.
    ///
    /// # Errors
    /// If the graph changes so fast that it expires several snapshots in a row.
    pub(crate) fn collect(engine: &Engine) -> Result<Self, GraphError> {
        let mut result = Self::try_collect(engine);
        for _ in 1..ATTEMPTS {
            if result.is_ok() {
                break;
            }
            result = Self::try_collect(engine);
        }
        result
    }

    fn try_collect(engine: &Engine) -> Result<Self, GraphError> {
        let view = engine.graph().view();
        let mut nodes = Vec::with_capacity(view.node_count());
        let mut edges = Vec::with_capacity(view.edge_count());
        for node in view.nodes(&Filter::everything()) {
            nodes.push(node?.into_element());
        }
        for edge in view.edges(&Filter::everything()) {
            edges.push(edge?.into_element());
        }
        Ok(Self {
            nodes,
            edges,
            sequence: view.sequence(),
        })
    }
}

/// Snapshots that are tried.
const ATTEMPTS: u32 = 3;
