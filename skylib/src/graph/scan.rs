//! Batched scans of a snapshot: through all elements, or through an index.
//!
//! A full scan costs one visit of each element in insertion order. An index scan merges the posting
//! lists of the index, which describe the newest revisions, with the nodes that have changed since
//! the view was opened; its cost is proportional to the size of both.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;

use super::element::Element;
use super::index_probe::{self, IndexProbe};
use super::key::matches;
use super::reader::{BATCH_SIZE, ElementRef};
use super::storage::{EdgeIndex, NodeIndex, Storage};
use super::view::GraphView;
use super::{Edge, ElementKey, GraphError, Metadata, Node};
use crate::filter::Filter;

/// Scan of the nodes that match a filter, in insertion order, by the cheapest access path.
pub(super) enum NodeScan<'f> {
    /// The access path is chosen with the first batch.
    Unplanned(&'f Filter<ElementKey>),
    Full(FullScan<'f, NodeIndex>),
    Index(Box<IndexScan<'f>>),
}

impl<'f> NodeScan<'f> {
    pub(super) const fn new(filter: &'f Filter<ElementKey>) -> Self {
        Self::Unplanned(filter)
    }

    /// Adds the next batch to the sink; returns whether there may be more.
    pub(super) fn advance(
        &mut self,
        view: &GraphView<'_>,
        sink: &mut impl Sink<Node>,
    ) -> Result<bool, GraphError> {
        if let Self::Unplanned(filter) = *self {
            let probe = view.with_storage(|storage| index_probe::probe(filter, storage))?;
            *self = match probe {
                Some(probe) => Self::Index(Box::new(IndexScan::new(probe, filter, view))),
                None => Self::Full(FullScan::new(filter)),
            };
        }
        match self {
            Self::Unplanned(_) => Ok(false),
            Self::Full(scan) => scan.advance(view, sink),
            Self::Index(scan) => scan.advance(view, sink),
        }
    }
}

/// Scan of all elements of one kind.
pub(super) struct FullScan<'f, K> {
    filter: &'f Filter<ElementKey>,
    /// Last element visited; its slot is not freed while the view is open.
    last: Option<K>,
}

impl<'f, K: ElementIndex> FullScan<'f, K> {
    pub(super) fn new(filter: &'f Filter<ElementKey>) -> Self {
        Self {
            filter: filter.innermost(),
            last: None,
        }
    }

    /// Adds the next batch to the sink; returns whether there may be more.
    pub(super) fn advance(
        &mut self,
        view: &GraphView<'_>,
        sink: &mut impl Sink<K::Element>,
    ) -> Result<bool, GraphError> {
        view.with_storage(|storage| {
            // Two passes: each test waits for memory, and the waits overlap more if there is less
            // work between two tests.
            let mut seen = Vec::with_capacity(BATCH_SIZE);
            let more = self.gather(storage, view.sequence, &mut seen);
            if !self.filter.is_everything() {
                seen.retain(|found| found.passes(self.filter));
            }
            sink.add(&seen);
            more
        })
    }

    /// Appends the next elements in insertion order, at most one batch; returns whether there may
    /// be more.
    fn gather<'s>(
        &mut self,
        storage: &'s Storage,
        sequence: u64,
        seen: &mut Vec<Seen<'s, K::Element>>,
    ) -> bool {
        let mut at = self.last;
        while seen.len() < BATCH_SIZE {
            at = K::after(storage, at);
            let Some(index) = at else { return false };
            match Seen::at(storage, index, sequence) {
                Some(found) => {
                    seen.push(found);
                    self.last = at;
                }
                // All elements that follow are younger than the view.
                None if K::is_younger(storage, index, sequence) => return false,
                None => {}
            }
        }
        true
    }
}

/// Scan of the nodes that an index finds, merged with those that have changed since the view was
/// opened and that the index would have found then.
pub(super) struct IndexScan<'f> {
    probe: IndexProbe,
    filter: &'f Filter<ElementKey>,
    /// Sequence number of the insertion of the last visited node.
    birth: u64,
    /// Sequence number up to which changes have been merged.
    merged: u64,
    /// Changed nodes that match the filter, in insertion order; when added, each was inserted after
    /// `birth`.
    changed: BTreeSet<(u64, NodeIndex)>,
}

impl<'f> IndexScan<'f> {
    const fn new(probe: IndexProbe, filter: &'f Filter<ElementKey>, view: &GraphView<'_>) -> Self {
        Self {
            probe,
            filter,
            birth: 0,
            merged: view.sequence,
            changed: BTreeSet::new(),
        }
    }

    fn advance(
        &mut self,
        view: &GraphView<'_>,
        sink: &mut impl Sink<Node>,
    ) -> Result<bool, GraphError> {
        let sequence = view.sequence;
        view.with_storage(|storage| {
            for index in storage.nodes_changed_after(self.merged) {
                let born = storage.born(index);
                let is_hit = |node: &Arc<Node>| self.filter.matches(&**node);
                if born > self.birth && storage.node_at(index, sequence).is_some_and(is_hit) {
                    self.changed.insert((born, index));
                }
            }
            self.merged = storage.sequence();
            let mut seen = Vec::new();
            let mut more = false;
            let found = self.probe.merge(storage, self.birth, &self.changed);
            for (offered, (born, index)) in found.enumerate() {
                if offered == BATCH_SIZE || born > sequence {
                    more = offered == BATCH_SIZE;
                    break;
                }
                self.birth = born;
                let Some(found) = Seen::at(storage, index, sequence) else {
                    continue;
                };
                // The index has already tested the newest revision.
                let is_tested = self.probe.is_exact() && storage.is_newest_at(index, sequence);
                if is_tested || found.passes(self.filter) {
                    seen.push(found);
                }
            }
            sink.add(&seen);
            more
        })
    }
}

/// Element that a view sees.
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

/// Index of a node or of an edge in the storage.
pub(super) trait ElementIndex: Copy {
    type Element: Element;
    fn number(self) -> usize;
    /// Returns the next index in insertion order; the first for `None`.
    fn after(storage: &Storage, last: Option<Self>) -> Option<Self>;
    /// Returns the revision that a view at a sequence number sees.
    fn at(
        storage: &Storage,
        index: Self,
        sequence: u64,
    ) -> Option<(&Arc<Self::Element>, &Metadata)>;
    /// Returns whether the element was inserted after a sequence number.
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

/// Destination of the elements that a scan finds; called under the lock.
pub(super) trait Sink<E> {
    fn add(&mut self, seen: &[Seen<'_, E>]);
}

impl<E> Sink<E> for Vec<ElementRef<E>> {
    fn add(&mut self, seen: &[Seen<'_, E>]) {
        // Cloning an `Arc` writes to its reference count, and a write to memory that is not in the
        // cache stalls the following instructions. Reading all counts first lets these waits
        // overlap.
        let clones: usize = seen.iter().map(|it| Arc::strong_count(it.element)).sum();
        black_box(clones);
        self.extend(seen.iter().map(|it| ElementRef::new(it.index, it.element)));
    }
}

/// Counts elements.
impl<E> Sink<E> for usize {
    fn add(&mut self, seen: &[Seen<'_, E>]) {
        *self += seen.len();
    }
}
