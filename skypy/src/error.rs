//! Errors of skylib as Python exceptions.

use std::error::Error;
use std::io;

use pyo3::prelude::*;
use pyo3::{create_exception, exceptions::PyException};

create_exception!(
    skypy,
    SkydiveError,
    PyException,
    "The base of all exceptions of this package."
);
create_exception!(
    skypy,
    CaptureError,
    SkydiveError,
    "A capture that cannot be read, or not to its end."
);

/// What the system refuses is the `OSError` that Python has for it; all else is ours.
pub(crate) fn from_capture(error: skylib::capture::CaptureError) -> PyErr {
    let mut text = error.to_string();
    let mut refused = None;
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        let system = error.downcast_ref::<io::Error>();
        refused = system
            .filter(|error| error.raw_os_error().is_some())
            .map(io::Error::kind);
        cause = error.source();
    }
    match refused {
        Some(kind) => io::Error::new(kind, text).into(),
        None => CaptureError::new_err(text),
    }
}
