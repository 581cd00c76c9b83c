//! `Owners`: the namespace, the container, and the direct owner of nodes, by `ownership` edges.

use std::ops::ControlFlow;

use hashbrown::HashMap;

use crate::filter::{Filter, Predicate};
use crate::graph::{Direction, Edge, ElementKey, NodeRef};
use crate::gremlin::budget::Budget;
use crate::gremlin::error::QueryError;
use crate::gremlin::scope::Scope;
use crate::value::{Text, Value};

/// Names of the nodes that own a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::gremlin) struct Owners {
    /// Number of the direct owner; `None` if there is none.
    pub(in crate::gremlin) number: Option<u32>,
    /// Name of the direct owner.
    pub(in crate::gremlin) direct: Option<Text>,
    /// Name of the network namespace.
    pub(in crate::gremlin) namespace: Option<Text>,
    /// Name of the container that owns the node or shares its namespace.
    pub(in crate::gremlin) container: Option<Text>,
}

impl Owners {
    /// Returns the owners of each node, in the order of the nodes.
    pub(in crate::gremlin) fn of_nodes(
        scope: &Scope<'_>,
        nodes: &[NodeRef],
        budget: &Budget<'_>,
    ) -> Result<Vec<Self>, QueryError> {
        let numbers: Vec<u32> = nodes.iter().map(NodeRef::index).collect();
        let mut room = budget.room();
        room.add_bytes(size_of::<Self>() * nodes.len())?;
        let mut all = vec![Self::default(); nodes.len()];
        let mut known: HashMap<u32, Self> = HashMap::new();
        for hop in scope.hops(
            &numbers,
            Direction::In,
            &with_relation(Edge::OWNERSHIP),
            budget,
        )? {
            budget.tick()?;
            let Some(owners) = all
                .get_mut(hop.from)
                .filter(|owners| owners.number.is_none())
            else {
                continue;
            };
            *owners = match known.get(&hop.node) {
                Some(owners) => owners.clone(),
                None => {
                    let owners = Self::of(scope, hop.node, budget)?;
                    known.insert(hop.node, owners.clone());
                    owners
                }
            };
        }
        Ok(all)
    }

    /// Returns the owners of the interfaces of a node, which may itself be a namespace or a
    /// container.
    fn of(scope: &Scope<'_>, owner: u32, budget: &Budget<'_>) -> Result<Self, QueryError> {
        let mut chain = nodes_at(scope, &[owner])?;
        let mut owners = Self {
            number: Some(owner),
            direct: chain.last().and_then(name_of),
            ..Self::default()
        };
        for depth in 0..MAX_DEPTH {
            let Some(node) = chain.pop() else { break };
            match kind_of(&node) {
                "netns" => {
                    owners.namespace = owners.namespace.or_else(|| name_of(&node));
                    if depth == 0 && owners.container.is_none() {
                        let inside = related(scope, owner, Direction::Out, budget)?;
                        let container = inside.iter().find(|node| kind_of(node) == "container");
                        owners.container = container.and_then(name_of);
                    }
                }
                "container" => owners.container = owners.container.or_else(|| name_of(&node)),
                _ => {}
            }
            chain = related(scope, node.index(), Direction::In, budget)?;
        }
        Ok(owners)
    }
}

/// Maximum length of a chain of owners: host, namespace, container, pod.
const MAX_DEPTH: usize = 8;

/// Returns the value of `Type`; empty if there is none.
pub(super) fn kind_of(node: &NodeRef) -> &str {
    let kind = node.metadata.get("Type").and_then(Value::as_text);
    kind.unwrap_or_default()
}

fn name_of(node: &NodeRef) -> Option<Text> {
    match node.metadata.get("Name") {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

/// Returns the nodes that own a node, or the nodes that it owns.
fn related(
    scope: &Scope<'_>,
    node: u32,
    direction: Direction,
    budget: &Budget<'_>,
) -> Result<Vec<NodeRef>, QueryError> {
    let hops = scope.hops(&[node], direction, &with_relation(Edge::OWNERSHIP), budget)?;
    let numbers: Vec<u32> = hops.iter().map(|hop| hop.node).collect();
    nodes_at(scope, &numbers)
}

fn nodes_at(scope: &Scope<'_>, numbers: &[u32]) -> Result<Vec<NodeRef>, QueryError> {
    let mut nodes = Vec::new();
    scope.fetch_nodes(numbers, &mut |node| {
        nodes.push(node);
        ControlFlow::Continue(())
    })?;
    Ok(nodes)
}

/// Returns the filter of the edges with a relation, such as [`Edge::OWNERSHIP`].
pub(super) fn with_relation(relation: &str) -> Filter<ElementKey> {
    let relation = Predicate::Text(relation.into());
    Filter::Test(ElementKey::parse("RelationType"), relation)
}
