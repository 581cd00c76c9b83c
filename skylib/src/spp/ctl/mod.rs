//! `SppCtl`: the table of processes, and what can be asked of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::command::{Action, Launch};
use super::cpu::{self, SocketLayout};
use super::pcap_process::PcapProcess;
use super::primary::PrimaryStatus;
use super::reply::{Cores, Reply};
use super::secondary::Secondary;
use super::{FlowTap, PcapSpec, Ports, SppError};
use crate::time::Clock;

/// The table of processes by id; one call for each thing SPP's REST API can ask.
///
/// Calls may wait: for files to be written, or for a process elsewhere. None waits for ever, and
/// none that only looks at instances of this library waits at all.
pub struct SppCtl {
    ports: Ports,
    clock: Arc<dyn Clock>,
    tap: Option<Arc<dyn FlowTap>>,
    /// Folder below which launched instances write; none is no virtual primary.
    launch_root: Option<PathBuf>,
    /// The virtual primary's counters when they were cleared.
    cleared: Mutex<Option<PrimaryStatus>>,
    /// In the order in which they came.
    processes: RwLock<Vec<Process>>,
}

#[derive(Clone)]
enum Process {
    Pcap(Arc<PcapProcess>),
    Secondary(Arc<Secondary>),
}

impl Process {
    fn id(&self) -> u8 {
        match self {
            Self::Pcap(process) => process.spec().client_id,
            Self::Secondary(process) => process.id,
        }
    }

    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Pcap(a), Self::Pcap(b)) => Arc::ptr_eq(a, b),
            (Self::Secondary(a), Self::Secondary(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl SppCtl {
    /// A table without processes.
    #[must_use]
    pub fn new(ports: Ports, clock: Arc<dyn Clock>) -> Self {
        Self {
            ports,
            clock,
            tap: None,
            launch_root: None,
            cleared: Mutex::default(),
            processes: RwLock::default(),
        }
    }

    /// With a place for the flows of instances that have them.
    #[must_use]
    pub fn with_tap(mut self, tap: Arc<dyn FlowTap>) -> Self {
        self.tap = Some(tap);
        self
    }

    /// With a virtual primary, which starts instances for clients; their files go below a folder.
    #[must_use]
    pub fn with_launch_root(mut self, folder: impl Into<PathBuf>) -> Self {
        self.launch_root = Some(folder.into());
        self
    }

    /// Adds an instance, which is idle.
    ///
    /// # Errors
    /// When its settings make no sense, or another process has its id.
    pub fn add(&self, spec: PcapSpec) -> Result<(), SppError> {
        let process = PcapProcess::new(spec, &self.ports, Arc::clone(&self.clock))?;
        let process = process.with_tap(self.tap.clone());
        self.insert(Process::Pcap(Arc::new(process)))
    }

    pub(super) fn add_secondary(&self, process: Secondary) -> Result<(), SppError> {
        self.sweep();
        self.insert(Process::Secondary(Arc::new(process)))
    }

    fn insert(&self, process: Process) -> Result<(), SppError> {
        let mut processes = self.processes.write();
        let id = process.id();
        if processes.iter().any(|other| other.id() == id) {
            return Err(SppError::IdInUse(id));
        }
        processes.push(process);
        Ok(())
    }

    /// The instances of this library.
    #[must_use]
    pub fn instances(&self) -> Vec<Arc<PcapProcess>> {
        let processes = self.processes.read();
        let instance = |process: &Process| match process {
            Process::Pcap(process) => Some(Arc::clone(process)),
            Process::Secondary(_) => None,
        };
        processes.iter().filter_map(instance).collect()
    }

    /// All processes, the virtual primary first; those that are gone are left out from now on.
    #[must_use]
    pub fn processes(&self) -> Vec<ProcessEntry> {
        self.sweep();
        let primary = self.launch_root.as_ref().map(|_| ProcessEntry {
            kind: "primary",
            client_id: None,
        });
        let processes = self.processes.read();
        let others = processes.iter().map(|process| ProcessEntry {
            kind: PCAP,
            client_id: Some(process.id()),
        });
        primary.into_iter().chain(others).collect()
    }

    /// How a process is, as JSON. The id is text of the form `-?[0-9]+`.
    ///
    /// # Errors
    /// [`SppError::NoProcess`], or that a process elsewhere does not answer.
    pub fn pcap(&self, id: &str) -> Result<Box<RawValue>, SppError> {
        match self.find(id)? {
            Process::Pcap(process) => Ok(as_json(&process.status())),
            Process::Secondary(process) => {
                let reply = self.command(&process, "status")?;
                let info = reply.info.filter(|info| info.get().starts_with('{'));
                info.ok_or_else(|| SppError::NoAnswer {
                    id: process.id,
                    reason: "the reply has no info".to_owned(),
                })
            }
        }
    }

    /// Starts or stops a capture, as the body of the request says.
    ///
    /// # Errors
    /// [`SppError::NoProcess`] first of all, then what is wrong with the body, then why it cannot
    /// be done.
    pub fn capture(&self, id: &str, body: &[u8]) -> Result<(), SppError> {
        let process = self.find(id)?;
        let action = Action::parse(body)?;
        match (process, action) {
            (Process::Pcap(process), Action::Start) => process.start(),
            (Process::Pcap(process), Action::Stop) => process.stop(STOP_PATIENCE),
            (Process::Secondary(process), Action::Start) => {
                self.command(&process, "start").map(drop)
            }
            (Process::Secondary(process), Action::Stop) => self.command(&process, "stop").map(drop),
        }
    }

    /// Ends a process: it is gone from the table at once, and its files are completed.
    ///
    /// # Errors
    /// [`SppError::NoProcess`].
    pub fn delete(&self, id: &str) -> Result<(), SppError> {
        let process = self.find(id)?;
        if !self.remove(&process) {
            return Err(SppError::NoProcess(normal(id)));
        }
        match process {
            Process::Pcap(process) => {
                if process.exit(EXIT_PATIENCE).is_err() {
                    tracing::warn!(id, "what it captured is still being written");
                }
            }
            Process::Secondary(process) => {
                if let Err(error) = process.command("exit") {
                    tracing::warn!(id, %error, "it may go on");
                }
            }
        }
        Ok(())
    }

    /// Which processors each process uses.
    #[must_use]
    pub fn cpu_usage(&self) -> Vec<CpuUsage> {
        let processes = self.processes.read().clone();
        // All at once: one that keeps silent must not hold up the others.
        thread::scope(|scope| {
            let asked: Vec<_> = processes
                .iter()
                .map(|process| match process {
                    Process::Pcap(process) => Ok(usage_of(process)),
                    Process::Secondary(process) => Err(scope.spawn(|| self.ask_usage(process))),
                })
                .collect();
            asked
                .into_iter()
                .filter_map(|usage| match usage {
                    Ok(usage) => Some(usage),
                    Err(asked) => asked.join().ok().flatten(),
                })
                .collect()
        })
    }

    /// Which processors there are; empty when the system does not tell.
    #[must_use]
    pub fn cpu_layout(&self) -> Vec<SocketLayout> {
        cpu::layout(Path::new("/sys/devices/system/cpu"))
    }

    /// What is said of processes of other kinds, which there are none of.
    #[must_use]
    pub fn no_process(&self, id: &str) -> SppError {
        SppError::NoProcess(normal(id))
    }

    /// Whether there is a primary.
    ///
    /// # Errors
    /// [`SppError::NoPrimary`] where there is none.
    pub fn primary(&self) -> Result<(), SppError> {
        self.launch_root
            .as_ref()
            .map(|_| ())
            .ok_or(SppError::NoPrimary)
    }

    /// How the virtual primary is.
    ///
    /// # Errors
    /// [`SppError::NoPrimary`] where there is none.
    pub fn primary_status(&self) -> Result<PrimaryStatus, SppError> {
        self.primary()?;
        let status = self.kernel_counters();
        Ok(match &*self.cleared.lock() {
            Some(cleared) => status.since(cleared),
            None => status,
        })
    }

    /// Lets the virtual primary's counters begin at 0; those of the kernel stay.
    ///
    /// # Errors
    /// [`SppError::NoPrimary`] where there is none.
    pub fn clear_primary(&self) -> Result<(), SppError> {
        self.primary()?;
        *self.cleared.lock() = Some(self.kernel_counters());
        Ok(())
    }

    fn kernel_counters(&self) -> PrimaryStatus {
        PrimaryStatus::read(&self.ports, Path::new("/sys/class/net"))
    }

    /// Starts an instance, as the body of the request says.
    ///
    /// # Errors
    /// What the body lacks, then [`SppError::NoPrimary`], then what is wrong with it.
    pub fn launch(&self, body: &[u8]) -> Result<(), SppError> {
        let launch = Launch::parse(body)?;
        let root = self.launch_root.as_ref().ok_or(SppError::NoPrimary)?;
        let spec = launch.spec(root)?;
        let instances = self.instances();
        let others = instances.iter().map(|instance| instance.spec().rings());
        let bytes = others.sum::<u64>() + spec.rings();
        if bytes > MOST_RINGS {
            let (bytes, most) = (bytes >> 20, MOST_RINGS >> 20);
            return Err(SppError::Spec(format!(
                "the rings of all writers would take {bytes} MiB, {most} MiB are allowed to launch"
            )));
        }
        self.add(spec)
    }

    /// Ends all captures of this library for good, all at once; tells whether everything was
    /// written in time.
    pub fn stop(&self, patience: Duration) -> bool {
        let instances = self.instances();
        for instance in &instances {
            instance.request_stop();
        }
        thread::scope(|scope| {
            let ended: Vec<_> = instances
                .iter()
                .map(|instance| scope.spawn(move || instance.exit(patience).is_ok()))
                .collect();
            ended.into_iter().all(|ended| ended.join().unwrap_or(false))
        })
    }

    fn find(&self, id: &str) -> Result<Process, SppError> {
        let id = normal(id);
        let number: Option<u8> = id.parse().ok();
        let processes = self.processes.read();
        let found = processes
            .iter()
            .find(|process| Some(process.id()) == number);
        found.cloned().ok_or(SppError::NoProcess(id))
    }

    /// Whether it was there.
    fn remove(&self, process: &Process) -> bool {
        let mut processes = self.processes.write();
        let before = processes.len();
        processes.retain(|other| !other.is(process));
        processes.len() < before
    }

    /// A process that does not answer is gone: it will connect again.
    fn command(&self, process: &Arc<Secondary>, command: &str) -> Result<Reply, SppError> {
        match process.command(command) {
            Ok(reply) => match reply.refusal() {
                Some(message) => Err(SppError::Refused(message)),
                None => Ok(reply),
            },
            Err(error) => {
                self.sweep();
                Err(process.error(error))
            }
        }
    }

    fn ask_usage(&self, process: &Arc<Secondary>) -> Option<CpuUsage> {
        let info = self.command(process, "status").ok()?.info?;
        let cores: Cores = serde_json::from_str(info.get()).ok()?;
        let lcores = cores.core.iter().map(|core| core.core);
        Some(CpuUsage {
            proc_type: PCAP,
            client_id: process.id,
            master_lcore: cores.master,
            lcores: std::iter::once(cores.master).chain(lcores).collect(),
        })
    }

    /// Leaves out processes whose connection has ended.
    fn sweep(&self) {
        let processes = self.processes.read().clone();
        for process in processes {
            if let Process::Secondary(secondary) = &process
                && !secondary.is_alive()
                && self.remove(&process)
            {
                tracing::info!(id = secondary.id, "a process of SPP has gone");
            }
        }
    }
}

fn usage_of(process: &PcapProcess) -> CpuUsage {
    let spec = process.spec();
    CpuUsage {
        proc_type: PCAP,
        client_id: spec.client_id,
        master_lcore: spec.cores.first().copied().unwrap_or_default(),
        lcores: spec.cores.clone(),
    }
}

/// An id as a number would be written: `001` is `1`.
fn normal(id: &str) -> String {
    let (sign, digits) = match id.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", id),
    };
    match digits.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => format!("{sign}{digits}"),
    }
}

fn as_json(value: &impl Serialize) -> Box<RawValue> {
    // Text keys and plain values always are JSON.
    to_raw_value(value).unwrap_or_default()
}

/// One process in the list of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProcessEntry {
    /// `pcap` or `primary`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its id, which the primary has not.
    #[serde(rename = "client-id", skip_serializing_if = "Option::is_none")]
    pub client_id: Option<u8>,
}

/// Which processors a process uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CpuUsage {
    /// `pcap`.
    #[serde(rename = "proc-type")]
    pub proc_type: &'static str,
    /// Its id.
    #[serde(rename = "client-id")]
    pub client_id: u8,
    /// The first of them.
    #[serde(rename = "master-lcore")]
    pub master_lcore: u32,
    /// All of them.
    pub lcores: Vec<u32>,
}

const PCAP: &str = "pcap";

/// Bytes of the rings of all instances beyond which none is launched: the kernel cannot swap them
/// out. Each id may have a writer.
const MOST_RINGS: u64 = 1 << 30;

/// How long a stop may write, before it is told that it has not ended yet.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How long a process that is deleted may, before the answer.
const EXIT_PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
