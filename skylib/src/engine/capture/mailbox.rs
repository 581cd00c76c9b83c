//! What the capture thread has to look at: told from anywhere, taken by that thread.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::totals::CaptureTotals;
use crate::graph::{GraphEvent, NodeId};
use crate::time::{Clock, Timestamp};

/// Starts and stops captures; shared by the resource API, the dispatcher and the capture thread.
#[derive(Default)]
pub(crate) struct Controller {
    pending: Mutex<Pending>,
    wake: Condvar,
    shown: Mutex<Shown>,
    totals: Mutex<CaptureTotals>,
}

/// What the capture thread has to look at.
#[derive(Default)]
pub(crate) struct Pending {
    /// Something changed that may make a query select more nodes.
    pub(crate) graph_changed: bool,
    /// A capture came: look at once.
    pub(crate) created: bool,
    /// A resource ends sooner than all others.
    pub(crate) time_set: bool,
    pub(crate) deleted: Vec<String>,
    pub(crate) gone_nodes: Vec<NodeId>,
    pub(crate) stop: bool,
}

/// What runs, as others see it.
#[derive(Default)]
struct Shown {
    /// How many nodes each capture is active on.
    counts: HashMap<String, i64>,
    /// Nodes with a capture, or with one that could not be opened.
    nodes: HashSet<NodeId>,
}

impl Controller {
    /// What all captures have seen.
    pub(crate) fn totals(&self) -> CaptureTotals {
        *self.totals.lock()
    }

    pub(crate) fn show_totals(&self, totals: CaptureTotals) {
        *self.totals.lock() = totals;
    }

    /// A capture resource came: its nodes are looked up at once.
    pub(crate) fn created(&self) {
        self.tell(|pending| pending.created = true);
    }

    /// A resource came whose time to live ends.
    pub(crate) fn time_set(&self) {
        self.tell(|pending| pending.time_set = true);
    }

    /// A capture resource went: everything that runs for it stops.
    pub(crate) fn deleted(&self, capture: &str) {
        self.tell(|pending| pending.deleted.push(capture.to_owned()));
    }

    /// Something happened that may let a capture start: all queries are evaluated soon.
    pub(crate) fn look_again(&self) {
        let mut pending = self.pending.lock();
        if !pending.graph_changed {
            pending.graph_changed = true;
            self.wake.notify_one();
        }
    }

    /// Looks at a graph event; called by the dispatcher, never waits.
    pub(crate) fn graph_event(&self, event: &GraphEvent) {
        match event {
            GraphEvent::NodeAdded(_)
            | GraphEvent::NodeUpdated { .. }
            | GraphEvent::EdgeAdded(_) => self.look_again(),
            // What a client wrote over `Captures` is nothing to go by.
            GraphEvent::NodeDeleted(node) if self.shown.lock().nodes.contains(&node.id) => {
                self.tell(|pending| pending.gone_nodes.push(node.id.clone()));
            }
            _ => {}
        }
    }

    /// How many nodes each capture is active on, by its id.
    pub(crate) fn active_counts(&self) -> HashMap<String, i64> {
        self.shown.lock().counts.clone()
    }

    /// Ends the capture thread, and the query that it may be evaluating.
    pub(crate) fn stop(&self) {
        self.tell(|pending| pending.stop = true);
    }

    /// Whether [`Controller::stop`] was called, and nobody has taken that yet.
    pub(crate) fn is_stopping(&self) -> bool {
        self.pending.lock().stop
    }

    fn tell(&self, change: impl FnOnce(&mut Pending)) {
        change(&mut self.pending.lock());
        self.wake.notify_one();
    }

    /// Asks for the deletion of a node. Before the node is looked at for the last time, so that it
    /// cannot go unnoticed in between.
    pub(crate) fn watch(&self, node: &NodeId) {
        self.shown.lock().nodes.insert(node.clone());
    }

    /// Sets what runs.
    pub(crate) fn show(&self, counts: HashMap<String, i64>, nodes: HashSet<NodeId>) {
        *self.shown.lock() = Shown { counts, nodes };
    }

    /// Takes everything but a changed graph, without waiting.
    pub(crate) fn take_urgent(&self) -> Pending {
        self.pending.lock().take_urgent()
    }

    /// Sleeps until there is something to do, or `until`, and takes it. Only a changed graph waits
    /// for `check`.
    pub(crate) fn wait(
        &self,
        clock: &dyn Clock,
        check: Pause,
        until: Option<Timestamp>,
    ) -> Pending {
        let mut pending = self.pending.lock();
        loop {
            let now = clock.now();
            if pending.graph_changed && check.is_over(now) {
                return std::mem::take(&mut *pending);
            }
            if pending.is_urgent() || until.is_some_and(|until| until <= now) {
                return pending.take_urgent();
            }
            let check = pending.graph_changed.then(|| check.end());
            match until.into_iter().chain(check).min() {
                None => self.wake.wait(&mut pending),
                Some(until) => _ = self.wake.wait_for(&mut pending, until.duration_since(now)),
            }
        }
    }
}

impl Pending {
    fn is_urgent(&self) -> bool {
        self.stop
            || self.created
            || self.time_set
            || !self.deleted.is_empty()
            || !self.gone_nodes.is_empty()
    }

    fn take_urgent(&mut self) -> Self {
        let graph_changed = std::mem::take(&mut self.graph_changed);
        let taken = std::mem::take(self);
        self.graph_changed = graph_changed;
        taken
    }
}

/// A time to wait from some moment on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pause {
    pub(crate) began: Timestamp,
    pub(crate) length: Duration,
}

impl Pause {
    fn end(self) -> Timestamp {
        self.began.saturating_add(self.length)
    }

    /// Also when the clock was set back.
    fn is_over(self, now: Timestamp) -> bool {
        now < self.began || now >= self.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, Metadata, Node, Origin};
    use crate::time::ManualClock;

    fn deletion(id: &str) -> GraphEvent {
        let mut graph = Graph::new().with_journal();
        let now = Timestamp::from_ms(1);
        let node = Node::new(id, Metadata::new(), now).with_origin(Origin::new("agent", "h"));
        graph.add_node(node).unwrap();
        graph.delete_node(&id.into(), now).unwrap();
        graph.take_events().pop().unwrap()
    }

    #[test]
    fn the_end_of_a_node_with_a_capture_is_heard_of_whatever_the_node_shows() {
        let controller = Controller::default();
        controller.watch(&"mine".into());
        controller.graph_event(&deletion("mine"));
        controller.graph_event(&deletion("other"));
        assert_eq!(controller.take_urgent().gone_nodes, ["mine".into()]);
        controller.show(HashMap::new(), HashSet::new());
        controller.graph_event(&deletion("mine"));
        assert!(controller.take_urgent().gone_nodes.is_empty());
    }

    #[test]
    fn only_a_changed_graph_waits_for_the_pause() {
        let controller = Controller::default();
        let clock = ManualClock::new(Timestamp::from_ms(10_000));
        let pause = Pause {
            began: clock.now(),
            length: Duration::from_secs(5),
        };
        controller.look_again();
        controller.deleted("a");
        let pending = controller.wait(&clock, pause, None);
        assert_eq!((pending.graph_changed, pending.deleted.len()), (false, 1));
        let pending = controller.wait(&clock, pause, Some(clock.now()));
        assert!(!pending.graph_changed, "woken for something else");
        clock.advance(Duration::from_secs(5));
        assert!(controller.wait(&clock, pause, None).graph_changed);
        let later = Pause {
            began: clock.now().saturating_add(Duration::from_secs(60)),
            ..pause
        };
        controller.look_again();
        assert!(
            controller.wait(&clock, later, None).graph_changed,
            "the clock was set back"
        );
    }
}
