//! `Probe` and `ProbeSet`: the interface of probes, and their threads.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::graph::{Graph, GraphError, GraphWriter, Metadata, Node, NodeId, Origin};
use crate::sys::eventfd::{EventFd, wait_readable};
use crate::sys::timerfd::TimerFd;
use crate::time::{Clock as _, SystemClock, Timestamp};
use crate::topology::tid;

/// A watcher of a part of the host that updates the graph.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use std::time::Duration;
///
/// use skylib::graph::{Graph, MetadataOp};
/// use skylib::topology::{Probe, ProbeContext, ProbeError, ProbeSet, ProbeTarget};
///
/// struct LoadProbe(ProbeTarget);
///
/// impl Probe for LoadProbe {
///     fn name(&self) -> &'static str {
///         "load"
///     }
///
///     fn run(&mut self, context: &ProbeContext) -> Result<(), ProbeError> {
///         loop {
///             let load = std::fs::read_to_string("/proc/loadavg")
///                 .map_err(|error| ProbeError::system("cannot read /proc/loadavg", error))?;
///             let op = MetadataOp::set("Load", load.trim_end());
///             let update = |graph: &mut Graph, now| graph.patch_node(&self.0.root, &[op], now);
///             self.0.update(update).transpose()?;
///             context.running();
///             if context.wait(Duration::from_secs(5)) {
///                 return Ok(());
///             }
///         }
///     }
/// }
///
/// let graph = Arc::new(Mutex::new(Graph::new()));
/// let target = ProbeTarget::for_host(graph.clone(), "edge-01")?;
/// let mut probes = ProbeSet::new();
/// probes.start(LoadProbe(target))?;
/// # while graph.lock().unwrap().nodes().all(|node| node.metadata.get("Load").is_none()) {
/// #     std::thread::yield_now();
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Probe: Send {
    /// Returns the name of the probe in the configuration and in `/api/status`.
    fn name(&self) -> &'static str;

    /// Runs on a separate thread until the probe has to stop ([`ProbeContext::wait`],
    /// [`ProbeContext::stop`]).
    ///
    /// A probe that ends with an error is started again, after 1 s and then after twice the previous
    /// time, up to 5 s; [`ProbeContext::running`] resets this time. A probe that returns without
    /// an error has ended.
    ///
    /// # Errors
    /// Returns [`ProbeError`] if the probe cannot work at all. Partial failures are reported by
    /// [`ProbeContext::problem`] instead.
    fn run(&mut self, context: &ProbeContext) -> Result<(), ProbeError>;
}

/// Reason why a probe cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// A system call failed.
    #[error("{action}")]
    System {
        /// Failed action, such as `cannot read /proc/loadavg`.
        action: &'static str,
        /// Error of the system.
        #[source]
        source: io::Error,
    },
    /// The graph rejected a change.
    #[error("cannot update the graph")]
    Graph(#[from] GraphError),
    /// Any other failure, with its description.
    #[error("{0}")]
    Failed(String),
}

impl ProbeError {
    /// Returns the error of a failed system call; `action` names it, such as
    /// `cannot read /proc/loadavg`.
    #[must_use]
    pub const fn system(action: &'static str, source: io::Error) -> Self {
        Self::System { action, source }
    }
}

/// The graph that probes update, and the node of their host.
#[derive(Clone)]
#[non_exhaustive]
pub struct ProbeTarget {
    /// Graph to update.
    pub graph: Arc<dyn GraphWriter>,
    /// Origin of the elements that probes add: `agent.<host id>`.
    pub origin: Origin,
    /// Node of the host, which must be in the graph.
    pub root: NodeId,
}

impl ProbeTarget {
    /// Adds the node of a host to a graph, and returns a target with this node as its root.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use skylib::graph::Graph;
    /// use skylib::topology::ProbeTarget;
    /// let graph = Arc::new(Mutex::new(Graph::new()));
    /// let target = ProbeTarget::for_host(graph.clone(), "edge-01")?;
    /// assert_eq!(target.origin.to_string(), "agent.edge-01");
    /// assert!(graph.lock().expect("no thread panics").node(&target.root).is_some());
    /// # Ok::<(), skylib::graph::GraphError>(())
    /// ```
    ///
    /// # Errors
    /// Returns [`GraphError`] if the graph does not accept the node.
    pub fn for_host(graph: Arc<dyn GraphWriter>, host: &str) -> Result<Self, GraphError> {
        let id = tid::node_id(&tid::of_host(host).to_string());
        let target = Self::new(graph, Origin::new("agent", host), id);
        let metadata = Metadata::from_iter([("Name", host), ("Type", "host")]);
        let added = target.update(|graph, now| {
            let node = Node::new(target.root.clone(), metadata, now);
            graph.add_node(node.with_origin(target.origin.clone()))
        });
        added.transpose()?;
        Ok(target)
    }

    /// Returns a target whose root is already in the graph.
    pub fn new(graph: Arc<dyn GraphWriter>, origin: Origin, root: NodeId) -> Self {
        Self {
            graph,
            origin,
            root,
        }
    }

    /// Runs one transaction on the graph, and returns its result; `None` if the owner of the graph
    /// did not run it.
    pub fn update<T>(&self, work: impl FnOnce(&mut Graph, Timestamp) -> T) -> Option<T> {
        let mut work = Some(work);
        let mut result = None;
        self.graph.update(&mut |graph, now| {
            if let Some(work) = work.take() {
                result = Some(work(graph, now));
            }
        });
        result
    }
}

/// A graph without an engine: transactions run under the lock, at the time of the system clock. If
/// the graph has a journal, its owner must take the events regularly.
impl GraphWriter for Mutex<Graph> {
    fn update(&self, work: &mut dyn FnMut(&mut Graph, Timestamp)) {
        let mut graph = self.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut graph, SystemClock.now());
    }
}

impl fmt::Debug for ProbeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeTarget")
            .field("origin", &self.origin)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// The connection of a running probe to its [`ProbeSet`]: the stop signal and the status.
#[derive(Clone, Debug)]
pub struct ProbeContext {
    stop: Arc<EventFd>,
    report: Arc<Mutex<Report>>,
}

#[derive(Debug, Default)]
struct Report {
    state: ProbeState,
    /// Number of starts after an error.
    restarts: u64,
    /// Number of complete reads after lost events.
    resyncs: u64,
    /// Number of failures since the probe last reported that it is running.
    failures: u32,
    /// Current problems by the part of the probe's work that they concern.
    problems: BTreeMap<String, String>,
}

impl ProbeContext {
    fn new() -> io::Result<Self> {
        Ok(Self {
            stop: Arc::new(EventFd::new()?),
            report: Arc::default(),
        })
    }

    /// Returns a descriptor that becomes readable when the probe has to stop, for `poll`.
    ///
    /// The probe must then end within a second.
    #[must_use]
    pub fn stop(&self) -> BorrowedFd<'_> {
        self.stop.as_fd()
    }

    /// Returns whether the probe has to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_raised()
    }

    /// Returns the stop signal itself.
    pub(super) fn stop_event(&self) -> &EventFd {
        &self.stop
    }

    /// Waits for a time, or until the probe has to stop; returns whether it has to stop.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        wait_for_stop(&self.stop, timeout)
    }

    /// Reports that the initial state is in the graph.
    pub fn running(&self) {
        let mut report = self.report();
        report.state = ProbeState::Running;
        report.failures = 0;
    }

    /// Sets the problem of a part of the probe's work (a namespace, a daemon); `None` removes it.
    pub fn problem(&self, part: &str, text: Option<String>) {
        let problems = &mut self.report().problems;
        match text {
            Some(text) => problems.insert(part.to_owned(), text),
            None => problems.remove(part),
        };
    }

    /// Locks the report, even after a panic: each change to it is a single assignment.
    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports that events were lost, and that the complete state is read again therefore.
    pub fn resynced(&self) {
        let mut report = self.report();
        report.resyncs = report.resyncs.saturating_add(1);
    }

    fn set_state(&self, state: ProbeState) {
        self.report().state = state;
    }

    /// Records a failure, and returns the time to wait before the next start.
    fn failed(&self, text: String) -> Duration {
        let mut report = self.report();
        report.problems.clear();
        report.problems.insert(String::new(), text);
        report.state = ProbeState::Starting;
        report.failures = report.failures.saturating_add(1);
        let doublings = report.failures.saturating_sub(1).min(10);
        (FIRST_BACKOFF * 2_u32.pow(doublings)).min(MAX_BACKOFF)
    }

    fn restarted(&self) {
        let mut report = self.report();
        report.restarts = report.restarts.saturating_add(1);
        report.problems.clear();
    }

    fn status(&self, name: &'static str) -> ProbeStatus {
        let report = self.report();
        let mut problems = report.problems.values();
        let error = problems.next().map(|first| match problems.len() {
            0 => first.clone(),
            more => format!("{first} (and {more} more)"),
        });
        ProbeStatus {
            name,
            state: report.state,
            restarts: report.restarts,
            resyncs: report.resyncs,
            error,
        }
    }
}

/// State of a probe; `/api/status` shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProbeState {
    /// The initial state is not in the graph yet, or the probe waits to be started again after an
    /// error.
    #[default]
    Starting,
    /// The probe follows changes.
    Running,
    /// The probe has been signaled to stop.
    Stopping,
    /// The thread of the probe has ended.
    Stopped,
}

impl fmt::Display for ProbeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        })
    }
}

/// Status of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProbeStatus {
    /// Name of the probe.
    pub name: &'static str,
    /// State of the probe.
    pub state: ProbeState,
    /// Number of times the probe was started again after an error.
    pub restarts: u64,
    /// Number of times events were lost, for example in a full netlink queue, and the complete state
    /// was read again.
    pub resyncs: u64,
    /// First current problem, with a remedy if one is known, and the number of further problems;
    /// `None` without problems.
    pub error: Option<String>,
}

/// Probes of one host, each on its own thread; stopped on drop.
///
/// ```
/// use skylib::topology::{Probe, ProbeContext, ProbeError, ProbeSet, ProbeState};
/// # struct Idle;
/// # impl Probe for Idle {
/// #     fn name(&self) -> &'static str { "idle" }
/// #     fn run(&mut self, _: &ProbeContext) -> Result<(), ProbeError> { Ok(()) }
/// # }
/// let mut probes = ProbeSet::new();
/// probes.start(Idle)?;
/// probes.stop();
/// assert_eq!(probes.status()[0].state, ProbeState::Stopped);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct ProbeSet {
    probes: Vec<StartedProbe>,
}

#[derive(Debug)]
struct StartedProbe {
    name: &'static str,
    context: ProbeContext,
    /// `None` after the thread has been joined.
    thread: Option<JoinHandle<()>>,
}

impl ProbeSet {
    /// Returns an empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a probe on a separate thread; its result is shown in [`ProbeSet::status`].
    ///
    /// # Errors
    /// Returns the system error if no thread or file descriptor can be created.
    pub fn start(&mut self, mut probe: impl Probe + 'static) -> io::Result<()> {
        let name = probe.name();
        let context = ProbeContext::new()?;
        let inside = context.clone();
        let run = move || {
            let _guard = ReportEnd(&inside);
            supervise(&mut probe, &inside);
        };
        let thread = thread::Builder::new()
            .name(format!("probe-{name}"))
            .spawn(run)?;
        self.probes.push(StartedProbe {
            name,
            context,
            thread: Some(thread),
        });
        Ok(())
    }

    /// Adds the status of a probe that cannot be started, with the reason.
    ///
    /// # Errors
    /// Returns the system error if no file descriptor can be created.
    pub fn add_unavailable(&mut self, name: &'static str, reason: &str) -> io::Result<()> {
        let context = ProbeContext::new()?;
        context.problem("", Some(reason.to_owned()));
        context.set_state(ProbeState::Stopped);
        self.probes.push(StartedProbe {
            name,
            context,
            thread: None,
        });
        Ok(())
    }

    /// Signals all probes to stop, then waits for each.
    pub fn stop(&mut self) {
        for probe in &self.probes {
            if probe.thread.is_some() {
                probe.context.set_state(ProbeState::Stopping);
                probe.context.stop.raise();
            }
        }
        for probe in &mut self.probes {
            if let Some(thread) = probe.thread.take() {
                // `ReportEnd` has reported a panic.
                let _ended = thread.join();
                // A thread that had ended before it was signaled would have the status "stopping"
                // forever.
                probe.context.set_state(ProbeState::Stopped);
            }
        }
    }

    /// Returns the status of each probe, in the order of their start.
    #[must_use]
    pub fn status(&self) -> Vec<ProbeStatus> {
        self.probes
            .iter()
            .map(|probe| probe.context.status(probe.name))
            .collect()
    }
}

impl Drop for ProbeSet {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs a probe, and starts it again after each error, until it has to stop.
fn supervise(probe: &mut impl Probe, context: &ProbeContext) {
    while let Err(error) = probe.run(context) {
        let cause = std::error::Error::source(&error);
        let cause = cause.map(|c| format!(": {c}")).unwrap_or_default();
        let text = format!("{error}{cause}");
        // Further failures of the same kind are visible in the status.
        if context.report().failures == 0 {
            tracing::warn!(probe = probe.name(), "{text}");
        }
        if context.wait(context.failed(text)) {
            return;
        }
        context.restarted();
    }
}

/// Time before a failed probe is started again for the first time.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// Maximum time before a failed probe is started again.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// Waits for a time, or until `stop` is raised; returns whether it was raised.
pub(super) fn wait_for_stop(stop: &EventFd, timeout: Duration) -> bool {
    let waited = TimerFd::new().and_then(|timer| {
        timer.once(timeout)?;
        wait_readable([stop.as_fd(), timer.as_fd()])
    });
    // Without a timer there is no pause, and a loop without a pause would fully load a CPU.
    waited.map_or(true, |[stopped, _]| stopped)
}

/// Reports on drop that a probe has ended, whether it returned or panicked.
struct ReportEnd<'a>(&'a ProbeContext);

impl Drop for ReportEnd<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.problem("", Some("the probe panicked".to_owned()));
        }
        self.0.set_state(ProbeState::Stopped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Idle;

    impl Probe for Idle {
        fn name(&self) -> &'static str {
            "idle"
        }

        fn run(&mut self, context: &ProbeContext) -> Result<(), ProbeError> {
            context.problem("a", Some("no a".to_owned()));
            context.problem("b", Some("no b".to_owned()));
            context.problem("c", Some("no c".to_owned()));
            context.problem("c", None);
            context.running();
            while !context.wait(Duration::from_secs(60)) {}
            Ok(())
        }
    }

    struct Broken;

    impl Probe for Broken {
        fn name(&self) -> &'static str {
            "broken"
        }

        fn run(&mut self, _: &ProbeContext) -> Result<(), ProbeError> {
            let source = io::Error::other("no luck");
            Err(ProbeError::system("cannot open it", source))
        }
    }

    struct Panicking;

    impl Probe for Panicking {
        fn name(&self) -> &'static str {
            "panicking"
        }

        fn run(&mut self, _: &ProbeContext) -> Result<(), ProbeError> {
            std::panic::resume_unwind(Box::new("on purpose"))
        }
    }

    fn wait_for(set: &ProbeSet, index: usize, state: ProbeState) -> ProbeStatus {
        loop {
            let status = set.status().swap_remove(index);
            if status.state == state {
                return status;
            }
            thread::yield_now();
        }
    }

    #[test]
    fn a_broken_probe_does_not_stop_another() {
        let mut set = ProbeSet::new();
        set.start(Broken).unwrap();
        set.start(Idle).unwrap();
        set.start(Panicking).unwrap();
        let broken = loop {
            let status = set.status().swap_remove(0);
            if status.error.is_some() {
                break status;
            }
            thread::yield_now();
        };
        assert_eq!(broken.error.as_deref(), Some("cannot open it: no luck"));
        assert_eq!(broken.state, ProbeState::Starting);
        let panicked = wait_for(&set, 2, ProbeState::Stopped);
        assert_eq!(panicked.error.as_deref(), Some("the probe panicked"));
        let idle = wait_for(&set, 1, ProbeState::Running);
        assert_eq!(idle.error.as_deref(), Some("no a (and 1 more)"));
        set.stop();
        assert!(
            set.status()
                .iter()
                .all(|status| status.state == ProbeState::Stopped)
        );
        set.add_unavailable("none", "not part of this version")
            .unwrap();
        let status = set.status().swap_remove(3);
        assert_eq!((status.name, status.state), ("none", ProbeState::Stopped));
        assert_eq!(status.error.as_deref(), Some("not part of this version"));
        assert_eq!(set.status()[1].state.to_string(), "stopped");
    }

    #[test]
    fn the_time_between_starts_doubles_until_the_probe_runs() {
        let context = ProbeContext::new().unwrap();
        context.problem("daemon", Some("lost".to_owned()));
        let seconds: Vec<u64> = (0..7)
            .map(|_| context.failed("no daemon".to_owned()).as_secs())
            .collect();
        assert_eq!(seconds, [1, 2, 4, 5, 5, 5, 5]);
        let status = context.status("x");
        assert_eq!(
            status.error.as_deref(),
            Some("no daemon"),
            "the former run has ended"
        );
        context.restarted();
        assert_eq!(context.status("x").error, None);
        context.running();
        assert_eq!(context.failed("again".to_owned()).as_secs(), 1);
        assert_eq!(context.status("x").restarts, 1);
    }
}
