//! `/swagger.json`: what can be asked here, for programs.

use hyper::StatusCode;

use crate::handler::Call;
use crate::openapi;
use crate::response::{self, JSON, Response};

/// `GET /swagger.json`
#[expect(clippy::unused_async, reason = "all handlers are")]
pub(crate) async fn show(_: Call) -> Response {
    response::typed(StatusCode::OK, JSON, openapi::text())
}
