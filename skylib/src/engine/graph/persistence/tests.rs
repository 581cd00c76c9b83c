use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::engine::graph::shared_graph::SharedGraph;
use crate::graph::{GraphAccess, Metadata, Origin};
use crate::store::{Document, MemoryStore};
use crate::time::{ManualClock, SystemClock};

const NOW: Timestamp = Timestamp::from_ms(1_000);

fn node(id: &str, origin: &str) -> Node {
    let metadata = Metadata::from_iter([("Name", id), ("Type", "device")]);
    Node::new(id, metadata, NOW).with_origin(Origin::from_text(origin))
}

fn edge(id: &str, parent: &str, child: &str) -> Edge {
    let metadata = Metadata::from_iter([("RelationType", "layer2")]);
    Edge::new(id, parent, child, metadata, NOW)
}

/// A store that fails as long as it is told to, and counts how often it was asked.
#[derive(Default)]
struct Disk {
    documents: MemoryStore,
    fails: AtomicBool,
    asked: AtomicUsize,
    /// The time it is asked at which it fails once; 0 for never.
    fails_at: AtomicUsize,
}

impl DocStore for Disk {
    fn get(&self, kind: &str, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.documents.get(kind, id)
    }

    fn list(&self, kind: &str) -> Result<Vec<Document>, StoreError> {
        self.documents.list(kind)
    }

    fn put(&self, kind: &str, id: &str, document: &[u8]) -> Result<(), StoreError> {
        self.documents.put(kind, id, document)
    }

    fn delete(&self, kind: &str, id: &str) -> Result<bool, StoreError> {
        self.documents.delete(kind, id)
    }

    fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let fails_now = asked == self.fails_at.load(Ordering::Relaxed);
        if fails_now || self.fails.load(Ordering::Relaxed) {
            return Err(StoreError::File {
                action: "write",
                path: "graph.redb".into(),
                source: std::io::ErrorKind::StorageFull.into(),
            });
        }
        self.documents.apply(changes)
    }
}

/// A graph with a keeper and its thread.
struct Kept {
    graph: Arc<SharedGraph>,
    keeper: Arc<Keeper>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Kept {
    fn open(disk: &Arc<Disk>) -> Self {
        Self::with_clock(disk, Arc::new(SystemClock))
    }

    fn with_clock(disk: &Arc<Disk>, clock: Arc<dyn Clock>) -> Self {
        let keeper = Arc::new(Keeper::new(Arc::clone(disk) as _));
        let returning = Box::new(ReturningEdges(Arc::clone(&keeper)));
        let graph = SharedGraph::new(Graph::new(), Arc::clone(&clock), vec![returning]);
        let graph = Arc::new(graph.with_keeper(Some(Arc::clone(&keeper))));
        let load = |graph: &mut Graph, _| keeper.load(graph, "agent.own");
        graph.update_as(None, load).unwrap();
        let writer = Arc::clone(&keeper);
        let thread = std::thread::spawn(move || writer.run(&*clock));
        Self {
            graph,
            keeper,
            thread: Some(thread),
        }
    }

    fn ids(&self) -> Vec<String> {
        let mut ids = Vec::new();
        self.graph.read(&mut |graph| {
            ids = graph.nodes().map(|node| node.id.to_string()).collect();
            ids.extend(graph.edges().map(|edge| edge.id.to_string()));
            ids.sort();
        });
        ids
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeper.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn kept(disk: &Disk) -> Vec<String> {
    let kinds = ["node", "edge"].map(|kind| disk.documents.list(kind).unwrap());
    let mut ids: Vec<String> = kinds.into_iter().flatten().map(|(id, _)| id).collect();
    ids.sort();
    ids
}

#[test]
fn what_is_kept_is_followed_whoever_changes_it_and_comes_back() {
    let disk = Arc::new(Disk::default());
    let first = Kept::open(&disk);
    first.graph.update_kept(None, |graph, _| {
        for id in ["a", "b", "c"] {
            graph.add_node(node(id, "")).unwrap();
        }
        graph.add_edge(edge("e", "a", "b")).unwrap();
        graph.add_edge(edge("f", "b", "c")).unwrap();
    });
    first.graph.update_as(None, |graph, now| {
        graph.add_node(node("passing", "")).unwrap();
        let other = Metadata::from_iter([("Name", "new"), ("Type", "device")]);
        graph.set_node_metadata(&"a".into(), other, now).unwrap();
        graph.delete_node(&"c".into(), now).unwrap();
    });
    assert_eq!(first.graph.flush(), Ok(()));
    assert_eq!(kept(&disk), ["a", "b", "e"]);
    assert_eq!(first.keeper.counts(), (2, 1));
    drop(first);
    let second = Kept::open(&disk);
    assert_eq!(second.ids(), ["a", "b", "e"]);
    second.graph.read(&mut |graph| {
        let a = graph.node(&"a".into()).unwrap();
        assert_eq!((a.revision, a.created_at), (2, NOW));
        assert_eq!(a.metadata.get("Name").unwrap().as_text(), Some("new"));
    });
}

#[test]
fn the_end_writes_what_nobody_waited_for() {
    let disk = Arc::new(Disk::default());
    let first = Kept::open(&disk);
    first
        .graph
        .update_kept(None, |graph, _| graph.add_node(node("a", "")).unwrap());
    drop(first);
    assert_eq!(kept(&disk), ["a"]);
}

#[test]
fn much_is_written_in_parts() {
    let disk = Arc::new(Disk::default());
    disk.fails_at.store(2, Ordering::Relaxed);
    let kept_by = Kept::open(&disk);
    let count = 2 * PART + 1;
    kept_by.graph.update_kept(None, |graph, _| {
        for number in 0..count {
            graph.add_node(node(&format!("{number:05}"), "")).unwrap();
        }
    });
    assert!(kept_by.graph.flush().is_err(), "the second part");
    assert_eq!(kept(&disk).len(), PART);
    assert_eq!(kept_by.graph.flush(), Ok(()));
    assert_eq!(disk.asked.load(Ordering::Relaxed), 2 + 3);
    assert_eq!(kept(&disk), kept_by.ids());
    assert_eq!(kept_by.keeper.counts(), (count, 0));
}

#[test]
fn a_disk_that_fails_is_told_and_tried_again() {
    let disk = Arc::new(Disk::default());
    let keeper = Kept::open(&disk);
    disk.fails.store(true, Ordering::Relaxed);
    keeper
        .graph
        .update_kept(None, |graph, _| graph.add_node(node("a", "")).unwrap());
    let text = "cannot write graph.redb: no storage space";
    for _ in 0..3 {
        assert_eq!(keeper.graph.flush(), Err(text.to_owned()));
    }
    assert_eq!(keeper.keeper.problem().as_deref(), Some(text));
    keeper.graph.update_kept(None, |graph, now| {
        graph.add_node(node("b", "")).unwrap();
        graph.delete_node(&"a".into(), now).unwrap();
    });
    disk.fails.store(false, Ordering::Relaxed);
    assert_eq!(keeper.graph.flush(), Ok(()));
    assert_eq!(
        (kept(&disk), keeper.keeper.problem()),
        (vec!["b".to_owned()], None)
    );
}

#[test]
fn many_who_wait_share_one_visit_to_the_disk() {
    let disk = Arc::new(Disk::default());
    let keeper = Kept::open(&disk);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let graph = &keeper.graph;
            scope.spawn(move || {
                for n in 0..50 {
                    let id = format!("{thread}-{n}");
                    graph.update_kept(None, |graph, _| graph.add_node(node(&id, "")).unwrap());
                    assert_eq!(graph.flush(), Ok(()));
                }
            });
        }
    });
    assert_eq!(kept(&disk).len(), 400);
    assert!(disk.asked.load(Ordering::Relaxed) <= 400);
}

#[test]
fn what_belongs_to_the_probes_is_not_brought_back() {
    let disk = Arc::new(Disk::default());
    let first = Kept::open(&disk);
    first.graph.update_kept(None, |graph, _| {
        graph.add_node(node("a", "agent.own")).unwrap();
        graph.add_node(node("b", "agent.other")).unwrap();
    });
    drop(first);
    disk.documents.put("node", "odd", b"{").unwrap();
    assert_eq!(Kept::open(&disk).ids(), ["b"]);
}

#[test]
fn edges_wait_for_nodes_that_others_bring() {
    let disk = Arc::new(Disk::default());
    let first = Kept::open(&disk);
    let add = |kept: &Kept, id: &str| {
        kept.graph
            .update_as(None, |graph, _| graph.add_node(node(id, "")).unwrap());
    };
    add(&first, "a");
    add(&first, "b");
    first.graph.update_kept(None, |graph, _| {
        graph.add_edge(edge("e", "a", "b")).unwrap();
    });
    drop(first);
    let second = Kept::open(&disk);
    assert!(second.ids().is_empty());
    add(&second, "b");
    assert_eq!(second.ids(), ["b"]);
    add(&second, "a");
    assert_eq!(second.ids(), ["a", "b", "e"]);
    drop(second);
    assert_eq!(kept(&disk), ["e"]);
}

#[test]
fn edges_whose_nodes_stay_away_are_forgotten() {
    let disk = Arc::new(Disk::default());
    let json = serde_json::to_vec(&edge("e", "a", "b")).unwrap();
    disk.documents.put("edge", "e", &json).unwrap();
    drop(Kept::open(&disk));
    assert_eq!(kept(&disk), ["e"], "it waits");
    let clock = Arc::new(ManualClock::new(NOW));
    let kept_graph = Kept::with_clock(&disk, Arc::clone(&clock) as _);
    // Whether the thread looks at the clock before this or after, it looks again when it is woken.
    kept_graph
        .graph
        .update_kept(None, |graph, _| graph.add_node(node("n", "")).unwrap());
    assert_eq!(kept_graph.graph.flush(), Ok(()));
    clock.advance(PATIENCE);
    kept_graph
        .graph
        .update_kept(None, |graph, _| graph.add_node(node("o", "")).unwrap());
    assert_eq!(kept_graph.graph.flush(), Ok(()));
    let began = SystemClock.now();
    while kept(&disk) != ["n", "o"] {
        assert!(SystemClock.now().duration_since(began) < Duration::from_secs(20));
        std::thread::yield_now();
    }
}
