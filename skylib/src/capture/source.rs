//! `PacketSource`: where packets come from, in batches.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::CaptureError;
use crate::packet::{LinkType, PacketBatch};

/// Something that hands out packets: a live interface, a file.
pub trait PacketSource: Send {
    /// What the packets begin with; a file whose packets differ tells it with each batch.
    fn link_type(&self) -> LinkType;

    /// The next packets. Blocks for at most `wait` when there are none, and returns early with
    /// [`Batch::Timeout`] when the [`Waker`] is used.
    ///
    /// # Errors
    /// When the source cannot go on; what it had before has been handed out.
    fn next_batch(&mut self, wait: Duration) -> Result<Batch<'_>, CaptureError>;

    /// Running totals since the source was opened.
    fn stats(&mut self) -> CaptureStats;

    /// The buffer of the latest batch, where that can be kept while the source goes on: it fills
    /// another one then. A source gives always or never; the default is never.
    fn shared_buffer(&self) -> Option<Arc<[u8]>> {
        None
    }

    /// Ends the waiting of [`PacketSource::next_batch`] from another thread. The default does
    /// nothing, which is right for sources that do not wait.
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
}

/// What [`PacketSource::next_batch`] found. Complete by definition.
#[derive(Clone, Copy, Debug)]
pub enum Batch<'a> {
    /// Packets, at least one, at most some thousands.
    Packets(PacketBatch<'a>),
    /// None so far; there may be some later.
    Timeout,
    /// None any more.
    End,
}

/// What a source has seen since it was opened, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaptureStats {
    /// Passed the filter, the dropped ones included.
    pub received: u64,
    /// Passed the filter and then found no room, as the reader was too slow.
    pub dropped: u64,
    /// Dropped by the interface or its driver; 0 where that is not known.
    pub if_dropped: u64,
}

/// Wakes a source that waits for packets.
#[derive(Clone, Default)]
pub struct Waker(Option<Arc<dyn Fn() + Send + Sync>>);

impl Waker {
    /// A waker that calls a function, from any thread.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(wake)))
    }

    /// Ends the present wait, or else the next one.
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
