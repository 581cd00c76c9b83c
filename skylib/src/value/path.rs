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
    /// By address of the key list, for elements of several kinds take turns; empty until needed.
    memo: RefCell<Vec<Option<Seen>>>,
}

/// A key list, and where the part stands in it.
type Seen = (Shape, Option<usize>);

const MEMO: usize = 16;

impl Part {
    fn new(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            memo: RefCell::default(),
        }
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
        // Fibonacci hashing: addresses differ in a few bits in the middle.
        let place = (shape.address() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60;
        let mut memo = part.memo.borrow_mut();
        if memo.is_empty() {
            memo.resize(MEMO, None);
        }
        let memo = &mut memo[place as usize];
        match memo {
            Some((known, position)) if known.is_same(shape) => *position,
            _ => {
                let position = shape.position(&part.key);
                *memo = Some((shape.clone(), position));
                position
            }
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
