//! `UuidSet`: set of the UUIDs of flows in 8 bytes each.

use hashbrown::HashSet;

use crate::value::Text;

/// Set of UUIDs. A UUID in the usual form, hex without padding, takes 8 bytes; others are stored as
/// text.
#[derive(Default)]
pub(super) struct UuidSet {
    numbers: HashSet<u64>,
    texts: HashSet<Text>,
}

impl UuidSet {
    /// Adds a UUID. Returns whether it is new.
    pub(super) fn insert(&mut self, uuid: &str) -> bool {
        match number(uuid) {
            Some(number) => self.numbers.insert(number),
            None => self.texts.insert(uuid.into()),
        }
    }
}

/// Returns the number that a UUID represents; `None` if the number has another usual form.
fn number(uuid: &str) -> Option<u64> {
    if uuid.len() > 16 || uuid.is_empty() || uuid.starts_with('0') {
        return None;
    }
    uuid.bytes().try_fold(0, |number, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_texts_are_different_uuids() {
        let uuids = [
            "1",
            "01",
            "A",
            "a",
            "",
            "+1",
            "ffffffffffffffff",
            "10000000000000000",
            "f1",
        ];
        let mut set = UuidSet::default();
        for uuid in uuids {
            assert!(set.insert(uuid), "{uuid}");
            assert!(!set.insert(uuid), "{uuid}");
        }
    }
}
