//! `NodeRules`: creates nodes and sets metadata.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::index::FilterIndex;
use super::loop_guard::{LoopGuard, Verdict};
use super::rule_query::{RuleQuery, ids, rule_name};
use super::rule_set::{RuleContext, count, restored};
use super::{Counters, RuleEvent};
use crate::api::{GraphResource, NodeRule};
use crate::engine::monotonic;
use crate::graph::{
    Graph, GraphAccess, GraphError, GraphEvent, Metadata, MetadataOp, Node, NodeId,
};
use crate::time::Timestamp;

/// Node rules, by their number in the order of creation.
#[derive(Default)]
pub(super) struct NodeRules {
    creates: BTreeMap<u64, CreateRule>,
    /// Rules that create a node, by the ID of the node; the first rule determines its metadata.
    by_node: HashMap<NodeId, BTreeSet<u64>>,
    updates: BTreeMap<u64, UpdateRule>,
    /// Searches of the update rules.
    index: FilterIndex<u64>,
    /// Update rules whose query is not a search.
    derived: BTreeSet<u64>,
    /// Update rules whose search has to run once, for the nodes that exist already.
    unsearched: BTreeSet<u64>,
    /// Removed update rules whose keys have to be removed from nodes.
    stripping: Vec<UpdateRule>,
    /// The rules in `derived`, by the nodes that their queries returned.
    members: HashMap<NodeId, BTreeSet<u64>>,
    /// Nodes to check.
    marked: HashSet<NodeId>,
    /// IDs of nodes that may be missing.
    missing: HashSet<NodeId>,
    guard: LoopGuard<NodeId>,
    /// Time at which the creation of failed nodes is retried.
    retry: Option<Instant>,
}

struct CreateRule {
    rule: Arc<NodeRule>,
    node: NodeId,
}

struct UpdateRule {
    rule: Arc<NodeRule>,
    query: RuleQuery,
    ops: Vec<MetadataOp>,
    /// Nodes of the last answer, if the query is not a search.
    members: HashSet<NodeId>,
}

impl NodeRules {
    /// Returns the numbers of all rules, ascending.
    pub(super) fn numbers(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> = self
            .creates
            .keys()
            .chain(self.updates.keys())
            .copied()
            .collect();
        numbers.sort_unstable();
        numbers
    }

    /// Adds a rule and marks the nodes that it affects.
    pub(super) fn add(&mut self, number: u64, rule: Arc<NodeRule>) {
        self.guard.reset_all();
        if rule.action == "create" {
            let node = node_id(&rule);
            self.missing.insert(node.clone());
            self.by_node.entry(node.clone()).or_default().insert(number);
            self.creates.insert(number, CreateRule { rule, node });
            return;
        }
        let query = RuleQuery::new(&rule.query);
        match query.search() {
            Some(filter) => {
                self.index.insert(number, filter.clone());
                self.unsearched.insert(number);
            }
            None => {
                self.derived.insert(number);
            }
        }
        let update = UpdateRule {
            ops: ops(&rule),
            rule,
            query,
            members: HashSet::new(),
        };
        self.updates.insert(number, update);
    }

    /// Removes rules and undoes their effects: deletes nodes that no other rule creates, and
    /// removes keys that no other rule sets from the nodes that currently match.
    pub(super) fn remove(&mut self, context: &RuleContext, numbers: &[u64], counters: &Counters) {
        for number in numbers {
            self.guard.reset_all();
            if let Some(create) = self.creates.remove(number) {
                self.undo_creation(context, *number, &create, counters);
            } else if let Some(mut update) = self.updates.remove(number) {
                self.index.remove(*number);
                self.derived.remove(number);
                self.unsearched.remove(number);
                self.forget_members(*number, update.members.iter());
                update.query.mark_stale();
                self.stripping.push(update);
            }
        }
        self.strip(context, counters, &|| false);
    }

    /// Removes the keys of removed rules whose query is due from the nodes that match.
    fn strip(
        &mut self,
        context: &RuleContext,
        counters: &Counters,
        is_stopping: &(dyn Fn() -> bool + Sync),
    ) {
        let now = monotonic::now();
        for mut update in std::mem::take(&mut self.stripping) {
            let name = rule_name(&*update.rule);
            let nodes = match update.query.is_due(now) {
                true => update.query.run(&context.queries, &name, is_stopping),
                false => None,
            };
            let Some(nodes) = nodes else {
                // The query of a rule that cannot be parsed has never had an effect.
                if update.query.is_stale() {
                    self.stripping.push(update);
                }
                continue;
            };
            for node in nodes {
                let work = |graph: &mut Graph, now: Timestamp| {
                    self.apply(context, graph, &node.id, &update.ops, now)
                };
                count(counters, &name, context.update(work));
            }
        }
    }

    fn undo_creation(
        &mut self,
        context: &RuleContext,
        number: u64,
        create: &CreateRule,
        counters: &Counters,
    ) {
        let id = &create.node;
        let Some(numbers) = self.by_node.get_mut(id) else {
            return;
        };
        let was_first = numbers.first() == Some(&number);
        numbers.remove(&number);
        let next = numbers.first().copied();
        if next.is_none() {
            self.by_node.remove(id);
            self.missing.remove(id);
        }
        let next = next.and_then(|next| self.creates.get(&next));
        let work = |graph: &mut Graph, now: Timestamp| {
            let is_ours = |node: &Arc<Node>| node.origin == *context.origin.as_str();
            match (graph.node(id).filter(|node| is_ours(node)), next) {
                (Some(_), None) => graph.delete_node(id, now).map(|()| true),
                (Some(node), Some(next)) if was_first => {
                    let base = with_metadata(node, created_metadata(&next.rule, id));
                    let metadata = self.desired(context, &base).unwrap_or(base.metadata);
                    graph.set_node_metadata(id, metadata, now)
                }
                _ => Ok(false),
            }
        };
        count(counters, &rule_name(&*create.rule), context.update(work));
    }

    fn forget_members<'a>(&mut self, number: u64, members: impl Iterator<Item = &'a NodeId>) {
        for id in members {
            if let Some(numbers) = self.members.get_mut(id) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    self.members.remove(id);
                }
            }
        }
    }

    /// Marks all nodes for a check, because events were lost.
    pub(super) fn mark_all(&mut self, context: &RuleContext) {
        self.missing.extend(self.by_node.keys().cloned());
        self.marked.extend(self.by_node.keys().cloned());
        for number in &self.derived {
            if let Some(update) = self.updates.get_mut(number) {
                update.query.mark_stale();
            }
        }
        let is_updating = !self.updates.is_empty();
        context.queries.graph.read(&mut |graph| {
            self.guard.retain(|id| graph.node(id).is_some());
            if is_updating {
                self.marked
                    .extend(graph.nodes().map(|node| node.id.clone()));
            }
        });
    }

    /// Marks the nodes that an event may affect.
    pub(super) fn note(&mut self, RuleEvent { event, is_own }: &RuleEvent) {
        match event {
            GraphEvent::NodeAdded(node) | GraphEvent::NodeUpdated { node, .. } => {
                if !is_own {
                    self.guard.reset(&node.id);
                }
                if !self.updates.is_empty() || self.by_node.contains_key(&node.id) {
                    self.marked.insert(node.id.clone());
                }
            }
            GraphEvent::NodeDeleted(node) => {
                self.guard.reset(&node.id);
                self.marked.remove(&node.id);
                if self.by_node.contains_key(&node.id) {
                    self.missing.insert(node.id.clone());
                }
            }
            _ => {}
        }
        for number in &self.derived {
            if let Some(UpdateRule { query, members, .. }) = self.updates.get_mut(number) {
                query.note(event, |id| members.contains(id));
            }
        }
    }

    /// Returns the time at which queries must run without an event.
    pub(super) fn next_time(&self) -> Option<Instant> {
        let numbers = self.derived.union(&self.unsearched);
        let rules = numbers.filter_map(|number| self.updates.get(number));
        let queries = rules.chain(&self.stripping);
        let times = queries.filter_map(|update| update.query.next_time());
        times.chain(self.retry).min()
    }

    /// Creates missing nodes, and applies the rules to marked nodes.
    pub(super) fn settle(
        &mut self,
        context: &RuleContext,
        counters: &Counters,
        is_stopping: &(dyn Fn() -> bool + Sync),
    ) {
        self.create_missing(context, counters);
        self.strip(context, counters, is_stopping);
        self.run_queries(context, is_stopping);
        let marked: Vec<NodeId> = self.marked.drain().collect();
        for chunk in marked.chunks(CHUNK) {
            if is_stopping() {
                return;
            }
            let mut nodes: Vec<Arc<Node>> = Vec::with_capacity(chunk.len());
            context.queries.graph.read(&mut |graph| {
                nodes.extend(chunk.iter().filter_map(|id| graph.node(id)).cloned());
            });
            self.settle_nodes(context, &nodes, counters);
        }
    }

    fn create_missing(&mut self, context: &RuleContext, counters: &Counters) {
        if self.retry.is_some_and(|retry| monotonic::now() >= retry) {
            self.retry = None;
        }
        if self.retry.is_some() {
            return;
        }
        for id in std::mem::take(&mut self.missing) {
            let first = self.by_node.get(&id).and_then(BTreeSet::first);
            let Some(create) = first.and_then(|first| self.creates.get(first)) else {
                continue;
            };
            let add = |graph: &mut Graph, now: Timestamp| {
                if graph.node(&id).is_some() {
                    return Ok(false);
                }
                let metadata = created_metadata(&create.rule, &id);
                let origin = context.origin.clone().with_host("");
                let node = Node::new(id.clone(), metadata, now).with_origin(origin);
                graph.add_node(node).map(|()| true)
            };
            let outcome = context.update(add);
            if outcome.is_err() {
                self.missing.insert(id.clone());
                self.retry = Some(monotonic::now() + RETRY);
            }
            count(counters, &rule_name(&*create.rule), outcome);
        }
    }

    /// Runs the queries that are due and marks the nodes that they return.
    fn run_queries(&mut self, context: &RuleContext, is_stopping: &(dyn Fn() -> bool + Sync)) {
        let start = monotonic::now();
        let numbers: Vec<u64> = self.derived.union(&self.unsearched).copied().collect();
        for number in numbers {
            let Some(update) = self.updates.get_mut(&number) else {
                continue;
            };
            if !update.query.is_due(start) {
                continue;
            }
            let name = rule_name(&*update.rule);
            let Some(nodes) = update.query.run(&context.queries, &name, is_stopping) else {
                continue;
            };
            let found = ids(&nodes);
            self.marked.extend(found.iter().cloned());
            // The index finds the later matches of a search.
            if !self.unsearched.remove(&number) {
                let former = std::mem::replace(&mut update.members, found.clone());
                self.forget_members(number, former.difference(&found));
                for id in found {
                    self.members.entry(id).or_default().insert(number);
                }
            }
        }
    }

    /// Applies the rules to nodes, in one transaction.
    fn settle_nodes(&mut self, context: &RuleContext, nodes: &[Arc<Node>], counters: &Counters) {
        let mut changing: Vec<&Arc<Node>> = Vec::new();
        for node in nodes {
            if self.desired(context, node).is_some() && self.may_change(node, counters) {
                changing.push(node);
            }
        }
        if changing.is_empty() {
            return;
        }
        let work = |graph: &mut Graph, now: Timestamp| -> Vec<Result<bool, GraphError>> {
            let apply = |node: &&Arc<Node>| self.apply(context, graph, &node.id, &[], now);
            changing.iter().map(apply).collect()
        };
        for (node, outcome) in changing.iter().zip(context.update(work)) {
            let names = match &outcome {
                Ok(_) => String::new(),
                Err(_) => self.names_for(node),
            };
            count(counters, &names, outcome);
        }
    }

    /// Returns whether the rules may change a node, or are suspended for it.
    fn may_change(&mut self, node: &Node, counters: &Counters) -> bool {
        match self.guard.check(&node.id) {
            Verdict::Allowed => true,
            Verdict::Suspends => {
                counters.suspensions.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    node = %node.id,
                    rules = self.names_for(node),
                    "rules trigger each other endlessly; they are suspended for this node until \
                     something else changes it"
                );
                false
            }
            Verdict::Suspended => false,
        }
    }

    /// Removes the keys of some operations from a node, then applies all rules to it.
    fn apply(
        &self,
        context: &RuleContext,
        graph: &mut Graph,
        id: &NodeId,
        stripped: &[MetadataOp],
        now: Timestamp,
    ) -> Result<bool, GraphError> {
        let Some(node) = graph.node(id) else {
            return Ok(false);
        };
        let mut metadata = node.metadata.clone();
        for op in stripped {
            if is_allowed(context, node, op) {
                metadata.remove_path(op.key());
            }
        }
        let base = with_metadata(node, metadata);
        let metadata = self.desired(context, &base).unwrap_or(base.metadata);
        if context.is_from_here(&base.origin) {
            graph.set_node_metadata(id, metadata, now)
        } else {
            graph.annotate_node(id, metadata, now)
        }
    }

    /// Returns the metadata of a node as the rule that created it requires; `None` if no rule did, or
    /// nothing has changed the node.
    fn restored_creation(&self, context: &RuleContext, node: &Node) -> Option<Metadata> {
        let first = self.by_node.get(&node.id)?.first()?;
        let is_ours = node.origin == *context.origin.as_str();
        let rule = &self.creates.get(first).filter(|_| is_ours)?.rule;
        restored(&node.metadata, &created_metadata(rule, &node.id))
    }

    /// Returns the metadata of a node after application of all rules that match it, in the order of
    /// creation, beginning with the rule that created it; `None` if the rules change nothing. A rule
    /// may match because of metadata set by an earlier rule.
    fn desired(&self, context: &RuleContext, node: &Node) -> Option<Metadata> {
        let mut current = Node::clone(node);
        if let Some(metadata) = self.restored_creation(context, node) {
            current.metadata = metadata;
        }
        let mut queue = self.index.matches(&current);
        queue.extend(self.members.get(&node.id).into_iter().flatten());
        let mut done: Bound<u64> = Bound::Unbounded;
        while let Some(&number) = queue.range((done, Bound::Unbounded)).next() {
            done = Bound::Excluded(number);
            let Some(update) = self.updates.get(&number) else {
                continue;
            };
            let search = update.query.search();
            if search.is_some_and(|filter| !filter.matches(&current)) {
                continue;
            }
            let mut is_changed = false;
            for op in &update.ops {
                if is_allowed(context, node, op) {
                    is_changed |= op.apply(&mut current.metadata);
                }
            }
            if is_changed {
                queue.extend(self.index.matches(&current));
            }
        }
        (current.metadata != node.metadata).then_some(current.metadata)
    }

    /// Returns the names of the rules that match a node.
    fn names_for(&self, node: &Node) -> String {
        let mut numbers = self.index.matches(node);
        numbers.extend(self.members.get(&node.id).into_iter().flatten());
        let rules = numbers.iter().filter_map(|number| self.updates.get(number));
        let names: Vec<String> = rules
            .take(10)
            .map(|update| rule_name(&*update.rule))
            .collect();
        names.join(", ")
    }
}

/// Returns whether a rule may change a key. Keys that identify a node, and keys of nodes of this
/// host's probes that captures rely on, must not be changed.
fn is_allowed(context: &RuleContext, node: &Node, op: &MetadataOp) -> bool {
    let root = op.key().split('.').next().unwrap_or_default();
    let is_defining = Node::DEFINING.contains(&root);
    !(matches!(root, "Name" | "Type") || is_defining && node.origin == *context.probes.as_str())
}

/// Returns the ID of the node that a rule creates. COMPAT: as in Skydive.
fn node_id(rule: &NodeRule) -> NodeId {
    let text = |key: &str| {
        let metadata = rule.metadata.as_ref();
        let value = metadata.and_then(|metadata| metadata.get(key)?.as_text());
        value.unwrap_or_default()
    };
    NodeId::derived(&format!("{}/{}", text("Type"), text("Name")))
}

/// Returns the metadata of the node that a rule creates.
fn created_metadata(rule: &NodeRule, id: &NodeId) -> Metadata {
    let mut metadata = rule.metadata.clone().unwrap_or_default();
    metadata.set("TID", id.to_string().as_str());
    if metadata.get("Type").and_then(|kind| kind.as_text()) == Some("fabric") {
        metadata.set("Probe", "fabric");
    }
    metadata
}

fn with_metadata(node: &Node, metadata: Metadata) -> Node {
    let mut node = Node::clone(node);
    node.metadata = metadata;
    node
}

fn ops(rule: &NodeRule) -> Vec<MetadataOp> {
    let metadata = rule.metadata.iter().flat_map(Metadata::iter);
    metadata
        .map(|(key, value)| MetadataOp::set(key.as_str(), value.clone()))
        .collect()
}

/// Maximum number of nodes that are read while the lock is held.
const CHUNK: usize = 64;
/// Time after which the creation of a node is retried after a failure.
const RETRY: Duration = Duration::from_secs(5);
