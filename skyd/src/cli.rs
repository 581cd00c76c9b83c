//! Command line of `skyd`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::config::ConfigCommand;
use crate::commands::flows::FlowsArgs;

/// Network topology and traffic in real time: a graph with the flows on it, and one query language
/// for both.
#[derive(Debug, Parser)]
#[command(
    name = "skyd",
    version,
    arg_required_else_help = true,
    after_help = EXAMPLES
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "Examples:
  skyd allinone
  skyd allinone -c skydive.yml --set analyzer.listen=0.0.0.0:8082
  skyd flows trace.pcap --query \"G.Flows().Sort().Limit(10)\"
  skyd config check skydive.yml

Configuration keys are described in docs/CONFIGURATION.md and by `skyd config keys`.";

/// Subcommands of `skyd`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run agent and analyzer in one process: observe this host and serve the API.
    #[command(after_help = ALLINONE_EXAMPLES)]
    Allinone(DaemonArgs),
    /// Run an analyzer: serve the API for a graph that agents and publishers fill.
    #[command(after_help = ANALYZER_EXAMPLES)]
    Analyzer(DaemonArgs),
    /// Run an agent: observe this host for a remote analyzer (not supported yet).
    Agent(DaemonArgs),
    /// Convert a capture file to flows, or run a query on its flows.
    Flows(Box<FlowsArgs>),
    /// List the configuration keys, or check configuration files.
    #[command(subcommand)]
    Config(ConfigCommand),
}

const ALLINONE_EXAMPLES: &str = "Examples:
  skyd allinone
  skyd allinone --set storage.local.path=/tmp/skyd --set logging.level=DEBUG
  SKYD_FLOW_UPDATE=10s skyd allinone -c base.yml -c site.yml";
const ANALYZER_EXAMPLES: &str = "Examples:
  skyd analyzer -c /etc/skydive/skydive.yml
  skyd analyzer --set analyzer.listen=0.0.0.0:8082 --set flow.protocol=websocket";

/// Arguments of the daemon in every role.
#[derive(Args, Debug, Default)]
pub(crate) struct DaemonArgs {
    /// YAML configuration file, `-` for standard input; repeatable, later files override earlier
    /// ones.
    #[arg(short = 'c', long = "conf", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Configuration setting that overrides files and environment; repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn files_and_settings_may_repeat() {
        let cli = Cli::try_parse_from([
            "skyd",
            "analyzer",
            "-c",
            "a.yml",
            "--set",
            "flow.update=5",
            "-c",
            "-",
            "--set",
            "a=b=c",
        ])
        .unwrap();
        let Command::Analyzer(args) = cli.command else {
            panic!("{:?}", cli.command)
        };
        assert_eq!(args.files, [PathBuf::from("a.yml"), PathBuf::from("-")]);
        assert_eq!(args.settings, ["flow.update=5", "a=b=c"]);
    }

    #[test]
    fn the_help_names_unsupported_commands() {
        let help = <Cli as clap::CommandFactory>::command().render_long_help();
        let help = help.to_string();
        let agent = help.lines().find(|line| line.contains("agent  ")).unwrap();
        assert!(agent.contains("(not supported yet)"), "{help}");
    }

    #[test]
    fn unknown_commands_and_options_are_refused() {
        for args in [
            &["skyd"][..],
            &["skyd", "serve"],
            &["skyd", "agent", "--no-such-flag"],
            &["skyd", "config", "check"],
        ] {
            assert!(Cli::try_parse_from(args).is_err(), "{args:?}");
        }
    }
}
