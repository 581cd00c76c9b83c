//! `/api/pcap`: uploads of capture files.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use serde::Serialize;
use skylib::capture::CaptureError;
use skylib::engine::{ImportOptions, ImportSummary};
use skylib::memory::MemoryUse;
use skylib::pcap_file::PcapFileError;
use tokio::task::spawn_blocking;

use crate::handler::Call;
use crate::multipart::{self, PartReader};
use crate::queries::Interrupt;
use crate::response::{self, Response};
use crate::upload;

/// Answers `POST /api/pcap`: stores the flows of the capture file in the body.
///
/// The body is the file, or a form (`multipart/form-data`) that contains it. The response is sent
/// when the whole file has been processed; it describes the flows and the query that returns them. A
/// file that ends within a packet, such as one that is still being written, is processed up to that
/// packet.
pub(crate) async fn upload(call: Call) -> Response {
    let Call { app, request, .. } = call;
    let Some(slot) = app.uploads.admit() else {
        return refused(app.uploads.too_many());
    };
    let content_type = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|t| t.to_str().ok());
    let boundary = content_type
        .and_then(multipart::boundary)
        .map(str::to_owned);
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
        let engine = &importing.engine;
        match boundary {
            Some(boundary) => {
                let file = PartReader::new(receiver, &boundary);
                engine.import_with("the form", file, options)
            }
            None => engine.import_with("the body", receiver, options),
        }
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
            response::json(StatusCode::ACCEPTED, &Imported::from(imported))
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

/// Body of the response: numbers of imported packets and flows, and a query that finds the flows.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Imported {
    packets: u64,
    flows: u64,
    /// Time of the first packet, in Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<i64>,
    /// Time of the last packet, in Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<i64>,
    gremlin_query: String,
    /// Description of the incomplete record at the end of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<String>,
}

impl From<ImportSummary> for Imported {
    fn from(imported: ImportSummary) -> Self {
        Self {
            packets: imported.packets,
            flows: imported.flows,
            start: imported.span.map(|(start, _)| start),
            last: imported.span.map(|(_, last)| last),
            gremlin_query: imported.query,
            truncated: imported.truncated,
        }
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
