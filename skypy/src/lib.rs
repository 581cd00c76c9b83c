//! Compiled module of the Python package `skypy`: names and conversions, no logic.
#![expect(
    clippy::needless_pass_by_value,
    reason = "pyo3 requires owned arguments"
)]

mod error;
mod flow;
mod read;

use pyo3::prelude::*;

/// Network flows from capture files.
#[pymodule]
mod _skypy {
    use super::{Bound, PyModule, PyModuleMethods, PyResult};

    #[pymodule_export]
    use super::error::{CaptureError, QueryError, SkydiveError};
    #[pymodule_export]
    use super::flow::Flows;
    #[pymodule_export]
    use super::read::flows;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
