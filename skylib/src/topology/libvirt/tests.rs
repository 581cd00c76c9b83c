//! The probe with a recorded libvirt: a small server of the remote protocol on a Unix socket.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::client::{
    CONNECT_OPEN, GET_STATE, GET_XML, LIST_ALL_DOMAINS, NO_DOMAIN, REGISTER_EVENT,
};
use super::message::{EVENT, FAILED, REPLY, Reader, Writer, message};
use super::*;
use crate::graph::{Node, NodeId};
use crate::topology::ProbeSet;

/// A service with virtual machines.
struct Libvirt {
    socket: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// States and descriptions of the virtual machines by their name.
    machines: BTreeMap<String, (u32, String)>,
    connections: Vec<UnixStream>,
}

impl Libvirt {
    fn start() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("skylib-libvirt-{}-{number}", std::process::id());
        let libvirt = Self {
            socket: std::env::temp_dir().join(name),
            state: Arc::default(),
        };
        drop(std::fs::remove_file(&libvirt.socket));
        let listener = UnixListener::bind(&libvirt.socket).unwrap();
        let state = Arc::clone(&libvirt.state);
        thread::spawn(move || {
            for connection in listener.incoming() {
                let (connection, state) = (connection.unwrap(), Arc::clone(&state));
                thread::spawn(move || serve(connection, &state));
            }
        });
        libvirt
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a virtual machine with some devices, or removes it, and reports an event.
    fn set(&self, name: &str, machine: Option<(u32, &str)>) {
        let mut state = self.lock();
        match machine {
            None => drop(state.machines.remove(name)),
            Some((number, devices)) => {
                let xml = format!("<domain><devices>{devices}</devices></domain>");
                state.machines.insert(name.to_owned(), (number, xml));
            }
        }
        let payload = Writer::default()
            .number(1)
            .domain(&domain(name))
            .number(0)
            .number(0)
            .0;
        let event = message(318, EVENT, 0, 0, &payload);
        for connection in &mut state.connections {
            drop(connection.write_all(&event));
        }
    }
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.socket));
    }
}

fn domain(name: &str) -> DomainId {
    DomainId {
        name: name.to_owned(),
        uuid: *uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()).as_bytes(),
        number: 1,
    }
}

fn serve(mut connection: UnixStream, state: &Mutex<State>) {
    let mut length = [0; 4];
    while connection.read_exact(&mut length).is_ok() {
        let mut bytes = vec![0; u32::from_be_bytes(length) as usize - 4];
        connection.read_exact(&mut bytes).unwrap();
        let call = Message::parse(&bytes).unwrap();
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut arguments = Reader(&call.payload);
        let named = |state: &State, arguments: &mut Reader<'_>| {
            let name = arguments.domain().unwrap().name;
            state.machines.get(&name).cloned()
        };
        let reply = match call.procedure {
            CONNECT_OPEN => {
                assert_eq!(
                    (arguments.number(), arguments.text()),
                    (Some(1), Some("qemu:///system"))
                );
                Some(Writer::default())
            }
            REGISTER_EVENT => Some(Writer::default().number(1)),
            LIST_ALL_DOMAINS => {
                state.connections.push(connection.try_clone().unwrap());
                let count = Writer::default().number(state.machines.len() as u32);
                let all = state
                    .machines
                    .keys()
                    .fold(count, |all, name| all.domain(&domain(name)));
                Some(all.number(0))
            }
            GET_STATE => named(&state, &mut arguments)
                .map(|(number, _)| Writer::default().number(number).number(0)),
            GET_XML => named(&state, &mut arguments).map(|(_, xml)| Writer::default().text(&xml)),
            other => panic!("procedure {other}"),
        };
        let reply = match reply {
            Some(reply) => message(call.procedure, REPLY, call.serial, 0, &reply.0),
            None => {
                let error = Writer::default()
                    .number(NO_DOMAIN)
                    .number(10)
                    .number(1)
                    .text("none");
                message(call.procedure, REPLY, call.serial, FAILED, &error.0)
            }
        };
        connection.write_all(&reply).unwrap();
    }
}

struct Lab {
    graph: Arc<Mutex<Graph>>,
    probes: ProbeSet,
}

impl Lab {
    fn start(libvirt: &Libvirt) -> Self {
        let graph = Arc::new(Mutex::new(Graph::new()));
        let target = ProbeTarget::for_host(graph.clone(), "edge-01").unwrap();
        let tap = Metadata::from_iter([("Name", "vnet0"), ("Type", "tun")]);
        target.update(|graph, now| {
            let tap = Node::new("tap", tap, now).with_origin(target.origin.clone());
            graph.add_node(tap).unwrap();
            let owned = Metadata::from_iter([("RelationType", "ownership")]);
            let edge = crate::graph::Edge::between(target.root.clone(), "tap", owned, now);
            graph.add_edge(edge).unwrap();
        });
        let url = format!("qemu+unix:///system?socket={}", libvirt.socket.display());
        let mut probes = ProbeSet::new();
        probes.start(LibvirtProbe::new(&target, &url)).unwrap();
        Self { graph, probes }
    }

    /// Returns the nodes with their states, and the edges `vlayer2`.
    fn shown(&self) -> Vec<String> {
        let graph = self.graph.lock().unwrap();
        let text = |id: &NodeId, key: &str| {
            let value = graph.node(id).unwrap().metadata.get(key).cloned();
            value
                .and_then(|value| value.as_text().map(str::to_owned))
                .unwrap_or_default()
        };
        let machines = graph.find_nodes("Type", &"libvirt".into());
        let machines =
            machines.map(|node| format!("{} {}", text(&node.id, "Name"), text(&node.id, "State")));
        let edges = graph
            .edges()
            .filter(|edge| edge.metadata.get("RelationType") == Some(&"vlayer2".into()));
        let edges = edges.map(|edge| {
            format!(
                "{} > {}",
                text(&edge.parent, "Name"),
                text(&edge.child, "Name")
            )
        });
        let mut shown: Vec<String> = machines.chain(edges).collect();
        shown.sort();
        shown
    }

    fn wait(&self, wanted: &[&str]) {
        for _ in 0..2000 {
            if self.shown() == wanted {
                return;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        panic!(
            "{:?} instead of {wanted:?}; {:?}",
            self.shown(),
            self.probes.status()
        );
    }
}

#[test]
fn machines_and_their_interfaces_follow_events() {
    let libvirt = Libvirt::start();
    let tap = "<interface type='bridge'><mac address='52:54:00:00:00:01'/><target dev='vnet0'/>\
        <alias name='net0'/><address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/>\
        </interface>";
    libvirt.set("vm1", Some((1, tap)));
    let lab = Lab::start(&libvirt);
    lab.wait(&["vm1 UP", "vnet0 > vm1"]);
    {
        let graph = lab.graph.lock().unwrap();
        let tap =
            serde_json::to_value(&graph.node(&NodeId::from("tap")).unwrap().metadata).unwrap();
        assert_eq!(
            tap,
            serde_json::json!({"Name": "vnet0", "Type": "tun", "PeerIntfMAC": "52:54:00:00:00:01",
                "Libvirt": {"MAC": "52:54:00:00:00:01", "Domain": "vm1", "BusType": "pci",
                    "BusInfo": "0000:00:03.0", "Alias": "net0"}})
        );
    }
    let passed = "<hostdev mode='subsystem' type='pci'><source><address domain='0x0000' bus='0x05' \
        slot='0x00' function='0x0'/></source></hostdev>";
    libvirt.set("vm2", Some((3, passed)));
    lab.wait(&["hdev-05:00.0 > vm2", "vm1 UP", "vm2 PAUSED", "vnet0 > vm1"]);
    libvirt.set("vm2", None);
    libvirt.set("vm1", Some((5, "")));
    lab.wait(&["vm1 DOWN"]);
    let graph = lab.graph.lock().unwrap();
    assert_eq!(
        graph.node(&NodeId::from("tap")).unwrap().metadata.len(),
        2,
        "as before"
    );
}

#[test]
fn the_probe_starts_again_after_a_lost_connection() {
    let libvirt = Libvirt::start();
    libvirt.set("vm1", Some((1, "")));
    let lab = Lab::start(&libvirt);
    lab.wait(&["vm1 UP"]);
    let mut state = libvirt.lock();
    state.machines = BTreeMap::from([("vm2".to_owned(), (4, String::new()))]);
    for connection in state.connections.drain(..) {
        connection.shutdown(std::net::Shutdown::Both).unwrap();
    }
    drop(state);
    lab.wait(&["vm2 DOWN"]);
}

#[test]
fn urls_have_a_driver_and_a_transport() {
    let parse = |url: &str| {
        let server = Server::parse(url).map_err(|error| error.to_string())?;
        Ok::<_, String>((server.address.to_string(), server.driver))
    };
    let pair = |a: &str, b: &str| Ok((a.to_owned(), b.to_owned()));
    assert_eq!(
        parse("qemu+unix:///system?socket=/a"),
        pair("unix:/a", "qemu:///system")
    );
    assert_eq!(
        parse("qemu+tcp://h/system"),
        pair("tcp:h:16509", "qemu:///system")
    );
    assert_eq!(parse("lxc+tcp://h:1/"), pair("tcp:h:1", "lxc:///"));
    assert_eq!(Server::parse("").unwrap().driver, "qemu:///system");
    for wrong in [
        "qemu",
        "qemu+ssh://h/system",
        "qemu://h/system",
        "qemu+tcp:///system",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}
