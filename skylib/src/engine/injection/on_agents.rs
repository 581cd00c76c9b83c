//! `AgentInjections`: sends packets on the nodes of connected agents.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::hub::InjectionTarget;
use crate::engine::fleet::AgentLinks;
use crate::graph::{Node, NodeId};
use crate::inject::PacketRequest;
use crate::proto::{ON_DEMAND_INJECTION, OnDemandTask};

/// Requests to connected agents.
pub(crate) struct AgentInjections {
    links: Arc<AgentLinks>,
    /// Hosts of the agents, by node and injection, until the injection is stopped.
    hosts: Mutex<HashMap<(NodeId, String), String>>,
}

impl AgentInjections {
    pub(crate) fn new(links: Arc<AgentLinks>) -> Self {
        Self {
            links,
            hosts: Mutex::default(),
        }
    }

    /// Sends a request; returns `false` if the agent is not connected or its queue is full.
    fn send(&self, host: &str, kind: &str, node: &NodeId, resource: &str) -> bool {
        let task = OnDemandTask::new(node.clone(), resource);
        task.is_ok_and(|task| {
            let message = task.message(ON_DEMAND_INJECTION, kind, 200);
            self.links.send(host, message)
        })
    }
}

impl InjectionTarget for AgentInjections {
    fn owns(&self, node: &Node) -> bool {
        self.links.host_of_origin(&node.origin).is_some()
    }

    fn start(&self, node: &Node, request: PacketRequest) -> Result<(), String> {
        let host = self.links.host_of_origin(&node.origin);
        let host = host.ok_or("the agent is not connected")?;
        let key = (node.id.clone(), request.uuid.clone());
        if self.hosts.lock().contains_key(&key) {
            return Ok(());
        }
        let resource = serde_json::to_string(&request).unwrap_or_default();
        if !self.send(host, "Start", &node.id, &resource) {
            return Err(format!("the agent {host} does not accept requests"));
        }
        self.hosts.lock().insert(key, host.to_owned());
        Ok(())
    }

    fn stop(&self, node: &NodeId, injection: &str) -> bool {
        let host = self
            .hosts
            .lock()
            .remove(&(node.clone(), injection.to_owned()));
        let Some(host) = host else {
            return false;
        };
        let resource = serde_json::json!({"UUID": injection}).to_string();
        self.send(&host, "Stop", node, &resource);
        true
    }
}
