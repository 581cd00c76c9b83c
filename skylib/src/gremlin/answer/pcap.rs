//! Raw packets as a pcap file.

use std::time::Duration;
use std::vec;

use bytes::Bytes;

use super::{Answer, CHUNK};
use crate::flow::RawPacket;
use crate::gremlin::error::QueryError;
use crate::packet::{LinkType, PacketRef};
use crate::pcap_file::{MAX_RECORD_LEN, Resolution, file_header, record_header};
use crate::time::Timestamp;

impl Answer {
    /// Returns raw packets as a classic pcap file, in the order of their times.
    ///
    /// The file contains only Ethernet packets, because a pcap file has one link type.
    ///
    /// # Errors
    /// Returns an error, whose message clients receive, if the answer does not consist of raw
    /// packets.
    pub fn into_pcap(self) -> Result<PcapStream, QueryError> {
        let Self::RawPackets(flows) = self else {
            let message = "Only RawPackets step result can be outputted as pcap";
            return Err(QueryError::execute(message));
        };
        let mut packets: Vec<RawPacket> = flows.into_iter().flat_map(|(_, list)| list).collect();
        packets.sort_by_key(|packet| (packet.timestamp, packet.nanos));
        Ok(PcapStream {
            packets: packets.into_iter(),
            out: file_header(LinkType::ETHERNET, RESOLUTION, MAX_RECORD_LEN).to_vec(),
        })
    }
}

/// A pcap file as an iterator of chunks of about 64 KiB, each produced on demand.
#[derive(Debug)]
pub struct PcapStream {
    /// Packets that have not been written yet, in the order of their times.
    packets: vec::IntoIter<RawPacket>,
    /// Bytes of the next chunk: the file header before the first call of `next`, then none.
    out: Vec<u8>,
}

impl Iterator for PcapStream {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = std::mem::take(&mut self.out);
        while out.len() < CHUNK {
            let Some(packet) = self.packets.next() else {
                break;
            };
            if packet.link_type != u32::from(LinkType::ETHERNET.0) {
                continue;
            }
            let captured = u32::try_from(packet.data.len()).unwrap_or(u32::MAX);
            let nanos = Duration::from_nanos(packet.nanos.into());
            let header = record_header(
                &PacketRef {
                    link_type: LinkType::ETHERNET,
                    timestamp: Timestamp::from_ms(packet.timestamp).saturating_add(nanos),
                    data: &packet.data,
                    wire_len: packet.wire_len.max(captured),
                },
                RESOLUTION,
            );
            // The format cannot represent times before 1970 and after 2106.
            if let Ok(header) = header {
                out.extend_from_slice(&header);
                out.extend_from_slice(&packet.data);
            }
        }
        (!out.is_empty()).then(|| out.into())
    }
}

/// Resolution of the timestamps in the file.
const RESOLUTION: Resolution = Resolution::Microseconds;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Text;

    fn packet(timestamp: i64, link_type: u32, data: Vec<u8>) -> RawPacket {
        RawPacket {
            timestamp,
            link_type,
            data: data.into(),
            ..RawPacket::default()
        }
    }

    #[test]
    fn ethernet_packets_become_a_capture_file() {
        let time = 1_700_000_000_123;
        let packets = |link_type| vec![packet(time, link_type, vec![7; 60]); 1];
        let mut first = packets(1);
        first.extend(packets(101));
        first.push(packet(-1, 1, vec![7; 60]));
        let answer = Answer::RawPackets(vec![("a".into(), first), ("b".into(), packets(1))]);
        let file: Vec<u8> = answer.into_pcap().unwrap().flatten().collect();
        assert_eq!(file.len(), 24 + 2 * (16 + 60));
        assert_eq!(&file[..4], 0xa1b2_c3d4_u32.to_le_bytes());
        assert_eq!(&file[24..28], 1_700_000_000_u32.to_le_bytes());
        assert_eq!(&file[28..32], 123_000_u32.to_le_bytes());
    }

    #[test]
    fn packets_are_in_the_order_of_their_times_with_their_real_length() {
        let at = |timestamp, nanos, wire_len| RawPacket {
            nanos,
            wire_len,
            ..packet(timestamp, 1, vec![7; 60])
        };
        let first = vec![at(1_000, 0, 0), at(3_000, 500_000, 1514)];
        let second = vec![at(2_000, 0, 0), at(3_000, 7_000, 60)];
        let answer = Answer::RawPackets(vec![("a".into(), first), ("b".into(), second)]);
        let file: Vec<u8> = answer.into_pcap().unwrap().flatten().collect();
        let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let records = (0..4).map(|i| {
            let at = 24 + i * (16 + 60);
            (number(at), number(at + 4), number(at + 8), number(at + 12))
        });
        let records: Vec<_> = records.collect();
        let wanted = [
            (1, 0, 60, 60),
            (2, 0, 60, 60),
            (3, 7, 60, 60),
            (3, 500, 60, 1514),
        ];
        assert_eq!(records, wanted);
    }

    #[test]
    fn many_packets_are_written_in_chunks() {
        let flows = (0..100).map(|i| {
            let packets = vec![packet(i, 1, vec![1; 1500]); 20];
            (Text::from(i.to_string()), packets)
        });
        let file = Answer::RawPackets(flows.collect()).into_pcap().unwrap();
        let chunks: Vec<Bytes> = file.collect();
        assert!(chunks.len() > 20);
        assert!(chunks.iter().all(|chunk| chunk.len() < CHUNK + 2000));
        let bytes: usize = chunks.iter().map(Bytes::len).sum();
        assert_eq!(bytes, 24 + 2000 * 1516);
    }

    #[test]
    fn no_packet_is_an_empty_file_and_anything_else_an_error() {
        let empty = Answer::RawPackets(vec![]).into_pcap().unwrap();
        assert_eq!(empty.flatten().count(), 24);
        let error = Answer::Number(1).into_pcap().unwrap_err();
        assert_eq!(
            error.message(),
            "Only RawPackets step result can be outputted as pcap"
        );
    }
}
