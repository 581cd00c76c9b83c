//! `GraphElements`: nodes and edges of the graph as resources of clients.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::collection::Collection;
use super::resources::ResourceContext;
use crate::api::{GraphResource, JsonPatch, PatchError, ResourceError, ValidationError};
use crate::engine::graph::SharedGraph;
use crate::graph::{Edge, Graph, GraphAccess, GraphError, Metadata};
use crate::memory::{MemoryBudget, MemoryCharge, MemoryUse};
use crate::time::{Clock, Timestamp};

/// Nodes or edges of an engine's graph, of any origin.
#[derive(Clone)]
pub struct GraphElements<E> {
    graph: Arc<SharedGraph>,
    clock: Arc<dyn Clock>,
    host: String,
    memory: MemoryBudget,
    /// Number of elements in the graph at which clients can no longer create elements.
    limit: usize,
    kind: PhantomData<fn(E)>,
}

impl<E: GraphResource> GraphElements<E> {
    /// Returns the elements of a graph; `host` is the identity of this host.
    pub(super) fn new(context: &ResourceContext, host: &str, limit: usize) -> Self {
        Self {
            graph: Arc::clone(&context.queries.graph),
            clock: Arc::clone(&context.queries.clock),
            memory: context.memory.clone(),
            host: host.to_owned(),
            limit,
            kind: PhantomData,
        }
    }

    /// Rejects the origin of this host's probes: captures trust the metadata of elements with this
    /// origin.
    fn check_origin(&self, origin: &str) -> Result<(), ValidationError> {
        if !self.is_origin_of_probes(origin) {
            return Ok(());
        }
        Err(ValidationError {
            field: Some("Origin"),
            message: format!("{origin} is reserved for the probes of this server"),
        })
    }

    fn is_origin_of_probes(&self, origin: &str) -> bool {
        origin.strip_prefix("agent.") == Some(self.host.as_str())
    }

    fn add(&self, graph: &mut Graph, element: E) -> Result<Arc<E>, ResourceError> {
        if E::count(graph) >= self.limit {
            return Err(ResourceError::Full {
                kind: E::KIND,
                limit: self.limit,
            });
        }
        let id = element.id();
        element.add(graph)?;
        E::find(graph, &id).ok_or(ResourceError::Graph(GraphError::MissingId))
    }

    /// Deletes an element that could not be stored, unless another writer has changed it since.
    fn undo(&self, added: &Arc<E>) {
        let id = added.id();
        self.graph.update_as(None, |graph, now| {
            if E::find(graph, &id).is_some_and(|current| Arc::ptr_eq(&current, added)) {
                // Cannot fail: the element was found in this transaction.
                let _deleted = E::delete(graph, &id, now);
            }
        });
    }

    /// Returns the element that results from a patch, and the charge for its memory.
    fn patched(&self, element: &E, patch: &JsonPatch) -> Result<(E, MemoryCharge), PatchError> {
        let memory = self.memory.charge(MemoryUse::Patches);
        memory.grow_to(DOCUMENT_FACTOR * element.metadata().heap_bytes())?;
        let unreadable = |error| PatchError::Creating(GraphError::Malformed(error).into());
        let mut document =
            serde_json::to_value(element).map_err(|error| unreadable(error.to_string()))?;
        patch
            .apply(&mut document, &memory)
            .map_err(PatchError::Applying)?;
        let patched: E =
            serde_json::from_value(document).map_err(|error| unreadable(error.to_string()))?;
        let checked = patched.check();
        checked.map_err(|error| PatchError::Validating(error.into()))?;
        Ok((patched, memory))
    }
}

impl<E: GraphResource> fmt::Debug for GraphElements<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphElements")
            .field("kind", &E::KIND)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl<E: GraphResource> Collection for GraphElements<E> {
    type Item = E;

    const KIND: &'static str = E::KIND;

    /// Adds the element. The time to live is ignored, because elements do not expire.
    fn create(&self, json: &str, _ttl: Option<&str>) -> Result<Arc<E>, ResourceError> {
        let mut element = E::read(json, self.clock.now())?;
        if element.origin().is_empty() {
            element.set_origin(&format!("api.{}", self.host));
        }
        self.check_origin(element.origin())?;
        let add = |graph: &mut Graph, _| self.add(graph, element);
        let added = self.graph.update_persistent(None, add)?;
        if let Err(reason) = self.graph.flush() {
            self.undo(&added);
            return Err(ResourceError::NotStored(reason));
        }
        Ok(added)
    }

    fn get(&self, id: &str) -> Option<Arc<E>> {
        let mut found = None;
        self.graph.read(&mut |graph| found = E::find(graph, id));
        found
    }

    fn all(&self) -> Result<Vec<Arc<E>>, ResourceError> {
        let mut all = E::all(&self.graph.view());
        // A view expires if too many changes are made while it is open.
        for _ in 1..ATTEMPTS {
            if all.is_ok() {
                break;
            }
            all = E::all(&self.graph.view());
        }
        Ok(all?)
    }

    fn id_of(element: &E) -> String {
        element.id()
    }

    /// Changes only the metadata; other changes of the patch are ignored. If the store fails, the
    /// change has been made but may be lost at a restart.
    fn patch(&self, id: &str, patch: &str) -> Result<Option<Arc<E>>, PatchError> {
        let mut element = self.get(id).ok_or(PatchError::NotFound)?;
        let patch = patch.parse::<JsonPatch>().map_err(PatchError::Incorrect)?;
        // Optimistic concurrency control: the patch is applied outside the lock and repeated if the
        // element has changed.
        loop {
            let (patched, _memory) = self.patched(&element, &patch)?;
            let mut metadata = patched.metadata().clone();
            E::protect(&mut metadata, element.metadata());
            if self.is_origin_of_probes(element.origin()) {
                restore(&mut metadata, element.metadata(), E::DEFINING);
            }
            let change = |graph: &mut Graph, now: Timestamp| -> Result<_, PatchError> {
                let current = E::find(graph, id).ok_or(PatchError::NotFound)?;
                if !Arc::ptr_eq(&current, &element) {
                    return Ok(PatchOutcome::Conflict(current));
                }
                let changed = E::set_metadata(graph, id, metadata, now);
                let changed = changed.map_err(|error| PatchError::Updating(error.into()))?;
                let element = E::find(graph, id).filter(|_| changed);
                Ok(PatchOutcome::Done(element))
            };
            match self.graph.update_as(None, change)? {
                PatchOutcome::Done(element) => {
                    let stored = self.graph.flush().map_err(ResourceError::NotStored);
                    stored.map_err(PatchError::Updating)?;
                    return Ok(element);
                }
                PatchOutcome::Conflict(current) => element = current,
            }
        }
    }

    /// Deletes an element that no probe of this host wrote, or a stored edge that waits for a node.
    /// If the store fails, the element is deleted but may reappear after a restart.
    fn delete(&self, id: &str) -> Result<bool, ResourceError> {
        let delete = |graph: &mut Graph, now: Timestamp| {
            let Some(element) = E::find(graph, id) else {
                return Ok(E::KIND == Edge::KIND && self.graph.delete_waiting(&id.into()));
            };
            let origin = element.origin();
            // A probe would not add the element again before a restart.
            if self.is_origin_of_probes(origin) {
                let origin = origin.to_owned();
                return Err(ResourceError::OfProbes { origin });
            }
            E::delete(graph, id, now)?;
            Ok(true)
        };
        let deleted = self.graph.update_as(None, delete)?;
        if deleted {
            self.graph.flush().map_err(ResourceError::NotStored)?;
        }
        Ok(deleted)
    }
}

/// Sets the listed keys to their values in `before`.
fn restore(metadata: &mut Metadata, before: &Metadata, keys: &[&'static str]) {
    for &key in keys {
        match before.get(key) {
            Some(value) => metadata.set(key, value.clone()),
            None => drop(metadata.remove_path(key)),
        }
    }
}

/// Outcome of an attempt to apply a patch.
enum PatchOutcome<E> {
    /// The element after the change, `None` if nothing changed.
    Done(Option<Arc<E>>),
    /// The current element: another writer has changed it since it was read.
    Conflict(Arc<E>),
}

/// Ratio of the memory of an element as a JSON document to the memory of its metadata in the graph.
const DOCUMENT_FACTOR: usize = 8;

/// Number of attempts to read all elements from one snapshot.
const ATTEMPTS: u32 = 3;
