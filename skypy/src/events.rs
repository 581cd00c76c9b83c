//! `Events`: the changes of a graph, as an iterator that waits for them.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use pyo3::prelude::*;
use skylib::engine::Subscription;
use skylib::proto::{BroadcastMessage, Encoding, UpdatePolicy};

use crate::flow::loads;
use crate::signals;

/// Changes of a graph, in order: an iterator of dicts with `Type` and `Obj`.
///
/// The iterator ends with the analyzer, or if the program reads so slowly that 100 000 changes
/// wait.
#[pyclass(frozen, module = "skypy")]
pub(crate) struct Events {
    messages: Mutex<Subscription<BroadcastMessage>>,
}

impl Events {
    /// Creates the iterator.
    pub(crate) fn new(messages: Subscription<BroadcastMessage>) -> Self {
        Self {
            messages: Mutex::new(messages),
        }
    }
}

#[pymethods]
impl Events {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let message = py.detach(|| {
            let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
            wait(messages.next())
        })?;
        let Some(message) = message else {
            return Ok(None);
        };
        let json = message.encoded(Encoding::Json, UpdatePolicy::Full);
        loads(py, &json).map(Some)
    }
}

/// Waits in this thread for a future; a signal such as Ctrl-C ends the wait.
fn wait<T>(future: impl Future<Output = T>) -> PyResult<T> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Ok(value);
        }
        thread::park_timeout(SIGNAL_INTERVAL);
        signals::check()?;
    }
}

/// Wakes a waiting thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Interval between checks for a signal such as Ctrl-C.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(100);
