//! REST API of SPP, `/v1`: on a separate listener, and on the main one for users with permission.
//!
//! `docs/COMPAT.md` lists the messages that are identical to those of spp-ctl.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use skylib::spp::{SppCtl, SppError};

use crate::app::App;
use crate::body;
use crate::handler::Call;
use crate::response::{self, Response};
use crate::urlencoded::percent_decoded;

/// Answers a request on the main listener.
pub(crate) async fn call(call: Call) -> Response {
    answer(call.app, call.request).await
}

/// Answers a request on either listener.
pub(crate) async fn answer(app: Arc<App>, request: Request<Incoming>) -> Response {
    let Some(ctl) = app.spp.clone() else {
        return response::not_found();
    };
    let (action, id) = match resolve(request.method(), request.uri().path()) {
        RouteMatch::Found(action, id) => (action, id),
        RouteMatch::WrongMethod(allow) => return wrong_method(&allow),
        RouteMatch::NotFound => {
            let path = request.uri().path();
            return response::spp_text(StatusCode::NOT_FOUND, format!("Not found: '{path}'"));
        }
    };
    let body = if matches!(action, SppAction::Capture | SppAction::Launch) {
        match read_body(&app, request.into_body()).await {
            Ok(body) => body,
            Err(refusal) => return refusal,
        }
    } else {
        Bytes::new()
    };
    // An external SPP process or a slow disk may block the action.
    let done = tokio::task::spawn_blocking(move || action.run(&ctl, &id, &body)).await;
    done.unwrap_or_else(|_| {
        tracing::error!("the handler of an SPP request panicked");
        response::spp_text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
    })
}

/// Action of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SppAction {
    Processes,
    CpuUsage,
    CpuLayout,
    Show,
    Delete,
    Capture,
    PrimaryStatus,
    ClearPrimary,
    Launch,
    /// Action of a primary process that the virtual primary does not support.
    Primary,
    /// Action on a type of process that does not exist here.
    Other,
}

impl SppAction {
    /// Runs the action and returns the response.
    fn run(self, ctl: &SppCtl, id: &str, body: &[u8]) -> Response {
        let unit = |outcome: Result<(), SppError>| match outcome {
            Ok(()) => response::bare(StatusCode::NO_CONTENT),
            Err(error) => response::spp_error(&error),
        };
        match self {
            Self::Processes => json(Ok(ctl.processes())),
            Self::CpuUsage => json(Ok(ctl.cpu_usage())),
            Self::CpuLayout => match ctl.cpu_layout() {
                layout if layout.is_empty() => response::bare(StatusCode::NO_CONTENT),
                layout => json(Ok(layout)),
            },
            Self::Show => json(ctl.pcap(id)),
            Self::Delete => unit(ctl.delete(id)),
            Self::Capture => unit(ctl.capture(id, body)),
            Self::PrimaryStatus => json(ctl.primary_status()),
            Self::ClearPrimary => unit(ctl.clear_primary()),
            Self::Launch => unit(ctl.launch(body)),
            Self::Primary => unit(ctl.primary().and_then(|()| {
                let text =
                    "unsupported request: the virtual primary can only launch spp_pcap".to_owned();
                Err(SppError::Refused(text))
            })),
            Self::Other => unit(Err(ctl.no_process(id))),
        }
    }
}

/// Dispatch table: paths, and the action of each method, in the order of the `Allow` header. `#`
/// matches an id, `*` any name.
const ROUTES: &[(&str, &[(&str, SppAction)])] = &[
    ("processes", &[("GET", SppAction::Processes)]),
    ("cpu_usage", &[("GET", SppAction::CpuUsage)]),
    ("cpu_layout", &[("GET", SppAction::CpuLayout)]),
    (
        "pcaps/#",
        &[("DELETE", SppAction::Delete), ("GET", SppAction::Show)],
    ),
    ("pcaps/#/capture", &[("PUT", SppAction::Capture)]),
    ("primary", &[("DELETE", SppAction::Primary)]),
    (
        "primary/status",
        &[
            ("DELETE", SppAction::ClearPrimary),
            ("GET", SppAction::PrimaryStatus),
        ],
    ),
    ("primary/launch", &[("PUT", SppAction::Launch)]),
    ("primary/forward", &[("PUT", SppAction::Primary)]),
    ("primary/ports", &[("PUT", SppAction::Primary)]),
    (
        "primary/patches",
        &[("DELETE", SppAction::Primary), ("PUT", SppAction::Primary)],
    ),
    (
        "primary/flow_rules/port_id/#",
        &[("DELETE", SppAction::Primary), ("POST", SppAction::Primary)],
    ),
    (
        "primary/flow_rules/port_id/#/validate",
        &[("POST", SppAction::Primary)],
    ),
    (
        "primary/flow_rules/#/port_id/#",
        &[("DELETE", SppAction::Primary)],
    ),
    (
        "nfvs/#",
        &[("DELETE", SppAction::Other), ("GET", SppAction::Other)],
    ),
    ("nfvs/#/forward", &[("PUT", SppAction::Other)]),
    ("nfvs/#/ports", &[("PUT", SppAction::Other)]),
    (
        "nfvs/#/patches",
        &[("DELETE", SppAction::Other), ("PUT", SppAction::Other)],
    ),
    (
        "vfs/#",
        &[("DELETE", SppAction::Other), ("GET", SppAction::Other)],
    ),
    ("vfs/#/components", &[("POST", SppAction::Other)]),
    ("vfs/#/components/*", &[("DELETE", SppAction::Other)]),
    ("vfs/#/components/*/ports", &[("PUT", SppAction::Other)]),
    ("vfs/#/classifier_table", &[("PUT", SppAction::Other)]),
    (
        "mirrors/#",
        &[("DELETE", SppAction::Other), ("GET", SppAction::Other)],
    ),
    ("mirrors/#/components", &[("POST", SppAction::Other)]),
    ("mirrors/#/components/*", &[("DELETE", SppAction::Other)]),
    ("mirrors/#/components/*/ports", &[("PUT", SppAction::Other)]),
];

/// Result of matching a request against the table.
#[derive(Debug, PartialEq, Eq)]
enum RouteMatch {
    /// Action, and the first id in the path.
    Found(SppAction, String),
    /// Methods for which the path exists, as the value of the `Allow` header.
    WrongMethod(String),
    NotFound,
}

/// Finds the action of a request.
fn resolve(method: &Method, path: &str) -> RouteMatch {
    let path = percent_decoded(path);
    let Some(path) = path.trim_start_matches('/').strip_prefix("v1/") else {
        return RouteMatch::NotFound;
    };
    let Some((id, methods)) = ROUTES
        .iter()
        .find_map(|(pattern, methods)| Some((matched(pattern, path)?, methods)))
    else {
        return RouteMatch::NotFound;
    };
    // COMPAT: spp-ctl's framework answers HEAD like GET.
    let wanted = if method == Method::HEAD {
        "GET"
    } else {
        method.as_str()
    };
    match methods.iter().find(|(name, _)| *name == wanted) {
        Some((_, action)) => RouteMatch::Found(*action, id.to_owned()),
        None => {
            let names: Vec<&str> = methods.iter().map(|(name, _)| *name).collect();
            RouteMatch::WrongMethod(names.join(","))
        }
    }
}

/// Returns the first id in a path, empty if there is none; `None` if the path does not match.
fn matched<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let mut id = "";
    let (mut wanted, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), parts.next()) {
            (None, None) => return Some(id),
            (Some("#"), Some(part)) if is_id(part) => {
                if id.is_empty() {
                    id = part;
                }
            }
            (Some("*"), Some(part)) if !part.is_empty() => {}
            (Some(wanted), Some(part)) if wanted == part => {}
            _ => return None,
        }
    }
}

/// Returns whether a path segment is an integer.
fn is_id(part: &str) -> bool {
    let digits = part.strip_prefix('-').unwrap_or(part);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns a result as JSON, or the response for its error.
fn json<T: Serialize>(outcome: Result<T, SppError>) -> Response {
    match outcome.map(|value| serde_json::to_vec(&value)) {
        Ok(Ok(text)) => response::typed(StatusCode::OK, "application/json", text),
        Ok(Err(error)) => response::spp_text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        Err(error) => response::spp_error(&error),
    }
}

/// Returns status 405 with the allowed methods.
fn wrong_method(allow: &str) -> Response {
    let mut response = response::spp_text(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed.");
    if let Ok(allow) = HeaderValue::from_str(allow) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

/// Reads the body, whatever its content type. A body that is too long is treated as empty, because
/// a nonexistent process must be reported before invalid JSON.
async fn read_body(app: &App, body: Incoming) -> Result<Bytes, Response> {
    let whole = Limited::new(body, MAX_BODY_BYTES).collect();
    match tokio::time::timeout(app.limits.body_timeout, whole).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Ok(Bytes::new()),
        Ok(Err(error)) => {
            let mut refusal = response::spp_text(StatusCode::BAD_REQUEST, error.to_string());
            response::close(refusal.headers_mut());
            Err(refusal)
        }
        Err(_) => {
            let mut refusal = response::spp_text(StatusCode::REQUEST_TIMEOUT, body::TOO_SLOW);
            response::close(refusal.headers_mut());
            Err(refusal)
        }
    }
}

/// Maximum length of a JSON body that spp-ctl accepts, in bytes.
const MAX_BODY_BYTES: usize = 100 << 10;

/// Returns whether a path exists for a method.
#[cfg(test)]
pub(crate) fn has(method: &str, path: &str) -> bool {
    let Ok(method) = method.parse() else {
        return false;
    };
    matches!(resolve(&method, path), RouteMatch::Found(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(method: &str, path: &str) -> String {
        match resolve(&method.parse().unwrap(), path) {
            RouteMatch::Found(action, id) => format!("{action:?} {id}"),
            RouteMatch::WrongMethod(allow) => format!("405 {allow}"),
            RouteMatch::NotFound => "404".to_owned(),
        }
    }

    #[test]
    fn routes_are_found_by_method_and_path() {
        for (method, path, wanted) in [
            ("GET", "/v1/processes", "Processes "),
            ("HEAD", "//v1/processes", "Processes "),
            ("GET", "/v1/pcaps/001", "Show 001"),
            ("DELETE", "/v1/pcaps/-1", "Delete -1"),
            ("PUT", "/v1/p%63aps/7/capture", "Capture 7"),
            ("GET", "/v1/vfs/3", "Other 3"),
            ("PUT", "/v1/vfs/3/components/fw1/ports", "Other 3"),
            ("DELETE", "/v1/primary/flow_rules/4/port_id/5", "Primary 4"),
            (
                "POST",
                "/v1/primary/flow_rules/port_id/0/validate",
                "Primary 0",
            ),
            ("GET", "/v1/pcaps/9/capture", "405 PUT"),
            ("HEAD", "/v1/pcaps/9/capture", "405 PUT"),
            ("POST", "/v1/pcaps/9", "405 DELETE,GET"),
            ("OPTIONS", "/v1/processes", "405 GET"),
            ("POST", "/v1/primary/status", "405 DELETE,GET"),
            ("PUT", "/v1/mirrors/1", "405 DELETE,GET"),
        ] {
            assert_eq!(shown(method, path), wanted, "{method} {path}");
        }
    }

    #[test]
    fn everything_else_is_not_found() {
        for path in [
            "/",
            "/v1",
            "/v1/",
            "/v1/foo",
            "/V1/processes",
            "/v1/processes/",
            "/v1/pcaps",
            "/v1/pcaps/",
            "/v1/pcaps/abc",
            "/v1/pcaps/1.5",
            "/v1/pcaps/-",
            "/v1/pcaps/+1",
            "/v1/pcaps/1/",
            "/v1/pcaps/1/capture/",
            "/v1//processes",
            "/x/v1/processes",
            "/v1/vfs/1/components//ports",
            "/v1/pcaps/\u{661}",
        ] {
            assert_eq!(shown("GET", path), "404", "{path}");
        }
    }

    #[test]
    fn methods_are_in_the_order_of_the_allow_header() {
        for (path, methods) in ROUTES {
            assert!(methods.is_sorted_by_key(|(name, _)| *name), "{path}");
        }
    }
}
