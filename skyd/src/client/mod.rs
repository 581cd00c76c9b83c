//! The subcommand `skyd client`: equivalent to `skydive client`, over the REST and WebSocket
//! interfaces.
//!
//! A command checks its arguments, sends requests ([`rest`]), and prints the responses while they
//! are received ([`printer`]). Data is written to standard output, everything else to standard
//! error. The exit code is 0 for success, 1 for a failure, and 2 for an invalid command line.

mod args;
mod check;
mod columns;
mod command;
mod connect;
mod failure;
mod format;
mod http;
mod json_elements;
mod json_text;
mod metadata;
mod printer;
mod publisher;
mod rest;
mod shell;
mod table;
mod target;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

pub(crate) use self::args::ConnectionArgs;
use self::command::ClientCommand;
use self::failure::{HelpNeeded, report};
use self::http::HttpClient;
use self::rest::Rest;
use self::shell::ShellArgs;
use self::target::{Environment, Target};

/// Arguments of `skyd client`.
#[derive(Args, Debug)]
#[command(args_override_self = true, after_help = EXIT_CODES)]
pub(crate) struct ClientArgs {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,

    #[command(subcommand)]
    command: Option<Command>,
}

const EXIT_CODES: &str = "Exit codes:
  0  success; also if the reader of the output closes it
  1  the client or the server rejected the request, the server could not be reached, or a line of the
     shell's input failed; the reason is on standard error
  2  the command line is invalid; nothing was sent
130  interrupted with Ctrl-C";

/// A command of the client, or its shell.
#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Request(ClientCommand),
    /// Run queries and JavaScript line by line.
    Shell(ShellArgs),
}

/// Runs a command; `client` is its definition, for help texts.
pub(crate) fn run(args: ClientArgs, client: &clap::Command) -> ExitCode {
    let ClientArgs {
        connection,
        command,
    } = args;
    let result = match command {
        Some(command) => start(&connection, command),
        None => Err(HelpNeeded::group(&[])),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error, client),
    }
}

fn start(connection: &ConnectionArgs, command: Command) -> anyhow::Result<()> {
    let environment = Environment::of_process();
    let target = Target::new(connection, &environment)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let mut rest = Rest(HttpClient::new(target, connection.verbose));
    match command {
        Command::Request(command) => runtime.block_on(command.run(&mut rest)),
        Command::Shell(args) => args.run(rest, runtime),
    }
}
