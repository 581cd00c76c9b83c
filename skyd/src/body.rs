//! Reading of request bodies into memory, with limits on length, time, and total memory.

use std::borrow::Cow;
use std::ops::Deref;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use skylib::api::json_text;
use skylib::memory::{MemoryCharge, MemoryExhausted, MemoryUse};
use tokio::time::{Instant, timeout_at};

use crate::app::App;
use crate::response::{self, Response};

/// Request body as a string, with the charge for its memory.
#[derive(Debug)]
pub(crate) struct BodyText {
    text: String,
    _memory: MemoryCharge,
}

impl Deref for BodyText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

/// Reads a request body that is JSON; invalid strings are repaired (see [`json_text`]).
///
/// # Errors
/// Returns the response to a client whose body is too long, arrives too slowly, or ends early.
pub(crate) async fn read_json(app: &App, body: Incoming) -> Result<BodyText, Response> {
    read(app, body, json_text).await
}

/// Reads a request body as a string; bytes that are not UTF-8 become U+FFFD.
///
/// # Errors
/// Returns the response to a client whose body is too long, arrives too slowly, or ends early.
pub(crate) async fn read_text(app: &App, body: Incoming) -> Result<BodyText, Response> {
    read(app, body, String::from_utf8_lossy).await
}

async fn read(app: &App, body: Incoming, repair: Repair) -> Result<BodyText, Response> {
    let (bytes, memory) = read_bytes(app, body, app.limits.body_bytes).await?;
    Ok(BodyText {
        text: text_of(bytes, repair),
        _memory: memory,
    })
}

/// Function that replaces the invalid parts of a body; borrows the input if it is valid.
type Repair = fn(&[u8]) -> Cow<'_, str>;

/// Returns the repaired text of bytes; does not copy a valid text.
fn text_of(bytes: Bytes, repair: Repair) -> String {
    match repair(&bytes) {
        Cow::Owned(repaired) => repaired,
        Cow::Borrowed(_) => String::from_utf8(bytes.into()).unwrap_or_default(),
    }
}

/// Reads an HTML form and leaves `body` empty.
///
/// # Errors
/// Returns the response to a client whose body is too long, arrives too slowly, or ends early.
pub(crate) async fn read_form(app: &App, body: &mut Incoming) -> Result<String, Response> {
    let limit = app.limits.body_bytes.min(MAX_FORM_BYTES);
    let (bytes, _memory) = read_bytes(app, body, limit).await?;
    Ok(text_of(bytes, String::from_utf8_lossy))
}

async fn read_bytes<B>(app: &App, body: B, limit: usize) -> Result<(Bytes, MemoryCharge), Response>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    let is_too_long = body.size_hint().lower() > limit as u64;
    let whole = gather(app, Limited::new(body, limit));
    let mut refusal = match tokio::time::timeout(app.limits.body_timeout, whole) {
        _ if is_too_long => too_long(limit),
        arriving => match arriving.await {
            Ok(Ok(whole)) => return Ok(whole),
            Ok(Err(error)) if error.is::<LengthLimitError>() => too_long(limit),
            Ok(Err(error)) if error.is::<TooSlow>() => {
                response::error_text(StatusCode::REQUEST_TIMEOUT, &error.to_string())
            }
            Ok(Err(error)) => match error.downcast_ref::<MemoryExhausted>() {
                Some(exhausted) => response::memory_exhausted(*exhausted),
                None => response::bad_request(&*error),
            },
            Err(_) => response::error_text(StatusCode::REQUEST_TIMEOUT, TOO_SLOW),
        },
    };
    // The rest of the body stays unread, so the start of the next request could not be found.
    response::close(refusal.headers_mut());
    Err(refusal)
}

/// Returns the whole body with the charge for its memory, which grows while the body arrives.
async fn gather<B>(app: &App, mut body: Limited<B>) -> Result<(Bytes, MemoryCharge), BoxError>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    let memory = app.memory.charge(MemoryUse::Requests);
    let mut whole = BytesMut::new();
    let began = Instant::now();
    loop {
        let until = began + app.limits.time_for_body(whole.len());
        let frame = timeout_at(until, body.frame()).await;
        let Some(frame) = frame.map_err(|_| TooSlow)? else {
            break;
        };
        if let Ok(data) = frame?.into_data() {
            let len = whole.len() + data.len();
            if len > FREE_BYTES {
                memory.grow_to(BUFFER_FACTOR * len)?;
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok((whole.freeze(), memory))
}

/// Error returned if a body arrives more slowly than `http.limits.transfer_rate`.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the request body arrives too slowly (http.limits.transfer_rate)")]
struct TooSlow;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn too_long(limit: usize) -> Response {
    let text = format!("body exceeds the limit of {limit} bytes (http.limits.body_bytes)");
    response::error_text(StatusCode::PAYLOAD_TOO_LARGE, &text)
}

/// Error message for a body that does not arrive in time.
pub(crate) const TOO_SLOW: &str =
    "timed out waiting for the request body (http.limits.body_timeout)";

/// Length up to which a body is not charged, in bytes: the connection limit bounds the number of
/// short bodies.
const FREE_BYTES: usize = 4 << 10;
/// Maximum ratio of the capacity of a buffer that grows by doubling to the length of its content.
const BUFFER_FACTOR: usize = 2;

/// Maximum length of a form, in bytes; a form contains a user name and a password, or a token.
const MAX_FORM_BYTES: usize = 64 << 10;
