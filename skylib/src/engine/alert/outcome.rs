//! `Outcome`: the result of an evaluation, and the comparison of results.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::engine::monotonic;
use crate::engine::query::{QueryOptions, QueryRunner};
use crate::gremlin::live::{AnswerReplica, Item, Update};
use crate::gremlin::{Query, QueryErrorKind};

/// Result of an evaluation.
pub(super) enum Outcome {
    /// No result: the alert is armed again.
    Empty,
    /// Result for which the alert fires, unless it last fired for an equal result.
    Value { fingerprint: u64, reason: Reason },
    /// Failed evaluation, which does not change the state of the alert.
    Failed(String),
}

/// Result reported in the message of an alert.
pub(super) enum Reason {
    /// Answer of the alert's live query, which the registration holds.
    Live,
    /// Answer of a query.
    Answer(AnswerReplica),
    /// JSON text.
    Json(String),
}

impl Outcome {
    /// Returns the outcome of the answer of a live query.
    pub(super) fn of_live(replica: &AnswerReplica) -> Self {
        if let Some(error) = replica.error() {
            return Self::Failed(error.to_string());
        }
        // A graph fires even if it is empty, as in Skydive.
        if replica.is_empty() && !replica.is_graph() {
            return Self::Empty;
        }
        Self::Value {
            fingerprint: fingerprint(replica),
            reason: Reason::Live,
        }
    }

    /// Returns the outcome of an answer.
    fn of_answer(replica: AnswerReplica) -> Self {
        match Self::of_live(&replica) {
            Self::Value { fingerprint, .. } => Self::Value {
                fingerprint,
                reason: Reason::Answer(replica),
            },
            other => other,
        }
    }

    /// Returns the outcome of a script.
    pub(super) fn of_script(result: Result<Option<String>, String>) -> Self {
        match result {
            Ok(None) => Self::Empty,
            Ok(Some(json)) => Self::Value {
                fingerprint: hash(&json),
                reason: Reason::Json(json),
            },
            Err(problem) => Self::Failed(problem),
        }
    }
}

/// Runs a query and returns its outcome.
pub(super) fn run(query: &Query, queries: &QueryRunner) -> Outcome {
    let start = monotonic::now();
    let is_late = || monotonic::now() - start >= MAX_TIME;
    let view = queries.graph.view();
    let options = QueryOptions::default().with_interrupt(&is_late);
    match queries.run(&view, query, options) {
        Ok(answer) => {
            let mut replica = AnswerReplica::default();
            let sequence = view.sequence();
            replica.apply(&Update::Answer { answer, sequence });
            Outcome::of_answer(replica)
        }
        Err(error) if error.kind() == QueryErrorKind::Interrupted => {
            Outcome::Failed(format!("the query takes longer than {MAX_TIME:?}"))
        }
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

/// Returns a hash of an answer as a set: elements by ID, all other values by content.
fn fingerprint(replica: &AnswerReplica) -> u64 {
    let mut hashes: Vec<u64> = replica
        .items()
        .map(|(key, item)| match item {
            Item::Node(_) | Item::Edge(_) | Item::Path(_) | Item::Flow(_) => hash(key),
            _ => hash(&(key, serde_json::to_string(item).unwrap_or_default())),
        })
        .collect();
    hashes.sort_unstable();
    hash(&hashes)
}

fn hash<T: Hash + ?Sized>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Maximum duration of one run.
const MAX_TIME: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::flow::Flow;
    use crate::graph::{Metadata, Node};
    use crate::gremlin::Answer;
    use crate::time::Timestamp;
    use crate::value::Value;

    fn fingerprint_of(answer: Answer) -> Option<u64> {
        let mut replica = AnswerReplica::default();
        replica.apply(&Update::Answer {
            answer,
            sequence: 1,
        });
        match Outcome::of_live(&replica) {
            Outcome::Value { fingerprint, .. } => Some(fingerprint),
            Outcome::Empty => None,
            Outcome::Failed(problem) => panic!("{problem}"),
        }
    }

    #[test]
    fn elements_are_compared_by_id_and_values_by_content_as_sets() {
        let node = |id: &str, key: &str| {
            let metadata = Metadata::from_iter([(key, "v")]);
            Arc::new(Node::new(id, metadata, Timestamp::ZERO))
        };
        let nodes = |list: &[(&str, &str)]| {
            fingerprint_of(Answer::Nodes(
                list.iter().map(|(id, key)| node(id, key)).collect(),
            ))
        };
        assert_eq!(nodes(&[]), None);
        let both = nodes(&[("a", "x"), ("b", "x")]);
        assert_eq!(both, nodes(&[("b", "x"), ("a", "y")]));
        assert_ne!(both, nodes(&[("a", "x")]));

        let values = |list: &[i64]| fingerprint_of(Answer::Value(Value::list(list.to_vec())));
        assert_eq!(values(&[]), None);
        assert_eq!(values(&[1, 2]), values(&[2, 1]));
        assert_ne!(values(&[1, 2]), values(&[1, 3]));
        assert_ne!(values(&[1, 1]), values(&[1]));

        let group = |uuid: &str| {
            let flows = vec![Flow::default().with_uuid(uuid)];
            fingerprint_of(Answer::Groups(vec![("k".into(), flows)]))
        };
        assert_eq!(group("f1"), group("f1"));
        assert_ne!(group("f1"), group("f2"), "a group has another content");

        let graph = Answer::Graph {
            nodes: Vec::new(),
            edges: Vec::new(),
        };
        assert!(fingerprint_of(graph).is_some(), "a graph is never empty");

        let count = |count| fingerprint_of(Answer::Number(count));
        assert!(count(0).is_some(), "a count is never empty");
        assert_ne!(count(0), count(1));
    }
}
