//! `Writer`: records the packets of one ring to files, and is a pass-through source for flow
//! tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::SppError;
use super::recorder::Recorder;
use super::writer_stats::WriterStats;
use crate::capture::{AfPacket, Batch, CaptureError, CaptureStats, PacketSource, Waker};
use crate::packet::LinkType;
use crate::sys::cpu;

/// Packet source that records each packet that it returns.
///
/// The source ends when a stop is requested or a file cannot be written.
pub(super) struct Writer {
    /// Source of the packets; `None` while the interface does not exist.
    source: Option<AfPacket>,
    link_type: LinkType,
    recorder: Recorder,
    stats: Arc<WriterStats>,
    stop: Arc<AtomicBool>,
    /// Whether the namespace of the source was deleted or replaced.
    namespace_lost: Arc<AtomicBool>,
    events: Sender<Event>,
    /// Channel for new sources after the interface was removed and recreated.
    sources: Receiver<AfPacket>,
    /// Counters of the packet sources that were closed before the current one.
    before: CaptureStats,
    state: WriterState,
    /// Result of the latest read if it returned no packets; handled by the next call, because
    /// returned packets borrow the source.
    outcome: Option<Outcome>,
    /// Dropped when this writer has received its last packet; `all_received` is disconnected once
    /// all writers have dropped their sender.
    received: Option<Sender<()>>,
    all_received: Receiver<()>,
    /// Number of the logical CPU to pin the thread to; `None` once the thread is pinned.
    core: Option<u32>,
}

/// Event for the supervisor.
#[derive(Debug)]
pub(super) enum Event {
    /// A stop was requested.
    Stop,
    /// A writer failed.
    Failed(SppError),
    /// A writer's interface was removed.
    InterfaceRemoved,
}

/// Life cycle of a writer: Working → (DrainingRemoved → Working)* → Draining → Over; failures lead
/// directly to Over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriterState {
    /// Receiving packets, or waiting for the interface to return.
    Working,
    /// Reading the packets left in the ring before the end.
    Draining,
    /// Reading the packets left in the ring of a removed interface.
    DrainingRemoved,
    /// The writer has ended.
    Over,
}

/// Connections of a writer to its recording; see the fields of [`Writer`].
pub(super) struct WriterContext {
    pub(super) stats: Arc<WriterStats>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) namespace_lost: Arc<AtomicBool>,
    pub(super) events: Sender<Event>,
    pub(super) sources: Receiver<AfPacket>,
    pub(super) received: Sender<()>,
    pub(super) all_received: Receiver<()>,
    pub(super) core: Option<u32>,
}

impl Writer {
    /// Creates a writer in the state `Working`.
    pub(super) fn new(source: AfPacket, recorder: Recorder, context: WriterContext) -> Self {
        context.stats.set_waker(source.waker());
        Self {
            link_type: source.link_type(),
            source: Some(source),
            recorder,
            stats: context.stats,
            stop: context.stop,
            namespace_lost: context.namespace_lost,
            events: context.events,
            sources: context.sources,
            before: CaptureStats::default(),
            state: WriterState::Working,
            outcome: None,
            received: Some(context.received),
            all_received: context.all_received,
            core: context.core,
        }
    }

    /// Records packets until a stop is requested or a failure occurs.
    pub(super) fn run(mut self) {
        while matches!(
            self.next_batch(IDLE),
            Ok(Batch::Packets(_) | Batch::Timeout)
        ) {}
    }

    /// Handles a read that returned no packets.
    fn handle_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Idle => {
                self.publish();
                if let Err(error) = self.recorder.write_block() {
                    self.fail(error);
                }
            }
            Outcome::Drained if self.state == WriterState::DrainingRemoved => self.release_source(),
            Outcome::Drained => self.end(),
            Outcome::InterfaceRemoved => self.drain_removed(),
            Outcome::Failed(error) => self.fail(error),
        }
    }

    /// Starts draining the ring of an interface that was removed.
    fn drain_removed(&mut self) {
        if let Some(source) = &mut self.source {
            source.end_intake();
            self.state = WriterState::DrainingRemoved;
        }
    }

    /// Treats the interface as removed if its namespace was.
    fn check_namespace(&mut self) {
        if self.namespace_lost.load(Ordering::Relaxed) && self.state == WriterState::Working {
            self.drain_removed();
        }
    }

    /// Starts draining if a stop has been requested.
    fn check_stop(&mut self) {
        if self.stop.load(Ordering::Relaxed) && self.state == WriterState::Working {
            match &mut self.source {
                Some(source) => {
                    source.end_intake();
                    self.state = WriterState::Draining;
                }
                None => self.end(),
            }
        }
    }

    /// Publishes the counters.
    fn publish(&mut self) {
        let mut stats = self.before;
        if let Some(source) = &mut self.source {
            let of_source = source.stats();
            stats.received += of_source.received;
            stats.dropped += of_source.dropped;
        }
        self.stats.set_packets(stats, self.recorder.written());
    }

    /// Drops the source of a removed interface after its last packets, and reports the removal.
    fn release_source(&mut self) {
        if let Some(mut source) = self.source.take() {
            let stats = source.stats();
            self.before.received += stats.received;
            self.before.dropped += stats.dropped;
        }
        self.publish();
        self.state = WriterState::Working;
        self.events.send(Event::InterfaceRemoved).ok();
    }

    /// Waits for a new source.
    fn wait_for_source(&mut self, wait: Duration) {
        match self.sources.recv_timeout(wait) {
            Ok(source) => {
                self.stats.set_waker(source.waker());
                self.source = Some(source);
            }
            Err(RecvTimeoutError::Timeout) => {}
            // The supervisor drops its end only when the recording ends.
            Err(RecvTimeoutError::Disconnected) => self.stop.store(true, Ordering::Relaxed),
        }
    }

    /// Completes the file after the last packet, then waits until all writers have stopped
    /// receiving: if a socket were closed earlier, the kernel would reassign its flows to the other
    /// writers.
    fn end(&mut self) {
        self.state = WriterState::Over;
        self.received = None;
        if let Err(error) = self.recorder.finish() {
            self.events.send(Event::Failed(error)).ok();
        }
        self.settle();
        self.all_received.recv_timeout(OTHERS_TIMEOUT).ok();
    }

    /// Ends the writer after an error, then waits like [`Writer::end`].
    fn fail(&mut self, error: SppError) {
        self.complete(error);
        self.all_received.recv_timeout(OTHERS_TIMEOUT).ok();
    }

    /// Reports an error, stops receiving, and completes the file if possible.
    fn complete(&mut self, error: SppError) {
        self.state = WriterState::Over;
        self.events.send(Event::Failed(error)).ok();
        if let Some(source) = &mut self.source {
            source.end_intake();
        }
        self.received = None;
        if let Err(error) = self.recorder.finish() {
            tracing::warn!(%error, "cannot complete the last file");
        }
        self.settle();
    }

    /// Counts packets that were received but not written as dropped.
    fn settle(&mut self) {
        self.publish();
        let stats = self.stats.stats();
        let lost = CaptureStats {
            received: stats.rx,
            dropped: stats.rx - stats.written,
            ..CaptureStats::default()
        };
        self.stats.set_packets(lost, stats.written);
    }

    /// Pins the calling thread to the writer's logical CPU, once.
    fn pin(&mut self) {
        if let Some(core) = self.core.take()
            && let Err(error) = cpu::pin(core)
        {
            tracing::warn!(core, %error, "cannot pin the writer to its core; running unpinned");
        }
    }
}

impl Drop for Writer {
    /// Ends the recording with an error if the consumer stops reading early, because this writer's
    /// flows would not be recorded by the other writers.
    fn drop(&mut self) {
        if self.state != WriterState::Over {
            self.complete(SppError::WriterEnded);
        }
    }
}

impl PacketSource for Writer {
    fn link_type(&self) -> LinkType {
        self.link_type
    }

    fn next_batch(&mut self, wait: Duration) -> Result<Batch<'_>, CaptureError> {
        self.pin();
        if let Some(outcome) = self.outcome.take() {
            self.handle_outcome(outcome);
        }
        self.check_stop();
        self.check_namespace();
        if self.state == WriterState::Over {
            return Ok(Batch::End);
        }
        let wait = wait.min(IDLE);
        if self.source.is_none() {
            self.wait_for_source(wait);
        }
        let Some(source) = &mut self.source else {
            return Ok(Batch::Timeout);
        };
        // Other results are handled by the next call, because returned packets borrow the source.
        self.outcome = Some(match source.next_batch(wait) {
            Ok(Batch::Packets(batch)) => {
                let recorder = &mut self.recorder;
                let mut recorded = batch.iter().try_for_each(|packet| recorder.write(&packet));
                if let (Ok(()), Some(last)) = (&recorded, batch.headers.last()) {
                    recorded = recorder.write_old(last.timestamp);
                }
                self.stats.set_written(recorder.written());
                match recorded {
                    Ok(()) => return Ok(Batch::Packets(batch)),
                    Err(error) => Outcome::Failed(error),
                }
            }
            Ok(Batch::Timeout) => Outcome::Idle,
            Ok(Batch::End) => Outcome::Drained,
            Err(CaptureError::InterfaceRemoved(_)) => Outcome::InterfaceRemoved,
            Err(error) => Outcome::Failed(SppError::Capture(error)),
        });
        Ok(Batch::Timeout)
    }

    fn stats(&mut self) -> CaptureStats {
        self.publish();
        let stats = self.stats.stats();
        CaptureStats {
            received: stats.rx,
            dropped: stats.drop,
            ..CaptureStats::default()
        }
    }

    fn waker(&self) -> Waker {
        let stats = Arc::clone(&self.stats);
        Waker::new(move || stats.wake())
    }
}

/// Result of a read that returned no packets.
enum Outcome {
    /// No packets within the timeout.
    Idle,
    /// All packets have been read after the end of intake.
    Drained,
    /// The interface was removed.
    InterfaceRemoved,
    /// The source or the file failed.
    Failed(SppError),
}

/// Maximum time for which packets are only in memory while no other packets arrive.
const IDLE: Duration = Duration::from_secs(1);

/// Maximum wait for the other writers at the end.
const OTHERS_TIMEOUT: Duration = Duration::from_secs(1);
