//! `/api/me`: the user of the request, with roles and permissions.

use hyper::StatusCode;
use serde::Serialize;

use crate::auth::Permission;
use crate::handler::Call;
use crate::response::{self, Response};

/// Answers `GET /api/me`.
#[expect(clippy::unused_async, reason = "handlers are async functions")]
pub(crate) async fn show(call: Call) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Me<'a> {
        user: &'a str,
        roles: Vec<&'a str>,
        permissions: Vec<Permission>,
        /// Whether users must log in; otherwise every client is `admin`.
        needs_login: bool,
        version: &'static str,
    }

    let auth = &call.app.auth;
    let Some(user) = &call.user else {
        return response::bare(StatusCode::UNAUTHORIZED);
    };
    let me = Me {
        user: &user.name,
        roles: auth.policy.roles(user),
        permissions: auth.policy.permissions(user),
        needs_login: !auth.is_open(),
        version: env!("CARGO_PKG_VERSION"),
    };
    response::json(StatusCode::OK, &me)
}
