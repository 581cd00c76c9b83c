//! `Selector`: a capture's query, parsed once, and the nodes that it selects.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::target::is_capturable;
use crate::api::CaptureSpec;
use crate::engine::query::{QueryOptions, QueryRunner};
use crate::graph::Node;
use crate::gremlin::{Answer, Query, QueryError, QueryErrorKind};

/// A capture resource with its parsed query.
pub(super) struct Selector {
    pub(super) spec: Arc<CaptureSpec>,
    /// Parsed query, or the error if it is invalid.
    query: Result<Query, QueryError>,
    /// Duration of the last evaluation.
    pub(super) cost: Duration,
    /// Problem of the last evaluation, which is not logged twice.
    problem: Option<String>,
}

impl Selector {
    /// Parses the query of a capture.
    pub(super) fn new(spec: Arc<CaptureSpec>) -> Self {
        Self {
            query: Query::parse(&spec.gremlin_query),
            spec,
            cost: Duration::ZERO,
            problem: None,
        }
    }

    /// Evaluates the query and returns the selected nodes that `accepts` accepts and that have a type
    /// on which packets can be captured.
    ///
    /// # Errors
    /// Returns an error if the query is invalid, fails, or takes longer than [`QUERY_TIMEOUT`].
    pub(super) fn select(
        &mut self,
        queries: &QueryRunner,
        accepts: &dyn Fn(&Node) -> bool,
        is_stopping: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Arc<Node>>, String> {
        let started = queries.clock.now();
        let is_late = || queries.clock.now().duration_since(started) >= QUERY_TIMEOUT;
        let answer = match &self.query {
            Ok(query) => {
                let view = queries.graph.view();
                let interrupt = || is_late() || is_stopping();
                let options = QueryOptions::default().with_interrupt(&interrupt);
                let answer = queries.run(&view, query, options);
                answer.map_err(|error| match error.kind() {
                    QueryErrorKind::Interrupted => {
                        format!("the query takes longer than {QUERY_TIMEOUT:?}")
                    }
                    _ => error.to_string(),
                })
            }
            Err(error) => Err(error.to_string()),
        };
        self.cost = queries.clock.now().duration_since(started);
        answer.map(|answer| capturable(answer, accepts))
    }

    /// Sets the problem of this evaluation, and logs it unless it is the same as that of the last
    /// evaluation. Returns whether it differs.
    pub(super) fn set_problem(&mut self, problem: Option<String>) -> bool {
        let differs = self.problem != problem;
        if differs && let Some(problem) = &problem {
            let (capture, name) = (&self.spec.uuid, &self.spec.name);
            tracing::warn!(%capture, name, problem, "cannot capture on all selected nodes");
        }
        self.problem = problem;
        differs
    }

    /// Returns the problem of the last evaluation.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }
}

/// Returns the nodes of an answer on which packets can be captured, each once.
fn capturable(answer: Answer, accepts: &dyn Fn(&Node) -> bool) -> Vec<Arc<Node>> {
    let nodes = match answer {
        Answer::Nodes(nodes) => nodes,
        Answer::Paths(paths) => paths.into_iter().flatten().collect(),
        _ => Vec::new(),
    };
    let mut seen = HashSet::new();
    let wanted =
        |node: &Arc<Node>| accepts(node) && is_capturable(node) && seen.insert(node.id.clone());
    nodes.into_iter().filter(wanted).collect()
}

/// Time limit of a capture's query: all queries share one thread.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::capture::BpfCompiler;
    use crate::engine::flow::{FlowHub, FlowOptions};
    use crate::engine::graph::SharedGraph;
    use crate::graph::{Graph, Metadata, Origin};
    use crate::gremlin::Limits;
    use crate::time::{Clock, Timestamp};

    /// A clock that advances by `step` milliseconds with every reading.
    struct Ticking {
        now: AtomicI64,
        step: i64,
    }

    impl Clock for Ticking {
        fn now(&self) -> Timestamp {
            Timestamp::from_ms(self.now.fetch_add(self.step, Ordering::Relaxed))
        }
    }

    fn queries(step: i64) -> QueryRunner {
        let clock: Arc<dyn Clock> = Arc::new(Ticking {
            now: AtomicI64::new(1_000),
            step,
        });
        let graph = SharedGraph::new(Graph::new(), Arc::clone(&clock), Vec::new());
        graph.update_as(None, |graph, now| {
            for n in 0..5_000 {
                let metadata = Metadata::from_iter([("Type", "device")]);
                let node = Node::new(format!("n{n}"), metadata, now)
                    .with_origin(Origin::new("agent", "h"));
                graph.add_node(node).unwrap();
            }
        });
        QueryRunner {
            graph: Arc::new(graph),
            flows: Arc::new(FlowHub::new(FlowOptions::default())),
            clock,
            time_zone: jiff::tz::TimeZone::UTC,
            limits: Limits::default(),
            filters: BpfCompiler::default(),
            activities: Arc::default(),
        }
    }

    fn selector() -> Selector {
        Selector::new(Arc::new(CaptureSpec {
            gremlin_query: "G.V().Has('Type', 'device')".to_owned(),
            ..CaptureSpec::default()
        }))
    }

    #[test]
    fn a_query_that_takes_too_long_is_ended() {
        let mut selector = selector();
        let own = |node: &Node| *node.origin == *"agent.h";
        let nodes = selector.select(&queries(1), &own, &|| false);
        assert_eq!(nodes.unwrap().len(), 5_000);
        let problem = selector.select(&queries(400), &own, &|| false);
        assert_eq!(problem.unwrap_err(), "the query takes longer than 1s");
        assert!(selector.cost >= QUERY_TIMEOUT);
    }

    #[test]
    fn a_query_ends_with_the_thread() {
        let mut selector = selector();
        let ended = selector.select(&queries(0), &|_| true, &|| true);
        assert!(ended.is_err());
        assert_eq!(selector.cost, Duration::ZERO);
    }
}
