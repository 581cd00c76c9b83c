//! `Recorder`: the sequence of files of one writer, with rotation by size and buffered blocks.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, ResolveFlags, openat2, renameat_with};
use rustix::io::Errno;

use super::block_file::{BLOCK_SIZE, BlockFile};
use super::writer_stats::WriterStats;
use super::{PcapSpec, SppError};
use crate::packet::{LinkType, PacketRef};
use crate::pcap_file::{RECORD_HEADER_LEN, Resolution, file_header, record_header};
use crate::time::Timestamp;

/// Names of the files of one writer in one recording.
///
/// COMPAT: scripts that search for SPP's files.
#[derive(Clone, Debug)]
pub(super) struct FileNames {
    folder: PathBuf,
    /// Part of the file name before the number of the file.
    beginning: String,
    ending: &'static str,
}

impl FileNames {
    /// Creates the names for a recording. `began` is its start, in Unix seconds; `writer` is the
    /// number of the writer, from 1.
    pub(super) fn new(spec: &PcapSpec, began: i64, writer: usize) -> Self {
        let port = spec.port.file_part();
        Self {
            folder: spec.out_dir.clone(),
            beginning: format!("spp_pcap.{}.{port}.{writer}", stamp(began)),
            ending: if spec.compressed {
                ".pcap.lz4"
            } else {
                ".pcap"
            },
        }
    }

    /// Returns the path of the file with a number, from 1.
    pub(super) fn file(&self, number: u32) -> PathBuf {
        let Self {
            folder,
            beginning,
            ending,
        } = self;
        folder.join(format!("{beginning}.{number}{ending}"))
    }

    /// Returns whether the names of the first file, temporary and final, are unused.
    pub(super) fn are_free(&self) -> bool {
        let name = self.file(1);
        // A dangling symbolic link uses the name too.
        [temporary_name(&name), name]
            .iter()
            .all(|path| fs::symlink_metadata(path).is_err())
    }
}

/// Returns a Unix time as a local time such as `20240312101502`; UTC if the zone is unknown.
fn stamp(unix_seconds: i64) -> String {
    match jiff::Timestamp::from_second(unix_seconds) {
        Ok(time) => time
            .to_zoned_datetime(TimeZone::system())
            .strftime("%Y%m%d%H%M%S")
            .to_string(),
        Err(_) => format!("{unix_seconds:014}"),
    }
}

/// Returns the temporary name of a file, which is used until the file is complete.
fn temporary_name(name: &Path) -> PathBuf {
    let mut name = name.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

/// Writer of packets to files. The next file starts once the current one exceeds its size.
#[derive(Debug)]
pub(super) struct Recorder {
    names: FileNames,
    link_type: LinkType,
    resolution: Resolution,
    fsize: u64,
    compressed: bool,
    synced: bool,
    no_links: bool,
    stats: Arc<WriterStats>,
    open: Option<OpenFile>,
    /// Number of the current or last file, from 1.
    number: u32,
    /// Complete records that have not been written yet; `len <= BLOCK_SIZE`, except for a single
    /// longer record.
    block: Vec<u8>,
    /// Number of records in `block`.
    block_records: u64,
    /// Timestamp of the first record in `block`.
    block_began: Timestamp,
    /// Number of packets written to files or buffered in `block`.
    written: u64,
}

#[derive(Debug)]
struct OpenFile {
    file: BlockFile,
    name: PathBuf,
    /// Size as counted by SPP, in bytes: LZ4 frame header and records before compression.
    bytes: u64,
}

impl Recorder {
    /// Creates a recorder and opens its first file.
    pub(super) fn open(
        spec: &PcapSpec,
        names: FileNames,
        link_type: LinkType,
        stats: Arc<WriterStats>,
    ) -> Result<Self, SppError> {
        let mut recorder = Self {
            names,
            link_type,
            resolution: if spec.nanoseconds {
                Resolution::Nanoseconds
            } else {
                Resolution::Microseconds
            },
            fsize: spec.fsize,
            compressed: spec.compressed,
            synced: spec.synced,
            no_links: spec.no_links,
            stats,
            open: None,
            number: 0,
            block: Vec::with_capacity(BLOCK_SIZE),
            block_records: 0,
            block_began: Timestamp::ZERO,
            written: 0,
        };
        recorder.open_next()?;
        Ok(recorder)
    }

    /// Returns the number of packets in the files or buffered for them.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    /// Writes a packet.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written. The file has then been completed after its
    /// last complete block, and the recorder must not be used again.
    pub(super) fn write(&mut self, packet: &PacketRef<'_>) -> Result<(), SppError> {
        let len = (RECORD_HEADER_LEN + packet.data.len()) as u64;
        if self
            .open
            .as_ref()
            .is_none_or(|open| open.bytes > self.fsize)
        {
            self.rotate()?;
        }
        if self.block.len() as u64 + len > BLOCK_SIZE as u64 {
            self.write_block()?;
        }
        let header = record_header(packet, self.resolution).map_err(|error| {
            let source = io::Error::new(io::ErrorKind::InvalidData, error);
            self.failure(source)
        })?;
        if self.block_records == 0 {
            self.block_began = packet.timestamp;
        }
        self.block.extend_from_slice(&header);
        self.block.extend_from_slice(packet.data);
        self.block_records += 1;
        self.written += 1;
        if let Some(open) = &mut self.open {
            open.bytes += len;
        }
        Ok(())
    }

    /// Writes the buffered records if the first one is more than a second older than `newest`.
    ///
    /// # Errors
    /// Returns the errors of [`Recorder::write`].
    pub(super) fn write_old(&mut self, newest: Timestamp) -> Result<(), SppError> {
        if newest.duration_since(self.block_began) > IN_MEMORY {
            self.write_block()
        } else {
            Ok(())
        }
    }

    /// Writes the buffered records.
    ///
    /// # Errors
    /// Returns the errors of [`Recorder::write`].
    pub(super) fn write_block(&mut self) -> Result<(), SppError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if self.block.is_empty() {
            return Ok(());
        }
        let outcome = open.file.write(&self.block);
        self.block.clear();
        let records = std::mem::take(&mut self.block_records);
        outcome.map_err(|error| {
            self.written -= records;
            self.give_up(error)
        })
    }

    /// Completes the file and renames it to its final name.
    ///
    /// # Errors
    /// Returns the errors of [`Recorder::write`].
    pub(super) fn finish(&mut self) -> Result<(), SppError> {
        self.write_block()?;
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if let Err(error) = open.file.finish(self.synced) {
            return Err(self.give_up(error));
        }
        self.name()
    }

    fn rotate(&mut self) -> Result<(), SppError> {
        self.finish()?;
        self.open_next()
    }

    fn open_next(&mut self) -> Result<(), SppError> {
        self.number += 1;
        let name = self.names.file(self.number);
        let path = temporary_name(&name);
        let made = create(&path, self.no_links).and_then(|file| {
            let mut file = BlockFile::new(file, self.compressed);
            file.write(&file_header(self.link_type, self.resolution, SNAP_LEN))?;
            Ok(file)
        });
        let file = made.map_err(|source| {
            if source.kind() != io::ErrorKind::AlreadyExists {
                // A file whose header could not be written cannot be used.
                fs::remove_file(&path).ok();
            }
            SppError::File { path, source }
        })?;
        self.stats.set_file(&name);
        self.open = Some(OpenFile {
            file,
            name,
            bytes: FRAME_HEADER_LEN,
        });
        Ok(())
    }

    /// Truncates the file to its last complete block, and renames it if that succeeds.
    fn give_up(&mut self, error: io::Error) -> SppError {
        let failure = self.failure(error);
        let truncated = self.open.as_mut().map(|open| open.file.truncate());
        match truncated {
            // A file that cannot be completed retains its temporary name.
            Some(Err(source)) => {
                let incomplete = self.failure(source);
                tracing::warn!(error = %incomplete, "{INCOMPLETE}");
                self.open = None;
            }
            _ => {
                if let Err(error) = self.name() {
                    tracing::warn!(%error, "{INCOMPLETE}");
                }
            }
        }
        self.stats.clear_file();
        failure
    }

    /// Renames the file to its final name.
    fn name(&mut self) -> Result<(), SppError> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        self.stats.clear_file();
        let source = match rename(&temporary_name(&open.name), &open.name) {
            Ok(()) => {
                self.stats.count_file();
                return Ok(());
            }
            Err(source) => source,
        };
        Err(SppError::File {
            path: open.name,
            source,
        })
    }

    fn failure(&self, source: io::Error) -> SppError {
        let path = self
            .open
            .as_ref()
            .map_or_else(|| self.names.file(self.number), |open| open.name.clone());
        SppError::File { path, source }
    }

    /// Removes the file, which contains no packets.
    pub(super) fn discard(mut self) {
        if let Some(open) = self.open.take() {
            fs::remove_file(temporary_name(&open.name)).ok();
        }
        self.stats.clear_file();
    }
}

/// Creates a new file; with `no_links`, returns an error if its path contains a symbolic link.
fn create(path: &Path, no_links: bool) -> io::Result<File> {
    if no_links {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(MODE);
        match openat2(CWD, path, flags, mode, ResolveFlags::NO_SYMLINKS) {
            // Kernels before 5.6 do not have `openat2`.
            Err(Errno::NOSYS) => {}
            outcome => return Ok(outcome?.into()),
        }
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(path)
}

/// Renames a file without replacing another one.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems do not support `RENAME_NOREPLACE`.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            if fs::symlink_metadata(to).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        outcome => Ok(outcome?),
    }
}

/// Permissions of files: owner read and write, group read.
const MODE: u32 = 0o640;

/// Snap length of recordings and in the file headers, in bytes.
pub(super) const SNAP_LEN: u32 = 65_535;

/// Initial value of a file's size: the LZ4 frame header, also for uncompressed files.
///
/// COMPAT: scripts that expect files of SPP's size. The header of the capture file is not counted.
const FRAME_HEADER_LEN: u64 = 7;

/// Maximum time for which packets are only in memory while other packets arrive.
const IN_MEMORY: Duration = Duration::from_secs(1);

/// Warning after a failure to complete a file.
const INCOMPLETE: &str = "cannot complete a file; it retains its temporary name";

#[cfg(test)]
mod tests;
