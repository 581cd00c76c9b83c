//! `Random`: a small generator of pseudorandom numbers, for values that need no secrecy.
//!
//! Algorithm: SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").

/// Generator of pseudorandom numbers.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// Returns a generator whose numbers depend on the seed only.
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from `low` to `high`, both included; `low <= high`.
    pub(super) fn between(&mut self, low: u16, high: u16) -> u16 {
        let count = u64::from(high - low) + 1;
        // The remainder is below 65536.
        low + (self.next() % count) as u16
    }

    /// Returns a random letter.
    pub(super) fn letter(&mut self) -> u8 {
        const LETTERS: &[u8; 52] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        LETTERS[(self.next() % 52) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_within_their_bounds_and_reach_both() {
        let mut random = Random::new(7);
        let drawn: Vec<u16> = (0..200).map(|_| random.between(3, 5)).collect();
        assert_eq!(drawn.iter().min(), Some(&3));
        assert_eq!(drawn.iter().max(), Some(&5));
        assert_eq!(random.between(9, 9), 9);
        random.between(0, u16::MAX);
        assert!((0..200).all(|_| random.letter().is_ascii_alphabetic()));
    }
}
