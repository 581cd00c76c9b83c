//! Flow identifiers `UUID`, `TrackingID`, and `L3TrackingID`: xxHash64 of the key. They are equal
//! to Skydive's unless Skydive's omit data that distinguishes the flow (A17 and A18 of
//! `docs/flows.md`).

use super::key::FlowKey;
use super::key_extras::vlan_ids;
use super::key_ignore::KeyIgnore;
use crate::decode::Marks;
use crate::packet::CapturePointName;
use crate::time::Timestamp;

/// Identifiers of a flow as numbers; their string form is hexadecimal without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowIds {
    /// Identifier of the flow at this capture point.
    pub(super) uuid: u64,
    /// Identifier of the traffic from layer 2 up, equal at every capture point.
    pub(super) tracking_id: u64,
    /// Identifier of the traffic from layer 3 up, equal at every capture point.
    pub(super) l3_tracking_id: u64,
}

impl FlowIds {
    /// Returns the identifiers of a flow. `parent_uuid` is 0 for an outermost flow. Without
    /// `identity`, the identifiers are equal to Skydive's.
    pub(super) fn new(
        key: &FlowKey,
        parent_uuid: u64,
        start: Timestamp,
        node_tid: &str,
        identity: Option<&IdentityMarks<'_>>,
    ) -> Self {
        let mut hash = XxHash::new(0);
        key.write_l3(&mut hash);
        if let Some(identity) = identity {
            identity.write_l3(key, &mut hash);
        }
        let l3_tracking_id = hash.digest();
        let mut tracking_id = l3_tracking_id;
        if key.counts_link() {
            let (low, high) = key.macs();
            hash.write(&low);
            hash.write(&high);
            hash.write_u64(3);
            if let Some(identity) = identity {
                identity.write_l2(key, &mut hash);
            }
            tracking_id = hash.digest();
        }
        if parent_uuid != 0 {
            let (text, len) = hex(parent_uuid);
            hash.write(text.get(..len).unwrap_or_default());
        }
        let mut uuid = XxHash::new(hash.digest());
        uuid.write(&start.as_ms().to_be_bytes());
        uuid.write(node_tid.as_bytes());
        if let Some(identity) = identity {
            identity.write_uuid(&mut uuid);
        }
        Self {
            uuid: uuid.digest(),
            tracking_id,
            l3_tracking_id,
        }
    }
}

/// Data that, in addition to its key, identifies a flow: input of its UUID and tracking IDs.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdentityMarks<'a> {
    /// Marks of the first packet; `None` if it had none.
    pub(super) marks: Option<&'a Marks>,
    /// Capture point of the first packet; `None` if the source has only one.
    pub(super) point: Option<&'a CapturePointName>,
    /// Addresses of the ARP packet, in the order of the key.
    pub(super) arp: Option<[[u8; 4]; 2]>,
    /// VLAN identifiers, packed; 0 if they are ignored.
    pub(super) vlan_id: i64,
    /// Parts of the key that do not distinguish flows.
    pub(super) ignore: KeyIgnore,
    /// Identity of the packet that an ICMP error refers to; empty for other flows.
    pub(super) subject: &'a [u8],
    /// Identifier of the capture; empty for a file.
    pub(super) capture_id: &'a str,
    /// Sequence number of the SYN, if the flow reuses the ports of an earlier flow.
    pub(super) new_syn: Option<u32>,
    /// Number of evictions so far if the flow was created by evicting another one; 0 otherwise.
    pub(super) evictions: u32,
    /// Whether the flow has a one-way identifier (MPLS labels, SPI, GTP-U, L2TP, or PPTP), and its source
    /// is the upper end of its key.
    pub(super) is_reverse: bool,
    /// Number that distinguishes the flow from earlier flows with its key and start; 0 for the
    /// first.
    pub(super) occurrence: u32,
}

impl IdentityMarks<'_> {
    /// Hashes the fields of the identity that belong to layer 3.
    fn write_l3(&self, key: &FlowKey, hash: &mut XxHash) {
        if let Some([low, high]) = self.arp {
            hash.write(&low);
            hash.write(&high);
            hash.write_u64(0x10806);
        }
        let Some(marks) = self.marks.filter(|_| key.has_only_addresses()) else {
            return;
        };
        if let Some(protocol) = marks.ip_protocol() {
            hash.write_u64(0x100 + u64::from(protocol));
        }
        for number in [marks.spi(), marks.gre_key()].into_iter().flatten() {
            hash.write(&number.to_be_bytes());
        }
    }

    /// Hashes the fields of the identity that belong to layer 2, for a flow without IP.
    fn write_l2(&self, key: &FlowKey, hash: &mut XxHash) {
        let Some(marks) = self
            .marks
            .filter(|_| key.has_no_network() && self.arp.is_none())
        else {
            return;
        };
        let labels = marks.labels();
        match marks.link_tag() {
            Some(tag) => hash.write_u64(tag),
            None if !labels.is_empty() => hash.write_u64(0x18847),
            None => {}
        }
        for label in labels.iter().chain(&marks.more_labels()) {
            hash.write(&label.to_be_bytes());
        }
    }

    /// Hashes the fields that distinguish flows with the same key, each as kind, length, and value.
    fn write_uuid(&self, hash: &mut XxHash) {
        let vlans: Vec<u8> = vlan_ids(self.vlan_id).flat_map(u16::to_be_bytes).collect();
        if !vlans.is_empty() {
            write_field(hash, UuidField::Vlans, &vlans);
        }
        if let Some(marks) = self.marks {
            self.write_tags(marks, hash);
        }
        let observes_point = !self.ignore.contains(KeyIgnore::INTERFACE);
        match self.point.filter(|_| observes_point) {
            Some(CapturePointName::Name(name)) => {
                write_field(hash, UuidField::Interface, name.as_bytes());
            }
            Some(CapturePointName::Number(number)) => {
                write_field(hash, UuidField::Interface, &number.to_be_bytes());
            }
            None => {}
        }
        if !self.capture_id.is_empty() {
            write_field(hash, UuidField::Capture, self.capture_id.as_bytes());
        }
        if let Some(number) = self.new_syn {
            write_field(hash, UuidField::NewSyn, &number.to_be_bytes());
        }
        let tunnel = |marks: &Marks| marks.teid().or(marks.session());
        if let Some(id) = self.marks.and_then(tunnel) {
            write_field(hash, UuidField::Tunnel, &id.to_be_bytes());
        }
        if !self.subject.is_empty() {
            write_field(hash, UuidField::Subject, self.subject);
        }
        if self.evictions > 0 {
            write_field(hash, UuidField::Evictions, &self.evictions.to_be_bytes());
        }
        if let Some(path) = self.marks.and_then(Marks::service_path) {
            write_field(hash, UuidField::ServicePath, &path.to_be_bytes());
        }
        if let Some(instance) = self.marks.and_then(Marks::service_instance) {
            write_field(hash, UuidField::ServiceInstance, &instance.to_be_bytes());
        }
        if self.is_reverse {
            write_field(hash, UuidField::Reverse, &[1]);
        }
        if self.occurrence > 0 {
            write_field(hash, UuidField::Occurrence, &self.occurrence.to_be_bytes());
        }
    }

    /// Hashes the tags, labels, session, and interface index of the first packet.
    fn write_tags(&self, marks: &Marks, hash: &mut XxHash) {
        if let Some(more) = marks.more_tags()
            && !self.ignore.contains(KeyIgnore::VLAN)
        {
            write_field(hash, UuidField::MoreVlans, &more.to_be_bytes());
        }
        if !marks.labels().is_empty() && !self.ignore.contains(KeyIgnore::MPLS) {
            let more = marks.more_labels();
            let labels = marks.labels().iter().chain(&more);
            let labels: Vec<u8> = labels.flat_map(|label| label.to_be_bytes()).collect();
            write_field(hash, UuidField::Labels, &labels);
        }
        if let Some(session) = marks.pppoe() {
            write_field(hash, UuidField::Pppoe, &session.to_be_bytes());
        }
        if let Some(index) = marks.if_index()
            && !self.ignore.contains(KeyIgnore::INTERFACE)
        {
            write_field(hash, UuidField::Interface, &index.to_be_bytes());
        }
    }
}

/// Field that distinguishes flows with the same key. The numbers are part of every UUID.
#[derive(Clone, Copy)]
enum UuidField {
    Vlans = 1,
    Labels = 2,
    Pppoe = 3,
    Interface = 4,
    Capture = 5,
    NewSyn = 6,
    Tunnel = 7,
    Subject = 8,
    Evictions = 9,
    ServicePath = 10,
    ServiceInstance = 11,
    Reverse = 12,
    Occurrence = 13,
    MoreVlans = 14,
}

/// Hashes a field as kind, length, and value.
fn write_field(hash: &mut XxHash, field: UuidField, value: &[u8]) {
    hash.write(&[field as u8, u8::try_from(value.len()).unwrap_or(u8::MAX)]);
    hash.write(value);
}

/// Returns a number as lowercase hexadecimal digits without leading zeros, and the number of
/// digits.
pub(super) fn hex(number: u64) -> ([u8; 16], usize) {
    let mut text = [b'0'; 16];
    let len = (u64::BITS - number.leading_zeros()).div_ceil(4).max(1) as usize;
    let mut rest = number;
    for digit in text.iter_mut().take(len).rev() {
        *digit = b"0123456789abcdef"[(rest & 15) as usize];
        rest >>= 4;
    }
    (text, len)
}

/// Streaming xxHash64 that reproduces a defect of Skydive's implementation.
///
/// `digest` changes the state of a stream of 32 bytes or more, so that only the first digest is
/// equal to the standard xxHash64.
// COMPAT: all clients that compare identifiers.
#[derive(Clone, Debug)]
pub(super) struct XxHash {
    seed: u64,
    /// The four accumulators.
    lanes: [u64; 4],
    /// Bytes not yet in `lanes`: `buffer[..buffered]`.
    buffer: [u8; STRIPE],
    /// `buffered < STRIPE` between calls.
    buffered: usize,
    /// Number of bytes written.
    total: u64,
}

impl XxHash {
    /// Returns an empty stream.
    pub(super) const fn new(seed: u64) -> Self {
        let lanes = [
            seed.wrapping_add(PRIME_1).wrapping_add(PRIME_2),
            seed.wrapping_add(PRIME_2),
            seed,
            seed.wrapping_sub(PRIME_1),
        ];
        Self {
            seed,
            lanes,
            buffer: [0; STRIPE],
            buffered: 0,
            total: 0,
        }
    }

    /// Adds bytes to the stream.
    pub(super) fn write(&mut self, mut bytes: &[u8]) {
        self.total += bytes.len() as u64;
        while !bytes.is_empty() {
            let spare = &mut self.buffer[self.buffered..];
            let (now, later) = bytes.split_at(spare.len().min(bytes.len()));
            spare[..now.len()].copy_from_slice(now);
            self.buffered += now.len();
            bytes = later;
            if self.buffered == STRIPE {
                self.buffered = 0;
                let (words, _) = self.buffer.as_chunks::<8>();
                for (lane, word) in self.lanes.iter_mut().zip(words) {
                    *lane = round(*lane, u64::from_le_bytes(*word));
                }
            }
        }
    }

    /// Adds a number to the stream, most significant byte first.
    pub(super) fn write_u64(&mut self, number: u64) {
        self.write(&number.to_be_bytes());
    }

    /// Returns the hash of the stream so far; changes the state of a stream of 32 bytes or more.
    pub(super) fn digest(&mut self) -> u64 {
        let mut hash = self.seed.wrapping_add(PRIME_5);
        if self.total >= STRIPE as u64 {
            let [a, b, c, d] = self.lanes;
            hash = a
                .rotate_left(1)
                .wrapping_add(b.rotate_left(7))
                .wrapping_add(c.rotate_left(12))
                .wrapping_add(d.rotate_left(18));
            for lane in &mut self.lanes {
                *lane = lane.wrapping_mul(PRIME_2);
                hash ^= lane.rotate_left(31).wrapping_mul(PRIME_1);
                hash = hash.wrapping_mul(PRIME_1).wrapping_add(PRIME_4);
            }
        }
        hash = hash.wrapping_add(self.total);
        let (words, tail) = self.buffer[..self.buffered].as_chunks::<8>();
        for word in words {
            hash ^= round(0, u64::from_le_bytes(*word));
            hash = hash
                .rotate_left(27)
                .wrapping_mul(PRIME_1)
                .wrapping_add(PRIME_4);
        }
        let (halves, tail) = tail.as_chunks::<4>();
        for half in halves {
            hash ^= u64::from(u32::from_le_bytes(*half)).wrapping_mul(PRIME_1);
            hash = hash
                .rotate_left(23)
                .wrapping_mul(PRIME_2)
                .wrapping_add(PRIME_3);
        }
        for byte in tail {
            hash ^= u64::from(*byte).wrapping_mul(PRIME_5);
            hash = hash.rotate_left(11).wrapping_mul(PRIME_1);
        }
        hash ^= hash >> 33;
        hash = hash.wrapping_mul(PRIME_2);
        hash ^= hash >> 29;
        hash = hash.wrapping_mul(PRIME_3);
        hash ^ (hash >> 32)
    }
}

/// Mixes a word into an accumulator.
const fn round(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(PRIME_2))
        .rotate_left(31)
        .wrapping_mul(PRIME_1)
}

/// Size of a block, in bytes.
const STRIPE: usize = 32;
// Constants of the xxHash specification.
const PRIME_1: u64 = 0x9e37_79b1_85eb_ca87;
const PRIME_2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const PRIME_3: u64 = 0x1656_67b1_9e37_79f9;
const PRIME_4: u64 = 0x85eb_ca77_c2b2_ae63;
const PRIME_5: u64 = 0x27d4_eb2f_1656_67c5;

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(seed: u64, bytes: &[u8]) -> u64 {
        let mut hash = XxHash::new(seed);
        hash.write(bytes);
        hash.digest()
    }

    #[test]
    fn the_first_digest_is_the_standard_one() {
        // Test vectors of the xxHash specification's reference implementation.
        assert_eq!(hash(0, b""), 0xef46_db37_51d8_e999);
        assert_eq!(hash(0, b"a"), 0xd24e_c4f1_a98c_6e5b);
        assert_eq!(hash(0, b"abc"), 0x44bc_2cf5_ad77_0999);
        let text = b"Nobody inspects the spammish repetition";
        assert_eq!(hash(0, text), 0xfbce_a83c_8a37_8bf1);
    }

    #[test]
    fn later_digests_of_a_long_stream_differ() {
        let mut short = XxHash::new(0);
        short.write(&[1; 31]);
        assert_eq!(short.digest(), short.digest());
        let mut long = XxHash::new(0);
        long.write(&[1; 32]);
        assert_ne!(long.digest(), long.digest());
    }

    #[test]
    fn writes_may_be_split_anywhere() {
        let bytes: Vec<u8> = (0..100).collect();
        for cut in 0..100 {
            let mut hash_ = XxHash::new(7);
            hash_.write(&bytes[..cut]);
            hash_.write(&bytes[cut..]);
            assert_eq!(hash_.digest(), hash(7, &bytes));
        }
    }

    #[test]
    fn the_worked_example_of_the_original() {
        let mut hash = XxHash::new(0);
        hash.write(&[10, 1, 0, 9, 10, 1, 0, 2]);
        hash.write_u64(1);
        hash.write(&[0x9c, 0x40, 0, 0x50]);
        hash.write_u64(4);
        assert_eq!(hash.digest(), 0x6567_d7b5_60dc_8760);
        hash.write(&[2, 0, 0, 0, 0x0a, 1, 2, 0, 0, 0, 0x0b, 2]);
        hash.write_u64(3);
        assert_eq!(hash.digest(), 0xd24e_b3b2_93ff_d4c4);
        let key = hash.digest();
        assert_eq!(key, 0xcfdf_f329_738b_92bc);
        let mut uuid = XxHash::new(key);
        uuid.write_u64(1_600_000_000_000);
        uuid.write(b"node-1");
        assert_eq!(uuid.digest(), 0x650a_e6e4_6b29_f27b);
    }

    #[test]
    fn hex_has_no_leading_zeros() {
        let text = |number| {
            let (text, len) = hex(number);
            String::from_utf8_lossy(&text[..len]).into_owned()
        };
        assert_eq!(text(0), "0");
        assert_eq!(text(0xedf), "edf");
        assert_eq!(text(u64::MAX), "ffffffffffffffff");
    }
}
