//! Flows of capture files.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PySlice};
use skylib::capture::{PcapFile, Replay};
use skylib::flow::{Flow, FlowTableOptions, LayerKeyMode};

use crate::error::from_capture;

/// Reads a capture file and gives its flows.
///
/// The file is pcap or pcapng, also compressed by gzip, LZ4 or zstd. `layer_key` is "L2" if MAC
/// addresses tell flows apart, "L3" if they do only where there is no IP; `extra_tcp_metric` adds
/// times and TTL of SYN, FIN and RST. Timers follow the time in the file: a connection that was silent for long is two
/// flows. Other Python threads run meanwhile.
///
/// Raises `OSError` if the file cannot be opened, `CaptureError` if it is no capture file or is
/// damaged, `ValueError` for a `layer_key` that is neither.
#[pyfunction]
#[pyo3(signature = (path, *, layer_key = "L2", extra_tcp_metric = false))]
pub(crate) fn flows(
    py: Python<'_>,
    path: PathBuf,
    layer_key: &str,
    extra_tcp_metric: bool,
) -> PyResult<Flows> {
    let mode = LayerKeyMode::parse(layer_key)
        .ok_or_else(|| PyValueError::new_err(format!("layer_key is L2 or L3, not {layer_key}")))?;
    let options = FlowTableOptions::default()
        .with_layer_key_mode(mode)
        .with_extra_tcp_metric(extra_tcp_metric)
        .with_leaving_only(true)
        .with_max_entries(usize::MAX);
    py.detach(|| {
        let mut file = PcapFile::open(path).map_err(from_capture)?;
        let mut flows: Vec<Flow> = Vec::new();
        let mut interrupt = None;
        let mut batches = 0_u32;
        let mut each = || {
            batches = batches.wrapping_add(1);
            if batches.is_multiple_of(BATCHES_PER_CHECK) {
                interrupt = Python::attach(|py| py.check_signals().err());
            }
            if interrupt.is_some() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let (stats, end) = Replay::new(options).run(&mut file, &mut flows, &mut each);
        interrupt.map_or(Ok(()), Err)?;
        end.map_err(from_capture)?;
        Ok(Flows {
            flows,
            packets: stats.packets,
        })
    })
}

/// The flows of a capture, in the order in which they left the flow table.
///
/// A sequence of dicts whose keys are those of the JSON of a flow; each is made when it is asked
/// for.
#[pyclass(frozen, sequence, module = "skypy")]
pub(crate) struct Flows {
    flows: Vec<Flow>,
    packets: u64,
}

#[pymethods]
impl Flows {
    /// Packets that were read.
    #[getter]
    const fn packets(&self) -> u64 {
        self.packets
    }

    /// All flows as a list of dicts.
    fn to_dicts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for flow in &self.flows {
            list.append(to_dict(py, flow)?)?;
        }
        Ok(list)
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

/// What stands between brackets.
#[derive(FromPyObject)]
enum Index<'py> {
    One(isize),
    Many(Bound<'py, PySlice>),
}

/// Walks over flows; several threads may share it.
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

/// A flow as its JSON reads: the same keys, whatever they are.
fn to_dict<'py>(py: Python<'py>, flow: &Flow) -> PyResult<Bound<'py, PyDict>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let json =
        serde_json::to_vec(flow).map_err(|error| PyValueError::new_err(error.to_string()))?;
    let loads = LOADS.import(py, "json", "loads")?;
    Ok(loads.call1((json.as_slice(),))?.cast_into::<PyDict>()?)
}

/// Batches between two looks for a signal such as Ctrl-C.
const BATCHES_PER_CHECK: u32 = 64;
