//! Makes equal parts of elements one part in memory.

use std::hash::{BuildHasher, Hash, Hasher};

use hashbrown::{DefaultHashBuilder, HashSet, HashTable};

use super::{Edge, Node};
use crate::value::{Map, ShapeTable, Text, Value};

/// What elements share: key lists, hosts and origins, and the metadata of edges, of which most have
/// one of a few relation types and nothing else.
///
/// Bounded: a table that has filled up is begun anew, which costs nothing but some sharing.
#[derive(Default)]
pub(super) struct Sharing {
    shapes: ShapeTable,
    texts: HashSet<Text>,
    maps: HashTable<Map>,
    hasher: DefaultHashBuilder,
}

const MAX_TEXTS: usize = 1 << 16;
const MAX_MAPS: usize = 1 << 12;
/// Bigger maps are seldom equal.
const MAX_KEYS: usize = 4;

impl Sharing {
    pub(super) fn node(&mut self, node: Node) -> Node {
        Node {
            metadata: self.shapes.intern(&node.metadata),
            host: self.text(node.host),
            origin: self.text(node.origin),
            ..node
        }
    }

    pub(super) fn edge(&mut self, edge: Edge) -> Edge {
        let metadata = self.shapes.intern(&edge.metadata);
        Edge {
            metadata: self.map(metadata),
            host: self.text(edge.host),
            origin: self.text(edge.origin),
            ..edge
        }
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

    fn map(&mut self, map: Map) -> Map {
        let mut state = self.hasher.build_hasher();
        if !(1..=MAX_KEYS).contains(&map.len()) || !hash(&map, &mut state) {
            return map;
        }
        let hash = state.finish();
        if let Some(known) = self.maps.find(hash, |known| *known == map) {
            return known.clone();
        }
        if self.maps.len() >= MAX_MAPS {
            self.maps.clear();
        }
        let hasher = &self.hasher;
        self.maps
            .insert_unique(hash, map.clone(), |map| hash_of(map, hasher));
        map
    }
}

fn hash_of(map: &Map, hasher: &DefaultHashBuilder) -> u64 {
    let mut state = hasher.build_hasher();
    hash(map, &mut state);
    state.finish()
}

/// Hashes a map of plain values; `false` for any other.
fn hash(map: &Map, state: &mut impl Hasher) -> bool {
    map.iter().all(|(key, value)| {
        key.as_str().hash(state);
        match value {
            Value::Text(text) => text.hash(state),
            Value::Int(number) => number.hash(state),
            Value::Bool(bool) => bool.hash(state),
            _ => return false,
        }
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Metadata;
    use crate::time::Timestamp;

    #[test]
    fn equal_edges_share_what_they_hold() {
        let mut sharing = Sharing::default();
        let mut edge = |relation: &str| {
            let metadata = Metadata::from_iter([("RelationType", relation)]);
            let origin = "agent.a-host-of-some-length";
            sharing.edge(Edge::new(
                "e",
                "p",
                "c",
                "h",
                origin,
                metadata,
                Timestamp::ZERO,
            ))
        };
        let (a, b, c) = (edge("ownership"), edge("ownership"), edge("layer2"));
        let first = |edge: &Edge| std::ptr::from_ref(edge.metadata.value_at(0).unwrap());
        assert_eq!(first(&a), first(&b));
        assert_ne!(a.metadata, c.metadata);
        assert_eq!(a.origin.as_ptr(), c.origin.as_ptr());
    }

    #[test]
    fn hostile_variety_does_not_pile_up() {
        let mut sharing = Sharing::default();
        for i in 0..3 * MAX_MAPS {
            let metadata = Metadata::from_iter([("K", Value::from(i as i64))]);
            let origin = format!("an origin longer than fourteen bytes {i}");
            sharing.edge(Edge::new(
                "e",
                "p",
                "c",
                "",
                origin,
                metadata,
                Timestamp::ZERO,
            ));
        }
        assert!(sharing.maps.len() <= MAX_MAPS && sharing.texts.len() <= MAX_TEXTS);
    }
}
