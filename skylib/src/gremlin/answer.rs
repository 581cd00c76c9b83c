//! `Answer`: what a query gives, and how it is written for clients.

use std::io;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::error::QueryError;
use super::go_text;
use super::steps::metrics::Metrics;
use crate::flow::{Flow, FlowSet, RawPacket};
use crate::graph::{Edge, Node};
use crate::value::{Text, Value};

/// The result of a query. Serialises as the JSON that clients expect of each kind.
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
    /// A graph, whole or in part: of `G` and `SubGraph`.
    Graph {
        /// Its nodes.
        nodes: Vec<Arc<Node>>,
        /// Its edges; both ends of each are among the nodes.
        edges: Vec<Arc<Edge>>,
    },
    /// Nodes, perhaps some more than once.
    Nodes(Vec<Arc<Node>>),
    /// Edges, perhaps some more than once.
    Edges(Vec<Arc<Edge>>),
    /// Nodes from source to target, path by path.
    Paths(Vec<Vec<Arc<Node>>>),
    /// Flows.
    Flows(FlowSet),
    /// Flows by tracking id.
    Groups(Vec<(Text, Vec<Flow>)>),
    /// Metrics by what they belong to.
    Metrics(Metrics),
    /// Packets by the UUID of their flow.
    RawPackets(Vec<(Text, Vec<RawPacket>)>),
    /// Connections by the id of a node or the UUID of a flow.
    Sockets(Vec<(Text, Vec<Value>)>),
    /// Next hops by the id of a node.
    NextHops(Vec<(Text, Value)>),
    /// A list of values, or null where there is none; or one object.
    Value(Value),
    /// A count or a sum.
    Number(i64),
}

impl Answer {
    /// Writes JSON; elements go out one by one, nothing is built up.
    ///
    /// # Errors
    /// Those of the writer; a `Vec` has none.
    pub fn write_json(&self, out: impl io::Write) -> io::Result<()> {
        serde_json::to_writer(out, self).map_err(io::Error::from)
    }

    /// Writes a graph in the DOT language of Graphviz.
    ///
    /// # Errors
    /// An answer that is no graph; the text is what clients are told.
    pub fn write_dot(&self, out: &mut Vec<u8>) -> Result<(), QueryError> {
        let Self::Graph { nodes, edges } = self else {
            return Err(QueryError::execute("Only graph can be outputted as dot"));
        };
        let mut text = String::from("digraph g {\n");
        let titles: hashbrown::HashMap<_, _> =
            nodes.iter().map(|node| (&node.id, title(node))).collect();
        for node in nodes {
            let title = title(node);
            text.push_str(&format!("\"{title}\" [label=\"{title}"));
            for key in DOT_KEYS {
                if let Some(value) = node.metadata.get(key) {
                    text.push_str(&format!(
                        "\\n{key} = {}",
                        escaped(&go_text::metadata(value))
                    ));
                }
            }
            text.push_str("\"]\n");
        }
        for edge in edges {
            let (Some(parent), Some(child)) = (titles.get(&edge.parent), titles.get(&edge.child))
            else {
                continue;
            };
            text.push_str(&format!("\"{parent}\" -> \"{child}\""));
            let relation = edge.metadata.get("RelationType").and_then(Value::as_text);
            if let Some(relation) = relation.filter(|relation| !relation.is_empty()) {
                let direction = if relation == "layer2" {
                    "both"
                } else {
                    "forward"
                };
                let relation = escaped(relation);
                let quote = if is_dot_word(&relation) { "" } else { "\"" };
                text.push_str(&format!(
                    " [label={quote}{relation}{quote},dir={direction}]"
                ));
            }
            text.push('\n');
        }
        text.push('}');
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// `[{"name": …}]`, or `[]` for none.
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
            // COMPAT: a side without elements is null.
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
            Self::RawPackets(packets) => keyed(serializer, packets),
            Self::Sockets(sockets) => keyed(serializer, sockets),
            Self::NextHops(hops) => keyed(serializer, hops),
            Self::Value(value) => value.serialize(serializer),
            Self::Number(number) => serializer.serialize_i64(*number),
        }
    }
}

/// A node's name and the beginning of its id.
fn title(node: &Node) -> String {
    let name = node
        .metadata
        .get("Name")
        .and_then(Value::as_text)
        .unwrap_or_default();
    let id: String = node.id.to_string().chars().take(8).collect();
    escaped(&format!("{name}-{id}"))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Whether a text needs no quotes in DOT.
fn is_dot_word(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

const DOT_KEYS: [&str; 6] = ["Type", "IfIndex", "State", "TID", "IPV4", "IPV6"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Metadata;
    use crate::time::Timestamp;

    fn node(id: &str, metadata: &str) -> Arc<Node> {
        let metadata: Metadata = serde_json::from_str(metadata).unwrap();
        Arc::new(Node::new(id, "", "", metadata, Timestamp::ZERO))
    }

    fn edge(metadata: &str) -> Arc<Edge> {
        let metadata: Metadata = serde_json::from_str(metadata).unwrap();
        Arc::new(Edge::new(
            "e",
            "0123456789",
            "b",
            "",
            "",
            metadata,
            Timestamp::ZERO,
        ))
    }

    fn json(answer: &Answer) -> String {
        serde_json::to_string(answer).unwrap()
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

    #[test]
    fn graphs_are_drawn() {
        let answer = Answer::Graph {
            nodes: vec![
                node(
                    "0123456789",
                    r#"{"Name":"eth\"0","Type":"device","IPV4":["a","b"],"X":1}"#,
                ),
                node("b", r#"{"IfIndex":7}"#),
            ],
            edges: vec![
                edge(r#"{"RelationType":"layer2"}"#),
                edge(r#"{"RelationType":"own er"}"#),
                edge("{}"),
            ],
        };
        let mut dot = Vec::new();
        answer.write_dot(&mut dot).unwrap();
        assert_eq!(
            String::from_utf8(dot).unwrap(),
            r#"digraph g {
"eth\"0-01234567" [label="eth\"0-01234567\nType = device\nIPV4 = [a b]"]
"-b" [label="-b\nIfIndex = 7"]
"eth\"0-01234567" -> "-b" [label=layer2,dir=both]
"eth\"0-01234567" -> "-b" [label="own er",dir=forward]
"eth\"0-01234567" -> "-b"
}"#
        );
        let error = Answer::Nodes(vec![])
            .write_dot(&mut Vec::new())
            .unwrap_err();
        assert_eq!(error.message(), "Only graph can be outputted as dot");
    }
}
