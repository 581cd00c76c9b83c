//! The daemon and command line of `skylib`: configuration, HTTP, WebSocket and process life.

mod app;
mod auth;
mod budget;
mod cli;
mod compress;
mod cors;
mod datagrams;
mod exposition;
mod flows;
mod form;
mod idle;
mod log;
mod openapi;
mod options;
mod process;
mod requests;
mod respond;
mod router;
mod routes;
mod server;
mod signal;
mod socket;
mod spp;
mod tls;
mod upload;
mod whole_graph;
mod ws;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Parser;
use skyd::config;
use skylib::engine::{Engine, Role};
use tokio::sync::watch;

use crate::app::App;
use crate::cli::{Cli, Command, DaemonArgs};
use crate::config::{Config, Sources};
use crate::datagrams::FlowTransport;
use crate::server::Door;
use crate::signal::Signals;
use crate::tls::Tls;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    allow_huge_pages(false);
    let result = match Cli::parse().command {
        Command::Allinone(args) => run_daemon(Role::AllInOne, args),
        Command::Analyzer(args) => run_daemon(Role::Analyzer, args),
        Command::Agent(_) => Err(anyhow!(
            "the agent role is not supported yet: `skyd allinone` watches this host and serves it"
        )),
        Command::Flows(args) => {
            allow_huge_pages(true);
            return flows::run(&args);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

#[expect(clippy::print_stderr, reason = "there may be no log yet")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("skyd: {error:#}");
    ExitCode::FAILURE
}

fn run_daemon(role: Role, args: DaemonArgs) -> anyhow::Result<()> {
    let config = Config::load(&Sources {
        files: args.files,
        environment: environment(),
        settings: args.settings,
    })?;
    log::start(&config.text("logging.level"));
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(serve(role, &config));
    // Connections that are still open end here, in the middle of whatever they do.
    runtime.shutdown_timeout(LAST_MOMENT);
    result
}

/// Variables with names that are text; values that are not become texts that no key takes.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            let value = value.to_string_lossy().into_owned();
            Some((name.into_string().ok()?, value))
        })
        .collect()
}

async fn serve(role: Role, config: &Config) -> anyhow::Result<()> {
    let Some(address) = config.address("analyzer.listen") else {
        bail!("analyzer.listen: an address expected");
    };
    let mut signals = Signals::new().context("cannot receive signals")?;
    let replaced_backends = options::replaced_backends(config)?;
    let auth = auth::from_config(config)?;
    let tls = Tls::from_config(config)?;
    let listener = server::listen("analyzer.listen", &address).await?;
    let engine = Engine::start(options::engine_options(role, config)?)?;
    let place = listener.local_addr().context("the socket has no address")?;
    let flow_transport = match config.text("flow.protocol").as_str() {
        "websocket" => FlowTransport::WebSocket,
        _ => FlowTransport::udp(place),
    };
    let spp = spp::start(config, &engine).await?;
    let mut app = App::new(
        engine.clone(),
        config,
        auth,
        tls,
        flow_transport,
        replaced_backends,
    );
    app.spp = spp.as_ref().map(|spp| Arc::clone(&spp.ctl));
    let recordings = app.spp.clone();
    let app = Arc::new(app);
    let (stop, stopping) = watch::channel(false);
    tokio::spawn(datagrams::receive(Arc::clone(&app), stopping.clone()));
    warn_if_open(&app, place);
    tracing::info!(host = engine.host(), "listening on {place}");
    if let Some(spp) = spp {
        let main_place = place;
        let place = spp
            .listener
            .local_addr()
            .context("the socket has no address")?;
        if is_reached_by_others(place) {
            tracing::warn!(
                "whoever reaches {place} may command SPP's processes: spp.listen=127.0.0.1:{} \
                 keeps others out, who still find it below /v1 of {main_place}",
                place.port()
            );
        }
        tracing::info!("SPP's API is at {place}");
        let (app, stopping) = (Arc::clone(&app), stopping.clone());
        tokio::spawn(spp.serve(app, stopping));
    }
    let serving = tokio::spawn(server::serve(
        listener,
        Door::Main,
        Arc::clone(&app),
        stopping,
    ));

    let signal = loop {
        match signals.next().await {
            signal::Request::End(signal) => break signal,
            signal::Request::Reload => reload(&app),
        }
    };
    tracing::info!("{signal}: ending");
    stop.send_replace(true);
    let recorded = tokio::task::spawn_blocking(move || {
        recordings.is_none_or(|recordings| recordings.stop(RECORDINGS_END))
    });
    // Subscribers still get what the captures leave behind; their queues end with the engine.
    let ended = tokio::task::spawn_blocking(move || engine.stop());
    if tokio::time::timeout(ENGINE_END, ended).await.is_err() {
        tracing::warn!("the engine did not end in time");
    }
    if !recorded.await.unwrap_or(false) {
        tracing::warn!("what was captured is not all written");
    }
    let connections = async {
        drop(serving.await);
        stop.closed().await;
    };
    if tokio::time::timeout(CONNECTIONS_END, connections)
        .await
        .is_err()
    {
        tracing::debug!("connections are cut");
    }
    Ok(())
}

/// Whether an address is not this machine's alone.
fn is_reached_by_others(place: SocketAddr) -> bool {
    !place.ip().to_canonical().is_loopback()
}

fn warn_if_open(app: &App, place: SocketAddr) {
    if app.auth.is_open() && is_reached_by_others(place) {
        tracing::warn!(
            "without authentication, whoever reaches {place} may see and change everything: \
             analyzer.auth.api.backend asks for passwords, analyzer.listen=127.0.0.1:{} keeps \
             others out",
            place.port()
        );
    }
}

/// Reads certificates and password files again.
fn reload(app: &App) {
    match app.auth.reload() {
        Ok(()) => tracing::info!("SIGHUP: users have been read again"),
        Err(error) => tracing::error!(error, "SIGHUP: users stay as they were"),
    }
    match app.tls.as_ref().map(Tls::reload) {
        None => {}
        Some(Ok(())) => tracing::info!("SIGHUP: certificates have been read again"),
        Some(Err(error)) => {
            let error = format!("{error:#}");
            tracing::error!(error, "SIGHUP: certificates stay as they were");
        }
    }
}

/// Every client takes a descriptor; the usual soft limit of 1024 is far below the hard one.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// An idle daemon is a megabyte or two of heap: in huge pages that is eight, and clearing them is
/// most of what a quiet capture costs. A large file's flows are faster in huge ones.
fn allow_huge_pages(are_allowed: bool) {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(!are_allowed) {
        tracing::debug!(%error, "pages stay as they are");
    }
}

/// How long recordings may be written at the end, while everything else ends.
const RECORDINGS_END: Duration = Duration::from_millis(2_500);
/// How long each other part of the end may take; together less than two seconds.
const ENGINE_END: Duration = Duration::from_millis(1_200);
const CONNECTIONS_END: Duration = Duration::from_millis(300);
const LAST_MOMENT: Duration = Duration::from_millis(200);
