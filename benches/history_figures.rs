//! Measurements of the history on disk with a stream of records, for `peers/history.py`, which
//! compares them with databases.
//!
//! `cargo bench --bench history_figures -- STREAM TRUTH FOLDER` loads a stream of flow records, or of
//! graph messages, one JSON object per line, into an empty folder, and asks the questions whose
//! answers the truth file has. It prints one line for each measurement: CPU time of one thread, and
//! whether the answer is right. The clock of the store follows the records.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;
use skylib::filter::{Filter, Predicate};
use skylib::flow::{Flow, FlowField, FlowQuery, SortOrder};
use skylib::graph::history::{History, HistoryLimits, PastView};
use skylib::graph::{ElementKey, Graph, GraphReader, NodeId};
use skylib::proto::{Encoding, GraphMessage, Message};
use skylib::store::FlowStore;
use skylib::store::history::{HistoryFolder, HistoryOptions, LocalFlowStore, LocalHistory};
use skylib::time::{TimeSlice, Timestamp, When};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let [stream, truth, folder] = &arguments[..] else {
        eprintln!("usage: history_figures STREAM TRUTH FOLDER");
        return;
    };
    let truth = std::fs::read(truth).unwrap();
    let truth: Value = serde_json::from_slice(&truth).unwrap();
    let options = HistoryOptions::default()
        .with_max_age(Duration::from_secs(31 * 86_400))
        .with_max_bytes(1 << 40)
        .with_min_free(Some(0));
    let folder = HistoryFolder::open(Path::new(folder), options).unwrap();
    let lines = BufReader::with_capacity(1 << 20, File::open(stream).unwrap()).lines();
    let lines = lines.map(Result::unwrap);
    match truth["kind"].as_str() {
        Some("flows") => flows(folder, lines, &truth),
        _ => topology(folder, lines, &truth),
    }
}

/// Returns the CPU time of this thread, in milliseconds.
fn cpu_ms() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32).as_secs_f64() * 1e3
}

fn print(what: &str, ms: f64, note: &str) {
    println!("{:<11} {what:<25} {ms:>9.1} ms cpu {note}", "skyd");
}

/// Measures the best of three runs, and compares the answer with the right one.
fn ask<T: PartialEq + std::fmt::Debug>(what: &str, right: Option<&T>, mut run: impl FnMut() -> T) {
    let mut best = f64::MAX;
    let mut answer = None;
    for _ in 0..3 {
        let began = cpu_ms();
        answer = Some(run());
        best = best.min(cpu_ms() - began);
    }
    let note = match right {
        Some(right) if answer.as_ref() != Some(right) => format!(" WRONG: {answer:?}"),
        _ => String::new(),
    };
    print(what, best, &note);
}

/// Returns the maximum memory of the process so far, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    let kib = line.split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() / 1024
}

fn bytes_below(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).unwrap().flatten();
    let sizes = entries.map(|entry| match entry.path().is_dir() {
        true => bytes_below(&entry.path()),
        false => entry.metadata().unwrap().len(),
    });
    sizes.sum()
}

fn loaded(records: usize, ms: f64, path: &Path) {
    let bytes = bytes_below(path) as f64;
    let count = records as f64;
    let note = format!(
        "{:.0} rows/cpu-s  {:.2} us/row  {:.1} B/row  rss {} MB",
        count / ms * 1e3,
        ms * 1e3 / count,
        bytes / count,
        peak_mib()
    );
    print("load", ms, &note);
}

fn flows(folder: Arc<HistoryFolder>, lines: impl Iterator<Item = String>, truth: &Value) {
    let path = folder.path().join("flow");
    let store = LocalFlowStore::open(folder).unwrap();
    let (mut records, mut ms, mut tidied) = (0, 0.0, 0);
    let mut batch: Vec<Flow> = Vec::with_capacity(BATCH);
    let mut put = |batch: &mut Vec<Flow>| {
        let last = batch.last().and_then(|flow| flow.last_update_metric);
        let now = Timestamp::from_ms(last.map_or(0, |metric| metric.last));
        records += batch.len();
        let began = cpu_ms();
        store.put(std::mem::take(batch), now);
        if now.as_ms() - tidied >= 1000 {
            tidied = now.as_ms();
            store.maintain(now);
        }
        ms += cpu_ms() - began;
    };
    for line in lines {
        batch.push(serde_json::from_str(&line).unwrap());
        if batch.len() == BATCH {
            put(&mut batch);
        }
    }
    put(&mut batch);
    let began = cpu_ms();
    store.seal();
    let end = truth["end"].as_i64().unwrap();
    store.maintain(Timestamp::from_ms(end + 3_700_000));
    ms += cpu_ms() - began;
    loaded(records, ms, &path);
    flow_queries(&store, truth);
}

fn flow_queries(store: &LocalFlowStore, truth: &Value) {
    let number = |key: &str| truth[key].as_i64().unwrap();
    let time = |from: i64, to: i64| TimeSlice {
        start: Timestamp::from_ms(from),
        last: Timestamp::from_ms(to),
    };
    let (begin, hour, end) = (number("begin"), number("hour"), number("end"));
    let last_hour = time(hour + 1, end);
    let all = time(begin, end);
    let of_address = |key: &str, time: TimeSlice| {
        let address = Predicate::Text(truth[key].as_str().unwrap().into());
        let ends = ["Network.A", "Network.B"];
        let ends = ends.map(|end| Filter::test(end, address.clone()));
        let query = FlowQuery::default()
            .with_filter(Filter::Any(ends.to_vec()))
            .with_time(time);
        store.query(&query).unwrap().flows.len()
    };
    ask("busy ip, 1 h", None, || of_address("busy_ip", last_hour));
    ask("rare ip, 1 h", None, || of_address("rare_ip", last_hour));
    ask("rare ip, all", None, || of_address("rare_ip", all));
    let series = &truth["series"];
    let uuid = series["uuid"].as_str().unwrap();
    let right = (
        series["metrics"].as_i64().unwrap(),
        series["ab_bytes"].as_i64().unwrap(),
    );
    ask("series of a flow", Some(&right), || {
        let found = store.metrics(&[uuid.into()], time(0, end));
        let metrics = found.iter().flat_map(|(_, metrics)| metrics);
        metrics.fold((0, 0), |(count, bytes), metric| {
            (count + 1, bytes + metric.ab_bytes)
        })
    });
    let flows = number("flows").unsigned_abs();
    ask("count flows", Some(&flows), || {
        let query = FlowQuery::default().with_time(time(0, end));
        store.count(&query).unwrap()
    });
    ask("top 10 flows, 1 h", Some(&10), || {
        let field = FlowField::parse("Metric.ABBytes").unwrap();
        let query = FlowQuery::default()
            .with_time(last_hour)
            .with_sort(field, SortOrder::Descending)
            .with_range(0, 10);
        store.query(&query).unwrap().flows.len()
    });
}

fn topology(folder: Arc<HistoryFolder>, lines: impl Iterator<Item = String>, truth: &Value) {
    let path = folder.path().join("graph");
    let memory = HistoryLimits::default().with_max_bytes(64 << 20);
    let history = LocalHistory::open(folder, memory).unwrap();
    let mut graph = Graph::new().with_journal();
    let (mut events, mut ms, mut tidied, mut now) = (0, 0.0, 0, 0);
    for (number, line) in lines.enumerate() {
        now = apply(&mut graph, &line).unwrap_or(now);
        if number % BATCH != 0 {
            continue;
        }
        let pending = graph.take_events();
        events += pending.len();
        let began = cpu_ms();
        history.record(&pending, Timestamp::from_ms(now));
        if now - tidied >= 1000 {
            tidied = now;
            history.maintain(Timestamp::from_ms(now));
        }
        ms += cpu_ms() - began;
    }
    let pending = graph.take_events();
    events += pending.len();
    let began = cpu_ms();
    history.record(&pending, Timestamp::from_ms(now));
    history.seal();
    history.maintain(Timestamp::from_ms(now + 3_700_000));
    ms += cpu_ms() - began;
    loaded(events, ms, &path);
    topology_queries(&history, truth);
}

/// Applies a message to the graph. Returns its time, in Unix milliseconds.
fn apply(graph: &mut Graph, line: &str) -> Option<i64> {
    let value: Value = serde_json::from_str(line).unwrap();
    let mut message = value.clone();
    message["Namespace"] = "Graph".into();
    let message = Bytes::from(message.to_string());
    let message = Message::decode(&message, Encoding::Json).unwrap();
    let deleted = value["Obj"]["DeletedAt"].as_i64();
    let at = deleted.or_else(|| value["Obj"]["UpdatedAt"].as_i64());
    let time = Timestamp::from_ms(at.unwrap_or_default());
    match GraphMessage::decode(&message).unwrap()? {
        GraphMessage::NodeAdded(node) => drop(graph.add_node(node)),
        GraphMessage::EdgeAdded(edge) => drop(graph.add_edge(edge)),
        GraphMessage::NodePartiallyUpdated(update) => {
            drop(graph.patch_node(&update.id, &update.ops, time));
        }
        GraphMessage::NodeDeleted(node) => drop(graph.delete_node(&node.id, time)),
        GraphMessage::EdgeDeleted(edge) => drop(graph.delete_edge(&edge.id, time)),
        other => panic!("{other:?}"),
    }
    at
}

fn topology_queries(history: &LocalHistory, truth: &Value) {
    let middle = &truth["middle"];
    let at = middle["at"].as_i64().unwrap();
    let right = middle["nodes"].as_u64().map(|nodes| nodes as usize);
    let everything: Filter<ElementKey> = Filter::everything();
    // Different milliseconds, because a time that was restored is stored.
    let mut moments = (at..).map(|ms| When::At(Timestamp::from_ms(ms)));
    let mut next = || moments.next().unwrap();
    ask("nodes as of the middle", None, || {
        PastView::open(history, next())
            .count_nodes(&everything)
            .unwrap()
    });
    ask("the same, stored", right.as_ref(), || {
        let when = When::At(Timestamp::from_ms(at));
        PastView::open(history, when)
            .count_nodes(&everything)
            .unwrap()
    });
    let typed = Filter::test("Type", Predicate::Text("bridge".into()));
    let typed = ElementKey::compile(&typed);
    ask("bridges as of the middle", None, || {
        PastView::open(history, next()).count_nodes(&typed).unwrap()
    });
    let id = NodeId::from(truth["node"].as_str().unwrap());
    ask("a node as of the middle", Some(&true), || {
        PastView::open(history, next())
            .node_by_id(&id)
            .unwrap()
            .is_some()
    });
    let text = truth["node"].as_str().unwrap();
    let of_node = Filter::test("@ID", Predicate::Text(text.into()));
    let of_node = ElementKey::compile(&of_node);
    let revisions = truth["node_revisions"].as_u64().map(|count| count as usize);
    ask("history of a node", revisions.as_ref(), || {
        let slice = TimeSlice {
            start: Timestamp::from_ms(truth["begin"].as_i64().unwrap()),
            last: Timestamp::from_ms(truth["end"].as_i64().unwrap()),
        };
        PastView::open(history, When::During(slice))
            .count_nodes(&of_node)
            .unwrap()
    });
}

/// Number of records that are recorded together.
const BATCH: usize = 5000;
