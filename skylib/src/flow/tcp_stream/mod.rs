//! TCP streams followed for their metrics: what came late, what is missing, how it began and ended.
//!
//! No payload is kept, only where it stands in the stream. Each direction of a flow has a stream:
//!
//! ```text
//!   SYN ──▶ open ── segment in order ──▶ a piece, and those that waited for it
//!            │  └── segment too early ─▶ waits
//!            ├── FIN or RST in order ──▶ done: its counters are shown
//!            └── silent for long ──────▶ goes on without what is missing, then done
//! ```
//!
//! A stream whose begin was not seen waits with all it has until it was silent for long.

use std::collections::VecDeque;

use super::tcp_metric::TcpMetric;
use crate::decode::TcpFlags;

/// The two streams of a flow: from A, from B.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams {
    ways: [Stream; 2],
    /// Of the latest stream that is done.
    done: [Counters; 2],
}

/// What a stream is told of a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) flags: TcpFlags,
    pub(super) sequence: u32,
    /// Bytes of payload.
    pub(super) len: u32,
    /// When it was captured, Unix ns.
    pub(super) seen: i64,
}

/// How streams are followed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Streams silent since before this time are done; Unix ns.
    pub(super) silent_since: i64,
    /// Whether a gap of unknown length counts as −1 byte.
    pub(super) recorded: bool,
}

#[derive(Clone, Debug)]
struct Stream {
    is_open: bool,
    /// The sequence number to come next; `None` as long as the begin is unknown.
    next: Option<u32>,
    /// Latest segment, and latest segment that was counted; Unix ns.
    last_seen: i64,
    latest: i64,
    counters: Counters,
    /// By sequence number.
    waiting: VecDeque<Page>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters {
    out_of_order: i64,
    skipped: i64,
    skipped_bytes: i64,
    packets: i64,
    bytes: i64,
    saw_start: bool,
    saw_end: bool,
}

/// A stretch of a stream that waits.
#[derive(Clone, Copy, Debug)]
struct Page {
    seen: i64,
    sequence: u32,
    len: u32,
    is_end: bool,
}

impl Streams {
    /// Follows a segment of a direction. With more than `room` bytes held afterwards the stream
    /// goes on without what it waits for; tells whether it did.
    pub(super) fn follow(
        &mut self,
        way: usize,
        segment: &Segment,
        room: usize,
        rules: Rules,
    ) -> bool {
        let (Some(stream), Some(done)) = (self.ways.get_mut(way), self.done.get_mut(way)) else {
            return false;
        };
        stream.settle(rules, done);
        stream.take(segment, rules, done);
        let is_too_much = stream.waiting.len() >= MAX_PAGES || stream.held() > room;
        if is_too_much {
            while !stream.waiting.is_empty() {
                stream.skip(rules, done);
            }
        }
        stream.tidy();
        is_too_much
    }

    /// Puts what is known into a metric: of streams that are done, or of all as if they were.
    pub(super) fn fill(&self, metric: &mut TcpMetric, rules: Rules, all: bool) {
        let [ab, ba] = [0, 1].map(|way| self.counters(way, rules, all));
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

    /// Bytes held for what waits.
    pub(super) fn held(&self) -> usize {
        self.ways.iter().map(Stream::held).sum()
    }

    fn counters(&self, way: usize, rules: Rules, all: bool) -> Counters {
        let mut done = self.done[way];
        if self.ways[way].is_open {
            let mut stream = self.ways[way].clone();
            stream.settle(rules, &mut done);
            while all && stream.is_open {
                stream.skip(rules, &mut done);
            }
        }
        done
    }
}

impl Stream {
    /// Does what time has brought.
    fn settle(&mut self, rules: Rules, done: &mut Counters) {
        let is_old = |seen: i64| seen < rules.silent_since;
        while self.waiting.front().is_some_and(|page| is_old(page.seen)) {
            self.skip(rules, done);
        }
        if self.is_open && self.waiting.is_empty() && is_old(self.last_seen) {
            self.close(done);
        }
    }

    fn take(&mut self, segment: &Segment, rules: Rules, done: &mut Counters) {
        let has = |flag| segment.flags.contains(flag);
        let (begins, ends) = (has(TcpFlags::SYN), has(TcpFlags::FIN) || has(TcpFlags::RST));
        let is_empty = segment.len == 0;
        // An end without a stream ends nothing.
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
                self.count(&page, page.len, 0, rules);
                self.go_on(false, rules, done);
            }
            Some(next) if distance(next, segment.sequence) <= 0 => {
                let (len, next) = new_bytes(next, &page);
                self.next = Some(next);
                self.count(&page, len, 0, rules);
                self.go_on(page.is_end, rules, done);
            }
            _ => self.wait(page),
        }
    }

    /// Lets a segment wait, in pages as the original has them: each counts as a piece later.
    fn wait(&mut self, segment: Page) {
        let is_before = |page: &Page| distance(page.sequence, segment.sequence) >= 0;
        let behind = self.waiting.iter().rposition(is_before);
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
            self.waiting.insert(at, page);
            if rest == 0 {
                break;
            }
            page.sequence = page.sequence.wrapping_add(page.len);
            at += 1;
        }
    }

    /// Goes on with the first that waits, whatever is missing before it; ends if nothing does.
    fn skip(&mut self, rules: Rules, done: &mut Counters) {
        match self.waiting.pop_front() {
            Some(page) => {
                self.count_page(&page, rules);
                self.go_on(page.is_end, rules, done);
            }
            None => self.close(done),
        }
    }

    /// Counts what waited for the piece just counted; ends if the last one does.
    fn go_on(&mut self, mut ends: bool, rules: Rules, done: &mut Counters) {
        while let (Some(next), Some(page)) = (self.next, self.waiting.front().copied())
            && distance(next, page.sequence) <= 0
        {
            self.waiting.pop_front();
            self.count_page(&page, rules);
            ends = page.is_end;
        }
        if ends {
            self.close(done);
        }
    }

    fn count_page(&mut self, page: &Page, rules: Rules) {
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
        self.count(page, len, gap, rules);
    }

    fn count(&mut self, page: &Page, len: u32, gap: i64, rules: Rules) {
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
            // COMPAT: recorded values of the original, where an unknown gap takes a byte away.
            counters.skipped_bytes += if rules.recorded { gap } else { gap.max(0) };
        }
        counters.saw_end |= page.is_end;
    }

    fn close(&mut self, done: &mut Counters) {
        *done = self.counters;
        *self = Self::default();
    }

    /// Gives memory back that a gap has taken.
    fn tidy(&mut self) {
        if self.waiting.is_empty() && self.waiting.capacity() > 0 {
            self.waiting = VecDeque::new();
        }
    }

    fn held(&self) -> usize {
        self.waiting.capacity() * size_of::<Page>()
    }
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            is_open: false,
            next: None,
            last_seen: i64::MIN,
            latest: i64::MIN,
            counters: Counters::default(),
            waiting: VecDeque::new(),
        }
    }
}

/// What a page adds to a stream, and what comes next then.
fn new_bytes(next: u32, page: &Page) -> (u32, u32) {
    let known = distance(page.sequence, next);
    if known <= 0 {
        return (page.len, page.sequence.wrapping_add(page.len));
    }
    let len = (i64::from(page.len) - known).max(0) as u32;
    (len, next.wrapping_add(len))
}

/// How far it is from one sequence number to another, negative for back; numbers close to the two
/// ends of their range count as neighbours.
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

/// The most payload of a page that waits.
const PAGE_BYTES: u32 = 1900;
/// The most payload of a segment; longer ones are not real.
const MAX_SEGMENT: u32 = 1 << 20;
/// The most pages that wait in a stream: about 3 MB of full segments.
const MAX_PAGES: usize = 2048;

#[cfg(test)]
mod tests;
