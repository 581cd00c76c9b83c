//! ICMP errors (rule G3 of `docs/flows.md`). The errors that refer to a flow are a separate flow,
//! and the records of both flows are linked.
//!
//! The flow that an error refers to is looked up by the key of the packet inside the error. If MAC
//! addresses are part of the key, those of the flow may differ from those of the error;
//! `network_index.rs` then finds the flow.

use super::FlowTable;
use super::entry::END_IDENTIFIED;
use super::pending::{IS_SWAPPED, Pending};
use crate::decode::{
    EmbeddedPacket, Encapsulation, IcmpType, IpAddress, TransportHeader, TransportProtocol,
};
use crate::flow::key::{FlowKey, HashSeed, PacketKey};
use crate::flow::key_extras::extras;
use crate::flow::record::{About, FlowLayer, FlowProtocol, IcmpErrors, TransportLayer};
use crate::packet::{LinkType, PacketRef};
use crate::value::Text;

use super::export::{hex_text, short_text};

/// Packet that an ICMP error refers to, and the flow to which it belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Subject {
    source: IpAddress,
    destination: IpAddress,
    ip_protocol: u8,
    /// Protocol, source port, and destination port, if the protocol has ports.
    ports: Option<(TransportProtocol, u16, u16)>,
    /// ICMP part of the identity of the flow.
    icmp_key: Option<u32>,
    /// `UUID` and `TrackingID` of the record; 0 if the flow is not in the table.
    uuid: u64,
    tracking_id: u64,
}

/// ICMP errors that refer to a flow: their number, and the latest error.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ErrorCounts {
    count: u64,
    kind: IcmpType,
    code: u8,
    /// Time of the latest error, in Unix milliseconds.
    last: i64,
    /// Next-hop MTU that was announced last, in bytes; 0 if none was announced.
    mtu: u32,
}

/// ICMP error of the current batch, with the keys to find its subject.
#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorNote {
    /// Index of the [`Pending`] of the error.
    slot: u32,
    kind: IcmpType,
    code: u8,
    mtu: u32,
    /// Key, without extras, of the flow that the error refers to, and whether the source is the
    /// upper end.
    key: FlowKey,
    is_swapped: bool,
    /// Extras of the key if the source is the lower end, and extras if it is the upper end.
    extras: [u64; 2],
}

impl Subject {
    /// Returns the subject of an ICMP error.
    pub(super) fn new(embedded: &EmbeddedPacket) -> Self {
        let ports = |header: TransportHeader| (header.protocol, header.source, header.destination);
        Self {
            source: embedded.network.source,
            destination: embedded.network.destination,
            ip_protocol: embedded.ip_protocol,
            ports: embedded.transport.map(ports),
            icmp_key: embedded.icmp_key,
            uuid: 0,
            tracking_id: 0,
        }
    }

    /// Returns the hash of the subject for the identity of the error's flow; never 0.
    fn hash(&self, seed: HashSeed) -> u64 {
        let mut hash = seed.mix(u64::from(self.ip_protocol), 1);
        for address in [self.source, self.destination] {
            let number = u128::from_be_bytes(address.octets());
            hash = seed.mix(hash, (number >> 64) as u64);
            hash = seed.mix(hash, number as u64);
        }
        let ports = self.ports.map_or(0, |(_, source, destination)| {
            1 << 32 | u64::from(source) << 16 | u64::from(destination)
        });
        let icmp = self.icmp_key.map_or(0, |key| 1 << 32 | u64::from(key));
        seed.mix(seed.mix(hash, ports), icmp).max(1)
    }

    /// Returns the bytes that distinguish the flows of errors with different subjects (A18).
    pub(super) fn identity(&self) -> Vec<u8> {
        let mut bytes = vec![self.ip_protocol];
        for address in [self.source, self.destination] {
            let len = if address.is_v4() { 4 } else { 16 };
            bytes.extend(&address.octets()[..len]);
        }
        if let Some((_, source, destination)) = self.ports {
            bytes.extend(source.to_be_bytes());
            bytes.extend(destination.to_be_bytes());
        }
        if let Some(key) = self.icmp_key {
            bytes.extend(key.to_be_bytes());
        }
        bytes
    }

    /// Returns the message of a flow record.
    pub(super) fn record(&self) -> About {
        let hex = |number: u64| match number {
            0 => Text::default(),
            number => hex_text(number),
        };
        About {
            uuid: hex(self.uuid),
            tracking_id: hex(self.tracking_id),
            network: Some(FlowLayer {
                protocol: if self.source.is_v4() {
                    FlowProtocol::Ipv4
                } else {
                    FlowProtocol::Ipv6
                },
                a: short_text(self.source),
                b: short_text(self.destination),
                id: 0,
            }),
            transport: self
                .ports
                .map(|(protocol, source, destination)| TransportLayer {
                    protocol: match protocol {
                        TransportProtocol::Tcp => FlowProtocol::Tcp,
                        TransportProtocol::Udp => FlowProtocol::Udp,
                        TransportProtocol::Sctp => FlowProtocol::Sctp,
                    },
                    a: source.into(),
                    b: destination.into(),
                    id: 0,
                }),
            ip_protocol: self.ip_protocol.into(),
        }
    }
}

impl ErrorCounts {
    /// Returns the message of a flow record.
    pub(super) fn record(&self) -> IcmpErrors {
        IcmpErrors {
            count: i64::try_from(self.count).unwrap_or(i64::MAX),
            last_type: self.kind.name().into(),
            last_code: self.code.into(),
            last: self.last,
            mtu: self.mtu,
        }
    }
}

impl ErrorNote {
    /// Returns the key of the flow that the error refers to, with the source as the lower (`false`)
    /// or the upper end.
    fn key(&self, is_swapped: bool) -> FlowKey {
        let mut key = self.key;
        key.add_extras(self.extras[usize::from(is_swapped)]);
        key
    }
}

impl FlowTable {
    /// Returns the hash of the packet inside an ICMP error, for the identity of the error's flow; 0
    /// for other packets.
    #[inline(always)]
    pub(super) fn subject_hash(&self) -> u64 {
        match self.encapsulations.embedded() {
            None => 0,
            Some(embedded) => Subject::new(embedded).hash(self.seed),
        }
    }

    /// Adds a note for an ICMP error, whose encapsulation is in `slots[slot]`; `around` is the hash
    /// of the enclosing flow.
    #[cold]
    pub(super) fn note_error(
        &mut self,
        packet: PacketRef<'_>,
        slots: &[Pending],
        slot: u32,
        around: u64,
    ) {
        let Some(part) = slots
            .get(slot as usize)
            .and_then(|pending| self.encapsulations.get(usize::from(pending.part)))
            .copied()
        else {
            return;
        };
        let (Some(embedded), Some(icmp)) = (self.encapsulations.embedded().copied(), part.icmp)
        else {
            return;
        };
        let inner = self.embedded_part(packet, &embedded, &part);
        let mode = self.options.layer_key_mode;
        let keyed = PacketKey::new(&self.encapsulations, 0, &inner, true, mode, around);
        let ignore = self.options.key_ignore;
        self.error_notes.push(ErrorNote {
            slot,
            kind: icmp.kind,
            code: icmp.code,
            mtu: embedded.mtu,
            key: keyed.key,
            is_swapped: keyed.is_swapped,
            extras: [false, true].map(|is_swapped| extras(&inner, is_swapped, ignore, self.seed)),
        });
    }

    /// Decodes the packet in an ICMP error as if it had the link header of the error, in the
    /// opposite direction.
    fn embedded_part(
        &mut self,
        packet: PacketRef<'_>,
        embedded: &EmbeddedPacket,
        error: &Encapsulation,
    ) -> Encapsulation {
        let range = embedded.start as usize..embedded.end as usize;
        let data = packet.data.get(range).unwrap_or_default();
        let packet = PacketRef {
            link_type: LinkType::RAW,
            data,
            wire_len: data.len() as u32,
            ..packet
        };
        // The decoder stops at the end of the quoted bytes; the headers decoded before it are used.
        let mut encapsulations = std::mem::take(&mut self.first_encapsulations);
        self.decoder.decode(packet, &mut encapsulations).ok();
        let inner = encapsulations.first().copied().unwrap_or_default();
        self.first_encapsulations = encapsulations;
        Encapsulation {
            network: Some(embedded.network),
            transport: embedded.transport,
            icmp_key: embedded.icmp_key,
            link: error.link.map(|link| link.swapped()),
            marks: inner.marks.with_link_of(&error.marks),
            ..inner
        }
    }

    /// Returns the number of pending encapsulations up to and including the error with a number in
    /// the batch; all of them, if there are fewer errors.
    #[inline(always)]
    pub(super) fn end_of_error(&self, number: usize, pending: &[Pending]) -> usize {
        let note = self.error_notes.get(number);
        note.map_or(pending.len(), |note| note.slot as usize + 1)
    }

    /// Links the ICMP error with a number in the batch to the flow that it refers to. The packets
    /// before the error are counted, but not those after it, so that the result does not depend on
    /// the size of batches.
    #[cold]
    #[inline(never)]
    pub(super) fn apply_error_note(&mut self, number: usize, pending: &[Pending]) {
        if let Some(note) = self.error_notes.get(number).copied()
            && let Some(part) = pending.get(note.slot as usize)
            && let Some(record) = self.counted_record(part)
        {
            self.link_error(&note, part, record);
        }
    }

    /// Links the record of an error and the record of the flow that it refers to.
    fn link_error(&mut self, note: &ErrorNote, part: &Pending, record: u32) {
        let Some(target) = self.subject_record(note, part) else {
            return;
        };
        self.arena.get_mut(target).hot.ends |= END_IDENTIFIED;
        let ids = self.identifiers(target);
        let last = self.clock_steps.shown(part.timestamp.as_ms());
        if let Some(errors) = self.detail(target, |details| &mut details.errors) {
            *errors = ErrorCounts {
                count: errors.count + 1,
                kind: note.kind,
                code: note.code,
                last,
                mtu: if note.mtu > 0 { note.mtu } else { errors.mtu },
            };
        }
        let rare = self.rare.get_mut(self.arena.get(record).cold.rare);
        if let Some(subject) = rare.and_then(|rare| rare.details.as_mut()?.subject.as_mut()) {
            (subject.uuid, subject.tracking_id) = (ids.uuid, ids.tracking_id);
        }
    }

    /// Returns the record of the flow that an error refers to; `None` if it is not in the table.
    fn subject_record(&mut self, note: &ErrorNote, error: &Pending) -> Option<u32> {
        let key = note.key(note.is_swapped);
        // The error travels in the opposite direction of the packet that it refers to.
        let mut reply = Pending::NONE;
        reply.hash = key.hash(self.seed, self.options.layer_key_mode);
        reply.key = key;
        reply.timestamp = error.timestamp;
        reply.flags = if note.is_swapped { 0 } else { IS_SWAPPED };
        reply.one_way = error.one_way;
        let found = if error.one_way == 0 {
            self.nearest(&reply)
        } else {
            self.nearest_paired(&reply)
        };
        if found.is_some() || !key.counts_link() {
            return found;
        }
        let keys = [false, true].map(|is_swapped| note.key(is_swapped).of_network());
        self.find_by_network(&keys)
    }
}
