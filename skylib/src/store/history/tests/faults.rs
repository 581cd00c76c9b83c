//! Crashes, damage, and full disks: nothing acknowledged is lost, nothing is there twice.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use proptest::prelude::*;

use super::faulty_disk::FaultyDisk;
use super::{TestFolder, flow, ms, open, open_shared, options, slice};
use crate::filter::Filter;
use crate::flow::FlowQuery;
use crate::graph::history::{History, HistoryLimits, PastView};
use crate::graph::{ElementKey, Graph, GraphReader, Metadata, Node};
use crate::store::history::disk::{Disk, OsDisk};
use crate::store::history::{HistoryFolder, LocalFlowStore, LocalHistory};
use crate::store::{FlowStore, StoreError};
use crate::time::When;

/// Returns `Last` of each flow; fails if a flow is there twice.
fn lasts(store: &LocalFlowStore) -> BTreeMap<String, i64> {
    let flows = store.query(&FlowQuery::default()).unwrap().flows;
    let count = flows.len();
    let found: BTreeMap<String, i64> = flows
        .into_iter()
        .map(|flow| (flow.uuid.to_string(), flow.last))
        .collect();
    assert_eq!(found.len(), count, "a flow is there twice");
    found
}

/// Returns the number of updates counted for a flow, from its metrics.
fn updates(store: &LocalFlowStore, uuid: &str) -> Vec<i64> {
    let metrics = store.metrics(&[uuid.into()], slice(0, i64::MAX));
    metrics
        .into_iter()
        .flat_map(|(_, list)| list)
        .map(|metric| metric.last)
        .collect()
}

#[test]
fn a_second_process_does_not_get_the_folder() {
    let folder = TestFolder::new();
    let store = open(&folder);
    let second = HistoryFolder::open(&folder.0, options());
    assert!(
        matches!(second, Err(StoreError::InUse { .. })),
        "{second:?}"
    );
    drop(store);
    HistoryFolder::open(&folder.0, options()).unwrap();
}

#[test]
fn a_log_cut_at_any_byte_loses_only_the_frames_after_it() {
    let folder = TestFolder::new();
    let store = open(&folder);
    let mut ends = vec![0];
    for number in 0..4_u8 {
        store.put(vec![flow(number, 0, 100, None); 2], ms(100));
        let log = folder.files("flow", "log-").remove(0);
        ends.push(fs::metadata(log).unwrap().len());
    }
    let copy = folder.copy();
    let log = copy.files("flow", "log-").remove(0);
    let content = fs::read(&log).unwrap();
    assert_eq!(content.len() as u64, ends[4]);
    for length in 0..=content.len() {
        let cut = copy.copy();
        let log = cut.files("flow", "log-").remove(0);
        fs::write(&log, &content[..length]).unwrap();
        let complete = ends.iter().filter(|end| **end <= length as u64).count() - 1;
        let restored = open(&cut);
        assert_eq!(lasts(&restored).len(), complete, "cut at {length}");
        if length % 50 == 0 {
            drop(restored);
            assert!(
                cut.files("damaged", "").is_empty(),
                "a cut end is not damage"
            );
            assert_eq!(lasts(&open(&cut)).len(), complete, "after a second restart");
        } else {
            // As a process that is killed again: sealing takes most of the time of this test.
            std::mem::forget(restored);
        }
    }
}

#[test]
fn a_damaged_log_is_set_aside_and_its_valid_frames_are_used() {
    let folder = TestFolder::new();
    let store = open(&folder);
    for number in 0..3_u8 {
        store.put(vec![flow(number, 0, 100, None)], ms(100));
    }
    let copy = folder.copy();
    let log = copy.files("flow", "log-").remove(0);
    let mut content = fs::read(&log).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(&log, content).unwrap();
    let (shared, restored) = open_shared(&copy, options());
    assert_eq!(lasts(&restored).len(), 2);
    restored.maintain(ms(200));
    assert_eq!(shared.damaged(), ["flow-log-0000000001"]);
    assert_eq!(copy.files("damaged", "flow-log").len(), 1);
    drop((restored, shared));
    assert_eq!(lasts(&open(&copy)).len(), 2);
}

#[test]
fn an_unfinished_segment_and_a_replaced_one_are_removed_at_a_start() {
    let folder = TestFolder::new();
    let store = open(&folder);
    store.put(vec![flow(1, 0, 100, Some((0, 100)))], ms(100));
    let log = folder.copy();
    store.seal();
    store.put(vec![flow(2, 0, 200, Some((0, 200)))], ms(200));
    store.seal();
    let segments = folder.copy();
    store.compact(ms(300)).unwrap();
    drop(store);
    // As if the process had been killed after the renames and before the removals.
    let merged = folder.copy();
    super::copy_files(&segments.0, &merged.0);
    super::copy_files(&log.0.join("flow"), &merged.0.join("flow"));
    fs::create_dir_all(merged.0.join("new/flow-seg")).unwrap();
    let restored = open(&merged);
    assert_eq!(lasts(&restored).len(), 2);
    assert_eq!(updates(&restored, "abc1"), [100]);
    assert_eq!(merged.files("flow", "flow.parquet").len(), 1);
    assert!(merged.files("flow", "log-").is_empty());
    assert!(fs::read_dir(merged.0.join("new")).unwrap().next().is_none());
}

#[test]
fn damage_of_flows_that_is_found_at_a_start_is_known_with_its_time() {
    let folder = TestFolder::new();
    let store = open(&folder);
    for number in 1..=3_i64 {
        store.put(vec![flow(1, 0, number * 1000, None)], ms(number * 1000));
        store.seal();
    }
    drop(store);
    fs::write(&folder.files("flow", "metric.parquet")[1], b"PAR1").unwrap();
    for start in 1..=2 {
        let store = open(&folder);
        let damaged = store.damaged(slice(1500, 1500));
        assert_eq!(damaged, [slice(1000, 3000)], "start {start}");
        assert!(store.damaged(slice(3001, 9000)).is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn damage_of_a_sealed_file_is_found_and_the_rest_is_still_found(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let folder = TestFolder::new();
        let store = open(&folder);
        for number in 0..3_u8 {
            let mut flow = flow(number, 0, 100, Some((0, 100)));
            flow.last_raw_packets = vec![super::packet(1, 50)];
            flow.raw_packets_captured = 1;
            store.put(vec![flow], ms(100));
            store.seal();
        }
        drop(store);
        let files = folder.files("flow", "");
        prop_assert_eq!(files.len(), 3 * 4);
        let file = &files[which.index(files.len())];
        let mut content = fs::read(file).unwrap();
        let at = at.index(content.len());
        if is_cut {
            content.truncate(at);
        } else {
            content[at] ^= 0x10;
        }
        fs::write(file, content).unwrap();
        let (shared, store) = open_shared(&folder, options());
        let found = lasts(&store);
        store.metrics(&["abc0".into(), "abc1".into(), "abc2".into()], slice(0, 1000));
        store.raw_packets(&["abc0".into(), "abc1".into(), "abc2".into()]);
        prop_assert!(found.len() >= 2, "{found:?}");
        store.check();
        prop_assert_eq!(shared.damaged().len(), 1, "damage of {:?}", file);
        prop_assert_eq!(lasts(&store).len(), 2);
    }
}

/// Calls of a disk that fail.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// A number of calls, from one on.
    Range(u64, u64),
    Every(u64),
}

impl Fault {
    fn begin(self, disk: &FaultyDisk, error: i32) {
        match self {
            Self::Range(from, count) => disk.fail(from, from + count, error),
            Self::Every(n) => disk.fail_every(n, error),
        }
    }
}

/// Runs a workload of flows on a disk with faults, and checks everything afterwards. Returns the
/// number of calls.
fn run_with_faults(fault: Fault, error: i32) -> u64 {
    let folder = TestFolder::new();
    let disk = FaultyDisk::default();
    let shared = HistoryFolder::open_on(Arc::new(disk.clone()), &folder.0, options()).unwrap();
    let store = LocalFlowStore::open(Arc::clone(&shared)).unwrap();
    fault.begin(&disk, error);
    let mut acknowledged = Vec::new();
    let mut now = 1000;
    for number in 0..6_u8 {
        now += 1000;
        store.put(
            vec![flow(number, now - 10, now, Some((now - 10, now)))],
            ms(now),
        );
        if store.sync().is_ok() {
            // Everything before is durable, too.
            acknowledged = (0..=number).collect();
        }
        if number % 2 == 1 {
            store.seal();
        }
        if number == 4 {
            drop(store.compact(ms(now)));
        }
        let known = lasts(&store).len();
        assert_eq!(known, usize::from(number) + 1, "{fault:?}: queries go on");
    }
    let calls = disk.calls();
    // As a process that is killed now leaves the folder.
    let killed = lasts(&open(&folder.copy()));
    for number in acknowledged {
        let uuid = format!("{:x}", 0xabc0 + u32::from(number));
        assert!(killed.contains_key(&uuid), "{fault:?}: lost {uuid}");
    }
    disk.fail_every(0, error);
    for _ in 0..3 {
        now += 100_000;
        store.maintain(ms(now));
    }
    assert_eq!(lasts(&store).len(), 6, "{fault:?}");
    drop((store, shared));
    let restored = open(&folder);
    assert_eq!(lasts(&restored).len(), 6, "{fault:?}, after a restart");
    for number in 0..6_u32 {
        let uuid = format!("{:x}", 0xabc0 + number);
        assert_eq!(updates(&restored, &uuid).len(), 1, "{fault:?}");
    }
    assert!(folder.files("damaged", "").is_empty());
    calls
}

/// Returns the names of the nodes at a time, on the disk or in memory.
fn nodes(history: &LocalHistory, at: i64) -> Vec<String> {
    let view = PastView::open(history, When::At(ms(at)));
    let all: Filter<ElementKey> = Filter::everything();
    let mut names: Vec<String> = view
        .nodes(&all)
        .map(|node| node.unwrap().id.to_string())
        .collect();
    names.sort();
    names
}

/// Runs a workload of topology events on a disk with faults, and checks everything afterwards.
/// Returns the number of calls.
fn run_graph_with_faults(fault: Fault, error: i32) -> u64 {
    let folder = TestFolder::new();
    let open = |disk: Arc<dyn Disk>, path| {
        let shared = HistoryFolder::open_on(disk, path, options()).unwrap();
        LocalHistory::open(shared, HistoryLimits::default()).unwrap()
    };
    let disk = FaultyDisk::default();
    let history = open(Arc::new(disk.clone()), &folder.0);
    let mut graph = Graph::new().with_journal();
    fault.begin(&disk, error);
    let mut acknowledged = 0;
    for number in 0..6 {
        let now = ms(2000 + 1000 * number);
        let name = format!("n{number}");
        graph
            .add_node(Node::new(name, Metadata::new(), now))
            .unwrap();
        history.record(&graph.take_events(), now);
        if history.sync().is_ok() {
            acknowledged = usize::try_from(number).unwrap() + 1;
        }
        if number % 2 == 1 {
            history.seal();
        }
        if number == 4 {
            drop(history.compact(now));
        }
    }
    let calls = disk.calls();
    let copy = folder.copy();
    let killed = open(Arc::new(OsDisk), &copy.0);
    let found = nodes(&killed, 7500);
    assert!(
        found.len() >= acknowledged,
        "{fault:?}: {found:?}, {acknowledged}"
    );
    disk.fail_every(0, error);
    for second in 0..3 {
        history.maintain(ms(100_000 * second));
    }
    drop(history);
    let restored = open(Arc::new(OsDisk), &folder.0);
    for (at, count) in [(1999, 0), (2500, 1), (4500, 3), (7500, 6)] {
        assert_eq!(nodes(&restored, at).len(), count, "{fault:?} at {at}");
    }
    assert!(folder.files("damaged", "").is_empty());
    calls
}

#[test]
fn a_full_disk_at_any_call_loses_nothing_that_memory_has() {
    const ENOSPC: i32 = 28;
    let never = Fault::Range(u64::MAX - 100, 0);
    let calls = run_with_faults(never, ENOSPC);
    for from in 0..calls {
        run_with_faults(
            Fault::Range(from, if from % 7 == 0 { 12 } else { 1 }),
            ENOSPC,
        );
    }
    let calls = run_graph_with_faults(never, ENOSPC);
    for from in 0..calls {
        run_graph_with_faults(
            Fault::Range(from, if from % 7 == 0 { 12 } else { 1 }),
            ENOSPC,
        );
    }
}

#[test]
fn an_input_output_error_at_any_call_is_survived() {
    const EIO: i32 = 5;
    let never = Fault::Range(u64::MAX - 100, 0);
    let calls = run_with_faults(never, EIO);
    for from in (0..calls).step_by(5) {
        run_with_faults(Fault::Range(from, 2), EIO);
    }
    let calls = run_graph_with_faults(never, EIO);
    for from in (0..calls).step_by(5) {
        run_graph_with_faults(Fault::Range(from, 2), EIO);
    }
}

#[test]
fn a_failure_of_every_nth_call_is_survived() {
    const EIO: i32 = 5;
    for n in 2..24 {
        run_with_faults(Fault::Every(n), EIO);
        run_graph_with_faults(Fault::Every(n), EIO);
    }
}
