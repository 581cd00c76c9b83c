//! `TopFlows`: the largest flows by a measure, selected with a bounded heap in O(log N) per flow.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fmt;
use std::str::FromStr;

use super::field::UnknownNameError;
use super::query::FlowSink;
use super::record::Flow;

/// Measure by which flows are compared.
///
/// ```
/// use skylib::flow::FlowMeasure;
/// assert_eq!("rtt".parse(), Ok(FlowMeasure::Rtt));
/// assert_eq!(FlowMeasure::Retransmissions.to_string(), "retransmissions");
/// assert!("jitter".parse::<FlowMeasure>().is_err());
/// # Ok::<(), skylib::flow::UnknownNameError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlowMeasure {
    /// Bytes in both directions.
    #[default]
    Bytes,
    /// Packets in both directions.
    Packets,
    /// Round-trip time.
    Rtt,
    /// Retransmitted TCP segments in both directions; requires
    /// [`reassemble_tcp`](super::FlowTableOptions::reassemble_tcp).
    Retransmissions,
}

impl FlowMeasure {
    /// Returns the measure of a flow; `None` if it is 0 or was not measured.
    #[must_use]
    pub fn of(self, flow: &Flow) -> Option<i64> {
        let metric = || flow.metric.as_ref();
        let value = match self {
            Self::Bytes => metric().map(|metric| metric.ab_bytes.saturating_add(metric.ba_bytes)),
            Self::Packets => {
                metric().map(|metric| metric.ab_packets.saturating_add(metric.ba_packets))
            }
            Self::Rtt => metric().map(|metric| metric.rtt),
            Self::Retransmissions => flow.tcp_metric.as_ref().map(|metric| {
                let of_b = metric.ba_retransmitted_segments;
                metric.ab_retransmitted_segments.saturating_add(of_b)
            }),
        };
        value.filter(|value| *value > 0)
    }

    /// Returns the name of the measure.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Packets => "packets",
            Self::Rtt => "rtt",
            Self::Retransmissions => "retransmissions",
        }
    }
}

impl fmt::Display for FlowMeasure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FlowMeasure {
    type Err = UnknownNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let all = [Self::Bytes, Self::Packets, Self::Rtt, Self::Retransmissions];
        let found = all.into_iter().find(|measure| measure.name() == name);
        found.ok_or_else(|| {
            let expected = "expected bytes, packets, rtt, or retransmissions";
            UnknownNameError::new("measure of flows", name, expected)
        })
    }
}

/// Sink that retains the largest flows. Flows whose measure is 0 or unknown are ignored.
///
/// ```
/// use skylib::flow::{Flow, FlowMeasure, FlowMetric, FlowSink, TopFlows};
/// let flow = |uuid, bytes| {
///     Flow::default().with_uuid(uuid).with_metric(FlowMetric::default().with_ab_bytes(bytes))
/// };
/// let mut top = TopFlows::new(2, FlowMeasure::Bytes);
/// top.flows(vec![flow("a", 10), flow("b", 30), flow("c", 20)]);
/// assert_eq!(top.total(), 3);
/// let uuids: Vec<_> = top.into_flows().iter().map(|flow| flow.uuid.to_string()).collect();
/// assert_eq!(uuids, ["b", "c"]);
/// ```
#[derive(Debug)]
pub struct TopFlows {
    limit: usize,
    measure: FlowMeasure,
    /// Retained flows, the smallest on top; at most `limit` flows.
    heap: BinaryHeap<Reverse<Ranked>>,
    total: u64,
}

impl TopFlows {
    /// Creates a sink that retains `limit` flows.
    #[must_use]
    pub const fn new(limit: usize, measure: FlowMeasure) -> Self {
        Self {
            limit,
            measure,
            heap: BinaryHeap::new(),
            total: 0,
        }
    }

    /// Returns the number of all flows, including those that were not retained.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Returns the flows, largest first.
    #[must_use]
    pub fn into_flows(self) -> Vec<Flow> {
        let ranked = self.heap.into_sorted_vec();
        ranked
            .into_iter()
            .map(|Reverse(ranked)| ranked.flow)
            .collect()
    }
}

impl FlowSink for TopFlows {
    fn flows(&mut self, flows: Vec<Flow>) {
        self.total += flows.len() as u64;
        for flow in flows {
            let Some(value) = self.measure.of(&flow) else {
                continue;
            };
            self.heap.push(Reverse(Ranked { value, flow }));
            if self.heap.len() > self.limit {
                self.heap.pop();
            }
        }
    }
}

/// Flow with its value. If two flows have equal values, the flow that began earlier is greater, so
/// that the result does not depend on the order in which threads send flows.
#[derive(Debug)]
struct Ranked {
    value: i64,
    flow: Flow,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_value = self.value.cmp(&other.value);
        let earlier = || other.flow.start.cmp(&self.flow.start);
        let by_uuid = || other.flow.uuid.as_str().cmp(self.flow.uuid.as_str());
        by_value.then_with(earlier).then_with(by_uuid)
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{FlowMetric, TcpMetric};

    fn flow(uuid: &str, packets: [i64; 2], rtt: i64, again: i64) -> Flow {
        Flow {
            uuid: uuid.into(),
            metric: Some(FlowMetric {
                ab_packets: packets[0],
                ba_packets: packets[1],
                rtt,
                ..FlowMetric::default()
            }),
            tcp_metric: (again >= 0).then(|| TcpMetric {
                ba_retransmitted_segments: again,
                ..TcpMetric::default()
            }),
            ..Flow::default()
        }
    }

    fn top(measure: FlowMeasure, limit: usize, flows: &[Flow]) -> Vec<String> {
        let mut top = TopFlows::new(limit, measure);
        for flow in flows {
            top.flows(vec![flow.clone()]);
        }
        let flows = top.into_flows();
        flows.iter().map(|flow| flow.uuid.to_string()).collect()
    }

    #[test]
    fn flows_are_ordered_by_each_measure() {
        let flows = [
            flow("a", [1, 1], 300, -1),
            flow("b", [5, 0], 0, 2),
            flow("c", [0, 4], 100, 0),
        ];
        assert_eq!(top(FlowMeasure::Packets, 9, &flows), ["b", "c", "a"]);
        assert_eq!(top(FlowMeasure::Packets, 1, &flows), ["b"]);
        assert_eq!(top(FlowMeasure::Rtt, 9, &flows), ["a", "c"]);
        assert_eq!(top(FlowMeasure::Retransmissions, 9, &flows), ["b"]);
        assert!(top(FlowMeasure::Bytes, 9, &flows).is_empty());
        assert!(top(FlowMeasure::Packets, 0, &flows).is_empty());
    }

    #[test]
    fn equal_flows_are_selected_regardless_of_their_order() {
        let mut flows: Vec<_> = (0..20)
            .map(|number| flow(&format!("{number:02}"), [1, 0], 0, -1))
            .collect();
        let first = top(FlowMeasure::Packets, 3, &flows);
        assert_eq!(first, ["00", "01", "02"]);
        flows.reverse();
        assert_eq!(top(FlowMeasure::Packets, 3, &flows), first);
    }
}
