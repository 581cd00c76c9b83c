//! Scenarios described in `tests/data/flow-cases.json`, one test each.
//!
//! `expire-now-sends-all` is in `flow_table`, because it needs a capture.

use std::time::Duration;

use prost::Message;
use skylib::decode::IcmpType;
use skylib::flow::{
    FinishType, Flow, FlowField, FlowLayer, FlowMetric, FlowQuery, FlowSet, FlowTable,
    FlowTableOptions, IcmpLayer, MergeOptions,
};
use skylib::packet::{CapturePoint, LinkType, PacketBatch, PacketHeader};
use skylib::time::Timestamp;

/// Counts a packet with this length on the wire, in bytes.
fn feed(table: &mut FlowTable, at_ms: i64, frame: &[u8], wire_len: u32) {
    let headers = [PacketHeader {
        timestamp: Timestamp::from_ms(at_ms),
        offset: 0,
        captured_len: u32::try_from(frame.len()).unwrap(),
        wire_len,
        point: CapturePoint::ONLY,
    }];
    table.process(&PacketBatch {
        link_type: LinkType::ETHERNET,
        buffer: frame,
        headers: &headers,
    });
}

fn arp(host: u8) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, host, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.resize(60, 0);
    frame
}

fn dns() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 40];
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([
        0x10, 0, 0, 53, 0, 20, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ]);
    frame
}

fn flows(table: &FlowTable) -> Vec<Flow> {
    table.query(&FlowQuery::default()).unwrap().flows
}

#[test]
fn scenario_update_fills_last_update_metric() {
    let mut table = FlowTable::new(FlowTableOptions::default());
    let mut sent: Vec<Flow> = Vec::new();
    let ab_bytes = |flow: &Flow| flow.last_update_metric.unwrap().ab_bytes;
    feed(&mut table, 1, &arp(1), 1);
    table.flush(&mut sent);
    assert_eq!((sent.len(), ab_bytes(&sent[0])), (1, 1));

    // Bytes before an update, the last interval after it, and the number of flows sent so far.
    let steps = [(2, 2, 2), (0, 0, 2), (8, 8, 3), (5, 5, 4)];
    for (second, (bytes, last_interval, sent_total)) in (1..).zip(steps) {
        if bytes > 0 {
            feed(&mut table, second * 1000, &arp(2), bytes);
        }
        table.update(Timestamp::from_ms(second * 1000 + 1), &mut sent);
        let found = flows(&table);
        assert_eq!(
            (ab_bytes(&found[0]), sent.len()),
            (last_interval, sent_total)
        );
    }
}

#[test]
fn scenario_application_timeout() {
    let timeouts = vec![
        ("arp".into(), Duration::from_secs(10)),
        ("dns".into(), Duration::from_secs(20)),
    ];
    let options = FlowTableOptions::default().with_application_timeouts(timeouts);
    let mut table = FlowTable::new(options);
    feed(&mut table, 1_000, &arp(1), 60);
    feed(&mut table, 1_000, &dns(), 60);
    table.update(Timestamp::from_ms(1_000), &mut Vec::<Flow>::new());

    let mut sent: Vec<Flow> = Vec::new();
    table.update(Timestamp::from_ms(16_000), &mut sent);
    let [arp] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!(arp.application.as_str(), "ARP");
    assert_eq!(arp.finish_type, FinishType::Timeout);
    let [dns] = &flows(&table)[..] else {
        panic!("one flow is left");
    };
    assert_eq!(dns.application.as_str(), "DNS");
    assert_eq!(dns.finish_type, FinishType::NotFinished);
}

/// Returns a set of flows, each by tracking identifier, node, start and last.
fn set(flows: &[(&str, &str, i64, i64)]) -> FlowSet {
    let flow = |(tracking_id, node_tid, start, last): &(&str, &str, i64, i64)| {
        Flow::default()
            .with_tracking_id(*tracking_id)
            .with_node_tid(*node_tid)
            .with_times(*start, *last)
    };
    FlowSet {
        flows: flows.iter().map(flow).collect(),
        ..FlowSet::default()
    }
}

#[test]
fn scenario_set_dedup_default_key() {
    let mut found = set(&[("aaa", "", 0, 0), ("bbb", "", 0, 0), ("aaa", "", 0, 0)]);
    found.dedup(FlowField::TRACKING_ID).unwrap();
    assert_eq!(found, set(&[("aaa", "", 0, 0), ("bbb", "", 0, 0)]));
}

#[test]
fn scenario_set_dedup_by_field() {
    let mut found = set(&[
        ("aaa", "111", 0, 0),
        ("bbb", "111", 0, 0),
        ("aaa", "222", 0, 0),
    ]);
    found.dedup("NodeTID".parse().unwrap()).unwrap();
    assert_eq!(found, set(&[("aaa", "111", 0, 0), ("aaa", "222", 0, 0)]));
}

#[test]
fn scenario_set_merge_dedup() {
    let by_node = "NodeTID".parse().unwrap();
    let mut found = set(&[
        ("aaa", "111", 0, 1),
        ("bbb", "111", 2, 3),
        ("aaa", "222", 0, 1),
    ]);
    let mut other = set(&[
        ("aaa", "111", 0, 1),
        ("bbb", "111", 4, 6),
        ("aaa", "222", 7, 8),
        ("ccc", "333", 0, 1),
    ]);
    found.dedup(by_node).unwrap();
    other.dedup(by_node).unwrap();
    let options = MergeOptions::default().with_dedup(by_node);
    found.merge(other, &options).unwrap();
    let wanted = [
        ("aaa", "111", 0, 1),
        ("aaa", "222", 0, 1),
        ("ccc", "333", 0, 1),
    ];
    assert_eq!(found, set(&wanted));
}

#[test]
fn scenario_metric_split() {
    let metric = |count, start, last| {
        FlowMetric::default()
            .with_ab_packets(count)
            .with_ab_bytes(count)
            .with_ba_packets(count)
            .with_ba_bytes(count)
            .with_interval(start, last)
    };
    let parts = metric(100, 0, 100).split(25);
    let wanted = (Some(metric(25, 0, 25)), Some(metric(75, 25, 100)));
    assert_eq!(parts, wanted);
}

#[test]
fn scenario_json_shape() {
    let flow = Flow::default()
        .with_uuid("uuid-1")
        .with_layers_path("Ethernet/IPv4/ICMPv4")
        .with_link(FlowLayer {
            a: "00:00:00:00:00:01".into(),
            b: "00:00:00:00:00:02".into(),
            ..FlowLayer::default()
        })
        .with_icmp(IcmpLayer {
            kind: IcmpType::Echo,
            ..IcmpLayer::default()
        })
        .with_times(1111, 222)
        .with_last_update_metric(FlowMetric::default())
        .with_metric(FlowMetric::default().with_ab_packets(33).with_ba_bytes(34))
        .with_node_tid("probe-tid");
    let json = serde_json::to_value(&flow).unwrap();
    for text in ["UUID", "LayersPath", "NodeTID"] {
        assert!(json[text].is_string(), "{text}");
    }
    for path in ["/Link/Protocol", "/Link/A", "/Link/B", "/ICMP/Type"] {
        assert!(json.pointer(path).unwrap().is_string(), "{path}");
    }
    let counters = [
        "ABPackets",
        "ABBytes",
        "BAPackets",
        "BABytes",
        "Start",
        "Last",
    ];
    for metric in ["LastUpdateMetric", "Metric"] {
        for counter in counters {
            assert!(json[metric][counter].is_number(), "{metric}.{counter}");
        }
    }
    assert!(json["Start"].is_number() && json["Last"].is_number());
    assert_eq!(json["ParentUUID"], "");
    assert_eq!(serde_json::from_value::<Flow>(json).unwrap(), flow);
    assert_eq!(Flow::decode(&*flow.encode_to_vec()).unwrap(), flow);
}

#[test]
fn scenario_field_keys_hide_internals() {
    let names = FlowField::names();
    // `XXX_…` are bookkeeping fields that Go's protobuf generator adds to messages.
    assert!(names.contains(&"Metric.ABBytes"));
    assert!(!names.iter().any(|name| name.starts_with("XXX_")));
    let metric = FlowField::parse("Metric").unwrap();
    assert!(Flow::default().value(&metric).is_some());
}
