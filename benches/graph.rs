//! The graph on a datacentre made up here: load from JSON, index, scan, two hops, a view beside a
//! writer.
//!
//! Racks of hosts with a bridge and containers in namespaces, 1.4 edges a node; the same every time.

use std::fmt::Write as _;
use std::hint::black_box;
use std::ops::ControlFlow;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use skylib::filter::{Filter, Predicate};
use skylib::graph::{
    Direction, Edge, ElementKey, Graph, GraphView, MetadataOp, Node, NodeId, NodeRef,
};
use skylib::time::Timestamp;

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];

fn load(c: &mut Criterion) {
    let mut group = c.benchmark_group("graph/load");
    group.sample_size(10);
    for size in SIZES {
        let json = datacentre(size);
        group.throughput(Throughput::Bytes(json.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| graph(&json))
        });
    }
}

fn queries(c: &mut Criterion) {
    for size in SIZES {
        let graph = graph(&datacentre(size));
        let nodes = graph.node_count();
        let view = GraphView::open(&graph);
        let containers = text("Type", "container");
        let big = ElementKey::compile(&Filter::test("MTU", Predicate::Gt(1500)));
        let labelled = text("Docker.Labels.app", "app7");
        let layer2 = text("RelationType", "layer2");

        // A fast wrong answer is worth nothing.
        let count = |key: &ElementKey, wanted: &str| {
            let is_wanted = |n: &&std::sync::Arc<Node>| {
                n.value(key)
                    .is_some_and(|value| value.as_text() == Some(wanted))
            };
            graph.nodes().filter(is_wanted).count()
        };
        let truth = count(&ElementKey::parse("Type"), "container");
        assert!(truth > size / 10);
        assert_eq!(view.count_nodes(&containers), Ok(truth));
        assert_eq!(
            view.count_nodes(&labelled),
            Ok(count(&ElementKey::parse("Docker.Labels.app"), "app7"))
        );
        assert_eq!(two_hops(&view, nodes), two_hops_by_nodes(&view, nodes));

        let mut group = c.benchmark_group("graph/query");
        group.throughput(Throughput::Elements(nodes as u64));
        let id = |name| BenchmarkId::new(name, size);
        group.bench_function(id("count_indexed"), |b| {
            b.iter(|| view.count_nodes(&containers))
        });
        group.bench_function(id("visit_indexed"), |b| {
            b.iter(|| visit(&view, &containers))
        });
        group.bench_function(id("scan_number"), |b| b.iter(|| view.count_nodes(&big)));
        group.bench_function(id("scan_nested"), |b| {
            b.iter(|| view.count_nodes(&labelled))
        });
        group.bench_function(id("scan_edges"), |b| b.iter(|| view.count_edges(&layer2)));
        group.bench_function(id("two_hops"), |b| b.iter(|| two_hops(&view, nodes)));
        group.bench_function(id("two_hops_by_nodes"), |b| {
            b.iter(|| two_hops_by_nodes(&view, nodes))
        });
        let mut json = Vec::new();
        group.bench_function(id("to_json"), |b| {
            b.iter(|| {
                json.clear();
                graph
                    .nodes()
                    .for_each(|n| serde_json::to_writer(&mut json, &**n).unwrap());
                graph
                    .edges()
                    .for_each(|e| serde_json::to_writer(&mut json, &**e).unwrap());
                json.len()
            });
        });
    }
}

fn changes(c: &mut Criterion) {
    let mut graph = graph(&datacentre(10_000));
    let ids: Vec<NodeId> = graph.nodes().map(|node| node.id.clone()).collect();
    let mut turn = 0;
    let mut change = |graph: &mut Graph| {
        turn += 1;
        let ops = [MetadataOp::set("MTU", turn)];
        let id = &ids[turn as usize * 31 % ids.len()];
        graph
            .patch_node(id, &ops, Timestamp::from_ms(turn))
            .unwrap();
        black_box(graph.take_events());
    };
    let mut group = c.benchmark_group("graph/change");
    group.throughput(Throughput::Elements(1));
    group.bench_function("patch", |b| b.iter(|| change(&mut graph)));
}

criterion_group!(benches, load, queries, changes);
criterion_main!(benches);

fn text(key: &str, wanted: &str) -> Filter<ElementKey> {
    ElementKey::compile(&Filter::test(key, Predicate::Text(wanted.into())))
}

fn visit(view: &GraphView<'_>, filter: &Filter<ElementKey>) -> Vec<NodeRef> {
    let mut found = Vec::new();
    let keep = &mut |node| {
        found.push(node);
        ControlFlow::Continue(())
    };
    view.visit_nodes(filter, keep).unwrap();
    found
}

/// Nodes two hops from a bridge, each counted once; on numbers alone.
fn two_hops(view: &GraphView<'_>, nodes: usize) -> usize {
    let bridges = visit(view, &text("Type", "bridge"));
    let bridges: Vec<u32> = bridges.iter().map(NodeRef::index).collect();
    let mut near = Vec::new();
    view.hop(&bridges, Direction::Both, &mut |_, _, node| {
        near.push(node);
        ControlFlow::Continue(())
    })
    .unwrap();
    let mut seen = vec![false; nodes];
    let mut count = 0;
    view.hop(&near, Direction::Both, &mut |_, _, node| {
        count += usize::from(!std::mem::replace(&mut seen[node as usize], true));
        ControlFlow::Continue(())
    })
    .unwrap();
    count
}

/// The same with the nodes handed out at each hop.
fn two_hops_by_nodes(view: &GraphView<'_>, nodes: usize) -> usize {
    let all = Filter::everything();
    let bridges = visit(view, &text("Type", "bridge"));
    let mut near = Vec::new();
    view.walk_nodes(&bridges, Direction::Both, &all, &mut |_, node| {
        near.push(node);
        ControlFlow::Continue(())
    })
    .unwrap();
    let mut seen = vec![false; nodes];
    let mut count = 0;
    view.walk_nodes(&near, Direction::Both, &all, &mut |_, node| {
        count += usize::from(!std::mem::replace(&mut seen[node.index() as usize], true));
        ControlFlow::Continue(())
    })
    .unwrap();
    count
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Elements {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

fn graph(json: &str) -> Graph {
    let elements: Elements = serde_json::from_str(json).unwrap();
    let mut graph = Graph::new();
    for node in elements.nodes {
        graph.add_node(node).unwrap();
    }
    for edge in elements.edges {
        graph.add_edge(edge).unwrap();
    }
    graph.take_events();
    graph
}

/// The JSON of a datacentre of about so many nodes.
fn datacentre(size: usize) -> String {
    let mut made = Datacentre::default();
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

/// Numbers of elements, and their JSON.
#[derive(Default)]
struct Datacentre {
    nodes: (usize, String),
    edges: (usize, String),
    state: u64,
}

impl Datacentre {
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

    /// Marsaglia's xorshift: the same numbers every time.
    fn random(&mut self) -> u64 {
        self.state |= 0x2545_f491_4f6c_dd1d * u64::from(self.state == 0);
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }
}
