//! Formatting of JSON while it is received: the memory does not depend on the length of the
//! document.
//!
//! Keys, numbers, and their order are not changed. Control characters, which a terminal would
//! interpret, are written as JSON escapes, which do not change the value of the document.

use crate::printable::is_safe;

/// Error returned if the text is not one JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum JsonTextError {
    /// The text is empty.
    #[error("the response is empty; expected JSON")]
    Empty,
    /// The text ends inside a value.
    #[error("the response ends inside a JSON value: the connection or the server failed")]
    Truncated,
    /// The text has a byte that JSON does not allow at this position.
    #[error("the response is not JSON: unexpected byte 0x{byte:02x} at offset {offset}")]
    Unexpected {
        /// The byte.
        byte: u8,
        /// Number of bytes before it.
        offset: u64,
    },
    /// Values are nested too deeply.
    #[error("the response nests JSON values deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// Whitespace between the tokens of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One line without spaces.
    Compact,
    /// One line for each value, indented by this string for each level.
    Indented(&'static str),
}

/// Formatter of a JSON document that is received in pieces.
///
/// Checks that brackets match and that the document is complete. Literals are copied without
/// checks.
#[derive(Debug)]
pub(super) struct JsonText {
    layout: Layout,
    /// Closing brackets of the open containers, outermost first.
    open: Vec<u8>,
    /// Whether the last token opened a container.
    is_at_start: bool,
    state: State,
    /// Whether the last token was a value or a key, or ended one.
    is_after_value: bool,
    /// Bytes of an incomplete character; the first `carried` are in use.
    carry: [u8; 4],
    carried: usize,
    /// Number of bytes received.
    offset: u64,
}

/// Position between or inside tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Between,
    Literal,
    String,
    /// After a backslash in a string.
    Escape,
}

impl JsonText {
    /// Creates a formatter.
    pub(super) const fn new(layout: Layout) -> Self {
        Self {
            layout,
            open: Vec::new(),
            is_at_start: false,
            state: State::Between,
            is_after_value: false,
            carry: [0; 4],
            carried: 0,
            offset: 0,
        }
    }

    /// Formats the next piece of the document and appends it to `out`.
    ///
    /// # Errors
    /// Returns [`JsonTextError`] if the text is not one JSON document.
    pub(super) fn push(
        &mut self,
        mut bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), JsonTextError> {
        while let Some((&byte, rest)) = bytes.split_first() {
            let mut taken = 1;
            match self.state {
                State::Between | State::Literal => self.outside(byte, out)?,
                State::Escape => {
                    if !br#""\/bfnrtu"#.contains(&byte) {
                        let offset = self.offset;
                        return Err(JsonTextError::Unexpected { byte, offset });
                    }
                    out.push(byte);
                    self.state = State::String;
                }
                State::String if self.carried > 0 || byte >= 0x80 => self.carry(byte, out),
                State::String => {
                    let plain = bytes.iter().take_while(|byte| is_plain(**byte)).count();
                    if plain > 0 {
                        out.extend_from_slice(&bytes[..plain]);
                        taken = plain;
                    } else {
                        self.in_string(byte, out);
                    }
                }
            }
            self.offset += taken as u64;
            bytes = if taken == 1 { rest } else { &bytes[taken..] };
        }
        Ok(())
    }

    /// Checks that the document is complete, and ends its last line.
    ///
    /// # Errors
    /// Returns [`JsonTextError`] if the document is not complete.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), JsonTextError> {
        if !self.is_after_value && self.open.is_empty() {
            return Err(JsonTextError::Empty);
        }
        if !self.open.is_empty() || matches!(self.state, State::String | State::Escape) {
            return Err(JsonTextError::Truncated);
        }
        out.push(b'\n');
        Ok(())
    }

    /// Handles a byte outside of strings.
    fn outside(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), JsonTextError> {
        let unexpected = JsonTextError::Unexpected {
            byte,
            offset: self.offset,
        };
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => self.state = State::Between,
            b'{' | b'[' => {
                self.begin_value(byte, out)?;
                self.is_after_value = false;
                if self.open.len() == MAX_DEPTH {
                    return Err(JsonTextError::TooDeep);
                }
                out.push(byte);
                self.open.push(if byte == b'{' { b'}' } else { b']' });
                self.is_at_start = true;
            }
            b'}' | b']' => {
                let is_complete = self.is_after_value || self.is_at_start;
                if !is_complete || self.open.pop() != Some(byte) {
                    return Err(unexpected);
                }
                self.is_after_value = true;
                if !std::mem::take(&mut self.is_at_start) {
                    self.new_line(out);
                }
                out.push(byte);
                self.state = State::Between;
            }
            b',' | b':' if self.open.is_empty() || !self.is_after_value => return Err(unexpected),
            b',' => {
                self.is_after_value = false;
                out.push(b',');
                self.new_line(out);
                self.state = State::Between;
            }
            b':' => {
                self.is_after_value = false;
                out.push(b':');
                if self.layout != Layout::Compact {
                    out.push(b' ');
                }
                self.state = State::Between;
            }
            b'"' => {
                self.begin_value(byte, out)?;
                out.push(byte);
                self.state = State::String;
            }
            b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.' | b'E' => {
                if self.state != State::Literal {
                    self.begin_value(byte, out)?;
                    self.state = State::Literal;
                }
                out.push(byte);
            }
            _ => return Err(unexpected),
        }
        Ok(())
    }

    /// Prepares the output for a value or a key that begins with `byte`.
    fn begin_value(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), JsonTextError> {
        if std::mem::replace(&mut self.is_after_value, true) {
            return Err(JsonTextError::Unexpected {
                byte,
                offset: self.offset,
            });
        }
        if std::mem::take(&mut self.is_at_start) {
            self.new_line(out);
        }
        Ok(())
    }

    /// Handles an ASCII byte of a string that cannot be copied.
    fn in_string(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            b'"' => {
                out.push(byte);
                self.state = State::Between;
            }
            b'\\' => {
                out.push(byte);
                self.state = State::Escape;
            }
            control => push_escape(char::from(control), out),
        }
    }

    /// Adds a byte to the incomplete character, and writes the character once it is complete.
    fn carry(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.carry[self.carried] = byte;
        self.carried += 1;
        match std::str::from_utf8(&self.carry[..self.carried]) {
            Ok(text) => {
                for letter in text.chars() {
                    if is_safe(letter) {
                        out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                    } else {
                        push_escape(letter, out);
                    }
                }
                self.carried = 0;
            }
            // More bytes may complete the character; four always decide.
            Err(error) if error.error_len().is_none() && self.carried < 4 => {}
            Err(_) => {
                out.extend_from_slice("\u{fffd}".as_bytes());
                let is_ascii = byte.is_ascii();
                self.carried = 0;
                if is_ascii && is_plain(byte) {
                    out.push(byte);
                } else if is_ascii {
                    self.in_string(byte, out);
                }
            }
        }
    }

    fn new_line(&self, out: &mut Vec<u8>) {
        if let Layout::Indented(indent) = self.layout {
            out.push(b'\n');
            for _ in 0..self.open.len() {
                out.extend_from_slice(indent.as_bytes());
            }
        }
    }
}

/// Returns whether a byte of a string is copied as it is.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\'
}

/// Appends the JSON escape of a character.
fn push_escape(letter: char, out: &mut Vec<u8>) {
    for unit in letter.encode_utf16(&mut [0; 2]) {
        out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
    }
}

/// Maximum nesting of values.
const MAX_DEPTH: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    /// Formats a text received in pieces of `size` bytes.
    fn format(text: &[u8], layout: Layout, size: usize) -> Result<String, JsonTextError> {
        let (mut formatter, mut out) = (JsonText::new(layout), Vec::new());
        for piece in text.chunks(size) {
            formatter.push(piece, &mut out)?;
        }
        formatter.finish(&mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_layout_is_that_of_go_and_numbers_and_order_are_unchanged() {
        let text = br#"{"b": [1, 2.50,{}], "a":{"x":[] ,"y":"q\"{,\u001b"},"n" :null,"e":1E+9}"#;
        let wanted = concat!(
            "{\n\t\"b\": [\n\t\t1,\n\t\t2.50,\n\t\t{}\n\t],\n\t\"a\": {\n\t\t\"x\": [],\n",
            "\t\t\"y\": \"q\\\"{,\\u001b\"\n\t},\n\t\"n\": null,\n\t\"e\": 1E+9\n}\n"
        );
        for size in [1, 2, 7, 1000] {
            assert_eq!(format(text, Layout::Indented("\t"), size).unwrap(), wanted);
        }
        assert_eq!(
            format(text, Layout::Compact, 3).unwrap(),
            "{\"b\":[1,2.50,{}],\"a\":{\"x\":[],\"y\":\"q\\\"{,\\u001b\"},\"n\":null,\"e\":1E+9}\n"
        );
    }

    #[test]
    fn values_without_container_are_documents() {
        for text in ["12", "\"a b\"", "null", "[]", "{}", "-1.5e3"] {
            let padded = format!("  {text}\n");
            let formatted = format(padded.as_bytes(), Layout::Indented("  "), 1);
            assert_eq!(formatted.unwrap(), format!("{text}\n"));
        }
    }

    #[test]
    fn text_that_is_no_document_is_an_error() {
        for text in ["", " \n"] {
            let empty = format(text.as_bytes(), Layout::Compact, 1);
            assert_eq!(empty, Err(JsonTextError::Empty));
        }
        for text in ["[1", "{\"a\":", "\"abc", "\"a\\", "[[]"] {
            let cut = format(text.as_bytes(), Layout::Compact, 2);
            assert_eq!(cut, Err(JsonTextError::Truncated), "{text}");
        }
        for text in [
            "Error: no",
            "[}",
            "]",
            "1 2",
            "{} x",
            ",",
            "[,",
            "[1]]",
            "[1 2]",
            "[1,]",
            "\"\\\u{1b}\"",
            "[\"a\" \"b\"]",
            "<html>",
        ] {
            let wrong = format(text.as_bytes(), Layout::Compact, 2);
            assert!(
                matches!(wrong, Err(JsonTextError::Unexpected { .. })),
                "{text}"
            );
        }
        let deep = "[".repeat(MAX_DEPTH + 1);
        assert_eq!(
            format(deep.as_bytes(), Layout::Compact, 9),
            Err(JsonTextError::TooDeep)
        );
    }

    #[test]
    fn hostile_characters_are_escaped_and_the_value_is_unchanged() {
        let name = "a\u{1b}]0;x\u{7}\u{7f}\u{9b}2J\u{202e}\u{feff}\u{e0041}é日🙂\"\\";
        let text = serde_json::to_string(&[name]).unwrap();
        for size in [1, 2, 3, 5, 100] {
            let shown = format(text.as_bytes(), Layout::Compact, size).unwrap();
            assert!(shown.trim_end().chars().all(is_safe), "{shown}");
            let back: Vec<String> = serde_json::from_str(&shown).unwrap();
            assert_eq!(back, [name]);
        }
        // Bytes that are not UTF-8, and raw control characters.
        let shown = format(b"[\"a\xff\xe2\x80z\xc2\x1b\n\"]", Layout::Compact, 1).unwrap();
        assert_eq!(shown, "[\"a\u{fffd}\u{fffd}z\u{fffd}\\u001b\\u000a\"]\n");
    }
}
