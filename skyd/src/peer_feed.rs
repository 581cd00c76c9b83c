//! Exchange of graph changes between two analyzers, independent of which one opened the connection.

use bytes::Bytes;
use skylib::engine::{PeerConnection, Replication, Subscription};
use skylib::proto::{
    BroadcastMessage, Encoding, GRAPH, GraphMessage, JsonStream, Message, UpdatePolicy,
};
use tokio::task::block_in_place;

use crate::app::App;
use crate::graph_dump::{DumpError, GraphDump};

/// Messages for one peer: the own elements of this analyzer, then their changes.
pub(crate) struct PeerFeed {
    events: Subscription<BroadcastMessage>,
    /// Sequence number of the last change that the peer has received.
    known_sequence: u64,
    encoding: Encoding,
    /// Form of the updates that the peer accepts.
    policy: UpdatePolicy,
}

impl PeerFeed {
    /// Begins a feed. Returns the message with which it begins: all own elements.
    ///
    /// # Errors
    /// Returns an error if the graph changes too fast, or the memory budget is exhausted.
    pub(crate) fn begin(
        app: &App,
        encoding: Encoding,
        policy: UpdatePolicy,
    ) -> Result<(Self, JsonStream), DumpError> {
        let options = app.subscribe_options(Some(vec![GRAPH.to_owned()]));
        // Before the snapshot, so that no change is missed.
        let events = app.engine.subscribe_graph(options);
        let replication = app.engine.replication();
        let (graph, sync) = block_in_place(|| {
            let mut graph = GraphDump::collect(&app.engine, &|| false)?;
            graph.nodes.retain(|node| replication.is_own_node(node));
            graph.edges.retain(|edge| replication.is_own_edge(edge));
            let uuid = uuid::Uuid::new_v4().to_string();
            let nodes = std::mem::take(&mut graph.nodes);
            let edges = std::mem::take(&mut graph.edges);
            Ok::<_, DumpError>((graph, JsonStream::sync(encoding, &uuid, nodes, edges)))
        })?;
        let feed = Self {
            events,
            known_sequence: graph.sequence,
            encoding,
            policy,
        };
        Ok((feed, sync))
    }

    /// Waits for own changes and returns their messages; `None` if the queue has overflowed or the
    /// engine stops.
    pub(crate) async fn next(&mut self) -> Option<Vec<Bytes>> {
        loop {
            let mut next = Some(self.events.next().await?);
            let mut messages = Vec::new();
            while let Some(event) = next {
                if event.sequence() > self.known_sequence && Replication::is_own_change(&event) {
                    messages.push(event.encoded(self.encoding, self.policy));
                }
                next = match messages.len() < BATCH {
                    true => self.events.try_next(),
                    false => None,
                };
            }
            if !messages.is_empty() {
                return Some(messages);
            }
        }
    }
}

/// Content of received messages.
#[derive(Debug, Default)]
pub(crate) struct Received {
    changes: Vec<GraphMessage>,
    /// Reasons of messages that cannot be decoded.
    errors: Vec<String>,
    /// Whether the peer requests the whole graph.
    pub(crate) wants_sync: bool,
}

impl Received {
    /// Decodes a message and adds it.
    pub(crate) fn add(&mut self, frame: &Bytes, encoding: Encoding) {
        match decode(frame, encoding) {
            Ok(Some(message)) if message.kind == "SyncRequest" => self.wants_sync = true,
            Ok(Some(message)) => match GraphMessage::decode(&message) {
                Ok(change) => self.changes.extend(change),
                Err(error) => self.errors.push(error.to_string()),
            },
            Ok(None) => {}
            Err(error) => self.errors.push(error),
        }
    }

    /// Applies the changes. Returns the reasons of messages that were dropped.
    pub(crate) fn apply(self, peer: &PeerConnection) -> Vec<String> {
        let mut errors = self.errors;
        if !self.changes.is_empty() {
            errors.extend(block_in_place(|| peer.apply(self.changes)));
        }
        errors
    }
}

fn decode(frame: &Bytes, encoding: Encoding) -> Result<Option<Message>, String> {
    let message = Message::decode(frame, encoding).map_err(|error| error.to_string())?;
    Ok(Some(message).filter(|message| message.namespace == GRAPH))
}

/// Maximum number of changes between two flushes.
const BATCH: usize = 1024;
