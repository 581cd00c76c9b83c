//! `LinkTable`: the state of every link of every namespace, and its reconciliation with the graph.
//!
//! The table does no I/O: it receives kernel messages and driver facts, updates the graph, and
//! returns the requests that have to be sent to the kernel next ([`FollowUp`]). The watches of all
//! namespaces share one table, and use it only inside a graph transaction. The cost of an event is
//! proportional to the metadata of its link.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::l2_edges::LinkTarget;
use super::link::LinkMessage;
use super::link_state::{LinkFacts, LinkState};
use super::link_watch::LinkWatchers;
use super::stats::Counters;
use super::wire::NetlinkEvent;
use crate::graph::{Graph, Metadata, NodeId, Origin};
use crate::sys::netns::NetnsId;
use crate::time::Timestamp;
use crate::topology::known_tids::{KernelId, KnownTids};
use crate::value::{Text, Value};

/// Identifier of a namespace; increases with each registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NamespaceKey(u32);

impl NamespaceKey {
    /// Returns the number of the key.
    pub(super) fn number(self) -> u64 {
        self.0.into()
    }

    /// Returns the key with a number; `None` if no key can have it.
    pub(super) fn from_number(number: u64) -> Option<Self> {
        u32::try_from(number).ok().map(Self)
    }
}

/// Identifier of a link: its namespace, and its index there.
pub(crate) type LinkKey = (NamespaceKey, u32);

/// Source of a batch of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventSource {
    /// Notifications of the kernel, which may be outdated.
    Notification,
    /// Replies to requests, which are the current state. They never cause further requests about
    /// links, so that the exchange about two contradictory ends terminates.
    Reply,
}

/// Requests that are necessary after a change.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct FollowUp {
    /// Links to request again, because their reference to another link may be stale.
    pub(crate) refresh: BTreeSet<LinkKey>,
    /// Namespaces with links that refer to an unresolved nsid.
    pub(crate) unresolved: BTreeSet<NamespaceKey>,
    /// Whether neighbor or forwarding tables have changed, for [`LinkTable::show_tables`].
    pub(crate) tables: bool,
    /// Whether routes may have changed.
    pub(crate) routes: bool,
    /// Whether forwarding entries may have changed without a message, because a link was added, or
    /// set up or down.
    pub(crate) forwarding: bool,
}

/// Links of all namespaces of one host.
#[derive(Debug)]
pub(crate) struct LinkTable {
    /// Owner of all nodes and edges of the table.
    pub(super) origin: Origin,
    pub(super) namespaces: BTreeMap<NamespaceKey, NamespaceLinks>,
    /// Links that refer to a link as their master, lower device, or peer, by the link referred to,
    /// which need not exist. The inverse of [`LinkState::claims`] of all links.
    pub(super) claims: HashMap<LinkKey, BTreeSet<LinkKey>>,
    /// TIDs of the links of all namespaces.
    pub(super) tids: Arc<KnownTids>,
    /// Observers to wake when a link appears, disappears, or changes its name or state.
    pub(super) watchers: LinkWatchers,
    /// Key of the next namespace to be registered.
    next: u32,
}

/// Links of one namespace.
#[derive(Debug)]
pub(super) struct NamespaceLinks {
    /// Node that owns the links: the node of the host or of the namespace.
    pub(super) root: NodeId,
    /// Name of the namespace; empty for the namespace of the host.
    pub(super) name: Text,
    /// Identity in the kernel; `None` for the namespace of the host until it is watched.
    pub(super) id: Option<NetnsId>,
    /// Links by index.
    pub(super) links: BTreeMap<u32, LinkState>,
    /// Resolved nsids: the ids by which links of this namespace refer to other namespaces.
    pub(super) nsids: HashMap<i32, NamespaceKey>,
    /// Time of the last read of the counters.
    sampled_at: Timestamp,
    /// Routing metadata that the table has written to the node of the namespace.
    pub(super) shown_routing: Metadata,
}

impl LinkTable {
    /// Returns an empty table whose nodes and edges belong to `origin`.
    pub(crate) fn new(origin: Origin, tids: Arc<KnownTids>) -> Self {
        Self {
            origin,
            namespaces: BTreeMap::new(),
            claims: HashMap::new(),
            tids,
            watchers: LinkWatchers::default(),
            next: 0,
        }
    }

    /// Adds a namespace whose node is in the graph, and returns its key.
    pub(crate) fn add_namespace(
        &mut self,
        root: NodeId,
        name: Text,
        id: Option<NetnsId>,
    ) -> NamespaceKey {
        let key = NamespaceKey(self.next);
        self.next = self.next.wrapping_add(1);
        let namespace = NamespaceLinks {
            root,
            name,
            id,
            links: BTreeMap::new(),
            nsids: HashMap::new(),
            sampled_at: Timestamp::ZERO,
            shown_routing: Metadata::new(),
        };
        self.namespaces.insert(key, namespace);
        key
    }

    /// Sets the identity of a namespace, before its links are added.
    pub(crate) fn identify(&mut self, key: NamespaceKey, id: NetnsId) {
        if let Some(namespace) = self.namespaces.get_mut(&key) {
            namespace.id = Some(id);
        }
    }

    /// Sets the name of a namespace, and updates it in the links that refer to it.
    pub(crate) fn rename(
        &mut self,
        graph: &mut Graph,
        key: NamespaceKey,
        name: &str,
        now: Timestamp,
    ) {
        if let Some(namespace) = self.namespaces.get_mut(&key) {
            namespace.name = name.into();
        }
        let mut referring: Vec<LinkKey> = Vec::new();
        for (other, namespace) in &self.namespaces {
            let refers = |link: &&LinkState| {
                let id = link.message.link_netnsid;
                id.is_some_and(|id| namespace.nsids.get(&id) == Some(&key))
            };
            let links = namespace.links.values().filter(refers);
            referring.extend(links.map(|link| (*other, link.message.index)));
        }
        for (other, index) in referring {
            self.show_all(graph, other, vec![index], now);
        }
    }

    /// Removes a namespace and deletes the nodes of its links, but not the node of the namespace.
    pub(crate) fn remove_namespace(
        &mut self,
        graph: &mut Graph,
        key: NamespaceKey,
        now: Timestamp,
    ) -> FollowUp {
        let mut follow_up = FollowUp::default();
        for index in self.indexes(key) {
            self.remove_link(graph, (key, index), now, &mut follow_up);
        }
        self.namespaces.remove(&key);
        let mut referring = Vec::new();
        for (other, namespace) in &mut self.namespaces {
            let known = namespace.nsids.len();
            namespace.nsids.retain(|_, target| *target != key);
            if namespace.nsids.len() < known {
                let links = namespace
                    .links
                    .values()
                    .filter(|l| l.message.link_netnsid.is_some());
                referring.extend(links.map(|l| (*other, l.message.index)));
            }
        }
        for link in referring {
            self.reclaim(link, &mut follow_up);
            self.show(graph, link, EventSource::Reply, now, &mut follow_up);
        }
        follow_up.refresh.retain(|(namespace, _)| *namespace != key);
        follow_up
    }

    /// Applies a batch of events; each link is written to the graph at most once, at the end.
    pub(crate) fn apply(
        &mut self,
        graph: &mut Graph,
        key: NamespaceKey,
        events: Vec<NetlinkEvent>,
        facts: &HashMap<u32, LinkFacts>,
        source: EventSource,
        now: Timestamp,
    ) -> FollowUp {
        let mut follow_up = FollowUp::default();
        let mut changed = Vec::new();
        let mut seen = HashSet::new();
        for event in events {
            // A complete list has each entry only once.
            if source == EventSource::Notification
                && let NetlinkEvent::Neighbor(message) = &event
            {
                self.remove_from_other_ports(key, message);
            }
            let index = self.apply_event(graph, key, event, facts, now, &mut follow_up);
            changed.extend(index.filter(|index| seen.insert(*index)));
        }
        for index in changed {
            self.show(graph, (key, index), source, now, &mut follow_up);
            let link = self.link((key, index));
            let has_functions =
                link.is_some_and(|link| link.message.function_count.is_some_and(|count| count > 0));
            if source == EventSource::Notification && has_functions {
                // Notifications lack the settings of virtual functions.
                follow_up.refresh.insert((key, index));
            }
        }
        follow_up
    }

    /// Removes the links that are not in a complete list.
    pub(crate) fn retain(
        &mut self,
        graph: &mut Graph,
        key: NamespaceKey,
        present: &HashSet<u32>,
        now: Timestamp,
    ) -> FollowUp {
        let mut follow_up = FollowUp::default();
        if let Some(id) = self.namespaces.get(&key).and_then(|namespace| namespace.id) {
            self.tids.retain(id, |index| present.contains(&index));
        }
        for index in self.indexes(key) {
            if !present.contains(&index) {
                self.remove_link(graph, (key, index), now, &mut follow_up);
            }
        }
        follow_up
    }

    /// Replaces the state of some links; the events include all their addresses and entries.
    pub(crate) fn replace_state(
        &mut self,
        graph: &mut Graph,
        key: NamespaceKey,
        events: Vec<NetlinkEvent>,
        facts: &HashMap<u32, LinkFacts>,
        now: Timestamp,
    ) -> FollowUp {
        for event in &events {
            if let NetlinkEvent::Link(message) = event
                && let Some(link) = self.link_mut((key, message.index))
            {
                link.clear_tables();
            }
        }
        self.apply(graph, key, events, facts, EventSource::Reply, now)
    }

    /// Resolves nsids of a namespace.
    pub(crate) fn set_nsids(
        &mut self,
        graph: &mut Graph,
        key: NamespaceKey,
        found: &[(i32, NamespaceKey)],
        now: Timestamp,
    ) -> FollowUp {
        let mut follow_up = FollowUp::default();
        let alive: Vec<_> = found
            .iter()
            .filter(|(_, target)| self.namespaces.contains_key(target))
            .collect();
        let Some(namespace) = self.namespaces.get_mut(&key) else {
            return follow_up;
        };
        namespace.nsids.extend(alive.iter().copied().copied());
        let named = |link: &&LinkState| {
            link.message
                .link_netnsid
                .is_some_and(|id| alive.iter().any(|(n, _)| *n == id))
        };
        let links: Vec<u32> = namespace
            .links
            .values()
            .filter(named)
            .map(|l| l.message.index)
            .collect();
        for index in &links {
            self.reclaim((key, *index), &mut follow_up);
        }
        for index in links {
            self.show(
                graph,
                (key, index),
                EventSource::Notification,
                now,
                &mut follow_up,
            );
        }
        follow_up
    }

    /// Returns the unresolved nsids that links of a namespace refer to.
    pub(crate) fn unresolved(&self, key: NamespaceKey) -> BTreeSet<i32> {
        let Some(namespace) = self.namespaces.get(&key) else {
            return BTreeSet::new();
        };
        let ids = namespace
            .links
            .values()
            .filter_map(|link| link.message.link_netnsid);
        ids.filter(|id| !namespace.nsids.contains_key(id)).collect()
    }

    /// Applies the counters and the queues of all links.
    pub(crate) fn sample(
        &mut self,
        graph: &mut Graph,
        key: NamespaceKey,
        samples: &[(u32, Counters)],
        mut queues: HashMap<u32, Value>,
        now: Timestamp,
    ) {
        let Some(namespace) = self.namespaces.get_mut(&key) else {
            return;
        };
        let before = std::mem::replace(&mut namespace.sampled_at, now);
        let mut changed = Vec::new();
        for (index, counters) in samples {
            let link = namespace.links.get_mut(index);
            if link.is_some_and(|link| link.sample(counters, before, now)) {
                changed.push(*index);
            }
        }
        // Changes of counters alone take less space in the history, so queues are written separately.
        self.show_all(graph, key, changed, now);
        let mut changed = Vec::new();
        for link in self.links_mut(key) {
            let index = link.message.index;
            if link.set_queues(queues.remove(&index)) {
                changed.push(index);
            }
        }
        self.show_all(graph, key, changed, now);
    }

    /// Returns the messages of a list whose links have other descriptions or alternative names in the
    /// table: the kernel sends no message when those of a link change that is down.
    pub(super) fn renamed(&self, key: NamespaceKey, links: Vec<NetlinkEvent>) -> Vec<NetlinkEvent> {
        let is_renamed = |event: &NetlinkEvent| {
            let NetlinkEvent::Link(message) = event else {
                return false;
            };
            self.link((key, message.index)).is_some_and(|link| {
                let known = &link.message;
                (&known.alias, &known.alt_names) != (&message.alias, &message.alt_names)
            })
        };
        links.into_iter().filter(is_renamed).collect()
    }

    /// Applies one event; returns the index of the link that has to be written to the graph.
    fn apply_event(
        &mut self,
        graph: &mut Graph,
        key: NamespaceKey,
        event: NetlinkEvent,
        facts: &HashMap<u32, LinkFacts>,
        now: Timestamp,
        follow_up: &mut FollowUp,
    ) -> Option<u32> {
        match event {
            NetlinkEvent::Link(message) => {
                let index = message.index;
                self.apply_link(graph, key, *message, facts.get(&index), now, follow_up);
                Some(index)
            }
            NetlinkEvent::LinkDeleted(index) => {
                self.remove_link(graph, (key, index), now, follow_up);
                None
            }
            NetlinkEvent::LinkStale(index) => {
                follow_up.refresh.insert((key, index));
                None
            }
            NetlinkEvent::Address(message) => {
                // The kernel adds routes with an address, and removes them without a message.
                follow_up.routes = true;
                let is_new = self
                    .link_mut((key, message.index))?
                    .add_address(message.address);
                is_new.then_some(message.index)
            }
            NetlinkEvent::AddressDeleted(message) => {
                follow_up.routes = true;
                self.link_mut((key, message.index))?
                    .remove_address(message.address);
                Some(message.index)
            }
            NetlinkEvent::Neighbor(message) => {
                self.link_mut((key, message.index))?.add_entry(&message);
                follow_up.tables = true;
                None
            }
            NetlinkEvent::NeighborDeleted(message) => {
                self.link_mut((key, message.index))?.remove_entry(&message);
                follow_up.tables = true;
                None
            }
            NetlinkEvent::Routes => {
                follow_up.routes = true;
                None
            }
            NetlinkEvent::RoutesOf(index, value) => self
                .link_mut((key, index))?
                .set_routes(value)
                .then_some(index),
        }
    }

    /// Adds or updates a link.
    fn apply_link(
        &mut self,
        graph: &mut Graph,
        key: NamespaceKey,
        mut message: LinkMessage,
        facts: Option<&LinkFacts>,
        now: Timestamp,
        follow_up: &mut FollowUp,
    ) {
        let at = (key, message.index);
        let known = self.link_mut(at).map(|link| link.message.kind.clone());
        if known.is_some_and(|kind| kind != message.kind) {
            // The index was reused, and the deletion of the previous link was not received.
            self.remove_link(graph, at, now, follow_up);
        }
        let Some(namespace) = self.namespaces.get_mut(&key) else {
            return;
        };
        let link = namespace.links.entry(message.index).or_insert_with(|| {
            follow_up.forwarding = true;
            LinkState::new(&message, now)
        });
        if (link.message.flags ^ message.flags) & IFF_UP != 0 {
            // The kernel removes the routes of a link that is set down without a message.
            follow_up.routes = true;
            follow_up.forwarding = true;
        }
        if message.function_count.is_none() {
            message.function_count = link.message.function_count;
            message.functions = link.message.functions.take();
        }
        link.message = message;
        if let Some(facts) = facts {
            link.facts = facts.clone();
        }
        self.reclaim(at, follow_up);
    }

    /// Removes a link and its node; requests the links that referred to it.
    pub(super) fn remove_link(
        &mut self,
        graph: &mut Graph,
        at: LinkKey,
        now: Timestamp,
        follow_up: &mut FollowUp,
    ) {
        let Some(namespace) = self.namespaces.get_mut(&at.0) else {
            return;
        };
        let Some(link) = namespace.links.remove(&at.1) else {
            return;
        };
        if let Some(namespace) = namespace.id {
            self.tids.forget(KernelId {
                namespace,
                index: at.1,
            });
        }
        for target in &link.claims {
            self.unclaim(*target, at);
        }
        // If the link has moved to another namespace, its peer has changed without a message.
        let referring = self.claims.get(&at).into_iter().flatten().copied();
        follow_up
            .refresh
            .extend(referring.filter(|other| self.target(*other) == LinkTarget::Link(at)));
        follow_up.refresh.remove(&at);
        // Fails if another writer has deleted the node.
        let _deleted = graph.delete_node(&link.node, now);
        self.watchers.wake();
    }

    pub(super) fn link(&self, at: LinkKey) -> Option<&LinkState> {
        self.namespaces.get(&at.0)?.links.get(&at.1)
    }

    pub(super) fn link_mut(&mut self, at: LinkKey) -> Option<&mut LinkState> {
        self.namespaces.get_mut(&at.0)?.links.get_mut(&at.1)
    }

    pub(super) fn links_mut(&mut self, key: NamespaceKey) -> impl Iterator<Item = &mut LinkState> {
        self.namespaces
            .get_mut(&key)
            .into_iter()
            .flat_map(|n| n.links.values_mut())
    }

    fn indexes(&self, key: NamespaceKey) -> Vec<u32> {
        self.namespaces
            .get(&key)
            .map(|n| n.links.keys().copied().collect())
            .unwrap_or_default()
    }
}

/// `IFF_UP` of `linux/if.h`.
const IFF_UP: u32 = 1;
