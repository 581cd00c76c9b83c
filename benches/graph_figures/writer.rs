//! Queries concurrent with a writer of 5 000 changes per second, in a running engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use skylib::engine::{Engine, EngineOptions};
use skylib::graph::history::{History, HistoryLimits, MemoryHistory};
use skylib::graph::{GraphWriter as _, MetadataOp, NodeId};
use skylib::proto::JsonStream;

use crate::{Answer, Elements, Truth, row};

const CHANGES_A_SECOND: u32 = 5_000;
/// Duration of the measurement of each query, alone and concurrently with the writer.
const PERIOD: Duration = Duration::from_secs(2);

pub fn figures(json: &[u8], truth: &Truth) {
    for recorded in [false, true] {
        let history = recorded
            .then(|| Arc::new(MemoryHistory::new(HistoryLimits::default())) as Arc<dyn History>);
        let mut options = EngineOptions::new("bench");
        options.history = history;
        let engine = Engine::start(options).unwrap();
        let ids = fill(&engine, json);
        let suffix = if recorded { ", with history" } else { "" };
        let mut waits = Vec::new();
        for (name, text) in queries(truth) {
            let alone = percentiles(&mut query_repeatedly(&engine, &text));
            let stop = AtomicBool::new(false);
            let (mut beside, mut these) = std::thread::scope(|scope| {
                let writer = scope.spawn(|| write(&engine, &ids, &stop));
                let beside = query_repeatedly(&engine, &text);
                stop.store(true, Ordering::Relaxed);
                (beside, writer.join().unwrap())
            });
            row(
                &format!("{name}, p99 beside a writer{suffix}"),
                percentiles(&mut beside).p99,
                alone.p99,
            );
            waits.append(&mut these);
        }
        let waits = percentiles(&mut waits);
        row(
            &format!("writer waits, p99.9{suffix}"),
            waits.p999,
            waits.count,
        );
        row(
            &format!("writer waits, longest{suffix}"),
            waits.longest,
            waits.count,
        );
        engine.stop();
    }
}

/// Loads the graph in transactions of a few elements, as probes do.
fn fill(engine: &Engine, json: &[u8]) -> Vec<NodeId> {
    let elements: Elements = serde_json::from_slice(json).unwrap();
    let ids = elements.nodes.iter().map(|node| node.id.clone()).collect();
    for nodes in elements.nodes.chunks(100) {
        engine.graph().update(&mut |graph, _| {
            nodes
                .iter()
                .for_each(|node| graph.add_node(node.clone()).unwrap());
        });
    }
    for edges in elements.edges.chunks(100) {
        engine.graph().update(&mut |graph, _| {
            edges
                .iter()
                .for_each(|edge| graph.add_edge(edge.clone()).unwrap());
        });
    }
    ids
}

fn queries(truth: &Truth) -> [(&'static str, String); 5] {
    [
        ("by id", format!("G.V('{}')", truth.path_from)),
        (
            "count Type=container",
            "G.V().Has('Type','container').Count()".to_owned(),
        ),
        (
            "count MTU>1500",
            "G.V().Has('MTU',Gt(1500)).Count()".to_owned(),
        ),
        (
            "two hops",
            "G.V().Has('Type','bridge').Both().Both().Dedup().Count()".to_owned(),
        ),
        ("whole topology to JSON", "G".to_owned()),
    ]
}

/// Repeats a query for [`PERIOD`]; returns the time of each run.
fn query_repeatedly(engine: &Engine, text: &str) -> Vec<Duration> {
    let begin = Instant::now();
    let mut times = Vec::new();
    while begin.elapsed() < PERIOD {
        let start = Instant::now();
        match engine.query(text).unwrap() {
            answer @ Answer::Graph { .. } => {
                let bytes: usize = JsonStream::answer(answer).map(|piece| piece.len()).sum();
                assert!(bytes > 0);
            }
            answer => answer.write_json(&mut Vec::new()).unwrap(),
        }
        times.push(start.elapsed());
    }
    times
}

/// Changes one node after the other until stopped; returns the time of each change.
fn write(engine: &Engine, ids: &[NodeId], stop: &AtomicBool) -> Vec<Duration> {
    let begin = Instant::now();
    let mut waits = Vec::new();
    for index in 0.. {
        let due = begin + Duration::from_secs(1) * index / CHANGES_A_SECOND;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = &ids[index as usize * 7919 % ids.len()];
        let start = Instant::now();
        engine.graph().update(&mut |graph, now| {
            let ops = [MetadataOp::set("Metric.RxBytes", index)];
            graph.patch_node(id, &ops, now).unwrap();
        });
        waits.push(start.elapsed());
    }
    waits
}

/// Statistics of times, in seconds.
struct Percentiles {
    count: usize,
    p99: f64,
    p999: f64,
    longest: f64,
}

fn percentiles(times: &mut [Duration]) -> Percentiles {
    times.sort_unstable();
    let at = |share: f64| {
        let place = (times.len() as f64 * share) as usize;
        times[place.min(times.len() - 1)].as_secs_f64()
    };
    Percentiles {
        count: times.len(),
        p99: at(0.99),
        p999: at(0.999),
        longest: at(1.0),
    }
}
