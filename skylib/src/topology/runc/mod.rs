//! Containers of `runc`, which containerd, CRI-O, and Podman use, from its state folders.
//!
//! The folders contain `<namespace>/<container>/state.json` or `<container>/state.json`. They are
//! listed at an interval, and a file is read again if its time of modification differs. A container
//! that the probe of an engine shows as well, found by its first process, is one node.

mod state;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use state::{RuncConfig, RuncMount, RuncState};

use self::state::{RUNC, Referred};
use super::netlink::Namespaces;
use super::{Probe, ProbeContext, ProbeError, Subgraph, SubgraphWriter};
use crate::graph::{Graph, Metadata, NodeId};

/// A probe of the containers of `runc`.
#[derive(Debug)]
pub struct RuncProbe {
    namespaces: Arc<Namespaces>,
    run_paths: Vec<PathBuf>,
    writer: SubgraphWriter,
    /// Containers by the path of their state.
    containers: BTreeMap<PathBuf, Container>,
}

/// A container whose state has been read.
#[derive(Debug)]
struct Container {
    /// Time of modification of the state; `None` if it has to be read again, because a file to
    /// which it refers could not be read.
    modified: Option<SystemTime>,
    state: RuncState,
    referred: Referred,
    /// `None` while it does not run.
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    status: &'static str,
    /// Node of the namespace, or of the host.
    owner: NodeId,
    /// Registered path of the namespace.
    namespace: PathBuf,
}

impl RuncProbe {
    /// Creates a probe that watches the state folders `run_paths`, which need not exist.
    #[must_use]
    pub fn new(namespaces: &Arc<Namespaces>, run_paths: Vec<PathBuf>) -> Self {
        Self {
            namespaces: Arc::clone(namespaces),
            run_paths,
            writer: SubgraphWriter::new(namespaces.target().clone()),
            containers: BTreeMap::new(),
        }
    }

    /// Lists the state folders, and writes the containers to the graph.
    fn update(&mut self, context: &ProbeContext) {
        let mut found = Vec::new();
        for folder in &self.run_paths {
            find_states(folder, 2, &mut found);
        }
        let ended: Vec<PathBuf> = self
            .containers
            .keys()
            .filter(|path| !found.contains(path))
            .cloned()
            .collect();
        for path in ended {
            if let Some(container) = self.containers.remove(&path) {
                self.release(&container);
                context.problem(&path.to_string_lossy(), None);
            }
        }
        for path in found.into_iter().take(MAX_CONTAINERS) {
            let result = self.update_one(&path, context);
            let text = result
                .err()
                .map(|error| format!("{}: {error}", path.display()));
            context.problem(&path.to_string_lossy(), text);
        }
        self.show();
    }

    /// Reads a state if it has changed, and registers or releases the namespace.
    fn update_one(&mut self, path: &Path, context: &ProbeContext) -> io::Result<()> {
        let modified = fs::metadata(path)?.modified().ok();
        let known = self.containers.get(path);
        if known.is_none_or(|known| known.modified != modified) {
            self.read(path, modified)?;
        }
        let Some(mut container) = self.containers.remove(path) else {
            return Ok(());
        };
        let result = self.update_running(path, &mut container, context);
        self.containers.insert(path.to_owned(), container);
        result
    }

    /// Reads a state. The namespace remains registered while the first process is the same.
    fn read(&mut self, path: &Path, modified: Option<SystemTime>) -> io::Result<()> {
        let state = RuncState::parse(&read_limited(path)?).map_err(invalid)?;
        let (referred, is_complete) = referred(&state);
        let mut container = Container {
            modified: modified.filter(|_| is_complete),
            state,
            referred,
            running: None,
        };
        if let Some(known) = self.containers.remove(path) {
            if known.state.init_process_pid == container.state.init_process_pid {
                container.running = known.running;
            } else {
                self.release(&known);
            }
        }
        self.containers.insert(path.to_owned(), container);
        Ok(())
    }

    fn update_running(
        &self,
        path: &Path,
        container: &mut Container,
        context: &ProbeContext,
    ) -> io::Result<()> {
        let status = status(path, &container.state);
        if status == STOPPED {
            self.release(container);
            container.running = None;
            return Ok(());
        }
        if let Some(running) = &mut container.running {
            running.status = status;
            return Ok(());
        }
        let namespace = PathBuf::from(format!("/proc/{}/ns/net", container.state.init_process_pid));
        let extra = Metadata::from_iter([("Manager", RUNC), ("Runtime", RUNC)]);
        let name = &container.state.id;
        let owner = self
            .namespaces
            .register(&namespace, name, &extra, context)?;
        container.running = Some(Running {
            status,
            owner,
            namespace,
        });
        Ok(())
    }

    /// Unregisters the namespace of a container.
    fn release(&self, container: &Container) {
        // The probe of an engine may have registered the same path; its registration has the same
        // lifetime as the process.
        if let Some(running) = &container.running {
            self.namespaces.unregister(&running.namespace);
        }
    }

    fn show(&mut self) {
        let engines = self.containers_of_engines();
        let mut wanted = Subgraph::new();
        for container in self.containers.values() {
            let Some(running) = &container.running else {
                continue;
            };
            let pid = i64::from(container.state.init_process_pid);
            if let Some(node) = engines.get(&pid) {
                wanted.annotate(node, &Metadata::from_iter([("Runtime", RUNC)]));
                continue;
            }
            let node = NodeId::derived(&format!("{RUNC}/{}", container.state.id));
            let metadata = container
                .state
                .metadata(running.status, &container.referred);
            wanted.add_node(node.clone(), metadata);
            wanted.own(&running.owner, &node);
        }
        self.writer.apply(wanted);
    }

    /// Returns the nodes of the containers of engines by the process id of their first process.
    fn containers_of_engines(&self) -> BTreeMap<i64, NodeId> {
        let origin = self.writer.target().origin.clone();
        let read = |graph: &mut Graph, _| {
            let nodes = graph.find_nodes("Type", &"container".into());
            let others = nodes.filter(|node| {
                *node.origin == *origin.as_str()
                    && node.metadata.get("Manager") != Some(&RUNC.into())
            });
            others
                .filter_map(|node| {
                    let pid = node
                        .metadata
                        .get_path("Container.InitProcessPID")?
                        .to_int()?;
                    Some((pid, node.id.clone()))
                })
                .collect()
        };
        self.writer.target().update(read).unwrap_or_default()
    }
}

impl Probe for RuncProbe {
    fn name(&self) -> &'static str {
        "runc"
    }

    fn run(&mut self, context: &ProbeContext) -> Result<(), ProbeError> {
        loop {
            self.update(context);
            context.running();
            if context.wait(INTERVAL) {
                return Ok(());
            }
        }
    }
}

/// Appends the paths of the states in a folder and the folders below.
fn find_states(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let state = entry.path().join("state.json");
        if state.is_file() {
            found.push(state);
        } else if depth > 1 {
            find_states(&entry.path(), depth - 1, found);
        }
    }
}

/// Returns the status of a container from its files and its first process.
fn status(path: &Path, state: &RuncState) -> &'static str {
    let stat = fs::read_to_string(format!("/proc/{}/stat", state.init_process_pid));
    match stat.ok().as_deref().and_then(process_state) {
        // The process id was reused by a process that started at another time.
        Some((_, start)) if state.init_process_start != 0 && start != state.init_process_start => {
            STOPPED
        }
        Some(('Z' | 'X', _)) | None => STOPPED,
        Some(_) if path.with_file_name("exec.fifo").exists() => "created",
        Some(_) => "running",
    }
}

/// Returns the state and the start time from `/proc/<pid>/stat` (`man 5 proc`, fields 3 and 22).
fn process_state(stat: &str) -> Option<(char, u64)> {
    // The name, in parentheses, can contain blanks and parentheses.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Reads the files that a state refers to; files that cannot be read count as empty. Also returns
/// whether all files that exist were read.
fn referred(state: &RuncState) -> (Referred, bool) {
    let mut is_complete = true;
    let mut read = |path: &Path| match read_limited(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            is_complete &= error.kind() == io::ErrorKind::NotFound;
            Vec::new()
        }
    };
    let config = state
        .label("bundle")
        .map(|bundle| read(&Path::new(bundle).join("artifacts/create-config")));
    let hosts = state
        .mounted("/etc/hosts")
        .map(|path| read(Path::new(path)));
    let referred = Referred {
        image: config
            .and_then(|json| serde_json::from_slice(&json).ok())
            .unwrap_or_default(),
        hosts: String::from_utf8_lossy(&hosts.unwrap_or_default()).into_owned(),
    };
    (referred, is_complete)
}

/// Reads a regular file of at most [`MAX_BYTES`]: opening a file of another kind can block.
fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(MAX_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Status of a container without processes.
const STOPPED: &str = "stopped";

/// Interval between two lists of the folders.
const INTERVAL: Duration = Duration::from_secs(1);

/// Maximum size of a file, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// Maximum number of containers; each may have a separate network namespace.
const MAX_CONTAINERS: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::graph::Node;
    use crate::time::Timestamp;
    use crate::topology::netlink::NetlinkOptions;
    use crate::topology::{ProbeSet, ProbeTarget};

    struct Lab {
        folder: PathBuf,
        graph: Arc<Mutex<Graph>>,
        target: ProbeTarget,
        probes: ProbeSet,
    }

    impl Lab {
        fn new(name: &str) -> Self {
            let folder = format!("skylib-runc-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(folder);
            drop(fs::remove_dir_all(&folder));
            let graph = Arc::new(Mutex::new(Graph::new()));
            let target = ProbeTarget::for_host(graph.clone(), "edge-01").unwrap();
            let namespaces = Namespaces::new(target.clone(), NetlinkOptions::default());
            let mut probes = ProbeSet::new();
            let paths = vec![folder.clone(), PathBuf::from("/nowhere")];
            probes.start(RuncProbe::new(&namespaces, paths)).unwrap();
            Self {
                folder,
                graph,
                target,
                probes,
            }
        }

        fn write(&self, path: &str, json: &str) {
            let path = self.folder.join(path).join("state.json");
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, json).unwrap();
        }

        fn wait(&self, test: impl Fn(&Graph) -> bool) {
            for _ in 0..2000 {
                if test(&self.graph.lock().unwrap()) {
                    return;
                }
                std::thread::park_timeout(Duration::from_millis(5));
            }
            panic!("{:?}", self.probes.status());
        }
    }

    impl Drop for Lab {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.folder));
        }
    }

    fn own_state(id: &str) -> String {
        let pid = std::process::id();
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let (_, start) = process_state(&stat).unwrap();
        format!(r#"{{"id":"{id}","init_process_pid":{pid},"init_process_start":{start}}}"#)
    }

    #[test]
    fn containers_of_all_folders_appear_and_disappear() {
        let lab = Lab::new("folders");
        lab.write("c1", &own_state("c1"));
        lab.write("k8s.io/c2", &own_state("c2"));
        lab.write(
            "old",
            r#"{"id":"old","init_process_pid":1,"init_process_start":5}"#,
        );
        lab.write("broken", "{");
        let names = |graph: &Graph| {
            let nodes = graph.find_nodes("Type", &"container".into());
            let mut names: Vec<String> = nodes
                .map(|n| {
                    n.metadata
                        .get("Name")
                        .and_then(|v| v.as_text())
                        .unwrap()
                        .to_owned()
                })
                .collect();
            names.sort();
            names
        };
        lab.wait(|graph| names(graph) == ["c1", "c2"]);
        let status = lab.probes.status().swap_remove(0);
        assert!(status.error.unwrap().contains("broken/state.json"));
        fs::remove_dir_all(lab.folder.join("c1")).unwrap();
        lab.wait(|graph| names(graph) == ["c2"]);
    }

    #[test]
    fn a_file_of_a_container_that_cannot_be_read_is_read_again() {
        let lab = Lab::new("hosts");
        let hosts = lab.folder.join("hosts");
        // A folder cannot be read as a file.
        fs::create_dir_all(&hosts).unwrap();
        let mount = format!(
            r#"{{"source":"{}","destination":"/etc/hosts"}}"#,
            hosts.display()
        );
        let config = format!(r#","config":{{"mounts":[{mount}]}}}}"#);
        let state = own_state("c1");
        lab.write("c1", &(state.trim_end_matches('}').to_owned() + &config));
        let has_hosts = |graph: &Graph, wanted: bool| {
            let mut nodes = graph.find_nodes("Type", &"container".into());
            nodes.next().is_some_and(|node| {
                let hosts = node.metadata.get_path("Container.Hosts");
                hosts.is_some() == wanted
            })
        };
        lab.wait(|graph| has_hosts(graph, false));
        fs::remove_dir(&hosts).unwrap();
        fs::write(&hosts, "10.0.0.9 db\n").unwrap();
        lab.wait(|graph| has_hosts(graph, true));
    }

    #[test]
    fn a_container_of_an_engine_is_one_node() {
        let lab = Lab::new("engine");
        lab.write("c1", &own_state("c1"));
        lab.wait(|graph| graph.node_count() == 2);
        let container = crate::value::Map::from_iter([("InitProcessPID", std::process::id())]);
        let mut metadata = Metadata::from_iter([("Type", "container"), ("Manager", "docker")]);
        metadata.set("Container", container);
        let node = Node::new("d", metadata, Timestamp::from_ms(1));
        let node = node.with_origin(lab.target.origin.clone());
        lab.graph.lock().unwrap().add_node(node).unwrap();
        let id = NodeId::from("d");
        lab.wait(|graph| {
            graph.node_count() == 2
                && graph.node(&id).unwrap().metadata.get("Runtime") == Some(&RUNC.into())
        });
        fs::remove_dir_all(&lab.folder).unwrap();
        lab.wait(|graph| graph.node(&id).unwrap().metadata.get("Runtime").is_none());
    }

    #[test]
    fn the_name_of_a_process_cannot_hide_its_state() {
        let stat = "10 (a) Z (b) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 77 0";
        assert_eq!(process_state(stat), Some(('S', 77)));
        assert_eq!(process_state("10 (a"), None);
    }
}
