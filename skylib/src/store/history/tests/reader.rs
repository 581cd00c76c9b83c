//! A reader without the lock sees what the writer has, and changes nothing.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use super::{TestFolder, flow, ms, open_shared, options, slice};
use crate::flow::FlowQuery;
use crate::graph::history::{History as _, HistoryLimits, Unlimited};
use crate::graph::{Graph, Metadata, Node};
use crate::store::history::{HistoryReader, LocalHistory};
use crate::store::{FlowStore, StoreError};

/// Returns all files with their sizes and times of change.
fn state(folder: &TestFolder) -> Vec<(PathBuf, u64, SystemTime)> {
    let described = folder.files("", "").into_iter().map(|path| {
        let entry = fs::metadata(&path).unwrap();
        (path, entry.len(), entry.modified().unwrap())
    });
    described.collect()
}

fn count(reader: &HistoryReader) -> usize {
    let all = reader.flows(&FlowQuery::default(), &|| true);
    all.unwrap().flows.len()
}

#[test]
fn a_reader_sees_segments_and_logs_while_the_writer_continues() {
    let folder = TestFolder::new();
    let (shared, store) = open_shared(&folder, options());
    let history = LocalHistory::open(Arc::clone(&shared), HistoryLimits::default()).unwrap();
    let mut graph = Graph::new().with_journal();
    for number in 1..=3_u8 {
        let time = i64::from(number) * 1000;
        store.put(vec![flow(number, time, time + 10, None)], ms(time));
        let node = Node::new(format!("n{number}"), Metadata::new(), ms(time));
        graph.add_node(node).unwrap();
        history.record(&graph.take_events(), ms(time));
        if number < 3 {
            store.seal();
            history.seal();
        }
    }
    history.maintain(ms(3000));
    let before = state(&folder);
    let reader = HistoryReader::open(&folder.0).unwrap();
    assert_eq!(reader.path(), folder.0);
    assert_eq!(count(&reader), 3);
    let past = FlowQuery::default().with_time(slice(0, 1500));
    assert_eq!(reader.flows(&past, &|| true).unwrap().flows.len(), 1);
    assert_eq!(reader.nodes(ms(2500), &Unlimited).unwrap().len(), 2);
    assert_eq!(reader.edges(ms(2500), &Unlimited).unwrap().len(), 0);
    assert_eq!(reader.newest_graph(&Unlimited).unwrap().node_count(), 3);
    let (flows, nodes) = reader.oldest();
    assert_eq!((flows, nodes), (Some(ms(1000)), Some(ms(1000))));
    assert!(reader.damaged().is_empty());
    drop(reader);
    assert_eq!(state(&folder), before);

    // What is merged and removed later was opened before.
    let reader = HistoryReader::open(&folder.0).unwrap();
    store.put(vec![flow(9, 4000, 4010, None)], ms(4000));
    store.seal();
    store.compact(ms(4000)).unwrap();
    history.seal();
    history.compact(ms(4000)).unwrap();
    fs::remove_dir_all(folder.0.join("replaced")).unwrap();
    assert_eq!(count(&reader), 3);
    assert_eq!(reader.nodes(ms(9000), &Unlimited).unwrap().len(), 3);
    assert_eq!(count(&HistoryReader::open(&folder.0).unwrap()), 4);
}

#[test]
fn no_record_is_missing_while_segments_are_sealed_and_merged() {
    let folder = TestFolder::new();
    let (_shared, store) = open_shared(&folder, options());
    store.put(vec![flow(0, 1000, 1010, None)], ms(1000));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=60_u8 {
                let time = 1000 + i64::from(number);
                store.put(vec![flow(number, time, time + 10, None)], ms(time));
                store.seal();
                if number % 4 == 0 {
                    store.compact(ms(time)).unwrap();
                }
            }
            is_over.store(true, Ordering::Relaxed);
        });
        let mut newest = 0;
        while !is_over.load(Ordering::Relaxed) {
            let found = count(&HistoryReader::open(&folder.0).unwrap());
            assert!(found >= newest.max(1), "{found} flows after {newest}");
            newest = found;
        }
    });
    assert_eq!(count(&HistoryReader::open(&folder.0).unwrap()), 61);
}

#[test]
fn damage_is_reported_and_not_moved() {
    let folder = TestFolder::new();
    let (_shared, store) = open_shared(&folder, options());
    for number in 1..=2_u8 {
        let time = i64::from(number) * 1000;
        store.put(vec![flow(number, time, time + 10, None)], ms(time));
        store.seal();
    }
    drop(store);
    let file = folder.files("flow", "flow.parquet").remove(0);
    let mut content = fs::read(&file).unwrap();
    content[100] ^= 1;
    fs::write(&file, content).unwrap();
    let before = state(&folder);
    let reader = HistoryReader::open(&folder.0).unwrap();
    assert_eq!(count(&reader), 1);
    let damaged = reader.damaged();
    assert_eq!(damaged.len(), 1);
    assert!(damaged[0].start <= ms(1000) && damaged[0].last >= ms(1000));
    drop(reader);
    assert_eq!(state(&folder), before);
}

#[test]
fn a_folder_without_a_history_is_an_error_and_is_not_changed() {
    let folder = TestFolder::new();
    let error = HistoryReader::open(&folder.0).unwrap_err();
    assert!(matches!(error, StoreError::File { .. }), "{error}");
    let missing = folder.0.join("missing");
    let error = HistoryReader::open(&missing).unwrap_err();
    let StoreError::File { source, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
    assert!(fs::read_dir(&folder.0).unwrap().next().is_none());
}
