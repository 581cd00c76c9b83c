//! `RuleQuery`: the query of a rule, and the schedule of its runs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// Whether the answer may have changed; used for queries that are not a search.
    is_stale: bool,
    /// Earliest time of the next run.
    earliest: Instant,
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
            is_stale: interest.is_some(),
            query,
            search,
            interest,
            earliest: monotonic::now(),
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
        if let Some(interest) = &self.interest
            && !self.is_stale
        {
            self.is_stale = interest.is_affected_by(event, is_in);
        }
        self.is_stale
    }

    /// Marks the answer of a query that is not a search stale.
    pub(super) fn mark_stale(&mut self) {
        self.is_stale = self.interest.is_some();
    }

    /// Returns the time of the next run; `None` until an event requires one.
    pub(super) fn next_time(&self) -> Option<Instant> {
        let interest = self.interest.as_ref()?;
        if self.is_stale {
            return Some(self.earliest);
        }
        interest.is_timed().then(|| self.earliest + TIMED_INTERVAL)
    }

    /// Returns whether the query must run now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next_time().is_some_and(|time| time <= now)
    }

    /// Runs the query and returns its nodes; `None` if it failed or was interrupted. Only nodes
    /// count: for edges, values, and graphs, the list is empty.
    pub(super) fn run(
        &mut self,
        queries: &QueryRunner,
        rule: &str,
        is_stopping: &(dyn Fn() -> bool + Sync),
    ) -> Option<Vec<Arc<Node>>> {
        self.is_stale = false;
        let query = self.query.as_ref()?;
        let start = monotonic::now();
        let interrupt = || monotonic::now() >= start + MAX_TIME || is_stopping();
        let view = queries.graph.view();
        let options = QueryOptions::default().with_interrupt(&interrupt);
        let answer = queries.run(&view, query, options);
        let run_time = monotonic::now() - start;
        self.earliest = start + INTERVAL.max(run_time.saturating_mul(10));
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
            tracing::warn!(
                rule,
                problem,
                "the query of a rule failed; the rule is not applied"
            );
        }
        self.problem = problem;
        nodes
    }
}

/// Returns the IDs of nodes.
pub(super) fn ids(nodes: &[Arc<Node>]) -> HashSet<NodeId> {
    nodes.iter().map(|node| node.id.clone()).collect()
}

/// Minimum time between two runs of a query that is not a search.
const INTERVAL: Duration = Duration::from_millis(100);
/// Interval at which a query that reads flows or history runs again.
const TIMED_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum duration of one run.
const MAX_TIME: Duration = Duration::from_secs(2);
