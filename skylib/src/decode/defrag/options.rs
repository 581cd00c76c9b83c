//! `DefragOptions`: limits of a defragmenter.

use std::time::Duration;

/// Limits of a [`Defragmenter`](super::Defragmenter).
///
/// ```
/// let options = skylib::decode::DefragOptions::default().with_max_datagrams(100);
/// assert_eq!(options.timeout.as_secs(), 30);
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DefragOptions {
    /// Maximum number of incomplete datagrams. Default 4096.
    pub max_datagrams: usize,
    /// Maximum memory of incomplete datagrams, in bytes. Default 8 MiB.
    pub max_bytes: usize,
    /// Time after the first fragment of an IPv4 datagram at which the datagram is dropped, in
    /// packet time. Default 30 s. For IPv6, always 60 s (RFC 8200, section 4.5).
    pub timeout: Duration,
    /// Minimum payload of the last fragment of a datagram, in bytes. Default 1. For other
    /// fragments, always 8.
    pub min_last_fragment_len: u16,
}

impl Default for DefragOptions {
    fn default() -> Self {
        Self {
            max_datagrams: 4096,
            max_bytes: 8 << 20,
            timeout: Duration::from_secs(30),
            min_last_fragment_len: 1,
        }
    }
}

impl DefragOptions {
    /// Sets [`max_datagrams`](Self::max_datagrams).
    #[must_use]
    pub const fn with_max_datagrams(mut self, datagrams: usize) -> Self {
        self.max_datagrams = datagrams;
        self
    }

    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub const fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets [`min_last_fragment_len`](Self::min_last_fragment_len).
    #[must_use]
    pub const fn with_min_last_fragment_len(mut self, bytes: u16) -> Self {
        self.min_last_fragment_len = bytes;
        self
    }
}
