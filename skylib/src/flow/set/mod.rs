//! `FlowSet`: the result of a flow query, and merging of the results of several sources.

#[cfg(feature = "history")]
mod arrangement;

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::field::{FlowField, FlowFields};
use super::protobuf::wire_message;
use super::query::FlowQueryError;
use super::record::Flow;
use super::setters::setters;
use crate::filter::Filter;
use crate::value::Value;

#[cfg(feature = "history")]
pub(crate) use self::arrangement::ArrangeKeys;

/// Set of flows and the time they span. The schema is Skydive's.
///
/// ```
/// use skylib::flow::{Flow, FlowField, FlowSet};
/// let flow = |id: &str| Flow::default().with_tracking_id(id);
/// let mut set = FlowSet::from_flows(vec![flow("aaa"), flow("bbb"), flow("aaa")]);
/// set.dedup(FlowField::TRACKING_ID)?;
/// assert_eq!(set.flows.len(), 2);
/// # Ok::<(), skylib::flow::FlowQueryError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlowSet {
    /// Flows, in result order.
    #[serde(rename = "Flows", skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<Flow>,
    /// Minimum start of all flows that matched, in Unix milliseconds.
    #[serde(rename = "Start")]
    pub start: i64,
    /// Maximum `last` of all flows that matched, in Unix milliseconds.
    #[serde(rename = "End")]
    pub end: i64,
}

wire_message!(FlowSet { 1 => flows, 2 => start, 3 => end });

/// Direction of a sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// Ascending order: smallest first.
    #[default]
    Ascending,
    /// Descending order: largest first.
    Descending,
}

/// Options of [`FlowSet::merge`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct MergeOptions {
    /// Order of both sets and of the result; `None` appends the other set.
    pub sort: Option<(FlowField, SortOrder)>,
    /// Field to deduplicate by: only the first flow of each value remains in the set.
    pub dedup: Option<FlowField>,
}

setters! {
    MergeOptions {
        with_dedup dedup FlowField;
    }
}

impl MergeOptions {
    /// Sets [`sort`](Self::sort).
    #[must_use]
    pub const fn with_sort(mut self, field: FlowField, order: SortOrder) -> Self {
        self.sort = Some((field, order));
        self
    }
}

impl FlowSet {
    /// Creates a set of flows; its time span is that of the flows.
    #[must_use]
    pub fn from_flows(flows: Vec<Flow>) -> Self {
        let start = flows.iter().map(|flow| flow.start).min().unwrap_or(0);
        let end = flows.iter().map(|flow| flow.last).max().unwrap_or(0);
        Self { flows, start, end }
    }

    /// Sorts the flows by a field; flows without the field are last in both directions. Flows with
    /// equal values remain in order if ascending, and are reversed if descending.
    ///
    /// # Errors
    /// Returns [`FlowQueryError::FieldNotFound`] if the field is an object, which has no order; the
    /// set is then unchanged.
    pub fn sort(&mut self, by: FlowField, order: SortOrder) -> Result<(), FlowQueryError> {
        check_order(&by)?;
        let mut ranked = ranked(std::mem::take(&mut self.flows), &by);
        sort_by_rank(&mut ranked, order, |(rank, _)| rank);
        self.flows = ranked.into_iter().map(|(_, flow)| flow).collect();
        Ok(())
    }

    /// Removes all but the first flow of each value of a field.
    ///
    /// # Errors
    /// Returns [`FlowQueryError::FieldNotFound`] if a flow lacks the field; the set is then
    /// unchanged.
    pub fn dedup(&mut self, by: FlowField) -> Result<(), FlowQueryError> {
        let keyed = self.keyed(&by)?;
        let mut seen = hashbrown::HashSet::with_capacity(keyed.len());
        self.flows = keyed
            .into_iter()
            .filter_map(|(key, flow)| seen.insert(key).then_some(flow))
            .collect();
        Ok(())
    }

    /// Merges another set into this one. Both must be sorted and deduplicated as in `options`.
    ///
    /// # Errors
    /// Returns [`FlowQueryError::FieldNotFound`] if the field to sort by has no order; this set is
    /// then unchanged.
    pub fn merge(&mut self, other: Self, options: &MergeOptions) -> Result<(), FlowQueryError> {
        let (start, end) = (other.start, other.end);
        let both = || self.flows.iter().chain(&other.flows);
        // COMPAT: if a flow lacks the field, Skydive removes no flow.
        let dedup = options
            .dedup
            .as_ref()
            .filter(|field| both().all(|flow| rank(flow, field).is_some()));
        match (&options.sort, &dedup) {
            (None, None) => self.flows.extend(other.flows),
            (Some((field, order)), dedup) => {
                check_order(field)?;
                let ours = ranked(std::mem::take(&mut self.flows), field);
                self.flows = merged(ours, ranked(other.flows, field), *order);
                if let Some(field) = dedup {
                    self.dedup(**field)?;
                }
            }
            (None, Some(field)) => {
                let known = self.flows.iter().map(|flow| key(flow, field));
                let known = known.collect::<Result<hashbrown::HashSet<_>, _>>()?;
                // COMPAT: duplicates within the other set are not removed.
                let new = other
                    .keyed_by(field)?
                    .into_iter()
                    .filter(|(k, _)| !known.contains(k));
                self.flows.extend(new.map(|(_, flow)| flow));
            }
        }
        // 0 is the start of an empty set.
        self.start = match (self.start, start) {
            (0, start) | (start, 0) => start,
            (a, b) => a.min(b),
        };
        self.end = self.end.max(end);
        Ok(())
    }

    /// Removes the flows that do not match a filter.
    pub fn filter(&mut self, filter: &Filter) {
        if !filter.is_everything() {
            let filter = filter.compile(&mut |name| FlowField::parse(name));
            self.flows.retain(|flow| filter.matches(flow));
        }
    }

    /// Removes all flows outside the positions `from..to`, both limited to the number of flows.
    pub fn slice(&mut self, from: u64, to: u64) {
        let len = self.flows.len();
        let cut = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(len);
        let (from, to) = (cut(from), cut(to));
        self.flows.truncate(to);
        self.flows.drain(..from.min(to));
    }

    /// Moves the flows out of the set, each with its key; leaves the set unchanged on error.
    fn keyed(&mut self, field: &FlowField) -> Result<Vec<(SortKey, Flow)>, FlowQueryError> {
        let keys = self
            .flows
            .iter()
            .map(|flow| key(flow, field))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(keys
            .into_iter()
            .zip(std::mem::take(&mut self.flows))
            .collect())
    }

    /// Returns the flows, each with its key.
    fn keyed_by(mut self, field: &FlowField) -> Result<Vec<(SortKey, Flow)>, FlowQueryError> {
        self.keyed(field)
    }
}

/// Returns flows, each with the value of a field, if it has one.
fn ranked(flows: Vec<Flow>, field: &FlowField) -> Vec<(Option<SortKey>, Flow)> {
    let with_rank = |flow: Flow| (rank(&flow, field), flow);
    flows.into_iter().map(with_rank).collect()
}

/// Compares two values; an absent value is last in both directions.
fn compare(a: &Option<SortKey>, b: &Option<SortKey>, order: SortOrder) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => match order {
            SortOrder::Ascending => a.cmp(b),
            SortOrder::Descending => b.cmp(a),
        },
        (a, b) => a.is_none().cmp(&b.is_none()),
    }
}

/// Merges two sorted lists in O(n). Of equal flows the left one is first if ascending, the right
/// one if descending.
fn merged(
    left: Vec<(Option<SortKey>, Flow)>,
    right: Vec<(Option<SortKey>, Flow)>,
    order: SortOrder,
) -> Vec<Flow> {
    let mut flows = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    loop {
        let takes_left = match (left.peek(), right.peek()) {
            (Some(l), Some(r)) => match compare(&l.0, &r.0, order) {
                Ordering::Equal => order == SortOrder::Ascending,
                ordering => ordering == Ordering::Less,
            },
            (left, _) => left.is_some(),
        };
        let next = if takes_left {
            left.next()
        } else {
            right.next()
        };
        match next {
            Some((_, flow)) => flows.push(flow),
            None => return flows,
        }
    }
}

/// Value of a field that flows are sorted or deduplicated by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum SortKey {
    Int(i64),
    Text(String),
}

/// Returns the value of a field.
///
/// # Errors
/// Returns an error if the flow lacks the field.
fn key(flow: &Flow, field: &FlowField) -> Result<SortKey, FlowQueryError> {
    rank(flow, field).ok_or_else(|| no_field(field))
}

/// Sorts items by the values of a field.
fn sort_by_rank<T>(items: &mut [T], order: SortOrder, rank: impl Fn(&T) -> &Option<SortKey>) {
    if order == SortOrder::Descending {
        // COMPAT: Skydive's merge takes equal flows from the right first if descending.
        items.reverse();
    }
    items.sort_by(|a, b| compare(rank(a), rank(b), order));
}

/// Returns an error if flows cannot be sorted by a field.
fn check_order(field: &FlowField) -> Result<(), FlowQueryError> {
    match field {
        FlowField::Object(_) => Err(no_field(field)),
        _ => Ok(()),
    }
}

fn no_field(field: &FlowField) -> FlowQueryError {
    FlowQueryError::FieldNotFound {
        field: field.to_string(),
    }
}

/// Returns the value of a field; `None` if the flow lacks it.
fn rank(flow: &Flow, field: &FlowField) -> Option<SortKey> {
    match field {
        FlowField::Int(field) => flow.int(*field).map(SortKey::Int),
        FlowField::Text(field) => flow.with_text(*field, |text| SortKey::Text(text.to_owned())),
        FlowField::Object(_) => None,
        FlowField::Detail(_) | FlowField::Layer(_) => sort_key(&flow.value(field)?),
    }
}

/// Returns the sort key of a value: of the first element of a list.
fn sort_key(value: &Value) -> Option<SortKey> {
    match value {
        Value::Int(number) => Some(SortKey::Int(*number)),
        Value::Bool(bool) => Some(SortKey::Int(i64::from(*bool))),
        Value::Text(text) => Some(SortKey::Text(text.to_string())),
        Value::List(list) => sort_key(list.first()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
