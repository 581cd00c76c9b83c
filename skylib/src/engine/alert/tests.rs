use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};

use super::{WebhookClient, WebhookDone};
use crate::engine::monotonic;
use crate::engine::{Collection, Engine, EngineOptions, SubscribeOptions};
use crate::graph::{Metadata, Node, NodeId};

/// A client that records the calls. URLs with `fail` cannot be reached; those with `hang` never
/// answer.
struct Recorder {
    calls: Mutex<Sender<(String, Json)>>,
    hanging: Mutex<Vec<WebhookDone>>,
}

impl WebhookClient for Recorder {
    fn post(&self, url: &str, json: Bytes, _: Duration, done: WebhookDone) {
        let body = serde_json::from_slice(&json).unwrap();
        self.calls.lock().send((url.to_owned(), body)).unwrap();
        if url.contains("hang") {
            self.hanging.lock().push(done);
        } else if url.contains("fail") {
            done(Err("connection refused".to_owned()));
        } else {
            done(Ok(500));
        }
    }
}

struct Fixture {
    engine: Engine,
    calls: Receiver<(String, Json)>,
}

impl Fixture {
    fn new() -> Self {
        let (send, calls) = mpsc::channel();
        let recorder = Recorder {
            calls: Mutex::new(send),
            hanging: Mutex::default(),
        };
        let options = EngineOptions::new("h").with_webhooks(Arc::new(recorder));
        let engine = Engine::start(options).unwrap();
        Self { engine, calls }
    }

    fn alert(&self, expression: &str, trigger: &str, url: &str) -> String {
        let json = json!({"Expression": expression, "Trigger": trigger, "Action": url});
        let alert = self.engine.alerts().create(&json.to_string(), None);
        alert.unwrap().uuid.clone()
    }

    /// Waits until the last evaluation of an alert failed; returns its error.
    #[cfg(feature = "scripting")]
    fn error(&self, id: &str) -> String {
        let start = monotonic::now();
        loop {
            let error = self.engine.alerts().get(id).unwrap().error.clone();
            if !error.is_empty() {
                return error;
            }
            assert!(monotonic::now() - start < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn add(&self, id: &str, metadata: &Json) {
        self.engine.graph().update_as(None, |graph, now| {
            let metadata: Metadata = serde_json::from_value(metadata.clone()).unwrap();
            graph.add_node(Node::new(id, metadata, now)).unwrap();
        });
    }

    fn set(&self, id: &str, metadata: &Json) {
        self.engine.graph().update_as(None, |graph, now| {
            let metadata: Metadata = serde_json::from_value(metadata.clone()).unwrap();
            let id = NodeId::from(id);
            graph.set_node_metadata(&id, metadata, now).unwrap();
        });
    }

    fn delete(&self, id: &str) {
        self.engine.graph().update_as(None, |graph, now| {
            graph.delete_node(&NodeId::from(id), now).unwrap();
        });
    }

    /// Returns the reason of the next call.
    #[track_caller]
    fn reason(&self) -> Json {
        let call = self.calls.recv_timeout(Duration::from_secs(60));
        call.expect("a call").1["ReasonData"].take()
    }

    #[track_caller]
    fn is_silent(&self) {
        let call = self.calls.recv_timeout(Duration::from_millis(400));
        assert!(call.is_err(), "{call:?}");
    }
}

#[test]
fn an_alert_fires_for_each_new_set_of_nodes() {
    let fixture = Fixture::new();
    let ids = |reason: &Json| -> Vec<String> {
        let nodes = reason.as_array().unwrap();
        nodes.iter().map(|node| node["ID"].to_string()).collect()
    };
    let id = fixture.alert("G.V().Has('kind','o')", "graph", "http://x/in");
    fixture.is_silent();
    fixture.add("o1", &json!({"kind": "o"}));
    assert_eq!(ids(&fixture.reason()), [r#""o1""#]);
    fixture.add("other", &json!({}));
    fixture.set("o1", &json!({"kind": "o", "more": 1}));
    fixture.is_silent();
    fixture.add("o2", &json!({"kind": "o"}));
    assert_eq!(ids(&fixture.reason()), [r#""o1""#, r#""o2""#]);
    fixture.delete("o1");
    assert_eq!(ids(&fixture.reason()), [r#""o2""#]);
    fixture.delete("o2");
    fixture.is_silent();
    fixture.add("o2", &json!({"kind": "o"}));
    assert_eq!(ids(&fixture.reason()), [r#""o2""#]);
    fixture.engine.alerts().delete(&id).unwrap();
    fixture.add("o3", &json!({"kind": "o"}));
    fixture.is_silent();
    assert_eq!(fixture.engine.status().alerts.active, 0);
}

#[test]
fn counts_and_values_are_compared_by_content() {
    let fixture = Fixture::new();
    fixture.alert("G.V().Has('kind','w').Count()", "", "http://x");
    assert_eq!(fixture.reason(), json!(0));
    fixture.add("w", &json!({"kind": "w", "speed": 10}));
    assert_eq!(fixture.reason(), json!(1));
    fixture.alert("G.V('w').Values('speed')", "", "http://x");
    assert_eq!(fixture.reason(), json!([10]));
    fixture.set("w", &json!({"kind": "w", "speed": 20}));
    assert_eq!(fixture.reason(), json!([20]));
}

#[test]
fn a_node_that_does_not_exist_yet_is_waited_for() {
    let fixture = Fixture::new();
    fixture.alert("G.V('late').Values('x')", "graph", "http://x");
    fixture.is_silent();
    fixture.add("late", &json!({"x": 7}));
    assert_eq!(fixture.reason(), json!([7]));
}

#[test]
fn a_patch_starts_the_alert_anew_and_replaces_the_old_one() {
    let fixture = Fixture::new();
    fixture.add("n", &json!({"kind": "p"}));
    let id = fixture.alert("G.V().Has('kind','p').Count()", "graph", "http://x");
    assert_eq!(fixture.reason(), json!(1));
    let patch = |text: &str| fixture.engine.alerts().patch(&id, text).unwrap();
    let same = r#"[{"op":"add","path":"/Trigger","value":"graph"}]"#;
    assert!(
        patch(same).is_some(),
        "a patch without a change is a change"
    );
    assert_eq!(fixture.reason(), json!(1));
    patch(r#"[{"op":"add","path":"/Trigger","value":"duration:1h"}]"#);
    assert_eq!(fixture.reason(), json!(1));
    fixture.add("m", &json!({"kind": "p"}));
    fixture.is_silent();
}

#[test]
fn a_period_evaluates_only_at_its_ticks() {
    let fixture = Fixture::new();
    fixture.alert("G.V().Has('kind','d')", "duration:300ms", "http://x");
    fixture.add("d", &json!({"kind": "d"}));
    assert_eq!(fixture.reason()[0]["ID"], "d");
    fixture.is_silent();
    fixture.delete("d");
    fixture.is_silent();
    fixture.add("d", &json!({"kind": "d"}));
    assert_eq!(fixture.reason()[0]["ID"], "d");
}

#[test]
fn subscribers_receive_alerts_without_an_action() {
    let fixture = Fixture::new();
    let options = SubscribeOptions::default().with_namespaces(["Alert".to_owned()]);
    let mut subscription = fixture.engine.subscribe_graph(options);
    let id = fixture.alert("G.V().Count()", "", "");
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let message = runtime.unwrap().block_on(subscription.next()).unwrap();
    let encoded = message.encoded(
        crate::proto::Encoding::Json,
        crate::proto::UpdatePolicy::Full,
    );
    let message: Json = serde_json::from_slice(&encoded).unwrap();
    assert_eq!(message["Namespace"], "Alert");
    assert_eq!(message["Type"], "Alert");
    assert_eq!(message["Obj"]["UUID"], *id);
    assert_eq!(message["Obj"]["ReasonData"], 0);
}

#[test]
fn a_webhook_is_tried_three_times_and_a_hanging_one_delays_no_other() {
    let fixture = Fixture::new();
    fixture.alert("G.V().Count()", "", "http://fail/");
    for _ in 0..3 {
        assert_eq!(fixture.reason(), json!(0));
    }
    fixture.is_silent();
    let status = fixture.engine.status().alerts;
    assert_eq!((status.actions_retried, status.actions_failed), (2, 1));
    for _ in 0..20 {
        fixture.alert("G.V().Count()", "", "http://hang/");
    }
    // The limit of one receiver.
    for _ in 0..8 {
        assert_eq!(fixture.reason(), json!(0));
    }
    fixture.is_silent();
    fixture.alert("G.E().Count()", "", "http://other/");
    let (url, _) = fixture.calls.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(url, "http://other/");
    // The queue counts the call until its response has been processed.
    let start = monotonic::now();
    while fixture.engine.status().alerts.actions_waiting != 20 {
        assert!(monotonic::now() - start < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn programs_can_be_switched_off() {
    let options = EngineOptions::new("h").with_alert_scripts(false);
    let engine = Engine::start(options).unwrap();
    let json = r#"{"Expression":"G","Action":"file:///bin/true"}"#;
    let error = engine.alerts().create(json, None).unwrap_err();
    assert!(
        error.to_string().contains("analyzer.alert.scripts"),
        "{error}"
    );
}

#[cfg(feature = "scripting")]
#[test]
fn javascript_fires_for_true_values() {
    let fixture = Fixture::new();
    for (expression, value) in [
        ("1", json!(1)),
        ("true", json!(true)),
        ("'x'", json!("x")),
        ("[0]", json!([0])),
        ("({b: 1, a: 2})", json!({"a": 2, "b": 1})),
        ("var x = 5; x", json!(5)),
        ("Gremlin(\"G.V('none')\") instanceof Error", json!(true)),
        ("Gremlin('G.V()')", json!("[]")),
    ] {
        fixture.alert(expression, "", "http://x");
        assert_eq!(fixture.reason(), value, "{expression}");
    }
    for expression in [
        "0",
        "false",
        "''",
        "null",
        "undefined",
        "0/0",
        "[]",
        "({})",
        "new Date()",
        "nosuch",
        "throw 1",
        "function() { return 1 }",
        "new Error('x')",
        "var y = 5",
        "while (true) {}",
    ] {
        fixture.alert(expression, "duration:1h", "http://x");
    }
    fixture.is_silent();
}

#[cfg(feature = "scripting")]
#[test]
fn the_error_of_an_expression_is_part_of_the_resource() {
    let fixture = Fixture::new();
    let id = fixture.alert("nosuch", "", "http://x");
    let error = || fixture.engine.alerts().get(&id).unwrap().error.clone();
    assert!(fixture.error(&id).contains("nosuch"), "{}", error());
    let listed = fixture.engine.alerts().all().unwrap();
    assert_eq!(listed[0].error, error());
    let patch = r#"[{"op":"add","path":"/Expression","value":"7"}]"#;
    fixture.engine.alerts().patch(&id, patch).unwrap();
    assert_eq!(fixture.reason(), json!(7));
    assert_eq!(error(), "");
}

#[cfg(feature = "scripting")]
#[test]
fn the_error_of_an_expression_without_end_names_the_limit() {
    let fixture = Fixture::new();
    let greedy = "var all = []; while (true) all.push(new Array(1000).fill('x'))";
    for (expression, limit) in [(greedy, "workflow.max_memory"), ("while (true) {}", "5 s")] {
        let id = fixture.alert(expression, "duration:1h", "http://x");
        let error = fixture.error(&id);
        assert!(error.contains(limit), "{expression}: {error}");
    }
}

#[cfg(feature = "scripting")]
#[test]
fn an_alert_that_is_changed_often_is_evaluated_in_the_end() {
    let fixture = Fixture::new();
    let id = fixture.alert("while (true) {}", "graph", "http://x");
    for number in 0..200 {
        let patch = format!(
            r#"[{{"op":"add","path":"/Expression","value":"var t = {number}; while (true) {{}}"}}]"#
        );
        fixture.engine.alerts().patch(&id, &patch).unwrap();
    }
    // Canceled evaluations end at once: two threads would need 500 s for the time limits of all.
    let patch = r#"[{"op":"add","path":"/Expression","value":"8"}]"#;
    fixture.engine.alerts().patch(&id, patch).unwrap();
    assert_eq!(fixture.reason(), json!(8));
}

#[cfg(feature = "scripting")]
#[test]
fn javascript_is_evaluated_after_changes_of_the_graph() {
    let fixture = Fixture::new();
    let more_than_one = "client.G.V().Has('kind', 'j').Count().result() > 1";
    fixture.alert(more_than_one, "graph", "http://x");
    fixture.add("j1", &json!({"kind": "j"}));
    fixture.is_silent();
    fixture.add("j2", &json!({"kind": "j"}));
    assert_eq!(fixture.reason(), json!(true));
    fixture.add("j3", &json!({"kind": "j"}));
    fixture.is_silent();
    fixture.delete("j2");
    fixture.delete("j3");
    fixture.is_silent();
    fixture.add("j2", &json!({"kind": "j"}));
    assert_eq!(fixture.reason(), json!(true));
}
