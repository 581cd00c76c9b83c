//! Uploads: streams request bodies of any length to a blocking reader through a bounded queue.
//!
//! Only a few pieces of a body are in memory at a time.

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

/// Limits on uploads, with one slot for each upload in progress.
#[derive(Debug)]
pub(crate) struct Uploads {
    /// Semaphore with one permit for each upload that may still start.
    slots: Arc<Semaphore>,
    limits: UploadLimits,
    refused: AtomicU64,
}

/// Limits on uploads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UploadLimits {
    /// Maximum number of concurrent uploads.
    pub(crate) count: usize,
    /// Maximum size of one upload as sent, in bytes.
    pub(crate) bytes: u64,
    /// Timeout of the first bytes; further bytes must arrive at an average rate of at least
    /// [`MIN_RATE`].
    pub(crate) timeout: Duration,
}

impl Uploads {
    /// Creates the slots.
    pub(crate) fn new(limits: UploadLimits) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(limits.count)),
            limits,
            refused: AtomicU64::new(0),
        }
    }

    /// Returns the number of uploads in progress.
    pub(crate) fn running(&self) -> usize {
        self.limits.count - self.slots.available_permits()
    }

    /// Returns the number of uploads rejected because all slots were occupied.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Returns an upload slot, held until it is dropped; returns `None` and counts the rejection if
    /// all slots are occupied.
    pub(crate) fn admit(&self) -> Option<OwnedSemaphorePermit> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok();
        if slot.is_none() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        slot
    }

    /// Returns the response to an upload that was not admitted.
    pub(crate) fn too_many(&self) -> Response {
        let text = format!(
            "the limit of {} concurrent uploads is reached (http.limits.uploads); try again later",
            self.limits.count
        );
        response::error_text(StatusCode::SERVICE_UNAVAILABLE, &text)
    }

    /// Forwards a body until it ends or the reader is dropped.
    ///
    /// # Errors
    /// Returns the response to a client that sends too much or too slowly.
    pub(crate) async fn pump(&self, body: &mut Incoming, target: Sender) -> Result<(), Response> {
        let UploadLimits { bytes, timeout, .. } = self.limits;
        let mut sent = 0;
        // Only the time spent waiting for the client counts, not the time spent waiting for a slow
        // reader.
        let mut waited = Duration::ZERO;
        loop {
            let allowed = timeout + Duration::from_secs(sent / MIN_RATE);
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
                    let text = "the request body arrives too slowly (http.limits.body_timeout)";
                    return Err(response::error_text(StatusCode::REQUEST_TIMEOUT, text));
                }
            };
            sent += data.len() as u64;
            if sent > bytes {
                let text =
                    format!("body exceeds the limit of {bytes} bytes (http.limits.upload_bytes)");
                return Err(response::error_text(StatusCode::PAYLOAD_TOO_LARGE, &text));
            }
            if !target.send(data).await {
                return Ok(());
            }
        }
    }
}

/// Discards a part of the rest of a body, so that a client that reads the response only after it has
/// sent everything receives it.
pub(crate) async fn drain(body: &mut Incoming) {
    let mut left = MAX_DRAINED_BYTES;
    let draining = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            if length > left {
                return;
            }
            left -= length;
        }
    };
    // After the timeout, the response is sent although the client is still sending.
    timeout(DRAIN_TIMEOUT, draining).await.unwrap_or_default();
}

/// Returns the two ends of a bounded byte queue: an async sender and a blocking reader.
pub(crate) fn pipe() -> (Sender, Receiver) {
    let (sender, pieces) = mpsc::channel(PIECES);
    let receiver = Receiver {
        pieces,
        piece: Bytes::new(),
        has_ended: false,
    };
    (Sender(sender), receiver)
}

/// Sending end of a [`pipe`].
pub(crate) struct Sender(mpsc::Sender<Option<Bytes>>);

impl Sender {
    /// Sends data once there is room. Returns `false` if the reader was dropped.
    async fn send(&self, data: Bytes) -> bool {
        self.0.send(Some(data)).await.is_ok()
    }

    /// Marks the end of the data. If a sender is dropped without this call, the reader fails.
    async fn end(self) {
        // If the reader was dropped, no end mark is needed.
        self.0.send(None).await.unwrap_or_default();
    }
}

/// Reading end of a [`pipe`].
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
                None => {
                    return Err(io::Error::new(
                        ErrorKind::ConnectionAborted,
                        "the upload was aborted",
                    ));
                }
            }
        }
        let length = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// Maximum number of pieces in the queue; each contains the bytes of one read of the socket.
const PIECES: usize = 8;
/// Minimum average rate of a client, in bytes per second.
const MIN_RATE: u64 = 8 << 10;
/// Maximum number of bytes that [`drain`] discards.
const MAX_DRAINED_BYTES: usize = 16 << 20;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn data_passes_and_an_abort_is_an_error() {
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
    async fn a_dropped_reader_is_noticed() {
        let (sender, receiver) = pipe();
        drop(receiver);
        assert!(!sender.send(Bytes::from_static(b"x")).await);
    }
}
