//! The namespaces that are watched, each by a thread of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::NetlinkOptions;
use super::link_table::{FollowUp, LinkTable, NamespaceKey, edge_id};
use super::worker::{Sockets, Worker};
use crate::graph::{Edge, Graph, Metadata, Node, NodeId};
use crate::sys::capability::Capability;
use crate::sys::eventfd::{EventFd, wait_readable};
use crate::sys::netns::{Netns, NetnsId};
use crate::sys::timerfd::TimerFd;
use crate::time::Timestamp;
use crate::topology::{ProbeContext, ProbeTarget};
use crate::value::{Text, Value};

/// All network namespaces of a host that are shown: its own, and those that probes register.
///
/// Each is shown by one node and watched by one thread, however many paths lead to it.
pub struct Namespaces {
    pub(super) shared: Arc<Shared>,
    /// The host's own namespace in the table.
    pub(super) own: NamespaceKey,
    registry: Mutex<Registry>,
}

#[derive(Default)]
struct Registry {
    known: HashMap<NetnsId, Known>,
    paths: HashMap<PathBuf, NetnsId>,
}

/// A registered namespace.
struct Known {
    node: NodeId,
    member: Arc<Member>,
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
    /// Paths it was registered by.
    uses: usize,
}

/// What the threads of all namespaces share.
pub(super) struct Shared {
    pub(super) target: ProbeTarget,
    pub(super) options: NetlinkOptions,
    /// Locked inside graph transactions, never around them.
    table: Mutex<LinkTable>,
    members: Mutex<Members>,
}

/// Namespaces by key, and how many there have ever been.
#[derive(Default)]
struct Members {
    by_key: BTreeMap<NamespaceKey, Arc<Member>>,
    arrivals: u64,
}

/// A namespace as the threads of others see it.
pub(super) struct Member {
    pub(super) key: NamespaceKey,
    pub(super) netns: Netns,
    /// Raised when the inbox has something, or a new namespace may resolve what is open here.
    pub(super) wake: EventFd,
    /// Whether links here point to namespaces that nobody knows.
    pub(super) wants_nsids: AtomicBool,
    /// The how manieth this is to be made known to the others.
    pub(super) arrival: AtomicU64,
    name: Text,
    inbox: Mutex<BTreeSet<u32>>,
    context: ProbeContext,
}

impl Namespaces {
    /// The host's own namespace; nothing is watched until probes run.
    #[must_use]
    pub fn new(target: ProbeTarget, options: NetlinkOptions) -> Arc<Self> {
        let mut table = LinkTable::new(target.origin.clone());
        let own = table.add_namespace(target.root.clone(), Text::default());
        let (table, members) = (Mutex::new(table), Mutex::default());
        let shared = Arc::new(Shared {
            target,
            options,
            table,
            members,
        });
        Arc::new(Self {
            shared,
            own,
            registry: Mutex::default(),
        })
    }

    /// Shows and watches the namespace that a file stands for, and returns its node.
    ///
    /// A namespace that has a node already keeps it, whatever path it was registered by; that of
    /// the calling thread is the host's own. `extra` goes into the metadata of a new node.
    /// Problems inside the namespace are told to `context`.
    ///
    /// # Errors
    /// When the file is no namespace or cannot be opened.
    pub fn register(
        &self,
        path: &Path,
        name: &str,
        extra: &Metadata,
        context: &ProbeContext,
    ) -> io::Result<NodeId> {
        let netns = Netns::open(path)?;
        let id = netns.id();
        if id == Netns::current()?.id() {
            return Ok(self.shared.target.root.clone());
        }
        let mut registry = lock(&self.registry);
        match registry.paths.get(path) {
            Some(former) if *former == id => {}
            former => {
                if former.is_some() {
                    self.forget(&mut registry, path);
                }
                registry.paths.insert(path.to_owned(), id);
                if let Some(known) = registry.known.get_mut(&id) {
                    known.uses += 1;
                }
            }
        }
        if let Some(known) = registry.known.get(&id) {
            return Ok(known.node.clone());
        }
        match self.start(path, name, extra, netns, context) {
            Ok(known) => {
                let node = known.node.clone();
                registry.known.insert(id, known);
                Ok(node)
            }
            Err(error) => {
                registry.paths.remove(path);
                Err(error)
            }
        }
    }

    /// Gives a path up; with the last one its namespace goes, and all that was in it.
    pub fn unregister(&self, path: &Path) {
        self.forget(&mut lock(&self.registry), path);
    }

    /// Which namespace a path was registered for.
    #[must_use]
    pub(crate) fn registered(&self, path: &Path) -> Option<NetnsId> {
        lock(&self.registry).paths.get(path).copied()
    }

    /// Ends the threads of all registered namespaces; the graph stays as it is.
    pub fn halt(&self) {
        let mut registry = lock(&self.registry);
        for known in registry.known.values() {
            known.stop.raise();
        }
        for known in registry.known.values_mut() {
            known.join();
        }
    }

    fn start(
        &self,
        path: &Path,
        name: &str,
        extra: &Metadata,
        netns: Netns,
        context: &ProbeContext,
    ) -> io::Result<Known> {
        let (wake, stop) = (EventFd::new()?, Arc::new(EventFd::new()?));
        let target = &self.shared.target;
        let node = NodeId::random();
        let metadata = netns_metadata(path, name, netns.id(), extra);
        let add = |graph: &mut Graph, now| {
            add_owned(graph, target, node.clone(), metadata, now);
            self.shared.table().add_namespace(node.clone(), name.into())
        };
        let key = target
            .update(add)
            .ok_or_else(|| io::Error::other("the graph has gone"))?;
        let member = Arc::new(Member {
            key,
            netns,
            wake,
            wants_nsids: AtomicBool::new(false),
            arrival: AtomicU64::new(0),
            name: name.into(),
            inbox: Mutex::default(),
            context: context.clone(),
        });
        let known = Known {
            node,
            member: Arc::clone(&member),
            stop: Arc::clone(&stop),
            thread: None,
            uses: 1,
        };
        self.shared.welcome(&member);
        let shared = Arc::clone(&self.shared);
        let watch = move || {
            let open = |member: &Member| member.netns.run(Sockets::open)?;
            shared.watch(&member, &stop, open, || {});
        };
        let thread = thread::Builder::new()
            .name(format!("netns-{name}"))
            .stack_size(STACK)
            .spawn(watch);
        match thread {
            Ok(thread) => Ok(Known {
                thread: Some(thread),
                ..known
            }),
            Err(error) => {
                self.remove(&known);
                Err(error)
            }
        }
    }

    fn forget(&self, registry: &mut Registry, path: &Path) {
        let Some(id) = registry.paths.remove(path) else {
            return;
        };
        let Some(known) = registry.known.get_mut(&id) else {
            return;
        };
        known.uses = known.uses.saturating_sub(1);
        if known.uses > 0 {
            return;
        }
        known.stop.raise();
        known.join();
        if let Some(known) = registry.known.remove(&id) {
            self.remove(&known);
        }
    }

    /// Takes a namespace whose thread has ended out of table and graph.
    fn remove(&self, known: &Known) {
        lock(&self.shared.members).by_key.remove(&known.member.key);
        let follow_up = self.shared.target.update(|graph, now| {
            let follow_up = self
                .shared
                .table()
                .remove_namespace(graph, known.member.key, now);
            // Somebody else may have deleted the node already.
            let _gone = graph.delete_node(&known.node, now);
            follow_up
        });
        known.member.forget_problems();
        self.shared.dispatch(follow_up.unwrap_or_default());
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        self.halt();
    }
}

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registry = lock(&self.registry);
        write!(
            f,
            "Namespaces({} paths, {} namespaces)",
            registry.paths.len(),
            registry.known.len()
        )
    }
}

impl Known {
    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic there has ended that thread only; what it showed is removed all the same.
            let _ended = thread.join();
        }
    }
}

impl Shared {
    pub(super) fn table(&self) -> MutexGuard<'_, LinkTable> {
        lock(&self.table)
    }

    /// Namespaces that came after the first so many, in the order they came.
    pub(super) fn members_after(&self, arrival: u64) -> Vec<Arc<Member>> {
        let place = |member: &Arc<Member>| member.arrival.load(Ordering::Relaxed);
        let members = lock(&self.members);
        let mut found: Vec<Arc<Member>> = members
            .by_key
            .values()
            .filter(|m| place(m) > arrival)
            .cloned()
            .collect();
        found.sort_by_key(place);
        found
    }

    /// Lets the threads know what they have to ask.
    pub(super) fn dispatch(&self, follow_up: FollowUp) {
        if follow_up.refresh.is_empty() && follow_up.unresolved.is_empty() {
            return;
        }
        let members = lock(&self.members);
        for (key, index) in follow_up.refresh {
            if let Some(member) = members.by_key.get(&key) {
                lock(&member.inbox).insert(index);
                member.wake.raise();
            }
        }
        for member in follow_up
            .unresolved
            .iter()
            .filter_map(|key| members.by_key.get(key))
        {
            member.wake.raise();
        }
    }

    /// Watches the host's own namespace from the calling thread.
    pub(super) fn watch_own(&self, key: NamespaceKey, context: &ProbeContext) -> io::Result<()> {
        let member = Member {
            key,
            netns: Netns::current()?,
            wake: EventFd::new()?,
            wants_nsids: AtomicBool::new(false),
            arrival: AtomicU64::new(0),
            name: Text::default(),
            inbox: Mutex::default(),
            context: context.clone(),
        };
        let member = Arc::new(member);
        self.welcome(&member);
        self.watch(
            &member,
            context.stop(),
            |_| Sockets::open(),
            || context.running(),
        );
        lock(&self.members).by_key.remove(&key);
        Ok(())
    }

    /// Watches a namespace until told to stop, starting over when something fails.
    fn watch(
        &self,
        member: &Arc<Member>,
        stop: &EventFd,
        open: impl Fn(&Member) -> io::Result<Sockets>,
        mut ready: impl FnMut(),
    ) {
        loop {
            let result = open(member).and_then(|sockets| {
                let mut worker = Worker::new(self, Arc::clone(member), sockets)?;
                worker.resync()?;
                member.problem("", None);
                ready();
                worker.run(stop)
            });
            let Err(error) = result else { break };
            let refused = error.kind() == io::ErrorKind::PermissionDenied;
            let remedy = match refused.then_some(Capability::SysAdmin) {
                Some(capability) if !capability.is_effective() => capability.help(),
                _ => error.to_string(),
            };
            member.problem("", Some(remedy));
            // A privilege that is missing does not come by waiting.
            if refused || pause(stop) {
                break;
            }
        }
    }

    /// Makes a namespace known to those whose links may point into it.
    fn welcome(&self, member: &Arc<Member>) {
        let mut members = lock(&self.members);
        members.arrivals += 1;
        member.arrival.store(members.arrivals, Ordering::Relaxed);
        members.by_key.insert(member.key, Arc::clone(member));
        let wanting = |m: &&Arc<Member>| m.wants_nsids.load(Ordering::Relaxed);
        for other in members.by_key.values().filter(wanting) {
            other.wake.raise();
        }
    }
}

impl Member {
    /// Links to ask for again.
    pub(super) fn take_inbox(&self) -> BTreeSet<u32> {
        std::mem::take(&mut lock(&self.inbox))
    }

    /// Tells what is wrong with a part of the work here, or that nothing is.
    pub(super) fn problem(&self, part: &str, text: Option<String>) {
        let place = if self.name.is_empty() {
            "the host's namespace".to_owned()
        } else {
            format!("namespace {}", self.name)
        };
        let text = text.map(|text| format!("{place}: {text}"));
        self.context.problem(&format!("{place} {part}"), text);
    }

    fn forget_problems(&self) {
        for part in ["", "routes", "neighbors"] {
            self.problem(part, None);
        }
    }
}

/// Waits before the next try; tells whether it was told to stop.
fn pause(stop: &EventFd) -> bool {
    let waited = TimerFd::new().and_then(|timer| {
        timer.once(RETRY)?;
        wait_readable([stop.as_fd(), timer.as_fd()])
    });
    // Without a timer there is no pause, and without a pause no next try.
    waited.map_or(true, |[stopped, _]| stopped)
}

fn netns_metadata(path: &Path, name: &str, id: NetnsId, extra: &Metadata) -> Metadata {
    let mut metadata = extra.clone();
    metadata.set("Name", name);
    metadata.set("Type", "netns");
    metadata.set("Path", path.to_string_lossy().into_owned());
    metadata.set("Device", Value::from(id.device));
    metadata.set("Inode", Value::from(id.inode));
    metadata
}

/// Adds a node that the host owns.
fn add_owned(
    graph: &mut Graph,
    target: &ProbeTarget,
    node: NodeId,
    metadata: Metadata,
    now: Timestamp,
) {
    let edge = Edge::new(
        edge_id(&target.root, &node, "ownership"),
        target.root.clone(),
        node.clone(),
        Metadata::from_iter([("RelationType", "ownership")]),
        now,
    )
    .with_origin(target.origin.clone());
    // Neither fails: the id is new, and without a host node it just stands alone.
    let _added = graph.add_node(Node::new(node, metadata, now).with_origin(target.origin.clone()));
    let _owned = graph.add_edge(edge);
}

/// A thread that panicked has left these maps whole: each change of them is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Pause before a namespace that failed is tried again.
const RETRY: Duration = Duration::from_secs(3);

/// A host may have thousands of namespaces; their threads need little.
const STACK: usize = 512 * 1024;
