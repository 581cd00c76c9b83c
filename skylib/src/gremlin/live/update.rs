//! `Update` and `Change`: messages that a live query delivers.

use serde::Serialize;

use super::item::{Item, ItemKey};
use super::keyed_rows::KeyedRow;
use crate::gremlin::{Answer, QueryError};

/// An update of a live query.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Update {
    /// The entire answer: the first update, and whenever too much changed for a list of changes.
    Answer {
        /// The answer, which replaces the previous one.
        answer: Answer,
        /// Sequence number of the graph for which the answer holds ([`GraphView::sequence`]).
        ///
        /// [`GraphView::sequence`]: crate::graph::GraphView::sequence
        sequence: u64,
    },
    /// Changes that turn the previous answer into the current one, to apply in order.
    Changes {
        /// The changes; never empty.
        changes: Vec<Change>,
        /// Sequence number of the graph for which the new answer holds.
        sequence: u64,
    },
    /// The query currently has no answer, for example because the node it starts from does not
    /// exist. The next update is an entire answer.
    Failed(QueryError),
}

/// One change to the list that an answer consists of.
///
/// An answer that is a graph has two lists. A single value (a count, a sum) is a list of one item.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "Change", rename_all_fields = "PascalCase")]
#[non_exhaustive]
pub enum Change {
    /// An item was inserted; items from this position on move up by one.
    Entered {
        /// The list that changed.
        #[serde(skip_serializing_if = "List::is_first")]
        list: List,
        /// Position of the new item, from 0.
        at: usize,
        /// Key of the item.
        key: ItemKey,
        /// The item.
        item: Item,
    },
    /// An item changed its content, its position, or both.
    Changed {
        /// The list that changed.
        #[serde(skip_serializing_if = "List::is_first")]
        list: List,
        /// Position from which the item is removed, from 0.
        from: usize,
        /// Position at which the item is inserted after the removal, from 0.
        at: usize,
        /// Key of the item.
        key: ItemKey,
        /// The new content of the item.
        item: Item,
    },
    /// An item was removed; items after this position move down by one.
    Left {
        /// The list that changed.
        #[serde(skip_serializing_if = "List::is_first")]
        list: List,
        /// Position of the removed item, from 0.
        at: usize,
        /// Key of the item.
        key: ItemKey,
    },
}

/// A list of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum List {
    /// The nodes of a graph; for any other kind of answer, its only list.
    First,
    /// The edges of a graph.
    Edges,
}

impl List {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "signature required by serde"
    )]
    const fn is_first(&self) -> bool {
        matches!(self, Self::First)
    }
}

impl Change {
    pub(super) fn entered(list: List, at: usize, row: &KeyedRow) -> Self {
        let KeyedRow { key, item } = row.clone();
        Self::Entered {
            list,
            at,
            key,
            item,
        }
    }

    pub(super) fn changed(list: List, from: usize, at: usize, row: &KeyedRow) -> Self {
        let KeyedRow { key, item } = row.clone();
        Self::Changed {
            list,
            from,
            at,
            key,
            item,
        }
    }

    pub(super) fn left(list: List, at: usize, row: &KeyedRow) -> Self {
        Self::Left {
            list,
            at,
            key: row.key.clone(),
        }
    }

    /// Returns the list that the change applies to.
    #[must_use]
    pub const fn list(&self) -> List {
        match self {
            Self::Entered { list, .. } | Self::Changed { list, .. } | Self::Left { list, .. } => {
                *list
            }
        }
    }

    /// Applies the change to a list. Returns `false` if it does not fit.
    pub(super) fn apply(&self, rows: &mut Vec<KeyedRow>) -> bool {
        let row = |key: &ItemKey, item: &Item| KeyedRow {
            key: key.clone(),
            item: item.clone(),
        };
        match self {
            Self::Entered { at, key, item, .. } if *at <= rows.len() => {
                rows.insert(*at, row(key, item));
            }
            Self::Changed {
                from,
                at,
                key,
                item,
                ..
            } if *from < rows.len() && *at < rows.len() && rows[*from].key == *key => {
                rows.remove(*from);
                rows.insert(*at, row(key, item));
            }
            Self::Left { at, key, .. } if rows.get(*at).is_some_and(|row| row.key == *key) => {
                rows.remove(*at);
            }
            _ => return false,
        }
        true
    }
}
