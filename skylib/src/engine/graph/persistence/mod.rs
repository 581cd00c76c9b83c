//! `GraphPersister`: write-behind persistence of the nodes and edges that clients create.
//!
//! The graph is authoritative and the store follows it. [`GraphPersister::record`] is called inside
//! each graph transaction and marks which persistent elements changed; a separate thread writes the
//! marked elements in batches, so that many changes cost one `fsync`. Only the newest revision of
//! an element is pending, shared with the graph, so the number of pending elements never exceeds
//! the number of persistent elements, even on a slow disk. [`GraphPersister::flush`] waits until
//! all earlier changes are durable.
//!
//! The TIDs of the host's interfaces ([`KnownTids`](crate::topology::known_tids::KnownTids)) are
//! written to the same store in the same batches.
//!
//! A stored edge whose parent or child is not in the graph waits for it ([`OrphanEdges`]):
//! discovered nodes are added by probes and agents after the start, and may be deleted and added
//! again later.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::orphan_edges::OrphanEdges;
use crate::api::GraphResource;
use crate::error_chain::Chain;
use crate::graph::{Edge, EdgeId, Graph, GraphEvent, Node, NodeId, Processor};
use crate::store::{DocStore, Document, DocumentChange, StoreError};
use crate::time::Timestamp;
use crate::topology::known_tids::TidStore;

/// Writes persistent elements of the graph to a document store.
pub(crate) struct GraphPersister {
    documents: Arc<dyn DocStore>,
    state: Mutex<State>,
    /// Signal that wakes the writer thread.
    changed: Condvar,
    /// Signal that wakes the threads that wait in [`GraphPersister::flush`].
    written: Condvar,
}

#[derive(Default)]
struct State {
    /// Ids of the persistent nodes and edges: each is stored or pending.
    nodes: HashSet<NodeId>,
    edges: HashSet<EdgeId>,
    /// Changes to be written.
    pending: Pending,
    /// Stored edges whose nodes are not in the graph yet.
    orphans: OrphanEdges,
    /// Number of the latest change.
    recorded: u64,
    /// Number of the latest durable change; `durable <= recorded`.
    durable: u64,
    /// Number of threads in [`GraphPersister::flush`].
    flushing: usize,
    /// Number of the latest write that was begun.
    begun: u64,
    /// Number of the latest write that failed; 0 if none has.
    failed: u64,
    /// Error of the last write; `None` if it succeeded.
    problem: Option<String>,
    stopping: bool,
}

/// New revisions of elements, `None` for elements that were deleted.
#[derive(Default)]
struct Pending {
    nodes: HashMap<NodeId, Option<Arc<Node>>>,
    edges: HashMap<EdgeId, Option<Arc<Edge>>>,
    /// New documents of known TIDs, `None` for documents to delete.
    tids: HashMap<String, Option<Vec<u8>>>,
}

impl GraphPersister {
    /// Returns a persister that writes to this store.
    pub(crate) fn new(documents: Arc<dyn DocStore>) -> Self {
        Self {
            documents,
            state: Mutex::default(),
            changed: Condvar::new(),
            written: Condvar::new(),
        }
    }

    /// Adds the stored elements to a graph. Elements with the origin `own` are skipped, because the
    /// probes discover them again. Edges whose nodes are missing wait for these nodes.
    ///
    /// # Errors
    /// Returns an error if the store cannot be read.
    pub(crate) fn load(&self, graph: &mut Graph, own: &str) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        for node in self.read::<Node>(own)? {
            let id = node.id.clone();
            if graph.add_node(node).is_ok() {
                state.nodes.insert(id);
            }
        }
        for edge in self.read::<Edge>(own)? {
            state.edges.insert(edge.id.clone());
            if graph.add_edge(edge.clone()).is_err() {
                state.orphans.add(edge);
            }
        }
        if !state.orphans.is_empty() {
            let edges = state.orphans.len();
            tracing::info!(
                edges,
                "stored edges wait for nodes that are not in the graph"
            );
        }
        Ok(())
    }

    /// Returns the stored documents of known TIDs.
    ///
    /// # Errors
    /// Returns an error if the store cannot be read.
    pub(super) fn tids(&self) -> Result<Vec<Document>, StoreError> {
        self.documents.list(TID_KIND)
    }

    /// Deletes a stored edge that waits for a node. Returns whether such an edge existed.
    pub(super) fn delete_waiting(&self, id: &EdgeId) -> bool {
        let mut state = self.state.lock();
        let was_waiting = state.orphans.remove(id);
        if was_waiting {
            state.forget_edge(id.clone());
            state.recorded += 1;
            self.changed.notify_one();
        }
        was_waiting
    }

    fn read<E: GraphResource>(&self, own: &str) -> Result<Vec<E>, StoreError> {
        let mut elements = Vec::new();
        for (id, document) in self.documents.list(E::KIND)? {
            match E::from_json(&document, Timestamp::ZERO) {
                Ok(element) if element.origin() != own => elements.push(element),
                Ok(_) => tracing::warn!(
                    kind = E::KIND,
                    id,
                    "skipped a stored element that has the origin of this host's probes"
                ),
                Err(error) => {
                    let reason = error.to_string();
                    tracing::error!(
                        kind = E::KIND,
                        id,
                        reason,
                        "skipped a stored element that cannot be read"
                    );
                }
            }
        }
        Ok(elements)
    }

    /// Marks the elements that a transaction changed. Elements that the transaction added become
    /// persistent if `is_persistent`; changes to persistent elements by any writer are recorded.
    pub(super) fn record(&self, events: &[GraphEvent], is_persistent: bool) {
        let mut state = self.state.lock();
        if !is_persistent && state.nodes.is_empty() && state.edges.is_empty() {
            return;
        }
        let deleted = state.discovered_deleted(events);
        let mut is_changed = false;
        for event in events {
            is_changed |= state.record(event, is_persistent, &deleted);
        }
        if is_changed {
            state.recorded += 1;
            self.changed.notify_one();
        }
    }

    /// Waits until all changes recorded so far are durable.
    ///
    /// # Errors
    /// Returns the reason if the changes could not be written. The write is retried later.
    pub(super) fn flush(&self) -> Result<(), String> {
        let mut state = self.state.lock();
        // The failure of a write that was begun earlier says nothing about the store now.
        let (wanted, begun) = (state.recorded, state.begun);
        state.flushing += 1;
        self.changed.notify_one();
        while state.durable < wanted && state.failed <= begun && !state.stopping {
            self.written.wait(&mut state);
        }
        state.flushing -= 1;
        match &state.problem {
            _ if state.durable >= wanted => Ok(()),
            Some(problem) => Err(problem.clone()),
            None => Err("the engine is stopping".to_owned()),
        }
    }

    /// Returns the error of the last write, or `None` if it succeeded.
    pub(crate) fn problem(&self) -> Option<String> {
        self.state.lock().problem.clone()
    }

    /// Returns the number of persistent nodes and of persistent edges.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.nodes.len(), state.edges.len())
    }

    /// Returns the number of persistent edges that wait for a node.
    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().orphans.len()
    }

    /// Ends the writer thread after it has written the pending changes.
    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.changed.notify_one();
        self.written.notify_all();
    }

    /// Writes pending changes until [`GraphPersister::stop`] is called; the body of the writer
    /// thread.
    pub(crate) fn run(&self) {
        let mut delay = WRITE_DELAY;
        let mut state = self.state.lock();
        loop {
            while state.pending.is_empty() && !state.stopping {
                self.changed.wait(&mut state);
            }
            // Collects further changes unless a thread waits in `flush`. A flush also ends the
            // backoff after a failure.
            let nobody_waits = |state: &mut State| state.flushing == 0 && !state.stopping;
            self.changed.wait_while_for(&mut state, nobody_waits, delay);
            let (batch, upto) = (std::mem::take(&mut state.pending), state.recorded);
            if !batch.is_empty() {
                state.begun += 1;
                drop(state);
                let outcome = self.write(&batch);
                state = self.state.lock();
                delay = match outcome {
                    Ok(()) => {
                        state.durable = upto;
                        state.problem = None;
                        WRITE_DELAY
                    }
                    Err(error) => {
                        state.fail(batch, &error);
                        (delay * 2).min(MAX_WRITE_DELAY)
                    }
                };
                self.written.notify_all();
            }
            if state.stopping {
                return;
            }
        }
    }

    /// Writes in chunks, so that only a few documents are in memory at once. A crash between two
    /// chunks preserves only the changes of the first; none of the changes was reported as durable.
    fn write(&self, batch: &Pending) -> Result<(), StoreError> {
        let mut changes = batch.changes();
        loop {
            let chunk: Vec<DocumentChange> = changes.by_ref().take(CHUNK_ELEMENTS).collect();
            if chunk.is_empty() {
                return Ok(());
            }
            self.documents.apply(&chunk)?;
        }
    }
}

impl State {
    /// Marks the element of an event. Returns whether it has to be written.
    ///
    /// An edge from or to one of the deleted nodes `discovered` waits for that node.
    fn record(
        &mut self,
        event: &GraphEvent,
        is_persistent: bool,
        discovered: &HashSet<NodeId>,
    ) -> bool {
        match event {
            GraphEvent::NodeAdded(node) => {
                if is_persistent {
                    self.nodes.insert(node.id.clone());
                    self.pending.put_node(node);
                }
                is_persistent
            }
            GraphEvent::EdgeAdded(edge) => {
                self.orphans.remove(&edge.id);
                if is_persistent {
                    self.edges.insert(edge.id.clone());
                    self.pending.put_edge(edge);
                }
                is_persistent
            }
            GraphEvent::NodeUpdated { node, .. } => {
                let is_known = self.nodes.contains(&node.id);
                if is_known {
                    self.pending.put_node(node);
                }
                is_known
            }
            GraphEvent::EdgeUpdated { edge, .. } => {
                let is_known = self.edges.contains(&edge.id);
                if is_known {
                    self.pending.put_edge(edge);
                }
                is_known
            }
            GraphEvent::NodeDeleted(node) => {
                let was_known = self.nodes.remove(&node.id);
                if was_known {
                    self.pending.nodes.insert(node.id.clone(), None);
                    for edge in self.orphans.of(&node.id) {
                        self.orphans.remove(&edge.id);
                        self.forget_edge(edge.id);
                    }
                }
                was_known
            }
            GraphEvent::EdgeDeleted(edge) => self.delete_edge(edge, discovered),
        }
    }

    /// Marks a deleted edge, unless it waits for one of the nodes `discovered`. Returns whether it
    /// has to be written.
    fn delete_edge(&mut self, edge: &Edge, discovered: &HashSet<NodeId>) -> bool {
        let was_known = self.edges.contains(&edge.id);
        let lost_its_end = discovered.contains(&edge.parent) || discovered.contains(&edge.child);
        if was_known && lost_its_end && self.orphans.len() < MAX_WAITING {
            self.orphans.add(Edge {
                deleted_at: None,
                ..edge.clone()
            });
            return false;
        }
        if was_known {
            self.forget_edge(edge.id.clone());
        }
        was_known
    }

    /// Handles a failed write: its changes are pending again.
    fn fail(&mut self, batch: Pending, error: &StoreError) {
        let text = Chain(error).to_string();
        if self.problem.as_ref() != Some(&text) {
            tracing::error!(
                error = text,
                "cannot write elements of the graph to the store; retrying"
            );
        }
        self.problem = Some(text);
        self.failed = self.begun;
        self.pending.restore(batch);
    }

    /// Returns the deleted nodes of a transaction that are not persistent: probes, agents, and
    /// publishers may add them again. Empty if there are no persistent edges, because only they
    /// need this list.
    fn discovered_deleted(&self, events: &[GraphEvent]) -> HashSet<NodeId> {
        if self.edges.is_empty() {
            return HashSet::new();
        }
        let deleted = |event: &GraphEvent| match event {
            GraphEvent::NodeDeleted(node) => Some(node.id.clone()),
            _ => None,
        };
        let deleted = events.iter().filter_map(deleted);
        deleted.filter(|id| !self.nodes.contains(id)).collect()
    }

    /// Marks a persistent edge as deleted.
    fn forget_edge(&mut self, id: EdgeId) {
        self.edges.remove(&id);
        self.pending.edges.insert(id, None);
    }
}

impl TidStore for GraphPersister {
    fn put(&self, id: String, document: Option<Vec<u8>>) {
        let mut state = self.state.lock();
        state.pending.tids.insert(id, document);
        state.recorded += 1;
        self.changed.notify_one();
    }
}

impl Pending {
    /// Adds the latest revision of a node.
    fn put_node(&mut self, node: &Arc<Node>) {
        self.nodes.insert(node.id.clone(), Some(Arc::clone(node)));
    }

    /// Adds the latest revision of an edge.
    fn put_edge(&mut self, edge: &Arc<Edge>) {
        self.edges.insert(edge.id.clone(), Some(Arc::clone(edge)));
    }

    fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.edges.is_empty() && self.tids.is_empty()
    }

    /// Returns the changes to the store: nodes before edges, so that no edge is stored without its
    /// nodes, and sorted by id, so that writes of neighboring keys are adjacent.
    fn changes(&self) -> impl Iterator<Item = DocumentChange> {
        let nodes = sorted(&self.nodes).map(|(id, node)| change(id.to_string(), node.as_deref()));
        let edges = sorted(&self.edges).map(|(id, edge)| change(id.to_string(), edge.as_deref()));
        let tids = sorted(&self.tids).map(|(id, document)| DocumentChange {
            kind: TID_KIND,
            id: id.clone(),
            document: document.clone(),
        });
        nodes.chain(edges).chain(tids)
    }

    /// Puts back the changes of a failed write, except those of elements that have changed since.
    fn restore(&mut self, batch: Self) {
        for (id, node) in batch.nodes {
            if let Entry::Vacant(entry) = self.nodes.entry(id) {
                entry.insert(node);
            }
        }
        for (id, edge) in batch.edges {
            if let Entry::Vacant(entry) = self.edges.entry(id) {
                entry.insert(edge);
            }
        }
        for (id, document) in batch.tids {
            if let Entry::Vacant(entry) = self.tids.entry(id) {
                entry.insert(document);
            }
        }
    }
}

fn sorted<I: Ord, E>(elements: &HashMap<I, E>) -> impl Iterator<Item = (&I, &E)> {
    let mut elements: Vec<_> = elements.iter().collect();
    elements.sort_unstable_by_key(|(id, _)| *id);
    elements.into_iter()
}

fn change<E: GraphResource>(id: String, element: Option<&E>) -> DocumentChange {
    DocumentChange {
        kind: E::KIND,
        id,
        // Serializing plain fields into memory cannot fail.
        document: element.map(|element| serde_json::to_vec(element).unwrap_or_default()),
    }
}

/// Adds orphan edges to the graph when their nodes are added.
pub(crate) struct OrphanEdgeProcessor(pub(crate) Arc<GraphPersister>);

impl Processor for OrphanEdgeProcessor {
    fn process(&mut self, graph: &mut Graph, event: &GraphEvent, _: Timestamp) {
        let GraphEvent::NodeAdded(node) = event else {
            return;
        };
        let edges = self.0.state.lock().orphans.of(&node.id);
        for edge in edges {
            // Fails while the other node is missing; then the edge remains an orphan.
            let _added = graph.add_edge(edge);
        }
    }
}

/// Maximum number of elements in one transaction of the store, usually several megabytes.
const CHUNK_ELEMENTS: usize = 4096;

/// Time during which changes are collected into a batch.
const WRITE_DELAY: Duration = Duration::from_millis(500);

/// Maximum time until a failed write is retried; the delay doubles with each failure.
const MAX_WRITE_DELAY: Duration = Duration::from_secs(60);

/// Maximum number of edges that wait for a node that was deleted; further edges are deleted with their
/// node.
const MAX_WAITING: usize = 100_000;

/// Kind of the documents of known TIDs.
const TID_KIND: &str = "tid";

#[cfg(test)]
mod tests;
