//! A WebSocket client after its handshake.

use std::sync::Arc;

use skylib::proto::{Encoding, UpdatePolicy};

use super::handshake::Hello;
use crate::app::App;
use crate::clients::Registration;

/// Client with a completed handshake.
pub(crate) struct Client {
    pub(crate) app: Arc<App>,
    pub(crate) hello: Hello,
    pub(crate) encoding: Encoding,
    pub(crate) policy: UpdatePolicy,
    pub(crate) registration: Registration,
    /// Reason why the client may not use live queries; `None` if it may.
    pub(crate) query_denial: Option<String>,
    /// Reason why the client may not read packets; `None` if it may.
    pub(crate) packets_denial: Option<String>,
}

impl Client {
    /// Counts a dropped message that is invalid or not permitted. The sender gets no reply, because the
    /// protocol has none.
    pub(super) fn drop_message(&self, reason: &str) {
        tracing::debug!(
            client = self.hello.identity.host_id,
            reason,
            "message dropped"
        );
        self.registration.count_dropped(1);
    }
}
