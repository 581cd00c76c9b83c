use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::engine::graph::SharedGraph;
use crate::graph::{GraphAccess, Metadata, Origin};
use crate::store::{Document, MemoryDocStore};
use crate::time::SystemClock;

const NOW: Timestamp = Timestamp::from_ms(1_000);

fn node(id: &str, origin: &str) -> Node {
    let metadata = Metadata::from_iter([("Name", id), ("Type", "device")]);
    Node::new(id, metadata, NOW).with_origin(Origin::from_text(origin))
}

fn edge(id: &str, parent: &str, child: &str) -> Edge {
    let metadata = Metadata::from_iter([("RelationType", "layer2")]);
    Edge::new(id, parent, child, metadata, NOW)
}

/// A store that fails while `fails` is set, and counts the writes.
#[derive(Default)]
struct Disk {
    documents: MemoryDocStore,
    fails: AtomicBool,
    writes: AtomicUsize,
    /// Number of the write that fails, 0 for none.
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

    fn apply(&self, changes: &[DocumentChange]) -> Result<(), StoreError> {
        let write = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
        let fails_now = write == self.fails_at.load(Ordering::Relaxed);
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

/// A graph with a persister and its thread.
struct Persisted {
    graph: Arc<SharedGraph>,
    persister: Arc<GraphPersister>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Persisted {
    fn open(disk: &Arc<Disk>) -> Self {
        let persister = Arc::new(GraphPersister::new(Arc::clone(disk) as _));
        let orphans = Box::new(OrphanEdgeProcessor(Arc::clone(&persister)));
        let graph = SharedGraph::new(Graph::new(), Arc::new(SystemClock), vec![orphans]);
        let graph = Arc::new(graph.with_persister(Some(Arc::clone(&persister))));
        let load = |graph: &mut Graph, _| persister.load(graph, "agent.own");
        graph.update_as(None, load).unwrap();
        let writer = Arc::clone(&persister);
        let thread = std::thread::spawn(move || writer.run());
        Self {
            graph,
            persister,
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

impl Drop for Persisted {
    fn drop(&mut self) {
        self.persister.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn stored(disk: &Disk) -> Vec<String> {
    let kinds = ["node", "edge"].map(|kind| disk.documents.list(kind).unwrap());
    let mut ids: Vec<String> = kinds.into_iter().flatten().map(|(id, _)| id).collect();
    ids.sort();
    ids
}

#[test]
fn changes_of_persistent_elements_by_anybody_survive_a_restart() {
    let disk = Arc::new(Disk::default());
    let first = Persisted::open(&disk);
    first.graph.update_persistent(None, |graph, _| {
        for id in ["a", "b", "c"] {
            graph.add_node(node(id, "")).unwrap();
        }
        graph.add_edge(edge("e", "a", "b")).unwrap();
        graph.add_edge(edge("f", "b", "c")).unwrap();
    });
    first.graph.update_as(None, |graph, now| {
        graph.add_node(node("transient", "")).unwrap();
        let other = Metadata::from_iter([("Name", "new"), ("Type", "device")]);
        graph.set_node_metadata(&"a".into(), other, now).unwrap();
        graph.delete_node(&"c".into(), now).unwrap();
    });
    assert_eq!(first.graph.flush(), Ok(()));
    assert_eq!(stored(&disk), ["a", "b", "e"]);
    assert_eq!(first.persister.counts(), (2, 1));
    drop(first);
    let second = Persisted::open(&disk);
    assert_eq!(second.ids(), ["a", "b", "e"]);
    second.graph.read(&mut |graph| {
        let a = graph.node(&"a".into()).unwrap();
        assert_eq!((a.revision, a.created_at), (2, NOW));
        assert_eq!(a.metadata.get("Name").unwrap().as_text(), Some("new"));
    });
}

#[test]
fn pending_changes_are_written_at_the_end() {
    let disk = Arc::new(Disk::default());
    let first = Persisted::open(&disk);
    first
        .graph
        .update_persistent(None, |graph, _| graph.add_node(node("a", "")).unwrap());
    drop(first);
    assert_eq!(stored(&disk), ["a"]);
}

#[test]
fn a_large_batch_is_written_in_chunks() {
    let disk = Arc::new(Disk::default());
    disk.fails_at.store(2, Ordering::Relaxed);
    let graph = Persisted::open(&disk);
    let count = 2 * CHUNK_ELEMENTS + 1;
    graph.graph.update_persistent(None, |graph, _| {
        for number in 0..count {
            graph.add_node(node(&format!("{number:05}"), "")).unwrap();
        }
    });
    assert!(graph.graph.flush().is_err(), "the second chunk");
    assert_eq!(stored(&disk).len(), CHUNK_ELEMENTS);
    assert_eq!(graph.graph.flush(), Ok(()));
    assert_eq!(disk.writes.load(Ordering::Relaxed), 2 + 3);
    assert_eq!(stored(&disk), graph.ids());
    assert_eq!(graph.persister.counts(), (count, 0));
}

#[test]
fn a_failed_write_is_reported_and_retried() {
    let disk = Arc::new(Disk::default());
    let persister = Persisted::open(&disk);
    disk.fails.store(true, Ordering::Relaxed);
    persister
        .graph
        .update_persistent(None, |graph, _| graph.add_node(node("a", "")).unwrap());
    let text = "cannot write graph.redb: no storage space";
    for _ in 0..3 {
        assert_eq!(persister.graph.flush(), Err(text.to_owned()));
    }
    assert_eq!(persister.persister.problem().as_deref(), Some(text));
    persister.graph.update_persistent(None, |graph, now| {
        graph.add_node(node("b", "")).unwrap();
        graph.delete_node(&"a".into(), now).unwrap();
    });
    disk.fails.store(false, Ordering::Relaxed);
    assert_eq!(persister.graph.flush(), Ok(()));
    assert_eq!(
        (stored(&disk), persister.persister.problem()),
        (vec!["b".to_owned()], None)
    );
}

#[test]
fn concurrent_flushes_share_writes() {
    let disk = Arc::new(Disk::default());
    let persister = Persisted::open(&disk);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let graph = &persister.graph;
            scope.spawn(move || {
                for n in 0..50 {
                    let id = format!("{thread}-{n}");
                    graph
                        .update_persistent(None, |graph, _| graph.add_node(node(&id, "")).unwrap());
                    assert_eq!(graph.flush(), Ok(()));
                }
            });
        }
    });
    assert_eq!(stored(&disk).len(), 400);
    assert!(disk.writes.load(Ordering::Relaxed) <= 400);
}

#[test]
fn elements_of_the_probes_are_not_restored() {
    let disk = Arc::new(Disk::default());
    let first = Persisted::open(&disk);
    first.graph.update_persistent(None, |graph, _| {
        graph.add_node(node("a", "agent.own")).unwrap();
        graph.add_node(node("b", "agent.other")).unwrap();
    });
    drop(first);
    disk.documents.put("node", "odd", b"{").unwrap();
    assert_eq!(Persisted::open(&disk).ids(), ["b"]);
}

#[test]
fn edges_wait_for_nodes_that_are_not_persistent() {
    let disk = Arc::new(Disk::default());
    let first = Persisted::open(&disk);
    let add = |graph: &Persisted, id: &str| {
        graph
            .graph
            .update_as(None, |graph, _| graph.add_node(node(id, "")).unwrap());
    };
    add(&first, "a");
    add(&first, "b");
    first.graph.update_persistent(None, |graph, _| {
        graph.add_edge(edge("e", "a", "b")).unwrap();
    });
    drop(first);
    let second = Persisted::open(&disk);
    assert!(second.ids().is_empty());
    add(&second, "b");
    assert_eq!(second.ids(), ["b"]);
    add(&second, "a");
    assert_eq!(second.ids(), ["a", "b", "e"]);
    drop(second);
    assert_eq!(stored(&disk), ["e"]);
}

#[test]
fn edges_of_a_discovered_node_return_with_it() {
    let disk = Arc::new(Disk::default());
    let graph = Persisted::open(&disk);
    let add = |id: &str| {
        let add = |graph: &mut Graph, _| graph.add_node(node(id, "agent.own")).unwrap();
        graph.graph.update_as(None, add);
    };
    let delete = |id: &str| {
        let delete = |graph: &mut Graph, now| graph.delete_node(&id.into(), now).unwrap();
        graph.graph.update_as(None, delete);
    };
    graph.graph.update_persistent(None, |graph, _| {
        graph.add_node(node("port", "")).unwrap();
    });
    add("eth0");
    graph.graph.update_persistent(None, |graph, _| {
        graph.add_edge(edge("e", "port", "eth0")).unwrap();
        graph.add_edge(edge("f", "eth0", "port")).unwrap();
    });
    delete("eth0");
    assert_eq!(
        (graph.ids(), graph.persister.waiting()),
        (vec!["port".to_owned()], 2)
    );
    assert_eq!(graph.graph.flush(), Ok(()));
    assert_eq!(stored(&disk), ["e", "f", "port"], "they wait");
    add("eth0");
    assert_eq!(graph.ids(), ["e", "eth0", "f", "port"]);
    assert_eq!(graph.persister.waiting(), 0);

    // A client deletes an edge, or the node that it has added.
    delete("eth0");
    assert!(graph.graph.delete_waiting(&"f".into()));
    assert!(!graph.graph.delete_waiting(&"f".into()));
    add("eth0");
    assert_eq!(graph.ids(), ["e", "eth0", "port"]);
    delete("eth0");
    assert_eq!(graph.persister.waiting(), 1);
    delete("port");
    assert_eq!(graph.persister.waiting(), 0);
    drop(graph);
    assert!(stored(&disk).is_empty());
}
