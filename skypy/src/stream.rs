//! `FlowStream`: flows that are consumed while the capture files are read, in bounded memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PyCapsule;
use skylib::capture::{CaptureError, PacketSource, Replay};
use skylib::flow::{Flow, FlowSink};

use crate::arrow::{self, BatchBuilder};
use crate::error::from_capture;
use crate::flow::to_dict;
use crate::signals;

/// Flows of capture files, or of a history, while they are read: an iterator of dicts, or an Arrow stream.
///
/// A thread reads the files; it waits while the flows that have not been consumed exceed a limit.
/// Each flow can be consumed once.
#[pyclass(frozen, module = "skypy")]
pub(crate) struct FlowStream {
    flows: Untaken,
}

/// Flows that have not been consumed; `None` after their end, or if an Arrow stream has consumed
/// them.
type Untaken = Arc<Mutex<Option<Incoming>>>;

/// Receiving end of the channel from the thread that reads the files.
struct Incoming {
    messages: Receiver<Message>,
    /// Flows of the last message, in reverse order.
    flows: Vec<Flow>,
    stop: Arc<AtomicBool>,
}

enum Message {
    Flows(Vec<Flow>),
    Error(PyErr),
}

impl FlowStream {
    /// Starts to read a source, which is opened in the calling thread so that its errors raise
    /// exceptions.
    pub(crate) fn start(mut source: Box<dyn PacketSource>, replay: Replay) -> PyResult<Self> {
        Self::produce(move |sink, proceed| {
            let outcome = replay.run_while(&mut *source, sink, proceed);
            outcome
                .map(drop)
                .map_err(|error| from_capture(CaptureError::from(error)))
        })
    }

    /// Starts a thread in which `work` passes flows to a sink, while the function that it receives
    /// returns `true`.
    pub(crate) fn produce(
        work: impl FnOnce(&mut Outgoing, &(dyn Fn() -> bool + Sync)) -> PyResult<()> + Send + 'static,
    ) -> PyResult<Self> {
        let (sender, messages) = sync_channel(QUEUED_MESSAGES);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::Builder::new()
            .name("skypy flows".to_owned())
            .spawn(move || {
                let mut sink = Outgoing {
                    sender,
                    flows: Vec::new(),
                    stop: Arc::clone(&stopped),
                };
                let proceed = || !stopped.load(Ordering::Relaxed);
                // Without a message, a panic would look like the end of the flows.
                let outcome = catch_unwind(AssertUnwindSafe(|| work(&mut sink, &proceed)));
                let outcome = outcome.unwrap_or_else(|_| {
                    Err(PyRuntimeError::new_err(
                        "internal error: reading the packets panicked",
                    ))
                });
                sink.send();
                if let Err(error) = outcome {
                    // Fails if the stream has been dropped; then the error is not needed.
                    sink.sender.send(Message::Error(error)).ok();
                }
            })?;
        Ok(Self {
            flows: Arc::new(Mutex::new(Some(Incoming {
                messages,
                flows: Vec::new(),
                stop,
            }))),
        })
    }
}

#[pymethods]
impl FlowStream {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let flow = py.detach(|| {
            let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(incoming) = flows.as_mut() else {
                return Ok(None);
            };
            let flow = incoming.next_flow();
            // Nothing follows the end or an error.
            if !matches!(flow, Ok(Some(_))) {
                *flows = None;
            }
            flow
        })?;
        flow.map(|flow| Ok(to_dict(py, &flow)?.into_any()))
            .transpose()
    }

    /// Returns the remaining flows as an Arrow stream, whose batches are read from the files on demand.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // A consumer may request another schema; it must then convert the result itself.
        drop(requested_schema);
        if lock(&self.flows, py).is_none() {
            return Err(PyValueError::new_err(TAKEN));
        }
        let batches = Batches {
            untaken: Some(Arc::clone(&self.flows)),
            incoming: None,
            failure: None,
        };
        arrow::capsule(py, batches)
    }
}

/// Locks the flows. A thread that waits for flows holds this lock and polls for signals, for which
/// it needs the interpreter lock. Therefore, no thread may hold the interpreter lock while it waits
/// for this lock.
fn lock<'a>(
    flows: &'a Mutex<Option<Incoming>>,
    py: Python<'_>,
) -> MutexGuard<'a, Option<Incoming>> {
    let guard = flows.lock_py_attached(py);
    guard.unwrap_or_else(PoisonError::into_inner)
}

impl Incoming {
    fn next_flow(&mut self) -> PyResult<Option<Flow>> {
        if self.flows.is_empty() {
            let Some(flows) = self.receive()? else {
                return Ok(None);
            };
            self.flows = flows;
            self.flows.reverse();
        }
        Ok(self.flows.pop())
    }

    /// Waits for the next message, without the interpreter lock; `None` at the end.
    fn receive(&mut self) -> PyResult<Option<Vec<Flow>>> {
        loop {
            match self.messages.recv_timeout(SIGNAL_INTERVAL) {
                Ok(Message::Flows(flows)) => return Ok(Some(flows)),
                Ok(Message::Error(error)) => return Err(error),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => signals::check()?,
            }
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Sink of the thread that reads the files.
pub(crate) struct Outgoing {
    sender: SyncSender<Message>,
    flows: Vec<Flow>,
    stop: Arc<AtomicBool>,
}

impl Outgoing {
    fn send(&mut self) {
        if self.flows.is_empty() {
            return;
        }
        let flows = Message::Flows(std::mem::take(&mut self.flows));
        if self.sender.send(flows).is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

impl FlowSink for Outgoing {
    fn flows(&mut self, mut flows: Vec<Flow>) {
        if self.flows.is_empty() {
            self.flows = flows;
        } else {
            self.flows.append(&mut flows);
        }
        if self.flows.len() >= MESSAGE_FLOWS {
            self.send();
        }
    }
}

/// Arrow batches of a stream.
struct Batches {
    /// Flows, until the first batch is requested: a consumer may need only the schema.
    untaken: Option<Untaken>,
    incoming: Option<Incoming>,
    /// Error after the flows of the last batch.
    failure: Option<PyErr>,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(untaken) = self.untaken.take() {
            self.incoming = Python::attach(|py| lock(&untaken, py).take());
            if self.incoming.is_none() {
                return Some(Err(ArrowError::InvalidArgumentError(TAKEN.to_owned())));
            }
        }
        self.incoming.as_ref()?;
        let mut batch = BatchBuilder::new(arrow::FLOWS);
        while batch.len() < arrow::BATCH_ROWS {
            match self.receive() {
                Ok(Some(flows)) => {
                    if let Err(error) = batch.append(&flows) {
                        return Some(Err(error));
                    }
                }
                // The flows before an error are a batch of their own.
                Err(error) if batch.len() > 0 => {
                    self.failure = Some(error);
                    break;
                }
                Err(error) => {
                    self.incoming = None;
                    return Some(Err(ArrowError::ExternalError(Box::new(error))));
                }
                Ok(None) => {
                    self.incoming = None;
                    break;
                }
            }
        }
        (batch.len() > 0).then(|| batch.finish())
    }
}

impl Batches {
    /// Waits for the next flows; `None` at the end.
    fn receive(&mut self) -> PyResult<Option<Vec<Flow>>> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        let Some(incoming) = &mut self.incoming else {
            return Ok(None);
        };
        // The consumer may hold the interpreter lock, which is needed to read a Python file object.
        Python::attach(|py| py.detach(|| incoming.receive()))
    }
}

impl RecordBatchReader for Batches {
    fn schema(&self) -> SchemaRef {
        arrow::schema(arrow::FLOWS)
    }
}

const TAKEN: &str = "the flows of this stream have been taken: read the file again";

/// Minimum number of flows in a message, except the last message.
const MESSAGE_FLOWS: usize = 1 << 10;

/// Maximum number of messages that wait for the consumer.
const QUEUED_MESSAGES: usize = 8;

/// Interval between checks for a signal such as Ctrl-C.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(100);
