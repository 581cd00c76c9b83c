//! The edges of the objects of a namespace.

use std::collections::HashMap;

use super::kind::Kind;
use super::model::{ClusterModel, Members, Part};
use super::network_policy::Direction;
use super::object::{KubernetesObject, MANAGER};
use crate::graph::{Edge, EdgeId, Metadata, NodeId};

/// An edge between two nodes of a cluster.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ModelEdge {
    /// Node where the edge begins.
    pub parent: NodeId,
    /// Node where the edge ends.
    pub child: NodeId,
    /// Metadata, with `RelationType`.
    pub metadata: Metadata,
}

/// Returns the edges of a part of the cluster.
pub(super) fn of_part(model: &ClusterModel, part: &Part) -> HashMap<EdgeId, ModelEdge> {
    let (Part::Objects(namespace) | Part::Policies(namespace)) = part;
    let mut edges = Edges {
        model,
        namespace,
        found: HashMap::new(),
    };
    if let Some(members) = model.members(namespace) {
        match part {
            Part::Objects(_) => {
                edges.add_owners(members);
                edges.add_references(members);
                edges.add_selected(members);
            }
            Part::Policies(_) => edges.add_policies(members),
        }
    }
    edges.found
}

/// The edges of one namespace under construction.
struct Edges<'a> {
    model: &'a ClusterModel,
    namespace: &'a str,
    found: HashMap<EdgeId, ModelEdge>,
}

impl<'a> Edges<'a> {
    /// Adds the ownership edges: of the namespace or the cluster, of pods, and of cron jobs.
    fn add_owners(&mut self, members: &'a Members) {
        let owner = match self.namespace {
            "" => Some(self.model.cluster()),
            name => self
                .shown("", Kind::Namespace, name)
                .map(|object| &object.id),
        };
        for object in self.objects(members) {
            if let Some(owner) = owner
                && object.metadata.is_some()
                && object.kind.is_of_cluster() == self.namespace.is_empty()
            {
                self.add_ownership(owner, &object.id);
            }
            if object.metadata.is_some() {
                for (container, _) in &object.containers {
                    self.add_ownership(&object.id, container);
                }
            }
            for owner in &object.relations.owners {
                if let Some(owner) = self.model.object(owner)
                    && owner.kind == Kind::CronJob
                    && owner.namespace == object.namespace
                {
                    self.add_association(owner, object);
                }
            }
        }
    }

    /// Adds the edges between objects and the objects that they name.
    fn add_references(&mut self, members: &'a Members) {
        for object in self.objects(members) {
            for (kind, name) in &object.relations.references {
                let namespace = match kind.is_of_cluster() {
                    true => "",
                    false => self.namespace,
                };
                let Some(other) = self.shown(namespace, *kind, name) else {
                    continue;
                };
                match kind {
                    Kind::Node => self.add_node_pod(other, object),
                    Kind::StorageClass => self.add_association(other, object),
                    _ => self.add_association(object, other),
                }
            }
        }
    }

    /// Adds the edges of workloads and services to the objects that they select.
    fn add_selected(&mut self, members: &'a Members) {
        let pods = ByLabel::new(self.objects_of(members, Kind::Pod));
        let sets = self.objects_of(members, Kind::ReplicaSet);
        for selecting in self.objects(members) {
            let Some(selector) = &selecting.relations.selector else {
                continue;
            };
            if selecting.kind == Kind::Deployment {
                for set in &sets {
                    if selector.matches(&set.relations.labels) {
                        self.add_association(selecting, set);
                    }
                }
                continue;
            }
            for pod in pods.candidates(selector.exact_label()) {
                if selector.matches(&pod.relations.labels) {
                    self.add_association(selecting, pod);
                }
            }
        }
        let all_endpoints = self.objects_of(members, Kind::Endpoints);
        for service in self.objects_of(members, Kind::Service) {
            let selector = service.relations.selector.as_ref();
            for endpoints in &all_endpoints {
                let labels = &endpoints.relations.labels;
                if service.name == endpoints.name || selector.is_some_and(|s| s.matches(labels)) {
                    self.add_association(service, endpoints);
                }
            }
        }
    }

    /// Adds the edges of network policies to the pods that they concern.
    fn add_policies(&mut self, members: &'a Members) {
        for object in self.objects_of(members, Kind::NetworkPolicy) {
            let Some(policy) = &object.relations.policy else {
                continue;
            };
            for direction in &policy.directions {
                for pod in self.objects_of(members, Kind::Pod) {
                    if policy.pods.matches(&pod.relations.labels) {
                        let edge = direction.edge(&object.id, &pod.id, "begin");
                        self.add(edge, object, pod);
                    }
                }
                let names = match policy.is_across_namespaces() {
                    true => self
                        .model
                        .namespaces()
                        .map(|(name, _)| name.as_str())
                        .collect(),
                    false => vec![self.namespace],
                };
                for name in names {
                    self.add_peers(object, direction, name);
                }
            }
        }
    }

    /// Adds the edges of a network policy to the pods of a namespace that its rules admit.
    fn add_peers(&mut self, policy: &'a KubernetesObject, rules: &Direction, namespace: &str) {
        let id = self.model.find("", Kind::Namespace, namespace);
        let labels = id.and_then(|id| self.model.object(id));
        let labels = labels.map(|object| &object.relations.labels);
        let peers = rules.peers_in(namespace, labels, self.namespace);
        let Some(members) = self.model.members(namespace).filter(|_| !peers.is_empty()) else {
            return;
        };
        for pod in self.objects_of(members, Kind::Pod) {
            if peers.iter().any(|peer| peer.admits(&pod.relations.labels)) {
                let edge = rules.edge(&policy.id, &pod.id, "end");
                self.add(edge, policy, pod);
            }
        }
    }

    fn add_ownership(&mut self, owner: &NodeId, child: &NodeId) {
        let edge = ModelEdge {
            parent: owner.clone(),
            child: child.clone(),
            metadata: Metadata::from_iter([("RelationType", Edge::OWNERSHIP)]),
        };
        self.found
            .insert(EdgeId::derived(&format!("{owner}/{child}")), edge);
    }

    fn add_node_pod(&mut self, node: &KubernetesObject, pod: &KubernetesObject) {
        let id = EdgeId::derived(&format!("{}/{}", node.id, pod.id));
        self.add((id, relation(Kind::Node)), node, pod);
    }

    /// Adds an edge whose relation is named after the kind of its parent.
    fn add_association(&mut self, parent: &KubernetesObject, child: &KubernetesObject) {
        let (a, b, kind) = (&parent.id, &child.id, parent.kind);
        let id = EdgeId::derived(&format!("{a}/{b}/RelationType/{kind}"));
        self.add((id, relation(kind)), parent, child);
    }

    /// Adds an edge if both nodes are shown.
    fn add(
        &mut self,
        (id, metadata): (EdgeId, Metadata),
        parent: &KubernetesObject,
        child: &KubernetesObject,
    ) {
        if parent.metadata.is_some() && child.metadata.is_some() && parent.id != child.id {
            let edge = ModelEdge {
                parent: parent.id.clone(),
                child: child.id.clone(),
                metadata,
            };
            self.found.insert(id, edge);
        }
    }

    /// Returns an object that has a node.
    fn shown(&self, namespace: &str, kind: Kind, name: &str) -> Option<&'a KubernetesObject> {
        let object = self.model.object(self.model.find(namespace, kind, name)?)?;
        object.metadata.is_some().then_some(object)
    }

    fn objects(&self, members: &'a Members) -> Vec<&'a KubernetesObject> {
        let ids = members.values().flat_map(|names| names.values());
        ids.filter_map(|id| self.model.object(id)).collect()
    }

    fn objects_of(&self, members: &'a Members, kind: Kind) -> Vec<&'a KubernetesObject> {
        let ids = members
            .get(&kind)
            .into_iter()
            .flat_map(|names| names.values());
        ids.filter_map(|id| self.model.object(id)).collect()
    }
}

/// Returns the metadata of an edge whose relation is named after a kind.
pub(super) fn relation(kind: Kind) -> Metadata {
    Metadata::from_iter([("Manager", MANAGER), ("RelationType", kind.name())])
}

/// Pods by each of their labels.
struct ByLabel<'a> {
    all: Vec<&'a KubernetesObject>,
    by_label: HashMap<(&'a str, &'a str), Vec<&'a KubernetesObject>>,
}

impl<'a> ByLabel<'a> {
    fn new(all: Vec<&'a KubernetesObject>) -> Self {
        let mut by_label: HashMap<_, Vec<_>> = HashMap::new();
        for pod in &all {
            for (key, value) in &pod.relations.labels {
                by_label
                    .entry((key.as_str(), value.as_str()))
                    .or_default()
                    .push(*pod);
            }
        }
        Self { all, by_label }
    }

    /// Returns the pods with a label, or all pods without one.
    fn candidates(&self, label: Option<(&'a str, &'a str)>) -> &[&'a KubernetesObject] {
        match label {
            None => &self.all,
            Some(label) => self.by_label.get(&label).map_or(&[], Vec::as_slice),
        }
    }
}
