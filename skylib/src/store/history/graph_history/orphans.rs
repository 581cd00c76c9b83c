//! Orphans: elements in the history that no writer adds again after a start. They are recorded as
//! deleted.

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
use crate::store::history::parquet_file::is_damage;
use crate::store::history::sorted_merge::merge;
use crate::store::history::unsealed_event::UnsealedEvent;
use crate::time::{Timestamp, When};

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
                (Err(error), former) => {
                    tracing::warn!(
                        error = %Chain(&error),
                        "cannot read the end of the topology history; elements that disappeared before \
                        this start remain in the history"
                    );
                    if is_damage(&error) {
                        // The damaged file was set aside: the others are read next time.
                        *orphans = former;
                    }
                }
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
                // What exists has been recorded again since the start.
                self.lost.lock().repair(now);
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

    /// Returns the newest rows of the elements that are alive on the disk or waiting for it, without
    /// their metadata.
    pub(super) fn alive(&self) -> io::Result<HashMap<ElementId, EventRow>> {
        let plan = self.plan(When::At(Timestamp::from_ms(i64::MAX)));
        let mut alive = HashMap::new();
        let base_seq = plan.base_seq();
        let mut apply = |row: EventRow| {
            let id = (row.event.is_edge(), row.id.clone());
            if row.event.is_deletion() {
                alive.remove(&id);
            } else {
                alive.insert(id, EventRow { body: None, ..row });
            }
        };
        for (segment, _) in plan.files() {
            let is_base = matches!(segment.name, Name::Snapshot(_));
            let rows = segment.inputs().and_then(|inputs| {
                merge(inputs, |_, _, row: EventRow| {
                    if is_base || row.seq > base_seq {
                        apply(row);
                    }
                    Ok(())
                })
            });
            rows.inspect_err(|error| {
                if is_damage(error) {
                    self.set_aside(segment, error);
                }
            })?;
        }
        for event in &plan.memory {
            apply(event.row());
        }
        Ok(alive)
    }

    /// Records that elements are recorded again.
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
    /// Not yet determined; contains the elements recorded since the start.
    Unknown(hashbrown::HashSet<ElementId>),
    /// Elements with their newest rows, closed at the time unless they are recorded again.
    Waiting(HashMap<ElementId, EventRow>, Timestamp),
    /// All were recorded again or closed.
    Settled,
}

/// Time after the start at which elements that were not recorded again are closed.
const CLOSE_AFTER: Duration = Duration::from_secs(60);
