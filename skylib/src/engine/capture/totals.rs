//! What all captures of an engine have seen together.

use crate::capture::{CaptureReport, CaptureStats};
use crate::flow::FlowTableStats;

/// What all captures have seen since the engine started, those that have ended included; as of
/// when their counters were last asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaptureTotals {
    /// Captures that run on nodes now.
    pub active: usize,
    /// Captures on nodes that could not be opened.
    pub failed: usize,
    /// Of their sources.
    pub packets: CaptureStats,
    /// Of their flow tables; flows and bytes are those of now.
    pub flows: FlowTableStats,
}

impl CaptureTotals {
    /// With one more that runs.
    pub(crate) fn add_active(&mut self, report: &CaptureReport) {
        self.active += 1;
        self.add(report);
    }

    /// With one more that has ended: what it held is gone, what it counted stays.
    pub(crate) fn add_ended(&mut self, report: &CaptureReport) {
        let mut report = *report;
        (report.flows.flows, report.flows.bytes) = (0, 0);
        self.add(&report);
    }

    fn add(&mut self, report: &CaptureReport) {
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
    fn what_ended_captures_counted_stays() {
        let mut report = CaptureReport::default();
        (report.packets.received, report.packets.dropped) = (10, 1);
        (report.flows.flows, report.flows.evicted) = (5, 2);
        let mut totals = CaptureTotals::default();
        totals.add_ended(&report);
        totals.add_active(&report);
        assert_eq!((totals.packets.received, totals.packets.dropped), (20, 2));
        assert_eq!(
            (totals.active, totals.flows.flows, totals.flows.evicted),
            (1, 5, 4)
        );
    }
}
