//! `Entry`: the state of one exported flow.

use std::net::IpAddr;
use std::time::Duration;

use super::headers::{ICMP, ICMPV6};
use crate::export::{ExportCounters, FlowRecord, RecordOrigin};
use crate::flow::metric::FlowMetric;
use crate::flow::record::{ExportInfo, FinishType, Flow};
use crate::id::Id;
use crate::time::Timestamp;
use crate::value::Text;

/// State of one exported flow.
#[derive(Debug)]
pub(super) struct Entry {
    node_tid: Text,
    /// Part of the `UUID` that distinguishes flows with the same key.
    number: u64,
    /// Whether A is the lower end of the key.
    pub(super) is_a_low: bool,
    /// Counters from A to B, and from B to A.
    counts: [Counts; 2],
    pub(super) first: Timestamp,
    last: Timestamp,
    /// End of the interval that the last sent record covered; `None` before a record was sent.
    sent_until: Option<Timestamp>,
    /// Time of arrival of the last record.
    pub(super) seen_at: Timestamp,
    /// Whether the flow has changed since it was sent.
    pub(super) is_changed: bool,
    /// End of the flow as the exporter reported it; `None` if it reported none.
    finish: Option<FinishType>,
    /// ICMP type and code.
    pub(super) icmp: (u8, u8),
    /// MAC addresses of A and B.
    pub(super) macs: Option<([u8; 6], [u8; 6])>,
    application: Text,
    info: ExportInfo,
}

/// Packets and bytes in one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    packets: u64,
    bytes: u64,
    /// Packets in the exporter's last record, if it reports totals instead of deltas.
    total_packets: u64,
    total_bytes: u64,
    sent_packets: u64,
    sent_bytes: u64,
}

/// Counters of a record by end: sent from the lower end, and sent from the higher end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sides([SideCounts; 2]);

#[derive(Clone, Copy, Debug, Default)]
struct SideCounts {
    packets: u64,
    bytes: u64,
    is_total: bool,
}

impl Sides {
    /// Returns the counters of a record; `is_scaled`: multiplied by the sampling rate.
    pub(super) fn of(record: &FlowRecord<'_>, is_src_low: bool, is_scaled: bool) -> Self {
        let rate = record.sampling.filter(|_| is_scaled).unwrap_or(1).max(1);
        // The event of a firewall contains the totals of the whole connection.
        let is_event = record.firewall_event.is_some();
        let side = |counters: ExportCounters| SideCounts {
            packets: counters.packets.unwrap_or(0).saturating_mul(rate),
            bytes: counters.bytes.unwrap_or(0).saturating_mul(rate),
            is_total: counters.is_total || is_event,
        };
        let forward = side(record.counters);
        let backward = record.reverse.map(side).unwrap_or_default();
        Self(if is_src_low {
            [forward, backward]
        } else {
            [backward, forward]
        })
    }
}

impl Entry {
    pub(super) fn new(
        origin: &RecordOrigin,
        record: &FlowRecord<'_>,
        is_src_low: bool,
        node_tid: &Text,
        (first, last): (Timestamp, Timestamp),
    ) -> Self {
        // A bidirectional record may state that its destination opened the flow (RFC 5103).
        let begins_at_src = record.biflow_direction != Some(2);
        let macs = record.src_mac.zip(record.dst_mac);
        Self {
            node_tid: node_tid.clone(),
            number: 0,
            is_a_low: is_src_low == begins_at_src,
            counts: [Counts::default(); 2],
            first,
            last,
            sent_until: None,
            seen_at: last,
            is_changed: false,
            finish: None,
            icmp: icmp_of(record),
            macs: macs.map(|(src, dst)| {
                if begins_at_src {
                    (src, dst)
                } else {
                    (dst, src)
                }
            }),
            application: record.application.map(printable).unwrap_or_default(),
            info: export_info(origin, record, begins_at_src),
        }
        .numbered(origin)
    }

    /// Sets the number of the flow from its start and its exporter.
    fn numbered(mut self, origin: &RecordOrigin) -> Self {
        self.number = u64::from(origin.domain) << 32 ^ self.first.as_ms().unsigned_abs();
        self
    }

    /// Adds a record.
    pub(super) fn add(
        &mut self,
        record: &FlowRecord<'_>,
        sides: &Sides,
        is_src_low: bool,
        (first, last): (Timestamp, Timestamp),
        now: Timestamp,
    ) {
        let is_earlier = first < self.first && self.sent_until.is_none();
        if is_earlier && is_src_low != self.is_a_low && record.biflow_direction.is_none() {
            self.exchange_ends();
        }
        for (index, side) in sides.0.into_iter().enumerate() {
            // `counts` begins with A, `sides` with the lower end.
            let at = index ^ usize::from(!self.is_a_low);
            self.counts[at].add(side);
        }
        self.first = self.first.min(first);
        self.last = self.last.max(last);
        self.seen_at = now;
        if let Some(rate) = record.sampling {
            self.info.rate = i64::try_from(rate).unwrap_or(i64::MAX);
        }
        self.finish = finish_of(record).or(self.finish);
    }

    /// Sets whether the counters were multiplied by the sampling rate.
    pub(super) fn set_scaled(&mut self, is_scaled: bool) {
        self.info.scaled = is_scaled;
    }

    /// Exchanges A and B, because a packet of B was earlier.
    fn exchange_ends(&mut self) {
        self.is_a_low = !self.is_a_low;
        self.counts.swap(0, 1);
        self.macs = self.macs.map(|(a, b)| (b, a));
        let info = &mut self.info;
        std::mem::swap(&mut info.nat_a, &mut info.nat_b);
        std::mem::swap(&mut info.nat_a_port, &mut info.nat_b_port);
    }

    /// Returns whether the totals of a record are smaller than those of the flow, which means that
    /// a new flow has begun.
    pub(super) fn is_restarted_by(&self, sides: &Sides) -> bool {
        sides.0.into_iter().enumerate().any(|(index, side)| {
            let known = &self.counts[index ^ usize::from(!self.is_a_low)];
            side.is_total && side.bytes < known.total_bytes
        })
    }

    /// Returns how the flow ends at `now`; `None` if it continues.
    pub(super) fn finish_at(&self, now: Timestamp, expiry: Duration) -> Option<FinishType> {
        let silence = now.duration_since(self.seen_at);
        match self.finish {
            // Waits, because the record of the other direction may follow.
            Some(finish) if silence >= FINISH_DELAY => Some(finish),
            None if silence >= expiry => Some(FinishType::Timeout),
            _ => None,
        }
    }

    /// Fills in the record of the flow, and marks the counters as sent.
    pub(super) fn fill(&mut self, flow: &mut Flow, finish: FinishType) {
        let tid = &self.node_tid;
        let name = format!(
            "{tid}/{}/{}/{}",
            self.info.exporter, self.number, flow.tracking_id
        );
        let mut uuid = Id::derived(&name).to_string().replace('-', "");
        uuid.truncate(UUID_DIGITS);
        flow.uuid = uuid.into();
        flow.node_tid = tid.clone();
        // The name of an application port is more specific than the name of a layer.
        let last_layer = flow.layers_path.rsplit('/').next().unwrap_or_default();
        if !self.application.is_empty() && &*flow.application == last_layer {
            flow.application = self.application.clone();
        }
        let (start, last) = (self.first.as_ms(), self.last.as_ms());
        (flow.start, flow.last) = (start, last);
        let [ab, ba] = &self.counts;
        let metric = metric_of((ab.packets, ab.bytes), (ba.packets, ba.bytes), start, last);
        flow.metric = Some(metric);
        let since = self.sent_until.map_or(start, Timestamp::as_ms);
        let last_update = metric_of(ab.unsent(), ba.unsent(), since, last);
        flow.last_update_metric = Some(last_update);
        flow.finish_type = finish;
        flow.initiator = None;
        flow.export = Some(Box::new(self.info.clone()));
        self.counts.iter_mut().for_each(Counts::mark_sent);
        self.sent_until = Some(self.last);
        self.is_changed = false;
    }
}

/// Returns the data about the exporter of a flow, from its first record. A is the source of the
/// record if `begins_at_src`, otherwise its destination.
fn export_info(origin: &RecordOrigin, record: &FlowRecord<'_>, begins_at_src: bool) -> ExportInfo {
    let text = |address: Option<IpAddr>| {
        let address = address.map(|address| Text::from(address.to_string()));
        address.unwrap_or_default()
    };
    let name = |bytes: Option<&[u8]>| bytes.map(printable).unwrap_or_default();
    let port = |port: Option<u16>| port.unwrap_or(0).into();
    let direction = record.direction;
    let nat = record.translation;
    let (src, dst) = ((nat.src, nat.src_port), (nat.dst, nat.dst_port));
    let (a, b) = if begins_at_src {
        (src, dst)
    } else {
        (dst, src)
    };
    ExportInfo {
        exporter: origin.exporter.to_string().into(),
        domain: origin.domain,
        format: origin.format.name().into(),
        input: record.input.unwrap_or(0),
        output: record.output.unwrap_or(0),
        direction: direction.map_or(0, |direction| u32::from(direction) + 1),
        next_hop: text(record.next_hop.filter(|hop| !hop.is_unspecified())),
        src_as: record.src_as.unwrap_or(0),
        dst_as: record.dst_as.unwrap_or(0),
        src_mask: record.src_mask.unwrap_or(0).into(),
        dst_mask: record.dst_mask.unwrap_or(0).into(),
        nat_a: text(a.0),
        nat_a_port: port(a.1),
        nat_b: text(b.0),
        nat_b_port: port(b.1),
        user: name(record.user),
        vrf: name(record.vrf),
        ..ExportInfo::default()
    }
}

impl Counts {
    fn add(&mut self, side: SideCounts) {
        let SideCounts {
            packets,
            bytes,
            is_total,
        } = side;
        if is_total {
            self.packets += packets.saturating_sub(self.total_packets);
            self.bytes += bytes.saturating_sub(self.total_bytes);
            self.total_packets = self.total_packets.max(packets);
            self.total_bytes = self.total_bytes.max(bytes);
        } else {
            self.packets = self.packets.saturating_add(packets);
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }

    const fn unsent(&self) -> (u64, u64) {
        (
            self.packets.saturating_sub(self.sent_packets),
            self.bytes.saturating_sub(self.sent_bytes),
        )
    }

    fn mark_sent(&mut self) {
        (self.sent_packets, self.sent_bytes) = (self.packets, self.bytes);
    }
}

fn metric_of(ab: (u64, u64), ba: (u64, u64), start: i64, last: i64) -> FlowMetric {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    FlowMetric {
        ab_packets: number(ab.0),
        ab_bytes: number(ab.1),
        ba_packets: number(ba.0),
        ba_bytes: number(ba.1),
        start,
        last,
        rtt: 0,
    }
}

/// Returns the ICMP type and code; many exporters encode them in the destination port.
fn icmp_of(record: &FlowRecord<'_>) -> (u8, u8) {
    if !matches!(record.protocol, Some(ICMP | ICMPV6)) {
        return (0, 0);
    }
    match (record.icmp_type, record.dst_port) {
        (Some(icmp_type), _) => (icmp_type, record.icmp_code.unwrap_or(0)),
        (None, Some(port)) => {
            let [icmp_type, code] = port.to_be_bytes();
            (icmp_type, code)
        }
        (None, None) => (0, 0),
    }
}

/// Returns how a flow has ended, according to `flowEndReason`; `None` if the flow may continue.
fn finish_of(record: &FlowRecord<'_>) -> Option<FinishType> {
    const IDLE: u8 = 1;
    const END: u8 = 3;
    const RST: u16 = 4;
    match record.end_reason? {
        IDLE => Some(FinishType::Timeout),
        END if record
            .counters
            .tcp_flags
            .is_some_and(|flags| flags & RST != 0) =>
        {
            Some(FinishType::TcpRst)
        }
        END => Some(FinishType::TcpFin),
        _ => None,
    }
}

/// Converts a name from an exporter to a string of at most 256 bytes without control characters.
fn printable(bytes: &[u8]) -> Text {
    const MAX_BYTES: usize = 256;
    let bytes = bytes.get(..MAX_BYTES).unwrap_or(bytes);
    let text: String = String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    text.into()
}

/// Number of hexadecimal digits in a `UUID`: 64 bits, as for captured flows.
const UUID_DIGITS: usize = 16;
/// Time after which a flow whose end was reported is removed.
const FINISH_DELAY: Duration = Duration::from_secs(5);
