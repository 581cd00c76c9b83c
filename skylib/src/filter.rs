//! Filters: a tree of tests on named fields, evaluated on anything that has fields.
//!
//! Queries make a `Filter<Text>` of key names; whoever owns the elements compiles the names once
//! ([`Filter::map_keys`]) into keys it can look up fast, and answers the tests ([`Fields`]).
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

use std::fmt;
use std::net::Ipv4Addr;

use regex::{Regex, RegexBuilder};

use crate::value::{Text, Value};

/// A tree of tests. Complete by definition: it mirrors the wire form of filters.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter<K = Text> {
    /// All of these; with none, everything matches.
    All(Vec<Self>),
    /// One of these; with none, everything matches (COMPAT: filters on the wire).
    Any(Vec<Self>),
    /// The opposite.
    Not(Box<Self>),
    /// One field.
    Test(K, Predicate),
}

impl Filter {
    /// A test of one field.
    pub fn test(key: impl Into<Text>, predicate: Predicate) -> Self {
        Self::Test(key.into(), predicate)
    }
}

impl<K> Filter<K> {
    /// The filter that matches everything.
    #[must_use]
    pub const fn everything() -> Self {
        Self::All(Vec::new())
    }

    /// Whether this is trivially the filter that matches everything.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        matches!(self, Self::All(filters) | Self::Any(filters) if filters.is_empty())
    }

    /// The opposite filter.
    #[must_use]
    pub fn negate(self) -> Self {
        Self::Not(Box::new(self))
    }

    /// Both filters.
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

    /// The part of it that says it all.
    pub(crate) fn innermost(&self) -> &Self {
        match self {
            Self::All(filters) | Self::Any(filters) => match &filters[..] {
                [only] => only.innermost(),
                _ => self,
            },
            Self::Not(_) | Self::Test(..) => self,
        }
    }

    /// Whether an element passes.
    pub fn matches<F: Fields<K> + ?Sized>(&self, element: &F) -> bool {
        match self {
            Self::All(filters) => filters.iter().all(|f| f.matches(element)),
            Self::Any(filters) => filters.is_empty() || filters.iter().any(|f| f.matches(element)),
            Self::Not(filter) => !filter.matches(element),
            Self::Test(key, predicate) => element.test(key, predicate),
        }
    }

    /// The same tree on other keys: names compiled to what their owner looks up.
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

/// Something whose fields can be tested; `K` is how its keys are named.
pub trait Fields<K = Text> {
    /// Whether the field is there and satisfies the predicate.
    fn test(&self, key: &K, predicate: &Predicate) -> bool;
}

/// What one value must be. A value that is an array matches if one of its elements does.
///
/// Matching goes by the *literal's* kind (COMPAT: every Gremlin client): text matches only text,
/// booleans only booleans, and anything with a number compares what the value counts as
/// ([`Value::to_int`]), so `Int(42)` matches `"0x2a"`, `42.7` and `42`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Predicate {
    /// The key is there, whatever it holds.
    Present,
    /// Equal text.
    Text(Text),
    /// Equal integer, after coercion.
    Int(i64),
    /// Equal boolean.
    Bool(bool),
    /// Less than.
    Lt(i64),
    /// Less than or equal.
    Lte(i64),
    /// Greater than.
    Gt(i64),
    /// Greater than or equal.
    Gte(i64),
    /// Text that the pattern matches.
    Regex(Pattern),
    /// Dotted quad, optionally with a prefix length (ignored), inside a network.
    Ipv4Range(Ipv4Network),
}

impl Predicate {
    /// Whether a value satisfies the predicate.
    #[must_use]
    #[inline]
    pub fn matches(&self, value: &Value) -> bool {
        match (self, value) {
            // What most scans ask for.
            (_, Value::Int(number)) => self.matches_int(*number),
            (Self::Text(wanted), Value::Text(text)) => wanted == text,
            (Self::Present, _) => true,
            (_, Value::List(list)) => list.iter().any(|v| self.matches_one(v)),
            _ => self.matches_one(value),
        }
    }

    fn matches_one(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text(wanted), Value::Text(text)) => wanted == text,
            (Self::Bool(wanted), Value::Bool(bool)) => wanted == bool,
            (Self::Regex(_) | Self::Ipv4Range(_), Value::Text(text)) => self.matches_text(text),
            (Self::Text(_) | Self::Bool(_) | Self::Regex(_) | Self::Ipv4Range(_), _) => false,
            _ => value
                .to_int()
                .is_some_and(|number| self.matches_int(number)),
        }
    }

    /// Whether an integer field satisfies the predicate.
    #[must_use]
    #[inline]
    pub fn matches_int(&self, number: i64) -> bool {
        match self {
            Self::Present => true,
            Self::Int(wanted) => number == *wanted,
            Self::Lt(bound) => number < *bound,
            Self::Lte(bound) => number <= *bound,
            Self::Gt(bound) => number > *bound,
            Self::Gte(bound) => number >= *bound,
            Self::Text(_) | Self::Bool(_) | Self::Regex(_) | Self::Ipv4Range(_) => false,
        }
    }

    /// Whether a text field satisfies the predicate.
    #[must_use]
    pub fn matches_text(&self, text: &str) -> bool {
        match self {
            Self::Present => true,
            Self::Text(wanted) => wanted.as_str() == text,
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
            (Self::Regex(a), Self::Regex(b)) => a.0.as_str() == b.0.as_str(),
            (Self::Ipv4Range(a), Self::Ipv4Range(b)) => a == b,
            _ => false,
        }
    }
}

/// A regular expression that must match the whole text.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern, anchored at both ends.
    ///
    /// # Errors
    /// The expression's fault in words, the pattern itself left out.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let compile = |text: &str| {
            let compiled = RegexBuilder::new(text)
                .size_limit(MAX_PATTERN_BYTES)
                .build();
            compiled.map_err(|error| reason(&error))
        };
        // Compiled alone first, so that a stray parenthesis cannot pair with the anchoring group.
        compile(pattern)?;
        compile(&format!("^(?:{pattern})$")).map(Self)
    }

    /// The anchored expression.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Largest compiled expression.
const MAX_PATTERN_BYTES: usize = 1 << 20;

fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines()
        .last()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_owned()
}

/// An IPv4 network, host bits cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Network {
    address: u32,
    mask: u32,
}

impl Ipv4Network {
    /// Reads `192.0.2.0/24`.
    #[must_use]
    pub fn parse(cidr: &str) -> Option<Self> {
        let (address, len) = cidr.split_once('/')?;
        if len.is_empty() || len.len() > 2 || !len.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let len = len.parse::<u32>().ok().filter(|len| *len <= 32)?;
        let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0);
        let address = u32::from(address.parse::<Ipv4Addr>().ok()?) & mask;
        Some(Self { address, mask })
    }

    /// Whether an address, with or without `/length`, is inside.
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
        let network = Ipv4Network::parse("192.0.2.77/24").unwrap();
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
            Ipv4Network::parse("0.0.0.0/0")
                .unwrap()
                .contains_text("255.1.2.3")
        );
        for bad in ["192.0.2.0", "192.0.2.0/33", "::/0", "x/8", "1.2.3.4/+8"] {
            assert!(Ipv4Network::parse(bad).is_none(), "{bad}");
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
