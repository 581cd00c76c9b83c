//! `CaptureTotals`: sums of the counters of all captures.

use crate::capture::{CaptureReport, CaptureStats, TargetStats};
use crate::flow::FlowTableStats;

/// Sums of the counters of all captures since the engine started, including captures that have
/// ended. Active captures count with their newest report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaptureTotals {
    /// Number of captures active on nodes.
    pub active: usize,
    /// Number of captures on nodes that could not be opened or have ended with an error.
    pub failed: usize,
    /// Packet counters of the capture sources.
    pub packets: CaptureStats,
    /// Counters of the flow tables; the numbers of flows and bytes are those of the active
    /// captures.
    pub flows: FlowTableStats,
    /// Counters of datagrams and flows that could not be sent to the targets of captures.
    pub target: TargetStats,
}

impl CaptureTotals {
    /// Adds the counters of an active capture.
    pub(super) fn add_active(&mut self, report: &CaptureReport, target: Option<TargetStats>) {
        self.active += 1;
        self.add(report, target);
    }

    /// Adds the counters of a capture that has ended, except the flows and bytes that it held.
    pub(super) fn add_ended(&mut self, report: &CaptureReport, target: Option<TargetStats>) {
        let mut report = *report;
        (report.flows.flows, report.flows.bytes) = (0, 0);
        self.add(&report, target);
    }

    fn add(&mut self, report: &CaptureReport, target: Option<TargetStats>) {
        self.target += target.unwrap_or_default();
        self.packets.received += report.packets.received;
        self.packets.dropped += report.packets.dropped;
        self.packets.if_dropped += report.packets.if_dropped;
        self.flows += report.flows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_ended_captures_are_included() {
        let mut report = CaptureReport::default();
        (report.packets.received, report.packets.dropped) = (10, 1);
        (report.flows.flows, report.flows.evicted) = (5, 2);
        let mut target = TargetStats::default();
        (target.errors, target.skipped) = (1, 4);
        let mut totals = CaptureTotals::default();
        totals.add_ended(&report, Some(target));
        totals.add_active(&report, Some(target));
        totals.add_active(&CaptureReport::default(), None);
        assert_eq!((totals.target.errors, totals.target.skipped), (2, 8));
        assert_eq!((totals.packets.received, totals.packets.dropped), (20, 2));
        assert_eq!(
            (totals.active, totals.flows.flows, totals.flows.evicted),
            (2, 5, 4)
        );
    }
}
