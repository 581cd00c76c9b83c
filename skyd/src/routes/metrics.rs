//! `/metrics`: figures for Prometheus; each says itself what it means.

use hyper::StatusCode;
use skylib::engine::{CaptureTotals, Status};
use skylib::spp::PcapStatus;

use crate::app::App;
use crate::exposition::{CONTENT_TYPE, MetricKind, Page};
use crate::process::ProcessFigures;
use crate::respond::{self, Response};
use crate::router::Call;
use crate::ws::Endpoint;

/// `GET /metrics`
pub(crate) async fn show(call: Call) -> Response {
    let app = &call.app;
    let engine = app.engine.status();
    let mut page = Page::default();
    page.family(
        MetricKind::Gauge,
        "skyd_build_info",
        "Version of the daemon.",
    )
    .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    process(&mut page, &ProcessFigures::read());
    captures(&mut page, &engine.capture_totals);
    flows(&mut page, &engine, app);
    topology(&mut page, &engine);
    clients(&mut page, &engine, app);
    recordings(&mut page, app);
    respond::typed(StatusCode::OK, CONTENT_TYPE, page.into_text())
}

/// Under the names that every exporter gives them.
fn process(page: &mut Page, figures: &ProcessFigures) {
    if let Some(seconds) = figures.cpu_seconds {
        let help = "Seconds on a processor, in user and kernel mode.";
        page.counter("process_cpu_seconds_total", help, seconds);
    }
    if let Some(seconds) = figures.start_seconds {
        page.gauge(
            "process_start_time_seconds",
            "Start, Unix time in seconds.",
            seconds,
        );
    }
    if let Some(bytes) = figures.resident_bytes {
        page.gauge("process_resident_memory_bytes", "Bytes in memory.", bytes);
    }
    if let Some(bytes) = figures.virtual_bytes {
        page.gauge(
            "process_virtual_memory_bytes",
            "Bytes of address space.",
            bytes,
        );
    }
    if let Some(threads) = figures.threads {
        page.gauge("process_threads", "Threads.", threads);
    }
    if let Some(open) = figures.descriptors {
        page.gauge("process_open_fds", "Open descriptors.", open);
    }
    if let Some(most) = figures.max_descriptors {
        page.gauge("process_max_fds", "Descriptors there may be.", most);
    }
}

fn captures(page: &mut Page, totals: &CaptureTotals) {
    let CaptureTotals { packets, flows, .. } = totals;
    page.family(
        MetricKind::Gauge,
        "skyd_captures",
        "Captures on nodes, by how they are.",
    )
    .sample(&[("state", "active")], totals.active)
    .sample(&[("state", "error")], totals.failed);
    let help = "Packets that passed the captures' filters, the dropped ones included.";
    page.counter("skyd_capture_packets_total", help, packets.received);
    let help = "Packets lost before they were counted: no room in the ring, or in the interface.";
    page.family(
        MetricKind::Counter,
        "skyd_capture_packets_dropped_total",
        help,
    )
    .sample(&[("reason", "ring")], packets.dropped)
    .sample(&[("reason", "interface")], packets.if_dropped);
    let help = "Packets that flow tables were given.";
    page.counter("skyd_flow_table_packets_total", help, flows.packets);
    let stopped = &flows.stopped;
    let help = "Packets decoded in part only, and packets without a flow, by reason.";
    page.family(
        MetricKind::Counter,
        "skyd_flow_table_packets_incomplete_total",
        help,
    )
    .sample(&[("reason", "filtered")], flows.filtered)
    .sample(&[("reason", "without_flow")], flows.without_flow)
    .sample(&[("reason", "link_type")], stopped.link_type)
    .sample(&[("reason", "truncated")], stopped.truncated)
    .sample(&[("reason", "malformed")], stopped.malformed)
    .sample(&[("reason", "unknown_protocol")], stopped.unknown_protocol)
    .sample(&[("reason", "too_deep")], stopped.too_deep);
    let help = "IPv4 fragments, by what became of them.";
    page.family(MetricKind::Counter, "skyd_flow_table_fragments_total", help)
        .sample(&[("outcome", "joined")], flows.fragments.joined)
        .sample(&[("outcome", "refused")], flows.fragments.refused)
        .sample(&[("outcome", "lost")], flows.fragments.lost);
    page.gauge("skyd_flow_table_flows", "Flows in the tables.", flows.flows);
    page.gauge(
        "skyd_flow_table_bytes",
        "Bytes held for them, in about.",
        flows.bytes,
    );
    page.counter(
        "skyd_flow_table_begun_total",
        "Flows that began.",
        flows.created,
    );
    let help = "Flows sent and removed before their time, as a table was full.";
    page.counter("skyd_flow_table_evicted_total", help, flows.evicted);
    let help = "Evicted flows lost, as nobody fetched them in time.";
    page.counter(
        "skyd_flow_table_evicted_unsent_total",
        help,
        flows.evicted_unsent,
    );
}

/// SPP's instances, of each what all of its runs did.
fn recordings(page: &mut Page, app: &App) {
    let Some(ctl) = &app.spp else {
        return;
    };
    let statuses: Vec<_> = ctl.instances().iter().map(|p| p.status()).collect();
    let mut family = |kind, name, help, figure: fn(&PcapStatus) -> u64| {
        let mut family = page.family(kind, name, help);
        for status in &statuses {
            let id = status.client_id.to_string();
            family.sample(&[("client_id", &id)], figure(status));
        }
    };
    let help = "1 while an instance records.";
    family(MetricKind::Gauge, "skyd_spp_running", help, |status| {
        u64::from(status.status == "running")
    });
    let counter = MetricKind::Counter;
    let help = "Packets that came, the lost ones included.";
    family(counter, "skyd_spp_packets_total", help, |s| s.totals.rx);
    let help = "Packets in the files, or on their way there.";
    family(counter, "skyd_spp_packets_written_total", help, |s| {
        s.totals.written
    });
    let help = "Packets lost: the ring was full, or a file took no more.";
    family(counter, "skyd_spp_packets_dropped_total", help, |s| {
        s.totals.drop
    });
    let help = "Files completed.";
    family(counter, "skyd_spp_files_total", help, |s| s.totals.files);
}

fn flows(page: &mut Page, engine: &Status, app: &App) {
    let help = "Flows that neither subscribers nor the store got.";
    page.counter("skyd_flows_dropped_total", help, engine.flows_dropped);
    let help = "How often a query went without a flow table's answer.";
    page.counter(
        "skyd_flow_tables_silent_total",
        help,
        engine.flow_tables_silent,
    );
    let ingestion = &engine.ingestion;
    page.counter(
        "skyd_agent_messages_total",
        "Messages of agents about flows.",
        ingestion.messages,
    );
    page.counter("skyd_agent_flows_total", "Flows in them.", ingestion.flows);
    let help = "Messages about flows that were refused or lost, by who did it.";
    let mut lost = page.family(MetricKind::Counter, "skyd_agent_messages_lost_total", help);
    lost.sample(&[("reason", "refused")], ingestion.refused);
    if let Some(dropped) = app.flow_transport.dropped_by_kernel() {
        lost.sample(&[("reason", "kernel")], dropped);
    }
    page.gauge(
        "skyd_agent_live_flows",
        "Flows of agents that are live.",
        ingestion.live_flows,
    );
    let Some(store) = &engine.flow_store else {
        return;
    };
    page.gauge("skyd_flow_store_flows", "Flows kept.", store.flows);
    page.gauge("skyd_flow_store_bytes", "Bytes they take.", store.bytes);
    let help = "Flows dropped for their age, or for others.";
    page.counter("skyd_flow_store_evicted_total", help, store.evicted);
}

fn topology(page: &mut Page, engine: &Status) {
    page.gauge("skyd_graph_nodes", "Nodes in the graph.", engine.nodes);
    page.gauge("skyd_graph_edges", "Edges in the graph.", engine.edges);
    let mut probes = page.family(
        MetricKind::Gauge,
        "skyd_probe_running",
        "1 where a probe runs.",
    );
    for probe in &engine.probes {
        let is_running = probe.state.to_string() == "running";
        probes.sample(&[("probe", probe.name)], u8::from(is_running));
    }
    let help = "Resources kept.";
    let mut kept = page.family(MetricKind::Gauge, "skyd_resources_kept", help);
    for (kind, count) in &engine.resources {
        kept.sample(&[("kind", kind)], *count);
    }
    let help = "1 while the last change of a resource could not be kept.";
    page.gauge(
        "skyd_store_failed",
        help,
        u8::from(engine.store_problem.is_some()),
    );
    let Some(history) = &engine.history else {
        return;
    };
    page.gauge(
        "skyd_history_revisions",
        "Revisions of the graph kept.",
        history.revisions,
    );
    let help = "Bytes the graph's past takes.";
    page.family(MetricKind::Gauge, "skyd_history_bytes", help)
        .sample(&[("part", "revisions")], history.bytes)
        .sample(&[("part", "index")], history.index_bytes);
    let help = "Revisions dropped for their age, or for others.";
    page.counter("skyd_history_evicted_total", help, history.evicted);
    let help = "Queries ended, as they kept too much of the past from being dropped.";
    page.counter(
        "skyd_history_expired_readers_total",
        help,
        history.expired_readers,
    );
}

fn clients(page: &mut Page, engine: &Status, app: &App) {
    let help = "Requests answered, by method and status.";
    let mut requests = page.family(MetricKind::Counter, "skyd_http_requests_total", help);
    for ((method, status), count) in app.requests.counts() {
        requests.sample(&[("method", method), ("code", &status.to_string())], count);
    }
    page.gauge(
        "skyd_connections",
        "Open connections.",
        app.connections.open(),
    );
    let help = "Connections refused, as there were too many.";
    page.counter(
        "skyd_connections_refused_total",
        help,
        app.connections.refused(),
    );
    let help = "Bytes of long bodies and messages on their way in.";
    page.gauge("skyd_incoming_bytes", help, app.incoming.used());
    let help = "Bodies and messages refused, as they found no room.";
    page.counter("skyd_incoming_refused_total", help, app.incoming.refused());
    page.gauge(
        "skyd_uploads",
        "Capture files on their way in.",
        app.uploads.running(),
    );
    let help = "Uploads refused, as there were too many.";
    page.counter("skyd_uploads_refused_total", help, app.uploads.refused());
    let mut clients = page.family(
        MetricKind::Gauge,
        "skyd_websocket_clients",
        "WebSocket clients, by endpoint.",
    );
    for (endpoint, name) in ENDPOINTS {
        clients.sample(&[("endpoint", name)], app.pools.count(*endpoint));
    }
    let help = "Messages of clients that were not understood or not allowed.";
    page.counter(
        "skyd_websocket_messages_dropped_total",
        help,
        app.pools.messages_dropped(),
    );
    page.gauge(
        "skyd_events_waiting",
        "Graph events not yet sent.",
        engine.events_waiting,
    );
    let help = "Subscribers cut off, as they had stopped reading.";
    page.family(MetricKind::Counter, "skyd_subscribers_cut_off_total", help)
        .sample(&[("of", "graph")], engine.graph_subscribers_cut_off)
        .sample(&[("of", "flow")], engine.flow_subscribers_cut_off);
}

const ENDPOINTS: &[(Endpoint, &str)] = &[
    (Endpoint::Subscriber, "subscriber"),
    (Endpoint::Publisher, "publisher"),
    (Endpoint::Pubsub, "pubsub"),
    (Endpoint::Flow, "subscriber/flow"),
    (Endpoint::Agent, "agent/topology"),
    (Endpoint::AgentFlow, "agent/flow"),
];
