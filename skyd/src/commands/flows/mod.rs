//! The subcommand `skyd flows`: prints the flows of a capture file or runs a query on them.

mod output;
mod progress;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use clap::{Args, ValueEnum, value_parser};
use skylib::capture::{BpfCompiler, BpfFilter, PacketSource, PcapFile, Replay, ReplayedFlows};
use skylib::decode::DecodeError;
use skylib::flow::{
    CsvColumns, ExtraLayers, FlowTableOptions, FlowTableStats, KeyIgnore, LayerKeyMode,
};
use skylib::graph::{Graph, GraphView};
use skylib::gremlin::{Context, Limits, Query};
use skylib::time::{Clock, SystemClock};

use self::output::FlowPrinter;
use self::progress::Progress;

/// Arguments of `skyd flows`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FlowsArgs {
    /// Capture file (pcap or pcapng, also compressed with gzip, LZ4 or zstd), `-` for standard input.
    file: PathBuf,

    /// Run a Gremlin query on all flows of the file and print its result, as `POST /api/topology`
    /// returns it, instead of the flows.
    #[arg(long, value_name = "GREMLIN")]
    query: Option<String>,

    /// Output format of flows: one JSON array, one JSON object per line, or CSV.
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    format: Format,

    /// BPF filter of the packets to process, in the syntax of tcpdump.
    #[arg(long, value_name = "TEXT")]
    bpf: Option<String>,

    /// Whether MAC addresses always distinguish flows (L2) or only those without an IP layer (L3).
    #[arg(long, value_name = "L2|L3", default_value = "L2", value_parser = layer_key)]
    layer_key: LayerKeyMode,

    /// Packets to store with each flow (0 to 10), for the query step `RawPackets`.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = value_parser!(u32).range(..=10))]
    raw_packets: u32,

    /// Add the content of these layers to flows: DNS, DHCPv4, VRRP, or all.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = extra_layers)]
    extra_layer: Vec<ExtraLayers>,

    /// Add times and TTL of SYN, FIN and RST to TCP flows.
    #[arg(long)]
    extra_tcp_metric: bool,

    /// Add statistics of round-trip times to flows.
    #[arg(long)]
    extra_rtt_metric: bool,

    /// Reassemble IP fragments.
    #[arg(long)]
    ip_defrag: bool,

    /// Reassemble TCP streams and add the counts of late and missing data to TCP flows.
    #[arg(long)]
    reassemble_tcp: bool,

    /// Memory for flows in the table; at the limit, the least recently used flows are printed early.
    #[arg(long, value_name = "BYTES", default_value_t = 2 << 30)]
    max_bytes: usize,

    /// Reproduce the values of Skydive, including those that are corrected by default.
    #[arg(long)]
    recorded: bool,

    /// Parts of the flow key that do not distinguish flows: vlan, mpls, interface.
    #[arg(long, value_name = "PARTS", default_value = "")]
    key_ignore: KeyIgnore,

    /// Total number of threads; each gets an equal share of --max-bytes.
    #[arg(long, value_name = "N", default_value = "1")]
    threads: NonZeroU8,
}

/// Output format of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    Ndjson,
    Csv,
}

const EXAMPLES: &str = "\
Examples:
  skyd flows trace.pcap --format csv > flows.csv
  skyd flows trace.pcapng.zst --query \"G.Flows().Has('Application','DNS').Count()\"
  skyd flows trace.pcap --extra-layer DNS --query \"G.Flows().Has('DNS.QDCount',1).Limit(3)\"
  tcpdump -w - -c 1000 | skyd flows - --format ndjson --bpf 'tcp port 443' --reassemble-tcp";

/// Runs the command on the standard streams.
pub(crate) fn run(args: &FlowsArgs) -> ExitCode {
    let mut report = Report::default();
    let outcome = work(args, &mut io::stdout(), &mut report);
    let mut stderr = io::stderr().lock();
    let mut code = ExitCode::SUCCESS;
    for warning in report.warnings {
        writeln!(stderr, "skyd: warning: {warning}").ok();
    }
    match outcome {
        Ok(()) => {}
        // The reader of the output has closed it, as `head` does.
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

/// Messages for standard error at the end.
#[derive(Debug, Default)]
struct Report {
    warnings: Vec<String>,
    summary: String,
}

/// Reads the file and writes flows or the result of the query to `out`.
fn work(args: &FlowsArgs, out: &mut (dyn Write + Send), report: &mut Report) -> anyhow::Result<()> {
    refuse_contradictions(args)?;
    let query = args.query.as_deref().map(Query::parse).transpose()?;
    let mut file = open(&args.file)?;
    let filter = args.bpf.as_deref().map(BpfFilter::parse).transpose()?;
    if let Some(filter) = &filter {
        filter.program(file.link_type(), 0)?;
    }
    let extra_layers = args.extra_layer.iter();
    let extra_layers = extra_layers.fold(ExtraLayers::NONE, |all, layers| all.with(*layers));
    let options = FlowTableOptions::default()
        .with_layer_key_mode(args.layer_key)
        .with_raw_packet_limit(args.raw_packets)
        .with_extra_tcp_metric(args.extra_tcp_metric)
        .with_extra_rtt_metric(args.extra_rtt_metric)
        .with_key_ignore(args.key_ignore)
        .with_reassemble_tcp(args.reassemble_tcp)
        .with_ip_defrag(args.ip_defrag)
        .with_extra_layers(extra_layers)
        .with_recorded(args.recorded)
        .with_final_only(true)
        .with_max_entries(usize::MAX)
        .with_max_bytes(args.max_bytes);
    let progress = Progress::new(file.progress());
    let mut replay = Replay::new(options).with_threads(args.threads.into());
    match filter {
        // COMPAT: recorded values of the original, whose clock sees only packets that pass.
        Some(filter) if args.recorded => file = file.with_filter(&filter)?,
        Some(filter) => replay = replay.with_filter(filter),
        None => {}
    }
    let (outcome, mut stats, end) = if let Some(query) = query {
        let (flows, end) = replay.collect_while(&mut file, || {
            progress.show();
            true
        });
        progress.clear();
        (answer(&query, &flows, out), flows.stats(), end)
    } else {
        let failed = AtomicBool::new(false);
        let columns = CsvColumns::default()
            .with_tcp_metric(args.extra_tcp_metric || args.reassemble_tcp)
            .with_rtt_metric(args.extra_rtt_metric);
        let mut printer = FlowPrinter::new(out, args.format, columns, &failed);
        let outcome = replay.run_while(&mut file, &mut printer, || {
            progress.show();
            !failed.load(Ordering::Relaxed)
        });
        let (stats, end) = match outcome {
            Ok(stats) => (stats, Ok(())),
            Err(error) => (*error.stats(), Err(error)),
        };
        progress.clear();
        (printer.finish().map_err(Into::into), stats, end)
    };
    stats.filtered += file.filtered();
    stats.packets += file.filtered();
    report.summary = summary(&stats);
    if stats.time_back > 0 {
        let (packets, furthest) = (stats.time_back, stats.furthest_back_ms);
        report.warnings.push(format!(
            "{packets} packets went back in time, by up to {}",
            rough_time(furthest)
        ));
    }
    if stats.evicted > 0 {
        let (flows, bytes) = (stats.evicted, args.max_bytes);
        report.warnings.push(format!(
            "{flows} flows were printed early because the flow table reached {bytes} bytes (--max-bytes)"
        ));
    }
    end.map_err(anyhow::Error::from).and(outcome)?;
    refuse_unknown_link_types(&stats)
}

/// Fails if no packet has a link type that can be decoded.
fn refuse_unknown_link_types(stats: &FlowTableStats) -> anyhow::Result<()> {
    let passed = stats.packets.saturating_sub(stats.filtered);
    if passed == 0 || stats.stopped.link_type < passed {
        return Ok(());
    }
    let link_types = stats.stopped.link_types.iter();
    let errors: Vec<String> = link_types
        .map(|(link_type, _)| DecodeError::LinkType(link_type.0).to_string())
        .collect();
    bail!(errors.join(", "))
}

/// Rejects options that contradict each other.
fn refuse_contradictions(args: &FlowsArgs) -> anyhow::Result<()> {
    if args.query.is_some() && args.format != Format::Json {
        bail!("--format cannot be used with --query: the result of a query is JSON");
    }
    Ok(())
}

/// Opens the capture file or standard input.
fn open(path: &Path) -> anyhow::Result<PcapFile> {
    Ok(if path == Path::new("-") {
        PcapFile::stdin()?
    } else {
        PcapFile::open(path)?
    })
}

/// Runs a query and writes its result.
fn answer(query: &Query, flows: &ReplayedFlows, out: &mut dyn Write) -> anyhow::Result<()> {
    // A capture file has flows only: the graph is empty.
    let graph = Graph::new();
    let view = GraphView::open(&graph);
    // The process serves nothing else, so the query may use all memory.
    let limits = Limits::default()
        .with_max_elements(usize::MAX)
        .with_max_bytes(usize::MAX);
    let context = Context::new(&view, flows, SystemClock.now())
        .with_packet_filters(&BpfCompiler)
        .with_limits(limits);
    let answer = query.run(&context)?;
    let mut out = io::BufWriter::new(out);
    answer.write_json(&mut out)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Returns a time in its largest unit, such as 28 h.
fn rough_time(ms: u64) -> String {
    let units = [
        (3 * 86_400_000, 86_400_000, "days"),
        (3_600_000, 3_600_000, "h"),
        (60_000, 60_000, "min"),
        (1_000, 1_000, "s"),
    ];
    let unit = units.iter().find(|(from, _, _)| ms >= *from);
    unit.map_or_else(
        || format!("{ms} ms"),
        |(_, unit, name)| format!("{} {name}", ms / unit),
    )
}

/// Returns the last line: counts of flows and packets, and of omissions.
fn summary(stats: &FlowTableStats) -> String {
    let packets = stats.packets.saturating_sub(stats.filtered);
    let (flows, peak) = (stats.created, peak_rss_bytes());
    let mut line = format!("flows {flows} packets {packets} peak_rss_bytes {peak}");
    // Partly decoded packets still count for the flow of the decoded part.
    let stopped = &stats.stopped;
    let left_out = [
        ("filtered", stats.filtered),
        ("without_flow", stats.without_flow),
        ("parts_without_flow", stats.encapsulations_without_flow),
        ("link_type_unknown", stopped.link_type),
        ("truncated", stopped.truncated),
        ("malformed", stopped.malformed),
        ("unknown_protocol", stopped.unknown_protocol),
        ("too_deep", stopped.too_deep),
        ("streams_cut", stats.streams_cut),
        ("requests_unmeasured", stats.requests_unmeasured),
        ("time_back", stats.time_back),
        ("time_ahead", stats.time_ahead),
        ("late_packets", stats.late_packets),
        ("fragments_refused", stats.fragments.refused),
        ("fragments_lost", stats.fragments.lost),
        ("contents_left_out", stats.extra_messages_dropped),
        ("evicted", stats.evicted),
    ];
    for (what, count) in left_out.iter().filter(|(_, count)| *count > 0) {
        // Writing to a string does not fail.
        write!(line, " {what} {count}").ok();
    }
    for (link_type, count) in stopped.link_types.iter() {
        let (number, name) = (link_type.0, link_type.name());
        write!(line, " link_type_{number}_{name} {count}").ok();
    }
    line
}

/// Returns the peak resident memory of the process in bytes; 0 if the kernel does not report it.
fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Parses `--layer-key`.
fn layer_key(text: &str) -> Result<LayerKeyMode, &'static str> {
    LayerKeyMode::parse(text).ok_or("expected L2 or L3")
}

/// Parses a name of `--extra-layer`.
fn extra_layers(name: &str) -> Result<ExtraLayers, &'static str> {
    ExtraLayers::parse(name).ok_or("expected DNS, DHCPv4, VRRP or all")
}

/// Returns whether an error is that the reader of the output has closed it.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
