//! `QueryWarnings`: warnings about data that is missing in the answer to a query.

use parking_lot::Mutex;

/// Warnings of one query, at most 16.
///
/// ```
/// use skylib::engine::{Engine, EngineOptions, QueryOptions, QueryWarnings};
///
/// let engine = Engine::start(EngineOptions::new("an-1"))?;
/// let warnings = QueryWarnings::default();
/// engine.query_with("G.Flows()", QueryOptions::default().with_warnings(&warnings))?;
/// assert!(warnings.take().is_empty(), "every agent has answered");
/// # Ok::<(), skylib::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct QueryWarnings(Mutex<Received>);

#[derive(Debug, Default)]
struct Received {
    warnings: Vec<String>,
    /// Number of warnings beyond the limit.
    more: usize,
}

/// Maximum number of warnings; an additional warning states the number of the others.
const MAX_WARNINGS: usize = 16;

impl QueryWarnings {
    /// Adds warnings.
    pub(in crate::engine) fn add(&self, warnings: Vec<String>) {
        let mut received = self.0.lock();
        for warning in warnings {
            if received.warnings.contains(&warning) {
                continue;
            }
            if received.warnings.len() < MAX_WARNINGS {
                received.warnings.push(warning);
            } else {
                received.more += 1;
            }
        }
    }

    /// Removes and returns the warnings.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        let Received { mut warnings, more } = std::mem::take(&mut *self.0.lock());
        if more > 0 {
            warnings.push(format!("{more} further warnings"));
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_limited_and_not_repeated() {
        let warnings = QueryWarnings::default();
        warnings.add(vec!["a".to_owned(), "a".to_owned()]);
        assert_eq!(warnings.take(), ["a"]);
        warnings.add((0..20).map(|n| n.to_string()).collect());
        let taken = warnings.take();
        assert_eq!(
            (taken.len(), taken[16].as_str()),
            (17, "4 further warnings")
        );
        assert!(warnings.take().is_empty());
    }
}
