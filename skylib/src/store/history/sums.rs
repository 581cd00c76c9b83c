//! `sums`: the length of each file of a segment and the CRC-32 of each of its blocks, as text; the
//! last line has those of the lines before it. Performs no I/O.
//!
//! A reader checks a whole block before it uses any byte of it, so that a damaged page results in
//! an error, not in an answer with missing rows.

use std::fmt::Write as _;
use std::ops::Range;

/// Name of the file of checksums in a segment.
pub(super) const SUMS: &str = "sums";
/// Length of a block in bytes; the last block of a file may be shorter.
pub(super) const BLOCK_BYTES: u64 = 16 << 10;

/// Checksums of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    /// Name of the file in its segment.
    pub(super) name: String,
    /// Length in bytes.
    pub(super) length: u64,
    /// CRC-32 of each block.
    pub(super) blocks: Vec<u32>,
}

impl Sum {
    /// Returns the whole blocks that have the bytes of a range, as a range of bytes.
    pub(super) fn around(&self, range: &Range<u64>) -> Range<u64> {
        let start = range.start - range.start % BLOCK_BYTES;
        let end = range.end.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES);
        start..end.min(self.length)
    }

    /// Returns the first byte of the first block that differs from its sum. `start` is the first byte
    /// of a block, and `bytes` are whole blocks from there on.
    pub(super) fn difference(&self, start: u64, bytes: &[u8]) -> Option<u64> {
        let first = start / BLOCK_BYTES;
        let blocks = (first..).zip(bytes.chunks(BLOCK_BYTES as usize));
        let mut different = blocks.filter(|(number, block)| {
            let number = usize::try_from(*number).unwrap_or(usize::MAX);
            self.blocks.get(number) != Some(&crc32fast::hash(block))
        });
        different.next().map(|(number, _)| number * BLOCK_BYTES)
    }

    /// Returns the line of the file: its length, its checksums, and its name.
    fn line(&self) -> String {
        let mut line = format!("{} ", self.length);
        for block in &self.blocks {
            // Writing to a string cannot fail.
            let _ = write!(line, "{block:08x}");
        }
        let _ = writeln!(line, " {}", self.name);
        line
    }

    /// Parses a line without its end; `None` if it is invalid, or the name could leave the folder.
    fn parse(line: &str) -> Option<Self> {
        let (length, rest) = line.split_once(' ')?;
        let (blocks, name) = rest.split_once(' ')?;
        let length: u64 = length.parse().ok()?;
        let digits = length.div_ceil(BLOCK_BYTES).checked_mul(DIGITS as u64)?;
        let is_plain = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
        let is_hexadecimal = blocks.bytes().all(|digit| digit.is_ascii_hexdigit());
        if blocks.len() as u64 != digits || !is_hexadecimal || !is_plain {
            return None;
        }
        let blocks = blocks.as_bytes().chunks(DIGITS);
        let blocks = blocks.map(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u32::from_str_radix(digits, 16).ok()
        });
        Some(Self {
            name: name.to_owned(),
            length,
            blocks: blocks.collect::<Option<_>>()?,
        })
    }
}

/// Computes the checksums of written data.
#[derive(Default)]
pub(super) struct Digester {
    length: u64,
    blocks: Vec<u32>,
    /// Sum of the last block, which is not complete.
    crc: crc32fast::Hasher,
}

impl Digester {
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let missing = BLOCK_BYTES - self.length % BLOCK_BYTES;
            let (block, rest) = bytes.split_at(bytes.len().min(missing as usize));
            self.crc.update(block);
            self.length += block.len() as u64;
            bytes = rest;
            if self.length.is_multiple_of(BLOCK_BYTES) {
                self.blocks.push(std::mem::take(&mut self.crc).finalize());
            }
        }
    }

    /// Returns the sums of a file with this content.
    pub(super) fn finish(mut self, name: &str) -> Sum {
        if !self.length.is_multiple_of(BLOCK_BYTES) {
            self.blocks.push(self.crc.finalize());
        }
        Sum {
            name: name.to_owned(),
            length: self.length,
            blocks: self.blocks,
        }
    }
}

/// Returns the text of a list of sums: one line for each file, and one line for these lines.
pub(super) fn format(sums: &[Sum]) -> String {
    let mut text: String = sums.iter().map(Sum::line).collect();
    let own = own_line(&text);
    text.push_str(&own);
    text
}

/// Returns the line for the lines before it.
fn own_line(lines: &str) -> String {
    let crc = crc32fast::hash(lines.as_bytes());
    format!("{} {crc:08x} {SUMS}\n", lines.len())
}

/// Parses a list of sums; `None` if a line is invalid or missing.
pub(super) fn parse(text: &str) -> Option<Vec<Sum>> {
    let before_last = text.strip_suffix('\n')?.rfind('\n')? + 1;
    let (lines, own) = text.split_at(before_last);
    if own != own_line(lines) {
        return None;
    }
    let lines = lines.lines().take(MAX_FILES + 1).map(Sum::parse);
    let sums: Vec<Sum> = lines.collect::<Option<_>>()?;
    (1..=MAX_FILES).contains(&sums.len()).then_some(sums)
}

/// Maximum number of files in a segment.
const MAX_FILES: usize = 16;
/// Number of hexadecimal digits of the sum of a block.
const DIGITS: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sums_are_text() {
        let sum = |name: &str, length, blocks: &[u32]| Sum {
            name: name.to_owned(),
            length,
            blocks: blocks.to_vec(),
        };
        let sums = [
            sum("flow.parquet", 16_385, &[0xab, 0xcdef_0123]),
            sum("metric.parquet", 0, &[]),
        ];
        let text = format(&sums);
        assert_eq!(
            text,
            format!(
                "16385 000000abcdef0123 flow.parquet\n0  metric.parquet\n54 {:08x} sums\n",
                crc32fast::hash(&text.as_bytes()[..54])
            )
        );
        assert_eq!(parse(&text).as_deref(), Some(&sums[..]));
        for cut in 0..text.len() {
            assert_eq!(parse(&text[..cut]), None, "{cut}");
        }
        for wrong in [
            "",
            "x\n",
            "1 0000000a\n",
            "z 0000000a a\n",
            "-1 0000000a a\n",
            "1 0000000z a\n",
            "1 +000000a a\n",
            "1 000000a a\n",
            "1  a\n",
            "0 0000000a a\n",
            "16385 0000000a a\n",
            "18446744073709551615 0000000a a\n",
            "1 0000000a ../a\n",
            "1 0000000a .a\n",
            "1 0000000a \n",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
            let whole = wrong.to_owned() + &own_line(wrong);
            assert_eq!(parse(&whole), None, "{wrong}");
        }
    }

    #[test]
    fn a_segment_has_a_bounded_number_of_files() {
        let lines = "1 0000000a a\n".repeat(MAX_FILES);
        assert!(parse(&(lines.clone() + &own_line(&lines))).is_some());
        let lines = lines + "1 0000000a a\n";
        assert_eq!(parse(&(lines.clone() + &own_line(&lines))), None);
    }

    proptest! {
        #[test]
        fn a_change_of_any_byte_is_found_in_its_block_however_the_file_was_written(
            length in 1_usize..70_000,
            pieces in prop::collection::vec(1_usize..40_000, 1..8),
            at in any::<prop::sample::Index>(),
        ) {
            let mut content: Vec<u8> = (0..length).map(|byte| (byte * 31 / 7) as u8).collect();
            let mut digester = Digester::default();
            let (mut rest, mut pieces) = (&content[..], pieces.into_iter().cycle());
            while !rest.is_empty() {
                let (piece, others) = rest.split_at(rest.len().min(pieces.next().unwrap()));
                digester.update(piece);
                rest = others;
            }
            let sum = digester.finish("a");
            prop_assert_eq!(sum.length, length as u64);
            prop_assert_eq!(sum.blocks.len() as u64, sum.length.div_ceil(BLOCK_BYTES));
            prop_assert_eq!(sum.difference(0, &content), None);
            let at = at.index(length);
            content[at] ^= 0x10;
            let block = sum.around(&(at as u64..at as u64 + 1));
            prop_assert!(block.contains(&(at as u64)));
            prop_assert_eq!(sum.difference(0, &content), Some(block.start));
            let found = &content[block.start as usize..block.end as usize];
            prop_assert_eq!(sum.difference(block.start, found), Some(block.start));
        }
    }
}
