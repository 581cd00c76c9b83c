//! `WriterStats`: published state of a writer; `PcapStats`: packet counters of instances.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

use crate::capture::{CaptureStats, Waker};

/// Packet counters of a recording, or of all recordings of an instance.
///
/// Invariant: `written + drop <= rx`, with equality once the recording has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PcapStats {
    /// Number of packets received.
    pub rx: u64,
    /// Number of packets written to files or buffered for writing.
    pub written: u64,
    /// Number of packets lost because the ring was full or a file could not be written.
    pub drop: u64,
    /// Number of files completed.
    pub files: u64,
}

impl PcapStats {
    /// Returns the sum of two counters.
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            rx: self.rx + other.rx,
            written: self.written + other.written,
            drop: self.drop + other.drop,
            files: self.files + other.files,
        }
    }
}

/// Published state of one writer. It is written by one thread and read by any thread.
#[derive(Debug, Default)]
pub(super) struct WriterStats {
    received: AtomicU64,
    dropped: AtomicU64,
    written: AtomicU64,
    files: AtomicU64,
    /// Final name of the file that is being written; empty if no file is being written.
    file: Mutex<String>,
    /// Waker of the writer's current source.
    waker: Mutex<Waker>,
}

impl WriterStats {
    /// Publishes the counters of the source and the number of packets written.
    pub(super) fn set_packets(&self, source: CaptureStats, written: u64) {
        self.received.store(source.received, Ordering::Relaxed);
        self.dropped.store(source.dropped, Ordering::Relaxed);
        self.written.store(written, Ordering::Relaxed);
    }

    /// Publishes the number of packets written.
    pub(super) fn set_written(&self, written: u64) {
        self.written.store(written, Ordering::Relaxed);
    }

    /// Counts a completed file.
    pub(super) fn count_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    /// Publishes the final name of the file that is being written.
    pub(super) fn set_file(&self, name: &Path) {
        *self.file.lock() = name.to_string_lossy().into_owned();
    }

    /// Publishes that no file is being written.
    pub(super) fn clear_file(&self) {
        self.file.lock().clear();
    }

    /// Returns the final name of the file that is being written.
    pub(super) fn file(&self) -> String {
        self.file.lock().clone()
    }

    /// Sets the waker of the current source.
    pub(super) fn set_waker(&self, waker: Waker) {
        *self.waker.lock() = waker;
    }

    /// Wakes the writer.
    pub(super) fn wake(&self) {
        self.waker.lock().wake();
    }

    /// Returns the counters.
    pub(super) fn stats(&self) -> PcapStats {
        let drop = self.dropped.load(Ordering::Relaxed);
        let written = self.written.load(Ordering::Relaxed);
        // The kernel's counter is read less often than packets are written, and may therefore lag
        // behind.
        let rx = self.received.load(Ordering::Relaxed).max(written + drop);
        PcapStats {
            rx,
            written,
            drop,
            files: self.files.load(Ordering::Relaxed),
        }
    }
}
