//! `POST /api/workflow/{id}/call`: checks the call of a workflow, which cannot be run yet.

use hyper::StatusCode;
use skylib::api::workflow_arguments;
use skylib::engine::Collection;

use crate::body;
use crate::handler::Call;
use crate::response::{self, Response};

/// Reports errors in a call. A valid call is refused as well, because there is no script engine yet: an
/// error is better than the result of a script that did not run.
pub(crate) async fn call(call: Call) -> Response {
    let Call {
        app, request, id, ..
    } = call;
    let text = match body::read_text(&app, request.into_body()).await {
        Ok(text) => text,
        Err(refusal) => return refusal,
    };
    if let Err(error) = workflow_arguments(&text) {
        return response::bad_request(&error);
    }
    let text = match app.engine.workflows().get(&id) {
        None => format!("No workflow found with ID: {id}"),
        Some(workflow) => format!(
            "workflow {:?} cannot be run: this version has no script engine",
            workflow.name
        ),
    };
    response::error_text(StatusCode::BAD_REQUEST, &text)
}
