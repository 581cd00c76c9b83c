//! Filters: trees of tests on named fields, evaluated on anything that has fields.
//!
//! A query contains a `Filter<Text>` of key names. The module that owns the elements compiles the names
//! once ([`Filter::map_keys`]) into keys with a fast lookup and evaluates the tests ([`Fields`]).
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

mod one_of;

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

pub use self::one_of::OneOf;
use crate::value::{Text, Value};

/// Tree of tests. Complete by definition: it mirrors the wire form of filters.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter<K = Text> {
    /// Matches if all filters match; an empty list matches everything.
    All(Vec<Self>),
    /// Matches if any filter matches.
    ///
    /// COMPAT: filters on the wire: an empty list matches everything.
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

    /// Returns the filter without enclosing lists of one filter.
    pub(crate) fn innermost(&self) -> &Self {
        match self {
            Self::All(filters) | Self::Any(filters) => match &filters[..] {
                [only] => only.innermost(),
                _ => self,
            },
            Self::Not(_) | Self::Test(..) => self,
        }
    }

    /// Returns the list of equalities for which a set stands.
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

    /// Returns the same tree with each key converted by `compile`.
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
/// COMPAT: every Gremlin client: the type of the literal decides how values are compared. Text equals
/// only text, booleans only booleans, and a number is compared with the value converted to an integer
/// ([`Value::to_int`]), so `Int(42)` matches `"0x2a"`, `42.7`, and `42`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Predicate {
    /// The field is present, with any value.
    Present,
    /// Equal text.
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
    /// Text that matches the pattern.
    Regex(Pattern),
    /// IPv4 address inside a network; a prefix length after the address is ignored.
    Ipv4Range(Ipv4Network),
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
            (Self::Regex(_) | Self::Ipv4Range(_), Value::Text(text)) => self.matches_text(text),
            (Self::OneOf(set), _) => set.has(value),
            (Self::Text(_) | Self::Bool(_) | Self::Regex(_) | Self::Ipv4Range(_), _) => false,
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
            Self::Text(_) | Self::Bool(_) | Self::Regex(_) | Self::Ipv4Range(_) => false,
        }
    }

    /// Returns whether a text satisfies the predicate.
    #[must_use]
    pub fn matches_text(&self, text: &str) -> bool {
        match self {
            Self::Present => true,
            Self::Text(wanted) => wanted.as_str() == text,
            Self::OneOf(set) => set.has_text(text),
            Self::Regex(pattern) => pattern.0.is_match(text),
            Self::Ipv4Range(network) => network.contains_text(text),
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
            _ => false,
        }
    }
}

/// Regular expression that must match the whole text.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern, anchored at both ends.
    ///
    /// # Errors
    /// A description of the error without the pattern: it is not a valid expression, or larger than 1 MiB
    /// when compiled.
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

/// Largest compiled expression, in bytes.
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

/// IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Network {
    /// Host bits are zero: `address & mask == address`.
    address: u32,
    mask: u32,
}

impl FromStr for Ipv4Network {
    type Err = ParseNetworkError;

    /// Parses a network in CIDR notation, such as `192.0.2.0/24`; host bits are cleared.
    ///
    /// # Errors
    /// [`ParseNetworkError`] if the text is not an IPv4 address with a prefix length of 0 to 32.
    fn from_str(cidr: &str) -> Result<Self, ParseNetworkError> {
        let (address, len) = cidr.split_once('/').ok_or(ParseNetworkError)?;
        if !(1..=2).contains(&len.len()) || !len.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ParseNetworkError);
        }
        let len = len.parse::<u32>().map_err(|_| ParseNetworkError)?;
        let host_bits = 32_u32.checked_sub(len).ok_or(ParseNetworkError)?;
        let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
        let address = address.parse::<Ipv4Addr>().map_err(|_| ParseNetworkError)?;
        Ok(Self {
            address: u32::from(address) & mask,
            mask,
        })
    }
}

/// Error of parsing an [`Ipv4Network`] from text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an IPv4 network in CIDR notation, such as 192.0.2.0/24")]
pub struct ParseNetworkError;

impl Ipv4Network {
    /// Returns whether an address, with or without `/length`, is in the network.
    #[must_use]
    pub fn contains_text(&self, text: &str) -> bool {
        let (address, len) = text.split_once('/').unwrap_or((text, "0"));
        (1..=2).contains(&len.len())
            && len.bytes().all(|b| b.is_ascii_digit())
            && address
                .parse::<Ipv4Addr>()
                .is_ok_and(|a| u32::from(a) & self.mask == self.address)
    }
}

impl fmt::Display for Ipv4Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv4Addr::from(self.address);
        write!(f, "{address}/{}", self.mask.count_ones())
    }
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
    fn networks_mask_host_bits() {
        let network = "192.0.2.77/24".parse::<Ipv4Network>().unwrap();
        for inside in ["192.0.2.1", "192.0.2.255/24", "192.0.2.0/99"] {
            assert!(network.contains_text(inside), "{inside}");
        }
        for outside in [
            "192.0.3.1",
            "192.0.2.1/",
            "192.0.2.1/x",
            "::1",
            "192.0.2.01",
        ] {
            assert!(!network.contains_text(outside), "{outside}");
        }
        assert!(
            "0.0.0.0/0"
                .parse::<Ipv4Network>()
                .unwrap()
                .contains_text("255.1.2.3")
        );
        for bad in ["192.0.2.0", "192.0.2.0/33", "::/0", "x/8", "1.2.3.4/+8"] {
            assert!(bad.parse::<Ipv4Network>().is_err(), "{bad}");
        }
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
