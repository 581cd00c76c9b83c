//! A WebSocket client after its handshake.

use std::sync::Arc;

use skylib::proto::{Encoding, UpdatePolicy};

use super::handshake::Hello;
use crate::app::App;
use crate::clients::Registration;

/// A client whose handshake is done.
pub(crate) struct Client {
    pub(crate) app: Arc<App>,
    pub(crate) hello: Hello,
    pub(crate) encoding: Encoding,
    pub(crate) policy: UpdatePolicy,
    pub(crate) registration: Registration,
    /// Why it may follow no queries, where it may not.
    pub(crate) no_queries: Option<String>,
}

impl Client {
    /// A message that was not understood or not allowed; the sender is not told: it never asked.
    pub(super) fn drop_message(&self, reason: &str) {
        tracing::debug!(
            client = self.hello.identity.host_id,
            reason,
            "message dropped"
        );
        self.registration.count_dropped(1);
    }
}
