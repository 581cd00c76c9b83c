//! What a writer tells of itself while it works.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

use crate::capture::{CaptureStats, Waker};

/// Packets of a run, or of all runs of an instance.
///
/// When a run has ended, `rx` is `written` and `drop` together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PcapStats {
    /// Packets that came.
    pub rx: u64,
    /// Of these, in the files or on their way there.
    pub written: u64,
    /// Of these, lost: the ring was full, or a file took no more.
    pub drop: u64,
    /// Files that have been completed.
    pub files: u64,
}

impl PcapStats {
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            rx: self.rx + other.rx,
            written: self.written + other.written,
            drop: self.drop + other.drop,
            files: self.files + other.files,
        }
    }
}

/// What one writer tells of itself; one thread writes, any reads.
#[derive(Debug, Default)]
pub(super) struct WriterShared {
    received: AtomicU64,
    dropped: AtomicU64,
    written: AtomicU64,
    files: AtomicU64,
    /// The file that is being written, by the name it will have; empty for none.
    file: Mutex<String>,
    /// Wakes the writer, whatever its source is by now.
    waker: Mutex<Waker>,
}

impl WriterShared {
    pub(super) fn set_packets(&self, source: CaptureStats, written: u64) {
        self.received.store(source.received, Ordering::Relaxed);
        self.dropped.store(source.dropped, Ordering::Relaxed);
        self.written.store(written, Ordering::Relaxed);
    }

    pub(super) fn set_written(&self, written: u64) {
        self.written.store(written, Ordering::Relaxed);
    }

    pub(super) fn count_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_file(&self, name: &Path) {
        *self.file.lock() = name.to_string_lossy().into_owned();
    }

    pub(super) fn clear_file(&self) {
        self.file.lock().clear();
    }

    pub(super) fn file(&self) -> String {
        self.file.lock().clone()
    }

    pub(super) fn set_waker(&self, waker: Waker) {
        *self.waker.lock() = waker;
    }

    pub(super) fn wake(&self) {
        self.waker.lock().wake();
    }

    pub(super) fn stats(&self) -> PcapStats {
        let drop = self.dropped.load(Ordering::Relaxed);
        let written = self.written.load(Ordering::Relaxed);
        // The kernel's counter is looked at less often than packets are written.
        let rx = self.received.load(Ordering::Relaxed).max(written + drop);
        PcapStats {
            rx,
            written,
            drop,
            files: self.files.load(Ordering::Relaxed),
        }
    }
}
