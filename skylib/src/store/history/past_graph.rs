//! `PastGraph`: the elements of a restored past graph; each is stored as text until it is read.
//! Performs no I/O.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use hashbrown::{DefaultHashBuilder, HashMap};

use super::event_row::{EventRow, deletion_of, parse_body, set_counters};
use super::graph_fold::ElementId;
use crate::graph::GraphEvent;
use crate::value::Text;

/// Elements in insertion order, with their ids and the edges of each node.
pub(super) struct PastGraph {
    nodes: Vec<Arc<PastElement>>,
    edges: Vec<Arc<PastElement>>,
    ids: HashMap<ElementId, u32>,
    /// Hashes of the ids of parents and of children with the numbers of their edges, ascending.
    out: Vec<(u64, u32)>,
    inward: Vec<(u64, u32)>,
    hasher: DefaultHashBuilder,
    /// Memory without parsed elements, in bytes.
    text_bytes: usize,
    parsed: ParsedBytes,
}

/// Revisions of an element in a time, oldest first; never empty.
pub(super) struct PastElement {
    /// Number of the event that inserted the element.
    pub(super) born: i64,
    pub(super) revisions: Vec<PastRevision>,
    /// Whether a change after the time is known, so that later events do not matter.
    pub(super) is_complete: bool,
}

/// Revision of an element.
pub(super) struct PastRevision {
    /// Row of the revision, without its body.
    pub(super) row: EventRow,
    /// Metadata as JSON, without later counters.
    pub(super) body: Arc<str>,
    /// Later counters as JSON.
    pub(super) counters: Option<Arc<str>>,
    /// Time of the event that deleted the element in this revision.
    pub(super) deleted: Option<i64>,
    /// The element, once it was read.
    pub(super) parsed: OnceLock<GraphEvent>,
}

/// Memory of the parsed elements that are stored for the next reader, in bytes.
#[derive(Debug, Default)]
pub(super) struct ParsedBytes(AtomicUsize);

impl ParsedBytes {
    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Reserves memory for an element. Returns whether there was enough.
    fn take(&self, bytes: usize) -> bool {
        let fits = self.get().saturating_add(bytes) <= MAX_PARSED_BYTES;
        if fits {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }
        fits
    }
}

impl PastGraph {
    /// Returns a graph of elements; `text_bytes` is their memory.
    pub(super) fn new(elements: Vec<(ElementId, PastElement)>, text_bytes: usize) -> Self {
        let mut graph = Self {
            nodes: Vec::new(),
            edges: Vec::new(),
            ids: HashMap::with_capacity(elements.len()),
            out: Vec::new(),
            inward: Vec::new(),
            hasher: DefaultHashBuilder::default(),
            text_bytes,
            parsed: ParsedBytes::default(),
        };
        let mut elements = elements;
        elements.sort_unstable_by_key(|(_, element)| element.born);
        for ((is_edge, id), element) in elements {
            let list = match is_edge {
                true => &mut graph.edges,
                false => &mut graph.nodes,
            };
            // A past has fewer elements than bytes, and less than 4 GiB.
            let number = u32::try_from(list.len()).unwrap_or(u32::MAX);
            for (parent, child) in element.revisions.iter().filter_map(|r| r.row.ends.as_ref()) {
                graph.out.push((graph.hasher.hash_one(parent), number));
                graph.inward.push((graph.hasher.hash_one(child), number));
            }
            list.push(Arc::new(element));
            graph.ids.insert((is_edge, id), number);
        }
        for ends in [&mut graph.out, &mut graph.inward] {
            ends.sort_unstable();
            ends.dedup();
        }
        graph
    }

    /// Returns all edges, or all nodes, in insertion order.
    pub(super) fn all(&self, is_edge: bool) -> &[Arc<PastElement>] {
        match is_edge {
            true => &self.edges,
            false => &self.nodes,
        }
    }

    /// Returns the number of elements.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns the element with an id.
    pub(super) fn element(&self, id: &ElementId) -> Option<&Arc<PastElement>> {
        self.all(id.0).get(*self.ids.get(id)? as usize)
    }

    /// Iterates over the edges that have, or had, a node as their parent or child.
    pub(super) fn edges_at(
        &self,
        node: &Text,
        is_parent: bool,
    ) -> impl Iterator<Item = &Arc<PastElement>> {
        let ends = match is_parent {
            true => &self.out,
            false => &self.inward,
        };
        let hash = self.hasher.hash_one(node);
        let first = ends.partition_point(|(other, _)| *other < hash);
        let found = ends[first..]
            .iter()
            .take_while(move |(other, _)| *other == hash);
        found.filter_map(|(_, number)| self.edges.get(*number as usize))
    }

    /// Returns the memory of parsed elements.
    pub(super) const fn parsed(&self) -> &ParsedBytes {
        &self.parsed
    }

    /// Returns the memory in bytes, approximately.
    pub(super) fn bytes(&self) -> usize {
        const ENTRY: usize = size_of::<(ElementId, u32)>() + size_of::<Arc<PastElement>>();
        let ends = (self.out.len() + self.inward.len()) * size_of::<(u64, u32)>();
        self.text_bytes + self.ids.len() * ENTRY + ends + self.parsed.get()
    }
}

impl PastElement {
    /// Returns whether the metadata of any revision contains a string, given in its JSON form.
    pub(super) fn has_text(&self, json: &str) -> bool {
        self.revisions
            .iter()
            .any(|revision| revision.body.contains(json))
    }
}

impl PastRevision {
    /// Returns the addition, or the deletion, of the element in this revision, and the bytes of
    /// memory if it was parsed now.
    pub(super) fn event(&self, parsed: &ParsedBytes) -> (GraphEvent, usize) {
        if let Some(event) = self.parsed.get() {
            return (event.clone(), 0);
        }
        let mut metadata = parse_body(&self.body);
        if let Some(counters) = &self.counters {
            set_counters(&mut metadata, counters);
        }
        let event = self.row.to_event(metadata);
        let deletion = self.deleted.and_then(|at| deletion_of(&event, at));
        let event = deletion.unwrap_or(event);
        let bytes = event.metadata_bytes() + PARSED_OVERHEAD;
        if parsed.take(bytes) {
            // Another reader may have been faster; both elements are equal.
            drop(self.parsed.set(event.clone()));
        }
        (event, bytes)
    }
}

/// Memory of an element without its metadata, in bytes, approximately.
const PARSED_OVERHEAD: usize = 256;
/// Maximum memory of the parsed elements that a [`PastGraph`] caches, in bytes.
const MAX_PARSED_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::history::graph_fold::GraphFold;

    fn row(id: &str, seq: i64, ends: Option<(&str, &str)>) -> EventRow {
        let event = match ends {
            Some(_) => crate::store::history::event_row::EventKind::EdgeAdded,
            None => crate::store::history::event_row::EventKind::NodeAdded,
        };
        EventRow {
            id: id.into(),
            seq,
            time: 10,
            event,
            ends: ends.map(|(parent, child)| (parent.into(), child.into())),
            body: Some(format!(r#"{{"Name":"{id}"}}"#).into()),
            ..EventRow::default()
        }
    }

    #[test]
    fn elements_are_found_by_id_and_by_their_ends() {
        let mut fold = GraphFold::at(20);
        for row in [
            row("b", 2, None),
            row("a", 1, None),
            row("ab", 3, Some(("a", "b"))),
            row("aa", 4, Some(("a", "a"))),
        ] {
            fold.apply(row);
        }
        let graph = fold.into_graph();
        let names = |elements: &[Arc<PastElement>]| -> Vec<String> {
            let ids = elements.iter().map(|element| &element.revisions[0].row.id);
            ids.map(ToString::to_string).collect()
        };
        assert_eq!(names(graph.all(false)), ["a", "b"], "in insertion order");
        let at = |node: &str, is_parent| {
            let found: Vec<_> = graph.edges_at(&node.into(), is_parent).cloned().collect();
            names(&found)
        };
        assert_eq!(at("a", true), ["ab", "aa"]);
        assert_eq!(at("a", false), ["aa"]);
        assert_eq!(at("b", false), ["ab"]);
        assert!(at("c", true).is_empty());
        let found = graph.element(&(true, "ab".into())).unwrap();
        assert!(found.has_text(r#""ab""#) && !found.has_text(r#""b""#));
        assert!(graph.element(&(false, "ab".into())).is_none());
        let before = graph.bytes();
        let (event, bytes) = found.revisions[0].event(graph.parsed());
        assert!(matches!(event, GraphEvent::EdgeAdded(_)) && bytes > 0);
        assert_eq!(found.revisions[0].event(graph.parsed()).1, 0, "parsed once");
        assert_eq!(graph.bytes(), before + bytes);
    }
}
