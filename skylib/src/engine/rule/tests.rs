use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::Counters;
use super::rule_set::RuleSet;
use crate::api::{Defaults, EdgeRule, NodeRule, Resource};
use crate::engine::monotonic;
use crate::engine::replication::RULE_AUTHOR;
use crate::engine::{Collection, Engine, EngineOptions, Replication};
use crate::graph::{Edge, GraphEvent, Metadata, Node, NodeId, Origin};
use crate::proto::{BroadcastMessage, GraphMessage, Message, Object};
use crate::time::{Clock, SystemClock};

fn engine() -> Engine {
    Engine::start(EngineOptions::new("h")).unwrap()
}

fn metadata(json: &str) -> Metadata {
    serde_json::from_str(json).unwrap()
}

fn add(engine: &Engine, id: &str, json: &str) {
    engine.graph().update_as(None, |graph, now| {
        let node = Node::new(id, metadata(json), now).with_origin(Origin::new("pub", "p"));
        graph.add_node(node).unwrap();
    });
}

fn set(engine: &Engine, id: &str, json: &str) {
    engine.graph().update_as(None, |graph, now| {
        let id = NodeId::from(id);
        graph.set_node_metadata(&id, metadata(json), now).unwrap();
    });
}

fn delete(engine: &Engine, id: &str) {
    engine.graph().update_as(None, |graph, now| {
        graph.delete_node(&NodeId::from(id), now).unwrap();
    });
}

fn link(engine: &Engine, id: &str, parent: &str, child: &str, relation: &str) {
    engine.graph().update_as(None, |graph, now| {
        let metadata = Metadata::from_iter([("RelationType", relation)]);
        graph
            .add_edge(Edge::new(id, parent, child, metadata, now))
            .unwrap();
    });
}

fn ask(engine: &Engine, query: &str) -> String {
    let mut json = Vec::new();
    engine.query(query).unwrap().write_json(&mut json).unwrap();
    String::from_utf8(json).unwrap()
}

/// Waits until a query has an answer.
#[track_caller]
fn becomes(engine: &Engine, query: &str, answer: &str) {
    let began = SystemClock.now();
    loop {
        let now = ask(engine, query);
        if now == answer {
            return;
        }
        let waited = SystemClock.now().as_ms() - began.as_ms();
        assert!(waited < 60_000, "{query}: {now}, not {answer}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until the rules have processed all events and causes them no further.
#[track_caller]
fn settled(engine: &Engine) {
    let mut last = engine.status().rules;
    for _ in 0..500 {
        std::thread::sleep(Duration::from_millis(30));
        let now = engine.status().rules;
        if now == last {
            return;
        }
        last = now;
    }
    panic!("the rules never settle: {last:?}");
}

fn update_rule(engine: &Engine, query: &str, metadata: &str) -> String {
    let json = format!(r#"{{"Action":"update","Query":"{query}","Metadata":{metadata}}}"#);
    let rule = engine.node_rules().create(&json, None).unwrap();
    rule.uuid.clone()
}

fn create_rule(engine: &Engine, metadata: &str) -> String {
    let json = format!(r#"{{"Action":"create","Metadata":{metadata}}}"#);
    let rule = engine.node_rules().create(&json, None).unwrap();
    rule.uuid.clone()
}

fn edge_rule(engine: &Engine, src: &str, dst: &str, metadata: &str) -> String {
    let json = format!(r#"{{"Src":"{src}","Dst":"{dst}","Metadata":{metadata}}}"#);
    let rule = engine.edge_rules().create(&json, None).unwrap();
    rule.uuid.clone()
}

#[test]
fn peers_receive_the_changes_of_rules_except_those_of_their_own_nodes() {
    let engine = engine();
    let replication = engine.replication();
    let peer = replication.connect("b", 1, false).unwrap();
    let text = r#"{"ID":"foreign","Metadata":{},"Origin":"pub.p","Revision":1}"#;
    let added = Message::new("Graph", "NodeAdded", Object::Json(text.into()));
    let added = GraphMessage::decode(&added).unwrap().unwrap();
    assert!(peer.apply(vec![added]).rejected.is_empty());
    let is_sent = |id: &str, author: u64| {
        let node = Node::new(id, Metadata::new(), SystemClock.now());
        let event = GraphEvent::NodeUpdated {
            node: Arc::new(node),
            ops: None,
        };
        let message = BroadcastMessage::graph_event(event).with_author(Some(author));
        assert!(!Replication::is_of_cluster(&message));
        replication.is_sent_to_peers(&message)
    };
    assert!(is_sent("own", RULE_AUTHOR) && is_sent("own", 7));
    assert!(!is_sent("foreign", RULE_AUTHOR) && is_sent("foreign", 7));
}

#[test]
fn a_created_node_lives_as_long_as_a_rule_wants_it() {
    let engine = engine();
    let one = create_rule(&engine, r#"{"Name":"n1","Type":"fabric","from":1}"#);
    let all = "G.V().Has('Name','n1').Values('from')";
    becomes(&engine, all, "[1]");
    let node = engine.nodes().get("7a63b598-7fa3-57bd-8a58-375784f5ec68");
    let node = node.expect("the id is derived from type and name");
    assert_eq!((&*node.origin, &*node.host), ("analyzer.h", ""));
    assert_eq!(node.revision, 1);
    assert_eq!(
        node.metadata.get("Probe").unwrap().as_text(),
        Some("fabric")
    );
    let tid = node.metadata.get("TID").unwrap().as_text();
    assert_eq!(tid, Some("7a63b598-7fa3-57bd-8a58-375784f5ec68"));

    let two = create_rule(&engine, r#"{"Name":"n1","Type":"fabric","from":2}"#);
    settled(&engine);
    assert_eq!(
        ask(&engine, all),
        "[1]",
        "the first rule determines the metadata"
    );
    engine.nodes().delete(&node.id.to_string()).unwrap();
    becomes(&engine, all, "[1]");
    engine.node_rules().delete(&one).unwrap();
    becomes(&engine, all, "[2]");
    engine.node_rules().delete(&two).unwrap();
    becomes(&engine, "G.V().Count()", "0");
}

#[test]
fn what_rules_made_is_restored_when_something_else_changes_it() {
    let engine = engine();
    create_rule(&engine, r#"{"Name":"n1","Type":"x","w":1}"#);
    create_rule(&engine, r#"{"Name":"n1","Type":"x","w":9}"#);
    create_rule(&engine, r#"{"Name":"n2","Type":"x"}"#);
    update_rule(&engine, "G.V().Has('Name','n1')", r#"{"w":2}"#);
    let (src, dst) = ("G.V().Has('Name','n1')", "G.V().Has('Name','n2')");
    edge_rule(&engine, src, dst, r#"{"RelationType":"layer2","w":5}"#);
    edge_rule(&engine, src, dst, r#"{"RelationType":"layer2","w":6}"#);
    let edge = "G.E().Has('RelationType','layer2','w',5).Count()";
    let node = "G.V().Has('Type','x','Name','n1','w',2).Count()";
    becomes(&engine, edge, "1");
    becomes(&engine, node, "1");
    let edge_id = engine.edges().all().unwrap().pop().unwrap().id.clone();
    let node_id = NodeId::derived("x/n1");
    engine.graph().update_as(None, |graph, now| {
        let wrong = metadata(r#"{"RelationType":"zz","more":1}"#);
        graph.set_edge_metadata(&edge_id, wrong, now).unwrap();
        let wrong = metadata(r#"{"Name":"other","Type":"x","w":7,"more":1}"#);
        graph.set_node_metadata(&node_id, wrong, now).unwrap();
    });
    becomes(&engine, edge, "1");
    becomes(&engine, node, "1");
    assert_eq!(
        ask(&engine, "G.E().Has('more',1).Count()"),
        "1",
        "further keys remain"
    );
    assert_eq!(ask(&engine, "G.V().Has('more',1).Count()"), "1");
    settled(&engine);
    assert_eq!(engine.status().rules.suspensions, 0);
}

#[test]
fn metadata_is_set_now_later_and_again_when_it_is_taken_away() {
    let engine = engine();
    add(&engine, "a", r#"{"kind":"u"}"#);
    let rule = update_rule(
        &engine,
        "G.V().Has('kind','u')",
        r#"{"color":"red","Rack.Unit":7}"#,
    );
    let units = "G.V().Has('color','red').Values('Rack.Unit')";
    becomes(&engine, units, "[7]");
    add(&engine, "b", r#"{"kind":"u"}"#);
    add(&engine, "c", r#"{"kind":"other"}"#);
    becomes(&engine, units, "[7,7]");
    set(&engine, "c", r#"{"kind":"u"}"#);
    becomes(&engine, units, "[7,7,7]");
    set(&engine, "a", r#"{"kind":"u","color":"blue"}"#);
    becomes(&engine, units, "[7,7,7]");
    // A node that no longer matches retains what it has, and loses nothing with the rule.
    set(&engine, "b", r#"{"color":"red"}"#);
    engine.node_rules().delete(&rule).unwrap();
    becomes(&engine, "G.V().HasKey('Rack').Count()", "0");
    assert_eq!(
        ask(&engine, "G.V().HasKey('color').Values('@ID')"),
        r#"["b"]"#
    );
}

#[test]
fn the_last_rule_wins_and_a_deletion_restores_what_the_others_require() {
    let engine = engine();
    add(&engine, "n", r#"{"kind":"u"}"#);
    let query = "G.V().Has('kind','u')";
    let one = update_rule(&engine, query, r#"{"a":1,"b":1}"#);
    let two = update_rule(&engine, query, r#"{"a":2,"c":2}"#);
    let a = "G.V('n').Values('a')";
    becomes(&engine, a, "[2]");
    settled(&engine);
    let changes = engine.status().rules.changes;
    set(&engine, "n", r#"{"kind":"u","a":2,"b":1,"c":2,"more":1}"#);
    settled(&engine);
    assert_eq!(
        engine.status().rules.changes,
        changes,
        "nothing flips to and fro"
    );
    engine.node_rules().delete(&two).unwrap();
    becomes(&engine, a, "[1]");
    assert_eq!(ask(&engine, "G.V('n').HasKey('c').Count()"), "0");
    engine.node_rules().delete(&one).unwrap();
    becomes(&engine, "G.V('n').HasKey('a').Count()", "0");
    assert_eq!(ask(&engine, "G.V('n').HasKey('b').Count()"), "0");
}

#[test]
fn a_rule_may_build_on_another_one() {
    let engine = engine();
    update_rule(&engine, "G.V().Has('b',1)", r#"{"a":2}"#);
    update_rule(&engine, "G.V().Has('kind','u')", r#"{"a":1}"#);
    update_rule(&engine, "G.V().Has('a',1)", r#"{"b":1}"#);
    add(&engine, "n", r#"{"kind":"u"}"#);
    becomes(&engine, "G.V('n').Values('b')", "[1]");
    settled(&engine);
    assert_eq!(
        ask(&engine, "G.V('n').Values('a')"),
        "[1]",
        "the order of creation counts"
    );
    assert_eq!(engine.status().rules.suspensions, 0);
}

#[test]
fn rules_that_trigger_each_other_are_suspended_until_something_else_changes_the_node() {
    let engine = engine();
    for (from, to) in [(2, 3), (1, 2), (3, 1)] {
        update_rule(
            &engine,
            &format!("G.V().Has('a',{from})"),
            &format!(r#"{{"a":{to}}}"#),
        );
    }
    add(&engine, "n", r#"{"a":1}"#);
    let suspended = |count| {
        let began = SystemClock.now();
        while engine.status().rules.suspensions < count {
            assert!(SystemClock.now().as_ms() - began.as_ms() < 60_000);
            std::thread::sleep(Duration::from_millis(2));
        }
        settled(&engine);
    };
    suspended(1);
    // Each new rule starts a new count.
    assert!(engine.status().rules.changes <= 4 * 32);
    // Other nodes are served, and a change from outside starts a new count.
    update_rule(&engine, "G.V().Has('kind','u')", r#"{"x":1}"#);
    add(&engine, "m", r#"{"kind":"u"}"#);
    becomes(&engine, "G.V('m').Values('x')", "[1]");
    set(&engine, "n", r#"{"a":1,"more":1}"#);
    suspended(2);
}

#[test]
fn a_rule_with_a_walk_follows_the_graph() {
    let engine = engine();
    update_rule(&engine, "G.V().Has('Name','a').Out()", r#"{"near":true}"#);
    add(&engine, "a", r#"{"Name":"a"}"#);
    add(&engine, "b", r#"{"Name":"b"}"#);
    settled(&engine);
    assert_eq!(ask(&engine, "G.V().HasKey('near').Count()"), "0");
    link(&engine, "e", "a", "b", "x");
    becomes(&engine, "G.V().HasKey('near').Values('@ID')", r#"["b"]"#);
    set(&engine, "b", r#"{"Name":"b"}"#);
    becomes(&engine, "G.V().HasKey('near').Values('@ID')", r#"["b"]"#);
}

#[test]
fn what_captures_trust_is_not_changed() {
    let engine = engine();
    engine.graph().update_as(None, |graph, now| {
        let metadata = metadata(r#"{"Name":"eth0","Type":"netns","Path":"/run/x"}"#);
        let node = Node::new("own", metadata, now).with_origin(Origin::new("agent", "h"));
        graph.add_node(node).unwrap();
    });
    let rule = update_rule(
        &engine,
        "G.V()",
        r#"{"Path":"/proc/1/ns/net","Type.x":1,"k":1}"#,
    );
    becomes(&engine, "G.V('own').Values('k')", "[1]");
    engine.node_rules().delete(&rule).unwrap();
    becomes(&engine, "G.V().HasKey('k').Count()", "0");
    assert_eq!(ask(&engine, "G.V('own').Values('Path')"), r#"["/run/x"]"#);
}

#[test]
fn an_edge_follows_its_ends() {
    let engine = engine();
    let (src, dst) = ("G.V().Has('Name','x1')", "G.V().Has('Name','x2')");
    let rule = edge_rule(&engine, src, dst, r#"{"RelationType":"layer2","w":5}"#);
    add(&engine, "x2", r#"{"Name":"x2"}"#);
    add(&engine, "x1", r#"{"Name":"x1"}"#);
    let edges = "G.E().Count()";
    becomes(&engine, edges, "1");
    let edge = engine.edges().all().unwrap().pop().unwrap();
    assert_eq!((&*edge.origin, &*edge.host), ("analyzer.h", "h"));
    assert_eq!(edge.metadata.get("w").unwrap().as_int(), Some(5));
    engine.edges().delete(&edge.id.to_string()).unwrap();
    becomes(&engine, edges, "1");
    delete(&engine, "x1");
    becomes(&engine, edges, "0");
    add(&engine, "x1", r#"{"Name":"x1"}"#);
    becomes(&engine, edges, "1");
    set(&engine, "x1", r#"{"Name":"renamed"}"#);
    becomes(&engine, edges, "0");
    set(&engine, "x1", r#"{"Name":"x1"}"#);
    becomes(&engine, edges, "1");
    engine.edge_rules().delete(&rule).unwrap();
    becomes(&engine, edges, "0");
}

#[test]
fn nodes_that_are_linked_already_are_not_linked_again() {
    let engine = engine();
    add(&engine, "a", r#"{"Name":"a"}"#);
    add(&engine, "b", r#"{"Name":"b"}"#);
    link(&engine, "foreign", "b", "a", "layer2");
    let (a, b) = ("G.V().Has('Name','a')", "G.V().Has('Name','b')");
    let layer2 = edge_rule(&engine, a, b, r#"{"RelationType":"layer2"}"#);
    let wire = edge_rule(&engine, a, b, r#"{"RelationType":"wire","w":1}"#);
    let again = edge_rule(&engine, a, b, r#"{"RelationType":"wire","w":2}"#);
    let wires = |w: u8| format!("G.E().Has('RelationType','wire','w',{w}).Count()");
    becomes(&engine, &wires(1), "1");
    settled(&engine);
    assert_eq!(ask(&engine, "G.E().Count()"), "2");
    engine.edge_rules().delete(&layer2).unwrap();
    engine.edge_rules().delete(&wire).unwrap();
    becomes(&engine, &wires(2), "1");
    engine.edge_rules().delete(&again).unwrap();
    becomes(&engine, "G.E().Count()", "1");
    assert!(engine.edges().get("foreign").is_some());
}

#[test]
fn the_source_is_the_node_created_first() {
    let engine = engine();
    let clock = SystemClock;
    for id in ["s1", "s2", "s0"] {
        add(&engine, id, r#"{"kind":"s"}"#);
        let added = clock.now();
        while clock.now() == added {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    add(&engine, "dst", r#"{"Name":"dst"}"#);
    let rule = edge_rule(
        &engine,
        "G.V().Has('kind','s')",
        "G.V().Has('Name','dst')",
        r#"{"RelationType":"layer2"}"#,
    );
    let source = "G.V('dst').In().Values('@ID')";
    becomes(&engine, source, r#"["s1"]"#);
    add(&engine, "s3", r#"{"kind":"s"}"#);
    settled(&engine);
    assert_eq!(ask(&engine, source), r#"["s1"]"#);
    delete(&engine, "s1");
    becomes(&engine, source, r#"["s2"]"#);
    engine.edge_rules().delete(&rule).unwrap();
    becomes(&engine, "G.E().Count()", "0");
}

#[test]
fn a_node_has_one_owner() {
    let engine = engine();
    for id in ["p", "q", "r", "c"] {
        add(&engine, id, &format!(r#"{{"Name":"{id}"}}"#));
    }
    link(&engine, "foreign", "p", "c", "ownership");
    let rule = |owner: &str| {
        let src = format!("G.V('{owner}')");
        edge_rule(
            &engine,
            &src,
            "G.V('c')",
            r#"{"RelationType":"ownership","w":1}"#,
        )
    };
    let first = rule("q");
    let owners = "G.V('c').In().Values('@ID')";
    becomes(&engine, owners, r#"["q"]"#);
    let second = rule("r");
    becomes(&engine, owners, r#"["r"]"#);
    assert_eq!(ask(&engine, "G.E().HasKey('w').Count()"), "0");
    engine.edge_rules().delete(&second).unwrap();
    becomes(&engine, owners, r#"["q"]"#);
    engine.edge_rules().delete(&first).unwrap();
    becomes(&engine, owners, "null");
    assert_eq!(engine.status().rules.suspensions, 0);
}

#[test]
fn lost_events_are_made_up_for() {
    let engine = engine();
    update_rule(&engine, "G.V().Has('kind','u')", r#"{"x":1}"#);
    edge_rule(
        &engine,
        "G.V('n1')",
        "G.V('n2')",
        r#"{"RelationType":"wire"}"#,
    );
    engine.graph().update_as(None, |graph, now| {
        for i in 0..1_000 {
            let node = Node::new(format!("n{i}"), metadata(r#"{"kind":"u"}"#), now);
            graph.add_node(node).unwrap();
        }
    });
    becomes(&engine, "G.V().Has('x',1).Count()", "1000");
    becomes(&engine, "G.E().Count()", "1");
    assert!(engine.status().rules.overruns > 0);
}

#[test]
fn stored_rules_apply_at_the_start() {
    let documents = Arc::new(crate::store::MemoryDocStore::default());
    let options = || EngineOptions::new("h").with_documents(Arc::clone(&documents) as _);
    let first = Engine::start(options()).unwrap();
    create_rule(&first, r#"{"Name":"k1","Type":"x"}"#);
    create_rule(&first, r#"{"Name":"k2","Type":"x"}"#);
    let (src, dst) = ("G.V().Has('Name','k1')", "G.V().Has('Name','k2')");
    edge_rule(&first, src, dst, r#"{"RelationType":"wire"}"#);
    becomes(&first, "G.V().Has('Name','k1').Out().Count()", "1");
    first.stop();
    let second = Engine::start(options()).unwrap();
    becomes(&second, "G.V().Has('Name','k1').Out().Count()", "1");
}

#[test]
fn a_rule_hides_no_update_of_the_owner() {
    let engine = engine();
    update_rule(&engine, "G.V().Has('kind','u')", r#"{"x":1}"#);
    add(&engine, "n", r#"{"kind":"u"}"#);
    becomes(&engine, "G.V('n').Values('x')", "[1]");
    let revision = || engine.nodes().get("n").unwrap().revision;
    assert_eq!(revision(), 2, "a change by a rule is a revision");
    let next = engine.graph().update_as(None, |graph, now| {
        let mut node = Node::new("n", metadata(r#"{"kind":"u","state":"DOWN"}"#), now);
        node.revision = 2;
        graph.sync_node(&node)
    });
    assert_eq!(next, Ok(true), "the publisher's second revision is news");
    becomes(&engine, "G.V('n').Has('state','DOWN').Values('x')", "[1]");
    assert_eq!(revision(), 4);
    let (old, new) = engine.graph().update_as(None, |graph, now| {
        let mut patch = |revision| {
            graph
                .sync_patch_node(&"n".into(), revision, now, &[])
                .unwrap()
        };
        (patch(2), patch(3))
    });
    assert!(!old && new, "the revisions of the publisher are compared");
}

/// Returns a set of rules on a graph with 2000 nodes, of which a query of a rule examines all.
fn set_of(node_rules: &[&str], edge_rules: &[(&str, &str)]) -> (Engine, RuleSet, Counters) {
    let engine = engine();
    engine.graph().update_as(None, |graph, now| {
        for i in 0..2_000 {
            let node = Node::new(format!("n{i}"), metadata(r#"{"kind":"u"}"#), now);
            graph.add_node(node).unwrap();
        }
    });
    let mut set = RuleSet::new(engine.0.rules.queries.clone(), "h");
    let counters = Counters::default();
    let node_rules: Vec<(u64, Arc<NodeRule>)> = (1..)
        .zip(node_rules.iter().map(|json| {
            let rule = NodeRule::read(json, &Defaults::default()).unwrap();
            Arc::new(rule)
        }))
        .collect();
    let edge_rules: Vec<(u64, Arc<EdgeRule>)> = (100..)
        .zip(edge_rules.iter().map(|(src, dst)| {
            let json =
                format!(r#"{{"Src":"{src}","Dst":"{dst}","Metadata":{{"RelationType":"x"}}}}"#);
            Arc::new(EdgeRule::read(&json, &Defaults::default()).unwrap())
        }))
        .collect();
    set.update_rules(&node_rules, &edge_rules, &counters);
    (engine, set, counters)
}

/// Applies rules whose queries fail at first, and again when that is due.
fn settle_after_failure(set: &mut RuleSet, counters: &Counters) {
    let polls = AtomicUsize::new(0);
    // The loops over rules and nodes continue, and queries, which poll later, are interrupted.
    let is_interrupted = || polls.fetch_add(1, Ordering::Relaxed) > 0;
    set.settle(counters, &is_interrupted);
    let retry = set.next_time().expect("the queries run again");
    assert!(retry > monotonic::now(), "after a pause");
    while monotonic::now() < retry {
        std::thread::sleep(Duration::from_millis(5));
    }
    set.settle(counters, &|| false);
    assert_eq!(set.next_time(), None);
}

#[test]
fn a_node_rule_is_applied_after_a_failed_query() {
    let rule = r#"{"Action":"update","Query":"G.V().Has('kind','u')","Metadata":{"x":1}}"#;
    let (engine, mut set, counters) = set_of(&[rule], &[]);
    settle_after_failure(&mut set, &counters);
    assert_eq!(ask(&engine, "G.V().Has('x',1).Count()"), "2000");
}

#[test]
fn an_edge_rule_is_applied_after_a_failed_query() {
    let ends = ("G.V().Has('kind','u')", "G.V('n7')");
    let (engine, mut set, counters) = set_of(&[], &[ends]);
    settle_after_failure(&mut set, &counters);
    assert_eq!(ask(&engine, "G.E().Count()"), "1");
}

#[test]
fn an_edge_that_rules_made_before_ends_with_its_rule() {
    let (engine, mut set, counters) = set_of(&[], &[("G.V('n1')", "G.V('n2')")]);
    set.settle(&counters, &|| false);
    assert_eq!(ask(&engine, "G.E().Count()"), "1");
    // Another process of this host takes over: its set of rules does not know the edge yet.
    let mut next = RuleSet::new(engine.0.rules.queries.clone(), "h");
    let json = r#"{"Src":"G.V('n1')","Dst":"G.V('n2')","Metadata":{"RelationType":"x"}}"#;
    let rule = Arc::new(EdgeRule::read(json, &Defaults::default()).unwrap());
    next.update_rules(&[], &[(1, rule)], &counters);
    next.settle(&counters, &|| false);
    next.update_rules(&[], &[], &counters);
    assert_eq!(ask(&engine, "G.E().Count()"), "0");
}
