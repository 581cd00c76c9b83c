use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::ScriptError;
use crate::api::Workflow;
use crate::engine::monotonic;
use crate::engine::{Collection, Engine, EngineOptions, QueryOptions, ScriptOptions};
use crate::graph::{Edge, Metadata, Node};

fn engine() -> Engine {
    let scripts = ScriptOptions::default().with_max_time(Duration::from_secs(20));
    Engine::start(EngineOptions::new("h").with_scripts(scripts)).unwrap()
}

fn call_by_id(engine: &Engine, id: &str, arguments: &[Json]) -> Result<Json, ScriptError> {
    let (send, result) = mpsc::channel();
    let done = move |result| drop(send.send(result));
    let call = engine.call_workflow(id, arguments, done)?;
    let result = result.recv_timeout(Duration::from_secs(60)).unwrap();
    drop(call);
    result.map(|json| serde_json::from_str(&json).unwrap())
}

fn call(engine: &Engine, source: &str, arguments: &[Json]) -> Result<Json, ScriptError> {
    let name = crate::id::Id::random().to_string();
    let workflow = engine.workflows().add(Workflow::new(name, source), None);
    call_by_id(engine, &workflow.unwrap().uuid, arguments)
}

/// Calls a function with this body.
fn run(engine: &Engine, body: &str) -> Result<Json, ScriptError> {
    call(engine, &format!("function f() {{ {body} }}"), &[])
}

#[track_caller]
fn thrown(result: Result<Json, ScriptError>) -> String {
    match result {
        Err(ScriptError::Thrown(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn add(engine: &Engine, id: &str, metadata: &Json) {
    engine.graph().update_as(None, |graph, now| {
        let metadata: Metadata = serde_json::from_value(metadata.clone()).unwrap();
        graph.add_node(Node::new(id, metadata, now)).unwrap();
    });
}

fn link(engine: &Engine, parent: &str, child: &str) {
    engine.graph().update_as(None, |graph, now| {
        let metadata = Metadata::from_iter([("RelationType", "layer2")]);
        graph
            .add_edge(Edge::between(parent, child, metadata, now))
            .unwrap();
    });
}

#[test]
fn results_become_json() {
    let engine = engine();
    for (body, result) in [
        ("", json!(null)),
        ("return undefined", json!(null)),
        (
            "return [1, 2.5, 'x<y', true, null, undefined, , -5]",
            json!([1, 2.5, "x<y", true, null, null, null, -5]),
        ),
        (
            "return {b: 1, a: undefined, f: function() {}}",
            json!({"b": 1, "f": {}}),
        ),
        ("return [0/0, 1/0, -1/0]", json!([null, null, null])),
        (
            "return [1/4, 123456789012, 1e21]",
            json!([0.25, 123_456_789_012_i64, 1e21]),
        ),
        ("return '\\ud800'", json!("\u{fffd}")),
        (
            "return new Error('text')",
            json!({"name": "Error", "message": "text"}),
        ),
        ("return new Date(0)", json!("1970-01-01T00:00:00.000Z")),
        ("return Promise.resolve({x: 1})", json!({"x": 1})),
        (
            "return Promise.resolve(2).then(function(x) { return x * 3 })",
            json!(6),
        ),
        (
            "return new Promise(end => Promise.resolve(3).done(x => end(x + 1)))",
            json!(4),
        ),
        (
            "return new Promise(function(done) { setTimeout(function() { done('late') }, 30) })",
            json!("late"),
        ),
        (
            "return (async () => { let n = 0; const t = setInterval(() => n++, 5); \
          await new Promise(done => setTimeout(done, 60)); clearInterval(t); return n > 1 })()",
            json!(true),
        ),
        ("setTimeout(function() { throw 1 }, 0); return 1", json!(1)),
        (
            "return new UUID(5, 'ns:URL', 'abc').toString()",
            json!("68661508-f3c4-55b4-945d-ae2b4dfe5db4"),
        ),
        (
            "return new UUID(3, 'ns:DNS', 'python.org').format()",
            json!("6fa459ea-ee8a-3ca4-894e-db77e160355e"),
        ),
        (
            "return [1, 4].map(v => new UUID(v).toString()[14]).join()",
            json!("1,4"),
        ),
        (
            "return typeof require('x').Capture + typeof api.Graph + typeof exports.DESC",
            json!("functionfunctionobject"),
        ),
        (
            "return typeof std + typeof os + typeof fetch + typeof process",
            json!("undefinedundefinedundefinedundefined"),
        ),
    ] {
        assert_eq!(run(&engine, body).unwrap(), result, "{body}");
    }
    let text = {
        let source = "function() { return {b: 1, a: 2, 'é': 3} }";
        let workflow = engine
            .workflows()
            .add(Workflow::new("text", source), None)
            .unwrap();
        let (send, result) = mpsc::channel();
        let call = engine.call_workflow(&workflow.uuid, &[], move |r| drop(send.send(r)));
        let text = result.recv().unwrap().unwrap();
        drop(call);
        text
    };
    assert_eq!(text, r#"{"a":2,"b":1,"é":3}"#);
}

#[test]
fn arguments_are_positional_and_typed() {
    let engine = engine();
    let source = "function(a, b, c, d, e, f) { return [typeof a, b[1], c.k, d === null, typeof e, \
                  f === undefined, arguments.length] }";
    let arguments = [
        json!("x"),
        json!([10, 20]),
        json!({"k": "v"}),
        json!(null),
        json!(false),
    ];
    let result = call(&engine, source, &arguments).unwrap();
    assert_eq!(result, json!(["string", 20, "v", true, "boolean", true, 5]));
}

#[test]
fn what_a_script_throws_is_the_error() {
    let engine = engine();
    for (body, start) in [
        ("throw new Error('boo')", "Error: boo"),
        ("throw 'text'", "text"),
        ("throw {}", "[object Object]"),
        ("return nosuch", "ReferenceError: "),
        ("var x = null; return x.y", "TypeError: "),
        ("return Promise.reject(new Error('no'))", "Error: no"),
        (
            "return new Promise(function() {})",
            "Error: the promise is never settled",
        ),
        (
            "var x = {}; x.x = x; return x",
            "TypeError: the result contains itself",
        ),
        ("return (function g() { return g() })()", "RangeError: "),
        (
            "setTimeout()",
            "TypeError: Failed to execute 'setTimeout': 1 argument required",
        ),
    ] {
        let text = thrown(run(&engine, body));
        assert!(text.starts_with(start), "{body}: {text}");
    }
    let text = thrown(call(&engine, "function( {", &[]));
    assert!(
        text.starts_with("SyntaxError") && text.contains("workflow:"),
        "{text}"
    );
    assert!(thrown(call(&engine, "42", &[])).starts_with("TypeError"));
    let unknown = call_by_id(&engine, "x", &[]).unwrap_err();
    assert_eq!(unknown.to_string(), "No workflow found with ID: x");
}

#[test]
fn queries_give_text_and_failures_are_returned() {
    let engine = engine();
    add(&engine, "g1", &json!({"Name": "g1"}));
    for (body, result) in [
        ("return Gremlin(\"G.V().Has('Name','none')\")", json!("[]")),
        ("return Gremlin('G.V().Count()')", json!("1")),
        (
            "var e = Gremlin('G.V().Nope()'); return [e instanceof Error, e.name, e.message]",
            json!([true, "ParseError", "Expected step function, got: Nope"]),
        ),
        (
            "var e = Gremlin(\"G.V('none')\"); return [e.name, e.message]",
            json!(["ExecuteError", "Node 'none' does not exist"]),
        ),
        (
            "return String(Gremlin(5))",
            json!("MissingQueryArgument: Gremlin requires a string parameter"),
        ),
        ("return client.gremlin.query('G.V().Count()')", json!(1)),
        ("return client.gremlin.query('nonsense')", json!(null)),
        (
            "return String(sleep())",
            json!("MissingArgument: Sleep requires a number parameter"),
        ),
    ] {
        assert_eq!(run(&engine, body).unwrap(), result, "{body}");
    }
}

#[test]
fn the_builder_writes_queries() {
    let engine = engine();
    for (expression, text) in [
        (
            "client.G.V().Has('Name', WITHIN('a', 'b'), 'MTU', GT(5)).Dedup().Out(Metadata('x', 'y'))",
            "G.V().Has(\"Name\", WITHIN(\"a\", \"b\"), \"MTU\", GT(5)).Dedup().Out(Metadata(\"x\", \"y\"))",
        ),
        (
            "client.gremlin.G().At('-1m').V().Ascendants().NextHops('1.1.1.1')",
            "G.At(\"-1m\").V().Ascendants().NextHops(\"1.1.1.1\")",
        ),
        (
            "client.G.Context(NOW, 5).V().Sort(DESC, 'x')",
            "G.Context(NOW, 5).V().Sort(DESC, \"x\")",
        ),
        ("client.G.V().Sum('a')", "G.V().Sum(\"a\")"),
        (
            "client.G.Flows().Group().MoreThan(2)",
            "G.Flows().Group().MoreThan(2)",
        ),
        (
            "client.G.V().Has('up', true, 'none', null, 'list', [1, 2])",
            "G.V().Has(\"up\", true, \"none\", null, \"list\", 1,2)",
        ),
    ] {
        let result = run(&engine, &format!("return {expression}.toString()")).unwrap();
        assert_eq!(result, text, "{expression}");
    }
    add(&engine, "q", &json!({"Name": "a\"b'.c"}));
    let quoted = "return client.G.V().Has('Name', 'a\"b\\'.c').result().length";
    assert_eq!(run(&engine, quoted).unwrap(), 1);
}

#[test]
fn results_of_queries_are_instances() {
    let engine = engine();
    for (id, mtu) in [("r1", 1500), ("r2", 9000), ("r3", 1500)] {
        add(&engine, id, &json!({"Name": id, "TID": id, "MTU": mtu}));
    }
    link(&engine, "r1", "r2");
    link(&engine, "r2", "r3");
    for (body, result) in [
        (
            "var r = client.G.V().Has('Name', REGEX('r.*')).result(); \
          return [r.length, r[0] instanceof GraphNode, typeof r[0].CreatedAt, r[0].DeletedAt]",
            json!([3, true, "number", null]),
        ),
        (
            "return client.G.V().Has('MTU', GT(2000)).Values('Name').result()",
            json!(["r2"]),
        ),
        (
            "return client.G.V().Has('MTU', 7).Values('Name').result()",
            json!(null),
        ),
        ("return client.G.V().Count().result()", json!(3)),
        (
            "var e = client.G.E().result(); return [e.length, e[0] instanceof GraphEdge]",
            json!([2, true]),
        ),
        (
            "return client.G.V().Has('TID', 'r1').ShortestPathTo(Metadata('TID', 'r3')).result()\
          .map(function(p) { return p.map(function(n) { return n.ID }).join() })",
            json!(["r1,r2,r3"]),
        ),
        (
            "var g = client.G.result(); return [g.Nodes.length, g.Edges.length]",
            json!([3, 2]),
        ),
        ("return client.G.V('none').result()", json!([])),
        ("return client.G.Flows().Sockets().result()", json!({})),
    ] {
        assert_eq!(run(&engine, body).unwrap(), result, "{body}");
    }
}

#[test]
fn resources_are_created_with_the_checks_of_the_api() {
    let engine = engine();
    for (body, result) in [
        (
            "var c = new Capture(); c.GremlinQuery = \"G.V().Has('Name','zz')\"; c.Name = 'byjs'; \
          var r = client.captures.create(c), l = client.captures.list(); \
          client.captures.delete(r.UUID); \
          return [r.Name, r.LayerKeyMode, l[r.UUID].Name, client.captures.get(r.UUID)]",
            json!(["byjs", "L2", "byjs", null]),
        ),
        (
            "return client.captures.create({GremlinQuery: 'bad('})",
            json!(null),
        ),
        (
            "return client.nodeRules.create({Action: 'create', Metadata: {Name: 'x', Path: '/y'}})",
            json!(null),
        ),
        (
            "return client.workflows.list()['85757b38-6e21-11e8-b42d-28d2442e1325'].Name",
            json!("CheckMTU"),
        ),
        (
            "return typeof client.alerts.delete('none').then",
            json!("function"),
        ),
        (
            "return client.request('/api/alert', 'GET', '', {})",
            json!({}),
        ),
        (
            "return String(request('/api/injectpacket', 'POST', \
          JSON.stringify({Src: 'G.V(1)', Type: 'icmp4'})))",
            json!("CreateError: Not able to find a source node for 'G.V(1)'"),
        ),
        (
            "return String(request('/api/nonsense', 'GET', ''))",
            json!("WrongArgument: unknown resource \"nonsense\""),
        ),
        (
            "return String(request('/api/alert', 'DELETE', ''))",
            json!("WrongArgument: No ID specified"),
        ),
        (
            "return String(request('/api'))",
            json!("WrongArguments: Import requires 3 string parameters"),
        ),
        (
            "return String(request('api', 'GET', ''))",
            json!("WrongArgument: Malformed URL api"),
        ),
        (
            "return String(request('/api/alert', 'POST', '{'))",
            json!("UnmarshalError"),
        ),
        (
            "return request('/api/topology', 'POST', JSON.stringify({GremlinQuery: 'G.V().Count()'}))",
            json!("0"),
        ),
        (
            "var n = JSON.parse(request('/api/node', 'POST', \
          '{\"ID\": \"jn\", \"Metadata\": {\"Name\": \"jn\", \"Type\": \"t\"}}')); \
          var p = JSON.parse(request('/api/node/jn', 'PATCH', \
          '[{\"op\":\"add\",\"path\":\"/Metadata/x\",\"value\":1}]')); \
          request('/api/node/jn', 'DELETE', ''); \
          return [n.Origin, p.Metadata.x, String(request('/api/node/jn', 'GET', ''))]",
            json!(["api.h", 1, "NotFound: node jn could not be found"]),
        ),
    ] {
        let found = run(&engine, body).unwrap();
        match result.as_str() {
            Some("UnmarshalError") => {
                assert!(found.as_str().unwrap().starts_with("UnmarshalError"));
            }
            _ => assert_eq!(found, result, "{body}"),
        }
    }
}

#[test]
fn built_in_workflows_can_only_be_read() {
    let engine = engine();
    let id = "85757b38-6e21-11e8-b42d-28d2442e1329";
    assert_eq!(engine.workflows().all().unwrap().len(), 4);
    assert_eq!(
        engine.workflows().get(id).unwrap().name,
        "CheckConnectivity"
    );
    assert!(!engine.workflows().delete(id).unwrap());
    let patch = r#"[{"op":"add","path":"/Name","value":"x"}]"#;
    assert!(engine.workflows().patch(id, patch).is_err());
    let same = engine.workflows().create(r#"{"Name":"CheckMTU"}"#, None);
    assert_eq!(
        same.unwrap_err().to_string(),
        "Duplicate workflow, name=CheckMTU"
    );
}

#[test]
fn the_mtu_must_not_fall_along_the_path() {
    let engine = engine();
    for (id, mtu) in [("i1", 1500), ("i2", 9000), ("i3", 1400)] {
        add(&engine, id, &json!({"Name": id, "TID": id, "MTU": mtu}));
    }
    link(&engine, "i1", "i2");
    link(&engine, "i2", "i3");
    let check = |from: &str, to: &str| {
        let id = "85757b38-6e21-11e8-b42d-28d2442e1325";
        call_by_id(&engine, id, &[json!(from), json!(to)]).unwrap()
    };
    assert_eq!(check("i1", "i2"), true);
    assert_eq!(check("i2", "i1"), false);
    assert_eq!(check("i1", "i3"), false);
    assert_eq!(check("i1", "nowhere"), true);
    assert_eq!(check("i1", "no'where"), true);
}

#[test]
fn nothing_carries_over_and_workflows_run_side_by_side() {
    let engine = engine();
    run(
        &engine,
        "leaked = 1; Object.prototype.bad = 1; JSON.parse = null; return 1",
    )
    .unwrap();
    let clean = "return [typeof leaked, typeof ({}).bad, typeof JSON.parse]";
    assert_eq!(
        run(&engine, clean).unwrap(),
        json!(["undefined", "undefined", "function"])
    );
    let began = monotonic::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| run(&engine, "return sleep(400)").unwrap());
        }
    });
    assert!(
        began.elapsed() < Duration::from_millis(1_500),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn hostile_scripts_end_at_their_limits_and_harm_nothing() {
    let scripts = ScriptOptions::default()
        .with_max_time(Duration::from_millis(300))
        .with_max_memory(16 << 20);
    let engine = Engine::start(EngineOptions::new("h").with_scripts(scripts)).unwrap();
    add(&engine, "n", &json!({"Name": "n"}));
    for body in [
        "while (true) {}",
        "while (true) { try { while (true) {} } catch (e) {} }",
        "sleep(1e9)",
        "return new Promise(function(done) { setTimeout(done, 1e9) })",
        "(function again() { Promise.resolve().then(again) })(); return new Promise(() => {})",
        "/(a+)+$/.test('a'.repeat(40) + 'b')",
        "while (true) Gremlin('G.V()')",
        "while (true) console.log('x'.repeat(10000))",
    ] {
        let began = monotonic::now();
        let error = run(&engine, body).unwrap_err();
        assert!(
            matches!(error, ScriptError::Timeout(_)),
            "{body}: {error:?}"
        );
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{body}: {:?}",
            began.elapsed()
        );
    }
    for body in [
        "var all = []; while (true) all.push('x'.repeat(1000000) + all.length)",
        "return 'x'.repeat(100000000)",
        "return new Array(10000000).fill({})",
        "var t = 'x'; while (true) t += t",
    ] {
        let error = run(&engine, body).unwrap_err();
        let is_bounded = !matches!(error, ScriptError::Canceled | ScriptError::Busy(_));
        assert!(is_bounded, "{body}: {error:?}");
    }
    for body in [
        "function g(x) { return [g(x)] } return g(1)",
        "var x = []; for (var i = 0; i < 100000; i++) x = [x]; return x",
        "return JSON.parse('['.repeat(100000))",
        "return {toString() { throw 1 }, get x() { throw {toString() { throw 2 }} }}",
        "throw {toString() { return this.toString() }}",
        "return new Proxy({}, {ownKeys() { throw 'trap' }})",
    ] {
        run(&engine, body).unwrap_err();
    }
    assert_eq!(run(&engine, "return 'alive'").unwrap(), "alive");
    let status = engine.status().scripts;
    assert!(status.failures >= 18 && status.running <= 1, "{status:?}");
}

#[test]
fn dropping_a_call_cancels_it_and_too_many_calls_are_refused() {
    let engine = Engine::start(
        EngineOptions::new("h").with_scripts(ScriptOptions::default().with_max_running(1)),
    )
    .unwrap();
    let source = "function() { return sleep(60000) }";
    let workflow = engine
        .workflows()
        .add(Workflow::new("long", source), None)
        .unwrap();
    let (send, results) = mpsc::channel();
    let start = || {
        let send = send.clone();
        engine.call_workflow(&workflow.uuid, &[], move |result| drop(send.send(result)))
    };
    let calls: Vec<_> = std::iter::from_fn(|| start().ok()).collect();
    assert!(
        (64..=65).contains(&calls.len()),
        "one runs and 64 wait, or it has not begun"
    );
    assert!(matches!(start(), Err(ScriptError::Busy(64))));
    let count = calls.len();
    drop(calls);
    for _ in 0..count {
        let result = results.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(result, Err(ScriptError::Canceled));
    }
}

#[test]
fn scripts_may_be_limited_to_reading() {
    let scripts = ScriptOptions::default().with_can_write(false);
    let engine = Engine::start(EngineOptions::new("h").with_scripts(scripts)).unwrap();
    let body = "return [client.alerts.create({Expression: '1'}), client.alerts.list()]";
    assert_eq!(run(&engine, body).unwrap(), json!([null, {}]));
}

#[test]
fn a_query_continues_with_the_graph_that_a_workflow_returns() {
    let engine = engine();
    for name in ["n1", "n2"] {
        add(&engine, name, &json!({"Name": name}));
    }
    let source = r#"function f(name) {
        return {nodes: client.gremlin.query("G.V('" + name + "')"), edges: []}
    }"#;
    let pick = engine
        .workflows()
        .add(Workflow::new("pick", source), None)
        .unwrap();
    let query = |text: &str| {
        let options = QueryOptions::default().with_workflows(&engine);
        let answer = engine.query_with(text, options);
        let answer = answer.map_err(|error| error.message().to_owned());
        answer.map(|answer| serde_json::to_string(&answer).unwrap())
    };
    let by_name = query("G.Workflow('pick', 'n2').V().Values('Name')");
    assert_eq!(by_name.as_deref(), Ok(r#"["n2"]"#));
    let by_id = query(&format!("G.Workflow('{}', 'n1').V().Count()", pick.uuid));
    assert_eq!(by_id.as_deref(), Ok("1"));
    assert_eq!(
        query("G.Workflow('nope')"),
        Err("Unknown workflow 'nope".to_owned())
    );
    let nested = "function f() { throw Gremlin(\"G.Workflow('pick', 'n1')\") }";
    engine
        .workflows()
        .add(Workflow::new("nested", nested), None)
        .unwrap();
    let text = query("G.Workflow('nested')").unwrap_err();
    assert!(text.contains("Workflow is not available here"), "{text}");
    engine.stop();
}
