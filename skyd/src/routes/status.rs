//! `/api/status`: connected clients, running components, queues, and losses.
//!
//! COMPAT: the members of Skydive; further members are added.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde::Serialize;
use skylib::engine::{CollectorStatus, IngestionStatus, LiveStatus, Status as EngineStatus};
use skylib::flow::FlowTableStats;
use skylib::graph::history::HistoryStatus;
use skylib::memory::{MemoryBudget, MemoryUse};
use skylib::spp::PcapStatus;
use skylib::store::FlowStoreStatus;
use skylib::time::Timestamp;

use crate::app::App;
use crate::clients::{ClientStatus, Endpoint};
use crate::flow_transport::FlowTransport;
use crate::handler::Call;
use crate::outgoing::OutgoingStatus;
use crate::past_stores::HistoryFiles;
use crate::response::{self, Response};
use crate::routes::history::Disk;
use crate::routes::{agent_status, resource};

/// Answers `GET /api/status`.
pub(crate) async fn show(call: Call) -> Response {
    let app = &call.app;
    if call.is_agent {
        return agent_status::show(app);
    }
    let engine = app.engine.status();
    let clients = |endpoint| app.clients.status(endpoint);
    let master = Election { is_master: true };
    let status = Status {
        agents: clients(Endpoint::Agent),
        peers: Peers {
            incomers: clients(Endpoint::Replication),
            outgoers: app.outgoing.status(),
        },
        publishers: clients(Endpoint::Publisher),
        subscribers: clients(Endpoint::Subscriber),
        alerts: master,
        captures: master,
        probes: probes(&engine),
        store: Store::of(&engine),
        queues: Queues::of(app, &engine),
        memory: Memory::of(&app.memory),
        live: Live::of(engine.live),
        automation: Automation::of(&engine),
        flow_rules: FlowRules {
            recorded: engine.recorded,
            key_ignore: engine.key_ignore.names().collect(),
        },
        flow_tables: FlowTables::of(engine.capture_totals.flows, engine.import_totals),
        flow_ingestion: Ingestion::of(&app.flow_transport, engine.ingestion),
        collectors: engine.collectors.iter().map(Collector::of).collect(),
        history: History::of(&app.history_files, &engine),
        spp: app.spp.as_ref().map(|ctl| {
            let statuses = ctl.instances().into_iter().map(|process| process.status());
            statuses.map(|status| (status.client_id, status)).collect()
        }),
        backends_replaced_by_local: app
            .replaced_backends
            .iter()
            .map(|backend| (backend.key, backend.wanted.as_str()))
            .collect(),
        agents_silent: engine.agents.silent,
    };
    response::json(StatusCode::OK, &status)
}

/// Body of the response.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Status<'a> {
    agents: Clients,
    /// Connected agents that did not answer their last flow query.
    agents_silent: Vec<String>,
    peers: Peers,
    publishers: Clients,
    subscribers: Clients,
    alerts: Election,
    captures: Election,
    probes: BTreeMap<&'static str, Probe>,
    store: Store,
    queues: Queues,
    memory: Memory,
    live: Live,
    automation: Automation,
    flow_rules: FlowRules,
    flow_tables: FlowTables,
    flow_ingestion: Ingestion,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    collectors: Vec<Collector>,
    history: History<'a>,
    /// SPP processes by client id, as the SPP API shows them.
    #[serde(rename = "SPP", skip_serializing_if = "Option::is_none")]
    spp: Option<BTreeMap<u8, PcapStatus>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    backends_replaced_by_local: BTreeMap<&'static str, &'a str>,
}

/// A socket that receives flow exports (`pipes.in`).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Collector {
    listen: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    receive_failures: u64,
    datagrams: u64,
    not_allowed: u64,
    dropped_by_kernel: u64,
    cut: u64,
    unknown_format: u64,
    malformed: u64,
    flow_records: u64,
    option_records: u64,
    flow_samples: u64,
    counter_samples: u64,
    lost: u64,
    templates: u64,
    template_changes: u64,
    waiting_sets: u64,
    unreadable_sets: u64,
    flows: u64,
    flows_evicted: u64,
    records_without_addresses: u64,
    records_with_wrong_time: u64,
}

impl Collector {
    fn of(status: &CollectorStatus) -> Self {
        let (intake, flows) = (status.intake, status.flows);
        Self {
            listen: status.listen.clone(),
            error: status.error.clone(),
            receive_failures: status.failures,
            datagrams: intake.datagrams,
            not_allowed: status.not_allowed,
            dropped_by_kernel: status.kernel_dropped,
            cut: status.cut,
            unknown_format: intake.unknown_format,
            malformed: intake.malformed,
            flow_records: intake.flow_records,
            option_records: intake.option_records,
            flow_samples: intake.flow_samples,
            counter_samples: intake.counter_samples,
            lost: intake.lost,
            templates: intake.templates + intake.option_templates,
            template_changes: intake.template_changes,
            waiting_sets: status.waiting_sets,
            unreadable_sets: intake.sets_without_template,
            flows: flows.flows,
            flows_evicted: flows.evicted,
            records_without_addresses: flows.without_addresses,
            records_with_wrong_time: flows.skewed,
        }
    }
}

/// Configured rules of flow tables: `flow.recorded` and `flow.key.ignore`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FlowRules {
    recorded: bool,
    key_ignore: Vec<&'static str>,
}

/// Counters of timestamp anomalies and of measurements skipped, in captures and uploaded files.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FlowTables {
    /// Number of packets of files with a timestamp before that of an earlier packet, plus the
    /// number of negative round-trip times in live captures.
    time_back: u64,
    /// Maximum amount by which a packet of a file is older than the newest packet before it, in
    /// milliseconds.
    furthest_back_ms: u64,
    /// Number of packets of files with a timestamp far ahead of the neighboring packets.
    time_ahead: u64,
    /// Number of packets of files that arrived so late that their flows may have left the table.
    late_packets: u64,
    /// Number of steps of the system clock detected by live captures; flows continue across a step.
    clock_steps: u64,
    /// Number of requests whose round-trip time was not measured because of insufficient memory.
    requests_unmeasured: u64,
    /// Number of times a TCP stream skipped missing data because of insufficient memory.
    streams_cut: u64,
    /// Number of messages of extra layers dropped because of insufficient memory.
    messages_dropped: u64,
    /// Number of flow details (ICMP errors, joined segments, DNS counters) dropped because of
    /// insufficient memory.
    details_dropped: u64,
}

impl FlowTables {
    fn of(mut stats: FlowTableStats, imports: FlowTableStats) -> Self {
        stats += imports;
        Self {
            time_back: stats.time_back,
            furthest_back_ms: stats.furthest_back_ms,
            time_ahead: stats.time_ahead,
            late_packets: stats.late_packets,
            clock_steps: stats.clock_steps,
            requests_unmeasured: stats.requests_unmeasured,
            streams_cut: stats.streams_cut,
            messages_dropped: stats.extra_messages_dropped,
            details_dropped: stats.details_dropped,
        }
    }
}

/// Returns the states of the topology probes.
pub(super) fn probes(engine: &EngineStatus) -> BTreeMap<&'static str, Probe> {
    let probes = engine.probes.iter();
    probes.map(|probe| (probe.name, Probe::of(probe))).collect()
}

/// State of a topology probe. Skydive's status has only `Status`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Probe {
    status: String,
    /// Number of starts after an error; omitted if there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    restarts: Option<u64>,
    /// Number of complete reads after lost events; omitted if there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    resyncs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Probe {
    fn of(probe: &skylib::topology::ProbeStatus) -> Self {
        Self {
            status: probe.state.to_string(),
            restarts: Some(probe.restarts).filter(|restarts| *restarts > 0),
            resyncs: Some(probe.resyncs).filter(|resyncs| *resyncs > 0),
            error: probe.error.clone(),
        }
    }
}

/// Clients of an endpoint by host id.
type Clients = BTreeMap<String, ClientStatus>;

/// Other analyzers: those that opened a connection, and those to which this one opened one.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Peers {
    incomers: Clients,
    outgoers: BTreeMap<String, OutgoingStatus>,
}

/// Election of a master among analyzers: a single analyzer is always the master.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Election {
    is_master: bool,
}

/// Memory used on behalf of clients, in bytes.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Memory {
    /// Value of `http.limits.memory`.
    limit: usize,
    used: usize,
    /// Number of bytes by use, with the same names as in `/metrics`.
    uses: BTreeMap<&'static str, usize>,
    /// Number of requests and messages rejected because the limit was reached.
    refused: u64,
}

impl Memory {
    fn of(budget: &MemoryBudget) -> Self {
        let uses = MemoryUse::ALL.iter();
        Self {
            limit: budget.limit(),
            used: budget.used(),
            uses: uses
                .map(|purpose| (purpose.name(), budget.used_for(*purpose)))
                .collect(),
            refused: MemoryUse::ALL.map(|p| budget.refused(p)).iter().sum(),
        }
    }
}

/// Counters of live queries.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Live {
    queries: usize,
    items: usize,
    bytes: usize,
    runs: u64,
    /// Number of times that the event queue overflowed and all queries ran again.
    overruns: u64,
    ended: u64,
}

impl Live {
    fn of(status: LiveStatus) -> Self {
        Self {
            queries: status.queries,
            items: status.items,
            bytes: status.bytes,
            runs: status.runs,
            overruns: status.overruns,
            ended: status.ended,
        }
    }
}

/// Counters of rules, alerts, and workflows.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Automation {
    rule_changes: u64,
    rule_failures: u64,
    /// Number of times that events were lost, so that all rules were applied again.
    rule_overruns: u64,
    /// Number of times that rules were suspended because they triggered each other endlessly.
    rule_suspensions: u64,
    alerts: usize,
    alert_evaluations: u64,
    alert_failures: u64,
    alerts_fired: u64,
    /// Number of webhook calls and scripts that are queued or running.
    actions_waiting: usize,
    actions_done: u64,
    actions_failed: u64,
    actions_retried: u64,
    actions_dropped: u64,
    workflows_running: usize,
    workflows_waiting: usize,
    workflow_calls: u64,
    workflow_failures: u64,
}

impl Automation {
    fn of(engine: &EngineStatus) -> Self {
        let (rules, alerts, scripts) = (&engine.rules, &engine.alerts, &engine.scripts);
        Self {
            rule_changes: rules.changes,
            rule_failures: rules.failures,
            rule_overruns: rules.overruns,
            rule_suspensions: rules.suspensions,
            alerts: alerts.active,
            alert_evaluations: alerts.evaluations,
            alert_failures: alerts.failures,
            alerts_fired: alerts.fired,
            actions_waiting: alerts.actions_waiting,
            actions_done: alerts.actions_done,
            actions_failed: alerts.actions_failed,
            actions_retried: alerts.actions_retried,
            actions_dropped: alerts.actions_dropped,
            workflows_running: scripts.running,
            workflows_waiting: scripts.waiting,
            workflow_calls: scripts.calls,
            workflow_failures: scripts.failures,
        }
    }
}

/// Size of the topology history and the flow store; `null` for a disabled store.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct History<'a> {
    topology: Option<TopologyHistory>,
    flows: Option<FlowHistory>,
    /// Files of both; absent for a history in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<Disk>,
    /// Reason why the files could not be opened at the start, so that the past is in memory only.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl<'a> History<'a> {
    fn of(files: &'a HistoryFiles, engine: &EngineStatus) -> Self {
        Self {
            topology: engine.history.as_ref().map(TopologyHistory::of),
            flows: engine.flow_store.as_ref().map(FlowHistory::of),
            disk: files.store().map(|store| Disk::of(store.status())),
            error: match files {
                HistoryFiles::Unavailable(reason) => Some(reason.as_str()),
                HistoryFiles::Disabled | HistoryFiles::Open(_) => None,
            },
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TopologyHistory {
    revisions: usize,
    bytes: usize,
    index_bytes: usize,
    /// Time since which the history is complete, in Unix milliseconds; `null` while it is empty.
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
    /// Time since which the store is complete, in Unix milliseconds; `null` while it is empty.
    oldest: Option<i64>,
    evicted: u64,
    /// Number of sealed segments on the disk.
    segments: usize,
    /// Number of damaged files of the history, which were moved to the folder `damaged`.
    damaged: usize,
    /// Number of bytes in incomplete or damaged frames of logs, which were lost.
    lost_log_bytes: u64,
}

impl FlowHistory {
    fn of(status: &FlowStoreStatus) -> Self {
        Self {
            flows: status.flows,
            bytes: status.bytes,
            oldest: status.oldest.map(Timestamp::as_ms),
            evicted: status.evicted,
            segments: status.segments,
            damaged: status.damaged,
            lost_log_bytes: status.lost_log_bytes,
        }
    }
}

/// Stored resources.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Store {
    /// Number of resources of each kind, such as `Captures`.
    #[serde(flatten)]
    resources: BTreeMap<String, usize>,
    /// Number of stored edges that wait for nodes that are not in the graph.
    waiting: usize,
    /// Error of the last write to the store, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Store {
    fn of(engine: &EngineStatus) -> Self {
        let resources = engine.resources.iter();
        Self {
            resources: resources
                .map(|(kind, count)| (resource::plural(kind), *count))
                .collect(),
            waiting: engine.edges_waiting,
            error: engine.store_problem.clone(),
        }
    }
}

/// Flows received from agents. Flows that are dropped later are counted in `Queues.FlowsDropped`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Ingestion {
    /// Transport: `udp` or `websocket`.
    transport: &'static str,
    /// Reason why agents cannot send flows, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    messages: u64,
    flows: u64,
    /// Number of messages that were invalid or too large.
    refused: u64,
    /// Number of datagrams that the kernel dropped because the receive buffer was full.
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped_by_kernel: Option<u64>,
    /// Number of flows that queries about the present can return.
    live_flows: usize,
    live_bytes: usize,
}

impl Ingestion {
    fn of(transport: &FlowTransport, status: IngestionStatus) -> Self {
        Self {
            transport: transport.name(),
            error: transport.problem(),
            messages: status.messages,
            flows: status.flows,
            refused: status.refused,
            dropped_by_kernel: transport.dropped_by_kernel(),
            live_flows: status.live_flows,
            live_bytes: status.live_bytes,
        }
    }
}

/// Fill levels of queues, and losses at full queues.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Queues {
    connections: usize,
    connections_refused: usize,
    connections_closed_idle: u64,
    queries_running: usize,
    uploads: usize,
    uploads_refused: u64,
    events_waiting: usize,
    graph_subscribers_cut_off: u64,
    flow_subscribers_cut_off: u64,
    flows_dropped: u64,
    flow_tables_silent: u64,
    messages_dropped: u64,
    /// Number of requests to agents dropped because the queue of the agent was full.
    agent_requests_dropped: u64,
    /// Number of flow queries that an agent did not answer in time.
    agent_queries_unanswered: u64,
    /// Number of invalid answers of agents to flow queries.
    agent_answers_invalid: u64,
}

impl Queues {
    fn of(app: &App, engine: &EngineStatus) -> Self {
        Self {
            connections: app.connections.open(),
            connections_refused: app.connections.refused(),
            connections_closed_idle: app.connections.idle().closed(),
            queries_running: app.queries.running(),
            uploads: app.uploads.running(),
            uploads_refused: app.uploads.refused(),
            events_waiting: engine.events_waiting,
            graph_subscribers_cut_off: engine.graph_subscribers_cut_off,
            flow_subscribers_cut_off: engine.flow_subscribers_cut_off,
            flows_dropped: engine.flows_dropped,
            flow_tables_silent: engine.flow_table_timeouts,
            messages_dropped: app.clients.messages_dropped(),
            agent_requests_dropped: engine.agents.requests_dropped,
            agent_queries_unanswered: engine.agents.queries_unanswered,
            agent_answers_invalid: engine.agents.answers_invalid,
        }
    }
}
