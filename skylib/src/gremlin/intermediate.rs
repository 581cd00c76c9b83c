//! `Data`: the intermediate result that operations pass on while a query runs.

use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use super::error::QueryError;
use super::scope::Scope;
use super::steps::filter::Row;
use super::steps::metrics::Metrics;
use crate::flow::{Flow, FlowSet, PacketsByFlow};
use crate::graph::{Edge, EdgeRef, Node, NodeRef};
use crate::value::{Text, Value};

/// Result of the operations so far.
pub(super) enum Data {
    /// All elements of the scope.
    Graph,
    Nodes(Rows<NodeRef>),
    Edges(Rows<EdgeRef>),
    /// Paths, each as the node numbers from source to target.
    Paths(Vec<Vec<u32>>),
    List(Vec<Value>),
    Scalar(Value),
    Flows(FlowSet),
    /// Flows by tracking ID.
    Groups(Vec<(Text, Vec<Flow>)>),
    Metrics(Metrics),
    RawPackets(PacketsByFlow),
    Sockets(Vec<(Text, Vec<Value>)>),
    NextHops(Vec<(Text, Value)>),
}

impl Data {
    /// Returns the number of elements; `None` for a graph.
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

/// Elements: only their numbers until an operation reads their contents.
#[derive(Clone)]
pub(super) enum Rows<R> {
    Numbers(Rc<Vec<u32>>),
    Refs(Rc<Vec<R>>),
}

impl<R> Rows<R> {
    /// Returns the number of elements.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Refs(refs) => refs.len(),
        }
    }

    /// Returns the heap size of the list, in bytes.
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

/// Nodes or edges, for code that treats both alike.
pub(super) trait ElementRow: Row {
    /// Shared element without its number.
    type Shared;
    /// Wraps elements into a result.
    fn data(rows: Rows<Self>) -> Data;
    /// Returns the shared element.
    fn into_shared(self) -> Self::Shared;
    /// Visits the elements with the given numbers until the visitor breaks.
    fn fetch(
        scope: &Scope<'_>,
        numbers: &[u32],
        visit: &mut dyn FnMut(Self) -> ControlFlow<()>,
    ) -> Result<(), QueryError>;
}

impl ElementRow for NodeRef {
    type Shared = Arc<Node>;

    fn data(rows: Rows<Self>) -> Data {
        Data::Nodes(rows)
    }

    fn into_shared(self) -> Arc<Node> {
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

impl ElementRow for EdgeRef {
    type Shared = Arc<Edge>;

    fn data(rows: Rows<Self>) -> Data {
        Data::Edges(rows)
    }

    fn into_shared(self) -> Arc<Edge> {
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
