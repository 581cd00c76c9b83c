//! `AnswerReplica`: a client's copy of a live answer.

use super::item::{Item, ItemKey};
use super::keyed_rows::KeyedRows;
use super::update::{List, Update};
use crate::gremlin::{Answer, QueryError};

/// A client's copy of an answer, changed by the updates of a live query.
///
/// ```
/// use skylib::gremlin::Answer;
/// use skylib::gremlin::live::{AnswerReplica, Update};
///
/// let mut replica = AnswerReplica::default();
/// assert!(replica.apply(&Update::Answer { answer: Answer::Number(5), sequence: 1 }));
/// assert_eq!(replica.len(), 1);
/// assert!(replica.equals(&Answer::Number(5)) && !replica.equals(&Answer::Number(6)));
/// ```
#[derive(Clone, Debug, Default)]
pub struct AnswerReplica {
    /// `None` before the first answer, after an error, and after an update that did not fit.
    rows: Option<KeyedRows>,
    error: Option<QueryError>,
}

impl AnswerReplica {
    /// Applies an update. Returns `false`, and drops the copy, if the update does not fit because
    /// an earlier one was lost.
    pub fn apply(&mut self, update: &Update) -> bool {
        self.error = None;
        match update {
            Update::Answer { answer, .. } => {
                self.rows = Some(KeyedRows::of(answer));
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

    /// Returns the number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.as_ref().map_or(0, KeyedRows::len)
    }

    /// Returns whether there are no items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the items with their keys in the order of the answer; the nodes of a graph precede
    /// its edges.
    pub fn items(&self) -> impl Iterator<Item = (&ItemKey, &Item)> {
        let rows = self
            .rows
            .iter()
            .flat_map(|rows| rows.lists.iter().flatten());
        rows.map(|row| (&row.key, &row.item))
    }

    /// Returns the error of the last update, if it was [`Update::Failed`].
    #[must_use]
    pub const fn error(&self) -> Option<&QueryError> {
        self.error.as_ref()
    }

    /// Returns whether the copy equals an answer, including its order.
    #[must_use]
    pub fn equals(&self, answer: &Answer) -> bool {
        self.rows
            .as_ref()
            .is_some_and(|rows| *rows == KeyedRows::of(answer))
    }
}
