//! Model test: random changes to a graph against a model on plain JSON.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::graph::*;

/// A change; elements and origins are numbers of a small range, so that ids collide.
#[derive(Clone, Debug)]
enum Change {
    AddNode { node: u8, origin: u8, value: u8 },
    AddEdge { edge: u8, parent: u8, child: u8 },
    SetNode { node: u8, value: u8 },
    PatchNode { node: u8, value: u8 },
    PatchEdge { edge: u8, value: u8 },
    DeleteNode(u8),
    DeleteEdge(u8),
    DeleteOrigin(u8),
}

fn change() -> impl Strategy<Value = Change> {
    let (node, edge, value, origin) = (0..10_u8, 0..16_u8, 0..3_u8, 0..3_u8);
    prop_oneof![
        5 => (node.clone(), origin.clone(), value.clone())
            .prop_map(|(node, origin, value)| Change::AddNode { node, origin, value }),
        6 => (edge.clone(), node.clone(), node.clone())
            .prop_map(|(edge, parent, child)| Change::AddEdge { edge, parent, child }),
        2 => (node.clone(), value.clone()).prop_map(|(node, value)| Change::SetNode { node, value }),
        3 => (node.clone(), value.clone())
            .prop_map(|(node, value)| Change::PatchNode { node, value }),
        2 => (edge.clone(), value).prop_map(|(edge, value)| Change::PatchEdge { edge, value }),
        2 => node.prop_map(Change::DeleteNode),
        2 => edge.prop_map(Change::DeleteEdge),
        1 => origin.prop_map(Change::DeleteOrigin),
    ]
}

fn values(value: u8) -> Json {
    match value {
        0 => json!({}),
        1 => json!({"Name": "a", "MTU": 1500}),
        _ => json!({"Name": "b", "Deep": {"Er": [1, "x"]}}),
    }
}

/// Elements as JSON, in insertion order.
#[derive(Debug, Default)]
struct Model {
    nodes: Vec<Json>,
    edges: Vec<Json>,
}

impl Model {
    /// Applies a change; returns whether anything has changed.
    fn apply(&mut self, change: &Change, now: i64) -> bool {
        let element = |id: String, origin: String, metadata: Json| {
            json!({
                "ID": id, "Metadata": metadata, "Host": "", "Origin": origin, "CreatedAt": now,
                "UpdatedAt": now, "DeletedAt": null, "Revision": 1,
            })
        };
        match change {
            Change::AddNode {
                node,
                origin,
                value,
            } => {
                let id = format!("n{node}");
                let is_new = find(&mut self.nodes, &id).is_none();
                if is_new {
                    self.nodes
                        .push(element(id, format!("o{origin}"), values(*value)));
                }
                is_new
            }
            Change::AddEdge {
                edge,
                parent,
                child,
            } => {
                let (parent, child) = (format!("n{parent}"), format!("n{child}"));
                let can_be = find(&mut self.edges, &format!("e{edge}")).is_none()
                    && find(&mut self.nodes, &parent).is_some()
                    && find(&mut self.nodes, &child).is_some();
                if can_be {
                    let mut edge = element(format!("e{edge}"), String::new(), json!({}));
                    edge["Parent"] = parent.into();
                    edge["Child"] = child.into();
                    self.edges.push(edge);
                }
                can_be
            }
            Change::SetNode { node, value } => {
                let Some(node) = find(&mut self.nodes, &format!("n{node}")) else {
                    return false;
                };
                revise(node, now, |metadata| *metadata = values(*value))
            }
            Change::PatchNode { node, value } => {
                let Some(node) = find(&mut self.nodes, &format!("n{node}")) else {
                    return false;
                };
                revise(node, now, |metadata| patch(metadata, *value))
            }
            Change::PatchEdge { edge, value } => {
                let Some(edge) = find(&mut self.edges, &format!("e{edge}")) else {
                    return false;
                };
                revise(edge, now, |metadata| patch(metadata, *value))
            }
            Change::DeleteNode(node) => self.delete_nodes("ID", &format!("n{node}")) > 0,
            Change::DeleteEdge(edge) => {
                let before = self.edges.len();
                self.edges.retain(|e| e["ID"] != format!("e{edge}"));
                self.edges.len() < before
            }
            Change::DeleteOrigin(origin) => self.delete_nodes("Origin", &format!("o{origin}")) > 0,
        }
    }

    /// Deletes nodes and their edges; returns the number of nodes.
    fn delete_nodes(&mut self, key: &str, value: &str) -> usize {
        let (deleted, rest): (Vec<Json>, Vec<Json>) = std::mem::take(&mut self.nodes)
            .into_iter()
            .partition(|node| node[key] == value);
        self.nodes = rest;
        let is_deleted = |end: &Json| deleted.iter().any(|node| node["ID"] == *end);
        self.edges
            .retain(|edge| !is_deleted(&edge["Parent"]) && !is_deleted(&edge["Child"]));
        deleted.len()
    }
}

fn find<'m>(elements: &'m mut [Json], id: &str) -> Option<&'m mut Json> {
    elements.iter_mut().find(|element| element["ID"] == id)
}

/// Increments the revision if the metadata differ; returns whether they do.
fn revise(element: &mut Json, now: i64, change: impl FnOnce(&mut Json)) -> bool {
    let before = element["Metadata"].clone();
    change(&mut element["Metadata"]);
    let is_changed = element["Metadata"] != before;
    if is_changed {
        element["UpdatedAt"] = now.into();
        element["Revision"] = (element["Revision"].as_i64().unwrap() + 1).into();
    }
    is_changed
}

/// Sets `Deep.K`, deletes `MTU`.
fn patch(metadata: &mut Json, value: u8) {
    metadata["Deep"]["K"] = value.into();
    metadata.as_object_mut().unwrap().remove("MTU");
}

fn apply(graph: &mut Graph, change: &Change, now: i64) -> bool {
    let now = Timestamp::from_ms(now);
    let node_id = |node: &u8| NodeId::from(format!("n{node}"));
    let edge_id = |edge: &u8| EdgeId::from(format!("e{edge}"));
    let metadata = |value: u8| -> Metadata { serde_json::from_value(values(value)).unwrap() };
    let ops = |value: u8| {
        [
            MetadataOp::set("Deep.K", i64::from(value)),
            MetadataOp::delete("MTU"),
        ]
    };
    match change {
        Change::AddNode {
            node,
            origin,
            value,
        } => {
            let origin = format!("o{origin}");
            let node = Node::new(node_id(node), metadata(*value), now)
                .with_origin(Origin::from_text(origin));
            graph.add_node(node).is_ok()
        }
        Change::AddEdge {
            edge,
            parent,
            child,
        } => {
            let (parent, child) = (node_id(parent), node_id(child));
            let edge = Edge::new(edge_id(edge), parent, child, Metadata::new(), now);
            graph.add_edge(edge).is_ok()
        }
        Change::SetNode { node, value } => {
            graph.set_node_metadata(&node_id(node), metadata(*value), now) == Ok(true)
        }
        Change::PatchNode { node, value } => {
            graph.patch_node(&node_id(node), &ops(*value), now) == Ok(true)
        }
        Change::PatchEdge { edge, value } => {
            graph.patch_edge(&edge_id(edge), &ops(*value), now) == Ok(true)
        }
        Change::DeleteNode(node) => graph.delete_node(&node_id(node), now).is_ok(),
        Change::DeleteEdge(edge) => graph.delete_edge(&edge_id(edge), now).is_ok(),
        Change::DeleteOrigin(origin) => graph.delete_origin(&format!("o{origin}"), now) > 0,
    }
}

proptest! {
    #[test]
    fn a_graph_does_with_each_change_what_a_model_does(
        changes in prop::collection::vec(change(), 1..120),
    ) {
        let (mut graph, mut model) = (Graph::new().with_journal(), Model::default());
        for (now, change) in (1_000..).zip(&changes) {
            let came_of_it = model.apply(change, now);
            prop_assert_eq!(apply(&mut graph, change, now), came_of_it, "{:?}", change);
            prop_assert_eq!(graph.take_events().is_empty(), !came_of_it, "{:?}", change);
        }
        let nodes: Vec<Json> = graph.nodes().map(|n| serde_json::to_value(n).unwrap()).collect();
        let edges: Vec<Json> = graph.edges().map(|e| serde_json::to_value(e).unwrap()).collect();
        prop_assert_eq!(nodes, model.nodes);
        prop_assert_eq!(edges, model.edges);
    }
}
