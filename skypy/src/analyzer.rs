//! `Analyzer`: an engine in this process, with the probes of this host, captures, and history.

use std::sync::Arc;

use pyo3::exceptions::{PyKeyError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use skylib::api::{CaptureSpec, ResourceError};
use skylib::engine::{Collection, Engine, EngineOptions, QueryOptions, Role, SubscribeOptions};
use skylib::filter::Filter;
use skylib::flow::{FlowQuery, FlowSource, FlowTableOptions, LayerKeyMode};
use skylib::graph::history::{HistoryLimits, MemoryHistory};
use skylib::graph::{ElementRef, GraphError, GraphReader};
use skylib::store::{FlowStoreLimits, MemoryFlowStore};

use crate::error::query_error;
use crate::events::Events;
use crate::flow::{Flows, loads};
use crate::graph::{Edges, Nodes};
use crate::gremlin;
use crate::options::{LayerNames, Seconds, parse};
use crate::signals::interruptible;

/// An analyzer in this process: the live graph of this host, captures on its interfaces, and their past.
///
/// This is what `skyd allinone` runs, without a server, a configuration, and files on disk. As
/// root, it sees all network namespaces and can capture packets. It runs in threads until `stop` or
/// the end of a `with` block.
///
/// `host` is the identity of this host in the graph; the default is the host name. Without
/// `probes`, the graph is empty. `history` is the retention of the past in memory, in seconds or as
/// a string such as "10m"; 0 disables the history. `update` and `expire` are the intervals of
/// flows, as in `flows`.
#[pyclass(frozen, subclass, module = "skypy._skypy")]
pub(crate) struct Analyzer {
    engine: Engine,
}

#[pymethods]
impl Analyzer {
    #[new]
    #[pyo3(signature = (
        *, host = None, probes = true, history = Seconds::Number(3600.0), update = None, expire = None,
    ), text_signature = "(*, host=None, probes=True, history=3600.0, update=None, expire=None)")]
    fn new(
        py: Python<'_>,
        host: Option<String>,
        probes: bool,
        history: Seconds,
        update: Option<Seconds>,
        expire: Option<Seconds>,
    ) -> PyResult<Self> {
        let host = match host {
            Some(host) => host,
            None => py
                .import("socket")?
                .call_method0("gethostname")?
                .extract()?,
        };
        let mut table = FlowTableOptions::default();
        if let Some(update) = update {
            table = table.with_update_interval(update.parse("update")?);
        }
        if let Some(expire) = expire {
            table = table.with_expiry_interval(expire.parse("expire")?);
        }
        let mut options = EngineOptions::new(host);
        if probes {
            options = options.with_role(Role::AllInOne);
        }
        if !history.is_zero() {
            let age = history.parse("history")?;
            let graph = HistoryLimits::default().with_max_age(age);
            let flows = FlowStoreLimits::default()
                .with_max_age(age)
                .with_grace(table.expiry_interval);
            options = options
                .with_history(Arc::new(MemoryHistory::new(graph)))
                .with_flow_store(Arc::new(MemoryFlowStore::new(flows)));
        }
        let options = options.with_table(table);
        let engine = py.detach(|| Engine::start(options));
        let engine = engine.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        Ok(Self { engine })
    }

    /// Runs a Gremlin query on the graph, the flows, and their past; returns its result as parsed JSON.
    ///
    /// Raises `QueryError` if the query is invalid or fails.
    fn query<'py>(
        &self,
        py: Python<'py>,
        gremlin: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let text = gremlin.str()?.to_cow()?.into_owned();
        let json = py.detach(|| {
            interruptible(|interrupt| {
                let options = QueryOptions::default().with_interrupt(interrupt);
                let answer = self.engine.query_with(&text, options);
                gremlin::to_json(&answer.map_err(|error| query_error(&text, &error))?)
            })
        })?;
        loads(py, &json)
    }

    /// Returns how a query is run, step by step: a dict, and a human-readable table.
    fn explain<'py>(
        &self,
        py: Python<'py>,
        gremlin: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyAny>, String)> {
        let text = gremlin.str()?.to_cow()?.into_owned();
        let (json, table) = py.detach(|| {
            interruptible(|interrupt| {
                let options = QueryOptions::default().with_interrupt(interrupt);
                let explanation = self.engine.explain(&text, options);
                gremlin::explanation(&explanation.map_err(|error| query_error(&text, &error))?)
            })
        })?;
        Ok((loads(py, &json)?, table))
    }

    /// Returns the current nodes: an iterator of dicts that is also an Arrow table.
    fn nodes(&self, py: Python<'_>) -> PyResult<Nodes> {
        py.detach(|| {
            let (view, all) = (self.engine.graph().view(), Filter::everything());
            let nodes = view
                .nodes(&all)
                .map(|node| node.map(ElementRef::into_element));
            Ok(Nodes::new(
                nodes.collect::<Result<_, _>>().map_err(changed)?,
            ))
        })
    }

    /// Returns the current edges: an iterator of dicts that is also an Arrow table.
    fn edges(&self, py: Python<'_>) -> PyResult<Edges> {
        py.detach(|| {
            let (view, all) = (self.engine.graph().view(), Filter::everything());
            let edges = view
                .edges(&all)
                .map(|edge| edge.map(ElementRef::into_element));
            Ok(Edges::new(
                edges.collect::<Result<_, _>>().map_err(changed)?,
            ))
        })
    }

    /// Returns the active flows of all captures.
    fn flows(&self, py: Python<'_>) -> PyResult<Flows> {
        py.detach(|| {
            let set = self.engine.flows().query(&FlowQuery::default());
            let set = set.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
            let packets = self.engine.status().capture_totals.packets.received;
            Ok(Flows::new(set.flows, packets))
        })
    }

    /// Returns an iterator that waits for the future changes of the graph and the captures. Each
    /// change is a dict with `Namespace` (for the graph, "Graph"), `Type` (such as "NodeAdded"),
    /// and `Obj`, as `Client.subscribe` returns them.
    fn events(&self) -> Events {
        Events::new(self.engine.subscribe_graph(SubscribeOptions::default()))
    }

    /// Starts a capture on the current and future nodes of a query; returns the identifier of the
    /// capture. The options are those of `flows`.
    ///
    /// Raises `ValueError` if an option is invalid, or an equal capture exists.
    #[pyo3(signature = (
        gremlin, *, bpf = "", name = "", header_size = 0, layer_key = "L2", raw_packets = 0,
        extra_layer = None, extra_tcp_metric = false, extra_rtt_metric = false, ip_defrag = false,
        reassemble_tcp = false,
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn capture(
        &self,
        py: Python<'_>,
        gremlin: &Bound<'_, PyAny>,
        bpf: &str,
        name: &str,
        header_size: u32,
        layer_key: &str,
        raw_packets: u32,
        extra_layer: Option<LayerNames>,
        extra_tcp_metric: bool,
        extra_rtt_metric: bool,
        ip_defrag: bool,
        reassemble_tcp: bool,
    ) -> PyResult<String> {
        let layers = extra_layer.map(LayerNames::parse).transpose()?;
        let spec = CaptureSpec::new(gremlin.str()?.to_cow()?)
            .with_bpf_filter(bpf)
            .with_name(name)
            .with_header_size(i64::from(header_size))
            .with_layer_key_mode(parse::<LayerKeyMode>(layer_key)?)
            .with_raw_packet_limit(i64::from(raw_packets))
            .with_extra_layers(layers.map_or(0, |layers| layers.bits()))
            .with_extra_tcp_metric(extra_tcp_metric)
            .with_extra_rtt_metric(extra_rtt_metric)
            .with_ip_defrag(ip_defrag)
            .with_reassemble_tcp(reassemble_tcp);
        let capture = py.detach(|| self.engine.captures().add(spec, None));
        Ok(capture.map_err(refused)?.uuid.clone())
    }

    /// Returns the captures as dicts with the keys of the REST interface; `Count` is the number of
    /// interfaces on which a capture is active.
    fn captures<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let captures = py.detach(|| self.engine.captures().all());
        let captures = captures.map_err(refused)?;
        let captures: Vec<&CaptureSpec> = captures.iter().map(|capture| &**capture).collect();
        let json = serde_json::to_vec(&captures);
        loads(
            py,
            &json.map_err(|error| PyValueError::new_err(error.to_string()))?,
        )
    }

    /// Stops a capture. Raises `KeyError` if no capture has this identifier.
    fn delete_capture(&self, py: Python<'_>, id: &str) -> PyResult<()> {
        match py.detach(|| self.engine.captures().delete(id)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(PyKeyError::new_err(format!("no capture {id:?}"))),
            Err(error) => Err(refused(error)),
        }
    }

    /// Returns counters: the size of the graph, the numbers of packets `received` and `dropped` by
    /// captures, of `active` and `failed` captures, and of `flows_dropped` because a consumer was
    /// too slow, and in `probes` the state of each probe with its error.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let status = py.detach(|| self.engine.status());
        let probes = PyDict::new(py);
        for probe in &status.probes {
            let state = match &probe.error {
                Some(error) => format!("{}: {error}", probe.state),
                None => probe.state.to_string(),
            };
            probes.set_item(probe.name, state)?;
        }
        let counters = PyDict::new(py);
        counters.set_item("nodes", status.nodes)?;
        counters.set_item("edges", status.edges)?;
        counters.set_item("received", status.capture_totals.packets.received)?;
        counters.set_item("dropped", status.capture_totals.packets.dropped)?;
        counters.set_item("active", status.capture_totals.active)?;
        counters.set_item("failed", status.capture_totals.failed)?;
        counters.set_item("flows_dropped", status.flows_dropped)?;
        counters.set_item("probes", probes)?;
        Ok(counters)
    }

    /// Stops probes and captures, and ends the iterators of `events`; can be called several times.
    /// Later queries read the last state of the graph.
    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.engine.stop());
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) {
        self.stop(py);
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let status = py.detach(|| self.engine.status());
        format!(
            "<skypy.Analyzer: host {:?}, {} nodes, {} edges>",
            self.engine.host(),
            status.nodes,
            status.edges
        )
    }
}

/// Returns the exception for a view that could not be read.
fn changed(error: GraphError) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

/// Returns the exception for a rejected capture.
fn refused(error: ResourceError) -> PyErr {
    PyValueError::new_err(error.to_string())
}
