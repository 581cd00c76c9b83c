//! `CaptureHandle`: queries of a running capture from other threads, over a bounded queue of
//! requests.

use std::time::Duration;

use crossbeam_channel::{
    Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError, bounded,
};

use super::{CaptureReport, Waker};
use crate::flow::{FlowQuery, FlowQueryError, FlowScan, FlowSet, FlowSource};

/// Handle through which any thread can access a running capture: a [`FlowSource`] over the
/// capture's flow table.
#[derive(Clone, Debug)]
pub struct CaptureHandle {
    requests: Sender<Request>,
    waker: Waker,
}

/// Request to a capture thread, with the channel for the response.
#[derive(Debug)]
pub(super) enum Request {
    /// Scan of the flow table.
    Flows(Box<FlowScan>, Sender<Box<FlowScan>>),
    /// Counters of the capture.
    Report(Sender<CaptureReport>),
}

impl CaptureHandle {
    /// Creates a handle that sends requests to a channel and wakes the capture's source.
    pub(super) const fn new(requests: Sender<Request>, waker: Waker) -> Self {
        Self { requests, waker }
    }

    /// Ends the source's current wait.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// Returns the number of requests that the capture has not accepted yet.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.requests.len()
    }

    /// Starts a flow query without waiting for its result, so that many captures can be queried
    /// concurrently.
    ///
    /// Waits only while 64 earlier requests are queued, for at most `timeout`.
    ///
    /// # Errors
    /// Returns [`FlowQueryError::Source`] if the queue remains full for `timeout`.
    pub fn start_query(
        &self,
        query: &FlowQuery,
        timeout: Duration,
    ) -> Result<PendingFlows, FlowQueryError> {
        self.scan(FlowScan::new(query.clone()), timeout)
    }

    /// Starts counting the flows that match a query, without waiting for the result; see
    /// [`CaptureHandle::start_query`].
    ///
    /// # Errors
    /// Returns [`FlowQueryError::Source`] if the queue remains full for `timeout`.
    pub fn start_count(
        &self,
        query: &FlowQuery,
        timeout: Duration,
    ) -> Result<PendingFlows, FlowQueryError> {
        self.scan(FlowScan::count(query.clone()), timeout)
    }

    fn scan(&self, scan: FlowScan, timeout: Duration) -> Result<PendingFlows, FlowQueryError> {
        let (reply, pending) = bounded(1);
        match self
            .requests
            .send_timeout(Request::Flows(Box::new(scan), reply), timeout)
        {
            Ok(()) => {
                self.waker.wake();
                Ok(PendingFlows::new(pending))
            }
            Err(SendTimeoutError::Timeout(_)) => Err(failure(&format!(
                "the queue of a capture is full ({QUEUED_REQUESTS} requests); repeat the query"
            ))),
            // The capture has ended: its table, which no longer exists, has no flows.
            Err(SendTimeoutError::Disconnected(_)) => Ok(PendingFlows::new(pending)),
        }
    }

    /// Returns the capture's counters; `None` if the capture has ended or does not respond within
    /// `timeout`.
    #[must_use]
    pub fn report(&self, timeout: Duration) -> Option<CaptureReport> {
        self.start_report()?.wait(timeout)
    }

    /// Requests the capture's counters without waiting for them, so that many captures can be
    /// queried concurrently. Returns `None` if the capture has ended or has 64 queued requests.
    #[must_use]
    pub fn start_report(&self) -> Option<PendingReport> {
        let (reply, pending) = bounded(1);
        self.requests.try_send(Request::Report(reply)).ok()?;
        self.waker.wake();
        Some(PendingReport(pending))
    }
}

impl FlowSource for CaptureHandle {
    /// Returns the flows that match a query. Waits for the result for at most ten seconds.
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        self.start_query(query, TIMEOUT)?.wait(TIMEOUT)
    }

    /// Returns the number of flows that match a query. Waits for the result for at most ten
    /// seconds.
    fn count(&self, query: &FlowQuery) -> Result<u64, FlowQueryError> {
        self.start_count(query, TIMEOUT)?.wait_count(TIMEOUT)
    }
}

/// Pending result of a flow query. Expensive work, such as sorting, is done by the thread that
/// waits for the result, not by the capture thread.
#[derive(Debug)]
pub struct PendingFlows {
    answer: Receiver<Box<FlowScan>>,
    /// Finished scan, once received.
    scan: Option<Box<FlowScan>>,
}

impl PendingFlows {
    /// Creates a pending result that arrives on a channel.
    pub(super) const fn new(answer: Receiver<Box<FlowScan>>) -> Self {
        Self { answer, scan: None }
    }

    /// Returns the flows; none if the capture has ended.
    ///
    /// # Errors
    /// Returns the table's error, or [`FlowQueryError::Source`] if the capture does not respond
    /// within `timeout`.
    pub fn wait(mut self, timeout: Duration) -> Result<FlowSet, FlowQueryError> {
        match self.receive(timeout) {
            true => self.into_flows(),
            false => Err(Self::no_answer()),
        }
    }

    /// Returns the number of flows, for [`CaptureHandle::start_count`].
    ///
    /// # Errors
    /// Returns the errors of [`PendingFlows::wait`].
    pub fn wait_count(mut self, timeout: Duration) -> Result<u64, FlowQueryError> {
        match self.receive(timeout) {
            true => self.into_count(),
            false => Err(Self::no_answer()),
        }
    }

    /// Waits for the answer for at most `timeout`. Returns whether it arrived or the capture has
    /// ended.
    pub(crate) fn receive(&mut self, timeout: Duration) -> bool {
        // Even without time to wait, `recv_timeout` would yield the processor several times.
        let received = match timeout.is_zero() {
            true => self.answer.try_recv().map_err(|error| match error {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            }),
            false => self.answer.recv_timeout(timeout),
        };
        match received {
            Ok(scan) => self.scan = Some(scan),
            Err(RecvTimeoutError::Disconnected) => {}
            Err(RecvTimeoutError::Timeout) => return false,
        }
        true
    }

    /// Returns the error of a table that does not answer in time.
    pub(crate) fn no_answer() -> FlowQueryError {
        failure("the capture did not answer the flow query before the timeout")
    }

    /// Returns the received flows; none if the capture has ended.
    pub(crate) fn into_flows(self) -> Result<FlowSet, FlowQueryError> {
        self.scan
            .map_or_else(|| Ok(FlowSet::default()), |scan| scan.into_flows())
    }

    /// Returns the received number of flows; 0 if the capture has ended.
    pub(crate) fn into_count(self) -> Result<u64, FlowQueryError> {
        self.scan.map_or(Ok(0), |scan| scan.into_count())
    }
}

/// Pending counters of a capture.
#[derive(Debug)]
pub struct PendingReport(Receiver<CaptureReport>);

impl PendingReport {
    /// Returns the counters; `None` if the capture has ended or does not respond within `timeout`.
    #[must_use]
    pub fn wait(self, timeout: Duration) -> Option<CaptureReport> {
        self.0.recv_timeout(timeout).ok()
    }
}

fn failure(reason: &str) -> FlowQueryError {
    FlowQueryError::Source {
        reason: reason.to_owned(),
    }
}

/// Maximum number of requests queued for one capture.
pub(super) const QUEUED_REQUESTS: usize = 64;

/// Timeout of [`FlowSource`] queries.
const TIMEOUT: Duration = Duration::from_secs(10);
