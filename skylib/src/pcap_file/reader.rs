//! Reader of classic pcap files.

use std::io::Read;
use std::sync::Arc;

use super::buffer::Buffer;
use super::{
    FILE_HEADER_LEN, FileFormat, MAGIC_MICROSECONDS, MAGIC_NANOSECONDS, MAX_BATCH, MAX_RECORD_LEN,
    PcapFileError, RECORD_HEADER_LEN, Resolution, VERSION,
};
use crate::packet::{
    CapturePoint, CapturePointName, CapturePoints, LinkType, PacketBatch, PacketHeader,
};
use crate::time::Timestamp;

/// Reader of a classic pcap file, in either byte order and resolution.
/// [`CaptureReader`](super::CaptureReader) also reads pcapng and compressed files.
///
/// The reader has a buffer of 512 KiB, but returns packets as soon as one record is complete, so
/// that it can follow a pipe.
///
/// ```
/// use skylib::packet::{LinkType, PacketRef};
/// use skylib::pcap_file::{PcapReader, PcapWriter, Resolution};
/// use skylib::time::Timestamp;
///
/// let mut writer = PcapWriter::new(Vec::new(), LinkType::RAW, Resolution::Microseconds)?;
/// let (timestamp, data) = (Timestamp::from_ms(1), &[0x45; 20]);
/// writer.write(&PacketRef { link_type: LinkType::RAW, timestamp, data, wire_len: 20 })?;
/// let file = writer.into_inner();
///
/// let mut reader = PcapReader::new(file.as_slice())?;
/// let mut bytes = 0;
/// while let Some(batch) = reader.next_batch()? {
///     bytes += batch.iter().map(|packet| packet.wire_len).sum::<u32>();
/// }
/// assert_eq!((reader.link_type(), bytes), (LinkType::RAW, 20));
/// # Ok::<(), skylib::pcap_file::PcapFileError>(())
/// ```
#[derive(Debug)]
pub struct PcapReader<R> {
    header: FileHeader,
    buffer: Buffer<R>,
    /// Packets of the latest batch.
    headers: Vec<PacketHeader>,
    points: CapturePoints,
    /// Index of this file in `points`.
    point: u32,
    /// Whether the end, or the error that ends the file, has been reported.
    has_ended: bool,
}

/// Fields of the file header.
#[derive(Clone, Copy, Debug)]
struct FileHeader {
    is_big_endian: bool,
    resolution: Resolution,
    snap_len: u32,
    link_type: LinkType,
}

impl<R: Read> PcapReader<R> {
    /// Creates a reader of `source` and reads the file header.
    ///
    /// # Errors
    ///
    /// Returns an error if the source fails or is too short, or if the file has another format or
    /// version.
    pub fn new(source: R) -> Result<Self, PcapFileError> {
        Self::with_points(source, CapturePoints::default())
    }

    /// Creates a reader of `source` that adds the file to a list of capture points.
    pub(super) fn with_points(source: R, points: CapturePoints) -> Result<Self, PcapFileError> {
        // The format has no interfaces: the file is treated like a section with one interface
        // without a name.
        let name = CapturePointName::Number(0);
        let point = points.register(name).ok_or(PcapFileError::CapturePoints)?;
        let mut reader = Self {
            points,
            point,
            header: FileHeader {
                is_big_endian: false,
                resolution: Resolution::Microseconds,
                snap_len: 0,
                link_type: LinkType::NULL,
            },
            buffer: Buffer::new(source),
            headers: Vec::with_capacity(MAX_BATCH),
            has_ended: false,
        };
        reader.header = reader.read_file_header()?;
        Ok(reader)
    }

    /// Returns the next packets that are available without waiting for the source, at least one and
    /// at most 8192; `None` at the end of the file.
    ///
    /// # Errors
    ///
    /// Returns an error if the source fails; the call may be repeated. Returns an error if the file
    /// is damaged. Damage is reported once, after all packets before it, and ends the file.
    pub fn next_batch(&mut self) -> Result<Option<PacketBatch<'_>>, PcapFileError> {
        self.headers.clear();
        let is_only = self.points.len() <= 1;
        let point = match is_only {
            true => CapturePoint::ONLY,
            false => CapturePoint::new(self.point),
        };
        loop {
            if self.has_ended {
                return Ok(None);
            }
            if let Err(damage) = self.parse_records(point) {
                self.has_ended = true;
                return Err(damage);
            }
            if !self.headers.is_empty() {
                break;
            }
            if self.buffer.is_drained {
                self.has_ended = true;
                self.check_end()?;
            } else if let Err(error) = self.buffer.fill() {
                self.has_ended = error.is_final();
                return Err(error);
            }
        }
        self.points.count_all(self.point, self.headers.len() as u64);
        Ok(Some(self.batch()))
    }

    /// Returns the latest batch; an empty batch before the first one and after the last one.
    pub(super) fn batch(&self) -> PacketBatch<'_> {
        PacketBatch {
            link_type: self.header.link_type,
            buffer: &self.buffer.bytes,
            headers: &self.headers,
        }
    }

    /// Returns the link type of all packets.
    pub const fn link_type(&self) -> LinkType {
        self.header.link_type
    }

    /// Returns the resolution of the timestamps.
    pub const fn resolution(&self) -> Resolution {
        self.header.resolution
    }

    /// Returns the snap length: the maximum number of captured bytes of a packet. Some writers do
    /// not respect it.
    pub const fn snap_len(&self) -> u32 {
        self.header.snap_len
    }

    /// Returns the buffer of the latest batch; see
    /// [`CaptureReader::shared_buffer`](super::CaptureReader::shared_buffer).
    pub(super) fn shared_buffer(&self) -> Arc<[u8]> {
        Arc::clone(&self.buffer.bytes)
    }

    /// Returns the number of bytes of the file that have been parsed.
    pub const fn offset(&self) -> u64 {
        self.buffer.offset
    }

    fn read_file_header(&mut self) -> Result<FileHeader, PcapFileError> {
        while self.buffer.end < FILE_HEADER_LEN && !self.buffer.is_drained {
            self.buffer.fill()?;
        }
        let bytes = self.buffer.unread();
        let magic = match bytes.first_chunk::<4>() {
            Some(magic) => u32::from_le_bytes(*magic),
            None => {
                return Err(PcapFileError::ShortHeader {
                    available: bytes.len() as u64,
                });
            }
        };
        let Some((is_big_endian, resolution)) = byte_order_and_resolution(magic) else {
            return Err(PcapFileError::Format(FileFormat::of(magic.to_le_bytes())));
        };
        let Some(header) = bytes.first_chunk::<FILE_HEADER_LEN>() else {
            return Err(PcapFileError::ShortHeader {
                available: bytes.len() as u64,
            });
        };
        let fields = words::<6>(header, is_big_endian);
        let [_, version, _, _, snap_len, link_type] = fields;
        // Two numbers of 16 bits, of which the first is in the upper half of a big-endian word.
        let (major, minor) = if is_big_endian {
            ((version >> 16) as u16, version as u16)
        } else {
            (version as u16, (version >> 16) as u16)
        };
        if (major, minor) != VERSION {
            return Err(PcapFileError::Version { major, minor });
        }
        // The upper half contains the length of frame check sequences, which is not needed.
        let link_type = LinkType(link_type as u16);
        self.buffer.advance(FILE_HEADER_LEN);
        Ok(FileHeader {
            is_big_endian,
            resolution,
            snap_len,
            link_type,
        })
    }

    /// Adds the headers of the complete records in the buffer.
    fn parse_records(&mut self, point: CapturePoint) -> Result<(), PcapFileError> {
        let FileHeader {
            is_big_endian,
            resolution,
            ..
        } = self.header;
        let Buffer {
            start, end, offset, ..
        } = self.buffer;
        let mut at = start;
        let unread = self.buffer.bytes.get(..end).unwrap_or_default();
        let mut damage = None;
        while self.headers.len() < MAX_BATCH
            && let Some((header, data)) = unread
                .get(at..)
                .and_then(|rest| rest.split_first_chunk::<RECORD_HEADER_LEN>())
        {
            let fields = words::<4>(header, is_big_endian);
            let [seconds, fraction, captured_len, wire_len] = fields;
            if captured_len > MAX_RECORD_LEN {
                damage = Some(PcapFileError::LongRecord {
                    offset: offset + (at - start) as u64,
                    len: u64::from(captured_len),
                });
                break;
            }
            if data.len() < captured_len as usize {
                break;
            }
            let scale = match resolution {
                Resolution::Microseconds => 1_000,
                Resolution::Nanoseconds => 1,
            };
            let (seconds, fraction) = (i64::from(seconds), i64::from(fraction));
            self.headers.push(PacketHeader {
                timestamp: Timestamp::from_ns(seconds * 1_000_000_000 + fraction * scale),
                offset: (at + RECORD_HEADER_LEN) as u32,
                captured_len,
                wire_len,
                point,
            });
            at += RECORD_HEADER_LEN + captured_len as usize;
        }
        self.buffer.advance(at - start);
        match damage {
            // The packets before the damage are returned first; the next call reports it.
            Some(damage) if self.headers.is_empty() => Err(damage),
            _ => Ok(()),
        }
    }

    /// Checks that the source does not end inside a record.
    fn check_end(&self) -> Result<(), PcapFileError> {
        let rest = self.buffer.unread();
        let available = rest.len() as u64;
        if available == 0 {
            return Ok(());
        }
        let data_len = match rest.first_chunk::<RECORD_HEADER_LEN>() {
            Some([.., c0, c1, c2, c3, _, _, _, _]) => {
                word([*c0, *c1, *c2, *c3], self.header.is_big_endian)
            }
            None => 0,
        };
        let needed = RECORD_HEADER_LEN as u64 + u64::from(data_len);
        Err(PcapFileError::ShortRecord {
            offset: self.buffer.offset,
            needed,
            available,
        })
    }
}

/// Returns whether a file is big-endian, and the resolution of its timestamps. `None` if
/// it is not a classic pcap file. `magic` is the magic number, read as little-endian.
const fn byte_order_and_resolution(magic: u32) -> Option<(bool, Resolution)> {
    Some(match (magic, magic.swap_bytes()) {
        (MAGIC_MICROSECONDS, _) => (false, Resolution::Microseconds),
        (MAGIC_NANOSECONDS, _) => (false, Resolution::Nanoseconds),
        (_, MAGIC_MICROSECONDS) => (true, Resolution::Microseconds),
        (_, MAGIC_NANOSECONDS) => (true, Resolution::Nanoseconds),
        _ => return None,
    })
}

/// Returns the numbers of a header in the byte order of the file. `N` is the number of words in the
/// header.
#[inline(always)]
pub(super) fn words<const N: usize>(header: &[u8], is_big_endian: bool) -> [u32; N] {
    let mut numbers = [0; N];
    for (number, bytes) in numbers.iter_mut().zip(header.as_chunks::<4>().0) {
        *number = word(*bytes, is_big_endian);
    }
    numbers
}

/// Returns a number of the file in its byte order.
#[inline(always)]
pub(super) const fn word(bytes: [u8; 4], is_big_endian: bool) -> u32 {
    if is_big_endian {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    }
}
