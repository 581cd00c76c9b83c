//! `InterfaceMetric`: counters of an interface, or of an sFlow agent, during an interval.

use serde::{Serialize, Serializer};

use crate::value::{Map, Value};

/// Packets, bytes, and errors of an interface between two points in time, or the counters that an
/// sFlow agent reports.
///
/// ```
/// use skylib::gremlin::InterfaceMetric;
/// let map = serde_json::from_str(r#"{"RxBytes":10,"Start":1000,"Last":2000,"Other":1}"#)?;
/// let metric = InterfaceMetric::from_map(&map);
/// assert_eq!(metric.get("RxBytes"), Some(10));
/// assert_eq!(metric.get("TxBytes"), Some(0));
/// assert_eq!(metric.get("Other"), None);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceMetric {
    /// [`COUNTERS`] or [`SFLOW_COUNTERS`].
    names: &'static [&'static str],
    /// Counters in the order of `names`.
    counters: Box<[i64]>,
    /// Start of the interval, in Unix milliseconds.
    pub start: i64,
    /// End of the interval, in Unix milliseconds.
    pub last: i64,
}

impl InterfaceMetric {
    /// Reads the counters in the metadata of an interface. Absent counters are 0.
    #[must_use]
    pub fn from_map(map: &Map) -> Self {
        Self::with_names(&COUNTERS, map)
    }

    /// Reads the counters that an sFlow agent reported. Absent counters are 0.
    #[must_use]
    pub fn from_sflow_map(map: &Map) -> Self {
        Self::with_names(&SFLOW_COUNTERS, map)
    }

    fn with_names(names: &'static [&'static str], map: &Map) -> Self {
        let int = |name: &str| map.get(name).and_then(Value::to_int).unwrap_or(0);
        Self {
            names,
            counters: names.iter().map(|name| int(name)).collect(),
            start: int("Start"),
            last: int("Last"),
        }
    }

    /// Returns a field by its JSON name.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<i64> {
        match field {
            "Start" => Some(self.start),
            "Last" => Some(self.last),
            _ => {
                let position = self.names.iter().position(|name| *name == field)?;
                self.counters.get(position).copied()
            }
        }
    }

    /// Returns the names of all fields.
    pub(super) fn fields(&self) -> impl Iterator<Item = &'static str> {
        self.names.iter().copied().chain(["Start", "Last"])
    }

    /// Returns the number of bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.counters)
    }

    /// Returns the fields that are not zero, which are the fields in the JSON form.
    pub(super) fn non_zero(&self) -> impl Iterator<Item = (&'static str, i64)> {
        let counters = self
            .names
            .iter()
            .copied()
            .zip(self.counters.iter().copied());
        let times = [("Start", self.start), ("Last", self.last)];
        counters.chain(times).filter(|(_, number)| *number != 0)
    }

    /// Returns whether all counters are zero.
    pub(super) fn is_zero(&self) -> bool {
        self.counters.iter().all(|counter| *counter == 0)
    }

    /// Returns the sum with the interval of `self`, saturating. Counters of another kind are ignored.
    pub(super) fn plus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        if self.names == other.names {
            for (counter, more) in sum.counters.iter_mut().zip(&other.counters) {
                *counter = counter.saturating_add(*more);
            }
        }
        sum
    }

    /// Splits at a time (Unix ms). Returns the parts before and after it.
    ///
    /// COMPAT: each part is truncated separately, so their sum may be less than the whole.
    pub(super) fn split(&self, at: i64) -> (Option<Self>, Option<Self>) {
        if at <= self.start {
            return (None, Some(self.clone()));
        }
        if at >= self.last || self.start == self.last {
            return (Some(self.clone()), None);
        }
        let before = self.part(at.saturating_sub(self.start));
        let after = self.part(self.last.saturating_sub(at));
        (
            Some(Self { last: at, ..before }),
            Some(Self { start: at, ..after }),
        )
    }

    /// Returns the share of the counters that corresponds to a number of milliseconds.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "counters are distributed in floating point and truncated"
    )]
    fn part(&self, ms: i64) -> Self {
        let share = ms as f64 / self.last.saturating_sub(self.start) as f64;
        Self {
            counters: (self.counters.iter())
                .map(|counter| (*counter as f64 * share) as i64)
                .collect(),
            ..*self
        }
    }
}

impl Serialize for InterfaceMetric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.non_zero())
    }
}

const COUNTERS: [&str; 23] = [
    "Collisions",
    "Multicast",
    "RxBytes",
    "RxCompressed",
    "RxCrcErrors",
    "RxDropped",
    "RxErrors",
    "RxFifoErrors",
    "RxFrameErrors",
    "RxLengthErrors",
    "RxMissedErrors",
    "RxOverErrors",
    "RxPackets",
    "TxAbortedErrors",
    "TxBytes",
    "TxCarrierErrors",
    "TxCompressed",
    "TxDropped",
    "TxErrors",
    "TxFifoErrors",
    "TxHeartbeatErrors",
    "TxPackets",
    "TxWindowErrors",
];

/// Counters of an sFlow agent: of interfaces, Ethernet, VLANs, and Open vSwitch.
const SFLOW_COUNTERS: [&str; 43] = [
    "EthAlignmentErrors",
    "EthCarrierSenseErrors",
    "EthDeferredTransmissions",
    "EthExcessiveCollisions",
    "EthFCSErrors",
    "EthFrameTooLongs",
    "EthInternalMacReceiveErrors",
    "EthInternalMacTransmitErrors",
    "EthLateCollisions",
    "EthMultipleCollisionFrames",
    "EthSQETestErrors",
    "EthSingleCollisionFrames",
    "EthSymbolErrors",
    "IfInBroadcastPkts",
    "IfInDiscards",
    "IfInErrors",
    "IfInMulticastPkts",
    "IfInOctets",
    "IfInUcastPkts",
    "IfInUnknownProtos",
    "IfOutBroadcastPkts",
    "IfOutDiscards",
    "IfOutErrors",
    "IfOutMulticastPkts",
    "IfOutOctets",
    "IfOutUcastPkts",
    "OvsAppConnMax",
    "OvsAppConnOpen",
    "OvsAppFdMax",
    "OvsAppFdOpen",
    "OvsAppMemMax",
    "OvsAppMemUsed",
    "OvsDpNFlows",
    "OvsDpNHit",
    "OvsDpNLost",
    "OvsDpNMaskHit",
    "OvsDpNMasks",
    "OvsDpNMissed",
    "VlanBroadcastPkts",
    "VlanDiscards",
    "VlanMulticastPkts",
    "VlanOctets",
    "VlanUcastPkts",
];
