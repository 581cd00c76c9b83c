//! A minimal HTTP/1.1 client for probes (RFC 9112): `GET` requests with one connection each, and
//! responses that are read as a stream.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::topology::stream::{ServerAddress, Stream};

/// Sends a `GET` request to a service of the host, and returns the body of the response.
///
/// # Errors
/// Returns the error of the connection, `NotFound` for the status 404, `Other` for any other status
/// except 200, and `InvalidData` for a malformed response.
pub(super) fn get<'a>(
    address: &ServerAddress,
    path: &str,
    stop: BorrowedFd<'a>,
    timeout: Option<Duration>,
) -> io::Result<Body<impl BufRead + use<'a>>> {
    let stream = Stream::connect(address, stop, timeout)?;
    let response = send(stream, "localhost", path, &[])?;
    match response.status {
        200 => Ok(response.body),
        404 => Err(io::ErrorKind::NotFound.into()),
        code => Err(io::Error::other(format!(
            "the service answered with HTTP status {code}"
        ))),
    }
}

/// Sends a `GET` request with additional headers, and reads the head of the response. The path and
/// the headers must not contain line breaks.
///
/// # Errors
/// Returns the error of the connection, or `InvalidData` for a malformed response.
pub(super) fn send<S: Read + Write>(
    mut stream: S,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> io::Result<Response<BufReader<S>>> {
    write_request(&mut stream, host, path, "close", headers)?;
    response(BufReader::new(stream))
}

/// Sends a request for another protocol (RFC 9110, section 7.8); returns the status, and the
/// connection after the head of the response.
///
/// # Errors
/// Returns the error of the connection, or `InvalidData` for a malformed response.
pub(super) fn upgrade<S: Read + Write>(
    mut stream: S,
    path: &str,
    headers: &[(&str, &str)],
) -> io::Result<(u16, S)> {
    write_request(&mut stream, "localhost", path, "Upgrade", headers)?;
    // Without a buffer, no byte of the new protocol is read together with the head.
    let response = response(BufReader::with_capacity(1, stream))?;
    Ok((response.status, response.body.reader.into_inner()))
}

fn write_request(
    stream: &mut impl Write,
    host: &str,
    path: &str,
    connection: &str,
    headers: &[(&str, &str)],
) -> io::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: skydive-agent-{version}\r\n\
         Accept: application/json\r\nConnection: {connection}\r\n"
    );
    for (name, value) in headers {
        request.push_str(name);
        request.push_str(": ");
        request.push_str(value);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes())?;
    stream.flush()
}

/// A response whose body has not been read.
#[derive(Debug)]
pub(super) struct Response<R> {
    pub(super) status: u16,
    pub(super) body: Body<R>,
}

/// Reads the head of a response.
fn response<R: BufRead>(mut reader: R) -> io::Result<Response<R>> {
    let mut left = MAX_HEAD_BYTES;
    let status_line = line(&mut reader, &mut left)?;
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse::<u16>().ok())
        .ok_or_else(|| malformed("the status line"))?;
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
    let body = Body { reader, length };
    Ok(Response { status, body })
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
            // A read beyond the length would wait for the end of the connection, or fail there.
            BodyLength::Ended | BodyLength::Bytes(0) => Ok(0),
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
        let body = response(text.as_bytes())?.body.read_all(20)?;
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

    /// The connection of a test: the recorded response, and the request that was sent.
    struct Recorded {
        response: io::Cursor<&'static str>,
        request: Vec<u8>,
    }

    impl Read for Recorded {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.response.read(buffer)
        }
    }

    impl Write for Recorded {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.request.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_request_has_its_headers_and_the_response_its_status() {
        let stream = Recorded {
            response: io::Cursor::new("HTTP/1.1 410 Gone\r\nContent-Length: 1\r\n\r\nx"),
            request: Vec::new(),
        };
        let headers = [("Authorization", "Bearer t")];
        let response = send(stream, "h:1", "/a?b", &headers).unwrap();
        assert_eq!(response.status, 410);
        let sent = &response.body.reader.get_ref().request;
        let sent = std::str::from_utf8(sent).unwrap();
        assert!(
            sent.starts_with("GET /a?b HTTP/1.1\r\nHost: h:1\r\n"),
            "{sent}"
        );
        assert!(
            sent.ends_with("\r\nAuthorization: Bearer t\r\n\r\n"),
            "{sent}"
        );
    }

    #[test]
    fn nothing_is_read_beyond_the_length() {
        struct Closed;
        impl Read for Closed {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
        let head = &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..];
        let body = response(head.chain(BufReader::new(Closed))).unwrap().body;
        assert_eq!(body.read_all(20).unwrap(), b"ok");
    }

    #[test]
    fn malformed_responses_are_errors() {
        let kind = |text: &str| read(text).unwrap_err().kind();
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
