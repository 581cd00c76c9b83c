//! Tests of the history on real files.

mod faults;
mod faulty_disk;
mod flow_room;
mod flow_store;
mod graph_damage;
mod graph_history;
mod graph_reconcile;
mod graph_room;
mod reader;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{HistoryFolder, HistoryOptions, LocalFlowStore};
use crate::flow::{Flow, FlowLayer, FlowMetric, FlowProtocol, RawPacket, TransportLayer};
use crate::time::{TimeSlice, Timestamp};

/// Folder of a test, removed when it is dropped.
pub(super) struct TestFolder(pub(super) PathBuf);

impl TestFolder {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("skylib-history-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Returns a copy of the folder, as a process that was killed at this moment leaves it.
    fn copy(&self) -> Self {
        let copy = Self::new();
        copy_files(&self.0, &copy.0);
        copy
    }

    /// Returns the files below a path whose names begin with `prefix`, in order.
    fn files(&self, below: &str, prefix: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        collect(&self.0.join(below), &mut found);
        found.retain(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        });
        found.sort();
        found
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn collect(path: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            collect(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_files(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn options() -> HistoryOptions {
    HistoryOptions::default()
        .with_grace(Duration::from_millis(5))
        .with_min_free(Some(0))
        .with_host("test".to_owned())
}

fn open(folder: &TestFolder) -> LocalFlowStore {
    let folder = HistoryFolder::open(&folder.0, options()).unwrap();
    LocalFlowStore::open(folder).unwrap()
}

fn open_shared(
    folder: &TestFolder,
    options: HistoryOptions,
) -> (Arc<HistoryFolder>, LocalFlowStore) {
    let folder = HistoryFolder::open(&folder.0, options).unwrap();
    let store = LocalFlowStore::open(Arc::clone(&folder)).unwrap();
    (folder, store)
}

fn ms(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn slice(start: i64, last: i64) -> TimeSlice {
    TimeSlice {
        start: ms(start),
        last: ms(last),
    }
}

/// Returns a record of a flow whose constant fields depend on its number.
fn flow(number: u8, start: i64, last: i64, metric: Option<(i64, i64)>) -> Flow {
    let network = FlowLayer {
        protocol: FlowProtocol::Ipv4,
        a: format!("10.0.0.{}", number % 4).as_str().into(),
        b: format!("10.0.1.{}", number % 3).as_str().into(),
        id: 0,
    };
    let transport = TransportLayer {
        protocol: FlowProtocol::Tcp,
        a: 1000 + i64::from(number),
        b: 80 + i64::from(number % 2),
        id: 0,
    };
    let total = FlowMetric::default()
        .with_ab_bytes(last - start)
        .with_interval(start, last);
    let counted = metric.map(|(from, to)| {
        FlowMetric::default()
            .with_ab_bytes(to - from)
            .with_rtt(7)
            .with_interval(from, to)
    });
    Flow {
        uuid: format!("{:x}", 0xabc0 + u32::from(number)).as_str().into(),
        tracking_id: format!("t{}", number % 5).as_str().into(),
        node_tid: format!("n{}", number % 2).as_str().into(),
        application: "TCP".into(),
        network: Some(network),
        transport: Some(transport),
        start,
        last,
        metric: Some(total),
        last_update_metric: counted,
        ..Flow::default()
    }
}

/// Returns a raw packet with a number and a time.
fn packet(index: i64, timestamp: i64) -> RawPacket {
    RawPacket {
        timestamp,
        index,
        data: vec![1, 2, 3].into(),
        link_type: 1,
        ..RawPacket::default()
    }
}
