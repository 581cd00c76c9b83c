//! `Path`: a dotted key, compiled once a query.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;

use super::Shape;

/// A dotted metadata key such as `Docker.Labels.app`, split once, remembering where its parts
/// stand in the key lists it met last.
///
/// Elements of one kind share their key list, so most lookups are one pointer comparison instead
/// of a search. A path is for one thread; clone it for another.
///
/// ```
/// use skylib::value::{Found, Map, Path, Value};
/// let mut map = Map::new();
/// map.set_path("Docker.Labels.app", "web");
/// let path = Path::new("Docker.Labels.app");
/// assert!(matches!(path.find(&map), Some(Found::One(v)) if *v == Value::from("web")));
/// ```
pub struct Path {
    parts: Vec<Part>,
}

struct Part {
    key: String,
    /// By address of the key list, for elements of several kinds take turns.
    memos: [OnceCell<Memo>; MEMOS],
    /// The one that counts: a larger one once two lists had the same place.
    level: Cell<usize>,
}

/// Memos are this many, each four times as large as the one before.
const MEMOS: usize = 4;
/// Places of the first.
const PLACES: usize = 16;

/// Where a part stands in some key lists. Reading writes nothing, not even that it is being read:
/// a scan does it once an element.
struct Memo {
    places: Vec<Cell<Seen>>,
    /// The lists seen, so that no other comes to stand where they are.
    shapes: RefCell<Vec<Shape>>,
}

/// Address of a key list, and where the part stands in it.
#[derive(Clone, Copy)]
struct Seen {
    list: usize,
    position: u32,
}

/// No position, as a map has fewer keys.
const NOWHERE: u32 = u32::MAX;

impl Memo {
    fn new(places: usize) -> Self {
        // A place not taken is true as it is: in the empty list, at address zero, nothing stands.
        let nothing = Cell::new(Seen {
            list: 0,
            position: NOWHERE,
        });
        Self {
            places: vec![nothing; places],
            shapes: RefCell::new(vec![Shape::EMPTY; places]),
        }
    }

    /// Fibonacci hashing: addresses differ in a few bits in the middle.
    #[inline]
    fn place(&self, list: usize) -> usize {
        let mixed = (list as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as usize & (self.places.len() - 1)
    }

    #[inline]
    fn find(&self, list: usize) -> Option<u32> {
        let seen = self.places[self.place(list)].get();
        (seen.list == list).then_some(seen.position)
    }

    fn note(&self, shape: &Shape, position: u32) {
        let list = shape.address() as usize;
        let place = self.place(list);
        self.places[place].set(Seen { list, position });
        self.shapes.borrow_mut()[place] = shape.clone();
    }

    fn has_room_for(&self, shape: &Shape) -> bool {
        self.places[self.place(shape.address() as usize)].get().list == 0
    }
}

impl Part {
    fn new(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            memos: Default::default(),
            level: Cell::new(0),
        }
    }

    /// Where the part stands in a key list, and takes a note of it.
    #[cold]
    fn look(&self, shape: &Shape) -> u32 {
        // An empty key is found nowhere, though an object may have one.
        let position = match self.key.as_str() {
            "" => None,
            key => shape.position(key).and_then(|at| u32::try_from(at).ok()),
        };
        let position = position.unwrap_or(NOWHERE);
        for level in self.level.get()..MEMOS {
            let memo = self.memos[level].get_or_init(|| Memo::new(PLACES << (2 * level)));
            self.level.set(level);
            if memo.has_room_for(shape) || level + 1 == MEMOS {
                memo.note(shape, position);
                break;
            }
        }
        position
    }
}

impl Path {
    /// Splits at dots; an empty key is found nowhere.
    #[must_use]
    pub fn new(dotted: &str) -> Self {
        Self {
            parts: dotted.split('.').map(Part::new).collect(),
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.parts.len()
    }

    /// Where a part stands in a key list; beyond every list where it does not.
    #[inline]
    pub(super) fn position(&self, depth: usize, shape: &Shape) -> usize {
        let Some(part) = self.parts.get(depth) else {
            return NOWHERE as usize;
        };
        let memo = part.memos.get(part.level.get()).and_then(OnceCell::get);
        let known = memo.and_then(|memo| memo.find(shape.address() as usize));
        known.unwrap_or_else(|| part.look(shape)) as usize
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
    use crate::value::{Found, Map, Value};

    fn found(path: &Path, map: &Map) -> Option<i64> {
        match path.find(map)? {
            Found::One(value) => value.as_int(),
            Found::Many(_) => None,
        }
    }

    #[test]
    fn positions_are_right_among_more_key_lists_than_are_remembered() {
        let places = PLACES << (2 * (MEMOS - 1));
        let map = |i: usize| match i % 3 {
            0 => Map::from_iter([(format!("A{i}"), 0), ("Name".to_owned(), 1)]),
            1 => Map::from_iter([("Name".to_owned(), 1), (format!("Z{i}"), 0)]),
            _ => Map::from_iter([(format!("A{i}"), 0), (format!("Z{i}"), 0)]),
        };
        let path = Path::new("Name");
        let maps: Vec<Map> = (0..3 * places).map(map).collect();
        for i in (0..maps.len()).chain((0..maps.len()).rev()) {
            assert_eq!(found(&path, &maps[i]), (i % 3 < 2).then_some(1), "{i}");
        }
        assert_eq!(found(&path, &Map::new()), None);
        // A key list that comes to stand where another was is not taken for it.
        drop(maps);
        for i in 0..places {
            assert_eq!(found(&path, &map(i)), (i % 3 < 2).then_some(1), "{i}");
        }
    }

    #[test]
    fn an_empty_key_is_found_nowhere() {
        let map = Map::from_iter([("", Value::Int(1))]);
        assert_eq!(found(&Path::new(""), &map), None);
    }
}
