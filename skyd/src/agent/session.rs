//! One connection of an agent to an analyzer, from the handshake to its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use skylib::api::address::ServiceAddress;
use skylib::engine::Subscription;
use skylib::proto::{
    BroadcastMessage, Encoding, FLOW_TABLE, GRAPH, JsonStream, Message, UpdatePolicy,
};
use tokio::sync::mpsc;
use tokio::task::{block_in_place, spawn_blocking};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::{Analyzers, flow_sender};
use crate::dial::{Server, Socket};
use crate::graph_dump::GraphDump;
use crate::liveness::Liveness;

/// Opens the connection.
///
/// # Errors
/// Returns an error if the analyzer cannot be reached or rejects the connection.
pub(super) async fn open(
    analyzers: &Analyzers,
    address: &ServiceAddress,
) -> anyhow::Result<(Socket, Server)> {
    let headers = [
        ("x-host-id", analyzers.engine().host()),
        ("x-client-type", "agent"),
        ("x-client-protocol", "protobuf"),
        ("x-persistence-policy", "DeleteOnDisconnect"),
        ("x-websocket-namespace", "*"),
    ];
    let dialer = &analyzers.options.dialer;
    dialer.open(address, "/ws/agent/topology", &headers).await
}

/// Serves the connection until it ends; returns the reason.
pub(super) async fn run(
    analyzers: &Arc<Analyzers>,
    index: usize,
    address: &ServiceAddress,
    socket: Socket,
    server: &Server,
) -> String {
    let (sink, stream) = socket.split();
    let (replies, waiting) = mpsc::channel(REPLIES);
    let mut writer = Writer {
        analyzers,
        index,
        sink,
        policy: server.policy,
        events: None,
        known_sequence: 0,
    };
    tokio::select! {
        reason = read(analyzers, stream, replies) => reason,
        reason = writer.run(waiting) => reason,
        reason = flow_sender::run(analyzers, address, server) => reason,
    }
}

/// Handles the messages of the analyzer.
async fn read(
    analyzers: &Arc<Analyzers>,
    mut stream: SplitStream<Socket>,
    replies: mpsc::Sender<Message>,
) -> String {
    let mut liveness = Liveness::new(analyzers.options.silence);
    loop {
        let limit = liveness.limit();
        let message = match timeout(limit, stream.next()).await {
            Err(_) => return format!("no ping within {limit:?}"),
            Ok(None) => return "the analyzer closed the connection".to_owned(),
            Ok(Some(Err(error))) => return error.to_string(),
            Ok(Some(Ok(message))) => message,
        };
        let bytes: Bytes = match message {
            tungstenite::Message::Text(text) => text.into(),
            tungstenite::Message::Binary(bytes) => bytes,
            tungstenite::Message::Ping(_) => {
                liveness.ping(Instant::now());
                continue;
            }
            tungstenite::Message::Close(Some(frame)) if !frame.reason.is_empty() => {
                return format!("the analyzer closed the connection: {}", frame.reason);
            }
            _ => continue,
        };
        handle(analyzers, &bytes, &replies);
    }
}

/// Handles one message; its reply follows later.
fn handle(analyzers: &Arc<Analyzers>, bytes: &Bytes, replies: &mpsc::Sender<Message>) {
    let message = match Message::decode(bytes, Encoding::Protobuf) {
        Ok(message) => message,
        Err(error) => {
            analyzers.app.clients.count_dropped(1);
            tracing::debug!(%error, "dropped a message of an analyzer");
            return;
        }
    };
    // Requests whose replies wait are bounded by the queue of replies.
    let Ok(permit) = replies.clone().try_reserve_owned() else {
        analyzers.app.clients.count_dropped(1);
        tracing::warn!("dropped a request of an analyzer: too many requests wait");
        return;
    };
    let service = analyzers.engine().agent_service();
    let app = Arc::clone(&analyzers.app);
    let is_query = message.namespace == FLOW_TABLE;
    let work = move || {
        let reply = move |message| drop(permit.send(message));
        if let Err(reason) = service.handle(&message, Encoding::Protobuf, reply) {
            app.clients.count_dropped(1);
            tracing::debug!(reason, "dropped a request of an analyzer");
        }
    };
    // A query waits for the flow tables; tasks must be handled in their order.
    if is_query {
        spawn_blocking(work);
    } else {
        work();
    }
}

/// Sending half of the connection.
struct Writer<'a> {
    analyzers: &'a Arc<Analyzers>,
    index: usize,
    sink: SplitSink<Socket, tungstenite::Message>,
    /// Form of the updates that the analyzer accepts.
    policy: UpdatePolicy,
    /// Changes of the graph; `None` while another analyzer is the master.
    events: Option<Subscription<BroadcastMessage>>,
    /// Sequence number of the last change that the analyzer has received.
    known_sequence: u64,
}

impl Writer<'_> {
    /// Sends until the connection ends; returns the reason.
    async fn run(&mut self, mut replies: mpsc::Receiver<Message>) -> String {
        let mut master = self.analyzers.master.subscribe();
        master.mark_changed();
        loop {
            let sent = tokio::select! {
                changed = master.changed() => match changed {
                    Ok(()) => {
                        let is_master = *master.borrow_and_update() == Some(self.index);
                        self.set_master(is_master).await
                    }
                    Err(_) => return "the agent stops".to_owned(),
                },
                Some(reply) = replies.recv() => {
                    self.send(reply.encode(Encoding::Protobuf).into()).await
                }
                event = next(&mut self.events) => match event {
                    Some(event) => self.send_events(event).await,
                    // The queue has overflowed: the whole graph replaces what was lost.
                    None => {
                        self.events = None;
                        self.set_master(true).await
                    }
                },
            };
            match sent {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return format!("the analyzer accepts no data for {SEND_TIMEOUT:?}"),
            }
        }
    }

    /// Begins or ends to send the graph.
    async fn set_master(&mut self, is_master: bool) -> Sent {
        if !is_master {
            self.events = None;
            return Ok(Ok(()));
        }
        if self.events.is_some() {
            return Ok(Ok(()));
        }
        let options = self
            .analyzers
            .app
            .subscribe_options(Some(vec![GRAPH.to_owned()]));
        // Before the snapshot, so that no change is missed.
        self.events = Some(self.analyzers.engine().subscribe_graph(options));
        let engine = self.analyzers.engine();
        let sync = block_in_place(|| {
            let graph = GraphDump::collect(engine, &|| false)?;
            let uuid = uuid::Uuid::new_v4().to_string();
            let (nodes, edges) = (graph.nodes.len(), graph.edges.len());
            tracing::info!(nodes, edges, "sends the whole graph to the analyzer");
            let stream = JsonStream::sync(Encoding::Protobuf, &uuid, graph.nodes, graph.edges);
            Ok::<_, crate::graph_dump::DumpError>((stream, graph.sequence))
        });
        match sync {
            Ok((stream, sequence)) => {
                self.known_sequence = sequence;
                self.send_pieces(stream).await
            }
            Err(error) => {
                tracing::warn!(%error, "cannot send the graph to the analyzer; retrying");
                tokio::time::sleep(RETRY).await;
                // Ends the subscription, so that the next turn of the loop begins again.
                if let Some(events) = &self.events {
                    events.cut_off();
                }
                Ok(Ok(()))
            }
        }
    }

    /// Sends a change and those queued behind it.
    async fn send_events(&mut self, first: Arc<BroadcastMessage>) -> Sent {
        let (mut next, mut count) = (Some(first), 0);
        while let Some(event) = next {
            if event.sequence() > self.known_sequence {
                let bytes = event.encoded(Encoding::Protobuf, self.policy);
                let message = tungstenite::Message::Binary(bytes);
                match timeout(SEND_TIMEOUT, self.sink.feed(message)).await {
                    Ok(Ok(())) => {}
                    failed => return failed,
                }
            }
            count += 1;
            let events = self.events.as_mut().filter(|_| count < BATCH);
            next = events.and_then(Subscription::try_next);
        }
        timeout(SEND_TIMEOUT, self.sink.flush()).await
    }

    async fn send(&mut self, message: Bytes) -> Sent {
        let message = tungstenite::Message::Binary(message);
        timeout(SEND_TIMEOUT, self.sink.send(message)).await
    }

    /// Sends one message as fragments.
    async fn send_pieces(&mut self, pieces: impl Iterator<Item = Bytes>) -> Sent {
        let mut pieces = pieces.peekable();
        let mut opcode = OpCode::Data(Data::Binary);
        while let Some(piece) = pieces.next() {
            let frame = Frame::message(piece, opcode, pieces.peek().is_none());
            let sending = self.sink.send(tungstenite::Message::Frame(frame));
            match timeout(SEND_TIMEOUT, sending).await {
                Ok(Ok(())) => {}
                failed => return failed,
            }
            opcode = OpCode::Data(Data::Continue);
        }
        Ok(Ok(()))
    }
}

/// Outcome of sending: the outer error is a timeout.
type Sent = Result<Result<(), tungstenite::Error>, tokio::time::error::Elapsed>;

/// Waits for the next change; forever without a subscription.
async fn next(
    events: &mut Option<Subscription<BroadcastMessage>>,
) -> Option<Arc<BroadcastMessage>> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

/// Maximum number of requests whose replies have not been sent yet.
const REPLIES: usize = 256;
/// Maximum number of changes between two replies.
const BATCH: usize = 1024;
/// Maximum time for an analyzer to accept data.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Time after which the graph is collected again if it changed too fast.
const RETRY: Duration = Duration::from_millis(100);
