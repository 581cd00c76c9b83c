//! Warnings about a query: keys that no element has, columns that no row has, and times with a
//! wrong sign.
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
    /// Groups of flows, changes, and paths, whose columns follow from the query.
    Rows,
    /// Values, counts, and other results, whose keys are not checked.
    Other,
}

/// Maximum number of keys that are checked.
const MAX_KEYS: usize = 32;

impl Query {
    /// Returns a warning for each key in the query that no element of the current graph has, for
    /// each column that no row has, with the nearest name, and for a time whose sign is wrong. Keys
    /// of nodes and edges of the past, or of the graph that a workflow returns, are not checked.
    /// Ends early when `interrupt` returns `true`.
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
        let checked = keys.of_elements.iter();
        let checked = checked.map(|(kind, key)| checker.check(*kind, key));
        let checked = checked.filter_map(|warning| warning.ok().flatten());
        checked.chain(keys.of_query).collect()
    }
}

/// Keys of a query.
#[derive(Default)]
struct Keys {
    /// Keys of elements, each with the kind of element that it refers to.
    of_elements: Vec<(Kind, Text)>,
    /// Warnings that follow from the query alone: about columns and times.
    of_query: Vec<String>,
    /// Columns of the rows that the next operation reads.
    columns: Vec<String>,
}

impl Keys {
    fn of(query: &Query) -> Self {
        let mut keys = Self::default();
        let mut kind = Kind::Other;
        let mut is_present = true;
        for (operation, _) in &query.plan.operations {
            if let Operation::Time(time) = operation {
                keys.of_query.extend(time.warning().map(str::to_owned));
            }
            is_present &= !matches!(operation, Operation::Time(_) | Operation::Workflow(..));
            kind = keys.add_operation(operation, kind);
        }
        // Some operations test additional keys, as `Name` does with `Alias`.
        keys.of_elements.retain(|(kind, key)| {
            (is_present || *kind == Kind::Flows) && query.text.contains(key.as_str())
        });
        keys.of_elements.truncate(MAX_KEYS);
        keys.of_query.truncate(MAX_KEYS);
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
            Operation::PathTo(target) => {
                if let PathTarget::Matching(filter) = target {
                    self.add_filter(Kind::Nodes, filter);
                }
                self.set_columns(PATH_COLUMNS.iter().copied())
            }
            Operation::GroupBy(plan) => self.set_columns(plan.column_names()),
            Operation::Changes => self.set_columns(CHANGE_COLUMNS.iter().copied()),
            _ => Kind::Other,
        }
    }

    /// Sets the columns of the rows that an operation returns.
    fn set_columns<'a>(&mut self, columns: impl Iterator<Item = &'a str>) -> Kind {
        self.columns = columns.map(str::to_owned).collect();
        Kind::Rows
    }

    /// Adds a warning if no row has a column.
    fn add_column(&mut self, name: &str) {
        let columns = || self.columns.iter().map(String::as_str).chain(["CountedBy"]);
        let is_in = |column: &str| {
            let rest = name.strip_prefix(column);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if !columns().any(is_in) {
            let warning = warning("row has the column", name, nearest(name, columns()));
            if !self.of_query.contains(&warning) {
                self.of_query.push(warning);
            }
        }
    }

    fn add(&mut self, kind: Kind, key: &Text) -> Kind {
        if kind == Kind::Rows {
            self.add_column(key);
            return kind;
        }
        let entry = (kind, key.clone());
        if kind != Kind::Other && !self.of_elements.contains(&entry) {
            self.of_elements.push(entry);
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
                let names = FlowField::names().iter().copied().chain(EITHER_END);
                let near = nearest(key, names);
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

/// Fields of flows that match either end.
const EITHER_END: [&str; 3] = ["Link", "Network", "Transport"];

/// Columns of the rows of `PathTo`.
const PATH_COLUMNS: [&str; 7] = ["From", "To", "Reached", "Reason", "MTU", "Drops", "Hops"];

/// Columns of the rows of `Changes`.
const CHANGE_COLUMNS: [&str; 11] = [
    "Time",
    "Change",
    "Kind",
    "ID",
    "Host",
    "Name",
    "Type",
    "RelationType",
    "Parent",
    "Child",
    "Keys",
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
        assert!(one("G.Flows().Has('Netwrk', 'x')").contains("\"Network\""));
        assert!(one("G.At('-1h').Flows().Has('Aplication', 'x')").contains("\"Application\""));
        assert!(warnings(&Graph::new(), "G.V().Has('Nme', 'x')").is_empty());
    }

    #[test]
    fn times_with_a_wrong_sign_are_reported() {
        let warning = |query: &str| warnings(&Graph::new(), query).pop().unwrap_or_default();
        assert!(warning("G.At('1h').V()").contains("is in the future"));
        assert!(warning("G.At('+10m', '1h').Flows()").contains("'-1h'"));
        assert!(warning("G.At(NOW, '-1h').V()").contains("is negative"));
        assert!(warning("G.At(NOW, -60).V()").contains("is negative"));
        for query in [
            "G.At('-1h').V()",
            "G.At(NOW, '1h').V()",
            "G.At('1h ago', 60).V()",
        ] {
            assert_eq!(warning(query), "", "{query}");
        }
    }

    #[test]
    fn columns_that_no_row_has_are_reported() {
        let graph = graph(&[1, 2], &[(0, 1, true)]);
        for (query, warning) in [
            (
                "G.Flows().GroupBy('Network.A').Sum('Bytes').Has('Byts', Gt(1)).Limit(2)",
                r#"no row has the column "Byts"; did you mean "Bytes"?"#,
            ),
            (
                "G.At(NOW, 60).Flows().GroupBy('Port').Values('Pot')",
                r#"no row has the column "Pot"; did you mean "Port"?"#,
            ),
            (
                "G.At(NOW, 60).Changes().Has('Nme', 'x').Count()",
                r#"no row has the column "Nme"; did you mean "Name"?"#,
            ),
            (
                "G.V().PathTo('192.0.2.1').Values('Reasn')",
                r#"no row has the column "Reasn"; did you mean "Reason"?"#,
            ),
        ] {
            assert_eq!(warnings(&graph, query), [warning], "{query}");
        }
        for query in [
            "G.Flows().GroupBy('Network.A').Has('Connections', Gt(1)).Values('Network.A')",
            "G.Flows().GroupBy('Network.A').Values('CountedBy')",
            "G.At(NOW, 60).Changes().Has('Change', 'added', 'Keys.Key', 'State')",
            "G.V().PathTo('192.0.2.1').Has('Reached', false).Values('Reason')",
        ] {
            assert!(warnings(&graph, query).is_empty(), "{query}");
        }
    }
}
