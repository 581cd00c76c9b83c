//! `FlowSet`: flows that answer a query, and how sets of several sources become one.

use serde::{Deserialize, Serialize};

use super::field::{FlowField, FlowFields};
use super::protobuf::wire_message;
use super::query::FlowQueryError;
use super::record::Flow;
use crate::filter::Filter;

/// Flows and the time they span.
///
/// ```
/// use skylib::flow::{Flow, FlowSet};
/// let flow = |id: &str| Flow { tracking_id: id.into(), ..Flow::default() };
/// let mut set = FlowSet::from_flows(vec![flow("aaa"), flow("bbb"), flow("aaa")]);
/// set.dedup(None)?;
/// assert_eq!(set.flows.len(), 2);
/// # Ok::<(), skylib::flow::FlowQueryError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlowSet {
    /// The flows.
    #[serde(rename = "Flows", skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<Flow>,
    /// Smallest start of the flows looked at, Unix ms.
    #[serde(rename = "Start")]
    pub start: i64,
    /// Largest last of the flows looked at, Unix ms.
    #[serde(rename = "End")]
    pub end: i64,
}

wire_message!(FlowSet { 1 => flows, 2 => start, 3 => end });

/// Direction of a sort. Complete by definition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// Smallest first.
    #[default]
    Ascending,
    /// Largest first.
    Descending,
}

/// How sets become one.
#[derive(Clone, Copy, Debug, Default)]
pub struct MergeOptions {
    /// Both sets are in this order, and the result shall be.
    pub sort: Option<(FlowField, SortOrder)>,
    /// Keep one flow of each value of this field (`Some(None)`: of each tracking id).
    pub dedup: Option<Option<FlowField>>,
}

impl FlowSet {
    /// A set that spans its flows.
    #[must_use]
    pub fn from_flows(flows: Vec<Flow>) -> Self {
        let start = flows.iter().map(|flow| flow.start).min().unwrap_or(0);
        let end = flows.iter().map(|flow| flow.last).max().unwrap_or(0);
        Self { flows, start, end }
    }

    /// Orders the flows, by `Last` unless told otherwise; equal ones keep their order when
    /// ascending and change it when descending, as a merge that takes the left one first does.
    ///
    /// # Errors
    /// [`FlowQueryError::FieldNotFound`] if a flow lacks the field; the set is then unchanged.
    pub fn sort(&mut self, by: Option<FlowField>, order: SortOrder) -> Result<(), FlowQueryError> {
        let mut keyed = self.keyed(&by.unwrap_or(FlowField::LAST))?;
        match order {
            SortOrder::Ascending => keyed.sort_by(|a, b| a.0.cmp(&b.0)),
            // COMPAT: the original's merge prefers the right one of equals when descending.
            SortOrder::Descending => {
                keyed.reverse();
                keyed.sort_by(|a, b| b.0.cmp(&a.0));
            }
        }
        self.flows = keyed.into_iter().map(|(_, flow)| flow).collect();
        Ok(())
    }

    /// Keeps the first flow of each value of a field, of `TrackingID` unless told otherwise.
    ///
    /// # Errors
    /// [`FlowQueryError::FieldNotFound`] if a flow lacks the field; the set is then unchanged.
    pub fn dedup(&mut self, by: Option<FlowField>) -> Result<(), FlowQueryError> {
        let keyed = self.keyed(&by.unwrap_or(FlowField::TRACKING_ID))?;
        let mut seen = hashbrown::HashSet::with_capacity(keyed.len());
        self.flows = keyed
            .into_iter()
            .filter_map(|(key, flow)| seen.insert(key).then_some(flow))
            .collect();
        Ok(())
    }

    /// Takes another set in; both deduplicated by the same field if `options` says so.
    ///
    /// # Errors
    /// [`FlowQueryError::FieldNotFound`] if a flow lacks a field; this set is then unchanged.
    pub fn merge(&mut self, other: Self, options: &MergeOptions) -> Result<(), FlowQueryError> {
        let (start, end) = (other.start, other.end);
        match (&options.sort, &options.dedup) {
            (None, None) => self.flows.extend(other.flows),
            (Some((field, order)), dedup) => {
                let dedup = dedup.map(|field| field.unwrap_or(FlowField::TRACKING_ID));
                for flow in self.flows.iter().chain(&other.flows) {
                    key(flow, field)?;
                    dedup.map_or(Ok(()), |field| key(flow, &field).map(drop))?;
                }
                let (ours, theirs) = (self.keyed(field)?, other.keyed_by(field)?);
                self.flows = merged(ours, theirs, *order);
                if dedup.is_some() {
                    self.dedup(dedup)?;
                }
            }
            (None, Some(dedup)) => {
                let field = dedup.unwrap_or(FlowField::TRACKING_ID);
                let known = self.flows.iter().map(|flow| key(flow, &field));
                let known = known.collect::<Result<hashbrown::HashSet<_>, _>>()?;
                // COMPAT: duplicates inside the other set stay.
                let new = other
                    .keyed_by(&field)?
                    .into_iter()
                    .filter(|(k, _)| !known.contains(k));
                self.flows.extend(new.map(|(_, flow)| flow));
            }
        }
        self.start = match (self.start, start) {
            (0, start) | (start, 0) => start,
            (a, b) => a.min(b),
        };
        self.end = self.end.max(end);
        Ok(())
    }

    /// Keeps the flows that a filter passes.
    pub fn filter(&mut self, filter: &Filter) {
        if !filter.is_everything() {
            let filter = filter.map_keys(&mut |name| FlowField::parse(name));
            self.flows.retain(|flow| filter.matches(flow));
        }
    }

    /// Keeps the flows from one position up to another, both cut at the length.
    pub fn slice(&mut self, from: u64, to: u64) {
        let len = self.flows.len();
        let cut = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(len);
        let (from, to) = (cut(from), cut(to));
        self.flows.truncate(to);
        self.flows.drain(..from.min(to));
    }

    /// Every flow with its key; nothing is taken out of the set if one lacks it.
    fn keyed(&mut self, field: &FlowField) -> Result<Vec<(Key, Flow)>, FlowQueryError> {
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

    fn keyed_by(mut self, field: &FlowField) -> Result<Vec<(Key, Flow)>, FlowQueryError> {
        self.keyed(field)
    }
}

/// Two sorted lists as one; of equals the left one goes first upwards, the right one downwards.
fn merged(left: Vec<(Key, Flow)>, right: Vec<(Key, Flow)>, order: SortOrder) -> Vec<Flow> {
    let mut flows = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    loop {
        let takes_left = match (left.peek(), right.peek()) {
            (Some(l), Some(r)) if order == SortOrder::Ascending => l.0 <= r.0,
            (Some(l), Some(r)) => l.0 > r.0,
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

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    Int(i64),
    Text(String),
}

fn key(flow: &Flow, field: &FlowField) -> Result<Key, FlowQueryError> {
    let found = match field {
        FlowField::Int(field) => flow.int(*field).map(Key::Int),
        FlowField::Text(field) => flow.with_text(*field, |text| Key::Text(text.to_owned())),
        FlowField::Object(_) => None,
    };
    found.ok_or_else(|| FlowQueryError::FieldNotFound {
        field: field.to_string(),
    })
}

#[cfg(test)]
mod tests;
