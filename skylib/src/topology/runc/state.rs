//! The state that `runc` stores about a container (`state.json`), and what it refers to.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use crate::graph::Metadata;
use crate::value::{Map, Value};

/// State of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RuncState {
    /// Identifier of the container.
    pub id: String,
    /// Process id of the first process; 0 if the container does not run.
    pub init_process_pid: u32,
    /// Start time of the first process, in clock ticks since boot.
    pub init_process_start: u64,
    /// Configuration of the container.
    pub config: RuncConfig,
}

/// Configuration of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RuncConfig {
    /// Host name inside the container.
    pub hostname: String,
    /// Labels as `key=value`; `None` if there are none.
    pub labels: Option<Vec<String>>,
    /// Mounted files and folders; `None` if there are none.
    pub mounts: Option<Vec<RuncMount>>,
}

/// A mount of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RuncMount {
    /// Path on the host.
    pub source: String,
    /// Path inside the container.
    pub destination: String,
}

/// Image of a container of Podman (`artifacts/create-config`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct CreateConfig {
    #[serde(alias = "Image", alias = "image")]
    image: String,
    #[serde(alias = "ImageID", alias = "imageID", alias = "imageid")]
    image_id: String,
}

/// Content of the files that a state refers to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Referred {
    pub(super) image: CreateConfig,
    /// Content of `/etc/hosts`.
    pub(super) hosts: String,
}

impl RuncState {
    /// Parses the content of `state.json`.
    ///
    /// # Errors
    /// Returns the error of the JSON parser.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// Returns the value of a label.
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        let mut labels = self.config.labels.iter().flatten();
        labels.find_map(|label| label.strip_prefix(key)?.strip_prefix('='))
    }

    /// Returns the path on the host of a file that is mounted into the container.
    pub(super) fn mounted(&self, destination: &str) -> Option<&str> {
        let mut mounts = self.config.mounts.iter().flatten();
        let mount = mounts.find(|mount| mount.destination == destination)?;
        Some(&mount.source)
    }

    /// Returns the metadata of the container's node.
    pub(super) fn metadata(&self, status: &str, referred: &Referred) -> Metadata {
        let mut container = Map::from_iter([
            ("ID", self.id.as_str()),
            ("Runtime", RUNC),
            ("Status", status),
        ]);
        container.set("InitProcessPID", self.init_process_pid);
        let image = &referred.image;
        for (key, text) in [("Image", &image.image), ("ImageID", &image.image_id)] {
            if !text.is_empty() {
                container.set(key, text.as_str());
            }
        }
        let labels = self.config.labels.iter().flatten();
        let labels: Map = labels
            .filter_map(|label| label.split_once('='))
            .map(parsed)
            .collect();
        if !labels.is_empty() {
            container.set("Labels", labels);
        }
        if let Some(hosts) = hosts_metadata(&referred.hosts, &self.config.hostname) {
            container.set("Hosts", hosts);
        }
        let texts = [
            ("Name", self.id.as_str()),
            ("Type", "container"),
            ("Manager", RUNC),
        ];
        let mut metadata = Metadata::from_iter(texts);
        metadata.set("Container", container);
        metadata
    }
}

/// Returns a label whose value is JSON, or text if it is not.
fn parsed<'a>((key, value): (&'a str, &str)) -> (&'a str, Value) {
    let json = serde_json::from_str(value).ok();
    (key, json.unwrap_or_else(|| Value::from(value)))
}

/// Returns the names of a hosts file by address, without those of the loopback interface; `None` if
/// there are none. The address and the name of the container itself are shown separately.
fn hosts_metadata(text: &str, hostname: &str) -> Option<Map> {
    let mut by_ip: BTreeMap<IpAddr, Vec<&str>> = BTreeMap::new();
    let mut own = None;
    for line in text.lines().take(MAX_HOSTS) {
        let mut words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let Some(ip) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
            continue;
        };
        if ip.is_loopback() {
            continue;
        }
        let names: Vec<&str> = words.collect();
        let name = names
            .iter()
            .find(|name| **name == hostname)
            .or_else(|| names.first());
        if let Some(name) = name.filter(|name| own.is_none() || **name == hostname) {
            own = Some((ip, *name));
        }
        by_ip.entry(ip).or_default().extend(names);
    }
    let (ip, name) = own?;
    let named = by_ip
        .into_iter()
        .map(|(ip, names)| (ip.to_string(), Value::list(names)));
    let named: Map = named.collect();
    let own = [("IP", ip.to_string()), ("Hostname", name.to_owned())];
    Some(Map::from_iter(own).with("ByIP", named))
}

/// Name of the runtime.
pub(super) const RUNC: &str = "runc";

/// Maximum number of lines of a hosts file.
const MAX_HOSTS: usize = 1024;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_state_becomes_metadata() {
        let state = br#"{"id":"c1","init_process_pid":4123,"init_process_start":99,
            "config":{"hostname":"web","labels":["bundle=/b","app=web","n=5","a=b=c","odd"],
            "mounts":[{"source":"/h","destination":"/etc/hosts"}]}}"#;
        let state = RuncState::parse(state).unwrap();
        assert_eq!(
            (state.label("bundle"), state.label("none")),
            (Some("/b"), None)
        );
        assert_eq!(state.mounted("/etc/hosts"), Some("/h"));
        let referred = Referred {
            image: serde_json::from_str(r#"{"Image":"i:1","imageID":"sha256:7"}"#).unwrap(),
            hosts: "127.0.0.1 localhost\n# note\n10.0.0.9 db\n10.0.0.5\tweb web.example # me\n"
                .into(),
        };
        let wanted = json!({"Name": "c1", "Type": "container", "Manager": "runc", "Container": {
            "ID": "c1", "Runtime": "runc", "Status": "running", "InitProcessPID": 4123,
            "Image": "i:1", "ImageID": "sha256:7",
            "Labels": {"bundle": "/b", "app": "web", "n": 5, "a": "b=c"},
            "Hosts": {"IP": "10.0.0.5", "Hostname": "web",
                "ByIP": {"10.0.0.5": ["web", "web.example"], "10.0.0.9": ["db"]}}}});
        let metadata = state.metadata("running", &referred);
        assert_eq!(serde_json::to_value(metadata).unwrap(), wanted);
    }

    #[test]
    fn missing_parts_are_omitted() {
        let state = RuncState::parse(br#"{"id":"c1","config":{"labels":null}}"#).unwrap();
        let metadata = state.metadata("created", &Referred::default());
        assert_eq!(metadata.get_path("Container.Labels"), None);
        assert_eq!(metadata.get_path("Container.Hosts"), None);
        assert!(RuncState::parse(b"{").is_err());
        assert_eq!(hosts_metadata("::1 localhost\nnonsense\n", "x"), None);
    }
}
