//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::flows::FlowsArgs;

/// Live network topology and flows: a graph, traffic tied to it, one query language over both.
#[derive(Debug, Parser)]
#[command(name = "skyd", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch this host and serve it: agent and analyzer in one process.
    Allinone(DaemonArgs),
    /// Serve a graph that agents and publishers fill.
    Analyzer(DaemonArgs),
    /// Watch this host for an analyzer elsewhere (not supported yet).
    Agent(DaemonArgs),
    /// Print the flows of a capture file, or answer a query about them.
    Flows(FlowsArgs),
}

/// What every kind of daemon takes.
#[derive(Args, Debug, Default)]
pub(crate) struct DaemonArgs {
    /// YAML file with settings, `-` for the standard input; of several, later ones win.
    #[arg(short = 'c', long = "conf", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// One setting, stronger than files and environment.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn the_help_says_what_is_not_there_yet() {
        let help = <Cli as clap::CommandFactory>::command().render_long_help();
        let help = help.to_string();
        let agent = help.lines().find(|line| line.contains("agent  ")).unwrap();
        assert!(agent.contains("(not supported yet)"), "{help}");
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for args in [
            &["skyd"][..],
            &["skyd", "serve"],
            &["skyd", "agent", "--no-such-flag"],
        ] {
            assert!(Cli::try_parse_from(args).is_err(), "{args:?}");
        }
    }
}
