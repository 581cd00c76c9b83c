//! `OneOf`: equality with one of many values, as hash sets.
//!
//! `Within` with thousands of values is a list of equalities. Testing each of them on a million
//! elements takes minutes; a hash set needs one lookup per element.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::{Filter, Predicate};
use crate::value::{Text, Value};

/// Set of values; a tested value matches if it equals one of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OneOf {
    texts: HashSet<Text>,
    ints: HashSet<i64>,
    /// Whether `false` and `true` are in the set.
    bools: [bool; 2],
}

impl OneOf {
    /// Returns the number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len() + self.ints.len() + self.bools.iter().filter(|is_in| **is_in).count()
    }

    /// Returns whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Iterates over the equalities, in no particular order.
    pub fn equalities(&self) -> impl Iterator<Item = Predicate> {
        let texts = self.texts.iter().cloned().map(Predicate::Text);
        let ints = self.ints.iter().copied().map(Predicate::Int);
        let bools = [false, true].into_iter();
        let bools = bools.filter(|bool| self.bools[usize::from(*bool)]);
        texts.chain(ints).chain(bools.map(Predicate::Bool))
    }

    /// Adds the value of an equality. Returns `false` for any other predicate.
    fn insert(&mut self, equality: &Predicate) -> bool {
        match equality {
            Predicate::Text(text) => drop(self.texts.insert(text.clone())),
            Predicate::Int(number) => drop(self.ints.insert(*number)),
            Predicate::Bool(bool) => self.bools[usize::from(*bool)] = true,
            _ => return false,
        }
        true
    }

    /// Returns whether one of the equalities holds for a value that is not searched as an array.
    pub(super) fn has(&self, value: &Value) -> bool {
        match value {
            Value::Text(text) if self.texts.contains(text) => return true,
            Value::Bool(bool) if self.bools[usize::from(*bool)] => return true,
            _ => {}
        }
        !self.ints.is_empty() && value.to_int().is_some_and(|number| self.has_int(number))
    }

    pub(super) fn has_int(&self, number: i64) -> bool {
        self.ints.contains(&number)
    }

    pub(super) fn has_text(&self, text: &str) -> bool {
        self.texts.contains(text)
    }
}

impl Filter {
    /// Returns the filter with compiled keys, and with sets in place of long lists of equalities.
    pub fn compile<L>(&self, compile: &mut impl FnMut(&Text) -> L) -> Filter<L> {
        match self.has_long_list() {
            true => self.with_sets().map_keys(compile),
            false => self.map_keys(compile),
        }
    }

    fn has_long_list(&self) -> bool {
        match self {
            Self::All(filters) | Self::Any(filters) => {
                filters.len() >= MIN_VALUES || filters.iter().any(Self::has_long_list)
            }
            Self::Not(filter) => filter.has_long_list(),
            Self::Test(..) => false,
        }
    }

    /// Replaces alternative equalities on the same key, and conjunctions of their negations, by
    /// sets.
    fn with_sets(&self) -> Self {
        match self {
            Self::Any(filters) => {
                let (sets, mut rest) = grouped(filters, |filter| match filter {
                    Self::Test(key, predicate) => Some((key, predicate)),
                    _ => None,
                });
                rest.extend(sets);
                Self::Any(rest)
            }
            Self::All(filters) => {
                let (sets, mut rest) = grouped(filters, |filter| match filter {
                    Self::Not(negated) => match &**negated {
                        Self::Test(key, predicate) => Some((key, predicate)),
                        _ => None,
                    },
                    _ => None,
                });
                rest.extend(sets.into_iter().map(Self::negate));
                Self::All(rest)
            }
            Self::Not(filter) => filter.with_sets().negate(),
            Self::Test(..) => self.clone(),
        }
    }
}

/// Returns one set for each key with many equalities, and the remaining filters.
fn grouped<'a>(
    filters: &'a [Filter],
    test_of: impl Fn(&'a Filter) -> Option<(&'a Text, &'a Predicate)>,
) -> (Vec<Filter>, Vec<Filter>) {
    let mut counts: HashMap<&Text, usize> = HashMap::new();
    for (key, _) in filters.iter().filter_map(&test_of) {
        *counts.entry(key).or_default() += 1;
    }
    let mut sets: HashMap<&Text, OneOf> = HashMap::new();
    let mut rest = Vec::new();
    for filter in filters {
        let is_in_set = test_of(filter)
            .filter(|(key, _)| counts[*key] >= MIN_VALUES)
            .is_some_and(|(key, predicate)| sets.entry(key).or_default().insert(predicate));
        if !is_in_set {
            rest.push(filter.with_sets());
        }
    }
    let test =
        |(key, set): (&Text, OneOf)| Filter::test(key.clone(), Predicate::OneOf(Arc::new(set)));
    let sets = sets.into_iter().filter(|(_, set)| !set.is_empty());
    (sets.map(test).collect(), rest)
}

/// Minimum number of equalities on one key for which a set replaces the list, because it is faster.
const MIN_VALUES: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::filter::Fields;

    /// An element with one field `a`.
    struct One(Value);

    impl Fields for One {
        fn test(&self, key: &Text, predicate: &Predicate) -> bool {
            *key == "a" && predicate.matches(&self.0)
        }
    }

    fn equality() -> impl Strategy<Value = Predicate> {
        prop_oneof![
            "[a-c0-9]{0,2}".prop_map(|text| Predicate::Text(text.into())),
            (0..20_i64).prop_map(Predicate::Int),
            any::<bool>().prop_map(Predicate::Bool),
            (0..20_i64).prop_map(Predicate::Lt),
        ]
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..20_i64).prop_map(Value::from),
            (0..40_i32).prop_map(|n| Value::Float(f64::from(n) / 2.0)),
            "[a-c0-9]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(1, 5, 4, |inner| {
            proptest::collection::vec(inner, 0..4).prop_map(Value::list)
        })
    }

    #[test]
    fn long_lists_become_one_test_and_short_ones_remain() {
        let text = |i: usize| Filter::test("a", Predicate::Text(format!("v{i}").into()));
        let many: Vec<Filter> = (0..5_000).map(text).collect();
        let Filter::Any(tests) = Filter::Any(many.clone()).with_sets() else {
            panic!("still a disjunction");
        };
        assert!(
            matches!(&tests[..], [Filter::Test(_, Predicate::OneOf(set))] if set.len() == 5_000)
        );
        let none = Filter::All(many.into_iter().map(Filter::negate).collect()).with_sets();
        assert!(matches!(none, Filter::All(tests) if tests.len() == 1));
        let few = Filter::Any((0..3).map(text).collect());
        assert!(!few.has_long_list() && few.with_sets() == few);
    }

    proptest! {
        #[test]
        fn sets_match_what_the_list_matches(
            equalities in proptest::collection::vec(equality(), 0..60),
            other in equality(),
            is_negated in any::<bool>(),
            value in value(),
        ) {
            let tests = equalities.into_iter().map(|equality| Filter::test("a", equality));
            let other = Filter::test("b", other);
            let list: Filter = match is_negated {
                false => Filter::Any(tests.chain([other]).collect()),
                true => Filter::All(tests.chain([other]).map(Filter::negate).collect()),
            };
            let compiled = list.compile(&mut Clone::clone);
            prop_assert_eq!(compiled.matches(&One(value.clone())), list.matches(&One(value)));
        }
    }
}
