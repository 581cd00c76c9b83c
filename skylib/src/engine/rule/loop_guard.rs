//! `LoopGuard`: stops rules that trigger each other endlessly.

use std::collections::HashMap;
use std::hash::Hash;

/// Limit on the number of times that rules change the same object in reaction to changes by rules.
///
/// A change by anything else resets the count. A loop of rules therefore costs at most
/// [`MAX_ROUNDS`] changes for each change from outside.
pub(super) struct LoopGuard<K> {
    rounds: HashMap<K, u32>,
}

/// Decision of a [`LoopGuard`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The change is allowed.
    Allowed,
    /// The limit has just been reached: the rules are now suspended for this object.
    Suspends,
    /// The rules are already suspended for this object.
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
    /// Resets the count of an object, because something other than a rule has changed it.
    pub(super) fn reset(&mut self, key: &K) {
        self.rounds.remove(key);
    }

    /// Resets the counts of all objects that no longer exist.
    pub(super) fn retain(&mut self, exists: impl Fn(&K) -> bool) {
        self.rounds.retain(|key, _| exists(key));
    }

    /// Resets all counts, because the rules have changed.
    pub(super) fn reset_all(&mut self) {
        self.rounds.clear();
    }

    /// Counts a change that rules require, and returns whether it is allowed.
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

/// Maximum number of changes without a change from outside; chains of up to this number of rules
/// complete.
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
        guard.check(&"deleted");
        guard.retain(|key| *key == "n");
        assert_eq!(guard.rounds.len(), 1);
        guard.reset_all();
        assert!(guard.rounds.is_empty());
    }
}
