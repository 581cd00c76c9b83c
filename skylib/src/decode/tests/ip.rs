//! Tests of IP, its extension headers, transports, and their payloads.

use super::*;

#[test]
fn a_tcp_segment_has_addresses_and_ports() {
    let mut payload = tcp(0x12);
    payload.extend(b"hello");
    let (encapsulations, result) = decode(&ethernet(0x0800, &ipv4(6, &payload)));
    assert_eq!(result, Ok(()));
    let [level] = &*encapsulations else {
        panic!("one level, not {encapsulations:?}")
    };
    assert_eq!(level.layers.to_string(), "Ethernet/IPv4/TCP");
    let link = level.link.unwrap();
    assert_eq!(link.source, [2, 0, 0, 0, 0x0a, 1]);
    assert_eq!(link.destination, [2, 0, 0, 0, 0x0b, 2]);
    let network = level.network.unwrap();
    assert_eq!(network.source.to_string(), "10.1.0.9");
    assert_eq!(network.destination.to_string(), "10.1.0.2");
    assert_eq!((network.hop_limit, network.length), (64, 45));
    let transport = level.transport.unwrap();
    assert_eq!((transport.source, transport.destination), (40000, 80));
    assert!(transport.flags.contains(TcpFlags::SYN) && transport.flags.contains(TcpFlags::ACK));
    assert_eq!(
        (
            transport.sequence,
            transport.payload_offset,
            transport.payload_len
        ),
        (1000, 54, 5)
    );
    assert_eq!((level.offset, level.length), (0, 59));
}

#[test]
fn padding_behind_the_ip_datagram_is_no_payload() {
    let mut frame = ethernet(0x0800, &ipv4(17, &udp(5000, 6000, b"abc")));
    frame.resize(60, 0);
    let (encapsulations, _) = decode(&frame);
    assert_eq!(encapsulations[0].transport.unwrap().payload_len, 3);
    assert_eq!(encapsulations[0].length, 60);
}

#[test]
fn recorded_ip_in_ip_shows_the_outer_addresses_and_the_inner_ports() {
    let mut inner = ipv4(6, &tcp(2));
    inner[12] = 192;
    let (encapsulations, result) = decode_recorded(&ethernet(0x0800, &ipv4(94, &inner)));
    assert_eq!(result, Ok(()));
    assert_eq!(paths(&encapsulations), ["Ethernet/IPv4/IPv4/TCP"]);
    assert_eq!(
        encapsulations[0].network.unwrap().source.to_string(),
        "10.1.0.9"
    );
    assert_eq!(encapsulations[0].transport.unwrap().destination, 80);
}

#[test]
fn recorded_ipv4_within_ipv6_shows_ipv4_but_is_identified_by_ipv6() {
    let (encapsulations, result) = decode_recorded(&ethernet(0x86dd, &ipv6(4, &ipv4(1, ECHO))));
    assert_eq!(result, Ok(()));
    assert_eq!(paths(&encapsulations), ["Ethernet/IPv6/IPv4/ICMPv4"]);
    assert_eq!(
        encapsulations[0].network.unwrap().protocol,
        NetworkProtocol::Ipv4
    );
    assert_eq!(
        encapsulations.key_network(0).unwrap().0.to_string(),
        "2001:db8::9"
    );
    assert_eq!(encapsulations[0].icmp.unwrap().id, 0x1234);
}

#[test]
fn fragments_stop_at_their_name() {
    let mut datagram = ipv4(17, &udp(1, 53, &[0; 20]));
    for offset in [0x2000_u16, 0x0001, 0x1fff] {
        datagram[6..8].copy_from_slice(&offset.to_be_bytes());
        assert_eq!(
            clean_paths(&ethernet(0x0800, &datagram)),
            ["Ethernet/IPv4/Fragment"]
        );
    }
    datagram[6..8].copy_from_slice(&0x4000_u16.to_be_bytes());
    assert_eq!(
        clean_paths(&ethernet(0x0800, &datagram)),
        ["Ethernet/IPv4/UDP/DNS"]
    );
    let fragment = [&hex("11 00 0001 00000001")[..], &udp(1, 2, b"")].concat();
    assert_eq!(
        clean_paths(&ethernet(0x86dd, &ipv6(44, &fragment))),
        ["Ethernet/IPv6/IPv6Fragment/Fragment"]
    );
}

#[test]
fn icmp_of_the_other_ip_version_counts_for_the_key_only() {
    let (encapsulations, _) = decode(&ethernet(0x86dd, &ipv6(1, ECHO)));
    assert_eq!(
        (encapsulations[0].icmp, encapsulations[0].icmp_key),
        (None, Some(2 << 24 | 0x1234))
    );
}

#[test]
fn icmpv6_messages_are_named() {
    let message = |kind: u8, body: &[u8]| {
        let message = [&[kind, 0, 0, 0][..], body].concat();
        clean_paths(&ethernet(0x86dd, &ipv6(58, &message))).remove(0)
    };
    for (kind, len, name) in [
        (128, 4, "Echo"),
        (129, 20, "Echo"),
        (133, 4, "RouterSolicitation"),
        (134, 12, "RouterAdvertisement"),
        (135, 20, "NeighborSolicitation"),
        (136, 20, "NeighborAdvertisement"),
        (137, 36, "Redirect"),
    ] {
        assert_eq!(
            message(kind, &vec![0; len]),
            format!("Ethernet/IPv6/ICMPv6/ICMPv6{name}")
        );
    }
    for (kind, len, name) in [
        (130, 20, "MLDv1MulticastListenerQuery"),
        (130, 24, "MLDv2MulticastListenerQuery"),
        (131, 20, "MLDv1MulticastListenerReport"),
        (132, 20, "MLDv1MulticastListenerDone"),
        (143, 4, "MLDv2MulticastListenerReport"),
    ] {
        assert_eq!(
            message(kind, &vec![0; len]),
            format!("Ethernet/IPv6/ICMPv6/{name}")
        );
    }
    assert_eq!(message(1, &[0; 8]), "Ethernet/IPv6/ICMPv6");
}

#[test]
fn echo_halves_share_kind_and_id() {
    let message = |kind| hex(&format!("{kind:02x} 07 0000 0309 0001"));
    for (kind, echo) in [(128, IcmpEcho::Request), (129, IcmpEcho::Reply)] {
        let (encapsulations, _) = decode(&ethernet(0x86dd, &ipv6(58, &message(kind))));
        let icmp = encapsulations[0].icmp.unwrap();
        assert_eq!((icmp.kind, icmp.code, icmp.id), (IcmpType::Echo, 7, 777));
        assert_eq!(
            (icmp.echo, encapsulations[0].icmp_key),
            (Some(echo), Some(2 << 24 | 777))
        );
    }
}

#[test]
fn extension_headers_are_layers() {
    let payload = [
        &hex("2b00 0104 00000000 3c00 0000 00000000 1100 0104 00000000")[..],
        &udp(1, 2, b""),
    ];
    assert_eq!(
        clean_paths(&ethernet(0x86dd, &ipv6(0, &payload.concat()))),
        ["Ethernet/IPv6/IPv6HopByHop/IPv6Routing/IPv6Destination/UDP"]
    );
    assert_eq!(
        clean_paths(&ethernet(0x86dd, &ipv6(59, b"abc"))),
        ["Ethernet/IPv6"]
    );
}

#[test]
fn other_protocols_over_ip_are_named() {
    let name = |protocol: u8, payload: &[u8]| {
        clean_paths(&ethernet(0x0800, &ipv4(protocol, payload))).remove(0)
    };
    assert_eq!(name(2, &hex("11000000 00000000")), "Ethernet/IPv4/IGMP");
    assert_eq!(name(27, &[0; 9]), "Ethernet/IPv4/RUDP");
    assert_eq!(name(50, &[0; 16]), "Ethernet/IPv4/IPSecESP");
    assert_eq!(
        name(
            51,
            &[&hex("06 01 0000 00000001 00000001")[..], &tcp(2)].concat()
        ),
        "Ethernet/IPv4/IPSecAH/TCP"
    );
    assert_eq!(
        name(89, &[&[2, 1][..], &[0; 22]].concat()),
        "Ethernet/IPv4/OSPF"
    );
    assert_eq!(
        name(
            97,
            &[&hex("3000")[..], &ethernet(0x0800, &ipv4(1, ECHO))].concat()
        ),
        "Ethernet/IPv4/EtherIP"
    );
    assert_eq!(
        name(112, &hex("21076401 0001ba52 0a0100fe")),
        "Ethernet/IPv4/VRRP"
    );
    assert_eq!(name(136, &[0; 8]), "Ethernet/IPv4/UDPLite");
    assert_eq!(name(41, &ipv6(6, &tcp(2))), "Ethernet/IPv4");
    assert_eq!(
        clean_paths(&ethernet(
            0x0800,
            &ipv4(137, &[&hex("00010140")[..], &ipv4(1, ECHO)].concat())
        )),
        ["Ethernet/IPv4/MPLS", "IPv4/ICMPv4"]
    );
}

#[test]
fn sctp_chunks_are_layers_as_far_as_the_path_holds() {
    let head = hex("0001 0002 00000000 00000000");
    let sack = hex("03000010 00000001 00000000 00000000");
    let data = hex("00030011 00000001 0000 0000 00000000 61 000000");
    let packet = [&head[..], &sack, &data].concat();
    let (encapsulations, result) = decode(&ethernet(0x0800, &ipv4(132, &packet)));
    assert_eq!(result, Ok(()));
    assert_eq!(
        paths(&encapsulations),
        ["Ethernet/IPv4/SCTP/SCTPSack/SCTPData"]
    );
    assert_eq!(
        encapsulations[0].transport.unwrap().protocol,
        TransportProtocol::Sctp
    );
    assert_eq!(encapsulations[0].transport.unwrap().destination, 2);

    let many = [&head[..], &hex("0b000004").repeat(30)].concat();
    let (encapsulations, result) = decode(&ethernet(0x0800, &ipv4(132, &many)));
    assert_eq!(
        (encapsulations[0].layers.len(), result),
        (LayersPath::CAPACITY, Ok(()))
    );
}

#[test]
fn application_protocols_are_detected_by_port_and_content() {
    let name = |port: u16, payload: &[u8]| {
        let (encapsulations, result) =
            decode(&ethernet(0x0800, &ipv4(17, &udp(40000, port, payload))));
        (paths(&encapsulations).remove(0), result.is_ok())
    };
    let udp_only = ("Ethernet/IPv4/UDP".to_owned(), false);
    for (port, least, application) in [
        (53, 12, "DNS"),
        (123, 48, "NTP"),
        (547, 4, "DHCPv6"),
        (546, 4, "DHCPv6"),
        (6343, 28, "SFlow"),
    ] {
        let payload = vec![0; least];
        assert_eq!(
            name(port, &payload),
            (format!("Ethernet/IPv4/UDP/{application}"), true)
        );
        assert_eq!(name(port, &payload[1..]), udp_only, "{application}");
    }
    let mut dhcp = vec![0; 236];
    dhcp.extend([99, 130, 83, 99]);
    assert_eq!(
        name(67, &dhcp),
        ("Ethernet/IPv4/UDP/DHCPv4".to_owned(), true)
    );
    assert_eq!(name(68, &[0; 240]), udp_only);
    let bfd = [&hex("20c00318")[..], &[0; 20]].concat();
    assert_eq!(name(3784, &bfd), ("Ethernet/IPv4/UDP/BFD".to_owned(), true));
    assert_eq!(name(3784, &[0; 24]), udp_only);
    assert_eq!(
        name(5060, b"OPTIONS sip:a SIP/2.0\r\n").0,
        "Ethernet/IPv4/UDP/SIP"
    );
    assert_eq!(name(5060, b"SIP/2.0 200 OK\r\n").0, "Ethernet/IPv4/UDP/SIP");
    assert_eq!(name(5060, b"\0\0\0\0\r\n"), udp_only);
    assert_eq!(name(5060, b"HELLO\0 SIP/2.0\r\n"), udp_only);
    assert_eq!(name(5060, b"HELLO world\r\n SIP/2.0"), udp_only);
    assert_eq!(name(9999, b"x"), ("Ethernet/IPv4/UDP".to_owned(), true));
}

#[test]
fn decoding_replaces_the_previous_packet() {
    let mut encapsulations = Encapsulations::new();
    let decoder = Decoder::default();
    let packet = |data| PacketRef {
        link_type: LinkType::ETHERNET,
        timestamp: Timestamp::ZERO,
        data,
        wire_len: 60,
    };
    let gre = ethernet(
        0x0800,
        &ipv4(47, &[&hex("0000 0800")[..], &ipv4(6, &tcp(2))].concat()),
    );
    assert_eq!(decoder.decode(packet(&gre), &mut encapsulations), Ok(()));
    assert_eq!(encapsulations.len(), 2);
    let echo = ethernet(0x0800, &ipv4(1, ECHO));
    assert_eq!(decoder.decode(packet(&echo), &mut encapsulations), Ok(()));
    assert_eq!(
        (
            encapsulations.len(),
            encapsulations.key_transport(0),
            encapsulations.without_flow()
        ),
        (1, None, 0)
    );
    assert_eq!(encapsulations[0].transport, None);
}

#[test]
fn plain_packets_are_plain_either_way() {
    let plain = ethernet(0x0800, &ipv4(6, &tcp(2)));
    for wire_len in [0, 54] {
        let (encapsulations, _) = decode_with(
            DecoderOptions::default(),
            LinkType::ETHERNET,
            &plain,
            wire_len,
        );
        assert!(encapsulations.is_plain());
    }
    // The flow is not identified by its own headers.
    assert!(
        !decode(&ethernet(0x86dd, &ipv6(4, &ipv4(1, ECHO))))
            .0
            .is_plain()
    );
    let gre = [&hex("0000 0800")[..], &ipv4(6, &tcp(2))].concat();
    assert!(!decode(&ethernet(0x0800, &ipv4(47, &gre))).0.is_plain());
}
