//! Values in the metadata of nodes and edges, and in query literals.
//!
//! A [`Value`] takes 16 bytes. Objects are [`Map`]s that share their key lists, short strings are
//! stored inline ([`Text`]), and a dotted key is compiled once into a [`Path`]. Values are received
//! from JSON clients and probes, stored in the graph, tested by filters, and written as JSON.
//!
//! ```
//! use skylib::value::Value;
//! let value: Value = serde_json::from_str(r#"{"MTU": 1500.0, "Up": true}"#)?;
//! assert_eq!(serde_json::to_string(&value)?, r#"{"MTU":1500,"Up":true}"#);
//! # Ok::<(), serde_json::Error>(())
//! ```

mod heap_size;
mod json;
mod key_cache;
mod list;
mod map;
mod path;
mod text;

pub(crate) use json::JsonWriter;
pub use list::List;
pub(crate) use map::MAX_DEPTH;
pub use map::{Map, Shape, ShapeTable};
pub use path::{Path, PathMatch};
pub use text::Text;

use std::fmt;

/// Metadata value: the types of JSON, with integers as a separate type.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// JSON `null`.
    #[default]
    Null,
    /// JSON `true` or `false`.
    Bool(bool),
    /// Integer. A float without a fraction becomes an integer when JSON is read.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(Text),
    /// An array.
    List(List),
    /// An object.
    Map(Map),
}

const _: () = assert!(size_of::<Value>() == 16);

impl Value {
    /// Returns an array of items that can be converted to values.
    pub fn list<T: Into<Self>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }

    /// Returns a number: an integer if it has no fraction, otherwise a float.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "truncation is the rule here"
    )]
    pub fn from_f64(number: f64) -> Self {
        if number.fract() == 0.0 && number.abs() < 9.2e18 {
            Self::Int(number as i64)
        } else {
            Self::Float(number)
        }
    }

    /// Returns the string; `None` for other types.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// Returns the integer without conversion; `None` for other types.
    #[must_use]
    pub const fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns the object; `None` for other types.
    #[must_use]
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Returns the array; `None` for other types.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Self]> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// Converts the value to an integer, as comparisons and sums do; `None` if no conversion is
    /// defined.
    ///
    /// Floats are truncated, booleans are 0 or 1, and null is 0. Numeric strings may have a base
    /// prefix (`0x10`, `010`, `0b1`), `_` between digits, and a fraction of zeros, which is
    /// ignored.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "truncation is the rule here"
    )]
    pub fn to_int(&self) -> Option<i64> {
        match self {
            Self::Null => Some(0),
            Self::Bool(bool) => Some(i64::from(*bool)),
            Self::Int(number) => Some(*number),
            Self::Float(number) => Some(*number as i64),
            Self::Text(text) => parse_int(text),
            Self::List(_) | Self::Map(_) => None,
        }
    }

    /// Returns the heap size in bytes; shared parts count as if owned (an upper bound).
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.heap_bytes(),
            Self::List(list) => list.heap_bytes(),
            Self::Map(map) => map.heap_bytes(),
            _ => 0,
        }
    }
}

/// Parses an integer as Go's `strconv.ParseInt(s, 0, 64)` does, after removing a fraction of zeros.
fn parse_int(text: &str) -> Option<i64> {
    let text = match text.split_once('.') {
        Some((whole, tail)) if !tail.is_empty() && tail.bytes().all(|b| b == b'0') => whole,
        _ => text,
    };
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.get(..2).map(str::to_ascii_lowercase);
    let (base, digits, prefixed) = match lower.as_deref() {
        Some("0x") => (16, &digits[2..], true),
        Some("0b") => (2, &digits[2..], true),
        Some("0o") => (8, &digits[2..], true),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..], true),
        _ => (10, digits, false),
    };
    // Go: an underscore is valid between digits, and between a base prefix and a digit.
    let misplaced = digits.ends_with('_')
        || digits.contains("__")
        || (digits.starts_with('_') && !prefixed)
        || digits.is_empty();
    if misplaced {
        return None;
    }
    let mut number: i128 = 0;
    for digit in digits.chars().filter(|c| *c != '_') {
        number = number * i128::from(base) + i128::from(digit.to_digit(base)?);
        if number > 1 << 64 {
            return None;
        }
    }
    i64::try_from(if negative { -number } else { number }).ok()
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<u64> for Value {
    /// Converts a counter; saturates at `i64::MAX`.
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::from_f64(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value.into())
    }
}

impl From<Text> for Value {
    fn from(value: Text) -> Self {
        Self::Text(value)
    }
}

impl From<Map> for Value {
    fn from(value: Map) -> Self {
        Self::Map(value)
    }
}

impl<T: Into<Self>> From<Vec<T>> for Value {
    fn from(value: Vec<T>) -> Self {
        Self::list(value)
    }
}

impl serde::Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::List(list) => serializer.collect_seq(list.iter()),
            Self::Map(map) => map.serialize(serializer),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> serde::de::Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "beyond i64 JSON numbers are floats"
        )]
        Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from_f64(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element()? {
            list.push(value);
        }
        Ok(Value::List(list.into()))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        key_cache::read(map).map(Value::Map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_count_as_integers_the_way_go_reads_them() {
        let int = |s: &str| Value::from(s).to_int();
        assert_eq!(int("42"), Some(42));
        assert_eq!(int("0x10"), Some(16));
        assert_eq!(int("010"), Some(8));
        assert_eq!(int("0b1"), Some(1));
        assert_eq!(int("1_000"), Some(1000));
        assert_eq!(int("7.00"), Some(7));
        assert_eq!(int("-5"), Some(-5));
        assert_eq!(int("0"), Some(0));
        for bad in [
            "",
            "x",
            "7.5",
            "1__0",
            "_1",
            "1_",
            "0x",
            "9",
            "12345678901234567890",
        ] {
            let wanted = (bad == "9").then_some(9);
            assert_eq!(int(bad), wanted, "{bad:?}");
        }
    }

    #[test]
    fn other_kinds_count_as_integers() {
        assert_eq!(Value::Null.to_int(), Some(0));
        assert_eq!(Value::from(true).to_int(), Some(1));
        assert_eq!(Value::Float(44.5).to_int(), Some(44));
        assert_eq!(Value::list([1]).to_int(), None);
    }

    #[test]
    fn whole_floats_become_integers_on_input() {
        let value: Value = serde_json::from_str("[1.0, 1.5, 1e3, 18446744073709551615]").unwrap();
        let wanted = vec![
            Value::Int(1),
            Value::Float(1.5),
            Value::Int(1000),
            Value::Float(18_446_744_073_709_551_615.0),
        ];
        assert_eq!(value, Value::from(wanted));
    }
}
