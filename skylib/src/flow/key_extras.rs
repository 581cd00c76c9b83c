//! Extras of a flow key: data that distinguishes flows and does not fit into the eight words of a
//! [`FlowKey`](super::key::FlowKey). The extras are one keyed hash, which is mixed into the word of
//! the enclosing flow (A2 to A16 of `docs/flows.md`).
//!
//! Identifiers that differ by direction (MPLS labels, GTP-U and L2TP tunnels) are part of the key
//! of the flow that has them, but not of the flows inside. The key of the flows inside contains the
//! ends of the tunnel instead, and the table pairs the identifiers of both directions (A10,
//! `table/pairing.rs`).

use super::key::HashSeed;
use super::key_ignore::KeyIgnore;
use super::options::LayerKeyMode;
use crate::decode::{Encapsulation, LinkHeader, Marks};

/// Key input of the flows inside an encapsulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Around {
    /// Hash that represents the enclosing flow in the key of the flows inside.
    pub(super) hash: u64,
    /// Hash of the one-way identifier; never 0.
    pub(super) identifier: u64,
}

/// Returns the hash of the extras of an encapsulation; 0 if it has none. `is_swapped` means that
/// the source is the upper end of its key.
// Not inlined: most packets have no extras.
#[inline(never)]
pub(super) fn extras(
    part: &Encapsulation,
    is_swapped: bool,
    ignore: KeyIgnore,
    seed: HashSeed,
) -> u64 {
    let mut extras = Extras { hash: 0, seed };
    let direction = u64::from(is_swapped) << 32;
    extras.add_link(part, direction, ignore);
    extras.add_network(&part.marks, direction);
    extras.hash
}

/// Hash of the extras so far. The order in which they are added is part of the hash.
struct Extras {
    hash: u64,
    seed: HashSeed,
}

impl Extras {
    /// Adds a value; its kind distinguishes it from equal values of other kinds.
    #[inline]
    fn add(&mut self, kind: u64, value: u64) {
        let start = self.seed.mix(self.hash, kind << 56 | 1);
        self.hash = self.seed.mix(start, value);
    }

    /// Adds the identifiers of the link: VLANs, MPLS labels, PPPoE session, and capture point.
    #[inline]
    fn add_link(&mut self, part: &Encapsulation, direction: u64, ignore: KeyIgnore) {
        if !ignore.contains(KeyIgnore::VLAN) {
            vlan_ids(part.vlan_id).for_each(|id| self.add(1, id.into()));
            if let Some(more) = part.marks.more_tags() {
                self.add(1, 1 << 32 | u64::from(more));
            }
        }
        let marks = &part.marks;
        let labels = marks.labels();
        if !ignore.contains(KeyIgnore::MPLS) && !labels.is_empty() {
            labels.iter().for_each(|label| self.add(2, (*label).into()));
            if let Some(more) = marks.more_labels() {
                self.add(2, 1 << 41 | u64::from(more));
            }
            // A label is assigned by the receiver (RFC 3031, 3.1).
            self.add(2, 1 << 40 | direction);
        }
        if let Some(session) = marks.pppoe() {
            self.add(3, session.into());
        }
        if ignore.contains(KeyIgnore::INTERFACE) {
            return;
        }
        if let Some(index) = marks.if_index() {
            self.add(4, index.into());
        }
        // The first capture point of a source adds nothing, so that its flows have the same key
        // before and after other capture points are found.
        if let Some(point) = marks.point().filter(|point| point.index() > 0) {
            self.add(15, point.index().into());
        }
    }

    /// Adds the identifiers of the network layer and of the tunnel around it.
    #[inline]
    fn add_network(&mut self, marks: &Marks, direction: u64) {
        if let Some(protocol) = marks.ip_protocol() {
            self.add(5, protocol.into());
        }
        if let Some(spi) = marks.spi() {
            // A security association is one-way (RFC 4301, 4.1).
            self.add(6, u64::from(spi) | direction);
        }
        if let Some(key) = marks.gre_key() {
            self.add(7, key.into());
        }
        if let Some(tag) = marks.link_tag() {
            self.add(8, tag);
        }
        if let Some(arp) = marks.arp() {
            let [sender, target] = [arp.sender, arp.target].map(u32::from_be_bytes);
            let (low, high) = (sender.min(target), sender.max(target));
            self.add(9, u64::from(low) << 32 | u64::from(high));
        }
        if let Some(id) = marks.teid().or(marks.session()) {
            self.add(10, u64::from(id) | direction);
        }
        if let Some(instance) = marks.service_instance() {
            self.add(13, instance.into());
        }
        if let Some(path) = marks.service_path() {
            self.add(14, path.into());
        }
    }
}

/// Returns the key input of the flows inside an encapsulation; `None` unless its identifier is
/// one-way. `parent` is the hash that represents the flow around the encapsulation.
#[inline(never)]
pub(super) fn around(
    part: &Encapsulation,
    parent: u64,
    ignore: KeyIgnore,
    seed: HashSeed,
) -> Option<Around> {
    let labels = part.marks.labels();
    let has_labels = !labels.is_empty() && !ignore.contains(KeyIgnore::MPLS);
    let (kind, identifier) = match part.marks.teid().or(part.marks.session()) {
        _ if has_labels => (
            11,
            labels
                .iter()
                .chain(&part.marks.more_labels())
                .fold(0, |hash, label| seed.mix(hash, u64::from(*label) + 1)),
        ),
        Some(id) => (12, seed.mix(0, u64::from(id) + 1)),
        None => return None,
    };
    let [low, high] = match (&part.link, &part.network) {
        (Some(link), _) if has_labels => sorted([link.source, link.destination].map(|mac| {
            let [a, b, c, d, e, f] = mac;
            u128::from_be_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d, e, f])
        })),
        (_, Some(network)) => {
            sorted([network.source, network.destination].map(|ip| u128::from_be_bytes(ip.octets())))
        }
        _ => [0; 2],
    };
    let words = [low >> 64, low, high >> 64, high];
    #[expect(clippy::cast_possible_truncation, reason = "halves of addresses")]
    let hash = words
        .into_iter()
        .fold(seed.mix(parent, kind << 56 | 1), |hash, word| {
            seed.mix(hash, word as u64)
        });
    Some(Around {
        hash,
        identifier: identifier.max(1),
    })
}

/// Returns the hash of the headers around a fragment that distinguish flows, without the outermost
/// addresses of IP: the fragments of one datagram have the same. The fragment is in the last of
/// `parts`.
#[inline(never)]
pub(super) fn around_fragment(
    parts: &[Encapsulation],
    mode: LayerKeyMode,
    ignore: KeyIgnore,
    seed: HashSeed,
) -> u64 {
    let mut extras = Extras { hash: 0, seed };
    // The protocol of the last part is not added: the Next Header fields of its fragments may
    // differ.
    let outer = parts.split_last().map_or(parts, |(_, outer)| outer);
    for part in outer {
        extras.add_network(&part.marks, 0);
        if let Some(network) = &part.network {
            extras.add(16, u64::from(part.tunnel_end.unwrap_or(0)));
            for address in [network.source, network.destination] {
                let number = u128::from_be_bytes(address.octets());
                extras.add(17, (number >> 64) as u64);
                extras.add(17, number as u64);
            }
        }
    }
    for part in parts {
        extras.add_link(part, 0, ignore);
        if mode == LayerKeyMode::L2
            && let Some(link) = &part.link
        {
            for mac in [link.source, link.destination] {
                let [a, b, c, d, e, f] = mac;
                extras.add(18, u64::from_be_bytes([0, 0, a, b, c, d, e, f]));
            }
        }
    }
    extras.hash
}

/// Returns the VLAN identifiers of an encapsulation, outermost first, without 0, which is a
/// priority tag, not a VLAN (IEEE 802.1Q, 6.9).
pub(super) fn vlan_ids(packed: i64) -> impl Iterator<Item = u16> {
    #[expect(clippy::cast_sign_loss, reason = "a set of bit fields")]
    let packed = packed as u64;
    (0..LinkHeader::MAX_TAGS)
        .map(move |tag| (packed >> (12 * tag) & 0xfff) as u16)
        .filter(|id| *id != 0)
}

/// Returns two values in ascending order.
fn sorted([a, b]: [u128; 2]) -> [u128; 2] {
    [a.min(b), a.max(b)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(vlan_id: i64) -> Encapsulation {
        Encapsulation {
            link: Some(LinkHeader::default()),
            vlan_id,
            ..Encapsulation::default()
        }
    }

    fn hash(part: &Encapsulation, ignore: KeyIgnore) -> u64 {
        extras(part, false, ignore, HashSeed::new(1))
    }

    #[test]
    fn tags_count_in_order_and_priority_tags_do_not() {
        let of = |vlan_id| hash(&tagged(vlan_id), KeyIgnore::NONE);
        assert_eq!(of(0), 0);
        assert_ne!(of(10), of(20));
        assert_eq!(of(10), of(10 << 12));
        assert_ne!(of(10 | 20 << 12), of(20 | 10 << 12));
        assert_eq!(hash(&tagged(10), KeyIgnore::VLAN), 0);
    }
}
