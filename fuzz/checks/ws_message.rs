//! What must hold of messages of a publisher, one a line: JSON envelopes around whatever.

use prost::bytes::Bytes;
use skylib::graph::{Graph, GraphEvent};
use skylib::proto::{
    BroadcastMessage, Encoding, GRAPH, GraphMessage, JsonStream, Message, Object, SyncRequest,
    UpdatePolicy,
};
use skylib::time::Timestamp;
use skylib::value::Text;

/// Panics if reading or applying does, if an event does not read back in every encoding, or if the
/// graph that came of it is another one after a synchronisation.
pub(crate) fn check(input: &[u8]) {
    let now = Timestamp::from_ms(1_000);
    let mut graph = Graph::new().with_journal();
    for line in input.split(|byte| *byte == b'\n').take(MESSAGES) {
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
    let again = synchronised(&graph, now);
    assert_eq!(elements(&graph), elements(&again));
}

fn check_event(event: GraphEvent) {
    let event = BroadcastMessage::graph_event(event);
    for policy in [UpdatePolicy::Full, UpdatePolicy::Partial] {
        let read = [Encoding::Json, Encoding::Protobuf].map(|encoding| {
            let bytes = event.encoded(encoding, policy);
            let message = Message::decode(&bytes, encoding).expect("what was written is read");
            assert_eq!(message.namespace, GRAPH);
            let change = GraphMessage::decode(&message).expect("what was written is read");
            assert!(change.is_some(), "{}", message.kind);
            message
        });
        assert_eq!(read[0], read[1]);
    }
}

/// A graph that was sent everything.
fn synchronised(graph: &Graph, now: Timestamp) -> Graph {
    let nodes = graph.nodes().cloned().collect();
    let edges = graph.edges().cloned().collect();
    let message = Message {
        namespace: GRAPH.to_owned(),
        kind: "Sync".to_owned(),
        uuid: None,
        status: 200,
        object: Object::Json(JsonStream::graph(nodes, edges).into_text().into()),
    };
    let change = GraphMessage::decode(&message).expect("what was written is read");
    let mut again = Graph::new();
    let change = change.expect("a synchronisation");
    change
        .apply(&mut again, "t.p", now)
        .expect("nothing is missing");
    again
}

/// The JSON of every element.
fn elements(graph: &Graph) -> Vec<String> {
    let nodes = graph.nodes().map(serde_json::to_string);
    let edges = graph.edges().map(serde_json::to_string);
    let mut elements: Vec<String> = nodes.chain(edges).map(|json| json.expect("JSON")).collect();
    elements.sort();
    elements
}

const MESSAGES: usize = 32;
