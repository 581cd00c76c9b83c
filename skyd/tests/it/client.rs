//! HTTP and WebSocket clients on raw sockets, without the libraries that the daemon uses.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use serde_json::Value;

use crate::daemon::{Daemon, TIMEOUT};

/// Response as it was received.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let fitting = self
            .headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name));
        fitting.map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
}

/// Connection to send bytes and read responses.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(daemon: &Daemon) -> Self {
        Self::open_at(daemon.address)
    }

    pub(crate) fn open_at(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Sends bytes. Ignores errors: if the daemon has already closed the connection, reading fails.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        drop(self.stream.write_all(bytes.as_ref()));
    }

    /// Reads one response; `None` if the connection ends before its first byte.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        self.answer_to("GET")
    }

    /// Reads the response to a request with this method; a response to `HEAD` has no body.
    pub(crate) fn answer_to(&mut self, method: &str) -> Option<Answer> {
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end;
            }
            if !self.more() {
                assert!(
                    self.buffer.is_empty(),
                    "{:?}",
                    String::from_utf8_lossy(&self.buffer)
                );
                return None;
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
        };
        if method == "HEAD" || matches!(status, 101 | 204 | 304) {
            return Some(answer);
        }
        answer.body = if answer.header("transfer-encoding") == Some("chunked") {
            self.chunks()
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().unwrap();
            self.exactly(length)
        } else {
            while self.more() {}
            std::mem::take(&mut self.buffer)
        };
        Some(answer)
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(end) = find(&self.buffer, b"\r\n") {
                    break end;
                }
                assert!(self.more(), "the stream ends inside a chunk");
            };
            let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
            let size = String::from_utf8(line).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let chunk = self.exactly(size + 2);
            if size == 0 {
                return body;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.more(), "the stream ends too early");
        }
        self.buffer.drain(..length).collect()
    }

    /// Reads available bytes. Returns `false` at the end of the stream.
    fn more(&mut self) -> bool {
        let mut block = [0; 65_536];
        match self.stream.read(&mut block) {
            Ok(0) => false,
            Ok(length) => {
                self.buffer.extend_from_slice(&block[..length]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}, after {:?}", String::from_utf8_lossy(&self.buffer)),
        }
    }

    /// Returns whether the daemon closes the connection in time without further data.
    pub(crate) fn ends(&mut self) -> bool {
        !self.more() && self.buffer.is_empty()
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Sends one request on a new connection.
pub(crate) fn request(
    daemon: &Daemon,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    request_to(daemon.address, method, path, headers, body)
}

/// Sends one request to an address on a new connection.
pub(crate) fn request_to(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || matches!(method, "POST" | "PATCH") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut connection = Connection::open_at(address);
    connection.send(head);
    connection.send(body);
    connection.answer_to(method).expect("an answer")
}

pub(crate) fn get(daemon: &Daemon, path: &str) -> Answer {
    request(daemon, "GET", path, &[], b"")
}

pub(crate) fn post(daemon: &Daemon, path: &str, body: &str) -> Answer {
    request(daemon, "POST", path, &[], body.as_bytes())
}

/// Returns whether an error message ends with the same causes twice: `a: b: b`.
pub(crate) fn repeats_a_cause(message: &str) -> bool {
    let parts: Vec<_> = message.trim_end().split(": ").collect();
    (1..=parts.len() / 2).any(|count| {
        let (before, last) = parts.split_at(parts.len() - count);
        before.ends_with(last)
    })
}

/// Returns the result of a query.
pub(crate) fn query(daemon: &Daemon, gremlin: &str) -> Value {
    let body = serde_json::json!({ "GremlinQuery": gremlin }).to_string();
    let answer = post(daemon, "/api/topology", &body);
    assert_eq!(answer.status, 200, "{gremlin}: {}", answer.text());
    answer.json()
}

/// Frame as the daemon sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) is_last: bool,
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// WebSocket client that answers pings while it reads.
pub(crate) struct WebSocket {
    pub(crate) connection: Connection,
    /// Fragments of the largest message so far.
    pub(crate) most_fragments: usize,
}

impl WebSocket {
    /// Connects and waits for the first ping, after which the client is registered.
    pub(crate) fn open(daemon: &Daemon, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut socket = Self::try_open(daemon, path, headers).expect("101");
        let first = socket.frame().expect("a ping");
        assert_eq!(first.opcode, PING, "{first:?}");
        socket.send_frame(0x80 | PONG, &first.payload);
        socket
    }

    /// Connects. Returns the response as an error if its status is not 101.
    pub(crate) fn try_open(
        daemon: &Daemon,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, Answer> {
        let mut connection = Connection::open(daemon);
        let mut head = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        connection.send(head + "\r\n");
        let answer = connection.answer().expect("an answer");
        if answer.status != 101 {
            return Err(answer);
        }
        // RFC 6455, 1.3: the accept value of the sample key.
        if answer.header("sec-websocket-accept") != Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") {
            return Err(answer);
        }
        Ok(Self {
            connection,
            most_fragments: 0,
        })
    }

    /// Sends one frame with this first byte, masked.
    pub(crate) fn send_frame(&mut self, first: u8, payload: &[u8]) {
        let mut bytes = vec![first];
        match payload.len() {
            length @ 0..126 => bytes.push(0x80 | u8::try_from(length).unwrap()),
            length @ 126..65_536 => {
                bytes.push(0x80 | 126);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                bytes.push(0x80 | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        let key = [0x12, 0x34, 0x56, 0x78];
        bytes.extend(key);
        bytes.extend(
            payload
                .iter()
                .zip(key.iter().cycle())
                .map(|(byte, key)| byte ^ key),
        );
        self.connection.send(bytes);
    }

    /// Sends a message in a text frame.
    pub(crate) fn send(&mut self, text: impl AsRef<str>) {
        self.send_frame(0x80 | TEXT, text.as_ref().as_bytes());
    }

    /// Sends a message of the namespace `Graph`.
    pub(crate) fn send_graph(&mut self, kind: &str, object: Value) {
        let message = serde_json::json!({
            "Namespace": "Graph", "Type": kind, "UUID": "u", "Status": 200, "Obj": object,
        });
        self.send(message.to_string());
    }

    /// Returns the next frame; `None` at the end of the stream.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        let (first, payload) = self.raw_frame()?;
        assert_eq!(first & 0x70, 0, "reserved bits");
        Some(Frame {
            is_last: first & 0x80 != 0,
            opcode: first & 0x0f,
            payload,
        })
    }

    /// Returns the next message as it was sent, with the first byte of its first frame; skips control
    /// frames.
    pub(crate) fn packed_message(&mut self) -> (u8, Vec<u8>) {
        let mut whole: Option<(u8, Vec<u8>)> = None;
        loop {
            let (first, payload) = self.raw_frame().expect("a message");
            if first & 0x08 == 0 {
                let message = whole.get_or_insert((first, Vec::new()));
                message.1.extend(payload);
                if first & 0x80 != 0 {
                    return whole.expect("a message");
                }
            }
        }
    }

    /// Returns the first byte and the payload of the next frame; `None` at the end of the stream.
    fn raw_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let head = self.bytes(2)?;
        let length = match head[1] {
            126 => self
                .bytes(2)?
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
            127 => self
                .bytes(8)?
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
            short => {
                assert!(short < 126, "a server masks nothing");
                usize::from(short)
            }
        };
        let payload = self.bytes(length)?;
        Some((head[0], payload))
    }

    /// Returns the next message and the opcode of its first frame; `None` at the end of the stream.
    /// Times out if only pings arrive.
    pub(crate) fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut whole: Option<(u8, Vec<u8>)> = None;
        let mut fragments = 0;
        let began = Instant::now();
        loop {
            let frame = self.frame()?;
            match frame.opcode {
                PING => {
                    assert!(began.elapsed() < TIMEOUT, "no message within {TIMEOUT:?}");
                    self.send_frame(0x80 | PONG, &frame.payload);
                }
                PONG => {}
                CLOSE => return None,
                opcode => {
                    assert_eq!(opcode == 0, whole.is_some(), "fragments out of order");
                    let message = whole.get_or_insert((opcode, Vec::new()));
                    message.1.extend(frame.payload);
                    fragments += 1;
                    if frame.is_last {
                        self.most_fragments = self.most_fragments.max(fragments);
                        return whole;
                    }
                }
            }
        }
    }

    /// Returns the next message of a JSON client.
    pub(crate) fn message(&mut self) -> Value {
        let (opcode, bytes) = self.next().expect("a message");
        assert_eq!(opcode, TEXT);
        serde_json::from_slice(&bytes).unwrap()
    }

    /// Returns type and element id of the next message about the graph.
    pub(crate) fn event(&mut self) -> String {
        let message = self.message();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        format!("{} {}", text(&message["Type"]), text(&message["Obj"]["ID"]))
    }

    /// Requests the graph and returns the reply, after which all earlier messages have been processed.
    /// Skips earlier messages, including replies to requests without a name.
    pub(crate) fn sync(&mut self, request: Value) -> Value {
        self.send_graph("SyncRequest", request);
        loop {
            let message = self.message();
            if message["Type"] == "SyncReply" && message["UUID"] == "u" {
                return message;
            }
        }
    }

    /// Returns the code of the next close frame, ignoring pings, and whether the stream then ends.
    pub(crate) fn closed(&mut self) -> (Option<u16>, bool) {
        let (code, _, ends) = self.closed_because();
        (code, ends)
    }

    /// Returns code and reason of the next close frame, ignoring pings, and whether the stream then
    /// ends.
    pub(crate) fn closed_because(&mut self) -> (Option<u16>, String, bool) {
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < TIMEOUT, "not closed within {TIMEOUT:?}");
            match self.frame() {
                None => return (None, String::new(), true),
                Some(frame) if frame.opcode == CLOSE => {
                    let code = frame
                        .payload
                        .first_chunk()
                        .map(|code| u16::from_be_bytes(*code));
                    let reason = frame.payload.get(2..).unwrap_or_default();
                    let reason = String::from_utf8_lossy(reason).into_owned();
                    self.send_frame(0x80 | CLOSE, &frame.payload);
                    return (code, reason, self.frame().is_none());
                }
                Some(_) => {}
            }
        }
    }

    fn bytes(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.connection.buffer.len() < length {
            if !self.connection.more() {
                return None;
            }
        }
        Some(self.connection.buffer.drain(..length).collect())
    }
}
