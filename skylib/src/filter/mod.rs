//! Filters: trees of tests on named fields, evaluated on anything that has fields.
//!
//! A query contains a `Filter<Text>` of key names. The module that owns the elements compiles the
//! names once ([`Filter::map_keys`]) into keys with a fast lookup and evaluates the tests
//! ([`Fields`]).
//!
//! ```
//! use skylib::filter::{Fields, Filter, Predicate};
//! use skylib::value::{Text, Value};
//!
//! struct Port(i64);
//! impl Fields for Port {
//!     fn test(&self, key: &Text, predicate: &Predicate) -> bool {
//!         *key == "Port" && predicate.matches(&Value::Int(self.0))
//!     }
//! }
//! let filter = Filter::All(vec![
//!     Filter::test("Port", Predicate::Gte(80)),
//!     Filter::test("Port", Predicate::Lt(90)).negate(),
//! ]);
//! assert!(filter.matches(&Port(443)));
//! assert!(!filter.matches(&Port(85)));
//! ```

mod network;
mod one_of;

use std::net::IpAddr;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

pub use self::network::{Ipv4Network, Ipv6Network, ParseNetworkError};
pub use self::one_of::OneOf;
use crate::value::{Text, Value};

/// Tree of tests; mirrors the wire form of filters.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter<K = Text> {
    /// Matches if all filters match; an empty list matches everything.
    All(Vec<Self>),
    /// Matches if any filter matches.
    ///
    /// COMPAT: filters in client messages: an empty list matches everything.
    Any(Vec<Self>),
    /// Matches if the filter does not match.
    Not(Box<Self>),
    /// Matches if a field satisfies a predicate.
    Test(K, Predicate),
}

impl Filter {
    /// Returns a test of one field.
    pub fn test(key: impl Into<Text>, predicate: Predicate) -> Self {
        Self::Test(key.into(), predicate)
    }
}

impl<K> Filter<K> {
    /// Returns the filter that matches everything.
    #[must_use]
    pub const fn everything() -> Self {
        Self::All(Vec::new())
    }

    /// Returns whether the filter is an empty list, which matches everything.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        matches!(self, Self::All(filters) | Self::Any(filters) if filters.is_empty())
    }

    /// Returns the negated filter.
    #[must_use]
    pub fn negate(self) -> Self {
        Self::Not(Box::new(self))
    }

    /// Returns the conjunction with another filter.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if b.is_everything() => a,
            (a, b) if a.is_everything() => b,
            (Self::All(mut a), Self::All(b)) => {
                a.extend(b);
                Self::All(a)
            }
            (Self::All(mut a), b) => {
                a.push(b);
                Self::All(a)
            }
            (a, b) => Self::All(vec![a, b]),
        }
    }

    /// Returns the filter inside any nested lists that contain a single filter.
    pub(crate) fn innermost(&self) -> &Self {
        match self {
            Self::All(filters) | Self::Any(filters) => match &filters[..] {
                [only] => only.innermost(),
                _ => self,
            },
            Self::Not(_) | Self::Test(..) => self,
        }
    }

    /// Returns the list of equalities that a set represents.
    pub(crate) fn alternatives(key: &K, set: &OneOf) -> Self
    where
        K: Clone,
    {
        let test = |equality| Self::Test(key.clone(), equality);
        Self::Any(set.equalities().map(test).collect())
    }

    /// Returns whether an element matches.
    pub fn matches<F: Fields<K> + ?Sized>(&self, element: &F) -> bool {
        match self {
            Self::All(filters) => filters.iter().all(|f| f.matches(element)),
            Self::Any(filters) => filters.is_empty() || filters.iter().any(|f| f.matches(element)),
            Self::Not(filter) => !filter.matches(element),
            Self::Test(key, predicate) => element.test(key, predicate),
        }
    }

    /// Returns the same tree with each key converted by `compile`, for example to a fast lookup.
    pub fn map_keys<L>(&self, compile: &mut impl FnMut(&K) -> L) -> Filter<L> {
        match self {
            Self::All(filters) => {
                Filter::All(filters.iter().map(|f| f.map_keys(compile)).collect())
            }
            Self::Any(filters) => {
                Filter::Any(filters.iter().map(|f| f.map_keys(compile)).collect())
            }
            Self::Not(filter) => Filter::Not(Box::new(filter.map_keys(compile))),
            Self::Test(key, predicate) => Filter::Test(compile(key), predicate.clone()),
        }
    }
}

/// Element with fields that can be tested; `K` is the type of its keys.
pub trait Fields<K = Text> {
    /// Returns whether the field is present and satisfies the predicate.
    fn test(&self, key: &K, predicate: &Predicate) -> bool;
}

/// Test of one value. An array satisfies it if one of its elements does.
///
/// COMPAT: every Gremlin client: the type of the literal determines how values are compared. A
/// string equals only a string, a boolean only a boolean, and a number is compared with the value
/// converted to an integer ([`Value::to_int`]), so `Int(42)` matches `"0x2a"`, `42.7`, and `42`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Predicate {
    /// The field is present, with any value.
    Present,
    /// Equal string.
    Text(Text),
    /// Equal integer, after conversion.
    Int(i64),
    /// Equal boolean.
    Bool(bool),
    /// Equal to one of many values.
    OneOf(Arc<OneOf>),
    /// Less than.
    Lt(i64),
    /// Less than or equal.
    Lte(i64),
    /// Greater than.
    Gt(i64),
    /// Greater than or equal.
    Gte(i64),
    /// String that matches the pattern.
    Regex(Pattern),
    /// IPv4 address inside a network; a prefix length after the address is ignored.
    Ipv4Range(Ipv4Network),
    /// IPv6 address inside a network; a prefix length after the address is ignored.
    Ipv6Range(Ipv6Network),
    /// Equal IP address, in any notation; a prefix length after the address is ignored.
    Address(IpAddr),
}

impl Predicate {
    /// Returns whether a value satisfies the predicate.
    #[must_use]
    #[inline]
    pub fn matches(&self, value: &Value) -> bool {
        match (self, value) {
            // Fast path: most scans compare integers.
            (_, Value::Int(number)) => self.matches_int(*number),
            (Self::Text(wanted), Value::Text(text)) => wanted == text,
            (Self::Present, _) => true,
            (_, Value::List(list)) => list.iter().any(|v| self.matches_one(v)),
            _ => self.matches_one(value),
        }
    }

    /// Returns whether a value that is not searched as an array satisfies the predicate.
    fn matches_one(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text(wanted), Value::Text(text)) => wanted == text,
            (Self::Bool(wanted), Value::Bool(bool)) => wanted == bool,
            (predicate, Value::Text(text)) if predicate.reads_text() => self.matches_text(text),
            (Self::OneOf(set), _) => set.has(value),
            (Self::Text(_) | Self::Bool(_), _) => false,
            (predicate, _) if predicate.reads_text() => false,
            _ => value
                .to_int()
                .is_some_and(|number| self.matches_int(number)),
        }
    }

    /// Returns whether an integer satisfies the predicate.
    #[must_use]
    #[inline]
    pub fn matches_int(&self, number: i64) -> bool {
        match self {
            Self::Present => true,
            Self::Int(wanted) => number == *wanted,
            Self::OneOf(set) => set.has_int(number),
            Self::Lt(bound) => number < *bound,
            Self::Lte(bound) => number <= *bound,
            Self::Gt(bound) => number > *bound,
            Self::Gte(bound) => number >= *bound,
            Self::Text(_)
            | Self::Bool(_)
            | Self::Regex(_)
            | Self::Ipv4Range(_)
            | Self::Ipv6Range(_)
            | Self::Address(_) => false,
        }
    }

    /// Returns whether the predicate parses strings, and so matches no other values.
    const fn reads_text(&self) -> bool {
        matches!(
            self,
            Self::Regex(_) | Self::Ipv4Range(_) | Self::Ipv6Range(_) | Self::Address(_)
        )
    }

    /// Returns whether a string satisfies the predicate.
    #[must_use]
    pub fn matches_text(&self, text: &str) -> bool {
        match self {
            Self::Present => true,
            Self::Text(wanted) => wanted.as_str() == text,
            Self::OneOf(set) => set.has_text(text),
            Self::Regex(pattern) => pattern.0.is_match(text),
            Self::Ipv4Range(network) => network.contains_text(text),
            Self::Ipv6Range(network) => network.contains_text(text),
            Self::Address(address) => network::address_of(text, 3) == Some(*address),
            _ => false,
        }
    }
}

impl PartialEq for Predicate {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Present, Self::Present) => true,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b))
            | (Self::Lt(a), Self::Lt(b))
            | (Self::Lte(a), Self::Lte(b))
            | (Self::Gt(a), Self::Gt(b))
            | (Self::Gte(a), Self::Gte(b)) => a == b,
            (Self::OneOf(a), Self::OneOf(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.0.as_str() == b.0.as_str(),
            (Self::Ipv4Range(a), Self::Ipv4Range(b)) => a == b,
            (Self::Ipv6Range(a), Self::Ipv6Range(b)) => a == b,
            (Self::Address(a), Self::Address(b)) => a == b,
            _ => false,
        }
    }
}

/// Regular expression that must match the whole string.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern, anchored at both ends.
    ///
    /// # Errors
    /// Returns a description of the error, without the pattern, if the pattern is not a valid
    /// regular expression or is larger than 1 MiB when compiled.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let compile = |text: &str| {
            let compiled = RegexBuilder::new(text)
                .size_limit(MAX_PATTERN_BYTES)
                .build();
            compiled.map_err(|error| reason(&error))
        };
        // Compiled alone first, so that a stray parenthesis cannot close the anchoring group.
        compile(pattern)?;
        compile(&format!("^(?:{pattern})$")).map(Self)
    }

    /// Returns the anchored expression.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Maximum size of a compiled expression, in bytes.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// Returns the last line of an error, which describes it.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines()
        .last()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_decide_what_is_compared() {
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let forty_two = Predicate::Int(42);
        for good in ["42", "\"42\"", "\"0x2a\"", "42.9", "[1,\"42\"]"] {
            assert!(forty_two.matches(&json(good)), "{good}");
        }
        assert!(Predicate::Int(1).matches(&Value::Bool(true)));
        assert!(Predicate::Int(0).matches(&Value::Null));
        assert!(!Predicate::Text("42".into()).matches(&Value::Int(42)));
        assert!(!Predicate::Bool(true).matches(&Value::Int(1)));
        assert!(Predicate::Bool(true).matches(&json("[false,true]")));
        assert!(Predicate::Present.matches(&Value::Null));
    }

    #[test]
    fn patterns_match_the_whole_text() {
        let pattern = |p: &str| Predicate::Regex(Pattern::new(p).unwrap());
        assert!(pattern("a|b.*").matches_text("bcd"));
        assert!(!pattern("a|b").matches_text("ab"));
        assert!(Pattern::new("a)(b").is_err());
        assert!(Pattern::new("[").unwrap_err().contains("unclosed"));
        assert!(
            Pattern::new("(?:a{1000}){1000}")
                .unwrap_err()
                .contains("exceeds size limit")
        );
    }

    #[test]
    fn addresses_are_equal_in_any_notation() {
        let address = |text: &str| Predicate::Address(text.parse().unwrap());
        for same in ["192.0.2.7", "192.0.2.7/24", "192.0.2.7/0"] {
            assert!(address("192.0.2.7").matches_text(same), "{same}");
        }
        for other in [
            "192.0.2.77",
            "192.0.2.7/",
            "192.0.2.7/x",
            "192.0.2.7/1234",
            "::1",
            "",
        ] {
            assert!(!address("192.0.2.7").matches_text(other), "{other}");
        }
        for same in ["2001:db8::1", "2001:DB8:0::1/64", "2001:db8::0001/128"] {
            assert!(address("2001:db8::1").matches_text(same), "{same}");
        }
        let list: Value = serde_json::from_str(r#"[1,"192.0.2.7/24"]"#).unwrap();
        assert!(address("192.0.2.7").matches(&list));
        assert!(!address("0.0.0.7").matches(&Value::Int(7)));
    }

    #[test]
    fn empty_filters_match_everything() {
        struct Nothing;
        impl Fields for Nothing {
            fn test(&self, _: &Text, _: &Predicate) -> bool {
                false
            }
        }
        assert!(Filter::everything().matches(&Nothing));
        assert!(Filter::<Text>::Any(vec![]).matches(&Nothing));
        assert!(!Filter::test("x", Predicate::Present).matches(&Nothing));
    }
}
