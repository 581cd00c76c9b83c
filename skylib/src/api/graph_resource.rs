//! `GraphResource`: nodes and edges as resources that clients add to the live graph.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ResourceError, go_json};
use crate::filter::Filter;
use crate::graph::schema::{self, SchemaError};
use crate::graph::{
    Edge, EdgeId, Graph, GraphError, GraphReader as _, GraphView, Metadata, Node, NodeId,
};
use crate::time::Timestamp;

/// Operations that clients perform on nodes and on edges in the same way.
///
/// ```
/// use skylib::api::GraphResource;
/// use skylib::graph::Node;
/// use skylib::time::Timestamp;
/// let text = r#"{"ID":"n1","Metadata":{"Name":"eth0","Type":"device"}} and more"#;
/// let node = Node::read(text, Timestamp::from_ms(7))?;
/// assert_eq!(node.created_at.as_ms(), 7);
/// # Ok::<(), skylib::api::ResourceError>(())
/// ```
pub trait GraphResource: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Path segment in the API and kind in the document store: `node` or `edge`.
    const KIND: &'static str;

    /// Metadata keys by which a capture finds the interface to open. Only the probes of this host
    /// may change these keys in elements that they added.
    const DEFINING: &'static [&'static str];

    /// Metadata keys that a patch cannot change or remove.
    const PROTECTED: &'static [&'static str];

    /// Parses the element at the beginning of a client's document and checks its schema.
    ///
    /// Absent times are set to `now`. The time of deletion is ignored: the element exists.
    ///
    /// # Errors
    /// Returns [`ResourceError`] if the document is not an element of this kind, or violates the
    /// schema.
    fn read(text: &str, now: Timestamp) -> Result<Self, ResourceError> {
        let object = go_json::first_object(text)?;
        let mut element = Self::from_json(object.get().as_bytes(), now)?;
        element.check()?;
        element.clear_deletion();
        Ok(element)
    }

    /// Parses the JSON of an element; absent times are set to `now`.
    ///
    /// # Errors
    /// Returns [`GraphError`] with the message of Skydive if the document is not an element of this
    /// kind.
    fn from_json(text: &[u8], now: Timestamp) -> Result<Self, GraphError>;

    /// Checks the metadata against the schema.
    ///
    /// # Errors
    /// Returns [`SchemaError`] with all violations if the metadata violates the schema.
    fn check(&self) -> Result<(), SchemaError>;

    /// Returns the identifier in the graph.
    fn id(&self) -> String;

    /// Returns the service that added the element, such as `api.edge-01`; empty if unknown.
    fn origin(&self) -> &str;

    /// Sets the service that added the element.
    fn set_origin(&mut self, origin: &str);

    /// Returns the metadata.
    fn metadata(&self) -> &Metadata;

    /// Clears the time of deletion.
    fn clear_deletion(&mut self);

    /// Restores the protected keys that the metadata before a patch had.
    fn protect(metadata: &mut Metadata, before: &Metadata) {
        for key in Self::PROTECTED {
            if let Some(value) = before.get(key) {
                metadata.set(key, value.clone());
            }
        }
    }

    /// Returns the number of elements in a graph.
    fn count(graph: &Graph) -> usize;

    /// Returns the element with this id.
    fn find(graph: &Graph, id: &str) -> Option<Arc<Self>>;

    /// Returns all elements of a snapshot.
    ///
    /// # Errors
    /// Returns [`GraphError::ViewExpired`] if the snapshot has expired.
    fn all(view: &GraphView<'_>) -> Result<Vec<Arc<Self>>, GraphError>;

    /// Adds the element to a graph.
    ///
    /// # Errors
    /// Returns [`GraphError`] if the id is in use, or an end of an edge does not exist.
    fn add(self, graph: &mut Graph) -> Result<(), GraphError>;

    /// Replaces the metadata of an element; returns `false` if the metadata was already equal.
    ///
    /// # Errors
    /// Returns [`GraphError`] if the element does not exist.
    fn set_metadata(
        graph: &mut Graph,
        id: &str,
        metadata: Metadata,
        now: Timestamp,
    ) -> Result<bool, GraphError>;

    /// Deletes an element from a graph.
    ///
    /// # Errors
    /// Returns [`GraphError`] if the element does not exist.
    fn delete(graph: &mut Graph, id: &str, now: Timestamp) -> Result<(), GraphError>;
}

/// Implements [`GraphResource`] with the graph's functions for one type of element.
macro_rules! graph_resource {
    (
        $element:ident, $id:ident, $kind:literal,
        defining: $defining:expr,
        protected: $protected:expr,
        schema: $check:path,
        graph: $count:ident $find:ident $add:ident $set_metadata:ident $delete:ident,
        view: $elements:ident
    ) => {
        impl GraphResource for $element {
            const KIND: &'static str = $kind;
            const DEFINING: &'static [&'static str] = &$defining;
            const PROTECTED: &'static [&'static str] = &$protected;

            fn from_json(text: &[u8], now: Timestamp) -> Result<Self, GraphError> {
                Self::from_json(text, now)
            }

            fn check(&self) -> Result<(), SchemaError> {
                $check(&self.metadata)
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

            fn clear_deletion(&mut self) {
                self.deleted_at = None;
            }

            fn count(graph: &Graph) -> usize {
                graph.$count()
            }

            fn find(graph: &Graph, id: &str) -> Option<Arc<Self>> {
                graph.$find(&$id::from(id)).cloned()
            }

            fn all(view: &GraphView<'_>) -> Result<Vec<Arc<Self>>, GraphError> {
                let mut all = Vec::with_capacity(view.$count());
                for element in view.$elements(&Filter::everything()) {
                    all.push(element?.into_element());
                }
                Ok(all)
            }

            fn add(self, graph: &mut Graph) -> Result<(), GraphError> {
                graph.$add(self)
            }

            fn set_metadata(
                graph: &mut Graph,
                id: &str,
                metadata: Metadata,
                now: Timestamp,
            ) -> Result<bool, GraphError> {
                graph.$set_metadata(&$id::from(id), metadata, now)
            }

            fn delete(graph: &mut Graph, id: &str, now: Timestamp) -> Result<(), GraphError> {
                graph.$delete(&$id::from(id), now)
            }
        }
    };
}

graph_resource! {
    Node, NodeId, "node",
    defining: ["Type", "Name", "TID", "EncapType", "Path"],
    protected: ["TID", "Name", "Type"],
    schema: schema::check_node_metadata,
    graph: node_count node add_node set_node_metadata delete_node,
    view: nodes
}

graph_resource! {
    Edge, EdgeId, "edge",
    defining: ["RelationType"],
    protected: [],
    schema: schema::check_edge_metadata,
    graph: edge_count edge add_edge set_edge_metadata delete_edge,
    view: edges
}
