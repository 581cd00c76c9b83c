//! Calling convention of the HTTP and WebSocket handlers.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;

use crate::app::App;
use crate::auth::User;
use crate::response::Response;

/// A request on its way to its handler.
pub(crate) struct Call {
    /// The daemon.
    pub(crate) app: Arc<App>,
    /// The request.
    pub(crate) request: Request<Incoming>,
    /// The part of the path that the route leaves open, percent-decoded: the id of a resource.
    pub(crate) id: String,
    /// Where it comes from.
    pub(crate) peer: SocketAddr,
    /// Who asks, where that was asked.
    pub(crate) user: Option<User>,
}

/// Function that answers the requests of one route.
pub(crate) type Handler = fn(Call) -> HandlerFuture;

/// Future of a handler, boxed so that all routes fit into one table.
pub(crate) type HandlerFuture = Pin<Box<dyn Future<Output = Response> + Send>>;
