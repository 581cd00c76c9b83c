//! Malicious and broken HTTP clients.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::client::{Connection, TEXT, WebSocket, get, post};
use crate::daemon::{Daemon, TIMEOUT, until};

/// Sends bytes on a new connection and returns the status of the response; 0 if the connection ends
/// without a response.
fn status_of(daemon: &Daemon, bytes: impl AsRef<[u8]>) -> u16 {
    let mut connection = Connection::open(daemon);
    connection.send(bytes);
    connection.answer().map_or(0, |answer| answer.status)
}

#[test]
fn ambiguous_requests_are_rejected() {
    let daemon = Daemon::start();
    let get = "GET /api HTTP/1.1\r\nHost: localhost\r\n";
    for (what, bytes) in [
        ("two lengths", "POST /api/topology HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}    ".to_owned()),
        ("a signed length", "POST /api/topology HTTP/1.1\r\nHost: localhost\r\nContent-Length: +2\r\n\r\n{}".to_owned()),
        ("a list of lengths", "POST /api/topology HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2, 3\r\n\r\n{}".to_owned()),
        ("an unknown coding", "POST /api/topology HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned()),
        ("chunked not last", "POST /api/topology HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n".to_owned()),
        ("a folded header", format!("{get}X-A: b\r\n c: d\r\n\r\n")),
        ("a space before the colon", format!("{get}Content-Length : 2\r\n\r\n{{}}")),
        ("a NUL in a header", format!("{get}X-A: b\0c\r\n\r\n")),
        ("no version", "GET /api\r\n\r\n".to_owned()),
        ("another protocol", "SSH-2.0-x\r\n\r\n".to_owned()),
        ("a space in the path", "GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()),
    ] {
        let status = status_of(&daemon, &bytes);
        assert!(matches!(status, 0 | 400), "{what}: {status}");
    }
}

#[test]
fn a_length_in_addition_to_chunks_closes_the_connection_after_the_response() {
    let daemon = Daemon::start();
    let mut connection = Connection::open(&daemon);
    // By its length, the body ends before the second request; as chunks, after it.
    connection.send(
        "POST /api/topology HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\n{}\r\n0\r\n\r\nGET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n",
    );
    let first = connection.answer().map(|answer| answer.status);
    match first {
        None | Some(400) => {}
        // Chunked encoding takes precedence (RFC 9112, 6.3); the rest must not be read as a request.
        Some(204) => assert!(connection.answer().is_none_or(|next| next.status == 404)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn request_heads_are_limited() {
    let daemon = Daemon::with(&["http.limits.header_bytes=16KiB"]);
    let long = "x".repeat(20_000);
    let start = "GET /api HTTP/1.1\r\nHost: localhost\r\n";
    let many: String = (0..200).map(|i| format!("X-{i}: 1\r\n")).collect();
    for (what, bytes) in [
        ("a long header", format!("{start}X-A: {long}\r\n\r\n")),
        ("many headers", format!("{start}{many}\r\n")),
        (
            "a long path",
            format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ),
        ("a line that never ends", "G".repeat(40_000)),
    ] {
        let status = status_of(&daemon, bytes);
        assert!(matches!(status, 0 | 400 | 414 | 431), "{what}: {status}");
    }
    assert_eq!(get(&daemon, "/api").status, 200);
}

#[test]
fn request_bodies_are_limited() {
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
    connection.send(
        "POST /api/capture HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    for _ in 0..20 {
        connection.send(format!("64\r\n{}\r\n", "z".repeat(100)));
    }
    assert_eq!(connection.answer().unwrap().status, 413);
    let claims = "POST /api/topology HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18446744073709551615\r\n\r\n";
    let status = status_of(&daemon, claims);
    assert!(matches!(status, 0 | 400 | 413 | 431), "{status}");
}

#[test]
fn deeply_nested_json_is_rejected() {
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
fn slow_senders_are_disconnected() {
    let daemon = Daemon::with(&[
        "http.limits.header_timeout=0.3",
        "http.limits.body_timeout=0.3",
    ]);
    let began = Instant::now();
    let mut head = Connection::open(&daemon);
    let mut idle = Connection::open(&daemon);
    let mut body = Connection::open(&daemon);
    body.send("POST /api/topology HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n");
    // A byte now and then must not extend the timeout.
    let mut dripped = 0;
    while began.elapsed() < TIMEOUT && head.stream.write_all(b"G").is_ok() {
        drop(body.stream.write_all(b" "));
        dripped += 1;
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert!(
        began.elapsed() < TIMEOUT,
        "still taking bytes after {dripped}"
    );
    assert_eq!(body.answer().unwrap().status, 408);
    assert!(idle.ends());
    assert_eq!(get(&daemon, "/api").status, 200);
}

#[test]
fn connections_are_limited_and_closing_one_frees_a_slot() {
    let daemon = Daemon::with(&["http.limits.connections=3"]);
    // Idle connections would be closed; WebSocket connections are busy.
    let open = |n: usize| {
        let name = n.to_string();
        let headers = [("X-Client-Type", "test"), ("X-Host-ID", name.as_str())];
        WebSocket::open(&daemon, "/ws/subscriber", &headers)
    };
    let held: Vec<WebSocket> = (0..3).map(open).collect();
    let mut fourth = Connection::open(&daemon);
    assert_eq!(fourth.answer().unwrap().status, 503);
    drop(held);
    let began = Instant::now();
    loop {
        let mut connection = Connection::open(&daemon);
        connection.send("GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = connection.answer().unwrap();
        if answer.status == 200 {
            let refused = answer.json()["Queues"]["ConnectionsRefused"]
                .as_u64()
                .unwrap();
            assert!(refused >= 1);
            break;
        }
        assert!(began.elapsed() < TIMEOUT);
    }
}

/// A hundred clients that each send the maximum must not exhaust the memory.
#[test]
fn the_memory_of_incoming_messages_is_limited() {
    let daemon = Daemon::with(&["http.limits.memory=12MiB"]);
    let memory = || get(&daemon, "/api/status").json()["Memory"].clone();
    let used = || memory()["Uses"]["requests"].as_u64();
    let open = |name| {
        let headers = [("X-Client-Type", "test"), ("X-Host-ID", name)];
        WebSocket::open(&daemon, "/ws/publisher", &headers)
    };
    let block = vec![b' '; 4 << 20];
    // The first fragment of a message.
    let mut first = open("first");
    first.send_frame(TEXT, &block);
    until("the fragment is counted", || used() >= Some(8 << 20));
    let mut second = open("second");
    second.send_frame(TEXT, &block);
    assert_eq!(second.closed().0, Some(1013));
    let mut body = Connection::open(&daemon);
    let length = block.len();
    body.send(format!(
        "POST /api/topology HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
    ));
    body.send(&block);
    let answer = body.answer().unwrap();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(answer.text().contains("http.limits.memory"));
    assert_eq!(memory()["Refused"], 2);
    assert_eq!(memory()["Limit"], 12 << 20);
    let cheap = post(
        &daemon,
        "/api/topology",
        r#"{"GremlinQuery":"G.V().Count()"}"#,
    );
    assert_eq!(cheap.status, 200, "a small request needs no memory");
    // Memory of processed messages is returned.
    first.send_frame(0x80, b" ");
    until("the memory is released", || used() == Some(0));
    second = open("second");
    second.send_frame(TEXT, &block);
    until("the daemon accepts messages again", || {
        used() >= Some(8 << 20)
    });
    drop(second);
    until("the memory is released", || used() == Some(0));
}

#[test]
fn requests_smuggled_in_others_are_not_served() {
    let daemon = Daemon::start();
    // This would be a separate request if the one before ended too early.
    let hidden = "DELETE /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let post = "POST /api/topology HTTP/1.1\r\nHost: localhost\r\n";
    let chunked = format!("{post}Transfer-Encoding: chunked\r\n\r\n");
    for (what, bytes) in [
        (
            "the same length twice",
            format!("{post}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{{}}"),
        ),
        (
            "a bare line feed",
            format!("GET /api HTTP/1.1\nHost: localhost\nContent-Length: 0\n\n{hidden}"),
        ),
        (
            "a bare carriage return",
            format!("GET /api HTTP/1.1\r\nX: a\rb\r\n\r\n{hidden}"),
        ),
        (
            "two codings",
            format!(
                "{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{hidden}"
            ),
        ),
        (
            "a coding with a blank",
            format!("{post}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "a coding in HTTP/1.0",
            format!(
                "POST /api/topology HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
            ),
        ),
        (
            "a chunk's size that is none",
            format!("{chunked}0x2\r\n{{}}\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "a negative chunk",
            format!("{chunked}-2\r\n{{}}\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "a chunk too large to count",
            format!("{chunked}ffffffffffffffffff\r\n{{}}\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "a chunk that is longer than its size",
            format!("{chunked}2\r\n{{}}x\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "extensions without end",
            format!("{chunked}2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(100_000)),
        ),
        (
            "two hosts",
            format!("GET /api HTTP/1.1\r\nHost: localhost\r\nHost: y\r\n\r\n{hidden}"),
        ),
        ("no host", format!("GET /api HTTP/1.1\r\n\r\n{hidden}")),
        (
            "a header without a name",
            format!("{post}: x\r\n\r\n{hidden}"),
        ),
        (
            "a first line with two versions",
            format!("GET /api HTTP/1.1 HTTP/1.1\r\nHost: localhost\r\n\r\n{hidden}"),
        ),
        (
            "another version",
            format!("GET /api HTTP/3.7\r\nHost: localhost\r\n\r\n{hidden}"),
        ),
        (
            "a preface of HTTP/2",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        ),
        (
            "TLS",
            "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}\r\n\r\n".to_owned(),
        ),
    ] {
        let mut connection = Connection::open(&daemon);
        connection.send(&bytes);
        connection
            .stream
            .shutdown(std::net::Shutdown::Write)
            .unwrap();
        let mut statuses = Vec::new();
        while let Some(answer) = connection.answer() {
            statuses.push(answer.status);
        }
        // One response to the first request; a further 404 or 405 would belong to the hidden one, which
        // may only follow a request that ended properly.
        let is_plain = what == "a bare line feed";
        let most = if is_plain { 2 } else { 1 };
        assert!(statuses.len() <= most, "{what}: {statuses:?}");
        assert!(
            statuses.iter().all(|status| *status < 500),
            "{what}: {statuses:?}"
        );
    }
    assert_eq!(get(&daemon, "/api").status, 200);
}

#[test]
fn malformed_paths_reach_no_handler() {
    let daemon = Daemon::with(&[
        "auth.basic.users={ann: one}",
        "analyzer.auth.api.backend=basic",
    ]);
    for path in [
        "/api/%63apture",
        "/%61pi/status",
        "/api%2Fstatus",
        "/api/status%00",
        "/api/status%2e",
        "/api/status;x",
        "/api/status/",
        "/api/status/x",
        "//api/status",
        "/./api/status",
        "/x/../api/status",
        "/login/../api/status",
        "/login/%2e%2e/api/status",
        "/login/..%2fapi/status",
        "/login%2f..%2fapi/status",
        "/API/status",
        "/api\\status",
        "/api/capture/%2e%2e/status",
        "/api/capture/..%00",
        "/ws/subscriber%00",
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "http://x/api/status",
        "http://ann:one@x/api/status",
        "*",
    ] {
        let answer = get(&daemon, path);
        // The target of the redirect requires credentials.
        assert!(
            matches!(answer.status, 301 | 400 | 401 | 404 | 405),
            "{path}: {} {}",
            answer.status,
            answer.text()
        );
    }
    let connect = status_of(&daemon, "CONNECT x:80 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(connect, 501);
}

#[test]
fn malformed_credentials_of_any_length_are_rejected() {
    let daemon = Daemon::with(&[
        "auth.basic.users={ann: one}",
        "analyzer.auth.api.backend=basic",
        "http.limits.header_bytes=16KiB",
    ]);
    let with = |header: &[u8]| {
        let mut bytes = b"GET /api HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".to_vec();
        bytes.extend(header);
        bytes.extend(b"\r\n\r\n");
        status_of(&daemon, bytes)
    };
    let long = format!("Authorization: Basic {}", "QQ==".repeat(2_500));
    let longer = format!("Authorization: Basic {}", "QQ==".repeat(25_000));
    let cookies = format!("Cookie: {}", "authtoken=x;".repeat(1_000));
    assert_eq!(with(long.as_bytes()), 401);
    assert_eq!(with(cookies.as_bytes()), 401);
    assert!(matches!(with(longer.as_bytes()), 0 | 400 | 431));
    for header in [
        &b"Authorization: \xff\xfe"[..],
        b"Authorization: Basic \t",
        b"Authorization: Basic Og==",
        b"Authorization: Basic YW5uOg==",
        b"Authorization: Basic YW5uOm9uZQ==\r\nCookie: authtoken=YW5uOg==",
        b"X-Auth-Token: ann:one",
        b"Cookie: authtoken=\"YW5uOm9uZQ==",
        b"Cookie: authtoken=\"",
    ] {
        assert_eq!(with(header), 401, "{:?}", String::from_utf8_lossy(header));
    }
    // Two headers: the first one counts.
    let two = b"Authorization: Basic YW5uOm9uZQ==\r\nAuthorization: Basic bad";
    assert_eq!(with(two), 200);
    // A slow password check does not delay other requests.
    assert_eq!(get(&daemon, "/login").status, 302);
}

/// Returns the number of open descriptors of the daemon.
fn descriptors(daemon: &Daemon) -> usize {
    let folder = format!("/proc/{}/fd", daemon.id());
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn rejected_clients_leave_no_open_descriptors() {
    let daemon = Daemon::with(&[
        "auth.basic.users={ann: one}",
        "analyzer.auth.api.backend=basic",
    ]);
    let before = descriptors(&daemon);
    for _ in 0..75 {
        let token = ("X-Auth-Token", "YW5uOm9uZQ==");
        let who = ("X-Client-Type", "test");
        // Without credentials; without a type, which is rejected with a close frame; with an
        // unknown protocol; no upgrade at all. All clients disconnect before they receive the
        // response.
        let headers: [&[(&str, &str)]; 3] = [
            &[who],
            &[token],
            &[token, who, ("X-Client-Protocol", "xml")],
        ];
        for headers in headers {
            drop(WebSocket::try_open(&daemon, "/ws/subscriber", headers));
        }
        let mut connection = Connection::open(&daemon);
        connection.send("GET /ws/subscriber HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    until("the descriptors are closed", || {
        descriptors(&daemon) <= before
    });
}

/// Runs with 10 000 connections if `SKYD_TEST_IDLE=10000` is set; raises the limit of open files.
#[test]
fn idle_connections_do_not_block_other_clients() {
    let count = std::env::var("SKYD_TEST_IDLE").map_or(300, |text| text.parse().unwrap());
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    let most = format!("http.limits.connections={count}");
    let daemon = Daemon::with(&[&most, "http.limits.header_timeout=60"]);
    let who = [("X-Client-Type", "test"), ("X-Host-ID", "worker")];
    let mut worker = WebSocket::open(&daemon, "/ws/subscriber", &who);
    let mut idle: Vec<Connection> = (0..count).map(|_| Connection::open(&daemon)).collect();
    // At the limit, the longest idle connections are closed, and no busy one.
    for _ in 0..20 {
        assert_eq!(get(&daemon, "/api").status, 200);
    }
    assert!(idle[0].ends());
    let status = get(&daemon, "/api/status").json();
    assert!(status["Queues"]["ConnectionsClosedIdle"].as_u64().unwrap() >= 2);
    assert_eq!(status["Queues"]["ConnectionsRefused"], 0);
    assert_eq!(worker.sync(serde_json::json!({}))["Status"], 200);
    let last = idle.last_mut().unwrap();
    last.send("GET /api HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(last.answer().unwrap().status, 200);
}

#[test]
fn an_idle_connection_is_closed() {
    let daemon = Daemon::with(&["http.limits.header_timeout=0.3"]);
    let mut connection = Connection::open(&daemon);
    connection.send("GET /api HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(connection.answer().unwrap().status, 200);
    assert!(connection.ends());
}
