//! HTTP API: routes, errors, formats.

use std::io::Read;

use serde_json::json;

use crate::client::{Connection, WebSocket, get, post, query, request};
use crate::daemon::{Daemon, until};

#[test]
fn each_kind_of_error_has_its_form() {
    let daemon = Daemon::start();
    let text = "text/plain; charset=utf-8";
    for (method, path, status, body) in [
        ("GET", "/nothing", 404, "404 page not found\n"),
        (
            "GET",
            "/api/capture/x%2Fy",
            404,
            "Capture 'x/y' not found\n",
        ),
        ("DELETE", "/api/capture/x", 404, "Capture 'x' not found\n"),
        ("DELETE", "/api/capture/", 400, "Bad Request\n"),
    ] {
        let answer = request(&daemon, method, path, &[], b"");
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (status, body),
            "{method} {path}"
        );
        assert_eq!(answer.header("content-type"), Some(text));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    for (method, path, status) in [
        ("HEAD", "/api", 405),
        ("PUT", "/api/capture", 405),
        ("PATCH", "/api/capture/", 400),
        ("PATCH", "/api/capture/x", 404),
        ("GET", "/ws/replication", 426),
    ] {
        let answer = request(&daemon, method, path, &[], b"");
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (status, ""),
            "{method} {path}"
        );
        assert!(method == "HEAD" || answer.header("content-length") == Some("0"));
        assert_eq!(answer.header("allow"), None);
    }
}

#[test]
fn unclean_paths_are_redirected() {
    let daemon = Daemon::start();
    for (path, location) in [
        ("/api/", "/api"),
        ("/api/capture/?a=b", "/api/capture?a=b"),
        ("//api//topology", "/api/topology"),
        ("/x/../api", "/api"),
    ] {
        let answer = get(&daemon, path);
        assert_eq!(
            (answer.status, answer.header("location")),
            (301, Some(location)),
            "{path}"
        );
    }
}

#[test]
fn cross_origin_requests_are_allowed_if_configured() {
    let daemon = Daemon::with(&["http.cors.origins=*"]);
    let origin = ("Origin", "http://ui.example");
    let answer = request(&daemon, "GET", "/api", &[origin], b"");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(
        get(&daemon, "/api").header("access-control-allow-origin"),
        None
    );
    let preflight = [
        origin,
        ("Access-Control-Request-Method", "PATCH"),
        ("Access-Control-Request-Headers", "x-auth-token"),
    ];
    let answer = request(&daemon, "OPTIONS", "/api/capture/x", &preflight, b"");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-methods"), Some("PATCH"));
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("X-Auth-Token")
    );
    assert_eq!(request(&daemon, "OPTIONS", "*", &[], b"").status, 200);
}

#[test]
fn large_responses_are_compressed_if_the_client_accepts_it() {
    let daemon = Daemon::start();
    fill(&daemon, 2_000);
    let plain = get(&daemon, "/api/topology");
    assert_eq!(plain.header("vary"), Some("Accept-Encoding"));
    for path in ["/api/topology", "/api"] {
        let answer = request(&daemon, "GET", path, &[("Accept-Encoding", "gzip")], b"");
        if path == "/api" {
            assert_eq!(
                answer.header("content-encoding"),
                None,
                "too short to gain by it"
            );
            continue;
        }
        assert_eq!(answer.header("content-encoding"), Some("gzip"));
        assert!(answer.body.len() < plain.body.len() / 4);
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&*answer.body)
            .read_to_end(&mut unpacked)
            .unwrap();
        assert!(unpacked == plain.body);
    }
}

/// Publishes the nodes `n0`, `n1`, … with some metadata.
pub(crate) fn fill(daemon: &Daemon, count: usize) {
    let mut publisher = WebSocket::open(daemon, "/ws/publisher", &[("X-Client-Type", "test")]);
    for i in 0..count {
        publisher.send_graph("NodeAdded", node(&format!("n{i}")));
    }
    assert_eq!(
        publisher.sync(json!({}))["Obj"]["Nodes"]
            .as_array()
            .unwrap()
            .len(),
        count
    );
}

pub(crate) fn node(id: &str) -> serde_json::Value {
    json!({"ID": id, "Metadata": {"Name": id, "Type": "device", "Note": "x".repeat(200)}})
}

#[test]
fn queries_are_answered_in_the_accepted_format() {
    let daemon = Daemon::start();
    fill(&daemon, 300);
    let query_as = |gremlin: &str, accept: &str| {
        let body = json!({ "GremlinQuery": gremlin }).to_string();
        request(
            &daemon,
            "POST",
            "/api/topology",
            &[("Accept", accept)],
            body.as_bytes(),
        )
    };
    let answer = query_as("G.V().Count()", "*/*");
    assert_eq!(answer.text(), "300\n");
    assert_eq!(
        answer.header("content-type"),
        Some("application/json; charset=UTF-8")
    );
    assert_eq!(answer.header("content-length"), Some("4"));
    let nodes = query_as("G.V()", "application/json");
    assert_eq!(nodes.json().as_array().unwrap().len(), 300);
    assert_eq!(
        nodes.header("transfer-encoding"),
        Some("chunked"),
        "sent while it is made"
    );
    assert_eq!(
        query_as("G.V('n7')", "").json()[0]["Metadata"]["Name"],
        "n7"
    );
    assert_eq!(
        query_as("G.V('n7').SubGraph()", "").json()[0]["Edges"],
        json!(null)
    );
    let answer = query_as("G.V('n7').SubGraph()", "text/vnd.graphviz");
    assert_eq!(
        answer.header("content-type"),
        Some("text/vnd.graphviz; charset=UTF-8")
    );
    assert!(answer.text().starts_with("digraph g {\n"));
    for accept in ["text/vnd.graphviz", "application/vnd.tcpdump.pcap"] {
        let answer = query_as("G.V().Count()", accept);
        assert_eq!(answer.status, 406);
        assert!(
            answer
                .text()
                .starts_with("Error while encoding response: Only "),
            "{answer:?}"
        );
    }
    let answer = query_as("G.V(.Has('Name', 'x')", "");
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("column 5"), "{}", answer.text());
}

#[test]
fn a_query_is_explained_on_request() {
    let daemon = Daemon::start();
    fill(&daemon, 300);
    let explain = |body: serde_json::Value| {
        let dot = [("Accept", "text/vnd.graphviz")];
        request(
            &daemon,
            "POST",
            "/api/topology",
            &dot,
            body.to_string().as_bytes(),
        )
    };
    let query = "G.V().Has('Type', 'device').Limit(7).Values('Name')";
    let answer = explain(json!({ "GremlinQuery": query, "Explain": true }));
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        Some("application/json; charset=UTF-8")
    );
    let explained = answer.json();
    assert_eq!(explained["Query"], query);
    let source = &explained["Steps"][0];
    assert_eq!(
        source["Absorbed"],
        json!(["Has('Type', 'device')", "Limit(7)"])
    );
    assert_eq!(
        source["Operations"][0]["Access"],
        json!({"Kind": "index", "Key": "Type", "Estimated": 300})
    );
    assert_eq!(
        (&source["Estimated"], &source["Out"]),
        (&json!(7), &json!(7))
    );
    assert_eq!(
        explained["Answer"],
        json!({"Kind": "values", "Elements": 7})
    );

    assert!(source["Microseconds"].is_u64(), "{source}");

    let answer = explain(json!({ "GremlinQuery": "G.V(", "Explain": true }));
    assert_eq!(
        (answer.status, &answer.text()[..14]),
        (400, "Expected right")
    );
    let answer = explain(json!({ "GremlinQuery": "G.V('x')", "Explain": true })).json();
    assert!(
        answer["Error"]
            .as_str()
            .unwrap()
            .starts_with("Node 'x' does not exist")
    );
    let body = r#"{"GremlinQuery": "G.V().Count()", "Explain": false}"#;
    assert_eq!(post(&daemon, "/api/topology", body).text(), "300\n");
}

#[test]
fn bodies_are_parsed_as_leniently_as_in_the_original() {
    let daemon = Daemon::start();
    for (body, status, text) in [
        ("", 204, ""),
        ("null", 204, ""),
        ("{}", 204, ""),
        (
            r#"{"gremlinquery":"G.V().Count()","x":1} and more"#,
            200,
            "0\n",
        ),
        (
            r#"{"GremlinQuery":"nonsense","GREMLINQUERY":"G.V().Count()"}"#,
            200,
            "0\n",
        ),
    ] {
        let answer = post(&daemon, "/api/topology", body);
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (status, text),
            "{body}"
        );
    }
    let bytes = b"{\"GremlinQuery\":\"G.V().Has('Name','\xff').Count()\"}";
    let answer = request(&daemon, "POST", "/api/topology", &[], bytes);
    assert_eq!(answer.text(), "0\n", "what is not UTF-8 becomes U+FFFD");
    for body in ["{", "[]", r#"{"GremlinQuery":5}"#] {
        assert_eq!(post(&daemon, "/api/topology", body).status, 400, "{body}");
    }
}

#[test]
fn one_connection_serves_many_requests_including_pipelined_ones() {
    let daemon = Daemon::start();
    let mut connection = Connection::open(&daemon);
    for _ in 0..3 {
        connection.send("GET /api HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(connection.answer().unwrap().status, 200);
    }
    let body = r#"{"GremlinQuery":"G.V().Count()"}"#;
    let post = format!(
        "POST /api/topology HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.send(format!(
        "{post}GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n{post}"
    ));
    let statuses: Vec<u16> = (0..3)
        .map(|_| connection.answer().unwrap().status)
        .collect();
    assert_eq!(statuses, [200, 404, 200]);
}

#[test]
fn the_status_shows_clients_and_lost_messages() {
    let daemon = Daemon::start();
    let headers = [
        ("X-Client-Type", "test"),
        ("X-Host-ID", "p-1"),
        ("X-Client-Protocol", "json"),
    ];
    let mut publisher = WebSocket::open(&daemon, "/ws/publisher", &headers);
    publisher.send("no message at all");
    publisher.sync(json!({}));
    let status = get(&daemon, "/api/status").json();
    let client = &status["Publishers"]["p-1"];
    assert_eq!(client["ServiceType"], "test");
    assert_eq!(
        (&client["IsConnected"], &client["Addr"]),
        (&json!(true), &json!("127.0.0.1"))
    );
    assert_eq!(status["Queues"]["MessagesDropped"], 1);
    assert_eq!(status["Subscribers"], json!({}));
    assert_eq!(status["Captures"], json!({"IsMaster": true}));
    assert_eq!(status.get("BackendsReplacedByLocal"), None);
    drop(publisher);
    until("the publisher is disconnected", || {
        get(&daemon, "/api/status").json()["Publishers"] == json!({})
    });
}

#[test]
fn an_unavailable_backend_is_replaced_and_shown() {
    let daemon = Daemon::with(&[
        "analyzer.flow.backend=mine",
        "storage.mine.driver=elasticsearch",
        "analyzer.topology.backend=memory",
    ]);
    let status = get(&daemon, "/api/status").json();
    assert_eq!(
        status["BackendsReplacedByLocal"],
        json!({"analyzer.flow.backend": "mine"})
    );
    assert!(
        daemon
            .log()
            .contains("the backend elasticsearch is not supported yet; using local instead")
    );
    assert_eq!(query(&daemon, "G.V().Count()"), 0);
}

#[test]
fn a_key_that_no_node_has_is_reported_in_a_header() {
    let daemon = Daemon::start();
    fill(&daemon, 1);
    let ask = |query: &str| {
        let body = json!({ "GremlinQuery": query }).to_string();
        post(&daemon, "/api/topology", &body)
    };
    let answer = ask("G.V().Has('Nme', 'x')");
    assert_eq!((answer.status, answer.text().trim_end()), (200, "[]"));
    let warning = r#"no node has the key "Nme"; did you mean "Name"?"#;
    assert_eq!(answer.header("x-warning"), Some(warning));
    let odd = ask("G.V().Has('N\u{e4}me\u{1}', 'x')");
    assert!(odd.header("x-warning").unwrap().contains("N?me"), "{odd:?}");
    assert_eq!(ask("G.V().Has('Name', 'x')").header("x-warning"), None);
}
