//! Node and edge rules: one thread applies them to the graph.
//!
//! ```text
//! resource API ─ created, deleted ─┐
//! dispatcher ─── graph events ─────┴ RuleHub ─ RuleSet ─┬ NodeRules ─ nodes, metadata
//!                                                       └ EdgeRules ─ edges
//! ```
//!
//! A rule runs only when an event can change its effect. A query that only searches nodes is stored
//! in a [`FilterIndex`]: a lookup with the changed node finds the rules that the node matches,
//! regardless of the number of rules, and the query itself never runs. Any other query runs again,
//! at most ten times a second, when the static analysis of its plan shows that an event may change
//! its answer ([`Interest`]).
//!
//! Rules apply in the order of creation, so that the last rule takes precedence if rules contradict
//! each other: all rules of a node are applied to a copy of its metadata, and the graph is changed
//! once if the result differs. Repeated application of the same rules therefore changes nothing.
//! Rules that still trigger each other endlessly are suspended; see [`LoopGuard`].
//!
//! [`Interest`]: crate::gremlin::live::Interest

mod edge_rules;
mod index;
mod loop_guard;
mod node_rules;
mod rule_query;
mod rule_set;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use self::rule_set::RuleSet;
use crate::api::{EdgeRule, NodeRule, ResourceStore};
use crate::engine::graph::LoggedEvent;
use crate::engine::monotonic;
use crate::engine::query::QueryRunner;
use crate::engine::replication::RULE_AUTHOR;
use crate::engine::resource::Observer;
use crate::graph::GraphEvent;
use crate::time::Timestamp;

/// Counters of the node and edge rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuleStatus {
    /// Number of graph events that the rules have processed.
    pub events: u64,
    /// Number of changes to the graph made by rules.
    pub changes: u64,
    /// Number of failed changes, for example because the graph is full.
    pub failures: u64,
    /// Number of times that the event queue overflowed, so that all rules were applied again.
    pub overruns: u64,
    /// Number of times that rules were suspended because they triggered each other endlessly.
    pub suspensions: u64,
}

/// Work queue and counters of the rule thread.
pub(crate) struct RuleHub {
    pub(super) queries: QueryRunner,
    node_rules: Arc<ResourceStore<NodeRule>>,
    edge_rules: Arc<ResourceStore<EdgeRule>>,
    host: String,
    inbox: Mutex<Inbox>,
    /// Notified when the rule thread has work.
    filled: Condvar,
    is_stopped: AtomicBool,
    /// Whether any rules exist; otherwise, events are ignored.
    is_active: AtomicBool,
    counters: Counters,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) events: AtomicU64,
    pub(super) changes: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) overruns: AtomicU64,
    pub(super) suspensions: AtomicU64,
}

/// Work for the rule thread.
#[derive(Default)]
struct Inbox {
    events: Vec<RuleEvent>,
    /// Memory retained by `events`, in bytes.
    bytes: usize,
    /// Whether events were lost because the inbox was full.
    is_overrun: bool,
    /// Whether rules were created or deleted.
    are_rules_changed: bool,
}

/// Graph event, and whether a rule caused it.
pub(super) struct RuleEvent {
    pub(super) event: GraphEvent,
    pub(super) is_own: bool,
}

impl RuleHub {
    /// Returns a hub that applies the rules of two stores on the host with this ID.
    pub(crate) fn new(
        queries: QueryRunner,
        node_rules: Arc<ResourceStore<NodeRule>>,
        edge_rules: Arc<ResourceStore<EdgeRule>>,
        host: &str,
    ) -> Self {
        let inbox = Inbox {
            are_rules_changed: true,
            ..Inbox::default()
        };
        Self {
            queries,
            is_active: AtomicBool::new(!(node_rules.is_empty() && edge_rules.is_empty())),
            node_rules,
            edge_rules,
            host: host.to_owned(),
            inbox: Mutex::new(inbox),
            filled: Condvar::new(),
            is_stopped: AtomicBool::new(false),
            counters: Counters::default(),
        }
    }

    /// Queues a graph event, in the order of the log. Called by the dispatcher; never blocks.
    pub(crate) fn graph_event(&self, logged: &LoggedEvent) {
        // Rules created after this check find the change in the graph.
        if !self.is_active.load(Ordering::Acquire) {
            return;
        }
        let mut inbox = self.inbox.lock();
        inbox.bytes += logged.bytes;
        inbox.events.push(RuleEvent {
            event: logged.event.clone(),
            is_own: logged.author == Some(RULE_AUTHOR),
        });
        if inbox.events.len() > MAX_EVENTS || inbox.bytes > MAX_BYTES {
            (inbox.events, inbox.bytes, inbox.is_overrun) = (Vec::new(), 0, true);
            self.counters.overruns.fetch_add(1, Ordering::Relaxed);
        }
        if logged.is_last {
            self.filled.notify_one();
        }
    }

    /// Returns the counters.
    pub(crate) fn status(&self) -> RuleStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RuleStatus {
            events: read(&self.counters.events),
            changes: read(&self.counters.changes),
            failures: read(&self.counters.failures),
            overruns: read(&self.counters.overruns),
            suspensions: read(&self.counters.suspensions),
        }
    }

    /// Ends the rule thread.
    pub(crate) fn stop(&self) {
        let _inbox = self.inbox.lock();
        self.is_stopped.store(true, Ordering::Relaxed);
        self.filled.notify_all();
    }

    /// Applies the rules until [`RuleHub::stop`] is called; the body of the thread `rules`.
    pub(crate) fn run(&self) {
        let mut rules = RuleSet::new(self.queries.clone(), &self.host);
        let mut last_turn = monotonic::now();
        while let Some(inbox) = self.wait(rules.next_time(), last_turn + COALESCE) {
            last_turn = monotonic::now();
            if inbox.are_rules_changed {
                let node_rules = self.node_rules.in_order();
                let edge_rules = self.edge_rules.in_order();
                rules.update_rules(&node_rules, &edge_rules, &self.counters);
            }
            if inbox.is_overrun {
                rules.mark_all();
            }
            for event in &inbox.events {
                rules.note(event);
            }
            let count = inbox.events.len() as u64;
            rules.settle(&self.counters, &|| self.is_stopped.load(Ordering::Relaxed));
            self.counters.events.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Waits for work and removes it from the inbox; returns `None` once the hub is stopped. The
    /// wait ends at `until`, or when events arrive, but not before `gather_until`.
    fn wait(&self, until: Option<Instant>, gather_until: Instant) -> Option<Inbox> {
        let mut inbox = self.inbox.lock();
        loop {
            if self.is_stopped.load(Ordering::Relaxed) {
                return None;
            }
            let has_events = !inbox.events.is_empty() || inbox.is_overrun;
            let until = match (until, has_events || inbox.are_rules_changed) {
                (Some(until), true) => Some(until.min(gather_until)),
                (None, true) => Some(gather_until),
                (until, false) => until,
            };
            if until.is_some_and(|until| monotonic::now() >= until) {
                return Some(std::mem::take(&mut *inbox));
            }
            match until {
                Some(until) => drop(self.filled.wait_until(&mut inbox, until)),
                None => self.filled.wait(&mut inbox),
            }
        }
    }

    fn rules_changed(&self) {
        let is_active = !(self.node_rules.is_empty() && self.edge_rules.is_empty());
        let mut inbox = self.inbox.lock();
        self.is_active.store(is_active, Ordering::Release);
        inbox.are_rules_changed = true;
        self.filled.notify_one();
    }
}

impl Observer<NodeRule> for RuleHub {
    fn created(&self, _: &NodeRule, _: Option<Timestamp>) {
        self.rules_changed();
    }

    fn deleted(&self, _: &NodeRule) {
        self.rules_changed();
    }
}

impl Observer<EdgeRule> for RuleHub {
    fn created(&self, _: &EdgeRule, _: Option<Timestamp>) {
        self.rules_changed();
    }

    fn deleted(&self, _: &EdgeRule) {
        self.rules_changed();
    }
}

/// Maximum number of events in the inbox; small in tests, so that some overflow it.
const MAX_EVENTS: usize = if cfg!(test) { 50 } else { 20_000 };
/// Maximum memory retained by the events, in bytes; one event may exceed the limit.
const MAX_BYTES: usize = 16 << 20;
/// Minimum time between two batches of events.
const COALESCE: Duration = Duration::from_millis(2);
