//! `GroupBy` and the steps that it absorbs: totals of flows by the values of keys.
//!
//! One pass over the flows interns the values of the keys (a hash table of group numbers) and
//! records each flow; [`connections`] then counts every connection once, however often it was
//! captured. The cost is O(n log n) for n flows; rows are built only for the page that is returned.

mod connections;
mod ends;
mod key;
mod measure;
mod table;

use std::cmp::Ordering;

use self::connections::{Captured, GroupPair};
use self::ends::Ends;
pub(in crate::gremlin) use self::key::GroupKey;
use self::key::Side;
pub(in crate::gremlin) use self::measure::Measure;
use self::table::{Groups, Part};
use crate::flow::{Flow, SortOrder};
use crate::gremlin::budget::{Budget, Room};
use crate::gremlin::error::QueryError;
use crate::gremlin::plan::Page;
use crate::gremlin::scope::Scope;
use crate::value::{Map, Shape, Value};

/// Grouping of flows: `GroupBy` and the steps that it absorbs.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::gremlin) struct GroupPlan {
    /// Keys; at least one.
    pub(in crate::gremlin) keys: Vec<GroupKey>,
    /// Totals of each group, in the order of the query.
    pub(in crate::gremlin) measures: Vec<Measure>,
    /// Column and direction to sort by; `None` sorts by the first measure, or else by the number of
    /// connections, largest first.
    pub(in crate::gremlin) sort: Option<(Column, SortOrder)>,
    pub(in crate::gremlin) page: Option<Page>,
}

/// Column of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gremlin) enum Column {
    /// Position in [`GroupPlan::keys`].
    Key(usize),
    /// Position in [`GroupPlan::measures`].
    Measure(usize),
    Connections,
    Flows,
}

/// Column with the number of connections.
const CONNECTIONS: &str = "Connections";
/// Column with the number of captured flows.
const FLOWS: &str = "Flows";
/// Column with the name of the identifier by which several captures of a connection are recognized.
const COUNTED_BY: &str = "CountedBy";

impl GroupPlan {
    /// Returns the plan of a grouping by keys, without measures.
    pub(in crate::gremlin) const fn new(keys: Vec<GroupKey>) -> Self {
        Self {
            keys,
            measures: Vec::new(),
            sort: None,
            page: None,
        }
    }

    /// Adds a measure, unless the plan already contains it.
    pub(in crate::gremlin) fn add(&mut self, measure: Measure) {
        if self.measures.iter().all(|known| known.name != measure.name) {
            self.measures.push(measure);
        }
    }

    /// Returns the column with a name.
    ///
    /// # Errors
    /// Returns a message that lists the columns if there is none.
    pub(in crate::gremlin) fn column(&self, name: &str) -> Result<Column, String> {
        let key = self.keys.iter().position(|key| *key.name == *name);
        let measure = || self.measures.iter().position(|m| *m.name == *name);
        match name {
            CONNECTIONS => return Ok(Column::Connections),
            FLOWS => return Ok(Column::Flows),
            _ => {}
        }
        let found = key.map(Column::Key);
        found
            .or_else(|| measure().map(Column::Measure))
            .ok_or_else(|| {
                let names: Vec<&str> = self.column_names().collect();
                format!("no column {name:?}; the columns are {}", names.join(", "))
            })
    }

    /// Returns the names of the columns. `CountedBy`, which is the same in all rows, is omitted.
    pub(in crate::gremlin) fn column_names(&self) -> impl Iterator<Item = &str> {
        let keys = self.keys.iter().map(|key| key.name.as_str());
        let measures = self.measures.iter().map(|measure| measure.name.as_str());
        keys.chain(measures).chain([CONNECTIONS, FLOWS])
    }

    /// Returns whether a key describes where a flow was captured. A connection then counts once for
    /// each of its values.
    fn names_capture_point(&self) -> bool {
        self.keys.iter().any(GroupKey::names_capture_point)
    }

    /// Returns whether each flow belongs to the groups of both of its ends.
    fn has_either_end(&self) -> bool {
        self.keys.iter().any(GroupKey::is_either_end)
    }

    /// Returns the plan in words, for explanations.
    pub(in crate::gremlin) fn describe(&self) -> String {
        let keys: Vec<&str> = self.keys.iter().map(|key| key.name.as_str()).collect();
        let measures: Vec<&str> = self.measures.iter().map(Measure::name).collect();
        let of = match measures.is_empty() {
            true => String::new(),
            false => format!(" with {}", measures.join(", ")),
        };
        format!("totals by {}{of}", keys.join(", "))
    }
}

/// Groups under construction.
pub(in crate::gremlin) struct Grouping<'p> {
    plan: &'p GroupPlan,
    ends: Ends,
    groups: Groups,
    captured: Captured,
    /// Key values of the current flow.
    parts: Vec<Part>,
    /// Measures of the current flow.
    values: Vec<i64>,
}

impl<'p> Grouping<'p> {
    /// Returns a grouping without flows. Reads the nodes that the keys refer to.
    pub(in crate::gremlin) fn new(
        plan: &'p GroupPlan,
        scope: &Scope<'_>,
        budget: &Budget<'_>,
    ) -> Result<Self, QueryError> {
        let ends = match plan.keys.iter().any(GroupKey::reads_graph) {
            true => Ends::read(scope, budget)?,
            false => Ends::default(),
        };
        Ok(Self {
            plan,
            ends,
            groups: Groups::new(plan.keys.len()),
            captured: Captured::new(plan.measures.len()),
            parts: Vec::with_capacity(plan.keys.len()),
            values: Vec::with_capacity(plan.measures.len()),
        })
    }

    /// Adds a flow. Returns the memory that the flow uses, in bytes.
    pub(in crate::gremlin) fn add(&mut self, flow: &Flow) -> usize {
        let before = self.groups.bytes();
        let first = self.group_of(flow, Side::A);
        let second = match self.plan.has_either_end() {
            true => self.group_of(flow, Side::B),
            false => first,
        };
        let groups = GroupPair::new(first, second);
        for group in groups.iter() {
            self.groups.count_flow(group);
        }
        self.values.clear();
        let measures = self.plan.measures.iter();
        self.values.extend(measures.map(|measure| measure.of(flow)));
        let apart = self.plan.names_capture_point().then_some(first);
        self.captured.add(flow, groups, apart, &self.values);
        let grown = self.groups.bytes() - before;
        grown + Captured::BYTES_PER_FLOW + size_of_val(self.values.as_slice())
    }

    /// Returns the number of the group of a flow.
    fn group_of(&mut self, flow: &Flow, side: Side) -> u32 {
        self.parts.clear();
        for key in &self.plan.keys {
            self.parts.push(key.of(flow, side, &self.ends));
        }
        self.groups.intern(&mut self.parts)
    }

    /// Returns the rows in the order of the plan.
    /// The totals are added to `held`, the memory of the groups.
    pub(in crate::gremlin) fn rows(
        self,
        budget: &Budget<'_>,
        held: &mut Room<'_, '_>,
    ) -> Result<Vec<Value>, QueryError> {
        let Self {
            plan,
            groups,
            captured,
            ..
        } = self;
        let measures = plan.measures.len();
        held.add_bytes(
            groups
                .len()
                .saturating_mul(Totals::bytes_per_group(measures)),
        )?;
        let mut totals = Totals::new(groups.len(), measures);
        captured.each_connection(|groups, values| {
            budget.tick()?;
            for group in groups.iter() {
                totals.add(group, values);
            }
            Ok(())
        })?;
        let order = Order {
            plan,
            groups: &groups,
            totals: &totals,
        };
        let numbers = order.page()?;
        let mut room = budget.room();
        let mut rows = Vec::with_capacity(numbers.len());
        let mut columns = Columns::of(plan);
        for number in numbers {
            let row = columns.row(plan, &groups, &totals, number);
            budget.tick()?;
            room.add(size_of::<Value>() + row.heap_bytes())?;
            rows.push(row);
        }
        Ok(rows)
    }
}

/// Totals of each group.
struct Totals {
    connections: Vec<u64>,
    /// Sums of the measures: `measures` sums for each group.
    sums: Vec<i64>,
    measures: usize,
}

impl Totals {
    /// Returns the memory of one group while the rows are produced, in bytes: its totals, and its
    /// rank in the order of the rows.
    const fn bytes_per_group(measures: usize) -> usize {
        size_of::<u64>() + measures * size_of::<i64>() + size_of::<(i64, u32)>()
    }

    fn new(groups: usize, measures: usize) -> Self {
        Self {
            connections: vec![0; groups],
            sums: vec![0; groups * measures],
            measures,
        }
    }

    fn add(&mut self, group: u32, values: &[i64]) {
        let group = group as usize;
        if let Some(connections) = self.connections.get_mut(group) {
            *connections += 1;
        }
        let sums = self.sums.iter_mut().skip(group * self.measures);
        for (sum, value) in sums.zip(values) {
            *sum = sum.saturating_add(*value);
        }
    }

    fn connections(&self, group: u32) -> u64 {
        self.connections.get(group as usize).copied().unwrap_or(0)
    }

    fn sum(&self, group: u32, measure: usize) -> i64 {
        let at = group as usize * self.measures + measure;
        self.sums.get(at).copied().unwrap_or(0)
    }
}

/// Order of the rows.
struct Order<'a> {
    plan: &'a GroupPlan,
    groups: &'a Groups,
    totals: &'a Totals,
}

impl Order<'_> {
    /// Returns the numbers of the groups on the page, in order.
    fn page(&self) -> Result<Vec<u32>, QueryError> {
        let count = u32::try_from(self.groups.len()).map_err(|_| {
            QueryError::limit("the query finds more than 4294967295 groups; use fewer keys")
        })?;
        let groups = (0..count).filter(|group| self.totals.connections(*group) > 0);
        let mut ranked: Vec<(i64, u32)> = groups.map(|group| (self.rank(group), group)).collect();
        let len = ranked.len();
        let cut = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(len);
        let (from, to) = self
            .plan
            .page
            .map_or((0, len), |page| (cut(page.from), cut(page.to)));
        // Only the groups up to the end of the page have to be in order (top-k selection).
        if to < len {
            if to == 0 {
                return Ok(Vec::new());
            }
            ranked.select_nth_unstable_by(to - 1, |a, b| self.compare(*a, *b));
            ranked.truncate(to);
        }
        ranked.sort_unstable_by(|a, b| self.compare(*a, *b));
        let page = ranked.iter().skip(from).map(|(_, group)| *group);
        Ok(page.collect())
    }

    /// Returns the column and the direction of the order.
    fn column(&self) -> (Column, SortOrder) {
        let default = match self.plan.measures.is_empty() {
            true => Column::Connections,
            false => Column::Measure(0),
        };
        self.plan.sort.unwrap_or((default, SortOrder::Descending))
    }

    /// Returns the number that a group is sorted by, ascending; 0 if the order is that of a key.
    fn rank(&self, group: u32) -> i64 {
        let count = |count| i64::try_from(count).unwrap_or(i64::MAX);
        let (column, order) = self.column();
        let number = match column {
            Column::Key(_) => return 0,
            Column::Measure(measure) => self.totals.sum(group, measure),
            Column::Connections => count(self.totals.connections(group)),
            Column::Flows => count(self.groups.flows(group)),
        };
        match order {
            SortOrder::Ascending => number,
            // The complement reverses the order and, unlike the negation, cannot overflow.
            SortOrder::Descending => !number,
        }
    }

    /// Compares two groups with their ranks; groups with equal values are in ascending order of their
    /// keys.
    fn compare(&self, (rank_a, a): (i64, u32), (rank_b, b): (i64, u32)) -> Ordering {
        let by_key = || match self.column() {
            (Column::Key(key), order) => self.compare_keys(key, a, b, order),
            _ => Ordering::Equal,
        };
        let by_parts = || self.groups.parts(a).cmp(self.groups.parts(b));
        rank_a.cmp(&rank_b).then_with(by_key).then_with(by_parts)
    }

    /// Compares the values of a key; a missing value is last in both directions.
    fn compare_keys(&self, key: usize, a: u32, b: u32, order: SortOrder) -> Ordering {
        let part = |group| self.groups.parts(group).get(key).unwrap_or(&Part::Missing);
        match (part(a), part(b)) {
            (Part::Missing, _) | (_, Part::Missing) => part(a).cmp(part(b)),
            (a, b) => directed(a.cmp(b), order),
        }
    }
}

const fn directed(ascending: Ordering, order: SortOrder) -> Ordering {
    match order {
        SortOrder::Ascending => ascending,
        SortOrder::Descending => ascending.reverse(),
    }
}

/// Columns of the rows: all rows share one key list.
struct Columns {
    shape: Shape,
    /// Position in the key list of each key, each measure, and the counts.
    positions: Vec<usize>,
    counted_by: Value,
    /// Values of the current row, in the order of the key list.
    row: Vec<Value>,
}

impl Columns {
    fn of(plan: &GroupPlan) -> Self {
        let names: Vec<&str> = plan.column_names().chain([COUNTED_BY]).collect();
        let names_only: Map = names.iter().map(|name| (*name, Value::Null)).collect();
        let shape = names_only.shape().clone();
        let positions = names.iter().filter_map(|name| shape.position(name));
        Self {
            positions: positions.collect(),
            shape,
            counted_by: Value::from("L3TrackingID"),
            row: Vec::with_capacity(names.len()),
        }
    }

    /// Returns the row of a group.
    fn row(&mut self, plan: &GroupPlan, groups: &Groups, totals: &Totals, number: u32) -> Value {
        let keys = groups.parts(number).iter().map(Part::to_value);
        let measures = plan.measures.iter().enumerate();
        let measures =
            measures.map(|(position, measure)| measure.shown(totals.sum(number, position)));
        let counts = [totals.connections(number), groups.flows(number)];
        let counts = counts.map(|count| Value::Int(i64::try_from(count).unwrap_or(i64::MAX)));
        let counted_by = [self.counted_by.clone()];
        let values = keys.chain(measures).chain(counts).chain(counted_by);
        self.row.resize(self.shape.keys().len(), Value::Null);
        for (position, value) in self.positions.iter().zip(values) {
            self.row[*position] = value;
        }
        Value::from(Map::from_parts(self.shape.clone(), self.row.drain(..)))
    }
}

#[cfg(test)]
mod tests;
