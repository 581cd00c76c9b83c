//! `AgentInjections`: sends packets on the nodes of connected agents.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::hub::{InjectionTarget, StartOutcome};
use crate::engine::fleet::{AgentLinks, AgentObserver};
use crate::graph::{Node, NodeId};
use crate::inject::PacketRequest;
use crate::proto::{ON_DEMAND_INJECTION, OnDemandTask};

/// Requests to connected agents.
pub(crate) struct AgentInjections {
    links: Arc<AgentLinks>,
    requests: Mutex<Requests>,
}

/// Node, and identifier of an injection.
type Key = (NodeId, String);

#[derive(Default)]
struct Requests {
    /// Hosts of the agents, until the injection is stopped or its start has failed.
    hosts: HashMap<Key, String>,
    /// Statuses of the last replies to the requests in `hosts` that have not been taken.
    replies: HashMap<Key, i64>,
}

impl AgentInjections {
    pub(crate) fn new(links: Arc<AgentLinks>) -> Self {
        Self {
            links,
            requests: Mutex::default(),
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
        self.links.host_of_node(node).is_some()
    }

    fn start(&self, node: &Node, request: PacketRequest) -> Result<(), String> {
        let host = self.links.host_of_node(node);
        let host = host.ok_or("the agent is not connected")?;
        let key = (node.id.clone(), request.uuid.clone());
        // Locked until the request is known, so that its reply is not ignored.
        let mut requests = self.requests.lock();
        if requests.hosts.contains_key(&key) {
            return Ok(());
        }
        let resource = serde_json::to_string(&request).unwrap_or_default();
        if !self.send(host, "Start", &node.id, &resource) {
            return Err(format!(
                "the agent {host} is not connected or its request queue is full"
            ));
        }
        requests.hosts.insert(key, host.to_owned());
        Ok(())
    }

    fn stop(&self, node: &NodeId, injection: &str) -> bool {
        let key = (node.clone(), injection.to_owned());
        let mut requests = self.requests.lock();
        requests.replies.remove(&key);
        let Some(host) = requests.hosts.remove(&key) else {
            return false;
        };
        drop(requests);
        let resource = serde_json::json!({"UUID": injection}).to_string();
        self.send(&host, "Stop", node, &resource);
        true
    }

    fn has_replies(&self) -> bool {
        true
    }

    fn take_replies(&self) -> Vec<StartOutcome> {
        let mut requests = self.requests.lock();
        let replies = std::mem::take(&mut requests.replies);
        let outcome = |((node, injection), status): (Key, i64)| {
            let mut problem = None;
            if status != 200 {
                let host = requests.hosts.remove(&(node.clone(), injection.clone()));
                let host = host.unwrap_or_default();
                problem = Some(format!(
                    "node {node}: the agent {host} cannot send the packets: status {status}; the \
                     log of the agent contains the reason"
                ));
            }
            StartOutcome {
                node,
                injection,
                problem,
            }
        };
        replies.into_iter().map(outcome).collect()
    }
}

impl AgentObserver for AgentInjections {
    fn replied(&self, host: &str, namespace: &str, kind: &str, status: i64, task: &OnDemandTask) {
        if namespace != ON_DEMAND_INJECTION || kind != "StartReply" {
            return;
        }
        let key = (task.node.clone(), task.resource_id());
        let mut requests = self.requests.lock();
        if requests.hosts.get(&key).is_some_and(|known| known == host) {
            requests.replies.insert(key, status);
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
    fn replies_of_an_agent_are_outcomes_and_a_failed_start_can_be_repeated() {
        let links = Arc::<AgentLinks>::default();
        let injections = AgentInjections::new(Arc::clone(&links));
        let agent = links.connect("a", Encoding::Json);
        let node = Node::new("n", Metadata::new(), Timestamp::ZERO);
        let node = node.with_origin(Origin::from_text("api.x").with_host("a"));
        let start = || {
            let mut request = PacketRequest::new(PacketType::Icmp4);
            request.uuid = "i".to_owned();
            injections.start(&node, request).unwrap();
            agent.try_next().is_some()
        };
        assert!(start() && !start());
        let reply = |host: &str, kind: &str, status: i64, id: &str| {
            let resource = format!(r#"{{"UUID":"{id}"}}"#);
            let task = OnDemandTask::new("n".into(), &resource).unwrap();
            injections.replied(host, ON_DEMAND_INJECTION, kind, status, &task);
        };
        reply("a", "StopReply", 404, "i");
        reply("other", "StartReply", 500, "i");
        reply("a", "StartReply", 500, "unknown");
        assert!(injections.take_replies().is_empty());
        reply("a", "StartReply", 200, "i");
        let outcomes = injections.take_replies();
        assert!(outcomes.len() == 1 && outcomes[0].problem.is_none() && !start());
        reply("a", "StartReply", 500, "i");
        let problem = injections.take_replies().remove(0).problem.unwrap();
        assert!(
            problem.contains("agent a cannot send the packets: status 500"),
            "{problem}"
        );
        assert!(injections.take_replies().is_empty() && start());
        reply("a", "StartReply", 500, "i");
        assert!(injections.stop(&node.id, "i") && !injections.stop(&node.id, "i"));
        assert!(injections.take_replies().is_empty());
    }

    #[test]
    fn the_host_of_a_node_determines_its_agent() {
        let links = Arc::<AgentLinks>::default();
        let injections = AgentInjections::new(Arc::clone(&links));
        let _agent = links.connect("a", Encoding::Json);
        let owns = |origin: &str, host: &str| {
            let node = Node::new("n", Metadata::new(), Timestamp::ZERO);
            injections.owns(&node.with_origin(Origin::from_text(origin).with_host(host)))
        };
        assert!(owns("agent.a", "a") && owns("api.x", "a"));
        assert!(!owns("agent.a", "") && !owns("agent.a", "b"));
    }
}
