//! `ReadOnlyDisk`: file operations of a reader that must not change the folder of another process.

use std::fs::File;
use std::io;
use std::path::Path;

use super::disk::{Disk, DiskFile, OsDisk, Space};

/// File system of the operating system, without writing.
///
/// Operations that only tidy up, such as the removal of files that another file replaces, succeed
/// without effect. Other changes fail.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReadOnlyDisk;

impl Disk for ReadOnlyDisk {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        Err(read_only())
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        OsDisk.open(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        OsDisk.read(path)
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(read_only())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    /// A missing folder is empty, because this disk does not create it.
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        match OsDisk.list(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            names => names,
        }
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        OsDisk.space(path)
    }
}

fn read_only() -> io::Error {
    io::ErrorKind::ReadOnlyFilesystem.into()
}
