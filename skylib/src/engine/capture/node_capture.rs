//! `NodeCapture`: a capture on one node, active or failed.

use std::sync::Arc;

use parking_lot::Mutex;

use super::node_status::CaptureStatus;
use super::opener::OpenedCapture;
use super::ring_memory::RingClaim;
use super::shards::Shards;
use super::switch::SwitchClaim;
use crate::api::CaptureSpec;
use crate::capture::{CaptureReport, CaptureStats, TargetCounters, TargetStats};
use crate::engine::collector::SflowMetric;
use crate::engine::flow::TableId;
use crate::flow::{FlowStats, KeyIgnore};
use crate::graph::NodeId;
use crate::time::Timestamp;
use crate::value::Value;

/// Identifies a capture on a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct NodeCaptureKey {
    /// Id of the capture resource.
    pub(super) capture: String,
    pub(super) node: NodeId,
}

/// A capture on a node that is active, or that failed to open or to continue.
pub(super) struct NodeCapture {
    pub(super) spec: Arc<CaptureSpec>,
    /// Name of the node when the capture was opened.
    pub(super) name: String,
    pub(super) state: NodeCaptureState,
}

/// State of a capture on a node.
pub(super) enum NodeCaptureState {
    /// Packets are captured.
    Active(Box<ActiveCapture>),
    /// The capture could not be opened, or it has ended.
    Failed { error: String },
}

/// A running capture and its counters.
pub(super) struct ActiveCapture {
    pub(super) threads: Shards,
    /// Flow tables in the hub; none if its flows are sent to a target.
    pub(super) tables: Vec<TableId>,
    /// Newest report of the capture's counters.
    pub(super) report: CaptureReport,
    /// Senders to its target; none without a target for flows.
    pub(super) target: TargetSenders,
    /// Newest counters of `target`.
    pub(super) target_stats: Option<TargetStats>,
    /// Report from which statistics were last sent; its counters are at most those of `report`.
    sent: CaptureReport,
    /// Address on which the capture receives, and the key under which its status shows the address.
    socket: Option<(&'static str, String)>,
    /// Counters that sFlow agents have sent.
    pub(super) sflow: Option<Arc<Mutex<SflowMetric>>>,
    /// Interface to which the switch mirrors the packets.
    mirror: Option<String>,
    /// Declared last: the rings themselves are released first.
    _rings: Vec<RingClaim>,
    _claim: Option<SwitchClaim>,
}

impl NodeCapture {
    /// Returns a capture that has just been opened.
    pub(super) fn active(spec: Arc<CaptureSpec>, name: &str, opened: OpenedCapture) -> Self {
        let report = CaptureReport::default();
        let active = ActiveCapture {
            threads: opened.threads,
            tables: opened.tables,
            report,
            target_stats: opened.target.stats(),
            target: opened.target,
            sent: report,
            socket: opened.socket,
            sflow: opened.sflow,
            mirror: opened.mirror,
            _rings: opened.rings,
            _claim: opened.claim,
        };
        Self {
            spec,
            name: name.to_owned(),
            state: NodeCaptureState::Active(Box::new(active)),
        }
    }

    /// Returns a capture that could not be opened or has ended.
    pub(super) fn failed(spec: Arc<CaptureSpec>, name: &str, error: String) -> Self {
        Self {
            spec,
            name: name.to_owned(),
            state: NodeCaptureState::Failed { error },
        }
    }

    /// Returns whether the capture is running.
    pub(super) fn is_active(&self) -> bool {
        self.error().is_none()
    }

    /// Returns the error that stopped the capture or prevented its start; `None` if it is running.
    pub(super) fn error(&self) -> Option<&str> {
        match &self.state {
            NodeCaptureState::Active(_) => None,
            NodeCaptureState::Failed { error } => Some(error),
        }
    }

    /// Returns the interface to which the switch mirrors the packets; `None` without a mirror.
    pub(super) fn mirror(&self) -> Option<&str> {
        match &self.state {
            NodeCaptureState::Active(active) => active.mirror.as_deref(),
            NodeCaptureState::Failed { .. } => None,
        }
    }

    /// Returns whether the node shows counters of sFlow agents.
    pub(super) fn has_sflow(&self) -> bool {
        matches!(&self.state, NodeCaptureState::Active(active) if active.sflow.is_some())
    }

    /// Returns the metadata value of the sFlow counters that have arrived since the last call.
    pub(super) fn take_sflow(&self, now: Timestamp) -> Option<Value> {
        match &self.state {
            NodeCaptureState::Active(active) => active.sflow.as_ref()?.lock().take(now),
            NodeCaptureState::Failed { .. } => None,
        }
    }

    /// Returns the entry of the node's `Captures` metadata; `identity` is the result of
    /// [`Opener::identity_of`](super::opener::Opener::identity_of).
    pub(super) fn status(&self, identity: (bool, KeyIgnore)) -> CaptureStatus<'_> {
        let (stats, target, socket) = match &self.state {
            NodeCaptureState::Active(active) => (
                active.report.packets,
                active.target_stats,
                active.socket.as_ref(),
            ),
            NodeCaptureState::Failed { .. } => (CaptureStats::default(), None, None),
        };
        CaptureStatus {
            spec: &self.spec,
            stats,
            target,
            socket: socket.map(|(key, address)| (*key, address.as_str())),
            recorded: identity.0,
            key_ignore: identity.1,
            error: self.error(),
        }
    }
}

/// The senders of the flows of a capture to its target, one for each thread.
#[derive(Debug, Default)]
pub(super) struct TargetSenders(pub(super) Vec<Arc<TargetCounters>>);

impl TargetSenders {
    /// Returns the sum of the counters; `None` without senders.
    pub(super) fn stats(&self) -> Option<TargetStats> {
        let mut sum = TargetStats::default();
        self.0.iter().for_each(|counters| sum += counters.stats());
        (!self.0.is_empty()).then_some(sum)
    }
}

impl ActiveCapture {
    /// Returns the counts since the last call.
    pub(super) fn take_stats(&mut self, capture: &str) -> FlowStats {
        let stats = stats_between(capture, &self.sent, &self.report);
        self.sent = self.report;
        stats
    }
}

fn stats_between(capture: &str, before: &CaptureReport, now: &CaptureReport) -> FlowStats {
    let since = |now: u64, before: u64| i64::try_from(now.saturating_sub(before)).unwrap_or(0);
    FlowStats {
        capture_id: capture.into(),
        flow_count: i64::try_from(now.flows.flows).unwrap_or(i64::MAX),
        flow_dropped: since(now.flows.evicted, before.flows.evicted),
        kernel_flow_dropped: 0,
        packets_dropped: since(now.packets.dropped, before.packets.dropped),
        packets_received: since(now.packets.received, before.packets.received),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_sent_as_differences() {
        let (mut before, mut now) = (CaptureReport::default(), CaptureReport::default());
        (before.packets.received, before.packets.dropped) = (10, 1);
        (now.packets.received, now.packets.dropped) = (25, 3);
        (now.flows.flows, now.flows.evicted) = (7, 2);
        let stats = stats_between("c1", &before, &now);
        assert_eq!((stats.packets_received, stats.packets_dropped), (15, 2));
        assert_eq!((stats.flow_count, stats.flow_dropped), (7, 2));
    }
}
