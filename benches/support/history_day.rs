//! A simulated day of flows and topology changes for the history on disk: the clock is an argument.

use std::path::Path;
use std::sync::Arc;

use skylib::filter::{Filter, Predicate};
use skylib::flow::{Flow, FlowLayer, FlowMetric, FlowProtocol, FlowQuery, TransportLayer};
use skylib::graph::history::{History, HistoryLimits, PastView};
use skylib::graph::{Edge, ElementKey, Graph, GraphReader, Metadata, MetadataOp, Node, NodeId};
use skylib::store::FlowStore;
use skylib::store::history::{
    HistoryFolder, HistoryOptions, LocalFlowStore, LocalHistory, LocalStore,
};
use skylib::time::{TimeSlice, Timestamp, When};
use skylib::value::Value;

/// Function that runs a query and returns the number of elements that it found.
pub(crate) type Count<'a> = Box<dyn Fn() -> usize + 'a>;

/// Size of the simulated site.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    /// Updates of flows per second.
    pub(crate) updates: u32,
    /// Changes of the topology per second.
    pub(crate) changes: u32,
    /// Number of interfaces.
    pub(crate) interfaces: u32,
    /// Seconds between two runs of the upkeep.
    pub(crate) upkeep: u32,
}

/// A day in the life of the stores of a folder.
pub(crate) struct Day {
    site: Site,
    pub(crate) flows: Arc<LocalFlowStore>,
    pub(crate) graph: Arc<LocalHistory>,
    pub(crate) store: LocalStore,
    topology: Graph,
    /// Simulated time, in seconds since the start.
    second: u32,
    random: u64,
    containers: u32,
    /// Flow updates so far.
    pub(crate) updates: u64,
    /// Topology events so far.
    pub(crate) events: u64,
}

/// Time at which the day begins, in Unix seconds: the beginning of an hour.
pub(crate) const BEGIN: i64 = 1_700_002_800;
/// Seconds between two updates of a flow.
const UPDATE: u32 = 30;
/// Seconds that a flow lives.
const LIFE: u32 = 300;

impl Day {
    /// Opens an empty folder.
    pub(crate) fn new(folder: &Path, site: Site, options: HistoryOptions) -> Self {
        let memory = HistoryLimits::default().with_max_bytes(options.memory);
        let folder = HistoryFolder::open(folder, options).expect("the folder can be written");
        let flows = LocalFlowStore::open(Arc::clone(&folder)).expect("the folder is empty");
        let graph = LocalHistory::open(Arc::clone(&folder), memory).expect("the folder is empty");
        let (flows, graph) = (Arc::new(flows), Arc::new(graph));
        let store = LocalStore::new(folder, Some(Arc::clone(&flows)), Some(Arc::clone(&graph)));
        let mut day = Self {
            site,
            flows,
            graph,
            store,
            topology: Graph::new().with_journal(),
            second: 0,
            random: 88_172_645_463_325_252,
            containers: 0,
            updates: 0,
            events: 0,
        };
        for number in 0..site.interfaces {
            let host = number / 16;
            if number % 16 == 0 {
                day.add_node(&format!("host-{host}"), "host");
            }
            let name = format!("eth-{number}");
            day.add_node(&name, "device");
            day.add_edge(&format!("host-{host}"), &name);
        }
        day.record();
        day
    }

    /// Returns the simulated time.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_ms((BEGIN + i64::from(self.second)) * 1000)
    }

    /// Simulates a second.
    pub(crate) fn step(&mut self) {
        self.second += 1;
        let active = self.site.updates * UPDATE;
        let first = self.second % UPDATE * self.site.updates;
        let flows: Vec<Flow> = (first..first + self.site.updates)
            .map(|slot| self.flow(slot % active))
            .collect();
        self.updates += flows.len() as u64;
        self.flows.put(flows, self.now());
        for _ in 0..self.site.changes {
            self.change();
        }
        self.record();
        if self.second.is_multiple_of(self.site.upkeep) {
            self.flows.maintain(self.now());
            self.graph.maintain(self.now());
        }
    }

    /// Returns the record of the flow that occupies a slot now.
    fn flow(&mut self, slot: u32) -> Flow {
        let age = (self.second + slot * 7) % LIFE;
        let life = (self.second + slot * 7) / LIFE;
        let now = self.now().as_ms();
        let start = now - i64::from(age) * 1000;
        let bytes = 60 + i64::from(self.next() as u32 % 100_000);
        let total = FlowMetric::default()
            .with_ab_bytes(bytes * i64::from(age / UPDATE + 1))
            .with_interval(start, now);
        let since = (now - i64::from(UPDATE) * 1000).max(start);
        let counted = FlowMetric::default()
            .with_ab_bytes(bytes)
            .with_interval(since, now);
        let client = slot % 4096;
        let server = slot.wrapping_mul(2_654_435_761) % 256;
        let id = u64::from(life) << 32 | u64::from(slot);
        let mut flow = Flow::default();
        flow.uuid = format!("{:x}", id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 60)
            .as_str()
            .into();
        flow.tracking_id = flow.uuid.clone();
        flow.layers_path = "Ethernet/IPv4/TCP".into();
        flow.application = "https".into();
        flow.node_tid = format!("eth-{}", slot % self.site.interfaces)
            .as_str()
            .into();
        let client = format!("10.0.{}.{}", client >> 8, client & 255);
        flow.network = Some(FlowLayer {
            protocol: FlowProtocol::Ipv4,
            a: client.as_str().into(),
            b: format!("10.128.0.{server}").as_str().into(),
            ..FlowLayer::default()
        });
        flow.transport = Some(TransportLayer {
            protocol: FlowProtocol::Tcp,
            a: i64::from(32_768 + slot % 20_000),
            b: 443,
            ..TransportLayer::default()
        });
        (flow.start, flow.last) = (start, now);
        (flow.metric, flow.last_update_metric) = (Some(total), Some(counted));
        flow
    }

    /// Changes the topology: mostly counters, some states, and containers that come and go.
    fn change(&mut self) {
        let now = self.now();
        let name = format!("eth-{}", self.next() as u32 % self.site.interfaces);
        let id = NodeId::from(name.as_str());
        match self.next() % 100 {
            0..70 => {
                let count = (self.next() >> 40).cast_signed();
                let metric = Metadata::from_iter([
                    ("RxBytes", Value::Int(count)),
                    ("RxPackets", Value::Int(count / 100)),
                    ("Last", Value::Int(now.as_ms())),
                ]);
                let ops = [
                    MetadataOp::set("Metric", metric.clone()),
                    MetadataOp::set("LastUpdateMetric", metric),
                ];
                drop(self.topology.patch_node(&id, &ops, now));
            }
            70..94 => {
                let state = ["UP", "DOWN"][self.next() as usize % 2];
                let op = MetadataOp::set("State", state);
                drop(self.topology.patch_node(&id, &[op], now));
            }
            94..97 => {
                let container = format!("container-{}", self.containers);
                self.containers += 1;
                self.add_node(&container, "container");
                let host = format!("host-{}", self.next() as u32 % (self.site.interfaces / 16));
                self.add_edge(&host, &container);
            }
            _ => {
                let oldest = self.containers.saturating_sub(self.site.interfaces);
                let number = oldest + self.next() as u32 % self.site.interfaces;
                let container = NodeId::from(format!("container-{number}"));
                drop(self.topology.delete_node(&container, now));
            }
        }
    }

    fn add_node(&mut self, name: &str, kind: &str) {
        let metadata = Metadata::from_iter([
            ("Name", Value::from(name)),
            ("Type", Value::from(kind)),
            ("TID", Value::from(name)),
            ("State", Value::from("UP")),
            ("MTU", Value::Int(1500)),
        ]);
        drop(
            self.topology
                .add_node(Node::new(name, metadata, self.now())),
        );
    }

    fn add_edge(&mut self, parent: &str, child: &str) {
        let metadata = Metadata::from_iter([("RelationType", "ownership")]);
        let id = format!("{parent}/{child}");
        let edge = Edge::new(id.as_str(), parent, child, metadata, self.now());
        drop(self.topology.add_edge(edge));
    }

    fn record(&mut self) {
        let events = self.topology.take_events();
        self.events += events.len() as u64;
        self.graph.record(&events, self.now());
    }

    /// Returns a random number (xorshift).
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 11
    }

    /// Queries about the past, by name. Each returns the number of elements that it found.
    pub(crate) fn queries(&self) -> Vec<(&'static str, Count<'_>)> {
        let now = self.now().as_ms();
        let ago = move |seconds: i64| Timestamp::from_ms((now - seconds * 1000).max(BEGIN * 1000));
        let slice = move |seconds| TimeSlice {
            start: ago(seconds),
            last: ago(0),
        };
        let flows = move |filter: Filter, time| {
            let query = FlowQuery::default().with_filter(filter).with_time(time);
            usize::try_from(self.flows.count(&query).unwrap_or(0)).unwrap_or(0)
        };
        let text = |key: &str, text: &str| Filter::test(key, Predicate::Text(text.into()));
        let nodes = move |filter: &Filter, when| {
            let filter = ElementKey::compile(filter);
            PastView::open(&*self.graph, when)
                .count_nodes(&filter)
                .unwrap_or(0)
        };
        vec![
            (
                "flows of an address, 1 h",
                Box::new(move || flows(text("Network.A", "10.0.0.7"), slice(3600))),
            ),
            (
                "flows of an address, 24 h",
                Box::new(move || flows(text("Network.A", "10.0.0.7"), slice(86_400))),
            ),
            (
                "flows of an absent address, 24 h",
                Box::new(move || flows(text("Network.A", "192.0.2.1"), slice(86_400))),
            ),
            (
                "all flows, 1 h",
                Box::new(move || flows(Filter::everything(), slice(3600))),
            ),
            (
                "a node 20 h ago",
                Box::new(move || nodes(&text("@ID", "eth-5"), When::At(ago(72_000)))),
            ),
            (
                "a name 20 h ago",
                Box::new(move || nodes(&text("Name", "eth-5"), When::At(ago(72_000)))),
            ),
            (
                "the graph 2 h ago",
                Box::new(move || nodes(&Filter::everything(), When::At(ago(7200)))),
            ),
            (
                "a node, 1 h",
                Box::new(move || nodes(&text("@ID", "eth-5"), When::During(slice(3600)))),
            ),
        ]
    }
}
