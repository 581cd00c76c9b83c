//! `flows`: reads capture files.

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use skylib::capture::{
    BpfFilter, CaptureError, CaptureFileSet, CaptureFiles, Replay, ReplayedFlows,
};
use skylib::flow::{
    ApplicationPorts, ExtraLayers, Flow, FlowMeasure, FlowSink, FlowTableOptions, FlowTableStats,
    KeyIgnore, LayerKeyMode, TopFlows,
};
use skylib::go_duration;
use skylib::graph::{Graph, GraphView};
use skylib::gremlin::{Context, Limits, Query};
use skylib::packet::LinkType;
use skylib::time::{Clock, SystemClock};

use crate::error::{from_capture, query_error};
use crate::flow::{Flows, loads};

/// Reads capture files and returns their flows.
///
/// `path` is one file, a pattern such as `trace*.pcap.lz4`, or a sequence of both; several files
/// are read as one, in the order of their first packets. Files are pcap or pcapng, also compressed
/// with gzip, LZ4 or zstd. Timers follow the timestamps in the files, so a connection with a long
/// silence becomes two flows. Other Python threads can run during the call. The options are the
/// same as those of `skyd flows`:
///
/// - `merge`: merge the packets of several files by time, for files that overlap;
/// - `query`: a Gremlin query; its result is returned, as parsed JSON, instead of the flows;
/// - `bpf`: process only packets that match this filter, in tcpdump syntax;
/// - `link_type`: link type of all packets, a number or a name, instead of the link types of the
///   files;
/// - `interface`: process only packets of this interface of a pcapng file, or of this interface
///   index of a Linux cooked capture (SLL2);
/// - `layer_key`: "L2" if MAC addresses always distinguish flows, "L3" if they distinguish only flows
///   without an IP layer;
/// - `expire`: idle time after which a flow ends, in seconds or as a string such as "10m";
/// - `update`: also return active flows at this interval of capture time, with `LastUpdateMetric`;
/// - `ports`: application names by port, such as "tcp:8443=https,udp:5353=mdns";
/// - `raw_packets`: maximum number of packets to store per flow (0 to 10), see `Flows.raw_packets`;
/// - `extra_layer`: layers whose messages are added: "DNS", "DHCPv4", "VRRP", or "all", as
///   a comma-separated string or a sequence;
/// - `extra_tcp_metric`: add the times of SYN, FIN, and RST and the TTL of SYN;
/// - `extra_rtt_metric`: add statistics of round-trip times;
/// - `ip_defrag`: reassemble IP fragments;
/// - `reassemble_tcp`: track TCP streams, and count retransmitted, reordered, and missing segments;
/// - `top`: return only this number of flows, the largest first;
/// - `by`: the value that `top` compares: "bytes", "packets", "rtt", or "retransmissions";
/// - `max_bytes`: memory limit of the flow table, in bytes; at the limit, the least recently used
///   flows are evicted early;
/// - `recorded`: reproduce the values of Skydive exactly, including its known defects;
/// - `key_ignore`: parts of the flow key that do not distinguish flows: `vlan`, `mpls`, `interface`,
///   separated by commas;
/// - `threads`: total number of threads (1 to 255).
///
/// Raises `OSError` if a file cannot be opened, `CaptureError` if it is damaged or not a capture
/// file, `QueryError` if the query fails, and `ValueError` if an option is invalid.
#[pyfunction]
#[pyo3(signature = (
    path, *, merge = false, query = None, bpf = None, link_type = None, interface = None,
    layer_key = "L2", expire = None, update = None, ports = "", raw_packets = 0, extra_layer = None,
    extra_tcp_metric = false, extra_rtt_metric = false, ip_defrag = false, reassemble_tcp = false,
    top = None, by = "bytes", max_bytes = 2 << 30, recorded = false, key_ignore = "", threads = 1,
))]
#[expect(clippy::too_many_arguments, reason = "keywords of Python")]
pub(crate) fn flows(
    py: Python<'_>,
    path: Paths,
    merge: bool,
    query: Option<&str>,
    bpf: Option<&str>,
    link_type: Option<NumberOrName>,
    interface: Option<&str>,
    layer_key: &str,
    expire: Option<Seconds>,
    update: Option<Seconds>,
    ports: &str,
    raw_packets: u32,
    extra_layer: Option<LayerNames>,
    extra_tcp_metric: bool,
    extra_rtt_metric: bool,
    ip_defrag: bool,
    reassemble_tcp: bool,
    top: Option<usize>,
    by: &str,
    max_bytes: usize,
    recorded: bool,
    key_ignore: &str,
    threads: usize,
) -> PyResult<Py<PyAny>> {
    let Ok(mode) = layer_key.parse::<LayerKeyMode>() else {
        return invalid(format!("layer_key must be L2 or L3, not {layer_key}"));
    };
    if raw_packets > MAX_RAW_PACKETS {
        return invalid(format!(
            "raw_packets must be 0 to {MAX_RAW_PACKETS}, not {raw_packets}"
        ));
    }
    let Some(threads) = NonZeroUsize::new(threads).filter(|threads| threads.get() < 256) else {
        return invalid(format!("threads must be 1 to 255, not {threads}"));
    };
    let measure: FlowMeasure = parse(by)?;
    if query.is_some() && (top.is_some() || update.is_some()) {
        return invalid("top and update cannot be used with query".to_owned());
    }
    let mut options = FlowTableOptions::default()
        .with_layer_key_mode(mode)
        .with_application_ports(parse::<ApplicationPorts>(ports)?)
        .with_raw_packet_limit(raw_packets)
        .with_extra_layers(extra_layer.map_or(Ok(ExtraLayers::NONE), LayerNames::parse)?)
        .with_extra_tcp_metric(extra_tcp_metric)
        .with_extra_rtt_metric(extra_rtt_metric)
        .with_ip_defrag(ip_defrag)
        .with_reassemble_tcp(reassemble_tcp || measure == FlowMeasure::Retransmissions)
        .with_recorded(recorded)
        .with_key_ignore(parse::<KeyIgnore>(key_ignore)?)
        .with_final_only(update.is_none())
        .with_max_entries(usize::MAX)
        .with_max_bytes(max_bytes);
    if let Some(expire) = expire {
        options = options.with_expiry_interval(expire.parse("expire")?);
    }
    if let Some(update) = update {
        options = options.with_update_interval(update.parse("update")?);
    }
    let mut files = CaptureFileSet::new(path.list()).with_merge(merge);
    if let Some(link_type) = link_type {
        files = files.with_link_type(link_type.parse()?);
    }
    if let Some(interface) = interface {
        files = files.with_interface(interface);
    }
    let mut replay = Replay::new(options).with_threads(threads);
    match bpf.map(filter).transpose()? {
        // COMPAT: the recorded values of Skydive, whose clock is driven only by packets that pass
        // the filter.
        Some(filter) if recorded => files = files.with_filter(filter),
        Some(filter) => replay = replay.with_filter(filter),
        None => {}
    }
    if let Some(query) = query {
        let json = py.detach(|| answer(files, &replay, query))?;
        return Ok(loads(py, &json)?.unbind());
    }
    let flows = py.detach(|| read(files, &replay, top.map(|top| (top, measure))))?;
    Ok(Py::new(py, flows)?.into_any())
}

/// Reads the files and returns all flows, or the largest ones.
fn read(
    files: CaptureFileSet,
    replay: &Replay,
    top: Option<(usize, FlowMeasure)>,
) -> PyResult<Flows> {
    let mut files = files.open().map_err(from_capture)?;
    let (flows, stats) = match top {
        Some((limit, measure)) => {
            let mut top = TopFlows::new(limit, measure);
            let stats = run(&mut files, replay, &mut top)?;
            (top.into_flows(), stats)
        }
        None => {
            let mut flows: Vec<Flow> = Vec::new();
            let stats = run(&mut files, replay, &mut flows)?;
            (flows, stats)
        }
    };
    let packets = stats.packets.saturating_sub(stats.filtered);
    Ok(Flows::new(flows, packets))
}

/// Passes the flows of the files to a sink; stops at a signal such as Ctrl-C.
fn run(
    files: &mut CaptureFiles,
    replay: &Replay,
    sink: &mut (dyn FlowSink + Send),
) -> PyResult<FlowTableStats> {
    let mut signals = Signals::default();
    let outcome = replay.run_while(files, sink, || signals.proceed());
    signals.end()?;
    outcome.map_err(|failure| from_capture(failure.into()))
}

/// Returns the result of a query on the flows of the files, as JSON.
fn answer(files: CaptureFileSet, replay: &Replay, text: &str) -> PyResult<Vec<u8>> {
    let query = Query::parse(text).map_err(|error| query_error(text, &error))?;
    let mut files = files.open().map_err(from_capture)?;
    let mut signals = Signals::default();
    let (flows, end): (ReplayedFlows, _) = replay.collect_while(&mut files, || signals.proceed());
    signals.end()?;
    end.map_err(|failure| from_capture(CaptureError::from(failure)))?;
    // A capture file contains only flows, so the graph is empty.
    let graph = Graph::new();
    let view = GraphView::open(&graph);
    // The process serves no other clients, so the query may use all memory.
    let limits = Limits::default()
        .with_max_elements(usize::MAX)
        .with_max_bytes(usize::MAX);
    let context = Context::new(&view, &flows, SystemClock.now()).with_limits(limits);
    #[cfg(feature = "pcap")]
    let filters = skylib::capture::BpfCompiler::default();
    #[cfg(feature = "pcap")]
    let context = context.with_packet_filters(&filters);
    let answer = query.run(&context);
    let answer = answer.map_err(|error| query_error(text, &error))?;
    let mut json = Vec::new();
    answer.write_json(&mut json)?;
    Ok(json)
}

/// Checks for signals between batches.
#[derive(Default)]
struct Signals {
    batches: u32,
    interrupt: Option<PyErr>,
}

impl Signals {
    /// Returns whether no signal arrived.
    fn proceed(&mut self) -> bool {
        self.batches = self.batches.wrapping_add(1);
        if self.interrupt.is_none() && self.batches.is_multiple_of(BATCHES_PER_CHECK) {
            self.interrupt = Python::attach(|py| py.check_signals().err());
        }
        self.interrupt.is_none()
    }

    /// Returns the exception of a signal.
    fn end(self) -> PyResult<()> {
        self.interrupt.map_or(Ok(()), Err)
    }
}

/// Compiles a filter expression.
#[cfg(feature = "pcap")]
fn filter(text: &str) -> PyResult<BpfFilter> {
    BpfFilter::parse(text).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Returns an error, because filters need libpcap.
#[cfg(not(feature = "pcap"))]
fn filter(text: &str) -> PyResult<BpfFilter> {
    invalid(format!(
        "cannot compile filter {text:?}: this package was built without libpcap"
    ))
}

/// Returns a `ValueError`.
fn invalid<T>(text: String) -> PyResult<T> {
    Err(PyValueError::new_err(text))
}

/// Parses an option. Returns a `ValueError` if the value is invalid.
fn parse<T: FromStr>(text: &str) -> PyResult<T>
where
    T::Err: Display,
{
    text.parse()
        .map_err(|error: T::Err| PyValueError::new_err(error.to_string()))
}

/// One path or several paths.
#[derive(FromPyObject)]
pub(crate) enum Paths {
    One(PathBuf),
    Many(Vec<PathBuf>),
}

impl Paths {
    fn list(self) -> Vec<PathBuf> {
        match self {
            Self::One(path) => vec![path],
            Self::Many(paths) => paths,
        }
    }
}

/// Link type, as Python passes it.
#[derive(FromPyObject)]
pub(crate) enum NumberOrName {
    Number(u16),
    Name(String),
}

impl NumberOrName {
    fn parse(self) -> PyResult<LinkType> {
        match self {
            Self::Number(number) => Ok(LinkType(number)),
            Self::Name(name) => parse(&name),
        }
    }
}

/// Duration, as Python passes it: seconds, or a string with units.
#[derive(FromPyObject)]
pub(crate) enum Seconds {
    Number(f64),
    Text(String),
}

impl Seconds {
    /// Returns the duration; `option` names it in errors.
    fn parse(self, option: &str) -> PyResult<Duration> {
        let duration = match &self {
            Self::Number(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
            Self::Text(text) => go_duration::parse(text).ok(),
        };
        match duration.filter(|duration| !duration.is_zero()) {
            Some(duration) => Ok(duration),
            None => invalid(format!(
                "{option} must be greater than zero, in seconds or a string such as 90s or 5m"
            )),
        }
    }
}

/// Names of extra layers, as Python passes them.
#[derive(FromPyObject)]
pub(crate) enum LayerNames {
    Text(String),
    List(Vec<String>),
}

impl LayerNames {
    /// Returns the set of layers.
    fn parse(self) -> PyResult<ExtraLayers> {
        let names = match self {
            Self::Text(names) => names.split(',').map(str::to_owned).collect(),
            Self::List(names) => names,
        };
        let mut layers = ExtraLayers::NONE;
        for name in names {
            layers = layers.with(ExtraLayers::parse(name.trim()).ok_or_else(|| {
                PyValueError::new_err(format!(
                    "extra_layer must be DNS, DHCPv4, VRRP, or all, not {name}"
                ))
            })?);
        }
        Ok(layers)
    }
}

/// Number of batches between checks for a signal such as Ctrl-C.
const BATCHES_PER_CHECK: u32 = 8;

/// Maximum number of stored packets per flow, as for captures.
const MAX_RAW_PACKETS: u32 = 10;
