//! `GroupBy`: totals of the flows of a query, or of flows that earlier steps have ordered.

use super::Run;
use crate::flow::Flow;
use crate::graph::NodeRef;
use crate::gremlin::error::QueryError;
use crate::gremlin::intermediate::Data;
use crate::gremlin::plan::FlowPlan;
use crate::gremlin::steps::flows;
use crate::gremlin::steps::group_by::{GroupPlan, Grouping};

impl Run<'_> {
    /// Groups the flows of a query one by one, without collecting them in a list.
    pub(super) fn stream_groups(
        &mut self,
        plan: &FlowPlan,
        nodes: Option<&[NodeRef]>,
        group: &GroupPlan,
    ) -> Result<Data, QueryError> {
        let budget = self.budget;
        let mut grouping = Grouping::new(group, &self.scope, budget)?;
        let (mut room, mut total) = (budget.room(), 0_u64);
        let times = (self.when, self.context.now);
        flows::visit(
            self.context.flows,
            plan,
            nodes,
            times,
            budget,
            &mut |flow| {
                budget.tick()?;
                total += 1;
                room.add(grouping.add(flow))
            },
        )?;
        let rows = grouping.rows(budget, &mut room)?;
        drop(room);
        self.note(|trace, next| trace.piped(next - 1, std::iter::once(total), false));
        Ok(Data::List(rows))
    }

    /// Groups a list of flows.
    pub(super) fn group_flows(
        &self,
        flows: &[Flow],
        group: &GroupPlan,
    ) -> Result<Data, QueryError> {
        let budget = self.budget;
        let mut grouping = Grouping::new(group, &self.scope, budget)?;
        let mut room = budget.room();
        for flow in flows {
            budget.tick()?;
            room.add(grouping.add(flow))?;
        }
        grouping.rows(budget, &mut room).map(Data::List)
    }
}
