//! The stretch of a file that is in memory.

use std::io::{self, Read};
use std::sync::Arc;

use super::PcapFileError;

/// Bytes of a source that have not been handed out, at least as many as the longest record.
///
/// It asks the source for as much as it takes, but only when it is told to: whoever reads from it
/// can follow a pipe.
#[derive(Debug)]
pub(super) struct Buffer<R> {
    source: R,
    pub(super) bytes: Arc<[u8]>,
    /// Former ones that others still had when more room was needed.
    lent: Vec<Arc<[u8]>>,
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
            bytes: Self::empty(),
            lent: Vec::new(),
            start: 0,
            end: 0,
            offset: 0,
            is_drained: false,
        }
    }

    /// Moves what is unread to the front and reads once, into another buffer if somebody has kept
    /// this one.
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

    /// Moves what is unread to the front of a buffer that nobody else has.
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
