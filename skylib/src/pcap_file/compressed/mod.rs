//! Compressed files: what they hold, read on as it is asked for.

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

/// Reads what a file holds, compressed or not, as its first bytes tell.
///
/// Several compressed streams one after the other are read as one. Memory does not depend on what
/// a file claims: zstd takes its window, of 128 MiB at most as in its own tool, all others less.
/// What comes before damage is handed out; the damage is then an [`io::Error`] that holds a
/// [`DecompressionError`], and the end.
///
/// ```
/// use std::io::Read;
/// use skylib::pcap_file::Decompressor;
///
/// let mut text = String::new();
/// let mut reader = Decompressor::new(&b"plain as it is"[..])?;
/// reader.read_to_string(&mut text)?;
/// assert_eq!((text.as_str(), reader.compression()), ("plain as it is", None));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Decompressor<R: Read> {
    stream: Stream<R>,
    failed: Option<Failed>,
}

/// Why there is no more, for whoever asks again.
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

/// What files are compressed by here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// The LZ4 frame format.
    Lz4,
    /// RFC 8878.
    Zstd,
}

/// Compressed data that is damaged or not read here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{compression}, byte {offset} of the file: {reason}")]
pub struct DecompressionError {
    /// What the file is compressed by.
    pub compression: Compression,
    /// How far the compressed file was read: the damage is here or shortly before.
    pub offset: u64,
    /// What is wrong.
    pub reason: String,
}

impl<R: Read> Decompressor<R> {
    /// Looks at the first bytes.
    ///
    /// # Errors
    ///
    /// The source fails.
    pub fn new(source: R) -> io::Result<Self> {
        let mut input = Input::new(source);
        if let Err(error) = input.peek(4) {
            return Err(input.failure.take().unwrap_or(error));
        }
        let stream = match input.peek(4)? {
            [0x1f, 0x8b, ..] => Stream::Gzip(Box::new(Gzip::new(input))),
            lz4::MAGIC => Stream::Lz4(Box::new(Lz4::new(input))),
            // Some of zstd's tools begin with a frame to be skipped.
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

    /// What the file is compressed by.
    pub const fn compression(&self) -> Option<Compression> {
        match self.stream {
            Stream::Plain(_) => None,
            Stream::Gzip(_) => Some(Compression::Gzip),
            Stream::Lz4(_) => Some(Compression::Lz4),
            Stream::Zstd(_) => Some(Compression::Zstd),
        }
    }

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

/// What a decoder says of an error; one of the source itself is told instead.
fn text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => CUT.to_owned(),
        _ => error.to_string(),
    }
}

/// What is said of a stream that is cut.
const CUT: &str = "the compressed data is cut here";
/// What is said of a stream whose content is not what was compressed.
const WRONG_CHECKSUM: &str = "the checksum of what was compressed is wrong";
/// What is said where no further stream begins behind the first.
const OTHER_DATA: &str = "something else follows the compressed data";
