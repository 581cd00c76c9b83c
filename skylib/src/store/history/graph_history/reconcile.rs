//! Reconciliation after dropped changes: corrects the states of elements on the disk.
//!
//! The disk contains the changes of an element, from which queries compute its state. If its newest
//! change was dropped because the disk could not be written, the element is missing, outdated, or
//! not marked as deleted until its next change. Such elements are tracked; once the disk can be
//! written again, their present state or their deletion is recorded from memory, with the time of
//! the change. If there are too many to track, or a segment is damaged, all elements are recorded
//! again.

use std::io;
use std::sync::Arc;

use hashbrown::HashMap;

use super::LocalHistory;
use super::orphans::Orphans;
use crate::graph::history::{History, Unlimited};
use crate::store::history::event_row::{EventRow, closing};
use crate::store::history::graph_fold::ElementId;
use crate::store::history::outage::Operation;
use crate::store::history::unsealed_event::UnsealedEvent;
use crate::store::history::worker::Maintain as _;
use crate::time::{Timestamp, When};

/// Elements whose newest change is missing on the disk.
#[derive(Default)]
pub(super) struct Missing {
    elements: Elements,
    /// Whether any element may be missing.
    is_everything: bool,
}

/// Elements, each with the row that records its deletion if it is no longer in memory.
type Elements = HashMap<ElementId, Option<Arc<EventRow>>>;

impl Missing {
    /// Records that a change was dropped.
    pub(super) fn add(&mut self, event: &UnsealedEvent) {
        let deletion = match event {
            UnsealedEvent::Row(row) if row.event.is_deletion() => Some(Arc::clone(row)),
            UnsealedEvent::Row(_) | UnsealedEvent::Shared { .. } => None,
        };
        self.insert((event.is_edge(), event.id()), deletion);
    }

    fn insert(&mut self, id: ElementId, deletion: Option<Arc<EventRow>>) {
        if !self.is_everything {
            self.elements.insert(id, deletion);
        }
        self.limit();
    }

    /// Adds elements that could not be recorded again. Entries of changes that were dropped in the
    /// meantime are newer and remain.
    fn put_back(&mut self, elements: impl Iterator<Item = (ElementId, Option<Arc<EventRow>>)>) {
        for (id, deletion) in elements {
            if self.is_everything {
                return;
            }
            self.elements.entry(id).or_insert(deletion);
            self.limit();
        }
    }

    fn limit(&mut self) {
        if self.elements.len() > MAX_MISSING {
            self.add_everything();
        }
    }

    /// Records that any element may be missing.
    pub(super) fn add_everything(&mut self) {
        *self = Self {
            elements: HashMap::new(),
            is_everything: true,
        };
    }

    /// Records a change that was recorded after all that were dropped: one with the whole state of its
    /// element replaces them.
    pub(super) fn recorded(&mut self, event: &UnsealedEvent) {
        if !self.elements.is_empty() && !event.is_counter() {
            self.elements.remove(&(event.is_edge(), event.id()));
        }
    }

    fn is_empty(&self) -> bool {
        self.elements.is_empty() && !self.is_everything
    }
}

impl LocalHistory {
    /// Records again the elements whose newest change was dropped, if the disk can be written.
    pub(super) fn reconcile(&self, now: Timestamp) {
        if !self.may_reconcile(now) {
            return;
        }
        let missing = std::mem::take(&mut self.state.write().missing);
        let elements = match missing.is_everything {
            true => self.everything(now),
            false => Ok(missing.elements),
        };
        let elements = match elements {
            Ok(elements) => elements,
            Err(error) => {
                self.state.write().missing.add_everything();
                self.fail(Operation::Reconcile, &error);
                return;
            }
        };
        let mut elements: Vec<_> = elements.into_iter().collect();
        // Nodes before their edges.
        elements.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let count = elements.len();
        let mut elements = elements.into_iter();
        loop {
            if self.is_crowded() {
                self.seal_due(now);
            }
            if self.is_crowded() {
                // The disk fails again.
                let mut state = self.state.write();
                match missing.is_everything {
                    true => state.missing.add_everything(),
                    false => state.missing.put_back(elements),
                }
                return;
            }
            let batch: Vec<_> = elements.by_ref().take(BATCH_ELEMENTS).collect();
            if batch.is_empty() {
                break;
            }
            self.record_present(batch, now);
        }
        if missing.is_everything {
            self.lost.lock().repair(now);
        }
        self.succeed(Operation::Reconcile);
        tracing::info!(
            elements = count,
            "the present topology was recorded again for the history, because changes were lost"
        );
    }

    fn may_reconcile(&self, now: Timestamp) -> bool {
        let is_everything = {
            let missing = &self.state.read().missing;
            if missing.is_empty() {
                return false;
            }
            missing.is_everything
        };
        // Elements of the past that nothing has brought back yet are not deleted.
        let has_all = !is_everything || matches!(*self.orphans.lock(), Orphans::Settled);
        has_all
            && !self.outage.is_failing(Operation::Seal)
            && self.outage.may_try(Operation::Reconcile, now)
    }

    /// Returns all elements of the present, and those that are alive on the disk.
    fn everything(&self, now: Timestamp) -> io::Result<Elements> {
        let alive = self.alive()?.into_iter();
        let now = now.as_ms();
        let closed = alive.map(|(id, row)| (id, Some(Arc::new(closing(&row, 0, now, now)))));
        let mut elements: Elements = closed.collect();
        let newest = When::At(Timestamp::from_ms(i64::MAX));
        let present = self.memory.open(newest, &Unlimited);
        for node in present.nodes() {
            let node = node.map_err(io::Error::other)?.element;
            let id = node.id.to_string().as_str().into();
            elements.entry((false, id)).or_insert(None);
        }
        for edge in present.edges() {
            let edge = edge.map_err(io::Error::other)?.element;
            let id = edge.id.to_string().as_str().into();
            elements.entry((true, id)).or_insert(None);
        }
        Ok(elements)
    }

    /// Records the newest state of elements.
    fn record_present(&self, elements: Vec<(ElementId, Option<Arc<EventRow>>)>, now: Timestamp) {
        let mut next_seq = self.next_seq.lock();
        // Nothing is recorded meanwhile: what the memory has also has a number.
        let mut pending = self.pending.lock();
        let (mut events, bytes) = pending.numbered(&mut next_seq);
        for ((is_edge, id), deletion) in elements {
            let seq = *next_seq;
            let event = match (self.memory.newest(is_edge, id.as_str()), deletion) {
                (Some(event), _) => UnsealedEvent::new(event, seq, now),
                (None, Some(row)) => UnsealedEvent::Row(Arc::new(EventRow {
                    seq,
                    recorded: now.as_ms(),
                    ..EventRow::clone(&row)
                })),
                (None, None) => continue,
            };
            *next_seq += 1;
            events.push(event);
        }
        drop(pending);
        self.add_recent(events, bytes);
    }
}

/// Maximum number of elements that are tracked individually.
const MAX_MISSING: usize = 16 * 1024;
/// Number of elements that are recorded under the locks that recorders wait for.
const BATCH_ELEMENTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{GraphEvent, Metadata, Node};

    fn event(id: &str, is_deletion: bool) -> UnsealedEvent {
        let mut node = Node::new(id, Metadata::new(), Timestamp::from_ms(1));
        node.deleted_at = is_deletion.then(|| Timestamp::from_ms(2));
        let event = match is_deletion {
            true => GraphEvent::NodeDeleted(Arc::new(node)),
            false => GraphEvent::NodeAdded(Arc::new(node)),
        };
        UnsealedEvent::new(event, 7, Timestamp::from_ms(3))
    }

    #[test]
    fn a_dropped_element_is_missing_until_its_whole_state_is_recorded() {
        let mut missing = Missing::default();
        missing.add(&event("a", false));
        missing.add(&event("b", true));
        missing.recorded(&event("c", false));
        assert_eq!(missing.elements.len(), 2);
        assert!(missing.elements[&(false, "b".into())].is_some());
        missing.add(&event("b", false));
        assert!(missing.elements[&(false, "b".into())].is_none());
        let counters = EventRow {
            id: "a".into(),
            is_counter: true,
            ..EventRow::default()
        };
        missing.recorded(&UnsealedEvent::Row(Arc::new(counters)));
        assert_eq!(
            missing.elements.len(),
            2,
            "counters are not the whole state"
        );
        missing.recorded(&event("a", true));
        missing.recorded(&event("b", false));
        assert!(missing.is_empty());
    }

    #[test]
    fn a_change_that_was_dropped_later_is_not_replaced_by_an_older_one() {
        let mut missing = Missing::default();
        missing.add(&event("a", true));
        missing.put_back([((false, "a".into()), None), ((false, "b".into()), None)].into_iter());
        assert!(missing.elements[&(false, "a".into())].is_some());
        assert_eq!(missing.elements.len(), 2);
    }

    #[test]
    fn too_many_elements_are_everything() {
        let mut missing = Missing::default();
        for number in 0..=MAX_MISSING {
            assert!(!missing.is_everything);
            missing.add(&event(&format!("n{number}"), false));
        }
        assert!(missing.is_everything && missing.elements.is_empty());
        missing.add(&event("a", false));
        missing.recorded(&event("a", false));
        assert!(missing.is_everything && missing.elements.is_empty());
    }
}
