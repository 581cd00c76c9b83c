//! `NodeCapture`: a capture on one node, active or failed.

use std::sync::Arc;

use super::node_status::CaptureStatus;
use super::ring_memory::RingClaim;
use crate::api::CaptureSpec;
use crate::capture::{Capture, CaptureReport, CaptureStats};
use crate::engine::flow::TableId;
use crate::flow::{FlowStats, KeyIgnore};
use crate::graph::NodeId;

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
    pub(super) capture: Capture,
    pub(super) table: TableId,
    /// Newest report of the capture's counters.
    pub(super) report: CaptureReport,
    /// Report from which statistics were last sent; its counters are at most those of `report`.
    sent: CaptureReport,
    /// Declared last: the ring itself is released first.
    _ring: RingClaim,
}

impl NodeCapture {
    /// Returns a capture that has just been opened.
    pub(super) fn active(
        spec: Arc<CaptureSpec>,
        capture: Capture,
        table: TableId,
        ring: RingClaim,
    ) -> Self {
        let report = CaptureReport::default();
        let active = ActiveCapture {
            capture,
            table,
            report,
            sent: report,
            _ring: ring,
        };
        Self {
            spec,
            state: NodeCaptureState::Active(Box::new(active)),
        }
    }

    /// Returns a capture that could not be opened or has ended.
    pub(super) const fn failed(spec: Arc<CaptureSpec>, error: String) -> Self {
        Self {
            spec,
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

    /// Returns the entry of the node's `Captures` metadata; `identity` is the result of
    /// [`Opener::identity_of`](super::opener::Opener::identity_of).
    pub(super) fn status(&self, identity: (bool, KeyIgnore)) -> CaptureStatus<'_> {
        let stats = match &self.state {
            NodeCaptureState::Active(active) => active.report.packets,
            NodeCaptureState::Failed { .. } => CaptureStats::default(),
        };
        CaptureStatus {
            spec: &self.spec,
            stats,
            recorded: identity.0,
            key_ignore: identity.1,
            error: self.error(),
        }
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
