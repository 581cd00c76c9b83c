//! `RuleSet`: all rules, held by the rule thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use arcstr::ArcStr;

use super::edge_rules::EdgeRules;
use super::node_rules::NodeRules;
use super::{Counters, RuleEvent};
use crate::api::{EdgeRule, NodeRule};
use crate::engine::query::QueryRunner;
use crate::engine::replication::RULE_AUTHOR;
use crate::graph::{Graph, GraphError, Metadata, Origin};
use crate::time::Timestamp;
use crate::value::Value;

/// All rules and their state.
pub(super) struct RuleSet {
    context: RuleContext,
    nodes: NodeRules,
    edges: EdgeRules,
}

/// Parts of the engine used by node and edge rules.
pub(super) struct RuleContext {
    pub(super) queries: QueryRunner,
    /// Identity of this host.
    pub(super) host: String,
    /// Origin of the nodes and edges that rules create: `analyzer.<host>`.
    pub(super) origin: Origin,
    /// Origin of the elements of this host's probes, which captures trust.
    pub(super) probes: String,
}

impl RuleContext {
    /// Returns whether only this host changes the elements of an origin, and no agent or publisher
    /// does.
    pub(super) fn is_from_here(&self, origin: &str) -> bool {
        let service = origin.strip_suffix(&*self.host);
        matches!(service, Some("agent." | "analyzer." | "api."))
    }

    /// Runs a transaction whose events are recognized as caused by rules.
    pub(super) fn update<R>(&self, work: impl FnOnce(&mut Graph, Timestamp) -> R) -> R {
        self.queries.graph.update_as(Some(RULE_AUTHOR), work)
    }
}

impl RuleSet {
    /// Returns a set without rules, on the host with this ID.
    pub(super) fn new(queries: QueryRunner, host: &str) -> Self {
        Self {
            context: RuleContext {
                queries,
                host: host.to_owned(),
                origin: Origin::new("analyzer", host),
                probes: format!("agent.{host}"),
            },
            nodes: NodeRules::default(),
            edges: EdgeRules::default(),
        }
    }

    /// Adds new rules and removes rules that no longer exist. The lists are in the order of
    /// creation. The effects of removed rules are undone immediately.
    pub(super) fn update_rules(
        &mut self,
        node_rules: &[(u64, Arc<NodeRule>)],
        edge_rules: &[(u64, Arc<EdgeRule>)],
        counters: &Counters,
    ) {
        let context = &self.context;
        let (added, removed) = difference(node_rules, &self.nodes.numbers());
        for (number, rule) in added {
            self.nodes.add(number, rule);
        }
        self.nodes.remove(context, &removed, counters);
        let (added, removed) = difference(edge_rules, &self.edges.numbers());
        for (number, rule) in added {
            self.edges.add(number, rule);
        }
        self.edges.remove(context, &removed, counters);
    }

    /// Marks everything for a check, because events were lost.
    pub(super) fn mark_all(&mut self) {
        self.nodes.mark_all(&self.context);
        self.edges.mark_all();
    }

    /// Marks everything that an event may affect.
    pub(super) fn note(&mut self, event: &RuleEvent) {
        self.nodes.note(event);
        self.edges.note(event);
    }

    /// Applies the rules to everything that was marked.
    pub(super) fn settle(&mut self, counters: &Counters, is_stopping: &(dyn Fn() -> bool + Sync)) {
        self.nodes.settle(&self.context, counters, is_stopping);
        self.edges.settle(&self.context, counters, is_stopping);
    }

    /// Returns the time at which rules must be applied without an event.
    pub(super) fn next_time(&self) -> Option<Instant> {
        [self.nodes.next_time(), self.edges.next_time()]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Returns the rules of a list that are not among the numbers, and the numbers that are not in the
/// list.
fn difference<R>(list: &[(u64, Arc<R>)], numbers: &[u64]) -> (Vec<(u64, Arc<R>)>, Vec<u64>) {
    let wanted: BTreeMap<u64, &Arc<R>> =
        list.iter().map(|(number, rule)| (*number, rule)).collect();
    let removed = numbers
        .iter()
        .filter(|number| !wanted.contains_key(*number))
        .copied()
        .collect();
    let added = list
        .iter()
        .filter(|(number, _)| numbers.binary_search(number).is_err())
        .cloned()
        .collect();
    (added, removed)
}

/// Returns the metadata of an element with all keys that a rule has given to it; `None` if it has
/// them already. Further keys remain.
pub(super) fn restored(held: &Metadata, given: &Metadata) -> Option<Metadata> {
    let is_missing = |(key, value): (&ArcStr, &Value)| held.get(key) != Some(value);
    if !given.iter().any(is_missing) {
        return None;
    }
    let mut metadata = held.clone();
    for (key, value) in given.iter() {
        metadata.set(key, value.clone());
    }
    Some(metadata)
}

/// Counts a change, or counts and logs a failure.
pub(super) fn count(counters: &Counters, rule: &str, outcome: Result<bool, GraphError>) {
    match outcome {
        Ok(true) => {
            counters.changes.fetch_add(1, Ordering::Relaxed);
        }
        Ok(false) => {}
        Err(error) => {
            let failures = counters.failures.fetch_add(1, Ordering::Relaxed);
            // With a full graph, every rule fails: only failures whose count is a power of two are
            // logged.
            if (failures + 1).is_power_of_two() {
                tracing::warn!(rule, %error, failures = failures + 1, "a rule cannot be applied");
            }
        }
    }
}
