//! A capture's query, parsed once, and the nodes that it selects.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::target::is_capturable;
use crate::api::CaptureSpec;
use crate::engine::query::QueryRunner;
use crate::graph::Node;
use crate::gremlin::{Answer, Query, QueryError, QueryErrorKind};

/// A capture resource as the capture thread keeps it.
pub(super) struct Watched {
    pub(super) spec: Arc<CaptureSpec>,
    query: Result<Query, QueryError>,
    /// How long the query took when it was last evaluated.
    pub(super) cost: Duration,
    /// What was wrong then.
    problem: Option<String>,
}

impl Watched {
    pub(super) fn new(spec: Arc<CaptureSpec>) -> Self {
        Self {
            query: Query::parse(&spec.gremlin_query),
            spec,
            cost: Duration::ZERO,
            problem: None,
        }
    }

    /// The nodes of `own` origin that the query selects and that packets can be captured on.
    ///
    /// # Errors
    /// When the query fails, or takes more than [`QUERY_TIME`].
    pub(super) fn select(
        &mut self,
        queries: &QueryRunner,
        own: &str,
        is_stopping: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Arc<Node>>, String> {
        let began = queries.clock.now();
        let is_late = || queries.clock.now().duration_since(began) >= QUERY_TIME;
        let answer = match &self.query {
            Ok(query) => {
                let view = queries.graph.view();
                let answer = queries.run(&view, query, &|| is_late() || is_stopping());
                answer.map_err(|error| match error.kind() {
                    QueryErrorKind::Interrupted => format!("it takes more than {QUERY_TIME:?}"),
                    _ => error.to_string(),
                })
            }
            Err(error) => Err(error.to_string()),
        };
        self.cost = queries.clock.now().duration_since(began);
        answer.map(|answer| capturable(answer, own))
    }

    /// Logs what was wrong this time, unless it was the same the last time.
    pub(super) fn tell(&mut self, problem: Option<String>) {
        if self.problem != problem
            && let Some(problem) = &problem
        {
            tracing::warn!(capture = %self.spec.uuid, problem, "not all nodes are captured on");
        }
        self.problem = problem;
    }
}

fn capturable(answer: Answer, own: &str) -> Vec<Arc<Node>> {
    let nodes = match answer {
        Answer::Nodes(nodes) => nodes,
        Answer::Paths(paths) => paths.into_iter().flatten().collect(),
        _ => Vec::new(),
    };
    let mut seen = HashSet::new();
    let wanted = |node: &Arc<Node>| is_capturable(node, own) && seen.insert(node.id.clone());
    nodes.into_iter().filter(wanted).collect()
}

/// How long a capture's query may take: all of them share one thread.
const QUERY_TIME: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::engine::flow::hub::{FlowHub, FlowOptions};
    use crate::engine::graph::shared_graph::SharedGraph;
    use crate::graph::{Graph, Metadata, Origin};
    use crate::gremlin::Limits;
    use crate::time::{Clock, Timestamp};

    /// Goes on by some milliseconds whenever it is looked at.
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
            limits: Limits::default(),
        }
    }

    fn watched() -> Watched {
        Watched::new(Arc::new(CaptureSpec {
            gremlin_query: "G.V().Has('Type', 'device')".to_owned(),
            ..CaptureSpec::default()
        }))
    }

    #[test]
    fn a_query_that_takes_too_long_is_ended() {
        let mut watched = watched();
        let nodes = watched.select(&queries(1), "agent.h", &|| false);
        assert_eq!(nodes.unwrap().len(), 5_000);
        let problem = watched.select(&queries(400), "agent.h", &|| false);
        assert_eq!(problem.unwrap_err(), "it takes more than 1s");
        assert!(watched.cost >= QUERY_TIME);
    }

    #[test]
    fn a_query_ends_with_the_thread() {
        let mut watched = watched();
        let ended = watched.select(&queries(0), "agent.h", &|| true);
        assert!(ended.is_err());
        assert_eq!(watched.cost, Duration::ZERO);
    }
}
