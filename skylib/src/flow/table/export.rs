//! Export: conversion of a table entry to the [`Flow`] record that clients receive, and access of
//! filters to the fields of an entry without building the record.
//!
//! Identifiers and strings are computed here, not per packet. The interval of `LastUpdateMetric`
//! depends on the reason for the export:
//!
//! | export | interval |
//! |---|---|
//! | query of a live table | last complete update interval |
//! | query of an ended table | current one up to the last packet, else the last complete one |
//! | removal | current one up to the last packet; if an update has sent the last packet, zero counters |
//! | update | current interval, up to the update |
//! | application timeout | current interval, with zero counters |

use std::fmt::{self, Write};

use super::FlowTable;
use super::entry::{
    Counters, Entry, HAS_ICMP, HAS_LINK, HAS_NETWORK, HAS_OTHER_NETWORK, OtherNetwork,
};
use super::layer_paths::PathInfo;
use crate::decode::{IcmpType, IpAddress};
use crate::filter::{Fields, Predicate};
use crate::flow::field::{FlowField, FlowFields, IntField, PlainInt, TextField};
use crate::flow::flow_ids::hex;
use crate::flow::metric::FlowMetric;
use crate::flow::record::{FinishType, Flow, FlowLayer, FlowProtocol, IcmpLayer, TransportLayer};
use crate::value::Text;

impl FlowTable {
    /// Returns the record of a flow for a query.
    pub(super) fn flow(&self, record: u32) -> Flow {
        let interval = self.visible_interval(self.arena.get(record));
        self.record(record, interval, false)
    }

    /// Returns the record of a flow for an update, and removes the raw packets that are sent with
    /// it.
    pub(super) fn updated_flow(&mut self, record: u32, now: i64) -> Flow {
        let entry = self.arena.get(record);
        let flow = self.record(record, Some(self.current_interval(entry, now)), false);
        let rare = entry.cold.rare;
        if let Some(rare) = self.rare.get_mut(rare) {
            rare.raw = Vec::new();
        }
        flow
    }

    /// Returns the final record of a flow that is being removed.
    pub(super) fn leaving_flow(&self, record: u32) -> Flow {
        let entry = self.arena.get(record);
        let was_touched = entry.hot.touched == self.timers.interval();
        let metric = if was_touched || self.options.recorded || self.options.final_only {
            self.leaving_interval(entry)
        } else {
            // An update has sent the last interval of the flow already.
            let updated = self.timers.updated()[0];
            let times = [updated, updated.max(entry.hot.last)];
            Some(self.metric(Counters::default(), times, 0))
        };
        self.record(record, metric, true)
    }

    /// Returns the final record of a flow that exceeded its application's timeout.
    pub(super) fn timed_out_flow(&self, record: u32, now: i64) -> Flow {
        let entry = self.arena.get(record);
        let metric = if self.options.recorded {
            // COMPAT: recorded values of Skydive, which sends the last interval twice.
            self.last_interval(entry)
        } else {
            Some(self.metric(Counters::default(), [self.timers.updated()[0], now], 0))
        };
        self.record(record, metric, true)
    }

    /// Returns the metric of all packets of a flow.
    fn total(&self, entry: &Entry) -> FlowMetric {
        let times = [entry.cold.start, entry.hot.last];
        self.metric(entry.counters(), times, entry.hot.rtt)
    }

    /// Returns a metric; `times` are its start and end in steady time, in Unix milliseconds.
    fn metric(&self, counters: Counters, times: [i64; 2], rtt: i64) -> FlowMetric {
        let [start, last] = times.map(|time| self.clock_steps.shown(time));
        counters.metric(start, last, rtt)
    }

    /// Returns the metric of the current interval, up to `now` (steady time, in Unix milliseconds).
    fn current_interval(&self, entry: &Entry, now: i64) -> FlowMetric {
        let base = self
            .intervals
            .get(entry.cold.interval)
            .map_or_else(Counters::default, |i| i.base);
        let is_new = entry.cold.born == self.timers.interval();
        let start = if is_new {
            entry.cold.start
        } else {
            self.timers.updated()[0]
        };
        let counters = entry.counters().since(base);
        self.metric(
            counters,
            [start, now],
            entry.latest_sample(self.options.recorded),
        )
    }

    /// Returns the metric of the latest interval of a flow that is being removed.
    fn leaving_interval(&self, entry: &Entry) -> Option<FlowMetric> {
        if entry.hot.touched == self.timers.interval() {
            Some(self.current_interval(entry, entry.hot.last))
        } else {
            self.last_interval(entry)
        }
    }

    /// Returns the metric of the latest interval for a query.
    fn visible_interval(&self, entry: &Entry) -> Option<FlowMetric> {
        if self.has_ended {
            self.leaving_interval(entry)
        } else {
            self.last_interval(entry)
        }
    }

    /// Returns the finish type for a query: in an ended table, every open flow has timed out.
    fn visible_finish(&self, entry: &Entry) -> FinishType {
        match entry.hot.finish {
            FinishType::NotFinished if self.has_ended => FinishType::Timeout,
            finish => finish,
        }
    }

    /// Returns the metric of the last complete interval; `None` if the flow began after it.
    fn last_interval(&self, entry: &Entry) -> Option<FlowMetric> {
        let current = self.timers.interval();
        if entry.cold.born == current {
            return None;
        }
        let last = current.wrapping_sub(1);
        let slot = self.intervals.get(entry.cold.interval);
        // The slab value describes the interval before `touched`. If `touched` is the current
        // interval, the value is that of the last complete interval. If `touched` is the last
        // complete interval, its counters are the totals minus the base. If `touched` is older,
        // nothing was counted.
        let (counters, rtt) = if entry.hot.touched == current {
            slot.map_or_else(Default::default, |slot| (slot.before, slot.rtt))
        } else if entry.hot.touched == last {
            let base = slot.map_or_else(Counters::default, |slot| slot.base);
            (
                entry.counters().since(base),
                entry.latest_sample(self.options.recorded),
            )
        } else {
            Default::default()
        };
        let [end, begin] = self.timers.updated();
        let start = if entry.cold.born == last {
            entry.cold.start
        } else {
            begin
        };
        Some(self.metric(counters, [start, end], rtt))
    }

    /// Builds a record. `leaves` means that the flow is being removed, so that open TCP streams
    /// count as complete.
    fn record(&self, record: u32, last_update_metric: Option<FlowMetric>, leaves: bool) -> Flow {
        let entry = self.arena.get(record);
        let (cold, hot) = (&entry.cold, &entry.hot);
        let rare = self.rare.get(cold.rare);
        let ids = self.identifiers(record);
        let path = self.path(entry);
        let link = (cold.layers & HAS_LINK != 0).then(|| {
            let (a, b) = entry.macs();
            FlowLayer {
                protocol: FlowProtocol::Ethernet,
                a: short_text(Mac(a)),
                b: short_text(Mac(b)),
                id: cold.vlan_id,
            }
        });
        let network = self.network(entry).map(|network| FlowLayer {
            protocol: if network.is_v4 {
                FlowProtocol::Ipv4
            } else {
                FlowProtocol::Ipv6
            },
            a: short_text(network.source),
            b: short_text(network.destination),
            id: entry.tunnel_id().into(),
        });
        let transport = entry.transport().map(|protocol| TransportLayer {
            protocol,
            a: cold.ports[0].into(),
            b: cold.ports[1].into(),
            id: 0,
        });
        let icmp = (cold.layers & HAS_ICMP != 0).then(|| icmp(cold.icmp));
        let extra = self.extra_fields(record);
        Flow {
            uuid: hex_text(ids.uuid),
            layers_path: path.text.clone(),
            application: self.application(entry, &path).clone(),
            link,
            network,
            transport,
            icmp,
            last_update_metric,
            metric: Some(self.total(entry)),
            tcp_metric: self.tcp_metric(entry, leaves),
            start: self.clock_steps.shown(cold.start),
            last: self.clock_steps.shown(hot.last),
            tracking_id: hex_text(ids.tracking_id),
            l3_tracking_id: hex_text(ids.l3_tracking_id),
            parent_uuid: match self.shown_parent(entry) {
                0 => Text::default(),
                uuid => hex_text(uuid),
            },
            node_tid: self.options.node_tid.clone(),
            capture_id: self.options.capture_id.clone(),
            last_raw_packets: rare.map(|rare| rare.raw.clone()).unwrap_or_default(),
            raw_packets_captured: rare.map_or(0, |rare| rare.captured.into()),
            finish_type: self.visible_finish(entry),
            ..extra
        }
    }

    /// Returns the age queue of a flow, selected by the name of its ports, or else of its last
    /// layer.
    pub(super) fn class(&self, entry: &Entry) -> u8 {
        let path = self.path(entry);
        match self.port_name(entry) {
            Some(name) => super::new_flow::timeout_class(&self.options, name),
            None => path.class,
        }
    }

    /// Returns the layer path of a flow, interned or stored with the flow.
    fn path(&self, entry: &Entry) -> std::borrow::Cow<'_, PathInfo> {
        use std::borrow::Cow;
        if let Some(path) = self.paths.get(entry.cold.path) {
            return Cow::Borrowed(path);
        }
        let path = self
            .rare
            .get(entry.cold.rare)
            .and_then(|rare| rare.path)
            .unwrap_or_default();
        let class = |name: &str| super::new_flow::timeout_class(&self.options, name);
        Cow::Owned(PathInfo::new(&path, class))
    }

    /// Returns the application name of a flow.
    fn application<'a>(&'a self, entry: &Entry, path: &'a PathInfo) -> &'a Text {
        self.port_name(entry).unwrap_or(&path.application)
    }

    /// Returns the configured name of a port of a flow; `None` if there is none.
    fn port_name(&self, entry: &Entry) -> Option<&Text> {
        let [a, b] = entry.cold.ports;
        self.options
            .application_ports
            .text(entry.transport()?, a, b)
    }

    /// Returns the layer 3 addresses of a flow.
    fn network(&self, entry: &Entry) -> Option<OtherNetwork> {
        if entry.cold.layers & HAS_NETWORK == 0 {
            return None;
        }
        if entry.cold.layers & HAS_OTHER_NETWORK != 0 {
            return self.rare.get(entry.cold.rare).and_then(|rare| rare.network);
        }
        let (source, destination) = entry.addresses();
        let is_v4 = entry.key.is_v4();
        let address = |octets: [u8; 16]| {
            let [a, b, c, d, ..] = octets;
            if is_v4 {
                IpAddress::v4([a, b, c, d])
            } else {
                IpAddress::v6(octets)
            }
        };
        Some(OtherNetwork {
            is_v4,
            source: address(source),
            destination: address(destination),
        })
    }

    /// Returns a view of the fields of an entry, without building the record.
    pub(super) fn entry_fields(&self, record: u32) -> EntryFields<'_> {
        EntryFields {
            table: self,
            record,
            entry: self.arena.get(record),
        }
    }
}

/// Unpacks the ICMP type, code, and identifier of an entry.
fn icmp(packed: u32) -> IcmpLayer {
    let [kind, code, id @ ..] = packed.to_be_bytes();
    IcmpLayer {
        kind: IcmpType::from_number(kind.into()).unwrap_or_default(),
        code: code.into(),
        id: u16::from_be_bytes(id).into(),
    }
}

/// Field access on a table entry, for filters.
pub(super) struct EntryFields<'a> {
    table: &'a FlowTable,
    record: u32,
    entry: &'a Entry,
}

impl FlowFields for EntryFields<'_> {
    fn int(&self, field: IntField) -> Option<i64> {
        let (cold, hot) = (&self.entry.cold, &self.entry.hot);
        let rare = || self.table.rare.get(cold.rare);
        match field {
            IntField::Metric(field) => Some(self.table.total(self.entry).get(field)),
            IntField::LastUpdateMetric(field) => self
                .table
                .visible_interval(self.entry)
                .map(|metric| metric.get(field)),
            IntField::TcpMetric(key) => {
                let metric = self.table.tcp_metric(self.entry, false);
                metric.map(|metric| metric.get(key))
            }
            IntField::Plain(field) => Some(match field {
                PlainInt::Start => self.table.clock_steps.shown(cold.start),
                PlainInt::Last => self.table.clock_steps.shown(hot.last),
                PlainInt::RawPacketsCaptured => rare().map_or(0, |rare| rare.captured.into()),
                PlainInt::FinishType => i64::from(self.table.visible_finish(self.entry) as u8),
                PlainInt::LinkId if cold.layers & HAS_LINK != 0 => cold.vlan_id,
                PlainInt::NetworkId if cold.layers & HAS_NETWORK != 0 => {
                    self.entry.tunnel_id().into()
                }
                PlainInt::TransportA => self.entry.transport().map(|_| cold.ports[0].into())?,
                PlainInt::TransportB => self.entry.transport().map(|_| cold.ports[1].into())?,
                PlainInt::TransportId => self.entry.transport().map(|_| 0)?,
                PlainInt::IcmpCode if cold.layers & HAS_ICMP != 0 => icmp(cold.icmp).code.into(),
                PlainInt::IcmpId if cold.layers & HAS_ICMP != 0 => icmp(cold.icmp).id.into(),
                // Fragments and fields of extra layers.
                _ => {
                    return self
                        .table
                        .extra_fields(self.record)
                        .int(IntField::Plain(field));
                }
            }),
        }
    }

    fn with_text<R>(&self, field: TextField, read: impl FnOnce(&str) -> R) -> Option<R> {
        let (table, entry) = (self.table, self.entry);
        let has = |layer: u8| (entry.cold.layers & layer != 0).then_some(());
        let mut text = ShortText::new();
        match field {
            TextField::Uuid => text.put(Hex(table.identifiers(self.record).uuid)),
            TextField::TrackingId => text.put(Hex(table.identifiers(self.record).tracking_id)),
            TextField::L3TrackingId => text.put(Hex(table.identifiers(self.record).l3_tracking_id)),
            TextField::ParentUuid => match table.shown_parent(entry) {
                0 => {}
                uuid => text.put(Hex(uuid)),
            },
            TextField::LayersPath => return Some(read(&table.path(entry).text)),
            TextField::Application => {
                return Some(read(table.application(entry, &table.path(entry))));
            }
            TextField::NodeTid => return Some(read(&table.options.node_tid)),
            TextField::CaptureId => return Some(read(&table.options.capture_id)),
            TextField::LinkProtocol => {
                has(HAS_LINK)?;
                return Some(read(FlowProtocol::Ethernet.name()));
            }
            TextField::LinkA => {
                has(HAS_LINK)?;
                text.put(Mac(entry.macs().0));
            }
            TextField::LinkB => {
                has(HAS_LINK)?;
                text.put(Mac(entry.macs().1));
            }
            TextField::NetworkProtocol => {
                let is_v4 = table.network(entry)?.is_v4;
                let protocol = if is_v4 {
                    FlowProtocol::Ipv4
                } else {
                    FlowProtocol::Ipv6
                };
                return Some(read(protocol.name()));
            }
            TextField::NetworkA => text.put(table.network(entry)?.source),
            TextField::NetworkB => text.put(table.network(entry)?.destination),
            TextField::TransportProtocol => return Some(read(entry.transport()?.name())),
            TextField::IcmpType => {
                has(HAS_ICMP)?;
                return Some(read(icmp(entry.cold.icmp).kind.name()));
            }
            TextField::DnsOpCode | TextField::DnsResponseCode => {
                return table.extra_fields(self.record).text(field).map(read);
            }
        }
        Some(read(text.as_str()))
    }

    fn with_details<R>(&self, read: impl FnOnce(&Flow) -> R) -> R {
        read(&self.table.extra_fields(self.record))
    }
}

impl Fields<Option<FlowField>> for EntryFields<'_> {
    fn test(&self, key: &Option<FlowField>, predicate: &Predicate) -> bool {
        key.as_ref()
            .is_some_and(|key| self.test_field(key, predicate))
    }
}

/// MAC address, displayed in lowercase hexadecimal with colons.
pub(super) struct Mac(pub(super) [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b':'; 17];
        for (byte, digits) in self.0.iter().zip(text.chunks_mut(3)) {
            if let [high, low, ..] = digits {
                *high = DIGITS[usize::from(byte >> 4)];
                *low = DIGITS[usize::from(byte & 15)];
            }
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// Number, displayed in lowercase hexadecimal without leading zeros.
struct Hex(u64);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (digits, len) = hex(self.0);
        f.write_str(ascii(&digits, len))
    }
}

/// Returns a number as a hexadecimal string.
pub(super) fn hex_text(number: u64) -> Text {
    let (digits, len) = hex(number);
    Text::from(ascii(&digits, len))
}

/// Returns the first `len` digits as a string.
fn ascii(digits: &[u8; 16], len: usize) -> &str {
    let digits = digits.get(..len).unwrap_or_default();
    std::str::from_utf8(digits).unwrap_or_default()
}

/// Returns a value of at most 48 bytes as a string, formatted without a heap buffer.
pub(super) fn short_text(value: impl fmt::Display) -> Text {
    let mut text = ShortText::new();
    text.put(value);
    Text::from(text.as_str())
}

/// Stack buffer for strings of at most 48 bytes: addresses and numbers.
struct ShortText {
    /// `bytes[..len]` is UTF-8, and `len <= 48`.
    bytes: [u8; 48],
    len: usize,
}

impl ShortText {
    /// Returns an empty string.
    const fn new() -> Self {
        Self {
            bytes: [0; 48],
            len: 0,
        }
    }

    /// Appends a value.
    fn put(&mut self, value: impl fmt::Display) {
        // No address is longer than the buffer; a longer value is truncated.
        let cut = write!(self, "{value}");
        debug_assert!(cut.is_ok());
    }

    /// Returns the string.
    fn as_str(&self) -> &str {
        self.bytes
            .get(..self.len)
            .and_then(|b| std::str::from_utf8(b).ok())
            .unwrap_or_default()
    }
}

impl Write for ShortText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let spare = self
            .bytes
            .get_mut(self.len..self.len + text.len())
            .ok_or(fmt::Error)?;
        spare.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}
