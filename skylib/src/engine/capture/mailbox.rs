//! `Mailbox`: work for the capture reconciler, posted by any thread and taken by the reconciler's
//! thread.
//!
//! Events of one kind are merged, so the mailbox is bounded by the number of captures and nodes,
//! and posting never blocks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use serde_json::json;

use super::node_capture::NodeCaptureKey;
use super::requests::CaptureRequest;
use super::totals::CaptureTotals;
use crate::api::CaptureSpec;
use crate::engine::fleet::AgentObserver;
use crate::engine::resource::Observer;
use crate::graph::{GraphEvent, NodeId};
use crate::proto::{ON_DEMAND_CAPTURE, OnDemandTask};
use crate::time::{Clock, Timestamp};

/// Connects the capture reconciler with the resource API, the dispatcher, and status requests.
#[derive(Default)]
pub(crate) struct Mailbox {
    pending: Mutex<Pending>,
    /// Signal that wakes the reconciler.
    wake: Condvar,
    shown: Mutex<Shown>,
    totals: Mutex<CaptureTotals>,
}

/// Work for the reconciler.
#[derive(Default)]
pub(super) struct Pending {
    /// Whether the graph has changed such that a query may select more nodes.
    pub(super) graph_changed: bool,
    /// Whether a capture was created.
    pub(super) created: bool,
    /// Ids of the captures that were deleted.
    pub(super) deleted: Vec<String>,
    /// Nodes that had a capture and were deleted.
    pub(super) deleted_nodes: Vec<NodeId>,
    /// Replies of agents to the start of captures; at most [`MAX_MESSAGES`].
    pub(super) replies: Vec<StartReply>,
    /// Requests of analyzers; at most [`MAX_MESSAGES`].
    pub(super) requests: Vec<CaptureRequest>,
    /// Agents that have sent their whole graph.
    pub(super) synced_agents: HashSet<String>,
    /// Agents whose connections have ended.
    pub(super) lost_agents: HashSet<String>,
    /// Whether the reconciler must end.
    pub(super) stop: bool,
}

/// Reply of an agent to the start of a capture.
#[derive(Debug)]
pub(super) struct StartReply {
    pub(super) host: String,
    pub(super) key: NodeCaptureKey,
    /// Status with the meaning of HTTP.
    pub(super) status: i64,
}

/// Maximum number of waiting replies, and of waiting requests.
const MAX_MESSAGES: usize = 10_000;

/// State of the reconciler that other threads read.
#[derive(Default)]
struct Shown {
    /// State of each capture, by its id.
    captures: HashMap<String, ShownCapture>,
    /// Nodes with a capture, active or failed.
    nodes: HashSet<NodeId>,
}

/// State of a capture that other threads read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ShownCapture {
    /// Number of nodes on which the capture is active.
    pub(super) active: i64,
    /// Nodes with the capture, at most [`MAX_SHOWN_NODES`](super::reconciler::report::MAX_SHOWN_NODES).
    pub(super) nodes: Vec<ShownNode>,
    /// Reason why the query selects no nodes, or not all of them.
    pub(super) problem: Option<String>,
}

/// A node with a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShownNode {
    pub(super) id: NodeId,
    pub(super) name: String,
    /// Error that stopped the capture or prevented its start.
    pub(super) error: Option<String>,
}

impl ShownCapture {
    /// Returns the value of `Status` in a response.
    fn to_json(&self) -> serde_json::Value {
        let node = |node: &ShownNode| {
            let state = if node.error.is_some() {
                "error"
            } else {
                "active"
            };
            let mut value = json!({"ID": node.id.to_string(), "Name": node.name, "State": state});
            if let Some(error) = &node.error {
                value["Error"] = error.as_str().into();
            }
            value
        };
        let nodes: Vec<serde_json::Value> = self.nodes.iter().map(node).collect();
        let mut status = json!({"Nodes": nodes});
        if let Some(problem) = &self.problem {
            status["Problem"] = problem.as_str().into();
        }
        status
    }
}

impl Mailbox {
    /// Returns the counters of all captures.
    pub(crate) fn totals(&self) -> CaptureTotals {
        *self.totals.lock()
    }

    /// Publishes the counters of all captures.
    pub(super) fn show_totals(&self, totals: CaptureTotals) {
        *self.totals.lock() = totals;
    }

    /// Wakes the reconciler to read the capture resources.
    pub(super) fn capture_created(&self) {
        self.post(|pending| pending.created = true);
    }

    /// Wakes the reconciler to stop everything that runs for a capture.
    pub(super) fn capture_deleted(&self, capture: &str) {
        self.post(|pending| pending.deleted.push(capture.to_owned()));
    }

    /// Requests that all queries are evaluated again, after the current pause.
    pub(super) fn request_round(&self) {
        let mut pending = self.pending.lock();
        if !pending.graph_changed {
            pending.graph_changed = true;
            self.wake.notify_one();
        }
    }

    /// Handles a graph event. Called by the dispatcher; never blocks.
    pub(crate) fn graph_event(&self, event: &GraphEvent) {
        match event {
            GraphEvent::NodeAdded(_)
            | GraphEvent::NodeUpdated { .. }
            | GraphEvent::EdgeAdded(_) => self.request_round(),
            // The node's `Captures` metadata does not count: any client can overwrite it.
            GraphEvent::NodeDeleted(node) if self.shown.lock().nodes.contains(&node.id) => {
                self.post(|pending| pending.deleted_nodes.push(node.id.clone()));
            }
            _ => {}
        }
    }

    /// Passes the request of an analyzer to the reconciler, which reports its status; the status is
    /// 500 if too many requests wait.
    pub(crate) fn request(&self, request: CaptureRequest) {
        let mut pending = self.pending.lock();
        if pending.requests.len() >= MAX_MESSAGES {
            drop(pending);
            (request.done)(500);
            return;
        }
        pending.requests.push(request);
        self.wake.notify_one();
    }

    /// Ends the reconciler, and the query that it is evaluating.
    pub(crate) fn stop(&self) {
        self.post(|pending| pending.stop = true);
    }

    /// Returns whether [`Mailbox::stop`] was called and the reconciler has not taken that request
    /// yet.
    pub(super) fn is_stopping(&self) -> bool {
        self.pending.lock().stop
    }

    fn post(&self, change: impl FnOnce(&mut Pending)) {
        change(&mut self.pending.lock());
        self.wake.notify_one();
    }

    /// Reports the deletion of a node from now on. Call this before the node is looked up for the
    /// last time; otherwise a deletion in between would be missed.
    pub(super) fn watch(&self, node: &NodeId) {
        self.shown.lock().nodes.insert(node.clone());
    }

    /// Publishes the running captures and the nodes that have captures.
    pub(super) fn show(&self, captures: HashMap<String, ShownCapture>, nodes: HashSet<NodeId>) {
        *self.shown.lock() = Shown { captures, nodes };
    }

    /// Takes everything except changes to the graph, without waiting.
    pub(super) fn take_urgent(&self) -> Pending {
        self.pending.lock().take_urgent()
    }

    /// Waits for work, or until the time `until`, and takes it. A changed graph is taken only after
    /// the pause; everything else ends the wait immediately.
    pub(super) fn wait(
        &self,
        clock: &dyn Clock,
        pause: Pause,
        until: Option<Timestamp>,
    ) -> Pending {
        let mut pending = self.pending.lock();
        loop {
            let now = clock.now();
            if pending.graph_changed && pause.is_over(now) {
                return std::mem::take(&mut *pending);
            }
            if pending.is_urgent() || until.is_some_and(|until| until <= now) {
                return pending.take_urgent();
            }
            let pause_end = pending.graph_changed.then(|| pause.end());
            match until.into_iter().chain(pause_end).min() {
                None => self.wake.wait(&mut pending),
                Some(until) => _ = self.wake.wait_for(&mut pending, until.duration_since(now)),
            }
        }
    }
}

impl AgentObserver for Mailbox {
    fn synced(&self, host: &str) {
        self.post(|pending| {
            pending.synced_agents.insert(host.to_owned());
            pending.graph_changed = true;
        });
    }

    fn lost(&self, host: &str) {
        self.post(|pending| {
            pending.synced_agents.remove(host);
            pending.lost_agents.insert(host.to_owned());
        });
    }

    fn replied(&self, host: &str, namespace: &str, kind: &str, status: i64, task: &OnDemandTask) {
        if namespace != ON_DEMAND_CAPTURE || kind != "StartReply" {
            return;
        }
        let reply = StartReply {
            host: host.to_owned(),
            key: NodeCaptureKey {
                capture: task.resource_id(),
                node: task.node.clone(),
            },
            status,
        };
        self.post(|pending| {
            if pending.replies.len() < MAX_MESSAGES {
                pending.replies.push(reply);
            }
        });
    }
}

impl Observer<CaptureSpec> for Mailbox {
    fn created(&self, _: &CaptureSpec, _: Option<Timestamp>) {
        self.capture_created();
    }

    /// Restarts the capture with its new options.
    fn updated(&self, capture: &CaptureSpec) {
        self.post(|pending| {
            pending.deleted.push(capture.uuid.clone());
            pending.created = true;
        });
    }

    fn deleted(&self, capture: &CaptureSpec) {
        self.capture_deleted(&capture.uuid);
    }

    /// Fills in the nodes of each capture, and on how many of them it is active.
    fn decorate(&self, captures: Vec<Arc<CaptureSpec>>) -> Vec<Arc<CaptureSpec>> {
        let shown = self.shown.lock();
        let with_state = |capture: Arc<CaptureSpec>| match shown.captures.get(&capture.uuid) {
            Some(state) => Arc::new(CaptureSpec {
                count: state.active,
                status: state.to_json(),
                ..Arc::unwrap_or_clone(capture)
            }),
            None => capture,
        };
        captures.into_iter().map(with_state).collect()
    }
}

impl Pending {
    fn is_urgent(&self) -> bool {
        self.stop
            || self.created
            || !self.deleted.is_empty()
            || !self.deleted_nodes.is_empty()
            || !self.replies.is_empty()
            || !self.requests.is_empty()
            || !self.lost_agents.is_empty()
    }

    fn take_urgent(&mut self) -> Self {
        let graph_changed = std::mem::take(&mut self.graph_changed);
        let synced_agents = std::mem::take(&mut self.synced_agents);
        let taken = std::mem::take(self);
        (self.graph_changed, self.synced_agents) = (graph_changed, synced_agents);
        taken
    }
}

/// A time during which a changed graph has to wait.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pause {
    pub(super) start: Timestamp,
    pub(super) length: Duration,
}

impl Pause {
    fn end(self) -> Timestamp {
        self.start.saturating_add(self.length)
    }

    fn is_over(self, now: Timestamp) -> bool {
        // `now` is before the start if the system clock was set back.
        now < self.start || now >= self.end()
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
    fn the_deletion_of_a_node_with_a_capture_is_reported_whatever_its_metadata() {
        let mailbox = Mailbox::default();
        mailbox.watch(&"mine".into());
        mailbox.graph_event(&deletion("mine"));
        mailbox.graph_event(&deletion("other"));
        assert_eq!(mailbox.take_urgent().deleted_nodes, ["mine".into()]);
        mailbox.show(HashMap::new(), HashSet::new());
        mailbox.graph_event(&deletion("mine"));
        assert!(mailbox.take_urgent().deleted_nodes.is_empty());
    }

    #[test]
    fn only_a_changed_graph_waits_for_the_pause() {
        let mailbox = Mailbox::default();
        let clock = ManualClock::new(Timestamp::from_ms(10_000));
        let pause = Pause {
            start: clock.now(),
            length: Duration::from_secs(5),
        };
        mailbox.request_round();
        mailbox.capture_deleted("a");
        let pending = mailbox.wait(&clock, pause, None);
        assert_eq!((pending.graph_changed, pending.deleted.len()), (false, 1));
        let pending = mailbox.wait(&clock, pause, Some(clock.now()));
        assert!(!pending.graph_changed, "woken for something else");
        clock.advance(Duration::from_secs(5));
        assert!(mailbox.wait(&clock, pause, None).graph_changed);
        let later = Pause {
            start: clock.now().saturating_add(Duration::from_secs(60)),
            ..pause
        };
        mailbox.request_round();
        assert!(
            mailbox.wait(&clock, later, None).graph_changed,
            "the clock was set back"
        );
    }
}
