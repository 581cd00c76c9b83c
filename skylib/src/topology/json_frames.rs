//! `JsonFrames`: splits a byte stream into JSON objects.
//!
//! Container engines and OVSDB servers send objects without a length, separated by nothing or by
//! blanks. The splitter looks at each byte once and counts brackets outside of strings; it does not
//! validate the objects, which their parser does.

/// Splits a stream into objects of bounded size.
///
/// ```
/// use skylib::topology::json_frames::JsonFrames;
///
/// let mut frames = JsonFrames::new(1 << 20);
/// frames.extend(br#"{"a":"}"} {"b"#);
/// assert_eq!(frames.next_frame()?.as_deref(), Some(&br#"{"a":"}"}"#[..]));
/// assert_eq!(frames.next_frame()?, None);
/// frames.extend(br#"":[1]}"#);
/// assert_eq!(frames.next_frame()?.as_deref(), Some(&br#"{"b":[1]}"#[..]));
/// # Ok::<(), skylib::topology::json_frames::FrameError>(())
/// ```
#[derive(Clone, Debug)]
pub struct JsonFrames {
    buffer: Vec<u8>,
    /// Number of bytes at the start of the buffer that have been scanned.
    scanned: usize,
    depth: usize,
    is_in_string: bool,
    is_escaped: bool,
    limit: usize,
}

/// Error returned for a stream that is not a sequence of JSON objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// An object is larger than the limit.
    #[error("a message is larger than {0} bytes")]
    TooLarge(usize),
    /// A byte outside of an object is neither a blank nor a bracket.
    #[error("unexpected byte 0x{0:02x} instead of a JSON object")]
    UnexpectedByte(u8),
    /// Brackets are nested too deeply.
    #[error("a message is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

impl JsonFrames {
    /// Returns a splitter for objects of at most `limit` bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            scanned: 0,
            depth: 0,
            is_in_string: false,
            is_escaped: false,
            limit,
        }
    }

    /// Appends bytes of the stream.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Removes and returns the next complete object; `None` if more bytes are necessary.
    ///
    /// # Errors
    /// Returns an error if the stream is invalid; no further objects can then be read.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        if self.depth == 0 {
            self.skip_blanks()?;
        }
        while let Some(&byte) = self.buffer.get(self.scanned) {
            self.scanned += 1;
            if self.scan(byte)? {
                let rest = self.buffer.split_off(self.scanned);
                self.scanned = 0;
                return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
            }
            if self.scanned > self.limit {
                return Err(FrameError::TooLarge(self.limit));
            }
        }
        Ok(None)
    }

    /// Removes the blanks before an object.
    fn skip_blanks(&mut self) -> Result<(), FrameError> {
        let blanks = self.buffer.iter().take_while(|b| b.is_ascii_whitespace());
        let blanks = blanks.count();
        self.buffer.drain(..blanks);
        self.scanned = 0;
        match self.buffer.first() {
            None | Some(b'{') => Ok(()),
            Some(&other) => Err(FrameError::UnexpectedByte(other)),
        }
    }

    /// Looks at one byte; returns whether it ends an object.
    fn scan(&mut self, byte: u8) -> Result<bool, FrameError> {
        if self.is_in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.is_in_string = false,
                _ => {}
            }
            return Ok(false);
        }
        match byte {
            b'"' => self.is_in_string = true,
            b'{' | b'[' if self.depth == MAX_DEPTH => return Err(FrameError::TooDeep),
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return Ok(self.depth == 0);
            }
            _ => {}
        }
        Ok(false)
    }
}

/// Maximum number of nested brackets; the parser of the objects has a limit of 128.
const MAX_DEPTH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &[u8], piece: usize) -> Result<Vec<String>, FrameError> {
        let mut frames = JsonFrames::new(64);
        let mut found = Vec::new();
        for bytes in text.chunks(piece) {
            frames.extend(bytes);
            while let Some(frame) = frames.next_frame()? {
                found.push(String::from_utf8(frame).unwrap());
            }
        }
        Ok(found)
    }

    #[test]
    fn objects_are_found_whatever_the_pieces_are() {
        let text = br#" {"a":"{\"]\\"}{"b":[{},[]]}
            {}"#;
        let wanted = [r#"{"a":"{\"]\\"}"#, r#"{"b":[{},[]]}"#, "{}"];
        for piece in 1..=text.len() {
            assert_eq!(split(text, piece).unwrap(), wanted, "pieces of {piece}");
        }
    }

    #[test]
    fn an_invalid_stream_is_an_error() {
        assert_eq!(split(b"{}x", 1), Err(FrameError::UnexpectedByte(b'x')));
        assert_eq!(split(b"[1]", 3), Err(FrameError::UnexpectedByte(b'[')));
        assert_eq!(split(&[b'{'; 200], 200), Err(FrameError::TooLarge(64)));
        let mut frames = JsonFrames::new(1000);
        frames.extend(&[b'{'; 200]);
        assert_eq!(frames.next_frame(), Err(FrameError::TooDeep));
    }
}
