//! `FlowScan`: a flow query, prepared for the evaluation on rows of segments.
//!
//! The filter is divided: tests of constant fields may be evaluated on any record of a flow, and
//! with page statistics and Bloom filters on a whole segment; tests of changing fields only on the
//! newest record, or an old record would answer for a flow that no longer matches.

use std::ops::Range;

use super::flow_columns::{columns_of, is_constant};
use super::parquet_file::RowGroup;
use crate::filter::{Filter, Predicate};
use crate::flow::{Flow, FlowField, FlowQuery};
use crate::time::TimeSlice;

/// A query on stored flows.
pub(super) struct FlowScan<'a> {
    query: &'a FlowQuery,
    /// Conditions on constant fields, by name.
    constant_names: Filter,
    constant: Filter<Option<FlowField>>,
    /// All conditions.
    full: Filter<Option<FlowField>>,
    /// Columns that the conditions, the order, and the deduplication need.
    columns: Vec<&'static str>,
    /// Earliest `Last` of a flow in the query's time, in Unix milliseconds.
    earliest_last: i64,
    /// Latest `Start` of a flow in the query's time, in Unix milliseconds.
    latest_start: i64,
}

impl<'a> FlowScan<'a> {
    /// Prepares a query. A flow counts as active until `grace_ms` after its last packet.
    pub(super) fn new(query: &'a FlowQuery, grace: std::time::Duration) -> Self {
        let constant_names = constant_part(&query.filter);
        let mut columns = vec!["UUID", "Start", "Last", "Number"];
        columns.extend(query.node_tids.is_some().then_some("NodeTID"));
        let mut compile = |name: &crate::value::Text| {
            let field = FlowField::parse(name);
            if let Some(field) = field {
                columns.extend(columns_of(&field.to_string()));
            }
            field
        };
        let full = query.filter.map_keys(&mut compile);
        let constant = constant_names.map_keys(&mut compile);
        let sort = query.sort.map(|(field, _)| field);
        for field in sort.into_iter().chain(query.dedup) {
            columns.extend(columns_of(&field.to_string()));
        }
        let (earliest_last, latest_start) = match query.time {
            None => (i64::MIN, i64::MAX),
            Some(TimeSlice { start, last }) => (start.saturating_sub(grace).as_ms(), last.as_ms()),
        };
        Self {
            query,
            constant_names,
            constant,
            full,
            columns,
            earliest_last,
            latest_start,
        }
    }

    /// Returns whether flows with these extreme times can be in the query's time.
    pub(super) const fn overlaps(&self, min_start: i64, max_last: i64) -> bool {
        min_start <= self.latest_start && max_last >= self.earliest_last
    }

    /// Returns whether any record of this flow decides that the flow is not in the result.
    pub(super) fn excludes(&self, flow: &Flow) -> bool {
        flow.start > self.latest_start
            || !self.query.matches_node(&flow.node_tid)
            || !self.constant.matches(flow)
    }

    /// Returns whether the newest record of a flow that is not excluded is in the result.
    pub(super) fn accepts(&self, newest: &Flow) -> bool {
        newest.last >= self.earliest_last && self.full.matches(newest)
    }

    /// Returns whether the scan needs a column.
    pub(super) fn needs(&self, column: &str) -> bool {
        self.columns.contains(&column)
    }

    /// Returns the rows of a row group that the indexes do not exclude; `None` for all.
    pub(super) fn candidates(&self, group: &RowGroup<'_>) -> Option<Vec<Range<usize>>> {
        candidates(&self.constant_names, group)
    }
}

/// Returns the conjunction of the conditions that test only constant fields.
fn constant_part(filter: &Filter) -> Filter {
    match filter {
        Filter::All(filters) => Filter::All(filters.iter().map(constant_part).collect()),
        other if tests_constant_fields(other) => other.clone(),
        _ => Filter::everything(),
    }
}

fn tests_constant_fields(filter: &Filter) -> bool {
    match filter {
        Filter::All(filters) | Filter::Any(filters) => filters.iter().all(tests_constant_fields),
        Filter::Not(filter) => tests_constant_fields(filter),
        // An unknown field is absent from all records.
        Filter::Test(name, _) => {
            FlowField::parse(name).is_none_or(|field| is_constant(&field.to_string()))
        }
    }
}

/// Returns the rows of a row group that may match a filter, as ascending ranges that may overlap;
/// `None` if the indexes exclude nothing.
fn candidates(filter: &Filter, group: &RowGroup<'_>) -> Option<Vec<Range<usize>>> {
    match filter {
        Filter::All(filters) => {
            let found = filters
                .iter()
                .filter_map(|filter| candidates(filter, group));
            found.reduce(|a, b| intersection(&a, &b))
        }
        Filter::Any(filters) if filters.is_empty() => None,
        Filter::Any(filters) => {
            let found = filters.iter().map(|filter| candidates(filter, group));
            Some(union(found.collect::<Option<Vec<_>>>()?.concat()))
        }
        Filter::Not(_) => None,
        Filter::Test(name, Predicate::OneOf(set)) => {
            let found = set
                .equalities()
                .take(MAX_ALTERNATIVES + 1)
                .map(|equality| candidates(&Filter::Test(name.clone(), equality), group));
            let found = found.collect::<Option<Vec<_>>>()?;
            (found.len() <= MAX_ALTERNATIVES).then(|| union(found.concat()))
        }
        Filter::Test(name, Predicate::Text(text)) if !text.is_empty() => {
            let field = FlowField::parse(name)?.to_string();
            Some(group.rows_with_text(&field, text))
        }
        Filter::Test(..) => None,
    }
}

/// Returns the rows in any of the ranges, as ascending ranges.
fn union(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// Returns the rows in both lists of ranges, as ascending ranges.
fn intersection(a: &[Range<usize>], b: &[Range<usize>]) -> Vec<Range<usize>> {
    let both = a
        .iter()
        .flat_map(|a| b.iter().map(|b| a.start.max(b.start)..a.end.min(b.end)));
    union(both.filter(|range| !range.is_empty()).collect())
}

/// Maximum number of alternatives for which the indexes are read.
const MAX_ALTERNATIVES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::single_range_in_vec_init, reason = "sets of ranges")]
    #[test]
    fn ranges_are_united_and_intersected() {
        assert_eq!(union(vec![5..7, 0..2, 2..3, 6..9]), [0..3, 5..9]);
        assert_eq!(
            intersection(&[0..4, 6..9], &[3..7, 8..20]),
            [3..4, 6..7, 8..9]
        );
        assert!(intersection(&[0..4], &[4..5]).is_empty());
    }

    #[test]
    fn only_conditions_on_constant_fields_are_tested_early() {
        let address = Filter::test("Network.A", Predicate::Text("10.0.0.1".into()));
        let metric = Filter::test("Metric.ABBytes", Predicate::Gt(5));
        let constant = |filter: &Filter| constant_part(filter);
        assert_eq!(constant(&address), address);
        assert!(constant(&metric).is_everything());
        let both = Filter::All(vec![address.clone(), metric.clone()]);
        let part = constant(&both);
        assert_eq!(
            part,
            Filter::All(vec![address.clone(), Filter::everything()])
        );
        let either = Filter::Any(vec![address, metric]);
        assert!(constant(&either).is_everything());
    }
}
