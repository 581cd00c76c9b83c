//! Live captures with `AfPacket`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use skylib::FlowTable;
use skylib::capture::{AfPacket, Batch, CaptureOptions, Fanout, PacketSource, PcapFile, Replay};
use skylib::flow::{Flow, FlowTableOptions};
use skylib::time::{Clock, SystemClock};

use crate::support::frames::{frame, tagged, udp};
use crate::support::{add_pair, in_new_namespace, ip, sender, wait_for_pair};

/// Timeout of waits; a test that reaches it has failed.
const LONG: Duration = Duration::from_secs(10);

fn open(interface: &str) -> AfPacket {
    AfPacket::open(&CaptureOptions::new(interface)).expect("a source")
}

/// Returns packets (bytes, wire length) until there are `count`, or none for 100 ms (the ring releases
/// its blocks after 10 ms).
fn take(source: &mut AfPacket, count: usize) -> Vec<(Vec<u8>, u32)> {
    let mut packets = Vec::new();
    while packets.len() < count {
        match source
            .next_batch(Duration::from_millis(100))
            .expect("a batch")
        {
            Batch::Packets(batch) => {
                packets.extend(
                    batch
                        .iter()
                        .map(|packet| (packet.data.to_vec(), packet.wire_len)),
                );
            }
            _ => break,
        }
    }
    packets
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn every_packet_of_both_directions_arrives_once_and_is_counted() {
    in_new_namespace(|| {
        add_pair();
        let (left, right) = (sender("left"), sender("right"));
        let mut source = open("right");
        let sent = frame(0x0800, &udp(1, 2, 18));
        for round in 0..500_u32 {
            left.send(&sent).expect("sent");
            if round % 5 == 0 {
                right.send(&sent).expect("sent");
            }
        }
        let packets = take(&mut source, 601);
        assert_eq!(packets.len(), 600);
        assert!(
            packets
                .iter()
                .all(|(data, len)| *data == sent && *len == 60)
        );
        let stats = source.stats();
        assert_eq!(
            (stats.received, stats.dropped, stats.if_dropped),
            (600, 0, 0)
        );
        assert_eq!(
            source.stats().received,
            600,
            "totals are not reset with the kernel's counters"
        );
    });
}

/// Returns the properties of each flow that do not depend on the time of the capture, sorted.
fn timeless(flows: &[Flow]) -> Vec<String> {
    let mut lines: Vec<String> = flows
        .iter()
        .map(|flow| {
            let metric = flow.metric.unwrap();
            let packets = (
                metric.ab_packets,
                metric.ab_bytes,
                metric.ba_packets,
                metric.ba_bytes,
            );
            let streams = flow.tcp_metric.as_ref();
            let streams =
                streams.map(|tcp| (tcp.ab_bytes, tcp.ab_retransmitted_bytes, tcp.ba_bytes));
            let ids = (&flow.tracking_id, &flow.l3_tracking_id, &flow.layers_path);
            // The UUID of the enclosing flow depends on the time.
            let mut wire = flow.wire.clone();
            if let Some(wire) = &mut wire {
                wire.ba_parent_uuid = "".into();
            }
            let ends = (&flow.network, &flow.transport, &flow.initiator, wire);
            format!(
                "{ids:?} {ends:?} {packets:?} {streams:?} {:?} {}",
                flow.finish_type,
                metric.rtt > 0
            )
        })
        .collect();
    lines.sort_unstable();
    lines
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_replayed_file_gives_the_flows_of_the_file() {
    if Command::new("tcpreplay").arg("--version").output().is_err() {
        eprintln!("skipped: tcpreplay (Debian package tcpreplay) is not installed");
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/truth");
    in_new_namespace(|| {
        add_pair();
        for name in [
            "a01-vlan-two-tenants",
            "a04-ip-protocols-apart",
            "a09-mpls-two-customers",
            "a14-vxlan-vni",
            "b10-refused",
            "c05-retransmitted",
            "c09-wrap",
            "c14-gap",
            "f01-synack-first",
        ] {
            let path = folder.join(name).with_extension("pcap");
            let options = FlowTableOptions::default().with_reassemble_tcp(true);
            let mut file = PcapFile::open(&path).unwrap();
            let wanted = Replay::new(options.clone()).flows(&mut file).unwrap();
            let mut source = open("right");
            let mut table = FlowTable::new(options);
            let mut tcpreplay = Command::new("tcpreplay");
            tcpreplay.args(["-q", "-i", "left"]).arg(&path);
            let mut child = tcpreplay.stdout(Stdio::null()).spawn().unwrap();
            loop {
                let has_ended = child.try_wait().unwrap().is_some();
                match source.next_batch(Duration::from_millis(100)).unwrap() {
                    Batch::Packets(batch) => table.process(&batch),
                    _ if has_ended => break,
                    _ => {}
                }
            }
            let mut flows = Vec::new();
            table.flush(&mut flows);
            assert_eq!(timeless(&flows), timeless(&wanted), "{name}");
        }
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn timestamps_are_those_of_the_clock_and_do_not_go_back() {
    in_new_namespace(|| {
        add_pair();
        let left = sender("left");
        let mut source = open("right");
        let before = SystemClock.now();
        for _ in 0..100 {
            left.send(&frame(0x0800, &udp(1, 2, 18))).expect("sent");
        }
        let mut times = Vec::new();
        while times.len() < 100 {
            let Batch::Packets(batch) = source.next_batch(LONG).expect("a batch") else {
                panic!()
            };
            times.extend(batch.headers.iter().map(|header| header.timestamp));
        }
        assert!(times.is_sorted() && times[0] < times[99]);
        assert!(before <= times[0] && times[99] <= SystemClock.now());
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_tag_that_the_kernel_removed_is_restored() {
    in_new_namespace(|| {
        add_pair();
        let left = sender("left");
        let mut source = open("right");
        let plain = frame(0x0800, &udp(1, 2, 100));
        let frames = [
            tagged(&plain, 0x8100, 0x6005),
            tagged(&plain, 0x88a8, 7),
            tagged(&tagged(&plain, 0x8100, 5), 0x8100, 6),
            plain,
        ];
        for frame in &frames {
            left.send(frame).expect("sent");
        }
        let packets = take(&mut source, 4);
        assert_eq!(packets.len(), 4);
        for (frame, (data, len)) in frames.iter().zip(&packets) {
            assert_eq!((data, *len as usize), (frame, frame.len()));
        }
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn only_the_header_size_is_captured_and_the_wire_length_is_unchanged() {
    in_new_namespace(|| {
        add_pair();
        let left = sender("left");
        let options = CaptureOptions::new("right").with_header_size(64);
        let mut source = AfPacket::open(&options).expect("a source");
        let plain = frame(0x0800, &udp(1, 2, 1000));
        left.send(&plain).expect("sent");
        left.send(&tagged(&plain, 0x8100, 5)).expect("sent");
        let packets = take(&mut source, 2);
        assert_eq!(packets[0], (plain[..64].to_vec(), 1042));
        assert_eq!(packets[1], (tagged(&plain, 0x8100, 5)[..64].to_vec(), 1046));
        let all = CaptureOptions::new("right").with_header_size(0);
        let mut source = AfPacket::open(&all).expect("a source");
        left.send(&plain).expect("sent");
        assert_eq!(take(&mut source, 1), [(plain, 1042)]);
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn packets_dropped_by_a_full_ring_are_counted() {
    in_new_namespace(|| {
        add_pair();
        let left = sender("left");
        let options = CaptureOptions::new("right").with_ring(4096, 2);
        let mut source = AfPacket::open(&options).expect("a source");
        for _ in 0..1000 {
            left.send(&frame(0x0800, &udp(1, 2, 18))).expect("sent");
        }
        let packets = take(&mut source, 1001).len() as u64;
        let stats = source.stats();
        assert_eq!(
            (stats.received, stats.received - stats.dropped),
            (1000, packets)
        );
        assert!(stats.dropped > 900, "{stats:?}");
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn sent_packets_can_be_excluded_and_are_on_the_loopback_interface() {
    in_new_namespace(|| {
        add_pair();
        ip("link set lo up");
        let (left, lo) = (sender("left"), sender("lo"));
        let options = CaptureOptions::new("left").with_outgoing(false);
        let mut source = AfPacket::open(&options).expect("a source");
        left.send(&frame(0x0800, &udp(1, 2, 18))).expect("sent");
        assert_eq!(take(&mut source, 1), []);
        let mut source = open("lo");
        let sent = frame(0x0800, &udp(1, 2, 18));
        lo.send(&sent).expect("sent");
        assert_eq!(take(&mut source, 2), [(sent, 60)]);
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_group_of_sources_shares_the_packets_flow_by_flow() {
    in_new_namespace(|| {
        add_pair();
        let left = sender("left");
        let options = CaptureOptions::new("right").with_fanout(Fanout::Group(7));
        let mut sources = [(); 2].map(|()| AfPacket::open(&options).expect("a source"));
        for port in 0..64 {
            for _ in 0..3 {
                left.send(&frame(0x0800, &udp(1000 + port, 53, 18)))
                    .expect("sent");
            }
        }
        let [first, second] = sources.each_mut().map(|source| take(source, 193));
        assert_eq!(first.len() + second.len(), 192);
        assert!(!first.is_empty() && !second.is_empty());
        assert!(
            first
                .iter()
                .all(|(data, _)| second.iter().all(|(other, _)| data != other))
        );
    });
}

/// Two members of each group, as two writers of a recording or two shards of a capture have.
#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_group_of_sources_excludes_sent_packets_and_sees_loopback_packets_once() {
    in_new_namespace(|| {
        add_pair();
        ip("link set lo up");
        let count = |interface: &str, outgoing: bool| {
            let options = CaptureOptions::new(interface)
                .with_outgoing(outgoing)
                .with_fanout(Fanout::New);
            let first = AfPacket::open(&options).expect("a source");
            let group = first.fanout_group().expect("a group");
            let options = options.with_fanout(Fanout::Group(group));
            let mut sources = [first, AfPacket::open(&options).expect("a source")];
            let socket = sender(interface);
            for port in 0..16 {
                let packet = frame(0x0800, &udp(1000 + port, 53, 18));
                socket.send(&packet).expect("sent");
            }
            sources
                .iter_mut()
                .map(|source| take(source, 33).len())
                .sum::<usize>()
        };
        assert_eq!(count("left", true), 16);
        assert_eq!(count("left", false), 0);
        assert_eq!(count("lo", true), 16);
        assert_eq!(count("lo", false), 16);
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_waker_ends_the_wait_at_once() {
    in_new_namespace(|| {
        add_pair();
        let mut source = open("right");
        let waker = source.waker();
        waker.wake();
        assert!(
            matches!(source.next_batch(LONG), Ok(Batch::Timeout)),
            "woken before the wait"
        );
        let waiting = format!("/proc/self/task/{}/status", rustix::thread::gettid());
        let thread = std::thread::spawn(move || {
            let begun = SystemClock.now();
            let is_asleep =
                || std::fs::read_to_string(&waiting).is_ok_and(|s| s.contains("S (sleeping)"));
            while !is_asleep() && SystemClock.now().duration_since(begun) < LONG {
                std::thread::yield_now();
            }
            waker.wake();
        });
        let before = SystemClock.now();
        assert!(matches!(source.next_batch(LONG), Ok(Batch::Timeout)));
        assert!(SystemClock.now().duration_since(before) < LONG / 2);
        thread.join().expect("the thread");
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_removed_interface_ends_the_capture_with_a_clear_error() {
    in_new_namespace(|| {
        add_pair();
        let left = sender("left");
        let mut source = open("right");
        left.send(&frame(0x0800, &udp(1, 2, 18))).expect("sent");
        ip("link del left");
        assert_eq!(
            take(&mut source, 1).len(),
            1,
            "packets before the removal are returned first"
        );
        let end = loop {
            match source.next_batch(LONG) {
                Ok(Batch::Timeout) => {}
                other => break other.map(|_| ()),
            }
        };
        assert_eq!(
            end.unwrap_err().to_string(),
            r#"interface "right" was removed"#
        );
        assert!(source.next_batch(LONG).is_err(), "and remains so");
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn a_capture_outlives_the_interface_being_down() {
    in_new_namespace(|| {
        add_pair();
        let left = sender("left");
        let mut source = open("right");
        ip("link set right down");
        assert!(matches!(
            source.next_batch(Duration::from_millis(1)),
            Ok(Batch::Timeout)
        ));
        ip("link set right up");
        wait_for_pair();
        left.send(&frame(0x0800, &udp(1, 2, 18))).expect("sent");
        let mut packets = Vec::new();
        for _ in 0..20 {
            packets.extend(take(&mut source, 1));
        }
        assert_eq!(packets.len(), 1);
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn what_cannot_be_opened_says_why() {
    in_new_namespace(|| {
        add_pair();
        let error = |name: &str| {
            AfPacket::open(&CaptureOptions::new(name))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(error("eth9"), r#"interface "eth9" not found"#);
        assert_eq!(
            error("a-name-that-is-too-long"),
            r#"interface "a-name-that-is-too-long" not found"#
        );
        ip("link set right down");
        assert_eq!(
            error("right"),
            r#"interface "right" is down (bring it up: ip link set right up)"#
        );
        let options = CaptureOptions::new("left").with_ring(5000, 1);
        let error = AfPacket::open(&options).unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot allocate a capture ring of 5000 bytes for left"
        );
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn without_the_capability_the_error_says_which() {
    in_new_namespace(|| {
        add_pair();
        let nobody = rustix::process::Uid::from_raw(65534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("this thread as nobody");
        let error = AfPacket::open(&CaptureOptions::new("left"))
            .unwrap_err()
            .to_string();
        let wanted =
            "cannot capture on left: needs CAP_NET_RAW (run as root or: setcap cap_net_raw+ep /";
        assert!(error.starts_with(wanted), "{error}");
    });
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn an_interface_of_another_namespace_is_captured_from_outside() {
    in_new_namespace(|| {
        add_pair();
        let inside = format!("/proc/self/task/{}/ns/net", rustix::thread::gettid());
        let left = sender("left");
        let outside = std::thread::spawn(move || {
            // Another new namespace, which has no such interface.
            in_new_namespace(move || {
                let options = CaptureOptions::new("right").with_netns(&inside);
                let mut source = AfPacket::open(&options).expect("a source");
                left.send(&frame(0x0800, &udp(1, 2, 18))).expect("sent");
                assert_eq!(take(&mut source, 1).len(), 1);
                assert!(AfPacket::open(&CaptureOptions::new("right")).is_err());
                let error = AfPacket::open(&CaptureOptions::new("eth9").with_netns(&inside));
                let wanted = format!(r#"interface "eth9" not found in network namespace {inside}"#);
                assert_eq!(error.unwrap_err().to_string(), wanted);
            });
        });
        outside.join().expect("the thread outside");
        let error = AfPacket::open(&CaptureOptions::new("left").with_netns("/run/no-such"));
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "cannot enter network namespace /run/no-such");
    });
}

#[cfg(feature = "pcap")]
mod filters {
    use skylib::capture::BpfFilter;

    use super::*;

    /// Returns the indexes of the frames that arrive with a filter.
    fn arriving(filter: &str, frames: &[Vec<u8>]) -> Vec<usize> {
        let filter = BpfFilter::parse(filter).expect("an expression");
        let options = CaptureOptions::new("right").with_filter(filter);
        let mut source = AfPacket::open(&options).expect("a source");
        let left = sender("left");
        for frame in frames {
            left.send(frame).expect("sent");
        }
        let end = frame(0x0801, &[0; 46]);
        left.send(&end).expect("sent");
        let packets = take(&mut source, frames.len() + 1);
        let received = source.stats().received;
        assert_eq!(
            received,
            packets.len() as u64,
            "packets that the filter rejects are not counted"
        );
        let number = |data: &Vec<u8>| frames.iter().position(|frame| frame == data);
        packets
            .iter()
            .filter_map(|(data, _)| number(data))
            .collect()
    }

    fn frames() -> Vec<Vec<u8>> {
        let plain = frame(0x0800, &udp(53, 4000, 30));
        vec![
            plain.clone(),
            frame(0x0800, &udp(1, 2, 80)),
            frame(0x88cc, &[1; 46]),
            tagged(&plain, 0x8100, 5),
            tagged(&plain, 0x88a8, 0x2007),
            tagged(&tagged(&plain, 0x8100, 7), 0x8100, 5),
        ]
    }

    #[test]
    #[ignore = "needs root: creates network namespaces"]
    fn expressions_that_know_tags_see_whole_frames() {
        in_new_namespace(|| {
            add_pair();
            let frames = frames();
            let handle = pcap::Capture::dead(pcap::Linktype::ETHERNET).expect("libpcap");
            for text in [
                "vlan",
                "not vlan",
                "vlan 5",
                "vlan 5 and udp",
                "not vlan 5",
                "vlan and vlan 7",
                "vlan 7 or (vlan 7 and udp)",
                "udp or (vlan and udp port 53)",
                "ether proto 0x8100",
                "(vlan and greater 76) or len = 72",
                "vlan and ether[12] = 0x88",
                "vlan and ether[13:4] > 0",
                "vlan and ether[14] & 0xe0 = 0x20",
            ] {
                let oracle = handle.compile(text, true).expect("an expression");
                let wanted: Vec<_> = (0..frames.len())
                    .filter(|index| oracle.filter(&frames[*index]))
                    .collect();
                assert_eq!(arriving(text, &frames), wanted, "{text:?}");
            }
        });
    }

    #[test]
    #[ignore = "needs root: creates network namespaces"]
    fn expressions_that_do_not_know_tags_match_after_the_first_one() {
        in_new_namespace(|| {
            add_pair();
            assert_eq!(arriving("udp port 53", &frames()), [0, 3, 4]);
            assert_eq!(arriving("not udp", &frames()), [2, 5]);
            // The number of a tag's EtherType in another field.
            assert_eq!(
                arriving("udp port 33024 or udp port 53", &frames()),
                [0, 3, 4]
            );
        });
    }

    #[test]
    #[ignore = "needs root: creates network namespaces"]
    fn the_snap_length_is_in_the_filter() {
        in_new_namespace(|| {
            add_pair();
            let filter = BpfFilter::parse("udp or vlan").expect("an expression");
            let options = CaptureOptions::new("right")
                .with_filter(filter)
                .with_header_size(50);
            let mut source = AfPacket::open(&options).expect("a source");
            let left = sender("left");
            left.send(&frames()[1]).expect("sent");
            left.send(&frames()[3]).expect("sent");
            let lengths: Vec<_> = take(&mut source, 2)
                .iter()
                .map(|(data, len)| (data.len(), *len))
                .collect();
            assert_eq!(lengths, [(50, 122), (50, 76)]);
        });
    }
}
