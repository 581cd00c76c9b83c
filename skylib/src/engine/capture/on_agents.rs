//! The part of the reconciler that starts and stops captures on the nodes of agents.

use std::collections::HashSet;
use std::sync::Arc;

use super::mailbox::StartReply;
use super::node_capture::NodeCaptureKey;
use super::reconciler::Reconciler;
use super::remote_captures::{self, RemoteCaptures};
use crate::api::CaptureSpec;
use crate::engine::fleet::AgentLinks;
use crate::engine::resource::notify;
use crate::graph::{GraphAccess, Node, NodeId};
use crate::proto::{ON_DEMAND_CAPTURE, OnDemandTask};

/// Connected agents, and the captures on their nodes.
pub(super) struct AgentCaptures {
    pub(super) links: Arc<AgentLinks>,
    pub(super) captures: RemoteCaptures,
}

impl Reconciler {
    /// Starts a capture on a node of a connected agent, unless it runs or is being started there.
    pub(super) fn start_on_agent(
        &mut self,
        key: &NodeCaptureKey,
        spec: &Arc<CaptureSpec>,
        node: &Node,
    ) {
        let Some(host) = self.agents.links.host_of_origin(&node.origin) else {
            return;
        };
        // Before the node is looked up again, so that no deletion is missed.
        self.mailbox.watch(&key.node);
        let before = self.agents.captures.len();
        let now = self.clock.now();
        let must_start = self.agents.captures.prepare(key, spec, node, host, now);
        self.changed |= must_start || self.agents.captures.len() != before;
        if must_start && !self.send(host, "Start", key, spec) {
            self.agents.captures.take(|known| known == key);
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
        let (before, mut confirmed) = (captures.len(), Vec::new());
        self.graph
            .read(&mut |graph| confirmed = captures.confirm(graph, now));
        if confirmed.is_empty() && captures.len() == before {
            return;
        }
        // First, so that a client that receives the notification reads the new count.
        self.publish();
        for spec in confirmed {
            notify(&self.graph_bus, "NodeUpdated", &*spec);
        }
    }

    /// Forgets the captures of agents whose connections have ended.
    pub(super) fn forget_agents(&mut self, hosts: &HashSet<String>) {
        self.changed |= self.agents.captures.forget_hosts(hosts);
    }

    /// Forgets the captures on deleted nodes of agents.
    pub(super) fn end_on_deleted_nodes(&mut self, nodes: &HashSet<NodeId>) {
        let ended = self.agents.captures.take(|key| nodes.contains(&key.node));
        self.changed |= !ended.is_empty();
        if self.changed {
            self.publish();
        }
        for (key, _, spec) in ended {
            if self.selectors.contains_key(&key.capture) {
                notify(&self.graph_bus, "NodeUpdated", &*spec);
            }
        }
    }

    /// Stops deleted captures on agents.
    pub(super) fn stop_on_agents(&mut self, captures: &HashSet<String>) {
        let stopped = self
            .agents
            .captures
            .take(|key| captures.contains(&key.capture));
        self.changed |= !stopped.is_empty();
        for (key, host, spec) in stopped {
            self.send(&host, "Stop", &key, &spec);
        }
    }

    /// Stops the captures that agents show after their `Sync` and that no resource describes.
    pub(super) fn stop_leftovers(&self, synced: &HashSet<String>) {
        let host_of = |node: &Node| {
            let host = self.agents.links.host_of_origin(&node.origin)?;
            synced.contains(host).then(|| host.to_owned())
        };
        let is_known = |id: &str| self.selectors.contains_key(id);
        let mut found = Vec::new();
        self.graph
            .read(&mut |graph| found = remote_captures::leftovers(graph, host_of, is_known));
        for (host, node, id) in found {
            tracing::info!(agent = host, %node, capture = id, "stops a capture that was deleted");
            let spec = CaptureSpec {
                uuid: id.clone(),
                ..CaptureSpec::default()
            };
            self.send(&host, "Stop", &NodeCaptureKey { capture: id, node }, &spec);
        }
    }
}
