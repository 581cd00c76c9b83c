//! `Disk`: the file operations of the history as a trait, so that tests can let each of them fail.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// File system, or a test double that fails on purpose.
pub(super) trait Disk: fmt::Debug + Send + Sync {
    /// Creates a folder and its parents; an existing folder is not an error.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Creates an empty file; an existing file loses its content.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file for reading at any offset.
    fn open(&self, path: &Path) -> io::Result<File>;

    /// Returns the content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Renames a file or a folder.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file, or a folder with its content. A missing path is not an error.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the entries of a folder durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// Returns the names in a folder whose names are valid UTF-8, in ascending order.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Returns the space of the file system that holds a path.
    fn space(&self, path: &Path) -> io::Result<Space>;
}

/// File that is open for writing at its end.
pub(super) trait DiskFile: Write + Send {
    /// Makes the content durable.
    fn sync(&mut self) -> io::Result<()>;

    /// Truncates the file to a length in bytes; later writes continue there.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// Space of a file system, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Space {
    /// Bytes that an ordinary user can still write.
    pub(super) free: u64,
    /// Size of the file system.
    pub(super) total: u64,
}

/// File system of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OsDisk;

impl Disk for OsDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        // Appending writes continue at the end of the file after it was truncated.
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).open(path)?;
        file.set_len(0)?;
        Ok(Box::new(OsFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = match fs::symlink_metadata(path) {
            Ok(entry) if entry.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let system = rustix::fs::statvfs(path)?;
        Ok(Space {
            free: system.f_bavail.saturating_mul(system.f_frsize),
            total: system.f_blocks.saturating_mul(system.f_frsize),
        })
    }
}

struct OsFile(File);

impl Write for OsFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for OsFile {
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
}
