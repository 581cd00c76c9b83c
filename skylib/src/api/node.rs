//! Nodes as clients bring them.

use std::sync::Arc;

use super::GraphResource;
use crate::filter::Filter;
use crate::graph::schema::{self, SchemaError};
use crate::graph::{Graph, GraphError, GraphReader as _, GraphView, Metadata, Node, NodeId};
use crate::time::Timestamp;

impl GraphResource for Node {
    const KIND: &'static str = "node";
    const DEFINING: &'static [&'static str] = &["Type", "Name", "TID", "EncapType", "Path"];

    fn from_json(text: &[u8], now: Timestamp) -> Result<Self, GraphError> {
        Self::from_json(text, now)
    }

    fn check(&self) -> Result<(), SchemaError> {
        schema::check_node_metadata(&self.metadata)
    }

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn origin(&self) -> &str {
        &self.origin
    }

    fn set_origin(&mut self, origin: &str) {
        self.origin = origin.into();
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn revive(&mut self) {
        self.deleted_at = None;
    }

    /// A patch changes neither what a node is nor what captures know it by.
    fn protect(metadata: &mut Metadata, before: &Metadata) {
        for key in ["TID", "Name", "Type"] {
            if let Some(value) = before.get(key) {
                metadata.set(key, value.clone());
            }
        }
    }

    fn count(graph: &Graph) -> usize {
        graph.node_count()
    }

    fn find(graph: &Graph, id: &str) -> Option<Arc<Self>> {
        graph.node(&NodeId::from(id)).cloned()
    }

    fn all(view: &GraphView<'_>) -> Result<Vec<Arc<Self>>, GraphError> {
        let mut all = Vec::with_capacity(view.node_count());
        for node in view.nodes(&Filter::everything()) {
            all.push(node?.into_element());
        }
        Ok(all)
    }

    fn add(self, graph: &mut Graph) -> Result<(), GraphError> {
        graph.add_node(self)
    }

    fn set_metadata(
        graph: &mut Graph,
        id: &str,
        metadata: Metadata,
        now: Timestamp,
    ) -> Result<bool, GraphError> {
        graph.set_node_metadata(&NodeId::from(id), metadata, now)
    }

    fn delete(graph: &mut Graph, id: &str, now: Timestamp) -> Result<(), GraphError> {
        graph.delete_node(&NodeId::from(id), now)
    }
}
