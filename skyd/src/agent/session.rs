//! One connection of an agent to an analyzer, from the handshake to its end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use skylib::api::address::ServiceAddress;
use skylib::engine::Subscription;
use skylib::proto::{
    BroadcastMessage, Encoding, FLOW_TABLE, GRAPH, JsonStream, Message, UpdatePolicy,
};
use tokio::sync::mpsc;
use tokio::task::{block_in_place, spawn_blocking};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;

use super::{Analyzers, flow_sender};
use crate::dial::{Server, Socket};
use crate::graph_dump::GraphDump;
use crate::peer_socket::{self, PeerReader, PeerWriter};

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
    let silence = analyzers.options.silence;
    let (reader, sink) = peer_socket::split(socket, "the analyzer", silence);
    let (replies, waiting) = mpsc::channel(REPLIES);
    let mut writer = Writer {
        analyzers,
        index,
        sink,
        policy: server.policy,
        events: None,
        known_sequence: 0,
        resync: None,
    };
    tokio::select! {
        reason = read(analyzers, reader, replies) => reason,
        Err(reason) = writer.run(waiting) => reason,
        reason = flow_sender::run(analyzers, address, server) => reason,
    }
}

/// Handles the messages of the analyzer; returns the reason for the end of the connection.
async fn read(
    analyzers: &Arc<Analyzers>,
    mut reader: PeerReader,
    replies: mpsc::Sender<Message>,
) -> String {
    loop {
        match reader.next().await {
            Ok(bytes) => handle(analyzers, &bytes, &replies),
            Err(end) => return end,
        }
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
        tracing::warn!("dropped a request from an analyzer: too many requests are in progress");
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
    sink: PeerWriter,
    /// Form of the updates that the analyzer accepts.
    policy: UpdatePolicy,
    /// Changes of the graph; `None` while another analyzer is the master.
    events: Option<Subscription<BroadcastMessage>>,
    /// Sequence number of the last change that the analyzer has received.
    known_sequence: u64,
    /// Time at which the whole graph is sent again, after events were lost.
    resync: Option<Instant>,
}

impl Writer<'_> {
    /// Sends until the connection ends; returns the reason.
    async fn run(&mut self, mut replies: mpsc::Receiver<Message>) -> Result<Infallible, String> {
        let mut master = self.analyzers.master.subscribe();
        master.mark_changed();
        loop {
            tokio::select! {
                changed = master.changed() => {
                    changed.map_err(|_| "the agent stops".to_owned())?;
                    let is_master = *master.borrow_and_update() == Some(self.index);
                    self.set_master(is_master).await?;
                }
                Some(reply) = replies.recv() => {
                    self.sink.send(reply.encode(Encoding::Protobuf).into()).await?;
                }
                event = next(&mut self.events) => match event {
                    Some(event) => self.send_events(event).await?,
                    // The queue has overflowed: a sync of the whole graph replaces the lost events.
                    None => self.lose_events(),
                },
                () = at(self.resync) => {
                    let is_master = *master.borrow() == Some(self.index);
                    self.set_master(is_master).await?;
                }
            }
        }
    }

    /// Ends the subscription; the whole graph is sent after a pause.
    fn lose_events(&mut self) {
        self.events = None;
        self.resync = Some(Instant::now() + RESYNC_PAUSE);
    }

    /// Starts or stops sending the graph.
    async fn set_master(&mut self, is_master: bool) -> Result<(), String> {
        self.resync = None;
        if !is_master {
            self.events = None;
            return Ok(());
        }
        if self.events.is_some() {
            return Ok(());
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
            tracing::info!(nodes, edges, "sending the whole graph to the analyzer");
            let stream = JsonStream::sync(Encoding::Protobuf, &uuid, graph.nodes, graph.edges);
            Ok::<_, crate::graph_dump::DumpError>((stream, graph.sequence))
        });
        match sync {
            Ok((stream, sequence)) => {
                self.known_sequence = sequence;
                self.sink.send_pieces(stream, Data::Binary).await
            }
            Err(error) => {
                tracing::warn!(%error, "cannot send the graph to the analyzer; retrying");
                self.lose_events();
                Ok(())
            }
        }
    }

    /// Sends a change and those queued behind it.
    async fn send_events(&mut self, first: Arc<BroadcastMessage>) -> Result<(), String> {
        let (mut next, mut count) = (Some(first), 0);
        while let Some(event) = next {
            if event.sequence() > self.known_sequence {
                let bytes = event.encoded(Encoding::Protobuf, self.policy);
                self.sink.feed(bytes).await?;
            }
            count += 1;
            let events = self.events.as_mut().filter(|_| count < BATCH);
            next = events.and_then(Subscription::try_next);
        }
        self.sink.flush().await
    }
}

/// Waits for the next change; forever without a subscription.
async fn next(
    events: &mut Option<Subscription<BroadcastMessage>>,
) -> Option<Arc<BroadcastMessage>> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

/// Waits until a time; forever without one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Maximum number of requests whose replies have not been sent yet.
const REPLIES: usize = 256;
/// Maximum number of changes between two replies.
const BATCH: usize = 1024;
/// Time from an overflow, or a failed attempt, until the whole graph is sent.
const RESYNC_PAUSE: Duration = Duration::from_millis(500);
