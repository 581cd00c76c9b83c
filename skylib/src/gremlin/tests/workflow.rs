//! The step `Workflow`, with workflows that need no interpreter.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value as Json;

use super::super::{Answer, Context, Query, QueryErrorKind, WorkflowCaller, WorkflowError};
use crate::flow::FlowSet;
use crate::graph::history::{HistoryLimits, MemoryHistory};
use crate::graph::{Graph, GraphView};
use crate::time::Timestamp;

/// Workflows: `pair` returns two linked nodes, the first with its arguments as `Args`; the others fail
/// in different ways.
struct Workflows;

impl WorkflowCaller for Workflows {
    fn call(
        &self,
        workflow: &str,
        arguments: &[Json],
        interrupt: &dyn Fn() -> bool,
    ) -> Result<String, WorkflowError> {
        match workflow {
            "pair" => {
                let arguments = Json::from(arguments.to_vec()).to_string();
                let metadata = serde_json::json!({"Name": "eth0", "Args": arguments});
                let nodes = serde_json::json!([
                    {"ID": "a", "Metadata": metadata},
                    {"ID": "b", "Metadata": {"Name": "eth1"}},
                ]);
                let edges = serde_json::json!([
                    {"ID": "e", "Parent": "a", "Child": "b", "Metadata": {"RelationType": "layer2"}},
                ]);
                Ok(serde_json::json!({"nodes": nodes, "edges": edges}).to_string())
            }
            // As Skydive's workflow `FlowMatrix`.
            "by_id" => Ok(r#"{"nodes": {"a": {"ID": "a"}, "b": {"ID": "b"}},
                "edges": {"e": {"ID": "e", "Parent": "a", "Child": "b"}}}"#
                .to_owned()),
            "capitals" => Ok(r#"{"Nodes": [{"ID": "a"}], "Edges": null}"#.to_owned()),
            "nothing" => Ok("null".to_owned()),
            "number" => Ok("5".to_owned()),
            "loose" => Ok(r#"{"edges": [{"ID": "e", "Parent": "a", "Child": "b"}]}"#.to_owned()),
            "throws" => Err(WorkflowError::Failed("Error: no".to_owned())),
            "endless" if interrupt() => Err(WorkflowError::Interrupted),
            _ => Err(WorkflowError::Unknown),
        }
    }
}

/// Runs a query on an empty graph with a history.
fn run(text: &str) -> Result<Answer, super::super::QueryError> {
    let (graph, flows) = (Graph::new(), FlowSet::default());
    let (view, history) = (
        GraphView::open(&graph),
        MemoryHistory::new(HistoryLimits::default()),
    );
    let context = Context {
        workflows: Some(&Workflows),
        ..Context::new(&view, &flows, Timestamp::ZERO).with_history(&history)
    };
    Query::parse(text)?.run(&context)
}

fn json(text: &str) -> String {
    match run(text) {
        Ok(answer) => serde_json::to_string(&answer).unwrap(),
        Err(error) => error.message().to_owned(),
    }
}

#[test]
fn the_following_steps_run_on_the_graph_of_the_workflow() {
    assert_eq!(
        json("G.Workflow('pair').V().Sort('Name').Values('Name')"),
        r#"["eth0","eth1"]"#
    );
    assert_eq!(
        json("G.Workflow('pair').V('a').Out().Values('Name')"),
        r#"["eth1"]"#
    );
    assert_eq!(
        json("G.Workflow('pair', 'x', 2, true).V('a').Values('Args')"),
        r#"["[\"x\",2,true]"]"#
    );
    let path = "G.Workflow('pair').V('a').ShortestPathTo(Metadata('Name','eth1'))";
    for (steps, names) in [
        (".Dedup()", r#"["eth0","eth1"]"#),
        (".Dedup().Limit(1)", r#"["eth0"]"#),
        (".Dedup('Name').Range(1, 2)", r#"["eth1"]"#),
    ] {
        let query = format!("{path}{steps}.Values('Name')");
        assert_eq!(json(&query), names, "{query}");
    }
    assert_eq!(json("G.Workflow('capitals').V().Count()"), "1");
    assert_eq!(json("G.Workflow('nothing').V().Count()"), "0");
    assert_eq!(
        json("G.At('-1h').Workflow('pair').V().Count()"),
        "2",
        "not of the past"
    );
}

#[test]
fn elements_may_be_an_object_by_their_identifiers() {
    for (query, count) in [
        ("G.Workflow('by_id').V().Count()", 2),
        ("G.Workflow('by_id').E().Count()", 1),
        ("G.Workflow('by_id').V('a').Out().Count()", 1),
    ] {
        assert_eq!(run(query).unwrap(), Answer::Number(count), "{query}");
    }
}

#[test]
fn a_failed_workflow_fails_the_query() {
    assert_eq!(json("G.Workflow('other')"), "Unknown workflow 'other");
    assert_eq!(
        json("G.Workflow('throws')"),
        "error while executing workflow: Error: no"
    );
    let text = json("G.Workflow('number').V()");
    assert!(
        text.starts_with("error while executing workflow: its result is not a graph: "),
        "{text}"
    );
    let text = json("G.Workflow('loose')");
    assert!(
        text.starts_with("error while executing workflow: "),
        "{text}"
    );
    assert_eq!(
        json("G.Workflow('pair').At('-1h')"),
        "Backend does not support history"
    );
    assert_eq!(
        json("G.Workflow('pair', Metadata('a', 1))"),
        "Workflow accepts only strings, numbers, and booleans"
    );
}

#[test]
fn an_interrupted_query_cancels_the_workflow() {
    let (graph, flows) = (Graph::new(), FlowSet::default());
    let view = GraphView::open(&graph);
    let is_canceled = AtomicBool::new(true);
    let interrupt = || is_canceled.load(Ordering::Relaxed);
    let context = Context {
        workflows: Some(&Workflows),
        interrupt: Some(&interrupt),
        ..Context::new(&view, &flows, Timestamp::ZERO)
    };
    let error = Query::parse("G.Workflow('endless')")
        .unwrap()
        .run(&context)
        .unwrap_err();
    assert_eq!(error.kind(), QueryErrorKind::Interrupted);
}

#[test]
fn without_workflows_the_step_fails_and_is_explained() {
    let (graph, flows) = (Graph::new(), FlowSet::default());
    let view = GraphView::open(&graph);
    let context = Context::new(&view, &flows, Timestamp::ZERO);
    let query = Query::parse("G.Workflow('pair').V()").unwrap();
    let error = query.run(&context).unwrap_err();
    assert_eq!(error.message(), "Workflow is not available here");
    let explanation = query.explain(&context);
    assert_eq!(explanation.error, Some(error));
    let context = Context {
        workflows: Some(&Workflows),
        ..context
    };
    assert_eq!(query.explain(&context).nodes, 2);
}
