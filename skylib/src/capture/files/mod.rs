//! `CaptureFiles`: several capture files as one packet source, read in sequence or merged by time.
//!
//! Without a merge, files are read in the order of their first packets, without copying. A merge is
//! a k-way merge with a binary heap: O(log k) per run of packets from one file, and one copy of
//! each packet. In both cases, a file is open only from its first packet to its last one, so that
//! of thousands of rotated files, only the few that overlap in time need memory.

mod merge;
mod paths;
mod queue;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::merge::Merge;
pub use self::paths::expand_paths;
use self::queue::FileQueue;
use super::file::Step;
use super::{Batch, BpfFilter, CaptureError, CaptureStats, FileProgress, PacketSource, PcapFile};
use crate::packet::{CapturePoints, LinkType};
use crate::time::Timestamp;
use crate::value::Text;

/// Capture files to open as one packet source.
///
/// ```no_run
/// use skylib::capture::{CaptureFileSet, Replay};
///
/// // The files of a recorder that begins a new one every minute.
/// let mut files = CaptureFileSet::new(["/var/capture/*.pcap.lz4"]).open()?;
/// let flows = Replay::default().flows(&mut files)?;
/// # Ok::<(), skylib::capture::CaptureError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CaptureFileSet {
    paths: Vec<PathBuf>,
    is_merged: bool,
    settings: FileSettings,
}

/// Settings of all files.
#[derive(Clone, Debug, Default)]
struct FileSettings {
    link_type: Option<LinkType>,
    filter: Option<BpfFilter>,
    interface: Option<Text>,
    /// Capture points of all files.
    points: CapturePoints,
}

impl CaptureFileSet {
    /// Creates a set of the files at the given paths. A path that does not exist is a pattern if it
    /// contains `*`, `?`, or `[`; `-` is standard input.
    pub fn new(paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self {
            paths: paths.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Sets whether packets of all files are merged by time. Otherwise, the files are read in
    /// sequence, in the order of their first packets.
    #[must_use]
    pub const fn with_merge(mut self, is_merged: bool) -> Self {
        self.is_merged = is_merged;
        self
    }

    /// Sets the filter; only packets that pass it are returned.
    #[must_use]
    pub fn with_filter(mut self, filter: impl Into<BpfFilter>) -> Self {
        self.settings.filter = Some(filter.into());
        self
    }

    /// Sets the interface; only packets captured on it are returned. See
    /// [`PcapFile::with_interface`].
    #[must_use]
    pub fn with_interface(mut self, name: impl Into<Text>) -> Self {
        self.settings.interface = Some(name.into());
        self
    }

    /// Sets the link type of all packets, for files with a wrong or private link type.
    #[must_use]
    pub const fn with_link_type(mut self, link_type: LinkType) -> Self {
        self.settings.link_type = Some(link_type);
        self
    }

    /// Opens the files and reads the first packet of each to determine their order.
    ///
    /// # Errors
    /// Returns an error if a file cannot be opened or is not a capture file, if no file matches a
    /// pattern, or if the filter does not match the link type of the first file.
    pub fn open(mut self) -> Result<CaptureFiles, CaptureError> {
        // Clones of the set do not share counters.
        self.settings.points = CapturePoints::default();
        let paths = expand_paths(&self.paths)?;
        if let [path] = &paths[..] {
            return self.open_one(path);
        }
        let points = self.settings.points.clone();
        let interface = self.settings.interface.clone();
        let mut queue = FileQueue::examine(&paths, self.settings)?;
        let Some(first) = queue.open_next() else {
            return Err(queue.end_error());
        };
        let link_type = first.link_type();
        let reading = match self.is_merged {
            true => Reading::Merged(Box::new(Merge::new(first, &mut queue))),
            false => Reading::Sequence(Box::new(first)),
        };
        Ok(CaptureFiles {
            interface,
            ..CaptureFiles::new(queue, reading, link_type, points)
        })
    }

    /// Opens a single file, which is not read in advance.
    fn open_one(self, path: &Path) -> Result<CaptureFiles, CaptureError> {
        let file = self.settings.apply(queue::open(
            path,
            Arc::default(),
            self.settings.points.clone(),
        )?)?;
        let (progress, link_type) = (file.progress(), file.link_type());
        let reading = Reading::Sequence(Box::new(file));
        let queue = FileQueue::empty(progress);
        Ok(CaptureFiles {
            interface: self.settings.interface,
            ..CaptureFiles::new(queue, reading, link_type, self.settings.points)
        })
    }
}

impl FileSettings {
    /// Applies these settings to an open file.
    fn apply(&self, mut file: PcapFile) -> Result<PcapFile, CaptureError> {
        if let Some(link_type) = self.link_type {
            file = file.with_link_type(link_type);
        }
        if let Some(name) = &self.interface {
            file = file.with_interface(name.clone());
        }
        match &self.filter {
            Some(filter) => file.with_filter(filter),
            None => Ok(file),
        }
    }
}

/// Several capture files as one packet source; see [`CaptureFileSet`].
///
/// A damaged file ends at the damage. The other files are still read, and the error is returned
/// after the last packet of all files.
pub struct CaptureFiles {
    queue: FileQueue,
    reading: Reading,
    link_type: LinkType,
    /// Time of the latest packet of the current file; used without a merge.
    latest: Option<Timestamp>,
    overlaps: u64,
    points: CapturePoints,
    /// Name of the interface whose packets are returned; `None` for all interfaces.
    interface: Option<Text>,
    has_ended: bool,
}

/// Way in which the files are read. Boxed, because readers are large.
enum Reading {
    /// The current file; the others wait in the queue.
    Sequence(Box<PcapFile>),
    Merged(Box<Merge>),
}

impl CaptureFiles {
    fn new(queue: FileQueue, reading: Reading, link_type: LinkType, points: CapturePoints) -> Self {
        Self {
            queue,
            reading,
            link_type,
            latest: None,
            overlaps: 0,
            points,
            interface: None,
            has_ended: false,
        }
    }

    /// Returns the number of packets rejected by the filter so far.
    #[must_use]
    pub fn filtered(&self) -> u64 {
        self.queue.filtered
            + match &self.reading {
                Reading::Sequence(file) => file.filtered(),
                Reading::Merged(merge) => merge.files().map(PcapFile::filtered).sum(),
            }
    }

    /// Returns the number of files so far whose last packet is later than the first packet of the
    /// next file. Correct flows of such files need a merge ([`CaptureFileSet::with_merge`]).
    #[must_use]
    pub const fn overlaps(&self) -> u64 {
        self.overlaps
    }

    /// Returns the errors of damaged files, except the first error, which
    /// [`next_batch`](PacketSource::next_batch) returned.
    #[must_use]
    pub fn other_errors(&self) -> &[CaptureError] {
        &self.queue.errors
    }

    /// Returns a handle through which any thread can read the position in all files.
    #[must_use]
    pub fn progress(&self) -> FileProgress {
        self.queue.progress.clone()
    }

    /// Returns an error if no file contains the selected interface and no packet was selected.
    fn missing_interface(&mut self) -> Option<CaptureError> {
        let name = self.interface.clone()?;
        if self.stats().received > 0 || self.points.find(&name).is_some() {
            return None;
        }
        let points = self.points.stats();
        let known: Vec<String> = points.iter().map(|point| point.name.to_string()).collect();
        Some(CaptureError::NoFileInterface {
            interface: name.to_string(),
            known: known.join(", "),
        })
    }

    /// Reads the next packets of the current file, or opens the next file.
    fn advance_in_sequence(&mut self) -> Step {
        let Reading::Sequence(file) = &mut self.reading else {
            return Step::End;
        };
        loop {
            match file.advance() {
                Ok(Step::End) => {}
                Ok(step) => {
                    if let Some(last) = file.batch().headers.last() {
                        self.latest = Some(last.timestamp);
                    }
                    return step;
                }
                Err(error) => self.queue.errors.push(error),
            }
            let first = self.queue.next_time();
            let Some(next) = self.queue.open_next() else {
                return Step::End;
            };
            self.overlaps += u64::from(first.is_some() && first < self.latest);
            self.queue.close(file);
            **file = next;
        }
    }
}

impl PacketSource for CaptureFiles {
    fn link_type(&self) -> LinkType {
        self.link_type
    }

    fn next_batch(&mut self, _wait: Duration) -> Result<Batch<'_>, CaptureError> {
        if self.has_ended {
            return Ok(Batch::End);
        }
        let step = match &mut self.reading {
            Reading::Sequence(_) => self.advance_in_sequence(),
            Reading::Merged(merge) => merge.advance(&mut self.queue)?,
        };
        if step == Step::End {
            self.has_ended = true;
            return match self.queue.take_error().or_else(|| self.missing_interface()) {
                Some(error) => Err(error),
                None => Ok(Batch::End),
            };
        }
        Ok(match (&self.reading, step) {
            (_, Step::Nothing) => Batch::Timeout,
            (Reading::Sequence(file), _) => Batch::Packets(file.batch()),
            (Reading::Merged(merge), _) => Batch::Packets(merge.batch()),
        })
    }

    fn stats(&mut self) -> CaptureStats {
        CaptureStats {
            received: match &mut self.reading {
                Reading::Sequence(file) => self.queue.received + file.stats().received,
                // Packets in the heap have not been returned yet.
                Reading::Merged(merge) => merge.returned(),
            },
            ..CaptureStats::default()
        }
    }

    fn capture_points(&self) -> CapturePoints {
        self.points.clone()
    }

    fn shared_buffer(&self) -> Option<Arc<[u8]>> {
        match &self.reading {
            Reading::Sequence(file) => file.shared_buffer(),
            Reading::Merged(_) => None,
        }
    }
}

impl fmt::Debug for CaptureFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureFiles")
            .field("waiting", &self.queue.len())
            .finish_non_exhaustive()
    }
}
