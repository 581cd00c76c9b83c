//! Builds a small graph, and explains and answers queries on it:
//! `cargo run --example gremlin -- "G.V().Count()"`

use anyhow::Result;
use skylib::flow::FlowSet;
use skylib::graph::{Edge, Graph, GraphView, Metadata, Node};
use skylib::gremlin::{Context, Predicate, Query};
use skylib::time::{Clock, SystemClock, Timestamp};

fn main() -> Result<()> {
    let now = SystemClock.now();
    let graph = two_interfaces_on_a_bridge(now)?;
    let queries: Vec<String> = std::env::args().skip(1).collect();
    let queries = if queries.is_empty() {
        vec![
            "G.V().Has('Type', 'bridge').Out().Values('Name')".to_owned(),
            "G.V().Has('MTU', GT(1500)).Count()".to_owned(),
            "G.V().Has('Name', 'eth1').In().Values('Name')".to_owned(),
        ]
    } else {
        queries
    };
    let view = GraphView::open(&graph);
    let no_flows = FlowSet::default();
    for text in queries {
        let query = Query::parse(&text)?;
        let context = Context::new(&view, &no_flows, now);
        let answer = query.run(&context)?;
        println!("{text}\n  {answer}");
        println!("{}", query.explain(&context));
    }

    // A query written in Rust instead of a string.
    let jumbo = graph
        .traversal()
        .v()
        .has("MTU", Predicate::gt(1500))
        .values("Name");
    println!("{jumbo}\n  {}", jumbo.run(now)?);
    Ok(())
}

fn two_interfaces_on_a_bridge(now: Timestamp) -> Result<Graph> {
    let mut graph = Graph::new();
    for (name, kind, mtu) in [
        ("br0", "bridge", 1500),
        ("eth0", "device", 1500),
        ("eth1", "device", 9000),
    ] {
        let metadata = Metadata::new().with("Name", name);
        let metadata = metadata.with("Type", kind).with("MTU", mtu);
        graph.add_node(Node::new(name, metadata, now))?;
    }
    for port in ["eth0", "eth1"] {
        let metadata = Metadata::new().with("RelationType", "layer2");
        graph.add_edge(Edge::between("br0", port, metadata, now))?;
    }
    Ok(graph)
}
