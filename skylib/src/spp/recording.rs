//! `Recording`: a recording from start to stop, with its writer threads and their supervisor.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use parking_lot::Mutex;

use super::recorder::{FileNames, Recorder, SNAP_LEN};
use super::writer::{Event, Writer, WriterContext};
use super::writer_stats::{PcapStats, WriterStats};
use super::{FlowTap, PcapSpec, SppError};
use crate::capture::{AfPacket, BpfInstruction, BpfProgram, CaptureError, CaptureOptions, Fanout};
use crate::error_chain::Chain;
use crate::packet::LinkType;
use crate::sys::cpu;
use crate::sys::netns::{Netns, NetnsId};

/// Recording that is running or has ended.
#[derive(Debug)]
pub(super) struct Recording {
    writers: Vec<Arc<WriterStats>>,
    events: Sender<Event>,
    /// Disconnected once all files are written and closed.
    over: Receiver<()>,
    /// Error that ended the recording; `None` while it is running and after a requested stop.
    error: Arc<Mutex<Option<String>>>,
    stopping: AtomicBool,
}

impl Recording {
    /// Opens all sockets and files, then starts to receive packets. `began` is the time in the file
    /// names, in Unix seconds.
    pub(super) fn start(
        spec: &PcapSpec,
        interface: &str,
        began: i64,
        tap: Option<&Arc<dyn FlowTap>>,
    ) -> Result<Self, SppError> {
        let namespace = namespace_of(spec);
        let mut sources = open_sources(spec, interface)?;
        let writers: Vec<Arc<WriterStats>> = sources.iter().map(|_| Arc::default()).collect();
        let recorders = open_files(spec, began, &sources, &writers)?;
        if let Err(error) = resume(&mut sources) {
            recorders.into_iter().for_each(Recorder::discard);
            return Err(SppError::Capture(error));
        }
        let (events, received_events) = unbounded();
        let (received, all_received) = bounded(0);
        let stop = Arc::new(AtomicBool::new(false));
        let namespace_lost = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        let mut new_sources = Vec::new();
        for (index, (source, recorder)) in sources.into_iter().zip(recorders).enumerate() {
            let (new_source, sources) = bounded(1);
            let context = WriterContext {
                stats: Arc::clone(&writers[index]),
                stop: Arc::clone(&stop),
                namespace_lost: Arc::clone(&namespace_lost),
                events: events.clone(),
                sources,
                received: received.clone(),
                all_received: all_received.clone(),
                core: spec.cores.get(2 + index).copied().filter(|_| spec.pinned),
            };
            let writer = Writer::new(source, recorder, context);
            threads.push(spawn_writer(spec, interface, tap, index, writer));
            new_sources.push(new_source);
        }
        let error = Arc::new(Mutex::new(None));
        let (alive, over) = bounded(0);
        let supervisor = Supervisor {
            spec: spec.clone(),
            interface: interface.to_owned(),
            writers: writers.clone(),
            new_sources,
            received_events,
            stop: Arc::clone(&stop),
            namespace,
            namespace_lost,
            error: Arc::clone(&error),
            _alive: alive,
        };
        let threads: io::Result<Vec<JoinHandle<()>>> = threads.into_iter().collect();
        if let Err(error) = threads.and_then(|threads| supervisor.spawn(threads)) {
            // If there is no supervisor, the writers that have started must be stopped here.
            stop.store(true, Ordering::Relaxed);
            writers.iter().for_each(|writer| writer.wake());
            return Err(SppError::Thread(error));
        }
        Ok(Self {
            writers,
            events,
            over,
            error,
            stopping: AtomicBool::new(false),
        })
    }

    /// Requests the end of the recording without waiting for it.
    pub(super) fn request_stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.events.send(Event::Stop).ok();
    }

    /// Returns whether a stop has been requested.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Waits until all files are written; returns `false` if that takes longer than `timeout`.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        self.over.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected)
    }

    /// Returns whether all files are written and closed.
    pub(super) fn is_over(&self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Returns the error that ended the recording, `None` if there was none.
    pub(super) fn error(&self) -> Option<String> {
        self.error.lock().clone()
    }

    /// Returns the files that are being written, by writer.
    pub(super) fn files(&self) -> impl Iterator<Item = String> {
        self.writers.iter().map(|writer| writer.file())
    }

    /// Returns the sum of the writers' counters.
    pub(super) fn stats(&self) -> PcapStats {
        self.writers
            .iter()
            .fold(PcapStats::default(), |sum, writer| sum.plus(writer.stats()))
    }
}

/// Thread that ends the writers, and reopens the interface after its removal or the deletion of its
/// namespace.
struct Supervisor {
    spec: PcapSpec,
    interface: String,
    writers: Vec<Arc<WriterStats>>,
    /// Channels that pass sources of the reopened interface to the writers, by writer.
    new_sources: Vec<Sender<AfPacket>>,
    received_events: Receiver<Event>,
    stop: Arc<AtomicBool>,
    /// Namespace of the sources; `None` for that of this process.
    namespace: Option<NetnsId>,
    /// Whether the path of the namespace no longer refers to it. The open sources keep a deleted
    /// namespace and its interface in existence, so the kernel does not report its end.
    namespace_lost: Arc<AtomicBool>,
    error: Arc<Mutex<Option<String>>>,
    _alive: Sender<()>,
}

impl Supervisor {
    /// Starts the thread of the supervisor; `threads` are those of the writers.
    fn spawn(self, threads: Vec<JoinHandle<()>>) -> io::Result<JoinHandle<()>> {
        let name = format!("spp {}", self.spec.client_id);
        let thread = thread::Builder::new().name(name);
        thread.spawn(move || self.run(threads))
    }

    fn run(mut self, threads: Vec<JoinHandle<()>>) {
        let core = self.spec.cores.get(1).copied().filter(|_| self.spec.pinned);
        if let Some(core) = core
            && let Err(error) = cpu::pin(core)
        {
            tracing::warn!(core, %error, "cannot pin the supervisor to its core; running unpinned");
        }
        self.supervise();
        self.stop.store(true, Ordering::Relaxed);
        self.new_sources.clear();
        for writer in &self.writers {
            writer.wake();
        }
        for thread in threads {
            if thread.join().is_err() {
                *self.error.lock() = Some("a writer thread panicked".to_owned());
            }
        }
        // Errors that writers reported after the supervisor had stopped them.
        while let Ok(event) = self.received_events.try_recv() {
            self.note(event);
        }
    }

    /// Handles events until the recording must end.
    fn supervise(&mut self) {
        let mut removed = 0;
        loop {
            let all_removed = removed == self.writers.len();
            let event = if all_removed {
                self.received_events.recv_timeout(REOPEN_INTERVAL)
            } else if self.spec.netns.is_some() {
                self.received_events.recv_timeout(NAMESPACE_INTERVAL)
            } else {
                self.received_events.recv().map_err(RecvTimeoutError::from)
            };
            match event {
                Ok(Event::InterfaceRemoved) => {
                    removed += 1;
                    if removed == self.writers.len() {
                        let (id, interface) = (self.spec.client_id, &self.interface);
                        tracing::warn!(
                            id,
                            interface,
                            "interface removed; waiting for it to return"
                        );
                    }
                }
                Ok(event) => return self.note(event),
                Err(RecvTimeoutError::Timeout) if all_removed => {
                    if self.reopen() {
                        removed = 0;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.check_namespace(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Reopens the interface and passes the new sources to the writers; returns whether the
    /// interface exists.
    fn reopen(&mut self) -> bool {
        // Read first: if the namespace is replaced in between, the next check finds the difference.
        let namespace = namespace_of(&self.spec);
        let opened = open_sources(&self.spec, &self.interface);
        let Ok(mut sources) = opened else {
            return false;
        };
        if resume(&mut sources).is_err() {
            return false;
        }
        let (id, interface) = (self.spec.client_id, &self.interface);
        tracing::info!(id, interface, "interface reopened");
        self.namespace = namespace;
        self.namespace_lost.store(false, Ordering::Relaxed);
        for (new_source, source) in self.new_sources.iter().zip(sources) {
            new_source.send(source).ok();
        }
        true
    }

    /// Makes the writers close their sources if their namespace was deleted or replaced.
    fn check_namespace(&self) {
        if namespace_of(&self.spec) == self.namespace {
            return;
        }
        if !self.namespace_lost.swap(true, Ordering::Relaxed) {
            let (id, interface) = (self.spec.client_id, &self.interface);
            tracing::warn!(id, interface, "network namespace deleted");
        }
        for writer in &self.writers {
            writer.wake();
        }
    }

    /// Logs a failure and stores the first one.
    fn note(&self, event: Event) {
        if let Event::Failed(error) = event {
            let reason = Chain(&error).to_string();
            tracing::error!(id = self.spec.client_id, reason, "recording failed");
            self.error.lock().get_or_insert(reason);
        }
    }
}

/// Starts the thread of a writer, whose packets also become flows if the recording has them.
fn spawn_writer(
    spec: &PcapSpec,
    interface: &str,
    tap: Option<&Arc<dyn FlowTap>>,
    index: usize,
    writer: Writer,
) -> io::Result<JoinHandle<()>> {
    let tap = tap.filter(|_| spec.flows).cloned();
    let (interface, netns) = (interface.to_owned(), spec.netns.clone());
    let name = format!("spp-write {}.{}", spec.client_id, index + 1);
    thread::Builder::new().name(name).spawn(move || match tap {
        None => writer.run(),
        Some(tap) => tap.drive(&interface, netns.as_deref(), Box::new(writer)),
    })
}

/// Opens a paused source for each writer, all in one fanout group.
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

/// Returns the namespace of a recording; `None` if it has none, or if it does not exist.
fn namespace_of(spec: &PcapSpec) -> Option<NetnsId> {
    let path = spec.netns.as_deref()?;
    Netns::open(path).ok().map(|netns| netns.id())
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

/// Checks that the interface has the port's queue; succeeds if the kernel does not list the
/// interface's queues.
fn check_queue(spec: &PcapSpec, interface: &str) -> Result<(), SppError> {
    let (Some(queue), None) = (spec.port.queue, &spec.netns) else {
        return Ok(());
    };
    let folder = Path::new("/sys/class/net").join(interface).join("queues");
    let is_available = !folder.exists() || folder.join(format!("rx-{queue}")).exists();
    if is_available {
        return Ok(());
    }
    Err(SppError::PortNotAvailable {
        port: spec.port.to_string(),
        interface: interface.to_owned(),
    })
}

/// Returns a filter for packets received through one queue. The kernel numbers queues from 1; 0
/// means that the driver reported no queue, which is treated as the first queue.
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

/// Opens the first file of each writer; removes all of them if one cannot be opened.
fn open_files(
    spec: &PcapSpec,
    began: i64,
    sources: &[AfPacket],
    writers: &[Arc<WriterStats>],
) -> Result<Vec<Recorder>, SppError> {
    use crate::capture::PacketSource;

    let mut recorders = Vec::with_capacity(writers.len());
    for (index, (source, stats)) in sources.iter().zip(writers).enumerate() {
        let names = FileNames::new(spec, began, index + 1);
        match Recorder::open(spec, names, source.link_type(), Arc::clone(stats)) {
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

/// Interval of attempts to reopen a removed interface.
const REOPEN_INTERVAL: Duration = Duration::from_millis(200);

/// Interval of checks whether the namespace of a recording still exists.
const NAMESPACE_INTERVAL: Duration = Duration::from_secs(1);

/// Size of a ring block, in bytes.
const RING_BLOCK: u32 = 128 << 10;

// Operation codes of `linux/bpf_common.h`.
const LOAD_WORD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
