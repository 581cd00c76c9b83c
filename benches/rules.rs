//! Benchmark of node and edge rules: the time from one change of a graph of 100 000 nodes until
//! 10 000 rules have processed it.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use skylib::api::{EdgeRule, NodeRule};
use skylib::engine::{Engine, EngineOptions, ResourceLimits};
use skylib::graph::{Metadata, Node, NodeId};
use skylib::value::Value;

const NODES: usize = 100_000;
const RULES: usize = 10_000;
const CHANGES: u64 = 1_000;

/// Returns an engine with nodes `n0`, `n1`, … and rules for some of them.
fn engine() -> Engine {
    let limits = ResourceLimits::default()
        .with_node_rules(RULES)
        .with_edge_rules(RULES);
    let engine = Engine::start(EngineOptions::new("bench").with_resources(limits)).unwrap();
    for chunk in 0..NODES / 1_000 {
        engine.graph().update_as(None, |graph, now| {
            for i in chunk * 1_000..(chunk + 1) * 1_000 {
                let name = format!("n{i}");
                let mut metadata = Metadata::from_iter([("Name", name.as_str())]);
                metadata.set("Type", "device");
                graph
                    .add_node(Node::new(name.as_str(), metadata, now))
                    .unwrap();
            }
        });
    }
    for i in 0..RULES / 2 {
        let query = |i: usize| format!("G.V().Has('Name', 'n{i}')");
        let metadata = Metadata::from_iter([("Rack", "r1")]);
        let rule = NodeRule::update(query(i), metadata);
        engine.node_rules().add(rule, None).unwrap();
        let metadata = Metadata::from_iter([("RelationType", "wire")]);
        let rule = EdgeRule::new(query(i), query(i + 1), metadata);
        engine.edge_rules().add(rule, None).unwrap();
    }
    settle(&engine);
    engine
}

/// Waits until the rules make no further changes.
fn settle(engine: &Engine) {
    let mut last = engine.status().rules;
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let now = engine.status().rules;
        if now == last {
            return;
        }
        last = now;
    }
}

/// Changes a key of some nodes, one after the other, and waits until the rules have processed all
/// changes.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
fn change(engine: &Engine, key: &str, round: i64) -> Duration {
    let before = engine.status().rules.events;
    let start = Instant::now();
    for i in 0..CHANGES {
        engine.graph().update_as(None, |graph, now| {
            let id = NodeId::from(format!("n{}", i * 7).as_str());
            let mut metadata = graph.node(&id).unwrap().metadata.clone();
            metadata.set(key, Value::Int(round));
            graph.set_node_metadata(&id, metadata, now).unwrap();
        });
    }
    while engine.status().rules.events < before + CHANGES {
        std::thread::sleep(Duration::from_micros(100));
    }
    start.elapsed()
}

fn rules(c: &mut Criterion) {
    let engine = engine();
    let mut group = c.benchmark_group("rules");
    group
        .throughput(Throughput::Elements(CHANGES))
        .sample_size(10);
    let mut round = 0;
    // `Rack` is the key that the rules set: they restore it on the nodes that they match.
    for key in ["Speed", "Rack"] {
        group.bench_function(BenchmarkId::new("changes", key), |b| {
            b.iter_custom(|iterations| {
                (0..iterations)
                    .map(|_| {
                        round += 1;
                        change(&engine, key, round)
                    })
                    .sum()
            });
        });
    }
    group.finish();
    engine.stop();
}

criterion_group!(benches, rules);
criterion_main!(benches);
