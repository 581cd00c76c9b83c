//! The daemon and command line of `skylib`: configuration, HTTP, WebSocket and process life cycle.

mod access;
mod agent_udp;
mod app;
mod auth;
mod body;
mod cli;
mod client_socket;
mod clients;
mod commands;
mod compress;
mod cors;
mod daemon;
mod engine_options;
mod fair_slots;
mod flow_transport;
mod graph_dump;
mod handler;
mod http_client;
mod idle_connections;
mod limits;
mod log;
mod machine_memory;
mod openapi;
mod process_stats;
mod process_tuning;
mod prometheus;
mod queries;
mod request_counters;
mod response;
mod router;
mod routes;
mod selections;
mod server;
mod signal;
mod spp_setup;
mod tls;
mod upload;
mod urlencoded;
mod web_origin;
mod webhooks;
mod ws;

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Parser;
use skyd::config;
use skylib::engine::Role;

use crate::cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    process_tuning::allow_huge_pages(false);
    let result = match Cli::parse().command {
        Command::Allinone(args) => daemon::start(Role::AllInOne, args),
        Command::Analyzer(args) => daemon::start(Role::Analyzer, args),
        Command::Agent(_) => Err(anyhow!(
            "the agent role is not supported yet: use `skyd allinone`, which observes this host \
             and serves the result"
        )),
        Command::Flows(args) => {
            process_tuning::allow_huge_pages(true);
            return commands::flows::run(&args);
        }
        Command::Config(command) => {
            return commands::config::run(&command).unwrap_or_else(|error| fail(&error));
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

#[expect(clippy::print_stderr, reason = "the log may not have been started")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("skyd: {error:#}");
    ExitCode::FAILURE
}
