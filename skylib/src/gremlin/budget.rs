//! What a query may take, checked while it runs.

use std::cell::Cell;

use super::error::QueryError;

/// Bounds on what one query holds at a time.
///
/// ```
/// use skylib::gremlin::Limits;
/// let limits = Limits::default().with_max_elements(1000);
/// assert_eq!(limits.max_elements, 1000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Most nodes, edges, flows or values in a result, also in one that a later step reduces.
    pub max_elements: usize,
    /// Most bytes that results and remembered nodes take beside the graph itself, approximately.
    pub max_bytes: usize,
}

impl Default for Limits {
    /// Enough for a graph of a million nodes as a whole.
    fn default() -> Self {
        Self {
            max_elements: 8_000_000,
            max_bytes: 512 << 20,
        }
    }
}

impl Limits {
    /// With this many elements at most.
    #[must_use]
    pub const fn with_max_elements(self, max_elements: usize) -> Self {
        Self {
            max_elements,
            ..self
        }
    }

    /// With this many bytes at most.
    #[must_use]
    pub const fn with_max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }
}

/// The limits of a running query and what it has used up.
pub(super) struct Budget<'a> {
    limits: Limits,
    interrupt: &'a (dyn Fn() -> bool + Sync),
    ticks: Cell<u32>,
    /// Bytes that stay for the whole query.
    kept: Cell<usize>,
    /// Bytes that reading the past takes at the moment.
    reading: Cell<usize>,
}

impl<'a> Budget<'a> {
    pub(super) fn new(limits: Limits, interrupt: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self {
            limits,
            interrupt,
            ticks: Cell::new(0),
            kept: Cell::new(0),
            reading: Cell::new(0),
        }
    }

    /// One element's work; every now and then asks whether anybody still waits.
    #[inline]
    pub(super) fn tick(&self) -> Result<(), QueryError> {
        let ticks = self.ticks.get().wrapping_add(1);
        self.ticks.set(ticks);
        if ticks.is_multiple_of(STRETCH) {
            return self.check();
        }
        Ok(())
    }

    /// Asks at once.
    pub(super) fn check(&self) -> Result<(), QueryError> {
        if (self.interrupt)() {
            return Err(QueryError::interrupted());
        }
        Ok(())
    }

    /// Counts bytes that stay for the whole query.
    pub(super) fn keep(&self, bytes: usize) -> Result<(), QueryError> {
        self.kept.set(self.kept.get().saturating_add(bytes));
        self.check_bytes(0)
    }

    /// Takes note of what reading holds by now.
    pub(super) fn read_with(&self, bytes: usize) -> Result<(), QueryError> {
        self.reading.set(bytes);
        self.check_bytes(0)
    }

    /// Room for a new result.
    pub(super) const fn room(&self) -> Room<'_, 'a> {
        Room {
            budget: self,
            elements: 0,
            bytes: 0,
        }
    }

    fn check_bytes(&self, bytes: usize) -> Result<(), QueryError> {
        let max = self.limits.max_bytes;
        let held = self.kept.get().saturating_add(self.reading.get());
        if bytes.saturating_add(held) > max {
            return Err(QueryError::limit(format!(
                "query holds more than {max} bytes"
            )));
        }
        Ok(())
    }
}

/// How much of a result there is so far.
pub(super) struct Room<'b, 'a> {
    budget: &'b Budget<'a>,
    elements: usize,
    bytes: usize,
}

impl Room<'_, '_> {
    /// Counts one more element.
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

    /// Counts what is held beside the elements.
    pub(super) fn add_bytes(&mut self, bytes: usize) -> Result<(), QueryError> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.budget.check_bytes(self.bytes)
    }
}

/// Elements between two looks at the interrupt.
const STRETCH: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gremlin::QueryErrorKind;

    #[test]
    fn elements_bytes_and_patience_run_out() {
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
        assert_eq!(budget.keep(60), Ok(()));
        assert!(budget.room().add(60).is_err(), "what is kept counts");
        let interrupted = (0..STRETCH).find_map(|_| budget.tick().err());
        assert_eq!(interrupted.unwrap().kind(), QueryErrorKind::Interrupted);
    }
}
