//! Conversion of skylib errors to Python exceptions.

use std::error::Error;
use std::io;

use pyo3::prelude::*;
use pyo3::{create_exception, exceptions::PyException};
use skylib::gremlin;

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

create_exception!(
    skypy,
    StoreError,
    SkydiveError,
    "Raised if a folder has no history, or a file of a history cannot be read."
);

create_exception!(
    skypy,
    QueryError,
    SkydiveError,
    "Raised if a Gremlin query is invalid or fails. `position` is the index of the mistake in the text \
     of the query, or None."
);

/// Returns the exception for an error of a query.
pub(crate) fn query_error(query: &str, error: &gremlin::QueryError) -> PyErr {
    let before = error.offset().and_then(|offset| query.get(..offset));
    // Positions in Python are counted in characters.
    let position = before.map(|before| before.chars().count());
    let exception = QueryError::new_err(error.to_string());
    Python::attach(|py| {
        let value = exception.value(py);
        // Setting an attribute of a new exception does not fail.
        value.setattr("position", position).ok();
    });
    exception
}

/// Returns the exception for a capture error: the matching `OSError` subclass if its cause is an
/// error of the operating system, otherwise `CaptureError`. The message contains all causes.
pub(crate) fn from_capture(capture: skylib::capture::CaptureError) -> PyErr {
    let mut text = capture.to_string();
    let mut os_error = None;
    let mut cause = capture.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        let system = error.downcast_ref::<io::Error>();
        let inner = system.and_then(io::Error::get_ref);
        if let Some(python) = inner.and_then(|inner| inner.downcast_ref::<PyErr>()) {
            // Exception raised by a Python file object.
            return Python::attach(|py| python.clone_ref(py));
        }
        os_error = system
            .filter(|error| error.raw_os_error().is_some())
            .map(io::Error::kind);
        cause = error.source();
    }
    if matches!(capture, skylib::capture::CaptureError::NoMatch(_)) {
        os_error = Some(io::ErrorKind::NotFound);
    }
    match os_error {
        Some(kind) => io::Error::new(kind, text).into(),
        None => CaptureError::new_err(text),
    }
}

/// Returns the exception for an error of a store: the matching `OSError` subclass if its cause is an
/// error of the operating system, otherwise `StoreError`.
pub(crate) fn from_store(error: &skylib::store::StoreError) -> PyErr {
    let mut text = error.to_string();
    let mut kind = None;
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        let system = error.downcast_ref::<io::Error>();
        kind = system
            .filter(|error| error.raw_os_error().is_some())
            .map(io::Error::kind)
            .or(kind);
        cause = error.source();
    }
    match kind {
        Some(kind) => io::Error::new(kind, text).into(),
        None => StoreError::new_err(text),
    }
}
