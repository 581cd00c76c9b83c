//! Containers of an engine with Docker's API (Docker, Podman), as nodes in their namespaces.
//!
//! The probe first opens the stream of events, then lists the containers, so that no change between
//! the two is lost. Every event causes one container to be read again: events only say what has
//! changed, not the new state. After the connection is lost, the probe starts again, and the nodes
//! remain until the new list is complete.

mod container;
mod http;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use container::{
    Container, ContainerConfig, ContainerState, EngineEvent, EventActor, HostConfig,
};

use self::container::{ListedContainer, is_identifier};
use super::json_frames::JsonFrames;
use super::netlink::Namespaces;
use super::{Probe, ProbeContext, ProbeError, ServerAddress, Subgraph, SubgraphWriter};
use crate::graph::{Metadata, NodeId};

/// A probe of the containers of one engine.
#[derive(Debug)]
pub struct DockerProbe {
    name: &'static str,
    address: ServerAddress,
    namespaces: Arc<Namespaces>,
    writer: SubgraphWriter,
    /// Running containers by their identifier.
    containers: BTreeMap<String, Shown>,
}

/// A running container.
#[derive(Debug)]
struct Shown {
    container: Container,
    /// Node of the container's namespace, or of the host.
    owner: NodeId,
    /// Registered path of the namespace.
    path: PathBuf,
}

impl DockerProbe {
    /// Returns a probe of Docker.
    #[must_use]
    pub fn docker(namespaces: &Arc<Namespaces>, address: ServerAddress) -> Self {
        Self::new("docker", namespaces, address)
    }

    /// Returns a probe of Podman.
    #[must_use]
    pub fn podman(namespaces: &Arc<Namespaces>, address: ServerAddress) -> Self {
        Self::new("podman", namespaces, address)
    }

    fn new(name: &'static str, namespaces: &Arc<Namespaces>, address: ServerAddress) -> Self {
        Self {
            name,
            address,
            namespaces: Arc::clone(namespaces),
            writer: SubgraphWriter::new(namespaces.target().clone()),
            containers: BTreeMap::new(),
        }
    }

    /// Follows the engine until the connection ends, with the reason.
    fn follow(&mut self, context: &ProbeContext) -> io::Result<()> {
        let path = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D";
        let mut events = http::get(&self.address, path, context.stop(), None)?;
        self.read_all(context)?;
        context.running();
        let mut frames = JsonFrames::new(MAX_EVENT_BYTES);
        let mut buffer = vec![0; 16 << 10];
        loop {
            let count = events.read(&mut buffer)?;
            if count == 0 {
                return Err(io::Error::other("the engine has closed the connection"));
            }
            frames.extend(&buffer[..count]);
            let mut is_changed = false;
            while let Some(frame) = frames.next_frame().map_err(invalid)? {
                let event = EngineEvent::parse(&frame).map_err(invalid)?;
                if let Some(id) = event.changed_container() {
                    is_changed = true;
                    self.read_one(id, context)?;
                }
            }
            if is_changed {
                self.show();
            }
        }
    }

    /// Reads all running containers.
    fn read_all(&mut self, context: &ProbeContext) -> io::Result<()> {
        let body = self.get("/containers/json", MAX_LIST_BYTES, context)?;
        let listed: Vec<ListedContainer> = serde_json::from_slice(&body).map_err(invalid)?;
        let known: Vec<String> = self.containers.keys().cloned().collect();
        for id in known {
            if !listed.iter().any(|container| container.id == id) {
                self.remove(&id, context);
            }
        }
        for ListedContainer { id } in listed.iter().take(MAX_CONTAINERS) {
            if is_identifier(id) {
                self.read_one(id, context)?;
            }
        }
        let omitted = listed.len().saturating_sub(MAX_CONTAINERS);
        let text = format!("limit of {MAX_CONTAINERS} containers reached; {omitted} are omitted");
        context.problem("containers", (omitted > 0).then_some(text));
        self.show();
        Ok(())
    }

    /// Reads one container, and adds, changes, or removes it.
    fn read_one(&mut self, id: &str, context: &ProbeContext) -> io::Result<()> {
        let body = match self.get(&format!("/containers/{id}/json"), MAX_BYTES, context) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.remove(id, context);
                return Ok(());
            }
            body => body?,
        };
        let mut container = Container::parse(&body).map_err(invalid)?;
        if !container.is_running() {
            self.remove(id, context);
            return Ok(());
        }
        id.clone_into(&mut container.id);
        let path = PathBuf::from(format!("/proc/{}/ns/net", container.state.pid));
        if self
            .containers
            .get(id)
            .is_some_and(|known| known.path != path)
        {
            self.remove(id, context);
        }
        if self.containers.len() >= MAX_CONTAINERS && !self.containers.contains_key(id) {
            return Ok(());
        }
        let name = container.display_name();
        match self.owner_of(&container, &path, context) {
            Ok(owner) => {
                context.problem(id, None);
                let shown = Shown {
                    container,
                    owner,
                    path,
                };
                self.containers.insert(id.to_owned(), shown);
            }
            // The container has ended since it was read; its event follows.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.remove(id, context),
            Err(error) => {
                let text = format!("cannot open the namespace of container {name}: {error}");
                context.problem(id, Some(text));
            }
        }
        Ok(())
    }

    /// Returns the node that owns a container: the host, or the node of its namespace.
    fn owner_of(
        &self,
        container: &Container,
        path: &Path,
        context: &ProbeContext,
    ) -> io::Result<NodeId> {
        if container.has_host_network() {
            return Ok(self.writer.target().root.clone());
        }
        let extra = Metadata::from_iter([("Manager", self.name)]);
        let name = container.display_name();
        self.namespaces.register(path, name, &extra, context)
    }

    fn remove(&mut self, id: &str, context: &ProbeContext) {
        context.problem(id, None);
        if let Some(former) = self.containers.remove(id) {
            self.namespaces.unregister(&former.path);
        }
    }

    /// Writes the running containers to the graph.
    fn show(&mut self) {
        let mut wanted = Subgraph::new();
        for (id, shown) in &self.containers {
            let node = NodeId::derived(&format!("{}/{id}", self.name));
            wanted.add_node(node.clone(), shown.container.metadata(self.name));
            wanted.own(&shown.owner, &node);
        }
        self.writer.apply(wanted);
    }

    fn get(&self, path: &str, limit: u64, context: &ProbeContext) -> io::Result<Vec<u8>> {
        let timeout = Some(REQUEST_TIMEOUT);
        http::get(&self.address, path, context.stop(), timeout)?.read_all(limit)
    }
}

impl Probe for DockerProbe {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&mut self, context: &ProbeContext) -> Result<(), ProbeError> {
        match self.follow(context) {
            Err(error) if !context.is_stopping() => {
                let (name, address) = (self.name, &self.address);
                Err(ProbeError::Failed(format!(
                    "cannot follow the containers of {name} at {address}: {error}; check \
                     agent.topology.{name}.url and the permissions of the socket"
                )))
            }
            _ => Ok(()),
        }
    }
}

/// Returns the error of a malformed response.
fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Maximum size of the description of a container, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// Maximum size of the list of containers, in bytes.
const MAX_LIST_BYTES: u64 = 64 << 20;

/// Maximum size of an event, in bytes.
const MAX_EVENT_BYTES: usize = 1 << 20;

/// Maximum number of containers; each may have a namespace of its own.
const MAX_CONTAINERS: usize = 4096;

/// Maximum time until the engine answers a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
