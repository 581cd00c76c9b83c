//! Checks of messages of a publisher: one JSON envelope with arbitrary content on each line.

use prost::bytes::Bytes;
use skylib::graph::{Graph, GraphEvent};
use skylib::proto::{
    BroadcastMessage, Encoding, GRAPH, GraphMessage, JsonStream, Message, Object, SyncRequest,
    UpdatePolicy,
};
use skylib::time::Timestamp;
use skylib::value::Text;

/// Panics if parsing or applying panics, if an event changes when it is written and read again in
/// any encoding, or if synchronization produces a different graph.
pub(crate) fn check(input: &[u8]) {
    let now = Timestamp::from_ms(1_000);
    let mut graph = Graph::new().with_journal();
    for line in input.split(|byte| *byte == b'\n').take(MAX_MESSAGES) {
        let Ok(message) = Message::decode(&Bytes::copy_from_slice(line), Encoding::Json) else {
            continue;
        };
        drop(SyncRequest::decode(&message.object));
        let Ok(Some(mut change)) = GraphMessage::decode(&message) else {
            continue;
        };
        drop(change.check_schema());
        change.set_origin(&Text::from("t.p"));
        assert!(!change.has_origin("agent.h"));
        drop(change.apply(&mut graph, "t.p", now));
        for event in graph.take_events() {
            check_event(event);
        }
    }
    let again = synchronized(&graph, now);
    assert_eq!(elements(&graph), elements(&again));
}

fn check_event(event: GraphEvent) {
    let event = BroadcastMessage::graph_event(event);
    for policy in [UpdatePolicy::Full, UpdatePolicy::Partial] {
        let read = [Encoding::Json, Encoding::Protobuf].map(|encoding| {
            let bytes = event.encoded(encoding, policy);
            let message = Message::decode(&bytes, encoding).expect("own output is valid");
            assert_eq!(message.namespace, GRAPH);
            let change = GraphMessage::decode(&message).expect("own output is valid");
            assert!(change.is_some(), "{}", message.kind);
            message
        });
        assert_eq!(read[0], read[1]);
    }
}

/// Returns a graph that received a full synchronization.
fn synchronized(graph: &Graph, now: Timestamp) -> Graph {
    let nodes = graph.nodes().cloned().collect();
    let edges = graph.edges().cloned().collect();
    let object = Object::Json(JsonStream::graph(nodes, edges).into_bytes().into());
    let message = Message::new(GRAPH, "Sync", object);
    let change = GraphMessage::decode(&message).expect("own output is valid");
    let mut again = Graph::new();
    let change = change.expect("a synchronization message");
    change
        .apply(&mut again, "t.p", now)
        .expect("all ends exist");
    again
}

/// Returns the JSON of all elements.
fn elements(graph: &Graph) -> Vec<String> {
    let nodes = graph.nodes().map(serde_json::to_string);
    let edges = graph.edges().map(serde_json::to_string);
    let mut elements: Vec<String> = nodes.chain(edges).map(|json| json.expect("JSON")).collect();
    elements.sort();
    elements
}

const MAX_MESSAGES: usize = 32;
