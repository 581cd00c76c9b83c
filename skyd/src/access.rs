//! Access control before every handler: the access rules of routes, and the responses to denied
//! requests.

use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use skylib::gremlin::Query;

use crate::app::App;
use crate::auth::{ADMIN, Cluster, Denied, User, credentials};
use crate::body;
use crate::response::{self, Response};

/// Access rule of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// All clients, without authentication.
    Open,
    /// Users whom the API backend authenticates.
    User,
    /// Authenticated users with this permission.
    Granted {
        /// Object of the permission, such as `capture`.
        object: &'static str,
        /// Action of the permission: `read` or `write`.
        action: &'static str,
        /// Whether the response to a denied request names the missing permission.
        says_why: bool,
    },
    /// Authenticated users with the permission for the WebSocket endpoint of the path.
    Socket,
    /// Clients whom the cluster backend authenticates.
    Cluster,
}

/// Requires the permission to read an object; the response to a denied request has no body.
pub(crate) const fn read(object: &'static str) -> Access {
    granted("read", object)
}

/// Requires the permission to change an object; the response to a denied request has no body.
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
    /// Returns the same rule, but with a response that names the missing permission.
    ///
    /// COMPAT: Skydive names it when a resource is created, shown, or deleted.
    pub(crate) const fn with_reason(self) -> Self {
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

/// Checks the access rule of a route. Returns the user if the API backend authenticated one.
///
/// # Errors
/// Returns the response to a denied request.
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
        return cluster(app, request, peer).await.map(|()| None);
    }
    let credentials = if auth.is_open() {
        None
    } else {
        credentials(app, request).await?
    };
    let user = auth.api.verify(credentials.as_deref(), peer.ip()).await;
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

/// Returns the reason why a user may not read stored packets; `None` if the user may.
pub(crate) fn packets_denial(app: &App, user: &User) -> Option<String> {
    app.auth.policy.missing(user, "capture", "rawpackets")
}

/// Permissions that a user lacks and that some queries require.
pub(crate) struct QueryDenials {
    /// Reason why the user may not read stored packets; `None` if the user may.
    packets: Option<String>,
    /// Reason why the user may not call workflows; `None` if the user may.
    workflows: Option<String>,
}

impl QueryDenials {
    /// Returns the permissions that a user lacks; `None` if every query is allowed.
    pub(crate) fn new(app: &App, user: &User) -> Option<Self> {
        let denials = Self {
            packets: packets_denial(app, user),
            workflows: app.auth.policy.missing(user, "workflow.call", "write"),
        };
        let has_any = denials.packets.is_some() || denials.workflows.is_some();
        has_any.then_some(denials)
    }

    /// Returns the reason why the user may not run a query; `None` if the user may, or if the query
    /// is invalid.
    pub(crate) fn of(&self, query: &str) -> Option<String> {
        let query = Query::parse(query).ok()?;
        let packets = self.packets.clone().filter(|_| query.reads_packets());
        let workflows = || self.workflows.clone().filter(|_| query.calls_workflows());
        packets.or_else(workflows)
    }
}

/// Checks a client of the cluster endpoints.
async fn cluster(app: &App, request: &Request<Incoming>, peer: SocketAddr) -> Result<(), Response> {
    let auth = &app.auth;
    // Behind a proxy, the peer address does not identify the client, so a password is required.
    let has_password = matches!(&auth.cluster, Cluster::Backend(backend) if !backend.is_open());
    if let Err(header) = app.web_origins.check_cluster(request, has_password) {
        let text = format!(
            "requests with the header {header} are rejected at this endpoint: agents connect \
             directly (set analyzer.auth.cluster.backend to accept them behind a proxy)"
        );
        return Err(forbidden(&text, peer));
    }
    let credentials = credentials::credentials(request.headers(), request.uri().query());
    let backend = match &auth.cluster {
        Cluster::Backend(backend) => backend,
        Cluster::Local(_) if !peer.ip().to_canonical().is_loopback() => {
            let text = "agents and analyzers on other machines are rejected: set \
                        analyzer.auth.cluster.backend to accept them";
            return Err(forbidden(text, peer));
        }
        Cluster::Local(key) => {
            let is_right = credentials.is_some_and(|credentials| key.matches(&credentials));
            return match is_right {
                true => Ok(()),
                false => Err(refused(&Denied::Credentials, peer)),
            };
        }
    };
    let user = backend.verify(credentials.as_deref(), peer.ip()).await;
    let mut user = user.map_err(|denied| refused(&denied, peer))?;
    ADMIN.clone_into(&mut user.default_role);
    if auth.policy.allows(&user, WEBSOCKET, request.uri().path()) {
        Ok(())
    } else {
        Err(response::bare_and_close(StatusCode::FORBIDDEN))
    }
}

/// Returns status 403 with a reason, which closes the connection.
fn forbidden(text: &str, peer: SocketAddr) -> Response {
    tracing::debug!(%peer, "{text}");
    let mut response = response::error_text(StatusCode::FORBIDDEN, text);
    response::close(response.headers_mut());
    response
}

/// Returns the credentials of a request. A form in the body is read only if neither the headers nor
/// the query contain credentials.
async fn credentials(
    app: &App,
    request: &mut Request<Incoming>,
) -> Result<Option<String>, Response> {
    let found = credentials::credentials(request.headers(), request.uri().query());
    if found.is_some() || !credentials::has_form(request.method(), request.headers()) {
        return Ok(found);
    }
    // COMPAT: scripts may send the token in a form. The handler then finds an empty body.
    let text = body::read_form(app, request.body_mut()).await?;
    Ok(credentials::parameter(&text))
}

/// Returns the response to a client without valid credentials.
///
/// COMPAT: no `WWW-Authenticate` header, which would make browsers open their own password dialog,
/// and no line feed.
pub(crate) fn refused(denied: &Denied, peer: SocketAddr) -> Response {
    tracing::debug!(%peer, "{denied}");
    let status = match denied {
        Denied::Busy => StatusCode::SERVICE_UNAVAILABLE,
        Denied::Credentials | Denied::Backend(_) => StatusCode::UNAUTHORIZED,
    };
    response::typed(status, "text/plain; charset=utf-8", denied.to_string())
}

/// Returns the response to a user without the required permission.
///
/// COMPAT: status 405, by which the web UI recognizes a missing permission.
pub(crate) fn no_permission(missing: &str, says_why: bool) -> Response {
    if says_why {
        response::error_text(StatusCode::METHOD_NOT_ALLOWED, missing)
    } else {
        response::bare(StatusCode::METHOD_NOT_ALLOWED)
    }
}

const WEBSOCKET: &str = "websocket";
