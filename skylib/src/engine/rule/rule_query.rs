//! `RuleQuery`: the query of a rule, and the schedule of its runs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::Resource;
use crate::back_off::BackOff;
use crate::engine::monotonic;
use crate::engine::query::{QueryOptions, QueryRunner};
use crate::filter::Filter;
use crate::graph::{ElementKey, GraphEvent, Node, NodeId};
use crate::gremlin::live::{Interest, node_search};
use crate::gremlin::{Answer, Query, QueryErrorKind};

/// Query of a rule.
pub(super) struct RuleQuery {
    query: Option<Query>,
    /// If the query is only a search, the filter that exactly the nodes of the answer match.
    search: Option<Filter<ElementKey>>,
    interest: Option<Interest>,
    /// Whether the query must run: its answer may have changed, or its last run failed.
    is_stale: bool,
    /// Earliest time of the next run.
    earliest: Instant,
    /// Pauses after failed runs.
    back_off: BackOff,
    /// Error message of the last run; a repeated message is not logged.
    problem: Option<String>,
}

impl RuleQuery {
    /// Parses a query. An invalid query, which an earlier version may have accepted, never returns
    /// nodes.
    pub(super) fn new(text: &str) -> Self {
        let query = Query::parse(text).ok();
        let search = query.as_ref().and_then(node_search);
        let interest = query
            .as_ref()
            .filter(|_| search.is_none())
            .map(Interest::of);
        Self {
            is_stale: query.is_some(),
            query,
            search,
            interest,
            earliest: monotonic::now(),
            back_off: BackOff::new(FIRST_PAUSE, MAX_PAUSE),
            problem: None,
        }
    }

    /// Returns the filter of a query that only searches nodes.
    pub(super) const fn search(&self) -> Option<&Filter<ElementKey>> {
        self.search.as_ref()
    }

    /// Marks the answer stale if an event may have changed it. Returns whether it is stale now.
    /// Always `false` for a search.
    pub(super) fn note(&mut self, event: &GraphEvent, is_in: impl Fn(&NodeId) -> bool) -> bool {
        let Some(interest) = &self.interest else {
            return false;
        };
        if !self.is_stale {
            self.is_stale = interest.is_affected_by(event, is_in);
        }
        self.is_stale
    }

    /// Marks the answer stale, so that the query runs again.
    pub(super) const fn mark_stale(&mut self) {
        self.is_stale = self.query.is_some();
    }

    /// Returns whether the query must run.
    pub(super) const fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// Returns the time of the next run; `None` until an event requires one.
    pub(super) fn next_time(&self) -> Option<Instant> {
        if self.is_stale {
            return Some(self.earliest);
        }
        let interest = self.interest.as_ref()?;
        interest.is_timed().then(|| self.earliest + TIMED_INTERVAL)
    }

    /// Returns whether the query must run now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next_time().is_some_and(|time| time <= now)
    }

    /// Runs the query and returns its nodes; `None` if it failed or was interrupted, and runs again
    /// after a pause. Only nodes count: for edges, values, and graphs, the list is empty.
    pub(super) fn run(
        &mut self,
        queries: &QueryRunner,
        rule: &str,
        is_stopping: &(dyn Fn() -> bool + Sync),
    ) -> Option<Vec<Arc<Node>>> {
        let query = self.query.as_ref()?;
        let start = monotonic::now();
        let interrupt = || monotonic::now() >= start + MAX_TIME || is_stopping();
        let view = queries.graph.view();
        let options = QueryOptions::default().with_interrupt(&interrupt);
        let answer = queries.run(&view, query, options);
        let run_time = monotonic::now() - start;
        let (nodes, problem) = match answer {
            Ok(Answer::Nodes(nodes)) => (Some(nodes), None),
            // The node that the query starts from does not exist.
            Err(error) if error.kind() == QueryErrorKind::Execute => (Some(Vec::new()), None),
            Ok(_) => (Some(Vec::new()), None),
            Err(error) => (None, Some(error.to_string())),
        };
        if problem != self.problem
            && let Some(problem) = &problem
        {
            tracing::warn!(rule, problem, "the query of a rule failed; retrying");
        }
        self.problem = problem;
        self.is_stale = nodes.is_none();
        self.earliest = match &nodes {
            None => start + run_time + self.back_off.next(0),
            // A search runs only once for each change that it cannot follow.
            Some(_) if self.search.is_some() => start,
            Some(_) => start + INTERVAL.max(run_time.saturating_mul(10)),
        };
        if nodes.is_some() {
            self.back_off.reset();
        }
        nodes
    }
}

/// Returns the IDs of nodes.
pub(super) fn ids(nodes: &[Arc<Node>]) -> HashSet<NodeId> {
    nodes.iter().map(|node| node.id.clone()).collect()
}

/// Returns the ID of a rule, and its name if it has one, for the log.
pub(super) fn rule_name(rule: &impl Resource) -> String {
    match rule.name() {
        "" => rule.id().to_owned(),
        name => format!("{} ({name})", rule.id()),
    }
}

/// Minimum time between two runs of a query that is not a search.
const INTERVAL: Duration = Duration::from_millis(100);
/// Interval at which a query that reads flows or history runs again.
const TIMED_INTERVAL: Duration = Duration::from_secs(5);
/// Time until a failed run is repeated, and its maximum after repeated failures; the pause is half of
/// it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Maximum duration of one run.
const MAX_TIME: Duration = Duration::from_secs(2);
