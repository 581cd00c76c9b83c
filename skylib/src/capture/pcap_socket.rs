//! `PcapSocket`: a TCP socket to which clients send capture files.
//!
//! Each connection sends one file, in any supported format. Its packets are replayed at the pace of
//! the file, with the time of their arrival. Connections are replayed in parallel, each by a thread
//! that waits while the reader is slow, so no packet is dropped. An invalid file ends only its own
//! connection.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{Batch, CaptureError, CaptureStats, PacketSource, Waker};
use crate::packet::{CapturePoint, LinkType, PacketBatch, PacketHeader};
use crate::pcap_file::CaptureReader;
use crate::time::{Clock, SystemClock, Timestamp};

/// Packet source that receives capture files over TCP.
#[derive(Debug)]
pub struct PcapSocket {
    address: SocketAddr,
    packets: Receiver<ReplayedPacket>,
    /// Channel to the reader, which a [`ReplayedPacket`] without data wakes.
    wake: Sender<ReplayedPacket>,
    stopping: Arc<AtomicBool>,
    buffer: Vec<u8>,
    headers: Vec<PacketHeader>,
    /// First packet of the next batch, whose link type differs from that of the current batch.
    next: Option<ReplayedPacket>,
    received: u64,
}

/// Packet received from a connection.
#[derive(Debug)]
struct ReplayedPacket {
    link_type: LinkType,
    wire_len: u32,
    /// Contents; `None` to wake the reader.
    data: Option<Vec<u8>>,
}

impl PcapSocket {
    /// Listens on the first free port of a range.
    ///
    /// # Errors
    /// Returns an error if no port of the range is free, or a thread cannot be started.
    pub fn listen(address: IpAddr, ports: RangeInclusive<u16>) -> Result<Self, CaptureError> {
        let fail = |error: io::Error| {
            let (first, last) = (ports.start(), ports.end());
            CaptureError::io(
                format!("listen on any port from {first} to {last} of {address}"),
                error,
            )
        };
        let mut outcome = Err(io::Error::from(io::ErrorKind::AddrInUse));
        for port in ports.clone() {
            outcome = TcpListener::bind((address, port));
            match &outcome {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                _ => break,
            }
        }
        let listener = outcome.map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let (wake, packets) = bounded(QUEUED_PACKETS);
        let stopping = Arc::new(AtomicBool::new(false));
        let acceptor = Acceptor {
            listener,
            packets: wake.clone(),
            stopping: Arc::clone(&stopping),
            connections: Arc::default(),
        };
        thread::Builder::new()
            .name("pcap-socket".to_owned())
            .stack_size(THREAD_STACK)
            .spawn(move || acceptor.run())
            .map_err(fail)?;
        Ok(Self {
            address,
            packets,
            wake,
            stopping,
            buffer: Vec::new(),
            headers: Vec::new(),
            next: None,
            received: 0,
        })
    }

    /// Returns the address of the socket.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a packet to the current batch.
    fn push(&mut self, packet: &ReplayedPacket, now: Timestamp) {
        let data = packet.data.as_deref().unwrap_or_default();
        self.headers.push(PacketHeader {
            timestamp: now,
            offset: self.buffer.len() as u32,
            captured_len: data.len() as u32,
            wire_len: packet.wire_len,
            point: CapturePoint::ONLY,
        });
        self.buffer.extend_from_slice(data);
    }
}

impl PacketSource for PcapSocket {
    fn link_type(&self) -> LinkType {
        LinkType::ETHERNET
    }

    fn next_batch(&mut self, wait: Duration) -> Result<Batch<'_>, CaptureError> {
        self.buffer.clear();
        self.headers.clear();
        let first = match self.next.take() {
            Some(packet) => packet,
            None => match self.packets.recv_timeout(wait) {
                Ok(packet) if packet.data.is_some() => packet,
                Ok(_) | Err(RecvTimeoutError::Timeout) => return Ok(Batch::Timeout),
                Err(RecvTimeoutError::Disconnected) => return Ok(Batch::End),
            },
        };
        let now = SystemClock.now();
        let link_type = first.link_type;
        self.push(&first, now);
        while self.headers.len() < MAX_BATCH && self.buffer.len() < MAX_BATCH_BYTES {
            match self.packets.try_recv() {
                Ok(packet) if packet.data.is_none() => {}
                Ok(packet) if packet.link_type == link_type => self.push(&packet, now),
                Ok(packet) => {
                    self.next = Some(packet);
                    break;
                }
                Err(_) => break,
            }
        }
        self.received += self.headers.len() as u64;
        Ok(Batch::Packets(PacketBatch {
            link_type,
            buffer: &self.buffer,
            headers: &self.headers,
        }))
    }

    fn stats(&mut self) -> CaptureStats {
        CaptureStats {
            received: self.received,
            ..CaptureStats::default()
        }
    }

    fn waker(&self) -> Waker {
        let wake = self.wake.clone();
        Waker::new(move || {
            let packet = ReplayedPacket {
                link_type: LinkType::ETHERNET,
                wire_len: 0,
                data: None,
            };
            // A full queue wakes the reader as well.
            wake.try_send(packet).ok();
        })
    }
}

impl Drop for PcapSocket {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// Accepts connections, until the source is dropped.
struct Acceptor {
    listener: TcpListener,
    packets: Sender<ReplayedPacket>,
    stopping: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
}

impl Acceptor {
    fn run(self) {
        while !self.stopping.load(Ordering::Relaxed) {
            match self.listener.accept() {
                Ok((stream, _)) => self.serve(stream),
                // No connection is waiting, or accepting a connection failed.
                Err(_) => thread::sleep(POLL),
            }
        }
    }

    /// Starts to replay a connection, unless there are too many.
    fn serve(&self, stream: TcpStream) {
        if self.connections.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let (packets, stopping) = (self.packets.clone(), Arc::clone(&self.stopping));
        let connections = Arc::clone(&self.connections);
        let started = thread::Builder::new()
            .name("pcap-client".to_owned())
            .spawn(move || {
                replay(stream, &packets, &stopping);
                connections.fetch_sub(1, Ordering::Relaxed);
            });
        if started.is_err() {
            self.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Passes the packets of a connection to the reader, at the pace of the file. Returns at the end of
/// the file, at the first damage, or when the source is dropped.
fn replay(stream: TcpStream, packets: &Sender<ReplayedPacket>, stopping: &AtomicBool) {
    let is_set = stream.set_nonblocking(false).is_ok()
        && stream.set_read_timeout(Some(IDLE_TIMEOUT)).is_ok();
    let Some(mut reader) = is_set
        .then(|| CaptureReader::new(stream))
        .and_then(Result::ok)
    else {
        return;
    };
    let mut last: Option<Timestamp> = None;
    while let Ok(Some(batch)) = reader.next_batch() {
        for packet in batch.iter() {
            let gap = last.map_or(Duration::ZERO, |last| packet.timestamp.duration_since(last));
            last = Some(packet.timestamp);
            if !pause(gap.min(MAX_GAP), stopping) {
                return;
            }
            let mut replayed = ReplayedPacket {
                link_type: packet.link_type,
                wire_len: packet.wire_len,
                data: Some(packet.data.to_vec()),
            };
            // Waits while the reader is slow, but not after it has ended.
            loop {
                match packets.send_timeout(replayed, POLL) {
                    Ok(()) => break,
                    Err(error) if error.is_timeout() && !stopping.load(Ordering::Relaxed) => {
                        replayed = error.into_inner();
                    }
                    Err(_) => return,
                }
            }
        }
    }
}

/// Waits; returns `false` if the source was dropped.
fn pause(gap: Duration, stopping: &AtomicBool) -> bool {
    let mut left = gap;
    while !left.is_zero() && !stopping.load(Ordering::Relaxed) {
        let step = left.min(POLL);
        thread::sleep(step);
        left -= step;
    }
    !stopping.load(Ordering::Relaxed)
}

/// Maximum number of packets queued between the connections and the reader.
const QUEUED_PACKETS: usize = 1_024;
/// Maximum number of packets of one batch.
const MAX_BATCH: usize = 1_024;
/// Size at which a batch is complete, in bytes.
const MAX_BATCH_BYTES: usize = 1 << 20;
/// Maximum number of connections at the same time.
const MAX_CONNECTIONS: usize = 16;
/// Idle time after which a connection is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum pause between two replayed packets; longer gaps in the file are shortened.
const MAX_GAP: Duration = Duration::from_secs(60);
/// Interval at which the threads check whether the source was dropped.
const POLL: Duration = Duration::from_millis(50);
/// Stack size of the thread that accepts connections, in bytes.
const THREAD_STACK: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::Ipv4Addr;

    use super::*;
    use crate::packet::PacketRef;
    use crate::pcap_file::{PcapWriter, Resolution};

    const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn file(link_type: LinkType, times_ms: &[i64]) -> Vec<u8> {
        let mut writer = PcapWriter::new(Vec::new(), link_type, Resolution::Nanoseconds).unwrap();
        for ms in times_ms {
            let packet = PacketRef {
                link_type,
                timestamp: Timestamp::from_ms(*ms),
                data: &[7; 60],
                wire_len: 1_500,
            };
            writer.write(&packet).unwrap();
        }
        writer.into_inner()
    }

    fn send(socket: &PcapSocket, bytes: &[u8]) {
        let mut stream = TcpStream::connect(socket.address()).unwrap();
        stream.write_all(bytes).unwrap();
    }

    /// Returns the times and link types of `count` packets.
    fn take(socket: &mut PcapSocket, count: usize) -> Vec<(i64, LinkType)> {
        let mut packets = Vec::new();
        while packets.len() < count {
            match socket.next_batch(Duration::from_secs(10)).unwrap() {
                Batch::Packets(batch) => packets.extend(batch.iter().map(|packet| {
                    assert_eq!((packet.data.len(), packet.wire_len), (60, 1_500));
                    (packet.timestamp.as_ms(), packet.link_type)
                })),
                other => panic!("{other:?}"),
            }
        }
        packets
    }

    #[test]
    fn files_are_replayed_at_their_pace_and_an_invalid_one_ends_alone() {
        let mut socket = PcapSocket::listen(LOCALHOST, 0..=0).unwrap();
        send(&socket, b"GET / HTTP/1.1\r\n\r\n");
        let before = SystemClock.now().as_ms();
        send(&socket, &file(LinkType::ETHERNET, &[5_000, 5_000, 5_300]));
        let packets = take(&mut socket, 3);
        assert!(packets[0].0 >= before, "times are those of the arrival");
        assert!(packets[2].0 - before >= 300, "{packets:?}");
        send(&socket, &file(LinkType::RAW, &[1]));
        assert_eq!(take(&mut socket, 1)[0].1, LinkType::RAW);
        assert_eq!(socket.stats().received, 4);
    }

    #[test]
    fn a_second_socket_has_the_next_port() {
        let first = PcapSocket::listen(LOCALHOST, 0..=0).unwrap();
        let port = first.address().port();
        let range = port..=port.saturating_add(20);
        let second = PcapSocket::listen(LOCALHOST, range).unwrap();
        assert_ne!(second.address().port(), port);
        let error = PcapSocket::listen(LOCALHOST, port..=port).unwrap_err();
        assert!(
            error.to_string().contains("cannot listen on any port"),
            "{error}"
        );
    }

    #[test]
    fn a_waiting_reader_is_woken() {
        let mut socket = PcapSocket::listen(LOCALHOST, 0..=0).unwrap();
        socket.waker().wake();
        let batch = socket.next_batch(Duration::from_secs(60)).unwrap();
        assert!(matches!(batch, Batch::Timeout));
    }
}
