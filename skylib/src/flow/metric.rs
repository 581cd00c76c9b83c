//! `FlowMetric`: packets and bytes of a flow in each direction, over an interval.

use serde::{Deserialize, Serialize};

use super::protobuf::wire_message;
use super::setters::setters;

/// Packets and bytes of a flow in an interval.
///
/// ```
/// use skylib::flow::FlowMetric;
/// let metric = FlowMetric::default().with_ab_packets(100).with_interval(0, 100);
/// let (first, second) = metric.split(25);
/// assert_eq!(first.map(|m| (m.ab_packets, m.last)), Some((25, 25)));
/// assert_eq!(second.map(|m| (m.ab_packets, m.start)), Some((75, 25)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct FlowMetric {
    /// Packets from A to B.
    #[serde(rename = "ABPackets")]
    pub ab_packets: i64,
    /// Bytes from A to B, headers included.
    #[serde(rename = "ABBytes")]
    pub ab_bytes: i64,
    /// Packets from B to A.
    #[serde(rename = "BAPackets")]
    pub ba_packets: i64,
    /// Bytes from B to A, headers included.
    #[serde(rename = "BABytes")]
    pub ba_bytes: i64,
    /// Start of the interval, in Unix milliseconds.
    #[serde(rename = "Start")]
    pub start: i64,
    /// End of the interval, in Unix milliseconds.
    #[serde(rename = "Last")]
    pub last: i64,
    /// Round-trip time last measured, in nanoseconds; 0 if none was measured.
    #[serde(rename = "RTT", skip_serializing_if = "is_zero")]
    pub rtt: i64,
}

wire_message!(FlowMetric {
    2 => ab_packets, 3 => ab_bytes, 4 => ba_packets, 5 => ba_bytes, 6 => start, 7 => last, 8 => rtt,
});

setters! {
    FlowMetric {
        with_ab_packets ab_packets i64;
        with_ab_bytes ab_bytes i64;
        with_ba_packets ba_packets i64;
        with_ba_bytes ba_bytes i64;
        with_rtt rtt i64;
    }
}

impl FlowMetric {
    /// Sets [`start`](Self::start) and [`last`](Self::last), in Unix milliseconds.
    #[must_use]
    pub const fn with_interval(mut self, start: i64, last: i64) -> Self {
        (self.start, self.last) = (start, last);
        self
    }

    /// Returns the sum of the four counters, with the interval of `self` and no round-trip time.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.combine(other, i64::saturating_add)
    }

    /// Returns the difference of the four counters, with the interval of `self` and no round-trip
    /// time.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.combine(other, i64::saturating_sub)
    }

    /// Returns whether nothing was counted.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        // COMPAT: the sum is tested, so that counters that cancel each other out count as zero.
        let counters = [
            self.ab_packets,
            self.ab_bytes,
            self.ba_packets,
            self.ba_bytes,
        ];
        counters.into_iter().fold(0, i64::saturating_add) == 0
    }

    /// Splits the metric at a time in Unix milliseconds: returns the parts before and after it,
    /// with the counters divided in proportion to the time. A part that would be empty is `None`.
    #[must_use]
    pub fn split(&self, at: i64) -> (Option<Self>, Option<Self>) {
        if at <= self.start {
            return (None, Some(*self));
        }
        if at >= self.last || self.start == self.last {
            return (Some(*self), None);
        }
        #[expect(clippy::cast_precision_loss, reason = "the share is a fraction")]
        let share =
            at.saturating_sub(self.start) as f64 / self.last.saturating_sub(self.start) as f64;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "counters are divided in floating point and truncated"
        )]
        let part = |counter: i64| (counter as f64 * share) as i64;
        let first = Self {
            ab_packets: part(self.ab_packets),
            ab_bytes: part(self.ab_bytes),
            ba_packets: part(self.ba_packets),
            ba_bytes: part(self.ba_bytes),
            start: self.start,
            last: at,
            rtt: 0,
        };
        let second = Self {
            start: at,
            ..self.minus(&first)
        };
        (Some(first), Some(second))
    }

    /// Applies `op` to each pair of counters.
    fn combine(&self, other: &Self, op: impl Fn(i64, i64) -> i64) -> Self {
        Self {
            ab_packets: op(self.ab_packets, other.ab_packets),
            ab_bytes: op(self.ab_bytes, other.ab_bytes),
            ba_packets: op(self.ba_packets, other.ba_packets),
            ba_bytes: op(self.ba_bytes, other.ba_bytes),
            start: self.start,
            last: self.last,
            rtt: 0,
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "signature required by serde"
)]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Counters of the IPv4 reassembly of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct IpMetric {
    /// Number of fragments that were buffered until their packet was complete.
    #[serde(rename = "Fragments")]
    pub fragments: i64,
    /// Number of fragments that were rejected as damaged or inconsistent.
    #[serde(rename = "FragmentErrors")]
    pub fragment_errors: i64,
}

wire_message!(IpMetric { 1 => fragments, 2 => fragment_errors });

#[cfg(test)]
mod tests {
    use super::*;

    const HUNDRED: FlowMetric = FlowMetric {
        ab_packets: 100,
        ab_bytes: 100,
        ba_packets: 100,
        ba_bytes: 100,
        start: 0,
        last: 100,
        rtt: 7,
    };

    #[test]
    fn a_split_shares_out_and_loses_nothing() {
        let (first, second) = HUNDRED.split(25);
        let (first, second) = (first.unwrap(), second.unwrap());
        let quarter = FlowMetric {
            ab_packets: 25,
            ab_bytes: 25,
            ba_packets: 25,
            ba_bytes: 25,
            start: 0,
            last: 25,
            rtt: 0,
        };
        assert_eq!(first, quarter);
        assert_eq!(
            (second.ba_bytes, second.start, second.last, second.rtt),
            (75, 25, 100, 0)
        );
    }

    #[test]
    fn a_split_outside_gives_one_part() {
        assert_eq!(HUNDRED.split(0), (None, Some(HUNDRED)));
        assert_eq!(HUNDRED.split(100), (Some(HUNDRED), None));
        let instant = FlowMetric {
            start: 5,
            last: 5,
            ..HUNDRED
        };
        assert_eq!(instant.split(6), (Some(instant), None));
    }

    #[test]
    fn sums_have_the_times_of_the_left_side() {
        let sum = HUNDRED.plus(&FlowMetric {
            start: 50,
            last: 500,
            ..HUNDRED
        });
        assert_eq!(
            (sum.ab_bytes, sum.start, sum.last, sum.rtt),
            (200, 0, 100, 0)
        );
        assert!(HUNDRED.minus(&HUNDRED).is_zero());
        assert!(!HUNDRED.is_zero());
    }

    #[test]
    fn json_has_zero_counters_and_omits_a_zero_rtt() {
        let json = serde_json::to_string(&FlowMetric::default()).unwrap();
        let wanted = r#"{"ABPackets":0,"ABBytes":0,"BAPackets":0,"BABytes":0,"Start":0,"Last":0}"#;
        assert_eq!(json, wanted);
    }
}
