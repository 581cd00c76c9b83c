//! Restoring: the elements of a time from the newest snapshot before it and the events after that.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use super::LocalHistory;
use super::file_log::FileLog;
use crate::error_chain::Chain;
use crate::graph::GraphError;
use crate::graph::history::ReadBudget;
use crate::store::history::event_row::EventRow;
use crate::store::history::graph_fold::{ElementId, GraphFold};
use crate::store::history::graph_rows::{ChosenRows, Detail};
use crate::store::history::graph_segment::GraphSegment;
use crate::store::history::names::Name;
use crate::store::history::parquet_file::is_damage;
use crate::store::history::past_graph::PastGraph;
use crate::store::history::sorted_merge::merge;
use crate::store::history::unsealed_event::UnsealedEvent;
use crate::time::When;

/// Files and rows in memory from which a time is read.
pub(super) struct Plan {
    pub(super) when: When,
    /// Newest snapshot before the time.
    pub(super) base: Option<Arc<GraphSegment>>,
    /// Segments after the snapshot that may have events of the time, oldest first.
    pub(super) segments: Vec<Arc<GraphSegment>>,
    /// Segments after the time: only the next change of each element matters.
    pub(super) later: Vec<Arc<GraphSegment>>,
    /// Events that are not in a segment, oldest first.
    pub(super) memory: Vec<UnsealedEvent>,
    /// Number of the newest event in a segment.
    sealed: i64,
    /// Reads of files.
    pub(super) files: FileLog,
}

/// Rows that a reader needs.
pub(super) struct Wanted<'a> {
    /// Ids of elements in ascending order; `None` for all elements.
    pub(super) ids: Option<&'a [&'a str]>,
    /// Memory that the reader holds besides the rows, in bytes.
    pub(super) held: usize,
    pub(super) budget: &'a dyn ReadBudget,
}

/// Past graph that was restored from the disk.
pub(super) struct Restored {
    when: When,
    /// Number of the newest event that was read.
    seq: i64,
    graph: Arc<PastGraph>,
}

/// Restored past graph, and the deletions that were recorded after the restore.
pub(super) struct Whole {
    pub(super) graph: Arc<PastGraph>,
    /// Times of these deletions.
    pub(super) deleted: HashMap<ElementId, i64>,
}

impl Plan {
    /// Returns the memory of the plan, in bytes, approximately.
    pub(super) const fn bytes(&self) -> usize {
        self.memory.len() * size_of::<UnsealedEvent>()
    }

    /// Returns the snapshot and the segments, oldest first, each with the columns that are needed.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Arc<GraphSegment>, Detail)> {
        let whole = self.base.iter().chain(&self.segments);
        let whole = whole.map(|segment| (segment, Detail::Whole));
        whole.chain(self.later.iter().map(|segment| (segment, Detail::Heads)))
    }

    pub(super) fn base_seq(&self) -> i64 {
        self.base.as_ref().map_or(0, |base| base.span.seq)
    }

    /// Returns the number of the newest event.
    fn newest(&self) -> i64 {
        self.memory.last().map_or(self.sealed, UnsealedEvent::seq)
    }

    /// Returns the deletions since a time was restored; `None` if it must be restored again, because
    /// earlier times have changed, or later events are no longer in memory.
    fn deleted_since(&self, restored: &Restored) -> Option<HashMap<ElementId, i64>> {
        if self.sealed > restored.seq {
            return None;
        }
        let last = self.when.slice().last.as_ms();
        let is_read = |event: &UnsealedEvent| event.seq() <= restored.seq;
        let first = self.memory.partition_point(is_read);
        let mut deleted = HashMap::new();
        let mut changed = HashSet::new();
        for event in &self.memory[first..] {
            if event.time() <= last {
                return None;
            }
            let id = (event.is_edge(), event.id());
            if changed.insert(id.clone()) && event.is_deletion() {
                deleted.insert(id, event.time());
            }
        }
        Some(deleted)
    }
}

impl LocalHistory {
    /// Returns the files and the events in memory that must be read for the graph at a time.
    pub(super) fn plan(&self, when: When) -> Plan {
        self.collect();
        let slice = when.slice();
        let (from, to) = (slice.start.as_ms(), slice.last.as_ms());
        let state = self.state.read();
        let is_before = |base: &&Arc<GraphSegment>| base.span.time.1 < from;
        let base = state.snapshots.iter().rev().find(is_before);
        // Without a snapshot before the time: the events from the beginning, or what is left.
        let first = state
            .segments
            .first()
            .map_or(0, |segment| match segment.name {
                Name::Segment(first, _) => first,
                Name::Log(_) | Name::Snapshot(_) => 0,
            });
        let is_base_of_first = |base: &&Arc<GraphSegment>| base.name.last() < first;
        let base = base.or_else(|| state.snapshots.iter().rev().find(is_base_of_first));
        let after = base.map_or(0, |base| base.name.last());
        let (segments, later) = state
            .segments
            .iter()
            .filter(|segment| segment.name.last() > after)
            .cloned()
            .partition(|segment| segment.span.time.0 <= to);
        let files = FileLog::default();
        let is_skipped = |segment: &&Arc<GraphSegment>| segment.name.last() <= after;
        let skipped = state.segments.iter().filter(is_skipped).cloned();
        files.skip(
            skipped,
            &format!("before the snapshot {}", Name::Snapshot(after)),
        );
        let frozen = state.frozen.iter().flat_map(|frozen| &frozen.events);
        let sealed = state.segments.iter().map(|segment| segment.span.seq);
        Plan {
            when,
            base: base.cloned(),
            segments,
            later,
            memory: frozen.chain(&state.recent).cloned().collect(),
            sealed: sealed.max().unwrap_or_default(),
            files,
        }
    }

    /// Returns all elements of the time of `plan`, from the cache or restored from the files.
    ///
    /// A past graph needs much memory: only one is restored at once, and only the [`MAX_RESTORED`]
    /// most recently used are cached.
    pub(super) fn whole(&self, plan: &Plan, budget: &dyn ReadBudget) -> Result<Whole, GraphError> {
        let mut stored = loop {
            if let Some(stored) = self.restored.try_lock_for(POLL) {
                break stored;
            }
            budget.poll()?;
        };
        if let Some(position) = stored.iter().position(|other| other.when == plan.when) {
            let restored = stored.remove(position);
            if let Some(deleted) = plan.deleted_since(&restored) {
                let graph = Arc::clone(&restored.graph);
                plan.files
                    .add_memory(graph.len(), "cached graph of the queried time");
                stored.insert(0, restored);
                budget.hold(graph.bytes())?;
                return Ok(Whole { graph, deleted });
            }
        }
        stored.truncate(MAX_RESTORED - 1);
        let mut fold = GraphFold::new(plan.when);
        let wanted = Wanted {
            ids: None,
            held: plan.bytes(),
            budget,
        };
        self.apply(plan, &wanted, &mut fold)?;
        let graph = Arc::new(fold.into_graph());
        budget.hold(graph.bytes())?;
        let restored = Restored {
            when: plan.when,
            seq: plan.newest(),
            graph: Arc::clone(&graph),
        };
        stored.insert(0, restored);
        while stored.len() > 1
            && stored
                .iter()
                .map(|other| other.graph.bytes())
                .sum::<usize>()
                > MAX_RESTORED_BYTES
        {
            stored.pop();
        }
        Ok(Whole {
            graph,
            deleted: HashMap::new(),
        })
    }

    /// Applies the wanted rows of a plan to a fold.
    pub(super) fn apply(
        &self,
        plan: &Plan,
        wanted: &Wanted<'_>,
        fold: &mut GraphFold,
    ) -> Result<(), GraphError> {
        for (segment, detail) in plan.files() {
            wanted.budget.poll()?;
            let read = apply_segment(plan, segment, detail, wanted, fold);
            let is_read = self.check_read(segment, read)?;
            if !is_read && matches!(segment.name, Name::Snapshot(_)) {
                // What the damaged snapshot had is in an older one and the events after that.
                *fold = GraphFold::new(plan.when);
                return self.apply(&self.plan(plan.when), wanted, fold);
            }
        }
        let is_wanted = |event: &&UnsealedEvent| {
            let ids = wanted.ids;
            ids.is_none_or(|ids| event.with_id(|id| ids.binary_search(&id).is_ok()))
        };
        let mut rows = 0_usize;
        for event in plan.memory.iter().filter(is_wanted) {
            fold.apply(event.row());
            rows += 1;
            if rows.is_multiple_of(POLL_ROWS) {
                wanted.check(fold)?;
            }
        }
        plan.files
            .add_memory(rows, "events that are not in a segment");
        wanted.check(fold)
    }

    /// Reports a failed read of a segment. A damaged segment is moved to the folder `damaged`, and
    /// the answer is given without it. Returns whether the segment was read.
    pub(super) fn check_read(
        &self,
        segment: &Arc<GraphSegment>,
        read: io::Result<()>,
    ) -> Result<bool, GraphError> {
        let Err(error) = read else {
            return Ok(true);
        };
        if is_damage(&error) {
            self.set_aside(segment, &error);
            return Ok(false);
        }
        Err(error
            .downcast::<GraphError>()
            .unwrap_or_else(|error| GraphError::Unreadable {
                reason: Chain(&error).to_string(),
            }))
    }
}

/// Applies the wanted rows of a segment to a fold.
fn apply_segment(
    plan: &Plan,
    segment: &Arc<GraphSegment>,
    detail: Detail,
    wanted: &Wanted<'_>,
    fold: &mut GraphFold,
) -> io::Result<()> {
    let chosen = wanted.ids.map(|ids| segment.rows_of_ids(ids)).transpose()?;
    let is_empty = chosen.as_ref().is_some_and(ChosenRows::is_empty);
    let reason = match (&chosen, detail) {
        (Some(_), _) if is_empty => {
            "no row has these ids, according to Bloom filters and page statistics"
        }
        (Some(_), _) => "rows of single elements, by their ids",
        (None, Detail::Whole) => "all rows: the whole time is restored",
        (None, Detail::Heads) => "ids and times only: changes after the queried time",
    };
    plan.files.add(segment, chosen.as_ref(), reason);
    if is_empty {
        return Ok(());
    }
    let is_base = matches!(segment.name, Name::Snapshot(_));
    let mut count = 0_usize;
    merge(
        segment.read(chosen.as_ref(), detail)?,
        |_, _, row: EventRow| {
            // A merged segment may begin before the snapshot.
            if is_base || row.seq > plan.base_seq() {
                fold.apply(row);
            }
            count += 1;
            match count.is_multiple_of(POLL_ROWS) {
                true => wanted.check(fold).map_err(io::Error::other),
                false => Ok(()),
            }
        },
    )
}

impl Wanted<'_> {
    /// Checks the memory of the reader against its budget and the limit of one past graph.
    fn check(&self, fold: &GraphFold) -> Result<(), GraphError> {
        let bytes = self.held + fold.bytes();
        if bytes > MAX_RESTORED_BYTES {
            return Err(GraphError::PastTooLarge {
                limit: MAX_RESTORED_BYTES,
            });
        }
        self.budget.hold(bytes)
    }
}

/// Maximum number of cached past graphs.
const MAX_RESTORED: usize = 2;
/// Maximum memory of a past graph that is restored, and of all cached past graphs, in bytes.
const MAX_RESTORED_BYTES: usize = 256 << 20;
/// Number of rows between two checks of the budget.
const POLL_ROWS: usize = 4096;
/// Time between two polls while another reader restores a time.
const POLL: Duration = Duration::from_millis(20);
