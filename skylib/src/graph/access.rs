//! How a graph that somebody owns is read and changed by others.

use super::{Graph, GraphEvent};
use crate::time::Timestamp;

/// Short reads of one graph.
///
/// A plain [`Graph`] reads itself; an owner that shares its graph among threads takes its read lock
/// for the closure only. `work` is called exactly once and must be short: a stretch, not a query
/// ([`GraphView`](super::GraphView) cuts queries into stretches).
pub trait GraphAccess {
    /// Calls `work` with the graph.
    fn read(&self, work: &mut dyn FnMut(&Graph));
}

impl GraphAccess for Graph {
    fn read(&self, work: &mut dyn FnMut(&Graph)) {
        work(self);
    }
}

/// Changes of one graph that somebody owns.
pub trait GraphWriter: Send + Sync {
    /// One transaction under the owner's write lock: `work` is called exactly once with the graph
    /// and the current time; the events it causes are given out in order afterwards.
    fn update(&self, work: &mut dyn FnMut(&mut Graph, Timestamp));
}

/// Follows the changes of a graph inside each transaction and may change the graph further.
pub trait Processor: Send {
    /// One event of the transaction, in causal order; changes made here cause events that come
    /// after those already waiting, and are offered to every processor too.
    fn process(&mut self, graph: &mut Graph, event: &GraphEvent, now: Timestamp);
}
