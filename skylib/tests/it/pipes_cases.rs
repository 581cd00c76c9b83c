//! Recorded exports of switches, routers, and software (`tests/data/pipes-cases.json`, or
//! `PIPES_CASES`): every record must have the values on which independent decoders agree.
//!
//! Captures are read from the folder `SHARED_PCAP`, by default `shared/pcap` next to the repository.
//! A case fails if its capture is missing, or if it has a key that is unknown to this runner.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};
use skylib::export::{
    CounterSample, DiscardSample, Export, ExportCounters, ExportFormat, FlowRecord, FlowSample,
    Intake, IntakeLimits, IntakeStats, OptionRecord, PacketSummary, RecordOrigin,
};
use skylib::flow::{Flow, FlowTable, FlowTableOptions, LayerKeyMode};
use skylib::packet::{CapturePoint, LinkType, PacketBatch, PacketHeader};
use skylib::pcap_file::CaptureReader;
use skylib::time::Timestamp;

#[test]
fn pipes_cases() {
    let path = std::env::var_os("PIPES_CASES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pipes-cases.json"),
        PathBuf::from,
    );
    let file: Value = serde_json::from_reader(File::open(&path).unwrap()).unwrap();
    let cases = file["exports"].as_array().unwrap();
    assert!(!cases.is_empty(), "{path:?} has no case");
    let mut out = std::io::stdout();
    let is_bare = ["SHARED_PCAP", "PIPES_CASES"]
        .iter()
        .all(|name| std::env::var_os(name).is_none())
        && !capture_folder().exists();
    if is_bare {
        writeln!(
            out,
            "SKIPPED pipes_cases: no captures; name their folder in SHARED_PCAP"
        )
        .unwrap();
        return;
    }
    let mut failed = 0;
    for case in cases {
        let faults = faults_of(case);
        if !faults.is_empty() {
            failed += 1;
            println!("FAILED {}", case["name"].as_str().unwrap_or("?"));
            faults
                .iter()
                .take(20)
                .for_each(|fault| println!("  {fault}"));
        }
    }
    writeln!(out, "pipes_cases: {} run, {failed} failed", cases.len()).unwrap();
    assert_eq!(failed, 0);
}

fn faults_of(case: &Value) -> Vec<String> {
    const KNOWN: &[&str] = &[
        "name",
        "pcap",
        "what",
        "note",
        "agree",
        "differ",
        "datagrams",
        "expect",
        "flows",
        "interfaces",
        "applications",
        "sampling",
        "samples",
        "counters",
        "drops",
        "flows_of_samples",
    ];
    let keys = case.as_object().unwrap().keys();
    let mut faults: Vec<String> = keys
        .filter(|key| !KNOWN.contains(&key.as_str()))
        .map(|key| format!("unknown key {key}"))
        .collect();
    let read = match read(case["pcap"].as_str().unwrap_or_default()) {
        Ok(read) => read,
        Err(fault) => return vec![fault],
    };
    check_counts(&case["expect"], &read.stats, &mut faults);
    for (key, found) in [
        ("flows", &read.flows),
        ("interfaces", &read.interfaces),
        ("applications", &read.applications),
        ("sampling", &read.sampling),
        ("samples", &read.samples),
        ("counters", &read.counters),
        ("drops", &read.drops),
    ] {
        if let Some(wanted) = case[key].as_array() {
            check_list(key, wanted, found, &mut faults);
        }
    }
    for wanted in case["flows_of_samples"].as_array().into_iter().flatten() {
        check_metered(wanted, &read.metered, &mut faults);
    }
    faults
}

/// Everything that was read from a capture, in the form of the cases.
#[derive(Default)]
struct Read {
    stats: IntakeStats,
    flows: Vec<Value>,
    interfaces: Vec<Value>,
    applications: Vec<Value>,
    sampling: Vec<Value>,
    samples: Vec<Value>,
    counters: Vec<Value>,
    drops: Vec<Value>,
    /// Sampled packets, with their sampling rate.
    packets: Vec<(Vec<u8>, u32, u32)>,
    /// Flows of the sampled packets; the second list is of the packets multiplied by their rate.
    metered: [Vec<Flow>; 2],
}

fn read(pcap: &str) -> Result<Read, String> {
    let name = pcap
        .strip_prefix("shared:")
        .map_or_else(|| pcap.replacen("pcap/", "pipes/", 1), str::to_owned);
    let path = capture_folder().join(name);
    let file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut reader = CaptureReader::new(file).unwrap();
    let mut intake = Intake::new(IntakeLimits::default());
    let mut read = Read::default();
    let mut last = Timestamp::ZERO;
    while let Some(batch) = reader.next_batch().unwrap() {
        for packet in batch.iter() {
            last = packet.timestamp;
            if let Some((from, datagram)) = datagram_of(packet.link_type, packet.data) {
                intake.datagram(from, datagram, last, &mut |origin, export| {
                    read.add(origin, export);
                });
            }
        }
    }
    intake.expire(last.saturating_add(Duration::from_secs(60)));
    read.stats = intake.stats();
    read.metered = [meter(&read.packets, false), meter(&read.packets, true)];
    Ok(read)
}

/// Returns the sender and the payload of a UDP packet to a port of exports.
fn datagram_of(link: LinkType, data: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let (summary, ip) = match link {
        LinkType::ETHERNET => (PacketSummary::of_frame(data), data.get(14..)?),
        LinkType::LINUX_SLL => (PacketSummary::of_ip(data.get(16..)?), data.get(16..)?),
        LinkType::LINUX_SLL2 => (PacketSummary::of_ip(data.get(20..)?), data.get(20..)?),
        LinkType::NULL => (PacketSummary::of_ip(data.get(4..)?), data.get(4..)?),
        _ => (PacketSummary::of_ip(data), data),
    };
    if summary.protocol != Some(17) {
        return None;
    }
    let tags = if summary.vlan.is_some() { 4 } else { 0 };
    let ip = ip.get(tags..)?;
    let packet = etherparse::LaxSlicedPacket::from_ip(ip).ok()?;
    let Some(etherparse::TransportSlice::Udp(udp)) = packet.transport else {
        return None;
    };
    let from = SocketAddr::new(summary.src?, udp.source_port());
    // The payload borrows from a copy of the slice; find it in the packet again.
    let length = udp.payload().len();
    let start = udp.payload().as_ptr().addr() - data.as_ptr().addr();
    Some((from, data.get(start..start + length)?))
}

impl Read {
    fn add(&mut self, origin: &RecordOrigin, export: Export<'_>) {
        match export {
            Export::Flow(flow) => self.flows.push(flow_value(origin, flow)),
            Export::Option(option) => self.add_option(origin, option),
            Export::Sample(sample) => {
                self.samples.push(sample_value(sample));
                if let Some(header) = sample.packet.header.filter(|header| header.protocol == 1) {
                    let packet = (header.bytes.to_vec(), header.frame_length, sample.rate);
                    self.packets.push(packet);
                }
            }
            Export::Counters(sample) => self.counters.push(counters_value(sample)),
            Export::Discard(sample) => self.drops.push(drop_value(sample)),
            _ => {}
        }
    }

    fn add_option(&mut self, origin: &RecordOrigin, option: &OptionRecord<'_>) {
        if let Some(sampling) = option.sampling {
            let mut value = json!({"domain": origin.domain, "rate": sampling.rate});
            set(&mut value, "selector", sampling.selector);
            self.sampling.push(value);
        }
        if let Some(interface) = option.interface {
            let mut value = json!({});
            set(&mut value, "index", interface.index);
            set(&mut value, "name", interface.name.map(text));
            set(&mut value, "description", interface.description.map(text));
            self.interfaces.push(value);
        }
        if let Some(application) = option.application {
            let id = format!("{}:{}", application.engine, application.selector);
            let mut value = json!({"id": id});
            set(&mut value, "name", application.name.map(text));
            set(&mut value, "description", application.description.map(text));
            self.applications.push(value);
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn mac(bytes: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = bytes;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

fn set(object: &mut Value, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        object[key] = value.into();
    }
}

fn set_address(object: &mut Value, key: &str, value: Option<IpAddr>) {
    set(object, key, value.map(|address| address.to_string()));
}

fn flow_value(origin: &RecordOrigin, flow: &FlowRecord<'_>) -> Value {
    let version = match origin.format {
        ExportFormat::NetFlow5 => 5,
        ExportFormat::NetFlow7 => 7,
        ExportFormat::NetFlow9 => 9,
        _ => 10,
    };
    let mut value = json!({
        "exporter": origin.exporter.to_string(),
        "domain": origin.domain,
        "version": version,
        "template": origin.template,
    });
    let object = &mut value;
    set_address(object, "a", flow.src);
    set_address(object, "b", flow.dst);
    set(object, "a_port", flow.src_port);
    set(object, "b_port", flow.dst_port);
    set(object, "protocol", flow.protocol);
    set(object, "tos", flow.tos);
    set(object, "packets", flow.counters.packets);
    set(object, "bytes", flow.counters.bytes);
    set(object, "tcp_flags", flow.counters.tcp_flags);
    set(object, "first", flow.first.map(Timestamp::as_ms));
    set(object, "last", flow.last.map(Timestamp::as_ms));
    set(object, "input", flow.input);
    set(object, "output", flow.output);
    set(object, "sampling", flow.sampling);
    set(object, "sampler_id", flow.sampler);
    set(object, "end_reason", flow.end_reason);
    set(object, "src_mac", flow.src_mac.map(mac));
    set(object, "dst_mac", flow.dst_mac.map(mac));
    set(object, "vlan", flow.vlan);
    set(object, "icmp_type", flow.icmp_type);
    set(object, "icmp_code", flow.icmp_code);
    set(object, "direction", flow.direction);
    set(object, "next_hop", flow.next_hop.map(|hop| hop.to_string()));
    set(object, "src_as", flow.src_as);
    set(object, "dst_as", flow.dst_as);
    set(object, "src_mask", flow.src_mask);
    set(object, "dst_mask", flow.dst_mask);
    set(object, "vni", flow.vni);
    set(object, "flow_id", flow.flow_id);
    set(object, "fw_event", flow.firewall_event);
    set(object, "biflow_direction", flow.biflow_direction);
    set_address(object, "nat_src", flow.translation.src);
    set_address(object, "nat_dst", flow.translation.dst);
    set(object, "nat_sport", flow.translation.src_port);
    set(object, "nat_dport", flow.translation.dst_port);
    set(object, "app_name", flow.application.map(text));
    set(object, "user", flow.user.map(text));
    set(object, "vrf_name", flow.vrf.map(text));
    set(object, "reverse", flow.reverse.map(counters_of_direction));
    value
}

fn counters_of_direction(counters: ExportCounters) -> Value {
    let mut value = json!({});
    set(&mut value, "packets", counters.packets);
    set(&mut value, "bytes", counters.bytes);
    set(&mut value, "tcp_flags", counters.tcp_flags);
    value
}

fn add_summary(value: &mut Value, summary: &PacketSummary) {
    set_address(value, "a", summary.src);
    set_address(value, "b", summary.dst);
    set(value, "protocol", summary.protocol);
    set(value, "a_port", summary.src_port);
    set(value, "b_port", summary.dst_port);
    set(value, "src_mac", summary.src_mac.map(mac));
    set(value, "dst_mac", summary.dst_mac.map(mac));
    set(value, "vlan", summary.vlan);
    set(value, "tcp_flags", summary.tcp_flags);
    set(value, "icmp_type", summary.icmp_type);
    set(value, "icmp_code", summary.icmp_code);
}

fn sample_value(sample: &FlowSample<'_>) -> Value {
    let mut value = json!({
        "agent": sample.agent.to_string(),
        "sub_agent": sample.sub_agent,
        "sequence": sample.sequence,
        "source_type": sample.source_type,
        "source_index": sample.source_index,
        "rate": sample.rate,
        "pool": sample.pool,
        "drops": sample.drops,
        "in_format": sample.input.format,
        "in_if": sample.input.value,
        "out_format": sample.output.format,
        "out_if": sample.output.value,
    });
    let packet = &sample.packet;
    if let Some(header) = packet.header {
        value["header_protocol"] = header.protocol.into();
        value["frame_length"] = header.frame_length.into();
        value["stripped"] = header.stripped.into();
        value["header_length"] = header.bytes.len().into();
    }
    set(&mut value, "src_vlan", packet.src_vlan);
    set(&mut value, "dst_vlan", packet.dst_vlan);
    set_address(&mut value, "next_hop", packet.next_hop);
    set(&mut value, "src_as", packet.src_as);
    set(&mut value, "dst_as", packet.dst_as);
    add_summary(&mut value, &packet.summary());
    value
}

fn drop_value(sample: &DiscardSample<'_>) -> Value {
    let mut value = json!({
        "agent": sample.agent.to_string(),
        "sequence": sample.sequence,
        "source_type": sample.source_type,
        "source_index": sample.source_index,
        "drops": sample.drops,
        "in_if": sample.input,
        "out_if": sample.output,
        "reason": sample.reason,
    });
    add_summary(&mut value, &sample.packet.summary());
    value
}

fn counters_value(sample: &CounterSample<'_>) -> Value {
    let named = |values: Vec<(&'static str, u64)>| -> Value {
        let pairs = values.into_iter();
        Value::Object(
            pairs
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect(),
        )
    };
    let mut value = json!({
        "agent": sample.agent.to_string(),
        "sub_agent": sample.sub_agent,
        "sequence": sample.sequence,
        "source_type": sample.source_type,
        "source_index": sample.source_index,
    });
    set(
        &mut value,
        "interface",
        sample.interface.map(|all| named(all.values())),
    );
    set(
        &mut value,
        "ethernet",
        sample.ethernet.map(|all| named(all.values())),
    );
    set(
        &mut value,
        "vlan_counters",
        sample.vlan.map(|all| named(all.values())),
    );
    set(
        &mut value,
        "ovs_dp",
        sample.ovs_datapath.map(|all| named(all.values())),
    );
    set(
        &mut value,
        "app_resources",
        sample.resources.map(|all| named(all.values())),
    );
    set(&mut value, "port_name", sample.port_name.map(text));
    set(&mut value, "host_name", sample.host_name.map(text));
    value
}

/// Meters the sampled packets; `is_scaled`: each packet as often as its rate says.
fn meter(packets: &[(Vec<u8>, u32, u32)], is_scaled: bool) -> Vec<Flow> {
    // A switch samples both directions of a flow at different interfaces, with other MAC addresses
    // and tags.
    let options = FlowTableOptions::default()
        .with_layer_key_mode(LayerKeyMode::L3)
        .with_key_ignore("vlan".parse().unwrap());
    let mut table = FlowTable::new(options);
    for (number, (bytes, wire_len, rate)) in packets.iter().enumerate() {
        let header = PacketHeader {
            timestamp: Timestamp::from_ms(1_700_000_000_000 + number as i64),
            offset: 0,
            captured_len: bytes.len() as u32,
            wire_len: *wire_len,
            point: CapturePoint::ONLY,
        };
        let headers = vec![header; if is_scaled { *rate as usize } else { 1 }];
        table.process(&PacketBatch {
            link_type: LinkType::ETHERNET,
            buffer: bytes,
            headers: &headers,
        });
    }
    let mut flows = Vec::new();
    table.flush(&mut flows);
    flows
}

fn check_counts(expect: &Value, stats: &IntakeStats, faults: &mut Vec<String>) {
    for (key, wanted) in expect.as_object().unwrap() {
        let found = match key.as_str() {
            "datagrams" => stats.datagrams,
            "flow_records" => stats.flow_records,
            "option_records" => stats.option_records,
            "templates" => stats.templates,
            "option_templates" => stats.option_templates,
            "sets_without_template" => stats.sets_without_template,
            "late_records" => stats.late_records,
            "flow_samples" => stats.flow_samples,
            "counter_samples" => stats.counter_samples,
            "drop_samples" => stats.discard_samples,
            "malformed" => stats.malformed + stats.unknown_format,
            _ => {
                faults.push(format!("unknown key expect.{key}"));
                continue;
            }
        };
        let wanted = wanted.as_u64().unwrap();
        let is_equal = match key.as_str() {
            "malformed" => found >= wanted,
            _ => found == wanted,
        };
        if !is_equal {
            faults.push(format!("{key}: {found}, expected {wanted}"));
        }
    }
}

fn check_list(what: &str, wanted: &[Value], found: &[Value], faults: &mut Vec<String>) {
    if wanted.len() != found.len() {
        faults.push(format!(
            "{what}: {} records, expected {}",
            found.len(),
            wanted.len()
        ));
    }
    for (number, (wanted, found)) in wanted.iter().zip(found).enumerate() {
        check_object(
            &format!("{what}[{number}]"),
            wanted.as_object().unwrap(),
            found,
            faults,
        );
    }
}

fn check_object(path: &str, wanted: &Map<String, Value>, found: &Value, faults: &mut Vec<String>) {
    for (key, wanted) in wanted {
        let found = &found[key];
        let is_equal = match (key.as_str(), wanted, found) {
            // The types of all records, including skipped ones.
            ("records", ..) => true,
            ("first" | "last", Value::Number(wanted), Value::Number(found)) => {
                (wanted.as_i64().unwrap() - found.as_i64().unwrap()).abs() <= 1
            }
            (_, Value::Object(wanted), found) => {
                check_object(&format!("{path}.{key}"), wanted, found, faults);
                true
            }
            (_, wanted, found) => wanted == found,
        };
        if !is_equal {
            faults.push(format!("{path}.{key}: {found}, expected {wanted}"));
        }
    }
}

/// Finds a flow by its ends, in either direction, and compares its counters.
fn check_metered(wanted: &Value, metered: &[Vec<Flow>; 2], faults: &mut Vec<String>) {
    for (flows, prefix) in metered.iter().zip(["", "scaled_"]) {
        let ends = |flow: &Flow| {
            let (network, transport) = (flow.network.as_ref()?, flow.transport.as_ref()?);
            let protocol = serde_json::to_value(transport.protocol).unwrap();
            let a = (network.a.to_string(), transport.a);
            Some((protocol, a, (network.b.to_string(), transport.b)))
        };
        let end = |side: &str| {
            let address = wanted[side].as_str().unwrap().to_owned();
            (address, wanted[format!("{side}_port")].as_i64().unwrap())
        };
        let protocol = match wanted["protocol"].as_i64() {
            Some(6) => "TCP",
            Some(17) => "UDP",
            _ => "SCTP",
        };
        let (a, b) = (end("a"), end("b"));
        let mut found = None;
        for flow in flows {
            match ends(flow) {
                Some((of, x, y)) if of == *protocol && (x == a && y == b) => {
                    found = Some((flow, false));
                }
                Some((of, x, y)) if of == *protocol && (x == b && y == a) => {
                    found = Some((flow, true));
                }
                _ => {}
            }
        }
        let Some((flow, is_reversed)) = found else {
            faults.push(format!("no flow {a:?} {b:?}"));
            continue;
        };
        let metric = flow.metric.unwrap();
        let (mut ab, mut ba) = (
            (metric.ab_packets, metric.ab_bytes),
            (metric.ba_packets, metric.ba_bytes),
        );
        if is_reversed {
            (ab, ba) = (ba, ab);
        }
        let number = |key: &str| wanted[key].as_i64().unwrap();
        let wanted_ab = (
            number(&format!("ab_{prefix}packets")),
            number(&format!("ab_{prefix}bytes")),
        );
        let wanted_ba = (
            number(&format!("ba_{prefix}packets")),
            number(&format!("ba_{prefix}bytes")),
        );
        if (ab, ba) != (wanted_ab, wanted_ba) {
            faults.push(format!(
                "flow {a:?} {b:?} {prefix}: {ab:?} {ba:?}, expected {wanted_ab:?} {wanted_ba:?}"
            ));
        }
    }
}

fn capture_folder() -> PathBuf {
    std::env::var_os("SHARED_PCAP").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/pcap"),
        PathBuf::from,
    )
}
