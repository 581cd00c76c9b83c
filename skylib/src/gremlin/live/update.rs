//! What a live query tells, and how a list of items follows it.

use serde::Serialize;

use super::item::{Item, Key};
use super::keyed_rows::{Row, Rows};
use crate::gremlin::{Answer, QueryError};

/// News of a live query.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Update {
    /// The answer as a whole: the first news, and whenever so much changed that it says it better.
    Answer {
        /// The answer.
        answer: Answer,
        /// The change of the graph up to which it holds ([`GraphView::sequence`]).
        ///
        /// [`GraphView::sequence`]: crate::graph::GraphView::sequence
        sequence: u64,
    },
    /// What makes the answer told before the answer of now, to be done one after the other.
    Changes {
        /// The changes; there is one at least.
        changes: Vec<Change>,
        /// The change of the graph up to which the new answer holds.
        sequence: u64,
    },
    /// The query cannot be answered at the moment, such as that of a node that has gone. The next
    /// news is a whole answer.
    Failed(QueryError),
}

/// One change of the list that an answer is.
///
/// An answer that is a whole graph has two lists. A single value (a count, a sum) is a list of one.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "Change", rename_all_fields = "PascalCase")]
#[non_exhaustive]
pub enum Change {
    /// An item came; those from this place on move one up.
    Entered {
        /// Which list.
        #[serde(skip_serializing_if = "List::is_first")]
        list: List,
        /// Its place, from 0.
        at: usize,
        /// What it is called.
        key: Key,
        /// The item.
        item: Item,
    },
    /// An item changed, its place, or both.
    Changed {
        /// Which list.
        #[serde(skip_serializing_if = "List::is_first")]
        list: List,
        /// The place from which it is taken.
        from: usize,
        /// The place where it is put then.
        at: usize,
        /// What it is called.
        key: Key,
        /// The item as it is now.
        item: Item,
    },
    /// An item went; those behind this place move one down.
    Left {
        /// Which list.
        #[serde(skip_serializing_if = "List::is_first")]
        list: List,
        /// The place it had.
        at: usize,
        /// What it was called.
        key: Key,
    },
}

/// A list of an answer. Complete by definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum List {
    /// The nodes of a graph; of any other answer the only one.
    First,
    /// The edges of a graph.
    Edges,
}

impl List {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
    const fn is_first(&self) -> bool {
        matches!(self, Self::First)
    }
}

impl Change {
    pub(super) fn entered(list: List, at: usize, row: &Row) -> Self {
        let Row { key, item } = row.clone();
        Self::Entered {
            list,
            at,
            key,
            item,
        }
    }

    pub(super) fn changed(list: List, from: usize, at: usize, row: &Row) -> Self {
        let Row { key, item } = row.clone();
        Self::Changed {
            list,
            from,
            at,
            key,
            item,
        }
    }

    pub(super) fn left(list: List, at: usize, row: &Row) -> Self {
        Self::Left {
            list,
            at,
            key: row.key.clone(),
        }
    }

    /// The list it is about.
    #[must_use]
    pub const fn list(&self) -> List {
        match self {
            Self::Entered { list, .. } | Self::Changed { list, .. } | Self::Left { list, .. } => {
                *list
            }
        }
    }

    /// Makes the change; whether it fits the list.
    pub(super) fn apply(&self, rows: &mut Vec<Row>) -> bool {
        let row = |key: &Key, item: &Item| Row {
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

/// An answer that follows the news of a live query: what a client has.
///
/// ```
/// use skylib::gremlin::live::{Followed, Update};
/// use skylib::gremlin::Answer;
///
/// let mut followed = Followed::default();
/// assert!(followed.apply(&Update::Answer { answer: Answer::Number(5), sequence: 1 }));
/// assert_eq!(followed.len(), 1);
/// assert!(followed.is_like(&Answer::Number(5)) && !followed.is_like(&Answer::Number(6)));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Followed {
    rows: Option<Rows>,
    error: Option<QueryError>,
}

impl Followed {
    /// Takes in some news; `false` where they do not follow on those before, which are lost.
    pub fn apply(&mut self, update: &Update) -> bool {
        self.error = None;
        match update {
            Update::Answer { answer, .. } => {
                self.rows = Some(Rows::of(answer));
                true
            }
            Update::Failed(error) => {
                self.error = Some(error.clone());
                self.rows = None;
                true
            }
            Update::Changes { changes, .. } => {
                let rows = self.rows.as_mut();
                let fits = rows.is_some_and(|rows| {
                    changes.iter().all(|change| match change.list() {
                        List::First => change.apply(&mut rows.lists[0]),
                        List::Edges => change.apply(&mut rows.lists[1]),
                    })
                });
                if !fits {
                    self.rows = None;
                }
                fits
            }
        }
    }

    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.as_ref().map_or(0, Rows::len)
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The items with their keys, in the order of the answer; of a graph the nodes come first.
    pub fn items(&self) -> impl Iterator<Item = (&Key, &Item)> {
        let rows = self
            .rows
            .iter()
            .flat_map(|rows| rows.lists.iter().flatten());
        rows.map(|row| (&row.key, &row.item))
    }

    /// Why there is no answer at the moment.
    #[must_use]
    pub const fn error(&self) -> Option<&QueryError> {
        self.error.as_ref()
    }

    /// Whether this is an answer to the letter, order included.
    #[must_use]
    pub fn is_like(&self, answer: &Answer) -> bool {
        self.rows
            .as_ref()
            .is_some_and(|rows| *rows == Rows::of(answer))
    }
}
