//! Conversion of skylib errors to Python exceptions.

use std::error::Error;
use std::io;

use pyo3::prelude::*;
use pyo3::{create_exception, exceptions::PyException};

create_exception!(
    skypy,
    SkydiveError,
    PyException,
    "Base class of all exceptions of this package."
);
create_exception!(
    skypy,
    CaptureError,
    SkydiveError,
    "Raised if a capture file is damaged or is not a capture file."
);

/// Returns the exception for a capture error: the matching `OSError` subclass if its cause is an
/// error of the operating system, else `CaptureError`. The message contains all causes.
pub(crate) fn from_capture(error: skylib::capture::CaptureError) -> PyErr {
    let mut text = error.to_string();
    let mut os_error = None;
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        let system = error.downcast_ref::<io::Error>();
        os_error = system
            .filter(|error| error.raw_os_error().is_some())
            .map(io::Error::kind);
        cause = error.source();
    }
    match os_error {
        Some(kind) => io::Error::new(kind, text).into(),
        None => CaptureError::new_err(text),
    }
}
