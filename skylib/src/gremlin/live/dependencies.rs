//! `Dependencies`: static analysis of a plan that decides which graph events can change the answer.

use crate::filter::Filter;
use crate::graph::{Edge, ElementKey, MetadataOp, Node};
use crate::gremlin::plan::{Operation, Plan};
use crate::value::Text;

/// Data that the answer of a query depends on, as derived from its plan.
#[derive(Debug)]
pub(super) struct Dependencies {
    /// Whether the query reads flows or history, so that its answer changes with time.
    pub(super) is_timed: bool,
    /// Whether the query reads only history, so that no event matters.
    is_past: bool,
    /// Whether the query follows edges, so that any added or deleted edge may matter.
    walks: bool,
    /// Filters of the node searches; a node that matches any of them may enter the answer.
    nodes: Vec<Filter<ElementKey>>,
    /// Filters of the edge searches; an edge that matches any of them may enter the answer.
    edges: Vec<Filter<ElementKey>>,
    /// Metadata keys that affect membership, order, or derived values; `None` means all keys.
    keys: Option<Vec<Text>>,
    /// Whether `@DeletedAt` affects the answer. A deleted element then no longer matches as it did
    /// before, so its deletion always requires a run.
    sees_deletion: bool,
    /// Kind of search, if the answer is exactly the result of one search, in insertion order.
    pure_search: Option<PureSearch>,
}

/// Kind of a query that is only a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PureSearch {
    Nodes,
    Edges,
    Graph,
}

/// Kind of an event about an element.
#[derive(Clone, Copy, Debug)]
pub(super) enum EventKind<'a> {
    Added,
    /// Updated by these operations; `None` if the change is unknown.
    Updated(Option<&'a [MetadataOp]>),
    Deleted,
}

/// Effect of an event on the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The answer does not change.
    None,
    /// The element becomes the last item.
    Appends,
    /// Every item of the element is replaced by its new revision.
    Replaces,
    /// The effect is unknown without running the query.
    Unknown,
}

impl Dependencies {
    /// Analyzes a plan.
    pub(super) fn of(plan: &Plan) -> Self {
        let operations = || plan.operations.iter().map(|(operation, _)| operation);
        let mut dependencies = Self {
            is_timed: false,
            is_past: matches!(operations().next(), Some(Operation::Time(_))),
            walks: false,
            nodes: Vec::new(),
            edges: Vec::new(),
            keys: Some(Vec::new()),
            sees_deletion: false,
            pure_search: Some(PureSearch::Graph),
        };
        let mut before = None;
        for operation in operations() {
            dependencies.add(operation, before);
            before = Some(operation);
        }
        dependencies
    }

    /// Adds the dependencies of an operation; `before` is the previous one.
    fn add(&mut self, operation: &Operation, before: Option<&Operation>) {
        match operation {
            Operation::Graph if before.is_none() => {}
            Operation::Nodes(id, filter) => {
                let is_pure = before.is_none() && id.is_none();
                self.pure_search = self
                    .pure_search
                    .filter(|_| is_pure)
                    .map(|_| PureSearch::Nodes);
                self.nodes.push(compiled(id.as_ref(), filter));
                self.depend_on_filter(filter);
            }
            Operation::Edges(id, filter) => {
                let is_pure = before.is_none() && id.is_none();
                self.pure_search = self
                    .pure_search
                    .filter(|_| is_pure)
                    .map(|_| PureSearch::Edges);
                self.edges.push(compiled(id.as_ref(), filter));
                self.depend_on_filter(filter);
            }
            Operation::Filter(filter) => {
                self.depend_on_filter(filter);
                self.narrow_search(filter, before);
            }
            _ => {
                self.pure_search = None;
                self.add_derived(operation);
            }
        }
    }

    /// Adds a filter to the search that it directly follows, if any.
    fn narrow_search(&mut self, filter: &Filter, before: Option<&Operation>) {
        let narrowed = match (before, self.pure_search) {
            (_, Some(PureSearch::Nodes)) | (Some(Operation::Nodes(..)), _) => self.nodes.last_mut(),
            (_, Some(PureSearch::Edges)) | (Some(Operation::Edges(..)), _) => self.edges.last_mut(),
            _ => None,
        };
        if let Some(search) = narrowed {
            let more = ElementKey::compile(filter);
            *search = std::mem::replace(search, Filter::everything()).and(more);
        }
    }

    /// Adds the dependencies of an operation that derives data from a search.
    fn add_derived(&mut self, operation: &Operation) {
        match operation {
            Operation::Nodes(..)
            | Operation::Edges(..)
            | Operation::Filter(_)
            | Operation::Page(_)
            | Operation::Count
            | Operation::As(_)
            | Operation::Select(_)
            | Operation::Sum(None)
            | Operation::Aggregates(_)
            | Operation::Fail(_) => {}
            Operation::Time(_) => self.is_timed = true,
            // If no more steps follow, the answer is the entire graph.
            Operation::Graph => {
                self.walks = true;
                self.nodes.push(Filter::everything());
            }
            Operation::Walk(_, filter)
            | Operation::SubGraph(filter)
            | Operation::Hierarchy(_, filter, _) => {
                self.walks = true;
                self.depend_on_filter(filter);
            }
            // The items are paths, so the answer contains entire nodes under other keys.
            Operation::ShortestPath(..) => {
                self.walks = true;
                self.keys = None;
            }
            Operation::Dedup(keys) | Operation::ValueMap(keys) => {
                keys.iter().for_each(|key| self.depend_on_key(key));
            }
            // The names of other nodes and the edges to them also affect the result.
            Operation::Qualified(..) => {
                self.walks = true;
                self.keys = None;
            }
            Operation::Sort(_, key)
            | Operation::Values(key)
            | Operation::Sum(Some(key))
            | Operation::Metrics(key) => self.depend_on_key(key),
            Operation::Keys | Operation::Sockets => self.keys = None,
            // Other nodes of the namespace also affect the result.
            Operation::NextHop(_) | Operation::PathTo(_) => {
                self.walks = true;
                self.keys = None;
            }
            Operation::Workflow(..)
            | Operation::Changes
            | Operation::Flows(_)
            | Operation::FlowNodes(..)
            | Operation::FlowEnds(..)
            | Operation::Group
            | Operation::GroupBy(_)
            | Operation::MoreThan
            | Operation::RawPackets
            | Operation::Bpf(_) => {
                (self.is_timed, self.walks, self.keys) = (true, true, None);
                self.nodes.push(Filter::everything());
            }
        }
    }

    fn depend_on_filter(&mut self, filter: &Filter) {
        match filter {
            Filter::All(filters) | Filter::Any(filters) => {
                filters
                    .iter()
                    .for_each(|filter| self.depend_on_filter(filter));
            }
            Filter::Not(filter) => self.depend_on_filter(filter),
            Filter::Test(key, _) => self.depend_on_key(key),
        }
    }

    fn depend_on_key(&mut self, key: &str) {
        let key = ElementKey::parse(key);
        match (&key, key.metadata_of_node()) {
            (ElementKey::DeletedAt, _) => self.sees_deletion = true,
            // Every update changes these, whichever key it sets.
            (ElementKey::UpdatedAt | ElementKey::Revision, _) => self.keys = None,
            (_, Some(metadata)) if metadata.name().is_empty() => self.keys = None,
            (_, Some(metadata)) => {
                if let Some(keys) = &mut self.keys {
                    keys.push(metadata.name().clone());
                }
            }
            // Other fields of an element never change.
            (_, None) => {}
        }
    }

    /// Returns the effect of an event on a node; `is_in` states whether the answer contains it.
    pub(super) fn effect_of_node(&self, node: &Node, kind: EventKind<'_>, is_in: bool) -> Effect {
        let matches = || self.nodes.iter().any(|filter| filter.matches(node));
        match self.pure_search {
            _ if self.is_past => Effect::None,
            Some(PureSearch::Graph) => effect_on_search(kind, is_in, true),
            Some(PureSearch::Nodes) => effect_on_search(kind, is_in, matches()),
            Some(PureSearch::Edges) => Effect::None,
            None => match kind {
                EventKind::Deleted if self.sees_deletion => Effect::Unknown,
                EventKind::Added | EventKind::Deleted if is_in || matches() => Effect::Unknown,
                EventKind::Added | EventKind::Deleted => Effect::None,
                EventKind::Updated(ops) => self.effect_of_update(ops, is_in),
            },
        }
    }

    /// Returns the effect of an event on an edge; `is_in` states whether the answer contains it.
    pub(super) fn effect_of_edge(&self, edge: &Edge, kind: EventKind<'_>, is_in: bool) -> Effect {
        let matches = || self.edges.iter().any(|filter| filter.matches(edge));
        match self.pure_search {
            _ if self.is_past => Effect::None,
            Some(PureSearch::Graph) => effect_on_search(kind, is_in, true),
            Some(PureSearch::Edges) => effect_on_search(kind, is_in, matches()),
            Some(PureSearch::Nodes) => Effect::None,
            None if !self.walks && self.edges.is_empty() => Effect::None,
            None => match kind {
                EventKind::Deleted if self.sees_deletion => Effect::Unknown,
                EventKind::Added | EventKind::Deleted if self.walks || is_in || matches() => {
                    Effect::Unknown
                }
                EventKind::Added | EventKind::Deleted => Effect::None,
                EventKind::Updated(ops) => self.effect_of_update(ops, is_in),
            },
        }
    }

    fn effect_of_update(&self, ops: Option<&[MetadataOp]>, is_in: bool) -> Effect {
        let decides = match (ops, &self.keys) {
            (Some(ops), Some(keys)) => ops
                .iter()
                .any(|op| keys.iter().any(|key| overlap(op.key(), key))),
            (None, Some(keys)) => !keys.is_empty(),
            (_, None) => true,
        };
        match (decides, is_in) {
            (true, _) => Effect::Unknown,
            (false, true) => Effect::Replaces,
            (false, false) => Effect::None,
        }
    }
}

/// Returns the effect of an event if the answer is everything that matches a filter; `matches`
/// states whether the element, as it is now, matches.
const fn effect_on_search(kind: EventKind<'_>, is_in: bool, matches: bool) -> Effect {
    match (kind, is_in, matches) {
        (EventKind::Added, false, true) => Effect::Appends,
        (EventKind::Updated(_), true, true) => Effect::Replaces,
        (EventKind::Added | EventKind::Updated(_), false, false)
        | (EventKind::Deleted, false, _) => Effect::None,
        _ => Effect::Unknown,
    }
}

/// Returns whether two dotted paths are equal or one is a prefix of the other.
fn overlap(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() {
        (one, other)
    } else {
        (other, one)
    };
    long.strip_prefix(short)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Returns the filter of a search by id or by filter.
fn compiled(id: Option<&Text>, filter: &Filter) -> Filter<ElementKey> {
    match id {
        None => ElementKey::compile(filter),
        Some(id) => Filter::Test(ElementKey::Id, crate::filter::Predicate::Text(id.clone())),
    }
}
