//! `Marks`: identifiers that distinguish flows in addition to addresses, ports, and VLAN tags.

use std::num::NonZeroU32;

use crate::packet::CapturePoint;

/// Identifiers of one encapsulation level. Most packets have no identifiers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
    /// Set of the `KNOWN_*` flags of the valid fields; the others are undefined.
    known: u16,
    ip_protocol: u8,
    label_count: u8,
    pppoe: u16,
    link_tag: u64,
    spi: u32,
    gre_key: u32,
    if_index: u32,
    point: CapturePoint,
    tunnel: u32,
    service: u32,
    labels: [u32; Self::MAX_LABELS],
    /// Hashes of the VLAN tags and of the labels that are not stored themselves.
    more: [u32; 2],
    arp: ArpHeader,
}

/// Operation and addresses of an ARP packet for IPv4 over Ethernet (RFC 826).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArpHeader {
    /// Operation: 1 request, 2 reply.
    pub operation: u16,
    /// MAC address of the sender.
    pub sender_mac: [u8; 6],
    /// IPv4 address of the sender.
    pub sender: [u8; 4],
    /// MAC address of the target.
    pub target_mac: [u8; 6],
    /// IPv4 address of the target.
    pub target: [u8; 4],
}

impl Marks {
    /// Maximum number of stored MPLS labels; of further labels, only a hash is stored.
    pub const MAX_LABELS: usize = 8;

    /// Returns whether there are no identifiers.
    #[must_use]
    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        self.known == 0
    }

    /// Returns the type of a level without IP: 0x10000 + EtherType, 0x20000 + DSAP × 256 + SSAP for
    /// LLC, or 2⁴⁸ + OUI × 65536 + protocol for SNAP.
    #[must_use]
    pub fn link_tag(&self) -> Option<u64> {
        self.has(KNOWN_LINK_TAG).then_some(self.link_tag)
    }

    /// Returns the number of the innermost IP protocol of a level without ports and ICMP.
    #[must_use]
    pub fn ip_protocol(&self) -> Option<u8> {
        self.has(KNOWN_IP_PROTOCOL).then_some(self.ip_protocol)
    }

    /// Returns the security parameter index of ESP or AH.
    #[must_use]
    pub fn spi(&self) -> Option<u32> {
        self.has(KNOWN_SPI).then_some(self.spi)
    }

    /// Returns the key of the GRE header (RFC 2890).
    #[must_use]
    pub fn gre_key(&self) -> Option<u32> {
        self.has(KNOWN_GRE_KEY).then_some(self.gre_key)
    }

    /// Returns the PPPoE session identifier.
    #[must_use]
    pub fn pppoe(&self) -> Option<u16> {
        self.has(KNOWN_PPPOE).then_some(self.pppoe)
    }

    /// Returns the interface index of a Linux cooked capture.
    #[must_use]
    pub fn if_index(&self) -> Option<u32> {
        self.has(KNOWN_IF_INDEX).then_some(self.if_index)
    }

    /// Returns the capture point, if its source has several.
    #[must_use]
    pub fn point(&self) -> Option<CapturePoint> {
        self.has(KNOWN_POINT).then_some(self.point)
    }

    /// Returns the MPLS labels, outermost first.
    #[must_use]
    pub fn labels(&self) -> &[u32] {
        let count = if self.has(KNOWN_LABELS) {
            self.label_count
        } else {
            0
        };
        self.labels.get(..usize::from(count)).unwrap_or_default()
    }

    /// Returns the hash of the VLAN identifiers from the sixth tag on.
    #[must_use]
    pub fn more_tags(&self) -> Option<u32> {
        self.has(KNOWN_MORE_TAGS).then_some(self.more[0])
    }

    /// Returns the hash of the MPLS labels after the first [`MAX_LABELS`](Self::MAX_LABELS).
    #[must_use]
    pub fn more_labels(&self) -> Option<u32> {
        self.has(KNOWN_MORE_LABELS).then_some(self.more[1])
    }

    /// Returns the tunnel endpoint identifier of the GTP-U header that ends the level.
    #[must_use]
    pub fn teid(&self) -> Option<u32> {
        self.has(KNOWN_TEID).then_some(self.tunnel)
    }

    /// Returns the tunnel and session identifiers of the L2TP header, or the call identifier of the
    /// PPTP header, that ends the level.
    #[must_use]
    pub fn session(&self) -> Option<u32> {
        self.has(KNOWN_SESSION).then_some(self.tunnel)
    }

    /// Returns the service instance identifier (I-SID) of a provider backbone bridge.
    #[must_use]
    pub fn service_instance(&self) -> Option<u32> {
        self.has(KNOWN_SERVICE_INSTANCE).then_some(self.service)
    }

    /// Returns the service path identifier of a network service header.
    #[must_use]
    pub fn service_path(&self) -> Option<u32> {
        self.has(KNOWN_SERVICE_PATH).then_some(self.service)
    }

    /// Returns the ARP packet.
    #[must_use]
    pub fn arp(&self) -> Option<ArpHeader> {
        self.has(KNOWN_ARP).then_some(self.arp)
    }

    /// Returns the identifiers, except that the identifiers of the link header are taken from
    /// `other`.
    #[must_use]
    pub fn with_link_of(mut self, other: &Self) -> Self {
        if let Some(session) = other.pppoe() {
            self.set_pppoe(session);
        }
        if let Some(index) = other.if_index() {
            self.set_if_index(index);
        }
        if let Some(point) = other.point() {
            self.set_point(point);
        }
        self
    }

    /// Returns the identifiers that also distinguish the flows inside, if the level forms no flow.
    /// One-way identifiers are omitted: without a flow around them, the identifiers of both
    /// directions cannot be paired.
    pub(super) const fn inherited(mut self) -> Self {
        self.known &= KNOWN_GRE_KEY
            | KNOWN_PPPOE
            | KNOWN_IF_INDEX
            | KNOWN_SERVICE_INSTANCE
            | KNOWN_SERVICE_PATH;
        self
    }

    /// Returns the capture point or interface index as a number; `None` if other identifiers are
    /// known. A table stores the number for each flow, because the whole value would be too large.
    pub(crate) fn capture_origin(&self) -> Option<NonZeroU32> {
        let number = match self.known {
            KNOWN_POINT => self.point.index().checked_add(1)?,
            KNOWN_IF_INDEX => self.if_index,
            _ => return None,
        };
        let kind = if self.has(KNOWN_IF_INDEX) {
            ORIGIN_IF_INDEX
        } else {
            0
        };
        let is_small = number & ORIGIN_IF_INDEX == 0;
        NonZeroU32::new(number | kind).filter(|_| is_small)
    }

    /// Returns the identifiers for a number returned by [`capture_origin`](Self::capture_origin).
    pub(crate) fn of_capture_origin(origin: NonZeroU32) -> Self {
        let mut marks = Self::default();
        let number = origin.get() & !ORIGIN_IF_INDEX;
        if origin.get() == number {
            marks.set_point(CapturePoint::new(number - 1));
        } else {
            marks.set_if_index(number);
        }
        marks
    }

    /// Removes all identifiers; cheaper than writing the whole value.
    #[inline(always)]
    pub(super) const fn clear(&mut self) {
        self.known = 0;
    }

    /// Sets [`link_tag`](Self::link_tag).
    pub(super) const fn set_link_tag(&mut self, tag: u64) {
        self.link_tag = tag;
        self.known |= KNOWN_LINK_TAG;
    }

    /// Sets [`ip_protocol`](Self::ip_protocol).
    pub(super) const fn set_ip_protocol(&mut self, protocol: u8) {
        self.ip_protocol = protocol;
        self.known |= KNOWN_IP_PROTOCOL;
    }

    /// Sets [`spi`](Self::spi).
    pub(super) const fn set_spi(&mut self, spi: u32) {
        self.spi = spi;
        self.known |= KNOWN_SPI;
    }

    /// Sets [`gre_key`](Self::gre_key).
    pub(super) const fn set_gre_key(&mut self, key: u32) {
        self.gre_key = key;
        self.known |= KNOWN_GRE_KEY;
    }

    /// Sets [`pppoe`](Self::pppoe).
    pub(super) const fn set_pppoe(&mut self, session: u16) {
        self.pppoe = session;
        self.known |= KNOWN_PPPOE;
    }

    /// Sets [`if_index`](Self::if_index).
    pub(super) const fn set_if_index(&mut self, index: u32) {
        self.if_index = index;
        self.known |= KNOWN_IF_INDEX;
    }

    /// Sets [`point`](Self::point).
    pub(super) const fn set_point(&mut self, point: CapturePoint) {
        self.point = point;
        self.known |= KNOWN_POINT;
    }

    /// Sets [`teid`](Self::teid).
    pub(super) const fn set_teid(&mut self, id: u32) {
        self.tunnel = id;
        self.known |= KNOWN_TEID;
    }

    /// Sets [`session`](Self::session).
    pub(super) const fn set_session(&mut self, id: u32) {
        self.tunnel = id;
        self.known |= KNOWN_SESSION;
    }

    /// Sets [`service_instance`](Self::service_instance).
    pub(super) const fn set_service_instance(&mut self, id: u32) {
        self.service = id;
        self.known |= KNOWN_SERVICE_INSTANCE;
    }

    /// Sets [`service_path`](Self::service_path).
    pub(super) const fn set_service_path(&mut self, id: u32) {
        self.service = id;
        self.known |= KNOWN_SERVICE_PATH;
    }

    /// Adds an MPLS label, inside the earlier labels.
    pub(super) fn add_label(&mut self, label: u32) {
        if !self.has(KNOWN_LABELS) {
            self.label_count = 0;
            self.known |= KNOWN_LABELS;
        }
        if let Some(slot) = self.labels.get_mut(usize::from(self.label_count)) {
            *slot = label;
            self.label_count += 1;
        } else {
            self.more[1] = hash(self.more_labels(), label);
            self.known |= KNOWN_MORE_LABELS;
        }
    }

    /// Adds the identifier of a VLAN tag that [`LinkHeader`](crate::decode::LinkHeader) cannot
    /// hold.
    #[cold]
    pub(super) fn add_more_tag(&mut self, id: u16) {
        self.more[0] = hash(self.more_tags(), id.into());
        self.known |= KNOWN_MORE_TAGS;
    }

    /// Sets [`arp`](Self::arp) from an ARP packet, if it is for IPv4 over Ethernet.
    pub(super) fn set_arp(&mut self, packet: &[u8]) {
        let Some(packet) = packet.first_chunk::<28>() else {
            return;
        };
        let [
            _,
            _,
            8,
            0,
            6,
            4,
            o0,
            o1,
            s0,
            s1,
            s2,
            s3,
            s4,
            s5,
            a0,
            a1,
            a2,
            a3,
            rest @ ..,
        ] = *packet
        else {
            return;
        };
        let [t0, t1, t2, t3, t4, t5, b0, b1, b2, b3] = rest;
        self.arp = ArpHeader {
            operation: u16::from_be_bytes([o0, o1]),
            sender_mac: [s0, s1, s2, s3, s4, s5],
            sender: [a0, a1, a2, a3],
            target_mac: [t0, t1, t2, t3, t4, t5],
            target: [b0, b1, b2, b3],
        };
        self.known |= KNOWN_ARP;
    }

    /// Clears the identifiers that are used only for levels without an IP header, or without ports
    /// and ICMP.
    pub(super) const fn retain(&mut self, has_network: bool, has_ports_or_icmp: bool) {
        if has_network {
            self.known &= !KNOWN_LINK_TAG;
        }
        if has_ports_or_icmp {
            self.known &= !(KNOWN_IP_PROTOCOL | KNOWN_SPI);
        }
    }

    /// Returns whether a field is valid.
    const fn has(&self, known: u16) -> bool {
        self.known & known != 0
    }
}

impl PartialEq for Marks {
    fn eq(&self, other: &Self) -> bool {
        self.known == other.known
            && self.link_tag() == other.link_tag()
            && self.ip_protocol() == other.ip_protocol()
            && self.spi() == other.spi()
            && self.gre_key() == other.gre_key()
            && self.pppoe() == other.pppoe()
            && self.if_index() == other.if_index()
            && self.point() == other.point()
            && (self.teid(), self.session()) == (other.teid(), other.session())
            && self.service_instance() == other.service_instance()
            && self.service_path() == other.service_path()
            && self.labels() == other.labels()
            && self.more_labels() == other.more_labels()
            && self.more_tags() == other.more_tags()
            && self.arp() == other.arp()
    }
}

impl Eq for Marks {}

/// Returns the hash of a list with one more number (FNV-1a by words).
fn hash(list: Option<u32>, number: u32) -> u32 {
    (list.unwrap_or(0x811c_9dc5) ^ number).wrapping_mul(0x0100_0193)
}

/// Bit that is set in a capture origin that is an interface index; otherwise, the origin is the
/// index of a capture point plus 1.
const ORIGIN_IF_INDEX: u32 = 1 << 31;

const KNOWN_LINK_TAG: u16 = 0x01;
const KNOWN_IP_PROTOCOL: u16 = 0x02;
const KNOWN_SPI: u16 = 0x04;
const KNOWN_GRE_KEY: u16 = 0x08;
const KNOWN_PPPOE: u16 = 0x10;
const KNOWN_IF_INDEX: u16 = 0x20;
const KNOWN_LABELS: u16 = 0x40;
const KNOWN_TEID: u16 = 0x80;
const KNOWN_ARP: u16 = 0x100;
const KNOWN_SESSION: u16 = 0x200;
const KNOWN_SERVICE_INSTANCE: u16 = 0x400;
const KNOWN_SERVICE_PATH: u16 = 0x800;
const KNOWN_POINT: u16 = 0x1000;
const KNOWN_MORE_TAGS: u16 = 0x2000;
const KNOWN_MORE_LABELS: u16 = 0x4000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_do_not_count() {
        let mut marks = Marks::default();
        marks.set_spi(7);
        marks.add_label(100);
        marks.add_label(7);
        assert_eq!((marks.spi(), marks.labels()), (Some(7), &[100, 7][..]));
        marks.retain(true, true);
        assert_eq!(marks.spi(), None);
        marks.clear();
        assert_eq!(marks, Marks::default());
        marks.add_label(3);
        assert_eq!(marks.labels(), &[3]);
    }

    #[test]
    fn labels_and_tags_that_are_not_stored_have_a_hash() {
        let stack = |last: &[u32]| {
            let mut marks = Marks::default();
            (0..8)
                .chain(last.iter().copied())
                .for_each(|label| marks.add_label(label));
            marks
        };
        assert_eq!(stack(&[]).more_labels(), None);
        assert_eq!(stack(&[7]), stack(&[7]));
        assert_eq!(stack(&[7]).labels(), stack(&[8]).labels());
        for (one, other) in [(&[][..], &[0][..]), (&[7], &[8]), (&[7, 8], &[8, 7])] {
            assert_ne!(stack(one), stack(other));
        }
        let mut marks = stack(&[7]);
        marks.clear();
        assert_eq!((marks.more_labels(), marks.more_tags()), (None, None));
        marks.add_more_tag(6);
        let six = marks.more_tags();
        assert!(six.is_some() && !marks.is_empty());
        marks.add_more_tag(7);
        assert_ne!(marks.more_tags(), six);
    }

    #[test]
    fn a_capture_origin_is_what_alone_is_known() {
        let point = |index| {
            let mut marks = Marks::default();
            marks.set_point(CapturePoint::new(index));
            marks
        };
        let interface = |index| {
            let mut marks = Marks::default();
            marks.set_if_index(index);
            marks
        };
        let all = [0, 1, 7, (1 << 31) - 2].map(point);
        for marks in all.into_iter().chain([0, 3, (1 << 31) - 1].map(interface)) {
            let origin = marks.capture_origin().expect("nothing else is known");
            assert_eq!(Marks::of_capture_origin(origin), marks);
        }
        let mut both = point(1);
        both.set_if_index(1);
        for marks in [Marks::default(), both, point(1 << 31), interface(1 << 31)] {
            assert_eq!(marks.capture_origin(), None);
        }
    }

    #[test]
    fn arp_of_other_lengths_is_not_known() {
        let mut packet = [0_u8; 28];
        packet[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 2]);
        packet[14] = 10;
        for len in 0..28 {
            let mut marks = Marks::default();
            marks.set_arp(&packet[..len]);
            assert!(marks.is_empty());
        }
        let mut marks = Marks::default();
        marks.set_arp(&packet);
        let arp = marks.arp().expect("a whole packet");
        assert_eq!((arp.operation, arp.sender), (2, [10, 0, 0, 0]));
        packet[5] = 16;
        marks.clear();
        marks.set_arp(&packet);
        assert_eq!(marks.arp(), None);
    }
}
