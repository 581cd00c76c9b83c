//! The subcommand `skyd history`: shows, checks, seals, and merges the files of a history.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use skylib::graph::history::HistoryLimits;
use skylib::store::history::{
    HistoryFolder, HistoryOptions, HistoryReport, LocalFlowStore, LocalHistory,
};
use skylib::time::{Clock, SystemClock, Timestamp};

use crate::engine_options;

use super::history_import;

/// Actions of `skyd history`.
#[derive(Debug, Subcommand)]
pub(crate) enum HistoryCommand {
    /// Print the segments with their sizes, rows, and times. The daemon may be running.
    #[command(after_help = EXAMPLES)]
    Info(FolderArgs),
    /// Compare all files with their checksums. The daemon may be running. Exits with status 1 if a
    /// file is damaged.
    Check(FolderArgs),
    /// Move the newest records from the logs to sealed Parquet files. The daemon must not be
    /// running.
    Seal(FolderArgs),
    /// Merge all segments into one for each table. The daemon must not be running.
    Compact(FolderArgs),
    /// Add the history that Skydive stored in Elasticsearch. The daemon must not be running.
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(ImportArgs),
}

const IMPORT_EXAMPLES: &str = "Examples:
  elasticdump --input=http://localhost:9200/skydive_topology_archive_v12 --output=old.ndjson
  skyd history import --elasticsearch-dump old.ndjson /var/lib/skyd";

/// Arguments of `skyd history import`.
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// File with one document of Skydive's indices per line.
    #[arg(long, value_name = "FILE", required = true)]
    elasticsearch_dump: PathBuf,

    #[command(flatten)]
    folder: FolderArgs,
}

const EXAMPLES: &str = "Examples:
  skyd history info /var/lib/skyd
  skyd history check /backup/skyd/history";

/// Arguments of the actions of `skyd history`.
#[derive(Args, Debug)]
pub(crate) struct FolderArgs {
    /// Data folder of the daemon (storage.local.path), or the folder `history` in it.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl FolderArgs {
    /// Returns the path of the history.
    fn path(&self) -> PathBuf {
        let is_history = ["flow", "graph"]
            .iter()
            .any(|table| self.folder.join(table).is_dir());
        if is_history {
            self.folder.clone()
        } else {
            self.folder.join("history")
        }
    }
}

/// Runs the subcommand and returns its exit status.
///
/// # Errors
/// Returns an error if the folder cannot be read or written, or is in use.
pub(crate) fn run(command: &HistoryCommand) -> anyhow::Result<ExitCode> {
    let out = &mut io::stdout().lock();
    match command {
        HistoryCommand::Info(args) => print_info(&HistoryReport::read(&args.path(), false)?, out)?,
        HistoryCommand::Check(args) => {
            let report = HistoryReport::read(&args.path(), true)?;
            print_check(&report, out)?;
            return Ok(ExitCode::from(u8::from(report.has_damage())));
        }
        HistoryCommand::Seal(args) => {
            let (flows, graph) = open(&args.path())?;
            flows.seal();
            graph.seal();
            print_set_aside(&args.path())?;
            writeln!(out, "sealed")?;
        }
        HistoryCommand::Import(args) => import(args, out)?,
        HistoryCommand::Compact(args) => {
            let (flows, graph) = open(&args.path())?;
            let now = SystemClock.now();
            flows.seal();
            flows.compact(now)?;
            graph.seal();
            graph.compact(now)?;
            print_set_aside(&args.path())?;
            writeln!(out, "merged")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Adds the documents of a file to a history.
fn import(args: &ImportArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let input = File::open(&args.elasticsearch_dump)
        .with_context(|| format!("cannot open {}", args.elasticsearch_dump.display()))?;
    let path = args.folder.path();
    if let Some(data_folder) = path.parent() {
        engine_options::create_data_folder(data_folder)?;
    }
    fs::create_dir_all(path.join("flow"))
        .with_context(|| format!("cannot create the history in {}", path.display()))?;
    let (flows, graph) = open(&path)?;
    let now = SystemClock.now();
    let imported = history_import::import(BufReader::new(input), &flows, &graph, now)
        .with_context(|| format!("cannot read {}", args.elasticsearch_dump.display()))?;
    flows.seal();
    graph.seal();
    if imported.nodes + imported.edges + imported.flows == 0 && imported.skipped > 0 {
        bail!(
            "nothing was imported: none of the {} lines of {} is a document of Skydive; \
             expected one JSON document per line, as elasticdump writes it",
            imported.skipped,
            args.elasticsearch_dump.display()
        );
    }
    writeln!(
        out,
        "imported {} revisions of nodes, {} of edges, and {} flows; skipped {} documents",
        imported.nodes, imported.edges, imported.flows, imported.skipped
    )?;
    Ok(())
}

/// Opens the stores of a folder for writing.
fn open(path: &Path) -> anyhow::Result<(LocalFlowStore, LocalHistory)> {
    // Fails before a folder is created for a mistyped path.
    HistoryReport::read(path, false)?;
    let folder = HistoryFolder::open(path, HistoryOptions::default())
        .context("stop the daemon that uses the folder first")?;
    let flows = LocalFlowStore::open(Arc::clone(&folder))?;
    let graph = LocalHistory::open(folder, HistoryLimits::default())?;
    Ok((flows, graph))
}

/// Prints a warning for each damaged file, whose records are missing in answers and merged
/// segments.
fn print_set_aside(path: &Path) -> anyhow::Result<()> {
    let mut stderr = io::stderr().lock();
    for name in HistoryReport::read(path, false)?.damaged {
        writeln!(
            stderr,
            "skyd: warning: {name} is damaged and was moved to the folder `damaged`"
        )?;
    }
    Ok(())
}

fn print_info(report: &HistoryReport, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{:<6} {:<26} {:>9}  {:<24} {:<24} rows",
        "table", "name", "size", "from", "to"
    )?;
    for segment in &report.segments {
        let (from, to) = segment
            .recorded
            .map_or_else(Default::default, |(from, to)| (time(from), time(to)));
        let rows: Vec<String> = segment
            .rows
            .iter()
            .map(|(file, rows)| format!("{file} {rows}"))
            .collect();
        let rows = segment
            .damage
            .as_ref()
            .map_or_else(|| rows.join(", "), |damage| format!("DAMAGED: {damage}"));
        let size = size(segment.bytes);
        let (table, name) = (segment.table, &segment.name);
        writeln!(
            out,
            "{table:<6} {name:<26} {size:>9}  {from:<24} {to:<24} {rows}"
        )?;
    }
    for log in &report.logs {
        let (table, name, size) = (log.table, &log.name, size(log.bytes));
        let lost = match log.lost_bytes {
            0 => String::new(),
            bytes => format!(", {bytes} bytes are incomplete"),
        };
        let records = log.records;
        writeln!(
            out,
            "{table:<6} {name:<26} {size:>9}  {:<49} {records} records{lost}",
            ""
        )?;
    }
    for name in &report.damaged {
        writeln!(out, "damaged {name} (set aside)")?;
    }
    let count = report.segments.len();
    writeln!(
        out,
        "{count} segments and snapshots, {} in total",
        size(report.bytes)
    )
}

fn print_check(report: &HistoryReport, out: &mut impl Write) -> io::Result<()> {
    for segment in &report.segments {
        if let Some(damage) = &segment.damage {
            writeln!(out, "{}/{}: {damage}", segment.table, segment.name)?;
        }
    }
    for log in report.logs.iter().filter(|log| log.is_damaged) {
        writeln!(
            out,
            "{}/{}: {} bytes are damaged",
            log.table, log.name, log.lost_bytes
        )?;
    }
    for name in &report.damaged {
        writeln!(out, "damaged {name} (set aside)")?;
    }
    let damaged = report
        .segments
        .iter()
        .filter(|segment| segment.damage.is_some())
        .count()
        + report.logs.iter().filter(|log| log.is_damaged).count();
    let count = report.segments.len() + report.logs.len();
    writeln!(
        out,
        "checked {count} segments, snapshots, and logs: {damaged} damaged"
    )
}

fn time(time: Timestamp) -> String {
    time.to_rfc3339()
}

/// Returns a size with a unit.
fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (unit, name) in UNITS {
        if bytes >= unit {
            let (whole, tenth) = (bytes / unit, bytes % unit * 10 / unit);
            return format!("{whole}.{tenth} {name}");
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let sizes = [0, 1023, 1024, 1536, 5 << 20, 3 << 30].map(size);
        assert_eq!(
            sizes,
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 MiB", "3.0 GiB"]
        );
    }
}
