//! The probe with a recorded service: a small HTTP server on a Unix socket.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use serde_json::json;

use super::*;
use crate::graph::Graph;
use crate::topology::netlink::NetlinkOptions;
use crate::topology::{ProbeSet, ProbeTarget};

/// A service whose containers all run in the process of the test, and so in the host's namespace.
struct Service {
    socket: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// States of the instances by their name.
    instances: BTreeMap<String, &'static str>,
    /// Open streams of events.
    streams: Vec<UnixStream>,
}

impl Service {
    fn start() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("skylib-lxd-{}-{number}", std::process::id());
        let service = Self {
            socket: std::env::temp_dir().join(name),
            state: Arc::default(),
        };
        drop(std::fs::remove_file(&service.socket));
        let listener = UnixListener::bind(&service.socket).unwrap();
        let state = Arc::clone(&service.state);
        thread::spawn(move || {
            for connection in listener.incoming() {
                answer(connection.unwrap(), &state);
            }
        });
        service
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the state of an instance (empty for a deleted one), and reports an event.
    fn set(&self, name: &str, status: &'static str, action: &str) {
        let mut state = self.lock();
        match status {
            "" => drop(state.instances.remove(name)),
            status => drop(state.instances.insert(name.to_owned(), status)),
        }
        let source = format!("/1.0/instances/{name}");
        let event = json!({"type": "lifecycle", "metadata": {"action": action, "source": source}});
        let text = event.to_string();
        let head = [0x81, 126, (text.len() >> 8) as u8, text.len() as u8];
        for stream in &mut state.streams {
            // A ping before each event.
            drop(
                stream
                    .write_all(b"\x89\x01p")
                    .and_then(|()| stream.write_all(&head)),
            );
            drop(stream.write_all(text.as_bytes()));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.socket));
    }
}

fn answer(mut stream: UnixStream, state: &Mutex<State>) {
    let mut request = String::new();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    reader.read_line(&mut request).unwrap();
    let mut header = String::new();
    while reader.read_line(&mut header).unwrap() > 2 {
        header.clear();
    }
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let path = request.split(' ').nth(1).unwrap();
    if path.starts_with("/1.0/events") {
        drop(stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"));
        state.streams.push(stream);
        return;
    }
    let instance =
        |name: &str, status: &str| json!({"name": name, "type": "container", "status": status});
    let path = path.strip_prefix("/1.0/instances").unwrap();
    let name = path.trim_start_matches('/').trim_end_matches("/state");
    let body = if path.starts_with('?') {
        let all = state
            .instances
            .iter()
            .map(|(name, status)| instance(name, status));
        Some(all.collect())
    } else if path.ends_with("/state") {
        state
            .instances
            .get(name)
            .map(|_| json!({"pid": std::process::id()}))
    } else {
        state
            .instances
            .get(name)
            .map(|status| instance(name, status))
    };
    let response = match body {
        Some(body) => {
            let body = json!({"type": "sync", "metadata": body}).to_string();
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        }
        None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
    };
    drop(stream.write_all(response.as_bytes()));
}

struct Lab {
    graph: Arc<Mutex<Graph>>,
    probes: ProbeSet,
}

impl Lab {
    fn start(service: &Service) -> Self {
        let graph = Arc::new(Mutex::new(Graph::new()));
        let target = ProbeTarget::for_host(graph.clone(), "edge-01").unwrap();
        let namespaces = Namespaces::new(target, NetlinkOptions::default());
        let mut probes = ProbeSet::new();
        let address = ServerAddress::Unix(service.socket.clone());
        probes.start(LxdProbe::new(&namespaces, address)).unwrap();
        Self { graph, probes }
    }

    /// Waits until the host owns exactly these containers.
    fn wait(&self, wanted: &[&str]) {
        let found = || {
            let graph = self.graph.lock().unwrap();
            let nodes = graph.find_nodes("Type", &"container".into());
            let names = nodes.map(|node| {
                let name = node
                    .metadata
                    .get("Name")
                    .unwrap()
                    .as_text()
                    .unwrap()
                    .to_owned();
                let owners = graph
                    .edges_of(&node.id, crate::graph::Direction::In)
                    .count();
                (name, owners)
            });
            let mut names: Vec<(String, usize)> = names.collect();
            names.sort();
            names
        };
        let wanted: Vec<(String, usize)> =
            wanted.iter().map(|name| ((*name).to_owned(), 1)).collect();
        for _ in 0..2000 {
            if found() == wanted {
                return;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        panic!(
            "{:?} instead of {wanted:?}; {:?}",
            found(),
            self.probes.status()
        );
    }
}

#[test]
fn containers_appear_and_disappear_with_events() {
    let service = Service::start();
    service.set("web", "Running", "instance-created");
    service.set("old", "Stopped", "instance-created");
    let lab = Lab::start(&service);
    lab.wait(&["web"]);
    service.set("db", "Running", "instance-started");
    lab.wait(&["db", "web"]);
    service.set("web", "Stopped", "instance-shutdown");
    lab.wait(&["db"]);
    service.lock().instances = BTreeMap::from([("new".to_owned(), "Running")]);
    service.set("new", "Running", "instance-renamed");
    lab.wait(&["new"]);
    service.set("new", "", "instance-deleted");
    lab.wait(&[]);
}

#[test]
fn the_probe_starts_again_after_a_lost_connection() {
    let service = Service::start();
    service.set("web", "Running", "instance-created");
    let lab = Lab::start(&service);
    lab.wait(&["web"]);
    let mut state = service.lock();
    state.instances.clear();
    state.instances.insert("db".to_owned(), "Running");
    state.streams.clear();
    drop(state);
    lab.wait(&["db"]);
}
