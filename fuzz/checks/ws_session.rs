//! Checks of a whole session of a WebSocket client. The first byte selects the endpoint and the
//! encoding; each message follows its length in two bytes.

use std::sync::Arc;

use prost::bytes::Bytes;
use skylib::graph::{Direction, Graph, NodeId};
use skylib::gremlin::Query;
use skylib::proto::{
    BroadcastMessage, Encoding, FilteredView, GraphMessage, LIVE, LiveRequest, Message, NodeFilter,
    Selection, SyncRequest, UpdatePolicy, decode_flow_message,
};
use skylib::time::Timestamp;
use skylib::value::Text;

/// Panics if decoding, applying, filtering, or encoding panics, or if a view that follows the
/// events has other elements than a new selection.
pub(crate) fn check(input: &[u8]) {
    let Some((kind, rest)) = input.split_first() else {
        return;
    };
    let encoding = match kind & 1 {
        0 => Encoding::Json,
        _ => Encoding::Protobuf,
    };
    let mut session = Session {
        encoding,
        is_agent: kind & 2 != 0,
        graph: Graph::new().with_journal(),
        filter: None,
    };
    for frame in messages(rest) {
        match kind & 4 {
            0 => session.message(&Bytes::copy_from_slice(frame)),
            _ => drop(decode_flow_message(frame)),
        }
    }
}

/// Returns the messages of an input.
fn messages(mut input: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let [high, low, rest @ ..] = input
        && found.len() < MAX_MESSAGES
    {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (message, next) = rest.split_at(length.min(rest.len()));
        found.push(message);
        input = next;
    }
    found
}

/// State of a client that publishes and subscribes.
struct Session {
    encoding: Encoding,
    is_agent: bool,
    graph: Graph,
    filter: Option<(NodeFilter, FilteredView)>,
}

impl Session {
    fn message(&mut self, frame: &Bytes) {
        let Ok(message) = Message::decode(frame, self.encoding) else {
            return;
        };
        if message.namespace == LIVE {
            drop(LiveRequest::decode(&message));
        }
        if let Ok(SyncRequest {
            filter: Some(text), ..
        }) = SyncRequest::decode(&message.object)
        {
            self.set_filter(&text);
        }
        let Ok(Some(mut change)) = GraphMessage::decode(&message) else {
            return;
        };
        if !self.is_agent {
            drop(change.check_schema());
            change.set_origin(&Text::from("t.p"));
        }
        drop(change.deleted_origin(&self.graph));
        let key = change.changed_protected_key(&self.graph, "agent.h");
        assert!(key.is_none_or(|key| !key.is_empty()));
        drop(change.apply(&mut self.graph, "t.p", Timestamp::from_ms(1_000)));
        for event in self.graph.take_events() {
            let event = Arc::new(BroadcastMessage::graph_event(event));
            for policy in [UpdatePolicy::Full, UpdatePolicy::Partial] {
                assert!(!event.encoded(self.encoding, policy).is_empty());
            }
            self.follow(&event);
        }
    }

    /// Replaces the view with the elements that a filter of single nodes selects.
    fn set_filter(&mut self, text: &str) {
        let query = Query::parse(text).ok();
        self.filter = query
            .and_then(|query| NodeFilter::from_query(&query))
            .map(|filter| {
                let view = FilteredView::new(Arc::new(self.selection(&filter)));
                (filter, view)
            });
    }

    fn follow(&mut self, event: &Arc<BroadcastMessage>) {
        let Some((filter, mut view)) = self.filter.take() else {
            return;
        };
        let edges_of = |id: &NodeId| {
            let edges = self.graph.edges_of(id, Direction::Both);
            edges.map(|(edge, _)| Arc::clone(edge)).collect()
        };
        drop(view.follow(event, |node| filter.selects(node), edges_of));
        self.filter = Some((filter, view));
    }

    /// Returns the selected nodes, and the edges between them.
    fn selection(&self, filter: &NodeFilter) -> Selection {
        let nodes = self.graph.nodes().filter(|node| filter.selects(node));
        let nodes: Vec<_> = nodes.cloned().collect();
        let has = |id: &NodeId| nodes.iter().any(|node| node.id == *id);
        let edges = self.graph.edges();
        let edges = edges.filter(|edge| has(&edge.parent) && has(&edge.child));
        let edges: Vec<_> = edges.cloned().collect();
        Selection::new(&nodes, &edges)
    }
}

const MAX_MESSAGES: usize = 64;
