//! Which shard counts a packet.

use crate::decode::{Decoder, DecoderOptions, Encapsulations};
use crate::packet::{LinkType, PacketRef};

/// Tells shards apart by the addresses of the outermost IP header, whichever way round.
#[derive(Debug)]
pub(super) struct Steering {
    decoder: Decoder,
    parts: Encapsulations,
    shards: usize,
}

impl Steering {
    /// To this many shards, for tables that decode with these options.
    pub(super) fn new(options: DecoderOptions, shards: usize) -> Self {
        Self {
            decoder: Decoder::new(options),
            parts: Encapsulations::new(),
            shards,
        }
    }

    /// Which shard counts a packet: the same for all packets of a flow, of the flow around it and
    /// of those within.
    pub(super) fn shard(&mut self, packet: PacketRef<'_>) -> usize {
        let ends = match plain_ends(&packet) {
            Some(ends) => ends,
            None => self.decoded_ends(packet),
        };
        // The upper half of the product spreads over the shards.
        let mixed = ends.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        ((mixed * self.shards as u64) >> 32) as usize
    }

    /// What is the same in both directions of a flow, for any packet.
    #[cold]
    pub(super) fn decoded_ends(&mut self, packet: PacketRef<'_>) -> u64 {
        // Packets decoded in part make flows of that part.
        self.decoder.decode(packet, &mut self.parts).ok();
        if let Some((source, destination)) = self.parts.key_network(0) {
            return unordered(source.as_bytes(), destination.as_bytes());
        }
        let link = self.parts.first().and_then(|part| part.link);
        link.map_or(0, |link| unordered(&link.source, &link.destination))
    }
}

/// The same for IP with whole headers, without decoding it all: alone, in Ethernet and in Linux's
/// cooked captures, of which the second version has to be without VLAN tags.
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

/// Of what an EtherType begins.
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

/// Of what follows an EtherType, if that is IP.
fn ip_ends(kind: [u8; 2], inside: &[u8]) -> Option<u64> {
    match kind {
        IPV4 => {
            let header: &[u8; 20] = inside.first_chunk()?;
            let header_len = usize::from(header[0] & 0xf) * 4;
            let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let is_whole = header[0] >> 4 == 4
                && (20..=inside.len()).contains(&header_len)
                && total_len >= header_len;
            is_whole.then(|| unordered(&header[12..16], &header[16..20]))
        }
        IPV6 => {
            let header: &[u8; 40] = inside.first_chunk()?;
            let is_whole = header[0] >> 4 == 6;
            is_whole.then(|| unordered(&header[8..24], &header[24..40]))
        }
        _ => None,
    }
}

/// A number of two addresses that does not tell which is which.
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

/// EtherTypes.
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
