//! Probes: how they are started, stopped and asked how they are.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::graph::{Graph, GraphWriter, NodeId, Origin};
use crate::sys::eventfd::EventFd;
use crate::time::Timestamp;

/// Something that watches a part of the host and keeps the graph true to it.
pub trait Probe: Send {
    /// The name it goes by in the configuration and in `/api/status`.
    fn name(&self) -> &'static str;

    /// Watches until it is told to stop ([`ProbeContext::stop`]); it has a thread of its own.
    ///
    /// # Errors
    /// When it can do nothing at all; what it can go on without it tells with
    /// [`ProbeContext::problem`].
    fn run(self: Box<Self>, context: &ProbeContext) -> Result<(), ProbeError>;
}

/// Why a probe cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The system refused something.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Where probes put what they find.
#[derive(Clone)]
pub struct ProbeTarget {
    /// The graph.
    pub graph: Arc<dyn GraphWriter>,
    /// Owner of the elements that probes add: `agent.<host id>`.
    pub origin: Origin,
    /// The host's own node, which must be in the graph.
    pub root: NodeId,
}

impl ProbeTarget {
    /// Returns a target; see the fields.
    pub fn new(graph: Arc<dyn GraphWriter>, origin: Origin, root: NodeId) -> Self {
        Self {
            graph,
            origin,
            root,
        }
    }

    /// One graph transaction with a result; `None` where the owner of the graph did not run it.
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

impl fmt::Debug for ProbeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeTarget")
            .field("origin", &self.origin)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// What a running probe is given: when to stop, and where to tell how it is.
#[derive(Clone, Debug)]
pub struct ProbeContext {
    stop: Arc<EventFd>,
    report: Arc<Mutex<Report>>,
}

#[derive(Debug, Default)]
struct Report {
    state: ProbeState,
    problems: BTreeMap<String, String>,
}

impl ProbeContext {
    fn new() -> io::Result<Self> {
        Ok(Self {
            stop: Arc::new(EventFd::new()?),
            report: Arc::default(),
        })
    }

    /// Raised when the probe has to end, within a second.
    #[must_use]
    pub fn stop(&self) -> &EventFd {
        &self.stop
    }

    /// Tells that the probe has begun and shows what there is.
    pub fn running(&self) {
        self.set_state(ProbeState::Running);
    }

    /// Tells what is wrong with a part of the probe's work (one namespace, one daemon), or that
    /// nothing is any more.
    pub fn problem(&self, part: &str, text: Option<String>) {
        let problems = &mut self
            .report
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .problems;
        match text {
            Some(text) => problems.insert(part.to_owned(), text),
            None => problems.remove(part),
        };
    }

    fn set_state(&self, state: ProbeState) {
        self.report
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .state = state;
    }

    fn status(&self, name: &'static str) -> ProbeStatus {
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let mut problems = report.problems.values();
        let error = problems.next().map(|first| match problems.len() {
            0 => first.clone(),
            more => format!("{first} (and {more} more)"),
        });
        ProbeStatus {
            name,
            state: report.state,
            error,
        }
    }
}

/// How far a probe is. Complete by definition: these four are on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProbeState {
    /// It shows nothing yet.
    #[default]
    Starting,
    /// It shows what there is.
    Running,
    /// It has been told to stop.
    Stopping,
    /// It has ended.
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

/// How a probe is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeStatus {
    /// Its name.
    pub name: &'static str,
    /// How far it is.
    pub state: ProbeState,
    /// What it cannot do and why, with the remedy where there is one.
    pub error: Option<String>,
}

/// The probes of one host, each on its thread. Dropping it stops them.
#[derive(Debug, Default)]
pub struct ProbeSet {
    probes: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    name: &'static str,
    context: ProbeContext,
    thread: Option<JoinHandle<()>>,
}

impl ProbeSet {
    /// No probe.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a probe on a thread of its own; how it fares is in [`ProbeSet::status`].
    ///
    /// # Errors
    /// When the process can have no more threads or descriptors.
    pub fn start(&mut self, probe: impl Probe + 'static) -> io::Result<()> {
        let name = probe.name();
        let context = ProbeContext::new()?;
        let inside = context.clone();
        let run = move || {
            let _ending = Ending(&inside);
            if let Err(error) = Box::new(probe).run(&inside) {
                let cause = std::error::Error::source(&error);
                let cause = cause.map(|c| format!(": {c}")).unwrap_or_default();
                inside.problem("", Some(format!("{error}{cause}")));
            }
        };
        let thread = thread::Builder::new()
            .name(format!("probe-{name}"))
            .spawn(run)?;
        self.probes.push(Running {
            name,
            context,
            thread: Some(thread),
        });
        Ok(())
    }

    /// Tells all probes to stop, then waits for each.
    pub fn stop(&mut self) {
        for probe in &self.probes {
            if probe.thread.is_some() {
                probe.context.set_state(ProbeState::Stopping);
                probe.context.stop.raise();
            }
        }
        for probe in &mut self.probes {
            if let Some(thread) = probe.thread.take() {
                // A panic has been reported by the thread itself.
                let _ended = thread.join();
            }
        }
    }

    /// How each probe is, in the order they were started.
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

/// Tells that a probe has ended, however it did.
struct Ending<'a>(&'a ProbeContext);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.problem("", Some("the probe panicked".to_owned()));
        }
        self.0.set_state(ProbeState::Stopped);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::eventfd::wait_readable;

    struct Idle;

    impl Probe for Idle {
        fn name(&self) -> &'static str {
            "idle"
        }

        fn run(self: Box<Self>, context: &ProbeContext) -> Result<(), ProbeError> {
            context.problem("a", Some("no a".to_owned()));
            context.problem("b", Some("no b".to_owned()));
            context.problem("c", Some("no c".to_owned()));
            context.problem("c", None);
            context.running();
            let what = "waiting";
            wait_readable([context.stop().as_fd()])
                .map_err(|source| ProbeError::System { what, source })?;
            Ok(())
        }
    }

    struct Broken;

    impl Probe for Broken {
        fn name(&self) -> &'static str {
            "broken"
        }

        fn run(self: Box<Self>, _: &ProbeContext) -> Result<(), ProbeError> {
            let source = io::Error::other("no luck");
            Err(ProbeError::System {
                what: "opening it",
                source,
            })
        }
    }

    struct Panicking;

    impl Probe for Panicking {
        fn name(&self) -> &'static str {
            "panicking"
        }

        fn run(self: Box<Self>, _: &ProbeContext) -> Result<(), ProbeError> {
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
        let broken = wait_for(&set, 0, ProbeState::Stopped);
        assert_eq!(broken.error.as_deref(), Some("opening it: no luck"));
        let panicked = wait_for(&set, 2, ProbeState::Stopped);
        assert_eq!(panicked.error.as_deref(), Some("the probe panicked"));
        let idle = wait_for(&set, 1, ProbeState::Running);
        assert_eq!(idle.error.as_deref(), Some("no a (and 1 more)"));
        set.stop();
        assert_eq!(set.status()[1].state, ProbeState::Stopped);
        assert_eq!(set.status()[1].state.to_string(), "stopped");
    }
}
