//! What must hold of any packet: the first two bytes are its link type, the rest its bytes.

use skylib::decode::{DecodeError, Decoder, DecoderOptions, Encapsulation, Encapsulations};
use skylib::packet::{LinkType, PacketRef};
use skylib::time::Timestamp;

/// Panics if the decoder does, or if its answer contradicts itself.
pub(crate) fn check(input: &[u8]) {
    let Some((link_type, data)) = input.split_first_chunk::<2>() else {
        return;
    };
    let link_type = LinkType(u16::from_be_bytes(*link_type));
    let decoder = Decoder::new(DecoderOptions::default().with_mpls_udp_port(51234));
    let decode = |wire_len| {
        let mut parts = Encapsulations::new();
        let packet = PacketRef {
            link_type,
            timestamp: Timestamp::ZERO,
            data,
            wire_len,
        };
        let result = decoder.decode(packet, &mut parts);
        check_parts(data, &parts, result);
        (parts, result)
    };
    let (fast, fast_result) = decode(data.len() as u32 + 1);
    // Without a length on the wire every packet goes the general way.
    let (general, general_result) = decode(0);
    assert_eq!(fast_result, general_result);
    assert_eq!(fast.len(), general.len());
    assert_eq!(fast.without_flow(), general.without_flow());
    for (index, (one, other)) in fast.iter().zip(general.iter()).enumerate() {
        assert_eq!(
            *one,
            Encapsulation {
                length: one.length,
                ..*other
            }
        );
        assert_eq!(fast.key_network(index), general.key_network(index));
        assert_eq!(fast.key_transport(index), general.key_transport(index));
    }
}

fn check_parts(data: &[u8], parts: &Encapsulations, result: Result<(), DecodeError>) {
    let mut offset = None;
    for part in parts.iter() {
        assert!(!part.layers.is_empty());
        assert_eq!(
            part.layers.to_string().is_empty(),
            part.layers.application().is_none()
        );
        assert!(part.link.is_some() || part.network.is_some());
        assert!(part.length >= 0);
        assert!(part.offset as usize <= data.len());
        assert!(offset < Some(part.offset), "parts follow each other");
        offset = Some(part.offset);
        if let Some(transport) = &part.transport {
            let end = transport.payload_offset as usize + transport.payload_len as usize;
            assert!(end <= data.len());
        }
    }
    if let Err(error) = result {
        assert!(!error.to_string().is_empty());
    }
}
