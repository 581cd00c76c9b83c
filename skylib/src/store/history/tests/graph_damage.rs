//! Damaged files of the past of the graph: found when they are read, set aside, and reported.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::graph_history::{Recorded, Step, names_at, open};
use super::{TestFolder, ms, options, slice};
use crate::graph::history::{History as _, HistoryLimits};
use crate::graph::{Graph, Metadata, Node};
use crate::store::history::disk::OsDisk;
use crate::store::history::parquet_file::is_damage;
use crate::store::history::sums::BLOCK_BYTES;
use crate::store::history::{HistoryFolder, LocalHistory, segment_folder};

#[test]
fn damage_of_a_segment_loses_its_events_only() {
    let folder = TestFolder::new();
    let history = open(&folder);
    let mut graph = Graph::new().with_journal();
    for number in 1..=3_i64 {
        let name = format!("n{number}");
        graph
            .add_node(Node::new(name, Metadata::new(), ms(number * 1000)))
            .unwrap();
        history.record(&graph.take_events(), ms(number * 1000));
        history.seal();
    }
    drop(history);
    let events = folder.files("graph", "event.parquet");
    assert_eq!(events.len(), 3);
    std::fs::write(&events[1], b"PAR1 is not enough").unwrap();
    for snapshot in folder.files("graph", "element.parquet") {
        let mut content = std::fs::read(&snapshot).unwrap();
        content.truncate(20);
        std::fs::write(&snapshot, content).unwrap();
    }
    let shared = HistoryFolder::open(&folder.0, options()).unwrap();
    let history = LocalHistory::open(Arc::clone(&shared), HistoryLimits::default()).unwrap();
    assert_eq!(names_at(&history, 5000), ["n1", "n3"]);
    assert!(
        shared
            .damaged()
            .iter()
            .any(|name| name == "graph-seg-0000000002-0000000002")
    );
}

#[test]
fn damage_of_a_snapshot_that_replaces_expired_segments_is_reported() {
    let folder = TestFolder::new();
    let limited = || options().with_max_age(Duration::from_secs(100));
    let shared = HistoryFolder::open(&folder.0, limited()).unwrap();
    let history = LocalHistory::open(shared, HistoryLimits::default()).unwrap();
    let mut graph = Graph::new().with_journal();
    for (number, at) in [(1, 1000), (2, 50_000), (3, 90_000)] {
        let name = format!("n{number}");
        let node = Node::new(name, Metadata::new(), ms(at));
        graph.add_node(node).unwrap();
        history.record(&graph.take_events(), ms(at));
        history.seal();
    }
    history.maintain(ms(120_000));
    drop(history);
    assert_eq!(
        folder.files("graph", "event.parquet").len(),
        2,
        "the first expired"
    );
    for snapshot in folder.files("graph", "element.parquet") {
        let mut content = std::fs::read(&snapshot).unwrap();
        content.truncate(20);
        std::fs::write(&snapshot, content).unwrap();
    }
    let shared = HistoryFolder::open(&folder.0, limited()).unwrap();
    let history = LocalHistory::open(shared, HistoryLimits::default()).unwrap();
    assert!(
        !history.damaged(slice(95_000, 95_000)).is_empty(),
        "n1 is lost"
    );
}

#[test]
fn a_change_of_any_byte_of_a_file_is_found_when_it_is_read() {
    let mut recorded = Recorded::new();
    recorded.apply(&Step::Node(1, 0));
    recorded.apply(&Step::Seal);
    recorded.disk = None;
    for file in recorded.folder.files("graph", "element.parquet") {
        let folder = file.parent().unwrap();
        let sums = segment_folder::read_sums(&OsDisk, folder).unwrap();
        let open = || segment_folder::open_file(&OsDisk, folder, &sums, "element.parquet");
        let content = std::fs::read(&file).unwrap();
        for at in 0..content.len() {
            let mut changed = content.clone();
            changed[at] ^= 0x10;
            std::fs::write(&file, changed).unwrap();
            let read = open()
                .and_then(|file| file.batches(|_| true, None)?.collect::<Result<Vec<_>, _>>());
            let error = read.unwrap_err();
            assert!(is_damage(&error), "{at}: {error}");
            assert!(error.to_string().contains("element.parquet"), "{error}");
        }
        std::fs::write(&file, content).unwrap();
        open().unwrap();
    }
}

#[test]
fn a_damaged_page_is_found_by_the_query_that_reads_it() {
    const NODES: usize = 3000;
    let folder = TestFolder::new();
    let history = open(&folder);
    let mut graph = Graph::new().with_journal();
    for number in 0..NODES as u64 {
        // Text that cannot be compressed well.
        let (a, b) = (0x9e37_79b9_7f4a_7c15_u64, 0xc2b2_ae3d_27d4_eb4f_u64);
        let text = format!("{:x}{:x}", number.wrapping_mul(a), number.wrapping_mul(b));
        let node = Node::new(
            format!("n{number}"),
            Metadata::from_iter([("Text", text.as_str())]),
            ms(1000),
        );
        graph.add_node(node).unwrap();
    }
    history.record(&graph.take_events(), ms(1000));
    history.seal();
    drop(history);
    let file = &folder.files("graph", "element.parquet")[0];
    let content = std::fs::read(file).unwrap();
    let blocks = content.len() as u64 / BLOCK_BYTES;
    assert!(blocks > 2, "{} bytes", content.len());
    let mut when_read = 0;
    for block in 0..blocks {
        let copy = folder.copy();
        let mut content = content.clone();
        content[(block * BLOCK_BYTES) as usize + 5000] ^= 0x10;
        std::fs::write(&copy.files("graph", "element.parquet")[0], content).unwrap();
        let shared = HistoryFolder::open(&copy.0, options()).unwrap();
        let history = LocalHistory::open(Arc::clone(&shared), HistoryLimits::default()).unwrap();
        let was_opened = shared.damaged().is_empty();
        // The snapshot repeats the events of the segment.
        assert_eq!(names_at(&history, 1500).len(), NODES, "{block}");
        let is_found = shared.damaged() == ["graph-snap-0000000001"];
        when_read += usize::from(was_opened && is_found);
        // The Bloom filters are not read by a query that reads everything.
        history.check();
        assert_eq!(shared.damaged(), ["graph-snap-0000000001"], "{block}");
        assert_eq!(names_at(&history, 1501).len(), NODES);
    }
    assert!(when_read > 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn damage_of_any_file_is_found_and_the_rest_is_still_found(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut recorded = Recorded::new();
        for number in 1..=3_u8 {
            recorded.now = i64::from(number) * 1000;
            recorded.apply(&Step::Node(number, 0));
            recorded.apply(&Step::Count(number, 5));
            recorded.apply(&Step::Seal);
        }
        recorded.disk = None;
        let files = recorded.folder.files("graph", "");
        prop_assert!(files.len() >= 3 * 3 + 2, "{files:?}");
        let file = &files[which.index(files.len())];
        let mut content = std::fs::read(file).unwrap();
        let at = at.index(content.len());
        if is_cut {
            content.truncate(at);
        } else {
            content[at] ^= 0x10;
        }
        std::fs::write(file, content).unwrap();
        let shared = HistoryFolder::open(&recorded.folder.0, options()).unwrap();
        let history =
            LocalHistory::open(Arc::clone(&shared), HistoryLimits::default()).unwrap();
        let found = names_at(&history, 5000);
        prop_assert!(found.len() >= 2, "{found:?}");
        history.check();
        let folder = file.parent().unwrap().file_name().unwrap().to_string_lossy();
        prop_assert_eq!(shared.damaged(), [format!("graph-{folder}")]);
        prop_assert_eq!(names_at(&history, 5001), found, "nothing was hidden before");
    }
}

#[test]
fn answers_about_a_damaged_time_can_be_recognized() {
    let mut recorded = Recorded::new();
    for number in 1..=3_u8 {
        recorded.now = i64::from(number) * 1000;
        recorded.apply(&Step::Node(number, 0));
        recorded.apply(&Step::Seal);
    }
    recorded.disk = None;
    let shared = HistoryFolder::open(&recorded.folder.0, options()).unwrap();
    let history = LocalHistory::open(Arc::clone(&shared), HistoryLimits::default()).unwrap();
    let file = &recorded.folder.files("graph", "event.parquet")[1];
    let mut content = std::fs::read(file).unwrap();
    content[8] ^= 0x10;
    std::fs::write(file, content).unwrap();
    assert!(history.damaged(slice(0, 9000)).is_empty());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| history.check());
        }
    });
    assert_eq!(shared.damaged().len(), 1, "set aside once");
    let damaged = [slice(2000, 2000)];
    assert_eq!(history.damaged(slice(0, 9000)), damaged);
    let later = history.damaged(slice(2500, 2500));
    assert_eq!(later, damaged, "the state follows from all earlier events");
    assert!(history.damaged(slice(1500, 1999)).is_empty());
}

#[test]
fn damage_that_is_found_at_a_start_is_known_with_its_time() {
    let mut recorded = Recorded::new();
    for number in 1..=3_u8 {
        recorded.now = i64::from(number) * 1000;
        recorded.apply(&Step::Node(number, 0));
        recorded.apply(&Step::Seal);
    }
    recorded.disk = None;
    let file = &recorded.folder.files("graph", "event.parquet")[1];
    std::fs::write(file, b"PAR1").unwrap();
    recorded.reopen();
    let damaged = [slice(1000, 3000)];
    let history = recorded.disk();
    assert_eq!(history.damaged(slice(2000, 2000)), damaged);
    assert_eq!(history.damaged(slice(9000, 9000)), damaged);
    assert!(history.damaged(slice(500, 999)).is_empty());
    // What exists is recorded again within a minute after the start.
    history.maintain(ms(10_000));
    history.maintain(ms(80_000));
    assert!(history.damaged(slice(80_001, 90_000)).is_empty());
    assert_eq!(
        history.damaged(slice(50_000, 90_000)),
        [slice(1000, 80_000)]
    );
    recorded.reopen();
    let history = recorded.disk();
    assert_eq!(history.damaged(slice(2000, 2000)), damaged, "next start");
    assert!(history.damaged(slice(9000, 9000)).is_empty());
}
