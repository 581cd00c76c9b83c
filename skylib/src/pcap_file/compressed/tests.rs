use std::io::{Cursor, Write};

use flate2::GzBuilder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;
use crate::pcap_file::{CaptureReader, PcapFileError};

/// Returns text that can be compressed a little.
fn text(len: usize) -> Vec<u8> {
    let (mut text, mut random) = (Vec::with_capacity(len + 20), 1_u32);
    while text.len() < len {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match random.to_le_bytes() {
            [.., 0..64] => text.extend(b"flows of networks"),
            [a, b, c, _] => text.extend([a, b, c]),
        }
    }
    text.truncate(len);
    text
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::default();
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn lz4(content: &[u8]) -> Vec<u8> {
    let info = FrameInfo::new()
        .block_size(BlockSize::Max64KB)
        .block_mode(BlockMode::Linked)
        .content_checksum(true);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    compress_to_vec(content, CompressionLevel::Fastest)
}

type Compress = fn(&[u8]) -> Vec<u8>;

const FORMS: [(Compression, Compress); 3] = [
    (Compression::Gzip, gzip),
    (Compression::Lz4, lz4),
    (Compression::Zstd, zstd),
];

/// Source that returns a few bytes at a time, as a pipe may.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(7);
        self.0.read(&mut buffer[..len])
    }
}

/// Reads `step` bytes at a time; returns the content, and the error that ended reading.
fn read(source: impl Read, step: usize) -> (Vec<u8>, Option<DecompressionError>) {
    let mut reader = Decompressor::new(source).unwrap();
    let (mut content, mut buffer) = (Vec::new(), vec![0; step]);
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return (content, None),
            Ok(count) => content.extend(&buffer[..count]),
            Err(error) => {
                let again = reader.read(&mut buffer).unwrap_err();
                let damage = error.downcast::<DecompressionError>().unwrap();
                assert_eq!(again.downcast::<DecompressionError>().unwrap(), damage);
                return (content, Some(damage));
            }
        }
    }
}

#[test]
fn content_is_what_was_compressed_however_it_is_read() {
    let content = text(300_000);
    for (compression, compress) in FORMS {
        let file = compress(&content);
        assert!(file.len() < content.len());
        let found = Decompressor::new(&*file).unwrap().compression();
        assert_eq!(found, Some(compression));
        for step in [1000, 1 << 20] {
            for source in [&mut &*file as &mut dyn Read, &mut Drip(&file)] {
                let (read, error) = read(source, step);
                assert_eq!(error, None, "{compression}");
                assert!(read == content, "{compression}");
            }
        }
    }
}

#[test]
fn streams_one_after_the_other_are_one() {
    let (first, second) = (text(1000), text(200_000));
    for (compression, compress) in FORMS {
        let empty = compress(&[]);
        let file = [compress(&first), empty, compress(&second)].concat();
        let (content, error) = read(&*file, 4096);
        assert_eq!(error, None, "{compression}");
        assert!(content == [&*first, &*second].concat(), "{compression}");
    }
}

#[test]
fn skippable_frames_are_skipped() {
    let skipped = [&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let content = text(1000);
    for (_, compress) in &FORMS[1..] {
        let file = [compress(&content), skipped.clone(), compress(&content)].concat();
        let (read, error) = read(Drip(&file), 4096);
        assert_eq!(error, None);
        assert!(read == [&*content, &*content].concat());
    }
    let file = [skipped.clone(), zstd(&content)].concat();
    assert!(read(&*file, 4096).0 == content);
    let cut = [zstd(&content), skipped[..10].to_vec()].concat();
    let (found, error) = read(&*cut, 4096);
    assert!(found == content);
    assert_eq!(error.unwrap().reason, TRUNCATED);
}

#[test]
fn a_truncated_file_gives_the_content_before_its_end() {
    let content = text(300_000);
    for (compression, compress) in FORMS {
        let file = compress(&content);
        for len in [file.len() - 1, file.len() - 6, file.len() / 2, 20, 9] {
            let (found, error) = read(&file[..len], 1 << 19);
            let damage = error.expect("an error");
            assert_eq!(
                (damage.compression, &*damage.reason, damage.offset),
                (compression, TRUNCATED, len as u64)
            );
            assert!(found == content[..found.len()], "{compression}");
            // All content; for zstd, all but the last block of at most 128 KiB.
            let share = content.len() * len / file.len();
            let block = match compression {
                Compression::Zstd => 130 << 10,
                _ => 5 << 10,
            };
            assert!(found.len() + block > share, "{compression} {len}");
        }
        // Also at the end of a block.
        for len in 4..file.len().min(100) {
            assert!(read(&file[..len], 4096).1.is_some(), "{compression} {len}");
        }
    }
    let blocks = lz4(&content);
    let first = 7 + 4 + u32::from_le_bytes(blocks[7..11].try_into().unwrap()) as usize;
    assert!(first < 1 << 16);
    let (found, error) = read(&blocks[..first], 1 << 19);
    assert!(found == content[..1 << 16]);
    assert_eq!(error.unwrap().reason, TRUNCATED);
}

#[test]
fn damage_is_reported_after_the_content_before_it() {
    let content = text(300_000);
    for (compression, compress) in FORMS {
        let whole = compress(&content);
        // A few bytes at first, as in the detection of the format.
        let mut file = whole.clone();
        let at = file.len() / 20;
        file[at..at + 9].fill(0xff);
        let mut reader = Decompressor::new(&*file).unwrap();
        let mut found = [0; 4];
        reader.read_exact(&mut found).unwrap();
        assert_eq!(found, content[..4]);
        let mut rest = vec![0; 5000];
        reader.read_exact(&mut rest).unwrap();
        assert!(rest == content[4..5004], "{compression}");

        let (mut least, mut errors) = (usize::MAX, 0);
        for place in 0..40 {
            let mut file = whole.clone();
            let at = file.len() / 2 + place * 997;
            file[at] ^= 0xff;
            let (found, error) = read(&*file, 1 << 19);
            errors += usize::from(error.is_some());
            let same = content
                .iter()
                .zip(&found)
                .take_while(|(a, b)| a == b)
                .count();
            least = least.min(same);
        }
        assert_eq!(errors, 40, "{compression}");
        assert!(least > 20_000, "{compression} {least}");
    }
}

#[test]
fn checksums_count() {
    let content = text(1000);
    let mut file = gzip(&content);
    let at = file.len() - 5;
    file[at] ^= 1;
    let (found, error) = read(&*file, 4096);
    assert!(found == content);
    assert_eq!(error.unwrap().reason, WRONG_CHECKSUM);
    // As the `zstd` tool writes it.
    let mut file = vec![
        0x28, 0xb5, 0x2f, 0xfd, 4, 0x58, 0x29, 0, 0, b'h', b'e', b'l', b'l', b'o', 0xa3, 0x6d,
        0x9f, 0x88,
    ];
    assert_eq!(read(&*file, 4096), (b"hello".to_vec(), None));
    file[14] ^= 1;
    let (found, error) = read(&*file, 4096);
    assert_eq!(found, b"hello");
    assert_eq!(error.unwrap().reason, WRONG_CHECKSUM);
}

#[test]
fn other_data_behind_is_reported() {
    for (_, compress) in FORMS {
        let file = [compress(b"abc"), b"hello".to_vec()].concat();
        let (content, error) = read(&*file, 4096);
        assert_eq!(content, b"abc");
        assert!(error.is_some());
    }
}

#[test]
fn every_field_of_a_gzip_header_is_skipped() {
    let mut encoder = GzBuilder::new()
        .filename("trace.pcap")
        .comment("a comment")
        .extra(vec![1, 2, 3])
        .write(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"abc").unwrap();
    let mut file = encoder.finish().unwrap();
    assert_eq!(read(&*file, 10), (b"abc".to_vec(), None));
    file[2] = 7;
    let reason = read(&*file, 10).1.unwrap().reason;
    assert_eq!(reason, "the compression method is not deflate");
}

#[test]
fn memory_is_bounded_whatever_a_file_claims() {
    // A window of 256 MiB.
    let file = [0x28, 0xb5, 0x2f, 0xfd, 0, 18 << 3, 1, 0, 0];
    let (_, error) = read(&file[..], 10);
    let reason = error.unwrap().reason;
    assert!(reason.contains("indow"), "{reason}");
    // Endless zeros, a few at a time.
    let zeros = gzip(&vec![0; 50 << 20]);
    assert!(zeros.len() < 100_000);
    let mut reader = Decompressor::new(&*zeros).unwrap();
    let mut buffer = [1; 10];
    assert_eq!(reader.read(&mut buffer).unwrap(), 10);
    assert_eq!(buffer, [0; 10]);
}

#[test]
fn a_failing_source_is_no_damage() {
    #[derive(Debug)]
    struct Failing(Cursor<Vec<u8>>);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(&mut buffer[..100])? {
                0 => Err(io::Error::from_raw_os_error(5)),
                count => Ok(count),
            }
        }
    }
    for (compression, compress) in FORMS {
        let mut file = compress(&text(10_000));
        file.truncate(3000);
        let mut reader = Decompressor::new(Failing(Cursor::new(file))).unwrap();
        let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(5), "{compression}");
        assert!(reader.read(&mut [0; 9]).is_err(), "{compression}");
    }
    let error = Decompressor::new(Failing(Cursor::new(Vec::new()))).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(5));
}

#[test]
fn damage_in_a_compressed_capture_has_both_offsets() {
    let packets: Vec<_> = (0..1000).map(|i| (i, text(100), 100)).collect();
    let resolution = crate::pcap_file::Resolution::Nanoseconds;
    let file = crate::pcap_file::tests::file(&packets, resolution);
    let mut cut = gzip(&file);
    cut.truncate(cut.len() / 2);
    let mut reader = CaptureReader::new(&*cut).unwrap();
    assert_eq!(reader.compression(), Some(Compression::Gzip));
    let mut count = 0;
    let error = loop {
        match reader.next_batch() {
            Ok(Some(batch)) => count += batch.headers.len(),
            Ok(None) => panic!("an error"),
            Err(error) => break error,
        }
    };
    assert!(count > 100);
    let PcapFileError::Compressed { offset, source } = error else {
        panic!("{error}");
    };
    assert_eq!(source.offset, cut.len() as u64);
    assert!(offset >= 24 + count as u64 * 116);
    assert!(matches!(reader.next_batch(), Ok(None)));
}
