//! `/ws/publisher`, `/ws/pubsub`, and `/ws/agent/topology`: clients that write to the graph.
//!
//! Publishers write elements that follow the schema, with their own origin. Agents write elements
//! without a schema and with any origin, because they forward the elements of their own publishers.
//! Agents also receive requests: captures to start, and flow queries.

use bytes::Bytes;
use skylib::engine::{AgentConnection, Engine};
use skylib::graph::Graph;
use skylib::proto::{GRAPH, GraphMessage, LIVE, Message};
use skylib::time::Timestamp;
use skylib::value::Text;
use tokio::sync::mpsc;
use tokio::task::{block_in_place, yield_now};

use super::client::Client;
use super::connection::{Connection, ConnectionEnd, Reader, Writer};
use super::graph_reply;
use super::subscriber::Subscriber;
use crate::graph_dump::GraphDump;

/// Applies the messages of a client until the connection ends.
pub(crate) async fn run(
    client: &Client,
    connection: &mut Connection,
    write_origin: WriteOrigin,
) -> ConnectionEnd {
    client.registration.set_connected();
    // Before the first ping, which clients treat as the start of the connection.
    let agent = agent_connection(client, write_origin);
    let (requests, waiting) = mpsc::channel(REQUESTS);
    let mut publisher = Publisher::new(client, write_origin, agent.as_ref());
    let Connection { reader, writer } = connection;
    let end = tokio::select! {
        end = publisher.read(reader, &requests) => end,
        end = answer_requests(client, writer, waiting, agent.as_ref()) => end,
    };
    publisher.delete_elements();
    end
}

/// Registers an agent, so that captures are started on its nodes and its flow tables are queried.
fn agent_connection(client: &Client, write_origin: WriteOrigin) -> Option<AgentConnection> {
    let is_agent =
        write_origin == WriteOrigin::AsSent && client.hello.identity.client_type == "agent";
    let agents = client.app.engine.agents();
    is_agent.then(|| agents.connect(&client.hello.identity.host_id, client.encoding))
}

/// Serves a client that is both publisher and subscriber; the subscriber half answers its requests.
pub(crate) async fn run_pubsub(client: &Client, connection: &mut Connection) -> ConnectionEnd {
    // Only subscribers receive notifications about resources.
    let graph = client.hello.wants(GRAPH).then(|| GRAPH.to_owned());
    let namespaces = Some(graph.into_iter().collect());
    let mut subscriber = match Subscriber::open(client, &mut connection.writer, namespaces).await {
        Ok(subscriber) => subscriber,
        Err(end) => return end,
    };
    let (requests, waiting) = mpsc::channel(REQUESTS);
    let mut publisher = Publisher::new(client, WriteOrigin::Client, None);
    publisher.is_subscriber = true;
    let Connection { reader, writer } = connection;
    let end = tokio::select! {
        end = publisher.read(reader, &requests) => end,
        end = subscriber.write(writer, waiting) => end,
    };
    publisher.delete_elements();
    end
}

/// Origin of the elements that a client writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteOrigin {
    /// Origin of the client; elements must follow the schema.
    Client,
    /// Origin given in each message, except the origin of the daemon's own probes; used for agents.
    AsSent,
}

/// Maximum number of requests that wait for a reply. While the queue is full, no further messages
/// are processed.
const REQUESTS: usize = 4;

/// Sends the whole graph to a client that requests it, and the requests of the engine to an agent,
/// until the connection ends.
async fn answer_requests(
    client: &Client,
    writer: &mut Writer,
    mut waiting: mpsc::Receiver<Message>,
    agent: Option<&AgentConnection>,
) -> ConnectionEnd {
    loop {
        let done = tokio::select! {
            () = writer.ping_time() => writer.ping().await,
            Some(request) = waiting.recv() => send_graph(client, writer, &request).await,
            message = next_message(agent) => match message {
                Some(message) => writer.send(message).await,
                None => Err(ConnectionEnd::Cut),
            },
        };
        if let Err(end) = done {
            return end;
        }
    }
}

/// Waits for the next message to an agent; forever for other clients.
async fn next_message(agent: Option<&AgentConnection>) -> Option<Bytes> {
    match agent {
        Some(agent) => agent.next().await,
        None => std::future::pending().await,
    }
}

/// Sends the whole graph in reply to a request.
async fn send_graph(
    client: &Client,
    writer: &mut Writer,
    request: &Message,
) -> Result<(), ConnectionEnd> {
    let uuid = request.uuid.as_deref().unwrap_or_default();
    let collecting = client
        .app
        .run_query(|engine, stop| GraphDump::collect(engine, &|| stop.is_set()));
    match writer.ping_while(collecting).await? {
        Ok(Ok(graph)) => graph_reply::send(client, writer, uuid, graph).await,
        Ok(Err(error)) => {
            graph_reply::refuse(client, writer, uuid, graph_reply::UNAVAILABLE, &error).await
        }
        Err(error) => {
            graph_reply::refuse(client, writer, uuid, graph_reply::UNAVAILABLE, &error).await
        }
    }
}

/// Applies the messages of a client to the graph.
struct Publisher<'a> {
    client: &'a Client,
    write_origin: WriteOrigin,
    origin: Text,
    /// Whether the client has sent any message about the graph.
    is_author: bool,
    /// Whether the connection also has a subscriber half, which handles live queries.
    is_subscriber: bool,
    /// Registration of an agent; `None` for other clients.
    agent: Option<&'a AgentConnection>,
}

impl<'a> Publisher<'a> {
    fn new(
        client: &'a Client,
        write_origin: WriteOrigin,
        agent: Option<&'a AgentConnection>,
    ) -> Self {
        let origin = client.hello.origin().as_str().into();
        Self {
            client,
            write_origin,
            origin,
            is_author: false,
            is_subscriber: false,
            agent,
        }
    }

    /// Applies messages until the connection ends. Messages that have already arrived are applied
    /// together in one transaction.
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
                // A client that does not subscribe to the namespace of the reply would not receive it.
                let is_wanted = request.namespace == LIVE || self.client.hello.wants(GRAPH);
                if is_wanted && reader.while_waiting(requests.send(request)).await.is_err() {
                    return ConnectionEnd::Cut;
                }
            }
            if let Some(end) = end {
                return end;
            }
            // A client that sends continuously must not delay the pings of the other half.
            yield_now().await;
        }
    }

    /// Applies messages in one transaction up to the next request, which is returned.
    fn apply(&mut self, frames: &mut impl Iterator<Item = Bytes>) -> Option<Message> {
        let (mut changes, mut is_synced) = (Vec::new(), false);
        let mut request = None;
        for frame in frames {
            match self.decode(&frame) {
                Ok(Decoded::Change(change)) => {
                    is_synced |= matches!(change, GraphMessage::Sync { .. });
                    changes.push(change);
                }
                Ok(Decoded::Request(message)) => {
                    request = Some(message);
                    break;
                }
                Ok(Decoded::Nothing) => {}
                Err(reason) => self.client.drop_message(&reason),
            }
        }
        if !changes.is_empty() {
            let author = Some(self.client.registration.id());
            let origin = self.origin.clone();
            let engine = &self.client.app.engine;
            let probes = engine.origin();
            let is_agent = self.agent.is_some();
            let work = |graph: &mut Graph, now: Timestamp| {
                let check = |change: &GraphMessage, graph: &Graph| {
                    violation(change, graph, &origin, probes)
                        .or_else(|| foreign(change, graph, &origin, engine).filter(|_| is_agent))
                };
                let apply = |change: GraphMessage| match check(&change, graph) {
                    Some(reason) => Some(reason),
                    None => change
                        .apply(graph, &origin, now)
                        .err()
                        .map(|error| error.to_string()),
                };
                changes
                    .into_iter()
                    .filter_map(apply)
                    .collect::<Vec<String>>()
            };
            let graph = engine.graph();
            let errors = if self.deletes_on_disconnect() {
                graph.update_as(author, work)
            } else {
                graph.update_persistent(author, work)
            };
            for error in errors {
                self.client.drop_message(&error);
            }
            if let Some(agent) = self.agent.filter(|_| is_synced) {
                agent.synced();
            }
        }
        request
    }

    /// Decodes a frame and checks whether the client may write it.
    fn decode(&mut self, frame: &Bytes) -> Result<Decoded, String> {
        let message =
            Message::decode(frame, self.client.encoding).map_err(|error| error.to_string())?;
        if message.namespace == LIVE && self.is_subscriber {
            return Ok(Decoded::Request(message));
        }
        // A reply is recognized by its identifier, whatever its namespace is.
        if let Some(agent) = self.agent
            && agent.receive(&message)?
        {
            return Ok(Decoded::Nothing);
        }
        if message.namespace != GRAPH {
            return Ok(Decoded::Nothing);
        }
        self.is_author = true;
        if message.kind == "SyncRequest" {
            return Ok(Decoded::Request(message));
        }
        let Some(mut change) = GraphMessage::decode(&message).map_err(|error| error.to_string())?
        else {
            return Ok(Decoded::Nothing);
        };
        match self.write_origin {
            WriteOrigin::Client => {
                change.check_schema().map_err(|error| error.to_string())?;
                change.set_origin(&self.origin);
            }
            WriteOrigin::AsSent => {
                let probes = self.client.app.engine.origin();
                if self.origin != probes && change.has_origin(probes) {
                    return Err(format!(
                        "elements with the origin {probes} of the daemon are read-only"
                    ));
                }
            }
        }
        Ok(Decoded::Change(change))
    }

    /// Returns whether the elements of the client are deleted when it disconnects.
    fn deletes_on_disconnect(&self) -> bool {
        match self.client.hello.persistence.as_str() {
            "DeleteOnDisconnect" => true,
            // COMPAT: agents before v0.27 send no policy and expect the deletion.
            "" => self.write_origin == WriteOrigin::AsSent,
            _ => false,
        }
    }

    /// Deletes the elements of a disconnected client if it requested that.
    fn delete_elements(&self) {
        if self.is_author && self.deletes_on_disconnect() {
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

/// Returns the reason why a client with this origin may not make a change; `None` if it may. Only
/// the probes of a host may delete the elements that they wrote and change the metadata keys on
/// which captures rely.
fn violation(change: &GraphMessage, graph: &Graph, origin: &str, probes: &str) -> Option<String> {
    if let Some(writer) = change.deleted_origin(graph)
        && *writer != *origin
        && (writer.starts_with("agent.") || *writer == *probes)
    {
        return Some(format!(
            "elements of {writer} can only be deleted by its probes"
        ));
    }
    if *origin == *probes {
        return None;
    }
    let key = change.changed_protected_key(graph, probes)?;
    Some(format!(
        "the metadata key {key} can only be changed by {probes}"
    ))
}

/// Returns the reason why an agent may not make a change to an element of another connected agent;
/// `None` if the change is not one.
///
/// COMPAT: agents may write with any other origin. An agent that is not connected cannot be
/// protected, because without passwords everyone can connect with its name.
fn foreign(change: &GraphMessage, graph: &Graph, own: &str, engine: &Engine) -> Option<String> {
    let is_protected = |origin: &str| {
        let host = origin.strip_prefix("agent.").filter(|_| origin != own);
        host.is_some_and(|host| engine.agents().is_connected(host))
    };
    let held = change.target_origin(graph);
    let claimed = change.origins().find(|origin| is_protected(origin));
    let origin = held
        .filter(|origin| is_protected(origin))
        .or_else(|| claimed.cloned())?;
    Some(format!(
        "elements of {origin} can only be changed by that agent, which is connected"
    ))
}

/// Content of a frame.
enum Decoded {
    Change(GraphMessage),
    Request(Message),
    Nothing,
}

/// Maximum number of messages in one transaction, which locks the graph for about a millisecond.
const BATCH_MESSAGES: usize = 256;
const BATCH_BYTES: usize = 1 << 20;
