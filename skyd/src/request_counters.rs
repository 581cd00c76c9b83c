//! Counters of answered requests by method and status.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::{Method, StatusCode};

/// Counters of answered requests.
#[derive(Debug, Default)]
pub(crate) struct RequestCounters(Mutex<Counts>);

/// Number of requests by method and status code.
type Counts = BTreeMap<(&'static str, u16), u64>;

impl RequestCounters {
    /// Counts a request. Unknown methods are counted together as `other`, so that clients cannot create
    /// counters.
    pub(crate) fn count(&self, method: &Method, status: StatusCode) {
        let known = METHODS.iter().copied().find(|name| method == *name);
        let key = (known.unwrap_or("other"), status.as_u16());
        *self.lock().entry(key).or_default() += 1;
    }

    /// Returns all counters.
    pub(crate) fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // No code that can panic runs under this lock, so a poisoned one is consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Methods that have their own counters.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_methods_are_counted_together() {
        let requests = RequestCounters::default();
        for method in ["GET", "GET", "BREW", "WHEN"] {
            let method: Method = method.parse().unwrap();
            requests.count(&method, StatusCode::OK);
        }
        let counts = requests.counts();
        assert_eq!(counts.len(), 2);
        assert_eq!((counts[&("GET", 200)], counts[&("other", 200)]), (2, 2));
    }
}
