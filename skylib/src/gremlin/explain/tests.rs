//! Tests of explanations.

use super::*;
use crate::flow::{Flow, FlowSet};
use crate::graph::{Edge, Graph, GraphView, Metadata, Node};
use crate::time::{ManualClock, Timestamp};

/// Returns a graph of a bridge `b` with ports `p0` to `p9`, each of which owns an address node.
fn graph() -> Graph {
    let mut graph = Graph::new();
    let mut node = |id: String, kind: &str, mtu: i64| {
        let mut metadata = Metadata::from_iter([("Name", id.as_str()), ("Type", kind)]);
        metadata.set("MTU", mtu);
        graph
            .add_node(Node::new(id, metadata, Timestamp::ZERO))
            .unwrap();
    };
    node("b".into(), "bridge", 1500);
    for port in 0..10 {
        node(format!("p{port}"), "device", 1000 + port);
        node(format!("a{port}"), "address", 0);
    }
    let mut edge = |parent: &str, child: String, relation: &str| {
        let metadata = Metadata::from_iter([("RelationType", relation)]);
        let id = format!("{parent}-{child}");
        let edge = Edge::new(id, parent, child, metadata, Timestamp::ZERO);
        graph.add_edge(edge).unwrap();
    };
    for port in 0..10 {
        edge("b", format!("p{port}"), "layer2");
        edge(&format!("p{port}"), format!("a{port}"), "ownership");
    }
    graph
}

fn explain(query: &str) -> Explanation {
    let graph = graph();
    let view = GraphView::open(&graph);
    let flows = FlowSet::from_flows(vec![Flow::default(); 3]);
    let query = Query::parse(query).unwrap();
    query.explain(&Context::new(&view, &flows, Timestamp::ZERO))
}

/// Returns each step with its estimate, input, and output.
fn numbers(query: &str) -> Vec<(String, [Option<u64>; 3])> {
    let step = |s: ExplainedStep| (s.step, [s.estimated, s.elements_in, s.elements_out]);
    explain(query).steps.into_iter().map(step).collect()
}

fn accesses(query: &str) -> Vec<Option<Access>> {
    let steps = explain(query).steps;
    let operations = steps.into_iter().flat_map(|step| step.operations);
    operations.map(|operation| operation.access).collect()
}

#[test]
fn steps_count_their_input_and_output() {
    assert_eq!(
        numbers("G.V().Has('Type','bridge').Out().Has('MTU',Gte(1005)).Values('Name')"),
        [
            ("V()".into(), [Some(1), None, Some(1)]),
            ("Out()".into(), [Some(1), Some(1), Some(5)]),
            ("Values('Name')".into(), [Some(1), Some(5), Some(5)]),
        ]
    );
    assert_eq!(
        numbers("G.V().HasKey('MTU').Both().Dedup().Count()"),
        [
            ("V()".into(), [Some(21), None, Some(21)]),
            ("HasKey('MTU')".into(), [Some(21), None, Some(21)]),
            ("Both()".into(), [Some(40), Some(21), Some(40)]),
            ("Dedup()".into(), [Some(21), Some(40), Some(21)]),
            ("Count()".into(), [Some(1), Some(21), Some(1)]),
        ]
    );
}

#[test]
fn a_page_ends_the_search() {
    let steps = explain("G.V().Limit(2).Has('MTU', Lt(1002)).Count()").steps;
    assert_eq!(steps[0].absorbed, ["Limit(2)", "Has('MTU', Lt(1002))"]);
    let operations: Vec<_> = steps[0]
        .operations
        .iter()
        .map(|o| (o.operation.as_str(), o.is_pushed_down, o.elements_out))
        .collect();
    assert_eq!(
        operations,
        [
            ("nodes where MTU < 1002", false, Some(2)),
            ("positions 0..2", true, Some(2)),
        ]
    );
    assert!(steps[1].operations[0].is_pushed_down, "the count as well");
    assert_eq!(steps[1].elements_out, Some(1));
}

#[test]
fn elements_are_found_by_what_helps() {
    let index = |key: &str, estimate| {
        Some(Access::Index {
            key: key.into(),
            estimate,
        })
    };
    assert_eq!(
        accesses("G.V().Has('Type','device','MTU',1003)"),
        [index("Type", 10)]
    );
    assert_eq!(
        accesses("G.V().Has('Type',Within('device','bridge'))"),
        [index("Type", 11)]
    );
    assert_eq!(accesses("G.V().Has('MTU',1003)"), [Some(Access::Scan)]);
    assert_eq!(
        accesses("G.V('b').OutE()"),
        [Some(Access::Id), Some(Access::Adjacency)]
    );
    assert_eq!(
        accesses("G.E().Has('RelationType','layer2')"),
        [Some(Access::Scan)]
    );
    assert_eq!(accesses("G.V().Count()"), [Some(Access::Totals), None]);
    assert_eq!(
        accesses("G.Flows().Has('Application','DNS')"),
        [Some(Access::Flows)]
    );
    assert_eq!(
        accesses("G.V('b').ShortestPathTo(Metadata('Name','p1'))"),
        [Some(Access::Id), index("Name", 1)],
        "the targets"
    );
    assert_eq!(
        accesses("G.V().Has('Type','device').SubGraph().V().Has('Type','device')"),
        [index("Type", 10), None, Some(Access::Scan)],
        "a subgraph has no index"
    );
}

#[test]
fn flow_steps_go_to_the_tables() {
    let flows = explain("G.Flows().Sort().Limit(2).Has('Application','').Dedup('UUID').Count()");
    let step = &flows.steps[0];
    assert_eq!(step.absorbed.len(), 4);
    assert_eq!(
        step.operations[0].operation,
        "flows where Application = '', sorted by Last, distinct by UUID, positions 0..2"
    );
    assert_eq!((step.estimated, step.elements_out), (None, Some(1)));
    assert!(flows.steps[1].operations[0].is_pushed_down);
}

#[test]
fn a_query_that_fails_is_explained_up_to_the_failure() {
    let explained = explain("G.V('b').Out().Has('MTU', Lt('x')).Count()");
    assert_eq!(explained.answer, None);
    let message = "LT values should be of int64 type";
    assert_eq!(explained.error.as_ref().unwrap().message(), message);
    let [source, walk] = &explained.steps[..] else {
        panic!("{explained}")
    };
    assert_eq!(
        (source.step.as_str(), source.elements_out),
        ("V('b')", Some(1))
    );
    assert_eq!((walk.step.as_str(), walk.elements_out), ("Out()", None));
    assert_eq!(walk.absorbed, ["Has('MTU', Lt('x'))"]);
    assert_eq!(walk.operations[0].operation, format!("fails: {message}"));

    let missing = explain("G.V('nope').Out().Count()");
    assert_eq!(missing.steps.len(), 3);
    assert!(missing.steps.iter().all(|step| step.elements_out.is_none()));
    let json = serde_json::to_value(&missing).unwrap();
    let first_line = json["Error"].as_str().unwrap().lines().next();
    assert_eq!(first_line, Some("Node 'nope' does not exist"));
    assert_eq!(json.get("Answer"), None);
}

#[test]
fn operations_are_described_in_words() {
    let words = |query: &str| {
        let steps = explain(query).steps;
        let operations = steps.into_iter().flat_map(|step| step.operations);
        operations
            .map(|o| o.operation)
            .collect::<Vec<_>>()
            .join("; ")
    };
    for (query, wanted) in [
        (
            "G.V().Has('a', 'x', 'b', Ne(1))",
            "nodes where a = 'x' and (b exists and not b = 1)",
        ),
        (
            "G.V().HasEither('a', true, 'b', Regex('x.*'))",
            "all nodes; filter where a = true or b matches 'x.*'",
        ),
        (
            "G.V().Has('a', Ipv4Range('10.1.2.3/8'))",
            "nodes where a in 10.0.0.0/8",
        ),
        (
            "G.V().Has('a', Inside(1, 9)).Has('b', Between(1, 9))",
            "nodes where a > 1 and a < 9; filter where b >= 1 and b < 9",
        ),
        (
            "G.V().Has('a', Within(1, 2)).Has('a', Without('x'))",
            "nodes where a = 1 or a = 2; filter where not a = 'x'",
        ),
        ("G.V().Has('a', Within())", "nodes where false"),
        (
            "G.V('b').OutE('a', 1).OutV().HasNot('z')",
            "node b; edges to children where a = 1; child ends; filter where not z exists",
        ),
        (
            "G.E().BothV().Dedup('a', 'b').Sort(DESC, 'c')",
            "all edges; both ends; distinct by a, b; sort by c descending",
        ),
        (
            "G.V().Ascendants(0)",
            "all nodes; ascendants at any distance over edges where RelationType = 'ownership'",
        ),
        (
            "G.V('b').ShortestPathTo(Metadata('a', 1), Metadata('b', 2)).Dedup().SubGraph('c')",
            "node b; shortest paths to the nearest node where a = 1 over edges where b = 2; distinct; \
             subgraph over edges where c exists",
        ),
        (
            "G.V().As('m').In().Select('m').ValueMap('a', 'b')",
            "all nodes; mark as m; parents; nodes marked as m; values of a, b",
        ),
        (
            "G.V().Metrics().Aggregates().Sum()",
            "all nodes; metrics (of nodes: LastUpdateMetric); sums per slot of 30 s; sum of every field",
        ),
        (
            "G.Flows().Both('a').Sockets()",
            "flows; nodes at both ends of the flows where a exists; sockets",
        ),
        (
            "G.Flows().Hops().NextHop('::1')",
            "flows; capture nodes of the flows; next hops to ::1",
        ),
        (
            "G.Flows().Group().MoreThan()",
            "flows; groups by TrackingID; groups of more than one flow",
        ),
        ("G.At(NOW)", "graph at another time"),
        ("G", ""),
    ] {
        assert_eq!(words(query), wanted, "{query}");
    }
}

#[test]
fn time_is_measured_by_a_clock() {
    /// A clock that advances by a millisecond whenever it is read.
    struct Ticking(ManualClock);
    impl Clock for Ticking {
        fn now(&self) -> Timestamp {
            self.0.advance(Duration::from_millis(1));
            self.0.now()
        }
    }
    let graph = graph();
    let view = GraphView::open(&graph);
    let flows = FlowSet::default();
    let context = Context::new(&view, &flows, Timestamp::ZERO);
    let clock = Ticking(ManualClock::new(Timestamp::ZERO));
    let query = Query::parse("G.V().Has('Type','device').Out().Count()").unwrap();
    let explained = query.explain_timed(&context, &clock);
    let took: Vec<_> = explained.steps.iter().map(|step| step.took).collect();
    let tick = Some(Duration::from_millis(1));
    assert_eq!(took, [tick, tick, None], "the count ran with the walk");
    let json = serde_json::to_value(&explained).unwrap();
    assert_eq!(json["Steps"][0]["Microseconds"], 1000);
    assert_eq!(json["Steps"][2].get("Microseconds"), None);
}

#[test]
fn an_explanation_is_json_for_programs_and_a_table_for_people() {
    let explained = explain("G.V().Has('Type','bridge').Out().Count()");
    let operation = |text: &str, estimated: u64, input: Option<u64>, output: u64, down: bool| {
        serde_json::json!({
            "Operation": text, "Estimated": estimated, "In": input, "Out": output,
            "PushedDown": down,
        })
    };
    let mut nodes = operation("nodes where Type = 'bridge'", 1, None, 1, false);
    nodes["Access"] = serde_json::json!({"Kind": "index", "Key": "Type", "Estimated": 1});
    let mut out = operation("children", 1, Some(1), 10, false);
    out["Access"] = serde_json::json!({"Kind": "adjacency"});
    let wanted = serde_json::json!({
        "Query": "G.V().Has('Type', 'bridge').Out().Count()",
        "Nodes": 21,
        "Edges": 20,
        "Steps": [
            {"Step": "V()", "Absorbed": ["Has('Type', 'bridge')"], "Estimated": 1, "In": null,
                "Out": 1, "Operations": [nodes]},
            {"Step": "Out()", "Absorbed": [], "Estimated": 1, "In": 1, "Out": 10,
                "Operations": [out]},
            {"Step": "Count()", "Absorbed": [], "Estimated": 1, "In": 10, "Out": 1,
                "Operations": [operation("count", 1, Some(10), 1, true)]},
        ],
        "Answer": {"Kind": "number", "Elements": 1},
    });
    assert_eq!(serde_json::to_value(&explained).unwrap(), wanted);
    assert_eq!(
        explained.to_string(),
        "G.V().Has('Type', 'bridge').Out().Count()\n\
         \u{20}estimated         in        out\n\
         \u{20}        1          -          1  nodes where Type = 'bridge' (index Type, about 1)\n\
         \u{20}        1          1         10  children (adjacency)\n\
         \u{20}        1         10          1  + count\n\
         number: 1\n"
    );
}
