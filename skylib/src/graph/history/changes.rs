//! `Change`: differences between the revisions of elements in a time slice.
//!
//! Counters change all the time and are left out: [`NOISE`], and those in [`is_counter`].

use std::fmt::Display;
use std::sync::Arc;

use super::{History, ReadBudget, Revision, Revisions};
use crate::graph::element::Element;
use crate::graph::reader::BATCH_SIZE;
use crate::graph::{Edge, GraphError, Metadata, Node};
use crate::time::{TimeSlice, Timestamp, When};
use crate::value::{Map, Text, Value};

/// Change of an element in a time slice.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Change {
    /// Time of the change.
    pub time: Timestamp,
    /// Kind of the change.
    pub kind: ChangeKind,
    /// The element after the change; before it, if the element was removed.
    pub element: ChangedElement,
    /// Changed metadata, in the order of keys; empty unless the element existed before and after.
    pub keys: Vec<KeyChange>,
}

/// Kind of a [`Change`]. New variants are a breaking change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The element was added.
    Added,
    /// The metadata of the element changed.
    Changed,
    /// The element was removed.
    Removed,
}

/// Element of a [`Change`]. New variants are a breaking change.
#[derive(Clone, Debug)]
pub enum ChangedElement {
    /// A node.
    Node(Arc<Node>),
    /// An edge.
    Edge(Arc<Edge>),
}

/// Change of one metadata key.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct KeyChange {
    /// Dotted path of the key.
    pub key: Text,
    /// Value before the change; `None` if the key was absent.
    pub old: Option<Value>,
    /// Value after the change; `None` if the key was removed.
    pub new: Option<Value>,
}

impl Change {
    /// Returns the changes in a time slice, oldest first.
    ///
    /// # Errors
    /// Returns [`GraphError::ViewExpired`] if required revisions have been dropped, and the errors of
    /// the budget.
    pub fn during(
        history: &dyn History,
        slice: TimeSlice,
        budget: &dyn ReadBudget,
    ) -> Result<Vec<Self>, GraphError> {
        let reader = history.open(When::During(slice), budget);
        let mut changes = Vec::new();
        add(
            reader.nodes(),
            slice,
            ChangedElement::Node,
            &mut changes,
            budget,
        )?;
        add(
            reader.edges(),
            slice,
            ChangedElement::Edge,
            &mut changes,
            budget,
        )?;
        changes.sort_by_key(|(number, change)| (change.time.as_ms(), change.rank(), *number));
        Ok(changes.into_iter().map(|(_, change)| change).collect())
    }

    /// Returns the order of changes at the same time: the edges of a node are removed before it.
    const fn rank(&self) -> u8 {
        match (self.kind, &self.element) {
            (ChangeKind::Added | ChangeKind::Changed, _) => 0,
            (ChangeKind::Removed, ChangedElement::Edge(_)) => 1,
            (ChangeKind::Removed, ChangedElement::Node(_)) => 2,
        }
    }

    /// Returns the change as an object of the query language: `Time` (Unix milliseconds), `Change`
    /// (`added`, `changed`, `removed`), `Kind` (`node`, `edge`), `ID`, `Host`, `Name`, `Type`,
    /// `RelationType`, `Parent`, `Child`, and the list `Keys` of `Key`, `Old`, and `New`.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut object = Map::new();
        object.set("Time", self.time.as_ms());
        object.set(
            "Change",
            match self.kind {
                ChangeKind::Added => "added",
                ChangeKind::Changed => "changed",
                ChangeKind::Removed => "removed",
            },
        );
        let mut text = |key: &str, text: &dyn Display| {
            let text = text.to_string();
            if !text.is_empty() {
                object.set(key, text.as_str());
            }
        };
        let metadata = match &self.element {
            ChangedElement::Node(node) => {
                text("Kind", &"node");
                text("ID", &node.id);
                text("Host", &node.host);
                &node.metadata
            }
            ChangedElement::Edge(edge) => {
                text("Kind", &"edge");
                text("ID", &edge.id);
                text("Host", &edge.host);
                text("Parent", &edge.parent);
                text("Child", &edge.child);
                &edge.metadata
            }
        };
        for key in ["Name", "Type", "RelationType"] {
            if let Some(value) = metadata.get(key) {
                object.set(key, value.clone());
            }
        }
        let keys: Vec<Value> = self.keys.iter().map(KeyChange::to_value).collect();
        if !keys.is_empty() {
            object.set("Keys", keys);
        }
        object.into()
    }
}

impl KeyChange {
    fn to_value(&self) -> Value {
        let mut object = Map::new();
        object.set("Key", self.key.as_str());
        for (name, value) in [("Old", &self.old), ("New", &self.new)] {
            if let Some(value) = value {
                object.set(name, value.clone());
            }
        }
        object.into()
    }
}

/// Adds the changes of nodes or edges, each with the number of its revision.
fn add<E: Element>(
    revisions: Revisions<'_, E>,
    slice: TimeSlice,
    wrap: impl Fn(Arc<E>) -> ChangedElement,
    changes: &mut Vec<(u64, Change)>,
    budget: &dyn ReadBudget,
) -> Result<(), GraphError> {
    let (start, last) = (slice.start.as_ms(), slice.last.as_ms());
    let is_in = |time: Timestamp| (start..=last).contains(&time.as_ms());
    let mut before: Option<Arc<E>> = None;
    for (count, revision) in revisions.enumerate() {
        let Revision { element, number } = revision?;
        if count.is_multiple_of(BATCH_SIZE) {
            budget.poll()?;
        }
        let fields = element.fields();
        let (created, updated, deleted) = (fields.created_at, fields.updated_at, fields.deleted_at);
        let former = before.take().filter(|former| former.id() == element.id());
        let mut push = |time, kind, keys| {
            let element = wrap(Arc::clone(&element));
            let change = Change {
                time,
                kind,
                element,
                keys,
            };
            changes.push((number, change));
        };
        match former.filter(|former| former.fields().deleted_at.is_none()) {
            Some(former) => {
                let keys = differences(former.metadata(), element.metadata());
                if is_in(updated) && !keys.is_empty() {
                    push(updated, ChangeKind::Changed, keys);
                }
            }
            // The first revision in the slice of an older element has begun before the slice.
            None if is_in(created) => push(created, ChangeKind::Added, Vec::new()),
            None => {}
        }
        if let Some(deleted) = deleted.filter(|deleted| is_in(*deleted)) {
            push(deleted, ChangeKind::Removed, Vec::new());
        }
        before = Some(element);
    }
    Ok(())
}

/// Returns the differences of two states of metadata, without counters.
fn differences(before: &Metadata, after: &Metadata) -> Vec<KeyChange> {
    let mut found = Vec::new();
    compare("", before, after, &mut found);
    found
}

fn compare(prefix: &str, before: &Map, after: &Map, found: &mut Vec<KeyChange>) {
    let removed = before.iter().filter(|(key, _)| after.get(key).is_none());
    let removed = removed.map(|(key, old)| (key, Some(old), None));
    let others = after
        .iter()
        .map(|(key, new)| (key, before.get(key), Some(new)));
    let mut keys: Vec<_> = removed.chain(others).collect();
    keys.sort_by_key(|(key, ..)| *key);
    for (key, old, new) in keys {
        if old == new {
            continue;
        }
        let path = match prefix {
            "" => key.to_string(),
            prefix => format!("{prefix}.{key}"),
        };
        if NOISE.contains(&path.as_str()) {
            continue;
        }
        let root = path.split('.').next().unwrap_or_default();
        let without_counters = |value| without_counters(root, value);
        if let (Some(Value::Map(old)), Some(Value::Map(new))) = (old, new) {
            compare(&path, old, new, found);
        } else if old.map(without_counters) != new.map(without_counters) {
            found.push(KeyChange {
                key: path.as_str().into(),
                old: old.cloned(),
                new: new.cloned(),
            });
        }
    }
}

/// Returns a value below the metadata key `root` without its counters.
fn without_counters(root: &str, value: &Value) -> Value {
    match value {
        Value::List(list) => {
            let rest = list.iter().map(|value| without_counters(root, value));
            rest.collect::<Vec<_>>().into()
        }
        Value::Map(map) => {
            let rest = map.iter().filter(|(key, _)| !is_counter(root, key));
            let rest = rest.map(|(key, value)| (key.clone(), without_counters(root, value)));
            Map::from_pairs(rest).into()
        }
        other => other.clone(),
    }
}

/// Returns whether a key in a list below the metadata key `root` is a counter, or a state that
/// traffic changes all the time.
fn is_counter(root: &str, key: &str) -> bool {
    match root {
        "Queues" => QUEUE_COUNTERS.contains(&key),
        "Neighbors" | "FDB" => key == "State",
        _ => key.starts_with("Packets") || key.starts_with("Bytes") || TASK_COUNTERS.contains(&key),
    }
}

/// Keys of counters, and of lists that traffic changes all the time.
const NOISE: [&str; 7] = [
    "BlockdevMetric",
    "LastUpdateMetric",
    "Metric",
    "Ovs.LastUpdateMetric",
    "Ovs.Metric",
    "SFlow",
    "Sockets",
];

/// Counters of a queueing discipline.
const QUEUE_COUNTERS: [&str; 5] = ["Backlog", "Drops", "Length", "Overlimits", "Requeues"];

/// Further counters of captures and packet injections.
const TASK_COUNTERS: [&str; 3] = ["PacketCount", "TargetErrors", "TargetSkipped"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::history::{HistoryLimits, MemoryHistory, Unlimited};
    use crate::graph::{Graph, MetadataOp, NodeId};

    fn ms(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    fn changes(history: &MemoryHistory, start: i64, last: i64) -> Vec<String> {
        let slice = TimeSlice {
            start: ms(start),
            last: ms(last),
        };
        let found = Change::during(history, slice, &Unlimited).unwrap();
        found
            .iter()
            .map(|change| serde_json::to_string(&change.to_value()).unwrap())
            .collect()
    }

    #[test]
    fn changes_are_in_order_and_without_counters() {
        let history = MemoryHistory::new(HistoryLimits::default());
        let mut graph = Graph::new().with_journal();
        let named = |name: &str| Metadata::from_iter([("Name", name)]);
        let id = NodeId::from("a");
        graph
            .add_node(Node::new("a", named("eth0"), ms(10)))
            .unwrap();
        graph
            .add_node(Node::new("b", named("eth1"), ms(20)))
            .unwrap();
        let edge = Edge::new("e", "a", "b", Metadata::new(), ms(20));
        graph.add_edge(edge).unwrap();
        let ops = [MetadataOp::set("Metric.RxBytes", 1)];
        graph.patch_node(&id, &ops, ms(30)).unwrap();
        let ops = [MetadataOp::set("State", "DOWN"), MetadataOp::delete("Name")];
        graph.patch_node(&id, &ops, ms(40)).unwrap();
        graph.delete_node(&NodeId::from("b"), ms(50)).unwrap();
        history.record(&graph.take_events(), ms(50));

        let all = changes(&history, 15, 60);
        let wanted = [
            r#"{"Change":"added","ID":"b","Kind":"node","Name":"eth1","Time":20}"#,
            r#"{"Change":"added","Child":"b","ID":"e","Kind":"edge","Parent":"a","Time":20}"#,
            r#"{"Change":"changed","ID":"a","Keys":[{"Key":"Name","Old":"eth0"},{"Key":"State","New":"DOWN"}],"Kind":"node","Time":40}"#,
            r#"{"Change":"removed","Child":"b","ID":"e","Kind":"edge","Parent":"a","Time":50}"#,
            r#"{"Change":"removed","ID":"b","Kind":"node","Name":"eth1","Time":50}"#,
        ];
        assert_eq!(all, wanted);
        assert!(changes(&history, 41, 49).is_empty());
        assert_eq!(changes(&history, 35, 45), wanted[2..3]);
    }

    #[test]
    fn values_are_compared_by_key_and_lists_as_a_whole() {
        let map = |json: &str| serde_json::from_str::<Metadata>(json).unwrap();
        let keys = |before: &str, after: &str| -> Vec<String> {
            let found = differences(&map(before), &map(after));
            found.iter().map(|change| change.key.to_string()).collect()
        };
        let before = r#"{"A":{"B":1,"C":2},"L":[1],"Metric":{"RxBytes":1}}"#;
        assert_eq!(
            keys(before, r#"{"A":{"B":1,"C":3},"L":[1,2],"M":null}"#),
            ["A.C", "L", "M"]
        );
        assert_eq!(keys(r#"{"A":1}"#, r#"{"A":{"B":1}}"#), ["A"]);
        let captures = |packets: u32, state: &str| {
            format!(r#"{{"Captures":[{{"State":"{state}","PacketsReceived":{packets}}}]}}"#)
        };
        assert!(keys(&captures(1, "active"), &captures(2, "active")).is_empty());
        assert_eq!(
            keys(&captures(1, "active"), &captures(2, "error")),
            ["Captures"]
        );
    }

    #[test]
    fn what_traffic_changes_all_the_time_is_left_out() {
        let map = |json: &str| serde_json::from_str::<Metadata>(json).unwrap();
        let keys = |before: &str, after: &str| -> Vec<String> {
            let found = differences(&map(before), &map(after));
            found.iter().map(|change| change.key.to_string()).collect()
        };
        let counters = |n: u32| {
            format!(
                r#"{{"BlockdevMetric":{{"Reads":{n}}},"Sockets":[{{"LocalPort":{n}}}],
                "SFlow":{{"Metric":{{"InOctets":{n}}}}},
                "Ovs":{{"Metric":{{"RxBytes":{n}}},"LastUpdateMetric":{{"RxBytes":{n}}}}},
                "Queues":[{{"Kind":"fq","Backlog":{n},"Drops":{n},"Length":{n},"Overlimits":{n},
                    "Requeues":{n}}}],
                "Captures":[{{"ID":"c","PacketsReceived":{n},"BytesReceived":{n},
                    "TargetErrors":{n},"TargetSkipped":{n}}}],
                "PacketInjections":[{{"ID":"i","PacketCount":{n}}}],
                "Neighbors":[{{"IP":"192.0.2.1","State":["{n}"]}}],
                "FDB":[{{"MAC":"02:00:00:00:00:01","State":["{n}"]}}]}}"#
            )
        };
        assert_eq!(keys(&counters(1), &counters(2)), [""; 0]);
        let pairs = [
            (
                r#"{"Queues":[{"Kind":"fq"}]}"#,
                r#"{"Queues":[{"Kind":"fifo"}]}"#,
                "Queues",
            ),
            (
                r#"{"Neighbors":[{"IP":"192.0.2.1","MAC":"02:00:00:00:00:01"}]}"#,
                r#"{"Neighbors":[{"IP":"192.0.2.1","MAC":"02:00:00:00:00:02"}]}"#,
                "Neighbors",
            ),
            (r#"{"State":"UP"}"#, r#"{"State":"DOWN"}"#, "State"),
            (
                r#"{"Ovs":{"Error":"a"}}"#,
                r#"{"Ovs":{"Error":"b"}}"#,
                "Ovs.Error",
            ),
            (r#"{"X":[{"Drops":1}]}"#, r#"{"X":[{"Drops":2}]}"#, "X"),
        ];
        for (before, after, key) in pairs {
            assert_eq!(keys(before, after), [key]);
        }
    }
}
