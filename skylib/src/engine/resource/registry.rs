//! `Registry`: the resources of an engine, one collection for each kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::graph_elements::GraphElements;
use super::observer::Observer;
use super::resources::{Expirable, ResourceContext, Resources};
use crate::api::{
    AlertSpec, CaptureSpec, EdgeRule, Injection, NodeRule, Resource, ResourceStore, Workflow,
};
use crate::graph::{Edge, Node};
use crate::store::{DocStore, StoreError};

/// Limits on the number and the size of resources.
///
/// ```
/// use skylib::engine::ResourceLimits;
/// let limits = ResourceLimits::default().with_captures(100);
/// assert_eq!(limits.alerts, 1_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceLimits {
    /// Maximum number of captures.
    pub captures: usize,
    /// Maximum number of packet injections.
    pub injections: usize,
    /// Maximum number of alerts.
    pub alerts: usize,
    /// Maximum number of workflows.
    pub workflows: usize,
    /// Maximum number of node rules.
    pub node_rules: usize,
    /// Maximum number of edge rules.
    pub edge_rules: usize,
    /// Number of nodes in the graph from which on clients cannot create more.
    pub nodes: usize,
    /// Number of edges in the graph from which on clients cannot create more.
    pub edges: usize,
    /// Maximum size of the resources of each kind but nodes and edges, in bytes.
    pub bytes: usize,
}

impl Default for ResourceLimits {
    /// Returns limits of 1 000 resources and 64 MiB for each kind, 1 000 000 nodes, and 4 000 000
    /// edges.
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

/// Generates one `with_*` setter for each limit.
macro_rules! setters {
    ($($setter:ident: $field:ident, $doc:literal;)*) => {
        impl ResourceLimits {
            $(
                #[doc = $doc]
                #[must_use]
                pub const fn $setter(mut self, $field: usize) -> Self {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}

setters! {
    with_captures: captures, "Sets the maximum number of captures.";
    with_injections: injections, "Sets the maximum number of packet injections.";
    with_alerts: alerts, "Sets the maximum number of alerts.";
    with_workflows: workflows, "Sets the maximum number of workflows.";
    with_node_rules: node_rules, "Sets the maximum number of node rules.";
    with_edge_rules: edge_rules, "Sets the maximum number of edge rules.";
    with_nodes: nodes, "Sets the number of nodes from which on clients cannot create more.";
    with_edges: edges, "Sets the number of edges from which on clients cannot create more.";
    with_bytes: bytes, "Sets the maximum size of the resources of each kind, in bytes.";
}

/// Defines the registry: one field of [`Resources`] for each kind, and what has to be done for all
/// of them. The limit of a kind is the field of [`ResourceLimits`] with the same name.
macro_rules! registry {
    ($($field:ident: $resource:ty,)*) => {
        /// The resources of all kinds.
        pub(crate) struct Registry {
            $(pub(crate) $field: Resources<$resource>,)*
            pub(crate) nodes: GraphElements<Node>,
            pub(crate) edges: GraphElements<Edge>,
        }

        /// An observer of the resources of every kind but nodes and edges.
        pub(crate) trait ObserverOfAll: $(Observer<$resource> +)* 'static {}

        impl<T> ObserverOfAll for T where T: $(Observer<$resource> +)* 'static {}

        impl Registry {
            /// Loads the stored resources, for a host with this id.
            ///
            /// # Errors
            /// Returns an error if the store cannot be read.
            pub(crate) fn open(
                documents: &Arc<dyn DocStore>,
                limits: ResourceLimits,
                host: &str,
                context: ResourceContext,
            ) -> Result<Self, StoreError> {
                let (graph, clock) = (&context.queries.graph, &context.queries.clock);
                let nodes = GraphElements::new(graph, clock, host, limits.nodes);
                let edges = GraphElements::new(graph, clock, host, limits.edges);
                let context = Arc::new(context);
                Ok(Self {
                    $($field: open(documents, limits.$field, limits.bytes, &context)?,)*
                    nodes,
                    edges,
                })
            }

            /// Registers an observer for every kind.
            pub(crate) fn observe<O: ObserverOfAll>(&mut self, observer: &Arc<O>) {
                $(self.$field.observe(Arc::clone(observer) as Arc<dyn Observer<$resource>>);)*
            }

            /// Returns the resources of each kind, without their type.
            pub(crate) fn all(&self) -> Vec<Arc<dyn Expirable>> {
                vec![$(Arc::new(self.$field.clone()),)*]
            }
        }
    };
}

registry! {
    captures: CaptureSpec,
    injections: Injection,
    alerts: AlertSpec,
    workflows: Workflow,
    node_rules: NodeRule,
    edge_rules: EdgeRule,
}

impl Registry {
    /// Returns the number of resources of each kind, by the kind's name.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, usize> {
        let all = self.all();
        all.iter()
            .map(|resources| (resources.kind(), resources.len()))
            .collect()
    }

    /// Returns why the last change of some kind could not be stored, or `None` if all were.
    pub(crate) fn store_problem(&self) -> Option<String> {
        self.all()
            .iter()
            .find_map(|resources| resources.store_problem())
    }
}

fn open<R: Resource>(
    documents: &Arc<dyn DocStore>,
    limit: usize,
    max_bytes: usize,
    context: &Arc<ResourceContext>,
) -> Result<Resources<R>, StoreError> {
    let (store, unreadable) = ResourceStore::open(Arc::clone(documents))?;
    for document in unreadable {
        let (kind, id, reason) = (R::KIND, document.id, document.reason);
        tracing::error!(
            kind,
            id,
            reason,
            "skipped a stored resource that cannot be read"
        );
    }
    let store = store.with_limit(limit).with_max_bytes(max_bytes);
    Ok(Resources::new(Arc::new(store), Arc::clone(context)))
}
