//! `Metrics` and `Aggregates`: counters of interfaces and flows over time.

mod interface;

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

pub use self::interface::InterfaceMetric;
use crate::flow::{Flow, FlowMetric, MetricField};
use crate::graph::{ElementKey, NodeRef};
use crate::gremlin::budget::Budget;
use crate::gremlin::error::QueryError;
use crate::time::{TimeSlice, When};
use crate::value::{Map, Text, Value};

/// Counters of an interface or a flow during an interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Metric {
    /// Counters of a flow.
    Flow(FlowMetric),
    /// Counters of an interface, or of an sFlow agent.
    Interface(InterfaceMetric),
}

/// Series of metrics by owner: the id of a node, the UUID of a flow, or `Aggregated`.
///
/// ```
/// use std::time::Duration;
/// use skylib::flow::FlowMetric;
/// use skylib::gremlin::{Metric, Metrics};
///
/// let counted = FlowMetric::default().with_ab_bytes(90).with_interval(0, 30_000);
/// let metrics = Metrics::from_iter([("a flow".into(), vec![Metric::Flow(counted)])]);
/// let slots = metrics.aggregate(None, Duration::from_secs(10))?;
/// assert_eq!(slots.len(), 1, "one series");
/// let json = serde_json::to_value(&slots)?;
/// assert_eq!(json["Aggregated"][2]["ABBytes"], 30);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics(BTreeMap<Text, Vec<Metric>>);

impl Metrics {
    /// Returns the number of series.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are no series.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the series with their names, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Text, &[Metric])> {
        self.0
            .iter()
            .map(|(name, series)| (name, series.as_slice()))
    }

    /// Returns the series and their names, by ascending name.
    pub(crate) fn into_series(self) -> impl Iterator<Item = (Text, Vec<Metric>)> {
        self.0.into_iter()
    }

    /// Adds up all series in slots of equal length. Returns one series named `Aggregated`.
    ///
    /// The first slot begins at the start of the window; `None` means the time that the metrics
    /// span. A metric that overlaps several slots is distributed in proportion to the overlap.
    /// Slots without metrics are omitted.
    ///
    /// # Errors
    /// Returns an error if there are more than 10 000 slots.
    pub fn aggregate(
        &self,
        window: Option<TimeSlice>,
        slot: std::time::Duration,
    ) -> Result<Self, QueryError> {
        let slot_ms = i64::try_from(slot.as_millis()).unwrap_or(i64::MAX).max(1);
        let all = || self.0.values().flatten();
        let (start, last) = match window {
            Some(window) => (window.start.as_ms(), window.last.as_ms()),
            None => (
                all().map(Metric::start).min().unwrap_or(0),
                all().map(Metric::last).max().unwrap_or(0),
            ),
        };
        let span = last.saturating_sub(start).max(0);
        let count = span / slot_ms + i64::from(span % slot_ms != 0);
        let slots = usize::try_from(count)
            .ok()
            .filter(|count| *count <= MAX_SLOTS);
        let slots = slots.ok_or_else(|| {
            let message = format!("Aggregates available slices exceeded: {count}/{MAX_SLOTS}");
            QueryError::execute(message)
        })?;
        let mut sums: Vec<Option<Metric>> = vec![None; slots];
        for series in self.0.values() {
            distribute(series, start, last, slot_ms, &mut sums);
        }
        Ok(Self::from_iter([(
            AGGREGATED.into(),
            sums.into_iter().flatten().collect(),
        )]))
    }

    /// Returns the sum of all metrics, from the first start to the last end; `None` if there are
    /// none.
    #[must_use]
    pub fn sum(&self) -> Option<Metric> {
        let mut all = self.0.values().flatten();
        let mut sum = all.next()?.clone();
        for metric in all {
            let (start, last) = (
                sum.start().min(metric.start()),
                sum.last().max(metric.last()),
            );
            sum = sum.plus(metric).stamped(start, last);
        }
        Some(sum)
    }

    /// Returns the sum of one field of all metrics; `None` if a metric has no such field.
    pub(in crate::gremlin) fn sum_of(&self, field: &str) -> Option<i64> {
        self.0
            .values()
            .flatten()
            .try_fold(0_i64, |sum, m| Some(sum.saturating_add(m.get(field)?)))
    }

    /// Returns the names of the fields of the metrics.
    pub(in crate::gremlin) fn keys(&self) -> Vec<Value> {
        match self.0.values().flatten().next() {
            None => Vec::new(),
            Some(Metric::Flow(_)) => FLOW_FIELDS.into_iter().map(Value::from).collect(),
            Some(Metric::Interface(metric)) => metric.fields().map(Value::from).collect(),
        }
    }

    /// Returns the metrics of nodes under a key: counters of sFlow below `SFlow`, else of
    /// interfaces. Nodes without the key are omitted; during a time slice, so are metrics that are not
    /// inside the slice.
    pub(in crate::gremlin) fn of_nodes(
        nodes: &[NodeRef],
        key: &str,
        when: Option<When>,
        budget: &Budget<'_>,
    ) -> Result<Self, QueryError> {
        let read = match key.split('.').next() {
            Some("SFlow") => InterfaceMetric::from_sflow_map,
            _ => InterfaceMetric::from_map,
        };
        let key = ElementKey::parse(key);
        let mut room = budget.room();
        let mut found: BTreeMap<Text, Vec<Metric>> = BTreeMap::new();
        for node in nodes {
            budget.tick()?;
            let metric = match node.value(&key) {
                None | Some(Value::Null) => continue,
                Some(Value::Map(map)) => Metric::Interface(read(&map)),
                Some(_) => return Err(QueryError::execute("wrong interface metric type")),
            };
            // COMPAT: the metric must be strictly inside the slice.
            if let Some(When::During(slice)) = when
                && (metric.start() <= slice.start.as_ms() || metric.last() >= slice.last.as_ms())
            {
                continue;
            }
            room.add(size_of::<Metric>() + metric.heap_bytes())?;
            let series = found.entry(node.id.to_string().into()).or_default();
            if !series.iter().any(|known| known.start() == metric.start()) {
                series.push(metric);
            }
        }
        for series in found.values_mut() {
            series.sort_by_key(Metric::start);
        }
        Ok(Self(found))
    }

    /// Returns the metrics of flows: since their last update, or since their start.
    pub(in crate::gremlin) fn of_flows(flows: &[Flow]) -> Self {
        let metric = |flow: &Flow| {
            let metric = flow.last_update_metric.or(flow.metric)?;
            Some((flow.uuid.clone(), vec![Metric::Flow(metric)]))
        };
        flows.iter().filter_map(metric).collect()
    }
}

impl FromIterator<(Text, Vec<Metric>)> for Metrics {
    fn from_iter<I: IntoIterator<Item = (Text, Vec<Metric>)>>(series: I) -> Self {
        Self(series.into_iter().collect())
    }
}

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, series)| (name.as_str(), series)))
    }
}

impl Metric {
    /// Returns the start of the interval, in Unix milliseconds.
    #[must_use]
    pub const fn start(&self) -> i64 {
        match self {
            Self::Flow(metric) => metric.start,
            Self::Interface(metric) => metric.start,
        }
    }

    /// Returns the end of the interval, in Unix milliseconds.
    #[must_use]
    pub const fn last(&self) -> i64 {
        match self {
            Self::Flow(metric) => metric.last,
            Self::Interface(metric) => metric.last,
        }
    }

    /// Returns a field by its JSON name.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<i64> {
        match self {
            Self::Flow(metric) => Some(metric.get(MetricField::parse(field)?)),
            Self::Interface(metric) => metric.get(field),
        }
    }

    /// Converts to a value with the keys of the JSON form.
    pub(in crate::gremlin) fn to_value(&self) -> Value {
        let fields: Vec<(&str, i64)> = match self {
            Self::Flow(metric) => {
                let is_shown = |name: &&str| *name != "RTT" || metric.rtt != 0;
                FLOW_FIELDS
                    .into_iter()
                    .filter(is_shown)
                    .filter_map(|f| Some((f, self.get(f)?)))
                    .collect()
            }
            Self::Interface(metric) => metric.non_zero().collect(),
        };
        Value::from(Map::from_iter(fields))
    }

    /// Returns the number of bytes on the heap.
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Flow(_) => 0,
            Self::Interface(metric) => metric.heap_bytes(),
        }
    }

    /// Returns whether all counters are zero.
    fn is_zero(&self) -> bool {
        match self {
            Self::Flow(metric) => metric.is_zero(),
            Self::Interface(metric) => metric.is_zero(),
        }
    }

    /// Returns the sum with the interval of `self`. A metric of another kind is ignored.
    fn plus(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Flow(a), Self::Flow(b)) => Self::Flow(a.plus(b)),
            (Self::Interface(a), Self::Interface(b)) => Self::Interface(a.plus(b)),
            _ => self.clone(),
        }
    }

    /// Sets the interval.
    fn stamped(mut self, start: i64, last: i64) -> Self {
        match &mut self {
            Self::Flow(metric) => (metric.start, metric.last) = (start, last),
            Self::Interface(metric) => (metric.start, metric.last) = (start, last),
        }
        self
    }

    /// Splits at a time (Unix ms). Returns the parts before and after it.
    fn split(&self, at: i64) -> (Option<Self>, Option<Self>) {
        match self {
            Self::Flow(metric) => {
                let (before, after) = metric.split(at);
                (before.map(Self::Flow), after.map(Self::Flow))
            }
            Self::Interface(metric) => {
                let (before, after) = metric.split(at);
                (before.map(Self::Interface), after.map(Self::Interface))
            }
        }
    }
}

/// Adds a series, in time order, to the slots that it overlaps.
fn distribute(series: &[Metric], start: i64, last: i64, slot_ms: i64, sums: &mut [Option<Metric>]) {
    let mut series = series.iter().cloned();
    let mut current = series.next();
    let mut slots = sums.iter_mut().enumerate();
    let mut slot = slots.next();
    while let (Some(metric), Some((number, sum))) = (&current, slot.as_mut()) {
        let number = i64::try_from(*number).unwrap_or(i64::MAX);
        let slot_start = start.saturating_add(number.saturating_mul(slot_ms));
        let slot_end = slot_start.saturating_add(slot_ms).min(last);
        let Some(reaching) = metric.split(slot_start).1 else {
            current = series.next();
            continue;
        };
        let (inside, later) = match reaching.split(slot_end) {
            // Too small to split: all of it belongs to the slot in which it begins.
            (Some(inside), _) if inside.is_zero() && metric.start() >= slot_start => {
                (Some(reaching), None)
            }
            parts => parts,
        };
        if let Some(inside) = inside {
            **sum = Some(match &**sum {
                Some(before) => before.plus(&inside),
                None => inside.stamped(slot_start, slot_end),
            });
        }
        match later {
            Some(later) => {
                current = Some(later);
                slot = slots.next();
            }
            None => current = series.next(),
        }
    }
}

/// Maximum number of slots of `Aggregates`.
const MAX_SLOTS: usize = 10_000;
/// Name of the aggregated series.
const AGGREGATED: &str = "Aggregated";
const FLOW_FIELDS: [&str; 7] = [
    "ABPackets",
    "ABBytes",
    "BAPackets",
    "BABytes",
    "Start",
    "Last",
    "RTT",
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::time::Timestamp;

    fn interface(json: &str) -> Metric {
        Metric::Interface(InterfaceMetric::from_map(
            &serde_json::from_str(json).unwrap(),
        ))
    }

    fn json(metrics: &Metrics) -> serde_json::Value {
        serde_json::to_value(metrics).unwrap()
    }

    #[test]
    fn counters_are_distributed_in_proportion_and_truncated() {
        let metric = interface(r#"{"RxBytes":100,"Start":1000,"Last":31000}"#);
        let metrics = Metrics::from_iter([("m".into(), vec![metric])]);
        let slots = metrics.aggregate(None, Duration::from_secs(10)).unwrap();
        let wanted = serde_json::json!({"Aggregated": [
            {"RxBytes": 33, "Start": 1000, "Last": 11000},
            {"RxBytes": 33, "Start": 11000, "Last": 21000},
            {"RxBytes": 33, "Start": 21000, "Last": 31000},
        ]});
        assert_eq!(json(&slots), wanted);
    }

    #[test]
    fn counters_of_sflow_are_summed_under_their_names() {
        let sflow = |json: &str| {
            let map = serde_json::from_str(json).unwrap();
            Metric::Interface(InterfaceMetric::from_sflow_map(&map))
        };
        let first = sflow(r#"{"IfInOctets":7,"OvsDpNHit":2,"RxBytes":5,"Start":1,"Last":4}"#);
        let second = sflow(r#"{"IfInOctets":1,"Start":4,"Last":9}"#);
        let metrics = Metrics::from_iter([("m".into(), vec![first, second])]);
        let sum = serde_json::to_value(metrics.sum().unwrap()).unwrap();
        let wanted = serde_json::json!({"IfInOctets": 8, "OvsDpNHit": 2, "Start": 1, "Last": 9});
        assert_eq!(sum, wanted);
        assert!(metrics.keys().contains(&Value::from("EthFCSErrors")));
        let slots = metrics.aggregate(None, Duration::from_secs(1)).unwrap();
        let wanted = serde_json::json!({"IfInOctets": 8, "OvsDpNHit": 2, "Start": 1, "Last": 9});
        assert_eq!(json(&slots), serde_json::json!({"Aggregated": [wanted]}));
    }

    #[test]
    fn empty_slots_are_omitted_and_the_last_one_is_cut() {
        let at = |start: i64, last: i64| {
            Metric::Flow(FlowMetric {
                ab_bytes: 8,
                start,
                last,
                ..FlowMetric::default()
            })
        };
        let metrics = Metrics::from_iter([("m".into(), vec![at(0, 10), at(35, 37)])]);
        let slots = metrics.aggregate(None, Duration::from_millis(10)).unwrap();
        let spans: Vec<(i64, i64)> = slots
            .iter()
            .flat_map(|(_, s)| s)
            .map(|m| (m.start(), m.last()))
            .collect();
        assert_eq!(spans, [(0, 10), (30, 37)]);
        let window = TimeSlice {
            start: Timestamp::ZERO,
            last: Timestamp::from_ms(10_001),
        };
        let error = metrics
            .aggregate(Some(window), Duration::from_millis(1))
            .unwrap_err();
        assert_eq!(
            error.message(),
            "Aggregates available slices exceeded: 10001/10000"
        );
        let none = Metrics::default()
            .aggregate(None, Duration::from_secs(30))
            .unwrap();
        assert_eq!(json(&none), serde_json::json!({"Aggregated": []}));
    }
}
