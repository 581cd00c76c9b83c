//! `Interest`: determines which graph events can change the nodes that a query returns.

use super::dependencies::{Dependencies, Effect, EventKind};
use crate::filter::Filter;
use crate::graph::{ElementKey, GraphEvent, NodeId};
use crate::gremlin::Query;
use crate::gremlin::plan::Operation;

/// Set of graph events that can change which nodes a query returns. Unlike a
/// [`LiveQuery`](super::LiveQuery), it does not store the result of the query.
#[derive(Debug)]
pub(crate) struct Interest(Dependencies);

impl Interest {
    /// Analyzes a query.
    pub(crate) fn of(query: &Query) -> Self {
        Self(Dependencies::of(&query.plan))
    }

    /// Returns whether the answer changes with time, because the query reads flows or history.
    pub(crate) const fn is_timed(&self) -> bool {
        self.0.is_timed
    }

    /// Returns whether an event can change which nodes the query returns; `is_in` returns whether
    /// the previous answer contains a node.
    pub(crate) fn is_affected_by(
        &self,
        event: &GraphEvent,
        is_in: impl Fn(&NodeId) -> bool,
    ) -> bool {
        let effect = match event {
            GraphEvent::NodeAdded(node) => self.0.effect_of_node(node, EventKind::Added, false),
            GraphEvent::NodeUpdated { node, ops } => {
                let kind = EventKind::Updated(ops.as_deref());
                self.0.effect_of_node(node, kind, is_in(&node.id))
            }
            GraphEvent::NodeDeleted(node) => {
                let is_in = is_in(&node.id);
                self.0.effect_of_node(node, EventKind::Deleted, is_in)
            }
            GraphEvent::EdgeAdded(edge) => self.0.effect_of_edge(edge, EventKind::Added, false),
            GraphEvent::EdgeUpdated { edge, ops } => {
                let kind = EventKind::Updated(ops.as_deref());
                self.0.effect_of_edge(edge, kind, false)
            }
            GraphEvent::EdgeDeleted(edge) => self.0.effect_of_edge(edge, EventKind::Deleted, false),
        };
        matches!(effect, Effect::Unknown | Effect::Appends)
    }
}

/// Returns the filter that matches exactly the nodes of the answer, if the query is only a search.
pub(crate) fn node_search(query: &Query) -> Option<Filter<ElementKey>> {
    let mut search: Option<Filter<ElementKey>> = None;
    for (operation, _) in &query.plan.operations {
        let more = match (operation, &search) {
            (Operation::Graph, None) => continue,
            (Operation::Nodes(id, filter), None) => {
                let id = id.as_ref().map(|id| {
                    let id = crate::filter::Predicate::Text(id.clone());
                    Filter::Test(ElementKey::Id, id)
                });
                ElementKey::compile(filter).and(id.unwrap_or_else(Filter::everything))
            }
            (Operation::Filter(filter), Some(_)) => ElementKey::compile(filter),
            (Operation::As(_), Some(_)) => continue,
            _ => return None,
        };
        search = Some(search.unwrap_or_else(Filter::everything).and(more));
    }
    search
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Metadata, Node};
    use crate::time::Timestamp;

    fn query(text: &str) -> Query {
        Query::parse(text).unwrap()
    }

    #[test]
    fn only_queries_that_search_nodes_have_a_search() {
        let metadata = Metadata::from_iter([("Name", "a"), ("Type", "device")]);
        let node = Node::new("n", metadata, Timestamp::ZERO);
        for (text, expected) in [
            ("G.V()", Some(true)),
            ("G.V('n')", Some(true)),
            ("G.V('m')", Some(false)),
            ("G.V().Has('Name', 'a').Has('Type', 'device')", Some(true)),
            ("G.V().Has('Name', 'a').HasNot('Type')", Some(false)),
            ("G.V().Has('Name', Regex('b.*'))", Some(false)),
            ("G.V().Has('Name', 'a').Limit(1)", None),
            ("G.V().Has('Name', 'a').Out()", None),
            ("G.V().Count()", None),
            ("G.E()", None),
            ("G", None),
            ("G.Flows()", None),
        ] {
            let found = node_search(&query(text)).map(|filter| filter.matches(&node));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn an_event_matters_only_if_the_answer_may_change() {
        let metadata = Metadata::from_iter([("Name", "b")]);
        let node = std::sync::Arc::new(Node::new("n", metadata, Timestamp::ZERO));
        let added = GraphEvent::NodeAdded(node);
        let affects = |text: &str| Interest::of(&query(text)).is_affected_by(&added, |_| false);
        assert!(affects("G.V().Has('Name', 'b').Out()"));
        assert!(!affects("G.V().Has('Name', 'a').Out()"));
        assert!(Interest::of(&query("G.Flows().Nodes()")).is_timed());
    }
}
