//! Tests of the payload of MPLS: IP, and pseudowires with and without a control word.

use super::*;

/// Returns a frame with two labels before the payload.
fn labels(payload: &[u8]) -> Vec<u8> {
    ethernet(0x8847, &[&hex("00010040 00020140")[..], payload].concat())
}

fn inner(destination: &str, payload: &[u8]) -> Vec<u8> {
    [&hex(destination)[..], &hex("001b21aabb01 0800"), payload].concat()
}

#[test]
fn a_control_word_is_skipped_and_counts_for_the_outer_flow() {
    let frame = inner("001b21aabb02", &ipv4(1, ECHO));
    for word in ["00000000", "00000007", "0000ffff"] {
        let data = labels(&[&hex(word)[..], &frame].concat());
        let (encapsulations, result) = decode(&data);
        assert_eq!(result, Ok(()));
        assert_eq!(
            paths(&encapsulations),
            ["Ethernet/MPLS/MPLS", "Ethernet/IPv4/ICMPv4"]
        );
        assert_eq!(
            lengths(&encapsulations),
            [(0, data.len() as i64), (26, frame.len() as i64)]
        );
        decode_prefixes(LinkType::ETHERNET, &data);
    }
}

#[test]
fn without_a_control_word_the_addresses_may_begin_with_zero() {
    for address in [
        "001b21aabb02",
        "421b21aabb02",
        "621b21aabb02",
        "821b21aabb02",
    ] {
        let frame = inner(address, &ipv4(1, ECHO));
        let (encapsulations, _) = decode(&labels(&frame));
        assert_eq!(
            paths(&encapsulations),
            ["Ethernet/MPLS/MPLS", "Ethernet/IPv4/ICMPv4"],
            "{address}"
        );
        assert_eq!(
            encapsulations[1].link.unwrap().destination[..],
            hex(address)
        );
    }
}

#[test]
fn ip_and_associated_channels_are_told_apart_by_their_first_bits() {
    let last = |payload: &[u8]| paths(&decode(&labels(payload)).0).pop().unwrap();
    assert_eq!(last(&ipv4(1, ECHO)), "IPv4/ICMPv4");
    assert_eq!(last(&ipv6(17, &udp(1, 2, b""))), "IPv6/UDP");
    assert_eq!(last(&hex("10000007 0000 0000")), "Ethernet/MPLS/MPLS");
}

#[test]
fn a_length_field_must_fit() {
    let llc = |length: u16| {
        let mut frame = hex("001b21aabb02 001b21aabb01");
        frame.extend(length.to_be_bytes());
        frame.extend(hex("424203 0000"));
        decode(&labels(&[&[0; 4][..], &frame].concat())).0[1].offset
    };
    assert_eq!((llc(5), llc(600)), (26, 22));
}

#[test]
fn recorded_values_know_no_control_words() {
    let data = labels(&[&[0; 4][..], &inner("001b21aabb02", &ipv4(1, ECHO))].concat());
    assert_eq!(decode_recorded(&data).0[1].offset, 22);
}
