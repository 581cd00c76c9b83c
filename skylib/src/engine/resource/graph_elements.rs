//! Nodes and edges as clients manage them.

use std::marker::PhantomData;
use std::sync::Arc;

use super::collection::Collection;
use crate::api::{GraphResource, JsonPatch, PatchError, ResourceError, ValidationError};
use crate::engine::graph::shared_graph::SharedGraph;
use crate::graph::{Graph, GraphAccess, GraphError, Metadata};
use crate::time::{Clock, Timestamp};

/// The nodes or the edges of an engine's graph, by whomever they were brought.
#[derive(Clone)]
pub struct Elements<E> {
    graph: Arc<SharedGraph>,
    clock: Arc<dyn Clock>,
    host: String,
    limit: usize,
    kind: PhantomData<fn(E)>,
}

impl<E: GraphResource> Elements<E> {
    /// Of a graph on a host.
    pub(crate) fn new(
        (graph, clock, host): &(Arc<SharedGraph>, Arc<dyn Clock>, String),
        limit: usize,
    ) -> Self {
        Self {
            graph: Arc::clone(graph),
            clock: Arc::clone(clock),
            host: host.clone(),
            limit,
            kind: PhantomData,
        }
    }

    /// What has the origin of the probes is trusted to say where to capture.
    fn check_origin(&self, origin: &str) -> Result<(), ValidationError> {
        if !self.is_of_probes(origin) {
            return Ok(());
        }
        Err(ValidationError {
            field: Some("Origin"),
            message: format!("{origin} is that of this server's own probes"),
        })
    }

    fn is_of_probes(&self, origin: &str) -> bool {
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

    /// Takes back what could not be kept, unless somebody has changed it since.
    fn undo(&self, added: &Arc<E>) {
        let id = added.id();
        self.graph.update_as(None, |graph, now| {
            if E::find(graph, &id).is_some_and(|held| Arc::ptr_eq(&held, added)) {
                // It is there: we have just seen it.
                let _deleted = E::delete(graph, &id, now);
            }
        });
    }

    /// The element that a patch makes of one.
    fn patched(element: &E, patch: &JsonPatch) -> Result<E, PatchError> {
        let unreadable = |error| PatchError::Creating(GraphError::Malformed(error).into());
        let mut document =
            serde_json::to_value(element).map_err(|error| unreadable(error.to_string()))?;
        patch.apply(&mut document).map_err(PatchError::Applying)?;
        let patched: E =
            serde_json::from_value(document).map_err(|error| unreadable(error.to_string()))?;
        let checked = patched.check();
        checked.map_err(|error| PatchError::Validating(error.into()))?;
        Ok(patched)
    }
}

impl<E: GraphResource> Collection for Elements<E> {
    type Item = E;

    const KIND: &'static str = E::KIND;

    /// The time to live is ignored: elements have none.
    fn create(&self, json: &str, _ttl: Option<&str>) -> Result<Arc<E>, ResourceError> {
        let mut element = E::read(json, self.clock.now())?;
        if element.origin().is_empty() {
            element.set_origin(&format!("api.{}", self.host));
        }
        self.check_origin(element.origin())?;
        let add = |graph: &mut Graph, _| self.add(graph, element);
        let added = self.graph.update_kept(None, add)?;
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

    /// Only metadata change; what else a patch does is ignored. An error of the store means that
    /// the change is made and not durable yet.
    fn patch(&self, id: &str, patch: &str) -> Result<Option<Arc<E>>, PatchError> {
        let mut element = self.get(id).ok_or(PatchError::NotFound)?;
        let patch = patch.parse::<JsonPatch>().map_err(PatchError::Incorrect)?;
        loop {
            let patched = Self::patched(&element, &patch)?;
            let mut metadata = patched.metadata().clone();
            E::protect(&mut metadata, element.metadata());
            if self.is_of_probes(element.origin()) {
                restore(&mut metadata, element.metadata(), E::DEFINING);
            }
            let change = |graph: &mut Graph, now: Timestamp| {
                let held = E::find(graph, id).ok_or(PatchError::NotFound)?;
                if !Arc::ptr_eq(&held, &element) {
                    // Somebody was faster: the patch is for what is there now.
                    return Ok(Outcome::Missed(held));
                }
                let changed = E::set_metadata(graph, id, metadata, now);
                let changed = changed.map_err(|error| PatchError::Updating(error.into()))?;
                let element = E::find(graph, id).filter(|_| changed);
                Ok(Outcome::Done(element))
            };
            match self.graph.update_as(None, change)? {
                Outcome::Done(element) => {
                    let kept = self.graph.flush().map_err(ResourceError::NotStored);
                    kept.map_err(PatchError::Updating)?;
                    return Ok(element);
                }
                Outcome::Missed(held) => element = held,
            }
        }
    }

    /// An error of the store means that the element is gone, but may come back with a restart.
    fn delete(&self, id: &str) -> Result<bool, ResourceError> {
        let delete = |graph: &mut Graph, now: Timestamp| E::delete(graph, id, now);
        match self.graph.update_as(None, delete) {
            Ok(()) => {
                self.graph.flush().map_err(ResourceError::NotStored)?;
                Ok(true)
            }
            Err(GraphError::NodeNotFound | GraphError::EdgeNotFound) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Makes some keys what they were before.
fn restore(metadata: &mut Metadata, before: &Metadata, keys: &[&'static str]) {
    for &key in keys {
        match before.get(key) {
            Some(value) => metadata.set(key, value.clone()),
            None => drop(metadata.remove_path(key)),
        }
    }
}

enum Outcome<E> {
    Done(Option<Arc<E>>),
    Missed(Arc<E>),
}

const ATTEMPTS: u32 = 3;
