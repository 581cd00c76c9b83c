//! `Fabric`: the static part of a network, which no probe can see, from the configuration.
//!
//! ```text
//! link   = parent arrow [ "[" attrs "]" ] child
//! arrow  = "->" (ownership and layer 2) | "-->" (layer 2)
//! parent = node
//! child  = node | "*[" attrs "]" "/" leaf        ; nodes that other probes find
//! node   = name [ "[" attrs "]" ]
//! leaf   = node | "*[" attrs "]"
//! attrs  = key "=" value { "," key "=" value }
//! ```
//!
//! A link to a wildcard child adds no node: whenever an edge appears in the graph whose parent has
//! the attributes of the wildcard and whose child has those of the leaf, the fabric node is linked to
//! that child.

use std::collections::BTreeMap;

use crate::graph::{Edge, EdgeId, Graph, GraphEvent, Metadata, Node, NodeId, Origin, Processor};
use crate::time::Timestamp;
use crate::value::{Text, Value};

/// Nodes and links of a fabric.
///
/// ```
/// use skylib::topology::Fabric;
///
/// let fabric = Fabric::parse(["SPINE1[Name=spine-1] -> SPINE1_E1[Name=eth1, MTU=9000]"])?;
/// assert_eq!(fabric.node_count(), 2);
/// assert!(Fabric::parse(["SPINE1 ->"]).is_err());
/// # Ok::<(), skylib::topology::FabricError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fabric {
    /// Metadata of the nodes by name; the first definition of a name wins.
    nodes: BTreeMap<String, Metadata>,
    links: Vec<FabricLink>,
    wildcards: Vec<Wildcard>,
}

#[derive(Clone, Debug, PartialEq)]
struct FabricLink {
    parent: String,
    child: String,
    is_owner: bool,
    attributes: Attributes,
}

/// A link to nodes that other probes find.
#[derive(Clone, Debug, PartialEq)]
struct Wildcard {
    node: String,
    parent: Attributes,
    child: Attributes,
    attributes: Attributes,
}

/// Keys and values in the order of their definition.
type Attributes = Vec<(Text, Text)>;

/// Reason why a line of the configuration is not a valid link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line:?}: {problem}")]
pub struct FabricError {
    line: String,
    problem: &'static str,
}

impl Fabric {
    /// Parses the lines of the configuration.
    ///
    /// # Errors
    /// Returns [`FabricError`] for the first line that is not a valid link.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, FabricError> {
        let mut fabric = Self::default();
        for line in lines {
            fabric.add(line).map_err(|problem| FabricError {
                line: line.to_owned(),
                problem,
            })?;
        }
        Ok(fabric)
    }

    /// Returns the number of nodes, excluding wildcards.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Adds the link of one line.
    fn add(&mut self, line: &str) -> Result<(), &'static str> {
        let (parent, rest, is_owner) = match line.split_once("-->") {
            Some((parent, rest)) => (parent, rest, false),
            None => {
                let (parent, rest) = line.split_once("->").ok_or("expected PARENT -> CHILD")?;
                (parent, rest, true)
            }
        };
        if rest.contains("->") {
            return Err("a link has exactly two ends");
        }
        let (attributes, child) = match rest.trim().strip_prefix('[') {
            Some(rest) => {
                let (attributes, child) = rest.split_once(']').ok_or("a bracket is not closed")?;
                (parse_attributes(attributes)?, child.trim())
            }
            None => (Attributes::new(), rest.trim()),
        };
        let parent = parent.trim();
        if parent.starts_with('*') {
            return Err("the parent cannot be a wildcard");
        }
        let parent = self.define(parent)?;
        if child.starts_with('*') {
            let (wildcard, leaf) = split_wildcard(child)?;
            self.wildcards.push(Wildcard {
                node: parent,
                parent: wildcard,
                child: leaf,
                attributes,
            });
            return Ok(());
        }
        let child = self.define(child)?;
        self.links.push(FabricLink {
            parent,
            child,
            is_owner,
            attributes,
        });
        Ok(())
    }

    /// Defines a node, and returns its name.
    fn define(&mut self, text: &str) -> Result<String, &'static str> {
        let (name, attributes) = parse_node(text)?;
        if !self.nodes.contains_key(name) {
            let mut metadata = Metadata::from_iter([("Name", name), ("Type", "device")]);
            for (key, value) in attributes {
                metadata.set(&key, value);
            }
            metadata.set("Probe", PROBE);
            self.nodes.insert(name.to_owned(), metadata);
        }
        Ok(name.to_owned())
    }

    /// Adds the nodes and links to a graph.
    #[cfg_attr(
        not(feature = "engine"),
        allow(dead_code, reason = "only the engine uses it")
    )]
    pub(crate) fn write_to(&self, graph: &mut Graph, origin: &Origin, now: Timestamp) {
        for (name, metadata) in &self.nodes {
            let node = Node::new(fabric_id(name), metadata.clone(), now);
            // Fails if a node with this id was added by another analyzer.
            let _added = graph.add_node(node.with_origin(origin.clone()));
        }
        for link in &self.links {
            let (parent, child) = (fabric_id(&link.parent), fabric_id(&link.child));
            if link.is_owner {
                let metadata = Metadata::from_iter([("RelationType", "ownership")]);
                add_edge(graph, &parent, &child, metadata, origin, now);
            }
            let metadata = link_metadata(&link.attributes);
            add_edge(graph, &parent, &child, metadata, origin, now);
        }
    }
}

/// Links the nodes of a fabric to nodes that other probes find.
#[cfg_attr(
    not(feature = "engine"),
    allow(dead_code, reason = "only the engine uses it")
)]
#[derive(Debug)]
pub(crate) struct FabricProcessor {
    fabric: Fabric,
    origin: Origin,
}

#[cfg(any(test, feature = "engine"))]
impl FabricProcessor {
    pub(crate) const fn new(fabric: Fabric, origin: Origin) -> Self {
        Self { fabric, origin }
    }
}

impl Processor for FabricProcessor {
    fn process(&mut self, graph: &mut Graph, event: &GraphEvent, now: Timestamp) {
        let GraphEvent::EdgeAdded(edge) = event else {
            return;
        };
        for wildcard in &self.fabric.wildcards {
            let has = |id: &NodeId, attributes: &Attributes| {
                graph
                    .node(id)
                    .is_some_and(|node| has_attributes(node, attributes))
            };
            if has(&edge.parent, &wildcard.parent) && has(&edge.child, &wildcard.child) {
                let metadata = link_metadata(&wildcard.attributes);
                let node = fabric_id(&wildcard.node);
                add_edge(graph, &node, &edge.child, metadata, &self.origin, now);
            }
        }
    }
}

/// Returns whether a node has all attributes; numbers are compared as text.
fn has_attributes(node: &Node, attributes: &Attributes) -> bool {
    attributes.iter().all(|(key, wanted)| {
        node.metadata
            .get_path(key)
            .is_some_and(|value| match value.as_text() {
                Some(text) => *text == **wanted,
                None => value
                    .to_int()
                    .is_some_and(|number| number.to_string() == **wanted),
            })
    })
}

/// Adds an edge, unless the nodes have an edge of this relation.
fn add_edge(
    graph: &mut Graph,
    parent: &NodeId,
    child: &NodeId,
    metadata: Metadata,
    origin: &Origin,
    now: Timestamp,
) {
    let relation = metadata
        .get("RelationType")
        .and_then(Value::as_text)
        .unwrap_or_default();
    let id = EdgeId::derived(&format!("{parent}{child}{relation}"));
    if graph.edge(&id).is_none() {
        let edge = Edge::new(id, parent.clone(), child.clone(), metadata, now);
        // Fails if a node was deleted in this transaction.
        let _added = graph.add_edge(edge.with_origin(origin.clone()));
    }
}

/// Returns the metadata of a layer 2 edge; attributes can replace its type.
fn link_metadata(attributes: &Attributes) -> Metadata {
    let mut metadata = Metadata::from_iter([("Type", PROBE)]);
    for (key, value) in attributes {
        metadata.set(key, value.clone());
    }
    metadata.set("RelationType", Edge::LAYER2);
    metadata
}

fn fabric_id(name: &str) -> NodeId {
    NodeId::derived(&format!("{PROBE}{name}"))
}

/// Parses `name` or `name[attrs]`.
fn parse_node(text: &str) -> Result<(&str, Attributes), &'static str> {
    let text = text.trim();
    let (name, attributes) = match text.split_once('[') {
        Some((name, rest)) => {
            let attributes = rest.strip_suffix(']').ok_or("a bracket is not closed")?;
            (name.trim(), parse_attributes(attributes)?)
        }
        None => (text, Attributes::new()),
    };
    match name {
        "" => Err("an end of the link has no name"),
        _ => Ok((name, attributes)),
    }
}

/// Parses `*[attrs]/leaf` to the attributes of the parent and of the child.
fn split_wildcard(text: &str) -> Result<(Attributes, Attributes), &'static str> {
    let (wildcard, leaf) = text.split_once("]/").ok_or("expected *[KEY=VALUE]/CHILD")?;
    let attributes = wildcard.strip_prefix('*').unwrap_or(wildcard).trim();
    let attributes = attributes
        .strip_prefix('[')
        .ok_or("expected *[KEY=VALUE]/CHILD")?;
    let (name, mut child) = parse_node(leaf)?;
    if name != "*" && !child.iter().any(|(key, _)| *key == "Name") {
        child.push(("Name".into(), name.into()));
    }
    Ok((parse_attributes(attributes)?, child))
}

fn parse_attributes(text: &str) -> Result<Attributes, &'static str> {
    let pairs = text.split(',').map(|pair| {
        let (key, value) = pair.split_once('=').ok_or("expected KEY=VALUE")?;
        let (key, value) = (key.trim(), value.trim());
        match key {
            "" => Err("expected KEY=VALUE"),
            _ => Ok((key.into(), value.trim_matches('"').into())),
        }
    });
    pairs.collect()
}

/// Prefix of the ids, and value of `Probe` and of the type of edges.
const PROBE: &str = "fabric";

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1000);

    fn origin() -> Origin {
        Origin::new("analyzer", "ctl-1")
    }

    fn written(lines: &[&str]) -> Graph {
        let fabric = Fabric::parse(lines.iter().copied()).unwrap();
        let mut graph = Graph::new().with_journal();
        fabric.write_to(&mut graph, &origin(), NOW);
        graph
    }

    fn metadata(graph: &Graph, name: &str) -> serde_json::Value {
        serde_json::to_value(&graph.node(&fabric_id(name)).unwrap().metadata).unwrap()
    }

    #[test]
    fn arrows_say_who_owns_whom() {
        let graph = written(&[
            "SPINE1[Name=spine-1] -> SPINE1_E1[Name=eth1, MTU=9000]",
            "LEAF7[Name=\"leaf-7\"]  -> [cable=dac,Type=x] LEAF7_UP1[Name=up1]",
            "SPINE1_E1 --> LEAF7_UP1[Name=ignored]",
        ]);
        assert_eq!(
            fabric_id("SPINE1").to_string(),
            "6ddaada5-1937-59bb-ab81-75ddb9f94e13"
        );
        assert_eq!(
            metadata(&graph, "SPINE1_E1"),
            serde_json::json!({"Name": "eth1", "Type": "device", "MTU": "9000", "Probe": "fabric"})
        );
        assert_eq!(
            metadata(&graph, "LEAF7_UP1")["Name"],
            "up1",
            "the first definition wins"
        );
        let mut edges: Vec<String> = graph
            .edges()
            .map(|edge| {
                let name = |id| {
                    graph
                        .node(id)
                        .unwrap()
                        .metadata
                        .get("Name")
                        .unwrap()
                        .clone()
                };
                let text = serde_json::to_string(&edge.metadata).unwrap();
                let (parent, child) = (name(&edge.parent), name(&edge.child));
                format!(
                    "{}>{} {text}",
                    parent.as_text().unwrap(),
                    child.as_text().unwrap()
                )
            })
            .collect();
        edges.sort();
        let wanted = [
            r#"eth1>up1 {"RelationType":"layer2","Type":"fabric"}"#,
            r#"leaf-7>up1 {"RelationType":"layer2","Type":"x","cable":"dac"}"#,
            r#"leaf-7>up1 {"RelationType":"ownership"}"#,
            r#"spine-1>eth1 {"RelationType":"layer2","Type":"fabric"}"#,
            r#"spine-1>eth1 {"RelationType":"ownership"}"#,
        ];
        assert_eq!(edges, wanted);
    }

    #[test]
    fn a_wildcard_links_what_other_probes_find() {
        let line = "UP --> [speed=25G] *[Type=host, Name=edge-01]/ens1f0";
        let fabric = Fabric::parse([line]).unwrap();
        let mut graph = Graph::new().with_journal();
        fabric.write_to(&mut graph, &origin(), NOW);
        let mut processor = FabricProcessor::new(fabric, origin());
        let add = |graph: &mut Graph, id: &str, kind: &str, name: &str| {
            let metadata = Metadata::from_iter([("Type", kind), ("Name", name)]);
            graph.add_node(Node::new(id, metadata, NOW)).unwrap();
        };
        add(&mut graph, "host", "host", "edge-01");
        add(&mut graph, "other", "host", "edge-02");
        add(&mut graph, "nic", "device", "ens1f0");
        add(&mut graph, "nic2", "device", "ens1f0");
        add(&mut graph, "lo", "device", "lo");
        for (parent, child) in [("host", "nic"), ("other", "nic2"), ("host", "lo")] {
            let edge = Edge::between(parent, child, Metadata::new(), NOW);
            graph.add_edge(edge).unwrap();
        }
        for event in graph.take_events() {
            processor.process(&mut graph, &event, NOW);
        }
        let found: Vec<_> = graph
            .edges()
            .filter(|e| e.parent == fabric_id("UP"))
            .collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].child, NodeId::from("nic"));
        assert_eq!(found[0].metadata.get("speed"), Some(&"25G".into()));
    }

    #[test]
    fn leaves_can_be_any_child() {
        let fabric = Fabric::parse(["A --> *[Type=host]/*[Type=bond, MTU=1500]"]).unwrap();
        let child = &fabric.wildcards[0].child;
        let pair = |key: &str, value: &str| (Text::from(key), Text::from(value));
        assert_eq!(*child, [pair("Type", "bond"), pair("MTU", "1500")]);
        let metadata = Metadata::from_iter([("Type", Value::from("bond")), ("MTU", 1500.into())]);
        assert!(has_attributes(&Node::new("n", metadata, NOW), child));
    }

    #[test]
    fn wrong_lines_are_named_with_the_reason() {
        let problem = |line: &str| Fabric::parse([line]).unwrap_err().problem;
        assert_eq!(problem("A"), "expected PARENT -> CHILD");
        assert_eq!(problem("A -> B -> C"), "a link has exactly two ends");
        assert_eq!(problem("A --> B -> C"), "a link has exactly two ends");
        assert_eq!(problem("A -> "), "an end of the link has no name");
        assert_eq!(problem(" -> B"), "an end of the link has no name");
        assert_eq!(problem("A[x] -> B"), "expected KEY=VALUE");
        assert_eq!(problem("A[x=1 -> B"), "a bracket is not closed");
        assert_eq!(problem("A -> [x=1 B"), "a bracket is not closed");
        assert_eq!(
            problem("*[Type=host]/x -> B"),
            "the parent cannot be a wildcard"
        );
        assert_eq!(problem("A -> *[Type=host]"), "expected *[KEY=VALUE]/CHILD");
        let error = Fabric::parse(["A"]).unwrap_err();
        assert_eq!(error.to_string(), "\"A\": expected PARENT -> CHILD");
    }
}
