//! Changes to metadata: operations on dotted paths, and the difference between two states.

use std::collections::BTreeMap;

use arcstr::ArcStr;

use crate::value::{MAX_DEPTH, Map, Text, Value};

/// Metadata of a node or an edge: an object with values of any depth.
pub type Metadata = Map;

/// One change to metadata; corresponds to one operation of the wire format.
///
/// Keys are dotted paths: setting `ExtID.iface-id` creates the object `ExtID` if it is missing;
/// deleting the last key of `ExtID` removes `ExtID`.
///
/// ```
/// use skylib::graph::{Metadata, MetadataOp};
/// let op: MetadataOp = serde_json::from_str(r#"{"Type":1,"Key":"ExtID.iface-id","Value":"p1"}"#)?;
/// let mut metadata = Metadata::new();
/// assert!(op.apply(&mut metadata));
/// assert!(!op.apply(&mut metadata), "no change");
/// assert_eq!(serde_json::to_string(&metadata)?, r#"{"ExtID":{"iface-id":"p1"}}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataOp {
    /// Adds or replaces the value at a path.
    Set {
        /// Dotted path.
        key: Text,
        /// New value.
        value: Value,
    },
    /// Removes the value at a path.
    Delete {
        /// Dotted path.
        key: Text,
    },
}

impl MetadataOp {
    /// Returns an operation that adds or replaces a value.
    pub fn set(key: impl Into<Text>, value: impl Into<Value>) -> Self {
        Self::Set {
            key: key.into(),
            value: value.into(),
        }
    }

    /// Returns an operation that removes a value.
    pub fn delete(key: impl Into<Text>) -> Self {
        Self::Delete { key: key.into() }
    }

    /// Returns the dotted path.
    #[must_use]
    pub const fn key(&self) -> &Text {
        match self {
            Self::Set { key, .. } | Self::Delete { key } => key,
        }
    }

    /// Applies the operation; returns whether anything has changed.
    ///
    /// Nothing changes if the value is already equal, or if the path leads through a value that is
    /// not an object.
    pub fn apply(&self, metadata: &mut Metadata) -> bool {
        match self {
            Self::Set { key, value } => {
                metadata.get_path(key) != Some(value) && metadata.set_path(key, value.clone())
            }
            Self::Delete { key } => metadata.remove_path(key),
        }
    }
}

/// Applies operations in order; returns the operations that changed anything.
pub(super) fn apply_all(ops: &[MetadataOp], metadata: &mut Metadata) -> Vec<MetadataOp> {
    if ops.len() <= FEW {
        return ops
            .iter()
            .filter(|op| op.apply(metadata))
            .cloned()
            .collect();
    }
    // Each change to a map copies the map, so many changes are made to a mutable tree instead.
    let mut draft = Draft::from(&*metadata);
    let done = ops.iter().filter(|op| draft.apply(op)).cloned().collect();
    *metadata = draft.into_map();
    done
}

/// Maximum number of operations that are applied directly to the map.
const FEW: usize = 8;

/// Mutable form of metadata: a tree that is converted level by level as it is changed, so that
/// `n` operations on `m` keys cost `O((n + m) log m)` instead of `O(n m)`.
#[derive(Default)]
struct Draft(BTreeMap<ArcStr, Branch>);

enum Branch {
    /// An unchanged value.
    Value(Value),
    /// An object with changes.
    Changed(Draft),
}

impl Draft {
    fn apply(&mut self, op: &MetadataOp) -> bool {
        match op {
            MetadataOp::Set { key, value } => {
                key.split('.').nth(MAX_DEPTH).is_none() && self.set(key, value)
            }
            MetadataOp::Delete { key } => self.delete(key),
        }
    }

    fn set(&mut self, key: &str, value: &Value) -> bool {
        let Some((head, rest)) = key.split_once('.') else {
            if self.0.get(key).is_some_and(|branch| branch.is(value)) {
                return false;
            }
            self.0
                .insert(ArcStr::from(key), Branch::Value(value.clone()));
            return true;
        };
        match self.0.get_mut(head) {
            Some(branch) => branch.open().is_some_and(|inner| inner.set(rest, value)),
            None => {
                let mut inner = Self::default();
                inner.set(rest, value);
                self.0.insert(ArcStr::from(head), Branch::Changed(inner));
                true
            }
        }
    }

    fn delete(&mut self, key: &str) -> bool {
        let Some((head, rest)) = key.split_once('.') else {
            return self.0.remove(key).is_some();
        };
        let Some(inner) = self.0.get_mut(head).and_then(Branch::open) else {
            return false;
        };
        let done = inner.delete(rest);
        if done && inner.0.is_empty() {
            self.0.remove(head);
        }
        done
    }

    fn into_map(self) -> Map {
        Map::from_pairs(
            self.0
                .into_iter()
                .map(|(key, branch)| (key, branch.into_value())),
        )
    }
}

impl From<&Map> for Draft {
    fn from(map: &Map) -> Self {
        let branch = |(key, value): (&ArcStr, &Value)| (key.clone(), Branch::Value(value.clone()));
        Self(map.iter().map(branch).collect())
    }
}

impl Branch {
    /// Returns the branch as a mutable object; `None` if it is not an object.
    fn open(&mut self) -> Option<&mut Draft> {
        if let Self::Value(Value::Map(map)) = self {
            *self = Self::Changed(Draft::from(&*map));
        }
        match self {
            Self::Changed(draft) => Some(draft),
            Self::Value(_) => None,
        }
    }

    fn is(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Value(held), _) => held == value,
            (Self::Changed(draft), Value::Map(map)) => {
                let branches = draft.0.iter().zip(map.iter());
                draft.0.len() == map.len()
                    && branches
                        .into_iter()
                        .all(|((a, held), (b, value))| a == b && held.is(value))
            }
            _ => false,
        }
    }

    fn into_value(self) -> Value {
        match self {
            Self::Value(value) => value,
            Self::Changed(draft) => Value::Map(draft.into_map()),
        }
    }
}

/// Returns the operations on top-level keys that change `old` to `new`, by a merge of the two sorted
/// key lists.
///
/// Returns `None` if a changed key contains a dot, because an operation would interpret the key as
/// a path.
pub(super) fn difference(old: &Metadata, new: &Metadata) -> Option<Vec<MetadataOp>> {
    let mut ops = Vec::new();
    let (mut before, mut after) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let was = if order.is_le() { before.next() } else { None };
        let is = if order.is_ge() { after.next() } else { None };
        let op = match (was, is) {
            (Some((_, was)), Some((_, is))) if was == is => continue,
            (_, Some((key, is))) => MetadataOp::set(key.clone(), is.clone()),
            (Some((key, _)), None) => MetadataOp::delete(key.clone()),
            (None, None) => continue,
        };
        if op.key().contains('.') {
            return None;
        }
        ops.push(op);
    }
    Some(ops)
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wire {
    r#type: i64,
    key: Text,
    #[serde(default)]
    value: Value,
}

const SET: i64 = 1;
const DELETE: i64 = 2;

impl serde::Serialize for MetadataOp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (r#type, key, value) = match self {
            Self::Set { key, value } => (SET, key.clone(), value.clone()),
            Self::Delete { key } => (DELETE, key.clone(), Value::Null),
        };
        Wire { r#type, key, value }.serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for MetadataOp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = Wire::deserialize(deserializer)?;
        match wire.r#type {
            SET => Ok(Self::Set {
                key: wire.key,
                value: wire.value,
            }),
            DELETE => Ok(Self::Delete { key: wire.key }),
            other => Err(serde::de::Error::custom(format!(
                "unknown metadata operation {other}; expected 1 (set) or 2 (delete)"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(json: &str) -> Map {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_difference_applied_gives_the_new_state() {
        let old = map(r#"{"A":1,"B":{"C":2},"D":[1]}"#);
        let new = map(r#"{"B":{"C":3},"D":[1],"E":null}"#);
        let ops = difference(&old, &new).unwrap();
        assert_eq!(
            serde_json::to_string(&ops).unwrap(),
            r#"[{"Type":2,"Key":"A","Value":null},{"Type":1,"Key":"B","Value":{"C":3}},"#
                .to_owned()
                + r#"{"Type":1,"Key":"E","Value":null}]"#
        );
        let mut state = old;
        for op in &ops {
            assert!(op.apply(&mut state), "{op:?}");
        }
        assert_eq!(state, new);
    }

    #[test]
    fn a_literal_key_with_a_dot_has_no_operations() {
        assert_eq!(difference(&map("{}"), &map(r#"{"a.b":1}"#)), None);
        assert_eq!(
            difference(&map(r#"{"a.b":1}"#), &map(r#"{"a.b":1}"#)),
            Some(vec![])
        );
    }

    #[test]
    fn operations_that_change_nothing_say_so() {
        let mut m = map(r#"{"A":1}"#);
        assert!(!MetadataOp::set("A", 1).apply(&mut m));
        assert!(
            !MetadataOp::set("A.B", 1).apply(&mut m),
            "a scalar is in the way"
        );
        assert!(!MetadataOp::delete("X").apply(&mut m));
        assert_eq!(m, map(r#"{"A":1}"#));
    }

    fn op() -> impl Strategy<Value = MetadataOp> {
        let key = proptest::collection::vec(prop_oneof!["A", "B", "C"], 1..4);
        let value = prop_oneof![
            Just("1"),
            Just(r#""x""#),
            Just("{}"),
            Just(r#"{"A":1}"#),
            Just(r#"{"B":{"A":1,"C":[{}]}}"#),
        ];
        (key, proptest::option::of(value)).prop_map(|(key, value)| match value {
            Some(json) => MetadataOp::Set {
                key: key.join(".").into(),
                value: serde_json::from_str(json).unwrap(),
            },
            None => MetadataOp::delete(key.join(".")),
        })
    }

    proptest! {
        #[test]
        fn many_at_once_do_what_one_after_the_other_does(
            ops in proptest::collection::vec(op(), FEW + 1..60),
        ) {
            let (mut a, mut b) = (map(r#"{"A":{"A":{"A":1}},"B":2}"#), Map::new());
            for start in [&mut a, &mut b] {
                let mut wanted = start.clone();
                let done: Vec<_> = ops.iter().filter(|op| op.apply(&mut wanted)).cloned().collect();
                prop_assert_eq!(apply_all(&ops, start), done);
                prop_assert_eq!(&*start, &wanted);
            }
        }
    }

    #[test]
    fn a_flood_of_operations_takes_no_square_of_time() {
        let ops: Vec<_> = (0..100_000)
            .map(|i| MetadataOp::set(format!("k.{i}"), i))
            .collect();
        let mut metadata = Map::new();
        assert_eq!(apply_all(&ops, &mut metadata).len(), ops.len());
        assert_eq!(metadata.get_path("k.99999"), Some(&Value::Int(99_999)));
    }

    #[test]
    fn unknown_operations_are_refused() {
        assert!(serde_json::from_str::<MetadataOp>(r#"{"Type":3,"Key":"A"}"#).is_err());
        assert!(serde_json::from_str::<MetadataOp>(r#"{"Type":2,"Key":"A"}"#).is_ok());
    }
}
