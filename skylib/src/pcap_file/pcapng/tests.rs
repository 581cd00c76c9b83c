use std::io;

use proptest::prelude::*;

use super::*;
use crate::packet::PacketRef;
use crate::pcap_file::MAX_RECORD_LEN;
use crate::pcap_file::tests::{Drip, Written, any_packets};

/// Builder of a file with sections of either byte order.
#[derive(Default)]
struct File {
    bytes: Vec<u8>,
    is_big_endian: bool,
}

impl File {
    fn half(&self, half: u16) -> [u8; 2] {
        match self.is_big_endian {
            true => half.to_be_bytes(),
            false => half.to_le_bytes(),
        }
    }

    fn word(&self, word: u32) -> [u8; 4] {
        match self.is_big_endian {
            true => word.to_be_bytes(),
            false => word.to_le_bytes(),
        }
    }

    fn words(&self, words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| self.word(*word)).collect()
    }

    fn block(&mut self, kind: u32, body: &[u8]) {
        let len = 12 + body.len().next_multiple_of(4);
        let len = self.word(u32::try_from(len).unwrap());
        self.bytes.extend(self.word(kind));
        self.bytes.extend(len);
        self.bytes.extend(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.bytes.extend(len);
    }

    /// Begins a section of the given byte order.
    fn section(&mut self, is_big_endian: bool) {
        self.is_big_endian = is_big_endian;
        let version = [self.half(1), self.half(0)].concat();
        let mut body = self.word(0x1a2b_3c4d).to_vec();
        body.extend(version);
        body.extend([0xff; 8]);
        // A comment, to be skipped.
        body.extend(self.half(1));
        body.extend(self.half(3));
        body.extend(b"abc\0");
        self.block(0x0a0d_0d0a, &body);
    }

    fn interface(&mut self, link_type: LinkType, snap_len: u32, options: &[(u16, &[u8])]) {
        let mut body = [self.half(link_type.0), [0; 2]].concat();
        body.extend(self.word(snap_len));
        for (code, value) in options {
            body.extend(self.half(*code));
            body.extend(self.half(u16::try_from(value.len()).unwrap()));
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        self.block(1, &body);
    }

    fn enhanced(&mut self, interface: u32, ticks: u64, data: &[u8], wire_len: u32) {
        let len = u32::try_from(data.len()).unwrap();
        let mut body = self.words(&[interface, (ticks >> 32) as u32, ticks as u32, len, wire_len]);
        body.extend(data);
        self.block(6, &body);
    }
}

/// Returns all packets with their link types, and the error that ended the file.
type Outcome = (Vec<(LinkType, Written)>, Option<PcapFileError>);

fn read_all(source: impl Read) -> Outcome {
    let mut reader = match PcapNgReader::new(source) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut packets = Vec::new();
    loop {
        match reader.next_batch() {
            Ok(Some(batch)) => {
                assert!(!batch.headers.is_empty(), "a batch holds a packet");
                packets.extend(batch.iter().map(|p| {
                    let written = (p.timestamp.as_ns(), p.data.to_vec(), p.wire_len);
                    (p.link_type, written)
                }));
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

/// Returns two sections of different byte orders with all types of packet blocks and other blocks.
fn mixed() -> File {
    let mut file = File::default();
    for is_big_endian in [false, true] {
        file.section(is_big_endian);
        let offset = match is_big_endian {
            true => 100_i64.to_be_bytes(),
            false => 100_i64.to_le_bytes(),
        };
        file.interface(LinkType::ETHERNET, 6, &[(2, b"eth0"), (9, &[9])]);
        file.interface(LinkType::RAW, 0, &[(14, &offset), (0, &[])]);
        file.enhanced(0, 1_600_000_000_123_456_789, &[1, 2, 3], 60);
        // Statistics, and an unknown type.
        file.block(5, &[0; 16]);
        file.enhanced(1, 1_600_000_000_123_456, &[4, 5], 2);
        file.block(0x8000_0bad, &vec![7; 1 << 20]);
        let simple = [&file.word(1500)[..], &[9; 8]].concat();
        file.block(3, &simple);
        let mut obsolete = [file.half(1), file.half(7)].concat();
        let ticks = 1_600_000_000_500_000_u64;
        obsolete.extend(file.words(&[(ticks >> 32) as u32, ticks as u32, 5, 5]));
        obsolete.extend([6, 7, 8, 9, 10]);
        file.block(2, &obsolete);
    }
    file
}

#[test]
fn every_block_that_holds_a_packet_is_read_in_both_byte_orders() {
    let (packets, error) = read_all(&*mixed().bytes);
    assert!(error.is_none(), "{error:?}");
    let second = 1_600_000_100_123_456_000;
    let one_section = [
        (
            LinkType::ETHERNET,
            (1_600_000_000_123_456_789, vec![1, 2, 3], 60),
        ),
        (LinkType::RAW, (second, vec![4, 5], 2)),
        // Length limited by the interface, time of the previous packet.
        (LinkType::ETHERNET, (second, vec![9; 6], 1500)),
        (
            LinkType::RAW,
            (1_600_000_100_500_000_000, vec![6, 7, 8, 9, 10], 5),
        ),
    ];
    assert_eq!(packets, [&one_section[..], &one_section].concat());
}

#[test]
fn the_first_interface_has_the_link_type_before_the_first_packet() {
    let mixed = mixed();
    let reader = PcapNgReader::new(&*mixed.bytes).unwrap();
    assert_eq!(reader.link_type(), LinkType::ETHERNET);
    let mut file = File::default();
    file.section(true);
    file.interface(LinkType::LINUX_SLL2, 0, &[]);
    let mut reader = PcapNgReader::new(&*file.bytes).unwrap();
    assert_eq!(reader.link_type(), LinkType::LINUX_SLL2);
    assert!(reader.next_batch().unwrap().is_none());
    assert_eq!(reader.offset(), file.bytes.len() as u64);
}

#[test]
fn a_file_truncated_anywhere_gives_the_packets_before_and_the_offset() {
    let bytes = mixed().bytes;
    let (all, _) = read_all(&*bytes);
    // Every length within the first blocks, some within the long one.
    for len in (0..300).chain((300..bytes.len()).step_by(9973)) {
        let (packets, error) = read_all(&bytes[..len]);
        assert_eq!(packets, all[..packets.len()]);
        match error {
            None => {}
            Some(PcapFileError::ShortHeader { available }) => assert_eq!(available, len as u64),
            Some(PcapFileError::ShortRecord {
                offset,
                needed,
                available,
            }) => {
                assert_eq!(offset + available, len as u64);
                assert!(needed > available);
            }
            Some(error) => panic!("{error}"),
        }
    }
}

/// Returns the number of packets and the error of a file with one more block.
fn error_of(change: impl FnOnce(&mut File)) -> (usize, String) {
    let mut file = File::default();
    file.section(false);
    file.interface(LinkType::ETHERNET, 0, &[]);
    file.enhanced(0, 1, &[1], 1);
    assert_eq!(file.bytes.len(), 92);
    change(&mut file);
    let (packets, error) = read_all(&*file.bytes);
    (packets.len(), error.unwrap().to_string())
}

#[test]
fn damage_names_the_block() {
    let with = |kind: u32, reason: &str| {
        let error = format!("byte 92: block of type {kind:#x} is damaged: {reason}");
        (1, error)
    };
    let unknown = "its interface is not described";
    assert_eq!(
        error_of(|file| file.enhanced(1, 1, &[], 0)),
        with(6, unknown)
    );
    let short = |file: &mut File, len: u32| {
        let body = file.words(&[0, 0, 0, len, len, 0]);
        file.block(6, &body);
    };
    assert_eq!(
        error_of(|file| short(file, 5)),
        with(6, "too short for the packet in it")
    );
    let long = "byte 92: record of 262145 bytes is longer than the limit of 262144";
    assert_eq!(error_of(|file| short(file, 262_145)), (1, long.to_owned()));
    for kind in [1, 2, 3, 6] {
        assert_eq!(
            error_of(|file| file.block(kind, &[])),
            with(kind, "too short for a block of its type")
        );
    }
    assert_eq!(
        error_of(|file| {
            file.block(6, &[0; 24]);
            *file.bytes.last_mut().unwrap() = 1;
        }),
        with(6, "its two length fields differ")
    );
    let raw = |bytes: &[u8]| error_of(|file| file.bytes.extend(bytes));
    for len in [0, 8, 13] {
        let head = [6, 0, 0, 0, len, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            raw(&head),
            with(6, "its length is below 12 or not a multiple of 4")
        );
    }
    assert_eq!(
        raw(&[6, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0]),
        with(6, "too long for a block of its type")
    );
    assert_eq!(
        raw(&[7, 0, 0, 0, 4, 0, 0, 1, 0, 0, 0, 0]),
        with(7, "too long for a block of its type")
    );
    assert_eq!(
        raw(&[0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 1, 2, 3, 4]),
        with(0x0a0d_0d0a, "unknown byte-order magic")
    );
    let version = error_of(|file| {
        let body = [&file.word(0x1a2b_3c4d)[..], &[2, 0, 1, 0], &[0; 8]].concat();
        file.block(0x0a0d_0d0a, &body);
    });
    let text = "byte 92: version 2.1 of the pcapng format is not supported; expected 1";
    assert_eq!(version, (1, text.to_owned()));
}

#[test]
fn interfaces_are_bounded() {
    let mut file = File::default();
    file.section(false);
    for _ in 0..=65_536 {
        file.interface(LinkType::ETHERNET, 0, &[]);
    }
    file.enhanced(65_535, 1, &[1], 1);
    let (packets, error) = read_all(&*file.bytes);
    assert!(packets.is_empty());
    let error = error.unwrap().to_string();
    assert!(
        error.ends_with("the section has more than 65536 interfaces"),
        "{error}"
    );
}

#[test]
fn reading_can_be_repeated_after_a_failure_of_the_source() {
    struct Failing<'a>(Drip<'a>, u32);
    impl Read for Failing<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            match self.1 % 3 {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                _ => self.0.read(buffer),
            }
        }
    }
    let bytes = mixed().bytes;
    // The first interface is read before the first failure.
    let mut reader = PcapNgReader::new(Failing(Drip(&bytes, 100), 0)).unwrap();
    let (mut count, mut failures) = (0, 0);
    loop {
        match reader.next_batch() {
            Ok(Some(batch)) => count += batch.headers.len(),
            Ok(None) => break,
            Err(PcapFileError::Io { .. }) => failures += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(count, 8);
    assert!(failures > 1);
}

#[test]
fn the_longest_packets_fit() {
    let longest = vec![9; MAX_RECORD_LEN as usize];
    let mut file = File::default();
    file.section(true);
    file.interface(LinkType::ETHERNET, 0, &[]);
    for _ in 0..5 {
        file.enhanced(0, 1, &longest, MAX_RECORD_LEN);
    }
    let (packets, error) = read_all(&*file.bytes);
    assert!(error.is_none());
    assert!(packets.iter().all(|(_, (_, data, _))| *data == longest));
    assert_eq!(packets.len(), 5);
}

#[test]
fn times_and_lengths_beyond_the_format_are_rejected_and_nothing_is_written() {
    let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
    let packet = |ns, data| PacketRef {
        link_type: LinkType::ETHERNET,
        timestamp: Timestamp::from_ns(ns),
        data,
        wire_len: 1,
    };
    assert!(matches!(
        writer.write(&packet(-1, &[])),
        Err(PcapFileError::Time { seconds: -1 })
    ));
    let long = vec![0; MAX_RECORD_LEN as usize + 1];
    assert!(matches!(
        writer.write(&packet(0, &long)),
        Err(PcapFileError::LongRecord { .. })
    ));
    assert_eq!(writer.written(), 28);
}

fn written(packets: &[(LinkType, Written)]) -> Vec<u8> {
    let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
    for (link_type, (ns, data, wire_len)) in packets {
        let packet = PacketRef {
            link_type: *link_type,
            timestamp: Timestamp::from_ns(*ns),
            data,
            wire_len: *wire_len,
        };
        writer.write(&packet).unwrap();
    }
    let len = writer.written();
    let file = writer.into_inner();
    assert_eq!(len, file.len() as u64);
    file
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        packets in any_packets(),
        link_types in prop::collection::vec(0_u16..3, 40),
        step in 1_usize..300,
    ) {
        let packets: Vec<_> = link_types.into_iter().map(LinkType).zip(packets).collect();
        let bytes = written(&packets);
        for (read, error) in [read_all(&*bytes), read_all(Drip(&bytes, step))] {
            prop_assert!(error.is_none());
            prop_assert_eq!(&read, &packets);
        }
    }

    #[test]
    fn damage_is_found_at_the_same_offset_however_the_bytes_arrive(
        damage in prop::collection::vec((0..300_usize, any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        step in 1_usize..300,
    ) {
        let mut bytes = mixed().bytes;
        for (index, value) in damage {
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
