//! `WireFilter`: the wire form of filters, in protobuf and JSON.

use serde::{Deserialize, Serialize};

use super::ProtoError;
use crate::filter::{Filter, OneOf, Pattern, Predicate};
use crate::value::Text;

/// Skydive's message `filters.Filter`: exactly one member is set.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct WireFilter {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    term_string_filter: Option<TextTest>,
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    term_int64_filter: Option<IntTest>,
    #[prost(message, optional, tag = "3")]
    #[serde(skip_serializing_if = "Option::is_none")]
    term_bool_filter: Option<BoolTest>,
    #[prost(message, optional, tag = "4")]
    #[serde(skip_serializing_if = "Option::is_none")]
    gt_int64_filter: Option<IntTest>,
    #[prost(message, optional, tag = "5")]
    #[serde(skip_serializing_if = "Option::is_none")]
    lt_int64_filter: Option<IntTest>,
    #[prost(message, optional, tag = "6")]
    #[serde(skip_serializing_if = "Option::is_none")]
    gte_int64_filter: Option<IntTest>,
    #[prost(message, optional, tag = "7")]
    #[serde(skip_serializing_if = "Option::is_none")]
    lte_int64_filter: Option<IntTest>,
    #[prost(message, optional, tag = "8")]
    #[serde(skip_serializing_if = "Option::is_none")]
    bool_filter: Option<BoolFilter>,
    #[prost(message, optional, tag = "9")]
    #[serde(skip_serializing_if = "Option::is_none")]
    regex_filter: Option<TextTest>,
    #[prost(message, optional, tag = "10")]
    #[serde(skip_serializing_if = "Option::is_none")]
    null_filter: Option<KeyTest>,
    #[prost(message, optional, tag = "11")]
    #[serde(rename = "IPV4RangeFilter", skip_serializing_if = "Option::is_none")]
    ipv4_range_filter: Option<TextTest>,
}

/// Skydive's message `filters.BoolFilter`.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct BoolFilter {
    #[prost(int32, tag = "1")]
    op: i32,
    #[prost(message, repeated, tag = "2")]
    filters: Vec<WireFilter>,
}

/// Values of `filters.BoolFilterOp`.
const OR: i32 = 0;
const AND: i32 = 1;
const NOT: i32 = 2;

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct TextTest {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct IntTest {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(int64, tag = "2")]
    value: i64,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct BoolTest {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(bool, tag = "2")]
    value: bool,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct KeyTest {
    #[prost(string, tag = "1")]
    key: String,
}

impl WireFilter {
    /// Returns the wire form of a filter; `None` if the filter has no wire form.
    pub(super) fn of(filter: &Filter) -> Option<Self> {
        match filter {
            Filter::All(list) => Self::list(AND, list),
            Filter::Any(list) => Self::list(OR, list),
            Filter::Not(inner) => Some(Self::negated(Self::of(inner)?)),
            Filter::Test(key, predicate) => Self::test(key, predicate),
        }
    }

    /// Returns the wire form of a filter that matches at least what `filter` matches; `None` if it
    /// would match everything.
    pub(super) fn weakened(filter: &Filter) -> Option<Self> {
        match filter {
            _ if filter.is_everything() => None,
            Filter::All(list) => {
                let list: Vec<Self> = list.iter().filter_map(Self::of).collect();
                (!list.is_empty()).then(|| Self::bool(AND, list))
            }
            _ => Self::of(filter),
        }
    }

    /// Returns the filter for flows of the nodes with these `TID`s.
    pub(super) fn of_nodes(tids: &[Text]) -> Self {
        let test = |tid: &Text| Self {
            term_string_filter: Some(text_test("NodeTID", tid.to_string())),
            ..Self::default()
        };
        match tids {
            // An empty list of alternatives would match everything.
            [] => Self::negated(Self::bool(AND, Vec::new())),
            _ => Self::bool(OR, tids.iter().map(test).collect()),
        }
    }

    /// Returns the conjunction of two filters; `None` matches everything.
    pub(super) fn all(first: Option<Self>, second: Option<Self>) -> Option<Self> {
        match (first, second) {
            (Some(first), Some(second)) => Some(Self::bool(AND, vec![first, second])),
            (first, second) => first.or(second),
        }
    }

    fn list(op: i32, list: &[Filter]) -> Option<Self> {
        let list: Option<Vec<Self>> = list.iter().map(Self::of).collect();
        list.map(|list| Self::bool(op, list))
    }

    fn bool(op: i32, filters: Vec<Self>) -> Self {
        Self {
            bool_filter: Some(BoolFilter { op, filters }),
            ..Self::default()
        }
    }

    fn negated(self) -> Self {
        Self::bool(NOT, vec![self])
    }

    fn test(key: &Text, predicate: &Predicate) -> Option<Self> {
        let mut wire = Self::default();
        let key = key.as_str();
        let int = |value: &i64| {
            Some(IntTest {
                key: key.to_owned(),
                value: *value,
            })
        };
        match predicate {
            Predicate::Present => {
                wire.null_filter = Some(KeyTest {
                    key: key.to_owned(),
                });
                return Some(wire.negated());
            }
            Predicate::Text(text) => {
                wire.term_string_filter = Some(text_test(key, text.to_string()));
            }
            Predicate::Int(value) => wire.term_int64_filter = int(value),
            Predicate::Bool(value) => {
                wire.term_bool_filter = Some(BoolTest {
                    key: key.to_owned(),
                    value: *value,
                });
            }
            Predicate::OneOf(set) => return Self::one_of(key, set),
            Predicate::Lt(value) => wire.lt_int64_filter = int(value),
            Predicate::Lte(value) => wire.lte_int64_filter = int(value),
            Predicate::Gt(value) => wire.gt_int64_filter = int(value),
            Predicate::Gte(value) => wire.gte_int64_filter = int(value),
            Predicate::Regex(pattern) => {
                wire.regex_filter = Some(text_test(key, pattern.as_str().to_owned()));
            }
            Predicate::Ipv4Range(network) => {
                wire.ipv4_range_filter = Some(text_test(key, network.to_string()));
            }
            // The wire format has no such filters.
            Predicate::Ipv6Range(_) | Predicate::Address(_) => return None,
        }
        Some(wire)
    }

    fn one_of(key: &str, set: &OneOf) -> Option<Self> {
        let key = Text::from(key);
        let tests = set.equalities().map(|equality| Self::test(&key, &equality));
        let tests: Vec<Self> = tests.collect::<Option<_>>()?;
        match tests.is_empty() {
            true => Some(Self::negated(Self::bool(AND, tests))),
            false => Some(Self::bool(OR, tests)),
        }
    }

    /// Returns the filter; a filter without a member matches everything.
    ///
    /// # Errors
    /// Returns [`ProtoError::Filter`] if a pattern or a network is invalid.
    pub(super) fn into_filter(self) -> Result<Filter, ProtoError> {
        let int = |test: IntTest, predicate: fn(i64) -> Predicate| {
            Filter::test(test.key, predicate(test.value))
        };
        Ok(if let Some(test) = self.term_string_filter {
            Filter::test(test.key, Predicate::Text(test.value.into()))
        } else if let Some(test) = self.term_int64_filter {
            int(test, Predicate::Int)
        } else if let Some(test) = self.term_bool_filter {
            Filter::test(test.key, Predicate::Bool(test.value))
        } else if let Some(test) = self.gt_int64_filter {
            int(test, Predicate::Gt)
        } else if let Some(test) = self.lt_int64_filter {
            int(test, Predicate::Lt)
        } else if let Some(test) = self.gte_int64_filter {
            int(test, Predicate::Gte)
        } else if let Some(test) = self.lte_int64_filter {
            int(test, Predicate::Lte)
        } else if let Some(list) = self.bool_filter {
            list.into_filter()?
        } else if let Some(test) = self.regex_filter {
            let pattern = Pattern::new(&test.value);
            let pattern = pattern.map_err(|why| ProtoError::Filter(test.key.clone(), why))?;
            Filter::test(test.key, Predicate::Regex(pattern))
        } else if let Some(test) = self.null_filter {
            Filter::test(test.key, Predicate::Present).negate()
        } else if let Some(test) = self.ipv4_range_filter {
            let invalid = || ProtoError::Filter(test.key.clone(), "invalid network".to_owned());
            let network = test.value.parse().map_err(|_| invalid())?;
            Filter::test(test.key, Predicate::Ipv4Range(network))
        } else {
            Filter::everything()
        })
    }
}

impl BoolFilter {
    /// COMPAT: an empty list matches everything, also negated, and a negated list matches unless
    /// all its filters match.
    fn into_filter(self) -> Result<Filter, ProtoError> {
        let list: Result<Vec<Filter>, ProtoError> = self
            .filters
            .into_iter()
            .map(WireFilter::into_filter)
            .collect();
        let list = list?;
        Ok(match (self.op, list.len()) {
            (_, 0) => Filter::everything(),
            (AND, _) => Filter::All(list),
            (NOT, 1) => list
                .into_iter()
                .next()
                .unwrap_or(Filter::everything())
                .negate(),
            (NOT, _) => Filter::All(list).negate(),
            _ => Filter::Any(list),
        })
    }
}

fn text_test(key: &str, value: String) -> TextTest {
    TextTest {
        key: key.to_owned(),
        value,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::flow::{Flow, FlowQuery};

    fn test(key: &str, predicate: Predicate) -> Filter {
        Filter::test(key, predicate)
    }

    #[test]
    fn filters_survive_both_forms() {
        let filters = [
            test("Application", Predicate::Text("DNS".into())),
            test("Start", Predicate::Int(5)),
            test("Start", Predicate::Gt(5)),
            test("Start", Predicate::Gte(5)),
            test("Start", Predicate::Lt(5)),
            test("Start", Predicate::Lte(5)),
            test("X", Predicate::Bool(true)),
            test("Network", Predicate::Present),
            test(
                "Network.A",
                Predicate::Ipv4Range("10.0.0.0/8".parse().unwrap()),
            ),
            test("A", Predicate::Text("b".into())).negate(),
            Filter::Any(vec![
                test("A", Predicate::Int(1)),
                test("B", Predicate::Int(2)),
            ]),
        ];
        for filter in filters {
            let wire = WireFilter::of(&filter).unwrap();
            let bytes = wire.encode_to_vec();
            let back = WireFilter::decode(&bytes[..]).unwrap();
            let back = back.into_filter().unwrap();
            let json = serde_json::to_string(&wire).unwrap();
            let of_json: WireFilter = serde_json::from_str(&json).unwrap();
            assert_eq!(of_json, wire, "{json}");
            // A present field is the double negation of a missing one.
            let expected = match &filter {
                Filter::Test(key, Predicate::Present) => {
                    test(key, Predicate::Present).negate().negate()
                }
                other => other.clone(),
            };
            assert_eq!(back, expected, "{json}");
        }
        let pattern = test("Name", Predicate::Regex(Pattern::new("a|b").unwrap()));
        let wire = WireFilter::of(&pattern).unwrap();
        let Filter::Test(_, Predicate::Regex(read)) = wire.into_filter().unwrap() else {
            panic!("no pattern")
        };
        assert!(Predicate::Regex(read).matches_text("b"));
    }

    #[test]
    fn no_node_and_no_value_match_nothing() {
        let nothing = WireFilter::of_nodes(&[]).into_filter().unwrap();
        let query = FlowQuery::default().with_filter(nothing);
        assert_eq!(query.answer(vec![Flow::default()]).unwrap().flows.len(), 0);
    }

    #[test]
    fn deep_filters_are_rejected() {
        let mut filter = test("A", Predicate::Int(1));
        for _ in 0..200 {
            filter = filter.negate();
        }
        let bytes = WireFilter::of(&filter).unwrap().encode_to_vec();
        assert!(WireFilter::decode(&bytes[..]).is_err());
    }
}
