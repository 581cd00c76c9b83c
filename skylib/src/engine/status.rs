//! `Status`: a snapshot of an engine's counters and of the state of its parts.

use std::collections::BTreeMap;

use super::alert::AlertStatus;
use super::capture::CaptureTotals;
use super::collector::CollectorStatus;
use super::fleet::AgentLinkStatus;
use super::flow::{IngestionStatus, UplinkStatus};
use super::live::LiveStatus;
use super::replication::ReplicationStatus;
use super::rule::RuleStatus;
#[cfg(feature = "scripting")]
use super::script::ScriptStatus;
use crate::flow::{FlowTableStats, KeyIgnore};
use crate::graph::history::HistoryStatus;
use crate::store::FlowStoreStatus;
use crate::topology::ProbeStatus;

/// Snapshot of an engine's counters and of the state of its parts. Counters start at zero with the
/// engine.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Status {
    /// State of each probe of this host and of this analyzer.
    pub probes: Vec<ProbeStatus>,
    /// Number of stored resources, by the name of their kind.
    pub resources: BTreeMap<&'static str, usize>,
    /// Number of stored edges that wait for a node.
    pub edges_waiting: usize,
    /// Whether flow tables reproduce the values of Skydive, unless a capture overrides this
    /// setting.
    pub recorded: bool,
    /// Parts of the flow key that flow tables ignore, unless a capture overrides this setting.
    pub key_ignore: KeyIgnore,
    /// Counters of all captures.
    pub capture_totals: CaptureTotals,
    /// Counters of the flow tables of imported capture files.
    pub import_totals: FlowTableStats,
    /// Reason why the last change to a resource or a graph element could not be stored; `None` if
    /// it was stored.
    pub store_problem: Option<String>,
    /// Number of nodes in the graph.
    pub nodes: usize,
    /// Number of edges in the graph.
    pub edges: usize,
    /// Number of graph events that wait for the dispatcher.
    pub events_waiting: usize,
    /// Number of graph subscribers cut off because they stopped reading.
    pub graph_subscribers_cut_off: u64,
    /// Number of flow subscribers cut off because they stopped reading.
    pub flow_subscribers_cut_off: u64,
    /// State of the history; `None` without a history.
    pub history: Option<HistoryStatus>,
    /// State of the flow store; `None` without a flow store.
    pub flow_store: Option<FlowStoreStatus>,
    /// Number of flows that were dropped before subscribers and the store because the batcher was
    /// too slow.
    pub flows_dropped: u64,
    /// Number of times a flow table did not answer a query before the timeout.
    pub flow_table_timeouts: u64,
    /// Counters of the live queries.
    pub live: LiveStatus,
    /// Counters of the node and edge rules.
    pub rules: RuleStatus,
    /// Counters of the alerts.
    pub alerts: AlertStatus,
    /// Counters of the workflows.
    #[cfg(feature = "scripting")]
    pub scripts: ScriptStatus,
    /// Counters of the flows received from agents.
    pub ingestion: IngestionStatus,
    /// State and counters of the collectors of flow exports.
    pub collectors: Vec<CollectorStatus>,
    /// Counters of the connected agents.
    pub agents: AgentLinkStatus,
    /// State of the replication between analyzers.
    pub replication: ReplicationStatus,
    /// Counters of the flows for the analyzers of this agent; `None` in other roles.
    pub uplink: Option<UplinkStatus>,
}
