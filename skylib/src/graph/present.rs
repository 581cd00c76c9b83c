//! Reads of the present state of a [`Graph`] by its owner. Queries read a snapshot instead
//! ([`GraphView`](super::GraphView)).

use std::sync::Arc;

use super::storage::Storage;
use super::{Direction, Edge, EdgeId, ElementKey, Graph, Node, NodeId};
use crate::filter::{Fields as _, Predicate};
use crate::value::{Text, Value};

/// Reads of the present state, for the owner of the graph.
impl Graph {
    /// Returns the node with this id; `None` if there is none.
    #[must_use]
    pub fn node(&self, id: &NodeId) -> Option<&Arc<Node>> {
        self.storage.find_node(id).ok().map(|(_, node)| node)
    }

    /// Returns the edge with this id; `None` if there is none.
    #[must_use]
    pub fn edge(&self, id: &EdgeId) -> Option<&Arc<Edge>> {
        self.storage.find_edge(id).ok().map(|(_, edge)| edge)
    }

    /// Iterates over all nodes, in insertion order.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.storage.nodes()
    }

    /// Iterates over all edges, in insertion order.
    pub fn edges(&self) -> impl Iterator<Item = &Arc<Edge>> {
        self.storage.edges()
    }

    /// Returns the number of nodes.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.storage.node_count()
    }

    /// Returns the number of edges.
    #[must_use]
    pub fn edge_count(&self) -> usize {
        self.storage.edge_count()
    }

    /// Iterates over the edges of a node, each with the node at its other end: first the outgoing,
    /// then the incoming edges, both in insertion order; a loop is returned once. Empty for an
    /// unknown node.
    ///
    /// ```
    /// use skylib::graph::{Direction, Edge, Graph, Metadata, Node, NodeId};
    /// use skylib::time::Timestamp;
    ///
    /// let now = Timestamp::ZERO;
    /// let mut graph = Graph::new();
    /// graph.add_node(Node::new("br0", Metadata::new(), now))?;
    /// graph.add_node(Node::new("veth0", Metadata::new(), now))?;
    /// graph.add_edge(Edge::between("br0", "veth0", Metadata::new(), now))?;
    /// let bridge = NodeId::from("br0");
    /// assert_eq!(graph.edges_of(&bridge, Direction::Out).count(), 1);
    /// assert_eq!(graph.edges_of(&bridge, Direction::In).count(), 0);
    /// # Ok::<(), skylib::graph::GraphError>(())
    /// ```
    pub fn edges_of<'a>(
        &'a self,
        id: &NodeId,
        direction: Direction,
    ) -> impl Iterator<Item = (&'a Arc<Edge>, &'a Arc<Node>)> + use<'a> {
        let start = self.storage.find_node(id).ok().map(|(index, _)| index);
        start
            .into_iter()
            .flat_map(move |index| self.storage.edges_of(index, direction))
    }

    /// Iterates over the nodes that have a value at a metadata key, in insertion order.
    ///
    /// Values are compared as in filters: a string equals only a string, and an array equals a
    /// value if one of its elements does. An indexed key costs a lookup, any other key a scan of
    /// all nodes.
    ///
    /// ```
    /// use skylib::graph::{Graph, Metadata, Node};
    /// use skylib::time::Timestamp;
    /// use skylib::value::Value;
    ///
    /// let mut graph = Graph::new();
    /// let metadata = Metadata::from_iter([("Name", "eth0"), ("Driver", "virtio_net")]);
    /// graph.add_node(Node::new("1", metadata, Timestamp::ZERO))?;
    /// assert_eq!(graph.find_nodes("Name", &Value::from("eth0")).count(), 1);
    /// assert_eq!(graph.find_nodes("Driver", &Value::from("e1000")).count(), 0);
    /// # Ok::<(), skylib::graph::GraphError>(())
    /// ```
    pub fn find_nodes<'a>(
        &'a self,
        key: &str,
        value: &Value,
    ) -> Box<dyn Iterator<Item = &'a Arc<Node>> + 'a> {
        let Some(wanted) = equality(value) else {
            return Box::new(std::iter::empty());
        };
        if let Some(posting) = self.storage.posting(key, &wanted) {
            let found = posting
                .into_iter()
                .flat_map(|posting| self.storage.posted(posting, 0));
            return Box::new(found.filter_map(|(_, i)| self.storage.node_at(i, self.sequence())));
        }
        let key = ElementKey::parse(key);
        Box::new(self.nodes().filter(move |node| node.test(&key, &wanted)))
    }

    /// Returns the first edge from a parent to a child for which `accept` returns true.
    ///
    /// ```
    /// use skylib::graph::{Edge, Graph, Metadata, Node, NodeId};
    /// use skylib::time::Timestamp;
    ///
    /// let now = Timestamp::ZERO;
    /// let mut graph = Graph::new();
    /// graph.add_node(Node::new("host", Metadata::new(), now))?;
    /// graph.add_node(Node::new("eth0", Metadata::new(), now))?;
    /// let ownership = Metadata::from_iter([("RelationType", Edge::OWNERSHIP)]);
    /// graph.add_edge(Edge::between("host", "eth0", ownership, now))?;
    /// let (host, interface) = (NodeId::from("host"), NodeId::from("eth0"));
    /// assert!(graph.find_edge(&host, &interface, Edge::is_ownership).is_some());
    /// assert!(graph.find_edge(&interface, &host, |_| true).is_none());
    /// # Ok::<(), skylib::graph::GraphError>(())
    /// ```
    #[must_use]
    pub fn find_edge(
        &self,
        parent: &NodeId,
        child: &NodeId,
        mut accept: impl FnMut(&Edge) -> bool,
    ) -> Option<&Arc<Edge>> {
        self.edges_of(parent, Direction::Out)
            .map(|(edge, _)| edge)
            .find(|edge| edge.child == *child && accept(edge))
    }

    /// Returns the sequence number of the last change; each change increments it.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.storage.sequence()
    }

    /// Iterates over the indexed metadata keys.
    pub fn indexed_keys(&self) -> impl Iterator<Item = &str> {
        self.storage.indexed_keys().map(Text::as_str)
    }

    pub(in crate::graph) const fn storage(&self) -> &Storage {
        &self.storage
    }
}

/// Returns the predicate that tests for equality with a value; `None` for values that equal
/// nothing.
pub(super) fn equality(value: &Value) -> Option<Predicate> {
    match value {
        Value::Text(text) => Some(Predicate::Text(text.clone())),
        Value::Bool(bool) => Some(Predicate::Bool(*bool)),
        Value::Int(_) | Value::Float(_) | Value::Null => value.to_int().map(Predicate::Int),
        Value::List(_) | Value::Map(_) => None,
    }
}
