//! State of the daemon that all handlers share.

use std::sync::Arc;

use skylib::engine::{Engine, SubscribeOptions};
use skylib::memory::MemoryBudget;
use skylib::spp::SppCtl;
use tokio::sync::Semaphore;

use crate::auth::Auth;
use crate::client_socket::Connections;
use crate::clients::Clients;
use crate::config::Config;
use crate::engine_options::{self, ReplacedBackend};
use crate::fair_slots::ClientKey;
use crate::flow_transport::FlowTransport;
use crate::limits::Limits;
use crate::outgoing::Outgoing;
use crate::past_stores::HistoryFiles;
use crate::process_tuning;
use crate::queries::{Interrupt, QueryFailure, QuerySlots, SUBSCRIPTIONS};
use crate::request_counters::RequestCounters;
use crate::selections::Selections;
use crate::tls::Tls;
use crate::upload::{UploadLimits, Uploads};
use crate::web_origin::WebOrigins;

/// Shared state of the daemon.
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) auth: Auth,
    pub(crate) tls: Option<Tls>,
    pub(crate) web_origins: WebOrigins,
    pub(crate) limits: Limits,
    pub(crate) config: Config,
    pub(crate) connections: Arc<Connections>,
    /// Limit on the memory used on behalf of clients, shared with the engine.
    pub(crate) memory: MemoryBudget,
    pub(crate) uploads: Uploads,
    pub(crate) requests: RequestCounters,
    pub(crate) clients: Clients,
    /// Connections to analyzers (of an agent) or to other analyzers (of an analyzer).
    pub(crate) outgoing: Outgoing,
    pub(crate) flow_transport: FlowTransport,
    /// SPP processes; `None` if SPP is not configured.
    pub(crate) spp: Option<Arc<SppCtl>>,
    pub(crate) history_files: HistoryFiles,
    /// Configured store backends that are not supported, for the status.
    pub(crate) replaced_backends: Vec<ReplacedBackend>,
    pub(crate) queries: QuerySlots,
    pub(crate) selections: Selections,
    /// Semaphore with one permit for each resource patch that may still start.
    pub(crate) patch_slots: Arc<Semaphore>,
}

impl App {
    /// Creates the state, without SPP processes.
    pub(crate) fn new(
        engine: Engine,
        config: &Config,
        auth: Auth,
        tls: Option<Tls>,
        flow_transport: FlowTransport,
        replaced_backends: Vec<ReplacedBackend>,
    ) -> Self {
        let limits = Limits::from_config(config);
        let uploads = Uploads::new(UploadLimits {
            count: config.count("http.limits.uploads"),
            bytes: config.bytes("http.limits.upload_bytes") as u64,
            timeout: limits.body_timeout,
        });
        Self {
            memory: engine.memory().clone(),
            engine,
            queries: QuerySlots::new(limits.queries, limits.query_timeout),
            auth,
            tls,
            web_origins: WebOrigins::from_config(config, &engine_options::host_names(config)),
            limits,
            config: config.clone(),
            connections: Connections::new(process_tuning::connection_limit(
                config.count("http.limits.connections"),
            )),
            requests: RequestCounters::default(),
            uploads,
            clients: Clients::default(),
            outgoing: Outgoing::default(),
            flow_transport,
            spp: None,
            history_files: HistoryFiles::Disabled,
            replaced_backends,
            selections: Selections::default(),
            patch_slots: Arc::new(Semaphore::new(PATCHES)),
        }
    }

    /// Returns the options of a subscription of one WebSocket client: the namespaces, `None` for
    /// all, and the limits of its queue.
    pub(crate) fn subscribe_options(&self, namespaces: Option<Vec<String>>) -> SubscribeOptions {
        let mut options = SubscribeOptions::default()
            .with_max_messages(self.limits.ws_queue_messages)
            .with_max_bytes(self.limits.ws_queue_bytes);
        options.namespaces = namespaces;
        options
    }

    /// Runs blocking work with the engine in a query slot on behalf of a subscription. All
    /// subscriptions together count as one client, so that they leave slots to requests.
    ///
    /// # Errors
    /// Returns the errors of [`QuerySlots::run`].
    pub(crate) async fn run_query<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine, &Interrupt) -> T + Send + 'static,
    ) -> Result<T, QueryFailure> {
        self.run_once(&SUBSCRIPTIONS.into(), work).await
    }

    /// Runs the blocking work of a client in a query slot; the work is never restarted.
    ///
    /// # Errors
    /// Returns the errors of [`QuerySlots::run`].
    pub(crate) async fn run_once<T: Send + 'static>(
        &self,
        client: &ClientKey,
        work: impl FnOnce(&Engine, &Interrupt) -> T + Send + 'static,
    ) -> Result<T, QueryFailure> {
        self.queries.run(client, &self.engine, work).await
    }

    /// Runs the blocking work of a client's request in a query slot; the work may be interrupted
    /// and restarted once.
    ///
    /// # Errors
    /// Returns the errors of [`QuerySlots::run_repeatable`].
    pub(crate) async fn run_request<T: Send + 'static>(
        &self,
        client: &ClientKey,
        work: impl Fn(&Engine, &Interrupt) -> T + Send + Sync + 'static,
    ) -> Result<T, QueryFailure> {
        self.queries
            .run_repeatable(client, &self.engine, work)
            .await
    }
}

/// Maximum number of resource patches that run concurrently; others wait.
const PATCHES: usize = 4;
