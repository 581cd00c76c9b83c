//! Checks of the bridge between JavaScript and the engine, in both directions. The first line is a
//! JSON value, the rest the source of a workflow, which is called with that value.

use std::sync::{LazyLock, mpsc};
use std::time::Duration;

use serde_json::Value;
use skylib::api::Workflow;
use skylib::engine::{Collection, Engine, EngineOptions, ScriptError, ScriptOptions};
use skylib::graph::{Metadata, Node};

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let scripts = ScriptOptions::default()
        .with_max_time(Duration::from_millis(500))
        .with_max_memory(16 << 20);
    let options = EngineOptions::new("fuzz").with_scripts(scripts);
    let engine = Engine::start(options).expect("an engine");
    engine.graph().update_as(None, |graph, now| {
        let metadata = Metadata::from_iter([("Name", "n"), ("TID", "n"), ("Type", "host")]);
        drop(graph.add_node(Node::new("n", metadata, now)));
    });
    engine
});

/// Panics if a script does not end, if its result is not JSON, or if a value changes on its way to
/// a script and back.
pub(crate) fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (value, source) = text.split_once('\n').unwrap_or((&text, ""));
    if let Ok(value) = serde_json::from_str::<Value>(value) {
        let returned = call("function(x) { return x }", &value);
        match returned {
            Ok(returned) => assert_eq!(rounded(returned), rounded(value.clone())),
            // A deeply nested value needs more stack than a script has.
            Err(error) => assert!(value.to_string().len() > 1_000, "{error}: {value}"),
        }
        drop(call(source, &value));
    } else {
        drop(call(source, &Value::Null));
    }
    assert!(ENGINE.alerts().len() < 1_000);
}

fn call(source: &str, argument: &Value) -> Result<Value, ScriptError> {
    let workflow = Workflow::new("fuzz", source);
    let workflow = ENGINE
        .workflows()
        .add(workflow, None)
        .expect("no other has the name");
    let (send, result) = mpsc::channel();
    let done = move |result| drop(send.send(result));
    let running = ENGINE.call_workflow(&workflow.uuid, std::slice::from_ref(argument), done);
    let result = running.and_then(|running| {
        let result = result.recv_timeout(Duration::from_secs(20));
        drop(running);
        result.expect("the script ends")
    });
    // The script may have deleted its own workflow.
    drop(ENGINE.workflows().delete(&workflow.uuid));
    let json = result?;
    Ok(serde_json::from_str(&json).expect("the result is JSON"))
}

/// Returns a value in which all numbers have the precision of JavaScript.
fn rounded(value: Value) -> Value {
    match value {
        // `+ 0.0` turns the negative zero into the positive one.
        Value::Number(number) => number.as_f64().map(|number| number + 0.0).into(),
        Value::Array(items) => items.into_iter().map(rounded).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(key, value)| (key, rounded(value)))
            .collect(),
        other => other,
    }
}
