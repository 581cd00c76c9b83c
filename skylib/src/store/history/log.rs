//! `Log`: the file of the newest records, written before they are in a segment (write-ahead log).

use std::io::{self, Write};
use std::path::Path;

use super::disk::{Disk, DiskFile};

/// Returns the error of records that are in memory only.
pub(super) fn unlogged() -> io::Error {
    io::Error::other("the newest records are in memory only, because the disk failed")
}

/// Log that is open for writing.
pub(super) struct Log {
    file: Box<dyn DiskFile>,
    /// Bytes of complete frames.
    length: u64,
    /// Bytes of complete frames that are durable.
    durable: u64,
    /// Whether an incomplete frame may follow `length`.
    is_torn: bool,
}

impl Log {
    /// Creates an empty log.
    pub(super) fn create(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        let file = disk.create(path)?;
        if let Some(folder) = path.parent() {
            disk.sync_folder(folder)?;
        }
        Ok(Self {
            file,
            length: 0,
            durable: 0,
            is_torn: false,
        })
    }

    /// Appends complete frames. They survive the end of the process once this returns, and a power
    /// failure once [`Log::sync`] has returned.
    ///
    /// # Errors
    /// Returns an error if the frames could not be written whole; the log then ends before them.
    pub(super) fn append(&mut self, frames: &[u8]) -> io::Result<()> {
        self.repair()?;
        self.is_torn = true;
        let written = self.file.write_all(frames);
        match written {
            Ok(()) => {
                self.is_torn = false;
                self.length += frames.len() as u64;
                Ok(())
            }
            Err(error) => {
                // If this fails too, the next call tries again before it writes.
                drop(self.repair());
                Err(error)
            }
        }
    }

    /// Removes an incomplete frame.
    fn repair(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.file.truncate(self.length)?;
            self.is_torn = false;
        }
        Ok(())
    }

    /// Makes all frames durable. Returns whether there was anything to do.
    pub(super) fn sync(&mut self) -> io::Result<bool> {
        if self.durable == self.length {
            return Ok(false);
        }
        self.file.sync()?;
        self.durable = self.length;
        Ok(true)
    }

    /// Returns the bytes of complete frames.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Returns whether at least this number of bytes may not be durable.
    pub(super) const fn is_behind(&self, bytes: u64) -> bool {
        self.length - self.durable >= bytes
    }
}
