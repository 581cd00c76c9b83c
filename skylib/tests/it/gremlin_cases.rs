//! Tests of recorded queries and answers: every case of `tests/data/gremlin-cases.json`, or of the
//! file named by the environment variable `GREMLIN_CASES`.
//!
//! A case passes with its `expect` or with one of its `also_ok`. No case is skipped, and an unknown
//! field is an error, because it could be essential to the case.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value as Json, json};
use skylib::flow::{Flow, FlowMetric, FlowQuery, FlowQueryError, FlowSet, FlowSource};
use skylib::graph::history::{History, HistoryLimits, MemoryHistory};
use skylib::graph::{Edge, EdgeId, Graph, GraphView, Metadata, MetadataOp, Node, NodeId, Origin};
use skylib::gremlin::{Answer, Context, Metric, Metrics, Query, QueryError, QueryErrorKind};
use skylib::time::{TimeSlice, Timestamp};
use skylib::value::{Text, Value};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    backend: Backend,
    graph: GraphSpec,
    #[serde(default)]
    history: Vec<Event>,
    #[serde(default)]
    flows: Vec<Flow>,
    query: String,
    expect: Json,
    #[serde(default)]
    also_ok: Option<Vec<Json>>,
    #[serde(default)]
    metrics: BTreeMap<String, Vec<FlowMetric>>,
    #[serde(default)]
    at: i64,
    #[serde(default)]
    duration: i64,
    #[serde(default)]
    slice: u64,
    #[serde(default)]
    sum: bool,
    // Descriptions.
    #[serde(rename = "area")]
    _area: String,
    #[serde(rename = "source", default)]
    _source: String,
    #[serde(rename = "ref", default)]
    _reference: String,
    #[serde(rename = "verified", default)]
    _verified: String,
    #[serde(rename = "verdict", default)]
    _verdict: String,
    #[serde(rename = "note", default)]
    _note: String,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Query,
    /// Tests only the arithmetic of `Aggregates`.
    Aggregates,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Backend {
    #[default]
    Memory,
    /// Whether the graph has a history.
    History,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GraphSpec {
    nodes: Vec<NodeSpec>,
    edges: Vec<EdgeSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NodeSpec {
    id: String,
    #[serde(default)]
    host: String,
    #[serde(default)]
    origin: String,
    created_at: Option<i64>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EdgeSpec {
    id: String,
    parent: String,
    child: String,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    t: i64,
    op: String,
    node: Option<NodeSpec>,
    edge: Option<EdgeSpec>,
    #[serde(default)]
    id: String,
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: Value,
}

/// A flow table as a source.
struct Table(Vec<Flow>);

impl FlowSource for Table {
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        if query.time.is_some() {
            return Err(FlowQueryError::NoStorage);
        }
        query.answer(self.0.clone())
    }
}

#[test]
fn gremlin_cases() {
    run_cases(|| Past::Memory(Box::new(MemoryHistory::new(HistoryLimits::default()))));
}

/// The same cases, with a history whose events have been moved to the disk.
#[cfg(feature = "history")]
#[test]
fn gremlin_cases_on_the_disk() {
    run_cases(Past::on_the_disk);
}

/// History of a case.
enum Past {
    Memory(Box<MemoryHistory>),
    /// The history and the folder that it is in.
    #[cfg(feature = "history")]
    Disk(Box<skylib::store::history::LocalHistory>, PathBuf),
}

impl Past {
    #[cfg(feature = "history")]
    fn on_the_disk() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "skylib-cases-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(name);
        Self::Disk(Self::open(&folder), folder)
    }

    #[cfg(feature = "history")]
    fn open(folder: &std::path::Path) -> Box<skylib::store::history::LocalHistory> {
        use skylib::store::history::{HistoryFolder, HistoryOptions, LocalHistory};
        let folder = HistoryFolder::open(folder, HistoryOptions::default()).unwrap();
        Box::new(LocalHistory::open(folder, HistoryLimits::default()).unwrap())
    }

    /// Moves all events to the disk. The history in memory is empty afterwards.
    fn seal(self) -> Self {
        match self {
            Self::Memory(_) => self,
            #[cfg(feature = "history")]
            Self::Disk(history, folder) => {
                drop(history);
                Self::Disk(Self::open(&folder), folder)
            }
        }
    }

    fn history(&self) -> &dyn History {
        match self {
            Self::Memory(history) => &**history,
            #[cfg(feature = "history")]
            Self::Disk(history, _) => &**history,
        }
    }

    fn remove(self) {
        #[cfg(feature = "history")]
        if let Self::Disk(history, folder) = self {
            drop(history);
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
}

#[expect(clippy::print_stdout, reason = "failed cases")]
fn run_cases(past: impl Fn() -> Past) {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/gremlin-cases.json");
    let path = std::env::var_os("GREMLIN_CASES").map_or(default, PathBuf::from);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("cannot read the cases in {}: {error}", path.display()));
    let cases: Vec<Case> =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(!cases.is_empty(), "{} holds no case", path.display());
    let (mut run, mut failed) = (0, 0);
    for case in &cases {
        run += 1;
        if let Err(got) = case.run(&past) {
            failed += 1;
            println!("FAILED {}: {}", case.name, case.query);
            println!("  expected {}", case.expect);
            for also in case.also_ok.iter().flatten() {
                println!("  or       {also}");
            }
            println!("  got      {got}");
        }
    }
    // Bypasses the output capture of the test harness, so that it is shown without `--nocapture`.
    let mut out = std::io::stdout().lock();
    writeln!(out, "gremlin_cases: {run} run, {failed} failed").unwrap();
    drop(out);
    assert_eq!(run, cases.len(), "no case is left out");
    assert_eq!(failed, 0, "see the output above");
}

#[test]
fn the_comparison_refuses_what_it_should() {
    let answer = |case: &str| -> Result<Answer, QueryError> {
        let case: Case = serde_json::from_str(case).unwrap();
        case.run_query(&|| Past::Memory(Box::new(MemoryHistory::new(HistoryLimits::default()))))
    };
    let nodes = r#""graph":{"nodes":[{"id":"a","metadata":{"K":1}},{"id":"b"}],"edges":[]}"#;
    let answer = |query: &str| {
        answer(&format!(
            r#"{{"name":"","area":"",{nodes},"query":"{query}","expect":null}}"#
        ))
    };
    let check = |query: &str, wanted: Json| agrees(&answer(query), &wanted);
    assert!(check("G.V()", json!({"type": "nodes", "ids": ["b", "a"]})));
    assert!(!check(
        "G.V()",
        json!({"type": "nodes", "ids": ["b", "a"], "ordered": true})
    ));
    assert!(!check("G.V()", json!({"type": "nodes", "ids": ["a"]})));
    assert!(!check("G.V()", json!({"type": "edges", "ids": ["a", "b"]})));
    assert!(!check(
        "G.V()",
        json!({"type": "nodes", "ids": ["a", "b"], "revisions": [1, 2]})
    ));
    assert!(!check(
        "G.V()",
        json!({"type": "nodes", "len": 1, "any_of": ["a", "b"]})
    ));
    assert!(!check("G.V()", json!({"type": "empty_list"})));
    assert!(!check(
        "G.V().Values('K')",
        json!({"type": "values", "values": ["1"]})
    ));
    assert!(!check(
        "G.V().Count()",
        json!({"type": "number", "value": 3})
    ));
    assert!(!check(
        "G",
        json!({"type": "subgraph", "nodes": ["a", "b"], "edges": [], "nodes_is_null": true})
    ));
    let error =
        |stage: &str, message: &str| json!({"type": "error", "stage": stage, "message": message});
    assert!(check(
        "G.V(1)",
        error("parse", "V parameter must be a string : [1]")
    ));
    assert!(!check(
        "G.V(1)",
        error("exec", "V parameter must be a string : [1]")
    ));
    assert!(!check(
        "G.V(1)",
        error("parse", "V parameter must be a string : [2]")
    ));
    assert!(!check("G.V()", error("exec", "x")));
}

impl Case {
    /// Runs the case. The error describes the wrong answer.
    fn run(&self, past: &dyn Fn() -> Past) -> Result<(), String> {
        let got = match self.kind {
            Kind::Aggregates => self.aggregate(),
            Kind::Query => self.run_query(past),
        };
        let also_ok = self.also_ok.iter().flatten();
        if std::iter::once(&self.expect)
            .chain(also_ok)
            .any(|wanted| agrees(&got, wanted))
        {
            return Ok(());
        }
        Err(match got {
            Ok(answer) => serde_json::to_string(&answer).unwrap(),
            Err(error) => format!("{:?} error: {error}", error.kind()),
        })
    }

    /// Runs the query of the case.
    fn run_query(&self, past: &dyn Fn() -> Past) -> Result<Answer, QueryError> {
        if self.backend != Backend::History {
            return self.run_with(&self.build(None), None);
        }
        let past = past();
        let graph = self.build(Some(past.history()));
        let past = past.seal();
        let answer = self.run_with(&graph, Some(past.history()));
        past.remove();
        answer
    }

    fn run_with(&self, graph: &Graph, past: Option<&dyn History>) -> Result<Answer, QueryError> {
        let table = Table(self.flows.clone());
        let view = GraphView::open(graph);
        let query = Query::parse(&self.query)?;
        let mut context = Context::new(&view, &table, NOW);
        if let Some(past) = past {
            context = context.with_history(past);
        }
        let answer = query.run(&context);
        self.assert_same(&answer, &query.run(&context));
        answer
    }

    fn assert_same(&self, first: &Result<Answer, QueryError>, second: &Result<Answer, QueryError>) {
        match (first, second) {
            (Ok(first), Ok(second)) => {
                let text = |answer| serde_json::to_string(answer).unwrap();
                assert_eq!(text(first), text(second), "{}: a second run", self.name);
            }
            (first, second) => {
                assert_eq!(first.as_ref().err(), second.as_ref().err(), "{}", self.name);
            }
        }
    }

    fn aggregate(&self) -> Result<Answer, QueryError> {
        let series = |(name, metrics): (&String, &Vec<FlowMetric>)| {
            (
                Text::from(name.as_str()),
                metrics.iter().copied().map(Metric::Flow).collect(),
            )
        };
        let metrics: Metrics = self.metrics.iter().map(series).collect();
        let window = TimeSlice {
            start: Timestamp::from_ms(self.at - self.duration),
            last: Timestamp::from_ms(self.at),
        };
        let slots = metrics.aggregate(Some(window), Duration::from_secs(self.slice))?;
        if !self.sum {
            return Ok(Answer::Metrics(slots));
        }
        let sum = slots.sum().unwrap();
        let value = serde_json::from_value(serde_json::to_value(sum).unwrap()).unwrap();
        Ok(Answer::Value(value))
    }

    /// Returns the final graph and records all changes in the history.
    fn build(&self, past: Option<&dyn History>) -> Graph {
        let mut graph = Graph::new().with_journal();
        for spec in &self.graph.nodes {
            graph
                .add_node(spec.node(spec.created_at.unwrap_or(1000)))
                .unwrap();
        }
        for spec in &self.graph.edges {
            graph.add_edge(spec.edge(1000)).unwrap();
        }
        for event in &self.history {
            let now = Timestamp::from_ms(event.t);
            match event.op.as_str() {
                "addNode" => graph
                    .add_node(event.node.as_ref().unwrap().node(event.t))
                    .unwrap(),
                "addEdge" => graph
                    .add_edge(event.edge.as_ref().unwrap().edge(event.t))
                    .unwrap(),
                "setMetadata" => {
                    let op = MetadataOp::set(event.key.as_str(), event.value.clone());
                    assert!(
                        graph
                            .patch_node(&NodeId::from(&*event.id), &[op], now)
                            .unwrap()
                    );
                }
                "delEdge" => graph.delete_edge(&EdgeId::from(&*event.id), now).unwrap(),
                "delNode" => graph.delete_node(&NodeId::from(&*event.id), now).unwrap(),
                other => panic!("{}: unknown event {other}", self.name),
            }
            let events = graph.take_events();
            if let Some(past) = past {
                past.record(&events, now);
            }
        }
        graph
    }
}

impl NodeSpec {
    fn node(&self, created_ms: i64) -> Node {
        let created = Timestamp::from_ms(created_ms);
        let metadata = self.metadata.clone();
        Node::new(&*self.id, metadata, created)
            .with_origin(Origin::from_text(&*self.origin).with_host(&*self.host))
    }
}

impl EdgeSpec {
    fn edge(&self, created_ms: i64) -> Edge {
        let created = Timestamp::from_ms(created_ms);
        Edge::new(
            &*self.id,
            &*self.parent,
            &*self.child,
            self.metadata.clone(),
            created,
        )
    }
}

/// Returns whether an answer is as described.
fn agrees(got: &Result<Answer, QueryError>, wanted: &Json) -> bool {
    let answer = match got {
        Ok(answer) => answer,
        Err(error) => return wanted["type"] == "error" && is_error(error, wanted),
    };
    let json = serde_json::to_value(answer).unwrap();
    let names = |of: &Json, key: &str| -> Option<Vec<String>> {
        of.as_array()?
            .iter()
            .map(|e| Some(e[key].as_str()?.to_owned()))
            .collect()
    };
    match (wanted["type"].as_str().unwrap(), answer) {
        ("nodes", Answer::Nodes(_)) | ("edges", Answer::Edges(_)) => {
            let revisions = &wanted["revisions"];
            let pairs = |ids: &[String], revisions: &[Json]| -> Vec<Json> {
                ids.iter()
                    .zip(revisions)
                    .map(|(id, r)| json!([id, r]))
                    .collect()
            };
            let ids = names(&json, "ID").unwrap();
            let revisions_agree = revisions.as_array().is_none_or(|revisions| {
                let found: Vec<Json> = json
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|e| e["Revision"].clone())
                    .collect();
                let wanted_ids: Vec<String> = texts(&wanted["ids"]);
                is_same(pairs(&ids, &found), pairs(&wanted_ids, revisions), wanted)
            });
            revisions_agree && are_names(ids, "ids", wanted)
        }
        ("flows", Answer::Flows(_)) => are_names(names_of_flows(&json), "uuids", wanted),
        ("paths", Answer::Paths(_)) => {
            let paths = json.as_array().unwrap().iter();
            let paths = paths
                .map(|path| Json::from(names(path, "ID").unwrap()))
                .collect();
            is_same(paths, wanted["paths"].as_array().unwrap().clone(), wanted)
        }
        ("groups", Answer::Groups(_)) => {
            let groups = json[0].as_object().unwrap();
            let groups = groups
                .iter()
                .map(|(id, flows)| (id.clone(), names_of_flows(flows)));
            let groups: BTreeMap<String, Vec<String>> = groups.collect();
            serde_json::to_value(groups).unwrap() == wanted["groups"]
        }
        ("values" | "valuemap", Answer::Value(Value::List(_))) => {
            let found = json.as_array().unwrap().clone();
            is_same(found, wanted["values"].as_array().unwrap().clone(), wanted)
        }
        ("number", Answer::Number(_)) => json == wanted["value"],
        ("null", _) => json.is_null(),
        ("empty_list", _) => json == Json::Array(Vec::new()),
        ("subgraph", Answer::Graph { .. }) => {
            let side = |key: &str, name: &str| {
                let found = &json[0][key];
                let null_agrees = wanted
                    .get(format!("{name}_is_null"))
                    .is_none_or(|null| found.is_null() == (*null == Json::Bool(true)));
                let ids = names(found, "ID").unwrap_or_default();
                null_agrees && are_names(ids, name, wanted)
            };
            side("Nodes", "nodes") && side("Edges", "edges")
        }
        ("json", _) => json == wanted["json"],
        _ => false,
    }
}

fn is_error(error: &QueryError, wanted: &Json) -> bool {
    let stage = match error.kind() {
        QueryErrorKind::Parse => "parse",
        _ => "exec",
    };
    if wanted["any_message"] == true {
        return true;
    }
    let message = wanted["message"].as_str().unwrap();
    let first_words = |text: &str| text.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let message_agrees = match wanted["message_loose"] == true {
        true => first_words(error.message()) == first_words(message),
        false => error.message() == message && error.to_string().starts_with(message),
    };
    message_agrees && wanted["stage"] == stage
}

/// Returns whether names equal the list under a key, or satisfy `any_of` and a length.
fn are_names(found: Vec<String>, key: &str, wanted: &Json) -> bool {
    if let Some(any_of) = wanted.get("any_of") {
        let allowed = texts(any_of);
        let len = |key: &str| {
            wanted[key]
                .as_u64()
                .map(|len| usize::try_from(len).unwrap())
        };
        return found.iter().all(|name| allowed.contains(name))
            && len("len").is_none_or(|len| found.len() == len)
            && len("max_len").is_none_or(|len| found.len() <= len);
    }
    let json = |names: Vec<String>| names.into_iter().map(Json::from).collect();
    is_same(json(found), json(texts(&wanted[key])), wanted)
}

/// Returns whether two lists are equal: as lists if `ordered`, else as multisets.
fn is_same(mut found: Vec<Json>, mut wanted_list: Vec<Json>, wanted: &Json) -> bool {
    if wanted["ordered"] != true {
        found.sort_by_key(Json::to_string);
        wanted_list.sort_by_key(Json::to_string);
    }
    found == wanted_list
}

fn names_of_flows(flows: &Json) -> Vec<String> {
    flows
        .as_array()
        .unwrap()
        .iter()
        .map(|flow| flow["UUID"].as_str().unwrap().to_owned())
        .collect()
}

fn texts(list: &Json) -> Vec<String> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap().to_owned())
        .collect()
}

/// Time later than all times in the histories.
const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);
