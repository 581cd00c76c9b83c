//! The TCP and UDP sockets of all namespaces with their processes, as `Sockets` of the host's node.
//!
//! The step `Sockets()` of queries matches them with flows. The sockets are read at an interval; only
//! changed lists are written to the graph, and unchanged entries share memory with the former list.

mod diag;
mod process;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use self::diag::{SocketEntry, read_sockets};
use self::process::{Process, ProcessTable};
use super::netlink::Namespaces;
use super::{Probe, ProbeContext, ProbeError, Subgraph, SubgraphWriter};
use crate::graph::Metadata;
use crate::value::{Map, Value};

/// A probe of the sockets of this host.
#[derive(Debug)]
pub struct SocketInfoProbe {
    namespaces: Arc<Namespaces>,
    interval: Duration,
    writer: SubgraphWriter,
    processes: ProcessTable,
    /// Sockets in the graph, with their metadata values.
    shown: HashMap<SocketEntry, Value>,
}

impl SocketInfoProbe {
    /// Returns a probe that reads the sockets at an interval.
    #[must_use]
    pub fn new(namespaces: &Arc<Namespaces>, interval: Duration) -> Self {
        Self {
            namespaces: Arc::clone(namespaces),
            interval,
            writer: SubgraphWriter::new(namespaces.target().clone()),
            processes: ProcessTable::default(),
            shown: HashMap::new(),
        }
    }

    /// Reads the sockets of all namespaces and writes them to the graph.
    fn update(&mut self, context: &ProbeContext) -> io::Result<()> {
        let mut sockets = Vec::new();
        let mut omitted = read_sockets(&mut sockets, MAX_SOCKETS)?;
        let read = || read_sockets(&mut sockets, MAX_SOCKETS).unwrap_or(0);
        match self.namespaces.run_in_each(read) {
            Ok(counts) => {
                omitted += counts.iter().sum::<usize>();
                context.problem("namespaces", None);
            }
            Err(error) => {
                let text = format!("cannot read the sockets of other namespaces: {error}");
                context.problem("namespaces", Some(text));
            }
        }
        let text = format!("limit of {MAX_SOCKETS} sockets reached; {omitted} are omitted");
        context.problem("sockets", (omitted > 0).then_some(text));
        self.processes.update(
            &sockets
                .iter()
                .map(|entry| entry.inode)
                .collect::<HashSet<_>>(),
        );
        sockets.retain(|entry| self.processes.process(entry.inode).is_some());
        // An order that does not depend on the kernel's hash tables, so that lists can be compared.
        sockets.sort_unstable();
        sockets.dedup();
        let is_same = sockets.len() == self.shown.len()
            && sockets.iter().all(|entry| self.shown.contains_key(entry));
        if !is_same || self.writer.is_empty() {
            self.show(&sockets);
        }
        Ok(())
    }

    fn show(&mut self, sockets: &[SocketEntry]) {
        let mut shown = HashMap::with_capacity(sockets.len());
        let mut list = Vec::with_capacity(sockets.len());
        for entry in sockets {
            let known = self.shown.remove(entry);
            let process = self.processes.process(entry.inode);
            let value = known.or_else(|| Some(metadata(entry, process?)));
            if let Some(value) = value {
                list.push(value.clone());
                shown.insert(*entry, value);
            }
        }
        self.shown = shown;
        let mut wanted = Subgraph::new();
        let sockets = Metadata::from_iter([("Sockets", Value::list(list))]);
        wanted.annotate(&self.writer.target().root.clone(), &sockets);
        self.writer.apply(wanted);
    }
}

impl Probe for SocketInfoProbe {
    fn name(&self) -> &'static str {
        "socketinfo"
    }

    fn run(&mut self, context: &ProbeContext) -> Result<(), ProbeError> {
        loop {
            self.update(context)
                .map_err(|error| ProbeError::system("cannot read the sockets", error))?;
            context.running();
            if context.wait(self.interval) {
                return Ok(());
            }
        }
    }
}

/// Returns the metadata of a socket.
fn metadata(entry: &SocketEntry, process: &Process) -> Value {
    let mut socket = Map::from_iter([
        ("Process", process.program.clone()),
        ("Name", process.name.clone()),
        ("LocalAddress", entry.local.0.to_string().into()),
        ("RemoteAddress", entry.remote.0.to_string().into()),
        ("Protocol", entry.protocol.name().into()),
        ("State", entry.state_name().into()),
    ]);
    let numbers = [
        ("Pid", process.pid),
        ("LocalPort", entry.local.1.into()),
        ("RemotePort", entry.remote.1.into()),
    ];
    for (key, number) in numbers {
        socket.set(key, number);
    }
    socket.into()
}

/// Maximum number of sockets.
const MAX_SOCKETS: usize = 50_000;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Mutex;

    use super::*;
    use crate::graph::Graph;
    use crate::topology::netlink::NetlinkOptions;
    use crate::topology::{ProbeSet, ProbeTarget};

    #[test]
    fn sockets_of_this_process_appear_and_disappear() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let graph = Arc::new(Mutex::new(Graph::new()));
        let target = ProbeTarget::for_host(graph.clone(), "edge-01").unwrap();
        let root = target.root.clone();
        let namespaces = Namespaces::new(target, NetlinkOptions::default());
        let mut probes = ProbeSet::new();
        let interval = Duration::from_millis(20);
        probes
            .start(SocketInfoProbe::new(&namespaces, interval))
            .unwrap();
        let find = || {
            let graph = graph.lock().unwrap();
            let sockets = graph
                .node(&root)?
                .metadata
                .get("Sockets")?
                .as_list()?
                .to_vec();
            let wanted = Value::from(u32::from(port));
            let is_it = |socket: &&Value| {
                socket.as_map().and_then(|map| map.get("LocalPort")) == Some(&wanted)
            };
            sockets
                .iter()
                .find(is_it)
                .map(|socket| serde_json::to_value(socket).unwrap())
        };
        let socket = loop {
            if let Some(socket) = find() {
                break socket;
            }
            std::thread::yield_now();
        };
        assert_eq!(socket["Pid"], serde_json::json!(std::process::id()));
        assert_eq!(socket["LocalAddress"], "127.0.0.1");
        assert_eq!(socket["State"], "LISTEN");
        assert_eq!(socket["Protocol"], "TCP");
        drop(listener);
        while find().is_some() {
            std::thread::yield_now();
        }
    }
}
