//! `/api/pcap`: uploads of capture files.

use std::sync::Arc;

use hyper::StatusCode;
use skylib::capture::CaptureError;
use skylib::engine::ImportOptions;
use skylib::memory::MemoryUse;
use skylib::pcap_file::PcapFileError;
use tokio::task::spawn_blocking;

use crate::handler::Call;
use crate::queries::Interrupt;
use crate::response::{self, JSON, Response};
use crate::upload;

/// Answers `POST /api/pcap`: stores the flows of the capture file in the body.
///
/// The response is sent when the whole file has been processed. A file that ends within a packet,
/// such as one that is still being written, is processed up to that packet.
///
/// COMPAT: the body of the response is empty, but its content type is JSON.
pub(crate) async fn upload(call: Call) -> Response {
    let Call { app, request, .. } = call;
    let Some(slot) = app.uploads.admit() else {
        return refused(app.uploads.too_many());
    };
    let (sender, receiver) = upload::pipe();
    let (interrupt, _guard) = Interrupt::new();
    let importing = Arc::clone(&app);
    let importing = spawn_blocking(move || {
        let _slot = slot;
        let stop = || interrupt.is_set();
        let memory = importing.memory.charge(MemoryUse::Uploads);
        let options = ImportOptions::default()
            .with_interrupt(&stop)
            .with_memory(&memory);
        importing.engine.import_with("the body", receiver, options)
    });
    let mut body = request.into_body();
    if let Err(refusal) = app.uploads.pump(&mut body, sender).await {
        return refused(refusal);
    }
    match importing.await {
        Ok(Ok(imported)) => {
            let (packets, flows) = (imported.packets, imported.flows);
            tracing::info!(
                packets,
                flows,
                truncated = imported.truncated,
                "imported an uploaded capture file"
            );
            response::typed(StatusCode::ACCEPTED, JSON, "")
        }
        Ok(Err(CaptureError::Memory(exhausted))) => {
            upload::drain(&mut body).await;
            refused(response::memory_exhausted(exhausted))
        }
        Ok(Err(error)) => {
            upload::drain(&mut body).await;
            refused(response::bad_request(innermost(&error)))
        }
        Err(_) => response::bare(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// Returns the cause of an error without the name of the file, which clients do not know.
fn innermost(error: &CaptureError) -> &dyn std::error::Error {
    match error {
        CaptureError::File { source, .. } => source as &PcapFileError,
        other => other,
    }
}

/// Closes the connection after a response that is sent before the whole body is read: the start of
/// the next request could not be found.
fn refused(mut refusal: Response) -> Response {
    response::close(refusal.headers_mut());
    refusal
}
