//! Routing, neighbor, and forwarding tables of the links in a [`LinkTable`].
//!
//! The kernel sends no message for some changes, so routes and forwarding entries are read
//! completely and replace those of all links. Neighbors arrive as events; they are written to the
//! graph together, because they change often.

use std::collections::HashMap;

use super::link_state::LinkState;
use super::link_table::{LinkTable, NamespaceKey};
use super::neighbor::{NeighborMessage, NeighborTable, TableKind};
use super::wire::NetlinkEvent;
use crate::graph::{Graph, Metadata};
use crate::time::Timestamp;
use crate::topology::subgraph::difference;
use crate::value::Value;

/// Rules and routes of a namespace, as metadata.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    /// Routing tables of each link.
    pub(crate) links: HashMap<u32, Value>,
    /// Routing tables of the routes without a link.
    pub(crate) without_link: Option<Value>,
    pub(crate) rules: Value,
}

impl LinkTable {
    /// Replaces the routing tables of all links of a namespace.
    pub(crate) fn set_routes(
        &mut self,
        graph: &mut Graph,
        key: NamespaceKey,
        mut routes: HashMap<u32, Value>,
        now: Timestamp,
    ) {
        let mut changed = Vec::new();
        for link in self.links_mut(key) {
            let value = routes.remove(&link.message.index);
            if link.set_routes(value) {
                changed.push(link.message.index);
            }
        }
        self.show_all(graph, key, changed, now);
    }

    /// Writes the rules, and the routes without a link, to the node of a namespace.
    pub(crate) fn show_routing(
        &mut self,
        graph: &mut Graph,
        key: NamespaceKey,
        routing: Routing,
        now: Timestamp,
    ) {
        let Some(namespace) = self.namespaces.get_mut(&key) else {
            return;
        };
        let mut metadata = Metadata::from_iter([("RoutingRules", routing.rules)]);
        if let Some(tables) = routing.without_link {
            metadata.set("RoutingTables", tables);
        }
        let ops = difference(&namespace.shown_routing, &metadata);
        if !ops.is_empty() && graph.patch_node(&namespace.root, &ops, now).is_ok() {
            namespace.shown_routing = metadata;
        }
    }

    /// Replaces the forwarding entries of all links of a namespace.
    pub(crate) fn set_forwarding(
        &mut self,
        graph: &mut Graph,
        key: NamespaceKey,
        entries: &[NetlinkEvent],
        now: Timestamp,
    ) {
        let mut tables: HashMap<u32, NeighborTable> = HashMap::new();
        for event in entries {
            if let NetlinkEvent::Neighbor(message) = event
                && message.table == TableKind::Fdb
            {
                tables.entry(message.index).or_default().insert(message);
            }
        }
        let mut changed = Vec::new();
        for link in self.links_mut(key) {
            let table = tables.remove(&link.message.index).unwrap_or_default();
            if link.set_forwarding(table) {
                changed.push(link.message.index);
            }
        }
        self.show_all(graph, key, changed, now);
    }

    /// Removes a forwarding entry from the bridge and its other ports, because the kernel reports an
    /// address that moves to another port only as a new entry of that port.
    pub(super) fn remove_from_other_ports(&mut self, key: NamespaceKey, message: &NeighborMessage) {
        if !message.is_of_bridge() {
            return;
        }
        let master = self.link((key, message.index)).map(|l| l.message.master);
        let Some(bridge) = message.bridge.or(master).filter(|index| *index != 0) else {
            return;
        };
        let ports = self.claims.get(&(key, bridge)).into_iter().flatten();
        let ports: Vec<u32> = ports
            .filter(|(namespace, _)| *namespace == key)
            .map(|(_, index)| *index)
            .chain([bridge])
            .filter(|index| *index != message.index)
            .collect();
        for index in ports {
            if let Some(link) = self.link_mut((key, index))
                && (index == bridge || link.message.master == bridge)
            {
                link.remove_entry(message);
            }
        }
    }

    /// Writes the neighbor and forwarding tables that have changed to the graph.
    pub(crate) fn show_tables(&mut self, graph: &mut Graph, key: NamespaceKey, now: Timestamp) {
        let stale = self.links_mut(key).filter(|link| link.has_stale_tables());
        let changed = stale.map(|link| link.message.index).collect();
        self.show_all(graph, key, changed, now);
    }

    /// Returns the number of full tables, which may have fewer entries than the tables of the
    /// kernel.
    pub(crate) fn full_tables(&self, key: NamespaceKey) -> usize {
        let Some(namespace) = self.namespaces.get(&key) else {
            return 0;
        };
        namespace.links.values().map(LinkState::full_tables).sum()
    }
}
