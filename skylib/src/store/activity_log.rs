//! `ActivityLog`: the events of captures, alerts, rules, and other resources, for the step `Changes`.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{DocStore, DocumentChange, StoreError};
use crate::error_chain::Chain;
use crate::graph::history::{Activity, ActivitySource};
use crate::time::{TimeSlice, Timestamp};

/// Log of the events of resources: the newest 10 000 events of the last month. Stored as documents
/// of the kind `activity`.
///
/// ```
/// use skylib::graph::history::{Activity, ActivitySource};
/// use skylib::store::ActivityLog;
/// use skylib::time::{TimeSlice, Timestamp};
///
/// let log = ActivityLog::default();
/// let at = Timestamp::from_ms;
/// log.record(Activity::new(at(5), "fired", "alert", "a1"));
/// let slice = TimeSlice { start: at(0), last: at(9) };
/// assert_eq!(log.during(slice).len(), 1);
/// ```
#[derive(Default)]
pub struct ActivityLog {
    /// `None` stores nothing.
    documents: Option<Arc<dyn DocStore>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Events with the ids of their documents, in the order of recording.
    events: VecDeque<(String, Activity)>,
    /// Number of events recorded since the start; makes ids unique.
    recorded: u64,
    unsaved: Vec<DocumentChange>,
    saved_at: Timestamp,
}

impl ActivityLog {
    /// Reads the events of a store.
    ///
    /// # Errors
    /// Returns an error if the store cannot be read.
    pub fn open(documents: Arc<dyn DocStore>) -> Result<Self, StoreError> {
        let mut state = State::default();
        for (id, document) in documents.list(KIND)? {
            match serde_json::from_slice(&document) {
                Ok(activity) => state.events.push_back((id, activity)),
                Err(_) => state.unsaved.push(removal(id)),
            }
        }
        Ok(Self {
            documents: Some(documents),
            state: Mutex::new(state),
        })
    }

    /// Adds an event. It is stored at once, or with the next one, or by [`ActivityLog::save`]: at
    /// most one transaction is made per second.
    pub fn record(&self, activity: Activity) {
        let time = activity.time();
        let mut state = self.state.lock();
        let (ms, number) = (activity.ms.max(0), state.recorded);
        let id = format!("{ms:016}-{number:08}");
        state.recorded += 1;
        if self.documents.is_some() {
            // Cannot fail: all fields are text or numbers.
            let document = serde_json::to_vec(&activity).unwrap_or_default();
            state.unsaved.push(DocumentChange {
                kind: KIND,
                id: id.clone(),
                document: Some(document),
            });
        }
        state.events.push_back((id, activity));
        state.drop_old(time);
        if time.duration_since(state.saved_at) >= SAVE_INTERVAL || time < state.saved_at {
            state.saved_at = time;
            self.write(&mut state);
        }
    }

    /// Stores the events that are not yet stored, and drops old ones.
    pub fn save(&self, now: Timestamp) {
        let mut state = self.state.lock();
        state.drop_old(now);
        state.saved_at = now;
        self.write(&mut state);
    }

    fn write(&self, state: &mut State) {
        let changes = std::mem::take(&mut state.unsaved);
        let Some(documents) = &self.documents else {
            return;
        };
        if changes.is_empty() {
            return;
        }
        if let Err(error) = documents.apply(&changes) {
            tracing::warn!(error = %Chain(&error), "cannot store the events of resources");
            // The oldest are dropped from memory, too, so the number is bounded.
            state.unsaved = changes;
            let excess = state.unsaved.len().saturating_sub(2 * MAX_EVENTS);
            state.unsaved.drain(..excess);
        }
    }
}

impl State {
    /// Drops the events that are too many or too old.
    fn drop_old(&mut self, now: Timestamp) {
        let oldest = now.saturating_sub(MAX_AGE).as_ms();
        while let Some((_, first)) = self.events.front()
            && (self.events.len() > MAX_EVENTS || first.ms < oldest)
            && let Some((id, _)) = self.events.pop_front()
        {
            self.unsaved.push(removal(id));
        }
    }
}

impl ActivitySource for ActivityLog {
    fn during(&self, slice: TimeSlice) -> Vec<Activity> {
        let state = self.state.lock();
        let (start, last) = (slice.start.as_ms(), slice.last.as_ms());
        let events = state.events.iter().map(|(_, activity)| activity);
        let found = events.filter(|activity| (start..=last).contains(&activity.ms));
        let mut found: Vec<Activity> = found.cloned().collect();
        found.sort_by_key(|activity| activity.ms);
        found
    }
}

impl fmt::Debug for ActivityLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActivityLog({} events)", self.state.lock().events.len())
    }
}

const fn removal(id: String) -> DocumentChange {
    DocumentChange {
        kind: KIND,
        id,
        document: None,
    }
}

/// Kind of the documents.
const KIND: &str = "activity";
/// Maximum number of events.
const MAX_EVENTS: usize = 10_000;
/// Retention.
const MAX_AGE: Duration = Duration::from_secs(31 * 86_400);
/// Time between two transactions.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryDocStore;

    fn fired(ms: i64) -> Activity {
        Activity::new(Timestamp::from_ms(ms), "fired", "alert", "a")
    }

    fn times(log: &ActivityLog) -> Vec<i64> {
        let (start, last) = (
            Timestamp::from_ms(0),
            Timestamp::from_ms(i64::MAX / 2_000_000),
        );
        let found = log.during(TimeSlice { start, last });
        found.iter().map(|activity| activity.ms).collect()
    }

    #[test]
    fn events_are_stored_once_per_second_and_read_again() {
        let documents: Arc<dyn DocStore> = Arc::new(MemoryDocStore::default());
        let log = ActivityLog::open(Arc::clone(&documents)).unwrap();
        for ms in [10_000, 10_500, 10_500] {
            log.record(fired(ms));
        }
        let stored = |count: usize| assert_eq!(documents.list(KIND).unwrap().len(), count);
        stored(1);
        log.record(fired(11_000));
        stored(4);
        log.record(fired(11_001));
        log.save(Timestamp::from_ms(11_500));
        stored(5);
        let again = ActivityLog::open(Arc::clone(&documents)).unwrap();
        assert_eq!(times(&again), [10_000, 10_500, 10_500, 11_000, 11_001]);
        let month = 31 * 86_400_000;
        again.save(Timestamp::from_ms(10_500 + month));
        assert_eq!(times(&again), [10_500, 10_500, 11_000, 11_001]);
        stored(4);
    }

    #[test]
    fn the_number_of_events_is_bounded() {
        let documents: Arc<dyn DocStore> = Arc::new(MemoryDocStore::default());
        let log = ActivityLog::open(Arc::clone(&documents)).unwrap();
        for ms in 0..MAX_EVENTS + 5 {
            log.record(fired(ms as i64));
        }
        log.save(Timestamp::from_ms(20_000));
        assert_eq!(times(&log).len(), MAX_EVENTS);
        assert_eq!(times(&log)[0], 5);
        assert_eq!(documents.list(KIND).unwrap().len(), MAX_EVENTS);
    }
}
