//! The `Captures` list in a node's metadata: state and counters of the captures on the node.

use crate::api::CaptureSpec;
use crate::capture::{CaptureStats, TargetStats};
use crate::engine::graph::{StatusList, id_of};
use crate::flow::KeyIgnore;
use crate::graph::{Graph, Node, NodeId};
use crate::time::Timestamp;
use crate::value::{Map, Value};

/// An entry of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CaptureStatus<'a> {
    pub(super) spec: &'a CaptureSpec,
    pub(super) stats: CaptureStats,
    /// Counters of the sender to its target; `None` without a target for flows.
    pub(super) target: Option<TargetStats>,
    /// Address on which the capture receives, and the key under which the status shows the address.
    pub(super) socket: Option<(&'static str, &'a str)>,
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
        if let Some((key, address)) = self.socket {
            map.set(key, address);
        }
        if let Some(target) = self.target {
            map.set("TargetErrors", Value::from(target.errors));
            map.set("TargetSkipped", Value::from(target.skipped));
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
        CAPTURES.show(graph, node, self.to_map(), now)
    }
}

/// Removes the entry of a capture, and the list if it was the last.
pub(super) fn remove(graph: &mut Graph, node: &NodeId, capture: &str, now: Timestamp) {
    CAPTURES.remove(graph, node, capture, now);
}

/// Returns whether a node shows a capture as active.
pub(super) fn is_active(node: &Node, capture: &str) -> bool {
    text_of(node, capture, "State") == Some("active")
}

/// Returns the error that a node shows for a capture.
pub(super) fn error_of<'a>(node: &'a Node, capture: &str) -> Option<&'a str> {
    text_of(node, capture, "Error")
}

/// Returns a string value from the entry of a capture.
fn text_of<'a>(node: &'a Node, capture: &str, key: &str) -> Option<&'a str> {
    let mut entries = CAPTURES.entries(node).iter();
    let entry = entries.find(|entry| id_of(entry) == capture)?;
    entry.as_map()?.get(key)?.as_text()
}

/// Returns the name of a node; empty if it has none.
pub(super) fn name_of(node: &Node) -> &str {
    let name = node.metadata.get("Name").and_then(Value::as_text);
    name.unwrap_or_default()
}

/// Iterates over the ids of the captures that a node shows.
pub(super) fn ids(node: &Node) -> impl Iterator<Item = &str> {
    let ids = CAPTURES.entries(node).iter().map(id_of);
    ids.filter(|id| !id.is_empty())
}

const CAPTURES: StatusList = StatusList("Captures");

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
    fn a_capture_with_a_target_shows_what_was_not_sent() {
        let mut target = TargetStats::default();
        (target.errors, target.skipped) = (3, 7);
        let spec = spec("a");
        let status = CaptureStatus {
            spec: &spec,
            stats: CaptureStats::default(),
            target: Some(target),
            socket: None,
            recorded: false,
            key_ignore: KeyIgnore::NONE,
            error: None,
        };
        let map = status.to_map();
        assert_eq!(map.get("TargetErrors"), Some(&Value::from(3_u64)));
        assert_eq!(map.get("TargetSkipped"), Some(&Value::from(7_u64)));
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
                target: None,
                socket: None,
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
