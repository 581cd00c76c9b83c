//! Headers of a packet of an exported flow, from which a flow table computes identifiers and
//! layers.

use std::net::IpAddr;

use crate::flow::record::Flow;
use crate::flow::table::FlowTable;
use crate::packet::{CapturePoint, LinkType, PacketBatch, PacketHeader};
use crate::time::Timestamp;

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;
pub(super) const SCTP: u8 = 132;

/// An address and a port.
type End = (IpAddr, u16);

/// A packet of an exported flow.
pub(super) struct HeaderPacket {
    bytes: Vec<u8>,
    link: LinkType,
}

/// Builds the headers of a packet from `a` to `b`. With MAC addresses, it is an Ethernet frame.
pub(super) fn build(
    (a, b): (End, End),
    protocol: u8,
    vlan: u16,
    (icmp_type, icmp_code): (u8, u8),
    macs: Option<([u8; 6], [u8; 6])>,
) -> HeaderPacket {
    const VLAN: [u8; 2] = [0x81, 0x00];
    let transport = transport_header(protocol, a.1, b.1, icmp_type, icmp_code);
    let mut bytes = Vec::with_capacity(18 + 40 + transport.len());
    if let Some((src, dst)) = macs {
        bytes.extend(dst);
        bytes.extend(src);
        if vlan != 0 {
            bytes.extend(VLAN);
            bytes.extend(vlan.to_be_bytes());
        }
        bytes.extend(if a.0.is_ipv4() {
            [0x08, 0x00]
        } else {
            [0x86, 0xdd]
        });
    }
    let payload = transport.len() as u16;
    match (a.0, b.0) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            bytes.extend([0x45, 0]);
            bytes.extend((20 + payload).to_be_bytes());
            bytes.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
            bytes.extend(a.octets());
            bytes.extend(b.octets());
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            bytes.extend([0x60, 0, 0, 0]);
            bytes.extend(payload.to_be_bytes());
            bytes.extend([protocol, 64]);
            bytes.extend(a.octets());
            bytes.extend(b.octets());
        }
        // The key of a flow has two addresses of one version.
        _ => {}
    }
    bytes.extend(transport);
    HeaderPacket {
        bytes,
        link: if macs.is_some() {
            LinkType::ETHERNET
        } else {
            LinkType::RAW
        },
    }
}

/// Returns a transport header without payload; empty for protocols without ports.
fn transport_header(protocol: u8, a: u16, b: u16, icmp_type: u8, icmp_code: u8) -> Vec<u8> {
    let ports = [a.to_be_bytes(), b.to_be_bytes()].concat();
    match protocol {
        // Two sequence numbers, a header length of five words with the flag ACK, and a window.
        TCP => [&ports[..], &[0; 8], &[0x50, 0x10, 0xff, 0xff], &[0; 4]].concat(),
        UDP => [&ports[..], &[0, 8, 0, 0]].concat(),
        SCTP => [&ports[..], &[0; 8]].concat(),
        ICMP | ICMPV6 => vec![icmp_type, icmp_code, 0, 0, 0, 0, 0, 0],
        _ => Vec::new(),
    }
}

/// Returns the flow of a packet, with its identifiers and layers; `None` if `table` decodes no
/// flow. The table must be empty, and is empty again afterwards.
pub(super) fn identify(
    table: &mut FlowTable,
    packet: &HeaderPacket,
    first: Timestamp,
) -> Option<Flow> {
    let length = packet.bytes.len() as u32;
    let headers = [PacketHeader {
        timestamp: first,
        offset: 0,
        captured_len: length,
        wire_len: length,
        point: CapturePoint::ONLY,
    }];
    table.process(&PacketBatch {
        link_type: packet.link,
        buffer: &packet.bytes,
        headers: &headers,
    });
    let mut flows = Vec::new();
    table.flush(&mut flows);
    flows.into_iter().find(|flow| flow.parent_uuid.is_empty())
}
