//! Metrics of the sockets that receive flow exports.

use skylib::engine::CollectorStatus;

use crate::prometheus::{MetricKind, MetricsPage};

/// Writes the counters of the collectors of flow exports.
pub(super) fn write(page: &mut MetricsPage, collectors: &[CollectorStatus]) {
    if collectors.is_empty() {
        return;
    }
    let mut metrics = CollectorMetrics { page, collectors };
    received(&mut metrics);
    refused(&mut metrics);
    templates(&mut metrics);
}

/// Writes the counters of received datagrams and records, and of datagrams lost before reception.
fn received(metrics: &mut CollectorMetrics<'_>) {
    let help = "Datagrams with flow exports that were received.";
    metrics.counter("skyd_pipes_in_datagrams_total", help, |status| {
        status.intake.datagrams
    });
    let help = "Records and samples decoded from flow exports, by kind.";
    metrics.labeled("skyd_pipes_in_records_total", help, "kind", |status| {
        let intake = &status.intake;
        [
            ("flow", intake.flow_records),
            ("option", intake.option_records),
            ("sample", intake.flow_samples),
            ("counter", intake.counter_samples),
            ("drop", intake.discard_samples),
        ]
    });
    let help = "Datagrams or records of flow exports lost before reception, according to gaps in \
                sequence numbers.";
    metrics.counter("skyd_pipes_in_lost_total", help, |status| {
        status.intake.lost
    });
    let help = "Datagrams with flow exports that the kernel dropped because the receive buffer was \
                full.";
    metrics.counter("skyd_pipes_in_kernel_drops_total", help, |status| {
        status.kernel_dropped
    });
}

/// Writes the counter of rejected datagrams, by reason.
fn refused(metrics: &mut CollectorMetrics<'_>) {
    let help = "Datagrams or parts of flow exports that were rejected, by reason.";
    metrics.labeled("skyd_pipes_in_refused_total", help, "reason", |status| {
        [
            ("not_allowed", status.not_allowed),
            ("version", status.intake.unknown_format),
            ("too_long", status.cut),
            ("malformed", status.intake.malformed),
            ("limit", status.intake.evicted),
        ]
    });
}

/// Writes the counters of templates, and of data whose template has not arrived.
fn templates(metrics: &mut CollectorMetrics<'_>) {
    let (name, help) = (
        "skyd_pipes_in_waiting_sets",
        "Number of data sets of flow exports that are waiting for a template.",
    );
    metrics.family(MetricKind::Gauge, name, help, |status| status.waiting_sets);
    let help = "Data sets of flow exports whose template did not arrive.";
    metrics.counter("skyd_pipes_in_unreadable_sets_total", help, |status| {
        status.intake.sets_without_template
    });
    let help = "Templates of flow exports redefined with a different layout.";
    metrics.counter("skyd_pipes_in_template_changes_total", help, |status| {
        status.intake.template_changes
    });
}

/// Page to which metric families with a sample for each collector are written.
struct CollectorMetrics<'a> {
    page: &'a mut MetricsPage,
    collectors: &'a [CollectorStatus],
}

impl CollectorMetrics<'_> {
    /// Writes a counter.
    fn counter(&mut self, name: &'static str, help: &str, value: fn(&CollectorStatus) -> u64) {
        self.family(MetricKind::Counter, name, help, value);
    }

    /// Writes a family with one sample for each collector.
    fn family(
        &mut self,
        kind: MetricKind,
        name: &'static str,
        help: &str,
        value: fn(&CollectorStatus) -> u64,
    ) {
        let mut family = self.page.family(kind, name, help);
        for collector in self.collectors {
            family.sample(&[("listener", &collector.listen)], value(collector));
        }
    }

    /// Writes a counter with several samples for each collector, which differ in a label.
    fn labeled<const N: usize>(
        &mut self,
        name: &'static str,
        help: &str,
        label: &'static str,
        values: fn(&CollectorStatus) -> [(&'static str, u64); N],
    ) {
        let mut family = self.page.family(MetricKind::Counter, name, help);
        for collector in self.collectors {
            for (value, count) in values(collector) {
                let labels = [("listener", collector.listen.as_str()), (label, value)];
                family.sample(&labels, count);
            }
        }
    }
}
