//! Agents and the analyzer to which they report: real agents, and clients that pretend to be agents.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use rustix::process::Signal;
use serde_json::{Value, json};
use skylib::proto::{Encoding, Message};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use crate::client::{Answer, WebSocket, get, post, query, request};
use crate::daemon::{Daemon, Folder, command, until};
use crate::http::node;

/// Starts an agent that reports to these analyzers.
fn agent(folder: &Folder, name: &str, analyzers: &[&Daemon], settings: &[&str]) -> Daemon {
    let addresses: Vec<String> = analyzers.iter().map(|an| an.address.to_string()).collect();
    let analyzers = format!("analyzers={}", addresses.join(" "));
    let name = format!("host_id={name}");
    let mut all = vec![name.as_str(), &analyzers];
    all.extend(settings);
    Daemon::spawn(command("agent", &folder.0, &all))
}

fn nodes_of(daemon: &Daemon, host: &str) -> usize {
    let found = query(daemon, &format!("G.V().Has('@Host', '{host}').Count()"));
    usize::try_from(found.as_u64().unwrap()).unwrap()
}

#[test]
fn an_agent_reports_its_graph_and_takes_it_with_it() {
    let analyzer = Daemon::with(&["host_id=an"]);
    let folder = Folder::new();
    let mut agent_1 = agent(&folder, "ag-1", &[&analyzer], &[]);
    until("the graph of the agent", || {
        nodes_of(&analyzer, "ag-1") > 1 && nodes_of(&analyzer, "ag-1") == nodes_of(&agent_1, "ag-1")
    });
    let root = query(&analyzer, "G.V().Has('Type', 'host')");
    assert_eq!(root[0]["Origin"], "agent.ag-1");
    let status = get(&analyzer, "/api/status").json();
    let of_agent = &status["Agents"]["ag-1"];
    assert_eq!(of_agent["ClientProtocol"], "protobuf");
    assert_eq!(
        (&of_agent["IsConnected"], &of_agent["RemoteHost"]),
        (&json!(true), &json!("ag-1"))
    );
    let status = get(&agent_1, "/api/status").json();
    let of_analyzer = &status["Analyzers"]["an"];
    assert_eq!(of_analyzer["RemoteServiceType"], "analyzer");
    assert_eq!(of_analyzer["IsMaster"], true);
    assert_eq!(status["TopologyProbes"]["netlink"]["Status"], "running");
    let root = get(&agent_1, "/api").json();
    assert_eq!(
        (&root["Host"], &root["Service"]),
        (&json!("ag-1"), &json!("agent"))
    );
    for path in [
        "/api/capture",
        "/ui",
        "/ws/agent/topology",
        "/ws/replication",
        "/v1/x",
    ] {
        assert_eq!(get(&agent_1, path).status, 404, "{path}");
    }
    // A client of the agent publishes to its graph, which reaches the analyzer.
    let tool = [("X-Client-Type", "tool"), ("X-Host-ID", "t")];
    let mut publisher = WebSocket::open(&agent_1, "/ws/publisher", &tool);
    publisher.send_graph("NodeAdded", node("n1"));
    let at_analyzer = || query(&analyzer, "G.V().Has('Name', 'n1')");
    until("the published node", || {
        at_analyzer()
            .as_array()
            .is_some_and(|nodes| nodes.len() == 1)
    });
    assert_eq!(at_analyzer()[0]["Origin"], "tool.t");
    agent_1.stop(Signal::KILL);
    until("the end of its nodes", || nodes_of(&analyzer, "ag-1") == 0);
    let again = agent(&folder, "ag-1", &[&analyzer], &[]);
    until("its return", || {
        nodes_of(&analyzer, "ag-1") == nodes_of(&again, "ag-1")
    });
}

#[test]
fn agents_return_to_a_restarted_analyzer() {
    let (folder, of_agent) = (Folder::new(), Folder::new());
    let mut analyzer = Daemon::in_folder(&folder.0, &["host_id=an"]);
    let listen = format!("analyzer.listen={}", analyzer.address);
    let agent = agent(&of_agent, "ag-1", &[&analyzer], &[]);
    until("the graph", || nodes_of(&analyzer, "ag-1") > 1);
    analyzer.stop(Signal::KILL);
    let analyzer = Daemon::in_folder(&folder.0, &["host_id=an", &listen]);
    let began = Instant::now();
    until("the graph again", || {
        nodes_of(&analyzer, "ag-1") == nodes_of(&agent, "ag-1")
    });
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn the_second_analyzer_takes_over() {
    let folder = Folder::new();
    let analyzers = [
        Daemon::with(&["host_id=an-1"]),
        Daemon::with(&["host_id=an-2"]),
    ];
    let [first, second] = &analyzers;
    let agent = agent(&folder, "ag-1", &[first, second], &[]);
    let is_connected = |name: &str| {
        let status = get(&agent, "/api/status").json();
        status["Analyzers"][name]["IsConnected"] == true
    };
    until("both connections", || {
        is_connected("an-1") && is_connected("an-2")
    });
    let has_graph = |an: &Daemon| nodes_of(an, "ag-1") > 1;
    until("a master", || has_graph(first) || has_graph(second));
    assert!(has_graph(first) != has_graph(second), "one master");
    let first_is_master = has_graph(first);
    let [first, second] = analyzers;
    let (mut master, other) = if first_is_master {
        (first, second)
    } else {
        (second, first)
    };
    master.stop(Signal::KILL);
    until("the other one", || {
        nodes_of(&other, "ag-1") == nodes_of(&agent, "ag-1")
    });
}

#[test]
fn an_agent_logs_in_with_the_key_file_or_a_password() {
    let folder = Folder::new();
    let users = [
        "analyzer.auth.api.backend=m",
        "auth.m.type=basic",
        "auth.m.users={ann: pw}",
    ];
    let analyzer = Daemon::in_folder(&folder.0, &users);
    let is_known = |analyzer: &Daemon, name: &str| {
        let headers = [("Authorization", "Basic YW5uOnB3")];
        let answer = request(analyzer, "GET", "/api/status", &headers, b"");
        answer.json()["Agents"][name]["IsConnected"] == true
    };
    // The data folder is the same, and so is the key file.
    let _agent = agent(&folder, "with-key", &[&analyzer], &[]);
    until("the agent with the key", || is_known(&analyzer, "with-key"));
    let elsewhere = Folder::new();
    let refused = agent(&elsewhere, "without", &[&analyzer], &[]);
    until("the refusal", || refused.log().contains("401"));
    let mut with_cluster = users.to_vec();
    with_cluster.push("analyzer.auth.cluster.backend=m");
    let analyzer = Daemon::with(&with_cluster);
    let login = [
        "agent.auth.cluster.username=ann",
        "agent.auth.cluster.password=pw",
    ];
    let _agent = agent(&elsewhere, "with-password", &[&analyzer], &login);
    until("the agent with the password", || {
        is_known(&analyzer, "with-password")
    });
}

/// Returns the types of the messages about the node `n1`, which is added and changed, that an agent
/// sends to an analyzer whose handshake has these headers.
#[expect(clippy::result_large_err, reason = "signature required by tungstenite")]
fn messages_about_n1(headers: &[(&'static str, &'static str)]) -> Vec<String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let analyzers = format!("analyzers={}", listener.local_addr().unwrap());
    let folder = Folder::new();
    let settings = ["host_id=ag-1", analyzers.as_str()];
    let agent = Daemon::spawn(command("agent", &folder.0, &settings));
    let (stream, _) = listener.accept().unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut socket = tungstenite::accept_hdr(stream, |_: &Request, mut response: Response| {
        for &(name, value) in headers {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        Ok(response)
    })
    .unwrap();
    // Otherwise, the first graph that the agent sends may contain the node.
    while next_message(&mut socket).kind != "Sync" {}
    let tool = [("X-Client-Type", "tool"), ("X-Host-ID", "t")];
    let mut publisher = WebSocket::open(&agent, "/ws/publisher", &tool);
    let mut changed = node("n1");
    publisher.send_graph("NodeAdded", changed.clone());
    changed["Revision"] = json!(5);
    changed["Metadata"]["Changed"] = json!(true);
    publisher.send_graph("NodeUpdated", changed);
    let mut types: Vec<String> = Vec::new();
    while types.len() < 2 {
        let message = next_message(&mut socket);
        let object = message.object.json().unwrap();
        if message.kind != "Sync" && object.contains(r#""ID":"n1""#) {
            types.push(message.kind);
        }
    }
    types
}

/// Returns the next message of an agent.
fn next_message(socket: &mut tungstenite::WebSocket<TcpStream>) -> Message {
    loop {
        let frame = socket.read().unwrap();
        if frame.is_binary() {
            return Message::decode(&frame.into_data(), Encoding::Protobuf).unwrap();
        }
    }
}

/// Skydive before v0.27 ignores partial updates, and no release announces what it accepts.
#[test]
fn an_analyzer_without_an_update_policy_receives_whole_elements() {
    let skydive = [("x-host-id", "an"), ("x-service-type", "analyzer")];
    assert_eq!(messages_about_n1(&skydive), ["NodeAdded", "NodeUpdated"]);
    let [host, service] = skydive;
    let own = [host, service, ("x-update-policy", "partial")];
    let partial = ["NodeAdded", "NodePartiallyUpdated"];
    assert_eq!(messages_about_n1(&own), partial);
}

/// Agents before v0.27 send no persistence policy.
#[test]
fn the_elements_of_a_lost_agent_are_deleted_unless_it_declares_otherwise() {
    let analyzer = Daemon::with(&["host_id=an"]);
    for (policy, remaining) in [
        (None, 0),
        (Some("DeleteOnDisconnect"), 0),
        (Some("Persistent"), 1),
    ] {
        let mut headers = vec![("X-Client-Type", "agent"), ("X-Host-ID", "old")];
        headers.extend(policy.map(|policy| ("X-Persistence-Policy", policy)));
        let mut socket = WebSocket::open(&analyzer, "/ws/agent/topology", &headers);
        socket.send_graph("NodeAdded", interface("eth0", "old"));
        socket.sync(json!({}));
        assert_eq!(nodes_of(&analyzer, "old"), 1, "{policy:?}");
        drop(socket);
        until("the end of the connection", || {
            get(&analyzer, "/api/status").json()["Agents"]["old"].is_null()
        });
        until("its elements", || nodes_of(&analyzer, "old") == remaining);
    }
}

/// Opens the connection of an agent that uses JSON.
fn pretend(analyzer: &Daemon, name: &str) -> WebSocket {
    let headers = [
        ("X-Client-Type", "agent"),
        ("X-Host-ID", name),
        ("X-Persistence-Policy", "DeleteOnDisconnect"),
    ];
    WebSocket::open(analyzer, "/ws/agent/topology", &headers)
}

fn interface(id: &str, host: &str) -> Value {
    json!({
        "ID": id,
        "Metadata": {"Name": id, "Type": "device", "TID": id},
        "Host": host,
        "Origin": format!("agent.{host}"),
        "Revision": 1,
    })
}

/// Returns the next message of a namespace.
fn next_of(socket: &mut WebSocket, namespace: &str) -> Value {
    loop {
        let message = socket.message();
        if message["Namespace"] == namespace {
            return message;
        }
    }
}

fn reply(to: &Value, kind: &str, status: u16) -> String {
    let mut reply = to.clone();
    reply["Type"] = kind.into();
    reply["Status"] = status.into();
    reply.to_string()
}

#[test]
fn captures_are_started_on_agents_and_stopped_there() {
    let analyzer = Daemon::start();
    let mut agent = pretend(&analyzer, "ag-1");
    agent.send_graph("Sync", json!({"Nodes": [interface("if1", "ag-1")]}));
    agent.sync(json!({}));
    let body = json!({"GremlinQuery": "G.V('if1')", "BPFFilter": "port 53"}).to_string();
    let capture = post(&analyzer, "/api/capture", &body).json();
    let id = capture["UUID"].as_str().unwrap().to_owned();
    let start = next_of(&mut agent, "OnDemandCapture");
    assert_eq!(
        (&start["Type"], &start["Status"]),
        (&json!("Start"), &json!(200))
    );
    assert_eq!(start["Obj"]["NodeID"], "if1");
    assert_eq!(start["Obj"]["Resource"]["UUID"], id);
    assert_eq!(start["Obj"]["Resource"]["BPFFilter"], "port 53");
    // A failure is followed by another start, after a change of the graph.
    agent.send(reply(&start, "StartReply", 500));
    agent.send_graph("NodeAdded", interface("if2", "ag-1"));
    let start = next_of(&mut agent, "OnDemandCapture");
    assert_eq!(start["Type"], "Start");
    agent.send(reply(&start, "StartReply", 200));
    let active = json!([{"ID": id, "State": "active"}]);
    agent.send_graph(
        "NodePartiallyUpdated",
        json!({"ID": "if1", "Revision": 2, "Ops": [{"Type": 1, "Key": "Captures", "Value": active}]}),
    );
    let count = || get(&analyzer, &format!("/api/capture/{id}")).json()["Count"].clone();
    until("the active capture", || count() == 1);
    request(&analyzer, "DELETE", &format!("/api/capture/{id}"), &[], b"");
    let stop = next_of(&mut agent, "OnDemandCapture");
    assert_eq!(
        (&stop["Type"], &stop["Obj"]["Resource"]["UUID"]),
        (&json!("Stop"), &json!(id))
    );
    // An agent that shows a capture without a resource is asked to stop it.
    drop(agent);
    until("the end of its connection", || {
        get(&analyzer, "/api/status").json()["Agents"] == json!({})
    });
    let mut agent = pretend(&analyzer, "ag-1");
    let mut old = interface("if1", "ag-1");
    old["Metadata"]["Captures"] = json!([{"ID": "old", "State": "active"}]);
    agent.send_graph("Sync", json!({"Nodes": [old]}));
    let stop = next_of(&mut agent, "OnDemandCapture");
    assert_eq!(
        (&stop["Type"], &stop["Obj"]["Resource"]["UUID"]),
        (&json!("Stop"), &json!("old"))
    );
}

fn flows(analyzer: &Daemon) -> (Answer, Duration) {
    let began = Instant::now();
    let body = json!({"GremlinQuery": "G.Flows()"}).to_string();
    (post(analyzer, "/api/topology", &body), began.elapsed())
}

#[test]
fn flow_queries_reach_all_agents_and_silent_ones_are_named() {
    let analyzer = Daemon::start();
    let mut good = pretend(&analyzer, "good");
    let _silent = pretend(&analyzer, "silent");
    let mut garbage = pretend(&analyzer, "garbage");
    for socket in [&mut good, &mut garbage] {
        socket.sync(json!({}));
    }
    let flow = json!({"UUID": "f1", "LayersPath": "Ethernet"});
    std::thread::scope(|scope| {
        let querying = scope.spawn(|| flows(&analyzer));
        let asked = next_of(&mut good, "Flow");
        assert_eq!(
            (&asked["Type"], &asked["Obj"]["Type"]),
            (&json!("TableQuery"), &json!("SearchQuery"))
        );
        let mut result = asked.clone();
        // A set with the flow f1, in protobuf.
        result["Obj"] = json!({"Status": 200, "FlowSetBytes": ["CgQKAmYx"]});
        good.send(reply(&result, "TableResult", 200));
        let asked = next_of(&mut garbage, "Flow");
        let mut result = asked.clone();
        result["Obj"] = json!({"Status": 200, "FlowSetBytes": ["////"]});
        garbage.send(reply(&result, "TableResult", 200));
        let (answer, took) = querying.join().unwrap();
        assert_eq!(answer.json()[0]["UUID"], flow["UUID"]);
        let mut warnings = answer.all("x-warning");
        warnings.sort_unstable();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(
            warnings[0].contains("flows of agent garbage are missing"),
            "{warnings:?}"
        );
        assert!(
            warnings[1].contains("flows of agent silent are missing"),
            "{warnings:?}"
        );
        assert!(took >= Duration::from_secs(4), "{took:?}");
    });
    let status = get(&analyzer, "/api/status").json();
    assert_eq!(status["AgentsSilent"], json!(["silent"]));
    assert_eq!(status["Queues"]["AgentQueriesUnanswered"], 1);
    assert_eq!(status["Queues"]["AgentAnswersInvalid"], 1);
    // A silent agent does not delay every query by the whole deadline.
    drop((good, garbage));
    let (answer, took) = flows(&analyzer);
    assert_eq!(answer.status, 200);
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn an_agent_cannot_change_what_belongs_to_another_connected_one() {
    let analyzer = Daemon::start();
    let mut victim = pretend(&analyzer, "victim");
    victim.send_graph("Sync", json!({"Nodes": [interface("if1", "victim")]}));
    victim.sync(json!({}));
    let mut evil = pretend(&analyzer, "evil");
    let mut changed = interface("if1", "victim");
    changed["Revision"] = json!(7);
    changed["Metadata"]["Name"] = json!("changed");
    evil.send_graph("NodeUpdated", changed.clone());
    evil.send_graph("NodeDeleted", changed);
    let ops = json!([{"Type": 1, "Key": "Name", "Value": "changed"}]);
    evil.send_graph(
        "NodePartiallyUpdated",
        json!({"ID": "if1", "Revision": 9, "Ops": ops}),
    );
    evil.send_graph("NodeAdded", interface("false", "victim"));
    evil.send_graph("Sync", json!({"Nodes": [interface("false", "victim")]}));
    evil.sync(json!({}));
    assert_eq!(query(&analyzer, "G.V().Values('Name')"), json!(["if1"]));
    let status = get(&analyzer, "/api/status").json();
    assert_eq!(status["Queues"]["MessagesDropped"], 5);
    assert!(
        analyzer.log().contains("can only be changed by that agent"),
        "{}",
        analyzer.log()
    );
}

#[test]
fn a_message_of_a_gigabyte_ends_the_connection_and_is_named() {
    let analyzer = Daemon::start();
    let mut agent = pretend(&analyzer, "huge");
    agent.sync(json!({}));
    let mut frame = vec![0x82, 0xff];
    frame.extend((1_u64 << 30).to_be_bytes());
    frame.extend([0; 4]);
    agent.connection.send(frame);
    assert_eq!(agent.closed().0, Some(1009));
    let dropped = || get(&analyzer, "/api/status").json()["Queues"]["MessagesDropped"].clone();
    until("the count", || dropped() == 1);
    until("the log", || {
        let log = analyzer.log();
        let mut lines = log.lines();
        lines.any(|line| line.contains("http.limits.ws_message_bytes") && line.contains("huge"))
    });
    until("its end", || {
        get(&analyzer, "/api/status").json()["Agents"] == json!({})
    });
}
