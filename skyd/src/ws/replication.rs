//! `/ws/replication`: another analyzer that copies its graph to this one, and vice versa.

use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::client::Client;
use super::connection::{Connection, ConnectionEnd, Reader, Writer};
use crate::peer_feed::{PeerFeed, PeerIntake, PeerTask, Received, graph_request};

/// Exchanges changes until the connection ends.
pub(crate) async fn run(client: &Client, connection: &mut Connection) -> ConnectionEnd {
    let host = &client.hello.identity.host_id;
    let replication = client.app.engine.replication();
    let Some(peer) = replication.connect(host, client.registration.id(), false) else {
        return ConnectionEnd::Refuse(CloseCode::Normal, "already connected".to_owned());
    };
    client.registration.set_connected();
    let (intake, tasks) = PeerIntake::new(&peer);
    let Connection { reader, writer } = connection;
    tokio::select! {
        end = read(client, reader, intake) => end,
        end = write(client, writer, tasks) => end,
    }
}

/// Applies the changes of the peer.
async fn read(client: &Client, reader: &mut Reader, mut intake: PeerIntake<'_>) -> ConnectionEnd {
    loop {
        let mut received = Received::default();
        match reader.next().await {
            Ok(frame) => received.add(&frame, client.encoding),
            Err(end) => return end,
        }
        let mut end = None;
        for _ in 1..BATCH {
            match reader.try_next() {
                Some(Ok(frame)) => received.add(&frame, client.encoding),
                Some(Err(over)) => {
                    end = Some(over);
                    break;
                }
                None => break,
            }
        }
        for error in intake.apply(received) {
            client.drop_message(&error);
        }
        if let Some(end) = end {
            return end;
        }
        yield_now().await;
    }
}

/// Sends the own elements of this analyzer, then their changes.
async fn write(
    client: &Client,
    writer: &mut Writer,
    mut tasks: mpsc::Receiver<PeerTask>,
) -> ConnectionEnd {
    writer.ping_time().await;
    if let Err(end) = writer.ping().await {
        return end;
    }
    loop {
        let (mut feed, sync) = match PeerFeed::begin(&client.app, client.encoding, client.policy) {
            Ok(begun) => begun,
            Err(error) => {
                tracing::warn!(%error, "cannot send the graph to the other analyzer");
                return ConnectionEnd::Cut;
            }
        };
        if let Err(end) = writer.send_pieces(sync).await {
            return end;
        }
        loop {
            let sent = tokio::select! {
                () = writer.ping_time() => writer.ping().await,
                Some(task) = tasks.recv() => match task {
                    // Begins again with the whole graph.
                    PeerTask::SendGraph => break,
                    PeerTask::RequestGraph => {
                        send(writer, vec![graph_request(client.encoding)]).await
                    }
                },
                messages = feed.next() => match messages {
                    Some(messages) => send(writer, messages).await,
                    None => return ConnectionEnd::Cut,
                },
            };
            if let Err(end) = sent {
                return end;
            }
        }
    }
}

async fn send(writer: &mut Writer, messages: Vec<bytes::Bytes>) -> Result<(), ConnectionEnd> {
    for message in messages {
        writer.feed(message).await?;
    }
    writer.flush().await
}

/// Maximum number of messages in one transaction.
const BATCH: usize = 256;
