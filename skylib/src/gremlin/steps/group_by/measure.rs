//! `Measure`: totals of a group, sums of fields and rates.

use crate::flow::{Flow, FlowField, FlowMetric, IntField, MetricField};
use crate::value::{Text, Value};

/// Total of a group, with the name of its column.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::gremlin) struct Measure {
    pub(super) name: Text,
    source: Source,
}

#[derive(Clone, Debug, PartialEq)]
enum Source {
    Field(FlowField),
    /// Counter of `Metric`.
    Counter(Counter),
    /// Counter of the last update interval, per 1000 seconds.
    Rate(Counter),
}

/// Counter of packets or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counter {
    /// In both directions.
    Bytes,
    /// In both directions.
    Packets,
    One(MetricField),
}

impl Measure {
    /// Returns the sum of a field: any number of a flow, `Bytes`, or `Packets`.
    ///
    /// # Errors
    /// Returns a message if no flow has this number.
    pub(in crate::gremlin) fn sum(name: &Text) -> Result<Self, String> {
        let source = match (Counter::both(name), FlowField::parse(name)) {
            (Some(counter), _) => Source::Counter(counter),
            (None, Some(FlowField::Int(IntField::Metric(field)))) => {
                Source::Counter(Counter::One(field))
            }
            (
                None,
                Some(field @ (FlowField::Int(_) | FlowField::Detail(_) | FlowField::Layer(_))),
            ) => Source::Field(field),
            _ => {
                return Err(format!(
                    "cannot add up {name:?}; expected a number such as Metric.ABBytes, Bytes, or \
                     Packets"
                ));
            }
        };
        let name = name.clone();
        Ok(Self { name, source })
    }

    /// Returns the rate of a counter in the last update interval of each flow, per second.
    ///
    /// # Errors
    /// Returns a message if there is no such counter.
    pub(in crate::gremlin) fn rate(name: &str) -> Result<Self, String> {
        let counter = ["Metric.", "LastUpdateMetric."]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix))
            .unwrap_or(name);
        let one = || match MetricField::parse(counter)? {
            MetricField::Start | MetricField::Last | MetricField::Rtt => None,
            field => Some(Counter::One(field)),
        };
        let found = Counter::both(counter).or_else(one);
        let source = found.map(Source::Rate).ok_or_else(|| {
            format!(
                "no rate of {name:?}; expected Bytes, Packets, ABBytes, BABytes, ABPackets, or \
                 BAPackets"
            )
        })?;
        let name = Text::from(format!("{counter}/s"));
        Ok(Self { name, source })
    }

    /// Returns the name of the column.
    pub(in crate::gremlin) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the value of a flow; 0 if it is absent.
    pub(super) fn of(&self, flow: &Flow) -> i64 {
        match &self.source {
            Source::Field(field) => flow.value(field).and_then(|v| v.to_int()).unwrap_or(0),
            Source::Counter(counter) => flow.metric.as_ref().map_or(0, |m| counter.of(m)),
            Source::Rate(counter) => rate_of(flow, *counter),
        }
    }

    /// Returns a sum of values as shown in a row.
    pub(super) fn shown(&self, sum: i64) -> Value {
        match self.source {
            Source::Rate(_) => Value::Int(sum.saturating_add(500) / 1000),
            _ => Value::Int(sum),
        }
    }
}

impl Counter {
    fn both(name: &str) -> Option<Self> {
        match name {
            "Bytes" => Some(Self::Bytes),
            "Packets" => Some(Self::Packets),
            _ => None,
        }
    }

    fn of(self, metric: &FlowMetric) -> i64 {
        match self {
            Self::Bytes => metric.ab_bytes.saturating_add(metric.ba_bytes),
            Self::Packets => metric.ab_packets.saturating_add(metric.ba_packets),
            Self::One(field) => metric.get(field),
        }
    }
}

/// Returns a counter per 1000 seconds, in the last update interval, or since the start of a flow
/// that is younger than an interval. Intervals count as at least one second, so that a flow of one
/// packet has a finite rate.
fn rate_of(flow: &Flow, counter: Counter) -> i64 {
    let (metric, start, last) = match (&flow.last_update_metric, &flow.metric) {
        (Some(metric), _) => (metric, metric.start, metric.last),
        (None, Some(metric)) => (metric, flow.start, flow.last),
        (None, None) => return 0,
    };
    let duration = i128::from(last.saturating_sub(start).max(1000));
    let rate = i128::from(counter.of(metric)) * 1_000_000 / duration;
    i64::try_from(rate).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(ab: i64, ba: i64, start: i64, last: i64) -> FlowMetric {
        FlowMetric {
            ab_bytes: ab,
            ba_bytes: ba,
            start,
            last,
            ..FlowMetric::default()
        }
    }

    fn shown(measure: &Measure, flow: &Flow) -> Value {
        measure.shown(measure.of(flow))
    }

    #[test]
    fn a_rate_is_that_of_the_last_interval_or_of_the_young_flow() {
        let rate = |name| Measure::rate(name).unwrap();
        let old = Flow::default()
            .with_times(0, 90_000)
            .with_metric(metric(1_000_000, 0, 0, 90_000))
            .with_last_update_metric(metric(600, 300, 60_000, 90_000));
        assert_eq!(shown(&rate("Bytes"), &old), Value::Int(30));
        assert_eq!(
            shown(&rate("LastUpdateMetric.ABBytes"), &old),
            Value::Int(20)
        );
        let young = Flow::default()
            .with_times(1_000, 5_000)
            .with_metric(metric(4_000, 0, 0, 0));
        assert_eq!(shown(&rate("ABBytes"), &young), Value::Int(1_000));
        let packet = Flow::default().with_metric(metric(70, 0, 0, 0));
        assert_eq!(shown(&rate("Metric.Bytes"), &packet), Value::Int(70));
        assert_eq!(rate("Metric.Bytes").name(), "Bytes/s");
        assert_eq!(shown(&rate("Packets"), &Flow::default()), Value::Int(0));
        assert!(Measure::rate("RTT").is_err() && Measure::rate("Nope").is_err());
    }

    #[test]
    fn any_number_of_a_flow_can_be_added_up() {
        let sum = |name: &str| Measure::sum(&name.into());
        let flow = Flow::default()
            .with_times(3, 9)
            .with_metric(metric(5, 7, 0, 0));
        for (name, wanted) in [
            ("Bytes", 12),
            ("Metric.BABytes", 7),
            ("Last", 9),
            ("LastUpdateMetric.ABBytes", 0),
            ("RTTMetric.Samples", 0),
        ] {
            assert_eq!(
                shown(&sum(name).unwrap(), &flow),
                Value::Int(wanted),
                "{name}"
            );
        }
        for wrong in ["Network.A", "Metric", "Nope"] {
            assert!(sum(wrong).is_err(), "{wrong}");
        }
    }
}
