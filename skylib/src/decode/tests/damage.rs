//! Tests of truncated and malformed packets: what is decoded, and the error.

use super::*;

#[test]
fn a_short_tcp_header_leaves_its_name_but_no_ports() {
    let mut frame = ethernet(0x0800, &ipv4(6, &tcp(2)));
    frame.truncate(36);
    let (encapsulations, result) =
        decode_with(DecoderOptions::default(), LinkType::ETHERNET, &frame, 1500);
    assert_eq!(paths(&encapsulations), ["Ethernet/IPv4/TCP"]);
    let transport = encapsulations[0].transport.unwrap();
    assert_eq!(
        (transport.has_ports, transport.source, transport.destination),
        (false, 0, 0)
    );
    assert_eq!(encapsulations[0].length, 1500);
    let error = DecodeError::Truncated {
        layer: Layer::TCP,
        offset: 34,
        needed: 20,
        available: 2,
    };
    assert_eq!(result, Err(error));
    assert_eq!(
        error.to_string(),
        "TCP header at byte 34 needs 20 bytes, only 2 available"
    );
}

#[test]
fn a_bad_tcp_offset_preserves_the_ports() {
    for offset in [0x10, 0xf0] {
        let mut segment = tcp(2);
        segment[12] = offset;
        let (encapsulations, result) = decode(&ethernet(0x0800, &ipv4(6, &segment)));
        assert!(result.is_err());
        assert_eq!(
            encapsulations[0].transport.map(|header| header.destination),
            Some(80)
        );
    }
}

#[test]
fn a_short_ip_header_leaves_its_name_but_no_addresses() {
    for (ether_type, len, name) in [(0x0800, 19, "Ethernet/IPv4"), (0x86dd, 39, "Ethernet/IPv6")] {
        let (encapsulations, result) = decode(&ethernet(ether_type, &vec![0x45; len]));
        assert_eq!(paths(&encapsulations), [name]);
        assert!(encapsulations[0].network.unwrap().source.is_none());
        assert!(matches!(result, Err(DecodeError::Truncated { .. })));
    }
}

#[test]
fn damaged_ip_headers_preserve_their_addresses() {
    let good = ipv4(6, &tcp(2));
    // Header length below 20, beyond the total length, wrong version; total length below 20.
    for (at, value) in [(0, 0x44), (0, 0x4f), (0, 0x65), (3, 19)] {
        let mut datagram = good.clone();
        datagram[at] = value;
        let (encapsulations, result) = decode(&ethernet(0x0800, &datagram));
        assert_eq!(
            paths(&encapsulations),
            ["Ethernet/IPv4"],
            "{at}: {value:#x}"
        );
        assert_eq!(
            encapsulations[0].network.unwrap().source.to_string(),
            "10.1.0.9"
        );
        assert!(result.is_err());
    }
}

#[test]
fn offloaded_packets_without_lengths_are_whole() {
    let mut datagram = ipv4(17, &udp(1, 2, &[7; 100]));
    datagram[2..4].fill(0);
    datagram[24..26].fill(0);
    let (encapsulations, result) = decode(&ethernet(0x0800, &datagram));
    assert_eq!(result, Ok(()));
    assert_eq!(
        (
            encapsulations[0].network.unwrap().length,
            encapsulations[0].transport.unwrap().payload_len
        ),
        (128, 100)
    );
    let mut datagram = ipv6(6, &tcp(2));
    datagram[4..6].fill(0);
    let (encapsulations, _) = decode(&ethernet(0x86dd, &datagram));
    assert_eq!(
        (
            paths(&encapsulations)[0].as_str(),
            encapsulations[0].network.unwrap().length
        ),
        ("Ethernet/IPv6/TCP", 60)
    );
}

#[test]
fn a_bad_udp_length_preserves_the_ports() {
    let mut datagram = udp(1, 53, &[0; 20]);
    datagram[5] = 7;
    let (encapsulations, result) = decode(&ethernet(0x0800, &ipv4(17, &datagram)));
    assert_eq!(paths(&encapsulations), ["Ethernet/IPv4/UDP"]);
    assert_eq!(encapsulations[0].transport.unwrap().destination, 53);
    assert_eq!(
        result,
        Err(DecodeError::Malformed {
            layer: Layer::UDP,
            offset: 34
        })
    );
}

#[test]
fn unknown_protocols_are_reported() {
    let (encapsulations, result) = decode(&ethernet(0x1234, b"abc"));
    assert_eq!(paths(&encapsulations), ["Ethernet"]);
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
    let (encapsulations, result) = decode(&ethernet(0x8100, &tags));
    assert_eq!(encapsulations[0].layers.len(), LayersPath::CAPACITY);
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
    let (encapsulations, result) = decode(&ethernet(0x0800, &packet));
    assert_eq!(encapsulations.len(), Encapsulations::CAPACITY);
    assert!(matches!(result, Err(DecodeError::TooDeep { .. })));
}

#[test]
fn an_empty_packet_is_truncated() {
    let (encapsulations, result) = decode(&[]);
    assert!(encapsulations.is_empty());
    let error = DecodeError::Truncated {
        layer: Layer::ETHERNET,
        offset: 0,
        needed: 14,
        available: 0,
    };
    assert_eq!(result, Err(error));
}
