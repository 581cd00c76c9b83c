//! Benchmark of complete queries, from query string to answer, on the datacenter of the benchmark
//! `graph`, and of the parser alone.

use std::collections::HashSet;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use skylib::filter::{Filter, Predicate};
use skylib::flow::{FlowQuery, FlowQueryError, FlowSet, FlowSource};
use skylib::graph::{ElementKey, Graph, GraphView, Node, NodeId};
use skylib::gremlin::{Answer, Context, Query};
use skylib::time::Timestamp;

#[path = "support/datacenter.rs"]
mod datacenter;

use datacenter::{datacenter, graph};

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];

const COUNT_INDEXED: &str = "G.V().Has('Type','bridge').Count()";
const COUNT_SCANNED: &str = "G.V().Has('MTU',Gt(1500)).Count()";
const COUNT_NESTED: &str = "G.V().Has('Docker.Labels.app','app7').Count()";
const TWO_HOPS: &str = "G.V().Has('Type','bridge').Both().Both().Dedup().Count()";
/// Query for the shortest path. One path has only `layer2` edges; other paths of the same length
/// pass through the hosts.
const SHORTEST_PATH: &str = "G.V().Has('Name','veth000000')\
    .ShortestPathTo(Metadata('Name','veth000900'),Metadata('RelationType','layer2'))";
const BY_NAME: &str = "G.V().Has('Name','veth000900')";

fn queries(c: &mut Criterion) {
    for size in SIZES {
        let graph = graph(&datacenter(size));
        let view = GraphView::open(&graph);
        let context = Context::new(&view, &NoFlows, Timestamp::ZERO);
        let run = |text: &str| Query::parse(text).unwrap().run(&context).unwrap();
        assert_truth(&graph, run);

        let mut group = c.benchmark_group("gremlin/query");
        for (name, text) in [
            ("count_indexed", COUNT_INDEXED),
            ("count_scanned", COUNT_SCANNED),
            ("count_nested", COUNT_NESTED),
            ("two_hops", TWO_HOPS),
            ("shortest_path", SHORTEST_PATH),
        ] {
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter(|| run(black_box(text)))
            });
        }
        let mut json = Vec::new();
        group.bench_function(BenchmarkId::new("by_name_json", size), |b| {
            b.iter(|| {
                json.clear();
                run(black_box(BY_NAME)).write_json(&mut json).unwrap();
                json.len()
            });
        });
    }
}

fn parser(c: &mut Criterion) {
    let pattern = "G.V().Has('Name',Regex('veth0009.*'))";
    let long = format!("G.V(){}", ".Has('Type','bridge').Both()".repeat(100));
    let mut group = c.benchmark_group("gremlin/parse");
    for (name, text) in [
        ("count", COUNT_INDEXED),
        ("path", SHORTEST_PATH),
        ("pattern", pattern),
        ("long", &long),
    ] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| b.iter(|| Query::parse(black_box(text)).unwrap()));
    }
}

criterion_group!(benches, queries, parser);
criterion_main!(benches);

/// Checks the results, because the speed of a wrong result is meaningless.
fn assert_truth(graph: &Graph, run: impl Fn(&str) -> Answer) {
    let find = |key: &str, predicate: Predicate| {
        let test = ElementKey::compile(&Filter::test(key, predicate));
        graph.nodes().filter(move |node| test.matches(&***node))
    };
    let bridges = || find("Type", Predicate::Text("bridge".into()));
    let number = |count: usize| Answer::Number(count as i64);
    assert!(bridges().count() > 10);
    assert_eq!(run(COUNT_INDEXED), number(bridges().count()));
    let big = find("MTU", Predicate::Gt(1500)).count();
    assert_eq!(run(COUNT_SCANNED), number(big));
    let labelled = find("Docker.Labels.app", Predicate::Text("app7".into())).count();
    assert_eq!(run(COUNT_NESTED), number(labelled));

    let near = |from: &HashSet<NodeId>| -> HashSet<NodeId> {
        let ends = graph.edges().map(|edge| (&edge.parent, &edge.child));
        ends.flat_map(|(a, b)| [(a, b), (b, a)])
            .filter(|(a, _)| from.contains(*a))
            .map(|(_, b)| b.clone())
            .collect()
    };
    let around = near(&near(&bridges().map(|node| node.id.clone()).collect()));
    assert_eq!(run(TWO_HOPS), number(around.len()));

    let Answer::Paths(paths) = run(SHORTEST_PATH) else {
        panic!("no paths");
    };
    let names: Vec<Vec<_>> = paths
        .iter()
        .map(|p| p.iter().map(|n| name(n)).collect())
        .collect();
    let through = [
        "veth000000",
        "br0",
        "eth0",
        "tor0",
        "eth0",
        "br0",
        "veth000900",
    ];
    assert_eq!(names, [through]);
    let wanted: Vec<_> = find("Name", Predicate::Text("veth000900".into()))
        .cloned()
        .collect();
    assert_eq!(wanted.len(), 1);
    assert_eq!(run(BY_NAME), Answer::Nodes(wanted));
}

fn name(node: &Node) -> String {
    let value = node.value(&ElementKey::parse("Name"));
    value
        .and_then(|value| value.as_text().map(str::to_owned))
        .unwrap_or_default()
}

struct NoFlows;

impl FlowSource for NoFlows {
    fn query(&self, _: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        Ok(FlowSet::default())
    }
}
