//! A minimal HTTP/1.1 client for container engines (RFC 9112): `GET` requests with one connection
//! each, and responses that are read as a stream.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::topology::stream::{ServerAddress, Stream};

/// Sends a `GET` request, and returns the body of the response.
///
/// # Errors
/// Returns the error of the connection; `NotFound` if the response has the status 404, `Other` for
/// any other status than 200, and `InvalidData` for a malformed response.
pub(super) fn get<'a>(
    address: &ServerAddress,
    path: &str,
    stop: BorrowedFd<'a>,
    timeout: Option<Duration>,
) -> io::Result<Body<impl BufRead + use<'a>>> {
    let mut stream = Stream::connect(address, stop, timeout)?;
    let version = env!("CARGO_PKG_VERSION");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: skydive-agent-{version}\r\n\
         Accept: application/json\r\nConnection: close\r\n\r\n"
    )?;
    response(BufReader::new(stream))
}

/// Reads the head of a response.
fn response<R: BufRead>(mut reader: R) -> io::Result<Body<R>> {
    let mut left = MAX_HEAD_BYTES;
    let status_line = line(&mut reader, &mut left)?;
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse::<u16>().ok());
    let mut length = BodyLength::UntilClose;
    loop {
        let header = line(&mut reader, &mut left)?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').unwrap_or_default();
        let value = value.trim();
        if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked") {
            length = BodyLength::Chunked {
                left: 0,
                is_first: true,
            };
        } else if name.eq_ignore_ascii_case("content-length") {
            let bytes = value.parse().map_err(|_| malformed("the content length"))?;
            length = BodyLength::Bytes(bytes);
        }
    }
    match status {
        Some(200) => Ok(Body { reader, length }),
        Some(404) => Err(io::ErrorKind::NotFound.into()),
        Some(code) => Err(io::Error::other(format!(
            "the engine answers with status {code}"
        ))),
        None => Err(malformed("the status line")),
    }
}

/// The body of a response.
#[derive(Debug)]
pub(super) struct Body<R> {
    reader: R,
    length: BodyLength,
}

#[derive(Debug)]
enum BodyLength {
    /// Number of bytes that have not been read.
    Bytes(u64),
    Chunked {
        /// Number of bytes of the current chunk that have not been read.
        left: u64,
        is_first: bool,
    },
    UntilClose,
    /// The last chunk has been read.
    Ended,
}

impl<R: BufRead> Body<R> {
    /// Reads the complete body.
    ///
    /// # Errors
    /// Returns `InvalidData` if the body is larger than `limit` bytes or malformed.
    pub(super) fn read_all(self, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.take(limit + 1).read_to_end(&mut bytes)?;
        match u64::try_from(bytes.len()).is_ok_and(|length| length <= limit) {
            true => Ok(bytes),
            false => Err(malformed("the length of the body")),
        }
    }
}

impl<R: BufRead> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let BodyLength::Chunked { left: 0, is_first } = self.length {
            self.length = match next_chunk(&mut self.reader, is_first)? {
                0 => BodyLength::Ended,
                left => BodyLength::Chunked {
                    left,
                    is_first: false,
                },
            };
        }
        match &mut self.length {
            BodyLength::Ended => Ok(0),
            BodyLength::UntilClose => self.reader.read(buffer),
            BodyLength::Bytes(left) | BodyLength::Chunked { left, .. } => {
                let most = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                let count = self.reader.read(&mut buffer[..most])?;
                if count == 0 && most > 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *left -= count as u64;
                Ok(count)
            }
        }
    }
}

/// Reads the head of a chunk; returns its size, 0 for the last chunk.
fn next_chunk(reader: &mut impl BufRead, is_first: bool) -> io::Result<u64> {
    let mut left = MAX_LINE_BYTES;
    if !is_first && !line(reader, &mut left)?.is_empty() {
        return Err(malformed("the end of a chunk"));
    }
    let head = line(reader, &mut left)?;
    let size = head.split(';').next().unwrap_or_default().trim();
    u64::from_str_radix(size, 16).map_err(|_| malformed("the size of a chunk"))
}

/// Reads a line without its end, and subtracts its length from `left`.
fn line(reader: &mut impl BufRead, left: &mut u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    let count = reader.take(*left).read_until(b'\n', &mut bytes)?;
    *left -= count as u64;
    if bytes.pop() != Some(b'\n') {
        return Err(match *left {
            0 => malformed("the length of a line"),
            _ => io::ErrorKind::UnexpectedEof.into(),
        });
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|_| malformed("the encoding of a line"))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} is malformed"))
}

/// Maximum size of the head of a response, in bytes.
const MAX_HEAD_BYTES: u64 = 64 << 10;

/// Maximum size of the lines between two chunks, in bytes.
const MAX_LINE_BYTES: u64 = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> io::Result<String> {
        let body = response(text.as_bytes())?.read_all(20)?;
        Ok(String::from_utf8(body).unwrap())
    }

    #[test]
    fn bodies_have_a_length_or_chunks_or_end_with_the_connection() {
        let head = "HTTP/1.1 200 OK\r\nServer: x\r\n";
        let counted = format!("{head}Content-Length: 3\r\n\r\nabcdef");
        assert_eq!(read(&counted).unwrap(), "abc");
        let chunked = format!(
            "{head}Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"
        );
        assert_eq!(read(&chunked).unwrap(), "abc0123456789");
        assert_eq!(read(&format!("{head}\r\nall of it")).unwrap(), "all of it");
    }

    #[test]
    fn other_responses_are_errors() {
        let kind = |text: &str| read(text).unwrap_err().kind();
        assert_eq!(
            kind("HTTP/1.1 404 Not Found\r\n\r\n"),
            io::ErrorKind::NotFound
        );
        assert_eq!(kind("HTTP/1.1 500 Oops\r\n\r\n"), io::ErrorKind::Other);
        assert_eq!(kind("hello\r\n\r\n"), io::ErrorKind::InvalidData);
        assert_eq!(kind("HTTP/1.1 200 OK\r\n"), io::ErrorKind::UnexpectedEof);
        let head = "HTTP/1.1 200 OK\r\n";
        let long = format!("{head}\r\n{}", "x".repeat(21));
        assert_eq!(kind(&long), io::ErrorKind::InvalidData);
        let chunk = format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n");
        assert_eq!(kind(&chunk), io::ErrorKind::InvalidData);
        let short = format!("{head}Content-Length: 9\r\n\r\nabc");
        assert_eq!(kind(&short), io::ErrorKind::UnexpectedEof);
        let endless = format!("{head}X: {}", "x".repeat(100_000));
        assert_eq!(kind(&endless), io::ErrorKind::InvalidData);
    }
}
