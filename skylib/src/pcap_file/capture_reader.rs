//! Reading capture files of any kind.

use std::io::{Chain, Cursor, Read, Take};
use std::sync::Arc;

use super::{Compression, Decompressor, FileFormat, PcapFileError, PcapNgReader, PcapReader};
use crate::packet::{LinkType, PacketBatch};

/// Reads a capture file of any kind that is known here: pcap or pcapng, plain or compressed by
/// gzip, LZ4 or zstd, as its first bytes tell.
///
/// ```
/// use skylib::packet::{LinkType, PacketRef};
/// use skylib::pcap_file::{CaptureReader, PcapNgWriter};
/// use skylib::time::Timestamp;
///
/// let mut writer = PcapNgWriter::new(Vec::new())?;
/// let (timestamp, data) = (Timestamp::from_ms(1), &[0x45; 20]);
/// writer.write(&PacketRef { link_type: LinkType::RAW, timestamp, data, wire_len: 20 })?;
/// let file = writer.into_inner();
///
/// let mut reader = CaptureReader::new(file.as_slice())?;
/// let batch = reader.next_batch()?.ok_or("one packet")?;
/// assert_eq!((batch.link_type, batch.headers.len()), (LinkType::RAW, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CaptureReader<R: Read> {
    compression: Option<Compression>,
    reader: FormatReader<Content<R>>,
}

#[derive(Debug)]
enum FormatReader<R> {
    Pcap(PcapReader<R>),
    PcapNg(PcapNgReader<R>),
}

/// The first four bytes, which tell the format, and the rest.
type Content<R> = Chain<Take<Cursor<[u8; 4]>>, Decompressor<R>>;

impl<R: Read> CaptureReader<R> {
    /// Reads the beginning of the file.
    ///
    /// # Errors
    ///
    /// The source fails or is too short, or the file is of a format or version that is not read.
    pub fn new(source: R) -> Result<Self, PcapFileError> {
        let failed = |source| PcapFileError::Io { offset: 0, source };
        let mut content = Decompressor::new(source).map_err(failed)?;
        let compression = content.compression();
        let mut magic = Vec::with_capacity(4);
        let read = content.by_ref().take(4).read_to_end(&mut magic);
        read.map_err(|error| PcapFileError::reading(magic.len() as u64, error))?;
        let had = magic.len() as u64;
        let Ok(magic) = <[u8; 4]>::try_from(magic) else {
            return Err(PcapFileError::ShortHeader { had });
        };
        let content = Cursor::new(magic).take(4).chain(content);
        let reader = match FileFormat::of(magic) {
            FileFormat::Pcap => FormatReader::Pcap(PcapReader::new(content)?),
            FileFormat::PcapNg => FormatReader::PcapNg(PcapNgReader::new(content)?),
            other => return Err(PcapFileError::Unreadable(other)),
        };
        Ok(Self {
            compression,
            reader,
        })
    }

    /// The next packets of one link type, as many as are at hand (8192 at most); `None` at the end
    /// of the file.
    ///
    /// # Errors
    ///
    /// The source fails, in which case the call may be repeated unless the file is compressed, or
    /// the file is damaged here: that is said once, after the packets before the damage, and ends
    /// the file.
    pub fn next_batch(&mut self) -> Result<Option<PacketBatch<'_>>, PcapFileError> {
        match &mut self.reader {
            FormatReader::Pcap(reader) => reader.next_batch(),
            FormatReader::PcapNg(reader) => reader.next_batch(),
        }
    }

    /// Type of the first header of the latest packets, at first of those of the first interface.
    pub const fn link_type(&self) -> LinkType {
        match &self.reader {
            FormatReader::Pcap(reader) => reader.link_type(),
            FormatReader::PcapNg(reader) => reader.link_type(),
        }
    }

    /// The buffer of the latest batch, to be kept while the reader goes on: as long as somebody
    /// has it, the reader fills others.
    pub fn shared_buffer(&self) -> Arc<[u8]> {
        match &self.reader {
            FormatReader::Pcap(reader) => reader.shared_buffer(),
            FormatReader::PcapNg(reader) => reader.shared_buffer(),
        }
    }

    /// Bytes of the file, uncompressed, that have been handed out so far.
    pub const fn offset(&self) -> u64 {
        match &self.reader {
            FormatReader::Pcap(reader) => reader.offset(),
            FormatReader::PcapNg(reader) => reader.offset(),
        }
    }

    /// The format of the file, or of what is compressed.
    pub const fn format(&self) -> FileFormat {
        match &self.reader {
            FormatReader::Pcap(_) => FileFormat::Pcap,
            FormatReader::PcapNg(_) => FileFormat::PcapNg,
        }
    }

    /// What the file is compressed by.
    pub const fn compression(&self) -> Option<Compression> {
        self.compression
    }
}
