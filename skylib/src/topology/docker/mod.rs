//! Containers of an engine with Docker's API (Docker, Podman), as nodes in their namespaces.
//!
//! The probe first opens the stream of events, then lists the containers, so that no change between
//! the two is lost. Every event causes one container to be read again: events only say what has
//! changed, not the new state. After the connection is lost, the probe starts again, and the nodes
//! remain until the new list is complete.

mod container;
#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

pub use container::{
    Container, ContainerConfig, ContainerState, EngineEvent, EventActor, HostConfig,
};

use self::container::{ListedContainer, is_identifier};
use super::container_set::{ContainerSet, MAX_CONTAINERS, RunningContainer};
use super::http;
use super::json_frames::JsonFrames;
use super::netlink::Namespaces;
use super::{Probe, ProbeContext, ProbeError, ServerAddress};

/// A probe of the containers of one engine.
#[derive(Debug)]
pub struct DockerProbe {
    name: &'static str,
    address: ServerAddress,
    containers: ContainerSet,
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
            containers: ContainerSet::new(name, namespaces),
        }
    }

    /// Shows the containers of the engine until the connection ends. Returns the error that ended
    /// it.
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
                self.containers.show();
            }
        }
    }

    /// Reads all running containers.
    fn read_all(&mut self, context: &ProbeContext) -> io::Result<()> {
        let body = self.get("/containers/json", MAX_LIST_BYTES, context)?;
        let listed: Vec<ListedContainer> = serde_json::from_slice(&body).map_err(invalid)?;
        let ids: Vec<String> = listed.into_iter().map(|container| container.id).collect();
        self.containers.retain(&ids, context);
        for id in ids.iter().take(MAX_CONTAINERS) {
            if is_identifier(id) {
                self.read_one(id, context)?;
            }
        }
        self.containers.show();
        Ok(())
    }

    /// Reads one container, and adds, changes, or removes it.
    fn read_one(&mut self, id: &str, context: &ProbeContext) -> io::Result<()> {
        let body = match self.get(&format!("/containers/{id}/json"), MAX_BYTES, context) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.containers.remove(id, context);
                return Ok(());
            }
            body => body?,
        };
        let mut container = Container::parse(&body).map_err(invalid)?;
        if !container.is_running() {
            self.containers.remove(id, context);
            return Ok(());
        }
        id.clone_into(&mut container.id);
        let running = RunningContainer {
            name: container.display_name().to_owned(),
            pid: container.state.pid,
            has_host_network: container.has_host_network(),
            metadata: container.metadata(self.name),
        };
        self.containers.set(id, running, context);
        Ok(())
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
                    "cannot watch the containers of {name} at {address}: {error}; check \
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

/// Maximum time until the engine answers a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
