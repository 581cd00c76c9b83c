//! Creation of a flow from its first packet.

use super::FlowTable;
use super::batch_packets::BatchPackets;
use super::details::{Details, detail_bytes};
use super::entry::{
    Cold, END_IDENTIFIED, Entry, HAS_ICMP, HAS_LINK, HAS_NETWORK, HAS_OTHER_NETWORK, HAS_SCTP,
    HAS_TCP, HAS_TRANSPORT, HAS_UDP, HOT_ALIVE, HOT_SWAPPED, Hot, MARKS_BYTES, NONE, OtherNetwork,
    Rare, TcpTimes,
};
use super::fragments::has_ip_metric;
use super::icmp_errors::Subject;
use super::pending::{IS_SWAPPED, Pending};
use super::side_limit;
use crate::decode::{Encapsulation, NetworkHeader, NetworkProtocol, TransportProtocol};
use crate::flow::metric::IpMetric;

impl FlowTable {
    /// Creates a flow for an encapsulation, evicting other flows if the table is full.
    ///
    /// Returns its record number.
    #[cold]
    pub(super) fn begin_flow(
        &mut self,
        pending: &Pending,
        parent: Option<u32>,
        packets: BatchPackets<'_>,
    ) -> u32 {
        let parent = parent.filter(|record| *record != NONE);
        let parent_uuid = parent.map_or(0, |record| {
            self.arena.get_mut(record).hot.ends |= END_IDENTIFIED;
            self.identifiers(record).uuid
        });
        let evicted = self.stats.evicted;
        while self.len() >= self.limit
            || self.side_bytes > side_limit(&self.options) && self.index.len() > 0
        {
            self.evict();
        }
        let first = self.first_packet(pending, packets);
        let class = |name: &str| timeout_class(&self.options, name);
        let path = self.paths.number(&first.part.layers, class);
        let origin = first.part.marks.capture_origin();
        let origin = origin.filter(|_| !self.options.recorded);
        let rare = self.insert_rare(&first, path.is_none(), origin.is_some());
        let mut entry = self.new_entry(pending, &first);
        entry.cold.parent_uuid = parent_uuid;
        entry.cold.path = path.unwrap_or(u16::MAX);
        entry.cold.rare = rare;
        entry.cold.class = self.class(&entry);
        let class = entry.cold.class;
        let record = self.arena.insert(entry);
        self.mark_touched(record);
        self.queues[usize::from(class)].push(&mut self.arena, record);
        self.index.insert(pending.hash, record);
        self.index_network(record);
        self.stats.created += 1;
        if self.stats.evicted > evicted {
            self.note_evictions(record);
        }
        if origin.is_some() {
            self.side_numbers_mut(record).origin = origin;
        }
        // E3: the flow to which the packet would have belonged may have been removed from the
        // table.
        let lateness = self.timers.now().saturating_sub(pending.timestamp.as_ms());
        if lateness > self.holds.of(self.arena.get(record)) && self.is_replay {
            self.stats.late_packets += 1;
            // The clock has advanced since a flow with this key and start was removed.
            let clock = self.timers.now().cast_unsigned();
            self.side_numbers_mut(record).occurrence = (clock as u32).max(1);
        }
        record
    }

    /// Decodes the first packet of a flow again: that is cheaper than storing the encapsulations of
    /// every packet of a batch for the few that begin a flow. The result is the same.
    #[inline]
    fn first_packet(&mut self, pending: &Pending, packets: BatchPackets<'_>) -> FirstPacket {
        let packet = packets.of(pending);
        let encapsulations = &mut self.first_encapsulations;
        let stopped = if let Some(joined) = packets.joined(pending) {
            let at = joined.at();
            self.decoder.decode_reassembled(packet, at, encapsulations)
        } else {
            self.decoder.decode(packet, encapsulations)
        };
        packets.origin(pending).mark(encapsulations);
        debug_assert!(
            stopped.is_ok() || !encapsulations.is_empty(),
            "a part was there before"
        );
        let index = usize::from(pending.part);
        let part = encapsulations.get(index).copied().unwrap_or_default();
        let recorded = self.options.recorded;
        let other_network = part.network.filter(|_| recorded).filter(|network| {
            let ends = encapsulations.key_network(index);
            ends != Some((network.source, network.destination))
        });
        let mut layers = layers(&part);
        if other_network.is_some() {
            layers |= HAS_OTHER_NETWORK;
        }
        let is_innermost = index + 1 == encapsulations.len();
        let embedded = encapsulations.embedded().filter(|_| is_innermost);
        FirstPacket {
            part,
            layers,
            other_network,
            has_ip_metric: self.options.ip_defrag && has_ip_metric(encapsulations, index, recorded),
            subject: embedded.map(Subject::new),
        }
    }

    /// Stores the data of a new flow that few flows have: among them its layer path if `stores_path`,
    /// and its marks unless `has_origin`. Returns the number of the data, or `NONE` if there is none.
    #[inline]
    fn insert_rare(&mut self, first: &FirstPacket, stores_path: bool, has_origin: bool) -> u32 {
        let (part, recorded) = (&first.part, self.options.recorded);
        let has_marks = !recorded && !part.marks.is_empty() && !has_origin;
        let is_tcp = first.layers & HAS_TRANSPORT == HAS_TCP;
        let wants_tcp = self.options.extra_tcp_metric || self.options.reassemble_tcp;
        let wants_round_trips = self.options.extra_rtt_metric || self.options.reassemble_tcp;
        let has_tcp = wants_tcp && is_tcp;
        let has_round_trips = wants_round_trips && (is_tcp || part.icmp.is_some()) && !recorded;
        let subject = first
            .subject
            .filter(|_| self.takes_details_bytes(detail_bytes::<Subject>()));
        let is_needed = has_marks
            || subject.is_some()
            || first.other_network.is_some()
            || has_tcp
            || has_round_trips
            || first.has_ip_metric
            || stores_path;
        // Built only where it is needed: few flows have one, and it is large.
        if !is_needed {
            return NONE;
        }
        let details = subject.map(|subject| Details {
            subject: Some(Box::new(subject)),
            ..Details::default()
        });
        self.side_bytes += if has_marks { MARKS_BYTES } else { 0 };
        self.rare.insert(Rare {
            ip: first.has_ip_metric.then(IpMetric::default),
            network: first.other_network.map(|network| OtherNetwork {
                is_v4: network.protocol == NetworkProtocol::Ipv4,
                source: network.source,
                destination: network.destination,
            }),
            tcp: has_tcp.then(TcpTimes::default),
            path: stores_path.then_some(part.layers),
            round_trips: has_round_trips.then(Box::default),
            marks: has_marks.then(|| Box::new(part.marks)),
            details: details.map(Box::new),
            ..Rare::default()
        })
    }

    /// Returns the entry of a new flow, without the values that depend on other tables.
    #[inline]
    fn new_entry(&self, pending: &Pending, first: &FirstPacket) -> Entry {
        let part = &first.part;
        let (a_is_upper, opener) = self.opener(pending, part);
        let is_turned = a_is_upper != (pending.flags & IS_SWAPPED != 0);
        let hot = Hot {
            opener,
            last: i64::MIN,
            touched: self.timers.interval(),
            flags: HOT_ALIVE | if a_is_upper { HOT_SWAPPED } else { 0 },
            ..Hot::default()
        };
        let cold = Cold {
            start: pending.timestamp.as_ms(),
            parent_uuid: 0,
            vlan_id: part.vlan_id,
            ports: part.transport.map_or([0; 2], |ports| {
                if is_turned {
                    [ports.destination, ports.source]
                } else {
                    [ports.source, ports.destination]
                }
            }),
            icmp: part.icmp.map_or(0, |icmp| {
                u32::from(icmp.kind as u8) << 24 | u32::from(icmp.code) << 16 | u32::from(icmp.id)
            }),
            tunnel_id: part.network.map_or(0, |network| {
                u32::try_from(network.tunnel_id).unwrap_or(u32::MAX)
            }),
            path: u16::MAX,
            class: 0,
            layers: first.layers,
            interval: NONE,
            rare: NONE,
            previous: NONE,
            next: NONE,
            born: self.timers.interval(),
            number: 0,
        };
        Entry {
            key: pending.key,
            hot,
            cold,
        }
    }
}

/// Part of a flow that its first packet determines.
struct FirstPacket {
    /// Encapsulation of the flow.
    part: Encapsulation,
    /// `HAS_*` flags of the encapsulation.
    layers: u8,
    /// IP header, if its addresses differ from those of the key.
    other_network: Option<NetworkHeader>,
    /// Whether the flow counts IP fragments.
    has_ip_metric: bool,
    /// Flow that the ICMP error refers to.
    subject: Option<Subject>,
}

/// Returns the `HAS_*` flags of an encapsulation.
fn layers(part: &Encapsulation) -> u8 {
    let mut layers = 0;
    if part.link.is_some() {
        layers |= HAS_LINK;
    }
    // An IP header truncated before its addresses results in no network layer.
    if part
        .network
        .is_some_and(|network| !network.source.is_none())
    {
        layers |= HAS_NETWORK;
    }
    if part.icmp.is_some() {
        layers |= HAS_ICMP;
    }
    layers
        | match part.transport.map(|transport| transport.protocol) {
            Some(TransportProtocol::Tcp) => HAS_TCP,
            Some(TransportProtocol::Udp) => HAS_UDP,
            Some(_) => HAS_SCTP,
            None => 0,
        }
}

/// Returns the index of the age queue for flows of an application: 1 + its index in
/// [`FlowTableOptions::application_timeouts`](crate::flow::FlowTableOptions::application_timeouts),
/// or 0 if it has no timeout.
pub(super) fn timeout_class(options: &crate::flow::FlowTableOptions, application: &str) -> u8 {
    let timeouts = options
        .application_timeouts
        .iter()
        .take(super::MAX_TIMEOUTS);
    let mut numbered = (1_u8..).zip(timeouts);
    let found = numbered.find(|(_, (name, timeout))| {
        // COMPAT: recorded values of Skydive, where only uppercase names can match.
        let is_named = if options.recorded {
            name.to_uppercase() == application
        } else {
            name.eq_ignore_ascii_case(application)
        };
        is_named && !timeout.is_zero()
    });
    found.map_or(0, |(class, _)| class)
}
