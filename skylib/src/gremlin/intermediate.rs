//! `Data`: what steps pass on while a query runs.

use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use super::error::QueryError;
use super::scope::Scope;
use super::steps::filter::Row;
use super::steps::metrics::Metrics;
use crate::flow::{Flow, FlowSet, RawPacket};
use crate::graph::{Edge, EdgeRef, Node, NodeRef};
use crate::value::{Text, Value};

/// The result of the steps so far.
pub(super) enum Data {
    /// Whatever the scope holds.
    Graph,
    Nodes(Rows<NodeRef>),
    Edges(Rows<EdgeRef>),
    /// Numbers of nodes, from source to target.
    Paths(Vec<Vec<u32>>),
    List(Vec<Value>),
    Scalar(Value),
    Flows(FlowSet),
    /// Flows by tracking id.
    Groups(Vec<(Text, Vec<Flow>)>),
    Metrics(Metrics),
    RawPackets(Vec<(Text, Vec<RawPacket>)>),
    Sockets(Vec<(Text, Vec<Value>)>),
    NextHops(Vec<(Text, Value)>),
}

impl Data {
    /// Number of elements; a graph is not counted.
    pub(super) fn len(&self) -> Option<u64> {
        let len = match self {
            Self::Graph => return None,
            Self::Nodes(rows) => rows.len(),
            Self::Edges(rows) => rows.len(),
            Self::Paths(paths) => paths.len(),
            Self::List(list) => list.len(),
            Self::Scalar(_) => 1,
            Self::Flows(set) => set.flows.len(),
            Self::Groups(groups) => groups.len(),
            Self::Metrics(metrics) => metrics.len(),
            Self::RawPackets(packets) => packets.len(),
            Self::Sockets(sockets) => sockets.len(),
            Self::NextHops(hops) => hops.len(),
        };
        Some(len as u64)
    }
}

/// Elements: as numbers as long as nobody looked into them.
#[derive(Clone)]
pub(super) enum Rows<R> {
    Numbers(Rc<Vec<u32>>),
    Refs(Rc<Vec<R>>),
}

impl<R> Rows<R> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Refs(refs) => refs.len(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Numbers(numbers) => size_of_val(&***numbers),
            Self::Refs(refs) => size_of_val(&***refs),
        }
    }
}

impl<R> From<Vec<R>> for Rows<R> {
    fn from(refs: Vec<R>) -> Self {
        Self::Refs(Rc::new(refs))
    }
}

/// Nodes or edges, for what is done alike with both.
pub(super) trait Element: Row {
    /// The element without its number.
    type Whole;
    fn data(rows: Rows<Self>) -> Data;
    fn into_whole(self) -> Self::Whole;
    fn fetch(
        scope: &Scope<'_>,
        numbers: &[u32],
        visit: &mut dyn FnMut(Self) -> ControlFlow<()>,
    ) -> Result<(), QueryError>;
}

impl Element for NodeRef {
    type Whole = Arc<Node>;

    fn data(rows: Rows<Self>) -> Data {
        Data::Nodes(rows)
    }

    fn into_whole(self) -> Arc<Node> {
        self.into_element()
    }

    fn fetch(
        scope: &Scope<'_>,
        numbers: &[u32],
        visit: &mut dyn FnMut(Self) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        scope.fetch_nodes(numbers, visit)
    }
}

impl Element for EdgeRef {
    type Whole = Arc<Edge>;

    fn data(rows: Rows<Self>) -> Data {
        Data::Edges(rows)
    }

    fn into_whole(self) -> Arc<Edge> {
        self.into_element()
    }

    fn fetch(
        scope: &Scope<'_>,
        numbers: &[u32],
        visit: &mut dyn FnMut(Self) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        scope.fetch_edges(numbers, visit)
    }
}
