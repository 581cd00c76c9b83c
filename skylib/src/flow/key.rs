//! `FlowKey`: the fields that identify a flow, packed into one cache line, and its keyed hash.
//!
//! Both directions have the same key: the ends are in the canonical order of Skydive's identifiers
//! (lower MAC address first if layer 2 is part of the identity, else lower address, else lower
//! port). The key therefore contains the complete input of the identifiers.
//!
//! The hash is a folded 64 × 64 → 128-bit multiplication of the words with a secret seed, like
//! wyhash: without the seed, an attacker cannot choose colliding flows.

use super::flow_ids::XxHash;
use super::options::LayerKeyMode;
use crate::decode::{
    Encapsulation, Encapsulations, IpAddress, NetworkProtocol, TransportHeader, TransportProtocol,
};

/// Key of a flow: eight words that are compared as a whole, with the ends in canonical order.
///
/// | words | content |
/// |---|---|
/// | 0–1, 2–3 | lower and upper address, 4 or 16 bytes, the remaining bytes are zero |
/// | 4 | ports or a tunnel's network identifier (32 bits), ICMP type, code, and identifier (32) |
/// | 5 | hash of the key of the enclosing flow, 0 for an outermost flow; XOR that of its [extras](super::key_extras) |
/// | 6 | flags: which fields are set (16 bits), lower MAC (48) |
/// | 7 | a tunnel's port (16), upper MAC (48) |
///
/// The MAC addresses are set for every Ethernet flow, even if they are not part of its identity.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct FlowKey([u64; 8]);

/// Secret seed of the key hash of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct HashSeed(u64, u64);

impl HashSeed {
    /// Derives a seed from a secret number.
    pub(super) const fn new(secret: u64) -> Self {
        // Hexadecimal digits of pi: words without structure.
        let first = fold(secret ^ 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89);
        let second = fold(secret ^ 0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344);
        Self(first, second)
    }

    /// Returns the keyed hash of a hash and a word.
    pub(super) const fn mix(self, hash: u64, word: u64) -> u64 {
        fold(hash ^ self.0, word ^ self.1)
    }
}

/// Key of an encapsulation, and its orientation in the key.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketKey {
    /// Key, equal for both directions.
    pub(super) key: FlowKey,
    /// Whether the source of the packet is the upper end.
    pub(super) is_swapped: bool,
    /// Whether the ends differ only by port, not by address.
    pub(super) is_local: bool,
}

impl PacketKey {
    /// Returns the key of an encapsulation. `parent` is the hash of the key of the enclosing flow,
    /// or 0; `is_plain` means that the headers of the encapsulation alone identify its flow.
    #[inline(always)]
    pub(super) fn new(
        encapsulations: &Encapsulations,
        index: usize,
        part: &Encapsulation,
        is_plain: bool,
        mode: LayerKeyMode,
        parent: u64,
    ) -> Self {
        let ends = if is_plain {
            Ends::of(part)
        } else {
            Ends::of_packet(encapsulations, index)
        };
        let transport = if is_plain {
            part.transport.as_ref()
        } else {
            encapsulations.key_transport(index)
        };
        let (source_mac, destination_mac) = match &part.link {
            Some(link) => (mac_number(link.source), mac_number(link.destination)),
            None => (0, 0),
        };
        let counts_link =
            part.link.is_some() && (mode == LayerKeyMode::L2 || ends.flags & (IPV4 | IPV6) == 0);
        let (transport_flags, ports, tunnel_port) = transport_words(transport, part.tunnel_end);

        let is_same_link = !counts_link || source_mac == destination_mac;
        let is_swapped = if is_same_link {
            ends.is_swapped(transport, part.tunnel_end)
        } else {
            source_mac > destination_mac
        };
        let is_local = is_same_link && is_local(part);

        let (low, high) = exchanged(ends.source, ends.destination, is_swapped);
        let (first, second) = exchanged(
            ports[0],
            ports[1],
            is_swapped && transport_flags & TUNNEL == 0,
        );
        let (low_mac, high_mac) = exchanged(source_mac, destination_mac, is_swapped);
        let link_flag = if counts_link { LINK } else { 0 };
        let (icmp_flag, icmp) = part.icmp_key.map_or((0, 0), |icmp| (ICMP, icmp));
        let flags = ends.flags | transport_flags | icmp_flag | link_flag;
        let key = FlowKey([
            upper_half(low),
            lower_half(low),
            upper_half(high),
            lower_half(high),
            u64::from(first) | u64::from(second) << 16 | u64::from(icmp) << 32,
            parent,
            u64::from(flags) | low_mac << 16,
            u64::from(tunnel_port) | high_mac << 16,
        ]);
        Self {
            key,
            is_swapped,
            is_local,
        }
    }
}

/// The two addresses of a key as big-endian numbers; 0 if there are none.
#[derive(Clone, Copy)]
struct Ends {
    flags: u16,
    source: u128,
    destination: u128,
}

impl Ends {
    /// Returns the addresses of an encapsulation.
    #[inline(always)]
    fn of(part: &Encapsulation) -> Self {
        match &part.network {
            Some(network) => Self::new(
                &network.source,
                &network.destination,
                Some(network.protocol),
            ),
            None => Self {
                flags: 0,
                source: 0,
                destination: 0,
            },
        }
    }

    /// Returns the addresses that identify an encapsulation whose key spans several network
    /// headers.
    #[cold]
    fn of_packet(encapsulations: &Encapsulations, index: usize) -> Self {
        let protocol = encapsulations
            .iter()
            .find_map(|part| part.network)
            .map(|network| network.protocol);
        match encapsulations.key_network(index) {
            Some((source, destination)) => Self::new(&source, &destination, protocol),
            None => Self {
                flags: 0,
                source: 0,
                destination: 0,
            },
        }
    }

    /// Returns the ends for two addresses.
    #[inline(always)]
    fn new(source: &IpAddress, destination: &IpAddress, protocol: Option<NetworkProtocol>) -> Self {
        let flags = if source.is_v4() {
            IPV4 | ADDRESSES_4
        } else if !source.is_none() {
            IPV6 | ADDRESSES_16
        } else if protocol == Some(NetworkProtocol::Ipv6) {
            // Truncated before the addresses: only the IP version is known.
            IPV6
        } else {
            IPV4
        };
        Self {
            flags,
            source: u128::from_be_bytes(source.octets()),
            destination: u128::from_be_bytes(destination.octets()),
        }
    }

    /// Returns whether the source is the upper end by address and port. Used if the MAC addresses
    /// are equal or absent.
    // Not inlined: the MAC addresses usually determine the order.
    #[inline(never)]
    fn is_swapped(&self, header: Option<&TransportHeader>, tunnel: Option<u32>) -> bool {
        if self.source == self.destination {
            self.flags & (IPV4 | IPV6) != 0 && has_descending_ports(header, tunnel)
        } else {
            self.source > self.destination
        }
    }
}

/// Returns whether the addresses of an encapsulation are equal, so that its ends differ only by
/// port.
#[inline(always)]
fn is_local(part: &Encapsulation) -> bool {
    match (&part.network, &part.transport) {
        (Some(network), Some(_)) => network.source.octets() == network.destination.octets(),
        _ => false,
    }
}

impl FlowKey {
    /// Key that identifies no flow: no flag is set.
    pub(super) const NONE: Self = Self([0; 8]);

    /// Returns whether two keys identify the same flow.
    #[inline(always)]
    pub(super) fn is_same(&self, other: &Self, mode: LayerKeyMode) -> bool {
        match mode {
            LayerKeyMode::L2 => self.has_words_of(other),
            LayerKeyMode::L3 => self.without_macs().has_words_of(&other.without_macs()),
        }
    }

    /// Returns whether all words are equal. Compares without branches, which is faster than a call
    /// to `memcmp`.
    #[inline(always)]
    fn has_words_of(&self, other: &Self) -> bool {
        let words = self.0.iter().zip(&other.0);
        words.fold(0, |different, (a, b)| different | (a ^ b)) == 0
    }

    /// Adds the hash of the [extras](super::key_extras); 0 has no effect.
    #[inline(always)]
    pub(super) const fn add_extras(&mut self, extras: u64) {
        self.0[5] ^= extras;
    }

    /// Returns whether the identifier and the port of a tunnel are part of the identity instead of
    /// the ports.
    pub(super) const fn is_tunnel(&self) -> bool {
        self.flags() & TUNNEL != 0
    }

    /// Returns whether the key has IP addresses, but neither ports nor ICMP fields.
    pub(super) const fn has_only_addresses(&self) -> bool {
        self.flags() & (IPV4 | IPV6) != 0 && self.flags() & (TRANSPORT | TUNNEL | ICMP) == 0
    }

    /// Returns whether the key has no IP addresses.
    pub(super) const fn has_no_network(&self) -> bool {
        self.flags() & (IPV4 | IPV6) == 0
    }

    /// Returns the keyed hash.
    #[inline(always)]
    pub(super) fn hash(&self, seed: HashSeed, mode: LayerKeyMode) -> u64 {
        let [w0, w1, w2, w3, w4, w5, w6, w7] = match mode {
            LayerKeyMode::L2 => self.0,
            LayerKeyMode::L3 => self.without_macs().0,
        };
        // Both factors contain a secret: an attacker who knows a factor could make the product
        // zero.
        let HashSeed(s, t) = seed;
        let a = fold(w0 ^ s, w1 ^ t);
        let b = fold(w2 ^ s, w3 ^ t);
        let c = fold(w4 ^ s, w5 ^ t);
        let d = fold(w6 ^ s, w7 ^ t);
        fold(
            a ^ b.rotate_left(23) ^ t,
            c.rotate_left(11) ^ d.rotate_left(41) ^ s,
        )
    }

    /// Returns the key without MAC addresses, with the ends ordered by address and port.
    pub(super) fn of_network(&self) -> Self {
        let [w0, w1, w2, w3, w4, w5, w6, w7] = self.0;
        let (first, second) = (w4 & 0xffff, w4 >> 16 & 0xffff);
        let has_ports = self.flags() & TUNNEL == 0;
        let is_swapped = match (w0, w1).cmp(&(w2, w3)) {
            std::cmp::Ordering::Equal => has_ports && first > second,
            order => order.is_gt(),
        };
        let ports = if is_swapped && has_ports {
            w4 >> 32 << 32 | first << 16 | second
        } else {
            w4
        };
        let flags = w6 & 0xffff & !u64::from(LINK);
        if is_swapped {
            Self([w2, w3, w0, w1, ports, w5, flags, w7 & 0xffff])
        } else {
            Self([w0, w1, w2, w3, ports, w5, flags, w7 & 0xffff])
        }
    }

    /// Returns the key without MAC addresses that are not part of the identity.
    fn without_macs(&self) -> Self {
        let mut key = *self;
        if !self.counts_link() {
            key.0[6] &= 0xffff;
            key.0[7] &= 0xffff;
        }
        key
    }

    /// Hashes the fields from layer 3 up, in Skydive's order.
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

    /// Returns whether MAC addresses are part of the identity.
    pub(super) const fn counts_link(&self) -> bool {
        self.flags() & LINK != 0
    }

    /// Returns whether the network layer is IPv4.
    pub(super) const fn is_v4(&self) -> bool {
        self.flags() & IPV4 != 0
    }

    /// Returns the lower and the upper MAC address.
    pub(super) fn macs(&self) -> ([u8; 6], [u8; 6]) {
        let mac = |number: u64| {
            let [_, _, mac @ ..] = number.to_be_bytes();
            mac
        };
        (mac(self.0[6] >> 16), mac(self.0[7] >> 16))
    }

    /// Returns the lower and the upper address; an IPv4 address is in the first four bytes.
    pub(super) fn addresses(&self) -> ([u8; 16], [u8; 16]) {
        let address =
            |upper: u64, lower: u64| (u128::from(upper) << 64 | u128::from(lower)).to_be_bytes();
        (address(self.0[0], self.0[1]), address(self.0[2], self.0[3]))
    }

    /// Returns the port of a tunnel.
    #[expect(clippy::cast_possible_truncation, reason = "a field of 16 bits")]
    const fn tunnel_port(&self) -> u16 {
        self.0[7] as u16
    }

    /// Returns the flags.
    #[expect(clippy::cast_possible_truncation, reason = "a field of 16 bits")]
    const fn flags(&self) -> u16 {
        self.0[6] as u16
    }
}

/// Returns the flags, the two ports (or the halves of a network identifier) and the port of a
/// tunnel.
#[inline(always)]
fn transport_words(header: Option<&TransportHeader>, tunnel: Option<u32>) -> (u16, [u16; 2], u16) {
    let Some(header) = header else {
        return (0, [0; 2], 0);
    };
    let flags = match header.protocol {
        TransportProtocol::Tcp => TCP,
        TransportProtocol::Udp => UDP,
        _ => SCTP,
    };
    match tunnel {
        Some(vni) if flags == UDP => {
            let [v0, v1, v2, v3] = vni.to_be_bytes();
            let halves = [u16::from_be_bytes([v2, v3]), u16::from_be_bytes([v0, v1])];
            (TUNNEL, halves, header.destination)
        }
        _ if header.has_ports => (flags | PORTS, [header.source, header.destination], 0),
        _ => (flags, [0; 2], 0),
    }
}

/// Returns whether the source is the upper end by port; for a tunnel, the identifier and the port
/// are compared as bytes, as in Skydive.
#[cold]
fn has_descending_ports(header: Option<&TransportHeader>, tunnel: Option<u32>) -> bool {
    let Some(header) = header else { return false };
    match tunnel {
        Some(vni) if header.protocol == TransportProtocol::Udp => {
            vni.to_be_bytes()[..] > header.destination.to_be_bytes()[..]
        }
        _ => header.has_ports && header.source > header.destination,
    }
}

/// Returns a MAC address as a number.
#[inline(always)]
const fn mac_number(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// Returns the upper 64 bits.
#[inline(always)]
const fn upper_half(number: u128) -> u64 {
    (number >> 64) as u64
}

/// Returns the lower 64 bits.
#[expect(clippy::cast_possible_truncation, reason = "half of the number")]
#[inline(always)]
const fn lower_half(number: u128) -> u64 {
    number as u64
}

/// Returns both values, swapped if `exchange`.
#[inline(always)]
fn exchanged<T>(a: T, b: T, exchange: bool) -> (T, T) {
    if exchange { (b, a) } else { (a, b) }
}

/// Returns the XOR of both halves of the 128-bit product of two words.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the halves of the product")]
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

// Flags of a key. TRANSPORT masks a two-bit number. ADDRESSES_4 and ADDRESSES_16 are the address
// lengths; neither is set if the header was truncated before its addresses.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_a_key_hides_another() {
        // A sender of IPv6 controls whole words; no value may cancel the others.
        let values = [0, 1, u64::MAX, 0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344];
        for (word, other) in (0..8).flat_map(|word| (0..8).map(move |other| (word, other))) {
            for (secret, value) in [0, 1, 0xfeed, u64::MAX].into_iter().zip(values) {
                let mut key = FlowKey([value; 8]);
                let seed = HashSeed::new(secret);
                let hash = |key: &FlowKey| key.hash(seed, LayerKeyMode::L2);
                key.0[word] = 7;
                let before = hash(&key);
                key.0[other] ^= 0x100;
                assert_ne!(before, hash(&key), "{word} {other} {value:#x}");
            }
        }
    }
}
