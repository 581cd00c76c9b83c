//! Virtual machines of libvirt, and the interfaces of the host that lead to them.
//!
//! The probe speaks libvirt's remote protocol over its read-only socket, so it needs neither the
//! library nor `virsh`, and no permission to change anything. It registers for events, lists the
//! virtual machines, and reads each again that an event concerns. An interface on the host (a tap
//! device) is found by its name, a passed-through device by its PCI address; both can appear after
//! their virtual machine, so the graph is checked again at an interval.

mod client;
mod message;
#[cfg(test)]
mod tests;
mod xml;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

pub use message::Message;
pub use xml::{Address, Device, DomainDevices};

use self::client::LibvirtClient;
use self::message::DomainId;
use super::stream::Stream;
use super::{
    Probe, ProbeContext, ProbeError, ProbeTarget, ServerAddress, Subgraph, SubgraphWriter,
};
use crate::graph::{Direction, Graph, Metadata, NodeId};
use crate::value::{Map, Value};

/// A probe of the virtual machines of one driver of libvirt.
#[derive(Debug)]
pub struct LibvirtProbe {
    url: String,
    writer: SubgraphWriter,
    /// Virtual machines by their UUID.
    machines: BTreeMap<[u8; 16], Machine>,
}

/// A virtual machine.
#[derive(Debug)]
struct Machine {
    name: String,
    state: u32,
    devices: Vec<Device>,
}

impl LibvirtProbe {
    /// Returns a probe of a driver, such as `qemu:///system` or `qemu+tcp://host/system`; the empty
    /// text means `qemu:///system`.
    #[must_use]
    pub fn new(target: &ProbeTarget, url: &str) -> Self {
        Self {
            url: url.to_owned(),
            writer: SubgraphWriter::new(target.clone()),
            machines: BTreeMap::new(),
        }
    }

    /// Shows the virtual machines until the connection ends. Returns the error that ended it.
    fn follow(&mut self, context: &ProbeContext) -> io::Result<()> {
        let server = Server::parse(&self.url)?;
        let stream = Stream::connect(&server.address, context.stop(), Some(CHECK))?;
        let mut client = LibvirtClient::open(stream, &server.driver)?;
        let domains = client.domains()?;
        let omitted = domains.len().saturating_sub(MAX_MACHINES);
        let text =
            format!("limit of {MAX_MACHINES} virtual machines reached; {omitted} are omitted");
        context.problem("machines", (omitted > 0).then_some(text));
        self.machines
            .retain(|uuid, _| domains.iter().any(|domain| domain.uuid == *uuid));
        for domain in domains.iter().take(MAX_MACHINES) {
            self.read(&mut client, domain)?;
        }
        self.show();
        context.running();
        loop {
            match client.next_changed() {
                Ok(domain) => {
                    self.read(&mut client, &domain)?;
                    while let Some(domain) = client.take_changed() {
                        self.read(&mut client, &domain)?;
                    }
                }
                // No event for a while: interfaces of the host may have appeared.
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                Err(error) => return Err(error),
            }
            self.show();
        }
    }

    /// Reads a virtual machine, and adds, changes, or removes it.
    fn read<S: io::Read + io::Write>(
        &mut self,
        client: &mut LibvirtClient<S>,
        domain: &DomainId,
    ) -> io::Result<()> {
        let read = client.state(domain).and_then(|state| {
            let xml = client.xml(domain)?;
            Ok((state, DomainDevices::parse(&xml).devices))
        });
        match read {
            Ok((state, devices)) => {
                let is_known = self.machines.contains_key(&domain.uuid);
                if is_known || self.machines.len() < MAX_MACHINES {
                    let machine = Machine {
                        name: domain.name.clone(),
                        state,
                        devices,
                    };
                    self.machines.insert(domain.uuid, machine);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.machines.remove(&domain.uuid);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Writes the virtual machines to the graph.
    fn show(&mut self) {
        let root = self.writer.target().root.clone();
        let machines = &self.machines;
        let wanted = self.writer.target().update(|graph, _| {
            let mut wanted = Subgraph::new();
            for (uuid, machine) in machines {
                add_machine(graph, &root, uuid, machine, &mut wanted);
            }
            wanted
        });
        if let Some(wanted) = wanted {
            self.writer.apply(wanted);
        }
    }
}

impl Probe for LibvirtProbe {
    fn name(&self) -> &'static str {
        "libvirt"
    }

    fn run(&mut self, context: &ProbeContext) -> Result<(), ProbeError> {
        match self.follow(context) {
            Err(error) if !context.is_stopping() => Err(ProbeError::Failed(format!(
                "cannot watch the virtual machines of libvirt: {error}; check \
                 agent.topology.libvirt.url and the permissions of the socket"
            ))),
            _ => Ok(()),
        }
    }
}

/// Address of libvirt, and the driver to use.
#[derive(Debug, PartialEq, Eq)]
struct Server {
    address: ServerAddress,
    driver: String,
}

impl Server {
    /// Parses a URL of libvirt: `driver[+transport]://[host[:port]]/path[?socket=…]`.
    fn parse(url: &str) -> io::Result<Self> {
        let url = if url.is_empty() {
            "qemu:///system"
        } else {
            url
        };
        let invalid = || {
            let text =
                format!("{url:?} is not a URL such as qemu:///system or qemu+tcp://host/system");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(invalid)?;
        let (driver, transport) = scheme.split_once('+').unwrap_or((scheme, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, path) = rest.split_once('/').ok_or_else(invalid)?;
        let sockets = query
            .split('&')
            .filter_map(|pair| pair.strip_prefix("socket="));
        let address = match (transport, host) {
            ("" | "unix", "") => {
                let socket: Option<&Path> = sockets.map(Path::new).next();
                let path: &Path = match socket {
                    Some(path) => path,
                    None => find_socket(),
                };
                ServerAddress::Unix(path.to_owned())
            }
            ("tcp", host) if !host.is_empty() => {
                let has_port = host
                    .rsplit_once(':')
                    .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                ServerAddress::Tcp(match has_port {
                    true => host.to_owned(),
                    false => format!("{host}:16509"),
                })
            }
            _ => return Err(invalid()),
        };
        Ok(Self {
            address,
            driver: format!("{driver}:///{path}"),
        })
    }
}

/// Returns the first socket that exists: of one daemon for all drivers, or of QEMU's daemon.
fn find_socket() -> &'static Path {
    let mut found = SOCKETS.iter().map(Path::new).filter(|path| path.exists());
    found.next().unwrap_or(Path::new(SOCKETS[0]))
}

/// Adds a virtual machine, and the interfaces and devices of the host that lead to it.
fn add_machine(
    graph: &Graph,
    root: &NodeId,
    uuid: &[u8; 16],
    machine: &Machine,
    wanted: &mut Subgraph,
) {
    let uuid = uuid::Uuid::from_bytes(*uuid);
    let node = NodeId::derived(&format!("{root}/libvirt/{uuid}"));
    let state = STATES.get(machine.state as usize).unwrap_or(&STATES[0]);
    let metadata = Metadata::from_iter([
        ("Name", machine.name.as_str()),
        ("Type", "libvirt"),
        ("State", state),
    ]);
    wanted.add_node(node.clone(), metadata);
    wanted.own(root, &node);
    for device in &machine.devices {
        let keys = device_metadata(machine, device);
        let source = device.source.as_ref().map(|address| address.info.as_str());
        let is_passed = match device.is_interface {
            true => device.kind == "hostdev",
            false => device.mode == "subsystem" && device.kind == "pci",
        };
        let leading = match (is_passed, source) {
            (true, Some(address)) => {
                let known = child_with(graph, root, "BusInfo", address);
                known.unwrap_or_else(|| add_device(root, device, address, &keys, wanted))
            }
            (false, _) if device.is_interface && !device.target.is_empty() => {
                match child_with(graph, root, "Name", &device.target) {
                    Some(known) => known,
                    None => continue,
                }
            }
            _ => continue,
        };
        if !wanted.contains(&leading) {
            wanted.annotate(&leading, &keys);
        }
        wanted.link(&leading, &node, "vlayer2", Metadata::new());
    }
}

/// Adds a node for a PCI device that has no interface on the host, and returns its identifier.
fn add_device(
    root: &NodeId,
    device: &Device,
    address: &str,
    keys: &Metadata,
    wanted: &mut Subgraph,
) -> NodeId {
    let node = NodeId::derived(&format!("{root}/libvirt/{address}"));
    let prefix = if device.is_interface { "itf" } else { "hdev" };
    let short = address.strip_prefix("0000:").unwrap_or(address);
    let mut metadata = keys.clone();
    metadata.set("Name", format!("{prefix}-{short}"));
    metadata.set("BusInfo", address);
    metadata.set("Driver", "pci-passthrough");
    metadata.set("Type", "device");
    wanted.add_node(node.clone(), metadata);
    wanted.own(root, &node);
    node
}

/// Returns the keys that a device of a virtual machine adds to a node of the host.
fn device_metadata(machine: &Machine, device: &Device) -> Metadata {
    let mut libvirt = Map::from_iter([
        ("Domain", machine.name.as_str()),
        ("BusType", &device.address.bus_type),
        ("BusInfo", &device.address.info),
        ("Alias", &device.alias),
    ]);
    let mut metadata = Metadata::new();
    if !device.mac.is_empty() {
        libvirt.set("MAC", device.mac.as_str());
        metadata.set("PeerIntfMAC", device.mac.as_str());
    }
    metadata.with("Libvirt", libvirt)
}

/// Returns the node with a value that the host owns. Nodes of this probe are not considered.
fn child_with(graph: &Graph, root: &NodeId, key: &str, value: &str) -> Option<NodeId> {
    let mut found = graph.find_nodes(key, &Value::from(value)).filter(|node| {
        let mut owners = graph.edges_of(&node.id, Direction::In);
        let driver = node.metadata.get("Driver").and_then(Value::as_text);
        driver != Some("pci-passthrough")
            && node.metadata.get("Type").and_then(Value::as_text) != Some("libvirt")
            && owners.any(|(edge, owner)| edge.is_ownership() && owner.id == *root)
    });
    found.next().map(|node| node.id.clone())
}

/// Names of the states of `virDomainState`.
const STATES: [&str; 8] = [
    "UNDEFINED",
    "UP",
    "BLOCKED",
    "PAUSED",
    "DOWN",
    "DOWN",
    "CRASHED",
    "PMSUSPENDED",
];

/// Read-only sockets of libvirt.
const SOCKETS: [&str; 2] = [
    "/var/run/libvirt/libvirt-sock-ro",
    "/var/run/libvirt/virtqemud-sock-ro",
];

/// Interval at which the interfaces of the host are checked, and maximum time of a reply.
const CHECK: Duration = Duration::from_secs(5);

/// Maximum number of virtual machines.
const MAX_MACHINES: usize = 4096;
