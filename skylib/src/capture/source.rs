//! `PacketSource`: the trait of all sources of packets, read in batches.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::CaptureError;
use crate::packet::{CapturePoints, LinkType, PacketBatch};

/// Source of packets, such as a live interface or a capture file.
pub trait PacketSource: Send {
    /// Returns the link type of the first packet. A file may contain several link types; each batch
    /// has its own.
    fn link_type(&self) -> LinkType;

    /// Returns the next packets. Blocks for at most `wait` while there are none, and returns
    /// [`Batch::Timeout`] early if the [`Waker`] is used.
    ///
    /// # Errors
    /// Returns an error if the source cannot continue. All packets before the error have been
    /// returned.
    fn next_batch(&mut self, wait: Duration) -> Result<Batch<'_>, CaptureError>;

    /// Returns the totals since the source was opened.
    fn stats(&mut self) -> CaptureStats;

    /// Returns the buffer of the latest batch, if the caller may hold it while the source continues
    /// with another buffer; otherwise `None`. A source always or never returns a buffer; the
    /// default is never.
    fn shared_buffer(&self) -> Option<Arc<[u8]>> {
        None
    }

    /// Returns the list of capture points, in which the
    /// [`CapturePoint`](crate::packet::CapturePoint)s of packets are indices. The list is shared
    /// and grows while the source is read. The default is an empty list, which is correct for a
    /// source with one capture point.
    fn capture_points(&self) -> CapturePoints {
        CapturePoints::default()
    }

    /// Returns a waker, which lets another thread end a blocking call to
    /// [`PacketSource::next_batch`]. The default waker does nothing, which is correct for sources
    /// that do not block.
    fn waker(&self) -> Waker {
        Waker::default()
    }
}

impl PacketSource for Box<dyn PacketSource> {
    fn link_type(&self) -> LinkType {
        (**self).link_type()
    }

    fn next_batch(&mut self, wait: Duration) -> Result<Batch<'_>, CaptureError> {
        (**self).next_batch(wait)
    }

    fn stats(&mut self) -> CaptureStats {
        (**self).stats()
    }

    fn waker(&self) -> Waker {
        (**self).waker()
    }

    fn shared_buffer(&self) -> Option<Arc<[u8]>> {
        (**self).shared_buffer()
    }

    fn capture_points(&self) -> CapturePoints {
        (**self).capture_points()
    }
}

/// Result of [`PacketSource::next_batch`].
#[derive(Clone, Copy, Debug)]
pub enum Batch<'a> {
    /// At least one packet and at most a few thousand.
    Packets(PacketBatch<'a>),
    /// No packets within the timeout; more may follow.
    Timeout,
    /// End of the source; no more packets follow.
    End,
}

/// Packet counters of a source since the source was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaptureStats {
    /// Number of packets that passed the filter, including dropped packets.
    pub received: u64,
    /// Number of packets that passed the filter and were dropped because the buffer was full.
    pub dropped: u64,
    /// Number of packets dropped by the interface or its driver; 0 if unknown.
    pub if_dropped: u64,
}

/// Function that wakes a source that is waiting for packets.
#[derive(Clone, Default)]
pub struct Waker(Option<Arc<dyn Fn() + Send + Sync>>);

impl Waker {
    /// Creates a waker that calls a function, from any thread.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(wake)))
    }

    /// Ends the current wait of the source, or the next one if it is not waiting.
    pub fn wake(&self) {
        if let Some(wake) = &self.0 {
            wake();
        }
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waker").field(&self.0.is_some()).finish()
    }
}
