//! Assignment of packets to shards by a symmetric hash of the outermost IP addresses, with a fast
//! path for plain IPv4 and IPv6 headers that avoids decoding. An ICMP error is assigned to the
//! shard of the flow that it refers to, so that both are linked.

use crate::decode::{Decoder, DecoderOptions, Encapsulations};
use crate::packet::{LinkType, PacketRef};

/// Assignment of packets to shards by the addresses of the outermost IP header, independent of
/// direction.
#[derive(Debug)]
pub(super) struct Steering {
    decoder: Decoder,
    parts: Encapsulations,
    shards: usize,
    /// Whether flows are keyed as in Skydive.
    recorded: bool,
}

impl Steering {
    /// Creates an assignment to `shards` shards whose tables decode with these options.
    pub(super) fn new(options: DecoderOptions, shards: usize) -> Self {
        Self {
            recorded: options.recorded,
            decoder: Decoder::new(options),
            parts: Encapsulations::new(),
            shards,
        }
    }

    /// Returns the shard of a packet. It is the same for all packets of a flow, of the flow around
    /// it, and of the flows inside it.
    pub(super) fn shard(&mut self, packet: PacketRef<'_>) -> usize {
        let ends = match plain_ends(&packet) {
            Some(ends) => ends,
            None => self.decoded_ends(packet),
        };
        // Fibonacci hashing, then multiply-shift instead of a division.
        let mixed = ends.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        ((mixed * self.shards as u64) >> 32) as usize
    }

    /// Decodes the packet and returns a number that is equal for both directions of a flow.
    #[cold]
    pub(super) fn decoded_ends(&mut self, packet: PacketRef<'_>) -> u64 {
        // The decoded part of a packet forms flows even if the rest cannot be decoded.
        self.decoder.decode(packet, &mut self.parts).ok();
        // COMPAT: recorded values of Skydive, which keys the first encapsulation by addresses
        // inside it.
        let ends = if self.recorded {
            self.parts.key_network(0)
        } else {
            let network = self.parts.first().and_then(|part| part.network);
            network.map(|network| (network.source, network.destination))
        };
        let subject = self.parts.embedded().filter(|_| self.parts.len() == 1);
        let ends = match subject.map(|subject| subject.network) {
            Some(network) => Some((network.source, network.destination)),
            None => ends,
        };
        if let Some((source, destination)) = ends {
            return unordered(source.as_bytes(), destination.as_bytes());
        }
        let link = self.parts.first().and_then(|part| part.link);
        link.map_or(0, |link| unordered(&link.source, &link.destination))
    }
}

/// Returns the same number as [`Steering::decoded_ends`] without decoding the whole packet.
/// Supports complete IP headers in raw IP, Ethernet, and Linux cooked captures (version 2: without
/// VLAN tags); `None` for all other packets and for ICMP errors.
pub(super) fn plain_ends(packet: &PacketRef<'_>) -> Option<u64> {
    let data = packet.data;
    match packet.link_type {
        LinkType::ETHERNET => tagged_ends(data.get(12..)?),
        LinkType::LINUX_SLL => tagged_ends(data.get(14..)?),
        LinkType::LINUX_SLL2 => ip_ends(*data.first_chunk()?, data.get(20..)?),
        LinkType::RAW
        | LinkType::RAW_DLT
        | LinkType::RAW_OPENBSD
        | LinkType::IPV4
        | LinkType::IPV6 => match data.first()? >> 4 {
            4 => ip_ends(IPV4, data),
            6 => ip_ends(IPV6, data),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the number for data that begins with an EtherType, after up to three VLAN tags.
fn tagged_ends(mut rest: &[u8]) -> Option<u64> {
    for _ in 0..3 {
        let (kind, inside) = rest.split_first_chunk::<2>()?;
        match *kind {
            [0x81, 0x00] | [0x88, 0xa8] => rest = inside.get(2..)?,
            kind => return ip_ends(kind, inside),
        }
    }
    None
}

/// Returns the number for the payload of an EtherType, if it is a complete IP header.
fn ip_ends(kind: [u8; 2], inside: &[u8]) -> Option<u64> {
    match kind {
        IPV4 => {
            let header: &[u8; 20] = inside.first_chunk()?;
            let header_len = usize::from(header[0] & 0xf) * 4;
            let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let is_whole = header[0] >> 4 == 4
                && (20..=inside.len()).contains(&header_len)
                && total_len >= header_len;
            let is_error =
                header[9] == 1 && matches!(inside.get(header_len), Some(3 | 4 | 5 | 11 | 12));
            (is_whole && !is_error).then(|| unordered(&header[12..16], &header[16..20]))
        }
        IPV6 => {
            let header: &[u8; 40] = inside.first_chunk()?;
            let is_whole = header[0] >> 4 == 6;
            // An error may follow extension headers.
            let may_be_error = match header[6] {
                58 => matches!(inside.get(40), Some(1..=4)),
                next => matches!(next, 0 | 43 | 44 | 60),
            };
            (is_whole && !may_be_error).then(|| unordered(&header[8..24], &header[24..40]))
        }
        _ => None,
    }
}

/// Returns a hash of two addresses that does not depend on their order.
fn unordered(a: &[u8], b: &[u8]) -> u64 {
    let number = |bytes: &[u8]| {
        let (words, rest) = bytes.as_chunks::<4>();
        let word = |word: &[u8; 4]| u64::from(u32::from_be_bytes(*word));
        let folded = words
            .iter()
            .map(word)
            .fold(0_u64, |sum, word| (sum << 7) ^ sum ^ word);
        rest.iter()
            .fold(folded, |sum, byte| (sum << 8) ^ u64::from(*byte))
    };
    let (a, b) = (number(a), number(b));
    (a ^ b).wrapping_add(a.wrapping_mul(b))
}

/// EtherType of IPv4.
const IPV4: [u8; 2] = [0x08, 0x00];
/// EtherType of IPv6.
const IPV6: [u8; 2] = [0x86, 0xdd];
