//! The nodes of a switch, and the probe with a recorded server.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Mutex;
use std::thread;

use serde_json::{Value as Json, json};

use super::*;
use crate::graph::{Direction, Metadata, Node, NodeId};
use crate::time::Timestamp;
use crate::topology::netlink::NetlinkOptions;
use crate::topology::{ProbeSet, ProbeState, ProbeStatus, ProbeTarget};

const TID: &str = "276ec92a-884b-5251-af04-080c9c22b304";

/// Returns a bridge with a port for each interface.
fn switch(interfaces: &[(&str, Json)]) -> Tables {
    let uuid = |text: String| json!(["uuid", text]);
    let ports: Vec<Json> = interfaces
        .iter()
        .map(|(name, _)| uuid(format!("port-{name}")))
        .collect();
    let mut rows = json!({"Bridge": {"b1": {"new": {"name": "br0", "ports": ["set", ports],
        "protocols": ["set", ["OpenFlow13"]], "external_ids": ["map", [["a.b", "c"]]],
        "other_config": ["map", [["hwaddr", "02:00"]]]}}}, "Port": {}, "Interface": {},
        "Open_vSwitch": {"s": {"new": {"db_version": "8.3.0", "ovs_version": "3.1.0"}}}});
    for (name, row) in interfaces {
        let mut row = row.clone();
        row["name"] = json!(name);
        rows["Port"][format!("port-{name}")] =
            json!({"new": {"name": name, "interfaces": ["uuid", name], "tag": 7}});
        rows["Interface"][*name] = json!({ "new": row });
    }
    let mut tables = Tables::default();
    let message = json!({"id": "monitor", "error": null, "result": rows}).to_string();
    tables.receive(message.as_bytes()).unwrap();
    tables
}

/// A graph with the host and two links, and the switch shown in it.
struct Lab {
    graph: Arc<Mutex<Graph>>,
    writer: SubgraphWriter,
    links: Vec<LinkSummary>,
    metrics: InterfaceMetrics,
    addresses: InterfaceAddresses,
}

impl Lab {
    fn new() -> Self {
        let graph = Arc::new(Mutex::new(Graph::new()));
        let target = ProbeTarget::for_host(graph.clone(), "edge-01").unwrap();
        let mut lab = Self {
            graph,
            writer: SubgraphWriter::new(target),
            links: Vec::new(),
            metrics: InterfaceMetrics::default(),
            addresses: InterfaceAddresses::default(),
        };
        lab.add_link("int0", 4, "tun", true);
        lab.add_link("veth0", 5, "veth", true);
        lab
    }

    fn add_link(&mut self, name: &str, index: u32, kind: &str, is_in_host: bool) {
        let id = format!("link-{name}-{is_in_host}");
        let metadata = Metadata::from_iter([("Name", name), ("Type", kind)]);
        let origin = self.writer.target().origin.clone();
        let node = Node::new(&*id, metadata, Timestamp::from_ms(1)).with_origin(origin);
        self.graph.lock().unwrap().add_node(node).unwrap();
        self.links.push(LinkSummary {
            node: NodeId::from(&*id),
            is_in_host,
            index,
            name: name.into(),
            mac: format!("02:00:00:00:00:0{index}").as_str().into(),
            ..LinkSummary::default()
        });
    }

    fn show(&mut self, tables: &Tables) -> Vec<(LinkSummary, String)> {
        self.addresses.update(tables);
        let mut links: HashMap<&str, Vec<&LinkSummary>> = HashMap::new();
        for link in &self.links {
            links.entry(&link.name).or_default().push(link);
        }
        let around = Surroundings {
            host: &self.writer.target().root.clone(),
            host_tid: TID,
            links,
            metrics: &self.metrics,
            addresses: &self.addresses,
        };
        let nodes = SwitchNodes::new(tables, &around);
        self.writer.apply(nodes.subgraph);
        nodes.typed_links
    }

    /// Returns the metadata of the only node with this name and type.
    fn node(&self, name: &str, kind: &str) -> Json {
        let graph = self.graph.lock().unwrap();
        let mut found = graph.find_nodes("Name", &name.into());
        let node = found.find(|node| node.metadata.get("Type") == Some(&kind.into()));
        serde_json::to_value(&node.unwrap_or_else(|| panic!("no {name}")).metadata).unwrap()
    }

    /// Returns the edges as `parent > child: relation type`.
    fn edges(&self) -> Vec<String> {
        let graph = self.graph.lock().unwrap();
        let label = |id: &NodeId| {
            let node = graph.node(id).unwrap();
            let text = |key| {
                node.metadata
                    .get(key)
                    .and_then(|v| v.as_text())
                    .unwrap_or("?")
            };
            format!("{}/{}", text("Name"), text("Type"))
        };
        let mut found: Vec<String> = graph
            .edges()
            .map(|edge| {
                let text = |key| {
                    edge.metadata
                        .get(key)
                        .and_then(|v| v.as_text())
                        .unwrap_or("")
                };
                let relation = format!("{} {}", text("RelationType"), text("Type"));
                format!(
                    "{} > {}: {}",
                    label(&edge.parent),
                    label(&edge.child),
                    relation.trim()
                )
            })
            .collect();
        found.sort();
        found
    }
}

#[test]
fn a_bridge_owns_its_ports_and_the_interfaces_without_a_link() {
    let mut lab = Lab::new();
    let vxlan = json!({"type": "vxlan", "ofport": 2, "options": ["map",
        [["remote_ip", "198.18.2.20"], ["local_ip", "198.18.2.1"]]],
        "status": ["map", [["tunnel_egress_iface", "eth0"], ["tunnel_egress_iface_carrier", "up"]]]});
    lab.show(&switch(&[("vxl9", vxlan)]));
    let bridge = lab.node("br0", "ovsbridge");
    assert_eq!(
        bridge["Ovs"],
        json!({"OtherConfig": {"hwaddr": "02:00"}, "Protocols": ["OpenFlow13"]})
    );
    assert_eq!(bridge["ExtID"], json!({"a": {"b": "c"}}), "dots nest");
    assert_eq!(lab.node("vxl9", "ovsport")["Vlans"], json!(7));
    let interface = lab.node("vxl9", "vxlan");
    let wanted = json!({"Name": "vxl9", "UUID": "vxl9", "Type": "vxlan", "OfPort": 2,
        "Driver": "openvswitch", "LocalIP": "198.18.2.1", "RemoteIP": "198.18.2.20",
        "TunEgressIface": "eth0", "TunEgressIfaceCarrier": "up",
        "Ovs": {"Options": {"remote_ip": "198.18.2.20", "local_ip": "198.18.2.1"}}});
    assert_eq!(interface, wanted);
    let edges = lab.edges();
    let wanted = [
        "br0/ovsbridge > vxl9/ovsport: layer2",
        "br0/ovsbridge > vxl9/ovsport: ownership",
        "br0/ovsbridge > vxl9/vxlan: ownership",
        "edge-01/host > br0/ovsbridge: ownership",
        "vxl9/ovsport > vxl9/vxlan: layer2",
    ];
    assert_eq!(edges, wanted);
    let host = lab.node("edge-01", "host");
    assert_eq!(
        host["Ovs"],
        json!({"DBVersion": "8.3.0", "Version": "3.1.0"})
    );
}

#[test]
fn an_interface_with_a_link_is_one_node() {
    let mut lab = Lab::new();
    let typed = lab.show(&switch(&[
        (
            "int0",
            json!({"type": "internal", "ifindex": 4, "ofport": 1}),
        ),
        ("veth0", json!({"type": "", "ifindex": 5, "ofport": 2})),
    ]));
    assert_eq!(lab.node("int0", "internal")["OfPort"], json!(1));
    assert_eq!(lab.node("veth0", "veth")["UUID"], json!("veth0"));
    assert_eq!(typed.len(), 1);
    assert_eq!(typed[0].1, "internal");
    assert!(
        lab.edges()
            .contains(&"int0/ovsport > int0/internal: layer2".to_owned())
    );
    lab.show(&switch(&[]));
    assert_eq!(
        lab.node("int0", "tun"),
        json!({"Name": "int0", "Type": "tun"})
    );
}

#[test]
fn a_link_is_found_by_index_then_address_then_host() {
    let mut lab = Lab::new();
    lab.add_link("int0", 4, "tun", false);
    lab.add_link("far0", 7, "tun", false);
    lab.show(&switch(&[
        ("int0", json!({"type": "internal", "ifindex": 4})),
        ("veth0", json!({"type": "", "ifindex": 99})),
        (
            "far0",
            json!({"type": "internal", "mac_in_use": "02:00:00:00:00:07"}),
        ),
    ]));
    let graph = lab.graph.lock().unwrap();
    let has_uuid = |id: &str| {
        graph
            .node(&NodeId::from(id))
            .unwrap()
            .metadata
            .get("UUID")
            .is_some()
    };
    assert!(has_uuid("link-int0-true") && !has_uuid("link-int0-false"));
    assert!(!has_uuid("link-veth0-true"), "another index");
    assert!(
        has_uuid("link-far0-false"),
        "the same address in a namespace"
    );
}

#[test]
fn an_internal_port_in_a_namespace_is_one_node() {
    let mut lab = Lab::new();
    for (name, index) in [("moved", 6), ("attached", 7), ("alone", 8), ("plain", 9)] {
        lab.add_link(name, index, "tun", false);
    }
    lab.add_link("attached", 6, "tun", true);
    let mac = |last: u8| format!("02:00:00:00:00:0{last}");
    let ids = json!(["map", [["attached-mac", mac(7)]]]);
    let internal = json!({"type": "internal"});
    lab.show(&switch(&[(
        "moved",
        json!({"type": "internal", "mac_in_use": mac(6)}),
    )]));
    // Another link with the same name appears, and OVSDB has no address any more.
    lab.add_link("moved", 5, "tun", true);
    lab.show(&switch(&[
        ("moved", internal.clone()),
        ("attached", json!({"type": "internal", "external_ids": ids})),
        ("alone", internal),
        ("plain", json!({"type": ""})),
    ]));
    let graph = lab.graph.lock().unwrap();
    let has_uuid = |id: &str| {
        let node = graph.node(&NodeId::from(id)).unwrap();
        node.metadata.get("UUID").is_some()
    };
    for name in [
        "link-moved-false",
        "link-attached-false",
        "link-alone-false",
    ] {
        assert!(has_uuid(name), "{name}");
    }
    for name in ["link-moved-true", "link-attached-true", "link-plain-false"] {
        assert!(!has_uuid(name), "{name}");
    }
}

#[test]
fn two_patch_ports_have_one_edge() {
    let mut lab = Lab::new();
    let patch = |peer: &str| json!({"type": "patch", "options": ["map", [["peer", peer]]]});
    let tables = switch(&[
        ("pb", patch("pa")),
        ("pa", patch("pb")),
        ("px", patch("nowhere")),
    ]);
    lab.show(&tables);
    let edges = lab.edges();
    let patches: Vec<&String> = edges
        .iter()
        .filter(|e| e.ends_with("layer2 patch"))
        .collect();
    assert_eq!(patches, ["pa/patch > pb/patch: layer2 patch"]);
}

#[test]
fn counters_have_totals_and_changes() {
    let mut lab = Lab::new();
    let statistics = |bytes: u64| {
        let row = json!({"type": "vxlan", "statistics": ["map", [["rx_bytes", bytes], ["x", 1]]]});
        switch(&[("v", row)])
    };
    lab.metrics
        .update(&statistics(100), Timestamp::from_ms(1000));
    lab.show(&statistics(100));
    let ovs = |lab: &Lab| lab.node("v", "vxlan")["Ovs"].clone();
    assert_eq!(ovs(&lab), json!({"Metric": {"RxBytes": 100, "Last": 1000}}));
    lab.metrics
        .update(&statistics(150), Timestamp::from_ms(2000));
    lab.show(&statistics(150));
    let wanted = json!({"Metric": {"RxBytes": 150, "Last": 2000},
        "LastUpdateMetric": {"RxBytes": 50, "Start": 1000, "Last": 2000}});
    assert_eq!(ovs(&lab), wanted);
    lab.metrics
        .update(&statistics(30), Timestamp::from_ms(3000));
    lab.show(&statistics(30));
    assert_eq!(
        ovs(&lab)["LastUpdateMetric"]["RxBytes"],
        json!(30),
        "a reset"
    );
}

/// Answers the requests of a probe like a server that has one bridge.
fn serve(mut stream: UnixStream, bridge: &str) -> UnixStream {
    let mut frames = JsonFrames::new(1 << 20);
    let mut buffer = [0; 4096];
    for _ in 0..2 {
        let request = loop {
            if let Some(request) = frames.next_frame().unwrap() {
                break request;
            }
            let count = stream.read(&mut buffer).unwrap();
            frames.extend(&buffer[..count]);
        };
        let request: Json = serde_json::from_slice(&request).unwrap();
        let result = match request["method"].as_str() {
            Some("get_schema") => json!({"tables": {"Bridge": {"columns": {"name": {}}}}}),
            _ => json!({"Bridge": {"b": {"new": {"name": bridge}}}}),
        };
        let reply = json!({"id": request["id"], "error": null, "result": result});
        stream.write_all(reply.to_string().as_bytes()).unwrap();
    }
    stream
}

#[test]
fn the_probe_follows_a_server_and_returns_with_it() {
    let path = std::env::temp_dir().join(format!("skylib-ovsdb-{}", std::process::id()));
    drop(std::fs::remove_file(&path));
    let listener = UnixListener::bind(&path).unwrap();
    let graph = Arc::new(Mutex::new(Graph::new()));
    let target = ProbeTarget::for_host(graph.clone(), "edge-01").unwrap();
    let tid = crate::graph::MetadataOp::set("TID", TID);
    target
        .update(|graph, now| graph.patch_node(&target.root, &[tid], now))
        .unwrap()
        .unwrap();
    let namespaces = Namespaces::new(target.clone(), NetlinkOptions::default());
    let mut probes = ProbeSet::new();
    let address = ServerAddress::Unix(path.clone());
    probes.start(OvsdbProbe::new(&namespaces, address)).unwrap();
    let bridges = || {
        let graph = graph.lock().unwrap();
        let names = graph
            .edges_of(&target.root, Direction::Out)
            .map(|(_, node)| {
                node.metadata
                    .get("Name")
                    .and_then(|v| v.as_text())
                    .unwrap()
                    .to_owned()
            });
        names.collect::<Vec<_>>()
    };
    let wait = |name: &str| {
        while bridges() != [name] {
            thread::yield_now();
        }
    };
    let mut stream = serve(listener.accept().unwrap().0, "br0");
    wait("br0");
    let update = json!({"method": "update", "id": null, "params": [null,
        {"Bridge": {"b": {"new": {"name": "renamed"}}}}]});
    stream.write_all(update.to_string().as_bytes()).unwrap();
    wait("renamed");
    stream.write_all(b"nonsense").unwrap();
    let stream = serve(listener.accept().unwrap().0, "again");
    wait("again");
    assert!(probes.status()[0].restarts > 0);
    drop(stream);
    probes.stop();
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_missing_switch_is_a_problem_only_if_it_is_required() {
    let path = std::env::temp_dir().join(format!("skylib-no-ovsdb-{}", std::process::id()));
    drop(std::fs::remove_file(&path));
    let graph = Arc::new(Mutex::new(Graph::new()));
    let target = ProbeTarget::for_host(graph, "edge-01").unwrap();
    let namespaces = Namespaces::new(target, NetlinkOptions::default());
    let mut probes = ProbeSet::new();
    let probe = || OvsdbProbe::new(&namespaces, ServerAddress::Unix(path.clone()));
    probes.start(probe()).unwrap();
    probes.start(probe().with_optional(true)).unwrap();
    let wait = |number: usize, is_done: &dyn Fn(&ProbeStatus) -> bool| {
        while !is_done(&probes.status()[number]) {
            thread::yield_now();
        }
    };
    wait(0, &|probe| probe.error.is_some());
    wait(1, &|probe| probe.state == ProbeState::Running);
    let optional = probes.status().swap_remove(1);
    assert_eq!((optional.error, optional.restarts), (None, 0));
    // The socket of a switch that does not run is a problem in any case.
    drop(UnixListener::bind(&path).unwrap());
    wait(1, &|probe| probe.error.is_some());
    probes.stop();
    std::fs::remove_file(&path).unwrap();
}
