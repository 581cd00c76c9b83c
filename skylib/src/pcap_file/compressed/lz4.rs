//! LZ4 frame format.
//!
//! Blocks have up to 4 MiB, and lz4_flex decodes a block completely or not at all; therefore, the
//! beginning of a damaged block is decoded here. The frame reader of lz4_flex accepts a file that
//! ends between two blocks; therefore, frames are parsed here too.

use std::fmt;
use std::hash::Hasher;
use std::io::Read;

use lz4_flex::block::decompress_into_with_dict;
use twox_hash::XxHash32;

use super::input::Input;
use super::{OTHER_DATA, TRUNCATED, WRONG_CHECKSUM, text};

/// Reader of all frames of an LZ4 file.
pub(super) struct Lz4<R> {
    pub(super) input: Input<R>,
    frame: Option<Frame>,
    /// Window to which blocks may refer, followed by the content of the latest block, followed by
    /// space for the next one.
    content: Vec<u8>,
    /// Start of the bytes of `content` that have not been returned; `unread <= end`.
    unread: usize,
    /// End of the decompressed bytes in `content`.
    end: usize,
    /// Latest block read, still compressed.
    block: Vec<u8>,
    /// Damage to report after all content before it has been returned.
    failure: Option<String>,
}

/// Header of a frame and state of its decompression.
struct Frame {
    blocks_are_independent: bool,
    blocks_have_checksums: bool,
    has_checksum: bool,
    content_len: Option<u64>,
    max_block_len: usize,
    /// Number of bytes decompressed so far.
    read_len: u64,
    checksum: XxHash32,
}

impl<R: Read> Lz4<R> {
    pub(super) fn new(input: Input<R>) -> Self {
        Self {
            input,
            frame: None,
            content: Vec::new(),
            unread: 0,
            end: 0,
            block: Vec::new(),
            failure: None,
        }
    }

    /// Reads at least one byte, or none at the end; the error describes the damage.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, String> {
        loop {
            let mut unread = self.content.get(self.unread..self.end).unwrap_or_default();
            if !unread.is_empty() {
                let count = unread.read(buffer).unwrap_or_default();
                self.unread += count;
                return Ok(count);
            }
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            match self.frame.take() {
                None => match self.find_frame()? {
                    true => self.frame = Some(self.read_header()?),
                    false => return Ok(0),
                },
                Some(mut frame) => match self.read_block(&mut frame) {
                    Ok(true) => self.frame = Some(frame),
                    Ok(false) => {}
                    Err(failure) => self.failure = Some(failure),
                },
            }
        }
    }

    /// Moves to the next frame; returns whether there is another frame.
    fn find_frame(&mut self) -> Result<bool, String> {
        while self.input.skip_frame().map_err(|error| text(&error))? {}
        match self.input.peek(4).map_err(|error| text(&error))? {
            [] => Ok(false),
            MAGIC => Ok(true),
            _ => Err(OTHER_DATA.to_owned()),
        }
    }

    /// Reads the header of a frame.
    fn read_header(&mut self) -> Result<Frame, String> {
        let [_, _, _, _, flags, block_flags] = self.bytes()?;
        let mut hashed = vec![flags, block_flags];
        if flags >> 6 != 1 {
            return Err("the version of the LZ4 frame format is not supported".to_owned());
        }
        let content_len = if flags & CONTENT_LEN != 0 {
            let bytes = self.bytes()?;
            hashed.extend(bytes);
            Some(u64::from_le_bytes(bytes))
        } else {
            None
        };
        if flags & DICTIONARY != 0 {
            return Err("dictionaries are not supported".to_owned());
        }
        let [checksum] = self.bytes()?;
        if (XxHash32::oneshot(0, &hashed) >> 8) as u8 != checksum {
            return Err("the checksum of the header is wrong".to_owned());
        }
        let max_block_len = match block_flags >> 4 & 7 {
            size @ 4..=7 => 1 << (8 + 2 * size),
            _ => return Err("the maximum block size is unknown".to_owned()),
        };
        (self.unread, self.end) = (0, 0);
        let room = WINDOW_LEN + 2 * max_block_len;
        if self.content.len() < room {
            self.content.resize(room, 0);
        }
        Ok(Frame {
            blocks_are_independent: flags & INDEPENDENT_BLOCKS != 0,
            blocks_have_checksums: flags & BLOCK_CHECKSUMS != 0,
            has_checksum: flags & CONTENT_CHECKSUM != 0,
            content_len,
            max_block_len,
            read_len: 0,
            checksum: XxHash32::with_seed(0),
        })
    }

    /// Decodes the next block, or its beginning if it is damaged; returns whether there was a
    /// block.
    fn read_block(&mut self, frame: &mut Frame) -> Result<bool, String> {
        let head = u32::from_le_bytes(self.bytes()?);
        if head == END_MARK {
            return self.check_end(frame).map(|()| false);
        }
        let (is_plain, len) = (head & PLAIN != 0, head & !PLAIN);
        if len as usize > frame.max_block_len {
            return Err("a block is longer than the header allows".to_owned());
        }
        self.block.clear();
        let read = self
            .input
            .by_ref()
            .take(len.into())
            .read_to_end(&mut self.block);
        let mut result = match read {
            Ok(had) if had < len as usize => Err(TRUNCATED.to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(text(&error)),
        };
        let window_len = match frame.blocks_are_independent {
            true => 0,
            false => self.end.min(WINDOW_LEN),
        };
        if self.content.len() - self.end < frame.max_block_len {
            self.content.copy_within(self.end - window_len..self.end, 0);
            self.end = window_len;
        }
        let (before, made) = self.content.split_at_mut(self.end);
        let window = &before[before.len() - window_len..];
        let made = &mut made[..frame.max_block_len];
        let mut len = self.block.len();
        if is_plain {
            made[..len].copy_from_slice(&self.block);
        } else {
            let whole = result.and_then(|()| {
                let decoded = decompress_into_with_dict(&self.block, made, window);
                decoded.map_err(|error| error.to_string())
            });
            (len, result) = match whole {
                Ok(len) => (len, Ok(())),
                Err(error) => (decode_beginning(&self.block, made, window), Err(error)),
            };
        }
        let made = &made[..len];
        frame.read_len += len as u64;
        if frame.has_checksum {
            frame.checksum.write(made);
        }
        (self.unread, self.end) = (self.end, self.end + len);
        result?;
        if frame.blocks_have_checksums {
            let wanted = u32::from_le_bytes(self.bytes()?);
            if XxHash32::oneshot(0, &self.block) != wanted {
                return Err(WRONG_CHECKSUM.to_owned());
            }
        }
        Ok(true)
    }

    /// Checks the checksum and the length of the content.
    fn check_end(&mut self, frame: &Frame) -> Result<(), String> {
        if frame.has_checksum {
            let wanted = u32::from_le_bytes(self.bytes()?);
            if frame.checksum.finish() as u32 != wanted {
                return Err(WRONG_CHECKSUM.to_owned());
            }
        }
        match frame.content_len {
            Some(len) if len != frame.read_len => {
                Err("the length of the decompressed data is wrong".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Reads `N` bytes.
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        let read = self.input.read_exact(&mut bytes);
        read.map_err(|error| text(&error)).map(|()| bytes)
    }
}

impl<R> fmt::Debug for Lz4<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lz4")
            .field("unread", &self.unread)
            .finish_non_exhaustive()
    }
}

/// Decodes a block up to its damage; returns the number of decompressed bytes.
fn decode_beginning(block: &[u8], made: &mut [u8], window: &[u8]) -> usize {
    let (mut rest, mut len) = (block, 0);
    while let Some((token, behind)) = rest.split_first() {
        rest = behind;
        let Some(literals) = length(token >> 4, &mut rest) else {
            break;
        };
        let available = literals.min(rest.len()).min(made.len() - len);
        made[len..len + available].copy_from_slice(&rest[..available]);
        len += available;
        rest = &rest[available..];
        let Some((offset, behind)) = rest.split_first_chunk::<2>() else {
            break;
        };
        rest = behind;
        let offset = usize::from(u16::from_le_bytes(*offset));
        let Some(copied) = length(token & 15, &mut rest) else {
            break;
        };
        if available < literals || offset == 0 || offset > len + window.len() {
            break;
        }
        let end = made.len().min(len.saturating_add(copied).saturating_add(4));
        for at in len..end {
            made[at] = match at.checked_sub(offset) {
                Some(from) => made[from],
                None => window[window.len() + at - offset],
            };
        }
        len = end;
    }
    len
}

/// Returns a length of which the token contains `bits`; `None` if the block ends within the length.
fn length(bits: u8, rest: &mut &[u8]) -> Option<usize> {
    let mut length = usize::from(bits);
    if bits == 15 {
        loop {
            let (more, behind) = rest.split_first()?;
            *rest = behind;
            length += usize::from(*more);
            if *more != 255 {
                break;
            }
        }
    }
    Some(length)
}

/// First bytes of a frame.
pub(super) const MAGIC: &[u8] = &[0x04, 0x22, 0x4d, 0x18];
/// Size of the window of previous output that matches can refer to, in bytes.
const WINDOW_LEN: usize = 1 << 16;
/// Value of a block length that ends a frame.
const END_MARK: u32 = 0;
/// Flag in a block length: the block is not compressed.
const PLAIN: u32 = 1 << 31;

const INDEPENDENT_BLOCKS: u8 = 1 << 5;
const BLOCK_CHECKSUMS: u8 = 1 << 4;
const CONTENT_LEN: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const DICTIONARY: u8 = 1;
