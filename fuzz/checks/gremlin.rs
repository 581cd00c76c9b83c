//! Checks of query strings.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Deserialize;
use serde::de::IgnoredAny;
use skylib::flow::{Flow, FlowQuery, FlowQueryError, FlowSet, FlowSource};
use skylib::graph::{Edge, Graph, GraphView, Node};
use skylib::gremlin::{Answer, Context, Limits, Query, QueryError, QueryErrorKind};
use skylib::time::Timestamp;
use skylib::value::Value;

/// Panics if the parser or a run panics, if a query changes when it is printed and parsed again, or
/// if a run exceeds its limits.
pub(crate) fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let query = match Query::parse(&text) {
        Ok(query) => query,
        Err(error) => return check_error(&error, &text),
    };
    let outcome = run(&query, &text);
    let printed = query.to_string();
    match Query::parse(&printed) {
        Ok(again) => {
            assert!(query.steps().eq(again.steps()), "{printed}");
            assert_eq!(printed, again.to_string());
            assert_eq!(outcome, run(&again, &printed));
        }
        // A printed query has blanks after its commas, so that it may exceed the limit.
        Err(error) => assert!(printed.len() > 60_000, "{error}"),
    }
    if let Outcome::Answer(answer @ (Answer::Nodes(_) | Answer::Edges(_) | Answer::Flows(_))) =
        outcome
    {
        check_count(&format!("{printed}.Count()"), elements(&answer));
    }
}

/// Checks `Count`, which has its own code paths for the graph and for flows.
fn check_count(text: &str, wanted: usize) {
    if let Ok(query) = Query::parse(text) {
        let count = Answer::Number(wanted as i64);
        assert_eq!(run(&query, text), Outcome::Answer(count), "{text}");
    }
}

/// Result of a query, without the position of an error.
#[derive(Debug, PartialEq)]
enum Outcome {
    Answer(Answer),
    Error(QueryErrorKind, String),
}

fn run(query: &Query, text: &str) -> Outcome {
    let view = GraphView::open(&FIXTURE.graph);
    let asked = AtomicUsize::new(0);
    let interrupt = || asked.fetch_add(1, Ordering::Relaxed) >= MAX_INTERRUPT_CHECKS;
    let limits = Limits::default()
        .with_max_elements(MAX_ELEMENTS)
        .with_max_bytes(MAX_BYTES);
    let context = Context::new(&view, &*FIXTURE, Timestamp::from_ms(1_700_000_060_000))
        .with_limits(limits)
        .with_interrupt(&interrupt);
    let outcome = match query.run(&context) {
        Ok(answer) => {
            assert!(elements(&answer) <= MAX_ELEMENTS);
            let mut json = Vec::new();
            answer
                .write_json(&mut json)
                .expect("a vector accepts all bytes");
            serde_json::from_slice::<IgnoredAny>(&json).expect("JSON");
            Outcome::Answer(answer)
        }
        Err(error) => {
            check_error(&error, text);
            Outcome::Error(error.kind(), error.message().to_owned())
        }
    };
    let asked = asked.into_inner();
    assert!(
        asked <= MAX_INTERRUPT_CHECKS + 1,
        "continues after it was canceled"
    );
    let gave_up = matches!(outcome, Outcome::Error(QueryErrorKind::Interrupted, _));
    assert_eq!(gave_up, asked > MAX_INTERRUPT_CHECKS);
    outcome
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

fn check_error(error: &QueryError, text: &str) {
    assert!(!error.message().is_empty());
    assert!(
        error
            .offset()
            .is_none_or(|offset| text.is_char_boundary(offset))
    );
    assert!(error.to_string().starts_with(error.message()));
}

/// Graph and flows with everything that a step may read, created once.
static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Elements {
        nodes: Vec<Node>,
        edges: Vec<Edge>,
        flows: Vec<Flow>,
    }
    let elements: Elements = serde_json::from_str(include_str!("gremlin.json")).expect("valid");
    let mut graph = Graph::new();
    for mut node in elements.nodes {
        if node.id == "odd2".into() {
            // Values that JSON input refuses, but that partial updates can create.
            node.metadata.set("RoutingTables", 1);
            node.metadata
                .set("LastUpdateMetric", Value::list::<Value>([]));
        }
        graph.add_node(node).expect("ids differ");
    }
    for edge in elements.edges {
        graph.add_edge(edge).expect("its ends exist");
    }
    Fixture {
        graph,
        flows: elements.flows,
    }
});

struct Fixture {
    graph: Graph,
    flows: Vec<Flow>,
}

impl FlowSource for Fixture {
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        query.answer(self.flows.clone())
    }
}

const MAX_ELEMENTS: usize = 2_000;
const MAX_BYTES: usize = 1 << 20;
/// Number of interrupt checks before a query is canceled.
const MAX_INTERRUPT_CHECKS: usize = 1_000;
