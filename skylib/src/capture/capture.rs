//! `Capture`: a thread that reads packets from one source into one flow table.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam_channel::bounded;

use super::worker::Worker;
use super::{CaptureError, CaptureHandle, CaptureStats, PacketSource};
use crate::flow::{FlowSink, FlowTable, FlowTableStats};
use crate::time::Clock;

/// Running capture: a thread that converts the packets of one source to flows of one table.
///
/// The table's timers follow the system clock. The thread passes flows to the sink; while the sink
/// blocks, the source may drop packets, which [`CaptureStats::dropped`] counts. Dropping a capture
/// stops it.
///
/// ```no_run
/// use std::sync::Arc;
/// use skylib::capture::{AfPacket, CaptureOptions};
/// use skylib::flow::{Flow, FlowQuery, FlowSink, FlowSource, FlowTableOptions};
/// use skylib::time::SystemClock;
/// use skylib::{Capture, FlowTable};
///
/// struct Printer;
/// impl FlowSink for Printer {
///     fn flows(&mut self, flows: Vec<Flow>) {
///         for flow in flows {
///             println!("{} {}", flow.uuid, flow.layers_path);
///         }
///     }
/// }
///
/// let source = AfPacket::open(&CaptureOptions::new("eth0"))?;
/// let table = FlowTable::new(FlowTableOptions::default());
/// let capture = Capture::start("eth0", source, table, Printer, Arc::new(SystemClock))?;
/// let flows = capture.handle().query(&FlowQuery::default())?;
/// println!("{} flows so far", flows.flows.len());
/// println!("{:?}", capture.stop()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Capture {
    handle: CaptureHandle,
    stop: Arc<AtomicBool>,
    /// `None` once the thread has been joined.
    thread: Option<JoinHandle<Result<CaptureReport, CaptureError>>>,
}

/// Counters of a capture since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaptureReport {
    /// Counters of the packet source.
    pub packets: CaptureStats,
    /// Counters of the flow table.
    pub flows: FlowTableStats,
}

impl Capture {
    /// Starts a capture on a new thread named `capture <name>`, which ends when the source ends or
    /// the capture is stopped.
    ///
    /// # Errors
    /// Returns an error if the operating system cannot create the thread.
    pub fn start(
        name: &str,
        source: impl PacketSource + 'static,
        table: FlowTable,
        sink: impl FlowSink + Send + 'static,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let (requests, received_requests) = bounded(super::handle::QUEUED_REQUESTS);
        let stop = Arc::new(AtomicBool::new(false));
        let handle = CaptureHandle::new(requests, source.waker());
        let worker = Worker {
            source,
            table,
            sink,
            clock,
            requests: received_requests,
            scans: VecDeque::new(),
            stop: Arc::clone(&stop),
        };
        let builder = thread::Builder::new().name(format!("capture {name}"));
        let thread = Some(builder.spawn(move || worker.run())?);
        Ok(Self {
            handle,
            stop,
            thread,
        })
    }

    /// Returns the handle through which any thread can query this capture. The handle remains valid
    /// after the capture has ended; its queries then return no flows.
    #[must_use]
    pub const fn handle(&self) -> &CaptureHandle {
        &self.handle
    }

    /// Returns whether the source has ended or failed; [`Capture::stop`] returns the error, if any.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Requests the end of the capture without waiting for it, so that several captures can end
    /// concurrently. Call [`Capture::stop`] to wait.
    pub fn request_stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.handle.wake();
    }

    /// Stops the capture: counts the packets still waiting in the source, then passes all flows to
    /// the sink. Returns the final counters.
    ///
    /// # Errors
    /// Returns the source's error if the source has failed.
    ///
    /// # Panics
    /// Resumes the panic of the capture thread, for example if the sink panicked.
    pub fn stop(mut self) -> Result<CaptureReport, CaptureError> {
        self.request_stop();
        self.join()
    }

    /// Waits until the source ends on its own. Returns the final counters.
    ///
    /// # Errors
    /// Returns the source's error if the source failed.
    ///
    /// # Panics
    /// Resumes the panic of the capture thread, for example if the sink panicked.
    pub fn wait(mut self) -> Result<CaptureReport, CaptureError> {
        self.join()
    }

    fn join(&mut self) -> Result<CaptureReport, CaptureError> {
        let Some(thread) = self.thread.take() else {
            return Ok(CaptureReport::default());
        };
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Capture {
    /// Stops the capture and waits for its thread.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.request_stop();
            // A panic of the thread has been printed; another panic here would abort the process.
            thread.join().ok();
        }
    }
}
