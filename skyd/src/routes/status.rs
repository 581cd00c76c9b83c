//! `/api/status`: who is connected, what runs, what was lost.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde::Serialize;

use crate::respond::{self, Response};
use crate::router::Call;
use crate::ws::{ConnectionStatus, Endpoint};

/// `GET /api/status`
pub(crate) async fn show(call: Call) -> Response {
    let app = &call.app;
    let engine = app.engine.status();
    let clients = |endpoint| app.pools.status(endpoint);
    let master = Election { is_master: true };
    let status = Status {
        agents: BTreeMap::new(),
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
        queues: Queues {
            connections: app.connections.open(),
            connections_refused: app.connections.refused(),
            incoming_bytes: app.incoming.used(),
            incoming_refused: app.incoming.refused(),
            events_waiting: engine.events_waiting,
            graph_subscribers_cut_off: engine.graph_subscribers_cut_off,
            flow_subscribers_cut_off: engine.flow_subscribers_cut_off,
            flows_dropped: engine.flows_dropped,
            flow_tables_silent: engine.flow_tables_silent,
            messages_dropped: app.pools.messages_dropped(),
        },
        backends_replaced_by_local: app
            .replaced_backends
            .iter()
            .map(|backend| (backend.key, backend.wanted.as_str()))
            .collect(),
    };
    respond::json(StatusCode::OK, &status)
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
    queues: Queues,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    backends_replaced_by_local: BTreeMap<&'static str, &'a str>,
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

type Clients = BTreeMap<String, ConnectionStatus>;

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

/// What waits, and what a full queue cost.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Queues {
    connections: usize,
    connections_refused: usize,
    incoming_bytes: usize,
    incoming_refused: u64,
    events_waiting: usize,
    graph_subscribers_cut_off: u64,
    flow_subscribers_cut_off: u64,
    flows_dropped: u64,
    flow_tables_silent: u64,
    messages_dropped: u64,
}
