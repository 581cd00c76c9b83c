//! `FlowKey`: what makes packets belong to one flow, packed into one cache line.
//!
//! Both directions give the same key: the ends are put in the order of the original's identifiers
//! (lower MAC first where layer 2 counts, else lower address, else lower port), so the key also
//! holds everything those identifiers are made of.

use std::cmp::Ordering;

use super::ident::XxHash;
use super::options::LayerKeyMode;
use crate::decode::{IpAddress, NetworkProtocol, Parts, TransportHeader, TransportProtocol};

/// The key of a flow: compared as words, ends in canonical order.
///
/// | words | content |
/// |---|---|
/// | 0–1, 2–3 | lower and upper address, 4 or 16 bytes, rest zero |
/// | 4 | ports or a tunnel's network identifier (32 bits), ICMP (32) |
/// | 5 | hash of the key of the flow around this one; 0 if there is none |
/// | 6–7 | which of these count (16 bits), a tunnel's port (16), lower and upper MAC (48 + 48) |
///
/// The MACs are there for every Ethernet flow, also where they do not count.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct FlowKey([u64; 8]);

/// A key, and how one packet lies in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketKey {
    pub(super) key: FlowKey,
    /// Whether the packet's source is the upper end.
    pub(super) is_swapped: bool,
    /// Whether only ports, not addresses, tell its ends apart.
    pub(super) is_local: bool,
}

impl PacketKey {
    /// The key of a part, inside the flow whose key has this hash (0: none).
    #[inline]
    pub(super) fn new(
        parts: &Parts,
        index: usize,
        mode: LayerKeyMode,
        parent: u64,
    ) -> Option<Self> {
        let part = parts.get(index)?;
        let network = parts.key_network(index);
        let link = part.link.map(|link| (link.source, link.destination));
        let counted_link = link.filter(|_| mode == LayerKeyMode::L2 || network.is_none());
        let (mut flags, ports, tunnel_port, port_order) =
            transport_words(parts.key_transport(index), part.tunnel_end);
        let link_order = counted_link.map_or(Ordering::Equal, |(a, b)| a.cmp(&b));
        let order = link_order
            .then_with(|| network.map_or(Ordering::Equal, |(a, b)| a.cmp(&b).then(port_order)));
        let is_swapped = order.is_gt();
        let is_local = link_order.is_eq()
            && part.transport.is_some()
            && part
                .network
                .is_some_and(|network| network.source == network.destination);

        let mut words = [0; 8];
        if let Some((source, destination)) = network {
            flags |= network_flags(source, parts);
            let (low, high) = exchanged(source, destination, is_swapped);
            [words[0], words[1]] = address_words(low);
            [words[2], words[3]] = address_words(high);
        }
        let (first, second) = exchanged(ports[0], ports[1], is_swapped && flags & TUNNEL == 0);
        words[4] = u64::from(first) | u64::from(second) << 16;
        if let Some(icmp) = part.icmp_key {
            flags |= ICMP;
            words[4] |= u64::from(icmp) << 32;
        }
        words[5] = parent;
        if counted_link.is_some() {
            flags |= LINK;
        }
        let (low, high) = link.unwrap_or_default();
        let (low, high) = exchanged(mac_number(low), mac_number(high), is_swapped);
        words[6] = u64::from(flags) | u64::from(tunnel_port) << 16 | (low & 0xffff_ffff) << 32;
        words[7] = low >> 32 | high << 16;
        Some(Self {
            key: FlowKey(words),
            is_swapped,
            is_local,
        })
    }
}

impl FlowKey {
    /// No flow's key.
    pub(super) const NONE: Self = Self([0; 8]);

    /// Whether two keys name the same flow.
    #[inline]
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let (mask_6, mask_7) = self.masks();
        let different = |i: usize| self.0[i] ^ other.0[i];
        let upper = different(0) | different(1) | different(2) | different(3);
        let lower = different(4) | different(5) | different(6) & mask_6 | different(7) & mask_7;
        upper | lower == 0
    }

    /// A hash that nobody without the seed can steer.
    #[inline]
    pub(super) fn hash(&self, seed: u64) -> u64 {
        let (mask_6, mask_7) = self.masks();
        let [w0, w1, w2, w3, w4, w5, w6, w7] = self.0;
        let a = fold(w0 ^ seed, w1 ^ MIX[0]);
        let b = fold(w2 ^ seed, w3 ^ MIX[1]);
        let c = fold(w4 ^ seed, w5 ^ MIX[2]);
        let d = fold(w6 & mask_6 ^ seed, w7 & mask_7 ^ MIX[3]);
        fold(a ^ b.rotate_left(23) ^ MIX[1], c ^ d.rotate_left(41) ^ seed)
    }

    /// Writes what identifies layer 3 and up in the original's order.
    pub(super) fn write_l3(&self, hash: &mut XxHash) {
        let flags = self.flags();
        let len = match flags & ADDRESSES {
            ADDRESSES_4 => 4,
            ADDRESSES_16 => 16,
            _ => 0,
        };
        if flags & (IPV4 | IPV6) != 0 {
            let (low, high) = self.addresses();
            hash.write(low.get(..len).unwrap_or_default());
            hash.write(high.get(..len).unwrap_or_default());
            hash.write_u64(if flags & IPV4 != 0 { 1 } else { 2 });
        }
        let [p0, p1, p2, p3, i0, i1, i2, i3] = self.0[4].to_le_bytes();
        if flags & TUNNEL != 0 {
            hash.write(&[p3, p2, p1, p0]);
            hash.write(&self.tunnel_port().to_be_bytes());
            hash.write_u64(0);
        } else if flags & TRANSPORT != 0 {
            if flags & PORTS != 0 {
                hash.write(&[p1, p0, p3, p2]);
            }
            hash.write_u64(match flags & TRANSPORT {
                TCP => 4,
                UDP => 5,
                _ => 6,
            });
        }
        if flags & ICMP != 0 {
            hash.write(&[i3, i2, i1, i0]);
            hash.write_u64(0);
        }
    }

    /// Whether MACs are part of the flow's identity.
    pub(super) const fn counts_link(&self) -> bool {
        self.flags() & LINK != 0
    }

    /// Whether its addresses are of IPv4.
    pub(super) const fn is_v4(&self) -> bool {
        self.flags() & IPV4 != 0
    }

    /// Lower and upper MAC.
    pub(super) fn macs(&self) -> ([u8; 6], [u8; 6]) {
        let [_, _, _, _, l0, l1, l2, l3] = self.0[6].to_le_bytes();
        let [l4, l5, h0, h1, h2, h3, h4, h5] = self.0[7].to_le_bytes();
        ([l0, l1, l2, l3, l4, l5], [h0, h1, h2, h3, h4, h5])
    }

    /// Lower and upper address; of IPv4 the first four bytes.
    pub(super) fn addresses(&self) -> ([u8; 16], [u8; 16]) {
        let address = |a: u64, b: u64| {
            let mut octets = [0; 16];
            let (upper, lower) = octets.split_at_mut(8);
            upper.copy_from_slice(&a.to_le_bytes());
            lower.copy_from_slice(&b.to_le_bytes());
            octets
        };
        (address(self.0[0], self.0[1]), address(self.0[2], self.0[3]))
    }

    #[expect(clippy::cast_possible_truncation, reason = "a field of 16 bits")]
    fn tunnel_port(&self) -> u16 {
        (self.0[6] >> 16) as u16
    }

    #[expect(clippy::cast_possible_truncation, reason = "a field of 16 bits")]
    const fn flags(&self) -> u16 {
        self.0[6] as u16
    }

    /// Which bits of the last two words count.
    #[inline]
    const fn masks(&self) -> (u64, u64) {
        if self.counts_link() {
            (u64::MAX, u64::MAX)
        } else {
            (0xffff_ffff, 0)
        }
    }
}

/// Flags, the two ports (or the halves of a network identifier), a tunnel's port, and how the two
/// ends compare.
#[inline]
fn transport_words(
    header: Option<&TransportHeader>,
    tunnel: Option<u32>,
) -> (u16, [u16; 2], u16, Ordering) {
    let Some(header) = header else {
        return (0, [0; 2], 0, Ordering::Equal);
    };
    let (source, destination) = (header.source, header.destination);
    if let (Some(vni), TransportProtocol::Udp) = (tunnel, header.protocol) {
        let [v0, v1, v2, v3] = vni.to_be_bytes();
        let order = [v0, v1, v2, v3][..].cmp(&destination.to_be_bytes()[..]);
        let halves = [u16::from_be_bytes([v2, v3]), u16::from_be_bytes([v0, v1])];
        return (TUNNEL, halves, destination, order);
    }
    let flags = match header.protocol {
        TransportProtocol::Tcp => TCP,
        TransportProtocol::Udp => UDP,
        _ => SCTP,
    };
    if header.has_ports {
        (
            flags | PORTS,
            [source, destination],
            0,
            source.cmp(&destination),
        )
    } else {
        (flags, [0; 2], 0, Ordering::Equal)
    }
}

#[inline]
fn network_flags(address: IpAddress, parts: &Parts) -> u16 {
    match address.as_bytes().len() {
        4 => IPV4 | ADDRESSES_4,
        16 => IPV6 | ADDRESSES_16,
        // Cut short: the version alone is known.
        _ => match parts
            .iter()
            .find_map(|part| part.network)
            .map(|network| network.protocol)
        {
            Some(NetworkProtocol::Ipv6) => IPV6,
            _ => IPV4,
        },
    }
}

#[inline]
fn address_words(address: IpAddress) -> [u64; 2] {
    let octets = address.octets();
    let (words, _) = octets.as_chunks::<8>();
    match words {
        [a, b] => [u64::from_le_bytes(*a), u64::from_le_bytes(*b)],
        _ => [0; 2],
    }
}

#[inline]
const fn mac_number(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

#[inline]
fn exchanged<T>(a: T, b: T, exchange: bool) -> (T, T) {
    if exchange { (b, a) } else { (a, b) }
}

/// Both halves of the product, mixed.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the halves of the product")]
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

/// Digits of pi: odd-looking words without structure.
const MIX: [u64; 4] = [
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7344,
    0xa409_3822_299f_31d0,
    0x082e_fa98_ec4e_6c89,
];

const IPV4: u16 = 0x01;
const IPV6: u16 = 0x02;
const ADDRESSES_4: u16 = 0x04;
const ADDRESSES_16: u16 = 0x08;
const ADDRESSES: u16 = ADDRESSES_4 | ADDRESSES_16;
const TCP: u16 = 0x10;
const UDP: u16 = 0x20;
const SCTP: u16 = 0x30;
const TRANSPORT: u16 = 0x30;
const PORTS: u16 = 0x40;
const TUNNEL: u16 = 0x80;
const ICMP: u16 = 0x100;
const LINK: u16 = 0x200;
