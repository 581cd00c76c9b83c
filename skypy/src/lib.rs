//! The compiled half of the Python package `skypy`: names and conversions, no logic.
#![expect(
    clippy::needless_pass_by_value,
    reason = "signatures are those of Python"
)]

mod error;
mod flow;

use pyo3::prelude::*;

/// Network flows of capture files, by the engine of skylib.
#[pymodule]
mod _skypy {
    use super::{Bound, PyModule, PyModuleMethods, PyResult};

    #[pymodule_export]
    use super::error::{CaptureError, SkydiveError};
    #[pymodule_export]
    use super::flow::{Flows, flows};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
