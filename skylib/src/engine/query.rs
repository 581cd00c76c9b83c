//! Runs queries against the shared graph and the flows of all captures.

use std::sync::Arc;

use super::flows::FlowHub;
use super::hub::SharedGraph;
use crate::graph::GraphView;
use crate::gremlin::{Answer, Context, Explanation, Limits, Query, QueryError};
use crate::time::Clock;

/// What a query needs to run; cheap to clone.
#[derive(Clone)]
pub(super) struct QueryRunner {
    pub(super) graph: Arc<SharedGraph>,
    pub(super) flows: Arc<FlowHub>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: Limits,
}

impl QueryRunner {
    /// Runs a query on the graph as of now. `interrupt` is asked now and then whether to give up.
    pub(super) fn run(
        &self,
        query: &Query,
        interrupt: &(dyn Fn() -> bool + Sync),
    ) -> Result<Answer, QueryError> {
        self.with_context(interrupt, |context| query.run(context))
    }

    /// Runs a query and tells how, see [`QueryRunner::run`].
    pub(super) fn explain(
        &self,
        query: &Query,
        interrupt: &(dyn Fn() -> bool + Sync),
    ) -> Explanation {
        self.with_context(interrupt, |context| {
            query.explain_timed(context, &*self.clock)
        })
    }

    fn with_context<T>(
        &self,
        interrupt: &(dyn Fn() -> bool + Sync),
        work: impl FnOnce(&Context<'_>) -> T,
    ) -> T {
        let view = GraphView::open(&*self.graph);
        work(&Context {
            view: &view,
            flows: &*self.flows,
            now: self.clock.now(),
            limits: self.limits,
            interrupt,
        })
    }
}
