//! `/ws/agent/flow`: receives the flows of agents; each frame is a `flow.Message` without an
//! envelope.

use bytes::Bytes;
use tokio::task::block_in_place;

use super::client::Client;
use super::connection::{Connection, ConnectionEnd, Reader};

/// Receives flows until the connection ends; the agent receives no reply.
pub(crate) async fn run(client: &Client, connection: &mut Connection) -> ConnectionEnd {
    client.registration.set_connected();
    let Connection { reader, writer } = connection;
    let ping = async {
        loop {
            writer.ping_time().await;
            if let Err(end) = writer.ping().await {
                return end;
            }
        }
    };
    tokio::select! {
        end = read(client, reader) => end,
        end = ping => end,
    }
}

/// Passes each frame to the engine.
async fn read(client: &Client, reader: &mut Reader) -> ConnectionEnd {
    loop {
        let frame = match reader.next().await {
            Ok(frame) => frame,
            Err(end) => return end,
        };
        let ingest = || client.app.engine.flows().ingest(&frame);
        let result = if is_long(&frame) {
            block_in_place(ingest)
        } else {
            ingest()
        };
        if let Err(reason) = result {
            client.drop_message(&reason.to_string());
        }
    }
}

/// Returns whether decoding a frame takes so long that it would delay other tasks of the thread.
const fn is_long(frame: &Bytes) -> bool {
    frame.len() > 64 << 10
}

/// Maximum size of a message, in bytes: agents send ten flows per message, each with a few raw
/// packets.
pub(crate) const MESSAGE_BYTES: usize = 16 << 20;
