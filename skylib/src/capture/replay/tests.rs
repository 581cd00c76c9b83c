use std::io::Cursor;

use super::steering::{self, Steering};
use super::*;
use crate::capture::PcapFile;
use crate::capture::tests::frames::{frame, tagged, udp};
use crate::decode::DecoderOptions;
use crate::filter::{Filter, Predicate};
use crate::flow::{
    ExtraLayers, FinishType, Flow, FlowField, FlowQuery, FlowSource, LayerKeyMode, SortOrder,
};
use crate::packet::{LinkType, PacketHeader, PacketRef};
use crate::pcap_file::{PcapNgWriter, PcapWriter, Resolution};
use crate::time::Timestamp;

const MINUTE: i64 = 60_000;

/// A file of UDP packets, each with its time in ms and its source port.
fn file(packets: &[(i64, u16)]) -> Vec<u8> {
    let (link_type, resolution) = (LinkType::ETHERNET, Resolution::Microseconds);
    let mut writer = PcapWriter::new(Vec::new(), link_type, resolution).expect("in memory");
    for &(ms, port) in packets {
        let data = &frame(0x0800, &udp(port, 9, 18))[..];
        let timestamp = Timestamp::from_ms(1_600_000_000_000 + ms);
        let packet = PacketRef {
            link_type,
            timestamp,
            data,
            wire_len: 60,
        };
        writer.write(&packet).expect("in memory");
    }
    writer.into_inner()
}

fn source(bytes: Vec<u8>) -> PcapFile {
    PcapFile::from_reader("test", Cursor::new(bytes)).expect("a file")
}

fn go_on() -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn records(bytes: Vec<u8>, options: FlowTableOptions) -> Vec<Flow> {
    let mut flows = Vec::new();
    let (stats, end) = Replay::new(options).run(&mut source(bytes), &mut flows, &mut go_on);
    end.expect("no damage");
    assert_eq!(stats.flows, 0);
    flows
}

fn collected(bytes: Vec<u8>) -> (ReplayedFlows, Result<(), CaptureError>) {
    Replay::new(FlowTableOptions::default()).collect(&mut source(bytes), &mut go_on)
}

/// Flows that live in the table at the end, flows that expired, and one that came back.
fn long_capture() -> Vec<u8> {
    let mut packets = vec![(0, 1), (1, 2), (2, 2)];
    packets.extend((1..=25).map(|minute| (minute * MINUTE, 3)));
    packets.extend([(26 * MINUTE, 1), (26 * MINUTE + 1, 4)]);
    file(&packets)
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
        FlowTableOptions::default().with_leaving_only(true),
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
fn without_leaving_only_updates_are_sent_too() {
    let options = FlowTableOptions::default();
    let all = records(long_capture(), options.clone()).len();
    let leaving = records(long_capture(), options.with_leaving_only(true)).len();
    assert!(all > leaving + 20, "{all} records, {leaving} leave");
}

#[test]
fn a_query_finds_each_record_as_it_would_be_sent() {
    let sent = records(
        long_capture(),
        FlowTableOptions::default().with_leaving_only(true),
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
fn order_and_bounds_go_over_both_halves() {
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
    let dedup = Some(FlowField::parse("Transport.A"));
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
fn the_work_can_be_ended_early() {
    let mut flows = Vec::new();
    let mut calls = 0;
    let mut stop = || {
        calls += 1;
        ControlFlow::Break(())
    };
    let replay = Replay::new(FlowTableOptions::default());
    let (_, end) = replay.run(&mut source(long_capture()), &mut flows, &mut stop);
    end.expect("no damage");
    assert!(!flows.is_empty() && calls == 1);
}

/// Flows between forty pairs of addresses, tagged or not, both ways, and some without addresses;
/// over two hours, so that timers run.
fn mixed_capture() -> Vec<u8> {
    let (link_type, resolution) = (LinkType::ETHERNET, Resolution::Nanoseconds);
    let mut writer = PcapWriter::new(Vec::new(), link_type, resolution).expect("in memory");
    let mut random = 1_u32;
    for number in 0..4000_i64 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [pair, port, kind, gap] = random.to_le_bytes();
        let mut packet = udp(u16::from(port % 4), 9, 18);
        packet[15] = pair % 40;
        if kind % 2 == 0 {
            let (source, destination) = packet[12..20].split_at_mut(4);
            source.swap_with_slice(destination);
        }
        let data = match kind % 16 {
            2 | 3 => tagged(&frame(0x0800, &packet), 0x8100, 5),
            4 => tagged(&tagged(&frame(0x0800, &packet), 0x88a8, 6), 0x8100, 5),
            5 => frame(0x0806, &packet),
            6 => frame(0x0800, &packet[..10]),
            7 => frame(0x8847, &[&[0, 0, 0x11, 64], &packet[..]].concat()),
            _ => frame(0x0800, &packet),
        };
        let timestamp = Timestamp::from_ms(1_600_000_000_000 + number * 1800 + i64::from(gap));
        let wire_len = u32::try_from(data.len()).expect("a short packet");
        let packet = PacketRef {
            link_type,
            timestamp,
            data: &data,
            wire_len,
        };
        writer.write(&packet).expect("in memory");
    }
    writer.into_inner()
}

/// Datagrams in fragments, TCP segments in disorder and DNS messages between twenty pairs of
/// addresses, in and out of GRE and IPv6.
fn joined_capture() -> Vec<u8> {
    let (link_type, resolution) = (LinkType::ETHERNET, Resolution::Nanoseconds);
    let mut writer = PcapWriter::new(Vec::new(), link_type, resolution).expect("in memory");
    let mut random = 7_u32;
    for number in 0..6000_i64 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [_, kind, pair, which] = random.to_le_bytes();
        let mut ip = match kind % 4 {
            0 => {
                // Half of a datagram; more follow the first.
                let mut ip = udp(4000, 9, 16);
                let place = which % 2;
                ip[5] = which / 128;
                ip[6] = (1 - place) << 5;
                ip[7] = place * 3;
                ip
            }
            1 => {
                let mut ip = udp(5000, 53, 22);
                ip[28..40].copy_from_slice(&[0, which, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
                ip[40..50].copy_from_slice(b"\x01a\x02io\0\0\x01\0\x01");
                ip
            }
            _ => {
                let mut ip = udp(6000, 80, 40);
                ip[9] = 6;
                ip[24..28].copy_from_slice(&(u32::from(which) * 28).to_be_bytes());
                ip[32] = 5 << 4;
                ip[33] = if which < 3 { 2 } else { 16 };
                ip
            }
        };
        ip[15] = pair % 20;
        if kind & 0x30 == 0x20 {
            // The same fragments come in tunnels of IPv6, too.
            let len = u16::try_from(ip.len())
                .expect("a short packet")
                .to_be_bytes();
            let ends = [&[0xfd; 15][..], &[pair % 2], &[0xfe; 16]].concat();
            ip = [&[0x60, 0, 0, 0, len[0], len[1], 4, 64], &ends[..], &ip].concat();
        } else if kind & 0x10 != 0 {
            let mut outer = udp(0, 0, 0)[..20].to_vec();
            let len = u16::try_from(24 + ip.len()).expect("a short packet");
            outer[2..4].copy_from_slice(&len.to_be_bytes());
            outer[9] = 47;
            outer[15] = pair % 3;
            ip = [&outer[..], &[0, 0, 8, 0], &ip].concat();
        }
        let data = frame(if ip[0] == 0x60 { 0x86dd } else { 0x0800 }, &ip);
        let packet = PacketRef {
            link_type,
            timestamp: Timestamp::from_ms(1_600_000_000_000 + number * 20),
            data: &data,
            wire_len: u32::try_from(data.len()).expect("a short packet"),
        };
        writer.write(&packet).expect("in memory");
    }
    writer.into_inner()
}

/// Flows and statistics by so many threads, in an order that they do not change.
fn by_threads(
    bytes: &[u8],
    options: &FlowTableOptions,
    threads: usize,
) -> (FlowTableStats, Vec<Flow>) {
    let threads = NonZeroUsize::new(threads).expect("a number of threads");
    let replay = Replay::new(options.clone()).with_threads(threads);
    let mut flows: Vec<Flow> = Vec::new();
    let (mut stats, end) = replay.run(&mut source(bytes.to_vec()), &mut flows, &mut go_on);
    end.expect("no damage");
    // Memory is another matter.
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
        base.with_recorded(true).with_leaving_only(true),
    ] {
        let (stats, flows) = by_threads(&bytes, &options, 1);
        assert!(stats.fragments.joined > 100 && stats.fragments.lost > 10);
        let has = |wanted: &dyn Fn(&Flow) -> bool| flows.iter().any(wanted);
        assert!(has(&|flow| flow.dns.is_some()) && has(&|flow| !flow.parent_uuid.is_empty()));
        let disorder = |flow: &Flow| flow.tcp_metric.map_or(0, |tcp| tcp.ab_segment_out_of_order);
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
fn packets_of_a_long_file_reach_their_threads_whole() {
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
fn a_source_that_keeps_its_buffer_to_itself_gives_the_same() {
    /// A file that lends nothing.
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
    let (stats, end) = replay.run(&mut private, &mut flows, &mut go_on);
    end.expect("no damage");
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
            .with_leaving_only(true)
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

/// The packets of [`mixed_capture`] in turn as they were, as IP alone and behind the two headers of
/// Linux's cooked captures.
fn capture_of_many_links() -> Vec<u8> {
    let mut ethernet = source(mixed_capture());
    let mut writer = PcapNgWriter::new(Vec::new()).expect("in memory");
    let mut number = 0;
    while let Batch::Packets(batch) = ethernet.next_batch(WAIT).expect("no damage") {
        for packet in batch.iter() {
            let (kind, inside) = packet.data[12..].split_at(2);
            let (link_type, data) = match number % 4 {
                1 if kind != [8, 6] => (LinkType::RAW, inside.to_vec()),
                2 => (LinkType::LINUX_SLL, [&[0; 14], kind, inside].concat()),
                3 => (LinkType::LINUX_SLL2, [kind, &[0; 18], inside].concat()),
                _ => (LinkType::ETHERNET, packet.data.to_vec()),
            };
            number += 1;
            let packet = PacketRef {
                link_type,
                data: &data,
                wire_len: u32::try_from(data.len()).expect("a short packet"),
                ..packet
            };
            writer.write(&packet).expect("in memory");
        }
    }
    writer.into_inner()
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
            // Whole, cut anywhere, and with each of its first bytes another one.
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

/// A source of packets of one shard, without an end.
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
fn whoever_has_the_work_can_end_it() {
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
            };
            let threads = NonZeroUsize::new(2).expect("a number of threads");
            let replay = Replay::new(FlowTableOptions::default()).with_threads(threads);
            let mut calls = 0;
            let mut each = || {
                calls += 1;
                assert!(calls <= 1000, "it has said that it ends");
                if calls < 1000 {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            };
            let mut flows: Vec<Flow> = Vec::new();
            let (stats, end) = replay.run(&mut Endless(header, data), &mut flows, &mut each);
            end.expect("no damage");
            stats
        });
        assert_eq!(stats.begun, 1);
    }
}

#[test]
fn a_boxed_file_lends_its_buffer_too() {
    let boxed: Box<dyn PacketSource> = Box::new(source(long_capture()));
    assert!(boxed.shared_buffer().is_some());
}

#[test]
fn more_threads_keep_all_flows_too() {
    let threads = NonZeroUsize::new(3).expect("a number of threads");
    let replay = Replay::new(FlowTableOptions::default());
    let (one, _) = replay.collect(&mut source(mixed_capture()), &mut go_on);
    let (more, _) = replay
        .with_threads(threads)
        .collect(&mut source(mixed_capture()), &mut go_on);
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
        "work for everybody"
    );
}

/// Work that is done within a minute, or else waits for ever.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    let minute = Duration::from_secs(60);
    result.recv_timeout(minute).expect("nobody waits for ever")
}

#[test]
fn no_thread_waits_for_one_that_waits_for_it() {
    // A timer before each packet is far more work than may wait; all packets are of one shard.
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
            let (stats, end) = replay.run(&mut source(bytes), &mut flows, &mut go_on);
            end.expect("no damage");
            (flows.len(), stats)
        });
        assert_eq!((stats.packets, stats.begun), (5000, 5000));
        assert!(flows >= 5000);
    }
}

#[test]
fn a_panic_of_one_thread_ends_all() {
    /// A sink that takes nothing.
    struct Broken;
    impl FlowSink for Broken {
        fn flows(&mut self, _: Vec<Flow>) {
            panic!("this is what the test is about");
        }
    }
    let threads = NonZeroUsize::new(3).expect("a number of threads");
    let outcome = in_time(move || {
        std::panic::catch_unwind(|| {
            let replay = Replay::new(FlowTableOptions::default()).with_threads(threads);
            let (_, end) = replay.run(&mut source(mixed_capture()), &mut Broken, &mut go_on);
            end.is_ok()
        })
    });
    assert!(outcome.is_err(), "it is told to whoever waits");
}

#[test]
fn more_threads_tell_damage_and_can_be_ended() {
    let threads = NonZeroUsize::new(2).expect("a number of threads");
    let replay = Replay::new(FlowTableOptions::default()).with_threads(threads);
    let mut bytes = long_capture();
    bytes.truncate(bytes.len() - 1);
    let (flows, end) = replay.collect(&mut source(bytes), &mut go_on);
    assert!(end.is_err());
    assert_eq!(flows.count(&FlowQuery::default()), Ok(4));
    let mut sent: Vec<Flow> = Vec::new();
    let mut stop = || ControlFlow::Break(());
    let (stats, end) = replay.run(&mut source(long_capture()), &mut sent, &mut stop);
    end.expect("no damage");
    assert!(stats.packets > 0 && !sent.is_empty());
}
