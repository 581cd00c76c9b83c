//! Clients that mean no good, or cannot count.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::client::{Connection, TEXT, WebSocket, get, post};
use crate::daemon::{Daemon, PATIENCE, until};

/// What bytes on a new connection are answered with; 0 where it just ends.
fn status_of(daemon: &Daemon, bytes: impl AsRef<[u8]>) -> u16 {
    let mut connection = Connection::open(daemon);
    connection.send(bytes);
    connection.answer().map_or(0, |answer| answer.status)
}

#[test]
fn requests_that_two_servers_could_read_differently_are_refused() {
    let daemon = Daemon::start();
    let get = "GET /api HTTP/1.1\r\nHost: x\r\n";
    for (what, bytes) in [
        ("two lengths", "POST /api/topology HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}    ".to_owned()),
        ("a signed length", "POST /api/topology HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n{}".to_owned()),
        ("a list of lengths", "POST /api/topology HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 3\r\n\r\n{}".to_owned()),
        ("an unknown coding", "POST /api/topology HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned()),
        ("chunked not last", "POST /api/topology HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n".to_owned()),
        ("a folded header", format!("{get}X-A: b\r\n c: d\r\n\r\n")),
        ("a space before the colon", format!("{get}Content-Length : 2\r\n\r\n{{}}")),
        ("a NUL in a header", format!("{get}X-A: b\0c\r\n\r\n")),
        ("no version", "GET /api\r\n\r\n".to_owned()),
        ("another protocol", "SSH-2.0-x\r\n\r\n".to_owned()),
        ("a space in the path", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()),
    ] {
        let status = status_of(&daemon, &bytes);
        assert!(matches!(status, 0 | 400), "{what}: {status}");
    }
}

#[test]
fn a_length_beside_chunks_ends_the_connection_with_its_answer() {
    let daemon = Daemon::start();
    let mut connection = Connection::open(&daemon);
    // Read by its length, the body ends before the second request; read as chunks, after it.
    connection.send(
        "POST /api/topology HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\n{}\r\n0\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    let first = connection.answer().map(|answer| answer.status);
    match first {
        None | Some(400) => {}
        // Chunks count (RFC 9112, 6.3); nothing that follows may be taken for a request.
        Some(204) => assert!(connection.answer().is_none_or(|next| next.status == 404)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn heads_have_bounds() {
    let daemon = Daemon::with(&["http.limits.header_bytes=16KiB"]);
    let long = "x".repeat(20_000);
    let start = "GET /api HTTP/1.1\r\nHost: x\r\n";
    let many: String = (0..200).map(|i| format!("X-{i}: 1\r\n")).collect();
    for (what, bytes) in [
        ("a long header", format!("{start}X-A: {long}\r\n\r\n")),
        ("many headers", format!("{start}{many}\r\n")),
        (
            "a long path",
            format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        ),
        ("a line that never ends", "G".repeat(40_000)),
    ] {
        let status = status_of(&daemon, bytes);
        assert!(matches!(status, 0 | 400 | 414 | 431), "{what}: {status}");
    }
    assert_eq!(get(&daemon, "/api").status, 200);
}

#[test]
fn bodies_have_bounds() {
    let daemon = Daemon::with(&["http.limits.body_bytes=1000"]);
    let long = format!(r#"{{"GremlinQuery":"G","x":"{}"}}"#, "y".repeat(2_000));
    let answer = post(&daemon, "/api/topology", &long);
    assert_eq!(
        (answer.status, answer.header("connection")),
        (413, Some("close"))
    );
    assert!(
        answer.text().contains("http.limits.body_bytes"),
        "{}",
        answer.text()
    );
    let mut connection = Connection::open(&daemon);
    connection.send("POST /api/capture HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..20 {
        connection.send(format!("64\r\n{}\r\n", "z".repeat(100)));
    }
    assert_eq!(connection.answer().unwrap().status, 413);
    let claims =
        "POST /api/topology HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551615\r\n\r\n";
    let status = status_of(&daemon, claims);
    assert!(matches!(status, 0 | 400 | 413 | 431), "{status}");
}

#[test]
fn deep_json_is_refused() {
    let daemon = Daemon::start();
    for depth in [200, 200_000] {
        let deep = "[".repeat(depth) + &"]".repeat(depth);
        for path in ["/api/capture", "/api/topology"] {
            let body = format!(r#"{{"GremlinQuery":{deep},"Count":{deep}}}"#);
            assert_eq!(post(&daemon, path, &body).status, 400, "{path} {depth}");
        }
        let deep = "G.V()".to_owned() + &".Has('a', Ne(".repeat(depth);
        let body = serde_json::json!({ "GremlinQuery": deep }).to_string();
        assert_eq!(post(&daemon, "/api/topology", &body).status, 400, "{depth}");
    }
    assert_eq!(get(&daemon, "/api").status, 200);
}

#[test]
fn who_drips_is_hung_up_on() {
    let daemon = Daemon::with(&[
        "http.limits.header_timeout=0.3",
        "http.limits.body_timeout=0.3",
    ]);
    let began = Instant::now();
    let mut head = Connection::open(&daemon);
    let mut idle = Connection::open(&daemon);
    let mut body = Connection::open(&daemon);
    body.send("POST /api/topology HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
    // A byte now and then must not buy time.
    let mut dripped = 0;
    while began.elapsed() < PATIENCE && head.stream.write_all(b"G").is_ok() {
        drop(body.stream.write_all(b" "));
        dripped += 1;
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert!(
        began.elapsed() < PATIENCE,
        "still taking bytes after {dripped}"
    );
    assert_eq!(body.answer().unwrap().status, 408);
    assert!(idle.ends());
    assert_eq!(get(&daemon, "/api").status, 200);
}

#[test]
fn connections_have_a_bound_and_a_place_is_free_again() {
    let daemon = Daemon::with(&["http.limits.connections=3"]);
    let held: Vec<Connection> = (0..3).map(|_| Connection::open(&daemon)).collect();
    // The daemon accepts in order, so the fourth finds three.
    let mut fourth = Connection::open(&daemon);
    assert_eq!(fourth.answer().unwrap().status, 503);
    drop(held);
    let began = Instant::now();
    loop {
        let mut connection = Connection::open(&daemon);
        connection.send("GET /api/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = connection.answer().unwrap();
        if answer.status == 200 {
            let refused = answer.json()["Queues"]["ConnectionsRefused"]
                .as_u64()
                .unwrap();
            assert!(refused >= 1);
            break;
        }
        assert!(began.elapsed() < PATIENCE);
    }
}

/// A hundred clients that each send as much as one may must not fill the memory.
#[test]
fn what_arrives_at_one_time_has_a_bound() {
    let daemon = Daemon::with(&["http.limits.incoming_bytes=6MiB"]);
    let queues = || get(&daemon, "/api/status").json()["Queues"].clone();
    let open = |name| {
        let headers = [("X-Client-Type", "test"), ("X-Host-ID", name)];
        WebSocket::open(&daemon, "/ws/publisher", &headers)
    };
    let block = vec![b' '; 4 << 20];
    // The first fragment of a message.
    let mut first = open("first");
    first.send_frame(TEXT, &block);
    until("it is counted", || {
        queues()["IncomingBytes"].as_u64() >= Some(4 << 20)
    });
    let mut second = open("second");
    second.send_frame(TEXT, &block);
    assert_eq!(second.closed().0, Some(1013));
    let mut body = Connection::open(&daemon);
    let length = block.len();
    body.send(format!(
        "POST /api/topology HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    ));
    body.send(&block);
    assert_eq!(body.answer().unwrap().status, 503);
    assert_eq!(queues()["IncomingRefused"], 2);
    // What has been worked through is given back.
    first.send_frame(0x80, b" ");
    until("it is given back", || queues()["IncomingBytes"] == 0);
    second = open("second");
    second.send_frame(TEXT, &block);
    until("there is room again", || {
        queues()["IncomingBytes"].as_u64() >= Some(4 << 20)
    });
    drop(second);
    until("it is given back", || queues()["IncomingBytes"] == 0);
}
