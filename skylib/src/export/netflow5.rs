//! NetFlow 5 and 7: records of fixed length.

use std::net::{IpAddr, Ipv4Addr};

use super::reader::Reader;
use super::record::{ExportCounters, FlowRecord};
use crate::time::Timestamp;

/// Header of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// Number of records that the datagram claims to have.
    pub(super) claimed: u16,
    pub(super) exported_at: Timestamp,
    booted_at_ms: i64,
    pub(super) sequence: u32,
    /// Engine type and number; 0 in version 7.
    pub(super) domain: u32,
    /// Sampling rate of all records; `None` if packets are not sampled.
    sampling: Option<u64>,
}

/// Reads the header after the version.
pub(super) fn read_header(reader: &mut Reader<'_>, is_version_7: bool) -> Option<Header> {
    let claimed = reader.u16()?;
    let uptime = reader.u32()?;
    let (seconds, nanoseconds) = (reader.u32()?, reader.u32()?);
    let sequence = reader.u32()?;
    let (domain, sampling) = (reader.u16()?, reader.u16()?);
    let exported_at = i64::from(seconds) * 1_000 + i64::from(nanoseconds / 1_000_000);
    // The upper two bits are the mode.
    let interval = u64::from(sampling & 0x3fff);
    Some(Header {
        claimed,
        exported_at: Timestamp::from_ms(exported_at),
        booted_at_ms: exported_at - i64::from(uptime),
        sequence,
        domain: if is_version_7 { 0 } else { u32::from(domain) },
        sampling: Some(interval).filter(|interval| !is_version_7 && *interval > 0),
    })
}

/// Reads a record; `None` if it is truncated.
pub(super) fn read_record(
    reader: &mut Reader<'_>,
    header: &Header,
    is_version_7: bool,
) -> Option<FlowRecord<'static>> {
    let address = |octets: [u8; 4]| Some(IpAddr::V4(Ipv4Addr::from(octets)));
    let mut record = reader.array::<RECORD>().map(|bytes| {
        let mut fields = Reader::new(&bytes);
        read_fields(&mut fields, header, address)
    })??;
    if is_version_7 {
        // The router that the record bypasses.
        reader.u32()?;
    }
    record.sampling = header.sampling;
    Some(record)
}

fn read_fields(
    reader: &mut Reader<'_>,
    header: &Header,
    address: impl Fn([u8; 4]) -> Option<IpAddr>,
) -> Option<FlowRecord<'static>> {
    let (src, dst, next_hop) = (reader.array()?, reader.array()?, reader.array()?);
    let (input, output) = (reader.u16()?, reader.u16()?);
    let (packets, bytes) = (reader.u32()?, reader.u32()?);
    let (first, last) = (reader.u32()?, reader.u32()?);
    let (src_port, dst_port) = (reader.u16()?, reader.u16()?);
    let (_, tcp_flags) = (reader.u8()?, reader.u8()?);
    let (protocol, tos) = (reader.u8()?, reader.u8()?);
    let (src_as, dst_as) = (reader.u16()?, reader.u16()?);
    let (src_mask, dst_mask) = (reader.u8()?, reader.u8()?);
    let at = |uptime: u32| Some(Timestamp::from_ms(header.booted_at_ms + i64::from(uptime)));
    Some(FlowRecord {
        src: address(src),
        dst: address(dst),
        src_port: Some(src_port),
        dst_port: Some(dst_port),
        protocol: Some(protocol),
        tos: Some(tos),
        counters: ExportCounters {
            packets: Some(packets.into()),
            bytes: Some(bytes.into()),
            tcp_flags: Some(tcp_flags.into()),
            is_total: false,
        },
        first: at(first),
        last: at(last),
        input: Some(input.into()),
        output: Some(output.into()),
        next_hop: address(next_hop),
        src_as: Some(src_as.into()),
        dst_as: Some(dst_as.into()),
        src_mask: Some(src_mask),
        dst_mask: Some(dst_mask),
        ..FlowRecord::default()
    })
}

/// Length of a record of version 5, which is the beginning of one of version 7, in bytes.
const RECORD: usize = 48;
