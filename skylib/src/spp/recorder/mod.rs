//! `Recorder`: the files of one writer, one after the other.

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
use super::writer_stats::WriterShared;
use super::{PcapSpec, SppError};
use crate::packet::{LinkType, PacketRef};
use crate::pcap_file::{RECORD_HEADER_LEN, Resolution, file_header, record_header};
use crate::time::Timestamp;

/// What the files of one writer in one run are called.
///
/// COMPAT: scripts that look for SPP's files.
#[derive(Clone, Debug)]
pub(super) struct FileNames {
    folder: PathBuf,
    /// All before the number of the file.
    beginning: String,
    ending: &'static str,
}

impl FileNames {
    /// Of a writer, counted from 1, in a run that began at a time (seconds since the Unix epoch).
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

    /// The file of a number.
    pub(super) fn file(&self, number: u32) -> PathBuf {
        let Self {
            folder,
            beginning,
            ending,
        } = self;
        folder.join(format!("{beginning}.{number}{ending}"))
    }

    /// Whether nobody has the name of the first file.
    pub(super) fn are_free(&self) -> bool {
        let name = self.file(1);
        // A link that leads nowhere takes the name too.
        [while_written(&name), name]
            .iter()
            .all(|path| fs::symlink_metadata(path).is_err())
    }
}

/// Returns a Unix time in the local time zone as `20240312101502`; UTC if the zone is unknown.
fn stamp(unix_seconds: i64) -> String {
    match jiff::Timestamp::from_second(unix_seconds) {
        Ok(time) => time
            .to_zoned_datetime(TimeZone::system())
            .strftime("%Y%m%d%H%M%S")
            .to_string(),
        Err(_) => format!("{unix_seconds:014}"),
    }
}

/// What a file is called until it is complete.
fn while_written(name: &Path) -> PathBuf {
    let mut name = name.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

/// Writes packets to files; a new one begins when the one before is large enough.
#[derive(Debug)]
pub(super) struct Recorder {
    names: FileNames,
    link_type: LinkType,
    resolution: Resolution,
    fsize: u64,
    compressed: bool,
    synced: bool,
    no_links: bool,
    shared: Arc<WriterShared>,
    open: Option<OpenFile>,
    /// Number of the file that is open or was last.
    number: u32,
    /// Records that are not written yet, whole ones.
    block: Vec<u8>,
    /// How many these are, and when the first was captured.
    block_records: u64,
    block_began: Timestamp,
    written: u64,
}

#[derive(Debug)]
struct OpenFile {
    file: BlockFile,
    name: PathBuf,
    /// As SPP counts: the frame's header and the records before compression.
    bytes: u64,
}

impl Recorder {
    /// Opens the first file.
    pub(super) fn open(
        spec: &PcapSpec,
        names: FileNames,
        link_type: LinkType,
        shared: Arc<WriterShared>,
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
            shared,
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

    /// Packets that are in the files, or in memory on their way there.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    /// Writes a packet.
    ///
    /// # Errors
    /// When the file takes no more; it has been ended after what it took, and nothing more can be
    /// written.
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

    /// Writes what is in memory, if its first packet is older than a second.
    ///
    /// # Errors
    /// As [`Recorder::write`].
    pub(super) fn write_old(&mut self, newest: Timestamp) -> Result<(), SppError> {
        if newest.duration_since(self.block_began) > IN_MEMORY {
            self.write_block()
        } else {
            Ok(())
        }
    }

    /// Writes what is in memory.
    ///
    /// # Errors
    /// As [`Recorder::write`].
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

    /// Ends the file and gives it its name.
    ///
    /// # Errors
    /// As [`Recorder::write`].
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
        let path = while_written(&name);
        let made = create(&path, self.no_links).and_then(|file| {
            let mut file = BlockFile::new(file, self.compressed);
            file.write(&file_header(self.link_type, self.resolution, SNAP_LEN))?;
            Ok(file)
        });
        let file = made.map_err(|source| {
            if source.kind() != io::ErrorKind::AlreadyExists {
                // A file that could not even be begun holds nothing.
                fs::remove_file(&path).ok();
            }
            SppError::File { path, source }
        })?;
        self.shared.set_file(&name);
        self.open = Some(OpenFile {
            file,
            name,
            bytes: FRAME_HEADER_LEN,
        });
        Ok(())
    }

    /// Ends the file after what it took, and names it if that works.
    fn give_up(&mut self, error: io::Error) -> SppError {
        let failure = self.failure(error);
        let cut = self.open.as_mut().map(|open| open.file.cut());
        match cut {
            // What cannot be ended keeps the name of what is not complete.
            Some(Err(error)) => {
                tracing::warn!(%error, "an incomplete file stays as it is");
                self.open = None;
            }
            _ => {
                if let Err(error) = self.name() {
                    tracing::warn!(%error, "an incomplete file stays as it is");
                }
            }
        }
        self.shared.clear_file();
        failure
    }

    /// Gives the file the name of a complete one.
    fn name(&mut self) -> Result<(), SppError> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        self.shared.clear_file();
        let source = match rename(&while_written(&open.name), &open.name) {
            Ok(()) => {
                self.shared.count_file();
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

    /// Removes the file that was opened for nothing.
    pub(super) fn discard(mut self) {
        if let Some(open) = self.open.take() {
            fs::remove_file(while_written(&open.name)).ok();
        }
        self.shared.clear_file();
    }
}

/// Creates a file that is not there; without links, also none on the way to it.
fn create(path: &Path, no_links: bool) -> io::Result<File> {
    if no_links {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(MODE);
        match openat2(CWD, path, flags, mode, ResolveFlags::NO_SYMLINKS) {
            // Kernels before 5.6 cannot.
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

/// Renames without replacing anything.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            if fs::symlink_metadata(to).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        outcome => Ok(outcome?),
    }
}

/// What its owner and group may do with a file.
const MODE: u32 = 0o640;

/// Bytes kept of a packet, and what the files say of it.
pub(super) const SNAP_LEN: u32 = 65_535;

/// The size of a file is counted from here, also of one that has no such header.
///
/// COMPAT: scripts that expect SPP's files. The header of the capture file is not counted.
const FRAME_HEADER_LEN: u64 = 7;

/// How long packets are in memory only, while others come.
const IN_MEMORY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
