//! Recorded cases of the original flow engine (`tests/data/flow-cases.json`, or `FLOW_CASES`).
//!
//! Captures are looked for in `SHARED_PCAP`, else in `shared/pcap` beside the repository. A case
//! that asks for something the table does not do yet is run without it and compared in all that
//! does not depend on it; it is then listed as waiting, with what it waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
#[cfg(feature = "pcap")]
use skylib::capture::BpfProgram;
use skylib::decode::DecoderOptions;
use skylib::flow::{ExtraLayers, Flow, FlowQuery, FlowTable, FlowTableOptions, LayerKeyMode};
use skylib::packet::{LinkType, PacketBatch, PacketHeader};
use skylib::pcap_file::PcapReader;
use skylib::time::Timestamp;

#[test]
fn flow_cases() {
    let path = std::env::var_os("FLOW_CASES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/flow-cases.json"),
        PathBuf::from,
    );
    let file: Value = serde_json::from_reader(File::open(&path).unwrap()).unwrap();
    let cases = file["cases"].as_array().unwrap();
    let (mut failed, mut waiting, mut missing) = (0, 0, 0);
    for case in cases {
        let name = case["name"].as_str().unwrap_or("?");
        let Some(table) = run(case) else {
            missing += 1;
            println!("MISSING {name}: capture {} not found", case["pcap"]);
            continue;
        };
        let waits = waits_for(case);
        let faults = check(case, &table, &waits);
        if !faults.is_empty() {
            failed += 1;
            println!("FAILED {name}");
            faults.iter().for_each(|fault| println!("  {fault}"));
        } else if !waits.is_empty() {
            waiting += 1;
            println!("waiting {name}: {}", Vec::from_iter(waits).join(", "));
        }
    }
    let run = cases.len() - missing;
    println!("flow_cases: {waiting} of these are waiting, {missing} not run for want of a capture");
    println!("flow_cases: {run} run, {failed} failed");
    assert_eq!(failed, 0);
}

/// Feeds the case's packets to a table; `None` if the capture is not there.
fn run(case: &Value) -> Option<FlowTable> {
    let options = &case["options"];
    let text = |key: &str| options[key].as_str().unwrap_or_default();
    let flag = |key: &str| options[key].as_bool().unwrap_or_default();
    let mut decoder = DecoderOptions::default();
    for (port, layer) in options["udp_port_layers"].as_object().into_iter().flatten() {
        assert_eq!(layer, "MPLS", "no other layer is registered for a port");
        decoder = decoder.with_mpls_udp_port(port.parse().unwrap());
    }
    let mode = LayerKeyMode::parse(text("layer_key_mode")).unwrap_or_default();
    let limit = options["raw_packet_limit"].as_u64().unwrap_or_default();
    let layers = options["extra_layers"].as_u64().unwrap_or_default();
    let mut table = FlowTable::new(
        FlowTableOptions::default()
            .with_node_tid(text("node_tid"))
            .with_capture_id(text("capture_id"))
            .with_layer_key_mode(mode)
            .with_raw_packet_limit(u32::try_from(limit).unwrap())
            .with_extra_tcp_metric(flag("extra_tcp_metric"))
            .with_ip_defrag(flag("ip_defrag"))
            .with_extra_layers(ExtraLayers::from_bits(u32::try_from(layers).unwrap()))
            .with_recorded(true)
            .with_decoder(decoder)
            // No timer runs in a case.
            .with_update(Duration::from_secs(1 << 40))
            .with_expire(Duration::from_secs(1 << 40)),
    );
    let link_type = LinkType(u16::try_from(case["link_type"].as_u64().unwrap()).unwrap());
    #[cfg(feature = "pcap")]
    if let Some(filter) = options["bpf"].as_str() {
        let snap_len = u32::try_from(options["bpf_snaplen"].as_u64().unwrap()).unwrap();
        let program = BpfProgram::compile(filter, link_type, snap_len).unwrap();
        table.set_filter(Some(Box::new(program)));
    }
    if let Some(name) = case["pcap"].as_str() {
        let mut reader = PcapReader::new(open_capture(name)?).unwrap();
        while let Ok(Some(batch)) = reader.next_batch() {
            table.process(&batch);
        }
    }
    for packet in case["packets"].as_array().into_iter().flatten() {
        let data = bytes(packet["hex"].as_str().unwrap());
        let header = PacketHeader {
            timestamp: Timestamp::from_ns(packet["ts_ns"].as_i64().unwrap()),
            offset: 0,
            captured_len: u32::try_from(data.len()).unwrap(),
            wire_len: u32::try_from(packet["wire_len"].as_u64().unwrap()).unwrap(),
        };
        table.process(&PacketBatch {
            link_type,
            buffer: &data,
            headers: &[header],
        });
    }
    Some(table)
}

/// What the case asks for that the table does not do yet.
fn waits_for(case: &Value) -> BTreeSet<&'static str> {
    let options = &case["options"];
    let mut waits = BTreeSet::new();
    let golden = case["golden_flows"].as_array().into_iter().flatten();
    let golden = golden.chain(case["golden_flows_sample"].as_array().into_iter().flatten());
    for flow in golden {
        let counters = flow["TCPMetric"].as_object();
        if counters.is_some_and(|all| all.iter().any(|(key, n)| is_reassembly(key) && *n != 0)) {
            waits.insert("counters of reassemble_tcp");
        }
    }
    if options.get("bpf").is_some() && cfg!(not(feature = "pcap")) {
        waits.insert("bpf (feature pcap)");
    }
    waits
}

/// Whether a field of `TCPMetric` comes from reassembly.
fn is_reassembly(key: &str) -> bool {
    ["Segment", "Packets", "Bytes", "Saw"]
        .iter()
        .any(|part| key[2..].starts_with(part))
}

/// Compares; says what differs.
fn check(case: &Value, table: &FlowTable, waits: &BTreeSet<&str>) -> Vec<String> {
    let flows = table.query(&FlowQuery::default()).unwrap().flows;
    let mut faults = Vec::new();
    let is_unfiltered = waits.contains("bpf (feature pcap)") && !all_pass(case);
    if is_unfiltered {
        // Without these other flows come out; nothing is left to compare.
        return faults;
    }
    if let Some(count) = case["expect_flow_count"].as_u64()
        && count != flows.len() as u64
    {
        faults.push(format!("{} flows, wanted {count}", flows.len()));
    }
    let found: BTreeMap<_, _> = flows
        .iter()
        .map(|flow| (flow.uuid.to_string(), comparable(flow, waits)))
        .collect();
    let whole = case["golden_flows"].as_array();
    for golden in whole
        .into_iter()
        .chain(case["golden_flows_sample"].as_array())
        .flatten()
    {
        let wanted = without(golden.clone(), waits);
        let uuid = wanted["UUID"].as_str().unwrap();
        match found.get(uuid) {
            None => faults.push(format!(
                "no flow {uuid}: wanted {wanted}\n  there are {found:#?}"
            )),
            Some(flow) => differences("", &wanted, flow, &mut faults),
        }
    }
    if let Some(golden) = whole
        && golden.len() != found.len()
    {
        faults.push(format!(
            "{} flows, golden has {}",
            found.len(),
            golden.len()
        ));
    }
    let texts = |key: &str| -> Option<Vec<&str>> {
        Some(
            case[key]
                .as_array()?
                .iter()
                .filter_map(Value::as_str)
                .collect(),
        )
    };
    if let Some(wanted) = texts("golden_uuids") {
        let uuids: Vec<&str> = found.keys().map(String::as_str).collect();
        if uuids != wanted {
            faults.push("the sets of UUIDs differ".to_owned());
        }
    }
    if let Some(wanted) = texts("golden_tracking_ids") {
        let mut ids: Vec<&str> = flows.iter().map(|flow| flow.tracking_id.as_str()).collect();
        ids.sort_unstable();
        if ids != wanted {
            faults.push("the sets of TrackingIDs differ".to_owned());
        }
    }
    for wanted in case["expect_flows"].as_array().into_iter().flatten() {
        let wanted = without(wanted.clone(), waits);
        if !found.values().any(|flow| holds(flow, &wanted)) {
            faults.push(format!("no flow like {wanted}"));
        }
    }
    if all_pass(case) && table.stats().filtered > 0 {
        faults.push(format!("{} packets were kept out", table.stats().filtered));
    }
    check_equal(case, &found, &mut faults);
    check_raw_packets(case, &flows, &mut faults);
    faults
}

/// Whether the filter of the case lets every packet pass.
fn all_pass(case: &Value) -> bool {
    case["expect_all_packets_match_bpf"]
        .as_bool()
        .unwrap_or_default()
}

fn check_equal(case: &Value, found: &BTreeMap<String, Value>, faults: &mut Vec<String>) {
    for rule in case["expect_equal"].as_array().into_iter().flatten() {
        let field = rule["field"].as_str().unwrap();
        let matching = found.values().filter(|flow| holds(flow, &rule["where"]));
        let values: BTreeSet<String> = matching.map(|flow| flow[field].to_string()).collect();
        if values.len() != 1 {
            faults.push(format!("{field} should be one, is {values:?}"));
        }
    }
}

fn check_raw_packets(case: &Value, flows: &[Flow], faults: &mut Vec<String>) {
    let Some(wanted) = case["golden_raw_packets"].as_array() else {
        return;
    };
    let raw = flows.iter().flat_map(|flow| {
        flow.last_raw_packets.iter().map(|raw| {
            serde_json::json!({
                "index": raw.index, "len": raw.data.len(), "link": raw.link_type,
                "ts": raw.timestamp, "uuid": flow.uuid.as_str(),
            })
        })
    });
    let raw: Vec<Value> = raw.collect();
    if raw != *wanted {
        faults.push(format!("raw packets {raw:?}, wanted {wanted:?}"));
    }
}

fn comparable(flow: &Flow, waits: &BTreeSet<&str>) -> Value {
    without(serde_json::to_value(flow).unwrap(), waits)
}

/// A flow without what cannot be there yet, and without what goldens leave out.
fn without(mut flow: Value, waits: &BTreeSet<&str>) -> Value {
    let Some(fields) = flow.as_object_mut() else {
        return flow;
    };
    if waits.contains("counters of reassemble_tcp")
        && let Some(metric) = fields.get_mut("TCPMetric").and_then(Value::as_object_mut)
    {
        metric.retain(|key, _| !is_reassembly(key));
    }
    if fields
        .get("RawPacketsCaptured")
        .is_some_and(|count| *count == 0)
    {
        fields.remove("RawPacketsCaptured");
    }
    flow
}

/// What differs between a golden value and ours, field by field.
fn differences(path: &str, wanted: &Value, found: &Value, faults: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                let (a, b) = (a.get(key), b.get(key));
                let path = format!("{path}.{key}");
                differences(
                    &path,
                    a.unwrap_or(&Value::Null),
                    b.unwrap_or(&Value::Null),
                    faults,
                );
            }
        }
        _ if wanted == found => {}
        _ => faults.push(format!("{path}: {found}, wanted {wanted}")),
    }
}

/// Whether a flow has every field given; null is absent.
fn holds(flow: &Value, wanted: &Value) -> bool {
    match wanted {
        Value::Object(fields) => fields.iter().all(|(key, value)| match flow.get(key) {
            Some(found) => holds(found, value),
            None => value.is_null(),
        }),
        _ => flow == wanted,
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .map(|c| c.to_digit(16).unwrap().try_into().unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// A capture of the shared folder.
fn open_capture(name: &str) -> Option<File> {
    let folder = std::env::var_os("SHARED_PCAP").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/pcap"),
        PathBuf::from,
    );
    File::open(folder.join(name)).ok()
}
