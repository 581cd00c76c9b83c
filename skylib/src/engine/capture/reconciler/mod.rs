//! `Reconciler`: starts and stops captures on the nodes that their queries select.
//!
//! A reconcile loop on one thread. The query of a capture is evaluated when the capture is created,
//! and the queries of all captures when nodes or edges change, at most once per [`ROUND_PERIOD`]
//! and at most half of the time; captures are then started on the selected nodes that have none.
//! Urgent work (deletions, the end of the engine) is done between two queries. A capture ends when
//! its resource or its node is deleted. A node that no longer matches the query retains its
//! capture, as in Skydive. The node's `Captures` metadata ([`super::node_status`]) show the
//! captures that run or failed to open; failed captures are retried when the graph changes.
//!
//! The thread also owns the counters of the captures: it shows them in the metadata and sends them
//! to the flow subscribers.

pub(super) mod report;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::mailbox::{Mailbox, Pause, Pending};
use super::node_capture::{NodeCapture, NodeCaptureKey, NodeCaptureState};
use super::node_status::{self, name_of};
use super::on_agents::AgentCaptures;
use super::opener::Opener;
use super::remote_captures::RemoteCaptures;
use super::requests::CaptureRequest;
use super::selector::Selector;
use super::stop_reason::StopReason;
use super::target::capture_type_on;
use super::totals::CaptureTotals;
use crate::api::{CaptureSpec, ResourceStore};
use crate::engine::bus::Bus;
use crate::engine::fleet::AgentLinks;
use crate::engine::flow::FlowHub;
use crate::engine::graph::SharedGraph;
use crate::engine::query::QueryRunner;
use crate::engine::resource::notify;
use crate::error_chain::Chain;
use crate::graph::{GraphAccess, MetadataOp, Node, NodeId};
use crate::proto::BroadcastMessage;
use crate::time::{Clock, Timestamp};

/// Minimum time between two rounds of queries while the graph is changing.
const ROUND_PERIOD: Duration = Duration::from_secs(1);

/// Interval at which statistics of captures are sent to the flow subscribers.
const STATS_MESSAGE_INTERVAL: Duration = Duration::from_secs(10);

/// Key of the counters of sFlow in the metadata of a node.
const SFLOW: &str = "SFlow";

/// Problem of a capture whose query selects nothing to capture on.
const NO_NODES: &str = "the query selects no interface on which packets can be captured";

/// Maximum number of captures on nodes, active and failed.
pub(super) const MAX_NODE_CAPTURES: usize = 10_000;

/// Settings of the reconciler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReconcilerOptions {
    /// Interval at which the counters in the nodes' metadata are refreshed.
    pub(crate) stats_interval: Duration,
    /// Maximum number of active captures, each with a packet ring and a flow table.
    pub(crate) max_active: usize,
    /// Whether this process opens the captures on the nodes of its own host.
    pub(crate) is_local: bool,
}

/// State of the reconcile loop.
pub(crate) struct Reconciler {
    pub(super) mailbox: Arc<Mailbox>,
    resources: Arc<ResourceStore<CaptureSpec>>,
    pub(super) graph: Arc<SharedGraph>,
    flows: Arc<FlowHub>,
    pub(super) graph_bus: Arc<Bus<BroadcastMessage>>,
    queries: QueryRunner,
    pub(super) opener: Opener,
    options: ReconcilerOptions,
    pub(super) clock: Arc<dyn Clock>,
    /// Known captures, by id.
    pub(super) selectors: HashMap<String, Selector>,
    /// Ids of the captures whose queries are still to be evaluated, the next one last.
    queue: Vec<String>,
    /// Start of the current round of queries; `None` between rounds.
    round_start: Option<Timestamp>,
    /// Time during which a changed graph does not start a round.
    pause: Pause,
    /// Captures on the nodes of agents.
    pub(super) agents: AgentCaptures,
    /// Requests of analyzers that wait for a filter or for the address of a target.
    pub(super) waiting: Vec<CaptureRequest>,
    /// Captures that run or failed, at most [`MAX_NODE_CAPTURES`].
    pub(super) node_captures: HashMap<NodeCaptureKey, NodeCapture>,
    /// Number of active entries of `node_captures`; at most `options.max_active`.
    active: usize,
    /// Sum of the counters of the captures that have ended.
    ended_totals: CaptureTotals,
    /// Whether `node_captures` has changed since it was last published.
    pub(super) changed: bool,
    next_stats: Timestamp,
    next_stats_message: Timestamp,
}

impl Reconciler {
    pub(crate) fn new(
        mailbox: Arc<Mailbox>,
        resources: Arc<ResourceStore<CaptureSpec>>,
        queries: QueryRunner,
        graph_bus: Arc<Bus<BroadcastMessage>>,
        links: Arc<AgentLinks>,
        opener: Opener,
        options: ReconcilerOptions,
    ) -> Self {
        let clock = Arc::clone(&queries.clock);
        let now = clock.now();
        Self {
            mailbox,
            resources,
            graph: Arc::clone(&queries.graph),
            flows: Arc::clone(&queries.flows),
            graph_bus,
            queries,
            opener,
            options,
            clock,
            selectors: HashMap::new(),
            queue: Vec::new(),
            round_start: None,
            pause: Pause::default(),
            agents: AgentCaptures {
                links,
                captures: RemoteCaptures::default(),
                unstopped: HashMap::new(),
            },
            waiting: Vec::new(),
            node_captures: HashMap::new(),
            active: 0,
            ended_totals: CaptureTotals::default(),
            changed: false,
            next_stats: now.saturating_add(options.stats_interval),
            next_stats_message: now.saturating_add(STATS_MESSAGE_INTERVAL),
        }
    }

    /// Runs the loop until [`Mailbox::stop`] is called, then stops all captures.
    pub(crate) fn run(mut self) {
        self.mailbox.capture_created();
        if self.options.is_local
            && let Err(error) = self.opener.switch.remove_leftovers()
        {
            // The first capture on the switch tries again.
            tracing::debug!(
                error,
                "cannot remove the captures of an earlier run from the switch"
            );
        }
        loop {
            let pending = if self.queue.is_empty() {
                self.mailbox
                    .wait(&*self.clock, self.pause, self.next_wake())
            } else {
                self.mailbox.take_urgent()
            };
            if pending.stop {
                break;
            }
            if self.opener.targets.take_wake(self.clock.now()) {
                self.mailbox.request_round();
            }
            self.handle(pending);
            if let Some(id) = self.queue.pop() {
                self.evaluate(&id);
            }
            if self.queue.is_empty()
                && let Some(start) = self.round_start.take()
            {
                // Pauses for as long as the round took: queries run at most half of the time.
                let now = self.clock.now();
                self.pause = Pause {
                    start: now,
                    length: now.duration_since(start).max(ROUND_PERIOD),
                };
            }
            self.report_stats();
            if std::mem::take(&mut self.changed) {
                self.publish();
            }
        }
        self.stop_where(|_| Some(StopReason::Shutdown));
    }

    /// Returns the time at which the loop has work even if nothing happens.
    fn next_wake(&self) -> Option<Timestamp> {
        let stats = (!self.node_captures.is_empty()).then_some(self.next_stats);
        stats
            .into_iter()
            .chain(self.opener.targets.next_wake())
            .min()
    }

    /// Does the work that other threads have posted.
    fn handle(&mut self, pending: Pending) {
        if !pending.deleted_nodes.is_empty() || !pending.deleted.is_empty() {
            self.end(pending.deleted_nodes, pending.deleted);
        }
        self.forget_agents(&pending.lost_agents);
        self.handle_replies(pending.replies);
        self.serve(pending.requests);
        if pending.graph_changed {
            self.start_round();
        }
        // Before captures without a resource are stopped: a new resource may describe them.
        if pending.created {
            self.add_new_captures();
        }
        if !pending.synced_agents.is_empty() {
            self.stop_leftovers(&pending.synced_agents);
        }
    }

    /// Stops the captures on deleted nodes and those of deleted capture resources.
    fn end(&mut self, nodes: Vec<NodeId>, captures: Vec<String>) {
        let nodes: HashSet<NodeId> = nodes.into_iter().collect();
        let captures: HashSet<String> = captures.into_iter().collect();
        self.selectors.retain(|id, _| !captures.contains(id));
        self.opener.targets.remove(&captures);
        self.stop_on_agents(&captures);
        self.end_on_deleted_nodes(&nodes);
        self.stop_where(|key| {
            if captures.contains(&key.capture) {
                return Some(StopReason::Deleted);
            }
            let is_missing = nodes.contains(&key.node);
            is_missing.then_some(StopReason::NodeDisappeared)
        });
        if self.active < self.node_captures.len() {
            // A capture that failed because of the limit may start now.
            self.mailbox.request_round();
        }
    }

    /// Adds captures that were created; their queries are evaluated next.
    fn add_new_captures(&mut self) {
        for spec in self.resources.all() {
            if !self.selectors.contains_key(&spec.uuid) {
                self.queue.push(spec.uuid.clone());
                let selector = Selector::new(Arc::clone(&spec));
                self.selectors.insert(spec.uuid.clone(), selector);
            }
        }
    }

    /// Starts a round: queues all queries, the cheapest first.
    fn start_round(&mut self) {
        self.stop_on_missing_nodes();
        self.stop_again();
        self.confirm_on_agents();
        self.serve_waiting();
        self.round_start = Some(self.clock.now());
        let mut all: Vec<_> = self.selectors.iter().map(|(id, s)| (s.cost, id)).collect();
        all.sort_by(|a, b| b.cmp(a));
        self.queue = all.into_iter().map(|(_, id)| id.clone()).collect();
    }

    /// Stops captures on nodes that are no longer in the graph, even if no event reported the
    /// deletion.
    fn stop_on_missing_nodes(&mut self) {
        let mut missing = HashSet::new();
        self.graph.read(&mut |graph| {
            let keys = self.node_captures.keys();
            missing = keys
                .filter(|key| graph.node(&key.node).is_none())
                .cloned()
                .collect();
        });
        if !missing.is_empty() {
            self.stop_where(|key| {
                let is_missing = missing.contains(key);
                is_missing.then_some(StopReason::NodeDisappeared)
            });
        }
    }

    /// Evaluates the query of a capture and starts it on the selected nodes where it is not active.
    fn evaluate(&mut self, id: &str) {
        if !self.options.is_local && self.agents.links.is_empty() {
            return;
        }
        let Some(selector) = self.selectors.get_mut(id) else {
            return;
        };
        let spec = Arc::clone(&selector.spec);
        let is_stopping = || self.mailbox.is_stopping();
        let (is_local, own) = (self.options.is_local, &*self.opener.origin);
        let is_here = |node: &Node| is_local && &*node.origin == own;
        let links = &self.agents.links;
        let accepts = |node: &Node| is_here(node) || links.host_of_node(node).is_some();
        let nodes = selector.select(&self.queries, &accepts, &is_stopping);
        if self.mailbox.is_stopping() {
            return;
        }
        let (nodes, mut problem) = match nodes {
            Ok(nodes) if nodes.is_empty() => (nodes, Some(NO_NODES.to_owned())),
            Ok(nodes) => (nodes, None),
            Err(problem) => (Vec::new(), Some(problem)),
        };
        let mut is_full = false;
        for node in nodes {
            let key = NodeCaptureKey {
                capture: id.to_owned(),
                node: node.id.clone(),
            };
            let is_here = self.options.is_local && *node.origin == *self.opener.origin;
            let known = self.node_captures.get(&key);
            if known.is_some_and(NodeCapture::is_active) {
                continue;
            }
            if !self.has_slot(&key) {
                is_full = true;
            } else if is_here {
                self.start(key, &spec, &node);
            } else {
                self.start_on_agent(&key, &spec, &node);
            }
        }
        if is_full {
            problem = Some(format!(
                "limit of {MAX_NODE_CAPTURES} captures on nodes reached; narrow the query"
            ));
        }
        if let Some(selector) = self.selectors.get_mut(id) {
            self.changed |= selector.set_problem(problem);
        }
    }

    /// Returns whether a capture on a node is known, or another one can be added.
    pub(super) fn has_slot(&self, key: &NodeCaptureKey) -> bool {
        let count = self.node_captures.len() + self.agents.captures.len();
        count < MAX_NODE_CAPTURES
            || self.node_captures.contains_key(key)
            || self.agents.captures.contains(key)
    }

    /// Opens a capture on a node of this host; a failure is shown on the node.
    pub(super) fn start(&mut self, key: NodeCaptureKey, spec: &Arc<CaptureSpec>, node: &Node) {
        let max_active = self.options.max_active;
        let opened = if let Some(error) = self.exclusion(&key, spec, node) {
            Err(error)
        } else if self.active < max_active {
            let mailbox = Arc::clone(&self.mailbox);
            self.opener
                .open(spec, node, move || mailbox.request_round())
        } else {
            Err(format!(
                "limit of {max_active} active captures reached (agent.capture.max_active)"
            ))
        };
        let capture = match opened {
            // A later round starts the capture: its filter is being compiled, or its target looked up.
            Ok(None) => return,
            Ok(Some(opened)) => {
                let (name, interface) = (spec.name.as_str(), name_of(node));
                tracing::info!(capture = %key.capture, name, node = %key.node, interface, "started the capture");
                self.active += 1;
                NodeCapture::active(Arc::clone(spec), name_of(node), opened)
            }
            Err(error) => {
                let known = self.node_captures.get(&key).and_then(NodeCapture::error);
                // A retry that fails with the same error is not logged again.
                if known != Some(&error) {
                    let (name, interface) = (spec.name.as_str(), name_of(node));
                    tracing::warn!(capture = %key.capture, name, node = %key.node, interface, %error, "cannot start the capture");
                }
                NodeCapture::failed(Arc::clone(spec), name_of(node), error)
            }
        };
        let is_active = capture.is_active();
        if self.insert(key, capture) && is_active {
            notify(&self.graph_bus, "NodeUpdated", &**spec);
        }
    }

    /// Returns the reason why another capture on the node prevents this one: some types run only once
    /// on a node.
    fn exclusion(&self, key: &NodeCaptureKey, spec: &CaptureSpec, node: &Node) -> Option<String> {
        let wanted = capture_type_on(spec.capture_type, node).ok()?;
        if wanted.abilities().several_per_node {
            return None;
        }
        let is_rival = |(other, capture): &(&NodeCaptureKey, &NodeCapture)| {
            other.node == key.node
                && other.capture != key.capture
                && capture.is_active()
                && capture_type_on(capture.spec.capture_type, node) == Ok(wanted)
        };
        let (rival, _) = self.node_captures.iter().find(is_rival)?;
        let name = wanted.name();
        let rival = &rival.capture;
        Some(format!(
            "one {name} capture can run on a node; capture {rival} runs already"
        ))
    }

    /// Adds a capture to the metadata of its node and stores it. If the node has been deleted in
    /// the meantime, closes the capture and returns `false`.
    fn insert(&mut self, key: NodeCaptureKey, capture: NodeCapture) -> bool {
        // Before the node is looked up, so that no deletion is missed.
        self.mailbox.watch(&key.node);
        let status = capture.status(self.opener.identity_of(&capture.spec));
        let is_shown = self
            .graph
            .update_as(None, |graph, now| status.show(graph, &key.node, now));
        if is_shown {
            let is_active = capture.is_active();
            let error = capture.error().map(str::to_owned);
            let before = self.node_captures.insert(key, capture);
            self.changed |= before.is_none_or(|before| {
                before.is_active() != is_active || before.error() != error.as_deref()
            });
        } else {
            self.node_captures.remove(&key);
            self.close(capture);
            self.changed = true;
        }
        is_shown
    }

    /// Replaces a capture that has ended without being stopped (its interface was deleted, or
    /// reading failed) by a failed one.
    fn fail_ended(&mut self, key: NodeCaptureKey) {
        let Some(capture) = self.node_captures.remove(&key) else {
            return;
        };
        self.changed = true;
        let (spec, name) = (Arc::clone(&capture.spec), capture.name.clone());
        let error = match self.close(capture) {
            Some(error) => error,
            None => "the capture ended".to_owned(),
        };
        tracing::warn!(capture = %key.capture, node = %key.node, %error, "the capture ended unexpectedly");
        self.insert(key, NodeCapture::failed(spec, &name, error));
    }

    /// Stops the captures for which there is a reason. All are signaled before the first is joined,
    /// so that they flush their last packets in parallel.
    pub(super) fn stop_where(&mut self, reason_of: impl Fn(&NodeCaptureKey) -> Option<StopReason>) {
        let stopped: Vec<(NodeCaptureKey, NodeCapture)> = self
            .node_captures
            .extract_if(|key, _| reason_of(key).is_some())
            .collect();
        if stopped.is_empty() {
            return;
        }
        self.changed = true;
        for (key, capture) in &stopped {
            if let (NodeCaptureState::Active(active), Some(reason)) =
                (&capture.state, reason_of(key))
            {
                active.threads.request_stop();
                let (name, interface) = (&capture.spec.name, &capture.name);
                tracing::info!(capture = %key.capture, name, node = %key.node, interface, %reason, "stopping the capture");
            }
        }
        let mut keys = Vec::with_capacity(stopped.len());
        for (key, capture) in stopped {
            let has_sflow = capture.has_sflow();
            self.close(capture);
            keys.push((key, has_sflow));
        }
        self.graph.update_as(None, |graph, now| {
            for (key, has_sflow) in keys {
                node_status::remove(graph, &key.node, &key.capture, now);
                if has_sflow {
                    let op = MetadataOp::delete(SFLOW);
                    graph.patch_node(&key.node, &[op], now).ok();
                }
            }
        });
    }

    /// Ends a capture and returns the error with which it had ended before, if any. When this
    /// returns, the hub has received the capture's last flows.
    fn close(&mut self, capture: NodeCapture) -> Option<String> {
        let NodeCaptureState::Active(active) = capture.state else {
            return None;
        };
        self.active -= 1;
        let active = *active;
        for table in active.tables {
            self.flows.remove_table(table);
        }
        let stopped = active.threads.stop();
        let report = stopped.as_ref().unwrap_or(&active.report);
        // The last flows were sent when the threads ended.
        self.ended_totals.add_ended(report, active.target.stats());
        stopped.err().map(|error| Chain(&error).to_string())
    }
}

#[cfg(test)]
mod tests;
