//! `JsonStream`: JSON of many elements, produced chunk by chunk while it is being sent.
//!
//! Elements are first written to a small buffer that stays in the CPU cache, then copied to the
//! chunk. A message in protobuf needs the length of its JSON object first: a first pass over the
//! elements computes it, so that no encoding ever needs the whole JSON in memory.

use std::sync::Arc;
use std::vec;

use bytes::Bytes;
use serde::Serialize;

use super::envelope::Envelope;
use super::json_items::{BUFFER_BYTES, Groups, Item, Items, Series, ValueList};
use super::message::write_json_head;
use super::{Encoding, GRAPH};
use crate::graph::{Edge, Node};
use crate::gremlin::Answer;
use crate::gremlin::live::Change;
use crate::value::{JsonWriter, Text, Value};

/// The JSON of a graph or an answer, also inside a message, as an iterator of chunks of
/// approximately 64 KiB.
///
/// The stream holds only shared handles of the elements. The first chunk of a graph of any size is
/// therefore available immediately, and a slow reader occupies no memory for JSON.
///
/// ```
/// use skylib::proto::{Encoding, JsonStream};
/// let text = JsonStream::sync_reply(Encoding::Json, "u1", vec![], vec![]).into_bytes();
/// let wanted = concat!(r#"{"Namespace":"Graph","Type":"SyncReply","UUID":"u1","Status":200,"#,
///                      r#""Obj":{"Nodes":[],"Edges":[]}}"#);
/// assert_eq!(text, wanted.as_bytes());
/// ```
#[derive(Debug)]
pub struct JsonStream {
    /// Segments after the current one.
    segments: vec::IntoIter<Segment>,
    current: Option<Segment>,
    /// JSON that is not part of a chunk yet; empty between calls of `next`.
    json: JsonWriter,
}

/// A literal string, or the elements of a list that have not been written yet.
#[derive(Debug)]
enum Segment {
    Text(Vec<u8>),
    Items(Box<dyn Items>),
}

impl JsonStream {
    /// Returns a `SyncReply` of status 200 with its envelope; an empty `uuid` is omitted. For
    /// protobuf, the call takes as long as writing the JSON.
    #[must_use]
    pub fn sync_reply(
        encoding: Encoding,
        uuid: &str,
        nodes: Vec<Arc<Node>>,
        edges: Vec<Arc<Edge>>,
    ) -> Self {
        Self::graph(nodes, edges).enveloped(encoding, GRAPH, "SyncReply", uuid, 200)
    }

    /// Returns a `Sync`, with which an agent or analyzer sends the whole graph, with its envelope.
    /// For protobuf, the call takes as long as writing the JSON.
    #[must_use]
    pub fn sync(
        encoding: Encoding,
        uuid: &str,
        nodes: Vec<Arc<Node>>,
        edges: Vec<Arc<Edge>>,
    ) -> Self {
        Self::graph(nodes, edges).enveloped(encoding, GRAPH, "Sync", uuid, 200)
    }

    /// Returns `{"Nodes":[…],"Edges":[…]}`.
    #[must_use]
    pub fn graph(nodes: Vec<Arc<Node>>, edges: Vec<Arc<Edge>>) -> Self {
        Self::new(vec![
            Segment::text("{\"Nodes\":["),
            Segment::items(Series::new(nodes)),
            Segment::text("],\"Edges\":["),
            Segment::items(Series::new(edges)),
            Segment::text("]}"),
        ])
    }

    /// Returns the JSON of an answer to a query, equal to [`Answer::write_json`].
    #[must_use]
    pub fn answer(answer: Answer) -> Self {
        match answer {
            Answer::Graph { nodes, edges } => {
                // COMPAT: an empty list of nodes or edges is null.
                let mut segments = vec![Segment::text("[{\"Nodes\":")];
                segments.extend(Segment::array_or_null(nodes));
                segments.push(Segment::text(",\"Edges\":"));
                segments.extend(Segment::array_or_null(edges));
                segments.push(Segment::text("}]"));
                Self::new(segments)
            }
            Answer::Nodes(nodes) => Self::array(nodes),
            Answer::Edges(edges) => Self::array(edges),
            Answer::Flows(set) => Self::array(set.flows),
            Answer::Paths(paths) => {
                let paths = paths.into_iter().map(|path| (None, path));
                Self::array_of(Groups::new(paths.collect(), "[]"))
            }
            Answer::Groups(groups) => Self::keyed(groups, "[]"),
            Answer::Metrics(metrics) => Self::keyed(metrics.into_series(), "[]"),
            // COMPAT: the packet list of a flow is null if `BPF` removed all packets.
            Answer::RawPackets(packets) => Self::keyed(packets, "null"),
            Answer::Sockets(sockets) => Self::keyed(sockets, "[]"),
            Answer::NextHops(hops) => Self::map(hops.is_empty(), Series::new(hops)),
            Answer::Value(Value::List(list)) => Self::array_of(ValueList::new(list)),
            other => Self::object(&other),
        }
    }

    /// Returns a list of changes to an answer.
    pub(super) fn changes(changes: Vec<Change>) -> Self {
        Self::array(changes)
    }

    /// Returns the JSON of a small object.
    pub(super) fn object(object: &impl Serialize) -> Self {
        let mut json = JsonWriter::with_room(0);
        json.serialized(object);
        Self::from_text(json.as_bytes().to_vec())
    }

    /// Returns a stream of this JSON.
    pub(super) fn from_text(text: Vec<u8>) -> Self {
        Self::new(vec![Segment::Text(text)])
    }

    /// Adds a string before the content of the stream, and one after it.
    #[must_use]
    pub fn between(self, before: &str, after: &str) -> Self {
        self.around(before.as_bytes().to_vec(), after)
    }

    /// Puts the JSON into the envelope of a message; an empty `uuid` is omitted.
    pub(super) fn enveloped(
        self,
        encoding: Encoding,
        namespace: &str,
        kind: &str,
        uuid: &str,
        status: i64,
    ) -> Self {
        match encoding {
            Encoding::Json => {
                let mut head = Vec::with_capacity(160);
                write_json_head(&mut head, namespace, kind, uuid, status);
                self.around(head, "}")
            }
            Encoding::Protobuf => {
                let head = Envelope::head(namespace, kind, uuid, status, self.text_len());
                self.around(head, "")
            }
        }
    }

    fn around(self, before: Vec<u8>, after: &str) -> Self {
        let mut segments = vec![Segment::Text(before)];
        segments.extend(self.current);
        segments.extend(self.segments);
        segments.push(Segment::text(after));
        Self::new(segments)
    }

    fn array<T: Item>(items: Vec<T>) -> Self {
        Self::array_of(Series::new(items))
    }

    fn array_of(items: impl Items + 'static) -> Self {
        let (open, close) = (Segment::text("["), Segment::text("]"));
        Self::new(vec![open, Segment::items(items), close])
    }

    /// Returns `[{"key":[…],…}]`; `empty` is written for a group without items.
    fn keyed<T: Item>(
        groups: impl IntoIterator<Item = (Text, Vec<T>)>,
        empty: &'static str,
    ) -> Self {
        let groups = groups.into_iter().map(|(key, items)| (Some(key), items));
        let groups: Vec<_> = groups.collect();
        Self::map(groups.is_empty(), Groups::new(groups, empty))
    }

    /// Returns `[{…}]`, or `[]` if there are no members.
    fn map(is_empty: bool, members: impl Items + 'static) -> Self {
        if is_empty {
            return Self::from_text(b"[]".to_vec());
        }
        let (open, close) = (Segment::text("[{"), Segment::text("}]"));
        Self::new(vec![open, Segment::items(members), close])
    }

    fn new(segments: Vec<Segment>) -> Self {
        Self {
            segments: segments.into_iter(),
            current: None,
            json: JsonWriter::with_room(2 * BUFFER_BYTES),
        }
    }

    /// Returns the length of the JSON that has not been written yet, in bytes.
    fn text_len(&self) -> u64 {
        let mut json = JsonWriter::with_room(2 * BUFFER_BYTES);
        let segments = self.current.iter().chain(self.segments.as_slice());
        segments.map(|segment| segment.text_len(&mut json)).sum()
    }

    /// Returns the whole JSON.
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

    fn items(items: impl Items + 'static) -> Self {
        Self::Items(Box::new(items))
    }

    /// Returns a list of items, or null if there are none.
    fn array_or_null<T: Item>(items: Vec<T>) -> Vec<Self> {
        if items.is_empty() {
            return vec![Self::text("null")];
        }
        let items = Self::items(Series::new(items));
        vec![Self::text("["), items, Self::text("]")]
    }

    /// Writes items until the buffer is full; returns whether items may be left.
    fn fill(&mut self, json: &mut JsonWriter) -> bool {
        match self {
            Self::Text(text) => {
                json.raw(text);
                false
            }
            Self::Items(items) => items.fill(json),
        }
    }

    /// Returns the length of the JSON that has not been written yet, in bytes.
    fn text_len(&self, json: &mut JsonWriter) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Items(items) => items.text_len(json),
        }
    }
}

impl Iterator for JsonStream {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::with_capacity(CHUNK_CAPACITY);
        while out.len() < CHUNK_BYTES {
            if self.current.is_none() {
                self.current = self.segments.next();
            }
            match &mut self.current {
                None => break,
                Some(segment) => {
                    if !segment.fill(&mut self.json) {
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

/// Minimum length of a chunk other than the last, in bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// Capacity for a chunk and the element that completed it.
const CHUNK_CAPACITY: usize = CHUNK_BYTES + 2 * BUFFER_BYTES;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Flow, FlowMetric, FlowSet, RawPacket};
    use crate::graph::Metadata;
    use crate::gremlin::Metric;
    use crate::gremlin::live::{Item as LiveItem, ItemKey, List};
    use crate::proto::write_message;
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
            item: LiveItem::Node(node),
        };
        nodes(count).into_iter().enumerate().map(entered).collect()
    }

    fn parsed(stream: JsonStream) -> serde_json::Value {
        serde_json::from_slice(&stream.into_bytes()).unwrap()
    }

    #[test]
    fn chunks_form_one_document_of_any_size() {
        for count in [0, 1, 2, 5_000] {
            let value = parsed(JsonStream::sync_reply(
                Encoding::Json,
                "",
                nodes(count),
                edges(count),
            ));
            assert_eq!(value.get("UUID"), None);
            assert_eq!(value["Status"], 200);
            assert_eq!(value["Obj"]["Nodes"].as_array().unwrap().len(), count);
            assert_eq!(value["Obj"]["Edges"].as_array().unwrap().len(), count);
            assert_eq!(
                parsed(JsonStream::answer(Answer::Nodes(nodes(count))))
                    .as_array()
                    .unwrap()
                    .len(),
                count
            );
            assert_eq!(
                parsed(JsonStream::answer(Answer::Edges(edges(count))))
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
        let text = |n, e| {
            let (nodes, edges) = (nodes(n), edges(e));
            String::from_utf8(JsonStream::answer(Answer::Graph { nodes, edges }).into_bytes())
        };
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
            let set = FlowSet::from_flows(flows);
            assert_eq!(text(JsonStream::answer(Answer::Flows(set))), wanted);
        }
    }

    fn answers(count: usize) -> Vec<Answer> {
        let key = |i: usize| Text::from(format!("k\"{i}"));
        let flow = |i: usize| Flow {
            uuid: format!("f{i}").into(),
            ..Flow::default()
        };
        let packet = |i: usize| RawPacket {
            index: i64::try_from(i).unwrap(),
            data: vec![7; 20].into(),
            ..RawPacket::default()
        };
        let metric = Metric::Flow(FlowMetric::default());
        let values = |i: usize| vec![Value::from(i as i64), Value::from("x\ny")];
        let all = 0..count;
        vec![
            Answer::Paths(all.clone().map(nodes).collect()),
            Answer::Groups(
                all.clone()
                    .map(|i| (key(i), vec![flow(i); i % 3]))
                    .collect(),
            ),
            Answer::Metrics(
                all.clone()
                    .map(|i| (key(i), vec![metric.clone(); i % 3]))
                    .collect(),
            ),
            Answer::RawPackets(
                all.clone()
                    .map(|i| (key(i), vec![packet(i); i % 3]))
                    .collect(),
            ),
            Answer::Sockets(all.clone().map(|i| (key(i), values(i))).collect()),
            Answer::NextHops(
                all.clone()
                    .map(|i| (key(i), Value::from("10.0.0.1")))
                    .collect(),
            ),
            Answer::Value(Value::from(
                all.map(|i| Value::list(values(i))).collect::<Vec<_>>(),
            )),
            Answer::Value(Value::Null),
            Answer::Number(count as i64),
            Answer::Nodes(nodes(count)),
            Answer::Graph {
                nodes: nodes(count),
                edges: edges(count / 2),
            },
        ]
    }

    #[test]
    fn every_answer_is_written_as_by_serde_json_and_its_length_is_known_before() {
        for count in [0, 1, 2, 40] {
            for answer in answers(count) {
                let kind = answer.kind();
                let wanted = serde_json::to_string(&answer).unwrap();
                let stream = JsonStream::answer(answer);
                assert_eq!(stream.text_len(), wanted.len() as u64, "{kind} {count}");
                let text = String::from_utf8(stream.into_bytes()).unwrap();
                assert_eq!(text, wanted, "{kind} {count}");
            }
        }
    }

    #[test]
    fn the_length_of_a_stream_that_has_begun_is_that_of_its_rest() {
        let mut stream = JsonStream::answer(Answer::Groups(vec![(
            "k".into(),
            vec![Flow::default(); 5_000],
        )]));
        let whole = stream.text_len();
        let first = stream.next().unwrap().len() as u64;
        assert!(first < whole);
        assert_eq!(stream.text_len(), whole - first);
    }

    #[test]
    fn a_protobuf_message_in_chunks_is_the_message_in_one() {
        for count in [0, 1, 5_000] {
            let object = JsonStream::graph(nodes(count), edges(count)).into_bytes();
            let wanted = write_message(Encoding::Protobuf, GRAPH, "SyncReply", "u", 200, |out| {
                out.extend_from_slice(&object);
            });
            let (nodes, edges) = (nodes(count), edges(count));
            let stream = JsonStream::sync_reply(Encoding::Protobuf, "u", nodes, edges);
            assert!(stream.into_bytes() == wanted, "{count} nodes");
        }
    }
}
