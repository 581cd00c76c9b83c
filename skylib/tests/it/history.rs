//! Queries of time slices of the history: walks multiply revisions, steps by id do not.

use skylib::flow::{FlowQuery, FlowQueryError, FlowSet, FlowSource};
use skylib::graph::history::{History, HistoryLimits, MemoryHistory};
use skylib::graph::{Edge, EdgeId, Graph, GraphView, Metadata, MetadataOp, Node, NodeId};
use skylib::gremlin::{Answer, Context, Limits, Query, QueryErrorKind};
use skylib::time::Timestamp;

struct NoFlows;

impl FlowSource for NoFlows {
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        match query.time {
            Some(_) => Err(FlowQueryError::NoStorage),
            None => Ok(FlowSet::default()),
        }
    }
}

/// Returns nodes `a` (3 revisions) and `b` (2) and the edge `ab` between them (2), deleted at 60 s.
fn past() -> (Graph, MemoryHistory) {
    let at = |seconds: i64| Timestamp::from_ms(BASE + seconds * 1000);
    let set = |value: i64| [MetadataOp::set("K", value)];
    let (a, b, ab) = (NodeId::from("a"), NodeId::from("b"), EdgeId::from("ab"));
    let mut graph = Graph::new().with_journal();
    let node = |name: &str| {
        let metric = serde_json::from_str::<Metadata>(
            r#"{"LastUpdateMetric":{"RxBytes":5,"Start":1700000010000,"Last":1700000020000}}"#,
        );
        Node::new(name, metric.unwrap(), at(0))
    };
    graph.add_node(node("a")).unwrap();
    graph.add_node(node("b")).unwrap();
    let owns = Metadata::from_iter([("RelationType", "ownership")]);
    graph
        .add_edge(Edge::new("ab", "a", "b", owns, at(0)))
        .unwrap();
    graph.patch_node(&a, &set(2), at(10)).unwrap();
    graph.patch_node(&a, &set(3), at(20)).unwrap();
    graph.patch_node(&b, &set(2), at(30)).unwrap();
    graph.patch_edge(&ab, &set(2), at(40)).unwrap();
    graph.delete_edge(&ab, at(60)).unwrap();
    let history = MemoryHistory::new(HistoryLimits::default());
    history.record(&graph.take_events(), at(60));
    (graph, history)
}

const BASE: i64 = 1_700_000_000_000;

#[test]
fn queries_of_the_history_are_limited() {
    let (graph, history) = past();
    let view = GraphView::open(&graph);
    let now = Timestamp::from_ms(BASE + 100_000);
    let context = Context::new(&view, &NoFlows, now).with_history(&history);
    let few = context.with_limits(Limits::default().with_max_bytes(100));
    let kind = |query: &str, context: &Context<'_>| {
        let answer = Query::parse(query).unwrap().run(context);
        answer.map_err(|error| error.kind())
    };
    assert_eq!(
        kind("G.At(1700000060, 60).V().Limit(2).Count()", &few),
        Err(QueryErrorKind::Limit)
    );
    assert_eq!(
        kind("G.At(1700000060, 60).V().Count()", &few),
        Ok(Answer::Number(5)),
        "a count holds nothing"
    );
    let impatient = context.with_interrupt(&|| true);
    assert_eq!(
        kind("G.At(1700000060, 60)", &impatient),
        Err(QueryErrorKind::Interrupted)
    );
}

#[test]
fn walks_multiply_revisions_and_steps_by_id_do_not() {
    let (graph, history) = past();
    let view = GraphView::open(&graph);
    let now = Timestamp::from_ms(BASE + 100_000);
    let context = Context::new(&view, &NoFlows, now).with_history(&history);
    let json = |query: &str| {
        let answer = match Query::parse(query).unwrap().run(&context) {
            Ok(answer) => answer,
            Err(error) => return error.message().to_owned(),
        };
        let ids = |json: serde_json::Value| {
            let id =
                |e: &serde_json::Value| format!("{}{}", e["ID"].as_str().unwrap(), e["Revision"]);
            json.as_array()
                .unwrap()
                .iter()
                .map(id)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let value = serde_json::to_value(&answer).unwrap();
        match answer {
            Answer::Nodes(_) | Answer::Edges(_) => ids(value),
            Answer::Graph { .. } => {
                format!(
                    "{} / {}",
                    ids(value[0]["Nodes"].clone()),
                    ids(value[0]["Edges"].clone())
                )
            }
            _ => value.to_string(),
        }
    };
    // The whole history, from 0 s to 60 s.
    for (query, expected) in [
        ("G.At(1700000060, 60)", "a1 b1 a2 a3 b2 / ab1 ab2"),
        ("G.At(1700000060, 60).V().Dedup()", "a1 b1"),
        ("G.At(1700000060, 60).V().Has('K', 2)", "a2 b2"),
        ("G.At(1700000060, 60).V('a').OutE()", "ab1 ab2"),
        ("G.At(1700000060, 60).V('a').OutE().Count()", "2"),
        (
            "G.At(1700000060, 60).V('a').OutE('RelationType', 'ownership').Count()",
            "2",
        ),
        ("G.At(1700000060, 60).V('a').Out()", "b1 b2 b1 b2"),
        ("G.At(1700000060, 60).V('a').Out().Dedup()", "b1"),
        ("G.At(1700000060, 60).E('ab').InV()", "a1 a2 a3"),
        ("G.At(1700000060, 60).E('ab').BothV()", "a1 a2 a3 b1 b2"),
        ("G.At(1700000060, 60).V('a').Descendants()", "a1 b1"),
        ("G.At(1700000060, 60).V().Descendants(0)", "a1 b1"),
        (
            "G.At(1700000060, 60).V().SubGraph()",
            "Error while adding node to SubGraph: Node ID conflict",
        ),
        ("G.At(1700000060, 60).V().Dedup().SubGraph()", "a1 b1 / ab1"),
        (
            "G.At(1700000060, 60).V().Dedup().SubGraph().V('a').Out()",
            "b1",
        ),
        ("G.At(1700000060, 60).E().SubGraph()", "a1 b1 / ab1"),
        (
            "G.At(1700000060, 60).V('a').ShortestPathTo(Metadata('K', 2)).Dedup()",
            "a1 b2",
        ),
        // A part of the history, a point in time, the present.
        ("G.At(1700000035, 5).V()", "b1 a3 b2"),
        ("G.At(1700000025).V()", "a3 b1"),
        ("G.At(1700000025).V('a').Out()", "b1"),
        ("G.At(1700000025).V('a').OutE()", "ab1"),
        ("G.At(1700000061).V('a').Out().Count()", "0"),
        ("G.At(NOW).V()", "a3 b2"),
        ("G.V()", "a3 b2"),
        ("G.At(1700000060, 60).At(1700000025).V()", "a3 b1"),
        // Steps that refer to stored elements belong to the graph before them.
        (
            "G.V().As('x').G.At(1700000025).V().Select('x')",
            "Key x not registered. Need to be registered using 'As' step",
        ),
        (
            "G.At(1700000025).V().SubGraph().At(1700000025)",
            "Backend does not support history",
        ),
        // Metrics are those inside the slice, or those at the point in time.
        ("G.At(1700000060, 60).V('a').Metrics().Count()", "1"),
        ("G.At(1700000020, 20).V('a').Metrics().Count()", "0"),
        ("G.At(1700000025).V('a').Metrics().Count()", "1"),
        (
            "G.At(1700000040, 40).V('a').Metrics().Aggregates(20)",
            r#"[{"Aggregated":[{"Last":1700000020000,"RxBytes":5,"Start":1700000000000}]}]"#,
        ),
        (
            "G.At(1700000025).Flows()",
            "No storage backend has been configured",
        ),
    ] {
        assert_eq!(json(query), expected, "{query}");
    }
}
