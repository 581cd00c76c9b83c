//! Edges as clients bring them.

use std::sync::Arc;

use super::GraphResource;
use crate::filter::Filter;
use crate::graph::schema::{self, SchemaError};
use crate::graph::{Edge, EdgeId, Graph, GraphError, GraphReader as _, GraphView, Metadata};
use crate::time::Timestamp;

impl GraphResource for Edge {
    const KIND: &'static str = "edge";
    const DEFINING: &'static [&'static str] = &["RelationType"];

    fn from_json(text: &[u8], now: Timestamp) -> Result<Self, GraphError> {
        Self::from_json(text, now)
    }

    fn check(&self) -> Result<(), SchemaError> {
        schema::check_edge_metadata(&self.metadata)
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

    fn count(graph: &Graph) -> usize {
        graph.edge_count()
    }

    fn find(graph: &Graph, id: &str) -> Option<Arc<Self>> {
        graph.edge(&EdgeId::from(id)).cloned()
    }

    fn all(view: &GraphView<'_>) -> Result<Vec<Arc<Self>>, GraphError> {
        let mut all = Vec::with_capacity(view.edge_count());
        for edge in view.edges(&Filter::everything()) {
            all.push(edge?.into_element());
        }
        Ok(all)
    }

    fn add(self, graph: &mut Graph) -> Result<(), GraphError> {
        graph.add_edge(self)
    }

    fn set_metadata(
        graph: &mut Graph,
        id: &str,
        metadata: Metadata,
        now: Timestamp,
    ) -> Result<bool, GraphError> {
        graph.set_edge_metadata(&EdgeId::from(id), metadata, now)
    }

    fn delete(graph: &mut Graph, id: &str, now: Timestamp) -> Result<(), GraphError> {
        graph.delete_edge(&EdgeId::from(id), now)
    }
}
