//! Benchmark of the graph of a generated datacenter: load from JSON, index, scan, two hops, and a
//! view concurrent with a writer.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use skylib::filter::{Filter, Predicate};
use skylib::graph::{
    Direction, ElementKey, Graph, GraphReader as _, GraphView, MetadataOp, Node, NodeId, NodeRef,
};
use skylib::time::Timestamp;

#[path = "support/datacenter.rs"]
mod datacenter;

use datacenter::{datacenter, graph};

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];

fn load(c: &mut Criterion) {
    let mut group = c.benchmark_group("graph/load");
    group.sample_size(10);
    for size in SIZES {
        let json = datacenter(size);
        group.throughput(Throughput::Bytes(json.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| graph(&json))
        });
    }
}

fn queries(c: &mut Criterion) {
    for size in SIZES {
        let graph = graph(&datacenter(size));
        let nodes = graph.node_count();
        let view = GraphView::open(&graph);
        let containers = text("Type", "container");
        let big = ElementKey::compile(&Filter::test("MTU", Predicate::Gt(1500)));
        let labelled = text("Docker.Labels.app", "app7");
        let layer2 = text("RelationType", "layer2");

        // Checks the result, because the speed of a wrong result is meaningless.
        let count = |key: &ElementKey, wanted: &str| {
            let is_wanted = |n: &&std::sync::Arc<Node>| {
                n.value(key)
                    .is_some_and(|value| value.as_text() == Some(wanted))
            };
            graph.nodes().filter(is_wanted).count()
        };
        let truth = count(&ElementKey::parse("Type"), "container");
        assert!(truth > size / 10);
        assert_eq!(view.count_nodes(&containers), Ok(truth));
        assert_eq!(
            view.count_nodes(&labelled),
            Ok(count(&ElementKey::parse("Docker.Labels.app"), "app7"))
        );
        assert_eq!(two_hops(&view, nodes), two_hops_by_nodes(&view, nodes));

        let mut group = c.benchmark_group("graph/query");
        group.throughput(Throughput::Elements(nodes as u64));
        let id = |name| BenchmarkId::new(name, size);
        group.bench_function(id("count_indexed"), |b| {
            b.iter(|| view.count_nodes(&containers))
        });
        group.bench_function(id("visit_indexed"), |b| {
            b.iter(|| visit(&view, &containers))
        });
        group.bench_function(id("scan_number"), |b| b.iter(|| view.count_nodes(&big)));
        group.bench_function(id("scan_nested"), |b| {
            b.iter(|| view.count_nodes(&labelled))
        });
        group.bench_function(id("scan_edges"), |b| b.iter(|| view.count_edges(&layer2)));
        group.bench_function(id("two_hops"), |b| b.iter(|| two_hops(&view, nodes)));
        group.bench_function(id("two_hops_by_nodes"), |b| {
            b.iter(|| two_hops_by_nodes(&view, nodes))
        });
        let mut json = Vec::new();
        group.bench_function(id("to_json"), |b| {
            b.iter(|| {
                json.clear();
                graph
                    .nodes()
                    .for_each(|n| serde_json::to_writer(&mut json, &**n).unwrap());
                graph
                    .edges()
                    .for_each(|e| serde_json::to_writer(&mut json, &**e).unwrap());
                json.len()
            });
        });
    }
}

fn changes(c: &mut Criterion) {
    let mut graph = graph(&datacenter(10_000));
    let ids: Vec<NodeId> = graph.nodes().map(|node| node.id.clone()).collect();
    let mut turn = 0;
    let mut change = |graph: &mut Graph| {
        turn += 1;
        let ops = [MetadataOp::set("MTU", turn)];
        let id = &ids[turn as usize * 31 % ids.len()];
        graph
            .patch_node(id, &ops, Timestamp::from_ms(turn))
            .unwrap();
        black_box(graph.take_events());
    };
    let mut group = c.benchmark_group("graph/change");
    group.throughput(Throughput::Elements(1));
    group.bench_function("patch", |b| b.iter(|| change(&mut graph)));
}

criterion_group!(benches, load, queries, changes);
criterion_main!(benches);

fn text(key: &str, wanted: &str) -> Filter<ElementKey> {
    ElementKey::compile(&Filter::test(key, Predicate::Text(wanted.into())))
}

fn visit(view: &GraphView<'_>, filter: &Filter<ElementKey>) -> Vec<NodeRef> {
    view.nodes(filter).collect::<Result<_, _>>().unwrap()
}

/// Counts the distinct nodes two hops from a bridge, without accessing node values.
fn two_hops(view: &GraphView<'_>, nodes: usize) -> usize {
    let bridges = visit(view, &text("Type", "bridge"));
    let bridges: Vec<u32> = bridges.iter().map(NodeRef::index).collect();
    let hops = view.hops(&bridges, Direction::Both);
    let near: Vec<u32> = hops.map(|hop| hop.unwrap().node).collect();
    let mut seen = vec![false; nodes];
    let mut count = 0;
    for hop in view.hops(&near, Direction::Both) {
        let node = hop.unwrap().node;
        count += usize::from(!std::mem::replace(&mut seen[node as usize], true));
    }
    count
}

/// Counts the same nodes as [`two_hops`], but accesses the node values at each hop.
fn two_hops_by_nodes(view: &GraphView<'_>, nodes: usize) -> usize {
    let all = Filter::everything();
    let bridges = visit(view, &text("Type", "bridge"));
    let near = view.neighbor_nodes(&bridges, Direction::Both, &all);
    let near: Vec<NodeRef> = near.collect::<Result<_, _>>().unwrap();
    let mut seen = vec![false; nodes];
    let mut count = 0;
    for node in view.neighbor_nodes(&near, Direction::Both, &all) {
        let number = node.unwrap().index() as usize;
        count += usize::from(!std::mem::replace(&mut seen[number], true));
    }
    count
}
