//! Checks of queries on a small graph and its history, and of live queries.
//!
//! The first byte is the number of changes to the graph, which are three bytes each; the rest is a
//! query.

use std::sync::atomic::{AtomicUsize, Ordering};

use skylib::flow::{
    Flow, FlowQuery, FlowQueryError, FlowSet, FlowSource, PacketFilter, PacketFilterCompiler,
    RawPacket,
};
use skylib::graph::history::{History, HistoryLimits, MemoryHistory};
use skylib::graph::{Edge, EdgeId, Graph, GraphView, Metadata, MetadataOp, Node, NodeId, Origin};
use skylib::gremlin::live::{AnswerReplica, LiveQuery, Update};
use skylib::gremlin::{Answer, Context, Limits, Query, QueryError, QueryErrorKind};
use skylib::packet::{LinkType, PacketRef};
use skylib::time::Timestamp;

/// Panics if a run panics, exceeds its limits, or has a different result the second time; if a
/// count differs from the number of elements; or if the updates of the live query do not lead to
/// its answer.
pub(crate) fn check(input: &[u8]) {
    let Some((changes, rest)) = input.split_first() else {
        return;
    };
    let Some((script, text)) = rest.split_at_checked(usize::from(changes % MAX_CHANGES) * 3) else {
        return;
    };
    let text = String::from_utf8_lossy(text);
    let Ok(query) = Query::parse(&text) else {
        return;
    };
    let mut world = World::new();
    let mut follower = Follower {
        query: LiveQuery::new(query.clone()),
        followed: AnswerReplica::default(),
    };
    for change in script.chunks_exact(3) {
        world.change(change, &mut follower.query);
        if change[0] & 0x80 != 0 {
            follower.update(&world);
        }
    }
    follower.update(&world);
    let outcome = world.run(&query);
    assert_eq!(world.run(&query), outcome, "{text}");
    follower.check(&outcome);
    if let Ok(answer @ (Answer::Nodes(_) | Answer::Edges(_) | Answer::Flows(_))) = outcome {
        let text = format!("{query}.Count()");
        if let Ok(count) = Query::parse(&text) {
            let wanted = Answer::Number(elements(&answer) as i64);
            assert_eq!(world.run(&count), Ok(wanted), "{text}");
        }
    }
}

/// Graph with its history and some flows.
struct World {
    graph: Graph,
    history: MemoryHistory,
    flows: Flows,
    now: i64,
}

impl World {
    fn new() -> Self {
        let packet = |data: &'static [u8]| RawPacket {
            data: data.into(),
            link_type: 1,
            ..RawPacket::default()
        };
        let flow = |number: i64| {
            Flow::default()
                .with_uuid(format!("f{number}"))
                .with_tracking_id(format!("t{}", number % 2))
                .with_node_tid(format!("n{number}"))
                .with_times(BEGIN, BEGIN + number * 1000)
                .with_last_raw_packets(vec![packet(b"abc"), packet(b"x")])
        };
        Self {
            graph: Graph::new().with_journal(),
            // Small enough that part of the history is evicted.
            history: MemoryHistory::new(HistoryLimits::default().with_max_bytes(16 << 10)),
            flows: Flows((0..4).map(flow).collect()),
            now: BEGIN,
        }
    }

    /// Applies one change and notifies the live query; an invalid change has no effect.
    fn change(&mut self, change: &[u8], query: &mut LiveQuery) {
        let &[kind, one, other] = change else { return };
        self.now += i64::from(kind >> 3 & 7) * 100;
        let now = Timestamp::from_ms(self.now);
        let node = |number: u8| NodeId::from(format!("n{}", number % 12));
        let edge = EdgeId::from(format!("e{}", other % 24));
        let graph = &mut self.graph;
        match kind & 7 {
            0 | 1 => {
                let node =
                    Node::new(node(one), metadata(other), now).with_origin(Origin::new("o", "h"));
                drop(graph.add_node(node));
            }
            2 | 3 => {
                let relation = ["layer2", "ownership"][usize::from(other & 1)];
                let metadata = Metadata::from_iter([("RelationType", relation)]);
                let (parent, child) = (node(one), node(one / 12));
                drop(
                    graph.add_edge(
                        Edge::new(edge, parent, child, metadata, now)
                            .with_origin(Origin::new("o", "h")),
                    ),
                );
            }
            4 => {
                let ops = match other % 4 {
                    0 => MetadataOp::set("MTU", i64::from(other)),
                    1 => MetadataOp::set("Type", ["bridge", "veth"][usize::from(other >> 2 & 1)]),
                    2 => MetadataOp::set("Metric.RxBytes", i64::from(other)),
                    _ => MetadataOp::delete("Name"),
                };
                drop(graph.patch_node(&node(one), &[ops], now));
            }
            5 => drop(graph.set_node_metadata(&node(one), metadata(other), now)),
            6 => drop(graph.delete_node(&node(one), now)),
            _ if other & 32 == 0 => drop(graph.delete_edge(&edge, now)),
            _ => {
                let ops = [MetadataOp::set("RelationType", i64::from(one))];
                drop(graph.patch_edge(&edge, &ops, now));
            }
        }
        let events = graph.take_events();
        self.history.record(&events, now);
        for event in &events {
            query.apply_event(event, graph.sequence());
        }
    }

    /// Runs a function within limits.
    #[allow(clippy::panic_in_result_fn, reason = "a check that fails must be seen")]
    fn within<R>(
        &self,
        run: impl FnOnce(&Context<'_>) -> Result<R, QueryError>,
    ) -> Result<R, QueryError> {
        let view = GraphView::open(&self.graph);
        let asked = AtomicUsize::new(0);
        let interrupt = || asked.fetch_add(1, Ordering::Relaxed) >= MAX_INTERRUPT_CHECKS;
        let limits = Limits::default()
            .with_max_elements(MAX_ELEMENTS)
            .with_max_bytes(MAX_BYTES);
        let context = Context::new(&view, &self.flows, Timestamp::from_ms(self.now + 1))
            .with_history(&self.history)
            .with_packet_filters(&AnyText)
            .with_limits(limits)
            .with_interrupt(&interrupt);
        let result = run(&context);
        let asked = asked.load(Ordering::Relaxed);
        assert!(
            asked <= MAX_INTERRUPT_CHECKS + 1,
            "continues after it was canceled"
        );
        result
    }

    #[allow(clippy::panic_in_result_fn, reason = "a check that fails must be seen")]
    fn run(&self, query: &Query) -> Result<Answer, QueryError> {
        let outcome = self.within(|context| query.run(context));
        match &outcome {
            Ok(answer) => {
                assert!(elements(answer) <= MAX_ELEMENTS);
                let mut json = Vec::new();
                answer
                    .write_json(&mut json)
                    .expect("a vector accepts all bytes");
            }
            Err(error) => assert!(!error.message().is_empty()),
        }
        outcome
    }
}

/// Subscriber of the live query.
struct Follower {
    query: LiveQuery,
    followed: AnswerReplica,
}

impl Follower {
    /// Applies the next update; a query over its limits is retried with the next change.
    fn update(&mut self, world: &World) {
        let query = &mut self.query;
        let update = if query.is_stale() || query.is_timed() {
            world
                .within(|context| query.refresh(context))
                .unwrap_or_default()
        } else {
            query.take_changes()
        };
        if let Some(update) = update {
            let has_changes =
                !matches!(&update, Update::Changes { changes, .. } if changes.is_empty());
            assert!(has_changes && self.followed.apply(&update), "{update:?}");
        }
    }

    fn check(&self, outcome: &Result<Answer, QueryError>) {
        let text = self.query.query();
        match outcome {
            Ok(answer) => assert!(
                self.followed.equals(answer),
                "{text}: {:?} is not {answer:?}",
                self.followed
            ),
            Err(error) if error.kind() == QueryErrorKind::Execute => {
                assert_eq!(self.followed.error(), Some(error), "{text}");
            }
            Err(_) => {}
        }
    }
}

fn metadata(choice: u8) -> Metadata {
    let text = match choice % 7 {
        0 => r#"{"Name":"br0","Type":"bridge","MTU":1500,"TID":"n0"}"#,
        1 => r#"{"Name":"eth0","Type":"device","MTU":"9000","MAC":"02:00","TID":"n1"}"#,
        2 => r#"{"Name":["a","b"],"Type":"veth","Ifs":[{"Name":"p0"},{"Name":"p1"}]}"#,
        3 => r#"{"Name":42,"Nest":{"k":{"n":5}},"a.b":1}"#,
        4 => r#"{"LastUpdateMetric":{"RxBytes":7,"Start":1,"Last":2},"TID":"n2"}"#,
        5 => r#"{"Sockets":[{"Pid":12,"Name":"ssh","LocalPort":22}],"Type":null}"#,
        _ => "{}",
    };
    serde_json::from_str(text).expect("valid")
}

fn elements(answer: &Answer) -> usize {
    match answer {
        Answer::Graph { nodes, edges } => nodes.len().max(edges.len()),
        Answer::Nodes(nodes) => nodes.len(),
        Answer::Edges(edges) => edges.len(),
        Answer::Paths(paths) => paths.len(),
        Answer::Flows(set) => set.flows.len(),
        _ => 0,
    }
}

struct Flows(Vec<Flow>);

impl FlowSource for Flows {
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        query.answer(self.0.clone())
    }
}

/// Filter that matches packets that begin with its expression.
struct AnyText;

impl PacketFilterCompiler for AnyText {
    fn compile(
        &self,
        text: &str,
        _: LinkType,
        _: &dyn Fn() -> bool,
    ) -> Result<Box<dyn PacketFilter>, String> {
        struct Begins(Vec<u8>);
        impl PacketFilter for Begins {
            fn matches(&self, packet: &PacketRef<'_>) -> bool {
                packet.data.starts_with(&self.0)
            }
        }
        Ok(Box::new(Begins(text.as_bytes().to_vec())))
    }
}

/// Maximum number of changes; more changes would not cover more cases.
const MAX_CHANGES: u8 = 64;
const MAX_ELEMENTS: usize = 2_000;
const MAX_BYTES: usize = 1 << 20;
/// Number of interrupt checks before a query is canceled.
const MAX_INTERRUPT_CHECKS: usize = 1_000;
/// Time of the first change, in Unix milliseconds.
const BEGIN: i64 = 1_700_000_000_000;
