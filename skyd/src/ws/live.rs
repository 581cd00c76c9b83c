//! The live queries of a subscriber: requests of the namespace `Live` and what they lead to.
//!
//! ```text
//! Query ── Answer, then Changes, Failed or Answer, until Cancel ── Cancelled
//!       └─ Error                                  or Error, by itself
//! ```

use std::sync::Arc;

use skylib::engine::{LiveClient, LiveError, LiveEvent, QueryOptions};
use skylib::gremlin::{QueryError, QueryErrorKind};
use skylib::proto::{JsonStream, LiveRequest, Message, live_error, live_reply, live_update};
use tokio::task::{AbortHandle, Id, JoinSet};

use super::client::Client;
use crate::queries::QueryFailure;

/// What came of a query that ran for the first time.
type Opened = Result<Result<(), QueryError>, QueryFailure>;

/// What one connection follows.
pub(crate) struct LiveQueries<'a> {
    client: &'a Client,
    queries: LiveClient,
    /// Queries that run for the first time, those among them that were cancelled until they end.
    opening: JoinSet<Opened>,
    /// Their names, without those that were cancelled.
    names: Vec<(String, AbortHandle)>,
}

impl<'a> LiveQueries<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        let app = &client.app;
        Self {
            client,
            queries: app.engine.live_client(app.limits.live_queries),
            opening: JoinSet::new(),
            names: Vec::new(),
        }
    }

    /// Does what a request asks; a reply, where there is one at once.
    pub(crate) fn ask(&mut self, message: &Message) -> Option<JsonStream> {
        match LiveRequest::decode(message) {
            Ok(LiveRequest::Query { name, text }) => self.open(name, text),
            Ok(LiveRequest::Cancel { name }) => Some(self.cancel(&name)),
            Ok(_) => None,
            Err(error) => {
                let name = message.uuid.as_deref().unwrap_or_default();
                Some(self.reply(name, "Error", 400, Some(error.to_string())))
            }
        }
    }

    /// Whether so many queries are on their way, cancelled ones included, that no more is to be
    /// asked until some have ended.
    pub(crate) fn is_crowded(&self) -> bool {
        self.opening.len() >= 2 * self.client.app.limits.live_queries
    }

    fn cancel(&mut self, name: &str) -> JsonStream {
        // One that waits for its turn gives it up.
        if let Some(at) = self.names.iter().position(|(other, _)| other == name) {
            self.names.swap_remove(at).1.abort();
        }
        if self.queries.cancel(name) {
            return self.reply(name, "Cancelled", 200, None);
        }
        let error = format!("there is no live query named {name:?}");
        self.reply(name, "Cancelled", 404, Some(error))
    }

    fn open(&mut self, name: String, text: String) -> Option<JsonStream> {
        if let Some(missing) = &self.client.no_queries {
            return Some(self.reply(&name, "Error", 403, Some(missing.clone())));
        }
        match self.queries.reserve(name.as_str()) {
            Ok(reserved) => {
                let app = Arc::clone(&self.client.app);
                let open = async move {
                    app.run_query(move |_, stop| {
                        let interrupt = || stop.is_set();
                        let options = QueryOptions::default().with_interrupt(&interrupt);
                        reserved.open(&text, options)
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

    /// The next message for the client.
    pub(crate) async fn next(&mut self) -> JsonStream {
        loop {
            let message = tokio::select! {
                Some(joined) = self.opening.join_next_with_id() => match joined {
                    Ok((task, opened)) => self.opened(task, opened),
                    // It was cancelled: a fault in our code is an answer of `run_query`.
                    Err(_) => None,
                },
                Some((name, news)) = self.queries.next() => Some(self.tell(&name, news)),
                else => std::future::pending().await,
            };
            if let Some(message) = message {
                return message;
            }
        }
    }

    /// What is wrong with a query that ran for the first time; its answer is news like any other.
    fn opened(&mut self, task: Id, opened: Opened) -> Option<JsonStream> {
        // Of one that was cancelled the client wants to know nothing; its name may be another's.
        let at = self
            .names
            .iter()
            .position(|(_, other)| other.id() == task)?;
        let (name, _) = self.names.swap_remove(at);
        match opened {
            Ok(Ok(())) => None,
            // It was cancelled as it began to be followed.
            Ok(Err(error)) if error.kind() == QueryErrorKind::Interrupted => None,
            Ok(Err(error)) => Some(self.error(&name, &error)),
            Err(failure) => Some(self.reply(&name, "Error", 503, Some(failure.to_string()))),
        }
    }

    fn tell(&self, name: &str, news: LiveEvent) -> JsonStream {
        match news {
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
