//! The past of a graph: every revision of every element, found by time.
//!
//! A [`Graph`](super::Graph) holds only the present. Who wants the past gives its events, in their
//! order, to a [`History`], and the query language reads it there (`At`, `Context`).
//! [`MemoryHistory`] keeps a bounded stretch of it in memory.
//!
//! ```
//! use skylib::graph::history::{History, HistoryLimits, MemoryHistory, PastView};
//! use skylib::graph::{Graph, Metadata, MetadataOp, Node, NodeId};
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
//! let node = then.node_by_id(&eth0)?.expect("it was there");
//! assert_eq!(node.metadata.get("State"), Some(&"UP".into()));
//! # Ok::<(), skylib::graph::GraphError>(())
//! ```
//!
//! A revision lasts from its `UpdatedAt` to that of the next one, or to the deletion; both ends are
//! included, times count in milliseconds, as clients see them.

mod chain;
mod index;
mod limits;
mod memory;
#[cfg(test)]
mod tests;
mod view;

pub use limits::HistoryLimits;
pub use memory::MemoryHistory;
pub use view::{Identities, PastView};

use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Direction, Edge, EdgeId, ElementKey, GraphError, GraphEvent, Node, NodeId};
use crate::filter::Filter;
use crate::time::{Timestamp, When};
use crate::value::Text;

/// Keeps what has happened to a graph; shared by the graph's owner and those who ask.
pub trait History: Send + Sync {
    /// Takes down what happened, in the order in which it happened, at most once each.
    ///
    /// `now` is the recorder's clock: what is kept is aged by it, whatever times elements carry.
    fn record(&self, events: &[GraphEvent], now: Timestamp);

    /// Drops what is too old; for times in which nothing happens.
    fn expire(&self, now: Timestamp);

    /// How much is kept.
    fn status(&self) -> HistoryStatus;

    /// The past at a time, as far as it is recorded now.
    fn open<'a>(&'a self, when: When) -> Box<dyn PastReader + 'a>;
}

/// The past at one time, unchanged while it is read.
///
/// Every method calls `visit` with the revisions of that time, one of each element at a point, all
/// of them, oldest first, in a slice; and fails with [`GraphError::ViewExpired`] where the past had
/// to be dropped meanwhile.
pub trait PastReader {
    /// The nodes, in the order they came.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    fn nodes(&self, visit: Visit<'_, Node>) -> Result<(), GraphError>;

    /// Among other nodes those that pass a filter, in the order they came: an index may leave out
    /// some that do not.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    fn nodes_like(
        &self,
        filter: &Filter<ElementKey>,
        visit: Visit<'_, Node>,
    ) -> Result<(), GraphError> {
        let _ = filter;
        self.nodes(visit)
    }

    /// The key whose index [`PastReader::nodes_like`] would ask, and about how many nodes it names;
    /// `None` where it would look at all of them.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    fn probe(&self, filter: &Filter<ElementKey>) -> Result<Option<(Text, usize)>, GraphError> {
        let _ = filter;
        Ok(None)
    }

    /// The edges, in the order they came.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    fn edges(&self, visit: Visit<'_, Edge>) -> Result<(), GraphError>;

    /// The node with an id.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    fn node(&self, id: &NodeId, visit: Visit<'_, Node>) -> Result<(), GraphError>;

    /// The edge with an id.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    fn edge(&self, id: &EdgeId, visit: Visit<'_, Edge>) -> Result<(), GraphError>;

    /// The edges of a node: outgoing ones first, each kind in the order they came, loops once.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    fn edges_of(
        &self,
        id: &NodeId,
        direction: Direction,
        visit: Visit<'_, Edge>,
    ) -> Result<(), GraphError>;
}

/// Takes revisions until it breaks.
pub type Visit<'v, E> = &'v mut dyn FnMut(Revision<E>) -> ControlFlow<()>;

/// A revision of a node or an edge.
#[derive(Clone, Debug)]
pub struct Revision<E> {
    /// The element as it was; `deleted_at` set on the last revision of one that has gone.
    pub element: Arc<E>,
    /// Tells revisions apart, those of nodes from those of edges too, and grows with each change.
    pub number: u64,
}

/// How much of the past is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryStatus {
    /// Former revisions, gone elements included; those of the present are not counted.
    pub revisions: usize,
    /// Bytes they take, approximately; what a revision shares with the next one counts once.
    pub bytes: usize,
    /// Bytes of the index by which elements are found, those of the present included.
    pub index_bytes: usize,
    /// From when on everything is there; `None` before the first event.
    pub oldest: Option<Timestamp>,
    /// Revisions dropped because they were too old or too many.
    pub evicted: u64,
    /// Readers that lost what they were reading because too much happened meanwhile.
    pub expired_readers: u64,
}
