//! A WebSocket client after its handshake.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use skylib::proto::{Encoding, UpdatePolicy};
use tokio::time::Instant;

use super::handshake::Hello;
use crate::app::App;
use crate::client_socket::WebSocketPermit;
use crate::clients::Registration;
use crate::fair_slots::ClientKey;

/// Client with a completed handshake.
pub(crate) struct Client {
    pub(crate) app: Arc<App>,
    pub(crate) hello: Hello,
    pub(crate) encoding: Encoding,
    pub(crate) policy: UpdatePolicy,
    pub(crate) registration: Registration,
    /// Reason why the client may not use live queries; `None` if it may.
    pub(crate) query_denial: Option<String>,
    /// Reason why the client may not read stored packets; `None` if it may.
    pub(crate) packets_denial: Option<String>,
    /// Key that identifies the client when slots are shared fairly.
    pub(crate) key: ClientKey,
    pub(crate) _permit: WebSocketPermit,
    /// Earliest time of the next warning about a dropped message; `None` before the first one.
    pub(crate) next_log: Mutex<Option<Instant>>,
}

impl Client {
    /// Counts a dropped message that is invalid or not permitted. The sender receives no reply,
    /// because the protocol has none; the reason is logged, at most once per [`LOG_INTERVAL`] and
    /// client.
    pub(super) fn drop_message(&self, reason: &str) {
        self.registration.count_dropped(1);
        let client = &self.hello.identity.host_id;
        let now = Instant::now();
        let mut next = self.next_log.lock().unwrap_or_else(PoisonError::into_inner);
        if next.is_some_and(|next| now < next) {
            tracing::debug!(client, reason, "message dropped");
            return;
        }
        *next = Some(now + LOG_INTERVAL);
        let reason = reason.chars().take(MAX_REASON).collect::<String>();
        tracing::warn!(client, reason, "dropped a message of a client");
    }
}

/// Minimum time between two warnings about the messages of one client.
const LOG_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum length of a reason in the log, in characters.
const MAX_REASON: usize = 500;
