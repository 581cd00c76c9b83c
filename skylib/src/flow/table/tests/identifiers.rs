//! UUIDs: records that differ never share one (A18).

use std::collections::HashSet;

use super::*;
use crate::flow::record::Wire;

/// Checks that a number of records were sent or are in the table, each with a UUID of its own.
fn check_unique(table: &mut FlowTable, mut sent: Vec<Flow>, records: usize) {
    table.flush(&mut sent);
    let uuids: HashSet<_> = sent.iter().map(|flow| flow.uuid.to_string()).collect();
    assert_eq!((sent.len(), uuids.len()), (records, records), "{sent:#?}");
}

#[test]
fn service_paths_and_instances_are_part_of_the_uuid() {
    let inner = ipv4(1, 2, 17, &udp_datagram(1, 2, &[0; 4]));
    let nsh = |path: u8| {
        let header = [0x0f, 0xc2, 0x02, 0x01, 0, 0, path, 0xff];
        ethernet(1, 2, 0x894f, &[&header[..], &inner[..]].concat())
    };
    let pbb = |instance: u8| {
        let frame = ethernet(3, 4, 0x0800, &inner);
        ethernet(
            1,
            2,
            0x88e7,
            &[&[0, 0, 0, instance][..], &frame[..]].concat(),
        )
    };
    for frames in [[nsh(100), nsh(7)], [pbb(1), pbb(2)]] {
        let mut table = table();
        frames.iter().for_each(|frame| feed(&mut table, 1, frame));
        check_unique(&mut table, Vec::new(), 4);
    }
}

#[test]
fn long_stacks_and_multicast_labels_are_flows_of_their_own() {
    let tags = |last: u8| {
        let mut frame = ethernet(1, 2, 0x8100, &[]);
        for tag in [1, 2, 3, 4, 5] {
            frame.extend([0, tag, 0x81, 0]);
        }
        frame.extend([0, last, 8, 0]);
        frame.extend(ipv4(1, 2, 17, &udp_datagram(1, 2, &[0; 4])));
        frame
    };
    let labels = |ether_type: u16, last: u8| {
        let mut stack = [0, 0, 0x10, 64].repeat(8);
        stack.extend([0, 0, last << 4 | 1, 64]);
        stack.extend(ipv4(1, 2, 17, &udp_datagram(1, 2, &[0; 4])));
        ethernet(1, 2, ether_type, &stack)
    };
    for (frames, records) in [
        ([tags(6), tags(7)], 2),
        ([labels(0x8847, 6), labels(0x8847, 7)], 4),
        // The flow inside is one: its key has the labels around it, not their EtherType.
        ([labels(0x8847, 6), labels(0x8848, 6)], 3),
    ] {
        let mut table = table();
        frames.iter().for_each(|frame| feed(&mut table, 1, frame));
        check_unique(&mut table, Vec::new(), records);
    }
    let mut table = table();
    let frame = [&[0_u8, 6, 0x40, 64, 0, 0, 0x71, 64][..], &[0; 4]].concat();
    feed(&mut table, 1, &ethernet(1, 2, 0x8848, &frame));
    let outer = flows(&table).remove(0);
    let wire = outer.wire.unwrap();
    assert_eq!((wire.mpls, wire.ether_type), (vec![100, 7], 0x8848));
}

#[test]
fn the_directions_of_a_one_way_identifier_have_different_uuids() {
    let gtp = |from: u8, to: u8, payload: &[u8]| {
        let header = [0x30, 0xff, 0, payload.len() as u8, 0, 0, 0, 9];
        let datagram = udp_datagram(2152, 2152, &[&header[..], payload].concat());
        ethernet(from, to, 0x0800, &ipv4(from, to, 17, &datagram))
    };
    let mpls = |from: u8, to: u8, payload: &[u8]| {
        ethernet(from, to, 0x8847, &[&[0, 0, 0xa1, 64][..], payload].concat())
    };
    let esp = |from: u8, to: u8, _: &[u8]| {
        let packet = ipv4(from, to, 50, &[0, 0, 0x10, 1, 0, 0, 0, 1]);
        ethernet(from, to, 0x0800, &packet)
    };
    type Wrap = fn(u8, u8, &[u8]) -> Vec<u8>;
    let cases: [(Wrap, usize); 3] = [(gtp, 3), (mpls, 3), (esp, 2)];
    for (wrap, records) in cases {
        let mut table = table();
        for (from, to) in [(A, B), (B, A)] {
            feed(
                &mut table,
                1,
                &wrap(from.0, to.0, &udp(from, to, &[])[14..]),
            );
        }
        check_unique(&mut table, Vec::new(), records);
    }
}

#[test]
fn late_records_have_uuids_of_their_own() {
    let mut table = FlowTable::new(FlowTableOptions::default().with_final_only(true));
    let mut sent: Vec<Flow> = Vec::new();
    let replay = |table: &mut FlowTable, at: i64, frame: &[u8], sent: &mut Vec<Flow>| {
        let len = u32::try_from(frame.len()).unwrap();
        let header = PacketHeader {
            timestamp: ms(at),
            offset: 0,
            captured_len: len,
            wire_len: len,
            point: CapturePoint::ONLY,
        };
        let batch = PacketBatch {
            link_type: LinkType::ETHERNET,
            buffer: frame,
            headers: &[header],
        };
        table.replay(&batch, sent);
    };
    for hours in 0..4 {
        replay(&mut table, 0, &udp(A, B, &[]), &mut sent);
        for stranger in 0..40 {
            let packet = udp(End(1, stranger), B, &[]);
            replay(&mut table, (hours + 1) * 3_600_000, &packet, &mut sent);
        }
    }
    assert_eq!(table.stats().late_packets, 3);
    check_unique(&mut table, sent, 4 + 4 * 40);
}

#[test]
fn spans_and_connections_that_begin_at_one_time_have_uuids_of_their_own() {
    let options = FlowTableOptions::default().with_expiry_interval(Duration::from_secs(300));
    let mut table = FlowTable::new(options);
    let seconds = [0, 1000, 2000, 0, 1000, 2000, 0, 1000, 2000];
    for second in seconds {
        feed(&mut table, second * 1000, &udp(A, B, &[]));
    }
    // A time within a span that is still in the index begins no record.
    let records = table.len();
    assert!(records > 3, "{records}");
    check_unique(&mut table, Vec::new(), records);

    let mut table = super::table();
    for number in [1, 2, 1, 2, 1] {
        feed(&mut table, 7, &tcp_numbered(A, B, SYN, number, 0));
        let refusal = tcp_numbered(B, A, RST | ACK, 0, number + 1);
        feed(&mut table, 7, &refusal);
    }
    check_unique(&mut table, Vec::new(), 5);
}

#[test]
fn retired_flows_are_counted_once() {
    let mut table = table();
    for (at, number) in [(0, 1), (700_000, 2), (700_010, 3), (2_000_000, 4)] {
        feed(&mut table, at, &tcp_numbered(A, B, SYN, number, 0));
        feed(
            &mut table,
            at + 1,
            &tcp_numbered(B, A, RST | ACK, 0, number + 1),
        );
    }
    assert_eq!(table.len(), flows(&table).len());
    table.flush(&mut Vec::<Flow>::new());
    assert_eq!(table.len(), 0);
}

/// Returns the flows of frames, each of which must be a flow of its own.
fn apart(link_type: LinkType, frames: &[Vec<u8>]) -> Vec<Flow> {
    let mut table = table();
    for frame in frames {
        feed_as(&mut table, link_type, frame);
    }
    let found = flows(&table);
    check_unique(&mut table, Vec::new(), frames.len());
    found
}

/// Returns `Wire` of each flow.
fn wires(found: &[Flow]) -> Vec<&Wire> {
    found
        .iter()
        .filter_map(|flow| flow.wire.as_deref())
        .collect()
}

#[test]
fn headers_without_a_payload_differ_by_their_number() {
    let empty = |protocol| ethernet(1, 2, 0x0800, &ipv4(1, 2, protocol, &[]));
    let found = apart(LinkType::ETHERNET, &[1, 6, 17, 58, 89].map(empty));
    let mut numbers: Vec<_> = wires(&found).iter().map(|wire| wire.ip_protocol).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 6, 17, 58, 89], "A4");
    // ICMP of the other version, and a message that is too short for its header.
    let echo = [128, 0, 0, 0, 0, 1, 0, 1];
    let wrong = ethernet(1, 2, 0x0800, &ipv4(1, 2, 58, &echo));
    let short = ethernet(1, 2, 0x0800, &ipv4(1, 2, 1, &[8]));
    apart(LinkType::ETHERNET, &[wrong, short]);
    let frames = [0x0800, 0x0806, 0x8892, 0x8893].map(|kind| ethernet(1, 2, kind, &[]));
    let found = apart(LinkType::ETHERNET, &frames);
    assert_eq!(wires(&found).len(), 4, "A5");
}

#[test]
fn tags_count_without_an_ethernet_header() {
    let cooked = |vlan: u8| {
        let mut packet = vec![0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 0x81, 0];
        packet.extend([0, vlan, 8, 0]);
        packet.extend(ipv4(1, 2, 17, &udp_datagram(1, 2, &[0; 4])));
        packet
    };
    let found = apart(LinkType::LINUX_SLL, &[cooked(10), cooked(20)]);
    let mut tags: Vec<_> = wires(&found).iter().map(|wire| wire.vlan.clone()).collect();
    tags.sort_unstable();
    assert_eq!(tags, [[10], [20]], "A2");
}

#[test]
fn priority_tags_take_no_place() {
    let tagged = |tags: &[u8]| {
        let mut frame = ethernet(1, 2, 0x8100, &[]);
        for (number, tag) in (1..).zip(tags) {
            let next = if number == tags.len() {
                0x0800_u16
            } else {
                0x8100
            };
            frame.extend([0, *tag]);
            frame.extend(next.to_be_bytes());
        }
        frame.extend(ipv4(1, 2, 17, &udp_datagram(1, 2, &[0; 4])));
        frame
    };
    let mut table = table();
    for tags in [
        &[1, 2, 3, 4, 5][..],
        &[0, 1, 2, 3, 4, 5],
        &[1, 0, 0, 2, 3, 4, 5],
    ] {
        feed(&mut table, 1, &tagged(tags));
    }
    let found = flows(&table);
    assert_eq!(found.len(), 1, "A3");
    assert_eq!(wires(&found)[0].vlan, [1, 2, 3, 4, 5]);
    assert_eq!(found[0].link.as_ref().unwrap().id & 0xfff, 1);
}

#[test]
fn arp_in_a_tunnel_does_not_divide_the_tunnel() {
    let gre = |ether_type: u16, payload: &[u8]| {
        let [high, low] = ether_type.to_be_bytes();
        let packet = [&[0, 0, high, low][..], payload].concat();
        ethernet(1, 2, 0x0800, &ipv4(1, 2, 47, &packet))
    };
    let request = |sender: u8| {
        let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, sender];
        packet.extend([10, 0, 0, sender, 0, 0, 0, 0, 0, 0, 10, 0, 0, 9]);
        gre(0x0806, &packet)
    };
    let inner = ipv4(1, 2, 17, &udp_datagram(1, 2, &[0; 4]));
    let mut table = table();
    for frame in [request(1), request(2), gre(0x0800, &inner)] {
        feed(&mut table, 1, &frame);
    }
    let found = flows(&table);
    let outer: Vec<_> = found.iter().filter(|flow| flow.link.is_some()).collect();
    assert_eq!((found.len(), outer.len()), (2, 1), "A7");
    assert!(outer[0].arp.is_none());
}

#[test]
fn keys_of_headers_that_form_no_flow_count_inside() {
    // GRE in GUE: the level of GRE has addresses neither of Ethernet nor of IP.
    let keyed = |key: u8| {
        let mut payload = vec![0, 47, 0, 0, 0x20, 0, 8, 0, 0, 0, 0, key];
        payload.extend(ipv4(1, 2, 17, &udp_datagram(1, 2, &[0; 4])));
        let datagram = udp_datagram(5_000, 6080, &payload);
        ethernet(1, 2, 0x0800, &ipv4(1, 2, 17, &datagram))
    };
    let mut table = table();
    for key in [9, 10, 9] {
        feed(&mut table, 1, &keyed(key));
    }
    let found = flows(&table);
    let inner = found.iter().filter(|flow| !flow.parent_uuid.is_empty());
    let mut keys: Vec<_> = inner
        .map(|flow| flow.wire.as_ref().and_then(|wire| wire.gre_key))
        .collect();
    keys.sort_unstable();
    assert_eq!(keys, [Some(9), Some(10)], "A8");
}
