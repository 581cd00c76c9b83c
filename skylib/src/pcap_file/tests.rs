use std::io::{self, Read};

use proptest::prelude::*;

use super::*;
use crate::packet::{LinkType, PacketRef};
use crate::time::Timestamp;

/// Packet of a test: time in nanoseconds, bytes, and length on the wire.
pub(super) type Written = (i64, Vec<u8>, u32);

pub(super) fn file(packets: &[Written], resolution: Resolution) -> Vec<u8> {
    let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET, resolution).unwrap();
    for (ns, data, wire_len) in packets {
        let timestamp = Timestamp::from_ns(*ns);
        let packet = PacketRef {
            link_type: LinkType::ETHERNET,
            timestamp,
            data,
            wire_len: *wire_len,
        };
        writer.write(&packet).unwrap();
    }
    let written = writer.written();
    let file = writer.into_inner();
    assert_eq!(written, file.len() as u64);
    file
}

/// Returns all packets, and the error that ended the file.
fn read_all(source: impl Read) -> (Vec<Written>, Option<PcapFileError>) {
    let mut reader = match PcapReader::new(source) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut packets = Vec::new();
    loop {
        match reader.next_batch() {
            Ok(Some(batch)) => {
                assert!(!batch.headers.is_empty(), "a batch holds a packet");
                packets.extend(
                    batch
                        .iter()
                        .map(|p| (p.timestamp.as_ns(), p.data.to_vec(), p.wire_len)),
                );
            }
            Ok(None) => return (packets, None),
            Err(error) => {
                assert!(
                    matches!(reader.next_batch(), Ok(None)),
                    "an error ends the file"
                );
                return (packets, Some(error));
            }
        }
    }
}

#[test]
fn a_held_buffer_is_not_overwritten() {
    let packets: Vec<Written> = (0..3000)
        .map(|number| (number, vec![(number % 251) as u8; 900], 900))
        .collect();
    let classic = file(&packets, Resolution::Nanoseconds);
    let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
    let mut reader = PcapReader::new(&*classic).unwrap();
    while let Some(batch) = reader.next_batch().unwrap() {
        writer.write_batch(&batch).unwrap();
    }
    for file in [classic, writer.into_inner()] {
        let mut reader = CaptureReader::new(&*file).unwrap();
        let mut kept = Vec::new();
        while let Some(headers) = reader
            .next_batch()
            .unwrap()
            .map(|batch| batch.headers.to_vec())
        {
            kept.push((reader.shared_buffer(), headers));
            // Some buffers are held to the end; others are released and reused.
            if kept.len() % 3 == 0 {
                kept.swap_remove(kept.len() / 2);
            }
        }
        let buffers = kept.iter().map(|(buffer, _)| buffer.as_ptr());
        assert!(buffers.collect::<std::collections::HashSet<_>>().len() > 1);
        for (buffer, headers) in &kept {
            for header in headers {
                let packet = header.packet(buffer, LinkType::ETHERNET);
                let number = usize::try_from(packet.timestamp.as_ns()).unwrap();
                assert_eq!(packet.data, packets[number].1);
            }
        }
    }
}

/// Returns a copy of the file in the other byte order.
fn swapped(file: &[u8]) -> Vec<u8> {
    let mut swapped = file.to_vec();
    for field in [0..4, 4..6, 6..8, 8..12, 12..16, 16..20, 20..24] {
        swapped[field].reverse();
    }
    let mut at = 24;
    while at < file.len() {
        let len = u32::from_le_bytes(file[at + 8..at + 12].try_into().unwrap()) as usize;
        for field in swapped[at..at + 16].chunks_exact_mut(4) {
            field.reverse();
        }
        at += 16 + len;
    }
    swapped
}

fn three() -> Vec<Written> {
    (0..3)
        .map(|i| {
            (
                1_600_000_000_123_456_000 + i,
                vec![i as u8; 10 + i as usize],
                1500,
            )
        })
        .collect()
}

/// Source that returns a few bytes at a time, as a pipe may.
pub(super) struct Drip<'a>(pub(super) &'a [u8], pub(super) usize);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.1.min(buffer.len()).min(self.0.len());
        self.0.read(&mut buffer[..len])
    }
}

#[test]
fn nanoseconds_survive_and_microseconds_are_truncated() {
    let packets = vec![(1_600_000_000_123_456_789, vec![1, 2, 3], 60)];
    assert_eq!(
        read_all(&*file(&packets, Resolution::Nanoseconds)).0,
        packets
    );
    let (read, _) = read_all(&*file(&packets, Resolution::Microseconds));
    assert_eq!(read[0].0, 1_600_000_000_123_456_000);
}

#[test]
fn the_header_has_link_type_and_snap_length() {
    let mut bytes = file(&three(), Resolution::Microseconds);
    bytes[16..20].copy_from_slice(&96_u32.to_le_bytes());
    // The upper half states a length of four bytes for frame check sequences.
    bytes[20..24].copy_from_slice(&0x3000_0071_u32.to_le_bytes());
    for bytes in [bytes.clone(), swapped(&bytes)] {
        let reader = PcapReader::new(&*bytes).unwrap();
        assert_eq!(
            (reader.link_type(), reader.snap_len()),
            (LinkType::LINUX_SLL, 96)
        );
        assert_eq!(
            (reader.resolution(), reader.offset()),
            (Resolution::Microseconds, 24)
        );
    }
}

#[test]
fn other_formats_are_named() {
    let pcapng = read_all(&[0x0a, 0x0d, 0x0d, 0x0a][..]).1.unwrap();
    assert_eq!(
        pcapng.to_string(),
        "byte 0: the file is pcapng, which this reader does not support; use CaptureReader"
    );
    for (magic, name) in [
        (&b"BZh9"[..], "compressed with bzip2"),
        (&[0xfd, b'7', b'z', b'X'], "compressed with xz"),
        (b"snoop\0\0\0", "a snoop capture"),
        (
            &[0x34, 0xcd, 0xb2, 0xa1],
            "pcap with modified record headers",
        ),
        (b"GET /", "not a capture file (it starts with 47 45 54 20)"),
    ] {
        let error = CaptureReader::new(magic).unwrap_err();
        let supported =
            "expected pcap or pcapng, uncompressed or compressed with gzip, LZ4, or zstd";
        assert_eq!(
            error.to_string(),
            format!("byte 0: the file is {name}; {supported}")
        );
        assert!(matches!(
            PcapReader::new(magic),
            Err(PcapFileError::Format(_))
        ));
        assert!(PcapNgReader::new(magic).is_err());
    }
}

#[test]
fn other_versions_are_rejected() {
    let mut bytes = file(&[], Resolution::Microseconds);
    bytes[6] = 3;
    for bytes in [bytes.clone(), swapped(&bytes)] {
        let error = read_all(&*bytes).1.unwrap();
        assert!(
            matches!(error, PcapFileError::Version { major: 2, minor: 3 }),
            "{error}"
        );
    }
}

#[test]
fn a_file_shorter_than_its_header_is_reported() {
    let bytes = file(&[], Resolution::Nanoseconds);
    assert!(
        read_all(&*bytes).1.is_none(),
        "a file without packets is whole"
    );
    for len in 0..24 {
        let error = read_all(&bytes[..len]).1.unwrap();
        assert!(
            matches!(error, PcapFileError::ShortHeader { available } if available == len as u64)
        );
    }
}

#[test]
fn a_truncated_record_is_reported_after_the_complete_ones() {
    let bytes = file(&three(), Resolution::Nanoseconds);
    let last = 24 + 26 + 27;
    for len in last + 1..bytes.len() {
        let (packets, error) = read_all(&bytes[..len]);
        assert_eq!(packets, three()[..2]);
        let available = (len - last) as u64;
        let needed = if available < 16 { 16 } else { 28 };
        let error = error.unwrap();
        assert!(
            matches!(error, PcapFileError::ShortRecord { offset: 77, needed: n, available: a }
                if (n, a) == (needed, available)),
            "{error}"
        );
    }
    let error = read_all(&bytes[..last + 20]).1.unwrap();
    assert_eq!(
        error.to_string(),
        "byte 77: record needs 28 bytes, but only 20 remain in the file"
    );
}

#[test]
fn a_record_over_the_limit_is_reported_after_those_before() {
    let mut bytes = file(&three(), Resolution::Nanoseconds);
    bytes[77 + 8..77 + 12].copy_from_slice(&(MAX_RECORD_LEN + 1).to_le_bytes());
    for bytes in [
        bytes.clone(),
        swapped(&bytes[..77])
            .into_iter()
            .chain(bytes[77..].iter().copied())
            .collect(),
    ] {
        let (packets, error) = read_all(&*bytes);
        assert_eq!(packets, three()[..2]);
        assert!(matches!(
            error,
            Some(PcapFileError::LongRecord { offset: 77, .. })
        ));
    }
    let error = read_all(&*bytes).1.unwrap();
    assert_eq!(
        error.to_string(),
        "byte 77: record of 262145 bytes is longer than the limit of 262144"
    );
}

#[test]
fn records_may_exceed_the_snap_length_and_their_own() {
    let mut bytes = file(&[(0, vec![7; 100], 0)], Resolution::Nanoseconds);
    bytes[16..20].copy_from_slice(&1_u32.to_le_bytes());
    assert_eq!(read_all(&*bytes).0, [(0, vec![7; 100], 0)]);
}

#[test]
fn the_longest_records_fit() {
    let longest = vec![9; MAX_RECORD_LEN as usize];
    let packets: Vec<Written> = (0..9)
        .map(|i| (i, longest.clone(), MAX_RECORD_LEN))
        .collect();
    let bytes = file(&packets, Resolution::Nanoseconds);
    let (read, error) = read_all(&*bytes);
    assert!(error.is_none());
    assert_eq!(read, packets);
}

#[test]
fn reading_can_be_repeated_after_a_failure_of_the_source() {
    struct Failing<'a>(Drip<'a>, u32);
    impl Read for Failing<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            match self.1 % 3 {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                1 => Err(io::ErrorKind::Interrupted.into()),
                _ => self.0.read(buffer),
            }
        }
    }
    let bytes = file(&three(), Resolution::Nanoseconds);
    // The header is read before the first failure.
    let mut reader = PcapReader::new(Failing(Drip(&bytes, 30), 0)).unwrap();
    let (mut count, mut failures) = (0, 0);
    loop {
        match reader.next_batch() {
            Ok(Some(batch)) => count += batch.headers.len(),
            Ok(None) => break,
            Err(PcapFileError::Io { offset, source }) => {
                assert_eq!(source.kind(), io::ErrorKind::WouldBlock);
                assert!(offset >= 30);
                failures += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(count, 3);
    assert!(failures > 1);
}

#[test]
fn a_batch_waits_for_one_packet_only() {
    let bytes = file(&three(), Resolution::Nanoseconds);
    let mut reader = PcapReader::new(Drip(&bytes, 24 + 26)).unwrap();
    assert_eq!(reader.next_batch().unwrap().unwrap().headers.len(), 1);
    assert_eq!(reader.offset(), 50);
}

#[test]
fn times_and_lengths_beyond_the_format_are_rejected_and_nothing_is_written() {
    let mut writer =
        PcapWriter::new(Vec::new(), LinkType::ETHERNET, Resolution::Microseconds).unwrap();
    let packet = |ns, data| {
        let timestamp = Timestamp::from_ns(ns);
        PacketRef {
            link_type: LinkType::ETHERNET,
            timestamp,
            data,
            wire_len: 1,
        }
    };
    let error = writer.write(&packet(-1, &[])).unwrap_err();
    assert!(matches!(error, PcapFileError::Time { seconds: -1 }));
    let after_2106 = (i64::from(u32::MAX) + 1) * 1_000_000_000;
    assert!(matches!(
        writer.write(&packet(after_2106, &[])),
        Err(PcapFileError::Time { .. })
    ));
    let long = vec![0; MAX_RECORD_LEN as usize + 1];
    assert!(matches!(
        writer.write(&packet(0, &long)),
        Err(PcapFileError::LongRecord { .. })
    ));
    assert_eq!(writer.written(), 24);
    writer.write(&packet(after_2106 - 1, &[1])).unwrap();
    assert_eq!(writer.written(), 24 + 17);
}

#[test]
fn a_failing_target_is_reported_with_its_offset() {
    let mut room = [0; 30];
    let mut writer =
        PcapWriter::new(&mut room[..], LinkType::ETHERNET, Resolution::Microseconds).unwrap();
    let data = &[0; 4];
    let timestamp = Timestamp::ZERO;
    let packet = PacketRef {
        link_type: LinkType::ETHERNET,
        timestamp,
        data,
        wire_len: 4,
    };
    let error = writer.write(&packet).unwrap_err();
    assert_eq!(error.to_string(), "input or output failed at byte 24");
}

pub(super) fn any_packets() -> impl Strategy<Value = Vec<Written>> {
    let time = 0..i64::from(u32::MAX) * 1_000_000_000;
    let data = prop::collection::vec(any::<u8>(), 0..200);
    prop::collection::vec((time, data, any::<u32>()), 0..40)
}

proptest! {
    #[test]
    fn what_is_written_is_read(packets in any_packets(), step in 1_usize..300) {
        let bytes = file(&packets, Resolution::Nanoseconds);
        for bytes in [bytes.clone(), swapped(&bytes)] {
            let (read, error) = read_all(Drip(&bytes, step));
            prop_assert!(error.is_none());
            prop_assert_eq!(&read, &packets);
        }
    }

    #[test]
    fn what_is_read_can_be_written_again(packets in any_packets()) {
        let bytes = file(&packets, Resolution::Microseconds);
        let mut reader = PcapReader::new(&*bytes).unwrap();
        let link_type = reader.link_type();
        let mut writer = PcapWriter::new(Vec::new(), link_type, Resolution::Microseconds).unwrap();
        while let Some(batch) = reader.next_batch().unwrap() {
            writer.write_batch(&batch).unwrap();
        }
        prop_assert_eq!(writer.into_inner(), bytes);
    }

    #[test]
    fn damage_is_found_at_the_same_offset_however_the_bytes_arrive(
        packets in any_packets(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        step in 1_usize..300,
    ) {
        let mut bytes = file(&packets, Resolution::Nanoseconds);
        for (index, value) in damage {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let (whole, whole_error) = read_all(&*bytes);
        let (dripped, dripped_error) = read_all(Drip(&bytes, step));
        prop_assert_eq!(whole, dripped);
        let text = |error: Option<PcapFileError>| error.map(|error| error.to_string());
        prop_assert_eq!(text(whole_error), text(dripped_error));
    }
}
