//! `Path`: a dotted key, compiled once a query.

use std::cell::RefCell;
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
    /// By address of the key list, for elements of several kinds take turns; empty until needed,
    /// and larger while two lists that take turns have the same place.
    memo: RefCell<Vec<Option<Seen>>>,
}

/// A key list, and where the part stands in it.
type Seen = (Shape, Option<usize>);

/// Places for key lists, at first and at most.
const MEMO: usize = 16;
const MAX_MEMO: usize = 1024;

impl Part {
    fn new(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            memo: RefCell::default(),
        }
    }

    /// Where the part stands in a key list, and takes a note of it.
    #[cold]
    fn look(&self, shape: &Shape) -> Option<usize> {
        let mut memo = self.memo.borrow_mut();
        let position = shape.position(&self.key);
        if memo.is_empty() {
            memo.resize(MEMO, None);
        }
        while memo[place(shape, memo.len())].is_some() && memo.len() < MAX_MEMO {
            let mut larger = vec![None; 2 * memo.len()];
            for seen in memo.drain(..).flatten() {
                let place = place(&seen.0, larger.len());
                larger[place] = Some(seen);
            }
            *memo = larger;
        }
        let place = place(shape, memo.len());
        memo[place] = Some((shape.clone(), position));
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

    pub(super) fn position(&self, depth: usize, shape: &Shape) -> Option<usize> {
        let part = self.parts.get(depth)?;
        if part.key.is_empty() {
            return None;
        }
        let memo = part.memo.borrow();
        match memo.get(place(shape, memo.len())) {
            Some(Some((known, position))) if known.is_same(shape) => *position,
            _ => {
                drop(memo);
                part.look(shape)
            }
        }
    }
}

/// Fibonacci hashing: addresses differ in a few bits in the middle.
fn place(shape: &Shape, places: usize) -> usize {
    let mixed = (shape.address() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize & places.wrapping_sub(1)
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
