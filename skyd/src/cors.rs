//! Cross-origin requests (CORS).
//!
//! [`crate::web_origin`] decides which origins may send requests; if passwords are required, all
//! origins may.

use hyper::StatusCode;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN,
    VARY,
};

use crate::response::{self, Response};

/// Answers `OPTIONS` requests, which never reach a route. `origin` is the origin that may read the
/// response; `None` for the pages of the daemon itself, which need no CORS headers.
pub(crate) fn preflight(headers: &HeaderMap, origin: Option<&HeaderValue>) -> Response {
    if !headers.contains_key(ORIGIN) {
        return response::bare(StatusCode::OK);
    }
    let Some(method) = headers.get(ACCESS_CONTROL_REQUEST_METHOD) else {
        return response::bare(StatusCode::BAD_REQUEST);
    };
    let Some(method) = METHODS.iter().find(|known| method == **known) else {
        return response::bare(StatusCode::METHOD_NOT_ALLOWED);
    };
    let requested = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let names = requested
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','));
    let mut allowed = Vec::new();
    for name in names.map(str::trim).filter(|name| !name.is_empty()) {
        let is = |known: &&&str| known.eq_ignore_ascii_case(name);
        match (ALLOWED.iter().find(is), SAFE.iter().find(is)) {
            (Some(known), _) => allowed.push(*known),
            (None, Some(_)) => {}
            (None, None) => return response::bare(StatusCode::FORBIDDEN),
        }
    }
    let mut response = response::bare(StatusCode::OK);
    if let Some(origin) = origin {
        allow(&mut response, origin);
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&allowed.join(","))
        && !allowed.is_empty()
    {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, value);
    }
    if !matches!(*method, "GET" | "HEAD" | "POST") {
        headers.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static(method),
        );
    }
    response
}

/// Allows pages of an origin, `*` for all, to read a response.
pub(crate) fn allow(response: &mut Response, origin: &HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    if origin != "*" {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
}

/// HTTP methods that pages of other origins may use.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// Request headers that are allowed only if the response names them.
const ALLOWED: &[&str] = &[
    "X-Requested-With",
    "Content-Type",
    "Authorization",
    "X-Auth-Token",
];
/// Request headers that browsers allow even if the response does not name them.
const SAFE: &[&str] = &["Accept", "Accept-Language", "Content-Language", "Origin"];

#[cfg(test)]
mod tests {
    use super::*;

    fn respond_to(pairs: &[(&'static str, &'static str)]) -> Response {
        let headers = pairs
            .iter()
            .map(|(name, value)| {
                let name = hyper::header::HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            })
            .collect();
        preflight(&headers, Some(&HeaderValue::from_static("*")))
    }

    const FROM: (&str, &str) = ("origin", "http://ui.example");

    #[test]
    fn each_case_has_its_status() {
        let method = |name| ("access-control-request-method", name);
        let names = |list| ("access-control-request-headers", list);
        assert_eq!(respond_to(&[]).status(), 200);
        assert_eq!(respond_to(&[FROM]).status(), 400);
        assert_eq!(respond_to(&[FROM, method("TRACE")]).status(), 405);
        assert_eq!(
            respond_to(&[FROM, method("get")]).status(),
            405,
            "methods have a case"
        );
        assert_eq!(
            respond_to(&[FROM, method("GET"), names("x-other")]).status(),
            403
        );
        assert_eq!(respond_to(&[FROM, method("PATCH")]).status(), 200);
    }

    #[test]
    fn allowed_headers_and_methods_are_named() {
        let response = respond_to(&[
            FROM,
            ("access-control-request-method", "DELETE"),
            (
                "access-control-request-headers",
                "x-auth-token, accept,CONTENT-TYPE",
            ),
        ]);
        let headers = response.headers();
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(
            headers[ACCESS_CONTROL_ALLOW_HEADERS],
            "X-Auth-Token,Content-Type"
        );
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_METHODS], "DELETE");
        let response = respond_to(&[FROM, ("access-control-request-method", "POST")]);
        assert!(
            !response
                .headers()
                .contains_key(ACCESS_CONTROL_ALLOW_METHODS)
        );
        assert!(
            !response
                .headers()
                .contains_key(ACCESS_CONTROL_ALLOW_HEADERS)
        );
    }
}
