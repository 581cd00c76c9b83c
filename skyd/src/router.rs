//! Dispatch table: method and path → access rule and handler, and the responses for other paths.
//!
//! The matching is implemented here, without a router crate such as `matchit`, because it
//! reproduces Go's request multiplexer, which clients of Skydive rely on: unclean paths and
//! trailing slashes are redirected, 405 takes precedence over 404, and an id is everything below a
//! path, slashes included. A router crate would only serve the exact paths. A linear scan over
//! about 60 routes takes about a microsecond.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use skylib::engine::Engine;

use crate::access::{self, Access, read, write};
use crate::app::App;
use crate::handler::{Call, Handler};
use crate::response::{self, Response};
use crate::routes::resource;
use crate::urlencoded::percent_decoded;
use crate::{routes, ws};

/// Row of the dispatch table.
#[derive(Clone, Copy)]
struct Route {
    /// Method in upper case; `None` for any.
    method: Option<&'static str>,
    path: &'static str,
    scope: PathScope,
    access: Access,
    handler: Handler,
}

/// Paths that a route matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PathScope {
    /// Exactly the path.
    Exact,
    /// Everything below the path, slashes included, but not the path itself.
    Below,
    /// One segment below the path, followed by `after`.
    Segment { after: &'static str },
}

/// Returns a route of exactly one path.
const fn at(method: &'static str, path: &'static str, access: Access, handler: Handler) -> Route {
    Route {
        method: Some(method),
        path,
        scope: PathScope::Exact,
        access,
        handler,
    }
}

/// Returns a route of all paths below one.
const fn below(
    method: &'static str,
    path: &'static str,
    access: Access,
    handler: Handler,
) -> Route {
    Route {
        scope: PathScope::Below,
        ..at(method, path, access, handler)
    }
}

/// Returns a route of one segment below a path.
const fn segment(
    method: &'static str,
    path: &'static str,
    after: &'static str,
    access: Access,
    handler: Handler,
) -> Route {
    Route {
        scope: PathScope::Segment { after },
        ..at(method, path, access, handler)
    }
}

/// Returns a route of any method. WebSocket endpoints answer every request that is not an upgrade
/// themselves.
const fn any(path: &'static str, access: Access, handler: Handler) -> Route {
    Route {
        method: None,
        ..at("", path, access, handler)
    }
}

/// Returns the routes of a resource kind.
macro_rules! resource {
    ($kind:literal, $of:path) => {
        &[
            at("GET", concat!("/api/", $kind), read($kind), |call| {
                Box::pin(resource::list(call, $of))
            }),
            at(
                "POST",
                concat!("/api/", $kind),
                write($kind).with_reason(),
                |call| Box::pin(resource::create(call, $of)),
            ),
            below(
                "GET",
                concat!("/api/", $kind),
                read($kind).with_reason(),
                |call| Box::pin(resource::show(call, $of)),
            ),
            below("PATCH", concat!("/api/", $kind), write($kind), |call| {
                Box::pin(resource::update(call, $of))
            }),
            below(
                "DELETE",
                concat!("/api/", $kind),
                write($kind).with_reason(),
                |call| Box::pin(resource::delete(call, $of)),
            ),
        ]
    };
}

const RESOURCES: &[&[Route]] = &[
    resource!("capture", Engine::captures),
    resource!("injectpacket", Engine::injections),
    resource!("alert", Engine::alerts),
    resource!("workflow", Engine::workflows),
    resource!("node", Engine::nodes),
    resource!("edge", Engine::edges),
    resource!("noderule", Engine::node_rules),
    resource!("edgerule", Engine::edge_rules),
];

/// Returns all routes.
fn routes() -> impl Iterator<Item = &'static Route> {
    api_routes().chain(PAGE.iter().flatten())
}

/// Returns the routes of the API: all except those of the web page.
fn api_routes() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().chain(RESOURCES.iter().copied().flatten())
}

/// Returns the routes of one address of the web page.
///
/// COMPAT: the addresses of Skydive's web interface, which bookmarks may contain.
const fn page(path: &'static str) -> [Route; 2] {
    [
        at("GET", path, Access::Open, |call| {
            Box::pin(routes::page::show(call))
        }),
        at("HEAD", path, Access::Open, |call| {
            Box::pin(routes::page::show(call))
        }),
    ]
}

const PAGE: &[[Route; 2]] = &[
    page("/"),
    page("/ui"),
    page("/ui/login"),
    page("/ui/topology"),
    page("/ui/preference"),
    page("/ui/status"),
    [
        below("GET", "/ui/assets", Access::Open, |call| {
            Box::pin(routes::page::asset(call))
        }),
        below("HEAD", "/ui/assets", Access::Open, |call| {
            Box::pin(routes::page::asset(call))
        }),
    ],
    [
        below("GET", "/ui_v2", Access::Open, |call| {
            Box::pin(routes::ui_folder::file(call))
        }),
        below("HEAD", "/ui_v2", Access::Open, |call| {
            Box::pin(routes::ui_folder::file(call))
        }),
    ],
];

const ROUTES: &[Route] = &[
    any("/login", Access::Open, |call| {
        Box::pin(routes::login::login(call))
    }),
    at("GET", "/api", Access::User, |call| {
        Box::pin(routes::api::root(call))
    }),
    at("POST", "/logout", Access::Open, |call| {
        Box::pin(routes::login::logout(call))
    }),
    at("GET", "/api/me", Access::User, |call| {
        Box::pin(routes::me::show(call))
    }),
    at("GET", "/api/status", read("status"), |call| {
        Box::pin(routes::status::show(call))
    }),
    at("GET", "/api/history", read("status"), |call| {
        Box::pin(routes::history::list(call))
    }),
    at("POST", "/api/history/seal", write("history"), |call| {
        Box::pin(routes::history::seal(call))
    }),
    at("GET", "/swagger.json", read("status"), |call| {
        Box::pin(routes::swagger::show(call))
    }),
    at("GET", "/metrics", read("status"), |call| {
        Box::pin(routes::metrics::show(call))
    }),
    segment("GET", "/api/config", "", read("config"), |call| {
        Box::pin(routes::config::show(call))
    }),
    at("GET", "/api/topology", read("topology"), |call| {
        Box::pin(routes::topology::whole(call))
    }),
    at("POST", "/api/topology", read("topology"), |call| {
        Box::pin(routes::topology::query(call))
    }),
    segment(
        "POST",
        "/api/workflow",
        "/call",
        write("workflow.call"),
        |call| Box::pin(routes::workflow::call(call)),
    ),
    at("POST", "/api/pcap", write("pcap"), |call| {
        Box::pin(routes::pcap::upload(call))
    }),
    below("GET", "/v1", read("spp"), |call| {
        Box::pin(routes::spp::call(call))
    }),
    below("HEAD", "/v1", read("spp"), |call| {
        Box::pin(routes::spp::call(call))
    }),
    below("PUT", "/v1", write("spp"), |call| {
        Box::pin(routes::spp::call(call))
    }),
    below("POST", "/v1", write("spp"), |call| {
        Box::pin(routes::spp::call(call))
    }),
    below("DELETE", "/v1", write("spp"), |call| {
        Box::pin(routes::spp::call(call))
    }),
    any("/ws/subscriber", Access::Socket, |call| {
        Box::pin(ws::subscriber(call))
    }),
    any("/ws/subscriber/flow", Access::Socket, |call| {
        Box::pin(ws::flow(call))
    }),
    any("/ws/publisher", Access::Socket, |call| {
        Box::pin(ws::publisher(call))
    }),
    any("/ws/pubsub", Access::Socket, |call| {
        Box::pin(ws::pubsub(call))
    }),
    any("/ws/agent/topology", Access::Cluster, |call| {
        Box::pin(ws::agent(call))
    }),
    any("/ws/agent/flow", Access::Cluster, |call| {
        Box::pin(ws::agent_flow(call))
    }),
    any("/ws/replication", Access::Cluster, |call| {
        Box::pin(ws::replication(call))
    }),
];

/// Paths that agents serve.
const AGENT_PATHS: &[&str] = &[
    "/api",
    "/api/me",
    "/api/status",
    "/api/topology",
    "/login",
    "/logout",
    "/metrics",
    "/ws/publisher",
    "/ws/pubsub",
    "/ws/subscriber",
];

/// Checks the access of a request and runs its handler. `is_agent` restricts the paths to those that
/// agents serve.
pub(crate) async fn route(
    app: Arc<App>,
    mut request: Request<Incoming>,
    peer: SocketAddr,
    is_agent: bool,
) -> Response {
    let path = request.uri().path();
    if is_agent && !AGENT_PATHS.contains(&path.trim_end_matches('/')) {
        return response::not_found();
    }
    match resolve(request.method(), request.uri().path()) {
        Resolution::Found(route, id) => {
            let user = match access::admit(&app, route.access, &mut request, peer).await {
                Ok(user) => user,
                Err(refusal) => return refusal,
            };
            (route.handler)(Call {
                app,
                request,
                id,
                peer,
                user,
                is_agent,
            })
            .await
        }
        Resolution::Moved(path) => match request.uri().query() {
            Some(query) => response::moved(&format!("{path}?{query}")),
            None => response::moved(&path),
        },
        Resolution::WrongMethod => response::bare(StatusCode::METHOD_NOT_ALLOWED),
        Resolution::NotFound => response::not_found(),
    }
}

/// Result of matching a request against the table.
enum Resolution {
    /// Route, and the decoded variable part of the path.
    Found(&'static Route, String),
    /// Redirect to this path.
    Moved(String),
    WrongMethod,
    NotFound,
}

/// Finds the route of a request, without allocating unless the path contains an id or is redirected.
fn resolve(method: &Method, path: &str) -> Resolution {
    if !is_clean(path) {
        return Resolution::Moved(cleaned(path));
    }
    let accepts = |route: &&Route| route.method.is_none_or(|name| method == name);
    let mut exact = routes_at(path).peekable();
    if exact.peek().is_some() {
        return match exact.find(accepts) {
            Some(route) => Resolution::Found(route, String::new()),
            None => Resolution::WrongMethod,
        };
    }
    // As in Skydive, a trailing slash is redirected only if the method exists without it.
    let mut is_known = false;
    if let Some(without) = path.strip_suffix('/') {
        let mut exact = routes_at(without).peekable();
        is_known = exact.peek().is_some();
        if exact.any(|route| accepts(&route)) {
            return Resolution::Moved(without.to_owned());
        }
    }
    let mut others = routes()
        .filter_map(|route| Some((route, route.open_part(path)?)))
        .peekable();
    is_known |= others.peek().is_some();
    match others.find(|(route, _)| accepts(route)) {
        Some((route, id)) => Resolution::Found(route, percent_decoded(id)),
        None if is_known => Resolution::WrongMethod,
        None => Resolution::NotFound,
    }
}

/// Returns the routes of exactly this path.
fn routes_at(path: &str) -> impl Iterator<Item = &'static Route> {
    routes().filter(move |route| route.scope == PathScope::Exact && route.path == path)
}

impl Route {
    /// Returns the variable part of a path; `None` if the route does not match the path or has no
    /// variable part.
    fn open_part<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.path)?.strip_prefix('/')?;
        match self.scope {
            PathScope::Exact => None,
            PathScope::Below => Some(rest),
            PathScope::Segment { after } => rest
                .strip_suffix(after)
                .filter(|segment| !segment.is_empty() && !segment.contains('/')),
        }
    }
}

/// Returns whether [`cleaned`] would leave a path as it is.
fn is_clean(path: &str) -> bool {
    let Some(inner) = path.strip_prefix('/') else {
        return false;
    };
    let mut segments = inner.strip_suffix('/').unwrap_or(inner).split('/');
    !path.contains('\\')
        && (inner.is_empty() || segments.all(|segment| !matches!(segment, "" | "." | "..")))
}

/// Returns a path without empty, `.`, and `..` segments; a trailing slash remains.
///
/// COMPAT: the paths to which Go's request multiplexer redirects.
fn cleaned(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let mut clean = format!("/{}", segments.join("/"));
    if clean.len() > 1 && (path.ends_with('/') || path.ends_with("/.")) {
        clean.push('/');
    }
    // Browsers treat a backslash as a slash: `/\\host` would be a redirect to another server.
    clean.replace('\\', "%5C")
}

/// Returns the method and path of each route of the API: `{}` for the variable part, `None` for any
/// method.
#[cfg(test)]
pub(crate) fn table() -> impl Iterator<Item = (Option<&'static str>, String)> {
    api_routes().map(|route| {
        let path = match route.scope {
            PathScope::Exact => route.path.to_owned(),
            PathScope::Below => format!("{}/{{}}", route.path),
            PathScope::Segment { after } => format!("{}/{{}}{after}", route.path),
        };
        (route.method, path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(method: &str, path: &str) -> String {
        match resolve(&method.parse().unwrap(), path) {
            Resolution::Found(_, id) => format!("found {id}"),
            Resolution::Moved(path) => format!("301 {path}"),
            Resolution::WrongMethod => "405".to_owned(),
            Resolution::NotFound => "404".to_owned(),
        }
    }

    #[test]
    fn every_route_is_found_by_its_method() {
        for route in routes() {
            let method = route.method.unwrap_or("GET");
            let path = match route.scope {
                PathScope::Exact => route.path.to_owned(),
                PathScope::Below => format!("{}/x", route.path),
                PathScope::Segment { after } => format!("{}/x{after}", route.path),
            };
            assert!(shown(method, &path).starts_with("found"), "{method} {path}");
        }
    }

    #[test]
    fn only_login_and_the_page_are_open_to_everyone() {
        assert!(
            PAGE.iter()
                .flatten()
                .all(|route| route.access == Access::Open)
        );
        let open = api_routes().filter(|route| route.access == Access::Open);
        assert_eq!(
            open.map(|route| route.path).collect::<Vec<_>>(),
            ["/login", "/logout"]
        );
        for Route { path, access, .. } in routes() {
            let is_cluster = path.starts_with("/ws/agent/") || *path == "/ws/replication";
            let is_socket = path.starts_with("/ws/") && !is_cluster;
            assert_eq!(*access == Access::Cluster, is_cluster, "{path}");
            assert_eq!(*access == Access::Socket, is_socket, "{path}");
            if path.starts_with("/api/") && *path != "/api/me" {
                assert!(matches!(access, Access::Granted { .. }), "{path}");
            }
        }
    }

    #[test]
    fn known_paths_refuse_other_methods() {
        for (method, path) in [
            ("HEAD", "/api"),
            ("POST", "/api"),
            ("PUT", "/api/capture"),
            ("PATCH", "/api/capture"),
            ("DELETE", "/api/capture"),
            ("POST", "/api/capture/x"),
            ("PUT", "/api/capture/"),
            ("DELETE", "/api/topology/"),
        ] {
            assert_eq!(shown(method, path), "405", "{method} {path}");
        }
        assert_eq!(shown("POST", "/ws/subscriber"), "found ");
    }

    #[test]
    fn superfluous_slashes_are_redirected() {
        for (path, to) in [
            ("/api/", "/api"),
            ("/api/capture/", "/api/capture"),
            ("/ws/subscriber/", "/ws/subscriber"),
            ("//api", "/api"),
            ("/api//capture", "/api/capture"),
            ("/api/./capture", "/api/capture"),
            ("/x/../api", "/api"),
            ("/../../etc", "/etc"),
            ("//evil.example/%2e%2e", "/evil.example/%2e%2e"),
            ("//\\evil.example", "/%5Cevil.example"),
        ] {
            assert_eq!(shown("GET", path), format!("301 {to}"), "{path}");
        }
        assert_eq!(shown("POST", "/api/capture/"), "301 /api/capture");
        assert_eq!(
            shown("DELETE", "/api/capture/"),
            "found ",
            "an empty id is the handler's"
        );
        assert_eq!(shown("PATCH", "/api/capture/"), "found ");
    }

    #[test]
    fn ids_are_all_that_follows_and_decoded() {
        assert_eq!(shown("GET", "/api/capture/a/b%20c%2Fd"), "found a/b c/d");
        assert_eq!(shown("GET", "/api/capture/%zz%4"), "found %zz%4");
        assert_eq!(shown("GET", "/api/capture/%ff"), "found \u{fffd}");
    }

    #[test]
    fn one_segment_is_not_two() {
        assert_eq!(shown("GET", "/api/config/ui.theme"), "found ui.theme");
        assert_eq!(shown("GET", "/api/config/a%2Fb"), "found a/b");
        assert_eq!(shown("POST", "/api/config/ui"), "405");
        for path in [
            "/api/config",
            "/api/config/",
            "/api/config/a/b",
            "/api/config/a/",
        ] {
            assert_eq!(shown("GET", path), "404", "{path}");
        }
    }

    #[test]
    fn other_paths_are_not_found() {
        for path in [
            "/ui/nothing",
            "/ui/assets",
            "/apix",
            "/api/nothing",
            "/ws/nothing",
            "/ws",
            "/api/capturex/y",
            "*",
        ] {
            let path = if path == "*" { "/*" } else { path };
            assert_eq!(shown("GET", path), "404", "{path}");
        }
    }

    #[test]
    fn clean_paths_are_recognized() {
        let segments = ["", ".", "..", "a", "a\\b"];
        for first in segments {
            for second in segments {
                for end in ["", "/"] {
                    for path in [
                        format!("/{first}/{second}{end}"),
                        format!("/{first}{end}"),
                        format!("{first}{end}"),
                    ] {
                        assert_eq!(is_clean(&path), cleaned(&path) == path, "{path:?}");
                    }
                }
            }
        }
    }
}
