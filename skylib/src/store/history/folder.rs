//! `HistoryFolder`: the folder of a history, locked by one process.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use parking_lot::Mutex;
use rustix::fs::FlockOperation;

use super::counters::TableCounters;
use super::disk::{Disk, OsDisk, Space};
use super::frame::LogContent;
use super::lost_times::DamagedSegment;
use super::names::{Catalog, Generation, Name};
use super::options::HistoryOptions;
use super::parquet_file::is_damage;
use super::retention::{Part, Usage, space_limit};
use crate::error_chain::Chain;
use crate::store::StoreError;
use crate::time::Timestamp;

/// Folder of a history, locked against other processes until it is dropped.
#[derive(Debug)]
pub struct HistoryFolder {
    pub(super) disk: Arc<dyn Disk>,
    root: PathBuf,
    pub(super) options: HistoryOptions,
    flow_bytes: AtomicU64,
    packet_bytes: AtomicU64,
    graph_bytes: AtomicU64,
    /// Replaced folders with the time at which they may be removed, and their sizes in bytes.
    replaced: Mutex<Vec<(PathBuf, Timestamp, u64)>>,
    damaged: Mutex<Vec<String>>,
    damaged_bytes: AtomicU64,
    pub(super) flow_counters: TableCounters,
    pub(super) graph_counters: TableCounters,
    /// Lock on the folder, released with the file; `None` if the folder is only read.
    lock: Option<File>,
}

impl HistoryFolder {
    /// Opens or creates the folder and locks it. Removes what a crash has left unfinished.
    ///
    /// # Errors
    /// Returns [`StoreError::InUse`] if another process has the folder, and [`StoreError::File`] if
    /// it cannot be written.
    pub fn open(root: &Path, options: HistoryOptions) -> Result<Arc<Self>, StoreError> {
        Self::open_on(Arc::new(OsDisk), root, options)
    }

    pub(super) fn open_on(
        disk: Arc<dyn Disk>,
        root: &Path,
        options: HistoryOptions,
    ) -> Result<Arc<Self>, StoreError> {
        let error = |action| file_error(action, root);
        disk.create_folder(root).map_err(error("create folder"))?;
        let lock = lock(&root.join("LOCK"))?;
        for name in [UNFINISHED, REPLACED] {
            disk.remove(&root.join(name)).map_err(error("empty"))?;
        }
        for name in [UNFINISHED, REPLACED, DAMAGED] {
            disk.create_folder(&root.join(name))
                .map_err(error("create folder in"))?;
        }
        Self::new(disk, root, options, Some(lock))
    }

    /// Opens an existing folder without its lock, for a disk that writes nothing.
    pub(super) fn open_unlocked(
        disk: Arc<dyn Disk>,
        root: &Path,
        options: HistoryOptions,
    ) -> Result<Arc<Self>, StoreError> {
        Self::new(disk, root, options, None)
    }

    fn new(
        disk: Arc<dyn Disk>,
        root: &Path,
        options: HistoryOptions,
        lock: Option<File>,
    ) -> Result<Arc<Self>, StoreError> {
        let damaged = disk.list(&root.join(DAMAGED));
        let damaged = damaged.map_err(file_error("list", root))?;
        let folder = Self {
            root: root.to_owned(),
            options,
            flow_bytes: AtomicU64::new(0),
            packet_bytes: AtomicU64::new(0),
            graph_bytes: AtomicU64::new(0),
            replaced: Mutex::default(),
            damaged_bytes: AtomicU64::new(0),
            damaged: Mutex::new(damaged),
            flow_counters: TableCounters::default(),
            graph_counters: TableCounters::default(),
            disk,
            lock,
        };
        folder.measure_damaged();
        Ok(Arc::new(folder))
    }

    /// Returns the path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Returns whether the folder is only read: nothing in it is created, changed, or removed.
    pub(super) const fn is_read_only(&self) -> bool {
        self.lock.is_none()
    }

    /// Returns the names of the files and folders that were found damaged, in the folder `damaged`.
    #[must_use]
    pub fn damaged(&self) -> Vec<String> {
        self.damaged.lock().clone()
    }

    /// Returns the path of a table's folder.
    pub(super) fn table(&self, table: &str) -> PathBuf {
        self.root.join(table)
    }

    /// Creates the folder of a table if it is missing, and returns what its names mean. Removes what
    /// a crash has left of replaced files.
    pub(super) fn read_table(&self, path: &Path) -> Result<Catalog, StoreError> {
        let disk = &self.disk;
        disk.create_folder(path)
            .map_err(file_error("create folder", path))?;
        let names = disk.list(path).map_err(file_error("list", path))?;
        let catalog = Catalog::of(&names);
        for name in &catalog.replaced {
            disk.remove(&path.join(name.to_string()))
                .map_err(file_error("remove files in", path))?;
        }
        Ok(catalog)
    }

    /// Creates the folder of a table again if it was removed while the process runs. Returns whether
    /// it was.
    pub(super) fn restore_table(&self, path: &Path) -> bool {
        let entry = std::fs::symlink_metadata(path);
        if !entry.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return false;
        }
        tracing::error!(
            folder = %path.display(),
            "a folder of the history was removed while in use; its records are lost, and recording \
             continues in a new folder"
        );
        // If this fails, the next call tries again.
        drop(self.disk.create_folder(path));
        true
    }

    /// Reads a log of a table, and logs a warning if some of its records are incomplete or damaged.
    pub(super) fn read_log(
        &self,
        table: &Path,
        generation: Generation,
    ) -> Result<LogContent, StoreError> {
        let path = table.join(Name::Log(generation).to_string());
        let bytes = self.disk.read(&path).map_err(file_error("read", &path))?;
        let content = LogContent::read(&bytes);
        if content.lost_bytes > 0 {
            tracing::warn!(
                log = %path.display(),
                bytes = content.lost_bytes,
                is_damaged = content.is_damaged,
                "skipped incomplete or damaged records in a log of the history"
            );
        }
        Ok(content)
    }

    /// Returns the size of a log in bytes; 0 if it cannot be read.
    pub(super) fn log_bytes(&self, table: &Path, generation: Generation) -> u64 {
        bytes_below(&table.join(Name::Log(generation).to_string()))
    }

    /// Removes a log whose records are not needed.
    pub(super) fn remove_log(
        &self,
        table: &Path,
        generation: Generation,
    ) -> Result<(), StoreError> {
        let path = table.join(Name::Log(generation).to_string());
        self.disk.remove(&path).map_err(file_error("remove", &path))
    }

    /// Returns the path at which a folder is written before it is committed.
    pub(super) fn unfinished(&self, name: &str) -> PathBuf {
        self.root.join(UNFINISHED).join(name)
    }

    /// Moves a file or folder that is no longer needed to the same path below `replaced`. It is
    /// removed later, so that other programs can finish reading it.
    pub(super) fn replace(&self, path: &Path, bytes: u64, now: Timestamp) -> io::Result<()> {
        // The path in the folder, so that readers that know it find the file.
        let Ok(name) = path.strip_prefix(&self.root) else {
            return Ok(());
        };
        let target = self.root.join(REPLACED).join(name);
        if let Some(table) = target.parent() {
            self.disk.create_folder(table)?;
        }
        self.disk.remove(&target)?;
        self.disk.rename(path, &target)?;
        self.replaced
            .lock()
            .push((target, now.saturating_add(REPLACED_FOR), bytes));
        Ok(())
    }

    /// Removes replaced folders after their time.
    pub(super) fn remove_replaced(&self, now: Timestamp) {
        let mut replaced = self.replaced.lock();
        replaced.retain(|(path, until, _)| {
            // Also if the clock was set back.
            let is_due = *until <= now || *until > now.saturating_add(REPLACED_FOR);
            !(is_due && self.disk.remove(path).is_ok())
        });
    }

    /// Moves a damaged file or folder to [`DAMAGED`], which is never read or cleaned up. Returns
    /// its new name.
    pub(super) fn set_aside(&self, path: &Path, table: &str) -> io::Result<String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let folder = self.root.join(DAMAGED);
        let used = self.disk.list(&folder)?;
        let mut free = (0..).map(|number| match number {
            0 => format!("{table}-{name}"),
            number => format!("{table}-{name}.{number}"),
        });
        let name = free.find(|name| !used.contains(name)).unwrap_or_default();
        self.disk.rename(path, &folder.join(&name))?;
        self.damaged.lock().push(name.clone());
        self.measure_damaged();
        Ok(name)
    }

    /// Moves a damaged segment to [`DAMAGED`] and logs an error.
    pub(super) fn report_damage(&self, path: &Path, table: &str, damage: &io::Error) {
        match self.set_aside(path, table) {
            Ok(name) => tracing::error!(
                segment = %path.display(),
                damage = %Chain(damage),
                name,
                "a segment of the history is damaged; it was moved to the folder \"damaged\""
            ),
            Err(error) => tracing::error!(
                segment = %path.display(),
                damage = %Chain(damage),
                error = %Chain(&error),
                "a segment of the history is damaged, and it cannot be moved"
            ),
        }
    }

    /// Opens a segment or a snapshot of a table with `open`. A damaged one is moved to [`DAMAGED`]
    /// and added to `damaged`; one of a newer version is neither read nor removed.
    pub(super) fn open_segment<S>(
        &self,
        table: &str,
        name: Name,
        damaged: &mut Vec<DamagedSegment>,
        open: impl FnOnce(&dyn Disk, &Path, Name) -> io::Result<S>,
    ) -> Option<S> {
        let path = self.table(table).join(name.to_string());
        let error = match open(&*self.disk, &path, name) {
            Ok(segment) => return Some(segment),
            Err(error) => error,
        };
        if is_damage(&error) {
            let written_at = written_at(&path);
            damaged.push(DamagedSegment { name, written_at });
            self.report_damage(&path, table, &error);
        } else {
            tracing::error!(
                segment = %path.display(),
                error = %Chain(&error),
                "cannot open a segment; it is ignored until the next start"
            );
        }
        None
    }

    /// Returns the segments of a table that are in the folder of damaged files. Called before the
    /// segments of the table are opened, so that the result contains only the segments that were
    /// moved there earlier.
    pub(super) fn segments_set_aside(&self, table: &str) -> Vec<DamagedSegment> {
        let segment = |name: &String| {
            let moved = name.strip_prefix(table)?.strip_prefix('-')?;
            let original = moved
                .split_once('.')
                .map_or(moved, |(original, _)| original);
            let segment = Name::parse(original)?;
            matches!(segment, Name::Segment(..)).then(|| DamagedSegment {
                name: segment,
                written_at: written_at(&self.root.join(DAMAGED).join(name)),
            })
        };
        self.damaged.lock().iter().filter_map(segment).collect()
    }

    fn measure_damaged(&self) {
        let bytes = bytes_below(&self.root.join(DAMAGED));
        self.damaged_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Sets the size of a part, in bytes.
    pub(super) fn set_usage(&self, part: Part, bytes: u64) {
        let stored = match part {
            Part::Flow => &self.flow_bytes,
            Part::Packet => &self.packet_bytes,
            Part::Graph => &self.graph_bytes,
        };
        stored.store(bytes, Ordering::Relaxed);
    }

    /// Returns the sizes of all parts.
    pub(super) fn usage(&self) -> Usage {
        let replaced = self.replaced.lock();
        let replaced: u64 = replaced.iter().map(|(_, _, bytes)| bytes).sum();
        Usage {
            flow: self.flow_bytes.load(Ordering::Relaxed),
            packet: self.packet_bytes.load(Ordering::Relaxed),
            graph: self.graph_bytes.load(Ordering::Relaxed),
            other: replaced.saturating_add(self.damaged_bytes.load(Ordering::Relaxed)),
        }
    }

    /// Returns the part that must give up its oldest file because of the limits on size and free
    /// space.
    pub(super) fn over(&self) -> Option<Part> {
        let usage = self.usage();
        let options = &self.options;
        let limit = match self.disk.space(&self.root) {
            Ok(Space { free, total }) => space_limit(
                options.max_bytes,
                usage.total(),
                free,
                total,
                options.min_free,
            ),
            Err(_) => options.max_bytes,
        };
        usage.over(limit)
    }
}

/// Returns a function that adds the failed action and its path to an error.
pub(super) fn file_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::File {
        action,
        path,
        source,
    }
}

/// Creates the lock file and locks it.
fn lock(path: &Path) -> Result<File, StoreError> {
    let opened = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    let file = opened.map_err(|source| StoreError::File {
        action: "open",
        path: path.to_owned(),
        source,
    })?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse {
            path: path.to_owned(),
        }),
        Err(error) => Err(StoreError::File {
            action: "lock",
            path: path.to_owned(),
            source: error.into(),
        }),
    }
}

/// Returns the time at which a folder was written, in Unix milliseconds; the end of time if it cannot
/// be read.
fn written_at(path: &Path) -> i64 {
    let modified = std::fs::symlink_metadata(path).and_then(|entry| entry.modified());
    let since = modified
        .ok()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let ms = since.and_then(|since| i64::try_from(since.as_millis()).ok());
    ms.unwrap_or(i64::MAX)
}

/// Returns the size of all files below a path, in bytes. What cannot be read counts as empty.
pub(super) fn bytes_below(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else {
        return std::fs::symlink_metadata(path).map_or(0, |entry| entry.len());
    };
    entries
        .flatten()
        .map(|entry| bytes_below(&entry.path()))
        .sum()
}

/// Folder of unfinished segments, emptied at every start.
const UNFINISHED: &str = "new";
/// Folder of segments that were replaced or have expired, removed after [`REPLACED_FOR`].
const REPLACED: &str = "replaced";
/// Folder of damaged files, which are never read or removed here.
pub(super) const DAMAGED: &str = "damaged";
/// Time for which other programs can read replaced files.
const REPLACED_FOR: std::time::Duration = std::time::Duration::from_secs(600);
