//! Checks of compressed files.

use std::io::{self, Read};

use skylib::pcap_file::{CaptureReader, Decompressor};

/// Panics if the decompressor panics, or if its result depends on the size of the reads.
pub(crate) fn check(input: &[u8]) {
    let (whole, end) = read(input);
    let (dripped, dripped_end) = read(Drip(input));
    // The amount of data decoded around damage may depend on the bytes available to the decoder.
    assert!(whole.starts_with(&dripped) || dripped.starts_with(&whole));
    if whole.len().max(dripped.len()) < MAX_BYTES as usize {
        assert_eq!(end.is_some(), dripped_end.is_some());
    }
    if end.is_none() && dripped_end.is_none() {
        assert_eq!(whole.len(), dripped.len());
    }
    if let Ok(mut reader) = CaptureReader::new(input) {
        let mut bytes = 0;
        while let Ok(Some(batch)) = reader.next_batch()
            && bytes < MAX_BYTES
        {
            bytes += batch.headers.len() as u64 * 16;
        }
    }
}

/// Returns the beginning of the content, and the error that ended reading.
fn read(source: impl Read) -> (Vec<u8>, Option<String>) {
    let mut content = Vec::new();
    let end = Decompressor::new(source)
        .and_then(|reader| reader.take(MAX_BYTES).read_to_end(&mut content))
        .err();
    (content, end.map(|error| error.to_string()))
}

/// Maximum number of bytes to read, because the content may be huge.
const MAX_BYTES: u64 = 1 << 20;

/// Source that returns seven bytes at a time.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(7);
        self.0.read(&mut buffer[..len])
    }
}
