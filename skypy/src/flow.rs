//! `flows` and `Flows`: flows from capture files.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PySlice};
use skylib::capture::{BpfFilter, PcapFile, Replay};
use skylib::flow::{ExtraLayers, Flow, FlowTableOptions, KeyIgnore, LayerKeyMode};

use crate::error::from_capture;

/// Reads a capture file and returns its flows.
///
/// The file is pcap or pcapng, also compressed with gzip, LZ4 or zstd. Timers follow the timestamps
/// in the file: a connection with a long silence is two flows. Other Python threads run meanwhile.
/// The options are those of `skyd flows`:
///
/// - `bpf`: count only packets that match this filter, in tcpdump syntax;
/// - `layer_key`: "L2" if MAC addresses identify flows, "L3" if only flows without IP;
/// - `raw_packets`: number of packets to store per flow (0 to 10), see `Flows.raw_packets`;
/// - `extra_layer`: layers whose messages are added: "DNS", "DHCPv4", "VRRP" or "all", as a
///   comma-separated text or a sequence;
/// - `extra_tcp_metric`: add the times of SYN, FIN and RST and the TTL of SYN;
/// - `ip_defrag`: reassemble IPv4 fragments;
/// - `reassemble_tcp`: track TCP streams, and count reordered and missing segments;
/// - `max_bytes`: memory limit of the flow table; beyond it, the least recently used flows are
///   evicted early;
/// - `recorded`: reproduce the values of Skydive exactly, including its known defects;
/// - `extra_rtt_metric`: add statistics of round-trip times;
/// - `key_ignore`: parts of the flow key that do not distinguish flows: `vlan`, `mpls`, `interface`,
///   separated by commas;
/// - `threads`: total number of threads (1 to 255).
///
/// Raises `OSError` if the file cannot be opened, `CaptureError` if it is damaged or not a capture
/// file, and `ValueError` if an option is invalid.
#[pyfunction]
#[pyo3(signature = (
    path, *, bpf = None, layer_key = "L2", raw_packets = 0, extra_layer = None,
    extra_tcp_metric = false, ip_defrag = false, reassemble_tcp = false, max_bytes = 2 << 30,
    recorded = false, threads = 1, extra_rtt_metric = false, key_ignore = "",
))]
#[expect(clippy::too_many_arguments, reason = "keywords of Python")]
pub(crate) fn flows(
    py: Python<'_>,
    path: PathBuf,
    bpf: Option<&str>,
    layer_key: &str,
    raw_packets: u32,
    extra_layer: Option<LayerNames>,
    extra_tcp_metric: bool,
    ip_defrag: bool,
    reassemble_tcp: bool,
    max_bytes: usize,
    recorded: bool,
    threads: usize,
    extra_rtt_metric: bool,
    key_ignore: &str,
) -> PyResult<Flows> {
    let invalid = |text: String| Err(PyValueError::new_err(text));
    let Some(mode) = LayerKeyMode::parse(layer_key) else {
        return invalid(format!("layer_key must be L2 or L3, not {layer_key}"));
    };
    if raw_packets > MAX_RAW_PACKETS {
        return invalid(format!(
            "raw_packets must be 0 to {MAX_RAW_PACKETS}, not {raw_packets}"
        ));
    }
    let Some(threads) = NonZeroUsize::new(threads).filter(|threads| threads.get() < 256) else {
        return invalid(format!("threads must be 1 to 255, not {threads}"));
    };
    let key_ignore: KeyIgnore = match key_ignore.parse() {
        Ok(parts) => parts,
        Err(error) => return invalid(error.to_string()),
    };
    let extra_layers = extra_layer.map_or(Ok(ExtraLayers::NONE), LayerNames::parse)?;
    let filter = bpf.map(filter).transpose()?;
    let options = FlowTableOptions::default()
        .with_layer_key_mode(mode)
        .with_raw_packet_limit(raw_packets)
        .with_extra_layers(extra_layers)
        .with_extra_tcp_metric(extra_tcp_metric)
        .with_ip_defrag(ip_defrag)
        .with_reassemble_tcp(reassemble_tcp)
        .with_recorded(recorded)
        .with_extra_rtt_metric(extra_rtt_metric)
        .with_key_ignore(key_ignore)
        .with_final_only(true)
        .with_max_entries(usize::MAX)
        .with_max_bytes(max_bytes);
    py.detach(|| {
        let mut file = PcapFile::open(path).map_err(from_capture)?;
        let mut flows: Vec<Flow> = Vec::new();
        let mut interrupt = None;
        let mut batches = 0_u32;
        let proceed = || {
            batches = batches.wrapping_add(1);
            if interrupt.is_none() && batches.is_multiple_of(BATCHES_PER_CHECK) {
                interrupt = Python::attach(|py| py.check_signals().err());
            }
            interrupt.is_none()
        };
        let mut replay = Replay::new(options).with_threads(threads);
        match &filter {
            // COMPAT: recorded values of the original, whose clock sees only packets that pass.
            Some(filter) if recorded => file = file.with_filter(filter).map_err(from_capture)?,
            Some(filter) => replay = replay.with_filter(filter.clone()),
            None => {}
        }
        let outcome = replay.run_while(&mut file, &mut flows, proceed);
        interrupt.map_or(Ok(()), Err)?;
        let stats = outcome.map_err(|failure| from_capture(failure.into()))?;
        Ok(Flows {
            flows,
            packets: stats.packets.saturating_sub(stats.filtered),
        })
    })
}

/// Compiles a filter text.
#[cfg(feature = "pcap")]
fn filter(text: &str) -> PyResult<BpfFilter> {
    BpfFilter::parse(text).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Returns an error: filters need libpcap.
#[cfg(not(feature = "pcap"))]
fn filter(text: &str) -> PyResult<BpfFilter> {
    let text = format!("cannot compile filter {text:?}: this package was built without libpcap");
    Err(PyValueError::new_err(text))
}

/// Names of extra layers, as Python passes them.
#[derive(FromPyObject)]
pub(crate) enum LayerNames {
    Text(String),
    List(Vec<String>),
}

impl LayerNames {
    /// Returns the set of layers.
    fn parse(self) -> PyResult<ExtraLayers> {
        let names = match self {
            Self::Text(names) => names.split(',').map(str::to_owned).collect(),
            Self::List(names) => names,
        };
        let mut layers = ExtraLayers::NONE;
        for name in names {
            layers = layers.with(ExtraLayers::parse(name.trim()).ok_or_else(|| {
                PyValueError::new_err(format!(
                    "extra_layer must be DNS, DHCPv4, VRRP or all, not {name}"
                ))
            })?);
        }
        Ok(layers)
    }
}

/// Flows of a capture file, in the order in which the flow table sent them.
///
/// A sequence of dicts with the keys of a flow's JSON; each dict is created when it is accessed.
#[pyclass(frozen, sequence, module = "skypy")]
pub(crate) struct Flows {
    flows: Vec<Flow>,
    packets: u64,
}

#[pymethods]
impl Flows {
    /// Number of packets that were read.
    #[getter]
    const fn packets(&self) -> u64 {
        self.packets
    }

    /// Returns all flows as a list of dicts.
    fn to_dicts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for flow in &self.flows {
            list.append(to_dict(py, flow)?)?;
        }
        Ok(list)
    }

    /// Returns the stored packets of each flow, by UUID: a list of dicts with `Timestamp` (Unix
    /// milliseconds), `Index` (from 1), `Data` (bytes, from the first layer of the flow on) and
    /// `LinkType` (a number of libpcap).
    fn raw_packets<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        for flow in self
            .flows
            .iter()
            .filter(|flow| !flow.last_raw_packets.is_empty())
        {
            let list = PyList::empty(py);
            for packet in &flow.last_raw_packets {
                let dict = PyDict::new(py);
                dict.set_item("Timestamp", packet.timestamp)?;
                dict.set_item("Index", packet.index)?;
                dict.set_item("Data", PyBytes::new(py, &packet.data))?;
                dict.set_item("LinkType", packet.link_type)?;
                list.append(dict)?;
            }
            all.set_item(flow.uuid.as_str(), list)?;
        }
        Ok(all)
    }

    const fn __len__(&self) -> usize {
        self.flows.len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: Index<'py>) -> PyResult<Bound<'py, PyAny>> {
        let len = isize::try_from(self.flows.len())?;
        match index {
            Index::One(index) => {
                let position = if index < 0 { index + len } else { index };
                let flow = usize::try_from(position)
                    .ok()
                    .and_then(|index| self.flows.get(index));
                let flow = flow.ok_or_else(|| PyIndexError::new_err("no flow at this index"))?;
                Ok(to_dict(py, flow)?.into_any())
            }
            Index::Many(slice) => {
                let range = slice.indices(len)?;
                let list = PyList::empty(py);
                let mut position = range.start;
                for _ in 0..range.slicelength {
                    if let Some(flow) = usize::try_from(position)
                        .ok()
                        .and_then(|i| self.flows.get(i))
                    {
                        list.append(to_dict(py, flow)?)?;
                    }
                    position += range.step;
                }
                Ok(list.into_any())
            }
        }
    }

    fn __iter__(slf: Py<Self>) -> FlowsIterator {
        FlowsIterator {
            flows: slf,
            next: AtomicUsize::new(0),
        }
    }

    fn __repr__(&self) -> String {
        format!(
            "<skypy.Flows: {} flows of {} packets>",
            self.flows.len(),
            self.packets
        )
    }
}

/// Subscript of `Flows`.
#[derive(FromPyObject)]
enum Index<'py> {
    One(isize),
    Many(Bound<'py, PySlice>),
}

/// Iterator over flows. Several threads may share it.
#[pyclass(frozen, module = "skypy")]
pub(crate) struct FlowsIterator {
    flows: Py<Flows>,
    next: AtomicUsize,
}

#[pymethods]
impl FlowsIterator {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.flows
            .get()
            .flows
            .get(next)
            .map(|flow| to_dict(py, flow))
            .transpose()
    }
}

/// Returns a flow as a dict, parsed from its JSON.
fn to_dict<'py>(py: Python<'py>, flow: &Flow) -> PyResult<Bound<'py, PyDict>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let json =
        serde_json::to_vec(flow).map_err(|error| PyValueError::new_err(error.to_string()))?;
    let loads = LOADS.import(py, "json", "loads")?;
    Ok(loads.call1((json.as_slice(),))?.cast_into::<PyDict>()?)
}

/// Number of batches between checks for a signal such as Ctrl-C.
const BATCHES_PER_CHECK: u32 = 8;

/// Largest number of stored packets per flow, as for captures.
const MAX_RAW_PACKETS: u32 = 10;
