//! JSON decoding with the leniency of Go's `encoding/json`, which clients of Skydive rely on.
//!
//! Keys are case-insensitive, unknown keys are ignored, and the last of several equal keys takes
//! precedence. `null` leaves the default unchanged, and everything after the first value of a body
//! is ignored. Values remain undecoded ([`RawValue`]) until a reader needs them, so a large member
//! is parsed only once.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::nearest::nearest;

/// Members of a JSON object, in the order of the document, with undecoded values.
///
/// A lookup is a linear scan.
///
/// ```
/// use skylib::api::go_json::Members;
/// let members = Members::parse_first(r#"{"count": 3, "COUNT": 4, "Other": {}} trailing"#)?;
/// let mut count = 0;
/// members.read("Count", &mut count)?;
/// assert_eq!(count, 4);
/// # Ok::<(), skylib::api::go_json::JsonError>(())
/// ```
#[derive(Debug)]
pub struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Parses the first JSON value of a string; the rest of the string is ignored.
    ///
    /// # Errors
    /// Returns [`JsonError`] if the string is empty or not JSON, or the value is not an object.
    pub fn parse_first(text: &'a str) -> Result<Self, JsonError> {
        Self::from_value(first_value(text)?)
    }

    /// Parses a string that must be one object and nothing else.
    ///
    /// # Errors
    /// Returns [`JsonError::Syntax`] for any other string.
    pub fn parse_whole(text: &'a str) -> Result<Self, JsonError> {
        serde_json::from_str(text).map_err(JsonError::Syntax)
    }

    /// Parses a value whose syntax has been checked.
    ///
    /// # Errors
    /// Returns [`JsonError`] if the value is not an object.
    pub fn from_value(value: &'a RawValue) -> Result<Self, JsonError> {
        Self::parse_whole(object(value)?.get())
    }

    /// Returns the last value of a key, compared case-insensitively; `None` if the object has no
    /// such key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0
            .iter()
            .rev()
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| *value)
    }

    /// Checks that the object has only keys in `known`, compared case-insensitively.
    ///
    /// # Errors
    /// Returns [`JsonError::UnknownMember`] for the first key that is not in `known`.
    pub fn check_keys(&self, known: &[&'static str]) -> Result<(), JsonError> {
        let is_known = |key: &str| known.iter().any(|name| name.eq_ignore_ascii_case(key));
        match self.0.iter().find(|(key, _)| !is_known(key)) {
            None => Ok(()),
            Some((key, _)) => Err(JsonError::UnknownMember {
                key: key.chars().take(MAX_SHOWN_CHARS).collect(),
                nearest: nearest(key, known.iter().copied()),
            }),
        }
    }

    /// Decodes a member into a field; leaves the field unchanged if the member is absent or `null`.
    ///
    /// # Errors
    /// Returns [`JsonError::Member`] if the member has another type; the error names the key.
    pub fn read<T: Deserialize<'a>>(
        &self,
        key: &'static str,
        field: &mut T,
    ) -> Result<(), JsonError> {
        if let Some(value) = self.get(key).filter(|value| value.get() != "null") {
            *field = serde_json::from_str(value.get()).map_err(|error| JsonError::Member {
                key,
                reason: without_position(&error),
            })?;
        }
        Ok(())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::with_capacity(8);
                while let Some((ObjectKey(key), value)) = map.next_entry()? {
                    pairs.push((key, value));
                }
                Ok(pairs)
            }
        }

        deserializer.deserialize_map(Pairs).map(Members)
    }
}

/// Key of an object; borrowed unless it contains an escape sequence.
struct ObjectKey<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for ObjectKey<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }

        deserializer.deserialize_str(Text).map(ObjectKey)
    }
}

/// Returns the undecoded object at the beginning of a string; the rest of the string is ignored.
///
/// # Errors
/// Returns [`JsonError`] if the string is empty or not JSON, or the value is not an object.
pub fn first_object(text: &str) -> Result<&RawValue, JsonError> {
    object(first_value(text)?)
}

fn first_value(text: &str) -> Result<&RawValue, JsonError> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    match values.next() {
        None => Err(JsonError::Empty),
        Some(value) => value.map_err(JsonError::Syntax),
    }
}

fn object(value: &RawValue) -> Result<&RawValue, JsonError> {
    match kind_of(value) {
        "an object" => Ok(value),
        "null" => Err(JsonError::Null),
        found => Err(JsonError::NotAnObject(found)),
    }
}

/// Reason why a JSON document was rejected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The document is empty or white space. COMPAT: clients of Skydive match this message.
    #[error("EOF")]
    Empty,
    /// The value is `null`. COMPAT: clients of Skydive match this message.
    #[error("unsupported type")]
    Null,
    /// The document is not JSON; the error contains the line and column.
    #[error("{0}")]
    Syntax(serde_json::Error),
    /// The value is not an object.
    #[error("found {0}; expected an object")]
    NotAnObject(&'static str),
    /// A member has an unknown key.
    #[error("unknown field {key:?}{}", suggestion(*.nearest))]
    UnknownMember {
        /// Unknown key, truncated if it is long.
        key: String,
        /// Known key that is spelled similarly.
        nearest: Option<&'static str>,
    },
    /// A member has the wrong type.
    #[error("{key}: {reason}")]
    Member {
        /// Key of the member.
        key: &'static str,
        /// The found and the expected type.
        reason: String,
    },
}

/// Returns the part of a message that suggests a key.
fn suggestion(nearest: Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean {name:?}?"))
}

/// Maximum length of a key in an error message, in characters.
const MAX_SHOWN_CHARS: usize = 64;

/// Returns the type of a value, for error messages.
fn kind_of(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Returns the error message without a position such as " at line 1 column 5", which would be
/// relative to the member instead of the document.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Members::parse_first(text)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn bodies_that_are_no_object_say_so() {
        assert_eq!(refused(""), "EOF");
        assert_eq!(refused(" \n"), "EOF");
        assert_eq!(refused("null"), "unsupported type");
        assert_eq!(refused("[1]"), "found an array; expected an object");
        assert_eq!(refused("\"x\""), "found a string; expected an object");
        assert_eq!(refused("-5"), "found a number; expected an object");
        assert_eq!(refused("true"), "found a boolean; expected an object");
        assert!(refused("{").starts_with("EOF while parsing an object at line 1"));
        assert!(refused("hello").contains("line 1 column 1"));
    }

    #[test]
    fn only_the_first_value_counts_unless_all_must() {
        assert!(Members::parse_first("{} {} garbage").is_ok());
        assert!(Members::parse_whole("{} {}").is_err());
        assert!(Members::parse_whole("[]").is_err());
    }

    #[test]
    fn the_last_of_equal_keys_wins_in_any_case() {
        let members = Members::parse_whole(r#"{"a\u0062":1,"AB":2,"ab":3,"x":null}"#).unwrap();
        let mut number = 0;
        members.read("Ab", &mut number).unwrap();
        assert_eq!(number, 3);
        members.read("X", &mut number).unwrap();
        members.read("absent", &mut number).unwrap();
        assert_eq!(number, 3, "null and absence leave the default");
    }

    #[test]
    fn a_member_of_the_wrong_type_is_named() {
        let members = Members::parse_whole(r#"{"count":"many"}"#).unwrap();
        let error = members.read("Count", &mut 0_i64).unwrap_err().to_string();
        assert_eq!(error, r#"Count: invalid type: string "many", expected i64"#);
    }

    #[test]
    fn deep_nesting_is_refused_without_harm() {
        let deep = format!(r#"{{"A":{}"#, "[".repeat(200_000));
        assert!(Members::parse_first(&deep).is_err());
        let closed = format!(r#"{{"A":{}{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
        if let Ok(members) = Members::parse_first(&closed) {
            assert!(members.read("A", &mut serde_json::Value::Null).is_err());
        }
    }
}
