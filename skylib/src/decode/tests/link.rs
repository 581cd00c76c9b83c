//! Tests of link layers: tags, IEEE lengths, layer 2 control protocols, all link types.

use super::*;

#[test]
fn the_outermost_tag_stands_in_the_lowest_bits() {
    let inner = ipv4(1, ECHO);
    let frame = ethernet(0x88a8, &[&hex("0005 8100 0006 0800")[..], &inner].concat());
    let (encapsulations, result) = decode(&frame);
    assert_eq!(result, Ok(()));
    assert_eq!(paths(&encapsulations), ["Ethernet/Dot1Q/Dot1Q/IPv4/ICMPv4"]);
    assert_eq!(encapsulations[0].vlan_id, 6 * 4096 + 5);
}

#[test]
fn seven_tags_overflow_quietly() {
    let tags = hex("0001 8100 0002 8100 0003 8100 0004 8100 0005 8100 0006 8100 0007 0800");
    let (encapsulations, _) = decode(&ethernet(0x8100, &[&tags[..], &ipv4(1, ECHO)].concat()));
    let expected = 1 | 2 << 12 | 3 << 24 | 4 << 36 | 5 << 48 | 6 << 60;
    assert_eq!(encapsulations[0].vlan_id, expected);
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
    let (encapsulations, result) = decode(&ethernet(0x8864, &session));
    assert_eq!(
        (paths(&encapsulations), result),
        (vec!["Ethernet/PPPoE/PPP/IPv4".to_owned()], Ok(()))
    );
    assert_eq!(
        clean_paths(&ethernet(0x8863, &hex("1109 0000 0004 01010000"))),
        ["Ethernet/PPPoE"]
    );
}

#[test]
fn an_ieee_length_limits_the_payload() {
    let bpdu = [&hex("424203")[..], &[0; 3], &[0xff; 30]].concat();
    let (encapsulations, result) = decode(&ethernet(6, &bpdu));
    assert_eq!(paths(&encapsulations), ["Ethernet/LLC"]);
    let error = DecodeError::Truncated {
        layer: Layer::STP,
        offset: 17,
        needed: 4,
        available: 3,
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
fn raw_ip_goes_by_its_first_nibble() {
    for link_type in [
        LinkType::RAW,
        LinkType::RAW_DLT,
        LinkType::IPV4,
        LinkType::RAW_OPENBSD,
    ] {
        let (encapsulations, result) = decode_as(link_type, &ipv4(6, &tcp(2)));
        assert_eq!(
            (paths(&encapsulations), result),
            (vec!["IPv4/TCP".to_owned()], Ok(()))
        );
        assert_eq!(encapsulations[0].length, 40);
    }
    let (encapsulations, _) = decode_as(LinkType::IPV6, &ipv6(17, &udp(1, 2, b"abc")));
    assert_eq!(
        (paths(&encapsulations), encapsulations[0].length),
        (vec!["IPv6/UDP".to_owned()], 51)
    );
    let (encapsulations, result) = decode_as(LinkType::RAW, &[0x25, 0, 0, 0]);
    assert!(encapsulations.is_empty());
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
    let (encapsulations, result) =
        decode_as(LinkType::LINUX_SLL, &[&sll[..], &ipv4(6, &tcp(2))].concat());
    assert_eq!(
        (paths(&encapsulations), result),
        (vec!["/IPv4/TCP".to_owned()], Ok(()))
    );
    assert_eq!(
        (encapsulations[0].length, encapsulations[0].link),
        (40, None)
    );
    let sll2 = hex("86dd 0000 00000002 0001 00 06 020000000a010000");
    let (encapsulations, _) = decode_as(
        LinkType::LINUX_SLL2,
        &[&sll2[..], &ipv6(17, &udp(1, 2, b""))].concat(),
    );
    assert_eq!(
        (paths(&encapsulations), encapsulations[0].length),
        (vec!["/IPv6/UDP".to_owned()], 48)
    );
}

#[test]
fn a_cooked_arp_makes_no_flow() {
    let packet = hex(
        "0000 0001 0006 020000000a01 0000 0806 0001 0800 06 04 0001 020000000a01 0a010001 000000000000 0a010002",
    );
    let (encapsulations, result) = decode_as(LinkType::LINUX_SLL, &packet);
    assert_eq!(
        (encapsulations.len(), encapsulations.without_flow(), result),
        (0, 1, Ok(()))
    );
}

#[test]
fn loopback_knows_the_families_of_all_systems() {
    for family in [10_u32, 24, 28, 30] {
        for word in [family.to_be_bytes(), family.to_le_bytes()] {
            let packet = [&word[..], &ipv6(17, &udp(1, 2, b""))].concat();
            let (encapsulations, _) = decode_as(LinkType::NULL, &packet);
            assert_eq!(
                (paths(&encapsulations), encapsulations[0].length),
                (vec!["Loopback/IPv6/UDP".to_owned()], 48)
            );
        }
    }
    let (encapsulations, _) = decode_as(
        LinkType::LOOP,
        &[&[0, 0, 0, 2][..], &ipv4(1, ECHO)].concat(),
    );
    assert_eq!(paths(&encapsulations), ["Loopback/IPv4/ICMPv4"]);
}

#[test]
fn ppp_comes_with_and_without_framing() {
    for head in [&hex("ff03 0021")[..], &hex("0021"), &hex("21")] {
        let (encapsulations, result) = decode_as(LinkType::PPP, &[head, &ipv4(1, ECHO)].concat());
        assert_eq!(
            (paths(&encapsulations), result),
            (vec!["PPP/IPv4/ICMPv4".to_owned()], Ok(()))
        );
        assert_eq!(encapsulations[0].length, 28);
    }
}

#[test]
fn unknown_link_types_are_reported() {
    let (encapsulations, result) = decode_as(LinkType(195), &[0; 60]);
    assert_eq!(
        (encapsulations.len(), result),
        (0, Err(DecodeError::LinkType(195)))
    );
    assert_eq!(
        result.unwrap_err().to_string(),
        "link type 195 (IEEE802_15_4_WITHFCS) is not decoded"
    );
}
