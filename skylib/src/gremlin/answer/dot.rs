//! Graphs in the DOT language of Graphviz.

use std::sync::Arc;
use std::vec;

use bytes::Bytes;
use hashbrown::HashMap;

use super::{Answer, CHUNK};
use crate::graph::{Edge, Node, NodeId};
use crate::gremlin::error::QueryError;
use crate::gremlin::go_format;
use crate::value::Value;

impl Answer {
    /// Returns a graph in the DOT language of Graphviz.
    ///
    /// ```
    /// use skylib::gremlin::Answer;
    /// let dot = Answer::Graph { nodes: vec![], edges: vec![] }.into_dot()?;
    /// let dot: Vec<u8> = dot.flatten().collect();
    /// assert_eq!(dot, b"digraph g {\n}");
    /// # Ok::<(), skylib::gremlin::QueryError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error, whose message clients receive, if the answer is not a graph.
    pub fn into_dot(self) -> Result<DotStream, QueryError> {
        let Self::Graph { nodes, edges } = self else {
            return Err(QueryError::execute("Only graph can be outputted as dot"));
        };
        let by_id = nodes.iter().map(|node| (node.id.clone(), Arc::clone(node)));
        Ok(DotStream {
            by_id: by_id.collect(),
            nodes: nodes.into_iter(),
            edges: edges.into_iter(),
            state: DotState::Begin,
        })
    }
}

/// DOT document of a graph as an iterator of chunks of about 64 KiB, each produced on demand.
#[derive(Debug)]
pub struct DotStream {
    /// Nodes that have not been written yet.
    nodes: vec::IntoIter<Arc<Node>>,
    /// Edges that have not been written yet.
    edges: vec::IntoIter<Arc<Edge>>,
    /// All nodes, for the titles of the ends of edges.
    by_id: HashMap<NodeId, Arc<Node>>,
    state: DotState,
}

/// Position in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DotState {
    Begin,
    Inside,
    Ended,
}

impl DotStream {
    /// Size of the data that the stream holds per node in addition to the answer, in bytes.
    pub const BYTES_PER_NODE: usize = 2 * size_of::<(NodeId, Arc<Node>)>();

    /// Writes an edge. Edges whose ends are not in the graph are omitted.
    fn write_edge(&self, edge: &Edge, out: &mut String) {
        let end = |id| self.by_id.get(id).map(|node| title(node));
        let (Some(parent), Some(child)) = (end(&edge.parent), end(&edge.child)) else {
            return;
        };
        let relation = edge.metadata.get("RelationType").and_then(Value::as_text);
        let label = relation
            .filter(|relation| !relation.is_empty())
            .map_or_else(String::new, |relation| {
                let direction = if relation == Edge::LAYER2 {
                    "both"
                } else {
                    "forward"
                };
                format!(" [label={},dir={direction}]", word(relation))
            });
        out.push_str(&format!("\"{parent}\" -> \"{child}\"{label}\n"));
    }
}

impl Iterator for DotStream {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = String::new();
        match self.state {
            DotState::Begin => out.push_str("digraph g {\n"),
            DotState::Inside => {}
            DotState::Ended => return None,
        }
        self.state = DotState::Inside;
        while out.len() < CHUNK {
            if let Some(node) = self.nodes.next() {
                write_node(&node, &mut out);
            } else if let Some(edge) = self.edges.next() {
                self.write_edge(&edge, &mut out);
            } else {
                out.push('}');
                self.state = DotState::Ended;
                break;
            }
        }
        Some(out.into())
    }
}

/// Writes a node with its title and the keys that labels show.
fn write_node(node: &Node, out: &mut String) {
    let title = title(node);
    let mut label = title.clone();
    for key in KEYS {
        if let Some(value) = node.metadata.get(key) {
            let value = escaped(&go_format::metadata(value));
            label.push_str(&format!("\\n{key} = {value}"));
        }
    }
    out.push_str(&format!("\"{title}\" [label=\"{label}\"]\n"));
}

/// Returns the name of a node and the first eight characters of its id.
fn title(node: &Node) -> String {
    let name = node
        .metadata
        .get("Name")
        .and_then(Value::as_text)
        .unwrap_or_default();
    let id: String = node.id.to_string().chars().take(8).collect();
    escaped(&format!("{name}-{id}"))
}

/// Escapes a string for a quoted DOT string.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Returns a string as a DOT identifier, quoted if necessary.
fn word(text: &str) -> String {
    let is_bare = !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_bare {
        text.to_owned()
    } else {
        format!("\"{}\"", escaped(text))
    }
}

/// Metadata keys that labels show.
const KEYS: [&str; 6] = ["Type", "IfIndex", "State", "TID", "IPV4", "IPV6"];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::graph::{Edge, Metadata};
    use crate::time::Timestamp;

    fn node(id: &str, metadata: &str) -> Arc<Node> {
        let metadata: Metadata = serde_json::from_str(metadata).unwrap();
        Arc::new(Node::new(id, metadata, Timestamp::ZERO))
    }

    fn edge(metadata: &str) -> Arc<Edge> {
        let metadata: Metadata = serde_json::from_str(metadata).unwrap();
        Arc::new(Edge::new("e", "0123456789", "b", metadata, Timestamp::ZERO))
    }

    fn text(answer: Answer) -> String {
        let dot: Vec<u8> = answer.into_dot().unwrap().flatten().collect();
        String::from_utf8(dot).unwrap()
    }

    #[test]
    fn a_large_graph_is_drawn_in_chunks() {
        let nodes = (0..5_000).map(|i| node(&i.to_string(), r#"{"Name":"eth0"}"#));
        let edges = vec![edge("{}"); 100];
        let answer = Answer::Graph {
            nodes: nodes.collect(),
            edges,
        };
        let chunks: Vec<Bytes> = answer.clone().into_dot().unwrap().collect();
        assert!(chunks.len() > 2 && chunks.iter().all(|chunk| chunk.len() < 2 * CHUNK));
        let text = text(answer);
        assert_eq!(text.matches("[label").count(), 5_000);
        assert!(!text.contains("->"), "the ends of the edges are missing");
        assert!(text.ends_with("]\n}"));
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
        assert_eq!(
            text(answer),
            r#"digraph g {
"eth\"0-01234567" [label="eth\"0-01234567\nType = device\nIPV4 = [a b]"]
"-b" [label="-b\nIfIndex = 7"]
"eth\"0-01234567" -> "-b" [label=layer2,dir=both]
"eth\"0-01234567" -> "-b" [label="own er",dir=forward]
"eth\"0-01234567" -> "-b"
}"#
        );
        let error = Answer::Nodes(vec![]).into_dot().unwrap_err();
        assert_eq!(error.message(), "Only graph can be outputted as dot");
    }
}
