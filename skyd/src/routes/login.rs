//! `/login` exchanges a user name and a password for a token; `/logout` ends the session of a
//! token.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, HeaderMap, HeaderValue,
    LOCATION, ORIGIN, SET_COOKIE,
};
use hyper::{Method, StatusCode};
use serde::Serialize;

use crate::access;
use crate::auth::{Permission, credentials};
use crate::body;
use crate::handler::Call;
use crate::response::{self, Response};
use crate::urlencoded;

/// Answers `POST /login`; redirects any other method to the web page.
pub(crate) async fn login(call: Call) -> Response {
    let Call {
        app,
        mut request,
        peer,
        ..
    } = call;
    if request.method() != Method::POST {
        let mut response = response::bare(StatusCode::FOUND);
        let root = HeaderValue::from_static("/");
        response.headers_mut().insert(LOCATION, root);
        return response;
    }
    let mut pairs = match body::read_form(&app, request.body_mut()).await {
        Ok(text) => urlencoded::pairs(&text),
        Err(refusal) => return refusal,
    };
    pairs.extend(urlencoded::pairs(request.uri().query().unwrap_or_default()));
    let (name, password) = (
        urlencoded::value(&pairs, "username"),
        urlencoded::value(&pairs, "password"),
    );
    let (Some(name), Some(password)) = (name, password) else {
        let text = "No credentials provided";
        return response::typed(StatusCode::UNAUTHORIZED, "text/plain; charset=utf-8", text);
    };
    let (login, permissions) = match app.auth.login(&name, &password, peer.ip()).await {
        Ok(done) => done,
        Err(denied) => return access::refused(&denied, peer),
    };
    let attributes = token_attributes(request.headers(), app.tls.is_some());
    let mut response = answer(&login.token, &permissions, attributes);
    if let Some(origin) = request.headers().get(ORIGIN) {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let yes = HeaderValue::from_static("true");
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
    }
    response
}

/// Answers `POST /logout`: ends the session and deletes its cookies.
#[expect(clippy::unused_async, reason = "handlers are async functions")]
pub(crate) async fn logout(call: Call) -> Response {
    let Call { app, request, .. } = call;
    if let Some(token) = credentials::credentials(request.headers(), request.uri().query()) {
        app.auth.logout(&token);
    }
    let mut response = response::bare(StatusCode::NO_CONTENT);
    for name in COOKIES {
        append_cookie(&mut response, &format!("{name}=; Path=/; Max-Age=0"));
    }
    response
}

/// Returns the attributes of the token's cookie for the client that sent a request.
///
/// COMPAT: scripts of Skydive's web UI read and clear the cookie, so it is `HttpOnly` only for the
/// page of the daemon, which sends the header `X-Requested-With: skyd`. `SameSite=Lax` excludes the
/// cookie from requests from other sites.
fn token_attributes(request: &HeaderMap, has_tls: bool) -> &'static str {
    let is_page = request
        .get("x-requested-with")
        .is_some_and(|value| value == "skyd");
    match (is_page, has_tls) {
        (false, _) => "Path=/; SameSite=Lax",
        (true, false) => "Path=/; HttpOnly; SameSite=Strict",
        (true, true) => "Path=/; HttpOnly; SameSite=Strict; Secure",
    }
}

/// Returns the response with the token and the permissions, in the body and as cookies.
fn answer(token: &str, permissions: &[Permission], attributes: &str) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer<'a> {
        token: &'a str,
        permissions: Option<&'a [Permission]>,
    }

    let permissions = (!permissions.is_empty()).then_some(permissions);
    let mut response = response::json(StatusCode::OK, &Answer { token, permissions });
    if !token.is_empty() {
        append_cookie(&mut response, &format!("{TOKEN}={token}; {attributes}"));
    }
    let list = serde_json::to_vec(&permissions).unwrap_or_default();
    let list = STANDARD.encode(list);
    append_cookie(
        &mut response,
        &format!("{PERMISSIONS}={list}; Path=/; SameSite=Lax"),
    );
    response
}

/// Adds a cookie.
fn append_cookie(response: &mut Response, cookie: &str) {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

/// Name of the cookie with the token of a session.
const TOKEN: &str = "authtoken";
/// Name of the cookie with the permissions of a user.
const PERMISSIONS: &str = "permissions";
const COOKIES: [&str; 2] = [TOKEN, PERMISSIONS];
