//! Paths through a network of namespaces: web behind a bridge, a router, a server, and an overlay.

use serde_json::{Value as Json, json};

use crate::graph::{Edge, Graph, Metadata, Node};
use crate::gremlin::tests::run;
use crate::time::Timestamp;

/// Rules of every namespace.
fn rules() -> Json {
    json!([
        {"Family": "IPV4", "Priority": 0, "Action": "lookup", "Table": 255},
        {"Family": "IPV4", "Priority": 32766, "Action": "lookup", "Table": 254},
    ])
}

fn local(address: &str, index: i64) -> Json {
    let prefix = format!("{address}/32");
    json!({"Prefix": prefix, "Type": "local", "NextHops": [{"IfIndex": index, "Priority": 0}]})
}

/// Returns a route to a prefix, by a gateway unless it is empty.
fn route(prefix: &str, gateway: &str, index: i64) -> Json {
    match gateway {
        "" => json!({"Prefix": prefix, "NextHops": [{"IfIndex": index, "Priority": 0}]}),
        ip => json!({"Prefix": prefix, "NextHops": [{"IP": ip, "IfIndex": index, "Priority": 10}]}),
    }
}

fn tables(locals: &[Json], routes: &[Json]) -> Json {
    json!([{"ID": 255, "Routes": locals}, {"ID": 254, "Routes": routes}])
}

struct Lab(Graph);

impl Lab {
    fn node(&mut self, owner: &str, id: &str, metadata: &Json) {
        let metadata: Metadata = serde_json::from_value(metadata.clone()).unwrap();
        self.0
            .add_node(Node::new(id, metadata, Timestamp::ZERO))
            .unwrap();
        if !owner.is_empty() {
            self.edge(owner, id, "ownership");
        }
    }

    fn edge(&mut self, parent: &str, child: &str, relation: &str) {
        let metadata = Metadata::from_iter([("RelationType", relation)]);
        let id = format!("{parent}-{child}");
        let edge = Edge::new(id, parent, child, metadata, Timestamp::ZERO);
        self.0.add_edge(edge).unwrap();
    }

    fn namespace(&mut self, id: &str, kind: &str, tables: &Json) {
        let metadata =
            json!({"Type": kind, "Name": id, "RoutingRules": rules(), "RoutingTables": tables});
        self.node("", id, &metadata);
    }

    /// Adds an interface `owner/name` with its properties.
    fn link(&mut self, owner: &str, name: &str, index: i64, more: &Json) {
        let mut metadata = json!({
            "Type": "veth", "Name": name, "IfIndex": index, "State": "UP", "MTU": 1500,
        });
        let members = metadata.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        self.node(owner, &format!("{owner}/{name}"), &metadata);
    }

    fn set(&mut self, node: &str, key: &str, value: Json) {
        let value: crate::value::Value = serde_json::from_value(value).unwrap();
        let op = crate::graph::MetadataOp::set(key, value);
        self.0
            .patch_node(&node.into(), &[op], Timestamp::ZERO)
            .unwrap();
    }
}

/// web (10.0.0.10) - br0 on host (10.0.0.1) - wan (192.0.2.1), with a smaller MTU on the path, and
/// a VXLAN overlay 172.16.0.0/24 from the host to wan.
fn lab() -> Lab {
    let mut lab = Lab(Graph::new());
    let web = [
        route("10.0.0.0/24", "", 2),
        route("0.0.0.0/0", "10.0.0.1", 2),
    ];
    lab.namespace("web", "netns", &tables(&[local("10.0.0.10", 2)], &web));
    let host = [
        route("10.0.0.0/24", "", 2),
        route("192.0.2.0/24", "", 4),
        route("172.16.0.0/24", "", 5),
        route("203.0.113.0/24", "192.0.2.99", 4),
    ];
    let locals = [
        local("10.0.0.1", 2),
        local("192.0.2.2", 4),
        local("172.16.0.1", 5),
    ];
    lab.namespace("host", "host", &tables(&locals, &host));
    let wan = [
        route("192.0.2.0/24", "", 2),
        route("10.0.0.0/24", "192.0.2.2", 2),
        route("172.16.0.0/24", "", 3),
    ];
    let locals = [local("192.0.2.1", 2), local("172.16.0.2", 3)];
    lab.namespace("wan", "netns", &tables(&locals, &wan));
    lab.link("web", "eth0", 2, &json!({"IPV4": ["10.0.0.10/24"]}));
    lab.link(
        "host",
        "br0",
        2,
        &json!({"Type": "bridge", "IPV4": ["10.0.0.1/24"]}),
    );
    lab.link(
        "host",
        "v-web",
        3,
        &json!({"Metric": {"RxDropped": 3, "TxDropped": 4}}),
    );
    lab.link(
        "host",
        "v-wan",
        4,
        &json!({"IPV4": ["192.0.2.2/24"], "MTU": 1400}),
    );
    let neighbor = json!([{"IP": "192.0.2.99", "MAC": "02:00:00:00:00:99"}]);
    lab.set("host/v-wan", "Neighbors", neighbor);
    lab.link("wan", "eth0", 2, &json!({"IPV4": ["192.0.2.1/24"]}));
    let vxlan = |local: &str, remote: &str, address: &str| {
        json!({"Type": "vxlan", "MTU": 1350, "State": "UNKNOWN", "IPV4": [format!("{address}/24")],
            "LocalIP": local, "RemoteIP": remote, "Tunnel": {"VNI": 42}})
    };
    lab.link(
        "host",
        "vx0",
        5,
        &vxlan("192.0.2.2", "192.0.2.1", "172.16.0.1"),
    );
    lab.link(
        "wan",
        "vx0",
        3,
        &vxlan("192.0.2.1", "192.0.2.2", "172.16.0.2"),
    );
    lab.edge("web/eth0", "host/v-web", "layer2");
    lab.edge("host/br0", "host/v-web", "layer2");
    lab.edge("host/v-wan", "wan/eth0", "layer2");
    lab
}

fn path(lab: &Lab, query: &str) -> Json {
    let answer = run(&lab.0, query).unwrap();
    let paths: Json = serde_json::to_value(answer).unwrap();
    paths[0].clone()
}

/// Returns the names of the hops, each with the reason why the packet reaches it.
fn hops(path: &Json) -> Vec<String> {
    let hops = path["Hops"].as_array().unwrap().iter();
    let text = |hop: &Json, key: &str| hop[key].as_str().unwrap().to_owned();
    hops.map(|hop| format!("{} {}", text(hop, "By"), text(hop, "Name")))
        .collect()
}

#[test]
fn routes_and_links_lead_through_a_router() {
    let lab = lab();
    let path = path(&lab, "G.V('web/eth0').PathTo('192.0.2.1')");
    assert_eq!(path["Reached"], true, "{path}");
    assert_eq!(
        hops(&path),
        [
            "route web/eth0",
            "link host/v-web",
            "link host/br0",
            "route host/v-wan",
            "link wan/eth0"
        ]
    );
    assert_eq!((&path["MTU"], &path["Drops"]), (&json!(1400), &json!(7)));
    assert_eq!(path["Hops"][0]["NextHop"], "10.0.0.1");
    assert_eq!(path["Hops"][1]["Drops"], 7);
    assert_eq!(
        (&path["From"], &path["To"]),
        (&json!("web/eth0"), &json!("192.0.2.1"))
    );
}

#[test]
fn targets_are_addresses_ids_and_matching_nodes() {
    let lab = lab();
    for target in ["'wan/eth0'", "Metadata('Name', 'wan')", "'192.0.2.1'"] {
        let path = path(&lab, &format!("G.V('web').PathTo({target})"));
        assert_eq!(path["To"], "192.0.2.1", "{path}");
        assert_eq!(path["Reached"], true, "{path}");
    }
    let own = path(&lab, "G.V('web').PathTo('10.0.0.10')");
    assert_eq!(hops(&own), ["local web/eth0"]);
    let error = run(&lab.0, "G.V('web').PathTo('nope')").unwrap_err();
    assert_eq!(error.message(), "Node 'nope' does not exist");
    let none = path(&lab, "G.V('web').PathTo(Metadata('Name', 'nope'))");
    assert_eq!(none["Reason"], "no node matches the target");
    let bare = path(&lab, "G.V('web').PathTo('host/v-web')");
    assert_eq!(bare["Reason"], "the target host/v-web has no IP address");
}

#[test]
fn the_outer_packet_of_a_tunnel_is_part_of_the_path() {
    let lab = lab();
    let path = path(&lab, "G.V('web').PathTo('172.16.0.2')");
    assert_eq!(path["Reached"], true, "{path}");
    assert_eq!(
        hops(&path),
        [
            "route web/eth0",
            "link host/v-web",
            "link host/br0",
            "route host/vx0",
            "route host/v-wan",
            "link wan/eth0",
            "tunnel wan/vx0"
        ]
    );
    assert_eq!(path["MTU"], 1350);
    assert_eq!(path["Hops"][4]["Outer"], 1);
}

#[test]
fn a_path_that_ends_early_has_a_reason() {
    let mut lab = lab();
    let reason = |lab: &Lab, query: &str| {
        let path = path(lab, query);
        assert_eq!(path["Reached"], false, "{path}");
        path["Reason"].as_str().unwrap().to_owned()
    };
    let beyond = reason(&lab, "G.V('web').PathTo('203.0.113.7')");
    assert!(
        beyond.starts_with("192.0.2.99 (02:00:00:00:00:99) is beyond v-wan"),
        "{beyond}"
    );
    let absent = reason(&lab, "G.V('web').PathTo('10.0.0.77')");
    assert!(
        absent.contains("no interface that is connected to eth0 has the address"),
        "{absent}"
    );
    let refused = reason(&lab, "G.V('wan').PathTo('8.8.8.8')");
    assert_eq!(
        refused,
        "wan has no route to 8.8.8.8, or a route that rejects it"
    );
    let down = json!("DOWN");
    lab.set("host/v-web", "State", down);
    assert_eq!(
        reason(&lab, "G.V('web').PathTo('192.0.2.1')"),
        "host/v-web is DOWN"
    );
    lab.set("host/v-web", "State", json!("UP"));
    lab.set("host/v-wan", "State", json!("LOWER-LAYER-DOWN"));
    let outer = reason(&lab, "G.V('web').PathTo('172.16.0.2')");
    assert_eq!(
        outer,
        "tunnel vx0 to 192.0.2.1: host/v-wan is LOWER-LAYER-DOWN"
    );
    lab.node("", "alone", &json!({"Type": "device", "Name": "alone"}));
    let alone = reason(&lab, "G.V('alone').PathTo('192.0.2.1')");
    assert!(
        alone.starts_with("no routing rules are known for alone"),
        "{alone}"
    );
}

#[test]
fn a_next_hop_may_answer_with_the_hardware_address_of_another_interface() {
    let mut lab = lab();
    // The default gateway 169.254.1.1 exists nowhere; the other end of the veth pair answers for it.
    let pod = [
        route("169.254.1.1/32", "", 2),
        route("0.0.0.0/0", "169.254.1.1", 2),
    ];
    lab.namespace("pod", "netns", &tables(&[local("10.9.0.10", 2)], &pod));
    let neighbors = json!([{"IP": "169.254.1.1", "MAC": "ee:ee:ee:ee:ee:ee"}]);
    let eth0 = json!({"IPV4": ["10.9.0.10/32"], "Neighbors": neighbors});
    lab.link("pod", "eth0", 2, &eth0);
    for (number, name) in [(11, "cali1"), (12, "cali2")] {
        lab.link("host", name, number, &json!({"MAC": "ee:ee:ee:ee:ee:ee"}));
    }
    let unlinked = path(&lab, "G.V('pod').PathTo('192.0.2.1')");
    let reason = unlinked["Reason"].as_str().unwrap();
    assert!(
        reason.starts_with("169.254.1.1 (ee:ee:ee:ee:ee:ee) is beyond eth0"),
        "{reason}"
    );

    lab.edge("pod/eth0", "host/cali1", "layer2");
    let to_wan = path(&lab, "G.V('pod').PathTo('192.0.2.1')");
    let wanted = [
        "route pod/eth0",
        "link host/cali1",
        "route host/v-wan",
        "link wan/eth0",
    ];
    assert_eq!(hops(&to_wan), wanted);
    assert_eq!(to_wan["Reached"], true, "{to_wan}");
    let to_host = path(&lab, "G.V('pod').PathTo('10.0.0.1')");
    assert_eq!(
        hops(&to_host),
        ["route pod/eth0", "link host/cali1", "local host/br0"]
    );
    assert_eq!(to_host["Reached"], true, "{to_host}");
}

#[test]
fn a_routing_loop_ends() {
    let mut lab = lab();
    let wan = [
        route("192.0.2.0/24", "", 2),
        route("0.0.0.0/0", "192.0.2.2", 2),
    ];
    lab.set(
        "wan",
        "RoutingTables",
        tables(&[local("192.0.2.1", 2)], &wan),
    );
    let host = [
        route("192.0.2.0/24", "", 4),
        route("0.0.0.0/0", "192.0.2.1", 4),
    ];
    lab.set(
        "host",
        "RoutingTables",
        tables(&[local("192.0.2.2", 4)], &host),
    );
    let path = path(&lab, "G.V('wan').PathTo('8.8.8.8')");
    assert_eq!(
        path["Reason"], "routing loop: the packet reaches wan a second time",
        "{path}"
    );
}

#[test]
fn a_packet_may_pass_several_tunnels_between_the_same_hosts() {
    let mut lab = lab();
    let (host, wan) = ("192.0.2.2", "192.0.2.1");
    for (owner, local, remote) in [("host", host, wan), ("wan", wan, host)] {
        for number in 1..=3 {
            let vxlan = json!({"Type": "vxlan", "State": "UNKNOWN", "LocalIP": local,
                "RemoteIP": remote, "Tunnel": {"VNI": number}});
            lab.link(owner, &format!("vx{number}"), 10 + number, &vxlan);
        }
    }
    // a (host) - VNI 1 - r (wan) - VNI 2 - f (host) - VNI 3 - s (wan)
    let networks = |addresses: &[(&str, &str)], gateway: &str| {
        let numbers = 2_i64..;
        let links = numbers.zip(addresses);
        let locals: Vec<Json> = links.clone().map(|(n, (ip, _))| local(ip, n)).collect();
        let mut routes: Vec<Json> = links.map(|(n, (_, net))| route(net, "", n)).collect();
        let last = 1 + addresses.len() as i64;
        if !gateway.is_empty() {
            routes.push(route("10.3.0.0/24", gateway, last));
        }
        tables(&locals, &routes)
    };
    // Name, addresses with their networks, and gateway of each namespace.
    type Space = (
        &'static str,
        &'static [(&'static str, &'static str)],
        &'static str,
    );
    let spaces: [Space; 4] = [
        ("a", &[("10.1.0.1", "10.1.0.0/24")], "10.1.0.2"),
        (
            "r",
            &[("10.1.0.2", "10.1.0.0/24"), ("10.2.0.1", "10.2.0.0/24")],
            "10.2.0.2",
        ),
        (
            "f",
            &[("10.2.0.2", "10.2.0.0/24"), ("10.3.0.1", "10.3.0.0/24")],
            "",
        ),
        ("s", &[("10.3.0.2", "10.3.0.0/24")], ""),
    ];
    for (name, addresses, gateway) in spaces {
        lab.namespace(name, "netns", &networks(addresses, gateway));
        for (number, (address, _)) in (0..).zip(addresses) {
            let with_address = json!({"IPV4": [format!("{address}/24")]});
            lab.link(name, &format!("eth{number}"), 2 + number, &with_address);
        }
    }
    for (parent, child) in [
        ("a/eth0", "host/vx1"),
        ("wan/vx1", "r/eth0"),
        ("r/eth1", "wan/vx2"),
        ("host/vx2", "f/eth0"),
        ("f/eth1", "host/vx3"),
        ("wan/vx3", "s/eth0"),
    ] {
        lab.edge(parent, child, "layer2");
    }
    let path = path(&lab, "G.V('a').PathTo('10.3.0.2')");
    assert_eq!(path["Reached"], true, "{path}");
    let hops = hops(&path);
    let outer = hops.iter().filter(|hop| *hop == "route host/v-wan");
    assert_eq!(outer.count(), 2, "{hops:?}");
}

#[test]
fn a_search_that_ends_at_a_limit_says_so() {
    let mut lab = lab();
    for number in 0..65 {
        let vxlan = json!({"Type": "vxlan", "Tunnel": {"VNI": 1_000 + number}});
        lab.link("host", &format!("t{number}"), 100 + number, &vxlan);
        lab.edge("host/br0", &format!("host/t{number}"), "layer2");
    }
    let path = path(&lab, "G.V('web').PathTo('10.0.0.77')");
    let reason = path["Reason"].as_str().unwrap();
    assert!(reason.contains("64 tunnels"), "{reason}");
}
