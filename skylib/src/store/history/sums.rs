//! `sums`: the CRC-32 and the length of each file of a segment, and of its footer, as text; the last
//! line has those of the lines before it. Pure.

use std::fmt::{self, Write as _};
use std::io::{self, Read, Write};

/// Name of the file of checksums in a segment.
pub(super) const SUMS: &str = "sums";

/// Checksums of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    /// Name of the file in its segment.
    pub(super) name: String,
    /// Sum of the whole content.
    pub(super) whole: Digest,
    /// Sum of the end of the file: the page indexes and the footer.
    pub(super) footer: Digest,
}

/// CRC-32 and length of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    pub(super) crc: u32,
    /// Length in bytes.
    pub(super) length: u64,
}

/// Writer that computes the digest of what is written to it.
#[derive(Default)]
pub(super) struct Digester {
    crc: crc32fast::Hasher,
    length: u64,
}

impl Digester {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        self.length += bytes.len() as u64;
    }

    pub(super) fn finish(self) -> Digest {
        Digest {
            crc: self.crc.finalize(),
            length: self.length,
        }
    }
}

impl Write for Digester {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Digest {
    /// Reads to the end and returns the digest of what was read.
    pub(super) fn of(reader: &mut dyn Read) -> io::Result<Self> {
        let mut digester = Digester::default();
        let reader = &mut io::BufReader::with_capacity(64 << 10, reader);
        io::copy(reader, &mut digester)?;
        Ok(digester.finish())
    }

    /// Parses `CRC LENGTH` and returns the rest of the line.
    fn parse(line: &str) -> Option<(Self, &str)> {
        let (crc, rest) = line.split_once(' ')?;
        let (length, rest) = rest.split_once(' ')?;
        let crc = u32::from_str_radix(crc, 16).ok()?;
        let length = length.parse().ok()?;
        Some((Self { crc, length }, rest))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x} {}", self.crc, self.length)
    }
}

/// Returns the text of a list of sums: for each file one line with the checksum and the length of the
/// file, those of its footer, and its name, and one line for these lines.
pub(super) fn format(sums: &[Sum]) -> String {
    let mut text = String::new();
    for sum in sums {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {} {}", sum.whole, sum.footer, sum.name);
    }
    let own = own_line(&text);
    text.push_str(&own);
    text
}

/// Returns the line for the lines before it.
fn own_line(lines: &str) -> String {
    let crc = crc32fast::hash(lines.as_bytes());
    format!("{crc:08x} {} {SUMS}\n", lines.len())
}

/// Parses a list of sums; `None` if a line is invalid or missing, or a name could leave the folder.
pub(super) fn parse(text: &str) -> Option<Vec<Sum>> {
    let before_last = text.strip_suffix('\n')?.rfind('\n')? + 1;
    let (lines, own) = text.split_at(before_last);
    if own != own_line(lines) {
        return None;
    }
    let mut sums = Vec::new();
    for line in lines.lines() {
        let (whole, rest) = Digest::parse(line)?;
        let (footer, name) = Digest::parse(rest)?;
        let is_plain = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
        if !is_plain || sums.len() == MAX_FILES {
            return None;
        }
        sums.push(Sum {
            name: name.to_owned(),
            whole,
            footer,
        });
    }
    (!sums.is_empty()).then_some(sums)
}

/// Maximum number of files in a segment.
const MAX_FILES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_text() {
        let sum = |name: &str, crc, length| Sum {
            name: name.to_owned(),
            whole: Digest { crc, length },
            footer: Digest { crc: 7, length: 1 },
        };
        let sums = [sum("flow.parquet", 0xab, 12), sum("metric.parquet", 1, 0)];
        let text = format(&sums);
        assert_eq!(
            text,
            "000000ab 12 00000007 1 flow.parquet\n00000001 0 00000007 1 metric.parquet\n\
             12d8d7f2 73 sums\n"
        );
        assert_eq!(parse(&text).as_deref(), Some(&sums[..]));
        for cut in 0..text.len() {
            assert_eq!(parse(&text[..cut]), None, "{cut}");
        }
        for wrong in [
            "",
            "x\n",
            "00 1 a\n",
            "zz 1 00 1 a\n",
            "00 1 zz 1 a\n",
            "00 1 00 1 ../a\n",
            "00 -1 00 1 a\n",
            "00 1 00 1 .a\n",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
            assert_eq!(
                parse(&(wrong.to_owned() + &own_line(wrong))),
                None,
                "{wrong}"
            );
        }
    }
}
