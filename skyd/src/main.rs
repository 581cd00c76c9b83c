//! The daemon and command line of `skylib`: configuration, HTTP, WebSocket and process life.

mod flows;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Live network topology and flows: a graph, traffic tied to it, one query language over both.
#[derive(Debug, Parser)]
#[command(name = "skyd", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The flows of a capture file, printed or asked.
    Flows(flows::FlowsArgs),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Flows(args) => flows::run(&args),
    }
}
