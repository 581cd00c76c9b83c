//! `/metrics`: counters and gauges in the text format of Prometheus.
//!
//! Prometheus shows each help text alone, so each help text names what is counted and the unit.

use std::time::Duration;

use hyper::StatusCode;
use skylib::engine::{CaptureTotals, Status};
use skylib::flow::FlowTableStats;
use skylib::memory::{MemoryBudget, MemoryUse};
use skylib::spp::PcapStatus;
use skylib::time::{Clock, SystemClock};
use skylib::topology::ProbeState;

use super::{collector_metrics, history_metrics, interface_metrics};
use crate::app::App;
use crate::clients::Endpoint;
use crate::handler::Call;
use crate::process_stats::ProcessStats;
use crate::prometheus::{CONTENT_TYPE, MetricKind, MetricsPage};
use crate::response::{self, Response};

/// Answers `GET /metrics`.
pub(crate) async fn show(call: Call) -> Response {
    let app = &call.app;
    let engine = app.engine.status();
    let mut page = MetricsPage::default();
    page.family(
        MetricKind::Gauge,
        "skyd_build_info",
        "Version of the running skyd daemon; the value is always 1.",
    )
    .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    process(&mut page, &ProcessStats::read());
    captures(&mut page, &engine.capture_totals);
    flow_tables(&mut page, &engine);
    flows(&mut page, &engine, app);
    topology(&mut page, &engine);
    if let Some(store) = app.history_files.store() {
        history_metrics::write(&mut page, &store.status(), SystemClock.now());
    }
    automation(&mut page, &engine);
    clients(&mut page, &engine, app);
    fleet(&mut page, &engine, app);
    recordings(&mut page, app);
    let client = call.client_key();
    // While all query slots are occupied, the page has no interfaces, but no delay either.
    let collecting = app.run_request(&client, interface_metrics::collect);
    if let Ok(Ok(interfaces)) = tokio::time::timeout(INTERFACES_TIMEOUT, collecting).await {
        interface_metrics::write(&mut page, &interfaces);
    }
    response::typed(StatusCode::OK, CONTENT_TYPE, page.into_text())
}

/// Maximum time for reading the counters of interfaces.
const INTERFACES_TIMEOUT: Duration = Duration::from_secs(2);

/// Writes process statistics under the names that all Prometheus clients use.
fn process(page: &mut MetricsPage, stats: &ProcessStats) {
    if let Some(seconds) = stats.cpu_seconds {
        let help = "Total user and system CPU time spent in seconds.";
        page.counter("process_cpu_seconds_total", help, seconds);
    }
    if let Some(seconds) = stats.start_seconds {
        page.gauge(
            "process_start_time_seconds",
            "Start time of the process, in seconds since the Unix epoch.",
            seconds,
        );
    }
    if let Some(bytes) = stats.resident_bytes {
        page.gauge(
            "process_resident_memory_bytes",
            "Resident memory of the process, in bytes.",
            bytes,
        );
    }
    if let Some(bytes) = stats.virtual_bytes {
        page.gauge(
            "process_virtual_memory_bytes",
            "Virtual memory of the process, in bytes.",
            bytes,
        );
    }
    if let Some(threads) = stats.threads {
        page.gauge(
            "process_threads",
            "Number of threads of the process.",
            threads,
        );
    }
    if let Some(open) = stats.descriptors {
        page.gauge(
            "process_open_fds",
            "Number of open file descriptors of the process.",
            open,
        );
    }
    if let Some(most) = stats.max_descriptors {
        page.gauge(
            "process_max_fds",
            "Maximum number of open file descriptors of the process.",
            most,
        );
    }
}

/// Writes the totals of all captures and their flow tables.
fn captures(page: &mut MetricsPage, totals: &CaptureTotals) {
    let CaptureTotals {
        packets, target, ..
    } = totals;
    page.family(
        MetricKind::Gauge,
        "skyd_captures",
        "Number of captures on graph nodes, by state.",
    )
    .sample(&[("state", "active")], totals.active)
    .sample(&[("state", "error")], totals.failed);
    let help = "Packets that passed the capture filter, including packets dropped because the ring \
                was full.";
    page.counter("skyd_capture_packets_total", help, packets.received);
    let help = "Packets dropped before processing, by reason: packet ring full (ring), or dropped \
                by the network interface (interface).";
    page.family(
        MetricKind::Counter,
        "skyd_capture_packets_dropped_total",
        help,
    )
    .sample(&[("reason", "ring")], packets.dropped)
    .sample(&[("reason", "interface")], packets.if_dropped);
    let help = "Datagrams with flows that could not be sent to the targets of captures.";
    page.counter("skyd_capture_target_errors_total", help, target.errors);
    let help = "Flow records not sent to capture targets because the protocol of the target cannot \
                represent the record, such as IPv6 flows in NetFlow 5.";
    page.counter("skyd_capture_target_skipped_total", help, target.skipped);
    captured_packets(page, &totals.flows);
    captured_flows(page, &totals.flows);
}

/// Writes the counters of packets in the flow tables of captures.
fn captured_packets(page: &mut MetricsPage, flows: &FlowTableStats) {
    let help = "Packets that flow tables have processed.";
    page.counter("skyd_flow_table_packets_total", help, flows.packets);
    let stopped = &flows.stopped;
    let help = "Packets that were only partly decoded or belong to no flow, by reason.";
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
    .sample(
        &[("reason", "other_application")],
        stopped.other_application,
    )
    .sample(&[("reason", "unknown_protocol")], stopped.unknown_protocol)
    .sample(&[("reason", "too_deep")], stopped.too_deep);
    let help = "IP fragments processed, by outcome: reassembled (joined), rejected as damaged or \
                inconsistent (refused), or dropped before reassembly (lost).";
    page.family(MetricKind::Counter, "skyd_flow_table_fragments_total", help)
        .sample(&[("outcome", "joined")], flows.fragments.joined)
        .sample(&[("outcome", "refused")], flows.fragments.refused)
        .sample(&[("outcome", "lost")], flows.fragments.lost);
}

/// Writes the numbers of flows in the flow tables of captures.
fn captured_flows(page: &mut MetricsPage, flows: &FlowTableStats) {
    page.gauge(
        "skyd_flow_table_flows",
        "Number of flows in all flow tables.",
        flows.flows,
    );
    page.gauge(
        "skyd_flow_table_bytes",
        "Approximate memory used by flow tables, in bytes.",
        flows.bytes,
    );
    page.counter(
        "skyd_flow_table_begun_total",
        "Flows created in flow tables.",
        flows.created,
    );
    let help = "Flows reported and removed early because a flow table was full.";
    page.counter("skyd_flow_table_evicted_total", help, flows.evicted);
    let help = "Evicted flows dropped because the queue of evicted flows was full.";
    page.counter(
        "skyd_flow_table_evicted_unsent_total",
        help,
        flows.evicted_unsent,
    );
}

/// Writes counters of timestamp anomalies and of measurements skipped by the flow tables of
/// captures and uploaded files.
fn flow_tables(page: &mut MetricsPage, engine: &Status) {
    let mut stats = engine.capture_totals.flows;
    stats += engine.import_totals;
    let help = "Packets with an implausible timestamp, by reason: earlier than the previous packet \
                (back), far later than neighboring packets (ahead), or after removal of the flow \
                (late). In live captures, the reason back counts negative round-trip times instead.";
    page.family(
        MetricKind::Counter,
        "skyd_flow_table_packets_out_of_order_total",
        help,
    )
    .sample(&[("reason", "back")], stats.time_back)
    .sample(&[("reason", "ahead")], stats.time_ahead)
    .sample(&[("reason", "late")], stats.late_packets);
    let help = "Steps of the system clock detected by live captures. Flows continue across a step.";
    page.counter("skyd_capture_clock_steps_total", help, stats.clock_steps);
    let help = "Items omitted because a memory budget was exhausted, by kind: round-trip times of \
                requests (request), missing data in TCP streams (stream_gap), messages of extra \
                layers (message), and details of flows (detail).";
    page.family(MetricKind::Counter, "skyd_flow_table_omitted_total", help)
        .sample(&[("kind", "request")], stats.requests_unmeasured)
        .sample(&[("kind", "stream_gap")], stats.streams_cut)
        .sample(&[("kind", "message")], stats.extra_messages_dropped)
        .sample(&[("kind", "detail")], stats.details_dropped);
}

/// Writes the totals of each SPP process over all its recordings.
fn recordings(page: &mut MetricsPage, app: &App) {
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
    let help = "1 if an SPP process is recording, 0 otherwise.";
    family(MetricKind::Gauge, "skyd_spp_running", help, |status| {
        u64::from(status.is_running())
    });
    let counter = MetricKind::Counter;
    let help = "Packets that an SPP process received, including dropped packets.";
    family(counter, "skyd_spp_packets_total", help, |s| s.totals.rx);
    let help = "Packets that an SPP process wrote or queued for writing.";
    family(counter, "skyd_spp_packets_written_total", help, |s| {
        s.totals.written
    });
    let help = "Packets that an SPP process dropped because of a full ring or a failed write.";
    family(counter, "skyd_spp_packets_dropped_total", help, |s| {
        s.totals.drop
    });
    let help = "Capture files that an SPP process has completed.";
    family(counter, "skyd_spp_files_total", help, |s| s.totals.files);
}

/// Writes the totals of flows that are delivered to subscribers and the store.
fn flows(page: &mut MetricsPage, engine: &Status, app: &App) {
    let help = "Flow records dropped before delivery because the delivery queue was full.";
    page.counter("skyd_flows_dropped_total", help, engine.flows_dropped);
    let help = "Queries that a flow table did not answer in time.";
    page.counter(
        "skyd_flow_tables_silent_total",
        help,
        engine.flow_table_timeouts,
    );
    let ingestion = &engine.ingestion;
    page.counter(
        "skyd_agent_messages_total",
        "Flow messages received from agents.",
        ingestion.messages,
    );
    page.counter(
        "skyd_agent_flows_total",
        "Flow records received from agents.",
        ingestion.flows,
    );
    let help = "Flow messages from agents that were rejected, or dropped by the kernel, by reason.";
    let mut lost = page.family(MetricKind::Counter, "skyd_agent_messages_lost_total", help);
    lost.sample(&[("reason", "refused")], ingestion.refused);
    if let Some(dropped) = app.flow_transport.dropped_by_kernel() {
        lost.sample(&[("reason", "kernel")], dropped);
    }
    page.gauge(
        "skyd_agent_live_flows",
        "Number of active flows reported by agents.",
        ingestion.live_flows,
    );
    collector_metrics::write(page, &engine.collectors);
    let Some(store) = &engine.flow_store else {
        return;
    };
    page.gauge(
        "skyd_flow_store_flows",
        "Number of flows in the flow store.",
        store.flows,
    );
    page.gauge(
        "skyd_flow_store_bytes",
        "Size of the flow store in memory and on disk, in bytes.",
        store.bytes,
    );
    let help = "Flows evicted from the flow store by age or size limit.";
    page.counter("skyd_flow_store_evicted_total", help, store.evicted);
}

/// Writes the counters of rules, alerts, and workflows.
fn automation(page: &mut MetricsPage, engine: &Status) {
    let (rules, alerts, scripts) = (&engine.rules, &engine.alerts, &engine.scripts);
    let help = "Changes made to the graph by node and edge rules.";
    page.counter("skyd_rule_changes_total", help, rules.changes);
    let help = "Failed changes to the graph by node and edge rules.";
    page.counter("skyd_rule_failures_total", help, rules.failures);
    let help = "Suspensions of rules that triggered one another in an endless loop.";
    page.counter("skyd_rule_suspensions_total", help, rules.suspensions);
    let help = "Number of evaluations of alert expressions.";
    page.counter("skyd_alert_evaluations_total", help, alerts.evaluations);
    let help = "Failed evaluations of alert expressions.";
    page.counter("skyd_alert_failures_total", help, alerts.failures);
    let help = "Number of times that an alert fired.";
    page.counter("skyd_alerts_fired_total", help, alerts.fired);
    page.gauge(
        "skyd_alert_actions_waiting",
        "Number of webhook calls and alert scripts that are queued or running.",
        alerts.actions_waiting,
    );
    let help = "Webhook calls and alert scripts, by outcome; each retry is counted in addition to \
                the final outcome.";
    page.family(MetricKind::Counter, "skyd_alert_actions_total", help)
        .sample(&[("outcome", "done")], alerts.actions_done)
        .sample(&[("outcome", "failed")], alerts.actions_failed)
        .sample(&[("outcome", "retried")], alerts.actions_retried)
        .sample(&[("outcome", "dropped")], alerts.actions_dropped);
    page.gauge(
        "skyd_workflows_running",
        "Number of workflows that are running.",
        scripts.running,
    );
    let help = "Workflow calls over the HTTP API.";
    page.counter("skyd_workflow_calls_total", help, scripts.calls);
    let help = "Workflow calls that failed or exceeded a limit.";
    page.counter("skyd_workflow_failures_total", help, scripts.failures);
}

/// Writes the sizes of the graph, its history, and the resource store.
fn topology(page: &mut MetricsPage, engine: &Status) {
    page.gauge(
        "skyd_graph_nodes",
        "Number of nodes in the topology graph.",
        engine.nodes,
    );
    page.gauge(
        "skyd_graph_edges",
        "Number of edges in the topology graph.",
        engine.edges,
    );
    let mut probes = page.family(
        MetricKind::Gauge,
        "skyd_probe_running",
        "1 if a topology probe is running, 0 otherwise.",
    );
    for probe in &engine.probes {
        let is_running = probe.state == ProbeState::Running;
        probes.sample(&[("probe", probe.name)], u8::from(is_running));
    }
    let help = "Full resynchronizations of a topology probe after lost events.";
    let mut resyncs = page.family(MetricKind::Counter, "skyd_probe_resyncs_total", help);
    for probe in &engine.probes {
        resyncs.sample(&[("probe", probe.name)], probe.resyncs);
    }
    let help = "Number of stored API resources, by kind.";
    let mut resources = page.family(MetricKind::Gauge, "skyd_resources", help);
    for (kind, count) in &engine.resources {
        resources.sample(&[("kind", kind)], *count);
    }
    let help = "1 if the last write to the resource store failed, 0 otherwise.";
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
        "Number of graph revisions in the in-memory part of the topology history.",
        history.revisions,
    );
    let help = "Memory used by the in-memory part of the topology history, in bytes, split into \
                revisions and index.";
    page.family(MetricKind::Gauge, "skyd_history_bytes", help)
        .sample(&[("part", "revisions")], history.bytes)
        .sample(&[("part", "index")], history.index_bytes);
    let help = "Revisions evicted from the topology history by age or size limit.";
    page.counter("skyd_history_evicted_total", help, history.evicted);
    let help = "Queries of the topology history aborted because required revisions were evicted.";
    page.counter(
        "skyd_history_expired_readers_total",
        help,
        history.expired_readers,
    );
}

/// Writes counters of the agents of an analyzer, of other analyzers, and of the flows of an agent.
fn fleet(page: &mut MetricsPage, engine: &Status, app: &App) {
    let agents = &engine.agents;
    page.gauge(
        "skyd_agents_connected",
        "Number of agents connected to this analyzer.",
        agents.connected,
    );
    let help = "Number of agents whose most recent flow query was not answered.";
    page.gauge("skyd_agents_silent", help, agents.silent.len());
    let help = "Requests to agents without a valid answer, by reason.";
    page.family(
        MetricKind::Counter,
        "skyd_agent_requests_failed_total",
        help,
    )
    .sample(&[("reason", "queue_full")], agents.requests_dropped)
    .sample(&[("reason", "no_answer")], agents.queries_unanswered)
    .sample(&[("reason", "invalid_answer")], agents.answers_invalid);
    let help = "Number of open connections to the configured analyzers.";
    page.gauge("skyd_analyzers_connected", help, app.outgoing.connected());
    let help = "Number of nodes and edges received from other analyzers.";
    page.gauge("skyd_peer_elements", help, engine.replication.elements);
    let Some(uplink) = &engine.uplink else {
        return;
    };
    let help = "Number of flow updates that an agent has queued for analyzers.";
    page.gauge("skyd_uplink_waiting", help, uplink.waiting);
    let help = "Size of the flow updates that an agent has queued for analyzers, in bytes.";
    page.gauge("skyd_uplink_waiting_bytes", help, uplink.waiting_bytes);
    let help = "Flow updates passed to the connections to analyzers.";
    page.counter("skyd_uplink_sent_total", help, uplink.sent);
    let help = "Flow updates that an agent dropped because the queue for analyzers was full \
                (agent.flow.queue_bytes) or a datagram could not hold the update.";
    page.counter("skyd_uplink_lost_total", help, uplink.lost);
}

/// Writes counters of the connections, requests, and messages of clients.
fn clients(page: &mut MetricsPage, engine: &Status, app: &App) {
    let help = "HTTP requests answered, by method and status code.";
    let mut requests = page.family(MetricKind::Counter, "skyd_http_requests_total", help);
    for ((method, status), count) in app.requests.counts() {
        requests.sample(&[("method", method), ("code", &status.to_string())], count);
    }
    page.gauge(
        "skyd_connections",
        "Number of open client connections.",
        app.connections.open(),
    );
    let help = "Client connections rejected because the limit http.limits.connections was reached.";
    page.counter(
        "skyd_connections_refused_total",
        help,
        app.connections.refused(),
    );
    memory(page, &app.memory);
    page.gauge(
        "skyd_uploads",
        "Number of capture file uploads in progress.",
        app.uploads.running(),
    );
    let help = "Capture file uploads rejected because the limit http.limits.uploads was reached.";
    page.counter("skyd_uploads_refused_total", help, app.uploads.refused());
    let mut clients = page.family(
        MetricKind::Gauge,
        "skyd_websocket_clients",
        "Number of connected WebSocket clients, by endpoint.",
    );
    for (endpoint, name) in ENDPOINTS {
        clients.sample(&[("endpoint", name)], app.clients.count(*endpoint));
    }
    let help = "WebSocket messages dropped as invalid or not permitted.";
    page.counter(
        "skyd_websocket_messages_dropped_total",
        help,
        app.clients.messages_dropped(),
    );
    page.gauge(
        "skyd_events_waiting",
        "Number of graph events queued for subscribers.",
        engine.events_waiting,
    );
    let help = "Subscribers disconnected because of a full queue, by stream.";
    page.family(MetricKind::Counter, "skyd_subscribers_cut_off_total", help)
        .sample(&[("stream", "graph")], engine.graph_subscribers_cut_off)
        .sample(&[("stream", "flow")], engine.flow_subscribers_cut_off);
}

/// Writes the memory used on behalf of clients.
fn memory(page: &mut MetricsPage, budget: &MemoryBudget) {
    let help = "Limit on the memory used on behalf of clients (http.limits.memory), in bytes.";
    page.gauge("skyd_client_memory_limit_bytes", help, budget.limit());
    let help = "Memory used on behalf of clients, in bytes, by use.";
    let mut used = page.family(MetricKind::Gauge, "skyd_client_memory_bytes", help);
    for purpose in MemoryUse::ALL {
        used.sample(&[("use", purpose.name())], budget.used_for(purpose));
    }
    let help =
        "Requests and messages rejected because the limit http.limits.memory was reached, by use.";
    let name = "skyd_client_memory_refused_total";
    let mut refused = page.family(MetricKind::Counter, name, help);
    for purpose in MemoryUse::ALL {
        refused.sample(&[("use", purpose.name())], budget.refused(purpose));
    }
}

/// Endpoints and their names in labels.
const ENDPOINTS: &[(Endpoint, &str)] = &[
    (Endpoint::Subscriber, "subscriber"),
    (Endpoint::Publisher, "publisher"),
    (Endpoint::Pubsub, "pubsub"),
    (Endpoint::Flow, "subscriber/flow"),
    (Endpoint::Agent, "agent/topology"),
    (Endpoint::AgentFlow, "agent/flow"),
    (Endpoint::Replication, "replication"),
];
