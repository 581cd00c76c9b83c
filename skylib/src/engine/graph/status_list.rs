//! `StatusList`: a list in the metadata of a node whose entries show the states of activities on
//! the node.

use crate::graph::{Graph, MetadataOp, Node, NodeId};
use crate::time::Timestamp;
use crate::value::{Map, Value};

/// A list of objects in the metadata of nodes, with one entry for each activity on a node. Entries
/// are identified by their member `ID` and sorted by it.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct StatusList(pub(in crate::engine) &'static str);

impl StatusList {
    /// Adds or replaces an entry, which has the member `ID`. An unchanged entry causes no change to
    /// the graph. Returns `false` if the node does not exist.
    pub(in crate::engine) fn show(
        self,
        graph: &mut Graph,
        node: &NodeId,
        entry: Map,
        now: Timestamp,
    ) -> bool {
        let entry = Value::from(entry);
        let mut entries = self.others(graph, node, id_of(&entry));
        entries.push(entry);
        entries.sort_by(|a, b| id_of(a).cmp(id_of(b)));
        self.set(graph, node, entries, now)
    }

    /// Removes the entry with this ID, and the list if it was the last.
    pub(in crate::engine) fn remove(
        self,
        graph: &mut Graph,
        node: &NodeId,
        id: &str,
        now: Timestamp,
    ) {
        let entries = self.others(graph, node, id);
        self.set(graph, node, entries, now);
    }

    /// Returns the entries of a node.
    pub(in crate::engine) fn entries(self, node: &Node) -> &[Value] {
        let list = node.metadata.get(self.0).and_then(Value::as_list);
        list.unwrap_or_default()
    }

    /// Returns the entries with other IDs.
    fn others(self, graph: &Graph, node: &NodeId, id: &str) -> Vec<Value> {
        let node = graph.node(node);
        let entries = node.map(|node| self.entries(node)).unwrap_or_default();
        let entries = entries.iter();
        entries
            .filter(|entry| id_of(entry) != id)
            .cloned()
            .collect()
    }

    /// Sets the list. Returns `false` if the node does not exist.
    fn set(self, graph: &mut Graph, node: &NodeId, entries: Vec<Value>, now: Timestamp) -> bool {
        let op = if entries.is_empty() {
            MetadataOp::delete(self.0)
        } else {
            MetadataOp::set(self.0, Value::from(entries))
        };
        // The patch fails only if the node, and therefore its entries, has been deleted.
        graph.patch_node(node, &[op], now).is_ok()
    }
}

/// Returns the ID of an entry; empty if it has none.
pub(in crate::engine) fn id_of(entry: &Value) -> &str {
    entry
        .as_map()
        .and_then(|map| map.get("ID"))
        .and_then(Value::as_text)
        .unwrap_or_default()
}
