//! Replies that contain the graph, written while they are sent.

use std::fmt::Display;
use std::sync::Arc;

use skylib::memory::MemoryUse;
use skylib::proto::{Encoding, GRAPH, JsonStream, write_message};
use tokio::sync::Notify;

use super::client::Client;
use super::connection::{ConnectionEnd, STREAM_BYTES, Writer};
use crate::graph_dump::GraphDump;

/// Sends a reply with a graph, or status 503 if there is no memory or no query slot for it.
pub(crate) async fn send(
    client: &Client,
    writer: &mut Writer,
    uuid: &str,
    graph: GraphDump,
) -> Result<(), ConnectionEnd> {
    // The charges and the pin are held until the last byte is sent.
    let (_elements, pin) = (graph.memory, graph.pin);
    let sending = client.app.memory.charge(MemoryUse::Responses);
    if let Err(exhausted) = sending.grow_to(STREAM_BYTES) {
        return refuse(client, writer, uuid, UNAVAILABLE, &exhausted).await;
    }
    let (encoding, nodes, edges) = (client.encoding, graph.nodes, graph.edges);
    let name = uuid.to_owned();
    let reply = move || JsonStream::sync_reply(encoding, &name, nodes, edges);
    let reply = match encoding {
        Encoding::Json => reply(),
        // A first pass over all elements counts the bytes.
        Encoding::Protobuf => {
            let counting = client.app.run_query(move |_, _| reply());
            match writer.ping_while(counting).await? {
                Ok(reply) => reply,
                Err(failure) => {
                    return refuse(client, writer, uuid, UNAVAILABLE, &failure).await;
                }
            }
        }
    };
    let abandoned = Arc::new(Notify::new());
    if let Some(pin) = &pin {
        let abandoned = Arc::clone(&abandoned);
        pin.on_end(move || abandoned.notify_one());
    }
    tokio::select! {
        sent = writer.send_pieces(reply) => sent,
        () = abandoned.notified() => Err(ConnectionEnd::Cut),
    }
}

/// Sends a reply with a status and an error message.
pub(crate) async fn refuse(
    client: &Client,
    writer: &mut Writer,
    uuid: &str,
    status: i64,
    error: &impl Display,
) -> Result<(), ConnectionEnd> {
    let text = serde_json::Value::from(error.to_string()).to_string();
    send_object(client, writer, uuid, status, text.as_bytes()).await
}

/// Sends a reply with a status and a small JSON object.
pub(crate) async fn send_object(
    client: &Client,
    writer: &mut Writer,
    uuid: &str,
    status: i64,
    object: &[u8],
) -> Result<(), ConnectionEnd> {
    let write = |out: &mut Vec<u8>| out.extend_from_slice(object);
    let reply = write_message(client.encoding, GRAPH, "SyncReply", uuid, status, write);
    writer.send(reply.into()).await
}

/// Status of a reply to a request that may succeed later.
pub(crate) const UNAVAILABLE: i64 = 503;
