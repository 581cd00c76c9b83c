//! The past on the disk is the past in memory, and a replay of all events.

use std::time::Duration;

use proptest::prelude::*;

use super::faulty_disk::FaultyDisk;
use super::{TestFolder, ms, options, slice};
use crate::filter::{Filter, Predicate};
use crate::graph::history::{
    History, HistoryLimits, HistoryStatus, MemoryHistory, PastReader, PastView, ReadBudget,
};
use crate::graph::{
    Direction, Edge, EdgeId, ElementKey, Graph, GraphError, GraphEvent, GraphReader, Metadata,
    MetadataOp, Node, NodeId,
};
use crate::store::history::{HistoryFolder, HistoryOptions, LocalHistory};
use crate::time::{Timestamp, When};
use crate::value::Value;

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Adds a node, or sets its state.
    Node(u8, u8),
    /// Sets the counters of a node.
    Count(u8, u8),
    /// Deletes a node and its edges.
    DeleteNode(u8),
    /// Adds an edge between two nodes, or sets its state.
    Edge(u8, u8, u8),
    DeleteEdge(u8),
    Wait,
    Seal,
    Merge,
    Restart,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..6_u8, 0..4_u8).prop_map(|(node, state)| Step::Node(node, state)),
        4 => (0..6_u8, 0..200_u8).prop_map(|(node, count)| Step::Count(node, count)),
        1 => (0..6_u8).prop_map(Step::DeleteNode),
        3 => (0..4_u8, 0..6_u8, 0..6_u8).prop_map(|(edge, a, b)| Step::Edge(edge, a, b)),
        1 => (0..4_u8).prop_map(Step::DeleteEdge),
        3 => Just(Step::Wait),
        2 => Just(Step::Seal),
        1 => Just(Step::Merge),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
    ]
}

pub(super) fn open(folder: &TestFolder) -> LocalHistory {
    let folder = HistoryFolder::open(&folder.0, options()).unwrap();
    LocalHistory::open(folder, HistoryLimits::default()).unwrap()
}

/// A graph whose events are recorded on the disk and in memory.
pub(super) struct Recorded {
    pub(super) folder: TestFolder,
    pub(super) disk: Option<LocalHistory>,
    memory: MemoryHistory,
    graph: Graph,
    pub(super) now: i64,
}

impl Recorded {
    pub(super) fn new() -> Self {
        Self::on(FaultyDisk::default(), options())
    }

    pub(super) fn on(disk: FaultyDisk, options: HistoryOptions) -> Self {
        let folder = TestFolder::new();
        let opened = HistoryFolder::open_on(std::sync::Arc::new(disk), &folder.0, options);
        let disk = LocalHistory::open(opened.unwrap(), HistoryLimits::default());
        Self {
            disk: Some(disk.unwrap()),
            folder,
            memory: MemoryHistory::new(HistoryLimits::default()),
            graph: Graph::new().with_journal(),
            now: 1000,
        }
    }

    pub(super) fn disk(&self) -> &LocalHistory {
        self.disk.as_ref().unwrap()
    }

    /// Ends the history and opens it again.
    pub(super) fn reopen(&mut self) {
        self.disk = None;
        self.disk = Some(open(&self.folder));
    }

    pub(super) fn apply(&mut self, step: &Step) {
        let now = ms(self.now);
        let id = |node: &u8| NodeId::from(format!("n{node}"));
        match step {
            Step::Node(node, state) => {
                let (id, op) = (id(node), MetadataOp::set("State", i64::from(*state)));
                if self.graph.node(&id).is_some() {
                    self.graph.patch_node(&id, &[op], now).unwrap();
                } else {
                    let names = vec![Value::from(format!("other{node}").as_str())];
                    let metadata = Metadata::from_iter([
                        ("Name", Value::from(id.to_string().as_str())),
                        ("AltNames", Value::from(names)),
                    ]);
                    self.graph.add_node(Node::new(id, metadata, now)).unwrap();
                }
            }
            Step::Count(node, count) => {
                let metric = Metadata::from_iter([
                    ("RxBytes", Value::Int(i64::from(*count))),
                    ("Last", Value::Int(self.now)),
                ]);
                let ops = [
                    MetadataOp::set("LastUpdateMetric", metric.clone()),
                    MetadataOp::set("Metric", metric),
                ];
                drop(self.graph.patch_node(&id(node), &ops, now));
            }
            Step::DeleteNode(node) => drop(self.graph.delete_node(&id(node), now)),
            Step::Edge(edge, a, b) => {
                let edge = EdgeId::from(format!("e{edge}"));
                if self.graph.edge(&edge).is_some() {
                    let op = MetadataOp::set("State", i64::from(*a));
                    self.graph.patch_edge(&edge, &[op], now).unwrap();
                } else {
                    let relation = Metadata::from_iter([("RelationType", "layer2")]);
                    drop(
                        self.graph
                            .add_edge(Edge::new(edge, id(a), id(b), relation, now)),
                    );
                }
            }
            Step::DeleteEdge(edge) => {
                drop(
                    self.graph
                        .delete_edge(&EdgeId::from(format!("e{edge}")), now),
                );
            }
            Step::Wait => self.now += 10,
            Step::Seal => self.disk().seal(),
            Step::Merge => self.disk().compact(now).unwrap(),
            Step::Restart => self.reopen(),
            Step::Kill => {
                self.disk().sync().unwrap();
                let copy = self.folder.copy();
                self.disk = Some(open(&copy));
                self.folder = copy;
            }
        }
        let events = self.graph.take_events();
        self.disk().record(&events, now);
        self.memory.record(&events, now);
    }

    pub(super) fn check(&self, when: When) {
        let on_disk = OnDisk(self.disk());
        let memory = PastView::open(&self.memory, when);
        let wanted = content(&memory);
        let disk = PastView::open(&on_disk, when);
        assert_eq!(content(&disk), wanted, "{when:?}");
        let single = PastView::open(&on_disk, when);
        assert_eq!(parts(&single), parts(&memory), "single reads, {when:?}");
        assert_eq!(content(&single), wanted, "after single reads, {when:?}");
    }
}

/// The past as it is read from the disk, even if it is in memory.
pub(super) struct OnDisk<'a>(pub(super) &'a LocalHistory);

impl History for OnDisk<'_> {
    fn record(&self, events: &[GraphEvent], now: Timestamp) {
        self.0.record(events, now);
    }

    fn expire(&self, now: Timestamp) {
        self.0.expire(now);
    }

    fn status(&self) -> HistoryStatus {
        self.0.status()
    }

    fn open<'a>(&'a self, when: When, budget: &'a dyn ReadBudget) -> Box<dyn PastReader + 'a> {
        self.0.open_disk(when, budget)
    }
}

fn nodes(view: &PastView<'_>, filter: &Filter) -> Vec<String> {
    let filter = ElementKey::compile(filter);
    let found = view.nodes(&filter).map(|node| node.unwrap());
    found
        .map(|node| serde_json::to_string(&*node).unwrap())
        .collect()
}

fn edges(view: &PastView<'_>, filter: &Filter) -> Vec<String> {
    let filter = ElementKey::compile(filter);
    let found = view.edges(&filter).map(|edge| edge.unwrap());
    found
        .map(|edge| serde_json::to_string(&*edge).unwrap())
        .collect()
}

/// Returns what queries that do not read everything find, in an order that does not depend on the
/// source: an element that was deleted and added again may have its old or its new position.
fn parts(view: &PastView<'_>) -> Vec<String> {
    let text = |key: &str, value: &str| Filter::test(key, Predicate::Text(value.into()));
    let mut found = nodes(view, &text("Name", "n1"));
    found.extend(nodes(view, &text("Name", "n1").negate()));
    let state = Filter::test("State", Predicate::Int(1));
    found.extend(nodes(view, &text("Name", "n2").and(state)));
    found.extend(nodes(view, &text("Name", "none")));
    let names = ["Name", "Alias", "AltNames"].map(|key| text(key, "other3"));
    found.extend(nodes(view, &Filter::Any(names.to_vec())));
    found.extend(edges(view, &text("Parent", "n1")));
    found.extend(edges(view, &text("@ID", "e1")));
    for number in 0..7 {
        let id = NodeId::from(format!("n{number}"));
        let Some(node) = view.node_by_id(&id).unwrap() else {
            continue;
        };
        found.push(serde_json::to_string(&*node).unwrap());
        for direction in [Direction::Out, Direction::In, Direction::Both] {
            for neighbor in view.neighbors(std::slice::from_ref(&node), direction) {
                let neighbor = neighbor.unwrap();
                let (edge, other) = (&neighbor.edge, &neighbor.node);
                found.push(format!(
                    "{direction:?} {} {} {}",
                    edge.id, other.id, other.revision
                ));
            }
        }
    }
    found.sort();
    found
}

/// Returns everything that a view has, in an order that does not depend on its source.
fn content(view: &PastView<'_>) -> Vec<String> {
    let all = Filter::everything();
    let mut found = nodes(view, &all);
    let everything = Filter::everything();
    for node in view.nodes(&everything) {
        let node = node.unwrap();
        let neighbors = view.neighbors(std::slice::from_ref(&node), Direction::Both);
        for neighbor in neighbors {
            let neighbor = neighbor.unwrap();
            let (edge, other) = (&neighbor.edge, &neighbor.node);
            found.push(format!(
                "{} {} {} {}",
                node.id, edge.id, other.id, other.revision
            ));
        }
        let first = view.node_by_id(&node.id).unwrap().unwrap();
        found.push(format!("{} {}", first.id, first.revision));
    }
    found.extend(edges(view, &all));
    found.sort();
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn disk_and_memory_are_the_same_past_over_seals_merges_and_restarts(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut recorded = Recorded::new();
        for step in &steps {
            recorded.apply(step);
        }
        for at in (995..recorded.now + 5).step_by(3) {
            recorded.check(When::At(ms(at)));
        }
        for start in (995..recorded.now + 5).step_by(7) {
            recorded.check(When::During(slice(start, start + 30)));
        }
    }
}

pub(super) fn names_at(history: &dyn History, at: i64) -> Vec<String> {
    let all: Filter<ElementKey> = Filter::everything();
    let view = PastView::open(history, When::At(ms(at)));
    let mut names: Vec<String> = view
        .nodes(&all)
        .map(|node| node.unwrap().id.to_string())
        .collect();
    names.sort();
    names
}

#[test]
fn the_past_is_there_after_a_restart_and_what_is_not_recorded_again_is_closed() {
    let mut recorded = Recorded::new();
    recorded.apply(&Step::Node(1, 0));
    recorded.now = 2000;
    recorded.apply(&Step::Node(2, 0));
    recorded.apply(&Step::Restart);
    let disk = recorded.disk.take().unwrap();
    assert_eq!(names_at(&disk, 1500), ["n1"]);
    assert_eq!(names_at(&disk, 2500), ["n1", "n2"]);
    // Only one node is there again.
    disk.maintain(ms(10_000));
    let mut graph = Graph::new().with_journal();
    graph
        .add_node(Node::new("n2", Metadata::new(), ms(11_000)))
        .unwrap();
    disk.record(&graph.take_events(), ms(11_000));
    disk.maintain(ms(69_000));
    assert_eq!(names_at(&disk, 3000), ["n1", "n2"]);
    disk.maintain(ms(70_001));
    assert_eq!(names_at(&disk, 1999), ["n1"]);
    assert_eq!(
        names_at(&disk, 3000),
        ["n2"],
        "closed at the last recorded time"
    );
    assert_eq!(names_at(&disk, 12_000), ["n2"], "from memory");
    let folder = HistoryLimits::default();
    drop(disk);
    let again = LocalHistory::open(
        HistoryFolder::open(&recorded.folder.0, options()).unwrap(),
        folder,
    );
    assert_eq!(names_at(&again.unwrap(), 12_000), ["n2"]);
}

#[test]
fn old_events_are_dropped_and_the_state_before_is_in_a_snapshot() {
    let folder = TestFolder::new();
    let options = options().with_max_age(Duration::from_secs(100));
    let shared = HistoryFolder::open(&folder.0, options).unwrap();
    let history = LocalHistory::open(shared, HistoryLimits::default()).unwrap();
    let mut graph = Graph::new().with_journal();
    for (number, at) in [(1, 1000), (2, 50_000), (3, 90_000)] {
        let name = format!("n{number}");
        graph
            .add_node(Node::new(name, Metadata::new(), ms(at)))
            .unwrap();
        history.record(&graph.take_events(), ms(at));
        history.seal();
    }
    history.maintain(ms(120_000));
    assert_eq!(history.status().oldest, Some(ms(1000)));
    assert_eq!(folder.files("graph", "event.parquet").len(), 2);
    drop(history);
    let shared = HistoryFolder::open(&folder.0, super::options()).unwrap();
    let history = LocalHistory::open(shared, HistoryLimits::default()).unwrap();
    assert_eq!(names_at(&history, 60_000), ["n1", "n2"]);
    assert_eq!(names_at(&history, 95_000), ["n1", "n2", "n3"]);
}

/// Budget that allows a number of polls and a size.
struct Bounded {
    polls: std::cell::Cell<usize>,
    bytes: usize,
}

impl ReadBudget for Bounded {
    fn poll(&self) -> Result<(), GraphError> {
        let left = self.polls.get().checked_sub(1);
        self.polls.set(left.ok_or(GraphError::Interrupted)?);
        Ok(())
    }

    fn hold(&self, bytes: usize) -> Result<(), GraphError> {
        self.poll()?;
        match bytes > self.bytes {
            true => Err(GraphError::PastTooLarge { limit: self.bytes }),
            false => Ok(()),
        }
    }
}

#[test]
fn a_read_ends_with_its_budget_and_the_next_one_is_complete() {
    let folder = TestFolder::new();
    let history = open(&folder);
    let mut graph = Graph::new().with_journal();
    for number in 0..500 {
        let metadata = Metadata::from_iter([("Name", "x".repeat(100).as_str())]);
        let name = format!("n{number}");
        graph.add_node(Node::new(name, metadata, ms(1000))).unwrap();
    }
    history.record(&graph.take_events(), ms(1000));
    history.seal();
    let all: Filter<ElementKey> = Filter::everything();
    let on_disk = OnDisk(&history);
    let count = |polls, bytes| {
        let polls = std::cell::Cell::new(polls);
        let budget = Bounded { polls, bytes };
        PastView::open_within(&on_disk, When::At(ms(1500)), &budget).count_nodes(&all)
    };
    assert_eq!(count(0, usize::MAX), Err(GraphError::Interrupted));
    let small = count(usize::MAX, 10_000);
    assert_eq!(small, Err(GraphError::PastTooLarge { limit: 10_000 }));
    for polls in 1..4 {
        assert_eq!(
            count(polls, usize::MAX),
            Err(GraphError::Interrupted),
            "{polls}"
        );
    }
    assert_eq!(count(usize::MAX, usize::MAX), Ok(500));
    assert_eq!(
        count(0, usize::MAX),
        Err(GraphError::Interrupted),
        "also a stored past"
    );
}

#[test]
fn a_stored_past_learns_of_later_deletions() {
    let mut recorded = Recorded::new();
    recorded.apply(&Step::Node(1, 0));
    recorded.apply(&Step::Node(2, 0));
    recorded.apply(&Step::Edge(1, 1, 2));
    recorded.apply(&Step::Seal);
    let then = When::At(ms(1005));
    recorded.now = 2000;
    recorded.check(then);
    recorded.apply(&Step::Node(1, 3));
    recorded.now = 3000;
    recorded.apply(&Step::DeleteNode(1));
    recorded.check(then);
    recorded.apply(&Step::DeleteNode(2));
    recorded.check(then);
    recorded.apply(&Step::Seal);
    recorded.check(then);
    recorded.check(When::During(slice(1000, 2500)));
}
