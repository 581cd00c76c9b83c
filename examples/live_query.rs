//! A live query: an answer that is updated while the graph changes.
//!
//! Run with `cargo run --example live_query`. A running engine drives live queries in a thread
//! (`Engine::live_client`); this example drives one itself.

use skylib::flow::FlowSet;
use skylib::graph::{Edge, Graph, GraphView, Metadata, MetadataOp, Node, NodeId};
use skylib::gremlin::live::{AnswerReplica, LiveQuery, Update};
use skylib::gremlin::{Context, Query};
use skylib::time::{Clock, SystemClock, Timestamp};

type Step = fn(&mut Graph, Timestamp) -> anyhow::Result<()>;

fn add(graph: &mut Graph, name: &str, kind: &str, now: Timestamp) -> anyhow::Result<()> {
    let metadata = Metadata::from_iter([("Name", name), ("Type", kind), ("State", "UP")]);
    graph.add_node(Node::new(name, metadata, now))?;
    Ok(())
}

fn plug(graph: &mut Graph, name: &str, now: Timestamp) -> anyhow::Result<()> {
    let metadata = Metadata::from_iter([("RelationType", "layer2")]);
    graph.add_edge(Edge::between("br0", name, metadata, now))?;
    Ok(())
}

/// Changes of the graph, in order.
const STEPS: &[(&str, Step)] = &[
    ("eth0 is plugged into br0", |graph, now| {
        plug(graph, "eth0", now)
    }),
    (
        "a host is added, which does not affect the answer",
        |graph, now| add(graph, "host", "host", now),
    ),
    ("eth0 counts bytes", |graph, now| {
        let ops = [MetadataOp::set("Metric.RxBytes", 1_000)];
        graph.patch_node(&NodeId::from("eth0"), &ops, now)?;
        Ok(())
    }),
    ("veth1 is added and plugged in", |graph, now| {
        add(graph, "veth1", "veth", now)?;
        plug(graph, "veth1", now)
    }),
    ("eth0 is deleted", |graph, now| {
        graph.delete_node(&NodeId::from("eth0"), now)?;
        Ok(())
    }),
];

fn main() -> anyhow::Result<()> {
    let mut graph = Graph::new().with_journal();
    add(&mut graph, "br0", "bridge", SystemClock.now())?;
    add(&mut graph, "eth0", "device", SystemClock.now())?;
    let query = Query::parse("G.V().Has('Type', 'bridge').Out('State', 'UP')")?;
    println!("{query}");
    let mut live = LiveQuery::new(query);
    let mut replica = AnswerReplica::default();
    update(&mut live, &graph, &mut replica)?;
    for (what, step) in STEPS {
        println!("\n{what}");
        step(&mut graph, SystemClock.now())?;
        for event in graph.take_events() {
            live.apply_event(&event, graph.sequence());
        }
        update(&mut live, &graph, &mut replica)?;
    }
    Ok(())
}

/// Prints the update, if there is one, and applies it to the copy of the answer.
fn update(live: &mut LiveQuery, graph: &Graph, replica: &mut AnswerReplica) -> anyhow::Result<()> {
    let update = if live.is_stale() {
        let view = GraphView::open(graph);
        live.refresh(&Context::new(&view, &FlowSet::default(), SystemClock.now()))?
    } else {
        live.take_changes()
    };
    let Some(update) = update else {
        println!("  no change");
        return Ok(());
    };
    match &update {
        Update::Answer { answer, .. } => println!("  answer {}", serde_json::to_string(answer)?),
        Update::Changes { changes, .. } => {
            for change in changes {
                println!("  {}", serde_json::to_string(change)?);
            }
        }
        other => println!("  {other:?}"),
    }
    replica.apply(&update);
    let names: Vec<String> = replica.items().map(|(key, _)| key.to_string()).collect();
    println!("  now {names:?}");
    Ok(())
}
