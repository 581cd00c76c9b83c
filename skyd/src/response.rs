//! HTTP responses in the form that clients of Skydive expect, and the mapping of errors to statuses.
//!
//! Errors are plain text, never JSON: a message with a line feed, or a status without a body.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{HeaderMap, StatusCode};
use serde::Serialize;
use skylib::api::ResourceError;
use skylib::graph::RevisionPin;
use skylib::memory::{MemoryBudget, MemoryCharge, MemoryExhausted, MemoryUse};
use skylib::spp::SppError;

use crate::compress::Encoder;
use crate::idle_connections::BusyGuard;

/// Header with the ID of the resource that a new one would duplicate.
const EXISTING_ID: &str = "x-existing-id";

/// Response of a handler.
pub(crate) type Response = hyper::Response<Body>;

/// Response body: whole, or produced piece by piece while it is sent; optionally compressed.
pub(crate) struct Body {
    pieces: Pieces,
    encoder: Option<Encoder>,
    /// Guard that marks the connection as busy until the body is sent or dropped.
    busy: Option<BusyGuard>,
    /// Charges for the memory of the body, held until it is sent or dropped.
    memory: Vec<MemoryCharge>,
    /// Registration of the revisions that the pieces hold. When the registration is revoked, the
    /// connection ends.
    pin: Option<RevisionPin>,
}

enum Pieces {
    Whole(Bytes),
    Lazy(Box<dyn Iterator<Item = Bytes> + Send>),
    Ended,
}

impl Body {
    /// Creates a body whose bytes are all available.
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self {
            pieces: Pieces::Whole(bytes.into()),
            encoder: None,
            busy: None,
            memory: Vec::new(),
            pin: None,
        }
    }

    /// Creates a body whose pieces are produced on demand: the first two now, each other one when
    /// the connection is ready to send it. The iterator runs on an async thread and must not block.
    pub(crate) fn lazy(mut pieces: impl Iterator<Item = Bytes> + Send + 'static) -> Self {
        let first = pieces.next().unwrap_or_default();
        match pieces.next() {
            None => Self::whole(first),
            Some(second) => {
                let all = [first, second].into_iter().chain(pieces);
                Self {
                    pieces: Pieces::Lazy(Box::new(all)),
                    encoder: None,
                    busy: None,
                    memory: Vec::new(),
                    pin: None,
                }
            }
        }
    }

    /// Returns the bytes if they are all available and are not compressed while they are sent.
    pub(crate) fn as_whole(&self) -> Option<&Bytes> {
        match (&self.pieces, &self.encoder) {
            (Pieces::Whole(bytes), None) => Some(bytes),
            _ => None,
        }
    }

    /// Holds a guard until the body is sent or dropped.
    pub(crate) fn hold(&mut self, guard: BusyGuard) {
        if let Some(pin) = &self.pin {
            pin.on_end(guard.closer());
        }
        self.busy = Some(guard);
    }

    /// Holds a charge for the memory of the body until the body is sent or dropped.
    pub(crate) fn hold_memory(&mut self, charge: MemoryCharge) {
        if charge.bytes() > 0 {
            self.memory.push(charge.into_use(MemoryUse::Responses));
        }
    }

    /// Holds the registration of the revisions that the pieces hold, until the body is sent or
    /// dropped.
    pub(crate) fn hold_pin(&mut self, pin: RevisionPin) {
        if matches!(self.pieces, Pieces::Lazy(_)) {
            self.pin = Some(pin);
        }
    }

    /// Charges the memory that the body uses while it waits for the client. Short bodies are not
    /// charged: the connection limit bounds their number.
    ///
    /// # Errors
    /// Returns [`MemoryExhausted`] if the body does not fit into the budget.
    pub(crate) fn charge(&mut self, budget: &MemoryBudget) -> Result<(), MemoryExhausted> {
        let bytes = match &self.pieces {
            Pieces::Whole(bytes) if bytes.len() > SLICE => bytes.len() + STREAM_BYTES,
            Pieces::Lazy(_) => STREAM_BYTES,
            Pieces::Whole(_) | Pieces::Ended => return Ok(()),
        };
        let charge = budget.charge(MemoryUse::Responses);
        charge.grow_to(bytes)?;
        self.memory.push(charge);
        Ok(())
    }

    /// Compresses the pieces while they are sent.
    pub(crate) fn encode_with(&mut self, encoder: Encoder) {
        self.encoder = Some(encoder);
    }

    fn next_piece(&mut self) -> Option<Bytes> {
        match &mut self.pieces {
            Pieces::Whole(bytes) => {
                // Large bodies are compressed in slices: compressing one blocks the async thread.
                let len = if self.encoder.is_some() {
                    SLICE.min(bytes.len())
                } else {
                    bytes.len()
                };
                let piece = bytes.split_to(len);
                if bytes.is_empty() {
                    self.pieces = Pieces::Ended;
                }
                Some(piece)
            }
            Pieces::Lazy(pieces) => {
                let piece = pieces.next();
                if piece.is_none() {
                    self.pieces = Pieces::Ended;
                }
                piece
            }
            Pieces::Ended => None,
        }
    }
}

/// Number of bytes that are compressed in one step.
const SLICE: usize = 64 << 10;
/// Memory charged for sending a body in pieces, in bytes: the piece being produced, the pieces that
/// wait for the socket, and the state of the compressor.
const STREAM_BYTES: usize = 512 << 10;

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.pin.as_ref().is_some_and(RevisionPin::is_ended) {
            let reason = "the graph changes faster than the client reads (http.limits.memory)";
            return Poll::Ready(Some(Err(io::Error::new(ErrorKind::OutOfMemory, reason))));
        }
        loop {
            let out = match (self.next_piece(), self.encoder.as_mut()) {
                (Some(piece), Some(encoder)) => encoder.encode(&piece),
                (Some(piece), None) => piece,
                (None, Some(_)) => match self.encoder.take() {
                    Some(encoder) => encoder.finish(),
                    None => return Poll::Ready(None),
                },
                (None, None) => return Poll::Ready(None),
            };
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.pieces {
            Pieces::Whole(bytes) => bytes.is_empty() && self.encoder.is_none(),
            Pieces::Lazy(_) => false,
            Pieces::Ended => self.encoder.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.as_whole() {
            Some(bytes) => SizeHint::with_exact(bytes.len() as u64),
            None => SizeHint::default(),
        }
    }
}

/// Returns a response with a JSON body and a line feed.
pub(crate) fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(mut text) => {
            text.push(b'\n');
            typed(status, JSON, text)
        }
        Err(error) => error_text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// Returns a response with a body of a content type.
pub(crate) fn typed(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response {
    with_body(status, content_type, Body::whole(body))
}

/// Returns a response with a status, a content type, and a body.
pub(crate) fn with_body(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Returns an error response with a plain-text message.
pub(crate) fn error_text(status: StatusCode, message: &str) -> Response {
    let mut response = typed(status, "text/plain; charset=utf-8", format!("{message}\n"));
    let no_sniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert("x-content-type-options", no_sniff);
    response
}

/// Returns status 503 for a request that currently exceeds the memory budget.
pub(crate) fn memory_exhausted(error: MemoryExhausted) -> Response {
    try_later(&error.to_string())
}

/// Returns status 503 with the time after which the same request may succeed.
pub(crate) fn try_later(message: &str) -> Response {
    let mut response = error_text(StatusCode::SERVICE_UNAVAILABLE, message);
    let seconds = HeaderValue::from_static("1");
    response.headers_mut().insert(RETRY_AFTER, seconds);
    response
}

/// Returns a response without a body.
pub(crate) fn bare(status: StatusCode) -> Response {
    let mut response = Response::new(Body::whole(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// Returns a response without a body that closes the connection.
pub(crate) fn bare_and_close(status: StatusCode) -> Response {
    let mut response = bare(status);
    close(response.headers_mut());
    response
}

/// Adds the header that closes the connection after this response.
pub(crate) fn close(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
}

/// Returns whether a response closes its connection.
pub(crate) fn is_last(headers: &HeaderMap) -> bool {
    headers
        .get(CONNECTION)
        .is_some_and(|value| value == "close")
}

/// Returns a 301 redirect to `location`.
pub(crate) fn moved(location: &str) -> Response {
    let mut response = bare(StatusCode::MOVED_PERMANENTLY);
    match HeaderValue::from_str(location) {
        Ok(location) => {
            response.headers_mut().insert(LOCATION, location);
            response
        }
        Err(_) => not_found(),
    }
}

/// Returns the response for an unknown path.
///
/// COMPAT: the message of Go's servers.
pub(crate) fn not_found() -> Response {
    error_text(StatusCode::NOT_FOUND, "404 page not found")
}

/// Returns the response for an unknown resource: `Capture 'x' not found`.
pub(crate) fn no_resource(title: &str, id: &str) -> Response {
    error_text(StatusCode::NOT_FOUND, &format!("{title} '{id}' not found"))
}

/// Returns status 400 with an error and its causes.
pub(crate) fn bad_request(error: &dyn std::error::Error) -> Response {
    error_text(StatusCode::BAD_REQUEST, &with_causes(error))
}

/// Logs an internal error and returns status 500; `what` describes the failed operation in the log.
pub(crate) fn failed(what: &str, error: &dyn std::error::Error) -> Response {
    let text = with_causes(error);
    tracing::error!(error = text, "{what}");
    error_text(StatusCode::INTERNAL_SERVER_ERROR, &text)
}

/// Returns the response for a resource that could not be created, changed, or deleted.
pub(crate) fn resource_error(error: &ResourceError) -> Response {
    match error {
        ResourceError::Duplicate { existing } => {
            let mut response = error_text(StatusCode::CONFLICT, &error.to_string());
            // COMPAT: clients of Skydive match the body, so the ID is in a header.
            if let Ok(existing) = HeaderValue::from_str(existing) {
                response.headers_mut().insert(EXISTING_ID, existing);
            }
            response
        }
        ResourceError::Graph(limit) if limit.is_limit() => {
            error_text(StatusCode::FORBIDDEN, &limit.to_string())
        }
        ResourceError::Full { .. }
        | ResourceError::TooLarge { .. }
        | ResourceError::OfProbes { .. } => error_text(StatusCode::FORBIDDEN, &error.to_string()),
        ResourceError::Store(_) | ResourceError::NotStored(_) => {
            failed("cannot write a resource to the store", error)
        }
        _ => bad_request(error),
    }
}

/// Returns a plain-text response as spp-ctl sends it.
///
/// COMPAT: no line feed and no charset, for SPP's command line and scripts.
pub(crate) fn spp_text(status: StatusCode, text: impl Into<Bytes>) -> Response {
    typed(status, "text/plain", text)
}

/// Returns the response for a failed request of the SPP API.
///
/// COMPAT: SPP's command line handles 400, 404, and 500 and reports any other status as unknown.
pub(crate) fn spp_error(error: &SppError) -> Response {
    let (status, prefix) = match error {
        SppError::NoProcess(_) | SppError::NoPrimary => (StatusCode::NOT_FOUND, ""),
        SppError::NotJson | SppError::KeyRequired(_) | SppError::InvalidKey { .. } => {
            (StatusCode::BAD_REQUEST, "")
        }
        SppError::NoAnswer { .. } => (StatusCode::INTERNAL_SERVER_ERROR, ""),
        _ => (StatusCode::BAD_REQUEST, "command error: "),
    };
    spp_text(status, format!("{prefix}{error}"))
}

/// Returns the messages of an error and its causes, separated by colons.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// Content type of every JSON body.
pub(crate) const JSON: &str = "application/json; charset=UTF-8";
