//! Traits of a graph that is shared by several readers and writers.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::{Graph, GraphEvent};
use crate::time::Timestamp;

/// Access to a graph for short reads.
///
/// A `Mutex` around a [`Graph`] implements this trait; an engine implements it with its read lock.
/// Queries read through a [`GraphView`](super::GraphView), which divides them into batches.
pub trait GraphAccess {
    /// Calls `work` exactly once with the graph, under the read lock; `work` must be short.
    fn read(&self, work: &mut dyn FnMut(&Graph));
}

impl GraphAccess for Graph {
    fn read(&self, work: &mut dyn FnMut(&Graph)) {
        work(self);
    }
}

/// Graph without an engine: each read locks the mutex.
impl GraphAccess for Mutex<Graph> {
    fn read(&self, work: &mut dyn FnMut(&Graph)) {
        work(&self.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Access to a graph for changes.
pub trait GraphWriter: Send + Sync {
    /// Runs one transaction: calls `work` exactly once with the graph and the current time, under
    /// the write lock, and delivers the events in order afterwards.
    fn update(&self, work: &mut dyn FnMut(&mut Graph, Timestamp));
}

/// Observer that is called within each transaction and may change the graph further.
pub trait Processor: Send {
    /// Processes one event of the transaction, in causal order.
    ///
    /// Changes made by this function cause further events, which are queued after the existing ones
    /// and passed to every processor.
    fn process(&mut self, graph: &mut Graph, event: &GraphEvent, now: Timestamp);
}

/// Maximum length of a chain of events that processors cause in response to each other; ends
/// endless chains.
const MAX_DEPTH: usize = 1000;

impl Graph {
    /// Passes the recorded events to every processor, then the events that the processors cause,
    /// until there are none; returns all events in order.
    ///
    /// The owner of a graph with a journal calls this function at the end of each transaction.
    pub fn settle(
        &mut self,
        processors: &mut [Box<dyn Processor>],
        now: Timestamp,
    ) -> Vec<GraphEvent> {
        let first = |event| (event, 0);
        let mut queue: VecDeque<_> = self.take_events().into_iter().map(first).collect();
        let mut done = Vec::with_capacity(queue.len());
        while let Some((event, depth)) = queue.pop_front() {
            if depth < MAX_DEPTH {
                for processor in &mut *processors {
                    processor.process(self, &event, now);
                }
                let next = |event| (event, depth + 1);
                queue.extend(self.take_events().into_iter().map(next));
            }
            done.push(event);
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Metadata, MetadataOp, Node};

    /// Adds a TID to every new node.
    struct Namer;

    impl Processor for Namer {
        fn process(&mut self, graph: &mut Graph, event: &GraphEvent, now: Timestamp) {
            if let GraphEvent::NodeAdded(node) = event {
                graph
                    .patch_node(&node.id, &[MetadataOp::set("TID", "t")], now)
                    .unwrap();
            }
        }
    }

    /// Reacts to every change with another.
    struct Restless(i64);

    impl Processor for Restless {
        fn process(&mut self, graph: &mut Graph, event: &GraphEvent, now: Timestamp) {
            if let GraphEvent::NodeUpdated { node, .. } = event {
                self.0 += 1;
                graph
                    .patch_node(&node.id, &[MetadataOp::set("N", self.0)], now)
                    .unwrap();
            }
        }
    }

    fn graph() -> Graph {
        let mut graph = Graph::new().with_journal();
        for id in ["a", "b"] {
            graph
                .add_node(Node::new(id, Metadata::new(), Timestamp::ZERO))
                .unwrap();
        }
        graph
    }

    #[test]
    fn changes_of_processors_follow_their_causes() {
        let mut graph = graph();
        let events = graph.settle(&mut [Box::new(Namer)], Timestamp::ZERO);
        let kinds: Vec<_> = events
            .iter()
            .map(|event| match event {
                GraphEvent::NodeAdded(node) => format!("+{}", node.id),
                GraphEvent::NodeUpdated { node, .. } => format!("~{}", node.id),
                _ => String::new(),
            })
            .collect();
        assert_eq!(kinds, ["+a", "+b", "~a", "~b"]);
        assert!(graph.take_events().is_empty());
    }

    #[test]
    fn endless_chains_of_changes_end() {
        let events = graph().settle(
            &mut [Box::new(Namer), Box::new(Restless(0))],
            Timestamp::ZERO,
        );
        assert_eq!(events.len(), 2 + 2 * MAX_DEPTH);
    }
}
