//! `Collector`: one socket that receives flow exports, and its thread.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::nodes::ExporterNodes;
use super::options::CollectorOptions;
use crate::back_off::BackOff;
use crate::capture::is_harmless_receive_error;
use crate::engine::flow::FlowHub;
use crate::engine::monotonic;
use crate::engine::query::QueryRunner;
use crate::export::{
    Export, ExportCounters, FlowRecord, FlowSample, Intake, IntakeLimits, IntakeStats, RecordOrigin,
};
use crate::flow::{ExportTable, ExportTableOptions, ExportTableStats, Flow, FlowTableOptions};
use crate::sys::receive_drops::udp_receive_drops;
use crate::time::{Clock, Timestamp};

/// State and counters of a collector.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CollectorStatus {
    /// Address of the socket, such as `0.0.0.0:2055`.
    pub listen: String,
    /// Error that prevents the collector from receiving, which it retries; `None` while it
    /// receives.
    pub error: Option<String>,
    /// Number of failed attempts to open the socket or to receive.
    pub failures: u64,
    /// Number of datagrams of senders that are not allowed.
    pub not_allowed: u64,
    /// Number of datagrams that were truncated because they were longer than the buffer.
    pub cut: u64,
    /// Number of datagrams that the kernel has dropped because the receive buffer was full.
    pub kernel_dropped: u64,
    /// Counters of the decoder.
    pub intake: IntakeStats,
    /// Number of data sets that wait for their template.
    pub waiting_sets: u64,
    /// Counters of the flow table.
    pub flows: ExportTableStats,
}

/// A socket that receives flow exports.
pub(in crate::engine) struct Collector {
    options: CollectorOptions,
    table: FlowTableOptions,
    flows: Arc<FlowHub>,
    queries: QueryRunner,
    clock: Arc<dyn Clock>,
    host: String,
    status: Mutex<CollectorStatus>,
    stopping: AtomicBool,
}

/// State of the thread.
struct Reader<'c> {
    collector: &'c Collector,
    intake: Intake,
    table: ExportTable,
    nodes: ExporterNodes,
    /// Flows to be sent at the next tick.
    flows: Vec<Flow>,
    /// Time of the last tick.
    ticked: Timestamp,
}

impl Collector {
    pub(in crate::engine) fn new(
        options: CollectorOptions,
        table: FlowTableOptions,
        queries: &QueryRunner,
        host: &str,
    ) -> Self {
        let status = CollectorStatus {
            listen: options.listen.to_string(),
            ..CollectorStatus::default()
        };
        Self {
            options,
            table,
            flows: Arc::clone(&queries.flows),
            queries: queries.clone(),
            clock: Arc::clone(&queries.clock),
            host: host.to_owned(),
            status: Mutex::new(status),
            stopping: AtomicBool::new(false),
        }
    }

    /// Returns the state and the counters.
    pub(in crate::engine) fn status(&self) -> CollectorStatus {
        self.status.lock().clone()
    }

    /// Ends the thread within [`WAIT`].
    pub(in crate::engine) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Receives datagrams until [`Collector::stop`] is called; the body of a thread.
    pub(in crate::engine) fn run(&self) {
        let mut reader = Reader {
            collector: self,
            intake: Intake::new(IntakeLimits::default()),
            table: ExportTable::new(self.table_options()),
            nodes: ExporterNodes::new(&self.queries, &self.host),
            flows: Vec::new(),
            ticked: self.clock.now(),
        };
        let mut back_off = BackOff::new(FIRST_PAUSE, MAX_PAUSE);
        while !self.is_stopping() {
            let result = self.open().and_then(|socket| {
                self.set_open(&socket);
                reader.receive(&socket, &mut back_off)
            });
            if let Err(error) = result {
                self.set_failed(&error);
                reader.pause(back_off.next(0));
            }
        }
        reader.end();
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn set_open(&self, socket: &UdpSocket) {
        let mut status = self.status.lock();
        status.error = None;
        if let Ok(address) = socket.local_addr() {
            status.listen = address.to_string();
            tracing::info!(%address, "receiving flow exports");
        }
    }

    /// Records a failure, and logs it if it is the first since flow exports were received.
    fn set_failed(&self, error: &io::Error) {
        let text = format!(
            "cannot receive flow exports at {}: {error}; retrying",
            self.options.listen
        );
        let mut status = self.status.lock();
        status.failures += 1;
        if status.error.as_ref() != Some(&text) {
            tracing::error!("{text}");
        }
        status.error = Some(text);
    }

    fn table_options(&self) -> ExportTableOptions {
        let mut options = ExportTableOptions::default();
        options.expiry = self.table.expiry_interval;
        options.table = self.table.clone();
        options.scale = self.options.scale;
        options
    }

    fn open(&self) -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind(self.options.listen)?;
        socket.set_read_timeout(Some(WAIT))?;
        let wanted = self.options.receive_buffer;
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, wanted)?;
        // The kernel reports twice the size, because of its own data.
        let actual = rustix::net::sockopt::socket_recv_buffer_size(&socket)? / 2;
        if actual < wanted {
            tracing::warn!(
                wanted,
                actual,
                "the receive buffer of the collector is smaller than configured: raise net.core.rmem_max"
            );
        }
        Ok(socket)
    }
}

impl Reader<'_> {
    /// Receives datagrams until the collector is stopped.
    ///
    /// # Errors
    /// Returns the error with which receiving failed.
    fn receive(&mut self, socket: &UdpSocket, back_off: &mut BackOff) -> io::Result<()> {
        let mut buffer = vec![0; MAX_DATAGRAM + 1];
        while !self.collector.is_stopping() {
            match socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    back_off.reset();
                    self.datagram(&buffer[..length], from);
                }
                Err(error) if is_harmless_receive_error(&error) => {}
                Err(error) => return Err(error),
            }
            self.tick_if_due(Some(socket));
        }
        Ok(())
    }

    /// Waits until the next attempt to receive; flows of earlier datagrams are still sent.
    fn pause(&mut self, pause: Duration) {
        let until = monotonic::now() + pause;
        while monotonic::now() < until && !self.collector.is_stopping() {
            std::thread::park_timeout(WAIT.min(until - monotonic::now()));
            self.tick_if_due(None);
        }
    }

    fn tick_if_due(&mut self, socket: Option<&UdpSocket>) {
        let now = self.collector.clock.now();
        if now.duration_since(self.ticked) >= TICK || now < self.ticked {
            self.ticked = now;
            self.tick(socket, now);
        }
    }

    /// Sends the flows of the table and deletes the nodes of exporters.
    fn end(mut self) {
        self.table.flush(&mut self.flows);
        self.send();
        self.nodes.delete();
    }

    fn datagram(&mut self, datagram: &[u8], from: SocketAddr) {
        let Self {
            collector,
            intake,
            table,
            nodes,
            flows,
            ..
        } = self;
        let options = &collector.options;
        if !options.allows(from.ip()) {
            collector.status.lock().not_allowed += 1;
            return;
        }
        if datagram.len() > MAX_DATAGRAM {
            collector.status.lock().cut += 1;
        }
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let now = collector.clock.now();
        intake.datagram(from, datagram, now, &mut |origin, export| match export {
            Export::Flow(record) => {
                add_record(record, origin, options, table, nodes, now, flows);
            }
            Export::Sample(sample) => {
                add_record(
                    &record_of(sample),
                    origin,
                    options,
                    table,
                    nodes,
                    now,
                    flows,
                );
            }
            Export::Counters(sample) => nodes.add_counters(origin, sample, options, now),
            Export::Option(option) => {
                if let Some(interface) = option.interface {
                    nodes.name_interface(origin, interface, options, now);
                }
            }
            _ => {}
        });
    }

    /// Sends flows and publishes nodes and counters.
    fn tick(&mut self, socket: Option<&UdpSocket>, now: Timestamp) {
        self.intake.expire(now);
        self.table.tick(now, &mut self.flows);
        self.send();
        let intake = &self.intake;
        let figures = |address: IpAddr| intake.exporter(address);
        self.nodes.publish(figures, &self.collector.options, now);
        let mut status = self.collector.status.lock();
        status.intake = self.intake.stats();
        status.waiting_sets = self.intake.waiting_sets() as u64;
        status.flows = self.table.stats();
        if let Some(dropped) = socket.and_then(udp_receive_drops) {
            status.kernel_dropped = dropped;
        }
    }

    fn send(&mut self) {
        let flows = std::mem::take(&mut self.flows);
        if !flows.is_empty() {
            self.collector.flows.push_remote(flows);
        }
    }
}

/// Adds a record to the table, with the node of its interface.
fn add_record(
    record: &FlowRecord<'_>,
    origin: &RecordOrigin,
    options: &CollectorOptions,
    table: &mut ExportTable,
    nodes: &mut ExporterNodes,
    now: Timestamp,
    flows: &mut Vec<Flow>,
) {
    const EGRESS: Option<u8> = Some(1);
    let input = record.input.unwrap_or(0);
    let index = if record.direction == EGRESS || input == 0 {
        record.output.unwrap_or(0)
    } else {
        input
    };
    let tid = nodes.tid_of(origin, index, options, now);
    if record.sampling.is_some() {
        table.add(origin, record, &tid, now, flows);
        return;
    }
    match options.rate_of(origin.exporter) {
        None => table.add(origin, record, &tid, now, flows),
        rate => {
            let mut record = record.clone();
            record.sampling = rate;
            table.add(origin, &record, &tid, now, flows);
        }
    }
}

/// Returns the record of a sampled packet: a flow of one packet.
fn record_of(sample: &FlowSample<'_>) -> FlowRecord<'static> {
    let packet = &sample.packet;
    let summary = packet.summary();
    let length = packet.header.map(|header| header.frame_length);
    let index = |interface: crate::export::SflowInterface| {
        Some(interface.value).filter(|_| interface.format == 0)
    };
    let mut counters = ExportCounters::of_packet(length.or(packet.decoded_length));
    counters.tcp_flags = summary.tcp_flags.map(u16::from);
    FlowRecord {
        src: summary.src,
        dst: summary.dst,
        src_port: summary.src_port,
        dst_port: summary.dst_port,
        protocol: summary.protocol,
        tos: summary.tos,
        counters,
        src_mac: summary.src_mac,
        dst_mac: summary.dst_mac,
        vlan: summary.vlan,
        icmp_type: summary.icmp_type,
        icmp_code: summary.icmp_code,
        input: index(sample.input),
        output: index(sample.output),
        next_hop: packet.next_hop,
        src_as: packet.src_as,
        dst_as: packet.dst_as,
        sampling: Some(u64::from(sample.rate.max(1))),
        ..FlowRecord::default()
    }
}

/// Maximum size of a datagram, in bytes: a jumbo frame.
const MAX_DATAGRAM: usize = 9_216;
/// Interval at which flows are sent and nodes are updated.
const TICK: Duration = Duration::from_secs(1);
/// Time after the first failure to receive, and maximum time between two attempts; the pause is half
/// of it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Maximum time that the thread waits for a datagram.
const WAIT: Duration = Duration::from_millis(200);
