//! `SummedWriter` and `SummedReader`: files whose blocks have checksums. A reader returns no byte of a
//! block that differs from its sum.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::disk::{Disk, DiskFile};
use super::sums::{BLOCK_BYTES, Digester, Sum};

/// Writer that computes the sums of what passes through it.
pub(super) struct SummedWriter {
    file: Box<dyn DiskFile>,
    digester: Digester,
}

impl SummedWriter {
    /// Creates a file.
    pub(super) fn create(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: disk.create(path)?,
            digester: Digester::default(),
        })
    }

    /// Makes the content durable and returns its sums.
    pub(super) fn finish(mut self, name: &str) -> io::Result<Sum> {
        self.file.sync()?;
        Ok(self.digester.finish(name))
    }
}

impl Write for SummedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digester.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// File that is read in whole blocks, each of which is compared with its sum. Reads are positioned, so
/// threads can share it, and it can still be read after its removal.
#[derive(Debug)]
pub(super) struct SummedReader {
    file: File,
    sum: Sum,
}

impl SummedReader {
    /// Opens a file of a folder.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened, or its length differs from `sum`.
    pub(super) fn open(disk: &dyn Disk, folder: &Path, sum: &Sum) -> io::Result<Self> {
        let file = disk.open(&folder.join(&sum.name))?;
        let length = file.metadata()?.len();
        if length != sum.length {
            let Sum {
                name,
                length: wanted,
                ..
            } = sum;
            return Err(invalid(format!(
                "{name} has {length} bytes instead of {wanted}"
            )));
        }
        let sum = sum.clone();
        Ok(Self { file, sum })
    }

    /// Returns the length in bytes.
    pub(super) const fn length(&self) -> u64 {
        self.sum.length
    }

    /// Returns `length` bytes from an offset on.
    ///
    /// # Errors
    /// Returns an error that names the file if it ends before, or a block has changed.
    pub(super) fn read(&self, start: u64, length: usize) -> io::Result<Bytes> {
        let range = start..start.saturating_add(length as u64);
        let Sum { name, length, .. } = &self.sum;
        // The range may come from the file: never more is allocated than the file has.
        if range.end > *length {
            return Err(invalid(format!("{name} ends before byte {}", range.end)));
        }
        let blocks = self.sum.around(&range);
        let mut bytes = vec![0; (blocks.end - blocks.start) as usize];
        self.file.read_exact_at(&mut bytes, blocks.start)?;
        if let Some(at) = self.sum.difference(blocks.start, &bytes) {
            return Err(invalid(format!(
                "the content of {name} has changed in the block at byte {at}"
            )));
        }
        let inner = range.start - blocks.start..range.end - blocks.start;
        Ok(Bytes::from(bytes).slice(inner.start as usize..inner.end as usize))
    }

    /// Reads the whole file and compares it with its sums.
    pub(super) fn check(&self) -> io::Result<()> {
        let mut at = 0;
        while at < self.length() {
            at += self
                .read(at, CHECK_BYTES.min(self.length() - at) as usize)?
                .len() as u64;
        }
        Ok(())
    }
}

/// Reader of a shared file from an offset to its end, block by block.
#[derive(Debug)]
pub(super) struct SequentialReader {
    file: Arc<SummedReader>,
    /// Offset after the block that was read last.
    at: u64,
    /// Bytes of this block that are not yet returned.
    rest: Bytes,
}

impl SequentialReader {
    pub(super) fn new(file: Arc<SummedReader>, at: u64) -> Self {
        let rest = Bytes::new();
        Self { file, at, rest }
    }
}

impl Read for SequentialReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            let left = self.file.length().saturating_sub(self.at);
            let block = left.min(BLOCK_BYTES - self.at % BLOCK_BYTES);
            self.rest = self.file.read(self.at, block as usize)?;
            self.at += block;
        }
        let count = buffer.len().min(self.rest.len());
        self.rest
            .split_to(count)
            .copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// Returns an error for content that this version did not write.
pub(super) fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Number of bytes that a check of a whole file reads together: whole blocks.
const CHECK_BYTES: u64 = 16 * BLOCK_BYTES;

#[cfg(test)]
mod tests {
    use super::super::disk::OsDisk;
    use super::super::tests::TestFolder;
    use super::*;

    /// Returns a file with three whole blocks and a part of one.
    fn written(folder: &TestFolder) -> (Vec<u8>, Sum) {
        let content: Vec<u8> = (0..3 * BLOCK_BYTES + 100)
            .map(|at| (at * 7 / 3) as u8)
            .collect();
        let mut writer = SummedWriter::create(&OsDisk, &folder.0.join("a")).unwrap();
        for piece in content.chunks(1000) {
            writer.write_all(piece).unwrap();
        }
        let sum = writer.finish("a").unwrap();
        (content, sum)
    }

    fn open(folder: &TestFolder, sum: &Sum) -> io::Result<SummedReader> {
        SummedReader::open(&OsDisk, &folder.0, sum)
    }

    #[test]
    fn any_range_is_read() {
        let folder = TestFolder::new();
        let (content, sum) = written(&folder);
        let reader = Arc::new(open(&folder, &sum).unwrap());
        let end = content.len();
        for start in [0, 1, 16_383, 16_384, 16_385, 40_000, end - 1, end] {
            for length in [0, 1, 2, 16_384, 20_000, end - start] {
                let length = length.min(end - start);
                let found = reader.read(start as u64, length).unwrap();
                assert_eq!(found, content[start..start + length], "{start} {length}");
            }
            let mut rest = Vec::new();
            let mut sequential = SequentialReader::new(Arc::clone(&reader), start as u64);
            sequential.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, content[start..], "{start}");
        }
        for (start, length) in [(0, end + 1), (end, 1), (usize::MAX, 1), (1, usize::MAX)] {
            let error = reader.read(start as u64, length).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        reader.check().unwrap();
    }

    #[test]
    fn no_byte_of_a_changed_block_is_returned() {
        let folder = TestFolder::new();
        let (mut content, sum) = written(&folder);
        content[20_000] ^= 1;
        std::fs::write(folder.0.join("a"), &content).unwrap();
        let reader = Arc::new(open(&folder, &sum).unwrap());
        for (start, length) in [(0, 16_384), (32_768, 16_484)] {
            reader.read(start, length).unwrap();
        }
        for (start, length) in [(0, 16_385), (16_384, 1), (32_767, 1), (32_767, 2)] {
            let error = reader.read(start, length).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            let text = error.to_string();
            assert_eq!(
                text,
                "the content of a has changed in the block at byte 16384"
            );
        }
        let mut read = Vec::new();
        let mut sequential = SequentialReader::new(Arc::clone(&reader), 100);
        sequential.read_to_end(&mut read).unwrap_err();
        assert_eq!(read, content[100..16_384]);
        reader.check().unwrap_err();
    }

    #[test]
    fn a_file_of_another_length_is_not_opened() {
        let folder = TestFolder::new();
        let (content, sum) = written(&folder);
        let reader = open(&folder, &sum).unwrap();
        std::fs::write(folder.0.join("a"), &content[..50_000 - 1000]).unwrap();
        let error = open(&folder, &sum).unwrap_err();
        assert_eq!(error.to_string(), "a has 49000 bytes instead of 49252");
        // A file that is cut later.
        let error = reader.read(49_200, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
