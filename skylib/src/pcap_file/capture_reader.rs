//! Reader of capture files of any supported format.

use std::io::{Chain, Cursor, Read, Take};
use std::sync::Arc;

use super::{Compression, Decompressor, FileFormat, PcapFileError, PcapNgReader, PcapReader};
use crate::packet::{CapturePoints, LinkType, PacketBatch};

/// Reader of a capture file of any supported format: pcap or pcapng, uncompressed or compressed
/// with gzip, LZ4, or zstd. The format is detected from the first bytes.
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
/// let batch = reader.next_batch()?.ok_or("no packet")?;
/// assert_eq!((batch.link_type, batch.headers.len()), (LinkType::RAW, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CaptureReader<R: Read> {
    compression: Option<Compression>,
    points: CapturePoints,
    reader: FormatReader<Content<R>>,
}

#[derive(Debug)]
enum FormatReader<R> {
    Pcap(PcapReader<R>),
    PcapNg(PcapNgReader<R>),
}

/// Decompressed file: its first four bytes, which were read to detect the format, followed by the
/// rest.
type Content<R> = Chain<Take<Cursor<[u8; 4]>>, Decompressor<R>>;

impl<R: Read> CaptureReader<R> {
    /// Creates a reader of `source` and reads the beginning of the file.
    ///
    /// # Errors
    ///
    /// Returns an error if the source fails or is too short, or if the format or version of the
    /// file is not supported.
    pub fn new(source: R) -> Result<Self, PcapFileError> {
        Self::with_points(source, CapturePoints::default())
    }

    /// Creates a reader of `source` that adds its interfaces to a list of capture points, which the
    /// readers of several files may share.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`CaptureReader::new`], and [`PcapFileError::CapturePoints`] if there
    /// are too many capture points.
    pub fn with_points(source: R, points: CapturePoints) -> Result<Self, PcapFileError> {
        let failed = |source| PcapFileError::Io { offset: 0, source };
        let mut content = Decompressor::new(source).map_err(failed)?;
        let compression = content.compression();
        let mut magic = Vec::with_capacity(4);
        let read = content.by_ref().take(4).read_to_end(&mut magic);
        read.map_err(|error| PcapFileError::reading(magic.len() as u64, error))?;
        let available = magic.len() as u64;
        let Ok(magic) = <[u8; 4]>::try_from(magic) else {
            return Err(PcapFileError::ShortHeader { available });
        };
        let content = Cursor::new(magic).take(4).chain(content);
        let reader = match FileFormat::of(magic) {
            FileFormat::Pcap => {
                FormatReader::Pcap(PcapReader::with_points(content, points.clone())?)
            }
            FileFormat::PcapNg => {
                FormatReader::PcapNg(PcapNgReader::with_points(content, points.clone())?)
            }
            other => return Err(PcapFileError::Unreadable(other)),
        };
        Ok(Self {
            compression,
            points,
            reader,
        })
    }

    /// Returns the next packets of one link type that are available without waiting for the source,
    /// at least one and at most 8192; `None` at the end of the file.
    ///
    /// # Errors
    ///
    /// Returns an error if the source fails; the call may be repeated, unless the file is
    /// compressed. Returns an error if the file is damaged. Damage is reported once, after all
    /// packets before it, and ends the file.
    pub fn next_batch(&mut self) -> Result<Option<PacketBatch<'_>>, PcapFileError> {
        match &mut self.reader {
            FormatReader::Pcap(reader) => reader.next_batch(),
            FormatReader::PcapNg(reader) => reader.next_batch(),
        }
    }

    /// Returns the latest batch again; an empty batch before the first one and after the last one.
    pub fn batch(&self) -> PacketBatch<'_> {
        match &self.reader {
            FormatReader::Pcap(reader) => reader.batch(),
            FormatReader::PcapNg(reader) => reader.batch(),
        }
    }

    /// Returns the link type of the latest batch; before the first batch, that of the first
    /// interface.
    pub const fn link_type(&self) -> LinkType {
        match &self.reader {
            FormatReader::Pcap(reader) => reader.link_type(),
            FormatReader::PcapNg(reader) => reader.link_type(),
        }
    }

    /// Returns the buffer of the latest batch. While the caller holds the buffer, it is not
    /// overwritten and the reader uses other buffers, so that packets can be processed while the
    /// next ones are read.
    pub fn shared_buffer(&self) -> Arc<[u8]> {
        match &self.reader {
            FormatReader::Pcap(reader) => reader.shared_buffer(),
            FormatReader::PcapNg(reader) => reader.shared_buffer(),
        }
    }

    /// Returns the number of decompressed bytes of the file that have been parsed.
    pub const fn offset(&self) -> u64 {
        match &self.reader {
            FormatReader::Pcap(reader) => reader.offset(),
            FormatReader::PcapNg(reader) => reader.offset(),
        }
    }

    /// Returns the format of the decompressed file: pcap or pcapng.
    ///
    /// ```
    /// use skylib::packet::LinkType;
    /// use skylib::pcap_file::{CaptureReader, FileFormat, PcapWriter, Resolution};
    ///
    /// let writer = PcapWriter::new(Vec::new(), LinkType::RAW, Resolution::Microseconds)?;
    /// let file = writer.into_inner();
    /// let reader = CaptureReader::new(file.as_slice())?;
    /// assert_eq!(reader.format(), FileFormat::Pcap);
    /// assert_eq!(reader.compression(), None);
    /// # Ok::<(), skylib::pcap_file::PcapFileError>(())
    /// ```
    pub const fn format(&self) -> FileFormat {
        match &self.reader {
            FormatReader::Pcap(_) => FileFormat::Pcap,
            FormatReader::PcapNg(_) => FileFormat::PcapNg,
        }
    }

    /// Returns the capture points so far: the interfaces of a pcapng file, or one point for a pcap
    /// file.
    pub const fn points(&self) -> &CapturePoints {
        &self.points
    }

    /// Returns the compression of the file; `None` if it is not compressed.
    pub const fn compression(&self) -> Option<Compression> {
        self.compression
    }
}
