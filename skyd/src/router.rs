//! One table: method and path → handler, and what happens to paths that are not in it.

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

#[derive(Clone, Copy)]
struct Route {
    /// `None` for any.
    method: Option<&'static str>,
    path: &'static str,
    reach: Reach,
    access: Access,
    handler: Handler,
}

/// Which paths a route stands for besides its own. Complete by definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// None.
    Itself,
    /// Not its own, but everything below it and a slash.
    Below,
    /// Not its own, but one part below it and what comes `after` that.
    Part { after: &'static str },
}

const fn at(method: &'static str, path: &'static str, access: Access, handler: Handler) -> Route {
    Route {
        method: Some(method),
        path,
        reach: Reach::Itself,
        access,
        handler,
    }
}

const fn below(
    method: &'static str,
    path: &'static str,
    access: Access,
    handler: Handler,
) -> Route {
    Route {
        reach: Reach::Below,
        ..at(method, path, access, handler)
    }
}

const fn part(
    method: &'static str,
    path: &'static str,
    after: &'static str,
    access: Access,
    handler: Handler,
) -> Route {
    Route {
        reach: Reach::Part { after },
        ..at(method, path, access, handler)
    }
}

/// A path that takes any method. WebSocket endpoints do: what is no upgrade is told so.
const fn any(path: &'static str, access: Access, handler: Handler) -> Route {
    Route {
        method: None,
        ..at("", path, access, handler)
    }
}

/// What clients do to resources of one kind.
macro_rules! resource {
    ($kind:literal, $of:path) => {
        &[
            at("GET", concat!("/api/", $kind), read($kind), |call| {
                Box::pin(resource::list(call, $of))
            }),
            at(
                "POST",
                concat!("/api/", $kind),
                write($kind).told(),
                |call| Box::pin(resource::create(call, $of)),
            ),
            below("GET", concat!("/api/", $kind), read($kind).told(), |call| {
                Box::pin(resource::show(call, $of))
            }),
            below("PATCH", concat!("/api/", $kind), write($kind), |call| {
                Box::pin(resource::update(call, $of))
            }),
            below(
                "DELETE",
                concat!("/api/", $kind),
                write($kind).told(),
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

fn routes() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().chain(RESOURCES.iter().copied().flatten())
}

const ROUTES: &[Route] = &[
    any("/login", Access::Open, |call| {
        Box::pin(routes::login::login(call))
    }),
    at("GET", "/api", Access::User, |call| {
        Box::pin(routes::api::root(call))
    }),
    at("GET", "/api/status", read("status"), |call| {
        Box::pin(routes::status::show(call))
    }),
    at("GET", "/swagger.json", read("status"), |call| {
        Box::pin(routes::swagger::show(call))
    }),
    at("GET", "/metrics", read("status"), |call| {
        Box::pin(routes::metrics::show(call))
    }),
    part("GET", "/api/config", "", read("config"), |call| {
        Box::pin(routes::config::show(call))
    }),
    at("GET", "/api/topology", read("topology"), |call| {
        Box::pin(routes::topology::whole(call))
    }),
    at("POST", "/api/topology", read("topology"), |call| {
        Box::pin(routes::topology::query(call))
    }),
    part(
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

/// Answers a request.
pub(crate) async fn route(
    app: Arc<App>,
    mut request: Request<Incoming>,
    peer: SocketAddr,
) -> Response {
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

enum Resolution {
    Found(&'static Route, String),
    Moved(String),
    WrongMethod,
    NotFound,
}

fn resolve(method: &Method, path: &str) -> Resolution {
    let clean = cleaned(path);
    if clean != path {
        return Resolution::Moved(clean);
    }
    let fits = |route: &Route| route.method.is_none_or(|name| method == name);
    let at = |path: &str| {
        routes()
            .filter(|r| r.reach == Reach::Itself && r.path == path)
            .collect::<Vec<_>>()
    };
    let exact = at(path);
    if !exact.is_empty() {
        return match exact.into_iter().find(|route| fits(route)) {
            Some(route) => Resolution::Found(route, String::new()),
            None => Resolution::WrongMethod,
        };
    }
    // With a slash too many, what has the method without it is told to leave it out.
    let mut known = false;
    if let Some(without) = path.strip_suffix('/') {
        let exact = at(without);
        known = !exact.is_empty();
        if exact.iter().any(|route| fits(route)) {
            return Resolution::Moved(without.to_owned());
        }
    }
    let mut others = routes()
        .filter_map(|route| Some((route, route.open_part(path)?)))
        .peekable();
    known |= others.peek().is_some();
    match others.find(|(route, _)| fits(route)) {
        Some((route, id)) => Resolution::Found(route, percent_decoded(id)),
        None if known => Resolution::WrongMethod,
        None => Resolution::NotFound,
    }
}

impl Route {
    /// What a path has where this route leaves it open; none where it is not of this route, or
    /// the route leaves nothing open.
    fn open_part<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.path)?.strip_prefix('/')?;
        match self.reach {
            Reach::Itself => None,
            Reach::Below => Some(rest),
            Reach::Part { after } => rest
                .strip_suffix(after)
                .filter(|part| !part.is_empty() && !part.contains('/')),
        }
    }
}

/// The path without empty, `.` and `..` parts; a slash at the end stays.
fn cleaned(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut clean = format!("/{}", parts.join("/"));
    if clean.len() > 1 && (path.ends_with('/') || path.ends_with("/.")) {
        clean.push('/');
    }
    // A browser reads a backslash as a slash: it must not make another server of the next part.
    clean.replace('\\', "%5C")
}

/// Methods and paths of all routes, `{}` for what is open in them; no method is any.
#[cfg(test)]
pub(crate) fn table() -> impl Iterator<Item = (Option<&'static str>, String)> {
    routes().map(|route| {
        let path = match route.reach {
            Reach::Itself => route.path.to_owned(),
            Reach::Below => format!("{}/{{}}", route.path),
            Reach::Part { after } => format!("{}/{{}}{after}", route.path),
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
            let path = match route.reach {
                Reach::Itself => route.path.to_owned(),
                Reach::Below => format!("{}/x", route.path),
                Reach::Part { after } => format!("{}/x{after}", route.path),
            };
            assert!(shown(method, &path).starts_with("found"), "{method} {path}");
        }
    }

    #[test]
    fn only_what_gives_nothing_away_is_open() {
        let open = routes().filter(|route| route.access == Access::Open);
        assert_eq!(open.map(|route| route.path).collect::<Vec<_>>(), ["/login"]);
        for Route { path, access, .. } in routes() {
            let is_cluster = path.starts_with("/ws/agent/") || *path == "/ws/replication";
            let is_socket = path.starts_with("/ws/") && !is_cluster;
            assert_eq!(*access == Access::Cluster, is_cluster, "{path}");
            assert_eq!(*access == Access::Socket, is_socket, "{path}");
            if path.starts_with("/api/") {
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
    fn slashes_too_many_are_redirected() {
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
    fn one_part_is_one_part() {
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
            "/",
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
}
