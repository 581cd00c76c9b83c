//! The daemon and command line of `skylib`: configuration, HTTP, WebSocket, and process life cycle.

mod access;
mod agent;
mod agent_udp;
mod allocator;
mod app;
mod auth;
mod body;
mod cli;
mod client;
mod client_socket;
mod clients;
mod collectors;
mod commands;
mod compress;
mod cors;
mod daemon;
mod dial;
mod engine_options;
mod fair_slots;
mod flow_transport;
mod graph_dump;
mod handler;
mod http_client;
mod idle_connections;
mod limits;
mod liveness;
mod log;
mod machine_memory;
mod metadata_format;
mod multipart;
mod openapi;
mod outgoing;
mod packet_args;
mod past_stores;
mod peer_feed;
mod peer_socket;
mod peering;
mod printable;
mod privileges;
mod process_stats;
mod process_tuning;
mod prometheus;
mod queries;
mod replication;
mod request_counters;
mod response;
mod router;
mod routes;
mod selections;
mod server;
mod signal;
mod spp_setup;
mod tls;
mod trusted_senders;
mod upload;
mod urlencoded;
mod web_origin;
mod webhooks;
mod ws;

use std::io::Write;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{CommandFactory, Parser};
use skyd::config;
use skylib::engine::Role;

use crate::cli::{Cli, Command};
use crate::client::ClientArgs;

fn main() -> ExitCode {
    process_tuning::allow_huge_pages(false);
    if std::env::args_os().len() == 1 {
        return print_first_steps().map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS);
    }
    let Cli { common, command } = Cli::parse();
    let result = match command {
        Command::Allinone(args) => daemon::start(Role::AllInOne, common.for_daemon(args)),
        Command::Analyzer(args) => daemon::start(Role::Analyzer, common.for_daemon(args)),
        Command::Agent(args) => daemon::start(Role::Agent, common.for_daemon(args)),
        Command::Client(args) => return run_client(common.for_client(*args)),
        _ if !common.is_empty() => Err(anyhow!(
            "--conf, --config-backend, and --verbose before the command are for the daemon and the \
             client only"
        )),
        Command::Flows(args) => {
            process_tuning::allow_huge_pages(true);
            return commands::flows::run(&args);
        }
        Command::Config(command) => {
            return commands::config::run(&command).unwrap_or_else(|error| fail(&error));
        }
        Command::Export(args) => commands::export::run(&args),
        Command::History(command) => {
            return commands::history::run(&command).unwrap_or_else(|error| fail(&error));
        }
        Command::InjectPacket(args) => commands::inject_packet::run(&args),
        Command::Completion(args) => commands::completion::print_script(&args, Cli::command()),
        Command::BashCompletion(args) => commands::completion::write_script(&args, Cli::command()),
        Command::Man(args) => commands::completion::write_manual(&args, Cli::command()),
        Command::Version => print_version(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn run_client(args: ClientArgs) -> ExitCode {
    let mut definition = Cli::command();
    // Sets the command names for usage lines, such as `skyd client alert`.
    definition.build();
    match definition.find_subcommand("client") {
        Some(client) => client::run(args, client),
        None => fail(&anyhow!(
            "internal error: the command client is not defined"
        )),
    }
}

/// Prints three commands to start with.
fn print_first_steps() -> anyhow::Result<()> {
    let text = "skyd shows the network of this host as a graph, with the flows on it. Three commands to start with:

  skyd allinone                                          # observe this host; page: http://127.0.0.1:8082
  skyd client query \"G.V().Has('State', 'UP').Values('Name').Qualified()\"   # in another terminal
  skyd flows trace.pcap                                  # the flows of a capture file

skyd --help lists all commands; docs/cookbook.md answers thirty questions.";
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

fn print_version() -> anyhow::Result<()> {
    Ok(writeln!(
        std::io::stdout(),
        "skyd {}",
        env!("CARGO_PKG_VERSION")
    )?)
}

#[expect(clippy::print_stderr, reason = "the log may not have been started")]
fn fail(error: &anyhow::Error) -> ExitCode {
    if commands::is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    eprintln!("skyd: {error:#}");
    ExitCode::FAILURE
}
