//! The `Captures` list in a node's metadata: state and counters of the captures on the node.

use crate::api::CaptureSpec;
use crate::capture::CaptureStats;
use crate::flow::KeyIgnore;
use crate::graph::{Graph, MetadataOp, Node, NodeId};
use crate::time::Timestamp;
use crate::value::{Map, Value};

/// An entry of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CaptureStatus<'a> {
    pub(super) spec: &'a CaptureSpec,
    pub(super) stats: CaptureStats,
    /// Whether its flow table reproduces the values of Skydive.
    pub(super) recorded: bool,
    /// Parts of the flow key that its flow table ignores.
    pub(super) key_ignore: KeyIgnore,
    /// Error that stopped the capture or prevented its start; `None` while it is active.
    pub(super) error: Option<&'a str>,
}

impl CaptureStatus<'_> {
    fn to_map(&self) -> Map {
        let mut map = Map::from_iter([
            ("PacketsReceived", Value::from(self.stats.received)),
            ("PacketsDropped", Value::from(self.stats.dropped)),
            ("PacketsIfDropped", Value::from(self.stats.if_dropped)),
            ("ID", Value::from(self.spec.uuid.as_str())),
            (
                "State",
                Value::from(if self.error.is_some() {
                    "error"
                } else {
                    "active"
                }),
            ),
        ]);
        let texts = [
            ("Name", self.spec.name.as_str()),
            ("Description", &self.spec.description),
            ("BPFFilter", &self.spec.bpf_filter),
            ("Type", self.spec.capture_type.map_or("", |t| t.name())),
            ("Error", self.error.unwrap_or_default()),
        ];
        for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            map.set(key, text);
        }
        if self.recorded {
            map.set("Recorded", true);
        }
        if !self.key_ignore.is_none() {
            let names: Vec<Value> = self.key_ignore.names().map(Value::from).collect();
            map.set("KeyIgnore", names);
        }
        map
    }

    /// Adds or replaces the entry of this capture. An unchanged entry causes no change to the
    /// graph. Returns `false` if the node does not exist.
    pub(super) fn show(&self, graph: &mut Graph, node: &NodeId, now: Timestamp) -> bool {
        let mut entries = others(graph, node, &self.spec.uuid);
        entries.push(Value::from(self.to_map()));
        entries.sort_by(|a, b| id_of(a).cmp(id_of(b)));
        set(graph, node, entries, now)
    }
}

/// Removes the entry of a capture, and the list if it was the last.
pub(super) fn remove(graph: &mut Graph, node: &NodeId, capture: &str, now: Timestamp) {
    let entries = others(graph, node, capture);
    set(graph, node, entries, now);
}

/// Returns whether a node shows a capture as active.
pub(super) fn is_active(node: &Node, capture: &str) -> bool {
    let entry = entries(node).iter().find(|entry| id_of(entry) == capture);
    let state = entry
        .and_then(Value::as_map)
        .and_then(|map| map.get("State"));
    state.and_then(Value::as_text) == Some("active")
}

/// Iterates over the ids of the captures that a node shows.
pub(super) fn ids(node: &Node) -> impl Iterator<Item = &str> {
    entries(node).iter().map(id_of).filter(|id| !id.is_empty())
}

fn entries(node: &Node) -> &[Value] {
    let list = node.metadata.get(KEY).and_then(Value::as_list);
    list.unwrap_or_default()
}

/// Returns the entries of the other captures.
fn others(graph: &Graph, node: &NodeId, capture: &str) -> Vec<Value> {
    let entries = graph
        .node(node)
        .map(|node| entries(node))
        .unwrap_or_default();
    entries
        .iter()
        .filter(|entry| id_of(entry) != capture)
        .cloned()
        .collect()
}

/// Sets the list. Returns `false` if the node does not exist.
fn set(graph: &mut Graph, node: &NodeId, entries: Vec<Value>, now: Timestamp) -> bool {
    let op = if entries.is_empty() {
        MetadataOp::delete(KEY)
    } else {
        MetadataOp::set(KEY, Value::from(entries))
    };
    // The only possible error is that the node has been deleted, and its entries with it.
    graph.patch_node(node, &[op], now).is_ok()
}

fn id_of(entry: &Value) -> &str {
    entry
        .as_map()
        .and_then(|map| map.get("ID"))
        .and_then(Value::as_text)
        .unwrap_or_default()
}

const KEY: &str = "Captures";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Metadata, Origin};

    const NOW: Timestamp = Timestamp::from_ms(1);

    fn spec(uuid: &str) -> CaptureSpec {
        CaptureSpec {
            uuid: uuid.to_owned(),
            ..CaptureSpec::default()
        }
    }

    #[test]
    fn entries_are_added_replaced_and_removed() {
        let mut graph = Graph::new();
        let id = NodeId::from("n");
        graph
            .add_node(
                Node::new("n", Metadata::new(), NOW)
                    .with_origin(Origin::from_text("o").with_host("h")),
            )
            .unwrap();
        let (a, b) = (spec("a"), spec("b"));
        let show = |spec, error, graph: &mut Graph| {
            CaptureStatus {
                spec,
                stats: CaptureStats::default(),
                recorded: false,
                key_ignore: KeyIgnore::NONE,
                error,
            }
            .show(graph, &id, NOW)
        };
        let shown = |graph: &Graph| {
            let captures = graph.node(&id).unwrap().metadata.get("Captures").cloned();
            serde_json::to_string(&captures).unwrap()
        };
        assert!(show(&b, None, &mut graph));
        assert!(show(&a, Some("no such device"), &mut graph));
        let counters = r#""PacketsDropped":0,"PacketsIfDropped":0,"PacketsReceived":0"#;
        assert_eq!(
            shown(&graph),
            format!(
                r#"[{{"Error":"no such device","ID":"a",{counters},"State":"error"}},{}]"#,
                format_args!(r#"{{"ID":"b",{counters},"State":"active"}}"#)
            )
        );
        let revision = graph.node(&id).unwrap().revision;
        assert!(show(&b, None, &mut graph));
        assert_eq!(
            graph.node(&id).unwrap().revision,
            revision,
            "the same again is no change"
        );
        remove(&mut graph, &id, "b", NOW);
        remove(&mut graph, &id, "a", NOW);
        assert_eq!(shown(&graph), "null");
        remove(&mut graph, &"missing".into(), "a", NOW);
        graph.delete_node(&id, NOW).unwrap();
        assert!(!show(&a, None, &mut graph), "the node was deleted");
    }
}
