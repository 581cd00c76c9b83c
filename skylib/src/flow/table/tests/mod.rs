use std::time::Duration;

use super::*;
use crate::filter::{Fields, Filter, Predicate};
use crate::flow::field::FlowFields;
use crate::flow::{
    FinishType, FlowField, FlowProtocol, FlowQuery, FlowSet, FlowSink, LayerKeyMode, SortOrder,
};
use crate::packet::{CapturePoint, LinkType, PacketHeader, PacketRef};
use crate::time::Timestamp;

// TCP flags.
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const FIN: u8 = 0x01;
const RST: u8 = 0x04;

/// End of a flow: the last byte of its MAC and IP address, and a port.
#[derive(Clone, Copy)]
struct End(u8, u16);

const A: End = End(1, 40_000);
const B: End = End(2, 80);

fn ethernet(source: u8, destination: u8, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, destination, 2, 0, 0, 0, 0, source];
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

fn ipv4(source: u8, destination: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend(len.to_be_bytes());
    packet.extend([
        0,
        0,
        0,
        0,
        64,
        protocol,
        0,
        0,
        10,
        0,
        0,
        source,
        10,
        0,
        0,
        destination,
    ]);
    packet.extend(payload);
    packet
}

/// Returns a segment with number 1 that acknowledges the SYN with number 1 of the other end.
fn tcp(from: End, to: End, flags: u8) -> Vec<u8> {
    tcp_numbered(from, to, flags, 1, 2)
}

fn tcp_numbered(from: End, to: End, flags: u8, sequence: u32, acknowledgment: u32) -> Vec<u8> {
    let mut segment = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledgment.to_be_bytes());
    segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    ethernet(from.0, to.0, 0x0800, &ipv4(from.0, to.0, 6, &segment))
}

fn udp_datagram(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).unwrap();
    let mut datagram = [
        from.to_be_bytes(),
        to.to_be_bytes(),
        len.to_be_bytes(),
        [0, 0],
    ]
    .concat();
    datagram.extend(payload);
    datagram
}

fn udp(from: End, to: End, payload: &[u8]) -> Vec<u8> {
    let datagram = udp_datagram(from.1, to.1, payload);
    ethernet(from.0, to.0, 0x0800, &ipv4(from.0, to.0, 17, &datagram))
}

fn arp(from: u8) -> Vec<u8> {
    let mut frame = ethernet(from, 0xff, 0x0806, &[0, 1, 8, 0, 6, 4, 0, 1]);
    frame.resize(60, 0);
    frame
}

fn vxlan(from: u8, to: u8, inner: &[u8]) -> Vec<u8> {
    let header = [&[8, 0, 0, 0, 0, 0, 42, 0][..], inner].concat();
    udp(End(from, 50_000 + u16::from(from)), End(to, 4789), &header)
}

fn ms(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn feed(table: &mut FlowTable, at: i64, frame: &[u8]) {
    feed_long(table, at, frame, u32::try_from(frame.len()).unwrap());
}

/// Feeds a frame that was longer on the wire than captured.
fn feed_long(table: &mut FlowTable, at: i64, frame: &[u8], wire_len: u32) {
    feed_header(table, at, frame, wire_len, CapturePoint::ONLY);
}

/// Feeds a frame of one of several capture points.
fn feed_at_point(table: &mut FlowTable, point: CapturePoint, frame: &[u8]) {
    feed_header(table, 1, frame, u32::try_from(frame.len()).unwrap(), point);
}

fn feed_header(table: &mut FlowTable, at: i64, frame: &[u8], wire_len: u32, point: CapturePoint) {
    let captured_len = u32::try_from(frame.len()).unwrap();
    let header = PacketHeader {
        timestamp: ms(at),
        offset: 0,
        captured_len,
        wire_len,
        point,
    };
    let link_type = LinkType::ETHERNET;
    table.process(&PacketBatch {
        link_type,
        buffer: frame,
        headers: &[header],
    });
}

/// Feeds a packet of another link type.
fn feed_as(table: &mut FlowTable, link_type: LinkType, packet: &[u8]) {
    let len = u32::try_from(packet.len()).unwrap();
    let header = PacketHeader {
        timestamp: ms(1),
        offset: 0,
        captured_len: len,
        wire_len: len,
        point: CapturePoint::ONLY,
    };
    table.process(&PacketBatch {
        link_type,
        buffer: packet,
        headers: &[header],
    });
}

/// Feeds frames with their times as one batch.
fn feed_at_once(table: &mut FlowTable, frames: &[(i64, Vec<u8>)]) {
    let (mut buffer, mut headers) = (Vec::new(), Vec::new());
    for (at, frame) in frames {
        let len = u32::try_from(frame.len()).unwrap();
        headers.push(PacketHeader {
            timestamp: ms(*at),
            offset: u32::try_from(buffer.len()).unwrap(),
            captured_len: len,
            wire_len: len,
            point: CapturePoint::ONLY,
        });
        buffer.extend(frame);
    }
    let link_type = LinkType::ETHERNET;
    table.process(&PacketBatch {
        link_type,
        buffer: &buffer,
        headers: &headers,
    });
}

fn table() -> FlowTable {
    FlowTable::new(FlowTableOptions::default().with_seed(7))
}

fn recorded() -> FlowTable {
    FlowTable::new(FlowTableOptions::default().with_recorded(true))
}

fn flows(table: &FlowTable) -> Vec<Flow> {
    table.query(&FlowQuery::default()).unwrap().flows
}

fn only(table: &FlowTable) -> Flow {
    let mut flows = flows(table);
    assert_eq!(flows.len(), 1);
    flows.remove(0)
}

fn update(table: &mut FlowTable, at: i64) -> Vec<Flow> {
    let mut sent = Vec::new();
    table.update(ms(at), &mut sent);
    sent
}

fn expire(table: &mut FlowTable, at: i64) -> Vec<Flow> {
    let mut sent = Vec::new();
    table.expire(ms(at), &mut sent);
    sent
}

mod counting;
mod details;
mod identifiers;
mod limits;
mod spans;
mod timers;

#[test]
fn what_filters_see_of_an_entry_is_what_its_record_says() {
    let options = FlowTableOptions::default()
        .with_node_tid("node-1")
        .with_capture_id("capture-1")
        .with_raw_packet_limit(1)
        .with_extra_tcp_metric(true);
    let mut table = FlowTable::new(options);
    feed(&mut table, 1000, &tcp(A, B, SYN));
    feed(&mut table, 1001, &tcp(B, A, SYN | ACK));
    feed(&mut table, 1002, &udp(B, A, &[0; 4]));
    feed(&mut table, 1003, &arp(9));
    feed(
        &mut table,
        1004,
        &ethernet(
            1,
            2,
            0x0800,
            &ipv4(1, 2, 1, &[8, 3, 0, 0, 0x12, 0x34, 0, 1]),
        ),
    );
    feed(&mut table, 1005, &vxlan(1, 2, &tcp(B, A, ACK)));
    let in_in_other = ipv4(
        1,
        2,
        41,
        &[&[0x60, 0, 0, 0, 0, 4, 59, 64][..], &[7; 36]].concat(),
    );
    feed(&mut table, 1006, &ethernet(1, 2, 0x0800, &in_in_other));
    for round in 0..3 {
        for record in table.arena.range(0, u32::MAX) {
            let (live, flow) = (table.entry_fields(record), table.flow(record));
            for field in FlowField::names()
                .iter()
                .filter_map(|name| FlowField::parse(name))
            {
                match field {
                    FlowField::Int(int) => assert_eq!(live.int(int), flow.int(int), "{field}"),
                    FlowField::Text(text) => {
                        let read = live.with_text(text, str::to_owned);
                        assert_eq!(read.as_deref(), flow.text(text), "{field}");
                    }
                    FlowField::Object(_) | FlowField::Detail(_) | FlowField::Layer(_) => {}
                }
                let present = live.test(&Some(field), &Predicate::Present);
                assert_eq!(present, flow.test(&field, &Predicate::Present), "{field}");
            }
        }
        update(&mut table, 2000 * (round + 1));
        feed(&mut table, 2000 * (round + 1) + 1, &tcp(A, B, ACK));
    }
    assert_eq!(table.len(), 8);
}

#[test]
fn queries_filter_sort_and_cut() {
    let mut table = FlowTable::new(FlowTableOptions::default().with_node_tid("t1"));
    for port in 1..=9 {
        feed_long(
            &mut table,
            10 * i64::from(port),
            &tcp(End(1, port), B, ACK),
            u32::from(port) * 100,
        );
    }
    let query = FlowQuery {
        filter: Filter::test("Transport.A", Predicate::Gt(4)),
        sort: FlowField::parse("Metric.ABBytes").map(|field| (field, SortOrder::Descending)),
        range: Some((0, 2)),
        ..FlowQuery::default()
    };
    let set = table.query(&query).unwrap();
    let ports: Vec<i64> = set
        .flows
        .iter()
        .map(|flow| flow.transport.unwrap().a)
        .collect();
    assert_eq!(ports, [9, 8]);
    assert_eq!((set.start, set.end), (50, 90));
    let counted = |query: &FlowQuery| table.count_flows(query).unwrap();
    assert_eq!(counted(&query), 2);
    assert_eq!(
        counted(&FlowQuery {
            sort: None,
            range: None,
            ..query.clone()
        }),
        5
    );
    assert_eq!(counted(&FlowQuery::default()), 9);
    let elsewhere = FlowQuery {
        node_tids: Some(vec!["t2".into()]),
        ..query
    };
    assert_eq!(table.query(&elsewhere).unwrap(), FlowSet::default());
    assert_eq!(
        counted(&FlowQuery {
            sort: None,
            range: None,
            ..elsewhere
        }),
        0
    );
}

#[test]
fn packets_that_a_filter_rejects_are_counted_as_filtered() {
    struct OnlyLong;
    impl PacketFilter for OnlyLong {
        fn matches(&self, packet: &PacketRef<'_>) -> bool {
            packet.wire_len > 100
        }
    }
    let mut table = table();
    table.set_filter(Some(Box::new(OnlyLong)));
    feed(&mut table, 1, &tcp(A, B, ACK));
    feed_long(&mut table, 1, &udp(A, B, &[]), 101);
    assert_eq!(only(&table).application.as_str(), "UDP");
    let stats = table.stats();
    assert_eq!((stats.packets, stats.filtered, stats.created), (2, 1, 1));
    table.set_filter(None);
    feed(&mut table, 1, &tcp(A, B, ACK));
    assert_eq!(table.len(), 2);
}

#[test]
fn ports_name_applications() {
    let mut ports = crate::flow::ApplicationPorts::default();
    ports.set(FlowProtocol::Tcp, 80, "http");
    let mut table = FlowTable::new(FlowTableOptions::default().with_application_ports(ports));
    feed(&mut table, 1, &tcp(A, B, SYN));
    feed(&mut table, 1, &udp(A, B, &[]));
    let applications: Vec<_> = flows(&table)
        .into_iter()
        .map(|flow| flow.application.to_string())
        .collect();
    assert_eq!(applications, ["HTTP", "UDP"]);
}

#[test]
fn the_same_packets_make_the_same_flows_however_they_are_batched() {
    let mut frames = Vec::new();
    for i in 0..400_u16 {
        let (from, to) = if i % 3 == 0 {
            (B, End(1, i % 50))
        } else {
            (End(1, i % 50), B)
        };
        let inner = tcp(from, to, [ACK, SYN, FIN | ACK][usize::from(i % 3)]);
        frames.push(if i % 7 == 0 {
            vxlan(3, 4, &inner)
        } else {
            inner
        });
    }
    let mut one_by_one = FlowTable::new(FlowTableOptions::default().with_seed(1));
    for (at, frame) in (0..).zip(&frames) {
        feed(&mut one_by_one, at, frame);
    }
    let mut at_once = FlowTable::new(FlowTableOptions::default().with_seed(2));
    feed_at_once(&mut at_once, &(0..).zip(frames).collect::<Vec<_>>());
    assert_eq!(flows(&one_by_one), flows(&at_once));
    assert!(at_once.len() > 50);
}
