//! `Groups`: the distinct combinations of key values, numbered in order of first occurrence.

use std::hash::BuildHasher;
use std::net::IpAddr;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::value::{Text, Value};

/// Value of a key. A missing value is greater than all others.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Part {
    Int(i64),
    /// Network and prefix length.
    Prefix(IpAddr, u8),
    Text(Text),
    Missing,
}

impl Part {
    /// Returns the value as shown in a row.
    pub(super) fn to_value(&self) -> Value {
        match self {
            Self::Int(number) => Value::Int(*number),
            Self::Prefix(address, length) => Value::from(format!("{address}/{length}").as_str()),
            Self::Text(text) => Value::Text(text.clone()),
            Self::Missing => Value::Null,
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.heap_bytes(),
            _ => 0,
        }
    }
}

/// Distinct combinations of key values. Group `g` has the parts `g * keys..(g + 1) * keys`.
pub(super) struct Groups {
    keys: usize,
    parts: Vec<Part>,
    /// Number of flows of each group.
    flows: Vec<u64>,
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Size of the strings in `parts`, in bytes.
    heap_bytes: usize,
}

impl Groups {
    /// Returns an empty table of combinations of `keys` values.
    pub(super) fn new(keys: usize) -> Self {
        Self {
            keys,
            parts: Vec::new(),
            flows: Vec::new(),
            numbers: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            heap_bytes: 0,
        }
    }

    /// Returns the number of a combination. Empties `parts` if the combination is new.
    pub(super) fn intern(&mut self, parts: &mut Vec<Part>) -> u32 {
        let keys = self.keys;
        let all = &self.parts;
        let known = |group: u32| {
            let from = group as usize * keys;
            all.get(from..from + keys).unwrap_or_default()
        };
        let hash = self.hasher.hash_one(parts.as_slice());
        if let Some(group) = self.numbers.find(hash, |group| known(*group) == *parts) {
            return *group;
        }
        // Groups beyond this number share the last one; the limits of a query allow fewer flows.
        let group = u32::try_from(self.flows.len()).unwrap_or(u32::MAX);
        let hasher = &self.hasher;
        self.numbers
            .insert_unique(hash, group, |group| hasher.hash_one(known(*group)));
        self.heap_bytes += parts.iter().map(Part::heap_bytes).sum::<usize>();
        self.parts.append(parts);
        self.flows.push(0);
        group
    }

    /// Counts a flow of a group.
    pub(super) fn count_flow(&mut self, group: u32) {
        if let Some(flows) = self.flows.get_mut(group as usize) {
            *flows += 1;
        }
    }

    /// Returns the number of groups.
    pub(super) const fn len(&self) -> usize {
        self.flows.len()
    }

    /// Returns the number of flows of a group.
    pub(super) fn flows(&self, group: u32) -> u64 {
        self.flows.get(group as usize).copied().unwrap_or(0)
    }

    /// Returns the values of a group, in the order of the keys.
    pub(super) fn parts(&self, group: u32) -> &[Part] {
        let from = group as usize * self.keys;
        self.parts.get(from..from + self.keys).unwrap_or_default()
    }

    /// Returns the memory used, in bytes, approximately.
    pub(super) const fn bytes(&self) -> usize {
        let of_group = self.keys * size_of::<Part>() + 4 * size_of::<u64>();
        self.flows.len() * of_group + self.heap_bytes
    }
}
