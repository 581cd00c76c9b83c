//! `Mastership`: which of the connected analyzers receives the graph of this agent.
//!
//! The analyzer that connects first becomes the master and receives the whole graph and every
//! change. The others wait for captures to start and for flow queries. If the master is lost, a
//! connected analyzer chosen at random takes over and receives the whole graph first.

use std::collections::BTreeSet;

/// Election of the master among the analyzers of an agent; a pure state machine.
///
/// ```
/// use skylib::engine::Mastership;
///
/// let mut mastership = Mastership::default();
/// assert_eq!(mastership.connected(0), Some(0), "the first is the master");
/// assert_eq!(mastership.connected(1), None);
/// assert_eq!(mastership.lost(0, 7), Some(1), "the other one takes over");
/// assert_eq!(mastership.lost(1, 7), None);
/// assert_eq!(mastership.master(), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mastership {
    connected: BTreeSet<usize>,
    /// A member of `connected`; `None` only if that is empty.
    master: Option<usize>,
}

impl Mastership {
    /// Adds an analyzer. Returns the analyzer that became the master, if any did.
    pub fn connected(&mut self, analyzer: usize) -> Option<usize> {
        self.connected.insert(analyzer);
        if self.master.is_some() {
            return None;
        }
        self.master = Some(analyzer);
        self.master
    }

    /// Removes an analyzer. Returns the analyzer that became the master instead, if any did; the
    /// random number `choice` selects it.
    pub fn lost(&mut self, analyzer: usize, choice: usize) -> Option<usize> {
        self.connected.remove(&analyzer);
        if self.master != Some(analyzer) {
            return None;
        }
        let count = self.connected.len();
        self.master = match count {
            0 => None,
            _ => self.connected.iter().nth(choice % count).copied(),
        };
        self.master
    }

    /// Returns the master.
    #[must_use]
    pub const fn master(&self) -> Option<usize> {
        self.master
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn there_is_one_connected_master_whenever_an_analyzer_is_connected(
            steps in prop::collection::vec((any::<bool>(), 0_usize..4, any::<usize>()), 0..50)
        ) {
            let mut mastership = Mastership::default();
            for (connects, analyzer, choice) in steps {
                let before = mastership.master();
                let new = match connects {
                    true => mastership.connected(analyzer),
                    false => mastership.lost(analyzer, choice),
                };
                let master = mastership.master();
                prop_assert_eq!(master.is_none(), mastership.connected.is_empty());
                prop_assert!(master.is_none_or(|master| mastership.connected.contains(&master)));
                // A new master is reported exactly when it changes.
                prop_assert_eq!(new, master.filter(|_| master != before));
            }
        }
    }
}
