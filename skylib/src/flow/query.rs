//! `FlowQuery`: a query on flow tables and stores, and the traits of flow sources and sinks.

use std::ops::ControlFlow;

use super::field::FlowField;
use super::metric::FlowMetric;
use super::record::{Flow, RawPacket};
use super::set::{FlowSet, SortOrder};
use super::setters::setters;
use crate::file_use::FileUse;
use crate::filter::Filter;
use crate::time::TimeSlice;
use crate::value::Text;

/// Query for flows; the default selects all live flows.
///
/// ```
/// use skylib::filter::{Filter, Predicate};
/// use skylib::flow::{FlowQuery, SortOrder};
/// let query = FlowQuery::default()
///     .with_filter(Filter::test("Application", Predicate::Text("DNS".into())))
///     .with_sort("Metric.ABBytes".parse()?, SortOrder::Descending)
///     .with_range(0, 10);
/// assert!(query.time.is_none(), "a query on live tables");
/// # Ok::<(), skylib::flow::UnknownNameError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FlowQuery {
    /// Condition on flows, with field names as in [`FlowField::parse`].
    pub filter: Filter,
    /// `TID`s of captured nodes in ascending order; `None` selects flows of all nodes.
    pub node_tids: Option<Vec<Text>>,
    /// Field and direction to sort by; with `None`, the source determines the order.
    pub sort: Option<(FlowField, SortOrder)>,
    /// Field to deduplicate by: only the first flow of each value is returned.
    pub dedup: Option<FlowField>,
    /// Half-open range of result positions, `from..to`.
    pub range: Option<(u64, u64)>,
    /// Time slice in which stored flows were active; `None` queries live flows.
    pub time: Option<TimeSlice>,
    /// Maximum memory of the flows that a store on the disk reads for the answer, in bytes.
    pub max_bytes: usize,
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
            max_bytes: usize::MAX,
        }
    }
}

setters! {
    FlowQuery {
        with_filter filter Filter;
        with_dedup dedup FlowField;
        with_time time TimeSlice;
        with_max_bytes max_bytes usize;
    }
}

impl FlowQuery {
    /// Sets [`node_tids`](Self::node_tids), in any order.
    #[must_use]
    pub fn with_node_tids(mut self, mut tids: Vec<Text>) -> Self {
        tids.sort_unstable();
        self.node_tids = Some(tids);
        self
    }

    /// Sets [`sort`](Self::sort).
    #[must_use]
    pub const fn with_sort(mut self, field: FlowField, order: SortOrder) -> Self {
        self.sort = Some((field, order));
        self
    }

    /// Sets [`range`](Self::range).
    #[must_use]
    pub const fn with_range(mut self, from: u64, to: u64) -> Self {
        self.range = Some((from, to));
        self
    }

    /// Returns whether [`node_tids`](Self::node_tids) selects flows captured on a node. Costs a
    /// binary search, because a query of many nodes tests every flow of a table.
    #[must_use]
    pub fn matches_node(&self, tid: &str) -> bool {
        self.node_tids.as_ref().is_none_or(|tids| {
            let found = tids.binary_search_by(|wanted| wanted.as_str().cmp(tid));
            found.is_ok()
        })
    }

    /// Returns whether the query selects flows only by their fields, without sort, deduplication,
    /// or range.
    #[must_use]
    pub const fn is_unordered(&self) -> bool {
        self.sort.is_none() && self.dedup.is_none() && self.range.is_none()
    }

    /// Returns the filter with resolved names of fields.
    pub(crate) fn compiled_filter(&self) -> Filter<Option<FlowField>> {
        self.filter.compile(&mut |name| FlowField::parse(name))
    }

    /// Returns whether a flow was captured on one of the query's nodes and matches its compiled
    /// filter.
    pub(crate) fn selects(&self, flow: &Flow, filter: &Filter<Option<FlowField>>) -> bool {
        self.matches_node(&flow.node_tid) && filter.matches(flow)
    }

    /// Applies sort, deduplication, and range, in this order, to flows that matched the filter. If a
    /// flow lacks the field to deduplicate by, no flow is removed, as in Skydive.
    ///
    /// # Errors
    /// Returns [`FlowQueryError::FieldNotFound`] if the field to sort by is an object.
    pub fn arrange(&self, set: &mut FlowSet) -> Result<(), FlowQueryError> {
        if let Some((field, order)) = self.sort {
            set.sort(field, order)?;
        }
        if let Some(field) = self.dedup {
            // COMPAT: Skydive ignores this error.
            drop(set.dedup(field));
        }
        if let Some((from, to)) = self.range {
            set.slice(from, to);
        }
        Ok(())
    }

    /// Returns the result of the query on `flows`, like a table that contains these flows. Ignores
    /// [`time`](Self::time).
    ///
    /// # Errors
    /// Returns [`FlowQueryError::FieldNotFound`] if the field to sort by is an object.
    pub fn answer(&self, flows: Vec<Flow>) -> Result<FlowSet, FlowQueryError> {
        let filter = self.compiled_filter();
        let is_selected = |flow: &Flow| self.selects(flow, &filter);
        let mut set = FlowSet::from_flows(flows.into_iter().filter(is_selected).collect());
        self.arrange(&mut set)?;
        Ok(set)
    }
}

/// Error returned by a flow query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlowQueryError {
    /// A flow lacks the field to deduplicate by, or the field to sort by is an object.
    #[error("flow field {field:?} not found")]
    FieldNotFound {
        /// Name of the field.
        field: String,
    },
    /// The query is for stored flows, and the source has no store.
    #[error("No storage backend has been configured")]
    NoStorage,
    /// The source failed.
    #[error("flow source: {reason}")]
    Source {
        /// Description of the failure.
        reason: String,
    },
    /// The answer needs more memory than [`FlowQuery::max_bytes`].
    #[error("the query needs more than {limit} bytes; select fewer elements")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The query was interrupted while it waited for its source.
    #[error("the flow query was interrupted")]
    Interrupted,
}

/// Source of flows for queries: live tables, a store, or remote agents.
pub trait FlowSource: Send + Sync {
    /// Returns the flows of a query.
    ///
    /// # Errors
    /// Returns a [`FlowQueryError`] if the source has no store for a query of stored flows, lacks a
    /// field of the query, or fails.
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError>;

    /// Calls `visit` with each flow that [`query`](Self::query) would return, until it breaks.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use skylib::flow::{Flow, FlowQuery, FlowSet, FlowSource};
    /// let flows = FlowSet::from_flows(vec![Flow::default(), Flow::default()]);
    /// let mut count = 0;
    /// flows.visit(&FlowQuery::default(), &mut |_| {
    ///     count += 1;
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!(count, 2);
    /// # Ok::<(), skylib::flow::FlowQueryError>(())
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`query`](Self::query).
    fn visit(
        &self,
        query: &FlowQuery,
        visit: &mut dyn FnMut(&Flow) -> ControlFlow<()>,
    ) -> Result<(), FlowQueryError> {
        let _stopped = self.query(query)?.flows.iter().try_for_each(visit);
        Ok(())
    }

    /// Returns the number of flows that [`query`](Self::query) would return.
    ///
    /// # Errors
    /// Returns the errors of [`query`](Self::query).
    fn count(&self, query: &FlowQuery) -> Result<u64, FlowQueryError> {
        Ok(self.query(query)?.flows.len() as u64)
    }

    /// Returns the metrics of stored flows by UUID: one metric for each update in the time slice,
    /// oldest first. For an instant, returns the metrics of the updates up to it. Omits flows
    /// without any metric.
    ///
    /// # Errors
    /// Returns [`FlowQueryError::NoStorage`] if the source has only live flows.
    fn metrics(
        &self,
        uuids: &[Text],
        time: TimeSlice,
    ) -> Result<Vec<(Text, Vec<FlowMetric>)>, FlowQueryError> {
        let _ = (uuids, time);
        Err(FlowQueryError::NoStorage)
    }

    /// Returns the parts of files that [`query`](Self::query) reads, for explanations; empty for a
    /// source without files.
    fn files(&self, query: &FlowQuery) -> Vec<FileUse> {
        let _ = query;
        Vec::new()
    }

    /// Returns the raw packets in the flow store for the flows with the given UUIDs; packets that
    /// are still in a flow table are not included. Omits flows without stored packets; returns an
    /// empty list if the source has no flow store.
    fn stored_packets(&self, uuids: &[Text]) -> PacketsByFlow {
        let _ = uuids;
        Vec::new()
    }
}

/// Raw packets by the UUID of their flow, in the order of their index.
pub type PacketsByFlow = Vec<(Text, Vec<RawPacket>)>;

/// Fixed set of flows, for tests and for queries without live tables. Ignores the time of a query.
impl FlowSource for FlowSet {
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        query.answer(self.flows.clone())
    }

    fn visit(
        &self,
        query: &FlowQuery,
        visit: &mut dyn FnMut(&Flow) -> ControlFlow<()>,
    ) -> Result<(), FlowQueryError> {
        if !query.is_unordered() {
            let _stopped = self.query(query)?.flows.iter().try_for_each(visit);
            return Ok(());
        }
        let filter = query.compiled_filter();
        let mut flows = self.flows.iter();
        let _stopped = flows.try_for_each(|flow| match query.selects(flow, &filter) {
            true => visit(flow),
            false => ControlFlow::Continue(()),
        });
        Ok(())
    }
}

/// Receiver of the flows that a table sends: at each update, and when a flow is removed.
pub trait FlowSink {
    /// Receives complete records; a later record of a `uuid` replaces the earlier ones.
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
    fn filter_sort_dedup_and_range_apply_in_this_order() {
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
            dedup: Some(FlowField::TRACKING_ID),
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
    fn a_missing_field_of_deduplication_leaves_all_flows() {
        let query = FlowQuery {
            dedup: FlowField::parse("ICMP.ID"),
            ..FlowQuery::default()
        };
        let flows = vec![Flow::default(), Flow::default()];
        assert_eq!(query.answer(flows).unwrap().flows.len(), 2);
    }
}
