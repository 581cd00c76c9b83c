//! Tests of the reconciler without its thread.

use super::*;
use crate::api::{Defaults, ExpressionChecker};
use crate::capture::BpfCompiler;
use crate::engine::capture::mailbox::StartReply;
use crate::engine::capture::requests::CaptureAction;
use crate::engine::capture::{
    ControlTraffic, ListenAddresses, RingMemory, SwitchCaptures, TargetAddresses,
};
use crate::engine::fleet::AgentConnection;
use crate::engine::flow::FlowOptions;
use crate::engine::resource::Observer as _;
use crate::flow::FlowTableOptions;
use crate::graph::{Graph, Metadata, Origin};
use crate::gremlin::Limits;
use crate::proto::{Encoding, Message};
use crate::store::MemoryDocStore;
use crate::time::SystemClock;
use crate::topology::ServerAddress;
use crate::topology::ovsdb::SwitchExports;

fn reconciler(max_active: usize) -> Reconciler {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let graph = SharedGraph::new(Graph::new(), Arc::clone(&clock), Vec::new());
    let queries = QueryRunner {
        graph: Arc::new(graph),
        flows: Arc::new(FlowHub::new(FlowOptions::default())),
        clock: Arc::clone(&clock),
        time_zone: jiff::tz::TimeZone::UTC,
        limits: Limits::default(),
        filters: BpfCompiler::default(),
        activities: Arc::default(),
    };
    let (resources, _) = ResourceStore::open(Arc::new(MemoryDocStore::default())).unwrap();
    let opener = Opener {
        graph: Arc::clone(&queries.graph),
        flows: Arc::clone(&queries.flows),
        table: FlowTableOptions::default(),
        clock,
        origin: "agent.h".to_owned(),
        rings: RingMemory::new(8 << 20, 64 << 20),
        filters: BpfCompiler::default(),
        shards: 1,
        pcap_sockets: ListenAddresses::local(8_100..=8_132),
        switch: SwitchCaptures::new(
            SwitchExports::new(ServerAddress::Unix("/nowhere/db.sock".into())),
            ListenAddresses::local(0..=0),
            ListenAddresses::local(0..=0),
        ),
        targets: TargetAddresses::default(),
        control: ControlTraffic::default(),
    };
    let options = ReconcilerOptions {
        is_local: true,
        stats_interval: Duration::from_secs(1),
        max_active,
    };
    let (mailbox, resources) = (Arc::default(), Arc::new(resources));
    let (bus, links) = (Arc::default(), Arc::default());
    Reconciler::new(mailbox, resources, queries, bus, links, opener, options)
}

/// Returns the loopback interface, on which a capture runs if the test has the privilege.
fn loopback() -> Node {
    let metadata = serde_json::from_str(
        r#"{"Name":"lo","Type":"device","EncapType":"loopback","TID":"t","LinkFlags":["UP"]}"#,
    );
    let metadata: Metadata = metadata.unwrap();
    Node::new("lo", metadata, SystemClock.now()).with_origin(Origin::new("agent", "h"))
}

fn key(capture: &str) -> NodeCaptureKey {
    NodeCaptureKey {
        capture: capture.to_owned(),
        node: "lo".into(),
    }
}

fn spec(capture: &str) -> Arc<CaptureSpec> {
    Arc::new(CaptureSpec {
        uuid: capture.to_owned(),
        ..CaptureSpec::default()
    })
}

fn shown(reconciler: &Reconciler) -> String {
    let mut text = String::new();
    reconciler.graph.read(&mut |graph| {
        let node = graph.node(&"lo".into());
        let captures = node.and_then(|node| node.metadata.get("Captures"));
        text = serde_json::to_string(&captures).unwrap();
    });
    text
}

#[test]
fn a_capture_whose_node_is_deleted_while_it_is_opened_is_closed_at_once() {
    let mut reconciler = reconciler(8);
    reconciler.start(key("c"), &spec("c"), &loopback());
    assert!(reconciler.node_captures.is_empty());
    assert_eq!(reconciler.active, 0);
}

#[test]
fn a_capture_whose_node_is_missing_is_dropped_in_a_round() {
    let mut reconciler = reconciler(8);
    let graph = Arc::clone(&reconciler.graph);
    graph.update_as(None, |graph, _| graph.add_node(loopback()).unwrap());
    reconciler.start(key("c"), &spec("c"), &loopback());
    assert_eq!(reconciler.node_captures.len(), 1);
    graph.update_as(None, |graph, now| {
        graph.delete_node(&"lo".into(), now).unwrap();
    });
    reconciler.start_round();
    assert!(reconciler.node_captures.is_empty());
    assert_eq!(reconciler.active, 0);
}

#[test]
#[ignore = "needs root: captures on the loopback interface"]
fn a_capture_beyond_the_limit_is_shown_on_its_node_and_starts_when_another_ends() {
    let mut reconciler = reconciler(1);
    let graph = Arc::clone(&reconciler.graph);
    graph.update_as(None, |graph, _| graph.add_node(loopback()).unwrap());
    reconciler.start(key("a"), &spec("a"), &loopback());
    assert_eq!(reconciler.active, 1, "{}", shown(&reconciler));
    reconciler.start(key("b"), &spec("b"), &loopback());
    let limit = "limit of 1 active captures reached (agent.capture.max_active)";
    assert!(shown(&reconciler).contains(limit), "{}", shown(&reconciler));
    reconciler.end(Vec::new(), vec!["a".to_owned()]);
    let pause = Pause::default();
    let pending = reconciler.mailbox.wait(&SystemClock, pause, None);
    assert!(pending.graph_changed, "a new round is requested");
    reconciler.start(key("b"), &spec("b"), &loopback());
    assert!(
        !shown(&reconciler).contains("Error"),
        "{}",
        shown(&reconciler)
    );
    reconciler.stop_where(|_| Some(StopReason::Shutdown));
    assert_eq!(
        (reconciler.active, shown(&reconciler).as_str()),
        (0, "null")
    );
}

/// Returns an interface of an agent.
fn interface_of(host: &str) -> Node {
    let metadata: Metadata = serde_json::from_str(r#"{"Name":"eth0","Type":"veth"}"#).unwrap();
    Node::new("if1", metadata, SystemClock.now()).with_origin(Origin::new("agent", host))
}

/// A checker that accepts every expression.
struct AnyExpression;

impl ExpressionChecker for AnyExpression {
    fn check_gremlin(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn check_bpf(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

#[test]
fn a_changed_capture_is_started_again_with_its_new_options() {
    let mut reconciler = reconciler(8);
    let links = Arc::clone(&reconciler.agents.links);
    let graph = Arc::clone(&reconciler.graph);
    graph.update_as(None, |graph, _| graph.add_node(interface_of("a")).unwrap());
    let agent = links.connect("a", Encoding::Json);
    let capture = CaptureSpec::new("G.V('if1')");
    let resources = Arc::clone(&reconciler.resources);
    let capture = resources.create(capture, None, SystemClock.now()).unwrap();
    reconciler.add_new_captures();
    reconciler.evaluate(&capture.uuid);
    assert_eq!(sent(&agent), ["Start"]);
    let changed = resources.patch(
        &capture.uuid,
        r#"{"Name": "new"}"#,
        &Defaults::default(),
        &AnyExpression,
    );
    let mailbox = Arc::clone(&reconciler.mailbox);
    mailbox.updated(&changed.unwrap().unwrap());
    reconciler.handle(mailbox.wait(&SystemClock, Pause::default(), None));
    reconciler.evaluate(&capture.uuid);
    assert_eq!(sent(&agent), ["Stop", "Start"]);
    assert_eq!(reconciler.selectors[&capture.uuid].spec.name, "new");
}

/// Returns the types of the messages that wait for an agent.
fn sent(connection: &AgentConnection) -> Vec<String> {
    let mut kinds = Vec::new();
    while let Some(message) = connection.try_next() {
        let message = Message::decode(&message, Encoding::Json).unwrap();
        kinds.push(message.kind);
    }
    kinds
}

#[test]
fn a_capture_is_started_once_on_the_node_of_an_agent_and_stopped_with_its_resource() {
    let mut reconciler = reconciler(8);
    let links = Arc::clone(&reconciler.agents.links);
    let graph = Arc::clone(&reconciler.graph);
    graph.update_as(None, |graph, _| graph.add_node(interface_of("a")).unwrap());
    let spec = spec("c");
    let query = CaptureSpec {
        gremlin_query: "G.V('if1')".to_owned(),
        ..CaptureSpec::clone(&spec)
    };
    let selector = Selector::new(Arc::new(query));
    reconciler.selectors.insert("c".to_owned(), selector);
    reconciler.evaluate("c");
    assert_eq!(
        reconciler.agents.captures.len(),
        0,
        "the agent is not connected"
    );
    let agent = links.connect("a", Encoding::Json);
    reconciler.evaluate("c");
    reconciler.evaluate("c");
    assert_eq!(sent(&agent), ["Start"]);
    let key = NodeCaptureKey {
        capture: "c".to_owned(),
        node: "if1".into(),
    };
    let reply = |status| StartReply {
        host: "a".to_owned(),
        key: key.clone(),
        status,
    };
    reconciler.handle_replies(vec![reply(500)]);
    reconciler.evaluate("c");
    assert_eq!(sent(&agent), ["Start"], "after a failure");
    reconciler.handle_replies(vec![reply(200), reply(500)]);
    reconciler.evaluate("c");
    assert!(sent(&agent).is_empty(), "it runs");
    reconciler.stop_where(|_| Some(StopReason::Shutdown));
    assert!(sent(&agent).is_empty(), "captures survive the analyzer");
    reconciler.end(Vec::new(), vec!["c".to_owned()]);
    assert_eq!(sent(&agent), ["Stop"]);
    assert_eq!(reconciler.agents.captures.len(), 0);
}

fn key_on(capture: &str, node: &str) -> NodeCaptureKey {
    NodeCaptureKey {
        capture: capture.to_owned(),
        node: node.into(),
    }
}

fn reply(key: &NodeCaptureKey, status: i64) -> StartReply {
    StartReply {
        host: "a".to_owned(),
        key: key.clone(),
        status,
    }
}

/// Shows a capture on the interface of the agent.
fn show_on_agent(reconciler: &Reconciler, capture: &str, state: &str) {
    let json = format!(r#"[{{"ID":"{capture}","State":"{state}"}}]"#);
    let captures: crate::value::Value = serde_json::from_str(&json).unwrap();
    reconciler.graph.update_as(None, |graph, now| {
        let op = MetadataOp::set("Captures", captures);
        graph.patch_node(&"if1".into(), &[op], now).unwrap();
    });
}

/// Returns a reconciler with the connected agent `a`.
fn with_agent() -> (Reconciler, AgentConnection) {
    let reconciler = reconciler(8);
    let agent = reconciler.agents.links.connect("a", Encoding::Json);
    let graph = &reconciler.graph;
    graph.update_as(None, |graph, _| graph.add_node(interface_of("a")).unwrap());
    (reconciler, agent)
}

#[test]
fn a_deleted_capture_is_stopped_on_every_node_that_a_start_was_sent_to() {
    let (mut reconciler, agent) = with_agent();
    let (key, node) = (key_on("c", "if1"), interface_of("a"));
    let start = |reconciler: &mut Reconciler| {
        reconciler.start_on_agent(&key, &spec("c"), &node);
        assert_eq!(sent(&agent), ["Start"]);
    };
    let delete = |reconciler: &mut Reconciler| {
        reconciler.end(Vec::new(), vec!["c".to_owned()]);
        sent(&agent)
    };
    start(&mut reconciler);
    assert_eq!(delete(&mut reconciler), ["Stop"], "no reply");
    start(&mut reconciler);
    reconciler.handle_replies(vec![reply(&key, 500)]);
    assert_eq!(delete(&mut reconciler), ["Stop"], "failed");
    start(&mut reconciler);
    reconciler.handle_replies(vec![reply(&key, 200)]);
    show_on_agent(&reconciler, "c", "active");
    reconciler.confirm_on_agents();
    show_on_agent(&reconciler, "c", "error");
    reconciler.confirm_on_agents();
    assert_eq!(delete(&mut reconciler), ["Stop"], "ended with an error");
    show_on_agent(&reconciler, "c", "active");
    assert_eq!(delete(&mut reconciler), ["Stop"], "started by a former run");
    assert!(delete(&mut reconciler).contains(&"Stop".to_owned()));
    reconciler.graph.update_as(None, |graph, now| {
        let op = MetadataOp::delete("Captures");
        graph.patch_node(&"if1".into(), &[op], now).unwrap();
    });
    assert!(delete(&mut reconciler).is_empty(), "nothing runs");
}

#[test]
fn a_capture_that_is_created_while_its_agent_connects_is_not_stopped() {
    let (mut reconciler, agent) = with_agent();
    let now = reconciler.clock.now();
    let created = reconciler
        .resources
        .create(CaptureSpec::default(), None, now);
    show_on_agent(&reconciler, &created.unwrap().uuid, "active");
    reconciler.handle(Pending {
        created: true,
        synced_agents: HashSet::from(["a".to_owned()]),
        ..Pending::default()
    });
    assert!(sent(&agent).is_empty());
    reconciler.selectors.clear();
    reconciler.handle(Pending {
        synced_agents: HashSet::from(["a".to_owned()]),
        ..Pending::default()
    });
    assert_eq!(sent(&agent), ["Stop"], "no resource describes it");
}

/// Fills all slots with failed captures.
fn fill(reconciler: &mut Reconciler) {
    for number in 0..MAX_NODE_CAPTURES {
        let capture = NodeCapture::failed(spec("x"), "x", "x".to_owned());
        let key = key_on(&format!("x{number}"), "x");
        reconciler.node_captures.insert(key, capture);
    }
}

#[test]
fn a_requested_capture_beyond_the_limit_is_rejected() {
    let mut reconciler = reconciler(8);
    let graph = Arc::clone(&reconciler.graph);
    graph.update_as(None, |graph, _| graph.add_node(loopback()).unwrap());
    fill(&mut reconciler);
    assert_eq!(served(&mut reconciler, CaptureAction::Start, "lo"), 500);
    assert_eq!(reconciler.node_captures.len(), MAX_NODE_CAPTURES);
    assert_eq!(shown(&reconciler), "null");
}

#[test]
fn a_running_capture_of_an_agent_is_not_beyond_the_limit() {
    let (mut reconciler, agent) = with_agent();
    let query = CaptureSpec {
        gremlin_query: "G.V('if1')".to_owned(),
        ..CaptureSpec::clone(&spec("c"))
    };
    let selector = Selector::new(Arc::new(query));
    reconciler.selectors.insert("c".to_owned(), selector);
    reconciler.evaluate("c");
    fill(&mut reconciler);
    reconciler.evaluate("c");
    let problem = |reconciler: &Reconciler| {
        let problem = reconciler.selectors["c"].problem();
        problem.map(str::to_owned)
    };
    assert_eq!(problem(&reconciler), None);
    assert_eq!(sent(&agent), ["Start"]);
    reconciler.agents.captures.take(|_| true);
    reconciler.evaluate("c");
    assert!(problem(&reconciler).unwrap().contains("limit of 10000"));
}

#[test]
fn the_status_names_the_nodes_of_agents() {
    let (mut reconciler, _agent) = with_agent();
    reconciler.start_on_agent(&key_on("c", "if1"), &spec("c"), &interface_of("a"));
    show_on_agent(&reconciler, "c", "active");
    reconciler.confirm_on_agents();
    let captures = crate::engine::resource::Observer::decorate(
        &*reconciler.mailbox,
        vec![Arc::new(CaptureSpec::clone(&spec("c")))],
    );
    let nodes = &captures[0].status["Nodes"];
    let wanted = serde_json::json!([{"ID": "if1", "Name": "eth0", "State": "active"}]);
    assert_eq!((captures[0].count, nodes), (1, &wanted));
}

/// Serves a request of an analyzer; returns the status of the reply, or 0 if it is missing.
fn served(reconciler: &mut Reconciler, action: CaptureAction, node: &str) -> i64 {
    let (send, status) = std::sync::mpsc::channel();
    reconciler.serve(vec![CaptureRequest {
        action,
        node: node.into(),
        spec: spec("c"),
        done: Box::new(move |status| {
            send.send(status).ok();
        }),
    }]);
    status.try_recv().unwrap_or(0)
}

#[test]
fn requests_for_unknown_nodes_and_captures_are_rejected() {
    let mut reconciler = reconciler(8);
    let graph = Arc::clone(&reconciler.graph);
    graph.update_as(None, |graph, now| {
        let metadata: Metadata = serde_json::from_str(r#"{"Name":"h","Type":"host"}"#).unwrap();
        let host = Node::new("h", metadata, now).with_origin(Origin::new("agent", "h"));
        graph.add_node(host).unwrap();
        graph.add_node(interface_of("other")).unwrap();
    });
    assert_eq!(served(&mut reconciler, CaptureAction::Start, "absent"), 404);
    assert_eq!(
        served(&mut reconciler, CaptureAction::Start, "if1"),
        404,
        "of another host"
    );
    assert_eq!(
        served(&mut reconciler, CaptureAction::Start, "h"),
        500,
        "no interface"
    );
    assert_eq!(served(&mut reconciler, CaptureAction::Stop, "h"), 404);
}

#[test]
#[ignore = "needs root: captures on the loopback interface"]
fn a_requested_capture_runs_until_it_is_stopped() {
    let mut reconciler = reconciler(8);
    let graph = Arc::clone(&reconciler.graph);
    graph.update_as(None, |graph, _| graph.add_node(loopback()).unwrap());
    assert_eq!(served(&mut reconciler, CaptureAction::Start, "lo"), 200);
    assert_eq!(
        served(&mut reconciler, CaptureAction::Start, "lo"),
        200,
        "the second time"
    );
    assert_eq!(reconciler.active, 1);
    assert_eq!(served(&mut reconciler, CaptureAction::Stop, "lo"), 200);
    assert_eq!(served(&mut reconciler, CaptureAction::Stop, "lo"), 404);
    assert_eq!(
        (reconciler.active, shown(&reconciler).as_str()),
        (0, "null")
    );
}
