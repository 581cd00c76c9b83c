//! Web pages of other servers, which reach the daemon through the browser of a user.

use std::net::SocketAddr;

use crate::client::{Answer, CLOSE, Connection, WebSocket, get, request};
use crate::daemon::Daemon;

const PAGE: (&str, &str) = ("Origin", "http://evil.example");

/// Returns the status of a request with exactly these header lines, and `Host` of the daemon.
fn status(address: SocketAddr, start: &str, lines: &[String]) -> Answer {
    let mut connection = Connection::open_at(address);
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    connection.send(format!(
        "{start} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n"
    ));
    connection.answer().unwrap()
}

/// A daemon with default settings rejects all requests of pages of other servers.
#[test]
fn a_foreign_page_can_do_nothing() {
    let daemon = Daemon::start();
    let plain = ("Content-Type", "text/plain");
    let capture = br#"{"GremlinQuery": "G.V()"}"#;
    for (method, path) in [
        ("GET", "/api"),
        ("GET", "/api/topology"),
        ("POST", "/api/topology"),
        ("POST", "/api/capture"),
        ("POST", "/api/pcap"),
        ("DELETE", "/api/capture/x"),
        ("PUT", "/v1/pcaps/1/capture"),
        ("POST", "/login?username=a&password=b"),
        ("GET", "/nothing"),
    ] {
        let answer = request(&daemon, method, path, &[PAGE, plain], capture);
        assert_eq!(answer.status, 403, "{method} {path}");
        assert!(
            answer.text().contains("http.cors.origins"),
            "{}",
            answer.text()
        );
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(answer.header("connection"), Some("close"));
    }
    let preflight = [PAGE, ("Access-Control-Request-Method", "DELETE")];
    let answer = request(&daemon, "OPTIONS", "/api/capture/x", &preflight, b"");
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (403, None)
    );
    for path in [
        "/ws/subscriber",
        "/ws/subscriber/flow",
        "/ws/publisher",
        "/ws/pubsub",
        "/ws/agent/topology",
        "/ws/replication",
    ] {
        let headers = [("X-Client-Type", "x"), PAGE];
        let refused = WebSocket::try_open(&daemon, path, &headers);
        assert_eq!(refused.err().unwrap().status, 403, "{path}");
    }
    let image = [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "no-cors"),
    ];
    assert_eq!(request(&daemon, "GET", "/api", &image, b"").status, 403);
    assert_eq!(get(&daemon, "/api/capture").text(), "{}\n");
}

#[test]
fn a_host_name_that_is_not_this_machine_is_refused() {
    let daemon = Daemon::with(&["http.hosts=sky.example"]);
    let by_host = |host: &str| status(daemon.address, "GET /api", &[format!("Host: {host}")]);
    for host in [
        "evil.example:8082",
        "127.0.0.1.evil.example",
        "evil.sky.example",
    ] {
        let answer = by_host(host);
        assert_eq!(answer.status, 403, "{host}");
        assert!(answer.text().contains("http.hosts"), "{}", answer.text());
    }
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let address = daemon.address.to_string();
    for host in [
        "127.0.0.1",
        &address,
        "[::1]:5",
        "LOCALHOST",
        &name,
        "sky.example:1",
    ] {
        assert_eq!(by_host(host).status, 200, "{host}");
    }
    let lines = ["Host: localhost".to_owned()];
    let absolute = status(daemon.address, "GET http://evil.example/api", &lines);
    assert_eq!(absolute.status, 403);
}

/// Clients other than browsers need no setting; neither do pages of the daemon itself.
#[test]
fn own_pages_and_go_clients_are_accepted() {
    let daemon = Daemon::start();
    let host = format!("Host: {}", daemon.address);
    let own = format!("Origin: http://{}", daemon.address);
    let answer = status(daemon.address, "GET /api", &[host.clone(), own]);
    assert_eq!(answer.status, 200);
    let other_port = "Origin: http://127.0.0.1:1".to_owned();
    assert_eq!(
        status(daemon.address, "GET /api", &[host, other_port]).status,
        403
    );
    // Go clients send the URL of the endpoint as their origin; the tests address `localhost`.
    for path in ["/ws/publisher", "/ws/agent/topology"] {
        let origin = format!("ws://localhost{path}");
        let headers = [("X-Client-Type", "agent-x"), ("Origin", origin.as_str())];
        WebSocket::open(&daemon, path, &headers);
    }
}

#[test]
fn listed_origins_may_read_and_write() {
    let daemon = Daemon::with(&["http.cors.origins=[\"http://ui.example:3000\"]"]);
    let ui = ("Origin", "http://ui.example:3000");
    let answer = request(&daemon, "GET", "/api", &[ui], b"");
    assert_eq!(answer.header("access-control-allow-origin"), Some(ui.1));
    assert!(answer.all("vary").contains(&"Origin"));
    let preflight = [ui, ("Access-Control-Request-Method", "PATCH")];
    let answer = request(&daemon, "OPTIONS", "/api/node/x", &preflight, b"");
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, Some(ui.1))
    );
    let client = ("X-Client-Type", "webui");
    WebSocket::open(&daemon, "/ws/subscriber", &[client, ui]);
    assert_eq!(request(&daemon, "GET", "/api", &[PAGE], b"").status, 403);
    let agents = WebSocket::try_open(&daemon, "/ws/agent/topology", &[client, ui]);
    assert_eq!(agents.err().unwrap().status, 403, "no page is an agent");
}

/// With `*`, everything is as in Skydive.
#[test]
fn all_origins_may_be_allowed() {
    let daemon = Daemon::with(&["http.cors.origins=*"]);
    let answer = status(
        daemon.address,
        "GET /api",
        &[
            "Host: evil.example".to_owned(),
            format!("{}: {}", PAGE.0, PAGE.1),
        ],
    );
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, Some("*"))
    );
    let headers = [("X-Client-Type", "webui"), PAGE];
    for path in ["/ws/subscriber", "/ws/agent/topology"] {
        let mut socket = WebSocket::try_open(&daemon, path, &headers).unwrap();
        assert_ne!(socket.frame().unwrap().opcode, CLOSE, "{path}");
    }
}

#[test]
fn transfer_codings_and_tunnels_are_not_supported() {
    let daemon = Daemon::start();
    for codings in [
        &["Transfer-Encoding: gzip, chunked"][..],
        &["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"],
        &["Transfer-Encoding: chunked, chunked"],
    ] {
        let lines: Vec<String> = codings.iter().map(|line| (*line).to_owned()).collect();
        let lines = [&["Host: localhost".to_owned()][..], &lines].concat();
        let answer = status(daemon.address, "POST /api/topology", &lines);
        assert!(
            matches!(answer.status, 400 | 501),
            "{codings:?}: {}",
            answer.status
        );
        assert_eq!(answer.header("connection"), Some("close"));
    }
    let lines = ["Host: localhost".to_owned()];
    let answer = status(daemon.address, "CONNECT evil.example:80", &lines);
    assert_eq!(
        (answer.status, answer.header("connection")),
        (501, Some("close"))
    );
}
