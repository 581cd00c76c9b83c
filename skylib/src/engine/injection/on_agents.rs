//! `AgentInjections`: sends packets on the nodes of connected agents.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Problems;
use super::hub::InjectionTarget;
use crate::engine::fleet::{AgentLinks, AgentObserver};
use crate::graph::{Node, NodeId};
use crate::inject::PacketRequest;
use crate::proto::{ON_DEMAND_INJECTION, OnDemandTask};

/// Requests to connected agents.
pub(crate) struct AgentInjections {
    links: Arc<AgentLinks>,
    problems: Arc<Problems>,
    /// Hosts of the agents, by node and injection, until the injection is stopped.
    hosts: Mutex<HashMap<(NodeId, String), String>>,
}

impl AgentInjections {
    pub(crate) fn new(links: Arc<AgentLinks>, problems: Arc<Problems>) -> Self {
        Self {
            links,
            problems,
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
        // Locked until the request is known, so that its reply is not ignored.
        let mut hosts = self.hosts.lock();
        if hosts.contains_key(&key) {
            return Ok(());
        }
        let resource = serde_json::to_string(&request).unwrap_or_default();
        if !self.send(host, "Start", &node.id, &resource) {
            return Err(format!("the agent {host} does not accept requests"));
        }
        hosts.insert(key, host.to_owned());
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

impl AgentObserver for AgentInjections {
    fn replied(&self, host: &str, namespace: &str, kind: &str, status: i64, task: &OnDemandTask) {
        if namespace != ON_DEMAND_INJECTION || kind != "StartReply" || status == 200 {
            return;
        }
        let key = (task.node.clone(), task.resource_id());
        // Locked until the problem is known, so that a stop removes it.
        let hosts = self.hosts.lock();
        if hosts.get(&key).is_some_and(|known| known == host) {
            let (node, injection) = key;
            let problem = format!(
                "node {node}: the agent {host} cannot send the packets: status {status}; the log of \
                 the agent contains the reason"
            );
            self.problems.add(&injection, problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Metadata, Origin};
    use crate::inject::PacketType;
    use crate::proto::Encoding;
    use crate::time::Timestamp;

    #[test]
    fn the_failure_of_an_agent_is_a_problem_of_the_injection() {
        let links = Arc::<AgentLinks>::default();
        let problems = Arc::<Problems>::default();
        let injections = AgentInjections::new(Arc::clone(&links), Arc::clone(&problems));
        let _agent = links.connect("a", Encoding::Json);
        let node = Node::new("n", Metadata::new(), Timestamp::ZERO);
        let node = node.with_origin(Origin::new("agent", "a"));
        let mut request = PacketRequest::new(PacketType::Icmp4);
        request.uuid = "i".to_owned();
        injections.start(&node, request).unwrap();
        let reply = |host: &str, kind: &str, status: i64, id: &str| {
            let resource = format!(r#"{{"UUID":"{id}"}}"#);
            let task = OnDemandTask::new("n".into(), &resource).unwrap();
            injections.replied(host, ON_DEMAND_INJECTION, kind, status, &task);
        };
        reply("a", "StartReply", 200, "i");
        reply("a", "StopReply", 404, "i");
        reply("other", "StartReply", 500, "i");
        reply("a", "StartReply", 500, "unknown");
        assert_eq!((problems.get("i"), problems.get("unknown")), (None, None));
        reply("a", "StartReply", 500, "i");
        let problem = problems.get("i").unwrap();
        assert!(
            problem.contains("agent a cannot send the packets: status 500"),
            "{problem}"
        );
    }
}
