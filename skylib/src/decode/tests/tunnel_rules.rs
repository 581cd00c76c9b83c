//! Tests of tunnels that Skydive does not support, and of tunnels that end the outer level only in
//! this decoder.

use super::*;

/// Checks the paths of a frame, and that none of its prefixes panics.
fn check(frame: &[u8], wanted: &[&str]) {
    let (encapsulations, result) = decode(frame);
    assert_eq!(
        (
            paths(&encapsulations)
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
            result
        ),
        (wanted.to_vec(), Ok(()))
    );
    decode_prefixes(LinkType::ETHERNET, frame);
}

fn over_udp(port: u16, header: &str, inner: &[u8]) -> Vec<u8> {
    let payload = [&hex(header)[..], inner].concat();
    ethernet(0x0800, &ipv4(17, &udp(40001, port, &payload)))
}

#[test]
fn ip_in_ip_makes_two_levels() {
    let segment = tcp(2);
    let (v4, v6) = (ipv4(6, &segment), ipv6(6, &segment));
    for protocol in [4, 94] {
        check(
            &ethernet(0x0800, &ipv4(protocol, &v4)),
            &["Ethernet/IPv4", "IPv4/TCP"],
        );
    }
    check(
        &ethernet(0x0800, &ipv4(41, &v6)),
        &["Ethernet/IPv4", "IPv6/TCP"],
    );
    check(
        &ethernet(0x86dd, &ipv6(4, &v4)),
        &["Ethernet/IPv6", "IPv4/TCP"],
    );
    check(
        &ethernet(0x86dd, &ipv6(41, &v6)),
        &["Ethernet/IPv6", "IPv6/TCP"],
    );
    check(
        &ethernet(0x0800, &ipv4(4, &ipv4(4, &v4))),
        &["Ethernet/IPv4", "IPv4", "IPv4/TCP"],
    );
    let ether_ip = [&hex("3000")[..], &ethernet(0x0800, &v4)].concat();
    check(
        &ethernet(0x0800, &ipv4(97, &ether_ip)),
        &["Ethernet/IPv4/EtherIP", "Ethernet/IPv4/TCP"],
    );
    let (encapsulations, _) = decode(&ethernet(0x0800, &ipv4(41, &v6)));
    assert_eq!(lengths(&encapsulations), [(0, 94), (34, 60)]);
    assert_eq!(encapsulations[0].transport, None);
}

#[test]
fn a_payload_that_is_not_ip_leaves_the_outer_flow() {
    for payload in [hex("ff00"), vec![0x55; 60], vec![0x45; 19]] {
        let (encapsulations, result) = decode(&ethernet(0x0800, &ipv4(4, &payload)));
        assert_eq!(paths(&encapsulations), ["Ethernet/IPv4"]);
        assert!(result.is_err());
    }
}

#[test]
fn gtp_ends_its_level_before_a_packet() {
    let inner = ipv4(6, &tcp(2));
    let frame = over_udp(2152, "30 ff 0028 00000100", &inner);
    check(&frame, &["Ethernet/IPv4/UDP/GTPv1U", "IPv4/TCP"]);
    let (encapsulations, _) = decode(&frame);
    assert_eq!(encapsulations[0].tunnel_end, Some(0x100));
    assert_eq!(encapsulations[0].network.unwrap().tunnel_id, 0);
    // An echo request of the protocol itself.
    let frame = over_udp(2152, "32 01 0004 00000000 0001 0000", &[]);
    check(&frame, &["Ethernet/IPv4/UDP/GTPv1U"]);
    assert_eq!(decode(&frame).0[0].tunnel_end, None);
}

#[test]
fn vxlan_gpe_gives_the_protocol_inside() {
    let frame = ethernet(0x0800, &ipv4(1, ECHO));
    let outer = "Ethernet/IPv4/UDP/VXLANGPE";
    check(
        &over_udp(4790, "0c000001 00002a00", &ipv4(1, ECHO)),
        &[outer, "IPv4/ICMPv4"],
    );
    check(
        &over_udp(4790, "0c000002 00002a00", &ipv6(17, &udp(1, 2, b""))),
        &[outer, "IPv6/UDP"],
    );
    check(
        &over_udp(4790, "0c000003 00002a00", &frame),
        &[outer, "Ethernet/IPv4/ICMPv4"],
    );
    check(
        &over_udp(4790, "08000000 00002a00", &frame),
        &[outer, "Ethernet/IPv4/ICMPv4"],
    );
    check(
        &over_udp(4790, "0d000001 00002a00", &ipv4(1, ECHO)),
        &[outer],
    );
    // A payload that is not of the stated type leaves only the outer flow.
    for header in ["0c000001 00002a00", "0c000002 00002a00"] {
        let (encapsulations, result) = decode(&over_udp(4790, header, &[0x99; 60]));
        assert_eq!(paths(&encapsulations), [outer]);
        assert!(result.is_err());
    }
    let data = over_udp(4790, "0c000001 00002a00", &ipv4(1, ECHO));
    assert_eq!(decode(&data).0[0].tunnel_end, Some(42));
    assert_eq!(paths(&decode_recorded(&data).0), ["Ethernet/IPv4/UDP"]);
}

#[test]
fn a_service_header_carries_any_packet() {
    let nsh = [
        &hex("0fc2 01 03 00001001")[..],
        &ethernet(0x0800, &ipv4(1, ECHO)),
    ]
    .concat();
    check(
        &ethernet(0x894f, &nsh),
        &["Ethernet/NSH", "Ethernet/IPv4/ICMPv4"],
    );
    let nsh = [&hex("0fc3 01 01 00001001 00000000")[..], &ipv4(1, ECHO)].concat();
    check(&ethernet(0x894f, &nsh), &["Ethernet/NSH", "IPv4/ICMPv4"]);
    let (encapsulations, result) = decode(&ethernet(0x894f, &hex("0fc1 01 01 00001001")));
    assert_eq!(paths(&encapsulations), ["Ethernet"]);
    assert!(matches!(
        result,
        Err(DecodeError::Malformed {
            layer: Layer::NSH,
            ..
        })
    ));
}

#[test]
fn a_provider_backbone_bridge_carries_frames() {
    let pbb = [&hex("00012345")[..], &ethernet(0x0800, &ipv4(1, ECHO))].concat();
    check(
        &ethernet(0x88e7, &pbb),
        &["Ethernet/PBB", "Ethernet/IPv4/ICMPv4"],
    );
}

#[test]
fn gue_carries_ip_with_and_without_a_header() {
    let outer = "Ethernet/IPv4/UDP/GUE";
    check(
        &over_udp(6080, "00 04 0000", &ipv4(1, ECHO)),
        &[outer, "IPv4/ICMPv4"],
    );
    check(
        &over_udp(6080, "01 29 0000 00000000", &ipv6(17, &udp(1, 2, b""))),
        &[outer, "IPv6/UDP"],
    );
    check(&over_udp(6080, "", &ipv4(1, ECHO)), &[outer, "IPv4/ICMPv4"]);
    check(&over_udp(6080, "20 01 0000", &[1, 2]), &[outer]);
    let (encapsulations, result) = decode(&over_udp(6080, "80 01 0000", &[1, 2]));
    assert_eq!(paths(&encapsulations), ["Ethernet/IPv4/UDP"]);
    assert!(result.is_err());
}

#[test]
fn teredo_skips_its_headers_and_keeps_the_ports() {
    let inner = ipv6(17, &udp(1, 2, b""));
    for header in [
        "",
        "0000 3412 f5fffffe",
        "0001 01 02 aa bbcc 1122334455667788 00 0000 3412 f5fffffe",
    ] {
        let frame = over_udp(3544, header, &inner);
        check(&frame, &["Ethernet/IPv4/UDP/Teredo", "IPv6/UDP"]);
        assert_eq!(decode(&frame).0[0].tunnel_end, None);
    }
    let (encapsulations, result) = decode(&over_udp(3544, "01020304", &[]));
    assert_eq!(paths(&encapsulations), ["Ethernet/IPv4/UDP"]);
    assert!(result.is_err());
}

#[test]
fn l2tp_carries_ppp_and_frames() {
    let ppp = [&hex("ff03 0021")[..], &ipv4(1, ECHO)].concat();
    let frame = ethernet(0x0800, &ipv4(1, ECHO));
    let outer = "Ethernet/IPv4/UDP/L2TP";
    for header in [
        "0002 0007 0009",
        "4002 0030 0007 0009",
        "0a02 0007 0009 00010002 0001 ff",
    ] {
        let data = over_udp(1701, header, &ppp);
        check(&data, &[outer, "PPP/IPv4/ICMPv4"]);
        assert_eq!(decode(&data).0[0].tunnel_end, Some(0x0007_0009));
    }
    check(
        &over_udp(1701, "c802 000c 0007 0000 0000 0000", &[]),
        &[outer],
    );
    check(
        &over_udp(1701, "0003 0000 00000011", &frame),
        &[outer, "Ethernet/IPv4/ICMPv4"],
    );
    for header in [
        "00000011",
        "00000011 aabbccdd",
        "00000011 aabbccddeeff0011 00000000",
    ] {
        let payload = [&hex(header)[..], &frame].concat();
        check(
            &ethernet(0x0800, &ipv4(115, &payload)),
            &["Ethernet/IPv4/L2TP", "Ethernet/IPv4/ICMPv4"],
        );
    }
    check(
        &ethernet(0x0800, &ipv4(115, &[0; 12])),
        &["Ethernet/IPv4/L2TP"],
    );
}

#[test]
fn the_calls_of_pptp_are_sessions() {
    let ppp = [&hex("ff03 0021")[..], &ipv4(1, ECHO)].concat();
    // With and without an acknowledgment number; the payload lengths differ.
    for header in [
        "3081 880b 0020 0007 00000001 00000002",
        "3001 880b 0021 0007 00000001",
    ] {
        let frame = ethernet(0x0800, &ipv4(47, &[&hex(header)[..], &ppp].concat()));
        check(&frame, &["Ethernet/IPv4/GRE", "PPP/IPv4/ICMPv4"]);
        let (encapsulations, _) = decode(&frame);
        let marks = &encapsulations[0].marks;
        assert_eq!((marks.session(), marks.gre_key()), (Some(7), None));
        assert_eq!(encapsulations[0].network.unwrap().tunnel_id, 0);
        let (recorded, _) = decode_recorded(&frame);
        assert_ne!(recorded[0].network.unwrap().tunnel_id, 0);
    }
    let frame = ethernet(0x0800, &ipv4(47, &hex("2000 0800 0020 0007")));
    assert_eq!(decode(&frame).0[0].marks.gre_key(), Some(0x20_0007));
}

#[test]
fn erspan_type_3_has_an_optional_subheader() {
    let mirrored = ethernet(0x0800, &ipv4(1, ECHO));
    let erspan = |header: &str, inner: &[u8]| {
        let gre = [&hex("1000 22eb 00000001")[..], &hex(header), inner].concat();
        ethernet(0x0800, &ipv4(47, &gre))
    };
    let levels = ["Ethernet/IPv4/GRE", "Ethernet/IPv4/ICMPv4"];
    let short = erspan("2001 0000 00000000 0000 0000", &mirrored);
    check(&short, &levels);
    assert_eq!(lengths(&decode(&short).0)[1], (54, mirrored.len() as i64));
    let long = erspan("2001 0000 00000000 0000 0001 0000000000000000", &mirrored);
    check(&long, &levels);
    assert_eq!(lengths(&decode(&long).0)[1], (62, mirrored.len() as i64));
    let packet = erspan("2001 0000 00000000 0000 0800", &ipv4(1, ECHO));
    check(&packet, &["Ethernet/IPv4/GRE", "IPv4/ICMPv4"]);
}

#[test]
fn tags_of_all_numbers_are_tags() {
    for kind in [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300] {
        let tagged = [&hex("012c 0800")[..], &ipv4(1, ECHO)].concat();
        let frame = ethernet(kind, &tagged);
        check(&frame, &["Ethernet/Dot1Q/IPv4/ICMPv4"]);
        assert_eq!(decode(&frame).0[0].vlan_id, 300);
    }
}

#[test]
fn a_whole_datagram_with_a_fragment_header_has_ports() {
    let fragment = |word: &str| {
        let payload = [
            &hex("11 00")[..],
            &hex(word),
            &hex("00000001"),
            &udp(1, 2, b""),
        ]
        .concat();
        ethernet(0x86dd, &ipv6(44, &payload))
    };
    check(&fragment("0000"), &["Ethernet/IPv6/IPv6Fragment/UDP"]);
    for word in ["0001", "0008", "0009"] {
        check(&fragment(word), &["Ethernet/IPv6/IPv6Fragment/Fragment"]);
    }
    let recorded = paths(&decode_recorded(&fragment("0000")).0);
    assert_eq!(recorded, ["Ethernet/IPv6/IPv6Fragment/Fragment"]);
}
