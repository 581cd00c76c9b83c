//! Layer 2 edges: masters, lower devices, and peers of links, also across namespaces.

use super::link_node::edge_id;
use super::link_state::{L2Edges, LinkState};
use super::link_table::{EventSource, FollowUp, LinkKey, LinkTable};
use crate::graph::{Direction, Edge, EdgeId, Graph, Metadata, NodeId};
use crate::time::Timestamp;
use crate::value::Value;

/// The link that a link refers to as its lower device or peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkTarget {
    /// The link refers to no other link.
    None,
    /// A link, which need not be in the table.
    Link(LinkKey),
    /// A link in a namespace whose nsid is unresolved.
    Unresolved,
}

/// Parent, child, and `Type` of an edge; `None` for no edge.
type WantedEdge = Option<(NodeId, NodeId, Option<&'static str>)>;

impl LinkTable {
    /// Updates the references of a link in both directions.
    pub(super) fn reclaim(&mut self, at: LinkKey, follow_up: &mut FollowUp) {
        let target = self.target(at);
        let Some(namespace) = self.namespaces.get_mut(&at.0) else {
            return;
        };
        let Some(link) = namespace.links.get_mut(&at.1) else {
            return;
        };
        if link
            .message
            .link_netnsid
            .is_some_and(|id| !namespace.nsids.contains_key(&id))
        {
            follow_up.unresolved.insert(at.0);
        }
        let mut claims = Vec::new();
        if link.message.master != 0 {
            claims.push((at.0, link.message.master));
        }
        if let LinkTarget::Link(target) = target {
            claims.push(target);
        }
        if link.claims == claims {
            return;
        }
        for target in std::mem::replace(&mut link.claims, claims.clone()) {
            self.unclaim(target, at);
        }
        for target in claims {
            self.claims.entry(target).or_default().insert(at);
        }
    }

    /// Removes a reference to `target`.
    pub(super) fn unclaim(&mut self, target: LinkKey, by: LinkKey) {
        if let Some(referring) = self.claims.get_mut(&target) {
            referring.remove(&by);
            if referring.is_empty() {
                self.claims.remove(&target);
            }
        }
    }

    /// Updates the layer 2 edges of a link according to its message.
    pub(super) fn relink(
        &mut self,
        graph: &mut Graph,
        at: LinkKey,
        source: EventSource,
        now: Timestamp,
        follow_up: &mut FollowUp,
    ) {
        let Some(link) = self.shown(graph, at) else {
            return;
        };
        let target = match self.target(at) {
            LinkTarget::Link(target) => self.shown(graph, target),
            _ => None,
        };
        // Open vSwitch reports one datapath device as the master of all ports; the bridges are in
        // OVSDB.
        let master = self.shown(graph, (at.0, link.message.master));
        let master = master.filter(|m| m.message.name != "ovs-system");
        let master = master.map(|m| (m.node.clone(), link.node.clone(), None));
        let lower = target.filter(|_| link.message.vlan.is_some());
        let lower = lower.map(|l| (l.node.clone(), link.node.clone(), Some("vlan")));
        let is_veth = link.is_veth();
        self.set_edge(graph, at, |edges| &mut edges.master, master, now);
        self.set_edge(graph, at, |edges| &mut edges.lower, lower, now);
        if is_veth {
            self.relink_pair(graph, at, source, now, follow_up);
        }
    }

    /// Updates the edge between the ends of a veth pair, which exists if both ends refer to each
    /// other.
    fn relink_pair(
        &mut self,
        graph: &mut Graph,
        at: LinkKey,
        source: EventSource,
        now: Timestamp,
        follow_up: &mut FollowUp,
    ) {
        let other = match self.target(at) {
            LinkTarget::Link(other) => Some(other),
            _ => None,
        };
        let peer = other.and_then(|other| self.shown(graph, other));
        let peer_target = peer
            .filter(|link| link.is_veth())
            .and(other)
            .map(|o| self.target(o));
        let is_mutual = peer_target == Some(LinkTarget::Link(at));
        if source == EventSource::Notification
            && !is_mutual
            && self.target(at) != LinkTarget::Unresolved
        {
            // One of the two messages is outdated: the kernel reports the end that was created last,
            // or moved to another namespace, but not its peer.
            follow_up.refresh.insert(at);
            if peer_target.is_some_and(|target| target != LinkTarget::Unresolved) {
                follow_up.refresh.extend(other);
            }
        }
        let mut wanted = None;
        if let Some(other) = other.filter(|_| is_mutual) {
            // The end with the larger index is the parent; if they are equal, the end whose
            // namespace was registered later.
            let rank = |(namespace, index): LinkKey| (index, namespace);
            let (parent, child) = if rank(other) > rank(at) {
                (other, at)
            } else {
                (at, other)
            };
            let node = |at| self.link(at).map(|link| link.node.clone());
            wanted = node(parent)
                .zip(node(child))
                .map(|(p, c)| (p, c, Some("veth")));
        }
        let edge = self.set_edge(graph, at, |edges| &mut edges.peer, wanted, now);
        if edge.is_some()
            && let Some(link) = other.and_then(|other| self.link_mut(other))
        {
            link.edges.peer = edge;
        }
    }

    /// Replaces one edge of a link, and returns its id.
    fn set_edge(
        &mut self,
        graph: &mut Graph,
        at: LinkKey,
        slot: fn(&mut L2Edges) -> &mut Option<EdgeId>,
        wanted: WantedEdge,
        now: Timestamp,
    ) -> Option<EdgeId> {
        let id = wanted
            .as_ref()
            .map(|(parent, child, _)| edge_id(parent, child, Edge::LAYER2));
        let former = std::mem::take(slot(&mut self.link_mut(at)?.edges));
        let exists = id.as_ref().is_some_and(|id| graph.edge(id).is_some());
        if let Some(former) = former
            .as_ref()
            .filter(|former| Some(*former) != id.as_ref())
        {
            // Fails if the edge was deleted with the node at its other end.
            let _deleted = graph.delete_edge(former, now);
        }
        let current = if exists && former == id {
            id
        } else {
            wanted
                .zip(id)
                .and_then(|(wanted, id)| self.add_edge(graph, id, wanted, now))
        };
        slot(&mut self.link_mut(at)?.edges).clone_from(&current);
        current
    }

    /// Adds an edge and returns its id; `None` if the nodes are linked already, in any direction.
    fn add_edge(
        &self,
        graph: &mut Graph,
        id: EdgeId,
        (parent, child, kind): (NodeId, NodeId, Option<&'static str>),
        now: Timestamp,
    ) -> Option<EdgeId> {
        let layer2 = Value::from(Edge::LAYER2);
        let linked = graph.edges_of(&child, Direction::Both).any(|(edge, node)| {
            node.id == parent && edge.metadata.get("RelationType") == Some(&layer2)
        });
        if linked {
            return None;
        }
        let pairs = [("RelationType", Some(Edge::LAYER2)), ("Type", kind)];
        let pairs = pairs
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        let metadata = Metadata::from_iter(pairs);
        let edge =
            Edge::new(id.clone(), parent, child, metadata, now).with_origin(self.origin.clone());
        graph.add_edge(edge).is_ok().then_some(id)
    }

    /// Returns the link that `IFLA_LINK` and `IFLA_LINK_NETNSID` of a link refer to.
    pub(super) fn target(&self, at: LinkKey) -> LinkTarget {
        let Some(namespace) = self.namespaces.get(&at.0) else {
            return LinkTarget::None;
        };
        let Some(link) = namespace.links.get(&at.1) else {
            return LinkTarget::None;
        };
        let target = match link.message.link_netnsid {
            _ if link.message.link == 0 => return LinkTarget::None,
            None => Some(at.0),
            Some(id) => namespace.nsids.get(&id).copied(),
        };
        target.map_or(LinkTarget::Unresolved, |key| {
            LinkTarget::Link((key, link.message.link))
        })
    }

    /// Returns a link if its node is in the graph.
    fn shown(&self, graph: &Graph, at: LinkKey) -> Option<&LinkState> {
        self.link(at)
            .filter(|link| graph.node(&link.node).is_some())
    }
}
