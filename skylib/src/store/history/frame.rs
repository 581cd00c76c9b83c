//! Frames of a log: batches of records with a checksum. Converts bytes to records and performs no
//! I/O.
//!
//! A frame is a header of four little-endian `u32`, and an LZ4 block:
//!
//! | Field | Meaning |
//! |---|---|
//! | length | bytes of the block |
//! | raw length | bytes of the records, uncompressed |
//! | count | number of records |
//! | CRC-32 | of the three fields above and the block |
//!
//! The records are length-delimited, as in protobuf.

use prost::encoding::{decode_varint, encode_varint};

/// Records of one frame, not yet compressed.
#[derive(Clone, Debug, Default)]
pub(super) struct FrameBuilder {
    records: Vec<u8>,
    count: u32,
}

impl FrameBuilder {
    /// Adds a record of `length` bytes, which `write` appends.
    pub(super) fn push(&mut self, length: usize, write: impl FnOnce(&mut Vec<u8>)) {
        encode_varint(length as u64, &mut self.records);
        let before = self.records.len();
        write(&mut self.records);
        debug_assert_eq!(self.records.len(), before + length);
        self.count += 1;
    }

    /// Returns whether the frame is large enough to be written.
    pub(super) const fn is_full(&self) -> bool {
        self.records.len() >= FULL_BYTES
    }

    /// Returns whether the frame has no records.
    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends the frame to `out` and removes its records.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        let block = lz4_flex::block::compress(&self.records);
        let mut header = [0; HEADER];
        let fields = [block.len(), self.records.len(), self.count as usize];
        for (bytes, field) in header.chunks_exact_mut(4).zip(fields) {
            let field = u32::try_from(field).unwrap_or(u32::MAX);
            bytes.copy_from_slice(&field.to_le_bytes());
        }
        let crc = checksum(&header[..CRC_OFFSET], &block);
        header[CRC_OFFSET..].copy_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(&block);
        self.records.clear();
        self.count = 0;
    }
}

/// Result of reading a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogContent {
    /// Uncompressed records of each valid frame, in order.
    pub(super) frames: Vec<Vec<u8>>,
    /// Bytes that belong to no valid frame.
    pub(super) lost_bytes: usize,
    /// Whether valid frames follow an invalid one. A crash leaves only an incomplete end; this is
    /// damage of the file.
    pub(super) is_damaged: bool,
}

impl LogContent {
    /// Reads all valid frames of a log.
    ///
    /// A frame with a wrong checksum is skipped by its length; reading ends at a frame that is
    /// incomplete or whose header is impossible.
    pub(super) fn read(mut bytes: &[u8]) -> Self {
        let mut content = Self::default();
        let mut invalid = 0;
        while let Some((frame, rest)) = split(bytes) {
            match frame {
                Some(records) => {
                    content.is_damaged |= invalid > 0;
                    content.frames.push(records);
                }
                None => invalid += bytes.len() - rest.len(),
            }
            bytes = rest;
        }
        content.lost_bytes = invalid + bytes.len();
        content
    }

    /// Iterates over the records of all frames.
    pub(super) fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.frames.iter().flat_map(|frame| records(frame))
    }
}

/// Splits the first frame off: its records, `None` if they are invalid, and the rest. Returns `None`
/// if the frame is incomplete.
fn split(bytes: &[u8]) -> Option<(Option<Vec<u8>>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let mut fields = header.chunks_exact(4).map(|field| {
        let field: [u8; 4] = field.try_into().unwrap_or_default();
        u32::from_le_bytes(field)
    });
    let mut next = || fields.next().unwrap_or_default();
    let (length, raw_length, _count, crc) = (next() as usize, next() as usize, next(), next());
    if length == 0 || length > MAX_BYTES || raw_length > MAX_BYTES {
        return None;
    }
    let (block, rest) = rest.split_at_checked(length)?;
    if checksum(&header[..CRC_OFFSET], block) != crc {
        return Some((None, rest));
    }
    Some((lz4_flex::block::decompress(block, raw_length).ok(), rest))
}

/// Iterates over the records of a frame; ends at a record that is incomplete.
fn records(mut frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = decode_varint(&mut frame).ok()?;
        let (record, rest) = frame.split_at_checked(usize::try_from(length).ok()?)?;
        frame = rest;
        Some(record)
    })
}

fn checksum(header: &[u8], block: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(header);
    crc.update(block);
    crc.finalize()
}

/// Bytes of the header.
const HEADER: usize = 16;
/// Offset of the checksum in the header.
const CRC_OFFSET: usize = 12;
/// Bytes of records after which a frame is written.
const FULL_BYTES: usize = 1 << 20;
/// Maximum bytes of a frame, compressed or not. A record is at most as large as a message of a
/// client, so a frame that was written is smaller.
const MAX_BYTES: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn log(frames: &[Vec<Vec<u8>>]) -> (Vec<u8>, Vec<usize>) {
        let mut log = Vec::new();
        let mut ends = vec![0];
        for records in frames {
            let mut frame = FrameBuilder::default();
            for record in records {
                frame.push(record.len(), |out| out.extend_from_slice(record));
            }
            frame.finish(&mut log);
            ends.push(log.len());
        }
        (log, ends)
    }

    fn frames() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
        let record = proptest::collection::vec(any::<u8>(), 0..60);
        proptest::collection::vec(proptest::collection::vec(record, 1..6), 1..6)
    }

    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, LogContent) {
        let content = LogContent::read(bytes);
        let records = content.records().map(<[u8]>::to_vec).collect();
        (records, content)
    }

    proptest! {
        #[test]
        fn a_log_cut_at_any_byte_has_its_complete_frames(frames in frames()) {
            let (log, ends) = log(&frames);
            for length in 0..=log.len() {
                let complete = ends.iter().filter(|end| **end <= length).count() - 1;
                let (records, content) = read(&log[..length]);
                prop_assert_eq!(&records, &frames[..complete].concat());
                prop_assert_eq!(content.lost_bytes, length - ends[complete]);
                prop_assert!(!content.is_damaged, "a cut end is normal after a crash");
            }
        }

        #[test]
        fn a_changed_bit_loses_at_most_the_rest_and_never_changes_a_record(
            frames in frames(),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let (mut log, ends) = log(&frames);
            let at = at.index(log.len());
            log[at] ^= 1 << bit;
            let hit = ends.iter().filter(|end| **end <= at).count() - 1;
            let (records, content) = read(&log);
            prop_assert!(content.lost_bytes > 0);
            let before = frames[..hit].concat();
            prop_assert_eq!(&records[..before.len()], &before[..]);
            let others: Vec<_> = frames.iter().enumerate().filter(|(i, _)| *i != hit).collect();
            let others: Vec<_> = others.into_iter().flat_map(|(_, frame)| frame.clone()).collect();
            prop_assert!(records == others || records == before);
            prop_assert_eq!(content.is_damaged, records.len() > before.len());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            read(&bytes);
        }
    }
}
