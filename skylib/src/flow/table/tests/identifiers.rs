//! UUIDs: records that differ never share one (A18).

use std::collections::HashSet;

use super::*;

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
