//! The keys below `K8s` of each kind of object, from the JSON of the Kubernetes API.

use serde::Deserialize;
use serde_json::Value as Json;

use super::kind::Kind;
use crate::value::{Map, Value};

/// Adds the keys of a kind to the object `K8s` of a node.
pub(super) fn add_fields(kind: Kind, object: &Json, fields: &mut Map) {
    let (spec, status) = (&object["spec"], &object["status"]);
    match kind {
        Kind::Namespace => set_text(fields, "Status", &status["phase"]),
        Kind::Node => add_node_fields(status, fields),
        Kind::Pod => {
            set_text(fields, "Node", &spec["nodeName"]);
            if let Some(address) = status["podIP"].as_str().filter(|text| !text.is_empty()) {
                fields.set("IP", address);
            }
            fields.set("Status", pod_status(object));
        }
        Kind::Service => add_service_fields(spec, fields),
        Kind::Deployment | Kind::DaemonSet | Kind::StatefulSet | Kind::Job | Kind::CronJob => {
            add_workload_fields(kind, spec, status, fields);
        }
        Kind::Ingress => {
            set_tree(fields, "DefaultBackend", &spec["defaultBackend"]);
            set_tree(fields, "TLS", &spec["tls"]);
            set_tree(fields, "Rules", &spec["rules"]);
        }
        Kind::ConfigMap => fields.set("Data", names(object, &["data", "binaryData"])),
        Kind::Secret => {
            set_text(fields, "Type", &object["type"]);
            fields.set("Data", names(object, &["data"]));
        }
        Kind::PersistentVolume | Kind::PersistentVolumeClaim => {
            add_volume_fields(kind, spec, status, fields);
        }
        Kind::StorageClass => set_text(fields, "Provisioner", &object["provisioner"]),
        Kind::Cluster
        | Kind::Container
        | Kind::Endpoints
        | Kind::NetworkPolicy
        | Kind::ReplicaSet
        | Kind::ReplicationController => {}
    }
}

/// Adds the keys of objects that run pods.
fn add_workload_fields(kind: Kind, spec: &Json, status: &Json, fields: &mut Map) {
    match kind {
        Kind::Deployment => {
            set_number(fields, "DesiredReplicas", &spec["replicas"], Some(1));
            let counts = [
                ("Replicas", "replicas"),
                ("ReadyReplicas", "readyReplicas"),
                ("AvailableReplicas", "availableReplicas"),
                ("UnavailableReplicas", "unavailableReplicas"),
            ];
            set_numbers(fields, status, &counts);
        }
        Kind::DaemonSet => {
            let counts = [
                ("DesiredNumberScheduled", "desiredNumberScheduled"),
                ("CurrentNumberScheduled", "currentNumberScheduled"),
                ("NumberMisscheduled", "numberMisscheduled"),
            ];
            set_numbers(fields, status, &counts);
        }
        Kind::StatefulSet => add_stateful_set_fields(spec, status, fields),
        Kind::Job => {
            set_number(fields, "Parallelism", &spec["parallelism"], None);
            set_number(fields, "Completions", &spec["completions"], None);
            let counts = [
                ("Active", "active"),
                ("Succeeded", "succeeded"),
                ("Failed", "failed"),
            ];
            set_numbers(fields, status, &counts);
        }
        Kind::CronJob => {
            set_text(fields, "Schedule", &spec["schedule"]);
            fields.set("Suspended", spec["suspend"].as_bool().unwrap_or(false));
        }
        _ => {}
    }
}

/// Adds the keys of volumes and claims.
fn add_volume_fields(kind: Kind, spec: &Json, status: &Json, fields: &mut Map) {
    set_tree(fields, "AccessModes", &spec["accessModes"]);
    set_tree(fields, "VolumeMode", &spec["volumeMode"]);
    set_text(fields, "Status", &status["phase"]);
    if kind == Kind::PersistentVolume {
        set_tree(fields, "Capacity", &spec["capacity"]);
        set_text(fields, "StorageClassName", &spec["storageClassName"]);
        set_tree(fields, "ClaimRef", &spec["claimRef"]["name"]);
    } else {
        set_text(fields, "VolumeName", &spec["volumeName"]);
        set_tree(fields, "StorageClassName", &spec["storageClassName"]);
    }
}

/// Returns the value of `State`: whether the object works; `None` for kinds without this key.
pub(super) fn state(kind: Kind, object: &Json) -> Option<&'static str> {
    let phase = object["status"]["phase"].as_str().unwrap_or_default();
    let is_up = match kind {
        Kind::Pod => pod_status(object) == "Running",
        Kind::PersistentVolume => phase != "Failed",
        Kind::PersistentVolumeClaim => phase == "Bound",
        _ => return None,
    };
    Some(if is_up { "UP" } else { "DOWN" })
}

/// Returns the reason of the state of a pod, or its phase if there is no reason.
fn pod_status(object: &Json) -> &str {
    let text = |key: &str| object["status"][key].as_str().unwrap_or_default();
    match text("reason") {
        "" => text("phase"),
        reason => reason,
    }
}

fn add_node_fields(status: &Json, fields: &mut Map) {
    for address in status["addresses"].as_array().into_iter().flatten() {
        let kind = address["type"].as_str().unwrap_or_default();
        if matches!(kind, "Hostname" | "InternalIP" | "ExternalIP") {
            set_text(fields, kind, &address["address"]);
        }
    }
    let info = &status["nodeInfo"];
    set_text(fields, "Arch", &info["architecture"]);
    set_text(fields, "Kernel", &info["kernelVersion"]);
    set_text(fields, "OS", &info["operatingSystem"]);
}

fn add_service_fields(spec: &Json, fields: &mut Map) {
    let ports = spec["ports"].as_array().into_iter().flatten();
    fields.set("Ports", Value::list(ports.map(service_port)));
    for (key, name) in [
        ("ClusterIP", "clusterIP"),
        ("ServiceType", "type"),
        ("SessionAffinity", "sessionAffinity"),
        ("LoadBalancerIP", "loadBalancerIP"),
        ("ExternalName", "externalName"),
    ] {
        set_text(fields, key, &spec[name]);
    }
}

/// Returns a port of a service; empty values are omitted.
fn service_port(port: &Json) -> Map {
    let mut map = Map::new();
    for (key, name) in [("Name", "name"), ("Protocol", "protocol")] {
        if let Some(text) = port[name].as_str().filter(|text| !text.is_empty()) {
            map.set(key, text);
        }
    }
    for (key, name) in [("Port", "port"), ("NodePort", "nodePort")] {
        if let Some(number) = port[name].as_i64().filter(|number| *number != 0) {
            map.set(key, number);
        }
    }
    // A number, or the name of a port of the container; a text in both cases.
    match &port["targetPort"] {
        Json::String(name) => map.set("TargetPort", name.as_str()),
        Json::Number(number) => map.set("TargetPort", number.to_string()),
        _ => {}
    }
    map
}

fn add_stateful_set_fields(spec: &Json, status: &Json, fields: &mut Map) {
    set_number(fields, "DesiredReplicas", &spec["replicas"], Some(1));
    set_text(fields, "ServiceName", &spec["serviceName"]);
    let counts = [
        ("Replicas", "replicas"),
        ("ReadyReplicas", "readyReplicas"),
        ("CurrentReplicas", "currentReplicas"),
        ("UpdatedReplicas", "updatedReplicas"),
    ];
    set_numbers(fields, status, &counts);
    set_text(fields, "CurrentRevision", &status["currentRevision"]);
    set_text(fields, "UpdateRevision", &status["updateRevision"]);
}

/// Returns the sorted names of the entries of some objects, without their values.
fn names(object: &Json, keys: &[&str]) -> Value {
    let entries = keys.iter().filter_map(|key| object[*key].as_object());
    let mut names: Vec<&str> = entries.flatten().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    Value::list(names)
}

fn set_text(fields: &mut Map, key: &str, json: &Json) {
    fields.set(key, json.as_str().unwrap_or_default());
}

/// Sets a number; a missing number has the default, or no key without a default.
fn set_number(fields: &mut Map, key: &str, json: &Json, default: Option<i64>) {
    if let Some(number) = json.as_i64().or(default) {
        fields.set(key, number);
    }
}

/// Sets counters, which the Kubernetes API omits if they are 0.
fn set_numbers(fields: &mut Map, json: &Json, names: &[(&str, &str)]) {
    for (key, name) in names {
        set_number(fields, key, &json[*name], Some(0));
    }
}

/// Sets a value of any type, unless it is missing.
fn set_tree(fields: &mut Map, key: &str, json: &Json) {
    if !json.is_null() {
        fields.set(key, to_value(json));
    }
}

/// Converts JSON to a metadata value.
pub(super) fn to_value(json: &Json) -> Value {
    // Every JSON value is also a metadata value.
    Value::deserialize(json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields_of(kind: Kind, object: &Json) -> Json {
        let mut fields = Map::new();
        add_fields(kind, object, &mut fields);
        serde_json::to_value(&fields).unwrap()
    }

    #[test]
    fn nodes_pods_and_namespaces() {
        let node = json!({"status": {
            "addresses": [{"type": "Hostname", "address": "w1"}, {"type": "InternalIP",
                "address": "192.0.2.7"}, {"type": "InternalDNS", "address": "w1.x"}],
            "nodeInfo": {"architecture": "amd64", "kernelVersion": "6.1", "operatingSystem": "linux"}}});
        assert_eq!(
            fields_of(Kind::Node, &node),
            json!({"Hostname": "w1", "InternalIP": "192.0.2.7", "Arch": "amd64", "Kernel": "6.1",
                "OS": "linux"})
        );
        let pod = json!({"spec": {"nodeName": "w1"},
            "status": {"phase": "Running", "podIP": "10.0.0.4"}});
        let wanted = json!({"Node": "w1", "IP": "10.0.0.4", "Status": "Running"});
        assert_eq!(fields_of(Kind::Pod, &pod), wanted);
        assert_eq!(state(Kind::Pod, &pod), Some("UP"));
        let evicted = json!({"status": {"phase": "Running", "reason": "Evicted"}});
        let wanted = json!({"Node": "", "Status": "Evicted"});
        assert_eq!(fields_of(Kind::Pod, &evicted), wanted);
        assert_eq!(state(Kind::Pod, &evicted), Some("DOWN"));
        let namespace = json!({"status": {"phase": "Active"}});
        let wanted = json!({"Status": "Active"});
        assert_eq!(fields_of(Kind::Namespace, &namespace), wanted);
        assert_eq!(state(Kind::Namespace, &namespace), None);
    }

    #[test]
    fn services_have_all_keys() {
        let service = json!({"spec": {"type": "NodePort", "clusterIP": "10.1.0.1", "ports": [
            {"name": "http", "protocol": "TCP", "port": 80, "nodePort": 30080, "targetPort": 8080},
            {"port": 53, "targetPort": "dns"}]}});
        assert_eq!(
            fields_of(Kind::Service, &service),
            json!({"ClusterIP": "10.1.0.1", "ServiceType": "NodePort", "SessionAffinity": "",
                "LoadBalancerIP": "", "ExternalName": "", "Ports": [
                {"Name": "http", "Protocol": "TCP", "Port": 80, "NodePort": 30080, "TargetPort": "8080"},
                {"Port": 53, "TargetPort": "dns"}]})
        );
    }

    #[test]
    fn workloads_show_their_counts() {
        let empty = json!({});
        assert_eq!(
            fields_of(Kind::Deployment, &empty),
            json!({"DesiredReplicas": 1, "Replicas": 0, "ReadyReplicas": 0, "AvailableReplicas": 0,
                "UnavailableReplicas": 0})
        );
        let set = json!({"spec": {"replicas": 3, "serviceName": "db"},
            "status": {"replicas": 2, "currentRevision": "db-1", "updateRevision": "db-2"}});
        assert_eq!(
            fields_of(Kind::StatefulSet, &set),
            json!({"DesiredReplicas": 3, "ServiceName": "db", "Replicas": 2, "ReadyReplicas": 0,
                "CurrentReplicas": 0, "UpdatedReplicas": 0, "CurrentRevision": "db-1",
                "UpdateRevision": "db-2"})
        );
        let job = json!({"spec": {"parallelism": 2}, "status": {"succeeded": 1}});
        let wanted = json!({"Parallelism": 2, "Active": 0, "Succeeded": 1, "Failed": 0});
        assert_eq!(fields_of(Kind::Job, &job), wanted);
        let cron = json!({"spec": {"schedule": "0 * * * *", "suspend": true}});
        let wanted = json!({"Schedule": "0 * * * *", "Suspended": true});
        assert_eq!(fields_of(Kind::CronJob, &cron), wanted);
        assert_eq!(
            fields_of(
                Kind::DaemonSet,
                &json!({"status": {"desiredNumberScheduled": 4}})
            ),
            json!({"DesiredNumberScheduled": 4, "CurrentNumberScheduled": 0, "NumberMisscheduled": 0})
        );
    }

    #[test]
    fn configurations_and_secrets_show_names_only() {
        let map = json!({"data": {"b": "1", "a": "2"}, "binaryData": {"c": "AA=="}});
        let wanted = json!({"Data": ["a", "b", "c"]});
        assert_eq!(fields_of(Kind::ConfigMap, &map), wanted);
        let secret = json!({"type": "Opaque", "data": {"password": "aHVudGVyMg=="}});
        let wanted = json!({"Type": "Opaque", "Data": ["password"]});
        assert_eq!(fields_of(Kind::Secret, &secret), wanted);
    }

    #[test]
    fn storage_has_a_state() {
        let volume = json!({"spec": {"capacity": {"storage": "1Gi"}, "volumeMode": "Filesystem",
            "storageClassName": "fast", "accessModes": ["ReadWriteOnce"], "claimRef": {"name": "c"}},
            "status": {"phase": "Bound"}});
        assert_eq!(
            fields_of(Kind::PersistentVolume, &volume),
            json!({"Capacity": {"storage": "1Gi"}, "VolumeMode": "Filesystem",
                "StorageClassName": "fast", "AccessModes": ["ReadWriteOnce"], "ClaimRef": "c",
                "Status": "Bound"})
        );
        assert_eq!(state(Kind::PersistentVolume, &volume), Some("UP"));
        let claim = json!({"spec": {"volumeName": "v"}, "status": {"phase": "Pending"}});
        let wanted = json!({"VolumeName": "v", "Status": "Pending"});
        assert_eq!(fields_of(Kind::PersistentVolumeClaim, &claim), wanted);
        assert_eq!(state(Kind::PersistentVolumeClaim, &claim), Some("DOWN"));
        let class = json!({"provisioner": "x.io/y"});
        assert_eq!(
            fields_of(Kind::StorageClass, &class),
            json!({"Provisioner": "x.io/y"})
        );
        let ingress = json!({"spec": {"rules": [{"host": "a"}]}});
        assert_eq!(
            fields_of(Kind::Ingress, &ingress),
            json!({"Rules": [{"host": "a"}]})
        );
    }
}
