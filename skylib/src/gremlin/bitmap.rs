//! `Bitmap`: a set of dense element numbers, one bit each, that grows on insertion.

use fixedbitset::FixedBitSet;

/// A set of element numbers of one view.
///
/// Uses `n / 8` bytes, where `n` is at most twice the largest number inserted.
#[derive(Clone, Debug, Default)]
pub(super) struct Bitmap(FixedBitSet);

impl Bitmap {
    /// Inserts a number. Returns whether it was absent before.
    pub(super) fn insert(&mut self, number: u32) -> bool {
        let bit = number as usize;
        if bit >= self.0.len() {
            // Doubling: numbers often arrive in ascending order, and `grow` is a cold path.
            self.0.grow((bit + 1).max(2 * self.0.len()));
        }
        !self.0.put(bit)
    }

    /// Returns whether the set contains a number.
    pub(super) fn contains(&self, number: u32) -> bool {
        self.0.contains(number as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_new_once() {
        let mut set = Bitmap::default();
        for number in [0, 63, 64, 1000] {
            assert!(!set.contains(number));
            assert!(set.insert(number));
            assert!(!set.insert(number));
            assert!(set.contains(number));
        }
        assert!(!set.contains(65) && !set.contains(u32::MAX));
    }
}
