//! Changes of metadata: single operations, and the difference of two states.

use crate::value::{Map, Text, Value};

/// What is known about a node or an edge.
pub type Metadata = Map;

/// One change of an element's metadata. Complete by definition: it mirrors the wire form.
///
/// Keys are dotted paths: setting `ExtID.iface-id` creates the object `ExtID` where it is missing,
/// deleting it removes `ExtID` when that becomes empty.
///
/// ```
/// use skylib::graph::{Metadata, MetadataOp};
/// let op: MetadataOp = serde_json::from_str(r#"{"Type":1,"Key":"ExtID.iface-id","Value":"p1"}"#)?;
/// let mut metadata = Metadata::new();
/// assert!(op.apply(&mut metadata));
/// assert!(!op.apply(&mut metadata), "there already");
/// assert_eq!(serde_json::to_string(&metadata)?, r#"{"ExtID":{"iface-id":"p1"}}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataOp {
    /// Adds or replaces the value at a path.
    Set {
        /// Dotted path.
        key: Text,
        /// What it becomes.
        value: Value,
    },
    /// Removes the value at a path.
    Delete {
        /// Dotted path.
        key: Text,
    },
}

impl MetadataOp {
    /// Adds or replaces.
    pub fn set(key: impl Into<Text>, value: impl Into<Value>) -> Self {
        Self::Set {
            key: key.into(),
            value: value.into(),
        }
    }

    /// Removes.
    pub fn delete(key: impl Into<Text>) -> Self {
        Self::Delete { key: key.into() }
    }

    /// The dotted path.
    #[must_use]
    pub const fn key(&self) -> &Text {
        match self {
            Self::Set { key, .. } | Self::Delete { key } => key,
        }
    }

    /// Does it; tells whether anything changed.
    ///
    /// Nothing changes where the value is there already, or where something that is no object
    /// stands in the way of the path.
    pub fn apply(&self, metadata: &mut Metadata) -> bool {
        match self {
            Self::Set { key, value } => {
                metadata.get_path(key) != Some(value) && metadata.set_path(key, value.clone())
            }
            Self::Delete { key } => metadata.remove_path(key),
        }
    }
}

/// The operations on top-level keys that make `new` of `old`.
///
/// `None` where a changed key holds a dot: an operation would take it for a path.
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
                "metadata operation {other} is neither 1 (set) nor 2 (delete)"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_literal_key_with_a_dot_cannot_be_said_as_operations() {
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

    #[test]
    fn unknown_operations_are_refused() {
        assert!(serde_json::from_str::<MetadataOp>(r#"{"Type":3,"Key":"A"}"#).is_err());
        assert!(serde_json::from_str::<MetadataOp>(r#"{"Type":2,"Key":"A"}"#).is_ok());
    }
}
