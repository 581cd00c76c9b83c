//! sFlow 5 (sflow.org, "sFlow Version 5", July 2004): sampled packets, counters, and discarded
//! packets.
//!
//! All structures state their length, so unknown ones are skipped.

mod counters;
mod sample;

pub use counters::{
    ApplicationResources, CounterSample, EthernetCounters, InterfaceCounters, OvsDatapathCounters,
    VlanCounters,
};
pub use sample::{DiscardSample, FlowSample, SampledHeader, SampledPacket, SflowInterface};

use std::net::IpAddr;

use super::reader::{Reader, address};

/// Header of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) agent: IpAddr,
    pub(super) sub_agent: u32,
    pub(super) sequence: u32,
    /// Number of samples that the datagram claims to have.
    pub(super) samples: u32,
}

/// A sample of a datagram.
#[derive(Debug)]
pub(super) enum Sample<'a> {
    Flow(FlowSample<'a>),
    Counters(CounterSample<'a>),
    Discard(DiscardSample<'a>),
    /// A sample of an unknown type.
    Other,
    /// A sample that is shorter than its type requires.
    Malformed,
}

/// Reads the header after the version.
pub(super) fn read_header(reader: &mut Reader<'_>) -> Option<Header> {
    let agent = read_address(reader)??;
    let (sub_agent, sequence) = (reader.u32()?, reader.u32()?);
    let _uptime = reader.u32()?;
    Some(Header {
        agent,
        sub_agent,
        sequence,
        samples: reader.u32()?,
    })
}

/// Reads the next sample; `None` if the datagram ends within it. Truncated records of the sample
/// are counted.
pub(super) fn next_sample<'a>(
    reader: &mut Reader<'a>,
    header: &Header,
    malformed: &mut u64,
) -> Option<Sample<'a>> {
    let kind = reader.u32()?;
    let mut body = Reader::new(opaque(reader)?);
    let body = &mut body;
    let sample = match kind {
        1 => sample::read_flow(body, header, false, malformed).map(Sample::Flow),
        3 => sample::read_flow(body, header, true, malformed).map(Sample::Flow),
        2 => counters::read(body, header, false, malformed).map(Sample::Counters),
        4 => counters::read(body, header, true, malformed).map(Sample::Counters),
        5 => sample::read_discard(body, header, malformed).map(Sample::Discard),
        _ => Some(Sample::Other),
    };
    Some(sample.unwrap_or(Sample::Malformed))
}

/// Calls `read` with the type and the contents of each record of a sample. Counts truncated
/// records, including those for which `read` returns `None`.
fn each_record<'a>(
    reader: &mut Reader<'a>,
    count: u32,
    malformed: &mut u64,
    mut read: impl FnMut(u32, &mut Reader<'a>) -> Option<()>,
) {
    for _ in 0..count {
        let record = (|| Some((reader.u32()?, opaque(reader)?)))();
        let Some((kind, content)) = record else {
            *malformed += 1;
            return;
        };
        if read(kind, &mut Reader::new(content)).is_none() {
            *malformed += 1;
        }
    }
}

/// Reads a byte string with its length, which is padded to a multiple of four bytes.
fn opaque<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = usize::try_from(reader.u32()?).ok()?;
    let bytes = reader.bytes(length)?;
    // The padding may be missing at the end of the datagram.
    reader.up_to(length.wrapping_neg() % 4);
    Some(bytes)
}

/// Reads an address with its type. The inner value is `None` if the address is unknown.
fn read_address(reader: &mut Reader<'_>) -> Option<Option<IpAddr>> {
    match reader.u32()? {
        0 => Some(None),
        1 => Some(address(reader.bytes(4)?)),
        2 => Some(address(reader.bytes(16)?)),
        _ => None,
    }
}

/// Reads a source: type and index, in one number or in two.
fn read_source(reader: &mut Reader<'_>, is_expanded: bool) -> Option<(u32, u32)> {
    if is_expanded {
        return Some((reader.u32()?, reader.u32()?));
    }
    let source = reader.u32()?;
    Some((source >> 24, source & 0x00ff_ffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_strings_are_padded_and_bounded() {
        let mut reader = Reader::new(&[0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 2, 8, 9]);
        assert_eq!(opaque(&mut reader), Some(&[1, 2, 3][..]));
        assert_eq!(
            opaque(&mut reader),
            Some(&[8, 9][..]),
            "without padding at the end"
        );
        let mut reader = Reader::new(&[0xff, 0xff, 0xff, 0xff, 1]);
        assert_eq!(opaque(&mut reader), None);
    }

    #[test]
    fn the_agent_must_have_an_address() {
        let header = |kind: u8| {
            let bytes = [&[0, 0, 0, kind, 192, 0, 2, 1][..], &[0; 16]].concat();
            read_header(&mut Reader::new(&bytes)).map(|header| header.agent)
        };
        assert_eq!(header(1), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(header(0), None);
        assert_eq!(header(9), None);
    }

    #[test]
    fn records_beyond_the_sample_are_counted_once() {
        let mut malformed = 0;
        let bytes = [0, 0, 0, 9, 0, 0, 0, 4, 1, 1, 1, 1, 0, 0, 0, 8, 0, 0, 0, 99];
        let mut kinds = Vec::new();
        each_record(
            &mut Reader::new(&bytes),
            u32::MAX,
            &mut malformed,
            |kind, content| {
                kinds.push((kind, content.rest().len()));
                Some(())
            },
        );
        assert_eq!((kinds, malformed), (vec![(9, 4)], 1));
    }
}
