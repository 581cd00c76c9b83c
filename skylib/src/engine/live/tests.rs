//! Clients that read fast, slowly, or not at all, and the limits.

use std::collections::HashMap;

use super::*;
use crate::engine::{Engine, EngineOptions, QueryOptions};
use crate::graph::{Edge, Graph, Metadata, MetadataOp, Node, NodeId};
use crate::gremlin::QueryErrorKind;
use crate::gremlin::live::{AnswerReplica, Change};
use crate::time::Timestamp;

const TIMEOUT: Duration = Duration::from_secs(30);

fn engine(options: LiveOptions) -> Engine {
    let mut engine = EngineOptions::new("test");
    engine.live = options;
    Engine::start(engine).unwrap()
}

/// Returns options with short intervals.
fn fast() -> LiveOptions {
    LiveOptions {
        interval: Duration::from_millis(1),
        timed_interval: Duration::from_millis(20),
        ..LiveOptions::default()
    }
}

fn update<R>(engine: &Engine, work: impl FnOnce(&mut Graph, Timestamp) -> R) -> R {
    engine.graph().update_as(None, work)
}

fn add(engine: &Engine, id: &str, kind: &str) {
    update(engine, |graph, now| {
        let metadata = Metadata::from_iter([("Type", kind), ("Name", id)]);
        graph.add_node(Node::new(id, metadata, now)).unwrap();
    });
}

fn open(client: &LiveClient, name: &str, text: &str) {
    client.open(name, text).unwrap();
}

fn recv(client: &LiveClient) -> (String, LiveEvent) {
    client.recv_timeout(TIMEOUT).expect("an event")
}

fn changes(client: &LiveClient) -> Vec<Change> {
    match recv(client) {
        (_, LiveEvent::Update(Update::Changes { changes, .. })) => changes,
        other => panic!("{other:?}"),
    }
}

/// The answers of a client's queries, and the sequence number of each.
#[derive(Default)]
struct Received(HashMap<String, (AnswerReplica, u64)>);

impl Received {
    fn apply(&mut self, (name, event): (String, LiveEvent)) {
        let LiveEvent::Update(update) = event else {
            panic!("{name}: {event:?}")
        };
        let (followed, shown) = self.0.entry(name).or_default();
        assert!(followed.apply(&update));
        if let Update::Answer { sequence, .. } | Update::Changes { sequence, .. } = update {
            assert!(*shown <= sequence, "the sequence never decreases");
            *shown = sequence;
        }
    }
}

/// Changes one of a few elements.
fn change(engine: &Engine, random: &mut impl FnMut(usize) -> usize) {
    let (number, other) = (random(40), random(40));
    let id = NodeId::from(format!("n{number}"));
    let kind = format!("t{}", random(3));
    update(engine, |graph, now| match random(6) {
        0 | 1 => {
            let metadata = Metadata::from_iter([("Type", kind.as_str())]);
            graph.add_node(Node::new(id, metadata, now)).ok();
        }
        2 => drop(graph.delete_node(&id, now)),
        3 => drop(graph.patch_node(&id, &[MetadataOp::set("Type", kind)], now)),
        4 => drop(graph.patch_node(&id, &[MetadataOp::set("Metric.RxBytes", 1)], now)),
        _ => {
            let edge = Edge::between(id, format!("n{other}"), Metadata::new(), now);
            graph.add_edge(edge).ok();
        }
    });
}

#[test]
fn updates_during_many_changes_lead_to_the_answer_of_each_query() {
    let engine = engine(fast());
    let queries = [
        "G",
        "G.V().Has('Type','t1')",
        "G.V().Has('Type','t1').Out().Has('Type','t2')",
        "G.V().Sort(DESC,'@UpdatedAt').Limit(5)",
        "G.E().Count()",
        "G.V().Values('Type').Dedup()",
        "G.V('n3').Both()",
    ];
    add(&engine, "n3", "t0");
    let clients = [engine.live_client(9), engine.live_client(9)];
    for client in &clients {
        queries.iter().for_each(|text| open(client, text, text));
    }
    let mut received = [Received::default(), Received::default()];
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for round in 0..3_000 {
        change(&engine, &mut random);
        // One client reads after every change, the other rarely.
        clients[0]
            .try_next()
            .into_iter()
            .for_each(|event| received[0].apply(event));
        if round % 50 == 0 {
            clients[1]
                .try_next()
                .into_iter()
                .for_each(|event| received[1].apply(event));
        }
    }
    for (client, received) in clients.iter().zip(&mut received) {
        let until = monotonic::now() + TIMEOUT;
        for text in queries {
            loop {
                let now = engine.query(text);
                let followed = received.0.get(text).map(|(followed, _)| followed);
                let is_like = followed.is_some_and(|followed| match &now {
                    Ok(answer) => followed.equals(answer),
                    Err(error) => followed.error() == Some(error),
                });
                if is_like {
                    break;
                }
                assert!(
                    monotonic::now() < until,
                    "{text}: {followed:?} is not {now:?}"
                );
                client
                    .recv_timeout(Duration::from_secs(1))
                    .into_iter()
                    .for_each(|event| received.apply(event));
            }
        }
    }
    let status = engine.status().live;
    assert_eq!((status.queries, status.ended), (14, 0));
    assert!(status.runs > 0 && status.items > 0, "{status:?}");
    engine.stop();
}

#[test]
fn changes_for_a_client_that_does_not_read_are_merged() {
    let engine = engine(fast());
    let (slow, quick) = (engine.live_client(2), engine.live_client(2));
    for client in [&slow, &quick] {
        open(client, "q", "G.V()");
        assert!(matches!(
            recv(client),
            (_, LiveEvent::Update(Update::Answer { .. }))
        ));
    }
    let mut received = 0;
    for number in 0..200 {
        add(&engine, &format!("n{number}"), "x");
        while received <= number {
            received += changes(&quick).len();
        }
    }
    let first = changes(&slow).len();
    let rest = changes(&slow).len();
    assert_eq!(
        first + rest,
        200,
        "the update that was ready, and all later changes"
    );
    assert!(slow.recv_timeout(Duration::from_millis(50)).is_none());
    engine.stop();
}

#[test]
fn names_and_slots_are_limited_and_released() {
    let engine = engine(LiveOptions {
        max_queries: 3,
        ..fast()
    });
    let (one, two) = (engine.live_client(2), engine.live_client(2));
    open(&one, "a", "G.V()");
    let reserved = one.reserve("b").unwrap();
    assert_eq!(
        one.reserve("a").unwrap_err(),
        LiveError::Taken("a".to_owned())
    );
    let many = one.reserve("c").unwrap_err();
    assert_eq!(
        many.to_string(),
        "limit of 2 live queries per client reached; cancel one first"
    );
    open(&two, "a", "G.E()");
    assert_eq!(two.reserve("b").unwrap_err(), LiveError::Full(3));
    // A query that fails and one that is canceled release their slots.
    let error = reserved
        .open("G.V().Hass()", QueryOptions::default())
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.offset()),
        (QueryErrorKind::Parse, Some(6))
    );
    let missing = one
        .reserve("b")
        .unwrap()
        .open("G.V('nobody')", QueryOptions::default())
        .unwrap_err();
    assert_eq!(missing.message(), "Node 'nobody' does not exist");
    let canceled = one.reserve("b").unwrap();
    assert!(one.cancel("b") && !one.cancel("b"));
    let error = canceled.open("G.V()", QueryOptions::default()).unwrap_err();
    assert_eq!(error.kind(), QueryErrorKind::Interrupted);
    assert!(one.cancel("a") && one.is_empty());
    add(&engine, "n", "x");
    assert!(one.try_next().is_none(), "no event of a canceled query");
    drop(two);
    let until = monotonic::now() + TIMEOUT;
    while engine.status().live.queries > 0 {
        assert!(monotonic::now() < until, "{:?}", engine.status().live);
        std::thread::yield_now();
    }
    engine.stop();
}

#[test]
fn a_query_whose_answer_exceeds_a_limit_ends() {
    let engine = engine(LiveOptions {
        max_items: 2,
        max_bytes: 2_000,
        ..fast()
    });
    let client = engine.live_client(4);
    add(&engine, "a", "x");
    add(&engine, "b", "x");
    open(&client, "all", "G.V()");
    recv(&client);
    let pad = "x".repeat(2_000);
    update(&engine, |graph, now| {
        graph.patch_node(&NodeId::from("a"), &[MetadataOp::set("Pad", pad)], now)
    })
    .unwrap();
    let reserved = client.reserve("more").unwrap();
    let error = reserved
        .open("G.V().Values('Pad')", QueryOptions::default())
        .unwrap_err();
    let text = "limit of 2000 bytes for the answers of all live queries reached (live.max_bytes, \
                http.limits.memory)";
    assert_eq!(error.message(), text);
    // The answer has two items; a third is added.
    add(&engine, "c", "x");
    loop {
        match recv(&client) {
            (name, LiveEvent::Ended(error)) => {
                assert_eq!(
                    (name.as_str(), error.kind()),
                    ("all", QueryErrorKind::Limit)
                );
                break;
            }
            (_, LiveEvent::Update(Update::Changes { changes, .. })) => assert_eq!(changes.len(), 1),
            other => panic!("{other:?}"),
        }
    }
    assert!(client.is_empty());
    assert_eq!(engine.status().live.ended, 1);
    engine.stop();
}

#[test]
fn waiting_clients_are_woken_when_the_engine_stops() {
    let engine = engine(fast());
    let client = engine.live_client(1);
    open(&client, "q", "G.V().Count()");
    recv(&client);
    let waiting = client.clone();
    let thread = std::thread::spawn(move || waiting.recv_timeout(Duration::from_secs(3_600)));
    engine.stop();
    assert!(thread.join().unwrap().is_none());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    assert!(runtime.block_on(client.next()).is_none());
    let late = engine.live_client(1);
    let error = late
        .reserve("q")
        .unwrap()
        .open("G.V()", QueryOptions::default())
        .unwrap_err();
    assert_eq!(error.kind(), QueryErrorKind::Interrupted);
}

#[test]
fn a_query_that_exceeds_its_time_limit_ends() {
    let engine = engine(LiveOptions {
        max_time: Duration::ZERO,
        ..fast()
    });
    let client = engine.live_client(1);
    let error = client
        .reserve("q")
        .unwrap()
        .open("G.V()", QueryOptions::default())
        .unwrap_err();
    assert_eq!(
        error.message(),
        "a run of the live query took longer than 0 s (live.max_time)"
    );
    engine.stop();
}

#[test]
fn queries_of_flows_run_at_an_interval() {
    let engine = engine(fast());
    let client = engine.live_client(1);
    open(&client, "flows", "G.Flows().Count()");
    recv(&client);
    let until = monotonic::now() + TIMEOUT;
    while engine.status().live.runs < 3 {
        assert!(monotonic::now() < until);
        std::thread::yield_now();
    }
    assert!(
        client.try_next().is_none(),
        "no update as long as nothing changes"
    );
    engine.stop();
}

#[test]
fn a_client_chooses_the_interval_of_a_query_of_flows() {
    let engine = engine(fast());
    let client = engine.live_client(2);
    let open = |name: &str, interval| {
        let reserved = client.reserve(name).unwrap().with_timed_interval(interval);
        reserved
            .open("G.Flows().Count()", QueryOptions::default())
            .unwrap();
    };
    open("rare", Duration::from_secs(3600));
    let runs = engine.status().live.runs;
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(engine.status().live.runs, runs, "the interval is an hour");
    open("often", Duration::ZERO);
    let until = monotonic::now() + TIMEOUT;
    while engine.status().live.runs < runs + 2 {
        assert!(monotonic::now() < until, "20 ms is the shortest interval");
        client.try_next();
        std::thread::yield_now();
    }
    engine.stop();
}
