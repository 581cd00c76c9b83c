//! Which views of a graph are open.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The sequence numbers of the open views, shared by the graph and its views.
#[derive(Debug, Default)]
pub(super) struct OpenViews(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How many views are open at each number.
    open: BTreeMap<u64, usize>,
    /// OpenViews below this number were given up: what they need is no longer kept.
    expired_below: u64,
}

impl OpenViews {
    pub(super) fn open(&self, sequence: u64) {
        *self.state().open.entry(sequence).or_default() += 1;
    }

    pub(super) fn close(&self, sequence: u64) {
        let mut state = self.state();
        if let Some(count) = state.open.get_mut(&sequence) {
            *count -= 1;
            if *count == 0 {
                state.open.remove(&sequence);
            }
        }
    }

    /// The oldest and the newest open view that has not been given up.
    pub(super) fn range(&self) -> Option<(u64, u64)> {
        let state = self.state();
        let mut live = state.open.range(state.expired_below..);
        let (oldest, _) = live.next()?;
        Some((
            *oldest,
            live.next_back().map_or(*oldest, |(newest, _)| *newest),
        ))
    }

    /// Gives up all views up to a number.
    pub(super) fn expire(&self, sequence: u64) {
        self.state().expired_below = sequence + 1;
    }

    pub(super) fn is_expired(&self, sequence: u64) -> bool {
        sequence < self.state().expired_below
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_up_views_hold_nothing_back() {
        let views = OpenViews::default();
        assert_eq!(views.range(), None);
        for sequence in [3, 3, 9, 5] {
            views.open(sequence);
        }
        assert_eq!(views.range(), Some((3, 9)));
        views.close(3);
        assert_eq!(views.range(), Some((3, 9)), "one more is open at 3");
        views.expire(3);
        assert_eq!(views.range(), Some((5, 9)));
        assert!(views.is_expired(3) && !views.is_expired(5));
        for sequence in [3, 9, 5] {
            views.close(sequence);
        }
        assert_eq!(views.range(), None);
    }
}
