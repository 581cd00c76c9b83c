//! `FlowMetric`: packets and bytes of a flow in each direction, over a stretch of time.

use serde::{Deserialize, Serialize};

use super::protobuf::wire_message;

/// What was counted between two points in time.
///
/// ```
/// use skylib::flow::FlowMetric;
/// let metric = FlowMetric { ab_packets: 100, start: 0, last: 100, ..FlowMetric::default() };
/// let (first, second) = metric.split(25);
/// assert_eq!(first.map(|m| (m.ab_packets, m.last)), Some((25, 25)));
/// assert_eq!(second.map(|m| (m.ab_packets, m.start)), Some((75, 25)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
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
    /// Begin, Unix ms.
    #[serde(rename = "Start")]
    pub start: i64,
    /// End, Unix ms.
    #[serde(rename = "Last")]
    pub last: i64,
    /// Round-trip time last measured, ns; 0 when none was.
    #[serde(rename = "RTT", skip_serializing_if = "is_zero")]
    pub rtt: i64,
}

wire_message!(FlowMetric {
    2 => ab_packets, 3 => ab_bytes, 4 => ba_packets, 5 => ba_bytes, 6 => start, 7 => last, 8 => rtt,
});

impl FlowMetric {
    /// The four counters summed up; start and end stay this one's, the round-trip time is dropped.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.combine(other, i64::saturating_add)
    }

    /// The four counters less the other's; start and end stay, the round-trip time is dropped.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.combine(other, i64::saturating_sub)
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        // COMPAT: the sum decides, so counters that cancel out count as nothing.
        let counters = [
            self.ab_packets,
            self.ab_bytes,
            self.ba_packets,
            self.ba_bytes,
        ];
        counters.into_iter().fold(0, i64::saturating_add) == 0
    }

    /// The parts before and after a time (Unix ms), counters shared out in proportion.
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
            reason = "counters are shared out in floating point and truncated"
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
    reason = "the signature serde asks for"
)]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// What IPv4 defragmentation saw of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpMetric {
    /// Fragments that waited for others.
    #[serde(rename = "Fragments")]
    pub fragments: i64,
    /// Fragments that were refused.
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
    fn sums_keep_the_left_side_s_times() {
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
    fn json_keeps_zero_counters_and_omits_a_zero_rtt() {
        let json = serde_json::to_string(&FlowMetric::default()).unwrap();
        let wanted = r#"{"ABPackets":0,"ABBytes":0,"BAPackets":0,"BABytes":0,"Start":0,"Last":0}"#;
        assert_eq!(json, wanted);
    }
}
