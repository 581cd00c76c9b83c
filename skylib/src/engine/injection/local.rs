//! `LocalInjections`: sends packets on the interfaces of this host.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::bounded;
use parking_lot::Mutex;

use super::Problems;
use super::hub::InjectionTarget;
use super::run::{PACKET_INJECTIONS, Run};
use super::runs::{RunKey, RunThread, Runs};
use crate::capture::link_type_of_encap;
use crate::engine::graph::{SharedGraph, namespace_of};
use crate::engine::monotonic;
use crate::error_chain::Chain;
use crate::graph::{GraphAccess, Node, NodeId};
use crate::inject::{PacketRequest, PacketSender, Packets};
use crate::packet::LinkType;
use crate::value::Value;

/// Injections on the interfaces of this host, each with a thread that sends.
pub(crate) struct LocalInjections {
    graph: Arc<SharedGraph>,
    /// Origin of the elements that this engine's probes create.
    origin: String,
    problems: Arc<Problems>,
    runs: Mutex<Runs>,
}

impl LocalInjections {
    pub(crate) fn new(graph: Arc<SharedGraph>, origin: String, problems: Arc<Problems>) -> Self {
        Self {
            graph,
            origin,
            problems,
            runs: Mutex::default(),
        }
    }

    /// Removes injections from their nodes.
    fn hide(&self, injections: &[RunKey]) {
        if injections.is_empty() {
            return;
        }
        self.graph.update_as(None, |graph, now| {
            for (node, injection) in injections {
                PACKET_INJECTIONS.remove(graph, node, injection, now);
            }
        });
    }

    /// Opens the interface of a node and prepares the packets.
    fn prepare(&self, node: &NodeId, request: PacketRequest) -> Result<Run, String> {
        let interface = self.interface(node)?;
        let link = interface.link;
        let mut seed = [0; 8];
        seed.copy_from_slice(&uuid::Uuid::new_v4().as_bytes()[8..]);
        let packets = Packets::new(&request, link, u64::from_be_bytes(seed));
        let packets = packets.map_err(|error| chain(&error))?;
        let sender = PacketSender::open(&interface.name, interface.namespace.as_deref(), link);
        Ok(Run {
            graph: Arc::clone(&self.graph),
            problems: Arc::clone(&self.problems),
            node: node.clone(),
            sender: sender.map_err(|error| chain(&error))?,
            packets,
            request,
        })
    }

    /// Returns the interface of a node.
    fn interface(&self, id: &NodeId) -> Result<Interface, String> {
        let mut found = Err("the node does not exist".to_owned());
        self.graph.read(&mut |graph| {
            if let Some(node) = graph.node(id) {
                let text = |key: &str| node.metadata.get(key).and_then(Value::as_text);
                let encap_type = text("EncapType").unwrap_or_default();
                found = match text("Name").filter(|name| !name.is_empty()) {
                    None => Err("the node has no name".to_owned()),
                    Some(name) => Ok(Interface {
                        name: name.to_owned(),
                        namespace: namespace_of(graph, id, &self.origin),
                        link: link_type_of_encap(encap_type).unwrap_or(LinkType::ETHERNET),
                    }),
                };
            }
        });
        found
    }
}

/// An interface to send on.
struct Interface {
    name: String,
    /// File of its namespace; `None` for the namespace of this process.
    namespace: Option<PathBuf>,
    link: LinkType,
}

impl InjectionTarget for LocalInjections {
    fn owns(&self, node: &Node) -> bool {
        *node.origin == *self.origin && node.metadata.get("IfIndex").is_some()
    }

    fn start(&self, node: &Node, request: PacketRequest) -> Result<(), String> {
        let node = &node.id;
        let key = (node.clone(), request.uuid.clone());
        let mut runs = self.runs.lock();
        self.hide(&runs.sweep(monotonic::now()));
        if runs.contains(&key) {
            return Ok(());
        }
        if runs.running() >= MAX_RUNS {
            return Err(format!(
                "limit of {MAX_RUNS} nodes that send packets reached; try again when an injection \
                 has ended"
            ));
        }
        let run = self.prepare(node, request)?;
        let (stop, stopped) = bounded(0);
        let thread = std::thread::Builder::new()
            .name("inject".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || run.send_all(&stopped))
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        runs.add(key, RunThread { stop, thread });
        Ok(())
    }

    fn stop(&self, node: &NodeId, injection: &str) -> bool {
        let key = (node.clone(), injection.to_owned());
        let Some(run) = self.runs.lock().remove(&key) else {
            return false;
        };
        if let Some(thread) = run {
            thread.join(injection);
        }
        self.hide(&[key]);
        true
    }
}

/// Formats an error with its causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    Chain(error).to_string()
}

/// Maximum number of nodes that send at the same time.
const MAX_RUNS: usize = 256;
