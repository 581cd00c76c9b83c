//! Counters of TCP streams (rules C1 to C19 of `docs/flows.md`): new, repeated, reordered, and
//! missing bytes, and whether start and end were seen.
//!
//! Nothing is buffered. A stream is the range of sequence numbers from its base to the next
//! expected one, with the gaps in it; all bytes of the range outside the gaps were seen. Invariant:
//! `bytes + skipped bytes = next - base`. A segment costs O(1) in order, and O(gaps) otherwise; a
//! stream has at most [`MAX_GAPS`] gaps.

use super::tcp_metric::TcpMetric;
use crate::decode::TcpFlags;

/// Streams of both ends of a flow: from A, and from B.
#[derive(Clone, Debug, Default)]
pub(super) struct StreamCounters {
    sides: [Stream; 2],
}

/// TCP segment without its payload.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StreamSegment {
    pub(super) flags: TcpFlags,
    /// Sequence number of the header.
    pub(super) sequence: u32,
    pub(super) acknowledgment: u32,
    /// Payload length, in bytes.
    pub(super) len: u32,
    /// Capture time, in Unix nanoseconds.
    pub(super) at: i64,
}

/// Stream of one end. Positions are byte numbers relative to the first segment seen.
#[derive(Clone, Debug, Default)]
struct Stream {
    /// Sequence number of the SYN.
    syn: Option<u32>,
    /// Acknowledgment number of the SYN; `None` if it acknowledges nothing.
    answered: Option<u32>,
    /// Known range; `None` before the first SYN, FIN, or payload.
    range: Option<Range>,
    /// Latest acknowledgment number that this end sent.
    acknowledged: Option<u32>,
    /// Number of duplicate acknowledgments: segments without other content that repeat
    /// `acknowledged`.
    repeats: u32,
    /// Parts of the range that were not seen, by position; at most [`MAX_GAPS`].
    gaps: Vec<Gap>,
    /// Number and total bytes of the abandoned gaps.
    settled: [i64; 2],
    out_of_order: i64,
    packets: i64,
    bytes: i64,
    saw_start: bool,
    saw_end: bool,
    retransmitted_segments: i64,
    retransmitted_bytes: i64,
}

/// Part of a stream between its first byte and the next expected one.
#[derive(Clone, Copy, Debug)]
struct Range {
    base: i64,
    next: i64,
    /// Sequence number of `next`.
    next_number: u32,
    /// Time of the first segment, in Unix nanoseconds.
    begun: i64,
    /// Position of the FIN.
    fin: Option<i64>,
}

/// Missing part of a stream.
#[derive(Clone, Copy, Debug)]
struct Gap {
    /// Sequence number of the first missing byte.
    number: u32,
    /// Length in bytes; at most [`WINDOW`].
    len: u32,
    /// Capture time of the segment that opened the gap, in Unix nanoseconds.
    at: i64,
}

/// Effect of the payload of a segment on its stream.
#[derive(Clone, Copy, Debug, Default)]
struct Payload {
    /// Bytes not seen before.
    new: i64,
    /// Whether the payload fills a gap.
    fills: bool,
    /// Whether a gap that the payload fills was opened more than a round-trip time ago.
    is_late: bool,
}

impl StreamCounters {
    /// Adds a segment of an end. `round_trip` is the round-trip time of the connection, in
    /// nanoseconds, or 0 if it is unknown. Returns whether a gap was abandoned to bound the memory.
    pub(super) fn add(&mut self, side: usize, segment: &StreamSegment, round_trip: i64) -> bool {
        let has = |flag| segment.flags.contains(flag);
        let peer = &self.sides[1 - side];
        let (peer_acknowledged, peer_repeats) = (peer.acknowledged, peer.repeats);
        let stream = &mut self.sides[side];
        stream.acknowledge(segment);
        if has(TcpFlags::SYN) {
            stream.begin(segment, peer_acknowledged);
        }
        if has(TcpFlags::RST) {
            stream.saw_end = true;
            stream.packets += 1;
        }
        if segment.len == 0 && !has(TcpFlags::FIN) {
            return false;
        }
        let first = segment.first();
        let range = *stream
            .range
            .get_or_insert_with(|| Range::new(first, segment.at));
        let from = range.position(first);
        let to = from + i64::from(segment.len);
        let is_near = (from - range.next).abs() <= WINDOW;
        if segment.len > 0 && is_near {
            // C15: the segment belongs to an earlier connection.
            if stream.syn.is_some() && from < range.base {
                return false;
            }
            let has_all =
                peer_acknowledged.is_some_and(|number| range.position(number) >= range.next);
            let is_plain = segment.flags.0 & CONTROL == 0;
            // C8: a keep-alive repeats the last byte, although that was acknowledged.
            if segment.len == 1 && is_plain && from == range.next - 1 && has_all {
                return false;
            }
            let trip = if round_trip > 0 {
                round_trip
            } else {
                UNKNOWN_TRIP_NS
            };
            let payload = stream.fill_range(from, to, segment.at, trip);
            // C5: the peer requested the segment by two or more duplicate acknowledgments.
            let is_asked = peer_repeats >= 2 && peer_acknowledged == Some(first);
            stream.count(segment, payload, is_asked);
        }
        if has(TcpFlags::FIN) {
            stream.end(segment, to);
        }
        stream.settle_gaps(MAX_GAPS)
    }

    /// Abandons all gaps and frees their memory.
    pub(super) fn settle(&mut self) {
        for stream in &mut self.sides {
            stream.settle_gaps(0);
            stream.gaps = Vec::new();
        }
    }

    /// Sets the counters of a metric.
    pub(super) fn fill(&self, metric: &mut TcpMetric) {
        let [ab, ba] = &self.sides;
        metric.ab_segment_out_of_order = ab.out_of_order;
        [metric.ab_segment_skipped, metric.ab_segment_skipped_bytes] = ab.skipped();
        metric.ab_packets = ab.packets;
        metric.ab_bytes = ab.bytes;
        metric.ab_saw_start = ab.saw_start.into();
        metric.ab_saw_end = ab.saw_end.into();
        metric.ab_retransmitted_segments = ab.retransmitted_segments;
        metric.ab_retransmitted_bytes = ab.retransmitted_bytes;
        metric.ba_segment_out_of_order = ba.out_of_order;
        [metric.ba_segment_skipped, metric.ba_segment_skipped_bytes] = ba.skipped();
        metric.ba_packets = ba.packets;
        metric.ba_bytes = ba.bytes;
        metric.ba_saw_start = ba.saw_start.into();
        metric.ba_saw_end = ba.saw_end.into();
        metric.ba_retransmitted_segments = ba.retransmitted_segments;
        metric.ba_retransmitted_bytes = ba.retransmitted_bytes;
    }

    /// Returns the allocated size of the gaps, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let gaps = |stream: &Stream| stream.gaps.capacity() * size_of::<Gap>();
        self.sides.iter().map(gaps).sum()
    }
}

impl StreamSegment {
    /// Returns the sequence number of the first payload byte.
    fn first(&self) -> u32 {
        let syn = self.flags.contains(TcpFlags::SYN);
        self.sequence.wrapping_add(u32::from(syn))
    }
}

impl Range {
    /// Returns an empty range at a sequence number.
    const fn new(number: u32, at: i64) -> Self {
        Self {
            base: 0,
            next: 0,
            next_number: number,
            begun: at,
            fin: None,
        }
    }

    /// Returns the position of a sequence number: the nearest one to `next`.
    fn position(&self, number: u32) -> i64 {
        self.next + distance(self.next_number, number)
    }

    /// Returns the sequence number of a position.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sequence numbers are positions modulo 2³²"
    )]
    const fn number(&self, position: i64) -> u32 {
        self.next_number.wrapping_add((position - self.next) as u32)
    }
}

impl Stream {
    /// Records the acknowledgment number of a segment that this end sent.
    fn acknowledge(&mut self, segment: &StreamSegment) {
        if !segment.flags.contains(TcpFlags::ACK) {
            return;
        }
        let number = segment.acknowledgment;
        let is_bare = segment.len == 0 && segment.flags.0 & CONTROL == 0;
        match self.acknowledged {
            Some(latest) if latest == number && is_bare => self.repeats += 1,
            Some(latest) if distance(latest, number) <= 0 => {}
            _ => (self.acknowledged, self.repeats) = (Some(number), 0),
        }
    }

    /// Counts a SYN and, if it is new and precedes all payload, begins the stream at it (C12, C14).
    fn begin(&mut self, segment: &StreamSegment, peer_acknowledged: Option<u32>) {
        self.packets += 1;
        if self.syn == Some(segment.sequence) {
            // C9: a SYN with payload is counted by its payload.
            self.retransmitted_segments += i64::from(segment.len == 0);
            return;
        }
        let first = segment.first();
        if self.bytes > 0 {
            self.begin_below(first);
            return;
        }
        // C14: both segments answer the same SYN, and the peer has acknowledged the former.
        let answered = segment
            .flags
            .contains(TcpFlags::ACK)
            .then_some(segment.acknowledgment);
        let is_acknowledged =
            |syn| peer_acknowledged.is_some_and(|number| distance(syn, number) > 0);
        if answered.is_some() && answered == self.answered && self.syn.is_some_and(is_acknowledged)
        {
            return;
        }
        self.answered = answered;
        (self.syn, self.saw_start) = (Some(segment.sequence), true);
        self.range = Some(Range::new(first, segment.at));
        self.gaps.clear();
        self.settled = [0; 2];
    }

    /// Sets the start of the stream to a SYN that was overtaken by the payload of the stream.
    fn begin_below(&mut self, first: u32) {
        let Some(range) = &mut self.range else {
            return;
        };
        let from = range.position(first);
        if self.syn.is_some() || from > range.base || range.next - from > WINDOW {
            return;
        }
        (self.syn, self.saw_start) = (Some(first.wrapping_sub(1)), true);
        if from < range.base {
            let missing = Gap {
                number: first,
                len: (range.base - from) as u32,
                at: range.begun,
            };
            self.gaps.insert(0, missing);
            range.base = from;
        }
    }

    /// Adds the bytes of positions `from` to `to` to the range.
    fn fill_range(&mut self, from: i64, to: i64, at: i64, trip: i64) -> Payload {
        let Some(range) = &mut self.range else {
            return Payload::default();
        };
        let mut payload = Payload::default();
        if from >= range.next {
            payload.new = to - from;
            if from > range.next {
                self.gaps.push(Gap {
                    number: range.next_number,
                    len: (from - range.next) as u32,
                    at,
                });
            }
            range.next_number = range.number(to);
            range.next = to;
            return payload;
        }
        let is_late = |since: i64| at.saturating_sub(since) > trip;
        let mut gaps = Vec::new();
        let mut open = |range: &Range, from: i64, to: i64, at: i64| {
            if from < to {
                gaps.push(Gap {
                    number: range.number(from),
                    len: (to - from) as u32,
                    at,
                });
            }
        };
        if from < range.base {
            // C16: the start was not seen, so that earlier bytes may arrive later.
            payload.new += to.min(range.base) - from;
            payload.fills = true;
            payload.is_late |= is_late(range.begun);
            open(range, to, range.base, at);
            range.base = from;
        }
        for gap in self.gaps.drain(..) {
            let begin = range.position(gap.number);
            let end = begin + i64::from(gap.len);
            let (filled, upto) = (begin.max(from), end.min(to));
            if filled >= upto {
                open(range, begin, end, gap.at);
                continue;
            }
            payload.new += upto - filled;
            payload.fills = true;
            payload.is_late |= is_late(gap.at);
            open(range, begin, filled, gap.at);
            open(range, upto, end, gap.at);
        }
        if to > range.next {
            payload.new += to - range.next;
            range.next_number = range.number(to);
            range.next = to;
        }
        self.gaps = gaps;
        payload
    }

    /// Counts the payload of a segment.
    fn count(&mut self, segment: &StreamSegment, payload: Payload, is_asked: bool) {
        let len = i64::from(segment.len);
        self.bytes += payload.new;
        let counts_anyway = TcpFlags::SYN.0 | TcpFlags::RST.0;
        if payload.new > 0 && segment.flags.0 & counts_anyway == 0 {
            self.packets += 1;
        }
        if payload.new < len {
            self.retransmitted_segments += 1;
            self.retransmitted_bytes += len - payload.new;
        } else if payload.fills && (payload.is_late || is_asked) {
            self.retransmitted_segments += 1;
            self.retransmitted_bytes += len;
        } else if payload.fills {
            self.out_of_order += 1;
        }
    }

    /// Counts a FIN at position `to`.
    fn end(&mut self, segment: &StreamSegment, to: i64) {
        let is_bare = segment.len == 0;
        self.saw_end = true;
        if let Some(range) = &mut self.range {
            if range.fin == Some(to) {
                self.retransmitted_segments += i64::from(is_bare);
            } else {
                self.packets += i64::from(is_bare);
            }
            range.fin = Some(to);
        }
    }

    /// Abandons the oldest gaps in excess of `most`, and gaps farther than [`WINDOW`] behind the
    /// next expected byte. Returns whether a gap was abandoned.
    fn settle_gaps(&mut self, most: usize) -> bool {
        let mut has_settled = false;
        while self.gaps.len() > most
            && let Some(oldest) = (0..self.gaps.len()).min_by_key(|at| self.gaps[*at].at)
        {
            self.settle_gap(oldest);
            has_settled = true;
        }
        let next = self.range.map_or(0, |range| range.next_number);
        while self
            .gaps
            .first()
            .is_some_and(|gap| -distance(next, gap.number) > WINDOW)
        {
            self.settle_gap(0);
            has_settled = true;
        }
        has_settled
    }

    fn settle_gap(&mut self, at: usize) {
        let gap = self.gaps.remove(at);
        self.settled[0] += 1;
        self.settled[1] += i64::from(gap.len);
    }

    /// Returns the number of gaps in the stream and their total length, in bytes.
    fn skipped(&self) -> [i64; 2] {
        let [count, bytes] = self.settled;
        let open: i64 = self.gaps.iter().map(|gap| i64::from(gap.len)).sum();
        [count + self.gaps.len() as i64, bytes + open]
    }
}

/// Returns the signed distance between two sequence numbers (RFC 9293, section 3.4).
const fn distance(from: u32, to: u32) -> i64 {
    to.wrapping_sub(from).cast_signed() as i64
}

/// SYN, FIN, and RST.
const CONTROL: u8 = TcpFlags::SYN.0 | TcpFlags::FIN.0 | TcpFlags::RST.0;
/// Distance from the next expected byte beyond which a segment does not belong to the stream, in
/// bytes.
const WINDOW: i64 = 1 << 30;
/// Maximum number of gaps tracked per direction of a stream.
const MAX_GAPS: usize = 32;
/// Assumed round-trip time of a connection whose handshake was not seen, in nanoseconds.
const UNKNOWN_TRIP_NS: i64 = 3_000_000;

#[cfg(test)]
mod tests;
