//! Property tests: the graph equals a simple model, and a view does not change.

use std::cell::RefCell;

use proptest::prelude::*;

use crate::filter::{Fields as _, Filter, Predicate};
use crate::graph::present::equality;
use crate::graph::*;
use crate::value::Value;

/// A change; elements are numbers of a small range, so that ids are reused.
#[derive(Clone, Debug)]
pub(in crate::graph) enum Step {
    AddNode(u8, u8),
    AddEdge(u8, u8, u8),
    PatchNode(u8, u8),
    SetNode(u8, u8),
    PatchEdge(u8, u8),
    DeleteNode(u8),
    DeleteEdge(u8),
    DeleteOrigin(u8),
}

const NODES: u8 = 24;
const EDGES: u8 = 40;

pub(in crate::graph) fn step() -> impl Strategy<Value = Step> {
    let (node, edge, value) = (0..NODES, 0..EDGES, 0..5_u8);
    prop_oneof![
        6 => (node.clone(), value.clone()).prop_map(|(n, v)| Step::AddNode(n, v)),
        8 => (edge.clone(), node.clone(), node.clone()).prop_map(|(e, p, c)| Step::AddEdge(e, p, c)),
        6 => (node.clone(), value.clone()).prop_map(|(n, v)| Step::PatchNode(n, v)),
        2 => (node.clone(), value.clone()).prop_map(|(n, v)| Step::SetNode(n, v)),
        3 => (edge.clone(), value).prop_map(|(e, v)| Step::PatchEdge(e, v)),
        3 => node.prop_map(Step::DeleteNode),
        3 => edge.prop_map(Step::DeleteEdge),
        1 => (0..3_u8).prop_map(Step::DeleteOrigin),
    ]
}

/// Returns metadata with an indexed value of each kind that the indexes distinguish.
fn metadata(value: u8) -> Metadata {
    let json = match value {
        0 => r#"{"Name":"a","Type":"x","MTU":1500}"#,
        1 => r#"{"Name":["a","b","a"],"Type":"y"}"#,
        2 => r#"{"Name":42,"Type":"x","Ifs":[{"MAC":"m"},{"MAC":"n"}]}"#,
        3 => r#"{"Name":"0x2a","MTU":"9000"}"#,
        _ => r#"{"Name":{"No":"text"},"TID":null}"#,
    };
    serde_json::from_str(json).unwrap()
}

pub(in crate::graph) fn filters() -> Vec<Filter<ElementKey>> {
    let text = |key: &str, text: &str| Filter::test(key, Predicate::Text(text.into()));
    let int = |key: &str, number| Filter::test(key, Predicate::Int(number));
    let filters = [
        Filter::everything(),
        text("Name", "a"),
        text("Name", "b"),
        text("Metadata.Name", "0x2a"),
        int("Name", 42),
        int("TID", 0),
        text("Ifs.MAC", "n"),
        Filter::test("MTU", Predicate::Gte(1501)),
        text("Type", "x").and(text("Name", "a")),
        Filter::Any(vec![text("Name", "a"), text("Name", "b"), int("Name", 42)]),
        Filter::Any(vec![text("Name", "a"), text("Type", "y")]),
        text("Type", "x").negate(),
        text("K", "1"),
        text("Parent", "n3"),
        text("@ID", "n3"),
    ];
    filters
        .iter()
        .map(|f| f.map_keys(&mut |key| ElementKey::parse(key)))
        .collect()
}

fn node_id(number: u8) -> NodeId {
    NodeId::from(format!("n{number}"))
}

fn edge_id(number: u8) -> EdgeId {
    EdgeId::from(format!("e{number}"))
}

fn origin(number: u8) -> String {
    format!("o.{}", number % 3)
}

pub(in crate::graph) fn graph() -> Graph {
    Graph::with_indexes(["Ifs.MAC"]).with_journal()
}

pub(in crate::graph) fn apply(graph: &mut Graph, step: &Step, now: Timestamp) {
    let set = |value: &u8| {
        [
            MetadataOp::set("K", format!("{value}")),
            MetadataOp::delete("MTU"),
        ]
    };
    match step {
        Step::AddNode(n, value) => {
            graph
                .add_node(
                    Node::new(node_id(*n), metadata(*value), now)
                        .with_origin(Origin::from_text(origin(*n))),
                )
                .ok();
        }
        Step::AddEdge(e, parent, child) => {
            let (parent, child) = (node_id(*parent), node_id(*child));
            let edge = Edge::new(edge_id(*e), parent, child, Metadata::new(), now);
            graph.add_edge(edge).ok();
        }
        Step::PatchNode(n, value) => {
            graph.patch_node(&node_id(*n), &set(value), now).ok();
        }
        Step::SetNode(n, value) => {
            graph
                .set_node_metadata(&node_id(*n), metadata(*value), now)
                .ok();
        }
        Step::PatchEdge(e, value) => {
            graph.patch_edge(&edge_id(*e), &set(value), now).ok();
        }
        Step::DeleteNode(n) => {
            graph.delete_node(&node_id(*n), now).ok();
        }
        Step::DeleteEdge(e) => {
            graph.delete_edge(&edge_id(*e), now).ok();
        }
        Step::DeleteOrigin(o) => {
            graph.delete_origin(&origin(*o), now);
        }
    }
}

/// Model of a graph: elements in insertion order.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

impl Model {
    /// Applies the events of a graph.
    fn follow(&mut self, events: &[GraphEvent]) {
        for event in events {
            match event {
                GraphEvent::NodeAdded(node) => self.nodes.push((**node).clone()),
                GraphEvent::NodeDeleted(node) => {
                    assert!(
                        self.edges
                            .iter()
                            .all(|e| e.parent != node.id && e.child != node.id)
                    );
                    self.nodes.retain(|n| n.id != node.id);
                }
                GraphEvent::NodeUpdated { node, ops } => {
                    let held = self.nodes.iter_mut().find(|n| n.id == node.id).unwrap();
                    let mut metadata = held.metadata.clone();
                    ops.iter().flat_map(|ops| ops.iter()).for_each(|op| {
                        assert!(
                            op.apply(&mut metadata),
                            "an event has no operation without effect"
                        );
                    });
                    assert!(ops.is_none() || metadata == node.metadata);
                    *held = (**node).clone();
                }
                GraphEvent::EdgeAdded(edge) => self.edges.push((**edge).clone()),
                GraphEvent::EdgeDeleted(edge) => self.edges.retain(|e| e.id != edge.id),
                GraphEvent::EdgeUpdated { edge, .. } => {
                    *self.edges.iter_mut().find(|e| e.id == edge.id).unwrap() = (**edge).clone();
                }
            }
        }
    }

    /// Returns edges and the ids at their other ends, in the order of [`Graph::edges_of`].
    fn around(&self, id: &NodeId, direction: Direction) -> Vec<(EdgeId, NodeId)> {
        let out = self
            .edges
            .iter()
            .filter(|e| direction != Direction::In && e.parent == *id);
        let loops = direction == Direction::Both;
        let into = self.edges.iter().filter(|e| {
            direction != Direction::Out && e.child == *id && !(loops && e.parent == *id)
        });
        out.map(|e| (e.id.clone(), e.child.clone()))
            .chain(into.map(|e| (e.id.clone(), e.parent.clone())))
            .collect()
    }
}

const DIRECTIONS: [Direction; 3] = [Direction::Out, Direction::In, Direction::Both];

fn check_graph(graph: &Graph, model: &Model) {
    assert_eq!(
        graph.nodes().map(|n| (**n).clone()).collect::<Vec<_>>(),
        model.nodes
    );
    assert_eq!(
        graph.edges().map(|e| (**e).clone()).collect::<Vec<_>>(),
        model.edges
    );
    assert_eq!(
        (graph.node_count(), graph.edge_count()),
        (model.nodes.len(), model.edges.len())
    );
    for node in &model.nodes {
        assert_eq!(graph.node(&node.id).map(|n| &**n), Some(node));
        for direction in DIRECTIONS {
            let around = graph.edges_of(&node.id, direction);
            let around: Vec<_> = around.map(|(e, n)| (e.id.clone(), n.id.clone())).collect();
            assert_eq!(around, model.around(&node.id, direction));
        }
    }
    for (key, value) in [
        ("Name", Value::from("a")),
        ("Name", Value::from("b")),
        ("Name", Value::from(42)),
        ("Type", Value::from("x")),
        ("Ifs.MAC", Value::from("m")),
        ("MTU", Value::from(9000)),
    ] {
        let found: Vec<_> = graph.find_nodes(key, &value).map(|n| &n.id).collect();
        let wanted = equality(&value).unwrap();
        let key = ElementKey::parse(key);
        let scanned = model.nodes.iter().filter(|n| n.test(&key, &wanted));
        assert_eq!(
            found,
            scanned.map(|n| &n.id).collect::<Vec<_>>(),
            "index = scan: {value:?}"
        );
    }
}

/// Graph that changes while it is read.
struct Changing {
    graph: RefCell<Graph>,
    steps: RefCell<Vec<Step>>,
}

impl GraphAccess for Changing {
    fn read(&self, work: &mut dyn FnMut(&Graph)) {
        work(&self.graph.borrow());
    }
}

impl Changing {
    fn change(&self) {
        if let Some(step) = self.steps.borrow_mut().pop() {
            apply(&mut self.graph.borrow_mut(), &step, Timestamp::from_ms(7));
        }
    }

    /// Changes the graph after each item.
    fn collect<T>(&self, items: SnapshotIter<'_, T>) -> Vec<T> {
        let items = items.map(|item| {
            self.change();
            item.unwrap()
        });
        items.collect()
    }
}

/// Compares every read of a view with the model while the graph changes between the results.
fn check_view(view: &GraphView<'_>, model: &Model, changing: &Changing) {
    let mut all = Vec::new();
    for filter in filters() {
        let wanted: Vec<_> = model.nodes.iter().filter(|n| filter.matches(*n)).collect();
        let found = changing.collect(view.nodes(&filter));
        assert_eq!(
            found.iter().map(|n| &***n).collect::<Vec<_>>(),
            wanted,
            "{filter:?}"
        );
        assert_eq!(view.count_nodes(&filter), Ok(wanted.len()), "{filter:?}");
        if filter.is_everything() {
            all = found;
        }

        let wanted: Vec<_> = model.edges.iter().filter(|e| filter.matches(*e)).collect();
        let found = changing.collect(view.edges(&filter));
        assert_eq!(
            found.iter().map(|e| &***e).collect::<Vec<_>>(),
            wanted,
            "{filter:?}"
        );
        assert_eq!(view.count_edges(&filter), Ok(wanted.len()), "{filter:?}");
        for (ends, wanted) in view.ends_of(&found).zip(wanted).take(2) {
            let ends = ends.unwrap();
            let (parent, child) = (&ends.parents()[0], &ends.children()[0]);
            assert_eq!((&parent.id, &child.id), (&wanted.parent, &wanted.child));
        }
    }
    check_walks(view, model, changing, &all);
    check_lookups(view, model);
}

/// Compares every walk from all nodes with the model.
fn check_walks(view: &GraphView<'_>, model: &Model, changing: &Changing, all: &[NodeRef]) {
    let indexes: Vec<u32> = all.iter().map(NodeRef::index).collect();
    let x = ElementKey::compile(&Filter::test("Type", Predicate::Text("x".into())));
    let passes = |id: &NodeId| model.nodes.iter().any(|n| n.id == *id && x.matches(n));
    for direction in DIRECTIONS {
        let wanted: Vec<(usize, EdgeId, NodeId)> = model
            .nodes
            .iter()
            .enumerate()
            .flat_map(|(i, n)| {
                model
                    .around(&n.id, direction)
                    .into_iter()
                    .map(move |(e, n)| (i, e, n))
            })
            .collect();
        let found = changing.collect(view.neighbors(all, direction));
        let ids = |n: &Neighbor| (n.from, n.edge.id.clone(), n.node.id.clone());
        assert_eq!(found.iter().map(ids).collect::<Vec<_>>(), wanted);

        let reached = changing.collect(view.neighbor_nodes(all, direction, &x));
        let hits = wanted.iter().filter(|(_, _, node)| passes(node));
        assert_eq!(
            reached.iter().map(|n| &n.id).collect::<Vec<_>>(),
            hits.map(|(_, _, n)| n).collect::<Vec<_>>()
        );

        let hops = changing.collect(view.hops(&indexes, direction));
        let edges: Vec<u32> = hops.iter().map(|hop| hop.edge).collect();
        let nodes: Vec<u32> = hops.iter().map(|hop| hop.node).collect();
        let edge_ids = changing.collect(view.edges_at(&edges));
        let edge_ids: Vec<EdgeId> = edge_ids.iter().map(|edge| edge.id.clone()).collect();
        let node_ids = changing.collect(view.nodes_at(&nodes));
        let node_ids: Vec<NodeId> = node_ids.iter().map(|node| node.id.clone()).collect();
        assert_eq!(
            edge_ids,
            wanted.iter().map(|(_, e, _)| e.clone()).collect::<Vec<_>>()
        );
        assert_eq!(
            node_ids,
            wanted.iter().map(|(_, _, n)| n.clone()).collect::<Vec<_>>()
        );
    }
}

/// Compares every lookup by id with the model.
fn check_lookups(view: &GraphView<'_>, model: &Model) {
    for number in 0..NODES {
        let found = view
            .node_by_id(&node_id(number))
            .unwrap()
            .map(NodeRef::into_element);
        assert_eq!(
            found.as_deref(),
            model.nodes.iter().find(|n| n.id == node_id(number))
        );
    }
    for number in 0..EDGES {
        let found = view
            .edge_by_id(&edge_id(number))
            .unwrap()
            .map(EdgeRef::into_element);
        assert_eq!(
            found.as_deref(),
            model.edges.iter().find(|e| e.id == edge_id(number))
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_graph_is_what_its_events_say(steps in proptest::collection::vec(step(), 1..200)) {
        let mut graph = graph();
        let mut model = Model::default();
        for (i, step) in steps.iter().enumerate() {
            apply(&mut graph, step, Timestamp::from_ms(i as i64));
            model.follow(&graph.take_events());
        }
        check_graph(&graph, &model);
    }

    #[test]
    fn views_stay_what_they_were(
        before in proptest::collection::vec(step(), 20..120),
        between in proptest::collection::vec(proptest::collection::vec(step(), 0..20), 4),
        during in proptest::collection::vec(step(), 0..600),
        dropped in 0..4_usize,
    ) {
        let changing = Changing { graph: RefCell::new(graph()), steps: RefCell::default() };
        let mut model = Model::default();
        let mut at_once = |steps: &[Step]| {
            let mut graph = changing.graph.borrow_mut();
            steps.iter().for_each(|step| apply(&mut graph, step, Timestamp::from_ms(1)));
            model.follow(&graph.take_events());
            model.clone()
        };
        let mut frozen = vec![(GraphView::open(&changing), at_once(&[]))];
        at_once(&before);
        for steps in &between {
            let model = at_once(steps);
            frozen.push((GraphView::open(&changing), model));
        }
        // The first view is of the empty graph; one in the middle is dropped before the others are read.
        frozen.remove(1 + dropped);
        changing.steps.replace(during);
        for (view, model) in &frozen {
            check_view(view, model, &changing);
        }
        drop(frozen);

        // Stored revisions are dropped with the changes that follow.
        let mut graph = changing.graph.borrow_mut();
        model.follow(&graph.take_events());
        let id = node_id(NODES);
        for _ in 0..40 {
            graph.add_node(Node::new(id.clone(), Metadata::new(), Timestamp::ZERO)).unwrap();
            graph.delete_node(&id, Timestamp::ZERO).unwrap();
        }
        prop_assert_eq!(graph.storage().stored_past(), 0);
        prop_assert_eq!(graph.storage().stored_elements(), (model.nodes.len(), model.edges.len()));
        check_graph(&graph, &model);
    }
}

#[test]
fn a_view_that_needs_too_many_revisions_expires() {
    let changing = Changing {
        graph: RefCell::new(graph()),
        steps: RefCell::default(),
    };
    let id = node_id(0);
    let node = Node::new(id.clone(), Metadata::new(), Timestamp::ZERO);
    changing.graph.borrow_mut().add_node(node).unwrap();
    changing.graph.borrow_mut().set_past_limits(10, usize::MAX);
    let old = GraphView::open(&changing);
    let mut views = Vec::new();
    for i in 0..10 {
        let ops = [MetadataOp::set("N", i)];
        changing
            .graph
            .borrow_mut()
            .patch_node(&id, &ops, Timestamp::ZERO)
            .unwrap();
        views.push(GraphView::open(&changing));
    }
    assert!(old.node_by_id(&id).is_ok(), "ten revisions are allowed");
    for i in 0..2 {
        let ops = [MetadataOp::set("N", -i)];
        changing
            .graph
            .borrow_mut()
            .patch_node(&id, &ops, Timestamp::ZERO)
            .unwrap();
    }
    assert_eq!(
        old.node_by_id(&id).map(|_| ()),
        Err(GraphError::ViewExpired)
    );
    assert_eq!(
        old.edges(&Filter::everything()).next().unwrap().err(),
        Some(GraphError::ViewExpired)
    );
    let newest = views.last().unwrap().node_by_id(&id).unwrap().unwrap();
    assert_eq!(
        newest.metadata.get("N"),
        Some(&Value::Int(9)),
        "younger views do not expire"
    );
    assert!(changing.graph.borrow().storage().stored_past() <= 10 + 1);
}

#[test]
fn stored_bytes_are_bounded() {
    let changing = Changing {
        graph: RefCell::new(graph()),
        steps: RefCell::default(),
    };
    let id = node_id(0);
    let node = Node::new(id.clone(), Metadata::new(), Timestamp::ZERO);
    changing.graph.borrow_mut().add_node(node).unwrap();
    changing
        .graph
        .borrow_mut()
        .set_past_limits(usize::MAX, 100_000);
    let mut views = Vec::new();
    for i in 0..10 {
        let ops = [MetadataOp::set("Big", format!("{i}").repeat(30_000))];
        views.push(GraphView::open(&changing));
        changing
            .graph
            .borrow_mut()
            .patch_node(&id, &ops, Timestamp::ZERO)
            .unwrap();
    }
    let open = views
        .iter()
        .filter(|view| view.node_by_id(&id).is_ok())
        .count();
    assert!((2..=5).contains(&open), "{open}");
}

#[test]
fn a_graph_can_be_shared() {
    const fn shared<T: Send + Sync>() {}
    shared::<Graph>();
}
