//! `ExportTable`: merges the flow records of exporters into flows.
//!
//! Both directions of a flow are merged, as are deltas or totals over time. A flow that has changed
//! is sent about once per second ([`ExportTable::tick`]), since exporters have already aggregated
//! its packets. A flow ends when its exporter reports the end, or after a time without records. The
//! identifiers and layers of a flow are those of a captured flow with the same addresses and ports:
//! a [`FlowTable`] computes them from a packet with the headers that the record describes
//! ([`headers`]).
//!
//! Memory is bounded by the number of flows; a full table ends the flows that were updated least
//! recently. A record costs one hash lookup, a changed flow a few microseconds per second.

mod entry;
mod headers;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use hashbrown::HashMap;

use self::entry::{Entry, Sides};
use super::options::{FlowTableOptions, LayerKeyMode};
use super::packet_filter::PacketFilter;
use super::record::{FinishType, Flow};
use super::table::FlowTable;
use crate::export::{FlowRecord, RecordOrigin};
use crate::time::Timestamp;
use crate::value::Text;

/// Settings of an [`ExportTable`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExportTableOptions {
    /// Settings of captured flows, from which application names are taken.
    pub table: FlowTableOptions,
    /// Maximum number of flows.
    pub max_flows: usize,
    /// Time without records after which a flow ends.
    pub expiry: Duration,
    /// Maximum difference between the times of a record and its arrival; beyond it, the time of
    /// arrival is used.
    pub max_skew: Duration,
    /// Whether to multiply packets and bytes by the sampling rate.
    pub scale: bool,
}

impl Default for ExportTableOptions {
    /// Returns the defaults: 65 536 flows, an expiry of 10 minutes, and a difference of one hour.
    fn default() -> Self {
        Self {
            table: FlowTableOptions::default(),
            max_flows: 1 << 16,
            expiry: Duration::from_secs(600),
            max_skew: Duration::from_secs(3600),
            scale: false,
        }
    }
}

/// Counters of an [`ExportTable`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportTableStats {
    /// Number of flows in the table.
    pub flows: u64,
    /// Number of records without two addresses of one IP version, which are not flows.
    pub without_addresses: u64,
    /// Number of records whose times differed from the time of arrival by more than `max_skew`.
    pub skewed: u64,
    /// Number of flows that ended early because the table was full.
    pub evicted: u64,
    /// Number of records that did not match the filter.
    pub filtered: u64,
}

/// Identity of a flow within the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    exporter: IpAddr,
    domain: u32,
    vlan: u16,
    protocol: u8,
    /// Whether the record was made where the packets left the exporter (`flowDirection` 1).
    is_egress: bool,
    low: (IpAddr, u16),
    high: (IpAddr, u16),
}

/// Table of the flows that exporters report; see the module documentation.
pub struct ExportTable {
    options: ExportTableOptions,
    entries: HashMap<Key, Entry>,
    /// Keys of the entries that have changed since the last tick.
    changed: Vec<Key>,
    /// Tables that compute identifiers; they have no flows between two calls.
    identities: [FlowTable; 2],
    /// Filter of the packets that records describe; `None` for all records.
    filter: Option<Box<dyn PacketFilter>>,
    stats: ExportTableStats,
    /// Time of the last search for expired flows.
    searched_at: Timestamp,
}

impl ExportTable {
    /// Creates an empty table.
    #[must_use]
    pub fn new(options: ExportTableOptions) -> Self {
        let identity = |mode| {
            let table = options.table.clone();
            FlowTable::new(table.with_layer_key_mode(mode).with_max_entries(4))
        };
        let identities = [identity(LayerKeyMode::L2), identity(LayerKeyMode::L3)];
        Self {
            identities,
            options,
            entries: HashMap::new(),
            changed: Vec::new(),
            filter: None,
            stats: ExportTableStats::default(),
            searched_at: Timestamp::ZERO,
        }
    }

    /// Sets the filter: only records whose packets would match are added; with `None`, all are. It
    /// sees IP packets, or Ethernet frames if the records have MAC addresses.
    pub fn set_filter(&mut self, filter: Option<Box<dyn PacketFilter>>) {
        self.filter = filter;
    }

    /// Returns the counters.
    #[must_use]
    pub fn stats(&self) -> ExportTableStats {
        ExportTableStats {
            flows: self.entries.len() as u64,
            ..self.stats
        }
    }

    /// Adds a record that arrived at `now` and belongs to a node of the graph. Flows that end
    /// because of the record are added to `ended`.
    pub fn add(
        &mut self,
        origin: &RecordOrigin,
        record: &FlowRecord<'_>,
        node_tid: &Text,
        now: Timestamp,
        ended: &mut Vec<Flow>,
    ) {
        let Some((key, is_src_low)) = key_of(origin, record) else {
            self.stats.without_addresses += 1;
            return;
        };
        let times = self.times_of(origin, record, now);
        let sides = Sides::of(record, is_src_low, self.options.scale);
        let is_scaled = self.options.scale && record.sampling.is_some();
        let count = |entry: &mut Entry, changed: &mut Vec<Key>| {
            entry.add(record, &sides, is_src_low, times, now);
            entry.set_scaled(is_scaled);
            if !std::mem::replace(&mut entry.is_changed, true) {
                changed.push(key);
            }
        };
        match self.entries.get_mut(&key) {
            Some(entry) if !entry.is_restarted_by(&sides) => {
                return count(entry, &mut self.changed);
            }
            _ => self.end(&key, FinishType::Replaced, ended),
        }
        let mut entry = Entry::new(origin, record, is_src_low, node_tid, times);
        if let Some(filter) = self.filter.as_deref()
            && !packet_of(&key, &entry).matches(filter, now)
        {
            self.stats.filtered += 1;
            return;
        }
        if self.entries.len() >= self.options.max_flows {
            self.evict(ended);
        }
        count(&mut entry, &mut self.changed);
        self.entries.insert(key, entry);
    }

    /// Adds the flows that have changed or ended since the last call to `flows`. Call this about once
    /// per second.
    pub fn tick(&mut self, now: Timestamp, flows: &mut Vec<Flow>) {
        for key in std::mem::take(&mut self.changed) {
            // A flow that replaced another one has its key twice.
            if let Some(entry) = self.entries.get_mut(&key)
                && entry.is_changed
            {
                flows.extend(flow_of(
                    &mut self.identities,
                    &key,
                    entry,
                    FinishType::NotFinished,
                ));
            }
        }
        if now.duration_since(self.searched_at) < SEARCH_INTERVAL && now >= self.searched_at {
            return;
        }
        self.searched_at = now;
        let expiry = self.options.expiry;
        let finished: Vec<(Key, FinishType)> = self
            .entries
            .iter()
            .filter_map(|(key, entry)| Some((*key, entry.finish_at(now, expiry)?)))
            .collect();
        for (key, finish) in finished {
            self.end(&key, finish, flows);
        }
    }

    /// Ends all flows.
    pub fn flush(&mut self, flows: &mut Vec<Flow>) {
        let keys: Vec<Key> = self.entries.keys().copied().collect();
        for key in keys {
            self.end(&key, FinishType::Timeout, flows);
        }
    }

    fn end(&mut self, key: &Key, finish: FinishType, ended: &mut Vec<Flow>) {
        if let Some(mut entry) = self.entries.remove(key) {
            ended.extend(flow_of(&mut self.identities, key, &mut entry, finish));
        }
    }

    /// Ends the eighth of the flows that was updated least recently.
    fn evict(&mut self, ended: &mut Vec<Flow>) {
        let mut ages: Vec<(Timestamp, Key)> = self
            .entries
            .iter()
            .map(|(key, entry)| (entry.seen_at, *key))
            .collect();
        let count = (ages.len() / 8).max(1).min(ages.len());
        if count < ages.len() {
            ages.select_nth_unstable_by_key(count, |(seen, _)| *seen);
        }
        for (_, key) in &ages[..count] {
            self.stats.evicted += 1;
            self.end(key, FinishType::Timeout, ended);
        }
        let entries = &self.entries;
        self.changed.retain(|key| entries.contains_key(key));
    }

    /// Returns the times of the first and the last packet of a record, corrected if they are too
    /// far from `now`.
    fn times_of(
        &mut self,
        origin: &RecordOrigin,
        record: &FlowRecord<'_>,
        now: Timestamp,
    ) -> (Timestamp, Timestamp) {
        let last = record.last.or(record.first).unwrap_or(origin.exported_at);
        let first = record.first.unwrap_or(last).min(last);
        let skew = last.duration_since(now).max(now.duration_since(last));
        if skew <= self.options.max_skew {
            return (first, last);
        }
        self.stats.skewed += 1;
        let length = last.duration_since(first).min(self.options.max_skew);
        let first = now.as_ms().saturating_sub(length.as_millis() as i64);
        (Timestamp::from_ms(first), now)
    }
}

impl fmt::Debug for ExportTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportTable")
            .field("options", &self.options)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Returns the key of a record, and whether its source is the lower end.
fn key_of(origin: &RecordOrigin, record: &FlowRecord<'_>) -> Option<(Key, bool)> {
    let (src, dst) = (record.src?, record.dst?);
    if src.is_ipv4() != dst.is_ipv4() {
        return None;
    }
    let protocol = record.protocol.unwrap_or(0);
    let has_ports = matches!(protocol, headers::TCP | headers::UDP | headers::SCTP);
    let port = |port: Option<u16>| port.filter(|_| has_ports).unwrap_or(0);
    let (src, dst) = ((src, port(record.src_port)), (dst, port(record.dst_port)));
    let is_src_low = src <= dst;
    let (low, high) = if is_src_low { (src, dst) } else { (dst, src) };
    let key = Key {
        exporter: origin.exporter,
        domain: origin.domain,
        vlan: record.vlan.unwrap_or(0),
        protocol,
        is_egress: record.direction == Some(1),
        low,
        high,
    };
    Some((key, is_src_low))
}

/// Returns a packet of a flow.
fn packet_of(key: &Key, entry: &Entry) -> headers::HeaderPacket {
    let ends = if entry.is_a_low {
        (key.low, key.high)
    } else {
        (key.high, key.low)
    };
    headers::build(ends, key.protocol, key.vlan, entry.icmp, entry.macs)
}

/// Returns the record of a flow, and marks its counters as sent.
fn flow_of(
    identities: &mut [FlowTable; 2],
    key: &Key,
    entry: &mut Entry,
    finish: FinishType,
) -> Option<Flow> {
    let packet = packet_of(key, entry);
    let identity = usize::from(entry.macs.is_none());
    let mut flow = headers::identify(&mut identities[identity], &packet, entry.first)?;
    entry.fill(&mut flow, finish);
    Some(flow)
}

/// Interval between two searches for expired flows.
const SEARCH_INTERVAL: Duration = Duration::from_secs(5);
