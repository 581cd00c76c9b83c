//! Interning: equal parts of elements share memory.
//!
//! Key lists and strings are interned in hash sets, values in a direct-mapped cache: one hash and
//! one comparison per value.

use std::hash::{BuildHasher, Hash, Hasher};

use hashbrown::{DefaultHashBuilder, HashSet};

use super::{Edge, Metadata, Node};
use crate::value::{ShapeTable, Text, Value};

/// Interned parts of elements: key lists, hosts, and origins; the whole metadata of edges, most of
/// which contain only one of a few relation types; and the objects and arrays in the metadata of
/// nodes, which are equal for many interfaces (features, the routes of a new namespace).
///
/// All tables are bounded: after an eviction, equal parts may be stored twice, but no result
/// changes.
#[derive(Default)]
pub(super) struct Interner {
    shapes: ShapeTable,
    /// At most [`MAX_TEXTS`]; cleared when full.
    texts: HashSet<Text>,
    hasher: DefaultHashBuilder,
    /// Direct-mapped cache: a value is in the slot of its hash until another value replaces it. The
    /// length is 0 or [`SLOTS`].
    values: Vec<Value>,
}

const MAX_TEXTS: usize = 1 << 16;
const SLOTS: usize = 1 << 12;

impl Interner {
    pub(super) fn node(&mut self, node: Node) -> Node {
        let mut metadata = self.shapes.intern_owned(node.metadata);
        if metadata.iter().any(|(_, value)| is_shared(value)) {
            metadata.update_values(|value| self.share(value));
        }
        Node {
            metadata,
            host: self.text(node.host),
            origin: self.text(node.origin),
            ..node
        }
    }

    pub(super) fn edge(&mut self, edge: Edge) -> Edge {
        let metadata = self.shapes.intern_owned(edge.metadata);
        let metadata = match self.value(Value::Map(metadata)) {
            Value::Map(shared) => shared,
            _ => Metadata::new(),
        };
        Edge {
            metadata,
            host: self.text(edge.host),
            origin: self.text(edge.origin),
            ..edge
        }
    }

    /// Interns objects and arrays, the objects within an object first.
    fn share(&mut self, value: &mut Value) {
        if !is_shared(value) {
            return;
        }
        if let Value::Map(map) = value {
            // A shared map has already been interned.
            map.update_unshared(|value| self.share(value));
        }
        *value = self.value(std::mem::take(value));
    }

    fn text(&mut self, text: Text) -> Text {
        if text.heap_bytes() == 0 {
            return text;
        }
        if self.texts.len() >= MAX_TEXTS {
            self.texts.clear();
        }
        self.texts
            .get_or_insert_with(text.as_str(), |_| text.clone())
            .clone()
    }

    fn value(&mut self, value: Value) -> Value {
        let mut state = self.hasher.build_hasher();
        hash(&value, &mut state);
        if self.values.is_empty() {
            self.values.resize(SLOTS, Value::Null);
        }
        let slot = &mut self.values[state.finish() as usize % SLOTS];
        if *slot != value {
            *slot = value;
        }
        slot.clone()
    }
}

const fn is_shared(value: &Value) -> bool {
    matches!(value, Value::Map(_) | Value::List(_))
}

/// Hashes a value; equal values have equal hashes if their key lists and inner objects are
/// interned, because those are hashed by address.
fn hash(value: &Value, state: &mut impl Hasher) {
    match value {
        Value::Null => state.write_u8(0),
        Value::Bool(bool) => state.write_u8(1 + u8::from(*bool)),
        Value::Int(number) => state.write_i64(*number),
        Value::Float(number) => state.write_u64(number.to_bits()),
        Value::Text(text) => text.hash(state),
        Value::List(list) => list.iter().for_each(|value| hash(value, state)),
        Value::Map(map) => {
            state.write_usize(map.shape().address() as usize);
            map.iter().for_each(|(_, value)| match value {
                Value::Map(map) => state.write_usize(map.address() as usize),
                other => hash(other, state),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Origin;
    use crate::time::Timestamp;

    const ORIGIN: &str = "agent.a-host-of-some-length";

    #[test]
    fn equal_edges_share_their_parts() {
        let mut interner = Interner::default();
        let mut edge = |relation: &str| {
            let metadata = Metadata::from_iter([("RelationType", relation)]);
            interner.edge(
                Edge::new("e", "p", "c", metadata, Timestamp::ZERO)
                    .with_origin(Origin::from_text(ORIGIN).with_host("h")),
            )
        };
        let (a, b, c) = (edge("ownership"), edge("ownership"), edge("layer2"));
        let first = |edge: &Edge| std::ptr::from_ref(edge.metadata.value_at(0).unwrap());
        assert_eq!(first(&a), first(&b));
        assert_ne!(a.metadata, c.metadata);
        assert_eq!(a.origin.as_ptr(), c.origin.as_ptr());
    }

    #[test]
    fn nodes_share_equal_objects_and_nothing_else_changes() {
        let mut interner = Interner::default();
        let json = r#"{"Features":{"rx":true,"tx":[1,2.5,null]},"IPV4":["a","b"],"Name":"x"}"#;
        let metadata: Metadata = serde_json::from_str(json).unwrap();
        let mut node = |metadata: &Metadata| {
            interner.node(
                Node::new("n", metadata.clone(), Timestamp::ZERO)
                    .with_origin(Origin::from_text(ORIGIN).with_host("h")),
            )
        };
        let a = node(&metadata);
        let b = node(&serde_json::from_str(json).unwrap());
        assert_eq!((&a.metadata, &b.metadata), (&metadata, &metadata));
        let inside = |node: &Node| {
            let features = node.metadata.get("Features").and_then(Value::as_map);
            std::ptr::from_ref(features.unwrap().value_at(0).unwrap())
        };
        assert_eq!(inside(&a), inside(&b));
        let other = Metadata::from_iter([("Features", Value::list(["a"]))]);
        assert_eq!(node(&other).metadata, other);
    }

    #[test]
    fn objects_share_inner_objects() {
        let mut interner = Interner::default();
        let mut node = |app: &str| {
            let json = format!(r#"{{"Docker":{{"App":"{app}","Labels":{{"io":{{"pod":"x"}}}}}}}}"#);
            let read = || serde_json::from_str::<Metadata>(&json).unwrap();
            let node = interner.node(Node::new("n", read(), Timestamp::ZERO));
            assert_eq!(node.metadata, read());
            node.metadata
        };
        let (a, b) = (node("a"), node("b"));
        let labels = |metadata: &Metadata| metadata.get_path("Docker.Labels").cloned();
        let address = |value: Option<Value>| value.and_then(|v| v.as_map().map(Metadata::address));
        assert_eq!(address(labels(&a)), address(labels(&b)));
        assert_ne!(a, b);
    }

    #[test]
    fn many_different_values_do_not_accumulate() {
        let mut interner = Interner::default();
        for i in 0..MAX_TEXTS + 10 {
            let metadata = Metadata::from_iter([("K", Value::from(i as i64))]);
            let origin = format!("an origin longer than fourteen bytes {i}");
            let edge = Edge::new("e", "p", "c", metadata.clone(), Timestamp::ZERO)
                .with_origin(Origin::from_text(origin));
            assert_eq!(interner.edge(edge).metadata, metadata);
        }
        assert!(interner.values.len() == SLOTS && interner.texts.len() <= MAX_TEXTS);
    }
}
