//! The WebSocket endpoints: from the upgrade request to the end of the session.
//!
//! ```text
//! upgrade request ─ Hello ─ 409 id in use? 426 no upgrade? ─ 101 ─┬─ rejected: close frame
//!                                                                 └─ session: Reader ⇄ Writer
//! ```

mod agent_flow;
mod client;
mod compression;
mod connection;
mod flow_subscriber;
mod graph_reply;
mod gremlin_filter;
mod handshake;
mod lenient_frames;
mod live;
mod pending_messages;
mod publisher;
mod replication;
mod subscriber;

use std::sync::{Arc, Mutex};

use hyper::StatusCode;
use hyper::header::{HeaderValue, SEC_WEBSOCKET_VERSION};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use skylib::engine::{Engine, Role};
use skylib::memory::MemoryUse;
use skylib::proto::{Encoding, UpdatePolicy};
use skylib::time::{Clock, SystemClock};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use self::client::Client;
use self::connection::{Connection, ConnectionEnd, Traffic};
use self::handshake::{Hello, Refusal};
use self::publisher::WriteOrigin;
use crate::access;
use crate::app::App;
use crate::client_socket::ClientSocket;
use crate::clients::Endpoint;
use crate::flow_transport::FlowTransport;
use crate::handler::Call;
use crate::response::{self, Response};

/// Answers `/ws/subscriber`: sends graph events and notifications to clients.
pub(crate) async fn subscriber(call: Call) -> Response {
    open(call, Endpoint::Subscriber)
}

/// Answers `/ws/subscriber/flow`: sends flows to clients.
pub(crate) async fn flow(call: Call) -> Response {
    open(call, Endpoint::Flow)
}

/// Answers `/ws/publisher`: receives changes to the graph from clients.
pub(crate) async fn publisher(call: Call) -> Response {
    open(call, Endpoint::Publisher)
}

/// Answers `/ws/pubsub`: subscriber and publisher on one connection.
pub(crate) async fn pubsub(call: Call) -> Response {
    open(call, Endpoint::Pubsub)
}

/// Answers `/ws/agent/topology`: receives changes to the graph from agents.
pub(crate) async fn agent(call: Call) -> Response {
    open(call, Endpoint::Agent)
}

/// Answers `/ws/agent/flow`: receives flows from agents; status 404 if `flow.protocol` is `udp`.
pub(crate) async fn agent_flow(call: Call) -> Response {
    match call.app.flow_transport {
        FlowTransport::WebSocket => open(call, Endpoint::AgentFlow),
        FlowTransport::Udp(_) | FlowTransport::NoSocket(_) => response::not_found(),
    }
}

/// Answers `/ws/replication`: exchanges the graph with another analyzer.
pub(crate) async fn replication(call: Call) -> Response {
    open(call, Endpoint::Replication)
}

/// Checks the handshake, registers the client, and starts its session in a task.
fn open(call: Call, endpoint: Endpoint) -> Response {
    let (key, service_type) = (call.client_key(), call.service_type());
    let Call {
        app,
        request,
        peer,
        user,
        ..
    } = call;
    let mut hello = Hello::of(&request, peer);
    // Data of publishers and agents is accounted for as it arrives, before it could be decompressed.
    hello.is_compressed &= matches!(endpoint, Endpoint::Subscriber | Endpoint::Flow);
    if let Some(refusal) = refuse_identity(&app, &hello, endpoint) {
        return refusal;
    }
    let Some(accept_key) = handshake::accept_key(&request) else {
        return no_upgrade();
    };
    let Some(permit) = app.connections.admit_websocket() else {
        let text = "too many WebSocket connections (http.limits.connections); try again later";
        return refuse_request(StatusCode::SERVICE_UNAVAILABLE, text);
    };
    let mut response = handshake::switching(
        &accept_key,
        app.engine.host(),
        service_type,
        hello.is_compressed,
    );
    if matches!(endpoint, Endpoint::Agent | Endpoint::Replication) {
        handshake::accept_partial_updates(&mut response);
    }
    let upgrade = hyper::upgrade::on(request);
    let (encoding, policy) = match accept(&app.engine, &hello, endpoint) {
        Ok(accepted) => accepted,
        Err(refusal) => {
            tokio::spawn(refuse(app, upgrade, hello, refusal));
            return response;
        }
    };
    let now = SystemClock.now();
    let Some(registration) = app.clients.reserve(endpoint, &hello.identity, peer, now) else {
        return response::bare_and_close(StatusCode::CONFLICT);
    };
    let user = user.as_ref();
    let client = Client {
        // Live queries return the same data as `POST /api/topology`, flows included.
        query_denial: user.and_then(|user| app.auth.policy.missing(user, "topology", "read")),
        packets_denial: user.and_then(|user| access::packets_denial(&app, user)),
        app,
        hello,
        encoding,
        policy,
        registration,
        key,
        _permit: permit,
        next_log: Mutex::default(),
    };
    tokio::spawn(session(upgrade, client, endpoint));
    response
}

/// Returns the response to a client whose identity is too long or already connected.
fn refuse_identity(app: &App, hello: &Hello, endpoint: Endpoint) -> Option<Response> {
    if hello.identity.longest() > MAX_IDENTITY_BYTES {
        let text = format!(
            "X-Host-ID, X-Client-Type, and X-Client-Protocol are limited to {MAX_IDENTITY_BYTES} bytes"
        );
        return Some(refuse_request(StatusCode::BAD_REQUEST, &text));
    }
    let host = &hello.identity.host_id;
    // A connection of an analyzer to itself is accepted first, so that it recognizes itself.
    let is_peer = endpoint == Endpoint::Replication
        && host != app.engine.host()
        && app.engine.replication().is_connected(host);
    let is_taken = is_peer || app.clients.is_taken(endpoint, host);
    is_taken.then(|| response::bare_and_close(StatusCode::CONFLICT))
}

/// Returns the encoding and the update policy of a client.
///
/// # Errors
/// Returns the reason why the client is rejected after the upgrade.
fn accept(
    engine: &Engine,
    hello: &Hello,
    endpoint: Endpoint,
) -> Result<(Encoding, UpdatePolicy), Refusal> {
    let encoding = hello.encoding()?;
    match endpoint {
        // Elements with the origin of probes determine where captures run, so clients must not
        // write them.
        Endpoint::Publisher | Endpoint::Pubsub if hello.origin().starts_with("agent.") => {
            Err(Refusal::Origin(hello.origin()))
        }
        // An agent with the origin of this host would conflict with the probes of an all-in-one daemon.
        Endpoint::Agent if hello.origin() == engine.origin() && engine.role() == Role::AllInOne => {
            Err(Refusal::Origin(hello.origin()))
        }
        // Only these endpoints use the update policy.
        Endpoint::Subscriber | Endpoint::Pubsub => Ok((encoding, hello.update_policy()?)),
        // Skydive's analyzers send no policy, and other values have no effect.
        Endpoint::Replication => Ok((encoding, hello.update_policy().unwrap_or_default())),
        Endpoint::Publisher | Endpoint::Flow | Endpoint::Agent | Endpoint::AgentFlow => {
            Ok((encoding, UpdatePolicy::Full))
        }
    }
}

/// Returns an error response after which the connection is closed.
fn refuse_request(status: StatusCode, text: &str) -> Response {
    let mut refusal = response::error_text(status, text);
    response::close(refusal.headers_mut());
    refusal
}

/// Maximum length of each string with which a client identifies itself, in bytes: `/api/status`
/// shows all of them.
const MAX_IDENTITY_BYTES: usize = 256;

/// Returns the response to a request that is not a valid upgrade.
fn no_upgrade() -> Response {
    let mut response = response::bare_and_close(StatusCode::UPGRADE_REQUIRED);
    response
        .headers_mut()
        .insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}

/// Serves one client from the first frame to the last.
async fn session(upgrade: OnUpgrade, client: Client, endpoint: Endpoint) {
    let traffic = match endpoint {
        Endpoint::Subscriber | Endpoint::Flow => Traffic::Requests,
        Endpoint::Publisher | Endpoint::Pubsub | Endpoint::Agent | Endpoint::Replication => {
            Traffic::Bulk(client.app.limits.ws_message_bytes)
        }
        Endpoint::AgentFlow => {
            Traffic::Bulk(agent_flow::MESSAGE_BYTES.min(client.app.limits.ws_message_bytes))
        }
    };
    let is_compressed = client.hello.is_compressed;
    let taken = take_over(
        upgrade,
        &client.app,
        traffic,
        client.encoding,
        is_compressed,
    );
    let Some(mut connection) = taken.await else {
        return;
    };
    let name = &client.hello.identity.host_id;
    let end = match endpoint {
        Endpoint::Subscriber => subscriber::run(&client, &mut connection).await,
        Endpoint::Flow => flow_subscriber::run(&client, &mut connection).await,
        Endpoint::Publisher => publisher::run(&client, &mut connection, WriteOrigin::Client).await,
        Endpoint::Agent => publisher::run(&client, &mut connection, WriteOrigin::AsSent).await,
        Endpoint::AgentFlow => agent_flow::run(&client, &mut connection).await,
        Endpoint::Pubsub => publisher::run_pubsub(&client, &mut connection).await,
        Endpoint::Replication => replication::run(&client, &mut connection).await,
    };
    tracing::debug!(client = name, ?endpoint, ?end, "WebSocket session ended");
    match &end {
        ConnectionEnd::Close(CloseCode::Size) => {
            client.drop_message("the message exceeds http.limits.ws_message_bytes");
        }
        ConnectionEnd::Close(CloseCode::Protocol) => {
            client.drop_message("a frame violates the WebSocket protocol");
        }
        _ => {}
    }
    // Releases the host id before the closing handshake, so that the client can reconnect
    // immediately.
    drop(client);
    connection.finish(end).await;
}

/// Closes the connection of a rejected client after the upgrade.
///
/// COMPAT: Skydive also completes the handshake first.
async fn refuse(app: Arc<App>, upgrade: OnUpgrade, hello: Hello, refusal: Refusal) {
    let end = hello.refuse(&refusal);
    let is_compressed = hello.is_compressed;
    let taken = take_over(
        upgrade,
        &app,
        Traffic::Requests,
        Encoding::Json,
        is_compressed,
    );
    if let Some(connection) = taken.await {
        connection.finish(end).await;
    }
}

/// Completes the upgrade; `None` if the client has disconnected.
async fn take_over(
    upgrade: OnUpgrade,
    app: &App,
    traffic: Traffic,
    encoding: Encoding,
    is_compressed: bool,
) -> Option<Connection> {
    let upgraded = upgrade.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<ClientSocket>>().ok()?;
    let socket = parts.io.into_inner();
    Some(
        Connection::new(
            socket,
            parts.read_buf,
            &app.limits,
            app.memory.charge(MemoryUse::Requests),
            traffic,
            encoding,
            is_compressed,
        )
        .await,
    )
}
