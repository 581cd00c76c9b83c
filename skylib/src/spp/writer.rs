//! One writer: packets of a ring into files, on a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::SppError;
use super::recorder::Recorder;
use super::writer_stats::WriterShared;
use crate::capture::{AfPacket, Batch, CaptureError, CaptureStats, PacketSource, Waker};
use crate::packet::LinkType;
use crate::sys::cpu;

/// A source that records the packets it hands out.
///
/// It ends when it is told to stop, or when a file takes no more.
pub(super) struct Writer {
    /// None while the interface is away.
    source: Option<AfPacket>,
    link_type: LinkType,
    recorder: Recorder,
    shared: Arc<WriterShared>,
    stop: Arc<AtomicBool>,
    events: Sender<Event>,
    /// The source again, when the interface is back.
    sources: Receiver<AfPacket>,
    /// What sources before this one saw.
    before: CaptureStats,
    state: State,
    /// What came last, where it was no packets.
    outcome: Option<Outcome>,
    /// Dropped when nothing is received any more; the other end tells when all have.
    received: Option<Sender<()>>,
    all_received: Receiver<()>,
    /// Processor to stay on, until the thread does.
    core: Option<u32>,
}

/// What the supervisor is told.
#[derive(Debug)]
pub(super) enum Event {
    /// The run is over.
    Stop,
    /// A writer cannot go on.
    Failed(SppError),
    /// A writer's interface is away.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Working,
    /// What the kernel still has is read.
    Draining,
    /// Likewise, as the interface is away.
    DrainingGone,
    /// Nothing more is done.
    Over,
}

/// How a writer is tied to its run.
pub(super) struct Ties {
    pub(super) shared: Arc<WriterShared>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) events: Sender<Event>,
    pub(super) sources: Receiver<AfPacket>,
    pub(super) received: Sender<()>,
    pub(super) all_received: Receiver<()>,
    pub(super) core: Option<u32>,
}

impl Writer {
    pub(super) fn new(source: AfPacket, recorder: Recorder, ties: Ties) -> Self {
        ties.shared.set_waker(source.waker());
        Self {
            link_type: source.link_type(),
            source: Some(source),
            recorder,
            shared: ties.shared,
            stop: ties.stop,
            events: ties.events,
            sources: ties.sources,
            before: CaptureStats::default(),
            state: State::Working,
            outcome: None,
            received: Some(ties.received),
            all_received: ties.all_received,
            core: ties.core,
        }
    }

    /// Works until the end.
    pub(super) fn run(mut self) {
        while matches!(
            self.next_batch(IDLE),
            Ok(Batch::Packets(_) | Batch::Timeout)
        ) {}
    }

    fn take_note(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Nothing => {
                self.publish();
                if let Err(error) = self.recorder.write_block() {
                    self.fail(error);
                }
            }
            Outcome::Read if self.state == State::DrainingGone => self.let_go(),
            Outcome::Read => self.end(),
            Outcome::Gone => {
                if let Some(source) = &mut self.source {
                    source.end_intake();
                }
                self.state = State::DrainingGone;
            }
            Outcome::Failed(error) => self.fail(error),
        }
    }

    /// Begins to end, once it is time to.
    fn obey(&mut self) {
        if self.stop.load(Ordering::Relaxed) && self.state == State::Working {
            match &mut self.source {
                Some(source) => {
                    source.end_intake();
                    self.state = State::Draining;
                }
                None => self.end(),
            }
        }
    }

    /// Puts the counters where others see them.
    fn publish(&mut self) {
        let mut stats = self.before;
        if let Some(source) = &mut self.source {
            let of_source = source.stats();
            stats.received += of_source.received;
            stats.dropped += of_source.dropped;
        }
        self.shared.set_packets(stats, self.recorder.written());
    }

    /// The interface is away and its last packets are read: waits for another source.
    fn let_go(&mut self) {
        if let Some(mut source) = self.source.take() {
            let stats = source.stats();
            self.before.received += stats.received;
            self.before.dropped += stats.dropped;
        }
        self.publish();
        self.state = State::Working;
        self.events.send(Event::Gone).ok();
    }

    fn wait_for_source(&mut self, wait: Duration) {
        match self.sources.recv_timeout(wait) {
            Ok(source) => {
                self.shared.set_waker(source.waker());
                self.source = Some(source);
            }
            Err(RecvTimeoutError::Timeout) => {}
            // Only at the end of the run.
            Err(RecvTimeoutError::Disconnected) => self.stop.store(true, Ordering::Relaxed),
        }
    }

    /// Everything is read: completes the file and waits for the others, so that none closes its
    /// socket, which would give its flows to them, while they still receive.
    fn end(&mut self) {
        self.state = State::Over;
        self.received = None;
        if let Err(error) = self.recorder.finish() {
            self.events.send(Event::Failed(error)).ok();
        }
        self.settle();
        self.all_received.recv_timeout(OTHERS).ok();
    }

    fn fail(&mut self, error: SppError) {
        self.complete(error);
        self.all_received.recv_timeout(OTHERS).ok();
    }

    /// Receives no more and completes the file, as far as that can be done.
    fn complete(&mut self, error: SppError) {
        self.state = State::Over;
        self.events.send(Event::Failed(error)).ok();
        if let Some(source) = &mut self.source {
            source.end_intake();
        }
        self.received = None;
        if let Err(error) = self.recorder.finish() {
            tracing::warn!(%error, "the last file could not be completed");
        }
        self.settle();
    }

    /// What came and is in no file is lost.
    fn settle(&mut self) {
        self.publish();
        let stats = self.shared.stats();
        let lost = CaptureStats {
            received: stats.rx,
            dropped: stats.rx - stats.written,
            ..CaptureStats::default()
        };
        self.shared.set_packets(lost, stats.written);
    }

    fn pin(&mut self) {
        if let Some(core) = self.core.take()
            && let Err(error) = cpu::pin(core)
        {
            tracing::warn!(core, %error, "the core stays a label");
        }
    }
}

impl Drop for Writer {
    /// Whoever reads it may end early: the run must not go on without its flows, unnoticed.
    fn drop(&mut self) {
        if self.state != State::Over {
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
            self.take_note(outcome);
        }
        self.obey();
        if self.state == State::Over {
            return Ok(Batch::End);
        }
        let wait = wait.min(IDLE);
        if self.source.is_none() {
            self.wait_for_source(wait);
        }
        let Some(source) = &mut self.source else {
            return Ok(Batch::Timeout);
        };
        // What follows from it is done in the next call, as the packets borrow the source.
        self.outcome = Some(match source.next_batch(wait) {
            Ok(Batch::Packets(batch)) => {
                let recorder = &mut self.recorder;
                let mut recorded = batch.iter().try_for_each(|packet| recorder.write(&packet));
                if let (Ok(()), Some(last)) = (&recorded, batch.headers.last()) {
                    recorded = recorder.write_old(last.timestamp);
                }
                self.shared.set_written(recorder.written());
                match recorded {
                    Ok(()) => return Ok(Batch::Packets(batch)),
                    Err(error) => Outcome::Failed(error),
                }
            }
            Ok(Batch::Timeout) => Outcome::Nothing,
            Ok(Batch::End) => Outcome::Read,
            Err(CaptureError::InterfaceRemoved(_)) => Outcome::Gone,
            Err(error) => Outcome::Failed(SppError::Capture(error)),
        });
        Ok(Batch::Timeout)
    }

    fn stats(&mut self) -> CaptureStats {
        self.publish();
        let stats = self.shared.stats();
        CaptureStats {
            received: stats.rx,
            dropped: stats.drop,
            ..CaptureStats::default()
        }
    }

    fn waker(&self) -> Waker {
        let shared = Arc::clone(&self.shared);
        Waker::new(move || shared.wake())
    }
}

/// What came instead of packets.
enum Outcome {
    Nothing,
    /// Everything has been read.
    Read,
    Gone,
    Failed(SppError),
}

/// How long packets are in memory only, when no others come.
const IDLE: Duration = Duration::from_secs(1);

/// How long the other writers are waited for at the end.
const OTHERS: Duration = Duration::from_secs(1);
