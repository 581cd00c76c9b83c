//! `MemoryHistory`: a bounded part of the past in memory.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::chain::{Chain, Chains, Ended, Window};
use super::index::{Lookup, PastIndex};
use super::{History, HistoryLimits, HistoryStatus, PastReader, ReadBudget, Revision, Revisions};
use crate::filter::Filter;
use crate::graph::element::Element;
use crate::graph::reader::{BATCH_SIZE, SnapshotIter};
use crate::graph::{
    Direction, Edge, EdgeId, ElementKey, GraphError, GraphEvent, IndexUse, Node, NodeId,
};
use crate::time::{Timestamp, When};

/// The past in memory, bounded by age and by bytes.
///
/// Revisions of the present are shared with the graph and cost an index entry each. Revisions that
/// have ended are dropped, oldest first, beyond the limits on age and size. Readers take the lock
/// for one batch of 256 elements, so they do not block the recorder for long. Revisions that open
/// readers may need are stored until they exceed the size limit by more than a quarter; then the
/// readers expire.
pub struct MemoryHistory {
    limits: HistoryLimits,
    state: RwLock<Recorded>,
}

/// State under the lock: all recorded revisions, their indexes, and the readers.
#[derive(Default)]
struct Recorded {
    nodes: Chains<Node>,
    edges: Chains<Edge>,
    /// Nodes by present and past values.
    index: PastIndex,
    /// Edges by the nodes at their ends; see [`end_key`].
    ends: BTreeSet<u64>,
    /// Revisions that have ended, in the order of recording.
    ended: VecDeque<EndedRevision>,
    /// Number of the last change recorded.
    recorded: u64,
    readers: Readers,
    status: HistoryStatus,
}

/// Registry of readers.
#[derive(Default)]
struct Readers {
    /// Numbers of the open readers.
    open: BTreeSet<u64>,
    next: u64,
    /// Bound below which readers have expired.
    expired_below: u64,
}

/// A revision that has ended and will be dropped.
struct EndedRevision {
    /// Time at which its end was recorded.
    at: Timestamp,
    /// Slot of the element.
    slot: u32,
    bytes: u32,
    kind: ElementKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ElementKind {
    Node,
    Edge,
}

impl MemoryHistory {
    /// Returns an empty history.
    #[must_use]
    pub fn new(limits: HistoryLimits) -> Self {
        Self {
            limits,
            state: RwLock::default(),
        }
    }

    /// Returns the newest state of an element as an event: an update without operations, or the
    /// deletion. `None` if the element was never recorded, or its deletion is beyond the limits.
    #[cfg(feature = "history")]
    pub(crate) fn newest(&self, is_edge: bool, id: &str) -> Option<GraphEvent> {
        let state = self.read();
        if is_edge {
            let edge = std::sync::Arc::clone(state.edges.newest(&EdgeId::from(id))?);
            return Some(match edge.deleted_at {
                Some(_) => GraphEvent::EdgeDeleted(edge),
                None => GraphEvent::EdgeUpdated { edge, ops: None },
            });
        }
        let node = std::sync::Arc::clone(state.nodes.newest(&NodeId::from(id))?);
        Some(match node.deleted_at {
            Some(_) => GraphEvent::NodeDeleted(node),
            None => GraphEvent::NodeUpdated { node, ops: None },
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, Recorded> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Recorded> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryHistory")
            .field("limits", &self.limits)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl History for MemoryHistory {
    fn record(&self, events: &[GraphEvent], now: Timestamp) {
        let mut state = self.write();
        if !events.is_empty() {
            state.status.oldest.get_or_insert(now);
        }
        for event in events {
            state.record(event, now);
        }
        state.evict(
            &self.limits,
            now,
            events.len().saturating_mul(DROPS_PER_EVENT),
        );
    }

    fn expire(&self, now: Timestamp) {
        while self.write().evict(&self.limits, now, DROPS_AT_ONCE) {}
    }

    fn status(&self) -> HistoryStatus {
        let state = self.read();
        HistoryStatus {
            revisions: state.ended.len(),
            index_bytes: state.index_bytes(),
            ..state.status
        }
    }

    /// Reads without the budget: the memory is that of the history, and a read takes milliseconds.
    fn open<'a>(&'a self, when: When, _: &'a dyn ReadBudget) -> Box<dyn PastReader + 'a> {
        Box::new(Reader::new(self, when))
    }
}

impl Recorded {
    /// Records one event.
    fn record(&mut self, event: &GraphEvent, now: Timestamp) {
        self.recorded += 1;
        let number = self.recorded;
        let (ended, kind) = match event {
            GraphEvent::NodeAdded(node) | GraphEvent::NodeUpdated { node, .. } => {
                let before = self
                    .nodes
                    .newest(&node.id)
                    .map(|node| node.metadata.clone());
                let (slot, ended) = self.nodes.put(node, number);
                self.index.put(slot, &node.metadata, before.as_ref());
                (ended, ElementKind::Node)
            }
            GraphEvent::NodeDeleted(node) => (self.nodes.end(node, number), ElementKind::Node),
            GraphEvent::EdgeAdded(edge) | GraphEvent::EdgeUpdated { edge, .. } => {
                let (slot, ended) = self.edges.put(edge, number);
                for key in self.end_keys(slot, edge) {
                    self.ends.insert(key);
                }
                (ended, ElementKind::Edge)
            }
            GraphEvent::EdgeDeleted(edge) => (self.edges.end(edge, number), ElementKind::Edge),
        };
        if let Some(Ended { slot, bytes }) = ended {
            let bytes = u32::try_from(bytes + size_of::<EndedRevision>()).unwrap_or(u32::MAX);
            self.status.bytes += bytes as usize;
            self.ended.push_back(EndedRevision {
                at: now,
                slot,
                bytes,
                kind,
            });
        }
    }

    /// Drops at most `most` revisions that are beyond the limits and that no reader needs; returns
    /// whether there are more.
    fn evict(&mut self, limits: &HistoryLimits, now: Timestamp, most: usize) -> bool {
        let too_old = now.saturating_sub(limits.max_age);
        let max_held = limits.max_bytes.saturating_add(limits.max_bytes / 4);
        let mut dropped = 0;
        while let Some(oldest) = self.ended.front() {
            let over_held = self.status.bytes > max_held;
            let is_beyond = self.status.bytes > limits.max_bytes || oldest.at < too_old;
            let is_held = !self.readers.open.is_empty();
            if !is_beyond || (is_held && !over_held) {
                return false;
            }
            if dropped >= most && !over_held {
                return true;
            }
            if is_held {
                self.expire_readers();
            }
            dropped += 1;
            self.drop_oldest();
        }
        false
    }

    /// Expires all open readers.
    fn expire_readers(&mut self) {
        let readers = &mut self.readers;
        self.status.expired_readers += readers.open.len() as u64;
        readers.open.clear();
        readers.expired_below = readers.next;
    }

    /// Drops the revision that ended first.
    fn drop_oldest(&mut self) {
        let Some(oldest) = self.ended.pop_front() else {
            return;
        };
        self.status.bytes -= oldest.bytes as usize;
        self.status.evicted += 1;
        self.status.oldest = self.status.oldest.max(Some(oldest.at));
        match oldest.kind {
            ElementKind::Node => {
                if let Some(node) = self.nodes.drop_oldest(oldest.slot) {
                    let chain = self.nodes.chain(oldest.slot);
                    let others = chain.into_iter().flat_map(Chain::all);
                    let others = others.map(|node| &node.metadata);
                    let next = others.clone().next();
                    self.index.drop(oldest.slot, &node.metadata, next, &others);
                }
            }
            ElementKind::Edge => {
                if let Some(edge) = self.edges.drop_oldest(oldest.slot) {
                    self.remove_ends(oldest.slot, &edge);
                }
            }
        }
    }

    /// Removes an edge from the index of ends unless other revisions have the same ends.
    fn remove_ends(&mut self, slot: u32, dropped: &Edge) {
        let is_same = |edge: &Edge| edge.parent == dropped.parent && edge.child == dropped.child;
        if !self
            .edges
            .chain(slot)
            .is_some_and(|chain| chain.any(is_same))
        {
            for key in self.end_keys(slot, dropped) {
                self.ends.remove(&key);
            }
        }
    }

    /// Returns the keys of both ends of an edge.
    fn end_keys(&self, slot: u32, edge: &Edge) -> impl Iterator<Item = u64> + use<> {
        let parent = self.nodes.find(&edge.parent);
        let child = self.nodes.find(&edge.child);
        let parent = parent.map(|node| end_key(node, Side::Out, slot));
        let child = child.map(|node| end_key(node, Side::In, slot));
        parent.into_iter().chain(child)
    }

    /// Returns the size of all indexes in bytes.
    fn index_bytes(&self) -> usize {
        // The nodes of a B-tree are three quarters full on average.
        let ends = self.ends.len() * size_of::<u64>() * 4 / 3;
        self.nodes.index_bytes() + self.edges.index_bytes() + self.index.bytes() + ends
    }
}

/// Side of a node on which an edge lies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Out,
    In,
}

/// Returns a number that sorts edges by the node at one end, the side, and their slot.
const fn end_key(node: u32, side: Side, edge: u32) -> u64 {
    let side = match side {
        Side::Out => 0,
        Side::In => 1 << 31,
    };
    (node as u64) << 32 | side | (edge & SLOT) as u64
}

/// Part of an end key that contains the slot of an edge.
const SLOT: u32 = (1 << 31) - 1;

/// Maximum number of revisions dropped with one recorded event; more than one event adds.
const DROPS_PER_EVENT: usize = 4;
/// Maximum number of revisions dropped while the lock is held once.
const DROPS_AT_ONCE: usize = 1024;

/// Snapshot of a history.
struct Reader<'h> {
    history: &'h MemoryHistory,
    number: u64,
    window: Window,
}

impl<'h> Reader<'h> {
    fn new(history: &'h MemoryHistory, when: When) -> Self {
        let mut state = history.write();
        let number = state.readers.next;
        state.readers.next += 1;
        state.readers.open.insert(number);
        let window = Window {
            when,
            recorded: state.recorded,
        };
        drop(state);
        Self {
            history,
            number,
            window,
        }
    }

    /// Calls `work` with the state, under the lock.
    fn with_state<R>(&self, work: impl FnOnce(&Recorded) -> R) -> Result<R, GraphError> {
        let state = self.history.read();
        if self.number < state.readers.expired_below {
            return Err(GraphError::ViewExpired);
        }
        Ok(work(&state))
    }

    /// Iterates over all elements of one kind, in insertion order.
    fn all<'a, E: Element>(
        &'a self,
        chains: impl Fn(&Recorded) -> &Chains<E> + 'a,
    ) -> Revisions<'a, E> {
        let mut last = None;
        Box::new(SnapshotIter::new(move |batch| {
            self.with_state(|state| {
                let chains = chains(state);
                let mut looked_at = 0;
                // A chain may have many revisions in an interval.
                while looked_at < BATCH_SIZE && batch.len() < BATCH_SIZE {
                    looked_at += 1;
                    let Some(slot) = chains.after(last) else {
                        return false;
                    };
                    last = Some(slot);
                    let chain = chains.chain(slot);
                    batch.extend(chain.into_iter().flat_map(|c| c.within(self.window)));
                }
                true
            })
        }))
    }

    /// Returns the index lookup for a filter, if that is cheaper than a scan of all nodes.
    fn lookup(&self, filter: &Filter<ElementKey>) -> Result<Option<Lookup>, GraphError> {
        self.with_state(|state| state.index.lookup(filter, state.nodes.len() / 2))
    }

    /// Returns the slots of the nodes that the index finds for a filter, in insertion order; `None`
    /// if a scan of all nodes is cheaper.
    fn indexed_slots(
        &self,
        filter: &Filter<ElementKey>,
    ) -> Result<Option<Vec<(u64, u32)>>, GraphError> {
        let Some(lookup) = self.lookup(filter)? else {
            return Ok(None);
        };
        let mut slots: Vec<(u64, u32)> = self.with_state(|state| {
            let born = |slot| Some((state.nodes.chain(slot)?.born(), slot));
            state.index.slots(&lookup).filter_map(born).collect()
        })?;
        slots.sort_unstable();
        slots.dedup();
        Ok(Some(slots))
    }

    /// Returns the revisions of the element with this id.
    fn one<E: Element>(
        &self,
        chains: impl Fn(&Recorded) -> &Chains<E>,
        id: &E::Id,
    ) -> Result<Vec<Revision<E>>, GraphError> {
        self.with_state(|state| {
            let chains = chains(state);
            let chain = chains.find(id).and_then(|slot| chains.chain(slot));
            let within = |chain: &Chain<E>| chain.within(self.window).collect();
            chain.map(within).unwrap_or_default()
        })
    }

    /// Returns the edges on one side of a node, each with the change that inserted it.
    fn side(&self, id: &NodeId, side: Side) -> Result<Vec<(u64, Revision<Edge>)>, GraphError> {
        let mut found = Vec::new();
        let mut next = 0;
        loop {
            let more = self.with_state(|state| {
                let Some(node) = state.nodes.find(id) else {
                    return false;
                };
                let keys = end_key(node, side, next)..=end_key(node, side, SLOT);
                let full = found.len() + BATCH_SIZE;
                for (looked_at, key) in state.ends.range(keys).enumerate() {
                    if looked_at == BATCH_SIZE || found.len() >= full {
                        return true;
                    }
                    let slot = *key as u32 & SLOT;
                    next = slot + 1;
                    let Some(chain) = state.edges.chain(slot) else {
                        continue;
                    };
                    // An edge id may have been reused for an edge between other nodes.
                    let is_there = |edge: &Edge| match side {
                        Side::Out => edge.parent == *id,
                        Side::In => edge.child == *id,
                    };
                    let revisions = chain.within(self.window);
                    let there = revisions.filter(|revision| is_there(&revision.element));
                    found.extend(there.map(|revision| (chain.born(), revision)));
                }
                false
            })?;
            if !more {
                break;
            }
        }
        found.sort_by_key(|(born, revision)| (*born, revision.number));
        Ok(found)
    }
}

impl PastReader for Reader<'_> {
    fn nodes(&self) -> Revisions<'_, Node> {
        self.all(|state| &state.nodes)
    }

    fn nodes_like<'a>(&'a self, filter: &'a Filter<ElementKey>) -> Revisions<'a, Node> {
        // Slots are not reused while this reader is open.
        let slots = match self.indexed_slots(filter) {
            Ok(Some(slots)) => slots,
            Ok(None) => return self.nodes(),
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        let mut rest = slots.into_iter();
        Box::new(SnapshotIter::new(move |batch| {
            if rest.len() == 0 {
                return Ok(false);
            }
            self.with_state(|state| {
                let slots = rest.by_ref().take(BATCH_SIZE);
                let chains = slots.filter_map(|(_, slot)| state.nodes.chain(slot));
                batch.extend(chains.flat_map(|chain| chain.within(self.window)));
            })?;
            Ok(true)
        }))
    }

    fn index_for(&self, filter: &Filter<ElementKey>) -> Result<Option<IndexUse>, GraphError> {
        let lookup = self.lookup(filter)?;
        Ok(lookup.map(|lookup| IndexUse::new(lookup.key, lookup.count)))
    }

    fn edges(&self) -> Revisions<'_, Edge> {
        self.all(|state| &state.edges)
    }

    fn node(&self, id: &NodeId) -> Result<Vec<Revision<Node>>, GraphError> {
        self.one(|state| &state.nodes, id)
    }

    fn edge(&self, id: &EdgeId) -> Result<Vec<Revision<Edge>>, GraphError> {
        self.one(|state| &state.edges, id)
    }

    fn edges_of(
        &self,
        id: &NodeId,
        direction: Direction,
    ) -> Result<Vec<Revision<Edge>>, GraphError> {
        let mut found = Vec::new();
        if direction != Direction::In {
            found.extend(self.side(id, Side::Out)?);
        }
        if direction != Direction::Out {
            let mut incoming = self.side(id, Side::In)?;
            if direction == Direction::Both {
                // A loop is among the outgoing edges already.
                incoming.retain(|(_, edge)| edge.element.parent != edge.element.child);
            }
            found.extend(incoming);
        }
        Ok(found.into_iter().map(|(_, revision)| revision).collect())
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.history.write().readers.open.remove(&self.number);
    }
}
