//! Measurements of a topology from a file, for `peers/graph.py`, which compares them with other
//! graph libraries.
//!
//! `cargo bench --bench graph_figures -- TOPOLOGY [JSON]` loads `{"Nodes":[…],"Edges":[…]}`, prints
//! one line of JSON for each measurement (best time of several runs, in seconds, and the result),
//! and writes the loaded graph to the file JSON, so that it can be compared with TOPOLOGY.
//! `--writer TOPOLOGY` measures a writer and queries that run concurrently; `--repeat QUERY
//! TOPOLOGY` runs one query for five seconds, for a profiler.

#![expect(clippy::disallowed_methods, reason = "it measures time")]

mod memory;
mod writer;

use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use skylib::filter::{Filter, Predicate};
use skylib::flow::{FlowQuery, FlowQueryError, FlowSet, FlowSource};
use skylib::graph::history::{History as _, HistoryLimits, MemoryHistory};
use skylib::graph::{
    Direction, Edge, ElementKey, Graph, GraphReader as _, GraphView, MetadataOp, Node, NodeId,
};
use skylib::gremlin::{Answer, Context, Query};
use skylib::proto::JsonStream;
use skylib::time::Timestamp;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--writer", file] => writer::figures(&read(file), &truth(file)),
        ["--repeat", text, file] => repeat(text, &read(file)),
        [file] => figures(file, None),
        [file, json] => figures(file, Some(json)),
        _ => eprintln!("usage: graph_figures [--writer | --repeat QUERY] TOPOLOGY [JSON]"),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Elements {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

/// Names of two distant nodes in generated files.
#[derive(Deserialize)]
struct Truth {
    path_from: String,
    path_to: String,
}

fn read(file: &str) -> Vec<u8> {
    std::fs::read(file).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn truth(file: &str) -> Truth {
    serde_json::from_slice(&read(&format!("{file}.truth"))).unwrap()
}

fn load(json: &[u8]) -> Graph {
    let elements: Elements = serde_json::from_slice(json).unwrap();
    let mut graph = Graph::new().with_journal();
    for node in elements.nodes {
        graph.add_node(node).unwrap();
    }
    for edge in elements.edges {
        graph.add_edge(edge).unwrap();
    }
    graph.take_events();
    graph
}

/// Prints a measurement: one line for `peers/graph.py`, times in seconds.
fn row(name: &str, seconds: f64, result: impl serde::Serialize) {
    let row = serde_json::json!({"row": name, "seconds": seconds, "result": result});
    println!("{row}");
}

/// Returns the best time of several runs, and the result.
fn best<R>(times: usize, mut work: impl FnMut() -> R) -> (f64, R) {
    let mut seconds = f64::MAX;
    let mut result = None;
    for _ in 0..times {
        drop(result.take());
        let start = Instant::now();
        result = Some(work());
        seconds = seconds.min(start.elapsed().as_secs_f64());
    }
    (seconds, result.unwrap())
}

fn figures(file: &str, copy: Option<&str>) {
    let text = read(file);
    let truth = truth(file);
    let times = if text.len() > 400_000_000 { 2 } else { 3 };
    // Memory is measured at the first load, when the allocator is empty.
    let (before, resident) = (memory::in_use(), memory::resident());
    let start = Instant::now();
    let mut graph = load(&text);
    let mut seconds = start.elapsed().as_secs_f64();
    let nodes = graph.node_count();
    let per_node = |bytes: usize| bytes as f64 / nodes as f64;
    let bytes = per_node(memory::in_use() - before);
    row("memory, bytes a node", bytes, nodes);
    let resident = memory::resident() - resident;
    row("memory, resident bytes a node", per_node(resident), nodes);
    for _ in 1..times {
        drop(std::mem::replace(&mut graph, Graph::new()));
        let start = Instant::now();
        graph = load(black_box(&text));
        seconds = seconds.min(start.elapsed().as_secs_f64());
    }
    row("load", seconds, [nodes, graph.edge_count()]);
    drop(text);

    queries(&graph, &truth);
    json(&graph, copy);
    past(&mut graph);
}

fn repeat(text: &str, json: &[u8]) {
    let graph = load(json);
    let view = GraphView::open(&graph);
    let context = Context::new(&view, &NoFlows, Timestamp::ZERO);
    let query = Query::parse(text).unwrap();
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed().as_secs() < 5 {
        black_box(query.run(&context).unwrap());
        count += 1;
    }
    row(
        text,
        start.elapsed().as_secs_f64() / f64::from(count),
        count,
    );
}

fn queries(graph: &Graph, truth: &Truth) {
    let view = GraphView::open(graph);
    let context = Context::new(&view, &NoFlows, Timestamp::ZERO);
    let run = |text: &str| Query::parse(text).unwrap().run(&context).unwrap();
    let far = graph.node(&NodeId::from(truth.path_to.as_str())).unwrap();
    let name = far
        .metadata
        .get("Name")
        .and_then(|name| name.as_text())
        .unwrap();
    let path = format!(
        "G.V('{}').ShortestPathTo(Metadata('Name','{name}'))",
        truth.path_from
    );
    for (name, text) in [
        (
            "count Type=container",
            "G.V().Has('Type','container').Count()",
        ),
        ("count MTU>1500", "G.V().Has('MTU',Gt(1500)).Count()"),
        (
            "count Docker.Labels.app=app7",
            "G.V().Has('Docker.Labels.app','app7').Count()",
        ),
        (
            "two hops",
            "G.V().Has('Type','bridge').Both().Both().Dedup().Count()",
        ),
        (
            "count layer2 edges",
            "G.E().Has('RelationType','layer2').Count()",
        ),
        (
            "layer2 subgraph",
            "G.E().Has('RelationType','layer2').SubGraph().V().Count()",
        ),
        (
            "neighbours by name",
            &format!("G.V().Has('Name','{name}').Both().Count()"),
        ),
        ("shortest path", &path),
    ] {
        let (seconds, answer) = best(21, || run(black_box(text)));
        match answer {
            Answer::Number(count) => row(name, seconds, count),
            Answer::Paths(paths) => row(name, seconds, paths[0].len() - 1),
            other => panic!("{text}: {other:?}"),
        }
    }
    let (seconds, sum) = best(21, || around_each_bridge(&view));
    row("two hops, each bridge alone", seconds, sum);
    for (name, text) in [
        ("containers to JSON", "G.V().Has('Type','container')"),
        (
            "subgraph of veth to JSON",
            "G.V().Has('Type','veth').SubGraph()",
        ),
    ] {
        let mut bytes = Vec::new();
        let (seconds, ()) = best(5, || {
            bytes.clear();
            run(text).write_json(&mut bytes).unwrap();
        });
        row(name, seconds, bytes.len());
    }
}

/// Returns the sum over all bridges of the number of nodes one or two edges away, as the peers
/// count it.
fn around_each_bridge(view: &GraphView<'_>) -> usize {
    let filter = ElementKey::compile(&Filter::test("Type", Predicate::Text("bridge".into())));
    let bridges = view.nodes(&filter).map(|node| node.unwrap().index());
    let bridges: Vec<u32> = bridges.collect();
    // Index of the bridge that last visited each node.
    let mut seen: Vec<u32> = vec![u32::MAX; 2 * view.node_count()];
    let mut is_new = |node: u32, by: u32| std::mem::replace(&mut seen[node as usize], by) != by;
    let mut sum = 0;
    for bridge in bridges {
        is_new(bridge, bridge);
        let mut from = vec![bridge];
        for _ in 0..2 {
            let mut next = Vec::new();
            for hop in view.hops(&from, Direction::Both) {
                let node = hop.unwrap().node;
                if is_new(node, bridge) {
                    next.push(node);
                }
            }
            sum += next.len();
            from = next;
        }
    }
    sum
}

fn json(graph: &Graph, copy: Option<&str>) {
    // The daemon sends chunks of 64 KiB, each built while the previous ones are sent.
    let pieces = || {
        let view = GraphView::open(graph);
        let context = Context::new(&view, &NoFlows, Timestamp::ZERO);
        match Query::parse("G").unwrap().run(&context).unwrap() {
            Answer::Graph { nodes, edges } => JsonStream::graph(nodes, edges),
            other => panic!("{other:?}"),
        }
    };
    let (seconds, bytes) = best(5, || -> usize { pieces().map(|piece| piece.len()).sum() });
    row("whole topology to JSON", seconds, bytes);
    let (seconds, text) = best(5, || pieces().into_bytes());
    row("whole topology to JSON, one text", seconds, text.len());
    if let Some(copy) = copy {
        let mut file = std::fs::File::create(copy).unwrap();
        pieces().for_each(|piece| file.write_all(&piece).unwrap());
    }
}

/// Measures the memory of the history: the index of all elements, then ten changes of every tenth
/// node.
fn past(graph: &mut Graph) {
    let nodes = graph.node_count();
    let per_node = |bytes: usize| bytes as f64 / nodes as f64;
    let before = memory::in_use();
    let history = MemoryHistory::new(HistoryLimits::default().with_max_bytes(8 << 30));
    let begin = Timestamp::from_ms(2_000_000_000_000);
    for node in graph.nodes() {
        let event = skylib::graph::GraphEvent::NodeAdded(Arc::clone(node));
        history.record(std::slice::from_ref(&event), begin);
    }
    for edge in graph.edges() {
        let event = skylib::graph::GraphEvent::EdgeAdded(Arc::clone(edge));
        history.record(std::slice::from_ref(&event), begin);
    }
    let index = memory::in_use() - before;
    row("history, bytes a node", per_node(index), 0);
    let ids: Vec<NodeId> = graph
        .nodes()
        .step_by(10)
        .map(|node| node.id.clone())
        .collect();
    let before = memory::in_use();
    for change in 1..=10 {
        let now = Timestamp::from_ms(begin.as_ms() + change * 1000);
        for id in &ids {
            let ops = [MetadataOp::set("Metric.RxBytes", change)];
            graph.patch_node(id, &ops, now).unwrap();
            history.record(&graph.take_events(), now);
        }
    }
    let revisions = history.status().revisions;
    let bytes = (memory::in_use() - before) as f64 / revisions as f64;
    row("history, bytes a former revision", bytes, revisions);
}

struct NoFlows;

impl FlowSource for NoFlows {
    fn query(&self, _: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        Ok(FlowSet::default())
    }
}
