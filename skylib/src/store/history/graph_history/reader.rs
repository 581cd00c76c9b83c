//! `DiskReader`: the graph at one time in the past, read from the disk.
//!
//! Elements that a query asks for by id, by the columns of the files, or by the ends of edges are
//! read on their own: a page or two of each file. A query that reads more than a few of them restores
//! the whole time instead, as one that reads all elements does.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt::Display;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::LocalHistory;
use super::restore::{Plan, Wanted, Whole};
use crate::file_use::FileUse;
use crate::filter::{Filter, Predicate};
use crate::graph::history::{PastReader, ReadBudget, Revision, Revisions};
use crate::graph::{Direction, Edge, EdgeId, ElementKey, GraphError, GraphEvent, Node, NodeId};
use crate::store::history::event_row::deletion_of;
use crate::store::history::graph_fold::{ElementId, GraphFold};
use crate::store::history::graph_rows::{ColumnFilter, ColumnRow};
use crate::store::history::past_graph::{ParsedBytes, PastElement};
use crate::time::When;
use crate::value::Text;

/// Snapshot of the graph at a time in the past, read from the disk.
pub(super) struct DiskReader<'a> {
    history: &'a LocalHistory,
    plan: Plan,
    budget: &'a dyn ReadBudget,
    /// Elements that were read individually, by id; `None` for an id without an element.
    single: RefCell<HashMap<ElementId, Option<Arc<PastElement>>>>,
    single_bytes: Cell<usize>,
    /// Memory of the parsed elements that are stored while the whole time is not restored.
    parsed: ParsedBytes,
    /// Memory of the elements that this reader has parsed, in bytes, and their number.
    parsed_bytes: Cell<usize>,
    parsed_count: Cell<usize>,
    /// Cost of further single reads after which the whole time is restored.
    credit: Cell<u32>,
    whole: OnceCell<Whole>,
}

/// Element, with the time at which it was deleted after it was restored.
type Found = (Arc<PastElement>, Option<i64>);

impl<'a> DiskReader<'a> {
    pub(super) fn new(history: &'a LocalHistory, when: When, budget: &'a dyn ReadBudget) -> Self {
        Self {
            history,
            plan: history.plan(when),
            budget,
            single: RefCell::default(),
            single_bytes: Cell::new(0),
            parsed: ParsedBytes::default(),
            parsed_bytes: Cell::new(0),
            parsed_count: Cell::new(0),
            credit: Cell::new(CREDIT),
            whole: OnceCell::new(),
        }
    }

    /// Returns the whole graph at the time.
    fn whole(&self) -> Result<&Whole, GraphError> {
        if let Some(whole) = self.whole.get() {
            return Ok(whole);
        }
        let whole = self.history.whole(&self.plan, self.budget)?;
        Ok(self.whole.get_or_init(|| whole))
    }

    /// Subtracts the cost of a single read from the credit. Returns whether to make this read;
    /// otherwise, the whole past graph is to be restored.
    fn pays(&self, cost: u32) -> bool {
        let left = self.credit.get().checked_sub(cost);
        self.credit.set(left.unwrap_or(0));
        left.is_some() && self.whole.get().is_none()
    }

    /// Returns the bytes that the reader holds.
    fn held(&self) -> usize {
        let whole = self.whole.get().map_or(0, |whole| whole.graph.bytes());
        whole + self.plan.bytes() + self.single_bytes.get() + self.parsed_bytes.get()
    }

    /// Reads elements on their own and returns those that exist, in insertion order.
    fn read(&self, ids: &HashSet<ElementId>) -> Result<Vec<Found>, GraphError> {
        let mut texts: Vec<&str> = ids.iter().map(|(_, id)| id.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        let mut fold = GraphFold::new(self.plan.when);
        let wanted = Wanted {
            ids: Some(&texts),
            held: self.held(),
            budget: self.budget,
        };
        self.history.apply(&self.plan, &wanted, &mut fold)?;
        self.single_bytes
            .set(self.single_bytes.get() + fold.bytes());
        let mut single = self.single.borrow_mut();
        for id in ids {
            single.entry(id.clone()).or_insert(None);
        }
        let mut found = Vec::new();
        for (id, element) in fold.into_elements() {
            let element = Arc::new(element);
            if ids.contains(&id) {
                found.push((Arc::clone(&element), None));
            }
            single.insert(id, Some(element));
        }
        found.sort_unstable_by_key(|(element, _)| element.born);
        Ok(found)
    }

    /// Returns the element with an id.
    fn element(&self, id: &ElementId) -> Result<Option<Found>, GraphError> {
        if let Some(known) = self.single.borrow().get(id) {
            return Ok(known.clone().map(|element| (element, None)));
        }
        if self.pays(1) {
            let found = self.read(&HashSet::from_iter([id.clone()]))?;
            return Ok(found.into_iter().next());
        }
        let whole = self.whole()?;
        let element = whole.graph.element(id);
        Ok(element.map(|element| whole.found(element)))
    }

    /// Returns the ids of the elements that have a matching event until the end of the time; `None`
    /// if they are too many to be read on their own.
    fn search(
        &self,
        is_edge: bool,
        columns: &[&str],
        test: impl Fn(&ColumnRow<'_>) -> bool,
    ) -> Result<Option<HashSet<ElementId>>, GraphError> {
        let last = self.plan.when.slice().last.as_ms();
        let mut found: HashSet<ElementId> = HashSet::new();
        for segment in self.plan.base.iter().chain(&self.plan.segments) {
            let visit = |row: &ColumnRow<'_>| {
                let is_hit = row.is_edge() == is_edge && row.time() <= last && test(row);
                if is_hit && found.len() <= MAX_SINGLE {
                    found.insert((is_edge, row.id().into()));
                }
            };
            let poll = || self.budget.poll().map_err(std::io::Error::other);
            let reason = format!("all rows of the columns {}", columns.join(", "));
            self.plan.files.add(segment, None, &reason);
            let read = segment.visit_columns(columns, visit, poll);
            if !self.history.check_read(segment, read)? {
                // All elements of its time are read, without the damaged segment.
                return Ok(None);
            }
        }
        // The body of an event in memory is not searched: all elements of its time are read.
        let recent = self.plan.memory.iter();
        let recent = recent.filter(|event| event.is_edge() == is_edge && event.time() <= last);
        found.extend(recent.map(|event| (is_edge, event.id())));
        Ok((found.len() <= MAX_SINGLE).then_some(found))
    }

    /// Returns the elements that may match a filter, in insertion order.
    fn like(
        &self,
        filter: &Filter<ElementKey>,
        is_edge: bool,
    ) -> Result<Box<dyn Iterator<Item = Found> + '_>, GraphError> {
        if let Some(part) = ColumnFilter::of(filter, is_edge)
            && self
                .plan
                .base
                .iter()
                .chain(&self.plan.segments)
                .all(|s| part.is_decided_by(s))
            && self.pays(SEARCH_COST)
            && let Some(ids) =
                self.search(is_edge, &part.columns, |row| part.filter.matches(row))?
        {
            return Ok(Box::new(self.read(&ids)?.into_iter()));
        }
        let whole = self.whole()?;
        let elements = whole.graph.all(is_edge).iter();
        let found = elements.map(|element| whole.found(element));
        // Text is tested before it is parsed.
        match required_text(filter).and_then(|text| serde_json::to_string(text.as_str()).ok()) {
            Some(json) => Ok(Box::new(
                found.filter(move |(element, _)| element.has_text(&json)),
            )),
            None => Ok(Box::new(found)),
        }
    }

    /// Returns the edges that have, or had, a node at one end.
    fn edges_at(&self, node: &Text, is_parent: bool) -> Result<Vec<Found>, GraphError> {
        let column = if is_parent { "Parent" } else { "Child" };
        if self.pays(SEARCH_COST)
            && let Some(ids) = self.search(true, &[column], |row| {
                row.text(column) == Some(node.as_str())
            })?
        {
            return self.read(&ids);
        }
        let whole = self.whole()?;
        let edges = whole.graph.edges_at(node, is_parent);
        Ok(edges.map(|edge| whole.found(edge)).collect())
    }

    /// Returns the revisions of an element.
    fn revisions<E: Kind>(
        &self,
        (element, deleted): &Found,
    ) -> Result<Vec<Revision<E>>, GraphError> {
        let mut found = Vec::with_capacity(element.revisions.len());
        for (position, revision) in element.revisions.iter().enumerate() {
            let is_last = position + 1 == element.revisions.len();
            let parsed = match self.whole.get() {
                Some(whole) => whole.graph.parsed(),
                None => &self.parsed,
            };
            let (event, bytes) = revision.event(parsed);
            self.count_parsed(bytes)?;
            let later = deleted.filter(|_| is_last && revision.deleted.is_none());
            let number = u64::try_from(revision.row.seq).unwrap_or_default();
            found.extend(E::of(event, later).map(|element| Revision { element, number }));
        }
        Ok(found)
    }

    /// Counts a parsed element, and checks the budget from time to time.
    fn count_parsed(&self, bytes: usize) -> Result<(), GraphError> {
        if bytes == 0 {
            return Ok(());
        }
        self.parsed_bytes.set(self.parsed_bytes.get() + bytes);
        self.parsed_count.set(self.parsed_count.get() + 1);
        if self.parsed_count.get().is_multiple_of(POLL_PARSED) {
            self.budget.hold(self.held())?;
        }
        Ok(())
    }

    fn each<'r, E: Kind + 'r>(
        &'r self,
        found: Result<Box<dyn Iterator<Item = Found> + 'r>, GraphError>,
    ) -> Revisions<'r, E> {
        let found = match found {
            Ok(found) => found,
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        Box::new(found.flat_map(|element| {
            let (revisions, error) = match self.revisions(&element) {
                Ok(revisions) => (revisions, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            revisions.into_iter().map(Ok).chain(error)
        }))
    }

    fn all<E: Kind + 'static>(&self) -> Revisions<'_, E> {
        self.each(self.like(&Filter::everything(), E::IS_EDGE))
    }

    fn one<E: Kind>(&self, id: &dyn Display) -> Result<Vec<Revision<E>>, GraphError> {
        let id = (E::IS_EDGE, id.to_string().as_str().into());
        match self.element(&id)? {
            Some(found) => self.revisions(&found),
            None => Ok(Vec::new()),
        }
    }
}

impl Whole {
    /// Returns an element with its deletion since it was restored.
    fn found(&self, element: &Arc<PastElement>) -> Found {
        let row = element.revisions.last().map(|revision| &revision.row);
        let id = row.map(|row| (row.event.is_edge(), row.id.clone()));
        let is_open = !element.is_complete && !self.deleted.is_empty();
        let deleted = id.filter(|_| is_open).and_then(|id| self.deleted.get(&id));
        (Arc::clone(element), deleted.copied())
    }
}

impl PastReader for DiskReader<'_> {
    fn take_files(&self) -> Vec<FileUse> {
        self.plan.files.take()
    }

    fn nodes(&self) -> Revisions<'_, Node> {
        self.all()
    }

    fn nodes_like<'r>(&'r self, filter: &'r Filter<ElementKey>) -> Revisions<'r, Node> {
        self.each(self.like(filter, false))
    }

    fn edges(&self) -> Revisions<'_, Edge> {
        self.all()
    }

    fn edges_like<'r>(&'r self, filter: &'r Filter<ElementKey>) -> Revisions<'r, Edge> {
        self.each(self.like(filter, true))
    }

    fn node(&self, id: &NodeId) -> Result<Vec<Revision<Node>>, GraphError> {
        self.one(id)
    }

    fn edge(&self, id: &EdgeId) -> Result<Vec<Revision<Edge>>, GraphError> {
        self.one(id)
    }

    fn edges_of(
        &self,
        id: &NodeId,
        direction: Direction,
    ) -> Result<Vec<Revision<Edge>>, GraphError> {
        let node = Text::from(id.to_string().as_str());
        let mut edges = Vec::new();
        let sides = [(true, Direction::In), (false, Direction::Out)];
        for (is_parent, other) in sides {
            if direction == other {
                continue;
            }
            let mut side = Vec::new();
            for found in self.edges_at(&node, is_parent)? {
                let revisions: Vec<Revision<Edge>> = self.revisions(&found)?;
                side.extend(revisions.into_iter().map(|edge| (found.0.born, edge)));
            }
            // An edge id may have been reused for an edge between other nodes. A loop is among the
            // outgoing edges already.
            side.retain(|(_, edge)| match is_parent {
                true => edge.element.parent == *id,
                false => {
                    let is_loop = edge.element.parent == edge.element.child;
                    edge.element.child == *id && !(is_loop && direction == Direction::Both)
                }
            });
            side.sort_by_key(|(born, edge)| (*born, edge.number));
            edges.extend(side.into_iter().map(|(_, edge)| edge));
        }
        Ok(edges)
    }
}

/// Node or edge, as an event adds or deletes it.
trait Kind: Sized {
    const IS_EDGE: bool;

    /// Returns the element of an event, deleted at a later time if it has one.
    fn of(event: GraphEvent, deleted: Option<i64>) -> Option<Arc<Self>>;
}

impl Kind for Node {
    const IS_EDGE: bool = false;

    fn of(event: GraphEvent, deleted: Option<i64>) -> Option<Arc<Self>> {
        match with_deletion(event, deleted) {
            GraphEvent::NodeAdded(node) | GraphEvent::NodeDeleted(node) => Some(node),
            _ => None,
        }
    }
}

impl Kind for Edge {
    const IS_EDGE: bool = true;

    fn of(event: GraphEvent, deleted: Option<i64>) -> Option<Arc<Self>> {
        match with_deletion(event, deleted) {
            GraphEvent::EdgeAdded(edge) | GraphEvent::EdgeDeleted(edge) => Some(edge),
            _ => None,
        }
    }
}

fn with_deletion(event: GraphEvent, deleted: Option<i64>) -> GraphEvent {
    let deletion = deleted.and_then(|at| deletion_of(&event, at));
    deletion.unwrap_or(event)
}

/// Returns the text that every match of a filter has in its metadata, if the filter requires one.
fn required_text(filter: &Filter<ElementKey>) -> Option<&Text> {
    match filter {
        Filter::All(filters) => filters.iter().find_map(required_text),
        // For example the same name under several keys.
        Filter::Any(filters) => {
            let (first, others) = filters.split_first()?;
            let text = required_text(first)?;
            let is_same = |other| required_text(other) == Some(text);
            others.iter().all(is_same).then_some(text)
        }
        Filter::Test(ElementKey::Metadata(_), Predicate::Text(text)) => Some(text),
        _ => None,
    }
}

/// Maximum total cost of the single reads of a query; beyond it, the whole past graph is restored.
/// Reading elements by id costs 1, and a search of columns, which reads more, [`SEARCH_COST`].
const CREDIT: u32 = 128;
const SEARCH_COST: u32 = 16;
/// Maximum number of elements that are read on their own by one step.
const MAX_SINGLE: usize = 4096;
/// Number of parsed elements between two checks of the budget.
const POLL_PARSED: usize = 256;
