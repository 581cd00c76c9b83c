//! `InterfaceMetric`: the kernel's counters of an interface during an interval.

use serde::{Serialize, Serializer};

use crate::value::{Map, Value};

/// Packets, bytes, and errors of an interface between two points in time.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceMetric {
    /// Counters in the order of [`COUNTERS`].
    counters: [i64; COUNTERS.len()],
    /// Start of the interval, in Unix milliseconds.
    pub start: i64,
    /// End of the interval, in Unix milliseconds.
    pub last: i64,
}

impl InterfaceMetric {
    /// Reads the counters in the metadata of an interface. Absent counters are 0.
    #[must_use]
    pub fn from_map(map: &Map) -> Self {
        let int = |name: &str| map.get(name).and_then(Value::to_int).unwrap_or(0);
        Self {
            counters: COUNTERS.map(int),
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
                let position = COUNTERS.iter().position(|name| *name == field)?;
                self.counters.get(position).copied()
            }
        }
    }

    /// Returns the names of all fields.
    pub(super) fn fields() -> impl Iterator<Item = &'static str> {
        COUNTERS.into_iter().chain(["Start", "Last"])
    }

    /// Returns the fields that are not zero, which are the fields in the JSON form.
    pub(super) fn non_zero(&self) -> impl Iterator<Item = (&'static str, i64)> {
        let counters = COUNTERS.into_iter().zip(self.counters);
        let times = [("Start", self.start), ("Last", self.last)];
        counters.chain(times).filter(|(_, number)| *number != 0)
    }

    /// Returns whether all counters are zero.
    pub(super) fn is_zero(&self) -> bool {
        self.counters.iter().all(|counter| *counter == 0)
    }

    /// Returns the sum with the interval of `self`, saturating.
    pub(super) fn plus(&self, other: &Self) -> Self {
        let mut sum = *self;
        for (counter, more) in sum.counters.iter_mut().zip(other.counters) {
            *counter = counter.saturating_add(more);
        }
        sum
    }

    /// Splits at a time (Unix ms). Returns the parts before and after it.
    ///
    /// COMPAT: each part is truncated separately, so their sum may be less than the whole.
    pub(super) fn split(&self, at: i64) -> (Option<Self>, Option<Self>) {
        if at <= self.start {
            return (None, Some(*self));
        }
        if at >= self.last || self.start == self.last {
            return (Some(*self), None);
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
            counters: self.counters.map(|counter| (counter as f64 * share) as i64),
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
