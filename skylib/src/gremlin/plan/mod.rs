//! `Plan`: the operations that answer a query, as the planner derives them from its steps.

mod params;
mod planner;
mod totals;

use std::time::Duration;

use serde_json::Value as Json;

use super::ast::{FlowNodes, Hierarchy, Walk};
use super::error::QueryError;
use super::steps::group_by::GroupPlan;
use super::steps::packet_path::PathTarget;
use super::steps::time::TimeContext;
use crate::filter::Filter;
use crate::flow::{FlowField, SortOrder};
use crate::value::Text;

/// Planned operations of a query.
#[derive(Clone, Debug)]
pub(in crate::gremlin) struct Plan {
    /// Operations in order, each with the index of the step it belongs to (ascending).
    pub(in crate::gremlin) operations: Vec<(Operation, usize)>,
    /// Number of leading steps that the operations cover: all steps, unless the last operation is
    /// [`Operation::Fail`].
    pub(in crate::gremlin) planned: usize,
    /// Names of the steps that can follow the last one; empty if a step cannot be planned.
    pub(in crate::gremlin) followers: &'static [&'static str],
}

/// One operation on the result so far.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::gremlin) enum Operation {
    /// Discards the result so far and continues with the graph (step `G`).
    Graph,
    /// Selects another time.
    Time(TimeContext),
    /// Continues with the graph that a workflow returns: its id or name, and the arguments.
    Workflow(Text, Vec<Json>),
    /// Changes in the selected time slice, as objects.
    Changes,
    /// The node with an id, or all nodes that match a filter.
    Nodes(Option<Text>, Filter),
    /// The edge with an id, or all edges that match a filter.
    Edges(Option<Text>, Filter),
    /// Elements adjacent to each element that match a filter.
    Walk(Walk, Filter),
    Filter(Filter),
    /// Elements that differ by id (no keys) or by the values of keys.
    Dedup(Vec<Text>),
    Page(Page),
    Sort(SortOrder, Text),
    Count,
    Values(Text),
    ValueMap(Vec<Text>),
    /// Values of keys with the owners of the nodes: values of one key or, if the flag is set,
    /// objects of several keys.
    Qualified(Vec<Text>, bool),
    Keys,
    /// The sum of a key; `None`: the sums of all fields of metrics.
    Sum(Option<Text>),
    /// Marks the nodes with a name.
    As(Text),
    /// The nodes marked with names.
    Select(Vec<Text>),
    /// Narrows the graph to the elements; for nodes, with the edges between them that match a
    /// filter.
    SubGraph(Filter),
    /// Path from each node to the nearest node that matches the first filter, over edges that match
    /// the second.
    ShortestPath(Filter, Filter),
    /// Nodes within a number of edges that match a filter; `None` means no limit.
    Hierarchy(Hierarchy, Filter, Option<u64>),
    Flows(FlowPlan),
    FlowNodes(FlowNodes, Filter),
    /// The nodes that own the link-layer address of one end or both ends of each flow.
    FlowEnds(Walk, Filter),
    Group,
    GroupBy(GroupPlan),
    MoreThan,
    /// Metrics of flows, or of nodes under a key.
    Metrics(Text),
    /// Metrics added up in slots of a given length.
    Aggregates(Duration),
    RawPackets,
    /// Packets that match a capture filter.
    Bpf(Text),
    Sockets,
    NextHop(Text),
    /// Path of a packet from each node.
    PathTo(PathTarget),
    /// Fails. Always the last operation.
    Fail(QueryError),
}

/// Query to the flow tables: `Flows` and the steps that it absorbs.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::gremlin) struct FlowPlan {
    pub(in crate::gremlin) filter: Filter,
    pub(in crate::gremlin) sort: Option<(FlowField, SortOrder)>,
    /// Field by which flows are deduplicated; `Some(None)` means the tracking ID.
    pub(in crate::gremlin) dedup: Option<Option<FlowField>>,
    pub(in crate::gremlin) page: Option<Page>,
}

impl FlowPlan {
    /// Returns whether the query selects flows only by its filter.
    pub(in crate::gremlin) const fn is_unordered(&self) -> bool {
        self.sort.is_none() && self.dedup.is_none() && self.page.is_none()
    }
}

/// Positions `from..to` of a result, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gremlin) struct Page {
    pub(in crate::gremlin) from: u64,
    pub(in crate::gremlin) to: u64,
}
