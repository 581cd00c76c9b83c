//! Counting of packets in flows.

use super::*;

#[test]
fn both_directions_meet() {
    let mut table = table();
    feed(&mut table, 1000, &tcp(B, A, SYN));
    feed(&mut table, 1003, &tcp(A, B, SYN | ACK));
    feed(&mut table, 1004, &tcp(B, A, ACK));
    let flow = only(&table);
    let metric = flow.metric.unwrap();
    assert_eq!((metric.ab_packets, metric.ba_packets), (2, 1));
    assert_eq!((metric.ab_bytes, metric.ba_bytes), (108, 54));
    assert_eq!(
        (metric.start, metric.last, metric.rtt),
        (1000, 1004, 3_000_000)
    );
    assert_eq!(flow.network.unwrap().a.as_str(), "10.0.0.2");
    assert_eq!(flow.transport.unwrap().b, 40_000);
    assert_eq!(flow.link.unwrap().a.as_str(), "02:00:00:00:00:02");
}

#[test]
fn last_does_not_decrease_with_the_time() {
    for (mut table, last) in [(table(), 2000), (recorded(), 1500)] {
        for at in [1000, 2000, 1500] {
            feed(&mut table, at, &tcp(A, B, ACK));
        }
        let flow = only(&table);
        assert_eq!(
            (flow.start, flow.last, flow.metric.unwrap().last),
            (1000, last, last)
        );
    }
}

#[test]
fn a_repeated_syn_stays_on_its_side() {
    let options = FlowTableOptions::default().with_extra_tcp_metric(true);
    for (recorded, ba_syn) in [(false, 0), (true, 1001)] {
        let mut table = FlowTable::new(options.clone().with_recorded(recorded));
        feed(&mut table, 1000, &tcp(A, B, SYN));
        feed(&mut table, 1001, &tcp(A, B, SYN));
        let metric = only(&table).tcp_metric.unwrap();
        assert_eq!((metric.ab_syn_start, metric.ba_syn_start), (1000, ba_syn));
        assert_eq!(metric.ab_syn_ttl, 64);
        feed(&mut table, 1002, &tcp(B, A, SYN | ACK));
        feed(&mut table, 1003, &tcp(A, B, FIN | ACK));
        feed(&mut table, 1004, &tcp(B, A, RST));
        let metric = only(&table).tcp_metric.unwrap();
        assert_eq!(metric.ba_syn_start, if recorded { 1001 } else { 1002 });
        assert_eq!((metric.ab_fin_start, metric.ba_rst_start), (1003, 1004));
        assert_eq!((metric.ba_fin_start, metric.ab_rst_start), (0, 0));
    }
    let mut plain = FlowTable::new(FlowTableOptions::default());
    feed(&mut plain, 1000, &tcp(A, B, SYN));
    assert_eq!(only(&plain).tcp_metric, None);
}

#[test]
fn without_ip_packets_count_in_l3_mode_too() {
    for (recorded, packets) in [(false, 1), (true, 0)] {
        let options = FlowTableOptions::default().with_layer_key_mode(LayerKeyMode::L3);
        let mut table = FlowTable::new(options.with_recorded(recorded));
        feed(&mut table, 1000, &arp(1));
        assert_eq!(only(&table).metric.unwrap().ab_packets, packets);
    }
}

#[test]
fn l3_mode_looks_past_the_macs() {
    let options = FlowTableOptions::default();
    for (mode, wanted) in [(LayerKeyMode::L2, 2), (LayerKeyMode::L3, 1)] {
        let mut table = FlowTable::new(options.clone().with_layer_key_mode(mode));
        feed(&mut table, 1, &tcp(A, B, ACK));
        let mut routed = tcp(A, B, ACK);
        routed[5] = 99;
        feed(&mut table, 2, &routed);
        let mut answer = tcp(B, A, ACK);
        answer[11] = 98;
        feed(&mut table, 3, &answer);
        let flows = flows(&table);
        assert_eq!(flows.len(), wanted + usize::from(mode == LayerKeyMode::L2));
        let metric = flows[0].metric.unwrap();
        if mode == LayerKeyMode::L3 {
            assert_eq!((metric.ab_packets, metric.ba_packets), (2, 1));
            assert_eq!(flows[0].tracking_id, flows[0].l3_tracking_id);
            assert_eq!(
                flows[0].link.as_ref().unwrap().b.as_str(),
                "02:00:00:00:00:02"
            );
        }
    }
}

#[test]
fn tunnels_make_a_chain() {
    let mut table = table();
    feed(&mut table, 1, &vxlan(3, 4, &tcp(A, B, SYN)));
    feed(&mut table, 2, &vxlan(4, 3, &tcp(B, A, SYN | ACK)));
    let flows = flows(&table);
    assert_eq!(flows.len(), 2);
    let (outer, inner) = (&flows[0], &flows[1]);
    assert_eq!(outer.layers_path.as_str(), "Ethernet/IPv4/UDP/VXLAN");
    assert_eq!(outer.network.as_ref().unwrap().id, 42);
    assert_eq!(
        (outer.parent_uuid.as_str(), &inner.parent_uuid),
        ("", &outer.uuid)
    );
    assert_eq!(inner.layers_path.as_str(), "Ethernet/IPv4/TCP");
    for flow in &flows {
        let metric = flow.metric.unwrap();
        assert_eq!((metric.ab_packets, metric.ba_packets), (1, 1));
    }
    assert_eq!(
        outer.metric.unwrap().ab_bytes - inner.metric.unwrap().ab_bytes,
        50
    );
    // The same traffic outside the tunnel is another flow with the same tracking ID.
    feed(&mut table, 3, &tcp(A, B, ACK));
    let bare = &self::flows(&table)[2];
    assert_eq!(
        (bare.parent_uuid.as_str(), &bare.tracking_id),
        ("", &inner.tracking_id)
    );
    assert_ne!(bare.uuid, inner.uuid);
}

#[test]
fn a_header_inside_another_version_has_its_own_addresses() {
    // IPv4 in IPv6: keyed by the outer addresses, shown with the inner ones.
    let inner = ipv4(1, 2, 17, &udp_datagram(5, 6, &[]));
    let len = u16::try_from(inner.len()).unwrap().to_be_bytes();
    let outer = [
        &[0x60, 0, 0, 0, len[0], len[1], 4, 64][..],
        &[0xfd; 16],
        &[0xfe; 16],
        &inner,
    ];
    let frame = ethernet(1, 2, 0x86dd, &outer.concat());
    let mut table = recorded();
    feed(&mut table, 1, &frame);
    feed(&mut table, 2, &frame);
    let flow = only(&table);
    let network = flow.network.unwrap();
    assert_eq!(flow.layers_path.as_str(), "Ethernet/IPv6/IPv4/UDP");
    assert_eq!(
        (network.protocol, network.b.as_str()),
        (FlowProtocol::Ipv4, "10.0.0.2")
    );
    assert_eq!(flow.metric.unwrap().ab_packets, 2);
}

#[test]
fn the_end_of_a_connection_is_seen() {
    type BatchPackets<'a> = &'a [(End, End, u8)];
    let cases: [(BatchPackets<'_>, FinishType); 5] = [
        (&[(A, B, FIN | ACK), (B, A, FIN | ACK)], FinishType::TcpFin),
        (
            &[(A, B, FIN | ACK), (A, B, FIN | ACK)],
            FinishType::NotFinished,
        ),
        (&[(A, B, SYN), (B, A, RST | ACK)], FinishType::TcpRst),
        (&[(A, B, FIN), (B, A, FIN), (A, B, RST)], FinishType::TcpFin),
        (&[(A, B, SYN), (B, A, SYN | ACK)], FinishType::NotFinished),
    ];
    for (packets, wanted) in cases {
        let mut table = table();
        for (from, to, flags) in packets {
            feed(&mut table, 1, &tcp(*from, *to, *flags));
        }
        assert_eq!(only(&table).finish_type, wanted);
    }
}

#[test]
fn the_original_saw_ends_in_first_packets_only() {
    let mut table = recorded();
    feed(&mut table, 1, &tcp(A, B, SYN));
    feed(&mut table, 2, &tcp(A, B, RST));
    assert_eq!(only(&table).finish_type, FinishType::NotFinished);
    let mut table = recorded();
    feed(&mut table, 1, &tcp(A, B, FIN | ACK));
    assert_eq!(only(&table).finish_type, FinishType::TcpFin);
}

#[test]
fn the_first_packets_are_stored_whole() {
    let mut table = FlowTable::new(FlowTableOptions::default().with_raw_packet_limit(2));
    let inner = tcp(A, B, ACK);
    for at in 1..=3 {
        feed(&mut table, at, &vxlan(3, 4, &inner));
    }
    let flows = flows(&table);
    for flow in &flows {
        assert_eq!(flow.raw_packets_captured, 2);
        let indexes: Vec<_> = flow.last_raw_packets.iter().map(|raw| raw.index).collect();
        assert_eq!(indexes, [1, 2]);
    }
    let raw = &flows[1].last_raw_packets[1];
    assert_eq!(
        (raw.timestamp, raw.link_type, &raw.data[..]),
        (2, 1, &inner[..])
    );
    let sent = update(&mut table, 10);
    assert_eq!(sent[0].last_raw_packets.len(), 2);
    let flow = &self::flows(&table)[0];
    assert_eq!(
        (flow.last_raw_packets.len(), flow.raw_packets_captured),
        (0, 2)
    );
}

#[test]
fn what_cannot_be_decoded_is_counted_by_why() {
    let mut table = table();
    feed(&mut table, 1, &[0; 5]);
    feed(&mut table, 1, &ethernet(1, 2, 0x0800, &[0x45, 0, 0]));
    let stats = table.stats();
    assert_eq!((stats.packets, stats.without_flow), (2, 1));
    assert_eq!((stats.stopped.truncated, stats.stopped.total()), (2, 2));
    let flow = only(&table);
    assert_eq!(
        (flow.network, flow.layers_path.as_str()),
        (None, "Ethernet/IPv4")
    );
}

/// Returns an ICMPv4 message with an identifier of 7.
fn icmp(from: u8, to: u8, kind: u8, code: u8, number: u16) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0, 0, 7];
    message.extend(number.to_be_bytes());
    ethernet(from, to, 0x0800, &ipv4(from, to, 1, &message))
}

#[test]
fn an_extended_echo_is_measured() {
    let mut table = table();
    feed(&mut table, 0, &icmp(1, 2, 42, 0, 0x0301));
    // The reply has a result as its code, and other flags in the second byte (RFC 8335).
    feed(&mut table, 20, &icmp(2, 1, 43, 2, 0x0300));
    let flow = only(&table);
    assert_eq!(flow.metric.unwrap().rtt, 20_000_000);
    assert_eq!(flow.initiator.unwrap().by.as_str(), "REQUEST");
    let mut table = recorded();
    feed(&mut table, 0, &icmp(1, 2, 42, 0, 0x0301));
    feed(&mut table, 20, &icmp(2, 1, 43, 2, 0x0300));
    assert_eq!(table.len(), 2);
}

#[test]
fn other_queries_name_the_opener_without_a_round_trip_time() {
    for (request, reply) in [(13, 14), (15, 16), (17, 18)] {
        let mut table = table();
        feed(&mut table, 0, &icmp(2, 1, reply, 0, 1));
        feed(&mut table, 1, &icmp(1, 2, request, 0, 1));
        let flow = only(&table);
        assert_eq!(flow.initiator.unwrap().by.as_str(), "REPLY");
        assert_eq!(flow.network.unwrap().a.as_str(), "10.0.0.1");
        assert_eq!(flow.metric.unwrap().rtt, 0);
    }
}

#[test]
fn a_reply_before_its_request_is_no_round_trip_time() {
    let mut table = table();
    feed(&mut table, 100, &icmp(1, 2, 8, 0, 1));
    feed(&mut table, 90, &icmp(2, 1, 0, 0, 1));
    assert_eq!(only(&table).metric.unwrap().rtt, 0);
    assert_eq!(table.stats().time_back, 1);
}

#[test]
fn a_reply_joins_the_label_path_of_its_request() {
    // A10: two paths to B carry echoes with the same identifier; B's labels differ from both.
    let labeled = |label: u32, frame: &[u8]| {
        let mut mpls = (label << 12 | 0x1ff).to_be_bytes().to_vec();
        mpls.extend(&frame[14..]);
        ethernet(frame[11], frame[5], 0x8847, &mpls)
    };
    let mut table = table();
    feed(&mut table, 0, &labeled(100, &icmp(1, 2, 8, 0, 1)));
    feed(&mut table, 1, &labeled(200, &icmp(1, 2, 8, 0, 2)));
    feed(&mut table, 11, &labeled(300, &icmp(2, 1, 0, 0, 2)));
    let mut pings: Vec<_> = flows(&table)
        .into_iter()
        .filter(|flow| flow.icmp.is_some())
        .map(|flow| {
            (
                flow.start,
                flow.metric.unwrap().ba_packets,
                flow.metric.unwrap().rtt,
            )
        })
        .collect();
    pings.sort_unstable();
    assert_eq!(pings, [(0, 0, 0), (1, 1, 10_000_000)]);
}
