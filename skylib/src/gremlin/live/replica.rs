//! `AnswerReplica`: a client's copy of a live answer.

use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};

use super::item::{Item, ItemKey};
use super::keyed_rows::{KeyedRow, KeyedRows};
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

    /// Returns whether the answer is a graph, which may have no items.
    #[must_use]
    pub fn is_graph(&self) -> bool {
        self.rows.as_ref().is_some_and(|rows| rows.kind == "graph")
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

/// Serialized as the JSON of the answer, as [`Answer`] is; `null` without an answer.
impl Serialize for AnswerReplica {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(KeyedRows { kind, lists }) = &self.rows else {
            return serializer.serialize_unit();
        };
        let [list, edges] = lists;
        match *kind {
            "value" => list.first().map(|row| &row.item).serialize(serializer),
            // COMPAT: an empty list of values is null.
            "values" if list.is_empty() => serializer.serialize_unit(),
            "graph" => serializer.collect_seq([GraphRows { nodes: list, edges }]),
            "groups" | "metrics" | "rawpackets" | "sockets" | "nexthops" => {
                let entries = Some(Entries(list)).filter(|_| !list.is_empty());
                let mut one = serializer.serialize_seq(None)?;
                entries.map_or(Ok(()), |entries| one.serialize_element(&entries))?;
                one.end()
            }
            _ => serializer.collect_seq(list.iter().map(|row| &row.item)),
        }
    }
}

/// Nodes and edges of a graph.
struct GraphRows<'a> {
    nodes: &'a [KeyedRow],
    edges: &'a [KeyedRow],
}

impl Serialize for GraphRows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let items = |rows: &[KeyedRow]| -> Option<Vec<Item>> {
            (!rows.is_empty()).then(|| rows.iter().map(|row| row.item.clone()).collect())
        };
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("Nodes", &items(self.nodes))?;
        map.serialize_entry("Edges", &items(self.edges))?;
        map.end()
    }
}

/// Items serialized as an object, by key.
struct Entries<'a>(&'a [KeyedRow]);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|row| (&row.key, &row.item)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::graph::{Edge, Metadata, Node};
    use crate::time::Timestamp;
    use crate::value::Value;

    #[test]
    fn a_copy_serializes_as_its_answer() {
        let node = || Arc::new(Node::new("n", Metadata::new(), Timestamp::ZERO));
        let edge = || Arc::new(Edge::new("e", "n", "n", Metadata::new(), Timestamp::ZERO));
        let graph = |nodes, edges| Answer::Graph { nodes, edges };
        for answer in [
            graph(vec![], vec![]),
            graph(vec![node()], vec![edge()]),
            Answer::Nodes(vec![node(), node()]),
            Answer::Edges(vec![]),
            Answer::Paths(vec![vec![node()]]),
            Answer::Number(0),
            Answer::Value(Value::Null),
            Answer::Value(Value::from("text")),
            Answer::Value(Value::list([1, 2])),
            Answer::Sockets(vec![]),
            Answer::Sockets(vec![("n".into(), vec![Value::Int(1)])]),
            Answer::NextHops(vec![("n".into(), Value::Int(1))]),
        ] {
            let mut replica = AnswerReplica::default();
            let expected = serde_json::to_string(&answer).unwrap();
            replica.apply(&Update::Answer {
                answer,
                sequence: 1,
            });
            assert_eq!(serde_json::to_string(&replica).unwrap(), expected);
        }
        assert_eq!(
            serde_json::to_string(&AnswerReplica::default()).unwrap(),
            "null"
        );
    }
}
