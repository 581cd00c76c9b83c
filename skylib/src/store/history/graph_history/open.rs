//! Opening of the past of the graph: its segments, snapshots, and logs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use hashbrown::HashSet;
use parking_lot::{Condvar, Mutex, RwLock};

use super::orphans::Orphans;
use super::{Frozen, LocalHistory, State, TABLE, Writer};
use crate::graph::history::{HistoryLimits, MemoryHistory};
use crate::store::StoreError;
use crate::store::history::event_row::EventRow;
use crate::store::history::folder::HistoryFolder;
use crate::store::history::frame::{FrameBuilder, LogContent};
use crate::store::history::graph_segment::GraphSegment;
use crate::store::history::lost_times::{DamagedSegment, LostTimes};
use crate::store::history::names::{Catalog, Generation, Name};
use crate::store::history::outage::Outage;
use crate::store::history::unsealed_event::UnsealedEvent;
use crate::store::history::worker::Signals;

impl LocalHistory {
    /// Opens the past of the graph in a folder. `memory` limits its newest part in memory.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be read or written.
    pub fn open(folder: Arc<HistoryFolder>, memory: HistoryLimits) -> Result<Self, StoreError> {
        let path = folder.table(TABLE);
        let catalog = folder.read_table(&path)?;
        let mut lost = LostTimes::default();
        let state = read_state(&folder, &path, &catalog, &mut lost)?;
        let files = || state.segments.iter().chain(&state.snapshots);
        let unsealed = || state.frozen.iter().flat_map(|frozen| &frozen.events);
        let numbers = files().map(|segment| segment.span.seq);
        let newest = numbers.chain(unsealed().map(UnsealedEvent::seq)).max();
        let newest = newest.unwrap_or(0);
        let recorded = files().map(|segment| segment.span.recorded.1);
        let ended_at = recorded
            .chain(unsealed().map(UnsealedEvent::recorded))
            .max();
        let unsealed_bytes = state.frozen.iter().map(|frozen| frozen.bytes).sum();
        let is_new = files().next().is_none() && state.frozen.is_empty() && lost.is_empty();
        let unchecked = files().map(Arc::downgrade).collect();
        let history = Self {
            unchecked: Mutex::new(unchecked),
            writer: Mutex::new(Writer {
                log: None,
                generation: catalog.next(),
                frame: FrameBuilder::default(),
                synced_at: None,
            }),
            memory: MemoryHistory::new(memory),
            pending: Mutex::default(),
            next_seq: Mutex::new(newest + 1),
            state: RwLock::new(State {
                logged: newest,
                ..state
            }),
            unsealed_bytes: AtomicUsize::new(unsealed_bytes),
            sealing: Mutex::default(),
            tidying: Mutex::default(),
            has_worker: AtomicBool::new(false),
            signals: Signals::default(),
            outage: Outage::new("topology"),
            room: Condvar::new(),
            waiting: Mutex::default(),
            now: AtomicI64::new(ended_at.unwrap_or_default()),
            orphans: Mutex::new(if is_new {
                Orphans::Settled
            } else {
                Orphans::Unknown(HashSet::new())
            }),
            ended_at: ended_at.unwrap_or_default(),
            lost: Mutex::new(lost),
            restored: Mutex::default(),
            path,
            folder,
        };
        history.measure();
        Ok(history)
    }
}

/// Opens the files of a catalog. `lost` receives the times of damaged segments.
fn read_state(
    folder: &HistoryFolder,
    path: &Path,
    catalog: &Catalog,
    lost: &mut LostTimes,
) -> Result<State, StoreError> {
    let mut state = State::default();
    let mut damaged = Vec::new();
    let set_aside = folder.segments_set_aside(TABLE);
    let mut open = |name| {
        let opened = folder.open_segment(TABLE, name, &mut damaged, GraphSegment::open);
        opened.map(Arc::new)
    };
    for name in &catalog.segments {
        state.segments.extend(open(*name));
    }
    for generation in &catalog.snapshots {
        state.snapshots.extend(open(Name::Snapshot(*generation)));
    }
    for generation in &catalog.logs {
        let content = folder.read_log(path, *generation)?;
        let lost = content.lost_bytes as u64;
        let counters = &folder.graph_counters;
        counters.lost_log_bytes.fetch_add(lost, Ordering::Relaxed);
        let log_bytes = folder.log_bytes(path, *generation);
        let frozen = replay(*generation, &content, log_bytes);
        if frozen.events.is_empty() && !content.is_damaged {
            folder.remove_log(path, *generation)?;
        } else {
            state.frozen.push(Arc::new(frozen));
        }
    }
    note_damaged(&state, &damaged, &set_aside, lost);
    Ok(state)
}

/// Records the times of damaged segments, and of damaged snapshots without older files; `set_aside`
/// are those of earlier starts.
fn note_damaged(
    state: &State,
    damaged: &[DamagedSegment],
    set_aside: &[DamagedSegment],
    lost: &mut LostTimes,
) {
    let segments = state.segments.iter();
    let segments = segments.map(|segment| (segment.name, segment.span.recorded));
    let logs = state.frozen.iter().filter_map(|frozen| {
        let (first, last) = (frozen.events.first()?, frozen.events.last()?);
        let name = Name::Log(frozen.generation);
        Some((name, (first.recorded(), last.recorded())))
    });
    let others: Vec<_> = segments.chain(logs).collect();
    for damaged in damaged {
        if !state.is_redundant(damaged.name) {
            lost.add_unreadable(*damaged, &others);
        }
    }
    for damaged in set_aside {
        lost.add_set_aside(*damaged, &others);
    }
}

/// Returns the events of a log.
fn replay(generation: Generation, content: &LogContent, log_bytes: u64) -> Frozen {
    let rows = content
        .records()
        .filter_map(|record| serde_json::from_slice::<EventRow>(record).ok());
    let events: Vec<_> = rows.map(|row| UnsealedEvent::Row(Arc::new(row))).collect();
    Frozen {
        generation,
        bytes: events.iter().map(UnsealedEvent::bytes).sum(),
        events,
        log_bytes,
        is_log_damaged: content.is_damaged,
        has_unlogged: false,
    }
}
