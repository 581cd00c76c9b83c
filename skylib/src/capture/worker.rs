//! Thread of a capture. It alternates between batches of packets, timers, and short batches of
//! query work, so that a long query never delays packets by more than about a millisecond.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::handle::Request;
use super::steady_clock::SteadyClock;
use super::{Batch, CaptureError, CaptureReport, PacketSource};
use crate::flow::{FlowScan, FlowSink, FlowTable};
use crate::time::Clock;

/// State of a capture thread.
pub(super) struct Worker<P, S> {
    pub(super) source: P,
    pub(super) table: FlowTable,
    pub(super) sink: S,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) requests: Receiver<Request>,
    /// Accepted queries, served round-robin: `scans.len() <= CONCURRENT_SCANS`.
    pub(super) scans: VecDeque<(Box<FlowScan>, Sender<Box<FlowScan>>)>,
    pub(super) stop: Arc<AtomicBool>,
}

impl<P: PacketSource, S: FlowSink> Worker<P, S> {
    /// Captures until the source ends or fails, or a stop is requested; then answers the accepted
    /// queries and passes all flows to the sink. Returns the final counters.
    pub(super) fn run(mut self) -> Result<CaptureReport, CaptureError> {
        self.table.set_capture_points(self.source.capture_points());
        let outcome = self.work();
        while !self.scans.is_empty() {
            self.scan();
        }
        self.table.flush(&mut self.sink);
        outcome.map(|()| self.report())
    }

    fn work(&mut self) -> Result<(), CaptureError> {
        let clock = Arc::clone(&self.clock);
        let mut steady = SteadyClock::new(&*clock);
        let mut now = steady.read(&*clock, &mut self.table);
        while !self.stop.load(Ordering::Relaxed) {
            self.table.tick(now, &mut self.sink);
            self.accept_requests();
            self.scan();
            // A pending query must not wait for packets that have not arrived yet.
            let wait = if self.scans.is_empty() {
                TICK
            } else {
                Duration::ZERO
            };
            let batch = self.source.next_batch(wait)?;
            now = steady.read(&*clock, &mut self.table);
            match batch {
                Batch::Packets(batch) => steady.count(&batch, &mut self.table),
                Batch::Timeout => steady.settle(&mut self.table),
                Batch::End => return Ok(()),
            }
        }
        self.drain_source(&mut steady)
    }

    /// Counts the packets that arrived before the stop and are still in the source.
    fn drain_source(&mut self, steady: &mut SteadyClock) -> Result<(), CaptureError> {
        for _ in 0..MAX_DRAINED_BATCHES {
            match self.source.next_batch(LAST_WAIT)? {
                Batch::Packets(batch) => steady.count(&batch, &mut self.table),
                Batch::Timeout | Batch::End => break,
            }
        }
        Ok(())
    }

    /// Accepts queued requests while fewer than [`CONCURRENT_SCANS`] queries are in progress.
    fn accept_requests(&mut self) {
        while self.scans.len() < CONCURRENT_SCANS
            && let Ok(request) = self.requests.try_recv()
        {
            match request {
                Request::Flows(scan, reply) => self.scans.push_back((scan, reply)),
                // The receiver is missing if the requester has timed out; the report is then not
                // needed.
                Request::Report(reply) => _ = reply.send(self.report()),
            }
        }
    }

    /// Continues the next query, round-robin, by [`SCAN_BATCH`] table entries.
    pub(super) fn scan(&mut self) {
        if let Some((mut scan, reply)) = self.scans.pop_front() {
            if self.table.scan(&mut scan, SCAN_BATCH) {
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

/// Maximum number of queries of one capture that are processed concurrently.
const CONCURRENT_SCANS: usize = 4;

/// Number of table entries scanned between two batches of packets: about a millisecond of work.
const SCAN_BATCH: u32 = 1024;

/// Maximum delay of the table's timers.
const TICK: Duration = Duration::from_millis(200);

/// Time to wait for the last packets after a stop; longer than the time for which a ring retains a
/// block that is not full.
const LAST_WAIT: Duration = Duration::from_millis(20);

/// Maximum number of batches read after a stop, so that a source that never pauses cannot prevent
/// the stop.
const MAX_DRAINED_BATCHES: usize = 256;
