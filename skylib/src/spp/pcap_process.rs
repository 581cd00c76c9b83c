//! `PcapProcess`: a capture instance, which is idle or running.

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

/// Capture instance: corresponds to a process of SPP, and consists of threads of this process.
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
    /// Interface of the port; `None` if the port has none.
    interface: Option<String>,
    clock: Arc<dyn Clock>,
    tap: Option<Arc<dyn FlowTap>>,
    /// Start of the last recording, in Unix seconds; `i64::MIN` before the first recording. The
    /// lock is held while a recording starts.
    began: Mutex<i64>,
    /// Whether the instance has exited. Never reset.
    is_over: AtomicBool,
    /// The current or last recording.
    run: Mutex<Option<Arc<Recording>>>,
    /// Sum of the counters of all earlier recordings.
    before: Mutex<PcapStats>,
}

impl PcapProcess {
    /// Creates an idle instance.
    ///
    /// # Errors
    /// Returns [`SppError::Spec`] if the settings are invalid.
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

    /// Sets the consumer of the packets, used if the settings enable `flows`.
    #[must_use]
    pub fn with_tap(mut self, tap: Option<Arc<dyn FlowTap>>) -> Self {
        self.tap = tap;
        self
    }

    /// Returns the settings.
    #[must_use]
    pub const fn spec(&self) -> &PcapSpec {
        &self.spec
    }

    /// Starts a recording; does nothing if one is running. Files and sockets are open on return.
    ///
    /// # Errors
    /// Returns an error, and the instance is idle, if the port, the folder, or a capability is not
    /// available, or if the last recording is still being written. Returns
    /// [`SppError::StillStarting`] if another start is in progress, and [`SppError::NoProcess`]
    /// after [`PcapProcess::exit`].
    pub fn start(&self) -> Result<(), SppError> {
        // A start that is opening files on an unresponsive disk holds the lock.
        let began = self.began.try_lock_for(START_TIMEOUT);
        let mut began = began.ok_or(SppError::StillStarting)?;
        let exited = || SppError::NoProcess(self.spec.client_id.to_string());
        if self.is_over.load(Ordering::SeqCst) {
            return Err(exited());
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
            return Err(exited());
        }
        *current = Some(Arc::new(run));
        let id = self.spec.client_id;
        tracing::info!(id, interface, "recording started");
        Ok(())
    }

    /// Stops the recording; does nothing if the instance is idle. On return, all received packets
    /// are in files with their final names.
    ///
    /// # Errors
    /// Returns [`SppError::StillWriting`] if that takes longer than `timeout`; writing then
    /// continues in the background.
    pub fn stop(&self, timeout: Duration) -> Result<(), SppError> {
        let Some(run) = self.run.lock().clone() else {
            return Ok(());
        };
        run.request_stop();
        if run.wait(timeout) {
            Ok(())
        } else {
            Err(SppError::StillWriting)
        }
    }

    /// Stops the recording permanently: the instance cannot be started again, and a start in
    /// progress fails.
    ///
    /// # Errors
    /// Returns the errors of [`PcapProcess::stop`], and [`SppError::StillStarting`] if a start in
    /// progress takes longer than `timeout`.
    pub fn exit(&self, timeout: Duration) -> Result<(), SppError> {
        self.is_over.store(true, Ordering::SeqCst);
        // A start in progress either finishes here and is stopped below, or stops itself later.
        let started = self.began.try_lock_for(timeout);
        drop(started.ok_or(SppError::StillStarting)?);
        self.stop(timeout)
    }

    /// Requests the end of the recording without waiting for it.
    pub fn request_stop(&self) {
        if let Some(run) = self.run.lock().as_ref() {
            run.request_stop();
        }
    }

    /// Returns the status, in the form of SPP's REST API.
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
            status: if running.is_some() { RUNNING } else { IDLE },
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

    /// Returns the counters of all recordings.
    #[must_use]
    pub fn totals(&self) -> PcapStats {
        let run = self.run.lock();
        let present = run.as_ref().map(|run| run.stats()).unwrap_or_default();
        self.before.lock().plus(present)
    }

    /// Starts a recording with the first start time whose file names are unused. Retries if another
    /// instance with the same port and folder uses the file names in the meantime.
    fn run_with_free_names(&self, interface: &str, began: &mut i64) -> Result<Recording, SppError> {
        let mut collisions_left = MAX_COLLISIONS;
        loop {
            *began = self.free_time(*began)?;
            match Recording::start(&self.spec, interface, *began, self.tap.as_ref()) {
                Err(SppError::Folder { source, .. })
                    if source.kind() == ErrorKind::AlreadyExists && collisions_left > 0 =>
                {
                    collisions_left -= 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Returns the first second, not before now and after `last`, for which the file names are
    /// unused.
    fn free_time(&self, last: i64) -> Result<i64, SppError> {
        let now = self.clock.now().as_ns().div_euclid(1_000_000_000);
        let first = now.max(last.saturating_add(1));
        let is_free = |time: &i64| {
            (1..=self.spec.writers())
                .all(|writer| FileNames::new(&self.spec, *time, writer).are_free())
        };
        (first..first.saturating_add(MAX_SECONDS_AHEAD))
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

/// Status of an instance: the keys of SPP's REST API, and additional keys.
///
/// COMPAT: SPP's REST clients expect these keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PcapStatus {
    /// Id of the instance.
    #[serde(rename = "client-id")]
    pub client_id: u8,
    /// `running` or `idle`.
    pub status: &'static str,
    /// Number of the first logical CPU (SPP's master lcore).
    #[serde(rename = "master-lcore")]
    pub master_lcore: u32,
    /// Roles of the other cores, by number.
    pub core: Vec<CoreStatus>,
    /// Counters of the current or last recording.
    pub stats: RunStats,
    /// Counters of all recordings.
    pub totals: PcapStats,
    /// Interface of the port; `None` if the port has none.
    pub interface: Option<String>,
}

impl PcapStatus {
    /// Returns whether the instance is recording.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.status == RUNNING
    }
}

/// Role of a core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CoreStatus {
    /// Number of the core.
    pub core: u32,
    /// `receive` or `write`.
    pub role: &'static str,
    /// Port of a receiver; `None` for writers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rx_port: Option<[RxPort; 1]>,
    /// Final name of the file being written, empty when idle; `None` for receivers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
}

/// Counters and error of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RunStats {
    /// Packet counters.
    #[serde(flatten)]
    pub packets: PcapStats,
    /// Error that ended the recording; `None` while it runs and after a requested stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Port of a receiver in a status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RxPort {
    /// SPP's name of the port, such as `phy:0`.
    pub port: String,
}

/// Status of an instance that is recording.
const RUNNING: &str = "running";
/// Status of an instance that is not recording.
const IDLE: &str = "idle";
/// Maximum number of seconds in the future that are tried for unused file names.
const MAX_SECONDS_AHEAD: i64 = 10_000;

/// Maximum number of retries if other instances use the same names: the number of ids.
const MAX_COLLISIONS: u32 = 127;

/// Maximum wait for another start of the same instance.
const START_TIMEOUT: Duration = Duration::from_secs(5);
