//! The network as a live graph: nodes, edges, their metadata, and what happens to them.
//!
//! A [`Graph`] is a plain value with one owner, changed through `&mut self`; time comes in as an
//! argument. Probes, publishers and REST change it, every change leaves a [`GraphEvent`] that the
//! owner takes and hands on.
//!
//! ```
//! use skylib::graph::{Direction, Edge, Graph, GraphEvent, Metadata, MetadataOp, Node, NodeId};
//! use skylib::time::Timestamp;
//!
//! let now = Timestamp::from_ms(1000);
//! let named = |name| Metadata::from_iter([("Name", name), ("Type", "device")]);
//! let mut graph = Graph::new().with_journal();
//! graph.add_node(Node::new("a", named("eth0"), now))?;
//! graph.add_node(Node::new("b", named("eth1"), now))?;
//! graph.add_edge(Edge::between("a", "b", Metadata::new(), now))?;
//!
//! let a = NodeId::from("a");
//! let beside: Vec<_> = graph.edges_of(&a, Direction::Both).map(|(_, node)| &node.id).collect();
//! assert_eq!(beside, [&NodeId::from("b")]);
//!
//! graph.take_events();
//! let later = Timestamp::from_ms(2000);
//! assert!(graph.patch_node(&a, &[MetadataOp::set("State", "UP")], later)?);
//! assert!(!graph.patch_node(&a, &[MetadataOp::set("State", "UP")], later)?, "nothing new");
//! assert!(matches!(&graph.take_events()[..], [GraphEvent::NodeUpdated { node, .. }]
//!     if node.revision == 2 && node.updated_at == later));
//! # Ok::<(), skylib::graph::GraphError>(())
//! ```

mod access;
mod adjacency;
mod edge;
mod element;
mod error;
mod event;
pub mod history;
mod index;
mod index_probe;
mod insertion_order;
mod interning;
mod json;
mod key;
mod metadata;
mod mvcc;
mod node;
mod open_views;
mod origin;
mod posting_list;
mod scan;
pub mod schema;
mod storage;
#[cfg(test)]
mod tests;
mod view;

pub use access::{GraphAccess, GraphWriter, Processor};
pub use edge::Edge;
pub use element::{EdgeId, NodeId};
pub use error::GraphError;
pub use event::GraphEvent;
pub use index_probe::IndexProbe;
pub(crate) use json::WriteJson;
pub use key::{ElementKey, MetadataKey};
pub use metadata::{Metadata, MetadataOp};
pub use node::Node;
pub use origin::Origin;
pub use view::{EdgeRef, ElementRef, GraphView, NodeRef};

use std::fmt;
use std::sync::Arc;

use self::element::Element;
use self::index::DEFAULT_KEYS;
use self::interning::Interner;
use self::storage::{EdgeIndex, NodeIndex, PastLimits, Storage};
use crate::filter::{Fields as _, Predicate};
use crate::time::Timestamp;
use crate::value::{Text, Value};

/// Which edges of a node: those it is the parent of, those it is the child of, or all.
///
/// Complete by definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From parent to child.
    Out,
    /// From child to parent.
    In,
    /// Either.
    Both,
}

/// A directed graph of nodes and edges with metadata; see the [module](self).
#[derive(Default)]
pub struct Graph {
    storage: Storage,
    sharing: Interner,
    /// Events since the last [`Graph::take_events`]; `None` unless requested.
    journal: Option<Vec<GraphEvent>>,
}

/// Changes.
impl Graph {
    /// An empty graph that indexes `Type`, `Name`, `TID`, `MAC` and `Manager`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty graph that indexes these metadata keys as well.
    ///
    /// ```
    /// use skylib::graph::Graph;
    /// let graph = Graph::with_indexes(["Docker.Labels.app", "Name"]);
    /// assert_eq!(graph.indexed_keys().count(), 6);
    /// ```
    pub fn with_indexes<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all = DEFAULT_KEYS.to_vec();
        for key in keys {
            if !all.contains(&key) {
                all.push(key);
            }
        }
        Self {
            storage: Storage::with_indexes(all),
            ..Self::default()
        }
    }

    /// Returns the same graph with a journal of its changes.
    ///
    /// The journal grows with every change until [`Graph::take_events`] empties it, so the owner
    /// must call that regularly. Without a journal, the default, changes leave no events.
    ///
    /// ```
    /// use skylib::graph::{Graph, GraphEvent, Metadata, Node};
    /// use skylib::time::Timestamp;
    ///
    /// let mut graph = Graph::new().with_journal();
    /// graph.add_node(Node::new("eth0", Metadata::new(), Timestamp::ZERO))?;
    /// assert!(matches!(&graph.take_events()[..], [GraphEvent::NodeAdded(node)] if node.revision == 1));
    /// # Ok::<(), skylib::graph::GraphError>(())
    /// ```
    #[must_use]
    pub fn with_journal(mut self) -> Self {
        self.journal.get_or_insert_default();
        self
    }

    /// Bounds what is kept of the past for open views; the oldest view expires beyond it.
    ///
    /// 262 144 revisions and deleted elements, and 128 MiB, unless set.
    pub const fn set_past_limits(&mut self, revisions: usize, bytes: usize) {
        self.storage
            .set_past_limits(PastLimits { revisions, bytes });
    }

    /// Adds a node as it is.
    ///
    /// # Errors
    /// [`GraphError::NodeConflict`] where its id is taken, [`GraphError::MissingId`] for an empty
    /// one.
    pub fn add_node(&mut self, node: Node) -> Result<(), GraphError> {
        if node.id.is_empty() {
            return Err(GraphError::MissingId);
        }
        let node = Arc::new(self.sharing.node(node));
        self.storage.add_node(&node)?;
        self.record(|| GraphEvent::NodeAdded(node));
        Ok(())
    }

    /// Adds an edge as it is.
    ///
    /// # Errors
    /// [`GraphError::EdgeConflict`] where its id is taken, [`GraphError::ParentNotFound`] and then
    /// [`GraphError::ChildNotFound`] where an end is not there.
    pub fn add_edge(&mut self, edge: Edge) -> Result<(), GraphError> {
        if edge.id.is_empty() {
            return Err(GraphError::MissingId);
        }
        let edge = Arc::new(self.sharing.edge(edge));
        self.storage.add_edge(Arc::clone(&edge))?;
        self.record(|| GraphEvent::EdgeAdded(edge));
        Ok(())
    }

    /// Replaces a node's metadata; `false` and no new revision where it is equal already.
    ///
    /// # Errors
    /// [`GraphError::NodeNotFound`].
    pub fn set_node_metadata(
        &mut self,
        id: &NodeId,
        metadata: Metadata,
        now: Timestamp,
    ) -> Result<bool, GraphError> {
        let (index, node) = self.storage.find_node(id)?;
        let change = replaced(&**node, metadata, node.revision.saturating_add(1), now);
        Ok(self.revise_node(index, change))
    }

    /// Applies operations to a node's metadata: one revision, one event, idle operations left out.
    ///
    /// `false` and no new revision where all are idle.
    ///
    /// # Errors
    /// [`GraphError::NodeNotFound`].
    pub fn patch_node(
        &mut self,
        id: &NodeId,
        ops: &[MetadataOp],
        now: Timestamp,
    ) -> Result<bool, GraphError> {
        let (index, node) = self.storage.find_node(id)?;
        let change = patched(&**node, ops, node.revision.saturating_add(1), now);
        Ok(self.revise_node(index, change.filter(|c| !c.is_idle())))
    }

    /// Takes over another graph's revision of a node: metadata, revision and update time.
    ///
    /// `false` and no change unless that revision is greater than the one held.
    ///
    /// # Errors
    /// [`GraphError::NodeNotFound`].
    pub fn sync_node(&mut self, node: &Node) -> Result<bool, GraphError> {
        let (index, held) = self.storage.find_node(&node.id)?;
        let change = (node.revision > held.revision).then(|| {
            revised(
                &**held,
                node.metadata.clone(),
                node.revision,
                node.updated_at,
            )
        });
        Ok(self.revise_node(index, change))
    }

    /// Takes over another graph's partial update of a node.
    ///
    /// `false` and no change unless that revision is greater than the one held.
    ///
    /// # Errors
    /// [`GraphError::NodeNotFound`].
    pub fn sync_patch_node(
        &mut self,
        id: &NodeId,
        revision: i64,
        updated_at: Timestamp,
        ops: &[MetadataOp],
    ) -> Result<bool, GraphError> {
        let (index, held) = self.storage.find_node(id)?;
        let change =
            (revision > held.revision).then(|| patched(&**held, ops, revision, updated_at));
        Ok(self.revise_node(index, change.flatten()))
    }

    /// Replaces an edge's metadata; `false` and no new revision where it is equal already.
    ///
    /// # Errors
    /// [`GraphError::EdgeNotFound`].
    pub fn set_edge_metadata(
        &mut self,
        id: &EdgeId,
        metadata: Metadata,
        now: Timestamp,
    ) -> Result<bool, GraphError> {
        let (index, edge) = self.storage.find_edge(id)?;
        let change = replaced(&**edge, metadata, edge.revision.saturating_add(1), now);
        Ok(self.revise_edge(index, change))
    }

    /// Applies operations to an edge's metadata, as [`Graph::patch_node`].
    ///
    /// # Errors
    /// [`GraphError::EdgeNotFound`].
    pub fn patch_edge(
        &mut self,
        id: &EdgeId,
        ops: &[MetadataOp],
        now: Timestamp,
    ) -> Result<bool, GraphError> {
        let (index, edge) = self.storage.find_edge(id)?;
        let change = patched(&**edge, ops, edge.revision.saturating_add(1), now);
        Ok(self.revise_edge(index, change.filter(|c| !c.is_idle())))
    }

    /// Takes over another graph's revision of an edge, as [`Graph::sync_node`].
    ///
    /// # Errors
    /// [`GraphError::EdgeNotFound`].
    pub fn sync_edge(&mut self, edge: &Edge) -> Result<bool, GraphError> {
        let (index, held) = self.storage.find_edge(&edge.id)?;
        let change = (edge.revision > held.revision).then(|| {
            revised(
                &**held,
                edge.metadata.clone(),
                edge.revision,
                edge.updated_at,
            )
        });
        Ok(self.revise_edge(index, change))
    }

    /// Takes over another graph's partial update of an edge, as [`Graph::sync_patch_node`].
    ///
    /// # Errors
    /// [`GraphError::EdgeNotFound`].
    pub fn sync_patch_edge(
        &mut self,
        id: &EdgeId,
        revision: i64,
        updated_at: Timestamp,
        ops: &[MetadataOp],
    ) -> Result<bool, GraphError> {
        let (index, held) = self.storage.find_edge(id)?;
        let change =
            (revision > held.revision).then(|| patched(&**held, ops, revision, updated_at));
        Ok(self.revise_edge(index, change.flatten()))
    }

    /// Deletes a node after its edges, all at the same time.
    ///
    /// # Errors
    /// [`GraphError::NodeNotFound`].
    pub fn delete_node(&mut self, id: &NodeId, now: Timestamp) -> Result<(), GraphError> {
        let (index, _) = self.storage.find_node(id)?;
        let (edges, node) = self.storage.delete_node(index);
        for edge in edges {
            self.record(|| GraphEvent::EdgeDeleted(Arc::new(edge.deleted(now))));
        }
        if let Some(node) = node {
            self.record(|| GraphEvent::NodeDeleted(Arc::new(node.deleted(now))));
        }
        Ok(())
    }

    /// Deletes an edge.
    ///
    /// # Errors
    /// [`GraphError::EdgeNotFound`].
    pub fn delete_edge(&mut self, id: &EdgeId, now: Timestamp) -> Result<(), GraphError> {
        let (index, _) = self.storage.find_edge(id)?;
        if let Some(edge) = self.storage.delete_edge(index) {
            self.record(|| GraphEvent::EdgeDeleted(Arc::new(edge.deleted(now))));
        }
        Ok(())
    }

    /// Deletes every node that somebody brought, with its edges; tells how many nodes.
    ///
    /// Edges of that origin between nodes of others stay (COMPAT: publishers that reconnect).
    pub fn delete_origin(&mut self, origin: &str, now: Timestamp) -> usize {
        let ids: Vec<NodeId> = self
            .nodes()
            .filter(|n| n.origin == *origin)
            .map(|n| n.id.clone())
            .collect();
        ids.iter()
            .filter(|id| self.delete_node(id, now).is_ok())
            .count()
    }

    /// Returns the events recorded since the last call, in causal order.
    ///
    /// Always empty unless the graph has a journal ([`Graph::with_journal`]).
    pub fn take_events(&mut self) -> Vec<GraphEvent> {
        self.journal
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }
}

/// Looking.
impl Graph {
    /// The node with an id.
    #[must_use]
    pub fn node(&self, id: &NodeId) -> Option<&Arc<Node>> {
        self.storage.find_node(id).ok().map(|(_, node)| node)
    }

    /// The edge with an id.
    #[must_use]
    pub fn edge(&self, id: &EdgeId) -> Option<&Arc<Edge>> {
        self.storage.find_edge(id).ok().map(|(_, edge)| edge)
    }

    /// All nodes in the order they came.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.storage.nodes()
    }

    /// All edges in the order they came.
    pub fn edges(&self) -> impl Iterator<Item = &Arc<Edge>> {
        self.storage.edges()
    }

    /// Number of nodes.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.storage.node_count()
    }

    /// Number of edges.
    #[must_use]
    pub fn edge_count(&self) -> usize {
        self.storage.edge_count()
    }

    /// The edges of a node, each with the node at its other end: outgoing ones first, each kind in
    /// the order it came. A loop is given once. Nothing for an unknown node.
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

    /// The nodes that hold a value at a key, by the equality of filters: text matches only text, a
    /// list matches if one of its elements does. Indexed keys are looked up, others cost a scan.
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

    /// The first edge from a parent to a child that a test accepts.
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

    /// A number that grows with every change.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.storage.sequence()
    }

    /// The metadata keys that are indexed.
    pub fn indexed_keys(&self) -> impl Iterator<Item = &str> {
        self.storage.indexed_keys().map(Text::as_str)
    }

    pub(in crate::graph) const fn storage(&self) -> &Storage {
        &self.storage
    }
}

impl Graph {
    fn record(&mut self, event: impl FnOnce() -> GraphEvent) {
        if let Some(journal) = &mut self.journal {
            journal.push(event());
        }
    }

    fn revise_node(&mut self, index: NodeIndex, change: Option<Change<Node>>) -> bool {
        let Some(Change { element, ops }) = change else {
            return false;
        };
        let node = Arc::new(self.sharing.node(element));
        self.storage.revise_node(index, Arc::clone(&node));
        self.record(|| GraphEvent::NodeUpdated { node, ops });
        true
    }

    fn revise_edge(&mut self, index: EdgeIndex, change: Option<Change<Edge>>) -> bool {
        let Some(Change { element, ops }) = change else {
            return false;
        };
        let edge = Arc::new(self.sharing.edge(element));
        self.storage.revise_edge(index, Arc::clone(&edge));
        self.record(|| GraphEvent::EdgeUpdated { edge, ops });
        true
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Graph({} nodes, {} edges)",
            self.node_count(),
            self.edge_count()
        )
    }
}

/// A new revision of an element and what it differs in.
struct Change<E> {
    element: E,
    ops: Option<Arc<[MetadataOp]>>,
}

impl<E> Change<E> {
    fn is_idle(&self) -> bool {
        self.ops.as_ref().is_some_and(|ops| ops.is_empty())
    }
}

fn revised<E: Element>(old: &E, metadata: Metadata, revision: i64, at: Timestamp) -> Change<E> {
    let ops = metadata::difference(old.metadata(), &metadata).map(Arc::from);
    Change {
        element: old.revised(metadata, revision, at),
        ops,
    }
}

fn replaced<E: Element>(
    old: &E,
    metadata: Metadata,
    revision: i64,
    at: Timestamp,
) -> Option<Change<E>> {
    (*old.metadata() != metadata).then(|| revised(old, metadata, revision, at))
}

fn patched<E: Element>(
    old: &E,
    ops: &[MetadataOp],
    revision: i64,
    at: Timestamp,
) -> Option<Change<E>> {
    let mut metadata = old.metadata().clone();
    let done = metadata::apply_all(ops, &mut metadata);
    Some(Change {
        element: old.revised(metadata, revision, at),
        ops: Some(done.into()),
    })
}

/// The filter predicate that equality with a literal is; none for literals that equal nothing.
fn equality(value: &Value) -> Option<Predicate> {
    match value {
        Value::Text(text) => Some(Predicate::Text(text.clone())),
        Value::Bool(bool) => Some(Predicate::Bool(*bool)),
        Value::Int(_) | Value::Float(_) | Value::Null => value.to_int().map(Predicate::Int),
        Value::List(_) | Value::Map(_) => None,
    }
}
