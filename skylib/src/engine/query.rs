//! Runs queries against the shared graph and the flows of all captures.

use std::sync::Arc;

use super::flows::FlowHub;
use super::hub::SharedGraph;
use crate::flow::{FlowQuery, FlowQueryError, FlowSet, FlowSource};
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
    /// Runs a query on the graph as of now. `interrupt` is asked now and then whether to give up.
    pub(super) fn run(
        &self,
        query: &Query,
        interrupt: &(dyn Fn() -> bool + Sync),
    ) -> Result<Answer, QueryError> {
        let view = GraphView::open(&*self.graph);
        query.run(&Context {
            view: &view,
            flows: &*self.flows,
            now: self.clock.now(),
            limits: self.limits,
            interrupt,
        })
    }
}

impl FlowSource for FlowHub {
    /// Asks every table at once and merges what they answer in the query's order.
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        if query.time.is_some() {
            return Err(FlowQueryError::NoStorage);
        }
        // A table may leave out what comes after the range, but what comes before it is known only
        // once all are merged.
        let part = FlowQuery { range: query.range.map(|(_, to)| (0, to)), ..query.clone() };
        let mut merged = FlowSet::default();
        for table in self.tables() {
            let set = table.query(&part)?;
            merged.merge(set, part.sort, part.dedup)?;
        }
        if let Some((from, to)) = query.range {
            merged.slice(from, to);
        }
        Ok(merged)
    }
}
