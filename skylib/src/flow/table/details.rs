//! Details: what few flows have beyond counters: contents of ARP, the flow that an ICMP error is
//! about, the errors about a flow, joined segments, and counters of DNS.
//!
//! A packet with details leaves a [`Note`] when it is keyed. Notes are applied when all packets of
//! the batch are counted, so packets without details cost one test. Details are in side memory with
//! a byte budget; details beyond it are counted as dropped.

use super::FlowTable;
use super::dns_metric::DnsCounters;
use super::entry::{Entry, NONE, Rare};
use super::process::Pending;
use crate::decode::{
    EmbeddedPacket, Encapsulation, Encapsulations, IcmpType, Layer, TransportProtocol,
};
use crate::flow::key::{FlowKey, PacketKey};
use crate::flow::key_extras::extras;
use crate::flow::options::FlowTableOptions;
use crate::flow::record::{
    About, Arp, Flow, FlowLayer, FlowProtocol, IcmpErrors, Offload, TransportLayer,
};
use crate::packet::PacketRef;
use crate::value::Text;

/// Details of a flow.
#[derive(Clone, Debug, Default)]
pub(super) struct Details {
    arp: Option<ArpContents>,
    about: Option<Subject>,
    errors: ErrorCounts,
    joined: JoinedSegments,
    pub(super) dns: DnsCounters,
}

/// Operation and addresses of an ARP packet for IPv4 over Ethernet.
type ArpContents = [u8; 22];

/// Flow that an ICMP error is about.
#[derive(Clone, Copy, Debug)]
struct Subject {
    packet: EmbeddedPacket,
    /// `UUID` and `TrackingID` of its record; 0 if it is not in the table.
    uuid: u64,
    tracking_id: u64,
}

/// ICMP errors about a flow, and the last of them.
#[derive(Clone, Copy, Debug, Default)]
struct ErrorCounts {
    count: u64,
    kind: IcmpType,
    code: u8,
    /// In Unix milliseconds.
    last: i64,
    mtu: u32,
}

/// Segments and header bytes on the wire that joined frames hide, by direction.
#[derive(Clone, Copy, Debug, Default)]
struct JoinedSegments {
    segments: [u64; 2],
    bytes: [u64; 2],
    /// Payload of a segment, in bytes; 0 without a joined frame.
    size: u32,
}

/// Details of a packet that was keyed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    /// Index of the [`Pending`] that they belong to.
    slot: u32,
    kind: NoteKind,
}

#[derive(Clone, Copy, Debug)]
enum NoteKind {
    Arp(ArpContents),
    Error {
        packet: EmbeddedPacket,
        kind: IcmpType,
        code: u8,
        /// Key of the flow that the error is about, and its hash.
        key: FlowKey,
        hash: u64,
    },
    Joined {
        /// Segments and bytes on the wire beyond those of the frame.
        segments: u64,
        bytes: u64,
        size: u32,
    },
}

impl FlowTable {
    /// Returns what the packet within an ICMP error adds to the identity of the error's flow; 0 for
    /// other packets.
    #[inline(always)]
    pub(super) fn subject_hash(&self) -> u64 {
        match self.encapsulations.embedded() {
            None => 0,
            Some(embedded) => {
                let last = self.encapsulations.len().saturating_sub(1);
                self.subject_key(embedded, last, 0).1
            }
        }
    }

    /// Returns the key, and its hash, of the flow that an ICMP error in this encapsulation is about.
    #[cold]
    fn subject_key(&self, embedded: &EmbeddedPacket, index: usize, parent: u64) -> (FlowKey, u64) {
        let mode = self.options.layer_key_mode;
        let error = self.encapsulations.get(index).copied().unwrap_or_default();
        let part = Encapsulation {
            network: Some(embedded.network),
            transport: embedded.transport,
            icmp_key: embedded.icmp_key,
            link: error.link.map(|link| link.swapped()),
            tunnel_end: None,
            ..error
        };
        let PacketKey {
            mut key,
            is_swapped,
            ..
        } = PacketKey::new(&self.encapsulations, index, &part, true, mode, parent);
        if !part.marks.is_empty() || part.link.is_some_and(|link| link.vlan_id != 0) {
            let ignore = self.options.key_ignore;
            key.add_extras(extras(&part, is_swapped, ignore, self.seed));
        }
        (key, key.hash(self.seed, mode))
    }

    /// Notes the details of the current packet, whose innermost encapsulation is in `slots[slot]`;
    /// `parent` is the hash of the enclosing flow.
    #[inline(always)]
    pub(super) fn note_details(
        &mut self,
        packet: PacketRef<'_>,
        slots: &[Pending],
        slot: u32,
        parent: u64,
    ) {
        let has_network = |part: &Encapsulation| part.network.is_some();
        let is_plain = packet.wire_len <= MAX_FRAME
            && self.encapsulations.embedded().is_none()
            && self.encapsulations.last().is_some_and(has_network);
        if !is_plain && !self.options.recorded {
            self.note_rare_details(packet, slots, slot, parent);
        }
    }

    #[cold]
    fn note_rare_details(
        &mut self,
        packet: PacketRef<'_>,
        slots: &[Pending],
        slot: u32,
        parent: u64,
    ) {
        let index = self.encapsulations.len().saturating_sub(1);
        let (Some(part), Some(pending)) = (
            self.encapsulations.get(index).copied(),
            slots.get(slot as usize),
        ) else {
            return;
        };
        let kind = if let Some(embedded) = self.encapsulations.embedded().copied() {
            let (key, hash) = self.subject_key(&embedded, index, parent);
            part.icmp.map(|icmp| NoteKind::Error {
                packet: embedded,
                kind: icmp.kind,
                code: icmp.code,
                key,
                hash,
            })
        } else if part.layers.last() == Some(Layer::ARP) {
            arp_contents(packet, &self.encapsulations).map(NoteKind::Arp)
        } else {
            joined_segments(&part, pending.bytes)
        };
        if let Some(kind) = kind {
            self.notes.push(Note { slot, kind });
        }
    }

    /// Adds the notes of a batch to the flows that its packets were counted in.
    #[inline(always)]
    pub(super) fn apply_notes(&mut self, pending: &[Pending]) {
        if !self.notes.is_empty() {
            self.apply_all_notes(pending);
        }
    }

    #[cold]
    fn apply_all_notes(&mut self, pending: &[Pending]) {
        let mut notes = std::mem::take(&mut self.notes);
        for note in notes.drain(..) {
            if let Some(part) = pending.get(note.slot as usize)
                && let Some(record) = self.index.find(part.hash, self.has_key(&part.key))
            {
                self.apply_note(note.kind, part, record);
            }
        }
        self.notes = notes;
    }

    /// Returns a test of whether a record has a key.
    fn has_key(&self, key: &FlowKey) -> impl Fn(u32) -> bool {
        move |record| {
            let mode = self.options.layer_key_mode;
            self.arena.get(record).key.is_same(key, mode)
        }
    }

    fn apply_note(&mut self, kind: NoteKind, part: &Pending, record: u32) {
        match kind {
            NoteKind::Arp(contents) => {
                if let Some(details) = self.details_mut(record) {
                    details.arp.get_or_insert(contents);
                }
            }
            NoteKind::Joined {
                segments,
                bytes,
                size,
            } => {
                let direction = usize::from(!self.arena.get(record).is_a_to_b(part.flags));
                if let Some(details) = self.details_mut(record) {
                    details.joined.segments[direction] += segments;
                    details.joined.bytes[direction] += bytes;
                    details.joined.size = size;
                }
            }
            NoteKind::Error {
                packet,
                kind,
                code,
                key,
                hash,
            } => {
                let target = self.index.find(hash, self.has_key(&key));
                let mut subject = Subject {
                    packet,
                    uuid: 0,
                    tracking_id: 0,
                };
                if let Some(target) = target {
                    let ids = self.identifiers(self.arena.get(target));
                    (subject.uuid, subject.tracking_id) = (ids.uuid, ids.tracking_id);
                    if let Some(details) = self.details_mut(target) {
                        details.errors = ErrorCounts {
                            count: details.errors.count + 1,
                            kind,
                            code,
                            last: part.timestamp.as_ms(),
                            mtu: packet.mtu,
                        };
                    }
                }
                if let Some(details) = self.details_mut(record)
                    && details.about.is_none_or(|about| about.uuid == 0)
                {
                    details.about = Some(subject);
                }
            }
        }
    }

    /// Returns the details of a flow, which are added if it has none; `None`, and counted as
    /// dropped, if the byte budget does not allow that.
    pub(super) fn details_mut(&mut self, record: u32) -> Option<&mut Details> {
        let entry = self.arena.get_mut(record);
        let has_details = self
            .rare
            .get(entry.cold.rare)
            .is_some_and(|rare| rare.details.is_some());
        if !has_details {
            if self.details_bytes + Details::BYTES > details_limit(&self.options) {
                self.stats.extra_messages_dropped += 1;
                return None;
            }
            if entry.cold.rare == NONE {
                entry.cold.rare = self.rare.insert(Rare::default());
            }
        }
        let rare = self.rare.get_mut(entry.cold.rare)?;
        if rare.details.is_none() {
            self.details_bytes += Details::BYTES;
        }
        Some(rare.details.get_or_insert_default())
    }
}

impl Details {
    /// Size of the details of a flow, in bytes, with that of its [`Rare`] and of a DNS name.
    pub(super) const BYTES: usize = size_of::<Self>() + size_of::<Rare>() + 256;

    /// Sets the fields of a record.
    pub(super) fn fill(&self, flow: &mut Flow, entry: &Entry) {
        flow.arp = self.arp.map(|contents| Box::new(arp(contents)));
        flow.about = self.about.as_ref().map(|about| Box::new(about.record()));
        flow.icmp_errors = self.errors.record().map(Box::new);
        flow.offload = self.joined.record(entry).map(Box::new);
        flow.dns_metric = self.dns.record().map(Box::new);
    }
}

impl Subject {
    fn record(&self) -> About {
        let network = &self.packet.network;
        let hex = |number: u64| match number {
            0 => Text::default(),
            number => super::export::hex_text(number),
        };
        About {
            uuid: hex(self.uuid),
            tracking_id: hex(self.tracking_id),
            network: Some(FlowLayer {
                protocol: if network.source.is_v4() {
                    FlowProtocol::Ipv4
                } else {
                    FlowProtocol::Ipv6
                },
                a: network.source.to_string().into(),
                b: network.destination.to_string().into(),
                id: 0,
            }),
            transport: self.packet.transport.map(|header| TransportLayer {
                protocol: match header.protocol {
                    TransportProtocol::Tcp => FlowProtocol::Tcp,
                    TransportProtocol::Udp => FlowProtocol::Udp,
                    _ => FlowProtocol::Sctp,
                },
                a: header.source.into(),
                b: header.destination.into(),
                id: 0,
            }),
            ip_protocol: self.packet.ip_protocol.into(),
        }
    }
}

impl ErrorCounts {
    fn record(&self) -> Option<IcmpErrors> {
        (self.count > 0).then(|| IcmpErrors {
            count: i64::try_from(self.count).unwrap_or(i64::MAX),
            last_type: self.kind.name().into(),
            last_code: self.code.into(),
            last: self.last,
            mtu: self.mtu,
        })
    }
}

impl JoinedSegments {
    fn record(&self, entry: &Entry) -> Option<Offload> {
        if self.size == 0 {
            return None;
        }
        let number = |counter: u64| i64::try_from(counter).unwrap_or(i64::MAX);
        let [ab, ba] = entry.hot.packets;
        let [ab_bytes, ba_bytes] = entry.hot.bytes;
        Some(Offload {
            ab_segments: number(ab + self.segments[0]),
            ba_segments: number(ba + self.segments[1]),
            ab_wire_bytes: number(ab_bytes + self.bytes[0]),
            ba_wire_bytes: number(ba_bytes + self.bytes[1]),
            segment_size: self.size,
            exact: false,
        })
    }
}

/// Returns the byte budget for details: a sixteenth of
/// [`FlowTableOptions::max_bytes`], at most 16 MiB.
pub(super) fn details_limit(options: &FlowTableOptions) -> usize {
    if options.recorded {
        return 0;
    }
    let most = 16 << 20;
    options
        .max_bytes
        .map_or(most, |bytes| (bytes / 16).min(most))
}

/// Returns the contents of an ARP packet for IPv4 over Ethernet (RFC 826).
fn arp_contents(packet: PacketRef<'_>, encapsulations: &Encapsulations) -> Option<ArpContents> {
    let at = if let Some((_, range)) = encapsulations.innermost() {
        range.start as usize
    } else {
        // The fast path stores no range: the message is behind addresses, tags, and the EtherType.
        let part = encapsulations.last()?;
        let layers = part.layers.iter();
        let tags = layers.filter(|layer| *layer == Layer::DOT1Q).count();
        part.offset as usize + 14 + tags * 4
    };
    let message = packet.data.get(at..)?.first_chunk::<28>()?;
    let [0, 1, 8, 0, 6, 4, contents @ ..] = *message else {
        return None;
    };
    Some(contents)
}

/// Returns the record of the contents of an ARP packet.
fn arp(contents: ArpContents) -> Arp {
    let [
        o0,
        o1,
        s0,
        s1,
        s2,
        s3,
        s4,
        s5,
        a,
        b,
        c,
        d,
        t0,
        t1,
        t2,
        t3,
        t4,
        t5,
        e,
        f,
        g,
        h,
    ] = contents;
    let mac = |mac: [u8; 6]| super::export::mac_text(mac);
    let address = |octets: [u8; 4]| std::net::Ipv4Addr::from(octets).to_string().into();
    Arp {
        operation: match u16::from_be_bytes([o0, o1]) {
            1 => "REQUEST".into(),
            2 => "REPLY".into(),
            other => other.to_string().into(),
        },
        sender_mac: mac([s0, s1, s2, s3, s4, s5]),
        sender_ip: address([a, b, c, d]),
        target_mac: mac([t0, t1, t2, t3, t4, t5]),
        target_ip: address([e, f, g, h]),
    }
}

/// Returns the segments that a TCP frame hides: those of an IP packet of more than 1500 bytes, each
/// with the headers again.
fn joined_segments(part: &Encapsulation, bytes: u64) -> Option<NoteKind> {
    let (network, transport) = (part.network?, part.transport?);
    let ip_len = u64::from(network.length);
    if transport.protocol != TransportProtocol::Tcp || ip_len <= MAX_PACKET {
        return None;
    }
    let headers = u64::from(transport.payload_offset.checked_sub(part.offset)?);
    let ip_headers = headers.checked_sub(bytes.saturating_sub(ip_len))?;
    let size = MAX_PACKET
        .checked_sub(ip_headers)
        .filter(|size| *size > 0)?;
    let segments = ip_len
        .checked_sub(ip_headers)?
        .div_ceil(size)
        .checked_sub(1)?;
    Some(NoteKind::Joined {
        segments,
        bytes: segments * headers,
        size: size as u32,
    })
}

/// Largest IP packet on a link without jumbo frames, in bytes.
const MAX_PACKET: u64 = 1500;
/// Largest frame whose IP packet has at most [`MAX_PACKET`] bytes, in bytes.
const MAX_FRAME: u32 = 1514;
