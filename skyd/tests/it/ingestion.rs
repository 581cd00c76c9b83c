//! Agents: flows over WebSocket and UDP, and their part of the graph.

use std::net::UdpSocket;

use prost::Message;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use serde_json::{Value, json};
use skylib::flow::{Flow, FlowLayer, FlowMessage, FlowMetric, FlowProtocol, FlowStats, RawPacket};

use crate::client::{BINARY, CLOSE, WebSocket, get, query};
use crate::daemon::{Daemon, until};
use crate::http::node;

const OVER_WEBSOCKET: &str = "flow.protocol=websocket";
const WHO: (&str, &str) = ("X-Client-Type", "agent");

fn feed(daemon: &Daemon) -> WebSocket {
    WebSocket::open(daemon, "/ws/agent/flow", &[WHO])
}

fn listener(daemon: &Daemon) -> WebSocket {
    WebSocket::open(daemon, "/ws/subscriber/flow", &[WHO])
}

fn agent(daemon: &Daemon, name: &str) -> WebSocket {
    let policy = ("X-Persistence-Policy", "DeleteOnDisconnect");
    WebSocket::open(
        daemon,
        "/ws/agent/topology",
        &[WHO, ("X-Host-ID", name), policy],
    )
}

fn flow(uuid: &str) -> Flow {
    Flow::default()
        .with_uuid(uuid)
        .with_layers_path("Ethernet/IPv4/UDP/DNS")
        .with_application("DNS")
        .with_capture_id("cap-1")
        .with_node_tid("tid-1")
        .with_network(FlowLayer {
            protocol: FlowProtocol::Ipv4,
            a: "10.0.0.1".into(),
            b: "10.0.0.2".into(),
            id: 0,
        })
        .with_metric(FlowMetric::default().with_ab_packets(3).with_ab_bytes(180))
        .with_times(1_600_000_000_000, 1_600_000_001_000)
}

fn message(flows: Vec<Flow>) -> Vec<u8> {
    FlowMessage { flows, stats: None }.encode_to_vec()
}

/// Number of flows that fills a batch, which is then sent immediately.
fn hundred(first: &str) -> Vec<Flow> {
    let more = (1..100).map(|i| flow(&format!("{first}-{i}")));
    std::iter::once(flow(first)).chain(more).collect()
}

fn ingestion(daemon: &Daemon) -> Value {
    get(daemon, "/api/status").json()["FlowIngestion"].clone()
}

#[test]
fn flows_over_websocket_reach_subscribers_queries_and_the_history() {
    let daemon = Daemon::with(&[OVER_WEBSOCKET]);
    let mut subscriber = listener(&daemon);
    let mut agent = feed(&daemon);
    agent.send_frame(0x80 | BINARY, &message(hundred("f")));
    let received = subscriber.message();
    assert_eq!(
        (&received["Namespace"], &received["Type"]),
        (&json!("flow"), &json!("store"))
    );
    let flows = received["Obj"].as_array().unwrap();
    assert_eq!(flows.len(), 100);
    assert_eq!(flows[0]["UUID"], "f");
    assert_eq!(flows[0]["Network"]["A"], "10.0.0.1");
    let stats = FlowStats::default()
        .with_capture_id("cap-1")
        .with_packets_received(9);
    let stats = FlowMessage {
        flows: Vec::new(),
        stats: Some(stats),
    };
    agent.send_frame(0x80 | BINARY, &stats.encode_to_vec());
    let received = subscriber.message();
    assert_eq!(
        (&received["Namespace"], &received["Obj"]["PacketsReceived"]),
        (&json!("stats"), &json!(9))
    );
    assert_eq!(query(&daemon, "G.Flows().Count()"), json!(100));
    let found = query(&daemon, "G.Flows().Has('UUID', 'f')");
    assert_eq!(found, json!([flows[0]]));
    assert_eq!(
        query(&daemon, "G.Flows().Has('CaptureID', 'other')"),
        json!([])
    );
    assert_eq!(query(&daemon, "G.Flows().Limit(7).Count()"), json!(7));
    let past = query(&daemon, "G.At(1600000000500, 10).Flows().Count()");
    assert_eq!(past, json!(100));
    // A flow that is reported again replaces its earlier record.
    let mut again = flow("f");
    again.last += 5_000;
    agent.send_frame(0x80 | BINARY, &message(vec![again]));
    until("the update is found", || {
        query(&daemon, "G.Flows().Has('UUID', 'f').Values('Last')")
            == json!([1_600_000_006_000_i64])
    });
    assert_eq!(query(&daemon, "G.Flows().Count()"), json!(100));
    let status = ingestion(&daemon);
    assert_eq!(
        (&status["Transport"], &status["Messages"]),
        (&json!("websocket"), &json!(3))
    );
    assert_eq!(
        (&status["Flows"], &status["LiveFlows"]),
        (&json!(101), &json!(100))
    );
}

#[test]
fn flows_of_agents_are_found_on_their_nodes() {
    let daemon = Daemon::with(&[OVER_WEBSOCKET]);
    let mut agent = agent(&daemon, "ag-1");
    let mut interface = node("if1");
    interface["Metadata"]["TID"] = json!("tid-1");
    agent.send_graph("NodeAdded", interface);
    agent.send_graph("NodeAdded", node("if2"));
    agent.sync(json!({}));
    feed(&daemon).send_frame(0x80 | BINARY, &message(vec![flow("f")]));
    until("the flow is found", || {
        query(&daemon, "G.V('if1').Flows().Count()") == json!(1)
    });
    assert_eq!(query(&daemon, "G.V('if2').Flows()"), json!([]));
    assert_eq!(
        query(&daemon, "G.Flows().Nodes().Values('Name')"),
        json!(["if1"])
    );
}

#[test]
fn flows_are_received_as_datagrams_by_default() {
    let daemon = Daemon::start();
    let answer = WebSocket::try_open(&daemon, "/ws/agent/flow", &[WHO])
        .err()
        .unwrap();
    assert_eq!(answer.status, 404);
    let mut subscriber = listener(&daemon);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |bytes: &[u8]| socket.send_to(bytes, daemon.address).unwrap();
    for junk in [
        &b""[..],
        b"{\"Flows\":[]}",
        b"\x0a\xff\xff\xff\xff\xff\x0f",
        b"\x0a\x03\x0a\x01\xff",
    ] {
        send(junk);
    }
    send(&vec![0xff; 60_000]);
    for flow in hundred("u") {
        send(&message(vec![flow]));
    }
    let received = subscriber.message();
    assert_eq!(received["Obj"].as_array().unwrap().len(), 100);
    let status = ingestion(&daemon);
    assert_eq!(
        (&status["Transport"], &status["DroppedByKernel"]),
        (&json!("udp"), &json!(0))
    );
    // The empty datagram is a message without flows.
    assert_eq!(
        (&status["Messages"], &status["Refused"]),
        (&json!(101), &json!(4))
    );
    assert_eq!(query(&daemon, "G.Flows().Count()"), json!(100));
}

/// Datagrams carry no credentials.
#[test]
fn only_the_local_host_may_send_datagrams_if_authentication_is_enabled() {
    let daemon = Daemon::with(&[
        "analyzer.listen=0.0.0.0:0",
        "auth.mine.type=basic",
        "auth.mine.users={admin: pass}",
        "analyzer.auth.api.backend=mine",
    ]);
    let port = daemon.address.port();
    let status = || {
        let basic = [("Authorization", "Basic YWRtaW46cGFzcw==")];
        let answer = crate::client::request(&daemon, "GET", "/api/status", &basic, b"");
        answer.json()
    };
    // Connecting a UDP socket sends nothing; it only selects the local address.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let own = socket
        .connect("192.0.2.1:9")
        .and_then(|()| socket.local_addr());
    let from = |address: std::net::IpAddr| {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket
            .send_to(&message(vec![flow("f")]), (address, port))
            .unwrap();
        // The daemon looks up the owner of the socket, which must still be open.
        socket
    };
    if let Ok(own) = own {
        let _socket = from(own.ip());
        until("the datagram is dropped", || {
            status()["Queues"]["MessagesDropped"] == 1
        });
    }
    let _socket = from([127, 0, 0, 1].into());
    until("the datagram is accepted", || {
        status()["FlowIngestion"]["Flows"] == 1
    });
}

#[test]
fn an_occupied_udp_port_does_not_affect_the_rest() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = format!("analyzer.listen={}", taken.local_addr().unwrap());
    let daemon = Daemon::with(&[&listen]);
    assert_eq!(get(&daemon, "/api").status, 200);
    let error = ingestion(&daemon)["Error"].as_str().unwrap().to_owned();
    assert!(error.contains("in use"), "{error}");
}

#[test]
fn flows_beyond_the_batch_queue_are_dropped_and_counted() {
    let daemon = Daemon::with(&[OVER_WEBSOCKET, "analyzer.flow.max_buffer_size=30"]);
    feed(&daemon).send_frame(0x80 | BINARY, &message(hundred("f")));
    let dropped = || get(&daemon, "/api/status").json()["Queues"]["FlowsDropped"].clone();
    until("some are dropped", || dropped() == json!(70));
    until("the other flows are stored", || {
        query(&daemon, "G.Flows().Count()") == json!(30)
    });
}

/// A large flow soon fills the small queue of a client that does not read.
#[test]
fn a_client_that_stops_reading_does_not_affect_the_others() {
    let daemon = Daemon::with(&[OVER_WEBSOCKET, "http.limits.ws_queue_bytes=1MiB"]);
    let mut others: Vec<WebSocket> = (0..5).map(|_| listener(&daemon)).collect();
    let frozen = listener(&daemon);
    set_socket_recv_buffer_size(&frozen.connection.stream, 4_096).unwrap();
    let mut agent = feed(&daemon);
    let readers: Vec<_> = others
        .drain(..)
        .map(|mut socket| {
            std::thread::spawn(move || {
                let numbers =
                    (0..MESSAGES).map(|_| socket.message()["Obj"]["PacketsReceived"].clone());
                numbers.eq((0..MESSAGES).map(|number| json!(number)))
            })
        })
        .collect();
    let mut stats = FlowStats::default().with_capture_id("c".repeat(4_000));
    for number in 0..MESSAGES {
        stats.packets_received = number;
        let message = FlowMessage {
            flows: Vec::new(),
            stats: Some(stats.clone()),
        };
        agent.send_frame(0x80 | BINARY, &message.encode_to_vec());
    }
    for reader in readers {
        assert!(reader.join().unwrap(), "every message arrived, in order");
    }
    until("the client is disconnected and counted", || {
        get(&daemon, "/api/status").json()["Queues"]["FlowSubscribersCutOff"] == 1
    });
    drop(frozen);
}

/// More bytes than the buffers of a socket hold.
const MESSAGES: i64 = 3_000;

#[test]
fn hostile_feeds_do_not_affect_the_daemon() {
    let daemon = Daemon::with(&[OVER_WEBSOCKET]);
    let mut agent = feed(&daemon);
    let mut odd = flow("odd");
    odd.start = i64::MIN;
    odd.last = i64::MAX;
    odd.raw_packets_captured = -1;
    odd.last_update_metric = Some(
        FlowMetric::default()
            .with_ab_bytes(i64::MIN)
            .with_ba_bytes(i64::MAX)
            .with_interval(i64::MAX, i64::MIN)
            .with_rtt(-1),
    );
    odd.metric = odd.last_update_metric;
    odd.last_raw_packets = vec![RawPacket {
        timestamp: i64::MIN,
        index: -5,
        link_type: u32::MAX,
        ..RawPacket::default()
    }];
    let empty = Flow::default();
    let unnamed = (0..3).map(|_| empty.clone());
    let mut both = odd.clone();
    both.uuid = "both".into();
    agent.send_frame(
        0x80 | BINARY,
        &message(unnamed.chain([odd, both]).collect()),
    );
    // Not protobuf, truncated, text, and a million flows of two bytes each.
    for junk in [&b"\xff\xff\xff"[..], b"", b"{}", b"\x0a\x05abc"] {
        agent.send_frame(0x80 | BINARY, junk);
    }
    agent.send_frame(0x80 | BINARY, &b"\x0a\x00".repeat(1 << 20));
    agent.send_frame(0x81, &message(vec![flow("in a text frame")]));
    until("the last flow is stored", || {
        query(&daemon, "G.Flows().Has('UUID', 'in a text frame').Count()") == json!(1)
    });
    for gremlin in [
        "G.Flows().Sort()",
        "G.Flows().Sort('Start')",
        "G.Flows().Dedup().Count()",
        "G.Flows().Metrics().Sum()",
        "G.Flows().RawPackets()",
        "G.Flows().Sum('Metric.ABBytes')",
        "G.Flows().Has('Last', Gt(0)).Limit(2)",
        "G.At(1600000000500, 10).Flows().Metrics()",
        "G.Context('now', 3600).Flows().Metrics().Aggregates()",
    ] {
        let body = json!({ "GremlinQuery": gremlin }).to_string();
        let status = crate::client::post(&daemon, "/api/topology", &body).status;
        assert!(matches!(status, 200 | 400), "{gremlin}: {status}");
    }
    let refused = ingestion(&daemon)["Refused"].as_u64().unwrap();
    assert_eq!(refused, 4, "three that are none, one that is too much");
    // A message above the limit ends its connection.
    agent.send_frame(0x80 | BINARY, &vec![0; (16 << 20) + 1]);
    assert_eq!(agent.closed().0, Some(1009));
    assert_eq!(get(&daemon, "/api").status, 200);
}

#[test]
fn an_agent_writes_its_elements_and_they_are_deleted_with_it() {
    let daemon = Daemon::with(&["host_id=here"]);
    let mut subscriber = WebSocket::open(&daemon, "/ws/subscriber", &[WHO]);
    let mut agent = agent(&daemon, "ag-1");
    let of = |id: &str, origin: &str| {
        let mut node = node(id);
        node["Origin"] = json!(origin);
        node
    };
    let nodes = json!({"Nodes": [of("own", "agent.ag-1"), of("of-a-publisher", "tool.x")]});
    agent.send_graph("Sync", nodes);
    // Without schema and origin.
    agent.send_graph("NodeAdded", json!({"ID": "bare", "Metadata": {}}));
    // With the origin of the probes of this host.
    agent.send_graph("NodeAdded", of("false", "agent.here"));
    agent.send_graph(
        "Sync",
        json!({"Nodes": [of("own", "agent.ag-1"), of("false", "agent.here")]}),
    );
    agent.sync(json!({}));
    let events: Vec<String> = (0..3).map(|_| subscriber.event()).collect();
    assert_eq!(
        events,
        [
            "NodeAdded own",
            "NodeAdded of-a-publisher",
            "NodeAdded bare"
        ]
    );
    let status = get(&daemon, "/api/status").json();
    assert_eq!(status["Agents"]["ag-1"]["ServiceType"], "agent");
    assert_eq!(status["Queues"]["MessagesDropped"], 2);
    drop(agent);
    assert_eq!(subscriber.event(), "NodeDeleted own");
    assert_eq!(query(&daemon, "G.V().Count()"), json!(2));
}

#[test]
fn the_agent_of_this_host_is_accepted_if_no_probe_runs_here() {
    let daemon = Daemon::with(&["host_id=here"]);
    let mut agent = agent(&daemon, "here");
    let mut interface = node("if1");
    interface["Origin"] = json!("agent.here");
    interface["Metadata"]["LinkFlags"] = json!(["UP"]);
    interface["Metadata"]["EncapType"] = json!("ether");
    interface["Metadata"]["TID"] = json!("t");
    agent.send_graph("NodeAdded", interface);
    agent.sync(json!({}));
    // The agent runs its captures itself: this daemon opens none.
    let body = json!({"GremlinQuery": "G.V('if1')"}).to_string();
    assert_eq!(
        crate::client::post(&daemon, "/api/capture", &body).status,
        201
    );
    let tool = [("X-Client-Type", "tool"), ("X-Host-ID", "other")];
    let mut other = WebSocket::open(&daemon, "/ws/publisher", &tool);
    for i in 0..20 {
        other.send_graph("NodeAdded", node(&format!("n{i}")));
    }
    other.sync(json!({}));
    assert_eq!(query(&daemon, "G.V().HasKey('Captures')"), json!([]));
    // A publisher must not use that origin.
    let headers = [WHO, ("X-Host-ID", "here")];
    let mut socket = WebSocket::try_open(&daemon, "/ws/publisher", &headers).unwrap();
    assert_eq!(socket.frame().unwrap().opcode, CLOSE);
}
