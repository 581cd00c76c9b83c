//! `Told`: an answer that was told, and what events have made of it since.

use std::collections::BTreeSet;
use std::ops::Range;

use hashbrown::HashMap;

use super::dependencies::{Fate, Meaning, Reach};
use super::diff::Difference;
use super::item::Key;
use super::keyed_rows::{Row, Rows};
use super::update::{Change, List};
use crate::graph::GraphEvent;

#[derive(Debug)]
pub(super) struct Told {
    rows: Rows,
    bytes: usize,
    news: [News; 2],
    /// Where nodes and edges stand, list by list; made when the first event asks.
    places: Option<[HashMap<Key, Places>; 2]>,
}

/// What is in a list and was not told.
#[derive(Debug, Default)]
struct News {
    /// Rows that were told; those behind them are new.
    told: usize,
    /// Those of them whose item was not.
    changed: BTreeSet<usize>,
}

/// Where one element stands: once, but for answers with duplicates.
#[derive(Debug)]
struct Places {
    first: usize,
    others: Vec<usize>,
}

impl Told {
    /// An answer just told.
    pub(super) fn new(rows: Rows) -> Self {
        let news = [0, 1].map(|list: usize| News {
            told: rows.lists[list].len(),
            changed: BTreeSet::new(),
        });
        Self {
            bytes: rows.bytes(),
            rows,
            news,
            places: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes of the answer what an event makes of it; `false` where only the query can tell.
    pub(super) fn take_in(&mut self, reach: &Reach, event: &GraphEvent) -> bool {
        let (row, fate) = match event {
            GraphEvent::NodeAdded(node) => (Row::node(node), Fate::Added),
            GraphEvent::NodeUpdated { node, ops } => {
                (Row::node(node), Fate::Updated(ops.as_deref()))
            }
            GraphEvent::NodeDeleted(node) => (Row::node(node), Fate::Deleted),
            GraphEvent::EdgeAdded(edge) => (Row::edge(edge), Fate::Added),
            GraphEvent::EdgeUpdated { edge, ops } => {
                (Row::edge(edge), Fate::Updated(ops.as_deref()))
            }
            GraphEvent::EdgeDeleted(edge) => (Row::edge(edge), Fate::Deleted),
        };
        let (list, meaning) = match event {
            GraphEvent::NodeAdded(node)
            | GraphEvent::NodeUpdated { node, .. }
            | GraphEvent::NodeDeleted(node) => {
                let holds = self.rows.kind != "edges";
                let is_in = holds && self.places(0).contains_key(&row.key);
                (0, reach.of_node(node, fate, is_in))
            }
            GraphEvent::EdgeAdded(edge)
            | GraphEvent::EdgeUpdated { edge, .. }
            | GraphEvent::EdgeDeleted(edge) => {
                let list = usize::from(self.rows.kind == "graph");
                let holds = self.rows.kind != "nodes";
                let is_in = holds && self.places(list).contains_key(&row.key);
                (list, reach.of_edge(edge, fate, is_in))
            }
        };
        match meaning {
            Meaning::Nothing => {}
            Meaning::Enters => self.push(list, row),
            Meaning::Replaces => self.replace(list, &row),
            Meaning::Unknown => return false,
        }
        true
    }

    fn places(&mut self, list: usize) -> &mut HashMap<Key, Places> {
        let lists = &self.rows.lists;
        let places = self
            .places
            .get_or_insert_with(|| [0, 1].map(|list: usize| index(&lists[list])));
        &mut places[list]
    }

    fn push(&mut self, list: usize, row: Row) {
        let at = self.rows.lists[list].len();
        let places = Places {
            first: at,
            others: Vec::new(),
        };
        self.places(list).insert(row.key.clone(), places);
        self.bytes += row.bytes();
        self.rows.lists[list].push(row);
    }

    fn replace(&mut self, list: usize, row: &Row) {
        let Some(places) = self.places(list).get(&row.key) else {
            return;
        };
        let all: Vec<usize> = std::iter::once(places.first)
            .chain(places.others.iter().copied())
            .collect();
        for at in all {
            self.rows.lists[list][at].item = row.item.clone();
            if at < self.news[list].told {
                self.news[list].changed.insert(at);
            }
        }
    }

    pub(super) fn has_news(&self) -> bool {
        let lists = self.rows.lists.iter().zip(&self.news);
        lists
            .into_iter()
            .any(|(rows, news)| !news.changed.is_empty() || news.told < rows.len())
    }

    /// Tells what was not told.
    pub(super) fn take_news(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for ((name, rows), news) in LISTS.into_iter().zip(&self.rows.lists).zip(&mut self.news) {
            for at in std::mem::take(&mut news.changed) {
                changes.push(Change::changed(name, at, at, &rows[at]));
            }
            let new: Range<usize> = news.told..rows.len();
            changes.extend(new.map(|at| Change::entered(name, at, &rows[at])));
            news.told = rows.len();
        }
        changes
    }

    /// What makes the answer that was told another one; `None` where that is better told whole.
    pub(super) fn changes_to(&self, rows: &Rows) -> Option<Vec<Change>> {
        if rows.kind != self.rows.kind {
            return None;
        }
        let difference = |list: usize| {
            let news = &self.news[list];
            let told = &self.rows.lists[list][..news.told];
            let is_stale = |place| news.changed.contains(&place);
            Difference::between(LISTS[list], told, &rows.lists[list], is_stale)
        };
        let (first, edges) = (difference(0)?, difference(1)?);
        // An edge goes before its nodes and comes after them.
        let mut changes = edges.left;
        changes.extend(first.left);
        changes.extend(first.others);
        changes.extend(edges.others);
        Some(changes)
    }
}

/// Where each element of a list stands; other items are not looked for.
fn index(rows: &[Row]) -> HashMap<Key, Places> {
    let mut places: HashMap<Key, Places> = HashMap::new();
    for (at, row) in rows
        .iter()
        .enumerate()
        .filter(|(_, row)| matches!(row.key, Key::Id(_)))
    {
        places
            .entry_ref(&row.key)
            .and_modify(|places| places.others.push(at))
            .or_insert(Places {
                first: at,
                others: Vec::new(),
            });
    }
    places
}

const LISTS: [List; 2] = [List::First, List::Edges];
