//! Steps that filter elements one by one: `Has`, `HasNot`, `Dedup`, `Limit`, `Range`; and `Sort`.
//!
//! A sequence of such steps forms one [`Pipe`] after the step that finds the elements, so that a
//! filter, a page, and a count over a million nodes materialize nothing.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use hashbrown::HashSet;

use crate::filter::Filter;
use crate::flow::SortOrder;
use crate::graph::history::Identities;
use crate::graph::{EdgeRef, ElementKey, NodeRef};
use crate::gremlin::bitmap::Bitmap;
use crate::gremlin::budget::{Budget, Room};
use crate::gremlin::error::QueryError;
use crate::gremlin::plan::Page;
use crate::value::{Text, Value};

/// Node or edge that passes through the steps of a query.
pub(in crate::gremlin) trait Row: Clone {
    /// Returns the number in the view, which is unique per revision of an element.
    fn number(&self) -> u32;
    /// Whether only the number is known, so that no stage may read contents.
    const IS_BLIND: bool = false;
    /// Returns whether a filter matches.
    fn passes(&self, filter: &Filter<ElementKey>) -> bool;
    /// Returns the value of a key.
    fn value(&self, key: &ElementKey) -> Option<Value>;
}

impl Row for NodeRef {
    fn number(&self) -> u32 {
        self.index()
    }

    fn passes(&self, filter: &Filter<ElementKey>) -> bool {
        filter.matches(&***self)
    }

    fn value(&self, key: &ElementKey) -> Option<Value> {
        (**self).value(key)
    }
}

impl Row for EdgeRef {
    fn number(&self) -> u32 {
        self.index()
    }

    fn passes(&self, filter: &Filter<ElementKey>) -> bool {
        filter.matches(&***self)
    }

    fn value(&self, key: &ElementKey) -> Option<Value> {
        (**self).value(key)
    }
}

impl Row for u32 {
    const IS_BLIND: bool = true;

    fn number(&self) -> u32 {
        *self
    }

    fn passes(&self, filter: &Filter<ElementKey>) -> bool {
        filter.is_everything()
    }

    fn value(&self, _: &ElementKey) -> Option<Value> {
        None
    }
}

/// One stage of a pipeline.
pub(in crate::gremlin) enum Stage {
    Filter(Filter<ElementKey>),
    Page(Pager),
    Dedup(Dedup),
}

/// Pipeline that receives the elements that a step finds.
pub(in crate::gremlin) struct Pipe<'b, 'a, R> {
    /// Stages in order, each with the number of elements that passed it; these numbers never
    /// increase.
    stages: Vec<(Stage, u64)>,
    /// Number of elements pushed so far.
    offered: u64,
    budget: &'b Budget<'a>,
    room: Room<'b, 'a>,
    /// Elements that passed all stages; `None` if they are only counted.
    rows: Option<Vec<R>>,
    /// Number of elements that passed all stages.
    count: u64,
    /// Whether a page is complete, so that no further element can pass.
    is_over: bool,
    failed: Option<QueryError>,
}

/// Output of a pipeline.
pub(in crate::gremlin) enum Piped<R> {
    Rows(Vec<R>),
    Count(u64),
}

impl<R> Piped<R> {
    /// Returns the elements; empty for a pipeline that only counts.
    pub(in crate::gremlin) fn into_rows(self) -> Vec<R> {
        match self {
            Self::Rows(rows) => rows,
            Self::Count(_) => Vec::new(),
        }
    }
}

impl<'b, 'a, R: Row> Pipe<'b, 'a, R> {
    /// Creates a pipeline.
    pub(in crate::gremlin) fn new(
        stages: Vec<Stage>,
        only_count: bool,
        budget: &'b Budget<'a>,
    ) -> Self {
        let rows = (!only_count).then(Vec::new);
        let is_over = |stage: &Stage| matches!(stage, Stage::Page(pager) if pager.is_over());
        Self {
            is_over: stages.iter().any(is_over),
            stages: stages.into_iter().map(|stage| (stage, 0)).collect(),
            offered: 0,
            budget,
            room: budget.room(),
            rows,
            count: 0,
            failed: None,
        }
    }

    /// Returns the budget of the query.
    pub(in crate::gremlin) const fn budget(&self) -> &'b Budget<'a> {
        self.budget
    }

    /// Returns whether no further element can pass.
    pub(in crate::gremlin) const fn is_closed(&self) -> bool {
        self.is_over || self.failed.is_some()
    }

    /// Returns the number of elements pushed, then the number that passed each stage.
    pub(in crate::gremlin) fn passed(&self) -> impl Iterator<Item = u64> {
        let stages = self.stages.iter().map(|(_, passed)| *passed);
        std::iter::once(self.offered).chain(stages)
    }

    /// Pushes an element. Breaks when no more elements are needed.
    pub(in crate::gremlin) fn push(&mut self, row: R) -> ControlFlow<()> {
        if let Err(error) = self.take(row) {
            self.failed = Some(error);
        }
        match self.is_closed() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// Ends the input and returns the output.
    ///
    /// # Errors
    /// Returns the first error of a push.
    pub(in crate::gremlin) fn finish(self) -> Result<Piped<R>, QueryError> {
        match (self.failed, self.rows) {
            (Some(error), _) => Err(error),
            (None, Some(rows)) => Ok(Piped::Rows(rows)),
            (None, None) => Ok(Piped::Count(self.count)),
        }
    }

    /// Passes an element through the stages.
    fn take(&mut self, row: R) -> Result<(), QueryError> {
        self.budget.tick()?;
        self.offered += 1;
        for (stage, passed) in &mut self.stages {
            let passes = match stage {
                Stage::Filter(filter) => row.passes(filter),
                Stage::Page(pager) => {
                    let passes = pager.next();
                    self.is_over |= pager.is_over();
                    passes
                }
                Stage::Dedup(dedup) => dedup.is_new(&row, &mut self.room)?,
            };
            if !passes {
                return Ok(());
            }
            *passed += 1;
        }
        self.count += 1;
        if let Some(rows) = &mut self.rows {
            self.room.add(size_of::<R>())?;
            rows.push(row);
        }
        Ok(())
    }
}

/// Stage that selects a page.
pub(in crate::gremlin) struct Pager {
    page: Page,
    /// Number of elements seen so far.
    seen: u64,
}

impl Pager {
    /// Creates the stage.
    pub(in crate::gremlin) const fn new(page: Page) -> Self {
        Self { page, seen: 0 }
    }

    /// Counts an element. Returns whether it is on the page.
    const fn next(&mut self) -> bool {
        let position = self.seen;
        self.seen += 1;
        self.page.from <= position && position < self.page.to
    }

    /// Returns whether no further element can be on the page.
    const fn is_over(&self) -> bool {
        self.seen >= self.page.to || self.page.from >= self.page.to
    }
}

/// Returns the page of a list.
pub(in crate::gremlin) fn cut<T>(list: Vec<T>, page: Page) -> Vec<T> {
    let position = |p: u64| usize::try_from(p).unwrap_or(usize::MAX);
    let (from, to) = (position(page.from), position(page.to));
    list.into_iter().take(to).skip(from).collect()
}

/// Stage that removes duplicates.
pub(in crate::gremlin) enum Dedup {
    /// By element: numbers seen, and the mapping from numbers of revisions to elements.
    ById(Bitmap, Identities),
    /// By the values of keys.
    ///
    /// COMPAT: only the values found are compared, not the keys they belong to, and an element
    /// without any of the keys is never a duplicate.
    ByValues(Vec<ElementKey>, HashSet<Vec<Distinct>>),
}

impl Dedup {
    /// Creates the stage.
    pub(in crate::gremlin) fn new(keys: &[Text], identities: Identities) -> Self {
        match keys {
            [] => Self::ById(Bitmap::default(), identities),
            keys => {
                let keys = keys.iter().map(|key| ElementKey::parse(key)).collect();
                Self::ByValues(keys, HashSet::new())
            }
        }
    }

    /// Returns whether an element is not a duplicate, and records it.
    fn is_new<R: Row>(&mut self, row: &R, room: &mut Room<'_, '_>) -> Result<bool, QueryError> {
        match self {
            Self::ById(seen, identities) => Ok(seen.insert(identities.of(row.number()))),
            Self::ByValues(keys, seen) => {
                let found: Vec<Distinct> = keys
                    .iter()
                    .filter_map(|key| row.value(key))
                    .map(Distinct::new)
                    .collect();
                if found.is_empty() {
                    return Ok(true);
                }
                let bytes = found.iter().map(Distinct::bytes).sum();
                let new = seen.insert(found);
                if new {
                    room.add_bytes(bytes)?;
                }
                Ok(new)
            }
        }
    }
}

/// Hashable form of a value: an integer if the language counts it as one, else its content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::gremlin) enum Distinct {
    Int(i64),
    Text(Text),
    Json(String),
}

impl Distinct {
    /// Converts a value.
    pub(in crate::gremlin) fn new(value: Value) -> Self {
        match (value.to_int(), value) {
            (Some(number), _) => Self::Int(number),
            (None, Value::Text(text)) => Self::Text(text),
            (None, other) => Self::Json(serde_json::to_string(&other).unwrap_or_default()),
        }
    }

    /// Returns the approximate size in bytes.
    pub(in crate::gremlin) fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Int(_) => 0,
                Self::Text(text) => text.heap_bytes(),
                Self::Json(text) => text.len(),
            }
    }
}

/// Sorts elements by a key, stably, and truncates the result to `wanted` elements.
///
/// Integers precede strings. An absent value counts as 0, or as the empty string if any value is a
/// string. Costs O(n + k log k) for `k = wanted`, by selection of the first k.
pub(in crate::gremlin) fn sort<R: Row>(
    rows: &mut Vec<R>,
    order: SortOrder,
    key: &ElementKey,
    wanted: usize,
    budget: &Budget<'_>,
) -> Result<(), QueryError> {
    let mut room = budget.room();
    let mut ranked: Vec<(Option<Rank>, usize, R)> = Vec::with_capacity(rows.len());
    for (position, row) in rows.drain(..).enumerate() {
        budget.tick()?;
        room.add(size_of::<(Option<Rank>, usize, R)>())?;
        let rank = row.value(key).and_then(|value| Rank::new(&value));
        ranked.push((rank, position, row));
    }
    let has_text = ranked
        .iter()
        .any(|(rank, ..)| matches!(rank, Some(Rank::Text(_))));
    let missing = if has_text {
        Rank::Text(Text::default())
    } else {
        Rank::Int(0)
    };
    let compare = |a: &(Option<Rank>, usize, R), b: &(Option<Rank>, usize, R)| -> Ordering {
        let (one, other) = (
            a.0.as_ref().unwrap_or(&missing),
            b.0.as_ref().unwrap_or(&missing),
        );
        let by_rank = match order {
            SortOrder::Ascending => one.cmp(other),
            SortOrder::Descending => other.cmp(one),
        };
        by_rank.then(a.1.cmp(&b.1))
    };
    // Positions make all keys distinct, so unstable selection and sorting are stable in effect.
    if wanted < ranked.len() {
        if let Some(last) = wanted.checked_sub(1) {
            ranked.select_nth_unstable_by(last, compare);
        }
        ranked.truncate(wanted);
    }
    ranked.sort_unstable_by(compare);
    rows.extend(ranked.into_iter().map(|(_, _, row)| row));
    Ok(())
}

/// Sort key; integers precede strings.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Int(i64),
    Text(Text),
}

impl Rank {
    /// Returns the sort key of a value; `None` if it is neither an integer nor a string.
    fn new(value: &Value) -> Option<Self> {
        match (value.to_int(), value) {
            (Some(number), _) => Some(Self::Int(number)),
            (None, Value::Text(text)) => Some(Self::Text(text.clone())),
            _ => None,
        }
    }
}
