//! `/swagger.json`: the OpenAPI document.

use hyper::StatusCode;

use crate::handler::Call;
use crate::openapi;
use crate::response::{self, JSON, Response};

/// Answers `GET /swagger.json`.
#[expect(clippy::unused_async, reason = "handlers are async functions")]
pub(crate) async fn show(_: Call) -> Response {
    response::typed(StatusCode::OK, JSON, openapi::text())
}
