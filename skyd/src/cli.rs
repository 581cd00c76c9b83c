//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::flows::FlowsArgs;

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
    /// Watch this host for an analyzer elsewhere.
    Agent(DaemonArgs),
    /// The flows of a capture file, printed or asked; needs no daemon and no privilege.
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
