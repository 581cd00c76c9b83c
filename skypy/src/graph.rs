//! `Graph`: nodes and edges in memory, with Gremlin queries.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyCapsule, PyDict, PyList, PyTuple};
use skylib::flow::FlowSet;
use skylib::graph::{Edge, EdgeId, GraphError, GraphEvent, Metadata, Node, NodeId, Origin};
use skylib::time::{Clock, SystemClock, Timestamp};

use crate::arrow;
use crate::flow::loads;
use crate::gremlin;

/// Graph of nodes and edges with metadata.
///
/// Elements are dicts with the keys of the JSON: `ID`, `Metadata`, `Host`, `Origin`, `CreatedAt`,
/// `UpdatedAt` (Unix milliseconds), `Revision`, and, for edges, `Parent` and `Child`. Several
/// threads may call all methods.
///
/// `indexes` are metadata keys that are indexed in addition to `Type`, `Name`, `Alias`, `AltNames`,
/// `TID`, `MAC`, and `Manager`. With `journal`, every change is recorded until `take_events`
/// returns it.
///
/// >>> import skypy
/// >>> graph = skypy.Graph()
/// >>> graph.add_node("br0", {"Name": "br0", "Type": "bridge"})
/// >>> graph.add_node("eth0", {"Name": "eth0", "Type": "device"})
/// >>> edge = graph.add_edge("br0", "eth0", {"RelationType": "layer2"})
/// >>> graph.query("G.V().Has('Type', 'bridge').Out().Values('Name')")
/// ['eth0']
#[pyclass(frozen, subclass, module = "skypy._skypy")]
pub(crate) struct Graph {
    graph: Mutex<skylib::Graph>,
}

impl Graph {
    /// Locks the graph. A query holds the lock while it polls for signals, for which it needs the
    /// interpreter lock. Therefore, no thread may hold the interpreter lock while it waits for this
    /// lock.
    fn lock(&self) -> MutexGuard<'_, skylib::Graph> {
        let guard = Python::attach(|py| self.graph.lock_py_attached(py));
        guard.unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Graph {
    #[new]
    #[pyo3(signature = (*, indexes = Vec::new(), journal = false))]
    fn new(indexes: Vec<String>, journal: bool) -> Self {
        let mut graph = skylib::Graph::with_indexes(indexes.iter().map(String::as_str));
        if journal {
            graph = graph.with_journal();
        }
        Self {
            graph: Mutex::new(graph),
        }
    }

    /// Adds a node. `time` is in Unix milliseconds; the default is the current time.
    ///
    /// Raises `ValueError` if a node with this identifier exists.
    #[pyo3(signature = (id, metadata, *, host = "", origin = "", time = None))]
    fn add_node(
        &self,
        id: &str,
        metadata: &Bound<'_, PyAny>,
        host: &str,
        origin: &str,
        time: Option<i64>,
    ) -> PyResult<()> {
        let node = Node::new(id, read_metadata(metadata)?, at(time))
            .with_origin(Origin::from_text(origin).with_host(host));
        self.lock().add_node(node).map_err(graph_error)
    }

    /// Adds an edge from one node to another; returns its identifier. The default identifier is
    /// derived from both ends.
    ///
    /// Raises `ValueError` if an edge with this identifier exists, and `KeyError` if an end does
    /// not exist.
    #[pyo3(signature = (parent, child, metadata, *, id = None, host = "", origin = "", time = None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn add_edge(
        &self,
        parent: &str,
        child: &str,
        metadata: &Bound<'_, PyAny>,
        id: Option<&str>,
        host: &str,
        origin: &str,
        time: Option<i64>,
    ) -> PyResult<String> {
        let (metadata, now) = (read_metadata(metadata)?, at(time));
        let edge = match id {
            Some(id) => Edge::new(id, parent, child, metadata, now),
            None => Edge::between(parent, child, metadata, now),
        };
        let edge = edge.with_origin(Origin::from_text(origin).with_host(host));
        let id = edge.id.to_string();
        self.lock().add_edge(edge).map_err(graph_error)?;
        Ok(id)
    }

    /// Replaces the metadata of a node; returns whether the metadata has changed.
    #[pyo3(signature = (id, metadata, *, time = None))]
    fn set_node(&self, id: &str, metadata: &Bound<'_, PyAny>, time: Option<i64>) -> PyResult<bool> {
        let metadata = read_metadata(metadata)?;
        let changed = self
            .lock()
            .set_node_metadata(&NodeId::from(id), metadata, at(time));
        changed.map_err(graph_error)
    }

    /// Replaces the metadata of an edge; returns whether the metadata has changed.
    #[pyo3(signature = (id, metadata, *, time = None))]
    fn set_edge(&self, id: &str, metadata: &Bound<'_, PyAny>, time: Option<i64>) -> PyResult<bool> {
        let metadata = read_metadata(metadata)?;
        let changed = self
            .lock()
            .set_edge_metadata(&EdgeId::from(id), metadata, at(time));
        changed.map_err(graph_error)
    }

    /// Deletes a node and its edges.
    #[pyo3(signature = (id, *, time = None))]
    fn delete_node(&self, id: &str, time: Option<i64>) -> PyResult<()> {
        let deleted = self.lock().delete_node(&NodeId::from(id), at(time));
        deleted.map_err(graph_error)
    }

    /// Deletes an edge.
    #[pyo3(signature = (id, *, time = None))]
    fn delete_edge(&self, id: &str, time: Option<i64>) -> PyResult<()> {
        let deleted = self.lock().delete_edge(&EdgeId::from(id), at(time));
        deleted.map_err(graph_error)
    }

    /// Returns a node. Raises `KeyError` if no node has this identifier.
    fn node<'py>(&self, py: Python<'py>, id: &str) -> PyResult<Bound<'py, PyAny>> {
        let node = self.lock().node(&NodeId::from(id)).cloned();
        let node = node.ok_or_else(|| PyKeyError::new_err(format!("no node {id:?}")))?;
        to_python(py, &node)
    }

    /// Returns an edge. Raises `KeyError` if no edge has this identifier.
    fn edge<'py>(&self, py: Python<'py>, id: &str) -> PyResult<Bound<'py, PyAny>> {
        let edge = self.lock().edge(&EdgeId::from(id)).cloned();
        let edge = edge.ok_or_else(|| PyKeyError::new_err(format!("no edge {id:?}")))?;
        to_python(py, &edge)
    }

    /// Returns the nodes as they are now, in the order in which they were added: an iterator of dicts
    /// that is also an Arrow table.
    fn nodes(&self) -> Nodes {
        Nodes::new(self.lock().nodes().cloned().collect())
    }

    /// Returns the edges as they are now, in the order in which they were added: an iterator of dicts
    /// that is also an Arrow table.
    fn edges(&self) -> Edges {
        Edges::new(self.lock().edges().cloned().collect())
    }

    /// Number of nodes.
    #[getter]
    fn node_count(&self) -> usize {
        self.lock().node_count()
    }

    /// Number of edges.
    #[getter]
    fn edge_count(&self) -> usize {
        self.lock().edge_count()
    }

    /// Runs a Gremlin query, given as text or as a `Traversal`; returns its result as parsed JSON.
    ///
    /// Raises `QueryError` if the query is invalid or fails.
    fn query<'py>(
        &self,
        py: Python<'py>,
        gremlin: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let text = gremlin.str()?.to_cow()?.into_owned();
        let json = py.detach(|| gremlin::run(&text, &*self.lock(), &FlowSet::default()))?;
        loads(py, &json)
    }

    /// Returns how a query is run, step by step: a dict, and a human-readable table.
    fn explain<'py>(
        &self,
        py: Python<'py>,
        gremlin: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyAny>, String)> {
        let text = gremlin.str()?.to_cow()?.into_owned();
        let (json, table) =
            py.detach(|| gremlin::explain(&text, &*self.lock(), &FlowSet::default()))?;
        Ok((loads(py, &json)?, table))
    }

    /// Returns the changes since the last call as a list of (type, element); types are those of the
    /// WebSocket interface, such as "NodeAdded". Always empty if the graph has no journal.
    fn take_events<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let events = self.lock().take_events();
        let list = PyList::empty(py);
        for event in &events {
            let (kind, element) = match event {
                GraphEvent::NodeAdded(node) => ("NodeAdded", to_python(py, node)?),
                GraphEvent::NodeUpdated { node, .. } => ("NodeUpdated", to_python(py, node)?),
                GraphEvent::NodeDeleted(node) => ("NodeDeleted", to_python(py, node)?),
                GraphEvent::EdgeAdded(edge) => ("EdgeAdded", to_python(py, edge)?),
                GraphEvent::EdgeUpdated { edge, .. } => ("EdgeUpdated", to_python(py, edge)?),
                GraphEvent::EdgeDeleted(edge) => ("EdgeDeleted", to_python(py, edge)?),
            };
            list.append(PyTuple::new(
                py,
                [kind.into_pyobject(py)?.into_any(), element],
            )?)?;
        }
        Ok(list)
    }

    fn __repr__(&self) -> String {
        let graph = self.lock();
        let (nodes, edges) = (graph.node_count(), graph.edge_count());
        format!("<skypy.Graph: {nodes} nodes, {edges} edges>")
    }
}

/// Defines an iterator over elements that is also an Arrow table.
macro_rules! elements {
    ($(#[$doc:meta])* $name:ident, $element:ty, $columns:expr) => {
        $(#[$doc])*
        #[pyclass(frozen, module = "skypy")]
        pub(crate) struct $name {
            elements: Arc<[Arc<$element>]>,
            next: AtomicUsize,
        }

        impl $name {
            /// Creates the iterator.
            pub(crate) fn new(elements: Vec<Arc<$element>>) -> Self {
                Self { elements: elements.into(), next: AtomicUsize::new(0) }
            }
        }

        #[pymethods]
        impl $name {
            fn __len__(&self) -> usize {
                self.elements.len()
            }

            fn __iter__(slf: Py<Self>) -> Py<Self> {
                slf
            }

            fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
                let next = self.next.fetch_add(1, Ordering::Relaxed);
                self.elements.get(next).map(|element| to_python(py, element)).transpose()
            }

            /// Returns all elements as an Arrow stream.
            #[pyo3(signature = (requested_schema = None))]
            fn __arrow_c_stream__<'py>(
                &self,
                py: Python<'py>,
                requested_schema: Option<Bound<'py, PyAny>>,
            ) -> PyResult<Bound<'py, PyCapsule>> {
                // A consumer may request another schema; it must then convert the result itself.
                drop(requested_schema);
                arrow::rows_capsule(py, $columns, Arc::clone(&self.elements))
            }
        }
    };
}

elements!(
    /// Nodes of a snapshot of a graph: an iterator of dicts, and an Arrow table.
    Nodes, Node, arrow::NODES
);
elements!(
    /// Edges of a snapshot of a graph: an iterator of dicts, and an Arrow table.
    Edges, Edge, arrow::EDGES
);

/// Returns the time of an argument; the current time by default.
fn at(time: Option<i64>) -> Timestamp {
    time.map_or_else(|| SystemClock.now(), Timestamp::from_ms)
}

/// Returns metadata from a dict of JSON values.
fn read_metadata(metadata: &Bound<'_, PyAny>) -> PyResult<Metadata> {
    if !metadata.is_instance_of::<PyDict>() {
        return Err(PyTypeError::new_err("metadata must be a dict"));
    }
    let json = metadata.py().import("json")?;
    let text: String = json.call_method1("dumps", (metadata,))?.extract()?;
    serde_json::from_str(&text)
        .map_err(|error| PyValueError::new_err(format!("invalid metadata: {error}")))
}

/// Returns an element as a dict.
fn to_python<'py>(py: Python<'py>, element: &impl serde::Serialize) -> PyResult<Bound<'py, PyAny>> {
    let json = serde_json::to_vec(element);
    loads(
        py,
        &json.map_err(|error| PyValueError::new_err(error.to_string()))?,
    )
}

fn graph_error(error: GraphError) -> PyErr {
    let text = error.to_string();
    match error {
        GraphError::NodeNotFound
        | GraphError::EdgeNotFound
        | GraphError::ParentNotFound
        | GraphError::ChildNotFound => PyKeyError::new_err(text),
        _ => PyValueError::new_err(text),
    }
}
