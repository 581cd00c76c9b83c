//! `/api/config`: the configuration without its secrets.

use hyper::StatusCode;
use serde_json::Value;

use crate::handler::Call;
use crate::response::{self, Response};

/// Answers `GET /api/config/{key}`.
///
/// COMPAT: the response for a key that is not set is an empty string, not an error, for Skydive's
/// web UI.
pub(crate) async fn show(call: Call) -> Response {
    let value = call.app.config.redacted(&call.id);
    response::json(StatusCode::OK, &value.unwrap_or_else(|| Value::from("")))
}
