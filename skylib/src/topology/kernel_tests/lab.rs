//! A machine for a test: a private network namespace with probes that fill a graph.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{chroot, fchdir};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::graph::{
    Direction, Edge, Graph, GraphEvent, GraphWriter, Metadata, Node, NodeId, Origin, Processor,
};
use crate::sys::netns::tests_support::private;
use crate::time::{Clock, SystemClock, Timestamp};
use crate::topology::netlink::{Namespaces, NetlinkOptions, NetlinkProbe};
use crate::topology::netns::NetnsProbe;
use crate::topology::tid::TidProcessor;
use crate::topology::{ProbeSet, ProbeStatus, ProbeTarget};
use crate::value::Value;

const ORIGIN: &str = "agent.lab";

/// Runs a test inside a private namespace, or says that it is skipped.
pub(super) fn run(test: impl FnOnce(Lab) + Send) {
    let Some(netns) = private() else { return };
    netns
        .run(|| {
            take_mounts_private();
            test(Lab::new());
        })
        .unwrap();
}

/// Mounts of other tests must not be seen by this thread, nor its own by them.
fn take_mounts_private() {
    #[expect(
        unsafe_code,
        reason = "rustix marks unshare unsafe because of CLONE_FILES"
    )]
    // SAFETY: a new mount namespace shares no memory and no descriptors anew.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.unwrap();
    // In a chroot `/` is no mount and cannot be changed: entering the namespace anew leads to its
    // true root, and the descriptor back.
    let root = File::open("/").unwrap();
    let mounts = File::open("/proc/thread-self/ns/mnt").unwrap();
    move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount)).unwrap();
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .unwrap();
    fchdir(&root).unwrap();
    chroot(".").unwrap();
}

/// The graph with its owner.
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

    /// Starts both probes with the folder of namespaces in place.
    pub(super) fn start(&mut self) {
        self.make_run_path();
        self.start_with(NetlinkOptions::default());
    }

    pub(super) fn make_run_path(&self) {
        std::fs::create_dir_all(&self.run_path).unwrap();
    }

    pub(super) fn start_with(&mut self, options: NetlinkOptions) {
        let namespaces = self.namespaces(options);
        self.probes.start(NetlinkProbe::new(&namespaces)).unwrap();
        self.probes
            .start(NetnsProbe::new(&namespaces, &self.run_path))
            .unwrap();
        self.wait("the loopback interface", |g| g.count(&[("Name", "lo")]) > 0);
    }

    pub(super) fn namespaces(&self, options: NetlinkOptions) -> Arc<Namespaces> {
        let target = ProbeTarget::new(
            self.shared.clone(),
            Origin::new("agent", "lab"),
            self.root.clone(),
        );
        Namespaces::new(target, options)
    }

    /// Makes a namespace the way `ip netns add` does: first the file, then the mount.
    pub(super) fn add_netns(&mut self, name: &str) {
        let path = self.run_path.join(name);
        std::fs::write(&path, "").unwrap();
        sh(&format!("unshare --net={} true", path.display()));
        self.mounted.push(path);
    }

    /// Removes a namespace the way `ip netns del` does.
    pub(super) fn del_netns(&mut self, name: &str) {
        let path = self.run_path.join(name);
        sh(&format!("umount -l {0} && rm {0}", path.display()));
        self.mounted.retain(|p| *p != path);
    }

    /// A second path to a namespace.
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

    /// `ip` inside a named namespace.
    pub(super) fn ip_in(&self, name: &str, arguments: &str) {
        let path = self.run_path.join(name);
        sh(&format!("nsenter --net={} ip {arguments}", path.display()));
    }

    /// Moves a link into a named namespace, from the lab's own or another one.
    pub(super) fn move_to(&self, from: Option<&str>, link: &str, name: &str) {
        let inside = self.inhabitant(name);
        let command = format!("link set {link} netns {}", inside.0.id());
        match from {
            Some(from) => self.ip_in(from, &command),
            None => ip(&command),
        }
    }

    /// A process inside a named namespace: `ip` takes its number for the namespace's.
    pub(super) fn inhabitant(&self, name: &str) -> Inhabitant {
        let path = self.run_path.join(name);
        let argument = format!("--net={}", path.display());
        let process = Command::new("nsenter")
            .args([&argument, "sleep", "60"])
            .spawn()
            .unwrap();
        let wanted = crate::sys::netns::identity(&path).unwrap();
        let own = PathBuf::from(format!("/proc/{}/ns/net", process.id()));
        while crate::sys::netns::identity(&own).unwrap() != wanted {
            std::thread::yield_now();
        }
        Inhabitant(process)
    }

    /// Waits until the graph is as it should be.
    pub(super) fn wait(&self, what: &str, test: impl Fn(&View<'_>) -> bool) {
        let inner = self.shared.inner.lock().unwrap();
        let (inner, result) = self
            .shared
            .changed
            .wait_timeout_while(inner, PATIENCE, |inner| !test(&View(&inner.0)))
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
                "never seen: {what}\n{}\n{}\n{status:?}",
                nodes.join("\n"),
                edges.join("\n")
            );
        }
    }

    /// Looks at the graph as it is.
    pub(super) fn look<T>(&self, look: impl FnOnce(&View<'_>) -> T) -> T {
        look(&View(&self.shared.inner.lock().unwrap().0))
    }

    /// Keeps everybody from the graph meanwhile.
    pub(super) fn hold<T>(&self, work: impl FnOnce() -> T) -> T {
        let _held = self.shared.inner.lock().unwrap();
        work()
    }

    /// The events since the last call.
    pub(super) fn take_events(&self) -> Vec<GraphEvent> {
        std::mem::take(&mut self.shared.inner.lock().unwrap().2)
    }

    /// Waits until a probe says so.
    pub(super) fn wait_status(&self, name: &str, test: impl Fn(&ProbeStatus) -> bool) {
        let began = SystemClock.now();
        while !test(&self.status(name)) {
            let waited = SystemClock.now().as_ms() - began.as_ms();
            let patience = i64::try_from(PATIENCE.as_millis()).unwrap();
            assert!(waited < patience, "never said: {:?}", self.status(name));
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

/// A process that waits.
pub(super) struct Inhabitant(pub(super) Child);

impl Inhabitant {
    /// One in the namespace of the calling thread.
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

/// Questions about a graph.
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

    /// The only node of a name.
    pub(super) fn node(&self, name: &str) -> Option<&'a Node> {
        match self.nodes(&[("Name", name)])[..] {
            [node] => Some(node),
            _ => None,
        }
    }

    /// The newest node of a name inside a named namespace.
    pub(super) fn inside(&self, namespace: &str, name: &str) -> Option<&'a Node> {
        self.nodes(&[("Name", namespace), ("Type", "netns")])
            .first()?;
        self.child(namespace, name)
    }

    /// The newest node of a name that the node of another name owns.
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

    /// The layer 2 edges of a node.
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

    /// Whether the two have exactly one layer 2 edge, from the one to the other.
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

pub(super) fn ip(arguments: &str) {
    sh(&format!("ip {arguments}"));
}

pub(super) fn sh(command: &str) {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {error}");
}

/// Long enough for a busy machine; what is promised is a second.
const PATIENCE: Duration = Duration::from_secs(20);
