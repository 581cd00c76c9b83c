//! Gremlin queries on graphs and flows: runs them without the interpreter lock, and converts the result.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use skylib::capture::BpfCompiler;
use skylib::flow::FlowSource;
use skylib::graph::{GraphAccess, GraphView};
use skylib::gremlin::{Answer, Context, Explanation, Limits, Query};
use skylib::time::{Clock, SystemClock};

use crate::error::query_error;
use crate::signals::interruptible;

/// Runs a query on a graph and flows; returns its result as JSON. Stops at a signal such as Ctrl-C.
pub(crate) fn run(
    text: &str,
    graph: &dyn GraphAccess,
    flows: &dyn FlowSource,
) -> PyResult<Vec<u8>> {
    with_context(text, graph, flows, |query, context| {
        run_in(text, query, context)
    })
}

/// Runs a parsed query in a context; returns its result as JSON.
pub(crate) fn run_in(text: &str, query: &Query, context: &Context<'_>) -> PyResult<Vec<u8>> {
    let answer = query.run(context);
    to_json(&answer.map_err(|error| query_error(text, &error))?)
}

/// Runs a query, and returns how it was run: as JSON, and as a human-readable table.
pub(crate) fn explain(
    text: &str,
    graph: &dyn GraphAccess,
    flows: &dyn FlowSource,
) -> PyResult<(Vec<u8>, String)> {
    with_context(text, graph, flows, |query, context| {
        explanation(&query.explain(context))
    })
}

/// Parses a query; an invalid one raises `QueryError`.
pub(crate) fn parse(text: &str) -> PyResult<Query> {
    Query::parse(text).map_err(|error| query_error(text, &error))
}

/// Fails if a string is not a valid query; called before expensive work begins.
pub(crate) fn check(text: &str) -> PyResult<()> {
    parse(text).map(drop)
}

/// Limits of a query in a process that serves no other clients: it may use all memory.
pub(crate) fn no_limits() -> Limits {
    Limits::default()
        .with_max_elements(usize::MAX)
        .with_max_bytes(usize::MAX)
}

/// Returns the result of a query as JSON.
pub(crate) fn to_json(answer: &Answer) -> PyResult<Vec<u8>> {
    let mut json = Vec::new();
    answer.write_json(&mut json)?;
    Ok(json)
}

/// Returns an explanation as JSON, and as a human-readable table.
pub(crate) fn explanation(explanation: &Explanation) -> PyResult<(Vec<u8>, String)> {
    let json = serde_json::to_vec(explanation);
    let json = json.map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok((json, explanation.to_string()))
}

fn with_context<T>(
    text: &str,
    graph: &dyn GraphAccess,
    flows: &dyn FlowSource,
    work: impl FnOnce(&Query, &Context<'_>) -> PyResult<T>,
) -> PyResult<T> {
    let query = parse(text)?;
    let view = GraphView::open(graph);
    let filters = BpfCompiler::default();
    interruptible(|interrupt| {
        let context = Context::new(&view, flows, SystemClock.now())
            .with_limits(no_limits())
            .with_packet_filters(&filters)
            .with_interrupt(interrupt);
        work(&query, &context)
    })
}
