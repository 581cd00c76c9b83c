//! OpenFlow rules and groups of the bridges of Open vSwitch, as nodes owned by their bridge.
//!
//! `ovs-ofctl monitor` reports that rules have changed, and `ovs-ofctl dump-flows` lists them; the
//! list, not the report, determines the nodes, so that nothing is lost when the monitor is started
//! again. Groups are listed at the same times and at an interval, because the monitor does not report
//! them.

mod rule;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

pub use rule::{Action, Bucket, Filter, Group, Rule};

use super::tool::{self, Process, ToolLimits, ToolOutput};
use super::{Probe, ProbeContext, ProbeError, ProbeTarget, Subgraph, SubgraphWriter};
use crate::graph::{Graph, NodeId};
use crate::id::Id;
use crate::value::Value;

/// Settings of the connections to bridges.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct OpenFlowOptions {
    /// Versions of OpenFlow to offer, such as `OpenFlow13`; those of the tool if empty.
    pub versions: Vec<String>,
    /// Addresses of bridges by name; by default the bridge's socket in Open vSwitch's folder.
    pub addresses: BTreeMap<String, String>,
}

impl OpenFlowOptions {
    /// Sets the versions to offer.
    #[must_use]
    pub fn with_versions(mut self, versions: Vec<String>) -> Self {
        self.versions = versions;
        self
    }

    /// Sets the addresses of bridges by name.
    #[must_use]
    pub fn with_addresses(mut self, addresses: BTreeMap<String, String>) -> Self {
        self.addresses = addresses;
        self
    }
}

/// A probe of the rules of all bridges that the probe `ovsdb` has found.
#[derive(Debug)]
pub struct OpenFlowProbe {
    options: OpenFlowOptions,
    /// Name or path of `ovs-ofctl`.
    program: OsString,
    writer: SubgraphWriter,
    /// Bridges by name.
    bridges: BTreeMap<String, Bridge>,
}

#[derive(Debug)]
struct Bridge {
    node: NodeId,
    /// `None` while the monitor does not run.
    monitor: Option<Monitor>,
    rules: Vec<Rule>,
    groups: Vec<Group>,
    /// Whether the rules have to be listed again.
    is_stale: bool,
}

/// A running `ovs-ofctl monitor`; ended on drop.
#[derive(Debug)]
struct Monitor {
    output: ChildStdout,
    _process: Process,
}

impl OpenFlowProbe {
    /// Returns a probe of the bridges in the graph of `target`.
    #[must_use]
    pub fn new(target: &ProbeTarget, options: OpenFlowOptions) -> Self {
        Self {
            options,
            program: "ovs-ofctl".into(),
            writer: SubgraphWriter::new(target.clone()),
            bridges: BTreeMap::new(),
        }
    }

    /// Updates the bridges from the graph; returns whether any has disappeared.
    fn find_bridges(&mut self, context: &ProbeContext) -> bool {
        let origin = self.writer.target().origin.clone();
        let read = |graph: &mut Graph, _| {
            let bridges = graph.find_nodes("Type", &"ovsbridge".into());
            let own = bridges.filter(|node| *node.origin == *origin.as_str());
            own.filter_map(|node| {
                let name = node.metadata.get("Name").and_then(Value::as_text)?;
                Some((name.to_owned(), node.id.clone()))
            })
            .collect::<BTreeMap<_, _>>()
        };
        let found = self.writer.target().update(read).unwrap_or_default();
        let before = self.bridges.len();
        self.bridges.retain(|name, bridge| {
            let is_found = found.get(name) == Some(&bridge.node);
            if !is_found {
                context.problem(name, None);
                context.problem(&groups_of(name), None);
            }
            is_found
        });
        let has_removed = self.bridges.len() < before;
        for (name, node) in found.into_iter().take(MAX_BRIDGES) {
            self.bridges.entry(name).or_insert(Bridge {
                node,
                monitor: None,
                rules: Vec::new(),
                groups: Vec::new(),
                is_stale: true,
            });
        }
        has_removed
    }

    /// Starts the monitors that do not run.
    fn start_monitors(&mut self, context: &ProbeContext) {
        for (name, bridge) in &mut self.bridges {
            if bridge.monitor.is_some() {
                continue;
            }
            let mut command = tool(&self.program, &self.options, "monitor", name);
            let started = Monitor::start(command.arg("watch:"));
            // Rules may have changed while no monitor ran.
            bridge.is_stale = true;
            match started {
                Ok(monitor) => bridge.monitor = Some(monitor),
                Err(error) => context.problem(name, Some(cannot_run(name, &error))),
            }
        }
    }

    /// Lists the rules of the stale bridges; returns whether there were any.
    fn list_rules(&mut self, context: &ProbeContext) -> bool {
        let mut has_changed = false;
        for (name, bridge) in &mut self.bridges {
            if context.is_stopping() {
                break;
            }
            if !std::mem::take(&mut bridge.is_stale) {
                continue;
            }
            let command = tool(&self.program, &self.options, "dump-flows", name);
            match tool::run(command, LIMITS, context.stop()) {
                Ok(output) => {
                    let (rules, is_complete) = parse(&output, Rule::parse);
                    bridge.rules = rules;
                    has_changed = true;
                    context.problem(name, (!is_complete).then(|| limit_reached(name)));
                }
                Err(_) if context.is_stopping() => {}
                Err(error) => context.problem(name, Some(cannot_run(name, &error))),
            }
        }
        has_changed
    }

    /// Lists the groups of all bridges; returns whether any differs.
    fn list_groups(&mut self, context: &ProbeContext) -> bool {
        let mut differs = false;
        let options = OpenFlowOptions {
            versions: vec!["OpenFlow15".to_owned()],
            addresses: self.options.addresses.clone(),
        };
        for (name, bridge) in &mut self.bridges {
            if context.is_stopping() {
                break;
            }
            let command = tool(&self.program, &options, "dump-groups", name);
            // A bridge may not offer this version, and then its groups are unknown.
            let output = tool::run(command, LIMITS, context.stop()).ok();
            let groups = output.map(|output| parse(&output, Group::parse));
            let (groups, is_complete) = groups.unwrap_or((Vec::new(), true));
            context.problem(
                &groups_of(name),
                (!is_complete).then(|| limit_reached(name)),
            );
            differs |= groups != bridge.groups;
            bridge.groups = groups;
        }
        differs
    }

    fn show(&mut self) {
        let host = self.writer.target().origin.host().to_owned();
        let mut wanted = Subgraph::new();
        for (name, bridge) in &self.bridges {
            for rule in &bridge.rules {
                let (filter, table, priority) = (rule.filter(), rule.table, rule.priority);
                let uuid = format!("{host}-{name}-{filter}-{table}-{priority}");
                let uuid = Id::derived(&uuid).to_string();
                let id = NodeId::from(&*uuid);
                wanted.add_node(id.clone(), rule.metadata(&uuid));
                wanted.own(&bridge.node, &id);
            }
            for group in &bridge.groups {
                let uuid = Id::derived(&format!("{host}-{name}-group-{}", group.id)).to_string();
                let id = NodeId::from(&*uuid);
                wanted.add_node(id.clone(), group.metadata(&uuid));
                wanted.own(&bridge.node, &id);
            }
        }
        self.writer.apply(wanted);
    }

    /// Waits for reports of changed rules, and marks the bridges; returns whether to stop.
    fn wait(&mut self, context: &ProbeContext) -> io::Result<bool> {
        let mut fds = vec![PollFd::from_borrowed_fd(context.stop(), PollFlags::IN)];
        let outputs: Vec<BorrowedFd<'_>> = self
            .bridges
            .values()
            .filter_map(|bridge| Some(bridge.monitor.as_ref()?.output.as_fd()))
            .collect();
        fds.extend(
            outputs
                .iter()
                .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)),
        );
        let timeout = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let running = self
            .bridges
            .values_mut()
            .filter(|bridge| bridge.monitor.is_some());
        for (bridge, is_ready) in running.zip(&ready[1..]) {
            if *is_ready {
                bridge.is_stale = true;
                if bridge
                    .monitor
                    .as_mut()
                    .is_some_and(|monitor| !monitor.drain())
                {
                    bridge.monitor = None;
                }
            }
        }
        Ok(ready[0])
    }
}

impl Probe for OpenFlowProbe {
    fn name(&self) -> &'static str {
        "openflow"
    }

    fn run(&mut self, context: &ProbeContext) -> Result<(), ProbeError> {
        let mut rounds = 0_u32;
        loop {
            let mut differs = self.find_bridges(context);
            self.start_monitors(context);
            let has_changed = self.list_rules(context);
            differs |= has_changed;
            if has_changed || rounds.is_multiple_of(GROUP_ROUNDS) {
                differs |= self.list_groups(context);
            }
            if context.is_stopping() {
                self.bridges.clear();
                return Ok(());
            }
            if differs {
                self.show();
            }
            context.running();
            rounds = rounds.wrapping_add(1);
            let stopped = self
                .wait(context)
                .map_err(|error| ProbeError::system("cannot wait for OpenFlow rules", error))?;
            // A burst of changes costs one list.
            if stopped || context.wait(DELAY) {
                self.bridges.clear();
                return Ok(());
            }
        }
    }
}

impl Monitor {
    fn start(command: &mut Command) -> io::Result<Self> {
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut process = Process(process);
        let output = process.0.stdout.take();
        let output = output.ok_or_else(|| io::Error::other("the process has no output"))?;
        Ok(Self {
            output,
            _process: process,
        })
    }

    /// Discards a part of the output, which `poll` has reported; returns whether the process runs.
    fn drain(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        self.output.read(&mut buffer).is_ok_and(|count| count > 0)
    }
}

/// Returns a call of `ovs-ofctl` for a bridge.
fn tool(program: &OsString, options: &OpenFlowOptions, action: &str, bridge: &str) -> Command {
    let mut command = Command::new(program);
    if action != "monitor" {
        command.arg("--timeout=5");
    }
    if !options.versions.is_empty() {
        command.args(["-O", &options.versions.join(",")]);
    }
    let address = options.addresses.get(bridge).cloned();
    let socket = || format!("unix:/var/run/openvswitch/{bridge}.mgmt");
    command.arg(action).arg(address.unwrap_or_else(socket));
    command
}

/// Parses the lines of an output; returns at most [`MAX_RULES`] elements, and whether they are all.
fn parse<T>(output: &ToolOutput, parse: impl Fn(&str) -> Option<T>) -> (Vec<T>, bool) {
    let text = match output.is_cut {
        // The last line may be incomplete.
        true => output.text.rsplit_once('\n').map_or("", |(lines, _)| lines),
        false => &output.text,
    };
    let mut all = text.lines().filter_map(parse);
    let found: Vec<T> = all.by_ref().take(MAX_RULES).collect();
    let is_complete = !output.is_cut && all.next().is_none();
    (found, is_complete)
}

/// Returns the name of the groups of a bridge in the problems of the probe.
fn groups_of(bridge: &str) -> String {
    format!("{bridge} groups")
}

fn limit_reached(bridge: &str) -> String {
    format!(
        "limit of {MAX_RULES} rules or groups, or of {MAX_OUTPUT_BYTES} bytes that ovs-ofctl \
         prints, reached for bridge {bridge}; the rest is not shown"
    )
}

fn cannot_run(bridge: &str, error: &io::Error) -> String {
    format!(
        "cannot list the OpenFlow rules of bridge {bridge} with ovs-ofctl: {error}; check \
         ovs.oflow.address and ovs.oflow.openflow_versions"
    )
}

/// Time from a report to the list of rules.
const DELAY: Duration = Duration::from_millis(100);

/// Number of rounds of about a second between two lists of groups.
const GROUP_ROUNDS: u32 = 10;

/// Maximum number of bridges, each of which has a process.
const MAX_BRIDGES: usize = 64;

/// Maximum number of rules, and of groups, of a bridge.
const MAX_RULES: usize = 20_000;

/// Maximum size of a list of rules or groups, in bytes.
const MAX_OUTPUT_BYTES: usize = 16 << 20;

/// Limits of a list. The tool ends after five seconds itself, with a better error.
const LIMITS: ToolLimits = ToolLimits {
    timeout: Duration::from_secs(7),
    output_bytes: MAX_OUTPUT_BYTES,
};

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::graph::{Metadata, Node};
    use crate::time::Timestamp;
    use crate::topology::ProbeSet;

    #[test]
    fn a_cut_list_is_incomplete_and_lacks_its_last_line() {
        let output = |text: &str, is_cut| ToolOutput {
            text: text.to_owned(),
            is_cut,
        };
        let number = |line: &str| line.parse::<u32>().ok();
        assert_eq!(
            parse(&output("1\nx\n23", false), number),
            (vec![1, 23], true)
        );
        assert_eq!(parse(&output("1\nx\n23", true), number), (vec![1], false));
        let long = "7\n".repeat(MAX_RULES);
        assert!(
            parse(&output(&long, false), number).1,
            "exactly at the limit"
        );
        let (found, is_complete) = parse(&output(&(long + "7"), false), number);
        assert_eq!((found.len(), is_complete), (MAX_RULES, false));
    }

    #[test]
    fn a_probe_whose_tool_hangs_stops_at_once() {
        let path = std::env::temp_dir().join(format!("skylib-ofctl-{}", std::process::id()));
        let log = path.with_extension("log");
        // A shell writes the script: a file that this process has open for writing cannot be run.
        let script = format!(
            "#!/bin/sh\necho started >> {}\nexec sleep 600\n",
            log.display()
        );
        let write = "printf '%s' \"$1\" > \"$0\"; chmod +x \"$0\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", write]).arg(&path).arg(script);
        assert!(shell.status().unwrap().success());
        let graph = Arc::new(Mutex::new(Graph::new()));
        let target = ProbeTarget::for_host(graph.clone(), "edge-01").unwrap();
        for name in ["br0", "br1", "br2"] {
            let metadata = Metadata::from_iter([("Type", "ovsbridge"), ("Name", name)]);
            let node = Node::new(name, metadata, Timestamp::from_ms(1));
            let node = node.with_origin(target.origin.clone());
            graph.lock().unwrap().add_node(node).unwrap();
        }
        let mut probe = OpenFlowProbe::new(&target, OpenFlowOptions::default());
        probe.program = path.clone().into();
        let mut probes = ProbeSet::new();
        probes.start(probe).unwrap();
        // Three monitors, and the list of the first bridge.
        let started = || {
            std::fs::read_to_string(&log)
                .unwrap_or_default()
                .lines()
                .count()
        };
        while started() < 4 {
            std::thread::yield_now();
        }
        let before = crate::sys::monotonic::now();
        probes.stop();
        let took = crate::sys::monotonic::now() - before;
        assert!(took < LIMITS.timeout / 2, "{took:?}");
        assert_eq!(started(), 4, "no further bridge was listed");
        std::fs::remove_file(path).unwrap();
        std::fs::remove_file(log).unwrap();
    }
}
