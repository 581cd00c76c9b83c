//! The live queries of a subscriber: requests of the namespace `Live` and what they lead to.
//!
//! ```text
//! Query ── Answer, then Changes, Failed or Answer, until Cancel ── Cancelled
//!       └─ Error                                  or Error, by itself
//! ```

use std::sync::Arc;

use skylib::engine::{LiveClient, LiveNews, LiveRefusal};
use skylib::gremlin::{QueryError, QueryErrorKind};
use skylib::proto::{JsonPieces, LiveRequest, Message, live_error, live_reply, live_update};
use tokio::task::JoinSet;

use super::Client;
use crate::app::QueryFailure;

/// What came of a query that ran for the first time.
type Opened = Result<Result<(), QueryError>, QueryFailure>;

/// What one connection follows.
pub(crate) struct LiveQueries<'a> {
    client: &'a Client,
    queries: LiveClient,
    /// Queries that run for the first time.
    opening: JoinSet<(String, Opened)>,
}

impl<'a> LiveQueries<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        let app = &client.app;
        Self {
            client,
            queries: app.engine.live_client(app.limits.live_queries),
            opening: JoinSet::new(),
        }
    }

    /// Does what a request asks; a reply, where there is one at once.
    pub(crate) fn ask(&mut self, message: &Message) -> Option<JsonPieces> {
        match LiveRequest::decode(message) {
            Ok(LiveRequest::Query { name, text }) => self.open(name, text),
            Ok(LiveRequest::Cancel { name }) => Some(match self.queries.cancel(&name) {
                true => self.reply(&name, "Cancelled", 200, None),
                false => {
                    let error = format!("there is no live query named {name:?}");
                    self.reply(&name, "Cancelled", 404, Some(error))
                }
            }),
            Ok(_) => None,
            Err(error) => {
                let name = message.uuid.as_deref().unwrap_or_default();
                Some(self.reply(name, "Error", 400, Some(error.to_string())))
            }
        }
    }

    fn open(&mut self, name: String, text: String) -> Option<JsonPieces> {
        match self.queries.begin(name.as_str()) {
            Ok(ticket) => {
                let app = Arc::clone(&self.client.app);
                self.opening.spawn(async move {
                    let open = app.run_query(move |_, stop| ticket.open(&text, &|| stop.is_set()));
                    (name, open.await)
                });
                None
            }
            Err(refusal) => {
                let status = match refusal {
                    LiveRefusal::Taken(_) => 409,
                    LiveRefusal::TooMany(_) => 429,
                    _ => 503,
                };
                Some(self.reply(&name, "Error", status, Some(refusal.to_string())))
            }
        }
    }

    /// The next message for the client.
    pub(crate) async fn next(&mut self) -> JsonPieces {
        loop {
            let message = tokio::select! {
                Some(joined) = self.opening.join_next() => {
                    // A fault in our code is an answer of `run_query`, not of the task.
                    joined.ok().and_then(|(name, opened)| self.opened(&name, opened))
                }
                Some((name, news)) = self.queries.next() => Some(self.tell(&name, news)),
                else => std::future::pending().await,
            };
            if let Some(message) = message {
                return message;
            }
        }
    }

    /// What is wrong with a query that ran for the first time; its answer is news like any other.
    fn opened(&self, name: &str, opened: Opened) -> Option<JsonPieces> {
        match opened {
            Ok(Ok(())) => None,
            // It was cancelled, and the client knows.
            Ok(Err(error)) if error.kind() == QueryErrorKind::Interrupted => None,
            Ok(Err(error)) => Some(self.error(name, &error)),
            Err(failure) => Some(self.reply(name, "Error", 503, Some(failure.to_string()))),
        }
    }

    fn tell(&self, name: &str, news: LiveNews) -> JsonPieces {
        match news {
            LiveNews::Update(update) => live_update(self.client.encoding, name, update),
            LiveNews::Ended(error) => self.error(name, &error),
            _ => self.reply(name, "Error", 500, None),
        }
    }

    fn error(&self, name: &str, error: &QueryError) -> JsonPieces {
        live_error(self.client.encoding, name, "Error", 400, error)
    }

    fn reply(&self, name: &str, kind: &str, status: i64, error: Option<String>) -> JsonPieces {
        live_reply(self.client.encoding, name, kind, status, error)
    }
}
