//! `SflowSource`: the packets that sFlow agents sample, received over UDP.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use super::{Batch, CaptureError, CaptureStats, PacketSource};
use crate::export::{CounterSample, Export, FlowSample, Intake, IntakeLimits};
use crate::packet::{CapturePoint, LinkType, PacketBatch, PacketHeader};
use crate::sys::receive_drops::udp_receive_drops;
use crate::time::{Clock, SystemClock, Timestamp};

/// Packet source that receives the samples of sFlow agents.
///
/// The length of a packet is its frame length without the bytes that the agent has stripped. A
/// callback receives the counters of interfaces.
pub struct SflowSource {
    socket: UdpSocket,
    intake: Intake,
    on_counters: CounterHandler,
    datagram: Vec<u8>,
    /// Sampled Ethernet frames, and IP packets without link header.
    batches: [SampleBatch; 2],
    received: u64,
}

/// Callback for the counters of interfaces that agents send.
pub type CounterHandler = Box<dyn FnMut(&CounterSample<'_>) + Send>;

#[derive(Debug, Default)]
struct SampleBatch {
    buffer: Vec<u8>,
    headers: Vec<PacketHeader>,
}

impl SflowSource {
    /// Opens a UDP socket at an address, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// Returns an error if the address cannot be used, for example because the port is in use.
    pub fn open(address: SocketAddr, on_counters: CounterHandler) -> Result<Self, CaptureError> {
        let fail = |error| CaptureError::io(format!("receive sFlow at {address}"), error);
        Ok(Self {
            socket: UdpSocket::bind(address).map_err(fail)?,
            intake: Intake::new(IntakeLimits::default()),
            on_counters,
            datagram: vec![0; MAX_DATAGRAM],
            batches: Default::default(),
            received: 0,
        })
    }

    /// Returns the address of the socket.
    ///
    /// # Errors
    /// Returns the error of the system call, which does not occur in practice.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Receives a datagram; returns `false` if none arrived in time.
    fn receive(&mut self, wait: Duration) -> io::Result<bool> {
        self.socket.set_read_timeout(Some(wait.max(MIN_WAIT)))?;
        let (length, from) = match self.socket.recv_from(&mut self.datagram) {
            Ok(received) => received,
            Err(error) if is_harmless_receive_error(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        let now = SystemClock.now();
        let Self {
            intake,
            batches,
            on_counters,
            datagram,
            received,
            ..
        } = self;
        intake.datagram(
            from,
            &datagram[..length],
            now,
            &mut |_, export| match export {
                Export::Sample(sample) => {
                    *received += 1;
                    add_sample(batches, sample, now);
                }
                Export::Counters(sample) => on_counters(sample),
                _ => {}
            },
        );
        Ok(true)
    }
}

/// Adds the header of a sampled packet to the batch of its link type.
fn add_sample(batches: &mut [SampleBatch; 2], sample: &FlowSample<'_>, now: Timestamp) {
    const ETHERNET: u32 = 1;
    const IPV4: u32 = 11;
    const IPV6: u32 = 12;
    let Some(header) = sample.packet.header else {
        return;
    };
    let [ethernet, raw] = batches;
    let batch = match header.protocol {
        ETHERNET => ethernet,
        IPV4 | IPV6 => raw,
        _ => return,
    };
    let captured = header.bytes.len() as u32;
    let wire_len = header.frame_length.saturating_sub(header.stripped);
    batch.headers.push(PacketHeader {
        timestamp: now,
        offset: batch.buffer.len() as u32,
        captured_len: captured,
        wire_len: wire_len.max(captured),
        point: CapturePoint::ONLY,
    });
    batch.buffer.extend_from_slice(header.bytes);
}

impl PacketSource for SflowSource {
    fn link_type(&self) -> LinkType {
        LinkType::ETHERNET
    }

    fn next_batch(&mut self, wait: Duration) -> Result<Batch<'_>, CaptureError> {
        // If the last datagram filled both batches, the batch of IP packets has not been returned
        // yet.
        if self.batches[1].headers.is_empty() || self.batches[0].headers.is_empty() {
            self.batches.iter_mut().for_each(SampleBatch::clear);
            let received = self.receive(wait);
            let received = received.map_err(|error| CaptureError::io("receive sFlow", error))?;
            if !received {
                return Ok(Batch::Timeout);
            }
        } else {
            self.batches[0].clear();
        }
        let links = [LinkType::ETHERNET, LinkType::RAW];
        let filled = self
            .batches
            .iter()
            .zip(links)
            .find(|(batch, _)| !batch.headers.is_empty());
        Ok(match filled {
            None => Batch::Timeout,
            Some((batch, link_type)) => Batch::Packets(PacketBatch {
                link_type,
                buffer: &batch.buffer,
                headers: &batch.headers,
            }),
        })
    }

    /// Returns the number of samples, and the number of datagrams that the kernel has dropped.
    fn stats(&mut self) -> CaptureStats {
        CaptureStats {
            received: self.received,
            dropped: udp_receive_drops(&self.socket).unwrap_or(0),
            ..CaptureStats::default()
        }
    }
}

impl SampleBatch {
    fn clear(&mut self) {
        self.buffer.clear();
        self.headers.clear();
    }
}

impl std::fmt::Debug for SflowSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SflowSource")
            .field("socket", &self.socket)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

/// Returns whether receiving can continue after an error: a timeout, an interrupt, or an ICMP error
/// that arrived for a datagram of another socket on this port.
pub(crate) fn is_harmless_receive_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::TimedOut
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionRefused
    )
}

/// Maximum size of a datagram, in bytes.
const MAX_DATAGRAM: usize = 65_535;
/// Minimum wait; the system call has no timeout of zero.
const MIN_WAIT: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a datagram with one sample of an Ethernet frame and one of an IP packet.
    fn datagram() -> Vec<u8> {
        let mut words: Vec<u32> = vec![5, 1, 0xc000_0201, 0, 1, 1_000, 2];
        for (protocol, first) in [(1, 0x0200_0000), (11, 0x4500_0014)] {
            let header = [protocol, 1_518, 4, 64];
            let length = 4 * (8 + 2 + header.len() as u32 + 16);
            words.extend([1, length, 1, 1, 100, 100, 0, 1, 2, 1]);
            words.extend([1, 4 * (header.len() as u32 + 16)]);
            words.extend(header);
            words.push(first);
            words.extend([0; 15]);
        }
        words.into_iter().flat_map(u32::to_be_bytes).collect()
    }

    #[test]
    fn samples_are_packets_by_link_type() {
        let nothing: CounterHandler = Box::new(|_| {});
        let mut source = SflowSource::open("127.0.0.1:0".parse().unwrap(), nothing).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender
            .send_to(&datagram(), source.address().unwrap())
            .unwrap();
        for wanted in [LinkType::ETHERNET, LinkType::RAW] {
            let Batch::Packets(batch) = source.next_batch(Duration::from_secs(10)).unwrap() else {
                panic!("no packets");
            };
            assert_eq!(batch.link_type, wanted);
            let lengths: Vec<(usize, u32)> = batch
                .iter()
                .map(|packet| (packet.data.len(), packet.wire_len))
                .collect();
            assert_eq!(lengths, [(64, 1_514)]);
        }
        assert_eq!(source.stats().received, 2);
        let none = source.next_batch(Duration::ZERO).unwrap();
        assert!(matches!(none, Batch::Timeout));
    }

    #[test]
    fn datagrams_that_the_kernel_drops_are_counted() {
        let nothing: CounterHandler = Box::new(|_| {});
        let mut source = SflowSource::open("127.0.0.1:0".parse().unwrap(), nothing).unwrap();
        assert_eq!(source.stats().dropped, 0);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = source.address().unwrap();
        let sent = (0..5_000)
            .filter(|_| sender.send_to(&datagram(), address).is_ok())
            .count();
        while source.receive(Duration::ZERO).unwrap() {}
        let stats = source.stats();
        assert!(stats.dropped > 0, "{stats:?}");
        assert_eq!(stats.received / 2 + stats.dropped, sent as u64);
    }
}
