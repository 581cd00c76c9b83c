//! `List`: an immutable array whose clones share its memory.

use std::fmt;
use std::ops::Deref;

use triomphe::ThinArc;

use super::Value;

/// Immutable array of values, as one pointer; dereferences to a slice.
///
/// ```
/// use skylib::value::{List, Value};
/// let list = List::from_iter([Value::from("a"), Value::from(1)]);
/// assert_eq!(list.first().and_then(Value::as_text), Some("a"));
/// ```
#[derive(Clone, Default)]
pub struct List(Option<ThinArc<(), Value>>);

impl List {
    /// Returns the values.
    #[must_use]
    pub fn as_slice(&self) -> &[Value] {
        self
    }

    /// Returns the heap size in bytes; shared parts count as if owned (an upper bound).
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let values: usize = self.iter().map(Value::heap_bytes).sum();
        values + size_of_val(&**self) + if self.is_empty() { 0 } else { HEADER }
    }
}

/// Size of the reference count and the number of values.
const HEADER: usize = 2 * size_of::<usize>();

impl Deref for List {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        self.0.as_ref().map_or(&[], |list| &list.slice)
    }
}

impl From<Vec<Value>> for List {
    fn from(values: Vec<Value>) -> Self {
        if values.is_empty() {
            return Self(None);
        }
        Self(Some(ThinArc::from_header_and_iter((), values.into_iter())))
    }
}

impl FromIterator<Value> for List {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Self {
        Self::from(Vec::from_iter(values))
    }
}

impl<'a> IntoIterator for &'a List {
    type Item = &'a Value;
    type IntoIter = std::slice::Iter<'a, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl List {
    /// Returns whether both arrays are the same allocation.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => a.ptr() == b.ptr(),
            _ => false,
        }
    }
}

impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || **self == **other
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_equal_if_their_values_are() {
        let list = |numbers: &[i64]| numbers.iter().copied().map(Value::from).collect::<List>();
        assert_eq!(list(&[1, 2]), list(&[1, 2]));
        assert_ne!(list(&[1, 2]), list(&[2, 1]));
        assert_eq!(list(&[]), List::default());
        assert_eq!(list(&[3]).clone().len(), 1);
        let nan = List::from_iter([Value::Float(f64::NAN)]);
        assert_eq!(nan, nan.clone(), "the same allocation");
    }
}
