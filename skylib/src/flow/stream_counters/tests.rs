use proptest::prelude::*;

use super::*;

const MS: i64 = 1_000_000;
const SYN: u8 = 0x02;
const FIN: u8 = 0x01;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// Round-trip time of the connections, in nanoseconds.
const TRIP: i64 = 20 * MS;

fn segment(at: i64, flags: u8, sequence: u32, acknowledgment: u32, len: u32) -> StreamSegment {
    StreamSegment {
        flags: TcpFlags(flags),
        sequence,
        acknowledgment,
        len,
        at: at * MS,
    }
}

/// Counts segments: end, time in milliseconds, flags, sequence number, acknowledgment, length.
fn count(segments: &[(usize, i64, u8, u32, u32, u32)]) -> TcpMetric {
    let mut streams = StreamCounters::default();
    for (side, at, flags, sequence, ack, len) in segments.iter().copied() {
        streams.add(side, &segment(at, flags, sequence, ack, len), TRIP);
    }
    let mut metric = TcpMetric::default();
    streams.fill(&mut metric);
    metric
}

/// Returns A's bytes, gaps, missing bytes, reordered segments, repeated segments, and repeated
/// bytes.
fn of_a(segments: &[(usize, i64, u8, u32, u32, u32)]) -> [i64; 6] {
    let metric = count(segments);
    [
        metric.ab_bytes,
        metric.ab_segment_skipped,
        metric.ab_segment_skipped_bytes,
        metric.ab_segment_out_of_order,
        metric.ab_retransmitted_segments,
        metric.ab_retransmitted_bytes,
    ]
}

#[test]
fn a_whole_connection_is_counted() {
    let metric = count(&[
        (0, 0, SYN, 9, 0, 0),
        (1, 10, SYN | ACK, 99, 10, 0),
        (0, 20, ACK, 10, 100, 0),
        (0, 30, ACK, 10, 100, 500),
        (1, 40, ACK, 100, 510, 0),
        (0, 90_000, ACK | FIN, 510, 100, 500),
        (1, 90_010, ACK | RST, 100, 1011, 0),
    ]);
    assert_eq!((metric.ab_bytes, metric.ab_packets), (1000, 3));
    assert_eq!((metric.ab_saw_start, metric.ab_saw_end), (1, 1));
    assert_eq!((metric.ba_packets, metric.ba_saw_end), (2, 1));
    assert_eq!(metric.ab_segment_skipped_bytes, 0);
}

#[test]
fn a_refused_attempt_that_is_made_again_is_another_attempt() {
    let metric = count(&[
        (0, 0, SYN, 9, 0, 0),
        (1, 4, RST | ACK, 0, 10, 0),
        (0, 100_000, SYN, 5_000, 0, 0),
        (0, 101_000, SYN, 5_000, 0, 0),
    ]);
    assert_eq!(metric.ab_retransmitted_segments, 1);
}

#[test]
fn what_was_seen_before_was_sent_again() {
    let first = (0, 0, ACK, 100, 1, 1000);
    // C3: once more, and overlapping.
    assert_eq!(
        of_a(&[first, (0, 300, ACK, 100, 1, 1000)]),
        [1000, 0, 0, 0, 1, 1000]
    );
    assert_eq!(
        of_a(&[first, (0, 1, ACK, 600, 1, 1000)]),
        [1500, 0, 0, 0, 1, 500]
    );
    // C9: SYN and FIN are segments of 0 bytes.
    let bare = [
        (0, 0, SYN, 9, 0, 0),
        (0, 1000, SYN, 9, 0, 0),
        (0, 1100, FIN, 10, 0, 0),
    ];
    assert_eq!(of_a(&bare), [0, 0, 0, 0, 1, 0]);
    assert_eq!(of_a(&[bare[0], bare[2], bare[2]]), [0, 0, 0, 0, 1, 0]);
}

#[test]
fn what_fills_a_gap_was_overtaken_or_lost() {
    let (first, third) = ((0, 0, ACK, 100, 1, 10), (0, 1, ACK, 120, 1, 10));
    assert_eq!(of_a(&[first, third]), [20, 1, 10, 0, 0, 0]);
    let second = |at| (0, at, ACK, 110, 1, 10);
    assert_eq!(of_a(&[first, third, second(21)]), [30, 0, 0, 1, 0, 0], "C4");
    assert_eq!(
        of_a(&[first, third, second(22)]),
        [30, 0, 0, 0, 1, 10],
        "C5"
    );
    let ask = |at| (1, at, ACK, 1, 110, 0);
    let asked = [first, third, ask(2), ask(3), ask(4), second(5)];
    assert_eq!(of_a(&asked), [30, 0, 0, 0, 1, 10], "C5, asked for");
    // C16: before the first byte seen.
    assert_eq!(
        of_a(&[third, (0, 2, ACK, 100, 1, 10)]),
        [20, 1, 10, 1, 0, 0]
    );
}

#[test]
fn a_keep_alive_is_no_repeat() {
    let data = [(0, 0, ACK, 100, 1, 10), (1, 1, ACK, 1, 110, 0)];
    let probe = (0, 9, ACK, 109, 1, 1);
    assert_eq!(of_a(&[data[0], data[1], probe]), [10, 0, 0, 0, 0, 0]);
    assert_eq!(
        of_a(&[data[0], probe]),
        [10, 0, 0, 0, 1, 1],
        "not acknowledged"
    );
}

#[test]
fn strangers_count_nothing() {
    let syn = (0, 0, SYN, 999, 0, 0);
    let far = 1000 + (1 << 30) + 1;
    assert_eq!(of_a(&[syn, (0, 1, ACK, far, 1, 10)]), [0; 6], "C7");
    assert_eq!(of_a(&[syn, (0, 1, ACK, 900, 1, 10)]), [0; 6], "C15");
}

#[test]
fn a_later_syn_and_ack_begins_the_stream_anew() {
    let first = (0, 0, SYN | ACK, 10, 1, 0);
    let other = (0, 1, SYN | ACK, 5000, 1, 0);
    let data = (0, 9, ACK, 5001, 1, 7);
    assert_eq!(of_a(&[first, other, data]), [7, 0, 0, 0, 0, 0], "C14");
    // Payload has fixed the numbers of the stream.
    let late = (0, 10, SYN | ACK, 7000, 1, 0);
    assert_eq!(of_a(&[first, other, data, late]), [7, 0, 0, 0, 0, 0]);
    // An answer of an earlier connection on the same ports counts, too, until the next one.
    assert_eq!(of_a(&[other, first, other, data]), [7, 0, 0, 0, 0, 0]);
}

#[test]
fn an_acknowledged_syn_and_ack_is_not_replaced() {
    let syn = (1, 0, SYN, 0, 0, 0);
    let first = (0, 0, SYN | ACK, 10, 1, 0);
    let acknowledgment = |len| (1, 1, ACK, 1, 11, len);
    let other = (0, 2, SYN | ACK, 5000, 1, 0);
    let data = (0, 9, ACK, 11, 1, 7);
    for len in [0, 20] {
        let segments = [syn, first, acknowledgment(len), other, data];
        assert_eq!(of_a(&segments), [7, 0, 0, 0, 0, 0], "C14");
    }
    let renewed = (0, 9, ACK, 5001, 1, 7);
    // An acknowledgment of something before it does not count.
    let older = (1, 1, ACK, 1, 10, 0);
    assert_eq!(
        of_a(&[syn, first, older, other, renewed]),
        [7, 0, 0, 0, 0, 0]
    );
    // The later segment answers another SYN, which was not captured.
    let stranger = (0, 2, SYN | ACK, 5000, 901, 0);
    let segments = [syn, first, acknowledgment(0), stranger, renewed];
    assert_eq!(of_a(&segments), [7, 0, 0, 0, 0, 0]);
    let segments = [syn, first, acknowledgment(0), stranger, first, data];
    assert_eq!(of_a(&segments), [7, 0, 0, 0, 0, 0]);
}

#[test]
fn a_syn_that_was_overtaken_is_the_start() {
    let metric = count(&[(0, 0, ACK, 100, 1, 10), (0, 1, SYN, 99, 0, 0)]);
    assert_eq!((metric.ab_saw_start, metric.ab_segment_skipped), (1, 0));
    let metric = count(&[(0, 0, ACK, 100, 1, 10), (0, 1, SYN, 89, 0, 0)]);
    assert_eq!(
        (metric.ab_saw_start, metric.ab_segment_skipped_bytes),
        (1, 10)
    );
}

#[test]
fn gaps_are_bounded() {
    let mut streams = StreamCounters::default();
    let mut settled = 0;
    for number in 0..40_u32 {
        let segment = segment(number.into(), ACK, number * 20, 1, 10);
        settled += u32::from(streams.add(0, &segment, TRIP));
    }
    let mut metric = TcpMetric::default();
    streams.fill(&mut metric);
    assert_eq!(settled, 39 - 32);
    assert_eq!(
        (metric.ab_bytes, metric.ab_segment_skipped_bytes),
        (400, 390)
    );
    assert!(streams.bytes() <= 64 * size_of::<Gap>());
    streams.settle();
    streams.fill(&mut metric);
    assert_eq!((metric.ab_segment_skipped, streams.bytes()), (39, 0));
}

proptest! {
    /// C1: seen and missing bytes add up to the range, whatever arrives.
    #[test]
    fn bytes_and_gaps_are_the_range(
        start in any::<u32>(),
        segments in prop::collection::vec((0..2_usize, 0..6_u8, -3000..6000_i32, 0..1500_u32, 0..40_i64), 0..120),
    ) {
        let mut streams = StreamCounters::default();
        for (side, flags, offset, len, at) in segments {
            let flags = [ACK, ACK, ACK, SYN, FIN | ACK, RST][usize::from(flags)];
            let sequence = start.wrapping_add_signed(offset);
            streams.add(side, &segment(at, flags, sequence, start, len), TRIP);
            for stream in &streams.sides {
                let range = stream.range.map_or(0, |range| range.next - range.base);
                prop_assert_eq!(stream.bytes + stream.skipped()[1], range);
                prop_assert!(stream.gaps.len() <= MAX_GAPS);
            }
        }
    }
}
