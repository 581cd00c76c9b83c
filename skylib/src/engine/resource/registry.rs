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
    /// Number of nodes in the graph at which clients can no longer create nodes.
    pub nodes: usize,
    /// Number of edges in the graph at which clients can no longer create edges.
    pub edges: usize,
    /// Maximum size of the resources of each kind except nodes and edges, in bytes.
    pub bytes: usize,
}

impl Default for ResourceLimits {
    /// Returns limits of 1 000 resources and 64 MiB for each kind, 10 000 rules, 1 000 000 nodes,
    /// and 4 000 000 edges.
    fn default() -> Self {
        Self {
            captures: 1_000,
            injections: 1_000,
            alerts: 1_000,
            workflows: 1_000,
            node_rules: 10_000,
            edge_rules: 10_000,
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
    with_nodes: nodes, "Sets the number of nodes at which clients can no longer create nodes.";
    with_edges: edges, "Sets the number of edges at which clients can no longer create edges.";
    with_bytes: bytes, "Sets the maximum size of the resources of each kind, in bytes.";
}

/// Defines the registry: one field of [`Resources`] for each kind, and the operations on all kinds.
/// The limit of a kind is the field of [`ResourceLimits`] with the same name.
macro_rules! registry {
    ($($field:ident: $resource:ty,)*) => {
        /// The resources of all kinds.
        pub(crate) struct Registry {
            $(pub(crate) $field: Resources<$resource>,)*
            pub(crate) nodes: GraphElements<Node>,
            pub(crate) edges: GraphElements<Edge>,
        }

        /// Observer of the resources of every kind except nodes and edges.
        pub(crate) trait ObserverOfAll: $(Observer<$resource> +)* 'static {}

        impl<T> ObserverOfAll for T where T: $(Observer<$resource> +)* 'static {}

        impl Registry {
            /// Loads the stored resources; `host` is the identity of this host.
            ///
            /// # Errors
            /// Returns an error if the store cannot be read.
            pub(crate) fn open(
                documents: &Arc<dyn DocStore>,
                limits: ResourceLimits,
                host: &str,
                context: ResourceContext,
            ) -> Result<Self, StoreError> {
                let nodes = GraphElements::new(&context, host, limits.nodes);
                let edges = GraphElements::new(&context, host, limits.edges);
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

    /// Returns the reason if the last change to a resource of some kind could not be stored; `None`
    /// if all changes were stored.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::*;
    use crate::capture::BpfCompiler;
    use crate::engine::flow::{FlowHub, FlowOptions};
    use crate::engine::graph::SharedGraph;
    use crate::engine::query::QueryRunner;
    use crate::engine::resource::Collection;
    use crate::flow::LayerKeyMode;
    use crate::graph::Graph;
    use crate::gremlin::Limits;
    use crate::memory::MemoryBudget;
    use crate::store::MemoryDocStore;
    use crate::time::{Clock, ManualClock, Timestamp};

    /// Records the changes that it observes, with a name.
    struct Recorder(&'static str, Arc<Mutex<Vec<String>>>);

    impl<R: Resource> Observer<R> for Recorder {
        fn created(&self, _: &R, expires_at: Option<Timestamp>) {
            let Self(name, records) = self;
            let expiry = expires_at.map(Timestamp::as_ms);
            records
                .lock()
                .push(format!("{name} created {} {expiry:?}", R::KIND));
        }

        fn deleted(&self, _: &R) {
            let Self(name, records) = self;
            records.lock().push(format!("{name} deleted {}", R::KIND));
        }
    }

    fn registry(clock: &Arc<ManualClock>) -> Registry {
        let clock: Arc<dyn Clock> = Arc::clone(clock) as _;
        let graph = SharedGraph::new(Graph::new(), Arc::clone(&clock), Vec::new());
        let queries = QueryRunner {
            graph: Arc::new(graph),
            flows: Arc::new(FlowHub::new(FlowOptions::default())),
            clock,
            time_zone: jiff::tz::TimeZone::UTC,
            limits: Limits::default(),
            filters: BpfCompiler::default(),
            activities: Arc::default(),
        };
        let context = ResourceContext {
            queries,
            bus: Arc::default(),
            layer_key_mode: LayerKeyMode::default(),
            memory: MemoryBudget::unlimited(),
            alert_scripts: true,
            check_script: |_| Ok(()),
            local_captures: true,
        };
        let documents: Arc<dyn DocStore> = Arc::new(MemoryDocStore::default());
        Registry::open(&documents, ResourceLimits::default(), "h", context).unwrap()
    }

    #[test]
    fn observers_are_called_in_the_order_of_their_registration() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_ms(1_000)));
        let mut registry = registry(&clock);
        let records = Arc::<Mutex<Vec<String>>>::default();
        let own = Recorder("own", Arc::clone(&records));
        registry.alerts.observe(Arc::new(own));
        registry.observe(&Arc::new(Recorder("all", Arc::clone(&records))));
        let take = || std::mem::take(&mut *records.lock());

        let alert = r#"{"Expression": "G.V()", "Trigger": "graph"}"#;
        let alert = registry.alerts.create(alert, Some("2500ms")).unwrap();
        let wanted = [
            "own created alert Some(3000)",
            "all created alert Some(3000)",
        ];
        assert_eq!(take(), wanted);
        assert!(registry.alerts.delete(&alert.uuid).unwrap());
        assert_eq!(take(), ["own deleted alert", "all deleted alert"]);

        let rule = r#"{"Action": "update", "Query": "G.V()", "Metadata": {"Color": "red"}}"#;
        let rule = registry.node_rules.create(rule, Some("2500ms")).unwrap();
        assert_eq!(registry.counts()["noderule"], 1);
        assert_eq!(take(), ["all created noderule Some(3000)"]);
        clock.advance(Duration::from_secs(10));
        for resources in registry.all() {
            resources.expire(clock.now()).unwrap();
        }
        assert_eq!(take(), ["all deleted noderule"]);
        assert!(registry.node_rules.get(&rule.uuid).is_none());
    }
}
