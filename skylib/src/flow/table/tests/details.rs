//! Tests of details: ARP contents, ICMP errors, joined segments, and counters of DNS.

use super::*;
use crate::flow::ExtraLayers;

/// Returns the first flow for which a test is true.
fn find(table: &FlowTable, is_wanted: impl Fn(&Flow) -> bool) -> Flow {
    flows(table).into_iter().find(is_wanted).unwrap()
}

/// Returns an ICMP error from end 2 to end 1 that refers to an IP packet.
fn icmp_error(kind: u8, code: u8, mtu: u8, packet: &[u8]) -> Vec<u8> {
    let message = [&[kind, code, 0, 0, 0, 0, 5, mtu][..], packet].concat();
    ethernet(2, 1, 0x0800, &ipv4(9, 1, 1, &message))
}

#[test]
fn arp_shows_the_contents_of_the_first_packet() {
    let mut frame = ethernet(1, 0xff, 0x0806, &[0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
    let mut table = table();
    feed(&mut table, 1, &frame);
    frame[21] = 2;
    feed(&mut table, 2, &frame);
    let arp = only(&table).arp.unwrap();
    assert_eq!(
        (&*arp.operation, &*arp.sender_mac),
        ("REQUEST", "02:00:00:00:00:01")
    );
    assert_eq!((&*arp.sender_ip, &*arp.target_ip), ("10.0.0.1", "10.0.0.2"));
    let mut table = recorded();
    feed(&mut table, 1, &frame);
    assert_eq!(only(&table).arp, None);
}

#[test]
fn errors_are_linked_to_the_flow_that_they_are_about() {
    let mut table = table();
    let packets = [udp(A, B, &[0; 4]), udp(End(1, 40_001), B, &[0; 4])];
    for packet in &packets {
        feed(&mut table, 1, packet);
        feed(&mut table, 2, &icmp_error(11, 0, 0, &packet[14..42]));
    }
    feed(&mut table, 3, &icmp_error(3, 4, 0xdc, &packets[0][14..42]));
    assert_eq!(table.len(), 5);
    let first = find(&table, |flow| {
        flow.transport.is_some_and(|ports| ports.a == 40_000)
    });
    let errors = first.icmp_errors.unwrap();
    assert_eq!(
        (errors.count, &*errors.last_type),
        (2, "DESTINATION_UNREACHABLE")
    );
    assert_eq!((errors.last_code, errors.last, errors.mtu), (4, 3, 1500));
    let error = find(&table, |flow| flow.icmp.is_some_and(|icmp| icmp.code == 4));
    let about = error.about.unwrap();
    assert_eq!(
        (about.uuid, about.tracking_id),
        (first.uuid, first.tracking_id)
    );
    assert_eq!(&*about.network.unwrap().b, "10.0.0.2");
    assert_eq!(
        (about.transport.unwrap().a, about.ip_protocol),
        (40_000, 17)
    );
}

#[test]
fn an_error_refers_to_the_packets_before_it_however_they_are_batched() {
    let packet = udp(A, B, &[0; 4]);
    let error = icmp_error(11, 0, 0, &packet[14..42]);
    let syn = |number| tcp_numbered(A, B, SYN, number, 0);
    let captures = [
        // The flow begins after the error.
        (vec![(1, error.clone()), (2, packet.clone())], false),
        (vec![(1, packet), (2, error)], true),
        // The error refers to a connection that another one follows.
        (
            vec![
                (1, syn(100)),
                (2, tcp_numbered(B, A, RST | ACK, 0, 101)),
                (3, icmp_error(3, 1, 0, &syn(100)[14..54])),
                (4, syn(900)),
            ],
            true,
        ),
    ];
    for (frames, is_linked) in captures {
        let (mut one_by_one, mut at_once) = (table(), table());
        frames
            .iter()
            .for_each(|(at, frame)| feed(&mut one_by_one, *at, frame));
        feed_at_once(&mut at_once, &frames);
        assert_eq!(flows(&one_by_one), flows(&at_once));
        let about = find(&at_once, |flow| flow.about.is_some()).about.unwrap();
        assert_eq!(!about.uuid.is_empty(), is_linked);
        let counted = flows(&at_once)
            .iter()
            .filter(|flow| flow.icmp_errors.is_some())
            .count();
        assert_eq!(counted, usize::from(is_linked));
    }
}

#[test]
fn an_announced_mtu_stays_when_another_error_follows() {
    let mut table = table();
    let packet = udp(A, B, &[0; 4]);
    feed(&mut table, 1, &packet);
    feed(&mut table, 2, &icmp_error(3, 4, 0x78, &packet[14..42]));
    let mut exceeded = icmp_error(11, 0, 0, &packet[14..42]);
    exceeded[40..42].fill(0);
    feed(&mut table, 3, &exceeded);
    let errors = find(&table, |flow| flow.icmp_errors.is_some())
        .icmp_errors
        .unwrap();
    assert_eq!(
        (errors.count, &*errors.last_type, errors.mtu),
        (2, "TIME_EXCEEDED", 0x578)
    );
}

#[test]
fn an_error_about_an_unknown_or_truncated_packet_is_a_flow() {
    let packet = &udp(A, B, &[0; 4])[14..42];
    for len in 0..packet.len() {
        let mut table = table();
        feed(&mut table, 1, &icmp_error(11, 0, 0, &packet[..len]));
        let flow = only(&table);
        // The ports end at byte 24.
        assert_eq!(flow.about.is_some(), len >= 24, "{len}");
        assert!(flow.about.is_none_or(|about| about.uuid.is_empty()));
    }
}

#[test]
fn joined_segments_are_counted_as_on_the_wire() {
    let mut segment = tcp(A, B, ACK);
    let mut table = table();
    feed(&mut table, 1, &segment);
    assert_eq!(only(&table).offload, None);
    segment.resize(54 + 2921, 0);
    segment[16..18].copy_from_slice(&2961_u16.to_be_bytes());
    feed(&mut table, 2, &segment);
    let offload = only(&table).offload.unwrap();
    assert_eq!((offload.ab_segments, offload.segment_size), (4, 1460));
    assert_eq!(offload.ab_wire_bytes, 54 + 54 + 2921 + 2 * 54);
    assert_eq!(offload.ba_segments, 0);
}

#[test]
fn details_stay_within_their_budget_and_are_freed_with_the_flow() {
    let bound = 4_000_000;
    let mut table = FlowTable::new(FlowTableOptions::default().with_max_bytes(bound));
    for port in 0..20_000 {
        let packet = udp(A, End(2, port), &[0; 4]);
        feed(&mut table, 1, &packet);
        // From another MAC address than that of the flow.
        let mut error = icmp_error(11, 0, 0, &packet[14..42]);
        error[11] = 9;
        feed(&mut table, 1, &error);
        assert!(table.stats().bytes <= bound);
    }
    assert!(table.stats().details_dropped > 0);
    table.flush(&mut Vec::<Flow>::new());
    let index = table
        .network_index
        .as_ref()
        .map_or(0, |index| index.bytes());
    assert_eq!(table.details_bytes, index);
}

#[test]
fn dns_messages_are_counted() {
    let options = FlowTableOptions::default().with_extra_layers(ExtraLayers::DNS);
    let mut table = FlowTable::new(options);
    let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1];
    feed(&mut table, 1, &udp(A, End(2, 53), &message));
    message[2..4].copy_from_slice(&[0x81, 0x83]);
    feed(&mut table, 2, &udp(End(2, 53), A, &message));
    let metric = only(&table).dns_metric.unwrap();
    assert_eq!(
        (metric.queries, metric.responses, metric.failures),
        (1, 1, 1)
    );
}

/// Returns a SYN with options.
fn syn(from: End, to: End, flags: u8, options: &[u8]) -> Vec<u8> {
    let mut frame = tcp(from, to, flags);
    frame[46] = 0x50 + ((options.len() / 4) << 4) as u8;
    frame.extend(options);
    frame[16..18].copy_from_slice(&(40 + options.len() as u16).to_be_bytes());
    frame
}

/// Returns a TCP segment with a payload of `len` bytes.
fn data(from: End, to: End, len: u16) -> Vec<u8> {
    let mut frame = tcp(from, to, ACK);
    frame.resize(54 + usize::from(len), 0);
    frame[16..18].copy_from_slice(&(40 + len).to_be_bytes());
    frame
}

#[test]
fn a_joined_frame_is_longer_than_its_receiver_announced() {
    let stamps = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0];
    let mss = |size: u16| [2, 4, (size >> 8) as u8, size as u8];
    let (small, large) = (
        [&mss(512)[..], &stamps].concat(),
        [&mss(1460)[..], &stamps].concat(),
    );
    let mut table = table();
    feed(&mut table, 1, &syn(A, B, SYN, &small));
    feed(&mut table, 2, &syn(B, A, SYN | ACK, &large));
    // 512 - 12 bytes fit into a segment to A, 1448 into one to B.
    feed(&mut table, 3, &data(A, B, 1448));
    feed(&mut table, 4, &data(B, A, 500));
    assert_eq!(only(&table).offload, None);
    assert_eq!(only(&table).network.unwrap().id, 0);
    feed(&mut table, 5, &data(B, A, 501));
    feed(&mut table, 6, &data(A, B, 14480));
    let offload = only(&table).offload.unwrap();
    assert_eq!((offload.ab_segments, offload.ba_segments), (2 + 10, 3 + 1));
    assert_eq!((offload.segment_size, offload.exact), (1448, false));
    let metric = only(&table).metric.unwrap();
    assert_eq!(offload.ba_wire_bytes, metric.ba_bytes + 54);
    assert_eq!(offload.ab_wire_bytes, metric.ab_bytes + 9 * 54);
}

#[test]
fn errors_from_another_machine_find_the_flow() {
    let mut table = table();
    let packet = udp(A, B, &[0; 4]);
    feed(&mut table, 1, &packet);
    for (at, router) in [(2, 9), (3, 0x77)] {
        let mut error = icmp_error(11, 0, 0, &packet[14..42]);
        error[11] = router;
        feed(&mut table, at, &error);
        let flow = find(&table, |flow| flow.transport.is_some());
        assert_eq!(flow.icmp_errors.unwrap().count, at - 1);
        let uuids: Vec<_> = flows(&table)
            .into_iter()
            .filter_map(|flow| flow.about)
            .map(|about| about.uuid)
            .collect();
        assert_eq!(uuids, vec![flow.uuid; uuids.len()]);
    }
    // A flow that begins later is found too, and one that was removed is not.
    let later = udp(A, End(3, 9), &[0; 4]);
    feed(&mut table, 4, &later);
    let mut error = icmp_error(3, 1, 0, &later[14..42]);
    error[11] = 9;
    feed(&mut table, 5, &error);
    let flow = find(&table, |flow| {
        flow.transport.is_some_and(|ports| ports.b == 9)
    });
    assert!(flow.icmp_errors.is_some());
    table.flush(&mut Vec::<Flow>::new());
    feed(&mut table, 6, &error);
    assert!(only(&table).about.unwrap().uuid.is_empty());
}

#[test]
fn errors_about_packets_without_ports_find_their_flow() {
    let esp = [0, 0, 0x10, 1, 0, 0, 0, 1];
    let gre = [0x20, 0, 8, 0, 0, 0, 0, 7];
    let mut vxlan = udp_datagram(50_000, 4789, &[8, 0, 0, 0, 0, 0, 42, 0]);
    vxlan.extend(ethernet(3, 4, 0x88b5, &[0; 20]));
    vxlan[4..6].copy_from_slice(&50_u16.to_be_bytes());
    for (protocol, message) in [(50, &esp[..]), (47, &gre), (89, &esp), (17, &vxlan)] {
        let packet = ethernet(1, 2, 0x0800, &ipv4(1, 2, protocol, message));
        let mut table = table();
        feed(&mut table, 1, &packet);
        feed(&mut table, 2, &icmp_error(3, 1, 0, &packet[14..]));
        let linked = flows(&table)
            .into_iter()
            .filter(|flow| flow.icmp_errors.is_some());
        assert_eq!(linked.count(), 1, "{protocol}");
    }
}

#[test]
fn errors_of_one_time_about_two_flows_have_their_own_identifiers() {
    let mut table = table();
    for port in [1, 2] {
        feed(
            &mut table,
            1,
            &icmp_error(11, 0, 0, &udp(A, End(2, port), &[0; 4])[14..42]),
        );
    }
    let [first, second] = flows(&table).try_into().unwrap();
    assert_ne!(first.uuid, second.uuid);
    assert_eq!(first.tracking_id, second.tracking_id);
}
