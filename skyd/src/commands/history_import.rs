//! `skyd history import`: documents of Skydive's Elasticsearch indices, as JSON lines.
//!
//! `elasticdump` and similar tools write one document per line, either alone or as the member
//! `_source` of an object. A document with `Parent` and `Child` is a revision of an edge, one with
//! `Metadata` a revision of a node, one with `UUID` and `LayersPath` a flow; others are counted and
//! skipped.

use std::io::BufRead;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use skylib::flow::Flow;
use skylib::graph::history::History;
use skylib::graph::{Edge, GraphEvent, Node};
use skylib::store::FlowStore;
use skylib::time::Timestamp;

/// Numbers of imported documents.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Imported {
    pub(super) nodes: usize,
    pub(super) edges: usize,
    pub(super) flows: usize,
    pub(super) skipped: usize,
}

/// Members that determine the kind of a document.
#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow, rename = "_source")]
    source: Option<&'a RawValue>,
    #[serde(borrow, rename = "Parent")]
    parent: Option<&'a RawValue>,
    #[serde(borrow, rename = "Metadata")]
    metadata: Option<&'a RawValue>,
    #[serde(borrow, rename = "UUID")]
    uuid: Option<&'a RawValue>,
    #[serde(borrow, rename = "LayersPath")]
    layers_path: Option<&'a RawValue>,
    /// Time of the deletion, in Unix milliseconds; 0 or missing if the element was not deleted.
    #[serde(rename = "DeletedAt")]
    deleted_at: Option<i64>,
}

/// Reads documents and records them in the history, in the order of their times.
///
/// # Errors
/// Returns an error if the input cannot be read. Lines that are not documents are skipped.
pub(super) fn import(
    input: impl BufRead,
    flows: &dyn FlowStore,
    graph: &dyn History,
    now: Timestamp,
) -> std::io::Result<Imported> {
    let mut documents = Documents::default();
    for line in input.split(b'\n') {
        let line = line?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let text = std::str::from_utf8(&line).ok();
        documents.add(text.and_then(|line| parse(line, now)));
        if documents.flows.len() == BATCH {
            flows.put(std::mem::take(&mut documents.flows), now);
        }
    }
    flows.put(std::mem::take(&mut documents.flows), now);
    for batch in documents.events_in_order().chunks(BATCH) {
        graph.record(batch, now);
        graph.make_room();
    }
    Ok(documents.imported)
}

/// Documents that have been read and not yet stored.
#[derive(Default)]
struct Documents {
    imported: Imported,
    /// Changes of the graph with their times, in Unix milliseconds.
    events: Vec<(i64, GraphEvent)>,
    flows: Vec<Flow>,
}

impl Documents {
    /// Counts and adds the content of a document.
    fn add(&mut self, content: Option<Content>) {
        match content {
            Some(Content::Node(node)) => {
                self.imported.nodes += 1;
                let added = GraphEvent::NodeAdded(Arc::clone(&node));
                self.events.push((node.updated_at.as_ms(), added));
                if let Some(deleted) = node.deleted_at {
                    let event = GraphEvent::NodeDeleted(node);
                    self.events.push((deleted.as_ms(), event));
                }
            }
            Some(Content::Edge(edge)) => {
                self.imported.edges += 1;
                let added = GraphEvent::EdgeAdded(Arc::clone(&edge));
                self.events.push((edge.updated_at.as_ms(), added));
                if let Some(deleted) = edge.deleted_at {
                    let event = GraphEvent::EdgeDeleted(edge);
                    self.events.push((deleted.as_ms(), event));
                }
            }
            Some(Content::Flow(flow)) => {
                self.imported.flows += 1;
                self.flows.push(*flow);
            }
            None => self.imported.skipped += 1,
        }
    }

    /// Returns the changes of the graph in the order of their times. At equal times, additions
    /// precede deletions: a revision includes its first and its last instant.
    fn events_in_order(&mut self) -> Vec<GraphEvent> {
        let mut events = std::mem::take(&mut self.events);
        events.sort_by_key(|(time, event)| {
            let is_deletion = matches!(
                event,
                GraphEvent::NodeDeleted(_) | GraphEvent::EdgeDeleted(_)
            );
            (*time, is_deletion)
        });
        events.into_iter().map(|(_, event)| event).collect()
    }
}

/// Content of a document.
enum Content {
    Node(Arc<Node>),
    Edge(Arc<Edge>),
    Flow(Box<Flow>),
}

/// Returns the content of a document; `None` if its kind is unknown or it is invalid.
fn parse(line: &str, now: Timestamp) -> Option<Content> {
    let document: Document<'_> = serde_json::from_str(line).ok()?;
    if let Some(source) = document.source {
        return parse(source.get(), now);
    }
    let json = line.as_bytes();
    let deleted_at = document.deleted_at.filter(|ms| *ms > 0);
    let deleted_at = deleted_at.map(Timestamp::from_ms);
    if document.parent.is_some() {
        let mut edge = Edge::from_json(json, now).ok()?;
        edge.deleted_at = deleted_at;
        return Some(Content::Edge(Arc::new(edge)));
    }
    if document.metadata.is_some() {
        let mut node = Node::from_json(json, now).ok()?;
        node.deleted_at = deleted_at;
        return Some(Content::Node(Arc::new(node)));
    }
    let is_flow = document.uuid.is_some() && document.layers_path.is_some();
    let flow = is_flow.then(|| serde_json::from_str(line).ok()).flatten()?;
    Some(Content::Flow(Box::new(flow)))
}

/// Number of records that are stored together.
const BATCH: usize = 10_000;

#[cfg(test)]
mod tests {
    use skylib::flow::FlowQuery;
    use skylib::graph::history::{HistoryLimits, MemoryHistory, PastView};
    use skylib::graph::{GraphReader, NodeId};
    use skylib::store::{FlowStoreLimits, MemoryFlowStore};
    use skylib::time::When;
    use skylib::value::Value;

    use super::*;

    #[test]
    fn a_line_that_is_not_text_is_skipped() {
        let node = r#"{"ID":"a","Metadata":{},"CreatedAt":1000,"UpdatedAt":1000,"Revision":1}"#;
        let lines = [&b"\xff\xfe{}"[..], node.as_bytes(), b"\r"].join(&b'\n');
        let flows = MemoryFlowStore::new(FlowStoreLimits::default());
        let graph = MemoryHistory::new(HistoryLimits::default());
        let now = Timestamp::from_ms(5000);
        let imported = import(&lines[..], &flows, &graph, now).unwrap();
        assert_eq!((imported.nodes, imported.skipped), (1, 1));
    }

    #[test]
    fn documents_of_elasticsearch_are_recorded_in_order() {
        let lines = r#"
{"_index":"skydive_topology_live","_source":{"ID":"a","Metadata":{"State":"DOWN"},"CreatedAt":1000,"UpdatedAt":2000,"Revision":2}}
{"_index":"skydive_topology_archive","_source":{"ID":"a","Metadata":{"State":"UP"},"CreatedAt":1000,"UpdatedAt":1000,"Revision":1}}
{"ID":"b","Metadata":{"Name":"b"},"CreatedAt":1000,"UpdatedAt":1000,"DeletedAt":1500,"Revision":1}
{"ID":"e","Parent":"a","Child":"b","Metadata":{},"CreatedAt":1000,"UpdatedAt":1000,"Revision":1}
{"UUID":"f1","LayersPath":"Ethernet/ARP","Start":1000,"Last":2000}
{"other":1}
not JSON
"#;
        let flows = MemoryFlowStore::new(FlowStoreLimits::default());
        let graph = MemoryHistory::new(HistoryLimits::default());
        let now = Timestamp::from_ms(5000);
        let imported = import(lines.as_bytes(), &flows, &graph, now).unwrap();
        let wanted = Imported {
            nodes: 3,
            edges: 1,
            flows: 1,
            skipped: 2,
        };
        assert_eq!(imported, wanted);
        assert_eq!(flows.query(&FlowQuery::default()).unwrap().flows.len(), 1);
        let state = |at: i64, id: &str| {
            let view = PastView::open(&graph, When::At(Timestamp::from_ms(at)));
            let node = view.node_by_id(&NodeId::from(id)).unwrap()?;
            Some(match node.metadata.get("State") {
                Some(Value::Text(state)) => Some(state.to_string()),
                _ => None,
            })
        };
        assert_eq!(state(1200, "a").flatten().as_deref(), Some("UP"));
        assert_eq!(state(2500, "a").flatten().as_deref(), Some("DOWN"));
        assert!(state(1200, "b").is_some());
        assert!(state(1600, "b").is_none());
    }
}
