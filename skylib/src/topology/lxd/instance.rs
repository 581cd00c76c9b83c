//! Instances and events, as the REST interface of LXD (and Incus) describes them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::graph::Metadata;
use crate::value::{Map, Value};

/// A container or a virtual machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Instance {
    /// Name of the instance.
    pub name: String,
    /// `container` or `virtual-machine`; empty in versions that only have containers.
    #[serde(rename = "type")]
    pub kind: String,
    /// State, such as `Running`.
    pub status: String,
    /// Description by the user.
    pub description: String,
    /// Architecture, such as `x86_64`.
    pub architecture: String,
    /// Time of creation.
    pub created_at: String,
    /// Whether the instance is deleted when it stops.
    pub ephemeral: bool,
    /// Whether the instance is stopped together with its state.
    pub stateful: bool,
    /// Name of the snapshot that is being restored.
    pub restore: String,
    /// Names of the profiles.
    pub profiles: Vec<String>,
    /// Settings of the instance.
    pub config: BTreeMap<String, String>,
    /// Devices with their settings.
    pub devices: BTreeMap<String, BTreeMap<String, String>>,
}

impl Instance {
    /// Parses the response with all instances.
    ///
    /// # Errors
    /// Returns the error of the JSON parser.
    pub fn parse_list(json: &[u8]) -> Result<Vec<Self>, serde_json::Error> {
        Ok(serde_json::from_slice::<Response<Vec<Self>>>(json)?.metadata)
    }

    /// Parses the response with one instance.
    ///
    /// # Errors
    /// Returns the error of the JSON parser.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        Ok(serde_json::from_slice::<Response<Self>>(json)?.metadata)
    }

    /// Returns whether the instance is a container that runs.
    #[must_use]
    pub fn is_running_container(&self) -> bool {
        matches!(self.kind.as_str(), "" | "container") && self.status == "Running"
    }

    /// Returns the metadata of the node of the instance.
    pub(super) fn metadata(&self) -> Metadata {
        let mut lxd = Map::from_iter([
            ("Architecture", self.architecture.as_str()),
            ("CreatedAt", &self.created_at),
            ("Description", &self.description),
            ("Ephemeral", bool_text(self.ephemeral)),
            ("Restore", &self.restore),
            ("Stateful", bool_text(self.stateful)),
            ("Status", &self.status),
        ]);
        lxd.set(
            "Profiles",
            Value::list(self.profiles.iter().map(String::as_str)),
        );
        let public = self.config.iter().filter(|(key, _)| is_public(key));
        lxd.set(
            "Config",
            public
                .map(|(k, v)| (k.as_str(), Value::from(v.as_str())))
                .collect::<Map>(),
        );
        let devices = self.devices.iter().map(|(name, settings)| {
            let settings = settings
                .iter()
                .map(|(k, v)| (k.as_str(), Value::from(v.as_str())));
            (name.as_str(), Value::from(settings.collect::<Map>()))
        });
        lxd.set("Devices", devices.collect::<Map>());
        Metadata::from_iter([
            ("Name", self.name.as_str()),
            ("Type", "container"),
            ("Manager", "lxd"),
        ])
        .with("LXD", lxd)
    }
}

/// Returns whether the graph may show a setting. The environment and the data for the first start
/// often contain credentials.
fn is_public(key: &str) -> bool {
    let private = [
        "environment.",
        "cloud-init.",
        "user.user-data",
        "user.vendor-data",
    ];
    !private.iter().any(|prefix| key.starts_with(prefix))
}

/// Returns a flag as text.
///
/// COMPAT: every client; the flags of LXD are strings.
const fn bool_text(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}

/// Parses the response with the state of an instance; returns the identifier of its first process,
/// 0 if it does not run.
pub(super) fn parse_pid(json: &[u8]) -> Result<i32, serde_json::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct State {
        pid: i32,
    }
    Ok(serde_json::from_slice::<Response<State>>(json)?
        .metadata
        .pid)
}

/// The envelope of a response.
#[derive(Deserialize)]
struct Response<T> {
    metadata: T,
}

/// Instances that must be read again after an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The instance with this name.
    One(String),
    /// All instances, because one has another name.
    All,
}

/// Returns which instances must be read again after an event; `None` for events that do not concern
/// instances.
///
/// The events are those of type `lifecycle`, whose source is the path of the object, such as
/// `/1.0/instances/web`.
pub(super) fn change(event: &[u8]) -> Option<Change> {
    let event: Json = serde_json::from_slice(event).ok()?;
    let metadata = &event["metadata"];
    let action = metadata["action"].as_str()?;
    if !action.starts_with("instance-") && !action.starts_with("container-") {
        return None;
    }
    if action.ends_with("-renamed") {
        return Some(Change::All);
    }
    let path = metadata["source"].as_str()?.split('?').next()?;
    let mut segments = path.strip_prefix("/1.0/")?.split('/');
    let collection = segments.next()?;
    if !matches!(collection, "instances" | "containers") {
        return None;
    }
    let name = segments.next().filter(|name| is_name(name))?;
    Some(Change::One(name.to_owned()))
}

/// Returns whether text is the name of an instance (RFC 1123, section 2.1), which can be part of
/// the path of a request.
pub(super) fn is_name(text: &str) -> bool {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(is_valid)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_instance_becomes_metadata() {
        let json =
            br#"{"type":"sync","metadata":{"name":"web","type":"container","status":"Running",
            "architecture":"x86_64","created_at":"2026-01-02T03:04:05Z","ephemeral":true,
            "profiles":["default"],"config":{"limits.cpu":"2","environment.PASSWORD":"hunter2",
            "user.user-data":"hunter2"},"devices":{"eth0":{"type":"nic"}}}}"#;
        let instance = Instance::parse(json).unwrap();
        assert!(instance.is_running_container());
        let wanted = json!({"Name": "web", "Type": "container", "Manager": "lxd", "LXD": {
            "Architecture": "x86_64", "CreatedAt": "2026-01-02T03:04:05Z", "Description": "",
            "Ephemeral": "true", "Restore": "", "Stateful": "false", "Status": "Running",
            "Profiles": ["default"], "Config": {"limits.cpu": "2"},
            "Devices": {"eth0": {"type": "nic"}}}});
        assert_eq!(serde_json::to_value(instance.metadata()).unwrap(), wanted);
    }

    #[test]
    fn lists_and_states_are_parsed() {
        let list = br#"{"metadata":[{"name":"a","status":"Stopped"},
            {"name":"vm","type":"virtual-machine","status":"Running"}]}"#;
        let list = Instance::parse_list(list).unwrap();
        assert_eq!(list.len(), 2);
        assert!(!list.iter().any(Instance::is_running_container));
        assert_eq!(
            parse_pid(br#"{"metadata":{"status":"Running","pid":42}}"#).unwrap(),
            42
        );
        assert_eq!(parse_pid(br#"{"metadata":{}}"#).unwrap(), 0);
        assert!(Instance::parse_list(b"{").is_err());
    }

    #[test]
    fn only_events_of_instances_count() {
        let changed = |action: &str, source: &str| {
            let event =
                json!({"type": "lifecycle", "metadata": {"action": action, "source": source}});
            change(event.to_string().as_bytes())
        };
        let one = |name: &str| Some(Change::One(name.to_owned()));
        assert_eq!(
            changed("instance-started", "/1.0/instances/web"),
            one("web")
        );
        assert_eq!(
            changed("container-stopped", "/1.0/containers/a-1"),
            one("a-1")
        );
        assert_eq!(
            changed("instance-deleted", "/1.0/instances/web?project=x"),
            one("web")
        );
        assert_eq!(
            changed("instance-renamed", "/1.0/instances/new"),
            Some(Change::All)
        );
        assert_eq!(changed("network-created", "/1.0/networks/br0"), None);
        assert_eq!(changed("instance-started", "/1.0/instances/..%2fx"), None);
        assert_eq!(changed("instance-started", "web"), None);
        assert_eq!(change(b"[]"), None);
    }
}
