use std::time::Duration;

use super::*;
use crate::flow::Flow;
use crate::graph::{GraphError, Metadata, Node, Origin};
use crate::proto::{Encoding, Message, UpdatePolicy};
use crate::store::MemoryDocStore;
use crate::time::{Clock, SystemClock, Timestamp};

fn engine(options: EngineOptions) -> Engine {
    Engine::start(options).unwrap()
}

fn json(engine: &Engine, query: &str) -> String {
    let mut out = Vec::new();
    engine.query(query).unwrap().write_json(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Waits until a condition becomes true.
fn until(is_so: impl Fn() -> bool) {
    let began = SystemClock.now();
    while !is_so() {
        let waited = SystemClock.now().as_ms() - began.as_ms();
        assert!(waited < 20_000, "not within 20 s");
        std::thread::yield_now();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn next(subscription: &mut Subscription<BroadcastMessage>) -> Message {
    let message = block_on(subscription.next()).unwrap();
    Message::decode(
        &message.encoded(Encoding::Json, UpdatePolicy::Full),
        Encoding::Json,
    )
    .unwrap()
}

fn add(engine: &Engine, id: &str, name: &str) -> Result<(), GraphError> {
    engine.graph().update_as(None, |graph, now| {
        let metadata = Metadata::from_iter([("Name", name), ("Type", "device")]);
        graph.add_node(Node::new(id, metadata, now).with_origin(Origin::new("agent", "h")))
    })
}

fn capture(query: &str) -> CaptureSpec {
    CaptureSpec {
        gremlin_query: query.to_owned(),
        ..CaptureSpec::default()
    }
}

#[test]
fn changes_reach_subscribers_in_order_and_queries_at_once() {
    let engine = engine(EngineOptions::new("h"));
    let mut subscription = engine.subscribe_graph(SubscribeOptions::default());
    for i in 0..100 {
        add(&engine, &format!("n{i}"), "x").unwrap();
    }
    assert_eq!(add(&engine, "n5", "y"), Err(GraphError::NodeConflict));
    assert_eq!(json(&engine, "G.V().Has('Name', 'x').Count()"), "100");
    for i in 0..100 {
        let message = next(&mut subscription);
        assert_eq!(message.kind, "NodeAdded");
        let start = format!(r#"{{"ID":"n{i}","#);
        assert!(
            message.object.json().unwrap().starts_with(&start),
            "{message:?}"
        );
    }
    engine.stop();
    assert!(
        block_on(subscription.next()).is_none(),
        "the subscription ends"
    );
}

#[test]
fn captures_are_stored_counted_and_deleted() {
    let documents: Arc<MemoryDocStore> = Arc::default();
    let options = || EngineOptions {
        documents: Arc::clone(&documents) as _,
        ..EngineOptions::new("h")
    };
    let first = engine(options());
    let mut events = first.subscribe_graph(SubscribeOptions::default());
    let stored = first
        .captures()
        .add(capture("G.V().Has('Name', 'none')"), None)
        .unwrap();
    assert_eq!(
        (next(&mut events).kind.as_str(), stored.count),
        ("Added", 0)
    );
    let refused = first
        .captures()
        .add(capture(&stored.gremlin_query), None)
        .unwrap_err();
    assert_eq!(refused.to_string(), "duplicated resource");
    let invalid = first
        .captures()
        .add(capture("G.V("), None)
        .unwrap_err()
        .to_string();
    assert!(
        invalid.starts_with("GremlinQuery: Not a valid Gremlin expression: "),
        "{invalid}"
    );
    first.stop();

    let second = engine(options());
    // The status depends on the graph.
    let mut found = CaptureSpec::clone(&second.captures().get(&stored.uuid).unwrap());
    found.status = stored.status.clone();
    assert_eq!(found, *stored);
    assert_eq!(second.captures().len(), 1);
    assert!(second.captures().delete(&stored.uuid).unwrap());
    assert!(!second.captures().delete(&stored.uuid).unwrap());
    second.stop();
}

#[test]
fn captures_expire() {
    let clock = Arc::new(crate::time::ManualClock::new(Timestamp::from_ms(1_000)));
    let engine = engine(EngineOptions {
        clock: Arc::clone(&clock) as _,
        ..EngineOptions::new("h")
    });
    let second = Some(Duration::from_secs(1));
    let spec = engine.captures().add(capture("G.V()"), second).unwrap();
    clock.advance(Duration::from_secs(2));
    until(|| engine.captures().get(&spec.uuid).is_none());
    engine.stop();
}

#[test]
fn a_capture_that_cannot_start_shows_the_reason_on_its_node() {
    let engine = engine(EngineOptions::new("h"));
    add(&engine, "n1", "down0").unwrap();
    let spec = engine
        .captures()
        .add(capture("G.V().Has('Name', 'down0')"), None)
        .unwrap();
    let query = format!(
        "G.V().Has('Captures.ID', '{}').Values('Captures.Error')",
        spec.uuid
    );
    until(|| json(&engine, &query) != "null");
    assert_eq!(
        json(&engine, &query),
        r#"[["Can't start capture on node down down0"]]"#
    );
    assert_eq!(engine.captures().get(&spec.uuid).unwrap().count, 0);
    engine.captures().delete(&spec.uuid).unwrap();
    until(|| json(&engine, "G.V().HasKey('Captures')") == "[]");
    engine.stop();
}

#[test]
fn nodes_of_other_hosts_are_not_captured_here() {
    let engine = engine(EngineOptions::new("h"));
    let metadata = Metadata::from_iter([("Name", "lo"), ("Type", "device")]);
    engine.graph().update_as(None, |graph, now| {
        let node =
            Node::new("theirs", metadata, now).with_origin(Origin::new("agent", "elsewhere"));
        graph.add_node(node).unwrap();
    });
    add(&engine, "ours", "down0").unwrap();
    engine.captures().add(capture("G.V()"), None).unwrap();
    until(|| json(&engine, "G.V().HasKey('Captures')") != "[]");
    assert_eq!(
        json(&engine, "G.V().HasKey('Captures').Values('Name')"),
        r#"["down0"]"#
    );
    engine.stop();
}

#[test]
fn flows_are_grouped_into_messages_and_the_rest_is_sent_at_the_end() {
    let flows = FlowOptions {
        batch_delay: Duration::from_secs(3600),
        ..FlowOptions::default()
    };
    let engine = engine(EngineOptions {
        flows,
        ..EngineOptions::new("h")
    });
    let mut all = engine.subscribe_flows(SubscribeOptions::default());
    let namespaces = Some(vec!["flow/c1".to_owned()]);
    let mut one = engine.subscribe_flows(SubscribeOptions {
        namespaces,
        ..SubscribeOptions::default()
    });
    let flow = |capture: &str| Flow {
        capture_id: capture.into(),
        ..Flow::default()
    };
    engine.flows().push(vec![flow("c1"); 60]);
    engine.flows().push(vec![flow("c2"); 60]);
    let count = |message: &Message| {
        let list: Vec<serde_json::Value> =
            serde_json::from_str(message.object.json().unwrap()).unwrap();
        (message.namespace.clone(), message.kind.clone(), list.len())
    };
    let store = |namespace: &str, flows| (namespace.to_owned(), "store".to_owned(), flows);
    assert_eq!(count(&next(&mut all)), store("flow", 100));
    engine.stop();
    let mut rest = [
        next(&mut all),
        next(&mut all),
        next(&mut all),
        next(&mut all),
    ]
    .map(|message| count(&message));
    rest.sort();
    let wanted = [
        store("flow", 20),
        store("flow/c1", 60),
        store("flow/c2", 20),
        store("flow/c2", 40),
    ];
    assert_eq!(rest, wanted);
    assert_eq!(count(&next(&mut one)), store("flow/c1", 60));
    assert!(block_on(one.next()).is_none());
}

#[test]
fn all_in_one_shows_its_own_host() {
    let options = EngineOptions {
        role: Role::AllInOne,
        ..EngineOptions::new("edge-01")
    };
    let engine = engine(EngineOptions {
        netns_path: None,
        ..options
    });
    assert_eq!(
        json(&engine, "G.V().Has('Type', 'host').Values('TID')"),
        r#"["276ec92a-884b-5251-af04-080c9c22b304"]"#
    );
    let lo = "G.V().Has('Type', 'host').Out('Name', 'lo').HasKey('TID')";
    until(|| json(&engine, lo) != "[]");
    let status = engine.status();
    assert_eq!(status.probes.len(), 1);
    assert!(status.nodes >= 2 && status.edges >= 1);
    engine.stop();
    engine.stop();
}

#[test]
fn a_view_stays_as_it_was_opened() {
    let engine = engine(EngineOptions::new("h"));
    add(&engine, "n1", "a").unwrap();
    let view = engine.graph().view();
    add(&engine, "n2", "b").unwrap();
    assert_eq!(view.node_count(), 1, "the view is of before");
    assert_eq!(engine.graph().view().node_count(), 2);
    drop(view);
    engine.stop();
}

#[test]
fn deleted_nodes_and_ended_flows_are_found_in_the_past() {
    use crate::graph::NodeId;
    use crate::graph::history::{HistoryLimits, MemoryHistory};
    use crate::store::{FlowStoreLimits, MemoryFlowStore};
    use crate::time::ManualClock;

    let clock = Arc::new(ManualClock::new(Timestamp::from_ms(1_700_000_000_000)));
    let hour = Duration::from_secs(3600);
    let history = MemoryHistory::new(HistoryLimits::default().with_max_age(hour));
    let engine = engine(EngineOptions {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        history: Some(Arc::new(history)),
        flow_store: Some(Arc::new(MemoryFlowStore::new(FlowStoreLimits::default()))),
        ..EngineOptions::new("h")
    });
    add(&engine, "n1", "a").unwrap();
    let minute = Duration::from_secs(60);
    clock.advance(minute);
    let deleted = engine.graph().update_as(None, |graph, now| {
        graph.delete_node(&NodeId::from("n1"), now)
    });
    deleted.unwrap();
    let metric = crate::flow::FlowMetric {
        ab_bytes: 7,
        start: 1_700_000_000_000,
        last: 1_700_000_010_000,
        ..crate::flow::FlowMetric::default()
    };
    let flow = |uuid: &str| Flow {
        uuid: uuid.into(),
        start: 1_700_000_000_000,
        last: 1_700_000_010_000,
        last_update_metric: Some(metric),
        ..Flow::default()
    };
    engine.flows().push(vec![flow("f1"), flow("f2")]);
    while engine.status().flow_store.unwrap().flows < 2 {
        std::thread::yield_now();
    }
    clock.advance(minute);
    assert_eq!(json(&engine, "G.V().Count()"), "0");
    assert_eq!(json(&engine, "G.At('-90s').V().Values('Name')"), r#"["a"]"#);
    assert_eq!(json(&engine, "G.Flows()"), "[]");
    assert_eq!(json(&engine, "G.At('-90s').Flows().Count()"), "2");
    assert_eq!(
        json(
            &engine,
            "G.At('-90s').Flows().Has('UUID', 'f2').Values('UUID')"
        ),
        r#"["f2"]"#
    );
    assert_eq!(json(&engine, "G.At('-3m').Flows().Count()"), "0");
    let sum = "Metrics().Sum('ABBytes')";
    assert_eq!(
        json(&engine, &format!("G.At(NOW, 600).Flows().{sum}")),
        "14"
    );
    assert_eq!(
        json(&engine, &format!("G.At(1700000005, 5).Flows().{sum}")),
        "0"
    );
    let status = engine.status().history.unwrap();
    assert_eq!((status.revisions, status.evicted), (1, 0));
    clock.advance(hour);
    // The next change, or housekeeping, expires the revision.
    add(&engine, "n2", "b").unwrap();
    let status = engine.status().history.unwrap();
    assert_eq!((status.revisions, status.evicted), (0, 1));
    engine.stop();
}

/// Returns a capture file of UDP packets to port 53, one per second, starting in 2016.
fn trace(packets: u8) -> Vec<u8> {
    use crate::packet::{LinkType, PacketRef};
    use crate::pcap_file::{PcapWriter, Resolution};
    let link_type = LinkType::ETHERNET;
    let mut file = PcapWriter::new(Vec::new(), link_type, Resolution::Microseconds).unwrap();
    for i in 0..packets {
        let mut data = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 40];
        data.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, i, 10, 0, 1, 1]);
        data.extend([0x10, 0, 0, 53, 0, 20, 0, 0, 0, 1, 1, 0]);
        data.extend([0; 8]);
        let timestamp = Timestamp::from_ms(1_454_659_514_000 + 1000 * i64::from(i));
        let wire_len = 54;
        file.write(&PacketRef {
            link_type,
            timestamp,
            data: &data,
            wire_len,
        })
        .unwrap();
    }
    file.into_inner()
}

fn import(engine: &Engine, file: Vec<u8>) -> Result<ImportSummary, String> {
    let imported = engine.import("x", std::io::Cursor::new(file));
    imported.map_err(|error| crate::error_chain::Chain(&error).to_string())
}

#[test]
fn flows_of_a_file_are_stored_at_the_time_of_its_packets() {
    use crate::graph::history::{HistoryLimits, MemoryHistory};
    use crate::store::{FlowStoreLimits, MemoryFlowStore};
    let store = Arc::new(MemoryFlowStore::new(FlowStoreLimits::default()));
    let engine = engine(EngineOptions {
        flow_store: Some(store),
        history: Some(Arc::new(MemoryHistory::new(HistoryLimits::default()))),
        ..EngineOptions::new("h")
    });
    let imported = import(&engine, trace(3)).unwrap();
    assert_eq!(
        (imported.packets, imported.flows, imported.truncated),
        (3, 3, None)
    );
    let at = |query: &str| json(&engine, &format!("G.At(1454659514){query}"));
    assert_eq!(at(".Flows().Has('Application', 'DNS').Count()"), "1");
    assert_eq!(json(&engine, "G.At(1454659516, 5).Flows().Count()"), "3");
    assert_eq!(
        json(&engine, "G.Flows().Count()"),
        "0",
        "the flows are not live"
    );
    let metrics = json(&engine, "G.At(1454659516, 5).Flows().Metrics().Sum()");
    assert!(metrics.contains(r#""ABPackets":3"#), "{metrics}");
    import(&engine, trace(3)).unwrap();
    assert_eq!(
        json(&engine, "G.At(1454659516, 5).Flows().Count()"),
        "3",
        "the same file again"
    );
    engine.stop();
}

#[test]
fn flows_of_a_file_are_among_the_present_ones_without_a_store() {
    let clock = Arc::new(crate::time::ManualClock::new(Timestamp::from_ms(
        1_700_000_000_000,
    )));
    let engine = engine(EngineOptions {
        clock: clock.clone(),
        ..EngineOptions::new("h")
    });
    assert_eq!(import(&engine, trace(5)).unwrap().flows, 5);
    assert_eq!(
        json(&engine, "G.Flows().Has('Application', 'DNS').Count()"),
        "5"
    );
    let two = json(&engine, "G.Flows().Sort().Range(1, 3).Values('Network.A')");
    assert_eq!(two.matches("10.0.0.").count(), 2, "{two}");
    clock.advance(Duration::from_secs(700));
    until(|| json(&engine, "G.Flows().Count()") == "0");
    engine.stop();
}

#[test]
fn damage_in_a_file_is_an_error_and_a_missing_end_is_not() {
    let engine = engine(EngineOptions::new("h"));
    let mut cut = trace(2);
    cut.truncate(cut.len() - 3);
    let imported = import(&engine, cut).unwrap();
    assert_eq!(imported.packets, 1);
    assert!(imported.truncated.unwrap().starts_with("byte 94: "));
    assert_eq!(json(&engine, "G.Flows().Count()"), "1");
    let mut damaged = trace(3);
    damaged[94 + 8..94 + 12].fill(0xff);
    let error = import(&engine, damaged).unwrap_err();
    assert!(
        error.contains("byte 94: record of 4294967295 bytes"),
        "{error}"
    );
    for (file, wanted) in [
        (&b""[..], "byte 0: the file ends within its header"),
        (b"GET / HTTP/1.1", "byte 0: the file is not a capture file"),
    ] {
        let error = import(&engine, file.to_vec()).unwrap_err();
        assert!(error.contains(wanted), "{error}");
    }
    engine.stop();
}

#[test]
fn a_canceled_import_stores_what_was_read() {
    let engine = engine(EngineOptions::new("h"));
    let file = std::io::Cursor::new(trace(200));
    let options = ImportOptions::default().with_interrupt(&|| true);
    engine.import_with("x", file, options).unwrap();
    assert_ne!(json(&engine, "G.Flows().Count()"), "0");
    engine.stop();
}
