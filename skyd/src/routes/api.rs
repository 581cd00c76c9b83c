//! `/api`: who answers here.

use hyper::StatusCode;
use serde::Serialize;

use crate::respond::{self, Response};
use crate::router::Call;

/// `GET /api`
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
        service: SERVICE,
    };
    respond::json(StatusCode::OK, &info)
}

/// What this daemon is to its clients: an analyzer, in both roles.
pub(crate) const SERVICE: &str = "analyzer";
