//! Bodies of any length on their way to a reader that blocks: piece by piece, so that no more of
//! them is in memory than a few pieces.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

use crate::response::{self, Response};

/// How many uploads there may be at a time, and of what length.
#[derive(Debug)]
pub(crate) struct Uploads {
    turns: Arc<Semaphore>,
    limits: UploadLimits,
    refused: AtomicU64,
}

/// Bounds of uploads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UploadLimits {
    /// At a time.
    pub(crate) count: usize,
    /// Of each, as it is sent.
    pub(crate) bytes: u64,
    /// For the first bytes; those that follow must come at [`SLOWEST`] at least.
    pub(crate) timeout: Duration,
}

impl Uploads {
    pub(crate) fn new(limits: UploadLimits) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(limits.count)),
            limits,
            refused: AtomicU64::new(0),
        }
    }

    /// How many there are now.
    pub(crate) fn running(&self) -> usize {
        self.limits.count - self.turns.available_permits()
    }

    /// How many were refused as there were too many.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The right to upload until it is dropped; none, which is counted, while others have all.
    pub(crate) fn admit(&self) -> Option<OwnedSemaphorePermit> {
        let turn = Arc::clone(&self.turns).try_acquire_owned().ok();
        if turn.is_none() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        turn
    }

    /// The answer to one that was not admitted.
    pub(crate) fn too_many(&self) -> Response {
        let text = format!(
            "{} uploads are running, try again later (http.limits.uploads)",
            self.limits.count
        );
        response::error_text(StatusCode::SERVICE_UNAVAILABLE, &text)
    }

    /// Hands a body on until it ends or the reader has had enough; the error is the answer to a
    /// client that sends too much or too slowly.
    pub(crate) async fn pump(&self, body: &mut Incoming, target: Sender) -> Result<(), Response> {
        let UploadLimits { bytes, timeout, .. } = self.limits;
        let mut sent = 0;
        // While the reader is the slow one, the client's time does not run.
        let mut waited = Duration::ZERO;
        loop {
            let allowed = timeout + Duration::from_secs(sent / SLOWEST);
            let began = Instant::now();
            let frame = timeout_at(began + allowed.saturating_sub(waited), body.frame()).await;
            waited += began.elapsed();
            let data = match frame {
                Ok(None) => {
                    target.end().await;
                    return Ok(());
                }
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(error))) => return Err(response::bad_request(&error)),
                Err(_) => {
                    let text = "the body arrives too slowly (http.limits.body_timeout)";
                    return Err(response::error_text(StatusCode::REQUEST_TIMEOUT, text));
                }
            };
            sent += data.len() as u64;
            if sent > bytes {
                let text =
                    format!("the body is longer than {bytes} bytes (http.limits.upload_bytes)");
                return Err(response::error_text(StatusCode::PAYLOAD_TOO_LARGE, &text));
            }
            if !target.send(data).await {
                return Ok(());
            }
        }
    }
}

/// Takes in some of what is still coming, so that a client that only reads the answer when it has
/// sent everything gets it.
pub(crate) async fn drain(body: &mut Incoming) {
    let mut left = DRAINED;
    let draining = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            if length > left {
                return;
            }
            left -= length;
        }
    };
    // When the time is over the client has its answer anyway.
    timeout(DRAIN_TIME, draining).await.unwrap_or_default();
}

/// Two ends of a body: one is fed, the other is read by a thread that may block.
pub(crate) fn pipe() -> (Sender, Receiver) {
    let (sender, pieces) = mpsc::channel(PIECES);
    let receiver = Receiver {
        pieces,
        piece: Bytes::new(),
        has_ended: false,
    };
    (Sender(sender), receiver)
}

/// The end that is fed.
pub(crate) struct Sender(mpsc::Sender<Option<Bytes>>);

impl Sender {
    /// Waits for room; `false` when nobody reads any more.
    async fn send(&self, data: Bytes) -> bool {
        self.0.send(Some(data)).await.is_ok()
    }

    /// Says that this was all. A sender that is dropped without has been broken off.
    async fn end(self) {
        // A reader that has gone needs no end.
        self.0.send(None).await.unwrap_or_default();
    }
}

/// The end that is read.
pub(crate) struct Receiver {
    pieces: mpsc::Receiver<Option<Bytes>>,
    piece: Bytes,
    has_ended: bool,
}

impl Read for Receiver {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.has_ended {
            match self.pieces.blocking_recv() {
                Some(Some(piece)) => self.piece = piece,
                Some(None) => self.has_ended = true,
                None => return Err(io::Error::new(ErrorKind::ConnectionAborted, "broken off")),
            }
        }
        let length = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// Pieces between the two ends; each is what came from the socket at a time.
const PIECES: usize = 8;
/// Bytes a second that a client must send in the long run.
const SLOWEST: u64 = 8 << 10;
const DRAINED: usize = 16 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_goes_in_comes_out_and_a_break_is_told() {
        for is_ended in [true, false] {
            let (sender, mut receiver) = pipe();
            let reading = tokio::task::spawn_blocking(move || {
                let mut all = Vec::new();
                let result = receiver.read_to_end(&mut all);
                (all, result.map_err(|error| error.kind()))
            });
            for i in 0..100_u8 {
                assert!(sender.send(vec![i; 3000].into()).await);
                assert!(sender.send(Bytes::new()).await, "an empty piece is no end");
            }
            if is_ended {
                sender.end().await;
            } else {
                drop(sender);
            }
            let (all, result) = reading.await.unwrap();
            let wanted: Vec<u8> = (0..100_u8).flat_map(|i| vec![i; 3000]).collect();
            assert!(all == wanted);
            let broken = Err(ErrorKind::ConnectionAborted);
            assert_eq!(result, if is_ended { Ok(300_000) } else { broken });
        }
    }

    #[tokio::test]
    async fn a_reader_that_has_gone_is_noticed() {
        let (sender, receiver) = pipe();
        drop(receiver);
        assert!(!sender.send(Bytes::from_static(b"x")).await);
    }
}
