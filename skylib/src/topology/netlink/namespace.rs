//! `Namespaces`: the watched network namespaces.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::NetlinkOptions;
use super::buffer_pool::BufferPool;
use super::link_node::{ownership, unused_id};
use super::link_table::{FollowUp, LinkTable, NamespaceKey};
use super::poller::{Poller, Slot};
use super::poller_pool::PollerPool;
use crate::graph::{Graph, Metadata, MetadataOp, Node, NodeId};
use crate::sys::ethtool::Features;
use crate::sys::netns::{Netns, NetnsId, run_in_each};
use crate::time::Timestamp;
use crate::topology::known_tids::{KernelId, TidSource};
use crate::topology::{ProbeContext, ProbeTarget};
use crate::value::{Text, Value};

/// Network namespaces of a host that are in the graph: the namespace of the host itself, and
/// namespaces that probes register.
///
/// Each namespace has one node, even if several paths refer to it. A few threads watch all of them.
pub struct Namespaces {
    pub(super) shared: Arc<Shared>,
    pollers: PollerPool,
    /// Key of the namespace of the host.
    pub(super) own: NamespaceKey,
    registry: Mutex<Registry>,
}

#[derive(Default)]
struct Registry {
    /// Registered namespaces, except the namespace of the host.
    known: HashMap<NetnsId, RegisteredNamespace>,
    /// Registered paths of namespaces; several paths can refer to the same namespace.
    paths: BTreeMap<PathBuf, RegisteredPath>,
}

/// A path of a namespace.
struct RegisteredPath {
    /// Key of the namespace in [`Registry::known`].
    namespace: NetnsId,
    /// Name of the namespace while its node has this path.
    name: Text,
}

/// A registered namespace.
struct RegisteredNamespace {
    node: NodeId,
    slot: Arc<Slot>,
    /// Path of the node: the first registered path, until it is unregistered.
    path: PathBuf,
    /// Number of paths the namespace is registered by; at least 1.
    uses: usize,
}

/// State that the watches of all namespaces share.
pub(super) struct Shared {
    pub(super) target: ProbeTarget,
    pub(super) options: NetlinkOptions,
    /// Locked inside graph transactions only, which defines the lock order.
    table: Mutex<LinkTable>,
    members: Mutex<Members>,
    pub(super) buffers: Arc<BufferPool>,
    /// Metadata values of feature sets, which links with equal features share.
    features: Mutex<HashMap<Features, Value>>,
}

/// Watched namespaces by key, and the number of all namespaces so far.
#[derive(Default)]
struct Members {
    by_key: BTreeMap<NamespaceKey, Arc<Member>>,
    arrivals: u64,
}

/// Part of a watched namespace that the watches of other namespaces use.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) key: NamespaceKey,
    pub(super) netns: Netns,
    /// Whether this is the namespace of the host, in which the thread of its loop runs.
    pub(super) is_own: bool,
    /// Loop that watches this namespace.
    pub(super) poller: Arc<Poller>,
    /// Whether links of this namespace refer to unresolved nsids.
    pub(super) wants_nsids: AtomicBool,
    /// Position of this namespace in the order of registration, from 1.
    pub(super) arrival: AtomicU64,
    name: Text,
    /// Indexes of links to request again.
    inbox: Mutex<BTreeSet<u32>>,
    pub(super) context: ProbeContext,
}

impl Namespaces {
    /// Returns the namespace of the host; nothing is watched until probes run.
    #[must_use]
    pub fn new(target: ProbeTarget, options: NetlinkOptions) -> Arc<Self> {
        let mut table = LinkTable::new(target.origin.clone(), Arc::clone(&options.tids));
        let own = table.add_namespace(target.root.clone(), Text::default(), None);
        let (table, members) = (Mutex::new(table), Mutex::default());
        let shared = Arc::new(Shared {
            target,
            options,
            table,
            members,
            buffers: Arc::default(),
            features: Mutex::default(),
        });
        Arc::new(Self {
            shared,
            pollers: PollerPool::default(),
            own,
            registry: Mutex::default(),
        })
    }

    /// Returns the graph that the namespaces are in, and the node of the host.
    #[must_use]
    pub fn target(&self) -> &ProbeTarget {
        &self.shared.target
    }

    /// Watches the namespace that a file refers to, and returns its node.
    ///
    /// A namespace that is registered by another path retains its node. If the file refers to the
    /// namespace of the calling thread, the node of the host is returned. The keys of `extra` are
    /// added to the metadata of a new node. Problems of the namespace are reported to `context`.
    ///
    /// # Errors
    /// Returns the system error if the file cannot be opened or is not a namespace.
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
            Some(former) if former.namespace == id => {}
            former => {
                if former.is_some() {
                    self.forget(&mut registry, path);
                }
                let registered = RegisteredPath {
                    namespace: id,
                    name: name.into(),
                };
                registry.paths.insert(path.to_owned(), registered);
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

    /// Unregisters a path. If it is the path of the namespace's node, another registered path
    /// replaces it; after the last path, the node and the links of the namespace are deleted.
    pub fn unregister(&self, path: &Path) {
        self.forget(&mut lock(&self.registry), path);
    }

    /// Returns the namespace that a path is registered for.
    #[must_use]
    pub(crate) fn registered(&self, path: &Path) -> Option<NetnsId> {
        let registry = lock(&self.registry);
        registry.paths.get(path).map(|path| path.namespace)
    }

    /// Returns the node of a namespace that is registered by any path.
    pub(in crate::topology) fn node_of(&self, id: NetnsId) -> Option<NodeId> {
        let registry = lock(&self.registry);
        registry.known.get(&id).map(|known| known.node.clone())
    }

    /// Runs `work` inside each namespace except that of the host, and returns the results.
    ///
    /// # Errors
    /// Returns `PermissionDenied` without the capability to enter namespaces.
    pub(in crate::topology) fn run_in_each<T: Send>(
        &self,
        work: impl FnMut() -> T + Send,
    ) -> io::Result<Vec<T>> {
        let members = self.shared.members_after(0);
        let others = members.iter().filter(|member| member.key != self.own);
        let fds: Vec<_> = others.map(|member| member.netns.as_fd()).collect();
        run_in_each(&fds, work)
    }

    /// Stops the watch of all registered namespaces; their nodes remain in the graph.
    pub fn halt(&self) {
        let registry = lock(&self.registry);
        self.pollers.stop();
        for known in registry.known.values() {
            known.slot.close();
        }
    }

    fn start(
        &self,
        path: &Path,
        name: &str,
        extra: &Metadata,
        netns: Netns,
        context: &ProbeContext,
    ) -> io::Result<RegisteredNamespace> {
        let poller = self.pollers.poller(&self.shared)?;
        let (target, id) = (&self.shared.target, netns.id());
        self.forget_stale_tid(id);
        let metadata = netns_metadata(path, name, id, extra);
        let add = |graph: &mut Graph, now| {
            let node = self.add_node(graph, id, metadata, now);
            let mut table = self.shared.table();
            (
                table.add_namespace(node.clone(), name.into(), Some(id)),
                node,
            )
        };
        let (key, node) = target
            .update(add)
            .ok_or_else(|| io::Error::other("the graph is closed"))?;
        let member = Arc::new(Member {
            key,
            netns,
            is_own: false,
            poller,
            wants_nsids: AtomicBool::new(false),
            arrival: AtomicU64::new(0),
            name: name.into(),
            inbox: Mutex::default(),
            context: context.clone(),
        });
        self.shared.add_member(&member);
        let slot = Slot::new(member);
        slot.member.poller.add(&slot);
        Ok(RegisteredNamespace {
            node,
            slot,
            path: path.to_owned(),
            uses: 1,
        })
    }

    /// Unregisters a path in a locked registry.
    fn forget(&self, registry: &mut Registry, path: &Path) {
        let Some(RegisteredPath { namespace: id, .. }) = registry.paths.remove(path) else {
            return;
        };
        let Some(known) = registry.known.get_mut(&id) else {
            return;
        };
        known.uses = known.uses.saturating_sub(1);
        if known.uses > 0 {
            let mut others = registry.paths.iter();
            if known.path == path
                && let Some((path, other)) = others.find(|(_, other)| other.namespace == id)
            {
                known.path.clone_from(path);
                self.rename(known, &other.name);
            }
            return;
        }
        if let Some(known) = registry.known.remove(&id) {
            known.slot.close();
            self.remove(&known);
        }
    }

    /// Writes the current path and name of a namespace to its node.
    fn rename(&self, known: &RegisteredNamespace, name: &str) {
        let path = known.path.to_string_lossy().into_owned();
        let tids = &self.shared.options.tids;
        tids.move_namespace(known.slot.member.netns.id(), &path);
        let ops = [MetadataOp::set("Name", name), MetadataOp::set("Path", path)];
        self.shared.target.update(|graph, now| {
            // Fails if another writer has deleted the node.
            let _renamed = graph.patch_node(&known.node, &ops, now);
            let mut table = self.shared.table();
            table.rename(graph, known.slot.member.key, name, now);
        });
    }

    /// Removes the TID of a namespace that existed before with the same identity.
    fn forget_stale_tid(&self, id: NetnsId) {
        let tids = &self.shared.options.tids;
        let refers = |path: &Text| Netns::open(Path::new(&**path)).is_ok_and(|n| n.id() == id);
        if tids.path_of(id).is_some_and(|path| !refers(&path)) {
            tids.forget(KernelId::of(id));
        }
    }

    /// Adds the node of a namespace with an ownership edge from the node of the host, and returns its
    /// id, which is derived from its TID.
    fn add_node(
        &self,
        graph: &mut Graph,
        id: NetnsId,
        mut metadata: Metadata,
        now: Timestamp,
    ) -> NodeId {
        let target = &self.shared.target;
        let host = graph.node(&target.root);
        let host = host.and_then(|host| host.metadata.get("TID")?.as_text().map(Text::from));
        let path = metadata.get("Path").and_then(Value::as_text);
        let tid = host.zip(path).map(|(host, path)| {
            let source = TidSource {
                owner: &host,
                name: path,
                kind: "netns",
            };
            self.shared.options.tids.of_namespace(id, source)
        });
        let node = unused_id(graph, tid.as_deref());
        if let Some(tid) = tid {
            metadata.set("TID", tid);
        }
        let added = Node::new(node.clone(), metadata, now).with_origin(target.origin.clone());
        let edge = ownership(&target.root, &node, &target.origin, now);
        // The id is unused, so the node is added. Without the node of the host, it has no owner.
        let _added = graph.add_node(added);
        let _owned = graph.add_edge(edge);
        node
    }

    /// Removes a namespace that is no longer watched from the table and the graph.
    fn remove(&self, known: &RegisteredNamespace) {
        let member = &known.slot.member;
        lock(&self.shared.members).by_key.remove(&member.key);
        let follow_up = self.shared.target.update(|graph, now| {
            let mut table = self.shared.table();
            let follow_up = table.remove_namespace(graph, member.key, now);
            // Fails if another writer has deleted the node.
            let _deleted = graph.delete_node(&known.node, now);
            follow_up
        });
        member.forget_problems();
        let tids = &self.shared.options.tids;
        tids.forget(KernelId::of(member.netns.id()));
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

impl Shared {
    pub(super) fn table(&self) -> MutexGuard<'_, LinkTable> {
        lock(&self.table)
    }

    pub(super) fn features(&self) -> MutexGuard<'_, HashMap<Features, Value>> {
        lock(&self.features)
    }

    /// Returns the namespaces registered after the first `arrival` ones, in order of registration.
    pub(super) fn members_after(&self, arrival: u64) -> Vec<Arc<Member>> {
        let position = |member: &Arc<Member>| member.arrival.load(Ordering::Relaxed);
        let members = lock(&self.members);
        let mut found: Vec<Arc<Member>> = members
            .by_key
            .values()
            .filter(|member| position(member) > arrival)
            .cloned()
            .collect();
        found.sort_by_key(position);
        found
    }

    /// Passes follow-up requests to the watches of their namespaces.
    pub(super) fn dispatch(&self, follow_up: FollowUp) {
        if follow_up.refresh.is_empty() && follow_up.unresolved.is_empty() {
            return;
        }
        let members = lock(&self.members);
        for (key, index) in follow_up.refresh {
            if let Some(member) = members.by_key.get(&key) {
                lock(&member.inbox).insert(index);
                member.wake();
            }
        }
        for member in follow_up
            .unresolved
            .iter()
            .filter_map(|key| members.by_key.get(key))
        {
            member.wake();
        }
    }

    /// Watches the namespace of the host on the calling thread until the probe has to stop.
    pub(super) fn watch_own(
        self: &Arc<Self>,
        key: NamespaceKey,
        context: &ProbeContext,
    ) -> io::Result<()> {
        let poller = Arc::new(Poller::new()?);
        let member = Arc::new(Member {
            key,
            netns: Netns::current()?,
            is_own: true,
            poller: Arc::clone(&poller),
            wants_nsids: AtomicBool::new(false),
            arrival: AtomicU64::new(0),
            name: Text::default(),
            inbox: Mutex::default(),
            context: context.clone(),
        });
        self.table().identify(key, member.netns.id());
        self.add_member(&member);
        let slot = Slot::new(member);
        poller.add(&slot);
        let result = poller.run(self, context.stop_event());
        slot.close();
        lock(&self.members).by_key.remove(&key);
        result
    }

    /// Adds a namespace, and wakes the watches of namespaces with unresolved nsids.
    fn add_member(&self, member: &Arc<Member>) {
        let mut members = lock(&self.members);
        members.arrivals += 1;
        member.arrival.store(members.arrivals, Ordering::Relaxed);
        members.by_key.insert(member.key, Arc::clone(member));
        let is_waiting = |m: &&Arc<Member>| m.wants_nsids.load(Ordering::Relaxed);
        for other in members.by_key.values().filter(is_waiting) {
            other.wake();
        }
    }
}

impl Member {
    /// Makes the watch process its inbox, and search for unresolved nsids again.
    fn wake(&self) {
        self.poller.wake(self.key);
    }

    /// Reports that the complete state is in the graph.
    pub(super) fn watched(&self) {
        self.problem("", None);
        if self.is_own {
            self.context.running();
        }
    }

    /// Removes and returns the links to request again.
    pub(super) fn take_inbox(&self) -> BTreeSet<u32> {
        std::mem::take(&mut lock(&self.inbox))
    }

    /// Sets the problem of a part of the work in this namespace; `None` removes it.
    pub(super) fn problem(&self, part: &str, text: Option<String>) {
        let namespace = if self.name.is_empty() {
            "the host's namespace".to_owned()
        } else {
            format!("namespace {}", self.name)
        };
        let text = text.map(|text| format!("{namespace}: {text}"));
        self.context.problem(&format!("{namespace} {part}"), text);
    }

    fn forget_problems(&self) {
        for part in ["", "routes", "neighbors"] {
            self.problem(part, None);
        }
    }
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

/// Locks a mutex, even if it is poisoned: each change to what it contains is a single call, so a
/// panic leaves it consistent.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
