//! Nodes and edges as resources: parts of the live graph that clients bring.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ResourceError;
use super::go_json;
use crate::filter::Filter;
use crate::graph::schema::{self, SchemaError};
use crate::graph::{
    Edge, EdgeId, Graph, GraphError, GraphReader as _, GraphView, Metadata, Node, NodeId,
};
use crate::time::Timestamp;

/// What clients do to nodes and edges in the same way.
pub trait GraphResource: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Path segment in the API and kind in the store: `node`, `edge`.
    const KIND: &'static str;

    /// Reads a client's element; what it leaves out of the times is `now`.
    ///
    /// # Errors
    /// When the text is no such element, in the words of the original.
    fn from_json(text: &[u8], now: Timestamp) -> Result<Self, GraphError>;

    /// What it must look like.
    ///
    /// # Errors
    /// All that is wrong with it.
    fn check(&self) -> Result<(), SchemaError>;

    /// Its name in the graph.
    fn id(&self) -> String;

    /// Who brought it.
    fn origin(&self) -> &str;

    /// Sets who brought it.
    fn set_origin(&mut self, origin: &str);

    /// What is known about it.
    fn metadata(&self) -> &Metadata;

    /// Makes it one that lives.
    fn revive(&mut self);

    /// Metadata by which a capture finds what to open. Of an element of this server's own probes
    /// nobody else may say them.
    const DEFINING: &'static [&'static str];

    /// What clients cannot change is as it was before.
    fn protect(_metadata: &mut Metadata, _before: &Metadata) {}

    /// How many there are.
    fn count(graph: &Graph) -> usize;

    /// The one with an id.
    fn find(graph: &Graph, id: &str) -> Option<Arc<Self>>;

    /// All as of one moment.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    fn all(view: &GraphView<'_>) -> Result<Vec<Arc<Self>>, GraphError>;

    /// Puts it into a graph.
    ///
    /// # Errors
    /// When its id is taken, or an end of an edge is not there.
    fn add(self, graph: &mut Graph) -> Result<(), GraphError>;

    /// Replaces its metadata; `false` where they are equal already.
    ///
    /// # Errors
    /// When it is not there.
    fn set_metadata(
        graph: &mut Graph,
        id: &str,
        metadata: Metadata,
        now: Timestamp,
    ) -> Result<bool, GraphError>;

    /// Takes it out of a graph.
    ///
    /// # Errors
    /// When it is not there.
    fn delete(graph: &mut Graph, id: &str, now: Timestamp) -> Result<(), GraphError>;
}

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

/// Reads the element at the beginning of a client's text and checks it.
///
/// ```
/// use skylib::api::read_element;
/// use skylib::graph::Node;
/// use skylib::time::Timestamp;
/// let text = r#"{"ID":"n1","Metadata":{"Name":"eth0","Type":"device"}} and more"#;
/// let node: Node = read_element(text, Timestamp::from_ms(7))?;
/// assert_eq!(node.created_at.as_ms(), 7);
/// # Ok::<(), skylib::api::ResourceError>(())
/// ```
///
/// # Errors
/// When the text is no such element, or breaks the schema of its kind.
pub fn read_element<E: GraphResource>(text: &str, now: Timestamp) -> Result<E, ResourceError> {
    let object = go_json::first_object(text)?;
    let mut element = E::from_json(object.get().as_bytes(), now)?;
    element.check()?;
    element.revive();
    Ok(element)
}
