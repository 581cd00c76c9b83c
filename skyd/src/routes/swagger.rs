//! `/swagger.json`: what can be asked here, for programs.

use hyper::StatusCode;

use crate::openapi;
use crate::respond::{self, JSON, Response};
use crate::router::Call;

/// `GET /swagger.json`
#[expect(clippy::unused_async, reason = "all handlers are")]
pub(crate) async fn show(_: Call) -> Response {
    respond::typed(StatusCode::OK, JSON, openapi::text())
}
