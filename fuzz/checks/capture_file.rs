//! Checks of classic capture files.

use std::io::{self, Read};

use skylib::packet::PacketRef;
use skylib::pcap_file::{PcapFileError, PcapReader, PcapWriter};

/// Panics if the reader panics, if its result depends on the size of the reads, or if packets
/// change when they are written and read again.
pub(crate) fn check(input: &[u8]) {
    let mut packets = 0;
    let mut whole = Vec::new();
    let end = read(input, |packet| {
        packets += 1;
        whole.extend_from_slice(packet.data);
    });
    let mut dripped = Vec::new();
    let dripped_end = read(Drip(input), |packet| dripped.extend_from_slice(packet.data));
    assert_eq!(
        end.map(|error| error.to_string()),
        dripped_end.map(|error| error.to_string())
    );
    assert_eq!(whole, dripped);
    assert!(whole.len() + packets * 16 <= input.len());

    let Ok(reader) = PcapReader::new(input) else {
        return;
    };
    let mut writer = PcapWriter::new(Vec::new(), reader.link_type(), reader.resolution())
        .expect("a vector accepts all bytes");
    let mut written = 0;
    read(input, |packet| {
        written += usize::from(writer.write(packet).is_ok());
    });
    let mut again = 0;
    let end = read(&*writer.into_inner(), |_| again += 1);
    assert!(end.is_none());
    assert_eq!(written, again);
}

/// Reads all packets; returns the error that ended the file.
fn read(source: impl Read, mut work: impl FnMut(&PacketRef<'_>)) -> Option<PcapFileError> {
    let mut reader = match PcapReader::new(source) {
        Ok(reader) => reader,
        Err(error) => return Some(error),
    };
    loop {
        match reader.next_batch() {
            Ok(Some(batch)) => batch.iter().for_each(|packet| work(&packet)),
            Ok(None) => return None,
            Err(error) => return Some(error),
        }
    }
}

/// Source that returns seven bytes at a time.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(7);
        self.0.read(&mut buffer[..len])
    }
}
