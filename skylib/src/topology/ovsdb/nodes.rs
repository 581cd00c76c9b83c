//! The nodes and edges of a switch: bridges, ports, and interfaces.
//!
//! An interface that the kernel also has is one node: the node of the kernel's link, to which the
//! columns of OVSDB are added. An interface without a link (a patch port, a tunnel) is a node of this
//! probe, which its bridge owns.

use std::collections::{BTreeMap, HashMap};

use super::row::Row;
use super::tables::Tables;
use crate::graph::{Edge, Metadata, NodeId};
use crate::time::Timestamp;
use crate::topology::Subgraph;
use crate::topology::netlink::{Counters, LinkSummary};
use crate::topology::tid::{chained, node_id};
use crate::value::{Map, Value};

/// State on which the nodes of a switch depend in addition to its tables.
pub(super) struct Surroundings<'a> {
    /// Node of the host.
    pub(super) host: &'a NodeId,
    /// TID of the host.
    pub(super) host_tid: &'a str,
    /// Links of the kernel by name.
    pub(super) links: HashMap<&'a str, Vec<&'a LinkSummary>>,
    /// Metrics of the interfaces by UUID; empty if they are disabled.
    pub(super) metrics: &'a InterfaceMetrics,
    /// Hardware addresses that the interfaces have had.
    pub(super) addresses: &'a InterfaceAddresses,
}

/// The elements of a switch, and the types that OVSDB assigns to links of the kernel.
#[derive(Debug, Default)]
pub(super) struct SwitchNodes {
    pub(super) subgraph: Subgraph,
    pub(super) typed_links: Vec<(LinkSummary, String)>,
    /// Nodes of the bridges by name, with the metadata value of their UUID.
    pub(super) bridges: BTreeMap<String, NodeId>,
}

impl SwitchNodes {
    pub(super) fn new(tables: &Tables, around: &Surroundings<'_>) -> Self {
        let mut nodes = Self::default();
        let mut patches = BTreeMap::new();
        for (uuid, bridge) in tables.rows("Bridge") {
            let id = nodes.add_named(around, "ovsbridge", uuid, bridge_metadata(bridge));
            nodes.subgraph.own(around.host, &id);
            if let Some(name) = bridge.text("name") {
                nodes.bridges.insert(name.to_owned(), id.clone());
            }
            for port_uuid in bridge.references("ports") {
                let Some(port) = tables.row("Port", port_uuid) else {
                    continue;
                };
                let port_id = nodes.add_named(around, "ovsport", port_uuid, port_metadata(port));
                nodes.subgraph.own(&id, &port_id);
                nodes
                    .subgraph
                    .link(&id, &port_id, Edge::LAYER2, Metadata::new());
                for uuid in port.references("interfaces") {
                    let Some(row) = tables.row("Interface", uuid) else {
                        continue;
                    };
                    let node = nodes.add_interface(around, &id, uuid, row);
                    nodes
                        .subgraph
                        .link(&port_id, &node, Edge::LAYER2, Metadata::new());
                    if let Some(name) = row.text("name").filter(|_| row.text("type") == Some(PATCH))
                    {
                        patches.insert(name.to_owned(), (node, row));
                    }
                }
            }
        }
        nodes.link_patches(&patches);
        nodes.show_system(tables, around);
        nodes
    }

    /// Adds the node of a bridge or a port, whose TID depends on its UUID.
    fn add_named(
        &mut self,
        around: &Surroundings<'_>,
        kind: &str,
        uuid: &str,
        mut metadata: Metadata,
    ) -> NodeId {
        metadata.set("Type", kind);
        metadata.set("UUID", uuid);
        let id = node_id(&chained(around.host_tid, uuid, kind).to_string());
        self.subgraph.add_node(id.clone(), metadata);
        id
    }

    /// Adds an interface, and returns its node.
    fn add_interface(
        &mut self,
        around: &Surroundings<'_>,
        bridge: &NodeId,
        uuid: &str,
        row: &Row,
    ) -> NodeId {
        let mut metadata = interface_metadata(uuid, row, around.metrics);
        if let Some(link) = link_of(around, uuid, row) {
            if let Some(kind) = row.text("type") {
                self.typed_links.push((link.clone(), kind.to_owned()));
            }
            self.subgraph.annotate(&link.node, &metadata);
            return link.node.clone();
        }
        let id = NodeId::derived(&format!("{bridge}/{uuid}"));
        if let Some(name) = row.text("name") {
            metadata.set("Name", name);
        }
        let status = row.map("status");
        let driver = status.get("driver_name").map_or("openvswitch", |name| name);
        metadata.set("Driver", driver);
        if let Some(mac) = row
            .text("mac_in_use")
            .filter(|_| row.text("type") != Some("internal"))
        {
            metadata.set("MAC", mac);
        }
        if let Some(index) = row.number("ifindex").filter(|index| *index > 0) {
            metadata.set("IfIndex", index);
        }
        self.subgraph.add_node(id.clone(), metadata);
        self.subgraph.own(bridge, &id);
        id
    }

    /// Links the two interfaces of each patch: the interface with the smaller name is the parent.
    fn link_patches(&mut self, patches: &BTreeMap<String, (NodeId, &Row)>) {
        for (name, (node, row)) in patches {
            let options = row.map("options");
            let Some((peer_name, (peer, _))) = options
                .get("peer")
                .and_then(|peer| patches.get_key_value(peer))
            else {
                continue;
            };
            let (parent, child) = if name < peer_name {
                (node, peer)
            } else {
                (peer, node)
            };
            if name != peer_name {
                let extra = Metadata::from_iter([("Type", PATCH)]);
                self.subgraph.link(parent, child, Edge::LAYER2, extra);
            }
        }
    }

    /// Shows the versions and the settings of the switch on its datapath's link, or on the host if
    /// the datapath has none.
    fn show_system(&mut self, tables: &Tables, around: &Surroundings<'_>) {
        let Some((_, row)) = tables.rows("Open_vSwitch").next() else {
            return;
        };
        let mut ovs = settings(row);
        for (key, column) in [("DBVersion", "db_version"), ("Version", "ovs_version")] {
            if let Some(text) = row.text(column) {
                ovs.set(key, text);
            }
        }
        let datapath = around
            .links
            .get("ovs-system")
            .and_then(|links| links.first());
        let node = datapath.map_or(around.host, |link| &link.node);
        self.subgraph.annotate(node, &with_settings(ovs, row));
    }
}

/// Returns the link of the kernel that an interface is: with the same name and, as far as OVSDB
/// knows them, the same index and address. Without these, see [`link_without_address`].
fn link_of<'a>(around: &Surroundings<'a>, uuid: &str, row: &Row) -> Option<&'a LinkSummary> {
    let index = row.number("ifindex").filter(|index| *index > 0);
    let mac = row.text("mac_in_use");
    let links = around.links.get(row.text("name")?)?;
    if index.is_none() && mac.is_none() {
        return link_without_address(around, uuid, row, links);
    }
    let mut matching = links.iter().filter(|link| match (index, mac) {
        (Some(index), _) => i64::from(link.index) == index,
        (None, mac) => mac == Some(&*link.mac),
    });
    let first = matching.next()?;
    // Indexes are unique within a namespace only.
    let in_host = std::iter::once(first)
        .chain(matching)
        .find(|link| link.is_in_host);
    Some(in_host.unwrap_or(first))
}

/// Returns the link among those with the name of an interface for which OVSDB has neither index nor
/// address, because it is missing or was moved to another namespace: the link with the configured
/// or a former address, else the link of the host's namespace, else, for an internal port, the only
/// link.
fn link_without_address<'a>(
    around: &Surroundings<'a>,
    uuid: &str,
    row: &Row,
    links: &[&'a LinkSummary],
) -> Option<&'a LinkSummary> {
    let kind = row.text("type");
    if kind == Some(PATCH) {
        return None;
    }
    let ids = row.map("external_ids");
    let attached = ids.get("attached-mac").map(|mac| mac.to_ascii_lowercase());
    let former = around.addresses.0.get(uuid);
    let has_address = |link: &&&LinkSummary| {
        let mut known = attached.iter().chain(former);
        known.any(|mac| **mac == *link.mac)
    };
    let found = links.iter().find(has_address);
    let found = found.or_else(|| links.iter().find(|link| link.is_in_host));
    let only = || match links {
        [only] if kind == Some("internal") => Some(only),
        _ => None,
    };
    found.or_else(only).copied()
}

/// Last known hardware address of each interface by UUID; OVSDB has none for an interface that was
/// moved to another namespace.
#[derive(Debug, Default)]
pub(super) struct InterfaceAddresses(BTreeMap<String, String>);

impl InterfaceAddresses {
    /// Adds the current addresses, and removes those of deleted interfaces.
    pub(super) fn update(&mut self, tables: &Tables) {
        self.0
            .retain(|uuid, _| tables.row("Interface", uuid).is_some());
        for (uuid, row) in tables.rows("Interface") {
            if let Some(mac) = row.text("mac_in_use") {
                self.0.insert(uuid.to_owned(), mac.to_owned());
            }
        }
    }
}

fn bridge_metadata(row: &Row) -> Metadata {
    let mut ovs = settings(row);
    let protocols = row.texts("protocols");
    if !protocols.is_empty() {
        ovs.set("Protocols", Value::list(protocols));
    }
    let mut metadata = with_settings(ovs, row);
    metadata.set("Name", row.text("name").unwrap_or_default());
    metadata
}

fn port_metadata(row: &Row) -> Metadata {
    let mut metadata = with_settings(settings(row), row);
    metadata.set("Name", row.text("name").unwrap_or_default());
    for (key, column) in [
        ("BondMode", "bond_mode"),
        ("LACP", "lacp"),
        ("VlanMode", "vlan_mode"),
    ] {
        if let Some(text) = row.text(column) {
            metadata.set(key, text);
        }
    }
    let tags = row.numbers("tag");
    // COMPAT: every client; an atom is a number, a set is a list.
    match row.is_atom("tag") {
        true => metadata.set("Vlans", tags.first().copied().unwrap_or_default()),
        false if tags.is_empty() => {}
        false => metadata.set("Vlans", Value::list(tags)),
    }
    let trunks = row.numbers("trunks");
    if !trunks.is_empty() {
        metadata.set("Trunks", Value::list(trunks));
    }
    metadata
}

/// Returns the metadata of an interface that both kinds of nodes have.
fn interface_metadata(uuid: &str, row: &Row, metrics: &InterfaceMetrics) -> Metadata {
    let mut ovs = settings(row);
    let options = row.map("options");
    if !options.is_empty() {
        ovs.set("Options", text_map(&options));
    }
    if let Some(error) = row.text("error") {
        ovs.set("Error", error);
    }
    metrics.write_to(uuid, &mut ovs);
    let mut metadata = with_settings(ovs, row);
    metadata.set("UUID", uuid);
    if let Some(kind) = row.text("type") {
        metadata.set("Type", kind);
    }
    if let Some(port) = row.number("ofport").filter(|port| *port != 0) {
        metadata.set("OfPort", port);
    }
    let status = row.map("status");
    let texts = [
        ("LocalIP", options.get("local_ip")),
        ("RemoteIP", options.get("remote_ip")),
        ("TunEgressIface", status.get("tunnel_egress_iface")),
        (
            "TunEgressIfaceCarrier",
            status.get("tunnel_egress_iface_carrier"),
        ),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            metadata.set(key, text.as_str());
        }
    }
    metadata
}

/// Returns the object `Ovs` with the settings of a row.
fn settings(row: &Row) -> Map {
    let mut ovs = Map::new();
    let config = row.map("other_config");
    if !config.is_empty() {
        ovs.set("OtherConfig", text_map(&config));
    }
    ovs
}

/// Returns metadata with the object `Ovs`, unless it is empty, and the external identifiers.
fn with_settings(ovs: Map, row: &Row) -> Metadata {
    let mut metadata = Metadata::new();
    if !ovs.is_empty() {
        metadata.set("Ovs", ovs);
    }
    let mut ids = Map::new();
    for (key, value) in row.map("external_ids") {
        // COMPAT: every client; dots in a key nest. A key that leads through a text is dropped.
        let _added = ids.set_path(key, value);
    }
    if !ids.is_empty() {
        metadata.set("ExtID", ids);
    }
    metadata
}

fn text_map(entries: &BTreeMap<&str, String>) -> Map {
    entries
        .iter()
        .map(|(key, value)| (*key, Value::from(value.as_str())))
        .collect()
}

/// Counters of the interfaces of a switch, and their changes between two updates.
#[derive(Debug, Default)]
pub(super) struct InterfaceMetrics(BTreeMap<String, Sample>);

#[derive(Debug)]
struct Sample {
    counters: Counters,
    at: Timestamp,
    /// Counters since the previous sample, and its time.
    delta: Option<(Counters, Timestamp)>,
}

impl InterfaceMetrics {
    /// Reads the counters of all interfaces.
    pub(super) fn update(&mut self, tables: &Tables, now: Timestamp) {
        self.0
            .retain(|uuid, _| tables.row("Interface", uuid).is_some());
        for (uuid, row) in tables.rows("Interface") {
            let statistics = row.map("statistics");
            let named = STATISTICS
                .iter()
                .filter_map(|(column, name)| Some((*name, statistics.get(column)?.parse().ok()?)));
            let counters = Counters::from_names(named);
            match self.0.get_mut(uuid) {
                None => {
                    let sample = Sample {
                        counters,
                        at: now,
                        delta: None,
                    };
                    self.0.insert(uuid.to_owned(), sample);
                }
                Some(sample) if sample.counters == counters => {}
                Some(sample) => {
                    sample.delta = Some((counters.since(&sample.counters), sample.at));
                    sample.counters = counters;
                    sample.at = now;
                }
            }
        }
    }

    fn write_to(&self, uuid: &str, ovs: &mut Map) {
        let Some(sample) = self.0.get(uuid).filter(|sample| !sample.counters.is_zero()) else {
            return;
        };
        ovs.set("Metric", sample.counters.to_value(None, Some(sample.at)));
        if let Some((delta, start)) = &sample.delta {
            ovs.set(
                "LastUpdateMetric",
                delta.to_value(Some(*start), Some(sample.at)),
            );
        }
    }
}

/// Statistics of OVSDB and the names of the metrics.
const STATISTICS: [(&str, &str); 12] = [
    ("collisions", "Collisions"),
    ("rx_bytes", "RxBytes"),
    ("rx_crc_err", "RxCrcErrors"),
    ("rx_dropped", "RxDropped"),
    ("rx_errors", "RxErrors"),
    ("rx_frame_err", "RxFrameErrors"),
    ("rx_over_err", "RxOverErrors"),
    ("rx_packets", "RxPackets"),
    ("tx_bytes", "TxBytes"),
    ("tx_dropped", "TxDropped"),
    ("tx_errors", "TxErrors"),
    ("tx_packets", "TxPackets"),
];

/// Type of an interface that leads to another bridge.
const PATCH: &str = "patch";
