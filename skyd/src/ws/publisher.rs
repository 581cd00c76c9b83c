//! `/ws/publisher`, `/ws/pubsub` and `/ws/agent/topology`: clients that write the graph.
//!
//! What agents send has no schema and keeps its origins: an agent hands on what its own publishers
//! wrote. Publishers write in their own name only.

use bytes::Bytes;
use skylib::graph::Graph;
use skylib::proto::{Encoding, GRAPH, GraphMessage, JsonStream, LIVE, Message, write_message};
use skylib::time::Timestamp;
use skylib::value::Text;
use tokio::sync::mpsc;
use tokio::task::block_in_place;

use super::client::Client;
use super::connection::{Connection, ConnectionEnd, Reader, Writer};
use super::subscriber::Subscriber;
use crate::graph_dump::GraphDump;

/// Applies what the client sends until the connection ends.
pub(crate) async fn run(
    client: &Client,
    connection: &mut Connection,
    writing: Writing,
) -> ConnectionEnd {
    client.registration.set_connected();
    let (requests, asked) = mpsc::channel(REQUESTS);
    let mut publisher = Publisher::new(client, writing, false);
    let Connection { reader, writer } = connection;
    let end = tokio::select! {
        end = publisher.read(reader, &requests) => end,
        end = answer(client, writer, asked) => end,
    };
    publisher.leave();
    end
}

/// A publisher that is a subscriber too; the subscriber answers its requests.
pub(crate) async fn run_pubsub(client: &Client, connection: &mut Connection) -> ConnectionEnd {
    // Notifications about resources are for subscribers only.
    let graph = client.hello.wants(GRAPH).then(|| GRAPH.to_owned());
    let namespaces = Some(graph.into_iter().collect());
    let mut subscriber = match Subscriber::open(client, &mut connection.writer, namespaces).await {
        Ok(subscriber) => subscriber,
        Err(end) => return end,
    };
    let (requests, asked) = mpsc::channel(REQUESTS);
    let mut publisher = Publisher::new(client, Writing::InItsName, true);
    let Connection { reader, writer } = connection;
    let end = tokio::select! {
        end = publisher.read(reader, &requests) => end,
        end = subscriber.write(writer, asked) => end,
    };
    publisher.leave();
    end
}

/// In whose name a client writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    /// In its own, elements that follow the schema.
    InItsName,
    /// In whosever it says, but for that of this daemon's probes: an agent.
    AsSent,
}

/// Requests that wait for their answer; while there are more, no further messages are read.
const REQUESTS: usize = 4;

/// Sends the whole graph to a publisher that asks for it.
async fn answer(
    client: &Client,
    writer: &mut Writer,
    mut asked: mpsc::Receiver<Message>,
) -> ConnectionEnd {
    loop {
        let done = tokio::select! {
            () = writer.ping_time() => writer.ping().await,
            Some(request) = asked.recv() => whole_graph(client, writer, &request).await,
        };
        if let Err(end) = done {
            return end;
        }
    }
}

async fn whole_graph(
    client: &Client,
    writer: &mut Writer,
    request: &Message,
) -> Result<(), ConnectionEnd> {
    let collecting = client.app.run_query(|engine, _| GraphDump::collect(engine));
    let Ok(Ok(graph)) = writer.pinging(collecting).await? else {
        return Ok(());
    };
    let uuid = request.uuid.as_deref().unwrap_or_default();
    match client.encoding {
        Encoding::Json => {
            writer
                .send_pieces(JsonStream::sync_reply(uuid, graph.nodes, graph.edges))
                .await
        }
        Encoding::Protobuf => {
            let text = JsonStream::graph(graph.nodes, graph.edges).into_bytes();
            let write = |out: &mut Vec<u8>| *out = text;
            let reply = write_message(client.encoding, GRAPH, "SyncReply", uuid, 200, write);
            writer.send(reply.into()).await
        }
    }
}

/// Writes what a client sends into the graph, in its name.
struct Publisher<'a> {
    client: &'a Client,
    writing: Writing,
    origin: Text,
    /// Whether it has sent anything about the graph.
    is_author: bool,
    /// Whether a subscriber on the same connection takes requests of its own.
    is_subscriber: bool,
}

impl<'a> Publisher<'a> {
    fn new(client: &'a Client, writing: Writing, is_subscriber: bool) -> Self {
        let origin = client.hello.origin().as_str().into();
        Self {
            client,
            writing,
            origin,
            is_author: false,
            is_subscriber,
        }
    }

    /// Reads until the end. Messages that are there already are applied together.
    async fn read(
        &mut self,
        reader: &mut Reader,
        requests: &mpsc::Sender<Message>,
    ) -> ConnectionEnd {
        loop {
            let mut batch = match reader.next().await {
                Ok(first) => vec![first],
                Err(end) => return end,
            };
            let mut bytes = batch[0].len();
            let mut end = None;
            while batch.len() < BATCH_MESSAGES && bytes < BATCH_BYTES && end.is_none() {
                match reader.try_next() {
                    Some(Ok(frame)) => {
                        bytes += frame.len();
                        batch.push(frame);
                    }
                    Some(Err(over)) => end = Some(over),
                    None => break,
                }
            }
            let mut frames = batch.into_iter();
            while let Some(request) = block_in_place(|| self.apply(&mut frames)) {
                // A reply in a namespace that the client does not want is not sent.
                let is_wanted = request.namespace == LIVE || self.client.hello.wants(GRAPH);
                if is_wanted && requests.send(request).await.is_err() {
                    return ConnectionEnd::Cut;
                }
            }
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Applies messages in one transaction, up to the next request, which is handed back.
    fn apply(&mut self, frames: &mut impl Iterator<Item = Bytes>) -> Option<Message> {
        let mut changes = Vec::new();
        let mut request = None;
        for frame in frames {
            match self.understand(&frame) {
                Ok(Understood::Change(change)) => changes.push(change),
                Ok(Understood::Request(message)) => {
                    request = Some(message);
                    break;
                }
                Ok(Understood::Nothing) => {}
                Err(reason) => self.client.drop_message(&reason),
            }
        }
        if !changes.is_empty() {
            let author = Some(self.client.registration.id());
            let origin = self.origin.clone();
            let probes = self.client.app.engine.origin();
            let work = |graph: &mut Graph, now: Timestamp| {
                let apply = |change: GraphMessage| match change.changed_protected_key(graph, probes)
                {
                    Some(key) if *origin != *probes => {
                        Some(format!("only {probes} may change its {key}"))
                    }
                    _ => change
                        .apply(graph, &origin, now)
                        .err()
                        .map(|error| error.to_string()),
                };
                changes
                    .into_iter()
                    .filter_map(apply)
                    .collect::<Vec<String>>()
            };
            let graph = self.client.app.engine.graph();
            let errors = if self.client.hello.deletes_on_disconnect {
                graph.update_as(author, work)
            } else {
                graph.update_persistent(author, work)
            };
            for error in errors {
                self.client.drop_message(&error);
            }
        }
        request
    }

    fn understand(&mut self, frame: &Bytes) -> Result<Understood, String> {
        let message =
            Message::decode(frame, self.client.encoding).map_err(|error| error.to_string())?;
        if message.namespace == LIVE && self.is_subscriber {
            return Ok(Understood::Request(message));
        }
        if message.namespace != GRAPH {
            return Ok(Understood::Nothing);
        }
        self.is_author = true;
        if message.kind == "SyncRequest" {
            return Ok(Understood::Request(message));
        }
        let Some(mut change) = GraphMessage::decode(&message).map_err(|error| error.to_string())?
        else {
            return Ok(Understood::Nothing);
        };
        match self.writing {
            Writing::InItsName => {
                change.check_schema().map_err(|error| error.to_string())?;
                change.set_origin(&self.origin);
            }
            Writing::AsSent => {
                let probes = self.client.app.engine.origin();
                if self.origin != probes && change.has_origin(probes) {
                    return Err(format!("it is in the name of {probes}"));
                }
            }
        }
        Ok(Understood::Change(change))
    }

    /// The client is gone, and with it what it brought, if it wanted it so.
    fn leave(&self) {
        if self.is_author && self.client.hello.deletes_on_disconnect {
            block_in_place(|| {
                self.client
                    .app
                    .engine
                    .graph()
                    .update_as(None, |graph, now| {
                        graph.delete_origin(&self.origin, now);
                    });
            });
        }
    }
}

enum Understood {
    Change(GraphMessage),
    Request(Message),
    Nothing,
}

/// Messages applied in one transaction: the graph is held for about a millisecond.
const BATCH_MESSAGES: usize = 256;
const BATCH_BYTES: usize = 1 << 20;
