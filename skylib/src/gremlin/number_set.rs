//! `NumberSet`: small numbers, a bit each.

/// A set of element numbers of a view, which are dense.
#[derive(Clone, Debug, Default)]
pub(super) struct NumberSet {
    words: Vec<u64>,
}

impl NumberSet {
    /// Adds a number and tells whether it is new.
    pub(super) fn insert(&mut self, number: u32) -> bool {
        let (word, bit) = place(number);
        if self.words.len() <= word {
            self.words.resize((word + 1).max(2 * self.words.len()), 0);
        }
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        new
    }

    /// Whether a number is in.
    pub(super) fn contains(&self, number: u32) -> bool {
        let (word, bit) = place(number);
        self.words.get(word).is_some_and(|w| w & bit != 0)
    }
}

const fn place(number: u32) -> (usize, u64) {
    ((number / 64) as usize, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_new_once() {
        let mut set = NumberSet::default();
        for number in [0, 63, 64, 1000] {
            assert!(!set.contains(number));
            assert!(set.insert(number));
            assert!(!set.insert(number));
            assert!(set.contains(number));
        }
        assert!(!set.contains(65) && !set.contains(u32::MAX));
    }
}
