//! The node of a mirror interface, which shows the capture of the mirrored port, too.

use super::node_capture::NodeCaptureKey;
use super::node_status::CaptureStatus;
use crate::graph::{Edge, Graph, Metadata, Node, Origin};
use crate::time::Timestamp;
use crate::value::Value;

/// Shows a capture on the node of its mirror interface, with the mirrored node in `MirrorOf`, and adds
/// an edge from the mirrored node to it. Does nothing while the interface is not in the graph.
pub(super) fn show(
    graph: &mut Graph,
    origin: &str,
    interface: &str,
    key: &NodeCaptureKey,
    status: &CaptureStatus<'_>,
    now: Timestamp,
) {
    let is_mirror = |node: &Node| {
        let kind = node.metadata.get("Type").and_then(Value::as_text);
        &*node.origin == origin && kind == Some("internal")
    };
    let mut nodes = graph.find_nodes("Name", &interface.into());
    let found = nodes.find(|node| is_mirror(node));
    let found = found.map(|node| (node.id.clone(), node.host.clone()));
    drop(nodes);
    let Some((mirror, host)) = found else {
        return;
    };
    let mirrored = key.node.to_string();
    let socket = Some(("MirrorOf", mirrored.as_str()));
    let status = CaptureStatus { socket, ..*status };
    status.show(graph, &mirror, now);
    if graph.find_edge(&key.node, &mirror, |_| true).is_none() {
        let metadata = Metadata::from_iter([("RelationType", "mirroring")]);
        let edge = Edge::between(key.node.clone(), mirror, metadata, now);
        // Fails if the mirrored node has been deleted.
        let _added = graph.add_edge(edge.with_origin(Origin::from_text(origin).with_host(&*host)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::CaptureSpec;
    use crate::capture::CaptureStats;
    use crate::flow::KeyIgnore;
    use crate::graph::NodeId;

    #[test]
    fn both_nodes_are_linked_once_and_show_the_capture() {
        let now = Timestamp::from_ms(1);
        let mut graph = Graph::new();
        for (id, kind) in [
            ("port", "ovsport"),
            ("mirror", "internal"),
            ("other", "ovsport"),
        ] {
            let name = if id == "port" { "p" } else { "mir12345" };
            let metadata = Metadata::from_iter([("Name", name), ("Type", kind)]);
            let node = Node::new(id, metadata, now);
            let origin = Origin::from_text("agent.h").with_host("h");
            graph.add_node(node.with_origin(origin)).unwrap();
        }
        let spec = CaptureSpec {
            uuid: "c1".to_owned(),
            ..CaptureSpec::default()
        };
        let key = NodeCaptureKey {
            capture: "c1".to_owned(),
            node: NodeId::from("port"),
        };
        let status = CaptureStatus {
            spec: &spec,
            stats: CaptureStats::default(),
            target: None,
            socket: None,
            recorded: false,
            key_ignore: KeyIgnore::NONE,
            error: None,
        };
        for _ in 0..2 {
            show(&mut graph, "agent.h", "mir12345", &key, &status, now);
        }
        show(&mut graph, "agent.h", "absent", &key, &status, now);
        assert_eq!(graph.edge_count(), 1);
        let node = graph.node(&"mirror".into()).unwrap();
        let shown = serde_json::to_string(&node.metadata.get("Captures")).unwrap();
        assert_eq!(shown.matches(r#""MirrorOf":"port""#).count(), 1, "{shown}");
    }
}
