//! The probe with a recorded engine: a small HTTP server on a Unix socket.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::*;
use crate::graph::Graph;
use crate::topology::netlink::NetlinkOptions;
use crate::topology::{ProbeSet, ProbeState, ProbeTarget};

/// An engine whose containers run in the process of the test, and so in the host's namespace, unless
/// they have a process of their own.
struct Engine {
    folder: PathBuf,
    state: Arc<Mutex<EngineState>>,
}

#[derive(Default)]
struct EngineState {
    /// Name and status of the containers by their identifier.
    containers: BTreeMap<String, (String, &'static str)>,
    /// Processes of containers that have one, by the identifier of the container.
    processes: BTreeMap<String, u32>,
    /// Open streams of events.
    streams: Vec<UnixStream>,
    requests: Vec<String>,
}

impl Engine {
    fn start() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = format!("skylib-docker-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).unwrap();
        let engine = Self {
            folder,
            state: Arc::default(),
        };
        engine.listen();
        engine
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("engine.sock")
    }

    fn listen(&self) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        let state = Arc::clone(&self.state);
        thread::spawn(move || {
            for connection in listener.incoming() {
                answer(connection.unwrap(), &state);
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, EngineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the state of a container, and reports an event.
    fn set(&self, id: &str, name: &str, status: &'static str, action: &str) {
        let mut state = self.lock();
        match status {
            "removed" => drop(state.containers.remove(id)),
            _ => drop(
                state
                    .containers
                    .insert(id.to_owned(), (name.to_owned(), status)),
            ),
        }
        let event =
            format!(r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"{id}"}}}}"#);
        for stream in &mut state.streams {
            send_chunk(stream, &format!("{event}\n"));
        }
    }

    /// Ends all connections, as an engine that is stopped does.
    fn disconnect(&self) {
        self.lock().streams.clear();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn send_chunk(stream: &mut UnixStream, text: &str) {
    drop(write!(stream, "{:x}\r\n{text}\r\n", text.len()));
}

fn answer(mut stream: UnixStream, state: &Mutex<EngineState>) {
    let mut request = String::new();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    reader.read_line(&mut request).unwrap();
    let mut header = String::new();
    while reader.read_line(&mut header).unwrap() > 2 {
        header.clear();
    }
    let mut state = state.lock().unwrap();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    state.requests.push(path.clone());
    if path.starts_with("/events") {
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        .unwrap();
        state.streams.push(stream);
        return;
    }
    let body = if path == "/containers/json" {
        let ids = state
            .containers
            .keys()
            .map(|id| format!(r#"{{"Id":"{id}"}}"#));
        Some(format!("[{}]", ids.collect::<Vec<_>>().join(",")))
    } else {
        let id = path
            .trim_start_matches("/containers/")
            .trim_end_matches("/json");
        state.containers.get(id).map(|(name, status)| {
            let own = state.processes.get(id).copied().unwrap_or_else(std::process::id);
            let pid = if *status == "exited" { 0 } else { own };
            format!(
                r#"{{"Id":"{id}","Name":"/{name}","State":{{"Status":"{status}","Pid":{pid}}},"Config":{{"Image":"i"}}}}"#
            )
        })
    };
    let response = match body {
        Some(body) => format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
        None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
    };
    drop(stream.write_all(response.as_bytes()));
}

struct Lab {
    graph: Arc<Mutex<Graph>>,
    namespaces: Arc<Namespaces>,
    probes: ProbeSet,
}

impl Lab {
    fn start(socket: &Path) -> Self {
        let graph = Arc::new(Mutex::new(Graph::new()));
        let target = ProbeTarget::for_host(graph.clone(), "edge-01").unwrap();
        let namespaces = Namespaces::new(target, NetlinkOptions::default());
        let address = ServerAddress::Unix(socket.to_owned());
        let mut probes = ProbeSet::new();
        probes
            .start(DockerProbe::docker(&namespaces, address))
            .unwrap();
        Self {
            graph,
            namespaces,
            probes,
        }
    }

    /// Returns the names and the states of the containers that the host owns.
    fn containers(&self) -> Vec<(String, String)> {
        let graph = self.graph.lock().unwrap();
        let host = graph
            .find_nodes("Type", &"host".into())
            .next()
            .unwrap()
            .id
            .clone();
        let mut found: Vec<_> = graph
            .edges_of(&host, crate::graph::Direction::Out)
            .map(|(_, node)| {
                let text = |key| {
                    node.metadata
                        .get_path(key)
                        .unwrap()
                        .as_text()
                        .unwrap()
                        .to_owned()
                };
                (text("Name"), text("Container.Status"))
            })
            .collect();
        found.sort();
        found
    }

    fn wait(&self, wanted: &[(&str, &str)]) {
        for _ in 0..2000 {
            let found = self.containers();
            let same = |((a, b), (c, d)): (&(String, String), &(&str, &str))| a == c && b == d;
            if found.len() == wanted.len() && found.iter().zip(wanted).all(same) {
                return;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        panic!(
            "{:?} instead of {wanted:?}; {:?}",
            self.containers(),
            self.probes.status()
        );
    }
}

#[test]
fn containers_appear_change_and_disappear_with_events() {
    let engine = Engine::start();
    engine.set("aa", "web", "running", "start");
    engine.set("bb", "old", "exited", "die");
    let lab = Lab::start(&engine.socket());
    lab.wait(&[("web", "running")]);
    engine.set("cc", "db", "running", "start");
    lab.wait(&[("db", "running"), ("web", "running")]);
    engine.set("cc", "db2", "running", "rename");
    lab.wait(&[("db2", "running"), ("web", "running")]);
    engine.set("cc", "db2", "paused", "pause");
    lab.wait(&[("db2", "paused"), ("web", "running")]);
    engine.set("aa", "web", "exited", "die");
    lab.wait(&[("db2", "paused")]);
    engine.set("cc", "db2", "removed", "destroy");
    lab.wait(&[]);
}

#[test]
fn many_short_lived_containers_leave_nothing_behind() {
    let engine = Engine::start();
    let lab = Lab::start(&engine.socket());
    lab.wait(&[]);
    for i in 0..64 {
        let id = format!("{i:x}");
        engine.set(&id, &format!("c{i}"), "running", "start");
        engine.set(&id, "", "removed", "destroy");
    }
    engine.set("last", "last", "running", "start");
    lab.wait(&[("last", "running")]);
    let graph = lab.graph.lock().unwrap();
    assert_eq!((graph.node_count(), graph.edge_count()), (2, 1));
}

/// A process in a network namespace of its own.
struct Inhabitant(std::process::Child);

impl Inhabitant {
    fn start() -> Self {
        let mut command = std::process::Command::new("unshare");
        let process = command.args(["--net", "sleep", "60"]).spawn().unwrap();
        let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net"));
        let own = namespace("self").unwrap();
        while namespace(&process.id().to_string()).unwrap() == own {
            thread::yield_now();
        }
        Self(process)
    }
}

impl Drop for Inhabitant {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn namespaces_of_short_lived_containers_leave_nothing_behind() {
    let engine = Engine::start();
    let lab = Lab::start(&engine.socket());
    lab.wait(&[]);
    let mut shown = 0;
    for i in 0..64 {
        let id = format!("{i:x}");
        let process = Inhabitant::start();
        engine.lock().processes.insert(id.clone(), process.0.id());
        engine.set(&id, &format!("c{i}"), "running", "start");
        // Some end while their namespace is entered, others after their interfaces were found.
        for _ in 0..[0, 20, 400][i % 3] {
            let is_shown = lab
                .graph
                .lock()
                .unwrap()
                .find_nodes("Name", &"lo".into())
                .count()
                > 0;
            if is_shown {
                shown += 1;
                break;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        if i % 2 == 0 {
            drop(process);
            engine.set(&id, "", "removed", "destroy");
        } else {
            engine.set(&id, "", "removed", "destroy");
            drop(process);
        }
    }
    assert!(shown > 16, "only {shown} namespaces were seen");
    engine.set("last", "last", "running", "start");
    lab.wait(&[("last", "running")]);
    let graph = lab.graph.lock().unwrap();
    assert_eq!((graph.node_count(), graph.edge_count()), (2, 1));
    drop(graph);
    let namespaces = format!("{:?}", lab.namespaces);
    assert_eq!(namespaces, "Namespaces(0 paths, 0 namespaces)");
    assert_eq!(lab.probes.status()[0].error, None);
}

#[test]
fn the_probe_returns_with_the_engine() {
    let engine = Engine::start();
    engine.set("aa", "web", "running", "start");
    let lab = Lab::start(&engine.socket());
    lab.wait(&[("web", "running")]);
    std::fs::remove_file(engine.socket()).unwrap();
    engine.disconnect();
    let status = loop {
        let status = lab.probes.status().swap_remove(0);
        if status.state == ProbeState::Starting && status.error.is_some() {
            break status;
        }
        thread::yield_now();
    };
    assert!(status.error.unwrap().contains("agent.topology.docker.url"));
    assert_eq!(lab.containers().len(), 1, "the containers may still run");
    engine.lock().containers.clear();
    engine.listen();
    engine.set("bb", "new", "running", "start");
    lab.wait(&[("new", "running")]);
    assert!(lab.probes.status()[0].restarts > 0);
}

#[test]
fn a_malformed_response_is_reported() {
    let engine = Engine::start();
    engine.set("a\\u0022", "web", "running", "start");
    engine.set("bb", "broken\"", "running", "start");
    let lab = Lab::start(&engine.socket());
    let error = loop {
        if let Some(error) = lab.probes.status().swap_remove(0).error {
            break error;
        }
        thread::yield_now();
    };
    assert!(error.contains("cannot watch the containers"), "{error}");
    assert!(
        engine
            .lock()
            .requests
            .iter()
            .all(|path| !path.contains('"'))
    );
}
