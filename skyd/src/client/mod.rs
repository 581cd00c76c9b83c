//! The subcommand `skyd client`: what `skydive client` does, over the REST and WebSocket interfaces.
//!
//! A command checks its arguments, sends requests ([`rest`]), and prints the responses while they are
//! received ([`printer`]). Data is printed on standard output, everything else on standard error. The
//! exit code is 0 for success, 1 if the client or the server refuses, and 2 for a wrong command line.

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
mod table;
mod target;

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

pub(crate) use self::args::ConnectionArgs;
use self::command::ClientCommand;
use self::failure::{HelpNeeded, report};
use self::http::HttpClient;
use self::rest::Rest;
use self::target::{Environment, Target};

/// Arguments of `skyd client`.
#[derive(Args, Debug)]
#[command(args_override_self = true)]
pub(crate) struct ClientArgs {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,

    #[command(subcommand)]
    command: Option<ClientCommand>,
}

/// Runs a command; `client` is its definition, for help texts.
pub(crate) fn run(args: ClientArgs, client: &clap::Command) -> ExitCode {
    let ClientArgs {
        connection,
        command,
    } = args;
    let result = match command {
        Some(command) => start(connection, command),
        None => Err(HelpNeeded::group(&[])),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error, client),
    }
}

fn start(connection: ConnectionArgs, command: ClientCommand) -> anyhow::Result<()> {
    let environment = Environment::of_process();
    let target = Target::new(&connection, &environment)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let mut rest = Rest(HttpClient::new(target, connection.verbose));
    runtime.block_on(command.run(&mut rest))
}
