//! Metrics of the files of the history.

use skylib::store::history::{LocalStoreStatus, TableStatus};
use skylib::time::Timestamp;

use crate::prometheus::{MetricKind, MetricsPage};

/// Writes the sizes and the counters of the files of the history.
pub(super) fn write(page: &mut MetricsPage, store: &LocalStoreStatus, now: Timestamp) {
    page.gauge(
        "skyd_history_files_bytes",
        "Size of all files of the history, including replaced and damaged files, in bytes.",
        store.bytes,
    );
    let help = "Number of damaged history files, which were moved to the subfolder named damaged.";
    page.gauge("skyd_history_damaged_files", help, store.damaged.len());
    table_gauges(page, store, now);
    table_counters(page, store);
}

/// Writes the gauges of each table.
fn table_gauges(page: &mut MetricsPage, store: &LocalStoreStatus, now: Timestamp) {
    table_gauge(
        page,
        store,
        "skyd_history_table_bytes",
        "Size of the sealed files of a history table, in bytes.",
        |table| table.bytes.to_string(),
    );
    table_gauge(
        page,
        store,
        "skyd_history_rows",
        "Number of rows in the sealed files of a history table.",
        |table| table.rows.to_string(),
    );
    table_gauge(
        page,
        store,
        "skyd_history_memory_bytes",
        "Approximate memory used by rows of a history table not yet in a sealed file, in bytes.",
        |table| table.memory_bytes.to_string(),
    );
    table_gauge(
        page,
        store,
        "skyd_history_log_bytes",
        "Size of the log of a history table, in bytes.",
        |table| table.log_bytes.to_string(),
    );
    let age = |time: Option<Timestamp>| {
        let age = time.map_or(0, |time| now.as_ms().saturating_sub(time.as_ms()).max(0));
        format!("{}.{:03}", age / 1000, age % 1000)
    };
    table_gauge(
        page,
        store,
        "skyd_history_age_seconds",
        "Length of the period, up to now, that a history table covers completely, in seconds.",
        |table| age(table.oldest),
    );
    table_gauge(
        page,
        store,
        "skyd_history_sync_age_seconds",
        "Time since the records of a history table were last made durable on disk, in seconds.",
        |table| age(table.synced),
    );
}

/// Writes the counters of each table.
fn table_counters(page: &mut MetricsPage, store: &LocalStoreStatus) {
    let help = "Rows dropped from a history table, by reason.";
    let mut dropped = page.family(MetricKind::Counter, "skyd_history_rows_dropped_total", help);
    for table in &store.tables {
        for (reason, rows) in &table.dropped {
            dropped.sample(&[("table", table.name), ("reason", reason.name())], *rows);
        }
    }
    let help = "Operations on the files of a history table, by kind: seals, merges, and failures \
                of either.";
    let mut operations = page.family(MetricKind::Counter, "skyd_history_operations_total", help);
    for table in &store.tables {
        let kinds = [
            ("seal", table.seals),
            ("merge", table.merges),
            ("failure", table.failures),
        ];
        for (kind, count) in kinds {
            operations.sample(&[("table", table.name), ("kind", kind)], count);
        }
    }
    let help = "Bytes of incomplete or damaged records in history logs, skipped while reading.";
    let mut lost = page.family(
        MetricKind::Counter,
        "skyd_history_log_bytes_lost_total",
        help,
    );
    for table in &store.tables {
        lost.sample(&[("table", table.name)], table.lost_log_bytes);
    }
}

/// Writes a gauge with a value for each table of the history.
fn table_gauge(
    page: &mut MetricsPage,
    store: &LocalStoreStatus,
    name: &'static str,
    help: &str,
    value: impl Fn(&TableStatus) -> String,
) {
    let mut gauge = page.family(MetricKind::Gauge, name, help);
    for table in &store.tables {
        gauge.sample(&[("table", table.name)], value(table));
    }
}
