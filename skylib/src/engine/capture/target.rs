//! `CaptureTarget`: interface and namespace of a node on which a capture is to be opened.

use std::path::PathBuf;

use crate::graph::{Direction, Graph, Node, NodeId};
use crate::value::Value;

/// Properties of a node that are needed to open a capture on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CaptureTarget {
    pub(super) interface: String,
    pub(super) encap_type: String,
    pub(super) tid: String,
    /// File of the interface's network namespace; `None` for the namespace of this process.
    pub(super) netns: Option<PathBuf>,
}

impl CaptureTarget {
    /// Returns the target of a node, from its metadata and its owners.
    ///
    /// The namespace to enter is read only from nodes and edges with the origin `own`, which this
    /// engine's probes have: any client can publish a node that names a file.
    ///
    /// # Errors
    /// Returns an error that names the missing property of the node. COMPAT: the messages are those
    /// of Skydive.
    pub(super) fn of(graph: &Graph, node: &Node, own: &str) -> Result<Self, String> {
        let text = |key: &str| {
            node.metadata
                .get(key)
                .and_then(Value::as_text)
                .unwrap_or_default()
        };
        let name = text("Name");
        let id = &node.id;
        if name.is_empty() {
            return Err(format!("No name for node {id}"));
        }
        let flags = node
            .metadata
            .get("LinkFlags")
            .and_then(Value::as_list)
            .unwrap_or_default();
        if !flags.iter().any(|flag| flag.as_text() == Some("UP")) {
            return Err(format!("Can't start capture on node down {name}"));
        }
        let (encap_type, tid) = (text("EncapType"), text("TID"));
        if encap_type.is_empty() {
            return Err(format!("No EncapType for node {id}"));
        }
        if tid.is_empty() {
            return Err(format!("No TID for node {id}"));
        }
        Ok(Self {
            interface: name.to_owned(),
            encap_type: encap_type.to_owned(),
            tid: tid.to_owned(),
            netns: namespace_of(graph, &node.id, own),
        })
    }
}

/// Node types on which a packet socket can capture, sorted.
const CAPTURABLE: &[&str] = &[
    "bond",
    "bridge",
    "can",
    "device",
    "dummy",
    "geneve",
    "gre",
    "gretap",
    "hsr",
    "ifb",
    "internal",
    "ip6gre",
    "ip6gretap",
    "ip6tnl",
    "ipip",
    "ipoib",
    "ipvlan",
    "lowpan",
    "macvlan",
    "macvtap",
    "sit",
    "tun",
    "vcan",
    "veth",
    "vlan",
    "vxlan",
];

/// Returns whether the `Type` of a node has a packet socket.
pub(super) fn has_packet_socket(node: &Node) -> bool {
    let kind = node.metadata.get("Type").and_then(Value::as_text);
    kind.is_some_and(|kind| CAPTURABLE.binary_search(&kind).is_ok())
}

/// Returns the file of the nearest `netns` node among a node's owners.
fn namespace_of(graph: &Graph, id: &NodeId, own: &str) -> Option<PathBuf> {
    let mut id = id.clone();
    // Ownership is a tree; the limit guards against a cycle of edges made by a client.
    for _ in 0..MAX_OWNERS {
        let owner = graph
            .edges_of(&id, Direction::In)
            .find_map(|(edge, owner)| {
                let relation = edge.metadata.get("RelationType").and_then(Value::as_text);
                let is_own = &*edge.origin == own && &*owner.origin == own;
                (is_own && relation == Some("ownership")).then_some(owner)
            })?;
        let text = |key: &str| owner.metadata.get(key).and_then(Value::as_text);
        if text("Type") == Some("netns") {
            return text("Path").map(PathBuf::from);
        }
        id = owner.id.clone();
    }
    None
}

/// Maximum number of owners visited.
const MAX_OWNERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Edge, Metadata, Origin};
    use crate::time::Timestamp;

    const NOW: Timestamp = Timestamp::from_ms(1);
    const OWN: &str = "agent.h";

    fn node(id: &str, metadata: &str) -> Node {
        let metadata: Metadata = serde_json::from_str(metadata).unwrap();
        Node::new(id, metadata, NOW).with_origin(Origin::from_text(OWN).with_host("h"))
    }

    fn own(graph: &mut Graph, parent: &str, child: &str) {
        let metadata = Metadata::from_iter([("RelationType", "ownership")]);
        graph
            .add_edge(
                Edge::between(parent, child, metadata, NOW)
                    .with_origin(Origin::from_text(OWN).with_host("h")),
            )
            .unwrap();
    }

    #[test]
    fn the_nearest_namespace_among_the_owners_is_entered() {
        let mut graph = Graph::new();
        for (id, metadata) in [
            ("host", r#"{"Type":"host","Name":"h"}"#),
            (
                "ns",
                r#"{"Type":"netns","Name":"blue","Path":"/run/netns/blue"}"#,
            ),
            (
                "eth0",
                r#"{"Type":"veth","Name":"eth0","EncapType":"ether","TID":"t","LinkFlags":["UP"]}"#,
            ),
        ] {
            graph.add_node(node(id, metadata)).unwrap();
        }
        own(&mut graph, "host", "ns");
        own(&mut graph, "ns", "eth0");
        let eth0 = graph.node(&"eth0".into()).unwrap();
        let target = CaptureTarget::of(&graph, eth0, OWN).unwrap();
        assert_eq!(target.netns, Some(PathBuf::from("/run/netns/blue")));
        assert_eq!(target.interface, "eth0");
        assert!(has_packet_socket(eth0));
        assert!(!has_packet_socket(graph.node(&"ns".into()).unwrap()));
    }

    #[test]
    fn namespaces_that_others_publish_are_not_entered() {
        let mut graph = Graph::new();
        let eth0 =
            r#"{"Type":"veth","Name":"eth0","EncapType":"ether","TID":"t","LinkFlags":["UP"]}"#;
        graph.add_node(node("eth0", eth0)).unwrap();
        let evil = r#"{"Type":"netns","Name":"evil","Path":"/tmp/pipe"}"#;
        let mut evil = node("evil", evil);
        evil.origin = "pub.evil".into();
        graph.add_node(evil).unwrap();
        own(&mut graph, "evil", "eth0");
        let target = |graph: &Graph| {
            CaptureTarget::of(graph, graph.node(&"eth0".into()).unwrap(), OWN).unwrap()
        };
        assert_eq!(target(&graph).netns, None, "their node");

        let blue = r#"{"Type":"netns","Name":"blue","Path":"/run/netns/blue"}"#;
        graph.add_node(node("blue", blue)).unwrap();
        let metadata = Metadata::from_iter([("RelationType", "ownership")]);
        let edge = Edge::between("blue", "eth0", metadata, NOW)
            .with_origin(Origin::from_text("pub.evil").with_host("h"));
        graph.add_edge(edge).unwrap();
        assert_eq!(target(&graph).netns, None, "their edge");
    }

    #[test]
    fn a_cycle_of_owners_ends_the_search() {
        let mut graph = Graph::new();
        for id in ["a", "b"] {
            graph
                .add_node(node(id, r#"{"Type":"device","Name":"x"}"#))
                .unwrap();
        }
        own(&mut graph, "a", "b");
        own(&mut graph, "b", "a");
        assert_eq!(namespace_of(&graph, &"a".into(), OWN), None);
    }

    #[test]
    fn the_error_names_what_a_node_lacks() {
        let refusal = |metadata: &str| {
            CaptureTarget::of(&Graph::new(), &node("n1", metadata), OWN).unwrap_err()
        };
        assert_eq!(refusal("{}"), "No name for node n1");
        assert_eq!(
            refusal(r#"{"Name":"e"}"#),
            "Can't start capture on node down e"
        );
        let up = r#"{"Name":"e","LinkFlags":["UP"]}"#;
        assert_eq!(refusal(up), "No EncapType for node n1");
        let encap = r#"{"Name":"e","LinkFlags":["UP"],"EncapType":"ether"}"#;
        assert_eq!(refusal(encap), "No TID for node n1");
    }

    #[test]
    fn capturable_types_are_sorted_for_the_search() {
        assert!(CAPTURABLE.is_sorted());
    }
}
