//! `FlowQuery`: what a client asks of flow tables and stores, and who answers.

use super::field::FlowField;
use super::metric::FlowMetric;
use super::record::Flow;
use super::set::{FlowSet, SortOrder};
use crate::filter::Filter;
use crate::time::TimeSlice;
use crate::value::Text;

/// A question about flows; an empty one asks for all of them.
///
/// ```
/// use skylib::filter::{Filter, Predicate};
/// use skylib::flow::{FlowField, FlowQuery, SortOrder};
/// let query = FlowQuery {
///     filter: Filter::test("Application", Predicate::Text("DNS".into())),
///     sort: FlowField::parse("Metric.ABBytes").map(|field| (field, SortOrder::Descending)),
///     range: Some((0, 10)),
///     ..FlowQuery::default()
/// };
/// assert!(query.time.is_none(), "asks the live tables");
/// ```
#[derive(Clone, Debug)]
pub struct FlowQuery {
    /// Which flows, by field name; see [`FlowField::parse`].
    pub filter: Filter,
    /// Only flows captured on nodes with one of these `TID`s.
    pub node_tids: Option<Vec<Text>>,
    /// In which order.
    pub sort: Option<(FlowField, SortOrder)>,
    /// One flow of each value of a field; `Some(None)` is `TrackingID`.
    pub dedup: Option<Option<FlowField>>,
    /// From this position up to that one of the result.
    pub range: Option<(u64, u64)>,
    /// Flows of the past that were active in this time, instead of live ones.
    pub time: Option<TimeSlice>,
}

impl Default for FlowQuery {
    fn default() -> Self {
        Self {
            filter: Filter::everything(),
            node_tids: None,
            sort: None,
            dedup: None,
            range: None,
            time: None,
        }
    }
}

impl FlowQuery {
    /// Whether a flow captured on a node is asked for, as far as nodes go.
    #[must_use]
    pub fn wants_node(&self, tid: &str) -> bool {
        self.node_tids
            .as_ref()
            .is_none_or(|tids| tids.iter().any(|wanted| wanted == tid))
    }

    /// Sort, dedup and range, in this order, on flows that passed the filter.
    ///
    /// # Errors
    /// [`FlowQueryError::FieldNotFound`] if a flow lacks a field to sort or deduplicate by.
    pub fn arrange(&self, set: &mut FlowSet) -> Result<(), FlowQueryError> {
        if let Some((field, order)) = self.sort {
            set.sort(Some(field), order)?;
        }
        if let Some(field) = self.dedup {
            set.dedup(field)?;
        }
        if let Some((from, to)) = self.range {
            set.slice(from, to);
        }
        Ok(())
    }

    /// Answers from flows at hand, as a table would; time is not looked at.
    ///
    /// # Errors
    /// [`FlowQueryError::FieldNotFound`] if a flow lacks a field to sort or deduplicate by.
    pub fn answer(&self, flows: Vec<Flow>) -> Result<FlowSet, FlowQueryError> {
        let filter = self.filter.map_keys(&mut |name| FlowField::parse(name));
        let is_asked = |flow: &Flow| self.wants_node(&flow.node_tid) && filter.matches(flow);
        let mut set = FlowSet::from_flows(flows.into_iter().filter(is_asked).collect());
        self.arrange(&mut set)?;
        Ok(set)
    }
}

/// Why a flow query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlowQueryError {
    /// A flow lacks the field to sort or deduplicate by.
    #[error("flow field {field:?} not found")]
    FieldNotFound {
        /// The field's name.
        field: String,
    },
    /// The query asks for the past and nothing keeps it.
    #[error("No storage backend has been configured")]
    NoStorage,
    /// The source could not answer.
    #[error("flow source: {reason}")]
    Source {
        /// What went wrong.
        reason: String,
    },
}

/// Whoever answers flow queries: live tables, a store, agents far away.
pub trait FlowSource: Send + Sync {
    /// The flows asked for.
    ///
    /// # Errors
    /// See [`FlowQueryError`].
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError>;

    /// How many flows [`FlowSource::query`] would give.
    ///
    /// # Errors
    /// See [`FlowQueryError`].
    fn count(&self, query: &FlowQuery) -> Result<u64, FlowQueryError> {
        Ok(self.query(query)?.flows.len() as u64)
    }

    /// What was counted in flows of the past, update by update, oldest first; at an instant, up to
    /// it. Flows of which nothing is known are left out.
    ///
    /// # Errors
    /// [`FlowQueryError::NoStorage`] of a source that has only the present.
    fn metrics(
        &self,
        uuids: &[Text],
        time: TimeSlice,
    ) -> Result<Vec<(Text, Vec<FlowMetric>)>, FlowQueryError> {
        let _ = (uuids, time);
        Err(FlowQueryError::NoStorage)
    }
}

/// Flows at hand, for tests and for queries about the graph alone; time is not looked at.
impl FlowSource for FlowSet {
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        query.answer(self.flows.clone())
    }
}

/// Where a table sends flows: each update, and each flow that leaves.
pub trait FlowSink {
    /// Takes whole records; a later record of the same `uuid` replaces the earlier.
    fn flows(&mut self, flows: Vec<Flow>);
}

impl FlowSink for Vec<Flow> {
    fn flows(&mut self, flows: Vec<Flow>) {
        self.extend(flows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Predicate;

    #[test]
    fn filter_sort_dedup_and_range_come_in_this_order() {
        let flow = |uuid: &str, tracking: &str, last| Flow {
            uuid: uuid.into(),
            tracking_id: tracking.into(),
            node_tid: "t1".into(),
            last,
            ..Flow::default()
        };
        let flows = vec![
            flow("a", "1", 3),
            flow("b", "2", 9),
            flow("c", "1", 8),
            flow("d", "3", 1),
        ];
        let query = FlowQuery {
            filter: Filter::test("Last", Predicate::Gt(1)),
            node_tids: Some(vec!["t1".into()]),
            sort: Some((FlowField::LAST, SortOrder::Descending)),
            dedup: Some(None),
            range: Some((1, 5)),
            ..FlowQuery::default()
        };
        let set = query.answer(flows.clone()).unwrap();
        assert_eq!(
            set.flows
                .iter()
                .map(|f| f.uuid.as_str())
                .collect::<Vec<_>>(),
            ["c"]
        );
        assert_eq!(
            (set.start, set.end),
            (0, 9),
            "of all that passed the filter"
        );
        let elsewhere = FlowQuery {
            node_tids: Some(vec!["t2".into()]),
            ..query
        };
        assert!(elsewhere.answer(flows).unwrap().flows.is_empty());
    }

    #[test]
    fn a_missing_sort_field_is_reported() {
        let query = FlowQuery {
            sort: FlowField::parse("ICMP.ID").map(|field| (field, SortOrder::Ascending)),
            ..FlowQuery::default()
        };
        let error = query.answer(vec![Flow::default()]).unwrap_err();
        assert_eq!(error.to_string(), "flow field \"ICMP.ID\" not found");
    }
}
