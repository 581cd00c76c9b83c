//! The nodes of links in the graph: their ids and TIDs, and the difference that a change makes.

use super::link_state::L2Edges;
use super::link_table::{EventSource, FollowUp, LinkKey, LinkTable, NamespaceKey};
use super::link_watch::LinkWatchers;
use crate::graph::{Edge, EdgeId, Graph, Metadata, Node, NodeId, Origin};
use crate::time::Timestamp;
use crate::topology::known_tids::{KernelId, KnownTids, TidSource};
use crate::topology::subgraph::{difference, is_own};
use crate::topology::tid;
use crate::value::Text;

impl LinkTable {
    /// Writes the state of a link to the graph: adds or patches its node, and updates its edges.
    pub(super) fn show(
        &mut self,
        graph: &mut Graph,
        at: LinkKey,
        source: EventSource,
        now: Timestamp,
        follow_up: &mut FollowUp,
    ) {
        let origin = self.origin.clone();
        let peer_namespace = self.peer_namespace(at);
        let Some(namespace) = self.namespaces.get_mut(&at.0) else {
            return;
        };
        let Some(link) = namespace.links.get_mut(&at.1) else {
            return;
        };
        let metadata = link.metadata(peer_namespace);
        let ops = difference(&link.shown, &metadata);
        if is_own(graph, &link.node, &origin) {
            if !ops.is_empty() {
                let _changed = graph.patch_node(&link.node, &ops, now);
                link.shown = metadata;
                if LinkWatchers::concern(&ops) {
                    self.watchers.wake();
                }
            }
            self.relink(graph, at, source, now, follow_up);
            self.relink_function(graph, at, now, follow_up);
            return;
        }
        self.add_node(graph, at, metadata, now);
        self.watchers.wake();
        self.relink(graph, at, source, now, follow_up);
        self.relink_function(graph, at, now, follow_up);
        self.relink_functions_of(graph, at, now, follow_up);
        let referring = self.claims.get(&at).into_iter().flatten();
        for other in referring.copied().collect::<Vec<_>>() {
            self.relink(graph, other, EventSource::Reply, now, follow_up);
        }
    }

    /// Adds the node of a link that is new, or whose node another writer has deleted.
    fn add_node(&mut self, graph: &mut Graph, at: LinkKey, shown: Metadata, now: Timestamp) {
        let Some(namespace) = self.namespaces.get_mut(&at.0) else {
            return;
        };
        let Some(link) = namespace.links.get_mut(&at.1) else {
            return;
        };
        let owner = graph.node(&namespace.root);
        let tid = owner.zip(namespace.id).and_then(|(owner, id)| {
            let key = KernelId {
                namespace: id,
                index: at.1,
            };
            tid_of_link(&self.tids, key, owner, &shown)
        });
        let mut metadata = shown.clone();
        link.shown = shown;
        link.edges = L2Edges::default();
        link.node = unused_id(graph, tid.as_deref());
        if let Some(tid) = tid {
            metadata.set("TID", tid);
        }
        let root = &namespace.root;
        let node = Node::new(link.node.clone(), metadata, now).with_origin(self.origin.clone());
        let edge = ownership(root, &link.node, &self.origin, now);
        // The id is unused, so the node is added. Without the root, the link has no owner.
        let _added = graph.add_node(node);
        let _owned = graph.add_edge(edge);
    }

    /// Writes links to the graph whose own messages have not changed.
    pub(super) fn show_all(
        &mut self,
        graph: &mut Graph,
        key: NamespaceKey,
        links: Vec<u32>,
        now: Timestamp,
    ) {
        let mut follow_up = FollowUp::default();
        for index in links {
            self.show(graph, (key, index), EventSource::Reply, now, &mut follow_up);
        }
    }

    /// Returns the name of the namespace that a link refers to; `None` if there is none, or its nsid
    /// is unresolved.
    fn peer_namespace(&self, at: LinkKey) -> Option<Text> {
        let namespace = self.namespaces.get(&at.0)?;
        let id = namespace.links.get(&at.1)?.message.link_netnsid?;
        Some(self.namespaces.get(namespace.nsids.get(&id)?)?.name.clone())
    }
}

/// Returns the id of an edge that a probe adds: derived from its ends and its relation.
pub(super) fn edge_id(parent: &NodeId, child: &NodeId, relation: &str) -> EdgeId {
    EdgeId::derived(&format!("{parent}{child}{relation}"))
}

/// Returns the ownership edge of a node that a probe adds.
pub(super) fn ownership(owner: &NodeId, node: &NodeId, origin: &Origin, now: Timestamp) -> Edge {
    let metadata = Metadata::from_iter([("RelationType", "ownership")]);
    let id = edge_id(owner, node, "ownership");
    Edge::new(id, owner.clone(), node.clone(), metadata, now).with_origin(origin.clone())
}

/// Returns the id of a new node: derived from its TID, unless another writer uses that id.
pub(super) fn unused_id(graph: &Graph, tid: Option<&str>) -> NodeId {
    tid.map(tid::node_id)
        .filter(|id| graph.node(id).is_none())
        .unwrap_or_else(NodeId::random)
}

/// Returns the TID of a link; `None` if its owner has none.
fn tid_of_link(tids: &KnownTids, key: KernelId, owner: &Node, link: &Metadata) -> Option<Text> {
    let text = |metadata: &'_ Metadata, key: &str| -> Option<Text> {
        metadata.get(key)?.as_text().map(Text::from)
    };
    let (owner, name) = (text(&owner.metadata, "TID")?, text(link, "Name")?);
    let source = TidSource {
        owner: &owner,
        name: &name,
        kind: link.get("Type")?.as_text()?,
    };
    Some(tids.of_interface(key, source))
}
