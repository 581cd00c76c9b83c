//! Tests of queries on graphs, and the fixtures that the other tests share.

mod error_texts;
mod flows;
mod limits;
pub(in crate::gremlin) mod proptests;
mod workflow;

use proptest::prelude::*;

use super::*;
use crate::flow::{Flow, FlowQuery, FlowQueryError, FlowSet};
use crate::graph::{Edge, Graph, Metadata, Node};
use crate::value::Value;

/// A flow table as a source.
struct Table(Vec<Flow>);

impl FlowSource for Table {
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        query.answer(self.0.clone())
    }
}

pub(in crate::gremlin) fn metadata(json: &str) -> Metadata {
    serde_json::from_str(json).unwrap()
}

/// Creates a graph of nodes with a name and a type, and of edges given by the positions of their ends.
pub(in crate::gremlin) fn graph(kinds: &[u8], edges: &[(usize, usize, bool)]) -> Graph {
    let mut graph = Graph::new().with_journal();
    for (number, kind) in kinds.iter().enumerate() {
        let json = format!(r#"{{"Name":"n{number}","Type":"t{kind}","Kind":{kind}}}"#);
        let node = Node::new(format!("n{number}"), metadata(&json), Timestamp::ZERO);
        graph.add_node(node).unwrap();
    }
    for (number, (parent, child, layer2)) in edges.iter().enumerate() {
        let relation = if *layer2 { "layer2" } else { "ownership" };
        let metadata = metadata(&format!(r#"{{"RelationType":"{relation}"}}"#));
        let end = |position: usize| format!("n{}", position % kinds.len());
        let edge = Edge::new(
            format!("e{number}"),
            end(*parent),
            end(*child),
            metadata,
            Timestamp::ZERO,
        );
        graph.add_edge(edge).unwrap();
    }
    graph
}

fn chain(len: usize) -> Graph {
    let edges: Vec<(usize, usize, bool)> = (1..len).map(|to| (to - 1, to, true)).collect();
    graph(&vec![0; len], &edges)
}

pub(in crate::gremlin) fn run(graph: &Graph, query: &str) -> Result<Answer, QueryError> {
    let view = GraphView::open(graph);
    Query::parse(query)?.run(&Context::new(&view, &Table(Vec::new()), Timestamp::ZERO))
}

pub(in crate::gremlin) fn json(graph: &Graph, query: &str) -> String {
    match run(graph, query) {
        Ok(answer) => serde_json::to_string(&answer).unwrap(),
        Err(error) => error.to_string(),
    }
}

/// Returns the ids of the nodes or edges that a query finds.
pub(in crate::gremlin) fn ids(graph: &Graph, query: &str) -> Vec<String> {
    match run(graph, query).unwrap() {
        Answer::Nodes(nodes) => nodes.iter().map(|node| node.id.to_string()).collect(),
        Answer::Edges(edges) => edges.iter().map(|edge| edge.id.to_string()).collect(),
        other => panic!("{query}: {other:?}"),
    }
}

#[test]
fn filters_pages_and_counts_run_inside_the_search() {
    let graph = graph(&[1, 2, 1, 1], &[(0, 1, true), (0, 2, true), (2, 3, false)]);
    assert_eq!(
        ids(&graph, "G.V().Limit(1).Has('Type','t2')"),
        ["n1"],
        "the filter comes first"
    );
    assert_eq!(
        ids(&graph, "G.V().Has('Type','t1').Range(1,3)"),
        ["n2", "n3"]
    );
    assert_eq!(ids(&graph, "G.V().Limit(1).Limit(5)"), ["n0"]);
    assert_eq!(
        ids(&graph, "G.V('n0').Out().Limit(1).Has('Name','n2')"),
        ["n2"]
    );
    assert_eq!(ids(&graph, "G.V().Dedup('Type').Limit(2)"), ["n0", "n1"]);
    assert_eq!(ids(&graph, "G.V().As('x').Limit(1)"), ["n0"]);
    assert_eq!(
        json(&graph, "G.V().Has('Type','t1').Dedup('Type').Count()"),
        "1"
    );
    assert_eq!(json(&graph, "G.V().Out().Dedup().Count()"), "3");
    assert_eq!(json(&graph, "G.V().Range(3,1).Count()"), "0");
    assert_eq!(
        json(&graph, "G.E().Has('RelationType','layer2').Count()"),
        "2"
    );
}

#[test]
fn an_earlier_step_fails_before_a_later_one() {
    let graph = graph(&[1], &[]);
    let message = |query: &str| run(&graph, query).unwrap_err().message().to_owned();
    assert_eq!(message("G.V('x').Has(1)"), "Node 'x' does not exist");
    assert_eq!(message("G.V('n0').Has(1)"), "Key must be a string");
    assert_eq!(
        message("G.V('x').Values('Name').Sort()"),
        "Node 'x' does not exist"
    );
    let error = run(&graph, "G.V('n0')\n.Has('Name', Lt('a'))").unwrap_err();
    assert_eq!(
        error.to_string(),
        "LT values should be of int64 type\n\
         at byte 11 (line 2, column 2): in `Has`, which gets nodes; expected \
         `Has(key[, value, …])`"
    );
    let error = run(&graph, "G.V().Values('Name').Sort()").unwrap_err();
    assert_eq!(
        error.to_string(),
        "Invalid step 'Sort' on '*traversal.GraphTraversalValue'\n\
         at byte 21 (line 1, column 22): `Sort` cannot follow values; expected one of \
         Has, Dedup, Limit, Range, Count"
    );
}

#[test]
fn a_query_sees_the_graph_as_it_was() {
    let mut graph = graph(&[1, 1], &[(0, 1, true)]);
    let before = json(&graph, "G.V().Has('Type','t1').Out()");
    graph
        .delete_node(&"n1".into(), Timestamp::from_ms(5))
        .unwrap();
    assert_eq!(json(&graph, "G.V().Has('Type','t1').Out()"), "[]");
    assert!(before.contains(r#""ID":"n1""#));
}

#[test]
fn subgraphs_contain_the_elements_they_were_made_of() {
    let graph = graph(&[1, 1, 2], &[(0, 1, true), (1, 2, true), (0, 0, false)]);
    let sub = "G.V().Has('Type','t1').SubGraph()";
    assert_eq!(ids(&graph, &format!("{sub}.E()")), ["e0", "e2"]);
    assert_eq!(ids(&graph, &format!("{sub}.V('n1').Both()")), ["n0"]);
    assert_eq!(
        json(&graph, &format!("{sub}.V('n2')")).lines().next(),
        Some("Node 'n2' does not exist")
    );
    assert_eq!(
        json(&graph, &format!("{sub}.E('e1')")).lines().next(),
        Some("Edge 'e1' does not exist")
    );
    assert_eq!(
        ids(&graph, &format!("{sub}.V().Limit(1).SubGraph().V()")),
        ["n0"]
    );
    assert_eq!(
        json(&graph, "G.V('n0').BothE().SubGraph().V().Count()"),
        "2"
    );
    assert_eq!(
        json(&graph, "G.V().Both().SubGraph()").lines().next(),
        Some("Error while adding node to SubGraph: Node ID conflict")
    );
    assert_eq!(
        json(&graph, "G.V().As('a').SubGraph().V().Select('a')")
            .lines()
            .next(),
        Some("Key a not registered. Need to be registered using 'As' step")
    );
}

#[test]
fn paths_lead_to_the_nearest_target() {
    let edges = [
        (0, 1, true),
        (1, 2, false),
        (2, 6, true),
        (6, 3, true),
        (4, 0, true),
    ];
    let graph = graph(&[0, 0, 0, 1, 1, 0, 0], &edges);
    let to = |sources: &str, edges: &str| match run(
        &graph,
        &format!("G.{sources}.ShortestPathTo(Metadata('Kind',1){edges})"),
    ) {
        Ok(Answer::Paths(paths)) => paths
            .iter()
            .map(|path| {
                path.iter()
                    .map(|node| node.id.to_string())
                    .collect::<String>()
            })
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(to("V('n1')", ""), ["n1n0n4"]);
    assert_eq!(to("V('n2')", ""), ["n2n6n3"]);
    assert_eq!(to("V('n3')", ""), ["n3"]);
    assert_eq!(to("V('n5')", ""), [""; 0]);
    let layer2 = ", Metadata('RelationType','layer2')";
    assert_eq!(to("V('n2')", layer2), ["n2n6n3"]);
    let all = to("V()", "");
    assert_eq!(
        all,
        ["n0n4", "n1n0n4", "n2n6n3", "n3", "n4", "n6n3"],
        "many sources share a search"
    );
}

#[test]
fn hierarchies_reach_each_node_once() {
    let edges = [
        (0, 1, false),
        (1, 2, false),
        (2, 0, false),
        (2, 3, false),
        (0, 2, true),
    ];
    let graph = graph(&[0; 5], &edges);
    assert_eq!(
        ids(&graph, "G.V('n0').Descendants(0)"),
        ["n0", "n1", "n2", "n3"]
    );
    assert_eq!(ids(&graph, "G.V('n3').Ascendants(2)"), ["n3", "n2", "n1"]);
    assert_eq!(ids(&graph, "G.V('n3').Neighbors(0)"), ["n3"]);
    assert_eq!(ids(&graph, "G.V('n4').Neighbors()"), ["n4"]);
}

/// Generates steps from nodes to nodes.
pub(in crate::gremlin) fn node_step() -> impl Strategy<Value = String> {
    let kind = 0..3_u8;
    prop_oneof![
        kind.clone().prop_map(|k| format!("Has('Type','t{k}')")),
        kind.clone()
            .prop_map(|k| format!("Has('Kind',Lt({k}),'Name',Regex('n.*'))")),
        kind.clone()
            .prop_map(|k| format!("HasNot('Type').HasKey('x{k}')")),
        kind.clone().prop_map(|k| format!("Out('Type','t{k}')")),
        prop::sample::select(vec![
            "Out()",
            "In()",
            "Both()",
            "Dedup()",
            "Dedup('Type')",
            "Sort(DESC,'Name')",
            "OutE().InV()",
            "BothE('RelationType','layer2').BothV()",
            "InE().Dedup().OutV()",
            "Both().Dedup()",
            "Neighbors(2)",
            "Descendants('RelationType','layer2',0)",
            "As('x').Out().Select('x')",
        ])
        .prop_map(str::to_owned),
    ]
}

prop_compose! {
    fn any_graph()(
        kinds in prop::collection::vec(0..3_u8, 1..12),
        edges in prop::collection::vec((0..12_usize, 0..12_usize, any::<bool>()), 0..20),
    ) -> Graph {
        graph(&kinds, &edges)
    }
}

proptest! {
    #[test]
    fn a_subgraph_of_everything_answers_as_the_graph_does(
        graph in any_graph(),
        steps in prop::collection::vec(node_step(), 0..5),
    ) {
        let steps: String = steps.iter().map(|step| format!(".{step}")).collect();
        prop_assert_eq!(
            ids(&graph, &format!("G.V(){steps}")),
            ids(&graph, &format!("G.V().SubGraph().V(){steps}"))
        );
    }

    #[test]
    fn counts_and_pages_agree_with_the_elements(
        graph in any_graph(),
        steps in prop::collection::vec(node_step(), 0..5),
        from in 0..6_usize,
        to in 0..12_usize,
    ) {
        let steps: String = steps.iter().map(|step| format!(".{step}")).collect();
        // `As` and `Select` in between prevent absorption of the page.
        let query = format!("G.V(){steps}.As('all').Select('all')");
        let all = ids(&graph, &query);
        prop_assert_eq!(json(&graph, &format!("{query}.Count()")), all.len().to_string());
        prop_assert_eq!(json(&graph, &format!("G.V(){steps}.Count()")), all.len().to_string());
        let page = &all[from.min(to).min(all.len())..to.min(all.len())];
        prop_assert_eq!(ids(&graph, &format!("{query}.Range({from},{to})")), page);
    }

    #[test]
    fn a_filter_in_a_walk_equals_a_filter_after_it(graph in any_graph(), kind in 0..3_u8) {
        for walk in ["Out", "In", "Both"] {
            prop_assert_eq!(
                ids(&graph, &format!("G.V().{walk}('Type','t{kind}')")),
                ids(&graph, &format!("G.V().{walk}().As('x').Has('Type','t{kind}')"))
            );
        }
        for walk in ["OutE", "InE", "BothE"] {
            prop_assert_eq!(
                ids(&graph, &format!("G.V().{walk}('RelationType','layer2')")),
                ids(&graph, &format!("G.V().{walk}().Range(0,99).Has('RelationType','layer2')"))
            );
        }
    }

    #[test]
    fn paths_are_as_short_as_the_distance(
        graph in any_graph(),
        target in 0..12_usize,
    ) {
        // Compares a search from a single source with the search from all targets.
        let to = format!("ShortestPathTo(Metadata('Name','n{target}'))");
        let Ok(Answer::Paths(all)) = run(&graph, &format!("G.V().{to}")) else {
            return Err(TestCaseError::fail("no paths"));
        };
        for path in all {
            let source = &path[0].id;
            let Ok(Answer::Paths(one)) = run(&graph, &format!("G.V('{source}').{to}")) else {
                return Err(TestCaseError::fail("no path"));
            };
            prop_assert_eq!(one[0].len(), path.len());
            let any = "'RelationType',Within('layer2','ownership')";
            let within = |depth: usize| {
                ids(&graph, &format!("G.V('{source}').Neighbors({any},{depth}).Has('Name','n{target}')"))
            };
            prop_assert_eq!(within(path.len() - 1).len(), 1);
            if path.len() > 1 {
                prop_assert_eq!(within(path.len() - 2).len(), 0);
            }
        }
    }
}

#[test]
fn values_are_converted_as_the_language_counts_them() {
    let mut graph = Graph::new();
    let json = r#"{"S":"x","N":"0x10","B":true,"F":2.9,"L":["1",2],"E":[],"M":{"K":{"D":1}},
        "Ifs":[{"V":1},{"V":"2"},{}]}"#;
    graph
        .add_node(Node::new("n", metadata(json), Timestamp::ZERO))
        .unwrap();
    let values = |key: &str| self::json(&graph, &format!("G.V().Values('{key}')"));
    assert_eq!(values("S"), r#"["x"]"#);
    assert_eq!(values("N"), "[16]");
    assert_eq!(values("B"), "[1]");
    assert_eq!(values("F"), "[2]");
    assert_eq!(values("L"), r#"[["1",2]]"#);
    assert_eq!(values("E"), "null");
    assert_eq!(values("M"), r#"[{"K":{"D":1}}]"#);
    assert_eq!(values("Ifs.V"), r#"[[1,"2"]]"#);
    assert_eq!(
        self::json(&graph, "G.V().ValueMap('N','Nope')"),
        r#"[{"N":16}]"#
    );
    assert_eq!(self::json(&graph, "G.V().Sum('F')"), "2");
    let keys = run(&graph, "G.V().Keys()").unwrap();
    let Answer::Value(Value::List(keys)) = keys else {
        panic!("{keys:?}")
    };
    let dotted: Vec<&str> = keys
        .iter()
        .filter_map(Value::as_text)
        .filter(|key| key.contains('.'))
        .collect();
    assert_eq!(dotted, ["M.K", "M.K.D"]);
}

#[test]
fn queries_and_answers_cross_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Query>();
    is_shared::<Answer>();
    is_shared::<QueryError>();
}
