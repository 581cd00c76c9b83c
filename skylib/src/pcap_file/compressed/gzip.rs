//! gzip (RFC 1952), a container of deflate data.
//!
//! The reader of flate2 loses the content before damage; therefore, only its decoder is used. On
//! damage, the decoder loses content that does not fit its output buffer, which is therefore large.

use std::io::{self, Read};

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::input::Input;
use super::{OTHER_DATA, TRUNCATED, WRONG_CHECKSUM, text};

/// Reader of all members of a gzip file.
#[derive(Debug)]
pub(super) struct Gzip<R> {
    pub(super) input: Input<R>,
    inflate: Decompress,
    checksum: Crc,
    stage: Stage,
    /// Decompressed bytes.
    content: Box<[u8]>,
    /// Start of the bytes of `content` that have not been returned; `unread <= end`.
    unread: usize,
    /// End of the decompressed bytes in `content`.
    end: usize,
}

/// Next element of a gzip member.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Header,
    Body,
    Trailer,
}

impl<R: Read> Gzip<R> {
    pub(super) fn new(input: Input<R>) -> Self {
        Self {
            input,
            inflate: Decompress::new(false),
            checksum: Crc::new(),
            stage: Stage::Header,
            content: vec![0; CONTENT_LEN].into_boxed_slice(),
            unread: 0,
            end: 0,
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
            match self.stage {
                Stage::Header if self.input.peek(1).map_err(|error| text(&error))?.is_empty() => {
                    return Ok(0);
                }
                Stage::Header => {
                    self.read_header()?;
                    self.stage = Stage::Body;
                }
                Stage::Body => self.inflate()?,
                Stage::Trailer => {
                    self.check_trailer()?;
                    self.inflate.reset(false);
                    self.checksum.reset();
                    self.stage = Stage::Header;
                }
            }
        }
    }

    /// Decompresses the available input into `content`. If the decoder fails after producing bytes,
    /// the next call reports its error.
    fn inflate(&mut self) -> Result<(), String> {
        let available = self.input.available().map_err(|error| text(&error))?;
        let is_last = available.is_empty();
        let (consumed, produced) = (self.inflate.total_in(), self.inflate.total_out());
        let result = self
            .inflate
            .decompress(available, &mut self.content, FlushDecompress::None);
        let consumed = (self.inflate.total_in() - consumed) as usize;
        let produced = (self.inflate.total_out() - produced) as usize;
        self.input.consume(consumed);
        (self.unread, self.end) = (0, produced);
        self.checksum
            .update(self.content.get(..produced).unwrap_or_default());
        match result {
            Ok(Status::StreamEnd) => self.stage = Stage::Trailer,
            Err(error) if produced == 0 => return Err(error.to_string()),
            _ if is_last && produced == 0 => return Err(TRUNCATED.to_owned()),
            _ => {}
        }
        Ok(())
    }

    /// Reads the header of a member.
    fn read_header(&mut self) -> Result<(), String> {
        let mut header = [0; 10];
        if !matches!(
            self.input.peek(2).map_err(|error| text(&error))?,
            [0x1f, 0x8b]
        ) {
            return Err(OTHER_DATA.to_owned());
        }
        self.input
            .read_exact(&mut header)
            .map_err(|error| text(&error))?;
        let [_, _, method, flags, ..] = header;
        if method != DEFLATE {
            return Err("the compression method is not deflate".to_owned());
        }
        if flags & EXTRA != 0 {
            let mut len = [0; 2];
            self.input
                .read_exact(&mut len)
                .map_err(|error| text(&error))?;
            let len = u16::from_le_bytes(len);
            self.input
                .skip(u64::from(len))
                .map_err(|error| text(&error))?;
        }
        for field in [NAME, COMMENT] {
            if flags & field != 0 {
                self.skip_text().map_err(|error| text(&error))?;
            }
        }
        if flags & HEADER_CHECKSUM != 0 {
            self.input.skip(2).map_err(|error| text(&error))?;
        }
        Ok(())
    }

    /// Skips a zero-terminated string.
    fn skip_text(&mut self) -> io::Result<()> {
        loop {
            let mut byte = [0];
            self.input.read_exact(&mut byte)?;
            if byte == [0] {
                return Ok(());
            }
        }
    }

    /// Checks the length and the checksum of the content.
    fn check_trailer(&mut self) -> Result<(), String> {
        let mut trailer = [0; 8];
        self.input
            .read_exact(&mut trailer)
            .map_err(|error| text(&error))?;
        let [sum @ .., _, _, _, _] = trailer;
        let [_, _, _, _, len @ ..] = trailer;
        let is_right = u32::from_le_bytes(sum) == self.checksum.sum()
            && u32::from_le_bytes(len) == self.checksum.amount();
        is_right
            .then_some(())
            .ok_or_else(|| WRONG_CHECKSUM.to_owned())
    }
}

/// Length of `content`, in bytes: more than the 32 KiB that the decoder may retain.
const CONTENT_LEN: usize = 1 << 16;

const DEFLATE: u8 = 8;
const HEADER_CHECKSUM: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
