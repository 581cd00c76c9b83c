//! The resources of an engine, kind by kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::collection::Collection;
use super::graph_elements::Elements;
use super::resources::{Resources, Surroundings, Watcher};
use crate::api::{
    AlertSpec, CaptureSpec, EdgeRule, Injection, NodeRule, Resource, ResourceStore, Workflow,
};
use crate::engine::capture::mailbox::Controller;
use crate::engine::expiry::Expiry;
use crate::graph::{Edge, Node};
use crate::store::{DocStore, StoreError};

/// How many resources of each kind there may be.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ResourceLimits {
    /// Captures kept.
    pub captures: usize,
    /// Packet injections kept.
    pub injections: usize,
    /// Alerts kept.
    pub alerts: usize,
    /// Workflows kept.
    pub workflows: usize,
    /// Node rules kept.
    pub node_rules: usize,
    /// Edge rules kept.
    pub edge_rules: usize,
    /// Nodes in the graph for clients to add another.
    pub nodes: usize,
    /// Edges in the graph for clients to add another.
    pub edges: usize,
    /// Bytes that the resources of each other kind may take.
    pub bytes: usize,
}

impl Default for ResourceLimits {
    fn default() -> Self {
        Self {
            captures: 1_000,
            injections: 1_000,
            alerts: 1_000,
            workflows: 1_000,
            node_rules: 1_000,
            edge_rules: 1_000,
            nodes: 1_000_000,
            edges: 4_000_000,
            bytes: 64 << 20,
        }
    }
}

/// All resources.
pub(crate) struct Kinds {
    pub(crate) captures: Resources<CaptureSpec>,
    pub(crate) injections: Resources<Injection>,
    pub(crate) alerts: Resources<AlertSpec>,
    pub(crate) workflows: Resources<Workflow>,
    pub(crate) node_rules: Resources<NodeRule>,
    pub(crate) edge_rules: Resources<EdgeRule>,
    pub(crate) nodes: Elements<Node>,
    pub(crate) edges: Elements<Edge>,
}

impl Kinds {
    /// Loads what is kept, and gives the captures' own store to whoever starts them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn open(
        documents: &Arc<dyn DocStore>,
        limits: ResourceLimits,
        host: &str,
        surroundings: Surroundings,
        controller: &Arc<Controller>,
    ) -> Result<(Self, Arc<ResourceStore<CaptureSpec>>), StoreError> {
        let graph = &surroundings.queries.graph;
        let clock = &surroundings.queries.clock;
        let elements = (Arc::clone(graph), Arc::clone(clock), host.to_owned());
        let open = Opening {
            documents,
            max_bytes: limits.bytes,
            surroundings: Arc::new(surroundings),
            controller,
        };
        let captures = open.store(limits.captures)?;
        let kinds = Self {
            captures: open.resources(Arc::clone(&captures)),
            injections: open.resources(open.store(limits.injections)?),
            alerts: open.resources(open.store(limits.alerts)?),
            workflows: open.resources(open.store(limits.workflows)?),
            node_rules: open.resources(open.store(limits.node_rules)?),
            edge_rules: open.resources(open.store(limits.edge_rules)?),
            nodes: Elements::new(&elements, limits.nodes),
            edges: Elements::new(&elements, limits.edges),
        };
        Ok((kinds, captures))
    }

    /// What ends the resources of each kind in time.
    pub(crate) fn expiries(&self) -> Vec<Expiry> {
        vec![
            Expiry::new(Arc::new(self.captures.clone())),
            Expiry::new(Arc::new(self.injections.clone())),
            Expiry::new(Arc::new(self.alerts.clone())),
            Expiry::new(Arc::new(self.workflows.clone())),
            Expiry::new(Arc::new(self.node_rules.clone())),
            Expiry::new(Arc::new(self.edge_rules.clone())),
        ]
    }

    /// How many of each kind are kept, by its name.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, usize> {
        BTreeMap::from([
            counted(&self.captures),
            counted(&self.injections),
            counted(&self.alerts),
            counted(&self.workflows),
            counted(&self.node_rules),
            counted(&self.edge_rules),
        ])
    }

    /// Why the last change of some kind could not be kept, if it could not.
    pub(crate) fn store_problem(&self) -> Option<String> {
        self.captures
            .store_problem()
            .or_else(|| self.injections.store_problem())
            .or_else(|| self.alerts.store_problem())
            .or_else(|| self.workflows.store_problem())
            .or_else(|| self.node_rules.store_problem())
            .or_else(|| self.edge_rules.store_problem())
    }
}

fn counted<R: Resource>(resources: &Resources<R>) -> (&'static str, usize) {
    (<Resources<R> as Collection>::KIND, resources.len())
}

struct Opening<'a> {
    documents: &'a Arc<dyn DocStore>,
    max_bytes: usize,
    surroundings: Arc<Surroundings>,
    controller: &'a Arc<Controller>,
}

impl Opening<'_> {
    fn store<R: Resource>(&self, limit: usize) -> Result<Arc<ResourceStore<R>>, StoreError> {
        let (store, unreadable) = ResourceStore::open(Arc::clone(self.documents))?;
        for document in unreadable {
            let (kind, id, reason) = (R::KIND, document.id, document.reason);
            tracing::error!(kind, id, reason, "kept resource left out");
        }
        let store = store.with_limit(limit).with_max_bytes(self.max_bytes);
        Ok(Arc::new(store))
    }

    fn resources<R: Resource>(&self, store: Arc<ResourceStore<R>>) -> Resources<R>
    where
        Controller: Watcher<R>,
    {
        let watcher = Arc::clone(self.controller);
        Resources::new(store, Arc::clone(&self.surroundings), watcher)
    }
}
