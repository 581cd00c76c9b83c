//! The part of the graph that a subscriber with a filter sees, and what to tell it.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::BroadcastMessage;
use crate::flow::{FlowQuery, FlowQueryError, FlowSet, FlowSource};
use crate::graph::{Edge, EdgeId, Graph, GraphEvent, GraphView, Node, NodeId};
use crate::gremlin::{Answer, Context, Query, Step};
use crate::time::Timestamp;

/// What a subscriber has been told: the elements in its view.
///
/// Where the filter looks at each node alone ([`NodeFilter`]), the view follows event by event
/// ([`FilteredView::follow`]); any other filter is run again after events and the view moves to
/// what it gives now ([`FilteredView::replace`]).
#[derive(Debug, Default)]
pub struct FilteredView {
    nodes: HashMap<NodeId, Arc<Node>>,
    edges: HashMap<EdgeId, Arc<Edge>>,
}

impl FilteredView {
    /// A view of these elements.
    #[must_use]
    pub fn new(nodes: &[Arc<Node>], edges: &[Arc<Edge>]) -> Self {
        Self {
            nodes: nodes
                .iter()
                .map(|node| (node.id.clone(), Arc::clone(node)))
                .collect(),
            edges: edges
                .iter()
                .map(|edge| (edge.id.clone(), Arc::clone(edge)))
                .collect(),
        }
    }

    /// Moves on by one event; what to tell, in order.
    ///
    /// `selects` says whether a node belongs into the view; an edge does when both its ends do.
    /// `edges_of` gives the edges a node has now: an element that comes later in the events may
    /// then be told earlier, and is not told twice.
    pub fn follow(
        &mut self,
        message: &Arc<BroadcastMessage>,
        selects: &mut dyn FnMut(&Node) -> bool,
        edges_of: &mut dyn FnMut(&NodeId) -> Vec<Arc<Edge>>,
    ) -> Vec<Arc<BroadcastMessage>> {
        let mut told = Vec::new();
        match message.event() {
            None => told.push(Arc::clone(message)),
            Some(GraphEvent::NodeAdded(node)) => {
                self.follow_node(node, selects(node), edges_of, &mut told);
            }
            Some(GraphEvent::NodeUpdated { node, .. }) => {
                if self.follow_node(node, selects(node), edges_of, &mut told) {
                    told.push(Arc::clone(message));
                }
            }
            Some(GraphEvent::NodeDeleted(node)) => {
                if self.nodes.remove(&node.id).is_some() {
                    told.push(Arc::clone(message));
                    self.remove_edges_of(&node.id, &mut told);
                }
            }
            Some(GraphEvent::EdgeAdded(edge)) => {
                self.follow_edge(edge, &mut told);
            }
            Some(GraphEvent::EdgeUpdated { edge, .. }) => {
                if self.follow_edge(edge, &mut told) {
                    told.push(Arc::clone(message));
                }
            }
            Some(GraphEvent::EdgeDeleted(edge)) => {
                if self.edges.remove(&edge.id).is_some() {
                    told.push(Arc::clone(message));
                }
            }
        }
        told
    }

    /// Adds or removes a node as its state asks for; whether it is in the view now.
    fn follow_node(
        &mut self,
        node: &Arc<Node>,
        is_selected: bool,
        edges_of: &mut dyn FnMut(&NodeId) -> Vec<Arc<Edge>>,
        told: &mut Vec<Arc<BroadcastMessage>>,
    ) -> bool {
        if !is_selected {
            if self.nodes.remove(&node.id).is_some() {
                told.push(made(GraphEvent::NodeDeleted(Arc::clone(node))));
                self.remove_edges_of(&node.id, told);
            }
            return false;
        }
        if self
            .nodes
            .insert(node.id.clone(), Arc::clone(node))
            .is_none()
        {
            told.push(made(GraphEvent::NodeAdded(Arc::clone(node))));
            for edge in edges_of(&node.id) {
                self.follow_edge(&edge, told);
            }
        }
        true
    }

    /// Adds an edge whose ends are both there; whether it is in the view now.
    fn follow_edge(&mut self, edge: &Arc<Edge>, told: &mut Vec<Arc<BroadcastMessage>>) -> bool {
        let has_ends =
            self.nodes.contains_key(&edge.parent) && self.nodes.contains_key(&edge.child);
        if has_ends
            && self
                .edges
                .insert(edge.id.clone(), Arc::clone(edge))
                .is_none()
        {
            told.push(made(GraphEvent::EdgeAdded(Arc::clone(edge))));
        }
        has_ends
    }

    fn remove_edges_of(&mut self, id: &NodeId, told: &mut Vec<Arc<BroadcastMessage>>) {
        let touches = |_: &EdgeId, edge: &mut Arc<Edge>| edge.parent == *id || edge.child == *id;
        let gone = self.edges.extract_if(touches).map(|(_, edge)| edge);
        told.extend(gone.map(|edge| made(GraphEvent::EdgeDeleted(edge))));
    }

    /// Moves on to what the filter gives after some events; what to tell, in order: nodes that
    /// came, nodes that went, edges that came, edges that went, updates of what is there.
    ///
    /// What `own` caused is not told, unless somebody else changed the same element.
    pub fn replace(
        &mut self,
        nodes: &[Arc<Node>],
        edges: &[Arc<Edge>],
        events: &[Arc<BroadcastMessage>],
        own: Option<u64>,
    ) -> Vec<Arc<BroadcastMessage>> {
        let new = Self::new(nodes, edges);
        let old = std::mem::replace(self, new);
        let latest = Latest::of(events);
        let mut told = Vec::new();
        for node in nodes
            .iter()
            .filter(|node| !old.nodes.contains_key(&node.id))
        {
            told.push(made(GraphEvent::NodeAdded(Arc::clone(node))));
        }
        for (id, node) in old
            .nodes
            .iter()
            .filter(|(id, _)| !self.nodes.contains_key(*id))
        {
            told.push(latest.nodes.get(id).map_or_else(
                || made(GraphEvent::NodeDeleted(Arc::clone(node))),
                |message| went_node(message),
            ));
        }
        for edge in edges
            .iter()
            .filter(|edge| !old.edges.contains_key(&edge.id))
        {
            told.push(made(GraphEvent::EdgeAdded(Arc::clone(edge))));
        }
        for (id, edge) in old
            .edges
            .iter()
            .filter(|(id, _)| !self.edges.contains_key(*id))
        {
            told.push(latest.edges.get(id).map_or_else(
                || made(GraphEvent::EdgeDeleted(Arc::clone(edge))),
                |message| went_edge(message),
            ));
        }
        for message in events {
            let passes = match message.event() {
                None => true,
                Some(GraphEvent::NodeUpdated { node, .. }) => self.nodes.contains_key(&node.id),
                Some(GraphEvent::EdgeUpdated { edge, .. }) => self.edges.contains_key(&edge.id),
                // It was there and is there, but not all the time in between. Where its coming
                // back is not among these events, the next ones will bring it.
                Some(GraphEvent::NodeDeleted(node)) => {
                    old.nodes.contains_key(&node.id) && self.nodes.remove(&node.id).is_some()
                }
                Some(GraphEvent::EdgeDeleted(edge)) => {
                    old.edges.contains_key(&edge.id) && self.edges.remove(&edge.id).is_some()
                }
                Some(GraphEvent::NodeAdded(node)) => {
                    old.nodes.contains_key(&node.id)
                        && nodes.iter().any(|now| now.id == node.id)
                        && self
                            .nodes
                            .insert(node.id.clone(), Arc::clone(node))
                            .is_none()
                }
                Some(GraphEvent::EdgeAdded(edge)) => {
                    old.edges.contains_key(&edge.id)
                        && edges.iter().any(|now| now.id == edge.id)
                        && self
                            .edges
                            .insert(edge.id.clone(), Arc::clone(edge))
                            .is_none()
                }
            };
            if passes {
                told.push(Arc::clone(message));
            }
        }
        if own.is_some() {
            let by = |own_events: bool| {
                let of_author = move |m: &&Arc<BroadcastMessage>| (m.author() == own) == own_events;
                events
                    .iter()
                    .filter(of_author)
                    .filter_map(|m| element_of(m))
                    .collect()
            };
            let (mine, others): (HashSet<_>, HashSet<_>) = (by(true), by(false));
            told.retain(|message| {
                element_of(message).is_none_or(|id| !mine.contains(&id) || others.contains(&id))
            });
        }
        told
    }
}

/// The last event of each element among some.
#[derive(Default)]
struct Latest<'a> {
    nodes: HashMap<&'a NodeId, &'a Arc<BroadcastMessage>>,
    edges: HashMap<&'a EdgeId, &'a Arc<BroadcastMessage>>,
}

impl<'a> Latest<'a> {
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

/// That a node went, with its state after an event; a real deletion has its time in it.
fn went_node(message: &Arc<BroadcastMessage>) -> Arc<BroadcastMessage> {
    match message.event() {
        Some(GraphEvent::NodeAdded(node) | GraphEvent::NodeUpdated { node, .. }) => {
            made(GraphEvent::NodeDeleted(Arc::clone(node)))
        }
        _ => Arc::clone(message),
    }
}

fn went_edge(message: &Arc<BroadcastMessage>) -> Arc<BroadcastMessage> {
    match message.event() {
        Some(GraphEvent::EdgeAdded(edge) | GraphEvent::EdgeUpdated { edge, .. }) => {
            made(GraphEvent::EdgeDeleted(Arc::clone(edge)))
        }
        _ => Arc::clone(message),
    }
}

/// The id of the element a message is about; ids of nodes and edges may be equal texts.
fn element_of(message: &BroadcastMessage) -> Option<(bool, &crate::id::Id)> {
    Some(match message.event()? {
        GraphEvent::NodeAdded(node)
        | GraphEvent::NodeUpdated { node, .. }
        | GraphEvent::NodeDeleted(node) => (true, node.id.as_id()),
        GraphEvent::EdgeAdded(edge)
        | GraphEvent::EdgeUpdated { edge, .. }
        | GraphEvent::EdgeDeleted(edge) => (false, edge.id.as_id()),
    })
}

fn made(event: GraphEvent) -> Arc<BroadcastMessage> {
    Arc::new(BroadcastMessage::graph_event(event))
}

/// A filter that looks at each node alone: `G.V().Has(…).SubGraph()` and its like.
///
/// ```
/// use skylib::gremlin::Query;
/// use skylib::proto::NodeFilter;
/// let filter = |text| Query::parse(text).map(|query| NodeFilter::of(&query).is_some());
/// assert!(filter("G.V().Has('Type', 'netns').SubGraph()")?);
/// assert!(!filter("G.V().Has('Type', 'netns').Out().SubGraph()")?);
/// # Ok::<(), skylib::gremlin::QueryError>(())
/// ```
#[derive(Debug)]
pub struct NodeFilter {
    query: Query,
}

impl NodeFilter {
    /// `None` where the query looks at more than one node at a time.
    #[must_use]
    pub fn of(query: &Query) -> Option<Self> {
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

    /// Whether a node passes. A filter that fails on it selects nothing.
    #[must_use]
    pub fn selects(&self, node: &Node) -> bool {
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

/// The flows of one node alone: none.
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

    /// A graph, its events as messages, and a view of what is red.
    struct Scene {
        graph: Graph,
        view: FilteredView,
        filter: NodeFilter,
    }

    impl Scene {
        fn new() -> Self {
            let query = Query::parse("G.V().Has('Color','red').SubGraph()").unwrap();
            let filter = NodeFilter::of(&query).unwrap();
            Self {
                graph: Graph::new().with_journal(),
                view: FilteredView::default(),
                filter,
            }
        }

        fn events(&mut self, change: impl FnOnce(&mut Graph)) -> Vec<Arc<BroadcastMessage>> {
            change(&mut self.graph);
            self.graph.take_events().into_iter().map(made).collect()
        }

        /// What is told when the view follows each event.
        fn follow(&mut self, change: impl FnOnce(&mut Graph)) -> Vec<String> {
            let events = self.events(change);
            let (graph, filter) = (&self.graph, &self.filter);
            let mut edges_of = |id: &NodeId| {
                let edges = graph.edges_of(id, crate::graph::Direction::Both);
                edges.map(|(edge, _)| Arc::clone(edge)).collect()
            };
            let told = events.iter().flat_map(|event| {
                self.view
                    .follow(event, &mut |node| filter.selects(node), &mut edges_of)
            });
            told.map(|message| shown(&message)).collect()
        }

        /// What is told when the filter is run again after all events.
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
            let told = self.view.replace(&nodes, &edges, events, own);
            told.iter().map(|message| shown(message)).collect()
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

    /// Both ways tell the same of single changes.
    fn both(change: impl Fn(&mut Scene, &dyn Fn(&mut Graph)) -> Vec<String>) {
        let mut scene = Scene::new();
        let mut step = |what: &dyn Fn(&mut Graph), told: &[&str]| {
            assert_eq!(change(&mut scene, what), told);
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
    fn elements_come_and_go_as_the_filter_says() {
        both(|scene, change| scene.follow(change));
        both(|scene, change| scene.replace(None, change));
    }

    #[test]
    fn short_lives_are_told_event_by_event() {
        let mut scene = Scene::new();
        let told = scene.follow(|graph| {
            add(graph, "a", "red");
            add(graph, "b", "red");
            link(graph, "e", "a", "b");
            graph.delete_node(&"a".into(), NOW).unwrap();
        });
        assert_eq!(told, ["+a", "+b", "+e", "-e", "-a !"]);
    }

    #[test]
    fn what_went_and_came_back_between_two_runs_is_told() {
        let mut scene = Scene::new();
        scene.replace(None, |graph| add(graph, "a", "red"));
        let told = scene.replace(None, |graph| {
            graph.delete_node(&"a".into(), NOW).unwrap();
            add(graph, "a", "red");
        });
        assert_eq!(told, ["-a !", "+a"]);
        let told = scene.replace(None, |graph| {
            add(graph, "b", "red");
            graph.delete_node(&"b".into(), NOW).unwrap();
        });
        assert!(told.is_empty(), "it was never seen: {told:?}");
    }

    #[test]
    fn a_run_that_is_ahead_of_the_events_tells_nothing_twice() {
        let mut scene = Scene::new();
        let first = scene.events(|graph| add(graph, "a", "red"));
        let second = scene.events(|graph| add(graph, "b", "red"));
        assert_eq!(scene.replace_after(None, &first), ["+a", "+b"]);
        assert!(scene.replace_after(None, &second).is_empty());
        let gone = scene.events(|graph| graph.delete_node(&"a".into(), NOW).unwrap());
        let back = scene.events(|graph| add(graph, "a", "red"));
        assert_eq!(scene.replace_after(None, &gone), ["-a !"]);
        assert_eq!(scene.replace_after(None, &back), ["+a"]);
    }

    #[test]
    fn own_changes_are_not_told_but_seen() {
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
        let told = scene
            .view
            .follow(&note, &mut |_| false, &mut |_| Vec::new());
        assert_eq!(told.len(), 1);
        assert_eq!(scene.replace_after(Some(1), &[note]), ["Alert"]);
    }

    #[test]
    fn only_filters_on_single_nodes_are_local() {
        let is_local = |text| NodeFilter::of(&Query::parse(text).unwrap()).is_some();
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
                assert!(NodeFilter::of(&query).is_none(), "{text}");
            }
        }
    }
}
