//! Generated datacenter for the benchmarks: racks of hosts with a bridge and containers in
//! namespaces, 1.4 edges for each node; the same for every run.

use std::fmt::Write as _;

use serde::Deserialize;
use skylib::graph::{Edge, Graph, Node};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Elements {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

/// Loads a graph from JSON.
pub fn graph(json: &str) -> Graph {
    let elements: Elements = serde_json::from_str(json).unwrap();
    let mut graph = Graph::new().with_journal();
    for node in elements.nodes {
        graph.add_node(node).unwrap();
    }
    for edge in elements.edges {
        graph.add_edge(edge).unwrap();
    }
    graph.take_events();
    graph
}

/// Returns the JSON of a datacenter with approximately this number of nodes.
pub fn datacenter(size: usize) -> String {
    let mut made = Datacenter::default();
    let mut switch = 0;
    for host in 0.. {
        if made.nodes.0 >= size {
            break;
        }
        if host % 20 == 0 {
            switch = made.node(
                "fabric",
                format_args!(r#""Type":"switch","Name":"tor{}""#, host / 20),
            );
        }
        let name = format!("host{host:05}");
        let on = name.as_str();
        let root = made.node(
            on,
            format_args!(r#""Type":"host","Name":"{on}","OS":"linux""#),
        );
        let lo = made.interface(on, "device", "lo", 65_536);
        made.edge(on, root, lo, "ownership");
        let uplink = made.interface(on, "device", "eth0", 9_000);
        made.edge(on, root, uplink, "ownership");
        made.edge(on, switch, uplink, "layer2");
        let bridge = made.interface(on, "bridge", "br0", 1_500);
        made.edge(on, root, bridge, "ownership");
        made.edge(on, bridge, uplink, "layer2");
        for container in 0..18 {
            let namespace = made.node(
                on,
                format_args!(
                    r#""Type":"netns","Name":"cni-{host:04x}{container:02x}","Manager":"docker""#
                ),
            );
            made.edge(on, root, namespace, "ownership");
            let app = made.random() % 200;
            let docker = made.node(
                on,
                format_args!(
                    r#""Type":"container","Name":"app{app}-{host}-{container}","Manager":"docker",
                    "Docker":{{"ContainerPID":{container},"Labels":{{"app":"app{app}","tier":"web"}}}}"#
                ),
            );
            made.edge(on, namespace, docker, "ownership");
            let lo = made.interface(on, "device", "lo", 65_536);
            made.edge(on, namespace, lo, "ownership");
            let inner = made.interface(on, "veth", "eth0", 1_500);
            made.edge(on, namespace, inner, "ownership");
            let outer =
                made.interface(on, "veth", &format!("veth{host:04x}{container:02x}"), 1_500);
            made.edge(on, root, outer, "ownership");
            made.edge(on, inner, outer, "layer2");
            made.edge(on, bridge, outer, "layer2");
        }
    }
    format!(
        r#"{{"Nodes":[{}],"Edges":[{}]}}"#,
        made.nodes.1, made.edges.1
    )
}

/// Generator of elements as JSON.
#[derive(Default)]
struct Datacenter {
    nodes: (usize, String),
    edges: (usize, String),
    state: u64,
}

impl Datacenter {
    fn node(&mut self, host: &str, metadata: std::fmt::Arguments<'_>) -> usize {
        self.element(host, metadata, None)
    }

    fn interface(&mut self, host: &str, kind: &str, name: &str, mtu: u32) -> usize {
        let (a, b) = (
            self.random() % 1_000_000_000,
            self.random() % 1_000_000_000_000,
        );
        let n = self.nodes.0;
        self.node(
            host,
            format_args!(
                r#""Type":"{kind}","Name":"{name}","MAC":"02:00:{:02x}:{:02x}:{:02x}:00",
                "MTU":{mtu},"State":"UP","Driver":"{kind}","IPV4":["10.0.0.1/8"],
                "Metric":{{"RxPackets":{a},"TxPackets":{a},"RxBytes":{b},"TxBytes":{b}}}"#,
                n >> 16 & 255,
                n >> 8 & 255,
                n & 255
            ),
        )
    }

    fn edge(&mut self, host: &str, parent: usize, child: usize, relation: &str) {
        let metadata = format_args!(r#""RelationType":"{relation}""#);
        self.element(host, metadata, Some((parent, child)));
    }

    fn element(
        &mut self,
        host: &str,
        metadata: std::fmt::Arguments<'_>,
        ends: Option<(usize, usize)>,
    ) -> usize {
        let (number, json) = if ends.is_some() {
            &mut self.edges
        } else {
            &mut self.nodes
        };
        let id = |kind: u8, number: usize| {
            let mixed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            format!("{:08x}-{kind:04x}-5000-8000-{number:012x}", mixed >> 32)
        };
        let separator = if *number == 0 { "" } else { ",\n" };
        let own = id(u8::from(ends.is_some()), *number);
        write!(
            json,
            r#"{separator}{{"ID":"{own}","Metadata":{{{metadata}}},"Host":"{host}",
            "Origin":"agent.{host}","CreatedAt":1700000000000,"UpdatedAt":1700000000000,"Revision":1"#
        )
        .unwrap();
        if let Some((parent, child)) = ends {
            write!(
                json,
                r#","Parent":"{}","Child":"{}""#,
                id(0, parent),
                id(0, child)
            )
            .unwrap();
        }
        json.push('}');
        *number += 1;
        *number - 1
    }

    /// Returns the next number of an xorshift generator (Marsaglia), the same for every run.
    fn random(&mut self) -> u64 {
        self.state |= 0x2545_f491_4f6c_dd1d * u64::from(self.state == 0);
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }
}
