//! `Inbox`: the state that `put` changes in addition to the table: numbers, times, and frames for
//! the log. Performs no I/O.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::store::history::frame::FrameBuilder;
use crate::store::history::names::Generation;
use crate::store::history::recorder_clock::RecorderClock;
use crate::store::stored_flow::FlowUpdate;
use crate::time::Timestamp;

/// Records that `put` has accepted, as frames that a thread writes to the log.
pub(super) struct Inbox {
    /// Number of the next record.
    pub(super) next_number: i64,
    pub(super) clock: RecorderClock,
    /// Generation of the current table and of its log.
    pub(super) generation: Generation,
    /// Size of the frames of the current generation, in bytes.
    pub(super) log_bytes: u64,
    frame: FrameBuilder,
    /// Frames that are in no log, oldest first.
    unwritten: VecDeque<Frames>,
    /// Size of `unwritten` in bytes.
    unwritten_bytes: usize,
    /// Generations that are not sealed, and whose log lacks records.
    unlogged: BTreeSet<Generation>,
}

/// Frames for the log of a generation.
#[derive(Clone)]
pub(super) struct Frames {
    pub(super) generation: Generation,
    pub(super) bytes: Arc<[u8]>,
}

impl Inbox {
    pub(super) fn new(generation: Generation, next_number: i64) -> Self {
        Self {
            next_number,
            clock: RecorderClock::default(),
            generation,
            log_bytes: 0,
            frame: FrameBuilder::default(),
            unwritten: VecDeque::new(),
            unwritten_bytes: 0,
            unlogged: BTreeSet::new(),
        }
    }

    /// Adds records. Above `limit` bytes of frames, the oldest frames are left out of their log: the
    /// records are in the table in any case.
    pub(super) fn add(&mut self, updates: &[FlowUpdate], now: Timestamp, limit: usize) {
        let mut frames = Vec::new();
        for update in updates {
            let packets = update.encoded_packets();
            let length = size_of::<i64>() + update.encoded.len() + packets.len();
            self.frame.push(length, |out| {
                out.extend_from_slice(&now.as_ms().to_le_bytes());
                out.extend_from_slice(&update.encoded);
                out.extend_from_slice(&packets);
            });
            if self.frame.is_full() {
                self.frame.finish(&mut frames);
            }
        }
        if !self.frame.is_empty() {
            self.frame.finish(&mut frames);
        }
        self.log_bytes += frames.len() as u64;
        self.unwritten_bytes += frames.len();
        self.unwritten.push_back(Frames {
            generation: self.generation,
            bytes: frames.into(),
        });
        while self.unwritten_bytes > limit {
            let Some(oldest) = self.unwritten.pop_front() else {
                return;
            };
            self.unwritten_bytes -= oldest.bytes.len();
            self.unlogged.insert(oldest.generation);
        }
    }

    /// Begins the next generation.
    pub(super) fn begin_next(&mut self) {
        self.generation += 1;
        self.log_bytes = 0;
    }

    /// Returns the oldest frames that are in no log.
    pub(super) fn oldest(&self) -> Option<Frames> {
        self.unwritten.front().cloned()
    }

    /// Removes frames that were written.
    pub(super) fn written(&mut self, frames: &Frames) {
        let oldest = self.unwritten.front();
        if oldest.is_some_and(|oldest| Arc::ptr_eq(&oldest.bytes, &frames.bytes)) {
            self.unwritten.pop_front();
            self.unwritten_bytes -= frames.bytes.len();
        }
    }

    /// Removes the frames of a generation that needs no log any more.
    pub(super) fn forget(&mut self, generation: Generation) {
        self.unlogged.remove(&generation);
        self.unwritten
            .retain(|frames| frames.generation != generation);
        let sizes = self.unwritten.iter().map(|frames| frames.bytes.len());
        self.unwritten_bytes = sizes.sum();
    }

    /// Returns whether records exist only in memory.
    pub(super) fn has_unlogged(&self) -> bool {
        !self.unwritten.is_empty() || !self.unlogged.is_empty()
    }

    /// Returns the size of the frames that are in no log, in bytes.
    pub(super) const fn unwritten_bytes(&self) -> usize {
        self.unwritten_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Flow;

    fn put(inbox: &mut Inbox, limit: usize) {
        let flow = Flow::default().with_uuid("f1").with_times(1000, 2000);
        inbox.add(&[FlowUpdate::new(flow)], Timestamp::from_ms(1), limit);
    }

    #[test]
    fn frames_are_written_in_order_and_forgotten_with_their_generation() {
        let mut inbox = Inbox::new(7, 1);
        put(&mut inbox, 1000);
        inbox.begin_next();
        put(&mut inbox, 1000);
        let first = inbox.oldest().unwrap();
        assert_eq!(first.generation, 7);
        assert_eq!(inbox.unwritten_bytes(), 2 * first.bytes.len());
        inbox.written(&first);
        assert_eq!(inbox.oldest().unwrap().generation, 8);
        inbox.written(&first);
        assert!(inbox.oldest().is_some(), "removed once");
        inbox.forget(8);
        assert!(inbox.oldest().is_none() && !inbox.has_unlogged());
        assert_eq!(inbox.unwritten_bytes(), 0);
    }

    #[test]
    fn frames_beyond_the_limit_are_missing_in_their_log_until_the_seal() {
        let mut inbox = Inbox::new(1, 1);
        put(&mut inbox, 1000);
        let size = inbox.unwritten_bytes();
        for _ in 0..3 {
            put(&mut inbox, 2 * size);
        }
        assert_eq!(inbox.unwritten_bytes(), 2 * size);
        while let Some(oldest) = inbox.oldest() {
            inbox.written(&oldest);
        }
        assert!(inbox.has_unlogged(), "the log is not complete");
        inbox.forget(1);
        assert!(!inbox.has_unlogged());
    }
}
