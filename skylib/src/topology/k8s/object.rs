//! `KubernetesObject`: an object of the Kubernetes API as nodes, and the parts that determine its
//! edges. Converts JSON to metadata and performs no I/O.

use serde_json::Value as Json;

use super::fields::{add_fields, state, to_value};
use super::kind::{Kind, Kinds};
use super::network_policy::Policy;
use super::selector::{Labels, Selector};
use crate::graph::{Metadata, NodeId};
use crate::value::{Map, Value};

/// Settings of the conversion of objects to nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mapping {
    /// Name of the cluster; the key `ClusterName` of each node.
    pub cluster: String,
    /// Kinds that the graph shows.
    pub kinds: Kinds,
}

impl Mapping {
    /// Returns the settings of a cluster.
    pub fn new(cluster: impl Into<String>, kinds: Kinds) -> Self {
        Self {
            cluster: cluster.into(),
            kinds,
        }
    }
}

/// An object of the Kubernetes API.
///
/// ```
/// use skylib::topology::k8s::{Kind, Kinds, KubernetesObject, Mapping};
///
/// let mapping = Mapping::new("lab", Kinds::ALL);
/// let json = br#"{"metadata":{"uid":"7a","name":"web"},"status":{"phase":"Active"}}"#;
/// let namespace = KubernetesObject::parse(Kind::Namespace, json, &mapping)?;
/// assert_eq!(namespace.id().to_string(), "7a");
/// # Ok::<(), skylib::topology::k8s::ObjectError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct KubernetesObject {
    pub(super) kind: Kind,
    pub(super) id: NodeId,
    pub(super) name: String,
    /// Namespace; empty for objects of the cluster.
    pub(super) namespace: String,
    /// Version of the object, for the next watch.
    pub(super) version: String,
    /// Metadata of the node; `None` if the kind is not shown.
    pub(super) metadata: Option<Metadata>,
    /// Nodes of the containers of a pod.
    pub(super) containers: Vec<(NodeId, Metadata)>,
    pub(super) relations: Relations,
}

/// The parts of an object that determine its edges. As long as they are equal, so are the edges.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Relations {
    pub(super) labels: Labels,
    /// Selector of the pods (or replica sets) of a workload or a service.
    pub(super) selector: Option<Selector>,
    /// Objects that the object names, with their kind.
    pub(super) references: Vec<(Kind, String)>,
    /// Identifiers of the owners.
    pub(super) owners: Vec<NodeId>,
    pub(super) policy: Option<Policy>,
}

/// Reason why an object is not shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// The text is not JSON.
    #[error("the object is malformed")]
    Json(#[from] serde_json::Error),
    /// A required key is missing, empty, too long, or not a string.
    #[error("the object has no valid {0}")]
    Missing(&'static str),
    /// Values are nested too deeply.
    #[error("the object is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

impl KubernetesObject {
    /// Parses an object of a kind that has a path in the Kubernetes API.
    ///
    /// # Errors
    /// Returns an error if the text is not such an object.
    pub fn parse(kind: Kind, json: &[u8], mapping: &Mapping) -> Result<Self, ObjectError> {
        let mut object: Json = serde_json::from_slice(json)?;
        if is_deeper(&object, MAX_DEPTH) {
            return Err(ObjectError::TooDeep);
        }
        let id = NodeId::from(name_in(&object, "uid")?);
        let name = name_in(&object, "name")?.to_owned();
        let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
        let namespace = match kind.is_of_cluster() {
            true => String::new(),
            false => text("namespace").to_owned(),
        };
        let version = text("resourceVersion").to_owned();
        let relations = Relations::of(kind, &object);
        let is_cut = json.len() > MAX_EXTRA_BYTES;
        let is_shown = |kind| mapping.kinds.contains(kind);
        let containers = match kind == Kind::Pod && is_shown(Kind::Container) {
            true => containers(&object, &id, mapping, is_cut),
            false => Vec::new(),
        };
        let metadata = is_shown(kind).then(|| {
            let mut fields = common_fields(&name, &namespace, &relations.labels);
            add_fields(kind, &object, &mut fields);
            if !is_cut {
                redact(kind, &mut object);
                fields.set("Extra", to_value(&object));
            }
            let mut metadata = node_metadata(kind, &name, fields, mapping);
            if let Some(state) = state(kind, &object) {
                metadata.set("State", state);
            }
            metadata
        });
        Ok(Self {
            kind,
            id,
            name,
            namespace,
            version,
            metadata,
            containers,
            relations,
        })
    }

    /// Returns the identifier of the object, which is also the identifier of its node.
    #[must_use]
    pub const fn id(&self) -> &NodeId {
        &self.id
    }

    /// Returns the metadata of the nodes of the object and of its containers.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeId, &Metadata)> {
        let containers = self.containers.iter().map(|(id, metadata)| (id, metadata));
        let own = self.metadata.iter().map(|metadata| (&self.id, metadata));
        own.chain(containers)
    }
}

impl KubernetesObject {
    /// Returns the approximate size of the metadata of all nodes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.nodes()
            .map(|(_, metadata)| metadata.heap_bytes())
            .sum()
    }

    /// Returns whether the object has the same edges as another version of it.
    pub(super) fn has_edges_of(&self, other: &Self) -> bool {
        let containers = |object: &Self| {
            let ids = object.containers.iter().map(|(id, _)| id.clone());
            ids.collect::<Vec<_>>()
        };
        self.relations == other.relations && containers(self) == containers(other)
    }

    /// Returns whether the object is a network policy with rules about other namespaces.
    pub(super) fn is_across_namespaces(&self) -> bool {
        let policy = self.relations.policy.as_ref();
        policy.is_some_and(Policy::is_across_namespaces)
    }
}

impl Relations {
    fn of(kind: Kind, object: &Json) -> Self {
        let spec = &object["spec"];
        let owners = object["metadata"]["ownerReferences"].as_array();
        let owners = owners.into_iter().flatten();
        let owners = owners.filter_map(|owner| Some(NodeId::from(owner["uid"].as_str()?)));
        Self {
            labels: labels(object),
            selector: match kind {
                Kind::Service | Kind::ReplicationController => {
                    // Without a selector, the endpoints are managed by other programs.
                    Some(Selector::of_map(&spec["selector"])).filter(|s| !s.is_empty())
                }
                Kind::Deployment
                | Kind::ReplicaSet
                | Kind::DaemonSet
                | Kind::StatefulSet
                | Kind::Job => spec["selector"]
                    .is_object()
                    .then(|| Selector::of_object(&spec["selector"])),
                _ => None,
            },
            references: references(kind, spec),
            owners: match kind {
                Kind::Job => owners.collect(),
                _ => Vec::new(),
            },
            policy: (kind == Kind::NetworkPolicy).then(|| Policy::of(spec)),
        }
    }
}

/// Returns the labels of an object.
fn labels(object: &Json) -> Labels {
    let labels = object["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten();
    let texts = labels.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())));
    texts.collect()
}

/// Returns the objects that an object names.
fn references(kind: Kind, spec: &Json) -> Vec<(Kind, String)> {
    let mut found = Vec::new();
    let mut add = |kind: Kind, name: &Json| {
        if let Some(name) = name.as_str().filter(|name| !name.is_empty()) {
            found.push((kind, name.to_owned()));
        }
    };
    match kind {
        Kind::Pod => {
            add(Kind::Node, &spec["nodeName"]);
            for volume in list(&spec["volumes"]) {
                let claim = &volume["persistentVolumeClaim"]["claimName"];
                add(Kind::PersistentVolumeClaim, claim);
                add(Kind::ConfigMap, &volume["configMap"]["name"]);
                add(Kind::Secret, &volume["secret"]["secretName"]);
                for source in list(&volume["projected"]["sources"]) {
                    add(Kind::ConfigMap, &source["configMap"]["name"]);
                    add(Kind::Secret, &source["secret"]["name"]);
                }
            }
            let containers = list(&spec["containers"]).chain(list(&spec["initContainers"]));
            for container in containers {
                for variable in list(&container["env"]) {
                    let source = &variable["valueFrom"];
                    add(Kind::ConfigMap, &source["configMapKeyRef"]["name"]);
                    add(Kind::Secret, &source["secretKeyRef"]["name"]);
                }
                for source in list(&container["envFrom"]) {
                    add(Kind::ConfigMap, &source["configMapRef"]["name"]);
                    add(Kind::Secret, &source["secretRef"]["name"]);
                }
            }
        }
        Kind::Ingress => {
            add(Kind::Service, &spec["defaultBackend"]["service"]["name"]);
            for rule in list(&spec["rules"]) {
                for path in list(&rule["http"]["paths"]) {
                    add(Kind::Service, &path["backend"]["service"]["name"]);
                }
            }
        }
        Kind::PersistentVolume => add(Kind::StorageClass, &spec["storageClassName"]),
        Kind::PersistentVolumeClaim => {
            add(Kind::PersistentVolume, &spec["volumeName"]);
            add(Kind::StorageClass, &spec["storageClassName"]);
        }
        _ => {}
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Returns the nodes of the containers of a pod.
fn containers(pod: &Json, id: &NodeId, mapping: &Mapping, is_cut: bool) -> Vec<(NodeId, Metadata)> {
    let text = |key: &str| pod["metadata"][key].as_str().unwrap_or_default();
    let labels = labels(pod);
    let containers = list(&pod["spec"]["containers"]).filter_map(|container| {
        let name = container["name"].as_str().filter(|name| !name.is_empty())?;
        let statuses = list(&pod["status"]["containerStatuses"]);
        let status = statuses.into_iter().find(|status| status["name"] == name);
        let running = status.and_then(|status| status["containerID"].as_str());
        let mut fields = common_fields(name, text("namespace"), &labels);
        fields.set("Pod", text("name"));
        fields.set("Image", container["image"].as_str().unwrap_or_default());
        if let Some((runtime, id)) = running.and_then(|text| text.split_once("://")) {
            fields.set("Runtime", runtime);
            fields.set("ContainerID", id);
        }
        if !is_cut {
            fields.set("Extra", to_value(container));
        }
        let node = NodeId::derived(&format!("{id}/{name}"));
        let metadata = node_metadata(Kind::Container, name, fields, mapping);
        Some((node, metadata))
    });
    containers.collect()
}

/// Returns the keys below `K8s` that all nodes have.
pub(super) fn common_fields(name: &str, namespace: &str, labels: &Labels) -> Map {
    let labels = labels
        .iter()
        .map(|(k, v)| (k.as_str(), Value::from(v.as_str())));
    Map::from_iter([("Name", name), ("Namespace", namespace)])
        .with("Labels", labels.collect::<Map>())
}

/// Returns the metadata of a node; `fields` are the keys below `K8s`.
pub(super) fn node_metadata(kind: Kind, name: &str, fields: Map, mapping: &Mapping) -> Metadata {
    let metadata = Metadata::from_iter([
        ("Manager", MANAGER),
        ("Type", kind.name()),
        ("Name", name),
        ("ClusterName", &mapping.cluster),
    ]);
    metadata.with("K8s", fields)
}

/// Removes what the graph must not or need not contain: the values of secrets, containers of pods,
/// which have nodes of their own, and the bookkeeping of the API server.
fn redact(kind: Kind, object: &mut Json) {
    let Some(entries) = object.as_object_mut() else {
        return;
    };
    if kind == Kind::Secret {
        entries.retain(|key, _| matches!(key.as_str(), "metadata" | "type" | "immutable"));
    }
    if let Some(spec) = entries.get_mut("spec").and_then(Json::as_object_mut)
        && kind == Kind::Pod
    {
        spec.remove("containers");
    }
    let Some(metadata) = entries.get_mut("metadata").and_then(Json::as_object_mut) else {
        return;
    };
    metadata.remove("managedFields");
    if kind == Kind::Secret {
        // The annotations can contain the whole object, as `kubectl apply` writes it.
        metadata.remove("annotations");
    } else if let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Json::as_object_mut)
    {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

/// Returns a required string of the object's metadata.
fn name_in<'a>(object: &'a Json, key: &'static str) -> Result<&'a str, ObjectError> {
    let text = object["metadata"][key].as_str();
    text.filter(|text| (1..=MAX_NAME_BYTES).contains(&text.len()))
        .ok_or(ObjectError::Missing(key))
}

pub(super) fn list(json: &Json) -> impl Iterator<Item = &Json> {
    json.as_array().into_iter().flatten()
}

/// Returns whether values are nested deeper than a number of levels.
fn is_deeper(json: &Json, levels: usize) -> bool {
    match json {
        Json::Array(_) | Json::Object(_) if levels == 0 => true,
        Json::Array(items) => items.iter().any(|item| is_deeper(item, levels - 1)),
        Json::Object(entries) => entries.values().any(|item| is_deeper(item, levels - 1)),
        _ => false,
    }
}

/// Value of `Manager` of all nodes, and of all edges except ownership edges.
pub(super) const MANAGER: &str = "k8s";

/// Maximum length of an identifier or a name, in bytes; names have at most 253.
const MAX_NAME_BYTES: usize = 512;

/// Maximum number of levels of an object; the objects of the Kubernetes API have about 15.
const MAX_DEPTH: usize = 40;

/// Maximum size of an object that is shown completely, in bytes.
const MAX_EXTRA_BYTES: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(kind: Kind, object: &Json) -> Result<KubernetesObject, ObjectError> {
        let mapping = Mapping::new("lab", Kinds::ALL);
        KubernetesObject::parse(kind, object.to_string().as_bytes(), &mapping)
    }

    fn nodes(object: &KubernetesObject) -> Json {
        let nodes = object
            .nodes()
            .map(|(_, metadata)| serde_json::to_value(metadata).unwrap());
        nodes.collect()
    }

    #[test]
    fn a_pod_and_its_containers_are_nodes() {
        let pod = json!({
            "metadata": {"uid": "p1", "name": "web-0", "namespace": "shop", "labels": {"a.b/c": "d"},
                "managedFields": [{"manager": "x"}]},
            "spec": {"nodeName": "w1", "containers": [{"name": "nginx", "image": "nginx:1"}]},
            "status": {"phase": "Running", "containerStatuses": [
                {"name": "nginx", "containerID": "containerd://ab12"}]}
        });
        let object = parse(Kind::Pod, &pod).unwrap();
        assert_eq!(object.containers[0].0, NodeId::derived("p1/nginx"));
        let labels = json!({"a.b/c": "d"});
        assert_eq!(
            nodes(&object),
            json!([
                {"Manager": "k8s", "Type": "pod", "Name": "web-0", "ClusterName": "lab",
                 "State": "UP", "K8s": {"Name": "web-0", "Namespace": "shop", "Labels": labels,
                    "Node": "w1", "Status": "Running", "Extra": {
                        "metadata": {"uid": "p1", "name": "web-0", "namespace": "shop", "labels": labels},
                        "spec": {"nodeName": "w1"},
                        "status": {"phase": "Running", "containerStatuses": [
                            {"name": "nginx", "containerID": "containerd://ab12"}]}}}},
                {"Manager": "k8s", "Type": "container", "Name": "nginx", "ClusterName": "lab",
                 "K8s": {"Name": "nginx", "Namespace": "shop", "Labels": labels, "Pod": "web-0",
                    "Image": "nginx:1", "Runtime": "containerd", "ContainerID": "ab12",
                    "Extra": {"name": "nginx", "image": "nginx:1"}}}
            ])
        );
    }

    #[test]
    fn kinds_that_are_not_wanted_have_no_nodes() {
        let pod =
            json!({"metadata": {"uid": "p", "name": "n"}, "spec": {"containers": [{"name": "c"}]}});
        let count = |names: &[&str]| {
            let mapping = Mapping::new("lab", Kinds::from_names(names.iter().copied()).0);
            let object = KubernetesObject::parse(Kind::Pod, pod.to_string().as_bytes(), &mapping);
            object.unwrap().nodes().count()
        };
        assert_eq!(
            [count(&[]), count(&["pod"]), count(&["container"])],
            [2, 1, 1]
        );
        assert_eq!(count(&["node"]), 0);
    }

    #[test]
    fn the_values_of_secrets_are_nowhere_in_the_node() {
        let secret = json!({
            "kind": "Secret",
            "metadata": {"uid": "s", "name": "login", "namespace": "shop", "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "{\"data\":{\"k\":\"aHVudGVyMg==\"}}",
                "backup": "hunter2"}},
            "type": "Opaque", "immutable": true,
            "data": {"k": "aHVudGVyMg=="}, "stringData": {"k": "hunter2"}, "unknown": "hunter2"
        });
        let text = nodes(&parse(Kind::Secret, &secret).unwrap()).to_string();
        assert!(
            !text.contains("hunter2") && !text.contains("aHVudGVyMg"),
            "{text}"
        );
        assert!(
            text.contains(r#""Data":["k"]"#) && text.contains(r#""immutable":true"#),
            "{text}"
        );
    }

    #[test]
    fn a_large_object_has_no_extra() {
        let map =
            json!({"metadata": {"uid": "c", "name": "big"}, "data": {"k": "x".repeat(200_000)}});
        let object = parse(Kind::ConfigMap, &map).unwrap();
        assert!(nodes(&object).to_string().len() < 1000);
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        let name = |object: &Json| parse(Kind::Pod, object).unwrap_err().to_string();
        assert_eq!(
            name(&json!({"metadata": {"name": "a"}})),
            "the object has no valid uid"
        );
        assert_eq!(
            name(&json!({"metadata": {"uid": "a"}})),
            "the object has no valid name"
        );
        assert_eq!(name(&json!([])), "the object has no valid uid");
        let long = json!({"metadata": {"uid": "x".repeat(600), "name": "a"}});
        assert_eq!(name(&long), "the object has no valid uid");
        let mut deep = json!({});
        for _ in 0..50 {
            deep = json!({"a": deep});
        }
        let deep = json!({"metadata": {"uid": "a", "name": "a"}, "x": deep});
        assert_eq!(name(&deep), "the object is nested deeper than 40 levels");
        let mapping = Mapping::new("lab", Kinds::ALL);
        assert!(KubernetesObject::parse(Kind::Pod, b"{", &mapping).is_err());
    }

    #[test]
    fn references_are_found_wherever_a_pod_has_them() {
        let spec = json!({
            "nodeName": "w1",
            "volumes": [
                {"persistentVolumeClaim": {"claimName": "data"}},
                {"configMap": {"name": "c1"}}, {"secret": {"secretName": "s1"}},
                {"projected": {"sources": [{"configMap": {"name": "c2"}}, {"secret": {"name": "s2"}}]}}],
            "initContainers": [{"envFrom": [{"configMapRef": {"name": "c3"}}]}],
            "containers": [{
                "env": [{"valueFrom": {"secretKeyRef": {"name": "s3"}}},
                        {"valueFrom": {"configMapKeyRef": {"name": "c1"}}}],
                "envFrom": [{"secretRef": {"name": "s4"}}]}]
        });
        let found: Vec<String> = references(Kind::Pod, &spec)
            .iter()
            .map(|(kind, name)| format!("{kind}/{name}"))
            .collect();
        let wanted = [
            "configmap/c1",
            "configmap/c2",
            "configmap/c3",
            "node/w1",
            "persistentvolumeclaim/data",
            "secret/s1",
            "secret/s2",
            "secret/s3",
            "secret/s4",
        ];
        assert_eq!(found, wanted);
    }
}
