//! `Answer`: the result of a query, and its output formats.

#[cfg(feature = "history")]
mod columns;
mod dot;
mod pcap;

#[cfg(feature = "history")]
pub use columns::ColumnFormat;
pub use dot::DotStream;
pub use pcap::PcapStream;

use std::fmt;
use std::io;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::steps::metrics::Metrics;
use crate::flow::{Flow, FlowSet, PacketsByFlow, RawPacket};
use crate::graph::{Edge, Node, WriteJson};
use crate::value::{JsonWriter, Text, Value};

/// Result of a query; serializes as the JSON that clients expect of each kind.
///
/// ```
/// use skylib::gremlin::Answer;
/// use skylib::value::Value;
/// let mut json = Vec::new();
/// Answer::Nodes(vec![]).write_json(&mut json)?;
/// Answer::Value(Value::Null).write_json(&mut json)?;
/// assert_eq!(json, b"[]null");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// A graph or subgraph, from `G` and `SubGraph`.
    Graph {
        /// Nodes.
        nodes: Vec<Arc<Node>>,
        /// Edges; both ends of each are among the nodes.
        edges: Vec<Arc<Edge>>,
    },
    /// Nodes; may contain duplicates.
    Nodes(Vec<Arc<Node>>),
    /// Edges; may contain duplicates.
    Edges(Vec<Arc<Edge>>),
    /// Paths, each with its nodes from source to target.
    Paths(Vec<Vec<Arc<Node>>>),
    /// Flows.
    Flows(FlowSet),
    /// Flows by tracking ID.
    Groups(Vec<(Text, Vec<Flow>)>),
    /// Metrics by owner.
    Metrics(Metrics),
    /// Raw packets by the UUID of their flow.
    RawPackets(PacketsByFlow),
    /// Sockets by the id of a node or the UUID of a flow.
    Sockets(Vec<(Text, Vec<Value>)>),
    /// Next hops by the id of a node.
    NextHops(Vec<(Text, Value)>),
    /// A list of values, null if the list is empty, or a single object.
    Value(Value),
    /// Result of `Count()`, or of `Sum()` over integers.
    Number(i64),
}

impl Answer {
    /// Returns the kind of the answer: `graph`, `nodes`, `edges`, `paths`, `flows`, `groups`, `metrics`,
    /// `rawpackets`, `sockets`, `nexthops`, `values`, or `number`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Graph { .. } => "graph",
            Self::Nodes(_) => "nodes",
            Self::Edges(_) => "edges",
            Self::Paths(_) => "paths",
            Self::Flows(_) => "flows",
            Self::Groups(_) => "groups",
            Self::Metrics(_) => "metrics",
            Self::RawPackets(_) => "rawpackets",
            Self::Sockets(_) => "sockets",
            Self::NextHops(_) => "nexthops",
            Self::Value(_) => "values",
            Self::Number(_) => "number",
        }
    }

    /// Writes the answer as JSON. Lists of elements are streamed in chunks of about 64 KiB.
    ///
    /// # Errors
    /// Returns the errors of the writer; writing to a `Vec` does not fail.
    pub fn write_json(&self, mut out: impl io::Write) -> io::Result<()> {
        match self {
            Self::Graph { nodes, edges } => {
                let mut list = ListWriter::new(out);
                list.write("[{\"Nodes\":", nodes, "null")?;
                list.write(",\"Edges\":", edges, "null")?;
                list.end("}]")
            }
            Self::Nodes(nodes) => {
                let mut list = ListWriter::new(out);
                list.write("", nodes, "[]")?;
                list.end("")
            }
            Self::Edges(edges) => {
                let mut list = ListWriter::new(out);
                list.write("", edges, "[]")?;
                list.end("")
            }
            _ => serde_json::to_writer(&mut out, self).map_err(io::Error::from),
        }
    }
}

/// Writer of element lists, in chunks of about 64 KiB.
struct ListWriter<W> {
    out: W,
    json: JsonWriter,
}

impl<W: io::Write> ListWriter<W> {
    fn new(out: W) -> Self {
        Self {
            out,
            json: JsonWriter::with_room(0),
        }
    }

    /// Writes `before` and the elements, or `before` and `none` if the list is empty.
    fn write<E: WriteJson>(
        &mut self,
        before: &str,
        elements: &[Arc<E>],
        none: &str,
    ) -> io::Result<()> {
        self.json.raw(before.as_bytes());
        if elements.is_empty() {
            self.json.raw(none.as_bytes());
            return Ok(());
        }
        for (i, element) in elements.iter().enumerate() {
            self.json.constant(if i > 0 { b"," } else { b"[" });
            element.write_json(&mut self.json);
            if self.json.len() >= CHUNK {
                self.flush()?;
            }
        }
        self.json.constant(b"]");
        Ok(())
    }

    /// Writes `after` and the rest of the buffer.
    fn end(mut self, after: &str) -> io::Result<()> {
        self.json.raw(after.as_bytes());
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(self.json.as_bytes())?;
        self.json.clear();
        Ok(())
    }
}

/// Size of a chunk, in bytes.
const CHUNK: usize = 64 << 10;

/// Serializes entries as `[{"name": …}]`, or `[]` if there are none.
fn keyed<'a, S: Serializer, T: Serialize + 'a>(
    serializer: S,
    entries: &'a [(Text, T)],
) -> Result<S::Ok, S::Error> {
    struct Entries<'a, T>(&'a [(Text, T)]);
    impl<T: Serialize> Serialize for Entries<'_, T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.iter().map(|(name, entry)| (name.as_str(), entry)))
        }
    }
    let any = (!entries.is_empty()).then_some(Entries(entries));
    serializer.collect_seq(any)
}

/// Formats the answer as JSON.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str(&json)
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Graph<'a> {
            #[serde(rename = "Nodes")]
            nodes: Option<&'a [Arc<Node>]>,
            #[serde(rename = "Edges")]
            edges: Option<&'a [Arc<Edge>]>,
        }
        match self {
            // COMPAT: an empty list of nodes or edges is null.
            Self::Graph { nodes, edges } => serializer.collect_seq([Graph {
                nodes: (!nodes.is_empty()).then_some(nodes),
                edges: (!edges.is_empty()).then_some(edges),
            }]),
            Self::Nodes(nodes) => serializer.collect_seq(nodes),
            Self::Edges(edges) => serializer.collect_seq(edges),
            Self::Paths(paths) => serializer.collect_seq(paths),
            Self::Flows(set) => serializer.collect_seq(&set.flows),
            Self::Groups(groups) => keyed(serializer, groups),
            Self::Metrics(metrics) => {
                serializer.collect_seq((!metrics.is_empty()).then_some(metrics))
            }
            // COMPAT: the packet list of a flow is null if `BPF` removed all packets.
            Self::RawPackets(flows) => {
                let entries: Vec<(Text, Option<&[RawPacket]>)> = flows
                    .iter()
                    .map(|(uuid, list)| {
                        let list = Some(list.as_slice()).filter(|list| !list.is_empty());
                        (uuid.clone(), list)
                    })
                    .collect();
                keyed(serializer, &entries)
            }
            Self::Sockets(sockets) => keyed(serializer, sockets),
            Self::NextHops(hops) => keyed(serializer, hops),
            Self::Value(value) => value.serialize(serializer),
            Self::Number(number) => serializer.serialize_i64(*number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Metadata, Origin};
    use crate::time::Timestamp;

    /// Serializes an answer in both ways.
    fn json(answer: &Answer) -> String {
        let text = serde_json::to_string(answer).unwrap();
        let mut written = Vec::new();
        answer.write_json(&mut written).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), text);
        text
    }

    #[test]
    fn long_lists_are_written_in_chunks_that_fit_together() {
        let node = |i| {
            Node::new(format!("n{i}"), Metadata::new(), Timestamp::ZERO)
                .with_origin(Origin::default().with_host("h"))
        };
        let nodes: Vec<_> = (0..2_000).map(|i| Arc::new(node(i))).collect();
        let edge = Edge::new("e", "n1", "n2", Metadata::new(), Timestamp::ZERO);
        let edges = vec![Arc::new(edge)];
        assert!(json(&Answer::Nodes(nodes.clone())).len() > CHUNK);
        let both = json(&Answer::Graph {
            nodes,
            edges: edges.clone(),
        });
        assert!(both.ends_with(r#""Parent":"n1","Child":"n2"}]}]"#));
        assert!(json(&Answer::Edges(edges)).starts_with("[{"));
    }

    #[test]
    fn empty_answers_differ_by_kind() {
        let graph = Answer::Graph {
            nodes: vec![],
            edges: vec![],
        };
        assert_eq!(json(&graph), r#"[{"Nodes":null,"Edges":null}]"#);
        assert_eq!(json(&Answer::Edges(vec![])), "[]");
        assert_eq!(json(&Answer::Paths(vec![])), "[]");
        assert_eq!(json(&Answer::Groups(vec![])), "[]");
        assert_eq!(json(&Answer::Metrics(Metrics::default())), "[]");
        assert_eq!(json(&Answer::Value(Value::Null)), "null");
        assert_eq!(json(&Answer::Number(0)), "0");
    }

    #[test]
    fn keyed_answers_are_one_object_in_an_array() {
        let sockets = vec![("n1".into(), vec![Value::Int(1)]), ("n2".into(), vec![])];
        assert_eq!(json(&Answer::Sockets(sockets)), r#"[{"n1":[1],"n2":[]}]"#);
    }
}
