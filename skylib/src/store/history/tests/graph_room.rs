//! A disk that blocks or fails never delays the recorder, and memory stays bounded.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use super::faulty_disk::FaultyDisk;
use super::{TestFolder, ms, options};
use crate::filter::Filter;
use crate::graph::history::{History, HistoryLimits, PastView};
use crate::graph::{ElementKey, Graph, GraphReader, Metadata, Node};
use crate::store::history::{
    DropReason, HistoryFolder, HistoryOptions, LocalHistory, LocalStore, TableStatus,
};
use crate::time::{Clock, ManualClock, When};

/// Bound of the memory in these tests, in bytes.
const MEMORY: usize = 256 << 10;

/// A history on a disk that can block, and the graph whose events it records.
struct Recorder {
    history: Arc<LocalHistory>,
    store: LocalStore,
    disk: FaultyDisk,
    clock: Arc<ManualClock>,
    graph: Graph,
    nodes: usize,
    folder: TestFolder,
}

impl Recorder {
    fn new(options: HistoryOptions) -> Self {
        let folder = TestFolder::new();
        let disk = FaultyDisk::default();
        let shared = HistoryFolder::open_on(Arc::new(disk.clone()), &folder.0, options).unwrap();
        let opened = LocalHistory::open(Arc::clone(&shared), HistoryLimits::default()).unwrap();
        let history = Arc::new(opened);
        let store = LocalStore::new(shared, None, Some(Arc::clone(&history)));
        Self {
            history,
            store,
            disk,
            clock: Arc::new(ManualClock::new(ms(1_000_000))),
            graph: Graph::new().with_journal(),
            nodes: 0,
            folder,
        }
    }

    /// Starts the threads of the history.
    fn with_threads(self) -> Self {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as Arc<dyn Clock>;
        self.store.maintain_in_background(&clock).unwrap();
        self
    }

    /// Records one transaction that adds nodes of about 1.2 kB each, without making room.
    fn record(&mut self, count: usize) {
        let now = self.clock.now();
        for _ in 0..count {
            let pad = "x".repeat(1000);
            let metadata = Metadata::from_iter([("Pad", pad.as_str())]);
            let name = format!("n{}", self.nodes);
            self.graph.add_node(Node::new(name, metadata, now)).unwrap();
            self.nodes += 1;
        }
        self.history.record(&self.graph.take_events(), now);
    }

    fn status(&self) -> TableStatus {
        self.store.status().tables.remove(0)
    }

    fn dropped(&self) -> u64 {
        let dropped = self.status().dropped;
        let is_lost = |reason| matches!(reason, DropReason::Disk | DropReason::Slow);
        let lost = dropped.iter().filter(|(reason, _)| is_lost(*reason));
        lost.map(|(_, rows)| rows).sum()
    }

    /// Returns the number of nodes on the disk or waiting for it.
    fn stored(&self) -> usize {
        let when = When::At(self.clock.now());
        let on_disk = super::graph_history::OnDisk(&self.history);
        let view = PastView::open(&on_disk, when);
        let all: Filter<ElementKey> = Filter::everything();
        view.nodes(&all)
            .inspect(|node| assert!(node.is_ok()))
            .count()
    }
}

fn small() -> HistoryOptions {
    options().with_memory(MEMORY)
}

#[test]
fn recording_and_queries_go_on_while_the_disk_blocks() {
    let mut recorder = Recorder::new(small().with_sync(Duration::from_millis(10))).with_threads();
    recorder.disk.block();
    recorder.record(1);
    recorder.history.make_room();
    recorder.disk.wait_until_blocked();
    let (done, finished) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        for _ in 0..20 {
            recorder.record(5);
            recorder.history.make_room();
        }
        let found = (recorder.stored(), recorder.status().memory_rows);
        done.send(found).unwrap();
        recorder
    });
    let found = finished.recv_timeout(Duration::from_secs(20));
    assert_eq!(found, Ok((101, 101)), "nothing waits for the disk");
    let recorder = thread.join().unwrap();
    recorder.disk.release();
    recorder.history.sync().unwrap();
    assert_eq!(recorder.dropped(), 0);
}

#[test]
fn memory_stays_bounded_while_the_disk_blocks_and_what_is_dropped_is_counted() {
    let mut recorder = Recorder::new(small().with_sync(Duration::from_millis(10))).with_threads();
    recorder.disk.block();
    for _ in 0..3 {
        recorder.record(300);
        recorder.history.make_room();
        let bytes = recorder.status().memory_bytes;
        assert!(bytes <= 2 * MEMORY, "{bytes} bytes");
    }
    let dropped = recorder.dropped();
    assert!(dropped > 0);
    let in_memory = recorder.status().memory_rows as u64;
    assert_eq!(dropped + in_memory, 900);
    recorder.disk.release();
    // A thread records again what was dropped.
    let is_done = |recorder: &Recorder| {
        recorder.history.seal();
        recorder.stored() == 900 && recorder.status().memory_bytes == 0
    };
    let mut tries = 0;
    while !is_done(&recorder) {
        tries += 1;
        assert!(tries < 5000, "{:?}", recorder.status());
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(recorder.history.status().oldest.is_some());
    assert_eq!(recorder.history.status().evicted, dropped);
}

#[test]
fn memory_stays_bounded_while_the_disk_fails_and_recovers_afterwards() {
    const ENOSPC: i32 = 28;
    let mut recorder = Recorder::new(small());
    recorder.disk.fail_every(1, ENOSPC);
    for second in 0..40 {
        recorder.clock.advance(Duration::from_secs(1));
        recorder.record(20);
        recorder.history.make_room();
        recorder.history.maintain(recorder.clock.now());
        let bytes = recorder.status().memory_bytes;
        assert!(bytes <= MEMORY, "{bytes} bytes after {second} s");
    }
    let dropped = recorder.dropped();
    assert!(dropped > 0);
    let failures = recorder.status().failures;
    assert!(failures <= 7, "pauses of 1, 2, 4 … s: {failures} failures");
    assert!(
        recorder.history.sync().is_err(),
        "not everything is on the disk"
    );
    recorder.disk.fail_every(0, ENOSPC);
    recorder.clock.advance(Duration::from_secs(100));
    recorder.history.maintain(recorder.clock.now());
    recorder.history.sync().unwrap();
    recorder.record(1);
    recorder.history.seal();
    assert_eq!(
        recorder.stored(),
        801,
        "what was dropped was recorded again"
    );
    assert_eq!(recorder.status().memory_bytes, 0);
    assert!(recorder.folder.files("graph", "log-").is_empty());
}

#[test]
fn a_recorder_without_threads_seals_by_itself() {
    let mut recorder = Recorder::new(small());
    for _ in 0..100 {
        recorder.record(20);
        recorder.history.make_room();
        assert!(recorder.status().memory_bytes <= MEMORY);
    }
    assert_eq!(recorder.dropped(), 0);
    assert!(recorder.status().segments > 3);
    assert_eq!(recorder.stored(), 2000);
}

#[test]
fn the_events_in_memory_share_their_elements_with_the_graph() {
    let mut recorder = Recorder::new(options());
    recorder.record(100);
    let bytes = recorder.status().memory_bytes;
    assert!(bytes > 100 * 1000, "elements count as if owned: {bytes}");
    recorder.history.sync().unwrap();
    assert_eq!(
        recorder.status().memory_bytes,
        bytes,
        "the log adds nothing"
    );
    recorder.history.seal();
    assert_eq!(recorder.status().memory_bytes, 0);
}

#[test]
fn a_folder_that_was_removed_is_created_again_and_memory_goes_there() {
    let mut recorder = Recorder::new(options());
    recorder.record(2);
    recorder.history.seal();
    recorder.record(3);
    recorder.history.sync().unwrap();
    std::fs::remove_dir_all(recorder.folder.0.join("graph")).unwrap();
    recorder.history.maintain(recorder.clock.now());
    assert_eq!(recorder.status().segments, 1, "what was in memory");
    recorder.record(1);
    recorder.history.seal();
    assert_eq!(recorder.stored(), 6, "all that exists was recorded again");
    assert!(recorder.folder.files("graph", "log-").is_empty());
}
