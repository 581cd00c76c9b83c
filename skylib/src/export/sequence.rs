//! `Sequence`: finds lost datagrams or records by their sequence numbers.

/// Sequence numbers of one stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sequence {
    /// Expected next number; `None` if it is unknown.
    next: Option<u32>,
}

impl Sequence {
    /// Takes the number of a message and returns how many units were lost before it. `count` is the
    /// number of units in the message; `None` if it is unknown.
    ///
    /// A number that is less than expected is a restart of the stream, not a loss.
    pub(super) fn take(&mut self, number: u32, count: Option<u32>) -> u64 {
        let expected = self.next;
        self.next = count.map(|count| number.wrapping_add(count));
        match expected.map(|expected| number.wrapping_sub(expected)) {
            Some(lost) if lost < RESTART => u64::from(lost),
            _ => 0,
        }
    }
}

/// Difference from which a number is taken as the restart of a stream.
const RESTART: u32 = 1 << 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_losses_and_steps_back_are_restarts() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.take(100, Some(10)), 0, "the first message");
        assert_eq!(sequence.take(110, Some(1)), 0);
        assert_eq!(sequence.take(115, Some(1)), 4);
        assert_eq!(sequence.take(3, Some(1)), 0, "a restart");
        assert_eq!(sequence.take(u32::MAX, Some(2)), 0, "a restart");
        assert_eq!(sequence.take(1, Some(1)), 0, "numbers wrap");
        assert_eq!(sequence.take(9, None), 7);
        assert_eq!(
            sequence.take(50, Some(1)),
            0,
            "the expected number was unknown"
        );
    }
}
