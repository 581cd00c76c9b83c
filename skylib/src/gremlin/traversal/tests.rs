//! Tests that a traversal equals the query that its string form parses to.

use proptest::prelude::*;

use super::*;
use crate::flow::Flow;
use crate::graph::{Edge, Metadata, Node};
use crate::gremlin::ast::Predicate;

/// A traversal of any kind.
enum Any {
    Graph(Traversal),
    Nodes(Traversal<markers::Nodes>),
    Edges(Traversal<markers::Edges>),
    Paths(Traversal<markers::Paths>),
    Values(Traversal<markers::Values>),
    Flows(Traversal<markers::Flows>),
    Metrics(Traversal<markers::Metrics>),
    Sockets(Traversal<markers::Sockets>),
    Groups(Traversal<markers::Groups>),
    RawPackets(Traversal<markers::RawPackets>),
    Number(Traversal<markers::Number>),
    NextHops(Traversal<markers::NextHops>),
}

/// Random choices that determine a step.
#[derive(Clone, Debug)]
struct Choice {
    step: u8,
    key: String,
    value: Param,
    number: u32,
}

impl Any {
    /// Appends a step that the kind offers; `None` if it offers none.
    fn then(self, choice: Choice) -> Option<Self> {
        let Choice {
            step,
            key,
            value,
            number,
        } = choice;
        let pair = (key.clone(), value.clone());
        let two = Conditions::of(key.clone(), value.clone()).and("Type", value.clone());
        Some(match self {
            Self::Graph(g) => match step % 9 {
                0 | 1 => Self::Nodes(g.v()),
                2 => Self::Nodes(g.v_id(key)),
                3 => Self::Edges(g.e()),
                4 => Self::Edges(g.e_id(key)),
                5 => Self::Flows(g.flows()),
                6 => Self::Flows(g.flows_where(two)),
                7 => Self::Graph(g.at(Param::Now)),
                _ => Self::Graph(g.at_for("-1m", number)),
            },
            Self::Nodes(v) => Self::from_nodes(v, step, key, value, number),
            Self::Edges(e) => match step % 14 {
                0 => Self::Edges(e.has(key, value)),
                1 => Self::Edges(e.has_all(two)),
                2 => Self::Edges(e.has_either(two)),
                3 => Self::Edges(e.has_key(key)),
                4 => Self::Edges(e.has_not(key)),
                5 => Self::Edges(e.dedup()),
                6 => Self::Edges(e.limit(number)),
                7 => Self::Nodes(e.in_v()),
                8 => Self::Nodes(e.out_v_where(pair)),
                9 => Self::Nodes(e.both_v()),
                10 => Self::Nodes(e.in_v_where(key.as_str())),
                11 => Self::Graph(e.sub_graph()),
                12 => Self::Graph(e.g()),
                _ => Self::Number(e.count()),
            },
            Self::Paths(p) => match step % 5 {
                0 => Self::Nodes(p.dedup()),
                1 => Self::Nodes(p.dedup_by([key])),
                2 => Self::Flows(p.flows()),
                3 => Self::Flows(p.flows_where(pair)),
                _ => Self::Graph(p.sub_graph()),
            },
            Self::Values(l) => match step % 5 {
                0 => Self::Values(l.has(key, value)),
                1 => Self::Values(l.dedup()),
                2 => Self::Values(l.limit(number)),
                3 => Self::Values(l.range(number, 9)),
                _ => Self::Number(l.count()),
            },
            Self::Flows(f) => Self::from_flows(f, step, key, value, number),
            Self::Metrics(m) => match step % 6 {
                0 => Self::Metrics(m.aggregates()),
                1 => Self::Metrics(m.aggregates_of(number)),
                2 => Self::Number(m.sum()),
                3 => Self::Number(m.sum_of(key)),
                4 => Self::Number(m.count()),
                _ => Self::Values(m.keys()),
            },
            Self::Sockets(s) => match step % 3 {
                0 => Self::Sockets(s.has(key, value)),
                1 => Self::Sockets(s.has_either(two)),
                _ => Self::Values(s.values(key)),
            },
            Self::Groups(g) => Self::Groups(g.more_than_one()),
            Self::RawPackets(p) => Self::RawPackets(p.bpf(key)),
            Self::Number(_) | Self::NextHops(_) => return None,
        })
    }

    fn from_nodes(
        v: Traversal<markers::Nodes>,
        step: u8,
        key: String,
        value: Param,
        n: u32,
    ) -> Self {
        let pair = (key.clone(), value.clone());
        match step % 36 {
            0 => Self::Nodes(v.has(key, value)),
            1 => Self::Nodes(v.has_either(pair)),
            2 => Self::Nodes(v.has_key(key)),
            3 => Self::Nodes(v.has_not(key)),
            4 => Self::Nodes(v.dedup()),
            5 => Self::Nodes(v.dedup_by([key])),
            6 => Self::Nodes(v.limit(n)),
            7 => Self::Nodes(v.range(n, 9)),
            8 => Self::Nodes(v.out()),
            9 => Self::Nodes(v.out_where(pair)),
            10 => Self::Nodes(v.in_()),
            11 => Self::Nodes(v.in_where(key.as_str())),
            12 => Self::Nodes(v.both()),
            13 => Self::Nodes(v.both_where(pair)),
            14 => Self::Edges(v.out_e()),
            15 => Self::Edges(v.in_e_where(pair)),
            16 => Self::Edges(v.both_e()),
            17 => Self::Nodes(v.descendants()),
            18 => Self::Nodes(v.ascendants_within(n)),
            19 => Self::Nodes(v.neighbors_over(pair, n)),
            20 => Self::Paths(v.shortest_path_to(pair)),
            21 => Self::Paths(v.shortest_path_over(pair, ("Type", "x"))),
            22 => Self::Nodes(v.sort()),
            23 => Self::Nodes(v.sort_by(key)),
            24 => Self::Nodes(v.sort_desc(key)),
            25 => Self::Values(v.values(key)),
            26 => Self::Values(v.value_map([key])),
            27 => Self::Values(v.keys()),
            28 => Self::Nodes(v.mark("m")),
            29 => Self::Nodes(v.select(["m"])),
            30 => Self::Graph(v.sub_graph_where(pair)),
            31 => Self::Flows(v.flows()),
            32 => Self::Metrics(v.sflow_metrics()),
            33 => Self::Sockets(v.sockets()),
            34 => Self::NextHops(v.next_hop([192, 0, 2, 7])),
            _ => Self::Number(v.sum(key)),
        }
    }

    fn from_flows(
        f: Traversal<markers::Flows>,
        step: u8,
        key: String,
        value: Param,
        n: u32,
    ) -> Self {
        let pair = (key.clone(), value.clone());
        match step % 20 {
            0 => Self::Flows(f.has(key, value)),
            1 => Self::Flows(f.has_either(pair)),
            2 => Self::Flows(f.dedup()),
            3 => Self::Flows(f.dedup_by("UUID")),
            4 => Self::Flows(f.sort()),
            5 => Self::Flows(f.sort_desc("Start")),
            6 => Self::Flows(f.limit(n)),
            7 => Self::Values(f.values(key)),
            8 => Self::Values(f.keys()),
            9 => Self::Number(f.sum("Metric.ABBytes")),
            10 => Self::Nodes(f.out()),
            11 => Self::Nodes(f.in_where(pair)),
            12 => Self::Nodes(f.both()),
            13 => Self::Nodes(f.nodes()),
            14 => Self::Nodes(f.hops_where(pair)),
            15 => Self::Nodes(f.capture_node()),
            16 => Self::Groups(f.group()),
            17 => Self::Metrics(f.metrics()),
            18 => Self::RawPackets(f.raw_packets()),
            _ => Self::Sockets(f.sockets()),
        }
    }

    fn built(&self) -> (String, Result<Query, QueryError>) {
        match self {
            Self::Graph(t) => (t.to_string(), t.query()),
            Self::Nodes(t) => (t.to_string(), t.query()),
            Self::Edges(t) => (t.to_string(), t.query()),
            Self::Paths(t) => (t.to_string(), t.query()),
            Self::Values(t) => (t.to_string(), t.query()),
            Self::Flows(t) => (t.to_string(), t.query()),
            Self::Metrics(t) => (t.to_string(), t.query()),
            Self::Sockets(t) => (t.to_string(), t.query()),
            Self::Groups(t) => (t.to_string(), t.query()),
            Self::RawPackets(t) => (t.to_string(), t.query()),
            Self::Number(t) => (t.to_string(), t.query()),
            Self::NextHops(t) => (t.to_string(), t.query()),
        }
    }
}

fn value() -> impl Strategy<Value = Param> {
    let predicates: Vec<Param> = vec![
        "x".into(),
        Text::from("y").into(),
        String::new().into(),
        7_i64.into(),
        (-7).into(),
        1.5.into(),
        true.into(),
        Param::Forever,
        Predicate::ne("x"),
        Predicate::nee(1),
        Predicate::lt(3),
        Predicate::lte("4"),
        Predicate::gt("not a number"),
        Predicate::gte(5.5),
        Predicate::inside(1, 9),
        Predicate::outside(1, 9),
        Predicate::between(1, 9),
        Predicate::within(["a", "b"]),
        Predicate::without([1, 2]),
        Predicate::regex("a.*"),
        Predicate::regex("^a"),
        Predicate::ipv4_range("192.0.2.0/24"),
        Predicate::ipv6_range("2001:db8::/32"),
    ];
    prop::sample::select(predicates)
}

prop_compose! {
    fn choice()(
        step in any::<u8>(),
        key in "[A-Za-z@. ]{1,8}",
        value in value(),
        number in 0..9_u32,
    ) -> Choice {
        Choice { step, key, value, number }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn built_and_written_queries_have_one_plan(
        choices in prop::collection::vec(choice(), 0..8),
    ) {
        let mut any = Any::Graph(Traversal::new());
        for choice in choices {
            any = match any.then(choice) {
                Some(next) => next,
                None => return Ok(()),
            };
            let (text, built) = any.built();
            match (built, Query::parse(&text)) {
                (Ok(built), Ok(parsed)) => {
                    prop_assert_eq!(&built.text, &text);
                    prop_assert_eq!(&built.steps, &parsed.steps);
                    prop_assert_eq!(&built.plan.operations, &parsed.plan.operations);
                    prop_assert_eq!(built.to_string(), text);
                }
                (Err(built), Err(parsed)) => {
                    prop_assert_eq!(built.message(), parsed.message());
                    prop_assert_eq!(built.offset(), parsed.offset());
                    return Ok(());
                }
                (built, parsed) => {
                    return Err(TestCaseError::fail(format!("{text}: {built:?}, {parsed:?}")));
                }
            }
        }
    }
}

#[test]
fn a_traversal_of_a_graph_answers() {
    let mut graph = Graph::new();
    for id in ["a", "it's"] {
        let metadata = Metadata::from_iter([("Name", id)]);
        graph
            .add_node(Node::new(id, metadata, Timestamp::ZERO))
            .unwrap();
    }
    let edge = Edge::new("e", "a", "it's", Metadata::new(), Timestamp::ZERO);
    graph.add_edge(edge).unwrap();
    let quoted = graph.traversal().v().has("Name", "it's");
    let Answer::Nodes(nodes) = quoted.clone().in_().run(Timestamp::ZERO).unwrap() else {
        panic!("{quoted}")
    };
    assert_eq!(nodes[0].id, "a".into(), "a quote can be looked for here");
    assert!(
        Query::parse(&quoted.to_string()).is_err(),
        "but not be written"
    );
    let flows = FlowSet::from_flows(vec![Flow::default(); 3]);
    let count = graph.traversal().flows().count();
    assert_eq!(
        count.run_with(&flows, Timestamp::ZERO),
        Ok(Answer::Number(3))
    );
    assert_eq!(count.run(Timestamp::ZERO), Ok(Answer::Number(0)));
}

#[test]
fn what_a_text_could_not_say_either_is_refused() {
    let error = Traversal::new()
        .flows_where(("Last", Predicate::lt("x")))
        .query()
        .unwrap_err();
    assert_eq!(error.message(), "LT values should be of int64 type");
    let edges = ("Weight", Predicate::regex("^a"));
    let error = Traversal::new()
        .v()
        .neighbors_over(edges, 1)
        .query()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Neighbors accepts an optional number of key/value tuples and an optional depth: Regex \
         are anchored by default, ^ and $ don't have to be provided\n\
         at byte 6 (line 1, column 7): expected `Neighbors([key, value, …][, depth])`"
    );
}
