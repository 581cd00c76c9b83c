//! Command line of `skyd`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::client::ClientArgs;
use crate::commands::completion::{BashCompletionArgs, CompletionArgs, ManArgs};
use crate::commands::config::ConfigCommand;
use crate::commands::export::{self, ExportArgs};
use crate::commands::flows::FlowsArgs;
use crate::commands::history::HistoryCommand;
use crate::commands::inject_packet::{self, InjectPacketArgs};

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
    #[command(flatten)]
    pub(crate) common: CommonArgs,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of the daemon and the client that may precede the command. COMPAT: Skydive accepts them
/// there.
#[derive(Args, Debug, Default)]
pub(crate) struct CommonArgs {
    /// YAML configuration file of the daemon or the client; repeatable.
    // clap propagates the values of global options by their ids, so the client's options have other
    // ids.
    #[arg(id = "early_conf", short = 'c', long = "conf", value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Backend of the configuration; only `file` is supported.
    #[arg(
        id = "early_backend",
        short = 'b',
        long = "config-backend",
        value_name = "BACKEND",
        hide = true
    )]
    config_backend: Option<ConfigBackend>,

    /// Print each request of the client.
    #[arg(id = "early_verbose", long = "verbose", hide = true)]
    verbose: bool,
}

/// Backend of the configuration.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ConfigBackend {
    File,
}

impl CommonArgs {
    /// Returns the options of a daemon, combined with those after its role.
    pub(crate) fn for_daemon(mut self, args: DaemonArgs) -> DaemonArgs {
        self.files.extend(args.files);
        DaemonArgs {
            files: self.files,
            ..args
        }
    }

    /// Returns the options of the client, combined with those after `client`.
    pub(crate) fn for_client(mut self, mut args: ClientArgs) -> ClientArgs {
        self.files.append(&mut args.connection.files);
        args.connection.files = self.files;
        args.connection.verbose |= self.verbose;
        args
    }

    /// Returns whether no option is set.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.config_backend.is_none() && !self.verbose
    }
}

const EXAMPLES: &str = "Examples:
  skyd allinone
  skyd allinone -c skydive.yml --set analyzer.listen=0.0.0.0:8082
  skyd client query \"G.V().Has('Type', 'bridge').Out()\"
  skyd flows trace.pcap --query \"G.Flows().Sort().Limit(10)\"
  skyd config check skydive.yml

Exit codes, unless the help of a command lists others:
  0  success; for the daemon, an end by a signal; also if the reader of the output closes it
  1  failure; the last line on standard error is the reason
  2  the command line is invalid; nothing was done

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
    /// Run an agent: observe this host for analyzers.
    #[command(after_help = AGENT_EXAMPLES)]
    Agent(DaemonArgs),
    /// Query and change a running daemon.
    Client(Box<ClientArgs>),
    /// Convert a capture file to flows, or run a query on its flows.
    Flows(Box<FlowsArgs>),
    /// List the configuration keys, or check configuration files.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write the flows and the topology of a time range to files.
    #[command(after_help = export::EXAMPLES)]
    Export(ExportArgs),
    /// Show, check, seal, or merge the files of the history.
    #[command(subcommand)]
    History(HistoryCommand),
    /// Send packets on an interface of this host, without a daemon.
    #[command(after_help = inject_packet::EXAMPLES)]
    InjectPacket(Box<InjectPacketArgs>),
    /// Print the completion script for a shell.
    #[command(after_help = COMPLETION_EXAMPLES)]
    Completion(CompletionArgs),
    /// Write the completion script for bash to a file.
    #[command(hide = true)]
    BashCompletion(BashCompletionArgs),
    /// Print the manual page, or write the pages of all commands to a folder.
    #[command(after_help = MAN_EXAMPLES)]
    Man(ManArgs),
    /// Print the version.
    Version,
}

const COMPLETION_EXAMPLES: &str = "Examples:
  source <(skyd completion bash)
  skyd completion zsh > ~/.zfunc/_skyd
  skyd completion fish > ~/.config/fish/completions/skyd.fish";
const MAN_EXAMPLES: &str = "Examples:
  skyd man | man -l -
  skyd man /usr/local/share/man/man1";

const ALLINONE_EXAMPLES: &str = "Examples:
  skyd allinone
  skyd allinone --set storage.local.path=/tmp/skyd --set logging.level=DEBUG
  SKYD_FLOW_UPDATE=10s skyd allinone -c base.yml -c site.yml";
const ANALYZER_EXAMPLES: &str = "Examples:
  skyd analyzer -c /etc/skydive/skydive.yml
  skyd analyzer --set analyzer.listen=0.0.0.0:8082 --set flow.protocol=websocket";

const AGENT_EXAMPLES: &str = "Examples:
  skyd agent --set analyzers=analyzer.example:8082
  skyd agent -c /etc/skydive/skydive.yml --set flow.protocol=websocket";

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

    fn parse(words: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(format!("skyd {words}").split(' '))
    }

    #[test]
    fn options_before_the_command_count_for_daemon_and_client() {
        let Cli { common, command } = parse("-c a.yml analyzer -c b.yml").unwrap();
        let Command::Analyzer(args) = command else {
            panic!("{command:?}")
        };
        let files = common.for_daemon(args).files;
        assert_eq!(files, [PathBuf::from("a.yml"), PathBuf::from("b.yml")]);
        let Cli { common, command } =
            parse("-b file --verbose -c a.yml client status -c b.yml").unwrap();
        assert!(!common.is_empty());
        let Command::Client(args) = command else {
            panic!("{command:?}")
        };
        let connection = common.for_client(*args).connection;
        assert_eq!(
            connection.files,
            [PathBuf::from("a.yml"), PathBuf::from("b.yml")]
        );
        assert!(connection.verbose);
    }

    #[test]
    fn options_of_the_client_may_be_anywhere_and_repeat() {
        for words in [
            "client --analyzer h:1 capture list --format json",
            "client capture --analyzer=h:1 list",
            "client capture list extra words --analyzer x --analyzer h:1 --insecure",
            "client status --insecure=false --verbose=T",
            "client workflow call id a -1 --analyzer h:1",
            "client node update id -a n=5 -a 'l=[1,2]' -r t",
            "client node delete --gremlin G.V()",
            "client pcap -t file",
            "client inject-packet get id",
            "client alert",
            "client",
        ] {
            assert!(
                parse(words).is_ok(),
                "{words}: {}",
                parse(words).unwrap_err()
            );
        }
        let Command::Client(args) = parse("client status --analyzer a --analyzer b")
            .unwrap()
            .command
        else {
            panic!("not the client")
        };
        assert!(
            format!("{args:?}").contains("analyzer: Some(\"b\")"),
            "{args:?}"
        );
    }

    #[test]
    fn unknown_commands_and_options_are_refused() {
        for args in [
            &["skyd"][..],
            &["skyd", "serve"],
            &["skyd", "agent", "--no-such-flag"],
            &["skyd", "config", "check"],
            &["skyd", "client", "alarm", "list"],
            &["skyd", "client", "capture", "nosuch"],
            &["skyd", "client", "alert", "list", "--colour"],
            &["skyd", "client", "capture", "get"],
            &["skyd", "client", "query"],
            &["skyd", "client", "query", ""],
            &["skyd", "client", "query", "G", "--format", "yaml"],
            &["skyd", "client", "status", "--insecure=maybe"],
            &["skyd", "client", "workflow", "call"],
            &["skyd", "-b", "etcd", "client", "status"],
        ] {
            assert!(Cli::try_parse_from(args).is_err(), "{args:?}");
        }
    }
}
