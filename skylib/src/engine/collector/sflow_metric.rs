//! `SflowMetric`: the counters of an sFlow agent, as metadata of a node.

use std::collections::BTreeMap;

use crate::export::{
    ApplicationResources, CounterSample, EthernetCounters, InterfaceCounters, OvsDatapathCounters,
    VlanCounters,
};
use crate::time::Timestamp;
use crate::value::{Map, Value};

/// The latest counters of an sFlow agent: `SFlow` in the metadata of a node.
///
/// `IfMetrics` has the counters of each interface, `Metric` the sums over all interfaces, and
/// `LastUpdateMetric` the difference from the previous value of `Metric`.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct SflowMetric {
    /// At most [`MAX_SOURCES`].
    interfaces: BTreeMap<u32, InterfaceCounters>,
    ethernet: BTreeMap<u32, EthernetCounters>,
    vlans: BTreeMap<u32, VlanCounters>,
    datapath: Option<OvsDatapathCounters>,
    resources: Option<ApplicationResources>,
    /// Sums that were shown, and their time.
    shown: Option<(BTreeMap<&'static str, u64>, Timestamp)>,
    is_changed: bool,
}

impl SflowMetric {
    /// Takes the counters of a sample.
    pub(in crate::engine) fn add(&mut self, sample: &CounterSample<'_>) {
        let source = sample.source_index;
        if let Some(interface) = sample.interface {
            put(&mut self.interfaces, interface.if_index, interface);
        }
        if let Some(ethernet) = sample.ethernet {
            put(&mut self.ethernet, source, ethernet);
        }
        if let Some(vlan) = sample.vlan {
            put(&mut self.vlans, vlan.vlan, vlan);
        }
        self.datapath = sample.ovs_datapath.or(self.datapath);
        self.resources = sample.resources.or(self.resources);
        self.is_changed = true;
    }

    /// Returns the metadata value if counters have arrived since the last call.
    pub(in crate::engine) fn take(&mut self, now: Timestamp) -> Option<Value> {
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        let sums = self.sums();
        let mut map = Map::new();
        let interfaces: Map = self
            .interfaces
            .iter()
            .map(|(index, counters)| {
                let mut metric = Map::new();
                set_counters(&mut metric, &interface_sums([counters]));
                (arcstr::ArcStr::from(index.to_string()), Value::from(metric))
            })
            .collect();
        if !interfaces.is_empty() {
            map.set("IfMetrics", interfaces);
        }
        let (before, since) = self.shown.take().unwrap_or((BTreeMap::new(), now));
        map.set("Metric", timed(&sums, since.min(now), now));
        let difference: BTreeMap<&'static str, u64> = sums
            .iter()
            .map(|(key, sum)| {
                (
                    *key,
                    sum.saturating_sub(before.get(key).copied().unwrap_or(*sum)),
                )
            })
            .collect();
        if difference.values().any(|value| *value != 0) {
            map.set("LastUpdateMetric", timed(&difference, since, now));
        }
        self.shown = Some((sums, now));
        Some(map.into())
    }

    /// Returns the sums over all sources, by key.
    fn sums(&self) -> BTreeMap<&'static str, u64> {
        let mut sums = interface_sums(self.interfaces.values());
        for counters in self.ethernet.values() {
            for ((_, value), key) in counters.values().into_iter().zip(ETHERNET_KEYS) {
                add(&mut sums, key, value);
            }
        }
        for vlan in self.vlans.values() {
            add(&mut sums, "VlanOctets", vlan.octets);
            add(&mut sums, "VlanUcastPkts", vlan.ucast.into());
            add(&mut sums, "VlanMulticastPkts", vlan.mcast.into());
            add(&mut sums, "VlanBroadcastPkts", vlan.bcast.into());
            add(&mut sums, "VlanDiscards", vlan.discards.into());
        }
        if let Some(datapath) = &self.datapath {
            add(&mut sums, "OvsDpNHit", datapath.hits.into());
            add(&mut sums, "OvsDpNMissed", datapath.misses.into());
            add(&mut sums, "OvsDpNLost", datapath.lost.into());
            add(&mut sums, "OvsDpNMaskHit", datapath.mask_hits.into());
            add(&mut sums, "OvsDpNFlows", datapath.flows.into());
            add(&mut sums, "OvsDpNMasks", datapath.masks.into());
        }
        if let Some(resources) = &self.resources {
            add(&mut sums, "OvsAppFdOpen", resources.fd_open.into());
            add(&mut sums, "OvsAppFdMax", resources.fd_max.into());
            add(&mut sums, "OvsAppConnOpen", resources.conn_open.into());
            add(&mut sums, "OvsAppConnMax", resources.conn_max.into());
            add(&mut sums, "OvsAppMemUsed", resources.mem_used);
            add(&mut sums, "OvsAppMemMax", resources.mem_max);
        }
        sums
    }
}

/// Replaces the counters of a source, unless there are too many sources.
fn put<T>(all: &mut BTreeMap<u32, T>, source: u32, counters: T) {
    if all.len() < MAX_SOURCES || all.contains_key(&source) {
        all.insert(source, counters);
    }
}

fn interface_sums<'a>(
    interfaces: impl IntoIterator<Item = &'a InterfaceCounters>,
) -> BTreeMap<&'static str, u64> {
    let mut sums = BTreeMap::new();
    for counters in interfaces {
        for (name, value) in counters.values() {
            if let Some((_, key)) = INTERFACE_KEYS.iter().find(|(known, _)| *known == name) {
                add(&mut sums, key, value);
            }
        }
    }
    sums
}

/// Adds a counter; does nothing if all its bits are set, which means that its value is unknown.
fn add(sums: &mut BTreeMap<&'static str, u64>, key: &'static str, value: u64) {
    if value != u64::MAX && value != u64::from(u32::MAX) {
        let sum = sums.entry(key).or_default();
        *sum = sum.saturating_add(value);
    }
}

/// Sets the counters that are not zero.
fn set_counters(map: &mut Map, counters: &BTreeMap<&'static str, u64>) {
    for (key, value) in counters.iter().filter(|(_, value)| **value != 0) {
        map.set(key, Value::from(*value));
    }
}

fn timed(counters: &BTreeMap<&'static str, u64>, start: Timestamp, last: Timestamp) -> Map {
    let mut map = Map::from_iter([("Start", start.as_ms()), ("Last", last.as_ms())]);
    set_counters(&mut map, counters);
    map
}

/// Maximum number of interfaces, and of VLANs, of one agent.
const MAX_SOURCES: usize = 4_096;

/// Keys of the counters of an interface.
const INTERFACE_KEYS: &[(&str, &str)] = &[
    ("in_octets", "IfInOctets"),
    ("in_ucast", "IfInUcastPkts"),
    ("in_mcast", "IfInMulticastPkts"),
    ("in_bcast", "IfInBroadcastPkts"),
    ("in_discards", "IfInDiscards"),
    ("in_errors", "IfInErrors"),
    ("in_unknown", "IfInUnknownProtos"),
    ("out_octets", "IfOutOctets"),
    ("out_ucast", "IfOutUcastPkts"),
    ("out_mcast", "IfOutMulticastPkts"),
    ("out_bcast", "IfOutBroadcastPkts"),
    ("out_discards", "IfOutDiscards"),
    ("out_errors", "IfOutErrors"),
];

/// Keys of the counters of an Ethernet interface, in the order of the wire format.
const ETHERNET_KEYS: [&str; 13] = [
    "EthAlignmentErrors",
    "EthFCSErrors",
    "EthSingleCollisionFrames",
    "EthMultipleCollisionFrames",
    "EthSQETestErrors",
    "EthDeferredTransmissions",
    "EthLateCollisions",
    "EthExcessiveCollisions",
    "EthInternalMacTransmitErrors",
    "EthCarrierSenseErrors",
    "EthFrameTooLongs",
    "EthInternalMacReceiveErrors",
    "EthSymbolErrors",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{Export, Intake, IntakeLimits};

    /// Returns a datagram with the counters of an interface: received bytes and packets.
    fn datagram(index: u32, octets: u32, packets: u32) -> Vec<u8> {
        let mut counters = vec![
            index,
            6,
            0,
            1_000,
            1,
            3,
            0,
            octets,
            packets,
            u32::MAX,
            0,
            0,
            0,
            0,
        ];
        counters.extend([0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(counters.len(), 22);
        let record = [1, 4 * counters.len() as u32];
        let length = 4 * (3 + record.len() as u32 + counters.len() as u32);
        let header = [5, 1, 0xc000_0201, 0, 1, 0, 1, 2, length, 1, index, 1];
        let words = header.iter().chain(&record).chain(&counters);
        words.copied().flat_map(u32::to_be_bytes).collect()
    }

    fn add(metric: &mut SflowMetric, datagram: &[u8]) {
        let mut intake = Intake::new(IntakeLimits::default());
        let from = "192.0.2.1:6343".parse().unwrap();
        intake.datagram(from, datagram, Timestamp::ZERO, &mut |_, export| {
            if let Export::Counters(sample) = export {
                metric.add(sample);
            }
        });
        assert_eq!(intake.stats().malformed, 0);
        assert_eq!(intake.stats().counter_samples, 1);
    }

    fn json(metric: &mut SflowMetric, ms: i64) -> String {
        serde_json::to_string(&metric.take(Timestamp::from_ms(ms))).unwrap()
    }

    #[test]
    fn queries_know_all_counters() {
        let metric = crate::gremlin::InterfaceMetric::from_sflow_map(&Map::new());
        let interface = INTERFACE_KEYS.iter().map(|(_, key)| *key);
        let mut all = SflowMetric {
            datapath: Some(OvsDatapathCounters::default()),
            resources: Some(ApplicationResources::default()),
            ..SflowMetric::default()
        };
        all.vlans.insert(1, VlanCounters::default());
        let sums = all.sums();
        assert!(sums.len() > 12);
        for key in interface.chain(ETHERNET_KEYS).chain(sums.keys().copied()) {
            assert_eq!(metric.get(key), Some(0), "{key}");
        }
    }

    #[test]
    fn interfaces_are_summed_and_differences_are_shown() {
        let mut metric = SflowMetric::default();
        add(&mut metric, &datagram(1, 100, 3));
        add(&mut metric, &datagram(2, 50, 1));
        assert_eq!(
            json(&mut metric, 1_000),
            concat!(
                r#"{"IfMetrics":{"1":{"IfInOctets":100,"IfInUcastPkts":3},"#,
                r#""2":{"IfInOctets":50,"IfInUcastPkts":1}},"#,
                r#""Metric":{"IfInOctets":150,"IfInUcastPkts":4,"Last":1000,"Start":1000}}"#
            )
        );
        assert_eq!(json(&mut metric, 1_500), "null", "no change");
        add(&mut metric, &datagram(1, 107, 3));
        let shown = json(&mut metric, 2_000);
        let last = r#""LastUpdateMetric":{"IfInOctets":7,"Last":2000,"Start":1000}"#;
        assert!(shown.contains(last), "{shown}");
    }
}
