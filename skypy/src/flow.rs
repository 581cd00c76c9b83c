//! `Flows`: a sequence of flows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyCapsule, PyDict, PyList, PySlice};
use skylib::flow::Flow;

use crate::arrow;
use crate::signals::call_python;

/// Flows of capture files, in the order in which they left the flow table; with `top`, the largest
/// flows first.
///
/// A sequence of dicts with the keys of a flow's JSON; each dict is created when it is accessed.
#[pyclass(frozen, sequence, module = "skypy")]
pub(crate) struct Flows {
    flows: Arc<Vec<Flow>>,
    packets: u64,
}

impl Flows {
    /// Creates the sequence; `packets` is the number of packets read.
    pub(crate) fn new(flows: Vec<Flow>, packets: u64) -> Self {
        Self {
            flows: Arc::new(flows),
            packets,
        }
    }
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
        for flow in self.flows.iter() {
            list.append(to_dict(py, flow)?)?;
        }
        Ok(list)
    }

    /// Returns the stored packets of each flow, by UUID: lists of dicts with `Timestamp` (Unix
    /// milliseconds), `Index` (from 1), `Data` (bytes, starting with the first layer of the flow),
    /// and `LinkType` (number in the LINKTYPE_ list of libpcap).
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

    fn __len__(&self) -> usize {
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
                let flow = flow.ok_or_else(|| PyIndexError::new_err("flow index out of range"))?;
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

    /// Returns the flows as an Arrow stream.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // A consumer may request another schema; it must then convert the result itself.
        drop(requested_schema);
        arrow::rows_capsule(py, arrow::FLOWS, SharedFlows(Arc::clone(&self.flows)))
    }

    /// Returns the flows as a `polars.DataFrame`; requires polars.
    fn to_polars<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let polars = slf.py().import("polars")?;
        polars.call_method1("DataFrame", (slf,))
    }

    /// Returns the flows as a `pandas.DataFrame`; requires pandas and pyarrow.
    fn to_pandas<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let table = slf.py().import("pyarrow")?.call_method1("table", (slf,))?;
        table.call_method0("to_pandas")
    }

    /// Returns the first flows as a table for notebooks.
    fn _repr_html_<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let html = slf.py().import("skypy._graph")?;
        html.call_method1("flow_table", (slf,))
    }

    fn __repr__(&self) -> String {
        format!(
            "<skypy.Flows: {} flows of {} packets>",
            self.flows.len(),
            self.packets
        )
    }
}

/// Flows shared by an Arrow stream and the sequence.
struct SharedFlows(Arc<Vec<Flow>>);

impl AsRef<[Flow]> for SharedFlows {
    fn as_ref(&self) -> &[Flow] {
        &self.0
    }
}

/// Subscript of `Flows`.
#[derive(FromPyObject)]
enum Index<'py> {
    One(isize),
    Many(Bound<'py, PySlice>),
}

/// Iterator over flows; several threads may share it.
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
pub(crate) fn to_dict<'py>(py: Python<'py>, flow: &Flow) -> PyResult<Bound<'py, PyDict>> {
    let json =
        serde_json::to_vec(flow).map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(loads(py, &json)?.cast_into::<PyDict>()?)
}

/// Parses JSON with Python's `json.loads`.
pub(crate) fn loads<'py>(py: Python<'py>, json: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    call_python(|| LOADS.import(py, "json", "loads")?.call1((json,)))
}
