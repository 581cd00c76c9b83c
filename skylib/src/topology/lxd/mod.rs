//! Containers of LXD (or Incus), as nodes in their namespaces.
//!
//! The probe opens the WebSocket with the events, then lists the containers, so that no change
//! between the two is lost. Each event of an instance causes it to be read again. Virtual machines
//! have no namespace on the host, and are not shown.

mod instance;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use instance::Instance;

use self::instance::{Change, change, is_name, parse_pid};
use super::container_set::{ContainerSet, MAX_CONTAINERS, RunningContainer};
use super::http;
use super::netlink::Namespaces;
use super::stream::Stream;
use super::websocket::EventSocket;
use super::{Probe, ProbeContext, ProbeError, ServerAddress};

/// A probe of the containers of LXD.
#[derive(Debug)]
pub struct LxdProbe {
    address: ServerAddress,
    containers: ContainerSet,
}

impl LxdProbe {
    /// Returns a probe of the service at an address.
    #[must_use]
    pub fn new(namespaces: &Arc<Namespaces>, address: ServerAddress) -> Self {
        Self {
            address,
            containers: ContainerSet::new("lxd", namespaces),
        }
    }

    /// Shows the containers of the service until the connection ends. Returns the error that ended
    /// it.
    fn follow(&mut self, context: &ProbeContext) -> io::Result<()> {
        let stream = Stream::connect(&self.address, context.stop(), None)?;
        let path = "/1.0/events?type=lifecycle";
        let mut events = EventSocket::open(stream, path, MAX_EVENT_BYTES)?;
        self.read_all(context)?;
        context.running();
        loop {
            match change(&events.next_message()?) {
                None => {}
                Some(Change::All) => self.read_all(context)?,
                Some(Change::One(name)) => {
                    self.read_one(&name, context)?;
                    self.containers.show();
                }
            }
        }
    }

    /// Reads all running containers.
    fn read_all(&mut self, context: &ProbeContext) -> io::Result<()> {
        let body = self.get("/1.0/instances?recursion=1", MAX_LIST_BYTES, context)?;
        let listed = Instance::parse_list(&body)?;
        let running = listed
            .into_iter()
            .filter(|instance| instance.is_running_container() && is_name(&instance.name));
        let running: Vec<Instance> = running.collect();
        let names: Vec<String> = running
            .iter()
            .map(|instance| instance.name.clone())
            .collect();
        self.containers.retain(&names, context);
        for instance in running.iter().take(MAX_CONTAINERS) {
            self.set(instance, context)?;
        }
        self.containers.show();
        Ok(())
    }

    /// Reads one instance, and adds, changes, or removes it.
    fn read_one(&mut self, name: &str, context: &ProbeContext) -> io::Result<()> {
        let body = match self.get(&format!("/1.0/instances/{name}"), MAX_BYTES, context) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.containers.remove(name, context);
                return Ok(());
            }
            body => body?,
        };
        let mut instance = Instance::parse(&body)?;
        name.clone_into(&mut instance.name);
        if instance.is_running_container() {
            return self.set(&instance, context);
        }
        self.containers.remove(name, context);
        Ok(())
    }

    /// Reads the state of a container, and adds or changes it.
    fn set(&mut self, instance: &Instance, context: &ProbeContext) -> io::Result<()> {
        let name = &instance.name;
        let pid = match self.get(&format!("/1.0/instances/{name}/state"), MAX_BYTES, context) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            body => parse_pid(&body?)?,
        };
        if pid <= 0 {
            self.containers.remove(name, context);
            return Ok(());
        }
        let running = RunningContainer {
            name: name.clone(),
            pid,
            has_host_network: false,
            metadata: instance.metadata(),
        };
        self.containers.set(name, running, context);
        Ok(())
    }

    fn get(&self, path: &str, limit: u64, context: &ProbeContext) -> io::Result<Vec<u8>> {
        let timeout = Some(REQUEST_TIMEOUT);
        http::get(&self.address, path, context.stop(), timeout)?.read_all(limit)
    }
}

impl Probe for LxdProbe {
    fn name(&self) -> &'static str {
        "lxd"
    }

    fn run(&mut self, context: &ProbeContext) -> Result<(), ProbeError> {
        match self.follow(context) {
            Err(error) if !context.is_stopping() => {
                let address = &self.address;
                Err(ProbeError::Failed(format!(
                    "cannot watch the containers of LXD at {address}: {error}; check \
                     agent.topology.lxd.url and the permissions of the socket"
                )))
            }
            _ => Ok(()),
        }
    }
}

/// Maximum size of the description of an instance, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// Maximum size of the list of instances, in bytes.
const MAX_LIST_BYTES: u64 = 64 << 20;

/// Maximum size of an event, in bytes.
const MAX_EVENT_BYTES: usize = 1 << 20;

/// Maximum time until the service answers a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
