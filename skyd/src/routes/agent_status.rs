//! `/api/status` of an agent.
//!
//! COMPAT: the members of Skydive; further members are added.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde::Serialize;
use skylib::engine::UplinkStatus;

use super::status::{self, Probe};
use crate::app::App;
use crate::clients::{ClientStatus, Endpoint};
use crate::outgoing::OutgoingStatus;
use crate::response::{self, Response};

/// Returns the status of the agent in this process.
pub(super) fn show(app: &App) -> Response {
    let engine = app.engine.status();
    let status = Status {
        clients: app.clients.status(Endpoint::Subscriber),
        analyzers: app.outgoing.status(),
        topology_probes: status::probes(&engine),
        flow_probes: FLOW_PROBES,
        captures: Captures {
            active: engine.capture_totals.active,
            failed: engine.capture_totals.failed,
            packets_received: engine.capture_totals.packets.received,
            packets_dropped: engine.capture_totals.packets.dropped,
        },
        flow_queue: engine.uplink.as_ref().map(Queue::of),
        messages_dropped: app.clients.messages_dropped(),
    };
    response::json(StatusCode::OK, &status)
}

/// Capture types that the agent supports.
const FLOW_PROBES: &[&str] = &["pcapsocket", "sflow", "afpacket", "pcap"];

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    clients: BTreeMap<String, ClientStatus>,
    analyzers: BTreeMap<String, OutgoingStatus>,
    topology_probes: BTreeMap<&'static str, Probe>,
    flow_probes: &'static [&'static str],
    captures: Captures,
    /// Flows for the analyzers; absent in an all-in-one daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    flow_queue: Option<Queue>,
    /// Number of messages that were invalid or not permitted.
    messages_dropped: u64,
}

/// Counters of the captures.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Captures {
    active: usize,
    failed: usize,
    packets_received: u64,
    packets_dropped: u64,
}

/// Flow updates on their way to the analyzers.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Queue {
    waiting: usize,
    waiting_bytes: usize,
    sent: u64,
    /// Number of flow updates that were dropped because the queue was full
    /// (`agent.flow.queue_bytes`), or too long for a datagram.
    lost: u64,
}

impl Queue {
    fn of(status: &UplinkStatus) -> Self {
        Self {
            waiting: status.waiting,
            waiting_bytes: status.waiting_bytes,
            sent: status.sent,
            lost: status.lost,
        }
    }
}
