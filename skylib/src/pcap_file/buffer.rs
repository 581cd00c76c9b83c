//! The stretch of a file that is in memory.

use std::io::{self, Read};

use super::PcapFileError;

/// Bytes of a source that have not been handed out, at least as many as the longest record.
///
/// It asks the source for as much as it takes, but only when it is told to: whoever reads from it
/// can follow a pipe.
#[derive(Debug)]
pub(super) struct Buffer<R> {
    source: R,
    pub(super) bytes: Box<[u8]>,
    /// The unread bytes.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Where `start` is in the file.
    pub(super) offset: u64,
    /// The source has ended.
    pub(super) is_drained: bool,
}

impl<R: Read> Buffer<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            bytes: vec![0; Self::LEN].into_boxed_slice(),
            start: 0,
            end: 0,
            offset: 0,
            is_drained: false,
        }
    }

    /// Moves what is unread to the front and reads once.
    pub(super) fn fill(&mut self) -> Result<(), PcapFileError> {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let free = self.bytes.get_mut(self.end..).unwrap_or_default();
        let read = loop {
            match self.source.read(free) {
                Ok(read) => break read.min(free.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let offset = self.offset + self.end as u64;
                    return Err(PcapFileError::reading(offset, error));
                }
            }
        };
        self.end += read;
        self.is_drained = read == 0;
        Ok(())
    }

    pub(super) fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) const fn advance(&mut self, len: usize) {
        self.start += len;
        self.offset += len as u64;
    }

    /// Small enough for the processor's cache, large enough for the system calls not to count; any
    /// record fits with room to spare.
    pub(super) const LEN: usize = 1 << 19;
}
