//! The commands, one file each.

mod alert;
mod capture;
mod edge;
mod edge_rule;
mod element;
mod injection;
mod node;
mod node_rule;
mod pcap;
mod query;
mod resource;
mod status;
mod topology;
mod workflow;

pub(super) use self::query::print_result;

use clap::{Args, Subcommand};

use super::failure::HelpNeeded;
use super::rest::Rest;

/// Commands of `skyd client`.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Manage alerts, which send a message when the result of an expression changes.
    Alert(Group<alert::AlertCommand>),
    /// Manage captures, which convert packets of network interfaces to flows.
    Capture(Group<capture::CaptureCommand>),
    /// Manage edges of the graph.
    Edge(Group<edge::EdgeCommand>),
    /// Manage rules that create edges.
    EdgeRule(Group<edge_rule::EdgeRuleCommand>),
    /// Send packets from interfaces.
    #[command(visible_alias = "inject-packet")]
    Injection(Group<injection::InjectionCommand>),
    /// Manage nodes of the graph.
    Node(Group<node::NodeCommand>),
    /// Manage rules that create nodes or set metadata.
    NodeRule(Group<node_rule::NodeRuleCommand>),
    /// Import the flows of a capture file.
    Pcap(pcap::PcapArgs),
    /// Run a Gremlin query.
    #[command(after_help = query::EXAMPLES)]
    Query(query::QueryArgs),
    /// Show the status of the server.
    Status(status::StatusArgs),
    /// Export, import, or query the graph.
    Topology(Group<topology::TopologyCommand>),
    /// Manage and call workflows: scripts on the server.
    Workflow(Group<workflow::WorkflowCommand>),
}

/// Group of commands. COMPAT: without a further word, its help is printed.
#[derive(Args, Debug)]
pub(crate) struct Group<C: Subcommand> {
    #[command(subcommand)]
    command: Option<C>,
}

impl<C: Subcommand> Group<C> {
    fn command(self, name: &'static [&'static str]) -> anyhow::Result<C> {
        self.command.ok_or_else(|| HelpNeeded::group(name))
    }
}

impl ClientCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error if an argument is invalid, the server rejects the request or cannot be
    /// reached, or the output cannot be written.
    pub(super) async fn run(self, rest: &mut Rest) -> anyhow::Result<()> {
        match self {
            Self::Alert(group) => group.command(&["alert"])?.run(rest).await,
            Self::Capture(group) => group.command(&["capture"])?.run(rest).await,
            Self::Edge(group) => group.command(&["edge"])?.run(rest).await,
            Self::EdgeRule(group) => group.command(&["edge-rule"])?.run(rest).await,
            Self::Injection(group) => group.command(&["injection"])?.run(rest).await,
            Self::Node(group) => group.command(&["node"])?.run(rest).await,
            Self::NodeRule(group) => group.command(&["node-rule"])?.run(rest).await,
            Self::Pcap(args) => args.run(rest).await,
            Self::Query(args) => args.run(rest).await,
            Self::Status(args) => args.run(rest).await,
            Self::Topology(group) => group.command(&["topology"])?.run(rest).await,
            Self::Workflow(group) => group.command(&["workflow"])?.run(rest).await,
        }
    }
}
