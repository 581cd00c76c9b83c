//! What must hold of any compressed file.

use std::io::{self, Read};

use skylib::pcap_file::{CaptureReader, Decompressor};

/// Panics if the decompressor does, or if it tells another story when the bytes come bit by bit.
pub(crate) fn check(input: &[u8]) {
    let (whole, end) = read(input);
    let (dripped, dripped_end) = read(Drip(input));
    // How far a decoder goes on behind the damage may depend on what it has at hand.
    assert!(whole.starts_with(&dripped) || dripped.starts_with(&whole));
    if whole.len().max(dripped.len()) < MOST as usize {
        assert_eq!(end.is_some(), dripped_end.is_some());
    }
    if end.is_none() && dripped_end.is_none() {
        assert_eq!(whole.len(), dripped.len());
    }
    if let Ok(mut reader) = CaptureReader::new(input) {
        let mut bytes = 0;
        while let Ok(Some(batch)) = reader.next_batch()
            && bytes < MOST
        {
            bytes += batch.headers.len() as u64 * 16;
        }
    }
}

/// The first of the content, and what is wrong with the rest.
fn read(source: impl Read) -> (Vec<u8>, Option<String>) {
    let mut content = Vec::new();
    let end = Decompressor::new(source)
        .and_then(|reader| reader.take(MOST).read_to_end(&mut content))
        .err();
    (content, end.map(|error| error.to_string()))
}

/// Enough to see that there is no end in sight.
const MOST: u64 = 1 << 20;

/// Gives seven bytes at a time.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(7);
        self.0.read(&mut buffer[..len])
    }
}
