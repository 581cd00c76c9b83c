//! How a graph that somebody owns is read and changed by others.

use std::collections::VecDeque;

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

/// Processors answer processors at most so many times in a row: an end to those that never agree.
const MAX_DEPTH: usize = 1000;

impl Graph {
    /// Takes what happened since the last call, offers each event to every processor, then what
    /// these did, until nothing more happens; gives back all events in order.
    ///
    /// For the owner of a graph, at the end of each transaction.
    pub fn settle(
        &mut self,
        processors: &mut [Box<dyn Processor>],
        now: Timestamp,
    ) -> Vec<GraphEvent> {
        let first = |event| (event, 0);
        let mut waiting: VecDeque<_> = self.take_events().into_iter().map(first).collect();
        let mut done = Vec::with_capacity(waiting.len());
        while let Some((event, depth)) = waiting.pop_front() {
            if depth < MAX_DEPTH {
                for processor in &mut *processors {
                    processor.process(self, &event, now);
                }
                let next = |event| (event, depth + 1);
                waiting.extend(self.take_events().into_iter().map(next));
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

    /// Names every node that comes.
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

    /// Answers every change with another.
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
    fn what_processors_do_comes_after_what_caused_it() {
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
    fn restless_processors_come_to_an_end() {
        let events = graph().settle(
            &mut [Box::new(Namer), Box::new(Restless(0))],
            Timestamp::ZERO,
        );
        assert_eq!(events.len(), 2 + 2 * MAX_DEPTH);
    }
}
