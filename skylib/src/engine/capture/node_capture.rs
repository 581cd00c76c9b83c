//! What runs: a capture on a node that was opened, or could not be.

use std::sync::Arc;

use super::node_status::CaptureEntry;
use crate::api::CaptureSpec;
use crate::capture::{Capture, CaptureReport, CaptureStats};
use crate::engine::flow::hub::TableId;
use crate::flow::FlowStats;
use crate::graph::NodeId;

/// One capture on one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) capture: String,
    pub(super) node: NodeId,
}

/// A capture on a node that was opened, or could not be.
pub(super) struct Running {
    pub(super) spec: Arc<CaptureSpec>,
    pub(super) state: State,
}

pub(super) enum State {
    Active(Box<Active>),
    Failed { error: String },
}

pub(super) struct Active {
    pub(super) capture: Capture,
    pub(super) table: TableId,
    /// What was last asked of the capture.
    pub(super) report: CaptureReport,
    /// What it was when statistics were last sent.
    told: CaptureReport,
}

impl Running {
    pub(super) fn active(spec: Arc<CaptureSpec>, capture: Capture, table: TableId) -> Self {
        let report = CaptureReport::default();
        let active = Active {
            capture,
            table,
            report,
            told: report,
        };
        Self {
            spec,
            state: State::Active(Box::new(active)),
        }
    }

    pub(super) const fn failed(spec: Arc<CaptureSpec>, error: String) -> Self {
        Self {
            spec,
            state: State::Failed { error },
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.error().is_none()
    }

    /// Why it does not run; none while it does.
    pub(super) fn error(&self) -> Option<&str> {
        match &self.state {
            State::Active(_) => None,
            State::Failed { error } => Some(error),
        }
    }

    /// What the node shows of it.
    pub(super) fn entry(&self) -> CaptureEntry<'_> {
        let stats = match &self.state {
            State::Active(active) => active.report.packets,
            State::Failed { .. } => CaptureStats::default(),
        };
        CaptureEntry {
            spec: &self.spec,
            stats,
            error: self.error(),
        }
    }
}

impl Active {
    /// What the capture saw since this was last asked.
    pub(super) fn news(&mut self, capture: &str) -> FlowStats {
        let stats = stats_between(capture, &self.told, &self.report);
        self.told = self.report;
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
    fn statistics_are_told_as_differences() {
        let (mut before, mut now) = (CaptureReport::default(), CaptureReport::default());
        (before.packets.received, before.packets.dropped) = (10, 1);
        (now.packets.received, now.packets.dropped) = (25, 3);
        (now.flows.flows, now.flows.evicted) = (7, 2);
        let stats = stats_between("c1", &before, &now);
        assert_eq!((stats.packets_received, stats.packets_dropped), (15, 2));
        assert_eq!((stats.flow_count, stats.flow_dropped), (7, 2));
    }
}
