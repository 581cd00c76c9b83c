//! `LinkState`: the state of one link, and the metadata of its node.

use super::address::Address;
use super::link::LinkMessage;
use super::link_table::LinkKey;
use super::neighbor::{NeighborMessage, NeighborTable, TableKind};
use super::queue;
use super::stats::Counters;
use crate::graph::{EdgeId, Metadata, NodeId};
use crate::sys::pci::PciDevice;
use crate::time::Timestamp;
use crate::value::{Text, Value};

/// Properties of a link that its driver provides through ethtool.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LinkFacts {
    pub(crate) driver: Text,
    pub(crate) bus_info: Option<Text>,
    /// Speed, in Mbit/s.
    pub(crate) speed: Option<u32>,
    pub(crate) features: Option<Value>,
    pub(crate) pci: PciDevice,
}

/// The state of one link.
#[derive(Debug)]
pub(super) struct LinkState {
    /// Node in the graph; an empty id before the node is added.
    pub(super) node: NodeId,
    /// Last message about the link.
    pub(super) message: LinkMessage,
    /// Links that this link refers to. The inverse of `LinkTable::claims`.
    pub(super) claims: Vec<LinkKey>,
    pub(super) edges: L2Edges,
    pub(super) facts: LinkFacts,
    ipv4: Vec<Address>,
    ipv6: Vec<Address>,
    fdb: TableState,
    neighbors: TableState,
    routes: Option<Value>,
    /// Queueing disciplines.
    queues: Option<Value>,
    /// Counters of the last read.
    counters: Counters,
    /// Metadata value of the counters.
    metric: Option<Value>,
    /// Metadata value of the difference from the previous read.
    last_metric: Option<Value>,
    created_at: Timestamp,
    /// Metadata that the table has written to the node; keys of other writers are not included.
    pub(super) shown: Metadata,
}

/// Layer 2 edges that result from the message of a link.
#[derive(Debug, Default)]
pub(super) struct L2Edges {
    pub(super) master: Option<EdgeId>,
    pub(super) lower: Option<EdgeId>,
    pub(super) peer: Option<EdgeId>,
    /// Edge from the physical function (SR-IOV).
    pub(super) function: Option<EdgeId>,
}

/// A neighbor table, and its metadata value, which is produced on demand.
#[derive(Debug, Default)]
struct TableState {
    table: NeighborTable,
    value: Option<Value>,
    /// Whether `table` has changed since `value` was produced.
    is_stale: bool,
}

impl LinkState {
    pub(super) fn new(message: &LinkMessage, now: Timestamp) -> Self {
        let counters = message.stats.unwrap_or_default();
        Self {
            node: NodeId::from(""),
            message: message.clone(),
            claims: Vec::new(),
            edges: L2Edges::default(),
            facts: LinkFacts::default(),
            ipv4: Vec::new(),
            ipv6: Vec::new(),
            fdb: TableState::default(),
            neighbors: TableState::default(),
            routes: None,
            queues: None,
            counters,
            metric: message.stats.map(|stats| stats.to_value(None, None)),
            last_metric: None,
            created_at: now,
            shown: Metadata::new(),
        }
    }

    pub(super) fn is_veth(&self) -> bool {
        self.message.type_name(&self.facts.driver) == "veth"
    }

    /// Returns the metadata of the node. `peer_namespace` is the name of the namespace that the link
    /// refers to; `None` if it is unknown.
    pub(super) fn metadata(&mut self, peer_namespace: Option<Text>) -> Metadata {
        let mut pairs = self.message.metadata(&self.facts.driver);
        let mut optional = |key, value: Option<Value>| pairs.extend(value.map(|v| (key, v)));
        if self.message.link_netnsid.is_some() {
            optional(
                "LinkNetNsName",
                Some(peer_namespace.unwrap_or_default().into()),
            );
        }
        optional("Speed", self.facts.speed.map(Value::from));
        optional("BusInfo", self.facts.bus_info.clone().map(Value::from));
        optional("Features", self.facts.features.clone());
        let pci = &self.facts.pci;
        optional("NUMANode", pci.numa_node.map(Value::from));
        let function = pci.virtual_function.as_ref();
        optional("VfID", function.map(|(_, number)| Value::from(*number)));
        let list = |addresses: &[Address]| (!addresses.is_empty()).then(|| Value::list(addresses));
        optional("IPV4", list(&self.ipv4));
        optional("IPV6", list(&self.ipv6));
        optional("FDB", self.fdb.value(self.message.index));
        optional("Neighbors", self.neighbors.value(self.message.index));
        optional("RoutingTables", self.routes.clone());
        optional("Queues", self.queues.clone());
        optional("Metric", self.metric.clone());
        optional("LastUpdateMetric", self.last_metric.clone());
        pairs.into_iter().collect()
    }

    /// Adds an address; returns `false` if the link already has it.
    pub(super) fn add_address(&mut self, address: Address) -> bool {
        let list = self.addresses(address);
        let is_new = !list.contains(&address);
        if is_new {
            list.push(address);
        }
        is_new
    }

    pub(super) fn remove_address(&mut self, address: Address) {
        self.addresses(address).retain(|a| *a != address);
    }

    pub(super) fn add_entry(&mut self, message: &NeighborMessage) {
        let entries = self.entries(message.table);
        entries.is_stale |= entries.table.insert(message);
    }

    pub(super) fn remove_entry(&mut self, message: &NeighborMessage) {
        let entries = self.entries(message.table);
        entries.is_stale |= entries.table.remove(&message.key);
    }

    /// Removes all addresses and entries, before all current ones are added again.
    pub(super) fn clear_tables(&mut self) {
        self.ipv4.clear();
        self.ipv6.clear();
        for entries in [&mut self.fdb, &mut self.neighbors] {
            *entries = TableState {
                is_stale: true,
                ..TableState::default()
            };
        }
    }

    /// Replaces the forwarding entries; returns whether they differ.
    pub(super) fn set_forwarding(&mut self, table: NeighborTable) -> bool {
        let differs = self.fdb.table != table;
        if differs {
            self.fdb = TableState {
                table,
                value: None,
                is_stale: true,
            };
        }
        differs
    }

    /// Replaces the routing tables; returns whether they differ.
    pub(super) fn set_routes(&mut self, routes: Option<Value>) -> bool {
        let differs = self.routes != routes;
        self.routes = routes;
        differs
    }

    /// Replaces the queueing disciplines if they or their drops differ; returns whether they do. The
    /// other counters change at each read while packets wait, and each change is stored.
    pub(super) fn set_queues(&mut self, queues: Option<Value>) -> bool {
        let differs =
            queue::without_load(self.queues.as_ref()) != queue::without_load(queues.as_ref());
        if differs {
            self.queues = queues;
        }
        differs
    }

    /// Applies a read of the counters; returns whether a counter has changed since the previous
    /// read. That read was at `before`, or later if the link was created later.
    pub(super) fn sample(
        &mut self,
        counters: &Counters,
        before: Timestamp,
        now: Timestamp,
    ) -> bool {
        let delta = counters.since(&self.counters);
        self.counters = *counters;
        if delta.is_zero() {
            return false;
        }
        let start = before.max(self.created_at);
        self.metric = Some(counters.to_value(None, Some(now)));
        self.last_metric = Some(delta.to_value(Some(start), Some(now)));
        true
    }

    pub(super) const fn has_stale_tables(&self) -> bool {
        self.fdb.is_stale || self.neighbors.is_stale
    }

    /// Returns the number of full tables, which may have fewer entries than the tables of the
    /// kernel.
    pub(super) fn full_tables(&self) -> usize {
        [&self.fdb, &self.neighbors]
            .into_iter()
            .filter(|entries| entries.table.is_full())
            .count()
    }

    const fn addresses(&mut self, address: Address) -> &mut Vec<Address> {
        if address.ip.is_ipv4() {
            &mut self.ipv4
        } else {
            &mut self.ipv6
        }
    }

    const fn entries(&mut self, table: TableKind) -> &mut TableState {
        match table {
            TableKind::Fdb => &mut self.fdb,
            TableKind::Neighbors => &mut self.neighbors,
        }
    }
}

impl TableState {
    fn value(&mut self, index: u32) -> Option<Value> {
        if std::mem::take(&mut self.is_stale) {
            self.value = self.table.to_value(index);
        }
        self.value.clone()
    }
}
