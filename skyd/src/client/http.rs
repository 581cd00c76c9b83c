//! HTTP client: sequential requests on one connection, and responses as streams.

use std::fs::File;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use anyhow::Context;
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, HOST,
};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;

use super::connect::connect;
use super::failure::Refusal;
use super::target::Target;
use crate::printable::printable;

/// Body of a request.
type RequestBody = BoxBody<Bytes, io::Error>;

/// HTTP client of one server.
pub(super) struct HttpClient {
    target: Target,
    /// The connection of the last request, if it can be used again.
    connection: Option<SendRequest<RequestBody>>,
    /// Whether to print each request.
    is_verbose: bool,
}

/// Request, without the parts that are equal in all requests.
pub(super) struct Call<'a> {
    /// Method.
    pub(super) method: Method,
    /// Path, percent-encoded.
    pub(super) path: &'a str,
    /// Body; empty for none.
    pub(super) body: RequestBody,
    /// Value of the header `Accept`.
    pub(super) accept: &'a str,
    /// Value of the header `X-Resource-TTL`.
    pub(super) ttl: Option<String>,
}

impl<'a> Call<'a> {
    /// Returns a request for JSON without a body.
    pub(super) fn new(method: Method, path: &'a str) -> Self {
        Self {
            method,
            path,
            body: text_body(String::new()),
            accept: JSON,
            ttl: None,
        }
    }

    /// Sets JSON as the body.
    pub(super) fn with_json(self, text: String) -> Self {
        let body = text_body(text);
        Self { body, ..self }
    }
}

impl HttpClient {
    /// Creates a client; it connects at its first request.
    pub(super) const fn new(target: Target, is_verbose: bool) -> Self {
        Self {
            target,
            connection: None,
            is_verbose,
        }
    }

    /// Returns the server to which requests are sent.
    pub(super) const fn target(&self) -> &Target {
        &self.target
    }

    /// Closes the connection; the next request opens another one.
    pub(super) fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Sends a request and returns the response once its headers have been received.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached, or the connection ends before the headers.
    pub(super) async fn send(&mut self, call: Call<'_>) -> anyhow::Result<Answer> {
        let text = format!("{} {}", call.method, call.path);
        let mut request = Request::builder()
            .method(call.method)
            .uri(call.path)
            .header(HOST, self.target.address.to_string())
            .header(CONTENT_TYPE, JSON)
            .header(ACCEPT, call.accept)
            .header(ACCEPT_ENCODING, GZIP);
        if let Some(value) = &self.target.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(value) = &self.target.cookies {
            request = request.header(COOKIE, value);
        }
        if let Some(ttl) = call.ttl {
            request = request.header("x-resource-ttl", ttl);
        }
        let request = request
            .body(call.body)
            .context("cannot create the request")?;
        let response = self.connection().await?.send_request(request).await;
        let address = &self.target.address;
        let response = response.with_context(|| format!("{address} sent no response to {text}"))?;
        if self.is_verbose {
            writeln!(io::stderr(), "{text}: {}", response.status()).ok();
        }
        let (head, body) = response.into_parts();
        for warning in head.headers.get_all("x-warning") {
            let warning = String::from_utf8_lossy(warning.as_bytes());
            writeln!(io::stderr(), "Warning: {}", printable(&warning)).ok();
        }
        if let Some(begins) = head.headers.get("x-history-begins") {
            let begins = String::from_utf8_lossy(begins.as_bytes());
            let begins = printable(&begins);
            writeln!(io::stderr(), "Warning: the history begins at {begins}").ok();
        }
        if let Some(id) = head.headers.get("x-existing-id") {
            let id = String::from_utf8_lossy(id.as_bytes());
            let id = printable(&id);
            writeln!(io::stderr(), "The equal resource has the identifier {id}").ok();
        }
        let is_compressed = head
            .headers
            .get(CONTENT_ENCODING)
            .is_some_and(|name| name == GZIP);
        Ok(Answer {
            status: head.status,
            body,
            is_compressed,
            decoder: None,
        })
    }

    /// Returns a connection that is ready for a request.
    async fn connection(&mut self) -> anyhow::Result<&mut SendRequest<RequestBody>> {
        let is_ready = match &mut self.connection {
            Some(connection) => connection.ready().await.is_ok(),
            None => false,
        };
        if !is_ready {
            self.connection = None;
        }
        if self.connection.is_none() {
            let stream = TokioIo::new(connect(&self.target).await?);
            let (sender, connection) = hyper::client::conn::http1::handshake(stream)
                .await
                .context("cannot set up the HTTP connection")?;
            // Requests on the connection report its errors.
            drop(tokio::spawn(connection));
            self.connection = Some(sender);
        }
        self.connection
            .as_mut()
            .context("not connected to the server")
    }
}

/// Response whose body is received in pieces.
pub(super) struct Answer {
    /// Status code.
    pub(super) status: StatusCode,
    body: Incoming,
    /// Whether the headers declare a body in gzip format; it may be empty nevertheless.
    is_compressed: bool,
    /// Decoder of the compressed body; `None` before its first piece.
    decoder: Option<MultiGzDecoder<Vec<u8>>>,
}

impl Answer {
    /// Returns the next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// Returns an error if the connection ends inside the body, or the body is not compressed as
    /// declared.
    pub(super) async fn piece(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            let Some(frame) = self.body.frame().await else {
                let Some(mut decoder) = self.decoder.take() else {
                    return Ok(None);
                };
                decoder
                    .try_finish()
                    .context("cannot decompress the response: it is not valid gzip data")?;
                let rest = std::mem::take(decoder.get_mut());
                return Ok((!rest.is_empty()).then(|| rest.into()));
            };
            let frame = frame.context("the connection ended inside the response")?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if !self.is_compressed {
                return Ok(Some(data));
            }
            let decoder = self
                .decoder
                .get_or_insert_with(|| MultiGzDecoder::new(Vec::new()));
            decoder
                .write_all(&data)
                .context("cannot decompress the response: it is not valid gzip data")?;
            let plain = std::mem::take(decoder.get_mut());
            if !plain.is_empty() {
                return Ok(Some(plain.into()));
            }
        }
    }

    /// Reads the body as a string, up to a maximum number of bytes.
    ///
    /// # Errors
    /// Returns an error if the connection ends inside the body.
    pub(super) async fn text(&mut self, limit: usize) -> anyhow::Result<String> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece().await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() >= limit {
                bytes.truncate(limit);
                break;
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Reads the response as an error response.
    ///
    /// # Errors
    /// Returns an error if the connection ends inside the body.
    pub(super) async fn refusal(mut self) -> anyhow::Result<Refusal> {
        let body = self.text(MAX_REASON_BYTES).await?;
        Ok(Refusal {
            status: self.status,
            body: body.trim_end().to_owned(),
        })
    }
}

/// Returns a body with a string.
fn text_body(text: String) -> RequestBody {
    Full::new(Bytes::from(text))
        .map_err(|never| match never {})
        .boxed()
}

/// Returns a body with the content of a file, which is read while it is sent.
///
/// # Errors
/// Returns an error if the length of the file cannot be determined.
pub(super) fn file_body(file: File) -> io::Result<RequestBody> {
    let left = file.metadata()?.len();
    Ok(FileBody { file, left }.boxed())
}

/// Body that reads a file.
struct FileBody {
    file: File,
    /// Number of bytes that have not been sent.
    left: u64,
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let wanted = usize::try_from(self.left).map_or(PIECE, |left| left.min(PIECE));
        let mut piece = vec![0; wanted];
        let frame = match self.file.read(&mut piece) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                piece.truncate(length);
                self.left -= length as u64;
                Ok(Frame::data(piece.into()))
            }
            Err(error) => Err(error),
        };
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Media type of JSON.
pub(super) const JSON: &str = "application/json";
const GZIP: &str = "gzip";
/// Maximum length of the body of an error response that is shown, in bytes.
const MAX_REASON_BYTES: usize = 64 << 10;
/// Maximum number of bytes of a file per read.
const PIECE: usize = 64 << 10;
