//! The past of a graph: every revision of every element, by time.
//!
//! A [`Graph`](super::Graph) contains only the present. To record the past, its owner passes the
//! events of its journal, in order, to a [`History`], which the query language reads (`At`,
//! `Context`) through a [`PastView`]. [`MemoryHistory`] stores a bounded part of it in memory.
//!
//! ```
//! use skylib::graph::history::{History, HistoryLimits, MemoryHistory, PastView};
//! use skylib::graph::{Graph, GraphReader, Metadata, MetadataOp, Node, NodeId};
//! use skylib::time::{Timestamp, When};
//!
//! let history = MemoryHistory::new(HistoryLimits::default());
//! let mut graph = Graph::new().with_journal();
//! let eth0 = NodeId::from("eth0");
//! let noon = Timestamp::from_ms(43_200_000);
//! let later = Timestamp::from_ms(43_260_000);
//! let metadata = Metadata::from_iter([("State", "UP")]);
//! graph.add_node(Node::new("eth0", metadata, noon))?;
//! history.record(&graph.take_events(), noon);
//! graph.patch_node(&eth0, &[MetadataOp::set("State", "DOWN")], later)?;
//! history.record(&graph.take_events(), later);
//!
//! let then = PastView::open(&history, When::At(noon));
//! let node = then.node_by_id(&eth0)?;
//! let state = node.and_then(|node| node.metadata.get("State").cloned());
//! assert_eq!(state, Some("UP".into()));
//! # Ok::<(), skylib::graph::GraphError>(())
//! ```
//!
//! A revision lasts from its `UpdatedAt` to that of the next one, or to the deletion. Both ends are
//! included, and times are compared in milliseconds, the resolution that clients receive.

mod activity;
mod chain;
mod changes;
mod index;
mod limits;
mod memory;
mod read_budget;
#[cfg(test)]
mod tests;
mod view;

pub use activity::{Activity, ActivitySource};
pub use changes::{Change, ChangeKind, ChangedElement, KeyChange};
pub use limits::HistoryLimits;
pub use memory::MemoryHistory;
pub use read_budget::{ReadBudget, Unlimited};
pub use view::{Identities, PastView};

use std::io;
use std::sync::Arc;

use super::{Direction, Edge, EdgeId, ElementKey, GraphError, GraphEvent, IndexUse, Node, NodeId};
use crate::file_use::FileUse;
use crate::filter::Filter;
use crate::time::{TimeSlice, Timestamp, When};

/// Store of the past states of a graph, shared by the owner of the graph and its readers.
pub trait History: Send + Sync {
    /// Records events in their order, each at most once.
    ///
    /// `now` is the time of the recorder's clock: retention depends on it, not on the times of the
    /// elements. Returns immediately, without waiting for the disk: the caller holds the lock of
    /// the graph. After the caller has released that lock, it must call [`History::make_room`].
    fn record(&self, events: &[GraphEvent], now: Timestamp);

    /// Waits until the recorded events fit into the memory of the history again, or a bounded time
    /// (back-pressure). Events that still do not fit are dropped and counted.
    ///
    /// A history without a disk has nothing to wait for.
    fn make_room(&self) {}

    /// Returns once all events recorded before survive a power failure, if the history has a disk.
    ///
    /// # Errors
    /// Returns an error if the disk cannot be written.
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    /// Drops revisions older than the retention; must be called regularly even if nothing changes.
    fn expire(&self, now: Timestamp);

    /// Returns the times whose changes are missing in answers about `time`, because their files were
    /// found damaged.
    fn damaged(&self, time: TimeSlice) -> Vec<TimeSlice> {
        let _ = time;
        Vec::new()
    }

    /// Returns the amount of the past that is stored.
    fn status(&self) -> HistoryStatus;

    /// Opens a snapshot of the past at a time, as recorded so far. Its reads end with an error once
    /// the budget does.
    fn open<'a>(&'a self, when: When, budget: &'a dyn ReadBudget) -> Box<dyn PastReader + 'a>;
}

/// Snapshot of the past at one time.
///
/// Every method returns the revisions of that time: one of each element at an instant; all of them,
/// oldest first, in an interval. All methods and iterators return [`GraphError::ViewExpired`] if
/// required revisions have been dropped since the snapshot was opened, and the errors of the
/// [`ReadBudget`]; a past on the disk also returns [`GraphError::Unreadable`].
pub trait PastReader {
    /// Iterates over the nodes, in insertion order.
    fn nodes(&self) -> Revisions<'_, Node>;

    /// Iterates over the nodes that match a filter, and possibly others, in insertion order.
    ///
    /// An implementation with an index leaves out nodes that do not match.
    fn nodes_like<'a>(&'a self, filter: &'a Filter<ElementKey>) -> Revisions<'a, Node> {
        let _ = filter;
        self.nodes()
    }

    /// Returns the index that [`PastReader::nodes_like`] uses for a filter; `None` for a full scan.
    ///
    /// # Errors
    /// Returns [`GraphError::ViewExpired`] if required revisions have been dropped.
    fn index_for(&self, filter: &Filter<ElementKey>) -> Result<Option<IndexUse>, GraphError> {
        let _ = filter;
        Ok(None)
    }

    /// Iterates over the edges, in insertion order.
    fn edges(&self) -> Revisions<'_, Edge>;

    /// Iterates over the edges that match a filter, and possibly others, in insertion order.
    ///
    /// An implementation with an index leaves out edges that do not match.
    fn edges_like<'a>(&'a self, filter: &'a Filter<ElementKey>) -> Revisions<'a, Edge> {
        let _ = filter;
        self.edges()
    }

    /// Returns the revisions of the node with this id.
    ///
    /// # Errors
    /// Returns [`GraphError::ViewExpired`] if required revisions have been dropped.
    fn node(&self, id: &NodeId) -> Result<Vec<Revision<Node>>, GraphError>;

    /// Returns the revisions of the edge with this id.
    ///
    /// # Errors
    /// Returns [`GraphError::ViewExpired`] if required revisions have been dropped.
    fn edge(&self, id: &EdgeId) -> Result<Vec<Revision<Edge>>, GraphError>;

    /// Returns the edges of a node: the outgoing ones first, each group in insertion order, loops
    /// once.
    ///
    /// # Errors
    /// Returns [`GraphError::ViewExpired`] if required revisions have been dropped.
    fn edges_of(
        &self,
        id: &NodeId,
        direction: Direction,
    ) -> Result<Vec<Revision<Edge>>, GraphError>;

    /// Returns the reads of history files since the last call, for explanations; empty for a
    /// history in memory.
    fn take_files(&self) -> Vec<FileUse> {
        Vec::new()
    }
}

/// Iterator over the revisions of nodes or edges.
pub type Revisions<'a, E> = Box<dyn Iterator<Item = Result<Revision<E>, GraphError>> + 'a>;

/// Revision of a node or an edge.
#[derive(Clone, Debug)]
pub struct Revision<E> {
    /// The element; `deleted_at` is set on the last revision of a deleted element.
    pub element: Arc<E>,
    /// Unique number among all revisions of nodes and edges, increasing with each change.
    pub number: u64,
}

/// Amount of the past that is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryStatus {
    /// Number of revisions that have ended, deleted elements included; those of the present are not
    /// counted.
    pub revisions: usize,
    /// Size of these revisions in bytes, approximately; parts shared with the next revision count
    /// once.
    pub bytes: usize,
    /// Size of the indexes in bytes, approximately, including entries for the elements of the
    /// present.
    pub index_bytes: usize,
    /// Time since which the past is complete; `None` before the first event.
    pub oldest: Option<Timestamp>,
    /// Number of revisions dropped because of the limits on age and size.
    pub evicted: u64,
    /// Number of readers that expired because too much had changed since they were opened.
    pub expired_readers: u64,
}
