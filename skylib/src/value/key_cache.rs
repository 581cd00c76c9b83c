//! Thread-local cache of keys and key lists for the deserializer.
//!
//! An object with the same keys in the same order as an earlier one is read without allocating keys
//! and without sorting: one hash lookup per key and one per object.

use std::cell::RefCell;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;

use arcstr::ArcStr;
use hashbrown::{DefaultHashBuilder, HashSet, HashTable};

use super::{Map, Shape, Value};

thread_local! {
    static KEY_CACHE: RefCell<KeyCache> = RefCell::default();
}

/// Keys and key lists that this thread has read.
#[derive(Default)]
struct KeyCache {
    keys: HashSet<ArcStr>,
    /// Key lists that consist of cached keys, so that the addresses of the keys can be compared.
    shapes: HashTable<Shape>,
    /// Key lists by the order in which the keys were read; most objects of a kind have the same
    /// order.
    orders: HashTable<KeyOrder>,
    hasher: DefaultHashBuilder,
}

/// Keys of an object in the order in which they were read.
struct KeyOrder {
    read: Vec<ArcStr>,
    shape: Shape,
    /// Index in `read` of each key of the shape.
    positions: Rc<[u16]>,
}

/// Maximum number of keys, of key lists, and of orders per thread: clients choose the keys, so the
/// cache is bounded and cleared when it is full.
const MAX_ENTRIES: usize = 2048;
/// Maximum length of a cached key, in bytes.
const MAX_LENGTH: usize = 64;
/// Maximum number of keys in a cached key list.
const MAX_KEYS: usize = 64;
/// Initial capacity for the keys of an object.
const USUAL_KEYS: usize = 16;

impl KeyCache {
    /// Returns a key from the cache; adds it if necessary.
    fn key(&mut self, text: &str) -> ArcStr {
        if text.len() > MAX_LENGTH {
            return ArcStr::from(text);
        }
        if self.keys.len() >= MAX_ENTRIES {
            self.keys.clear();
            self.shapes.clear();
            self.orders.clear();
        }
        self.keys
            .get_or_insert_with(text, |text| ArcStr::from(text))
            .clone()
    }

    /// Returns the key list of objects with these keys in this order, and the positions of its
    /// keys.
    fn order(&self, pairs: &[(ArcStr, Value)]) -> Option<(Shape, Rc<[u16]>)> {
        let hash = hash_of(&self.hasher, pairs.iter().map(|(key, _)| key));
        let is_it = |order: &KeyOrder| is_same(&order.read, pairs.iter().map(|(key, _)| key));
        let order = self.orders.find(hash, is_it)?;
        Some((order.shape.clone(), Rc::clone(&order.positions)))
    }

    /// Adds an order of keys to the cache.
    fn add_order(&mut self, read: Vec<ArcStr>, shape: &Shape) {
        let position = |key: &ArcStr| {
            let position = read.iter().position(|k| ArcStr::ptr_eq(k, key));
            position.and_then(|position| u16::try_from(position).ok())
        };
        let positions: Option<Rc<[u16]>> = shape.keys().iter().map(position).collect();
        // A key that was read twice is in the list only once: such an order is not cached.
        let Some(positions) = positions.filter(|p| p.len() == read.len() && is_cacheable(&read))
        else {
            return;
        };
        if self.orders.len() >= MAX_ENTRIES {
            self.orders.clear();
        }
        let hasher = &self.hasher;
        let hash = hash_of(hasher, read.iter());
        let order = KeyOrder {
            read,
            shape: shape.clone(),
            positions,
        };
        let rehash = |order: &KeyOrder| hash_of(hasher, order.read.iter());
        self.orders.insert_unique(hash, order, rehash);
    }

    /// Returns the key list of sorted pairs from the cache; adds it if necessary.
    fn shape(&mut self, pairs: &[(ArcStr, Value)]) -> Shape {
        let hash = hash_of(&self.hasher, pairs.iter().map(|(key, _)| key));
        let is_it = |shape: &Shape| is_same(shape.keys(), pairs.iter().map(|(key, _)| key));
        if let Some(known) = self.shapes.find(hash, is_it) {
            return known.clone();
        }
        let shape = Shape::new(pairs.iter().map(|(key, _)| key.clone()).collect());
        if is_cacheable(shape.keys()) {
            if self.shapes.len() >= MAX_ENTRIES {
                self.shapes.clear();
            }
            let hasher = &self.hasher;
            let rehash = |shape: &Shape| hash_of(hasher, shape.keys().iter());
            self.shapes.insert_unique(hash, shape.clone(), rehash);
        }
        shape
    }
}

/// Returns whether the keys are few and short enough for the cache.
fn is_cacheable(keys: &[ArcStr]) -> bool {
    keys.len() <= MAX_KEYS && keys.iter().all(|key| key.len() <= MAX_LENGTH)
}

/// Returns whether the keys of both lists are the same allocations, in the same order.
fn is_same<'a>(known: &[ArcStr], mut keys: impl ExactSizeIterator<Item = &'a ArcStr>) -> bool {
    known.len() == keys.len()
        && known
            .iter()
            .all(|a| keys.next().is_some_and(|b| ArcStr::ptr_eq(a, b)))
}

/// Hashes the addresses of keys.
fn hash_of<'a>(hasher: &DefaultHashBuilder, keys: impl Iterator<Item = &'a ArcStr>) -> u64 {
    let mut state = hasher.build_hasher();
    keys.for_each(|key| state.write_usize(key.as_ptr() as usize));
    state.finish()
}

/// A key that is read through the cache.
struct Key(ArcStr);

impl<'de> serde::Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E>(self, text: &str) -> Result<Key, E> {
                Ok(Key(KEY_CACHE.with_borrow_mut(|cache| cache.key(text))))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// Reads an object; the last of equal keys is used.
pub(super) fn read<'de, A: serde::de::MapAccess<'de>>(mut map: A) -> Result<Map, A::Error> {
    let mut pairs: Vec<(ArcStr, Value)> = Vec::with_capacity(USUAL_KEYS);
    while let Some((Key(key), value)) = map.next_entry()? {
        pairs.push((key, value));
    }
    if let Some((shape, positions)) = KEY_CACHE.with_borrow(|cache| cache.order(&pairs)) {
        let values = positions
            .iter()
            .map(|position| std::mem::take(&mut pairs[usize::from(*position)].1));
        return Ok(Map::from_parts(shape, values));
    }
    let read: Vec<ArcStr> = pairs.iter().map(|(key, _)| key.clone()).collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs.dedup_by(|later, earlier| {
        let is_same = later.0 == earlier.0;
        if is_same {
            std::mem::swap(later, earlier);
        }
        is_same
    });
    let shape = KEY_CACHE.with_borrow_mut(|cache| {
        let shape = cache.shape(&pairs);
        cache.add_order(read, &shape);
        shape
    });
    Ok(Map::from_parts(
        shape,
        pairs.into_iter().map(|(_, value)| value),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(json: &str) -> Map {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn objects_of_one_kind_share_their_keys_from_the_start() {
        let (a, b) = (map(r#"{"B":1,"A":{"C":2}}"#), map(r#"{"A":{"C":3},"B":4}"#));
        assert!(a.shape().is_same(b.shape()));
        assert_eq!(a.get("B"), Some(&Value::Int(1)));
        assert!(!map(r#"{"A":1}"#).shape().is_same(b.shape()));
    }

    #[test]
    fn the_last_of_equal_keys_is_used() {
        assert_eq!(map(r#"{"A":1,"B":0,"A":2,"A":3}"#), map(r#"{"A":3,"B":0}"#));
    }

    #[test]
    fn keys_are_sorted_whatever_their_order() {
        for _ in 0..2 {
            for json in [
                r#"{"A":1,"B":2,"C":3}"#,
                r#"{"C":3,"A":1,"B":2}"#,
                r#"{"B":0,"C":3,"B":2,"A":1}"#,
            ] {
                let read = map(json);
                assert_eq!(
                    serde_json::to_string(&read).unwrap(),
                    r#"{"A":1,"B":2,"C":3}"#
                );
                assert!(read.shape().is_same(map(r#"{"A":0,"B":0,"C":0}"#).shape()));
            }
        }
    }

    #[test]
    fn the_cache_is_bounded() {
        for i in 0..3 * MAX_ENTRIES {
            assert_eq!(map(&format!(r#"{{"key{i}":{i}}}"#)).len(), 1);
        }
        map(&format!(r#"{{"{}":1}}"#, "k".repeat(1000)));
        KEY_CACHE.with_borrow(|cache| {
            assert!(cache.keys.len() <= MAX_ENTRIES && cache.shapes.len() <= MAX_ENTRIES);
            assert!(cache.orders.len() <= MAX_ENTRIES);
            assert!(cache.shapes.iter().all(|shape| is_cacheable(shape.keys())));
            assert!(cache.orders.iter().all(|order| is_cacheable(&order.read)));
            assert!(cache.keys.iter().all(|key| key.len() <= MAX_LENGTH));
        });
    }
}
