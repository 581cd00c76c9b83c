//! Benchmark of the history: cost of recording a change and of a query about the past.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use skylib::flow::{FlowQuery, FlowQueryError, FlowSet, FlowSource};
use skylib::graph::history::{History, HistoryLimits, MemoryHistory};
use skylib::graph::{Edge, Graph, GraphView, Metadata, MetadataOp, Node, NodeId, Origin};
use skylib::gremlin::{Answer, Context, Query};
use skylib::time::Timestamp;

/// Number of nodes and number of revisions per node: a million revisions of many nodes, and of few
/// nodes.
const SHAPES: [(i64, i64); 2] = [(100_000, 10), (10_000, 100)];

struct NoFlows;

impl FlowSource for NoFlows {
    fn query(&self, _: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        Ok(FlowSet::default())
    }
}

fn changes(c: &mut Criterion) {
    let mut group = c.benchmark_group("history/change");
    group.throughput(Throughput::Elements(1));
    for recorded in [false, true] {
        let mut graph = graph(10_000);
        let ids: Vec<NodeId> = graph.nodes().map(|node| node.id.clone()).collect();
        // Smaller than the history, so that eviction is measured, too.
        let history = MemoryHistory::new(HistoryLimits::default().with_max_bytes(16 << 20));
        history.record(&graph.take_events(), at(0));
        let mut turn = 0;
        let name = if recorded { "recorded" } else { "alone" };
        group.bench_function(name, |b| {
            b.iter(|| {
                turn += 1;
                let id = &ids[turn as usize * 31 % ids.len()];
                let ops = [MetadataOp::set("MTU", turn)];
                graph.patch_node(id, &ops, at(turn)).unwrap();
                let events = graph.take_events();
                if recorded {
                    history.record(&events, at(turn));
                }
                black_box(events);
            });
        });
    }
}

fn queries(c: &mut Criterion) {
    for (nodes, revisions) in SHAPES {
        let mut graph = graph(nodes);
        let history = MemoryHistory::new(HistoryLimits::default().with_max_bytes(4 << 30));
        history.record(&graph.take_events(), at(0));
        for revision in 1..revisions {
            for node in 0..nodes {
                let ops = [MetadataOp::set("MTU", revision)];
                graph.patch_node(&id(node), &ops, at(revision)).unwrap();
            }
            history.record(&graph.take_events(), at(revision));
        }
        let status = history.status();
        assert_eq!(status.revisions as i64, nodes * (revisions - 1));
        println!(
            "history of {nodes} nodes: {} revisions of {} bytes, index {} bytes a node",
            status.revisions,
            status.bytes / status.revisions,
            status.index_bytes as i64 / nodes
        );
        let view = GraphView::open(&graph);
        let context = Context::new(&view, &NoFlows, at(revisions)).with_history(&history);
        let middle = at(revisions / 2).as_ms();
        let mut group = c.benchmark_group("history/query");
        group.sample_size(10);
        for (name, steps, truth) in [
            ("count", "V().Count()".to_owned(), nodes),
            ("filter", "V().Has('Name', 'n77').Count()".to_owned(), 1),
            (
                "then",
                format!("V().Has('MTU', {}).Count()", revisions / 2),
                nodes,
            ),
            ("lookup", "V('n77').Out().Count()".to_owned(), 1),
            (
                "walk",
                "V().Has('Type', 'rare').Out().Count()".to_owned(),
                nodes / 100,
            ),
        ] {
            let query = Query::parse(&format!("G.At({middle}).{steps}")).unwrap();
            // Checks the result, because the speed of a wrong result is meaningless.
            assert_eq!(
                query.run(&context).unwrap(),
                Answer::Number(truth),
                "{name}"
            );
            group.bench_function(
                BenchmarkId::new(name, format!("{nodes}x{revisions}")),
                |b| {
                    b.iter(|| query.run(&context).unwrap());
                },
            );
        }
    }
}

criterion_group!(benches, changes, queries);
criterion_main!(benches);

/// Returns a ring of nodes.
fn graph(nodes: i64) -> Graph {
    let mut graph = Graph::new().with_journal();
    for node in 0..nodes {
        let kind = if node % 100 == 0 { "rare" } else { "device" };
        let metadata = Metadata::from_iter([("Name", format!("n{node}")), ("Type", kind.into())]);
        graph
            .add_node(
                Node::new(id(node), metadata, at(0)).with_origin(Origin::new("agent", "host")),
            )
            .unwrap();
    }
    for node in 0..nodes {
        let metadata = Metadata::from_iter([("RelationType", "layer2")]);
        let (from, to) = (id(node), id((node + 1) % nodes));
        graph
            .add_edge(
                Edge::between(from, to, metadata, at(0)).with_origin(Origin::new("agent", "host")),
            )
            .unwrap();
    }
    graph
}

fn id(node: i64) -> NodeId {
    NodeId::from(format!("n{node}"))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_ms(1_700_000_000_000 + seconds * 1000)
}
