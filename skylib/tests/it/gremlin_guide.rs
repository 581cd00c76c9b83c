//! Tests of the guide `docs/gremlin.md`: every query in it runs and returns the answer shown.

use std::path::Path;

use serde_json::Value as Json;
use skylib::flow::{Flow, FlowField, FlowSet};
use skylib::graph::history::{History, HistoryLimits, MemoryHistory};
use skylib::graph::{Edge, Graph, GraphView, MetadataOp, Node};
use skylib::gremlin::{Answer, Context, Explanation, Query, QueryError};
use skylib::time::Timestamp;
use skylib::value::Value;

/// A fenced block: its info string and its content.
pub(crate) struct Block<'a> {
    pub(crate) kind: &'a str,
    pub(crate) text: &'a str,
}

/// The network of a document: a graph, its earlier states, and flows.
pub(crate) struct Network {
    graph: Graph,
    history: Option<MemoryHistory>,
    flows: FlowSet,
}

/// Time at which the queries run.
const NOW_MS: i64 = 1_700_000_000_000;

#[test]
fn queries_of_the_guide_return_the_answers_shown() {
    let guide = guide();
    let blocks = blocks(&guide);
    let network = Network::of(&blocks);
    let mut answered = 0;
    for pair in blocks.windows(2) {
        let [query, answer] = pair else { continue };
        match (query.kind, answer.kind) {
            ("gremlin", "json") => {
                let got = serde_json::to_value(network.run(query.text).unwrap()).unwrap();
                let wanted: Json = serde_json::from_str(answer.text).unwrap();
                assert_eq!(got, wanted, "{}", query.text);
                answered += 1;
            }
            ("gremlin error", "text") => {
                let error = network.run(query.text).unwrap_err();
                assert_eq!(error.to_string(), answer.text.trim_end(), "{}", query.text);
            }
            ("gremlin" | "gremlin error", other) => {
                panic!("{}: followed by {other:?}, not by its answer", query.text)
            }
            _ => {}
        }
    }
    assert!(answered > 12, "only {answered} queries found");
}

#[test]
fn queries_in_the_prose_of_the_guide_are_valid() {
    let guide = guide();
    let network = Network::of(&blocks(&guide));
    let prose = guide.split("```").step_by(2);
    let words = prose.flat_map(|text| text.split('`').skip(1).step_by(2));
    let (mut queries, mut steps) = (0, 0);
    for text in words {
        if text == "G" || text.starts_with("G.") {
            match network.run(text) {
                // The network of the guide has no history.
                Err(error) if error.message() == "Backend does not support history" => {
                    assert!(text.starts_with("G.At("), "{text}");
                }
                result => assert!(result.is_ok(), "{text}: {result:?}"),
            }
            queries += 1;
        } else if text.contains('(') {
            let step = Query::parse(&format!("G.V().{text}"));
            let value = Query::parse(&format!("G.V().Has('Name', {text})"));
            assert!(step.is_ok() || value.is_ok(), "{text}: {step:?}, {value:?}");
            steps += 1;
        }
    }
    assert!(
        queries > 10 && steps > 50,
        "only {queries} queries, {steps} steps found"
    );
}

#[test]
fn the_plan_in_the_guide_is_the_plan() {
    let guide = guide();
    let blocks = blocks(&guide);
    let network = Network::of(&blocks);
    let wanted = blocks
        .iter()
        .find(|block| block.kind == "json explain")
        .unwrap();
    let wanted: Json = serde_json::from_str(wanted.text).unwrap();
    let explained = network.explain(wanted["Query"].as_str().unwrap());
    assert_eq!(serde_json::to_value(explained).unwrap(), wanted);
}

fn guide() -> String {
    document("gremlin.md")
}

/// Returns a document of the folder `docs`.
pub(crate) fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    std::fs::read_to_string(path.join(name)).unwrap()
}

/// Returns the fenced blocks of a document.
pub(crate) fn blocks(guide: &str) -> Vec<Block<'_>> {
    let fenced = guide.split("```").skip(1).step_by(2);
    fenced
        .map(|fenced| {
            let (kind, text) = fenced.split_once('\n').unwrap();
            Block { kind, text }
        })
        .collect()
}

impl Network {
    /// Returns the network in the block `json network`.
    pub(crate) fn of(blocks: &[Block<'_>]) -> Self {
        let network = blocks
            .iter()
            .find(|block| block.kind == "json network")
            .unwrap();
        let network: Json = serde_json::from_str(network.text).unwrap();
        let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
        let mut graph = Graph::new().with_journal();
        for node in network["Nodes"].as_array().unwrap() {
            let metadata = serde_json::from_value(node["Metadata"].clone()).unwrap();
            let node = Node::new(text(&node["ID"]), metadata, Timestamp::ZERO);
            graph.add_node(node).unwrap();
        }
        for edge in network["Edges"].as_array().unwrap() {
            let metadata = serde_json::from_value(edge["Metadata"].clone()).unwrap();
            let (parent, child) = (text(&edge["Parent"]), text(&edge["Child"]));
            let id = format!("{parent}-{child}-{}", edge["Metadata"]["RelationType"]);
            let edge = Edge::new(id, parent, child, metadata, Timestamp::ZERO);
            graph.add_edge(edge).unwrap();
        }
        let flows: Vec<Flow> = serde_json::from_value(network["Flows"].clone()).unwrap();
        let flows = FlowSet::from_flows(flows);
        let changes = network["Changes"].as_array();
        let history = changes.map(|changes| change(&mut graph, changes));
        Self {
            graph,
            history,
            flows,
        }
    }

    /// Runs a query.
    pub(crate) fn run(&self, query: &str) -> Result<Answer, QueryError> {
        let view = GraphView::open(&self.graph);
        let now = Timestamp::from_ms(NOW_MS);
        let mut context = Context::new(&view, &self.flows, now);
        if let Some(history) = &self.history {
            context = context.with_history(history);
        }
        Query::parse(query.trim())?.run(&context)
    }

    fn explain(&self, query: &str) -> Explanation {
        let view = GraphView::open(&self.graph);
        let now = Timestamp::from_ms(NOW_MS);
        let query = Query::parse(query).unwrap();
        query.explain(&Context::new(&view, &self.flows, now))
    }
}

/// Applies changes to a graph, the earliest first. Returns its history.
fn change(graph: &mut Graph, changes: &[Json]) -> MemoryHistory {
    let history = MemoryHistory::new(HistoryLimits::default());
    history.record(&graph.take_events(), Timestamp::from_ms(NOW_MS));
    for change in changes {
        let time = Timestamp::from_ms(change["Time"].as_i64().unwrap());
        let set = change["Set"].as_object().unwrap().iter();
        let ops: Vec<MetadataOp> = set
            .map(|(key, value)| {
                let value: Value = serde_json::from_value(value.clone()).unwrap();
                MetadataOp::set(key.as_str(), value)
            })
            .collect();
        let node = change["Node"].as_str().unwrap();
        graph.patch_node(&node.into(), &ops, time).unwrap();
        history.record(&graph.take_events(), Timestamp::from_ms(NOW_MS));
    }
    history
}

#[test]
fn both_names_of_extra_layers_in_the_table_are_one_field() {
    let text = document("flows.md");
    let rows = text.lines().filter_map(|line| {
        let (listed, in_json) = line
            .strip_prefix("| `")?
            .strip_suffix("` |")?
            .split_once("` | `")?;
        Some((listed, in_json))
    });
    let is_extra = |name: &str| {
        ["DNS.", "DHCPv4.", "VRRPv2."]
            .iter()
            .any(|l| name.starts_with(l))
    };
    let rows: Vec<(&str, &str)> = rows.filter(|(listed, _)| is_extra(listed)).collect();
    for (listed, in_json) in &rows {
        let field = FlowField::parse(listed);
        assert!(field.is_some(), "{listed}");
        assert_eq!(field, FlowField::parse(in_json), "{listed}");
    }
    let names = FlowField::names().iter().filter(|name| is_extra(name));
    let names = names.filter(|name| !name.contains("Authorities") && !name.contains("Additionals"));
    for name in names {
        assert!(
            rows.iter().any(|(listed, _)| listed == name),
            "{name} is not in the table"
        );
    }
}
