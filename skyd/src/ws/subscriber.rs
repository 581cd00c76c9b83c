//! `/ws/subscriber`: sends graph events, and on request the whole graph or the results of live queries.
//!
//! A reply with the graph is a snapshot at one sequence number. Events up to that number are sent
//! before the reply or, if they arrive too late for that, not at all; later events follow the
//! reply. Therefore, a client that applies the events to the snapshot misses no event, and no event
//! reverts the client to an older state.

use std::sync::Arc;
use std::time::Duration;

use skylib::engine::Subscription;
use skylib::proto::{BroadcastMessage, GRAPH, JsonStream, LIVE, Message, SyncRequest};
use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::client::Client;
use super::connection::{Connection, ConnectionEnd, Reader, Writer};
use super::graph_reply;
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
    let (requests, waiting) = mpsc::channel(REQUESTS);
    let Connection { reader, writer } = connection;
    tokio::select! {
        end = read(client, reader, requests) => end,
        end = subscriber.write(writer, waiting) => end,
    }
}

/// Maximum number of requests that wait for a reply. While the queue is full, no further messages
/// are processed.
const REQUESTS: usize = 4;

/// Queues requests and ignores other messages: a subscriber cannot write to the graph.
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
                // A client that does not subscribe to the namespace of the reply would not receive it.
                if client.hello.wants(GRAPH)
                    && reader.while_waiting(requests.send(message)).await.is_err()
                {
                    return ConnectionEnd::Cut;
                }
            }
            // Live queries are always answered, because their messages do not depend on
            // subscriptions.
            Ok(message) if message.namespace == LIVE => {
                if reader.while_waiting(requests.send(message)).await.is_err() {
                    return ConnectionEnd::Cut;
                }
            }
            Ok(_) => {}
            Err(error) => client.drop_message(&error.to_string()),
        }
    }
}

/// Sending half of a subscriber connection.
pub(crate) struct Subscriber<'a> {
    client: &'a Client,
    events: Subscription<BroadcastMessage>,
    /// Event that was taken from the queue and becomes the first of the next batch.
    held: Option<Arc<BroadcastMessage>>,
    /// Sequence number of the last change that is contained in a reply to the client or precedes
    /// its connection. Events up to this number are skipped.
    known_sequence: u64,
    /// Filter that selects the part of the graph to send; `None` for all of it.
    filter: Option<GremlinFilter>,
    live: LiveQueries<'a>,
}

impl<'a> Subscriber<'a> {
    /// Subscribes to events and evaluates the filter of the handshake.
    ///
    /// # Errors
    /// Returns the reason for the end of the connection, if the filter is invalid or the client has
    /// disconnected.
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
            // Events of earlier changes may still reach the queue.
            known_sequence: client.app.engine.graph().view().sequence(),
            filter: None,
            live: LiveQueries::new(client),
        };
        let filter = &client.hello.filter;
        if !filter.is_empty() {
            // Clients treat the first ping as the start of the subscription, so the filter is
            // evaluated before it.
            match gremlin_filter::evaluate(&client.app, filter, 0).await {
                Ok(evaluated) => {
                    subscriber.filter = evaluated.filter;
                    subscriber.known_sequence = evaluated.graph.sequence;
                }
                Err(error) => {
                    let refusal = Refusal::Filter(error.to_string());
                    return Err(client.hello.refuse(&refusal));
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
        mut waiting: mpsc::Receiver<Message>,
    ) -> ConnectionEnd {
        loop {
            let done = tokio::select! {
                biased;
                () = writer.ping_time() => writer.ping().await,
                Some(request) = waiting.recv(), if !self.live.is_crowded() => self.answer(writer, &request).await,
                message = self.live.next() => self.send_live(writer, message).await,
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

    /// Sends an update of a live query and then one batch of events, so that many live queries do not
    /// delay the events.
    async fn send_live(
        &mut self,
        writer: &mut Writer,
        update: JsonStream,
    ) -> Result<(), ConnectionEnd> {
        writer.send_pieces(update).await?;
        match self.held.take().or_else(|| self.events.try_next()) {
            Some(event) => self.deliver(writer, event).await,
            None => Ok(()),
        }
    }

    /// Sends an event and those queued behind it in one batch.
    async fn deliver(
        &mut self,
        writer: &mut Writer,
        first: Arc<BroadcastMessage>,
    ) -> Result<(), ConnectionEnd> {
        writer.pace().await;
        let mut next = Some(first);
        let mut batch = Vec::new();
        for count in 0..BATCH {
            let Some(event) = next.take() else { break };
            if count % EVENTS_BETWEEN_PINGS == EVENTS_BETWEEN_PINGS - 1 {
                writer.ping_if_due().await?;
            }
            if self.is_known(&event) {
                next = self.events.try_next();
                continue;
            }
            match &mut self.filter {
                None => self.feed(writer, &event).await?,
                Some(filter) if filter.is_local() => {
                    let messages = filter.follow(&self.client.app, &event);
                    // Changes made by the client itself update its view but are not sent back to
                    // it.
                    if event.author() != Some(self.client.registration.id()) {
                        for message in messages {
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

    /// Runs the filter again after some events and sends the differences.
    async fn refresh(
        &mut self,
        writer: &mut Writer,
        mut batch: Vec<Arc<BroadcastMessage>>,
    ) -> Result<(), ConnectionEnd> {
        let Some(filter) = &mut self.filter else {
            return Ok(());
        };
        let sequences = batch.iter().map(|event| event.sequence());
        let mut seen = sequences.max().unwrap_or_default();
        let mut attempt = 1;
        let result = loop {
            let running = filter.run_again(&self.client.app, seen);
            if let Some(result) = writer.ping_while(running).await? {
                break result;
            }
            if attempt == FILTER_ATTEMPTS {
                // Without these events, the view of the client would differ from the graph.
                self.client.registration.count_dropped(batch.len() as u64);
                let reason = "the filter exceeds the limits of time or memory; connect again later";
                return Err(ConnectionEnd::Refuse(CloseCode::Again, reason.to_owned()));
            }
            let pause = tokio::time::sleep(FILTER_PAUSE * attempt);
            writer.ping_while(pause).await?;
            attempt += 1;
        };
        let sequence = result.graph.sequence;
        // The result may be newer than the events, which carry the authors of the changes. Waits for
        // the missing ones; they are in flight unless the engine is stopping.
        let until = tokio::time::Instant::now() + EVENT_TIMEOUT;
        while seen < sequence {
            let next = next(&mut self.held, &mut self.events);
            let Ok(Some(event)) = tokio::time::timeout_at(until, next).await else {
                break;
            };
            if event.sequence() > sequence {
                self.held = Some(event);
                break;
            }
            seen = seen.max(event.sequence());
            batch.push(event);
        }
        let own = self.client.registration.id();
        // Comparing large results takes a long time, and other connections share the thread.
        let messages = block_in_place(|| filter.replace(result, &batch, own));
        for message in messages {
            self.feed(writer, &message).await?;
        }
        Ok(())
    }

    /// Adds an event to the write buffer, unless the client caused it itself.
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

    /// Answers a request. An invalid request for the graph is dropped.
    async fn answer(
        &mut self,
        writer: &mut Writer,
        message: &Message,
    ) -> Result<(), ConnectionEnd> {
        if message.namespace == LIVE {
            return match self.live.handle(message) {
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
        match writer.ping_while(self.graph_for(&request)).await? {
            Ok(graph) => {
                // A snapshot of the past has no position in the sequence of events.
                if request.time_ms == 0 {
                    self.deliver_until(writer, graph.sequence).await?;
                }
                graph_reply::send(self.client, writer, uuid, graph).await
            }
            Err(error) => {
                let client = self.client;
                match error {
                    FilterError::NoHistory => {
                        graph_reply::send_object(client, writer, uuid, 400, b"null").await
                    }
                    error => {
                        let status = error.status();
                        graph_reply::refuse(client, writer, uuid, status, &error).await
                    }
                }
            }
        }
    }

    /// Returns the graph for a reply. A filter in the request also applies to later events.
    async fn graph_for(&mut self, request: &SyncRequest) -> Result<GraphDump, FilterError> {
        let app = &self.client.app;
        let filter = match (&request.filter, &self.filter) {
            (Some(filter), _) => filter.clone(),
            (None, Some(filter)) => filter.text().to_owned(),
            (None, None) => String::new(),
        };
        let evaluated = gremlin_filter::evaluate(app, &filter, request.time_ms).await;
        let evaluated = evaluated
            .map_err(|error| error.for_client(&filter, &self.client.hello.identity.host_id))?;
        // A request for the past does not change the view of the present, except for a new filter.
        // A filter that fails for the present changes nothing either: no filter selects everything.
        if request.time_ms == 0 {
            self.filter = evaluated.filter;
        } else if request.filter.is_some() {
            self.filter = gremlin_filter::evaluate(app, &filter, 0).await?.filter;
        }
        Ok(evaluated.graph)
    }

    /// Sends the queued events that precede a reply. Events up to the reply that arrive later are
    /// skipped.
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
            // With a filter, the reply already contains the effect of graph events.
            let is_due = self.filter.is_none() || event.event().is_none();
            if is_due && !self.is_known(&event) {
                self.feed(writer, &event).await?;
            }
        }
        self.known_sequence = sequence;
        Ok(())
    }

    /// Returns whether a reply to the client already contained the change of an event.
    fn is_known(&self, event: &BroadcastMessage) -> bool {
        event.event().is_some() && event.sequence() <= self.known_sequence
    }
}

/// Returns the held event; if there is none, waits for the next event.
async fn next(
    held: &mut Option<Arc<BroadcastMessage>>,
    events: &mut Subscription<BroadcastMessage>,
) -> Option<Arc<BroadcastMessage>> {
    match held.take() {
        Some(event) => Some(event),
        None => events.next().await,
    }
}

/// Maximum time to wait for an event on its way from the graph to the subscribers.
const EVENT_TIMEOUT: Duration = Duration::from_millis(100);

/// Number of attempts to run a filter that exceeds a limit before the client is disconnected, and
/// time after the first attempt; the later pauses are longer.
const FILTER_ATTEMPTS: u32 = 5;
const FILTER_PAUSE: Duration = Duration::from_millis(200);

/// Maximum number of events in one batch. Requests are handled between batches.
const BATCH: usize = 1024;
/// Number of events after which a ping is sent if it is due.
const EVENTS_BETWEEN_PINGS: usize = 64;
