//! Connections that an analyzer opens to the others in `analyzers`, to replicate its graph.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use skylib::api::address::ServiceAddress;
use skylib::engine::{BackOff, PeerConnection};
use skylib::proto::{Encoding, UpdatePolicy};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::app::App;
use crate::dial::{Dialer, Socket};
use crate::liveness::Liveness;
use crate::peer_feed::{PeerFeed, Received};

/// Settings of the connections to other analyzers.
pub(crate) struct PeerOptions {
    pub(crate) addresses: Vec<ServiceAddress>,
    pub(crate) dialer: Dialer,
    /// Maximum time without any frame of the peer, which pings regularly.
    pub(crate) silence: Duration,
}

/// Connects to all addresses and stays connected until `stop` is set.
pub(crate) fn start(app: &Arc<App>, options: PeerOptions, stop: &watch::Receiver<bool>) {
    let options = Arc::new(options);
    for address in options.addresses.clone() {
        let index = app.outgoing.add("analyzer", "", &address);
        let (app, options, mut stop) = (Arc::clone(app), Arc::clone(&options), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = link(&app, &options, index, &address) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
    }
}

/// Connects to one analyzer, again and again; returns if the address is this analyzer's own.
async fn link(app: &Arc<App>, options: &PeerOptions, index: usize, address: &ServiceAddress) {
    let mut back_off = BackOff::new(FIRST_WAIT, MAX_WAIT);
    let mut last_reason = String::new();
    loop {
        let reason = match connect(app, options, index, address).await {
            Ok(Ended::Itself) => {
                tracing::debug!(%address, "the address is that of this analyzer");
                app.outgoing.set_closed(index, "this analyzer");
                return;
            }
            Ok(Ended::Connected(reason)) => {
                back_off.reset();
                reason
            }
            Err(error) => format!("{error:#}"),
        };
        app.outgoing.set_closed(index, &reason);
        // The same reason is not logged for every attempt.
        if reason != last_reason {
            tracing::warn!(%address, reason, "not connected to the other analyzer; retrying");
            last_reason = reason;
        }
        let random = uuid::Uuid::new_v4().as_u64_pair().0;
        tokio::time::sleep(back_off.next(random)).await;
    }
}

/// Result of an attempt to connect.
enum Ended {
    /// The address is that of this analyzer.
    Itself,
    /// The connection ended, for this reason.
    Connected(String),
}

async fn connect(
    app: &Arc<App>,
    options: &PeerOptions,
    index: usize,
    address: &ServiceAddress,
) -> anyhow::Result<Ended> {
    let headers = [
        ("x-host-id", app.engine.host()),
        ("x-client-type", "analyzer"),
        ("x-client-protocol", ""),
        ("x-websocket-namespace", "*"),
        ("x-update-policy", "partial"),
    ];
    let opened = options.dialer.open(address, "/ws/replication", &headers);
    let (socket, server) = opened.await?;
    if server.host == app.engine.host() {
        return Ok(Ended::Itself);
    }
    let author = app.clients.next_connection();
    let Some(peer) = app.engine.replication().connect(&server.host, author, true) else {
        anyhow::bail!("analyzer {} is already connected", server.host);
    };
    tracing::info!(analyzer = server.host, %address, "connected to the other analyzer");
    app.outgoing
        .set_connected(index, &server.host, &server.service);
    let (sink, stream) = socket.split();
    let reason = tokio::select! {
        reason = read(app, options, &peer, stream) => reason,
        reason = write(app, sink, server.policy) => reason,
    };
    Ok(Ended::Connected(reason))
}

/// Applies the changes of the peer; returns the reason for the end of the connection.
async fn read(
    app: &App,
    options: &PeerOptions,
    peer: &PeerConnection,
    mut stream: SplitStream<Socket>,
) -> String {
    let mut liveness = Liveness::new(options.silence);
    loop {
        let limit = liveness.limit();
        let Ok(mut next) = timeout(limit, stream.next()).await else {
            return format!("no ping within {limit:?}");
        };
        let mut received = Received::default();
        let mut end = None;
        for _ in 0..BATCH {
            match next {
                None => end = Some("the other analyzer closed the connection".to_owned()),
                Some(Err(error)) => end = Some(error.to_string()),
                Some(Ok(tungstenite::Message::Text(text))) => {
                    received.add(&text.into(), Encoding::Json);
                }
                Some(Ok(tungstenite::Message::Binary(bytes))) => {
                    received.add(&bytes, Encoding::Json);
                }
                Some(Ok(tungstenite::Message::Ping(_))) => liveness.ping(Instant::now()),
                Some(Ok(_)) => {}
            }
            match stream.next().now_or_never() {
                Some(further) if end.is_none() => next = further,
                _ => break,
            }
        }
        for error in received.apply(peer) {
            app.clients.count_dropped(1);
            tracing::debug!(error, "dropped a message of the other analyzer");
        }
        if let Some(end) = end {
            return end;
        }
        tokio::task::yield_now().await;
    }
}

/// Sends the own elements of this analyzer, then their changes.
async fn write(
    app: &App,
    mut sink: SplitSink<Socket, tungstenite::Message>,
    policy: UpdatePolicy,
) -> String {
    loop {
        let (mut feed, sync) = match PeerFeed::begin(app, Encoding::Json, policy) {
            Ok(begun) => begun,
            Err(error) => return error.to_string(),
        };
        let mut pieces = sync.peekable();
        // COMPAT: JSON in binary frames, as from Skydive's analyzers.
        let mut opcode = OpCode::Data(Data::Binary);
        while let Some(piece) = pieces.next() {
            let frame = Frame::message(piece, opcode, pieces.peek().is_none());
            if let Err(reason) = send(&mut sink, tungstenite::Message::Frame(frame)).await {
                return reason;
            }
            opcode = OpCode::Data(Data::Continue);
        }
        while let Some(messages) = feed.next().await {
            for message in messages {
                if let Err(reason) = send_bytes(&mut sink, message).await {
                    return reason;
                }
            }
        }
        // Either the engine stops, or the queue has overflowed; then the whole graph replaces the
        // lost events.
        tokio::time::sleep(FIRST_WAIT).await;
    }
}

async fn send_bytes(
    sink: &mut SplitSink<Socket, tungstenite::Message>,
    message: Bytes,
) -> Result<(), String> {
    send(sink, tungstenite::Message::Binary(message)).await
}

async fn send(
    sink: &mut SplitSink<Socket, tungstenite::Message>,
    message: tungstenite::Message,
) -> Result<(), String> {
    match timeout(SEND_TIMEOUT, sink.send(message)).await {
        Ok(sent) => sent.map_err(|error| error.to_string()),
        Err(_) => Err(format!(
            "the other analyzer accepts no data for {SEND_TIMEOUT:?}"
        )),
    }
}

const FIRST_WAIT: Duration = Duration::from_millis(500);
const MAX_WAIT: Duration = Duration::from_secs(3);
/// Maximum time for a peer to accept data.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of messages in one transaction.
const BATCH: usize = 256;
