//! `BlockFile`: a file written in blocks, uncompressed or compressed with LZ4. If a write fails,
//! for example because the disk is full, the file can be truncated to its last complete block.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::Arc;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

/// File of blocks. Each block is written separately; an incomplete block after a failed write can
/// be removed.
#[derive(Debug)]
pub(super) struct BlockFile {
    file: Arc<File>,
    target: Target,
    /// Length of the file up to the end of the last complete block, in bytes.
    whole: u64,
}

#[derive(Debug)]
enum Target {
    Plain(Counted),
    Lz4(Box<FrameEncoder<Counted>>),
}

/// Writer that counts the bytes written to a file.
#[derive(Debug)]
struct Counted {
    file: Arc<File>,
    len: u64,
}

impl BlockFile {
    /// Creates a block file in an empty file: uncompressed, or as an LZ4 frame of linked blocks
    /// without checksums.
    pub(super) fn new(file: File, compressed: bool) -> Self {
        let file = Arc::new(file);
        let counted = Counted {
            file: Arc::clone(&file),
            len: 0,
        };
        let target = if compressed {
            let frame = FrameInfo::new()
                .block_size(BlockSize::Max256KB)
                .block_mode(BlockMode::Linked);
            Target::Lz4(Box::new(FrameEncoder::with_frame_info(frame, counted)))
        } else {
            Target::Plain(counted)
        };
        Self {
            file,
            target,
            whole: 0,
        }
    }

    /// Writes a block of at most [`BLOCK_SIZE`] bytes.
    ///
    /// # Errors
    /// Returns an error if writing fails; after that, only [`BlockFile::truncate`] may be called.
    pub(super) fn write(&mut self, block: &[u8]) -> io::Result<()> {
        self.whole = match &mut self.target {
            Target::Plain(counted) => {
                counted.write_all(block)?;
                counted.len
            }
            Target::Lz4(encoder) => {
                encoder.write_all(block)?;
                encoder.flush()?;
                encoder.get_ref().len
            }
        };
        Ok(())
    }

    /// Completes the file, and syncs it to disk if `synced`.
    ///
    /// # Errors
    /// Returns an error if writing or syncing fails.
    pub(super) fn finish(&mut self, synced: bool) -> io::Result<()> {
        if let Target::Lz4(encoder) = &mut self.target {
            encoder.try_finish()?;
        }
        if synced { self.file.sync_all() } else { Ok(()) }
    }

    /// Truncates the file to its last complete block and completes it, after a failed write.
    ///
    /// # Errors
    /// Returns an error if the file cannot be truncated or completed.
    pub(super) fn truncate(&mut self) -> io::Result<()> {
        self.file.set_len(self.whole)?;
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(self.whole))?;
        match &self.target {
            Target::Lz4(_) => file.write_all(&END_MARK),
            Target::Plain(_) => Ok(()),
        }
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = (&*self.file).write(bytes)?;
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Maximum size of a block before compression, in bytes.
pub(super) const BLOCK_SIZE: usize = 256 << 10;

/// End mark of an LZ4 frame: a block of length 0.
const END_MARK: [u8; 4] = [0; 4];

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::super::tests::folder;
    use super::*;

    /// Returns blocks of various lengths, some of them compressible.
    fn blocks() -> Vec<Vec<u8>> {
        let mut state = 1_u32;
        let mut noise = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        [
            1,
            100,
            BLOCK_SIZE,
            70_000,
            3,
            BLOCK_SIZE - 1,
            200_000,
            65_536,
            BLOCK_SIZE,
        ]
        .into_iter()
        .cycle()
        .take(40)
        .enumerate()
        .map(|(i, len)| {
            (0..len)
                .map(|at| if i % 3 == 0 { noise() } else { at as u8 })
                .collect()
        })
        .collect()
    }

    fn content(path: &std::path::Path) -> Vec<u8> {
        let mut content = Vec::new();
        lz4_flex::frame::FrameDecoder::new(File::open(path).unwrap())
            .read_to_end(&mut content)
            .unwrap();
        content
    }

    #[test]
    fn blocks_of_any_length_come_back() {
        let folder = folder("blocks");
        let path = folder.path().join("x.lz4");
        let mut file = BlockFile::new(File::create(&path).unwrap(), true);
        let blocks = blocks();
        for block in &blocks {
            file.write(block).unwrap();
        }
        file.finish(true).unwrap();
        assert!(content(&path) == blocks.concat());
        let head = std::fs::read(&path).unwrap();
        // Magic number, version 1, linked blocks, no checksum, no size, blocks of 256 KiB.
        assert_eq!(head[..6], [0x04, 0x22, 0x4d, 0x18, 0x40, 0x50]);
    }

    #[test]
    fn what_comes_after_the_last_whole_block_can_be_removed() {
        let folder = folder("truncated");
        for compressed in [true, false] {
            let path = folder.path().join("x");
            let mut file = BlockFile::new(File::create(&path).unwrap(), compressed);
            file.write(b"first").unwrap();
            file.write(b"second").unwrap();
            (&*file.file).write_all(b"half of the thi").unwrap();
            file.truncate().unwrap();
            let found = if compressed {
                content(&path)
            } else {
                std::fs::read(&path).unwrap()
            };
            assert_eq!(found, b"firstsecond");
        }
    }
}
