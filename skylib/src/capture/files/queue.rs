//! `FileQueue`: capture files that are not open yet, in the order of their first packets.

use std::collections::VecDeque;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::FileSettings;
use crate::capture::{CaptureError, FileProgress, PacketSource, PcapFile};
use crate::packet::CapturePoints;
use crate::pcap_file::PcapFileError;
use crate::time::Timestamp;

/// Files that wait to be opened, and the totals of the closed files.
pub(super) struct FileQueue {
    /// Files that wait, in ascending order of `first`.
    waiting: VecDeque<WaitingFile>,
    settings: FileSettings,
    pub(super) progress: FileProgress,
    /// Errors of files, in the order of reading.
    pub(super) errors: Vec<CaptureError>,
    /// Number of packets of closed files that passed the filter.
    pub(super) received: u64,
    /// Number of packets of closed files that the filter rejected.
    pub(super) filtered: u64,
}

/// Examined file that is not open.
struct WaitingFile {
    path: PathBuf,
    /// Time of the first packet; `None` if the file has none.
    first: Option<Timestamp>,
    /// The open file, if it is a pipe and cannot be opened again.
    pipe: Option<Box<PcapFile>>,
}

impl FileQueue {
    /// Returns a queue without files.
    pub(super) fn empty(progress: FileProgress) -> Self {
        Self {
            waiting: VecDeque::new(),
            settings: FileSettings::default(),
            progress,
            errors: Vec::new(),
            received: 0,
            filtered: 0,
        }
    }

    /// Reads the first packet of each file and returns the queue. Files without a packet are last.
    ///
    /// # Errors
    /// Returns an error if a file cannot be opened or is not a capture file. Other damage is
    /// reported when the file is read.
    pub(super) fn examine(paths: &[PathBuf], settings: FileSettings) -> Result<Self, CaptureError> {
        let mut progress = FileProgress {
            total: Some(0),
            ..FileProgress::default()
        };
        let mut waiting = Vec::with_capacity(paths.len());
        for path in paths {
            let (file, size) = examine(path, &progress.read, &settings.points)?;
            progress.total = progress.total.zip(size).map(|(total, size)| total + size);
            waiting.push(file);
        }
        // Stable: files that begin at the same time remain in the given order.
        waiting.sort_by_key(|file| (file.first.is_none(), file.first));
        Ok(Self {
            waiting: waiting.into(),
            settings,
            ..Self::empty(progress)
        })
    }

    /// Returns the number of files.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Returns the time of the first packet of the next file; `None` if no file or packet follows.
    pub(super) fn next_time(&self) -> Option<Timestamp> {
        self.waiting.front().and_then(|file| file.first)
    }

    /// Opens the next file; files with errors are skipped, and the errors are collected. Returns
    /// `None` if there is no further file.
    pub(super) fn open_next(&mut self) -> Option<PcapFile> {
        while let Some(waiting) = self.waiting.pop_front() {
            let file = match waiting.pipe {
                Some(pipe) => Ok(*pipe),
                None => {
                    let (read, points) = (&self.progress.read, &self.settings.points);
                    open(&waiting.path, Arc::clone(read), points.clone())
                }
            };
            let file = file.and_then(|file| self.settings.apply(file));
            match file {
                Ok(file) => return Some(file),
                Err(error) => self.errors.push(error),
            }
        }
        None
    }

    /// Adds the counters of a file that ended.
    pub(super) fn close(&mut self, file: &mut PcapFile) {
        self.received += file.stats().received;
        self.filtered += file.filtered();
    }

    /// Removes and returns the first error; `None` if there is none.
    pub(super) fn take_error(&mut self) -> Option<CaptureError> {
        (!self.errors.is_empty()).then(|| self.errors.remove(0))
    }

    /// Returns the first error, or [`CaptureError::NoFile`] if there is none.
    pub(super) fn end_error(&mut self) -> CaptureError {
        self.take_error().unwrap_or(CaptureError::NoFile)
    }
}

/// Reads the first packet of a file. Returns the file to wait, and its size if it is a regular
/// file.
fn examine(
    path: &Path,
    read: &Arc<AtomicU64>,
    points: &CapturePoints,
) -> Result<(WaitingFile, Option<u64>), CaptureError> {
    let metadata = std::fs::metadata(path).ok();
    let regular = metadata.filter(Metadata::is_file);
    let size = regular.map(|metadata| metadata.len());
    let mut waiting = WaitingFile {
        path: path.to_owned(),
        first: None,
        pipe: None,
    };
    // For regular files, only the bytes read the second time are counted.
    let counter = match size {
        Some(_) => Arc::default(),
        None => Arc::clone(read),
    };
    // The same applies to the counters of the interfaces.
    let own_points = match size {
        Some(_) => CapturePoints::default(),
        None => points.clone(),
    };
    match open(path, counter, own_points) {
        Ok(mut file) => {
            // An error is reported when the file is read.
            waiting.first = file.first_time().unwrap_or_default();
            for point in file.capture_points().stats() {
                // Too many interfaces are reported when the file is read.
                points.register(point.name);
            }
            waiting.pipe = size.is_none().then(|| Box::new(file));
        }
        // The file is empty, as after a recorder was started or stopped: it counts as a file
        // without packets.
        Err(CaptureError::File {
            source: PcapFileError::ShortHeader { .. },
            ..
        }) if size.is_some() => {}
        Err(error) => return Err(error),
    }
    Ok((waiting, size))
}

/// Opens a file, or standard input.
pub(super) fn open(
    path: &Path,
    read: Arc<AtomicU64>,
    points: CapturePoints,
) -> Result<PcapFile, CaptureError> {
    match path == Path::new("-") {
        true => PcapFile::stdin_with(points),
        false => PcapFile::open_counted(path, read, points),
    }
}
