//! Replication: analyzers that copy their graphs to each other.
//!
//! ```text
//! own agents, publishers, REST ─ graph ─ events of own writers ─▶ every peer
//! peer ─ Sync, changes ─ PeerConnection::apply ─ graph ─ subscribers (never to another peer)
//! ```
//!
//! A change from a peer has an author with [`PEER_AUTHOR`] set and is not sent to peers, so no loop
//! is possible, whatever the connections between the analyzers are. Each analyzer sends only its own
//! elements ([`PeerElements`]); all analyzers must therefore be connected to each other. Elements of
//! a lost peer remain for a while, because its agents may change to another analyzer; see
//! [`Replication::expire`].

mod peer_elements;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use self::peer_elements::PeerElements;
use super::fleet::AgentLinks;
use super::graph::{LoggedEvent, SharedGraph};
use crate::graph::{Edge, EdgeId, Graph, GraphError, GraphEvent, Node, NodeId};
use crate::proto::{BroadcastMessage, GraphMessage};
use crate::time::{Clock, Timestamp};
use crate::value::Text;

/// Bit of the authors of changes that peers made.
const PEER_AUTHOR: u64 = 1 << 63;
/// Bit of the authors of changes that came from other clusters. They are sent to peers, because only
/// one analyzer of a cluster receives them.
const CLUSTER_AUTHOR: u64 = 1 << 62;
/// Author of the changes that rules make; no connection has this number.
pub(super) const RULE_AUTHOR: u64 = 1 << 61;
/// Beginning of the names of other clusters, which no analyzer can have.
const CLUSTER: &str = "cluster\n";

/// Connections to other analyzers, and the elements that they sent.
///
/// ```
/// use skylib::engine::{Engine, EngineOptions};
///
/// let engine = Engine::start(EngineOptions::new("an-1"))?;
/// let replication = engine.replication();
/// let peer = replication.connect("an-2", 1, true).expect("a new peer");
/// assert!(replication.connect("an-2", 2, false).is_none(), "one connection for each peer");
/// assert!(replication.connect("an-1", 3, true).is_none(), "the analyzer itself");
/// drop(peer);
/// # Ok::<(), skylib::Error>(())
/// ```
pub struct Replication {
    /// Identity of this analyzer.
    host: String,
    /// Origin of the probes of this host.
    own_origin: String,
    graph: Arc<SharedGraph>,
    agents: Arc<AgentLinks>,
    clock: Arc<dyn Clock>,
    /// Time without a connection after which the elements of a lost peer's agents are deleted.
    ghost_timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    elements: PeerElements,
    /// Connected peers.
    connected: HashSet<String>,
    /// Lost peers whose elements have not expired, and since when they are lost.
    lost: BTreeMap<String, Timestamp>,
}

/// State of the replication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicationStatus {
    /// Number of connected peers.
    pub peers: usize,
    /// Number of nodes and edges that peers sent.
    pub elements: usize,
    /// Number of lost peers whose elements have not expired.
    pub lost_peers: usize,
}

impl Replication {
    pub(super) fn new(
        host: &str,
        graph: Arc<SharedGraph>,
        agents: Arc<AgentLinks>,
        clock: Arc<dyn Clock>,
        ghost_timeout: Duration,
    ) -> Self {
        Self {
            host: host.to_owned(),
            own_origin: format!("agent.{host}"),
            graph,
            agents,
            clock,
            ghost_timeout,
            state: Mutex::default(),
        }
    }

    /// Registers a connection to a peer, which ends when the returned value is dropped; `author`
    /// identifies the connection, and `is_outgoing` means that this analyzer opened it. Returns
    /// `None` if the peer is this analyzer or already connected.
    #[must_use]
    pub fn connect(
        self: &Arc<Self>,
        peer: &str,
        author: u64,
        is_outgoing: bool,
    ) -> Option<PeerConnection> {
        let mut state = self.state.lock();
        if peer == self.host || !state.connected.insert(peer.to_owned()) {
            return None;
        }
        state.lost.remove(peer);
        drop(state);
        Some(PeerConnection {
            replication: Arc::clone(self),
            peer: peer.into(),
            author: author | PEER_AUTHOR,
            is_outgoing,
        })
    }

    /// Registers a connection to another cluster, whose elements and changes are applied like those
    /// of a peer; returns `None` if there is one already.
    #[must_use]
    pub fn connect_cluster(self: &Arc<Self>, cluster: &str, author: u64) -> Option<PeerConnection> {
        let mut connection = self.connect(&format!("{CLUSTER}{cluster}"), author, false)?;
        connection.author = author | CLUSTER_AUTHOR;
        Some(connection)
    }

    /// Returns whether a change came from another cluster.
    #[must_use]
    pub fn is_of_cluster(message: &BroadcastMessage) -> bool {
        message
            .author()
            .is_some_and(|author| author & CLUSTER_AUTHOR != 0)
    }

    /// Returns whether a peer is connected, or is this analyzer itself.
    #[must_use]
    pub fn is_connected(&self, peer: &str) -> bool {
        peer == self.host || self.state.lock().connected.contains(peer)
    }

    /// Returns whether a change must be sent to peers: neither if a peer has made it, nor if a rule
    /// of this analyzer has changed an element of a peer, because contradictory rules of two
    /// analyzers would then change the element endlessly.
    #[must_use]
    pub fn is_sent_to_peers(&self, message: &BroadcastMessage) -> bool {
        let is_update_by_rule = message.author() == Some(RULE_AUTHOR);
        Self::is_own_change(message)
            && match message.event().filter(|_| is_update_by_rule) {
                Some(GraphEvent::NodeUpdated { node, .. }) => self.is_own_node(node),
                Some(GraphEvent::EdgeUpdated { edge, .. }) => self.is_own_edge(edge),
                _ => true,
            }
    }

    /// Returns whether a change did not come from a peer.
    fn is_own_change(message: &BroadcastMessage) -> bool {
        message
            .author()
            .is_none_or(|author| author & PEER_AUTHOR == 0)
    }

    /// Returns whether a node is not from another analyzer of this cluster.
    #[must_use]
    pub fn is_own_node(&self, node: &Node) -> bool {
        let state = self.state.lock();
        let source = state.elements.source_of_node(&node.id);
        source.is_none_or(|source| source.starts_with(CLUSTER))
    }

    /// Returns whether an edge is not from another analyzer of this cluster.
    #[must_use]
    pub fn is_own_edge(&self, edge: &Edge) -> bool {
        let state = self.state.lock();
        let source = state.elements.source_of_edge(&edge.id);
        source.is_none_or(|source| source.starts_with(CLUSTER))
    }

    /// Returns the state.
    #[must_use]
    pub fn status(&self) -> ReplicationStatus {
        let state = self.state.lock();
        ReplicationStatus {
            peers: state.connected.len(),
            elements: state.elements.len(),
            lost_peers: state.lost.len(),
        }
    }

    /// Handles a graph event. Called by the dispatcher; never blocks.
    pub(super) fn graph_event(&self, logged: &LoggedEvent) {
        let foreign = PEER_AUTHOR | CLUSTER_AUTHOR;
        let is_of_peer = logged.author.is_some_and(|author| author & foreign != 0);
        let mut state = self.state.lock();
        if !is_of_peer && !state.elements.is_empty() {
            state.elements.graph_event(&logged.event, logged.sequence);
        }
    }

    /// Deletes the elements of agents and analyzers that came from peers lost for too long. Returns
    /// the time of the next expiry.
    pub(super) fn expire(&self) -> Option<Timestamp> {
        let now = self.clock.now();
        let expired: Vec<String> = {
            let state = self.state.lock();
            let is_over = |since: &Timestamp| now.duration_since(*since) >= self.ghost_timeout;
            let over = state.lost.iter().filter(|(_, since)| is_over(since));
            over.map(|(peer, _)| peer.clone()).collect()
        };
        for peer in expired {
            self.delete_ghosts(&peer);
            self.state.lock().lost.remove(&peer);
        }
        let state = self.state.lock();
        let next = state.lost.values().min();
        next.map(|since| since.saturating_add(self.ghost_timeout))
    }

    /// Deletes the nodes that the agents and analyzers of a lost peer wrote.
    ///
    /// COMPAT: only agents and analyzers send signs of life; the elements of other writers remain.
    fn delete_ghosts(&self, peer: &str) {
        let deleted = self.graph.update_as(Some(PEER_AUTHOR), |graph, now| {
            let mut state = self.state.lock();
            let is_ghost = |origin: &str| {
                (origin.starts_with("agent.") || origin.starts_with("analyzer."))
                    && !self.is_owner_here(origin)
            };
            let nodes = state.elements.nodes_of(graph, peer, is_ghost);
            for id in &nodes {
                delete_node(graph, &mut state.elements, id, now);
            }
            nodes.len()
        });
        if deleted > 0 {
            tracing::info!(
                peer,
                nodes = deleted,
                "deleted the nodes of agents of a lost analyzer"
            );
        }
    }

    /// Returns whether the writer of an origin is this host or connected to this analyzer.
    fn is_owner_here(&self, origin: &str) -> bool {
        *origin == self.own_origin || self.agents.host_of_origin(origin).is_some()
    }
}

/// Deletes a node, with its edges, that a peer has sent.
fn delete_node(graph: &mut Graph, elements: &mut PeerElements, id: &NodeId, now: Timestamp) {
    let edges: Vec<EdgeId> = graph
        .edges_of(id, crate::graph::Direction::Both)
        .map(|(edge, _)| edge.id.clone())
        .collect();
    edges.iter().for_each(|edge| elements.remove_edge(edge));
    elements.remove_node(id);
    // Missing nodes are deleted already.
    graph.delete_node(id, now).ok();
}

/// Deletes an edge that a peer has sent.
fn delete_edge(graph: &mut Graph, elements: &mut PeerElements, id: &EdgeId, now: Timestamp) {
    elements.remove_edge(id);
    // The edge was deleted before, with one of its nodes.
    graph.delete_edge(id, now).ok();
}

impl fmt::Debug for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replication")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// A registered connection to a peer; dropping it ends the registration.
#[derive(Debug)]
pub struct PeerConnection {
    replication: Arc<Replication>,
    peer: Text,
    author: u64,
    is_outgoing: bool,
}

/// Effect of the changes of a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// Reasons why changes were rejected.
    pub rejected: Vec<String>,
    /// Whether an update had no content, so that only the whole graph of the peer contains it.
    pub lacks_content: bool,
}

impl PeerConnection {
    /// Applies changes of the peer in one transaction; they are not persistent, because the peer
    /// stores them.
    pub fn apply(&self, changes: Vec<GraphMessage>) -> Applied {
        self.replication
            .graph
            .update_as(Some(self.author), |graph, now| {
                let mut state = self.replication.state.lock();
                let mut target = Target {
                    peer: self,
                    graph,
                    state: &mut state,
                    now,
                };
                let mut applied = Applied::default();
                for change in changes {
                    applied.lacks_content |= target.lacks_content(&change);
                    applied.rejected.extend(target.apply(change).err());
                }
                applied
            })
    }
}

/// Graph to which the changes of a peer are applied.
struct Target<'a> {
    peer: &'a PeerConnection,
    graph: &'a mut Graph,
    state: &'a mut State,
    now: Timestamp,
}

impl Target<'_> {
    fn apply(&mut self, change: GraphMessage) -> Result<(), String> {
        if let Some(violation) = self.violation(&change) {
            return Err(violation);
        }
        let (now, elements) = (self.now, &mut self.state.elements);
        let result = match change {
            GraphMessage::Sync { nodes, edges } => {
                self.sync(nodes, edges);
                Ok(())
            }
            GraphMessage::NodeAdded(node) => self.add_node(node),
            GraphMessage::EdgeAdded(edge) => self.add_edge(edge),
            GraphMessage::NodeDeleted(node) => {
                let deleted_at = node.deleted_at.unwrap_or(now);
                delete_node(self.graph, elements, &node.id, deleted_at);
                Ok(())
            }
            GraphMessage::EdgeDeleted(edge) => {
                let deleted_at = edge.deleted_at.unwrap_or(now);
                delete_edge(self.graph, elements, &edge.id, deleted_at);
                Ok(())
            }
            // COMPAT: Skydive sends whole-metadata updates without content. Without the new
            // revision, a later complete update still applies.
            GraphMessage::NodePartiallyUpdated(update) if update.ops.is_empty() => Ok(()),
            GraphMessage::EdgePartiallyUpdated(update) if update.ops.is_empty() => Ok(()),
            update => update.apply(self.graph, "", now),
        };
        result.map_err(|error| error.to_string())
    }

    /// Returns the reason why a peer may not make a change; `None` if it may. Only a
    /// writer of this analyzer may delete its elements, or change the metadata keys of them that captures
    /// read.
    fn violation(&self, change: &GraphMessage) -> Option<String> {
        let origin = change.target_origin(self.graph)?;
        if !self.is_owner_here(&origin) {
            return None;
        }
        if change.deleted_origin(self.graph).is_some() {
            return Some(format!(
                "elements of {origin} belong to a writer of this analyzer"
            ));
        }
        let key = change.changed_protected_key(self.graph, &origin)?;
        Some(format!(
            "the metadata key {key} can only be changed by {origin}, a writer of this analyzer"
        ))
    }

    /// Returns whether a change is a newer revision of an element, without its content.
    fn lacks_content(&self, change: &GraphMessage) -> bool {
        match change {
            GraphMessage::NodePartiallyUpdated(update) if update.ops.is_empty() => {
                let held = self.graph.node(&update.id);
                let revision = self.graph.annotated_revision(&update.id, update.revision);
                held.is_some_and(|held| held.revision < revision)
            }
            GraphMessage::EdgePartiallyUpdated(update) if update.ops.is_empty() => {
                let held = self.graph.edge(&update.id);
                held.is_some_and(|held| held.revision < update.revision)
            }
            _ => false,
        }
    }

    /// Adds the elements of the peer that are missing here, updates older copies, and deletes those
    /// that came from the peer and that it no longer has.
    fn sync(&mut self, nodes: Vec<Node>, edges: Vec<Edge>) {
        let node_ids: HashSet<NodeId> = nodes.iter().map(|node| node.id.clone()).collect();
        let edge_ids: HashSet<EdgeId> = edges.iter().map(|edge| edge.id.clone()).collect();
        let elements = &self.state.elements;
        let (old_nodes, old_edges) = elements.missing(&self.peer.peer, &node_ids, &edge_ids);
        for id in old_edges {
            let held = self.graph.edge(&id);
            match held.is_some_and(|held| self.is_owner_here(&held.origin)) {
                true => self.state.elements.remove_edge(&id),
                false => delete_edge(self.graph, &mut self.state.elements, &id, self.now),
            }
        }
        for id in old_nodes {
            let held = self.graph.node(&id);
            match held.is_some_and(|held| self.is_owner_here(&held.origin)) {
                true => self.state.elements.remove_node(&id),
                false => delete_node(self.graph, &mut self.state.elements, &id, self.now),
            }
        }
        // Elements that cannot be added, for example because of a limit, are omitted.
        for node in nodes {
            self.add_node(node).ok();
        }
        for edge in edges {
            self.add_edge(edge).ok();
        }
    }

    /// Adds a node of the peer. A copy that a peer has sent receives the newer revision; if that
    /// peer is lost, the node belongs to this peer from now on, to which its agent has changed.
    fn add_node(&mut self, mut node: Node) -> Result<(), GraphError> {
        if self.is_owner_here(&node.origin) {
            return Ok(());
        }
        let Some(held) = self.graph.node(&node.id) else {
            node.stamp(self.now);
            let id = node.id.clone();
            self.graph.add_node(node)?;
            self.attribute_node(id);
            return Ok(());
        };
        let source = self.state.elements.source_of_node(&node.id);
        if source.is_none() || self.is_owner_here(&held.origin) {
            return Ok(());
        }
        if self.is_lost(source) {
            self.attribute_node(node.id.clone());
        }
        self.graph.sync_node(&node).map(drop)
    }

    /// Adds an edge of the peer, as [`Target::add_node`] adds a node.
    fn add_edge(&mut self, mut edge: Edge) -> Result<(), GraphError> {
        if self.is_owner_here(&edge.origin) {
            return Ok(());
        }
        let Some(held) = self.graph.edge(&edge.id) else {
            edge.stamp(self.now);
            let id = edge.id.clone();
            self.graph.add_edge(edge)?;
            self.attribute_edge(id);
            return Ok(());
        };
        let source = self.state.elements.source_of_edge(&edge.id);
        if source.is_none() || self.is_owner_here(&held.origin) {
            return Ok(());
        }
        if self.is_lost(source) {
            self.attribute_edge(edge.id.clone());
        }
        self.graph.sync_edge(&edge).map(drop)
    }

    fn attribute_node(&mut self, id: NodeId) {
        let sequence = self.graph.sequence();
        let elements = &mut self.state.elements;
        elements.add_node(id, &self.peer.peer, sequence);
    }

    fn attribute_edge(&mut self, id: EdgeId) {
        let sequence = self.graph.sequence();
        let elements = &mut self.state.elements;
        elements.add_edge(id, &self.peer.peer, sequence);
    }

    /// Returns whether a source is a peer that is not connected.
    fn is_lost(&self, source: Option<&str>) -> bool {
        source.is_some_and(|source| !self.state.connected.contains(source))
    }

    fn is_owner_here(&self, origin: &str) -> bool {
        self.peer.replication.is_owner_here(origin)
    }
}

impl Drop for PeerConnection {
    fn drop(&mut self) {
        let replication = &self.replication;
        // COMPAT: the elements of the peer itself end with a connection that this analyzer opened.
        if self.is_outgoing {
            let origin = format!("analyzer.{}", self.peer);
            replication
                .graph
                .update_as(Some(self.author), |graph, now| {
                    let mut state = replication.state.lock();
                    let is_selected = |of: &str| *of == *origin;
                    let nodes = state.elements.nodes_of(graph, &self.peer, is_selected);
                    for id in &nodes {
                        delete_node(graph, &mut state.elements, id, now);
                    }
                });
        }
        let mut state = replication.state.lock();
        state.connected.remove(self.peer.as_str());
        // Elements of another cluster remain until it returns: its agents cannot change to this one.
        if !self.peer.starts_with(CLUSTER) {
            state
                .lost
                .insert(self.peer.to_string(), replication.clock.now());
        }
    }
}

#[cfg(test)]
mod tests;
