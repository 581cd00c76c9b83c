//! `GraphFold`: applies rows of events in order and retains the revisions of a time. Pure.
//!
//! The rules are those of the history in memory: a revision lasts from its time to that of the next
//! one, or to the deletion, both ends included; the times of an element are made monotonic.

use std::sync::Arc;

use hashbrown::HashMap;

use super::event_row::{EventRow, deletion_of, parse_body, set_counters};
use crate::graph::GraphEvent;
use crate::value::Text;

/// Key of an element: whether it is an edge, and its id.
pub(super) type ElementId = (bool, Text);

/// Revisions of a time, from rows in the order of their numbers.
pub(super) struct GraphFold {
    /// First and last time, in Unix milliseconds; equal for an instant.
    from: i64,
    to: i64,
    elements: HashMap<ElementId, Element>,
    /// Approximate memory of `elements` in bytes.
    bytes: usize,
}

/// Revisions of one element.
struct Element {
    /// Number of the event that inserted it.
    born: i64,
    /// Revisions of the time, oldest first.
    revisions: Vec<Revision>,
    /// Metadata without later counters.
    body: Arc<str>,
    /// Beginning of the newest revision.
    begin: i64,
    /// Deletion.
    end: Option<i64>,
    /// Whether a change after the time was seen: further rows do not matter.
    is_complete: bool,
}

struct Revision {
    row: EventRow,
    body: Arc<str>,
    counters: Option<Arc<str>>,
    /// Time and number of the event that deleted the element in this revision.
    deleted: Option<(i64, i64)>,
}

impl GraphFold {
    /// Returns an empty fold for a time.
    pub(super) fn new(from: i64, to: i64) -> Self {
        Self {
            from,
            to,
            elements: HashMap::new(),
            bytes: 0,
        }
    }

    /// Returns the approximate memory in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Applies a row. The rows of each element must be applied in the order of their numbers.
    pub(super) fn apply(&mut self, row: EventRow) {
        let id = (row.event.is_edge(), row.id.clone());
        match self.elements.get_mut(&id) {
            Some(element) => {
                let before = element.bytes();
                element.apply(row, self.from, self.to);
                self.bytes = (self.bytes + element.bytes()).saturating_sub(before);
            }
            None => {
                if let Some(element) = Element::first(row, self.to) {
                    self.bytes += element.bytes();
                    self.elements.insert(id, element);
                }
            }
        }
    }

    /// Returns the events that lead to the revisions: nodes before the edges between them.
    pub(super) fn into_events(self) -> Vec<GraphEvent> {
        let from = self.from;
        let elements = self.elements.into_values();
        let is_there = |element: &Element| element.end.is_none_or(|end| end >= from);
        let mut elements: Vec<Element> = elements.filter(is_there).collect();
        elements.sort_by_key(|element| element.born);
        let mut events = Vec::new();
        // First revisions in insertion order, then the others in the order of their events.
        let mut later: Vec<(i64, GraphEvent)> = Vec::new();
        for element in elements {
            let mut revisions = element.revisions.into_iter();
            let Some(first) = revisions.next() else {
                continue;
            };
            let event = first.to_event();
            later.extend(first.to_deletion(&event));
            events.push(event);
            for revision in revisions {
                let event = revision.to_event();
                let deletion = revision.to_deletion(&event);
                later.push((revision.row.seq, event));
                later.extend(deletion);
            }
        }
        later.sort_by_key(|(number, _)| *number);
        events.extend(later.into_iter().map(|(_, event)| event));
        events
    }
}

impl Element {
    /// Returns an element at its first row; `None` if it begins after the time or is deleted.
    fn first(row: EventRow, to: i64) -> Option<Self> {
        let begin = row.time.max(row.created_at);
        // Without the metadata before them, counters are no element.
        let is_whole = !row.event.is_deletion() && !row.is_counter;
        let body = row.body.clone().filter(|_| is_whole)?;
        (begin <= to).then(|| Self {
            born: if row.born == 0 { row.seq } else { row.born },
            begin,
            end: None,
            is_complete: false,
            revisions: vec![Revision {
                row,
                body: Arc::clone(&body),
                counters: None,
                deleted: None,
            }],
            body,
        })
    }

    fn apply(&mut self, row: EventRow, from: i64, to: i64) {
        if self.is_complete {
            return;
        }
        if row.event.is_deletion() {
            if self.end.is_none() {
                let at = row.time.max(self.begin);
                self.end = Some(at);
                self.is_complete = at > to;
                if let Some(revision) = self.revisions.last_mut() {
                    revision.deleted = Some((row.time, row.seq));
                }
            }
            return;
        }
        let begin = row
            .time
            .max(row.created_at)
            .max(self.end.unwrap_or(self.begin));
        if begin > to {
            self.is_complete = true;
            return;
        }
        if begin < from {
            self.revisions.clear();
        }
        let counters = match (&row.body, row.is_counter) {
            (Some(counters), true) => Some(Arc::clone(counters)),
            (Some(body), false) => {
                self.body = Arc::clone(body);
                None
            }
            (None, _) => None,
        };
        (self.begin, self.end) = (begin, None);
        self.revisions.push(Revision {
            row,
            body: Arc::clone(&self.body),
            counters,
            deleted: None,
        });
    }

    fn bytes(&self) -> usize {
        let revisions = self.revisions.iter();
        let revisions: usize = revisions.map(|revision| revision.row.bytes()).sum();
        size_of::<Self>() + self.body.len() + revisions
    }
}

impl Revision {
    fn to_event(&self) -> GraphEvent {
        let mut metadata = parse_body(&self.body);
        if let Some(counters) = &self.counters {
            set_counters(&mut metadata, counters);
        }
        self.row.to_event(metadata)
    }

    /// Returns the event that deletes the element in this revision, with its number.
    fn to_deletion(&self, revision: &GraphEvent) -> Option<(i64, GraphEvent)> {
        let (at, number) = self.deleted?;
        Some((number, deletion_of(revision, at)?))
    }
}

/// Newest state of one element, for snapshots: rows in, a row with the whole metadata out.
#[derive(Default)]
pub(super) struct ElementState {
    newest: Option<EventRow>,
    counters: Option<Arc<str>>,
}

impl ElementState {
    /// Applies the next row of the element.
    pub(super) fn apply(&mut self, row: EventRow) {
        let Some(newest) = &mut self.newest else {
            let born = if row.born == 0 { row.seq } else { row.born };
            let is_whole = !row.event.is_deletion() && !row.is_counter;
            self.newest = is_whole.then_some(EventRow { born, ..row });
            return;
        };
        if row.event.is_deletion() {
            *self = Self::default();
            return;
        }
        let born = newest.born;
        if row.is_counter {
            self.counters.clone_from(&row.body);
            let body = newest.body.take();
            *newest = EventRow { born, body, ..row };
        } else {
            self.counters = None;
            *newest = EventRow { born, ..row };
        }
    }

    /// Returns the row of the element; `None` if it is deleted.
    pub(super) fn finish(self) -> Option<EventRow> {
        let mut row = self.newest?;
        if let Some(counters) = self.counters {
            let mut metadata = parse_body(row.body.as_deref().unwrap_or_default());
            set_counters(&mut metadata, &counters);
            row.body = serde_json::to_string(&metadata).ok().map(Arc::from);
        }
        row.is_counter = false;
        Some(row)
    }
}
