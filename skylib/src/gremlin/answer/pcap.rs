//! Raw packets as a pcap file.

use super::Answer;
use crate::flow::RawPacket;
use crate::gremlin::error::QueryError;

impl Answer {
    /// Writes raw packets as a classic pcap file, ordered by capture time.
    ///
    /// Writes only Ethernet packets, because a pcap file has one link type. Writes nothing if there
    /// are none.
    ///
    /// # Errors
    /// Returns an error, whose text clients receive, if the answer is not raw packets.
    pub fn write_pcap(&self, out: &mut Vec<u8>) -> Result<(), QueryError> {
        let Self::RawPackets(flows) = self else {
            let message = "Only RawPackets step result can be outputted as pcap";
            return Err(QueryError::execute(message));
        };
        let mut packets: Vec<&RawPacket> = flows
            .iter()
            .flat_map(|(_, packets)| packets)
            .filter(|packet| packet.link_type == LINKTYPE_ETHERNET)
            .collect();
        if packets.is_empty() {
            return Ok(());
        }
        packets.sort_by_key(|packet| packet.timestamp);
        let longest = packets
            .iter()
            .map(|packet| length(packet))
            .max()
            .unwrap_or(0);
        // Magic number (microseconds), version 2.4, time zone, accuracy, snapshot length, link type.
        for word in [
            0xa1b2_c3d4,
            0x0004_0002,
            0,
            0,
            SNAPLEN.max(longest),
            LINKTYPE_ETHERNET,
        ] {
            out.extend_from_slice(&u32::to_le_bytes(word));
        }
        for packet in packets {
            let seconds = u32::try_from(packet.timestamp.div_euclid(1000)).unwrap_or(0);
            let us = u32::try_from(packet.timestamp.rem_euclid(1000) * 1000).unwrap_or(0);
            for word in [seconds, us, length(packet), length(packet)] {
                out.extend_from_slice(&word.to_le_bytes());
            }
            out.extend_from_slice(&packet.data);
        }
        Ok(())
    }
}

/// Returns the stored length of a packet, in bytes.
fn length(packet: &RawPacket) -> u32 {
    u32::try_from(packet.data.len()).unwrap_or(u32::MAX)
}

/// `LINKTYPE_ETHERNET` of libpcap.
const LINKTYPE_ETHERNET: u32 = 1;
/// Maximum number of bytes per packet that the original stored.
const SNAPLEN: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_written_in_the_order_of_their_capture() {
        let packet = |timestamp, link_type, data: &'static [u8]| RawPacket {
            timestamp,
            link_type,
            data: data.into(),
            ..RawPacket::default()
        };
        let answer = Answer::RawPackets(vec![
            (
                "a".into(),
                vec![packet(2_001, 1, b"xyz"), packet(3_000, 101, b"no Ethernet")],
            ),
            ("b".into(), vec![packet(1_000, 1, b"w")]),
        ]);
        let mut file = Vec::new();
        answer.write_pcap(&mut file).unwrap();
        let mut wanted = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        wanted.extend([0, 0x10, 0, 0, 1, 0, 0, 0]);
        wanted.extend([1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, b'w']);
        wanted.extend([
            2, 0, 0, 0, 0xe8, 3, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, b'x', b'y', b'z',
        ]);
        assert_eq!(file, wanted);
    }

    #[test]
    fn no_packet_is_no_file_and_anything_else_an_error() {
        let mut file = Vec::new();
        Answer::RawPackets(vec![]).write_pcap(&mut file).unwrap();
        assert!(file.is_empty());
        let error = Answer::Number(1).write_pcap(&mut file).unwrap_err();
        assert_eq!(
            error.message(),
            "Only RawPackets step result can be outputted as pcap"
        );
    }
}
