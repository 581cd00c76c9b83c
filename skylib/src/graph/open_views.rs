//! Registry of the open snapshots of a graph.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Sequence numbers of the open views, shared by the graph and its views.
#[derive(Debug, Default)]
pub(super) struct OpenViews(Mutex<Registry>);

#[derive(Debug, Default)]
struct Registry {
    /// Number of open views at each sequence number; never zero.
    open: BTreeMap<u64, usize>,
    /// Sequence number below which views have expired: the revisions they need may have been
    /// dropped.
    expired_below: u64,
}

impl OpenViews {
    pub(super) fn open(&self, sequence: u64) {
        *self.lock().open.entry(sequence).or_default() += 1;
    }

    pub(super) fn close(&self, sequence: u64) {
        let mut state = self.lock();
        if let Some(count) = state.open.get_mut(&sequence) {
            *count -= 1;
            if *count == 0 {
                state.open.remove(&sequence);
            }
        }
    }

    /// Returns the sequence numbers of the oldest and the newest open view that has not expired.
    pub(super) fn range(&self) -> Option<(u64, u64)> {
        let state = self.lock();
        let mut live = state.open.range(state.expired_below..);
        let (oldest, _) = live.next()?;
        Some((
            *oldest,
            live.next_back().map_or(*oldest, |(newest, _)| *newest),
        ))
    }

    /// Expires all views up to a sequence number.
    pub(super) fn expire(&self, sequence: u64) {
        self.lock().expired_below = sequence + 1;
    }

    pub(super) fn is_expired(&self, sequence: u64) -> bool {
        sequence < self.lock().expired_below
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expired_views_are_not_in_the_range() {
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
