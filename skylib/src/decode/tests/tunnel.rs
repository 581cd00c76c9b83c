//! Tests of tunnels: the encapsulation levels of a packet, and their headers.

use super::*;

#[test]
fn vxlan_makes_two_levels() {
    let inner = ethernet(0x0800, &ipv4(17, &udp(7000, 7001, b"x")));
    let vxlan = [&hex("08000000 00002a 00")[..], &inner].concat();
    let (encapsulations, result) = decode(&ethernet(0x0800, &ipv4(17, &udp(55555, 4789, &vxlan))));
    assert_eq!(result, Ok(()));
    assert_eq!(
        paths(&encapsulations),
        ["Ethernet/IPv4/UDP/VXLAN", "Ethernet/IPv4/UDP"]
    );
    let total = 50 + inner.len() as i64;
    assert_eq!(lengths(&encapsulations), [(0, total), (50, total - 50)]);
    assert_eq!(encapsulations[0].tunnel_end, Some(42));
    assert_eq!(encapsulations[0].network.unwrap().tunnel_id, 42);
    assert_eq!(
        (
            encapsulations[1].tunnel_end,
            encapsulations[1].network.unwrap().tunnel_id
        ),
        (None, 0)
    );
}

#[test]
fn a_tunnel_is_detected_by_its_source_port_too() {
    let inner = ethernet(0x0800, &ipv4(1, ECHO));
    let geneve = [&hex("01 00 6558 000007 00 0102 03 00")[..], &inner].concat();
    let (encapsulations, _) = decode(&ethernet(0x86dd, &ipv6(17, &udp(6081, 40000, &geneve))));
    assert_eq!(
        paths(&encapsulations),
        ["Ethernet/IPv6/UDP/Geneve", "Ethernet/IPv4/ICMPv4"]
    );
    assert_eq!(
        (encapsulations[0].tunnel_end, encapsulations[1].offset),
        (Some(7), 14 + 40 + 8 + 12)
    );
}

#[test]
fn the_destination_port_decides_before_the_source_port() {
    let question = hex("0007 0100 0001 0000 0000 0000 01 61 00 0001 0001");
    let path = |source, destination| {
        let (encapsulations, _) = decode(&ethernet(
            0x0800,
            &ipv4(17, &udp(source, destination, &question)),
        ));
        paths(&encapsulations).remove(0)
    };
    // A client whose source port is that of a tunnel sends a DNS query; the response looks like a
    // tunnel.
    assert_eq!(path(8472, 53), "Ethernet/IPv4/UDP/DNS");
    assert_eq!(path(53, 8472), "Ethernet/IPv4/UDP/VXLAN");
    assert_eq!(path(8472, 7000), "Ethernet/IPv4/UDP/VXLAN");
}

#[test]
fn an_empty_tunnel_is_one_level() {
    for payload in [hex("08000000 00002a 00"), hex("00 00 6558 00002a 00")] {
        let port = if payload[0] == 8 { 4789 } else { 6081 };
        let (encapsulations, result) =
            decode(&ethernet(0x0800, &ipv4(17, &udp(5, port, &payload))));
        assert_eq!(
            (encapsulations.len(), encapsulations[0].tunnel_end, result),
            (1, Some(42), Ok(()))
        );
    }
    // A GRE keepalive.
    let (encapsulations, result) = decode(&ethernet(0x0800, &ipv4(47, &[0; 4])));
    assert_eq!(
        (paths(&encapsulations), result),
        (vec!["Ethernet/IPv4/GRE".to_owned()], Ok(()))
    );
}

#[test]
fn the_gre_key_belongs_to_the_outer_level() {
    let inner = ipv4(6, &tcp(2));
    let gre = [&hex("3000 0800 00000063 00000001")[..], &inner].concat();
    let (encapsulations, result) = decode(&ethernet(0x0800, &ipv4(47, &gre)));
    assert_eq!(result, Ok(()));
    assert_eq!(paths(&encapsulations), ["Ethernet/IPv4/GRE", "IPv4/TCP"]);
    assert_eq!(encapsulations[0].network.unwrap().tunnel_id, 99);
    assert_eq!(lengths(&encapsulations), [(0, 86), (46, 40)]);
    assert_eq!(
        (encapsulations[0].transport, encapsulations[1].link),
        (None, None)
    );
    // The first flow is identified by the ports inside, because there are none outside.
    assert_eq!(encapsulations.key_transport(0).unwrap().destination, 80);
    assert_eq!(
        encapsulations.key_network(0).unwrap().0.to_string(),
        "10.1.0.9"
    );
}

#[test]
fn gre_before_mpls_ends_its_level_behind_the_labels() {
    let inner = ipv4(1, ECHO);
    let gre = [&hex("0000 8847 00010140")[..], &inner].concat();
    assert_eq!(
        clean_paths(&ethernet(0x0800, &ipv4(47, &gre))),
        ["Ethernet/IPv4/GRE/MPLS", "IPv4/ICMPv4"]
    );
}

#[test]
fn a_label_stack_ends_one_level() {
    let frame = ethernet(
        0x8847,
        &[&hex("00010040 00020140")[..], &ipv4(6, &tcp(2))].concat(),
    );
    let (encapsulations, result) = decode(&frame);
    assert_eq!(result, Ok(()));
    assert_eq!(paths(&encapsulations), ["Ethernet/MPLS/MPLS", "IPv4/TCP"]);
    assert_eq!(
        encapsulations.key_network(0).unwrap().1.to_string(),
        "10.1.0.2"
    );
    assert_eq!(encapsulations.key_transport(0).unwrap().source, 40000);
    assert_eq!(encapsulations[0].network, None);
}

#[test]
fn labels_carry_ethernet_unless_a_plausible_ip_header_follows() {
    let frame = |inner: &[u8]| ethernet(0x8847, &[&hex("00010140")[..], inner].concat());
    let mac_like_ip = [&hex("450000130b02 020000000a01 0800")[..], &ipv4(1, ECHO)].concat();
    assert_eq!(
        clean_paths(&frame(&ipv6(17, &udp(1, 2, b"x")))),
        ["Ethernet/MPLS", "IPv6/UDP"]
    );
    assert_eq!(
        clean_paths(&frame(&mac_like_ip)),
        ["Ethernet/MPLS", "Ethernet/IPv4/ICMPv4"],
        "an IP datagram of 19 bytes cannot be"
    );
    let mac = [&hex("020000000b02 020000000a01 0800")[..], &ipv4(1, ECHO)].concat();
    assert_eq!(
        clean_paths(&frame(&mac)),
        ["Ethernet/MPLS", "Ethernet/IPv4/ICMPv4"]
    );
}

#[test]
fn ports_can_be_configured_to_carry_mpls() {
    let mpls = [&hex("00010140")[..], &ipv4(1, ECHO)].concat();
    let frame = ethernet(0x0800, &ipv4(17, &udp(51822, 51234, &mpls)));
    assert_eq!(clean_paths(&frame), ["Ethernet/IPv4/UDP"]);
    let options = DecoderOptions::default().with_mpls_udp_port(51234);
    let (encapsulations, _) = decode_with(options, LinkType::ETHERNET, &frame, frame.len() as u32);
    assert_eq!(
        paths(&encapsulations),
        ["Ethernet/IPv4/UDP/MPLS", "IPv4/ICMPv4"]
    );
}

#[test]
fn recorded_gtp_does_not_end_its_level_and_the_inner_tcp_counts() {
    let gtp = [&hex("30 ff 0028 00000001")[..], &ipv4(6, &tcp(2))].concat();
    let (encapsulations, result) =
        decode_recorded(&ethernet(0x0800, &ipv4(17, &udp(40001, 2152, &gtp))));
    assert_eq!(result, Ok(()));
    assert_eq!(
        paths(&encapsulations),
        ["Ethernet/IPv4/UDP/GTPv1U/IPv4/TCP"]
    );
    assert_eq!(
        encapsulations[0].transport.unwrap().protocol,
        TransportProtocol::Tcp
    );
    assert_eq!(
        encapsulations.key_transport(0).unwrap().protocol,
        TransportProtocol::Udp
    );
}

#[test]
fn erspan_hides_its_header() {
    let mirrored = ethernet(0x0800, &ipv4(1, ECHO));
    let type_2 = [&hex("1000 88be 00000001 1001000000000000")[..], &mirrored].concat();
    let (encapsulations, result) = decode(&ethernet(0x0800, &ipv4(47, &type_2)));
    assert_eq!(result, Ok(()));
    assert_eq!(
        paths(&encapsulations),
        ["Ethernet/IPv4/GRE", "Ethernet/IPv4/ICMPv4"]
    );
    assert_eq!(lengths(&encapsulations)[1], (50, mirrored.len() as i64));
    // In recorded values, the skipped bytes are counted for the mirrored flow.
    let (encapsulations, _) = decode_recorded(&ethernet(0x0800, &ipv4(47, &type_2)));
    assert_eq!(lengths(&encapsulations)[1], (50, mirrored.len() as i64 + 8));
    let type_1 = [&hex("0000 88be")[..], &mirrored].concat();
    let (encapsulations, _) = decode(&ethernet(0x0800, &ipv4(47, &type_1)));
    assert_eq!(lengths(&encapsulations)[1], (38, mirrored.len() as i64));
}
