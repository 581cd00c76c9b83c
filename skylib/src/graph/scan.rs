//! How a view finds the elements that pass a filter: through all of them, or by an index.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::element::Element;
use super::index_probe::IndexProbe;
use super::key::matches;
use super::storage::{EdgeIndex, NodeIndex, Storage};
use super::view::{ElementRef, GraphView, STRETCH};
use super::{Edge, ElementKey, GraphError, Metadata, Node};
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
    pub(super) fn scan<K: ElementIndex>(
        &self,
        filter: &Filter<ElementKey>,
        sink: &mut dyn Sink<K::Element>,
    ) -> Result<(), GraphError> {
        let filter = filter.innermost();
        // The last element seen: it stays where it is as long as this view is open.
        let mut last = None;
        loop {
            let more = self.stretch(|storage| {
                // First what there is, then what passes: the tests wait for memory, and the less
                // there is between two of them, the more of them wait at the same time.
                let mut seen = Vec::with_capacity(STRETCH);
                let more = self.gather::<K>(storage, &mut last, &mut seen);
                if !filter.is_everything() {
                    seen.retain(|found| found.passes(filter));
                }
                sink.take(&seen);
                more
            })?;
            if sink.flush().is_break() || !more {
                return Ok(());
            }
        }
    }

    /// The elements that follow in the order, as many as a stretch has; whether there may be more.
    fn gather<'s, K: ElementIndex>(
        &self,
        storage: &'s Storage,
        last: &mut Option<K>,
        seen: &mut Vec<Seen<'s, K::Element>>,
    ) -> bool {
        let mut at = *last;
        while seen.len() < STRETCH {
            at = K::after(storage, at);
            let Some(index) = at else { return false };
            match Seen::at(storage, index, self.sequence) {
                Some(found) => {
                    seen.push(found);
                    *last = at;
                }
                None if K::is_younger(storage, index, self.sequence) => return false,
                None => {}
            }
        }
        true
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
                let mut seen = Vec::new();
                let mut more = false;
                let found = probe.merge(storage, birth, &changed).enumerate();
                for (offered, (born, index)) in found {
                    if offered == STRETCH || born > self.sequence {
                        more = offered == STRETCH;
                        break;
                    }
                    birth = born;
                    let Some(found) = Seen::at(storage, index, self.sequence) else {
                        continue;
                    };
                    let is_sure = probe.is_exact() && storage.is_newest_at(index, self.sequence);
                    if is_sure || found.passes(filter) {
                        seen.push(found);
                    }
                }
                sink.take(&seen);
                more
            })?;
            if sink.flush().is_break() || !more {
                return Ok(());
            }
        }
    }
}

/// An element that a view sees.
pub(super) struct Seen<'s, E> {
    index: usize,
    element: &'s Arc<E>,
    metadata: &'s Metadata,
}

impl<'s, E: Element> Seen<'s, E> {
    #[inline]
    fn at<K: ElementIndex<Element = E>>(
        storage: &'s Storage,
        index: K,
        sequence: u64,
    ) -> Option<Self> {
        let (element, metadata) = K::at(storage, index, sequence)?;
        Some(Self {
            index: index.number(),
            element,
            metadata,
        })
    }

    #[inline]
    fn passes(&self, filter: &Filter<ElementKey>) -> bool {
        matches(filter, &**self.element, self.metadata)
    }
}

/// Nodes or edges, for the scan.
pub(super) trait ElementIndex: Copy {
    type Element: Element;
    fn number(self) -> usize;
    fn after(storage: &Storage, last: Option<Self>) -> Option<Self>;
    fn at(
        storage: &Storage,
        index: Self,
        sequence: u64,
    ) -> Option<(&Arc<Self::Element>, &Metadata)>;
    fn is_younger(storage: &Storage, index: Self, sequence: u64) -> bool;
}

impl ElementIndex for NodeIndex {
    type Element = Node;

    fn number(self) -> usize {
        self.index()
    }

    fn after(storage: &Storage, last: Option<Self>) -> Option<Self> {
        storage.node_after(last)
    }

    fn at(storage: &Storage, index: Self, sequence: u64) -> Option<(&Arc<Node>, &Metadata)> {
        storage.node_and_metadata_at(index, sequence)
    }

    fn is_younger(storage: &Storage, index: Self, sequence: u64) -> bool {
        storage.born(index) > sequence
    }
}

impl ElementIndex for EdgeIndex {
    type Element = Edge;

    fn number(self) -> usize {
        self.index()
    }

    fn after(storage: &Storage, last: Option<Self>) -> Option<Self> {
        storage.edge_after(last)
    }

    fn at(storage: &Storage, index: Self, sequence: u64) -> Option<(&Arc<Edge>, &Metadata)> {
        let edge = storage.edge_at(index, sequence)?;
        Some((edge, &edge.metadata))
    }

    fn is_younger(storage: &Storage, index: Self, sequence: u64) -> bool {
        storage.is_edge_younger(index, sequence)
    }
}

/// Where selected elements go: taken within a stretch, handed on after it.
pub(super) trait Sink<E> {
    fn take(&mut self, seen: &[Seen<'_, E>]);
    fn flush(&mut self) -> ControlFlow<()>;
}

pub(super) struct VisitSink<'v, E> {
    buffer: Vec<ElementRef<E>>,
    visit: &'v mut dyn FnMut(ElementRef<E>) -> ControlFlow<()>,
}

impl<'v, E> VisitSink<'v, E> {
    pub(super) fn new(visit: &'v mut dyn FnMut(ElementRef<E>) -> ControlFlow<()>) -> Self {
        Self {
            buffer: Vec::new(),
            visit,
        }
    }
}

impl<E> Sink<E> for VisitSink<'_, E> {
    fn take(&mut self, seen: &[Seen<'_, E>]) {
        // A clone writes, and nothing is read beyond it until its memory is there: read all first,
        // so that they wait at the same time.
        let clones: usize = seen.iter().map(|it| Arc::strong_count(it.element)).sum();
        black_box(clones);
        let refs = seen.iter().map(|it| ElementRef::new(it.index, it.element));
        self.buffer.extend(refs);
    }

    fn flush(&mut self) -> ControlFlow<()> {
        self.buffer.drain(..).try_for_each(&mut *self.visit)
    }
}

#[derive(Default)]
pub(super) struct CountSink(usize);

impl CountSink {
    pub(super) const fn get(&self) -> usize {
        self.0
    }
}

impl<E> Sink<E> for CountSink {
    fn take(&mut self, seen: &[Seen<'_, E>]) {
        self.0 += seen.len();
    }

    fn flush(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
