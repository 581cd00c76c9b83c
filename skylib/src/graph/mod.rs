//! The network as a live graph: nodes and edges with metadata, snapshots, and history.
//!
//! A [`Graph`] is a plain value with one owner that is changed through `&mut self`; the current time
//! is an argument. It never blocks and reads no clock. Probes, publishers, and REST clients change
//! it; if it has a journal, every change adds a [`GraphEvent`] that the owner takes and forwards.
//! Queries read a snapshot of it ([`GraphView`]) or of its past ([`history::PastView`]) through
//! [`GraphReader`], while the graph changes.
//!
//! Elements are stored in a `petgraph` structure with hash indexes on ids and on chosen metadata
//! keys. Snapshots are implemented by multi-version concurrency control (MVCC): the graph stores old
//! revisions as long as an open snapshot needs them, within limits.
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
//! let neighbors: Vec<_> = graph.edges_of(&a, Direction::Both).map(|(_, node)| &node.id).collect();
//! assert_eq!(neighbors, [&NodeId::from("b")]);
//!
//! graph.take_events();
//! let later = Timestamp::from_ms(2000);
//! assert!(graph.patch_node(&a, &[MetadataOp::set("State", "UP")], later)?);
//! assert!(!graph.patch_node(&a, &[MetadataOp::set("State", "UP")], later)?, "no change");
//! assert!(matches!(&graph.take_events()[..], [GraphEvent::NodeUpdated { node, .. }]
//!     if node.revision == 2 && node.updated_at == later));
//! # Ok::<(), skylib::graph::GraphError>(())
//! ```

mod access;
mod adjacency;
mod change;
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
mod pins;
mod posting_list;
mod present;
mod reader;
mod scan;
pub mod schema;
mod storage;
#[cfg(test)]
mod tests;
pub(crate) mod typed_keys;
mod view;
mod write_limits;

pub use access::{GraphAccess, GraphWriter, Processor};
pub use edge::Edge;
pub use element::{EdgeId, NodeId};
pub use error::GraphError;
pub use event::GraphEvent;
pub(crate) use json::WriteJson;
pub use key::{ElementKey, MetadataKey};
pub use metadata::{Metadata, MetadataOp};
pub use node::Node;
pub use origin::Origin;
pub use pins::RevisionPin;
pub use reader::{
    EdgeEnds, EdgeRef, Edges, ElementRef, GraphReader, Hop, Hops, IndexUse, Neighbor, Neighbors,
    NodeRef, Nodes, SnapshotIter,
};
pub use view::GraphView;
pub use write_limits::WriteLimits;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use self::change::{Change, patched, replaced, revised};
use self::element::Element as _;
use self::index::DEFAULT_KEYS;
use self::interning::Interner;
use self::storage::{EdgeIndex, NodeIndex, PastLimits, Storage};
use self::write_limits::Written;
use crate::time::Timestamp;

/// Direction in which the edges of a node are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From parent to child: the edges whose parent is the node.
    Out,
    /// From child to parent: the edges whose child is the node.
    In,
    /// Both.
    Both,
}

/// A directed graph of nodes and edges with metadata; see the [module](self).
#[derive(Default)]
pub struct Graph {
    storage: Storage,
    interner: Interner,
    /// Events since the last [`Graph::take_events`]; `None` without a journal.
    journal: Option<Vec<GraphEvent>>,
    written: Written,
    /// Number of annotations of nodes from other graphs ([`Graph::annotate_node`]).
    annotations: HashMap<NodeId, i64>,
}

/// Changes.
impl Graph {
    /// Returns an empty graph with indexes on `Type`, `Name`, `Alias`, `AltNames`, `TID`, `MAC`, and
    /// `Manager`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns an empty graph with indexes on these metadata keys in addition to the default ones.
    ///
    /// ```
    /// use skylib::graph::Graph;
    /// let graph = Graph::with_indexes(["Docker.Labels.app", "Name"]);
    /// assert_eq!(graph.indexed_keys().count(), 8);
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
    /// The journal grows with every change, so the owner must call [`Graph::take_events`]
    /// regularly, which empties it. By default, a graph has no journal and records no events.
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

    /// Sets the limits on the old revisions stored for open views.
    ///
    /// If either limit is exceeded, the oldest view expires. The defaults are 262 144 revisions and
    /// deleted elements, and 128 MiB.
    pub const fn set_past_limits(&mut self, revisions: usize, bytes: usize) {
        self.storage
            .set_past_limits(PastLimits { revisions, bytes });
    }

    /// Sets limits on the elements that are added or changed from now on. Existing elements count
    /// toward the limits.
    pub fn set_write_limits(&mut self, limits: WriteLimits) {
        self.written.limit(limits);
        self.storage
            .nodes()
            .for_each(|node| self.written.count(&**node));
        self.storage
            .edges()
            .for_each(|edge| self.written.count(&**edge));
    }

    /// Returns the size of the elements to which the limits apply, in bytes, approximately.
    #[must_use]
    pub const fn written_bytes(&self) -> usize {
        self.written.bytes()
    }

    /// Adds a node; its times and revision are stored unchanged.
    ///
    /// # Errors
    /// Returns [`GraphError::NodeConflict`] if a node with the same id exists,
    /// [`GraphError::MissingId`] if the id is empty, [`GraphError::Full`] beyond 2^31 nodes, and
    /// the errors of [`WriteLimits`].
    pub fn add_node(&mut self, node: Node) -> Result<(), GraphError> {
        if node.id.is_empty() {
            return Err(GraphError::MissingId);
        }
        let node = Arc::new(self.interner.node(node));
        if let Err(limit) = self.written.add(&*node, self.node_count()) {
            let conflict = self.storage.find_node(&node.id).ok();
            return Err(conflict.map_or(limit, |_| GraphError::NodeConflict));
        }
        if let Err(error) = self.storage.add_node(&node) {
            self.written.remove(&*node);
            return Err(error);
        }
        self.record(|| GraphEvent::NodeAdded(node));
        Ok(())
    }

    /// Adds an edge; its times and revision are stored unchanged.
    ///
    /// # Errors
    /// Returns [`GraphError::EdgeConflict`] if an edge with the same id exists,
    /// [`GraphError::MissingId`] if the id is empty, [`GraphError::ParentNotFound`] or
    /// [`GraphError::ChildNotFound`] if an end does not exist, [`GraphError::Full`] beyond 2^31
    /// edges, and the errors of [`WriteLimits`].
    pub fn add_edge(&mut self, edge: Edge) -> Result<(), GraphError> {
        if edge.id.is_empty() {
            return Err(GraphError::MissingId);
        }
        let edge = Arc::new(self.interner.edge(edge));
        if let Err(limit) = self.written.add(&*edge, self.edge_count()) {
            let conflict = self.storage.find_edge(&edge.id).ok();
            return Err(conflict.map_or(limit, |_| GraphError::EdgeConflict));
        }
        if let Err(error) = self.storage.add_edge(Arc::clone(&edge)) {
            self.written.remove(&*edge);
            return Err(error);
        }
        self.record(|| GraphEvent::EdgeAdded(edge));
        Ok(())
    }

    /// Replaces the metadata of a node; returns `false` and adds no revision if the metadata is
    /// already equal.
    ///
    /// ```
    /// use skylib::graph::{Graph, Metadata, Node, NodeId};
    /// use skylib::time::Timestamp;
    ///
    /// let up = Metadata::from_iter([("State", "UP")]);
    /// let mut graph = Graph::new();
    /// graph.add_node(Node::new("eth0", Metadata::new(), Timestamp::ZERO))?;
    /// let id = NodeId::from("eth0");
    /// assert!(graph.set_node_metadata(&id, up.clone(), Timestamp::from_ms(1))?);
    /// assert!(!graph.set_node_metadata(&id, up, Timestamp::from_ms(2))?, "equal metadata");
    /// # Ok::<(), skylib::graph::GraphError>(())
    /// ```
    ///
    /// # Errors
    /// Returns [`GraphError::NodeNotFound`] if no node has this id, and the errors of
    /// [`WriteLimits`].
    pub fn set_node_metadata(
        &mut self,
        id: &NodeId,
        metadata: Metadata,
        now: Timestamp,
    ) -> Result<bool, GraphError> {
        let (index, node) = self.storage.find_node(id)?;
        let change = replaced(&**node, metadata, node.revision.saturating_add(1), now);
        self.revise_node(index, change)
    }

    /// Replaces the metadata of a node from another graph as [`Graph::set_node_metadata`] does. The
    /// revisions of that graph do not count the change: its later updates are applied nevertheless,
    /// and their revisions here are greater by the number of annotations.
    #[cfg(feature = "engine")]
    pub(crate) fn annotate_node(
        &mut self,
        id: &NodeId,
        metadata: Metadata,
        now: Timestamp,
    ) -> Result<bool, GraphError> {
        let (index, node) = self.storage.find_node(id)?;
        let change = replaced(&**node, metadata, node.revision.saturating_add(1), now);
        let is_changed = self.revise_node(index, change)?;
        if is_changed {
            *self.annotations.entry(id.clone()).or_default() += 1;
        }
        Ok(is_changed)
    }

    /// Returns the revision here for a revision of a node in the graph that it is from.
    pub(crate) fn annotated_revision(&self, id: &NodeId, revision: i64) -> i64 {
        let annotations = self.annotations.get(id);
        revision.saturating_add(annotations.copied().unwrap_or_default())
    }

    /// Applies operations to the metadata of a node, as one revision and one event.
    ///
    /// Operations that change nothing are not part of the event. Returns `false` and adds no revision
    /// if no operation changes anything.
    ///
    /// # Errors
    /// Returns [`GraphError::NodeNotFound`] if no node has this id, and the errors of
    /// [`WriteLimits`].
    pub fn patch_node(
        &mut self,
        id: &NodeId,
        ops: &[MetadataOp],
        now: Timestamp,
    ) -> Result<bool, GraphError> {
        let (index, node) = self.storage.find_node(id)?;
        let change = patched(&**node, ops, node.revision.saturating_add(1), now);
        self.revise_node(index, change.filter(|c| !c.is_idle()))
    }

    /// Replaces a node with a revision from another graph: metadata, revision, and update time.
    ///
    /// Returns `false` and changes nothing unless the revision is greater than the current one.
    ///
    /// ```
    /// use skylib::graph::{Graph, Metadata, Node};
    /// use skylib::time::Timestamp;
    ///
    /// let mut node = Node::new("eth0", Metadata::new(), Timestamp::ZERO);
    /// let mut replica = Graph::new();
    /// replica.add_node(node.clone())?;
    /// node.revision = 3;
    /// assert!(replica.sync_node(&node)?);
    /// assert!(!replica.sync_node(&node)?, "the replica has this revision");
    /// # Ok::<(), skylib::graph::GraphError>(())
    /// ```
    ///
    /// # Errors
    /// Returns [`GraphError::NodeNotFound`] if no node has this id, and the errors of
    /// [`WriteLimits`].
    pub fn sync_node(&mut self, node: &Node) -> Result<bool, GraphError> {
        let (index, held) = self.storage.find_node(&node.id)?;
        let revision = self.annotated_revision(&node.id, node.revision);
        let change = (revision > held.revision)
            .then(|| revised(&**held, node.metadata.clone(), revision, node.updated_at));
        self.revise_node(index, change)
    }

    /// Applies a partial update of a node from another graph.
    ///
    /// Returns `false` and changes nothing unless the revision of the update is greater than the
    /// current one.
    ///
    /// # Errors
    /// Returns [`GraphError::NodeNotFound`] if no node has this id, and the errors of
    /// [`WriteLimits`].
    pub fn sync_patch_node(
        &mut self,
        id: &NodeId,
        revision: i64,
        updated_at: Timestamp,
        ops: &[MetadataOp],
    ) -> Result<bool, GraphError> {
        let (index, held) = self.storage.find_node(id)?;
        let revision = self.annotated_revision(id, revision);
        let change =
            (revision > held.revision).then(|| patched(&**held, ops, revision, updated_at));
        self.revise_node(index, change.flatten())
    }

    /// Replaces the metadata of an edge; returns `false` and adds no revision if the metadata is
    /// already equal.
    ///
    /// # Errors
    /// Returns [`GraphError::EdgeNotFound`] if no edge has this id, and the errors of
    /// [`WriteLimits`].
    pub fn set_edge_metadata(
        &mut self,
        id: &EdgeId,
        metadata: Metadata,
        now: Timestamp,
    ) -> Result<bool, GraphError> {
        let (index, edge) = self.storage.find_edge(id)?;
        let change = replaced(&**edge, metadata, edge.revision.saturating_add(1), now);
        self.revise_edge(index, change)
    }

    /// Applies operations to the metadata of an edge; see [`Graph::patch_node`].
    ///
    /// # Errors
    /// Returns [`GraphError::EdgeNotFound`] if no edge has this id, and the errors of
    /// [`WriteLimits`].
    pub fn patch_edge(
        &mut self,
        id: &EdgeId,
        ops: &[MetadataOp],
        now: Timestamp,
    ) -> Result<bool, GraphError> {
        let (index, edge) = self.storage.find_edge(id)?;
        let change = patched(&**edge, ops, edge.revision.saturating_add(1), now);
        self.revise_edge(index, change.filter(|c| !c.is_idle()))
    }

    /// Replaces an edge with a revision from another graph, as [`Graph::sync_node`] does.
    ///
    /// # Errors
    /// Returns [`GraphError::EdgeNotFound`] if no edge has this id, and the errors of
    /// [`WriteLimits`].
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
        self.revise_edge(index, change)
    }

    /// Applies a partial update of an edge from another graph, as [`Graph::sync_patch_node`] does.
    ///
    /// # Errors
    /// Returns [`GraphError::EdgeNotFound`] if no edge has this id, and the errors of
    /// [`WriteLimits`].
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
        self.revise_edge(index, change.flatten())
    }

    /// Deletes a node and its edges; the events of the edges precede that of the node.
    ///
    /// ```
    /// use skylib::graph::{Edge, Graph, Metadata, Node, NodeId};
    /// use skylib::time::Timestamp;
    ///
    /// let now = Timestamp::ZERO;
    /// let mut graph = Graph::new();
    /// graph.add_node(Node::new("a", Metadata::new(), now))?;
    /// graph.add_node(Node::new("b", Metadata::new(), now))?;
    /// graph.add_edge(Edge::between("a", "b", Metadata::new(), now))?;
    /// graph.delete_node(&NodeId::from("a"), now)?;
    /// assert_eq!((graph.node_count(), graph.edge_count()), (1, 0));
    /// # Ok::<(), skylib::graph::GraphError>(())
    /// ```
    ///
    /// # Errors
    /// Returns [`GraphError::NodeNotFound`] if no node has this id.
    pub fn delete_node(&mut self, id: &NodeId, now: Timestamp) -> Result<(), GraphError> {
        let (index, _) = self.storage.find_node(id)?;
        let (edges, node) = self.storage.delete_node(index);
        self.annotations.remove(id);
        for edge in edges {
            self.written.remove(&*edge);
            self.record(|| GraphEvent::EdgeDeleted(Arc::new(edge.deleted(now))));
        }
        if let Some(node) = node {
            self.written.remove(&*node);
            self.record(|| GraphEvent::NodeDeleted(Arc::new(node.deleted(now))));
        }
        Ok(())
    }

    /// Deletes an edge.
    ///
    /// # Errors
    /// Returns [`GraphError::EdgeNotFound`] if no edge has this id.
    pub fn delete_edge(&mut self, id: &EdgeId, now: Timestamp) -> Result<(), GraphError> {
        let (index, _) = self.storage.find_edge(id)?;
        if let Some(edge) = self.storage.delete_edge(index) {
            self.written.remove(&*edge);
            self.record(|| GraphEvent::EdgeDeleted(Arc::new(edge.deleted(now))));
        }
        Ok(())
    }

    /// Deletes all nodes of an origin, such as `agent.edge-01`, and their edges; returns the number
    /// of deleted nodes.
    ///
    /// COMPAT: publishers that reconnect: edges of this origin between nodes of other origins are
    /// not deleted.
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

impl Graph {
    fn record(&mut self, event: impl FnOnce() -> GraphEvent) {
        if let Some(journal) = &mut self.journal {
            journal.push(event());
        }
    }

    fn revise_node(
        &mut self,
        index: NodeIndex,
        change: Option<Change<Node>>,
    ) -> Result<bool, GraphError> {
        let Some(Change { element, ops }) = change else {
            return Ok(false);
        };
        let node = Arc::new(self.interner.node(element));
        if let Some(old) = self.storage.node_at(index, self.sequence()) {
            self.written.revise(&**old, &*node)?;
        }
        self.storage.revise_node(index, Arc::clone(&node));
        self.record(|| GraphEvent::NodeUpdated { node, ops });
        Ok(true)
    }

    fn revise_edge(
        &mut self,
        index: EdgeIndex,
        change: Option<Change<Edge>>,
    ) -> Result<bool, GraphError> {
        let Some(Change { element, ops }) = change else {
            return Ok(false);
        };
        let edge = Arc::new(self.interner.edge(element));
        if let Some(old) = self.storage.edge_at(index, self.sequence()) {
            self.written.revise(&**old, &*edge)?;
        }
        self.storage.revise_edge(index, Arc::clone(&edge));
        self.record(|| GraphEvent::EdgeUpdated { edge, ops });
        Ok(true)
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
