//! State of the daemon that all handlers share.

use std::sync::Arc;

use skylib::engine::{Engine, SubscribeOptions};
use skylib::spp::SppCtl;

use crate::auth::Auth;
use crate::client_socket::Connections;
use crate::clients::Clients;
use crate::config::Config;
use crate::engine_options::{self, ReplacedBackend};
use crate::flow_transport::FlowTransport;
use crate::incoming_memory::IncomingMemory;
use crate::limits::Limits;
use crate::queries::{Interrupt, QueryFailure, QuerySlots};
use crate::request_counters::RequestCounters;
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
    pub(crate) incoming: Arc<IncomingMemory>,
    pub(crate) uploads: Uploads,
    pub(crate) requests: RequestCounters,
    pub(crate) clients: Clients,
    pub(crate) flow_transport: FlowTransport,
    /// SPP processes; `None` if SPP is not configured.
    pub(crate) spp: Option<Arc<SppCtl>>,
    /// Configured store backends that are not supported, for the status.
    pub(crate) replaced_backends: Vec<ReplacedBackend>,
    pub(crate) queries: QuerySlots,
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
            engine,
            queries: QuerySlots::new(limits.queries, limits.query_timeout),
            auth,
            tls,
            web_origins: WebOrigins::from_config(config, &engine_options::host_names(config)),
            limits,
            config: config.clone(),
            connections: Connections::new(config.count("http.limits.connections")),
            incoming: IncomingMemory::new(config.bytes("http.limits.incoming_bytes")),
            requests: RequestCounters::default(),
            uploads,
            clients: Clients::default(),
            flow_transport,
            spp: None,
            replaced_backends,
        }
    }

    /// Returns the limits of the queue of one WebSocket client; `None` subscribes to all namespaces.
    pub(crate) fn subscribe_options(&self, namespaces: Option<Vec<String>>) -> SubscribeOptions {
        let mut options = SubscribeOptions::default()
            .with_max_messages(self.limits.ws_queue_messages)
            .with_max_bytes(self.limits.ws_queue_bytes);
        options.namespaces = namespaces;
        options
    }

    /// Runs blocking work with the engine in a query slot.
    ///
    /// # Errors
    /// See [`QuerySlots::run`].
    pub(crate) async fn run_query<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine, &Interrupt) -> T + Send + 'static,
    ) -> Result<T, QueryFailure> {
        self.queries.run(&self.engine, work).await
    }
}

/// Service type that the daemon reports to its clients, in both roles.
pub(crate) const SERVICE_TYPE: &str = "analyzer";
