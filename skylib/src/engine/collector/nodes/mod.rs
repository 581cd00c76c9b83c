//! `ExporterNodes`: the nodes of exporters and their interfaces.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use super::options::CollectorOptions;
use super::sflow_metric::SflowMetric;
use crate::engine::graph::SharedGraph;
use crate::engine::query::QueryRunner;
use crate::export::{CounterSample, ExporterFigures, InterfaceOption, RecordOrigin};
use crate::graph::{
    Direction, Edge, Graph, GraphAccess, Metadata, MetadataOp, Node, NodeId, Origin,
};
use crate::gremlin::Query;
use crate::id::Id;
use crate::time::Timestamp;
use crate::value::{Map, Text, Value};

/// The exporters from which a collector has received datagrams, and their nodes.
///
/// The nodes and their TIDs are derived from the address and the index, so they are the same after
/// a restart.
pub(super) struct ExporterNodes {
    graph: Arc<SharedGraph>,
    queries: QueryRunner,
    /// Origin of the nodes.
    origin: Origin,
    /// At most [`MAX_EXPORTERS`].
    exporters: HashMap<IpAddr, KnownExporter>,
}

/// An exporter with its nodes.
struct KnownExporter {
    node: NodeId,
    tid: Text,
    /// Whether the node is that of a host, which another writer added.
    is_host: bool,
    /// Interfaces by index; at most [`MAX_INTERFACES`].
    interfaces: HashMap<u32, Interface>,
    format: &'static str,
    domain: u32,
    /// Time of the last datagram.
    seen_at: Timestamp,
    sflow: SflowMetric,
    /// Time at which the figures were last written to the graph; `None` before the first time.
    published_at: Option<Timestamp>,
}

struct Interface {
    node: NodeId,
    tid: Text,
    name: Option<Text>,
    description: Option<Text>,
    speed: Option<u64>,
    is_changed: bool,
}

impl ExporterNodes {
    pub(super) fn new(queries: &QueryRunner, host: &str) -> Self {
        Self {
            graph: Arc::clone(&queries.graph),
            queries: queries.clone(),
            origin: Origin::new("collector", host),
            exporters: HashMap::new(),
        }
    }

    /// Returns the TID of the node to which records of an interface belong: the interface, or the
    /// exporter if the index is 0.
    pub(super) fn tid_of(
        &mut self,
        origin: &RecordOrigin,
        index: u32,
        options: &CollectorOptions,
        now: Timestamp,
    ) -> Text {
        let Some(exporter) = self.exporter(origin, options, now) else {
            return Text::default();
        };
        if index == 0 || index == SELF {
            return exporter.tid.clone();
        }
        let tid = exporter.tid.clone();
        let address = origin.exporter;
        self.interface(address, index, options)
            .map_or(tid, |interface| interface.tid.clone())
    }

    /// Takes the name of an interface.
    pub(super) fn name_interface(
        &mut self,
        origin: &RecordOrigin,
        option: InterfaceOption<'_>,
        options: &CollectorOptions,
        now: Timestamp,
    ) {
        let Some(index) = option.index.filter(|index| *index != 0) else {
            return;
        };
        if self.exporter(origin, options, now).is_none() {
            return;
        }
        if let Some(interface) = self.interface(origin.exporter, index, options) {
            let text = |bytes: Option<&[u8]>| bytes.map(printable).filter(|t| !t.is_empty());
            interface.set(text(option.name), text(option.description), None);
        }
    }

    /// Takes counters of sFlow.
    pub(super) fn add_counters(
        &mut self,
        origin: &RecordOrigin,
        sample: &CounterSample<'_>,
        options: &CollectorOptions,
        now: Timestamp,
    ) {
        let Some(exporter) = self.exporter(origin, options, now) else {
            return;
        };
        exporter.sflow.add(sample);
        if let Some(counters) = sample.interface
            && let Some(interface) = self.interface(origin.exporter, counters.if_index, options)
        {
            let name = sample.port_name.map(printable);
            interface.set(name, None, Some(counters.if_speed));
        }
    }

    /// Writes changes to the graph, and deletes the nodes of silent exporters.
    pub(super) fn publish(
        &mut self,
        figures: impl Fn(IpAddr) -> Option<ExporterFigures>,
        options: &CollectorOptions,
        now: Timestamp,
    ) {
        self.restore(options, now);
        let mut changes: Vec<(NodeId, Vec<MetadataOp>)> = Vec::new();
        for (address, exporter) in &mut self.exporters {
            if exporter.is_due(now) {
                exporter.published_at = Some(now);
                let figures = figures(*address).unwrap_or_default();
                let info = exporter.info(*address, figures);
                let mut ops = vec![MetadataOp::set("Exporter", Value::from(info))];
                ops.extend(
                    exporter
                        .sflow
                        .take(now)
                        .map(|sflow| MetadataOp::set("SFlow", sflow)),
                );
                changes.push((exporter.node.clone(), ops));
            }
            let interfaces = exporter.interfaces.values_mut();
            let changed = interfaces.filter(|interface| interface.is_changed);
            changes.extend(changed.map(|interface| {
                interface.is_changed = false;
                (interface.node.clone(), interface.ops())
            }));
        }
        let timeout = options.node_timeout;
        let silent: Vec<KnownExporter> = self
            .exporters
            .extract_if(|_, exporter| now.duration_since(exporter.seen_at) >= timeout)
            .map(|(_, exporter)| exporter)
            .collect();
        if changes.is_empty() && silent.is_empty() {
            return;
        }
        self.graph.update_as(None, |graph, now| {
            for (node, ops) in &changes {
                // The node may have been deleted with its host.
                graph.patch_node(node, ops, now).ok();
            }
            for exporter in silent {
                exporter.delete(graph, now);
            }
        });
    }

    /// Restores the nodes of active exporters that have been deleted, for example by another
    /// collector that receives datagrams from the same exporter.
    fn restore(&mut self, options: &CollectorOptions, now: Timestamp) {
        let mut missing = Vec::new();
        let due = self.exporters.iter().filter(|(_, known)| known.is_due(now));
        let due: Vec<(IpAddr, &KnownExporter)> = due.map(|(ip, known)| (*ip, known)).collect();
        self.graph.read(&mut |graph| {
            for (address, exporter) in &due {
                let interfaces = exporter.interfaces.iter();
                let nodes = interfaces.map(|(index, interface)| (Some(*index), &interface.node));
                let nodes = [(None, &exporter.node)].into_iter().chain(nodes);
                let absent = nodes.filter(|(_, node)| graph.node(node).is_none());
                missing.extend(absent.map(|(index, _)| (*address, index)));
            }
        });
        for (address, index) in missing {
            self.restore_node(address, index, options);
        }
    }

    /// Adds the node of an exporter, or of its interface with an index, again. The nodes of a host
    /// are those of its probes; they are looked up again for the next record.
    fn restore_node(&mut self, address: IpAddr, index: Option<u32>, options: &CollectorOptions) {
        let Some(exporter) = self.exporters.get(&address) else {
            return;
        };
        match (exporter.is_host, index) {
            (true, None) => {
                self.exporters.remove(&address);
            }
            (false, None) => {
                self.add_exporter(address, options);
            }
            (true, Some(index)) => {
                if let Some(exporter) = self.exporters.get_mut(&address) {
                    exporter.interfaces.remove(&index);
                }
            }
            (false, Some(index)) => {
                self.add_interface(&exporter.node, address, index, options);
                let exporter = self.exporters.get_mut(&address);
                let interface = exporter.and_then(|known| known.interfaces.get_mut(&index));
                if let Some(interface) = interface {
                    interface.is_changed = true;
                }
            }
        }
    }

    /// Deletes all nodes that this collector has added.
    pub(super) fn delete(&mut self) {
        let exporters = std::mem::take(&mut self.exporters);
        self.graph.update_as(None, |graph, now| {
            for exporter in exporters.into_values() {
                exporter.delete(graph, now);
            }
        });
    }

    /// Returns the exporter of a record, which is added if it is new; `None` if there are too many
    /// exporters.
    fn exporter(
        &mut self,
        origin: &RecordOrigin,
        options: &CollectorOptions,
        now: Timestamp,
    ) -> Option<&mut KnownExporter> {
        let address = origin.exporter;
        if !self.exporters.contains_key(&address) {
            if self.exporters.len() >= MAX_EXPORTERS {
                return None;
            }
            let exporter = self.new_exporter(address, options, now);
            self.exporters.insert(address, exporter);
        }
        let exporter = self.exporters.get_mut(&address)?;
        exporter.seen_at = now;
        (exporter.format, exporter.domain) = (origin.format.name(), origin.domain);
        Some(exporter)
    }

    fn new_exporter(
        &self,
        address: IpAddr,
        options: &CollectorOptions,
        now: Timestamp,
    ) -> KnownExporter {
        let host = self.host_with(address);
        let is_host = host.is_some();
        let (node, tid) = host.unwrap_or_else(|| {
            let tid = self.add_exporter(address, options);
            (NodeId::derived(&tid), tid.into())
        });
        KnownExporter {
            node,
            tid,
            is_host,
            interfaces: HashMap::new(),
            format: "",
            domain: 0,
            seen_at: now,
            sflow: SflowMetric::default(),
            published_at: None,
        }
    }

    /// Returns the node and the TID of the host that has an interface with an address.
    fn host_with(&self, address: IpAddr) -> Option<(NodeId, Text)> {
        // Every host has these.
        if address.is_loopback() || address.is_unspecified() {
            return None;
        }
        let key = if address.is_ipv4() { "IPV4" } else { "IPV6" };
        let query = Query::parse(&format!("G.V().Has('{key}', '{address}')")).ok()?;
        let nodes = self.queries.nodes(&query).ok()?;
        let interface = nodes
            .iter()
            .find(|node| node.metadata.get("IfIndex").is_some())?;
        let mut found = None;
        self.graph.read(&mut |graph| {
            let owner = owner_of(graph, &interface.id).unwrap_or_else(|| interface.id.clone());
            let tid = graph.node(&owner).and_then(|node| tid_of(node));
            found = tid.map(|tid| (owner, tid));
        });
        found
    }

    /// Returns an interface of a known exporter, which is added if it is new; `None` if there are too
    /// many interfaces.
    fn interface(
        &mut self,
        address: IpAddr,
        index: u32,
        options: &CollectorOptions,
    ) -> Option<&mut Interface> {
        let exporter = self.exporters.get(&address)?;
        if !exporter.interfaces.contains_key(&index) {
            if exporter.interfaces.len() >= MAX_INTERFACES {
                return None;
            }
            let interface = self.new_interface(exporter, address, index, options);
            let exporter = self.exporters.get_mut(&address)?;
            exporter.interfaces.insert(index, interface);
        }
        self.exporters.get_mut(&address)?.interfaces.get_mut(&index)
    }

    fn new_interface(
        &self,
        exporter: &KnownExporter,
        address: IpAddr,
        index: u32,
        options: &CollectorOptions,
    ) -> Interface {
        if exporter.is_host
            && let Some((node, tid)) = self.interface_of_host(&exporter.node, index)
        {
            return Interface::new(node, tid, None);
        }
        let tid = self.add_interface(&exporter.node, address, index, options);
        let name = options.interface_names.get(&(address, index));
        let name = name.map(|name| name.as_str().into());
        Interface::new(NodeId::derived(&tid), tid.into(), name)
    }

    /// Returns the node and the TID of an interface that a host owns.
    fn interface_of_host(&self, host: &NodeId, index: u32) -> Option<(NodeId, Text)> {
        let mut found = None;
        self.graph.read(&mut |graph| {
            found = graph
                .edges_of(host, Direction::Out)
                .filter(|(edge, _)| edge.is_ownership())
                .find(|(_, node)| {
                    let known = node.metadata.get("IfIndex").and_then(Value::to_int);
                    known == Some(i64::from(index))
                })
                .and_then(|(_, node)| Some((node.id.clone(), tid_of(node)?)));
        });
        found
    }

    /// Adds the node of an exporter that is not a host in the graph; returns its TID.
    fn add_exporter(&self, address: IpAddr, options: &CollectorOptions) -> String {
        let tid = exporter_tid(address);
        let name = options.names.get(&address).cloned();
        let mut metadata = Metadata::from_iter([("Type", "exporter")]);
        metadata.set("Name", name.unwrap_or_else(|| address.to_string()));
        metadata.set("TID", tid.as_str());
        self.add_node(NodeId::derived(&tid), metadata, None);
        tid
    }

    /// Adds the node of an interface below the node of its exporter; returns its TID.
    fn add_interface(
        &self,
        exporter: &NodeId,
        address: IpAddr,
        index: u32,
        options: &CollectorOptions,
    ) -> String {
        let tid = interface_tid(address, index);
        let name = options.interface_names.get(&(address, index)).cloned();
        let mut metadata = Metadata::from_iter([("Type", "exporterport")]);
        metadata.set("Name", name.unwrap_or_else(|| format!("if{index}")));
        metadata.set("IfIndex", i64::from(index));
        metadata.set("TID", tid.as_str());
        self.add_node(NodeId::derived(&tid), metadata, Some(exporter));
        tid
    }

    /// Adds a node, below an owner, unless another collector has added it.
    fn add_node(&self, id: NodeId, metadata: Metadata, owner: Option<&NodeId>) {
        self.graph.update_as(None, |graph, now| {
            let node = Node::new(id.clone(), metadata, now).with_origin(self.origin.clone());
            if graph.node(&id).is_some() || graph.add_node(node).is_err() {
                return;
            }
            if let Some(owner) = owner {
                let metadata = Metadata::from_iter([("RelationType", Edge::OWNERSHIP)]);
                let edge = Edge::between(owner.clone(), id, metadata, now);
                graph.add_edge(edge.with_origin(self.origin.clone())).ok();
            }
        });
    }
}

impl KnownExporter {
    /// Returns whether datagrams have arrived since the figures were written, and enough time has
    /// passed: each write is a revision of the node.
    fn is_due(&self, now: Timestamp) -> bool {
        self.published_at.is_none_or(|published| {
            self.seen_at > published && now.duration_since(published) >= PUBLISH_INTERVAL
        })
    }

    /// Returns the value of `Exporter` in the metadata.
    fn info(&self, address: IpAddr, figures: ExporterFigures) -> Map {
        let mut map = Map::from_iter([
            ("Address", Value::from(address.to_string())),
            ("Domain", Value::from(i64::from(self.domain))),
            ("Format", Value::from(self.format)),
            ("Datagrams", Value::from(figures.datagrams)),
            ("Lost", Value::from(figures.lost)),
            ("RateUnknown", Value::from(figures.unknown_rate)),
            ("Last", Value::from(self.seen_at.as_ms())),
        ]);
        if let Some(rate) = figures.rate {
            map.set("Rate", Value::from(rate));
        }
        map
    }

    /// Deletes the nodes that the collector has added.
    fn delete(self, graph: &mut Graph, now: Timestamp) {
        let added = |graph: &Graph, node: &NodeId| {
            let node = graph.node(node);
            node.is_some_and(|node| node.origin.starts_with("collector."))
        };
        let interfaces = self
            .interfaces
            .into_values()
            .map(|interface| interface.node);
        for node in interfaces.chain([self.node]) {
            if added(graph, &node) {
                graph.delete_node(&node, now).ok();
            }
        }
    }
}

impl Interface {
    const fn new(node: NodeId, tid: Text, name: Option<Text>) -> Self {
        Self {
            node,
            tid,
            name,
            description: None,
            speed: None,
            is_changed: false,
        }
    }

    /// Sets the name unless a name is known, and the description and the speed if they are `Some`;
    /// a speed of 0 counts as `None`.
    fn set(&mut self, name: Option<Text>, description: Option<Text>, speed: Option<u64>) {
        let speed = speed.filter(|speed| *speed != 0).or(self.speed);
        let name = self.name.clone().or(name);
        let description = description.or_else(|| self.description.clone());
        let before = (&self.name, &self.description, self.speed);
        if before != (&name, &description, speed) {
            (self.name, self.description, self.speed) = (name, description, speed);
            self.is_changed = true;
        }
    }

    fn ops(&self) -> Vec<MetadataOp> {
        let mut ops = Vec::new();
        if let Some(name) = &self.name {
            ops.push(MetadataOp::set("Name", Value::from(name.clone())));
        }
        if let Some(description) = &self.description {
            ops.push(MetadataOp::set(
                "Description",
                Value::from(description.clone()),
            ));
        }
        if let Some(speed) = self.speed {
            // In Mbit/s, as on interfaces of hosts.
            ops.push(MetadataOp::set("Speed", Value::from(speed / 1_000_000)));
        }
        ops
    }
}

fn exporter_tid(address: IpAddr) -> String {
    Id::derived(&format!("exporter/{address}")).to_string()
}

fn interface_tid(address: IpAddr, index: u32) -> String {
    Id::derived(&format!("exporter/{address}/{index}")).to_string()
}

/// Returns the owner of a node.
fn owner_of(graph: &Graph, node: &NodeId) -> Option<NodeId> {
    let mut edges = graph.edges_of(node, Direction::In);
    let (_, owner) = edges.find(|(edge, _)| edge.is_ownership())?;
    Some(owner.id.clone())
}

fn tid_of(node: &Node) -> Option<Text> {
    node.metadata.get("TID")?.as_text().map(Text::from)
}

/// Returns a name of an exporter: at most 256 bytes, without control characters.
fn printable(bytes: &[u8]) -> Text {
    const MAX_BYTES: usize = 256;
    let bytes = bytes.get(..MAX_BYTES).unwrap_or(bytes);
    let text: String = String::from_utf8_lossy(bytes)
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    text.into()
}

/// Interface index by which an sFlow agent refers to itself.
const SELF: u32 = 0x3fff_ffff;
/// Minimum interval between two writes of the figures of an exporter.
const PUBLISH_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum number of exporters of one collector.
const MAX_EXPORTERS: usize = 1_024;
/// Maximum number of interfaces of one exporter.
const MAX_INTERFACES: usize = 4_096;

#[cfg(test)]
mod tests;
