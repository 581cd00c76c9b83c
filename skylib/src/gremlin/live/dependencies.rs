//! `Reach`: which changes of a graph can change the answer of a query at all.

use crate::filter::Filter;
use crate::graph::{Edge, ElementKey, MetadataOp, Node};
use crate::gremlin::plan::{Operation, Plan};
use crate::value::Text;

/// What a query looks at, as far as its plan tells.
#[derive(Debug)]
pub(super) struct Reach {
    /// It looks at flows or at the past: its answer changes with time.
    pub(super) is_timed: bool,
    /// It looks at nothing but the past, so that no event matters.
    is_past: bool,
    /// It goes from element to element: any edge that comes or goes may matter.
    walks: bool,
    /// The filters by which it finds nodes to begin with; each alone may let one in.
    nodes: Vec<Filter<ElementKey>>,
    /// Those by which it finds edges.
    edges: Vec<Filter<ElementKey>>,
    /// Metadata that decides what is in the answer and where; `None` is all of it.
    keys: Option<Vec<Text>>,
    /// Whether something has gone decides: what goes does not look as it did before.
    sees_deletion: bool,
    /// The answer is exactly what passes one filter, in the order in which it came.
    plain: Option<Plain>,
}

/// An answer that is no more than a search. Complete by definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plain {
    Nodes,
    Edges,
    Graph,
}

/// What became of an element. Complete by definition.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate<'a> {
    Added,
    /// With what changed, where operations can say it.
    Updated(Option<&'a [MetadataOp]>),
    Deleted,
}

/// What a change means for the answer. Complete by definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Nothing,
    /// A new last item.
    Enters,
    /// The item is replaced, where it is one.
    Replaces,
    /// Only the query can tell.
    Unknown,
}

impl Reach {
    pub(super) fn of(plan: &Plan) -> Self {
        let operations = || plan.operations.iter().map(|(operation, _)| operation);
        let mut reach = Self {
            is_timed: false,
            is_past: matches!(operations().next(), Some(Operation::Time(_))),
            walks: false,
            nodes: Vec::new(),
            edges: Vec::new(),
            keys: Some(Vec::new()),
            sees_deletion: false,
            plain: Some(Plain::Graph),
        };
        let mut before = None;
        for operation in operations() {
            reach.look_with(operation, before);
            before = Some(operation);
        }
        reach
    }

    fn look_with(&mut self, operation: &Operation, before: Option<&Operation>) {
        let is_first = before.is_none();
        match operation {
            Operation::Graph if is_first => return,
            Operation::Nodes(id, filter) => {
                self.plain = self
                    .plain
                    .filter(|_| is_first && id.is_none())
                    .map(|_| Plain::Nodes);
                self.nodes.push(compiled(id.as_ref(), filter));
                self.decide_by(filter);
                return;
            }
            Operation::Edges(id, filter) => {
                self.plain = self
                    .plain
                    .filter(|_| is_first && id.is_none())
                    .map(|_| Plain::Edges);
                self.edges.push(compiled(id.as_ref(), filter));
                self.decide_by(filter);
                return;
            }
            Operation::Filter(filter) => {
                self.decide_by(filter);
                // What stands right behind a search narrows it.
                let more = ElementKey::compile(filter);
                let narrowed = match (before, self.plain) {
                    (_, Some(Plain::Nodes)) | (Some(Operation::Nodes(..)), _) => {
                        self.nodes.last_mut()
                    }
                    (_, Some(Plain::Edges)) | (Some(Operation::Edges(..)), _) => {
                        self.edges.last_mut()
                    }
                    _ => None,
                };
                if let Some(filter) = narrowed {
                    *filter = std::mem::replace(filter, Filter::everything()).and(more);
                }
                return;
            }
            _ => self.plain = None,
        }
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
            // Everything, unless more steps follow.
            Operation::Graph => {
                self.walks = true;
                self.nodes.push(Filter::everything());
            }
            Operation::Walk(_, filter)
            | Operation::SubGraph(filter)
            | Operation::Hierarchy(_, filter, _) => {
                self.walks = true;
                self.decide_by(filter);
            }
            // A path shows its nodes whole.
            Operation::ShortestPath(..) => {
                self.walks = true;
                self.keys = None;
            }
            Operation::Dedup(keys) => keys.iter().for_each(|key| self.decide_by_key(key)),
            // Without keys it is of no use, with them it shows these.
            Operation::ValueMap(keys) => keys.iter().for_each(|key| self.decide_by_key(key)),
            Operation::Sort(_, key)
            | Operation::Values(key)
            | Operation::Sum(Some(key))
            | Operation::Metrics(key) => self.decide_by_key(key),
            Operation::Keys | Operation::Sockets | Operation::NextHop(_) => self.keys = None,
            Operation::Flows(_)
            | Operation::FlowNodes(..)
            | Operation::FlowEnds(..)
            | Operation::Group
            | Operation::MoreThan
            | Operation::RawPackets
            | Operation::Bpf(_) => {
                (self.is_timed, self.walks, self.keys) = (true, true, None);
                self.nodes.push(Filter::everything());
            }
        }
    }

    fn decide_by(&mut self, filter: &Filter) {
        match filter {
            Filter::All(filters) | Filter::Any(filters) => {
                filters.iter().for_each(|filter| self.decide_by(filter));
            }
            Filter::Not(filter) => self.decide_by(filter),
            Filter::Test(key, _) => self.decide_by_key(key),
        }
    }

    fn decide_by_key(&mut self, key: &str) {
        let key = ElementKey::parse(key);
        match (&key, key.metadata_of_node()) {
            (ElementKey::DeletedAt, _) => self.sees_deletion = true,
            // Each change changes them.
            (ElementKey::UpdatedAt | ElementKey::Revision, _) => self.keys = None,
            (_, Some(metadata)) if metadata.name().is_empty() => self.keys = None,
            (_, Some(metadata)) => {
                if let Some(keys) = &mut self.keys {
                    keys.push(metadata.name().clone());
                }
            }
            // The rest of an element stays as it is.
            (_, None) => {}
        }
    }

    /// What it means that something became of a node; `is_in` tells whether it is in the answer.
    pub(super) fn of_node(&self, node: &Node, fate: Fate<'_>, is_in: bool) -> Meaning {
        let passes = || self.nodes.iter().any(|filter| filter.matches(node));
        match self.plain {
            _ if self.is_past => Meaning::Nothing,
            Some(Plain::Graph) => plain(fate, is_in, true),
            Some(Plain::Nodes) => plain(fate, is_in, passes()),
            Some(Plain::Edges) => Meaning::Nothing,
            None => match fate {
                Fate::Deleted if self.sees_deletion => Meaning::Unknown,
                Fate::Added | Fate::Deleted if is_in || passes() => Meaning::Unknown,
                Fate::Added | Fate::Deleted => Meaning::Nothing,
                Fate::Updated(ops) => self.of_update(ops, is_in),
            },
        }
    }

    /// The same of an edge.
    pub(super) fn of_edge(&self, edge: &Edge, fate: Fate<'_>, is_in: bool) -> Meaning {
        let passes = || self.edges.iter().any(|filter| filter.matches(edge));
        match self.plain {
            _ if self.is_past => Meaning::Nothing,
            Some(Plain::Graph) => plain(fate, is_in, true),
            Some(Plain::Edges) => plain(fate, is_in, passes()),
            Some(Plain::Nodes) => Meaning::Nothing,
            None if !self.walks && self.edges.is_empty() => Meaning::Nothing,
            None => match fate {
                Fate::Deleted if self.sees_deletion => Meaning::Unknown,
                Fate::Added | Fate::Deleted if self.walks || is_in || passes() => Meaning::Unknown,
                Fate::Added | Fate::Deleted => Meaning::Nothing,
                Fate::Updated(ops) => self.of_update(ops, is_in),
            },
        }
    }

    fn of_update(&self, ops: Option<&[MetadataOp]>, is_in: bool) -> Meaning {
        let decides = match (ops, &self.keys) {
            (Some(ops), Some(keys)) => ops
                .iter()
                .any(|op| keys.iter().any(|key| overlap(op.key(), key))),
            (None, Some(keys)) => !keys.is_empty(),
            (_, None) => true,
        };
        match (decides, is_in) {
            (true, _) => Meaning::Unknown,
            (false, true) => Meaning::Replaces,
            (false, false) => Meaning::Nothing,
        }
    }
}

/// What a change means where the answer is all that passes a filter.
const fn plain(fate: Fate<'_>, is_in: bool, passes: bool) -> Meaning {
    match (fate, is_in, passes) {
        (Fate::Added, false, true) => Meaning::Enters,
        (Fate::Updated(_), true, true) => Meaning::Replaces,
        (Fate::Added | Fate::Updated(_), false, false) | (Fate::Deleted, false, _) => {
            Meaning::Nothing
        }
        _ => Meaning::Unknown,
    }
}

/// Whether one dotted path is the other or leads to it.
fn overlap(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() {
        (one, other)
    } else {
        (other, one)
    };
    long.strip_prefix(short)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// A search as a filter.
fn compiled(id: Option<&Text>, filter: &Filter) -> Filter<ElementKey> {
    match id {
        None => ElementKey::compile(filter),
        Some(id) => Filter::Test(ElementKey::Id, crate::filter::Predicate::Text(id.clone())),
    }
}
