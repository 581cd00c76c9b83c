use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::decode::{Decoder, DecoderOptions, Encapsulations, Layer};
use crate::packet::LinkType;

/// Returns an Ethernet frame with a fragment of the datagram `id`: `len` bytes at an offset of
/// `unit` × 8 bytes.
fn frame(id: u8, unit: u16, len: u16, is_last: bool) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    frame.extend((20 + len).to_be_bytes());
    frame.extend([0, id]);
    frame.extend((unit | u16::from(!is_last) << 13).to_be_bytes());
    frame.extend([64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend((0..len).map(|byte| (unit * 8 + byte) as u8));
    frame
}

/// Returns an Ethernet frame with an IPv6 fragment of the datagram `id`.
fn frame_ipv6(id: u8, unit: u16, len: u16, is_last: bool) -> Vec<u8> {
    let mut frame = vec![
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0,
    ];
    frame.extend((8 + len).to_be_bytes());
    frame.extend([44, 64]);
    frame.extend([[0xfd; 16], [0xfe; 16]].concat());
    frame.extend([17, 0]);
    frame.extend(((unit * 8) | u16::from(!is_last)).to_be_bytes());
    frame.extend([0, 0, 0, id]);
    frame.extend((0..len).map(|byte| (unit * 8 + byte) as u8));
    frame
}

#[test]
fn ipv6_fragments_give_the_packet_as_it_was() {
    let pieces = [(0, 16, false), (2, 24, false), (5, 3, true)];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut rig = rig();
        let mut whole = None;
        for at in order {
            let (unit, len, is_last) = pieces[at];
            whole = pending(rig.add(1, &frame_ipv6(1, unit, len, is_last)));
        }
        assert_eq!(whole, Some(2));
        assert_eq!(rig.joined, frame_ipv6(1, 0, 43, true));
        let packet = PacketRef {
            link_type: LinkType::ETHERNET,
            timestamp: Timestamp::ZERO,
            data: &rig.joined,
            wire_len: rig.joined.len() as u32,
        };
        let mut encapsulations = Encapsulations::new();
        let decoder = Decoder::new(DecoderOptions::default());
        decoder
            .decode_reassembled(packet, 54, &mut encapsulations)
            .ok();
        let path = encapsulations[0].layers.to_string();
        assert_eq!(path, "Ethernet/IPv6/IPv6Fragment/Fragment/UDP");
    }
}

#[test]
fn ipv6_fragments_inside_ipv4_give_the_packet_as_it_was() {
    let inside = |frame: &[u8]| {
        let len = u16::try_from(frame.len() + 6).unwrap().to_be_bytes();
        let mut outer = frame[..12].to_vec();
        outer.extend([8, 0, 0x45, 0, len[0], len[1], 0, 0, 0, 0, 64, 41, 0, 0]);
        outer.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        outer.extend(&frame[14..]);
        outer
    };
    let mut rig = rig();
    assert_eq!(
        pending(rig.add(1, &inside(&frame_ipv6(1, 0, 16, false)))),
        None
    );
    let Reassembly::Complete(joined) = rig.add(1, &inside(&frame_ipv6(1, 2, 3, true))) else {
        panic!("not joined");
    };
    let whole = inside(&frame_ipv6(1, 0, 19, true));
    // The length in the outer header is that of a fragment.
    assert_eq!((joined.at, &rig.joined[34..]), (74, &whole[34..]));
    let packet = PacketRef {
        link_type: LinkType::ETHERNET,
        timestamp: Timestamp::ZERO,
        data: &rig.joined,
        wire_len: rig.joined.len() as u32,
    };
    let mut encapsulations = Encapsulations::new();
    let decoder = Decoder::new(DecoderOptions::default());
    decoder
        .decode_reassembled(packet, joined.at, &mut encapsulations)
        .ok();
    let paths: Vec<_> = encapsulations
        .iter()
        .map(|part| part.layers.to_string())
        .collect();
    assert_eq!(paths, ["Ethernet/IPv4", "IPv6/IPv6Fragment/Fragment/UDP"]);
}

#[test]
fn an_ipv6_datagram_with_overlapping_fragments_is_refused() {
    let mut rig = rig();
    assert_eq!(
        rig.add(1, &frame_ipv6(1, 0, 16, false)),
        Reassembly::Pending
    );
    // A repeated fragment has no effect.
    assert_eq!(
        rig.add(1, &frame_ipv6(1, 0, 16, false)),
        Reassembly::Pending
    );
    assert_eq!(
        rig.add(1, &frame_ipv6(1, 1, 16, false)),
        Reassembly::Rejected
    );
    assert_eq!(rig.add(1, &frame_ipv6(1, 2, 8, true)), Reassembly::Rejected);
    assert_eq!(rig.defragmenter.lost(), 2);
    // After the timeout, the identifier is free again.
    assert_eq!(
        rig.add(62, &frame_ipv6(1, 0, 16, false)),
        Reassembly::Pending
    );
    assert_eq!(pending(rig.add(62, &frame_ipv6(1, 2, 8, true))), Some(1));
}

#[test]
fn each_version_has_its_timeout() {
    let mut rig = rig();
    rig.add(1, &frame_ipv6(1, 0, 16, false));
    rig.add(1, &frame(1, 0, 16, false));
    assert_eq!(rig.add(40, &frame(1, 2, 8, true)), Reassembly::Pending);
    assert_eq!(pending(rig.add(40, &frame_ipv6(1, 2, 8, true))), Some(1));
}

#[test]
fn the_next_header_is_that_of_the_first_fragment() {
    let with_next = |mut frame: Vec<u8>, next: u8| {
        frame[54] = next;
        frame
    };
    let first = with_next(frame_ipv6(1, 0, 16, false), 60);
    let last = with_next(frame_ipv6(1, 2, 8, true), 17);
    for fragments in [[&first, &last], [&last, &first]] {
        let mut rig = rig();
        assert_eq!(rig.add(1, fragments[0]), Reassembly::Pending);
        assert_eq!(pending(rig.add(1, fragments[1])), Some(1));
        assert_eq!(rig.joined[54], 60);
    }
}

#[test]
fn a_fragment_far_ahead_drops_no_other_datagram() {
    let mut rig = rig();
    assert_eq!(rig.add(1, &frame(1, 0, 16, false)), Reassembly::Pending);
    assert_eq!(rig.add(3600, &frame(2, 0, 16, false)), Reassembly::Pending);
    assert_eq!(pending(rig.add(2, &frame(1, 2, 8, true))), Some(1));
    assert_eq!(rig.defragmenter.lost(), 0);
}

struct Rig {
    defragmenter: Defragmenter,
    joined: Vec<u8>,
}

impl Rig {
    fn new(options: DefragOptions) -> Self {
        Self {
            defragmenter: Defragmenter::new(options),
            joined: Vec::new(),
        }
    }

    /// Adds a frame, truncated to `captured` bytes, that was received at a time in seconds.
    fn add_truncated(&mut self, second: i64, frame: &[u8], captured: usize) -> Reassembly {
        let packet = PacketRef {
            link_type: LinkType::ETHERNET,
            timestamp: Timestamp::from_ms(second * 1000),
            data: &frame[..captured],
            wire_len: frame.len() as u32,
        };
        let mut encapsulations = Encapsulations::new();
        let decoder = Decoder::new(DecoderOptions::default());
        decoder.decode(packet, &mut encapsulations).ok();
        let fragment = encapsulations.fragment().unwrap();
        let reassembly = self.defragmenter.add(packet, fragment, &mut self.joined);
        assert!(self.defragmenter.bytes() <= self.defragmenter.options.max_bytes);
        reassembly
    }

    fn add(&mut self, second: i64, frame: &[u8]) -> Reassembly {
        self.add_truncated(second, frame, frame.len())
    }
}

fn rig() -> Rig {
    Rig::new(DefragOptions::default())
}

fn pending(reassembly: Reassembly) -> Option<u32> {
    match reassembly {
        Reassembly::Complete(joined) => Some(joined.pending_fragments),
        _ => None,
    }
}

#[test]
fn fragments_of_two_tunnels_are_not_reassembled() {
    let in_ipv6 = |tunnel: u8, frame: &[u8]| {
        let ip = &frame[14..];
        let mut outer = frame[..12].to_vec();
        outer.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, ip.len() as u8, 4, 64]);
        outer.extend([[0xfd; 16], [tunnel; 16]].concat());
        outer.extend(ip);
        outer
    };
    let (first, last) = (frame(1, 0, 16, false), frame(1, 2, 8, true));
    let mut rig = rig();
    assert_eq!(rig.add(1, &in_ipv6(1, &first)), Reassembly::Pending);
    assert_eq!(rig.add(1, &in_ipv6(2, &last)), Reassembly::Pending);
    assert_eq!(rig.add(1, &last), Reassembly::Pending);
    assert_eq!(pending(rig.add(1, &in_ipv6(1, &last))), Some(1));
}

#[test]
fn fragments_in_any_order_give_the_packet_as_it_was() {
    let pieces = [(0, 16, false), (2, 24, false), (5, 3, true)];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut rig = rig();
        let mut whole = None;
        for at in order {
            let (unit, len, is_last) = pieces[at];
            assert_eq!(whole, None);
            whole = pending(rig.add(1, &frame(1, unit, len, is_last)));
        }
        assert_eq!(whole, Some(2));
        assert_eq!(rig.joined, {
            let mut whole = frame(1, 0, 43, true);
            whole[14 + 6] = 0;
            whole
        });
        assert!(rig.defragmenter.is_empty());
        assert_eq!(rig.defragmenter.bytes(), 0);
    }
}

#[test]
fn the_bytes_received_first_win_where_fragments_overlap() {
    let mut rig = rig();
    rig.add(1, &frame(1, 1, 16, false));
    let mut other = frame(1, 0, 32, false);
    other[34..].fill(0xee);
    assert_eq!(rig.add(1, &other), Reassembly::Pending);
    assert_eq!(rig.add(1, &other), Reassembly::Pending, "a duplicate");
    assert_eq!(pending(rig.add(1, &frame(1, 4, 4, true))), Some(3));
    let payload = &rig.joined[34..];
    assert_eq!(payload[..8], [0xee; 8]);
    assert_eq!(payload[8..24], Vec::from_iter(8..24)[..]);
    assert_eq!(payload[24..32], [0xee; 8]);
    assert_eq!(payload[32..], [32, 33, 34, 35]);
}

#[test]
fn a_fragment_that_contradicts_the_end_is_rejected() {
    // "Teardrop": the second fragment lies within the first and states another end.
    let mut rig = rig();
    assert_eq!(rig.add(1, &frame(1, 0, 40, false)), Reassembly::Pending);
    assert_eq!(rig.add(1, &frame(1, 3, 4, true)), Reassembly::Rejected);
    let Reassembly::Complete(joined) = rig.add(1, &frame(1, 5, 4, true)) else {
        panic!("not complete");
    };
    assert_eq!(
        (joined.pending_fragments, joined.rejected_fragments),
        (1, 1)
    );
    assert_eq!(rig.add(1, &frame(2, 5, 8, true)), Reassembly::Pending);
    assert_eq!(rig.add(1, &frame(2, 4, 24, false)), Reassembly::Rejected);
    assert_eq!(rig.add(1, &frame(2, 6, 8, true)), Reassembly::Rejected);
}

#[test]
fn impossible_lengths_are_rejected() {
    let mut rig = rig();
    for wrong in [
        frame(1, 1, 12, false),
        frame(1, 1, 0, true),
        // "Ping of death": the datagram would be longer than 65535 bytes.
        frame(1, 0x1fff, 8, true),
    ] {
        assert_eq!(rig.add(1, &wrong), Reassembly::Rejected);
    }
    assert!(rig.defragmenter.is_empty());
    let options = DefragOptions::default().with_min_last_fragment_len(8);
    let mut strict = Rig::new(options);
    assert_eq!(strict.add(1, &frame(1, 1, 7, true)), Reassembly::Rejected);
}

#[test]
fn a_datagram_with_a_hole_is_dropped_on_timeout() {
    let mut rig = rig();
    rig.add(1, &frame(1, 0, 8, false));
    rig.add(31, &frame(2, 0, 8, false));
    assert_eq!(rig.defragmenter.len(), 2);
    assert_eq!(rig.add(32, &frame(1, 1, 8, true)), Reassembly::Pending);
    assert_eq!((rig.defragmenter.len(), rig.defragmenter.lost()), (2, 1));
    rig.defragmenter.expire(Timestamp::from_ms(62_000));
    assert_eq!((rig.defragmenter.len(), rig.defragmenter.lost()), (1, 2));
    rig.defragmenter.clear();
    assert_eq!((rig.defragmenter.bytes(), rig.defragmenter.lost()), (0, 3));
}

#[test]
fn a_flood_stays_within_its_bounds() {
    let options = DefragOptions::default()
        .with_max_datagrams(20)
        .with_max_bytes(20_000);
    let mut rig = Rig::new(options);
    for round in 0..1000 {
        rig.add(1, &frame((round % 251) as u8, 1, 800, false));
        assert!(rig.defragmenter.len() <= 20);
        assert!(rig.defragmenter.order.len() <= 2 * 20 + MAX_SPARE + 1);
    }
    // Completed datagrams use no memory.
    for id in 0..200 {
        rig.add(1, &frame(id, 0, 8, false));
        rig.add(1, &frame(id, 1, 8, true));
    }
    assert!(rig.defragmenter.order.len() <= 2 * 20 + MAX_SPARE + 1);
    assert!(rig.defragmenter.lost() > 900);
}

#[test]
fn a_packet_truncated_by_the_capture_is_reassembled_up_to_there() {
    let mut rig = rig();
    let first = frame(1, 0, 800, false);
    rig.add_truncated(1, &first, 100);
    let Reassembly::Complete(joined) = rig.add(1, &frame(1, 100, 80, true)) else {
        panic!("not complete");
    };
    assert_eq!((rig.joined.len(), joined.wire_len), (100, 34 + 880));
    assert_eq!(joined.pending_wire_bytes, 834);
    assert_eq!((joined.pending_ip_bytes, joined.last_ip_bytes), (820, 100));
}

#[test]
fn the_reassembled_packet_shows_that_it_was_fragmented() {
    let mut rig = rig();
    let mut data = frame(1, 0, 16, false);
    data[34..42].copy_from_slice(&[0, 5, 0, 6, 0, 24, 0, 0]);
    rig.add(1, &data);
    rig.add(1, &frame(1, 2, 8, true));
    let packet = PacketRef {
        link_type: LinkType::ETHERNET,
        timestamp: Timestamp::ZERO,
        data: &rig.joined,
        wire_len: rig.joined.len() as u32,
    };
    let (decoder, mut encapsulations) = (
        Decoder::new(DecoderOptions::default()),
        Encapsulations::new(),
    );
    assert_eq!(
        decoder.decode_reassembled(packet, 14, &mut encapsulations),
        Ok(())
    );
    assert_eq!(
        encapsulations[0].layers.to_string(),
        "Ethernet/IPv4/Fragment/UDP"
    );
    assert_eq!(encapsulations[0].layers.application(), Some(Layer::UDP));
    assert_eq!(encapsulations[0].transport.unwrap().destination, 6);
    assert_eq!(encapsulations.fragment(), None);
}

proptest! {
    #[test]
    fn any_cut_in_any_order_gives_the_payload(
        payload in vec(any::<u8>(), 9..2000),
        cuts in vec(1_usize..249, 1..20),
        order in any::<u64>(),
    ) {
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut * 8).collect();
        ends.retain(|end| *end < payload.len());
        ends.extend([8, payload.len()]);
        ends.sort_unstable();
        ends.dedup();
        let mut start = 0;
        let mut fragments: Vec<Vec<u8>> = Vec::new();
        for end in ends {
            let piece = &payload[start..end];
            let is_last = end == payload.len();
            let mut fragment = frame(1, (start / 8) as u16, piece.len() as u16, is_last);
            fragment[34..].copy_from_slice(piece);
            fragments.push(fragment);
            start = end;
        }
        // Shuffles the fragments in an order that depends only on the number.
        fragments.sort_by_cached_key(|fragment| fragment[20..22].iter().fold(order, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(29)
        }));
        let mut rig = rig();
        let last = fragments.pop().unwrap();
        for fragment in &fragments {
            prop_assert_eq!(rig.add(1, fragment), Reassembly::Pending);
        }
        prop_assert_eq!(pending(rig.add(1, &last)), Some(fragments.len() as u32));
        prop_assert_eq!(&rig.joined[34..], &payload[..]);
        prop_assert_eq!(rig.defragmenter.bytes(), 0);
    }
}
