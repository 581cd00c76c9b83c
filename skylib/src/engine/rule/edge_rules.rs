//! `EdgeRules`: links the first node of one query to the first node of another query.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::index::FilterIndex;
use super::loop_guard::{LoopGuard, Verdict};
use super::rule_query::{RuleQuery, rule_name};
use super::rule_set::{RuleContext, count, restored};
use super::{Counters, RuleEvent};
use crate::api::EdgeRule;
use crate::engine::monotonic;
use crate::graph::{
    Direction, Edge, EdgeId, Graph, GraphAccess, GraphError, GraphEvent, Metadata, Node, NodeId,
};
use crate::time::Timestamp;

/// Edge rules, by their number in the order of creation.
#[derive(Default)]
pub(super) struct EdgeRules {
    rules: BTreeMap<u64, LinkRule>,
    /// Searches for both ends.
    index: FilterIndex<(u64, Side)>,
    /// Rules with a query that is not a search.
    derived: BTreeSet<u64>,
    /// Rules, by the nodes that are their ends.
    by_end: HashMap<NodeId, BTreeSet<u64>>,
    /// Rules to check.
    marked: BTreeSet<u64>,
    /// Rules with a search that failed and is repeated.
    failed: BTreeSet<u64>,
    guard: LoopGuard<u64>,
}

/// End of an edge rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Side {
    Src,
    Dst,
}

struct LinkRule {
    rule: Arc<EdgeRule>,
    relation: String,
    src: End,
    dst: End,
    /// Edge created by the rule.
    made: Option<EdgeId>,
}

/// State of one end of a rule.
struct End {
    query: RuleQuery,
    /// Matching node that was created first (of several, the node with the smallest ID). Unlike the
    /// order of an answer, this choice does not depend on when the query ran.
    first: Option<(Timestamp, NodeId)>,
}

impl End {
    fn new(query: &str) -> Self {
        Self {
            query: RuleQuery::new(query),
            first: None,
        }
    }

    fn node(&self) -> Option<&NodeId> {
        self.first.as_ref().map(|(_, id)| id)
    }

    /// Marks a search stale, because its first node no longer matches.
    fn lose_first(&mut self) {
        if self.query.search().is_some() {
            self.query.mark_stale();
        }
    }
}

impl LinkRule {
    fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Src => &mut self.src,
            Side::Dst => &mut self.dst,
        }
    }

    fn name(&self) -> String {
        rule_name(&*self.rule)
    }
}

impl EdgeRules {
    /// Returns the numbers of all rules, ascending.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.rules.keys().copied().collect()
    }

    /// Adds a rule and marks it.
    pub(super) fn add(&mut self, number: u64, rule: Arc<EdgeRule>) {
        self.guard.reset_all();
        let (src, dst) = (End::new(&rule.src), End::new(&rule.dst));
        for (side, end) in [(Side::Src, &src), (Side::Dst, &dst)] {
            match end.query.search() {
                Some(filter) => self.index.insert((number, side), filter.clone()),
                None => {
                    self.derived.insert(number);
                }
            }
        }
        let relation = rule.metadata.as_ref();
        let relation = relation.and_then(|metadata| metadata.get("RelationType")?.as_text());
        let link = LinkRule {
            relation: relation.unwrap_or_default().to_owned(),
            rule,
            src,
            dst,
            made: None,
        };
        self.rules.insert(number, link);
        self.marked.insert(number);
    }

    /// Removes rules and deletes the edges that they have created. Other rules that require the
    /// same edge create it in the next turn.
    pub(super) fn remove(&mut self, context: &RuleContext, numbers: &[u64], counters: &Counters) {
        for number in numbers {
            self.guard.reset_all();
            let Some(rule) = self.rules.remove(number) else {
                continue;
            };
            self.marked.remove(number);
            self.derived.remove(number);
            self.failed.remove(number);
            for (side, end) in [(Side::Src, &rule.src), (Side::Dst, &rule.dst)] {
                self.index.remove((*number, side));
                if let Some(node) = end.node() {
                    remove_end(&mut self.by_end, node, *number);
                    self.marked
                        .extend(self.by_end.get(node).into_iter().flatten());
                }
            }
            let name = rule.name();
            if let Some(made) = rule.made {
                let delete = |graph: &mut Graph, now: Timestamp| delete(graph, &made, now);
                count(counters, &name, context.update(delete));
            }
        }
    }

    /// Marks all rules for a check, because events were lost.
    pub(super) fn mark_all(&mut self) {
        for (number, rule) in &mut self.rules {
            for side in [Side::Src, Side::Dst] {
                rule.end(side).query.mark_stale();
            }
            self.marked.insert(*number);
        }
    }

    /// Marks the rules that an event may affect.
    pub(super) fn note(&mut self, RuleEvent { event, is_own }: &RuleEvent) {
        if self.rules.is_empty() {
            return;
        }
        let mut affected: BTreeSet<u64> = BTreeSet::new();
        match event {
            GraphEvent::NodeAdded(node) | GraphEvent::NodeUpdated { node, .. } => {
                self.note_node(node, &mut affected);
            }
            GraphEvent::NodeDeleted(node) => {
                for number in self.by_end.get(&node.id).into_iter().flatten() {
                    affected.insert(*number);
                    let Some(rule) = self.rules.get_mut(number) else {
                        continue;
                    };
                    for side in [Side::Src, Side::Dst] {
                        let end = rule.end(side);
                        if end.node() == Some(&node.id) {
                            end.lose_first();
                        }
                    }
                }
            }
            GraphEvent::EdgeAdded(edge)
            | GraphEvent::EdgeUpdated { edge, .. }
            | GraphEvent::EdgeDeleted(edge) => {
                affected.extend(self.by_end.get(&edge.child).into_iter().flatten());
                if let Some(rules) = self.by_end.get(&edge.parent) {
                    affected.extend(rules);
                }
            }
        }
        for number in &self.derived {
            let Some(rule) = self.rules.get_mut(number) else {
                continue;
            };
            for side in [Side::Src, Side::Dst] {
                let end = rule.end(side);
                let first = end.first.as_ref().map(|(_, id)| id);
                if end.query.note(event, |id| first == Some(id)) {
                    affected.insert(*number);
                }
            }
        }
        if !is_own {
            affected.iter().for_each(|number| self.guard.reset(number));
        }
        self.marked.extend(affected);
    }

    /// Updates the ends of rules whose searches the node matches or has matched.
    fn note_node(&mut self, node: &Node, affected: &mut BTreeSet<u64>) {
        let matching = self.index.matches(node);
        for &(number, side) in &matching {
            let Some(rule) = self.rules.get_mut(&number) else {
                continue;
            };
            let end = rule.end(side);
            let candidate = (node.created_at, node.id.clone());
            if end.query.is_stale() || end.first.as_ref().is_some_and(|first| *first <= candidate) {
                continue;
            }
            let before = end.first.replace(candidate);
            if let Some((_, before)) = before {
                remove_end_unless(&mut self.by_end, rule, &before, number);
            }
            self.by_end
                .entry(node.id.clone())
                .or_default()
                .insert(number);
            affected.insert(number);
        }
        for number in self.by_end.get(&node.id).into_iter().flatten() {
            let Some(rule) = self.rules.get_mut(number) else {
                continue;
            };
            for side in [Side::Src, Side::Dst] {
                let end = rule.end(side);
                let is_left = end.node() == Some(&node.id)
                    && end.query.search().is_some()
                    && !matching.contains(&(*number, side));
                if is_left {
                    end.lose_first();
                    affected.insert(*number);
                }
            }
        }
    }

    /// Returns the time at which queries must run without an event.
    pub(super) fn next_time(&self) -> Option<Instant> {
        let numbers = self.derived.union(&self.failed);
        let rules = numbers.filter_map(|number| self.rules.get(number));
        let ends = rules.flat_map(|rule| [&rule.src, &rule.dst]);
        ends.filter_map(|end| end.query.next_time()).min()
    }

    /// Checks the marked rules: finds their ends, and adds or deletes their edges.
    pub(super) fn settle(
        &mut self,
        context: &RuleContext,
        counters: &Counters,
        is_stopping: &(dyn Fn() -> bool + Sync),
    ) {
        let now = monotonic::now();
        let is_due = |number: &u64| {
            let rule = self.rules.get(number);
            rule.is_some_and(|rule| rule.src.query.is_due(now) || rule.dst.query.is_due(now))
        };
        let numbers = self.derived.union(&self.failed).copied();
        self.marked.extend(numbers.filter(is_due));
        let marked = std::mem::take(&mut self.marked);
        let mut contested = BTreeSet::new();
        for number in &marked {
            if is_stopping() {
                return;
            }
            self.find_ends(context, *number, now, is_stopping);
            // A node has one owner: all rules that determine it are checked.
            let rule = self
                .rules
                .get(number)
                .filter(|rule| rule.relation == Edge::OWNERSHIP);
            if let Some(node) = rule.and_then(|rule| rule.dst.node()) {
                contested.extend(self.by_end.get(node).into_iter().flatten().copied());
            }
        }
        for number in marked.union(&contested) {
            self.settle_rule(context, *number, counters);
        }
    }

    fn find_ends(
        &mut self,
        context: &RuleContext,
        number: u64,
        now: Instant,
        is_stopping: &(dyn Fn() -> bool + Sync),
    ) {
        let Some(rule) = self.rules.get_mut(&number) else {
            return;
        };
        let name = rule.name();
        for side in [Side::Src, Side::Dst] {
            let end = rule.end(side);
            if !end.query.is_due(now) {
                continue;
            }
            let Some(nodes) = end.query.run(&context.queries, &name, is_stopping) else {
                continue;
            };
            let nodes = nodes.iter();
            let first = nodes.map(|node| (node.created_at, node.id.clone())).min();
            let before = std::mem::replace(&mut end.first, first.clone());
            if let Some((_, before)) = before {
                remove_end_unless(&mut self.by_end, rule, &before, number);
            }
            if let Some((_, id)) = first {
                self.by_end.entry(id).or_default().insert(number);
            }
        }
        let has_failed = |end: &End| end.query.search().is_some() && end.query.is_stale();
        match has_failed(&rule.src) || has_failed(&rule.dst) {
            true => self.failed.insert(number),
            false => self.failed.remove(&number),
        };
    }

    fn settle_rule(&mut self, context: &RuleContext, number: u64, counters: &Counters) {
        let Some(rule) = self.rules.get(&number) else {
            return;
        };
        let ends = rule.src.node().zip(rule.dst.node());
        let wanted = ends.filter(|(_, dst)| !self.is_overruled(number, rule, dst));
        let is_first = self.is_first(number, rule);
        let link =
            |graph: &mut Graph, now: Timestamp| link(context, graph, rule, (wanted, is_first), now);
        // Most checks find nothing to do and need no transaction.
        let mut is_settled = false;
        let check = |graph: &Graph| match (&rule.made, wanted) {
            (Some(id), wanted) => {
                let is_changed = is_first && restored_edge(graph, id, rule).is_some();
                is_made(graph, id, wanted) && !is_changed
            }
            (None, None) => true,
            (None, Some((src, dst))) => is_linked(graph, &rule.relation, src, dst),
        };
        // An edge of this host's rules that exists already, for example of an equal rule.
        let mut adopted = None;
        context.queries.graph.read(&mut |graph| {
            is_settled = check(graph);
            if let (None, Some((src, dst))) = (&rule.made, wanted) {
                adopted = made_before(context, graph, rule, (src, dst));
            }
        });
        let name = rule.name();
        if is_settled {
            if let Some(rule) = self.rules.get_mut(&number).filter(|_| adopted.is_some()) {
                rule.made = adopted;
            }
            return;
        }
        if !may_change(&mut self.guard, number, &name, counters) {
            return;
        }
        match context.update(link) {
            Ok((made, is_changed)) => {
                if let Some(rule) = self.rules.get_mut(&number) {
                    rule.made = made;
                }
                count(counters, &name, Ok(is_changed));
            }
            Err(error) => count(counters, &name, Err(error)),
        }
    }

    /// Returns whether a rule is the first rule that requires its edge, and therefore determines the
    /// metadata of the edge.
    fn is_first(&self, number: u64, rule: &LinkRule) -> bool {
        let rules = rule.src.node().and_then(|src| self.by_end.get(src));
        let earlier = rules.into_iter().flatten();
        let mut earlier = earlier.take_while(|other| **other < number);
        !earlier.any(|other| {
            let other = self.rules.get(other);
            rule.made.is_some() && other.is_some_and(|other| other.made == rule.made)
        })
    }

    /// Returns whether a later rule determines the owner of a node.
    fn is_overruled(&self, number: u64, rule: &LinkRule, dst: &NodeId) -> bool {
        rule.relation == Edge::OWNERSHIP
            && self.by_end.get(dst).into_iter().flatten().any(|other| {
                *other > number
                    && self.rules.get(other).is_some_and(|other| {
                        other.relation == Edge::OWNERSHIP
                            && other.dst.node() == Some(dst)
                            && other.src.node().is_some()
                    })
            })
    }
}

/// Returns whether a rule may change the graph, or is suspended.
fn may_change(guard: &mut LoopGuard<u64>, number: u64, name: &str, counters: &Counters) -> bool {
    match guard.check(&number) {
        Verdict::Allowed => true,
        Verdict::Suspends => {
            counters.suspensions.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                rule = name,
                "an edge rule changes its own ends endlessly; it is suspended until something \
                 else changes them"
            );
            false
        }
        Verdict::Suspended => false,
    }
}

/// Returns whether an edge exists and has the required ends.
fn is_made(graph: &Graph, id: &EdgeId, wanted: Option<(&NodeId, &NodeId)>) -> bool {
    graph
        .edge(id)
        .is_some_and(|edge| wanted == Some((&edge.parent, &edge.child)))
}

/// Returns whether two nodes are already linked; `layer2` has no direction.
fn is_linked(graph: &Graph, relation: &str, src: &NodeId, dst: &NodeId) -> bool {
    let has_relation = |edge: &Edge| edge.relation_type() == Some(relation);
    graph.find_edge(src, dst, has_relation).is_some()
        || (relation == Edge::LAYER2 && graph.find_edge(dst, src, has_relation).is_some())
}

/// Returns the ID of the edge of a rule.
fn edge_id(rule: &LinkRule, (src, dst): (&NodeId, &NodeId)) -> EdgeId {
    EdgeId::derived(&format!("{src}{dst}{}", rule.relation))
}

/// Returns the ID of the edge of a rule if rules of this host have added it before.
fn made_before(
    context: &RuleContext,
    graph: &Graph,
    rule: &LinkRule,
    ends: (&NodeId, &NodeId),
) -> Option<EdgeId> {
    let id = edge_id(rule, ends);
    let is_ours = |edge: &Arc<Edge>| edge.origin == *context.origin.as_str();
    graph.edge(&id).filter(|edge| is_ours(edge)).map(|_| id)
}

/// Deletes the edge of a rule if it links other nodes than the wanted ones, adds the wanted edge, and
/// restores its metadata if the rule determines it. Returns the edge, and whether anything changed.
fn link(
    context: &RuleContext,
    graph: &mut Graph,
    rule: &LinkRule,
    (wanted, is_first): (Option<(&NodeId, &NodeId)>, bool),
    now: Timestamp,
) -> Result<(Option<EdgeId>, bool), GraphError> {
    let mut made = rule.made.clone();
    let mut is_changed = false;
    if let Some(id) = &made
        && !is_made(graph, id, wanted)
    {
        is_changed = delete(graph, id, now)?;
        made = None;
    }
    if let (None, Some(ends)) = (&made, wanted) {
        made = add(context, graph, rule, ends, now)?;
        is_changed |= made.is_some();
    }
    if let Some(id) = made.as_ref().filter(|_| is_first)
        && let Some(metadata) = restored_edge(graph, id, rule)
    {
        is_changed |= graph.set_edge_metadata(id, metadata, now)?;
    }
    Ok((made, is_changed))
}

/// Returns the metadata of the edge of a rule.
fn edge_metadata(rule: &LinkRule) -> Metadata {
    match rule.relation.as_str() {
        Edge::OWNERSHIP => Metadata::from_iter([("RelationType", Edge::OWNERSHIP)]),
        _ => rule.rule.metadata.clone().unwrap_or_default(),
    }
}

/// Returns the metadata of the edge of a rule as the rule requires it; `None` if nothing has changed
/// it.
fn restored_edge(graph: &Graph, id: &EdgeId, rule: &LinkRule) -> Option<Metadata> {
    restored(&graph.edge(id)?.metadata, &edge_metadata(rule))
}

/// Adds the edge of a rule and returns its ID; `None` if the nodes are already linked or no longer
/// exist.
fn add(
    context: &RuleContext,
    graph: &mut Graph,
    rule: &LinkRule,
    (src, dst): (&NodeId, &NodeId),
    now: Timestamp,
) -> Result<Option<EdgeId>, GraphError> {
    if is_linked(graph, &rule.relation, src, dst) {
        return Ok(None);
    }
    if rule.relation == Edge::OWNERSHIP && !replace_owner(context, graph, dst, now)? {
        return Ok(None);
    }
    let id = edge_id(rule, (src, dst));
    let edge = Edge::new(
        id.clone(),
        src.clone(),
        dst.clone(),
        edge_metadata(rule),
        now,
    )
    .with_origin(context.origin.clone().with_host(context.host.as_str()));
    match graph.add_edge(edge) {
        Ok(()) => Ok(Some(id)),
        // An end was deleted; its event follows.
        Err(GraphError::ParentNotFound | GraphError::ChildNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Deletes the edges from other owners of a node. Returns `false`, without any changes, if this
/// host's probes determined the owner, because captures rely on it.
fn replace_owner(
    context: &RuleContext,
    graph: &mut Graph,
    node: &NodeId,
    now: Timestamp,
) -> Result<bool, GraphError> {
    let edges = graph.edges_of(node, Direction::In);
    let owners: Vec<Arc<Edge>> = edges
        .map(|(edge, _)| Arc::clone(edge))
        .filter(|edge| edge.is_ownership())
        .collect();
    if owners
        .iter()
        .any(|edge| edge.origin == *context.probes.as_str())
    {
        return Ok(false);
    }
    for edge in owners {
        graph.delete_edge(&edge.id, now)?;
    }
    Ok(true)
}

/// Deletes an edge. Returns whether it existed.
fn delete(graph: &mut Graph, id: &EdgeId, now: Timestamp) -> Result<bool, GraphError> {
    match graph.delete_edge(id, now) {
        Ok(()) => Ok(true),
        Err(GraphError::EdgeNotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove_end(by_end: &mut HashMap<NodeId, BTreeSet<u64>>, node: &NodeId, number: u64) {
    if let Some(numbers) = by_end.get_mut(node) {
        numbers.remove(&number);
        if numbers.is_empty() {
            by_end.remove(node);
        }
    }
}

/// Removes a rule from a node, unless the node is still one of its ends.
fn remove_end_unless(
    by_end: &mut HashMap<NodeId, BTreeSet<u64>>,
    rule: &LinkRule,
    node: &NodeId,
    number: u64,
) {
    if rule.src.node() != Some(node) && rule.dst.node() != Some(node) {
        remove_end(by_end, node, number);
    }
}
