//! A recorded API server: lists, pages, and watches of JSON objects over HTTP or HTTPS.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde_json::{Value as Json, json};

/// A server with some objects.
pub(super) struct ApiServer {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Objects by path and identifier.
    objects: BTreeMap<String, BTreeMap<String, Json>>,
    /// Version of the last change.
    version: u64,
    /// Events with their version and path.
    log: Vec<(u64, String, String)>,
    /// Oldest version from which a watch can begin.
    oldest: u64,
    /// Open watches with their path.
    watches: Vec<(String, Sender<String>)>,
    /// Paths whose lists are forbidden.
    forbidden: BTreeSet<String>,
    /// Token that requests must have; empty for none.
    token: String,
    requests: Vec<String>,
}

impl ApiServer {
    /// Starts a server; with `tls`, for HTTPS.
    pub(super) fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let server = Self {
            address,
            state: Arc::clone(&state),
        };
        thread::spawn(move || {
            for socket in listener.incoming() {
                let (socket, state, tls) = (socket.unwrap(), Arc::clone(&state), tls.clone());
                thread::spawn(move || match tls {
                    None => answer(&mut Plain(socket), &state),
                    Some(config) => {
                        let connection = rustls::ServerConnection::new(config).unwrap();
                        answer(&mut rustls::StreamOwned::new(connection, socket), &state);
                    }
                });
            }
        });
        server
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds or changes an object; its identifier is its name.
    pub(super) fn set(&self, path: &str, name: &str, mut object: Json) {
        let mut state = self.lock();
        state.version += 1;
        let version = state.version;
        object["metadata"]["uid"] = json!(name);
        object["metadata"]["name"] = json!(name);
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let objects = state.objects.entry(path.to_owned()).or_default();
        let kind = match objects.insert(name.to_owned(), object.clone()) {
            None => "ADDED",
            Some(_) => "MODIFIED",
        };
        state.send(path, &json!({"type": kind, "object": object}));
    }

    /// Deletes an object.
    pub(super) fn delete(&self, path: &str, name: &str) {
        let mut state = self.lock();
        state.version += 1;
        let version = state.version;
        let mut object = state.objects.get_mut(path).unwrap().remove(name).unwrap();
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        state.send(path, &json!({"type": "DELETED", "object": object}));
    }

    /// Sends text to the watches of a path, which need not be an event.
    pub(super) fn send_raw(&self, path: &str, text: &str) {
        let state = self.lock();
        for (_, watch) in state.watches.iter().filter(|(watched, _)| watched == path) {
            drop(watch.send(text.to_owned()));
        }
    }

    /// Ends all watches.
    pub(super) fn disconnect(&self) {
        self.lock().watches.clear();
    }

    /// Removes all events, so that watches of older versions fail.
    pub(super) fn compact(&self) {
        let mut state = self.lock();
        state.version += 1;
        state.oldest = state.version;
        state.log.clear();
    }

    pub(super) fn forbid(&self, path: &str) {
        self.lock().forbidden.insert(path.to_owned());
    }

    /// Sets the token that requests must have.
    pub(super) fn require_token(&self, token: &str) {
        token.clone_into(&mut self.lock().token);
    }

    /// Returns the number of requests for the first page of a list.
    pub(super) fn lists_of(&self, path: &str) -> usize {
        let first = format!("{path}?limit=500");
        self.lock()
            .requests
            .iter()
            .filter(|request| **request == first)
            .count()
    }

    /// Returns the number of open watches of a path.
    pub(super) fn watches_of(&self, path: &str) -> usize {
        self.lock()
            .watches
            .iter()
            .filter(|(watched, _)| watched == path)
            .count()
    }
}

impl State {
    fn send(&mut self, path: &str, event: &Json) {
        let text = format!("{event}\n");
        self.log.push((self.version, path.to_owned(), text.clone()));
        self.watches
            .retain(|(watched, watch)| watched != path || watch.send(text.clone()).is_ok());
    }

    /// Returns a page of a list: two objects, and the name after which the next page begins.
    fn list(&self, path: &str, after: &str) -> Json {
        let objects = self.objects.get(path);
        let objects = objects.into_iter().flatten();
        let mut left = objects.filter(|(name, _)| after.is_empty() || name.as_str() > after);
        let page: Vec<(&String, &Json)> = left.by_ref().take(2).collect();
        let items: Vec<&Json> = page.iter().map(|(_, object)| *object).collect();
        let next = match left.next() {
            Some(_) => page.last().map_or("", |(name, _)| name.as_str()),
            None => "",
        };
        json!({"metadata": {"resourceVersion": self.version.to_string(), "continue": next},
            "items": items})
    }
}

/// A connection without TLS.
struct Plain(TcpStream);

impl Read for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Reads a request; `None` if the client has closed the connection.
fn request(stream: &mut dyn Read) -> Option<(String, String)> {
    let mut reader = BufReader::with_capacity(1, stream);
    let (mut first, mut authorization) = (String::new(), String::new());
    reader.read_line(&mut first).ok()?;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).ok()? <= 2 {
            break;
        }
        if let Some(value) = header.strip_prefix("Authorization: Bearer ") {
            value.trim().clone_into(&mut authorization);
        }
    }
    Some((first.split(' ').nth(1)?.to_owned(), authorization))
}

fn answer<S: Read + Write>(stream: &mut S, state: &Mutex<State>) {
    let Some((target, token)) = request(stream) else {
        return;
    };
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let parameter = |name: &str| {
        let mut found = query.split('&').filter_map(|pair| pair.split_once('='));
        found
            .find(|(key, _)| *key == name)
            .map_or("", |(_, value)| value)
    };
    let mut locked = state.lock().unwrap_or_else(PoisonError::into_inner);
    locked.requests.push(target.clone());
    let version: u64 = parameter("resourceVersion").parse().unwrap_or_default();
    if token != locked.token {
        return respond(
            stream,
            "401 Unauthorized",
            &json!({"code": 401, "message": "who?"}),
        );
    }
    if locked.forbidden.contains(path) {
        let message = "cannot list resource";
        return respond(
            stream,
            "403 Forbidden",
            &json!({"code": 403, "message": message}),
        );
    }
    if parameter("watch").is_empty() {
        let list = match path {
            "/version" => json!({"major": "1"}),
            path => locked.list(path, parameter("continue")),
        };
        return respond(stream, "200 OK", &list);
    }
    if version < locked.oldest {
        return respond(stream, "410 Gone", &json!({"code": 410}));
    }
    let (sender, events) = channel();
    for (number, changed, text) in &locked.log {
        if *number > version && changed == path {
            drop(sender.send(text.clone()));
        }
    }
    locked.watches.push((path.to_owned(), sender));
    drop(locked);
    send_events(stream, &events);
}

fn send_events(stream: &mut impl Write, events: &Receiver<String>) {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut result = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.flush());
    while let (Ok(()), Ok(text)) = (&result, events.recv()) {
        result = write!(stream, "{:x}\r\n{text}\r\n", text.len()).and_then(|()| stream.flush());
    }
}

fn respond(stream: &mut impl Write, status: &str, body: &Json) {
    let body = body.to_string();
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
    drop(
        stream
            .write_all(text.as_bytes())
            .and_then(|()| stream.flush()),
    );
}
