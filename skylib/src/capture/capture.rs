//! `Capture`: one source driven into one flow table on a thread of its own.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};

use super::{Batch, CaptureError, CaptureStats, PacketSource, Waker};
use crate::flow::{
    FlowQuery, FlowQueryError, FlowScan, FlowSet, FlowSink, FlowSource, FlowTable, FlowTableStats,
};
use crate::time::Clock;

/// A running capture: packets of one source become flows of one table, on a thread of its own.
///
/// The table's timers follow the clock. Flows go to the sink on that thread; a sink that blocks
/// makes the source drop packets, which is counted. Dropping a capture stops it.
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
    thread: Option<JoinHandle<Result<CaptureReport, CaptureError>>>,
}

/// What a capture has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaptureReport {
    /// Of the source.
    pub packets: CaptureStats,
    /// Of the table.
    pub flows: FlowTableStats,
}

impl Capture {
    /// Starts a thread of a name; it ends when the source does, or is stopped.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(
        name: &str,
        source: impl PacketSource + 'static,
        table: FlowTable,
        sink: impl FlowSink + Send + 'static,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let (questions, asked) = bounded(QUESTIONS);
        let stop = Arc::new(AtomicBool::new(false));
        let handle = CaptureHandle {
            questions,
            waker: source.waker(),
        };
        let worker = Worker {
            source,
            table,
            sink,
            clock,
            asked,
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

    /// Asks this capture from anywhere; stays valid, without answers, when the capture ends.
    #[must_use]
    pub const fn handle(&self) -> &CaptureHandle {
        &self.handle
    }

    /// Whether the source has come to its end, or failed; [`Capture::stop`] tells which.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Asks the capture to end without waiting for it, so that many end at once; [`Capture::stop`]
    /// waits then.
    pub fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.handle.waker.wake();
    }

    /// Ends the capture: packets that wait in the source are still counted, then all flows go to
    /// the sink.
    ///
    /// # Errors
    /// Why the source could not go on, if it had ended by itself.
    ///
    /// # Panics
    /// When the sink panicked.
    pub fn stop(mut self) -> Result<CaptureReport, CaptureError> {
        self.ask_to_stop();
        self.join()
    }

    /// Waits for the source to end by itself.
    ///
    /// # Errors
    /// Why the source could not go on.
    ///
    /// # Panics
    /// When the sink panicked.
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
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.ask_to_stop();
            // A panic of the thread has been printed; another one here would end the process.
            thread.join().ok();
        }
    }
}

/// The way to ask a running capture, for any thread.
#[derive(Clone, Debug)]
pub struct CaptureHandle {
    questions: Sender<Question>,
    waker: Waker,
}

impl CaptureHandle {
    /// Asks for flows without waiting for them, so that many captures can be asked at once.
    ///
    /// Waits only when the capture has 64 questions before this one, and at most for `patience`.
    ///
    /// # Errors
    /// [`FlowQueryError::Source`] when it does not take the question in that time.
    pub fn ask(
        &self,
        query: &FlowQuery,
        patience: Duration,
    ) -> Result<PendingFlows, FlowQueryError> {
        self.scan(FlowScan::new(query.clone()), patience)
    }

    /// Asks how many flows there are, likewise.
    ///
    /// # Errors
    /// As [`CaptureHandle::ask`].
    pub fn ask_count(
        &self,
        query: &FlowQuery,
        patience: Duration,
    ) -> Result<PendingFlows, FlowQueryError> {
        self.scan(FlowScan::count(query.clone()), patience)
    }

    fn scan(&self, scan: FlowScan, patience: Duration) -> Result<PendingFlows, FlowQueryError> {
        let (reply, pending) = bounded(1);
        match self
            .questions
            .send_timeout(Question::Flows(Box::new(scan), reply), patience)
        {
            Ok(()) => {
                self.waker.wake();
                Ok(PendingFlows(pending))
            }
            Err(SendTimeoutError::Timeout(_)) => Err(failure("too many questions")),
            // It was stopped: a table that is gone has no flows.
            Err(SendTimeoutError::Disconnected(_)) => Ok(PendingFlows(pending)),
        }
    }

    /// What the capture has seen; none when it has ended or does not answer within `patience`.
    #[must_use]
    pub fn report(&self, patience: Duration) -> Option<CaptureReport> {
        self.ask_report()?.wait(patience)
    }

    /// Asks what the capture has seen without waiting, so that many captures can be asked at once;
    /// none when it has ended or has 64 questions before this one.
    #[must_use]
    pub fn ask_report(&self) -> Option<PendingReport> {
        let (reply, pending) = bounded(1);
        self.questions.try_send(Question::Report(reply)).ok()?;
        self.waker.wake();
        Some(PendingReport(pending))
    }
}

impl FlowSource for CaptureHandle {
    /// Waits for the answer for ten seconds.
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        self.ask(query, PATIENCE)?.wait(PATIENCE)
    }

    fn count(&self, query: &FlowQuery) -> Result<u64, FlowQueryError> {
        self.ask_count(query, PATIENCE)?.wait_count(PATIENCE)
    }
}

/// An answer on its way. What costs time, such as sorting, is done by whoever waits for it.
#[derive(Debug)]
pub struct PendingFlows(Receiver<Box<FlowScan>>);

impl PendingFlows {
    /// The answer; that of a capture which has ended is empty.
    ///
    /// # Errors
    /// The table's, or [`FlowQueryError::Source`] when it takes longer than `patience`.
    pub fn wait(self, patience: Duration) -> Result<FlowSet, FlowQueryError> {
        self.scan(patience)?
            .map_or_else(|| Ok(FlowSet::default()), |scan| scan.into_flows())
    }

    /// How many flows the answer has, for [`CaptureHandle::ask_count`].
    ///
    /// # Errors
    /// As [`PendingFlows::wait`].
    pub fn wait_count(self, patience: Duration) -> Result<u64, FlowQueryError> {
        self.scan(patience)?.map_or(Ok(0), |scan| scan.into_count())
    }

    /// The finished scan; none when the capture has ended.
    fn scan(self, patience: Duration) -> Result<Option<Box<FlowScan>>, FlowQueryError> {
        match self.0.recv_timeout(patience) {
            Ok(scan) => Ok(Some(scan)),
            Err(RecvTimeoutError::Timeout) => Err(failure("no answer in time")),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
        }
    }
}

/// What a capture has seen, on its way.
#[derive(Debug)]
pub struct PendingReport(Receiver<CaptureReport>);

impl PendingReport {
    /// The answer; none when the capture has ended or does not answer within `patience`.
    #[must_use]
    pub fn wait(self, patience: Duration) -> Option<CaptureReport> {
        self.0.recv_timeout(patience).ok()
    }
}

#[derive(Debug)]
enum Question {
    Flows(Box<FlowScan>, Sender<Box<FlowScan>>),
    Report(Sender<CaptureReport>),
}

struct Worker<P, S> {
    source: P,
    table: FlowTable,
    sink: S,
    clock: Arc<dyn Clock>,
    asked: Receiver<Question>,
    /// Questions that are being answered, a stretch at a time.
    scans: VecDeque<(Box<FlowScan>, Sender<Box<FlowScan>>)>,
    stop: Arc<AtomicBool>,
}

impl<P: PacketSource, S: FlowSink> Worker<P, S> {
    fn run(mut self) -> Result<CaptureReport, CaptureError> {
        let outcome = self.work();
        while !self.scans.is_empty() {
            self.scan();
        }
        self.table.flush(&mut self.sink);
        outcome.map(|()| self.report())
    }

    fn work(&mut self) -> Result<(), CaptureError> {
        while !self.stop.load(Ordering::Relaxed) {
            self.table.tick(self.clock.now(), &mut self.sink);
            self.listen();
            self.scan();
            // While somebody waits for an answer, only packets that are there come before it.
            let wait = if self.scans.is_empty() {
                TICK
            } else {
                Duration::ZERO
            };
            match self.source.next_batch(wait)? {
                Batch::Packets(batch) => self.table.process(&batch),
                Batch::Timeout => {}
                Batch::End => return Ok(()),
            }
        }
        self.take_rest()
    }

    /// Packets that came before the stop and wait in the source.
    fn take_rest(&mut self) -> Result<(), CaptureError> {
        for _ in 0..REST {
            match self.source.next_batch(LAST_WAIT)? {
                Batch::Packets(batch) => self.table.process(&batch),
                Batch::Timeout | Batch::End => break,
            }
        }
        Ok(())
    }

    /// Takes questions, as many as are answered at a time.
    fn listen(&mut self) {
        while self.scans.len() < SCANS
            && let Ok(question) = self.asked.try_recv()
        {
            match question {
                Question::Flows(scan, reply) => self.scans.push_back((scan, reply)),
                // Whoever asked may have given up; then nobody misses the answer.
                Question::Report(reply) => _ = reply.send(self.report()),
            }
        }
    }

    /// Goes on with one of the questions.
    fn scan(&mut self) {
        if let Some((mut scan, reply)) = self.scans.pop_front() {
            if self.table.scan(&mut scan, STRETCH) {
                reply.send(scan).ok();
            } else {
                self.scans.push_back((scan, reply));
            }
        }
    }

    fn report(&mut self) -> CaptureReport {
        CaptureReport {
            packets: self.source.stats(),
            flows: self.table.stats(),
        }
    }
}

fn failure(reason: &str) -> FlowQueryError {
    FlowQueryError::Source {
        reason: reason.to_owned(),
    }
}

/// Questions that may wait for one capture.
const QUESTIONS: usize = 64;

/// Of these, answered at the same time.
const SCANS: usize = 4;

/// Entries of the table looked at between two batches of packets: about a millisecond's work.
const STRETCH: u32 = 1024;

/// How long the table's timers may be late.
const TICK: Duration = Duration::from_millis(200);

/// Longer than a ring keeps a block that is not full.
const LAST_WAIT: Duration = Duration::from_millis(20);

/// Batches taken after a stop; a source that never ends must not keep the capture from doing so.
const REST: usize = 256;

const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
