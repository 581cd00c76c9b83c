//! Opening of the flows: their segments and logs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::{Condvar, Mutex, RwLock};
use prost::Message as _;

use super::inbox::Inbox;
use super::{Counts, Frozen, LocalFlowStore, State, TABLE, Writer};
use crate::flow::Flow;
use crate::store::StoreError;
use crate::store::history::flow_segment::FlowSegment;
use crate::store::history::folder::HistoryFolder;
use crate::store::history::frame::LogContent;
use crate::store::history::lost_times::LostTimes;
use crate::store::history::names::{Catalog, Generation};
use crate::store::history::outage::Outage;
use crate::store::history::recent_flows::RecentFlows;
use crate::store::history::worker::Signals;
use crate::store::stored_flow::FlowUpdate;
use crate::time::Timestamp;

impl LocalFlowStore {
    /// Opens the flows in a folder: reads the footers of the segments and the logs that are in no
    /// segment. Damaged files are moved to the folder `damaged` and named in the log.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be read or written.
    pub fn open(folder: Arc<HistoryFolder>) -> Result<Self, StoreError> {
        let path = folder.table(TABLE);
        let catalog = folder.read_table(&path)?;
        let mut next_number = 1;
        let mut lost_times = LostTimes::default();
        let state = read_state(&folder, &path, &catalog, &mut next_number, &mut lost_times)?;
        let newest = state.frozen.iter().map(|frozen| frozen.flows.newest());
        let newest = newest.max().flatten();
        let unchecked = state.segments.iter().map(Arc::downgrade).collect();
        let store = Self {
            unchecked: Mutex::new(unchecked),
            writer: Mutex::new(Writer {
                log: None,
                synced_at: None,
            }),
            inbox: Mutex::new(Inbox::new(catalog.next(), next_number)),
            now: AtomicI64::new(newest.map_or(0, Timestamp::as_ms)),
            state: RwLock::new(state),
            sealing: Mutex::default(),
            tidying: Mutex::default(),
            has_worker: false.into(),
            signals: Signals::default(),
            outage: Outage::new("flows"),
            sealed: Condvar::new(),
            waiting: Mutex::default(),
            lost: Mutex::new(lost_times),
            path,
            folder,
        };
        let lost = store.state.read().counts.lost_log_bytes;
        let counters = &store.folder.flow_counters;
        counters.lost_log_bytes.store(lost, Ordering::Relaxed);
        store.measure();
        Ok(store)
    }
}

/// Opens the files of a catalog. `next_number` becomes the number of the next record; `lost` receives
/// the times of damaged segments.
fn read_state(
    folder: &HistoryFolder,
    path: &Path,
    catalog: &Catalog,
    next_number: &mut i64,
    lost: &mut LostTimes,
) -> Result<State, StoreError> {
    let mut state = State::default();
    let mut damaged = Vec::new();
    let set_aside = folder.segments_set_aside(TABLE);
    for name in &catalog.segments {
        let opened = folder.open_segment(TABLE, *name, &mut damaged, FlowSegment::open);
        if let Some(segment) = opened {
            *next_number = (*next_number).max(segment.span.number + 1);
            state.segments.push(Arc::new(segment));
        }
    }
    let others = state.segments.iter();
    let others = others.map(|segment| (segment.name, segment.span.updated));
    let others: Vec<_> = others.collect();
    for damaged in damaged {
        lost.add_unreadable(damaged, &others);
    }
    for damaged in set_aside {
        lost.add_set_aside(damaged, &others);
    }
    for generation in &catalog.logs {
        let content = folder.read_log(path, *generation)?;
        let frozen = Frozen {
            log_bytes: folder.log_bytes(path, *generation),
            ..replay(*generation, &content, next_number, &mut state.counts)
        };
        if frozen.flows.is_empty() && !content.is_damaged {
            folder.remove_log(path, *generation)?;
        } else {
            state.frozen.push(Arc::new(frozen));
        }
    }
    Ok(state)
}

/// Returns the table of a log.
fn replay(
    generation: Generation,
    content: &LogContent,
    next_number: &mut i64,
    counts: &mut Counts,
) -> Frozen {
    let mut flows = RecentFlows::default();
    for (flow, arrival) in content.records().filter_map(decode) {
        flows.put(FlowUpdate::new(flow), *next_number, arrival);
        *next_number += 1;
    }
    counts.lost_log_bytes += content.lost_bytes as u64;
    Frozen {
        generation,
        flows,
        log_bytes: 0,
        is_log_damaged: content.is_damaged,
    }
}

/// Decodes a record of a log: a flow and the time of its arrival. Fails only if a newer version wrote
/// the record: its frame has a checksum.
fn decode(record: &[u8]) -> Option<(Flow, Timestamp)> {
    let (time, record) = record.split_first_chunk()?;
    let arrival = Timestamp::from_ms(i64::from_le_bytes(*time));
    Some((Flow::decode(record).ok()?, arrival))
}
