//! Memory of a graph that changes for a long time.

use skylib::graph::{Graph, Metadata, MetadataOp, Node, NodeId};
use skylib::time::Timestamp;

use crate::allocations::live_bytes;

fn patch(graph: &mut Graph, id: &NodeId, times: i64) {
    for i in 0..times {
        let ops = [MetadataOp::set("MTU", i)];
        graph.patch_node(id, &ops, Timestamp::from_ms(i)).unwrap();
    }
}

#[test]
fn a_graph_without_a_journal_does_not_grow() {
    let id = NodeId::from("eth0");
    let mut graph = Graph::new();
    let node = Node::new(&id, Metadata::new(), Timestamp::ZERO);
    graph.add_node(node).unwrap();
    patch(&mut graph, &id, 1_000);
    let before = live_bytes();
    patch(&mut graph, &id, 1_000_000);
    let grown = live_bytes() - before;
    assert!(grown < 4_096, "{grown} bytes more after a million changes");
    assert!(graph.take_events().is_empty());
}

#[test]
fn a_journal_holds_events_until_they_are_taken() {
    let id = NodeId::from("eth0");
    let mut graph = Graph::new().with_journal();
    let node = Node::new(&id, Metadata::new(), Timestamp::ZERO);
    graph.add_node(node).unwrap();
    for _ in 0..2 {
        patch(&mut graph, &id, 1_000);
        assert!(graph.take_events().len() >= 999);
    }
    let before = live_bytes();
    patch(&mut graph, &id, 1_000);
    drop(graph.take_events());
    assert!(live_bytes() - before < 4_096);
}
