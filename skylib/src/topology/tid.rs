//! TIDs: identifiers of nodes that survive a restart of the agent, unlike node ids.
//!
//! The TID of a host is derived from its name, any other TID from the TID of the node's owner. Flows
//! and captures refer to nodes by their TIDs.
//!
//! | Node | TID is the UUID version 5 (OID namespace) of |
//! |---|---|
//! | `host` | `Name` |
//! | `netns` | TID of the host, `Path`, `netns` |
//! | `ovsbridge`, `ovsport` | TID of the host, `UUID`, `Type` |
//! | with `Probe` `fabric` | nothing: it is the node's id |
//! | any other | TID of its only owner, `Name`, `Type` |
//!
//! Interfaces and namespaces get their TIDs when their nodes are added, from the table of known
//! TIDs, which ensures that they are unique.

use crate::graph::{Direction, Edge, Graph, GraphEvent, MetadataOp, Node, NodeId, Processor};
use crate::id::Id;
use crate::time::Timestamp;
use crate::value::{Text, Value};

/// A processor that sets the TID of every node of one origin, in the transaction that provides the
/// properties it is derived from.
///
/// A TID does not change when the node is renamed (COMPAT: captures refer to it). It is removed when
/// the node loses its owner, and derived again when the node gets another one.
///
/// ```
/// use skylib::graph::{Graph, Metadata, Node, NodeId, Origin, Processor};
/// use skylib::time::Timestamp;
/// use skylib::topology::tid::TidProcessor;
///
/// let now = Timestamp::from_ms(1000);
/// let mut graph = Graph::new().with_journal();
/// let metadata = Metadata::from_iter([("Name", "edge-01"), ("Type", "host")]);
/// graph.add_node(Node::new("h", metadata, now).with_origin(Origin::new("agent", "edge-01")))?;
/// let mut tids = TidProcessor::new("agent.edge-01");
/// for event in graph.take_events() {
///     tids.process(&mut graph, &event, now);
/// }
/// let host = graph.node(&NodeId::from("h")).expect("just added");
/// let tid = host.metadata.get("TID").and_then(|tid| tid.as_text());
/// assert_eq!(tid, Some("276ec92a-884b-5251-af04-080c9c22b304"));
/// # Ok::<(), skylib::graph::GraphError>(())
/// ```
#[derive(Debug)]
pub struct TidProcessor {
    origin: Text,
    /// TID of the host's node; `None` until it is set.
    host_tid: Option<Text>,
}

impl TidProcessor {
    /// Returns a processor for the nodes of one origin, such as `agent.edge-01`.
    #[must_use]
    pub fn new(origin: impl Into<Text>) -> Self {
        Self {
            origin: origin.into(),
            host_tid: None,
        }
    }

    /// Sets the TID of a node that has none, if the properties it is derived from exist.
    fn complete(&mut self, graph: &mut Graph, id: &NodeId, now: Timestamp) {
        let Some(node) = graph.node(id) else { return };
        if node.origin != self.origin || text(node, "TID").is_some() {
            return;
        }
        let owner = sole_owner(graph, id);
        if let Some(tid) = self.tid(node, owner) {
            self.set(graph, id, tid, now);
        }
    }

    fn set(&mut self, graph: &mut Graph, id: &NodeId, tid: Text, now: Timestamp) {
        let Some(node) = graph.node(id) else { return };
        if text(node, "Type") == Some("host") {
            self.host_tid = Some(tid.clone());
        }
        // Cannot fail, because the node exists. The event of its new revision completes the nodes
        // that it owns.
        let _changed = graph.patch_node(id, &[MetadataOp::set("TID", tid)], now);
    }

    fn complete_owned(&mut self, graph: &mut Graph, id: &NodeId, now: Timestamp) {
        let lacking = |(edge, node): (&std::sync::Arc<Edge>, &std::sync::Arc<Node>)| {
            (edge.is_ownership() && text(node, "TID").is_none()).then(|| node.id.clone())
        };
        let owned: Vec<NodeId> = graph
            .edges_of(id, Direction::Out)
            .filter_map(lacking)
            .collect();
        for child in owned {
            self.complete(graph, &child, now);
        }
    }

    /// Derives the TID of the child of a new ownership edge, if it has none.
    fn owned(&mut self, graph: &mut Graph, edge: &Edge, now: Timestamp) {
        let Some(child) = graph.node(&edge.child).filter(|n| n.origin == self.origin) else {
            return;
        };
        if text(child, "TID").is_some()
            || matches!(text(child, "Type"), Some("ovsbridge" | "ovsport"))
        {
            return;
        }
        let owner = graph.node(&edge.parent).map(|node| &**node);
        if let Some(tid) = self.tid(child, owner) {
            self.set(graph, &edge.child, tid, now);
        }
    }

    fn disowned(&self, graph: &mut Graph, edge: &Edge, now: Timestamp) {
        if graph
            .node(&edge.child)
            .is_some_and(|n| n.origin == self.origin)
        {
            let _changed = graph.patch_node(&edge.child, &[MetadataOp::delete("TID")], now);
        }
    }

    fn tid(&self, node: &Node, owner: Option<&Node>) -> Option<Text> {
        if text(node, "Probe") == Some("fabric") {
            return Some(node.id.to_string().into());
        }
        let kind = text(node, "Type")?;
        let derived = match kind {
            "host" => of_host(text(node, "Name")?),
            "netns" => chained(self.host_tid.as_deref()?, text(node, "Path")?, kind),
            "ovsbridge" | "ovsport" => {
                chained(self.host_tid.as_deref()?, text(node, "UUID")?, kind)
            }
            _ => chained(text(owner?, "TID")?, text(node, "Name")?, kind),
        };
        Some(derived.to_string().into())
    }
}

impl Processor for TidProcessor {
    fn process(&mut self, graph: &mut Graph, event: &GraphEvent, now: Timestamp) {
        match event {
            GraphEvent::NodeAdded(node) => self.complete(graph, &node.id, now),
            GraphEvent::NodeUpdated { node, ops } => {
                self.complete(graph, &node.id, now);
                let sets_tid = |op: &MetadataOp| matches!(op, MetadataOp::Set { key, .. } if key.as_str() == "TID");
                if node.origin == self.origin
                    && ops.as_ref().is_none_or(|ops| ops.iter().any(sets_tid))
                {
                    self.complete_owned(graph, &node.id, now);
                }
            }
            GraphEvent::EdgeAdded(edge) | GraphEvent::EdgeUpdated { edge, .. }
                if edge.is_ownership() =>
            {
                self.owned(graph, edge, now);
            }
            GraphEvent::EdgeDeleted(edge) if edge.is_ownership() => {
                self.disowned(graph, edge, now);
            }
            _ => {}
        }
    }
}

/// Returns the TID of the node of a host.
pub(crate) fn of_host(name: &str) -> Id {
    Id::derived(name)
}

/// Returns the id of a discovered node, which is derived from its TID and is therefore the same
/// after a restart.
#[cfg_attr(
    not(feature = "netlink"),
    allow(dead_code, reason = "only probes and the engine use it")
)]
pub(crate) fn node_id(tid: &str) -> NodeId {
    NodeId::derived(tid)
}

/// Returns the identifier that is derived from the TID of an owner and the name and type of a node.
pub(super) fn chained(tid: &str, name: &str, kind: &str) -> Id {
    Id::derived(&format!("{tid}{name}{kind}"))
}

fn text<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.metadata
        .get(key)
        .and_then(Value::as_text)
        .filter(|text| !text.is_empty())
}

fn sole_owner<'a>(graph: &'a Graph, id: &NodeId) -> Option<&'a Node> {
    let mut owners = graph
        .edges_of(id, Direction::In)
        .filter(|(edge, _)| edge.is_ownership());
    let (_, owner) = owners.next()?;
    owners.next().is_none().then_some(owner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{EdgeId, Metadata, Origin};

    const NOW: Timestamp = Timestamp::from_ms(1000);
    const ORIGIN: &str = "agent.edge-01";

    /// A graph whose events go through the processor until none is left.
    struct Fixture {
        graph: Graph,
        tids: TidProcessor,
    }

    impl Fixture {
        fn new() -> Self {
            let mut fixture = Self {
                graph: Graph::new().with_journal(),
                tids: TidProcessor::new(ORIGIN),
            };
            fixture.add("host", &[("Name", "edge-01"), ("Type", "host")]);
            fixture
        }

        fn settle(&mut self) {
            loop {
                let events = self.graph.take_events();
                if events.is_empty() {
                    return;
                }
                for event in &events {
                    self.tids.process(&mut self.graph, event, NOW);
                }
            }
        }

        fn add(&mut self, id: &str, pairs: &[(&'static str, &str)]) {
            self.add_from(ORIGIN, id, pairs);
        }

        fn add_from(&mut self, origin: &str, id: &str, pairs: &[(&'static str, &str)]) {
            let metadata = pairs.iter().copied().collect();
            self.graph
                .add_node(
                    Node::new(id, metadata, NOW)
                        .with_origin(Origin::from_text(origin).with_host("edge-01")),
                )
                .unwrap();
            self.settle();
        }

        fn own(&mut self, parent: &str, child: &str) -> EdgeId {
            let metadata = Metadata::from_iter([("RelationType", "ownership")]);
            let edge = Edge::between(parent, child, metadata, NOW)
                .with_origin(Origin::from_text(ORIGIN).with_host("edge-01"));
            let id = edge.id.clone();
            self.graph.add_edge(edge).unwrap();
            self.settle();
            id
        }

        fn patch(&mut self, id: &str, op: MetadataOp) {
            self.graph
                .patch_node(&NodeId::from(id), &[op], NOW)
                .unwrap();
            self.settle();
        }

        fn tid(&self, id: &str) -> Option<&str> {
            text(self.graph.node(&NodeId::from(id)).unwrap(), "TID")
        }
    }

    #[test]
    fn tids_match_the_recorded_vectors() {
        let mut f = Fixture::new();
        assert_eq!(f.tid("host"), Some("276ec92a-884b-5251-af04-080c9c22b304"));
        f.add(
            "ns",
            &[
                ("Name", "blue"),
                ("Type", "netns"),
                ("Path", "/var/run/netns/blue"),
            ],
        );
        assert_eq!(f.tid("ns"), Some("244b8e78-8653-5ef8-839b-dc0efa1201a0"));
        f.own("host", "ns");
        assert_eq!(f.tid("ns"), Some("244b8e78-8653-5ef8-839b-dc0efa1201a0"));
        f.add("eth0", &[("Name", "eth0"), ("Type", "veth")]);
        assert_eq!(f.tid("eth0"), None, "no owner yet");
        f.own("ns", "eth0");
        assert_eq!(f.tid("eth0"), Some("5b6aabb7-f174-55b6-8a7d-fc04c498064f"));
        f.add("br0", &[("Name", "br0"), ("Type", "bridge")]);
        f.own("host", "br0");
        assert_eq!(f.tid("br0"), Some("a31934ee-1edc-5f30-b001-4282589e5e07"));
        f.add(
            "ovs",
            &[
                ("UUID", "11111111-2222-4333-8444-555555555555"),
                ("Type", "ovsbridge"),
            ],
        );
        assert_eq!(f.tid("ovs"), Some("dad2c48b-f7f5-57dd-acf9-4ab4eb69a66e"));
    }

    #[test]
    fn a_rename_changes_nothing_and_a_new_owner_does() {
        let mut f = Fixture::new();
        f.add(
            "ns",
            &[
                ("Name", "blue"),
                ("Type", "netns"),
                ("Path", "/var/run/netns/blue"),
            ],
        );
        f.add("eth0", &[("Name", "tmp"), ("Type", "veth")]);
        let edge = f.own("host", "eth0");
        let first = f.tid("eth0").map(str::to_owned);
        assert!(first.is_some());
        f.patch("eth0", MetadataOp::set("Name", "eth0"));
        assert_eq!(f.tid("eth0").map(str::to_owned), first);
        f.graph.delete_edge(&edge, NOW).unwrap();
        f.settle();
        assert_eq!(f.tid("eth0"), None, "nobody owns it");
        f.own("ns", "eth0");
        assert_eq!(f.tid("eth0"), Some("5b6aabb7-f174-55b6-8a7d-fc04c498064f"));
    }

    #[test]
    fn what_comes_late_completes_what_is_there() {
        let mut f = Fixture {
            graph: Graph::new().with_journal(),
            tids: TidProcessor::new(ORIGIN),
        };
        f.add("host", &[("Type", "host")]);
        f.add("br0", &[("Type", "bridge")]);
        f.own("host", "br0");
        assert_eq!((f.tid("host"), f.tid("br0")), (None, None));
        f.patch("host", MetadataOp::set("Name", "edge-01"));
        assert_eq!(f.tid("br0"), None, "no name");
        f.patch("br0", MetadataOp::set("Name", "br0"));
        assert_eq!(f.tid("br0"), Some("a31934ee-1edc-5f30-b001-4282589e5e07"));
        f.add("port", &[("Name", "p"), ("Type", "internal")]);
        f.add("ovs", &[("Name", "o"), ("Type", "ovsbridge")]);
        f.own("ovs", "port");
        assert_eq!(f.tid("port"), None, "its owner has no UUID yet");
        f.patch(
            "ovs",
            MetadataOp::set("UUID", "11111111-2222-4333-8444-555555555555"),
        );
        assert!(f.tid("port").is_some());
    }

    #[test]
    fn elements_of_others_are_left_alone() {
        let mut f = Fixture::new();
        f.add_from("analyzer.x", "a", &[("Name", "a"), ("Type", "device")]);
        f.own("host", "a");
        assert_eq!(f.tid("a"), None);
        f.add_from(
            "analyzer.x",
            "spine",
            &[("Name", "S"), ("Type", "device"), ("Probe", "fabric")],
        );
        assert_eq!(f.tid("spine"), None);
        f.add(
            "leaf",
            &[("Name", "L"), ("Type", "device"), ("Probe", "fabric")],
        );
        assert_eq!(f.tid("leaf"), Some("leaf"));
    }

    #[test]
    fn two_owners_are_as_good_as_none() {
        let mut f = Fixture::new();
        f.add(
            "ns",
            &[
                ("Name", "blue"),
                ("Type", "netns"),
                ("Path", "/var/run/netns/blue"),
            ],
        );
        f.add("x", &[("Type", "device")]);
        f.own("host", "x");
        f.own("ns", "x");
        f.patch("x", MetadataOp::set("Name", "x"));
        assert_eq!(f.tid("x"), None);
    }

    #[test]
    fn deleting_an_owner_takes_the_tids_of_what_it_owned() {
        let mut f = Fixture::new();
        f.add(
            "ns",
            &[
                ("Name", "blue"),
                ("Type", "netns"),
                ("Path", "/var/run/netns/blue"),
            ],
        );
        f.own("host", "ns");
        f.add("eth0", &[("Name", "eth0"), ("Type", "veth")]);
        f.own("ns", "eth0");
        f.graph.delete_node(&NodeId::from("ns"), NOW).unwrap();
        f.settle();
        assert_eq!(f.tid("eth0"), None);
    }

    #[test]
    fn edge_ids_match_the_recorded_vector() {
        let (host, ns) = (
            "276ec92a-884b-5251-af04-080c9c22b304",
            "244b8e78-8653-5ef8-839b-dc0efa1201a0",
        );
        let id = EdgeId::derived(&format!("{host}{ns}ownership"));
        assert_eq!(id.to_string(), "6dfc6be6-0207-5390-8c15-6487b14aa10d");
    }
}
