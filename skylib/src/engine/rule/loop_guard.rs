//! `LoopGuard`: stops rules that trigger each other without end.

use std::collections::HashMap;
use std::hash::Hash;

/// Bounds how often rules change the same thing in reaction to changes by rules.
///
/// Every change by anything else starts a new count. So a loop of rules costs at most
/// [`MAX_ROUNDS`] changes for each change from outside.
pub(super) struct LoopGuard<K> {
    rounds: HashMap<K, u32>,
}

/// Answer of a [`LoopGuard`]. Complete by definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The change may be made.
    Allowed,
    /// The limit is reached now: the rules are suspended for this thing.
    Suspends,
    /// The rules were suspended before.
    Suspended,
}

impl<K> Default for LoopGuard<K> {
    fn default() -> Self {
        Self {
            rounds: HashMap::new(),
        }
    }
}

impl<K: Eq + Hash + Clone> LoopGuard<K> {
    /// Starts a new count, because something other than a rule has changed the thing.
    pub(super) fn reset(&mut self, key: &K) {
        self.rounds.remove(key);
    }

    /// Starts new counts for everything, because the rules have changed.
    pub(super) fn reset_all(&mut self) {
        self.rounds.clear();
    }

    /// Counts a change that rules want to make.
    pub(super) fn check(&mut self, key: &K) -> Verdict {
        let rounds = self.rounds.entry(key.clone()).or_default();
        *rounds = rounds.saturating_add(1);
        match *rounds {
            0..=MAX_ROUNDS => Verdict::Allowed,
            SUSPENDING => Verdict::Suspends,
            _ => Verdict::Suspended,
        }
    }
}

/// Number of changes without a change from outside; chains of as many rules still complete.
const MAX_ROUNDS: u32 = 32;
const SUSPENDING: u32 = MAX_ROUNDS + 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_ends_and_a_change_from_outside_starts_a_new_count() {
        let mut guard = LoopGuard::default();
        for _ in 0..2 {
            let verdicts: Vec<Verdict> = (0..40).map(|_| guard.check(&"n")).collect();
            let allowed = verdicts.iter().filter(|v| **v == Verdict::Allowed).count();
            assert_eq!(allowed, 32);
            assert_eq!(verdicts[32], Verdict::Suspends);
            assert!(verdicts[33..].iter().all(|v| *v == Verdict::Suspended));
            assert_eq!(guard.check(&"other"), Verdict::Allowed);
            guard.reset(&"n");
        }
        guard.check(&"n");
        guard.reset_all();
        assert!(guard.rounds.is_empty());
    }
}
