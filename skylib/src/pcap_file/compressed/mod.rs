//! Streaming decompression of capture files.

mod gzip;
mod input;
mod lz4;
#[cfg(test)]
mod tests;
mod zstd;

use std::fmt;
use std::io::{self, Read};

use self::gzip::Gzip;
use self::input::Input;
use self::lz4::Lz4;
use self::zstd::Zstd;

/// Reader of the content of a file that may be compressed; the compression is detected from the
/// first bytes.
///
/// Consecutive compressed streams are read as one. Memory is bounded, independent of the content of
/// a file: zstd needs its window, at most 128 MiB as in the `zstd` tool; the other formats need
/// less. Damage is reported after the content before it, as an [`io::Error`] that contains a
/// [`DecompressionError`], and ends the file.
///
/// ```
/// use std::io::Read;
/// use skylib::pcap_file::Decompressor;
///
/// let mut text = String::new();
/// let mut reader = Decompressor::new(&b"not compressed"[..])?;
/// reader.read_to_string(&mut text)?;
/// assert_eq!((text.as_str(), reader.compression()), ("not compressed", None));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Decompressor<R: Read> {
    stream: Stream<R>,
    /// Failure that ended the stream; each later read returns it again.
    failed: Option<Failed>,
}

/// Failure that ended a stream, in a form that can be returned repeatedly.
#[derive(Debug)]
enum Failed {
    Damage(DecompressionError),
    Source(io::ErrorKind),
}

#[derive(Debug)]
enum Stream<R: Read> {
    Plain(Input<R>),
    Gzip(Box<Gzip<R>>),
    Lz4(Box<Lz4<R>>),
    Zstd(Box<Zstd<R>>),
}

/// Supported compression format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// gzip (RFC 1952).
    Gzip,
    /// LZ4 frame format.
    Lz4,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// Error returned for damaged or unsupported compressed data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{compression} data at byte {offset} of the file: {reason}")]
#[non_exhaustive]
pub struct DecompressionError {
    /// Compression of the file.
    pub compression: Compression,
    /// Number of bytes read from the compressed file; the damage is at this offset or shortly
    /// before.
    pub offset: u64,
    /// Description of the damage.
    pub reason: String,
}

impl<R: Read> Decompressor<R> {
    /// Creates a reader of `source` and reads the first bytes.
    ///
    /// # Errors
    ///
    /// Returns an error if the source fails.
    pub fn new(source: R) -> io::Result<Self> {
        let mut input = Input::new(source);
        if let Err(error) = input.peek(4) {
            return Err(input.failure.take().unwrap_or(error));
        }
        let stream = match input.peek(4)? {
            [0x1f, 0x8b, ..] => Stream::Gzip(Box::new(Gzip::new(input))),
            lz4::MAGIC => Stream::Lz4(Box::new(Lz4::new(input))),
            // The files of some zstd tools begin with a skippable frame.
            zstd::MAGIC | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
                Stream::Zstd(Box::new(Zstd::new(input)))
            }
            _ => Stream::Plain(input),
        };
        Ok(Self {
            stream,
            failed: None,
        })
    }

    /// Returns the compression of the file; `None` if it is not compressed.
    pub const fn compression(&self) -> Option<Compression> {
        match self.stream {
            Stream::Plain(_) => None,
            Stream::Gzip(_) => Some(Compression::Gzip),
            Stream::Lz4(_) => Some(Compression::Lz4),
            Stream::Zstd(_) => Some(Compression::Zstd),
        }
    }

    /// Reads from a compressed stream, and stores its failure.
    fn read_compressed(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.failed {
            Some(Failed::Damage(damage)) => return Err(damaged(damage.clone())),
            Some(Failed::Source(kind)) => return Err((*kind).into()),
            None if buffer.is_empty() => return Ok(0),
            None => {}
        }
        let (result, compression, input) = match &mut self.stream {
            Stream::Plain(_) => return self.read(buffer),
            Stream::Gzip(gzip) => (gzip.read(buffer), Compression::Gzip, &mut gzip.input),
            Stream::Lz4(lz4) => (lz4.read(buffer), Compression::Lz4, &mut lz4.input),
            Stream::Zstd(zstd) => (zstd.read(buffer), Compression::Zstd, &mut zstd.input),
        };
        result.map_err(|reason| {
            if let Some(failure) = input.failure.take() {
                self.failed = Some(Failed::Source(failure.kind()));
                return failure;
            }
            let damage = DecompressionError {
                compression,
                offset: input.offset,
                reason,
            };
            self.failed = Some(Failed::Damage(damage.clone()));
            damaged(damage)
        })
    }
}

impl<R: Read> Read for Decompressor<R> {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(input) => {
                let result = input.read(buffer);
                result.map_err(|error| input.failure.take().unwrap_or(error))
            }
            _ => self.read_compressed(buffer),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Lz4 => "LZ4",
            Self::Zstd => "zstd",
        })
    }
}

fn damaged(damage: DecompressionError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, damage)
}

/// Returns the description of an error from a decoder. It is not used if the source failed; the
/// error of the source is then returned instead.
fn text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => TRUNCATED.to_owned(),
        _ => error.to_string(),
    }
}

/// Reason for a stream that ends early.
const TRUNCATED: &str = "the compressed data is truncated";
/// Reason for a stream whose content differs from the data that was compressed.
const WRONG_CHECKSUM: &str = "the checksum of the decompressed data is wrong";
/// Reason for a file in which other data follows a stream.
const OTHER_DATA: &str = "the compressed data is followed by other data";
