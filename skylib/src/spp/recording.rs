//! `Recording`: a recording from its start to its stop.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use parking_lot::Mutex;

use super::recorder::{FileNames, Recorder, SNAP_LEN};
use super::writer::{Event, Ties, Writer};
use super::writer_stats::{PcapStats, WriterShared};
use super::{FlowTap, PcapSpec, SppError};
use crate::capture::{AfPacket, BpfInstruction, BpfProgram, CaptureError, CaptureOptions, Fanout};
use crate::error_chain::Chain;
use crate::packet::LinkType;
use crate::sys::cpu;

/// A capture from its start to its stop.
#[derive(Debug)]
pub(super) struct Recording {
    writers: Vec<Arc<WriterShared>>,
    events: Sender<Event>,
    /// Disconnected once everything is written and closed.
    over: Receiver<()>,
    /// Why it ended by itself.
    error: Arc<Mutex<Option<String>>>,
    stopping: AtomicBool,
}

impl Recording {
    /// Opens sockets and files, and only then begins to receive.
    pub(super) fn start(
        spec: &PcapSpec,
        interface: &str,
        began: i64,
        tap: Option<&Arc<dyn FlowTap>>,
    ) -> Result<Self, SppError> {
        let mut sources = open_sources(spec, interface)?;
        let writers: Vec<Arc<WriterShared>> = sources.iter().map(|_| Arc::default()).collect();
        let recorders = open_files(spec, began, &sources, &writers)?;
        if let Err(error) = resume(&mut sources) {
            recorders.into_iter().for_each(Recorder::discard);
            return Err(SppError::Capture(error));
        }
        let (events, happened) = unbounded();
        let (received, all_received) = bounded(0);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut threads = Vec::new();
        let mut comebacks = Vec::new();
        for (index, (source, recorder)) in sources.into_iter().zip(recorders).enumerate() {
            let (comeback, sources) = bounded(1);
            let ties = Ties {
                shared: Arc::clone(&writers[index]),
                stop: Arc::clone(&stop),
                events: events.clone(),
                sources,
                received: received.clone(),
                all_received: all_received.clone(),
                core: spec.cores.get(2 + index).copied().filter(|_| spec.pinned),
            };
            let writer = Writer::new(source, recorder, ties);
            let tap = tap.filter(|_| spec.flows).cloned();
            let (interface, netns) = (interface.to_owned(), spec.netns.clone());
            let work = move || match tap {
                None => writer.run(),
                Some(tap) => tap.drive(&interface, netns.as_deref(), Box::new(writer)),
            };
            let name = format!("spp-write {}.{}", spec.client_id, index + 1);
            threads.push(thread::Builder::new().name(name).spawn(work));
            comebacks.push(comeback);
        }
        let error = Arc::new(Mutex::new(None));
        let (alive, over) = bounded(0);
        let supervisor = Supervisor {
            spec: spec.clone(),
            interface: interface.to_owned(),
            writers: writers.clone(),
            comebacks,
            happened,
            stop,
            error: Arc::clone(&error),
            _alive: alive,
        };
        let threads: Result<Vec<JoinHandle<()>>, _> = threads.into_iter().collect();
        let started = threads.and_then(|threads| {
            let name = format!("spp {}", spec.client_id);
            thread::Builder::new()
                .name(name)
                .spawn(move || supervisor.run(threads))
        });
        let run = Self {
            writers,
            events,
            over,
            error,
            stopping: AtomicBool::new(false),
        };
        match started {
            Ok(_) => Ok(run),
            Err(error) => {
                // There is no supervisor to end the writers that have begun.
                stopped.store(true, Ordering::Relaxed);
                for writer in &run.writers {
                    writer.wake();
                }
                Err(SppError::Thread(error))
            }
        }
    }

    /// Says that it is to end, without waiting.
    pub(super) fn request_stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.events.send(Event::Stop).ok();
    }

    /// Whether it has been told to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Waits until everything is written; false when that takes longer.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        self.over.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected)
    }

    /// Whether everything is written and closed.
    pub(super) fn is_over(&self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Why it ended by itself.
    pub(super) fn error(&self) -> Option<String> {
        self.error.lock().clone()
    }

    /// The files that are being written, by writer.
    pub(super) fn files(&self) -> impl Iterator<Item = String> {
        self.writers.iter().map(|writer| writer.file())
    }

    pub(super) fn stats(&self) -> PcapStats {
        self.writers
            .iter()
            .fold(PcapStats::default(), |sum, writer| sum.plus(writer.stats()))
    }
}

/// Looks after the writers of a run.
struct Supervisor {
    spec: PcapSpec,
    interface: String,
    writers: Vec<Arc<WriterShared>>,
    /// Where writers get their sources again.
    comebacks: Vec<Sender<AfPacket>>,
    happened: Receiver<Event>,
    stop: Arc<AtomicBool>,
    error: Arc<Mutex<Option<String>>>,
    _alive: Sender<()>,
}

impl Supervisor {
    fn run(mut self, threads: Vec<JoinHandle<()>>) {
        let core = self.spec.cores.get(1).copied().filter(|_| self.spec.pinned);
        if let Some(core) = core
            && let Err(error) = cpu::pin(core)
        {
            tracing::warn!(core, %error, "the core stays a label");
        }
        self.supervise();
        self.stop.store(true, Ordering::Relaxed);
        self.comebacks.clear();
        for writer in &self.writers {
            writer.wake();
        }
        for thread in threads {
            if thread.join().is_err() {
                *self.error.lock() = Some("a writer panicked".to_owned());
            }
        }
        // What writers said at their end.
        while let Ok(event) = self.happened.try_recv() {
            self.note(event);
        }
    }

    /// Returns when the run is to end.
    fn supervise(&mut self) {
        let mut away = 0;
        loop {
            let event = if away == self.writers.len() {
                self.happened.recv_timeout(LOOK_AGAIN)
            } else {
                self.happened.recv().map_err(RecvTimeoutError::from)
            };
            match event {
                Ok(Event::Gone) => {
                    away += 1;
                    if away == self.writers.len() {
                        let (id, interface) = (self.spec.client_id, &self.interface);
                        tracing::warn!(id, interface, "the interface is away");
                    }
                }
                Ok(event) => return self.note(event),
                Err(RecvTimeoutError::Timeout) => {
                    if self.come_back() {
                        away = 0;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Opens the interface again, if it is there again.
    fn come_back(&self) -> bool {
        let opened = open_sources(&self.spec, &self.interface);
        let Ok(mut sources) = opened else {
            return false;
        };
        if resume(&mut sources).is_err() {
            return false;
        }
        let (id, interface) = (self.spec.client_id, &self.interface);
        tracing::info!(id, interface, "the interface is back");
        for (comeback, source) in self.comebacks.iter().zip(sources) {
            comeback.send(source).ok();
        }
        true
    }

    fn note(&self, event: Event) {
        if let Event::Failed(error) = event {
            let reason = Chain(&error).to_string();
            tracing::error!(id = self.spec.client_id, reason, "the capture has ended");
            self.error.lock().get_or_insert(reason);
        }
    }
}

/// One source a writer, which receive nothing yet.
fn open_sources(spec: &PcapSpec, interface: &str) -> Result<Vec<AfPacket>, SppError> {
    check_queue(spec, interface)?;
    let mut options = CaptureOptions::new(interface)
        .with_header_size(SNAP_LEN)
        .with_outgoing(spec.outgoing)
        .with_ring(RING_BLOCK, (spec.ring_bytes / RING_BLOCK).max(2))
        .with_paused(true);
    options.netns.clone_from(&spec.netns);
    if let Some(queue) = spec.port.queue {
        options = options.with_filter(queue_filter(queue).map_err(SppError::Capture)?);
    }
    let mut sources = Vec::with_capacity(spec.writers());
    let mut group = Fanout::New;
    for _ in 0..spec.writers() {
        if spec.writers() > 1 {
            options = options.with_fanout(group);
        }
        let source = AfPacket::open(&options).map_err(|error| on_open(spec, error))?;
        if let Some(number) = source.fanout_group() {
            group = Fanout::Group(number);
        }
        sources.push(source);
    }
    Ok(sources)
}

fn on_open(spec: &PcapSpec, error: CaptureError) -> SppError {
    match error {
        CaptureError::NotPermitted { capability, .. } => SppError::NotPermitted(capability),
        CaptureError::NoInterface { interface, .. }
        | CaptureError::InterfaceDown(interface)
        | CaptureError::InterfaceRemoved(interface) => SppError::PortNotAvailable {
            port: spec.port.to_string(),
            interface,
        },
        error => SppError::Capture(error),
    }
}

/// Refuses a queue that the interface does not have, where the system tells its queues.
fn check_queue(spec: &PcapSpec, interface: &str) -> Result<(), SppError> {
    let (Some(queue), None) = (spec.port.queue, &spec.netns) else {
        return Ok(());
    };
    let folder = Path::new("/sys/class/net").join(interface).join("queues");
    let there = !folder.exists() || folder.join(format!("rx-{queue}")).exists();
    if there {
        return Ok(());
    }
    Err(SppError::PortNotAvailable {
        port: spec.port.to_string(),
        interface: interface.to_owned(),
    })
}

/// Passes what came in by one queue. The kernel counts queues from 1 and notes 0 where the driver
/// told none, which is as good as the first.
fn queue_filter(queue: u16) -> Result<BpfProgram, CaptureError> {
    let instruction = BpfInstruction::new;
    let number = (libc::SKF_AD_OFF + libc::SKF_AD_QUEUE).cast_unsigned();
    let unknown = if queue == 0 { 0 } else { u32::from(queue) + 1 };
    let instructions = vec![
        instruction(LOAD_WORD, 0, 0, number),
        instruction(JUMP_IF_EQUAL, 1, 0, u32::from(queue) + 1),
        instruction(JUMP_IF_EQUAL, 0, 1, unknown),
        instruction(RETURN, 0, 0, SNAP_LEN),
        instruction(RETURN, 0, 0, 0),
    ];
    BpfProgram::from_instructions(instructions, LinkType::ETHERNET)
}

/// The first file of every writer; of several none when one cannot be opened.
fn open_files(
    spec: &PcapSpec,
    began: i64,
    sources: &[AfPacket],
    writers: &[Arc<WriterShared>],
) -> Result<Vec<Recorder>, SppError> {
    use crate::capture::PacketSource;

    let mut recorders = Vec::with_capacity(writers.len());
    for (index, (source, shared)) in sources.iter().zip(writers).enumerate() {
        let names = FileNames::new(spec, began, index + 1);
        match Recorder::open(spec, names, source.link_type(), Arc::clone(shared)) {
            Ok(recorder) => recorders.push(recorder),
            Err(error) => {
                recorders.into_iter().for_each(Recorder::discard);
                return Err(match error {
                    SppError::File { source, .. } => SppError::Folder {
                        folder: spec.out_dir.clone(),
                        source,
                    },
                    error => error,
                });
            }
        }
    }
    Ok(recorders)
}

fn resume(sources: &mut [AfPacket]) -> Result<(), CaptureError> {
    sources.iter_mut().try_for_each(AfPacket::resume)
}

/// How often an interface that is away is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Bytes of a block of a ring.
const RING_BLOCK: u32 = 128 << 10;

// Of `linux/bpf_common.h`.
const LOAD_WORD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
