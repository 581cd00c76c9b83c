//! Checks of pcapng files.

use std::io::{self, Read};

use skylib::packet::PacketRef;
use skylib::pcap_file::{PcapFileError, PcapNgReader, PcapNgWriter};

/// Panics if the reader panics, if its result depends on the size of the reads, or if packets
/// change when they are written and read again.
pub(crate) fn check(input: &[u8]) {
    let mut writer = PcapNgWriter::new(Vec::new()).expect("a vector accepts all bytes");
    let (mut packets, mut bytes) = (0, 0);
    let mut whole = Vec::new();
    let end = read(input, |packet| {
        packets += 1;
        bytes += packet.data.len();
        if writer.write(packet).is_ok() {
            whole.push(fields(packet));
        }
    });
    assert!(bytes + packets * 16 <= input.len());
    let mut dripped = (0, 0);
    let dripped_end = read(Drip(input), |packet| {
        dripped = (dripped.0 + 1, dripped.1 + packet.data.len());
    });
    assert_eq!(
        end.map(|error| error.to_string()),
        dripped_end.map(|error| error.to_string())
    );
    assert_eq!((packets, bytes), dripped);

    let mut again = Vec::new();
    let end = read(&*writer.into_inner(), |packet| again.push(fields(packet)));
    assert!(end.is_none());
    assert_eq!(whole, again);
}

fn fields(packet: &PacketRef<'_>) -> (u16, i64, u32, Vec<u8>) {
    let time = packet.timestamp.as_ns();
    (
        packet.link_type.0,
        time,
        packet.wire_len,
        packet.data.to_vec(),
    )
}

/// Reads all packets; returns the error that ended the file.
fn read(source: impl Read, mut work: impl FnMut(&PacketRef<'_>)) -> Option<PcapFileError> {
    let mut reader = match PcapNgReader::new(source) {
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
