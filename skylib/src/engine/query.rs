//! Runs queries against the shared graph and the flows of all captures.

use std::sync::Arc;

use super::flow::hub::FlowHub;
use super::graph::shared_graph::SharedGraph;
use crate::graph::GraphView;
use crate::gremlin::live::{LiveQuery, Update};
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
    /// Runs a query; what asks for the past is answered from the history, whatever the view.
    /// `interrupt` is asked now and then whether to give up.
    pub(super) fn run(
        &self,
        view: &GraphView<'_>,
        query: &Query,
        interrupt: &(dyn Fn() -> bool + Sync),
    ) -> Result<Answer, QueryError> {
        query.run(&self.context(view, interrupt))
    }

    /// Runs a query and tells how, see [`QueryRunner::run`].
    pub(super) fn explain(
        &self,
        view: &GraphView<'_>,
        query: &Query,
        interrupt: &(dyn Fn() -> bool + Sync),
    ) -> Explanation {
        query.explain_timed(&self.context(view, interrupt), &*self.clock)
    }

    /// Runs a live query again, for an answer of so many items at most.
    pub(super) fn refresh(
        &self,
        view: &GraphView<'_>,
        query: &mut LiveQuery,
        max_items: usize,
        interrupt: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Update>, QueryError> {
        let max = self.limits.max_elements.min(max_items);
        let context = self.context(view, interrupt);
        query.refresh(&context.with_limits(self.limits.with_max_elements(max)))
    }

    fn context<'a>(
        &'a self,
        view: &'a GraphView<'a>,
        interrupt: &'a (dyn Fn() -> bool + Sync),
    ) -> Context<'a> {
        Context {
            view,
            history: self.graph.history(),
            #[cfg(feature = "pcap")]
            packet_filters: Some(&crate::capture::BpfFilters),
            #[cfg(not(feature = "pcap"))]
            packet_filters: None,
            flows: &*self.flows,
            now: self.clock.now(),
            limits: self.limits,
            interrupt: Some(interrupt),
        }
    }
}
