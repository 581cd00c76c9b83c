//! `/ws/subscriber`: what happens to the graph, and the graph itself or live queries on request.
//!
//! A reply shows the graph as of one change. Events up to that change go out before the reply or,
//! where they come too late for that, not at all; later ones go out after it: what a client builds
//! on the reply misses nothing, and nothing takes it back to an older state.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use skylib::engine::Subscription;
use skylib::proto::{
    BroadcastMessage, Encoding, GRAPH, JsonStream, LIVE, Message, SyncRequest, write_message,
};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::client::Client;
use super::connection::{Connection, ConnectionEnd, Reader, Writer};
use super::gremlin_filter::{self, FilterError, GremlinFilter};
use super::handshake::Refusal;
use super::live::LiveQueries;
use crate::graph_dump::GraphDump;

/// Sends events and answers requests until the connection ends.
pub(crate) async fn run(client: &Client, connection: &mut Connection) -> ConnectionEnd {
    let namespaces = client.hello.namespaces.clone();
    let mut subscriber = match Subscriber::open(client, &mut connection.writer, namespaces).await {
        Ok(subscriber) => subscriber,
        Err(end) => return end,
    };
    let (requests, asked) = mpsc::channel(REQUESTS);
    let Connection { reader, writer } = connection;
    tokio::select! {
        end = read(client, reader, requests) => end,
        end = subscriber.write(writer, asked) => end,
    }
}

/// Requests that wait for their answer; while there are more, no further messages are read.
const REQUESTS: usize = 4;

/// Takes requests and ignores everything else: a subscriber writes nothing.
async fn read(
    client: &Client,
    reader: &mut Reader,
    requests: mpsc::Sender<Message>,
) -> ConnectionEnd {
    loop {
        let frame = match reader.next().await {
            Ok(frame) => frame,
            Err(end) => return end,
        };
        match Message::decode(&frame, client.encoding) {
            Ok(message) if message.namespace == GRAPH && message.kind == "SyncRequest" => {
                // A reply in a namespace that the client does not want is not sent.
                if client.hello.wants(GRAPH) && requests.send(message).await.is_err() {
                    return ConnectionEnd::Cut;
                }
            }
            // Whoever asks wants the answer, whatever namespaces it wants unasked.
            Ok(message) if message.namespace == LIVE => {
                if requests.send(message).await.is_err() {
                    return ConnectionEnd::Cut;
                }
            }
            Ok(_) => {}
            Err(error) => client.drop_message(&error.to_string()),
        }
    }
}

/// The sending side of a subscriber.
pub(crate) struct Subscriber<'a> {
    client: &'a Client,
    events: Subscription<BroadcastMessage>,
    /// An event taken from the queue and not sent yet: the first of the next batch.
    held: Option<Arc<BroadcastMessage>>,
    /// The last change that the client knows from a reply, or that was before it came.
    shown: u64,
    /// The part of the graph the client wants; `None` for all of it.
    selection: Option<GremlinFilter>,
    live: LiveQueries<'a>,
}

impl<'a> Subscriber<'a> {
    /// Begins to queue events; evaluates the filter that came with the handshake.
    ///
    /// # Errors
    /// How the connection ends, where the filter is none.
    pub(crate) async fn open(
        client: &'a Client,
        writer: &mut Writer,
        namespaces: Option<Vec<String>>,
    ) -> Result<Self, ConnectionEnd> {
        let options = client.app.subscribe_options(namespaces);
        let events = client.app.engine.subscribe_graph(options);
        let mut subscriber = Self {
            client,
            events,
            held: None,
            // What happened before may still be on its way to the queue.
            shown: client.app.engine.graph().view().sequence(),
            selection: None,
            live: LiveQueries::new(client),
        };
        let filter = &client.hello.filter;
        if !filter.is_empty() {
            // The first ping tells the client that it counts: not before the filter does.
            match gremlin_filter::evaluate(&client.app, filter, 0).await {
                Ok(found) => {
                    subscriber.selection = found.selection;
                    subscriber.shown = found.graph.sequence;
                }
                Err(error) => {
                    let refusal = Refusal::Filter(error.to_string());
                    tracing::debug!(client = client.hello.identity.host_id, %refusal, "WebSocket refused");
                    return Err(ConnectionEnd::Close(CloseCode::Normal));
                }
            }
        }
        client.registration.set_connected();
        writer.ping_time().await;
        writer.ping().await?;
        Ok(subscriber)
    }

    /// Sends until the connection or the subscription ends.
    pub(crate) async fn write(
        &mut self,
        writer: &mut Writer,
        mut asked: mpsc::Receiver<Message>,
    ) -> ConnectionEnd {
        loop {
            let done = tokio::select! {
                biased;
                () = writer.ping_time() => writer.ping().await,
                Some(request) = asked.recv(), if !self.live.is_crowded() => self.answer(writer, &request).await,
                message = self.live.next() => self.tell(writer, message).await,
                event = next(&mut self.held, &mut self.events) => match event {
                    Some(event) => self.deliver(writer, event).await,
                    None => Err(ConnectionEnd::Cut),
                },
            };
            if let Err(end) = done {
                if end == ConnectionEnd::Stuck {
                    self.events.cut_off();
                }
                return end;
            }
        }
    }

    /// Sends news of a live query, and events that wait: many queries do not hold those up.
    async fn tell(&mut self, writer: &mut Writer, news: JsonStream) -> Result<(), ConnectionEnd> {
        writer.send_pieces(news).await?;
        match self.held.take().or_else(|| self.events.try_next()) {
            Some(event) => self.deliver(writer, event).await,
            None => Ok(()),
        }
    }

    /// Sends an event and those that are queued behind it, together.
    async fn deliver(
        &mut self,
        writer: &mut Writer,
        first: Arc<BroadcastMessage>,
    ) -> Result<(), ConnectionEnd> {
        writer.pace().await;
        let mut next = Some(first);
        let mut batch = Vec::new();
        for _ in 0..BATCH {
            let Some(event) = next.take() else { break };
            if self.is_shown(&event) {
                next = self.events.try_next();
                continue;
            }
            match &mut self.selection {
                None => self.feed(writer, &event).await?,
                Some(selection) if selection.is_local() => {
                    let told = selection.follow(&self.client.app, &event);
                    // What the client did itself moves its view on, but is not told to it.
                    if event.author() != Some(self.client.registration.id()) {
                        for message in told {
                            self.feed(writer, &message).await?;
                        }
                    }
                }
                Some(_) => batch.push(event),
            }
            next = self.events.try_next();
        }
        self.held = next;
        if !batch.is_empty() {
            self.refresh(writer, batch).await?;
        }
        writer.flush().await
    }

    /// Runs the filter again after some events and tells what that changes.
    async fn refresh(
        &mut self,
        writer: &mut Writer,
        mut batch: Vec<Arc<BroadcastMessage>>,
    ) -> Result<(), ConnectionEnd> {
        let Some(selection) = &mut self.selection else {
            return Ok(());
        };
        let running = selection.run_again(&self.client.app);
        let Some(graph) = writer.pinging(running).await? else {
            return Ok(());
        };
        // The graph may be ahead of the events, which tell who made each change: they are on their
        // way, unless the engine ends.
        let until = tokio::time::Instant::now() + EVENTS_ARRIVE;
        let sequences = batch.iter().map(|event| event.sequence());
        let mut seen = sequences.max().unwrap_or_default();
        while seen < graph.sequence {
            let next = next(&mut self.held, &mut self.events);
            let Ok(Some(event)) = tokio::time::timeout_at(until, next).await else {
                break;
            };
            if event.sequence() > graph.sequence {
                self.held = Some(event);
                break;
            }
            seen = seen.max(event.sequence());
            batch.push(event);
        }
        let own = self.client.registration.id();
        for message in selection.replace(&graph, &batch, own) {
            self.feed(writer, &message).await?;
        }
        Ok(())
    }

    async fn feed(
        &self,
        writer: &mut Writer,
        message: &BroadcastMessage,
    ) -> Result<(), ConnectionEnd> {
        if message.author() == Some(self.client.registration.id()) {
            return Ok(());
        }
        writer
            .feed(message.encoded(self.client.encoding, self.client.policy))
            .await
    }

    /// Answers a request; one for the graph that cannot be understood is dropped.
    async fn answer(
        &mut self,
        writer: &mut Writer,
        message: &Message,
    ) -> Result<(), ConnectionEnd> {
        if message.namespace == LIVE {
            return match self.live.ask(message) {
                Some(reply) => writer.send_pieces(reply).await,
                None => Ok(()),
            };
        }
        let request = match SyncRequest::decode(&message.object) {
            Ok(request) => request,
            Err(error) => {
                self.client.drop_message(&error.to_string());
                return Ok(());
            }
        };
        let uuid = message.uuid.as_deref().unwrap_or_default();
        match writer.pinging(self.graph_for(&request)).await? {
            Ok(graph) => {
                // What the graph was like in the past says nothing of the events.
                if request.time_ms == 0 {
                    self.deliver_until(writer, graph.sequence).await?;
                }
                self.send_graph(writer, uuid, graph).await
            }
            Err(error) => {
                let text = match error {
                    FilterError::NoHistory => Bytes::from_static(b"null"),
                    error => serde_json::to_vec(&error.to_string())
                        .unwrap_or_default()
                        .into(),
                };
                self.send_reply(writer, uuid, 400, &text).await
            }
        }
    }

    /// What the reply shows; a filter that comes with the request is kept for later events.
    async fn graph_for(&mut self, request: &SyncRequest) -> Result<GraphDump, FilterError> {
        let app = &self.client.app;
        let filter = match (&request.filter, &self.selection) {
            (Some(filter), _) => filter.clone(),
            (None, Some(selection)) => selection.text().to_owned(),
            (None, None) => String::new(),
        };
        let found = gremlin_filter::evaluate(app, &filter, request.time_ms).await;
        let found = found
            .map_err(|error| error.for_client(&filter, &self.client.hello.identity.host_id))?;
        // A look into the past leaves the view of the present alone, but for a new filter.
        if request.time_ms == 0 {
            self.selection = found.selection;
        } else if request.filter.is_some() {
            let present = gremlin_filter::evaluate(app, &filter, 0).await;
            self.selection = present.map(|found| found.selection).unwrap_or_default();
        }
        Ok(found.graph)
    }

    /// Sends the events that belong before a reply; those that are still to come are in it.
    async fn deliver_until(
        &mut self,
        writer: &mut Writer,
        sequence: u64,
    ) -> Result<(), ConnectionEnd> {
        while let Some(event) = self.held.take().or_else(|| self.events.try_next()) {
            if event.sequence() > sequence {
                self.held = Some(event);
                break;
            }
            // With a filter the view is that of the reply already, and the event in it.
            let is_due = self.selection.is_none() || event.event().is_none();
            if is_due && !self.is_shown(&event) {
                self.feed(writer, &event).await?;
            }
        }
        self.shown = sequence;
        Ok(())
    }

    /// Whether the client knows of an event from a reply, and perhaps of newer ones.
    fn is_shown(&self, event: &BroadcastMessage) -> bool {
        event.event().is_some() && event.sequence() <= self.shown
    }

    async fn send_graph(
        &self,
        writer: &mut Writer,
        uuid: &str,
        graph: GraphDump,
    ) -> Result<(), ConnectionEnd> {
        match self.client.encoding {
            Encoding::Json => {
                writer
                    .send_pieces(JsonStream::sync_reply(uuid, graph.nodes, graph.edges))
                    .await
            }
            Encoding::Protobuf => {
                let text = JsonStream::graph(graph.nodes, graph.edges).into_bytes();
                self.send_reply(writer, uuid, 200, &text).await
            }
        }
    }

    async fn send_reply(
        &self,
        writer: &mut Writer,
        uuid: &str,
        status: i64,
        object: &[u8],
    ) -> Result<(), ConnectionEnd> {
        let write = |out: &mut Vec<u8>| out.extend_from_slice(object);
        let reply = write_message(
            self.client.encoding,
            GRAPH,
            "SyncReply",
            uuid,
            status,
            write,
        );
        writer.send(reply.into()).await
    }
}

/// The event that was held back, else the next one.
async fn next(
    held: &mut Option<Arc<BroadcastMessage>>,
    events: &mut Subscription<BroadcastMessage>,
) -> Option<Arc<BroadcastMessage>> {
    match held.take() {
        Some(event) => Some(event),
        None => events.next().await,
    }
}

/// How long an event may be on its way from the graph to its subscribers.
const EVENTS_ARRIVE: Duration = Duration::from_millis(100);

/// Events sent before requests and pings are looked at again.
const BATCH: usize = 1024;
