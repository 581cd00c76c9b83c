//! Keys met while reading, so that reading the same kind of object again allocates none.

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

/// The keys and key lists that this thread read last.
#[derive(Default)]
struct KeyCache {
    keys: HashSet<ArcStr>,
    /// Made of those keys, so that the addresses of the keys tell lists apart.
    shapes: HashTable<Shape>,
    /// Keys in the order in which they were read, which is mostly that of an object read before.
    orders: HashTable<KeyOrder>,
    hasher: DefaultHashBuilder,
}

/// The keys of an object as they were read.
struct KeyOrder {
    read: Vec<ArcStr>,
    shape: Shape,
    /// Where each key of the shape was read.
    places: Rc<[u16]>,
}

/// What is kept for good, a thread: bounded, for keys may come from anybody.
const MAX_ENTRIES: usize = 2048;
const MAX_LENGTH: usize = 64;
const MAX_KEYS: usize = 64;
/// Keys that there is room for at once.
const USUAL_KEYS: usize = 16;

impl KeyCache {
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

    /// What is known about objects with these keys in this order.
    fn order(&self, pairs: &[(ArcStr, Value)]) -> Option<(Shape, Rc<[u16]>)> {
        let hash = hash_of(&self.hasher, pairs.iter().map(|(key, _)| key));
        let is_it = |order: &KeyOrder| is_same(&order.read, pairs.iter().map(|(key, _)| key));
        let order = self.orders.find(hash, is_it)?;
        Some((order.shape.clone(), Rc::clone(&order.places)))
    }

    fn remember(&mut self, read: Vec<ArcStr>, shape: &Shape) {
        let place = |key: &ArcStr| {
            let place = read.iter().position(|k| ArcStr::ptr_eq(k, key));
            place.and_then(|place| u16::try_from(place).ok())
        };
        let places: Option<Rc<[u16]>> = shape.keys().iter().map(place).collect();
        // A key that was read twice stands in the list once.
        let Some(places) = places.filter(|p| p.len() == read.len() && is_kept(&read)) else {
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
            places,
        };
        let rehash = |order: &KeyOrder| hash_of(hasher, order.read.iter());
        self.orders.insert_unique(hash, order, rehash);
    }

    fn shape(&mut self, pairs: &[(ArcStr, Value)]) -> Shape {
        let hash = hash_of(&self.hasher, pairs.iter().map(|(key, _)| key));
        let is_it = |shape: &Shape| is_same(shape.keys(), pairs.iter().map(|(key, _)| key));
        if let Some(known) = self.shapes.find(hash, is_it) {
            return known.clone();
        }
        let shape = Shape::new(pairs.iter().map(|(key, _)| key.clone()).collect());
        if is_kept(shape.keys()) {
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

/// Whether keys are few and short enough to be kept together.
fn is_kept(keys: &[ArcStr]) -> bool {
    keys.len() <= MAX_KEYS && keys.iter().all(|key| key.len() <= MAX_LENGTH)
}

/// Whether keys are the very same in memory.
fn is_same<'a>(known: &[ArcStr], mut keys: impl ExactSizeIterator<Item = &'a ArcStr>) -> bool {
    known.len() == keys.len()
        && known
            .iter()
            .all(|a| keys.next().is_some_and(|b| ArcStr::ptr_eq(a, b)))
}

fn hash_of<'a>(hasher: &DefaultHashBuilder, keys: impl Iterator<Item = &'a ArcStr>) -> u64 {
    let mut state = hasher.build_hasher();
    keys.for_each(|key| state.write_usize(key.as_ptr() as usize));
    state.finish()
}

/// A key as it is read.
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

/// Reads an object; of equal keys the last wins.
pub(super) fn read<'de, A: serde::de::MapAccess<'de>>(mut map: A) -> Result<Map, A::Error> {
    let mut pairs: Vec<(ArcStr, Value)> = Vec::with_capacity(USUAL_KEYS);
    while let Some((Key(key), value)) = map.next_entry()? {
        pairs.push((key, value));
    }
    if let Some((shape, places)) = KEY_CACHE.with_borrow(|cache| cache.order(&pairs)) {
        let values = places
            .iter()
            .map(|place| std::mem::take(&mut pairs[usize::from(*place)].1));
        return Ok(Map::from_parts(shape, values));
    }
    let read: Vec<ArcStr> = pairs.iter().map(|(key, _)| key.clone()).collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs.dedup_by(|later, kept| {
        let is_same = later.0 == kept.0;
        if is_same {
            std::mem::swap(later, kept);
        }
        is_same
    });
    let shape = KEY_CACHE.with_borrow_mut(|cache| {
        let shape = cache.shape(&pairs);
        cache.remember(read, &shape);
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
    fn of_equal_keys_the_last_wins() {
        assert_eq!(map(r#"{"A":1,"B":0,"A":2,"A":3}"#), map(r#"{"A":3,"B":0}"#));
    }

    #[test]
    fn keys_are_sorted_in_whatever_order_they_come() {
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
    fn what_is_kept_is_bounded() {
        for i in 0..3 * MAX_ENTRIES {
            assert_eq!(map(&format!(r#"{{"key{i}":{i}}}"#)).len(), 1);
        }
        map(&format!(r#"{{"{}":1}}"#, "k".repeat(1000)));
        KEY_CACHE.with_borrow(|cache| {
            assert!(cache.keys.len() <= MAX_ENTRIES && cache.shapes.len() <= MAX_ENTRIES);
            assert!(cache.orders.len() <= MAX_ENTRIES);
            assert!(cache.shapes.iter().all(|shape| is_kept(shape.keys())));
            assert!(cache.orders.iter().all(|order| is_kept(&order.read)));
            assert!(cache.keys.iter().all(|key| key.len() <= MAX_LENGTH));
        });
    }
}
