//! `sums`: the CRC-32 and the length of each file of a segment, as text; the last line has those of
//! the lines before it. Pure.

use std::fmt::Write as _;

/// Name of the file of checksums in a segment.
pub(super) const SUMS: &str = "sums";

/// Checksum and length of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    /// Name of the file in its segment.
    pub(super) name: String,
    /// CRC-32 of the content.
    pub(super) crc: u32,
    /// Length in bytes.
    pub(super) length: u64,
}

/// Returns the text of a list of sums: one line of checksum, length, and name for each file, and one
/// for these lines.
pub(super) fn format(sums: &[Sum]) -> String {
    let mut text = String::new();
    for sum in sums {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:08x} {} {}", sum.crc, sum.length, sum.name);
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
        let (crc, rest) = line.split_once(' ')?;
        let (length, name) = rest.split_once(' ')?;
        let is_plain = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
        if !is_plain || sums.len() == MAX_FILES {
            return None;
        }
        sums.push(Sum {
            name: name.to_owned(),
            crc: u32::from_str_radix(crc, 16).ok()?,
            length: length.parse().ok()?,
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
            crc,
            length,
        };
        let sums = [sum("flow.parquet", 0xab, 12), sum("metric.parquet", 1, 0)];
        let text = format(&sums);
        assert_eq!(
            text,
            "000000ab 12 flow.parquet\n00000001 0 metric.parquet\nc967e429 51 sums\n"
        );
        assert_eq!(parse(&text).as_deref(), Some(&sums[..]));
        for cut in 0..text.len() {
            assert_eq!(parse(&text[..cut]), None, "{cut}");
        }
        for wrong in [
            "",
            "x\n",
            "zz 1 a\n",
            "00 1 ../a\n",
            "00 -1 a\n",
            "00 1 .a\n",
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
