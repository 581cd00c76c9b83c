//! `flows`: reads capture files.

use std::num::NonZeroUsize;

use pyo3::prelude::*;
use skylib::capture::{CaptureError, PacketSource, Replay, ReplayedFlows};
use skylib::flow::{Flow, FlowMeasure, FlowSink, FlowTableStats, TopFlows};

use crate::error::from_capture;
use crate::flow::{Flows, loads};
use crate::gremlin;
use crate::options::{LayerNames, NumberOrName, Seconds, TableOptions, filter, invalid, parse};
use crate::signals::interruptible;
use crate::source::{Input, SourceSettings};
use crate::stream::FlowStream;

/// Reads capture files and returns their flows.
///
/// `path` is one file, a pattern such as `trace*.pcap.lz4`, or a sequence of both; several files are
/// read as one, in the order of their first packets. `path` can also be the content of a file as
/// bytes, or a file object that is open for reading bytes. Files are pcap or pcapng, plain or
/// compressed with gzip, LZ4, or zstd. Timers follow the timestamps in the files, so a connection
/// that is idle for longer than `expire` becomes two flows. Other Python threads can run during the
/// call. The options are those of `skyd flows`:
///
/// - `stream`: return a `FlowStream`, which reads the files while its flows are consumed, in
///   bounded memory;
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
/// - `top`: return only this number of flows, the largest flows first;
/// - `by`: the value that `top` compares: "bytes", "packets", "rtt", or "retransmissions";
/// - `max_bytes`: maximum memory of the flow table, in bytes; at the limit, the least recently used
///   flows are evicted early;
/// - `recorded`: reproduce the values of Skydive exactly, including its known defects;
/// - `key_ignore`: parts of the flow key that do not distinguish flows: `vlan`, `mpls`, `interface`,
///   separated by commas;
/// - `threads`: total number of threads (1 to 255).
///
/// Raises `OSError` if a file cannot be opened, `CaptureError` if it is damaged or not a capture
/// file, `QueryError` if the query fails, and `ValueError` if an option is invalid
/// (`OverflowError` if a number is negative or too large).
#[pyfunction]
#[pyo3(signature = (
    path, *, stream = false, merge = false, query = None, bpf = None, link_type = None, interface = None,
    layer_key = "L2", expire = None, update = None, ports = "", raw_packets = 0, extra_layer = None,
    extra_tcp_metric = false, extra_rtt_metric = false, ip_defrag = false, reassemble_tcp = false,
    top = None, by = "bytes", max_bytes = 2 << 30, recorded = false, key_ignore = "", threads = 1,
))]
#[expect(clippy::too_many_arguments, reason = "keywords of Python")]
pub(crate) fn flows(
    py: Python<'_>,
    path: Input,
    stream: bool,
    merge: bool,
    query: Option<Bound<'_, PyAny>>,
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
    let Some(threads) = NonZeroUsize::new(threads).filter(|threads| threads.get() < 256) else {
        return invalid(format!("threads must be 1 to 255, not {threads}"));
    };
    let measure: FlowMeasure = parse(by)?;
    if query.is_some() && (top.is_some() || update.is_some()) {
        return invalid("top and update cannot be used with query".to_owned());
    }
    if stream && (top.is_some() || query.is_some()) {
        return invalid("stream cannot be used with top and query".to_owned());
    }
    let options = TableOptions {
        layer_key,
        expire,
        update,
        ports,
        raw_packets,
        extra_layer,
        extra_tcp_metric,
        extra_rtt_metric,
        ip_defrag,
        reassemble_tcp: reassemble_tcp || measure == FlowMeasure::Retransmissions,
        max_bytes,
        recorded,
        key_ignore,
    };
    let mut settings = SourceSettings {
        merge,
        link_type: link_type.map(NumberOrName::parse).transpose()?,
        interface: interface.map(str::to_owned),
        filter: None,
    };
    let mut replay = Replay::new(options.parse()?).with_threads(threads);
    match bpf.map(filter).transpose()? {
        // COMPAT: the recorded values of Skydive, whose clock is driven only by packets that pass
        // the filter.
        Some(filter) if recorded => settings.filter = Some(filter),
        Some(filter) => replay = replay.with_filter(filter),
        None => {}
    }
    if let Some(query) = query {
        let query = query.str()?.to_cow()?.into_owned();
        let json = py.detach(|| answer(path.open(settings)?, &replay, &query))?;
        return Ok(loads(py, &json)?.unbind());
    }
    if stream {
        let flows = py.detach(|| FlowStream::start(path.open(settings)?, replay))?;
        return Ok(Py::new(py, flows)?.into_any());
    }
    let flows = py.detach(|| {
        let top = top.map(|top| (top, measure));
        read(&mut *path.open(settings)?, &replay, top)
    })?;
    Ok(Py::new(py, flows)?.into_any())
}

/// Reads a source and returns all flows, or the largest ones.
fn read(
    source: &mut dyn PacketSource,
    replay: &Replay,
    top: Option<(usize, FlowMeasure)>,
) -> PyResult<Flows> {
    let (flows, stats) = match top {
        Some((limit, measure)) => {
            let mut top = TopFlows::new(limit, measure);
            let stats = run(source, replay, &mut top)?;
            (top.into_flows(), stats)
        }
        None => {
            let mut batches = Batches::default();
            let stats = run(source, replay, &mut batches)?;
            (batches.into_flows(), stats)
        }
    };
    let packets = stats.packets.saturating_sub(stats.filtered);
    Ok(Flows::new(flows, packets))
}

/// Sink that collects batches, because a growing vector of all flows would be copied repeatedly.
#[derive(Default)]
struct Batches(Vec<Vec<Flow>>);

impl FlowSink for Batches {
    fn flows(&mut self, flows: Vec<Flow>) {
        self.0.push(flows);
    }
}

impl Batches {
    /// Returns all flows, in order.
    fn into_flows(self) -> Vec<Flow> {
        let mut flows = Vec::with_capacity(self.0.iter().map(Vec::len).sum());
        for batch in self.0 {
            flows.extend(batch);
        }
        flows
    }
}

/// Passes the flows of a source to a sink; stops at a signal such as Ctrl-C.
fn run(
    source: &mut dyn PacketSource,
    replay: &Replay,
    sink: &mut (dyn FlowSink + Send),
) -> PyResult<FlowTableStats> {
    interruptible(|interrupt| {
        let outcome = replay.run_while(source, sink, || !interrupt());
        outcome.map_err(|failure| from_capture(failure.into()))
    })
}

/// Returns the result of a query on the flows of a source, as JSON.
fn answer(mut source: Box<dyn PacketSource>, replay: &Replay, text: &str) -> PyResult<Vec<u8>> {
    gremlin::check(text)?;
    let flows: ReplayedFlows = interruptible(|interrupt| {
        let (flows, end) = replay.collect_while(&mut *source, || !interrupt());
        end.map_err(|failure| from_capture(CaptureError::from(failure)))?;
        Ok(flows)
    })?;
    // A capture file contains only flows, so the graph is empty.
    gremlin::run(text, &skylib::Graph::new(), &flows)
}
