//! `Control`: sequence numbers, lengths, and options of TCP segments and echoes.

use super::handshake::HandshakeSegment;
use super::pending::Pending;
use crate::decode::{Encapsulation, NetworkHeader, NetworkProtocol, TcpFlags, TransportHeader};
use crate::packet::PacketRef;

/// Fields of a TCP segment or ICMP echo that only some packets need; stored separately, so that a
/// [`Pending`] remains small.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Control {
    /// Sequence number of the TCP segment or ICMP echo.
    pub(super) sequence: u32,
    /// Acknowledgment number of the TCP segment.
    pub(super) acknowledgment: u32,
    /// Sequence number that acknowledges the TCP segment.
    pub(super) next_sequence: u32,
    /// Payload length of the TCP segment, in bytes.
    pub(super) payload_len: u32,
    /// TCP timestamps: value and echo reply (RFC 7323).
    pub(super) stamp: Option<(u32, u32)>,
    /// Maximum segment size that the TCP segment announces, in bytes; 0 if it has none.
    pub(super) segment_size: u16,
}

impl Control {
    /// Returns the fields of an encapsulation.
    pub(super) fn of(packet: PacketRef<'_>, part: &Encapsulation) -> Self {
        if let Some(icmp) = part.icmp {
            return Self {
                sequence: icmp.number.into(),
                ..Self::default()
            };
        }
        let Some(header) = part.transport else {
            return Self::default();
        };
        let end = header.payload_offset as usize;
        let options = packet
            .data
            .get(end.saturating_sub(header.options_len.into())..end)
            .map_or_else(TcpOptions::default, TcpOptions::new);
        Self {
            sequence: header.sequence,
            acknowledgment: header.acknowledgment,
            next_sequence: next_sequence(&header),
            payload_len: payload_on_wire(packet, part.network.as_ref(), &header),
            stamp: options.stamp,
            segment_size: options.segment_size,
        }
    }

    /// Returns the segment in the form that the handshake processes.
    pub(super) const fn segment(&self, pending: &Pending) -> HandshakeSegment {
        HandshakeSegment {
            flags: pending.tcp,
            sequence: self.sequence,
            acknowledgment: self.acknowledgment,
            payload_len: self.payload_len,
            stamp: self.stamp,
            at: pending.timestamp.as_ns(),
        }
    }

    /// Returns the sequence number of an ICMP echo.
    pub(super) const fn number(&self) -> u16 {
        self.sequence as u16
    }
}

/// Returns the payload length on the wire, in bytes, even if the snap length truncates the payload.
/// The payload extends to the end stated in the IP header, or else to the end of the packet.
pub(super) fn payload_on_wire(
    packet: PacketRef<'_>,
    network: Option<&NetworkHeader>,
    header: &TransportHeader,
) -> u32 {
    let is_whole = header.payload_offset + header.payload_len < packet.data.len() as u32;
    if is_whole {
        return header.payload_len;
    }
    let end = network
        .and_then(|network| declared_end(packet.data, network))
        .map_or(packet.wire_len, |end| end.min(packet.wire_len));
    end.saturating_sub(header.payload_offset)
        .max(header.payload_len)
}

/// Returns the offset of the end of an IP packet from the start of the frame, according to its
/// length field; `None` if the field was not captured or is 0, as with segmentation offload.
fn declared_end(data: &[u8], network: &NetworkHeader) -> Option<u32> {
    let (at, base) = match network.protocol {
        NetworkProtocol::Ipv4 => (2, 0),
        NetworkProtocol::Ipv6 => (4, 40),
    };
    let length = data.get(network.offset as usize + at..)?.first_chunk()?;
    match u16::from_be_bytes(*length) {
        0 => None,
        length => Some(network.offset + base + u32::from(length)),
    }
}

/// Options of a TCP segment.
#[derive(Clone, Copy, Debug, Default)]
struct TcpOptions {
    /// Value and echo reply of the timestamp option (RFC 7323, section 3.2).
    stamp: Option<(u32, u32)>,
    /// Maximum segment size (RFC 9293, section 3.2), in bytes; 0 if there is none.
    segment_size: u16,
}

impl TcpOptions {
    fn new(mut options: &[u8]) -> Self {
        let mut found = Self::default();
        while let [kind, rest @ ..] = options {
            match (kind, rest) {
                (0, _) => break,
                (1, _) => {
                    options = rest;
                    continue;
                }
                (2, [4, s0, s1, ..]) => found.segment_size = u16::from_be_bytes([*s0, *s1]),
                (8, [10, v0, v1, v2, v3, e0, e1, e2, e3, ..]) => {
                    let value = u32::from_be_bytes([*v0, *v1, *v2, *v3]);
                    found.stamp = Some((value, u32::from_be_bytes([*e0, *e1, *e2, *e3])));
                }
                _ => {}
            }
            let len = rest.first().map_or(2, |len| usize::from(*len).max(2));
            options = options.get(len..).unwrap_or_default();
        }
        found
    }
}

/// Returns the sequence number that acknowledges a TCP segment.
fn next_sequence(header: &TransportHeader) -> u32 {
    let flags = [TcpFlags::SYN, TcpFlags::FIN];
    let bits = flags
        .into_iter()
        .filter(|flag| header.flags.contains(*flag))
        .count() as u32;
    header
        .sequence
        .wrapping_add(header.payload_len)
        .wrapping_add(bits)
}
