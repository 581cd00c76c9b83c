//! `ErspanForwarder`: sends captured packets to an analyzer, in ERSPAN type II.
//!
//! Format: GRE with sequence numbers (RFC 2890) around the ERSPAN header version 1
//! (draft-foschiano-erspan), followed by the frame.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{
    AddressFamily, Protocol, RawProtocol, SendFlags, SocketFlags, SocketType, sendto, socket_with,
};

use crate::capture::{Batch, CaptureError, CaptureStats, PacketSource, Waker};
use crate::packet::{LinkType, PacketRef};

/// Packet source that sends the packets of another source to an ERSPAN receiver and returns none of
/// them.
pub struct ErspanForwarder<S> {
    source: S,
    socket: OwnedFd,
    target: Ipv4Addr,
    /// Index of the captured interface.
    index: u32,
    sequence: u32,
    /// Number of packets that could not be sent.
    failed: u64,
    packet: Vec<u8>,
}

impl<S: PacketSource> ErspanForwarder<S> {
    /// Opens a raw socket, in the namespace of the calling thread, that sends to `target`. `index`
    /// is the index of the captured interface.
    ///
    /// # Errors
    /// Returns an error if the process lacks `CAP_NET_RAW`.
    pub fn open(source: S, target: Ipv4Addr, index: u32) -> Result<Self, CaptureError> {
        // With this protocol, the packet begins with its IP header, and nothing is received.
        let raw = RawProtocol::new(IPPROTO_RAW).map(Protocol::from_raw);
        let socket = socket_with(
            AddressFamily::INET,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            raw,
        );
        let socket = socket.map_err(|error| {
            CaptureError::io(format!("send ERSPAN to {target}"), io::Error::from(error))
        })?;
        Ok(Self {
            source,
            socket,
            target,
            index,
            sequence: 0,
            failed: 0,
            packet: Vec::new(),
        })
    }
}

/// Writes the headers and the frame of a mirrored packet.
fn write_packet(
    packet: &mut Vec<u8>,
    mirrored: &PacketRef<'_>,
    target: Ipv4Addr,
    index: u32,
    sequence: u32,
) {
    const GRE: u8 = 47;
    const TTL: u8 = 64;
    packet.clear();
    // The kernel fills in the length, the identification, the checksum, and the source address.
    packet.extend([0x45, 0, 0, 0, 0, 0, 0, 0, TTL, GRE, 0, 0, 0, 0, 0, 0]);
    packet.extend(target.octets());
    // GRE with a sequence number: receivers would interpret a packet without one as type I.
    packet.extend([0x10, 0, 0x88, 0xbe]);
    packet.extend(sequence.to_be_bytes());
    // Version 1, VLAN 0; class of service 0, a VLAN tag is in the frame (3), truncation, and
    // session 1.
    let truncated = u16::from((mirrored.data.len() as u64) < u64::from(mirrored.wire_len));
    packet.extend(0x1000_u16.to_be_bytes());
    packet.extend((3 << 11 | truncated << 10 | SESSION).to_be_bytes());
    packet.extend((index & 0x000f_ffff).to_be_bytes());
    packet.extend_from_slice(mirrored.data);
}

impl<S: PacketSource> PacketSource for ErspanForwarder<S> {
    fn link_type(&self) -> LinkType {
        self.source.link_type()
    }

    fn next_batch(&mut self, wait: Duration) -> Result<Batch<'_>, CaptureError> {
        let Self {
            source,
            socket,
            target,
            index,
            sequence,
            failed,
            packet,
        } = self;
        let address = SocketAddrV4::new(*target, 0);
        match source.next_batch(wait)? {
            Batch::Packets(batch) => {
                for mirrored in batch.iter() {
                    write_packet(packet, &mirrored, *target, *index, *sequence);
                    *sequence = sequence.wrapping_add(1);
                    let sent = sendto(&*socket, packet, SendFlags::empty(), &address);
                    *failed += u64::from(sent.is_err());
                }
                Ok(Batch::Timeout)
            }
            Batch::Timeout => Ok(Batch::Timeout),
            Batch::End => Ok(Batch::End),
        }
    }

    /// Returns the counters of the source; packets that could not be sent are counted as dropped.
    fn stats(&mut self) -> CaptureStats {
        let mut stats = self.source.stats();
        stats.dropped += self.failed;
        stats
    }

    fn waker(&self) -> Waker {
        self.source.waker()
    }
}

impl<S> std::fmt::Debug for ErspanForwarder<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ErspanForwarder")
            .field("target", &self.target)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

const IPPROTO_RAW: u32 = 255;
/// Number of the session. COMPAT: Skydive uses the same number.
const SESSION: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{FlowTable, FlowTableOptions};
    use crate::packet::{CapturePoint, PacketBatch, PacketHeader};
    use crate::time::Timestamp;

    #[test]
    fn our_own_decoder_sees_the_mirrored_packet_inside() {
        let mut frame = vec![2; 12];
        frame.extend([
            8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        frame.extend([0x03, 0xe8, 0, 53, 0, 8, 0, 0]);
        let mirrored = PacketRef {
            link_type: LinkType::ETHERNET,
            timestamp: Timestamp::from_ms(1),
            data: &frame,
            wire_len: 60,
        };
        let mut packet = Vec::new();
        write_packet(&mut packet, &mirrored, Ipv4Addr::new(192, 0, 2, 9), 7, 5);
        // The kernel fills in the length.
        let length = (packet.len() as u16).to_be_bytes();
        packet[2..4].copy_from_slice(&length);
        assert_eq!(packet[20..28], [0x10, 0, 0x88, 0xbe, 0, 0, 0, 5]);
        assert_eq!(packet[28..36], [0x10, 0, 0x1c, 0x01, 0, 0, 0, 7]);
        let mut table = FlowTable::new(FlowTableOptions::default());
        table.process(&PacketBatch {
            link_type: LinkType::RAW,
            buffer: &packet,
            headers: &[PacketHeader {
                timestamp: Timestamp::from_ms(1),
                offset: 0,
                captured_len: packet.len() as u32,
                wire_len: packet.len() as u32,
                point: CapturePoint::ONLY,
            }],
        });
        let mut flows = Vec::new();
        table.flush(&mut flows);
        let inner = flows
            .iter()
            .find(|flow| !flow.parent_uuid.is_empty())
            .unwrap();
        assert_eq!(inner.transport.as_ref().unwrap().b, 53);
    }
}
