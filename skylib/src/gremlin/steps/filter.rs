//! Steps that let elements through one by one: `Has`, `HasNot`, `Dedup`, `Limit`, `Range`.
//!
//! Such steps in a row are one pipe behind the step that finds the elements, so that a filter, a
//! page and a count over a million nodes hold nothing.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use hashbrown::HashSet;

use crate::filter::Filter;
use crate::flow::SortOrder;
use crate::graph::history::Identities;
use crate::graph::{EdgeRef, ElementKey, NodeRef};
use crate::gremlin::budget::{Budget, Room};
use crate::gremlin::error::QueryError;
use crate::gremlin::number_set::NumberSet;
use crate::gremlin::plan::Page;
use crate::value::{Text, Value};

/// A node or an edge on its way through a query.
pub(in crate::gremlin) trait Row: Clone {
    /// Its number in the view, as unique as its id.
    fn number(&self) -> u32;
    /// Whether nothing but its number is known: it meets no stage that looks into elements.
    const IS_BLIND: bool = false;
    fn passes(&self, filter: &Filter<ElementKey>) -> bool;
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

/// One thing an element must get past.
pub(in crate::gremlin) enum Stage {
    Filter(Filter<ElementKey>),
    Page(Pager),
    Dedup(Dedup),
}

/// Where elements go that a step finds.
pub(in crate::gremlin) struct Pipe<'b, 'a, R> {
    /// Each with the number of elements that got past it.
    stages: Vec<(Stage, u64)>,
    /// Elements offered.
    offered: u64,
    budget: &'b Budget<'a>,
    room: Room<'b, 'a>,
    /// `None` while only their number is wanted.
    rows: Option<Vec<R>>,
    count: u64,
    /// Whether a page has all it wants.
    is_over: bool,
    failed: Option<QueryError>,
}

/// What came out of a pipe.
pub(in crate::gremlin) enum Piped<R> {
    Rows(Vec<R>),
    Count(u64),
}

impl<R> Piped<R> {
    /// The elements of a pipe that does not only count.
    pub(in crate::gremlin) fn into_rows(self) -> Vec<R> {
        match self {
            Self::Rows(rows) => rows,
            Self::Count(_) => Vec::new(),
        }
    }
}

impl<'b, 'a, R: Row> Pipe<'b, 'a, R> {
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

    /// What the query may take.
    pub(in crate::gremlin) const fn budget(&self) -> &'b Budget<'a> {
        self.budget
    }

    /// Whether nothing can get through (any more).
    pub(in crate::gremlin) const fn is_closed(&self) -> bool {
        self.is_over || self.failed.is_some()
    }

    /// How many elements were offered, then how many got past each stage.
    pub(in crate::gremlin) fn passed(&self) -> impl Iterator<Item = u64> {
        let stages = self.stages.iter().map(|(_, passed)| *passed);
        std::iter::once(self.offered).chain(stages)
    }

    /// Offers an element; breaks when no more are wanted.
    pub(in crate::gremlin) fn push(&mut self, row: R) -> ControlFlow<()> {
        if let Err(error) = self.take(row) {
            self.failed = Some(error);
        }
        match self.is_closed() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// The end of the input.
    pub(in crate::gremlin) fn finish(self) -> Result<Piped<R>, QueryError> {
        match (self.failed, self.rows) {
            (Some(error), _) => Err(error),
            (None, Some(rows)) => Ok(Piped::Rows(rows)),
            (None, None) => Ok(Piped::Count(self.count)),
        }
    }

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

/// Counts elements off against a page.
pub(in crate::gremlin) struct Pager {
    page: Page,
    seen: u64,
}

impl Pager {
    pub(in crate::gremlin) const fn new(page: Page) -> Self {
        Self { page, seen: 0 }
    }

    const fn next(&mut self) -> bool {
        let position = self.seen;
        self.seen += 1;
        self.page.from <= position && position < self.page.to
    }

    const fn is_over(&self) -> bool {
        self.seen >= self.page.to || self.page.from >= self.page.to
    }
}

/// Cuts a finished list.
pub(in crate::gremlin) fn cut<T>(list: Vec<T>, page: Page) -> Vec<T> {
    let position = |p: u64| usize::try_from(p).unwrap_or(usize::MAX);
    let (from, to) = (position(page.from), position(page.to));
    list.into_iter().take(to).skip(from).collect()
}

/// What of `Dedup` has been seen.
pub(in crate::gremlin) enum Dedup {
    ById(NumberSet, Identities),
    /// COMPAT: the found values alone decide; which keys they were under does not, and elements
    /// that have none of the keys are all kept.
    ByValues(Vec<ElementKey>, HashSet<Vec<Distinct>>),
}

impl Dedup {
    pub(in crate::gremlin) fn new(keys: &[Text], identities: Identities) -> Self {
        match keys {
            [] => Self::ById(NumberSet::default(), identities),
            keys => {
                let keys = keys.iter().map(|key| ElementKey::parse(key)).collect();
                Self::ByValues(keys, HashSet::new())
            }
        }
    }

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

/// A value that can be looked up: numbers as the language counts them, anything else by content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::gremlin) enum Distinct {
    Int(i64),
    Text(Text),
    Json(String),
}

impl Distinct {
    pub(in crate::gremlin) fn new(value: Value) -> Self {
        match (value.to_int(), value) {
            (Some(number), _) => Self::Int(number),
            (None, Value::Text(text)) => Self::Text(text),
            (None, other) => Self::Json(serde_json::to_string(&other).unwrap_or_default()),
        }
    }

    pub(in crate::gremlin) fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Int(_) => 0,
                Self::Text(text) => text.heap_bytes(),
                Self::Json(text) => text.len(),
            }
    }
}

/// Orders elements by a key: by number where all have numbers or nothing, else numbers before
/// texts. What is missing counts as 0, or as the empty text. Equal ones keep their order. Only the
/// first `wanted` stay.
pub(in crate::gremlin) fn sort<R: Row>(
    rows: &mut Vec<R>,
    order: SortOrder,
    key: &ElementKey,
    wanted: usize,
    budget: &Budget<'_>,
) -> Result<(), QueryError> {
    let mut room = budget.room();
    let mut ranked: Vec<(Option<Rank>, usize, R)> = Vec::with_capacity(rows.len());
    for (place, row) in rows.drain(..).enumerate() {
        budget.tick()?;
        room.add(size_of::<(Option<Rank>, usize, R)>())?;
        let rank = row.value(key).and_then(|value| Rank::new(&value));
        ranked.push((rank, place, row));
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

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Int(i64),
    Text(Text),
}

impl Rank {
    fn new(value: &Value) -> Option<Self> {
        match (value.to_int(), value) {
            (Some(number), _) => Some(Self::Int(number)),
            (None, Value::Text(text)) => Some(Self::Text(text.clone())),
            _ => None,
        }
    }
}
