//! `PcapProcess`: one instance, idle or running.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use super::recorder::FileNames;
use super::recording::Recording;
use super::writer_stats::PcapStats;
use super::{FlowTap, PcapSpec, Ports, SppError};
use crate::time::Clock;

/// One instance: what SPP runs as a process of its own, here some threads while it captures.
///
/// ```no_run
/// use std::sync::Arc;
/// use std::time::Duration;
/// use skylib::spp::{PcapProcess, PcapSpec, Ports};
/// use skylib::time::SystemClock;
///
/// let spec = PcapSpec::new(1, "phy:0".parse()?).with_out_dir("/var/cap");
/// let process = PcapProcess::new(spec, &Ports::of_host(), Arc::new(SystemClock))?;
/// process.start()?;
/// println!("{}", process.status().core.len());
/// process.stop(Duration::from_secs(10))?;
/// # Ok::<(), skylib::spp::SppError>(())
/// ```
pub struct PcapProcess {
    spec: PcapSpec,
    /// What the port stands for; none for nothing.
    interface: Option<String>,
    clock: Arc<dyn Clock>,
    tap: Option<Arc<dyn FlowTap>>,
    /// When the last run began, in seconds; held while a run starts.
    began: Mutex<i64>,
    /// Whether nothing is to start any more.
    is_over: AtomicBool,
    run: Mutex<Option<Arc<Recording>>>,
    /// Of all runs before the present or last one.
    before: Mutex<PcapStats>,
}

impl PcapProcess {
    /// An instance that is idle.
    ///
    /// # Errors
    /// [`SppError::Spec`] for settings that make no sense.
    pub fn new(spec: PcapSpec, ports: &Ports, clock: Arc<dyn Clock>) -> Result<Self, SppError> {
        spec.check()?;
        let interface = ports.interface(spec.port).map(str::to_owned);
        Ok(Self {
            spec,
            interface,
            clock,
            tap: None,
            began: Mutex::new(i64::MIN),
            is_over: AtomicBool::new(false),
            run: Mutex::default(),
            before: Mutex::default(),
        })
    }

    /// With a place for the flows of instances that have them.
    #[must_use]
    pub fn with_tap(mut self, tap: Option<Arc<dyn FlowTap>>) -> Self {
        self.tap = tap;
        self
    }

    /// What it captures, and where to.
    #[must_use]
    pub const fn spec(&self) -> &PcapSpec {
        &self.spec
    }

    /// Begins to capture; nothing happens when it does already. When this returns, files and
    /// sockets are open.
    ///
    /// # Errors
    /// When the port, the folder or a privilege is not there, or the run before is not written yet;
    /// it is idle then. [`SppError::StillStarting`] when another start takes long,
    /// [`SppError::NoProcess`] after [`PcapProcess::exit`].
    pub fn start(&self) -> Result<(), SppError> {
        // What opens files on a disk that hangs holds this.
        let began = self.began.try_lock_for(PATIENCE);
        let mut began = began.ok_or(SppError::StillStarting)?;
        let gone = || SppError::NoProcess(self.spec.client_id.to_string());
        if self.is_over.load(Ordering::SeqCst) {
            return Err(gone());
        }
        let last = self.run.lock().clone();
        if let Some(run) = &last
            && !run.is_over()
        {
            return if run.is_stopping() {
                Err(SppError::StillWriting)
            } else {
                Ok(())
            };
        }
        let interface = self
            .interface
            .as_deref()
            .ok_or_else(|| SppError::PortNotAvailable {
                port: self.spec.port.to_string(),
                interface: "no interface".to_owned(),
            })?;
        let run = self.run_with_free_names(interface, &mut began)?;
        let mut current = self.run.lock();
        if let Some(last) = last {
            let mut before = self.before.lock();
            *before = before.plus(last.stats());
        }
        if self.is_over.load(Ordering::SeqCst) {
            run.request_stop();
            *current = Some(Arc::new(run));
            return Err(gone());
        }
        *current = Some(Arc::new(run));
        let id = self.spec.client_id;
        tracing::info!(id, interface, "a capture has begun");
        Ok(())
    }

    /// Ends the capture; nothing happens when there is none. When this returns, everything that was
    /// received is in files that have their names.
    ///
    /// # Errors
    /// [`SppError::StillWriting`] when that takes longer than `patience`; it goes on by itself.
    pub fn stop(&self, patience: Duration) -> Result<(), SppError> {
        let Some(run) = self.run.lock().clone() else {
            return Ok(());
        };
        run.request_stop();
        if run.wait(patience) {
            Ok(())
        } else {
            Err(SppError::StillWriting)
        }
    }

    /// Ends the capture for good: nothing starts any more, also what is about to.
    ///
    /// # Errors
    /// As [`PcapProcess::stop`].
    pub fn exit(&self, patience: Duration) -> Result<(), SppError> {
        self.is_over.store(true, Ordering::SeqCst);
        // A start that is under way ends with a run to stop, or stops it itself later.
        let started = self.began.try_lock_for(patience);
        drop(started.ok_or(SppError::StillStarting)?);
        self.stop(patience)
    }

    /// Says that the capture is to end, without waiting.
    pub fn request_stop(&self) {
        if let Some(run) = self.run.lock().as_ref() {
            run.request_stop();
        }
    }

    /// How it is, as SPP tells it.
    #[must_use]
    pub fn status(&self) -> PcapStatus {
        let run = self.run.lock().clone();
        let running = run.as_ref().filter(|run| !run.is_over());
        let mut files = running
            .map(|run| run.files().collect::<Vec<_>>())
            .unwrap_or_default();
        files.resize(self.spec.writers(), String::new());
        let mut cores = self.spec.cores.iter().copied();
        let master_lcore = cores.next().unwrap_or_default();
        let receiver = cores.next().map(|core| CoreStatus {
            core,
            role: "receive",
            rx_port: Some([RxPort {
                port: self.spec.port.to_string(),
            }]),
            filename: None,
        });
        let writers = cores.zip(files).map(|(core, filename)| CoreStatus {
            core,
            role: "write",
            rx_port: None,
            filename: Some(filename),
        });
        PcapStatus {
            client_id: self.spec.client_id,
            status: if running.is_some() { "running" } else { "idle" },
            master_lcore,
            core: receiver.into_iter().chain(writers).collect(),
            stats: RunStats {
                packets: run.as_ref().map(|run| run.stats()).unwrap_or_default(),
                error: run.as_ref().and_then(|run| run.error()),
            },
            totals: self.totals(),
            interface: self.interface.clone(),
        }
    }

    /// Packets of all runs.
    #[must_use]
    pub fn totals(&self) -> PcapStats {
        let run = self.run.lock();
        let present = run.as_ref().map(|run| run.stats()).unwrap_or_default();
        self.before.lock().plus(present)
    }

    /// Starts a run at the first second whose names nobody has. Another instance of the same port
    /// and folder may take them in between.
    fn run_with_free_names(&self, interface: &str, began: &mut i64) -> Result<Recording, SppError> {
        let mut others = MOST_OTHERS;
        loop {
            *began = self.free_time(*began)?;
            match Recording::start(&self.spec, interface, *began, self.tap.as_ref()) {
                Err(SppError::Folder { source, .. })
                    if source.kind() == ErrorKind::AlreadyExists && others > 0 =>
                {
                    others -= 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Now, or the first second from now that no other files are named by.
    fn free_time(&self, last: i64) -> Result<i64, SppError> {
        let now = self.clock.now().as_ns().div_euclid(1_000_000_000);
        let first = now.max(last.saturating_add(1));
        let is_free = |time: &i64| {
            (1..=self.spec.writers())
                .all(|writer| FileNames::new(&self.spec, *time, writer).are_free())
        };
        (first..first.saturating_add(MOST_SECONDS))
            .find(is_free)
            .ok_or_else(|| SppError::Folder {
                folder: self.spec.out_dir.clone(),
                source: ErrorKind::AlreadyExists.into(),
            })
    }
}

impl Drop for PcapProcess {
    fn drop(&mut self) {
        self.request_stop();
    }
}

/// How an instance is: the keys that SPP's clients know, and below them some more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PcapStatus {
    /// Its id.
    #[serde(rename = "client-id")]
    pub client_id: u8,
    /// `running` or `idle`.
    pub status: &'static str,
    /// The first of its cores.
    #[serde(rename = "master-lcore")]
    pub master_lcore: u32,
    /// The others by number.
    pub core: Vec<CoreStatus>,
    /// The present or last run.
    pub stats: RunStats,
    /// Packets of all runs.
    pub totals: PcapStats,
    /// The interface behind the port.
    pub interface: Option<String>,
}

/// What one core does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CoreStatus {
    /// Its number.
    pub core: u32,
    /// `receive` or `write`.
    pub role: &'static str,
    /// The port, of a receiver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rx_port: Option<[RxPort; 1]>,
    /// The file being written, by the name it will have, of a writer; empty when idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
}

/// How a run went so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RunStats {
    /// Its packets.
    #[serde(flatten)]
    pub packets: PcapStats,
    /// Why it ended by itself, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A port, as an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RxPort {
    /// As SPP names it.
    pub port: String,
}

/// How many seconds ahead a free name is looked for.
const MOST_SECONDS: i64 = 10_000;

/// Other instances that may start at the same time: as many as there are ids.
const MOST_OTHERS: u32 = 127;

/// How long a start waits for another one of the same instance.
const PATIENCE: Duration = Duration::from_secs(5);
