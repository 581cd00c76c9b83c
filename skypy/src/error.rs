//! Errors of skylib as Python exceptions.

use std::error::Error;
use std::io;

use pyo3::prelude::*;
use pyo3::{create_exception, exceptions::PyException};

create_exception!(skypy, SkydiveError, PyException, "The base of all exceptions of this package.");
create_exception!(
    skypy,
    CaptureError,
    SkydiveError,
    "A capture that cannot be read, or not to its end."
);

/// What the system refuses is the `OSError` that Python has for it; all else is ours.
pub(crate) fn from_capture(error: skylib::capture::CaptureError) -> PyErr {
    let cause = error.source();
    let text = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    match cause.and_then(|cause| cause.downcast_ref::<io::Error>()) {
        Some(cause) => io::Error::new(cause.kind(), text).into(),
        None => CaptureError::new_err(text),
    }
}
