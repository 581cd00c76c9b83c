//! Nodes that several collectors share.

use super::*;
use crate::capture::BpfCompiler;
use crate::engine::flow::{FlowHub, FlowOptions};
use crate::export::ExportFormat;
use crate::gremlin::Limits;
use crate::time::{Clock, SystemClock};

fn queries() -> QueryRunner {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let graph = SharedGraph::new(Graph::new(), Arc::clone(&clock), Vec::new());
    QueryRunner {
        graph: Arc::new(graph),
        flows: Arc::new(FlowHub::new(FlowOptions::default())),
        clock,
        time_zone: jiff::tz::TimeZone::UTC,
        limits: Limits::default(),
        filters: BpfCompiler::default(),
        activities: Arc::default(),
    }
}

/// Returns the names of all nodes, sorted.
fn names(queries: &QueryRunner) -> Vec<String> {
    let mut names = Vec::new();
    queries.graph.read(&mut |graph| {
        let found = graph.nodes().filter_map(|node| node.metadata.get("Name"));
        names = found
            .map(|name| name.as_text().unwrap().to_owned())
            .collect();
    });
    names.sort();
    names
}

#[test]
fn nodes_that_two_collectors_share_outlive_the_first_of_them() {
    let queries = queries();
    let options = CollectorOptions::new("127.0.0.1:0".parse().unwrap());
    let mut collectors = [(); 2].map(|()| ExporterNodes::new(&queries, "h"));
    let origin = RecordOrigin {
        exporter: "192.0.2.7".parse().unwrap(),
        format: ExportFormat::Ipfix,
        domain: 0,
        template: 256,
        exported_at: Timestamp::ZERO,
    };
    let start = queries.clock.now();
    let after = |seconds| start.saturating_add(Duration::from_secs(seconds));
    let figures = |_: IpAddr| None;
    for collector in &mut collectors {
        collector.tid_of(&origin, 3, &options, start);
        let option = InterfaceOption {
            index: Some(3),
            name: Some(b"uplink"),
            description: None,
        };
        collector.name_interface(&origin, option, &options, start);
        collector.publish(figures, &options, start);
    }
    assert_eq!(names(&queries), ["192.0.2.7", "uplink"]);
    let [mut ended, mut other] = collectors;
    ended.delete();
    assert!(names(&queries).is_empty());
    let tid = other.tid_of(&origin, 3, &options, after(20));
    other.publish(figures, &options, after(20));
    assert_eq!(names(&queries), ["192.0.2.7", "uplink"], "added again");
    queries.graph.read(&mut |graph| {
        let edges = graph.edges().filter(|edge| edge.is_ownership()).count();
        let mut found = graph.find_nodes("TID", &Value::from(tid.clone()));
        assert_eq!((edges, found.next().is_some()), (1, true));
    });
    other.publish(figures, &options, after(20 + 86_400 * 2));
    assert!(names(&queries).is_empty(), "silent");
}
