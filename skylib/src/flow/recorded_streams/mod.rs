//! TCP streams with the option `recorded`: reordered, missing, and delivered segments, start, and
//! end as counted by Skydive. Without that option, [`stream_counters`](super::stream_counters)
//! counts them.
//!
//! Reassembly without data: only sequence ranges are stored, in a queue sorted by sequence number.
//! An in-order segment costs O(1), an out-of-order segment O(n) in the number of queued ranges, at
//! most 2048. Each direction of a flow has a stream:
//!
//! ```text
//!   SYN ──▶ open ── segment in order ──▶ counted, with the queued ones that follow it
//!            │  └── segment too early ─▶ queued
//!            ├── FIN or RST in order ──▶ done: its counters are shown
//!            └── timeout ─────────────▶ skips what is missing, then done
//! ```
//!
//! A stream whose start was not seen queues all its segments until the timeout.

use std::collections::VecDeque;

use super::tcp_metric::TcpMetric;
use crate::decode::TcpFlags;

/// Both streams of a flow: from A, and from B.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordedStreams {
    directions: [HalfStream; 2],
    /// Counters of the latest completed stream in each direction.
    done: [StreamCounters; 2],
}

/// TCP segment without its payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordedSegment {
    /// Flags of the header.
    pub(super) flags: TcpFlags,
    /// Sequence number of the first payload byte.
    pub(super) sequence: u32,
    /// Payload length, in bytes.
    pub(super) len: u32,
    /// Capture time, in Unix nanoseconds.
    pub(super) seen: i64,
}

/// Stream of one direction.
#[derive(Clone, Debug)]
struct HalfStream {
    /// Whether a segment was seen since the previous stream completed.
    is_open: bool,
    /// Next expected sequence number; `None` while the start is unknown.
    next: Option<u32>,
    /// Maximum capture time of the segments, in Unix nanoseconds.
    last_seen: i64,
    /// Maximum capture time of the counted segments, in Unix nanoseconds.
    latest: i64,
    counters: StreamCounters,
    /// Segments after a gap, sorted by sequence number; all are after `next` if it is known.
    queued: VecDeque<Page>,
}

/// Counters of a stream; see [`TcpMetric`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct StreamCounters {
    out_of_order: i64,
    skipped: i64,
    skipped_bytes: i64,
    packets: i64,
    bytes: i64,
    saw_start: bool,
    saw_end: bool,
}

/// Queued range of a stream: at most [`PAGE_BYTES`] bytes of a segment.
#[derive(Clone, Copy, Debug)]
struct Page {
    seen: i64,
    sequence: u32,
    len: u32,
    is_end: bool,
}

impl RecordedStreams {
    /// Adds a segment of a direction. A stream without a segment since `silent_since` (Unix
    /// nanoseconds) has timed out. If the queue then exceeds `budget` bytes or its page limit, the
    /// stream skips all gaps; returns whether it did.
    pub(super) fn add_segment(
        &mut self,
        direction: usize,
        segment: &RecordedSegment,
        budget: usize,
        silent_since: i64,
    ) -> bool {
        let (Some(stream), Some(done)) = (
            self.directions.get_mut(direction),
            self.done.get_mut(direction),
        ) else {
            return false;
        };
        stream.apply_timeouts(silent_since, done);
        stream.add(segment, done);
        let is_too_much = stream.queued.len() >= MAX_QUEUED_PAGES || stream.bytes() > budget;
        if is_too_much {
            while !stream.queued.is_empty() {
                stream.skip_gap(done);
            }
        }
        stream.release_memory();
        is_too_much
    }

    /// Sets the counters of a metric. Counts completed streams and, if `all` is true, open streams
    /// as if they were completed now. Streams without a segment since `silent_since` (Unix
    /// nanoseconds) have timed out.
    pub(super) fn fill(&self, metric: &mut TcpMetric, silent_since: i64, all: bool) {
        let [ab, ba] = [0, 1].map(|direction| self.counters(direction, silent_since, all));
        metric.ab_segment_out_of_order = ab.out_of_order;
        metric.ab_segment_skipped = ab.skipped;
        metric.ab_segment_skipped_bytes = ab.skipped_bytes;
        metric.ab_packets = ab.packets;
        metric.ab_bytes = ab.bytes;
        metric.ab_saw_start = ab.saw_start.into();
        metric.ab_saw_end = ab.saw_end.into();
        metric.ba_segment_out_of_order = ba.out_of_order;
        metric.ba_segment_skipped = ba.skipped;
        metric.ba_segment_skipped_bytes = ba.skipped_bytes;
        metric.ba_packets = ba.packets;
        metric.ba_bytes = ba.bytes;
        metric.ba_saw_start = ba.saw_start.into();
        metric.ba_saw_end = ba.saw_end.into();
    }

    /// Returns the allocated size of the queues, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.directions.iter().map(HalfStream::bytes).sum()
    }

    /// Returns the counters of a direction, as [`fill`](Self::fill) sets them.
    fn counters(&self, direction: usize, silent_since: i64, all: bool) -> StreamCounters {
        let mut done = self.done[direction];
        if self.directions[direction].is_open {
            let mut stream = self.directions[direction].clone();
            stream.apply_timeouts(silent_since, &mut done);
            while all && stream.is_open {
                stream.skip_gap(&mut done);
            }
        }
        done
    }
}

impl HalfStream {
    /// Skips gaps and closes the stream where the timeout has passed.
    fn apply_timeouts(&mut self, silent_since: i64, done: &mut StreamCounters) {
        let is_old = |seen: i64| seen < silent_since;
        while self.queued.front().is_some_and(|page| is_old(page.seen)) {
            self.skip_gap(done);
        }
        if self.is_open && self.queued.is_empty() && is_old(self.last_seen) {
            self.close(done);
        }
    }

    /// Adds a segment: counts it if it is in order, and queues it otherwise.
    fn add(&mut self, segment: &RecordedSegment, done: &mut StreamCounters) {
        let has = |flag| segment.flags.contains(flag);
        let (begins, ends) = (has(TcpFlags::SYN), has(TcpFlags::FIN) || has(TcpFlags::RST));
        let is_empty = segment.len == 0;
        // A FIN or RST without an open stream has no effect; neither has an empty segment.
        if is_empty && !begins && !(ends && self.is_open) {
            return;
        }
        self.is_open = true;
        self.last_seen = self.last_seen.max(segment.seen);
        let mut page = Page {
            seen: segment.seen,
            sequence: segment.sequence,
            len: segment.len.min(MAX_SEGMENT),
            is_end: ends,
        };
        match self.next {
            None if begins => {
                self.counters.saw_start = true;
                page.is_end = false;
                self.next = Some(segment.sequence.wrapping_add(page.len).wrapping_add(1));
                self.count(&page, page.len, 0);
                self.drain_queue(false, done);
            }
            Some(next) if distance(next, segment.sequence) <= 0 => {
                let (len, next) = new_bytes(next, &page);
                self.next = Some(next);
                self.count(&page, len, 0);
                self.drain_queue(page.is_end, done);
            }
            _ => self.enqueue(page),
        }
    }

    /// Queues a segment, split into pages as in Skydive, which counts each page as a segment.
    fn enqueue(&mut self, segment: Page) {
        let is_before = |page: &Page| distance(page.sequence, segment.sequence) >= 0;
        let behind = self.queued.iter().rposition(is_before);
        let mut at = behind.map_or(0, |before| before + 1);
        let mut page = Page {
            is_end: false,
            ..segment
        };
        let mut rest = segment.len;
        loop {
            page.len = rest.min(PAGE_BYTES);
            rest -= page.len;
            page.is_end = segment.is_end && rest == 0;
            self.queued.insert(at, page);
            if rest == 0 {
                break;
            }
            page.sequence = page.sequence.wrapping_add(page.len);
            at += 1;
        }
    }

    /// Counts the first queued page regardless of the gap before it; closes the stream if there is
    /// none.
    fn skip_gap(&mut self, done: &mut StreamCounters) {
        match self.queued.pop_front() {
            Some(page) => {
                self.count_page(&page);
                self.drain_queue(page.is_end, done);
            }
            None => self.close(done),
        }
    }

    /// Counts the queued pages that are now in order; closes the stream if the last one ends it.
    fn drain_queue(&mut self, mut ends: bool, done: &mut StreamCounters) {
        while let (Some(next), Some(page)) = (self.next, self.queued.front().copied())
            && distance(next, page.sequence) <= 0
        {
            self.queued.pop_front();
            self.count_page(&page);
            ends = page.is_end;
        }
        if ends {
            self.close(done);
        }
    }

    /// Counts a queued page with the gap before it.
    fn count_page(&mut self, page: &Page) {
        let (gap, len) = match self.next {
            None => {
                self.next = Some(page.sequence.wrapping_add(page.len));
                (-1, page.len)
            }
            Some(next) => {
                let gap = distance(next, page.sequence).max(0);
                let (len, next) = new_bytes(next, page);
                self.next = Some(next);
                (gap, len)
            }
        };
        self.count(page, len, gap);
    }

    /// Counts a piece of `len` new bytes after a gap of `gap` bytes (−1: unknown).
    fn count(&mut self, page: &Page, len: u32, gap: i64) {
        let counters = &mut self.counters;
        if page.seen < self.latest {
            counters.out_of_order += 1;
        } else {
            self.latest = page.seen;
        }
        counters.packets += 1;
        counters.bytes += i64::from(len);
        if gap != 0 {
            counters.skipped += 1;
            // COMPAT: Skydive subtracts a byte for a gap of unknown length.
            counters.skipped_bytes += gap;
        }
        counters.saw_end |= page.is_end;
    }

    /// Completes the stream: publishes its counters and resets it.
    fn close(&mut self, done: &mut StreamCounters) {
        *done = self.counters;
        *self = Self::default();
    }

    /// Frees the memory of an empty queue.
    fn release_memory(&mut self) {
        if self.queued.is_empty() && self.queued.capacity() > 0 {
            self.queued = VecDeque::new();
        }
    }

    /// Returns the allocated size of the queue, in bytes.
    fn bytes(&self) -> usize {
        self.queued.capacity() * size_of::<Page>()
    }
}

impl Default for HalfStream {
    fn default() -> Self {
        Self {
            is_open: false,
            next: None,
            last_seen: i64::MIN,
            latest: i64::MIN,
            counters: StreamCounters::default(),
            queued: VecDeque::new(),
        }
    }
}

/// Returns the number of bytes that a page adds to a stream, and the next expected sequence number.
fn new_bytes(next: u32, page: &Page) -> (u32, u32) {
    let known = distance(page.sequence, next);
    if known <= 0 {
        return (page.len, page.sequence.wrapping_add(page.len));
    }
    let len = (i64::from(page.len) - known).max(0) as u32;
    (len, next.wrapping_add(len))
}

/// Returns the distance from one sequence number to another, negative if `to` is before `from`.
///
/// Wraps around only between the first and the last quarter of the range, as in Skydive.
fn distance(from: u32, to: u32) -> i64 {
    const QUARTER: u32 = u32::MAX / 4;
    let is_low = |number: u32| number < QUARTER;
    let is_high = |number: u32| number > u32::MAX - QUARTER;
    let lap = 1_i64 << 32;
    let plain = i64::from(to) - i64::from(from);
    if is_high(from) && is_low(to) {
        plain + lap
    } else if is_high(to) && is_low(from) {
        plain - lap
    } else {
        plain
    }
}

/// Maximum payload of a page, in bytes.
const PAGE_BYTES: u32 = 1900;
/// Maximum payload of a segment, in bytes; longer payloads (from damaged headers) are truncated.
const MAX_SEGMENT: u32 = 1 << 20;
/// Maximum number of queued pages per stream: approximately 3 MB of full segments.
const MAX_QUEUED_PAGES: usize = 2048;

#[cfg(test)]
mod tests;
