//! Tests of the graph as a whole.

mod model;
pub(super) mod proptests;

use super::*;
use crate::value::Value;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn map(json: &str) -> Metadata {
    serde_json::from_str(json).unwrap()
}

fn node(id: &str) -> Node {
    Node::new(id, Metadata::from_iter([("Name", id)]), at(1)).with_origin(Origin::new("test", "h"))
}

fn edge(id: &str, parent: &str, child: &str) -> Edge {
    Edge::new(id, parent, child, Metadata::new(), at(1)).with_origin(Origin::new("test", "h"))
}

/// Returns a graph with the edges a → b (twice), b → c, and c → c.
fn small() -> Graph {
    let mut graph = Graph::new().with_journal();
    for id in ["a", "b", "c"] {
        graph.add_node(node(id)).unwrap();
    }
    for (id, parent, child) in [
        ("ab", "a", "b"),
        ("ab2", "a", "b"),
        ("bc", "b", "c"),
        ("cc", "c", "c"),
    ] {
        graph.add_edge(edge(id, parent, child)).unwrap();
    }
    graph
}

fn said(events: &[GraphEvent]) -> Vec<String> {
    let one = |event: &GraphEvent| match event {
        GraphEvent::NodeAdded(n) => format!("+{}", n.id),
        GraphEvent::NodeUpdated { node, ops } => {
            format!(
                "~{}:{} {}",
                node.id,
                node.revision,
                serde_json::to_string(ops).unwrap()
            )
        }
        GraphEvent::NodeDeleted(n) => format!("-{}@{}", n.id, n.deleted_at.unwrap().as_ms()),
        GraphEvent::EdgeAdded(e) => format!("+{}", e.id),
        GraphEvent::EdgeUpdated { edge, ops } => {
            format!(
                "~{}:{} {}",
                edge.id,
                edge.revision,
                serde_json::to_string(ops).unwrap()
            )
        }
        GraphEvent::EdgeDeleted(e) => format!("-{}@{}", e.id, e.deleted_at.unwrap().as_ms()),
    };
    events.iter().map(one).collect()
}

fn around(graph: &Graph, id: &str, direction: Direction) -> Vec<String> {
    let edges = graph.edges_of(&id.into(), direction);
    edges
        .map(|(edge, node)| format!("{}>{}", edge.id, node.id))
        .collect()
}

#[test]
fn ids_are_unique_and_ends_must_exist() {
    let mut graph = small();
    let sequence = graph.sequence();
    graph.take_events();
    assert_eq!(graph.add_node(node("a")), Err(GraphError::NodeConflict));
    assert_eq!(graph.add_node(node("")), Err(GraphError::MissingId));
    assert_eq!(
        graph.add_edge(edge("ab", "x", "y")),
        Err(GraphError::EdgeConflict)
    );
    assert_eq!(
        graph.add_edge(edge("n", "x", "y")),
        Err(GraphError::ParentNotFound)
    );
    assert_eq!(
        graph.add_edge(edge("n", "a", "y")),
        Err(GraphError::ChildNotFound)
    );
    assert_eq!(
        graph.delete_node(&"x".into(), at(2)),
        Err(GraphError::NodeNotFound)
    );
    assert_eq!(
        graph.delete_edge(&"x".into(), at(2)),
        Err(GraphError::EdgeNotFound)
    );
    assert_eq!(
        graph.sequence(),
        sequence,
        "a rejected change has no effect"
    );
    assert!(graph.take_events().is_empty());
}

#[test]
fn a_node_is_deleted_after_its_edges() {
    let mut graph = small();
    graph.take_events();
    graph.delete_node(&"b".into(), at(5)).unwrap();
    assert_eq!(
        said(&graph.take_events()),
        ["-bc@5", "-ab@5", "-ab2@5", "-b@5"]
    );
    assert_eq!((graph.node_count(), graph.edge_count()), (2, 1));
    assert!(around(&graph, "a", Direction::Both).is_empty());
    graph.add_node(node("b")).unwrap();
    assert_eq!(
        graph.nodes().map(|n| n.id.to_string()).collect::<Vec<_>>(),
        ["a", "c", "b"]
    );
}

#[test]
fn edges_are_in_insertion_order_loops_once() {
    let graph = small();
    assert_eq!(around(&graph, "a", Direction::Out), ["ab>b", "ab2>b"]);
    assert_eq!(
        around(&graph, "b", Direction::Both),
        ["bc>c", "ab>a", "ab2>a"]
    );
    for direction in [Direction::Out, Direction::In, Direction::Both] {
        let loops = around(&graph, "c", direction);
        assert_eq!(
            loops.iter().filter(|e| *e == "cc>c").count(),
            1,
            "{direction:?}"
        );
    }
    assert!(around(&graph, "x", Direction::Both).is_empty());
}

#[test]
fn equal_metadata_is_no_revision() {
    let mut graph = small();
    graph.take_events();
    let a = NodeId::from("a");
    assert_eq!(
        graph.set_node_metadata(&a, map(r#"{"Name":"a"}"#), at(2)),
        Ok(false)
    );
    assert_eq!(
        graph.set_node_metadata(&a, map(r#"{"Name":"a","X":1}"#), at(3)),
        Ok(true)
    );
    let ops = [
        MetadataOp::set("X", 1),
        MetadataOp::set("Y.Z", 2),
        MetadataOp::delete("Name.x"),
    ];
    assert_eq!(graph.patch_node(&a, &ops, at(4)), Ok(true));
    assert_eq!(graph.patch_node(&a, &ops, at(5)), Ok(false));
    assert_eq!(
        said(&graph.take_events()),
        [
            r#"~a:2 [{"Type":1,"Key":"X","Value":1}]"#,
            r#"~a:3 [{"Type":1,"Key":"Y.Z","Value":2}]"#
        ]
    );
    assert_eq!(graph.node(&a).unwrap().updated_at, at(4));
    let ab = EdgeId::from("ab");
    assert_eq!(graph.patch_edge(&ab, &ops, at(6)), Ok(true));
    assert_eq!(
        graph.set_edge_metadata(&ab, map(r#"{"X":1,"Y":{"Z":2}}"#), at(7)),
        Ok(false)
    );
    assert_eq!(graph.edge(&ab).unwrap().revision, 2);
}

#[test]
fn only_newer_revisions_are_synchronized() {
    let mut graph = small();
    graph.take_events();
    let a = NodeId::from("a");
    let mut other = Node {
        revision: 1,
        metadata: map(r#"{"Name":"z"}"#),
        ..node("a")
    };
    assert_eq!(graph.sync_node(&other), Ok(false));
    other.revision = 7;
    other.updated_at = at(70);
    assert_eq!(graph.sync_node(&other), Ok(true));
    let ops = [MetadataOp::delete("Name")];
    assert_eq!(graph.sync_patch_node(&a, 7, at(80), &ops), Ok(false));
    assert_eq!(graph.sync_patch_node(&a, 9, at(80), &ops), Ok(true));
    let held = graph.node(&a).unwrap();
    assert_eq!(
        (held.revision, held.updated_at, held.metadata.len()),
        (9, at(80), 0)
    );
    assert_eq!(
        graph.sync_patch_node(&a, 10, at(90), &[]),
        Ok(true),
        "an empty update counts"
    );

    let ab = EdgeId::from("ab");
    let other = Edge {
        revision: 3,
        metadata: map(r#"{"K":1}"#),
        ..edge("ab", "a", "b")
    };
    assert_eq!(graph.sync_edge(&other), Ok(true));
    assert_eq!(graph.sync_edge(&other), Ok(false));
    assert_eq!(
        graph.sync_patch_edge(&ab, 4, at(9), &[MetadataOp::set("K", 2)]),
        Ok(true)
    );
    assert_eq!(
        graph.edge(&ab).unwrap().revision,
        4,
        "the revision of an edge is synchronized too"
    );
    assert_eq!(
        graph.sync_edge(&edge("x", "a", "b")),
        Err(GraphError::EdgeNotFound)
    );
}

#[test]
fn an_origin_is_deleted_with_its_nodes() {
    let mut graph = small();
    graph
        .add_node(Node {
            origin: "other.h".into(),
            ..node("d")
        })
        .unwrap();
    graph.add_edge(edge("cd", "c", "d")).unwrap();
    graph.take_events();
    assert_eq!(graph.delete_origin("nobody", at(9)), 0);
    assert_eq!(graph.delete_origin("test.h", at(9)), 3);
    let left: Vec<_> = graph.nodes().map(|n| n.id.to_string()).collect();
    assert_eq!((left, graph.edge_count()), (vec!["d".to_owned()], 0));
    assert_eq!(graph.take_events().len(), 8);
}

#[test]
fn nodes_are_found_by_the_equality_of_filters() {
    let mut graph = small();
    let json = r#"{"Name":"n","IPV4":["10.0.0.1/8","10.0.0.2/8"],"MTU":"1500","Ifs":[{"M":1}]}"#;
    graph
        .set_node_metadata(&"b".into(), map(json), at(2))
        .unwrap();
    let found = |key: &str, value: &Value| {
        graph
            .find_nodes(key, value)
            .map(|n| n.id.to_string())
            .collect::<String>()
    };
    assert_eq!(found("Name", &"n".into()), "b");
    assert_eq!(found("IPV4", &"10.0.0.2/8".into()), "b");
    assert_eq!(
        found("MTU", &1500.into()),
        "b",
        "numbers compare what a value counts as"
    );
    assert_eq!(found("Ifs.M", &1.into()), "b");
    assert_eq!(found("Ifs.M", &"1".into()), "", "text matches only text");
    let edge = graph.find_edge(&"a".into(), &"b".into(), |e| e.id == "ab2".into());
    assert_eq!(edge.map(|e| e.id.to_string()).as_deref(), Some("ab2"));
    assert!(
        graph
            .find_edge(&"b".into(), &"a".into(), |_| true)
            .is_none(),
        "directed"
    );
}
