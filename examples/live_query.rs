//! A live query: prints changes to an answer as the graph changes. `cargo run --example live_query`
//!
//! In a running engine, a thread drives live queries (`Engine::live_client`); this example drives a
//! live query itself.

use skylib::flow::FlowSet;
use skylib::graph::{Edge, Graph, Metadata, MetadataOp, Node};
use skylib::gremlin::Query;
use skylib::gremlin::live::LiveQuery;
use skylib::time::{Clock, SystemClock};

fn main() -> anyhow::Result<()> {
    let (mut graph, flows, clock) = (Graph::new().with_journal(), FlowSet::default(), SystemClock);
    let device = |name: &str| Metadata::new().with("Name", name).with("State", "UP");
    graph.add_node(Node::new("br0", device("br0"), clock.now()))?;
    graph.add_node(Node::new("eth0", device("eth0"), clock.now()))?;
    graph.add_edge(Edge::between("br0", "eth0", Metadata::new(), clock.now()))?;

    let query = Query::parse("G.V().Has('Name', 'br0').Out('State', 'UP').Values('Name')")?;
    let mut live = LiveQuery::new(query);
    let answer = live.advance(&graph.take_events(), &graph, &flows, clock.now())?;
    println!("the answer: {answer:?}");

    let down = [MetadataOp::set("State", "DOWN")];
    graph.patch_node(&"eth0".into(), &down, clock.now())?;
    let changes = live.advance(&graph.take_events(), &graph, &flows, clock.now())?;
    println!("eth0 is down: {changes:?}");
    Ok(())
}
