//! Bridges, ports, and interfaces of Open vSwitch, from its OVSDB server (RFC 7047).
//!
//! The probe monitors four tables and maintains a copy of them. Each change of the copy, and each
//! change of the kernel's links, produces the nodes of the switch anew; only differences are written
//! to the graph. When the connection is lost, the nodes remain until the probe is connected again.

#[cfg(feature = "engine")]
mod client;
#[cfg(feature = "engine")]
mod exports;
mod nodes;
mod row;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "engine")]
pub(crate) use exports::{BridgeExport, SwitchExports};
pub use tables::{OvsdbError, Reply, Tables};

use self::nodes::{InterfaceAddresses, InterfaceMetrics, Surroundings, SwitchNodes};
use super::json_frames::JsonFrames;
use super::netlink::{LinkSummary, Namespaces};
use super::stream::Stream;
use super::{Probe, ProbeContext, ProbeError, ServerAddress, SubgraphWriter};
use crate::graph::Graph;
use crate::sys::eventfd::{EventFd, wait_readable};
use crate::sys::timerfd::TimerFd;

/// A probe of one switch.
#[derive(Debug)]
pub struct OvsdbProbe {
    address: ServerAddress,
    namespaces: Arc<Namespaces>,
    writer: SubgraphWriter,
    /// Whether the counters of the interfaces are shown.
    has_metrics: bool,
    /// Whether the probe reports no problem on a host without the switch.
    is_optional: bool,
    /// Whether the switch has been seen: after that, its absence is a problem.
    was_seen: bool,
    metrics: InterfaceMetrics,
    addresses: InterfaceAddresses,
    /// Types that OVSDB has given to links of the kernel, whose TIDs depend on them.
    typed_links: BTreeMap<String, String>,
}

impl OvsdbProbe {
    /// Returns a probe of the switch whose OVSDB server has this address.
    #[must_use]
    pub fn new(namespaces: &Arc<Namespaces>, address: ServerAddress) -> Self {
        Self {
            address,
            namespaces: Arc::clone(namespaces),
            writer: SubgraphWriter::new(namespaces.target().clone()),
            has_metrics: false,
            is_optional: false,
            was_seen: false,
            metrics: InterfaceMetrics::default(),
            addresses: InterfaceAddresses::default(),
            typed_links: BTreeMap::new(),
        }
    }

    /// Sets whether the counters of the interfaces are shown.
    #[must_use]
    pub const fn with_metrics(mut self, has_metrics: bool) -> Self {
        self.has_metrics = has_metrics;
        self
    }

    /// Sets whether the probe waits for the first appearance of the server's socket without reporting
    /// a problem, for hosts that may not have the switch.
    #[must_use]
    pub const fn with_optional(mut self, is_optional: bool) -> Self {
        self.is_optional = is_optional;
        self
    }

    /// Waits until this host has the switch, unless it must have one or had one before; returns
    /// whether to stop.
    fn wait_for_switch(&self, context: &ProbeContext) -> bool {
        let is_missing = || match &self.address {
            ServerAddress::Unix(path) => self.is_optional && !self.was_seen && !path.exists(),
            ServerAddress::Tcp(_) | ServerAddress::Tls { .. } => false,
        };
        while is_missing() {
            // Without the switch, the graph is complete.
            context.running();
            if context.wait(MISSING_PAUSE) {
                return true;
            }
        }
        false
    }

    /// Writes the nodes of the switch to the graph.
    fn show(&mut self, tables: &Tables) {
        self.was_seen = true;
        let target = self.writer.target().clone();
        let read = |graph: &mut Graph, now| {
            let host = graph.node(&target.root)?;
            let tid = host.metadata.get("TID")?.as_text()?.to_owned();
            Some((tid, now))
        };
        // Without the node of the host, nothing can be linked to it.
        let Some((host_tid, now)) = target.update(read).flatten() else {
            return;
        };
        if self.has_metrics {
            self.metrics.update(tables, now);
        }
        self.addresses.update(tables);
        let all = self.namespaces.links();
        let mut links: HashMap<&str, Vec<&LinkSummary>> = HashMap::new();
        for link in &all {
            links.entry(&link.name).or_default().push(link);
        }
        let around = Surroundings {
            host: &target.root,
            host_tid: &host_tid,
            links,
            metrics: &self.metrics,
            addresses: &self.addresses,
        };
        let nodes = SwitchNodes::new(tables, &around);
        self.writer.apply(nodes.subgraph);
        self.set_link_types(nodes.typed_links);
    }

    /// Recomputes the TIDs of links whose type has changed.
    fn set_link_types(&mut self, links: Vec<(LinkSummary, String)>) {
        let mut current = BTreeMap::new();
        for (link, kind) in links {
            let node = link.node.to_string();
            if self.typed_links.get(&node) != Some(&kind) {
                self.namespaces.set_link_type(&link.node, &kind);
            }
            current.insert(node, kind);
        }
        self.typed_links = current;
    }
}

impl Probe for OvsdbProbe {
    fn name(&self) -> &'static str {
        "ovsdb"
    }

    fn run(&mut self, context: &ProbeContext) -> Result<(), ProbeError> {
        if self.wait_for_switch(context) {
            return Ok(());
        }
        let result = Session::open(self, context).and_then(|mut session| session.run());
        match result {
            Err(error) if !context.is_stopping() => Err(ProbeError::Failed(format!(
                "cannot watch the OVSDB server at {}: {error}; check that Open vSwitch runs, \
                 ovs.ovsdb, and the permissions of the socket",
                self.address
            ))),
            _ => Ok(()),
        }
    }
}

/// The connection of a running probe.
struct Session<'a> {
    probe: &'a mut OvsdbProbe,
    context: &'a ProbeContext,
    stream: Stream<'a>,
    frames: JsonFrames,
    tables: Tables,
    /// Raised when links of the kernel change.
    links: Arc<EventFd>,
    /// Timer that expires when the changes have to be written to the graph.
    delay: TimerFd,
    /// Timer that expires when the server has sent nothing for [`SILENCE`].
    silence: TimerFd,
    /// Whether the initial rows have been received.
    is_complete: bool,
    /// Number of periods in which the server has sent nothing.
    silent: u32,
}

impl<'a> Session<'a> {
    fn open(probe: &'a mut OvsdbProbe, context: &'a ProbeContext) -> io::Result<Self> {
        let timeout = Some(WRITE_TIMEOUT);
        let mut stream = Stream::connect(&probe.address, context.stop(), timeout)?;
        stream.write_all(Tables::schema_request().as_bytes())?;
        let (delay, silence) = (TimerFd::new()?, TimerFd::new()?);
        silence.every(SILENCE)?;
        Ok(Self {
            links: probe.namespaces.watch_links()?,
            probe,
            context,
            stream,
            frames: JsonFrames::new(MAX_MESSAGE),
            tables: Tables::default(),
            delay,
            silence,
            is_complete: false,
            silent: 0,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        loop {
            let [stopped, received, changed, due, silent] = wait_readable([
                self.context.stop(),
                self.stream.as_fd(),
                self.links.as_fd(),
                self.delay.as_fd(),
                self.silence.as_fd(),
            ])?;
            if stopped {
                return Ok(());
            }
            if changed {
                self.links.clear();
                self.delay.once(DELAY)?;
            }
            if received {
                self.receive()?;
            }
            if due {
                self.delay.clear();
                if self.is_complete {
                    self.probe.show(&self.tables);
                    self.context.running();
                }
            }
            if silent {
                self.silence.clear();
                self.check_silence()?;
            }
        }
    }

    /// Reads what has arrived, and applies the complete messages.
    fn receive(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = match self.stream.read_ready(&mut buffer) {
                Ok(0) => return Err(io::Error::other("the server has closed the connection")),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.silent = 0;
            self.frames.extend(&buffer[..count]);
            while let Some(message) = self.frames.next_frame().map_err(invalid)? {
                match self.tables.receive(&message).map_err(invalid)? {
                    Reply::Changed => {
                        self.is_complete = true;
                        self.delay.once(DELAY)?;
                    }
                    Reply::Send(message) => self.stream.write_all(message.as_bytes())?,
                    Reply::Nothing => {}
                }
            }
        }
    }

    /// Asks a silent server for an answer; fails if it has not answered before.
    fn check_silence(&mut self) -> io::Result<()> {
        self.silent += 1;
        if self.silent > MAX_SILENT {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the server does not answer",
            ));
        }
        self.stream.write_all(Tables::echo_request().as_bytes())
    }
}

/// Returns the error of a malformed message.
fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Maximum size of a message, in bytes: the initial rows of about 100 000 interfaces.
const MAX_MESSAGE: usize = 128 << 20;

/// Time from a change to the update of the graph: a burst of changes costs one update.
const DELAY: Duration = Duration::from_millis(30);

/// Interval between two checks whether the host has the switch.
const MISSING_PAUSE: Duration = Duration::from_secs(2);

/// Maximum time of a write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Interval between two checks whether the server is alive.
const SILENCE: Duration = Duration::from_secs(10);

/// Number of intervals without a message after which the probe gives up the connection.
const MAX_SILENT: u32 = 3;
