//! Tests of the table of exported flows.

use super::*;
use crate::export::{ExportCounters, ExportFormat};
use crate::flow::{FlowTable, FlowTableOptions};

const NOW: Timestamp = Timestamp::from_ms(1_700_000_100_000);

fn origin() -> RecordOrigin {
    RecordOrigin {
        exporter: "192.0.2.1".parse().unwrap(),
        format: ExportFormat::Ipfix,
        domain: 7,
        template: 256,
        exported_at: NOW,
    }
}

fn record(src: (&str, u16), dst: (&str, u16), packets: u64) -> FlowRecord<'static> {
    FlowRecord {
        src: Some(src.0.parse().unwrap()),
        dst: Some(dst.0.parse().unwrap()),
        src_port: Some(src.1),
        dst_port: Some(dst.1),
        protocol: Some(headers::TCP),
        counters: ExportCounters {
            packets: Some(packets),
            bytes: Some(packets * 100),
            ..ExportCounters::default()
        },
        first: Some(Timestamp::from_ms(NOW.as_ms() - 2_000)),
        last: Some(Timestamp::from_ms(NOW.as_ms() - 1_000)),
        input: Some(3),
        output: Some(4),
        ..FlowRecord::default()
    }
}

fn request(packets: u64) -> FlowRecord<'static> {
    record(("10.0.0.2", 4_000), ("10.0.0.1", 443), packets)
}

fn answer(packets: u64) -> FlowRecord<'static> {
    record(("10.0.0.1", 443), ("10.0.0.2", 4_000), packets)
}

/// Adds records and returns the flows that are sent a second later.
fn sent(table: &mut ExportTable, records: &[FlowRecord<'_>]) -> Vec<Flow> {
    let mut flows = Vec::new();
    for record in records {
        table.add(&origin(), record, &"tid".into(), NOW, &mut flows);
    }
    table.tick(NOW.saturating_add(Duration::from_secs(1)), &mut flows);
    flows
}

fn counts(flow: &Flow) -> (i64, i64, i64, i64) {
    let metric = flow.metric.unwrap();
    (
        metric.ab_packets,
        metric.ab_bytes,
        metric.ba_packets,
        metric.ba_bytes,
    )
}

#[test]
fn both_directions_are_one_flow_with_the_identity_of_a_captured_flow() {
    let mut table = ExportTable::new(ExportTableOptions::default());
    let flows = sent(&mut table, &[request(5), answer(3)]);
    assert_eq!(flows.len(), 1);
    let flow = &flows[0];
    assert_eq!(counts(flow), (5, 500, 3, 300));
    assert_eq!(
        (&*flow.layers_path, &*flow.application),
        ("IPv4/TCP", "TCP")
    );
    assert_eq!(&*flow.network.as_ref().unwrap().a, "10.0.0.2");
    assert_eq!(flow.transport.as_ref().unwrap().b, 443);
    assert_eq!((&*flow.node_tid, flow.start), ("tid", NOW.as_ms() - 2_000));
    let info = flow.export.as_ref().unwrap();
    assert_eq!(
        (&*info.exporter, info.domain, &*info.format),
        ("192.0.2.1", 7, "ipfix")
    );
    assert_eq!((info.input, info.output, info.rate), (3, 4, 0));

    let captured = FlowTable::new(FlowTableOptions::default());
    let mut captured = captured;
    let ends = (
        ("10.0.0.1".parse().unwrap(), 443),
        ("10.0.0.2".parse().unwrap(), 4_000),
    );
    let packet = headers::build(ends, headers::TCP, 0, (0, 0), Some(([1; 6], [2; 6])));
    let captured = headers::identify(&mut captured, &packet, NOW).unwrap();
    assert_eq!(captured.l3_tracking_id, flow.l3_tracking_id);
}

#[test]
fn each_protocol_has_its_layers() {
    let mut table = ExportTable::new(ExportTableOptions::default());
    for (protocol, path) in [
        (headers::UDP, "IPv4/UDP"),
        (headers::SCTP, "IPv4/SCTP"),
        (headers::ICMP, "IPv4/ICMPv4"),
        (47, "IPv4"),
        (89, "IPv4"),
    ] {
        let mut record = record(("10.0.0.2", 53), ("10.0.0.1", 53), 1);
        record.protocol = Some(protocol);
        let flows = sent(&mut table, &[record]);
        assert_eq!(flows.len(), 1, "{protocol}");
        assert!(
            flows[0].layers_path.starts_with(path),
            "{}",
            flows[0].layers_path
        );
    }
    let mut six = record(("2001:db8::1", 1), ("2001:db8::2", 2), 1);
    (six.src_mac, six.dst_mac, six.vlan) = (Some([1; 6]), Some([2; 6]), Some(5));
    let flows = sent(&mut table, &[six]);
    assert_eq!(&*flows[0].layers_path, "Ethernet/Dot1Q/IPv6/TCP");
    assert_eq!(&*flows[0].link.as_ref().unwrap().a, "01:01:01:01:01:01");
}

#[test]
fn deltas_are_added_and_intervals_are_sent() {
    let mut table = ExportTable::new(ExportTableOptions::default());
    sent(&mut table, &[request(5)]);
    let flows = sent(&mut table, &[request(2), request(1)]);
    assert_eq!(counts(&flows[0]), (8, 800, 0, 0));
    let last = flows[0].last_update_metric.unwrap();
    assert_eq!((last.ab_packets, last.ab_bytes), (3, 300));
    assert!(sent(&mut table, &[]).is_empty(), "nothing has changed");
}

#[test]
fn totals_replace_each_other_and_smaller_totals_begin_a_flow() {
    let mut table = ExportTable::new(ExportTableOptions::default());
    let total = |packets| {
        let mut record = request(packets);
        record.counters.is_total = true;
        record
    };
    let first = sent(&mut table, &[total(5), total(9)]);
    assert_eq!(counts(&first[0]), (9, 900, 0, 0));
    let mut again = total(2);
    again.first = Some(NOW);
    let flows = sent(&mut table, &[again]);
    assert_eq!(flows.len(), 2);
    assert_eq!(flows[0].finish_type, FinishType::Replaced);
    assert_eq!(counts(&flows[1]), (2, 200, 0, 0));
    assert_ne!(flows[0].uuid, flows[1].uuid);
    assert_eq!(flows[0].uuid, first[0].uuid);
}

#[test]
fn the_end_with_the_earlier_packets_is_a() {
    let mut table = ExportTable::new(ExportTableOptions::default());
    let mut earlier = request(5);
    earlier.first = Some(Timestamp::from_ms(NOW.as_ms() - 3_000));
    let flows = sent(&mut table, &[answer(3), earlier]);
    assert_eq!(&*flows[0].network.as_ref().unwrap().a, "10.0.0.2");
    assert_eq!(counts(&flows[0]), (5, 500, 3, 300));
    let mut biflow = record(("10.0.0.9", 80), ("10.0.0.8", 5_000), 7);
    biflow.biflow_direction = Some(2);
    biflow.reverse = Some(ExportCounters {
        packets: Some(4),
        ..ExportCounters::default()
    });
    let flows = sent(&mut table, &[biflow]);
    assert_eq!(&*flows[0].network.as_ref().unwrap().a, "10.0.0.8");
    assert_eq!(counts(&flows[0]), (4, 0, 7, 700));
}

#[test]
fn rates_are_shown_and_applied_only_on_request() {
    let mut sampled = request(5);
    sampled.sampling = Some(100);
    let mut table = ExportTable::new(ExportTableOptions::default());
    let flows = sent(&mut table, std::slice::from_ref(&sampled));
    assert_eq!(counts(&flows[0]), (5, 500, 0, 0));
    assert_eq!(flows[0].export.as_ref().unwrap().rate, 100);
    let mut table = ExportTable::new(ExportTableOptions {
        scale: true,
        ..ExportTableOptions::default()
    });
    let flows = sent(&mut table, &[sampled]);
    assert_eq!(counts(&flows[0]), (500, 50_000, 0, 0));
    assert!(flows[0].export.as_ref().unwrap().scaled);
}

#[test]
fn flows_end_when_the_exporter_says_so_or_after_a_silence() {
    let mut table = ExportTable::new(ExportTableOptions::default());
    let mut ended = request(5);
    (ended.end_reason, ended.counters.tcp_flags) = (Some(3), Some(0x1b));
    let flows = sent(
        &mut table,
        &[ended, record(("10.0.0.3", 1), ("10.0.0.4", 2), 1)],
    );
    assert!(
        flows
            .iter()
            .all(|flow| flow.finish_type == FinishType::NotFinished)
    );
    let after = |table: &mut ExportTable, seconds| {
        let mut flows = Vec::new();
        table.tick(NOW.saturating_add(Duration::from_secs(seconds)), &mut flows);
        flows
            .iter()
            .map(|flow| flow.finish_type)
            .collect::<Vec<_>>()
    };
    assert_eq!(after(&mut table, 10), [FinishType::TcpFin]);
    assert_eq!(after(&mut table, 599), []);
    assert_eq!(after(&mut table, 605), [FinishType::Timeout]);
    assert_eq!(table.stats().flows, 0);
}

#[test]
fn records_of_both_interfaces_of_a_router_are_two_flows() {
    let mut table = ExportTable::new(ExportTableOptions::default());
    let (mut ingress, mut egress) = (request(5), request(5));
    (ingress.direction, egress.direction) = (Some(0), Some(1));
    let flows = sent(&mut table, &[ingress, egress]);
    assert_eq!(flows.len(), 2);
    let directions: Vec<u32> = flows
        .iter()
        .map(|f| f.export.as_ref().unwrap().direction)
        .collect();
    assert_eq!(directions, [1, 2]);
}

#[test]
fn wrong_clocks_and_records_without_addresses_are_counted() {
    let mut table = ExportTable::new(ExportTableOptions::default());
    let mut old = request(5);
    (old.first, old.last) = (
        Some(Timestamp::from_ms(10_000)),
        Some(Timestamp::from_ms(12_000)),
    );
    let flows = sent(&mut table, &[old]);
    assert_eq!(
        (flows[0].start, flows[0].last),
        (NOW.as_ms() - 2_000, NOW.as_ms())
    );
    let mut mixed = request(5);
    mixed.src = Some("::1".parse().unwrap());
    assert!(sent(&mut table, &[mixed, FlowRecord::default()]).is_empty());
    let stats = table.stats();
    assert_eq!((stats.skewed, stats.without_addresses), (1, 2));
}

#[test]
fn a_full_table_ends_the_flows_updated_least_recently() {
    let mut table = ExportTable::new(ExportTableOptions {
        max_flows: 16,
        ..ExportTableOptions::default()
    });
    let mut ended = Vec::new();
    for port in 0..20 {
        let at = NOW.saturating_add(Duration::from_millis(u64::from(port)));
        let record = record(("10.0.0.2", 1_000 + port), ("10.0.0.1", 443), 1);
        table.add(&origin(), &record, &"tid".into(), at, &mut ended);
    }
    assert_eq!((table.stats().flows, table.stats().evicted), (16, 4));
    let ports: Vec<i64> = ended
        .iter()
        .map(|f| f.transport.as_ref().unwrap().a)
        .collect();
    assert!(ports.iter().all(|port| *port < 1_004), "{ports:?}");
    let mut flows = Vec::new();
    table.tick(NOW, &mut flows);
    table.flush(&mut flows);
    assert_eq!(table.stats().flows, 0);
}
