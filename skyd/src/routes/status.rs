//! `/api/status`: who is connected, what runs, what was lost.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde::Serialize;
use skylib::graph::history::HistoryStatus;
use skylib::spp::PcapStatus;
use skylib::store::FlowStoreStatus;
use skylib::time::Timestamp;

use crate::clients::{ClientStatus, Endpoint};
use crate::handler::Call;
use crate::response::{self, Response};
use crate::routes::resource;

/// `GET /api/status`
pub(crate) async fn show(call: Call) -> Response {
    let app = &call.app;
    let engine = app.engine.status();
    let clients = |endpoint| app.clients.status(endpoint);
    let master = Election { is_master: true };
    let status = Status {
        agents: clients(Endpoint::Agent),
        peers: Peers {
            incomers: BTreeMap::new(),
            outgoers: BTreeMap::new(),
        },
        publishers: clients(Endpoint::Publisher),
        subscribers: clients(Endpoint::Subscriber),
        alerts: master,
        captures: master,
        probes: engine
            .probes
            .iter()
            .map(|probe| (probe.name, Probe::of(probe)))
            .collect(),
        store: Store {
            resources: engine
                .resources
                .iter()
                .map(|(kind, count)| (resource::plural(kind), *count))
                .collect(),
            error: engine.store_problem,
        },
        queues: Queues {
            connections: app.connections.open(),
            connections_refused: app.connections.refused(),
            connections_closed_idle: app.connections.idle().closed(),
            incoming_bytes: app.incoming.used(),
            incoming_refused: app.incoming.refused(),
            queries_running: app.queries.running(),
            uploads: app.uploads.running(),
            uploads_refused: app.uploads.refused(),
            events_waiting: engine.events_waiting,
            graph_subscribers_cut_off: engine.graph_subscribers_cut_off,
            flow_subscribers_cut_off: engine.flow_subscribers_cut_off,
            flows_dropped: engine.flows_dropped,
            flow_tables_silent: engine.flow_table_timeouts,
            messages_dropped: app.clients.messages_dropped(),
        },
        live: Live {
            queries: engine.live.queries,
            items: engine.live.items,
            bytes: engine.live.bytes,
            runs: engine.live.runs,
            overruns: engine.live.overruns,
            ended: engine.live.ended,
        },
        flow_rules: FlowRules {
            recorded: engine.recorded,
            key_ignore: engine.key_ignore.names().collect(),
        },
        flow_ingestion: Ingestion {
            transport: app.flow_transport.name(),
            error: app.flow_transport.problem(),
            messages: engine.ingestion.messages,
            flows: engine.ingestion.flows,
            refused: engine.ingestion.refused,
            dropped_by_kernel: app.flow_transport.dropped_by_kernel(),
            live_flows: engine.ingestion.live_flows,
            live_bytes: engine.ingestion.live_bytes,
        },
        history: History {
            topology: engine.history.as_ref().map(TopologyHistory::of),
            flows: engine.flow_store.as_ref().map(FlowHistory::of),
        },
        spp: app.spp.as_ref().map(|ctl| {
            let statuses = ctl.instances().into_iter().map(|process| process.status());
            statuses.map(|status| (status.client_id, status)).collect()
        }),
        backends_replaced_by_local: app
            .replaced_backends
            .iter()
            .map(|backend| (backend.key, backend.wanted.as_str()))
            .collect(),
    };
    response::json(StatusCode::OK, &status)
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Status<'a> {
    agents: Clients,
    peers: Peers,
    publishers: Clients,
    subscribers: Clients,
    alerts: Election,
    captures: Election,
    probes: BTreeMap<&'static str, Probe>,
    store: Store,
    queues: Queues,
    live: Live,
    flow_rules: FlowRules,
    flow_ingestion: Ingestion,
    history: History,
    /// SPP's instances by id, as its own API shows them.
    #[serde(rename = "SPP", skip_serializing_if = "Option::is_none")]
    spp: Option<BTreeMap<u8, PcapStatus>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    backends_replaced_by_local: BTreeMap<&'static str, &'a str>,
}

/// Configured rules of flow tables: `flow.recorded` and `flow.key.ignore`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FlowRules {
    recorded: bool,
    key_ignore: Vec<&'static str>,
}

/// How a probe is; the original shows no reason.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Probe {
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Probe {
    fn of(probe: &skylib::topology::ProbeStatus) -> Self {
        Self {
            status: probe.state.to_string(),
            error: probe.error.clone(),
        }
    }
}

type Clients = BTreeMap<String, ClientStatus>;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Peers {
    incomers: Clients,
    outgoers: Clients,
}

/// The only analyzer is its own master.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Election {
    is_master: bool,
}

/// How live queries do.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Live {
    queries: usize,
    items: usize,
    bytes: usize,
    runs: u64,
    /// How often events came too fast and all queries ran again.
    overruns: u64,
    ended: u64,
}

/// How much of the past is kept; `null` where none is.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct History {
    topology: Option<TopologyHistory>,
    flows: Option<FlowHistory>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TopologyHistory {
    revisions: usize,
    bytes: usize,
    index_bytes: usize,
    /// From when on everything is there, Unix ms; `null` before anything happened.
    oldest: Option<i64>,
    evicted: u64,
    expired_readers: u64,
}

impl TopologyHistory {
    fn of(status: &HistoryStatus) -> Self {
        Self {
            revisions: status.revisions,
            bytes: status.bytes,
            index_bytes: status.index_bytes,
            oldest: status.oldest.map(Timestamp::as_ms),
            evicted: status.evicted,
            expired_readers: status.expired_readers,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FlowHistory {
    flows: usize,
    bytes: usize,
    /// From when on everything is there, Unix ms; `null` before the first flow.
    oldest: Option<i64>,
    evicted: u64,
}

impl FlowHistory {
    fn of(status: &FlowStoreStatus) -> Self {
        Self {
            flows: status.flows,
            bytes: status.bytes,
            oldest: status.oldest.map(Timestamp::as_ms),
            evicted: status.evicted,
        }
    }
}

/// What is kept.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Store {
    /// How many of each kind, such as `Captures`.
    #[serde(flatten)]
    resources: BTreeMap<String, usize>,
    /// Why the last change could not be kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What agents have sent of their flows; what then found no room is in `Queues.FlowsDropped`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Ingestion {
    /// `udp` or `websocket`.
    transport: &'static str,
    /// Why none can come.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    messages: u64,
    flows: u64,
    /// Messages that were none, or too large.
    refused: u64,
    /// Datagrams that came faster than they were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped_by_kernel: Option<u64>,
    /// Flows that queries about the present find.
    live_flows: usize,
    live_bytes: usize,
}

/// What waits, and what a full queue cost.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Queues {
    connections: usize,
    connections_refused: usize,
    connections_closed_idle: u64,
    incoming_bytes: usize,
    incoming_refused: u64,
    queries_running: usize,
    uploads: usize,
    uploads_refused: u64,
    events_waiting: usize,
    graph_subscribers_cut_off: u64,
    flow_subscribers_cut_off: u64,
    flows_dropped: u64,
    flow_tables_silent: u64,
    messages_dropped: u64,
}
