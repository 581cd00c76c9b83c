//! The LZ4 frame format.
//!
//! The blocks are of up to 4 MiB and lz4_flex gives all of one or nothing, so of a damaged one the
//! beginning is decoded here; and its frame reader takes a file that ends between two blocks for
//! whole, so frames are read here as well.

use std::fmt;
use std::hash::Hasher;
use std::io::Read;

use lz4_flex::block::decompress_into_with_dict;
use twox_hash::XxHash32;

use super::input::Input;
use super::{CUT, OTHER_DATA, WRONG_CHECKSUM, text};

/// Reads all frames of an LZ4 file.
pub(super) struct Lz4<R> {
    pub(super) input: Input<R>,
    frame: Option<Frame>,
    /// What blocks may refer to, the content of the latest one, and room for the next.
    content: Vec<u8>,
    /// Where in it the bytes are that have not been handed out.
    unread: usize,
    end: usize,
    /// The latest block as it is in the file.
    block: Vec<u8>,
    /// What is wrong, told when all before it has been handed out.
    failure: Option<String>,
}

/// What the header of a frame says, and what came of its blocks.
struct Frame {
    blocks_are_independent: bool,
    blocks_have_checksums: bool,
    has_checksum: bool,
    content_len: Option<u64>,
    max_block_len: usize,
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

    /// At least a byte, or none at the end; else what is wrong.
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

    /// Goes to the next frame, if there is one.
    fn find_frame(&mut self) -> Result<bool, String> {
        while self.input.skip_frame().map_err(|error| text(&error))? {}
        match self.input.peek(4).map_err(|error| text(&error))? {
            [] => Ok(false),
            MAGIC => Ok(true),
            _ => Err(OTHER_DATA.to_owned()),
        }
    }

    fn read_header(&mut self) -> Result<Frame, String> {
        let [_, _, _, _, flags, block_flags] = self.bytes()?;
        let mut hashed = vec![flags, block_flags];
        if flags >> 6 != 1 {
            return Err("a version of the LZ4 frame format that is not read here".to_owned());
        }
        let content_len = if flags & CONTENT_LEN != 0 {
            let bytes = self.bytes()?;
            hashed.extend(bytes);
            Some(u64::from_le_bytes(bytes))
        } else {
            None
        };
        if flags & DICTIONARY != 0 {
            return Err("compressed with a dictionary, which is not read here".to_owned());
        }
        let [checksum] = self.bytes()?;
        if (XxHash32::oneshot(0, &hashed) >> 8) as u8 != checksum {
            return Err("the checksum of the header is wrong".to_owned());
        }
        let max_block_len = match block_flags >> 4 & 7 {
            size @ 4..=7 => 1 << (8 + 2 * size),
            _ => return Err("blocks of unknown size".to_owned()),
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

    /// Decodes the next block, or as much of it as can be; says whether there was one.
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
            Ok(had) if had < len as usize => Err(CUT.to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(text(&error)),
        };
        let kept = match frame.blocks_are_independent {
            true => 0,
            false => self.end.min(WINDOW_LEN),
        };
        if self.content.len() - self.end < frame.max_block_len {
            self.content.copy_within(self.end - kept..self.end, 0);
            self.end = kept;
        }
        let (before, made) = self.content.split_at_mut(self.end);
        let window = &before[before.len() - kept..];
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

    fn check_end(&mut self, frame: &Frame) -> Result<(), String> {
        if frame.has_checksum {
            let wanted = u32::from_le_bytes(self.bytes()?);
            if frame.checksum.finish() as u32 != wanted {
                return Err(WRONG_CHECKSUM.to_owned());
            }
        }
        match frame.content_len {
            Some(len) if len != frame.read_len => Err("its length is wrong".to_owned()),
            _ => Ok(()),
        }
    }

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

/// Decodes a block up to its damage; says how many bytes it made.
fn decode_beginning(block: &[u8], made: &mut [u8], window: &[u8]) -> usize {
    let (mut rest, mut len) = (block, 0);
    while let Some((token, behind)) = rest.split_first() {
        rest = behind;
        let Some(literals) = length(token >> 4, &mut rest) else {
            break;
        };
        let there = literals.min(rest.len()).min(made.len() - len);
        made[len..len + there].copy_from_slice(&rest[..there]);
        len += there;
        rest = &rest[there..];
        let Some((offset, behind)) = rest.split_first_chunk::<2>() else {
            break;
        };
        rest = behind;
        let offset = usize::from(u16::from_le_bytes(*offset));
        let Some(copied) = length(token & 15, &mut rest) else {
            break;
        };
        if there < literals || offset == 0 || offset > len + window.len() {
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

/// A length of which the token holds four bits; none where the block ends within it.
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
/// How far back a block may refer.
const WINDOW_LEN: usize = 1 << 16;
/// In the place of a block's length.
const END_MARK: u32 = 0;
/// With a block's length: it is not compressed.
const PLAIN: u32 = 1 << 31;

const INDEPENDENT_BLOCKS: u8 = 1 << 5;
const BLOCK_CHECKSUMS: u8 = 1 << 4;
const CONTENT_LEN: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const DICTIONARY: u8 = 1;
