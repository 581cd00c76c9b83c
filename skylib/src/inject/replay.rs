//! `FrameReplay`: the packets of a capture file, to be sent unchanged.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::InjectError;
use crate::packet::LinkType;
use crate::pcap_file::CaptureReader;

/// The packets of a capture file, in the order of the file and without end.
#[derive(Debug)]
pub(super) struct FrameReplay {
    /// All packets, one after the other.
    bytes: Vec<u8>,
    /// End of each packet in `bytes`; not empty.
    ends: Vec<usize>,
    /// Index of the next packet.
    next: usize,
}

impl FrameReplay {
    /// Reads a capture file in Base64, of any supported format.
    pub(super) fn new(file: &str, link: LinkType) -> Result<Self, InjectError> {
        let file = BASE64.decode(file)?;
        let mut reader = CaptureReader::new(file.as_slice())?;
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        while let Some(batch) = reader.next_batch()? {
            if !is_sendable(batch.link_type, link) {
                return Err(InjectError::LinkType {
                    file: batch.link_type,
                    interface: link,
                });
            }
            for packet in batch.iter() {
                bytes.extend_from_slice(packet.data);
                ends.push(bytes.len());
                if ends.len() > MAX_REPLAY_PACKETS || bytes.len() > MAX_REPLAY_BYTES {
                    return Err(InjectError::LargeFile {
                        packets: MAX_REPLAY_PACKETS,
                        bytes: MAX_REPLAY_BYTES,
                    });
                }
            }
        }
        if ends.is_empty() {
            return Err(InjectError::EmptyFile);
        }
        Ok(Self {
            bytes,
            ends,
            next: 0,
        })
    }

    /// Returns the number of packets in the file.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns the next packet; the first one after the last one.
    pub(super) fn next_frame(&mut self) -> &[u8] {
        let start = self
            .next
            .checked_sub(1)
            .map_or(0, |before| self.ends[before]);
        let end = self.ends[self.next];
        self.next = (self.next + 1) % self.ends.len();
        &self.bytes[start..end]
    }
}

/// Returns whether packets of a file can be sent on an interface: the link types must be equal, or
/// both must be IP without a link header.
fn is_sendable(file: LinkType, interface: LinkType) -> bool {
    const RAW: [LinkType; 5] = [
        LinkType::RAW,
        LinkType::RAW_DLT,
        LinkType::RAW_OPENBSD,
        LinkType::IPV4,
        LinkType::IPV6,
    ];
    file == interface || (RAW.contains(&file) && RAW.contains(&interface))
}

/// Maximum number of packets in a capture file.
pub const MAX_REPLAY_PACKETS: usize = 1_000_000;
/// Maximum size of all packets in a capture file, in bytes.
pub const MAX_REPLAY_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::PacketRef;
    use crate::pcap_file::{PcapWriter, Resolution};
    use crate::time::Timestamp;

    fn file(link_type: LinkType, packets: &[&[u8]]) -> String {
        let mut writer = PcapWriter::new(Vec::new(), link_type, Resolution::Nanoseconds).unwrap();
        for data in packets {
            let packet = PacketRef {
                link_type,
                timestamp: Timestamp::from_ms(1),
                data,
                wire_len: data.len() as u32,
            };
            writer.write(&packet).unwrap();
        }
        BASE64.encode(writer.into_inner())
    }

    #[test]
    fn packets_are_returned_in_order_and_repeat() {
        let file = file(LinkType::ETHERNET, &[b"first", b"", b"third"]);
        let mut replay = FrameReplay::new(&file, LinkType::ETHERNET).unwrap();
        assert_eq!(replay.len(), 3);
        let sent: Vec<Vec<u8>> = (0..5).map(|_| replay.next_frame().to_vec()).collect();
        assert_eq!(sent, [&b"first"[..], b"", b"third", b"first", b""]);
    }

    #[test]
    fn files_that_cannot_be_sent_are_errors() {
        let error = |file: &str, link| FrameReplay::new(file, link).unwrap_err().to_string();
        let raw = file(LinkType::RAW, &[b"E"]);
        assert_eq!(
            error(&raw, LinkType::ETHERNET),
            "the capture file has packets of link type RAW; the interface sends link type ETHERNET"
        );
        assert!(FrameReplay::new(&raw, LinkType::IPV4).is_ok());
        let empty = file(LinkType::ETHERNET, &[]);
        assert_eq!(
            error(&empty, LinkType::ETHERNET),
            "the capture file has no packets"
        );
        assert_eq!(
            error("AAEC", LinkType::ETHERNET),
            "cannot read the capture file"
        );
        assert_eq!(
            error("?", LinkType::ETHERNET),
            "the capture file is not Base64"
        );
    }

    #[test]
    fn the_number_of_packets_is_limited() {
        let packets = vec![&b""[..]; MAX_REPLAY_PACKETS + 1];
        let error = FrameReplay::new(&file(LinkType::ETHERNET, &packets), LinkType::ETHERNET);
        assert!(matches!(error, Err(InjectError::LargeFile { .. })));
    }
}
