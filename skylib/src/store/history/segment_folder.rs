//! Folders of sealed files: written aside, committed by a rename, checked by their sums.

use std::io::{self, Read, Write as _};
use std::path::Path;

use super::disk::Disk;
use super::parquet_file::ParquetFile;
use super::summed_file::{SummedReader, invalid};
use super::sums::{self, SUMS, Sum};

/// Writes a folder of files and moves it to its final path: the rename commits it.
///
/// `write` writes the files into the folder that it receives, each of them durable, and returns
/// their checksums. A crash at any time leaves either the whole folder or nothing at `path`.
pub(super) fn commit(
    disk: &dyn Disk,
    unfinished: &Path,
    path: &Path,
    write: impl FnOnce(&Path) -> io::Result<Vec<Sum>>,
) -> io::Result<()> {
    disk.remove(unfinished)?;
    disk.create_folder(unfinished)?;
    let written = write(unfinished).and_then(|sums| {
        write_sums(disk, unfinished, &sums)?;
        disk.sync_folder(unfinished)?;
        // A folder that is left from an attempt whose commit was reported as failed.
        disk.remove(path)?;
        disk.rename(unfinished, path)?;
        path.parent()
            .map_or(Ok(()), |parent| disk.sync_folder(parent))
    });
    if written.is_err() {
        // Frees the space at once; the next start would remove the folder, too.
        drop(disk.remove(unfinished));
    }
    written
}

/// Writes the file of checksums.
fn write_sums(disk: &dyn Disk, folder: &Path, sums: &[Sum]) -> io::Result<()> {
    write_file(disk, &folder.join(SUMS), sums)
}

/// Replaces the file of checksums of a committed folder. A crash at any time leaves the old or the
/// new file.
pub(super) fn replace_sums(disk: &dyn Disk, folder: &Path, sums: &[Sum]) -> io::Result<()> {
    let new = folder.join(NEW_SUMS);
    let written = write_file(disk, &new, sums)
        .and_then(|()| disk.rename(&new, &folder.join(SUMS)))
        .and_then(|()| disk.sync_folder(folder));
    if written.is_err() {
        drop(disk.remove(&new));
    }
    written
}

fn write_file(disk: &dyn Disk, path: &Path, sums: &[Sum]) -> io::Result<()> {
    let text = sums::format(sums);
    if text.len() as u64 >= MAX_SUMS_BYTES {
        return Err(io::Error::other(
            "the files are too large for one segment: at most 64 GiB",
        ));
    }
    let mut file = disk.create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync()
}

/// Reads the file of checksums.
pub(super) fn read_sums(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<Sum>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{SUMS}: {error}"));
    let mut text = String::new();
    let file = disk.open(&folder.join(SUMS)).map_err(named)?;
    file.take(MAX_SUMS_BYTES)
        .read_to_string(&mut text)
        .map_err(named)?;
    sums::parse(&text).ok_or_else(|| invalid("the file of checksums is invalid".to_owned()))
}

/// Opens a file of a folder. Everything that is read from it is compared with its checksums.
pub(super) fn open_file(
    disk: &dyn Disk,
    folder: &Path,
    sums: &[Sum],
    file: &str,
) -> io::Result<ParquetFile> {
    let sum = sums.iter().find(|sum| sum.name == file);
    let sum = sum.ok_or_else(|| invalid(format!("no checksum of {file}")))?;
    ParquetFile::open(disk, folder, sum)
}

/// Checks the content of all files of a folder against their sums.
///
/// # Errors
/// Returns an error that names the first file that differs or cannot be read.
pub(super) fn check(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    for sum in read_sums(disk, folder)? {
        SummedReader::open(disk, folder, &sum)?.check()?;
    }
    Ok(())
}

/// File of checksums that is not yet in use.
const NEW_SUMS: &str = "sums.new";
/// Maximum size of the file of checksums in bytes: enough for segments of 64 GiB.
const MAX_SUMS_BYTES: u64 = 32 << 20;
