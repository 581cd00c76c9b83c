//! What must hold of any pcapng file.

use std::io::{self, Read};

use skylib::packet::PacketRef;
use skylib::pcap_file::{PcapFileError, PcapNgReader, PcapNgWriter};

/// Panics if the reader does, if it tells another story when the bytes come bit by bit, or if what
/// it reads does not come back after writing.
pub(crate) fn check(input: &[u8]) {
    let mut writer = PcapNgWriter::new(Vec::new()).expect("memory takes what is written");
    let (mut packets, mut bytes) = (0, 0);
    let mut whole = Vec::new();
    let end = read(input, |packet| {
        packets += 1;
        bytes += packet.data.len();
        if writer.write(packet).is_ok() {
            whole.push(told(packet));
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
    let end = read(&*writer.into_inner(), |packet| again.push(told(packet)));
    assert!(end.is_none());
    assert_eq!(whole, again);
}

fn told(packet: &PacketRef<'_>) -> (u16, i64, u32, Vec<u8>) {
    let time = packet.timestamp.as_ns();
    (
        packet.link_type.0,
        time,
        packet.wire_len,
        packet.data.to_vec(),
    )
}

/// What ended the file, if not its end.
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

/// Gives seven bytes at a time.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(7);
        self.0.read(&mut buffer[..len])
    }
}
