//! Totals of flow tables over whole captures.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use skylib::flow::{Flow, FlowQuery, FlowTable, FlowTableOptions, LayerKeyMode};
use skylib::pcap_file::CaptureReader;

use super::{captures, folder, shared};
use crate::flow_table::Packets;

/// Returns the capture with known totals and its totals: `FLOW_TRUTH` (with a `.json` file next to
/// it), or else a capture from the generator next to the repository.
fn truth() -> (Packets, Value) {
    let path = std::env::var_os("FLOW_TRUTH").map_or_else(generated_capture, PathBuf::from);
    let truth = File::open(path.with_added_extension("json")).unwrap();
    let packets = Packets::read(&path).expect("a capture file");
    (packets, serde_json::from_reader(truth).unwrap())
}

/// Generates the capture unless it exists; returns its path.
fn generated_capture() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join("flow-truth.pcap");
    if path.exists() {
        return path;
    }
    let unfinished = folder.join("flow-truth.tmp");
    let output = Command::new("python3")
        .arg(shared("tools").join("make_pcap.py"))
        .args(["--preset", "ci", "-o"])
        .arg(&unfinished)
        .output()
        .expect("python3 is installed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the generator failed: {error}");
    let json = |path: &Path| path.with_added_extension("json");
    std::fs::rename(json(&unfinished), json(&path)).unwrap();
    std::fs::rename(&unfinished, &path).unwrap();
    path
}

#[test]
#[ignore = "needs a generated capture: FLOW_TRUTH, or ../shared/tools and python3 with numpy"]
fn totals_equal_the_truth_of_a_generated_capture() {
    let (packets, truth) = truth();
    let mut table = FlowTable::new(FlowTableOptions::default());
    table.process(&packets.batch());
    let flows = table.query(&FlowQuery::default()).unwrap().flows;
    // Flows, packets, and bytes of each kind, distinguished by the fields in the JSON form.
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
            // The outer flows have the bytes of the frames; each connection has one inner flow.
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

#[test]
#[ignore = "needs captures: SHARED_PCAP or ../shared/pcap"]
fn scenario_expire_now_sends_all() {
    let path = folder().join("icmpv4-symetric.pcap");
    let packets = Packets::read(&path).expect("icmpv4-symetric.pcap is among the captures");
    let mut table = FlowTable::new(FlowTableOptions::default());
    table.process(&packets.batch());
    let mut sent: Vec<Flow> = Vec::new();
    table.flush(&mut sent);
    assert_eq!((table.len(), sent.len()), (0, 100));
}

#[test]
#[ignore = "needs captures: SHARED_PCAP or ../shared/pcap"]
fn every_packet_of_every_capture_is_counted_once() {
    for path in captures() {
        check_outermost(&path);
    }
}

/// Fails if a packet is in no outermost flow or in two.
fn check_outermost(path: &Path) {
    let open = || CaptureReader::new(File::open(path).unwrap());
    for mode in [LayerKeyMode::L2, LayerKeyMode::L3] {
        let mut reader = open().unwrap_or_else(|error| panic!("{path:?}: {error}"));
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
    }
}
