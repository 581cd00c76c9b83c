//! Checks of packets of any link type. The first two bytes are the link type, the rest is a packet.

use skylib::decode::{DecodeError, Decoder, DecoderOptions, Encapsulations};
use skylib::packet::{LinkType, PacketRef};
use skylib::time::Timestamp;

/// Panics if the decoder panics, if its result is inconsistent, or if the fast path and the general
/// path return different results.
pub(crate) fn check(input: &[u8]) {
    let Some((link_type, data)) = input.split_first_chunk::<2>() else {
        return;
    };
    let link_type = LinkType(u16::from_be_bytes(*link_type));
    let decoder = Decoder::new(DecoderOptions::default().with_mpls_udp_port(51234));
    let decode = |wire_len| {
        let mut encapsulations = Encapsulations::new();
        let packet = PacketRef {
            link_type,
            timestamp: Timestamp::ZERO,
            data,
            wire_len,
        };
        let result = decoder.decode(packet, &mut encapsulations);
        check_encapsulations(data, &encapsulations, result);
        (encapsulations, result)
    };
    let (fast, fast_result) = decode(data.len() as u32);
    // Packets whose original length is unknown take the general path.
    let (general, general_result) = decode(0);
    assert_eq!(fast_result, general_result);
    assert_eq!(fast.len(), general.len());
    assert_eq!(fast.without_flow(), general.without_flow());
    for (index, (one, other)) in fast.iter().zip(general.iter()).enumerate() {
        let mut other = *other;
        other.length = one.length;
        assert_eq!(*one, other);
        assert_eq!(fast.key_network(index), general.key_network(index));
        assert_eq!(fast.key_transport(index), general.key_transport(index));
    }
}

fn check_encapsulations(
    data: &[u8],
    encapsulations: &Encapsulations,
    result: Result<(), DecodeError>,
) {
    let mut offset = None;
    for level in encapsulations.iter() {
        assert!(!level.layers.is_empty());
        assert_eq!(
            level.layers.to_string().is_empty(),
            level.layers.application().is_none()
        );
        assert!(level.link.is_some() || level.network.is_some());
        assert!(level.length >= 0);
        assert!(level.offset as usize <= data.len());
        assert!(offset < Some(level.offset), "levels are in order");
        offset = Some(level.offset);
        if let Some(transport) = &level.transport {
            let end = transport.payload_offset as usize + transport.payload_len as usize;
            assert!(end <= data.len());
        }
    }
    if let Err(error) = result {
        assert!(!error.to_string().is_empty());
    }
}
