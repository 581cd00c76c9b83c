//! `Baseline`: the last delivered answer, updated by later events, and the changes not delivered
//! yet.
//!
//! A hash index from element ids to positions, built when the first event needs it, makes applying
//! an event O(1) per occurrence of the element.

use std::collections::BTreeSet;

use hashbrown::HashMap;

use super::dependencies::{Dependencies, Effect, EventKind};
use super::diff::Diff;
use super::item::ItemKey;
use super::keyed_rows::{KeyedRow, KeyedRows};
use super::update::{Change, List};
use crate::graph::GraphEvent;

#[derive(Debug)]
pub(super) struct Baseline {
    /// Last delivered answer, updated by the events since.
    rows: KeyedRows,
    /// Approximate size of `rows` and their index, in bytes.
    bytes: usize,
    /// Changes of each list that have not been delivered to the client.
    pending: [Pending; 2],
    /// Index of the nodes and edges of each list; `None` until the first event needs it.
    positions: Option<[HashMap<ItemKey, Positions>; 2]>,
}

/// Changes of one list that have not been delivered.
#[derive(Debug, Default)]
struct Pending {
    /// Number of rows that the client has: `rows[..delivered]`. Later rows are new.
    delivered: usize,
    /// Positions, all below `delivered`, whose item has changed since.
    changed: BTreeSet<usize>,
}

/// Positions of one element in a list: one, unless the answer contains duplicates.
#[derive(Debug)]
struct Positions {
    first: usize,
    others: Vec<usize>,
}

impl Baseline {
    /// Creates the baseline of an answer that is being delivered.
    pub(super) fn new(rows: KeyedRows) -> Self {
        let pending = [0, 1].map(|list: usize| Pending {
            delivered: rows.lists[list].len(),
            changed: BTreeSet::new(),
        });
        Self {
            bytes: rows.bytes(),
            rows,
            pending,
            positions: None,
        }
    }

    /// Returns the number of items.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns the approximate size in bytes, excluding the graph's elements.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Applies a graph event to the answer. Returns `false` if the query has to run again.
    pub(super) fn apply(&mut self, dependencies: &Dependencies, event: &GraphEvent) -> bool {
        let (row, kind) = match event {
            GraphEvent::NodeAdded(node) => (KeyedRow::node(node), EventKind::Added),
            GraphEvent::NodeUpdated { node, ops } => {
                (KeyedRow::node(node), EventKind::Updated(ops.as_deref()))
            }
            GraphEvent::NodeDeleted(node) => (KeyedRow::node(node), EventKind::Deleted),
            GraphEvent::EdgeAdded(edge) => (KeyedRow::edge(edge), EventKind::Added),
            GraphEvent::EdgeUpdated { edge, ops } => {
                (KeyedRow::edge(edge), EventKind::Updated(ops.as_deref()))
            }
            GraphEvent::EdgeDeleted(edge) => (KeyedRow::edge(edge), EventKind::Deleted),
        };
        let (list, effect) = match event {
            GraphEvent::NodeAdded(node)
            | GraphEvent::NodeUpdated { node, .. }
            | GraphEvent::NodeDeleted(node) => {
                // Node and edge ids share one key type, so a list of edges must not be searched.
                let may_contain = self.rows.kind != "edges";
                let is_in = may_contain && self.positions(0).contains_key(&row.key);
                (0, dependencies.effect_of_node(node, kind, is_in))
            }
            GraphEvent::EdgeAdded(edge)
            | GraphEvent::EdgeUpdated { edge, .. }
            | GraphEvent::EdgeDeleted(edge) => {
                let list = usize::from(self.rows.kind == "graph");
                let may_contain = self.rows.kind != "nodes";
                let is_in = may_contain && self.positions(list).contains_key(&row.key);
                (list, dependencies.effect_of_edge(edge, kind, is_in))
            }
        };
        match effect {
            Effect::None => {}
            Effect::Appends => self.push(list, row),
            Effect::Replaces => self.replace(list, &row),
            Effect::Unknown => return false,
        }
        true
    }

    /// Returns the index of a list, building it if necessary.
    fn positions(&mut self, list: usize) -> &mut HashMap<ItemKey, Positions> {
        let lists = &self.rows.lists;
        let positions = self
            .positions
            .get_or_insert_with(|| [0, 1].map(|list: usize| index(&lists[list])));
        &mut positions[list]
    }

    fn push(&mut self, list: usize, row: KeyedRow) {
        let positions = Positions {
            first: self.rows.lists[list].len(),
            others: Vec::new(),
        };
        self.positions(list).insert(row.key.clone(), positions);
        self.bytes += row.bytes();
        self.rows.lists[list].push(row);
    }

    fn replace(&mut self, list: usize, row: &KeyedRow) {
        let Some(positions) = self.positions(list).get(&row.key) else {
            return;
        };
        let all: Vec<usize> = std::iter::once(positions.first)
            .chain(positions.others.iter().copied())
            .collect();
        for at in all {
            self.rows.lists[list][at].item = row.item.clone();
            // A row that is still new is delivered as a whole anyway.
            if at < self.pending[list].delivered {
                self.pending[list].changed.insert(at);
            }
        }
    }

    /// Returns whether there are changes to deliver.
    pub(super) fn has_changes(&self) -> bool {
        let lists = self.rows.lists.iter().zip(&self.pending);
        lists
            .into_iter()
            .any(|(rows, pending)| !pending.changed.is_empty() || pending.delivered < rows.len())
    }

    /// Returns the pending changes and marks them delivered.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        let lists = self.rows.lists.iter().zip(&mut self.pending);
        for (list, (rows, pending)) in LISTS.into_iter().zip(lists) {
            for at in std::mem::take(&mut pending.changed) {
                changes.push(Change::changed(list, at, at, &rows[at]));
            }
            let new = pending.delivered..rows.len();
            changes.extend(new.map(|at| Change::entered(list, at, &rows[at])));
            pending.delivered = rows.len();
        }
        changes
    }

    /// Returns the changes from the delivered answer to a new one; `None` if the entire answer
    /// should be delivered instead.
    pub(super) fn changes_to(&self, rows: &KeyedRows) -> Option<Vec<Change>> {
        if rows.kind != self.rows.kind {
            return None;
        }
        let diff = |list: usize| {
            let pending = &self.pending[list];
            let known = &self.rows.lists[list][..pending.delivered];
            let is_outdated = |position| pending.changed.contains(&position);
            Diff::between(LISTS[list], known, &rows.lists[list], is_outdated)
        };
        let (first, edges) = (diff(0)?, diff(1)?);
        // An edge is removed before its nodes and inserted after them.
        let mut changes = edges.removals;
        changes.extend(first.removals);
        changes.extend(first.others);
        changes.extend(edges.others);
        Some(changes)
    }
}

/// Returns the positions of the nodes and edges of a list. Other items are never looked up.
fn index(rows: &[KeyedRow]) -> HashMap<ItemKey, Positions> {
    let mut positions: HashMap<ItemKey, Positions> = HashMap::new();
    for (at, row) in rows
        .iter()
        .enumerate()
        .filter(|(_, row)| matches!(row.key, ItemKey::Id(_)))
    {
        positions
            .entry_ref(&row.key)
            .and_modify(|positions| positions.others.push(at))
            .or_insert(Positions {
                first: at,
                others: Vec::new(),
            });
    }
    positions
}

const LISTS: [List; 2] = [List::First, List::Edges];
