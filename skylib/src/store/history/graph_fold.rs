//! `GraphFold`: applies rows of events in order and retains the revisions within a time window.
//! Performs no I/O.
//!
//! The rules are those of the history in memory: a revision lasts from its time to that of the next
//! one, or to the deletion, both ends included; the times of an element are made monotonic.

use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;

use super::event_row::{EventRow, parse_body, set_counters};
use super::past_graph::{PastElement, PastGraph, PastRevision};
use crate::time::When;
use crate::value::Text;

/// Key of an element: whether it is an edge, and its id.
pub(super) type ElementId = (bool, Text);

/// Revisions within a time window, built from rows in the order of their numbers.
pub(super) struct GraphFold {
    window: Window,
    elements: HashMap<ElementId, Element>,
    /// Approximate memory of `elements` in bytes.
    bytes: usize,
}

/// Time window of a fold, in Unix milliseconds.
#[derive(Clone, Copy)]
struct Window {
    from: i64,
    to: i64,
    /// Whether the window is an instant, at which each element has at most one revision.
    is_instant: bool,
}

/// Revisions of one element.
struct Element {
    /// Number of the event that inserted it.
    born: i64,
    /// Revisions within the window, oldest first.
    revisions: Vec<PastRevision>,
    /// Metadata without later counters.
    body: Arc<str>,
    /// Start of the newest revision, in Unix milliseconds.
    begin: i64,
    /// Time of the deletion after the newest revision, in Unix milliseconds; `None` without one.
    end: Option<i64>,
    /// Whether a change after the window was applied, so that further rows are ignored.
    is_complete: bool,
    /// Approximate memory of `revisions` in bytes.
    bytes: usize,
}

impl GraphFold {
    /// Returns an empty fold for a time window.
    pub(super) fn new(when: When) -> Self {
        let slice = when.slice();
        Self {
            window: Window {
                from: slice.start.as_ms(),
                to: slice.last.as_ms(),
                is_instant: matches!(when, When::At(_)),
            },
            elements: HashMap::new(),
            bytes: 0,
        }
    }

    /// Returns an empty fold for an instant.
    #[cfg(test)]
    pub(super) fn at(ms: i64) -> Self {
        Self::new(When::At(crate::time::Timestamp::from_ms(ms)))
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
                let before = element.bytes;
                element.apply(row, self.window);
                self.bytes = (self.bytes + element.bytes).saturating_sub(before);
            }
            None => {
                if let Some(element) = Element::first(row, self.window.to) {
                    self.bytes += element.bytes + size_of::<(ElementId, Element)>();
                    self.elements.insert(id, element);
                }
            }
        }
    }

    /// Returns the elements that existed within the window.
    pub(super) fn into_elements(self) -> Vec<(ElementId, PastElement)> {
        let from = self.window.from;
        let is_there =
            |(_, element): &(ElementId, Element)| element.end.is_none_or(|end| end >= from);
        let elements = self.elements.into_iter().filter(is_there);
        let elements = elements.filter(|(_, element)| !element.revisions.is_empty());
        elements
            .map(|(id, element)| {
                let element = PastElement {
                    born: element.born,
                    revisions: element.revisions,
                    is_complete: element.is_complete,
                };
                (id, element)
            })
            .collect()
    }

    /// Returns the graph of the time.
    pub(super) fn into_graph(self) -> PastGraph {
        let bytes = self.bytes;
        PastGraph::new(self.into_elements(), bytes)
    }
}

impl Element {
    /// Creates an element from its first row; returns `None` if the row is later than `to` or has
    /// no whole metadata, like a deletion.
    fn first(row: EventRow, to: i64) -> Option<Self> {
        let begin = row.time.max(row.created_at);
        // Counters without the metadata before them are not an element.
        let is_whole = !row.event.is_deletion() && !row.is_counter;
        let body = row.body.clone().filter(|_| is_whole)?;
        if begin > to {
            return None;
        }
        let mut element = Self {
            born: if row.born == 0 { row.seq } else { row.born },
            begin,
            end: None,
            is_complete: false,
            revisions: Vec::with_capacity(1),
            body,
            bytes: 0,
        };
        element.push(row);
        Some(element)
    }

    fn apply(&mut self, row: EventRow, window: Window) {
        if self.is_complete {
            return;
        }
        if row.event.is_deletion() {
            if self.end.is_none() {
                let at = row.time.max(self.begin);
                self.end = Some(at);
                self.is_complete = at > window.to;
                if let Some(revision) = self.revisions.last_mut() {
                    revision.deleted = Some(row.time);
                }
            }
            return;
        }
        let begin = row
            .time
            .max(row.created_at)
            .max(self.end.unwrap_or(self.begin));
        if begin > window.to {
            self.is_complete = true;
            return;
        }
        let was_over = self.end.is_some_and(|end| end < window.from);
        if window.is_instant || was_over || begin < window.from {
            self.revisions.clear();
            self.bytes = 0;
        }
        if let (Some(body), false) = (&row.body, row.is_counter) {
            self.body = Arc::clone(body);
        }
        (self.begin, self.end) = (begin, None);
        self.push(row);
    }

    /// Adds a revision whose body is the current one.
    fn push(&mut self, mut row: EventRow) {
        self.bytes += row.bytes() + size_of::<PastRevision>() - size_of::<EventRow>();
        if self.revisions.is_empty() && row.is_counter {
            self.bytes += self.body.len();
        }
        let own = row.body.take();
        self.revisions.push(PastRevision {
            counters: own.filter(|_| row.is_counter),
            row,
            body: Arc::clone(&self.body),
            deleted: None,
            parsed: OnceLock::new(),
        });
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
