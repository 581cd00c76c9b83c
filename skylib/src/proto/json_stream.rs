//! `JsonStream`: JSON of many elements, produced one chunk at a time while it is being sent.
//!
//! Elements are first written to a small buffer that stays in the processor's cache, then copied to
//! the chunk.

use std::sync::Arc;
use std::vec;

use bytes::Bytes;

use super::GRAPH;
use super::message::write_json_head;
use crate::flow::Flow;
use crate::graph::{Edge, Node, WriteJson};
use crate::gremlin::live::Change;
use crate::value::JsonWriter;

/// The JSON text of a graph, or a part of it, as an iterator of chunks of approximately 64 KiB.
///
/// The stream holds only shared handles of the elements. So the first chunk of a graph of any size
/// is available immediately, and a slow reader occupies no memory for text.
///
/// ```
/// use skylib::proto::JsonStream;
/// let text = JsonStream::sync_reply("u1", vec![], vec![]).into_bytes();
/// let wanted = concat!(r#"{"Namespace":"Graph","Type":"SyncReply","UUID":"u1","Status":200,"#,
///                      r#""Obj":{"Nodes":[],"Edges":[]}}"#);
/// assert_eq!(text, wanted.as_bytes());
/// ```
#[derive(Debug)]
pub struct JsonStream {
    /// Segments after the current one.
    segments: vec::IntoIter<Segment>,
    current: Option<Segment>,
    /// Whether an element of the current list has been written, so that the next needs a comma.
    needs_comma: bool,
    /// Text that is not part of a chunk yet; empty between calls of `next`.
    json: JsonWriter,
}

/// A literal text, or the elements of a list that are not written yet.
#[derive(Debug)]
enum Segment {
    Text(Vec<u8>),
    Nodes(vec::IntoIter<Arc<Node>>),
    Edges(vec::IntoIter<Arc<Edge>>),
    Flows(vec::IntoIter<Flow>),
    Changes(vec::IntoIter<Change>),
}

impl JsonStream {
    /// Returns a `SyncReply` of status 200 with its envelope; an empty `uuid` is omitted.
    #[must_use]
    pub fn sync_reply(uuid: &str, nodes: Vec<Arc<Node>>, edges: Vec<Arc<Edge>>) -> Self {
        let mut head = Vec::with_capacity(160);
        write_json_head(&mut head, GRAPH, "SyncReply", uuid, 200);
        Self::of_graph(head, nodes, edges, "}")
    }

    /// Returns `{"Nodes":[…],"Edges":[…]}`.
    #[must_use]
    pub fn graph(nodes: Vec<Arc<Node>>, edges: Vec<Arc<Edge>>) -> Self {
        Self::of_graph(Vec::new(), nodes, edges, "")
    }

    /// Returns `[{"Nodes":…,"Edges":…}]`, the answer to a query: an empty list is `null`.
    #[must_use]
    pub fn answer(nodes: Vec<Arc<Node>>, edges: Vec<Arc<Edge>>) -> Self {
        let mut segments = vec![Segment::text("[{\"Nodes\":")];
        if nodes.is_empty() {
            segments.push(Segment::text("null"));
        } else {
            segments.extend(Self::nodes(nodes).segments);
        }
        segments.push(Segment::text(",\"Edges\":"));
        if edges.is_empty() {
            segments.push(Segment::text("null"));
        } else {
            segments.extend(Self::edges(edges).segments);
        }
        segments.push(Segment::text("}]"));
        Self::new(segments)
    }

    /// Returns a list of nodes.
    #[must_use]
    pub fn nodes(nodes: Vec<Arc<Node>>) -> Self {
        Self::new(vec![
            Segment::text("["),
            Segment::Nodes(nodes.into_iter()),
            Segment::text("]"),
        ])
    }

    /// Returns a list of edges.
    #[must_use]
    pub fn edges(edges: Vec<Arc<Edge>>) -> Self {
        Self::new(vec![
            Segment::text("["),
            Segment::Edges(edges.into_iter()),
            Segment::text("]"),
        ])
    }

    /// Returns a list of flows.
    pub(super) fn flows(flows: Vec<Flow>) -> Self {
        Self::new(vec![
            Segment::text("["),
            Segment::Flows(flows.into_iter()),
            Segment::text("]"),
        ])
    }

    /// Returns a list of changes of an answer.
    pub(super) fn changes(changes: Vec<Change>) -> Self {
        Self::new(vec![
            Segment::text("["),
            Segment::Changes(changes.into_iter()),
            Segment::text("]"),
        ])
    }

    /// Adds text before and after the text of the stream.
    #[must_use]
    pub fn between(self, before: &str, after: &str) -> Self {
        let mut segments = vec![Segment::text(before)];
        segments.extend(self.current);
        segments.extend(self.segments);
        segments.push(Segment::text(after));
        Self::new(segments)
    }

    fn of_graph(
        mut head: Vec<u8>,
        nodes: Vec<Arc<Node>>,
        edges: Vec<Arc<Edge>>,
        tail: &str,
    ) -> Self {
        head.extend_from_slice(b"{\"Nodes\":[");
        Self::new(vec![
            Segment::Text(head),
            Segment::Nodes(nodes.into_iter()),
            Segment::text("],\"Edges\":["),
            Segment::Edges(edges.into_iter()),
            Segment::text("]}"),
            Segment::text(tail),
        ])
    }

    fn new(segments: Vec<Segment>) -> Self {
        Self {
            segments: segments.into_iter(),
            current: None,
            needs_comma: false,
            json: JsonWriter::with_room(2 * BUFFER_BYTES),
        }
    }

    /// Returns a stream of one text.
    pub(super) fn from_text(text: Vec<u8>) -> Self {
        Self::new(vec![Segment::Text(text)])
    }

    /// Returns the whole text.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.fold(Vec::new(), |mut text, chunk| {
            text.extend_from_slice(&chunk);
            text
        })
    }
}

impl Segment {
    fn text(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec())
    }

    /// Writes elements until the buffer is full; returns whether elements are left.
    fn fill(&mut self, json: &mut JsonWriter, needs_comma: &mut bool) -> bool {
        match self {
            Self::Text(text) => {
                json.raw(text);
                false
            }
            Self::Nodes(nodes) => {
                fill(json, nodes, needs_comma, |node, json| node.write_json(json))
            }
            Self::Edges(edges) => {
                fill(json, edges, needs_comma, |edge, json| edge.write_json(json))
            }
            Self::Flows(flows) => {
                fill(json, flows, needs_comma, |flow, json| json.serialized(flow))
            }
            Self::Changes(changes) => fill(json, changes, needs_comma, |change, json| {
                json.serialized(change);
            }),
        }
    }
}

/// Writes elements of a list until the buffer is full; returns whether elements may be left.
fn fill<T>(
    json: &mut JsonWriter,
    elements: &mut vec::IntoIter<T>,
    needs_comma: &mut bool,
    write: impl Fn(&T, &mut JsonWriter),
) -> bool {
    while json.len() < BUFFER_BYTES {
        let Some(element) = elements.next() else {
            return false;
        };
        if std::mem::replace(needs_comma, true) {
            json.constant(b",");
        }
        write(&element, json);
    }
    true
}

impl Iterator for JsonStream {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::with_capacity(CHUNK_CAPACITY);
        while out.len() < CHUNK_BYTES {
            if self.current.is_none() {
                self.current = self.segments.next();
                self.needs_comma = false;
            }
            match &mut self.current {
                None => break,
                Some(segment) => {
                    if !segment.fill(&mut self.json, &mut self.needs_comma) {
                        self.current = None;
                    }
                    out.extend_from_slice(self.json.as_bytes());
                    self.json.clear();
                }
            }
        }
        (!out.is_empty()).then(|| out.into())
    }
}

/// Least length of a chunk other than the last, in bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// Length of buffered text that is copied to the chunk, in bytes.
const BUFFER_BYTES: usize = 4 << 10;
/// Capacity for a chunk and the element that completed it.
const CHUNK_CAPACITY: usize = CHUNK_BYTES + 2 * BUFFER_BYTES;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Metadata;
    use crate::gremlin::live::{Item, ItemKey, List};
    use crate::time::Timestamp;

    const AT: Timestamp = Timestamp::from_ms(1);

    fn nodes(count: usize) -> Vec<Arc<Node>> {
        let node = |i: usize| {
            let metadata = Metadata::from_iter([("Name", "x".repeat(100))]);
            Arc::new(Node::new(format!("n{i}"), metadata, AT))
        };
        (0..count).map(node).collect()
    }

    fn edges(count: usize) -> Vec<Arc<Edge>> {
        let edge = |i: usize| Arc::new(Edge::new(format!("e{i}"), "a", "b", Metadata::new(), AT));
        (0..count).map(edge).collect()
    }

    fn changes(count: usize) -> Vec<Change> {
        let entered = |(at, node): (usize, Arc<Node>)| Change::Entered {
            list: List::First,
            at,
            key: ItemKey::Id(node.id.as_id().clone()),
            item: Item::Node(node),
        };
        nodes(count).into_iter().enumerate().map(entered).collect()
    }

    fn parsed(stream: JsonStream) -> serde_json::Value {
        serde_json::from_slice(&stream.into_bytes()).unwrap()
    }

    #[test]
    fn chunks_form_one_document_of_any_size() {
        for count in [0, 1, 2, 5_000] {
            let value = parsed(JsonStream::sync_reply("", nodes(count), edges(count)));
            assert_eq!(value.get("UUID"), None);
            assert_eq!(value["Status"], 200);
            assert_eq!(value["Obj"]["Nodes"].as_array().unwrap().len(), count);
            assert_eq!(value["Obj"]["Edges"].as_array().unwrap().len(), count);
            assert_eq!(
                parsed(JsonStream::nodes(nodes(count)))
                    .as_array()
                    .unwrap()
                    .len(),
                count
            );
            assert_eq!(
                parsed(JsonStream::edges(edges(count)))
                    .as_array()
                    .unwrap()
                    .len(),
                count
            );
        }
        let value = parsed(JsonStream::graph(nodes(1), vec![]).between("[", "]"));
        assert_eq!(value[0]["Nodes"][0]["ID"], "n0");
    }

    #[test]
    fn answers_have_null_for_an_empty_list() {
        let text = |n, e| String::from_utf8(JsonStream::answer(nodes(n), edges(e)).into_bytes());
        assert_eq!(text(0, 0).unwrap(), r#"[{"Nodes":null,"Edges":null}]"#);
        let both = text(2, 1).unwrap();
        let value: serde_json::Value = serde_json::from_str(&both).unwrap();
        assert_eq!(value[0]["Nodes"][1]["ID"], "n1");
        assert_eq!(value[0]["Edges"][0]["ID"], "e0");
    }

    #[test]
    fn chunks_are_neither_small_nor_large() {
        for stream in [
            JsonStream::graph(nodes(5_000), vec![]),
            JsonStream::changes(changes(5_000)),
        ] {
            let chunks: Vec<Bytes> = stream.collect();
            assert!(chunks.len() > 5);
            let (last, others) = chunks.split_last().unwrap();
            assert!(!last.is_empty());
            assert!(
                others
                    .iter()
                    .all(|chunk| (CHUNK_BYTES..CHUNK_CAPACITY).contains(&chunk.len()))
            );
        }
    }

    #[test]
    fn flows_and_changes_are_written_as_by_serde_json() {
        let text = |stream: JsonStream| String::from_utf8(stream.into_bytes()).unwrap();
        for count in [0, 1, 300] {
            let changes = changes(count);
            let wanted = serde_json::to_string(&changes).unwrap();
            assert_eq!(text(JsonStream::changes(changes)), wanted);
            let flow = |i: usize| Flow {
                uuid: format!("f{i}").into(),
                ..Flow::default()
            };
            let flows: Vec<Flow> = (0..count).map(flow).collect();
            let wanted = serde_json::to_string(&flows).unwrap();
            assert_eq!(text(JsonStream::flows(flows)), wanted);
        }
    }
}
