//! `SppCtl`: table of processes, and the operations of SPP's REST API.

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

/// Table of processes by id, with a method for each operation of SPP's REST API.
///
/// Calls may block, with timeouts, until files are written or a connected process replies. Calls
/// that only read the state of instances of this library do not block.
pub struct SppCtl {
    ports: Ports,
    clock: Arc<dyn Clock>,
    tap: Option<Arc<dyn FlowTap>>,
    /// Folder below which launched instances write; `None` disables the virtual primary.
    launch_root: Option<PathBuf>,
    /// Counters of the virtual primary at the time they were last cleared.
    cleared: Mutex<Option<PrimaryStatus>>,
    /// Processes in insertion order. Ids are unique.
    processes: RwLock<Vec<Process>>,
}

/// Process in the table.
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
    /// Creates an empty table.
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

    /// Sets the consumer of the packets of instances that enable `flows`.
    #[must_use]
    pub fn with_tap(mut self, tap: Arc<dyn FlowTap>) -> Self {
        self.tap = Some(tap);
        self
    }

    /// Enables the virtual primary, through which clients launch instances that write to `folder`
    /// or a folder below it.
    #[must_use]
    pub fn with_launch_root(mut self, folder: impl Into<PathBuf>) -> Self {
        self.launch_root = Some(folder.into());
        self
    }

    /// Adds an idle instance.
    ///
    /// # Errors
    /// Returns an error if the settings are invalid or if another process uses the id.
    pub fn add(&self, spec: PcapSpec) -> Result<(), SppError> {
        let process = PcapProcess::new(spec, &self.ports, Arc::clone(&self.clock))?;
        let process = process.with_tap(self.tap.clone());
        self.insert(Process::Pcap(Arc::new(process)))
    }

    /// Adds a connected process.
    pub(super) fn add_secondary(&self, process: Secondary) -> Result<(), SppError> {
        self.sweep();
        self.insert(Process::Secondary(Arc::new(process)))
    }

    /// Adds a process unless its id is in use.
    fn insert(&self, process: Process) -> Result<(), SppError> {
        let mut processes = self.processes.write();
        let id = process.id();
        if processes.iter().any(|other| other.id() == id) {
            return Err(SppError::IdInUse(id));
        }
        processes.push(process);
        Ok(())
    }

    /// Returns the instances of this library.
    #[must_use]
    pub fn instances(&self) -> Vec<Arc<PcapProcess>> {
        let processes = self.processes.read();
        let instance = |process: &Process| match process {
            Process::Pcap(process) => Some(Arc::clone(process)),
            Process::Secondary(_) => None,
        };
        processes.iter().filter_map(instance).collect()
    }

    /// Returns all processes, the virtual primary first. Removes processes that have disconnected.
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

    /// Returns the status of a process as JSON. The id is a string of the form `-?[0-9]+`.
    ///
    /// # Errors
    /// Returns [`SppError::NoProcess`] if there is no such process, and [`SppError::NoAnswer`] if a
    /// connected process does not reply.
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

    /// Starts or stops a capture, according to the body of the request.
    ///
    /// # Errors
    /// Returns, in this order of precedence, [`SppError::NoProcess`], an error for an invalid body,
    /// or the error of the action.
    pub fn capture(&self, id: &str, body: &[u8]) -> Result<(), SppError> {
        let process = self.find(id)?;
        let action = Action::parse(body)?;
        match (process, action) {
            (Process::Pcap(process), Action::Start) => process.start(),
            (Process::Pcap(process), Action::Stop) => process.stop(STOP_TIMEOUT),
            (Process::Secondary(process), Action::Start) => {
                self.command(&process, "start").map(drop)
            }
            (Process::Secondary(process), Action::Stop) => self.command(&process, "stop").map(drop),
        }
    }

    /// Removes a process from the table, ends the process, and completes its files.
    ///
    /// # Errors
    /// Returns [`SppError::NoProcess`] if there is no such process.
    pub fn delete(&self, id: &str) -> Result<(), SppError> {
        let process = self.find(id)?;
        if !self.remove(&process) {
            return Err(SppError::NoProcess(normalized(id)));
        }
        match process {
            Process::Pcap(process) => {
                if process.exit(EXIT_TIMEOUT).is_err() {
                    tracing::warn!(id, "deleted instance is still writing its files");
                }
            }
            Process::Secondary(process) => {
                if let Err(error) = process.command("exit") {
                    tracing::warn!(id, %error, "cannot confirm the exit of a deleted SPP process");
                }
            }
        }
        Ok(())
    }

    /// Returns the logical CPUs that each process uses.
    #[must_use]
    pub fn cpu_usage(&self) -> Vec<CpuUsage> {
        let processes = self.processes.read().clone();
        // In parallel: a process that does not reply must not delay the others.
        thread::scope(|scope| {
            let queries: Vec<_> = processes
                .iter()
                .map(|process| match process {
                    Process::Pcap(process) => Ok(usage_of(process)),
                    Process::Secondary(process) => Err(scope.spawn(|| self.query_usage(process))),
                })
                .collect();
            queries
                .into_iter()
                .filter_map(|usage| match usage {
                    Ok(usage) => Some(usage),
                    Err(query) => query.join().ok().flatten(),
                })
                .collect()
        })
    }

    /// Returns the CPU layout of this machine; empty if the kernel does not report it.
    #[must_use]
    pub fn cpu_layout(&self) -> Vec<SocketLayout> {
        cpu::layout(Path::new("/sys/devices/system/cpu"))
    }

    /// Returns the error for a process of a type that this library does not have.
    #[must_use]
    pub fn no_process(&self, id: &str) -> SppError {
        SppError::NoProcess(normalized(id))
    }

    /// Checks that the virtual primary is enabled.
    ///
    /// # Errors
    /// Returns [`SppError::NoPrimary`] if it is disabled.
    pub fn primary(&self) -> Result<(), SppError> {
        self.launch_root
            .as_ref()
            .map(|_| ())
            .ok_or(SppError::NoPrimary)
    }

    /// Returns the status of the virtual primary.
    ///
    /// # Errors
    /// Returns [`SppError::NoPrimary`] if it is disabled.
    pub fn primary_status(&self) -> Result<PrimaryStatus, SppError> {
        self.primary()?;
        let status = self.kernel_counters();
        Ok(match &*self.cleared.lock() {
            Some(cleared) => status.since(cleared),
            None => status,
        })
    }

    /// Resets the counters of the virtual primary. The kernel's counters are not changed.
    ///
    /// # Errors
    /// Returns [`SppError::NoPrimary`] if it is disabled.
    pub fn clear_primary(&self) -> Result<(), SppError> {
        self.primary()?;
        *self.cleared.lock() = Some(self.kernel_counters());
        Ok(())
    }

    fn kernel_counters(&self) -> PrimaryStatus {
        PrimaryStatus::read(&self.ports, Path::new("/sys/class/net"))
    }

    /// Adds an instance, according to the body of the request.
    ///
    /// # Errors
    /// Returns, in this order of precedence, the error for a missing key, [`SppError::NoPrimary`],
    /// or the error for an invalid value.
    pub fn launch(&self, body: &[u8]) -> Result<(), SppError> {
        let launch = Launch::parse(body)?;
        let root = self.launch_root.as_ref().ok_or(SppError::NoPrimary)?;
        let spec = launch.spec(root)?;
        let instances = self.instances();
        let others = instances.iter().map(|instance| instance.spec().rings());
        let bytes = others.sum::<u64>() + spec.rings();
        if bytes > MAX_RING_BYTES {
            let (bytes, most) = (bytes >> 20, MAX_RING_BYTES >> 20);
            return Err(SppError::Spec(format!(
                "the rings of all writers would use {bytes} MiB, more than the limit of {most} MiB"
            )));
        }
        self.add(spec)
    }

    /// Stops all instances of this library permanently, in parallel. Returns whether all files were
    /// written within `timeout`.
    pub fn stop(&self, timeout: Duration) -> bool {
        let instances = self.instances();
        for instance in &instances {
            instance.request_stop();
        }
        thread::scope(|scope| {
            let ended: Vec<_> = instances
                .iter()
                .map(|instance| scope.spawn(move || instance.exit(timeout).is_ok()))
                .collect();
            ended.into_iter().all(|ended| ended.join().unwrap_or(false))
        })
    }

    /// Returns the process with an id; `id` need not be in canonical form.
    fn find(&self, id: &str) -> Result<Process, SppError> {
        let id = normalized(id);
        let number: Option<u8> = id.parse().ok();
        let processes = self.processes.read();
        let found = processes
            .iter()
            .find(|process| Some(process.id()) == number);
        found.cloned().ok_or(SppError::NoProcess(id))
    }

    /// Removes a process; returns whether it was in the table.
    fn remove(&self, process: &Process) -> bool {
        let mut processes = self.processes.write();
        let before = processes.len();
        processes.retain(|other| !other.is(process));
        processes.len() < before
    }

    /// Sends a command to a connected process. A process that does not reply is removed; it then
    /// connects again.
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

    /// Returns the logical CPUs of a connected process; `None` if the process does not reply.
    fn query_usage(&self, process: &Arc<Secondary>) -> Option<CpuUsage> {
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

    /// Removes processes whose connection has ended.
    fn sweep(&self) {
        let processes = self.processes.read().clone();
        for process in processes {
            if let Process::Secondary(secondary) = &process
                && !secondary.is_alive()
                && self.remove(&process)
            {
                tracing::info!(id = secondary.id, "SPP process disconnected");
            }
        }
    }
}

/// Returns the logical CPUs of an instance.
fn usage_of(process: &PcapProcess) -> CpuUsage {
    let spec = process.spec();
    CpuUsage {
        proc_type: PCAP,
        client_id: spec.client_id,
        master_lcore: spec.cores.first().copied().unwrap_or_default(),
        lcores: spec.cores.clone(),
    }
}

/// Returns an id in the canonical form of its number: `001` becomes `1`.
fn normalized(id: &str) -> String {
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
    // Cannot fail: all keys are strings.
    to_raw_value(value).unwrap_or_default()
}

/// Entry of the process list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProcessEntry {
    /// `pcap` or `primary`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Id of the process; `None` for the primary.
    #[serde(rename = "client-id", skip_serializing_if = "Option::is_none")]
    pub client_id: Option<u8>,
}

/// Logical CPUs that a process uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CpuUsage {
    /// Type of the process: `pcap`.
    #[serde(rename = "proc-type")]
    pub proc_type: &'static str,
    /// Id of the process.
    #[serde(rename = "client-id")]
    pub client_id: u8,
    /// Number of the first logical CPU (SPP's master lcore).
    #[serde(rename = "master-lcore")]
    pub master_lcore: u32,
    /// Numbers of all logical CPUs, the master first.
    pub lcores: Vec<u32>,
}

/// Type name of capture processes.
const PCAP: &str = "pcap";

/// Maximum total size of all rings at which an instance can be launched, in bytes; rings cannot be
/// swapped out. The limit allows one writer for each id.
const MAX_RING_BYTES: u64 = 1 << 30;

/// Maximum time that a stop request waits for the files to be written.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum time that a delete request waits for the files to be written.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
