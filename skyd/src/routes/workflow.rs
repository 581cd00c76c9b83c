//! `POST /api/workflow/{id}/call`: runs a workflow, once there is something that runs them.

use hyper::StatusCode;
use skylib::api::workflow_parameters;
use skylib::engine::Collection;

use crate::body;
use crate::handler::Call;
use crate::response::{self, Response};

/// Answers what is wrong with a call. A workflow that is there is refused, too: nothing here runs
/// scripts yet, and saying that beats the answer of a script that did not run.
pub(crate) async fn call(call: Call) -> Response {
    let Call {
        app, request, id, ..
    } = call;
    let text = match body::read_text(&app, request.into_body()).await {
        Ok(text) => text,
        Err(refusal) => return refusal,
    };
    if let Err(error) = workflow_parameters(&text) {
        return response::bad_request(&error);
    }
    let text = match app.engine.workflows().get(&id) {
        None => format!("No workflow found with ID: {id}"),
        Some(workflow) => format!(
            "workflow {:?} is kept but cannot be run: this version has no script engine",
            workflow.name
        ),
    };
    response::error_text(StatusCode::BAD_REQUEST, &text)
}
