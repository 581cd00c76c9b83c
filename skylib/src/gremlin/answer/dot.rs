//! Graphs in the DOT language of Graphviz.

use hashbrown::HashMap;

use super::Answer;
use crate::graph::Node;
use crate::gremlin::error::QueryError;
use crate::gremlin::go_format;
use crate::value::Value;

impl Answer {
    /// Writes a graph in the DOT language of Graphviz.
    ///
    /// ```
    /// use skylib::gremlin::Answer;
    /// let mut dot = Vec::new();
    /// Answer::Graph { nodes: vec![], edges: vec![] }.write_dot(&mut dot)?;
    /// assert_eq!(dot, b"digraph g {\n}");
    /// # Ok::<(), skylib::gremlin::QueryError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error, whose text clients receive, if the answer is not a graph.
    pub fn write_dot(&self, out: &mut Vec<u8>) -> Result<(), QueryError> {
        let Self::Graph { nodes, edges } = self else {
            return Err(QueryError::execute("Only graph can be outputted as dot"));
        };
        out.extend_from_slice(b"digraph g {\n");
        let titles: HashMap<_, _> = nodes.iter().map(|node| (&node.id, title(node))).collect();
        for node in nodes {
            let title = title(node);
            let mut label = title.clone();
            for key in KEYS {
                if let Some(value) = node.metadata.get(key) {
                    let value = escaped(&go_format::metadata(value));
                    label.push_str(&format!("\\n{key} = {value}"));
                }
            }
            out.extend_from_slice(format!("\"{title}\" [label=\"{label}\"]\n").as_bytes());
        }
        for edge in edges {
            let (Some(parent), Some(child)) = (titles.get(&edge.parent), titles.get(&edge.child))
            else {
                continue;
            };
            let relation = edge.metadata.get("RelationType").and_then(Value::as_text);
            let label = relation
                .filter(|relation| !relation.is_empty())
                .map_or_else(String::new, |relation| {
                    let direction = if relation == "layer2" {
                        "both"
                    } else {
                        "forward"
                    };
                    format!(" [label={},dir={direction}]", word(relation))
                });
            out.extend_from_slice(format!("\"{parent}\" -> \"{child}\"{label}\n").as_bytes());
        }
        out.push(b'}');
        Ok(())
    }
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

/// Escapes a text for a quoted DOT string.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Returns a text as a DOT identifier, quoted if necessary.
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
