//! IP fragments: reassembled, then keyed and counted as one packet.

use super::FlowTable;
use super::batch_packets::PacketOrigin;
use super::pending::{IS_COUNTED, IS_FRAGMENTED, Pending};
use crate::decode::{
    DefragOptions, Defragmenter, Encapsulations, Fragment, Layer, NetworkProtocol, Reassembled,
    Reassembly,
};
use crate::flow::key_extras::around_fragment;
use crate::flow::options::FlowTableOptions;
use crate::packet::{CapturePoint, LinkType, PacketRef};
use crate::time::Timestamp;

/// State for reassembling fragments.
#[derive(Debug)]
pub(super) struct Fragments {
    defragmenter: Defragmenter,
    /// Packets joined in the current batch are `joined[..len]`; the other elements are reusable
    /// buffers.
    joined: Vec<JoinedPacket>,
    len: usize,
}

/// Packet joined from fragments.
#[derive(Clone, Debug)]
pub(super) struct JoinedPacket {
    frame: Vec<u8>,
    link_type: LinkType,
    timestamp: Timestamp,
    joined: Reassembled,
    point: CapturePoint,
}

/// Bit of a packet number that marks an index into [`Fragments::joined`] instead of the batch.
const IS_JOINED: u16 = 0x8000;

impl Fragments {
    /// Returns the state, or `None` unless [`FlowTableOptions::ip_defrag`] is set.
    pub(super) fn new(options: &FlowTableOptions) -> Option<Box<Self>> {
        if !options.ip_defrag {
            return None;
        }
        // COMPAT: recorded values of Skydive, which rejects a last fragment of less than 8 bytes.
        let min_last_fragment_len = if options.recorded { 8 } else { 1 };
        let limits = DefragOptions::default()
            .with_max_bytes(fragments_limit(options))
            .with_min_last_fragment_len(min_last_fragment_len);
        Some(Box::new(Self {
            defragmenter: Defragmenter::new(limits),
            joined: Vec::new(),
            len: 0,
        }))
    }

    /// Returns the allocated size, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let frames = self.joined.iter().map(|packet| packet.frame.capacity());
        self.defragmenter.bytes() + frames.sum::<usize>()
    }

    /// Marks the joined packets of the previous batch as reusable.
    pub(super) const fn begin_batch(&mut self) {
        self.len = 0;
    }

    /// Returns the joined packet with a packet number; `None` if the number is an index into the
    /// batch.
    pub(super) fn joined(&self, number: u16) -> Option<&JoinedPacket> {
        if number & IS_JOINED == 0 {
            return None;
        }
        self.joined.get(usize::from(number & !IS_JOINED))
    }

    /// Adds a fragment; a completed packet becomes `joined[len - 1]`.
    fn add(&mut self, packet: PacketRef<'_>, fragment: Fragment) -> Reassembly {
        if self.len == self.joined.len() {
            self.joined.push(JoinedPacket {
                frame: Vec::new(),
                link_type: packet.link_type,
                timestamp: Timestamp::ZERO,
                joined: Reassembled::default(),
                point: CapturePoint::ONLY,
            });
        }
        let Some(slot) = self.joined.get_mut(self.len) else {
            return Reassembly::Rejected;
        };
        let joining = self.defragmenter.add(packet, fragment, &mut slot.frame);
        if let Reassembly::Complete(joined) = joining {
            slot.link_type = packet.link_type;
            slot.timestamp = packet.timestamp;
            slot.joined = joined;
            slot.point = fragment.point;
            self.len += 1;
        }
        joining
    }
}

impl JoinedPacket {
    /// Returns the offset of the fragmented IP header in the packet, in bytes.
    pub(super) const fn at(&self) -> u32 {
        self.joined.at
    }

    /// Returns the capture point of the last fragment.
    pub(super) const fn point(&self) -> CapturePoint {
        self.point
    }

    /// Returns the packet as if it had not been fragmented.
    pub(super) fn packet(&self) -> PacketRef<'_> {
        PacketRef {
            link_type: self.link_type,
            timestamp: self.timestamp,
            data: &self.frame,
            wire_len: self.joined.wire_len,
        }
    }
}

impl FlowTable {
    /// Decodes and keys a packet or, if it is a fragment, the packet that it completes.
    #[inline(never)]
    pub(super) fn decode_reassembling(
        &mut self,
        packet: PacketRef<'_>,
        origin: PacketOrigin,
        slots: &mut [Pending],
        len: &mut usize,
    ) {
        let stopped = self.decoder.decode(packet, &mut self.encapsulations);
        origin.mark(&mut self.encapsulations);
        let Some(mut fragment) = self.encapsulations.fragment() else {
            if self.passes(packet) {
                self.key_encapsulations(packet, origin.number, stopped, slots, len);
            }
            return;
        };
        let Some(mut fragments) = self.fragments.take() else {
            return;
        };
        let (mode, ignore) = (self.options.layer_key_mode, self.options.key_ignore);
        if !self.options.recorded {
            fragment.around = around_fragment(&self.encapsulations, mode, ignore, self.seed);
        }
        match fragments.add(packet, fragment) {
            Reassembly::Complete(joined) => {
                self.stats.fragments.joined += u64::from(joined.pending_fragments) + 1;
                let index = fragments.len - 1;
                if let Some(whole) = fragments.joined.get(index) {
                    self.take_joined(whole, index, packet, slots, len);
                }
            }
            Reassembly::Rejected => self.stats.fragments.refused += 1,
            _ => {}
        }
        self.stats.fragments.lost = fragments.defragmenter.lost();
        self.fragments = Some(fragments);
    }

    /// Keys a joined packet; `last` is the fragment that completed it.
    fn take_joined(
        &mut self,
        whole: &JoinedPacket,
        index: usize,
        last: PacketRef<'_>,
        slots: &mut [Pending],
        len: &mut usize,
    ) {
        let (packet, joined) = (whole.packet(), &whole.joined);
        if !self.passes(packet) {
            self.stats.filtered += u64::from(joined.pending_fragments);
            return;
        }
        // COMPAT: recorded values of Skydive, which counts only the last fragment.
        let (fragments, wire_bytes, ip_bytes) = if self.options.recorded {
            (1, 0, 0)
        } else {
            let fragments = u64::from(joined.pending_fragments) + 1;
            (
                fragments,
                joined.pending_wire_bytes,
                joined.pending_ip_bytes,
            )
        };
        let first = *len;
        let stopped = self
            .decoder
            .decode_reassembled(packet, joined.at, &mut self.encapsulations);
        let origin = PacketOrigin {
            number: IS_JOINED | index as u16,
            point: whole.point,
        };
        origin.mark(&mut self.encapsulations);
        self.key_encapsulations(packet, origin.number, stopped, slots, len);
        // Encapsulations outside the datagram were in every fragment: they are counted once per
        // fragment, with the bytes of all fragments from their own offset on.
        let mut layers = self.encapsulations.iter().map(|part| part.layers);
        let inmost = layers.position(|layers| layers.contains(Layer::FRAGMENT));
        let outer = inmost.map_or(self.encapsulations.len(), |inmost| inmost + 1);
        let pending = slots.get_mut(first..*len).unwrap_or_default();
        for (part, slot) in self.encapsulations.iter().zip(pending).take(outer) {
            slot.bytes = if part.link.is_some() || part.network.is_none() {
                let before = u64::from(part.offset) * fragments;
                (wire_bytes + u64::from(last.wire_len)).saturating_sub(before)
            } else {
                ip_bytes + u64::from(joined.last_ip_bytes)
            };
            slot.flags |= IS_FRAGMENTED;
        }
    }

    /// Counts the fragments of a joined packet in its flow.
    #[cold]
    pub(super) fn count_fragments(
        &mut self,
        record: u32,
        pending: &Pending,
        packet: &JoinedPacket,
        direction: usize,
        is_first: bool,
    ) {
        let (recorded, joined) = (self.options.recorded, &packet.joined);
        let entry = self.arena.get_mut(record);
        let wanted = IS_COUNTED | IS_FRAGMENTED;
        if pending.flags & wanted == wanted && !recorded {
            entry.hot.packets[direction] += u64::from(joined.pending_fragments);
            self.extend_start(record, joined.begun.as_ms());
        }
        // COMPAT: recorded values of Skydive, which counts only the first datagram of a flow.
        if recorded && !is_first {
            return;
        }
        let rare = self.rare.get_mut(self.arena.get(record).cold.rare);
        if let Some(metric) = rare.and_then(|rare| rare.ip.as_mut()) {
            metric.fragments += i64::from(joined.pending_fragments);
            metric.fragment_errors += i64::from(joined.rejected_fragments);
        }
    }

    /// Drops incomplete datagrams that exceeded their timeout at `now`; with `None`, drops all
    /// incomplete datagrams.
    pub(super) fn expire_fragments(&mut self, now: Option<Timestamp>) {
        if let Some(fragments) = &mut self.fragments {
            match now {
                Some(now) => fragments.defragmenter.expire(now),
                None => fragments.defragmenter.clear(),
            }
            self.stats.fragments.lost = fragments.defragmenter.lost();
        }
    }

    /// Returns whether the filter matches a packet; a packet that does not match is counted as
    /// filtered.
    fn passes(&mut self, packet: PacketRef<'_>) -> bool {
        let filter = self.filter.as_ref();
        let passes = filter.is_none_or(|filter| filter.matches(&packet));
        self.stats.filtered += u64::from(!passes);
        passes
    }
}

/// Returns whether the flow of an encapsulation has an [`IpMetric`](crate::flow::IpMetric): the
/// encapsulation is the innermost, and the packet has IP.
pub(super) fn has_ip_metric(encapsulations: &Encapsulations, index: usize, recorded: bool) -> bool {
    // COMPAT: recorded values of Skydive, which reassembles only IPv4.
    let counts = |protocol| !recorded || protocol == NetworkProtocol::Ipv4;
    let mut networks = encapsulations.iter().filter_map(|part| part.network);
    index + 1 == encapsulations.len() && networks.any(|network| counts(network.protocol))
}

/// Returns the byte budget for fragments: an eighth of [`FlowTableOptions::max_bytes`], at most the
/// default of the defragmenter.
pub(super) fn fragments_limit(options: &FlowTableOptions) -> usize {
    let most = DefragOptions::default().max_bytes;
    match options.max_bytes {
        _ if !options.ip_defrag => 0,
        Some(bytes) => (bytes / 8).min(most),
        None => most,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Flow, FlowQuery};
    use crate::packet::{PacketBatch, PacketHeader};

    /// Returns one of the three 8-byte fragments of a 24-byte UDP datagram.
    fn fragment(id: u8, number: u8) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        let more = if number < 2 { 0x20 } else { 0 };
        frame.extend([0x45, 0, 0, 28, 0, id, more, number, 64, 17, 0, 0]);
        frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0, 5, 0, 6, 0, 24, 0, 0]);
        frame
    }

    fn process(table: &mut FlowTable, frames: &[Vec<u8>]) {
        let (mut buffer, mut headers) = (Vec::new(), Vec::new());
        for (second, frame) in (0..).zip(frames) {
            headers.push(PacketHeader {
                timestamp: Timestamp::from_ms(1000 * second),
                offset: buffer.len() as u32,
                captured_len: frame.len() as u32,
                wire_len: 60,
                point: CapturePoint::ONLY,
            });
            buffer.extend(frame);
        }
        table.process(&PacketBatch {
            link_type: LinkType::ETHERNET,
            buffer: &buffer,
            headers: &headers,
        });
    }

    fn table(recorded: bool) -> FlowTable {
        FlowTable::new(
            FlowTableOptions::default()
                .with_ip_defrag(true)
                .with_recorded(recorded),
        )
    }

    fn flows(table: &FlowTable) -> Vec<Flow> {
        table.query(&FlowQuery::default()).unwrap().flows
    }

    #[test]
    fn every_fragment_counts_once_its_datagram_is_whole() {
        for (recorded, packets, bytes, fragments) in [(false, 6, 360, 4), (true, 2, 120, 2)] {
            let mut table = table(recorded);
            let both = [1, 2].map(|id| [2, 0, 1].map(|number| fragment(id, number)));
            process(&mut table, both.as_flattened());
            let flows = flows(&table);
            assert_eq!(flows.len(), 1);
            assert_eq!(flows[0].layers_path.as_str(), "Ethernet/IPv4/Fragment/UDP");
            let metric = flows[0].metric.unwrap();
            assert_eq!((metric.ab_packets, metric.ab_bytes), (packets, bytes));
            assert_eq!(flows[0].ip_metric.unwrap().fragments, fragments);
            assert_eq!(table.stats().fragments.joined, 6);
        }
    }

    #[test]
    fn a_tunnel_counts_every_fragment_and_what_it_carries_once() {
        // A datagram with GRE and ICMP, fragmented after 8 bytes.
        let mut gre = vec![0, 0, 8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0];
        gre.extend([64, 1, 0, 0, 192, 168, 0, 1, 192, 168, 0, 2]);
        gre.extend([8, 0, 0, 0, 0, 1, 0, 1]);
        let frames = [&gre[..8], &gre[8..]].map(|payload| {
            let number = u8::from(payload.len() > 8);
            let mut frame = fragment(1, number);
            frame[17] = 20 + payload.len() as u8;
            frame[20] = if number == 0 { 0x20 } else { 0 };
            frame[23] = 47;
            frame.truncate(34);
            frame.extend(payload);
            frame
        });
        let mut table = table(false);
        process(&mut table, &frames);
        let flows = flows(&table);
        let found = |path: &str| {
            let flow = flows.iter().find(|flow| flow.layers_path.as_str() == path);
            let metric = flow.unwrap().metric.unwrap();
            (metric.ab_packets, metric.ab_bytes)
        };
        assert_eq!(found("Ethernet/IPv4/Fragment/GRE"), (2, 120));
        assert_eq!(found("IPv4/ICMPv4"), (1, 28));
        let inner = flows.iter().find(|flow| !flow.parent_uuid.is_empty());
        assert_eq!(inner.unwrap().ip_metric.unwrap().fragments, 1);
    }

    #[test]
    fn fragments_of_ipv6_inside_ipv4_are_joined() {
        // A TCP header of 20 bytes in fragments of 16 and 4 bytes.
        let frames = [(0_u16, 16_u8, 1_u8), (2, 4, 0)].map(|(unit, len, more)| {
            let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
            frame.extend([0x45, 0, 0, 68 + len, 0, 0, 0, 0, 64, 41, 0, 0]);
            frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
            frame.extend([0x60, 0, 0, 0, 0, 8 + len, 44, 64]);
            frame.extend([[0xfd; 16], [0xfe; 16]].concat());
            let offset = (unit << 3 | u16::from(more)).to_be_bytes();
            frame.extend([6, 0, offset[0], offset[1], 0, 0, 0, 9]);
            let header = [
                0, 5, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0,
            ];
            let from = usize::from(unit) * 8;
            frame.extend(&header[from..from + usize::from(len)]);
            frame
        });
        let mut table = table(false);
        process(&mut table, &frames);
        let flows = flows(&table);
        let found = |path: &str| {
            let flow = flows.iter().find(|flow| flow.layers_path.as_str() == path);
            let metric = flow.unwrap().metric.unwrap();
            (metric.ab_packets, metric.ab_bytes)
        };
        assert_eq!(found("Ethernet/IPv4"), (2, 120));
        let inner = "IPv6/IPv6Fragment/Fragment/TCP";
        assert_eq!(found(inner), (2, 48 + 16 + 48 + 4));
    }

    #[test]
    fn a_flow_begins_with_the_first_fragment() {
        let mut table = table(false);
        process(&mut table, &[0, 1, 2].map(|number| fragment(1, number)));
        let flow = flows(&table).remove(0);
        assert_eq!((flow.start, flow.last), (0, 2000));
    }

    #[test]
    fn fragments_of_different_flows_are_not_joined() {
        let tagged =
            |frame: Vec<u8>, id: u8| [&frame[..12], &[0x81, 0, 0, id], &frame[12..]].concat();
        let labeled = |frame: Vec<u8>, label: u8| {
            let stack = [0x88, 0x47, 0, 0, label << 4 | 1, 64];
            [&frame[..12], &stack, &frame[14..]].concat()
        };
        let in_session = |frame: Vec<u8>, id: u8| {
            let header = [0x88, 0x64, 0x11, 0, 0, id, 0, 30, 0, 0x21];
            [&frame[..12], &header, &frame[14..]].concat()
        };
        let forwarded = |mut frame: Vec<u8>, mac: u8| {
            frame[11] = mac;
            frame
        };
        type Path = fn(Vec<u8>, u8) -> Vec<u8>;
        let paths: [Path; 4] = [tagged, labeled, in_session, forwarded];
        for path in paths {
            let mut table = table(false);
            // Two copies of one datagram, interleaved.
            let frames = [0, 1, 2].map(|number| [1, 2].map(|copy| path(fragment(1, number), copy)));
            process(&mut table, frames.as_flattened());
            let mut flows = flows(&table);
            flows.retain(|flow| flow.transport.is_some());
            let packets = |flow: &Flow| flow.metric.unwrap().ab_packets;
            assert_eq!(flows.len(), 2);
            assert_eq!(table.stats().fragments.joined, 6);
            assert_eq!(packets(&flows[0]), packets(&flows[1]));
        }
    }

    #[test]
    fn fragments_that_differ_only_in_what_is_ignored_are_joined() {
        let options = FlowTableOptions::default()
            .with_ip_defrag(true)
            .with_key_ignore(crate::flow::KeyIgnore::VLAN);
        let mut table = FlowTable::new(options);
        let frames = [0, 1, 2].map(|number| {
            let frame = fragment(1, number);
            [&frame[..12], &[0x81, 0, 0, 1 + number], &frame[12..]].concat()
        });
        process(&mut table, &frames);
        assert_eq!((table.len(), table.stats().fragments.joined), (1, 3));
    }

    #[test]
    fn a_filter_sees_the_joined_packet() {
        struct PortSix;
        impl crate::flow::PacketFilter for PortSix {
            fn matches(&self, packet: &PacketRef<'_>) -> bool {
                packet.data.get(36..38) == Some(&[0, 6]) && packet.data.len() == 58
            }
        }
        let mut table = table(false);
        table.set_filter(Some(Box::new(PortSix)));
        process(&mut table, &[0, 1, 2].map(|number| fragment(1, number)));
        assert_eq!((table.len(), table.stats().filtered), (1, 0));
    }

    #[test]
    fn fragments_that_never_meet_are_counted_as_lost() {
        let mut table = table(false);
        process(&mut table, &[fragment(1, 0), fragment(2, 2)]);
        assert_eq!((table.len(), table.stats().fragments.lost), (0, 0));
        table.update(Timestamp::from_ms(30_500), &mut Vec::<Flow>::new());
        assert_eq!(table.stats().fragments.lost, 1);
        table.flush(&mut Vec::<Flow>::new());
        assert_eq!(table.stats().fragments.lost, 2);
    }

    #[test]
    fn fragments_are_counted_separately_by_default() {
        let mut table = FlowTable::new(FlowTableOptions::default());
        process(&mut table, &[0, 1, 2].map(|number| fragment(1, number)));
        let flows = flows(&table);
        assert_eq!(flows[0].layers_path.as_str(), "Ethernet/IPv4/Fragment");
        assert_eq!(
            (flows[0].metric.unwrap().ab_packets, flows[0].ip_metric),
            (3, None)
        );
    }
}
