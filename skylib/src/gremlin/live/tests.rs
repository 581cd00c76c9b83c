//! Tests that a client's copy equals the answer after arbitrary changes to the graph.

use std::cell::RefCell;

use proptest::prelude::*;

use super::*;
use crate::flow::{Flow, FlowSet};
use crate::graph::history::{History, HistoryLimits, MemoryHistory};
use crate::graph::{Graph, GraphAccess, GraphView, MetadataOp, NodeId};
use crate::gremlin::tests::proptests::{Mutation, mutation};
use crate::gremlin::tests::{graph, metadata, node_step};
use crate::gremlin::{Answer, Limits};
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp::from_ms(9);

/// A graph that changes while views of it are open.
struct Shared(RefCell<Graph>);

impl GraphAccess for Shared {
    fn read(&self, work: &mut dyn FnMut(&Graph)) {
        work(&self.0.borrow());
    }
}

/// A step of a test.
#[derive(Clone, Debug)]
enum Step {
    Mutate(Mutation),
    /// Sets a key that few queries read.
    Note(usize, i64),
    /// Replaces all metadata, which is an update without operations.
    Replace(usize, u8),
    /// Delivers an update, after more mutations that happen while the query runs.
    Deliver(Vec<Mutation>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => mutation().prop_map(Step::Mutate),
        2 => (0..16_usize, 0..4_i64).prop_map(|(node, value)| Step::Note(node, value)),
        1 => (0..16_usize, 0..3_u8).prop_map(|(node, kind)| Step::Replace(node, kind)),
        4 => prop::collection::vec(mutation(), 0..3).prop_map(Step::Deliver),
    ]
}

impl Step {
    fn apply(&self, graph: &mut Graph) {
        match self {
            Self::Mutate(mutation) => mutation.apply(graph),
            Self::Note(node, value) => {
                let ops = [MetadataOp::set("Note.Value", *value)];
                graph
                    .patch_node(&NodeId::from(format!("n{node}")), &ops, NOW)
                    .ok();
            }
            Self::Replace(node, kind) => {
                let json = format!(r#"{{"Name":"r","Type":"t{kind}","Kind":{kind},"a.b":1}}"#);
                let id = NodeId::from(format!("n{node}"));
                graph.set_node_metadata(&id, metadata(&json), NOW).ok();
            }
            Self::Deliver(_) => {}
        }
    }
}

struct Client {
    query: LiveQuery,
    replica: AnswerReplica,
    flows: FlowSet,
}

impl Client {
    fn new(text: &str) -> Self {
        let flow = |n: usize| Flow {
            uuid: format!("f{n}").into(),
            tracking_id: format!("t{}", n % 2).into(),
            node_tid: format!("n{n}").into(),
            ..Flow::default()
        };
        Self {
            query: LiveQuery::new(Query::parse(text).unwrap()),
            replica: AnswerReplica::default(),
            flows: FlowSet {
                flows: (0..6).map(flow).collect(),
                ..FlowSet::default()
            },
        }
    }

    fn observe(&mut self, graph: &Shared) {
        let mut graph = graph.0.borrow_mut();
        for event in graph.take_events() {
            self.query.apply_event(&event, graph.sequence());
        }
    }

    /// Delivers an update, from a view that may be older than the graph.
    fn deliver(&mut self, view: &GraphView<'_>) {
        let context = Context::new(view, &self.flows, NOW);
        let update = if self.query.is_stale() || self.query.is_timed() {
            self.query.refresh(&context).unwrap()
        } else {
            self.query.take_changes()
        };
        if let Some(update) = update {
            if let Update::Changes { changes, .. } = &update {
                assert!(!changes.is_empty());
            }
            assert!(self.replica.apply(&update), "{update:?}");
        }
    }

    fn check(&self, view: &GraphView<'_>) -> Result<(), TestCaseError> {
        let text = self.query.query();
        match text.run(&Context::new(view, &self.flows, NOW)) {
            Ok(answer) => prop_assert!(
                self.replica.equals(&answer),
                "{}: {:?} is not {:?}",
                text,
                self.replica,
                answer
            ),
            Err(error) => prop_assert_eq!(self.replica.error(), Some(&error), "{}", text),
        }
        Ok(())
    }
}

fn query() -> impl Strategy<Value = String> {
    let starts = prop::sample::select(vec![
        "",
        ".V()",
        ".V()",
        ".V().Has('Type','t1')",
        ".V().Has('Kind',Gt(0)).HasKey('Name')",
        ".V('n3')",
        ".V().HasNot('Kind')",
        ".E()",
        ".E().Has('RelationType','layer2')",
        ".E('e3')",
        ".V().G",
        ".V().Has('Type','t1').SubGraph()",
        ".E().SubGraph()",
        ".V().Has('Type','t2').SubGraph().V()",
        ".V().Has('Type','t1').As('a').Out().Select('a')",
        ".V().Limit(3)",
        ".V().Has('Type','t2').Limit(2)",
        ".E().Limit(2)",
        ".E().Has('RelationType','layer2').Dedup('RelationType')",
        ".V().Count().G.V()",
        ".V().Has('@ID','n2')",
        ".E().Has('Parent','n1')",
        ".V().Has('Type','t1').Flows().CaptureNode()",
    ]);
    let node_ends = prop::sample::select(vec![
        "",
        "",
        ".Count()",
        ".Values('Name')",
        ".Values('Type').Dedup()",
        ".Keys()",
        ".Sort('Kind')",
        ".Sort(DESC,'Kind').Limit(3)",
        ".Sort(DESC,'@UpdatedAt')",
        ".ValueMap('Name','Note')",
        ".Sum('Kind')",
        ".Dedup('Type')",
        ".BothE()",
        ".BothE().BothV().Dedup()",
        ".SubGraph('RelationType','layer2')",
        ".ShortestPathTo(Metadata('Type','t2'))",
        ".Descendants('RelationType','layer2',2)",
        ".Neighbors('RelationType','ownership',2)",
        ".Flows()",
        ".Flows().Count()",
        ".Flows().Group('TrackingID')",
        ".Has('Type','t1').Count()",
        ".Values('Note.Value')",
        ".Has('@Revision',Gt(1))",
        ".NextHop('10.0.0.1')",
    ]);
    prop_oneof![
        2 => starts.prop_map(|start| format!("G{start}")),
        3 => (prop::collection::vec(node_step(), 0..3), node_ends).prop_map(|(steps, end)| {
            let steps: String = steps.iter().map(|step| format!(".{step}")).collect();
            format!("G.V(){steps}{end}")
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn the_copy_of_a_client_equals_the_answer(
        kinds in prop::collection::vec(0..3_u8, 1..10),
        links in prop::collection::vec((0..10_usize, 0..10_usize, any::<bool>()), 0..14),
        text in query(),
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let shared = Shared(RefCell::new(graph(&kinds, &links)));
        let mut client = Client::new(&text);
        for step in &steps {
            step.apply(&mut shared.0.borrow_mut());
            let Step::Deliver(meanwhile) = step else { continue };
            // Some events arrive before the query runs, of changes that it does not see.
            client.observe(&shared);
            let view = GraphView::open(&shared);
            meanwhile.iter().for_each(|change| change.apply(&mut shared.0.borrow_mut()));
            if meanwhile.len() == 1 {
                client.observe(&shared);
                client.deliver(&view);
            } else {
                client.deliver(&view);
                client.check(&view)?;
                client.observe(&shared);
            }
        }
        client.observe(&shared);
        let view = GraphView::open(&shared);
        client.deliver(&view);
        client.check(&view)?;
        // There is nothing more to deliver.
        prop_assert!(!client.query.is_stale() && !client.query.has_changes());
    }
}

/// Returns whether a query is stale after some steps, and whether it has changes to deliver.
fn after(text: &str, changes: &[Step]) -> (bool, bool) {
    let shared = Shared(RefCell::new(graph(
        &[1, 2, 1],
        &[(0, 1, true), (1, 2, true)],
    )));
    let mut client = Client::new(text);
    client.observe(&shared);
    client.deliver(&GraphView::open(&shared));
    for change in changes {
        change.apply(&mut shared.0.borrow_mut());
    }
    client.observe(&shared);
    (client.query.is_stale(), client.query.has_changes())
}

#[test]
fn events_that_cannot_change_the_answer_do_not_run_the_query() {
    let (nothing, changes, stale) = ((false, false), (false, true), (true, false));
    let note = [Step::Note(0, 1)];
    let added = [Step::Mutate(Mutation::AddNode(9, 1))];
    let kind = [Step::Mutate(Mutation::SetKind(1, 0))];
    let edge = [Step::Mutate(Mutation::AddEdge(9, 0, 2))];
    let relation = [Step::Mutate(Mutation::SetRelation(0, false))];
    let deleted = [Step::Mutate(Mutation::DeleteNode(0))];
    for (text, change, wanted) in [
        ("G.V().Has('Type','t2')", &note, nothing),
        ("G.V().Has('Type','t1')", &note, changes),
        ("G.V().Has('Type','t2')", &added, nothing),
        ("G.V().Has('Type','t1')", &added, changes),
        ("G.V().Has('Type','t1').Count()", &note, nothing),
        ("G.V().Has('Type','t1').Count()", &edge, nothing),
        ("G.V().Has('Type','t1').Count()", &added, stale),
        ("G.V().Has('Type','t2').Count()", &added, nothing),
        ("G.V().Has('Type','t1')", &kind, nothing),
        ("G.V().Has('Type','t2')", &kind, stale),
        ("G.V().Has('Type','t2').Out()", &note, nothing),
        ("G.V().Has('Type','t1').Out()", &kind, stale),
        ("G.V().Has('Type','t1').Out()", &edge, stale),
        ("G.V().Has('Type','t1').Out()", &relation, nothing),
        (
            "G.V().Has('Type','t1').Out().Has('Name','n1')",
            &note,
            nothing,
        ),
        ("G.V().Out('Name','n1')", &[Step::Note(1, 1)], changes),
        ("G.V().OutE('RelationType','layer2')", &relation, stale),
        ("G.V().Sort('Kind').Limit(2)", &note, changes),
        ("G.V().Sort('Kind').Limit(2)", &kind, stale),
        ("G.V().Values('Note.Value')", &note, stale),
        ("G.V().Values('Note')", &note, stale),
        ("G.V().Values('Notes')", &note, nothing),
        ("G", &added, changes),
        ("G", &edge, changes),
        ("G", &deleted, stale),
        ("G.E()", &deleted, stale),
        ("G.V().HasNot('@DeletedAt').Count()", &deleted, stale),
        ("G.V('n0')", &note, changes),
        ("G.V('n1')", &note, nothing),
        ("G.V().Has('@Revision',9)", &note, nothing),
        ("G.V().Has('@Revision',9).Count()", &note, stale),
    ] {
        assert_eq!(after(text, change), wanted, "{text} {change:?}");
    }
}

#[test]
fn a_query_that_fails_for_a_while_recovers() {
    let shared = Shared(RefCell::new(graph(&[1], &[])));
    let mut client = Client::new("G.V('n0').Values('Name')");
    client.observe(&shared);
    client.deliver(&GraphView::open(&shared));
    assert_eq!(client.replica.len(), 1);
    Mutation::DeleteNode(0).apply(&mut shared.0.borrow_mut());
    client.observe(&shared);
    client.deliver(&GraphView::open(&shared));
    let error = client.replica.error().unwrap();
    assert_eq!(
        (error.message(), error.offset()),
        ("Node 'n0' does not exist", Some(2))
    );
    // Another node does not help, and the failure is delivered once.
    Mutation::AddNode(7, 0).apply(&mut shared.0.borrow_mut());
    client.observe(&shared);
    let view = GraphView::open(&shared);
    let context = Context::new(&view, &client.flows, NOW);
    assert!(client.query.refresh(&context).unwrap().is_none());
    Mutation::AddNode(0, 0).apply(&mut shared.0.borrow_mut());
    client.observe(&shared);
    client.deliver(&GraphView::open(&shared));
    assert_eq!(client.replica.len(), 1);
}

#[test]
fn a_query_that_exceeds_a_limit_reports_it_and_can_be_refreshed() {
    let shared = Shared(RefCell::new(graph(&[1, 1, 1], &[])));
    let mut query = LiveQuery::new(Query::parse("G.V()").unwrap());
    let view = GraphView::open(&shared);
    let flows = FlowSet::default();
    let context = Context::new(&view, &flows, NOW);
    let tight = context.with_limits(Limits::default().with_max_elements(2));
    assert_eq!(
        query.refresh(&tight).unwrap_err().kind(),
        QueryErrorKind::Limit
    );
    assert!(query.is_stale() && query.is_empty());
    assert!(matches!(
        query.refresh(&context),
        Ok(Some(Update::Answer { .. }))
    ));
    assert_eq!(query.len(), 3);
}

#[test]
fn a_query_on_the_past_changes_with_time_alone() {
    let history = MemoryHistory::new(HistoryLimits::default());
    let mut graph = graph(&[1, 2], &[]);
    history.record(&graph.take_events(), Timestamp::ZERO);
    let later = Timestamp::from_ms(5_000);
    graph.delete_node(&NodeId::from("n0"), later).unwrap();
    history.record(&graph.take_events(), later);
    let mut query = LiveQuery::new(Query::parse("G.At('-1s').V().Count()").unwrap());
    assert!(query.is_timed());
    let view = GraphView::open(&graph);
    let flows = FlowSet::default();
    let mut at = |ms| {
        let context = Context::new(&view, &flows, Timestamp::from_ms(ms)).with_history(&history);
        query.refresh(&context).unwrap()
    };
    let Some(Update::Answer { answer, .. }) = at(5_500) else {
        panic!("the first answer")
    };
    assert_eq!(answer, Answer::Number(2));
    assert!(at(5_600).is_none());
    let Some(Update::Changes { changes, .. }) = at(7_000) else {
        panic!("time passed")
    };
    let text = serde_json::to_string(&changes).unwrap();
    assert_eq!(
        text,
        r#"[{"Change":"Changed","From":0,"At":0,"Key":"","Item":1}]"#
    );
}
