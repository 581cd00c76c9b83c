//! How many requests were answered, and how.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::{Method, StatusCode};

/// Counts requests by method and status.
#[derive(Debug, Default)]
pub(crate) struct RequestCounters(Mutex<Counts>);

/// By name of the method and status.
type Counts = BTreeMap<(&'static str, u16), u64>;

impl RequestCounters {
    /// Counts one; methods that clients make up are all `other`.
    pub(crate) fn count(&self, method: &Method, status: StatusCode) {
        let known = METHODS.iter().copied().find(|name| method == *name);
        let key = (known.unwrap_or("other"), status.as_u16());
        *self.lock().entry(key).or_default() += 1;
    }

    /// All that were answered so far.
    pub(crate) fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Counting cannot panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_that_nobody_knows_are_one() {
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
