//! `/api`: host, version, and role of the daemon.

use hyper::StatusCode;
use serde::Serialize;

use crate::handler::Call;
use crate::response::{self, Response};

/// Answers `GET /api`.
pub(crate) async fn root(call: Call) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Info<'a> {
        host: &'a str,
        version: &'static str,
        service: &'static str,
    }

    let info = Info {
        host: call.app.engine.host(),
        version: env!("CARGO_PKG_VERSION"),
        service: call.service_type(),
    };
    response::json(StatusCode::OK, &info)
}
