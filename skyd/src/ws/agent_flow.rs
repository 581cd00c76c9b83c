//! `/ws/agent/flow`: agents that send their flows, each frame a bare `flow.Message`.

use bytes::Bytes;
use tokio::task::block_in_place;

use super::client::Client;
use super::connection::{Connection, ConnectionEnd, Reader};

/// Takes flows until the connection ends; the agent is told nothing.
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

async fn read(client: &Client, reader: &mut Reader) -> ConnectionEnd {
    loop {
        let frame = match reader.next().await {
            Ok(frame) => frame,
            Err(end) => return end,
        };
        let take = || client.app.engine.flows().ingest(&frame);
        let taken = if is_long(&frame) {
            block_in_place(take)
        } else {
            take()
        };
        if let Err(reason) = taken {
            client.drop_message(&reason.to_string());
        }
    }
}

/// Whether reading it takes long enough to matter to others.
const fn is_long(frame: &Bytes) -> bool {
    frame.len() > 64 << 10
}

/// Longest message: ten flows, each with some raw packets.
pub(crate) const MESSAGE_BYTES: usize = 16 << 20;
