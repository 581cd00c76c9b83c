//! Tests of every error message of the language: the first line, which clients match exactly, and
//! the second line for people, with the position and what was expected.

use super::*;
use crate::flow::{Flow, FlowSet};
use crate::graph::{Edge, Graph, Metadata, Node};

const CATALOG: &str = include_str!("error_texts.txt");

/// Returns the error of a query on nodes `a` and `b` with edges between them, and a flow.
fn error(query: &str) -> QueryError {
    let mut graph = Graph::new();
    for id in ["a", "b"] {
        let metadata = Metadata::from_iter([("Name", id)]);
        graph
            .add_node(Node::new(id, metadata, Timestamp::ZERO))
            .unwrap();
    }
    for id in ["e", "f"] {
        let edge = Edge::new(id, "a", "b", Metadata::new(), Timestamp::ZERO);
        graph.add_edge(edge).unwrap();
    }
    let flow: Flow = serde_json::from_str(r#"{"UUID":"u","Metric":{"ABBytes":1}}"#).unwrap();
    let flows = FlowSet::from_flows(vec![flow]);
    let view = GraphView::open(&graph);
    match Query::parse(query) {
        Ok(query) => query
            .run(&Context::new(&view, &flows, Timestamp::ZERO))
            .expect_err(query.steps().last().map_or("G", Step::name)),
        Err(error) => error,
    }
}

/// Checks the entries under a heading.
fn check(heading: &str, kind: QueryErrorKind) {
    let section = CATALOG
        .split("\n## ")
        .find(|section| section.starts_with(heading));
    let entries = section.unwrap().split("\n\n").skip(1);
    let mut seen = 0;
    let wrong = entries.filter_map(|entry| {
        let [query, first, second] = entry.lines().collect::<Vec<_>>()[..] else {
            panic!("not three lines: {entry}")
        };
        seen += 1;
        let error = error(query);
        let offset = error.offset().unwrap_or(usize::MAX);
        let column = offset.wrapping_add(1);
        let wanted = format!("{first}\nat byte {offset} (line 1, column {column}): {second}");
        let is_right = error.message() == first
            && error.kind() == kind
            && error.to_string().starts_with(&wanted);
        (!is_right).then(|| format!("{query}\n  wanted {wanted}\n  got    {error}\n"))
    });
    let wrong: String = wrong.collect();
    assert!(wrong.is_empty(), "{wrong}");
    assert!(seen > 50, "{heading}: only {seen} entries");
}

#[test]
fn parse_errors_state_reason_and_position() {
    check("Parse", QueryErrorKind::Parse);
    assert_eq!(
        error("").to_string(),
        "found \"\", expected `G`\nat byte 0 (line 1, column 1): a query begins with `G`, as in \
         `G.V()`"
    );
}

#[test]
fn execution_errors_state_reason_and_position() {
    check("Execute", QueryErrorKind::Execute);
}

#[test]
fn the_steps_named_as_followers_are_those_that_can_follow() {
    // A query that produces each kind.
    let kinds = [
        ("G", result_kind::ResultKind::Graph),
        ("G.V()", result_kind::ResultKind::Nodes),
        ("G.E()", result_kind::ResultKind::Edges),
        (
            "G.V().ShortestPathTo(Metadata('a',1))",
            result_kind::ResultKind::Paths,
        ),
        ("G.V().Keys()", result_kind::ResultKind::List),
        ("G.V().Count()", result_kind::ResultKind::Scalar),
        ("G.Flows()", result_kind::ResultKind::Flows),
        ("G.V().Metrics()", result_kind::ResultKind::Metrics),
        ("G.Flows().Group()", result_kind::ResultKind::Groups),
        (
            "G.Flows().GroupBy('Application')",
            result_kind::ResultKind::Rows,
        ),
        (
            "G.Flows().RawPackets()",
            result_kind::ResultKind::RawPackets,
        ),
        ("G.V().Sockets()", result_kind::ResultKind::Sockets),
        ("G.V().NextHop('::1')", result_kind::ResultKind::NextHops),
    ];
    let params = |name: &str| match name {
        "G" => "",
        "Has" | "HasEither" => "('Last', 1)",
        "GroupBy" => "('Application')",
        "HasKey" | "HasNot" | "Values" | "ValueMap" | "As" | "Select" | "BPF" | "Workflow" => {
            "('a')"
        }
        "Sum" => "('Metric.ABBytes')",
        "Limit" => "(1)",
        "Range" => "(0, 1)",
        "At" | "Context" => "(NOW)",
        "ShortestPathTo" => "(Metadata('a', 1))",
        "NextHop" | "PathTo" => "('::1')",
        _ => "()",
    };
    for (query, kind) in kinds {
        for name in step_params::step_names() {
            let follows = Query::parse(&format!("{query}.{name}{}", params(name))).unwrap();
            let step = &follows.steps.last().unwrap().0;
            let is_refused = match follows.plan.operations.last() {
                Some((Operation::Fail(error), _)) => error.message() == kind.refuses(step),
                _ => false,
            };
            assert_eq!(
                !is_refused,
                kind.followers().contains(&name),
                "{query}.{name}"
            );
        }
    }
}
