//! `/api/capture`: captures as resources.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use skylib::api::{CaptureSpec, duration};
use skylib::store::StoreError;

use crate::app::App;
use crate::config;
use crate::respond::{self, Response};
use crate::router::Call;

/// `GET /api/capture`
pub(crate) async fn list(call: Call) -> Response {
    respond::json(StatusCode::OK, &call.app.engine.captures().list())
}

/// `GET /api/capture/{id}`
pub(crate) async fn show(call: Call) -> Response {
    match call.app.engine.captures().get(&call.id) {
        Some(capture) => respond::json(StatusCode::OK, &capture),
        None => respond::no_resource(TITLE, &call.id),
    }
}

/// `POST /api/capture`
pub(crate) async fn create(call: Call) -> Response {
    let Call { app, request, .. } = call;
    let (head, body) = request.into_parts();
    let text = match app.read_body(body).await {
        Ok(text) => text,
        Err(refusal) => return refusal,
    };
    let text = match as_json(&head.headers, text) {
        Ok(text) => text,
        Err(reason) => return respond::error_text(StatusCode::BAD_REQUEST, &reason),
    };
    let capture = match CaptureSpec::from_json(&text, app.layer_key_mode) {
        Ok(capture) => capture,
        Err(error) => return respond::bad_request(&error),
    };
    let ttl = match time_to_live(&head.headers) {
        Ok(ttl) => ttl,
        Err(reason) => return respond::error_text(StatusCode::BAD_REQUEST, &reason),
    };
    let created = blocking(&app, move |app| app.engine.captures().create(capture, ttl)).await;
    match created {
        Some(Ok(capture)) => respond::json(StatusCode::CREATED, &capture),
        Some(Err(error)) => respond::create_error(&error),
        None => respond::bare(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// `PATCH /api/capture/{id}`: captures are not updatable.
pub(crate) async fn update(call: Call) -> Response {
    if call.id.is_empty() {
        return respond::bare(StatusCode::BAD_REQUEST);
    }
    if call.app.engine.captures().get(&call.id).is_none() {
        return respond::bare(StatusCode::NOT_FOUND);
    }
    let text = "updating resource with patched version: resource not updatable";
    respond::error_text(StatusCode::BAD_REQUEST, text)
}

/// `DELETE /api/capture/{id}`
pub(crate) async fn delete(call: Call) -> Response {
    if call.id.is_empty() {
        return respond::error_text(StatusCode::BAD_REQUEST, "Bad Request");
    }
    let id = call.id.clone();
    let deleted = blocking(&call.app, move |app| app.engine.captures().delete(&id)).await;
    match deleted {
        Some(Ok(true)) => respond::typed(StatusCode::OK, "text/plain", ""),
        Some(Ok(false)) => respond::no_resource(TITLE, &call.id),
        Some(Err(error)) => store_failed(&error),
        None => respond::bare(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// Waits for the disk on a thread that may wait.
async fn blocking<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App) -> T + Send + 'static,
) -> Option<T> {
    let app = Arc::clone(app);
    tokio::task::spawn_blocking(move || work(&app)).await.ok()
}

fn store_failed(error: &StoreError) -> Response {
    respond::failed("a capture could not be deleted", error)
}

/// The body as JSON; it may be YAML with the same keys when the request says so, in these words.
fn as_json(headers: &HeaderMap, text: String) -> Result<String, String> {
    match headers.get(CONTENT_TYPE) {
        Some(kind) if kind == "application/yaml" => Ok(config::yaml(&text)?.to_string()),
        _ => Ok(text),
    }
}

fn time_to_live(headers: &HeaderMap) -> Result<Option<Duration>, String> {
    let Some(value) = headers.get("x-resource-ttl") else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    if text.is_empty() {
        return Ok(None);
    }
    duration::parse(&text)
        .map(Some)
        .map_err(|error| format!("invalid ttl: {error}"))
}

const TITLE: &str = "Capture";
