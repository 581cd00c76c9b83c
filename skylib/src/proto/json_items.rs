//! Lists of items that a `JsonStream` writes one by one.

use std::fmt;
use std::sync::Arc;
use std::vec;

use crate::flow::{Flow, RawPacket};
use crate::graph::{Edge, Node, WriteJson};
use crate::gremlin::Metric;
use crate::gremlin::live::Change;
use crate::value::{JsonWriter, List, Text, Value};

/// One item of a list.
pub(super) trait Item: fmt::Debug + Send + Sync + 'static {
    /// Writes the JSON of the item.
    fn write(&self, json: &mut JsonWriter);
}

/// Items that have not been written yet.
pub(super) trait Items: fmt::Debug + Send + Sync {
    /// Writes items, separated by commas, until the buffer is full; returns whether any may be
    /// left.
    fn fill(&mut self, json: &mut JsonWriter) -> bool;

    /// Returns the length of the JSON that has not been written yet, in bytes. `json` is a buffer
    /// for it.
    fn text_len(&self, json: &mut JsonWriter) -> u64;
}

impl Item for Arc<Node> {
    fn write(&self, json: &mut JsonWriter) {
        self.write_json(json);
    }
}

impl Item for Arc<Edge> {
    fn write(&self, json: &mut JsonWriter) {
        self.write_json(json);
    }
}

impl Item for Value {
    fn write(&self, json: &mut JsonWriter) {
        json.value(self);
    }
}

/// A member of an object: its key and value.
impl Item for (Text, Value) {
    fn write(&self, json: &mut JsonWriter) {
        json.text(&self.0);
        json.constant(b":");
        json.value(&self.1);
    }
}

/// Implements [`Item`] for types that `serde` serializes.
macro_rules! serialized_items {
    ($($item:ty),*) => {$(
        impl Item for $item {
            fn write(&self, json: &mut JsonWriter) {
                json.serialized(self);
            }
        }
    )*};
}

serialized_items!(Flow, Change, Metric, RawPacket);

/// Items of one list.
#[derive(Debug)]
pub(super) struct Series<T> {
    items: vec::IntoIter<T>,
    /// Whether an item has been written, so that the next needs a comma.
    needs_comma: bool,
}

impl<T> Series<T> {
    pub(super) fn new(items: Vec<T>) -> Self {
        Self {
            items: items.into_iter(),
            needs_comma: false,
        }
    }
}

impl<T: Item> Items for Series<T> {
    fn fill(&mut self, json: &mut JsonWriter) -> bool {
        while json.len() < BUFFER_BYTES {
            let Some(item) = self.items.next() else {
                return false;
            };
            if std::mem::replace(&mut self.needs_comma, true) {
                json.constant(b",");
            }
            item.write(json);
        }
        true
    }

    fn text_len(&self, json: &mut JsonWriter) -> u64 {
        len_of(self.items.as_slice(), self.needs_comma, json)
    }
}

/// Items of several lists: each under its key, or without a key in a list of lists.
#[derive(Debug)]
pub(super) struct Groups<T> {
    groups: vec::IntoIter<(Option<Text>, Vec<T>)>,
    /// Remaining items of the group whose opening bracket is the last one written.
    open: Option<Series<T>>,
    /// Whether a group has been written, so that the next needs a comma.
    needs_comma: bool,
    /// JSON of a group without items.
    empty: &'static str,
}

impl<T> Groups<T> {
    pub(super) fn new(groups: Vec<(Option<Text>, Vec<T>)>, empty: &'static str) -> Self {
        Self {
            groups: groups.into_iter(),
            open: None,
            needs_comma: false,
            empty,
        }
    }
}

/// Writes the beginning of a group: the comma, the key, and the opening brackets.
fn begin_group(key: Option<&Text>, needs_comma: &mut bool, json: &mut JsonWriter) {
    if std::mem::replace(needs_comma, true) {
        json.constant(b",");
    }
    if let Some(key) = key {
        json.text(key);
        json.constant(b":");
    }
}

impl<T: Item> Items for Groups<T> {
    fn fill(&mut self, json: &mut JsonWriter) -> bool {
        while json.len() < BUFFER_BYTES {
            if let Some(open) = &mut self.open {
                if !open.fill(json) {
                    json.constant(b"]");
                    self.open = None;
                }
                continue;
            }
            let Some((key, items)) = self.groups.next() else {
                return false;
            };
            begin_group(key.as_ref(), &mut self.needs_comma, json);
            if items.is_empty() {
                json.raw(self.empty.as_bytes());
            } else {
                json.constant(b"[");
                self.open = Some(Series::new(items));
            }
        }
        true
    }

    fn text_len(&self, json: &mut JsonWriter) -> u64 {
        let open = self.open.as_ref().map(|open| open.text_len(json) + 1);
        let mut len = open.unwrap_or_default();
        let mut needs_comma = self.needs_comma;
        for (key, items) in self.groups.as_slice() {
            begin_group(key.as_ref(), &mut needs_comma, json);
            len += taken(json);
            len += match items.as_slice() {
                [] => self.empty.len() as u64,
                items => len_of(items, false, json) + 2,
            };
        }
        len
    }
}

/// Values of a shared list.
#[derive(Debug)]
pub(super) struct ValueList {
    list: List,
    /// Number of values written.
    next: usize,
}

impl ValueList {
    pub(super) const fn new(list: List) -> Self {
        Self { list, next: 0 }
    }
}

impl Items for ValueList {
    fn fill(&mut self, json: &mut JsonWriter) -> bool {
        while json.len() < BUFFER_BYTES {
            let Some(value) = self.list.get(self.next) else {
                return false;
            };
            if self.next > 0 {
                json.constant(b",");
            }
            json.value(value);
            self.next += 1;
        }
        true
    }

    fn text_len(&self, json: &mut JsonWriter) -> u64 {
        let rest = self.list.get(self.next..).unwrap_or_default();
        len_of(rest, self.next > 0, json)
    }
}

/// Returns the length of items with their commas, in bytes.
fn len_of<T: Item>(items: &[T], mut needs_comma: bool, json: &mut JsonWriter) -> u64 {
    let mut len = 0;
    for item in items {
        len += u64::from(std::mem::replace(&mut needs_comma, true));
        item.write(json);
        len += taken(json);
    }
    len
}

/// Clears the buffer; returns the length of its content, in bytes.
fn taken(json: &mut JsonWriter) -> u64 {
    let len = json.len() as u64;
    json.clear();
    len
}

/// Length of the buffered content, in bytes, at which no further item is added.
pub(super) const BUFFER_BYTES: usize = 4 << 10;
