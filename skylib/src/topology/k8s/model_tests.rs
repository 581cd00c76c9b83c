//! Tests of the nodes and edges of a cluster.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::kind::{Kind, Kinds};
use super::model::ClusterModel;
use super::object::{KubernetesObject, Mapping};
use crate::graph::{EdgeId, NodeId};

/// A cluster, and what its changes add up to.
struct Lab {
    model: ClusterModel,
    edges: BTreeMap<String, String>,
    /// Number of nodes and edges of the last changes.
    last: (usize, usize),
}

impl Lab {
    fn new(kinds: &[&str]) -> Self {
        let kinds = Kinds::from_names(kinds.iter().copied()).0;
        Self {
            model: ClusterModel::new(Mapping::new("lab", kinds)),
            edges: BTreeMap::new(),
            last: (0, 0),
        }
    }

    /// Adds an object whose identifier is its kind and its name, such as `pod-web`.
    fn set(&mut self, kind: Kind, namespace: &str, name: &str, object: Json) {
        let mut object = object;
        object["metadata"]["uid"] = json!(format!("{kind}-{name}"));
        object["metadata"]["name"] = json!(name);
        object["metadata"]["namespace"] = json!(namespace);
        let json = object.to_string();
        let object = KubernetesObject::parse(kind, json.as_bytes(), self.model.mapping());
        self.model.set(object.unwrap());
        self.settle();
    }

    fn remove(&mut self, id: &str) {
        self.model.remove(&NodeId::from(id));
        self.settle();
    }

    fn settle(&mut self) {
        let changes = self.model.take_changes();
        self.last = (changes.nodes.len(), changes.edges.len());
        for (id, edge) in changes.edges {
            let text = |edge: &super::edges::ModelEdge| {
                let relation = edge.metadata.get("RelationType").unwrap();
                let relation = relation.as_text().unwrap();
                let point = edge.metadata.get("PolicyPoint").and_then(|v| v.as_text());
                let point = point.map(|point| format!(" {point}")).unwrap_or_default();
                format!("{} {relation}{point} {}", edge.parent, edge.child)
            };
            match edge {
                Some(edge) => drop(self.edges.insert(id.to_string(), text(&edge))),
                None => drop(self.edges.remove(&id.to_string())),
            }
        }
        let all: Vec<String> = self.model.edges().map(|(id, _)| id.to_string()).collect();
        assert_eq!(all.len(), self.edges.len(), "the changes are complete");
    }

    /// Returns the edges that are no ownership.
    fn associations(&self) -> Vec<&str> {
        let edges = self.edges.values().map(String::as_str);
        let mut edges: Vec<&str> = edges.filter(|edge| !edge.contains(" ownership ")).collect();
        edges.sort_unstable();
        edges
    }
}

fn labeled(key: &str, value: &str) -> Json {
    json!({"metadata": {"labels": {key: value}}})
}

fn selecting(value: &str) -> Json {
    json!({"spec": {"selector": {"matchLabels": {"app": value}}}})
}

#[test]
fn everything_has_an_owner() {
    let mut lab = Lab::new(&[]);
    // The pod appears before its namespace.
    let pod = json!({"spec": {"containers": [{"name": "c"}]}});
    lab.set(Kind::Pod, "shop", "web", pod);
    lab.set(Kind::Namespace, "", "shop", json!({}));
    lab.set(Kind::Node, "", "w1", json!({}));
    let cluster = NodeId::derived("k8s/lab");
    let container = NodeId::derived("pod-web/c");
    let mut wanted = vec![
        format!("{cluster} ownership namespace-shop"),
        format!("{cluster} ownership node-w1"),
        "namespace-shop ownership pod-web".to_owned(),
        format!("pod-web ownership {container}"),
    ];
    wanted.sort();
    let mut found: Vec<String> = lab.edges.values().cloned().collect();
    found.sort();
    assert_eq!(found, wanted);
    let id = EdgeId::derived("namespace-shop/pod-web").to_string();
    assert!(lab.edges.contains_key(&id));
    lab.remove("namespace-shop");
    assert_eq!(lab.edges.len(), 2);
    lab.remove("pod-web");
    assert_eq!(
        (lab.edges.len(), lab.last.0),
        (1, 2),
        "the container disappears with its pod"
    );
}

#[test]
fn workloads_and_services_are_linked_to_what_they_select() {
    let mut lab = Lab::new(&[]);
    lab.set(Kind::Pod, "a", "web", labeled("app", "web"));
    lab.set(Kind::Pod, "b", "other", labeled("app", "web"));
    lab.set(Kind::ReplicaSet, "a", "web-1", {
        let mut set = selecting("web");
        set["metadata"] = json!({"labels": {"app": "web"}});
        set
    });
    lab.set(Kind::Deployment, "a", "web", selecting("web"));
    lab.set(Kind::DaemonSet, "a", "agent", selecting("agent"));
    lab.set(
        Kind::StatefulSet,
        "a",
        "any",
        json!({"spec": {"selector": {}}}),
    );
    lab.set(
        Kind::Service,
        "a",
        "front",
        json!({"spec": {"selector": {"app": "web"}}}),
    );
    lab.set(Kind::Service, "a", "manual", json!({"spec": {}}));
    lab.set(Kind::Endpoints, "a", "front", json!({}));
    lab.set(Kind::Endpoints, "a", "manual", json!({}));
    let wanted = [
        "deployment-web deployment replicaset-web-1",
        "replicaset-web-1 replicaset pod-web",
        "service-front service endpoints-front",
        "service-front service pod-web",
        "service-manual service endpoints-manual",
        "statefulset-any statefulset pod-web",
    ];
    assert_eq!(lab.associations(), wanted);
    let id = EdgeId::derived("service-front/pod-web/RelationType/service").to_string();
    assert!(lab.edges.contains_key(&id));
    lab.set(Kind::Pod, "a", "web", labeled("app", "agent"));
    let wanted = [
        "daemonset-agent daemonset pod-web",
        "deployment-web deployment replicaset-web-1",
        "service-front service endpoints-front",
        "service-manual service endpoints-manual",
        "statefulset-any statefulset pod-web",
    ];
    assert_eq!(lab.associations(), wanted);
}

#[test]
fn objects_are_linked_to_what_they_name() {
    let mut lab = Lab::new(&[]);
    lab.set(
        Kind::Pod,
        "a",
        "db",
        json!({"spec": {"nodeName": "w1", "volumes": [
        {"persistentVolumeClaim": {"claimName": "data"}}, {"secret": {"secretName": "login"}},
        {"configMap": {"name": "conf"}}]}}),
    );
    lab.set(
        Kind::PersistentVolumeClaim,
        "a",
        "data",
        json!({"spec": {"volumeName": "v1", "storageClassName": "fast"}}),
    );
    lab.set(
        Kind::PersistentVolume,
        "",
        "v1",
        json!({"spec": {"storageClassName": "fast"}}),
    );
    lab.set(Kind::StorageClass, "", "fast", json!({}));
    lab.set(Kind::Node, "", "w1", json!({}));
    lab.set(Kind::Secret, "b", "login", json!({}));
    lab.set(Kind::ConfigMap, "a", "conf", json!({}));
    lab.set(Kind::Service, "a", "front", json!({}));
    lab.set(
        Kind::Ingress,
        "a",
        "in",
        json!({"spec": {"rules": [{"http": {"paths": [
        {"backend": {"service": {"name": "front"}}}]}}]}}),
    );
    lab.set(Kind::CronJob, "a", "nightly", json!({}));
    lab.set(
        Kind::Job,
        "a",
        "nightly-1",
        json!({"metadata": {"ownerReferences": [{"uid": "cronjob-nightly"}]}}),
    );
    let wanted = [
        "cronjob-nightly cronjob job-nightly-1",
        "ingress-in ingress service-front",
        "node-w1 node pod-db",
        "persistentvolumeclaim-data persistentvolumeclaim persistentvolume-v1",
        "pod-db pod configmap-conf",
        "pod-db pod persistentvolumeclaim-data",
        "storageclass-fast storageclass persistentvolume-v1",
        "storageclass-fast storageclass persistentvolumeclaim-data",
    ];
    assert_eq!(lab.associations(), wanted);
    lab.remove("node-w1");
    lab.remove("persistentvolume-v1");
    let wanted = [
        "cronjob-nightly cronjob job-nightly-1",
        "ingress-in ingress service-front",
        "pod-db pod configmap-conf",
        "pod-db pod persistentvolumeclaim-data",
        "storageclass-fast storageclass persistentvolumeclaim-data",
    ];
    assert_eq!(lab.associations(), wanted);
}

#[test]
fn policies_are_linked_to_the_pods_they_concern() {
    let mut lab = Lab::new(&[]);
    lab.set(
        Kind::NetworkPolicy,
        "a",
        "np",
        json!({"spec": {
        "podSelector": {"matchLabels": {"app": "db"}},
        "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "x"}}}]}]}}),
    );
    lab.set(Kind::Pod, "a", "db", labeled("app", "db"));
    lab.set(Kind::Pod, "b", "web", labeled("app", "web"));
    assert_eq!(
        lab.associations(),
        ["networkpolicy-np networkpolicy begin pod-db"]
    );
    lab.set(Kind::Namespace, "", "b", labeled("team", "x"));
    let both = [
        "networkpolicy-np networkpolicy begin pod-db",
        "networkpolicy-np networkpolicy end pod-web",
    ];
    assert_eq!(lab.associations(), both);
    lab.set(Kind::Namespace, "", "b", labeled("team", "y"));
    assert_eq!(lab.associations(), both[..1]);
    lab.set(Kind::Namespace, "", "b", labeled("team", "x"));
    lab.remove("pod-web");
    assert_eq!(lab.associations(), both[..1]);
    lab.remove("networkpolicy-np");
    assert!(lab.associations().is_empty());
}

#[test]
fn a_new_status_changes_one_node_and_no_edge() {
    let mut lab = Lab::new(&[]);
    lab.set(Kind::Namespace, "", "a", json!({}));
    lab.set(
        Kind::Pod,
        "a",
        "web",
        json!({"status": {"phase": "Pending"}}),
    );
    assert_eq!(lab.last, (1, 1));
    lab.set(
        Kind::Pod,
        "a",
        "web",
        json!({"status": {"phase": "Running"}}),
    );
    assert_eq!(lab.last, (1, 0));
    lab.set(
        Kind::Pod,
        "a",
        "web",
        json!({"status": {"phase": "Running"}}),
    );
    assert_eq!(lab.last, (0, 0));
}

#[test]
fn a_list_replaces_the_objects_of_its_kind() {
    let mut lab = Lab::new(&[]);
    lab.set(Kind::Namespace, "", "a", json!({}));
    lab.set(Kind::Pod, "a", "old", json!({}));
    let mapping = lab.model.mapping().clone();
    let new = br#"{"metadata":{"uid":"pod-new","name":"new","namespace":"a"}}"#;
    let new = KubernetesObject::parse(Kind::Pod, new, &mapping).unwrap();
    lab.model.replace(Kind::Pod, vec![new]);
    lab.settle();
    assert_eq!(lab.last, (2, 2), "one pod replaces the other");
    let ids: Vec<String> = lab.model.nodes().map(|(id, _)| id.to_string()).collect();
    assert!(ids.contains(&"pod-new".to_owned()) && !ids.contains(&"pod-old".to_owned()));
    assert_eq!(lab.model.nodes().count(), 3);
}

#[test]
fn a_new_object_replaces_its_namesake() {
    let mut lab = Lab::new(&[]);
    lab.set(Kind::Pod, "a", "web", json!({}));
    let mapping = lab.model.mapping().clone();
    let new = br#"{"metadata":{"uid":"x","name":"web","namespace":"a"}}"#;
    lab.model
        .set(KubernetesObject::parse(Kind::Pod, new, &mapping).unwrap());
    lab.settle();
    assert_eq!(lab.model.nodes().count(), 2, "the cluster and one pod");
    // The deletion of the former pod is reported after its successor.
    lab.remove("pod-web");
    assert_eq!(lab.model.nodes().count(), 2);
}

#[test]
fn edges_lead_only_to_nodes_that_are_shown() {
    let mut lab = Lab::new(&["container", "service", "namespace"]);
    lab.set(Kind::Namespace, "", "a", json!({}));
    lab.set(
        Kind::Pod,
        "a",
        "web",
        json!({"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c"}]}}),
    );
    lab.set(
        Kind::Service,
        "a",
        "front",
        json!({"spec": {"selector": {"app": "web"}}}),
    );
    assert!(lab.associations().is_empty());
    assert_eq!(lab.edges.len(), 2, "of the namespace and of the service");
    assert_eq!(lab.model.nodes().count(), 4);
}
