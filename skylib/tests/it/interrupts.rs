//! Queries poll their interrupt often, so one that times out ends within milliseconds.

use std::sync::Mutex;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use skylib::flow::{Flow, FlowSet};
use skylib::graph::{Edge, Graph, GraphView, Metadata, Node};
use skylib::gremlin::{Context, Query};
use skylib::time::Timestamp;

/// Queries whose steps process many elements.
const QUERIES: &[&str] = &[
    "G",
    "G.V().Count()",
    "G.V().Has('Size', Gt(5)).Count()",
    "G.V().Has('Name', Regex('.*(1|2)+.*3'))",
    "G.V().Has('Name', Within('n1', 'n2', 'x')).Out()",
    "G.V().HasEither('Name', 'n7', 'Size', 3).Count()",
    "G.V().Both().Both().Count()",
    "G.V().Both().Dedup().Count()",
    "G.V().OutE().InV().Dedup('Size')",
    "G.V().Sort('Name')",
    "G.V().Sort(DESC, 'Size').Limit(5)",
    "G.V().Values('Labels')",
    "G.V().Keys()",
    "G.V().Sum('Size')",
    "G.V().SubGraph()",
    "G.V().Has('Size', Lt(50)).SubGraph().E().Count()",
    "G.V('n0').Descendants(0)",
    "G.V().Neighbors(2).Count()",
    "G.V('n0').ShortestPathTo(Metadata('Name', 'none'))",
    "G.V().Has('Size', 1).ShortestPathTo(Metadata('Name', 'n3'))",
    "G.V().As('a').Both().Select('a').Count()",
    "G.V().Metrics().Sum('RxBytes')",
    "G.V().Sockets()",
    "G.E().Has('RelationType', Ne('x')).InV()",
    "G.V().Flows()",
    "G.Flows().Sort()",
    "G.Flows().Dedup().Count()",
    "G.Flows().Values('TrackingID')",
    "G.Flows().Sum('Metric.ABBytes')",
    "G.Flows().Group()",
    "G.Flows().Metrics().Sum('ABBytes')",
    "G.Flows().RawPackets()",
    "G.Flows().Nodes()",
    "G.Flows().Out()",
    "G.Flows().CaptureNode()",
];

const NODES: usize = 2_000;
const FAN: usize = 3;
const FLOWS: usize = 2_000;

fn graph() -> Graph {
    let now = Timestamp::from_ms(1);
    let mut graph = Graph::new();
    for n in 0..NODES {
        let metadata = format!(
            r#"{{"Name":"n{n}","Type":"veth","TID":"t{n}","Size":{},"Labels":["a","b",{n}],"Metric":{{"RxBytes":5}}}}"#,
            n % 100
        );
        let metadata = serde_json::from_str::<Metadata>(&metadata).unwrap();
        graph
            .add_node(Node::new(format!("n{n}"), metadata, now))
            .unwrap();
    }
    let owns = Metadata::from_iter([("RelationType", "ownership")]);
    for n in 1..NODES {
        for k in 0..FAN {
            let (from, to) = (format!("n{}", (n * 7 + k) % n), format!("n{n}"));
            let edge = Edge::new(format!("e{n}-{k}"), from, to, owns.clone(), now);
            graph.add_edge(edge).unwrap();
        }
    }
    graph
}

fn flows() -> FlowSet {
    let flow = |n: usize| {
        let flow = Flow::default().with_uuid(format!("f{n}"));
        flow.with_node_tid(format!("t{n}"))
            .with_tracking_id(format!("{}", n % 1000))
    };
    let mut set = FlowSet::default();
    set.flows = (0..FLOWS).map(flow).collect();
    set
}

/// Returns the CPU time of this thread, which other threads do not affect.
fn now() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// Maximum CPU time between two polls. Tests are built without optimization; in a release build,
/// the same queries stay below a tenth of it.
const LONGEST: Duration = Duration::from_millis(300);

#[test]
fn interrupts_are_polled_often() {
    let (graph, flows) = (graph(), flows());
    let view = GraphView::open(&graph);
    let mut report = Vec::new();
    for text in QUERIES {
        let last = Mutex::new((now(), Duration::ZERO));
        let poll = || {
            let mut last = last.lock().unwrap();
            let time = now();
            *last = (time, last.1.max(time - last.0));
            false
        };
        let context = Context::new(&view, &flows, Timestamp::from_ms(5)).with_interrupt(&poll);
        let began = now();
        let answer = Query::parse(text).unwrap().run(&context);
        poll();
        let whole = now() - began;
        drop(answer);
        report.push((last.into_inner().unwrap().1, whole, *text));
    }
    report.sort();
    for (gap, whole, text) in &report {
        println!("{gap:>12.1?} of {whole:>12.1?} {text}");
    }
    let longest = report.last().unwrap();
    assert!(longest.0 < LONGEST, "{longest:?}");
}
