//! Details: data that few flows have in addition to counters. They are the flow that an ICMP error
//! refers to, the errors that refer to a flow, joined segments, and DNS counters.
//!
//! A packet with details adds a note when it is keyed (`icmp_errors.rs`, `offload.rs`). The note of
//! an ICMP error is applied when the error is counted, and the other notes after all packets of the
//! batch are counted. Packets without details thus cost one test.
//! Details are stored in side memory with a byte budget; details that exceed it are counted as
//! dropped.

use super::FlowTable;
use super::dns_metric::DnsCounters;
use super::entry::{Entry, Rare};
use super::icmp_errors::{ErrorCounts, Subject};
use super::offload::JoinedSegments;
use super::pending::Pending;
use crate::decode::TransportProtocol;
use crate::flow::options::FlowTableOptions;
use crate::flow::record::Flow;
use crate::packet::PacketRef;

/// Details of a flow.
#[derive(Clone, Debug, Default)]
pub(super) struct Details {
    /// Flow that the ICMP error refers to.
    pub(super) subject: Option<Box<Subject>>,
    /// ICMP errors that refer to the flow.
    pub(super) errors: Option<Box<ErrorCounts>>,
    /// Joined segments of the flow.
    pub(super) joined: Option<Box<JoinedSegments>>,
    /// DNS messages of the flow.
    pub(super) dns: Option<Box<DnsCounters>>,
}

impl Details {
    /// Returns the size of the details that is charged to the budget, in bytes.
    pub(super) fn bytes(&self) -> usize {
        reserved(&self.subject)
            + reserved(&self.errors)
            + reserved(&self.joined)
            + reserved(&self.dns)
    }

    /// Sets the fields of a record.
    pub(super) fn fill(&self, flow: &mut Flow, entry: &Entry) {
        flow.about = self.subject.as_ref().map(|about| Box::new(about.record()));
        flow.icmp_errors = self.errors.as_ref().map(|errors| Box::new(errors.record()));
        flow.offload = self
            .joined
            .as_ref()
            .map(|joined| Box::new(joined.record(entry)));
        flow.dns_metric = self.dns.as_ref().map(|dns| Box::new(dns.record()));
    }
}

impl FlowTable {
    /// Adds notes for the details of the current packet, whose innermost encapsulation is in
    /// `slots[slot]`; `around` is the hash of the enclosing flow.
    #[inline(always)]
    pub(super) fn note_details(
        &mut self,
        packet: &PacketRef<'_>,
        slots: &[Pending],
        slot: u32,
        around: u64,
    ) {
        if self.options.recorded {
            return;
        }
        if self.encapsulations.embedded().is_some() {
            self.note_error(*packet, slots, slot, around);
            return;
        }
        // A frame this short can hide a joined segment only if an end announced small segments.
        if packet.wire_len <= MAX_PACKET && self.smallest_segment == u32::MAX {
            return;
        }
        let Some(part) = self.encapsulations.last() else {
            return;
        };
        if let (Some(network), Some(transport)) = (&part.network, &part.transport)
            && (network.length > MAX_PACKET
                || packet.wire_len > MAX_FRAME
                || transport.payload_len > self.smallest_segment)
            && transport.protocol == TransportProtocol::Tcp
        {
            self.note_joined(*packet, slot);
        }
    }

    /// Applies the notes of a batch about joined segments to the flows in which its packets were
    /// counted, and removes all notes.
    #[inline(always)]
    pub(super) fn apply_notes(&mut self, pending: &[Pending]) {
        if !self.joined_notes.is_empty() {
            self.apply_joined_notes(pending);
        }
        self.error_notes.clear();
    }

    /// Returns the record in which a packet was counted; `None` if the record was removed since.
    pub(super) fn counted_record(&self, part: &Pending) -> Option<u32> {
        let mode = self.options.layer_key_mode;
        let record = part.record()?;
        let entry = self.arena.get(record);
        (entry.is_alive() && entry.key.is_same(&part.key, mode)).then_some(record)
    }

    /// Returns a detail of a flow, which is created if the flow has none. Returns `None` and counts
    /// the detail as dropped if the byte budget does not allow it.
    pub(super) fn detail<T: Default>(
        &mut self,
        record: u32,
        field: fn(&mut Details) -> &mut Option<Box<T>>,
    ) -> Option<&mut T> {
        let rare = self.rare.get_mut(self.arena.get(record).cold.rare);
        let details = rare.and_then(|rare| rare.details.as_deref_mut());
        let has_detail = details.is_some_and(|details| field(details).is_some());
        if !has_detail && !self.takes_details_bytes(detail_bytes::<T>()) {
            return None;
        }
        let details = self.make_rare(record)?.details.get_or_insert_default();
        Some(&mut **field(details).get_or_insert_default())
    }

    /// Charges bytes to the budget for details. Returns `false` and counts a dropped detail if the
    /// budget is exhausted.
    pub(super) fn takes_details_bytes(&mut self, bytes: usize) -> bool {
        let has_room = self.details_bytes + bytes <= details_limit(&self.options);
        if has_room {
            self.details_bytes += bytes;
        } else {
            self.stats.details_dropped += 1;
        }
        has_room
    }
}

/// Returns the bytes that a detail is charged for, including a [`Rare`], [`Details`], and the data
/// that the detail owns.
pub(super) const fn detail_bytes<T>() -> usize {
    size_of::<T>() + size_of::<Rare>() + size_of::<Details>() + OWNED_BYTES
}

fn reserved<T>(detail: &Option<Box<T>>) -> usize {
    detail.as_ref().map_or(0, |_| detail_bytes::<T>())
}

/// Returns the byte budget for details and the network index: 1/32 of
/// [`FlowTableOptions::max_bytes`], at most 16 MiB.
pub(super) fn details_limit(options: &FlowTableOptions) -> usize {
    match options.max_bytes {
        _ if options.recorded => 0,
        Some(bytes) => (bytes / 32).min(MAX_DETAILS_BYTES),
        None => MAX_DETAILS_BYTES,
    }
}

/// Maximum byte budget for details.
const MAX_DETAILS_BYTES: usize = 16 << 20;
/// Maximum size of the data that a detail owns, in bytes: the DNS name of a failure and its
/// strings.
const OWNED_BYTES: usize = 384;
/// Maximum size of an IP packet on a link without jumbo frames, in bytes.
pub(super) const MAX_PACKET: u32 = 1500;
/// Maximum size of a frame whose IP packet has at most [`MAX_PACKET`] bytes, in bytes.
const MAX_FRAME: u32 = 1514;
