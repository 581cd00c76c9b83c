//! The subcommand `skyd flows`: prints the flows of a capture file or runs a query on them.

mod args;
mod output;
mod progress;
mod summary;
mod table;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use skylib::capture::{
    BpfCompiler, BpfFilter, CaptureFileSet, CaptureFiles, PacketSource, Replay, ReplayError,
    ReplayedFlows,
};
use skylib::decode::DecodeError;
use skylib::flow::{FlowSink, FlowTableStats, TopFlows};
use skylib::graph::{Graph, GraphView};
use skylib::gremlin::{Context, Limits, Query};
use skylib::time::{Clock, SystemClock};

pub(crate) use self::args::FlowsArgs;
use self::args::Format;
use self::output::FlowPrinter;
use self::progress::Progress;
use super::is_broken_pipe;

/// Runs the command on the standard streams.
pub(crate) fn run(args: &FlowsArgs) -> ExitCode {
    if let Err(error) = args.check() {
        writeln!(io::stderr(), "skyd: {error:#}").ok();
        return ExitCode::from(2);
    }
    let mut report = Report::default();
    let format = args.output_format(io::stdout().is_terminal());
    let outcome = work(args, format, &mut io::stdout(), &mut report);
    let mut stderr = io::stderr().lock();
    let mut code = ExitCode::SUCCESS;
    for note in report.notes {
        writeln!(stderr, "skyd: {note}").ok();
    }
    for warning in report.warnings {
        writeln!(stderr, "skyd: warning: {warning}").ok();
    }
    match outcome {
        Ok(()) => {}
        // The reader closed the pipe, as `head` does.
        Err(error) if is_broken_pipe(&error) => {}
        Err(error) => {
            writeln!(stderr, "skyd: {error:#}").ok();
            code = ExitCode::FAILURE;
        }
    }
    if !report.summary.is_empty() {
        writeln!(stderr, "{}", report.summary).ok();
    }
    code
}

/// Messages that are written to standard error at the end.
#[derive(Debug, Default)]
struct Report {
    notes: Vec<String>,
    warnings: Vec<String>,
    summary: String,
}

impl Report {
    /// Adds warnings about the input files.
    fn add_warnings_of(&mut self, files: &CaptureFiles) {
        if files.overlaps() > 0 {
            self.warnings.push(format!(
                "files overlap in time: {} end after the next one begins (use --merge)",
                files.overlaps()
            ));
        }
        for error in files.other_errors() {
            self.warnings.push(with_causes(error));
        }
    }
}

/// Outcome of a replay of the files.
struct Outcome {
    /// Error of the output, if it could not be written.
    output: anyhow::Result<()>,
    stats: FlowTableStats,
    /// Error of the input, if not all files could be read.
    end: Result<(), ReplayError>,
}

/// Reads the files and writes flows or the result of the query to `out`.
fn work(
    args: &FlowsArgs,
    format: Format,
    out: &mut (dyn Write + Send),
    report: &mut Report,
) -> anyhow::Result<()> {
    args.check()?;
    let query = args.query.as_deref().map(Query::parse).transpose()?;
    if let Some(query) = &query {
        let warnings = query.warnings(&GraphView::open(&Graph::new()), &|| false);
        report.warnings.extend(warnings);
    }
    let (mut files, replay) = open(args)?;
    let outcome = match query {
        Some(query) => run_query(&replay, &query, &mut files, out),
        None => match args.limit(format) {
            Some(limit) => print_top(args, format, limit, (&mut files, &replay), out, report),
            None => print_all(args, format, (&mut files, &replay), out),
        },
    };
    let stats = outcome.stats;
    report.summary = summary::summary(&stats, &files);
    report.add_warnings_of(&files);
    if stats.time_back > 0 {
        let (packets, furthest) = (stats.time_back, stats.furthest_back_ms);
        report.warnings.push(format!(
            "{packets} packets went back in time, by up to {}",
            summary::rough_time(furthest)
        ));
    }
    if stats.evicted > 0 {
        let (flows, bytes) = (stats.evicted, args.max_bytes);
        report.warnings.push(format!(
            "{flows} flows were printed early because the flow table reached {bytes} bytes (--max-bytes)"
        ));
    }
    outcome
        .end
        .map_err(anyhow::Error::from)
        .and(outcome.output)?;
    refuse_unknown_link_types(&stats)
}

/// Runs a query on the flows.
fn run_query(
    replay: &Replay,
    query: &Query,
    files: &mut CaptureFiles,
    out: &mut dyn Write,
) -> Outcome {
    let progress = Progress::new(files.progress());
    let (flows, end) = replay.collect_while(files, || {
        progress.show();
        true
    });
    progress.clear();
    Outcome {
        output: answer(query, &flows, out),
        stats: flows.stats(),
        end,
    }
}

/// Prints flows when they leave the flow table.
fn print_all(
    args: &FlowsArgs,
    format: Format,
    (files, replay): (&mut CaptureFiles, &Replay),
    out: &mut (dyn Write + Send),
) -> Outcome {
    let failed = AtomicBool::new(false);
    let mut printer = FlowPrinter::new(out, format, args.columns(), &failed);
    let (stats, end) = pass_flows(replay, files, &mut printer, || {
        !failed.load(Ordering::Relaxed)
    });
    Outcome {
        output: printer.finish().map_err(Into::into),
        stats,
        end,
    }
}

/// Prints the largest flows.
fn print_top(
    args: &FlowsArgs,
    format: Format,
    limit: usize,
    (files, replay): (&mut CaptureFiles, &Replay),
    out: &mut (dyn Write + Send),
    report: &mut Report,
) -> Outcome {
    let measure = args.by.unwrap_or_default();
    let mut top = TopFlows::new(limit, measure);
    let (stats, end) = pass_flows(replay, files, &mut top, || true);
    let total = top.total();
    let flows = top.into_flows();
    if format == Format::Table && total > flows.len() as u64 {
        report.notes.push(format!(
            "{} of {total} flows, by {measure} (--top and --by select others)",
            flows.len()
        ));
    }
    let output = match format {
        Format::Table => table::write(out, &flows, args.tracks_streams()),
        _ => {
            let failed = AtomicBool::new(false);
            let mut printer = FlowPrinter::new(out, format, args.columns(), &failed);
            printer.flows(flows);
            printer.finish()
        }
    };
    Outcome {
        output: output.map_err(Into::into),
        stats,
        end,
    }
}

/// Passes flows to a sink when they leave the flow table, until `proceed` returns false.
fn pass_flows(
    replay: &Replay,
    files: &mut CaptureFiles,
    sink: &mut (dyn FlowSink + Send),
    proceed: impl Fn() -> bool,
) -> (FlowTableStats, Result<(), ReplayError>) {
    let progress = Progress::new(files.progress());
    let outcome = replay.run_while(files, sink, || {
        progress.show();
        proceed()
    });
    progress.clear();
    match outcome {
        Ok(stats) => (stats, Ok(())),
        Err(error) => (*error.stats(), Err(error)),
    }
}

/// Returns an error if no packet has a link type that can be decoded.
fn refuse_unknown_link_types(stats: &FlowTableStats) -> anyhow::Result<()> {
    let passed = stats.packets.saturating_sub(stats.filtered);
    if passed == 0 || stats.stopped.link_type < passed {
        return Ok(());
    }
    let link_types = stats.stopped.link_types.iter();
    let errors: Vec<String> = link_types
        .map(|(link_type, _)| DecodeError::LinkType(link_type.0).to_string())
        .collect();
    bail!(
        "{} (--link-type N sets another link type)",
        errors.join(", ")
    )
}

/// Opens the capture files or standard input. Returns the files and the replay that the options
/// describe.
fn open(args: &FlowsArgs) -> anyhow::Result<(CaptureFiles, Replay)> {
    let mut files = CaptureFileSet::new(&args.files).with_merge(args.merge);
    if let Some(link_type) = args.link_type {
        files = files.with_link_type(link_type);
    }
    if let Some(name) = &args.interface {
        files = files.with_interface(name.as_str());
    }
    let mut replay = Replay::new(args.table()).with_threads(args.threads.into());
    let Some(text) = &args.bpf else {
        return Ok((files.open()?, replay));
    };
    let filter = BpfFilter::parse(text.as_str())?;
    if args.recorded {
        // COMPAT: the recorded values of Skydive, whose clock is driven only by packets that pass
        // the filter.
        return Ok((files.with_filter(filter).open()?, replay));
    }
    let files = files.open()?;
    filter.program(files.link_type(), 0)?;
    replay = replay.with_filter(filter);
    Ok((files, replay))
}

/// Runs a query and writes its result.
fn answer(query: &Query, flows: &ReplayedFlows, out: &mut dyn Write) -> anyhow::Result<()> {
    // A capture file contains only flows, so the graph is empty.
    let graph = Graph::new();
    let view = GraphView::open(&graph);
    // The process does nothing else, so the query may use all memory.
    let limits = Limits::default()
        .with_max_elements(usize::MAX)
        .with_max_bytes(usize::MAX);
    let filters = BpfCompiler::default();
    let context = Context::new(&view, flows, SystemClock.now())
        .with_packet_filters(&filters)
        .with_limits(limits);
    let answer = query.run(&context)?;
    let mut out = io::BufWriter::new(out);
    answer.write_json(&mut out)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Returns the messages of an error and its causes, separated by colons.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
