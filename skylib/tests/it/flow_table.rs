//! The flow table on whole captures: totals, allocations, and sent flows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use skylib::flow::{
    ExtraLayers, Flow, FlowQuery, FlowTable, FlowTableOptions, LayerKeyMode, PacketFilter,
};
use skylib::packet::{LinkType, PacketBatch, PacketHeader, PacketRef};
use skylib::pcap_file::{CaptureReader, PcapReader};
use skylib::time::Timestamp;

use crate::allocations;

/// All packets of a file, in memory as one batch.
struct Packets {
    buffer: Vec<u8>,
    headers: Vec<PacketHeader>,
}

impl Packets {
    fn read(path: &Path) -> Option<Self> {
        let mut packets = Self {
            buffer: Vec::new(),
            headers: Vec::new(),
        };
        let mut reader = PcapReader::new(BufReader::new(File::open(path).ok()?)).unwrap();
        while let Some(batch) = reader.next_batch().unwrap() {
            for packet in batch.iter() {
                packets.push(packet.timestamp, packet.data, packet.wire_len);
            }
        }
        Some(packets)
    }

    fn push(&mut self, timestamp: Timestamp, data: &[u8], wire_len: u32) {
        let offset = u32::try_from(self.buffer.len()).unwrap();
        let captured_len = u32::try_from(data.len()).unwrap();
        self.buffer.extend(data);
        self.headers.push(PacketHeader {
            timestamp,
            offset,
            captured_len,
            wire_len,
        });
    }

    fn batch(&self) -> PacketBatch<'_> {
        PacketBatch {
            link_type: LinkType::ETHERNET,
            buffer: &self.buffer,
            headers: &self.headers,
        }
    }
}

fn shared(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared")
        .join(folder)
}

/// Returns the capture with known flows: `FLOW_TRUTH` (with its description next to it), else one
/// from the generator next to the repository, else none.
fn truth() -> Option<(Packets, Value)> {
    let path = std::env::var_os("FLOW_TRUTH").map_or_else(
        || {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("flow-truth.pcap");
            if !path.exists() {
                let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("flow-truth.tmp");
                let generator = shared("tools").join("make_pcap.py");
                let mut command = Command::new("python3");
                command
                    .arg(generator)
                    .args(["--preset", "ci", "-o"])
                    .arg(&made);
                if command.output().is_ok_and(|output| output.status.success()) {
                    std::fs::rename(
                        made.with_added_extension("json"),
                        path.with_added_extension("json"),
                    )
                    .ok();
                    std::fs::rename(made, &path).ok();
                }
            }
            path
        },
        PathBuf::from,
    );
    let truth = File::open(path.with_added_extension("json")).ok()?;
    Some((
        Packets::read(&path)?,
        serde_json::from_reader(truth).unwrap(),
    ))
}

#[test]
fn totals_equal_the_truth_of_a_generated_capture() {
    let Some((packets, truth)) = truth() else {
        println!("SKIPPED: no generated capture (needs python3 with numpy, or FLOW_TRUTH)");
        return;
    };
    let mut table = FlowTable::new(FlowTableOptions::default());
    table.process(&packets.batch());
    let flows = table.query(&FlowQuery::default()).unwrap().flows;
    // Flows, packets and bytes of each kind, identified by what clients see.
    let mut kinds: BTreeMap<&str, [i64; 3]> = BTreeMap::new();
    for flow in &flows {
        let metric = flow.metric.unwrap();
        let counts = [
            1,
            metric.ab_packets + metric.ba_packets,
            metric.ab_bytes + metric.ba_bytes,
        ];
        let sums = kinds.entry(kind(flow)).or_default();
        sums.iter_mut()
            .zip(counts)
            .for_each(|(sum, count)| *sum += count);
    }
    for (kind, wanted) in truth["kinds"].as_object().unwrap() {
        let wanted = ["flows", "packets", "bytes"].map(|key| wanted[key].as_i64().unwrap());
        let found = kinds.get(kind.as_str()).copied().unwrap_or_default();
        if kind == "vxlan4" || kind == "gre4" {
            // The outer flows have the frames' bytes; the inner ones are one for each connection.
            assert_eq!(found[1..], wanted[1..], "{kind}");
            let inner = if kind == "gre4" { "in gre" } else { "in vxlan" };
            assert_eq!(kinds[inner][..2], wanted[..2], "{inner}");
        } else {
            assert_eq!(found, wanted, "{kind}");
        }
    }
    let outermost = flows.iter().filter(|flow| flow.parent_uuid.is_empty());
    let totals = outermost
        .map(|flow| flow.metric.unwrap())
        .fold((0, 0), |(packets, bytes), m| {
            (
                packets + m.ab_packets + m.ba_packets,
                bytes + m.ab_bytes + m.ba_bytes,
            )
        });
    let wanted = (
        truth["packets"].as_i64().unwrap(),
        truth["frame_bytes"].as_i64().unwrap(),
    );
    assert_eq!(totals, wanted);
}

/// Returns the generator's name for the kind of a flow.
fn kind(flow: &Flow) -> &'static str {
    let path = flow.layers_path.as_str();
    match (path, flow.parent_uuid.is_empty()) {
        ("Ethernet/IPv4/TCP", true) => "tcp4",
        ("Ethernet/IPv4/TCP", false) => "in vxlan",
        ("IPv4/TCP", false) => "in gre",
        ("Ethernet/IPv4/UDP/VXLAN", true) => "vxlan4",
        ("Ethernet/IPv4/GRE", true) => "gre4",
        ("Ethernet/IPv6/TCP", true) => "tcp6",
        ("Ethernet/Dot1Q/IPv4/TCP", true) => "vlan4",
        ("Ethernet/Dot1Q/Dot1Q/IPv4/TCP", true) => "qinq4",
        ("Ethernet/IPv4/ICMPv4", true) => "icmp4",
        ("Ethernet/IPv6/ICMPv6/ICMPv6Echo", true) => "icmp6",
        ("Ethernet/IPv4/UDP/DNS", true) => "dns4",
        _ if path.starts_with("Ethernet/IPv4/UDP") => "udp4",
        _ if path.starts_with("Ethernet/IPv6/UDP") => "udp6",
        _ => "?",
    }
}

/// Returns TCP segments, each of its own connection.
fn connections(count: u32) -> Packets {
    let mut packets = Packets {
        buffer: Vec::new(),
        headers: Vec::new(),
    };
    for number in 0..count {
        let [_, net, high, low] = number.to_be_bytes();
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0];
        frame.extend([
            0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, net, 1, 10, 0, 0, 2,
        ]);
        frame.extend([
            high, low, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 1, 0, 0, 0, 0, 0,
        ]);
        packets.push(Timestamp::from_ms(1), &frame, 60);
    }
    packets
}

#[test]
fn packets_of_known_flows_allocate_nothing() {
    /// A filter that reads every packet and matches it.
    struct NotEmpty;
    impl PacketFilter for NotEmpty {
        fn matches(&self, packet: &PacketRef<'_>) -> bool {
            !packet.data.is_empty()
        }
    }
    let packets = connections(20_000);
    let options = FlowTableOptions::default;
    for options in [
        options().with_extra_tcp_metric(true),
        options().with_layer_key_mode(LayerKeyMode::L3),
        options().with_recorded(true),
        options().with_raw_packet_limit(1),
        options().with_final_only(true).with_max_bytes(64 << 20),
        options().with_application_timeouts(vec![("TCP".into(), Duration::from_secs(10))]),
    ] {
        let mut table = FlowTable::new(options);
        table.set_filter(Some(Box::new(NotEmpty)));
        table.process(&packets.batch());
        let ((), allocations) = allocations::count(|| {
            table.process(&packets.batch());
            table.process(&packets.batch());
        });
        assert_eq!(allocations, 0, "{:?}", table.options());
        assert_eq!(table.stats().packets, 60_000);
    }
}

/// Returns packets with payload for the options: DNS queries, TCP in order, and datagrams of two
/// fragments.
fn looked_into() -> Packets {
    let mut packets = Packets {
        buffer: Vec::new(),
        headers: Vec::new(),
    };
    let mut push = |id: u8, fragment: [u8; 2], protocol: u8, payload: &[u8]| {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0];
        frame.push(20 + payload.len() as u8);
        frame.extend([0, id, fragment[0], fragment[1], 64, protocol, 0, 0]);
        frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(payload);
        packets.push(Timestamp::from_ms(1), &frame, 60);
    };
    for id in 0..100 {
        let ports = [16, id, 0, 53];
        let dns = [&ports[..], &[0, 20, 0, 0], &[0; 12]].concat();
        push(id, [0, 0], 17, &dns);
        push(id, [0x20, 0], 17, &dns[..16]);
        push(id, [0, 2], 17, &dns[16..]);
        let segment = |sequence: u8, flags: u8| {
            let mut segment = [&ports[..], &[0, 0, 0, sequence, 0, 0, 0, 0, 0x50, flags]].concat();
            segment.extend([0; 6]);
            segment
        };
        push(id, [0, 0], 6, &segment(0, 0x02));
        push(id, [0, 0], 6, &[segment(1, 0x10), vec![0; 5]].concat());
    }
    packets
}

#[test]
fn packets_that_are_looked_into_allocate_nothing_once_memory_is_there() {
    let packets = looked_into();
    let options = FlowTableOptions::default()
        .with_ip_defrag(true)
        .with_reassemble_tcp(true)
        .with_extra_layers(ExtraLayers::ALL);
    let mut table = FlowTable::new(options);
    table.process(&packets.batch());
    table.process(&packets.batch());
    let ((), allocations) = allocations::count(|| table.process(&packets.batch()));
    assert_eq!(allocations, 0);
    assert_eq!(table.stats().fragments.joined, 3 * 200);
}

#[test]
fn flows_in_a_table_that_was_full_before_allocate_nothing() {
    let packets = connections(20_000);
    let mut table = FlowTable::new(FlowTableOptions::default().with_extra_tcp_metric(true));
    let mut sent: Vec<Flow> = Vec::new();
    for _ in 0..2 {
        table.process(&packets.batch());
        table.flush(&mut sent);
        table.update(Timestamp::from_ms(2), &mut sent);
    }
    let ((), allocations) = allocations::count(|| table.process(&packets.batch()));
    assert_eq!(allocations, 0);
    assert_eq!((table.len(), sent.len()), (20_000, 40_000));
}

#[test]
fn a_new_table_allocates_by_the_chunk() {
    let packets = connections(20_000);
    let mut table = FlowTable::new(FlowTableOptions::default());
    let ((), allocations) = allocations::count(|| table.process(&packets.batch()));
    assert!(allocations < 50, "{allocations}");
}

#[test]
fn scenario_expire_now_sends_all() {
    let folder = std::env::var_os("SHARED_PCAP").map_or_else(|| shared("pcap"), PathBuf::from);
    let Some(packets) = Packets::read(&folder.join("icmpv4-symetric.pcap")) else {
        println!("SKIPPED: icmpv4-symetric.pcap is not there");
        return;
    };
    let mut table = FlowTable::new(FlowTableOptions::default());
    table.process(&packets.batch());
    let mut sent: Vec<Flow> = Vec::new();
    table.flush(&mut sent);
    assert_eq!((table.len(), sent.len()), (0, 100));
}

#[test]
fn every_packet_of_every_capture_is_counted_once() {
    let root = std::env::var_os("SHARED_PCAP").map_or_else(|| shared("pcap"), PathBuf::from);
    let mut folders = vec![root];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if count_outermost(&path) {
                files += 1;
            }
        }
    }
    println!("{files} captures read");
}

/// Returns whether the file is a capture; fails if a packet is in no outermost flow or in two.
fn count_outermost(path: &Path) -> bool {
    let Ok(mut reader) = File::open(path)
        .map_err(drop)
        .and_then(|f| CaptureReader::new(f).map_err(drop))
    else {
        return false;
    };
    for mode in [LayerKeyMode::L2, LayerKeyMode::L3] {
        let mut table = FlowTable::new(FlowTableOptions::default().with_layer_key_mode(mode));
        while let Ok(Some(batch)) = reader.next_batch() {
            table.process(&batch);
        }
        let stats = table.stats();
        let flows = table.query(&FlowQuery::default()).unwrap().flows;
        let outermost = flows.iter().filter(|flow| flow.parent_uuid.is_empty());
        let metrics = outermost.map(|flow| flow.metric.unwrap());
        let packets: i64 = metrics
            .map(|metric| metric.ab_packets + metric.ba_packets)
            .sum();
        let wanted = i64::try_from(stats.packets - stats.without_flow).unwrap();
        assert_eq!(packets, wanted, "{path:?} {mode:?}");
        let mut sent: Vec<Flow> = Vec::new();
        table.flush(&mut sent);
        assert_eq!(sent.len() as u64, stats.created, "{path:?} {mode:?}");
        assert_eq!(table.stats().flows, 0);
        reader = CaptureReader::new(File::open(path).unwrap()).unwrap();
    }
    true
}
