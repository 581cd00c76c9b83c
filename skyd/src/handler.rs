//! Calling convention of the HTTP and WebSocket handlers.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;

use crate::app::App;
use crate::auth::User;
use crate::fair_slots::{ClientKey, address_key};
use crate::response::Response;

/// Request with everything that its handler needs.
pub(crate) struct Call {
    /// State of the daemon.
    pub(crate) app: Arc<App>,
    /// HTTP request.
    pub(crate) request: Request<Incoming>,
    /// Percent-decoded variable part of the path, such as the id of a resource.
    pub(crate) id: String,
    /// Address of the client.
    pub(crate) peer: SocketAddr,
    /// Authenticated user; `None` for routes that do not authenticate users.
    pub(crate) user: Option<User>,
    /// Whether the request was received in the role of an agent.
    pub(crate) is_agent: bool,
}

impl Call {
    /// Returns the service type that the response shows.
    pub(crate) const fn service_type(&self) -> &'static str {
        if self.is_agent { "agent" } else { "analyzer" }
    }

    /// Returns the key that identifies the client when slots are shared fairly.
    pub(crate) fn client_key(&self) -> ClientKey {
        match &self.user {
            Some(user) if !self.app.auth.is_open() => format!("user {}", user.name).into(),
            _ => address_key(self.peer.ip()),
        }
    }
}

/// Function that answers the requests of one route.
pub(crate) type Handler = fn(Call) -> HandlerFuture;

/// Future of a handler, boxed so that all routes fit into one table.
pub(crate) type HandlerFuture = Pin<Box<dyn Future<Output = Response> + Send>>;
