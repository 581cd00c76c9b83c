//! Namespace of an interface: the `netns` node among its owners.

use std::path::PathBuf;

use crate::graph::{Direction, Graph, NodeId};
use crate::value::Value;

/// Returns the file of the nearest `netns` node among a node's owners; `None` for the namespace of
/// this process.
///
/// Only nodes and edges with the origin `own`, the origin of this engine's probes, are considered:
/// any client can publish a node that names a file.
pub(in crate::engine) fn namespace_of(graph: &Graph, id: &NodeId, own: &str) -> Option<PathBuf> {
    let mut id = id.clone();
    // Ownership is a tree; the limit guards against a cycle of edges published by a client.
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
    use crate::graph::{Edge, Metadata, Node, Origin};
    use crate::time::Timestamp;

    #[test]
    fn a_cycle_of_owners_ends_the_search() {
        let now = Timestamp::from_ms(1);
        let origin = || Origin::from_text("agent.h").with_host("h");
        let mut graph = Graph::new();
        for id in ["a", "b"] {
            let node = Node::new(id, Metadata::new(), now).with_origin(origin());
            graph.add_node(node).unwrap();
        }
        for (parent, child) in [("a", "b"), ("b", "a")] {
            let metadata = Metadata::from_iter([("RelationType", "ownership")]);
            let edge = Edge::between(parent, child, metadata, now).with_origin(origin());
            graph.add_edge(edge).unwrap();
        }
        assert_eq!(namespace_of(&graph, &"a".into(), "agent.h"), None);
    }
}
