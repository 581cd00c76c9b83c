//! `Values(key).Qualified()`, `ValueMap(key, …).Qualified()`: values with the namespace and host of
//! their nodes, so that equal names can be distinguished.

use arcstr::ArcStr;

use super::owners::Owners;
use super::values::{MAP_BYTES, shown};
use crate::graph::{ElementKey, Node, NodeRef};
use crate::gremlin::budget::Budget;
use crate::gremlin::error::QueryError;
use crate::gremlin::scope::Scope;
use crate::value::{Map, Text, Value};

/// Returns the qualified name of each node that has the key `Name` (`web/eth0`), and for other keys
/// objects of the qualified name and the value.
pub(in crate::gremlin) fn values(
    scope: &Scope<'_>,
    nodes: &[NodeRef],
    key: &Text,
    budget: &Budget<'_>,
) -> Result<Vec<Value>, QueryError> {
    let wanted = ElementKey::parse(key);
    let owners = Owners::of_nodes(scope, nodes, budget)?;
    let mut room = budget.room();
    let mut found = Vec::new();
    for (node, owners) in nodes.iter().zip(&owners) {
        budget.tick()?;
        let Some(value) = node.value(&wanted).and_then(shown) else {
            continue;
        };
        let name = qualified_name(node, owners);
        let value = match key.as_str() {
            NAME => Value::Text(name),
            _ => Value::from(Map::new().with(NAME, name).with(key, value)),
        };
        room.add(size_of::<Value>() + value.heap_bytes())?;
        found.push(value);
    }
    Ok(found)
}

/// Returns the values of several keys of each node, as objects with `Host`, `Namespace`, and
/// `Owner`. Nodes without any of the keys are omitted.
pub(in crate::gremlin) fn value_map(
    scope: &Scope<'_>,
    nodes: &[NodeRef],
    keys: &[Text],
    budget: &Budget<'_>,
) -> Result<Vec<Value>, QueryError> {
    let wanted: Vec<(ArcStr, ElementKey)> = keys
        .iter()
        .map(|key| (ArcStr::from(key.as_str()), ElementKey::parse(key)))
        .collect();
    let owners = Owners::of_nodes(scope, nodes, budget)?;
    let mut room = budget.room();
    let mut maps = Vec::new();
    for (node, owners) in nodes.iter().zip(owners) {
        budget.tick()?;
        let found = wanted
            .iter()
            .filter_map(|(name, key)| Some((name.clone(), node.value(key).and_then(shown)?)));
        let mut map = Map::from_pairs(found);
        if map.is_empty() {
            continue;
        }
        let host = Some(node.host.clone()).filter(|host| !host.is_empty());
        let names = [
            ("Host", host),
            ("Namespace", owners.namespace),
            ("Owner", owners.direct),
        ];
        for (key, name) in names {
            if let Some(name) = name {
                map.set(key, name);
            }
        }
        room.add(MAP_BYTES + size_of::<Value>() * map.len())?;
        maps.push(Value::from(map));
    }
    Ok(maps)
}

/// Returns the name of a node, prefixed with the name of its namespace, or else of its container or
/// host.
pub(super) fn qualified_name(node: &Node, owners: &Owners) -> Text {
    let name = node
        .metadata
        .get(NAME)
        .and_then(Value::as_text)
        .unwrap_or_default();
    let host = || Some(&node.host).filter(|host| !host.is_empty());
    let owner = owners.namespace.as_ref().or(owners.container.as_ref());
    match owner.or_else(host).or(owners.direct.as_ref()) {
        Some(owner) => Text::from(format!("{owner}/{name}")),
        None => Text::from(name),
    }
}

/// Key of the name of a node.
const NAME: &str = "Name";

#[cfg(test)]
mod tests {
    use crate::graph::{Edge, Graph, Metadata, Node, Origin};
    use crate::gremlin::tests::json;
    use crate::time::Timestamp;

    #[test]
    fn equal_names_are_distinguished_by_namespace_or_host() {
        let mut graph = Graph::new();
        let mut add = |owner: &str, id: &str, kind: &str, name: &str| {
            let metadata = Metadata::from_iter([("Type", kind), ("Name", name), ("MTU", "1500")]);
            let origin = Origin::default().with_host("edge-01");
            let node = Node::new(id, metadata, Timestamp::ZERO).with_origin(origin);
            graph.add_node(node).unwrap();
            let ownership = Metadata::from_iter([("RelationType", "ownership")]);
            // The host has no owner.
            let _owned = graph.add_edge(Edge::between(owner, id, ownership, Timestamp::ZERO));
        };
        add("", "h", "host", "edge-01");
        add("h", "e0", "device", "eth0");
        add("h", "n", "netns", "web");
        add("n", "e1", "veth", "eth0");
        for (query, wanted) in [
            (
                "G.V().Has('Name', 'eth0').Values('Name').Qualified()",
                r#"["edge-01/eth0","web/eth0"]"#,
            ),
            (
                "G.V('e1').Values('MTU').Qualified()",
                r#"[{"MTU":1500,"Name":"web/eth0"}]"#,
            ),
            (
                "G.V('e1').ValueMap('Name', 'Nope').Qualified()",
                r#"[{"Host":"edge-01","Name":"eth0","Namespace":"web","Owner":"web"}]"#,
            ),
            (
                "G.V('e0').ValueMap('Type').Qualified().Has('Owner', 'edge-01').Count()",
                "1",
            ),
            ("G.V('h').Values('Nope').Qualified()", "null"),
            (
                "G.V().Count().Qualified()",
                "Error while executing the query",
            ),
        ] {
            let answer = json(&graph, query);
            assert_eq!(answer.lines().next(), Some(wanted), "{query}");
        }
    }
}
