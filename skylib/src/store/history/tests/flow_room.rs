//! A disk that blocks or fails never delays flows for long, and memory stays bounded.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::faulty_disk::FaultyDisk;
use super::{TestFolder, flow, ms, options, packet};
use crate::flow::FlowQuery;
use crate::store::FlowStore;
use crate::store::history::{
    DropReason, HistoryFolder, HistoryOptions, LocalFlowStore, LocalStore, TableStatus,
};
use crate::time::{Clock, ManualClock};

/// Bound of the memory in these tests, in bytes.
const MEMORY: usize = 20_000;

/// A store on a disk that can block.
struct Recorder {
    flows: Arc<LocalFlowStore>,
    store: LocalStore,
    disk: FaultyDisk,
    folder: TestFolder,
}

impl Recorder {
    fn new(options: HistoryOptions) -> Self {
        let folder = TestFolder::new();
        let disk = FaultyDisk::default();
        let shared = HistoryFolder::open_on(Arc::new(disk.clone()), &folder.0, options).unwrap();
        let flows = Arc::new(LocalFlowStore::open(Arc::clone(&shared)).unwrap());
        let store = LocalStore::new(shared, Some(Arc::clone(&flows)), None);
        Self {
            flows,
            store,
            disk,
            folder,
        }
    }

    fn with_threads(self) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(ms(1000)));
        self.store.maintain_in_background(&clock).unwrap();
        self
    }

    /// Puts records of different flows.
    fn put(&self, numbers: std::ops::Range<u8>) {
        for number in numbers {
            let record = flow(number, 0, 1000, Some((0, 1000)));
            self.flows.put(vec![record], ms(1000));
        }
    }

    fn status(&self) -> TableStatus {
        self.store.status().tables.remove(0)
    }

    fn dropped(&self, wanted: DropReason) -> u64 {
        let dropped = self.status().dropped;
        let found = dropped.iter().find(|(reason, _)| *reason == wanted);
        found.unwrap().1
    }

    fn stored(&self) -> usize {
        let found = self.flows.query(&FlowQuery::default()).unwrap();
        found.flows.len()
    }
}

fn small() -> HistoryOptions {
    options()
        .with_memory(MEMORY)
        .with_sync(Duration::from_millis(10))
}

#[test]
fn flows_and_queries_go_on_while_the_disk_blocks() {
    let recorder = Recorder::new(small()).with_threads();
    recorder.disk.block();
    recorder.put(0..1);
    recorder.disk.wait_until_blocked();
    recorder.put(1..20);
    assert_eq!(recorder.stored(), 20);
    recorder.disk.release();
    recorder.flows.sync().unwrap();
    let copy = recorder.folder.copy();
    let restored = super::open(&copy);
    let found = restored.query(&FlowQuery::default()).unwrap();
    assert_eq!(found.flows.len(), 20);
}

#[test]
fn tables_beyond_the_bound_are_dropped_as_too_slow_while_the_disk_blocks() {
    let recorder = Recorder::new(small()).with_threads();
    recorder.disk.block();
    recorder.put(0..250);
    let slow = recorder.dropped(DropReason::Slow);
    assert!(slow > 0);
    assert_eq!(recorder.dropped(DropReason::Disk), 0);
    let bytes = recorder.status().memory_bytes;
    assert!(bytes <= 6 * MEMORY, "{bytes} bytes");
    assert_eq!(recorder.stored() as u64, 250 - slow);
    recorder.disk.release();
    recorder.flows.seal();
    assert_eq!(recorder.stored() as u64, 250 - slow);
    assert_eq!(recorder.flows.status().evicted, slow);
    recorder.flows.sync().unwrap();
}

#[test]
fn tables_beyond_the_bound_are_dropped_while_the_disk_fails() {
    const ENOSPC: i32 = 28;
    let recorder = Recorder::new(small());
    recorder.disk.fail_every(1, ENOSPC);
    recorder.put(0..250);
    let dropped = recorder.dropped(DropReason::Disk);
    assert!(dropped > 0);
    assert_eq!(recorder.dropped(DropReason::Slow), 0);
    let bytes = recorder.status().memory_bytes;
    assert!(bytes <= 4 * MEMORY, "{bytes} bytes");
    assert!(
        recorder.status().failures <= 2,
        "no attempt before the pause"
    );
    assert!(recorder.flows.sync().is_err());
    recorder.disk.fail_every(0, ENOSPC);
    recorder.flows.maintain(ms(100_000));
    recorder.flows.sync().unwrap();
    assert_eq!(recorder.stored() as u64, 250 - dropped);
    assert!(recorder.status().segments > 0);
}

#[test]
fn a_folder_that_was_removed_is_created_again_and_memory_goes_there() {
    let recorder = Recorder::new(options());
    recorder.put(0..1);
    recorder.flows.seal();
    recorder.put(1..2);
    fs::remove_dir_all(recorder.folder.0.join("flow")).unwrap();
    recorder.flows.maintain(ms(2000));
    assert_eq!(recorder.dropped(DropReason::Damage), 1);
    assert_eq!(recorder.stored(), 1, "what was in memory");
    recorder.put(2..3);
    recorder.flows.sync().unwrap();
    recorder.flows.maintain(ms(3000));
    let copy = recorder.folder.copy();
    let restored = super::open(&copy);
    let found = restored.query(&FlowQuery::default()).unwrap();
    assert_eq!(found.flows.len(), 2);
}

#[test]
fn a_failure_while_raw_packets_are_removed_leaves_the_segment_intact() {
    const ENOSPC: i32 = 28;
    for call in 0..12 {
        let limits = options().with_max_bytes(1000);
        let recorder = Recorder::new(limits);
        let mut record = flow(1, 0, 1000, Some((0, 1000)));
        record.last_raw_packets = vec![packet(1, 50)];
        record.raw_packets_captured = 1;
        recorder.flows.put(vec![record], ms(1000));
        recorder.flows.seal();
        recorder.disk.fail(call, call + 1, ENOSPC);
        recorder.flows.remove_oldest_packets();
        recorder.disk.fail(0, 0, ENOSPC);
        recorder.flows.check();
        assert_eq!(recorder.stored(), 1, "call {call}");
        let copy = recorder.folder.copy();
        let restored = super::open(&copy);
        restored.check();
        let found = restored.query(&FlowQuery::default()).unwrap();
        assert_eq!(found.flows.len(), 1, "call {call}, after a restart");
        assert!(copy.files("damaged", "").is_empty(), "call {call}");
    }
}

#[test]
fn answers_about_a_damaged_time_can_be_recognized() {
    let folder = TestFolder::new();
    let store = super::open(&folder);
    for number in 1..=3_u8 {
        let at = i64::from(number) * 1000;
        store.put(vec![flow(number, at - 100, at, None)], ms(at));
        store.seal();
    }
    let file = &folder.files("flow", "flow.parquet")[1];
    let mut content = fs::read(file).unwrap();
    content[8] ^= 0x10;
    fs::write(file, content).unwrap();
    store.check();
    let damaged = [super::slice(1900, 2000)];
    assert_eq!(store.damaged(super::slice(0, 9000)), damaged);
    assert_eq!(store.damaged(super::slice(2000, 2000)), damaged);
    assert!(store.damaged(super::slice(2001, 9000)).is_empty());
}
