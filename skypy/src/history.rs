//! `History`: the folder in which a daemon stores past flows and the past of the graph.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use skylib::capture::BpfCompiler;
use skylib::flow::{FlowQuery, FlowQueryError, FlowSink};
use skylib::graph::history::ReadBudget;
use skylib::graph::{Graph, GraphError, GraphView};
use skylib::gremlin::{Context, Query, parse_time};
use skylib::store::history::HistoryReader;
use skylib::time::{Clock, SystemClock, TimeSlice, Timestamp};

use crate::error::{StoreError, from_store};
use crate::flow::{Flows, loads};
use crate::graph::{Edges, Nodes};
use crate::gremlin;
use crate::options::invalid;
use crate::signals::interruptible;
use crate::stream::FlowStream;

/// Opens the history that a daemon has stored: its data folder (`storage.local.path`), the folder
/// `history` in it, or a copy.
///
/// The daemon may be running: nothing is written, and no lock is needed. The result has the records
/// up to now; open the folder again for later ones.
///
/// Raises `OSError` if the folder cannot be read, and `StoreError` if it has no history.
#[pyfunction]
pub(crate) fn open_history(py: Python<'_>, path: PathBuf) -> PyResult<History> {
    let reader = py.detach(|| HistoryReader::open(&path));
    Ok(History {
        reader: Arc::new(reader.map_err(|error| from_store(&error))?),
    })
}

/// Past flows and the past of the graph, as of the moment at which `open_history` read their folder.
///
/// Times are Unix milliseconds, `datetime` objects, or strings in the notations of the query step
/// `At`, such as "-1h" or "2026-11-29 14:05".
#[pyclass(frozen, module = "skypy")]
pub(crate) struct History {
    reader: Arc<HistoryReader>,
}

#[pymethods]
impl History {
    /// Runs a Gremlin query; returns its result as parsed JSON. `G.At` and `G.Context` select a time;
    /// without them, a query reads the graph after the newest change, and the newest record of each
    /// flow.
    ///
    /// Raises `QueryError` if the query is invalid or fails.
    fn query<'py>(
        &self,
        py: Python<'py>,
        gremlin: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let text = gremlin.str()?.to_cow()?.into_owned();
        let json = py.detach(|| {
            self.with_context(&text, |query, context| {
                gremlin::run_in(&text, query, context)
            })
        })?;
        loads(py, &json)
    }

    /// Returns how a query is run, step by step, and which files are read: a dict, and a
    /// human-readable table.
    fn explain<'py>(
        &self,
        py: Python<'py>,
        gremlin: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyAny>, String)> {
        let text = gremlin.str()?.to_cow()?.into_owned();
        let (json, table) = py.detach(|| {
            self.with_context(&text, |query, context| {
                gremlin::explanation(&query.explain(context))
            })
        })?;
        Ok((loads(py, &json)?, table))
    }

    /// Returns the flows that were active between two times, both included, each with its newest record.
    /// By default, all flows.
    ///
    /// With `stream`, returns a `FlowStream`, without raw packets: the files are read while the flows
    /// are consumed.
    #[pyo3(signature = (*, start = None, end = None, stream = false))]
    fn flows(
        &self,
        py: Python<'_>,
        start: Option<Bound<'_, PyAny>>,
        end: Option<Bound<'_, PyAny>>,
        stream: bool,
    ) -> PyResult<Py<PyAny>> {
        let query = flow_query(start, end)?;
        if stream {
            let reader = Arc::clone(&self.reader);
            let flows = FlowStream::produce(move |sink, proceed| {
                let visited = reader.visit_flows(&query, &proceed, &mut |flow| {
                    sink.flows(vec![flow.clone()]);
                    match proceed() {
                        true => ControlFlow::Continue(()),
                        false => ControlFlow::Break(()),
                    }
                });
                visited.map_err(|error| unreadable(&error))
            })?;
            return Ok(Py::new(py, flows)?.into_any());
        }
        let set = py.detach(|| {
            interruptible(|interrupt| {
                let flows = self.reader.flows(&query, &|| !interrupt());
                flows.map_err(|error| unreadable(&error))
            })
        })?;
        let packets = set.flows.iter().filter_map(|flow| flow.metric);
        let packets = packets.map(|metric| metric.ab_packets + metric.ba_packets);
        let packets = u64::try_from(packets.sum::<i64>()).unwrap_or_default();
        Ok(Py::new(py, Flows::new(set.flows, packets))?.into_any())
    }

    /// Returns the nodes at a time, by default after the newest change: an iterator of dicts that is
    /// also an Arrow table.
    #[pyo3(signature = (*, at = None))]
    fn nodes(&self, py: Python<'_>, at: Option<Bound<'_, PyAny>>) -> PyResult<Nodes> {
        let at = time("at", at, NEWEST)?;
        let nodes = py.detach(|| {
            interruptible(|interrupt| {
                let nodes = self.reader.nodes(at, &Interrupt(interrupt));
                nodes.map_err(|error| StoreError::new_err(error.to_string()))
            })
        })?;
        Ok(Nodes::new(nodes))
    }

    /// Returns the edges at a time, by default after the newest change: an iterator of dicts that is
    /// also an Arrow table.
    #[pyo3(signature = (*, at = None))]
    fn edges(&self, py: Python<'_>, at: Option<Bound<'_, PyAny>>) -> PyResult<Edges> {
        let at = time("at", at, NEWEST)?;
        let edges = py.detach(|| {
            interruptible(|interrupt| {
                let edges = self.reader.edges(at, &Interrupt(interrupt));
                edges.map_err(|error| StoreError::new_err(error.to_string()))
            })
        })?;
        Ok(Edges::new(edges))
    }

    /// Returns the times whose records are missing, because their files are damaged, as a list of
    /// (first, last), in Unix milliseconds. Damage inside a file is found when the file is read.
    fn damaged(&self) -> Vec<(i64, i64)> {
        let times = self.reader.damaged();
        times
            .iter()
            .map(|time| (time.start.as_ms(), time.last.as_ms()))
            .collect()
    }

    /// Folder of the history.
    #[getter]
    fn path(&self) -> PathBuf {
        self.reader.path().to_owned()
    }

    fn __repr__(&self) -> String {
        let (flows, graph) = self.reader.oldest();
        let begins = |oldest: Option<Timestamp>| {
            oldest.map_or_else(
                || "none".to_owned(),
                |oldest| format!("since {}", oldest.to_rfc3339()),
            )
        };
        format!(
            "<skypy.History: flows {}, graph {}>",
            begins(flows),
            begins(graph)
        )
    }
}

impl History {
    /// Calls a function with a parsed query and its context.
    fn with_context<T>(
        &self,
        text: &str,
        work: impl FnOnce(&Query, &Context<'_>) -> PyResult<T>,
    ) -> PyResult<T> {
        let query = gremlin::parse(text)?;
        let (zone, now) = (TimeZone::system(), SystemClock.now());
        let filters = BpfCompiler::default();
        interruptible(|interrupt| {
            let keep_going = || !interrupt();
            let flows = self.reader.flow_source(&keep_going);
            let empty = Graph::new();
            let is_past = query.earliest_time(now, &zone).is_some();
            let graph = if is_past {
                Ok(&empty)
            } else {
                self.reader.newest_graph(&Interrupt(interrupt))
            };
            let graph = graph.map_err(|error| StoreError::new_err(error.to_string()))?;
            let view = GraphView::open(graph);
            let mut context = Context::new(&view, &flows, now)
                .with_history(self.reader.history())
                .with_limits(gremlin::no_limits())
                .with_packet_filters(&filters)
                .with_interrupt(interrupt);
            context.time_zone = Some(&zone);
            work(&query, &context)
        })
    }
}

/// Budget of a reader that ends at a signal such as Ctrl-C.
struct Interrupt<'a>(&'a (dyn Fn() -> bool + Sync));

impl ReadBudget for Interrupt<'_> {
    fn poll(&self) -> Result<(), GraphError> {
        match (self.0)() {
            true => Err(GraphError::Interrupted),
            false => Ok(()),
        }
    }

    fn hold(&self, _: usize) -> Result<(), GraphError> {
        self.poll()
    }
}

/// Returns the exception for flows that cannot be read.
fn unreadable(error: &FlowQueryError) -> PyErr {
    StoreError::new_err(error.to_string())
}

/// Returns the query for the flows between two times; for all flows without any time.
fn flow_query(
    start: Option<Bound<'_, PyAny>>,
    end: Option<Bound<'_, PyAny>>,
) -> PyResult<FlowQuery> {
    let query = FlowQuery::default().with_max_bytes(usize::MAX);
    if start.is_none() && end.is_none() {
        return Ok(query);
    }
    let start = time("start", start, Timestamp::ZERO)?;
    let last = time("end", end, NEWEST)?;
    if start > last {
        return invalid("start is later than end".to_owned());
    }
    Ok(query.with_time(TimeSlice { start, last }))
}

/// Returns the time of an argument, which is a number, a `datetime`, or a string.
fn time(name: &str, argument: Option<Bound<'_, PyAny>>, default: Timestamp) -> PyResult<Timestamp> {
    let Some(argument) = argument else {
        return Ok(default);
    };
    if let Ok(ms) = argument.extract::<i64>() {
        return Ok(Timestamp::from_ms(ms));
    }
    if let Ok(text) = argument.extract::<String>() {
        let found = parse_time(&text, SystemClock.now(), &TimeZone::system());
        return found.map_or_else(
            || {
                invalid(format!(
                    "{name}: {text:?} is not a time; expected for example \"-1h\""
                ))
            },
            Ok,
        );
    }
    let Ok(seconds) = argument.call_method0("timestamp") else {
        return Err(PyTypeError::new_err(format!(
            "{name} must be Unix milliseconds, a datetime, or a string"
        )));
    };
    let ms = seconds.extract::<f64>()? * 1000.0;
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    Ok(Timestamp::from_ms(ms.round() as i64))
}

/// Time after every record.
const NEWEST: Timestamp = Timestamp::from_ms(i64::MAX);
