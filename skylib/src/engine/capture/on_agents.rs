//! The part of the reconciler that starts and stops captures on the nodes of agents.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::mailbox::StartReply;
use super::node_capture::NodeCaptureKey;
use super::reconciler::Reconciler;
use super::remote_captures::{RemoteCaptures, shown_captures};
use super::stop_reason::StopReason;
use crate::api::CaptureSpec;
use crate::engine::fleet::AgentLinks;
use crate::engine::resource::notify;
use crate::graph::{GraphAccess, Node, NodeId};
use crate::proto::{ON_DEMAND_CAPTURE, OnDemandTask};

/// Connected agents, and the captures on their nodes.
pub(super) struct AgentCaptures {
    pub(super) links: Arc<AgentLinks>,
    pub(super) captures: RemoteCaptures,
    /// Captures that have to be stopped on agents whose queues were full.
    pub(super) unstopped: HashMap<(String, NodeCaptureKey), Arc<CaptureSpec>>,
}

impl Reconciler {
    /// Starts a capture on a node of a connected agent, unless it runs or is being started there.
    pub(super) fn start_on_agent(
        &mut self,
        key: &NodeCaptureKey,
        spec: &Arc<CaptureSpec>,
        node: &Node,
    ) {
        let Some(host) = self.agents.links.host_of_node(node) else {
            return;
        };
        // Before the node is looked up again, so that no deletion is missed.
        self.mailbox.watch(&key.node);
        let before = self.agents.captures.len();
        let now = self.clock.now();
        let must_start = self.agents.captures.prepare(key, spec, node, host, now);
        self.changed |= must_start || self.agents.captures.len() != before;
        if must_start && !self.send(host, "Start", key, spec) {
            let error = format!("the agent {host} is not connected or its request queue is full");
            self.agents.captures.fail(key, error);
        }
    }

    /// Sends a request about a capture to an agent. Returns `false` if the agent is not connected
    /// or its queue is full.
    fn send(&self, host: &str, kind: &str, key: &NodeCaptureKey, spec: &CaptureSpec) -> bool {
        let resource = serde_json::to_string(spec).unwrap_or_default();
        let task = OnDemandTask::new(key.node.clone(), &resource);
        task.is_ok_and(|task| {
            let message = task.message(ON_DEMAND_CAPTURE, kind, 200);
            self.agents.links.send(host, message)
        })
    }

    /// Handles the replies of agents to the start of captures.
    pub(super) fn handle_replies(&mut self, replies: Vec<StartReply>) {
        let now = self.clock.now();
        for StartReply { host, key, status } in replies {
            let Some(spec) = self.agents.captures.started(&host, &key, status, now) else {
                continue;
            };
            if status != 200 {
                let (capture, node) = (&key.capture, &key.node);
                tracing::warn!(%capture, %node, agent = host, status, "the agent cannot start the capture");
            }
            notify(&self.graph_bus, "NodeUpdated", &*spec);
        }
    }

    /// Updates the states of the captures on agents from what their nodes show.
    pub(super) fn confirm_on_agents(&mut self) {
        if self.agents.captures.len() == 0 {
            return;
        }
        let now = self.clock.now();
        let captures = &mut self.agents.captures;
        let (mut confirmed, mut has_failed) = (Vec::new(), false);
        self.graph
            .read(&mut |graph| (confirmed, has_failed) = captures.confirm(graph, now));
        if confirmed.is_empty() && !has_failed {
            return;
        }
        // First, so that a client that receives the notification reads the new count.
        self.publish();
        for spec in confirmed {
            notify(&self.graph_bus, "NodeUpdated", &*spec);
        }
    }

    /// Removes the captures of agents whose connections have ended.
    pub(super) fn forget_agents(&mut self, hosts: &HashSet<String>) {
        self.changed |= self.agents.captures.forget_hosts(hosts);
        // The `Sync` of an agent that connects again leads to another `Stop`.
        self.agents
            .unstopped
            .retain(|(host, _), _| !hosts.contains(host));
    }

    /// Removes the captures on deleted nodes of agents.
    pub(super) fn end_on_deleted_nodes(&mut self, nodes: &HashSet<NodeId>) {
        let ended = self.agents.captures.take(|key| nodes.contains(&key.node));
        self.changed |= !ended.is_empty();
        if self.changed {
            self.publish();
        }
        for (key, capture) in ended {
            if self.selectors.contains_key(&key.capture) {
                notify(&self.graph_bus, "NodeUpdated", &*capture.spec);
            }
        }
    }

    /// Stops deleted captures on agents: on each node on which they were started, and on each node
    /// that shows them, because a former run of this analyzer may have started them.
    pub(super) fn stop_on_agents(&mut self, deleted: &HashSet<String>) {
        if deleted.is_empty() {
            return;
        }
        let started = self
            .agents
            .captures
            .take(|key| deleted.contains(&key.capture));
        self.changed |= !started.is_empty();
        let mut stopped: HashMap<(String, NodeCaptureKey), Arc<CaptureSpec>> = started
            .into_iter()
            .map(|(key, known)| ((known.host, key), known.spec))
            .collect();
        for shown in self.shown_on_agents(|_| true, |id| deleted.contains(id)) {
            stopped
                .entry(shown)
                .or_insert_with_key(|(_, key)| without_settings(key));
        }
        for ((host, key), spec) in stopped {
            self.stop_on_agent(host, key, spec);
        }
    }

    /// Stops the captures that agents show after their `Sync` and that no resource describes.
    pub(super) fn stop_leftovers(&mut self, synced: &HashSet<String>) {
        let selectors = &self.selectors;
        let is_unknown = |id: &str| !selectors.contains_key(id);
        let found = self.shown_on_agents(|host| synced.contains(host), is_unknown);
        for (host, key) in found {
            let spec = without_settings(&key);
            self.stop_on_agent(host, key, spec);
        }
    }

    /// Resends the `Stop` requests that could not be queued because the queues of their agents were
    /// full.
    pub(super) fn stop_again(&mut self) {
        for ((host, key), spec) in std::mem::take(&mut self.agents.unstopped) {
            if !self.selectors.contains_key(&key.capture) {
                self.send_stop(host, key, spec);
            }
        }
    }

    /// Returns the selected captures that nodes of selected connected agents show.
    fn shown_on_agents(
        &self,
        is_host: impl Fn(&str) -> bool,
        is_selected: impl Fn(&str) -> bool,
    ) -> Vec<(String, NodeCaptureKey)> {
        let links = &self.agents.links;
        if links.is_empty() {
            return Vec::new();
        }
        let host_of = |node: &Node| {
            let host = links.host_of_node(node)?;
            is_host(host).then(|| host.to_owned())
        };
        let mut found = Vec::new();
        self.graph
            .read(&mut |graph| found = shown_captures(graph, host_of, &is_selected));
        found
    }

    fn stop_on_agent(&mut self, agent: String, key: NodeCaptureKey, spec: Arc<CaptureSpec>) {
        let (node, capture, reason) = (&key.node, &key.capture, StopReason::Deleted);
        tracing::info!(agent, %node, capture, %reason, "stopping the capture on an agent");
        self.send_stop(agent, key, spec);
    }

    fn send_stop(&mut self, host: String, key: NodeCaptureKey, spec: Arc<CaptureSpec>) {
        // The `Sync` of an agent that is not connected leads to another `Stop`.
        if !self.send(&host, "Stop", &key, &spec) && self.agents.links.is_connected(&host) {
            self.agents.unstopped.insert((host, key), spec);
            self.mailbox.request_round();
        }
    }
}

/// Returns a capture of which only the UUID is known.
fn without_settings(key: &NodeCaptureKey) -> Arc<CaptureSpec> {
    Arc::new(CaptureSpec {
        uuid: key.capture.clone(),
        ..CaptureSpec::default()
    })
}
