//! The gate before every handler: what a route asks for, and the answers to those turned away.

use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};

use crate::app::App;
use crate::auth::{ADMIN, Auth, Cluster, Denied, User, credentials};
use crate::body;
use crate::response::{self, Response};

/// Who may use a route; each row of the router's table says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody.
    Open,
    /// Whoever the API's backend knows.
    User,
    /// Those of them who may do this to that.
    Granted {
        /// `capture`
        object: &'static str,
        /// `read` or `write`
        action: &'static str,
        /// Whether the refusal says why.
        says_why: bool,
    },
    /// Those of them who may use the WebSocket endpoint of this path.
    Socket,
    /// Whoever the cluster's backend knows.
    Cluster,
}

/// Users who may read an object; the refusal is a bare status.
pub(crate) const fn read(object: &'static str) -> Access {
    granted("read", object)
}

/// Users who may change an object; the refusal is a bare status.
pub(crate) const fn write(object: &'static str) -> Access {
    granted("write", object)
}

const fn granted(action: &'static str, object: &'static str) -> Access {
    Access::Granted {
        object,
        action,
        says_why: false,
    }
}

impl Access {
    /// As it is, but the refusal says why: so do creating, showing and deleting a resource.
    pub(crate) const fn told(self) -> Self {
        match self {
            Self::Granted { object, action, .. } => Self::Granted {
                object,
                action,
                says_why: true,
            },
            other => other,
        }
    }
}

/// Lets a request to a route pass, or answers it; the user, where the API's backend was asked.
///
/// # Errors
/// The answer to a request that may not pass.
pub(crate) async fn admit(
    app: &App,
    access: Access,
    request: &mut Request<Incoming>,
    peer: SocketAddr,
) -> Result<Option<User>, Response> {
    if access == Access::Open {
        return Ok(None);
    }
    let auth = &app.auth;
    if access == Access::Cluster {
        return cluster(auth, request, peer).await.map(|()| None);
    }
    let credentials = if auth.is_open() {
        None
    } else {
        credentials(app, request).await?
    };
    let user = auth.api.verify(credentials.as_deref()).await;
    let user = user.map_err(|denied| refused(&denied, peer))?;
    let path = request.uri().path();
    match access {
        Access::Granted {
            object,
            action,
            says_why,
        } => match auth.policy.missing(&user, object, action) {
            Some(missing) => Err(no_permission(&missing, says_why)),
            None => Ok(Some(user)),
        },
        Access::Socket if !auth.policy.allows(&user, WEBSOCKET, path) => {
            Err(response::bare_and_close(StatusCode::FORBIDDEN))
        }
        _ => Ok(Some(user)),
    }
}

async fn cluster(
    auth: &Auth,
    request: &Request<Incoming>,
    peer: SocketAddr,
) -> Result<(), Response> {
    let backend = match &auth.cluster {
        Cluster::Backend(backend) => backend,
        Cluster::Loopback if peer.ip().to_canonical().is_loopback() => return Ok(()),
        Cluster::Loopback => {
            tracing::debug!(%peer, "an agent of another machine was refused");
            let text = "agents and analyzers of other machines are served once \
                        analyzer.auth.cluster.backend is set";
            let mut response = response::error_text(StatusCode::FORBIDDEN, text);
            response::close(response.headers_mut());
            return Err(response);
        }
    };
    let credentials = credentials::credentials(request.headers(), request.uri().query());
    let user = backend.verify(credentials.as_deref()).await;
    let mut user = user.map_err(|denied| refused(&denied, peer))?;
    ADMIN.clone_into(&mut user.default_role);
    if auth.policy.allows(&user, WEBSOCKET, request.uri().path()) {
        Ok(())
    } else {
        Err(response::bare_and_close(StatusCode::FORBIDDEN))
    }
}

/// What the request carries; a form in its body is read only where nothing else has any.
async fn credentials(
    app: &App,
    request: &mut Request<Incoming>,
) -> Result<Option<String>, Response> {
    let found = credentials::credentials(request.headers(), request.uri().query());
    if found.is_some() || !credentials::has_form(request.method(), request.headers()) {
        return Ok(found);
    }
    // COMPAT: scripts may put the token there; for the handler such a body is empty.
    let text = body::read_form(app, request.body_mut()).await?;
    Ok(credentials::parameter(&text))
}

/// COMPAT: without `WWW-Authenticate`, or browsers would ask for a password themselves, and
/// without a line feed.
pub(crate) fn refused(denied: &Denied, peer: SocketAddr) -> Response {
    tracing::debug!(%peer, "{denied}");
    let status = match denied {
        Denied::Busy => StatusCode::SERVICE_UNAVAILABLE,
        Denied::Credentials | Denied::Backend(_) => StatusCode::UNAUTHORIZED,
    };
    response::typed(status, "text/plain; charset=utf-8", denied.to_string())
}

/// COMPAT: 405, by which the web UI knows that something is not allowed.
fn no_permission(missing: &str, says_why: bool) -> Response {
    if says_why {
        response::error_text(StatusCode::METHOD_NOT_ALLOWED, missing)
    } else {
        response::bare(StatusCode::METHOD_NOT_ALLOWED)
    }
}

const WEBSOCKET: &str = "websocket";
