//! `/api/pcap`: capture files that clients hand in.

use std::sync::Arc;

use hyper::StatusCode;
use skylib::capture::CaptureError;
use skylib::engine::ImportOptions;
use skylib::pcap_file::PcapFileError;
use tokio::task::spawn_blocking;

use crate::handler::Call;
use crate::queries::Interrupt;
use crate::response::{self, JSON, Response};
use crate::upload;

/// `POST /api/pcap`: the body is a capture file; its flows are kept.
///
/// The answer comes when all of it has been counted. A file cut short within a packet, such as one
/// that is still being written, counts up to there. COMPAT: the body of the answer is empty and yet
/// called JSON.
pub(crate) async fn upload(call: Call) -> Response {
    let Call { app, request, .. } = call;
    let Some(turn) = app.uploads.admit() else {
        return refused(app.uploads.too_many());
    };
    let (sender, receiver) = upload::pipe();
    let (interrupt, _guard) = Interrupt::new();
    let counting = Arc::clone(&app);
    let counting = spawn_blocking(move || {
        let _turn = turn;
        let stop = || interrupt.is_set();
        let options = ImportOptions::default().with_interrupt(&stop);
        counting.engine.import_with("the body", receiver, options)
    });
    let mut body = request.into_body();
    if let Err(refusal) = app.uploads.pump(&mut body, sender).await {
        return refused(refusal);
    }
    match counting.await {
        Ok(Ok(imported)) => {
            let (packets, flows) = (imported.packets, imported.flows);
            tracing::info!(
                packets,
                flows,
                cut = imported.truncated,
                "a capture file was counted"
            );
            response::typed(StatusCode::ACCEPTED, JSON, "")
        }
        Ok(Err(error)) => {
            upload::drain(&mut body).await;
            refused(response::bad_request(innermost(&error)))
        }
        Err(_) => response::bare(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// What is wrong with the file, which needs no name here.
fn innermost(error: &CaptureError) -> &dyn std::error::Error {
    match error {
        CaptureError::File { source, .. } => source as &PcapFileError,
        other => other,
    }
}

/// The rest of the body is not read, so the next request could not be found.
fn refused(mut refusal: Response) -> Response {
    response::close(refusal.headers_mut());
    refusal
}
