//! `PartReader`: the file in a `multipart/form-data` body (RFC 7578), read as a stream.
//!
//! The first part with a file name is the file; parts before it and after it are discarded. The
//! delimiter is searched in a buffer of one read, so the cost is linear and the memory constant.

use std::io::{self, ErrorKind, Read};

/// Returns the boundary of a `multipart/form-data` content type; `None` for other types.
pub(crate) fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let mut parameters = parameters
        .split(';')
        .filter_map(|parameter| parameter.split_once('='));
    let (_, value) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"))?;
    let value = value.trim().trim_matches('"');
    // RFC 2046, section 5.1.1.
    (1..=70).contains(&value.len()).then_some(value)
}

/// Reader of the contents of the first file in a body.
pub(crate) struct PartReader<R> {
    inner: R,
    /// Line break, two dashes, and the boundary.
    delimiter: Vec<u8>,
    /// Bytes that were read, but not returned.
    buffer: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the file.
    Before,
    /// After the end of the parts, none of which is a file.
    Missing,
    /// In the file.
    Inside,
    /// After the file.
    After,
}

impl<R: Read> PartReader<R> {
    /// Returns a reader of the file in a body with a boundary.
    pub(crate) fn new(inner: R, boundary: &str) -> Self {
        Self {
            inner,
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            // The first delimiter may lack its line break.
            buffer: b"\r\n".to_vec(),
            state: State::Before,
        }
    }

    /// Reads more bytes to the buffer. Returns `false` at the end of the body.
    fn fill(&mut self) -> io::Result<bool> {
        let mut piece = [0; PIECE];
        let len = self.inner.read(&mut piece)?;
        self.buffer.extend_from_slice(&piece[..len]);
        Ok(len > 0)
    }

    /// Skips to the contents of the first part that is a file.
    fn find_file(&mut self) -> io::Result<()> {
        loop {
            self.skip_past(true)?;
            let headers = loop {
                match position(&self.buffer, END_OF_HEADERS) {
                    Some(at) => break self.buffer.drain(..at + END_OF_HEADERS.len()).collect(),
                    None if self.buffer.len() > MAX_HEADERS => {
                        return Err(wrong("the headers of a part are too long"));
                    }
                    None if self.buffer.starts_with(b"--") => {
                        // Format detection reads again after an error.
                        self.state = State::Missing;
                        return Err(wrong(NO_FILE));
                    }
                    None if !self.fill()? => {
                        return Err(wrong("the multipart body ends inside part headers"));
                    }
                    None => {}
                }
            };
            let headers: Vec<u8> = headers;
            let headers = String::from_utf8_lossy(&headers).to_ascii_lowercase();
            if headers.contains("filename") {
                self.state = State::Inside;
                return Ok(());
            }
            // A part without contents is followed directly by the delimiter.
            self.buffer.splice(..0, *b"\r\n");
        }
    }

    /// Discards everything up to the next delimiter, and the delimiter if `through`.
    fn skip_past(&mut self, through: bool) -> io::Result<()> {
        loop {
            if let Some(at) = position(&self.buffer, &self.delimiter) {
                let end = if through {
                    at + self.delimiter.len()
                } else {
                    at
                };
                self.buffer.drain(..end);
                return Ok(());
            }
            let kept = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
            self.buffer.drain(..kept);
            if !self.fill()? {
                return Err(wrong("the multipart body ends before its boundary"));
            }
        }
    }
}

impl<R: Read> Read for PartReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.state {
            State::Before => self.find_file()?,
            State::Missing => return Err(wrong(NO_FILE)),
            State::Inside | State::After => {}
        }
        while self.state == State::Inside {
            let found = position(&self.buffer, &self.delimiter);
            let tail = self.delimiter.len() - 1;
            let ready = found.unwrap_or(self.buffer.len().saturating_sub(tail));
            if ready > 0 {
                let len = ready.min(out.len());
                out[..len].copy_from_slice(&self.buffer[..len]);
                self.buffer.drain(..len);
                return Ok(len);
            }
            if found.is_some() {
                self.state = State::After;
                // The sender of the body expects that all of it is read.
                io::copy(&mut self.inner, &mut io::sink())?;
            } else if !self.fill()? {
                return Err(wrong("the multipart body ends before its boundary"));
            }
        }
        Ok(0)
    }
}

/// Returns the position of a delimiter, which begins with a carriage return.
fn position(bytes: &[u8], delimiter: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes.get(from..)?.iter().position(|byte| *byte == b'\r') {
        from += at;
        if bytes[from..].starts_with(delimiter) {
            return Some(from);
        }
        from += 1;
    }
    None
}

fn wrong(text: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text)
}

/// Maximum number of bytes of one read.
const PIECE: usize = 16 << 10;
/// Maximum length of the headers of a part, in bytes.
const MAX_HEADERS: usize = 16 << 10;
const NO_FILE: &str = "the multipart body contains no file; expected a part with a file name, as \
    of `curl -F file=@trace.pcap`";
const END_OF_HEADERS: &[u8] = b"\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    /// Source that returns few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let len = self.1.min(self.0.len()).min(out.len());
            out[..len].copy_from_slice(&self.0[..len]);
            self.0 = &self.0[len..];
            Ok(len)
        }
    }

    fn body(file: &[u8]) -> Vec<u8> {
        let mut body = b"--xyz\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n\
            --xyz\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.pcap\"\r\n\
            Content-Type: application/octet-stream\r\n\r\n"
            .to_vec();
        body.extend_from_slice(file);
        body.extend_from_slice(b"\r\n--xyz--\r\n");
        body
    }

    #[test]
    fn the_file_is_read_whatever_the_size_of_the_pieces() {
        let mut file: Vec<u8> = (0..=255).cycle().take(5000).collect();
        file.extend_from_slice(b"\r\n--xy\r\n\r\n--xy");
        for file in [file.as_slice(), b"", b"\r\n", b"\r\n--x"] {
            let body = body(file);
            for step in [1, 7, 100, 1 << 20] {
                let mut read = Vec::new();
                let mut reader = PartReader::new(Slow(&body, step), "xyz");
                reader.read_to_end(&mut read).unwrap();
                assert!(read == file, "{step}");
            }
        }
    }

    #[test]
    fn a_body_without_file_or_end_is_an_error() {
        let whole = body(b"data");
        for wrong in [
            &whole[..whole.len() - 12],
            b"--xyz\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\nx\r\n--xyz--\r\n",
            b"--xyz--\r\n",
            b"",
            b"no boundary at all",
        ] {
            let mut read = Vec::new();
            let outcome = PartReader::new(wrong, "xyz").read_to_end(&mut read);
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::InvalidData);
        }
        let value = b"--xyz\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\nx\r\n--xyz--\r\n";
        let mut reader = PartReader::new(&value[..], "xyz");
        for _ in 0..3 {
            let error = reader.read(&mut [0; 10]).unwrap_err();
            assert!(error.to_string().contains("contains no file"), "{error}");
        }
        let mut endless = b"--xyz\r\n".to_vec();
        endless.resize(100_000, b'a');
        assert!(
            PartReader::new(&endless[..], "xyz")
                .read(&mut [0; 10])
                .is_err()
        );
    }

    #[test]
    fn boundaries_are_read_from_the_content_type() {
        assert_eq!(boundary("multipart/form-data; boundary=abc"), Some("abc"));
        assert_eq!(
            boundary("Multipart/Form-Data;charset=x; Boundary=\"a b\""),
            Some("a b")
        );
        for other in [
            "application/json",
            "multipart/mixed; boundary=abc",
            "multipart/form-data",
        ] {
            assert_eq!(boundary(other), None, "{other}");
        }
    }
}
