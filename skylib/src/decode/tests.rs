use super::*;
use crate::time::Timestamp;

/// Bytes from hexadecimal text; anything but digits only separates.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks_exact(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}

fn decode_as(link_type: LinkType, data: &[u8]) -> (Parts, Result<(), DecodeError>) {
    decode_with(
        DecoderOptions::default(),
        link_type,
        data,
        data.len() as u32,
    )
}

fn decode_with(
    options: DecoderOptions,
    link_type: LinkType,
    data: &[u8],
    wire_len: u32,
) -> (Parts, Result<(), DecodeError>) {
    let mut parts = Parts::new();
    let packet = PacketRef {
        link_type,
        timestamp: Timestamp::ZERO,
        data,
        wire_len,
    };
    let result = Decoder::new(options).decode(packet, &mut parts);
    (parts, result)
}

fn decode(data: &[u8]) -> (Parts, Result<(), DecodeError>) {
    decode_as(LinkType::ETHERNET, data)
}

fn paths(parts: &Parts) -> Vec<String> {
    parts.iter().map(|part| part.layers.to_string()).collect()
}

/// The paths of a packet that must decode without complaint.
fn clean_paths(data: &[u8]) -> Vec<String> {
    let (parts, result) = decode(data);
    assert_eq!(result, Ok(()));
    paths(&parts)
}

fn lengths(parts: &Parts) -> Vec<(u32, i64)> {
    parts
        .iter()
        .map(|part| (part.offset, part.length))
        .collect()
}

fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = hex("02000000 0b02 02000000 0a01");
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = hex("4500 0000 0001 0000 40 00 0000 0a010009 0a010002");
    header[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    header[9] = protocol;
    header.extend(payload);
    header
}

fn ipv6(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = hex("60000000 0000 00 3c");
    header.extend(hex(
        "20010db8000000000000000000000009 20010db8000000000000000000000002",
    ));
    header[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    header[6] = protocol;
    header.extend(payload);
    header
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(source.to_be_bytes());
    header.extend(destination.to_be_bytes());
    header.extend((8 + payload.len() as u16).to_be_bytes());
    header.extend([0, 0]);
    header.extend(payload);
    header
}

fn tcp(flags: u8) -> Vec<u8> {
    let mut header = hex("9c40 0050 000003e8 00000000 50 00 0200 0000 0000");
    header[13] = flags;
    header
}

const ECHO: &[u8] = &[8, 0, 0, 0, 0x12, 0x34, 0, 1];

#[test]
fn a_tcp_segment_tells_its_ends() {
    let mut payload = tcp(0x12);
    payload.extend(b"hello");
    let (parts, result) = decode(&ethernet(0x0800, &ipv4(6, &payload)));
    assert_eq!(result, Ok(()));
    let [part] = &*parts else {
        panic!("one part, not {parts:?}")
    };
    assert_eq!(part.layers.to_string(), "Ethernet/IPv4/TCP");
    let link = part.link.unwrap();
    assert_eq!(link.source, [2, 0, 0, 0, 0x0a, 1]);
    assert_eq!(link.destination, [2, 0, 0, 0, 0x0b, 2]);
    let network = part.network.unwrap();
    assert_eq!(network.source.to_string(), "10.1.0.9");
    assert_eq!(network.destination.to_string(), "10.1.0.2");
    assert_eq!((network.hop_limit, network.length), (64, 45));
    let transport = part.transport.unwrap();
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
    assert_eq!((part.offset, part.length), (0, 59));
}

#[test]
fn padding_behind_the_ip_datagram_is_no_payload() {
    let mut frame = ethernet(0x0800, &ipv4(17, &udp(5000, 6000, b"abc")));
    frame.resize(60, 0);
    let (parts, _) = decode(&frame);
    assert_eq!(parts[0].transport.unwrap().payload_len, 3);
    assert_eq!(parts[0].length, 60);
}

#[test]
fn the_outermost_tag_stands_in_the_lowest_bits() {
    let inner = ipv4(1, ECHO);
    let frame = ethernet(0x88a8, &[&hex("0005 8100 0006 0800")[..], &inner].concat());
    let (parts, result) = decode(&frame);
    assert_eq!(result, Ok(()));
    assert_eq!(paths(&parts), ["Ethernet/Dot1Q/Dot1Q/IPv4/ICMPv4"]);
    assert_eq!(parts[0].link.unwrap().vlan_id, 6 * 4096 + 5);
}

#[test]
fn seven_tags_overflow_quietly() {
    let tags = hex("0001 8100 0002 8100 0003 8100 0004 8100 0005 8100 0006 8100 0007 0800");
    let (parts, _) = decode(&ethernet(0x8100, &[&tags[..], &ipv4(1, ECHO)].concat()));
    let expected = 1 | 2 << 12 | 3 << 24 | 4 << 36 | 5 << 48 | 6 << 60;
    assert_eq!(parts[0].link.unwrap().vlan_id, expected);
}

#[test]
fn vxlan_makes_two_parts() {
    let inner = ethernet(0x0800, &ipv4(17, &udp(7000, 7001, b"x")));
    let vxlan = [&hex("08000000 00002a 00")[..], &inner].concat();
    let (parts, result) = decode(&ethernet(0x0800, &ipv4(17, &udp(55555, 4789, &vxlan))));
    assert_eq!(result, Ok(()));
    assert_eq!(
        paths(&parts),
        ["Ethernet/IPv4/UDP/VXLAN", "Ethernet/IPv4/UDP"]
    );
    let total = 50 + inner.len() as i64;
    assert_eq!(lengths(&parts), [(0, total), (50, total - 50)]);
    assert_eq!(parts[0].tunnel_end, Some(42));
    assert_eq!(parts[0].network.unwrap().tunnel_id, 42);
    assert_eq!(
        (parts[1].tunnel_end, parts[1].network.unwrap().tunnel_id),
        (None, 0)
    );
}

#[test]
fn a_tunnel_is_told_by_its_source_port_too() {
    let inner = ethernet(0x0800, &ipv4(1, ECHO));
    let geneve = [&hex("01 00 6558 000007 00 0102 03 00")[..], &inner].concat();
    let (parts, _) = decode(&ethernet(0x86dd, &ipv6(17, &udp(6081, 40000, &geneve))));
    assert_eq!(
        paths(&parts),
        ["Ethernet/IPv6/UDP/Geneve", "Ethernet/IPv4/ICMPv4"]
    );
    assert_eq!(
        (parts[0].tunnel_end, parts[1].offset),
        (Some(7), 14 + 40 + 8 + 12)
    );
}

#[test]
fn a_tunnel_with_nothing_in_it_is_one_part() {
    for payload in [hex("08000000 00002a 00"), hex("00 00 6558 00002a 00")] {
        let port = if payload[0] == 8 { 4789 } else { 6081 };
        let (parts, result) = decode(&ethernet(0x0800, &ipv4(17, &udp(5, port, &payload))));
        assert_eq!(
            (parts.len(), parts[0].tunnel_end, result),
            (1, Some(42), Ok(()))
        );
    }
    // A GRE keepalive.
    let (parts, result) = decode(&ethernet(0x0800, &ipv4(47, &[0; 4])));
    assert_eq!(
        (paths(&parts), result),
        (vec!["Ethernet/IPv4/GRE".to_owned()], Ok(()))
    );
}

#[test]
fn gre_gives_its_key_to_the_outer_part() {
    let inner = ipv4(6, &tcp(2));
    let gre = [&hex("3000 0800 00000063 00000001")[..], &inner].concat();
    let (parts, result) = decode(&ethernet(0x0800, &ipv4(47, &gre)));
    assert_eq!(result, Ok(()));
    assert_eq!(paths(&parts), ["Ethernet/IPv4/GRE", "IPv4/TCP"]);
    assert_eq!(parts[0].network.unwrap().tunnel_id, 99);
    assert_eq!(lengths(&parts), [(0, 86), (46, 40)]);
    assert_eq!((parts[0].transport, parts[1].link), (None, None));
    // The first flow is known by the ports within, as there are none outside.
    assert_eq!(parts.key_transport(0).unwrap().destination, 80);
    assert_eq!(parts.key_network(0).unwrap().0.to_string(), "10.1.0.9");
}

#[test]
fn gre_before_mpls_is_cut_behind_the_labels() {
    let inner = ipv4(1, ECHO);
    let gre = [&hex("0000 8847 00010140")[..], &inner].concat();
    assert_eq!(
        clean_paths(&ethernet(0x0800, &ipv4(47, &gre))),
        ["Ethernet/IPv4/GRE/MPLS", "IPv4/ICMPv4"]
    );
}

#[test]
fn a_label_stack_is_one_cut() {
    let frame = ethernet(
        0x8847,
        &[&hex("00010040 00020140")[..], &ipv4(6, &tcp(2))].concat(),
    );
    let (parts, result) = decode(&frame);
    assert_eq!(result, Ok(()));
    assert_eq!(paths(&parts), ["Ethernet/MPLS/MPLS", "IPv4/TCP"]);
    assert_eq!(parts.key_network(0).unwrap().1.to_string(), "10.1.0.2");
    assert_eq!(parts.key_transport(0).unwrap().source, 40000);
    assert_eq!(parts[0].network, None);
}

#[test]
fn labels_carry_ethernet_unless_a_sound_ip_header_follows() {
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
fn ports_can_be_told_to_carry_mpls() {
    let mpls = [&hex("00010140")[..], &ipv4(1, ECHO)].concat();
    let frame = ethernet(0x0800, &ipv4(17, &udp(51822, 51234, &mpls)));
    assert_eq!(clean_paths(&frame), ["Ethernet/IPv4/UDP"]);
    let options = DecoderOptions::default().with_mpls_udp_port(51234);
    let (parts, _) = decode_with(options, LinkType::ETHERNET, &frame, frame.len() as u32);
    assert_eq!(paths(&parts), ["Ethernet/IPv4/UDP/MPLS", "IPv4/ICMPv4"]);
}

#[test]
fn ip_in_ip_shows_the_outer_addresses_and_the_inner_ports() {
    let mut inner = ipv4(6, &tcp(2));
    inner[12] = 192;
    let (parts, result) = decode(&ethernet(0x0800, &ipv4(94, &inner)));
    assert_eq!(result, Ok(()));
    assert_eq!(paths(&parts), ["Ethernet/IPv4/IPv4/TCP"]);
    assert_eq!(parts[0].network.unwrap().source.to_string(), "10.1.0.9");
    assert_eq!(parts[0].transport.unwrap().destination, 80);
}

#[test]
fn ipv4_within_ipv6_shows_ipv4_but_is_known_by_ipv6() {
    let (parts, result) = decode(&ethernet(0x86dd, &ipv6(4, &ipv4(1, ECHO))));
    assert_eq!(result, Ok(()));
    assert_eq!(paths(&parts), ["Ethernet/IPv6/IPv4/ICMPv4"]);
    assert_eq!(parts[0].network.unwrap().protocol, NetworkProtocol::Ipv4);
    assert_eq!(parts.key_network(0).unwrap().0.to_string(), "2001:db8::9");
    assert_eq!(parts[0].icmp.unwrap().id, 0x1234);
}

#[test]
fn gtp_is_not_cut_and_the_inner_tcp_shows() {
    let gtp = [&hex("30 ff 0028 00000001")[..], &ipv4(6, &tcp(2))].concat();
    let (parts, result) = decode(&ethernet(0x0800, &ipv4(17, &udp(40001, 2152, &gtp))));
    assert_eq!(result, Ok(()));
    assert_eq!(paths(&parts), ["Ethernet/IPv4/UDP/GTPv1U/IPv4/TCP"]);
    assert_eq!(parts[0].transport.unwrap().protocol, TransportProtocol::Tcp);
    assert_eq!(
        parts.key_transport(0).unwrap().protocol,
        TransportProtocol::Udp
    );
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
    let (parts, _) = decode(&ethernet(0x86dd, &ipv6(1, ECHO)));
    assert_eq!(
        (parts[0].icmp, parts[0].icmp_key),
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
        let (parts, _) = decode(&ethernet(0x86dd, &ipv6(58, &message(kind))));
        let icmp = parts[0].icmp.unwrap();
        assert_eq!((icmp.kind, icmp.code, icmp.id), (IcmpType::Echo, 7, 777));
        assert_eq!(
            (icmp.echo, parts[0].icmp_key),
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
        "Ethernet/IPv4/EtherIP/Ethernet/IPv4/ICMPv4"
    );
    assert_eq!(
        name(112, &hex("21076401 0001ba52 0a0100fe")),
        "Ethernet/IPv4/VRRP"
    );
    assert_eq!(name(136, &[0; 8]), "Ethernet/IPv4/UDPLite");
    assert_eq!(name(41, &ipv6(6, &tcp(2))), "Ethernet/IPv4/IPv6/TCP");
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
    let (parts, result) = decode(&ethernet(0x0800, &ipv4(132, &packet)));
    assert_eq!(result, Ok(()));
    assert_eq!(paths(&parts), ["Ethernet/IPv4/SCTP/SCTPSack/SCTPData"]);
    assert_eq!(
        parts[0].transport.unwrap().protocol,
        TransportProtocol::Sctp
    );
    assert_eq!(parts[0].transport.unwrap().destination, 2);

    let many = [&head[..], &hex("0b000004").repeat(30)].concat();
    let (parts, result) = decode(&ethernet(0x0800, &ipv4(132, &many)));
    assert_eq!(
        (parts[0].layers.len(), result),
        (LayersPath::CAPACITY, Ok(()))
    );
}

#[test]
fn application_protocols_are_told_by_port_and_shape() {
    let name = |port: u16, payload: &[u8]| {
        let (parts, result) = decode(&ethernet(0x0800, &ipv4(17, &udp(40000, port, payload))));
        (paths(&parts).remove(0), result.is_ok())
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
    assert_eq!(name(9999, b"x"), ("Ethernet/IPv4/UDP".to_owned(), true));
}

#[test]
fn link_protocols_are_named() {
    let arp = hex("0001 0800 06 04 0001 020000000a01 0a010001 000000000000 0a010002");
    assert_eq!(clean_paths(&ethernet(0x0806, &arp)), ["Ethernet/ARP"]);
    let lldp = hex("0207 04 020000000a01 0405 05 65746830 0602 0078 0000");
    assert_eq!(
        clean_paths(&ethernet(0x88cc, &lldp)),
        ["Ethernet/LinkLayerDiscovery/LinkLayerDiscoveryInfo"]
    );
    assert_eq!(
        clean_paths(&ethernet(0x888e, &hex("02 00 0004 01000004"))),
        ["Ethernet/EAPOL/EAP"]
    );
    assert_eq!(
        clean_paths(&ethernet(0x888e, &hex("02 01 0000"))),
        ["Ethernet/EAPOL"]
    );
    assert_eq!(
        clean_paths(&ethernet(0x9000, &hex("0000 0100 0000 00"))),
        ["Ethernet/EthernetCTP/EthernetCTPReply"]
    );
    let bpdu = [&hex("424203")[..], &[0; 35]].concat();
    assert_eq!(clean_paths(&ethernet(38, &bpdu)), ["Ethernet/LLC/STP"]);
    let cdp = hex("aaaa03 00000c 2000 02 b4 0000 0001 0008 61626364");
    assert_eq!(
        clean_paths(&ethernet(cdp.len() as u16, &cdp)),
        ["Ethernet/LLC/SNAP/CiscoDiscovery/CiscoDiscoveryInfo"]
    );
    let session = [&hex("1100 0001 0016 0021")[..], &ipv4(0xfd, b"")].concat();
    let (parts, result) = decode(&ethernet(0x8864, &session));
    assert_eq!(
        (paths(&parts), result),
        (vec!["Ethernet/PPPoE/PPP/IPv4".to_owned()], Ok(()))
    );
    assert_eq!(
        clean_paths(&ethernet(0x8863, &hex("1109 0000 0004 01010000"))),
        ["Ethernet/PPPoE"]
    );
}

#[test]
fn an_ieee_length_cuts_the_payload() {
    let bpdu = [&hex("424203")[..], &[0; 3], &[0xff; 30]].concat();
    let (parts, result) = decode(&ethernet(6, &bpdu));
    assert_eq!(paths(&parts), ["Ethernet/LLC"]);
    let error = DecodeError::Truncated {
        layer: Layer::STP,
        offset: 17,
        wanted: 4,
        had: 3,
    };
    assert_eq!(result, Err(error));
}

#[test]
fn without_a_wire_length_the_frame_is_what_was_captured() {
    let frame = ethernet(0x0800, &ipv4(6, &tcp(2)));
    let decode =
        |frame: &[u8]| decode_with(DecoderOptions::default(), LinkType::ETHERNET, frame, 0);
    assert_eq!(decode(&frame).0[0].length, 54);
    assert_eq!(
        decode(&ethernet(38, &hex("424203 00000000"))).0[0].length,
        14 + 38
    );
}

#[test]
fn erspan_hides_its_header() {
    let mirrored = ethernet(0x0800, &ipv4(1, ECHO));
    let type_2 = [&hex("1000 88be 00000001 1001000000000000")[..], &mirrored].concat();
    let (parts, result) = decode(&ethernet(0x0800, &ipv4(47, &type_2)));
    assert_eq!(result, Ok(()));
    assert_eq!(paths(&parts), ["Ethernet/IPv4/GRE", "Ethernet/IPv4/ICMPv4"]);
    // The hidden bytes count for the mirrored flow, but are no part of its packets.
    assert_eq!(parts[1].offset, 50);
    assert_eq!(parts[1].length, mirrored.len() as i64 + 8);
    let type_1 = [&hex("0000 88be")[..], &mirrored].concat();
    let (parts, _) = decode(&ethernet(0x0800, &ipv4(47, &type_1)));
    assert_eq!(lengths(&parts)[1], (38, mirrored.len() as i64));
}

#[test]
fn raw_ip_goes_by_its_first_nibble() {
    for link_type in [
        LinkType::RAW,
        LinkType::RAW_DLT,
        LinkType::IPV4,
        LinkType::RAW_OPENBSD,
    ] {
        let (parts, result) = decode_as(link_type, &ipv4(6, &tcp(2)));
        assert_eq!(
            (paths(&parts), result),
            (vec!["IPv4/TCP".to_owned()], Ok(()))
        );
        assert_eq!(parts[0].length, 40);
    }
    let (parts, _) = decode_as(LinkType::IPV6, &ipv6(17, &udp(1, 2, b"abc")));
    assert_eq!(
        (paths(&parts), parts[0].length),
        (vec!["IPv6/UDP".to_owned()], 11)
    );
    let (parts, result) = decode_as(LinkType::RAW, &[0x25, 0, 0, 0]);
    assert!(parts.is_empty());
    assert_eq!(
        result,
        Err(DecodeError::Malformed {
            layer: Layer::IPV4,
            offset: 0
        })
    );
}

#[test]
fn cooked_captures_count_without_their_header() {
    let sll = hex("0000 0001 0006 020000000a01 0000 0800");
    let (parts, result) = decode_as(LinkType::LINUX_SLL, &[&sll[..], &ipv4(6, &tcp(2))].concat());
    assert_eq!(
        (paths(&parts), result),
        (vec!["/IPv4/TCP".to_owned()], Ok(()))
    );
    assert_eq!((parts[0].length, parts[0].link), (40, None));
    let sll2 = hex("86dd 0000 00000002 0001 00 06 020000000a010000");
    let (parts, _) = decode_as(
        LinkType::LINUX_SLL2,
        &[&sll2[..], &ipv6(17, &udp(1, 2, b""))].concat(),
    );
    assert_eq!(
        (paths(&parts), parts[0].length),
        (vec!["/IPv6/UDP".to_owned()], 48)
    );
}

#[test]
fn a_cooked_arp_makes_no_flow() {
    let packet = hex(
        "0000 0001 0006 020000000a01 0000 0806 0001 0800 06 04 0001 020000000a01 0a010001 000000000000 0a010002",
    );
    let (parts, result) = decode_as(LinkType::LINUX_SLL, &packet);
    assert_eq!((parts.len(), parts.without_flow(), result), (0, 1, Ok(())));
}

#[test]
fn loopback_knows_the_families_of_all_systems() {
    for family in [10_u32, 24, 28, 30] {
        for word in [family.to_be_bytes(), family.to_le_bytes()] {
            let packet = [&word[..], &ipv6(17, &udp(1, 2, b""))].concat();
            let (parts, _) = decode_as(LinkType::NULL, &packet);
            assert_eq!(
                (paths(&parts), parts[0].length),
                (vec!["Loopback/IPv6/UDP".to_owned()], 48)
            );
        }
    }
    let (parts, _) = decode_as(
        LinkType::LOOP,
        &[&[0, 0, 0, 2][..], &ipv4(1, ECHO)].concat(),
    );
    assert_eq!(paths(&parts), ["Loopback/IPv4/ICMPv4"]);
}

#[test]
fn ppp_comes_with_and_without_framing() {
    for head in [&hex("ff03 0021")[..], &hex("0021"), &hex("21")] {
        let (parts, result) = decode_as(LinkType::PPP, &[head, &ipv4(1, ECHO)].concat());
        assert_eq!(
            (paths(&parts), result),
            (vec!["PPP/IPv4/ICMPv4".to_owned()], Ok(()))
        );
        assert_eq!(parts[0].length, 28);
    }
}

#[test]
fn unknown_link_types_are_said() {
    let (parts, result) = decode_as(LinkType(195), &[0; 60]);
    assert_eq!((parts.len(), result), (0, Err(DecodeError::LinkType(195))));
    assert_eq!(
        result.unwrap_err().to_string(),
        "link type 195 is not decoded"
    );
}

#[test]
fn a_short_tcp_header_leaves_its_name_but_no_ports() {
    let mut frame = ethernet(0x0800, &ipv4(6, &tcp(2)));
    frame.truncate(36);
    let (parts, result) = decode_with(DecoderOptions::default(), LinkType::ETHERNET, &frame, 1500);
    assert_eq!(paths(&parts), ["Ethernet/IPv4/TCP"]);
    let transport = parts[0].transport.unwrap();
    assert_eq!(
        (transport.has_ports, transport.source, transport.destination),
        (false, 0, 0)
    );
    assert_eq!(parts[0].length, 1500);
    let error = DecodeError::Truncated {
        layer: Layer::TCP,
        offset: 34,
        wanted: 20,
        had: 2,
    };
    assert_eq!(result, Err(error));
    assert_eq!(
        error.to_string(),
        "TCP header at byte 34 wants 20 bytes, 2 are there"
    );
}

#[test]
fn a_bad_tcp_offset_keeps_the_ports() {
    for offset in [0x10, 0xf0] {
        let mut segment = tcp(2);
        segment[12] = offset;
        let (parts, result) = decode(&ethernet(0x0800, &ipv4(6, &segment)));
        assert!(result.is_err());
        assert_eq!(
            parts[0].transport.map(|header| header.destination),
            Some(80)
        );
    }
}

#[test]
fn a_short_ip_header_leaves_its_name_but_no_addresses() {
    for (ether_type, len, name) in [(0x0800, 19, "Ethernet/IPv4"), (0x86dd, 39, "Ethernet/IPv6")] {
        let (parts, result) = decode(&ethernet(ether_type, &vec![0x45; len]));
        assert_eq!(paths(&parts), [name]);
        assert!(parts[0].network.unwrap().source.is_none());
        assert!(matches!(result, Err(DecodeError::Truncated { .. })));
    }
}

#[test]
fn damaged_ip_headers_keep_their_addresses() {
    let good = ipv4(6, &tcp(2));
    // Header length below 20, beyond the total length, wrong version; total length below 20.
    for (at, value) in [(0, 0x44), (0, 0x4f), (0, 0x65), (3, 19)] {
        let mut datagram = good.clone();
        datagram[at] = value;
        let (parts, result) = decode(&ethernet(0x0800, &datagram));
        assert_eq!(paths(&parts), ["Ethernet/IPv4"], "{at}: {value:#x}");
        assert_eq!(parts[0].network.unwrap().source.to_string(), "10.1.0.9");
        assert!(result.is_err());
    }
}

#[test]
fn offloaded_packets_without_lengths_are_whole() {
    let mut datagram = ipv4(17, &udp(1, 2, &[7; 100]));
    datagram[2..4].fill(0);
    datagram[24..26].fill(0);
    let (parts, result) = decode(&ethernet(0x0800, &datagram));
    assert_eq!(result, Ok(()));
    assert_eq!(
        (
            parts[0].network.unwrap().length,
            parts[0].transport.unwrap().payload_len
        ),
        (128, 100)
    );
    let mut datagram = ipv6(6, &tcp(2));
    datagram[4..6].fill(0);
    let (parts, _) = decode(&ethernet(0x86dd, &datagram));
    assert_eq!(
        (paths(&parts)[0].as_str(), parts[0].network.unwrap().length),
        ("Ethernet/IPv6/TCP", 20)
    );
}

#[test]
fn a_bad_udp_length_keeps_the_ports() {
    let mut datagram = udp(1, 53, &[0; 20]);
    datagram[5] = 7;
    let (parts, result) = decode(&ethernet(0x0800, &ipv4(17, &datagram)));
    assert_eq!(paths(&parts), ["Ethernet/IPv4/UDP"]);
    assert_eq!(parts[0].transport.unwrap().destination, 53);
    assert_eq!(
        result,
        Err(DecodeError::Malformed {
            layer: Layer::UDP,
            offset: 34
        })
    );
}

#[test]
fn unknown_protocols_are_said() {
    let (parts, result) = decode(&ethernet(0x1234, b"abc"));
    assert_eq!(paths(&parts), ["Ethernet"]);
    let unknown = |layer, protocol, offset| DecodeError::UnknownProtocol {
        layer,
        protocol,
        offset,
    };
    assert_eq!(result, Err(unknown(Layer::ETHERNET, 0x1234, 14)));
    let (_, result) = decode(&ethernet(0x0800, &ipv4(253, b"abc")));
    assert_eq!(result, Err(unknown(Layer::IPV4, 253, 34)));
    assert_eq!(
        result.unwrap_err().to_string(),
        "IPv4 is followed by unknown protocol 0xfd at byte 34"
    );
}

#[test]
fn nesting_is_bounded() {
    let tags = hex("0001 8100").repeat(40);
    let (parts, result) = decode(&ethernet(0x8100, &tags));
    assert_eq!(parts[0].layers.len(), LayersPath::CAPACITY);
    assert_eq!(
        result,
        Err(DecodeError::TooDeep {
            layer: Layer::DOT1Q,
            offset: 14 + 15 * 4
        })
    );

    let mut packet = ipv4(1, ECHO);
    for _ in 0..30 {
        packet = ipv4(47, &[&hex("0000 0800")[..], &packet].concat());
    }
    let (parts, result) = decode(&ethernet(0x0800, &packet));
    assert_eq!(parts.len(), Parts::CAPACITY);
    assert!(matches!(result, Err(DecodeError::TooDeep { .. })));
}

#[test]
fn an_empty_packet_is_truncated() {
    let (parts, result) = decode(&[]);
    assert!(parts.is_empty());
    let error = DecodeError::Truncated {
        layer: Layer::ETHERNET,
        offset: 0,
        wanted: 14,
        had: 0,
    };
    assert_eq!(result, Err(error));
}

#[test]
fn parts_forget_the_packet_before() {
    let mut parts = Parts::new();
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
    assert_eq!(decoder.decode(packet(&gre), &mut parts), Ok(()));
    assert_eq!(parts.len(), 2);
    let echo = ethernet(0x0800, &ipv4(1, ECHO));
    assert_eq!(decoder.decode(packet(&echo), &mut parts), Ok(()));
    assert_eq!(
        (parts.len(), parts.key_transport(0), parts.without_flow()),
        (1, None, 0)
    );
    assert_eq!(parts[0].transport, None);
}
