//! Operations that request flows, and operations on flows.

use super::{Run, compiled, count, misplaced};
use crate::flow::FlowSet;
use crate::graph::NodeRef;
use crate::gremlin::error::QueryError;
use crate::gremlin::explain::Access;
use crate::gremlin::intermediate::Data;
use crate::gremlin::plan::{FlowPlan, Operation};
use crate::gremlin::steps::metrics::Metrics;
use crate::gremlin::steps::{self, raw_packets, sockets};
use crate::value::Value;

impl Run<'_> {
    /// Requests flows, or only their number if a count follows.
    pub(super) fn flows(
        &mut self,
        plan: &FlowPlan,
        nodes: Option<&[NodeRef]>,
    ) -> Result<Data, QueryError> {
        if let Some(trace) = &mut self.trace {
            trace.found_by(Access::Flows);
            trace.read(steps::flows::files(
                self.context.flows,
                plan,
                nodes,
                self.when,
            ));
        }
        if self.take_count() {
            let total =
                steps::flows::count(self.context.flows, plan, nodes, self.when, self.budget)?;
            return Ok(self.counted(total));
        }
        if let Some(Operation::GroupBy(group)) = self.peek()
            && plan.is_unordered()
        {
            self.next += 1;
            return self.stream_groups(plan, nodes, group);
        }
        steps::flows::query(self.context.flows, plan, nodes, self.when, self.budget)
            .map(Data::Flows)
    }

    /// Runs an operation on flows.
    pub(super) fn on_flows(
        &mut self,
        operation: &Operation,
        set: FlowSet,
    ) -> Result<Data, QueryError> {
        let flows = set.flows;
        match operation {
            Operation::Count => Ok(count(flows.len())),
            Operation::Values(key) => {
                steps::flows::values(&flows, key, self.budget).map(Data::List)
            }
            Operation::Keys => Ok(Data::List(steps::flows::keys(&flows))),
            Operation::Sum(Some(key)) => {
                steps::flows::sum(&flows, key, self.budget).map(|sum| Data::Scalar(Value::Int(sum)))
            }
            Operation::Group => steps::flows::group(flows, self.budget).map(Data::Groups),
            Operation::GroupBy(plan) => self.group_flows(&flows, plan),
            Operation::RawPackets => {
                // Past flows include their packets.
                let stored = match self.when {
                    None => raw_packets::stored(self.context.flows, &flows),
                    Some(_) => Vec::new(),
                };
                raw_packets::of_flows(flows, stored, self.budget).map(Data::RawPackets)
            }
            Operation::Metrics(_) => match self.when {
                None => Ok(Data::Metrics(Metrics::of_flows(&flows))),
                Some(when) => {
                    let source = self.context.flows;
                    steps::flows::past_metrics(source, &flows, when, self.budget).map(Data::Metrics)
                }
            },
            Operation::Sockets => {
                sockets::of_flows(&self.scope, &flows, self.budget).map(Data::Sockets)
            }
            Operation::FlowNodes(which, filter) => {
                let (scope, filter) = (self.scope.clone(), compiled(filter));
                let found = steps::flows::nodes(&scope, &flows, *which, &filter, self.budget)?;
                self.pipe_all(found)
            }
            Operation::FlowEnds(walk, filter) => {
                let (scope, filter) = (self.scope.clone(), compiled(filter));
                let found = steps::flows::ends(&scope, &flows, *walk, &filter, self.budget)?;
                self.pipe_all(found)
            }
            _ => Err(misplaced()),
        }
    }
}
