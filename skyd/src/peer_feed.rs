//! Exchange of graph changes between two analyzers, independent of which one opened the connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use skylib::engine::{PeerConnection, Replication, Subscription};
use skylib::proto::{
    BroadcastMessage, Encoding, GRAPH, GraphMessage, JsonStream, Message, Object, UpdatePolicy,
};
use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tokio::time::Instant;

use crate::app::App;
use crate::graph_dump::{DumpError, GraphDump};

/// Messages for one peer: the own elements of this analyzer, then their changes.
pub(crate) struct PeerFeed {
    events: Subscription<BroadcastMessage>,
    replication: Arc<Replication>,
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
            replication: Arc::clone(replication),
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
                let is_known = event.sequence() <= self.known_sequence;
                if !is_known && self.replication.is_sent_to_peers(&event) {
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
    /// Reasons why messages cannot be decoded.
    errors: Vec<String>,
    /// Whether the peer requests the whole graph.
    wants_graph: bool,
}

impl Received {
    /// Decodes a message and adds it.
    pub(crate) fn add(&mut self, frame: &Bytes, encoding: Encoding) {
        match decode(frame, encoding) {
            Ok(Some(message)) if message.kind == "SyncRequest" => self.wants_graph = true,
            Ok(Some(message)) => match GraphMessage::decode(&message) {
                Ok(change) => self.changes.extend(change),
                Err(error) => self.errors.push(error.to_string()),
            },
            Ok(None) => {}
            Err(error) => self.errors.push(error),
        }
    }
}

/// Task of the sending half of a connection, which the receiving half has found necessary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerTask {
    /// Send all own elements, because the peer requests the whole graph.
    SendGraph,
    /// Request the whole graph of the peer, because an update had no content.
    RequestGraph,
}

/// Receiving half of a connection to a peer: applies the changes of the peer.
pub(crate) struct PeerIntake<'a> {
    peer: &'a PeerConnection,
    tasks: mpsc::Sender<PeerTask>,
    /// Time of the last request for the whole graph of the peer.
    requested: Option<Instant>,
}

impl<'a> PeerIntake<'a> {
    /// Returns the intake of a peer, and the queue of the tasks for the sending half.
    pub(crate) fn new(peer: &'a PeerConnection) -> (Self, mpsc::Receiver<PeerTask>) {
        let (tasks, waiting) = mpsc::channel(TASKS);
        let intake = Self {
            peer,
            tasks,
            requested: None,
        };
        (intake, waiting)
    }

    /// Applies the content of received messages. Returns the reasons why messages were dropped.
    pub(crate) fn apply(&mut self, received: Received) -> Vec<String> {
        // If a task of the same kind waits already, its result contains everything.
        if received.wants_graph {
            self.tasks.try_send(PeerTask::SendGraph).ok();
        }
        let mut errors = received.errors;
        if !received.changes.is_empty() {
            let applied = block_in_place(|| self.peer.apply(received.changes));
            errors.extend(applied.rejected);
            if applied.lacks_content {
                self.request_graph(Instant::now());
            }
        }
        errors
    }

    fn request_graph(&mut self, now: Instant) {
        let is_due = |last: Instant| now.duration_since(last) >= REQUEST_INTERVAL;
        if self.requested.is_none_or(is_due) && self.tasks.try_send(PeerTask::RequestGraph).is_ok()
        {
            self.requested = Some(now);
        }
    }
}

/// Returns the message that requests the whole graph of a peer.
pub(crate) fn graph_request(encoding: Encoding) -> Bytes {
    let object = Object::Json("{}".to_owned().into());
    let message = Message::new(GRAPH, "SyncRequest", object);
    let uuid = uuid::Uuid::new_v4().to_string();
    message.with_uuid(uuid).encode(encoding).into()
}

fn decode(frame: &Bytes, encoding: Encoding) -> Result<Option<Message>, String> {
    let message = Message::decode(frame, encoding).map_err(|error| error.to_string())?;
    Ok(Some(message).filter(|message| message.namespace == GRAPH))
}

/// Maximum number of changes between two flushes.
const BATCH: usize = 1024;
/// Maximum number of tasks that wait for the sending half.
const TASKS: usize = 4;
/// Minimum time between two requests for the whole graph of a peer.
const REQUEST_INTERVAL: Duration = Duration::from_secs(60);
