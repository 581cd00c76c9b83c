//! Sliding window of a file in memory, shared with the batches that borrow it.

use std::io::{self, Read};
use std::sync::Arc;

use super::PcapFileError;

/// Buffer of the unparsed bytes of a source.
///
/// Each [`fill`](Self::fill) reads from the source once, up to the free space, so that the reader
/// of a pipe does not wait for a full buffer. A buffer that a caller still holds is not overwritten
/// but replaced; see [`CaptureReader::shared_buffer`](super::CaptureReader::shared_buffer).
///
/// Invariant: `start <= end <= LEN`.
#[derive(Debug)]
pub(super) struct Buffer<R> {
    source: R,
    pub(super) bytes: Arc<[u8]>,
    /// Earlier buffers that callers held when they were replaced; reused once they are free.
    lent: Vec<Arc<[u8]>>,
    /// Start of the unparsed bytes in `bytes`.
    pub(super) start: usize,
    /// End of the unparsed bytes in `bytes`.
    pub(super) end: usize,
    /// Byte offset of `start` in the file.
    pub(super) offset: u64,
    /// Whether the source has reached its end.
    pub(super) is_drained: bool,
}

impl<R: Read> Buffer<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            bytes: Self::empty(),
            lent: Vec::new(),
            start: 0,
            end: 0,
            offset: 0,
            is_drained: false,
        }
    }

    /// Moves the unparsed bytes to the front and reads once from the source; uses another buffer if
    /// a caller holds the current one.
    pub(super) fn fill(&mut self) -> Result<(), PcapFileError> {
        self.make_room();
        let bytes = Arc::get_mut(&mut self.bytes).unwrap_or_default();
        let free = bytes.get_mut(self.end..).unwrap_or_default();
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

    /// Moves the unparsed bytes to the front of a buffer that no caller holds.
    fn make_room(&mut self) {
        let unread = self.start..self.end;
        (self.start, self.end) = (0, unread.len());
        if let Some(bytes) = Arc::get_mut(&mut self.bytes) {
            bytes.copy_within(unread, 0);
            return;
        }
        let is_free = |lent: &mut Arc<[u8]>| Arc::get_mut(lent).is_some();
        let free = self.lent.iter_mut().position(is_free);
        let mut other = free.map_or_else(Self::empty, |free| self.lent.swap_remove(free));
        let room = Arc::get_mut(&mut other).and_then(|bytes| bytes.get_mut(..self.end));
        if let (Some(room), Some(unread)) = (room, self.bytes.get(unread)) {
            room.copy_from_slice(unread);
        }
        self.lent.push(std::mem::replace(&mut self.bytes, other));
    }

    fn empty() -> Arc<[u8]> {
        std::iter::repeat_n(0, Self::LEN).collect()
    }

    /// Returns the unparsed bytes.
    pub(super) fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Marks `len` bytes as parsed.
    pub(super) const fn advance(&mut self, len: usize) {
        self.start += len;
        self.offset += len as u64;
    }

    /// Length of a buffer, in bytes: small enough for the CPU cache, large enough to make the cost
    /// of system calls negligible, and larger than the longest record.
    pub(super) const LEN: usize = 1 << 19;
}
