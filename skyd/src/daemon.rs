//! Life cycle of the daemon: build all parts, serve until a signal arrives, drain.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use skylib::engine::{Engine, Role};
use skylib::spp::SppCtl;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior};

use crate::agent::{self, AnalyzerOptions};
use crate::app::App;
use crate::cli::DaemonArgs;
use crate::config::{self, Config, Sources};
use crate::dial::Dialer;
use crate::flow_transport::FlowTransport;
use crate::past_stores::HistoryFiles;
use crate::replication::{self, PeerOptions};
use crate::server::ListenerKind;
use crate::signal::{Request, Signals};
use crate::spp_setup::Spp;
use crate::tls::{self, Tls};
use crate::webhooks::Webhooks;
use crate::{
    agent_udp, allocator, auth, engine_options, log, peering, privileges, process_tuning, server,
    spp_setup,
};

/// Runs a daemon with the settings of its command line until a signal ends it.
///
/// # Errors
/// Returns an error if a setting is invalid, or a file, a socket, or the data folder cannot be
/// opened.
pub(crate) fn start(role: Role, args: DaemonArgs) -> anyhow::Result<()> {
    let config = Config::load(&Sources {
        files: args.files,
        environment: config::environment(),
        settings: args.settings,
    })?;
    log::start(&config.text("logging.level"));
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    allocator::limit_retained_memory();
    process_tuning::raise_descriptor_limit();
    privileges::retain_needed(role, &config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let result = runtime.block_on(async {
        // Installed before the process is visible from outside: a signal that arrived earlier would
        // be lost.
        let mut signals = Signals::new().context("cannot install signal handlers")?;
        let daemon = Daemon::build(role, &config).await?;
        let signal = daemon.run(&mut signals).await;
        tracing::info!("received {signal}; shutting down");
        let limit = daemon.shutdown_timeout();
        tokio::select! {
            () = daemon.drain() => {}
            signal = signals.end() => {
                tracing::warn!("received {signal} again; ending immediately");
                return Ok(Duration::ZERO);
            }
            () = tokio::time::sleep(limit) => {
                tracing::warn!("not all parts stopped within {limit:?}; ending anyway");
            }
        }
        Ok(RUNTIME_TIMEOUT)
    });
    // Aborts connections that are still open. Threads that do not stop end with the process.
    let timeout = result.as_ref().copied().unwrap_or(RUNTIME_TIMEOUT);
    runtime.shutdown_timeout(timeout);
    result.map(drop)
}

/// Running daemon.
pub(crate) struct Daemon {
    app: Arc<App>,
    /// Flag that ends the accept loops and the connections when set to `true`.
    stop: watch::Sender<bool>,
    /// Task of the accept loop of the main listener.
    serving: JoinHandle<()>,
}

impl Daemon {
    /// Opens the listeners, starts the engine, and begins to accept connections.
    ///
    /// # Errors
    /// Returns an error if a setting is invalid, or a file, a socket, or the data folder cannot be
    /// opened.
    pub(crate) async fn build(role: Role, config: &Config) -> anyhow::Result<Self> {
        let is_agent = role == Role::Agent;
        let (listen_key, kind) = match is_agent {
            true => (AGENT_LISTEN, ListenerKind::Agent),
            false => (ANALYZER_LISTEN, ListenerKind::Main),
        };
        let Some(address) = config.address(listen_key) else {
            bail!("{listen_key}: no address is configured; expected host:port");
        };
        let replaced_backends = match is_agent {
            true => Vec::new(),
            false => engine_options::replaced_backends(config)?,
        };
        for backend in &replaced_backends {
            tracing::warn!("{backend}");
        }
        let folder = engine_options::data_folder(config);
        let is_new = !is_agent && engine_options::create_data_folder(&folder)?;
        let auth = match is_agent {
            true => auth::for_agent(config)?,
            false => auth::from_config(config, &folder)?,
        };
        let tls = Tls::from_config(config, is_agent)?;
        let listener = server::listen(listen_key, &address).await?;
        let (engine, history_files) = start_engine(role, config)?;
        match is_agent {
            true => tracing::info!(version = env!("CARGO_PKG_VERSION"), "started"),
            false => announce_start(&engine, &folder, is_new),
        }
        let address = local_address(&listener)?;
        let flow_transport = match is_agent {
            true => FlowTransport::WebSocket,
            false => FlowTransport::open(&config.text("flow.protocol"), address),
        };
        let spp = match is_agent {
            true => None,
            false => spp_setup::start(config, &engine, !auth.is_open()).await?,
        };
        let mut app = App::new(engine, config, auth, tls, flow_transport, replaced_backends);
        app.history_files = history_files;
        app.spp = spp.as_ref().map(|spp| Arc::clone(&spp.ctl));
        let app = Arc::new(app);
        let (stop, stopping) = watch::channel(false);
        if !is_agent {
            tokio::spawn(agent_udp::receive(Arc::clone(&app), stopping.clone()));
        }
        warn_if_open(&app, listen_key, address);
        tracing::info!(host = app.engine.host(), "listening on {address}");
        if let Some(spp) = spp {
            announce_spp(&spp, address, !app.auth.is_open())?;
            tokio::spawn(spp.serve(Arc::clone(&app), stopping.clone()));
        }
        connect(role, config, &app, &stopping).await?;
        let main = server::serve(listener, kind, Arc::clone(&app), stopping);
        Ok(Self {
            app,
            stop,
            serving: tokio::spawn(main),
        })
    }

    /// Reloads files at SIGHUP, at most once per [`RELOAD_INTERVAL`], and returns free memory to
    /// the system. Returns the name of the signal that ends the daemon.
    pub(crate) async fn run(&self, signals: &mut Signals) -> &'static str {
        let (mut is_due, mut earliest) = (false, Instant::now());
        let mut returning = tokio::time::interval(allocator::RETURN_INTERVAL);
        returning.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = returning.tick() => allocator::return_free_memory(),
                request = signals.next() => match request {
                    Request::End(signal) => return signal,
                    Request::Reload => is_due = true,
                },
                () = tokio::time::sleep_until(earliest), if is_due => {
                    reload(&self.app);
                    (is_due, earliest) = (false, Instant::now() + RELOAD_INTERVAL);
                }
            }
        }
    }

    /// Returns the time after which the daemon ends even if parts of it have not stopped.
    fn shutdown_timeout(&self) -> Duration {
        match self.app.spp {
            Some(_) => RECORDINGS_TIMEOUT + CONNECTIONS_TIMEOUT,
            None => ENGINE_TIMEOUT + CONNECTIONS_TIMEOUT,
        }
    }

    /// Stops accepting connections, ends recordings and the engine, and lets connections send their
    /// queued data; each part has a timeout.
    pub(crate) async fn drain(self) {
        let Self { app, stop, serving } = self;
        stop.send_replace(true);
        let recordings = app.spp.clone();
        let recorded = spawn_blocking(move || stop_recordings(recordings.as_deref()));
        // The engine ends the queues of the subscribers, which therefore still receive the last
        // flows of the captures.
        let engine = app.engine.clone();
        let ended = spawn_blocking(move || engine.stop());
        if tokio::time::timeout(ENGINE_TIMEOUT, ended).await.is_err() {
            tracing::warn!("the engine did not stop within {ENGINE_TIMEOUT:?}");
        }
        if !recorded.await.unwrap_or(false) {
            tracing::warn!(
                "recordings were not completely written within {RECORDINGS_TIMEOUT:?}; the last \
                 packets are missing from their files"
            );
        }
        let connections = async {
            drop(serving.await);
            stop.closed().await;
        };
        if tokio::time::timeout(CONNECTIONS_TIMEOUT, connections)
            .await
            .is_err()
        {
            tracing::debug!("aborting the connections that are still open");
        }
    }
}

/// Starts the engine. Also returns the files of the history.
fn start_engine(role: Role, config: &Config) -> anyhow::Result<(Engine, HistoryFiles)> {
    let webhooks = Webhooks::new(Handle::current(), tls::configured_roots(config)?);
    let (options, history_files) = engine_options::engine_options(role, config)?;
    let engine = Engine::start(options.with_webhooks(Arc::new(webhooks)))?;
    Ok((engine, history_files))
}

/// Opens the parts that depend on the role: the connections of an agent to its analyzers, or the
/// listener of the agent in an all-in-one daemon.
async fn connect(
    role: Role,
    config: &Config,
    app: &Arc<App>,
    stopping: &watch::Receiver<bool>,
) -> anyhow::Result<()> {
    if role == Role::Agent {
        agent::start(app, agent_options(config)?, stopping);
        return Ok(());
    }
    replication::start(app, peer_options(config)?, stopping);
    peering::start(app, peering::clusters(config, silence(config))?, stopping);
    if role == Role::AllInOne {
        serve_agent_api(config, app, stopping).await;
    }
    Ok(())
}

/// Serves the API of the agent of an all-in-one daemon, which shows the same graph. A failure to
/// open its port is logged and does not affect other parts.
async fn serve_agent_api(config: &Config, app: &Arc<App>, stopping: &watch::Receiver<bool>) {
    let Some(address) = config.address(AGENT_LISTEN) else {
        return;
    };
    match server::listen(AGENT_LISTEN, &address).await {
        Ok(listener) => {
            match local_address(&listener) {
                Ok(address) => tracing::info!("API of the agent is at {address}"),
                Err(error) => tracing::debug!(%error, "the address of the agent is unknown"),
            }
            let (app, stopping) = (Arc::clone(app), stopping.clone());
            tokio::spawn(server::serve(listener, ListenerKind::Agent, app, stopping));
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::warn!(error, "cannot serve the API of the agent");
        }
    }
}

/// Returns the settings of the connections of an agent.
fn agent_options(config: &Config) -> anyhow::Result<AnalyzerOptions> {
    let analyzers = engine_options::analyzers(config)?;
    if analyzers.is_empty() {
        tracing::warn!("analyzers is not set: this agent reports to no analyzer");
    }
    Ok(AnalyzerOptions {
        analyzers,
        dialer: dialer(config, "agent.auth.cluster")?,
        flows_over_websocket: config.text("flow.protocol") == "websocket",
        silence: silence(config),
    })
}

/// Returns the settings of the connections of an analyzer to others.
fn peer_options(config: &Config) -> anyhow::Result<PeerOptions> {
    Ok(PeerOptions {
        addresses: engine_options::analyzers(config)?,
        dialer: dialer(config, "analyzer.auth.cluster")?,
        silence: silence(config),
    })
}

fn dialer(config: &Config, prefix: &str) -> anyhow::Result<Dialer> {
    let key_file = auth::key_file_path(config, &engine_options::data_folder(config));
    Dialer::from_config(config, prefix, key_file)
}

/// Returns the time without any frame after which an analyzer counts as lost.
fn silence(config: &Config) -> Duration {
    let ping_delay = config.duration("http.ws.ping_delay");
    ping_delay * PINGS_MISSED + config.duration("http.ws.pong_timeout")
}

const ANALYZER_LISTEN: &str = "analyzer.listen";
const AGENT_LISTEN: &str = "agent.listen";
/// Number of pings of an analyzer that may be late before it counts as lost.
const PINGS_MISSED: u32 = 2;

/// Stops all recordings; returns whether they are completely written.
fn stop_recordings(recordings: Option<&SppCtl>) -> bool {
    recordings.is_none_or(|recordings| recordings.stop(RECORDINGS_TIMEOUT))
}

fn local_address(listener: &TcpListener) -> anyhow::Result<SocketAddr> {
    listener
        .local_addr()
        .context("cannot read the address of the listening socket")
}

/// Logs the version, the data folder, and the numbers of resources that were restored from it.
fn announce_start(engine: &Engine, folder: &Path, is_new: bool) {
    let folder = folder.display();
    let version = env!("CARGO_PKG_VERSION");
    if is_new {
        tracing::info!(
            version,
            "started; the data folder {folder} is new, nothing was restored"
        );
        return;
    }
    let captures = engine.captures().len();
    let (alerts, rules) = (
        engine.alerts().len(),
        engine.node_rules().len() + engine.edge_rules().len(),
    );
    tracing::info!(
        version,
        captures,
        alerts,
        rules,
        workflows = engine.workflows().len(),
        "started; restored these resources from the data folder {folder}"
    );
}

/// Returns whether other machines can connect to an address.
fn is_reachable_from_outside(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

fn warn_if_open(app: &App, listen_key: &str, address: SocketAddr) {
    if app.auth.is_open() && is_reachable_from_outside(address) {
        tracing::warn!(
            "no authentication is configured: everyone who can connect to {address} can read and \
             change everything; set {}.auth.api.backend to require passwords, or \
             {listen_key}=127.0.0.1:{} to accept local connections only",
            listen_key.trim_end_matches(".listen"),
            address.port()
        );
    }
}

fn announce_spp(spp: &Spp, main_address: SocketAddr, has_passwords: bool) -> anyhow::Result<()> {
    let Some(listener) = &spp.listener else {
        tracing::info!(
            "SPP API is at /v1 of {main_address} only; set spp.listen to open another port"
        );
        return Ok(());
    };
    let address = local_address(listener)?;
    if is_reachable_from_outside(address) {
        tracing::warn!(
            "everyone who can connect to {address} can control the SPP processes; set \
             spp.listen=127.0.0.1:{} to accept local connections only (authenticated users can \
             still use /v1 of {main_address})",
            address.port()
        );
    } else if has_passwords {
        tracing::warn!(
            "every user of this machine can control the SPP processes at {address} without a \
             password; unset spp.listen to allow only authenticated users at /v1 of {main_address}"
        );
    }
    tracing::info!("SPP API is at {address}");
    Ok(())
}

/// Reloads certificates and password files.
fn reload(app: &App) {
    match app.auth.reload() {
        Ok(()) => tracing::info!("SIGHUP: reloaded the users"),
        Err(error) => tracing::error!(error, "SIGHUP: cannot reload the users; using the old ones"),
    }
    match app.tls.as_ref().map(Tls::reload) {
        None => {}
        Some(Ok(())) => tracing::info!("SIGHUP: reloaded the TLS certificates"),
        Some(Err(error)) => {
            let error = format!("{error:#}");
            tracing::error!(
                error,
                "SIGHUP: cannot reload the TLS certificates; using the old ones"
            );
        }
    }
}

/// Time for recordings to write their files, concurrently with the other parts.
const RECORDINGS_TIMEOUT: Duration = Duration::from_millis(2_500);
/// Time for the engine to stop. The other parts end one after the other, in less than two seconds
/// in total.
const ENGINE_TIMEOUT: Duration = Duration::from_millis(1_200);
const CONNECTIONS_TIMEOUT: Duration = Duration::from_millis(300);
const RUNTIME_TIMEOUT: Duration = Duration::from_millis(200);
/// Minimum time between two reloads: many SIGHUP signals must not fill the log.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);
