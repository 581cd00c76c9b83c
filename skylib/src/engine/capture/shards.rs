//! `Shards`: the threads of one capture, which share the packets of an interface by flow.

use std::time::Duration;

use crate::capture::{Capture, CaptureError, CaptureReport, PendingReport};

/// One or more threads with a packet source and a flow table each. Their counters are shown as one.
pub(super) struct Shards(pub(super) Vec<Capture>);

/// Pending counters of all threads.
pub(super) struct PendingReports(Vec<PendingReport>);

impl Shards {
    /// Requests the end of all threads without waiting for it.
    pub(super) fn request_stop(&self) {
        self.0.iter().for_each(Capture::request_stop);
    }

    /// Returns whether a thread has ended, so that the capture is incomplete.
    pub(super) fn is_finished(&self) -> bool {
        self.0.iter().any(Capture::is_finished)
    }

    /// Requests the counters without waiting for them; `None` if a thread cannot answer.
    pub(super) fn start_report(&self) -> Option<PendingReports> {
        let reports = self.0.iter().map(|capture| capture.handle().start_report());
        reports.collect::<Option<_>>().map(PendingReports)
    }

    /// Ends all threads, and returns the sum of their final counters.
    ///
    /// # Errors
    /// Returns the first error of a thread.
    pub(super) fn stop(self) -> Result<CaptureReport, CaptureError> {
        self.request_stop();
        let mut sum = CaptureReport::default();
        let mut failed = None;
        for capture in self.0 {
            match capture.stop() {
                Ok(report) => add(&mut sum, &report),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(sum), Err)
    }
}

impl PendingReports {
    /// Returns the sum of the counters; `None` if a thread does not answer within `timeout`.
    pub(super) fn wait(self, timeout: Duration) -> Option<CaptureReport> {
        let mut sum = CaptureReport::default();
        for report in self.0 {
            add(&mut sum, &report.wait(timeout)?);
        }
        Some(sum)
    }
}

fn add(sum: &mut CaptureReport, report: &CaptureReport) {
    sum.packets.received += report.packets.received;
    sum.packets.dropped += report.packets.dropped;
    sum.packets.if_dropped += report.packets.if_dropped;
    sum.flows += report.flows;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_all_threads_are_added() {
        let (mut sum, mut report) = (CaptureReport::default(), CaptureReport::default());
        (report.packets.received, report.packets.dropped) = (10, 1);
        report.flows.flows = 3;
        add(&mut sum, &report);
        add(&mut sum, &report);
        assert_eq!((sum.packets.received, sum.packets.dropped), (20, 2));
        assert_eq!(sum.flows.flows, 6);
    }
}
