//! Recorded cases of Skydive's flow engine (`tests/data/flow-cases.json`, or `FLOW_CASES`).
//!
//! Captures are read from the folder `SHARED_PCAP`, by default `shared/pcap` next to the repository.
//! A case fails if its capture is missing or if it has a field that is unknown to this runner.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use skylib::capture::BpfProgram;
use skylib::decode::DecoderOptions;
use skylib::flow::{ExtraLayers, Flow, FlowQuery, FlowTable, FlowTableOptions, LayerKeyMode};
use skylib::packet::{CapturePoint, LinkType, PacketBatch, PacketHeader};
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
    assert!(!cases.is_empty(), "{path:?} has no case");
    // Without the variables, a plain clone has no captures; with one of them, none may be missing.
    let is_bare = ["SHARED_PCAP", "FLOW_CASES"]
        .iter()
        .all(|name| std::env::var_os(name).is_none())
        && !capture_folder().exists();
    let (mut failed, mut skipped) = (0, 0);
    for case in cases {
        if is_bare && case["kind"] == "pcap" {
            skipped += 1;
            continue;
        }
        let mut faults = unknown_fields(case);
        match run(case) {
            Ok(table) => check(case, &table, &mut faults),
            Err(fault) => faults.push(fault),
        }
        if !faults.is_empty() {
            failed += 1;
            println!("FAILED {}", case["name"].as_str().unwrap_or("?"));
            faults.iter().for_each(|fault| println!("  {fault}"));
        }
    }
    // Written to the terminal directly, because the test harness captures stdout and stderr.
    let mut out = std::io::stdout().lock();
    if skipped > 0 {
        writeln!(
            out,
            "SKIPPED {skipped} cases: no captures; name their folder in SHARED_PCAP"
        )
        .unwrap();
    }
    let run = cases.len() - skipped;
    writeln!(out, "flow_cases: {run} run, {failed} failed").unwrap();
    drop(out);
    assert_eq!(failed, 0);
}

/// Returns the fields of a case that are unknown to this runner.
fn unknown_fields(case: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check = |what: &str, object: &Value, known: &[&str]| {
        for key in object.as_object().into_iter().flat_map(|all| all.keys()) {
            if !known.contains(&key.as_str()) {
                faults.push(format!("unknown field {what}{key}"));
            }
        }
    };
    check("", case, CASE_FIELDS);
    check("options.", &case["options"], OPTIONS);
    for packet in case["packets"].as_array().into_iter().flatten() {
        check("packets.", packet, &["hex", "ts_ns", "wire_len"]);
    }
    for rule in case["expect_equal"].as_array().into_iter().flatten() {
        check("expect_equal.", rule, &["field", "where"]);
    }
    match case["kind"].as_str() {
        Some("pcap") if case["pcap"].is_string() => {}
        Some("packets") if case["packets"].is_array() => {}
        kind => faults.push(format!("kind {kind:?} has no packets here")),
    }
    faults
}

/// Fields of a case; the last six are informational.
const CASE_FIELDS: &[&str] = &[
    "name",
    "kind",
    "pcap",
    "packets",
    "link_type",
    "options",
    "packets_in_file",
    "expect_flow_count",
    "expect_flows",
    "expect_equal",
    "expect_all_packets_match_bpf",
    "golden_flows",
    "golden_flows_sample",
    "golden_uuids",
    "golden_tracking_ids",
    "golden_raw_packets",
    "origin",
    "note",
    "original_result",
    "decoded_layers_of_last_packet",
    "pcap_repo_path",
    "pcap_sha256",
];

const OPTIONS: &[&str] = &[
    "layer_key_mode",
    "extra_tcp_metric",
    "reassemble_tcp",
    "ip_defrag",
    "extra_layers",
    "raw_packet_limit",
    "node_tid",
    "capture_id",
    "udp_port_layers",
    "bpf",
    "bpf_snaplen",
];

/// Feeds the packets of a case to a table.
fn run(case: &Value) -> Result<FlowTable, String> {
    let options = &case["options"];
    let text = |key: &str| options[key].as_str().unwrap_or_default();
    let flag = |key: &str| options[key].as_bool().unwrap_or_default();
    let mut decoder = DecoderOptions::default();
    for (port, layer) in options["udp_port_layers"].as_object().into_iter().flatten() {
        if layer != "MPLS" {
            return Err(format!("no way to register {layer} for a port"));
        }
        decoder = decoder.with_mpls_udp_port(port.parse().unwrap());
    }
    let mode = text("layer_key_mode")
        .parse::<LayerKeyMode>()
        .unwrap_or_default();
    let limit = options["raw_packet_limit"].as_u64().unwrap_or_default();
    let layers = options["extra_layers"].as_u64().unwrap_or_default();
    let mut table = FlowTable::new(
        FlowTableOptions::default()
            .with_node_tid(text("node_tid"))
            .with_capture_id(text("capture_id"))
            .with_layer_key_mode(mode)
            .with_raw_packet_limit(u32::try_from(limit).unwrap())
            .with_extra_tcp_metric(flag("extra_tcp_metric"))
            .with_reassemble_tcp(flag("reassemble_tcp"))
            .with_ip_defrag(flag("ip_defrag"))
            .with_extra_layers(ExtraLayers::from_bits(u32::try_from(layers).unwrap()))
            .with_recorded(true)
            .with_decoder(decoder)
            // No timer runs in a case.
            .with_update_interval(Duration::from_secs(1 << 40))
            .with_expiry_interval(Duration::from_secs(1 << 40)),
    );
    let link_type = LinkType(u16::try_from(case["link_type"].as_u64().unwrap()).unwrap());
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
        let wanted = case["packets_in_file"].as_u64();
        let packets = table.stats().packets;
        if wanted.is_some_and(|wanted| wanted != packets) {
            return Err(format!("{name} has {packets} packets"));
        }
    }
    for packet in case["packets"].as_array().into_iter().flatten() {
        let data = bytes(packet["hex"].as_str().unwrap());
        let header = PacketHeader {
            timestamp: Timestamp::from_ns(packet["ts_ns"].as_i64().unwrap()),
            offset: 0,
            captured_len: u32::try_from(data.len()).unwrap(),
            wire_len: u32::try_from(packet["wire_len"].as_u64().unwrap()).unwrap(),
            point: CapturePoint::ONLY,
        };
        table.process(&PacketBatch {
            link_type,
            buffer: &data,
            headers: &[header],
        });
    }
    Ok(table)
}

/// Compares the flows with the expected ones; returns the differences.
fn check(case: &Value, table: &FlowTable, faults: &mut Vec<String>) {
    let flows = table.query(&FlowQuery::default()).unwrap().flows;
    if let Some(count) = case["expect_flow_count"].as_u64()
        && count != flows.len() as u64
    {
        faults.push(format!("{} flows, wanted {count}", flows.len()));
    }
    let found: BTreeMap<_, _> = flows
        .iter()
        .map(|flow| (flow.uuid.to_string(), comparable(flow)))
        .collect();
    let whole = case["golden_flows"].as_array();
    for golden in whole
        .into_iter()
        .chain(case["golden_flows_sample"].as_array())
        .flatten()
    {
        let wanted = golden.clone();
        let uuid = wanted["UUID"].as_str().unwrap();
        match found.get(uuid) {
            None => faults.push(format!(
                "no flow {uuid}: wanted {wanted}\n  there are {found:#?}"
            )),
            Some(flow) => differences("", &wanted, flow, faults),
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
        if !found.values().any(|flow| holds(flow, wanted)) {
            faults.push(format!("no flow like {wanted}"));
        }
    }
    if all_pass(case) && table.stats().filtered > 0 {
        faults.push(format!(
            "{} packets were filtered out",
            table.stats().filtered
        ));
    }
    check_equal(case, &found, faults);
    check_raw_packets(case, &flows, faults);
}

/// Returns whether the filter of a case matches every packet.
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

/// Returns a flow without the fields that golden files omit.
fn comparable(flow: &Flow) -> Value {
    let mut flow = serde_json::to_value(flow).unwrap();
    let fields = flow.as_object_mut().unwrap();
    if fields["RawPacketsCaptured"] == 0 {
        fields.remove("RawPacketsCaptured");
    }
    flow
}

/// Returns the differences between a golden value and ours, field by field.
fn differences(path: &str, wanted: &Value, found: &Value, faults: &mut Vec<String>) {
    // A truncated IP header has no addresses: Skydive records this value; this library records
    // none.
    if path == ".Network" && wanted["A"] == "<nil>" && found["A"].is_null() && found["B"].is_null()
    {
        return;
    }
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

/// Returns whether a flow has every given field; null means absent.
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

fn capture_folder() -> PathBuf {
    std::env::var_os("SHARED_PCAP").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/pcap"),
        PathBuf::from,
    )
}

/// Returns the path of a capture in the shared folder.
fn open_capture(name: &str) -> Result<File, String> {
    let path = capture_folder().join(name);
    File::open(&path).map_err(|error| format!("{}: {error}; set SHARED_PCAP", path.display()))
}
