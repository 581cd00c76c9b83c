//! `Map`: a copy-on-write object whose sorted key list is stored separately from its values.

use std::fmt;
use std::hash::{Hash, Hasher};

use arcstr::ArcStr;
use hashbrown::HashSet;
use triomphe::{Arc, ThinArc};

use super::json::{KeyJson, KeyJsons};
use super::{Value, key_cache};

/// JSON object with sorted keys; clones share its memory until they are changed (copy-on-write).
///
/// Elements of one kind have the same keys, so a [`ShapeTable`] makes them share one key list (the
/// [`Shape`]). A query then searches a key once per key list instead of once per element
/// ([`Path`](super::Path)). A lookup is a binary search; a change to a shared map copies the map.
///
/// ```
/// use skylib::value::{Map, Value};
/// let mut map = Map::new();
/// map.set("Name", "eth0");
/// map.set_path("ExtID.iface-id", "port-1");
/// assert_eq!(map.get("Name"), Some(&Value::from("eth0")));
/// assert_eq!(serde_json::to_string(&map)?, r#"{"ExtID":{"iface-id":"port-1"},"Name":"eth0"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Map(Option<ThinArc<Shape, Value>>);

// Eight bytes, and one allocation that contains the values: nodes have many nested objects.
const _: () = assert!(size_of::<Map>() == 8);

impl Map {
    /// Returns an empty object.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Returns the object with a literal key set to a value of any kind; dots have no special
    /// meaning.
    ///
    /// ```
    /// use skylib::graph::Metadata;
    /// let metadata = Metadata::new().with("Name", "eth0").with("MTU", 1500);
    /// assert_eq!(serde_json::to_string(&metadata).unwrap(), r#"{"MTU":1500,"Name":"eth0"}"#);
    /// ```
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.set(key, value);
        self
    }

    /// Returns an object with these pairs, given in any order; the last value of a repeated key is
    /// used.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (ArcStr, Value)>) -> Self {
        let mut pairs: Vec<(ArcStr, Value)> = pairs.into_iter().collect();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        let mut unique: Vec<(ArcStr, Value)> = Vec::with_capacity(pairs.len());
        for pair in pairs {
            match unique.last_mut() {
                Some(last) if last.0 == pair.0 => *last = pair,
                _ => unique.push(pair),
            }
        }
        let (keys, values): (Vec<ArcStr>, Vec<Value>) = unique.into_iter().unzip();
        Self::from_parts(Shape::new(keys), values.into_iter())
    }

    /// Returns an object with this key list and the same number of values.
    pub(crate) fn from_parts(shape: Shape, values: impl ExactSizeIterator<Item = Value>) -> Self {
        if values.len() == 0 {
            return Self::new();
        }
        Self(Some(ThinArc::from_header_and_iter(shape, values)))
    }

    /// Updates all values, in place unless the map is shared.
    pub(crate) fn update_values(&mut self, mut update: impl FnMut(&mut Value)) {
        if !self.update_unshared(&mut update) {
            let mut values = self.values().to_vec();
            values.iter_mut().for_each(update);
            *self = Self::from_parts(self.shape().clone(), values.into_iter());
        }
    }

    /// Updates all values in place; returns `false` and changes nothing if the map is shared.
    pub(crate) fn update_unshared(&mut self, mut update: impl FnMut(&mut Value)) -> bool {
        let Some(map) = &mut self.0 else { return true };
        map.with_arc_mut(|map| match Arc::get_mut(map) {
            Some(map) => {
                map.slice_mut().iter_mut().for_each(&mut update);
                true
            }
            None => false,
        })
    }

    /// Returns the address of the allocation, which is equal for maps that share memory.
    pub(crate) fn address(&self) -> *const std::ffi::c_void {
        self.0.as_ref().map_or(std::ptr::null(), ThinArc::ptr)
    }

    #[inline]
    fn values(&self) -> &[Value] {
        self.0.as_ref().map_or(&[], |map| &map.slice)
    }

    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values().len()
    }

    /// Returns whether there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the value of a literal key; dots have no special meaning.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        let map = self.0.as_ref()?;
        map.slice.get(map.header.header.position(key)?)
    }

    /// Returns the value at a position in [`Map::shape`].
    #[must_use]
    #[inline]
    pub fn value_at(&self, position: usize) -> Option<&Value> {
        self.values().get(position)
    }

    /// Returns the value at a dotted path that leads through objects only.
    #[must_use]
    pub fn get_path(&self, dotted: &str) -> Option<&Value> {
        let (head, rest) = split_path(dotted);
        match (self.get(head)?, rest) {
            (value, None) => Some(value),
            (Value::Map(inner), Some(rest)) => inner.get_path(rest),
            _ => None,
        }
    }

    /// Returns the shared key list.
    #[must_use]
    #[inline]
    pub fn shape(&self) -> &Shape {
        self.0
            .as_ref()
            .map_or(&Shape::EMPTY, |map| &map.header.header)
    }

    /// Iterates over the keys and values, sorted by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&ArcStr, &Value)> {
        self.shape().keys().iter().zip(self.values())
    }

    /// Adds or replaces the value of a literal key.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        match self.shape().search(key) {
            Ok(position) => self.replace(position, value),
            Err(position) => {
                let mut keys = self.shape().keys().to_vec();
                let mut values = self.values().to_vec();
                keys.insert(position, ArcStr::from(key));
                values.insert(position, value);
                *self = Self::from_parts(Shape::new(keys), values.into_iter());
            }
        }
    }

    /// Replaces the value at a position, in place unless the map is shared.
    fn replace(&mut self, position: usize, value: Value) {
        let Some(map) = &mut self.0 else { return };
        let unique = map.with_arc_mut(|map| match Arc::get_mut(map) {
            Some(map) => {
                map.slice_mut()[position] = value.clone();
                true
            }
            None => false,
        });
        if !unique {
            let mut values = map.slice.to_vec();
            values[position] = value;
            *self = Self::from_parts(map.header.header.clone(), values.into_iter());
        }
    }

    /// Removes a literal key; returns its value.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let position = self.shape().position(key)?;
        let mut keys = self.shape().keys().to_vec();
        let mut values = self.values().to_vec();
        keys.remove(position);
        let old = values.remove(position);
        *self = Self::from_parts(Shape::new(keys), values.into_iter());
        Some(old)
    }

    /// Adds or replaces the value at a dotted path; creates the objects on the path.
    ///
    /// Returns `false` and changes nothing if the path leads through a value that is not an object,
    /// or has more than 64 parts (each part takes stack space).
    pub fn set_path(&mut self, dotted: &str, value: impl Into<Value>) -> bool {
        dotted.split('.').nth(MAX_DEPTH).is_none() && self.set_path_at(dotted, value.into())
    }

    fn set_path_at(&mut self, dotted: &str, value: Value) -> bool {
        let (head, rest) = split_path(dotted);
        let Some(rest) = rest else {
            self.set(head, value);
            return true;
        };
        let mut inner = match self.get(head) {
            None => Self::new(),
            Some(Value::Map(inner)) => inner.clone(),
            Some(_) => return false,
        };
        let done = inner.set_path_at(rest, value);
        if done {
            self.set(head, inner);
        }
        done
    }

    /// Removes the value at a dotted path and the objects that become empty; returns whether there
    /// was a value.
    pub fn remove_path(&mut self, dotted: &str) -> bool {
        let (head, rest) = split_path(dotted);
        let Some(rest) = rest else {
            return self.remove(head).is_some();
        };
        let Some(Value::Map(inner)) = self.get(head) else {
            return false;
        };
        let mut inner = inner.clone();
        if !inner.remove_path(rest) {
            return false;
        }
        if inner.is_empty() {
            self.remove(head);
        } else {
            self.set(head, inner);
        }
        true
    }

    /// Returns the heap size in bytes; shared parts count as if owned (an upper bound).
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let values: usize = self.values().iter().map(Value::heap_bytes).sum();
        values + self.own_bytes()
    }

    /// Returns the heap size without the heap size of the values, in bytes.
    pub(super) fn own_bytes(&self) -> usize {
        size_of_val(self.values()) + if self.is_empty() { 0 } else { HEADER }
    }
}

/// Size of the reference count, the key list, and the number of values.
const HEADER: usize = 3 * size_of::<usize>();

impl Map {
    /// Returns whether both maps are the same allocation.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => a.ptr() == b.ptr(),
            _ => false,
        }
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || (self.shape() == other.shape() && self.values() == other.values())
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Into<ArcStr>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self::from_pairs(pairs.into_iter().map(|(k, v)| (k.into(), v.into())))
    }
}

/// Sorted list of keys that many [`Map`]s share.
#[derive(Clone, Default)]
pub struct Shape(Option<ThinArc<KeyJsons, ArcStr>>);

impl Shape {
    pub(super) const EMPTY: Self = Self(None);

    pub(super) fn new(keys: Vec<ArcStr>) -> Self {
        if keys.is_empty() {
            return Self::EMPTY;
        }
        let json = KeyJsons::new();
        Self(Some(ThinArc::from_header_and_iter(json, keys.into_iter())))
    }

    /// Returns the position of a key.
    #[must_use]
    pub fn position(&self, key: &str) -> Option<usize> {
        self.search(key).ok()
    }

    fn search(&self, key: &str) -> Result<usize, usize> {
        self.keys().binary_search_by(|k| k.as_str().cmp(key))
    }

    /// Returns whether both key lists are the same allocation, which costs less than `==` on the
    /// keys.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.address() == other.address()
    }

    /// Returns the keys in order.
    #[must_use]
    pub fn keys(&self) -> &[ArcStr] {
        self.0.as_ref().map_or(&[], |keys| &keys.slice)
    }

    /// Returns the keys as JSON, which is formatted by the first call.
    pub(super) fn json_keys(&self) -> &[KeyJson] {
        let Some(shape) = &self.0 else { return &[] };
        shape.header.header.get_or_init(|| {
            let keys = shape.slice.iter().enumerate();
            keys.map(|(i, key)| KeyJson::new(i, key)).collect()
        })
    }

    #[inline]
    pub(crate) fn address(&self) -> *const std::ffi::c_void {
        self.0.as_ref().map_or(std::ptr::null(), ThinArc::ptr)
    }

    fn is_shared(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|keys| ThinArc::strong_count(keys) > 1)
    }
}

impl PartialEq for Shape {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.keys() == other.keys()
    }
}

impl Eq for Shape {}

impl Hash for Shape {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.keys().hash(state);
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys()).finish()
    }
}

/// Interning table of key lists: the owner of many maps passes each through [`ShapeTable::intern`].
///
/// Lists and keys that no map uses are dropped when the table has doubled since the last sweep, so
/// keys from a malicious client do not accumulate.
#[derive(Default)]
pub struct ShapeTable {
    shapes: HashSet<Shape>,
    /// Addresses of the lists in `shapes`: a map with an interned list is recognized without
    /// comparing keys.
    addresses: HashSet<usize>,
    keys: HashSet<ArcStr>,
    /// Number of lists at which the next sweep drops unused lists.
    sweep_at: usize,
}

impl ShapeTable {
    /// Returns the same map with interned key lists at every depth.
    pub fn intern(&mut self, map: &Map) -> Map {
        self.intern_owned(map.clone())
    }

    /// Returns the same map with interned key lists, without copying if its key lists are already
    /// interned.
    pub(crate) fn intern_owned(&mut self, map: Map) -> Map {
        if self.is_interned(&map) {
            return map;
        }
        let shape = self.shape(map.shape());
        let values = map.values().iter().map(|v| self.value(v));
        Map::from_parts(shape, values)
    }

    fn is_interned(&self, map: &Map) -> bool {
        let is_known = |shape: &Shape| self.addresses.contains(&(shape.address() as usize));
        map.is_empty()
            || (is_known(map.shape()) && map.values().iter().all(|v| self.is_interned_value(v)))
    }

    fn is_interned_value(&self, value: &Value) -> bool {
        match value {
            Value::Map(map) => self.is_interned(map),
            Value::List(list) => list.iter().all(|v| self.is_interned_value(v)),
            _ => true,
        }
    }

    fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::Map(map) => Value::Map(self.intern(map)),
            Value::List(list) if !self.is_interned_value(value) => {
                Value::List(list.iter().map(|v| self.value(v)).collect())
            }
            other => other.clone(),
        }
    }

    fn shape(&mut self, shape: &Shape) -> Shape {
        if shape.keys().is_empty() {
            return Shape::EMPTY;
        }
        if let Some(known) = self.shapes.get(shape) {
            return known.clone();
        }
        if self.shapes.len() >= self.sweep_at.max(MIN_SWEEP) {
            self.shapes.retain(|shape| shape.is_shared());
            self.addresses = self
                .shapes
                .iter()
                .map(|shape| shape.address() as usize)
                .collect();
            self.keys
                .retain(|k| ArcStr::strong_count(k).is_none_or(|n| n > 1));
            self.sweep_at = 2 * self.shapes.len();
        }
        let key = |k: &ArcStr| self.keys.get_or_insert_with(k, ArcStr::clone).clone();
        let keys: Vec<ArcStr> = shape.keys().iter().map(key).collect();
        let is_unchanged = keys
            .iter()
            .zip(shape.keys())
            .all(|(a, b)| ArcStr::ptr_eq(a, b));
        let shared = if is_unchanged {
            shape.clone()
        } else {
            Shape::new(keys)
        };
        self.addresses.insert(shared.address() as usize);
        self.shapes.insert(shared.clone());
        shared
    }

    /// Returns the number of key lists.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shapes.len()
    }

    /// Returns whether there are no key lists.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shapes.is_empty()
    }
}

impl fmt::Debug for ShapeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ShapeTable({} shapes, {} keys)",
            self.shapes.len(),
            self.keys.len()
        )
    }
}

/// Minimum number of key lists for which a sweep is worth its cost.
const MIN_SWEEP: usize = 1024;

/// Maximum number of parts of a path that can be set.
pub(crate) const MAX_DEPTH: usize = 64;

fn split_path(dotted: &str) -> (&str, Option<&str>) {
    match dotted.split_once('.') {
        Some((head, rest)) => (head, Some(rest)),
        None => (dotted, None),
    }
}

impl serde::Serialize for Map {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(k, v)| (k.as_str(), v)))
    }
}

impl<'de> serde::Deserialize<'de> for Map {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Map;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Map, A::Error> {
                key_cache::read(map)
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Path, PathMatch};

    fn map(json: &str) -> Map {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn paths_are_set_and_removed_with_their_empty_parents() {
        let mut m = map(r#"{"A":1}"#);
        assert!(m.set_path("B.C.D", 2));
        assert!(!m.set_path("A.X", 3), "the path leads through a scalar");
        assert_eq!(m, map(r#"{"A":1,"B":{"C":{"D":2}}}"#));
        assert!(m.remove_path("B.C.D"));
        assert!(!m.remove_path("B.C.D"));
        assert_eq!(m, map(r#"{"A":1}"#));
    }

    #[test]
    fn paths_have_a_maximum_depth() {
        let mut m = Map::new();
        assert!(!m.set_path(&"a.".repeat(1_000_000), 1));
        assert!(!m.remove_path(&"a.".repeat(1_000_000)));
        assert!(m.is_empty());
        assert!(m.set_path(&["a"; MAX_DEPTH].join("."), 1));
        assert!(Path::new(&"a.".repeat(1_000_000)).find(&m).is_none());
    }

    #[test]
    fn clones_do_not_see_later_changes() {
        let mut a = map(r#"{"X":{"Y":1}}"#);
        let b = a.clone();
        a.set_path("X.Y", 2);
        a.set("Z", true);
        assert_eq!(b, map(r#"{"X":{"Y":1}}"#));
    }

    #[test]
    fn interned_maps_share_their_key_lists() {
        let mut table = ShapeTable::default();
        let a = table.intern(&map(r#"{"X":{"K":1},"Y":[{"K":2}]}"#));
        let b = table.intern(&map(r#"{"X":{"K":3},"Y":[]}"#));
        assert!(a.shape().is_same(b.shape()));
        assert_eq!(a, map(r#"{"X":{"K":1},"Y":[{"K":2}]}"#));
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn interning_again_changes_nothing() {
        let mut table = ShapeTable::default();
        let a = table.intern(&map(r#"{"X":{"K":1},"Y":[{"K":2},3],"Z":{}}"#));
        let built = Map::from_iter([("X", Value::from(Map::from_iter([("K", 1)])))]);
        let address = |map: &Map| map.0.as_ref().unwrap().ptr();
        assert_eq!(address(&table.intern(&a)), address(&a));
        let b = table.intern(&built);
        assert_eq!((&b, address(&table.intern(&b))), (&built, address(&b)));
        let inner = |map: &Map| {
            map.get("X")
                .and_then(Value::as_map)
                .unwrap()
                .shape()
                .clone()
        };
        assert!(inner(&a).is_same(&inner(&b)));
    }

    #[test]
    fn unused_shapes_are_dropped() {
        let mut table = ShapeTable::default();
        for i in 0..5 * MIN_SWEEP {
            table.intern(&Map::from_iter([(format!("key{i}"), Value::Null)]));
        }
        assert!(table.len() <= MIN_SWEEP + 1, "{}", table.len());
    }

    #[test]
    fn paths_spread_over_arrays() {
        let m = map(r#"{"Ifs":[{"N":1},{"M":2},{"N":3}],"S":5}"#);
        let found = |p: &str| match Path::new(p).find(&m) {
            None => "none".to_owned(),
            Some(PathMatch::One(v)) => format!("one {v:?}"),
            Some(PathMatch::Many(v)) => format!("many {v:?}"),
        };
        assert_eq!(found("Ifs.N"), "many [Int(1), Int(3)]");
        assert_eq!(found("Ifs.Zzz"), "many []");
        assert_eq!(found("S.x"), "none");
        assert_eq!(found("S"), "one Int(5)");
        assert_eq!(found(""), "none");
    }
}
