//! The past equals a replay of the events, as far as it is stored.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::filter::Filter;
use crate::graph::tests::proptests::{Step, apply, filters, graph, step};
use crate::graph::{ElementKey, Graph, GraphReader as _, GraphView, Metadata, MetadataOp, NodeRef};
use crate::time::TimeSlice;

/// Steps with the number of ticks since the previous one.
type Script = Vec<(i64, Step)>;

/// Milliseconds between two ticks; nothing changes between them.
const TICK: i64 = 10;

fn script() -> impl Strategy<Value = Script> {
    proptest::collection::vec((0..3_i64, step()), 1..80)
}

fn ms(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

/// Returns the steps with their times.
fn timed(script: &Script) -> Vec<(i64, &Step)> {
    let mut at = 100 * TICK;
    let mut timed = Vec::new();
    for (ticks, step) in script {
        at += ticks * TICK;
        timed.push((at, step));
    }
    timed
}

fn replay(script: &Script, until: i64) -> Graph {
    let mut graph = graph();
    for (at, step) in timed(script).iter().take_while(|(at, _)| *at <= until) {
        apply(&mut graph, step, ms(*at));
    }
    graph
}

fn record(script: &Script, history: &dyn History) {
    let mut graph = graph();
    for (at, step) in timed(script) {
        apply(&mut graph, step, ms(at));
        history.record(&graph.take_events(), ms(at));
    }
}

/// Returns all times of changes, a time between each two of them, and one beyond.
fn moments(script: &Script) -> BTreeSet<i64> {
    let happens = timed(script).into_iter().map(|(at, _)| at);
    happens.flat_map(|at| [at - 1, at, at + 1]).collect()
}

fn key(node: &Node) -> (String, i64, Metadata) {
    (node.id.to_string(), node.revision, node.metadata.clone())
}

fn key_of_edge(edge: &Edge) -> (String, i64, Metadata) {
    (edge.id.to_string(), edge.revision, edge.metadata.clone())
}

fn all() -> Filter<ElementKey> {
    Filter::everything()
}

fn nodes_of(view: &PastView<'_>, filter: &Filter<ElementKey>) -> Vec<NodeRef> {
    view.nodes(filter).collect::<Result<_, _>>().unwrap()
}

fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    items.sort();
    items
}

/// Asserts that the past at an instant without changes is the graph of that instant.
fn assert_same(past: &PastView<'_>, then: &Graph) {
    let live = GraphView::open(then);
    for filter in filters() {
        let expected = live.nodes(&filter).collect::<Result<Vec<_>, _>>().unwrap();
        let found = nodes_of(past, &filter);
        let names = |nodes: &[NodeRef]| sorted(nodes.iter().map(|n| format!("{:?}", key(n))));
        assert_eq!(names(&found), names(&expected), "{filter:?}");
        assert_eq!(past.count_nodes(&filter).unwrap(), expected.len());
        let edges = live.count_edges(&filter).unwrap();
        assert_eq!(past.count_edges(&filter).unwrap(), edges, "{filter:?}");
    }
    for direction in [Direction::Out, Direction::In, Direction::Both] {
        for node in nodes_of(past, &all()) {
            let expected = then.edges_of(&node.id, direction);
            let expected = expected.map(|(e, n)| format!("{:?} {:?}", key_of_edge(e), key(n)));
            let found = past.neighbors(std::slice::from_ref(&node), direction);
            let found = found.map(|neighbor| {
                let neighbor = neighbor.unwrap();
                let (edge, other) = (&neighbor.edge, &neighbor.node);
                format!("{:?} {:?}", key_of_edge(edge), key(other))
            });
            let found: Vec<String> = found.collect();
            assert_eq!(sorted(found.clone()), sorted(expected), "{}", node.id);
            let hops = past.hops(&[node.index()], direction).count();
            assert_eq!(hops, found.len());
        }
    }
}

/// Returns the revisions according to a simple log: id, revision, from, to.
fn naive_nodes(script: &Script) -> Vec<(String, i64, i64, i64)> {
    let mut log: Vec<(String, i64, i64, i64)> = Vec::new();
    let mut graph = graph();
    for (at, step) in timed(script) {
        apply(&mut graph, step, ms(at));
        for event in graph.take_events() {
            let (node, goes) = match &event {
                GraphEvent::NodeAdded(node) | GraphEvent::NodeUpdated { node, .. } => (node, false),
                GraphEvent::NodeDeleted(node) => (node, true),
                _ => continue,
            };
            let id = node.id.to_string();
            let open = |entry: &&mut (String, i64, i64, i64)| entry.0 == id && entry.3 == i64::MAX;
            if let Some(former) = log.iter_mut().find(open) {
                former.3 = at;
            }
            if !goes {
                log.push((id, node.revision, at, i64::MAX));
            }
        }
    }
    log
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_graph_as_of_any_time_is_a_replay_up_to_it(script in script()) {
        let history = MemoryHistory::new(HistoryLimits::default());
        record(&script, &history);
        for moment in moments(&script) {
            let past = PastView::open(&history, When::At(ms(moment)));
            let then = replay(&script, moment);
            if moment % TICK != 0 {
                assert_same(&past, &then);
                continue;
            }
            // An element that is deleted at this instant still exists.
            let before = replay(&script, moment - 1);
            let goes: BTreeSet<_> = naive_nodes(&script)
                .into_iter()
                .filter(|(_, _, _, to)| *to == moment)
                .map(|(id, ..)| id)
                .collect();
            let wanted: BTreeSet<String> = then
                .nodes()
                .chain(before.nodes().filter(|n| goes.contains(&n.id.to_string())))
                .map(|n| n.id.to_string())
                .chain(goes.iter().cloned())
                .collect();
            let found: Vec<String> =
                nodes_of(&past, &all()).iter().map(|n| n.id.to_string()).collect();
            prop_assert_eq!(found.len(), wanted.len(), "one revision of each");
            prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted);
        }
    }

    #[test]
    fn a_slice_has_every_revision_that_touches_it(
        script in script(),
        start in 90..200_i64,
        ticks in 0..60_i64,
    ) {
        let history = MemoryHistory::new(HistoryLimits::default());
        record(&script, &history);
        let (start, last) = (start * TICK, (start + ticks) * TICK);
        let slice = TimeSlice { start: ms(start), last: ms(last) };
        let past = PastView::open(&history, When::During(slice));
        let found = nodes_of(&past, &all());
        let updates: Vec<i64> = found.iter().map(|node| node.updated_at.as_ms()).collect();
        prop_assert!(updates.is_sorted());
        let expected = naive_nodes(&script)
            .into_iter()
            .filter(|(_, _, from, to)| *from <= last && *to >= start)
            .map(|(id, revision, from, _)| (id, revision, from));
        let of = |n: &NodeRef| (n.id.to_string(), n.revision, n.updated_at.as_ms());
        prop_assert_eq!(sorted(found.iter().map(of)), sorted(expected));
        for node in &found {
            let first = past.identities().of(node.index());
            let same = found.iter().filter(|n| past.identities().of(n.index()) == first);
            prop_assert!(same.clone().all(|n| n.id == node.id));
            prop_assert_eq!(same.count(), found.iter().filter(|n| n.id == node.id).count());
        }
    }

    #[test]
    fn bounds_hold_and_what_is_left_is_whole(
        script in script(),
        max_bytes in 200..8000_usize,
        max_ticks in 1..60_u64,
    ) {
        let max_age = Duration::from_millis(max_ticks * TICK as u64);
        let limits = HistoryLimits::default().with_max_age(max_age).with_max_bytes(max_bytes);
        let history = MemoryHistory::new(limits);
        let unbounded = MemoryHistory::new(HistoryLimits::default());
        record(&script, &unbounded);
        let mut graph = graph();
        for (at, step) in timed(&script) {
            apply(&mut graph, step, ms(at));
            history.record(&graph.take_events(), ms(at));
            history.expire(ms(at));
            prop_assert!(history.status().bytes <= max_bytes);
        }
        let status = history.status();
        let total = unbounded.status().revisions;
        prop_assert_eq!(status.revisions + status.evicted as usize, total);
        let Some(oldest) = status.oldest else { return Ok(()) };
        for moment in moments(&script) {
            if moment % TICK != 0 && ms(moment) > oldest {
                let past = PastView::open(&history, When::At(ms(moment)));
                assert_same(&past, &replay(&script, moment));
            }
        }
        let end = timed(&script).last().map_or(0, |(at, _)| *at);
        history.expire(ms(end + 100_000));
        let status = history.status();
        prop_assert_eq!((status.revisions, status.bytes), (0, 0));
        let past = PastView::open(&history, When::At(ms(end + 1)));
        assert_same(&past, &replay(&script, end));
    }

    #[test]
    fn a_reader_sees_what_was_recorded_when_it_came(script in script(), later in script()) {
        let history = MemoryHistory::new(HistoryLimits::default());
        record(&script, &history);
        let end = timed(&script).last().map_or(0, |(at, _)| *at);
        let far = When::At(ms(end + 1_000_000));
        let before = PastView::open(&history, far);
        let mut graph = replay(&script, end);
        graph.take_events();
        for (ticks, step) in &later {
            let at = ms(end + ticks * TICK);
            apply(&mut graph, step, at);
            history.record(&graph.take_events(), at);
        }
        assert_same(&before, &replay(&script, end));
        assert_same(&PastView::open(&history, far), &graph);
    }
}

#[test]
fn past_values_are_found_by_the_index() {
    let history = MemoryHistory::new(HistoryLimits::default());
    let mut graph = Graph::new().with_journal();
    for number in 0..100 {
        let name = format!("eth{number}");
        let metadata = Metadata::from_iter([("Name", name.as_str()), ("Type", "device")]);
        graph.add_node(Node::new(name, metadata, ms(10))).unwrap();
    }
    history.record(&graph.take_events(), ms(10));
    let renamed = [
        MetadataOp::set("Name", "uplink"),
        MetadataOp::set("MTU", 9000),
    ];
    graph
        .patch_node(&NodeId::from("eth7"), &renamed, ms(20))
        .unwrap();
    graph.delete_node(&NodeId::from("eth8"), ms(20)).unwrap();
    history.record(&graph.take_events(), ms(20));
    let named = |name: &str| {
        ElementKey::compile(&Filter::test(
            "Name",
            crate::filter::Predicate::Text(name.into()),
        ))
    };
    let at = |at: i64, name: &str| {
        let past = PastView::open(&history, When::At(ms(at)));
        let index = past.index_for(&named(name)).unwrap();
        let index = index.map(|index| (index.key.to_string(), index.estimate));
        (index, nodes_of(&past, &named(name)).len())
    };
    let by_name = |count| Some(("Name".to_owned(), count));
    assert_eq!(at(15, "eth7"), (by_name(1), 1));
    assert_eq!(at(25, "eth7"), (by_name(1), 0), "the name was changed");
    assert_eq!(at(25, "uplink"), (by_name(1), 1));
    assert_eq!(at(15, "eth8"), (by_name(1), 1));
    assert_eq!(at(25, "nobody"), (by_name(0), 0));
    let devices = ElementKey::compile(&Filter::test(
        "Type",
        crate::filter::Predicate::Text("device".into()),
    ));
    let past = PastView::open(&history, When::At(ms(15)));
    assert_eq!(
        past.index_for(&devices).unwrap(),
        None,
        "an index that finds most nodes is not used"
    );
    assert_eq!(nodes_of(&past, &devices).len(), 100);
    drop(past);
    // Dropped revisions are not found, neither directly nor by the index.
    history.expire(ms(20).saturating_add(Duration::from_secs(1_000_000)));
    assert_eq!(at(25, "eth7"), (by_name(0), 0));
    assert_eq!(at(25, "eth8"), (by_name(0), 0));
    assert_eq!(at(25, "uplink"), (by_name(1), 1));
}

#[test]
fn a_reader_that_holds_too_much_expires() {
    let history = MemoryHistory::new(HistoryLimits::default().with_max_bytes(10_000));
    let mut graph = Graph::new().with_journal();
    graph
        .add_node(Node::new("n", Metadata::new(), ms(1)))
        .unwrap();
    history.record(&graph.take_events(), ms(1));
    let past = PastView::open(&history, When::At(ms(1)));
    for at in 2..1000 {
        let op = MetadataOp::set("K", at);
        graph.patch_node(&NodeId::from("n"), &[op], ms(at)).unwrap();
        history.record(&graph.take_events(), ms(at));
        assert!(history.status().bytes <= 12_500);
    }
    let found = past.node_by_id(&NodeId::from("n"));
    assert_eq!(found.unwrap_err(), GraphError::ViewExpired);
    assert_eq!(history.status().expired_readers, 1);
    drop(past);
    let past = PastView::open(&history, When::At(ms(999)));
    let node = past.node_by_id(&NodeId::from("n")).unwrap().unwrap();
    assert_eq!(node.metadata.get("K"), Some(&999.into()));
}

#[test]
fn clocks_that_disagree_leave_no_hole() {
    let history = MemoryHistory::new(HistoryLimits::default());
    let mut graph = Graph::new().with_journal();
    let id = NodeId::from("n");
    graph
        .add_node(Node::new("n", Metadata::new(), ms(5000)))
        .unwrap();
    // The clock of the publisher is behind.
    for (revision, at) in [(2, 3000), (3, 4000), (4, 7000)] {
        let op = MetadataOp::set("K", revision);
        graph.sync_patch_node(&id, revision, ms(at), &[op]).unwrap();
    }
    history.record(&graph.take_events(), ms(6000));
    let revision = |at| {
        let past = PastView::open(&history, When::At(ms(at)));
        past.node_by_id(&id).unwrap().map(|node| node.revision)
    };
    let found: Vec<_> = [4999, 5000, 6000, 7000, 9000].map(revision).into();
    assert_eq!(found, [None, Some(3), Some(3), Some(4), Some(4)]);
}

#[test]
fn an_edge_id_reused_between_other_nodes_is_found_at_its_old_ends() {
    let history = MemoryHistory::new(HistoryLimits::default());
    let mut graph = Graph::new().with_journal();
    for id in ["a", "b", "c"] {
        graph
            .add_node(Node::new(id, Metadata::new(), ms(1)))
            .unwrap();
    }
    let edge = |child: &str, at| Edge::new("e", "a", child, Metadata::new(), ms(at));
    graph.add_edge(edge("b", 10)).unwrap();
    graph.delete_edge(&EdgeId::from("e"), ms(20)).unwrap();
    graph.add_edge(edge("c", 30)).unwrap();
    history.record(&graph.take_events(), ms(30));
    let neighbours = |from: &str, at| {
        let past = PastView::open(&history, When::At(ms(at)));
        let from = past.node_by_id(&NodeId::from(from)).unwrap().unwrap();
        let from = [from];
        let found = past.neighbors(&from, Direction::Both);
        found
            .map(|neighbor| neighbor.unwrap().node.id.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(neighbours("a", 15), ["b"]);
    assert_eq!(neighbours("b", 15), ["a"]);
    assert!(neighbours("a", 25).is_empty());
    assert_eq!(neighbours("a", 35), ["c"]);
    assert!(neighbours("b", 35).is_empty());
}
