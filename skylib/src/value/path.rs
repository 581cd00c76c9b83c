//! `Path`: a dotted key, compiled once per query, with a cache of its positions in key lists.
//!
//! The cache is a direct-mapped hash table by the address of the key list, so a lookup in an object
//! with a known key list costs a multiplication and a comparison instead of a binary search.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;

use super::{Map, Shape, Value};

/// Dotted metadata key such as `Docker.Labels.app` with a cache of the positions of its parts in
/// key lists.
///
/// Elements of one kind share their key list, so most lookups are one pointer comparison instead of
/// a search. A path is not `Sync`; clone it for another thread.
///
/// ```
/// use skylib::value::{PathMatch, Map, Path, Value};
/// let mut map = Map::new();
/// map.set_path("Docker.Labels.app", "web");
/// let path = Path::new("Docker.Labels.app");
/// assert!(matches!(path.find(&map), Some(PathMatch::One(v)) if *v == Value::from("web")));
/// ```
pub struct Path {
    parts: Vec<Part>,
}

struct Part {
    key: String,
    /// Caches of increasing size; only the cache at `level` is read.
    caches: [OnceCell<PositionCache>; LEVELS],
    /// Incremented when two key lists share a slot; `level < LEVELS`.
    level: Cell<usize>,
}

/// Number of cache sizes, each four times as large as the previous one.
const LEVELS: usize = 4;
/// Number of slots in the smallest cache.
const SLOTS: usize = 16;

/// Positions of a part in key lists. A lookup writes nothing, not even a borrow flag, because a
/// scan looks up each element.
struct PositionCache {
    /// Slots; their number is a power of two.
    slots: Vec<Cell<KnownPosition>>,
    /// The key lists in the slots, held so that their addresses are not reused.
    shapes: RefCell<Vec<Shape>>,
}

/// Address of a key list and position of the part in it.
#[derive(Clone, Copy)]
struct KnownPosition {
    list: usize,
    position: u32,
}

/// Position that means that the part is not in the key list; no map has this many keys.
const ABSENT: u32 = u32::MAX;

impl PositionCache {
    fn new(slots: usize) -> Self {
        // An empty slot is valid: the empty key list, at address zero, has no key.
        let nothing = Cell::new(KnownPosition {
            list: 0,
            position: ABSENT,
        });
        Self {
            slots: vec![nothing; slots],
            shapes: RefCell::new(vec![Shape::EMPTY; slots]),
        }
    }

    /// Returns the slot of a key list, by Fibonacci hashing: addresses differ in a few middle bits.
    #[inline]
    fn slot(&self, list: usize) -> usize {
        let mixed = (list as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as usize & (self.slots.len() - 1)
    }

    #[inline]
    fn find(&self, list: usize) -> Option<u32> {
        let seen = self.slots[self.slot(list)].get();
        (seen.list == list).then_some(seen.position)
    }

    fn insert(&self, shape: &Shape, position: u32) {
        let list = shape.address() as usize;
        let slot = self.slot(list);
        self.slots[slot].set(KnownPosition { list, position });
        self.shapes.borrow_mut()[slot] = shape.clone();
    }

    /// Returns whether the slot of a key list is empty.
    fn has_room_for(&self, shape: &Shape) -> bool {
        self.slots[self.slot(shape.address() as usize)].get().list == 0
    }
}

impl Part {
    fn new(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            caches: Default::default(),
            level: Cell::new(0),
        }
    }

    /// Returns the position of the part in a key list and adds it to the cache.
    #[cold]
    fn search(&self, shape: &Shape) -> u32 {
        // COMPAT: an empty key is never found, although an object may have one.
        let position = match self.key.as_str() {
            "" => None,
            key => shape.position(key).and_then(|at| u32::try_from(at).ok()),
        };
        let position = position.unwrap_or(ABSENT);
        for level in self.level.get()..LEVELS {
            let cache = self.caches[level].get_or_init(|| PositionCache::new(SLOTS << (2 * level)));
            self.level.set(level);
            if cache.has_room_for(shape) || level + 1 == LEVELS {
                cache.insert(shape, position);
                break;
            }
        }
        position
    }
}

impl Path {
    /// Returns the path of a dotted key; an empty key is never found.
    #[must_use]
    pub fn new(dotted: &str) -> Self {
        Self {
            parts: dotted.split('.').map(Part::new).collect(),
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.parts.len()
    }

    /// Returns the position of a part in a key list; a position beyond the end of every list if the
    /// part is absent.
    #[inline]
    pub(super) fn position(&self, depth: usize, shape: &Shape) -> usize {
        let Some(part) = self.parts.get(depth) else {
            return ABSENT as usize;
        };
        let cache = part.caches.get(part.level.get()).and_then(OnceCell::get);
        let known = cache.and_then(|cache| cache.find(shape.address() as usize));
        known.unwrap_or_else(|| part.search(shape)) as usize
    }
}

/// Result of a lookup by [`Path`].
#[derive(Debug)]
pub enum PathMatch<'a> {
    /// One value, at a path through objects only.
    One(&'a Value),
    /// The values found in the elements of arrays on the path; may be empty.
    Many(Vec<&'a Value>),
}

impl Path {
    /// Returns the value at the path in a map; `None` if a key is missing or the path leads through
    /// a scalar.
    ///
    /// An array on the path is searched element by element.
    /// COMPAT: Gremlin clients: the lookup then succeeds even if no element has a value, so
    /// `HasKey('Ifs.Zzz')` is true if `Ifs` is an array.
    #[inline]
    pub fn find<'a>(&self, map: &'a Map) -> Option<PathMatch<'a>> {
        let value = map.value_at(self.position(0, map.shape()))?;
        if self.len() == 1 {
            return Some(PathMatch::One(value));
        }
        self.find_in(1, value)
    }

    fn find_from<'a>(&self, depth: usize, map: &'a Map) -> Option<PathMatch<'a>> {
        let value = map.value_at(self.position(depth, map.shape()))?;
        self.find_in(depth + 1, value)
    }

    /// Returns the value at the rest of the path, from `depth` on.
    fn find_in<'a>(&self, depth: usize, value: &'a Value) -> Option<PathMatch<'a>> {
        if depth == self.len() {
            return Some(PathMatch::One(value));
        }
        match value {
            Value::Map(inner) => self.find_from(depth, inner),
            Value::List(list) => {
                let mut hits = Vec::new();
                for element in list.iter() {
                    if let Value::Map(inner) = element {
                        match self.find_from(depth, inner) {
                            Some(PathMatch::One(value)) => hits.push(value),
                            Some(PathMatch::Many(values)) => hits.extend(values),
                            None => {}
                        }
                    }
                }
                Some(PathMatch::Many(hits))
            }
            _ => None,
        }
    }
}

impl Clone for Path {
    fn clone(&self) -> Self {
        Self {
            parts: self.parts.iter().map(|part| Part::new(&part.key)).collect(),
        }
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.parts.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { "." }, part.key)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &Path, map: &Map) -> Option<i64> {
        match path.find(map)? {
            PathMatch::One(value) => value.as_int(),
            PathMatch::Many(_) => None,
        }
    }

    #[test]
    fn positions_are_right_among_more_key_lists_than_the_cache_holds() {
        let slots = SLOTS << (2 * (LEVELS - 1));
        let map = |i: usize| match i % 3 {
            0 => Map::from_iter([(format!("A{i}"), 0), ("Name".to_owned(), 1)]),
            1 => Map::from_iter([("Name".to_owned(), 1), (format!("Z{i}"), 0)]),
            _ => Map::from_iter([(format!("A{i}"), 0), (format!("Z{i}"), 0)]),
        };
        let path = Path::new("Name");
        let maps: Vec<Map> = (0..3 * slots).map(map).collect();
        for i in (0..maps.len()).chain((0..maps.len()).rev()) {
            assert_eq!(found(&path, &maps[i]), (i % 3 < 2).then_some(1), "{i}");
        }
        assert_eq!(found(&path, &Map::new()), None);
        // A key list at the address of an earlier one is not confused with it.
        drop(maps);
        for i in 0..slots {
            assert_eq!(found(&path, &map(i)), (i % 3 < 2).then_some(1), "{i}");
        }
    }

    #[test]
    fn an_empty_key_is_never_found() {
        let map = Map::from_iter([("", Value::Int(1))]);
        assert_eq!(found(&Path::new(""), &map), None);
    }
}
