//! `Capture`: live flows of a network interface.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use skylib::capture::{AfPacket, CaptureHandle, CaptureOptions, CaptureReport};
use skylib::flow::{Flow, FlowQuery, FlowSink, FlowSource};
use skylib::time::SystemClock;

use crate::error::from_capture;
use crate::flow::{Flows, loads};
use crate::gremlin;
use crate::options::{LayerNames, Seconds, TableOptions, filter};

/// Running capture on a network interface. Requires CAP_NET_RAW, which root has.
///
/// The options are those of `flows`. The capture runs in a thread until `stop` or the end of a
/// `with` block. At most `max_ended` ended flows wait for `ended`; further flows are counted as
/// `ended_dropped`.
#[pyclass(frozen, module = "skypy")]
pub(crate) struct Capture {
    interface: String,
    capture: Mutex<Option<skylib::Capture>>,
    handle: CaptureHandle,
    ended: Ended,
    report: Mutex<CaptureReport>,
}

/// Ended flows, in a bounded list.
#[derive(Clone)]
struct Ended(Arc<Mutex<EndedFlows>>);

struct EndedFlows {
    flows: Vec<Flow>,
    limit: usize,
    dropped: u64,
}

impl Ended {
    fn lock(&self) -> MutexGuard<'_, EndedFlows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FlowSink for Ended {
    fn flows(&mut self, mut flows: Vec<Flow>) {
        let mut ended = self.lock();
        let room = ended.limit - ended.flows.len();
        ended.dropped += flows.len().saturating_sub(room) as u64;
        flows.truncate(room);
        ended.flows.append(&mut flows);
    }
}

#[pymethods]
impl Capture {
    #[new]
    #[pyo3(signature = (
        interface, *, bpf = None, netns = None, header_size = 0, promiscuous = true, max_ended = 100_000,
        layer_key = "L2", expire = None, ports = "", raw_packets = 0, extra_layer = None,
        extra_tcp_metric = false, extra_rtt_metric = false, ip_defrag = false, reassemble_tcp = false,
        max_bytes = 268_435_456, recorded = false, key_ignore = "",
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn new(
        py: Python<'_>,
        interface: String,
        bpf: Option<&str>,
        netns: Option<std::path::PathBuf>,
        header_size: u32,
        promiscuous: bool,
        max_ended: usize,
        layer_key: &str,
        expire: Option<Seconds>,
        ports: &str,
        raw_packets: u32,
        extra_layer: Option<LayerNames>,
        extra_tcp_metric: bool,
        extra_rtt_metric: bool,
        ip_defrag: bool,
        reassemble_tcp: bool,
        max_bytes: usize,
        recorded: bool,
        key_ignore: &str,
    ) -> PyResult<Self> {
        let table = TableOptions {
            layer_key,
            expire,
            update: None,
            ports,
            raw_packets,
            extra_layer,
            extra_tcp_metric,
            extra_rtt_metric,
            ip_defrag,
            reassemble_tcp,
            max_bytes,
            recorded,
            key_ignore,
        };
        let table = skylib::FlowTable::new(table.parse()?);
        let mut options = CaptureOptions::new(interface.as_str())
            .with_header_size(header_size)
            .with_promiscuous(promiscuous);
        if let Some(netns) = netns {
            options = options.with_netns(netns);
        }
        if let Some(bpf) = bpf {
            options = options.with_filter(filter(bpf)?);
        }
        let ended = Ended(Arc::new(Mutex::new(EndedFlows {
            flows: Vec::new(),
            limit: max_ended,
            dropped: 0,
        })));
        let sink = ended.clone();
        let name = interface.as_str();
        let capture = py.detach(|| {
            let source = AfPacket::open(&options).map_err(from_capture)?;
            Ok::<_, PyErr>(skylib::Capture::start(
                name,
                source,
                table,
                sink,
                Arc::new(SystemClock),
            )?)
        })?;
        Ok(Self {
            handle: capture.handle().clone(),
            interface,
            capture: Mutex::new(Some(capture)),
            ended,
            report: Mutex::default(),
        })
    }

    /// Returns the active flows.
    fn flows(&self, py: Python<'_>) -> PyResult<Flows> {
        py.detach(|| {
            let set = self.handle.query(&FlowQuery::default());
            let set = set.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
            Ok(Flows::new(
                set.flows,
                self.current_report().packets.received,
            ))
        })
    }

    /// Returns the flows that have ended since the last call. After `stop`, all flows have ended.
    fn ended(&self) -> Flows {
        let flows = std::mem::take(&mut self.ended.lock().flows);
        Flows::new(flows, self.current_report().packets.received)
    }

    /// Runs a Gremlin query on the active flows; returns its result as parsed JSON.
    fn query<'py>(
        &self,
        py: Python<'py>,
        gremlin: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let text = gremlin.str()?.to_cow()?.into_owned();
        let json = py.detach(|| gremlin::run(&text, &skylib::Graph::new(), &self.handle))?;
        loads(py, &json)
    }

    /// Returns counters: packets `received`, packets `dropped` by the kernel, `flows` created, and
    /// flows that were dropped because `ended` was not called in time (`ended_dropped`).
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let report = py.detach(|| self.current_report());
        let stats = PyDict::new(py);
        stats.set_item("received", report.packets.received)?;
        stats.set_item("dropped", report.packets.dropped)?;
        stats.set_item("flows", report.flows.created)?;
        stats.set_item("ended_dropped", self.ended.lock().dropped)?;
        Ok(stats)
    }

    /// Stops the capture; can be called several times. Raises the error that ended the capture earlier.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| {
            let capture = lock(&self.capture).take();
            if let Some(capture) = capture {
                *lock(&self.report) = capture.stop().map_err(from_capture)?;
            }
            Ok(())
        })
    }

    /// Whether the capture is running.
    #[getter]
    fn running(&self) -> bool {
        lock(&self.capture)
            .as_ref()
            .is_some_and(|capture| !capture.is_finished())
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.stop(py)
    }

    fn __repr__(&self) -> String {
        let state = if self.running() { "running" } else { "stopped" };
        format!("<skypy.Capture: {}, {state}>", self.interface)
    }
}

impl Capture {
    /// Returns the current counters, or the final ones of an ended capture.
    fn current_report(&self) -> CaptureReport {
        let report = self.handle.report(REPORT_TIMEOUT);
        report.unwrap_or_else(|| *lock(&self.report))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Maximum time to wait for the answer of the capture thread.
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);
