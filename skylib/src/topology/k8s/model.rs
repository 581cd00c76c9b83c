//! `ClusterModel`: the objects of a cluster, and the nodes and edges that show them. Performs no
//! I/O.
//!
//! Edges are computed for one namespace at a time, and only for namespaces in which an object has
//! appeared, disappeared, or changed a part that edges depend on ([`Relations`]): a new status of a
//! pod changes one node and no edge. Pods are found by one label of a selector, so the edges of a
//! namespace cost time in proportion to their number in usual cases.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::edges::{self, ModelEdge};
use super::kind::Kind;
use super::object::{KubernetesObject, Mapping, common_fields, node_metadata};
use super::selector::Labels;
use crate::graph::{EdgeId, Metadata, NodeId};

/// The objects of a cluster.
///
/// ```
/// use skylib::topology::k8s::{ClusterModel, Kind, Kinds, KubernetesObject, Mapping};
///
/// let mapping = Mapping::new("lab", Kinds::ALL);
/// let mut model = ClusterModel::new(mapping.clone());
/// let json = br#"{"metadata":{"uid":"7a","name":"web"}}"#;
/// model.set(KubernetesObject::parse(Kind::Namespace, json, &mapping)?);
/// let changes = model.take_changes();
/// assert_eq!(changes.nodes.len(), 2, "the cluster and the namespace");
/// assert_eq!(changes.edges.len(), 1, "the cluster owns the namespace");
/// assert!(model.take_changes().nodes.is_empty());
/// # Ok::<(), skylib::topology::k8s::ObjectError>(())
/// ```
#[derive(Debug)]
pub struct ClusterModel {
    mapping: Mapping,
    cluster: NodeId,
    objects: HashMap<NodeId, KubernetesObject>,
    /// Objects by namespace; the objects of the cluster have the namespace "".
    namespaces: BTreeMap<String, Members>,
    edges: HashMap<Part, HashMap<EdgeId, ModelEdge>>,
    /// Edges that must be computed again.
    dirty: BTreeSet<Part>,
    /// Namespaces of the network policies that refer to pods of other namespaces.
    across: HashMap<NodeId, String>,
    /// Nodes that have changed, with their metadata before and after the changes.
    changed: HashMap<NodeId, (Option<Metadata>, Option<Metadata>)>,
    /// Approximate size of the metadata of all nodes, in bytes.
    bytes: usize,
    /// Objects that are not shown because of the limits.
    omitted: HashMap<NodeId, Kind>,
    /// Number of edges that are not shown because of the limit.
    omitted_edges: HashMap<Part, usize>,
}

/// Edges that are computed together, because they depend on the same objects. The objects of the
/// cluster have the namespace "".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    /// Edges of the objects of a namespace, except network policies to pods.
    Objects(String),
    /// Edges of the network policies of a namespace to pods of all namespaces.
    Policies(String),
}

/// Identifiers of the objects of a namespace by kind and name.
pub(super) type Members = BTreeMap<Kind, BTreeMap<String, NodeId>>;

/// Nodes and edges that have changed since the last call.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Changes {
    /// Nodes with their former and their new metadata; `None` for a missing node.
    pub nodes: Vec<(NodeId, Option<Metadata>, Option<Metadata>)>,
    /// Edges; `None` for a deleted edge.
    pub edges: Vec<(EdgeId, Option<ModelEdge>)>,
}

impl ClusterModel {
    /// Returns a cluster without objects.
    #[must_use]
    pub fn new(mapping: Mapping) -> Self {
        let cluster = NodeId::derived(&format!("k8s/{}", mapping.cluster));
        let mut model = Self {
            mapping,
            cluster,
            objects: HashMap::new(),
            namespaces: BTreeMap::new(),
            edges: HashMap::new(),
            dirty: BTreeSet::new(),
            across: HashMap::new(),
            changed: HashMap::new(),
            bytes: 0,
            omitted: HashMap::new(),
            omitted_edges: HashMap::new(),
        };
        let metadata = model.cluster_metadata();
        model
            .changed
            .insert(model.cluster.clone(), (None, Some(metadata)));
        model
    }

    /// Returns the settings of the conversion of objects.
    #[must_use]
    pub const fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Makes the cluster contain exactly these objects of a kind.
    pub fn replace(&mut self, kind: Kind, objects: Vec<KubernetesObject>) {
        self.omitted.retain(|_, omitted| *omitted != kind);
        let listed: BTreeSet<NodeId> = objects.iter().map(|object| object.id.clone()).collect();
        let missing: Vec<NodeId> = self
            .objects
            .values()
            .filter(|object| object.kind == kind && !listed.contains(&object.id))
            .map(|object| object.id.clone())
            .collect();
        for id in missing {
            self.remove(&id);
        }
        for object in objects {
            self.set(object);
        }
    }

    /// Adds or changes an object.
    pub fn set(&mut self, object: KubernetesObject) {
        let former = self.objects.get(&object.id);
        let is_moved = former.is_some_and(|former| {
            (former.kind, &former.name, &former.namespace)
                != (object.kind, &object.name, &object.namespace)
        });
        // An object with the name of another one replaces it: its deletion has not been seen yet.
        let namesake = self.find(&object.namespace, object.kind, &object.name);
        let namesake = namesake.filter(|id| **id != object.id).cloned();
        if is_moved {
            self.remove(&object.id.clone());
        }
        if let Some(id) = namesake {
            self.remove(&id);
        }
        let former = self.objects.remove(&object.id);
        let former_bytes = former.as_ref().map_or(0, KubernetesObject::bytes);
        let bytes = self.bytes - former_bytes + object.bytes();
        let is_full = bytes > MAX_BYTES || self.objects.len() >= MAX_OBJECTS;
        if is_full || object.id == self.cluster {
            self.omitted.insert(object.id.clone(), object.kind);
            if let Some(former) = former {
                self.forget(&former);
            }
            return;
        }
        self.bytes = bytes;
        self.omitted.remove(&object.id);
        if !former
            .as_ref()
            .is_some_and(|former| former.has_edges_of(&object))
        {
            self.mark(&object);
        }
        self.note_nodes(former.as_ref(), Some(&object));
        if object.is_across_namespaces() {
            self.across
                .insert(object.id.clone(), object.namespace.clone());
        } else {
            self.across.remove(&object.id);
        }
        let members = self.namespaces.entry(object.namespace.clone()).or_default();
        let kind = members.entry(object.kind).or_default();
        kind.insert(object.name.clone(), object.id.clone());
        self.objects.insert(object.id.clone(), object);
    }

    /// Removes an object; does nothing if it is unknown.
    pub fn remove(&mut self, id: &NodeId) {
        self.omitted.remove(id);
        if let Some(former) = self.objects.remove(id) {
            self.forget(&former);
        }
    }

    /// Removes the index entries of an object that has been removed from `objects`.
    fn forget(&mut self, former: &KubernetesObject) {
        self.bytes -= former.bytes();
        self.across.remove(&former.id);
        if let Some(members) = self.namespaces.get_mut(&former.namespace) {
            if let Some(names) = members.get_mut(&former.kind) {
                names.remove(&former.name);
                if names.is_empty() {
                    members.remove(&former.kind);
                }
            }
            if members.is_empty() {
                self.namespaces.remove(&former.namespace);
            }
        }
        self.mark(former);
        self.note_nodes(Some(former), None);
    }

    /// Marks the namespaces whose edges an object can change by appearing, by disappearing, or by a
    /// change to its relations.
    fn mark(&mut self, object: &KubernetesObject) {
        self.dirty.insert(Part::Objects(object.namespace.clone()));
        let referring = match object.kind {
            Kind::Node => Some(Kind::Pod),
            Kind::PersistentVolume | Kind::StorageClass => Some(Kind::PersistentVolumeClaim),
            _ => None,
        };
        if let Some(kind) = referring {
            let namespaces = self.namespaces.iter();
            let referring = namespaces.filter(|(_, members)| members.contains_key(&kind));
            let parts = referring.map(|(name, _)| Part::Objects(name.clone()));
            self.dirty.extend(parts);
        }
        if object.kind == Kind::Namespace {
            self.dirty.insert(Part::Objects(object.name.clone()));
        }
        if matches!(object.kind, Kind::Pod | Kind::NetworkPolicy) {
            self.dirty.insert(Part::Policies(object.namespace.clone()));
        }
        if matches!(object.kind, Kind::Pod | Kind::Namespace) {
            let across = self.across.values().cloned();
            self.dirty.extend(across.map(Part::Policies));
        }
    }

    /// Records the nodes of an object that differ from the former ones.
    fn note_nodes(&mut self, former: Option<&KubernetesObject>, new: Option<&KubernetesObject>) {
        let nodes = |object: Option<&KubernetesObject>| -> HashMap<NodeId, Metadata> {
            let nodes = object.into_iter().flat_map(KubernetesObject::nodes);
            nodes
                .map(|(id, metadata)| (id.clone(), metadata.clone()))
                .collect()
        };
        let (former, mut new) = (nodes(former), nodes(new));
        for (id, metadata) in former {
            let wanted = new.remove(&id);
            if wanted.as_ref() != Some(&metadata) {
                self.changed.entry(id).or_insert((Some(metadata), None)).1 = wanted;
            }
        }
        for (id, metadata) in new {
            self.changed.entry(id).or_default().1 = Some(metadata);
        }
    }

    /// Returns the nodes and edges that have changed since the last call.
    pub fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        for (id, (former, wanted)) in std::mem::take(&mut self.changed) {
            if former != wanted {
                changes.nodes.push((id, former, wanted));
            }
        }
        for part in std::mem::take(&mut self.dirty) {
            self.update_edges(part, &mut changes.edges);
        }
        changes
    }

    /// Recomputes the edges of one part, and appends the differences to `changes`.
    fn update_edges(&mut self, part: Part, changes: &mut Vec<(EdgeId, Option<ModelEdge>)>) {
        let former = self.edges.remove(&part).unwrap_or_default();
        let count: usize = self.edges.values().map(HashMap::len).sum();
        let mut wanted = edges::of_part(self, &part);
        let allowed = MAX_EDGES.saturating_sub(count);
        self.omitted_edges.remove(&part);
        if wanted.len() > allowed {
            let omitted = wanted.len() - allowed;
            self.omitted_edges.insert(part.clone(), omitted);
            wanted = wanted.into_iter().take(allowed).collect();
        }
        for (id, edge) in &former {
            if wanted.get(id) != Some(edge) {
                changes.push((id.clone(), None));
            }
        }
        for (id, edge) in &wanted {
            if former.get(id) != Some(edge) {
                changes.push((id.clone(), Some(edge.clone())));
            }
        }
        if !wanted.is_empty() {
            self.edges.insert(part, wanted);
        }
    }

    fn cluster_metadata(&self) -> Metadata {
        let name = &self.mapping.cluster;
        let fields = common_fields(name, "", &Labels::new());
        node_metadata(Kind::Cluster, name, fields, &self.mapping)
    }

    /// Returns all nodes.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, Metadata)> {
        let objects = self.objects.values().flat_map(KubernetesObject::nodes);
        let objects = objects.map(|(id, metadata)| (id.clone(), metadata.clone()));
        let cluster = (self.cluster.clone(), self.cluster_metadata());
        std::iter::once(cluster).chain(objects)
    }

    /// Returns all edges; those of objects that have changed since the last call of
    /// [`ClusterModel::take_changes`] are not up to date.
    pub fn edges(&self) -> impl Iterator<Item = (&EdgeId, &ModelEdge)> {
        self.edges.values().flatten()
    }

    /// Returns the number of objects that are not shown because of the limits.
    #[must_use]
    pub fn omitted(&self) -> usize {
        self.omitted.len()
    }

    /// Returns the number of edges that are not shown because of the limit.
    #[must_use]
    pub fn omitted_edges(&self) -> usize {
        self.omitted_edges.values().sum()
    }

    pub(super) const fn cluster(&self) -> &NodeId {
        &self.cluster
    }

    pub(super) fn members(&self, namespace: &str) -> Option<&Members> {
        self.namespaces.get(namespace)
    }

    pub(super) fn namespaces(&self) -> impl Iterator<Item = (&String, &Members)> {
        self.namespaces.iter()
    }

    pub(super) fn object(&self, id: &NodeId) -> Option<&KubernetesObject> {
        self.objects.get(id)
    }

    pub(super) fn find(&self, namespace: &str, kind: Kind, name: &str) -> Option<&NodeId> {
        self.namespaces.get(namespace)?.get(&kind)?.get(name)
    }
}

/// Maximum number of objects of a cluster.
const MAX_OBJECTS: usize = 200_000;

/// Maximum size of the metadata of all objects, in bytes, approximately.
const MAX_BYTES: usize = 512 << 20;

/// Maximum number of edges of a cluster.
const MAX_EDGES: usize = 1_000_000;
