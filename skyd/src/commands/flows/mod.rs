//! `skyd flows`: the flows of a capture file, printed or asked.

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
use skylib::capture::{BpfCompiler, BpfFilter, PcapFile, Replay, ReplayedFlows};
use skylib::flow::{
    CsvColumns, ExtraLayers, FlowTableOptions, FlowTableStats, KeyIgnore, LayerKeyMode,
};
use skylib::graph::{Graph, GraphView};
use skylib::gremlin::{Context, Limits, Query};
use skylib::time::{Clock, SystemClock};

use self::output::FlowPrinter;
use self::progress::Progress;

/// What `skyd flows` takes.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FlowsArgs {
    /// Capture file (pcap or pcapng, also compressed by gzip, LZ4 or zstd), `-` for the standard
    /// input.
    file: PathBuf,

    /// Answer a Gremlin query about all flows of the file, as `POST /api/topology` would, instead
    /// of printing them.
    #[arg(long, value_name = "GREMLIN")]
    query: Option<String>,

    /// How flows are printed: as one array, one object a line, or columns.
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    format: Format,

    /// Only packets that pass this filter, in the language of tcpdump.
    #[arg(long, value_name = "TEXT")]
    bpf: Option<String>,

    /// Whether MAC addresses tell flows apart always (L2) or only where there is no IP (L3).
    #[arg(long, value_name = "L2|L3", default_value = "L2", value_parser = layer_key)]
    layer_key: LayerKeyMode,

    /// Keep so many packets of each flow (0 to 10), for the query step `RawPackets`.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = value_parser!(u32).range(..=10))]
    raw_packets: u32,

    /// Add the contents of these layers to their flows: DNS, DHCPv4, VRRP, or all.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = extra_layers)]
    extra_layer: Vec<ExtraLayers>,

    /// Add times and TTL of SYN, FIN and RST to TCP flows.
    #[arg(long)]
    extra_tcp_metric: bool,

    /// Add statistics of round-trip times to flows.
    #[arg(long)]
    extra_rtt_metric: bool,

    /// Join IPv4 fragments to datagrams.
    #[arg(long)]
    ip_defrag: bool,

    /// Add to TCP flows what of their streams came late or is missing.
    #[arg(long)]
    reassemble_tcp: bool,

    /// Most memory for flows in the table; of more, the least recently used leave early.
    #[arg(long, value_name = "BYTES", default_value_t = 2 << 30)]
    max_bytes: usize,

    /// Reproduce the values of the original exactly, including its known defects.
    #[arg(long)]
    recorded: bool,

    /// Parts of the flow key that do not distinguish flows: vlan, mpls, interface.
    #[arg(long, value_name = "PARTS", default_value = "")]
    key_ignore: KeyIgnore,

    /// Threads to work with, all told; each has an equal share of --max-bytes.
    #[arg(long, value_name = "N", default_value = "1")]
    threads: NonZeroU8,
}

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
        // Whoever read the flows has had enough.
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

/// What is said on standard error at the end.
#[derive(Debug, Default)]
struct Report {
    warnings: Vec<String>,
    summary: String,
}

/// Reads the file and writes to `out` what is asked for.
fn work(args: &FlowsArgs, out: &mut (dyn Write + Send), report: &mut Report) -> anyhow::Result<()> {
    refuse_contradictions(args)?;
    let query = args.query.as_deref().map(Query::parse).transpose()?;
    let mut file = open(&args.file)?;
    if let Some(text) = &args.bpf {
        file = file.with_filter(&BpfFilter::parse(text.as_str())?)?;
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
    let replay = Replay::new(options).with_threads(args.threads.into());
    let (outcome, stats, end) = if let Some(query) = query {
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
            Err(error) => (error.stats, Err(error)),
        };
        progress.clear();
        (printer.finish().map_err(Into::into), stats, end)
    };
    report.summary = summary(&stats, file.filtered());
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
            "{flows} flows left early: more would take over {bytes} bytes"
        ));
    }
    end.map_err(anyhow::Error::from).and(outcome)
}

/// Options that contradict each other.
fn refuse_contradictions(args: &FlowsArgs) -> anyhow::Result<()> {
    if args.query.is_some() && args.format != Format::Json {
        bail!("an answer to --query is JSON: no other --format goes with it");
    }
    Ok(())
}

fn open(path: &Path) -> anyhow::Result<PcapFile> {
    Ok(if path == Path::new("-") {
        PcapFile::stdin()?
    } else {
        PcapFile::open(path)?
    })
}

fn answer(query: &Query, flows: &ReplayedFlows, out: &mut dyn Write) -> anyhow::Result<()> {
    // A file has no nodes.
    let graph = Graph::new();
    let view = GraphView::open(&graph);
    // Nobody else waits: the query may take what the machine has.
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

/// A time in its largest unit, such as 28 h.
fn rough_time(ms: u64) -> String {
    let units = [
        (86_400_000 * 3, 86_400_000, "days"),
        (3_600_000, 3_600_000, "h"),
    ];
    let units = units
        .into_iter()
        .chain([(60_000, 60_000, "min"), (1_000, 1_000, "s")]);
    let unit = units.into_iter().find(|(from, _, _)| ms >= *from);
    unit.map_or_else(
        || format!("{ms} ms"),
        |(_, unit, name)| format!("{} {name}", ms / unit),
    )
}

/// The last line: what came out and what was left out.
fn summary(stats: &FlowTableStats, filtered: u64) -> String {
    let (flows, packets, peak) = (stats.created, stats.packets, peak_rss_bytes());
    let mut line = format!("flows {flows} packets {packets} peak_rss_bytes {peak}");
    // Packets decoded in part count for the flows of that part.
    let stopped = &stats.stopped;
    let left_out = [
        ("filtered", filtered),
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
    line
}

/// The most memory this process has had, in bytes; 0 where the system does not tell.
fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn layer_key(text: &str) -> Result<LayerKeyMode, &'static str> {
    LayerKeyMode::parse(text).ok_or("L2 or L3")
}

fn extra_layers(name: &str) -> Result<ExtraLayers, &'static str> {
    ExtraLayers::parse(name).ok_or("DNS, DHCPv4, VRRP or all")
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
