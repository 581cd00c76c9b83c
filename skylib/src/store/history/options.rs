//! `HistoryOptions`: limits and intervals of the history on disk.

use std::time::Duration;

use crate::time::Timestamp;

/// Limits and intervals of the history on disk.
///
/// ```
/// use std::time::Duration;
/// use skylib::store::history::HistoryOptions;
/// let options = HistoryOptions::default().with_max_age(Duration::from_secs(7 * 86_400));
/// assert_eq!(options.max_bytes, 4 << 30);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryOptions {
    /// Retention by the recorder's clock.
    pub max_age: Duration,
    /// Maximum size of all files, in bytes; at most a tenth of the file system is used.
    pub max_bytes: u64,
    /// Space of the file system that is left free, in bytes; `None` for 5 %, at most 1 GiB.
    pub min_free: Option<u64>,
    /// Maximum size of the records in memory that are not yet in a segment, in bytes. While the disk
    /// is slow, up to five and a half times that for flows, and twice for topology events.
    pub memory: usize,
    /// Maximum time until a record survives a power failure.
    pub sync: Duration,
    /// Maximum time until a record is in a segment.
    pub seal: Duration,
    /// Time after its last packet for which a flow counts as active: the expiry time of its table.
    pub grace: Duration,
    /// Host that recorded the history, for readers of the files.
    pub host: String,
}

impl Default for HistoryOptions {
    /// Returns 24 hours, 4 GiB, and 64 MiB in memory.
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(24 * 3600),
            max_bytes: 4 << 30,
            min_free: None,
            memory: 64 << 20,
            sync: Duration::from_secs(1),
            seal: Duration::from_secs(300),
            grace: Duration::from_secs(600),
            host: String::new(),
        }
    }
}

impl HistoryOptions {
    /// Returns whether a log must be made durable: the last attempt was at least half of
    /// [`sync`](Self::sync) ago. The other half is the time until the next check of the thread.
    pub(super) fn is_sync_due(&self, last_attempt: Option<Timestamp>, now: Timestamp) -> bool {
        let is_early = |at: Timestamp| at <= now && now < at.saturating_add(self.sync / 2);
        !last_attempt.is_some_and(is_early)
    }
}

macro_rules! setters {
    ($($doc:literal $name:ident $field:ident: $type:ty,)*) => {
        impl HistoryOptions {
            $(
                #[doc = $doc]
                #[must_use]
                pub fn $name(self, $field: $type) -> Self {
                    Self { $field, ..self }
                }
            )*
        }
    };
}

setters! {
    "Sets the retention." with_max_age max_age: Duration,
    "Sets the maximum size of all files, in bytes." with_max_bytes max_bytes: u64,
    "Sets the space of the file system that is left free, in bytes." with_min_free min_free: Option<u64>,
    "Sets the maximum size of the records in memory, in bytes." with_memory memory: usize,
    "Sets the maximum time until a record survives a power failure." with_sync sync: Duration,
    "Sets the maximum time until a record is in a segment." with_seal seal: Duration,
    "Sets the time after its last packet for which a flow counts as active." with_grace grace: Duration,
    "Sets the host that is named in the files." with_host host: String,
}
