//! Heap size of a value, not counting allocations that it shares with another value.

use super::{Map, Value};

impl Map {
    /// Returns the heap size, in bytes, of the parts of this map that `other` does not share: an
    /// upper bound of the memory needed to store this map in addition to `other`.
    ///
    /// ```
    /// use skylib::value::{Map, Value};
    /// let routes: Value = (0..1000).map(Value::from).collect::<Vec<_>>().into();
    /// let former = Map::from_iter([("Routes", routes), ("MTU", 1500.into())]);
    /// let mut newest = former.clone();
    /// newest.set("MTU", 9000);
    /// assert!(former.unshared_bytes(&newest) < 200);
    /// assert!(former.unshared_bytes(&Map::new()) > 10_000);
    /// ```
    #[must_use]
    pub fn unshared_bytes(&self, other: &Self) -> usize {
        if self.is_same(other) {
            return 0;
        }
        let unshared = |(key, value): (&str, &Value)| match (value, other.get(key)) {
            (Value::Map(ours), Some(Value::Map(theirs))) => ours.unshared_bytes(theirs),
            (Value::List(ours), Some(Value::List(theirs))) if ours.is_same(theirs) => 0,
            (value, _) => value.heap_bytes(),
        };
        let entries = self.iter().map(|(key, value)| (key.as_str(), value));
        self.own_bytes() + entries.map(unshared).sum::<usize>()
    }
}
