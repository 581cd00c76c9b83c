//! Connections that an analyzer opens to the other analyzers listed in `analyzers`, to replicate its
//! graph.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use skylib::api::address::ServiceAddress;
use skylib::back_off::BackOff;
use skylib::proto::{Encoding, UpdatePolicy};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;

use crate::app::App;
use crate::dial::Dialer;
use crate::peer_feed::{PeerFeed, PeerIntake, PeerTask, Received, graph_request};
use crate::peer_socket::{self, PeerReader, PeerWriter};

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

/// Connects to one analyzer, and reconnects whenever the connection ends; returns if the address is
/// that of this analyzer.
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
    let (reader, writer) = peer_socket::split(socket, "the other analyzer", options.silence);
    let (intake, tasks) = PeerIntake::new(&peer);
    let reason = tokio::select! {
        reason = read(app, reader, intake) => reason,
        Err(reason) = write(app, writer, tasks, server.policy) => reason,
    };
    Ok(Ended::Connected(reason))
}

/// Applies the changes of the peer; returns the reason for the end of the connection.
async fn read(app: &App, mut reader: PeerReader, mut intake: PeerIntake<'_>) -> String {
    loop {
        let mut received = Received::default();
        let mut next = reader.next().await;
        let mut end = None;
        for _ in 0..BATCH {
            match next {
                Ok(message) => received.add(&message, Encoding::Json),
                Err(reason) => {
                    end = Some(reason);
                    break;
                }
            }
            match reader.try_next() {
                Some(further) => next = further,
                None => break,
            }
        }
        for error in intake.apply(received) {
            app.clients.count_dropped(1);
            tracing::debug!(error, "dropped a message of the other analyzer");
        }
        if let Some(end) = end {
            return end;
        }
        tokio::task::yield_now().await;
    }
}

/// Sends the own elements of this analyzer, then their changes; ends only with an error.
async fn write(
    app: &App,
    mut writer: PeerWriter,
    mut tasks: mpsc::Receiver<PeerTask>,
    policy: UpdatePolicy,
) -> Result<Infallible, String> {
    loop {
        let begun = PeerFeed::begin(app, Encoding::Json, policy);
        let (mut feed, sync) = begun.map_err(|error| error.to_string())?;
        // COMPAT: JSON in binary frames, as from Skydive's analyzers.
        writer.send_pieces(sync, Data::Binary).await?;
        loop {
            tokio::select! {
                Some(task) = tasks.recv() => match task {
                    PeerTask::SendGraph => break,
                    PeerTask::RequestGraph => writer.send(graph_request(Encoding::Json)).await?,
                },
                messages = feed.next() => {
                    // The queue has overflowed, or the engine stops.
                    let Some(messages) = messages else { break };
                    for message in messages {
                        writer.feed(message).await?;
                    }
                    writer.flush().await?;
                }
            }
        }
        // Begins again: a sync of the whole graph replaces lost events, and answers requests.
        tokio::time::sleep(FIRST_WAIT).await;
    }
}

const FIRST_WAIT: Duration = Duration::from_millis(500);
const MAX_WAIT: Duration = Duration::from_secs(3);
/// Maximum number of messages in one transaction.
const BATCH: usize = 256;
