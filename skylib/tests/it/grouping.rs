//! The same grouping of the same traffic, live, over a file, and over the flow store.

use std::path::{Path, PathBuf};

use skylib::capture::{PcapFile, Replay, ReplayedFlows};
use skylib::flow::{FlowQuery, FlowQueryError, FlowSet, FlowSource};
use skylib::graph::history::{HistoryLimits, MemoryHistory};
use skylib::graph::{Graph, GraphView};
use skylib::gremlin::{Context, Query};
use skylib::store::{FlowStore, FlowStoreLimits, MemoryFlowStore};
use skylib::time::Timestamp;

const QUERIES: [&str; 5] = [
    "Flows().GroupBy('Network.A', 'Network.B').Sum('Metric.ABBytes', 'Metric.BABytes')",
    "Flows().GroupBy('Network/24').Sum('Bytes').Sort('Network/24')",
    "Flows().GroupBy('Application', 'Port').Sum('Packets').Rate()",
    "Flows().GroupBy('Link').Count().Limit(2)",
    "Flows().Has('Network.Protocol', 'IPV4').GroupBy('Transport').Sum('Bytes').Limit(3)",
];

/// Flows of the past only.
struct Stored(MemoryFlowStore);

impl FlowSource for Stored {
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        match query.time {
            Some(_) => self.0.query(query),
            None => Ok(FlowSet::default()),
        }
    }
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/truth");
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_capture = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "pcap");
    entries.filter(is_capture).collect()
}

#[test]
fn live_file_and_history_group_alike() {
    let graph = Graph::new();
    let view = GraphView::open(&graph);
    let history = MemoryHistory::new(HistoryLimits::default());
    let now = Timestamp::from_ms(4_000_000_000_000);
    let run = |source: &dyn FlowSource, query: &str| {
        let context = Context::new(&view, source, now).with_history(&history);
        Query::parse(query)
            .unwrap()
            .run(&context)
            .unwrap()
            .to_string()
    };
    let files = files();
    assert!(files.len() > 20, "{} files", files.len());
    let mut rows = 0;
    for path in files {
        let mut file = PcapFile::open(&path).unwrap();
        let replayed: ReplayedFlows = Replay::default().collect(&mut file).unwrap();
        let live = replayed.query(&FlowQuery::default()).unwrap();
        let stored = MemoryFlowStore::new(FlowStoreLimits::default());
        stored.put(live.flows.clone(), now);
        let stored = Stored(stored);
        for query in QUERIES {
            let wanted = run(&live, &format!("G.{query}"));
            rows += wanted.matches("Connections").count();
            assert_eq!(
                run(&replayed, &format!("G.{query}")),
                wanted,
                "{path:?} {query}"
            );
            let past = format!("G.At(NOW, FOREVER).{query}");
            assert_eq!(run(&stored, &past), wanted, "{path:?} {query}");
        }
    }
    assert!(rows > 100, "{rows} rows");
}
