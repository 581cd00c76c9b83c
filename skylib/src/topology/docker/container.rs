//! Containers and events, as engines with Docker's API describe them.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::graph::Metadata;
use crate::value::{Map, Value};

/// A container, from `GET /containers/<id>/json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[non_exhaustive]
pub struct Container {
    /// Identifier, 64 hexadecimal digits.
    pub id: String,
    /// Name with a leading slash.
    pub name: String,
    /// Identifier of the image.
    pub image: String,
    /// State of the container.
    pub state: ContainerState,
    /// Configuration of the container.
    pub config: ContainerConfig,
    /// Settings of the container that depend on the host.
    pub host_config: HostConfig,
}

/// Settings of a container that depend on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[non_exhaustive]
pub struct HostConfig {
    /// Network of the container, such as `host` or `none`.
    pub network_mode: String,
}

/// State of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[non_exhaustive]
pub struct ContainerState {
    /// State, such as `running` or `paused`.
    pub status: String,
    /// Process id of the first process; 0 if the container does not run.
    pub pid: i32,
}

/// Configuration of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[non_exhaustive]
pub struct ContainerConfig {
    /// Name of the image.
    pub image: String,
    /// Labels; `None` if there are none.
    pub labels: Option<BTreeMap<String, String>>,
}

impl Container {
    /// Parses the description of a container.
    ///
    /// # Errors
    /// Returns the error of the JSON parser.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// Returns the name without the leading slash, or the identifier if there is no name.
    #[must_use]
    pub fn display_name(&self) -> &str {
        match self.name.trim_start_matches('/') {
            "" => &self.id,
            name => name,
        }
    }

    /// Returns whether the container has processes.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.state.pid > 0
    }

    /// Returns whether the container uses the network of its host.
    #[must_use]
    pub fn has_host_network(&self) -> bool {
        self.host_config.network_mode == "host"
    }

    /// Returns the metadata of the container's node. `engine` is the name of the probe.
    pub(super) fn metadata(&self, engine: &str) -> Metadata {
        let mut container = Map::from_iter([
            ("ID", self.id.as_str()),
            ("Runtime", engine),
            ("Status", self.state.status.as_str()),
        ]);
        container.set("InitProcessPID", self.state.pid);
        for (key, text) in [("Image", &self.config.image), ("ImageID", &self.image)] {
            if !text.is_empty() {
                container.set(key, text.as_str());
            }
        }
        let labels = self.config.labels.iter().flatten();
        let labels: Map = labels
            .map(|(key, value)| (key.as_str(), Value::from(value.as_str())))
            .collect();
        if !labels.is_empty() {
            container.set("Labels", labels);
        }
        let mut metadata = Metadata::from_iter([
            ("Name", self.display_name()),
            ("Type", "container"),
            ("Manager", engine),
        ]);
        metadata.set("Container", container);
        metadata
    }
}

/// A container of a list, from `GET /containers/json`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ListedContainer {
    pub(super) id: String,
}

/// A change that the engine reports, from `GET /events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct EngineEvent {
    /// Kind of the object, such as `container`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Change, such as `start` or `die`.
    #[serde(rename = "Action")]
    pub action: String,
    /// Object that has changed.
    #[serde(rename = "Actor")]
    pub actor: EventActor,
}

/// Object of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct EventActor {
    /// Identifier of the object.
    #[serde(rename = "ID")]
    pub id: String,
}

impl EngineEvent {
    /// Parses an event.
    ///
    /// # Errors
    /// Returns the error of the JSON parser.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// Returns the identifier of the container that has to be inspected again; `None` if the event
    /// does not change what the graph shows.
    #[must_use]
    pub fn changed_container(&self) -> Option<&str> {
        let is_relevant = matches!(
            self.action.as_str(),
            "start"
                | "die"
                | "died"
                | "destroy"
                | "remove"
                | "rename"
                | "pause"
                | "unpause"
                | "update"
                | "restart"
                | "stop"
                | "cleanup"
        );
        (self.kind == "container" && is_relevant && is_identifier(&self.actor.id))
            .then_some(&*self.actor.id)
    }
}

/// Returns whether text can be part of the path of a request.
pub(super) fn is_identifier(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_becomes_metadata() {
        let json = br#"{"Id":"ab12","Name":"/web","Image":"sha256:77","Path":"nginx",
            "State":{"Status":"running","Running":true,"Paused":false,"Pid":4123},
            "Config":{"Image":"nginx:1","Labels":{"io.kubernetes.pod.name":"web-0","a~b/c@d":"e"}}}"#;
        let container = Container::parse(json).unwrap();
        assert!(container.is_running());
        let metadata = serde_json::to_value(container.metadata("docker")).unwrap();
        let wanted = serde_json::json!({"Name": "web", "Type": "container", "Manager": "docker",
            "Container": {"ID": "ab12", "Image": "nginx:1", "ImageID": "sha256:77",
            "Runtime": "docker", "Status": "running", "InitProcessPID": 4123,
            "Labels": {"io.kubernetes.pod.name": "web-0", "a~b/c@d": "e"}}});
        assert_eq!(metadata, wanted);
    }

    #[test]
    fn a_container_without_labels_and_name_is_shown_by_its_id() {
        let json = br#"{"Id":"ab12","State":{"Status":"exited","Pid":0},"Config":{"Labels":null}}"#;
        let container = Container::parse(json).unwrap();
        assert!(!container.is_running());
        let metadata = container.metadata("podman");
        assert_eq!(metadata.get("Name"), Some(&"ab12".into()));
        assert_eq!(metadata.get_path("Container.Labels"), None);
        assert_eq!(metadata.get_path("Container.Image"), None);
    }

    #[test]
    fn only_events_that_change_a_container_count() {
        let changed = |json: &str| {
            let event = EngineEvent::parse(json.as_bytes()).unwrap();
            event.changed_container().map(str::to_owned)
        };
        let event = |kind: &str, action: &str, id: &str| {
            changed(&format!(
                r#"{{"status":"{action}","id":"{id}","Type":"{kind}","Action":"{action}","Actor":{{"ID":"{id}","Attributes":{{}}}}}}"#
            ))
        };
        assert_eq!(event("container", "rename", "ab").as_deref(), Some("ab"));
        assert_eq!(event("container", "exec_start: sh", "ab"), None);
        assert_eq!(event("network", "start", "ab"), None);
        assert_eq!(event("container", "start", "../x"), None);
        assert_eq!(changed(r#"{"Type":"container"}"#), None);
        assert!(EngineEvent::parse(b"{").is_err());
    }
}
