//! Keeps the nodes and edges that clients brought, so that they are there after a restart.
//!
//! The graph is what counts; the store follows it. [`Keeper::record`] is told of every event inside
//! its transaction and notes which kept elements are to be written; a thread of its own writes what
//! has come together, thousands in one transaction of the store, so that many changes cost one wait
//! for the disk. Of an element only the newest revision waits, shared with the graph: however slow
//! the disk, what waits is bounded by what is kept. Whoever must know that a change is durable
//! calls [`Keeper::flush`].

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::orphan_edges::WaitingEdges;
use crate::api::GraphResource;
use crate::error_chain::Chain;
use crate::graph::{Edge, EdgeId, Graph, GraphEvent, Node, NodeId, Processor};
use crate::store::{Change, DocStore, StoreError};
use crate::time::{Clock, Timestamp};

/// Writes kept elements down.
pub(crate) struct Keeper {
    documents: Arc<dyn DocStore>,
    state: Mutex<State>,
    /// Wakes the thread that writes.
    changed: Condvar,
    /// Wakes whoever waits for it.
    written: Condvar,
}

#[derive(Default)]
struct State {
    nodes: HashSet<NodeId>,
    edges: HashSet<EdgeId>,
    /// What is to be written.
    pending: Pending,
    /// Edges whose ends are not there yet.
    waiting: WaitingEdges,
    /// Number of the latest change.
    recorded: u64,
    /// Up to which change the store has all.
    durable: u64,
    /// Who waits for the disk.
    flushing: usize,
    /// How often writing has failed, and why the last time, if that was the last time.
    failures: u64,
    problem: Option<String>,
    stopping: bool,
}

/// New revisions, `None` for elements that are gone.
#[derive(Default)]
struct Pending {
    nodes: HashMap<NodeId, Option<Arc<Node>>>,
    edges: HashMap<EdgeId, Option<Arc<Edge>>>,
}

impl Keeper {
    /// On a store of elements alone.
    pub(crate) fn new(documents: Arc<dyn DocStore>) -> Self {
        Self {
            documents,
            state: Mutex::default(),
            changed: Condvar::new(),
            written: Condvar::new(),
        }
    }

    /// Puts what is kept into a graph. What has the `own` origin of the probes is left out: they
    /// find it themselves. Edges whose ends are not there wait for them.
    ///
    /// # Errors
    /// When the store cannot be read.
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
                state.waiting.add(edge);
            }
        }
        Ok(())
    }

    fn read<E: GraphResource>(&self, own: &str) -> Result<Vec<E>, StoreError> {
        let mut elements = Vec::new();
        for (id, document) in self.documents.list(E::KIND)? {
            match E::from_json(&document, Timestamp::ZERO) {
                Ok(element) if element.origin() != own => elements.push(element),
                Ok(_) => tracing::warn!(kind = E::KIND, id, "left out: it is of the probes now"),
                Err(error) => {
                    let reason = error.to_string();
                    tracing::error!(kind = E::KIND, id, reason, "kept element left out");
                }
            }
        }
        Ok(elements)
    }

    /// Takes down what happened in a transaction. What came with it is kept if it `is_kept`; what
    /// is kept already is followed whoever changes it.
    pub(crate) fn record(&self, events: &[GraphEvent], is_kept: bool) {
        let mut state = self.state.lock();
        if !is_kept && state.nodes.is_empty() && state.edges.is_empty() {
            return;
        }
        let mut is_changed = false;
        for event in events {
            is_changed |= state.record(event, is_kept);
        }
        if is_changed {
            state.recorded += 1;
            self.changed.notify_one();
        }
    }

    /// Waits until everything recorded so far is durable.
    ///
    /// # Errors
    /// Why it could not be written. It is tried again later.
    pub(crate) fn flush(&self) -> Result<(), String> {
        let mut state = self.state.lock();
        let (wanted, failures) = (state.recorded, state.failures);
        state.flushing += 1;
        self.changed.notify_one();
        while state.durable < wanted && state.failures == failures && !state.stopping {
            self.written.wait(&mut state);
        }
        state.flushing -= 1;
        match &state.problem {
            _ if state.durable >= wanted => Ok(()),
            Some(problem) => Err(problem.clone()),
            None => Err("the engine is stopping".to_owned()),
        }
    }

    /// Why the last attempt to write failed, if it did.
    pub(crate) fn problem(&self) -> Option<String> {
        self.state.lock().problem.clone()
    }

    /// How many nodes and edges are kept.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.nodes.len(), state.edges.len())
    }

    /// Ends the thread once it has written what there is.
    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.changed.notify_one();
        self.written.notify_all();
    }

    /// The body of the thread.
    pub(crate) fn run(&self, clock: &dyn Clock) {
        let mut pause = PAUSE;
        let give_up_at = clock.now().saturating_add(PATIENCE);
        let mut state = self.state.lock();
        loop {
            while state.pending.is_empty() && !state.stopping {
                let now = clock.now();
                if state.waiting.is_empty() {
                    self.changed.wait(&mut state);
                } else if now < give_up_at {
                    self.changed
                        .wait_for(&mut state, give_up_at.duration_since(now));
                } else {
                    state.give_up_waiting_edges();
                }
            }
            // More comes together, unless somebody waits: then a store that failed is tried, too.
            let nobody_waits = |state: &mut State| state.flushing == 0 && !state.stopping;
            self.changed.wait_while_for(&mut state, nobody_waits, pause);
            let (batch, upto) = (std::mem::take(&mut state.pending), state.recorded);
            if !batch.is_empty() {
                drop(state);
                let outcome = self.write(&batch);
                state = self.state.lock();
                pause = match outcome {
                    Ok(()) => {
                        state.durable = upto;
                        state.problem = None;
                        PAUSE
                    }
                    Err(error) => {
                        state.fail(batch, &error);
                        (pause * 2).min(LONGEST_PAUSE)
                    }
                };
                self.written.notify_all();
            }
            if state.stopping {
                return;
            }
        }
    }

    /// Writes in parts, so that only few of the documents are in memory at a time. Whoever stops
    /// the process in between finds some of the changes, of which nobody was told that they are
    /// durable.
    fn write(&self, batch: &Pending) -> Result<(), StoreError> {
        let mut changes = batch.changes();
        loop {
            let part: Vec<Change> = changes.by_ref().take(PART).collect();
            if part.is_empty() {
                return Ok(());
            }
            self.documents.apply(&part)?;
        }
    }
}

impl State {
    /// Whether anything is to be written.
    fn record(&mut self, event: &GraphEvent, is_kept: bool) -> bool {
        match event {
            GraphEvent::NodeAdded(node) => {
                if is_kept {
                    self.nodes.insert(node.id.clone());
                    self.pending
                        .nodes
                        .insert(node.id.clone(), Some(Arc::clone(node)));
                }
                is_kept
            }
            GraphEvent::EdgeAdded(edge) => {
                self.waiting.remove(&edge.id);
                if is_kept {
                    self.edges.insert(edge.id.clone());
                    self.pending
                        .edges
                        .insert(edge.id.clone(), Some(Arc::clone(edge)));
                }
                is_kept
            }
            GraphEvent::NodeUpdated { node, .. } => {
                let is_known = self.nodes.contains(&node.id);
                if is_known {
                    self.pending
                        .nodes
                        .insert(node.id.clone(), Some(Arc::clone(node)));
                }
                is_known
            }
            GraphEvent::EdgeUpdated { edge, .. } => {
                let is_known = self.edges.contains(&edge.id);
                if is_known {
                    self.pending
                        .edges
                        .insert(edge.id.clone(), Some(Arc::clone(edge)));
                }
                is_known
            }
            GraphEvent::NodeDeleted(node) => {
                let was_known = self.nodes.remove(&node.id);
                if was_known {
                    self.pending.nodes.insert(node.id.clone(), None);
                }
                was_known
            }
            GraphEvent::EdgeDeleted(edge) => {
                let was_known = self.edges.remove(&edge.id);
                if was_known {
                    self.pending.edges.insert(edge.id.clone(), None);
                }
                was_known
            }
        }
    }

    /// The store did not take a batch.
    fn fail(&mut self, batch: Pending, error: &StoreError) {
        let text = Chain(error).to_string();
        if self.problem.as_ref() != Some(&text) {
            tracing::error!(
                error = text,
                "elements stay unwritten until the store works"
            );
        }
        self.problem = Some(text);
        self.failures += 1;
        self.pending.take_back(batch);
    }

    /// Forgets edges whose ends have not come back.
    fn give_up_waiting_edges(&mut self) {
        let lost = self.waiting.take_all();
        if lost.is_empty() {
            return;
        }
        tracing::warn!(
            edges = lost.len(),
            "kept edges are dropped: their nodes did not come back"
        );
        for id in lost {
            self.edges.remove(&id);
            self.pending.edges.insert(id, None);
        }
        self.recorded += 1;
    }
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.edges.is_empty()
    }

    /// As the store takes them: no edge before its ends, and by id, so that what is written
    /// together lies together.
    fn changes(&self) -> impl Iterator<Item = Change> {
        let nodes = sorted(&self.nodes).map(|(id, node)| change(id.to_string(), node.as_deref()));
        let edges = sorted(&self.edges).map(|(id, edge)| change(id.to_string(), edge.as_deref()));
        nodes.chain(edges)
    }

    /// Puts back what was not written, unless there is something newer.
    fn take_back(&mut self, batch: Self) {
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
    }
}

fn sorted<I: Ord, E>(elements: &HashMap<I, E>) -> impl Iterator<Item = (&I, &E)> {
    let mut elements: Vec<_> = elements.iter().collect();
    elements.sort_unstable_by_key(|(id, _)| *id);
    elements.into_iter()
}

fn change<E: GraphResource>(id: String, element: Option<&E>) -> Change {
    Change {
        kind: E::KIND,
        id,
        // Writing plain fields into memory cannot fail.
        document: element.map(|element| serde_json::to_vec(element).unwrap_or_default()),
    }
}

/// Brings edges back once both their ends are there.
pub(crate) struct ReturningEdges(pub(crate) Arc<Keeper>);

impl Processor for ReturningEdges {
    fn process(&mut self, graph: &mut Graph, event: &GraphEvent, _: Timestamp) {
        let GraphEvent::NodeAdded(node) = event else {
            return;
        };
        let edges = self.0.state.lock().waiting.of(&node.id);
        for edge in edges {
            // It goes on waiting where its other end is not there.
            let _added = graph.add_edge(edge);
        }
    }
}

/// Elements written in one transaction of the store, some megabytes as a rule.
const PART: usize = 4096;

/// How long changes come together that nobody waits for.
const PAUSE: Duration = Duration::from_millis(500);

/// How long the thread waits at most until it tries a store again that failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long kept edges wait for their ends after a start: agents come back within minutes.
const PATIENCE: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests;
