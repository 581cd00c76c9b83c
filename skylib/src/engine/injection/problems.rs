//! `Problems`: the reasons why injections did not send all of their packets.

use std::collections::HashMap;

use parking_lot::Mutex;

/// The first problem of each injection, by the injection's id, until the injection is deleted.
#[derive(Debug, Default)]
pub(crate) struct Problems(Mutex<HashMap<String, String>>);

impl Problems {
    /// Adds a problem of an injection, unless the injection has one already.
    pub(super) fn add(&self, injection: &str, problem: String) {
        tracing::warn!(injection, problem, "injection did not send all packets");
        self.0.lock().entry(injection.to_owned()).or_insert(problem);
    }

    /// Returns the problem of an injection.
    pub(super) fn get(&self, injection: &str) -> Option<String> {
        self.0.lock().get(injection).cloned()
    }

    /// Removes the problem of an injection that was deleted.
    pub(super) fn remove(&self, injection: &str) {
        self.0.lock().remove(injection);
    }
}
