//! Buffered input of the decompressors.

use std::io::{self, Read};

/// Source whose next bytes can be read without being consumed.
#[derive(Debug)]
pub(super) struct Input<R> {
    source: R,
    bytes: Box<[u8]>,
    /// Start of the unconsumed bytes in `bytes`; `start <= end`.
    start: usize,
    /// End of the unconsumed bytes in `bytes`.
    end: usize,
    /// Number of bytes of the file that were consumed.
    pub(super) offset: u64,
    /// Error from the source, which decoders do not preserve.
    pub(super) failure: Option<io::Error>,
    /// Whether a read reached the end of the source.
    pub(super) has_ended: bool,
}

impl<R: Read> Input<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            bytes: vec![0; LEN].into_boxed_slice(),
            start: 0,
            end: 0,
            offset: 0,
            failure: None,
            has_ended: false,
        }
    }

    /// Returns the next `wanted` bytes without consuming them; returns fewer bytes at the end of
    /// the source.
    pub(super) fn peek(&mut self, wanted: usize) -> io::Result<&[u8]> {
        while self.end - self.start < wanted && self.fill()? > 0 {}
        let unread = self.bytes.get(self.start..self.end).unwrap_or_default();
        Ok(unread.get(..wanted).unwrap_or(unread))
    }

    /// Returns the buffered bytes without consuming them: at least one, unless the source has
    /// ended.
    pub(super) fn available(&mut self) -> io::Result<&[u8]> {
        self.peek(1)?;
        Ok(self.bytes.get(self.start..self.end).unwrap_or_default())
    }

    /// Consumes `count` buffered bytes.
    pub(super) const fn consume(&mut self, count: usize) {
        self.start += count;
        self.offset += count as u64;
    }

    /// Skips `count` bytes; returns an error if the source ends before.
    pub(super) fn skip(&mut self, count: u64) -> io::Result<()> {
        let mut left = count;
        while left > 0 {
            let available = self.available()?.len();
            if available == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let skipped = left.min(available as u64);
            self.consume(skipped as usize);
            left -= skipped;
        }
        Ok(())
    }

    /// Skips a skippable frame of LZ4 or zstd (RFC 8878, section 3.1.2); returns whether there was
    /// one.
    pub(super) fn skip_frame(&mut self) -> io::Result<bool> {
        let [0x50..=0x5f, 0x2a, 0x4d, 0x18, a, b, c, d] = *self.peek(8)? else {
            return Ok(false);
        };
        self.skip(8 + u64::from(u32::from_le_bytes([a, b, c, d])))?;
        Ok(true)
    }

    /// Moves the unconsumed bytes to the front and reads once from the source.
    fn fill(&mut self) -> io::Result<usize> {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let free = self.bytes.get_mut(self.end..).unwrap_or_default();
        let read = read(&mut self.source, free, &mut self.failure)?;
        self.end += read;
        Ok(read)
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = if self.start == self.end && buffer.len() >= self.bytes.len() {
            read(&mut self.source, buffer, &mut self.failure)?
        } else {
            let available = self.available()?;
            let count = available.len().min(buffer.len());
            let (Some(to), Some(from)) = (buffer.get_mut(..count), available.get(..count)) else {
                return Ok(0);
            };
            to.copy_from_slice(from);
            self.start += count;
            count
        };
        self.offset += count as u64;
        self.has_ended |= count == 0 && !buffer.is_empty();
        Ok(count)
    }
}

/// Calls `source.read`, again if it is interrupted, and returns the number of bytes read. Stores an
/// error from the source in `failure`, because the decoders replace it with their own errors.
fn read(
    source: &mut impl Read,
    buffer: &mut [u8],
    failure: &mut Option<io::Error>,
) -> io::Result<usize> {
    loop {
        match source.read(buffer) {
            Ok(count) => return Ok(count.min(buffer.len())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let kind = error.kind();
                *failure = Some(error);
                return Err(kind.into());
            }
        }
    }
}

/// Length of the buffer, in bytes.
const LEN: usize = 1 << 16;
