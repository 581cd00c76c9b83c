//! `POST /api/workflow/{id}/call`: runs a workflow.

use hyper::StatusCode;
use skylib::api::workflow_arguments;
use skylib::engine::ScriptError;
use tokio::sync::oneshot;

use crate::body;
use crate::handler::Call;
use crate::response::{self, Body, Response};

/// Runs a workflow and answers with its result. A client that disconnects cancels the call.
pub(crate) async fn call(call: Call) -> Response {
    let Call {
        app, request, id, ..
    } = call;
    let text = match body::read_json(&app, request.into_body()).await {
        Ok(text) => text,
        Err(refusal) => return refusal,
    };
    let arguments = match workflow_arguments(&text) {
        Ok(arguments) => arguments,
        Err(error) => return response::bad_request(&error),
    };
    let (send, result) = oneshot::channel();
    // If the client has disconnected, the result is dropped.
    let done = move |result| drop(send.send(result));
    let running = match app.engine.call_workflow(&id, &arguments, done) {
        Ok(running) => running,
        Err(error) => return failure(&error),
    };
    let response = match result.await {
        Ok(Ok(json)) => {
            let body = Body::whole(json + "\n");
            response::with_body(StatusCode::OK, response::JSON, body)
        }
        Ok(Err(error)) => failure(&error),
        Err(_) => response::bare(StatusCode::SERVICE_UNAVAILABLE),
    };
    drop(running);
    response
}

fn failure(error: &ScriptError) -> Response {
    match error {
        ScriptError::Busy(_) => response::try_later(&error.to_string()),
        error => response::bad_request(error),
    }
}
