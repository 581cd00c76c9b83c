//! WebSocket protocol: handshake, frames, pings, closing.

use serde_json::json;

use crate::client::{BINARY, CLOSE, Frame, PING, PONG, TEXT, WebSocket, get, post};
use crate::daemon::{Daemon, until};

const WHO: [(&str, &str); 1] = [("X-Client-Type", "test")];

fn subscriber(daemon: &Daemon) -> WebSocket {
    WebSocket::open(daemon, "/ws/subscriber", &WHO)
}

#[test]
fn a_client_without_a_type_is_served() {
    let daemon = Daemon::start();
    for path in [
        "/ws/subscriber",
        "/ws/publisher",
        "/ws/pubsub",
        "/ws/agent/topology",
    ] {
        let mut socket = WebSocket::try_open(&daemon, path, &[]).expect("101");
        assert_eq!(socket.sync(json!({}))["Status"], 200, "{path}");
    }
}

#[test]
fn a_refused_client_learns_why() {
    let daemon = Daemon::start();
    let xml = [("X-Client-Protocol", "xml")];
    for path in ["/ws/subscriber", "/ws/publisher", "/ws/replication"] {
        let mut socket = WebSocket::try_open(&daemon, path, &xml).expect("101");
        let (code, reason, ends) = socket.closed_because();
        assert_eq!((code, ends), (Some(1008), true), "{path}");
        assert_eq!(
            reason,
            "X-Client-Protocol \"xml\" is not supported; expected json or protobuf"
        );
    }
    // Skydive's clients receive its close code.
    let host = [("X-Host-ID", "mine")];
    let filter = [WHO[0], ("X-Gremlin-Filter", "G.V(")];
    for (headers, name) in [
        (&[WHO[0], xml[0]][..], "X-Client-Protocol"),
        (&filter, "X-Gremlin-Filter"),
        (&host, "X-Client-Type is missing"),
    ] {
        let mut socket = WebSocket::try_open(&daemon, "/ws/subscriber", headers).expect("101");
        let (code, reason, ends) = socket.closed_because();
        assert_eq!((code, ends), (Some(1000), true), "{name}");
        assert!(reason.starts_with(name), "{reason}");
    }
    let long = "é".repeat(200);
    let mut socket =
        WebSocket::try_open(&daemon, "/ws/pubsub", &[("X-Update-Policy", &long)]).expect("101");
    let (code, reason, _) = socket.closed_because();
    assert_eq!(code, Some(1008));
    assert!(reason.len() <= 123 && reason.starts_with("X-Update-Policy"));
}

#[test]
fn an_identity_is_unique_until_its_client_disconnects() {
    let daemon = Daemon::start();
    let twin = [WHO[0], ("X-Host-ID", "twin")];
    let first = WebSocket::open(&daemon, "/ws/subscriber", &twin);
    let answer = WebSocket::try_open(&daemon, "/ws/subscriber", &twin)
        .err()
        .unwrap();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (409, Some("close"))
    );
    let _other = WebSocket::open(&daemon, "/ws/publisher", &twin);
    drop(first);
    until("the name is free", || {
        WebSocket::try_open(&daemon, "/ws/subscriber", &twin).is_ok()
    });
}

#[test]
fn pings_are_answered_between_fragments() {
    let daemon = Daemon::start();
    let mut socket = subscriber(&daemon);
    let text = br#"{"Namespace":"Graph","Type":"SyncRequest","UUID":"f","Obj":{}}"#;
    let (first, second) = text.split_at(20);
    socket.send_frame(TEXT, first);
    socket.send_frame(0x80 | PING, b"between");
    socket.send_frame(0x80, second);
    let pong = socket.frame().unwrap();
    assert_eq!(
        pong,
        Frame {
            is_last: true,
            opcode: PONG,
            payload: b"between".to_vec()
        }
    );
    assert_eq!(socket.message()["UUID"], "f");
}

/// Replies of some megabytes fill the buffers of the sockets, so the requests behind the first few
/// have to wait until the client reads.
#[test]
fn pings_are_answered_while_requests_wait() {
    let daemon = Daemon::start();
    for n in 0..10 {
        let metadata = json!({"Name": "n", "Type": "t", "Pad": "x".repeat(500_000)});
        let body = json!({"ID": format!("n{n}"), "Metadata": metadata}).to_string();
        assert_eq!(post(&daemon, "/api/node", &body).status, 201);
    }
    for path in ["/ws/subscriber", "/ws/publisher", "/ws/pubsub"] {
        let mut socket = WebSocket::open(&daemon, path, &WHO);
        for _ in 0..20 {
            socket.send_graph("SyncRequest", json!({}));
        }
        socket.send_frame(0x80 | PING, b"early");
        let mut replies = 0;
        loop {
            let frame = socket.frame().expect("a pong");
            match frame.opcode {
                PONG => break,
                PING | CLOSE => {}
                _ => replies += usize::from(frame.is_last),
            }
        }
        // The queue has four requests, and two more wait outside.
        assert!(replies < 6, "{path}: {replies}");
    }
}

#[test]
fn each_close_reason_has_its_code() {
    let daemon = Daemon::with(&["http.limits.ws_message_bytes=100000"]);
    let close = |code: u16| [&code.to_be_bytes()[..], b"why"].concat();
    for (what, first, payload, wanted) in [
        ("a close", 0x80 | CLOSE, close(1000), Some(1000)),
        (
            "a close of an application",
            0x80 | CLOSE,
            close(3001),
            Some(3001),
        ),
        ("a close without a code", 0x80 | CLOSE, vec![], None),
        (
            "a close with half a code",
            0x80 | CLOSE,
            vec![3],
            Some(1002),
        ),
        ("a code that is none", 0x80 | CLOSE, close(1005), Some(1002)),
        (
            "a reason that is no text",
            0x80 | CLOSE,
            b"\x03\xe8\xff\xff".to_vec(),
            Some(1002),
        ),
        ("a reserved bit", 0xc0 | TEXT, b"{}".to_vec(), Some(1002)),
        ("a reserved opcode", 0x83, b"{}".to_vec(), Some(1002)),
        ("a fragment of nothing", 0x80, b"{}".to_vec(), Some(1002)),
        ("half a ping", PING, vec![], Some(1002)),
        ("a long ping", 0x80 | PING, vec![0; 126], Some(1002)),
        ("too much", 0x80 | TEXT, vec![b' '; 100_001], Some(1009)),
    ] {
        let mut socket = subscriber(&daemon);
        socket.send_frame(first, &payload);
        assert_eq!(socket.closed(), (wanted, true), "{what}");
    }
    let mut socket = subscriber(&daemon);
    socket.connection.send([0x80 | TEXT, 2, b'{', b'}']);
    assert_eq!(socket.closed(), (Some(1002), true), "not masked");
    let mut socket = subscriber(&daemon);
    socket.connection.send([
        0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4,
    ]);
    assert_eq!(
        socket.closed(),
        (Some(1009), true),
        "a length beyond all bounds"
    );
    assert_eq!(get(&daemon, "/api").status, 200);
}

#[test]
fn only_invalid_messages_are_dropped() {
    let daemon = Daemon::start();
    let mut socket = subscriber(&daemon);
    socket.send_frame(0x80 | TEXT, b"\xff\xfe");
    socket.send_frame(0x80 | BINARY, b"");
    for text in [
        "",
        "[]",
        "5",
        "{}",
        r#"{"Namespace":"Graph","Type":"SyncRequest","Obj":"text"}"#,
    ] {
        socket.send(text);
    }
    assert_eq!(socket.sync(json!({}))["Status"], 200);
}

#[test]
fn a_client_that_answers_no_ping_is_disconnected() {
    let daemon = Daemon::with(&["http.ws.ping_delay=0.1", "http.ws.pong_timeout=0.2"]);
    let mut mute = subscriber(&daemon);
    let mut pings = 0;
    while let Some(frame) = mute.frame() {
        assert_eq!(frame.opcode, PING, "the stream ends without a close frame");
        pings += 1;
    }
    assert!((1..10).contains(&pings), "{pings}");
}

#[test]
fn the_declared_protocol_takes_precedence_over_the_opcode() {
    let daemon = Daemon::start();
    let mut socket = subscriber(&daemon);
    let text = br#"{"Namespace":"Graph","Type":"SyncRequest","UUID":"b","Obj":{}}"#;
    socket.send_frame(0x80 | BINARY, text);
    assert_eq!(socket.message()["UUID"], "b");
    let binary = [WHO[0], ("X-Client-Protocol", "protobuf")];
    let mut socket = WebSocket::open(&daemon, "/ws/subscriber", &binary);
    // Namespace, Type, Status 200 (not UTF-8), Obj.
    let request = b"\x0a\x05Graph\x12\x0bSyncRequest\x20\xc8\x01\x32\x02{}";
    for opcode in [TEXT, BINARY] {
        socket.send_frame(0x80 | opcode, request);
        let (opcode, reply) = socket.next().unwrap();
        assert_eq!(opcode, BINARY);
        assert!(
            reply.starts_with(b"\x0a\x05Graph\x12\x09SyncReply\x20\xc8\x01\x32"),
            "{reply:x?}"
        );
    }
}

/// Returns the content of a compressed message (RFC 7692, 7.2.2) of at most 10 MB.
fn inflated(packed: &[u8]) -> Vec<u8> {
    let bytes = [packed, &[0, 0, 0xff, 0xff]].concat();
    let mut content = Vec::with_capacity(10 << 20);
    let mut decompress = flate2::Decompress::new(false);
    loop {
        let (taken, length) = (decompress.total_in(), content.len());
        let left = &bytes[usize::try_from(taken).unwrap()..];
        decompress
            .decompress_vec(left, &mut content, flate2::FlushDecompress::Sync)
            .unwrap();
        if (decompress.total_in(), content.len()) == (taken, length) {
            return content;
        }
    }
}

/// Returns a text as a compressed message.
fn deflated(text: &str) -> Vec<u8> {
    let mut packed = Vec::with_capacity(text.len() + 100);
    let mut compress = flate2::Compress::new(flate2::Compression::fast(), false);
    compress
        .compress_vec(text.as_bytes(), &mut packed, flate2::FlushCompress::Sync)
        .unwrap();
    packed.truncate(packed.len() - 4);
    packed
}

const RSV1: u8 = 0x40;

#[test]
fn large_messages_are_compressed_for_clients_that_offer_it() {
    let daemon = Daemon::start();
    for n in 0..200 {
        let metadata = json!({"Name": format!("n{n}"), "Type": "t", "Pad": "x".repeat(2000)});
        let body = json!({"ID": format!("n{n}"), "Metadata": metadata}).to_string();
        assert_eq!(post(&daemon, "/api/node", &body).status, 201);
    }
    let offer = [
        WHO[0],
        (
            "Sec-WebSocket-Extensions",
            "permessage-deflate; client_max_window_bits",
        ),
    ];
    let mut socket = WebSocket::open(&daemon, "/ws/subscriber", &offer);
    let request = r#"{"Namespace":"Graph","Type":"SyncRequest","UUID":"packed","Obj":{}}"#;
    socket.send_frame(0x80 | RSV1 | TEXT, &deflated(request));
    let (first, packed) = socket.packed_message();
    assert_eq!(first & (RSV1 | 0x0f), RSV1 | TEXT);
    let content = inflated(&packed);
    assert!(packed.len() * 5 < content.len(), "{} bytes", packed.len());
    let reply: serde_json::Value = serde_json::from_slice(&content).unwrap();
    assert_eq!(
        (&reply["Type"], &reply["UUID"]),
        (&json!("SyncReply"), &json!("packed"))
    );
    assert!(reply["Obj"]["Nodes"].as_array().unwrap().len() >= 200);

    // Messages that are not compressed are read too, in fragments as well, and small replies are plain.
    let query =
        r#"{"Namespace":"Live","Type":"Query","UUID":"q","Obj":{"GremlinQuery":"G.V().Count()"}}"#;
    socket.send_frame(TEXT, &query.as_bytes()[..10]);
    socket.send_frame(0x80, &query.as_bytes()[10..]);
    let answer_to = |socket: &mut WebSocket, name: &str| {
        until("the answer", || {
            let message = socket.message();
            message["Type"] == "Answer" && message["UUID"] == name
        });
    };
    answer_to(&mut socket, "q");
    let packed = deflated(&query.replace("\"q\"", "\"r\""));
    socket.send_frame(RSV1 | TEXT, &packed[..5]);
    socket.send_frame(0x80, &packed[5..]);
    answer_to(&mut socket, "r");

    // A bomb ends the connection.
    socket.send_frame(0x80 | RSV1 | TEXT, &deflated(&" ".repeat(2 << 20)));
    assert_eq!(socket.closed(), (Some(1009), true));
}

#[test]
fn messages_are_not_compressed_without_an_offer_or_for_publishers() {
    let daemon = Daemon::start();
    let offer = [WHO[0], ("Sec-WebSocket-Extensions", "permessage-deflate")];
    for (path, headers) in [("/ws/subscriber", &WHO[..]), ("/ws/publisher", &offer[..])] {
        let mut socket = WebSocket::open(&daemon, path, headers);
        socket.send_frame(0x80 | RSV1 | TEXT, &deflated("{}"));
        assert_eq!(socket.closed(), (Some(1002), true), "{path}");
    }
}
