//! Runs queries against the shared graph and the flows of all captures.

use std::sync::Arc;

use super::flows::FlowHub;
use super::hub::SharedGraph;
use crate::graph::GraphView;
use crate::gremlin::{Answer, Context, Limits, Query, QueryError};
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
    /// Runs a query on the graph, as of now unless it asks for the past. `interrupt` is asked now and then whether to give up.
    pub(super) fn run(
        &self,
        query: &Query,
        interrupt: &(dyn Fn() -> bool + Sync),
    ) -> Result<Answer, QueryError> {
        let view = GraphView::open(&*self.graph);
        query.run(&Context {
            view: &view,
            history: self.graph.history(),
            flows: &*self.flows,
            now: self.clock.now(),
            limits: self.limits,
            interrupt,
        })
    }
}
