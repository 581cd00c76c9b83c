mod captures;
mod conversations;
mod properties;

use std::io::Cursor;

use self::captures::{capture_of_many_links, file, joined_capture, long_capture, mixed_capture};
use super::steering::{self, Steering};
use super::*;
use crate::capture::PcapFile;
use crate::capture::tests::frames::{frame, udp};
use crate::decode::DecoderOptions;
use crate::filter::{Filter, Predicate};
use crate::flow::{
    ExtraLayers, FinishType, Flow, FlowField, FlowQuery, FlowSource, LayerKeyMode, SortOrder,
};
use crate::packet::{CapturePoint, LinkType, PacketHeader, PacketRef};
use crate::pcap_file::{PcapWriter, Resolution};
use crate::time::Timestamp;

const MINUTE: i64 = 60_000;

fn source(bytes: Vec<u8>) -> PcapFile {
    PcapFile::from_reader("test", Cursor::new(bytes)).expect("a file")
}

fn records(bytes: Vec<u8>, options: FlowTableOptions) -> Vec<Flow> {
    let mut flows = Vec::new();
    let replay = Replay::new(options);
    let stats = replay
        .run(&mut source(bytes), &mut flows)
        .expect("no damage");
    assert_eq!(stats.flows, 0);
    flows
}

fn collected(bytes: Vec<u8>) -> (ReplayedFlows, Result<(), ReplayError>) {
    Replay::default().collect_while(&mut source(bytes), || true)
}

fn packets_of(flow: &Flow) -> (i64, i64) {
    let port = flow.transport.as_ref().map_or(0, |transport| transport.a);
    let packets = flow.metric.as_ref().map_or(0, |metric| metric.ab_packets);
    (port, packets)
}

#[test]
fn the_timers_follow_capture_time() {
    let flows = records(
        long_capture(),
        FlowTableOptions::default().with_final_only(true),
    );
    let mut found: Vec<_> = flows.iter().map(packets_of).collect();
    found.sort_unstable();
    assert_eq!(found, [(1, 1), (1, 1), (2, 2), (3, 25), (4, 1)]);
    assert!(
        flows
            .iter()
            .all(|flow| flow.finish_type == FinishType::Timeout)
    );
}

#[test]
fn without_final_only_updates_are_sent_too() {
    let options = FlowTableOptions::default();
    let all = records(mixed_capture(), options.clone()).len();
    let leaving = records(mixed_capture(), options.with_final_only(true)).len();
    assert!(all > leaving + 20, "{all} records, {leaving} leave");
}

#[test]
fn a_query_finds_each_record_as_it_would_be_sent() {
    let sent = records(
        long_capture(),
        FlowTableOptions::default().with_final_only(true),
    );
    let (flows, end) = collected(long_capture());
    end.expect("no damage");
    let mut found = flows.query(&FlowQuery::default()).expect("flows").flows;
    let key = |flow: &Flow| (flow.uuid.clone(), flow.start);
    let mut sent = sent;
    found.sort_by_key(key);
    sent.sort_by_key(key);
    assert_eq!(found, sent);
    assert_eq!(flows.count(&FlowQuery::default()), Ok(5));
    assert_eq!(flows.stats().packets, 30);
}

#[test]
fn order_and_range_apply_to_expired_and_live_flows() {
    let (flows, _) = collected(long_capture());
    let ports = |query: &FlowQuery| -> Vec<_> {
        let set = flows.query(query).expect("flows");
        assert_eq!(flows.count(query), Ok(set.flows.len() as u64));
        set.flows.iter().map(|flow| packets_of(flow).0).collect()
    };
    let sort = FlowField::parse("Transport.A").map(|field| (field, SortOrder::Descending));
    let sorted = FlowQuery {
        sort,
        ..FlowQuery::default()
    };
    assert_eq!(ports(&sorted), [4, 3, 2, 1, 1]);
    assert_eq!(
        ports(&FlowQuery {
            range: Some((1, 3)),
            ..sorted.clone()
        }),
        [3, 2]
    );
    let filter = Filter::test("Transport.A", Predicate::Lt(2));
    assert_eq!(
        ports(&FlowQuery {
            filter,
            ..FlowQuery::default()
        }),
        [1, 1]
    );
    let dedup = FlowField::parse("Transport.A");
    assert_eq!(ports(&FlowQuery { dedup, ..sorted }), [4, 3, 2, 1]);
    let elsewhere = FlowQuery {
        node_tids: Some(vec!["x".into()]),
        ..FlowQuery::default()
    };
    assert!(ports(&elsewhere).is_empty());
}

#[test]
fn damage_leaves_the_flows_before_it() {
    let mut bytes = long_capture();
    bytes.truncate(bytes.len() - 1);
    let (flows, end) = collected(bytes);
    assert!(end.is_err());
    assert_eq!(flows.count(&FlowQuery::default()), Ok(4));
}

#[test]
fn a_replay_can_be_ended_early() {
    let mut flows = Vec::new();
    let mut calls = 0;
    let mut stop = || {
        calls += 1;
        false
    };
    Replay::default()
        .run_while(&mut source(long_capture()), &mut flows, &mut stop)
        .expect("no damage");
    assert!(!flows.is_empty() && calls == 1);
}

/// Returns statistics and flows of a replay with `threads` threads, in a stable order.
fn by_threads(
    bytes: &[u8],
    options: &FlowTableOptions,
    threads: usize,
) -> (FlowTableStats, Vec<Flow>) {
    let threads = NonZeroUsize::new(threads).expect("a number of threads");
    let replay = Replay::new(options.clone()).with_threads(threads);
    let mut flows: Vec<Flow> = Vec::new();
    let mut stats = replay
        .run(&mut source(bytes.to_vec()), &mut flows)
        .expect("no damage");
    // Memory use depends on the number of threads.
    stats.bytes = 0;
    flows.sort_by_key(|flow| {
        let update = flow
            .last_update_metric
            .as_ref()
            .map_or(0, |metric| metric.last);
        (flow.uuid.clone(), update, flow.finish_type as u8)
    });
    (stats, flows)
}

#[test]
fn more_threads_join_and_follow_the_same() {
    let bytes = joined_capture();
    let base = FlowTableOptions::default()
        .with_ip_defrag(true)
        .with_reassemble_tcp(true)
        .with_extra_tcp_metric(true)
        .with_extra_layers(ExtraLayers::ALL)
        .with_raw_packet_limit(3);
    for options in [
        base.clone(),
        base.clone().with_layer_key_mode(LayerKeyMode::L3),
        base.with_recorded(true).with_final_only(true),
    ] {
        let (stats, flows) = by_threads(&bytes, &options, 1);
        assert!(stats.fragments.joined > 100 && stats.fragments.lost > 10);
        let has = |wanted: &dyn Fn(&Flow) -> bool| flows.iter().any(wanted);
        assert!(has(&|flow| flow.dns.is_some()) && has(&|flow| !flow.parent_uuid.is_empty()));
        let disorder = |flow: &Flow| {
            let tcp = flow.tcp_metric.unwrap_or_default();
            tcp.ab_segment_out_of_order + tcp.ab_retransmitted_segments
        };
        assert!(has(&|flow| disorder(flow) > 0));
        for threads in 2..=4 {
            let (other_stats, other) = by_threads(&bytes, &options, threads);
            assert_eq!(other_stats, stats, "{threads} threads");
            assert_eq!(other.len(), flows.len(), "{threads} threads");
            for (flow, other) in flows.iter().zip(&other) {
                assert_eq!(flow, other, "{threads} threads");
            }
        }
    }
}

#[test]
fn packets_of_a_long_file_reach_their_threads_unchanged() {
    let (link_type, resolution) = (LinkType::ETHERNET, Resolution::Nanoseconds);
    let mut writer = PcapWriter::new(Vec::new(), link_type, resolution).expect("in memory");
    for number in 0..4000_u16 {
        let mut ip = udp(number, 9, 1000);
        ip[15] = (number % 40).to_be_bytes()[1];
        let end = ip.len();
        ip[end - 2..].copy_from_slice(&number.to_be_bytes());
        let packet = PacketRef {
            link_type,
            timestamp: Timestamp::from_ms(1_600_000_000_000 + i64::from(number)),
            data: &frame(0x0800, &ip),
            wire_len: 1042,
        };
        writer.write(&packet).expect("in memory");
    }
    let bytes = writer.into_inner();
    let options = FlowTableOptions::default().with_raw_packet_limit(1);
    let (stats, flows) = by_threads(&bytes, &options, 1);
    let last_bytes = |flow: &Flow| {
        let data = flow
            .last_raw_packets
            .first()
            .map(|packet| packet.data.to_vec());
        data.and_then(|data| data.last_chunk::<2>().copied())
    };
    let port = |flow: &Flow| flow.transport.as_ref().map_or(0, |transport| transport.a);
    let marked = |flow: &&Flow| {
        last_bytes(flow).map(|bytes| i64::from(u16::from_be_bytes(bytes))) == Some(port(flow))
    };
    assert_eq!(flows.iter().filter(marked).count(), 4000);
    for threads in 2..=3 {
        let (other_stats, other) = by_threads(&bytes, &options, threads);
        assert_eq!(other_stats, stats);
        assert!(other == flows, "{threads} threads");
    }
}

#[test]
fn a_source_that_does_not_share_its_buffer_gives_the_same() {
    /// File that does not share its buffer.
    struct Private(PcapFile);
    impl PacketSource for Private {
        fn link_type(&self) -> LinkType {
            self.0.link_type()
        }
        fn next_batch(&mut self, wait: Duration) -> Result<Batch<'_>, CaptureError> {
            self.0.next_batch(wait)
        }
        fn stats(&mut self) -> crate::capture::CaptureStats {
            self.0.stats()
        }
    }
    let bytes = mixed_capture();
    let threads = NonZeroUsize::new(2).expect("a number of threads");
    let replay = Replay::new(FlowTableOptions::default()).with_threads(threads);
    let mut flows: Vec<Flow> = Vec::new();
    let mut private = Private(source(bytes.clone()));
    let stats = replay.run(&mut private, &mut flows).expect("no damage");
    let (wanted, records) = by_threads(&bytes, &FlowTableOptions::default(), 1);
    assert_eq!(
        (stats.packets, flows.len()),
        (wanted.packets, records.len())
    );
}

#[test]
fn more_threads_give_the_same_flows() {
    for options in [
        FlowTableOptions::default(),
        FlowTableOptions::default()
            .with_final_only(true)
            .with_extra_tcp_metric(true),
    ] {
        let bytes = mixed_capture();
        let by = |threads| by_threads(&bytes, &options, threads);
        let (stats, flows) = by(1);
        assert!(flows.len() > 200 && stats.stopped.truncated > 0);
        for threads in 2..=3 {
            let (other_stats, other) = by(threads);
            assert_eq!(other_stats, stats, "{threads} threads");
            for (flow, other) in flows.iter().zip(&other) {
                assert_eq!(flow, other, "{threads} threads");
            }
            assert_eq!(flows.len(), other.len());
        }
    }
}

#[test]
fn link_types_may_change_from_packet_to_packet() {
    let (bytes, options) = (capture_of_many_links(), FlowTableOptions::default());
    let (stats, flows) = by_threads(&bytes, &options, 1);
    let is_cooked = |flow: &&Flow| flow.link.is_none() && flow.network.is_some();
    assert!(flows.iter().filter(is_cooked).count() > 100);
    for threads in 2..=3 {
        let (other_stats, other) = by_threads(&bytes, &options, threads);
        assert_eq!(other_stats, stats, "{threads} threads");
        assert!(other == flows, "{threads} threads");
    }
}

#[test]
fn plain_headers_steer_like_decoded_ones() {
    let mut file = source(capture_of_many_links());
    let mut steering = Steering::new(DecoderOptions::default(), 1000);
    let mut plain = 0;
    while let Batch::Packets(batch) = file.next_batch(WAIT).expect("no damage") {
        for whole in batch.iter() {
            // Complete, truncated anywhere, and with each of its first bytes changed.
            let cut = (0..=whole.data.len()).map(|len| whole.data[..len].to_vec());
            let wrong = (0..whole.data.len().min(60)).map(|at| {
                let mut data = whole.data.to_vec();
                data[at] = data[at].wrapping_mul(7) ^ 0x45;
                data
            });
            for data in cut.chain(wrong) {
                let packet = PacketRef {
                    data: &data,
                    ..whole
                };
                if let Some(ends) = steering::plain_ends(&packet) {
                    assert_eq!(ends, steering.decoded_ends(packet), "{data:x?}");
                    plain += 1;
                }
            }
        }
    }
    assert!(plain > 3000);
}

/// Endless source of packets of one shard.
struct Endless(PacketHeader, Vec<u8>);

impl PacketSource for Endless {
    fn link_type(&self) -> LinkType {
        LinkType::ETHERNET
    }
    fn next_batch(&mut self, _: Duration) -> Result<Batch<'_>, CaptureError> {
        Ok(Batch::Packets(PacketBatch {
            link_type: LinkType::ETHERNET,
            buffer: &self.1,
            headers: std::slice::from_ref(&self.0),
        }))
    }
    fn stats(&mut self) -> crate::capture::CaptureStats {
        crate::capture::CaptureStats::default()
    }
}

#[test]
fn a_replay_can_be_ended_whichever_thread_has_the_packets() {
    for host in 0..8 {
        let stats = in_time(move || {
            let mut ip = udp(1, 9, 18);
            ip[15] = host;
            let data = frame(0x0800, &ip);
            let header = PacketHeader {
                timestamp: Timestamp::from_ms(1),
                offset: 0,
                captured_len: 60,
                wire_len: 60,
                point: CapturePoint::ONLY,
            };
            let threads = NonZeroUsize::new(2).expect("a number of threads");
            let replay = Replay::new(FlowTableOptions::default()).with_threads(threads);
            let mut calls = 0;
            let mut flows: Vec<Flow> = Vec::new();
            replay
                .run_while(&mut Endless(header, data), &mut flows, || {
                    calls += 1;
                    assert!(calls <= 1000, "called after it returned false");
                    calls < 1000
                })
                .expect("no damage")
        });
        assert_eq!(stats.created, 1);
    }
}

#[test]
fn a_boxed_file_lends_its_buffer_too() {
    let boxed: Box<dyn PacketSource> = Box::new(source(long_capture()));
    assert!(boxed.shared_buffer().is_some());
}

#[test]
fn more_threads_collect_the_same_flows() {
    let threads = NonZeroUsize::new(3).expect("a number of threads");
    let replay = Replay::new(FlowTableOptions::default());
    let one = replay
        .collect(&mut source(mixed_capture()))
        .expect("no damage");
    let more = replay
        .with_threads(threads)
        .collect(&mut source(mixed_capture()))
        .expect("no damage");
    let flows = |source: &ReplayedFlows| {
        let mut flows = source.query(&FlowQuery::default()).expect("flows").flows;
        flows.sort_by_key(|flow| (flow.uuid.clone(), flow.start));
        flows
    };
    assert_eq!(flows(&one), flows(&more));
    assert_eq!(
        one.count(&FlowQuery::default()),
        more.count(&FlowQuery::default())
    );
    assert!(
        more.packets_of_shards()
            .iter()
            .all(|packets| *packets > 100),
        "each thread has packets"
    );
}

/// Returns the result of work that must finish within a minute.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    let minute = Duration::from_secs(60);
    result.recv_timeout(minute).expect("no deadlock")
}

#[test]
fn no_thread_waits_for_one_that_waits_for_it() {
    // A tick before each packet is far more work than fits in the queues; all packets are of one
    // shard.
    let packets: Vec<_> = (0..5000_i64)
        .map(|number| (number * 20 * MINUTE, 1))
        .collect();
    let bytes = file(&packets);
    for threads in 2..=4 {
        let bytes = bytes.clone();
        let (flows, stats) = in_time(move || {
            let threads = NonZeroUsize::new(threads).expect("a number of threads");
            let replay = Replay::new(FlowTableOptions::default()).with_threads(threads);
            let mut flows: Vec<Flow> = Vec::new();
            let stats = replay
                .run(&mut source(bytes), &mut flows)
                .expect("no damage");
            (flows.len(), stats)
        });
        assert_eq!((stats.packets, stats.created), (5000, 5000));
        assert!(flows >= 5000);
    }
}

#[test]
fn a_panic_of_one_thread_ends_all() {
    /// Sink that panics.
    struct Broken;
    impl FlowSink for Broken {
        fn flows(&mut self, _: Vec<Flow>) {
            panic!("expected by the test");
        }
    }
    let threads = NonZeroUsize::new(3).expect("a number of threads");
    let outcome = in_time(move || {
        std::panic::catch_unwind(|| {
            let replay = Replay::new(FlowTableOptions::default()).with_threads(threads);
            replay
                .run(&mut source(mixed_capture()), &mut Broken)
                .is_ok()
        })
    });
    assert!(
        outcome.is_err(),
        "the panic is resumed on the calling thread"
    );
}

#[test]
fn more_threads_return_damage_and_can_be_ended() {
    let threads = NonZeroUsize::new(2).expect("a number of threads");
    let replay = Replay::new(FlowTableOptions::default()).with_threads(threads);
    let mut bytes = long_capture();
    bytes.truncate(bytes.len() - 1);
    let (flows, end) = replay.collect_while(&mut source(bytes), || true);
    assert!(end.is_err());
    assert_eq!(flows.count(&FlowQuery::default()), Ok(4));
    let mut sent: Vec<Flow> = Vec::new();
    let stats = replay
        .run_while(&mut source(long_capture()), &mut sent, || false)
        .expect("no damage");
    assert!(stats.packets > 0 && !sent.is_empty());
}

#[test]
fn an_icmp_error_goes_to_the_shard_of_the_flow_that_it_is_about() {
    let mut steering = Steering::new(DecoderOptions::default(), 1000);
    let mut shard = |data: &[u8]| {
        steering.shard(PacketRef {
            link_type: LinkType::RAW,
            timestamp: Timestamp::ZERO,
            data,
            wire_len: data.len() as u32,
        })
    };
    let header = |protocol: u8, source: u8, len: u8| {
        let addresses = [10, 0, 0, source, 10, 0, 0, 2];
        let fixed = [0x45, 0, 0, len, 0, 0, 0, 0, 64, protocol, 0, 0];
        [&fixed[..], &addresses].concat()
    };
    for source in 3..200 {
        let datagram = [header(17, source, 28), vec![0, 5, 0, 6, 0, 8, 0, 0]].concat();
        let error = [
            header(1, 1, 56),
            vec![11, 0, 0, 0, 0, 0, 0, 0],
            datagram.clone(),
        ]
        .concat();
        assert_eq!(shard(&error), shard(&datagram));
    }
}
