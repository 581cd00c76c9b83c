//! Iteration over the elements of a JSON list or object while it is received.

use super::json_text::JsonTextError;

/// Splitter of a JSON document into the elements of its outermost list or object.
///
/// Any other document is one element. Only brackets and strings are recognized; the consumer parses
/// the elements.
#[derive(Debug, Default)]
pub(super) struct JsonElements {
    container: Option<Container>,
    /// Text of the current element.
    text: Vec<u8>,
    /// In an object, position in `text` of the colon after the key.
    colon: Option<usize>,
    /// Number of containers that are open inside the outermost one.
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    is_ended: bool,
}

/// Kind of the outermost value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    List,
    Object,
    /// A value without elements.
    None,
}

/// Element of a list or an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    /// JSON text of the key; `None` outside of objects.
    pub(super) key: Option<&'a [u8]>,
    /// JSON text of the value.
    pub(super) value: &'a [u8],
}

impl JsonElements {
    /// Splits the next piece of the document, and passes each complete element to `sink`.
    ///
    /// # Errors
    /// Returns an error if an element is too long or the document is not JSON, or the errors of
    /// `sink`.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        sink: &mut dyn FnMut(Element<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for &byte in bytes {
            if self.in_string {
                self.text.push(byte);
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            if !byte.is_ascii_whitespace() {
                self.outside(byte, sink)?;
            }
            if self.text.len() > MAX_ELEMENT_BYTES {
                anyhow::bail!(
                    "an element of the response is longer than {MAX_ELEMENT_BYTES} bytes"
                );
            }
        }
        Ok(())
    }

    /// Checks that the document is complete; passes a document that is a single value to `sink`, but
    /// not `null`, the result of a query without results.
    ///
    /// # Errors
    /// Returns an error if the document is not complete, or the errors of `sink`.
    pub(super) fn finish(
        &mut self,
        sink: &mut dyn FnMut(Element<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match self.container {
            None => Err(JsonTextError::Empty.into()),
            Some(Container::None) if self.text == b"null" => Ok(()),
            Some(Container::None) if !self.in_string => self.emit(sink),
            _ if self.is_ended => Ok(()),
            _ => Err(JsonTextError::Truncated.into()),
        }
    }

    /// Handles a byte outside of strings.
    fn outside(
        &mut self,
        byte: u8,
        sink: &mut dyn FnMut(Element<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if self.container.is_none() {
            self.container = Some(match byte {
                b'[' => Container::List,
                b'{' => Container::Object,
                _ => Container::None,
            });
            if matches!(byte, b'[' | b'{') {
                return Ok(());
            }
        }
        if self.is_ended {
            anyhow::bail!("the response contains more than one JSON value");
        }
        let is_split = self.container != Some(Container::None) && self.depth == 0;
        match byte {
            b',' if is_split => return self.emit(sink),
            b'}' | b']' if is_split => {
                self.is_ended = true;
                return if self.text.is_empty() {
                    Ok(())
                } else {
                    self.emit(sink)
                };
            }
            b':' if is_split && self.container == Some(Container::Object) => {
                self.colon.get_or_insert(self.text.len());
            }
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b'"' => self.in_string = true,
            _ => {}
        }
        self.text.push(byte);
        Ok(())
    }

    fn emit(
        &mut self,
        sink: &mut dyn FnMut(Element<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let element = match self.colon.take() {
            Some(colon) => Element {
                key: Some(&self.text[..colon]),
                value: &self.text[colon + 1..],
            },
            None => Element {
                key: None,
                value: &self.text,
            },
        };
        sink(element)?;
        self.text.clear();
        Ok(())
    }
}

/// Maximum length of an element, in bytes.
const MAX_ELEMENT_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, size: usize) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        let mut sink = |element: Element<'_>| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let key = element.key.map(text).unwrap_or_default();
            found.push(format!("{key} {}", text(element.value)));
            Ok(())
        };
        let mut elements = JsonElements::default();
        for piece in text.as_bytes().chunks(size) {
            elements.push(piece, &mut sink)?;
        }
        elements.finish(&mut sink)?;
        Ok(found)
    }

    #[test]
    fn elements_of_lists_and_objects_are_found_in_pieces_of_every_size() {
        let list = r#" [ {"a": [1, 2]}, "x,]\"[", 5, [] ] "#;
        let object = r#"{"k:1": {"b":","}, "l" : [{}]}"#;
        for size in 1..12 {
            assert_eq!(
                split(list, size).unwrap(),
                [r#" {"a":[1,2]}"#, r#" "x,]\"[""#, " 5", " []"]
            );
            assert_eq!(
                split(object, size).unwrap(),
                [r#""k:1" {"b":","}"#, r#""l" [{}]"#]
            );
        }
        assert_eq!(split("[]", 1).unwrap(), Vec::<String>::new());
        assert_eq!(split(" 12\n", 1).unwrap(), [" 12"]);
        assert_eq!(split(r#""a,b""#, 1).unwrap(), [r#" "a,b""#]);
    }

    #[test]
    fn incomplete_documents_are_errors() {
        for text in ["", "[1", "{\"a\":1", "[\"a", "\"abc", "[1] 2"] {
            assert!(split(text, 2).is_err(), "{text}");
        }
    }
}
