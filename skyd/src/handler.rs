//! Calling convention of the HTTP and WebSocket handlers.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;

use crate::app::App;
use crate::auth::User;
use crate::response::Response;

/// A request with everything that its handler needs.
pub(crate) struct Call {
    /// State of the daemon.
    pub(crate) app: Arc<App>,
    /// The request itself.
    pub(crate) request: Request<Incoming>,
    /// Percent-decoded part of the path that the route leaves open, such as the id of a resource.
    pub(crate) id: String,
    /// Address of the client.
    pub(crate) peer: SocketAddr,
    /// Authenticated user; `None` for routes that do not authenticate users.
    pub(crate) user: Option<User>,
}

/// Function that answers the requests of one route.
pub(crate) type Handler = fn(Call) -> HandlerFuture;

/// Future of a handler, boxed so that all routes fit into one table.
pub(crate) type HandlerFuture = Pin<Box<dyn Future<Output = Response> + Send>>;
