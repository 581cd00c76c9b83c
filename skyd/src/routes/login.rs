//! `/login`: exchanges name and password for a token.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue, LOCATION, ORIGIN,
    SET_COOKIE,
};
use hyper::{Method, StatusCode};
use serde::Serialize;

use crate::access;
use crate::auth::Permission;
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
    let mut response = answer(&login.token, &permissions);
    if let Some(origin) = request.headers().get(ORIGIN) {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let yes = HeaderValue::from_static("true");
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
    }
    response
}

/// Returns the response with token and permissions, in the body and as cookies.
fn answer(token: &str, permissions: &[Permission]) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer<'a> {
        token: &'a str,
        permissions: Option<&'a [Permission]>,
    }

    let permissions = (!permissions.is_empty()).then_some(permissions);
    let mut response = response::json(StatusCode::OK, &Answer { token, permissions });
    if !token.is_empty() {
        set_cookie(&mut response, "authtoken", token);
    }
    let list = serde_json::to_vec(&permissions).unwrap_or_default();
    set_cookie(&mut response, "permissions", &STANDARD.encode(list));
    response
}

/// Adds a session cookie.
///
/// COMPAT: scripts of the web UI read and clear these cookies, so they are not `HttpOnly`. `Lax` excludes
/// them from requests of other sites.
fn set_cookie(response: &mut Response, name: &str, value: &str) {
    if let Ok(cookie) = HeaderValue::from_str(&format!("{name}={value}; Path=/; SameSite=Lax")) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}
