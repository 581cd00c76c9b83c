//! Resources as clients manage them: create, list, look at, change, delete.

use std::sync::Arc;
use std::time::Duration;

use super::collection::Collection;
use crate::api::{
    Defaults, ExpressionChecker, NodeFinder, PatchError, Resource, ResourceError, ResourceStore,
};
use crate::capture::BpfProgram;
use crate::engine::bus::Bus;
use crate::engine::query::QueryRunner;
use crate::flow::LayerKeyMode;
use crate::go_duration;
use crate::graph::Node;
use crate::gremlin::{Answer, Query};
use crate::packet::LinkType;
use crate::proto::BroadcastMessage;
use crate::store::StoreError;
use crate::time::Timestamp;

/// The resources of one kind in an engine.
pub struct Resources<R> {
    store: Arc<ResourceStore<R>>,
    surroundings: Arc<Surroundings>,
    watcher: Arc<dyn Watcher<R>>,
}

/// What resources of every kind need.
pub(crate) struct Surroundings {
    pub(crate) queries: QueryRunner,
    pub(crate) bus: Arc<Bus<BroadcastMessage>>,
    pub(crate) layer_key_mode: LayerKeyMode,
}

/// Whoever acts on resources of a kind is told of them.
pub(crate) trait Watcher<R>: Send + Sync {
    /// One came, perhaps for some time only.
    fn created(&self, resource: &R, ttl: Option<Duration>);

    /// One went.
    fn deleted(&self, _resource: &R) {}

    /// Resources as they are shown.
    fn shown(&self, resources: Vec<Arc<R>>) -> Vec<Arc<R>> {
        resources
    }
}

impl<R: Resource> Resources<R> {
    pub(crate) fn new(
        store: Arc<ResourceStore<R>>,
        surroundings: Arc<Surroundings>,
        watcher: Arc<dyn Watcher<R>>,
    ) -> Self {
        Self {
            store,
            surroundings,
            watcher,
        }
    }

    /// Validates and keeps a resource; it has an id and is durable when this returns.
    ///
    /// # Errors
    /// When it is invalid, like another, one too many, or cannot be kept; nothing has changed then.
    pub fn add(&self, resource: R, ttl: Option<Duration>) -> Result<Arc<R>, ResourceError> {
        resource.validate(&*self.surroundings)?;
        self.keep(resource, ttl)
    }

    fn keep(&self, resource: R, ttl: Option<Duration>) -> Result<Arc<R>, ResourceError> {
        resource.check_nodes(&*self.surroundings)?;
        let resource = self.store.create(resource, ttl, self.now())?;
        self.watcher.created(&resource, ttl);
        self.surroundings.notify("Added", &*resource);
        Ok(resource)
    }

    /// Number of resources.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Why the last change could not be kept, if it could not.
    #[must_use]
    pub fn store_problem(&self) -> Option<String> {
        self.store.problem()
    }

    fn gone(&self, resource: &R) {
        self.watcher.deleted(resource);
        self.surroundings.notify("Deleted", resource);
    }

    fn defaults(&self) -> Defaults {
        Defaults::default()
            .with_now(self.now())
            .with_layer_key_mode(self.surroundings.layer_key_mode)
    }

    fn now(&self) -> Timestamp {
        self.surroundings.queries.clock.now()
    }
}

impl<R> Clone for Resources<R> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            surroundings: Arc::clone(&self.surroundings),
            watcher: Arc::clone(&self.watcher),
        }
    }
}

impl<R: Resource> Collection for Resources<R> {
    type Item = R;

    const KIND: &'static str = R::KIND;

    fn create(&self, json: &str, ttl: Option<&str>) -> Result<Arc<R>, ResourceError> {
        let resource = R::read(json, &self.defaults())?;
        resource.validate(&*self.surroundings)?;
        let ttl = ttl.filter(|ttl| !ttl.is_empty());
        self.keep(resource, ttl.map(go_duration::parse).transpose()?)
    }

    fn get(&self, id: &str) -> Option<Arc<R>> {
        self.watcher.shown(vec![self.store.get(id)?]).pop()
    }

    fn all(&self) -> Result<Vec<Arc<R>>, ResourceError> {
        Ok(self.watcher.shown(self.store.all()))
    }

    fn id_of(resource: &R) -> String {
        resource.id().to_owned()
    }

    fn patch(&self, id: &str, patch: &str) -> Result<Option<Arc<R>>, PatchError> {
        let defaults = self.defaults();
        self.store.patch(id, patch, &defaults, &*self.surroundings)
    }

    fn delete(&self, id: &str) -> Result<bool, ResourceError> {
        let deleted = self.store.delete(id)?;
        if let Some(resource) = &deleted {
            self.gone(resource);
        }
        Ok(deleted.is_some())
    }
}

/// Resources whose time to live ends.
pub(crate) trait Mortal: Send + Sync {
    /// Which ones.
    fn kind(&self) -> &'static str;

    /// When the next time to live ends, if any has one.
    fn next_expiry(&self) -> Option<Timestamp>;

    /// Deletes those whose time is over, as if clients had, up to the first failure.
    fn expire(&self, now: Timestamp) -> Result<(), StoreError>;
}

impl<R: Resource> Mortal for Resources<R> {
    fn kind(&self) -> &'static str {
        R::KIND
    }

    fn next_expiry(&self) -> Option<Timestamp> {
        self.store.next_expiry()
    }

    fn expire(&self, now: Timestamp) -> Result<(), StoreError> {
        let (expired, outcome) = self.store.expire(now);
        expired.iter().for_each(|resource| self.gone(resource));
        outcome
    }
}

impl Surroundings {
    /// Tells the graph's subscribers of a resource, where they are told of its kind.
    pub(crate) fn notify<R: Resource>(&self, kind: &'static str, resource: &R) {
        notify(&self.bus, kind, resource);
    }
}

/// Tells the graph's subscribers of a resource, where they are told of its kind.
pub(crate) fn notify<R: Resource>(bus: &Bus<BroadcastMessage>, kind: &'static str, resource: &R) {
    if let Some(namespace) = R::NAMESPACE
        && bus.is_wanted(namespace)
    {
        let json = serde_json::to_vec(resource).unwrap_or_default();
        bus.send(&Arc::new(BroadcastMessage::object(namespace, kind, json)));
    }
}

/// Checks queries with our parser and packet filters with libpcap.
impl ExpressionChecker for Surroundings {
    fn check_gremlin(&self, query: &str) -> Result<(), String> {
        Query::parse(query).map(|_| ()).map_err(|e| e.to_string())
    }

    fn check_bpf(&self, filter: &str) -> Result<(), String> {
        BpfProgram::compile(filter, LinkType::ETHERNET, MAX_SNAP_LEN)
            .map(|_| ())
            .map_err(|e| e.to_string())
    }
}

impl NodeFinder for Surroundings {
    fn first_node(&self, query: &str) -> Option<Arc<Node>> {
        let query = Query::parse(query).ok()?;
        let clock = &self.queries.clock;
        let began = clock.now();
        let is_late = || clock.now().duration_since(began) >= QUERY_TIME;
        let view = self.queries.graph.view();
        match self.queries.run(&view, &query, &is_late) {
            Ok(Answer::Nodes(nodes)) => nodes.into_iter().next(),
            _ => None,
        }
    }
}

const MAX_SNAP_LEN: u32 = 4096;

/// How long the query of a resource may take while a client waits for its creation.
const QUERY_TIME: Duration = Duration::from_secs(5);
