//! `Policy`: the rules of a network policy, as far as edges show them.
//!
//! Edges lead from a policy to the pods that it applies to (`PolicyPoint` `begin`), and to the pods
//! that its rules admit (`end`). As in Skydive, rules that admit all peers or blocks of addresses
//! have no edges.

use serde_json::Value as Json;

use super::object::{MANAGER, list};
use super::selector::{Labels, Selector};
use crate::graph::{EdgeId, Metadata, NodeId};

/// The rules of a network policy.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Policy {
    /// Selector of the pods that the policy applies to, in its namespace.
    pub(super) pods: Selector,
    /// Rules by direction; a direction without rules that the policy covers denies all traffic.
    pub(super) directions: Vec<Direction>,
}

/// The rules of one direction.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Direction {
    /// `ingress` or `egress`.
    name: &'static str,
    /// `allow` or `deny`.
    target: &'static str,
    /// Ports of the only rule; empty if there are several rules.
    ports: String,
    /// Pods that the rules admit.
    peers: Vec<Peer>,
}

/// Pods that a rule admits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Peer {
    /// Selector of the pods; `None` for all pods.
    pods: Option<Selector>,
    /// Selector of the namespaces; `None` for the namespace of the policy.
    namespaces: Option<Selector>,
}

impl Policy {
    /// Returns the rules of the specification of a policy.
    pub(super) fn of(spec: &Json) -> Self {
        let pods = Selector::of_object(&spec["podSelector"]);
        let types = || list(&spec["policyTypes"]).filter_map(Json::as_str);
        let ingress = list(&spec["ingress"]).count() > 0
            || types().next().is_none()
            || types().any(|name| name == "Ingress");
        let egress = list(&spec["egress"]).count() > 0 || types().any(|name| name == "Egress");
        let covers_all = pods.is_empty();
        let mut directions = Vec::new();
        if ingress {
            directions.push(Direction::of("ingress", "from", spec, covers_all));
        }
        if egress {
            directions.push(Direction::of("egress", "to", spec, covers_all));
        }
        Self { pods, directions }
    }

    /// Returns whether rules refer to pods of other namespaces.
    pub(super) fn is_across_namespaces(&self) -> bool {
        let mut peers = self
            .directions
            .iter()
            .flat_map(|direction| &direction.peers);
        peers.any(|peer| peer.namespaces.is_some())
    }
}

impl Peer {
    /// Returns whether a pod with some labels is admitted, in a namespace of the peer.
    pub(super) fn admits(&self, labels: &Labels) -> bool {
        self.pods.as_ref().is_none_or(|pods| pods.matches(labels))
    }
}

impl Direction {
    fn of(name: &'static str, peers_key: &str, spec: &Json, covers_all: bool) -> Self {
        let rules: Vec<&Json> = list(&spec[name]).collect();
        let selector = |json: &Json| json.is_object().then(|| Selector::of_object(json));
        let peers = rules.iter().flat_map(|rule| list(&rule[peers_key]));
        let peers = peers.filter_map(|peer| {
            let (pods, namespaces) = (&peer["podSelector"], &peer["namespaceSelector"]);
            (pods.is_object() || namespaces.is_object()).then(|| Peer {
                pods: selector(pods),
                namespaces: selector(namespaces),
            })
        });
        Self {
            name,
            // COMPAT: Skydive; a policy for some pods without rules is shown as `allow`, too.
            target: match covers_all && rules.is_empty() {
                true => "deny",
                false => "allow",
            },
            ports: match &rules[..] {
                [rule] => ports(&rule["ports"]),
                _ => String::new(),
            },
            peers: peers.collect(),
        }
    }

    /// Returns the peers that can be pods of a namespace with some labels. `home` is the namespace
    /// of the policy.
    pub(super) fn peers_in(
        &self,
        namespace: &str,
        labels: Option<&Labels>,
        home: &str,
    ) -> Vec<&Peer> {
        let peers = self.peers.iter().filter(|peer| match &peer.namespaces {
            None => namespace == home,
            Some(selector) => labels.is_some_and(|labels| selector.matches(labels)),
        });
        peers.collect()
    }

    /// Returns the edge to a pod: its identifier and its metadata. `point` is `begin` or `end`.
    pub(super) fn edge(
        &self,
        policy: &NodeId,
        pod: &NodeId,
        point: &'static str,
    ) -> (EdgeId, Metadata) {
        let mut metadata = Metadata::from_iter([
            ("Manager", MANAGER),
            ("PolicyPoint", point),
            ("PolicyTarget", self.target),
            ("PolicyType", self.name),
            ("RelationType", "networkpolicy"),
        ]);
        let mut text = format!("{policy}/{pod}");
        for (key, value) in metadata.iter() {
            text.push('/');
            text.push_str(key);
            text.push('/');
            text.push_str(value.as_text().unwrap_or_default());
        }
        metadata.set("PolicyPorts", self.ports.as_str());
        (EdgeId::derived(&text), metadata)
    }
}

/// Returns the text of the ports of a rule, such as `:80;:53/UDP`.
fn ports(json: &Json) -> String {
    let ports = list(json).map(|port| {
        let mut text = String::from(":");
        match &port["port"] {
            Json::String(name) => text.push_str(name),
            Json::Number(number) => text.push_str(&number.to_string()),
            _ => {}
        }
        if let Some(last) = port["endPort"].as_u64() {
            text.push_str(&format!("-{last}"));
        }
        match port["protocol"].as_str() {
            None | Some("TCP") => {}
            Some(other) => text.push_str(&format!("/{other}")),
        }
        text
    });
    ports.collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labels(key: &str, value: &str) -> Labels {
        Labels::from([(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn directions_follow_the_types_and_the_rules() {
        let names = |spec: Json| -> Vec<(&'static str, &'static str)> {
            let policy = Policy::of(&spec);
            policy
                .directions
                .iter()
                .map(|d| (d.name, d.target))
                .collect()
        };
        assert_eq!(names(json!({})), [("ingress", "deny")]);
        assert_eq!(
            names(json!({"policyTypes": ["Egress"]})),
            [("egress", "deny")]
        );
        assert_eq!(
            names(json!({"policyTypes": ["Ingress", "Egress"], "egress": [{}]})),
            [("ingress", "deny"), ("egress", "allow")]
        );
        let some = json!({"podSelector": {"matchLabels": {"a": "b"}}});
        assert_eq!(names(some), [("ingress", "allow")]);
    }

    #[test]
    fn peers_are_pods_in_the_namespaces_of_a_rule() {
        let policy = Policy::of(&json!({"ingress": [{
            "ports": [{"port": 80}, {"port": "dns", "protocol": "UDP"}, {"port": 1, "endPort": 9}],
            "from": [
                {"podSelector": {"matchLabels": {"app": "web"}}},
                {"namespaceSelector": {"matchLabels": {"team": "x"}},
                 "podSelector": {"matchLabels": {"app": "db"}}},
                {"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}));
        assert!(policy.is_across_namespaces());
        let rules = &policy.directions[0];
        assert_eq!(rules.ports, ":80;:dns/UDP;:1-9");
        let (web, db, x) = (
            labels("app", "web"),
            labels("app", "db"),
            labels("team", "x"),
        );
        let admits = |labels: &Labels, namespace: &str, of_namespace: Option<&Labels>| {
            let peers = rules.peers_in(namespace, of_namespace, "home");
            peers.iter().any(|peer| peer.admits(labels))
        };
        assert!(admits(&web, "home", None));
        assert!(!admits(&web, "away", Some(&x)));
        assert!(admits(&db, "away", Some(&x)));
        assert!(!admits(&db, "away", Some(&Labels::new())));
        assert!(!admits(&db, "home", None));
    }

    #[test]
    fn an_edge_has_the_keys_of_its_policy() {
        let policy = Policy::of(&json!({"ingress": [{"ports": [{"port": 80}]}]}));
        let (np, pod) = (NodeId::from("np"), NodeId::from("pod"));
        let (begin, metadata) = policy.directions[0].edge(&np, &pod, "begin");
        let (end, _) = policy.directions[0].edge(&np, &pod, "end");
        assert_ne!(begin, end);
        assert_eq!(
            serde_json::to_value(&metadata).unwrap(),
            json!({"Manager": "k8s", "RelationType": "networkpolicy", "PolicyType": "ingress",
                "PolicyTarget": "allow", "PolicyPoint": "begin", "PolicyPorts": ":80"})
        );
    }
}
