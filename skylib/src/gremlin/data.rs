//! `Data`: what steps pass on while a query runs.

use std::rc::Rc;

use super::steps::metrics::Metric;
use crate::flow::{Flow, FlowSet, RawPacket};
use crate::graph::{EdgeRef, NodeRef};
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
    /// Metrics by the id of a node or a flow.
    Metrics(Vec<(Text, Vec<Metric>)>),
    RawPackets(Vec<(Text, Vec<RawPacket>)>),
    Sockets(Vec<(Text, Vec<Value>)>),
    NextHops(Vec<(Text, Value)>),
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
