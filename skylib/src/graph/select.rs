//! How a view finds the elements that pass a filter: through all of them, or by an index.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::plan::IndexProbe;
use super::storage::{EdgeIndex, NodeIndex, Storage};
use super::view::{ElementRef, GraphView, STRETCH};
use super::{Edge, ElementKey, GraphError, Node};
use crate::filter::Filter;

impl GraphView<'_> {
    /// Gives a sink the nodes that pass a filter, in the order they came.
    pub(super) fn select_nodes(
        &self,
        filter: &Filter<ElementKey>,
        sink: &mut dyn Sink<Node>,
    ) -> Result<(), GraphError> {
        match self.probe(filter)? {
            Some(probe) => self.probe_nodes(&probe, filter, sink),
            None => self.scan::<NodeIndex>(filter, sink),
        }
    }

    /// Gives a sink the elements that pass a filter, looking at all.
    pub(super) fn scan<K: Kind>(
        &self,
        filter: &Filter<ElementKey>,
        sink: &mut dyn Sink<K::Element>,
    ) -> Result<(), GraphError> {
        // The last element seen: it stays where it is as long as this view is open.
        let mut last = None;
        loop {
            let more = self.stretch(|storage| {
                let mut at = last;
                let mut seen = 0;
                while seen < STRETCH {
                    at = K::after(storage, at);
                    let Some(index) = at else { return false };
                    match K::at(storage, index, self.sequence) {
                        Some(element) => {
                            if K::matches(filter, element) {
                                sink.take(index.number(), element);
                            }
                            last = at;
                            seen += 1;
                        }
                        None if K::is_younger(storage, index, self.sequence) => return false,
                        None => {}
                    }
                }
                true
            })?;
            if sink.flush().is_break() || !more {
                return Ok(());
            }
        }
    }

    /// The nodes an index names, and those that changed since the view was opened and that it
    /// would have named then.
    fn probe_nodes(
        &self,
        probe: &IndexProbe,
        filter: &Filter<ElementKey>,
        sink: &mut dyn Sink<Node>,
    ) -> Result<(), GraphError> {
        let mut birth = 0;
        let mut looked_at = self.sequence;
        let mut changed = BTreeSet::new();
        loop {
            let more = self.stretch(|storage| {
                for index in storage.nodes_changed_after(looked_at) {
                    let born = storage.born(index);
                    let is_hit = |node: &Arc<Node>| filter.matches(&**node);
                    if born > birth && storage.node_at(index, self.sequence).is_some_and(is_hit) {
                        changed.insert((born, index));
                    }
                }
                looked_at = storage.sequence();
                let found = probe.merge(storage, birth, &changed).enumerate();
                for (seen, (born, index)) in found {
                    if seen == STRETCH || born > self.sequence {
                        return seen == STRETCH;
                    }
                    birth = born;
                    let Some(node) = storage.node_at(index, self.sequence) else {
                        continue;
                    };
                    let is_sure = probe.is_exact() && storage.is_newest_at(index, self.sequence);
                    if is_sure || filter.matches(&**node) {
                        sink.take(index.index(), node);
                    }
                }
                false
            })?;
            if sink.flush().is_break() || !more {
                return Ok(());
            }
        }
    }
}

/// Nodes or edges, for the scan.
pub(super) trait Kind: Copy {
    type Element;
    fn number(self) -> usize;
    fn after(storage: &Storage, last: Option<Self>) -> Option<Self>;
    fn at(storage: &Storage, index: Self, sequence: u64) -> Option<&Arc<Self::Element>>;
    fn is_younger(storage: &Storage, index: Self, sequence: u64) -> bool;
    fn matches(filter: &Filter<ElementKey>, element: &Self::Element) -> bool;
}

impl Kind for NodeIndex {
    type Element = Node;

    fn number(self) -> usize {
        self.index()
    }

    fn after(storage: &Storage, last: Option<Self>) -> Option<Self> {
        storage.node_after(last)
    }

    fn at(storage: &Storage, index: Self, sequence: u64) -> Option<&Arc<Node>> {
        storage.node_at(index, sequence)
    }

    fn is_younger(storage: &Storage, index: Self, sequence: u64) -> bool {
        storage.born(index) > sequence
    }

    fn matches(filter: &Filter<ElementKey>, node: &Node) -> bool {
        filter.matches(node)
    }
}

impl Kind for EdgeIndex {
    type Element = Edge;

    fn number(self) -> usize {
        self.index()
    }

    fn after(storage: &Storage, last: Option<Self>) -> Option<Self> {
        storage.edge_after(last)
    }

    fn at(storage: &Storage, index: Self, sequence: u64) -> Option<&Arc<Edge>> {
        storage.edge_at(index, sequence)
    }

    fn is_younger(storage: &Storage, index: Self, sequence: u64) -> bool {
        storage.is_edge_younger(index, sequence)
    }

    fn matches(filter: &Filter<ElementKey>, edge: &Edge) -> bool {
        filter.matches(edge)
    }
}

/// Where selected elements go: taken within a stretch, handed on after it.
pub(super) trait Sink<E> {
    fn take(&mut self, index: usize, element: &Arc<E>);
    fn flush(&mut self) -> ControlFlow<()>;
}

pub(super) struct Visit<'v, E> {
    buffer: Vec<ElementRef<E>>,
    visit: &'v mut dyn FnMut(ElementRef<E>) -> ControlFlow<()>,
}

impl<'v, E> Visit<'v, E> {
    pub(super) fn new(visit: &'v mut dyn FnMut(ElementRef<E>) -> ControlFlow<()>) -> Self {
        Self {
            buffer: Vec::new(),
            visit,
        }
    }
}

impl<E> Sink<E> for Visit<'_, E> {
    fn take(&mut self, index: usize, element: &Arc<E>) {
        self.buffer.push(ElementRef::new(index, element));
    }

    fn flush(&mut self) -> ControlFlow<()> {
        self.buffer.drain(..).try_for_each(&mut *self.visit)
    }
}

#[derive(Default)]
pub(super) struct Count(usize);

impl Count {
    pub(super) const fn get(&self) -> usize {
        self.0
    }
}

impl<E> Sink<E> for Count {
    fn take(&mut self, _: usize, _: &Arc<E>) {
        self.0 += 1;
    }

    fn flush(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
