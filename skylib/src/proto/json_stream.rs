//! `JsonStream`: JSON of many elements, made a piece at a time while it is being sent.

use std::sync::Arc;
use std::vec;

use bytes::Bytes;

use super::GRAPH;
use super::message::write_json_head;
use crate::flow::Flow;
use crate::graph::{Edge, Node, WriteJson};
use crate::gremlin::live::Change;
use crate::value::JsonWriter;

/// The text of a graph, or a part of one, as an iterator of pieces of some 64 KiB.
///
/// Only handles of the elements are held, so a graph of any size is on its way after the first
/// piece, and whoever reads slowly holds no text in memory.
///
/// ```
/// use skylib::proto::JsonStream;
/// let text = JsonStream::sync_reply("u1", vec![], vec![]).into_text();
/// let wanted = concat!(r#"{"Namespace":"Graph","Type":"SyncReply","UUID":"u1","Status":200,"#,
///                      r#""Obj":{"Nodes":[],"Edges":[]}}"#);
/// assert_eq!(text, wanted.as_bytes());
/// ```
#[derive(Debug)]
pub struct JsonStream {
    parts: vec::IntoIter<Part>,
    current: Option<Part>,
    /// Whether an element of the current list is written already.
    inside: bool,
    /// What is written but no part of a piece yet: little enough to stay near the processor.
    json: JsonWriter,
}

#[derive(Debug)]
enum Part {
    Text(Vec<u8>),
    Nodes(vec::IntoIter<Arc<Node>>),
    Edges(vec::IntoIter<Arc<Edge>>),
    Flows(vec::IntoIter<Flow>),
    Changes(vec::IntoIter<Change>),
}

impl JsonStream {
    /// A good `SyncReply` with its envelope; an empty `uuid` is left out.
    #[must_use]
    pub fn sync_reply(uuid: &str, nodes: Vec<Arc<Node>>, edges: Vec<Arc<Edge>>) -> Self {
        let mut head = Vec::with_capacity(160);
        write_json_head(&mut head, GRAPH, "SyncReply", uuid, 200);
        Self::of_graph(head, nodes, edges, "}")
    }

    /// `{"Nodes":[…],"Edges":[…]}`
    #[must_use]
    pub fn graph(nodes: Vec<Arc<Node>>, edges: Vec<Arc<Edge>>) -> Self {
        Self::of_graph(Vec::new(), nodes, edges, "")
    }

    /// `[{"Nodes":…,"Edges":…}]` as a query answers it: a list without elements is `null`.
    #[must_use]
    pub fn answer(nodes: Vec<Arc<Node>>, edges: Vec<Arc<Edge>>) -> Self {
        let mut parts = vec![Part::text("[{\"Nodes\":")];
        if nodes.is_empty() {
            parts.push(Part::text("null"));
        } else {
            parts.extend(Self::nodes(nodes).parts);
        }
        parts.push(Part::text(",\"Edges\":"));
        if edges.is_empty() {
            parts.push(Part::text("null"));
        } else {
            parts.extend(Self::edges(edges).parts);
        }
        parts.push(Part::text("}]"));
        Self::new(parts)
    }

    /// `[…]` of nodes.
    #[must_use]
    pub fn nodes(nodes: Vec<Arc<Node>>) -> Self {
        Self::new(vec![
            Part::text("["),
            Part::Nodes(nodes.into_iter()),
            Part::text("]"),
        ])
    }

    /// `[…]` of edges.
    #[must_use]
    pub fn edges(edges: Vec<Arc<Edge>>) -> Self {
        Self::new(vec![
            Part::text("["),
            Part::Edges(edges.into_iter()),
            Part::text("]"),
        ])
    }

    /// `[…]` of flows.
    pub(super) fn flows(flows: Vec<Flow>) -> Self {
        Self::new(vec![
            Part::text("["),
            Part::Flows(flows.into_iter()),
            Part::text("]"),
        ])
    }

    /// `[…]` of changes of an answer.
    pub(super) fn changes(changes: Vec<Change>) -> Self {
        Self::new(vec![
            Part::text("["),
            Part::Changes(changes.into_iter()),
            Part::text("]"),
        ])
    }

    /// The same with text around it.
    #[must_use]
    pub fn between(self, before: &str, after: &str) -> Self {
        let mut parts = vec![Part::text(before)];
        parts.extend(self.current);
        parts.extend(self.parts);
        parts.push(Part::text(after));
        Self::new(parts)
    }

    fn of_graph(
        mut head: Vec<u8>,
        nodes: Vec<Arc<Node>>,
        edges: Vec<Arc<Edge>>,
        tail: &str,
    ) -> Self {
        head.extend_from_slice(b"{\"Nodes\":[");
        Self::new(vec![
            Part::Text(head),
            Part::Nodes(nodes.into_iter()),
            Part::text("],\"Edges\":["),
            Part::Edges(edges.into_iter()),
            Part::text("]}"),
            Part::text(tail),
        ])
    }

    fn new(parts: Vec<Part>) -> Self {
        Self {
            parts: parts.into_iter(),
            current: None,
            inside: false,
            json: JsonWriter::with_room(2 * MOUTHFUL),
        }
    }

    /// One text.
    pub(super) fn whole(text: Vec<u8>) -> Self {
        Self::new(vec![Part::Text(text)])
    }

    /// Everything at once.
    #[must_use]
    pub fn into_text(self) -> Vec<u8> {
        self.fold(Vec::new(), |mut text, piece| {
            text.extend_from_slice(&piece);
            text
        })
    }
}

impl Part {
    fn text(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec())
    }

    /// Writes until it has enough for now; whether there is more.
    fn fill(&mut self, json: &mut JsonWriter, inside: &mut bool) -> bool {
        match self {
            Self::Text(text) => {
                json.raw(text);
                false
            }
            Self::Nodes(nodes) => fill(json, nodes, inside, |node, json| node.write_json(json)),
            Self::Edges(edges) => fill(json, edges, inside, |edge, json| edge.write_json(json)),
            Self::Flows(flows) => fill(json, flows, inside, |flow, json| json.serialized(flow)),
            Self::Changes(changes) => fill(json, changes, inside, |change, json| {
                json.serialized(change);
            }),
        }
    }
}

fn fill<T>(
    json: &mut JsonWriter,
    elements: &mut vec::IntoIter<T>,
    inside: &mut bool,
    write: impl Fn(&T, &mut JsonWriter),
) -> bool {
    while json.len() < MOUTHFUL {
        let Some(element) = elements.next() else {
            return false;
        };
        if std::mem::replace(inside, true) {
            json.constant(b",");
        }
        write(&element, json);
    }
    true
}

impl Iterator for JsonStream {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::with_capacity(ROOM);
        while out.len() < PIECE {
            if self.current.is_none() {
                self.current = self.parts.next();
                self.inside = false;
            }
            match &mut self.current {
                None => break,
                Some(part) => {
                    if !part.fill(&mut self.json, &mut self.inside) {
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

/// A piece is sent once it has so many bytes.
const PIECE: usize = 64 << 10;
/// Bytes written before they are added to a piece.
const MOUTHFUL: usize = 4 << 10;
/// Room for a piece and the element that filled it.
const ROOM: usize = PIECE + 2 * MOUTHFUL;

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

    fn parsed(pieces: JsonStream) -> serde_json::Value {
        serde_json::from_slice(&pieces.into_text()).unwrap()
    }

    #[test]
    fn pieces_make_one_document_of_any_size() {
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
    fn answers_say_null_for_a_list_without_elements() {
        let text = |n, e| String::from_utf8(JsonStream::answer(nodes(n), edges(e)).into_text());
        assert_eq!(text(0, 0).unwrap(), r#"[{"Nodes":null,"Edges":null}]"#);
        let both = text(2, 1).unwrap();
        let value: serde_json::Value = serde_json::from_str(&both).unwrap();
        assert_eq!(value[0]["Nodes"][1]["ID"], "n1");
        assert_eq!(value[0]["Edges"][0]["ID"], "e0");
    }

    #[test]
    fn pieces_are_neither_small_nor_large() {
        for pieces in [
            JsonStream::graph(nodes(5_000), vec![]),
            JsonStream::changes(changes(5_000)),
        ] {
            let pieces: Vec<Bytes> = pieces.collect();
            assert!(pieces.len() > 5);
            let (last, others) = pieces.split_last().unwrap();
            assert!(!last.is_empty());
            assert!(
                others
                    .iter()
                    .all(|piece| (PIECE..ROOM).contains(&piece.len()))
            );
        }
    }

    #[test]
    fn flows_and_changes_are_written_as_by_serde_json() {
        let text = |pieces: JsonStream| String::from_utf8(pieces.into_text()).unwrap();
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
