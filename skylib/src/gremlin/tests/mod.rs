//! What must hold of every query, whatever the graph, and the bounds that hostile ones meet.

mod error_texts;
pub(in crate::gremlin) mod proptests;

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::flow::{Flow, FlowQuery, FlowQueryError, FlowSet, PacketFilter, RawPacket};
use crate::graph::{Edge, Graph, Metadata, Node};
use crate::packet::{LinkType, PacketRef};
use crate::value::Value;

/// One flow table that answers at once.
struct Table(Vec<Flow>);

impl FlowSource for Table {
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        query.answer(self.0.clone())
    }
}

pub(in crate::gremlin) fn metadata(json: &str) -> Metadata {
    serde_json::from_str(json).unwrap()
}

/// Nodes with a name and a type each, and edges by the positions of their ends.
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

/// Ids of nodes or edges.
pub(in crate::gremlin) fn ids(graph: &Graph, query: &str) -> Vec<String> {
    match run(graph, query).unwrap() {
        Answer::Nodes(nodes) => nodes.iter().map(|node| node.id.to_string()).collect(),
        Answer::Edges(edges) => edges.iter().map(|edge| edge.id.to_string()).collect(),
        other => panic!("{query}: {other:?}"),
    }
}

#[test]
fn filters_pages_and_counts_run_with_what_finds_the_elements() {
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

/// Lets through what begins with the first byte of its text.
struct FirstByte;

impl PacketFilterCompiler for FirstByte {
    fn compile(&self, text: &str, link_type: LinkType) -> Result<Box<dyn PacketFilter>, String> {
        struct Filter(Option<u8>, LinkType);
        impl PacketFilter for Filter {
            fn matches(&self, packet: &PacketRef<'_>) -> bool {
                assert_eq!(packet.link_type, self.1);
                self.0.is_none() || packet.data.first() == self.0.as_ref()
            }
        }
        match text {
            "wrong" => Err("syntax error".to_owned()),
            text => Ok(Box::new(Filter(text.bytes().next(), link_type))),
        }
    }
}

#[test]
fn packets_are_filtered_by_whoever_knows_how() {
    let packet = |data: &'static str, link_type| RawPacket {
        data: data.as_bytes().into(),
        link_type,
        ..RawPacket::default()
    };
    let flow = |uuid: &str, packets: Vec<RawPacket>| Flow {
        uuid: uuid.into(),
        last_raw_packets: packets,
        ..Flow::default()
    };
    let flows = Table(vec![
        flow(
            "f1",
            vec![packet("abc", 1), packet("xyz", 1), packet("a", 101)],
        ),
        flow("f2", vec![packet("x", 1)]),
        flow("f3", Vec::new()),
    ]);
    let graph = graph(&[], &[]);
    let view = GraphView::open(&graph);
    let context = Context::new(&view, &flows, Timestamp::ZERO);
    let run = |text: &str, context: &Context<'_>| Query::parse(text)?.run(context);
    let filtered = context.with_packet_filters(&FirstByte);
    let answer = run("G.Flows().RawPackets().BPF('a')", &filtered).unwrap();
    let Answer::RawPackets(kept) = &answer else {
        panic!("{answer:?}")
    };
    let kept: Vec<(&str, usize)> = kept
        .iter()
        .map(|(id, list)| (id.as_str(), list.len()))
        .collect();
    assert_eq!(kept, [("f1", 2), ("f2", 0)]);
    let json = serde_json::to_value(&answer).unwrap();
    assert_eq!(json[0]["f2"], serde_json::Value::Null);
    let all = run("G.Flows().RawPackets()", &filtered);
    assert_eq!(run("G.Flows().RawPackets().BPF('')", &filtered), all);
    let twice = run("G.Flows().RawPackets().BPF('a').BPF('x')", &filtered).unwrap();
    assert_eq!(
        serde_json::to_string(&twice).unwrap(),
        r#"[{"f1":null,"f2":null}]"#
    );
    for text in [
        "G.Flows().RawPackets().BPF('wrong')",
        "G.Flows().Limit(0).RawPackets().BPF('wrong')",
    ] {
        let error = run(text, &filtered).unwrap_err();
        assert_eq!(error.message(), "syntax error", "{text}");
        assert_eq!(error.offset(), text.find("BPF"), "{text}");
    }
    let error = run("G.Flows().RawPackets().BPF('a')", &context).unwrap_err();
    assert_eq!(error.message(), "BPF is not supported by this program");
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
fn limits_bound_what_a_query_holds() {
    let graph = chain(1000);
    let view = GraphView::open(&graph);
    let table = Table(Vec::new());
    let run = |query: &str, limits: Limits| {
        let context = Context::new(&view, &table, Timestamp::ZERO).with_limits(limits);
        Query::parse(query)
            .unwrap()
            .run(&context)
            .map_err(|error| error.kind())
    };
    let few = Limits::default().with_max_elements(100);
    for query in [
        "G",
        "G.V()",
        "G.V().Values('Name')",
        "G.V('n0').Descendants('RelationType','layer2',0)",
        "G.V().Limit(60).As('x').Select('x','x')",
    ] {
        assert_eq!(run(query, few), Err(QueryErrorKind::Limit), "{query}");
    }
    assert_eq!(
        run("G.V().Count()", few),
        Ok(Answer::Number(1000)),
        "a count holds nothing"
    );
    assert!(run("G.V().Limit(100)", few).is_ok());
    let small = Limits::default().with_max_bytes(40_000);
    assert!(run("G.V().As('a').Count()", small).is_ok());
    let marks = "G.V().As('a').G.V().As('b').G.V().As('c').G.V().As('d')";
    assert_eq!(run(marks, small), Err(QueryErrorKind::Limit));
}

#[test]
fn walks_that_explode_are_stopped() {
    let complete: Vec<(usize, usize, bool)> = (0..40)
        .flat_map(|a| (0..40).map(move |b| (a, b, true)))
        .collect();
    let graph = graph(&[0; 40], &complete);
    let query = format!("G.V(){}.Count()", ".Both()".repeat(20));
    let limits = Limits::default().with_max_elements(100_000);
    let view = GraphView::open(&graph);
    let table = Table(Vec::new());
    let context = Context::new(&view, &table, Timestamp::ZERO).with_limits(limits);
    let error = Query::parse(&query).unwrap().run(&context).unwrap_err();
    assert_eq!(error.kind(), QueryErrorKind::Limit);
}

#[test]
fn an_interrupt_ends_a_query_soon() {
    let graph = chain(3000);
    let view = GraphView::open(&graph);
    let table = Table(Vec::new());
    for query in [
        "G.V().Values('Name')",
        "G.V().Both().Both()",
        "G.V().Sort('Name').Keys()",
    ] {
        let asked = AtomicUsize::new(0);
        let interrupt = || asked.fetch_add(1, Ordering::Relaxed) >= 3;
        let context = Context::new(&view, &table, Timestamp::ZERO).with_interrupt(&interrupt);
        let error = Query::parse(query).unwrap().run(&context).unwrap_err();
        assert_eq!(error.kind(), QueryErrorKind::Interrupted, "{query}");
        assert_eq!(
            asked.load(Ordering::Relaxed),
            4,
            "{query}: asked again after the answer"
        );
    }
}

#[test]
fn filters_of_many_tests_answer_as_short_ones_and_can_be_interrupted() {
    let graph = chain(600);
    let names: Vec<String> = (0..2000).map(|number| format!("'n{number}'")).collect();
    let within = format!("Within({})", names.join(","));
    let long = |key: &str| format!("Has('{key}',{within},'Kind',Lt(1))");
    assert_eq!(
        json(&graph, &format!("G.V().{}.Count()", long("Name"))),
        "600"
    );
    assert_eq!(
        json(&graph, &format!("G.V().{}.Count()", long("@ID"))),
        "600"
    );
    assert_eq!(
        json(&graph, &format!("G.V().{}.Limit(3).Count()", long("@ID"))),
        "3"
    );
    assert_eq!(
        json(
            &graph,
            &format!("G.V('n5').Both().{}.Count()", long("Name"))
        ),
        "2"
    );
    assert_eq!(
        json(&graph, &format!("G.V('n5').BothE('@ID',{within}).Count()")),
        "0"
    );
    assert_eq!(
        json(&graph, &format!("G.E().Has('Parent',{within}).Count()")),
        "599"
    );
    assert_eq!(
        json(
            &graph,
            &format!("G.E().Has('Child',{within}).SubGraph().V().Count()")
        ),
        "600"
    );
    let view = GraphView::open(&graph);
    let asked = AtomicUsize::new(0);
    let interrupt = || asked.fetch_add(1, Ordering::Relaxed) >= 2;
    let table = Table(Vec::new());
    let context = Context::new(&view, &table, Timestamp::ZERO).with_interrupt(&interrupt);
    let nobody = format!("G.V().Has('@Host',{within}).Count()");
    let error = Query::parse(&nobody).unwrap().run(&context).unwrap_err();
    assert_eq!(error.kind(), QueryErrorKind::Interrupted);
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
fn subgraphs_hold_what_they_were_made_of() {
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

#[test]
fn flows_lead_back_to_nodes() {
    let mut graph = Graph::new();
    for (id, json) in [
        ("port", r#"{"TID":"t1","Type":"veth"}"#),
        ("host", r#"{"TID":"t2","Type":"host"}"#),
        ("a", r#"{"MAC":["x","02:00:00:00:00:0a"]}"#),
        ("b", r#"{"PeerIntfMAC":"02:00:00:00:00:0b"}"#),
    ] {
        graph
            .add_node(Node::new(id, metadata(json), Timestamp::ZERO))
            .unwrap();
    }
    let flow = |uuid: &str, tid: &str| -> Flow {
        let json = format!(
            r#"{{"UUID":"{uuid}","NodeTID":"{tid}","TrackingID":"same","Link":
            {{"Protocol":"ETHERNET","A":"02:00:00:00:00:0a","B":"02:00:00:00:00:0b"}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    };
    let bare = Flow {
        uuid: "3".into(),
        ..Flow::default()
    };
    let table = Table(vec![flow("1", "t1"), flow("2", "t2"), bare]);
    let view = GraphView::open(&graph);
    let run = |query: &str| {
        let context = Context::new(&view, &table, Timestamp::ZERO);
        let answer = Query::parse(query).unwrap().run(&context).unwrap();
        match answer {
            Answer::Nodes(nodes) => nodes.iter().map(|n| n.id.to_string()).collect::<Vec<_>>(),
            Answer::Flows(set) => set.flows.iter().map(|f| f.uuid.to_string()).collect(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(run("G.Flows().Both()"), ["a", "b", "a", "b"]);
    assert_eq!(run("G.Flows().Out()"), ["b", "b"]);
    assert_eq!(run("G.Flows().In().Limit(1)"), ["a"]);
    assert_eq!(run("G.Flows().Hops()"), ["port", "host"]);
    assert_eq!(run("G.Flows().Nodes().Dedup()"), ["port", "a", "host"]);
    assert_eq!(
        run("G.Flows().Hops('Type','veth').Has('TID','t2')"),
        [""; 0]
    );
    assert_eq!(run("G.V().Flows()"), ["1"], "nothing is captured on a host");
    assert_eq!(run("G.V('host').Flows()"), [""; 0]);
}

/// Steps that keep nodes nodes.
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
        // `As` and `Select` in between keep the page from being absorbed.
        let query = format!("G.V(){steps}.As('all').Select('all')");
        let all = ids(&graph, &query);
        prop_assert_eq!(json(&graph, &format!("{query}.Count()")), all.len().to_string());
        prop_assert_eq!(json(&graph, &format!("G.V(){steps}.Count()")), all.len().to_string());
        let page = &all[from.min(to).min(all.len())..to.min(all.len())];
        prop_assert_eq!(ids(&graph, &format!("{query}.Range({from},{to})")), page);
    }

    #[test]
    fn a_filter_in_a_walk_is_a_filter_behind_it(graph in any_graph(), kind in 0..3_u8) {
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
        // Through a few sources one by one, and through all at once.
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
fn values_come_as_the_language_counts_them() {
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
