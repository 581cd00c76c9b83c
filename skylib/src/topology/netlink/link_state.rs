//! One link as the table keeps it, and the metadata of its node.

use super::address::Address;
use super::link::LinkMessage;
use super::link_table::LinkKey;
use super::neighbor::{NeighborMessage, NeighborTable, TableKind};
use super::stats::Counters;
use crate::graph::{EdgeId, Metadata, NodeId};
use crate::time::Timestamp;
use crate::value::{Text, Value};

/// What a driver tells about a link beside netlink.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LinkFacts {
    pub(crate) driver: Text,
    pub(crate) bus_info: Option<Text>,
    /// Mbit/s.
    pub(crate) speed: Option<u32>,
    pub(crate) features: Option<Value>,
}

/// A link with all that is known about it.
#[derive(Debug)]
pub(super) struct LinkState {
    pub(super) node: NodeId,
    pub(super) message: LinkMessage,
    /// What it points at, as registered in the table.
    pub(super) claims: Vec<LinkKey>,
    pub(super) edges: L2Edges,
    pub(super) facts: LinkFacts,
    ipv4: Vec<Address>,
    ipv6: Vec<Address>,
    fdb: TableState,
    neighbors: TableState,
    routes: Option<Value>,
    counters: Counters,
    metric: Option<Value>,
    last_metric: Option<Value>,
    created_at: Timestamp,
    /// What the node was last told, so that keys of other probes stay theirs.
    pub(super) shown: Metadata,
}

/// The layer 2 edges that follow from a link's own message.
#[derive(Debug, Default)]
pub(super) struct L2Edges {
    pub(super) master: Option<EdgeId>,
    pub(super) lower: Option<EdgeId>,
    pub(super) peer: Option<EdgeId>,
}

/// A neighbour table and its metadata value, made only when asked for.
#[derive(Debug, Default)]
struct TableState {
    table: NeighborTable,
    value: Option<Value>,
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

    /// Everything the node shows. `peer_namespace` is the name of the namespace that the link
    /// points into, if that is known.
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
        let list = |addresses: &[Address]| (!addresses.is_empty()).then(|| Value::list(addresses));
        optional("IPV4", list(&self.ipv4));
        optional("IPV6", list(&self.ipv6));
        optional("FDB", self.fdb.value(self.message.index));
        optional("Neighbors", self.neighbors.value(self.message.index));
        optional("RoutingTables", self.routes.clone());
        optional("Metric", self.metric.clone());
        optional("LastUpdateMetric", self.last_metric.clone());
        pairs.into_iter().collect()
    }

    /// Adds an address; `false` where it is there already.
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
        entries.table.remove(&message.key);
        entries.is_stale = true;
    }

    /// Forgets addresses and entries because all of them are about to be told anew.
    pub(super) fn restate(&mut self) {
        self.ipv4.clear();
        self.ipv6.clear();
        for entries in [&mut self.fdb, &mut self.neighbors] {
            *entries = TableState {
                is_stale: true,
                ..TableState::default()
            };
        }
    }

    /// Replaces the forwarding entries; tells whether they differ.
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

    /// Replaces the routing tables; tells whether they differ.
    pub(super) fn set_routes(&mut self, routes: Option<Value>) -> bool {
        let differs = self.routes != routes;
        self.routes = routes;
        differs
    }

    /// Takes in a sample of the counters; tells whether anything was counted since the last one,
    /// which was taken at `before` unless the link is younger.
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

    /// Tables that may show less than there is.
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
