//! `CaptureTarget`: interface and namespace of a node on which a capture is to be opened.

use std::path::PathBuf;

use crate::api::CaptureType;
use crate::engine::graph::namespace_of;
use crate::graph::{Graph, Node};
use crate::value::Value;

/// Properties of a node that are needed to open a capture on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CaptureTarget {
    pub(super) interface: String,
    pub(super) encap_type: String,
    pub(super) tid: String,
    /// File of the interface's network namespace; `None` for the namespace of this process.
    pub(super) netns: Option<PathBuf>,
    /// UUID in the database of Open vSwitch; empty if the switch does not have the node.
    pub(super) uuid: String,
    /// Index of the interface; 0 if unknown.
    pub(super) index: u32,
    /// IPv4 addresses of the node, with their prefix lengths.
    pub(super) addresses: Vec<String>,
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
        let target = Self::of_socket(graph, node, own);
        let (name, id) = (&target.interface, &node.id);
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
        if target.encap_type.is_empty() {
            return Err(format!("No EncapType for node {id}"));
        }
        if target.tid.is_empty() {
            return Err(format!("No TID for node {id}"));
        }
        Ok(target)
    }

    /// Returns the target of a capture that receives packets on a separate socket instead of the
    /// interface of the node, which may be down.
    pub(super) fn of_socket(graph: &Graph, node: &Node, own: &str) -> Self {
        let value = |key: &str| node.metadata.get(key);
        let text = |key: &str| value(key).and_then(Value::as_text).unwrap_or_default();
        let addresses = value("IPV4").and_then(Value::as_list).unwrap_or_default();
        let index = value("IfIndex").and_then(Value::to_int).unwrap_or(0);
        Self {
            interface: text("Name").to_owned(),
            encap_type: text("EncapType").to_owned(),
            tid: text("TID").to_owned(),
            netns: namespace_of(graph, &node.id, own),
            uuid: text("UUID").to_owned(),
            index: u32::try_from(index).unwrap_or(0),
            addresses: addresses
                .iter()
                .filter_map(|address| Some(address.as_text()?.to_owned()))
                .collect(),
        }
    }
}

/// Node types of interfaces, on which a packet socket can capture, sorted.
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

/// Capture types of an interface; the first is the default.
const ON_INTERFACES: &[CaptureType] = &[
    CaptureType::AfPacket,
    CaptureType::Pcap,
    CaptureType::PcapSocket,
    CaptureType::Sflow,
    CaptureType::Ebpf,
];

/// Capture types of a bridge of Open vSwitch.
const ON_BRIDGES: &[CaptureType] = &[
    CaptureType::OvsSflow,
    CaptureType::PcapSocket,
    CaptureType::OvsNetflow,
];

/// Returns the capture types of a node by its `Type`; empty if nothing can be captured on it.
fn capture_types(node: &Node) -> &'static [CaptureType] {
    let kind = node.metadata.get("Type").and_then(Value::as_text);
    match kind.unwrap_or_default() {
        "ovsbridge" => ON_BRIDGES,
        "ovsport" => &[CaptureType::OvsMirror],
        kind if CAPTURABLE.binary_search(&kind).is_ok() => ON_INTERFACES,
        _ => &[],
    }
}

/// Returns whether packets or flows can be captured on a node.
pub(super) fn is_capturable(node: &Node) -> bool {
    !capture_types(node).is_empty()
}

/// Returns the type with which a capture runs on a node: its own type, or the default of the node.
///
/// # Errors
/// Returns an error if the node has no captures of this type. COMPAT: Skydive's message.
pub(super) fn capture_type_on(
    wanted: Option<CaptureType>,
    node: &Node,
) -> Result<CaptureType, String> {
    let types = capture_types(node);
    let found = match wanted {
        None => types.first().copied(),
        Some(wanted) => Some(wanted).filter(|wanted| types.contains(wanted)),
    };
    found.ok_or_else(|| {
        let kind = node.metadata.get("Type").and_then(Value::as_text);
        let (name, kind) = (
            wanted.map_or("", CaptureType::name),
            kind.unwrap_or_default(),
        );
        format!("Capture type {name} not allowed on this node type: {kind}")
    })
}

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
        assert!(is_capturable(eth0));
        assert!(!is_capturable(graph.node(&"ns".into()).unwrap()));
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
    fn each_node_type_has_its_capture_types() {
        use CaptureType::*;
        let on = |kind: &str, wanted| {
            capture_type_on(wanted, &node("n", &format!(r#"{{"Type":"{kind}"}}"#)))
        };
        for (kind, wanted) in [
            ("veth", AfPacket),
            ("internal", AfPacket),
            ("ovsbridge", OvsSflow),
            ("ovsport", OvsMirror),
        ] {
            assert_eq!(on(kind, None), Ok(wanted));
        }
        for (kind, allowed) in [
            ("veth", Sflow),
            ("veth", Pcap),
            ("ovsbridge", PcapSocket),
            ("ovsbridge", OvsNetflow),
        ] {
            assert_eq!(on(kind, Some(allowed)), Ok(allowed));
        }
        for (kind, refused, name) in [
            ("veth", OvsSflow, "ovssflow"),
            ("ovsbridge", AfPacket, "afpacket"),
            ("ovsport", Sflow, "sflow"),
        ] {
            let text = format!("Capture type {name} not allowed on this node type: {kind}");
            assert_eq!(on(kind, Some(refused)), Err(text));
        }
    }

    #[test]
    fn capturable_types_are_sorted_for_the_search() {
        assert!(CAPTURABLE.is_sorted());
    }
}
