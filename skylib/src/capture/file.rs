//! `PcapFile`: capture files and standard input as packet sources.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Batch, BpfFilter, BpfProgram, CaptureError, CaptureStats, PacketSource};
use crate::packet::{CapturePoints, LinkType, PacketBatch, PacketHeader};
use crate::pcap_file::CaptureReader;
use crate::time::Timestamp;
use crate::value::Text;

/// Capture file in pcap or pcapng format, uncompressed or compressed with gzip, LZ4, or zstd.
///
/// Damage in a file is an error with its byte offset, returned after all packets before it. Reading
/// from a pipe blocks, without a timeout, until the writer writes or closes it.
///
/// ```
/// # use skylib::packet::{LinkType, PacketRef};
/// # use skylib::pcap_file::{PcapWriter, Resolution};
/// # use skylib::time::Timestamp;
/// # let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET, Resolution::Nanoseconds)?;
/// # let (timestamp, data) = (Timestamp::ZERO, &[0xff; 60]);
/// # writer.write(&PacketRef { link_type: LinkType::ETHERNET, timestamp, data, wire_len: 60 })?;
/// # let bytes = std::io::Cursor::new(writer.into_inner());
/// use std::time::Duration;
/// use skylib::capture::{Batch, PacketSource, PcapFile};
///
/// let mut file = PcapFile::from_reader("bytes in memory", bytes)?;
/// let mut packets = 0;
/// while let Batch::Packets(batch) = file.next_batch(Duration::ZERO)? {
///     packets += batch.headers.len();
/// }
/// assert_eq!(packets, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PcapFile {
    name: String,
    reader: CaptureReader<Box<dyn Read + Send>>,
    /// Link type that replaces the link types in the file.
    link_type: Option<LinkType>,
    filter: Option<Filter>,
    /// Interface whose packets are returned; `None` for all interfaces.
    interface: Option<InterfaceFilter>,
    /// Packets of the current batch that pass the filters; unused without a filter.
    headers: Vec<PacketHeader>,
    /// Whether the reader has a batch that [`advance`](Self::advance) did not return.
    is_peeked: bool,
    received: u64,
    filtered: u64,
    progress: FileProgress,
}

impl PcapFile {
    /// Opens a capture file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened or is not a capture file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CaptureError> {
        Self::open_counted(path.as_ref(), Arc::default(), CapturePoints::default())
    }

    /// Opens a capture file and adds the bytes read to a counter, and the interfaces to a list.
    pub(super) fn open_counted(
        path: &Path,
        read: Arc<AtomicU64>,
        points: CapturePoints,
    ) -> Result<Self, CaptureError> {
        let open = || {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            Ok((file, metadata.is_file().then_some(metadata.len())))
        };
        let name = path.display().to_string();
        let (file, total) =
            open().map_err(|error: io::Error| CaptureError::io(format!("open {name}"), error))?;
        Self::new(name, file, FileProgress { read, total }, points)
    }

    /// Creates a source that reads standard input.
    ///
    /// # Errors
    /// Returns an error if the input is not a capture file.
    pub fn stdin() -> Result<Self, CaptureError> {
        Self::stdin_with(CapturePoints::default())
    }

    /// Creates a source that reads standard input and adds its interfaces to a list.
    pub(super) fn stdin_with(points: CapturePoints) -> Result<Self, CaptureError> {
        Self::new(
            "standard input".to_owned(),
            io::stdin(),
            FileProgress::default(),
            points,
        )
    }

    /// Creates a source from any reader. `name` is used in error messages.
    ///
    /// # Errors
    /// Returns an error if the data is not a capture file.
    pub fn from_reader(
        name: impl Into<String>,
        reader: impl Read + Send + 'static,
    ) -> Result<Self, CaptureError> {
        Self::new(
            name.into(),
            reader,
            FileProgress::default(),
            CapturePoints::default(),
        )
    }

    /// Sets a filter; only packets that pass it are returned.
    ///
    /// A filter expression is compiled again whenever the link type changes within the file. If it
    /// is invalid for the new link type, reading ends with that error.
    ///
    /// # Errors
    /// Returns an error if the filter does not match the file's first link type.
    pub fn with_filter(mut self, filter: &BpfFilter) -> Result<Self, CaptureError> {
        self.filter = Some(Filter {
            source: filter.clone(),
            program: filter.program(self.link_type(), 0)?,
        });
        Ok(self)
    }

    /// Sets the link type of all packets, for files with a wrong or private link type. Must be
    /// called before [`with_filter`](Self::with_filter).
    ///
    /// ```
    /// use std::time::Duration;
    /// use skylib::capture::{Batch, PacketSource, PcapFile};
    /// # use skylib::packet::{LinkType, PacketRef};
    /// # use skylib::pcap_file::{PcapWriter, Resolution};
    /// # let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET, Resolution::Nanoseconds)?;
    /// # let (timestamp, data) = (Timestamp::from_ms(1), &[0xff; 60]);
    /// # writer.write(&PacketRef { link_type: LinkType::ETHERNET, timestamp, data, wire_len: 60 })?;
    /// # let file = std::io::Cursor::new(writer.into_inner());
    /// # use skylib::time::Timestamp;
    ///
    /// let mut source = PcapFile::from_reader("trace.pcap", file)?.with_link_type(LinkType::RAW);
    /// let Batch::Packets(batch) = source.next_batch(Duration::ZERO)? else {
    ///     return Err("no packet".into());
    /// };
    /// assert_eq!(batch.link_type, LinkType::RAW);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn with_link_type(mut self, link_type: LinkType) -> Self {
        self.link_type = Some(link_type);
        self
    }

    /// Sets an interface; only packets captured on it are returned. In a pcapng file, it is the
    /// interface with this name, or, if that has no name, with this number. In a Linux cooked
    /// capture of version 2, it is the interface with this index.
    ///
    /// ```
    /// use std::time::Duration;
    /// use skylib::capture::{Batch, PacketSource, PcapFile};
    /// # use skylib::packet::{LinkType, PacketRef};
    /// # use skylib::pcap_file::PcapNgWriter;
    /// # use skylib::time::Timestamp;
    /// # let mut writer = PcapNgWriter::new(Vec::new())?;
    /// # let (timestamp, data) = (Timestamp::from_ms(1), &[0xff; 60]);
    /// # writer.write(&PacketRef { link_type: LinkType::ETHERNET, timestamp, data, wire_len: 60 })?;
    /// # let file = std::io::Cursor::new(writer.into_inner());
    ///
    /// // The only interface of this file has no name, but the number 0.
    /// let mut source = PcapFile::from_reader("trace.pcapng", file)?.with_interface("0");
    /// assert!(matches!(source.next_batch(Duration::ZERO)?, Batch::Packets(_)));
    /// assert_eq!(source.filtered(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_interface(mut self, name: impl Into<Text>) -> Self {
        self.interface = Some(InterfaceFilter::new(name.into()));
        self
    }

    /// Returns the number of packets rejected by the filters so far.
    #[must_use]
    pub const fn filtered(&self) -> u64 {
        self.filtered
    }

    /// Returns a handle through which any thread can read the position in the file.
    #[must_use]
    pub fn progress(&self) -> FileProgress {
        self.progress.clone()
    }

    fn new(
        name: String,
        reader: impl Read + Send + 'static,
        progress: FileProgress,
        points: CapturePoints,
    ) -> Result<Self, CaptureError> {
        let counted = Counted {
            reader,
            read: Arc::clone(&progress.read),
        };
        match CaptureReader::with_points(Box::new(counted) as Box<dyn Read + Send>, points) {
            Ok(reader) => Ok(Self {
                name,
                reader,
                link_type: None,
                filter: None,
                interface: None,
                headers: Vec::new(),
                is_peeked: false,
                received: 0,
                filtered: 0,
                progress,
            }),
            Err(source) => Err(CaptureError::File { name, source }),
        }
    }
}

/// Result of [`PcapFile::advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// [`PcapFile::batch`] returns at least one packet.
    Packets,
    /// No packet of a batch passed the filters.
    Nothing,
    /// End of the file.
    End,
}

impl PcapFile {
    /// Reads the next packets, which [`batch`](Self::batch) returns.
    pub(super) fn advance(&mut self) -> Result<Step, CaptureError> {
        if !std::mem::take(&mut self.is_peeked) && !self.read_batch()? {
            return Ok(Step::End);
        }
        let batch = self.reader.batch();
        let total = batch.headers.len();
        if self.filter.is_none() && self.interface.is_none() {
            self.received += total as u64;
            return Ok(Step::Packets);
        }
        let link_type = self.link_type.unwrap_or(batch.link_type);
        let program = match &mut self.filter {
            Some(filter) => Some(filter.program(link_type)?),
            None => None,
        };
        let interface = self.interface.as_ref();
        let interface = interface.map(|interface| interface.of(self.reader.points()));
        let passes = |header: &&PacketHeader| {
            interface.is_none_or(|interface| interface.matches(header, batch.buffer, link_type))
                && program
                    .is_none_or(|program| program.matches(&header.packet(batch.buffer, link_type)))
        };
        self.headers.clear();
        self.headers.extend(batch.headers.iter().filter(passes));
        let passed = self.headers.len();
        self.received += passed as u64;
        self.filtered += (total - passed) as u64;
        Ok(match passed {
            0 => Step::Nothing,
            _ => Step::Packets,
        })
    }

    /// Returns the time of the first packet; `None` if there is none. Must be called before the
    /// first [`advance`](Self::advance).
    pub(super) fn first_time(&mut self) -> Result<Option<Timestamp>, CaptureError> {
        self.is_peeked = self.read_batch()?;
        let batch = self.reader.batch();
        Ok(batch.headers.first().map(|header| header.timestamp))
    }

    /// Reads the next batch; returns whether there is one.
    fn read_batch(&mut self) -> Result<bool, CaptureError> {
        let batch = self.reader.next_batch();
        let has_batch = batch.map(|batch| batch.is_some());
        has_batch.map_err(|source| CaptureError::File {
            name: self.name.clone(),
            source,
        })
    }

    /// Returns the packets read by the latest [`advance`](Self::advance).
    pub(super) fn batch(&self) -> PacketBatch<'_> {
        let batch = self.reader.batch();
        PacketBatch {
            link_type: self.link_type.unwrap_or(batch.link_type),
            headers: match self.filter.is_some() || self.interface.is_some() {
                true => &self.headers,
                false => batch.headers,
            },
            ..batch
        }
    }
}

impl PacketSource for PcapFile {
    fn link_type(&self) -> LinkType {
        self.link_type.unwrap_or(self.reader.link_type())
    }

    fn next_batch(&mut self, _wait: Duration) -> Result<Batch<'_>, CaptureError> {
        Ok(match self.advance()? {
            Step::Packets => Batch::Packets(self.batch()),
            Step::Nothing => Batch::Timeout,
            Step::End => Batch::End,
        })
    }

    fn stats(&mut self) -> CaptureStats {
        CaptureStats {
            received: self.received,
            ..CaptureStats::default()
        }
    }

    fn capture_points(&self) -> CapturePoints {
        self.reader.points().clone()
    }

    fn shared_buffer(&self) -> Option<Arc<[u8]>> {
        Some(self.reader.shared_buffer())
    }
}

impl fmt::Debug for PcapFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PcapFile")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Read position in a file, which is updated while the file is read; any thread can query it.
#[derive(Clone, Debug, Default)]
pub struct FileProgress {
    pub(super) read: Arc<AtomicU64>,
    pub(super) total: Option<u64>,
}

impl FileProgress {
    /// Returns the number of bytes read from the file, before decompression.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Returns the size of the file at the time it was opened, in bytes; `None` for pipes and other
    /// readers.
    #[must_use]
    pub const fn total_bytes(&self) -> Option<u64> {
        self.total
    }
}

/// Filter, and its program for the current link type.
struct Filter {
    source: BpfFilter,
    program: BpfProgram,
}

impl Filter {
    /// Returns the program for a link type, compiling it if the link type has changed.
    fn program(&mut self, link_type: LinkType) -> Result<&BpfProgram, CaptureError> {
        if self.program.link_type() != link_type {
            self.program = self.source.program(link_type, 0)?;
        }
        Ok(&self.program)
    }
}

/// Interface whose packets are selected.
struct InterfaceFilter {
    name: Text,
    /// Name interpreted as an interface index; `None` if it is not a number.
    if_index: Option<u32>,
}

/// Interface filter, resolved for the packets of a batch.
#[derive(Clone, Copy)]
struct SelectedInterface {
    /// Index of the interface among the capture points; `None` if it has not been found yet.
    point: Option<u32>,
    if_index: Option<u32>,
}

impl InterfaceFilter {
    fn new(name: Text) -> Self {
        let if_index = name.parse().ok();
        Self { name, if_index }
    }

    /// Resolves the interface in a list of capture points.
    fn of(&self, points: &CapturePoints) -> SelectedInterface {
        SelectedInterface {
            point: points.find(&self.name),
            if_index: self.if_index,
        }
    }
}

impl SelectedInterface {
    /// Returns whether a packet was captured on the interface.
    fn matches(self, header: &PacketHeader, buffer: &[u8], link_type: LinkType) -> bool {
        if link_type == LinkType::LINUX_SLL2 && self.if_index.is_some() {
            let data = header.packet(buffer, link_type).data;
            let index = data.get(4..8).and_then(|bytes| bytes.try_into().ok());
            return index.map(u32::from_be_bytes) == self.if_index;
        }
        self.point == Some(header.point.index())
    }
}

/// Reader that counts the bytes read through it.
struct Counted<R> {
    reader: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;
    use crate::packet::PacketRef;
    use crate::pcap_file::{PcapWriter, Resolution};

    fn file(packets: usize) -> Vec<u8> {
        let link_type = LinkType::ETHERNET;
        let mut writer =
            PcapWriter::new(Vec::new(), link_type, Resolution::Microseconds).expect("in memory");
        for number in 0..packets {
            let mut data = [0; 60];
            data[12..14].copy_from_slice(if number % 3 == 0 { &[8, 6] } else { &[8, 0] });
            let timestamp = Timestamp::from_ms(1000 + number as i64);
            let packet = PacketRef {
                link_type,
                timestamp,
                data: &data,
                wire_len: 60,
            };
            writer.write(&packet).expect("in memory");
        }
        writer.into_inner()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("in memory");
        encoder.finish().expect("in memory")
    }

    /// Reads a source to its end; returns the number of packets, and the error if there was one.
    fn read(mut source: PcapFile) -> (u64, Option<String>) {
        let mut packets = 0;
        loop {
            match source.next_batch(Duration::ZERO) {
                Ok(Batch::Packets(batch)) => packets += batch.headers.len() as u64,
                Ok(Batch::Timeout) => {}
                Ok(Batch::End) => break,
                Err(error) => {
                    let source = std::error::Error::source(&error);
                    let cause = source.map(|cause| format!(": {cause}")).unwrap_or_default();
                    return (packets, Some(format!("{error}{cause}")));
                }
            }
        }
        assert_eq!(source.stats().received, packets);
        (packets, None)
    }

    #[test]
    fn plain_and_compressed_files_give_the_same() {
        let plain = file(1000);
        // Two gzip members, as in joined rotated files.
        let compressed = [gzip(&plain[..5000]), gzip(&plain[5000..])].concat();
        for bytes in [plain, compressed] {
            let source = PcapFile::from_reader("x", Cursor::new(bytes)).expect("a file");
            assert_eq!(source.link_type(), LinkType::ETHERNET);
            assert_eq!(read(source), (1000, None));
        }
    }

    #[test]
    fn damage_is_an_error_after_the_packets_before_it() {
        let mut cut = file(10);
        cut.truncate(24 + 3 * 76 + 20);
        let source = PcapFile::from_reader("x.pcap", Cursor::new(cut)).expect("a file");
        let (packets, error) = read(source);
        assert_eq!(packets, 3);
        let error = error.expect("an error");
        assert!(
            error.starts_with("cannot read x.pcap: byte 252: "),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_capture_file_says_so() {
        let error = |bytes: &'static [u8]| {
            let error = PcapFile::from_reader("x", bytes).expect_err("no capture file");
            std::error::Error::source(&error)
                .expect("a cause")
                .to_string()
        };
        assert!(error(b"hello, world, I am a text").contains("not a capture file"));
        assert!(error(b"").contains("ends within its header"));
        assert!(error(b"\x1f").contains("ends within its header"));
    }

    #[test]
    fn a_path_that_is_not_there_is_named() {
        let error = PcapFile::open("/no/such/file.pcap").expect_err("no such file");
        assert_eq!(error.to_string(), "cannot open /no/such/file.pcap");
    }

    #[test]
    fn progress_counts_the_bytes_of_the_file() {
        let folder = std::env::temp_dir().join(format!("skylib-file-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("x.pcap.gz");
        let bytes = gzip(&file(100));
        std::fs::write(&path, &bytes).expect("written");
        let source = PcapFile::open(&path).expect("a file");
        let progress = source.progress();
        assert_eq!(progress.total_bytes(), Some(bytes.len() as u64));
        assert_eq!(read(source), (100, None));
        assert_eq!(progress.read_bytes(), bytes.len() as u64);
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    #[cfg(feature = "pcap")]
    #[test]
    fn a_filter_passes_only_its_packets() {
        let filter = BpfFilter::parse("arp").expect("an expression");
        let source = PcapFile::from_reader("x", Cursor::new(file(1000))).expect("a file");
        assert_eq!(
            read(source.with_filter(&filter).expect("it fits")),
            (334, None)
        );
        let none = BpfFilter::parse("ip6").expect("an expression");
        let source = PcapFile::from_reader("x", Cursor::new(file(1000))).expect("a file");
        let mut source = source.with_filter(&none).expect("it fits");
        while !matches!(
            source.next_batch(Duration::ZERO).expect("no damage"),
            Batch::End
        ) {}
        assert_eq!((source.stats().received, source.filtered()), (0, 1000));
    }
    #[cfg(feature = "pcap")]
    #[test]
    fn a_filter_is_compiled_again_for_each_link_type() {
        use crate::capture::tests::frames::{frame, udp};
        use crate::pcap_file::PcapNgWriter;

        let mut ip = udp(1, 2, 10);
        let ethernet = frame(0x0800, &ip);
        ip[9] = 1;
        let icmp = frame(0x0800, &ip);
        let mut writer = PcapNgWriter::new(Vec::new()).expect("in memory");
        let mut write = |link_type, data: &[u8]| {
            let timestamp = Timestamp::ZERO;
            let wire_len = 60;
            let packet = PacketRef {
                link_type,
                timestamp,
                data,
                wire_len,
            };
            writer.write(&packet).expect("in memory");
        };
        for _ in 0..3 {
            write(LinkType::ETHERNET, &ethernet);
            write(LinkType::ETHERNET, &icmp);
            write(LinkType::RAW, &ethernet[14..]);
            write(LinkType::RAW, &icmp[14..]);
        }
        write(LinkType(189), &[0; 64]);
        write(LinkType::RAW, &ethernet[14..]);
        let bytes = Cursor::new(writer.into_inner());
        let filter = BpfFilter::parse("udp").expect("an expression");
        let source = PcapFile::from_reader("x", bytes.clone()).expect("a file");
        assert_eq!(read(source), (14, None));
        let source = PcapFile::from_reader("x", bytes).expect("a file");
        let (packets, error) = read(source.with_filter(&filter).expect("it fits"));
        assert_eq!(packets, 6);
        let error = error.expect("no filter for USB");
        assert!(error.starts_with("invalid BPF filter \"udp\""), "{error}");
    }
}
