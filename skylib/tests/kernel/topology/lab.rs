//! `Lab`: a network namespace with probes that fill a graph.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use skylib::graph::{
    Direction, Edge, Graph, GraphEvent, GraphWriter, Metadata, Node, NodeId, Origin, Processor,
};
use skylib::time::{Clock, SystemClock, Timestamp};
use skylib::topology::netlink::{Namespaces, NetlinkOptions, NetlinkProbe};
use skylib::topology::netns::NetnsProbe;
use skylib::topology::tid::TidProcessor;
use skylib::topology::{ProbeSet, ProbeStatus, ProbeTarget};
use skylib::value::Value;

use crate::support::{in_new_namespace, ip, sh, unshare_mounts};

const ORIGIN: &str = "agent.lab";

/// Runs a test in a new network namespace.
pub(super) fn run(test: impl FnOnce(Lab) + Send) {
    in_new_namespace(|| {
        unshare_mounts();
        test(Lab::new());
    });
}

/// Returns the identity of a namespace file: device and inode.
pub(super) fn identity(path: &Path) -> (u64, u64) {
    let metadata = std::fs::metadata(path).unwrap();
    (metadata.dev(), metadata.ino())
}

/// The owner of the graph.
#[derive(Default)]
pub(super) struct Shared {
    inner: Mutex<(Graph, Option<TidProcessor>, Vec<GraphEvent>)>,
    changed: Condvar,
}

impl GraphWriter for Shared {
    fn update(&self, work: &mut dyn FnMut(&mut Graph, Timestamp)) {
        let mut inner = self.inner.lock().unwrap();
        let (graph, tids, log) = &mut *inner;
        let now = SystemClock.now();
        work(graph, now);
        loop {
            let events = graph.take_events();
            if events.is_empty() {
                break;
            }
            for event in &events {
                tids.get_or_insert_with(|| TidProcessor::new(ORIGIN))
                    .process(graph, event, now);
            }
            log.extend(events);
        }
        self.changed.notify_all();
    }
}

pub(super) struct Lab {
    pub(super) shared: Arc<Shared>,
    pub(super) root: NodeId,
    pub(super) probes: ProbeSet,
    pub(super) run_path: PathBuf,
    mounted: Vec<PathBuf>,
}

impl Lab {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = format!("skylib-netns-{}-{number}", std::process::id());
        let run_path = std::env::temp_dir().join(folder);
        let (shared, root) = (Arc::new(Shared::default()), NodeId::random());
        shared.inner.lock().unwrap().0 = Graph::new().with_journal();
        let metadata = Metadata::from_iter([("Name", "lab"), ("Type", "host")]);
        shared.update(&mut |graph, now| {
            graph
                .add_node(
                    Node::new(root.clone(), metadata.clone(), now)
                        .with_origin(Origin::from_text(ORIGIN).with_host("lab")),
                )
                .unwrap();
        });
        Self {
            shared,
            root,
            probes: ProbeSet::new(),
            run_path,
            mounted: Vec::new(),
        }
    }

    /// Starts both probes after creating the folder of namespaces.
    pub(super) fn start(&mut self) -> Arc<Namespaces> {
        self.make_run_path();
        self.start_with(NetlinkOptions::default())
    }

    pub(super) fn make_run_path(&self) {
        std::fs::create_dir_all(&self.run_path).unwrap();
    }

    /// Starts the probes of links and namespaces, and returns the namespaces for further probes.
    pub(super) fn start_with(&mut self, options: NetlinkOptions) -> Arc<Namespaces> {
        let namespaces = self.namespaces(options);
        self.probes.start(NetlinkProbe::new(&namespaces)).unwrap();
        self.probes
            .start(NetnsProbe::new(&namespaces, &self.run_path))
            .unwrap();
        self.wait("the loopback interface", |g| g.count(&[("Name", "lo")]) > 0);
        namespaces
    }

    pub(super) fn namespaces(&self, options: NetlinkOptions) -> Arc<Namespaces> {
        let target = ProbeTarget::new(
            self.shared.clone(),
            Origin::new("agent", "lab"),
            self.root.clone(),
        );
        Namespaces::new(target, options)
    }

    /// Creates a namespace as `ip netns add` does: first the file, then the mount.
    pub(super) fn add_netns(&mut self, name: &str) {
        let path = self.run_path.join(name);
        std::fs::write(&path, "").unwrap();
        sh(&format!("unshare --net={} true", path.display()));
        self.mounted.push(path);
    }

    /// Removes a namespace as `ip netns del` does.
    pub(super) fn del_netns(&mut self, name: &str) {
        let path = self.run_path.join(name);
        sh(&format!("umount -l {0} && rm {0}", path.display()));
        self.mounted.retain(|p| *p != path);
    }

    /// Adds a second path to a namespace.
    pub(super) fn bind_netns(&mut self, from: &Path, name: &str) {
        let path = self.run_path.join(name);
        std::fs::write(&path, "").unwrap();
        sh(&format!(
            "mount --bind {} {}",
            from.display(),
            path.display()
        ));
        self.mounted.push(path);
    }

    /// Runs `ip` inside a named namespace.
    pub(super) fn ip_in(&self, name: &str, arguments: &str) {
        let path = self.run_path.join(name);
        sh(&format!("nsenter --net={} ip {arguments}", path.display()));
    }

    /// Moves a link into a named namespace, from the lab's or another one.
    pub(super) fn move_to(&self, from: Option<&str>, link: &str, name: &str) {
        let inside = self.inhabitant(name);
        let command = format!("link set {link} netns {}", inside.0.id());
        match from {
            Some(from) => self.ip_in(from, &command),
            None => drop(ip(&command)),
        }
    }

    /// Starts a process inside a named namespace, so that `ip` can name the namespace by its process id.
    pub(super) fn inhabitant(&self, name: &str) -> Inhabitant {
        let path = self.run_path.join(name);
        let argument = format!("--net={}", path.display());
        let process = Command::new("nsenter")
            .args([&argument, "sleep", "60"])
            .spawn()
            .unwrap();
        let wanted = identity(&path);
        let own = PathBuf::from(format!("/proc/{}/ns/net", process.id()));
        while identity(&own) != wanted {
            std::thread::yield_now();
        }
        Inhabitant(process)
    }

    /// Waits until the graph passes a test.
    pub(super) fn wait(&self, what: &str, test: impl Fn(&View<'_>) -> bool) {
        let inner = self.shared.inner.lock().unwrap();
        let (inner, result) = self
            .shared
            .changed
            .wait_timeout_while(inner, TIMEOUT, |inner| !test(&View(&inner.0)))
            .unwrap();
        if result.timed_out() {
            let nodes: Vec<String> = inner
                .0
                .nodes()
                .map(|n| serde_json::to_string(&**n).unwrap())
                .collect();
            let edges: Vec<String> = inner
                .0
                .edges()
                .map(|e| serde_json::to_string(&**e).unwrap())
                .collect();
            let status = self.probes.status();
            drop(inner);
            panic!(
                "timed out waiting for: {what}\n{}\n{}\n{status:?}",
                nodes.join("\n"),
                edges.join("\n")
            );
        }
    }

    /// Calls a function with the current graph.
    pub(super) fn look<T>(&self, look: impl FnOnce(&View<'_>) -> T) -> T {
        look(&View(&self.shared.inner.lock().unwrap().0))
    }

    /// Calls a function while the graph is locked.
    pub(super) fn hold<T>(&self, work: impl FnOnce() -> T) -> T {
        let _held = self.shared.inner.lock().unwrap();
        work()
    }

    /// Returns the events since the last call.
    pub(super) fn take_events(&self) -> Vec<GraphEvent> {
        std::mem::take(&mut self.shared.inner.lock().unwrap().2)
    }

    /// Waits until the status of a probe passes a test.
    pub(super) fn wait_status(&self, name: &str, test: impl Fn(&ProbeStatus) -> bool) {
        let began = SystemClock.now();
        while !test(&self.status(name)) {
            let waited = SystemClock.now().as_ms() - began.as_ms();
            let timeout = i64::try_from(TIMEOUT.as_millis()).unwrap();
            assert!(
                waited < timeout,
                "timed out waiting for a status: {:?}",
                self.status(name)
            );
            std::thread::yield_now();
        }
    }

    pub(super) fn status(&self, name: &str) -> ProbeStatus {
        self.probes
            .status()
            .into_iter()
            .find(|status| status.name == name)
            .unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.probes.stop();
        for path in &self.mounted {
            let _status = Command::new("umount").arg("-l").arg(path).status();
        }
        let _removed = std::fs::remove_dir_all(&self.run_path);
    }
}

/// A process that sleeps.
pub(super) struct Inhabitant(pub(super) Child);

impl Inhabitant {
    /// Starts a process in the namespace of the calling thread.
    pub(super) fn here() -> Self {
        Self(Command::new("sleep").arg("60").spawn().unwrap())
    }
}

impl Drop for Inhabitant {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Queries of a graph.
pub(super) struct View<'a>(pub(super) &'a Graph);

impl<'a> View<'a> {
    pub(super) fn nodes(&self, pairs: &[(&str, &str)]) -> Vec<&'a Node> {
        let matches = |node: &&Node| {
            pairs
                .iter()
                .all(|(k, v)| node.metadata.get(k).and_then(Value::as_text) == Some(v))
        };
        self.0.nodes().map(|n| &**n).filter(matches).collect()
    }

    pub(super) fn count(&self, pairs: &[(&str, &str)]) -> usize {
        self.nodes(pairs).len()
    }

    /// Returns the node of a name, if there is exactly one.
    pub(super) fn node(&self, name: &str) -> Option<&'a Node> {
        match self.nodes(&[("Name", name)])[..] {
            [node] => Some(node),
            _ => None,
        }
    }

    /// Returns the newest node of a name inside a named namespace.
    pub(super) fn inside(&self, namespace: &str, name: &str) -> Option<&'a Node> {
        self.nodes(&[("Name", namespace), ("Type", "netns")])
            .first()?;
        self.child(namespace, name)
    }

    /// Returns the newest node of a name that the node of another name owns.
    pub(super) fn child(&self, owner: &str, name: &str) -> Option<&'a Node> {
        let owner = self.nodes(&[("Name", owner)]).first()?.id.clone();
        let children = self
            .0
            .edges_of(&owner, Direction::Out)
            .map(|(_, node)| &**node);
        children.filter(|node| text(node, "Name") == name).last()
    }

    pub(super) fn text(&self, name: &str, key: &str) -> String {
        self.node(name)
            .map(|node| text(node, key))
            .unwrap_or_default()
    }

    pub(super) fn int(&self, name: &str, key: &str) -> Option<i64> {
        self.node(name)?.metadata.get(key)?.as_int()
    }

    pub(super) fn json(&self, name: &str, key: &str) -> String {
        let value = self.node(name).and_then(|node| node.metadata.get(key));
        value
            .map(|v| serde_json::to_string(v).unwrap())
            .unwrap_or_default()
    }

    /// Returns the layer 2 edges of a node.
    pub(super) fn layer2(&self, node: Option<&Node>) -> Vec<&'a Edge> {
        let Some(node) = node else { return Vec::new() };
        let edges = self
            .0
            .edges_of(&node.id, Direction::Both)
            .map(|(edge, _)| &**edge);
        edges
            .filter(|edge| edge.metadata.get("RelationType") == Some(&"layer2".into()))
            .collect()
    }

    /// Returns whether the child has exactly one layer 2 edge, from the parent.
    pub(super) fn linked(&self, parent: Option<&Node>, child: Option<&Node>) -> bool {
        let (Some(parent), Some(child)) = (parent, child) else {
            return false;
        };
        match self.layer2(Some(child))[..] {
            [edge] => edge.parent == parent.id && edge.child == child.id,
            _ => false,
        }
    }
}

pub(super) fn text(node: &Node, key: &str) -> String {
    node.metadata
        .get(key)
        .and_then(Value::as_text)
        .unwrap_or_default()
        .to_owned()
}

/// Timeout of waits, long enough for a busy machine; the probes must react within one second.
const TIMEOUT: Duration = Duration::from_secs(20);
