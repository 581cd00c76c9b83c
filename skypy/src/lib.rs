//! Compiled module of the Python package `skypy`: names and conversions, without domain logic.
#![expect(
    clippy::needless_pass_by_value,
    reason = "pyo3 requires owned arguments"
)]

mod analyzer;
mod arrow;
mod capture;
mod error;
mod events;
mod flow;
mod frame;
mod graph;
mod gremlin;
mod history;
mod options;
mod read;
mod signals;
mod source;
mod stream;
mod table;

use pyo3::prelude::*;

/// Records are created by one thread and freed by another, which the allocator of the C library does
/// slowly.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Graphs, flows, and queries of skylib.
#[pymodule]
mod _skypy {
    use super::{Bound, PyModule, PyModuleMethods, PyResult};

    #[pymodule_export]
    use super::analyzer::Analyzer;
    #[pymodule_export]
    use super::capture::Capture;
    #[pymodule_export]
    use super::error::{CaptureError, QueryError, SkydiveError, StoreError};
    #[pymodule_export]
    use super::events::Events;
    #[pymodule_export]
    use super::flow::Flows;
    #[pymodule_export]
    use super::frame::websocket_frames;
    #[pymodule_export]
    use super::graph::{Edges, Graph, Nodes};
    #[pymodule_export]
    use super::history::{History, open_history};
    #[pymodule_export]
    use super::read::flows;
    #[pymodule_export]
    use super::stream::FlowStream;
    #[pymodule_export]
    use super::table::FlowTable;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
