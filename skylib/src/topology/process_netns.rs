//! Network namespaces of processes, which need not have a name: of services with a private network,
//! and of containers whose engine no probe follows.
//!
//! `/proc/<pid>/ns/net` is read at an interval. A namespace is registered by the path of one of its
//! processes, unless another probe has registered it, and by the path of another one when that process
//! ends. The node of each namespace shows its processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::netlink::Namespaces;
use super::{Probe, ProbeContext, ProbeError, Subgraph, SubgraphWriter};
use crate::graph::Metadata;
use crate::sys::netns::{Netns, NetnsId};
use crate::value::{Map, Value};

/// A probe of the namespaces of processes.
#[derive(Debug)]
pub struct ProcessNetnsProbe {
    namespaces: Arc<Namespaces>,
    writer: SubgraphWriter,
    /// Process by whose path a namespace is registered.
    registered: BTreeMap<NetnsId, u32>,
    /// Namespaces found by the previous update. A new one is registered by the next update only, so
    /// that the probe of its container can name it.
    seen: BTreeSet<NetnsId>,
}

impl ProcessNetnsProbe {
    /// Returns a probe of the namespaces of all processes that this process may inspect.
    #[must_use]
    pub fn new(namespaces: &Arc<Namespaces>) -> Self {
        Self {
            namespaces: Arc::clone(namespaces),
            writer: SubgraphWriter::new(namespaces.target().clone()),
            registered: BTreeMap::new(),
            seen: BTreeSet::new(),
        }
    }

    fn update(&mut self, own: NetnsId, context: &ProbeContext) {
        let mut found = processes_by_namespace(Path::new("/proc"));
        found.remove(&own);
        let omitted = found.len().saturating_sub(MAX_NAMESPACES);
        let text = format!("limit of {MAX_NAMESPACES} namespaces reached; {omitted} are omitted");
        context.problem("processes", (omitted > 0).then_some(text));
        let mut wanted = Subgraph::new();
        for (id, pids) in found.iter().take(MAX_NAMESPACES) {
            if self.seen.contains(id) {
                self.register(*id, pids, context);
            }
            if let Some(node) = self.namespaces.node_of(*id) {
                let shown = pids
                    .iter()
                    .take(MAX_PROCESSES)
                    .map(|pid| Map::from_iter([("Name", process_name(*pid))]).with("Pid", *pid));
                let processes = Metadata::from_iter([("Processes", Value::list(shown))]);
                wanted.annotate(&node, &processes);
            }
        }
        let ended: Vec<NetnsId> = self
            .registered
            .keys()
            .filter(|id| !found.contains_key(id))
            .copied()
            .collect();
        for id in ended {
            if let Some(pid) = self.registered.remove(&id) {
                self.namespaces.unregister(&namespace_path(pid));
            }
        }
        self.seen = found.into_keys().collect();
        self.writer.apply(wanted);
    }

    /// Registers a namespace by the path of a running process.
    fn register(&mut self, id: NetnsId, pids: &BTreeSet<u32>, context: &ProbeContext) {
        let former = self.registered.get(&id).copied();
        let is_known = match former {
            Some(pid) => pids.contains(&pid),
            None => self.namespaces.node_of(id).is_some(),
        };
        let Some(pid) = pids.first().copied().filter(|_| !is_known) else {
            return;
        };
        let path = namespace_path(pid);
        let name = process_name(pid);
        let registered = self
            .namespaces
            .register(&path, &name, &Metadata::new(), context);
        // The new path is registered before the former one is removed, so that the node remains.
        if let Some(former) = former {
            self.namespaces.unregister(&namespace_path(former));
            self.registered.remove(&id);
        }
        // Fails if the process has ended; the next update selects another one.
        if registered.is_ok() {
            self.registered.insert(id, pid);
        }
    }
}

impl Probe for ProcessNetnsProbe {
    fn name(&self) -> &'static str {
        "process_netns"
    }

    fn run(&mut self, context: &ProbeContext) -> Result<(), ProbeError> {
        let own = Netns::current()
            .map_err(|error| ProbeError::system("cannot open the namespace of the host", error))?;
        loop {
            self.update(own.id(), context);
            context.running();
            if context.wait(INTERVAL) {
                return Ok(());
            }
        }
    }
}

fn namespace_path(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

fn process_name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

/// Returns the processes of each namespace; those that this process may not inspect are missing.
fn processes_by_namespace(proc: &Path) -> BTreeMap<NetnsId, BTreeSet<u32>> {
    let mut found: BTreeMap<NetnsId, BTreeSet<u32>> = BTreeMap::new();
    for entry in proc.read_dir().into_iter().flatten().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let stat = fs::metadata(entry.path().join("ns/net"));
        if let Some((pid, stat)) = pid.zip(stat.ok()) {
            let id = NetnsId {
                device: stat.dev(),
                inode: stat.ino(),
            };
            found.entry(id).or_default().insert(pid);
        }
    }
    found
}

/// Interval between two reads.
const INTERVAL: Duration = Duration::from_secs(2);

/// Maximum number of namespaces, each of which needs four file descriptors.
const MAX_NAMESPACES: usize = 2048;

/// Maximum number of processes that a node shows.
const MAX_PROCESSES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_grouped_by_namespace() {
        let found = processes_by_namespace(Path::new("/proc"));
        let own = Netns::current().unwrap().id();
        assert!(found[&own].contains(&std::process::id()));
        assert!(processes_by_namespace(Path::new("/nowhere")).is_empty());
        assert!(!process_name(std::process::id()).is_empty());
    }
}
