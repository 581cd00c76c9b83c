//! The compressed bytes.

use std::io::{self, Read};

/// A source whose next bytes can be looked at.
#[derive(Debug)]
pub(super) struct Input<R> {
    source: R,
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes of the file that were taken.
    pub(super) offset: u64,
    /// Why the source failed, if it did.
    pub(super) failure: Option<io::Error>,
    /// A read has found that there is nothing more.
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

    /// So many of the next bytes; fewer at the end of the source.
    pub(super) fn peek(&mut self, wanted: usize) -> io::Result<&[u8]> {
        while self.end - self.start < wanted && self.fill()? > 0 {}
        let unread = self.bytes.get(self.start..self.end).unwrap_or_default();
        Ok(unread.get(..wanted).unwrap_or(unread))
    }

    /// What is at hand of the next bytes: one at least, unless the source is at its end.
    pub(super) fn at_hand(&mut self) -> io::Result<&[u8]> {
        self.peek(1)?;
        Ok(self.bytes.get(self.start..self.end).unwrap_or_default())
    }

    /// Goes past bytes that have been looked at.
    pub(super) const fn consume(&mut self, count: usize) {
        self.start += count;
        self.offset += count as u64;
    }

    /// Goes past so many bytes; fails where there are not as many.
    pub(super) fn skip(&mut self, count: u64) -> io::Result<()> {
        let mut left = count;
        while left > 0 {
            let at_hand = self.at_hand()?.len();
            if at_hand == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let taken = left.min(at_hand as u64);
            self.consume(taken as usize);
            left -= taken;
        }
        Ok(())
    }

    /// Goes past a frame that both LZ4 and zstd want skipped (RFC 8878, section 3.1.2); says
    /// whether there was one.
    pub(super) fn skip_frame(&mut self) -> io::Result<bool> {
        let [0x50..=0x5f, 0x2a, 0x4d, 0x18, a, b, c, d] = *self.peek(8)? else {
            return Ok(false);
        };
        self.skip(8 + u64::from(u32::from_le_bytes([a, b, c, d])))?;
        Ok(true)
    }

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
            let at_hand = self.at_hand()?;
            let count = at_hand.len().min(buffer.len());
            let (Some(to), Some(from)) = (buffer.get_mut(..count), at_hand.get(..count)) else {
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

/// Reads once; an error is kept, as the decoders wrap theirs.
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

const LEN: usize = 1 << 16;
