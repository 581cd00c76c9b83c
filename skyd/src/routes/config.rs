//! `/api/config`: what the daemon was told, without its secrets.

use hyper::StatusCode;
use serde_json::Value;

use crate::handler::Call;
use crate::response::{self, Response};

/// `GET /api/config/{key}`
///
/// COMPAT: Skydive's user interface. A key that is not set is an empty text, not an error.
pub(crate) async fn show(call: Call) -> Response {
    let shown = call.app.config.redacted(&call.id);
    response::json(StatusCode::OK, &shown.unwrap_or_else(|| Value::from("")))
}
