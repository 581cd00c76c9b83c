//! Gremlin queries on graphs and flows: runs them without the interpreter lock, and converts the result.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use skylib::flow::FlowSource;
use skylib::graph::{GraphAccess, GraphView};
use skylib::gremlin::{Context, Limits, Query};
use skylib::time::{Clock, SystemClock};

use crate::error::query_error;

/// Runs a query on a graph and flows; returns its result as JSON. Stops at a signal such as Ctrl-C.
pub(crate) fn run(
    text: &str,
    graph: &dyn GraphAccess,
    flows: &dyn FlowSource,
) -> PyResult<Vec<u8>> {
    with_context(text, graph, flows, |query, context| {
        let answer = query.run(context);
        let answer = answer.map_err(|error| query_error(text, &error))?;
        let mut json = Vec::new();
        answer.write_json(&mut json)?;
        Ok(json)
    })
}

/// Runs a query and returns how it was run: as JSON, and as a table for people.
pub(crate) fn explain(
    text: &str,
    graph: &dyn GraphAccess,
    flows: &dyn FlowSource,
) -> PyResult<(Vec<u8>, String)> {
    with_context(text, graph, flows, |query, context| {
        let explanation = query.explain(context);
        let json = serde_json::to_vec(&explanation).unwrap_or_default();
        Ok((json, explanation.to_string()))
    })
}

/// Fails if a text is not a query, before expensive work begins.
pub(crate) fn check(text: &str) -> PyResult<()> {
    let query = Query::parse(text);
    query.map(drop).map_err(|error| query_error(text, &error))
}

fn with_context<T>(
    text: &str,
    graph: &dyn GraphAccess,
    flows: &dyn FlowSource,
    work: impl FnOnce(&Query, &Context<'_>) -> PyResult<T>,
) -> PyResult<T> {
    let query = Query::parse(text).map_err(|error| query_error(text, &error))?;
    let view = GraphView::open(graph);
    // The process serves nobody else, so the query may use all memory.
    let limits = Limits::default()
        .with_max_elements(usize::MAX)
        .with_max_bytes(usize::MAX);
    let signal = Mutex::new(None);
    let polls = AtomicU32::new(0);
    let interrupt = || {
        let poll = polls.fetch_add(1, Ordering::Relaxed);
        if !poll.is_multiple_of(POLLS_PER_CHECK) {
            return false;
        }
        let Err(error) = Python::attach(|py| py.check_signals()) else {
            return false;
        };
        *signal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        true
    };
    let context = Context::new(&view, flows, SystemClock.now())
        .with_limits(limits)
        .with_interrupt(&interrupt);
    #[cfg(feature = "pcap")]
    let filters = skylib::capture::BpfCompiler::default();
    #[cfg(feature = "pcap")]
    let context = context.with_packet_filters(&filters);
    let outcome = work(&query, &context);
    let signal = signal.into_inner().unwrap_or_else(PoisonError::into_inner);
    signal.map_or(outcome, Err)
}

/// Number of polls between checks for a signal such as Ctrl-C. Elements are polled in hundreds.
const POLLS_PER_CHECK: u32 = 16;
