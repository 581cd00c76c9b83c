//! Property tests: the fast path and the general path agree, and the general path agrees with
//! etherparse.

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// Returns whether the fast path supports the packet; if so, compares its result with that of the
/// general path.
fn paths_agree(
    options: &DecoderOptions,
    data: &[u8],
    wire_len: u32,
) -> Result<bool, TestCaseError> {
    let decoder = Decoder::new(options.clone());
    let packet = PacketRef {
        link_type: LinkType::ETHERNET,
        timestamp: Timestamp::ZERO,
        data,
        wire_len,
    };
    let (mut fast, mut general) = (Encapsulations::new(), Encapsulations::new());
    let result = decoder.decode_generally(packet, &mut general, None);
    let fast_result = match fast_path::decode(options, data, wire_len, &mut fast) {
        Outcome::Done => Some(Ok(())),
        Outcome::InvalidPayload(layer) => Some(fast_path::payload_error(layer, data, &fast)),
        Outcome::Unsupported => None,
    };
    let is_supported = fast_result.is_some();
    if let Some(fast_result) = fast_result {
        prop_assert_eq!(fast_result, result);
        prop_assert_eq!(&*fast, &*general);
        prop_assert_eq!(fast.without_flow(), general.without_flow());
        for index in 0..fast.len() + 1 {
            prop_assert_eq!(fast.key_network(index), general.key_network(index));
            prop_assert_eq!(fast.key_transport(index), general.key_transport(index));
        }
    }
    // The caller receives the result of the general path, regardless of the path used.
    let mut encapsulations = Encapsulations::new();
    prop_assert_eq!(decoder.decode(packet, &mut encapsulations), result);
    prop_assert_eq!(&*encapsulations, &*general);
    prop_assert_eq!(encapsulations.without_flow(), general.without_flow());
    Ok(is_supported)
}

/// Generates packets of common headers, with tunnels.
fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let application = || {
        (
            any::<u16>(),
            any_port(),
            prop::collection::vec(any::<u8>(), 0..80),
        )
    };
    let datagram = prop_oneof![
        application().prop_map(|(a, b, data)| (17, udp(a, b, &data))),
        application().prop_map(|(a, b, data)| (17, udp(b, a, &data))),
        any::<u8>().prop_map(|flags| (6, tcp(flags))),
        (any::<u8>(), any::<[u8; 7]>()).prop_map(|(kind, rest)| (1, [&[kind][..], &rest].concat())),
        any::<[u8; 8]>().prop_map(|body| (58, [&[128 | body[0] & 1][..], &body[1..]].concat())),
        any::<(u8, [u8; 24])>().prop_map(|(kind, body)| (58, [&[kind][..], &body].concat())),
        any::<(u8, [u8; 8])>().prop_map(|(protocol, body)| (protocol, body.to_vec())),
    ];
    let frame =
        (datagram, any::<bool>(), 0_usize..6).prop_map(|((protocol, payload), is_v4, tags)| {
            tagged(
                tags,
                is_v4,
                &if is_v4 {
                    ipv4(protocol, &payload)
                } else {
                    ipv6(protocol, &payload)
                },
            )
        });
    let arp = any::<[u8; 28]>().prop_map(|mut body| {
        body[4] %= 12;
        body[5] %= 8;
        ethernet(0x0806, &body)
    });
    prop_oneof![9 => frame, 1 => arp].prop_recursive(3, 64, 1, |inner| {
        (inner, 0..6_u8, any::<[u8; 4]>(), any::<bool>(), 0_usize..3).prop_map(
            |(frame, tunnel, id, is_v4, tags)| {
                let (protocol, payload) = tunneled(tunnel, id, &frame);
                tagged(
                    tags,
                    is_v4,
                    &if is_v4 {
                        ipv4(protocol, &payload)
                    } else {
                        ipv6(protocol, &payload)
                    },
                )
            },
        )
    })
}

fn any_port() -> impl Strategy<Value = u16> {
    prop_oneof![Just(9999), prop::sample::select(KNOWN_PORTS)]
}

const KNOWN_PORTS: &[u16] = &[
    53, 67, 123, 546, 2152, 3784, 4789, 5060, 6081, 6343, 8472, 51234,
];

fn tagged(tags: usize, is_v4: bool, datagram: &[u8]) -> Vec<u8> {
    let last = if is_v4 { 0x0800 } else { 0x86dd };
    let mut body = Vec::new();
    for tag in 1..=tags {
        let next: u16 = if tag == tags { last } else { 0x8100 };
        body.extend((tag as u16).to_be_bytes());
        body.extend(next.to_be_bytes());
    }
    body.extend(datagram);
    ethernet(if tags == 0 { last } else { 0x88a8 }, &body)
}

/// Returns IP protocol number and payload of a frame in a tunnel.
fn tunneled(tunnel: u8, [a, b, c, d]: [u8; 4], frame: &[u8]) -> (u8, Vec<u8>) {
    let inner_ip = (u16::from_be_bytes([frame[12], frame[13]]), &frame[14..]);
    let gre = |flags: u8, fields: &[u8], protocol: u16, payload: &[u8]| {
        let head = [flags, 0, (protocol >> 8) as u8, protocol as u8];
        (47, [&head[..], fields, payload].concat())
    };
    match tunnel {
        0 => (
            17,
            udp(1000, 4789, &[&[8, 0, 0, 0, a, b, c, 0][..], frame].concat()),
        ),
        1 => (
            17,
            udp(8472, 2000, &[&[8, 0, 0, 0, a, b, c, 0][..], frame].concat()),
        ),
        2 => {
            let head = [1, 0, 0x65, 0x58, a, b, c, 0, 1, 2, 3, 0];
            (17, udp(1000, 6081, &[&head[..], frame].concat()))
        }
        3 => gre(0x20, &[a, b, c, d], inner_ip.0, inner_ip.1),
        4 => gre(0x30, &[a, b, c, d, 0, 0, 0, 1], 0x6558, frame),
        _ => gre(0xa0, &[0, 0, 0, 0, a, b, c, d], 0x6558, frame),
    }
}

/// Generates offsets to damage, mostly in the outer headers.
fn any_offset() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 12..60_usize, 1 => 0..300_usize]
}

/// Generates values to write at these offsets, mostly limits of lengths, versions, and flags.
fn any_value() -> impl Strategy<Value = u8> {
    prop_oneof![2 => prop::sample::select(EDGES), 1 => any::<u8>()]
}

const EDGES: &[u8] = &[
    0, 1, 4, 6, 7, 8, 17, 19, 20, 21, 0x20, 0x40, 0x44, 0x46, 0x50, 0x60, 0x80, 0xff,
];

fn any_options() -> impl Strategy<Value = DecoderOptions> {
    prop_oneof![
        3 => Just(DecoderOptions::default()),
        1 => Just(DecoderOptions::default().with_mpls_udp_port(51234)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn valid_packets_decode_alike(options in any_options(), packet in any_packet()) {
        paths_agree(&options, &packet, packet.len() as u32 + 4)?;
    }

    #[test]
    fn damaged_packets_decode_alike(
        options in any_options(),
        mut packet in any_packet(),
        changes in prop::collection::vec((any_offset(), any_value()), 0..4),
        cut in prop::option::of(any::<Index>()),
        wire_len in prop_oneof![Just(0), 14..200_u32],
    ) {
        for (offset, value) in changes {
            let len = packet.len();
            packet[offset % len] = value;
        }
        if let Some(cut) = cut {
            packet.truncate(cut.index(packet.len() + 1));
        }
        paths_agree(&options, &packet, wire_len)?;
    }

    #[test]
    fn arbitrary_bytes_decode_alike(
        link_type in prop::sample::select(&[0_u16, 1, 9, 12, 14, 101, 108, 113, 228, 229, 276][..]),
        data in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        paths_agree(&DecoderOptions::default(), &data, 200)?;
        let (encapsulations, result) = decode_as(LinkType(link_type), &data);
        prop_assert!(encapsulations.iter().all(|level| !level.layers.is_empty()));
        prop_assert!(result.is_ok() || result.is_err_and(|error| !error.to_string().is_empty()));
    }

    #[test]
    fn etherparse_reads_the_same_ends(packet in any_packet()) {
        let (encapsulations, _) = decode(&packet);
        let oracle = LaxSlicedPacket::from_ethernet(&packet).unwrap();
        let level = encapsulations[0];
        if oracle.link_exts.len() == oracle.vlan_ids().len() {
            let tags = oracle.vlan_ids().iter().rev().fold(0, |id, tag| id << 12 | i64::from(tag.value()));
            // etherparse does not decode more than three tags.
            if oracle.vlan_ids().len() < 3 {
                prop_assert_eq!(level.vlan_id, tags);
            }
        }
        let ends = match &oracle.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                let header = ip.header();
                Some((IpAddress::v4(header.source()), IpAddress::v4(header.destination())))
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                let header = ip.header();
                Some((IpAddress::v6(header.source()), IpAddress::v6(header.destination())))
            }
            _ => None,
        };
        if ends.is_some() {
            prop_assert_eq!(encapsulations.key_network(0), ends);
        }
        let ports = match &oracle.transport {
            Some(TransportSlice::Tcp(tcp)) => Some((tcp.source_port(), tcp.destination_port())),
            Some(TransportSlice::Udp(udp)) => Some((udp.source_port(), udp.destination_port())),
            _ => None,
        };
        if ports.is_some() {
            prop_assert_eq!(encapsulations.key_transport(0).map(|t| (t.source, t.destination)), ports);
        }
    }
}

#[test]
fn the_fast_path_supports_what_it_is_for() {
    let options = DecoderOptions::default();
    let frame = ethernet(0x0800, &ipv4(17, &udp(7000, 7001, b"x")));
    for tunnel in 0..5 {
        let (protocol, payload) = tunneled(tunnel, [1, 2, 3, 4], &frame);
        for (is_v4, datagram) in [
            (true, ipv4(protocol, &payload)),
            (false, ipv6(protocol, &payload)),
        ] {
            for tags in 0..=4 {
                let packet = tagged(tags, is_v4, &datagram);
                assert!(
                    paths_agree(&options, &packet, 2000).unwrap(),
                    "{tunnel} {is_v4} {tags}"
                );
            }
        }
    }
    let (protocol, payload) = tunneled(5, [1, 2, 3, 4], &frame);
    assert!(!paths_agree(&options, &tagged(0, true, &ipv4(protocol, &payload)), 2000).unwrap());
    assert!(!paths_agree(&options, &tagged(5, true, &ipv4(1, ECHO)), 2000).unwrap());
    assert!(!paths_agree(&options, &tagged(0, true, &ipv4(1, ECHO)), 0).unwrap());
}

#[test]
fn every_damaged_byte_and_every_truncation_decode_alike() {
    let options = DecoderOptions::default();
    let leaves = [
        (6, tcp(2)),
        (17, udp(9999, 53, &[1; 14])),
        (17, udp(123, 9999, &[1; 50])),
        (1, ECHO.to_vec()),
        (58, hex("80000000 0309 0001")),
    ];
    let mut packets = vec![ethernet(
        0x0806,
        &hex("0001 0800 06 04 0001 020000000a01 0a010001 000000000000 0a010002"),
    )];
    for (protocol, payload) in &leaves {
        packets.push(tagged(2, true, &ipv4(*protocol, payload)));
        packets.push(tagged(0, false, &ipv6(*protocol, payload)));
    }
    for tunnel in 0..6 {
        let (protocol, payload) = tunneled(tunnel, [1, 2, 3, 4], &packets[1]);
        packets.push(tagged(0, true, &ipv4(protocol, &payload)));
    }
    let agree = |data: &[u8]| paths_agree(&options, data, 300).unwrap();
    let mut supported = 0;
    for packet in &packets {
        for len in 0..packet.len() {
            supported += usize::from(agree(&packet[..len]));
        }
        for offset in 12..packet.len() {
            for value in EDGES {
                let mut damaged = packet.clone();
                damaged[offset] = *value;
                supported += usize::from(agree(&damaged));
            }
        }
    }
    assert!(
        supported > 10_000,
        "{supported} packets were supported by the fast path"
    );
}
