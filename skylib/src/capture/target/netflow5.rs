//! `NetFlow5Sink`: sends flows as NetFlow 5 to a collector.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use super::TargetCounters;
use crate::capture::CaptureError;
use crate::flow::{Flow, FlowSink};
use crate::time::{Clock, Timestamp};

/// Writer of NetFlow 5 datagrams.
///
/// Each direction of a flow that has packets since the last update is one record, because NetFlow 5
/// has no bidirectional records. Flows that are not IPv4 are skipped and counted.
///
/// ```
/// use skylib::capture::NetFlow5Encoder;
/// use skylib::flow::Flow;
/// use skylib::time::Timestamp;
/// let mut encoder = NetFlow5Encoder::new(Timestamp::from_ms(1_000));
/// let datagrams = encoder.encode(&[Flow::default()], Timestamp::from_ms(2_000));
/// assert!(datagrams.is_empty(), "no IPv4 addresses");
/// ```
#[derive(Clone, Debug)]
pub struct NetFlow5Encoder {
    /// Start of the export, to which the times of flows refer.
    started_at: Timestamp,
    /// Number of records sent so far.
    sequence: u32,
    /// Number of flows that were skipped so far.
    skipped: u64,
}

/// Flow sink that sends the flows of a capture to a collector as NetFlow 5 datagrams.
pub struct NetFlow5Sink {
    socket: UdpSocket,
    encoder: NetFlow5Encoder,
    clock: Arc<dyn Clock>,
    counters: Arc<TargetCounters>,
}

/// One direction of a flow.
struct Direction {
    src: Ipv4Addr,
    dst: Ipv4Addr,
    src_port: u16,
    dst_port: u16,
    packets: u32,
    bytes: u32,
    tcp_flags: u8,
}

impl NetFlow5Encoder {
    /// Returns a writer for an export that starts at `started_at`.
    #[must_use]
    pub const fn new(started_at: Timestamp) -> Self {
        Self {
            started_at,
            sequence: 0,
            skipped: 0,
        }
    }

    /// Returns the number of flows skipped so far: those without IPv4 addresses.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Returns the datagrams with the records of flows, at most 20 in each.
    pub fn encode(&mut self, flows: &[Flow], now: Timestamp) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        for flow in flows {
            match ends_of(flow) {
                Some(ends) => self.add_flow(flow, ends, now, &mut records),
                None => self.skipped += 1,
            }
        }
        let mut datagrams = Vec::new();
        for chunk in records.chunks(MAX_RECORDS) {
            let mut datagram = self.header(chunk.len() as u16, now);
            chunk.iter().for_each(|record| datagram.extend(record));
            self.sequence = self.sequence.wrapping_add(chunk.len() as u32);
            datagrams.push(datagram);
        }
        datagrams
    }

    fn header(&self, count: u16, now: Timestamp) -> Vec<u8> {
        let mut header = Vec::with_capacity(24 + RECORD * usize::from(count));
        let (seconds, ns) = (now.as_ms() / 1_000, now.as_ns().rem_euclid(1_000_000_000));
        header.extend(5_u16.to_be_bytes());
        header.extend(count.to_be_bytes());
        header.extend(self.uptime(now).to_be_bytes());
        header.extend((seconds as u32).to_be_bytes());
        header.extend((ns as u32).to_be_bytes());
        header.extend(self.sequence.to_be_bytes());
        // Engine type and number, as in Skydive; no sampling.
        header.extend([0, 1, 0, 0]);
        header
    }

    /// Returns the milliseconds since the start of the export; 0 for an earlier time.
    fn uptime(&self, time: Timestamp) -> u32 {
        // Wraps after 49 days, as the uptime of a router does.
        time.duration_since(self.started_at).as_millis() as u32
    }

    /// Adds the records of both directions of a flow between two ends.
    fn add_flow(
        &self,
        flow: &Flow,
        (a, b): (Ipv4Addr, Ipv4Addr),
        now: Timestamp,
        records: &mut Vec<[u8; RECORD]>,
    ) {
        let metric = flow.last_update_metric.or(flow.metric).unwrap_or_default();
        let port = |port: i64| u16::try_from(port).unwrap_or(0);
        let transport = flow.transport.as_ref();
        let (a_port, b_port) = transport.map_or((0, 0), |t| (port(t.a), port(t.b)));
        let flags = |syn, fin, rst| tcp_flags(syn, fin, rst);
        let tcp = flow.tcp_metric.as_ref();
        let header = if flow.link.is_some() { ETHERNET } else { 0 };
        let ab = counters(metric.ab_packets, metric.ab_bytes, header);
        let ba = counters(metric.ba_packets, metric.ba_bytes, header);
        let directions = [
            Direction {
                src: a,
                dst: b,
                src_port: a_port,
                dst_port: b_port,
                packets: ab.0,
                bytes: ab.1,
                tcp_flags: tcp.map_or(0, |t| flags(t.ab_syn_start, t.ab_fin_start, t.ab_rst_start)),
            },
            Direction {
                src: b,
                dst: a,
                src_port: b_port,
                dst_port: a_port,
                packets: ba.0,
                bytes: ba.1,
                tcp_flags: tcp.map_or(0, |t| flags(t.ba_syn_start, t.ba_fin_start, t.ba_rst_start)),
            },
        ];
        let protocol = protocol_of(flow);
        let times = (
            Timestamp::from_ms(metric.start),
            Timestamp::from_ms(metric.last).min(now),
        );
        let seen = directions.iter().filter(|direction| direction.packets > 0);
        records.extend(seen.map(|direction| self.record(direction, protocol, times)));
    }

    fn record(
        &self,
        direction: &Direction,
        protocol: u8,
        (first, last): (Timestamp, Timestamp),
    ) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            record[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&direction.src.octets());
        put(&direction.dst.octets());
        // Next hop and interfaces are unknown.
        put(&[0; 8]);
        put(&direction.packets.to_be_bytes());
        put(&direction.bytes.to_be_bytes());
        put(&self.uptime(first).to_be_bytes());
        put(&self.uptime(last).to_be_bytes());
        put(&direction.src_port.to_be_bytes());
        put(&direction.dst_port.to_be_bytes());
        put(&[0, direction.tcp_flags, protocol, 0]);
        record
    }
}

/// Returns the ends of a flow; `None` unless both are IPv4 addresses.
fn ends_of(flow: &Flow) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let network = flow.network.as_ref()?;
    Some((network.a.parse().ok()?, network.b.parse().ok()?))
}

/// Returns the packets and bytes of a direction, without the link header of each packet.
fn counters(packets: i64, bytes: i64, header: u64) -> (u32, u32) {
    let headers = header * u64::try_from(packets).unwrap_or(0);
    let bytes = u64::try_from(bytes).unwrap_or(0).saturating_sub(headers);
    let limited = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    (u32::try_from(packets).unwrap_or(u32::MAX), limited(bytes))
}

/// Returns the TCP flags of which a flow has recorded the time.
const fn tcp_flags(syn: i64, fin: i64, rst: i64) -> u8 {
    const FIN: u8 = 1;
    const SYN: u8 = 2;
    const RST: u8 = 4;
    let mut flags = 0;
    if fin != 0 {
        flags |= FIN;
    }
    if syn != 0 {
        flags |= SYN;
    }
    if rst != 0 {
        flags |= RST;
    }
    flags
}

/// Returns the IP protocol number of a flow.
fn protocol_of(flow: &Flow) -> u8 {
    if let Some(wire) = &flow.wire
        && let Ok(protocol @ 1..) = u8::try_from(wire.ip_protocol)
    {
        return protocol;
    }
    let layers = flow.layers_path.rsplit('/');
    let mut known = layers.filter_map(|layer| match layer {
        "TCP" => Some(6),
        "UDP" => Some(17),
        "ICMPv4" => Some(1),
        "SCTP" => Some(132),
        "GRE" => Some(47),
        _ => None,
    });
    known.next().unwrap_or(0)
}

impl NetFlow5Sink {
    /// Opens a socket that sends to a collector.
    ///
    /// # Errors
    /// Returns an error if no socket can be opened.
    pub fn open(target: SocketAddr, clock: Arc<dyn Clock>) -> Result<Self, CaptureError> {
        let any: IpAddr = if target.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        };
        let open = || {
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect(target)?;
            Ok(socket)
        };
        let socket = open().map_err(|error: std::io::Error| {
            CaptureError::io(format!("send NetFlow to {target}"), error)
        })?;
        Ok(Self {
            socket,
            encoder: NetFlow5Encoder::new(clock.now()),
            clock,
            counters: Arc::default(),
        })
    }

    /// Returns the counters of datagrams that could not be sent, and of flows that were skipped.
    #[must_use]
    pub fn counters(&self) -> Arc<TargetCounters> {
        Arc::clone(&self.counters)
    }
}

impl std::fmt::Debug for NetFlow5Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetFlow5Sink")
            .field("socket", &self.socket)
            .field("encoder", &self.encoder)
            .finish_non_exhaustive()
    }
}

impl FlowSink for NetFlow5Sink {
    fn flows(&mut self, flows: Vec<Flow>) {
        let skipped = self.encoder.skipped();
        for datagram in self.encoder.encode(&flows, self.clock.now()) {
            // An absent collector must not end the capture.
            if self.socket.send(&datagram).is_err() {
                self.counters.add_error();
            }
        }
        self.counters.add_skipped(self.encoder.skipped() - skipped);
    }
}

/// Maximum number of records in a datagram. COMPAT: Skydive's maximum; the format allows 30.
const MAX_RECORDS: usize = 20;
/// Length of a record, in bytes.
const RECORD: usize = 48;
/// Length of an Ethernet header, which NetFlow does not count, in bytes.
const ETHERNET: u64 = 14;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{Export, Intake, IntakeLimits};
    use crate::flow::{FlowTable, FlowTableOptions};
    use crate::packet::{CapturePoint, LinkType, PacketBatch, PacketHeader};

    const START: Timestamp = Timestamp::from_ms(1_700_000_000_000);

    /// Returns the flows of UDP or TCP packets from port 1000 to 53, and one answer.
    fn flows(protocol: u8, count: usize) -> Vec<Flow> {
        let mut table = FlowTable::new(FlowTableOptions::default());
        let mut process = |src: u8, dst: u8, ports: [u16; 2]| {
            let mut frame = vec![2; 12];
            frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0]);
            frame.extend([10, 0, 0, src, 10, 0, 0, dst]);
            frame.extend(ports.into_iter().flat_map(u16::to_be_bytes));
            frame.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0]);
            let headers = [PacketHeader {
                timestamp: START,
                offset: 0,
                captured_len: frame.len() as u32,
                wire_len: 114,
                point: CapturePoint::ONLY,
            }];
            table.process(&PacketBatch {
                link_type: LinkType::ETHERNET,
                buffer: &frame,
                headers: &headers,
            });
        };
        for port in 0..count as u16 {
            process(1, 2, [1_000 + port, 53]);
            process(1, 2, [1_000 + port, 53]);
            process(2, 1, [53, 1_000 + port]);
        }
        let mut flows = Vec::new();
        table.flush(&mut flows);
        flows
    }

    #[test]
    fn a_collector_reads_what_was_written() {
        for (protocol, count) in [(17, 1), (6, 1), (17, 15)] {
            let mut encoder = NetFlow5Encoder::new(Timestamp::from_ms(START.as_ms() - 5_000));
            let now = Timestamp::from_ms(START.as_ms() + 1_000);
            let datagrams = encoder.encode(&flows(protocol, count), now);
            assert_eq!(datagrams.len(), (2 * count).div_ceil(20));
            let mut intake = Intake::new(IntakeLimits::default());
            let mut records = Vec::new();
            for datagram in &datagrams {
                let from = "192.0.2.1:2055".parse().unwrap();
                intake.datagram(from, datagram, now, &mut |origin, export| {
                    assert_eq!((origin.domain, origin.exported_at), (1, now));
                    if let Export::Flow(flow) = export {
                        let bytes = flow.counters.bytes;
                        records.push((flow.src_port, flow.counters.packets, bytes));
                        assert_eq!(flow.protocol, Some(protocol));
                        assert_eq!(flow.first, Some(START));
                    }
                });
            }
            let stats = intake.stats();
            assert_eq!((stats.malformed, stats.lost), (0, 0));
            assert_eq!(records.len(), 2 * count);
            assert!(
                records.contains(&(Some(1_000), Some(2), Some(200))),
                "{records:?}"
            );
            assert!(records.contains(&(Some(53), Some(1), Some(100))));
        }
    }

    #[test]
    fn only_ipv4_flows_are_sent() {
        let mut flow = flows(17, 1).remove(0);
        let mut network = flow.network.take().unwrap();
        network.a = "2001:db8::1".into();
        flow.network = Some(network);
        let mut encoder = NetFlow5Encoder::new(START);
        assert!(encoder.encode(&[flow, Flow::default()], START).is_empty());
        assert_eq!(encoder.skipped(), 2);
    }

    #[test]
    fn what_is_not_sent_is_counted() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let clock = Arc::new(crate::time::SystemClock);
        let mut sink = NetFlow5Sink::open(receiver.local_addr().unwrap(), clock).unwrap();
        let counters = sink.counters();
        sink.flows(flows(17, 1));
        sink.flows(vec![Flow::default()]);
        let stats = counters.stats();
        assert_eq!((stats.errors, stats.skipped), (0, 1));
        drop(receiver);
        // The answer of the kernel to the first datagram, that there is no receiver, fails the next.
        for _ in 0..3 {
            sink.flows(flows(17, 1));
        }
        assert!(counters.stats().errors > 0);
    }
}
