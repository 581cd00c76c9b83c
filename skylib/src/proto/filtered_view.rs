//! `FilteredView`: the part of the graph that a subscriber with a filter sees.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::BroadcastMessage;
use crate::flow::{FlowQuery, FlowQueryError, FlowSet, FlowSource};
use crate::graph::{Edge, EdgeId, Graph, GraphEvent, GraphView, Node, NodeId};
use crate::gremlin::{Answer, Context, Query, Step};
use crate::id::Id;
use crate::time::Timestamp;

/// Elements that a filter selects.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    nodes: HashMap<NodeId, Arc<Node>>,
    /// Edges whose ends are both in `nodes`.
    edges: HashMap<EdgeId, Arc<Edge>>,
}

impl Selection {
    /// Approximate memory of one element in bytes, in addition to that of the graph.
    pub const BYTES_PER_ELEMENT: usize = 2 * (size_of::<(NodeId, Arc<Node>)>() + 1);

    /// Returns the selection of these elements.
    #[must_use]
    pub fn new(nodes: &[Arc<Node>], edges: &[Arc<Edge>]) -> Self {
        let node = |node: &Arc<Node>| (node.id.clone(), Arc::clone(node));
        let edge = |edge: &Arc<Edge>| (edge.id.clone(), Arc::clone(edge));
        Self {
            nodes: nodes.iter().map(node).collect(),
            edges: edges.iter().map(edge).collect(),
        }
    }

    /// Returns the number of nodes and edges.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len() + self.edges.len()
    }

    /// Returns whether nothing is selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Elements that have been sent to a subscriber.
///
/// If the filter tests each node separately ([`NodeFilter`]), the view is updated event by event
/// ([`FilteredView::follow`]) in constant time per event. Any other filter is run again after a
/// batch of events, and the view is replaced with the result ([`FilteredView::replace`]), which the
/// subscribers with the same filter share.
#[derive(Debug, Default)]
pub struct FilteredView {
    selection: Arc<Selection>,
    /// Elements of `selection` that the subscriber does not have: their deletion was sent, and the
    /// event of their addition has not arrived yet. Nodes are marked by `true`.
    removed: HashSet<(bool, Id)>,
}

impl FilteredView {
    /// Returns a view of a selection.
    #[must_use]
    pub fn new(selection: Arc<Selection>) -> Self {
        Self {
            selection,
            removed: HashSet::new(),
        }
    }

    /// Returns the number of nodes and edges.
    #[must_use]
    pub fn len(&self) -> usize {
        self.selection.len() - self.removed.len()
    }

    /// Returns whether the view is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn has_node(&self, id: &NodeId) -> bool {
        self.selection.nodes.contains_key(id) && !self.is_removed(true, id.as_id())
    }

    fn has_edge(&self, id: &EdgeId) -> bool {
        self.selection.edges.contains_key(id) && !self.is_removed(false, id.as_id())
    }

    fn is_removed(&self, is_node: bool, id: &Id) -> bool {
        !self.removed.is_empty() && self.removed.contains(&(is_node, id.clone()))
    }

    /// Updates the view by one event, and returns the messages to send, in order.
    ///
    /// `selects` returns whether a node belongs to the view; an edge belongs to it if both ends do.
    /// `edges_of` returns the current edges of a node. They may include edges whose events follow;
    /// such an edge is sent early, and not again with its event.
    pub fn follow(
        &mut self,
        message: &Arc<BroadcastMessage>,
        mut selects: impl FnMut(&Node) -> bool,
        mut edges_of: impl FnMut(&NodeId) -> Vec<Arc<Edge>>,
    ) -> Vec<Arc<BroadcastMessage>> {
        let mut messages = Vec::new();
        match message.event() {
            None => messages.push(Arc::clone(message)),
            Some(GraphEvent::NodeAdded(node)) => {
                self.follow_node(node, selects(node), &mut edges_of, &mut messages);
            }
            Some(GraphEvent::NodeUpdated { node, .. }) => {
                if self.follow_node(node, selects(node), &mut edges_of, &mut messages) {
                    messages.push(Arc::clone(message));
                }
            }
            Some(GraphEvent::NodeDeleted(node)) => {
                if self.own().nodes.remove(&node.id).is_some() {
                    messages.push(Arc::clone(message));
                    self.remove_edges_of(&node.id, &mut messages);
                }
            }
            Some(GraphEvent::EdgeAdded(edge)) => {
                self.follow_edge(edge, &mut messages);
            }
            Some(GraphEvent::EdgeUpdated { edge, .. }) => {
                if self.follow_edge(edge, &mut messages) {
                    messages.push(Arc::clone(message));
                }
            }
            Some(GraphEvent::EdgeDeleted(edge)) => {
                if self.own().edges.remove(&edge.id).is_some() {
                    messages.push(Arc::clone(message));
                }
            }
        }
        messages
    }

    /// Returns the selection for modification. A view that follows events does not share it.
    fn own(&mut self) -> &mut Selection {
        Arc::make_mut(&mut self.selection)
    }

    /// Adds or removes a node according to the filter; returns whether the node is in the view
    /// afterwards.
    fn follow_node(
        &mut self,
        node: &Arc<Node>,
        is_selected: bool,
        edges_of: &mut impl FnMut(&NodeId) -> Vec<Arc<Edge>>,
        messages: &mut Vec<Arc<BroadcastMessage>>,
    ) -> bool {
        if !is_selected {
            if self.own().nodes.remove(&node.id).is_some() {
                messages.push(message_of(GraphEvent::NodeDeleted(Arc::clone(node))));
                self.remove_edges_of(&node.id, messages);
            }
            return false;
        }
        let nodes = &mut self.own().nodes;
        if nodes.insert(node.id.clone(), Arc::clone(node)).is_none() {
            messages.push(message_of(GraphEvent::NodeAdded(Arc::clone(node))));
            for edge in edges_of(&node.id) {
                self.follow_edge(&edge, messages);
            }
        }
        true
    }

    /// Adds an edge whose ends are both in the view; returns whether the edge is in the view
    /// afterwards.
    fn follow_edge(&mut self, edge: &Arc<Edge>, messages: &mut Vec<Arc<BroadcastMessage>>) -> bool {
        let Selection { nodes, edges } = self.own();
        let has_ends = nodes.contains_key(&edge.parent) && nodes.contains_key(&edge.child);
        if has_ends && edges.insert(edge.id.clone(), Arc::clone(edge)).is_none() {
            messages.push(message_of(GraphEvent::EdgeAdded(Arc::clone(edge))));
        }
        has_ends
    }

    fn remove_edges_of(&mut self, id: &NodeId, messages: &mut Vec<Arc<BroadcastMessage>>) {
        let touches = |_: &EdgeId, edge: &mut Arc<Edge>| edge.parent == *id || edge.child == *id;
        let removed = self.own().edges.extract_if(touches).map(|(_, edge)| edge);
        messages.extend(removed.map(|edge| message_of(GraphEvent::EdgeDeleted(edge))));
    }

    /// Replaces the view with the result of the filter after a batch of events, and returns the
    /// messages to send, in order: added nodes, removed nodes, added edges, removed edges, and the
    /// updates of other elements.
    ///
    /// Changes that the connection `own` caused are omitted, unless another connection changed the
    /// same element as well. `nodes` and `edges` are the elements of `selection` in the order of
    /// the result.
    pub fn replace(
        &mut self,
        selection: Arc<Selection>,
        nodes: &[Arc<Node>],
        edges: &[Arc<Edge>],
        events: &[Arc<BroadcastMessage>],
        own: Option<u64>,
    ) -> Vec<Arc<BroadcastMessage>> {
        let old = std::mem::replace(self, Self::new(selection));
        let mut messages = self.differences(&old, nodes, edges, events);
        for message in events {
            if self.passes(message, &old) {
                messages.push(Arc::clone(message));
            }
        }
        if own.is_some() {
            remove_own_changes(&mut messages, events, own);
        }
        messages
    }

    /// Returns the messages about elements that are in only one of the two views.
    ///
    /// `nodes` and `edges` are the elements of this view in the order of the filter's result.
    fn differences(
        &self,
        old: &Self,
        nodes: &[Arc<Node>],
        edges: &[Arc<Edge>],
        events: &[Arc<BroadcastMessage>],
    ) -> Vec<Arc<BroadcastMessage>> {
        let latest = LatestEvents::of(events);
        let is_new = |node: &&Arc<Node>| !old.has_node(&node.id);
        let added = nodes.iter().filter(is_new).map(Arc::clone);
        let mut messages: Vec<_> = added
            .map(|node| message_of(GraphEvent::NodeAdded(node)))
            .collect();
        for (id, node) in &old.selection.nodes {
            if old.has_node(id) && !self.has_node(id) {
                messages.push(latest.nodes.get(id).map_or_else(
                    || message_of(GraphEvent::NodeDeleted(Arc::clone(node))),
                    |message| node_deletion(message),
                ));
            }
        }
        let is_new = |edge: &&Arc<Edge>| !old.has_edge(&edge.id);
        let added = edges.iter().filter(is_new).map(Arc::clone);
        messages.extend(added.map(|edge| message_of(GraphEvent::EdgeAdded(edge))));
        for (id, edge) in &old.selection.edges {
            if old.has_edge(id) && !self.has_edge(id) {
                messages.push(latest.edges.get(id).map_or_else(
                    || message_of(GraphEvent::EdgeDeleted(Arc::clone(edge))),
                    |message| edge_deletion(message),
                ));
            }
        }
        messages
    }

    /// Returns whether a message is sent unchanged: if it is not about the graph, or its element is
    /// in both views.
    ///
    /// An element that is in both views may have been deleted and added again between the two runs
    /// of the filter. The deletion is sent and removes the element from this view; the addition is
    /// sent and adds it again, now or, if its event arrives later, in the next call.
    fn passes(&mut self, message: &BroadcastMessage, old: &Self) -> bool {
        match message.event() {
            None => true,
            Some(GraphEvent::NodeUpdated { node, .. }) => self.has_node(&node.id),
            Some(GraphEvent::EdgeUpdated { edge, .. }) => self.has_edge(&edge.id),
            Some(GraphEvent::NodeDeleted(node)) => {
                let is_known = old.has_node(&node.id) && self.has_node(&node.id);
                is_known && self.removed.insert((true, node.id.as_id().clone()))
            }
            Some(GraphEvent::EdgeDeleted(edge)) => {
                let is_known = old.has_edge(&edge.id) && self.has_edge(&edge.id);
                is_known && self.removed.insert((false, edge.id.as_id().clone()))
            }
            Some(GraphEvent::NodeAdded(node)) => {
                old.has_node(&node.id) && self.removed.remove(&(true, node.id.as_id().clone()))
            }
            Some(GraphEvent::EdgeAdded(edge)) => {
                old.has_edge(&edge.id) && self.removed.remove(&(false, edge.id.as_id().clone()))
            }
        }
    }
}

/// Removes the messages about elements that only the connection `own` changed.
fn remove_own_changes(
    messages: &mut Vec<Arc<BroadcastMessage>>,
    events: &[Arc<BroadcastMessage>],
    own: Option<u64>,
) {
    let changed_by = |is_own: bool| {
        let is_by = move |message: &&Arc<BroadcastMessage>| (message.author() == own) == is_own;
        events
            .iter()
            .filter(is_by)
            .filter_map(|message| element_of(message))
            .collect()
    };
    let (own_elements, others): (HashSet<_>, HashSet<_>) = (changed_by(true), changed_by(false));
    messages.retain(|message| {
        element_of(message).is_none_or(|id| !own_elements.contains(&id) || others.contains(&id))
    });
}

/// The last event of each element in a batch.
#[derive(Default)]
struct LatestEvents<'a> {
    nodes: HashMap<&'a NodeId, &'a Arc<BroadcastMessage>>,
    edges: HashMap<&'a EdgeId, &'a Arc<BroadcastMessage>>,
}

impl<'a> LatestEvents<'a> {
    fn of(events: &'a [Arc<BroadcastMessage>]) -> Self {
        let mut latest = Self::default();
        for message in events {
            match message.event() {
                Some(
                    GraphEvent::NodeAdded(node)
                    | GraphEvent::NodeUpdated { node, .. }
                    | GraphEvent::NodeDeleted(node),
                ) => {
                    latest.nodes.insert(&node.id, message);
                }
                Some(
                    GraphEvent::EdgeAdded(edge)
                    | GraphEvent::EdgeUpdated { edge, .. }
                    | GraphEvent::EdgeDeleted(edge),
                ) => {
                    latest.edges.insert(&edge.id, message);
                }
                None => {}
            }
        }
        latest
    }
}

/// Returns the deletion of a node in its state after an event; an actual deletion is returned
/// unchanged, because it has the time of deletion.
fn node_deletion(message: &Arc<BroadcastMessage>) -> Arc<BroadcastMessage> {
    match message.event() {
        Some(GraphEvent::NodeAdded(node) | GraphEvent::NodeUpdated { node, .. }) => {
            message_of(GraphEvent::NodeDeleted(Arc::clone(node)))
        }
        _ => Arc::clone(message),
    }
}

/// Returns the deletion of an edge, like [`node_deletion`].
fn edge_deletion(message: &Arc<BroadcastMessage>) -> Arc<BroadcastMessage> {
    match message.event() {
        Some(GraphEvent::EdgeAdded(edge) | GraphEvent::EdgeUpdated { edge, .. }) => {
            message_of(GraphEvent::EdgeDeleted(Arc::clone(edge)))
        }
        _ => Arc::clone(message),
    }
}

/// Returns whether the message is about a node, and the id of its element.
///
/// A node and an edge can have equal ids.
fn element_of(message: &BroadcastMessage) -> Option<(bool, &Id)> {
    Some(match message.event()? {
        GraphEvent::NodeAdded(node)
        | GraphEvent::NodeUpdated { node, .. }
        | GraphEvent::NodeDeleted(node) => (true, node.id.as_id()),
        GraphEvent::EdgeAdded(edge)
        | GraphEvent::EdgeUpdated { edge, .. }
        | GraphEvent::EdgeDeleted(edge) => (false, edge.id.as_id()),
    })
}

fn message_of(event: GraphEvent) -> Arc<BroadcastMessage> {
    Arc::new(BroadcastMessage::graph_event(event))
}

/// A filter that tests each node separately, such as `G.V().Has(…).SubGraph()`.
///
/// ```
/// use skylib::gremlin::Query;
/// use skylib::proto::NodeFilter;
/// let filter = |text| Query::parse(text).map(|query| NodeFilter::from_query(&query).is_some());
/// assert!(filter("G.V().Has('Type', 'netns').SubGraph()")?);
/// assert!(!filter("G.V().Has('Type', 'netns').Out().SubGraph()")?);
/// # Ok::<(), skylib::gremlin::QueryError>(())
/// ```
#[derive(Debug)]
pub struct NodeFilter {
    query: Query,
}

impl NodeFilter {
    /// Returns the filter of a query; `None` if the result for a node depends on other nodes.
    #[must_use]
    pub fn from_query(query: &Query) -> Option<Self> {
        let steps: Vec<&Step> = query
            .steps()
            .filter(|step| !matches!(step, Step::G))
            .collect();
        let (last, rest) = steps.split_last()?;
        let (first, tests) = rest.split_first()?;
        let is_test = |step: &&Step| {
            matches!(
                step,
                Step::Has(_) | Step::HasEither(_) | Step::HasKey(_) | Step::HasNot(_)
            )
        };
        let is_local = matches!(first, Step::V(None))
            && tests.iter().all(is_test)
            && matches!(last, Step::SubGraph(edges) if edges.is_empty());
        is_local.then(|| Self {
            query: query.clone(),
        })
    }

    /// Returns whether a node passes the filter; `false` if the filter fails.
    #[must_use]
    pub fn selects(&self, node: &Node) -> bool {
        // The query runs on a graph of this node alone, so that it has the semantics of a query.
        let mut alone = Graph::new();
        if alone.add_node(node.clone()).is_err() {
            return false;
        }
        let view = GraphView::open(&alone);
        match self
            .query
            .run(&Context::new(&view, &NoFlows, Timestamp::ZERO))
        {
            Ok(Answer::Graph { nodes, .. }) => !nodes.is_empty(),
            _ => false,
        }
    }
}

/// A flow source without flows: a node filter does not test flows.
struct NoFlows;

impl FlowSource for NoFlows {
    fn query(&self, _: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        Ok(FlowSet::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Metadata, MetadataOp};

    const NOW: Timestamp = Timestamp::from_ms(1);

    /// A graph, and a view of its red nodes.
    struct Scene {
        graph: Graph,
        view: FilteredView,
        filter: NodeFilter,
    }

    impl Scene {
        fn new() -> Self {
            let query = Query::parse("G.V().Has('Color','red').SubGraph()").unwrap();
            let filter = NodeFilter::from_query(&query).unwrap();
            Self {
                graph: Graph::new().with_journal(),
                view: FilteredView::default(),
                filter,
            }
        }

        fn events(&mut self, change: impl FnOnce(&mut Graph)) -> Vec<Arc<BroadcastMessage>> {
            change(&mut self.graph);
            self.graph
                .take_events()
                .into_iter()
                .map(message_of)
                .collect()
        }

        /// Returns the messages when the view follows each event.
        fn follow(&mut self, change: impl FnOnce(&mut Graph)) -> Vec<String> {
            let events = self.events(change);
            let (graph, filter) = (&self.graph, &self.filter);
            let mut edges_of = |id: &NodeId| {
                let edges = graph.edges_of(id, crate::graph::Direction::Both);
                edges.map(|(edge, _)| Arc::clone(edge)).collect()
            };
            let messages = events.iter().flat_map(|event| {
                self.view
                    .follow(event, |node| filter.selects(node), &mut edges_of)
            });
            messages.map(|message| shown(&message)).collect()
        }

        /// Returns the messages when the filter is run again after all events.
        fn replace(&mut self, own: Option<u64>, change: impl FnOnce(&mut Graph)) -> Vec<String> {
            let events = self.events(change);
            self.replace_after(own, &events)
        }

        fn replace_after(
            &mut self,
            own: Option<u64>,
            events: &[Arc<BroadcastMessage>],
        ) -> Vec<String> {
            let is_red = |node: &&Arc<Node>| self.filter.selects(node);
            let nodes: Vec<_> = self.graph.nodes().filter(is_red).cloned().collect();
            let has = |id: &NodeId| nodes.iter().any(|node| node.id == *id);
            let edges: Vec<_> = self
                .graph
                .edges()
                .filter(|e| has(&e.parent) && has(&e.child))
                .cloned()
                .collect();
            let selection = Arc::new(Selection::new(&nodes, &edges));
            let messages = self.view.replace(selection, &nodes, &edges, events, own);
            messages.iter().map(|message| shown(message)).collect()
        }
    }

    fn shown(message: &BroadcastMessage) -> String {
        match message.event() {
            None => message.namespace().to_owned(),
            Some(GraphEvent::NodeAdded(n)) => format!("+{}", n.id),
            Some(GraphEvent::NodeUpdated { node, .. }) => format!("~{}", node.id),
            Some(GraphEvent::NodeDeleted(n)) if n.deleted_at.is_some() => format!("-{} !", n.id),
            Some(GraphEvent::NodeDeleted(n)) => format!("-{} r{}", n.id, n.revision),
            Some(GraphEvent::EdgeAdded(e)) => format!("+{}", e.id),
            Some(GraphEvent::EdgeUpdated { edge, .. }) => format!("~{}", edge.id),
            Some(GraphEvent::EdgeDeleted(e)) => format!("-{}", e.id),
        }
    }

    fn add(graph: &mut Graph, id: &str, color: &str) {
        let metadata = Metadata::from_iter([("Name", id), ("Color", color)]);
        graph.add_node(Node::new(id, metadata, NOW)).unwrap();
    }

    fn link(graph: &mut Graph, id: &str, parent: &str, child: &str) {
        let metadata = Metadata::from_iter([("RelationType", "layer2")]);
        graph
            .add_edge(Edge::new(id, parent, child, metadata, NOW))
            .unwrap();
    }

    fn set(graph: &mut Graph, id: &str, key: &str, value: &str) {
        graph
            .patch_node(&id.into(), &[MetadataOp::set(key, value)], NOW)
            .unwrap();
    }

    /// Both ways send the same messages for single changes.
    fn both(change: impl Fn(&mut Scene, &dyn Fn(&mut Graph)) -> Vec<String>) {
        let mut scene = Scene::new();
        let mut step = |what: &dyn Fn(&mut Graph), messages: &[&str]| {
            assert_eq!(change(&mut scene, what), messages);
        };
        step(&|g| add(g, "a", "blue"), &[]);
        step(&|g| add(g, "b", "red"), &["+b"]);
        step(&|g| link(g, "e", "a", "b"), &[]);
        step(&|g| set(g, "a", "Color", "red"), &["+a", "+e", "~a"]);
        step(&|g| set(g, "a", "MTU", "1400"), &["~a"]);
        let patch = |g: &mut Graph| {
            g.patch_edge(&"e".into(), &[MetadataOp::set("Weight", 1)], NOW)
                .unwrap();
        };
        step(&patch, &["~e"]);
        step(&|g| set(g, "a", "Color", "blue"), &["-a r4", "-e"]);
        step(&|g| set(g, "a", "MTU", "1300"), &[]);
        step(&|g| set(g, "a", "Color", "red"), &["+a", "+e", "~a"]);
        step(&|g| g.delete_edge(&"e".into(), NOW).unwrap(), &["-e"]);
        step(&|g| g.delete_node(&"b".into(), NOW).unwrap(), &["-b !"]);
    }

    #[test]
    fn elements_are_added_and_removed_according_to_the_filter() {
        both(|scene, change| scene.follow(change));
        both(|scene, change| scene.replace(None, change));
    }

    #[test]
    fn short_lived_elements_are_sent_event_by_event() {
        let mut scene = Scene::new();
        let messages = scene.follow(|graph| {
            add(graph, "a", "red");
            add(graph, "b", "red");
            link(graph, "e", "a", "b");
            graph.delete_node(&"a".into(), NOW).unwrap();
        });
        assert_eq!(messages, ["+a", "+b", "+e", "-e", "-a !"]);
    }

    #[test]
    fn a_deletion_and_addition_between_two_runs_is_sent() {
        let mut scene = Scene::new();
        scene.replace(None, |graph| add(graph, "a", "red"));
        let messages = scene.replace(None, |graph| {
            graph.delete_node(&"a".into(), NOW).unwrap();
            add(graph, "a", "red");
        });
        assert_eq!(messages, ["-a !", "+a"]);
        let messages = scene.replace(None, |graph| {
            add(graph, "b", "red");
            graph.delete_node(&"b".into(), NOW).unwrap();
        });
        assert!(messages.is_empty(), "it was never seen: {messages:?}");
    }

    #[test]
    fn a_run_that_is_ahead_of_the_events_sends_nothing_twice() {
        let mut scene = Scene::new();
        let first = scene.events(|graph| add(graph, "a", "red"));
        let second = scene.events(|graph| add(graph, "b", "red"));
        assert_eq!(scene.replace_after(None, &first), ["+a", "+b"]);
        assert!(scene.replace_after(None, &second).is_empty());
        let deleted = scene.events(|graph| graph.delete_node(&"a".into(), NOW).unwrap());
        let back = scene.events(|graph| add(graph, "a", "red"));
        assert_eq!(scene.replace_after(None, &deleted), ["-a !"]);
        assert_eq!(scene.replace_after(None, &back), ["+a"]);
    }

    #[test]
    fn own_changes_are_not_sent_but_seen() {
        let mut scene = Scene::new();
        let by = |author, events: Vec<Arc<BroadcastMessage>>| -> Vec<Arc<BroadcastMessage>> {
            let with = |m: Arc<BroadcastMessage>| {
                BroadcastMessage::graph_event(m.event().unwrap().clone()).with_author(author)
            };
            events.into_iter().map(with).map(Arc::new).collect()
        };
        let events = scene.events(|graph| add(graph, "mine", "red"));
        assert!(
            scene
                .replace_after(Some(7), &by(Some(7), events))
                .is_empty()
        );
        let events = scene.events(|graph| add(graph, "foreign", "red"));
        assert_eq!(
            scene.replace_after(Some(7), &by(Some(8), events)),
            ["+foreign"]
        );
        let mut events = scene.events(|graph| set(graph, "mine", "X", "1"));
        events = by(Some(7), events);
        let others = scene.events(|graph| set(graph, "mine", "X", "2"));
        events.extend(by(None, others));
        assert_eq!(scene.replace_after(Some(7), &events), ["~mine", "~mine"]);
    }

    #[test]
    fn other_messages_pass() {
        let mut scene = Scene::new();
        let note = Arc::new(BroadcastMessage::object("Alert", "Alert", "{}"));
        let messages = scene.view.follow(&note, |_| false, |_| Vec::new());
        assert_eq!(messages.len(), 1);
        assert_eq!(scene.replace_after(Some(1), &[note]), ["Alert"]);
    }

    #[test]
    fn only_filters_on_single_nodes_are_local() {
        let is_local = |text| NodeFilter::from_query(&Query::parse(text).unwrap()).is_some();
        for text in [
            "G.V().SubGraph()",
            "g.V().Has('A', 1).HasNot('B').HasKey('C').SubGraph()",
            "G.V().HasEither('A', 1, 'B', Ne(2)).SubGraph()",
        ] {
            assert!(is_local(text), "{text}");
        }
        for text in [
            "G",
            "G.V()",
            "G.V('id').SubGraph()",
            "G.V().Limit(3).SubGraph()",
            "G.V().SubGraph('RelationType', 'layer2')",
            "G.E().SubGraph()",
            "G.V().Out().SubGraph()",
        ] {
            if let Ok(query) = Query::parse(text) {
                assert!(NodeFilter::from_query(&query).is_none(), "{text}");
            }
        }
    }
}
