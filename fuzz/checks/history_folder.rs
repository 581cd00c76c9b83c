//! A folder with a history, and questions about it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use skylib::filter::{Filter, Predicate};
use skylib::flow::{Flow, FlowMetric, FlowQuery, RawPacket};
use skylib::graph::history::{History, HistoryLimits, PastView};
use skylib::graph::{
    Direction, ElementKey, Graph, GraphReader, Metadata, MetadataOp, Node, NodeId,
};
use skylib::store::history::{HistoryFolder, HistoryOptions, LocalFlowStore, LocalHistory};
use skylib::store::{FlowStore, StoreError};
use skylib::time::{TimeSlice, Timestamp, When};

/// Folder that is removed when it is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("skylib-fuzz-{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(path.join("flow")).expect("the folder can be written");
        std::fs::create_dir_all(path.join("graph")).expect("the folder can be written");
        Self(path)
    }

    #[allow(dead_code, reason = "one of two targets uses it")]
    pub(crate) fn write(&self, file: &str, content: &[u8]) {
        std::fs::write(self.0.join(file), content).expect("the folder can be written");
    }

    /// Replaces a sealed file, and its entry in the checksums of its folder. Returns whether there is
    /// such a file.
    #[allow(dead_code, reason = "one of two targets uses it")]
    pub(crate) fn replace(&self, file: &str, content: &[u8]) -> bool {
        let path = self.0.join(file);
        let Some(folder) = path.parent().filter(|_| path.exists()) else {
            return false;
        };
        self.write(file, content);
        let sums = std::fs::read_to_string(folder.join("sums")).expect("the segment is whole");
        let mut text = String::new();
        for line in sums.lines().filter(|line| !line.ends_with(" sums")) {
            let name = line.rsplit(' ').next().unwrap_or_default();
            if path.ends_with(name) {
                let blocks = content.chunks(16 << 10);
                let blocks = blocks.map(|block| format!("{:08x}", crc32fast::hash(block)));
                let blocks: String = blocks.collect();
                text += &format!("{} {blocks} {name}\n", content.len());
            } else {
                text += &format!("{line}\n");
            }
        }
        text += &format!(
            "{} {:08x} sums\n",
            text.len(),
            crc32fast::hash(text.as_bytes())
        );
        std::fs::write(folder.join("sums"), text).expect("the folder can be written");
        true
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

pub(crate) fn open(folder: &Folder) -> Result<(LocalFlowStore, LocalHistory), StoreError> {
    let options = HistoryOptions::default().with_min_free(Some(0));
    let folder = HistoryFolder::open(&folder.0, options)?;
    let flows = LocalFlowStore::open(Arc::clone(&folder))?;
    Ok((flows, LocalHistory::open(folder, HistoryLimits::default())?))
}

/// Records flows and events, and seals them in two segments each.
#[allow(dead_code, reason = "one of two targets uses it")]
pub(crate) fn fill(folder: &Folder) {
    let (flows, history) = open(folder).expect("the folder can be written");
    let mut graph = Graph::new().with_journal();
    for round in 1..=2_i64 {
        let now = Timestamp::from_ms(round * 1000);
        let mut packet = RawPacket::default();
        (packet.timestamp, packet.index) = (round * 1000, round);
        packet.data = vec![1, 2, 3].into();
        let metric = FlowMetric::default()
            .with_ab_bytes(round)
            .with_interval(round * 1000 - 500, round * 1000);
        let mut flow = Flow::default()
            .with_uuid("f1")
            .with_times(500, round * 1000);
        (flow.metric, flow.last_update_metric) = (Some(metric), Some(metric));
        (flow.raw_packets_captured, flow.last_raw_packets) = (round, vec![packet]);
        flows.put(vec![flow], now);
        flows.seal();
        let name = format!("n{round}");
        let metadata = Metadata::from_iter([("Name", name.as_str()), ("Type", "device")]);
        drop(graph.add_node(Node::new(name.as_str(), metadata, now)));
        let counters = Metadata::from_iter([("RxBytes", round), ("Last", round)]);
        let op = MetadataOp::set("Metric", counters);
        drop(graph.patch_node(&NodeId::from("n1"), &[op], now));
        history.record(&graph.take_events(), now);
        history.seal();
    }
}

/// Asks about all flows and elements, at instants and in an interval. Returns the numbers found.
pub(crate) fn questions(flows: &LocalFlowStore, graph: &LocalHistory) -> Vec<usize> {
    let slice = TimeSlice {
        start: Timestamp::from_ms(0),
        last: Timestamp::from_ms(1_900_000_000_000),
    };
    let mut found = Vec::new();
    for time in [None, Some(slice)] {
        let mut query = FlowQuery::default();
        query.time = time;
        let set = flows.query(&query).expect("all flows have the fields");
        found.push(set.flows.len());
        let uuids: Vec<_> = set.flows.iter().map(|flow| flow.uuid.clone()).collect();
        found.push(flows.metrics(&uuids, slice).len());
        found.push(flows.raw_packets(&uuids).len());
    }
    let name = Filter::test("Name", Predicate::Text("n1".into()));
    let id = Filter::test("@ID", Predicate::Text("n1".into()));
    for when in [When::At(Timestamp::from_ms(1500)), When::During(slice)] {
        for filter in [&id, &name, &Filter::everything()] {
            let filter: Filter<ElementKey> = ElementKey::compile(filter);
            let view = PastView::open(graph, when);
            found.push(view.count_nodes(&filter).unwrap_or_default());
            let nodes: Vec<_> = view.nodes(&filter).map_while(Result::ok).collect();
            found.push(view.neighbors(&nodes, Direction::Both).count());
        }
    }
    found
}
