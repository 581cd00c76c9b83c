use super::*;

/// No stream has timed out.
const NEVER: i64 = i64::MIN;
const PLENTY: usize = usize::MAX;

/// Adds segments of A: flags, sequence number, length, time.
fn add_segment(streams: &mut RecordedStreams, segments: &[(TcpFlags, u32, u32, i64)]) {
    for (flags, sequence, len, seen) in segments.iter().copied() {
        let segment = RecordedSegment {
            flags,
            sequence,
            len,
            seen,
        };
        streams.add_segment(0, &segment, PLENTY, NEVER);
    }
}

/// Returns A's counters: segments, bytes, out of order, gaps, missing bytes, start seen, end seen.
fn counters(streams: &RecordedStreams, silent_since: i64, all: bool) -> [i64; 7] {
    let mut metric = TcpMetric::default();
    streams.fill(&mut metric, silent_since, all);
    assert_eq!(metric.ba_packets, 0);
    [
        metric.ab_packets,
        metric.ab_bytes,
        metric.ab_segment_out_of_order,
        metric.ab_segment_skipped,
        metric.ab_segment_skipped_bytes,
        metric.ab_saw_start,
        metric.ab_saw_end,
    ]
}

const SYN: TcpFlags = TcpFlags::SYN;
const FIN: TcpFlags = TcpFlags::FIN;
const RST: TcpFlags = TcpFlags::RST;
const ACK: TcpFlags = TcpFlags::ACK;

#[test]
fn a_complete_stream_is_counted_when_it_ends() {
    let mut streams = RecordedStreams::default();
    add_segment(
        &mut streams,
        &[(SYN, 9, 0, 1), (ACK, 10, 100, 2), (ACK, 110, 0, 3)],
    );
    assert_eq!(counters(&streams, NEVER, false), [0; 7]);
    assert_eq!(counters(&streams, NEVER, true), [2, 100, 0, 0, 0, 1, 0]);
    add_segment(&mut streams, &[(FIN, 110, 5, 4)]);
    assert_eq!(counters(&streams, NEVER, false), [3, 105, 0, 0, 0, 1, 1]);
    // Later acknowledgements and repeated ends open no stream.
    add_segment(&mut streams, &[(ACK, 116, 0, 5), (FIN, 115, 0, 6)]);
    assert_eq!(counters(&streams, NEVER, true), [3, 105, 0, 0, 0, 1, 1]);
}

#[test]
fn segments_are_queued_behind_a_gap() {
    let mut streams = RecordedStreams::default();
    let late = [(ACK, 310, 10, 2), (FIN, 320, 0, 3), (ACK, 110, 200, 4)];
    add_segment(&mut streams, &[(SYN, 9, 0, 1)]);
    add_segment(&mut streams, &late);
    add_segment(&mut streams, &[(ACK, 10, 100, 5)]);
    // The queued segments were captured before the missing one.
    assert_eq!(counters(&streams, NEVER, false), [5, 310, 3, 0, 0, 1, 1]);
}

#[test]
fn repeated_bytes_count_once() {
    let mut streams = RecordedStreams::default();
    add_segment(
        &mut streams,
        &[
            (SYN, 9, 0, 1),
            (ACK, 10, 100, 2),
            (ACK, 60, 100, 3),
            (ACK, 10, 20, 4),
            (RST, 160, 0, 5),
        ],
    );
    assert_eq!(counters(&streams, NEVER, false), [5, 150, 0, 0, 0, 1, 1]);
}

#[test]
fn a_gap_is_counted_when_the_stream_skips_it() {
    let mut streams = RecordedStreams::default();
    add_segment(
        &mut streams,
        &[(SYN, 9, 0, 1), (ACK, 50, 5000, 2), (FIN, 5050, 0, 3)],
    );
    assert_eq!(counters(&streams, NEVER, false), [0; 7]);
    // Three pages of a long segment and the end, after the SYN.
    let wanted = [5, 5000, 0, 1, 40, 1, 1];
    assert_eq!(counters(&streams, NEVER, true), wanted);
    let later = 10;
    assert_eq!(counters(&streams, later, false), wanted);
    streams.add_segment(
        0,
        &RecordedSegment {
            flags: SYN,
            sequence: 1,
            len: 0,
            seen: 11,
        },
        PLENTY,
        later,
    );
    assert_eq!(counters(&streams, later, false), wanted);
    assert_eq!(counters(&streams, later, true), [1, 0, 0, 0, 0, 1, 0]);
}

#[test]
fn a_stream_without_its_begin_waits_and_its_gap_is_unknown() {
    let mut streams = RecordedStreams::default();
    add_segment(
        &mut streams,
        &[(ACK, 500, 10, 1), (ACK, 510, 10, 2), (ACK, 490, 10, 3)],
    );
    assert_eq!(counters(&streams, NEVER, false), [0; 7]);
    assert_eq!(counters(&streams, NEVER, true), [3, 30, 2, 1, -1, 0, 0]);
}

#[test]
fn sequence_numbers_go_round() {
    let mut streams = RecordedStreams::default();
    let start = u32::MAX - 4;
    add_segment(
        &mut streams,
        &[
            (SYN, start, 0, 1),
            (ACK, 15, 10, 2),
            (ACK, start + 1, 19, 3),
            (FIN, 25, 0, 4),
        ],
    );
    assert_eq!(counters(&streams, NEVER, false), [4, 29, 1, 0, 0, 1, 1]);
    assert_eq!(distance(u32::MAX, 0), 1);
    assert_eq!(distance(0, u32::MAX), -1);
}

#[test]
fn a_stream_over_its_budget_skips_gaps() {
    let mut streams = RecordedStreams::default();
    add_segment(&mut streams, &[(SYN, 0, 0, 1)]);
    let mut cuts = 0;
    for number in 1..10_000_u32 {
        let segment = RecordedSegment {
            flags: ACK,
            sequence: number * 20,
            len: 10,
            seen: 2,
        };
        cuts += u32::from(streams.add_segment(0, &segment, 10_000, NEVER));
        assert!(streams.bytes() <= 10_000);
    }
    assert!(cuts > 10);
    assert_eq!(counters(&streams, NEVER, true)[..2], [10_000, 99_990]);
    let mut streams = RecordedStreams::default();
    let long = RecordedSegment {
        flags: ACK,
        sequence: 7,
        len: u32::MAX,
        seen: 1,
    };
    assert!(streams.add_segment(0, &long, 0, NEVER));
    assert_eq!(streams.bytes(), 0);
}
