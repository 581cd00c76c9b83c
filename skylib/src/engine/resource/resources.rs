//! `Resources`: the resources of one kind, in a document store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::collection::Collection;
use super::observer::Observer;
use crate::api::{
    CaptureType, Defaults, ExpressionChecker, PatchError, Resource, ResourceError, ResourceStore,
};
use crate::engine::bus::Bus;
use crate::engine::query::QueryRunner;
use crate::flow::LayerKeyMode;
use crate::go_duration;
use crate::gremlin::Query;
use crate::memory::MemoryBudget;
use crate::packet::LinkType;
use crate::proto::BroadcastMessage;
use crate::store::StoreError;
use crate::time::Timestamp;

/// Resources of one kind in an engine; clones are handles of the same resources.
///
/// ```
/// use skylib::api::CaptureSpec;
/// use skylib::engine::{Engine, EngineOptions};
///
/// let engine = Engine::start(EngineOptions::new("edge-01"))?;
/// let spec = CaptureSpec::new("G.V().Has('Name', 'eth0')");
/// let capture = engine.captures().add(spec, None)?;
/// assert!(!capture.uuid.is_empty());
/// assert_eq!(engine.captures().len(), 1);
/// # Ok::<(), skylib::Error>(())
/// ```
pub struct Resources<R> {
    store: Arc<ResourceStore<R>>,
    context: Arc<ResourceContext>,
    observers: Vec<Arc<dyn Observer<R>>>,
    /// Built-in resources, which clients can only read.
    built_in: Vec<Arc<R>>,
}

/// Parts of the engine that the resources of all kinds use.
pub(crate) struct ResourceContext {
    pub(crate) queries: QueryRunner,
    pub(crate) bus: Arc<Bus<BroadcastMessage>>,
    pub(crate) layer_key_mode: LayerKeyMode,
    pub(crate) memory: MemoryBudget,
    /// Whether alerts may run programs on this host.
    pub(crate) alert_scripts: bool,
    /// Checks that JavaScript can be compiled.
    pub(crate) check_script: fn(&str) -> Result<(), String>,
    /// Whether captures run in this process. Otherwise they run on agents, which may support other
    /// types.
    pub(crate) local_captures: bool,
}

impl<R: Resource> Resources<R> {
    /// Returns the resources of a store, without observers.
    pub(super) fn new(store: Arc<ResourceStore<R>>, context: Arc<ResourceContext>) -> Self {
        Self {
            store,
            context,
            observers: Vec::new(),
            built_in: Vec::new(),
        }
    }

    /// Sets the built-in resources.
    #[cfg(feature = "scripting")]
    pub(crate) fn set_built_in(&mut self, built_in: Vec<R>) {
        self.built_in = built_in.into_iter().map(Arc::new).collect();
    }

    fn built_in(&self, id: &str) -> Option<&Arc<R>> {
        self.built_in.iter().find(|resource| resource.id() == id)
    }

    /// Registers an observer, which is called after the observers registered before it. Earlier
    /// clones do not call the observer.
    pub(crate) fn observe(&mut self, observer: Arc<dyn Observer<R>>) {
        self.observers.push(observer);
    }

    /// Returns the store of the resources.
    pub(crate) fn store(&self) -> &Arc<ResourceStore<R>> {
        &self.store
    }

    /// Adds a resource under a random id and returns it. It is deleted after `ttl`, rounded down to
    /// seconds but at least one second; without a `ttl`, or with zero, it never expires.
    ///
    /// # Errors
    /// Returns an error if the resource is invalid, duplicates another one, a limit is reached, or
    /// the store fails. In these cases, nothing has changed.
    pub fn add(&self, resource: R, ttl: Option<Duration>) -> Result<Arc<R>, ResourceError> {
        resource.validate(&*self.context)?;
        self.create_valid(resource, ttl)
    }

    fn create_valid(&self, resource: R, ttl: Option<Duration>) -> Result<Arc<R>, ResourceError> {
        resource.check_nodes(&self.context.queries)?;
        let now = self.now();
        let resource = self.store.create(resource, ttl, now)?;
        // The store rounds down to whole seconds, but not to zero, so this time is never later than
        // the store's deadline.
        let expires_at = ttl
            .filter(|ttl| !ttl.is_zero())
            .map(|ttl| now.saturating_add(Duration::from_secs(ttl.as_secs())));
        // Sent before the observers are called, because their threads may immediately report a
        // change of the resource.
        self.context.notify("Added", &*resource);
        for observer in &self.observers {
            observer.created(&resource, expires_at);
        }
        Ok(resource)
    }

    /// Returns the number of resources.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Returns whether there are no resources.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the reason if the last change could not be stored; `None` if it was stored.
    #[must_use]
    pub fn store_problem(&self) -> Option<String> {
        self.store.problem()
    }

    fn announce_deletion(&self, resource: &R) {
        for observer in &self.observers {
            observer.deleted(resource);
        }
        self.context.notify("Deleted", resource);
    }

    fn decorate(&self, resources: Vec<Arc<R>>) -> Vec<Arc<R>> {
        let observers = self.observers.iter();
        observers.fold(resources, |resources, observer| {
            observer.decorate(resources)
        })
    }

    fn defaults(&self) -> Defaults {
        Defaults::default()
            .with_now(self.now())
            .with_layer_key_mode(self.context.layer_key_mode)
    }

    fn now(&self) -> Timestamp {
        self.context.queries.clock.now()
    }
}

impl<R> Clone for Resources<R> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            context: Arc::clone(&self.context),
            observers: self.observers.clone(),
            built_in: self.built_in.clone(),
        }
    }
}

impl<R: Resource> fmt::Debug for Resources<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resources")
            .field("kind", &R::KIND)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl<R: Resource> Collection for Resources<R> {
    type Item = R;

    const KIND: &'static str = R::KIND;

    fn create(&self, json: &str, ttl: Option<&str>) -> Result<Arc<R>, ResourceError> {
        let resource = R::read_request(json, &self.defaults())?;
        resource.validate(&*self.context)?;
        let ttl = ttl.filter(|ttl| !ttl.is_empty());
        self.create_valid(resource, ttl.map(go_duration::parse).transpose()?)
    }

    fn get(&self, id: &str) -> Option<Arc<R>> {
        let found = self.store.get(id).or_else(|| self.built_in(id).cloned());
        self.decorate(vec![found?]).pop()
    }

    fn all(&self) -> Result<Vec<Arc<R>>, ResourceError> {
        let mut all = self.decorate(self.store.all());
        all.extend(self.built_in.iter().cloned());
        Ok(all)
    }

    fn id_of(resource: &R) -> String {
        resource.id().to_owned()
    }

    fn patch(&self, id: &str, patch: &str) -> Result<Option<Arc<R>>, PatchError> {
        if self.built_in(id).is_some() {
            return Err(PatchError::Updating(ResourceError::NotUpdatable));
        }
        let defaults = self.defaults();
        let patched = self.store.patch(id, patch, &defaults, &*self.context)?;
        // COMPAT: Skydive: for these kinds, a patch that changes nothing counts as a change.
        let Some(resource) = patched.or_else(|| self.store.get(id)) else {
            return Err(PatchError::NotFound);
        };
        for observer in &self.observers {
            observer.updated(&resource);
        }
        Ok(Some(resource))
    }

    fn delete(&self, id: &str) -> Result<bool, ResourceError> {
        let deleted = self.store.delete(id)?;
        if let Some(resource) = &deleted {
            self.announce_deletion(resource);
        }
        Ok(deleted.is_some())
    }
}

/// Resources of one kind that may have a time to live, without their type.
pub(crate) trait Expirable: Send + Sync {
    /// Returns the name of the kind.
    fn kind(&self) -> &'static str;

    /// Returns the number of resources.
    fn len(&self) -> usize;

    /// Returns the reason if the last change could not be stored; `None` if it was stored.
    fn store_problem(&self) -> Option<String>;

    /// Returns the time at which the next resource expires; `None` if none has a time to live.
    fn next_expiry(&self) -> Option<Timestamp>;

    /// Deletes the resources that have expired at `now`, as a client would; stops at the first
    /// failure.
    fn expire(&self, now: Timestamp) -> Result<(), StoreError>;
}

impl<R: Resource> Expirable for Resources<R> {
    fn kind(&self) -> &'static str {
        R::KIND
    }

    fn len(&self) -> usize {
        Self::len(self)
    }

    fn store_problem(&self) -> Option<String> {
        Self::store_problem(self)
    }

    fn next_expiry(&self) -> Option<Timestamp> {
        self.store.next_expiry()
    }

    fn expire(&self, now: Timestamp) -> Result<(), StoreError> {
        let (expired, outcome) = self.store.expire(now);
        for resource in &expired {
            self.announce_deletion(resource);
        }
        outcome
    }
}

impl ResourceContext {
    fn notify<R: Resource>(&self, kind: &'static str, resource: &R) {
        notify(&self.bus, kind, resource);
    }
}

/// Sends a resource to the subscribers of its notification namespace, if its kind has one.
pub(crate) fn notify<R: Resource>(bus: &Bus<BroadcastMessage>, kind: &'static str, resource: &R) {
    if let Some(namespace) = R::NAMESPACE
        && bus.is_wanted(namespace)
    {
        let json = serde_json::to_vec(resource).unwrap_or_default();
        bus.send(&Arc::new(BroadcastMessage::object(namespace, kind, json)));
    }
}

/// Gremlin expressions are checked by the parser, packet filters by libpcap.
impl ExpressionChecker for ResourceContext {
    fn allows_alert_scripts(&self) -> bool {
        self.alert_scripts
    }

    fn supports_capture_type(&self, capture_type: CaptureType) -> bool {
        !self.local_captures || capture_type.is_built()
    }

    fn check_gremlin(&self, query: &str) -> Result<(), String> {
        Query::parse(query).map(|_| ()).map_err(|e| e.to_string())
    }

    fn check_script(&self, source: &str) -> Result<(), String> {
        (self.check_script)(source)
    }

    fn check_bpf(&self, filter: &str) -> Result<(), String> {
        // The check runs as a separate client, so that no creation of a resource waits for a query
        // or a capture.
        self.queries
            .filters
            .for_client("resources")
            .program(filter, LinkType::ETHERNET, 0, &|| false)
            .map(|_| ())
            .map_err(|e| e.to_string())
    }
}
