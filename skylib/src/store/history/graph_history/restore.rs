//! Restoring: the revisions of a time from the newest snapshot before it and the events after that.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{LocalHistory, TABLE};
use crate::graph::history::{
    History, HistoryLimits, MemoryHistory, PastReader, Revision, Revisions,
};
use crate::graph::{Direction, Edge, EdgeId, GraphError, Node, NodeId};
use crate::store::history::event_row::EventRow;
use crate::store::history::graph_fold::GraphFold;
use crate::store::history::graph_segment::GraphSegment;
use crate::store::history::names::Name;
use crate::store::history::parquet_file::is_damage;
use crate::store::history::sorted_merge::merge;
use crate::time::When;

impl LocalHistory {
    /// Returns the revisions of a time, from the disk.
    pub(in crate::store::history) fn restore(&self, when: When) -> io::Result<Arc<MemoryHistory>> {
        self.flush(None);
        let slice = when.slice();
        let (from, to) = (slice.start.as_ms(), slice.last.as_ms());
        let (base, segments, frozen, recent) = {
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
            let later = state
                .segments
                .iter()
                .filter(|segment| segment.name.last() > after);
            (
                base.cloned(),
                later.cloned().collect::<Vec<_>>(),
                state.frozen.clone(),
                state.recent.clone(),
            )
        };
        let mut fold = GraphFold::new(from, to);
        let base_seq = base.as_ref().map_or(0, |base| base.span.seq);
        for segment in base.iter().chain(&segments) {
            let read = self.apply_segment(segment, base_seq, &mut fold);
            if let Err(error) = read {
                if !is_damage(&error) {
                    return Err(error);
                }
                self.drop_segment(segment);
                self.folder.report_damage(&segment.folder, TABLE, &error);
            }
        }
        let memory = frozen.iter().flat_map(|frozen| &frozen.rows).chain(&recent);
        for row in memory {
            fold.apply(EventRow::clone(row));
        }
        let limits = HistoryLimits::default()
            .with_max_age(Duration::MAX)
            .with_max_bytes(usize::MAX);
        let restored = MemoryHistory::new(limits);
        restored.record(&fold.into_events(), slice.last);
        Ok(Arc::new(restored))
    }

    pub(super) fn apply_segment(
        &self,
        segment: &Arc<GraphSegment>,
        base_seq: i64,
        fold: &mut GraphFold,
    ) -> io::Result<()> {
        let is_base = matches!(segment.name, Name::Snapshot(_));
        merge(segment.inputs()?, |_, _, row: EventRow| {
            // A merged segment may begin before the snapshot.
            if is_base || row.seq > base_seq {
                fold.apply(row);
            }
            if fold.bytes() > MAX_RESTORED_BYTES {
                return Err(io::Error::new(
                    io::ErrorKind::OutOfMemory,
                    format!(
                        "the past of this time is larger than {MAX_RESTORED_BYTES} bytes; use a shorter interval"
                    ),
                ));
            }
            Ok(())
        })
    }
}

/// Past that cannot be read.
pub(super) struct Unreadable;

impl PastReader for Unreadable {
    fn nodes(&self) -> Revisions<'_, Node> {
        Box::new(std::iter::once(Err(GraphError::ViewExpired)))
    }

    fn edges(&self) -> Revisions<'_, Edge> {
        Box::new(std::iter::once(Err(GraphError::ViewExpired)))
    }

    fn node(&self, _: &NodeId) -> Result<Vec<Revision<Node>>, GraphError> {
        Err(GraphError::ViewExpired)
    }

    fn edge(&self, _: &EdgeId) -> Result<Vec<Revision<Edge>>, GraphError> {
        Err(GraphError::ViewExpired)
    }

    fn edges_of(&self, _: &NodeId, _: Direction) -> Result<Vec<Revision<Edge>>, GraphError> {
        Err(GraphError::ViewExpired)
    }
}

/// Maximum memory of a restored time, in bytes.
const MAX_RESTORED_BYTES: usize = 256 << 20;
