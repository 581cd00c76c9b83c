//! `Limits` of a query, and the `Budget` that enforces them while it runs.

use std::cell::Cell;

use super::error::QueryError;

/// Limits on the memory that one query holds at a time.
///
/// ```
/// use skylib::gremlin::Limits;
/// let limits = Limits::default().with_max_elements(1000);
/// assert_eq!(limits.max_elements, 1000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum number of nodes, edges, flows, or values in a result, including intermediate results.
    pub max_elements: usize,
    /// Approximate maximum size of results and marked nodes, in bytes, excluding the graph itself.
    pub max_bytes: usize,
}

impl Default for Limits {
    /// Returns limits that allow an answer that contains an entire graph of a million nodes.
    fn default() -> Self {
        Self {
            max_elements: 8_000_000,
            max_bytes: 512 << 20,
        }
    }
}

impl Limits {
    /// Sets the maximum number of elements in a result.
    #[must_use]
    pub const fn with_max_elements(self, max_elements: usize) -> Self {
        Self {
            max_elements,
            ..self
        }
    }

    /// Sets the approximate maximum size of results, in bytes.
    #[must_use]
    pub const fn with_max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }
}

/// Limits of a running query and its current usage.
pub(super) struct Budget<'a> {
    limits: Limits,
    interrupt: &'a (dyn Fn() -> bool + Sync),
    /// Elements processed so far, modulo 2^32.
    ticks: Cell<u32>,
    /// Bytes held until the query ends: subgraphs and marks.
    retained: Cell<usize>,
    /// Bytes that the view of the past holds now.
    reading: Cell<usize>,
}

impl<'a> Budget<'a> {
    pub(super) fn new(limits: Limits, interrupt: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self {
            limits,
            interrupt,
            ticks: Cell::new(0),
            retained: Cell::new(0),
            reading: Cell::new(0),
        }
    }

    /// Counts one processed element. Polls the interrupt once per [`CHECK_INTERVAL`] elements.
    #[inline]
    pub(super) fn tick(&self) -> Result<(), QueryError> {
        let ticks = self.ticks.get().wrapping_add(1);
        self.ticks.set(ticks);
        if ticks.is_multiple_of(CHECK_INTERVAL) {
            return self.check();
        }
        Ok(())
    }

    /// Polls the interrupt.
    pub(super) fn check(&self) -> Result<(), QueryError> {
        if (self.interrupt)() {
            return Err(QueryError::interrupted());
        }
        Ok(())
    }

    /// Adds bytes that are held until the query ends.
    pub(super) fn retain(&self, bytes: usize) -> Result<(), QueryError> {
        self.retained.set(self.retained.get().saturating_add(bytes));
        self.check_bytes(0)
    }

    /// Sets the number of bytes that the view of the past holds now.
    pub(super) fn set_reading(&self, bytes: usize) -> Result<(), QueryError> {
        self.reading.set(bytes);
        self.check_bytes(0)
    }

    /// Starts the accounting of a new result.
    pub(super) const fn room(&self) -> Room<'_, 'a> {
        Room {
            budget: self,
            elements: 0,
            bytes: 0,
        }
    }

    fn check_bytes(&self, bytes: usize) -> Result<(), QueryError> {
        let max = self.limits.max_bytes;
        let held = self.retained.get().saturating_add(self.reading.get());
        if bytes.saturating_add(held) > max {
            return Err(QueryError::limit(format!(
                "query holds more than {max} bytes"
            )));
        }
        Ok(())
    }
}

/// Size of a result under construction, checked against the limits.
pub(super) struct Room<'b, 'a> {
    budget: &'b Budget<'a>,
    elements: usize,
    bytes: usize,
}

impl Room<'_, '_> {
    /// Adds one element of the given size.
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), QueryError> {
        self.elements += 1;
        let max = self.budget.limits.max_elements;
        if self.elements > max {
            return Err(QueryError::limit(format!(
                "query finds more than {max} elements"
            )));
        }
        self.add_bytes(bytes)
    }

    /// Adds bytes held in addition to the elements.
    pub(super) fn add_bytes(&mut self, bytes: usize) -> Result<(), QueryError> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.budget.check_bytes(self.bytes)
    }
}

/// Number of elements between two polls of the interrupt.
const CHECK_INTERVAL: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gremlin::QueryErrorKind;

    #[test]
    fn elements_bytes_and_interrupts_end_a_query() {
        let limits = Limits::default().with_max_elements(2).with_max_bytes(100);
        let budget = Budget::new(limits, &|| true);
        let mut room = budget.room();
        assert_eq!(room.add(10), Ok(()));
        assert_eq!(room.add(10), Ok(()));
        assert_eq!(room.add(10).unwrap_err().kind(), QueryErrorKind::Limit);
        assert_eq!(
            budget.room().add(101).unwrap_err().message(),
            "query holds more than 100 bytes"
        );
        assert_eq!(budget.retain(60), Ok(()));
        assert!(budget.room().add(60).is_err(), "retained bytes count");
        let interrupted = (0..CHECK_INTERVAL).find_map(|_| budget.tick().err());
        assert_eq!(interrupted.unwrap().kind(), QueryErrorKind::Interrupted);
    }
}
