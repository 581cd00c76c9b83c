//! The whole graph as of one moment, taken quickly and sent at the reader's pace.

use std::sync::Arc;

use skylib::engine::Engine;
use skylib::filter::Filter;
use skylib::graph::{Edge, GraphError, GraphReader as _, Node};

/// Handles of all elements.
#[derive(Debug, Default)]
pub(crate) struct WholeGraph {
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) edges: Vec<Arc<Edge>>,
    /// The last change in it.
    pub(crate) sequence: u64,
}

impl WholeGraph {
    /// Collects the handles; blocks for some milliseconds where the graph is large.
    ///
    /// # Errors
    /// When so much changes meanwhile that the graph gives up several views in a row.
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

const ATTEMPTS: u32 = 3;
