//! Reading of request bodies into memory, with limits on length, time and total memory.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout_at};

use crate::app::App;
use crate::incoming_memory::IncomingMemoryFull;
use crate::response::{self, Response};

/// Reads a request body as text; bytes that are not UTF-8 become U+FFFD.
///
/// # Errors
/// The response to a client whose body is too long, too slow or broken off.
pub(crate) async fn read_text(app: &App, body: Incoming) -> Result<String, Response> {
    let bytes = read_bytes(app, body, app.limits.body_bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads an HTML form and leaves `body` empty.
///
/// # Errors
/// The response to a client whose body is too long, too slow or broken off.
pub(crate) async fn read_form(app: &App, body: &mut Incoming) -> Result<String, Response> {
    let limit = app.limits.body_bytes.min(MAX_FORM_BYTES);
    let bytes = read_bytes(app, body, limit).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn read_bytes<B>(app: &App, body: B, limit: usize) -> Result<Bytes, Response>
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
            Ok(Err(error)) if error.is::<IncomingMemoryFull>() => {
                response::error_text(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
            }
            Ok(Err(error)) if error.is::<TooSlow>() => {
                response::error_text(StatusCode::REQUEST_TIMEOUT, &error.to_string())
            }
            Ok(Err(error)) => response::bad_request(&*error),
            Err(_) => response::error_text(StatusCode::REQUEST_TIMEOUT, TOO_SLOW),
        },
    };
    // The rest of the body stays unread, so the start of a next request could not be found.
    response::close(refusal.headers_mut());
    Err(refusal)
}

/// Returns the whole body; its bytes count against the memory of all clients while they arrive.
async fn gather<B>(app: &App, mut body: Limited<B>) -> Result<Bytes, BoxError>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    let mut claim = app.incoming.claim();
    let mut whole = BytesMut::new();
    let began = Instant::now();
    loop {
        let until = began + app.limits.time_for_body(whole.len());
        let frame = timeout_at(until, body.frame()).await;
        let Some(frame) = frame.map_err(|_| TooSlow)? else {
            break;
        };
        if let Ok(data) = frame?.into_data() {
            claim.grow_to(whole.len() + data.len())?;
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}

/// Error of a body that arrives at less than the lowest rate.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the request body arrives too slowly (http.limits.transfer_rate)")]
struct TooSlow;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn too_long(limit: usize) -> Response {
    let text = format!("body exceeds the limit of {limit} bytes (http.limits.body_bytes)");
    response::error_text(StatusCode::PAYLOAD_TOO_LARGE, &text)
}

/// Error text for a body that does not arrive in time.
pub(crate) const TOO_SLOW: &str =
    "timed out waiting for the request body (http.limits.body_timeout)";

/// Longest form: it holds a user name and a password, or a token.
const MAX_FORM_BYTES: usize = 64 << 10;
