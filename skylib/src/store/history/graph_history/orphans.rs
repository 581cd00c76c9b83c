//! Orphans: elements of the past that nothing brings back after a start are closed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use super::LocalHistory;
use crate::error_chain::Chain;
use crate::graph::GraphEvent;
use crate::store::history::event_row::{EventRow, closing};
use crate::store::history::graph_fold::ElementId;
use crate::store::history::names::Name;
use crate::store::history::sorted_merge::merge;
use crate::store::history::unsealed_event::UnsealedEvent;
use crate::time::Timestamp;

impl LocalHistory {
    /// Determines which elements of the past have not been recorded since the start, and closes
    /// them after [`CLOSE_AFTER`].
    pub(super) fn close_orphans(&self, now: Timestamp) {
        if matches!(*self.orphans.lock(), Orphans::Unknown(_)) {
            let alive = self.alive();
            let mut orphans = self.orphans.lock();
            let former = std::mem::replace(&mut *orphans, Orphans::Settled);
            match (alive, former) {
                (Ok(mut alive), Orphans::Unknown(seen)) => {
                    alive.retain(|id, _| !seen.contains(id));
                    *orphans = Orphans::Waiting(alive, now.saturating_add(CLOSE_AFTER));
                }
                (Ok(_), _) => {}
                (Err(error), _) => tracing::warn!(
                    error = %Chain(&error),
                    "cannot read the end of the topology's history"
                ),
            }
            return;
        }
        let mut orphans = self.orphans.lock();
        match std::mem::replace(&mut *orphans, Orphans::Settled) {
            Orphans::Waiting(waiting, until) if now < until => {
                *orphans = Orphans::Waiting(waiting, until);
            }
            Orphans::Waiting(waiting, _) => {
                drop(orphans);
                self.close(&waiting, now);
            }
            Orphans::Unknown(_) | Orphans::Settled => {}
        }
    }

    pub(super) fn close(&self, waiting: &HashMap<ElementId, EventRow>, now: Timestamp) {
        let mut next_seq = self.next_seq.lock();
        let mut rows: Vec<&EventRow> = waiting.values().collect();
        // Edges before their nodes.
        rows.sort_by_key(|row| (!row.event.is_edge(), row.seq));
        let closed = rows.into_iter().map(|row| {
            let seq = *next_seq;
            *next_seq += 1;
            let row = closing(row, seq, self.ended_at.max(row.time), now.as_ms());
            UnsealedEvent::Row(Arc::new(row))
        });
        let closed = closed.collect();
        self.add_recent(closed, 0);
    }

    /// Returns the newest rows of the elements that were alive at the end of the files.
    pub(super) fn alive(&self) -> io::Result<HashMap<ElementId, EventRow>> {
        let (base, segments, frozen) = {
            let state = self.state.read();
            let base = state.snapshots.last().cloned();
            let after = base.as_ref().map_or(0, |base| base.name.last());
            let later = state
                .segments
                .iter()
                .filter(|segment| segment.name.last() > after);
            (
                base.clone(),
                later.cloned().collect::<Vec<_>>(),
                state.frozen.clone(),
            )
        };
        let mut alive = HashMap::new();
        let base_seq = base.as_ref().map_or(0, |base| base.span.seq);
        let mut apply = |row: EventRow| {
            let id = (row.event.is_edge(), row.id.clone());
            if row.event.is_deletion() {
                alive.remove(&id);
            } else {
                alive.insert(id, EventRow { body: None, ..row });
            }
        };
        for segment in base.iter().chain(&segments) {
            let is_base = matches!(segment.name, Name::Snapshot(_));
            merge(segment.inputs()?, |_, _, row: EventRow| {
                if is_base || row.seq > base_seq {
                    apply(row);
                }
                Ok(())
            })?;
        }
        for event in frozen.iter().flat_map(|frozen| &frozen.events) {
            apply(event.row());
        }
        Ok(alive)
    }

    /// Notes that elements are recorded again.
    pub(super) fn adopt(&self, events: &[GraphEvent]) {
        let mut orphans = self.orphans.lock();
        if matches!(*orphans, Orphans::Settled) {
            return;
        }
        for event in events {
            let id: ElementId = match event {
                GraphEvent::NodeAdded(node)
                | GraphEvent::NodeUpdated { node, .. }
                | GraphEvent::NodeDeleted(node) => (false, node.id.to_string().as_str().into()),
                GraphEvent::EdgeAdded(edge)
                | GraphEvent::EdgeUpdated { edge, .. }
                | GraphEvent::EdgeDeleted(edge) => (true, edge.id.to_string().as_str().into()),
            };
            match &mut *orphans {
                Orphans::Unknown(seen) => {
                    seen.insert(id);
                }
                Orphans::Waiting(waiting, _) => {
                    waiting.remove(&id);
                }
                Orphans::Settled => {}
            }
        }
    }
}

/// Elements that were alive when the former process ended.
pub(super) enum Orphans {
    /// Not yet determined. Elements recorded since the start.
    Unknown(hashbrown::HashSet<ElementId>),
    /// Elements with their newest rows, closed at the time unless they are recorded again.
    Waiting(HashMap<ElementId, EventRow>, Timestamp),
    /// All were recorded again or closed.
    Settled,
}

/// Time after which elements are closed that were not recorded again since the start.
const CLOSE_AFTER: Duration = Duration::from_secs(60);
