//! Live queries of a subscriber: the messages of the namespace `Live`.
//!
//! ```text
//! Query ── Answer, then Changes, Failed or Answer, until Cancel ── Cancelled
//!       └─ Error                                  or until Error
//! ```

use std::sync::Arc;
use std::time::Duration;

use skylib::engine::{LiveClient, LiveError, LiveEvent, QueryOptions};
use skylib::gremlin::{Query, QueryError, QueryErrorKind};
use skylib::proto::{JsonStream, LiveRequest, Message, live_error, live_reply, live_update};
use tokio::task::{AbortHandle, Id, JoinSet};

use super::client::Client;
use crate::queries::QueryFailure;

/// Result of the first run of a query.
type FirstRun = Result<Result<(), OpenFailure>, QueryFailure>;

/// Reason why a live query cannot be opened.
enum OpenFailure {
    /// The query is invalid or fails.
    Query(QueryError),
    /// The user lacks the permission that the message names.
    Denied(String),
}

/// Live queries of one connection.
pub(crate) struct LiveQueries<'a> {
    client: &'a Client,
    queries: LiveClient,
    /// First runs in progress, including the runs of canceled queries until they end.
    opening: JoinSet<FirstRun>,
    /// Names of the queries in their first run, without canceled queries.
    names: Vec<(String, AbortHandle)>,
}

impl<'a> LiveQueries<'a> {
    /// Creates an empty set.
    pub(crate) fn new(client: &'a Client) -> Self {
        let app = &client.app;
        Self {
            client,
            queries: app.engine.live_client(app.limits.live_queries),
            opening: JoinSet::new(),
            names: Vec::new(),
        }
    }

    /// Handles a request; returns the reply if it is immediate.
    pub(crate) fn handle(&mut self, message: &Message) -> Option<JsonStream> {
        match LiveRequest::decode(message) {
            Ok(LiveRequest::Query {
                name,
                text,
                interval,
            }) => self.open(name, text, interval),
            Ok(LiveRequest::Cancel { name }) => Some(self.cancel(&name)),
            Ok(_) => None,
            Err(error) => {
                let name = message.uuid.as_deref().unwrap_or_default();
                Some(self.reply(name, "Error", 400, Some(error.to_string())))
            }
        }
    }

    /// Returns whether new requests must be rejected, because too many first runs, including
    /// canceled ones, are in progress.
    pub(crate) fn is_crowded(&self) -> bool {
        self.opening.len() >= 2 * self.client.app.limits.live_queries
    }

    /// Cancels a query and returns the reply.
    fn cancel(&mut self, name: &str) -> JsonStream {
        // Aborts a query that still waits for a slot.
        if let Some(at) = self.names.iter().position(|(other, _)| other == name) {
            self.names.swap_remove(at).1.abort();
        }
        if self.queries.cancel(name) {
            return self.reply(name, "Cancelled", 200, None);
        }
        let error = format!("no live query is named {name:?}");
        self.reply(name, "Cancelled", 404, Some(error))
    }

    /// Starts the first run of a query; returns a reply only if the query is rejected.
    fn open(
        &mut self,
        name: String,
        text: String,
        interval: Option<Duration>,
    ) -> Option<JsonStream> {
        if let Some(missing) = &self.client.query_denial {
            return Some(self.reply(&name, "Error", 403, Some(missing.clone())));
        }
        match self.queries.reserve(name.as_str()) {
            Ok(reserved) => {
                let reserved = match interval {
                    Some(interval) => reserved.with_timed_interval(interval),
                    None => reserved,
                };
                let app = Arc::clone(&self.client.app);
                let packets_denial = self.client.packets_denial.clone();
                let key = Arc::clone(&self.client.key);
                let client = Arc::clone(&key);
                let open = async move {
                    app.run_once(&key, move |_, stop| {
                        if let Some(missing) = packets_denial
                            && Query::parse(&text).is_ok_and(|query| query.reads_packets())
                        {
                            return Err(OpenFailure::Denied(missing));
                        }
                        let interrupt = || stop.is_set();
                        let options = QueryOptions::default()
                            .with_interrupt(&interrupt)
                            .with_client(&client);
                        reserved.open(&text, options).map_err(OpenFailure::Query)
                    })
                    .await
                };
                self.names.push((name, self.opening.spawn(open)));
                None
            }
            Err(refusal) => {
                let status = match refusal {
                    LiveError::Taken(_) => 409,
                    LiveError::TooMany(_) => 429,
                    _ => 503,
                };
                Some(self.reply(&name, "Error", status, Some(refusal.to_string())))
            }
        }
    }

    /// Waits for the next message to the client.
    pub(crate) async fn next(&mut self) -> JsonStream {
        loop {
            let message = tokio::select! {
                Some(joined) = self.opening.join_next_with_id() => match joined {
                    Ok((task, opened)) => self.opened(task, opened),
                    // The task was aborted by a cancellation: `run_query` reports panics as errors.
                    Err(_) => None,
                },
                Some((name, event)) = self.queries.next() => Some(self.message(&name, event)),
                else => std::future::pending().await,
            };
            if let Some(message) = message {
                return message;
            }
        }
    }

    /// Returns the error message of a failed first run; the answer of a successful run arrives like
    /// any other update.
    fn opened(&mut self, task: Id, opened: FirstRun) -> Option<JsonStream> {
        // The client receives no message for a canceled query, whose name may already belong to
        // another query.
        let at = self
            .names
            .iter()
            .position(|(_, other)| other.id() == task)?;
        let (name, _) = self.names.swap_remove(at);
        match opened {
            Ok(Ok(())) => None,
            // The query was canceled at the end of its first run.
            Ok(Err(OpenFailure::Query(error))) if error.kind() == QueryErrorKind::Interrupted => {
                None
            }
            Ok(Err(OpenFailure::Query(error))) => Some(self.error(&name, &error)),
            Ok(Err(OpenFailure::Denied(missing))) => {
                Some(self.reply(&name, "Error", 403, Some(missing)))
            }
            Err(failure) => Some(self.reply(&name, "Error", 503, Some(failure.to_string()))),
        }
    }

    /// Returns the message for an update or the end of a query.
    fn message(&self, name: &str, event: LiveEvent) -> JsonStream {
        match event {
            LiveEvent::Update(update) => live_update(self.client.encoding, name, update),
            LiveEvent::Ended(error) => self.error(name, &error),
            _ => self.reply(name, "Error", 500, None),
        }
    }

    fn error(&self, name: &str, error: &QueryError) -> JsonStream {
        live_error(self.client.encoding, name, "Error", 400, error)
    }

    fn reply(&self, name: &str, kind: &str, status: i64, error: Option<String>) -> JsonStream {
        live_reply(self.client.encoding, name, kind, status, error)
    }
}
