//! Warnings about a query: keys that no element has.
//!
//! A misspelled key is not an error, because the graph has no fixed schema; the query only finds
//! nothing. The check reads the current graph until it finds an element with the key, so only a key
//! that no element has costs a scan of all elements.

use std::ops::ControlFlow;

use super::Query;
use super::budget::{Budget, Limits};
use super::error::QueryError;
use super::plan::Operation;
use super::scope::Scope;
use super::steps::packet_path::PathTarget;
use super::steps::values;
use crate::filter::{Filter, Predicate};
use crate::flow::FlowField;
use crate::graph::{ElementKey, GraphView, NodeRef};
use crate::nearest::nearest;
use crate::value::{Text, Value};

/// Kind of element that has a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nodes,
    Edges,
    Flows,
    /// Values, counts, and other results, whose keys are not checked.
    Other,
}

/// Maximum number of keys that are checked.
const MAX_KEYS: usize = 32;

impl Query {
    /// Returns a warning for each key in the query that no element of the current graph has, with
    /// the nearest name. A query of the past, or of the graph that a workflow returns, has no
    /// warnings. Ends early when `interrupt` returns `true`.
    ///
    /// ```
    /// use skylib::graph::{Graph, GraphView, Metadata, Node};
    /// use skylib::gremlin::Query;
    /// use skylib::time::Timestamp;
    /// let mut graph = Graph::new();
    /// graph.add_node(Node::new("n", Metadata::from_iter([("Name", "eth0")]), Timestamp::ZERO))?;
    /// let view = GraphView::open(&graph);
    /// let warnings = |query: &str| Query::parse(query).unwrap().warnings(&view, &|| false);
    /// assert!(warnings("G.V().Has('Name', 'lo')").is_empty());
    /// let warned = warnings("G.V().Has('Nme', 'eth0')");
    /// assert_eq!(warned, [r#"no node has the key "Nme"; did you mean "Name"?"#]);
    /// # Ok::<(), skylib::graph::GraphError>(())
    /// ```
    #[must_use]
    pub fn warnings(
        &self,
        view: &GraphView<'_>,
        interrupt: &(dyn Fn() -> bool + Sync),
    ) -> Vec<String> {
        let keys = Keys::of(self);
        let checker = Checker {
            scope: Scope::whole(view),
            budget: Budget::new(Limits::default(), interrupt, None),
            has_nodes: view.node_count() > 0,
            has_edges: view.edge_count() > 0,
        };
        // A check that is interrupted has no result.
        let checked = keys.0.iter().map(|(kind, key)| checker.check(*kind, key));
        checked
            .filter_map(|warning| warning.ok().flatten())
            .collect()
    }
}

/// Keys of a query, each with the kind of element that it refers to.
struct Keys(Vec<(Kind, Text)>);

impl Keys {
    fn of(query: &Query) -> Self {
        let mut keys = Self(Vec::new());
        let mut kind = Kind::Other;
        for (operation, _) in &query.plan.operations {
            if matches!(operation, Operation::Time(_) | Operation::Workflow(..)) {
                return Self(Vec::new());
            }
            kind = keys.add_operation(operation, kind);
        }
        // Some operations test additional keys, as `Name` does with `Alias`.
        keys.0.retain(|(_, key)| query.text.contains(key.as_str()));
        keys.0.truncate(MAX_KEYS);
        keys
    }

    /// Adds the keys of an operation on elements of a kind. Returns the kind of its result.
    fn add_operation(&mut self, operation: &Operation, kind: Kind) -> Kind {
        match operation {
            Operation::Nodes(_, filter) => self.add_filter(Kind::Nodes, filter),
            Operation::Edges(_, filter) => self.add_filter(Kind::Edges, filter),
            Operation::Walk(walk, filter) if walk.gives_edges() => {
                self.add_filter(Kind::Edges, filter)
            }
            Operation::Walk(_, filter)
            | Operation::FlowNodes(_, filter)
            | Operation::FlowEnds(_, filter) => self.add_filter(Kind::Nodes, filter),
            Operation::Hierarchy(_, filter, _) => {
                self.add_filter(Kind::Edges, filter);
                Kind::Nodes
            }
            Operation::ShortestPath(target, edges) => {
                self.add_filter(Kind::Nodes, target);
                self.add_filter(Kind::Edges, edges);
                Kind::Nodes
            }
            Operation::Flows(plan) => self.add_filter(Kind::Flows, &plan.filter),
            Operation::Filter(filter) => self.add_filter(kind, filter),
            Operation::Dedup(names) => self.add_all(kind, names),
            Operation::Sort(_, key) => self.add(kind, key),
            Operation::Page(_) | Operation::As(_) | Operation::Select(_) => kind,
            Operation::ValueMap(names) => {
                self.add_all(kind, names);
                Kind::Other
            }
            Operation::Values(key) | Operation::Sum(Some(key)) => {
                self.add(kind, key);
                Kind::Other
            }
            Operation::Qualified(names, _) => {
                self.add_all(kind, names);
                Kind::Other
            }
            Operation::PathTo(PathTarget::Matching(filter)) => {
                self.add_filter(Kind::Nodes, filter);
                Kind::Other
            }
            _ => Kind::Other,
        }
    }

    fn add(&mut self, kind: Kind, key: &Text) -> Kind {
        let entry = (kind, key.clone());
        if kind != Kind::Other && !self.0.contains(&entry) {
            self.0.push(entry);
        }
        kind
    }

    fn add_all(&mut self, kind: Kind, keys: &[Text]) -> Kind {
        for key in keys {
            self.add(kind, key);
        }
        kind
    }

    fn add_filter(&mut self, kind: Kind, filter: &Filter) -> Kind {
        match filter {
            Filter::All(filters) | Filter::Any(filters) => {
                for filter in filters {
                    self.add_filter(kind, filter);
                }
            }
            Filter::Not(filter) => _ = self.add_filter(kind, filter),
            Filter::Test(key, _) => _ = self.add(kind, key),
        }
        kind
    }
}

struct Checker<'a> {
    scope: Scope<'a>,
    budget: Budget<'a>,
    has_nodes: bool,
    has_edges: bool,
}

impl Checker<'_> {
    /// Returns the warning about a key, if no element of the kind has it.
    fn check(&self, kind: Kind, key: &str) -> Result<Option<String>, QueryError> {
        match kind {
            Kind::Flows if FlowField::parse(key).is_none() => {
                let near = nearest(key, FlowField::names().iter().copied());
                Ok(Some(warning("flow has the field", key, near)))
            }
            Kind::Nodes if self.has_nodes && !self.any_node_has(key)? => {
                if self.has_edges && self.any_edge_has(key)? {
                    let text = format!(
                        "no node has the key {key:?}, but edges have: use `OutE`, `InE`, or `BothE`"
                    );
                    return Ok(Some(text));
                }
                let names = self.node_keys()?;
                let names = names.iter().filter_map(Value::as_text);
                Ok(Some(warning("node has the key", key, nearest(key, names))))
            }
            Kind::Edges if self.has_edges && !self.any_edge_has(key)? => Ok(Some(warning(
                "edge has the key",
                key,
                nearest(key, EDGE_KEYS),
            ))),
            _ => Ok(None),
        }
    }

    fn any_node_has(&self, key: &str) -> Result<bool, QueryError> {
        // No element of the present has `@DeletedAt`, but the name is right.
        if key.starts_with('@') && EDGE_KEYS.contains(&key) {
            return Ok(true);
        }
        let mut found = false;
        self.scope
            .visit_nodes(&present(key), &self.budget, &mut |_| {
                found = true;
                ControlFlow::Break(())
            })?;
        Ok(found)
    }

    fn any_edge_has(&self, key: &str) -> Result<bool, QueryError> {
        if EDGE_KEYS.contains(&key) {
            return Ok(true);
        }
        let mut found = false;
        self.scope
            .visit_edges(&present(key), &self.budget, &mut |_| {
                found = true;
                ControlFlow::Break(())
            })?;
        Ok(found)
    }

    /// Returns the names of all keys of nodes.
    fn node_keys(&self) -> Result<Vec<Value>, QueryError> {
        let mut nodes: Vec<NodeRef> = Vec::new();
        self.scope
            .visit_nodes(&Filter::everything(), &self.budget, &mut |node| {
                nodes.push(node);
                match nodes.len() < MAX_SAMPLE {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            })?;
        values::keys(&nodes, &self.budget)
    }
}

/// Keys that every edge has, and the most frequent one.
const EDGE_KEYS: [&str; 10] = [
    "Parent",
    "Child",
    "RelationType",
    "@ID",
    "@Host",
    "@Origin",
    "@CreatedAt",
    "@UpdatedAt",
    "@DeletedAt",
    "@Revision",
];

/// Maximum number of nodes whose keys are compared with a misspelled one.
const MAX_SAMPLE: usize = 100_000;

fn present(key: &str) -> Filter<ElementKey> {
    Filter::Test(ElementKey::parse(key), Predicate::Present)
}

fn warning(what: &str, key: &str, near: Option<&str>) -> String {
    match near {
        Some(near) => format!("no {what} {key:?}; did you mean {near:?}?"),
        None => format!("no {what} {key:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::gremlin::tests::graph;

    fn warnings(graph: &Graph, query: &str) -> Vec<String> {
        let view = GraphView::open(graph);
        Query::parse(query).unwrap().warnings(&view, &|| false)
    }

    #[test]
    fn keys_that_no_element_has_are_reported_with_the_nearest_name() {
        let graph = graph(&[1, 2], &[(0, 1, true)]);
        let name = r#"no node has the key "Nme"; did you mean "Name"?"#;
        for query in [
            "G.V().Has('Nme', 'x')",
            "G.V().HasKey('Nme')",
            "G.V().HasNot('Nme')",
            "G.V().Out('Nme', 'x').Count()",
            "G.V().Values('Nme')",
            "G.V().ValueMap('Name', 'Nme').Limit(1)",
            "G.V().Sort('Nme').Dedup('Kind')",
            "G.E().InV().Dedup('Nme')",
            "G.V().Values('Nme').Qualified()",
            "G.V().Has('Nme', 'x').Has('Nme', 'y')",
            "G.V().ShortestPathTo(Metadata('Nme', 'x'))",
        ] {
            assert_eq!(warnings(&graph, query), [name], "{query}");
        }
        for query in [
            "G.V().Has('Name', 'x').Values('Type')",
            "G.V().Has('@ID', 'x', '@DeletedAt', 1)",
            "G.E().Has('RelationType', 'x', 'Parent', 'n0')",
            "G.V().Descendants(2)",
            "G.At('-1h').V().Has('Nme', 'x')",
            "G.V().Keys().Has('Nme', 'x')",
            "G.Flows().Has('Network', 'x').Has('DNS.questions.name', 'x')",
        ] {
            assert!(warnings(&graph, query).is_empty(), "{query}");
        }
    }

    #[test]
    fn keys_of_the_other_kind_and_of_flows_are_reported() {
        let graph = graph(&[1, 2], &[(0, 1, true)]);
        let one = |query: &str| warnings(&graph, query).pop().unwrap_or_default();
        assert!(one("G.V().In('RelationType', 'layer2')").contains("edges have: use `OutE`"));
        assert!(one("G.E().Has('RelatonType', 'x')").contains("\"RelationType\""));
        assert!(one("G.Flows().Has('Aplication', 'DNS')").contains("\"Application\""));
        assert!(warnings(&Graph::new(), "G.V().Has('Nme', 'x')").is_empty());
    }
}
